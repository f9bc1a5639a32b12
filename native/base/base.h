/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base: what needs no disk: the clock, random numbers, checksums (zd_crc32c(), zoned/check.h), structs that cross the
 * library's boundary, and the filling of struct zd_error.
 * It calls nothing of ours. Everything else may call it.
 */
#ifndef ZD_BASE_H
#define ZD_BASE_H

#include "zoned/zoned.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
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

/*
 * Where `used` things of a size lie once there is room for one more: at `at` still, or moved. NULL: no memory, and all is as
 * it was. first: for how many there is room to begin with.
 */
static inline void *zd_grown(void *at, uint64_t used, uint64_t *room, size_t size, uint64_t first)
{
	uint64_t more = *room ? 2 * *room : first;

	if (used < *room)
		return at;
	at = realloc(at, more * size);
	if (at)
		*room = more;
	return at;
}

/* What a thing owns, once nobody uses it. */
#define ZD_FREE(...)                                                             \
	do {                                                                     \
		void *owned_[] = { __VA_ARGS__ };                                \
                                                                                 \
		for (size_t i_ = 0; i_ < sizeof(owned_) / sizeof(*owned_); i_++) \
			free(owned_[i_]);                                        \
	} while (0)

/* clock.c: CLOCK_MONOTONIC, ns */
uint64_t zd_now(void);

/* rng.c: splitmix64; the next number of a seed */
uint64_t zd_splitmix(uint64_t *state);

/* ---------------------------------------------------------------- struct.c */

/*
 * A struct whose first member is its size as the caller was compiled (zoned/abi.h): what he hands in, as this library has
 * it. first: the size of its first version. 0, or -EINVAL and a sentence that names the struct.
 */
int zd_struct_in(void *to, size_t size, size_t first, const void *from, const char *name, struct zd_error *err);
/* What is filled for him: checked before, and given after. */
int zd_struct_room(const void *to, size_t first, const char *name, struct zd_error *err);
void zd_struct_out(void *to, const void *from, size_t size);

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
