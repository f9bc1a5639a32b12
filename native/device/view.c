/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Snapshots, rollback and forks without copying data.
 *
 * A snapshot is a zone table in this process's memory, with a pin on each slot that it names. A pinned slot keeps
 * its bytes: it is neither reused nor punched, and a write below the pinned part first moves the zone to a copy
 * (zd_slot_unshare). A fork is a disk of its own in RAM whose zones read what they had at the snapshot from the
 * origin's slots, through a handle that the snapshot keeps open, and everything else from its own. Required zones
 * only ever append, so a fork of them copies nothing; a zone that is overwritten in place is copied with its first
 * write.
 *
 * Pins are counted in the origin's shared state. A process that is killed leaves its pins there until the last
 * opener of the disk is gone: that costs space, never data.
 */
#include "internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define COPY 262144u /* bytes copied at a time */

#define POOL 8u            /* closed forks kept for reuse */
#define POOL_ZONES 4096u   /* of disks with at most so many zones: the others cost more to clean than to make */

/* A handle of its own on the origin, shared by what was made from it. */
struct zd_origin {
	zd_dev *dev;
	_Atomic uint32_t refs;
	uint32_t pooled; /* under dev->seg_lock */
	zd_dev *pool[POOL];
};

struct row {
	uint32_t zone, slot, opened; /* slot + 1; opened: rank among the implicitly open zones, oldest first */
	uint32_t pre_slot, nr_words; /* pre-images: where, and so many pairs of words */
	uint64_t word, durable, lost, first_word;
	uint64_t *words;             /* NULL: there are none */
};

struct zd_snapshot {
	struct zd_origin *origin;
	_Atomic uint32_t refs;
	pid_t owner; /* the pins are this process's, not a forked child's */
	uint32_t n;
	uint32_t no_pre;
	struct row *rows; /* zones that are not as new, ascending */
};

/* What a fork still reads from its origin: bytes 0 .. length-1 of a zone. */
struct zd_part {
	uint32_t slot; /* + 1 */
	bool unflushed;  /* the row's pre-images are those of the fork as well */
	_Atomic uint64_t length;
	const struct row *row;
	uint64_t *undone; /* the row's words: blocks that show their pre-images; NULL: none */
};

struct zd_view {
	zd_snapshot *snapshot;
	struct zd_part *parts; /* per zone */
};

/* ---------------------------------------------------------------- locks */

static int lock_all(zd_dev *dev)
{
	int r = zd_lock_commit(dev);

	if (r)
		return r;
	r = zd_lock_zones(dev, 0, ZD_STRIPES - 1);
	if (r)
		goto commit;
	r = zd_lock_resource(dev);
	if (!r)
		return 0;
	zd_unlock_zones(dev, 0, ZD_STRIPES - 1);
commit:
	zd_unlock_commit(dev);
	return r;
}

static void unlock_all(zd_dev *dev)
{
	zd_unlock_resource(dev);
	zd_unlock_zones(dev, 0, ZD_STRIPES - 1);
	zd_unlock_commit(dev);
}

/* ---------------------------------------------------------------- the origin */

static struct zd_origin *open_origin(zd_dev *dev, struct zd_error *err)
{
	struct zd_origin *o = calloc(1, sizeof(*o));
	char path[64];

	if (!o) {
		zd_fail_host(err, ENOMEM, "no memory for a snapshot");
		return NULL;
	}
	snprintf(path, sizeof(path), "/proc/self/fd/%d", dev->fd);
	if (zd_open(path, 0, &o->dev, err)) {
		free(o);
		return NULL;
	}
	o->refs = 1;
	return o;
}

static void clear_parts(zd_dev *dev)
{
	const zd_snapshot *s = dev->view->snapshot;
	uint32_t i;

	for (i = 0; s && i < s->n; i++) {
		struct zd_part *part = &dev->view->parts[s->rows[i].zone];

		free(part->undone);
		memset(part, 0, sizeof(*part));
	}
}

static void free_view(zd_dev *dev)
{
	zd_snapshot *s = dev->view->snapshot;

	clear_parts(dev);
	free(dev->view->parts);
	free(dev->view);
	dev->view = NULL;
	zd_snapshot_free(s);
}

