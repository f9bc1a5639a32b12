/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The recorder: a thread of the recording process that takes commands from the shared ring (trace.c) to a file, and
 * what stands around them there: the disk's description, its zones before and after. docs/trace-format.md tells the
 * bytes; tracefile.c reads them.
 */
#include "device/whole/whole.h"

#include <fcntl.h>
#include <stdlib.h>

/* ---------------------------------------------------------------- the thread */

static void let_in(struct zd_trace_rt *trace, uint64_t tail)
{
	atomic_store(&trace->tail, tail);
	if (atomic_load(&trace->waiting))
		zd_trace_wake(&trace->room);
}

/* What was taken is in the file. */
static void let_data_in(struct zd_recorder *rec, struct zd_trace_rt *trace)
{
	if (!rec->base || atomic_load(&trace->data_tail) == rec->data_tail)
		return;
	atomic_store(&trace->data_tail, rec->data_tail);
	if (atomic_load(&trace->waiting))
		zd_trace_wake(&trace->room);
}

static int drain(struct zd_recorder *rec, struct zd_trace_rt *trace, uint64_t to)
{
	const struct zd_trace_record *ring = zd_trace_ring(trace);
	uint64_t lost = atomic_load(&trace->lost);
	uint8_t body[128];
	int r = 0;

	while (!r && rec->tail < to) {
		uint8_t *end = zd_record_command(rec, body, &ring[rec->tail % ZD_TRACE_RING]);

		r = zd_record_item(rec, ZD_TRACE_COMMAND, body, (size_t)(end - body));
		rec->tail++;
		if (rec->tail % 64 == 0)
			let_in(trace, rec->tail);
	}
	let_in(trace, rec->tail);
	if (!r && lost != rec->lost)
		r = zd_record_count(rec, ZD_TRACE_LOST, lost - rec->lost, 0, 0);
	rec->lost = lost;
	return r;
}

static bool has_data(const struct zd_recorder *rec, const struct zd_trace_rt *trace)
{
	return rec->base != NULL && atomic_load(&trace->data_head) != rec->data_tail;
}

/* What commands write goes to the file from where it lies, all that is there: more than the records that come next are about. */
static int drain_data(struct zd_recorder *rec, struct zd_trace_rt *trace)
{
	uint64_t size, tail = rec->data_tail, head;
	uint8_t *ring = rec->base ? zd_trace_data_ring(rec->dev, &size) : NULL;
	int r = 0;

	if (!ring)
		return 0;
	head = atomic_load_explicit(&trace->data_head, memory_order_acquire);
	if (head - tail > size)
		return -EIO; /* as below */
	while (!r && head - tail >= sizeof(struct zd_trace_piece)) {
		struct iovec part[2] = { { NULL, 0 }, { ring, 0 } };
		struct zd_trace_piece piece;
		uint64_t from = tail % size, first = size - from < sizeof(piece) ? size - from : sizeof(piece);

		memcpy(&piece, ring + from, first);
		memcpy((uint8_t *)&piece + first, ring, sizeof(piece) - first);
		tail += sizeof(piece);
		/* What other processes say is not believed: it must not lead out of the ring. */
		if (piece.data <= rec->data_from || !piece.length || piece.length > ZD_TRACE_PIECE ||
		    piece.length > head - tail)
			return -EIO;
		from = tail % size;
		first = size - from < piece.length ? size - from : piece.length;
		part[0] = (struct iovec){ ring + from, first };
		part[1].iov_len = piece.length - first;
		r = zd_record_data(rec, piece.data - rec->data_from, piece.at, part);
		tail += piece.length;
		rec->data_tail = tail;
		if (!r && !rec->nr_parts)
			let_data_in(rec, trace);
	}
	return r;
}

