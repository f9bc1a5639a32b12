/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk in use that takes a modelled drive's time for real: zoned/pace.h, answered by a drive whose clock is the
 * monotonic one. Each command that took effect is given to the drive then, whatever is under way there, so that they
 * queue as its model says; it has ended when the drive's event for it lies in the past. The events are worked through
 * whenever somebody asks, and not by a thread: what the drive did meanwhile comes out the same.
 *
 * A flush is given to the drive once its volatile cache is empty, or once as much as lay there has been written.
 */
#include "base/base.h"
#include "told.h"
#include "zoned/pace.h"

#include <pthread.h>

struct ticket {
	uint32_t next;    /* among the free, or among the flushes that wait: index + 1 */
	uint32_t left;    /* commands of the drive that have not ended */
	uint64_t written; /* a flush that waits: drive->media_bytes when it may go */
	bool waits;       /* a flush that waits for the cache */
	bool dropped;     /* nobody asks any more */
};

struct pace {
	pthread_mutex_t lock;
	struct zd_drive drive;
	uint64_t since; /* ns of the monotonic clock */
	struct ticket *tickets;
	uint32_t nr_tickets, free_ticket, flushes; /* index + 1 */
};

/* Whatever is done without memory takes less time than it should, and is done. */
static void lost(struct pace *p, uint32_t index)
{
	p->tickets[index].left--;
}

/* ---------------------------------------------------------------- tickets */

static uint32_t ticket_new(struct pace *p)
{
	uint32_t i, room;

	if (!p->free_ticket) {
		struct ticket *more;

		room = p->nr_tickets ? 2 * p->nr_tickets : 16;
		more = realloc(p->tickets, room * sizeof(*more));
		if (!more)
			return NONE;
		p->tickets = more;
		for (i = room; i-- > p->nr_tickets;) {
			more[i].next = p->free_ticket;
			p->free_ticket = i + 1;
		}
		p->nr_tickets = room;
	}
	i = p->free_ticket - 1;
	p->free_ticket = p->tickets[i].next;
	memset(&p->tickets[i], 0, sizeof(p->tickets[i]));
	return i;
}

static bool over(const struct ticket *t)
{
	return !t->left && !t->waits;
}

static void ticket_free(struct pace *p, uint32_t i)
{
	p->tickets[i].next = p->free_ticket;
	p->free_ticket = i + 1;
}

/* Nobody asks for it any more. */
static void forget(struct pace *p, uint32_t i)
{
	p->tickets[i].dropped = true;
	if (over(&p->tickets[i]))
		ticket_free(p, i);
}

/* ---------------------------------------------------------------- the drive */

static void give(struct pace *p, int cmd, const struct told_part *part, uint32_t index)
{
	p->tickets[index].left++;
	if (zd_told_give(&p->drive, cmd, part, index))
		lost(p, index);
}

/* Flushes whose data is on the medium go to the drive. */
static void let_flushes_go(struct pace *p)
{
	uint32_t *link = &p->flushes, i;

	while ((i = *link)) {
		struct ticket *t = &p->tickets[i - 1];

		if (drive_dirty(&p->drive) && p->drive.media_bytes < t->written) {
			link = &t->next;
			continue;
		}
		*link = t->next;
		t->waits = false;
		give(p, ZD_CMD_FLUSH, &(struct told_part){ 0 }, i - 1);
	}
}

static void done(struct pace *p, uint32_t command)
{
	uint32_t index = p->drive.cmds[command].job;
	struct ticket *t = &p->tickets[index];

	command_free(&p->drive, command);
	t->left--;
	if (t->dropped && over(t))
		ticket_free(p, index);
}

/* What the drive did up to now. */
static void catch_up(struct pace *p)
{
	struct zd_drive *drive = &p->drive;
	uint64_t now = zd_now() - p->since;

	while (drive->heap_used && drive->heap[0].time <= now) {
		struct event e = zd_next_event(drive);

		if (e.time > drive->now)
			drive->now = e.time;
		if (event_kind(&e) == EV_DONE)
			done(p, event_index(&e));
		else
			zd_drive_event(drive, &e);
		if (p->flushes)
			let_flushes_go(p);
	}
	if (now > drive->now)
		drive->now = now;
}

/* ---------------------------------------------------------------- as zoned/pace.h has it */

static uint64_t begin(void *arg, const struct zd_told *what)
{
	struct pace *p = arg;
	struct told_part part;
	uint64_t at = 0, ticket = 0;
	uint32_t i;
	int cmd;

	pthread_mutex_lock(&p->lock);
	catch_up(p);
	i = zd_told_take(&p->drive, what, &cmd) > 0 ? ticket_new(p) : NONE;
	if (i != NONE) {
		if (cmd == ZD_CMD_FLUSH && drive_dirty(&p->drive)) {
			p->tickets[i].waits = true;
			p->tickets[i].written = p->drive.media_bytes + p->drive.hdd.cached + p->drive.dm.item_bytes;
			p->tickets[i].next = p->flushes;
			p->flushes = i + 1;
		} else {
			while (zd_told_part(&p->drive, what, &at, &part))
				give(p, cmd, &part, i);
		}
		ticket = i + 1;
	}
	pthread_mutex_unlock(&p->lock);
	return ticket;
}

static uint64_t left(void *arg, uint64_t ticket)
{
	struct pace *p = arg;
	uint32_t i = (uint32_t)ticket - 1;
	uint64_t ns = 0;

	pthread_mutex_lock(&p->lock);
	catch_up(p);
	/* Without memory events are lost: nobody waits for what will never be told. */
	if (over(&p->tickets[i]) || p->drive.failed || !p->drive.heap_used) {
		forget(p, i);
	} else {
		ns = p->drive.heap[0].time - p->drive.now;
		ns += !ns;
	}
	pthread_mutex_unlock(&p->lock);
	return ns;
}

static void drop(void *arg, uint64_t ticket)
{
	struct pace *p = arg;
	uint32_t i = (uint32_t)ticket - 1;

	pthread_mutex_lock(&p->lock);
	forget(p, i);
	pthread_mutex_unlock(&p->lock);
}

static void end(void *arg)
{
	struct pace *p = arg;

	zd_drive_free(&p->drive);
	free(p->tickets);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

static const struct zd_pace by_drive = { begin, left, drop, end };

int zd_pace_as(zd_dev *dev, const struct zd_config *disk, const struct zd_sim_model *model, uint64_t seed, struct zd_error *err)
{
	struct pace *p;
	int r;

	p = calloc(1, sizeof(*p));
	if (!p)
		return zd_sim_fail(err, -ENOMEM, "no memory");
	pthread_mutex_init(&p->lock, NULL);
	p->since = zd_now();
	r = zd_drive_init_timed(&p->drive, "pace", disk, model, seed, err);
	if (!r)
		r = zd_set_pace(dev, &by_drive, p, err);
	if (r)
		end(p);
	return r;
}
