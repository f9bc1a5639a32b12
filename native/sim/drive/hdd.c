/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hard disk with one actuator (mechanics.c): which command is next, the write cache and reading ahead. zoned/sim.h
 * tells the parameters.
 */
#include "drive.h"

/* ---------------------------------------------------------------- the interface */

static uint64_t through_interface(struct zd_drive *drive, uint64_t t, uint64_t length, double rate)
{
	struct hdd *h = &drive->hdd;
	uint64_t from = t > h->interface_free ? t : h->interface_free, ns = (uint64_t)((double)length * 1e9 / rate);

	h->interface_free = from + ns;
	drive->parts[ZD_SIM_INTERFACE] += ns;
	return h->interface_free + drive->model.hdd.overhead;
}

/* ---------------------------------------------------------------- reading ahead */

/* How far the stream of the last read has come at t. */
static uint64_t ahead_reach(const struct zd_drive *drive, uint64_t t)
{
	const struct hdd *h = &drive->hdd;
	uint64_t gone, track;

	if (!h->ahead_live || t <= h->ahead_at || h->ahead_to == h->ahead_limit)
		return h->ahead_to;
	track = h->track_bytes[zone_of(&drive->m, h->ahead_to)];
	gone = (t - h->ahead_at) / (h->turn + drive->model.hdd.head_switch) * track +
	       (t - h->ahead_at) % (h->turn + drive->model.hdd.head_switch) * track / (h->turn + drive->model.hdd.head_switch);
	gone &= ~511ull;
	return h->ahead_limit - h->ahead_to < gone ? h->ahead_limit : h->ahead_to + gone;
}

/* The head goes elsewhere at t: what was read ahead stays in the buffer. */
void zd_hdd_ahead_break(struct zd_drive *drive, uint64_t t)
{
	struct hdd *h = &drive->hdd;

	if (!h->ahead_live)
		return;
	h->ahead_to = ahead_reach(drive, t);
	h->ahead_live = false;
}

/* A read that the stream has or will have: when it is there, else NEVER. */
uint64_t zd_hdd_ahead_hit(struct zd_drive *drive, const struct command *c)
{
	struct hdd *h = &drive->hdd;
	uint64_t end = c->offset + c->length, ready = drive->now;

	if (c->offset < h->ahead_from || h->ahead_to == h->ahead_from)
		return NEVER;
	if (end <= h->ahead_to)
		return h->ahead_at > ready ? h->ahead_at : ready;
	if (!h->ahead_live || h->busy || c->offset > h->ahead_to + drive->model.hdd.readahead)
		return NEVER;
	/* The head stays on the stream until it has passed the command's end. */
	ready = zd_hdd_pass(drive, h->ahead_at, h->ahead_to, end - h->ahead_to, false);
	h->ahead_to = end;
	h->ahead_at = ready;
	h->ahead_limit = end + drive->model.hdd.readahead;
	if (h->ahead_limit > drive->m.b.size)
		h->ahead_limit = drive->m.b.size;
	if (end - h->ahead_from > 4 * drive->model.hdd.readahead)
		h->ahead_from = end - drive->model.hdd.readahead;
	return ready > drive->now ? ready : drive->now;
}

/* A read ended now: the head goes on from there. */
void zd_hdd_ahead_begin(struct zd_drive *drive, const struct command *c)
{
	struct hdd *h = &drive->hdd;

	h->ahead_from = c->offset;
	h->ahead_to = c->offset + c->length;
	h->ahead_at = drive->now;
	h->ahead_limit = h->ahead_to + drive->model.hdd.readahead;
	if (h->ahead_limit > drive->m.b.size)
		h->ahead_limit = drive->m.b.size;
	h->ahead_live = drive->model.hdd.readahead > 0 && !h->queue_first;
}

/* ---------------------------------------------------------------- the write cache */

