/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Recording commands: a ring of records in the shared state that every opener's commands are put into; a recorder
 * (whole/recorder.c) takes them from there to a file. Nothing here is reached while nobody records: the gate's bit sends
 * commands this way.
 *
 * A command is put into the ring under the locks that it works under, so that records of one zone stand in the order
 * in which the commands took effect. It waits for room before it takes any lock; the room behind FULL is for those
 * that were on their way then. The recorder's thread holds a robust mutex all its life: who waits for room sees its
 * death there, and ends the recording.
 */
#include "device/hooks/hooks.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>

#define FULL (ZD_TRACE_RING * 3 / 4) /* from here on commands wait before they begin */
#define WAKE_AT (ZD_TRACE_RING / 4)  /* so many records get the recorder up before its time */

/* ---------------------------------------------------------------- the shared part */

/*
 * Where this handle may write it. A handle opened read-only has it mapped for looking only: it gets a second mapping,
 * where its user may write the image; else NULL, and its reads stay unrecorded.
 */
static struct zd_trace_rt *to_write(zd_dev *dev)
{
	struct zd_trace_rt *at = NULL;
	char link[64];
	void *map;
	int fd;

	if (!dev->readonly)
		return dev->trace;
	pthread_mutex_lock(&dev->seg_lock);
	if (!dev->trace_map && !dev->own_rt) {
		snprintf(link, sizeof(link), "/proc/self/fd/%d", dev->fd);
		fd = open(link, O_RDWR | O_CLOEXEC);
		map = fd < 0 ? MAP_FAILED :
			       mmap(NULL, ZD_TRACE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd,
				    (off_t)(dev->g.h.runtime_offset + dev->g.rt_trace));
		if (fd >= 0)
			close(fd);
		dev->trace_map = map;
	}
	if (dev->trace_map && dev->trace_map != MAP_FAILED)
		at = dev->trace_map;
	pthread_mutex_unlock(&dev->seg_lock);
	return at;
}

void zd_trace_modes(zd_dev *dev, struct zd_trace_rt *trace, uint32_t drop, uint32_t add)
{
	uint32_t modes = (atomic_load(&trace->modes) & ~drop) | add;

	atomic_store(&trace->modes, modes);
	if (dev->readonly) /* the gate is not its to shut: the next writer finds no mode, and does */
		return;
	if (modes)
		atomic_fetch_or(&dev->head->gate, ZD_GATE_TRACE);
	else
		atomic_fetch_and(&dev->head->gate, ~(uint32_t)ZD_GATE_TRACE);
}

/* 1: the recorder lives. 0: it does not, and the recording was ended. */
static int recorder_lives(zd_dev *dev, struct zd_trace_rt *trace)
{
	int r = pthread_mutex_trylock(&trace->recorder);

	if (r != 0 && r != EOWNERDEAD)
		return 1;
	if (r == EOWNERDEAD)
		pthread_mutex_consistent(&trace->recorder);
	r = zd_trace_lock(dev, trace, NULL);
	if (!r) {
		zd_trace_modes(dev, trace, ZD_TRACE_FILE | ZD_TRACE_SOON, 0);
		zd_trace_unlock(trace);
	}
	pthread_mutex_unlock(&trace->recorder);
	return r != 0;
}

/* No lock is held. 0 or -EINTR. */
static int wait_for_room(zd_dev *dev, struct zd_trace_rt *trace)
{
	struct zd_wait wait;
	bool told = false;
	int r;

	zd_wait_begin(&wait, NULL);
	while ((atomic_load(&trace->modes) & ZD_TRACE_FILE) && atomic_load(&trace->head) - atomic_load(&trace->tail) >= FULL) {
		uint32_t seen = atomic_load(&trace->room);

		if (!told)
			atomic_fetch_add(&trace->waits, 1);
		told = true;
		if (!recorder_lives(dev, trace))
			return 0;
		zd_trace_wake(&trace->wake);
		atomic_fetch_add(&trace->waiting, 1);
		zd_trace_wait(&trace->room, seen, 5000000);
		atomic_fetch_sub(&trace->waiting, 1);
		r = zd_wait_on(dev, &wait, zd_mutex_holder(&trace->recorder));
		if (r)
			return r;
	}
	return 0;
}

static void put(zd_dev *dev, struct zd_trace_rt *trace, struct zd_trace_record *r)
{
	bool file, wake = false;
	uint64_t head, tail;

	if (zd_trace_lock(dev, trace, NULL)) {
		atomic_fetch_add(&trace->lost, 1);
		return;
	}
	file = atomic_load(&trace->modes) & ZD_TRACE_FILE;
	head = atomic_load(&trace->head);
	tail = atomic_load(&trace->tail);
	if (file && head - tail >= ZD_TRACE_RING) {
		atomic_fetch_add(&trace->lost, 1);
	} else {
		r->number = head;
		r->virtual_ns = atomic_load_explicit(&dev->faults->virtual_ns, memory_order_relaxed);
		memcpy(&zd_trace_ring(trace)[head % ZD_TRACE_RING], r, sizeof(*r));
		atomic_store_explicit(&trace->head, head + 1, memory_order_release);
		wake = file && head + 1 - tail == WAKE_AT;
	}
	zd_trace_unlock(trace);
	if (wake)
		zd_trace_wake(&trace->wake);
}

