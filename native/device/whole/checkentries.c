/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checking the zones' entries of an image at rest, copy against copy and zone against zone: values, slots, limits. What a
 * repair makes of each is told whether it is done or only could be.
 */
#include "device/whole/whole.h"

#include <stdlib.h>

int zd_check_zero(struct zd_check *c, uint64_t from, uint64_t to, const char *what)
{
	uint8_t page[ZD_PAGE];

	while (from < to) {
		size_t i, n = to - from < sizeof(page) ? to - from : sizeof(page);
		int r = zd_host_pread(c->dev.fd, page, n, from);

		if (r)
			return r;
		for (i = 0; i < n && page[i] == 0; i++)
			;
		if (i < n) {
			struct zd_finding *f = zd_find(c, ZD_F_RESERVED, ZD_NO_ZONE, from + i, true, true,
						       "byte %llu, %s, must be zero and is 0x%02x",
						       (unsigned long long)(from + i), what, page[i]);

			if (c->repair) {
				memset(page, 0, n);
				zd_find_mended(f, zd_host_pwrite(c->dev.fd, page, n, from));
			}
		}
		from += n;
	}
	return 0;
}

static uint64_t entry_offset(const struct zd_check *c, uint32_t zone, int copy)
{
	return (copy ? c->dev.g.h.table_b : ZD_TABLE) + (uint64_t)zone * sizeof(struct zd_entry);
}

static int write_entry(struct zd_check *c, uint32_t zone, struct zd_entry *e)
{
	int r;

	e->zero = 0;
	e->crc = zd_entry_crc(e, zone);
	r = zd_host_pwrite(c->dev.fd, e, sizeof(*e), entry_offset(c, zone, 0));
	return r ? r : zd_host_pwrite(c->dev.fd, e, sizeof(*e), entry_offset(c, zone, 1));
}

/* A zone's next entry, in both copies. */
int zd_check_write_state(struct zd_check *c, uint32_t zone, const struct zd_state *s)
{
	struct zd_entry e = { .word = s->word, .durable = s->durable, .slot = s->slot }, a, b;
	const struct zd_entry *newest;
	int r = zd_host_pread(c->dev.fd, &a, sizeof(a), entry_offset(c, zone, 0));

	if (!r)
		r = zd_host_pread(c->dev.fd, &b, sizeof(b), entry_offset(c, zone, 1));
	if (r)
		return r;
	newest = zd_entry_newest(&a, &b, zone, true);
	e.seq = zd_seq_next(newest ? newest->seq : 0);
	return write_entry(c, zone, &e);
}

/* The zone goes where mending its finding leads; *s is what counts of it from then on. */
static void put(struct zd_check *c, struct zd_finding *f, uint32_t zone, struct zd_state *s, const struct zd_state *to,
		uint64_t lost)
{
	if (c->repair)
		zd_find_mended(f, zd_check_write_state(c, zone, to));
	zd_find_loss(c, f, zone, to, lost);
	*s = *to;
}

#define MANY 0x80000000u /* with the owner of a slot: others claim it, and that was told */

static const struct zd_state offline = { ZD_OFFLINE, 0, 0 };

/* *s: what counts, after a repair; all zero if nothing does. False: no more is to be said of the zone. */
static bool check_entry(struct zd_check *c, uint32_t zone, const struct zd_entry *a, const struct zd_entry *b,
			struct zd_state *s)
{
	bool va = zd_entry_valid(a, zone), vb = zd_entry_valid(b, zone);
	const struct zd_entry *newest = zd_entry_newest(a, b, zone, true);
	struct zd_entry e;
	struct zd_finding *f;
	const char *wrong;

