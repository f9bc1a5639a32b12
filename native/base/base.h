/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base: what needs no disk: the clock, random numbers, checksums (zd_crc32c(), zd.h) and the filling of struct zd_error.
 * It calls nothing of ours. Everything else may call it.
 */
#ifndef ZD_BASE_H
#define ZD_BASE_H

#include "zd.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/* gcc and clang say it differently. */
#if defined(__SANITIZE_THREAD__)
#define ZD_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define ZD_TSAN 1
#endif
#endif

/* clock.c: CLOCK_MONOTONIC, ns */
uint64_t zd_now(void);

/* rng.c: splitmix64; the next number of a seed */
uint64_t zd_splitmix(uint64_t *state);

/* ---------------------------------------------------------------- error.c */

/* As err: whoever checks a command only asks what would come of it; nothing is filled, nothing counted. */
extern struct zd_error zd_asking;
/* No place, no zone, no sentence yet. */
void zd_error_clear(struct zd_error *err, int code);
/* Both fill err, which may be NULL, and return the code. */
int zd_fail(struct zd_error *err, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));
int zd_fail_host(struct zd_error *err, int host_errno, const char *doing); /* and for whom the thread waited */
/* Where whoever gives up a wait writes down for whom this thread waited (zd_waited_for()). */
char *zd_waited(size_t *room);
void zd_forget_waited(void); /* where a call begins that may be tried again and again */

#endif
