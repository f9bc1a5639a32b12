/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request of the kernel's as a command of the disk's, and what came of it as the kernel wants to hear it.
 *
 * Reads, writes and zone commands run in the thread of the queue, in order; what may wait for the host's disk (flush, FUA) and
 * what goes over all zones is given to the helper; what is held up ends in another thread. A write of a sequential zone, an append
 * or a zone command leaves a record while it is under way (record.c), and one that is issued again is only acknowledged if
 * it had taken effect.
 */
#include "serve/ublk/ublk.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* ---------------------------------------------------------------- data */

static off_t place_of(const struct slot *s, uint64_t at)
{
	return (off_t)(UBLK_IO_BUF_OFFSET + ((uint64_t)s->queue->id << UBLK_QUEUE_SHIFT) +
		       ((uint64_t)s->tag << UBLK_TAG_SHIFT) + at);
}

/* n bytes of the request's buffer, at an offset in it: out of it, or (into) the other way. */
static int move(const struct slot *s, uint64_t at, uint8_t *byte, uint64_t n, bool into)
{
	int fd = s->queue->ublk->fd;

	while (n) {
		off_t place = place_of(s, at);
		ssize_t moved = into ? pwrite(fd, byte, n, place) : pread(fd, byte, n, place);

		if (moved <= 0 && !(moved < 0 && errno == EINTR))
			return moved < 0 ? -errno : -EIO;
		if (moved > 0) {
			byte += moved;
			at += (uint64_t)moved;
			n -= (uint64_t)moved;
		}
	}
	return 0;
}

static int take(const struct zd_mover *mover, uint64_t at, void *to, uint64_t n)
{
	struct slot *s = (struct slot *)(uintptr_t)mover;

	/* Where an append will lie is written down before any of it does, and before the pointer passes it. */
	if (s->op == UBLK_ZONE_APPEND && s->record)
		atomic_store_explicit(&s->record->landed, s->q.landed, memory_order_release);
	if (s->zeroes) {
		memset(to, 0, n);
		return 0;
	}
	return move(s, at, to, n, false);
}

static int give(const struct zd_mover *mover, uint64_t at, const void *from, uint64_t n)
{
	return move((const struct slot *)mover, at, (void *)(uintptr_t)from, n, true);
}

/* ---------------------------------------------------------------- results */

static int errno_of(const struct slot *s)
{
	const struct zd_rule_info *rule = zd_rule_info((int)s->q.result, s->queue->ublk->info.dialect);

	if (s->q.result == ZD_E_SEQUENTIAL)
		return -EOPNOTSUPP; /* the kernel writes zeros instead, or says that there is no discard here */
	if (rule)
		return -rule->err;
	switch (s->q.result) {
	case -ENOSPC:
	case -ENOMEM:
	case -EOPNOTSUPP:
	case -ETIMEDOUT: return (int)s->q.result;
	default: return -EIO;
	}
}

/* Whether what the request brings is what the disk holds there. A disk without data cannot tell, and is believed. */
static bool holds(struct slot *s, uint64_t at)
{
	uint64_t length = (uint64_t)s->nr * SECTOR;
	struct iovec one = { NULL, length };
	struct zd_request q = { .size = sizeof(q), .op = ZD_OP_COMPARE, .offset = at, .iov = &one, .nr_iov = 1 };

	if (s->queue->ublk->info.data == ZD_NO_DATA)
		return true;
	one.iov_base = malloc(length);
	if (!one.iov_base || take(&s->mover, 0, one.iov_base, length)) {
		free(one.iov_base);
		return false;
	}
	zd_submit(s->queue->ublk->dev, &q);
	free(one.iov_base);
	return q.result == (int64_t)length;
}

static bool fits(struct slot *s, const struct record *r)
{
	uint64_t landed = atomic_load(&r->landed);

	return landed != ZD_NONE && holds(s, landed);
}

static bool is_behind(struct slot *s, uint64_t at)
{
	uint64_t end = at + (uint64_t)s->nr * SECTOR;

	switch (zd_ublk_written(s->queue->ublk->dev, &s->queue->ublk->info, at, end)) {
	case WRITTEN: return true;
	case PERHAPS_WRITTEN: return holds(s, at);
	default: return false;
	}
}

static void acknowledged(struct slot *s)
{
	atomic_fetch_add_explicit(&s->queue->repeated, 1, memory_order_relaxed);
	s->result = s->op == UBLK_WRITE || s->op == UBLK_ZONE_APPEND ? (int32_t)(s->nr * SECTOR) : 0;
}

