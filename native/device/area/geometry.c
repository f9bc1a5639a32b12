/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a config or an image's header to a checked layout: sizes, offsets, the map of conventional zones.
 * No I/O. Whatever passes here cannot make later arithmetic overflow or index out of bounds.
 */
#include "device/area/area.h"

#include <errno.h>
#include <stdlib.h>

#define MAX_SIZE (1ull << 60) /* an exbibyte: offsets and file positions stay far from overflow */

static uint64_t round_up(uint64_t n, uint64_t to)
{
	return (n + to - 1) / to * to;
}

/* ---------------------------------------------------------------- what may not be */

static int check_blocks(const struct zd_header *h, struct zd_error *err)
{
	if (h->logical_block != 512 && h->logical_block != 4096)
		return zd_fail(err, ZD_E_GEOMETRY, "logical_block is %u; it must be 512 or 4096", h->logical_block);
	if (h->physical_block != 512 && h->physical_block != 4096)
		return zd_fail(err, ZD_E_GEOMETRY, "physical_block is %u; it must be 512 or 4096", h->physical_block);
	if (h->physical_block < h->logical_block)
		return zd_fail(err, ZD_E_GEOMETRY, "physical_block %u is below logical_block %u", h->physical_block,
			       h->logical_block);
	return 0;
}

static int check_whole(const struct zd_header *h, const char *name, unsigned long long value, struct zd_error *err)
{
	if (value && value % h->physical_block == 0)
		return 0;
	return zd_fail(err, ZD_E_GEOMETRY, "%s %llu is not a positive multiple of the physical block, %u", name, value,
		       h->physical_block);
}

static int check_sizes(const struct zd_header *h, struct zd_error *err)
{
	unsigned long long size = h->size, zone_size = h->zone_size, capacity = h->zone_capacity;

	if (check_whole(h, "size", size, err))
		return ZD_E_GEOMETRY;
	if (size > MAX_SIZE)
		return zd_fail(err, ZD_E_GEOMETRY, "size %llu is more than the %llu that a disk may have", size,
			       (unsigned long long)MAX_SIZE);
	if (check_whole(h, "zone_size", zone_size, err))
		return ZD_E_GEOMETRY;
	if (zone_size > MAX_SIZE)
		return zd_fail(err, ZD_E_GEOMETRY, "zone_size %llu is more than the %llu that a zone may have", zone_size,
			       (unsigned long long)MAX_SIZE);
	if (check_whole(h, "zone_capacity", capacity, err))
		return ZD_E_GEOMETRY;
	if (capacity > zone_size)
		return zd_fail(err, ZD_E_GEOMETRY, "zone_capacity %llu is larger than zone_size %llu", capacity, zone_size);
	if ((size - 1) / zone_size + 1 > ZD_MAX_ZONES)
		return zd_fail(err, ZD_E_GEOMETRY, "size %llu in zones of %llu makes more than %u zones", size, zone_size,
			       ZD_MAX_ZONES);
	if (h->append_limit % h->logical_block)
		return zd_fail(err, ZD_E_GEOMETRY, "append_limit %llu is not a multiple of the logical block, %u",
			       (unsigned long long)h->append_limit, h->logical_block);
	return 0;
}

