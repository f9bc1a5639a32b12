/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A drive-managed SMR disk, writable at random (Aghayev and Desnoyers, "Skylight", FAST 2015): small and random
 * writes go to a media cache, as a log; a map remembers them. A stream that begins at a band's start goes straight
 * to its bands. When cache or map are full, the band that has been dirty longest is cleaned: read, written
 * aside, written back, and only then there is room again. hdd.c's mechanics say how long everything takes.
 */
#include "sim.h"

int zd_dm_init(struct zd_sim *sim, struct zd_error *err)
{
	const struct zd_sim_dm *p = &sim->model.dm;
	const struct zd_sim_hdd *h = &sim->model.hdd;
	struct dm *d = &sim->dm;
	uint32_t zone;

	for (zone = 0; zone < sim->m.b.nr_zones; zone++) {
		if (!zone_conv(&sim->m, zone))
			return zd_sim_fail(err, ZD_E_GEOMETRY, "a drive-managed disk has no sequential zones, and zone %u is one", zone);
	}
	if (!p->band_bytes || p->band_bytes % 4096 || p->band_bytes > sim->m.b.size || !p->map_entries || !p->band_passes ||
	    p->cache_bytes < h->cache_bytes || p->cache_bytes > sim->m.b.size || !h->cache_bytes)
		return zd_sim_fail(err, ZD_E_GEOMETRY,
				   "the drive-managed model needs bands of whole 4096-byte blocks, map entries and passes above 0, and a "
				   "media cache that is larger than the write cache and fits the disk");
	d->nr_bands = (uint32_t)((sim->m.b.size + p->band_bytes - 1) / p->band_bytes);
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

void zd_dm_free(struct zd_sim *sim)
{
	free(sim->dm.band_entries);
	free(sim->dm.band_kib);
	free(sim->dm.fifo);
	free(sim->dm.listed);
	free(sim->dm.items);
}

static void push(struct zd_sim *sim, uint32_t *first, uint32_t *last, struct command *c)
{
	uint32_t i = (uint32_t)(c - sim->cmds) + 1;

	c->next = 0;
	if (*last)
		sim->cmds[*last - 1].next = i;
	else
		*first = i;
	*last = i;
}

static struct command *pop(struct zd_sim *sim, uint32_t *first, uint32_t *last)
{
	struct command *c = &sim->cmds[*first - 1];

	*first = c->next;
	if (!*first)
		*last = 0;
	return c;
}

static uint64_t through_interface(struct zd_sim *sim, uint64_t length)
{
	struct dm *d = &sim->dm;
	uint64_t from = sim->now > d->interface_free ? sim->now : d->interface_free;
	uint64_t ns = (uint64_t)((double)length * 1e9 / sim->model.hdd.interface_rate);

	d->interface_free = from + ns;
	sim->parts[ZD_SIM_INTERFACE] += ns;
	return d->interface_free + sim->model.hdd.overhead;
}

static bool admit(struct zd_sim *sim, struct command *c)
{
	const struct zd_sim_hdd *p = &sim->model.hdd;
	struct dm *d = &sim->dm;
	struct dm_item *item;

	if (d->item_used == p->cache_entries || (d->item_used && d->item_bytes + c->length > p->cache_bytes))
		return false;
	item = &d->items[(d->item_first + d->item_used++) % p->cache_entries];
	item->offset = c->offset;
	item->length = c->length;
	d->item_bytes += c->length;
	sim_done_at(sim, c, through_interface(sim, c->length));
	return true;
}

/* It goes on a stream that goes straight to the bands, or begins one. */
static bool is_stream(const struct zd_sim *sim, const struct dm_item *item, uint64_t stream_next)
{
	return item->offset == stream_next ||
	       (item->offset % sim->model.dm.band_bytes == 0 && item->length >= 65536);
}

/* Whether an item goes straight to its band: in a stream, or because the media cache could not hold it. */
static bool is_direct(const struct zd_sim *sim, const struct dm_item *item, uint64_t stream_next)
{
	return is_stream(sim, item, stream_next) || item->length > sim->model.dm.cache_bytes;
}

static void band_is_clean(struct zd_sim *sim, uint32_t band)
{
	struct dm *d = &sim->dm;

	d->entries -= d->band_entries[band];
	d->used -= (uint64_t)d->band_kib[band] << 10;
	d->band_entries[band] = d->band_kib[band] = 0;
}

/* Pass over the media cache's log, which is a ring. */
static uint64_t log_pass(struct zd_sim *sim, uint64_t t, uint64_t length)
{
	const struct zd_sim_dm *p = &sim->model.dm;
	struct dm *d = &sim->dm;

	while (length) {
		uint64_t n = p->cache_bytes - d->log_at;

		if (n > length)
			n = length;
		t = zd_hdd_pass(sim, t, d->log_at, n, true);
		d->log_at = (d->log_at + n) % p->cache_bytes;
		length -= n;
	}
	return t;
}

/* From t on, clean the band that has been dirty longest. */
static void clean(struct zd_sim *sim, uint64_t t)
{
	const struct zd_sim_dm *p = &sim->model.dm;
	struct dm *d = &sim->dm;
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
	bytes = sim->m.b.size - at < p->band_bytes ? sim->m.b.size - at : p->band_bytes;
	d->op = DM_CLEAN;
	d->op_band = band;
	for (n = 0; n < p->band_passes; n++) /* read the band, write aside (and back), the last pass writes the band */
		t = zd_hdd_pass(sim, t, n % 2 && n + 1 < p->band_passes ? 0 : at, bytes, n > 0);
	sim->parts[ZD_SIM_CLEAN] += t - begun;
	sim->dm_clean_bytes += bytes * p->band_passes;
	zd_event(sim, t, EV_DRIVE, 0);
}

/* Start the next thing the head does. */
static void work(struct zd_sim *sim)
{
	const struct zd_sim_dm *p = &sim->model.dm;
	const struct zd_sim_hdd *h = &sim->model.hdd;
	struct dm *d = &sim->dm;
	uint64_t t = sim->hdd.free_at > sim->now ? sim->hdd.free_at : sim->now, length = 0, next;
	uint32_t n = 0;
	struct dm_item *item;

	if (d->op)
		return;
	if (d->read_first && (d->serving == 0 || !d->item_used)) {
		struct command *c = pop(sim, &d->read_first, &d->read_last);

		d->serving = (uint32_t)(c - sim->cmds) + 1;
		d->op = DM_READ;
		zd_event(sim, zd_hdd_pass(sim, t, c->offset, c->length, false), EV_DRIVE, 0);
		return;
	}
	d->serving = 0; /* reads and writes take turns */
	if (!d->item_used)
		return;
	item = &d->items[d->item_first];
	if (is_direct(sim, item, d->stream_next)) {
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
		zd_event(sim, zd_hdd_pass(sim, t, next, length, true), EV_DRIVE, 0);
		return;
	}
	while (n < d->item_used) {
		item = &d->items[(d->item_first + n) % h->cache_entries];
		if (is_direct(sim, item, d->stream_next) || d->entries + n >= p->map_entries ||
		    d->used + length + item->length > p->cache_bytes)
			break;
		length += item->length;
		n++;
	}
	if (n) {
		d->op = DM_LOG;
		d->op_items = n;
		zd_event(sim, log_pass(sim, t, length), EV_DRIVE, 0);
		return;
	}
	/* Full: no write goes on before a band was cleaned. */
	if (!sim->dm_full_at) {
		sim->dm_full_at = sim->now;
		sim->dm_full_entries = d->entries;
	}
	clean(sim, t);
}

static void into_cache(struct zd_sim *sim, const struct dm_item *item)
{
	struct dm *d = &sim->dm;
	uint64_t band_bytes = sim->model.dm.band_bytes, offset = item->offset, left = item->length;
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

void zd_dm_event(struct zd_sim *sim)
{
	const struct zd_sim_hdd *h = &sim->model.hdd;
	struct dm *d = &sim->dm;
	uint32_t op = d->op, i;

	d->op = DM_NOTHING;
	switch (op) {
	case DM_READ: {
		struct command *c = &sim->cmds[d->serving - 1];

		sim_done_at(sim, c, sim->now + h->overhead);
		break;
	}
	case DM_LOG:
	case DM_DIRECT:
		for (i = 0; i < d->op_items; i++) {
			struct dm_item *item = &d->items[d->item_first];

			if (op == DM_LOG) {
				into_cache(sim, item);
				sim->dm_fast++;
			} else {
				uint64_t end = item->offset + item->length, size = sim->model.dm.band_bytes;
				uint64_t band = item->offset / size;

				/* A stream came from the start of its band; anything else overwrote whole only what it covers. */
				if (!is_stream(sim, item, d->stream_next))
					band = (item->offset + size - 1) / size;
				for (; band < end / size; band++)
					band_is_clean(sim, (uint32_t)band);
				d->stream_next = end;
				sim->dm_direct++;
			}
			d->item_bytes -= item->length;
			d->item_first = (d->item_first + 1) % h->cache_entries;
			d->item_used--;
		}
		break;
	case DM_CLEAN:
		band_is_clean(sim, d->op_band);
		sim->dm_cleaned++;
		break;
	}
	while (d->wait_first) {
		struct command *c = &sim->cmds[d->wait_first - 1];
		uint32_t next = c->next;

		if (!admit(sim, c))
			break;
		sim->parts[ZD_SIM_BUFFER_FULL] += sim->now - c->arrived;
		d->wait_first = next;
		if (!next)
			d->wait_last = 0;
	}
	work(sim);
	if (!d->op && sim->model.dm.idle_ns && d->fifo_used)
		zd_event(sim, sim->now + sim->model.dm.idle_ns, EV_IDLE, (uint32_t)(sim->arrivals & 0xFFFFFF));
}

/* Nothing was asked of the drive for a while. */
void zd_dm_idle(struct zd_sim *sim)
{
	if (!sim->dm.op)
		clean(sim, sim->hdd.free_at > sim->now ? sim->hdd.free_at : sim->now);
}

void zd_dm_submit(struct zd_sim *sim, struct command *c)
{
	struct dm *d = &sim->dm;

	switch (c->cmd) {
	case ZD_CMD_READ: push(sim, &d->read_first, &d->read_last, c); break;
	case ZD_CMD_WRITE:
		if (d->wait_first || !admit(sim, c))
			push(sim, &d->wait_first, &d->wait_last, c);
		break;
	default:
		sim_done_at(sim, c, (sim->hdd.free_at > sim->now ? sim->hdd.free_at : sim->now) + sim->model.hdd.overhead);
		return;
	}
	work(sim);
}
