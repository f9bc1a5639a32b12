/* SPDX-License-Identifier: Apache-2.0 */
/* What the executors share: they make requests of commands, cut buffers to them, and tell what is new of a disk. */
#ifndef ZD_WIRE_COMMON_H
#define ZD_WIRE_COMMON_H

#include "zoned/request.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

/*
 * A request anew. Who cancels may be writing to that word meanwhile; the executor looks at the command's own, which is never
 * taken back.
 */
static inline void zd_wire_ask(struct zd_request *request, int op, struct zd_error *err, void *arg)
{
	memset(request, 0, offsetof(struct zd_request, cancel));
	memset(request->reserved, 0, sizeof(request->reserved));
	__atomic_store_n(&request->cancel, 0, __ATOMIC_RELAXED);
	request->size = sizeof(*request);
	request->op = (uint16_t)op;
	request->err = err;
	request->arg = arg;
}

/*
 * Submitter and completion meet at `turn`: whoever comes second goes on with the command. A request that ends within
 * zd_submit() does not do so there, which keeps a command of many requests from nesting as deep.
 */
static inline bool zd_wire_comes_second(uint32_t *turn)
{
	return __atomic_fetch_add(turn, 1, __ATOMIC_ACQ_REL) != 0;
}

/* true: the request has ended, go on. false: `ended`, which begins with zd_wire_comes_second(), does. NULL: always true. */
static inline bool zd_wire_submit(zd_dev *dev, struct zd_request *request, uint32_t *turn, void (*ended)(struct zd_request *))
{
	*turn = 0;
	request->done = ended;
	zd_submit(dev, request);
	return !ended || zd_wire_comes_second(turn);
}

/*
 * A part of buffers as a request's: these themselves if it begins and ends with some of them, otherwise copies, of which one
 * has room in `one` and more are put into *several. false: no memory.
 */
static inline bool zd_wire_clip(struct zd_request *request, struct iovec *one, struct iovec **several, const struct iovec *iov,
				uint64_t offset, uint64_t length)
{
	struct iovec *pieces = one;
	uint64_t end;
	uint32_t nr;

	for (; iov->iov_len <= offset; iov++)
		offset -= iov->iov_len;
	for (nr = 0, end = 0; end < offset + length; nr++)
		end += iov[nr].iov_len;
	request->iov = iov;
	request->nr_iov = nr;
	if (!offset && end == length)
		return true;
	if (nr > 1) {
		pieces = realloc(*several, nr * sizeof(*pieces));
		if (!pieces)
			return false;
		*several = pieces;
	}
	memcpy(pieces, iov, nr * sizeof(*pieces));
	pieces[nr - 1].iov_len -= end - (offset + length);
	pieces[0].iov_base = (uint8_t *)pieces[0].iov_base + offset;
	pieces[0].iov_len -= offset;
	request->iov = pieces;
	return true;
}

/* Bytes that buffers hold. */
static inline uint64_t zd_wire_total(const struct iovec *iov, uint32_t nr)
{
	uint64_t length = 0;

	for (uint32_t i = 0; i < nr; i++)
		length += iov[i].iov_len;
	return length;
}

/* The first `length` bytes of what the other side sent, as far as it sent so many. */
static inline void zd_wire_gather(void *to, const struct iovec *from, uint32_t nr, uint64_t length)
{
	uint8_t *at = to;

	for (uint32_t i = 0; i < nr && length; i++) {
		uint64_t part = from[i].iov_len < length ? from[i].iov_len : length;

		if (part)
			memcpy(at, from[i].iov_base, part);
		at += part;
		length -= part;
	}
}

/* Data put into buffers from a place on, as far as they have room; how much. */
static inline uint64_t zd_wire_scatter(const struct iovec *to, uint32_t nr, uint64_t at, const void *data, uint64_t length)
{
	const uint8_t *from = data;
	uint64_t left = length;

	for (uint32_t i = 0; i < nr && left; i++) {
		uint64_t has = to[i].iov_len, part;

		if (at >= has) {
			at -= has;
			continue;
		}
		part = has - at < left ? has - at : left;
		memcpy((uint8_t *)to[i].iov_base + at, from, part);
		from += part;
		left -= part;
		at = 0;
	}
	return length - left;
}

/* Of those who see the same number change, one tells it; one whose look is older than what was told has seen nothing new. */
static inline bool zd_wire_is_new(_Atomic uint32_t *told, uint32_t now)
{
	uint32_t before = atomic_load_explicit(told, memory_order_relaxed);

	while ((int32_t)(now - before) > 0)
		if (atomic_compare_exchange_weak(told, &before, now))
			return true;
	return false;
}

#endif