/* A command that was refused is one that had taken effect before: of those whose record could not tell. */
static bool was_done(struct slot *s)
{
	switch (atomic_load(&s->left.state)) {
	case RECORD_LEFT_ZONE: return s->q.result == ZD_E_INVALID_TRANSITION;
	case RECORD_LEFT_SENT:
		if (s->op != UBLK_WRITE && s->op != UBLK_WRITE_ZEROES)
			return s->q.result == ZD_E_INVALID_TRANSITION;
		return zd_rule_info((int)s->q.result, ZD_ZBC) && is_behind(s, s->sector * SECTOR) &&
		       holds(s, s->sector * SECTOR);
	default: return false;
	}
}

static void tell(struct slot *s)
{
	struct queue *queue = s->queue;
	zd_ublk *ublk = queue->ublk;

	if (s->q.result < 0 && s->left.state != RECORD_FREE && was_done(s)) {
		acknowledged(s);
	} else if (s->q.result < 0) {
		s->result = errno_of(s);
		atomic_fetch_add_explicit(&queue->errors, 1, memory_order_relaxed);
	} else {
		s->result = s->op == UBLK_READ || s->op == UBLK_WRITE || s->op == UBLK_ZONE_APPEND ? (int32_t)s->q.result : 0;
		s->lba = s->op == UBLK_ZONE_APPEND ? s->q.landed / SECTOR : 0;
		atomic_fetch_add_explicit(s->op == UBLK_READ ? &queue->bytes_out : &queue->bytes_in, (uint64_t)s->result,
					  memory_order_relaxed);
		if (s->op == UBLK_ZONE_RESET && atomic_load(&ublk->records.waiting))
			zd_ublk_records_drop(&ublk->records, s->sector * SECTOR, s->sector * SECTOR + ublk->info.zone_size);
		if (s->op == UBLK_ZONE_RESET_ALL && atomic_load(&ublk->records.waiting))
			zd_ublk_records_drop(&ublk->records, 0, UINT64_MAX);
	}
	if (s->record) {
		if (s->op == UBLK_ZONE_APPEND && s->result >= 0)
			atomic_store_explicit(&s->record->landed, s->lba * SECTOR, memory_order_relaxed);
		zd_ublk_record_set(s->record, s->result < 0 ? RECORD_FREE : RECORD_DONE);
	}
}

void zd_ublk_queue_wake(struct queue *queue)
{
	uint64_t one = 1;

	if (write(queue->event, &one, sizeof(one)) < 0) {
		/* the counter is full: it is readable */
	}
}

static void ended(struct zd_request *q)
{
	struct slot *s = q->arg;

	tell(s);
	zd_work_ended(&s->work);
}

/* ---------------------------------------------------------------- carrying out */

struct slot *zd_ublk_slot_of(struct zd_work *work)
{
	return (struct slot *)((uint8_t *)work - offsetof(struct slot, work));
}

static void carry_out(struct zd_work *work)
{
	struct slot *s = zd_ublk_slot_of(work);

	zd_submit(s->queue->ublk->dev, &s->q); /* the slot may be the kernel's behind this */
}

static void by_helper(struct zd_work *work)
{
	zd_ublk_here = zd_ublk_slot_of(work)->queue->ublk;
	carry_out(work);
	zd_ublk_here = NULL;
}

static void wake(struct zd_desk *desk)
{
	zd_ublk_queue_wake((struct queue *)((uint8_t *)desk - offsetof(struct queue, desk)));
}

static const struct zd_desk_ops desk_ops = { carry_out, by_helper, wake };

static uint64_t pointer(const struct zd_zone *zone)
{
	if (zone->wp != ZD_NONE)
		return zone->wp / SECTOR;
	return zone->type == ZD_CONVENTIONAL || zone->cond == ZD_FULL ? (zone->start + zone->length) / SECTOR : UINT64_MAX;
}

/*
 * The request's buffer may be longer than the zones that were asked for, and has to be filled: its length is what the kernel takes
 * of more than it can have.
 */
static int report(struct slot *s)
{
	struct queue *queue = s->queue;
	const zd_ublk *ublk = queue->ublk;
	uint32_t first = (uint32_t)(s->sector * SECTOR / ublk->info.zone_size), told = 0,
		 most = ublk->max_io / sizeof(struct ublk_zone);
	struct ublk_zone *out = (struct ublk_zone *)queue->report;
	ssize_t n;

	if (s->sector * SECTOR >= ublk->size)
		return -EIO;
	if (most > s->nr)
		most = s->nr;
	if (most > ublk->nr_zones - first)
		most = ublk->nr_zones - first;
	memset(out, 0, ublk->max_io);
	while (told < most) {
		uint32_t want = most - told < REPORT_BATCH ? most - told : REPORT_BATCH;
		int64_t got = zd_report(ublk->dev, first + told, want, queue->zones, &s->err);

		if (got <= 0) {
			s->q.result = got;
			return got ? errno_of(s) : -EIO;
		}
		for (int64_t i = 0; i < got; i++, told++) {
			const struct zd_zone *zone = &queue->zones[i];

			out[told] = (struct ublk_zone){ .start = zone->start / SECTOR,
							.len = zone->length / SECTOR,
							.wp = pointer(zone),
							.type = zone->type,
							.cond = zone->cond,
							.non_seq = zone->non_seq,
							.reset = zone->reset_recommended,
							.capacity = zone->capacity / SECTOR };
		}
	}
	do
		n = pwrite(ublk->fd, out, ublk->max_io, place_of(s, 0));
	while (n < 0 && errno == EINTR);
	return n > 0 ? (int)n : -EIO;
}

