/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A drive-managed SMR disk, writable at random (Aghayev and Desnoyers, "Skylight", FAST 2015): small and random
 * writes go to a media cache, as a log; a map remembers them. A stream that begins at a band's start goes straight
 * to its bands. When cache or map are full, the band that has been dirty longest is cleaned: read, written
 * aside, written back, and only then there is room again. hdd.c's mechanics say how long everything takes.
 */
#include "drive.h"

static int init(struct zd_drive *drive, struct zd_error *err)
{
	const struct zd_sim_dm *p = &drive->model.dm;
	const struct zd_sim_hdd *h = &drive->model.hdd;
	struct dm *d = &drive->dm;
	uint32_t zone;
	int r = zd_hdd_init(drive, err); /* its mechanics */

	if (r)
		return r;
	for (zone = 0; zone < drive->m.b.nr_zones; zone++) {
		if (!zone_conv(&drive->m, zone))
			return zd_sim_fail(err, ZD_E_GEOMETRY,
					   "a drive-managed disk has no sequential zones, and zone %u is one", zone);
	}
	if (!p->band_bytes || p->band_bytes % 4096 || p->band_bytes > drive->m.b.size || !p->map_entries || !p->band_passes ||
	    p->cache_bytes < h->cache_bytes || p->cache_bytes > drive->m.b.size || !h->cache_bytes)
		return zd_sim_fail(
			err, ZD_E_GEOMETRY,
			"the drive-managed model needs bands of whole 4096-byte blocks, map entries and passes above 0, and a "
			"media cache that is larger than the write cache and fits the disk");
	d->nr_bands = (uint32_t)((drive->m.b.size + p->band_bytes - 1) / p->band_bytes);
	d->band_entries = calloc(d->nr_bands, sizeof(*d->band_entries));
	d->band_kib = calloc(d->nr_bands, sizeof(*d->band_kib));
	d->fifo = calloc(d->nr_bands, sizeof(*d->fifo));
	d->listed = calloc(d->nr_bands, sizeof(*d->listed));
	d->items = calloc(h->cache_entries, sizeof(*d->items));
	if (!d->band_entries || !d->band_kib || !d->fifo || !d->listed || !d->items)
		return zd_sim_fail(err, -ENOMEM, "no memory for %u bands", d->nr_bands);
	d->stream_next = NEVER;
	return 0;
}

static void release(struct zd_drive *drive)
{
	zd_hdd_release(drive);
	free(drive->dm.band_entries);
	free(drive->dm.band_kib);
	free(drive->dm.fifo);
	free(drive->dm.listed);
	free(drive->dm.items);
}

static void push(struct zd_drive *drive, uint32_t *first, uint32_t *last, struct command *c)
{
	uint32_t i = (uint32_t)(c - drive->cmds) + 1;

	c->next = 0;
	if (*last)
		drive->cmds[*last - 1].next = i;
	else
		*first = i;
	*last = i;
}

static struct command *pop(struct zd_drive *drive, uint32_t *first, uint32_t *last)
{
	struct command *c = &drive->cmds[*first - 1];

	*first = c->next;
	if (!*first)
		*last = 0;
	return c;
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

/* It goes on a stream that goes straight to the bands, or begins one. */
static bool is_stream(const struct zd_drive *drive, const struct dm_item *item, uint64_t stream_next)
{
	return item->offset == stream_next || (item->offset % drive->model.dm.band_bytes == 0 && item->length >= 65536);
}

/* Whether an item goes straight to its band: in a stream, or because the media cache could not hold it. */
static bool is_direct(const struct zd_drive *drive, const struct dm_item *item, uint64_t stream_next)
{
	return is_stream(drive, item, stream_next) || item->length > drive->model.dm.cache_bytes;
}

static void band_is_clean(struct zd_drive *drive, uint32_t band)
{
	struct dm *d = &drive->dm;

	d->entries -= d->band_entries[band];
	d->used -= (uint64_t)d->band_kib[band] << 10;
	d->band_entries[band] = d->band_kib[band] = 0;
}

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

	while (d->fifo_used && (band == NONE || !d->band_entries[band])) {
		band = d->fifo[d->fifo_first];
		d->fifo_first = (d->fifo_first + 1) % d->nr_bands;
		d->fifo_used--;
		d->listed[band] = 0;
	}
	if (band == NONE || !d->band_entries[band])
		return;
	at = (uint64_t)band * p->band_bytes;
	bytes = drive->m.b.size - at < p->band_bytes ? drive->m.b.size - at : p->band_bytes;
	d->op = DM_CLEAN;
	d->op_band = band;
	for (n = 0; n < p->band_passes; n++) /* read the band, write aside (and back), the last pass writes the band */
		t = zd_hdd_pass(drive, t, n % 2 && n + 1 < p->band_passes ? 0 : at, bytes, n > 0);
	drive->parts[ZD_SIM_CLEAN] += t - begun;
	drive->dm_clean_bytes += bytes * p->band_passes;
	zd_event(drive, t, EV_DRIVE, 0);
}