static int check_behaviour(const struct zd_header *h, struct zd_error *err)
{
	if (h->dialect > ZD_NULLBLK)
		return zd_fail(err, ZD_E_GEOMETRY, "dialect %u is unknown; there are zbc (0), zns (1), nullblk (2)",
			       h->dialect);
	if (h->model > ZD_HOST_AWARE)
		return zd_fail(err, ZD_E_GEOMETRY, "model %u is unknown; there are host-managed (0) and host-aware (1)",
			       h->model);
	if (h->model == ZD_HOST_AWARE && h->dialect != ZD_ZBC)
		return zd_fail(err, ZD_E_GEOMETRY, "host-aware zones exist only in dialect zbc");
	if (h->implicit_close > ZD_ROUND_ROBIN)
		return zd_fail(err, ZD_E_GEOMETRY,
			       "implicit_close %u is unknown; there are oldest (0), lowest (1), round-robin (2)",
			       h->implicit_close);
	if (h->data > ZD_NO_DATA)
		return zd_fail(err, ZD_E_GEOMETRY, "data %u is unknown; there are store (0) and none (1)", h->data);
	if (h->pace > ZD_PACE_REAL)
		return zd_fail(err, ZD_E_GEOMETRY, "pace %u is unknown; there are none (0) and real (1)", h->pace);
	if (h->host_sync > ZD_SYNC_NEVER)
		return zd_fail(err, ZD_E_GEOMETRY, "host_sync %u is unknown; there are flush (0), command (1), never (2)",
			       h->host_sync);
	if (h->unrestricted_read > 1)
		return zd_fail(err, ZD_E_GEOMETRY, "unrestricted_read is %u; it must be 0 or 1", h->unrestricted_read);
	if (h->max_open && h->max_active && h->max_open > h->max_active)
		return zd_fail(err, ZD_E_GEOMETRY, "max_open %u is larger than max_active %u, and open zones are active",
			       h->max_open, h->max_active);
	if (h->slot_cache > 1ull << 62)
		return zd_fail(err, ZD_E_GEOMETRY, "slot_cache %llu is beyond 2^62", (unsigned long long)h->slot_cache);
	return 0;
}

static int check_extension(const struct zd_header *h, struct zd_error *err)
{
	if (!h->zone_extension)
		return 0;
	if (h->zone_extension % 64 || h->zone_extension > ZD_MOST_EXTENSION)
		return zd_fail(err, ZD_E_GEOMETRY, "zone_extension %u is not a multiple of 64 bytes up to %u",
			       h->zone_extension, ZD_MOST_EXTENSION);
	if (h->dialect != ZD_ZNS)
		return zd_fail(err, ZD_E_GEOMETRY, "zone_extension is %u, and only zones of dialect zns have one",
			       h->zone_extension);
	if (h->data != ZD_STORE)
		return zd_fail(err, ZD_E_GEOMETRY, "zone_extension is %u, and a disk that keeps no data can keep none",
			       h->zone_extension);
	return 0;
}

static int check_zrwa(const struct zd_header *h, struct zd_error *err)
{
	uint32_t size = h->zrwa_size, granule = h->zrwa_granularity;

	if (!size && !granule && !h->zrwa_count)
		return 0;
	if (!size || !granule || !h->zrwa_count)
		return zd_fail(err, ZD_E_GEOMETRY,
			       "zrwa_size is %u, zrwa_granularity %u and zrwa_count %u: random write areas need all three",
			       size, granule, h->zrwa_count);
	if (h->dialect != ZD_ZNS)
		return zd_fail(err, ZD_E_GEOMETRY, "zrwa_size is %u, and only zones of dialect zns have random write areas",
			       size);
	if (granule % h->physical_block || h->zone_capacity % granule || h->size % granule)
		return zd_fail(
			err, ZD_E_GEOMETRY,
			"zrwa_granularity %u must be a multiple of the physical block, %u, and divide zone_capacity %llu and size %llu",
			granule, h->physical_block, (unsigned long long)h->zone_capacity, (unsigned long long)h->size);
	if (size % granule || size / granule > ZD_MOST_GRANULES)
		return zd_fail(err, ZD_E_GEOMETRY, "zrwa_size %u must be 1 to %u times the zrwa_granularity, %u", size,
			       ZD_MOST_GRANULES, granule);
	if (size > h->zone_capacity || size / h->logical_block > UINT16_MAX)
		return zd_fail(err, ZD_E_GEOMETRY, "zrwa_size %u must be at most zone_capacity %llu and %u blocks", size,
			       (unsigned long long)h->zone_capacity, UINT16_MAX);
	if (h->max_active && h->zrwa_count > h->max_active)
		return zd_fail(err, ZD_E_GEOMETRY,
			       "zrwa_count %u is larger than max_active %u, and zones with random write areas are active",
			       h->zrwa_count, h->max_active);
	return 0;
}

