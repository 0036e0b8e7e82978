/* Runs a program of the build as a user would. */
#ifndef CEL_TEST_PROGRAM_H
#define CEL_TEST_PROGRAM_H
#include <jansson.h>

#include "cellar/status.h"

/* argv ends in NULL, argv[0] is the path. Gives the exit code, -1 when a signal ended it, and what it wrote to standard
 * output and error as new strings (cel_free); NULL pointers drop them. Fails the test when it cannot run. */
int test_program(const char *const *argv, char **out, char **err);

/* cellar with these arguments: must succeed; gives its standard output (cel_free). */
#define test_run(...) test_run_argv((const char *const[]){CEL_BUILD_DIR "/cellar", __VA_ARGS__, NULL})
char *test_run_argv(const char *const *argv);
/* Must end with that status' exit code, nothing on standard output, and `part` in its message. */
#define test_refused(status, part, ...)                                                                                \
    test_refused_argv((status), (part), (const char *const[]){CEL_BUILD_DIR "/cellar", __VA_ARGS__, NULL})
void test_refused_argv(cel_status want, const char *part, const char *const *argv);
/* Takes the text, which must be JSON; json_decref. */
json_t *test_parsed(char *text);
#endif
