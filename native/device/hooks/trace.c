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

static uint64_t data_room(const zd_dev *dev);

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
		zd_trace_modes(dev, trace, ZD_TRACE_FILE | ZD_TRACE_SOON | ZD_TRACE_WITH_DATA, 0);
		zd_trace_unlock(trace);
	}
	pthread_mutex_unlock(&trace->recorder);
	return r != 0;
}

/* A record has room, or so many bytes of data have: then the ring of data is `size` long. */
static bool has_room(const struct zd_trace_rt *trace, uint64_t bytes, uint64_t size)
{
	uint32_t modes = atomic_load(&trace->modes);

	if (bytes)
		return !(modes & ZD_TRACE_WITH_DATA) ||
		       atomic_load(&trace->data_head) - atomic_load(&trace->data_tail) + bytes <= size;
	return !(modes & ZD_TRACE_FILE) || atomic_load(&trace->head) - atomic_load(&trace->tail) < FULL;
}

/* No lock is held. 0 or -EINTR. */
static int wait_for_room(zd_dev *dev, struct zd_trace_rt *trace, uint64_t bytes, uint64_t size)
{
	struct zd_wait wait;
	bool told = false;
	int r;

	zd_wait_begin(&wait, NULL);
	for (;;) {
		uint32_t seen = atomic_load(&trace->room);

		if (has_room(trace, bytes, size))
			return 0;
		if (!told)
			atomic_fetch_add(&trace->waits, 1);
		told = true;
		if (!recorder_lives(dev, trace))
			return 0;
		zd_trace_wake(&trace->wake);
		atomic_fetch_add(&trace->waiting, 1);
		if (!has_room(trace, bytes, size)) /* whoever made room before this saw nobody waiting */
			zd_trace_wait(&trace->room, seen, 5000000);
		atomic_fetch_sub(&trace->waiting, 1);
		r = zd_wait_on(dev, &wait, zd_mutex_holder(&trace->recorder));
		if (r)
			return r;
	}
}

/* Under the trace lock: a mark is one of a recording with data, and of that into which its text went. */
static bool has_place(const struct zd_trace_rt *trace, const struct zd_trace_record *r)
{
	if (likely(r->cmd != ZD_TRACE_MARK))
		return true;
	return atomic_load(&trace->modes) & ZD_TRACE_WITH_DATA &&
	       (!r->length || r->data >> 32 == atomic_load(&trace->last_data) >> 32);
}

