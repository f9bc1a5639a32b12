/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hard disk with one actuator: where data lies, how long the head takes to get there, which command is next,
 * the write cache and reading ahead. zoned/sim.h tells the parameters. dm.c uses the mechanics of the first half.
 */
#include "drive.h"

#include <math.h>

/* ---------------------------------------------------------------- mechanics */

#define STREAM_REACH (32u << 20) /* commands under way of one stream lie closer together than this */

struct place {
	uint64_t track, cylinder;
	uint32_t track_bytes, zone;
	uint64_t in_track;
};

static inline struct place place_of(const struct zd_drive *drive, uint64_t offset)
{
	const struct hdd *h = &drive->hdd;
	struct place p;
	uint64_t rel, turns;

	p.zone = zone_of(&drive->m, offset);
	rel = offset - zone_start(&drive->m, p.zone);
	p.track_bytes = h->track_bytes[p.zone];
	turns = rel / p.track_bytes;
	p.in_track = rel - turns * p.track_bytes;
	p.track = h->first_track[p.zone] + turns;
	p.cylinder = p.track / drive->model.hdd.heads;
	return p;
}

static inline uint32_t angle_of(const struct hdd *h, const struct place *p)
{
	return (uint32_t)((p->in_track << 32) / p->track_bytes) + (uint32_t)p->track * h->skew;
}

static inline uint64_t seek_ns(const struct zd_drive *drive, uint64_t distance)
{
	double d;

	if (distance == 0)
		return 0;
	d = (double)(distance - 1);
	return drive->model.hdd.seek_one + (uint64_t)(drive->hdd.seek_a * d + drive->hdd.seek_b * sqrt(d));
}

/* When the head stands over `offset`, if it leaves at t and each seek takes `margin` longer. */
static uint64_t position(const struct zd_drive *drive, uint64_t t, uint64_t offset, bool write, uint64_t margin, uint64_t *seek,
			 uint64_t *distance)
{
	const struct zd_sim_hdd *p = &drive->model.hdd;
	const struct hdd *h = &drive->hdd;
	struct place to = place_of(drive, offset);
	uint32_t angle, wait;

	*seek = *distance = 0;
	if (offset == h->head_offset && t == h->free_at) { /* it passes on without a pause */
		if (to.in_track == 0)
			*seek = p->head_switch + (to.zone != h->zone ? p->zone_switch : 0);
		return t + *seek;
	}
	if (to.track != h->track) {
		*distance = to.cylinder > h->cylinder ? to.cylinder - h->cylinder : h->cylinder - to.cylinder;
		*seek = seek_ns(drive, *distance);
		if (*seek < p->head_switch)
			*seek = p->head_switch;
		*seek += margin;
		if (write && *distance)
			*seek += p->write_settle;
		/* A stream that goes on in the next zone pays for that, whichever of its commands is first there. */
		if (to.zone == h->zone + 1 && offset >= h->head_offset && offset - h->head_offset < STREAM_REACH)
			*seek += p->zone_switch;
	}
	t += *seek;
	angle = (uint32_t)((t % h->turn << 32) / h->turn);
	wait = angle_of(h, &to) - angle;
	return t + ((uint64_t)wait * h->turn >> 32);
}

/* The same as the drive expects it when it puts its queue in order: on the safe side, for who comes too late waits
 * for a whole turn. */
static uint64_t expected(const struct zd_drive *drive, uint64_t t, uint64_t offset, bool write)
{
	uint64_t seek, distance;

	return position(drive, t, offset, write, drive->model.hdd.seek_margin, &seek, &distance);
}

/* From `offset` on, once the head is there. Within one zone. */
static uint64_t transfer_ns(const struct zd_drive *drive, const struct place *from, uint64_t length, uint64_t *switches)
{
	const struct hdd *h = &drive->hdd;
	uint64_t crossings = (from->in_track + length - 1) / from->track_bytes;

	*switches = crossings * drive->model.hdd.head_switch;
	return length * h->turn / from->track_bytes + *switches;
}

uint64_t zd_hdd_pass(struct zd_drive *drive, uint64_t t, uint64_t offset, uint64_t length, bool write)
{
	struct hdd *h = &drive->hdd;
	uint64_t seek, distance, at = position(drive, t, offset, write, 0, &seek, &distance);

	if (offset == h->head_offset && t == h->free_at) {
		drive->parts[ZD_SIM_SWITCH] += seek;
	} else {
		drive->parts[ZD_SIM_SEEK] += seek;
		drive->parts[ZD_SIM_ROTATE] += at - t - seek;
		drive->seeks[distance ? 64 - __builtin_clzll(distance) : 0]++;
		drive->moved++;
	}
	while (length) {
		struct place from = place_of(drive, offset);
		uint64_t in_zone = zone_start(&drive->m, from.zone) + zone_length(&drive->m, from.zone) - offset;
		uint64_t n = length < in_zone ? length : in_zone, switches, ns = transfer_ns(drive, &from, n, &switches);

		at += ns;
		drive->parts[ZD_SIM_MEDIA] += ns - switches;
		drive->parts[ZD_SIM_SWITCH] += switches;
		offset += n;
		length -= n;
		if (write)
			drive->media_bytes += n;
		if (length) {
			at += drive->model.hdd.head_switch + drive->model.hdd.zone_switch;
			drive->parts[ZD_SIM_SWITCH] += drive->model.hdd.head_switch + drive->model.hdd.zone_switch;
		} else {
			struct place last = place_of(drive, offset - 1);

			h->track = last.track;
			h->cylinder = last.cylinder;
			h->zone = last.zone;
		}
	}
	h->head_offset = offset;
	h->free_at = at;
	return at;
}