static void drop_origin(struct zd_origin *o)
{
	if (atomic_fetch_sub(&o->refs, 1) != 1)
		return;
	while (o->pooled) {
		zd_dev *dev = o->pool[--o->pooled];

		free_view(dev);
		zd_close(dev, NULL);
	}
	zd_close(o->dev, NULL);
	free(o);
}

/* The handle that all snapshots of `dev` share; made with the first. */
static struct zd_origin *take_origin(zd_dev *dev, struct zd_error *err)
{
	struct zd_origin *o;

	pthread_mutex_lock(&dev->seg_lock);
	o = dev->origin;
	if (o)
		atomic_fetch_add(&o->refs, 1);
	pthread_mutex_unlock(&dev->seg_lock);
	if (o)
		return o;
	o = open_origin(dev, err);
	if (!o)
		return NULL;
	pthread_mutex_lock(&dev->seg_lock);
	if (!dev->origin) {
		dev->origin = o;
		atomic_fetch_add(&o->refs, 1);
	}
	pthread_mutex_unlock(&dev->seg_lock);
	return o;
}

void zd_view_close(zd_dev *dev)
{
	if (dev->origin)
		drop_origin(dev->origin);
	dev->origin = NULL;
	if (dev->view)
		free_view(dev);
}

/* Nobody uses the fork any more: as new, but for its locks and its memory. */
static bool clean(zd_dev *dev)
{
	const struct zd_geometry *g = &dev->g;
	struct zd_rt_head *head = dev->head;
	uint32_t chunk, last = zd_zone_chunk(g->h.nr_zones - 1);

	if (head->nr_slots && ftruncate(dev->fd, (off_t)g->h.data_offset))
		return false;
	for (chunk = 0; chunk <= last; chunk++) {
		uint64_t from = (uint64_t)chunk * ZD_CHUNK, size = g->h.nr_zones * sizeof(struct zd_zone_rt) - from;

		if (zd_chunk_there(dev, chunk))
			memset((uint8_t *)dev->zones + from, 0, size < ZD_CHUNK ? size : ZD_CHUNK);
	}
	for (chunk = (uint32_t)((g->rt_pre - g->rt_zones) / ZD_CHUNK); chunk < g->nr_chunks; chunk++) {
		if (zd_chunk_there(dev, chunk))
			memset((uint8_t *)dev->zones + (uint64_t)chunk * ZD_CHUNK, 0, ZD_CHUNK);
	}
	memset((void *)dev->dirty, 0, (g->h.nr_zones + 63) / 64 * 8);
	memset(dev->implicit, 0, (g->h.nr_zones + 63) / 64 * 8);
	memset((uint8_t *)head + offsetof(struct zd_rt_head, nr_implicit), 0, sizeof(*head) - offsetof(struct zd_rt_head, nr_implicit));
	if (dev->faults->last_id || head->gate) {
		const size_t lock = sizeof(dev->faults->lock);

		memset((uint8_t *)dev->faults + lock, 0, sizeof(*dev->faults) - lock);
	}
	atomic_store(&dev->trace->modes, 0);
	atomic_store(&dev->trace->head, 0);
	head->gate = 0;
	clear_parts(dev);
	dev->interrupt = NULL;
	dev->watch = NULL;
	return true;
}

bool zd_view_recycle(zd_dev *dev)
{
	zd_snapshot *s = dev->view->snapshot;
	struct zd_origin *o = s ? s->origin : NULL;
	bool kept = false;

	if (!o || dev->origin || s->owner != getpid() || atomic_load(dev->cookie) != ZD_COOKIE || dev->g.h.nr_zones > POOL_ZONES)
		return false;
	/* Snapshots of the fork, or a child of this process, may have it open too. */
	if (zd_host_trylock(dev->fd, ZD_BYTE_WRITERS, true) || !clean(dev) || zd_host_trylock(dev->fd, ZD_BYTE_WRITERS, false))
		return false;
	pthread_mutex_lock(&o->dev->seg_lock);
	if (o->pooled < POOL) {
		dev->view->snapshot = NULL;
		o->pool[o->pooled++] = dev;
		kept = true;
	}
	pthread_mutex_unlock(&o->dev->seg_lock);
	if (kept)
		zd_snapshot_free(s);
	return kept;
}