void zd_hdd_push(struct zd_drive *drive, uint32_t *first, uint32_t *last, struct command *c)
{
	uint32_t i = (uint32_t)(c - drive->cmds) + 1;

	c->next = 0;
	if (*last)
		drive->cmds[*last - 1].next = i;
	else
		*first = i;
	*last = i;
}

/* Take a write into the cache; false if there is no room. One that is longer than the cache goes through it by parts. */
static bool admit(struct zd_drive *drive, struct command *c)
{
	const struct zd_sim_hdd *p = &drive->model.hdd;
	struct hdd *h = &drive->hdd;
	uint64_t stream = p->stream_bytes && p->stream_bytes < p->cache_bytes ? p->stream_bytes : p->cache_bytes;
	uint64_t in = c->length > stream ? h->part : 0, offset = c->offset + in, length = c->length - in, room;
	uint32_t i = h->zone_extent[c->zone];
	struct extent *e = i ? &h->extents[i - 1] : NULL;
	bool grows = e && e->offset + e->length == offset;

	if (c->length > stream) {
		uint64_t has = grows ? e->length : 0;

		room = p->cache_bytes > h->cached ? p->cache_bytes - h->cached : 0;
		if (stream - (has < stream ? has : stream) < room)
			room = stream - (has < stream ? has : stream);
		length = length < room ? length : room;
		if (!length || (!in && h->cached_commands == p->cache_entries))
			return false;
		if (!in)
			c->before = through_interface(drive, drive->now, c->length, p->interface_rate);
	} else if ((h->cached && (h->cached + length > p->cache_bytes || h->cached_commands == p->cache_entries)) ||
		   (grows && e->length && e->length + length > stream)) {
		return false;
	}
	if (!grows) {
		for (i = 0; h->extents[i].length; i++)
			;
		e = &h->extents[i];
		e->offset = offset;
		e->zone = c->zone;
		e->commands = 0;
		h->zone_extent[c->zone] = i + 1;
		h->nr_extents++;
	}
	e->length += length;
	h->cached += length;
	if (!in) {
		e->commands++;
		h->cached_commands++;
	}
	if (c->length <= stream) {
		drive_done_at(drive, c, through_interface(drive, drive->now, c->length, p->interface_rate));
		return true;
	}
	h->part = in + length;
	if (h->part < c->length)
		return false;
	h->part = 0;
	drive_done_at(drive, c, c->before > drive->now ? c->before : drive->now);
	return true;
}

/* The cache has room again. */
static void admit_waiting(struct zd_drive *drive)
{
	struct hdd *h = &drive->hdd;

	while (h->wait_first) {
		struct command *c = &drive->cmds[h->wait_first - 1];
		uint32_t next = c->next;

		if (!admit(drive, c))
			break;
		drive->parts[ZD_SIM_BUFFER_FULL] += drive->now - c->arrived;
		h->wait_first = next;
		if (!next)
			h->wait_last = 0;
	}
}

static void drop_extent(struct zd_drive *drive, uint32_t i)
{
	struct hdd *h = &drive->hdd;

	if (h->zone_extent[h->extents[i].zone] == i + 1)
		h->zone_extent[h->extents[i].zone] = 0;
	h->cached -= h->extents[i].length;
	h->cached_commands -= h->extents[i].commands;
	h->extents[i].length = 0;
	h->nr_extents--;
}

/* Which extent goes to the platter next: the nearest by positioning time, or the one that was begun. */
static uint32_t choose_extent(struct zd_drive *drive, uint64_t t, uint64_t *best_at)
{
	struct hdd *h = &drive->hdd;
	uint32_t i, left, best = h->current;
	uint64_t at;

	*best_at = NEVER;
	if (best) {
		*best_at = zd_hdd_expected(drive, t, h->extents[best - 1].offset, true);
		return best;
	}
	for (i = 0, left = h->nr_extents; left; i++) {
		if (!h->extents[i].length)
			continue;
		left--;
		at = zd_hdd_expected(drive, t, h->extents[i].offset, true);
		if (at < *best_at) {
			*best_at = at;
			best = i + 1;
		}
	}
	return best;
}

