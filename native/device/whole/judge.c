/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What killed users left, zone by zone: which words can be believed, what mends those that cannot, and what that costs.
 *
 * A word that is sound stays, whatever its neighbours say. One that cannot be goes back to what the zone's entry says,
 * that is to the last sync; where the entry cannot be either, or its slot is another zone's, the zone goes OFFLINE. Of a
 * zone whose slot goes beyond the file's end stays what is there. Nothing is changed here: an opener refuses what is not
 * sound, and check tells, and on request does, what the verdict says.
 */
#include "device/whole/whole.h"

#include <stdlib.h>

#define MANY 0x80000000u /* with an owner: others claim its slot, and it is nobody's */

/* ---------------------------------------------------------------- states */

const char *zd_state_wrong(const zd_dev *dev, uint32_t zone, const struct zd_state *s)
{
	return zd_entry_wrong(dev, zone, s->word, s->durable, s->slot);
}

int zd_state_of_entry(const zd_dev *dev, uint32_t zone, struct zd_state *out, bool *there)
{
	uint64_t at = (uint64_t)zone * sizeof(struct zd_entry);
	struct zd_entry a, b;
	const struct zd_entry *e;
	int r = zd_host_pread(dev->fd, &a, sizeof(a), ZD_TABLE + at);

	if (!r)
		r = zd_host_pread(dev->fd, &b, sizeof(b), dev->g.h.table_b + at);
	if (r)
		return r;
	e = zd_entry_newest(&a, &b, zone, true);
	*there = e != NULL;
	memset(out, 0, sizeof(*out));
	if (e)
		*out = (struct zd_state){ e->word, e->durable, e->slot };
	return 0;
}

bool zd_state_short(const zd_dev *dev, const struct zd_state *s, uint64_t file_size)
{
	return s->slot && zd_slot_offset(dev, s->slot - 1) + dev->g.h.slot_size > file_size;
}

static struct zd_state offline(void)
{
	struct zd_state s = { zd_word(ZD_OFFLINE, 0, 0), 0, 0 };

	return s;
}

/* Its first bytes if it is sequential; of one that is written in any order nobody knows what was where. */
struct zd_state zd_state_left(const zd_dev *dev, uint32_t zone, const struct zd_state *s, uint64_t file_size)
{
	uint64_t from = zd_slot_offset(dev, s->slot - 1), written = zd_word_written(s->word);
	uint64_t left = file_size > from ? file_size - from : 0;
	struct zd_state to = *s;

	if (zd_word_cond(s->word, zd_zone_type(dev, zone)) == ZD_OFFLINE)
		return to; /* it shows none of its data anyway */
	if (zd_is_conv(dev, zone))
		return offline();
	to.word &= ~ZD_W_EXTENSION; /* it lies at the slot's end */
	left -= left % dev->g.h.logical_block;
	if (left >= written)
		return to; /* only room that was never written is missing */
	if (!left)
		return offline();
	to.word = zd_word(ZD_READ_ONLY, 0, left);
	to.durable = s->durable < left ? s->durable : left;
	return to;
}

uint64_t zd_state_loss(const zd_dev *dev, uint32_t zone, const struct zd_state *is, const struct zd_state *to)
{
	int type = zd_zone_type(dev, zone);
	bool gone = zd_word_cond(to->word, type) == ZD_OFFLINE;
	uint64_t written = zd_word_written(is->word), kept = gone || is->slot != to->slot ? 0 : zd_word_written(to->word);

	if (zd_word_cond(is->word, type) == ZD_OFFLINE)
		return 0; /* nobody could read it */
	if (type == ZD_CONVENTIONAL) {
		if (!is->slot || (!gone && is->slot == to->slot))
			return 0;
		return gone ? zd_zone_length(dev, zone) : ZD_NONE;
	}
	if (is->word >> ZD_W_SHIFT > zd_zone_capacity(dev, zone) >> 9)
		return ZD_NONE; /* it says how much in no number that can be */
	if ((is->word & ZD_W_EXTENSION) && (gone || is->slot != to->slot || !(to->word & ZD_W_EXTENSION)))
		written += dev->g.h.zone_extension;
	return written > kept ? written - kept : 0;
}

/* ---------------------------------------------------------------- verdicts */

struct judging {
	zd_dev *dev;
	uint64_t file_size;
	uint32_t *owner; /* by slot: zone + 1, 0: none */
	struct zd_verdict *at;
	uint64_t n, room;
};

static int condemn(struct judging *j, int kind, uint32_t zone, uint32_t other, const char *wrong)
{
	struct zd_verdict *at = zd_grown(j->at, j->n, &j->room, sizeof(*at), 16);

	if (!at)
		return -ENOMEM;
	j->at = at;
	j->at[j->n++] = (struct zd_verdict){ zone, other, kind, wrong, zd_live_state(&j->dev->zones[zone]), { 0, 0, 0 }, 0 };
	return 0;
}

/* Does the zone's entry give it the slot that its word says? */
static int entry_names(struct judging *j, uint32_t zone, uint32_t slot, bool *names)
{
	struct zd_state s;
	bool there;
	int r = zd_state_of_entry(j->dev, zone, &s, &there);

	*names = !r && there && s.slot == slot;
	return r;
}

