/* SPDX-License-Identifier: Apache-2.0 */
/* What answers a static program's calls: those on numbers and the loop (answer.c), those on paths (answerpath.c). */
#ifndef ZD_PRELOAD_ANSWER_H
#define ZD_PRELOAD_ANSWER_H

#include <linux/seccomp.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct zp_open;

/* Beside a result or -errno. */
#define ZP_GO_ON INT64_MIN       /* it is the kernel's affair */
#define ZP_ADDED (INT64_MIN + 1) /* the program has its answer already */

/* answer.c */
/* The description behind one of the program's numbers; NULL: it is the kernel's. */
struct zp_open *zp_answer_found(pid_t pid, int fd);
/* Give the program a descriptor of ours, and with it the answer; number: which, 0 for any. */
int64_t zp_answer_give(const struct seccomp_notif *call, int fd, int number, bool cloexec);
/* The same, of a disk's description. */
int64_t zp_answer_give_disk(const struct seccomp_notif *call, struct zp_open *open, bool cloexec);

/* answerpath.c: whether it is a call on a path, and its answer. */
bool zp_answer_path(const struct seccomp_notif *call, int64_t *result);

#endif