static void destage(struct zd_drive *drive, uint32_t chosen, uint64_t t)
{
	struct hdd *h = &drive->hdd;
	struct extent *e = &h->extents[chosen - 1];

	h->current = chosen;
	h->piece = e->length < drive->model.hdd.piece ? e->length : drive->model.hdd.piece;
	h->busy = true;
	zd_event(drive, zd_hdd_pass(drive, t, e->offset, h->piece, true), EV_DRIVE, 0);
}

/* ---------------------------------------------------------------- which work is next */

uint32_t zd_hdd_choose_read(struct zd_drive *drive, uint64_t t, uint64_t *best_at, uint32_t *best_before)
{
	struct hdd *h = &drive->hdd;
	uint32_t i, before = 0, best = 0, seen = 0;
	uint64_t at;

	*best_at = NEVER;
	for (i = h->queue_first; i && seen < drive->model.hdd.queue; before = i, i = drive->cmds[i - 1].next, seen++) {
		at = zd_hdd_expected(drive, t, drive->cmds[i - 1].offset, drive->cmds[i - 1].dir == ZD_SIM_WRITE);
		if (at < *best_at) {
			*best_at = at;
			best = i;
			*best_before = before;
		}
	}
	return best;
}

/* Take a command out of the queue; `before` is the one in front of it, or 0. */
struct command *zd_hdd_take(struct zd_drive *drive, uint32_t read, uint32_t before)
{
	struct hdd *h = &drive->hdd;
	struct command *c = &drive->cmds[read - 1];

	if (before)
		drive->cmds[before - 1].next = c->next;
	else
		h->queue_first = c->next;
	if (h->queue_last == read)
		h->queue_last = before;
	return c;
}

static void work(struct zd_drive *drive)
{
	struct hdd *h = &drive->hdd;
	uint64_t t = h->free_at > drive->now ? h->free_at : drive->now, read_at, write_at;
	uint32_t read = 0, before = 0, write = 0;

	if (h->busy || (!h->queue_first && !h->nr_extents))
		return;
	if (h->ahead_live && h->ahead_at > t)
		t = h->ahead_at;
	read_at = write_at = NEVER;
	if (h->queue_first)
		read = zd_hdd_choose_read(drive, t, &read_at, &before);
	/* Reads go first, until the cache is full: then whatever is nearer. */
	if (h->nr_extents && (!read || h->wait_first))
		write = choose_extent(drive, t, &write_at);
	zd_hdd_ahead_break(drive, t);
	if (write && (!read || write_at < read_at)) {
		destage(drive, write, t);
		return;
	}
	{
		struct command *c = zd_hdd_take(drive, read, before);

		h->serving = read;
		h->current = 0; /* an interrupted destaging begins anew */
		h->busy = true;
		zd_event(drive, zd_hdd_pass(drive, t, c->offset, c->length, c->dir == ZD_SIM_WRITE), EV_DRIVE, 0);
	}
}

static void event(struct zd_drive *drive)
{
	struct hdd *h = &drive->hdd;

	h->busy = false;
	if (h->serving) {
		struct command *c = &drive->cmds[h->serving - 1];

		h->serving = 0;
		if (c->dir == ZD_SIM_WRITE) { /* no write cache */
			drive_done_at(drive, c, drive->now + drive->model.hdd.overhead);
			work(drive);
			return;
		}
		zd_hdd_ahead_begin(drive, c);
		drive_done_at(drive, c, drive->now + drive->model.hdd.overhead);
	} else if (h->current) {
		struct extent *e = &h->extents[h->current - 1];

		uint32_t gone = (uint32_t)(e->commands * h->piece / e->length);

		e->offset += h->piece;
		e->length -= h->piece;
		e->commands -= gone;
		h->cached -= h->piece;
		h->cached_commands -= gone;
		if (!e->length) {
			drop_extent(drive, h->current - 1);
			h->current = 0;
		}
		admit_waiting(drive);
	}
	work(drive);
}

