/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bringing the shared runtime area to life.
 *
 * The zones' words are the truth while the area lives (state OPEN, same boot, same file): a process that is
 * killed leaves them right. After a clean close, a reboot or a copy the entries in the file are the truth.
 * Counts, lists and bitmaps are always derived from words and slots.
 */
#include "device/whole/whole.h"

#include <stdlib.h>

static int truncated(struct zd_error *err, uint64_t size, uint32_t zone, uint64_t need)
{
	zd_fail(err, ZD_E_TRUNCATED, "the image ends at byte %llu, but the data of zone %u goes on to byte %llu",
		(unsigned long long)size, zone, (unsigned long long)need);
	if (err)
		err->zone = zone;
	return ZD_E_TRUNCATED;
}

static int corrupt_zone(struct zd_error *err, uint32_t zone, const char *what)
{
	zd_fail(err, ZD_E_CORRUPT, "zone %u %s; `zonedctl check` tells more", zone, what);
	if (err)
		err->zone = zone;
	return ZD_E_CORRUPT;
}

static int shared(struct zd_error *err, uint32_t a, uint32_t b, uint32_t slot)
{
	zd_fail(err, ZD_E_CORRUPT, "zones %u and %u claim the same slot, %u; `zonedctl check` tells more", a, b, slot);
	if (err)
		err->zone = a;
	return ZD_E_CORRUPT;
}

static int apply_entry(zd_dev *dev, uint32_t zone, const struct zd_entry *e, uint64_t file_size, struct zd_error *err)
{
	const char *wrong = zd_entry_wrong(dev, zone, e->word, e->durable, e->slot);
	struct zd_zone_rt *rt;
	bool changed;
	int r;

	if (wrong)
		return corrupt_zone(err, zone, wrong);
	if (e->slot && zd_slot_offset(dev, e->slot - 1) + dev->g.h.slot_size > file_size)
		return truncated(err, file_size, zone, zd_slot_offset(dev, e->slot - 1) + dev->g.h.slot_size);
	if (zd_entry_zero(e) && !zd_zone_peek(dev, zone))
		return 0;
	r = zd_zone_get(dev, zone, &rt);
	if (r)
		return zd_fail_host(err, -r, "no room in the image for the shared state of its zones");
	/* Where the area remembers the zone as the entry has it, what it knows about lost writes and pre-images holds. */
	changed = rt->word != e->word || rt->slot != e->slot;
	if (changed && zd_pre_peek(dev, zone))
		memset(&dev->pre[zone], 0, sizeof(dev->pre[zone]));
	if (rt->word != e->word)
		rt->open_seq = 0; /* what this boot remembers of the order of openings belongs to another state */
	rt->word = e->word;
	rt->durable = e->durable;
	rt->slot = rt->disk_slot = rt->commit_slot = e->slot;
	rt->entry_seq = e->seq;
	rt->gen += changed;
	if (e->durable < zd_word_written(e->word))
		zd_set_dirty(dev, zone); /* written but not flushed when the image was closed */
	return 0;
}

/*
 * Where a living word counts, the entries only say what the host's disk has: which slots a crash of the host would bring
 * back, and what number the next entry takes. The area need not be believed about either.
 */
static void know_entries(zd_dev *dev, uint32_t zone, const struct zd_entry *a, const struct zd_entry *b)
{
	const struct zd_entry *e = zd_entry_newest(a, b, zone, true);
	struct zd_zone_rt *rt = zd_zone_peek(dev, zone);

	if (!rt)
		return; /* never touched, so its entry is that of the initial state */
	rt->commit_slot = zd_entry_valid(a, zone) && a->slot <= dev->g.max_slots ? a->slot : 0;
	rt->disk_slot = zd_entry_valid(b, zone) && b->slot <= dev->g.max_slots ? b->slot : 0;
	rt->entry_seq = e ? e->seq : 0;
}

/* A crash came between the two copies: a close that says "clean" must find them alike, so it writes them anew. */
static int mend_copies(zd_dev *dev, uint32_t zone, struct zd_error *err)
{
	struct zd_zone_rt *rt;
	int r = zd_zone_get(dev, zone, &rt);

	if (r)
		return zd_fail_host(err, -r, "no room in the image for the shared state of its zones");
	zd_set_dirty(dev, zone);
	return 0;
}

#define BATCH 2048u /* entries read at once */