static int take(struct zd_recorder *rec, struct zd_trace_rt *trace)
{
	for (;;) {
		bool stop = atomic_load(&rec->stop);
		uint32_t seen = atomic_load(&trace->wake);
		uint64_t to = stop ? atomic_load(&rec->end) : atomic_load_explicit(&trace->head, memory_order_acquire);
		bool idle;
		int r = 0;

		if (!atomic_load(&rec->go) && !stop) {
			zd_trace_wait(&trace->wake, seen, 20000000);
			continue;
		}
		r = drain_data(rec, trace);
		idle = to <= rec->tail;
		if (!r)
			r = drain(rec, trace, to);
		/* One write for data and commands that came together: each that waits for room waits for it. */
		if (!r && rec->used)
			r = zd_record_write_out(rec);
		if (!r)
			let_data_in(rec, trace);
		if (r || stop)
			return r;
		if (idle && !has_data(rec, trace))
			zd_trace_wait(&trace->wake, seen, 20000000);
	}
}

/* To be the recorder. The ring of data has room on the host only under this lock: who recorded before gives it back under it. */
static int hold(struct zd_recorder *rec, struct zd_trace_rt *trace)
{
	int r = pthread_mutex_trylock(&trace->recorder);

	if (r == EOWNERDEAD)
		r = pthread_mutex_consistent(&trace->recorder);
	if (r)
		return -r;
	r = rec->base ? zd_trace_data_reserve(rec->dev) : 0;
	if (r)
		pthread_mutex_unlock(&trace->recorder);
	return r;
}

static void *run(void *arg)
{
	struct zd_recorder *rec = arg;
	struct zd_trace_rt *trace = rec->dev->trace;
	int r = hold(rec, trace);

	pthread_mutex_lock(&rec->lock);
	rec->result = r;
	rec->ready = true;
	pthread_cond_broadcast(&rec->changed);
	pthread_mutex_unlock(&rec->lock);
	if (r)
		return NULL;
	r = take(rec, trace);
	/* If the file cannot be written on, the disk goes on without. Without the lock, the next command ends the recording. */
	if (zd_trace_lock(rec->dev, trace, &rec->stop) == 0) {
		zd_trace_modes(rec->dev, trace, ZD_TRACE_FILE | ZD_TRACE_SOON | ZD_TRACE_WITH_DATA, 0);
		if (rec->base)
			zd_trace_data_punch(rec->dev); /* whoever still brings data sees the modes first */
		zd_trace_unlock(trace);
	}
	rec->waits = atomic_load(&trace->waits);
	zd_trace_wake(&trace->room);
	pthread_mutex_lock(&rec->lock);
	rec->result = r;
	pthread_mutex_unlock(&rec->lock);
	pthread_mutex_unlock(&trace->recorder);
	return NULL;
}

static int spawn(struct zd_recorder *rec)
{
	int r = zd_thread_start(&rec->thread, run, rec);

	if (r)
		return r;
	pthread_mutex_lock(&rec->lock);
	while (!rec->ready)
		pthread_cond_wait(&rec->changed, &rec->lock);
	r = rec->result;
	pthread_mutex_unlock(&rec->lock);
	if (r)
		pthread_join(rec->thread, NULL);
	return r;
}

/* All up to `end` goes into the file; what the thread said. */
static int join(struct zd_recorder *rec, uint64_t end)
{
	atomic_store(&rec->end, end);
	atomic_store(&rec->stop, true);
	zd_trace_wake(&rec->dev->trace->wake);
	pthread_join(rec->thread, NULL);
	return rec->result;
}

/* ---------------------------------------------------------------- beginning and ending */

static int lock_disk(zd_dev *dev)
{
	int r = zd_lock_zones(dev, 0, ZD_STRIPES - 1);

	if (r)
		return r;
	r = zd_lock_resource(dev);
	if (r)
		zd_unlock_zones(dev, 0, ZD_STRIPES - 1);
	return r;
}

static void unlock_disk(zd_dev *dev)
{
	zd_unlock_resource(dev);
	zd_unlock_zones(dev, 0, ZD_STRIPES - 1);
}

