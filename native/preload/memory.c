/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The program's memory: a buffer that is not there is EFAULT, not a signal in the midst of a write that holds locks.
 *
 * The kernel is asked for a buffer once. What it said is kept, in each thread for some dozens of buffers, until the
 * program changes its mappings: munmap() and its kin come by here for that. Who unmaps a buffer in another way, or while a
 * call of another thread uses it, is on its own.
 */
#include "preload/preload.h"
#include "preload/real.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/shm.h>

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif
#define PAGE 4096ull

_Atomic uint32_t zp_memory_changes;
__thread struct zp_known zp_known;

void zp_memory_changed(void)
{
	atomic_fetch_add(&zp_memory_changes, 1);
}

/* Whether this kernel has the advice (5.14): of a page that is there. */
static bool can_ask(void)
{
	static _Atomic int answer; /* 0: not yet */
	static char page[2 * PAGE];
	void *inside = (void *)(((uintptr_t)page + PAGE - 1) & ~(uintptr_t)(PAGE - 1));

	if (!atomic_load(&answer))
		atomic_store(&answer, madvise(inside, PAGE, MADV_POPULATE_READ) ? 1 : 2);
	return atomic_load(&answer) == 2;
}

static __attribute__((noinline)) int ask(uintptr_t from, uintptr_t to, bool to_be_filled)
{
	uint32_t now = atomic_load(&zp_memory_changes);
	uintptr_t *kept = zp_known.ranges[to_be_filled][zp_known_place(from)];
	int saved = errno;

	if (to < from)
		return -EFAULT;
	from &= ~(uintptr_t)(PAGE - 1);
	to = (to + PAGE - 1) & ~(uintptr_t)(PAGE - 1);
	if (madvise((void *)from, to - from, to_be_filled ? MADV_POPULATE_WRITE : MADV_POPULATE_READ)) {
		int why = errno;

		if (why == EINVAL && can_ask())
			why = EFAULT; /* it is there, and may not be read or written */
		errno = saved;
		return why == ENOMEM || why == EFAULT ? -EFAULT : 0;
	}
	if (zp_known.changes != now) {
		memset(zp_known.ranges, 0, sizeof(zp_known.ranges));
		zp_known.changes = now;
	}
	kept[0] = from;
	kept[1] = to;
	return 0;
}

int zp_memory(const struct iovec *iov, int n, bool to_be_filled)
{
	int i, r;

	for (i = 0; i < n; i++) {
		uintptr_t from = (uintptr_t)iov[i].iov_base;

		if (!iov[i].iov_len || zp_likely(zp_memory_known(from, iov[i].iov_len, to_be_filled)))
			continue;
		r = ask(from, from + iov[i].iov_len, to_be_filled);
		if (r)
			return r;
	}
	return 0;
}

/* ---------------------------------------------------------------- names */

ZP_EXPORT int munmap(void *at, size_t length)
{
	int r = zp_real.munmap(at, length);

	zp_memory_changed();
	return r;
}

ZP_EXPORT int mprotect(void *at, size_t length, int protection)
{
	int r = zp_real.mprotect(at, length, protection);

	zp_memory_changed();
	return r;
}

ZP_EXPORT void *mremap(void *at, size_t length, size_t wanted, int flags, ...)
{
	va_list list;
	void *there;

	va_start(list, flags);
	there = va_arg(list, void *);
	va_end(list);
	there = zp_real.mremap(at, length, wanted, flags, there);
	zp_memory_changed();
	return there;
}

ZP_EXPORT int shmdt(const void *at)
{
	int r = zp_real.shmdt(at);

	zp_memory_changed();
	return r;
}