/* Whether anything is to be done for these zones: a hole in both tables says that they are as new, and so they are. */
static bool worth_reading(const zd_dev *dev, bool living, uint32_t zone, uint32_t n, uint64_t data[2])
{
	const uint64_t table[2] = { ZD_TABLE, dev->g.h.table_b };
	bool worth = false;
	uint32_t chunk;
	int i;

	for (chunk = zd_zone_chunk(zone); !worth && chunk <= zd_zone_chunk(zone + n - 1); chunk++)
		worth = zd_chunk_there(dev, chunk);
	if (living)
		return worth; /* where a word counts, zones that were never touched are as new whatever stands there */
	for (i = 0; i < 2; i++) {
		uint64_t from = table[i] + (uint64_t)zone * sizeof(struct zd_entry);

		if (data[i] < from)
			data[i] = zd_host_next_data(dev->fd, from);
		worth = worth || data[i] < from + n * sizeof(struct zd_entry);
	}
	return worth;
}

static int load_entries(zd_dev *dev, bool clean, bool living, uint64_t file_size, struct zd_error *err)
{
	const struct zd_geometry *g = &dev->g;
	struct zd_entry *a = malloc(2 * BATCH * sizeof(*a)), *b;
	uint64_t data[2] = { 0, 0 }; /* where the next of both tables' data begins */
	uint32_t z, i;
	int r = 0;

	if (!a)
		return zd_fail_host(err, ENOMEM, "no memory to read the zone entries");
	b = a + BATCH;
	for (z = 0; !r && z < g->h.nr_zones; z += BATCH) {
		uint32_t n = g->h.nr_zones - z < BATCH ? g->h.nr_zones - z : BATCH;

		if (!worth_reading(dev, living, z, n, data))
			continue;
		r = zd_host_pread(dev->fd, a, n * sizeof(*a), ZD_TABLE + (uint64_t)z * sizeof(*a));
		if (!r)
			r = zd_host_pread(dev->fd, b, n * sizeof(*b), g->h.table_b + (uint64_t)z * sizeof(*b));
		if (r) {
			zd_fail_host(err, -r, "cannot read the image's zone entries");
			break;
		}
		for (i = 0; !r && i < n; i++) {
			const struct zd_entry *e = zd_entry_newest(&a[i], &b[i], z + i, clean);

			if (living)
				know_entries(dev, z + i, &a[i], &b[i]);
			else if (e)
				r = apply_entry(dev, z + i, e, file_size, err);
			else if (zd_entry_valid(&b[i], z + i))
				r = corrupt_zone(
					err, z + i,
					"has a damaged entry, and its second copy may be out of date, as the image was not closed cleanly");
			else
				r = corrupt_zone(err, z + i, "has lost both copies of its entry");
			if (!r && !living && !clean && memcmp(&a[i], &b[i], sizeof(*a)))
				r = mend_copies(dev, z + i, err);
		}
	}
	free(a);
	return r;
}

/*
 * The words of killed processes: right unless something scribbled over them. One that cannot be is a reason to open
 * nothing, as an entry that cannot be is one, and not to give up what all other zones have: `zonedctl check` tells what
 * mending it costs, and readers still see what there is.
 */
static int refuse_unsound(zd_dev *dev, uint64_t file_size, struct zd_error *err)
{
	struct zd_verdict *v = NULL;
	size_t n = 0;
	int r = zd_judge(dev, file_size, &v, &n);

	if (r)
		r = zd_fail_host(err, -r, "cannot judge the zones that killed users left");
	else if (n && v->kind == ZD_F_SHORT)
		r = truncated(err, file_size, v->zone, zd_slot_offset(dev, v->is.slot - 1) + dev->g.h.slot_size);
	else if (n && v->kind == ZD_F_SLOT_SHARED)
		r = shared(err, v->zone < v->other ? v->zone : v->other, v->zone < v->other ? v->other : v->zone,
			   v->is.slot - 1);
	else if (n)
		r = corrupt_zone(err, v->zone, v->wrong);
	free(v);
	return r;
}

/* Slots: how many the file has, who owns them (one each), and how far each surely has blocks. */
static int start_slots(zd_dev *dev, uint64_t file_size, bool keep_filled, struct zd_error *err)
{
	const struct zd_geometry *g = &dev->g;
	struct zd_rt_head *head = dev->head;
	uint64_t data = file_size > g->h.data_offset ? file_size - g->h.data_offset : 0;
	uint64_t n = data / g->h.slot_size;
	uint32_t s, z;
	int r;

	head->nr_slots = (uint32_t)(n < g->max_slots ? n : g->max_slots);
	for (s = 0; s < head->nr_slots; s++) {
		r = zd_reserve_chunk(dev, zd_slot_chunk(dev, s));
		if (!r && s + 1 == head->nr_slots)
			r = zd_reserve_chunk(dev, (uint32_t)((g->rt_slots - g->rt_zones +
							      (uint64_t)(s + 1) * sizeof(struct zd_slot_rt) - 1) /
							     ZD_CHUNK));
		if (r)
			return zd_fail_host(err, -r, "no room in the image for the shared state of its slots");
		dev->slots[s].zone = 0;
		dev->slots[s].pins = 0; /* whoever pinned it is gone */
		dev->slots[s].pinned = 0;
		if (!keep_filled || dev->slots[s].filled > g->h.slot_size)
			dev->slots[s].filled = 0;
	}
	for (z = 0; z < g->h.nr_zones; z++) {
		struct zd_zone_rt *rt = zd_zone_peek(dev, z);

		if (!rt || !rt->slot)
			continue;
		s = rt->slot - 1;
		if (s >= head->nr_slots)
			return truncated(err, file_size, z, zd_slot_offset(dev, s) + g->h.slot_size);
		if (dev->slots[s].zone)
			return shared(err, dev->slots[s].zone - 1, z, s);
		dev->slots[s].zone = z + 1;
		if (!keep_filled)
			dev->slots[s].filled = zd_host_filled(dev->fd, zd_slot_offset(dev, s), g->h.slot_size);
	}
	return 0;
}