/* All zones that are not as new, as rows of the file; the disk is locked. NULL without memory. */
static struct zd_trace_record *collect_zones(zd_dev *dev, uint32_t *n)
{
	struct zd_trace_record *rows = calloc(64, sizeof(*rows)), *more;
	uint32_t z, room = 64;

	*n = 0;
	for (z = 0; rows && z < dev->g.h.nr_zones; z++) {
		struct zd_zone_rt *rt = zd_zone_peek(dev, z);
		struct zd_trace_record *row;
		uint64_t word = rt ? rt->word : 0;

		if (!word)
			continue;
		if (*n == room) {
			more = realloc(rows, 2 * room * sizeof(*rows));
			if (!more) {
				free(rows);
				return NULL;
			}
			rows = more;
			room *= 2;
		}
		row = &rows[(*n)++];
		memset(row, 0, sizeof(*row));
		row->zone = z;
		row->cond = (uint8_t)zd_word_cond(word, zd_zone_type(dev, z));
		row->flags = (uint8_t)((word & ZD_W_NON_SEQ ? 1 : 0) | (word & ZD_W_RESET_REC ? 2 : 0) |
				       (word & ZD_W_FINISHED ? 4 : 0) | (word & ZD_W_EXTENSION ? 8 : 0) |
				       (word & ZD_W_ZRWA ? 16 : 0));
		row->wp = (word & ZD_W_ZRWA) >> ZD_W_ZRWA_SHIFT;
		row->done = zd_word_written(word);
		row->length = rt->durable;
		row->offset = row->cond == ZD_IMPLICIT_OPEN ? rt->open_seq : 0;
	}
	return rows;
}

static int put_zones(struct zd_recorder *rec, int kind, const struct zd_trace_record *rows, uint32_t n)
{
	bool before = kind == ZD_TRACE_ZONE_BEFORE;
	uint32_t i;
	int r = 0;

	for (i = 0; !r && i < n; i++)
		r = zd_record_zone(rec, kind, &rows[i]);
	if (!r)
		r = zd_record_count(rec, before ? ZD_TRACE_BEGIN : ZD_TRACE_END, n, before ? 0 : rec->tail - rec->first,
				    before ? 0 : rec->lost);
	return r ? r : zd_record_write_out(rec);
}

static void free_recorder(struct zd_recorder *rec)
{
	if (rec->fd >= 0)
		close(rec->fd);
	pthread_mutex_destroy(&rec->lock);
	pthread_cond_destroy(&rec->changed);
	free(rec);
}

