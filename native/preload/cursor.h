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

/* The next `length` bytes as buffers of their own in out (room for ZP_MAX_IOV); how many they are. They must be there. */
static inline int zp_cursor_slice(struct zp_cursor *at, uint64_t length, struct iovec *out)
{
	int n = 0;

	while (length && at->n) {
		size_t here = at->iov->iov_len - at->skip;

		if (here > length)
			here = length;
		if (here) {
			out[n].iov_base = (char *)at->iov->iov_base + at->skip;
			out[n++].iov_len = here;
		}
		length -= here;
		at->skip += here;
		if (at->skip == at->iov->iov_len) {
			at->iov++;
			at->n--;
			at->skip = 0;
		}
	}
	return n;
}

/* Copy the next bytes out of the buffers, or into them. */
static inline void zp_cursor_copy(struct zp_cursor *at, void *bytes, uint64_t length, int into)
{
	char *own = bytes;

	while (length && at->n) {
		size_t here = at->iov->iov_len - at->skip;
		char *theirs = (char *)at->iov->iov_base + at->skip;

		if (here > length)
			here = length;
		if (here && into)
			memcpy(theirs, own, here);
		else if (here)
			memcpy(own, theirs, here);
		own += here;
		length -= here;
		at->skip += here;
		if (at->skip == at->iov->iov_len) {
			at->iov++;
			at->n--;
			at->skip = 0;
		}
	}
}

#endif
