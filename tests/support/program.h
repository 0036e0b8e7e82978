/* Runs a program of the build as a user would. */
#ifndef CEL_TEST_PROGRAM_H
#define CEL_TEST_PROGRAM_H

/* argv ends in NULL, argv[0] is the path. Gives the exit code, -1 when a signal ended it, and what it wrote to standard
 * output and error as new strings (cel_free); NULL pointers drop them. Fails the test when it cannot run. */
int test_program(const char *const *argv, char **out, char **err);
#endif
