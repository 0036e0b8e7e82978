/* trace_*: search steps through the driver's own half-steps, on every backend, cells fused and plain. */
#include "nas/search/supernet.h"
#include "support/golden_net.h"

enum { ENTRIES = 30 };

/* The file's settings as DrNAS' own. */
static void *method_settings(const test_golden *golden) {
    const char *betas = test_golden_meta(golden, "adam_betas"), *reg = test_golden_meta(golden, "reg");
    double beta1, beta2;
    char yaml[512];
    assert_true(reg && betas && sscanf(betas, "%lf,%lf", &beta1, &beta2) == 2);
    bool l2 = !strcmp(reg, "l2");
    if (!l2) assert_true(golden_meta_number(golden, "adam_weight_decay") == 0);
    snprintf(yaml, sizeof yaml, "{reg: %s, reg_scale: %.17g, lr: %.17g, beta1: %.17g, beta2: %.17g, eps: %.17g}", reg,
             golden_meta_number(golden, l2 ? "adam_weight_decay" : "reg_scale"), golden_meta_number(golden, "arch_lr"),
             beta1, beta2, golden_meta_number(golden, "adam_eps"));
    return golden_settings(cel_method_drnas.opts, cel_method_drnas.conf_size, yaml);
}

static void batch_at(const test_tensor *x, const test_tensor *y, int step, float *images, int32_t *labels) {
    size_t n = x->n / (size_t)x->shape[0], m = y->n / (size_t)y->shape[0];
    for (size_t i = 0; i < n; i++) images[i] = (float)x->data[(size_t)step * n + i];
    for (size_t i = 0; i < m; i++) labels[i] = (int32_t)y->data[(size_t)step * m + i];
}

/* Entries that are live, each within `absolute`. */
static double compare_live(const double *got, const test_tensor *want, int step, const uint8_t *live, double absolute) {
    double worst = 0;
    for (int i = 0; i < ENTRIES; i++)
        if (live[i]) worst = golden_max(worst, golden_error(got[i], want->data[step * ENTRIES + i], 0, absolute));
    return worst;
}

