/* A method at work in a test: made from a line of YAML, with its saved arrays at hand. */
#ifndef CEL_TEST_POLICY_RIG_H
#define CEL_TEST_POLICY_RIG_H
#include "nas/search/policy.h"
#include "support/test.h"

/* Three choices of four candidates, "a" to "d", into two nodes; and NAS-Bench-201's six of five are cel_space_nb201's. */
extern const cel_choices test_choices;

/* yaml: "{lr: 0.1}"; the method's other settings have their defaults. */
cel_policy *test_policy_open(const cel_method *method, const cel_choices *choices, const char *yaml, uint64_t seed);
void test_policy_close(cel_policy *policy);
/* A saved array by its name ("alpha"); fails the test when there is none. */
double *test_policy_tensor(cel_policy *policy, const char *name);
/* Are all saved arrays of the two the same, byte by byte? */
bool test_policy_same(cel_policy *a, cel_policy *b);
/* Gives `to` everything that `from` saves. */
void test_policy_copy(cel_policy *from, cel_policy *to);
#endif
