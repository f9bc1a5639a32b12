/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A drive-managed SMR disk, writable at random (Aghayev and Desnoyers, "Skylight", FAST 2015): small and random
 * writes go to a media cache, as a log; a map remembers where each extent is. Streams that begin at a band's start go
 * straight to their bands, as many as the drive can follow. When cache or map are full, the band that has been dirty longest is cleaned: read, written
 * aside, written back, and only then there is room again. hdd.c's mechanics say how long everything takes.
 */
#include "drive.h"

static int init(struct zd_drive *drive, struct zd_error *err)
{
	const struct zd_sim_dm *p = &drive->model.dm;
	const struct zd_sim_hdd *h = &drive->model.hdd;
	struct dm *d = &drive->dm;
	uint32_t zone, n;
	int r = zd_hdd_init(drive, err); /* its mechanics */

	if (r)
		return r;
	for (zone = 0; zone < drive->m.b.nr_zones; zone++) {
		if (!zone_conv(&drive->m, zone))
			return zd_sim_fail(err, ZD_E_GEOMETRY,
					   "a drive-managed disk has no sequential zones, and zone %u is one", zone);
	}
	if (!p->band_bytes || p->band_bytes % 4096 || p->band_bytes > drive->m.b.size || !p->map_entries || !p->band_passes ||
	    p->cache_bytes < h->cache_bytes || p->cache_bytes > drive->m.b.size || !h->cache_bytes || !p->streams ||
	    p->streams > 1024)
		return zd_sim_fail(
			err, ZD_E_GEOMETRY,
			"the drive-managed model needs bands of whole 4096-byte blocks, map entries and passes above 0, 1 to "
			"1024 streams, and a media cache that is larger than the write cache and fits the disk");
	d->nr_bands = (uint32_t)((drive->m.b.size + p->band_bytes - 1) / p->band_bytes);
	d->bands = calloc(d->nr_bands, sizeof(*d->bands));
	d->fifo = calloc(d->nr_bands, sizeof(*d->fifo));
	d->items = calloc(h->cache_entries, sizeof(*d->items));
	d->aside = calloc(h->cache_entries, sizeof(*d->aside));
	d->streams = calloc(p->streams, sizeof(*d->streams));
	if (!d->bands || !d->fifo || !d->items || !d->aside || !d->streams)
		return zd_sim_fail(err, -ENOMEM, "no memory for %u bands", d->nr_bands);
	for (n = 0; n < p->streams; n++)
		d->streams[n].next = NEVER;
	return 0;
}

static void release(struct zd_drive *drive)
{
	struct dm *d = &drive->dm;
	uint32_t i;

	zd_hdd_release(drive);
	for (i = 0; d->bands && i < d->nr_bands; i++)
		free(d->bands[i].extents);
	free(d->bands);
	free(d->fifo);
	free(d->items);
	free(d->aside);
	free(d->streams);
}

static uint64_t through_interface(struct zd_drive *drive, uint64_t length)
{
	struct dm *d = &drive->dm;
	uint64_t from = drive->now > d->interface_free ? drive->now : d->interface_free;
	uint64_t ns = (uint64_t)((double)length * 1e9 / drive->model.hdd.interface_rate);

	d->interface_free = from + ns;
	drive->parts[ZD_SIM_INTERFACE] += ns;
	return d->interface_free + drive->model.hdd.overhead;
}

static bool admit(struct zd_drive *drive, struct command *c)
{
	const struct zd_sim_hdd *p = &drive->model.hdd;
	struct dm *d = &drive->dm;
	struct dm_item *item;

	if (d->item_used == p->cache_entries || (d->item_used && d->item_bytes + c->length > p->cache_bytes))
		return false;
	item = &d->items[(d->item_first + d->item_used++) % p->cache_entries];
	item->offset = c->offset;
	item->length = c->length;
	d->item_bytes += c->length;
	drive_done_at(drive, c, through_interface(drive, c->length));
	return true;
}

/* The stream that an item goes on, else the one that it begins: the one longest without any. NULL: it is of none. */
static struct dm_stream *stream_of(const struct zd_drive *drive, const struct dm_item *item)
{
	const struct dm *d = &drive->dm;
	struct dm_stream *oldest = &d->streams[0];
	uint32_t i;