static int begin_recording(struct zd_recorder *rec, struct zd_error *err)
{
	const struct timespec nap = { 0, 2000000 };
	zd_dev *dev = rec->dev;
	struct zd_trace_rt *trace = dev->trace;
	struct zd_trace_record *rows;
	zd_snapshot *base = NULL;
	uint32_t n;
	int r;

	/* Commands that passed the gate before it was shut get this long to be under their locks. */
	r = zd_trace_lock(dev, trace, NULL);
	if (r)
		return zd_fail_host(err, -r, "interrupted before the recording began");
	rec->data_tail = atomic_load(&trace->data_head);
	atomic_store(&trace->data_tail, rec->data_tail);
	/* Numbers of data that no other recording has: a command that brings its data in pieces may have begun under that. */
	rec->data_from = ((atomic_load(&trace->last_data) >> 32) + 1) << 32;
	atomic_store(&trace->last_data, rec->data_from);
	/* Who recorded before, and could not have the lock at the end, has left its modes: they are of no recording any more. */
	zd_trace_modes(dev, trace, ZD_TRACE_FILE | ZD_TRACE_WITH_DATA, ZD_TRACE_SOON | (rec->base ? ZD_TRACE_WITH_DATA : 0u));
	zd_trace_unlock(trace);
	nanosleep(&nap, NULL);
	r = lock_disk(dev);
	if (r)
		return zd_fail_host(err, -r, "interrupted before the recording began");
	rows = collect_zones(dev, &n);
	r = zd_trace_lock(dev, trace, NULL);
	if (r) {
		unlock_disk(dev);
		free(rows);
		return zd_fail_host(err, -r, "interrupted before the recording began");
	}
	rec->first = rec->tail = atomic_load(&trace->head);
	atomic_store(&trace->tail, rec->tail);
	atomic_store(&trace->lost, 0);
	atomic_store(&trace->waits, 0);
	trace->pid = (uint32_t)getpid();
	zd_trace_modes(dev, trace, ZD_TRACE_SOON, rows ? ZD_TRACE_FILE : 0);
	zd_trace_unlock(trace);
	unlock_disk(dev);
	if (rows && rec->base) {
		r = rec->base->hold(rec, rows, n, &base, err);
		if (r) {
			free(rows);
			return r;
		}
	}
	r = rows ? put_zones(rec, ZD_TRACE_ZONE_BEFORE, rows, n) : -ENOMEM;
	if (!r && base)
		r = rec->base->put(rec, base, rows, n);
	if (base)
		rec->base->drop(base);
	free(rows);
	if (r)
		return zd_fail_host(err, -r, "cannot write the trace");
	atomic_store(&rec->go, true);
	return 0;
}

/* One at a time begins, and one that runs is ended by one: whoever takes it out of the handle. */
static int claim(zd_dev *dev)
{
	bool taken;

	pthread_mutex_lock(&dev->trace_lock);
	taken = dev->recording;
	dev->recording = true;
	pthread_mutex_unlock(&dev->trace_lock);
	return taken ? -EALREADY : 0;
}

static void publish(zd_dev *dev, struct zd_recorder *rec)
{
	pthread_mutex_lock(&dev->trace_lock);
	dev->recorder = rec;
	dev->recording = rec != NULL;
	pthread_mutex_unlock(&dev->trace_lock);
}

static struct zd_recorder *take_out(zd_dev *dev)
{
	struct zd_recorder *rec;

	pthread_mutex_lock(&dev->trace_lock);
	rec = dev->recorder;
	dev->recorder = NULL;
	pthread_mutex_unlock(&dev->trace_lock);
	return rec;
}

static const char *why_not(int r)
{
	switch (r) {
	case -EBUSY: return "the disk is being recorded already";
	case -EOPNOTSUPP: return "the image has no spare room to record data through: copy it by dump and restore";
	case -ENOSPC:
	case -EDQUOT:
	case -EFBIG: return "no room on the host to record data through";
	default: return "cannot start the recorder";
	}
}

int zd_record_start(zd_dev *dev, int fd, const struct zd_record_base *base, struct zd_error *err)
{
	struct zd_recorder *rec;
	int r = zd_trace_enter(dev, err);

	if (r)
		return r;
	if (claim(dev))
		return zd_fail_host(err, EALREADY, "this handle records already");
	rec = calloc(1, sizeof(*rec));
	if (!rec) {
		publish(dev, NULL);
		return zd_fail_host(err, ENOMEM, "no memory for a recorder");
	}
	rec->dev = dev;
	rec->base = base;
	pthread_mutex_init(&rec->lock, NULL);
	pthread_cond_init(&rec->changed, NULL);
	rec->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (rec->fd < 0) {
		r = zd_fail_host(err, errno, "cannot use the descriptor of the trace");
		goto failed;
	}
	r = spawn(rec);
	if (r) {
		zd_fail_host(err, -r, why_not(r));
		goto failed;
	}
	r = zd_record_header(rec);
	if (r)
		zd_fail_host(err, -r, "cannot write the trace");
	else
		r = begin_recording(rec, err);
	if (r) {
		join(rec, 0);
		goto failed;
	}
	publish(dev, rec);
	return 0;
failed:
	publish(dev, NULL);
	free_recorder(rec);
	return r;
}