/* Start the next thing the head does. */
static void work(struct zd_drive *drive)
{
	const struct zd_sim_dm *p = &drive->model.dm;
	const struct zd_sim_hdd *h = &drive->model.hdd;
	struct dm *d = &drive->dm;
	uint64_t t = drive->hdd.free_at > drive->now ? drive->hdd.free_at : drive->now, length = 0, next;
	uint32_t n = 0;
	struct dm_item *item;

	if (d->op)
		return;
	if (d->read_first && (d->serving == 0 || !d->item_used)) {
		struct command *c = pop(drive, &d->read_first, &d->read_last);

		d->serving = (uint32_t)(c - drive->cmds) + 1;
		d->op = DM_READ;
		zd_event(drive, zd_hdd_pass(drive, t, c->offset, c->length, false), EV_DRIVE, 0);
		return;
	}
	d->serving = 0; /* reads and writes take turns */
	if (!d->item_used)
		return;
	item = &d->items[d->item_first];
	if (is_direct(drive, item, d->stream_next)) {
		next = item->offset;
		while (n < d->item_used && length < h->piece) {
			item = &d->items[(d->item_first + n) % h->cache_entries];
			if (item->offset != next)
				break;
			next += item->length;
			length += item->length;
			n++;
		}
		d->op = DM_DIRECT;
		d->op_items = n;
		next -= length;
		zd_event(drive, zd_hdd_pass(drive, t, next, length, true), EV_DRIVE, 0);
		return;
	}
	while (n < d->item_used) {
		item = &d->items[(d->item_first + n) % h->cache_entries];
		if (is_direct(drive, item, d->stream_next) || d->entries + n >= p->map_entries ||
		    d->used + length + item->length > p->cache_bytes)
			break;
		length += item->length;
		n++;
	}
	if (n) {
		d->op = DM_LOG;
		d->op_items = n;
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

static void into_cache(struct zd_drive *drive, const struct dm_item *item)
{
	struct dm *d = &drive->dm;
	uint64_t band_bytes = drive->model.dm.band_bytes, offset = item->offset, left = item->length;
	bool first = true;

	while (left) {
		uint32_t band = (uint32_t)(offset / band_bytes);
		uint64_t in = band_bytes - offset % band_bytes, n = left < in ? left : in;

		if (!d->listed[band]) {
			d->fifo[(d->fifo_first + d->fifo_used++) % d->nr_bands] = band;
			d->listed[band] = 1;
		}
		if (first || !d->band_entries[band]) {
			d->band_entries[band]++;
			d->entries++;
		}
		d->band_kib[band] += (uint32_t)((n + 1023) >> 10);
		d->used += (n + 1023) >> 10 << 10;
		offset += n;
		left -= n;
		first = false;
	}
}

static void event(struct zd_drive *drive)
{
	const struct zd_sim_hdd *h = &drive->model.hdd;
	struct dm *d = &drive->dm;
	uint32_t op = d->op, i;

	d->op = DM_NOTHING;
	switch (op) {
	case DM_READ: {
		struct command *c = &drive->cmds[d->serving - 1];

		drive_done_at(drive, c, drive->now + h->overhead);
		break;
	}
	case DM_LOG:
	case DM_DIRECT:
		for (i = 0; i < d->op_items; i++) {
			struct dm_item *item = &d->items[d->item_first];

			if (op == DM_LOG) {
				into_cache(drive, item);
				drive->dm_fast++;
			} else {
				uint64_t end = item->offset + item->length, size = drive->model.dm.band_bytes;
				uint64_t band = item->offset / size;

				/* A stream came from the start of its band; anything else overwrote whole only what it covers. */
				if (!is_stream(drive, item, d->stream_next))
					band = (item->offset + size - 1) / size;
				for (; band < end / size; band++)
					band_is_clean(drive, (uint32_t)band);
				d->stream_next = end;
				drive->dm_direct++;
			}
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

	switch (c->cmd) {
	case ZD_CMD_READ: push(drive, &d->read_first, &d->read_last, c); break;
	case ZD_CMD_WRITE:
		if (d->wait_first || !admit(drive, c))
			push(drive, &d->wait_first, &d->wait_last, c);
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