	for (i = 0; i < drive->model.dm.streams; i++) {
		if (d->streams[i].next == item->offset)
			return &d->streams[i];
		if (d->streams[i].last < oldest->last)
			oldest = &d->streams[i];
	}
	return item->offset % drive->model.dm.band_bytes == 0 && item->length >= 65536 ? oldest : NULL;
}

/* Whether an item goes straight to its band: in a stream, or because the media cache could not hold it. */
static bool is_direct(const struct zd_drive *drive, const struct dm_item *item)
{
	return item->length > drive->model.dm.cache_bytes || stream_of(drive, item);
}

/* ---------------------------------------------------------------- the map */

/* [from, to) of a band is not in the media cache any more, and one more extent fits its list; false: no memory. */
static bool cut(struct dm *d, struct dm_band *band, uint64_t from, uint64_t to)
{
	uint32_t low = 0, high = band->used, end;

	if (band->used + 2 > band->room) {
		uint32_t room = band->room ? 2 * band->room : 8;
		struct dm_extent *more = realloc(band->extents, room * sizeof(*more));

		if (!more)
			return false;
		band->extents = more;
		band->room = room;
	}
	while (low < high) { /* the first that ends behind `from` */
		uint32_t middle = (low + high) / 2;

		if (band->extents[middle].to <= from)
			low = middle + 1;
		else
			high = middle;
	}
	if (low < band->used && band->extents[low].from < from) {
		struct dm_extent *e = &band->extents[low];

		if (e->to > to) { /* its middle: two are left */
			memmove(e + 1, e, (band->used - low) * sizeof(*e));
			band->used++;
			d->entries++;
			e[1].from = to;
			e->to = from;
			d->used -= to - from;
			return true;
		}
		d->used -= e->to - from;
		e->to = from;
		low++;
	}
	for (end = low; end < band->used && band->extents[end].to <= to; end++)
		d->used -= band->extents[end].to - band->extents[end].from;
	if (end < band->used && band->extents[end].from < to) {
		d->used -= to - band->extents[end].from;
		band->extents[end].from = to;
	}
	memmove(&band->extents[low], &band->extents[end], (band->used - end) * sizeof(*band->extents));
	band->used -= end - low;
	d->entries -= end - low;
	return true;
}

static void put(struct dm *d, struct dm_band *band, uint64_t from, uint64_t to)
{
	uint32_t at = band->used;

	while (at && band->extents[at - 1].from > from)
		at--;
	memmove(&band->extents[at + 1], &band->extents[at], (band->used - at) * sizeof(*band->extents));
	band->extents[at] = (struct dm_extent){ from, to };
	band->used++;
	d->entries++;
	d->used += to - from;
}

static void band_is_clean(struct zd_drive *drive, uint32_t band)
{
	struct dm *d = &drive->dm;
	struct dm_band *b = &d->bands[band];
	uint32_t i;

	for (i = 0; i < b->used; i++)
		d->used -= b->extents[i].to - b->extents[i].from;
	d->entries -= b->used;
	free(b->extents);
	b->extents = NULL;
	b->used = b->room = 0;
}

/* What an item covers: from now on it is in the media cache, or at its place. */
static void remember(struct zd_drive *drive, const struct dm_item *item, bool cached)
{
	struct dm *d = &drive->dm;
	uint64_t size = drive->model.dm.band_bytes, offset = item->offset, left = item->length;

	while (left) {
		uint32_t band = (uint32_t)(offset / size);
		uint64_t from = offset % size, n = left < size - from ? left : size - from;
		struct dm_band *b = &d->bands[band];

		if (cached && !b->listed) {
			d->fifo[(d->fifo_first + d->fifo_used++) % d->nr_bands] = band;
			b->listed = true;
		}
		if (cached || b->used) {
			if (!cut(d, b, from, from + n)) {
				drive->failed = true;
				return;
			}
			if (cached)
				put(d, b, from, from + n);
		}
		offset += n;
		left -= n;
	}
}

/* ---------------------------------------------------------------- the head's work */