/* Two words with one slot: it is that zone's whose entry names it; if that tells nothing, neither is sound. */
static int claim(struct judging *j, uint32_t zone, uint32_t slot)
{
	uint32_t *owner = &j->owner[slot - 1], other = (*owner & ~MANY) - 1;
	bool mine, theirs;
	int r;

	if (!*owner) {
		*owner = zone + 1;
		return 0;
	}
	if (*owner & MANY)
		return condemn(j, ZD_F_SLOT_SHARED, zone, other, NULL);
	r = entry_names(j, zone, slot, &mine);
	if (!r)
		r = entry_names(j, other, slot, &theirs);
	if (r)
		return r;
	if (mine && !theirs) {
		*owner = zone + 1;
		return condemn(j, ZD_F_SLOT_SHARED, other, zone, NULL);
	}
	r = condemn(j, ZD_F_SLOT_SHARED, zone, other, NULL);
	if (r || (theirs && !mine))
		return r;
	*owner |= MANY;
	return condemn(j, ZD_F_SLOT_SHARED, other, zone, NULL);
}

/* Where a zone goes whose word cannot be. */
static int fall_back(struct judging *j, struct zd_verdict *v)
{
	zd_dev *dev = j->dev;
	struct zd_state entry, is = v->is;
	uint64_t more;
	bool there;
	int r = zd_state_of_entry(dev, v->zone, &entry, &there);

	if (r)
		return r;
	if (there && zd_state_wrong(dev, v->zone, &entry))
		there = false;
	if (there && (!entry.slot || !j->owner[entry.slot - 1])) {
		if (entry.slot)
			j->owner[entry.slot - 1] = v->zone + 1;
		v->to = zd_state_short(dev, &entry, j->file_size) ? zd_state_left(dev, v->zone, &entry, j->file_size) : entry;
		/* Where it is the slot that cannot be, it was most likely this one. */
		if (v->to.slot && (v->kind == ZD_F_SLOT_SHARED || !is.slot || is.slot > dev->g.max_slots))
			is.slot = v->to.slot;
		v->lost = zd_state_loss(dev, v->zone, &is, &v->to);
		return 0;
	}
	v->to = offline();
	v->lost = zd_state_loss(dev, v->zone, &is, &v->to);
	more = there ? zd_state_loss(dev, v->zone, &entry, &v->to) : 0;
	if (v->lost < more)
		v->lost = more; /* ZD_NONE is the most */
	return 0;
}

static int by_zone(const void *a, const void *b)
{
	const struct zd_verdict *x = a, *y = b;

	return x->zone < y->zone ? -1 : x->zone > y->zone;
}

/* Sound by itself; but is its data all there? */
static int judge_length(struct judging *j, uint32_t zone)
{
	struct zd_state s = zd_live_state(&j->dev->zones[zone]);
	struct zd_verdict *v;
	int r;

	if (s.slot > j->dev->g.max_slots || !zd_state_short(j->dev, &s, j->file_size) || j->owner[s.slot - 1] != zone + 1)
		return 0;
	r = condemn(j, ZD_F_SHORT, zone, ZD_NO_ZONE, NULL);
	if (r)
		return r;
	v = &j->at[j->n - 1];
	v->to = zd_state_left(j->dev, zone, &s, j->file_size);
	v->lost = zd_state_loss(j->dev, zone, &s, &v->to);
	return 0;
}

int zd_judge(zd_dev *dev, uint64_t file_size, struct zd_verdict **out, size_t *n)
{
	struct judging j = { .dev = dev, .file_size = file_size };
	uint32_t zone, nr_zones = dev->g.h.nr_zones;
	size_t i, unsound;
	int r = 0;

	*out = NULL;
	*n = 0;
	j.owner = calloc(dev->g.max_slots ? dev->g.max_slots : 1, sizeof(*j.owner));
	if (!j.owner)
		return -ENOMEM;
	for (zone = 0; !r && zone < nr_zones; zone++) {
		const struct zd_zone_rt *rt = zd_zone_peek(dev, zone);
		struct zd_state s;
		const char *wrong;

		if (!rt)
			continue;
		s = zd_live_state(rt);
		wrong = zd_state_wrong(dev, zone, &s);
		if (wrong)
			r = condemn(&j, ZD_F_ENTRY_VALUE, zone, ZD_NO_ZONE, wrong);
		else if (s.slot)
			r = claim(&j, zone, s.slot);
	}
	unsound = j.n;
	for (zone = 0; !r && zone < nr_zones; zone++) {
		if (zd_zone_peek(dev, zone))
			r = judge_length(&j, zone);
	}
	/* Last, as no zone goes back to a slot that a sound word has. */
	for (i = 0; !r && i < unsound; i++)
		r = fall_back(&j, &j.at[i]);
	free(j.owner);
	if (r) {
		free(j.at);
		return r;
	}
	if (j.n)
		qsort(j.at, j.n, sizeof(*j.at), by_zone);
	*out = j.at;
	*n = j.n;
	return 0;
}