static int check_conventional(const struct zd_header *h, struct zd_error *err)
{
	uint64_t next = 0;
	uint32_t i;

	if (h->nr_conv > ZD_MAX_CONV_RANGES)
		return zd_fail(err, ZD_E_GEOMETRY, "%u conventional ranges are more than the %u that an image holds",
			       h->nr_conv, ZD_MAX_CONV_RANGES);
	for (i = 0; i < h->nr_conv; i++) {
		uint64_t first = h->conv[i].first, count = h->conv[i].count;

		if (count == 0)
			return zd_fail(err, ZD_E_GEOMETRY, "conventional range %u (from zone %u) is empty", i,
				       h->conv[i].first);
		if (i && first < next)
			return zd_fail(err, ZD_E_GEOMETRY,
				       "conventional range %u (from zone %u) overlaps the one before it or is out of order", i,
				       h->conv[i].first);
		if (first + count > h->nr_zones)
			return zd_fail(err, ZD_E_GEOMETRY,
				       "conventional range %u (zones %llu-%llu) goes beyond the last zone, %u", i,
				       (unsigned long long)first, (unsigned long long)(first + count - 1), h->nr_zones - 1);
		next = first + count;
	}
	return 0;
}

static int check(const struct zd_header *h, struct zd_error *err)
{
	int r = check_blocks(h, err);

	if (!r)
		r = check_sizes(h, err);
	if (!r)
		r = check_behaviour(h, err);
	if (!r)
		r = check_extension(h, err);
	if (!r)
		r = check_zrwa(h, err);
	if (!r)
		r = check_conventional(h, err);
	return r;
}

/* ---------------------------------------------------------------- the layout that follows */

/* The largest capacity that any zone has: conventional ones use their whole length. */
static uint64_t largest_capacity(const struct zd_header *h)
{
	uint64_t most = h->nr_conv ? h->zone_size : h->zone_capacity;

	return most < h->size ? most : h->size;
}

/* Of a zone's data, and behind it of its descriptor extension, at the very end. */
static uint64_t slot_size(const struct zd_header *h)
{
	return round_up(largest_capacity(h) + h->zone_extension, ZD_ALIGN);
}