static uint64_t manage(struct zd_drive *drive, const struct command *c)
{
	const struct zd_sim_hdd *p = &drive->model.hdd;
	struct hdd *h = &drive->hdd;
	uint32_t i;
	uint64_t ns;

	switch (c->cmd) {
	case ZD_CMD_RESET: ns = p->reset; break;
	case ZD_CMD_FINISH: ns = p->finish; break;
	case ZD_CMD_OPEN: ns = p->open; break;
	default: ns = p->close;
	}
	if (c->cmd == ZD_CMD_RESET) { /* what is still in the cache is gone */
		for (i = 0; i < (p->cache_entries ? p->cache_entries : 1) && h->nr_extents; i++) {
			if (h->extents[i].length && h->extents[i].zone == c->zone && h->current != i + 1)
				drop_extent(drive, i);
		}
		if (h->ahead_from < zone_start(&drive->m, c->zone) + drive->m.zone_size &&
		    h->ahead_to > zone_start(&drive->m, c->zone))
			h->ahead_from = h->ahead_to;
		admit_waiting(drive);
	}
	drive->parts[ZD_SIM_ZONE_COMMAND] += ns;
	return drive->now + p->overhead + ns;
}

static void submit(struct zd_drive *drive, struct command *c)
{
	const struct zd_sim_hdd *p = &drive->model.hdd;
	struct hdd *h = &drive->hdd;
	uint64_t ready;

	switch (c->cmd) {
	case ZD_CMD_READ:
		if (!zone_conv(&drive->m, c->zone) && zone_cond(&drive->m, c->zone) <= ZD_CLOSED &&
		    c->offset - zone_start(&drive->m, c->zone) >= zone_written(&drive->m, c->zone)) {
			drive_done_at(drive, c, through_interface(drive, drive->now, c->length, p->fill_rate));
			return;
		}
		if (h->zone_extent[c->zone]) {
			const struct extent *e = &h->extents[h->zone_extent[c->zone] - 1];

			if (c->offset >= e->offset && c->offset + c->length <= e->offset + e->length) {
				drive_done_at(drive, c, through_interface(drive, drive->now, c->length, p->interface_rate));
				return;
			}
		}
		ready = zd_hdd_ahead_hit(drive, c);
		if (ready != NEVER) {
			uint64_t moved = through_interface(drive, drive->now, c->length, p->interface_rate);

			drive_done_at(drive, c, ready + p->overhead > moved ? ready + p->overhead : moved);
			return;
		}
		zd_hdd_push(drive, &h->queue_first, &h->queue_last, c);
		break;
	case ZD_CMD_WRITE:
	case ZD_CMD_APPEND:
		if (h->ahead_from < c->offset + c->length && h->ahead_to > c->offset)
			h->ahead_from = h->ahead_to; /* rewritten in place: read it again */
		if (!p->cache_bytes)
			zd_hdd_push(drive, &h->queue_first, &h->queue_last, c);
		else if (h->wait_first || !admit(drive, c))
			zd_hdd_push(drive, &h->wait_first, &h->wait_last, c);
		break;
	case ZD_CMD_COMMIT_ZRWA:
	case ZD_CMD_FLUSH: drive_done_at(drive, c, (h->free_at > drive->now ? h->free_at : drive->now) + p->overhead); return;
	default: drive_done_at(drive, c, manage(drive, c));
	}
	work(drive);
}

static bool dirty(const struct zd_drive *drive)
{
	return drive->hdd.cached != 0;
}

const struct drive_ops zd_drive_hdd = {
	.init = zd_hdd_init,
	.release = zd_hdd_release,
	.submit = submit,
	.event = event,
	.dirty = dirty,
};
