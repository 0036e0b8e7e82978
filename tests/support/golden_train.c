/* optim_*, drnas_progressive_lr. */
#include "base/mem.h"
#include "support/golden_check.h"
#include "train/optim.h"
#include "train/schedule.h"

enum { MOST = 64, DRAWS = 8 };

static int count_of(const test_csv *csv, const char *column) {
    double most = 0;
    for (int r = 0; r < csv->n_rows; r++) most = fmax(most, test_csv_number(csv, r, column));
    assert_true(most < MOST);
    return (int)most + 1;
}

/* Rows come step by step, parameter by parameter. SGD works in float, as on the weights. */
static double sgd(const char *path, const double *start) {
    test_csv *csv = test_csv_open(path);
    int n = count_of(csv, "param");
    float x[MOST], g[MOST], m[MOST] = {0};
    cel_slot slot = {.count = (size_t)n, .gate = -1};
    cel_pieces pieces;
    test_ok(cel_pieces_init(&pieces, &slot, 1));
    double worst = 0;
    for (int i = 0; i < n; i++)
        x[i] = start ? (float)start[i]
                     : (float)(test_csv_number(csv, i, "value_f64") +
                               test_csv_number(csv, i, "lr") * test_csv_number(csv, i, "state1"));
    for (int row = 0; row + n <= csv->n_rows; row += n) {
        for (int i = 0; i < n; i++) g[i] = (float)test_csv_number(csv, row + i, "grad");
        cel_sgd conf = {.lr = test_csv_number(csv, row, "lr"), .momentum = 0.9, .weight_decay = 3e-4};
        cel_sgd_step(&conf, &pieces, 1, x, g, m, NULL);
        for (int i = 0; i < n; i++) {
            worst = golden_max(worst, golden_error(x[i], test_csv_number(csv, row + i, "value_f64"), 1e-6, 1e-7));
            worst = golden_max(worst, golden_error(m[i], test_csv_number(csv, row + i, "state1"), 1e-6, 2e-7));
        }
    }
    cel_pieces_fini(&pieces);
    test_csv_close(csv);
    return worst;
}

double golden_optim_sgd(const char *path) { return sgd(path, NULL); }

static const cel_adam adam_conf = {.beta1 = 0.5, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 1e-3};

static double adam(const char *path, const double *start) {
    test_csv *csv = test_csv_open(path);
    int n = count_of(csv, "param");
    double x[MOST], g[MOST], m[MOST] = {0}, v[MOST] = {0}, worst = 0;
    for (int i = 0; i < n; i++) {
        double m1 = test_csv_number(csv, i, "state1") / (1 - adam_conf.beta1);
        double v1 = test_csv_number(csv, i, "state2") / (1 - adam_conf.beta2);
        x[i] = start ? start[i]
                     : test_csv_number(csv, i, "value_f64") +
                           test_csv_number(csv, i, "lr") * m1 / (sqrt(v1) + adam_conf.eps);
    }
    for (int row = 0; row + n <= csv->n_rows; row += n) {
        for (int i = 0; i < n; i++) g[i] = test_csv_number(csv, row + i, "grad");
        cel_adam_step(&adam_conf, test_csv_number(csv, row, "lr"), row / n + 1, n, NULL, x, g, m, v);
        for (int i = 0; i < n; i++) {
            worst = golden_max(worst, golden_error(x[i], test_csv_number(csv, row + i, "value_f64"), 1e-12, 1e-13));
            worst = golden_max(worst, golden_error(m[i], test_csv_number(csv, row + i, "state1"), 1e-11, 1e-13));
            worst = golden_max(worst, golden_error(v[i], test_csv_number(csv, row + i, "state2"), 1e-11, 1e-13));
        }
    }
    test_csv_close(csv);
    return worst;
}

double golden_optim_adam(const char *path) { return adam(path, NULL); }

/* The start of both CSV files, which must lie beside it. */
double golden_optim_quadratic(const char *path) {
    test_golden *golden = test_golden_open(path);
    const test_tensor *start = test_golden_get(golden, "x0");
    char *sgd_path = golden_sibling(path, "optim_sgd.csv"), *adam_path = golden_sibling(path, "optim_adam.csv");
    if (!sgd_path || !adam_path) fail_msg("%s: needs optim_sgd.csv and optim_adam.csv beside it", path);
    double worst = golden_max(sgd(sgd_path, start->data), adam(adam_path, start->data));
    cel_free(sgd_path);
    cel_free(adam_path);
    test_golden_close(golden);
    return worst;
}

double golden_optim_clip(const char *path) {
    test_csv *csv = test_csv_open(path);
    double worst = 0;
    for (int first = 0, end; first < csv->n_rows; first = end) {
        float grad[MOST];
        for (end = first;
             end < csv->n_rows && !strcmp(test_csv_text(csv, end, "case"), test_csv_text(csv, first, "case")); end++) {
            assert_true(end - first < MOST);
            grad[end - first] = (float)test_csv_number(csv, end, "grad");
        }
        cel_slot slot = {.count = (size_t)(end - first), .gate = -1};
        cel_pieces pieces;
        test_ok(cel_pieces_init(&pieces, &slot, 1));
        double norm = sqrt(cel_pieces_squares(&pieces, grad, NULL));
        double factor = cel_clip_factor(norm, test_csv_number(csv, first, "max_norm"));
        worst = golden_max(worst, golden_error(norm, test_csv_number(csv, first, "total_norm"), 1e-6, 1e-12));
        for (int r = first; r < end; r++)
            worst = golden_max(worst,
                               golden_error(factor * grad[r - first], test_csv_number(csv, r, "clipped"), 1e-6, 1e-12));
        cel_pieces_fini(&pieces);
    }
    test_csv_close(csv);
    return worst;
}

