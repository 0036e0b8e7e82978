#include "support/policy_rig.h"

#include "support/golden_net.h"

enum { COLS = 4 };
static const char *const names[COLS] = {"a", "b", "c", "d"};
static const cel_choice rows[] = {
    {"1<-0", 0, COLS, 0, 0, 1, names}, {"2<-0", COLS, COLS, 0, 0, 2, names}, {"2<-1", 2 * COLS, COLS, 0, 1, 2, names}};
const cel_choices test_choices = {rows, 3, 3 * COLS};

cel_policy *test_policy_open(const cel_method *method, const cel_choices *choices, const char *yaml, uint64_t seed) {
    static const cel_opt none[] = {CEL_OPTS_END};
    cel_policy *policy;
    void *conf = golden_settings(method->opts ? method->opts : none, method->conf_size + 1, yaml);
    test_ok(cel_policy_create(method, choices, conf, seed, &policy));
    return policy;
}

void test_policy_close(cel_policy *policy) {
    void *conf = (void *)policy->conf;
    cel_policy_destroy(policy);
    cel_free(conf);
}

double *test_policy_tensor(cel_policy *policy, const char *name) {
    char full[128];
    cel_state state = {0};
    snprintf(full, sizeof full, "policy.%s", name);
    test_ok(cel_policy_save(policy, &state));
    const cel_state_item *item = cel_state_find(&state, full);
    if (!item) fail_msg("%s has no %s", policy->method->name, name);
    double *data = item->data;
    cel_state_fini(&state);
    return data;
}

bool test_policy_same(cel_policy *a, cel_policy *b) {
    cel_state x = {0}, y = {0};
    test_ok(cel_policy_save(a, &x));
    test_ok(cel_policy_save(b, &y));
    bool same = x.n == y.n;
    for (int i = 0; same && i < x.n; i++) {
        const cel_state_item *other = cel_state_find(&y, x.items[i].name);
        same = other && other->bytes == x.items[i].bytes && !memcmp(other->data, x.items[i].data, other->bytes);
    }
    cel_state_fini(&x);
    cel_state_fini(&y);
    return same;
}

void test_policy_copy(cel_policy *from, cel_policy *to) {
    cel_state x = {0}, y = {0};
    test_ok(cel_policy_save(from, &x));
    test_ok(cel_policy_save(to, &y));
    for (int i = 0; i < x.n; i++) {
        const cel_state_item *other = cel_state_find(&y, x.items[i].name);
        assert_non_null(other);
        memcpy(other->data, x.items[i].data, other->bytes);
    }
    cel_state_fini(&x);
    cel_state_fini(&y);
}