/* Punched and reserved anew, so that no block of it is shared with a copy; but for the door, which we are inside. */
static int wipe(zd_dev *dev)
{
	const struct zd_geometry *g = &dev->g;
	static const uint8_t zeros[ZD_PAGE];
	uint64_t at;
	int r;

	memset(dev->rt, 0, ZD_DOOR);
	r = zd_host_punch(dev->fd, g->h.runtime_offset + ZD_PAGE, g->rt_size - ZD_PAGE);
	if (r == -EOPNOTSUPP) {
		for (at = ZD_PAGE, r = 0; !r && at < g->rt_size; at += ZD_PAGE)
			r = zd_host_pwrite(dev->fd, zeros, ZD_PAGE, g->h.runtime_offset + at);
	}
	return r ? r : zd_host_reserve(dev->fd, g->h.runtime_offset, g->rt_fixed);
}

static void mark_all_dirty(zd_dev *dev)
{
	uint32_t z;

	for (z = 0; z < dev->g.h.nr_zones; z++) {
		if (zd_zone_peek(dev, z))
			zd_set_dirty(dev, z);
	}
}

int zd_runtime_start(zd_dev *dev, struct zd_error *err)
{
	struct zd_rt_head *head = dev->head;
	struct zd_rt_tag tag;
	struct zd_status status;
	uint64_t file_size;
	bool ours, living, was_clean;
	int r, bad;

	r = zd_runtime_file_length(dev, &file_size, err);
	if (r)
		return r;
	r = zd_host_reserve(dev->fd, dev->g.h.runtime_offset, dev->g.rt_fixed);
	if (!r && dev->cow)
		r = zd_host_unshare(dev->fd, dev->g.h.runtime_offset, dev->g.rt_size);
	if (r)
		return zd_fail_host(err, -r, "no room in the image for its shared state");
	r = zd_status_read(dev->fd, &status, &bad);
	if (r == ZD_E_CORRUPT)
		return zd_fail(err, r, "both copies of the image's status are damaged; `zonedctl check --repair` mends that");
	if (r)
		return zd_fail_host(err, -r, "cannot read the image's status");
	if (status.failed)
		return zd_fail(
			err, ZD_E_FAILED,
			"a sync of this image to the host's disk failed earlier, so what was written last may be lost; run `zonedctl check --repair` on it");
	r = zd_runtime_tag(dev, dev->fd, &tag);
	if (r < 0)
		return zd_fail_host(err, -r, "cannot tell the image's identity");
	ours = r == 0 && memcmp(&tag, &head->tag, sizeof(tag)) == 0;
	living = ours && head->state == ZD_RT_OPEN;
	if (living && (r = zd_back_left(dev)))
		return zd_fail_host(err, -r, "cannot read what the disk goes back to");
	r = living ? refuse_unsound(dev, file_size, err) : 0;
	if (r)
		return r;
	if (ours && !living && head->state != ZD_RT_CLOSED)
		ours = false;
	if (!ours) {
		/* From here on till all is well, a death leaves no area to believe. */
		r = wipe(dev);
		if (r)
			return zd_fail_host(err, -r, "cannot clear the image's shared state");
	} else {
		memset((void *)dev->dirty, 0, (dev->g.h.nr_zones + 63) / 64 * 8);
	}
	r = load_entries(dev, status.clean, living, file_size, err);
	if (r)
		return r;
	r = start_slots(dev, file_size, living, err);
	if (r)
		return r;
	was_clean = status.clean;
	if (living && was_clean && !dev->in_ram) {
		/* What its users left may not be what the entries say: only a close that writes them makes it clean again. */
		status.clean = 0;
		r = zd_status_write(dev->fd, &status, dev->g.h.host_sync != ZD_SYNC_NEVER);
		if (r)
			return zd_fail_host(err, -r, "cannot mark the image as being changed");
	}
	/* Rules and a cut power stay through close and open; what was wiped has none. */
	head->gate = (head->gate & (ZD_GATE_POWER | ZD_GATE_BEHIND)) | zd_fault_start(dev) | zd_trace_run(dev) |
		     (status.clean && !dev->in_ram ? ZD_GATE_MARK : 0);
	head->was_clean = was_clean;
	head->stray_slot = 0;
	head->status_seq = status.seq;
	head->open_clock = 0;
	zd_pre_start(dev);
	zd_runtime_rebuild(dev, true);
	if (living)
		mark_all_dirty(dev);
	r = zd_runtime_init_locks(dev);
	if (r)
		return zd_fail_host(err, -r, "cannot make process-shared locks");
	if (head->gate & ZD_GATE_BEHIND) {
		r = zd_commit_stopped(dev, err);
		if (r)
			return r;
		atomic_fetch_and(&head->gate, ~(uint32_t)ZD_GATE_BEHIND);
	}
	head->state = ZD_RT_OPEN;
	/* Where the area was ours it kept its tag all along: a death half-way must not cost what dead users left. */
	head->tag = tag;
	return 0;
}