	memset(s, 0, sizeof(*s));
	if (!newest) {
		f = zd_find(c, ZD_F_ENTRY_LOST, zone, entry_offset(c, zone, 0), true, true,
			    "zone %u has lost both copies of its entry%s", zone,
			    c->alive ? "; its users know it, and write it anew" : "");
		if (!c->alive)
			put(c, f, zone, s, &offline, ZD_NONE);
		return false;
	}
	e = *newest;
	*s = (struct zd_state){ e.word, e.durable, e.slot };
	if (!va || !vb) {
		bool stale = !va && !c->clean && !c->alive;

		f = zd_find(c, ZD_F_ENTRY, zone, entry_offset(c, zone, va ? 1 : 0), true, true,
			    "copy %c of the entry of zone %u is damaged%s", va ? 'B' : 'A', zone,
			    stale ? ", and copy B, which is taken, may be out of date" : "");
		if (c->repair)
			zd_find_mended(f, zd_entry_zero(&e) ?
						  zd_host_pwrite(c->dev.fd, &e, sizeof(e), entry_offset(c, zone, va ? 1 : 0)) :
						  write_entry(c, zone, &e));
		if (stale)
			zd_find_loss(c, f, zone, s, ZD_NONE);
	} else if (c->clean && !c->alive && memcmp(a, b, sizeof(*a))) {
		f = zd_find(c, ZD_F_ENTRY, zone, entry_offset(c, zone, 1), true, true,
			    "the copies of the entry of zone %u differ, though the image was closed cleanly", zone);
		if (c->repair)
			zd_find_mended(f, write_entry(c, zone, &e));
	}
	wrong = zd_state_wrong(&c->dev, zone, s);
	if (!wrong)
		return !c->alive;
	if (c->alive) {
		zd_find(c, ZD_F_ENTRY_VALUE, zone, entry_offset(c, zone, 0), true, true,
			"the entry of zone %u cannot be: it %s; its users know better, and write it anew", zone, wrong);
		return false;
	}
	f = zd_find(c, ZD_F_ENTRY_VALUE, zone, entry_offset(c, zone, 0), true, true, "zone %u %s", zone, wrong);
	put(c, f, zone, s, &offline, zd_state_loss(&c->dev, zone, s, &offline));
	return false;
}

/* The file must be long enough for the zone's slot. */
void zd_check_want_room(struct zd_check *c, uint32_t zone, uint32_t slot)
{
	uint64_t end = zd_slot_offset(&c->dev, slot) + c->dev.g.h.slot_size;

	if (!c->grow_to)
		c->roomless = zone;
	if (end > c->grow_to)
		c->grow_to = end;
}

/* Once all zones are seen: a file that ends in room that nobody ever wrote to lost nothing, and is told of once. */
void zd_check_room(struct zd_check *c)
{
	struct zd_finding *f = NULL;
	int r;

	if (!c->grow_to)
		return;
	if (!c->cut)
		f = zd_find(c, ZD_F_SHORT, c->roomless, c->file_size, true, true,
			    "the file ends at byte %llu, and the room of its zones goes on to byte %llu; no data is missing",
			    (unsigned long long)c->file_size, (unsigned long long)c->grow_to);
	if (!c->repair)
		return;
	/* First what says which bytes count: else a crash would leave zeros of the new room as a zone's data. */
	r = zd_host_sync(c->dev.fd);
	zd_find_mended(f, r ? r : zd_host_grow(c->dev.fd, c->grow_to));
}

/* What it finds of the zone that had the slot first, is told with the first other one. *gone: that zone went OFFLINE now. */
static void check_slot(struct zd_check *c, uint32_t zone, struct zd_state *s, uint32_t *owner, struct zd_state *gone)
{
	uint32_t slot = s->slot - 1, other = (owner[slot] & ~MANY) - 1;
	uint64_t end = zd_slot_offset(&c->dev, slot) + c->dev.g.h.slot_size, lost;
	struct zd_finding *f;
	struct zd_state to;
	bool there;

	memset(gone, 0, sizeof(*gone));
	if (owner[slot]) {
		static const char *const text =
			"zones %u and %u claim the same slot, %u, and whose data it holds cannot be told";

		if (!(owner[slot] & MANY) && zd_state_of_entry(&c->dev, other, gone, &there) == 0) {
			owner[slot] |= MANY;
			to = *gone;
			f = zd_find(c, ZD_F_SLOT_SHARED, other, entry_offset(c, other, 0), true, true, text, other, zone, slot);
			put(c, f, other, &to, &offline, zd_state_loss(&c->dev, other, &to, &offline));
		}
		f = zd_find(c, ZD_F_SLOT_SHARED, zone, entry_offset(c, zone, 0), true, true, text, other, zone, slot);
		put(c, f, zone, s, &offline, zd_state_loss(&c->dev, zone, s, &offline));
		return;
	}
	owner[slot] = zone + 1;
	if (!zd_state_short(&c->dev, s, c->file_size))
		return;
	to = zd_state_left(&c->dev, zone, s, c->file_size);
	lost = zd_state_loss(&c->dev, zone, s, &to);
	if (to.slot)
		zd_check_want_room(c, zone, slot);
	if (!lost)
		return;
	c->cut++;
	f = zd_find(c, ZD_F_SHORT, zone, c->file_size, true, true,
		    "the file ends at byte %llu, but the data of zone %u goes on to byte %llu",
		    (unsigned long long)c->file_size, zone, (unsigned long long)end);
	put(c, f, zone, s, &to, lost);
}

#define BATCH 2048u

