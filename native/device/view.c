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
 * A snapshot of a fork pins the fork's own slots. What the fork reads elsewhere its rows name as pieces: slots of other
 * disks, pinned before, each counted by all rows that name it (struct pinned). Rows hold those slots and their disks, but
 * no fork or snapshot between: forks of forks share data at any depth, each byte is one step away, and whoever is closed
 * first leaves behind what others still read, and nothing else.
 *
 * Pins are counted in the origin's shared state. A process that is killed leaves its pins there until the last
 * opener of the disk is gone: that costs space, never data.
 */
#include "internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define ONLY_LOOKED "what a read-only handle has seen keeps no data: it can be looked at, not forked or rolled back to"

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

/* A slot of a disk, with a pin of this process on it; shared by all rows that name it. */
struct pinned {
	struct zd_origin *origin;
	_Atomic uint32_t refs;
	uint32_t slot; /* + 1 */
	pid_t owner;   /* the pin is this process's, not a forked child's */
};

/* Bytes of a zone, from where the piece before ends. */
struct piece {
	struct pinned *at; /* NULL: zeros */
	uint64_t end;
};

/* Blocks of a zone by bits, in pairs of words as in struct zd_pre; and where the bytes lie that they held before. */
struct blocks {
	uint64_t *words; /* NULL: there are none */
	uint64_t first;
	uint32_t n;      /* pairs */
	struct pinned *at;
};

struct row {
	uint32_t zone, opened; /* opened: rank among the implicitly open zones, oldest first */
	uint32_t nr_pieces;
	struct piece *pieces;  /* what a fork's zone reads elsewhere */
	struct pinned *own;    /* behind the last of them: the zone's slot */
	uint64_t word, durable, lost;
	struct blocks pre;     /* unflushed */
	struct blocks undone;  /* in the pieces; they show what they held before. Never beside pre: a survivor is flushed */
};

struct zd_snapshot {
	struct zd_origin *origin;
	_Atomic uint32_t refs;
	pid_t owner;
	uint32_t n;
	uint32_t no_pre;
	bool look;         /* by a handle that may only read: nothing is pinned, so it is good for telling only */
	struct row *rows; /* zones that are not as new, ascending */
};

/*
 * What a fork still reads from its snapshot: bytes 0 .. length-1 of a zone. All but the length and `unflushed` stay as
 * they are as long as the fork lives, so that a rollback needs to set these two only.
 */
