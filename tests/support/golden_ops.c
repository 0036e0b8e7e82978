/* The golden layers of one directory; see golden_ops.h. */
#include "support/golden_ops.h"

#include "base/file.h"
#include "engine/exec/exec.h"
#include "support/golden.h"

enum { MOST_PARTS = 4 };

typedef struct golden_case {
    char name[64], kind[64], attributes[256];
    const test_golden *golden;
    cel_graph *g;
    cel_exec *e;
    cel_mode mode;
    const char *part[MOST_PARTS]; /* x, w, ... : the tensors NAME.in.PART with a gradient */
    cel_val in[MOST_PARTS], grad[MOST_PARTS];
    int n_parts;
    cel_val y, cotangent, labels, mean, var;
    double worst;
} golden_case;

/* The next field of a CSV line, unquoted; moves *at behind it. */
static void field(char **at, char *out, size_t size) {
    size_t n = 0;
    char *p = *at;
    bool quoted = *p == '"';
    for (p += quoted; *p && *p != '\n'; p++) {
        if (quoted && p[0] == '"' && *++p != '"') break;
        if (!quoted && *p == ',') break;
        if (n + 1 < size && *p != '\r') out[n++] = *p;
    }
    out[n] = 0;
    *at = *p == ',' ? p + 1 : p;
}

/* "k" of "k=3 stride=1": true and its number if it is there. */
static bool number(const golden_case *c, const char *key, double *out) {
    size_t n = strlen(key);
    for (const char *p = c->attributes; (p = strstr(p, key)); p += n)
        if (p[n] == '=' && (p == c->attributes || p[-1] == ' ')) {
            char *end;
            *out = strtod(p + n + 1, &end);
            return end != p + n + 1;
        }
    return false;
}

static bool integer(const golden_case *c, const char *key, int *out) {
    double x;
    bool there = number(c, key, &x) && x == (int)x;
    if (there)
        *out = (int)x;
    else
        print_error("%s: no %s in \"%s\"\n", c->name, key, c->attributes);
    return there;
}

static cel_shape shape_of(const test_tensor *t) {
    cel_shape s = {.rank = t->rank};
    for (int i = 0; i < t->rank && i < 4; i++) s.dim[i] = t->shape[i];
    return s;
}

/* Declares the input NAME.in.PART: x as images, the rest as parameters. CEL_NONE if the case has none. */
static cel_val declare(golden_case *c, const char *part) {
    const test_tensor *t = test_golden_find(c->golden, "%s.in.%s", c->name, part);
    if (!t) return CEL_NONE;
    cel_val v = strcmp(part, "x") ? cel_graph_param(c->g, part, shape_of(t), CEL_INIT_ZERO)
                                  : cel_graph_input(c->g, part, CEL_F32, CEL_BATCH, shape_of(t));
    c->part[c->n_parts] = part;
    c->in[c->n_parts++] = v;
    return v;
}

static bool build_pool(golden_case *c, cel_val x) {
    cel_pool2d_attr a;
    double include = 0;
    if (!integer(c, "k", &a.kernel) || !integer(c, "stride", &a.stride) || !integer(c, "pad", &a.pad)) return false;
    if (number(c, "count_include_pad", &include) && include != 0) {
        print_error("%s: counting the padding is not known\n", c->name);
        return false;
    }
    c->y = strcmp(c->kind, "max_pool") ? cel_avg_pool(c->g, x, a) : cel_max_pool(c->g, x, a);
    return true;
}

static bool build_batch_norm(golden_case *c, cel_val x) {
    double eps = 0, momentum = 0.1;
    bool train = !strncmp(c->attributes, "train", 5);
    if (!number(c, "eps", &eps) || (train && !number(c, "momentum", &momentum))) return false;
    if (!train && strncmp(c->attributes, "eval", 4)) return false;
    c->mode = train ? CEL_MODE_TRAIN : CEL_MODE_EVAL;
    cel_val w = declare(c, "w"), b = declare(c, "b");
    cel_shape channels = CEL_SHAPE(cel_graph_shape(c->g, x).dim[1]);
    c->mean = cel_graph_state(c->g, "running_mean", channels, CEL_INIT_ZERO);
    c->var = cel_graph_state(c->g, "running_var", channels, CEL_INIT_ONE);
    c->y = cel_batch_norm(c->g, x, w, b, c->mean, c->var, (cel_batch_norm_attr){(float)eps, (float)momentum, false});
    return true;
}