void zd_check_count(const struct zd_check *c, uint32_t zone, const struct zd_state *s, uint32_t by, uint32_t *open,
		    uint32_t *active)
{
	int cond = zd_word_cond(s->word, zd_zone_type(&c->dev, zone));

	*open += zd_cond_open(cond) ? by : 0;
	*active += zd_cond_open(cond) || cond == ZD_CLOSED ? by : 0;
}

int zd_check_entries(struct zd_check *c)
{
	const struct zd_header *h = &c->dev.g.h;
	struct zd_entry *a = malloc(2 * BATCH * sizeof(*a)), *b = a + BATCH;
	uint32_t *owner = calloc(c->dev.g.max_slots, sizeof(*owner));
	uint32_t z, i, open = 0, active = 0;
	int r = a && owner ? 0 : -ENOMEM;

	c->cut = 0;
	c->grow_to = 0;
	for (z = 0; !r && z < h->nr_zones; z += BATCH) {
		uint32_t n = h->nr_zones - z < BATCH ? h->nr_zones - z : BATCH;

		r = zd_host_pread(c->dev.fd, a, n * sizeof(*a), entry_offset(c, z, 0));
		if (!r)
			r = zd_host_pread(c->dev.fd, b, n * sizeof(*b), entry_offset(c, z, 1));
		for (i = 0; !r && i < n; i++) {
			struct zd_state s, gone;

			if (zd_entry_zero(&a[i]) && zd_entry_zero(&b[i]))
				continue;
			if (check_entry(c, z + i, &a[i], &b[i], &s) && s.slot) {
				uint32_t other = owner[s.slot - 1] - 1;

				check_slot(c, z + i, &s, owner, &gone);
				if (gone.word) /* then the slot had an owner, counted when it was seen */
					zd_check_count(c, other, &gone, (uint32_t)-1, &open, &active);
			}
			zd_check_count(c, z + i, &s, 1, &open, &active);
		}
	}
	if (!r)
		zd_check_room(c);
	if (!r && h->model == ZD_HOST_MANAGED && !c->alive)
		zd_check_limits(c, open, active);
	if (!r)
		r = zd_check_zero(c, ZD_TABLE + (uint64_t)h->nr_zones * sizeof(struct zd_entry), h->table_b,
				  "behind the zone entries, copy A");
	if (!r)
		r = zd_check_zero(c, h->table_b + (uint64_t)h->nr_zones * sizeof(struct zd_entry), h->runtime_offset,
				  "behind the zone entries, copy B");
	free(a);
	free(owner);
	return r;
}

/*
 * Too many open zones: close implicitly, then explicitly open ones, as a disk may at any time. Active ones it
 * cannot make fewer without giving up capacity.
 */
static int close_surplus(struct zd_check *c, uint32_t open, uint32_t max_open)
{
	const struct zd_header *h = &c->dev.g.h;
	int pass, r = 0;
	uint32_t z;

	for (pass = 0; pass < 2; pass++) {
		int from = pass ? ZD_EXPLICIT_OPEN : ZD_IMPLICIT_OPEN;

		for (z = 0; !r && z < h->nr_zones && open > max_open; z++) {
			int type = zd_zone_type(&c->dev, z);
			const struct zd_cell *cell = zd_cell(h->dialect, type, ZD_IMPLICIT_OPEN, ZD_CMD_CLOSE);
			struct zd_state state;
			int to = ZD_CLOSED;
			bool there;

			r = zd_state_of_entry(&c->dev, z, &state, &there);
			if (r || zd_word_cond(state.word, type) != from)
				continue;
			if (cell->next == ZD_NEXT_CLOSED_OR_EMPTY && zd_word_written(state.word) == 0)
				to = ZD_EMPTY;
			state.word = zd_word_with_cond(state.word, to);
			r = zd_check_write_state(c, z, &state);
			open--;
		}
	}
	return r;
}

void zd_check_limits(struct zd_check *c, uint32_t open, uint32_t active)
{
	const struct zd_header *h = &c->dev.g.h;

	if (h->max_open && open > h->max_open) {
		struct zd_finding *f =
			zd_find(c, ZD_F_LIMIT, ZD_NO_ZONE, ZD_NONE, true, true,
				"%u zones are open, and max_open is %u; repair closes the surplus", open, h->max_open);

		if (c->repair)
			zd_find_mended(f, close_surplus(c, open, h->max_open));
	}
	if (h->max_active && active > h->max_active)
		zd_find(c, ZD_F_LIMIT, ZD_NO_ZONE, ZD_NONE, true, false, "%u zones are active, and max_active is %u", active,
			h->max_active);
}