static zd_dev *from_pool(struct zd_origin *o)
{
	zd_dev *dev = NULL;

	pthread_mutex_lock(&o->dev->seg_lock);
	if (o->pooled)
		dev = o->pool[--o->pooled];
	pthread_mutex_unlock(&o->dev->seg_lock);
	return dev;
}

/* ---------------------------------------------------------------- copying bytes from one slot to another */

static int copy_slot(zd_dev *from, uint32_t slot, zd_dev *to, uint32_t into, uint64_t length)
{
	uint8_t *piece = malloc(COPY);
	uint64_t at;
	int r = piece ? 0 : -ENOMEM;

	for (at = 0; !r && at < length; at += COPY) {
		uint64_t n = length - at < COPY ? length - at : COPY, i;

		r = zd_host_pread(from->fd, piece, n, zd_slot_offset(from, slot) + at);
		for (i = 0; !r && i < n && !piece[i]; i++)
			;
		if (!r && i < n) /* what is zero stays a hole */
			r = zd_host_pwrite(to->fd, piece, n, zd_slot_offset(to, into) + at);
	}
	free(piece);
	return r;
}

/* Under the stripe: the zone's slot is pinned, and bytes below the pinned part are to change. */
int zd_slot_unshare(zd_dev *dev, uint32_t zone, struct zd_zone_rt *rt)
{
	uint32_t old = rt->slot - 1, new;
	uint64_t length = zd_zone_type(dev, zone) == ZD_SEQ_WRITE_REQUIRED ? zd_word_written(rt->word) : dev->g.h.slot_size;
	int r = zd_slot_take(dev, zone, true, &new);

	if (r)
		return r;
	if (length > dev->g.h.slot_size)
		length = dev->g.h.slot_size;
	r = copy_slot(dev, old, dev, new, length);
	while (zd_lock_resource(dev))
		; /* interrupted, but the slot must find an owner */
	dev->slots[new].pins = 0;
	if (r) {
		zd_slot_give_up(dev, new);
	} else {
		zd_slot_release(dev, zone, rt);
		dev->slots[new].state = ZD_SLOT_USED;
		dev->slots[new].zone = zone + 1;
		atomic_store_explicit(&rt->slot, new + 1, memory_order_release);
		zd_set_dirty(dev, zone);
	}
	zd_unlock_resource(dev);
	return r;
}

/* ---------------------------------------------------------------- a fork's zones */

bool zd_view_has(const zd_dev *dev, uint32_t zone)
{
	return dev->view && atomic_load_explicit(&dev->view->parts[zone].length, memory_order_acquire);
}

static bool has_bit(const uint64_t *words, uint64_t first, uint32_t n, uint64_t block)
{
	uint64_t word = block / 64;

	return word >= first && word - first < n && words[2 * (word - first)] >> block % 64 & 1;
}

/* n bytes of the origin's part that were read: over them what a cut brought back. */
static int overlay(zd_dev *dev, const struct zd_part *part, uint64_t rel, uint8_t *to, uint64_t n)
{
	zd_dev *origin = dev->view->snapshot->origin->dev;
	uint64_t size = dev->g.h.logical_block, at;
	int r = 0;

	for (at = rel; !r && at < rel + n;) {
		uint64_t end = at - at % size + size, part_end = end < rel + n ? end : rel + n;

		if (has_bit(part->undone, part->row->first_word, part->row->nr_words, at / size))
			r = zd_load(origin, part->row->pre_slot - 1, at, to + (at - rel), part_end - at);
		at = part_end;
	}
	return r;
}

const uint64_t *zd_view_pre(const zd_dev *dev, uint32_t zone, uint64_t *first, uint32_t *n)
{
	const struct zd_part *part;

	if (likely(!dev->view))
		return NULL;
	part = &dev->view->parts[zone];
	if (!part->unflushed || !part->row->words)
		return NULL;
	*first = part->row->first_word;
	*n = part->row->nr_words;
	return part->row->words;
}

