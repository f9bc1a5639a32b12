/* SPDX-License-Identifier: Apache-2.0 */
/* What recording commands (trace.c) and the recorder that writes them to a file (recorder.c) share. */
#ifndef ZD_DEVICE_TRACE_H
#define ZD_DEVICE_TRACE_H

#include "internal.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define ZD_TRACE_BYTES (ZD_PAGE + ZD_TRACE_RING * ZD_TRACE_RECORD) /* the shared part: its state, then the ring */

_Static_assert(sizeof(struct zd_trace_record) == ZD_TRACE_RECORD, "as the ring is laid out");
_Static_assert(sizeof(struct zd_trace_rt) <= ZD_PAGE, "the ring begins a page behind it");

enum zd_trace_mode { /* bits of modes; any of them sets the gate's bit */
	ZD_TRACE_KEEP = 1, /* the last commands are kept, whoever looks */
	ZD_TRACE_FILE = 2, /* a recorder takes all of them to a file: commands wait for room */
	ZD_TRACE_SOON = 4, /* a recorder is about to */
	ZD_TRACE_TELL = 8  /* some handle has an observer */
};

/* Parts of a command in the file: docs/trace-format.md. */
enum zd_trace_flag {
	ZD_TF_OFFSET = 1,
	ZD_TF_LENGTH = 2,
	ZD_TF_ZONE = 4,
	ZD_TF_LANDED = 8,
	ZD_TF_FAILED = 16,
	ZD_TF_INJECTED = 32,
	ZD_TF_OPENER = 64,
	ZD_TF_VIRTUAL = 128
};

static inline struct zd_trace_record *zd_trace_ring(struct zd_trace_rt *trace)
{
	return (struct zd_trace_record *)((uint8_t *)trace + ZD_PAGE);
}

/*
 * Held for the length of a copy, by all but the stopped. What took effect must be put down, so it is not given up easily;
 * cancel (may be NULL) is for threads that no signal reaches. 0, or why it is not held.
 */
static inline int zd_trace_lock(zd_dev *dev, struct zd_trace_rt *trace, const _Atomic bool *cancel)
{
	int r = zd_mutex_lock_surely(dev, &trace->lock, cancel);

	return r == -EOWNERDEAD ? -pthread_mutex_consistent(&trace->lock) : r; /* a record half put in does not count yet */
}

static inline void zd_trace_unlock(struct zd_trace_rt *trace)
{
	pthread_mutex_unlock(&trace->lock);
}

static inline void zd_trace_wait(_Atomic uint32_t *word, uint32_t value, long ns)
{
	struct timespec t = { 0, ns };

	syscall(SYS_futex, word, FUTEX_WAIT, value, &t, NULL, 0);
}

static inline void zd_trace_wake(_Atomic uint32_t *word)
{
	atomic_fetch_add(word, 1);
	syscall(SYS_futex, word, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

/* Under the lock: take modes away, add others; the gate follows. */
void zd_trace_modes(zd_dev *dev, struct zd_trace_rt *trace, uint32_t drop, uint32_t add);
/* The handle may record: it is no read-only one, and the ring has room on the host. */
int zd_trace_enter(zd_dev *dev, struct zd_error *err);

#endif