static double run(const test_golden *golden, const cel_backend *backend, bool fused) {
    void *method_conf = method_settings(golden);
    char yaml[128];
    snprintf(yaml, sizeof yaml, "{c: %.0f, n: %.0f}", golden_meta_number(golden, "C"), golden_meta_number(golden, "N"));
    void *space_conf = golden_settings(cel_space_nb201.opts, cel_space_nb201.conf_size, yaml);
    cel_policy *policy;
    test_ok(cel_policy_create(&cel_method_drnas, cel_space_nb201.choices(), method_conf, 1, &policy));
    const test_tensor *mask = test_golden_find(golden, "in.mask");
    for (int i = 0; mask && i < ENTRIES; i++) policy->live[i] = mask->data[i] != 0;
    cel_state state = {0};
    test_ok(cel_policy_save(policy, &state));
    double *eta = cel_state_find(&state, "policy.eta")->data;
    memcpy(eta, test_golden_get(golden, "in.alpha0")->data, ENTRIES * sizeof *eta);
    cel_state_fini(&state);

    const test_tensor *x[2] = {test_golden_get(golden, "in.x_valid"), test_golden_get(golden, "in.x_train")};
    const test_tensor *y[2] = {test_golden_get(golden, "in.y_valid"), test_golden_get(golden, "in.y_train")};
    const test_tensor *draws[2] = {test_golden_get(golden, "in.samples_arch"),
                                   test_golden_get(golden, "in.samples_weight")};
    cel_supernet_conf conf = {.space = &cel_space_nb201,
                              .space_conf = space_conf,
                              .shape = golden_shape(golden, x[0]),
                              .form = {.k = (int)golden_meta_number(golden, "k"), .live = policy->live, .fused = fused},
                              .backend = backend,
                              .seed = 1,
                              .clip_arch = true};
    cel_supernet *net;
    test_ok(cel_supernet_create(&conf, policy->n_params, &net));
    int n, n_states, steps = x[0]->shape[0];
    size_t size;
    const cel_slot *slots = cel_exec_param_slots(net->exec, &n), *states = cel_exec_state_slots(net->exec, &n_states);
    golden_write_slots(net->exec, slots, n, golden, "param0");
    golden_nudge(net->exec);
    golden_write_slots(net->exec, states, n_states, golden, "bn0");
    float *images = cel_alloc(x[0]->n / (size_t)steps, sizeof *images);
    int32_t *labels = cel_alloc(y[0]->n / (size_t)steps, sizeof *labels);
    assert_true(images && labels);
    cel_sgd sgd = {golden_meta_number(golden, "weight_lr"), golden_meta_number(golden, "momentum"),
                   golden_meta_number(golden, "weight_decay"), false};
    double worst = 0, *want_loss[2] = {test_golden_get(golden, "out.arch_loss")->data,
                                       test_golden_get(golden, "out.weight_loss")->data};
    for (int s = 0; s < steps; s++) {
        cel_half_step half;
        cel_at at = {.phase = CEL_PHASE_ARCH, .n_epochs = 1, .step = s, .replay = draws[0]->data + s * ENTRIES};
        double penalty = cel_policy_penalty(policy);
        batch_at(x[0], y[0], s, images, labels);
        test_ok(cel_supernet_arch_step(net, policy, &at, images, labels, &half));
        worst = golden_max(worst, golden_error(half.loss + penalty, want_loss[0][s], 1e-5, 0));
        worst = golden_max(
            worst, compare_live(net->mean, test_golden_get(golden, "out.alpha_grad_arch_step"), s, policy->live, 1e-4));
        worst = golden_max(
            worst, compare_live(eta, test_golden_get(golden, "out.alpha_after_arch_step"), s, policy->live, 1e-6));
        at.phase = CEL_PHASE_WEIGHT;
        at.replay = draws[1]->data + s * ENTRIES;
        batch_at(x[1], y[1], s, images, labels);
        test_ok(cel_supernet_weight_step(net, policy, &at, &sgd, golden_meta_number(golden, "grad_clip"), images,
                                         labels, &half));
        worst = golden_max(worst, golden_error(half.loss, want_loss[1][s], 1e-5, 0));
        worst = golden_max(worst, compare_live(net->grad, test_golden_get(golden, "out.alpha_grad_weight_step"), s,
                                               policy->live, 1e-4));
        worst = golden_max(worst,
                           golden_error(half.norm, test_golden_get(golden, "out.total_grad_norm")->data[s], 2e-4, 0));
        worst = golden_max(worst, golden_error(half.norm_weights,
                                               test_golden_get(golden, "out.total_grad_norm_without_alpha")->data[s],
                                               2e-4, 0));
    }
    double all = golden_total_norm(golden, "param_final.");
    worst = golden_max(worst, golden_compare_slots(slots, n, cel_exec_params(net->exec, &size), golden, "param_final",
                                                   1e-5, 1e-6 * all));
    worst = golden_max(worst, golden_compare_slots(states, n_states, cel_exec_states(net->exec, &size), golden,
                                                   "bn_final", 1e-5, 1e-8 * golden_total_norm(golden, "bn_final.")));
    cel_genotype genotype;
    char text[CEL_GENOTYPE_TEXT];
    double scores[ENTRIES];
    cel_policy_scores(policy, scores);
    test_ok(cel_space_derive(&cel_space_nb201, scores, policy->live, &genotype));
    cel_genotype_format(&genotype, text);
    if (test_golden_meta(golden, "final_arch")) assert_string_equal(text, test_golden_meta(golden, "final_arch"));
    cel_supernet_destroy(net);
    cel_policy_destroy(policy);
    cel_free(images);
    cel_free(labels);
    cel_free(method_conf);
    cel_free(space_conf);
    return worst;
}

double golden_trace(const char *path) {
    test_golden *golden = test_golden_open(path);
    double worst = 0;
    for (int b = 0; cel_backends[b]; b++)
        for (int fused = 0; fused < 2 && golden_backend_wanted(cel_backends[b]); fused++)
            worst = golden_max(worst, golden_without_kinks(run, golden, cel_backends[b], fused));
    test_golden_close(golden);
    return worst;
}