int zd_trace_enter(zd_dev *dev, struct zd_error *err)
{
	int r = zd_enter_writable(dev, err);

	if (r)
		return r;
	r = zd_host_reserve(dev->fd, dev->g.h.runtime_offset + dev->g.rt_trace, ZD_TRACE_BYTES);
	return r ? zd_fail_host(err, -r, "no room on the host for the ring of records") : 0;
}

uint32_t zd_trace_run(zd_dev *dev)
{
	uint32_t modes = atomic_load(&dev->trace->modes) & ZD_TRACE_KEEP;

	atomic_store(&dev->trace->modes, modes);
	return modes ? ZD_GATE_TRACE : 0;
}

void zd_trace_unmap(zd_dev *dev)
{
	if (dev->trace_map && dev->trace_map != MAP_FAILED)
		munmap(dev->trace_map, ZD_TRACE_BYTES);
	dev->trace_map = NULL;
}

/* ---------------------------------------------------------------- one command */

/* Who gives the command. Two system calls would cost more than all the rest of a record. */
void zd_trace_sign(zd_dev *dev, struct zd_trace_record *r)
{
	static _Thread_local struct {
		uint32_t pid, tid;
	} me;

	if (me.pid != dev->pid) { /* the thread's first time, or its first in a forked child */
		me.pid = dev->pid;
		me.tid = (uint32_t)syscall(SYS_gettid);
	}
	r->pid = me.pid;
	r->tid = me.tid;
}

int zd_trace_join(zd_dev *dev, struct zd_traced *t)
{
	if (!(atomic_load_explicit(&dev->head->gate, memory_order_acquire) & ZD_GATE_TRACE))
		return 0;
	t->trace = to_write(dev);
	if (!t->trace)
		return 0;
	if (!dev->readonly && !atomic_load(&t->trace->modes)) {
		/* A recorder that is gone was last seen by a handle that may not shut the gate. */
		if (zd_trace_lock(dev, t->trace, NULL) == 0) {
			zd_trace_modes(dev, t->trace, 0, 0);
			zd_trace_unlock(t->trace);
		}
	}
	return wait_for_room(dev, t->trace);
}

void zd_trace_put(zd_dev *dev, struct zd_traced *t)
{
	if (t->trace)
		put(dev, t->trace, &t->r);
}

void zd_trace_event(zd_dev *dev, int cmd, uint32_t zone, uint64_t offset, uint64_t length, uint32_t fault)
{
	struct zd_trace_record r = {
		.kind = ZD_TRACE_COMMAND, .cmd = (uint8_t)cmd, .zone = zone, .offset = offset, .length = length
	};
	struct zd_trace_rt *trace;

	if (!(atomic_load(&dev->head->gate) & ZD_GATE_TRACE) || !(trace = to_write(dev)))
		return;
	r.landed = r.wp = ZD_NONE;
	r.cond = 0xFF;
	r.injected = fault != 0;
	r.fault = fault;
	zd_trace_sign(dev, &r);
	r.start_ns = zd_now();
	put(dev, trace, &r);
}

/* ---------------------------------------------------------------- the last commands */

int zd_trace_keep(zd_dev *dev, int on, struct zd_error *err)
{
	int r = zd_trace_enter(dev, err);

	if (r)
		return r;
	r = zd_trace_lock(dev, dev->trace, NULL);
	if (r)
		return zd_fail_host(err, -r, "interrupted");
	zd_trace_modes(dev, dev->trace, on ? 0 : ZD_TRACE_KEEP, on ? ZD_TRACE_KEEP : 0);
	zd_trace_unlock(dev->trace);
	return 0;
}

int64_t zd_trace_last(zd_dev *dev, struct zd_trace_record *out, uint32_t max, struct zd_error *err)
{
	const struct zd_trace_record *ring;
	struct zd_trace_rt *trace;
	uint64_t head, first, now, i, n = 0;
	int r = zd_enter(dev, err);

	if (r)
		return r;
	trace = dev->trace;
	if (dev->own_rt && dev->shared_rt) /* what the last user left, if the area is still whose it says */
		trace = zd_runtime_same(dev, dev->shared_rt) ? (struct zd_trace_rt *)(dev->shared_rt + dev->g.rt_trace) : NULL;
	if (!trace)
		return 0;
	ring = zd_trace_ring(trace);
	head = atomic_load_explicit(&trace->head, memory_order_acquire);
	first = head > max ? head - max : 0;
	if (head - first > ZD_TRACE_RING - 1)
		first = head - (ZD_TRACE_RING - 1);
	for (i = first; i < head; i++)
		memcpy(&out[i - first], &ring[i % ZD_TRACE_RING], sizeof(*out));
#ifndef ZD_TSAN /* which knows no fences */
	atomic_thread_fence(memory_order_acquire);
#endif
	/* Those that were overwritten meanwhile are not the last any more. */
	now = atomic_load_explicit(&trace->head, memory_order_acquire);
	for (i = first; i < head; i++) {
		if (i + ZD_TRACE_RING > now && out[i - first].number == i)
			out[n++] = out[i - first];
	}
	return (int64_t)n;
}