int zd_view_pre_load(zd_dev *dev, uint32_t zone, uint64_t rel, uint8_t *to)
{
	return zd_load(dev->view->snapshot->origin->dev, dev->view->parts[zone].row->pre_slot - 1, rel, to, dev->g.h.logical_block);
}

void zd_view_pre_drop(zd_dev *dev, uint32_t zone)
{
	if (dev->view)
		dev->view->parts[zone].unflushed = false;
}

int zd_view_load(zd_dev *dev, uint32_t zone, uint32_t slot, uint64_t rel, uint8_t *to, uint64_t n)
{
	struct zd_part *part = &dev->view->parts[zone];
	uint64_t length = atomic_load_explicit(&part->length, memory_order_acquire), below = 0;
	zd_dev *origin = dev->view->snapshot->origin->dev;
	int r;

	if (rel < length) {
		below = n < length - rel ? n : length - rel;
		r = zd_enter(origin, NULL);
		if (!r)
			r = zd_load(origin, part->slot - 1, rel, to, below);
		if (!r && part->undone)
			r = overlay(dev, part, rel, to, below);
		if (r)
			return r;
	}
	if (below == n)
		return 0;
	if (slot)
		return zd_load(dev, slot - 1, rel + below, to + below, n - below);
	memset(to + below, 0, n - below);
	return 0;
}

static int own_undone(zd_dev *dev, const struct zd_part *part, uint32_t slot, uint64_t length)
{
	uint64_t size = dev->g.h.logical_block;
	const struct row *row = part->row;
	uint8_t bytes[ZD_PAGE];
	uint32_t i;
	int r = 0;

	for (i = 0; !r && i < row->nr_words; i++) {
		uint64_t bits = part->undone[2 * i];

		for (; !r && bits; bits &= bits - 1) {
			uint64_t rel = ((row->first_word + i) * 64 + (unsigned)__builtin_ctzll(bits)) * size;

			if (rel >= length)
				break;
			r = zd_load(dev->view->snapshot->origin->dev, row->pre_slot - 1, rel, bytes, size);
			if (!r)
				r = zd_store_bytes(dev, slot, rel, bytes, size);
		}
	}
	return r;
}

/* Under the stripe: from here on the zone's bytes lie in its own slot. */
int zd_view_own(zd_dev *dev, uint32_t zone, struct zd_zone_rt *rt)
{
	struct zd_part *part = &dev->view->parts[zone];
	uint64_t length = part->length;
	zd_dev *origin = dev->view->snapshot->origin->dev;
	int r = 0;

	if (!length)
		return 0;
	if (!rt->slot)
		r = zd_slot_assign(dev, zone, rt);
	if (!r)
		r = zd_enter(origin, NULL);
	if (!r)
		r = copy_slot(origin, part->slot - 1, dev, rt->slot - 1, length);
	if (!r && part->undone)
		r = own_undone(dev, part, rt->slot - 1, length);
	if (!r)
		atomic_store_explicit(&part->length, 0, memory_order_release);
	return r;
}

void zd_view_cut(zd_dev *dev, uint32_t zone, uint64_t kept)
{
	struct zd_part *part = &dev->view->parts[zone];

	if (kept < part->length)
		atomic_store_explicit(&part->length, kept, memory_order_release);
}

/* Before a fork is snapshotted itself: its zones must lie in slots of its own. The stripes are held, not the resource lock. */
static int settle_view(zd_dev *dev)
{
	uint32_t z;
	int r = 0;

	for (z = 0; dev->view && !r && z < dev->g.h.nr_zones; z++) {
		if (dev->view->parts[z].length)
			r = zd_view_own(dev, z, &dev->zones[z]);
		if (!r)
			r = zd_pre_home(dev, z);
	}
	return r;
}

/* ---------------------------------------------------------------- snapshots */