/* ---------------------------------------------------------------- translation */

static void leave_record(struct slot *s)
{
	struct records *records = &s->queue->ublk->records;

	s->record = &records->now[s->queue->id * s->queue->ublk->depth + s->tag];
	s->record->op = s->op;
	s->record->nr = s->nr;
	s->record->sector = s->sector;
	s->record->number = atomic_fetch_add_explicit(&records->number, 1, memory_order_relaxed);
	atomic_store_explicit(&s->record->landed, ZD_NONE, memory_order_relaxed);
	zd_ublk_record_set(s->record, RECORD_BEGUN);
}

/* Of a command that is issued again and had taken effect: its result is there. */
static bool claimed(struct slot *s)
{
	struct records *records = &s->queue->ublk->records;
	uint64_t landed;
	bool done;

	if (!atomic_load_explicit(&records->waiting, memory_order_relaxed) ||
	    !zd_ublk_records_claim(records, s, fits, &s->left))
		return false;
	landed = atomic_load(&s->left.landed);
	switch (atomic_load(&s->left.state)) {
	case RECORD_LEFT_DONE:
		done = s->op == UBLK_WRITE || s->op == UBLK_WRITE_ZEROES ? is_behind(s, s->sector * SECTOR) :
		       s->op == UBLK_ZONE_APPEND                         ? is_behind(s, landed) :
									   true;
		break;
	case RECORD_LEFT_EFFECT:
		done = s->op == UBLK_ZONE_APPEND ? is_behind(s, landed) :
						   is_behind(s, s->sector * SECTOR) && holds(s, s->sector * SECTOR);
		break;
	default: return false;
	}
	if (!done)
		return false;
	acknowledged(s);
	s->lba = s->op == UBLK_ZONE_APPEND ? landed / SECTOR : 0;
	zd_ublk_record_set(s->record, RECORD_DONE);
	return true;
}

/* What requests are as commands; WRITE_ZEROES is not always the same. */
static const struct translation {
	bool known, data, fua, slow;
	uint16_t op;
	uint32_t count; /* zones */
} translations[] = {
	[UBLK_READ] = { .known = true, .op = ZD_OP_READ, .data = true },
	[UBLK_WRITE] = { .known = true, .op = ZD_OP_WRITE, .data = true, .fua = true },
	[UBLK_FLUSH] = { .known = true, .op = ZD_OP_FLUSH, .slow = true },
	[UBLK_DISCARD] = { .known = true, .op = ZD_OP_DEALLOCATE, .slow = true },
	[UBLK_WRITE_ZEROES] = { .known = true, .op = ZD_OP_WRITE_ZEROES, .fua = true },
	[UBLK_ZONE_OPEN] = { .known = true, .op = ZD_OP_OPEN, .count = 1 },
	[UBLK_ZONE_CLOSE] = { .known = true, .op = ZD_OP_CLOSE, .count = 1 },
	[UBLK_ZONE_FINISH] = { .known = true, .op = ZD_OP_FINISH, .count = 1 },
	[UBLK_ZONE_APPEND] = { .known = true, .op = ZD_OP_APPEND, .data = true, .fua = true },
	[UBLK_ZONE_RESET_ALL] = { .known = true, .op = ZD_OP_RESET_ALL, .slow = true },
	[UBLK_ZONE_RESET] = { .known = true, .op = ZD_OP_RESET, .count = 1 },
};