/* 0, or -ENOENT: the recording that it was for has ended. */
static int put(zd_dev *dev, struct zd_trace_rt *trace, struct zd_trace_record *r)
{
	bool file, wake = false;
	uint64_t head, tail;

	if (zd_trace_lock(dev, trace, NULL)) {
		atomic_fetch_add(&trace->lost, 1);
		return 0;
	}
	if (!has_place(trace, r)) {
		zd_trace_unlock(trace);
		return -ENOENT;
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
	return 0;
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
	if (dev->data_map)
		munmap(dev->data_map, data_room(dev));
	dev->data_map = NULL;
}

/* ---------------------------------------------------------------- what commands write */

#define DATA_MOST (1u << 20) /* longer would only push what else the processor keeps at hand out */
#define DATA_LEAST (2u * (ZD_TRACE_PIECE + (uint32_t)sizeof(struct zd_trace_piece)))

static uint64_t data_at(const zd_dev *dev)
{
	return (dev->g.h.runtime_offset + dev->g.rt_size + ZD_PAGE - 1) & ~(uint64_t)(ZD_PAGE - 1);
}

/* 0: the image, made by another version, has too little. */
static uint64_t data_room(const zd_dev *dev)
{
	uint64_t from = data_at(dev), to = dev->g.h.data_offset, room = to > from ? (to - from) & ~(uint64_t)(ZD_PAGE - 1) : 0;

	return room > DATA_MOST ? DATA_MOST : room < DATA_LEAST ? 0 : room;
}

uint8_t *zd_trace_data_ring(zd_dev *dev, uint64_t *size)
{
	void *map;

	*size = data_room(dev);
	if (!*size || dev->readonly)
		return NULL;
	pthread_mutex_lock(&dev->seg_lock);
	if (!dev->data_map) {
		map = mmap(NULL, *size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, dev->fd, (off_t)data_at(dev));
		if (map != MAP_FAILED)
			dev->data_map = map;
	}
	map = dev->data_map;
	pthread_mutex_unlock(&dev->seg_lock);
	return map;
}

int zd_trace_data_reserve(zd_dev *dev)
{
	uint64_t size = data_room(dev);

	return size ? zd_host_reserve(dev->fd, data_at(dev), size) : -EOPNOTSUPP;
}

void zd_trace_data_punch(zd_dev *dev)
{
	zd_host_punch(dev->fd, data_at(dev), data_room(dev));
}

static uint64_t put_bytes(uint8_t *ring, uint64_t size, uint64_t at, const void *bytes, uint64_t length)
{
	uint64_t from = at % size, first = length < size - from ? length : size - from;

	memcpy(ring + from, bytes, first);
	memcpy(ring, (const uint8_t *)bytes + first, length - first);
	return at + length;
}

/* A command's buffers, as far as they were put in; or what brings its data, and how much of that was. */
struct taken {
	const struct iovec *iov;
	const struct zd_mover *mover;
	uint64_t skip;
};

/* To the ring without a copy in between, which may go round its end. 0, or why it could not be moved. */
static int put_moved(uint8_t *ring, uint64_t size, uint64_t at, const struct taken *from, uint64_t length)
{
	uint64_t to = at % size, first = length < size - to ? length : size - to;
	int r = from->mover->take(from->mover, from->skip, ring + to, first);

	return r || first == length ? r : from->mover->take(from->mover, from->skip + first, ring, length - first);
}

static void put_buffers(uint8_t *ring, uint64_t size, uint64_t at, struct taken *from, uint64_t length)
{
	while (length) {
		uint64_t n = from->iov->iov_len - from->skip;

		if (!n) {
			from->iov++;
			from->skip = 0;
			continue;
		}
		n = n < length ? n : length;
		at = put_bytes(ring, size, at, (const uint8_t *)from->iov->iov_base + from->skip, n);
		from->skip += n;
		length -= n;
	}
}

/* One piece. Whoever dies in its midst has moved no head: it never was. 0, -EAGAIN (another took the room), or an error. */
static int put_piece(zd_dev *dev, struct zd_trace_rt *trace, uint8_t *ring, uint64_t size, struct zd_trace_piece *piece,
		     struct taken *from)
{
	uint64_t head, tail, last, need = sizeof(*piece) + piece->length;
	bool wake;
	int r = zd_trace_lock(dev, trace, NULL);

	if (r)
		return r;
	head = atomic_load(&trace->data_head);
	tail = atomic_load(&trace->data_tail);
	last = atomic_load(&trace->last_data);
	if (!(atomic_load(&trace->modes) & ZD_TRACE_WITH_DATA) || (piece->data && piece->data >> 32 != last >> 32)) {
		zd_trace_unlock(trace);
		return -ENOENT; /* it ended, and may be another one by now */
	}
	if (head - tail + need > size) {
		zd_trace_unlock(trace);
		return -EAGAIN;
	}
	if (!piece->data) {
		piece->data = last + 1;
		atomic_store(&trace->last_data, piece->data);
	}
	head = put_bytes(ring, size, head, piece, sizeof(*piece));
	if (from->mover) {
		r = put_moved(ring, size, head, from, piece->length);
		from->skip += piece->length;
	} else {
		put_buffers(ring, size, head, from, piece->length);
	}
	if (r) { /* it never was */
		zd_trace_unlock(trace);
		return r;
	}
	head += piece->length;
	atomic_store_explicit(&trace->data_head, head, memory_order_release);
	wake = head - tail >= size / 4 && head - need - tail < size / 4;
	zd_trace_unlock(trace);
	if (wake)
		zd_trace_wake(&trace->wake);
	return 0;
}

int zd_trace_data(zd_dev *dev, struct zd_traced *t, const struct iovec *iov, const struct zd_mover *mover, uint64_t length)
{
	struct zd_trace_piece piece = { 0 };
	struct taken from = { iov, mover, 0 };
	uint64_t size, done = 0;
	uint8_t *ring = length ? zd_trace_data_ring(dev, &size) : NULL;
	int r = 0;

	if (!ring)
		return 0;
	while (!r && done < length) {
		piece.at = done;
		piece.length = length - done < ZD_TRACE_PIECE ? length - done : ZD_TRACE_PIECE;
		do {
			r = wait_for_room(dev, t->trace, sizeof(piece) + piece.length, size);
			if (!r)
				r = put_piece(dev, t->trace, ring, size, &piece, &from);
		} while (r == -EAGAIN);
		done += piece.length;
	}
	t->r.data = r ? 0 : piece.data;
	return r == -ENOENT ? 0 : r; /* the recording ended meanwhile */
}

static int nobody_records(struct zd_error *err)
{
	return zd_fail_host(err, ENOENT, "nobody records the disk with its data");
}

int zd_trace_mark(zd_dev *dev, const void *text, uint64_t length, struct zd_error *err)
{
	struct iovec one = { (void *)(uintptr_t)text, length };
	struct zd_traced t = { 0 };
	int r = zd_enter_writable(dev, err);

	if (r)
		return r;
	if (length > ZD_TRACE_LONGEST_MARK)
		return zd_fail_host(err, EINVAL, "the text of a mark may have 4096 bytes");
	t.trace = dev->trace;
	if (!zd_trace_wants_data(&t))
		return nobody_records(err);
	t.r.kind = ZD_TRACE_COMMAND;
	t.r.cmd = ZD_TRACE_MARK;
	t.r.zone = ZD_NO_ZONE;
	t.r.offset = t.r.landed = t.r.wp = ZD_NONE;
	t.r.length = length;
	t.r.cond = 0xFF;
	zd_trace_sign(dev, &t.r);
	t.r.start_ns = zd_now();
	r = wait_for_room(dev, t.trace, 0, 0);
	if (!r)
		r = zd_trace_data(dev, &t, &one, NULL, length);
	if (r)
		return zd_fail_host(err, -r, "interrupted while waiting for the recorder");
	return put(dev, t.trace, &t.r) ? nobody_records(err) : 0;
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
	return wait_for_room(dev, t->trace, 0, 0);
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