/* Pass over the media cache's log, which is a ring. */
static uint64_t log_pass(struct zd_drive *drive, uint64_t t, uint64_t length)
{
	const struct zd_sim_dm *p = &drive->model.dm;
	struct dm *d = &drive->dm;

	while (length) {
		uint64_t n = p->cache_bytes - d->log_at;

		if (n > length)
			n = length;
		t = zd_hdd_pass(drive, t, d->log_at, n, true);
		d->log_at = (d->log_at + n) % p->cache_bytes;
		length -= n;
	}
	return t;
}

/* From t on, clean the band that has been dirty longest. */
static void clean(struct zd_drive *drive, uint64_t t)
{
	const struct zd_sim_dm *p = &drive->model.dm;
	struct dm *d = &drive->dm;
	uint64_t begun = t, at, bytes;
	uint32_t n, band = NONE;

	while (d->fifo_used && (band == NONE || !d->bands[band].used)) {
		band = d->fifo[d->fifo_first];
		d->fifo_first = (d->fifo_first + 1) % d->nr_bands;
		d->fifo_used--;
		d->bands[band].listed = false;
	}
	if (band == NONE || !d->bands[band].used)
		return;
	zd_hdd_ahead_break(drive, t);
	at = (uint64_t)band * p->band_bytes;
	bytes = drive->m.b.size - at < p->band_bytes ? drive->m.b.size - at : p->band_bytes;
	d->op = DM_CLEAN;
	d->op_band = band;
	drive->hdd.busy = true;
	for (n = 0; n < p->band_passes; n++) /* read the band, write aside (and back), the last pass writes the band */
		t = zd_hdd_pass(drive, t, n % 2 && n + 1 < p->band_passes ? 0 : at, bytes, n > 0);
	drive->parts[ZD_SIM_CLEAN] += t - begun;
	drive->dm_clean_bytes += bytes * p->band_passes;
	zd_event(drive, t, EV_DRIVE, 0);
}

/* Items that go on where the first ends come to the front, up to a piece: how many, and their bytes. */
static uint32_t gather(struct zd_drive *drive, uint64_t *length)
{
	const struct zd_sim_hdd *h = &drive->model.hdd;
	struct dm *d = &drive->dm;
	uint64_t next = d->items[d->item_first].offset;
	uint32_t i, n = 0, others = 0;

	for (i = 0; i < d->item_used; i++) {
		struct dm_item item = d->items[(d->item_first + i) % h->cache_entries];

		if (item.offset != next || (n && *length >= h->piece)) {
			d->aside[others++] = item;
			continue;
		}
		d->items[(d->item_first + n++) % h->cache_entries] = item;
		*length += item.length;
		next += item.length;
	}
	for (i = 0; i < others; i++)
		d->items[(d->item_first + n + i) % h->cache_entries] = d->aside[i];
	return n;
}

/* Start the next thing the head does. */
static void work(struct zd_drive *drive)
{
	const struct zd_sim_dm *p = &drive->model.dm;
	const struct zd_sim_hdd *h = &drive->model.hdd;
	struct dm *d = &drive->dm;
	uint64_t t = drive->hdd.free_at > drive->now ? drive->hdd.free_at : drive->now, length = 0, at;
	uint32_t n = 0, before = 0, read;
	struct dm_item *item;

	if (d->op)
		return;
	if (drive->hdd.ahead_live && drive->hdd.ahead_at > t)
		t = drive->hdd.ahead_at;
	if (drive->hdd.queue_first && (!d->read_last || !d->item_used)) { /* reads and writes take turns */
		struct command *c;

		read = zd_hdd_choose_read(drive, t, &at, &before);
		c = zd_hdd_take(drive, read, before);
		d->serving = read;
		d->read_last = true;
		d->op = DM_READ;
		drive->hdd.busy = true;
		zd_hdd_ahead_break(drive, t);
		zd_event(drive, zd_hdd_pass(drive, t, c->offset, c->length, false), EV_DRIVE, 0);
		return;
	}
	d->read_last = false;
	if (!d->item_used)
		return;
	item = &d->items[d->item_first];
	if (is_direct(drive, item)) {
		d->op = DM_DIRECT;
		d->op_items = gather(drive, &length);
		drive->hdd.busy = true;
		zd_hdd_ahead_break(drive, t);
		zd_event(drive, zd_hdd_pass(drive, t, item->offset, length, true), EV_DRIVE, 0);
		return;
	}
	while (n < d->item_used) {
		item = &d->items[(d->item_first + n) % h->cache_entries];
		if (is_direct(drive, item) || d->entries + n >= p->map_entries ||
		    d->used + length + item->length > p->cache_bytes)
			break;
		length += item->length;
		n++;
	}
	if (n) {
		d->op = DM_LOG;
		d->op_items = n;
		drive->hdd.busy = true;
		zd_hdd_ahead_break(drive, t);
		zd_event(drive, log_pass(drive, t, length), EV_DRIVE, 0);
		return;
	}
	/* Full: no write goes on before a band was cleaned. */
	if (!drive->dm_full_at) {
		drive->dm_full_at = drive->now;
		drive->dm_full_entries = d->entries;
	}
	clean(drive, t);
}