/* What a power cut could take of the zones, which a clean close leaves in the file's area: for telling only. */
static void take_over_unflushed(zd_dev *dev, const uint8_t *shared)
{
	const uint8_t *chunks = shared + dev->g.rt_chunks;
	const struct zd_pre *pre = (const struct zd_pre *)(shared + dev->g.rt_pre);
	uint32_t z;

	for (z = 0; dev->g.keeps_pre && z < dev->g.h.nr_zones; z++) {
		uint32_t chunk = (uint32_t)((dev->g.rt_pre - dev->g.rt_zones + (uint64_t)z * sizeof(*pre)) / ZD_CHUNK);

		if (chunks[chunk] && pre[z].from != pre[z].to && !zd_reserve_chunk(dev, chunk))
			memcpy(&dev->pre[z], &pre[z], sizeof(*pre));
	}
}

/* A private copy for reading: counters and the order of openings that this boot has kept in the file's area. */
static void take_over_counters(zd_dev *dev, const uint8_t *shared)
{
	const struct zd_rt_head *from = (const struct zd_rt_head *)shared;
	const uint8_t *chunks = shared + dev->g.rt_chunks;
	const struct zd_zone_rt *zones = (const struct zd_zone_rt *)(shared + dev->g.rt_zones);
	struct zd_rt_tag tag;
	uint32_t z, i;

	if (zd_runtime_tag(dev, dev->fd, &tag) || memcmp(&tag, &from->tag, sizeof(tag)))
		return;
	memcpy(dev->faults, shared + dev->g.rt_faults, sizeof(*dev->faults));
	dev->head->gate |= (from->gate & ZD_GATE_POWER) | zd_fault_start(dev);
	dev->head->no_pre = from->no_pre;
	dev->head->flushes = from->flushes;
	dev->head->max_open_seen = from->max_open_seen;
	dev->head->max_active_seen = from->max_active_seen;
	for (i = 0; i < ZD_NR_RULES; i++)
		dev->head->errors_by_rule[i] = from->errors_by_rule[i];
	for (z = 0; z < dev->g.h.nr_zones; z++) {
		struct zd_zone_rt *to = &dev->zones[z];

		if (!chunks[zd_zone_chunk(z)] || zd_reserve_chunk(dev, zd_zone_chunk(z)))
			continue;
#define TAKE(name) to->name = zones[z].name;
		ZD_EACH_COUNTER(TAKE)
#undef TAKE
		to->gen = zones[z].gen; /* of what a fault lost */
		if (to->word == zones[z].word)
			to->open_seq = zones[z].open_seq;
	}
	if (from->state == ZD_RT_CLOSED)
		take_over_unflushed(dev, shared);
}

int zd_runtime_recover(zd_dev *dev, const uint8_t *shared, struct zd_error *err)
{
	struct zd_status status;
	uint64_t file_size;
	int r, bad;

	r = zd_runtime_file_length(dev, &file_size, err);
	if (r)
		return r;
	r = zd_status_read(dev->fd, &status, &bad);
	if (r == ZD_E_CORRUPT)
		return zd_fail(err, r, "both copies of the image's status are damaged; `zonedctl check --repair` mends that");
	if (r)
		return zd_fail_host(err, -r, "cannot read the image's status");
	r = load_entries(dev, status.clean, false, file_size, err);
	if (!r)
		r = start_slots(dev, file_size, false, err);
	if (r)
		return r;
	dev->head->was_clean = status.clean;
	dev->head->gate = status.failed ? ZD_GATE_FAILED : 0;
	take_over_counters(dev, shared);
	zd_runtime_rebuild(dev, true);
	return 0;
}