/* The request as a command; false: it is none that there is. *slow: it is the helper's. */
static bool translate(struct slot *s, uint32_t flags, bool *slow)
{
	const zd_ublk *ublk = s->queue->ublk;
	uint64_t offset = s->sector * SECTOR, length = (uint64_t)s->nr * SECTOR;
	const struct translation *as;
	bool sequential, data;
	uint32_t zone;

	if (s->op >= sizeof(translations) / sizeof(translations[0]))
		return false;
	as = &translations[s->op];
	if (!as->known)
		return false;
	if (s->op != UBLK_FLUSH && s->op != UBLK_ZONE_RESET_ALL &&
	    (s->sector >= ublk->size / SECTOR || s->nr > ublk->size / SECTOR - s->sector))
		return false;
	zone = s->op == UBLK_FLUSH ? 0 : (uint32_t)(offset / ublk->info.zone_size);
	sequential = !zd_ublk_is_conventional(ublk, zone);
	s->q.op = as->op;
	s->q.offset = s->op == UBLK_FLUSH ? 0 : offset;
	s->q.length = s->op == UBLK_FLUSH ? 0 : length;
	s->q.zone = zone;
	s->q.count = as->count;
	s->q.flags = (flags & UBLK_IO_FUA) && as->fua ? ZD_REQ_FUA : 0;
	*slow = as->slow || s->q.flags;
	data = as->data;
	if (s->op == UBLK_WRITE_ZEROES && sequential) {
		s->q.op = ZD_OP_WRITE; /* like any other */
		s->zeroes = data = true;
	} else if (s->op == UBLK_WRITE_ZEROES) {
		*slow = true;
		if (!(flags & UBLK_IO_NOUNMAP) && !s->q.flags)
			s->q.op = ZD_OP_DEALLOCATE; /* which knows no FUA */
	}
	s->q.mover = data ? &s->mover : NULL;
	return !data || s->zeroes || length <= ublk->max_io; /* more is another tag's */
}

bool zd_ublk_begin(struct slot *s, const struct ublk_io_desc *desc)
{
	struct ublk_io_desc d = *desc;
	uint32_t zone;
	bool slow;

	atomic_fetch_add_explicit(&s->queue->commands, 1, memory_order_relaxed);
	s->op = d.op_flags & 0xFF;
	s->nr = d.nr;
	s->sector = d.start_sector;
	s->lba = 0;
	s->record = NULL;
	s->zeroes = false;
	atomic_store_explicit(&s->left.state, RECORD_FREE, memory_order_relaxed);
	memset(&s->q, 0, sizeof(s->q));
	s->q.size = sizeof(s->q);
	s->q.err = &s->err;
	s->q.done = ended;
	s->q.arg = s;
	if (s->op == UBLK_REPORT_ZONES) {
		s->result = report(s);
		return true;
	}
	if (!translate(s, d.op_flags, &slow)) {
		atomic_fetch_add_explicit(&s->queue->errors, 1, memory_order_relaxed);
		s->result = s->op == UBLK_READ || s->op == UBLK_WRITE ? -EIO : -EOPNOTSUPP;
		return true;
	}
	zone = s->q.zone;
	if (s->op == UBLK_ZONE_APPEND || s->q.op == ZD_OP_RESET_ALL || s->op == UBLK_ZONE_OPEN || s->op == UBLK_ZONE_CLOSE ||
	    s->op == UBLK_ZONE_FINISH || s->op == UBLK_ZONE_RESET ||
	    (s->q.op == ZD_OP_WRITE && !zd_ublk_is_conventional(s->queue->ublk, zone))) {
		leave_record(s);
		if (claimed(s))
			return true;
	}
	return zd_work_begin(&s->work, &s->queue->desk, slow);
}

/* ---------------------------------------------------------------- a queue's slots */

int zd_ublk_queue_init(zd_ublk *ublk, struct queue *queue, uint16_t id)
{
	memset(queue, 0, sizeof(*queue));
	queue->ublk = ublk;
	queue->id = id;
	queue->ring.fd = -1;
	zd_desk_init(&queue->desk, &desk_ops);
	queue->event = eventfd(0, EFD_CLOEXEC);
	queue->slots = calloc(ublk->depth, sizeof(*queue->slots));
	queue->sending = calloc(ublk->depth + 2, sizeof(*queue->sending));
	queue->report = malloc(ublk->max_io);
	queue->zones = calloc(REPORT_BATCH, sizeof(*queue->zones));
	if (queue->event < 0 || !queue->slots || !queue->sending || !queue->report || !queue->zones) {
		int r = queue->event < 0 ? -errno : -ENOMEM;

		zd_ublk_queue_end(queue);
		return r;
	}
	for (uint32_t tag = 0; tag < ublk->depth; tag++) {
		struct slot *s = &queue->slots[tag];

		s->mover = (struct zd_mover){ take, give };
		s->queue = queue;
		s->tag = (uint16_t)tag;
	}
	return 0;
}

void zd_ublk_queue_end(struct queue *queue)
{
	zd_helper_end(&queue->desk.helper);
	zd_desk_close(&queue->desk);
	if (queue->event >= 0)
		close(queue->event);
	free(queue->slots);
	free(queue->sending);
	free(queue->report);
	free(queue->zones);
}
