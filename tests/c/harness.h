/* SPDX-License-Identifier: Apache-2.0 */
/*
 * harness.h - cases with ids, for the tests of libzoned: each runs in a process of its own.
 *
 *     test            all cases: a line for each, TAP, and exit status 1 if one failed
 *     test ID...      these again
 *     test --list     the ids
 *
 * A case is CASE(subject, what) { ... }; its id is subject/what. WANT and REFUSED end it where something does not hold.
 */
#ifndef HARNESS_H
#define HARNESS_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct test_case {
	const char *id;
	void (*run)(void);
	struct test_case *next;
};
extern struct test_case **test_last;

#define CASE(subject, what)                                                                          \
	static void case_##subject##_##what(void);                                                       \
	static struct test_case entry_##subject##_##what = { #subject "/" #what, case_##subject##_##what, 0 }; \
	__attribute__((constructor)) static void add_##subject##_##what(void)                            \
	{                                                                                                \
		*test_last = &entry_##subject##_##what;                                                      \
		test_last = &entry_##subject##_##what.next;                                                  \
	}                                                                                                \
	static void case_##subject##_##what(void)

#define WANT(condition)                                                                        \
	do {                                                                                       \
		if (!(condition)) {                                                                    \
			fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);     \
			exit(1);                                                                           \
		}                                                                                      \
	} while (0)

/* The call gives this code, and says so in err. */
#define REFUSED(call, wanted, err)                                                                       \
	do {                                                                                                 \
		long long got_ = (call);                                                                         \
		if (got_ != (wanted) || (err)->code != (wanted)) {                                               \
			fprintf(stderr, "%s:%d: %s gave %lld (%s), not %s\n", __FILE__, __LINE__, #call, got_,       \
				zd_strerror((int)got_), #wanted);                                                        \
			exit(1);                                                                                     \
		}                                                                                                \
	} while (0)

#endif