static int derive(struct zd_geometry *g, struct zd_error *err)
{
	const struct zd_header *h = &g->h;
	uint64_t seg_bytes, zones_bytes, slots_bytes, pre_bytes;
	uint32_t i, z, overwritten = 0;

	g->zone_shift = (h->zone_size & (h->zone_size - 1)) ? 0 : (uint32_t)__builtin_ctzll(h->zone_size);
	g->block_mask = h->logical_block - 1;
	g->book = (struct zd_rulebook){
		.size = h->size,
		.append_limit = h->append_limit,
		.nr_zones = h->nr_zones,
		.logical_block = h->logical_block,
		.physical_block = h->physical_block,
		.max_open = h->max_open,
		.max_active = h->max_active,
		.dialect = h->dialect,
		.model = h->model,
		.implicit_close = h->implicit_close,
		.unrestricted_read = h->unrestricted_read,
		.zrwa_size = h->zrwa_size,
		.zrwa_granularity = h->zrwa_granularity,
		.zrwa_count = h->zrwa_count,
	};
	for (i = 0; i < h->nr_conv; i++)
		overwritten += h->conv[i].count;
	if (h->model == ZD_HOST_AWARE || h->zrwa_size)
		overwritten = h->nr_zones;
	g->keeps_pre = overwritten && h->data == ZD_STORE;
	/* Every zone may have a slot, and as many again may wait for a commit or be pinned by views; pre-images take two. */
	g->max_slots = 2 * h->nr_zones + 2 * ZD_PENDING_MAX + 2 * overwritten;
	seg_bytes = 64ull << 30;
	g->slots_per_seg = seg_bytes / h->slot_size;
	if (g->slots_per_seg == 0)
		g->slots_per_seg = 1;
	if (g->slots_per_seg > g->max_slots)
		g->slots_per_seg = g->max_slots;
	g->nr_segs = (uint32_t)((g->max_slots - 1) / g->slots_per_seg + 1);

	zones_bytes = round_up((uint64_t)h->nr_zones * sizeof(struct zd_zone_rt), ZD_CHUNK);
	slots_bytes = round_up((uint64_t)g->max_slots * sizeof(struct zd_slot_rt), ZD_CHUNK);
	pre_bytes = g->keeps_pre ? round_up((uint64_t)h->nr_zones * sizeof(struct zd_pre), ZD_CHUNK) : 0;
	g->nr_chunks = (uint32_t)((zones_bytes + slots_bytes + pre_bytes) / ZD_CHUNK);
	g->rt_stripes = round_up(sizeof(struct zd_rt_head), ZD_PAGE);
	g->rt_chunks = g->rt_stripes + ZD_STRIPES * sizeof(struct zd_stripe);
	g->rt_dirty = round_up(g->rt_chunks + g->nr_chunks, ZD_CACHELINE);
	g->rt_implicit = round_up(g->rt_dirty + (h->nr_zones + 63) / 64 * 8, ZD_CACHELINE);
	g->rt_faults = round_up(g->rt_implicit + (h->nr_zones + 63) / 64 * 8, ZD_CACHELINE);
	g->rt_trace = round_up(g->rt_faults + sizeof(struct zd_faults), ZD_PAGE);
	g->rt_fixed = g->rt_trace + ZD_PAGE;
	/* The ring of records is reserved when somebody records. */
	g->rt_zones = round_up(g->rt_fixed + ZD_TRACE_RING * ZD_TRACE_RECORD, ZD_CHUNK);
	g->rt_slots = g->rt_zones + zones_bytes;
	g->rt_pre = g->rt_slots + slots_bytes;
	g->rt_size = g->rt_pre + pre_bytes;

	g->conv = NULL;
	g->nr_conv_zones = 0;
	if (h->nr_conv) {
		g->conv = calloc(1, h->nr_zones / 8 + 1);
		if (!g->conv)
			return zd_fail_host(err, ENOMEM, "no memory for the map of conventional zones");
	}
	for (i = 0; i < h->nr_conv; i++) {
		for (z = h->conv[i].first; z < h->conv[i].first + h->conv[i].count; z++)
			g->conv[z >> 3] |= (uint8_t)(1u << (z & 7));
		g->nr_conv_zones += h->conv[i].count;
	}
	return 0;
}

void zd_geometry_free(struct zd_geometry *g)
{
	free(g->conv);
	g->conv = NULL;
}

static void place(struct zd_header *h, struct zd_geometry *g)
{
	uint64_t table = round_up((uint64_t)h->nr_zones * sizeof(struct zd_entry), ZD_PAGE);

	(void)g;
	h->table_b = ZD_TABLE + table;
	h->runtime_offset = round_up(h->table_b + table, ZD_ALIGN);
}

