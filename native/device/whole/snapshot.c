/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Snapshots without copying data.
 *
 * A snapshot is a zone table in this process's memory, with a pin on each slot that it names. A pinned slot keeps
 * its bytes: it is neither reused nor punched, and a write below the pinned part first moves the zone to a copy
 * (zd_slot_unshare). A fork is a disk of its own in RAM whose zones read what they had at the snapshot from the
 * origin's slots, through a handle that the snapshot keeps open, and everything else from its own. Required zones
 * only ever append, so a fork of them copies nothing; a zone that is overwritten in place is copied with its first
 * write.
 *
 * A snapshot of a fork pins the fork's own slots. What the fork reads elsewhere its rows name as pieces: slots of other
 * disks, pinned before, each counted by all rows that name it (struct zd_pinned). Rows hold those slots and their disks, but
 * no fork or snapshot between: forks of forks share data at any depth, each byte is one step away, and whoever is closed
 * first leaves behind what others still read, and nothing else.
 *
 * Pins are counted in the origin's shared state. A process that is killed leaves its pins there until the last
 * opener of the disk is gone: that costs space, never data.
 */
#include "device/whole/whole.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

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

void zd_view_clear(zd_dev *dev)
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

	zd_view_clear(dev);
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
		if (!dev->leave)
			dev->leave = zd_view_leave;
		atomic_fetch_add(&o->refs, 1);
	}
	pthread_mutex_unlock(&dev->seg_lock);
	*out = o;
	return 0;
}

bool zd_view_leave(zd_dev *dev)
{
	if (dev->origin)
		drop_origin(dev->origin);
	dev->origin = NULL;
	if (dev->view)
		free_view(dev);
	return false;
}

/* ---------------------------------------------------------------- snapshots */

/* All locks are held. Bytes 0 .. length-1 of a slot stay as they are till it is let go. */
static int pin(zd_dev *dev, zd_snapshot *s, uint32_t number, uint64_t length, struct zd_pinned **out)
{
	struct zd_pinned *p = malloc(sizeof(*p));
	struct zd_slot_rt *slot;

	if (!p)
		return -ENOMEM;
	atomic_fetch_add(&s->origin->refs, 1);
	*p = (struct zd_pinned){ s->origin, 1, number, s->look ? 0 : s->owner };
	*out = p;
	if (s->look) /* the number may be anything; who reads there looks at it first */
		return 0;
	slot = &dev->slots[number - 1];
	slot->pins++;
	if (slot->pinned < length)
		slot->pinned = length;
	return 0;
}

static struct zd_pinned *hold(struct zd_pinned *p)
{
	if (p)
		atomic_fetch_add(&p->refs, 1);
	return p;
}

static void let_go(struct zd_pinned *p)
{
	if (!p || atomic_fetch_sub(&p->refs, 1) != 1)
		return;
	if (p->owner == getpid() && zd_enter(p->origin->dev, NULL) == 0)
		zd_slot_unpin(p->origin->dev, p->slot);
	drop_origin(p->origin);
	free(p);
}

static void free_rows(zd_snapshot *s)
{
	uint32_t i, k;

	for (i = 0; i < s->n; i++) {
		struct zd_row *row = &s->rows[i];

		for (k = 0; k < row->nr_pieces; k++)
			let_go(row->pieces[k].at);
		let_go(row->own);
		let_go(row->extension);
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
	uint32_t x = ((const struct zd_row *)a)->zone, y = ((const struct zd_row *)b)->zone;

	return x < y ? -1 : x > y;
}

static int share_blocks(struct zd_blocks *to, const struct zd_blocks *from)
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
static int inherit(const struct zd_part *part, struct zd_row *row)
{
	uint64_t length = part->length, at = 0;
	const struct zd_row *old = part->row;
	const struct zd_blocks *undone;
	int r = 0;

	if (length) {
		undone = part->undone.words ? &part->undone : &old->undone;
		row->pieces = malloc(((size_t)old->nr_pieces + 1) * sizeof(*row->pieces));
		if (!row->pieces)
			return -ENOMEM;
		for (; at < length; row->nr_pieces++) {
			struct zd_piece *piece = &row->pieces[row->nr_pieces];

			*piece = zd_piece_of(old, row->nr_pieces);
			if (piece->end > length)
				piece->end = length;
			hold(piece->at);
			at = piece->end;
		}
		if (undone->words)
			r = share_blocks(&row->undone, undone);
	}
	if (part->extension)
		row->extension = hold(zd_row_extension(old));
	if (!r && part->unflushed && old->pre.words)
		r = share_blocks(&row->pre, &old->pre);
	return r;
}

static int fill_row(zd_dev *dev, zd_snapshot *s, struct zd_row *row)
{
	struct zd_zone_rt *rt = &dev->zones[row->zone];
	uint64_t written = zd_word_written(rt->word);
	uint32_t pre = 0;
	int r = 0;

	row->word = rt->word;
	row->durable = rt->durable < written ? rt->durable : written;
	row->lost = zd_fault_lost_look(dev, row->zone, rt->gen);
	if (rt->slot)
		r = pin(dev, s, rt->slot,
			zd_zone_type(dev, row->zone) == ZD_SEQ_WRITE_REQUIRED && !(rt->word & ZD_W_ZRWA) ? written : UINT64_MAX,
			&row->own);
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
		struct zd_row *rows = realloc(s->rows, more * sizeof(*rows));

		if (!rows)
			return -ENOMEM;
		s->rows = rows;
		*room = more;
	}
	s->rows[s->n++] = (struct zd_row){ .zone = zone, .opened = opened };
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
	r = look ? 0 : zd_lock_all(dev);
	if (!r) {
		r = fill_rows(dev, s);
		if (!look)
			zd_unlock_all(dev);
	}
	if (r) {
		zd_fail_host(err, -r,
			     r == -EINTR  ? "interrupted" :
			     r == -ENOMEM ? "no memory for a snapshot" :
					    "the host could not read the data back");
		zd_snapshot_free(s);
		return r;
	}
	*out = s;
	return 0;
}

int zd_snapshot_take(zd_dev *dev, zd_snapshot **out, struct zd_error *err)
{
	int r = zd_enter_writable(dev, err);

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
		const struct zd_row *row = &s->rows[i];

		for (w = 0; (row->own || row->nr_pieces) && row->pre.words && w < row->pre.n; w++) {
			uint64_t bits = row->pre.words[2 * w + ZD_PRE_WRITTEN];

			for (; bits; bits &= bits - 1) {
				unsigned bit = (unsigned)__builtin_ctzll(bits);
				uint64_t rel = ((row->pre.first + w) * 64 + bit) * size;

				r = zd_pinned_load(row->pre.at, rel, then, size);
				if (!r)
					r = zd_row_load(row, dev->g.h.logical_block, rel, now, size);
				if (r)
					return zd_fail_host(err, -r, "the host could not read the data back");
				/* Written with what it held: one survivor, unless a write pointer tells two apart. */
				if (memcmp(then, now, size) == 0 && (zd_is_conv(dev, row->zone) || rel + size <= row->durable))
					continue;
				if (n < max)
					out[n] = (struct zd_snapshot_block){ row->zone,
									     row->pre.words[2 * w + ZD_PRE_LOST] >> bit & 1,
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
		const struct zd_row *row = &s->rows[i];

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