static bool build_cross_entropy(golden_case *c, cel_val x) {
    double smoothing;
    if (!number(c, "label_smoothing", &smoothing)) return false;
    c->labels = cel_graph_input(c->g, "labels", CEL_I32, CEL_BATCH, CEL_SHAPE(cel_graph_shape(c->g, x).dim[0]));
    c->y = cel_softmax_cross_entropy(c->g, x, c->labels, (float)smoothing).loss;
    return true;
}

static void build_factorized_reduce(golden_case *c, cel_val x) {
    cel_conv2d_attr half = {.stride = 2, .pad = 0, .dilation = 1, .groups = 1};
    cel_val r = cel_relu(c->g, x), part[2];
    part[0] = cel_conv2d(c->g, r, declare(c, "w1"), half);
    part[1] = cel_conv2d(c->g, cel_crop(c->g, r, 1, 1), declare(c, "w2"), half);
    c->y = cel_concat(c->g, part, 2);
}

static bool build_layer(golden_case *c) {
    cel_val x = declare(c, "x");
    const char *kind = c->kind;
    if (!strcmp(kind, "conv2d")) {
        cel_conv2d_attr a;
        if (!integer(c, "stride", &a.stride) || !integer(c, "pad", &a.pad) || !integer(c, "dil", &a.dilation) ||
            !integer(c, "groups", &a.groups))
            return false;
        c->y = cel_conv2d(c->g, x, declare(c, "w"), a);
        return true;
    }
    if (!strcmp(kind, "max_pool") || !strcmp(kind, "avg_pool")) return build_pool(c, x);
    if (!strcmp(kind, "batch_norm")) return build_batch_norm(c, x);
    if (!strcmp(kind, "cross_entropy_mean")) return build_cross_entropy(c, x);
    if (!strcmp(kind, "linear")) {
        cel_val w = declare(c, "w"), b = declare(c, "b");
        c->y = cel_linear(c->g, x, w, b);
        return true;
    }
    if (!strcmp(kind, "global_avg_pool")) {
        c->y = cel_global_pool(c->g, x);
        return true;
    }
    if (!strcmp(kind, "channel_shuffle")) {
        int groups;
        if (!integer(c, "groups", &groups)) return false;
        c->y = cel_channel_shuffle(c->g, x, groups);
        return true;
    }
    if (!strcmp(kind, "factorized_reduce_no_bn")) {
        build_factorized_reduce(c, x);
        return true;
    }
    print_error("%s: layers of kind %s are not known\n", c->name, kind);
    return false;
}

static void write_golden(golden_case *c, cel_val v, const test_tensor *t) {
    if (cel_shape_count(cel_graph_shape(c->g, v)) != t->n) {
        print_error("%s: another shape than the layer's\n", t->name);
        c->worst = INFINITY;
        return;
    }
    float *x = cel_alloc(t->n, sizeof *x);
    int32_t *whole = cel_alloc(t->n, sizeof *whole);
    for (size_t i = 0; i < t->n; i++) {
        x[i] = (float)t->data[i];
        whole[i] = (int32_t)t->data[i];
    }
    cel_exec_write(c->e, v, strcmp(t->dtype, "I32") ? (const void *)x : (const void *)whole);
    cel_free(x);
    cel_free(whole);
}

static double norm(const test_tensor *t) {
    double sum = 0;
    for (size_t i = 0; t && i < t->n; i++) sum += t->data[i] * t->data[i];
    return sqrt(sum);
}

static void judge(golden_case *c, cel_val v, const test_tensor *want, double relative, double absolute) {
    float *got = cel_alloc(want->n, sizeof *got);
    if (cel_shape_count(cel_graph_shape(c->g, v)) != want->n) {
        print_error("%s: another shape than the golden one\n", want->name);
        c->worst = INFINITY;
    } else {
        cel_exec_read(c->e, v, got);
        double sum = 0;
        for (size_t i = 0; i < want->n; i++) sum += (got[i] - want->data[i]) * (got[i] - want->data[i]);
        double error = sqrt(sum), allowed = relative * norm(want) + absolute;
        double share = error == 0 ? 0 : error / allowed;
        if (!(share <= 1)) print_error("%s: off by %.3g, allowed %.3g\n", want->name, error, allowed);
        if (!(share <= c->worst)) c->worst = share;
    }
    cel_free(got);
}

/* Running statistics of evaluation cases are those of the case named in "(... of NAME)". */
static void write_statistics(golden_case *c) {
    char from[64];
    const char *of = strstr(c->attributes, " of ");
    snprintf(from, sizeof from, "%s", c->mode == CEL_MODE_TRAIN || !of ? c->name : of + 4);
    from[strcspn(from, ") ")] = 0;
    write_golden(c, c->mean, test_golden_get(c->golden, "%s.running_mean0", from));
    write_golden(c, c->var, test_golden_get(c->golden, "%s.running_var0", from));
}