static int bad(const struct zd_sim_hdd *p, struct zd_error *err)
{
	if (p->rpm < 1000 || p->rpm > 30000)
		return zd_sim_fail(err, ZD_E_GEOMETRY, "hdd.rpm is %u: it must be 1000 to 30000", p->rpm);
	if (!p->heads || p->heads > 1024)
		return zd_sim_fail(err, ZD_E_GEOMETRY, "hdd.heads is %u: it must be 1 to 1024", p->heads);
	if (!(p->rate_inner > 1e6) || !(p->rate_outer >= p->rate_inner) || !(p->rate_outer < 1e10))
		return zd_sim_fail(err, ZD_E_GEOMETRY, "hdd rates must be 1 MB/s to 10 GB/s, the inner one not above the outer");
	if (!(p->interface_rate > 0) || !(p->fill_rate > 0))
		return zd_sim_fail(err, ZD_E_GEOMETRY, "hdd.interface and hdd.fill rates must be above 0");
	if (p->seek_one > p->seek_avg || p->seek_avg > p->seek_full)
		return zd_sim_fail(err, ZD_E_GEOMETRY, "hdd seek times must not fall from one cylinder to average to full stroke");
	if (p->cache_bytes && (!p->cache_entries || p->cache_entries > 4096))
		return zd_sim_fail(err, ZD_E_GEOMETRY, "hdd.cache_entries is %u: with a write cache it must be 1 to 4096",
				   p->cache_entries);
	if (!p->queue || p->queue > 1024 || p->piece < 4096)
		return zd_sim_fail(err, ZD_E_GEOMETRY, "hdd.queue must be 1 to 1024 and hdd.piece at least 4096 bytes");
	return 0;
}

int zd_hdd_init(struct zd_drive *drive, struct zd_error *err)
{
	const struct zd_sim_hdd *p = &drive->model.hdd;
	struct hdd *h = &drive->hdd;
	uint32_t zone, n = drive->m.b.nr_zones;
	uint64_t tracks = 0;
	double one = (double)p->seek_one, avg = (double)p->seek_avg, full = (double)p->seek_full, cylinders;
	int r = bad(p, err);

	if (r)
		return r;
	h->turn = 60000000000ull / p->rpm;
	h->track_bytes = malloc(n * sizeof(*h->track_bytes));
	h->first_track = malloc(n * sizeof(*h->first_track));
	h->zone_extent = calloc(n, sizeof(*h->zone_extent));
	h->extents = calloc(p->cache_entries ? p->cache_entries : 1, sizeof(*h->extents));
	if (!h->track_bytes || !h->first_track || !h->zone_extent || !h->extents)
		return zd_sim_fail(err, -ENOMEM, "no memory for the model");
	for (zone = 0; zone < n; zone++) {
		double at = n > 1 ? (double)zone / (double)(n - 1) : 0, rate = p->rate_outer + (p->rate_inner - p->rate_outer) * at;
		uint64_t bytes = (uint64_t)(rate * (double)(h->turn + p->head_switch) / 1e9);

		h->track_bytes[zone] = bytes < 4096 ? 4096 : (uint32_t)(bytes & ~511ull);
		h->first_track[zone] = tracks;
		tracks += (zone_length(&drive->m, zone) + h->track_bytes[zone] - 1) / h->track_bytes[zone];
	}
	h->cylinders = tracks / p->heads + 1;
	cylinders = (double)h->cylinders;
	/* DiskSim's three points: one cylinder, the average over all pairs of places, all cylinders. */
	h->seek_b = (-10 * one + 15 * avg - 5 * full) / (3 * sqrt(cylinders));
	h->seek_a = (7 * one - 15 * avg + 8 * full) / (3 * cylinders);
	h->skew = (uint32_t)(((p->head_switch % h->turn) << 32) / h->turn);
	return 0;
}

void zd_hdd_release(struct zd_drive *drive)
{
	free(drive->hdd.track_bytes);
	free(drive->hdd.first_track);
	free(drive->hdd.zone_extent);
	free(drive->hdd.extents);
}

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
	struct place p;
	uint64_t gone;

	if (!h->ahead_live || t <= h->ahead_at)
		return h->ahead_to;
	p = place_of(drive, h->ahead_to);
	gone = (t - h->ahead_at) / (h->turn + drive->model.hdd.head_switch) * p.track_bytes +
	       (t - h->ahead_at) % (h->turn + drive->model.hdd.head_switch) * p.track_bytes / (h->turn + drive->model.hdd.head_switch);
	gone &= ~511ull;
	return h->ahead_limit - h->ahead_to < gone ? h->ahead_limit : h->ahead_to + gone;
}