struct zd_part {
	_Atomic bool unflushed; /* the row's pre-images are those of the fork as well */
	_Atomic uint64_t length;
	const struct row *row;
	struct blocks undone;   /* by the power cut that made the fork */
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
	r = zd_back_mend(dev);
	if (!r)
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

static int open_origin(zd_dev *dev, struct zd_origin **out, struct zd_error *err)
{
	struct zd_origin *o = calloc(1, sizeof(*o));
	char path[64];
	int r;

	if (!o)
		return zd_fail_host(err, ENOMEM, "no memory for a snapshot");
	snprintf(path, sizeof(path), "/proc/self/fd/%d", dev->fd);
	r = zd_open(path, dev->readonly ? ZD_OPEN_READONLY : 0, &o->dev, err);
	if (r) {
		free(o);
		return r == -EMFILE ? zd_fail_host(err, EMFILE, "each disk with a snapshot takes another file descriptor") : r;
	}
	o->refs = 1;
	*out = o;
	return 0;
}

static void clear_parts(zd_dev *dev)
{
	const zd_snapshot *s = dev->view->snapshot;
	uint32_t i;

	for (i = 0; s && i < s->n; i++) {
		struct zd_part *part = &dev->view->parts[s->rows[i].zone];

		free(part->undone.words);
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
static int take_origin(zd_dev *dev, struct zd_origin **out, struct zd_error *err)
{
	struct zd_origin *o;
	int r;

	pthread_mutex_lock(&dev->seg_lock);
	o = dev->origin;
	if (o)
		atomic_fetch_add(&o->refs, 1);
	pthread_mutex_unlock(&dev->seg_lock);
	if (o) {
		*out = o;
		return 0;
	}
	r = open_origin(dev, &o, err);
	if (r)
		return r;
	pthread_mutex_lock(&dev->seg_lock);
	if (!dev->origin) {
		dev->origin = o;
		atomic_fetch_add(&o->refs, 1);
	}
	pthread_mutex_unlock(&dev->seg_lock);
	*out = o;
	return 0;
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
	atomic_store(&dev->closing, false);
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
	if (!zd_door_alone(dev) || !clean(dev))
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

/* ---------------------------------------------------------------- copying */

typedef int read_fn(zd_dev *dev, uint32_t number, uint64_t rel, uint8_t *to, uint64_t n);

/* What read() gives for slot or zone `number` goes to a slot. */
static int copy_into(zd_dev *dev, uint32_t slot, uint64_t length, read_fn *read, uint32_t number)
{
	uint8_t *bytes = malloc(COPY);
	uint64_t at;
	int r = bytes ? 0 : -ENOMEM;

	for (at = 0; !r && at < length; at += COPY) {
		uint64_t n = length - at < COPY ? length - at : COPY, i;

		r = read(dev, number, at, bytes, n);
		for (i = 0; !r && i < n && !bytes[i]; i++)
			;
		if (!r && i < n) { /* what is zero stays a hole */
			r = zd_host_pwrite(dev->fd, bytes, n, zd_slot_offset(dev, slot) + at);
			if (zd_slots_gave(dev, r))
				r = zd_host_pwrite(dev->fd, bytes, n, zd_slot_offset(dev, slot) + at);
		}
	}
	free(bytes);
	return r;
}

static int read_slot(zd_dev *dev, uint32_t slot, uint64_t rel, uint8_t *to, uint64_t n)
{
	return zd_host_pread(dev->fd, to, n, zd_slot_offset(dev, slot) + rel);
}

/* Under the stripe: the zone's slot is pinned, and bytes below the pinned part are to change. */
int zd_slot_unshare(zd_dev *dev, uint32_t zone, struct zd_zone_rt *rt)
{
	uint32_t old = rt->slot - 1, new;
	uint64_t length = zd_is_conv(dev, zone) ? dev->g.h.slot_size : zd_word_written(rt->word);
	int r = zd_slot_take(dev, zone, true, &new);

	if (r)
		return r;
	if (length > dev->g.h.slot_size)
		length = dev->g.h.slot_size;
	r = copy_into(dev, new, length, read_slot, old);
	if (!zd_lock_resource_surely(dev))
		return -EINTR; /* the new slot is nobody's till the disk is started anew */
	dev->slots[new].pins = 0;
	if (r) {
		zd_slot_give_up(dev, new);
	} else {
		zd_slot_replace(dev, zone, rt, new);
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

static bool has_bit(const struct blocks *b, uint64_t block)
{
	uint64_t word = block / 64;

	return word >= b->first && word - b->first < b->n && b->words[2 * (word - b->first)] >> block % 64 & 1;
}

static int load_pinned(const struct pinned *p, uint64_t rel, uint8_t *to, uint64_t n)
{
	int r = zd_enter(p->origin->dev, NULL);

	return r ? r : zd_load(p->origin->dev, p->slot - 1, rel, to, n);
}

/* n bytes of a zone that were read: over them what the blocks held before. */
static int overlay(const struct blocks *b, uint64_t size, uint64_t rel, uint8_t *to, uint64_t n)
{
	uint64_t at;
	int r = 0;

	for (at = rel; b->words && !r && at < rel + n;) {
		uint64_t end = at - at % size + size, part_end = end < rel + n ? end : rel + n;

		if (has_bit(b, at / size))
			r = load_pinned(b->at, at, to + (at - rel), part_end - at);
		at = part_end;
	}
	return r;
}

/* Piece i of a row; the last one is the slot of its own. */
static struct piece piece_of(const struct row *row, uint32_t i)
{
	return i < row->nr_pieces ? row->pieces[i] : (struct piece){ row->own, UINT64_MAX };
}

/* What a zone showed at the snapshot. */
static int load_row(const zd_snapshot *s, const struct row *row, uint64_t rel, uint8_t *to, uint64_t n)
{
	uint64_t at = rel, end = rel + n;
	uint32_t i;
	int r = 0;

	for (i = 0; !r && at < end; i++) {
		struct piece piece = piece_of(row, i);
		uint64_t part = piece.end < end ? piece.end : end;

		if (part <= at)
			continue;
		if (piece.at)
			r = load_pinned(piece.at, at, to + (at - rel), part - at);
		else
			memset(to + (at - rel), 0, part - at);
		at = part;
	}
	return r ? r : overlay(&row->undone, s->origin->dev->g.h.logical_block, rel, to, n);
}

const uint64_t *zd_view_pre(const zd_dev *dev, uint32_t zone, uint64_t *first, uint32_t *n)
{
	const struct zd_part *part;

	if (likely(!dev->view))
		return NULL;
	part = &dev->view->parts[zone];
	if (!part->unflushed)
		return NULL;
	*first = part->row->pre.first;
	*n = part->row->pre.n;
	return part->row->pre.words;
}

int zd_view_pre_load(zd_dev *dev, uint32_t zone, uint64_t rel, uint8_t *to)
{
	return load_pinned(dev->view->parts[zone].row->pre.at, rel, to, dev->g.h.logical_block);
}

void zd_view_pre_drop(zd_dev *dev, uint32_t zone)
{
	if (dev->view)
		dev->view->parts[zone].unflushed = false;
}

static int load_part(zd_dev *dev, uint32_t zone, uint64_t rel, uint8_t *to, uint64_t n)
{
	const struct zd_part *part = &dev->view->parts[zone];
	int r = load_row(dev->view->snapshot, part->row, rel, to, n);

	return r ? r : overlay(&part->undone, dev->g.h.logical_block, rel, to, n);
}

int zd_view_load(zd_dev *dev, uint32_t zone, uint32_t slot, uint64_t rel, uint8_t *to, uint64_t n)
{
	struct zd_part *part = &dev->view->parts[zone];
	uint64_t length = atomic_load_explicit(&part->length, memory_order_acquire), below = 0;
	int r;

	if (rel < length) {
		below = n < length - rel ? n : length - rel;
		r = load_part(dev, zone, rel, to, below);
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

/* Under the stripe: from here on the zone's bytes lie in its own slot. */
int zd_view_own(zd_dev *dev, uint32_t zone, struct zd_zone_rt *rt)
{
	struct zd_part *part = &dev->view->parts[zone];
	int r = 0;

	if (!part->length)
		return 0;
	if (!rt->slot)
		r = zd_slot_assign(dev, zone, rt);
	if (!r)
		r = copy_into(dev, rt->slot - 1, part->length, load_part, zone);
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

/* ---------------------------------------------------------------- snapshots */

/* All locks are held. Bytes 0 .. length-1 of a slot stay as they are till it is let go. */
static int pin(zd_dev *dev, zd_snapshot *s, uint32_t number, uint64_t length, struct pinned **out)
{
	struct pinned *p = malloc(sizeof(*p));
	struct zd_slot_rt *slot;

	if (!p)
		return -ENOMEM;
	atomic_fetch_add(&s->origin->refs, 1);
	*p = (struct pinned){ s->origin, 1, number, s->look ? 0 : s->owner };
	*out = p;
	if (s->look) /* the number may be anything; who reads there looks at it first */
		return 0;
	slot = &dev->slots[number - 1];
	slot->pins++;
	if (slot->pinned < length)
		slot->pinned = length;
	return 0;
}

static struct pinned *hold(struct pinned *p)
{
	if (p)
		atomic_fetch_add(&p->refs, 1);
	return p;
}

static void unpin(zd_dev *dev, uint32_t number)
{
	struct zd_slot_rt *slot = &dev->slots[number - 1];

	if (!zd_lock_resource_surely(dev))
		return; /* it stays as it is till the disk is started anew */
	/* Counts are gone when the disk was started anew behind our back; then it knows of no pin. */
	if (slot->pins && --slot->pins == 0) {
		slot->pinned = 0;
		if (slot->state == ZD_SLOT_PINNED)
			zd_slot_give_up(dev, number - 1);
	}
	zd_unlock_resource(dev);
}

static void let_go(struct pinned *p)
{
	if (!p || atomic_fetch_sub(&p->refs, 1) != 1)
		return;
	if (p->owner == getpid() && zd_enter(p->origin->dev, NULL) == 0)
		unpin(p->origin->dev, p->slot);
	drop_origin(p->origin);
	free(p);
}

static void free_rows(zd_snapshot *s)
{
	uint32_t i, k;

	for (i = 0; i < s->n; i++) {
		struct row *row = &s->rows[i];

		for (k = 0; k < row->nr_pieces; k++)
			let_go(row->pieces[k].at);
		let_go(row->own);
		let_go(row->pre.at);
		let_go(row->undone.at);
		free(row->pieces);
		free(row->pre.words);
		free(row->undone.words);
	}
	free(s->rows);
}

static int by_zone(const void *a, const void *b)
{
	uint32_t x = ((const struct row *)a)->zone, y = ((const struct row *)b)->zone;

	return x < y ? -1 : x > y;
}

static int share_blocks(struct blocks *to, const struct blocks *from)
{
	uint64_t *words = malloc((size_t)from->n * 16);

	if (!words)
		return -ENOMEM;
	memcpy(words, from->words, (size_t)from->n * 16);
	*to = *from;
	to->words = words;
	hold(to->at);
	return 0;
}

/* What a fork's zone reads elsewhere, for its row in a snapshot of the fork. */
static int inherit(const struct zd_part *part, struct row *row)
{
	uint64_t length = part->length, at = 0;
	const struct row *old = part->row;
	const struct blocks *undone;
	int r = 0;

	if (length) {
		undone = part->undone.words ? &part->undone : &old->undone;
		row->pieces = malloc(((size_t)old->nr_pieces + 1) * sizeof(*row->pieces));
		if (!row->pieces)
			return -ENOMEM;
		for (; at < length; row->nr_pieces++) {
			struct piece *piece = &row->pieces[row->nr_pieces];

			*piece = piece_of(old, row->nr_pieces);
			if (piece->end > length)
				piece->end = length;
			hold(piece->at);
			at = piece->end;
		}
		if (undone->words)
			r = share_blocks(&row->undone, undone);
	}
	if (!r && part->unflushed && old->pre.words)
		r = share_blocks(&row->pre, &old->pre);
	return r;
}

static int fill_row(zd_dev *dev, zd_snapshot *s, struct row *row)
{
	struct zd_zone_rt *rt = &dev->zones[row->zone];
	uint64_t written = zd_word_written(rt->word);
	uint32_t pre = 0;
	int r = 0;

	row->word = rt->word;
	row->durable = rt->durable < written ? rt->durable : written;
	row->lost = zd_fault_lost_look(dev, row->zone, rt->gen);
	if (rt->slot)
		r = pin(dev, s, rt->slot, zd_zone_type(dev, row->zone) == ZD_SEQ_WRITE_REQUIRED ? written : UINT64_MAX, &row->own);
	if (!r)
		r = zd_pre_copy(dev, row->zone, &row->pre.words, &row->pre.first, &row->pre.n, &pre);
	if (!r && pre)
		r = pin(dev, s, pre, 0, &row->pre.at);
	if (!r && dev->view)
		r = inherit(&dev->view->parts[row->zone], row);
	return r;
}

static int add_row(zd_snapshot *s, uint32_t zone, uint32_t opened, uint32_t *room)
{
	if (s->n == *room) {
		uint32_t more = *room ? 2 * *room : 64;
		struct row *rows = realloc(s->rows, more * sizeof(*rows));

		if (!rows)
			return -ENOMEM;
		s->rows = rows;
		*room = more;
	}
	s->rows[s->n++] = (struct row){ .zone = zone, .opened = opened };
	return 0;
}

static int fill_rows(zd_dev *dev, zd_snapshot *s)
{
	uint32_t z, room = 0, rank = 0;
	int r = 0;

	/* The order of the open zones matters to forks only, and without locks the list may lead anywhere. */
	for (z = s->look ? 0 : dev->head->imp_head; !r && z; z = dev->zones[z - 1].next)
		r = add_row(s, z - 1, ++rank, &room);
	for (z = 0; !r && z < dev->g.h.nr_zones; z++) {
		struct zd_zone_rt *rt = zd_zone_peek(dev, z);

		if (rt && (rt->word || rt->slot || zd_view_has(dev, z)) &&
		    (s->look || zd_word_cond(rt->word, zd_zone_type(dev, z)) != ZD_IMPLICIT_OPEN))
			r = add_row(s, z, 0, &room);
	}
	for (z = 0; !r && z < s->n; z++)
		r = fill_row(dev, s, &s->rows[z]);
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

static int make_snapshot(zd_dev *dev, bool look, zd_snapshot **out, struct zd_error *err)
{
	zd_snapshot *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return zd_fail_host(err, ENOMEM, "no memory for a snapshot");
	s->refs = 1;
	s->owner = getpid();
	s->look = look;
	r = take_origin(dev, &s->origin, err);
	if (r) {
		free(s);
		return r;
	}
	r = look ? 0 : lock_all(dev);
	if (!r) {
		r = fill_rows(dev, s);
		if (!look)
			unlock_all(dev);
	}
	if (r) {
		zd_fail_host(err, -r, r == -EINTR ? "interrupted" : r == -ENOMEM ? "no memory for a snapshot" : "the host could not read the data back");
		zd_snapshot_free(s);
		return r;
	}
	*out = s;
	return 0;
}

int zd_snapshot_take(zd_dev *dev, zd_snapshot **out, struct zd_error *err)
{
	int r = begin(dev, err);

	*out = NULL;
	return r ? r : make_snapshot(dev, false, out, err);
}

int zd_snapshot_look(zd_dev *dev, zd_snapshot **out, struct zd_error *err)
{
	int r = zd_enter(dev, err);

	*out = NULL;
	return r ? r : make_snapshot(dev, dev->readonly, out, err);
}

void zd_snapshot_free(zd_snapshot *s)
{
	if (!s || atomic_fetch_sub(&s->refs, 1) != 1)
		return;
	free_rows(s);
	drop_origin(s->origin);
	free(s);
}

void zd_snapshot_share(zd_snapshot *s, zd_snapshot **out)
{
	atomic_fetch_add(&s->refs, 1);
	*out = s;
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

		for (w = 0; (row->own || row->nr_pieces) && row->pre.words && w < row->pre.n; w++) {
			uint64_t bits = row->pre.words[2 * w + ZD_PRE_WRITTEN];

			for (; bits; bits &= bits - 1) {
				unsigned bit = (unsigned)__builtin_ctzll(bits);
				uint64_t rel = ((row->pre.first + w) * 64 + bit) * size;

				r = load_pinned(row->pre.at, rel, then, size);
				if (!r)
					r = load_row(s, row, rel, now, size);
				if (r)
					return zd_fail_host(err, -r, "the host could not read the data back");
				/* Written with what it held: one survivor, unless a write pointer tells two apart. */
				if (memcmp(then, now, size) == 0 && (zd_is_conv(dev, row->zone) || rel + size <= row->durable))
					continue;
				if (n < max)
					out[n] = (struct zd_snapshot_block){ row->zone, row->pre.words[2 * w + ZD_PRE_LOST] >> bit & 1,
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

/* All locks are held. What a fork's zone reads elsewhere, as in the snapshot. */
static void put_back_part(zd_dev *dev, uint32_t zone, struct zd_zone_rt *rt, const struct row *row)
{
	struct zd_part *part = &dev->view->parts[zone];
	uint64_t length = row && row->nr_pieces ? row->pieces[row->nr_pieces - 1].end : 0;

	if (part->length == length)
		return;
	atomic_store_explicit(&part->length, length, memory_order_release);
	zd_set_dirty(dev, zone);
	atomic_fetch_add_explicit(&rt->gen, 1, memory_order_acq_rel);
}

/* What is not written down: pre-images as they were, where the zone had some. */
static void put_back_pre(zd_dev *dev, const zd_snapshot *s, const struct row *row)
{
	if (!row->pre.words)
		return;
	if (row->pre.at->origin == s->origin)
		zd_pre_put_back(dev, row->zone, row->pre.words, row->pre.first, row->pre.n, row->pre.at->slot);
	else
		dev->view->parts[row->zone].unflushed = true;
	zd_set_dirty(dev, row->zone);
	dev->zones[row->zone].durable = row->durable;
}

static struct zd_back back_to(const void *snapshot, uint32_t i)
{
	const struct row *row = &((const zd_snapshot *)snapshot)->rows[i];

	return (struct zd_back){ row->zone, row->own ? row->own->slot : 0, row->word, row->durable, row->opened,
				 row->pre.words != NULL };
}

/* All locks are held. */
static int go_back(zd_dev *dev, const zd_snapshot *s)
{
	uint32_t z, i = 0;
	int r = zd_back_note(dev, back_to, s, s->n);

	if (r)
		return r;
	zd_back_begin(dev);
	for (z = 0; z < dev->g.h.nr_zones; z++) {
		struct zd_zone_rt *rt = zd_zone_peek(dev, z);
		const struct row *row = i < s->n && s->rows[i].zone == z ? &s->rows[i++] : NULL;

		if (rt && zd_pre_any(dev, z)) {
			zd_pre_drop(dev, z, true);
			zd_set_dirty(dev, z);
		}
		if (rt && dev->view)
			put_back_part(dev, z, rt, row);
	}
	r = zd_back_finish(dev);
	for (i = 0; !r && i < s->n; i++)
		put_back_pre(dev, s, &s->rows[i]);
	return r;
}

int zd_rollback(zd_dev *dev, zd_snapshot *s, struct zd_error *err)
{
	int r = begin(dev, err);

	if (r)
		return r;
	if (memcmp(&dev->head->tag, &s->origin->dev->head->tag, sizeof(dev->head->tag)))
		return zd_fail(err, -EINVAL, "the snapshot is one of another disk");
	if (s->look)
		return zd_fail(err, -EINVAL, ONLY_LOOKED);
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
	r = go_back(dev, s);
	unlock_all(dev);
	if (r && atomic_load(&dev->head->gate) & ZD_GATE_BACK)
		return zd_fail_host(err, -r, "cannot read what the disk goes back to; the next command tries it again");
	if (r)
		return zd_fail_host(err, -r, "no room to note what the disk goes back to; it is as it was");
	return zd_after_change(dev, err);
}

/* ---------------------------------------------------------------- forks */

/* The blocks of a cut disk that show what they held before: *undone and *m are those not looked at yet. */
static int undo(zd_dev *dev, struct zd_part *part, const uint64_t **undone, uint64_t *m, struct zd_error *err)
{
	const struct blocks *pre = &part->row->pre;
	uint64_t start = zd_zone_start(dev, part->row->zone), end = start + zd_zone_length(dev, part->row->zone);

	for (; *m && **undone < end; ++*undone, --*m) {
		uint64_t rel = **undone - start, block = rel / dev->g.h.logical_block;

		if (**undone < start || rel % dev->g.h.logical_block || !pre->words || !has_bit(pre, block))
			return zd_fail(err, -EINVAL, "byte %llu begins no block that was overwritten since the last flush",
				       (unsigned long long)**undone);
		if (!part->undone.words) {
			part->undone = *pre;
			part->undone.words = calloc(pre->n, 2 * sizeof(*pre->words));
		}
		if (!part->undone.words)
			return zd_fail_host(err, ENOMEM, "no memory for a fork");
		part->undone.words[2 * (block / 64 - pre->first)] |= 1ull << block % 64;
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
		if (row->own || row->nr_pieces)
			part->length = zd_is_conv(dev, row->zone) ? zd_zone_length(dev, row->zone) : written;
		while (k < n && kept[k].zone < row->zone)
			k++;
		if (!cut) {
			part->unflushed = row->pre.words != NULL;
			if (row->pre.words)
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
	if (!r && s->look)
		r = zd_fail(err, -EINVAL, ONLY_LOOKED);
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