static uint64_t pinned_part(const zd_dev *dev, const struct row *row)
{
	return zd_zone_type(dev, row->zone) == ZD_SEQ_WRITE_REQUIRED ? zd_word_written(row->word) : UINT64_MAX;
}

/* All locks are held. */
static void pin(zd_dev *dev, zd_snapshot *s)
{
	uint32_t i;

	for (i = 0; i < s->n; i++) {
		struct row *row = &s->rows[i];
		struct zd_slot_rt *slot;

		if (row->pre_slot)
			dev->slots[row->pre_slot - 1].pins++;
		if (!row->slot)
			continue;
		slot = &dev->slots[row->slot - 1];
		slot->pins++;
		if (slot->pinned < pinned_part(dev, row))
			slot->pinned = pinned_part(dev, row);
	}
}

static void unpin_slot(zd_dev *dev, uint32_t number)
{
	struct zd_slot_rt *slot = &dev->slots[number - 1];

	/* Counts are gone when the disk was started anew behind our back; then it knows of no pin. */
	if (slot->pins && --slot->pins == 0) {
		slot->pinned = 0;
		if (slot->state == ZD_SLOT_PINNED)
			zd_slot_give_up(dev, number - 1);
	}
}

static void unpin(zd_dev *dev, zd_snapshot *s)
{
	uint32_t i;

	for (i = 0; i < s->n; i++) {
		if (s->rows[i].slot)
			unpin_slot(dev, s->rows[i].slot);
		if (s->rows[i].pre_slot)
			unpin_slot(dev, s->rows[i].pre_slot);
	}
}

static void free_rows(zd_snapshot *s)
{
	uint32_t i;

	for (i = 0; i < s->n; i++)
		free(s->rows[i].words);
	free(s->rows);
}

static int by_zone(const void *a, const void *b)
{
	uint32_t x = ((const struct row *)a)->zone, y = ((const struct row *)b)->zone;

	return x < y ? -1 : x > y;
}

static int add_row(zd_snapshot *s, uint32_t *room, uint32_t zone, uint32_t opened)
{
	if (s->n == *room) {
		struct row *rows = realloc(s->rows, (*room = *room ? 2 * *room : 64) * sizeof(*rows));

		if (!rows)
			return -ENOMEM;
		s->rows = rows;
	}
	s->rows[s->n++] = (struct row){ .zone = zone, .opened = opened };
	return 0;
}

static int fill_rows(zd_dev *dev, zd_snapshot *s)
{
	uint32_t z, room = 0, rank = 0;
	int r = 0;

	for (z = dev->head->imp_head; z && !r; z = dev->zones[z - 1].next)
		r = add_row(s, &room, z - 1, ++rank);
	for (z = 0; z < dev->g.h.nr_zones && !r; z++) {
		struct zd_zone_rt *rt = zd_zone_peek(dev, z);

		if (!rt || (!rt->word && !rt->slot) || zd_word_cond(rt->word, zd_zone_type(dev, z)) == ZD_IMPLICIT_OPEN)
			continue;
		r = add_row(s, &room, z, 0);
	}
	for (z = 0; z < s->n && !r; z++) {
		struct row *row = &s->rows[z];
		struct zd_zone_rt *rt = &dev->zones[row->zone];

		row->word = rt->word;
		row->slot = rt->slot;
		row->durable = rt->durable < zd_word_written(rt->word) ? rt->durable : zd_word_written(rt->word);
		row->lost = zd_fault_lost_look(dev, row->zone, rt->gen);
		r = zd_pre_copy(dev, row->zone, &row->words, &row->first_word, &row->nr_words, &row->pre_slot);
	}
	if (r)
		return r;
	s->no_pre = dev->head->no_pre;
	if (s->n) /* an untouched disk has no rows at all */
		qsort(s->rows, s->n, sizeof(*s->rows), by_zone);
	return 0;
}

static int begin(zd_dev *dev, struct zd_error *err)
{
	int r = zd_enter(dev, err);

	if (!r && dev->readonly)
		r = zd_fail(err, ZD_E_READONLY_HANDLE, "the device is open read-only");
	return r;
}