int zd_geometry_from_config(const struct zd_config *given, struct zd_geometry *g, struct zd_error *err)
{
	struct zd_header *h = &g->h;
	struct zd_config config, *c = &config;
	uint32_t i;
	int r = zd_struct_in(c, sizeof(*c), offsetof(struct zd_config, zrwa_size), given, "zd_config", err);

	memset(g, 0, sizeof(*g));
	if (!r && (c->reserved2 || c->reserved3))
		r = zd_fail(err, -EINVAL, "what struct zd_config reserves must be zero");
	if (r)
		return r;
	if (c->nr_conv > ZD_MAX_CONV_RANGES)
		return zd_fail(err, ZD_E_GEOMETRY, "%u conventional ranges are more than the %u that an image holds",
			       c->nr_conv, ZD_MAX_CONV_RANGES);
	memcpy(h->magic, zd_magic, sizeof(h->magic));
	h->version = ZD_IMAGE_VERSION;
	h->size = c->size;
	h->zone_size = c->zone_size;
	h->zone_capacity = c->zone_capacity ? c->zone_capacity : c->zone_size;
	h->append_limit = c->append_limit;
	h->seed = c->seed;
	h->slot_cache = c->slot_cache == UINT64_MAX ? ZD_DEFAULT_SLOT_CACHE : c->slot_cache;
	h->logical_block = c->logical_block;
	h->physical_block = c->physical_block;
	h->max_open = c->max_open;
	h->max_active = c->max_active;
	h->dialect = c->dialect;
	h->model = c->model;
	h->implicit_close = c->implicit_close;
	h->data = c->data;
	h->host_sync = c->host_sync;
	h->unrestricted_read = c->unrestricted_read;
	h->pace = c->pace;
	h->nr_conv = c->nr_conv;
	h->zone_extension = c->zone_extension;
	h->zrwa_size = c->zrwa_size;
	h->zrwa_granularity = c->zrwa_granularity;
	h->zrwa_count = c->zrwa_count;
	h->features = (c->zone_extension ? ZD_FEATURE_EXTENSION : 0) | (c->zrwa_size ? ZD_FEATURE_ZRWA : 0);
	for (i = 0; i < c->nr_conv; i++) {
		h->conv[i].first = c->conv[i].first;
		h->conv[i].count = c->conv[i].count;
	}
	memcpy(h->profile, c->profile, sizeof(h->profile));
	h->profile[sizeof(h->profile) - 1] = 0;
	r = check_blocks(h, err);
	if (!r)
		r = check_sizes(h, err);
	if (r)
		return r;
	h->nr_zones = (uint32_t)((h->size - 1) / h->zone_size + 1);
	r = check(h, err);
	if (r)
		return r;
	h->slot_size = slot_size(h);
	place(h, g);
	r = derive(g, err);
	if (r)
		return r;
	/* Holes cost nothing: leave later builds room for a larger runtime area. */
	h->data_offset = round_up(h->runtime_offset + 2 * g->rt_size, ZD_ALIGN);
	return 0;
}

int zd_geometry_from_header(const struct zd_header *header, struct zd_geometry *g, struct zd_error *err)
{
	struct zd_header want;
	int r;

	memset(g, 0, sizeof(*g));
	g->h = *header;
	if (memchr(header->profile, 0, sizeof(header->profile)) == NULL)
		return zd_fail(err, ZD_E_CORRUPT, "the header's profile name has no end");
	/* The checksum was right, so whoever wrote this meant it; it must still make sense. */
	r = check_blocks(header, err);
	if (!r)
		r = check_sizes(header, err);
	if (!r && header->nr_zones != (header->size - 1) / header->zone_size + 1)
		r = zd_fail(err, ZD_E_CORRUPT, "the header counts %u zones where its sizes make %llu", header->nr_zones,
			    (unsigned long long)((header->size - 1) / header->zone_size + 1));
	if (!r && !(header->features & ZD_FEATURE_EXTENSION) != !header->zone_extension)
		r = zd_fail(err, ZD_E_CORRUPT, "the header has a zone_extension of %u, and its feature flags tell otherwise",
			    header->zone_extension);
	if (!r && !(header->features & ZD_FEATURE_ZRWA) != !header->zrwa_size)
		r = zd_fail(err, ZD_E_CORRUPT, "the header has a zrwa_size of %u, and its feature flags tell otherwise",
			    header->zrwa_size);
	if (!r)
		r = check(header, err);
	if (r) {
		if (err && r == ZD_E_GEOMETRY)
			err->code = ZD_E_CORRUPT;
		return r == ZD_E_GEOMETRY ? ZD_E_CORRUPT : r;
	}
	want = *header;
	want.slot_size = slot_size(header);
	place(&want, g);
	if (want.slot_size != header->slot_size || want.table_b != header->table_b ||
	    want.runtime_offset != header->runtime_offset)
		return zd_fail(err, ZD_E_CORRUPT, "the header's offsets are not those of its geometry");
	r = derive(g, err);
	if (r)
		return r;
	/* Another build may keep a runtime area of another size; the data lies where the header says. */
	if (header->data_offset % ZD_ALIGN || header->data_offset < header->runtime_offset + g->rt_size ||
	    header->data_offset > MAX_SIZE) {
		r = zd_fail(err, ZD_E_CORRUPT, "the header's data offset %llu leaves no room for the shared state",
			    (unsigned long long)header->data_offset);
		zd_geometry_free(g);
	}
	return r;
}