static cel_status prepare(golden_case *c, const cel_backend *backend, int *program) {
    cel_val targets[1 + MOST_PARTS] = {c->y};
    if (test_golden_find(c->golden, "%s.cotangent", c->name)) {
        cel_value *y = &c->g->value[c->y < 0 ? 0 : c->y];
        c->cotangent = cel_graph_input(c->g, "cotangent", CEL_F32, y->layout, y->shape);
        CEL_TRY(cel_graph_grad_from(c->g, c->y, c->cotangent, c->in, c->n_parts, c->grad));
    } else {
        CEL_TRY(cel_graph_grad(c->g, c->y, c->in, c->n_parts, c->grad));
    }
    CEL_TRY(cel_graph_seal(c->g));
    for (int i = 0; i < c->n_parts; i++) targets[1 + i] = c->grad[i];
    CEL_TRY(cel_exec_create(c->g, backend, NULL, &c->e));
    CEL_TRY(cel_exec_add_program(c->e, c->mode, targets, 1 + c->n_parts, program));
    return cel_exec_prepare(c->e, 1);
}

static void compare(golden_case *c) {
    double total = norm(test_golden_find(c->golden, "%s.cotangent", c->name));
    for (int i = 0; i < c->n_parts; i++)
        total = hypot(total, norm(test_golden_get(c->golden, "%s.grad.%s", c->name, c->part[i])));
    judge(c, c->y, test_golden_get(c->golden, "%s.out", c->name), 1e-5, 0);
    for (int i = 0; i < c->n_parts; i++) {
        const test_tensor *want = test_golden_get(c->golden, "%s.grad.%s", c->name, c->part[i]);
        judge(c, c->grad[i], want, 2e-4, 2e-6 * total);
    }
    if (c->mean == CEL_NONE || c->mode != CEL_MODE_TRAIN) return;
    judge(c, c->mean, test_golden_get(c->golden, "%s.running_mean1", c->name), 1e-5, 0);
    judge(c, c->var, test_golden_get(c->golden, "%s.running_var1", c->name), 1e-5, 0);
}

static bool run_case(golden_case *c, const cel_backend *backend) {
    int program;
    test_ok(cel_graph_create(&c->g));
    c->mode = CEL_MODE_TRAIN;
    c->cotangent = c->labels = c->mean = c->var = c->y = CEL_NONE;
    bool known = test_golden_find(c->golden, "%s.in.x", c->name) && build_layer(c);
    cel_status status = known ? prepare(c, backend, &program) : CEL_OK;
    if (!known) print_error("%s: this case cannot be built\n", c->name);
    if (status != CEL_OK) print_error("%s: %s\n", c->name, cel_status_message());
    if (known && status == CEL_OK) {
        for (int i = 0; i < c->n_parts; i++)
            write_golden(c, c->in[i], test_golden_get(c->golden, "%s.in.%s", c->name, c->part[i]));
        if (c->cotangent != CEL_NONE)
            write_golden(c, c->cotangent, test_golden_get(c->golden, "%s.cotangent", c->name));
        if (c->labels != CEL_NONE) write_golden(c, c->labels, test_golden_get(c->golden, "labels"));
        if (c->mean != CEL_NONE) write_statistics(c);
        cel_exec_run(c->e, program);
        compare(c);
    }
    cel_exec_destroy(c->e);
    cel_graph_destroy(c->g);
    return known && status == CEL_OK && c->worst <= 1;
}

int golden_ops_run(const char *dir, const cel_backend *backend, double *worst) {
    char *csv_path = cel_path_join(dir, "ops.csv"), *path = cel_path_join(dir, "ops.safetensors"), *text;
    size_t n;
    int failed = 0, cases = 0;
    assert_true(csv_path && path);
    test_ok(cel_file_read(csv_path, 16 << 20, &text, &n));
    test_golden *golden = test_golden_open(path);
    if (worst) *worst = 0;
    char *at = text + strcspn(text, "\n"), ignored[64];
    while (*at == '\n' && at[1]) {
        golden_case c = {.golden = golden};
        at++;
        field(&at, c.name, sizeof c.name);
        field(&at, c.kind, sizeof c.kind);
        field(&at, ignored, sizeof ignored);
        field(&at, ignored, sizeof ignored);
        field(&at, c.attributes, sizeof c.attributes);
        at += strcspn(at, "\n");
        failed += !run_case(&c, backend);
        cases++;
        if (worst && !(c.worst <= *worst)) *worst = c.worst;
    }
    assert_true(cases > 0);
    test_golden_close(golden);
    cel_free(text);
    cel_free(csv_path);
    cel_free(path);
    return failed;
}