int zd_snapshot_take(zd_dev *dev, zd_snapshot **out, struct zd_error *err)
{
	zd_snapshot *s;
	int r = begin(dev, err);

	*out = NULL;
	if (r)
		return r;
	s = calloc(1, sizeof(*s));
	if (!s)
		return zd_fail_host(err, ENOMEM, "no memory for a snapshot");
	s->refs = 1;
	s->owner = getpid();
	s->origin = dev->view ? NULL : take_origin(dev, err);
	if (!s->origin && !dev->view) {
		r = err ? err->code : -EIO;
		free(s);
		return r;
	}
	if (dev->view) {
		/* Its parts lie elsewhere: they come home first, so that a plain handle can read all of it. */
		r = zd_lock_zones(dev, 0, ZD_STRIPES - 1);
		if (!r) {
			r = settle_view(dev);
			zd_unlock_zones(dev, 0, ZD_STRIPES - 1);
		}
		if (r)
			zd_fail_host(err, -r, "a fork's data could not be made its own");
		else
			s->origin = take_origin(dev, err);
		if (!s->origin) {
			free(s);
			return r ? r : err ? err->code : -EIO;
		}
	}
	r = lock_all(dev);
	if (!r) {
		r = fill_rows(dev, s);
		if (!r)
			pin(dev, s);
		unlock_all(dev);
	}
	if (r) {
		zd_fail_host(err, -r, r == -EINTR ? "interrupted" : r == -ENOMEM ? "no memory for a snapshot" : "the host could not read the data back");
		drop_origin(s->origin);
		free_rows(s);
		free(s);
		return r;
	}
	*out = s;
	return 0;
}

void zd_snapshot_free(zd_snapshot *s)
{
	if (!s || atomic_fetch_sub(&s->refs, 1) != 1)
		return;
	if (s->owner == getpid() && zd_enter(s->origin->dev, NULL) == 0) {
		while (zd_lock_resource(s->origin->dev))
			;
		unpin(s->origin->dev, s);
		zd_unlock_resource(s->origin->dev);
	}
	drop_origin(s->origin);
	free_rows(s);
	free(s);
}

zd_snapshot *zd_snapshot_share(zd_snapshot *s)
{
	atomic_fetch_add(&s->refs, 1);
	return s;
}

int64_t zd_snapshot_unflushed(const zd_snapshot *s, struct zd_snapshot_block *out, uint64_t max, struct zd_error *err)
{
	zd_dev *dev = s->origin->dev;
	uint64_t size = dev->g.h.logical_block, n = 0;
	uint8_t then[ZD_PAGE], now[ZD_PAGE];
	uint32_t i, w;
	int r = zd_enter(dev, err);

	if (r)
		return r;
	for (i = 0; i < s->n; i++) {
		const struct row *row = &s->rows[i];

		for (w = 0; row->slot && w < row->nr_words; w++) {
			uint64_t bits = row->words[2 * w + ZD_PRE_WRITTEN];

			for (; bits; bits &= bits - 1) {
				unsigned bit = (unsigned)__builtin_ctzll(bits);
				uint64_t rel = ((row->first_word + w) * 64 + bit) * size;

				r = zd_load(dev, row->pre_slot - 1, rel, then, size);
				if (!r)
					r = zd_load(dev, row->slot - 1, rel, now, size);
				if (r)
					return zd_fail_host(err, -r, "the host could not read the data back");
				/* Written with what it held: one survivor, unless a write pointer tells two apart. */
				if (memcmp(then, now, size) == 0 && (zd_is_conv(dev, row->zone) || rel + size <= row->durable))
					continue;
				if (n < max)
					out[n] = (struct zd_snapshot_block){ row->zone, row->words[2 * w + ZD_PRE_LOST] >> bit & 1,
									     zd_zone_start(dev, row->zone) + rel };
				n++;
			}
		}
	}
	return (int64_t)n;
}