/* ---------------------------------------------------------------- entries */

static bool fits_area(const struct zd_header *h, uint64_t word)
{
	uint64_t granule = h->zrwa_granularity, written = zd_word_written(word);
	uint64_t n = ((word & ZD_W_ZRWA) >> ZD_W_ZRWA_SHIFT) - 1;

	/* The write pointer is neither before the zone, nor behind what is written, nor further before that than the area is long. */
	return n * granule <= h->zrwa_size && n * granule <= round_up(written, granule) && (n || written % granule == 0);
}

const char *zd_entry_wrong(const zd_dev *dev, uint32_t zone, uint64_t word, uint64_t durable, uint32_t slot)
{
	int type = zd_zone_type(dev, zone);
	int cond = zd_word_cond(word, type);
	uint64_t written = zd_word_written(word);
	uint64_t capacity = zd_zone_capacity(dev, zone);
	bool conv = type == ZD_CONVENTIONAL;

	if ((word & ZD_W_COND) == ZD_EMPTY)
		return "has bits set that are never stored";
	if (!zd_cell(dev->g.h.dialect, type, cond, ZD_CMD_READ))
		return "has a condition that its type cannot have";
	if (word >> ZD_W_SHIFT > capacity >> 9)
		return "is written beyond its capacity";
	if (written % dev->g.h.logical_block)
		return "is written to no multiple of the block";
	if (durable > written)
		return "is durable beyond what is written";
	if (conv && written)
		return "is conventional but has a write pointer";
	if (cond == ZD_EMPTY && written)
		return "is EMPTY but written";
	if (cond == ZD_FULL && !(word & ZD_W_FINISHED) && written != capacity)
		return "is FULL but neither written to its capacity nor finished";
	if ((word & (ZD_W_NON_SEQ | ZD_W_RESET_REC)) && (type != ZD_SEQ_WRITE_PREFERRED || cond == ZD_EMPTY))
		return "has attributes that only written, preferred zones have";
	if (cond != ZD_FULL && cond != ZD_READ_ONLY && cond != ZD_OFFLINE && (word & ZD_W_FINISHED))
		return "is finished but not FULL";
	if (zd_cond_active(cond) && zd_word_wp(dev, word) == capacity)
		return "is written to its capacity but not FULL";
	if ((word & ZD_W_EXTENSION) && (!dev->g.h.zone_extension || conv || cond == ZD_EMPTY))
		return "has a descriptor extension that its disk or its condition cannot have";
	if ((word & ZD_W_ZRWA) && (!dev->g.h.zrwa_size || conv || !zd_cond_active(cond)))
		return "has a random write area that its disk or its condition cannot have";
	if ((word & ZD_W_ZRWA) && !fits_area(&dev->g.h, word))
		return "has a random write area that cannot lie so";
	if (slot > dev->g.max_slots)
		return "lies in a slot that cannot exist";
	if (!slot && written && dev->g.h.data == ZD_STORE)
		return "is written but has no slot";
	if (!slot && (word & ZD_W_EXTENSION))
		return "has a descriptor extension but no slot";
	if (slot && dev->g.h.data == ZD_NO_DATA)
		return "has a slot on a disk that keeps no data";
	return NULL;
}