/* The head goes elsewhere at t: what was read ahead stays in the buffer. */
static void ahead_break(struct zd_drive *drive, uint64_t t)
{
	struct hdd *h = &drive->hdd;

	if (!h->ahead_live)
		return;
	h->ahead_to = ahead_reach(drive, t);
	h->ahead_live = false;
}

/* A read that the stream has or will have: when it is there, else NEVER. */
static uint64_t ahead_hit(struct zd_drive *drive, const struct command *c)
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

/* ---------------------------------------------------------------- the write cache */

static void push_wait(struct zd_drive *drive, uint32_t *first, uint32_t *last, struct command *c)
{
	uint32_t i = (uint32_t)(c - drive->cmds) + 1;

	c->next = 0;
	if (*last)
		drive->cmds[*last - 1].next = i;
	else
		*first = i;
	*last = i;
}

/* Take a write into the cache; false if there is no room. */
static bool admit(struct zd_drive *drive, struct command *c)
{
	const struct zd_sim_hdd *p = &drive->model.hdd;
	struct hdd *h = &drive->hdd;
	uint32_t i = h->zone_extent[c->zone];
	struct extent *e = i ? &h->extents[i - 1] : NULL;
	bool grows = e && e->offset + e->length == c->offset;
	uint64_t stream = p->stream_bytes ? p->stream_bytes : p->cache_bytes;

	/* A command larger than the cache passes through it when it is empty. */
	if (h->cached && (h->cached + c->length > p->cache_bytes || h->cached_commands == p->cache_entries))
		return false;
	if (grows && e->length && e->length + c->length > stream)
		return false;
	if (!grows) {
		for (i = 0; h->extents[i].length; i++)
			;
		e = &h->extents[i];
		e->offset = c->offset;
		e->zone = c->zone;
		e->commands = 0;
		h->zone_extent[c->zone] = i + 1;
		h->nr_extents++;
	}
	e->length += c->length;
	e->commands++;
	h->cached += c->length;
	h->cached_commands++;
	drive_done_at(drive, c, through_interface(drive, drive->now, c->length, p->interface_rate));
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
		*best_at = expected(drive, t, h->extents[best - 1].offset, true);
		return best;
	}
	for (i = 0, left = h->nr_extents; left; i++) {
		if (!h->extents[i].length)
			continue;
		left--;
		at = expected(drive, t, h->extents[i].offset, true);
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

static uint32_t choose_read(struct zd_drive *drive, uint64_t t, uint64_t *best_at, uint32_t *best_before)
{
	struct hdd *h = &drive->hdd;
	uint32_t i, before = 0, best = 0, seen = 0;
	uint64_t at;

	*best_at = NEVER;
	for (i = h->queue_first; i && seen < drive->model.hdd.queue; before = i, i = drive->cmds[i - 1].next, seen++) {
		at = expected(drive, t, drive->cmds[i - 1].offset, drive->cmds[i - 1].dir == ZD_SIM_WRITE);
		if (at < *best_at) {
			*best_at = at;
			best = i;
			*best_before = before;
		}
	}
	return best;
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
		read = choose_read(drive, t, &read_at, &before);
	/* Reads go first, until the cache is full: then whatever is nearer. */
	if (h->nr_extents && (!read || h->wait_first))
		write = choose_extent(drive, t, &write_at);
	ahead_break(drive, t);
	if (write && (!read || write_at < read_at)) {
		destage(drive, write, t);
		return;
	}
	{
		struct command *c = &drive->cmds[read - 1];

		if (before)
			drive->cmds[before - 1].next = c->next;
		else
			h->queue_first = c->next;
		if (h->queue_last == read)
			h->queue_last = before;
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
		h->ahead_from = c->offset;
		h->ahead_to = c->offset + c->length;
		h->ahead_at = drive->now;
		h->ahead_limit = h->ahead_to + drive->model.hdd.readahead;
		if (h->ahead_limit > drive->m.b.size)
			h->ahead_limit = drive->m.b.size;
		h->ahead_live = drive->model.hdd.readahead > 0 && !h->queue_first;
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
		if (h->ahead_from < zone_start(&drive->m, c->zone) + drive->m.zone_size && h->ahead_to > zone_start(&drive->m, c->zone))
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
		ready = ahead_hit(drive, c);
		if (ready != NEVER) {
			uint64_t moved = through_interface(drive, drive->now, c->length, p->interface_rate);

			drive_done_at(drive, c, ready + p->overhead > moved ? ready + p->overhead : moved);
			return;
		}
		push_wait(drive, &h->queue_first, &h->queue_last, c);
		break;
	case ZD_CMD_WRITE:
	case ZD_CMD_APPEND:
		if (h->ahead_from < c->offset + c->length && h->ahead_to > c->offset)
			h->ahead_from = h->ahead_to; /* rewritten in place: read it again */
		if (!p->cache_bytes)
			push_wait(drive, &h->queue_first, &h->queue_last, c);
		else if (h->wait_first || !admit(drive, c))
			push_wait(drive, &h->wait_first, &h->wait_last, c);
		break;
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
