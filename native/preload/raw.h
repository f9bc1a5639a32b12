/* SPDX-License-Identifier: Apache-2.0 */
/* System calls past libc, and the io_uring that answers some of them. */
#ifndef ZD_PRELOAD_RAW_H
#define ZD_PRELOAD_RAW_H

#include <signal.h>
#include <stdbool.h>

void zp_raw_begin(void);  /* once a process */
void zp_raw_thread(void); /* once a thread, and again in the child of a fork() */
/* Answers the system call that a SIGSYS stands for; false: it is another SIGSYS. */
bool zp_raw_signal(const siginfo_t *info, void *context);
/* signal.c: what the kernel calls for a signal that the program handles. */
void zp_signal_instead(int number, siginfo_t *info, void *context);
int zp_flock(int fd, int operation); /* flock(), whose name a system call has too */

/* uring.c: io_uring's calls, as the kernel gives results: -errno, or more. */
long zp_uring_setup(unsigned entries, void *params);
long zp_uring_enter(int fd, unsigned submit, unsigned least, unsigned flags);
long zp_uring_register(int fd, unsigned opcode, void *arg, unsigned n);
void zp_uring_closed(int fd); /* before it is closed; any number */

#endif