int zd_trace_start(zd_dev *dev, int fd, struct zd_error *err)
{
	return zd_record_start(dev, fd, NULL, err);
}

int zd_trace_stop(zd_dev *dev, struct zd_trace_status *out, struct zd_error *err)
{
	struct zd_trace_status status = { 0 };
	struct zd_trace_record *rows;
	struct zd_recorder *rec;
	uint64_t end;
	uint32_t n = 0;
	int locked, r = zd_enter(dev, err); /* a forked child loses its parent's recorder here */

	if (!r && out)
		r = zd_struct_room(out, sizeof(*out), "zd_trace_status", err);
	if (r)
		return r;
	rec = take_out(dev);
	if (!rec)
		return zd_fail_host(err, ENOENT, "this handle records nothing");
	zd_tidying(true); /* the file should get its end even when this is interrupted */
	locked = lock_disk(dev);
	zd_tidying(false);
	rows = locked ? NULL : collect_zones(dev, &n);
	end = atomic_load(&dev->trace->head);
	if (!locked)
		unlock_disk(dev);
	r = join(rec, end);
	if (!r && locked)
		r = locked; /* interrupted while somebody stopped holds a zone, whose state nobody can tell: the file has no end */
	else if (!r)
		r = rows ? put_zones(rec, ZD_TRACE_ZONE_AFTER, rows, n) : -ENOMEM;
	free(rows);
	if (out) {
		status.records = rec->tail - rec->first;
		status.lost = rec->lost;
		status.waits = rec->waits;
		status.bytes = rec->written;
		zd_struct_out(out, &status, sizeof(status));
	}
	if (r)
		zd_fail_host(err, -r, locked ? "interrupted before the trace got its end" : "cannot write the trace");
	publish(dev, NULL);
	free_recorder(rec);
	return r;
}

void zd_trace_close(zd_dev *dev)
{
	if (dev->recorder && atomic_load(dev->cookie) == ZD_COOKIE)
		zd_trace_stop(dev, NULL, NULL);
	zd_trace_forked(dev);
}

void zd_trace_forked(zd_dev *dev)
{
	/* The thread stayed with the parent, and so does the recording. */
	if (dev->recorder)
		free_recorder(dev->recorder);
	dev->recorder = NULL;
	dev->recording = false;
	zd_observe_forked(dev);
	zd_trace_unmap(dev);
}

static void recorder_status(zd_dev *dev, struct zd_trace_status *out)
{
	struct zd_recorder *rec;

	pthread_mutex_lock(&dev->trace_lock); /* who ends the recording takes it out before it frees it */
	rec = dev->recorder;
	if (rec) {
		out->mine = 1;
		out->records -= rec->first;
		pthread_mutex_lock(&rec->lock);
		out->error = -rec->result;
		pthread_mutex_unlock(&rec->lock);
	}
	pthread_mutex_unlock(&dev->trace_lock);
}

int zd_trace_status(zd_dev *dev, struct zd_trace_status *given, struct zd_error *err)
{
	struct zd_trace_status status = { 0 }, *out = &status;
	uint32_t modes;
	int r = zd_enter(dev, err);

	if (!r)
		r = zd_struct_room(given, sizeof(*given), "zd_trace_status", err);
	if (r)
		return r;
	modes = atomic_load(&dev->trace->modes);
	out->keeps = modes & ZD_TRACE_KEEP ? 1 : 0;
	out->records = atomic_load(&dev->trace->head);
	out->lost = atomic_load(&dev->trace->lost);
	out->waits = atomic_load(&dev->trace->waits);
	recorder_status(dev, out);
	if (modes & ZD_TRACE_FILE)
		out->recorder = dev->trace->pid;
	zd_struct_out(given, out, sizeof(*out));
	return 0;
}
