/* SPDX-License-Identifier: Apache-2.0 */
/* A place in a list of buffers, and taking pieces from there. */
#ifndef ZD_PRELOAD_CURSOR_H
#define ZD_PRELOAD_CURSOR_H

#include <stdint.h>
#include <string.h>
#include <sys/uio.h>

#define ZP_MAX_IOV 1024

struct zp_cursor {
	const struct iovec *iov;
	int n;
	size_t skip; /* bytes of the first buffer that are behind us */
};

/* What the buffer at hand has of the next `length` bytes; it may be nothing. */
static inline size_t zp_cursor_here(const struct zp_cursor *at, uint64_t length)
{
	size_t here = at->iov->iov_len - at->skip;

	return here < length ? here : (size_t)length;
}

static inline void zp_cursor_step(struct zp_cursor *at, size_t here)
{
	at->skip += here;
	if (at->skip == at->iov->iov_len) {
		at->iov++;
		at->n--;
		at->skip = 0;
	}
}

/* The next `length` bytes as buffers of their own in out (room for ZP_MAX_IOV); how many they are. They must be there. */
static inline int zp_cursor_slice(struct zp_cursor *at, uint64_t length, struct iovec *out)
{
	int n = 0;

	while (length && at->n) {
		size_t here = zp_cursor_here(at, length);

		if (here) {
			out[n].iov_base = (char *)at->iov->iov_base + at->skip;
			out[n++].iov_len = here;
		}
		length -= here;
		zp_cursor_step(at, here);
	}
	return n;
}

/* Copy the next bytes out of the buffers, or into them. */
static inline void zp_cursor_copy(struct zp_cursor *at, void *bytes, uint64_t length, int into)
{
	char *own = bytes;

	while (length && at->n) {
		size_t here = zp_cursor_here(at, length);
		char *theirs = (char *)at->iov->iov_base + at->skip;

		if (here && into)
			memcpy(theirs, own, here);
		else if (here)
			memcpy(own, theirs, here);
		own += here;
		length -= here;
		zp_cursor_step(at, here);
	}
}

#endif