static void event(struct zd_drive *drive)
{
	const struct zd_sim_hdd *h = &drive->model.hdd;
	struct dm *d = &drive->dm;
	uint32_t op = d->op, i;

	d->op = DM_NOTHING;
	drive->hdd.busy = false;
	switch (op) {
	case DM_READ: {
		struct command *c = &drive->cmds[d->serving - 1];

		zd_hdd_ahead_begin(drive, c);
		drive_done_at(drive, c, drive->now + h->overhead);
		break;
	}
	case DM_LOG:
	case DM_DIRECT:
		for (i = 0; i < d->op_items; i++) {
			struct dm_item *item = &d->items[d->item_first];

			if (op == DM_LOG) {
				drive->dm_fast++;
			} else {
				struct dm_stream *stream = stream_of(drive, item);

				if (stream)
					*stream = (struct dm_stream){ item->offset + item->length, ++d->turn };
				drive->dm_direct++;
			}
			remember(drive, item, op == DM_LOG);
			d->item_bytes -= item->length;
			d->item_first = (d->item_first + 1) % h->cache_entries;
			d->item_used--;
		}
		break;
	case DM_CLEAN:
		band_is_clean(drive, d->op_band);
		drive->dm_cleaned++;
		break;
	}
	while (d->wait_first) {
		struct command *c = &drive->cmds[d->wait_first - 1];
		uint32_t next = c->next;

		if (!admit(drive, c))
			break;
		drive->parts[ZD_SIM_BUFFER_FULL] += drive->now - c->arrived;
		d->wait_first = next;
		if (!next)
			d->wait_last = 0;
	}
	work(drive);
	if (!d->op && drive->model.dm.idle_ns && d->fifo_used)
		zd_event(drive, drive->now + drive->model.dm.idle_ns, EV_IDLE, (uint32_t)(drive->arrivals & 0xFFFFFF));
}

/* Nothing was asked of the drive for a while. */
static void idle(struct zd_drive *drive)
{
	if (!drive->dm.op)
		clean(drive, drive->hdd.free_at > drive->now ? drive->hdd.free_at : drive->now);
}

static void submit(struct zd_drive *drive, struct command *c)
{
	struct dm *d = &drive->dm;
	struct hdd *h = &drive->hdd;
	uint64_t ready;

	switch (c->cmd) {
	case ZD_CMD_READ:
		ready = zd_hdd_ahead_hit(drive, c);
		if (ready != NEVER) {
			uint64_t moved = through_interface(drive, c->length);

			ready += drive->model.hdd.overhead;
			drive_done_at(drive, c, ready > moved ? ready : moved);
			return;
		}
		zd_hdd_push(drive, &h->queue_first, &h->queue_last, c);
		break;
	case ZD_CMD_WRITE:
		if (h->ahead_from < c->offset + c->length && h->ahead_to > c->offset)
			h->ahead_from = h->ahead_to; /* written over: read it again */
		if (d->wait_first || !admit(drive, c))
			zd_hdd_push(drive, &d->wait_first, &d->wait_last, c);
		break;
	default:
		drive_done_at(drive, c,
			      (drive->hdd.free_at > drive->now ? drive->hdd.free_at : drive->now) + drive->model.hdd.overhead);
		return;
	}
	work(drive);
}

static bool dirty(const struct zd_drive *drive)
{
	return drive->dm.item_used != 0;
}

const struct drive_ops zd_drive_dm = {
	.init = init,
	.release = release,
	.submit = submit,
	.event = event,
	.idle = idle,
	.dirty = dirty,
};