double golden_optim_cosine(const char *path) {
    test_csv *csv = test_csv_open(path);
    double worst = 0;
    for (int r = 0; r < csv->n_rows; r++) {
        double lr = cel_schedule_cosine(test_csv_number(csv, r, "epoch"), test_csv_number(csv, r, "T_max"),
                                        test_csv_number(csv, r, "lr_max"), test_csv_number(csv, r, "lr_min"), 0);
        worst = golden_max(worst, golden_error(lr, test_csv_number(csv, r, "lr_closed_form"), 1e-13, 1e-16));
        worst = golden_max(worst, golden_error(lr, test_csv_number(csv, r, "lr_pytorch"), 1e-12, 1e-15));
    }
    test_csv_close(csv);
    return worst;
}

double golden_progressive_lr(const char *path) {
    test_csv *csv = test_csv_open(path);
    double worst = 0;
    for (int r = 0; r < csv->n_rows; r++) {
        double at = test_csv_number(csv, r, "epoch"), total = test_csv_number(csv, r, "T_max");
        double high = test_csv_number(csv, r, "lr_max"), low = test_csv_number(csv, r, "lr_min");
        double rebuild = test_csv_number(csv, r, "rebuild_at_epoch");
        double used = cel_schedule_cosine(at, total, high, low, at >= rebuild ? rebuild : 0);
        double plain = cel_schedule_cosine(at, total, high, low, 0);
        worst = golden_max(worst, golden_error(used, test_csv_number(csv, r, "lr_used_by_original"), 1e-12, 1e-15));
        worst = golden_max(worst, golden_error(plain, test_csv_number(csv, r, "lr_closed_form_cosine"), 1e-12, 1e-15));
    }
    test_csv_close(csv);
    return worst;
}

/* "a;b;c" */
static int numbers(const char *text, double out[DRAWS]) {
    int n = 0;
    for (const char *p = text; *p && n < DRAWS; n++) {
        char *end;
        out[n] = strtod(p, &end);
        assert_true(end != p);
        p = *end ? end + 1 : end;
    }
    return n;
}

double golden_optim_vadam(const char *path) {
    test_csv *csv = test_csv_open(path);
    double worst = 0;
    for (int first = 0, end; first < csv->n_rows; first = end) {
        const char *name = test_csv_text(csv, first, "case");
        for (end = first; end < csv->n_rows && !strcmp(test_csv_text(csv, end, "case"), name);) end++;
        double mu[MOST], m[MOST], s[MOST], grad[MOST], grad2[MOST];
        int n = 0;
        cel_vadam conf = {.beta1 = test_csv_number(csv, first, "beta1"),
                          .beta2 = test_csv_number(csv, first, "beta2"),
                          .prior_prec = test_csv_number(csv, first, "prior_prec"),
                          .n_data = test_csv_number(csv, first, "train_set_size")};
        for (int r = first; r < end && test_csv_number(csv, r, "step") == 0; r++, n++) {
            assert_true(n < MOST);
            mu[n] = test_csv_number(csv, r, "mu");
            m[n] = 0;
            s[n] = cel_vadam_start(&conf, test_csv_number(csv, r, "prec_init"));
            worst = golden_max(worst, golden_error(s[n], test_csv_number(csv, r, "s"), 1e-12, 0));
        }
        for (int row = first + n; row + n <= end; row += n) {
            for (int i = 0; i < n; i++) {
                double g[DRAWS], eps[DRAWS], alpha[DRAWS], sigma = cel_vadam_sigma(&conf, s[i]);
                int draws = numbers(test_csv_text(csv, row + i, "grad"), g);
                assert_int_equal(numbers(test_csv_text(csv, row + i, "eps"), eps), draws);
                assert_int_equal(numbers(test_csv_text(csv, row + i, "alpha"), alpha), draws);
                worst = golden_max(worst, golden_error(sigma, test_csv_number(csv, row + i, "sigma"), 1e-12, 0));
                grad[i] = grad2[i] = 0;
                for (int d = 0; d < draws; d++) {
                    worst = golden_max(worst, golden_error(mu[i] + sigma * eps[d], alpha[d], 1e-12, 1e-15));
                    grad[i] += g[d] / draws;
                    grad2[i] += g[d] * g[d] / draws;
                }
            }
            cel_vadam_step(&conf, test_csv_number(csv, row, "lr"), (row - first) / n, n, mu, m, s, grad, grad2);
            for (int i = 0; i < n; i++) {
                worst = golden_max(worst, golden_error(mu[i], test_csv_number(csv, row + i, "mu"), 1e-12, 1e-16));
                worst = golden_max(worst, golden_error(m[i], test_csv_number(csv, row + i, "m"), 1e-12, 1e-20));
                worst = golden_max(worst, golden_error(s[i], test_csv_number(csv, row + i, "s"), 1e-12, 1e-24));
            }
        }
    }
    test_csv_close(csv);
    return worst;
}