int zd_snapshot_rows(const zd_snapshot *s, struct zd_snapshot_zone *out, uint32_t max)
{
	const zd_dev *dev = s->origin->dev;
	uint32_t i;

	for (i = 0; i < s->n && i < max; i++) {
		const struct row *row = &s->rows[i];

		memset(&out[i], 0, sizeof(out[i]));
		out[i].zone = row->zone;
		out[i].type = (uint8_t)zd_zone_type(dev, row->zone);
		out[i].cond = (uint8_t)zd_word_cond(row->word, out[i].type);
		out[i].finished = (row->word & ZD_W_FINISHED) != 0;
		out[i].written = zd_word_written(row->word);
		out[i].durable = row->durable;
		out[i].lost_from = row->lost;
	}
	return (int)s->n;
}

/* ---------------------------------------------------------------- rollback */

/* All locks are held. The zone as the snapshot has it; row NULL: as new. */
static void put_back(zd_dev *dev, uint32_t zone, struct zd_zone_rt *rt, const struct row *row)
{
	int type = zd_zone_type(dev, zone);
	uint64_t word = row ? row->word : 0;
	uint32_t slot = row ? row->slot : 0;

	if (zd_pre_any(dev, zone) || (row && row->words)) {
		zd_pre_put_back(dev, zone, row ? row->words : NULL, row ? row->first_word : 0, row ? row->nr_words : 0, row ? row->pre_slot : 0);
		zd_set_dirty(dev, zone);
	}
	if (rt->word == word && rt->slot == slot && rt->durable == (row ? row->durable : 0))
		return;
	zd_set_dirty(dev, zone);
	zd_account(dev, zone, zd_word_cond(rt->word, type), ZD_EMPTY);
	atomic_store_explicit(&rt->word, word, memory_order_release);
	rt->durable = row ? row->durable : 0;
	atomic_fetch_add_explicit(&rt->gen, 1, memory_order_acq_rel);
	if (rt->slot != slot) {
		zd_slot_release(dev, zone, rt);
		if (slot) {
			zd_slot_claim(dev, slot - 1, zone);
			atomic_store_explicit(&rt->slot, slot, memory_order_release);
		}
	}
}

int zd_rollback(zd_dev *dev, zd_snapshot *s, struct zd_error *err)
{
	uint32_t z, i = 0;
	int r = begin(dev, err);

	if (r)
		return r;
	if (memcmp(&dev->head->tag, &s->origin->dev->head->tag, sizeof(dev->head->tag)))
		return zd_fail(err, -EINVAL, "the snapshot is one of another disk");
	if (s->owner != getpid())
		return zd_fail(err, -EINVAL, "the snapshot belongs to the process that took it, not to its child");
	if (atomic_load(&dev->head->gate)) {
		r = zd_gate_rest(dev, true, err);
		if (r)
			return r;
	}
	r = lock_all(dev);
	if (r)
		return zd_fail_host(err, -r, "interrupted");
	for (z = 0; z < dev->g.h.nr_zones; z++) {
		struct zd_zone_rt *rt = zd_zone_peek(dev, z);
		const struct row *row = i < s->n && s->rows[i].zone == z ? &s->rows[i++] : NULL;

		if (rt)
			put_back(dev, z, rt, row);
	}
	/* Open zones in the order in which they were opened; rebuilding takes the clock on to the last of them. */
	for (i = 0; i < s->n; i++) {
		if (s->rows[i].opened)
			dev->zones[s->rows[i].zone].open_seq = dev->head->open_clock + s->rows[i].opened;
	}
	zd_runtime_rebuild(dev, true);
	zd_trace_event(dev, ZD_TRACE_ROLLBACK, ZD_NO_ZONE, ZD_NONE, 0, 0);
	unlock_all(dev);
	return zd_after_change(dev, err);
}

/* ---------------------------------------------------------------- forks */

