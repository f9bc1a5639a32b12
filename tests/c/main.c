/* SPDX-License-Identifier: Apache-2.0 */
/* Runs the cases that the other files of this folder have (harness.h), each in a process of its own. */
#include "harness.h"

static struct test_case *first;
struct test_case **test_last = &first;

static int run(const struct test_case *one, int number)
{
	int status;
	pid_t child;

	fflush(NULL);
	child = fork();
	if (child == 0) {
		one->run();
		exit(0);
	}
	if (child < 0 || waitpid(child, &status, 0) != child)
		status = 1;
	printf("%s %d - %s\n", status ? "not ok" : "ok", number, one->id);
	return status != 0;
}

static int wanted(const struct test_case *one, int argc, char **argv)
{
	int i;

	for (i = 1; i < argc && strcmp(argv[i], one->id) != 0; i++)
		;
	return argc == 1 || i < argc;
}

int main(int argc, char **argv)
{
	const struct test_case *one;
	int number = 0, failed = 0;

	if (argc == 2 && strcmp(argv[1], "--list") == 0) {
		for (one = first; one; one = one->next)
			puts(one->id);
		return 0;
	}
	for (one = first; one; one = one->next) {
		if (wanted(one, argc, argv))
			failed += run(one, ++number);
	}
	printf("1..%d\n", number);
	if (number == 0 || (argc > 1 && number < argc - 1)) {
		fprintf(stderr, "there is no such case; --list has them all\n");
		return 2;
	}
	return failed ? 1 : 0;
}