/* The blocks of a cut disk that show what they held before: *undone and *m are those not looked at yet. */
static int undo(zd_dev *dev, struct zd_part *part, const uint64_t **undone, uint64_t *m, struct zd_error *err)
{
	const struct row *row = part->row;
	uint64_t start = zd_zone_start(dev, row->zone), end = start + zd_zone_length(dev, row->zone);

	for (; *m && **undone < end; ++*undone, --*m) {
		uint64_t rel = **undone - start, block = rel / dev->g.h.logical_block;

		if (**undone < start || rel % dev->g.h.logical_block || !row->words ||
		    !has_bit(row->words, row->first_word, row->nr_words, block))
			return zd_fail(err, -EINVAL, "byte %llu begins no block that was overwritten since the last flush",
				       (unsigned long long)**undone);
		if (!part->undone)
			part->undone = calloc(row->nr_words, 2 * sizeof(*part->undone));
		if (!part->undone)
			return zd_fail_host(err, ENOMEM, "no memory for a fork");
		part->undone[2 * (block / 64 - row->first_word)] |= 1ull << block % 64;
	}
	return 0;
}

static int fill_fork(zd_dev *dev, zd_snapshot *s, const struct zd_cut *cut, struct zd_error *err)
{
	const struct zd_survivor *kept = cut ? cut->kept : NULL;
	const uint64_t *undone = cut ? cut->undone : NULL;
	uint64_t m = cut ? cut->nr_undone : 0;
	uint32_t i, k = 0, n = cut ? cut->nr_kept : 0;
	int r;

	dev->head->no_pre = s->no_pre;

	for (i = 0; i < s->n; i++) {
		const struct row *row = &s->rows[i];
		uint64_t written = zd_word_written(row->word), keep;
		struct zd_part *part = &dev->view->parts[row->zone];
		struct zd_zone_rt *rt;

		r = zd_zone_get(dev, row->zone, &rt);
		if (r)
			return zd_fail_host(err, -r, "no memory for a fork");
		rt->word = row->word;
		rt->durable = row->durable;
		rt->open_seq = row->opened;
		if (row->durable < written)
			zd_set_dirty(dev, row->zone); /* the next flush must find it */
		part->row = row;
		part->slot = row->slot;
		part->length = !row->slot ? 0 : zd_zone_type(dev, row->zone) == ZD_CONVENTIONAL ? zd_zone_length(dev, row->zone) : written;
		while (k < n && kept[k].zone < row->zone)
			k++;
		if (!cut) {
			part->unflushed = row->words != NULL;
			if (row->words)
				zd_set_dirty(dev, row->zone);
			continue;
		}
		r = undo(dev, part, &undone, &m, err);
		if (r)
			return r;
		keep = k < n && kept[k].zone == row->zone ? kept[k].bytes : row->durable;
		if (keep > written || keep % dev->g.h.logical_block)
			return zd_fail(err, -EINVAL, "zone %u cannot keep %llu bytes: %llu are written, in blocks of %u", row->zone,
				       (unsigned long long)keep, (unsigned long long)written, dev->g.h.logical_block);
		zd_power_cut_word(dev, row->zone, rt, keep);
		zd_view_cut(dev, row->zone, zd_is_conv(dev, row->zone) ? UINT64_MAX : keep);
	}
	if (m)
		return zd_fail(err, -EINVAL, "byte %llu begins no block that was overwritten since the last flush", (unsigned long long)*undone);
	zd_runtime_rebuild(dev, true);
	return 0;
}

int zd_fork(zd_snapshot *s, const struct zd_cut *cut, zd_dev **out, struct zd_error *err)
{
	struct zd_view *view;
	int r = cut ? zd_cut_check(cut, err) : 0;

	*out = NULL;
	if (r)
		return r;
	*out = s->owner == getpid() ? from_pool(s->origin) : NULL;
	if (*out)
		goto fill;
	view = calloc(1, sizeof(*view));
	if (view)
		view->parts = calloc(s->origin->dev->g.h.nr_zones, sizeof(*view->parts));
	if (!view || !view->parts) {
		free(view);
		return zd_fail_host(err, ENOMEM, "no memory for a fork");
	}
	r = zd_create_like(s->origin->dev, out, err);
	if (r) {
		free(view->parts);
		free(view);
		return r;
	}
	(*out)->view = view;
fill:
	atomic_fetch_add(&s->refs, 1);
	(*out)->view->snapshot = s;
	r = fill_fork(*out, s, cut, err);
	if (r) {
		zd_close(*out, NULL);
		*out = NULL;
	}
	return r;
}
