/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checking an image, byte by byte and copy against copy, and mending what can be mended without inventing
 * data: a damaged copy from its twin; a zone whose entry is lost or impossible goes OFFLINE; a zone whose data
 * was cut off goes READ_ONLY with what is left. What killed users left is judged zone by zone (judge.c). What a
 * repair costs is told by zone and byte, whether it is done or only could be. An image in use is checked through
 * a handle of its own, under the locks, so that its counts can be compared with a recount.
 */
#include "internal.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_FINDINGS 100000u /* a file full of damage is told in part */

struct check {
	zd_dev dev;      /* only g, fd and readonly are used; rt, too, where a living area is judged */
	bool repair, clean;
	bool users; /* somebody has it open for writing */
	bool alive; /* the shared words count, not the entries */
	uint64_t file_size;
	uint64_t grow_to; /* how long the file must be for the zones' slots; 0: it is */
	uint32_t cut;     /* zones that lost data by its end */
	uint32_t roomless; /* if so: the first of those zones */
	struct zd_finding *at;
	size_t n, room;
	bool no_memory;
	struct zd_finding spill; /* the last of those that are one too many */
	struct zd_finding sum;   /* all of them but that */
	uint64_t nr_spilt;
};

/* What is one too many is told all together, and what it loses all the same. */
static struct zd_finding *spill(struct check *c)
{
	struct zd_finding *last = &c->spill, *sum = &c->sum;

	if (c->nr_spilt == 1) {
		*sum = *last;
		sum->zone = ZD_NO_ZONE;
		sum->offset = ZD_NONE;
	} else if (c->nr_spilt) {
		sum->error |= last->error;
		sum->mendable &= last->mendable || !last->error;
		sum->mended &= last->mended || !last->error;
		sum->loses |= last->loses;
		sum->becomes = last->loses ? last->becomes : sum->becomes;
		sum->lost = sum->lost == ZD_NONE || last->lost == ZD_NONE ? ZD_NONE : sum->lost + last->lost;
	}
	c->nr_spilt++;
	return last;
}

static void tell_spilt(struct check *c)
{
	uint64_t n = c->nr_spilt;

	if (!n)
		return;
	spill(c); /* the last one, too */
	snprintf(c->sum.text, sizeof(c->sum.text), "and %llu more, of which the last %s: %.120s", (unsigned long long)n,
		 n == 1 ? "is" : "was", c->spill.text);
	c->at[c->n++] = c->sum;
}

static struct zd_finding *add(struct check *c, int kind, uint32_t zone, uint64_t offset, bool error, bool mendable,
			      const char *format, ...) __attribute__((format(printf, 7, 8)));

static struct zd_finding *add(struct check *c, int kind, uint32_t zone, uint64_t offset, bool error, bool mendable,
			      const char *format, ...)
{
	static struct zd_finding *const none = NULL;
	struct zd_finding *f;
	va_list args;

	if (c->n == c->room && c->room < MAX_FINDINGS + 1) {
		size_t room = c->room ? 2 * c->room : 16;
		struct zd_finding *at_;

		if (room > MAX_FINDINGS + 1)
			room = MAX_FINDINGS + 1; /* one place for all the rest */
		at_ = realloc(c->at, room * sizeof(*at_));
		if (!at_) {
			c->no_memory = true;
			return none;
		}
		c->at = at_;
		c->room = room;
	}
	f = c->n < MAX_FINDINGS ? &c->at[c->n++] : spill(c);
	memset(f, 0, sizeof(*f));
	f->kind = kind;
	f->zone = zone;
	f->offset = offset;
	f->error = error;
	f->mendable = mendable;
	va_start(args, format);
	vsnprintf(f->text, sizeof(f->text), format, args);
	va_end(args);
	return f;
}

static void mended(struct zd_finding *f, int r)
{
	if (f && r == 0)
		f->mended = 1;
}

static const char *cond_name(int cond)
{
	switch (cond) {
	case ZD_NOT_WP: return "not-wp";
	case ZD_EMPTY: return "empty";
	case ZD_IMPLICIT_OPEN: return "implicit-open";
	case ZD_EXPLICIT_OPEN: return "explicit-open";
	case ZD_CLOSED: return "closed";
	case ZD_FULL: return "full";
	case ZD_READ_ONLY: return "read-only";
	default: return "offline";
	}
}

/* 1,234,567 */
static void grouped(char *to, size_t room, uint64_t value)
{
	char digits[24];
	int n = snprintf(digits, sizeof(digits), "%llu", (unsigned long long)value), i;
	size_t at = 0;

	for (i = 0; i < n && at + 2 < room; i++) {
		if (i && (n - i) % 3 == 0)
			to[at++] = ',';
		to[at++] = digits[i];
	}
	to[at] = 0;
}

/* Once it is known whether it was mended: what that cost the zone, or would. */
static void tell_loss(struct check *c, struct zd_finding *f, uint32_t zone, const struct zd_state *to, uint64_t lost)
{
	size_t n = f ? strlen(f->text) : 0;
	char bytes[32];

	if (!f || !lost)
		return;
	f->loses = 1;
	f->becomes = (uint8_t)zd_word_cond(to->word, zd_zone_type(&c->dev, zone));
	f->lost = lost;
	grouped(bytes, sizeof(bytes), lost);
	snprintf(f->text + n, sizeof(f->text) - n, lost == ZD_NONE ? "%szone %u: %s, and how much of it is lost cannot be told" :
								     "%szone %u: %s, %s bytes lost",
		 f->mended ? "; " : "; repair leaves ", zone, cond_name(f->becomes), bytes);
}

/* ---------------------------------------------------------------- header and status */

static int check_headers(struct check *c, const struct zd_header *good, int bad)
{
	int i;

	for (i = 0; i < 2; i++) {
		uint64_t at = i ? ZD_HEADER_B : ZD_HEADER_A;
		struct zd_header h;
		struct zd_finding *f;
		int r = zd_host_pread(c->dev.fd, &h, sizeof(h), at);

		if (r)
			return r;
		if (!(bad >> i & 1) && memcmp(&h, good, sizeof(h)) == 0)
			continue;
		f = add(c, ZD_F_HEADER, ZD_NO_ZONE, at, true, true,
			bad >> i & 1 ? "header copy %c is damaged" : "header copy %c is not the same as copy A", 'A' + i);
		if (c->repair)
			mended(f, zd_host_pwrite_dsync(c->dev.fd, good, sizeof(*good), at));
	}
	return 0;
}

static int check_zero(struct check *c, uint64_t from, uint64_t to, const char *what)
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
			struct zd_finding *f = add(c, ZD_F_RESERVED, ZD_NO_ZONE, from + i, true, true,
						   "byte %llu, %s, must be zero and is 0x%02x", (unsigned long long)(from + i),
						   what, page[i]);

			if (c->repair) {
				memset(page, 0, n);
				mended(f, zd_host_pwrite(c->dev.fd, page, n, from));
			}
		}
		from += n;
	}
	return 0;
}

static int check_status(struct check *c, struct zd_status *status)
{
	struct zd_finding *found[2] = { NULL, NULL }, *failed = NULL;
	int bad = 0, r = zd_status_read(c->dev.fd, status, &bad), i;

	if (r && r != ZD_E_CORRUPT)
		return r;
	if (r == ZD_E_CORRUPT)
		memset(status, 0, sizeof(*status));
	for (i = 0; i < 2; i++) {
		if (bad >> i & 1)
			found[i] = add(c, ZD_F_STATUS, ZD_NO_ZONE, i ? ZD_STATUS_B : ZD_STATUS_A, true, true,
				       "status copy %c is damaged", 'A' + i);
	}
	c->clean = status->clean;
	if (status->failed)
		failed = add(c, ZD_F_FAILED, ZD_NO_ZONE, ZD_NONE, true, true,
			     "a sync to the host's disk failed; what was written after the last flush that succeeded may be lost");
	else if (!status->clean && !c->alive && bad != 3)
		add(c, ZD_F_UNCLEAN, ZD_NO_ZONE, ZD_NONE, false, false,
		    "the image was not closed cleanly; after a crash of the host it stands as of the last sync");
	if (c->repair && (bad || status->failed)) {
		status->failed = 0;
		r = zd_status_write(c->dev.fd, status, true);
		for (i = 0; i < 2; i++)
			mended(found[i], r);
		mended(failed, r);
	}
	r = check_zero(c, ZD_STATUS_A + sizeof(*status), ZD_STATUS_B, "behind status copy A");
	return r ? r : check_zero(c, ZD_STATUS_B + sizeof(*status), ZD_TABLE, "behind status copy B");
}

/* ---------------------------------------------------------------- entries and slots */

static uint64_t entry_offset(const struct check *c, uint32_t zone, int copy)
{
	return (copy ? c->dev.g.h.table_b : ZD_TABLE) + (uint64_t)zone * sizeof(struct zd_entry);
}

static int write_entry(struct check *c, uint32_t zone, struct zd_entry *e)
{
	int r;

	e->zero = 0;
	e->crc = zd_entry_crc(e, zone);
	r = zd_host_pwrite(c->dev.fd, e, sizeof(*e), entry_offset(c, zone, 0));
	return r ? r : zd_host_pwrite(c->dev.fd, e, sizeof(*e), entry_offset(c, zone, 1));
}

/* A zone's next entry, in both copies. */
static int write_state(struct check *c, uint32_t zone, const struct zd_state *s)
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
static void put(struct check *c, struct zd_finding *f, uint32_t zone, struct zd_state *s, const struct zd_state *to, uint64_t lost)
{
	if (c->repair)
		mended(f, write_state(c, zone, to));
	tell_loss(c, f, zone, to, lost);
	*s = *to;
}

#define MANY 0x80000000u /* with the owner of a slot: others claim it, and that was told */

static const struct zd_state offline = { ZD_OFFLINE, 0, 0 };

/* *s: what counts, after a repair; all zero if nothing does. False: no more is to be said of the zone. */
static bool check_entry(struct check *c, uint32_t zone, const struct zd_entry *a, const struct zd_entry *b, struct zd_state *s)
{
	bool va = zd_entry_valid(a, zone), vb = zd_entry_valid(b, zone);
	const struct zd_entry *newest = zd_entry_newest(a, b, zone, true);
	struct zd_entry e;
	struct zd_finding *f;
	const char *wrong;

	memset(s, 0, sizeof(*s));
	if (!newest) {
		f = add(c, ZD_F_ENTRY_LOST, zone, entry_offset(c, zone, 0), true, true, "zone %u has lost both copies of its entry%s", zone,
			c->alive ? "; its users know it, and write it anew" : "");
		if (!c->alive)
			put(c, f, zone, s, &offline, ZD_NONE);
		return false;
	}
	e = *newest;
	*s = (struct zd_state){ e.word, e.durable, e.slot };
	if (!va || !vb) {
		bool stale = !va && !c->clean && !c->alive;

		f = add(c, ZD_F_ENTRY, zone, entry_offset(c, zone, va ? 1 : 0), true, true,
			"copy %c of the entry of zone %u is damaged%s", va ? 'B' : 'A', zone,
			stale ? ", and copy B, which is taken, may be out of date" : "");
		if (c->repair)
			mended(f, zd_entry_zero(&e) ? zd_host_pwrite(c->dev.fd, &e, sizeof(e), entry_offset(c, zone, va ? 1 : 0)) :
						      write_entry(c, zone, &e));
		if (stale)
			tell_loss(c, f, zone, s, ZD_NONE);
	} else if (c->clean && !c->alive && memcmp(a, b, sizeof(*a))) {
		f = add(c, ZD_F_ENTRY, zone, entry_offset(c, zone, 1), true, true,
			"the copies of the entry of zone %u differ, though the image was closed cleanly", zone);
		if (c->repair)
			mended(f, write_entry(c, zone, &e));
	}
	wrong = zd_state_wrong(&c->dev, zone, s);
	if (!wrong)
		return !c->alive;
	if (c->alive) {
		add(c, ZD_F_ENTRY_VALUE, zone, entry_offset(c, zone, 0), true, true,
		    "the entry of zone %u cannot be: it %s; its users know better, and write it anew", zone, wrong);
		return false;
	}
	f = add(c, ZD_F_ENTRY_VALUE, zone, entry_offset(c, zone, 0), true, true, "zone %u %s", zone, wrong);
	put(c, f, zone, s, &offline, zd_state_loss(&c->dev, zone, s, &offline));
	return false;
}

/* The file must be long enough for the zone's slot. */
static void want_room(struct check *c, uint32_t zone, uint32_t slot)
{
	uint64_t end = zd_slot_offset(&c->dev, slot) + c->dev.g.h.slot_size;

	if (!c->grow_to)
		c->roomless = zone;
	if (end > c->grow_to)
		c->grow_to = end;
}

/* Once all zones are seen: a file that ends in room that nobody ever wrote to lost nothing, and is told of once. */
static void check_room(struct check *c)
{
	struct zd_finding *f = NULL;
	int r;

	if (!c->grow_to)
		return;
	if (!c->cut)
		f = add(c, ZD_F_SHORT, c->roomless, c->file_size, true, true,
			"the file ends at byte %llu, and the room of its zones goes on to byte %llu; no data is missing",
			(unsigned long long)c->file_size, (unsigned long long)c->grow_to);
	if (!c->repair)
		return;
	/* First what says which bytes count: else a crash would leave zeros of the new room as a zone's data. */
	r = zd_host_sync(c->dev.fd);
	mended(f, r ? r : zd_host_grow(c->dev.fd, c->grow_to));
}

/* What it finds of the zone that had the slot first, is told with the first other one. *gone: that zone went OFFLINE now. */
static void check_slot(struct check *c, uint32_t zone, struct zd_state *s, uint32_t *owner, struct zd_state *gone)
{
	uint32_t slot = s->slot - 1, other = (owner[slot] & ~MANY) - 1;
	uint64_t end = zd_slot_offset(&c->dev, slot) + c->dev.g.h.slot_size, lost;
	struct zd_finding *f;
	struct zd_state to;
	bool there;

	memset(gone, 0, sizeof(*gone));
	if (owner[slot]) {
		static const char *const text = "zones %u and %u claim the same slot, %u, and whose data it holds cannot be told";

		if (!(owner[slot] & MANY) && zd_state_of_entry(&c->dev, other, gone, &there) == 0) {
			owner[slot] |= MANY;
			to = *gone;
			f = add(c, ZD_F_SLOT_SHARED, other, entry_offset(c, other, 0), true, true, text, other, zone, slot);
			put(c, f, other, &to, &offline, zd_state_loss(&c->dev, other, &to, &offline));
		}
		f = add(c, ZD_F_SLOT_SHARED, zone, entry_offset(c, zone, 0), true, true, text, other, zone, slot);
		put(c, f, zone, s, &offline, zd_state_loss(&c->dev, zone, s, &offline));
		return;
	}
	owner[slot] = zone + 1;
	if (!zd_state_short(&c->dev, s, c->file_size))
		return;
	to = zd_state_left(&c->dev, zone, s, c->file_size);
	lost = zd_state_loss(&c->dev, zone, s, &to);
	if (to.slot)
		want_room(c, zone, slot);
	if (!lost)
		return;
	c->cut++;
	f = add(c, ZD_F_SHORT, zone, c->file_size, true, true, "the file ends at byte %llu, but the data of zone %u goes on to byte %llu",
		(unsigned long long)c->file_size, zone, (unsigned long long)end);
	put(c, f, zone, s, &to, lost);
}

#define BATCH 2048u

static void check_limits(struct check *c, uint32_t open, uint32_t active);

static void count_active(const struct check *c, uint32_t zone, const struct zd_state *s, uint32_t by, uint32_t *open, uint32_t *active)
{
	int cond = zd_word_cond(s->word, zd_zone_type(&c->dev, zone));

	*open += zd_cond_open(cond) ? by : 0;
	*active += zd_cond_open(cond) || cond == ZD_CLOSED ? by : 0;
}

static int check_entries(struct check *c)
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
					count_active(c, other, &gone, (uint32_t)-1, &open, &active);
			}
			count_active(c, z + i, &s, 1, &open, &active);
		}
	}
	if (!r)
		check_room(c);
	if (!r && h->model == ZD_HOST_MANAGED && !c->alive)
		check_limits(c, open, active);
	if (!r)
		r = check_zero(c, ZD_TABLE + (uint64_t)h->nr_zones * sizeof(struct zd_entry), h->table_b,
			       "behind the zone entries, copy A");
	if (!r)
		r = check_zero(c, h->table_b + (uint64_t)h->nr_zones * sizeof(struct zd_entry), h->runtime_offset,
			       "behind the zone entries, copy B");
	free(a);
	free(owner);
	return r;
}

/*
 * Too many open zones: close implicitly, then explicitly open ones, as a disk may at any time. Active ones it
 * cannot make fewer without giving up capacity.
 */
static int close_surplus(struct check *c, uint32_t open, uint32_t max_open)
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
			r = write_state(c, z, &state);
			open--;
		}
	}
	return r;
}

static void check_limits(struct check *c, uint32_t open, uint32_t active)
{
	const struct zd_header *h = &c->dev.g.h;

	if (h->max_open && open > h->max_open) {
		struct zd_finding *f = add(c, ZD_F_LIMIT, ZD_NO_ZONE, ZD_NONE, true, true,
					   "%u zones are open, and max_open is %u; repair closes the surplus", open, h->max_open);

		if (c->repair)
			mended(f, close_surplus(c, open, h->max_open));
	}
	if (h->max_active && active > h->max_active)
		add(c, ZD_F_LIMIT, ZD_NO_ZONE, ZD_NONE, true, false, "%u zones are active, and max_active is %u", active,
		    h->max_active);
}

/* ---------------------------------------------------------------- the living state */

static void differs(struct check *c, const char *what, uint64_t said, uint64_t counted)
{
	if (said != counted)
		add(c, ZD_F_COUNT, ZD_NO_ZONE, ZD_NONE, true, true, "the shared state says %llu %s, and a recount gives %llu",
		    (unsigned long long)said, what, (unsigned long long)counted);
}

/* Under all stripes, commit and resource lock of a handle of our own. */
static void recount(struct check *c, zd_dev *dev)
{
	const struct zd_rt_head *head = dev->head;
	uint32_t z, s, imp = 0, exp = 0, closed = 0, free_ = 0, pending = 0, listed = 0, warm = 0, bits = 0, pre = 0;
	uint32_t nr_zones = dev->g.h.nr_zones, nr_slots = head->nr_slots < dev->g.max_slots ? head->nr_slots : dev->g.max_slots;
	uint64_t warm_bytes = 0, guard;

	for (z = 0; z < dev->g.h.nr_zones; z++) {
		struct zd_zone_rt *rt = zd_zone_peek(dev, z);
		struct zd_state state;
		const char *wrong;
		int cond;

		bits += dev->implicit[z / 64] >> (z % 64) & 1;
		if (!rt)
			continue;
		cond = zd_word_cond(rt->word, zd_zone_type(dev, z));
		imp += cond == ZD_IMPLICIT_OPEN;
		exp += cond == ZD_EXPLICIT_OPEN;
		closed += cond == ZD_CLOSED;
		state = zd_live_state(rt);
		wrong = zd_state_wrong(dev, z, &state);
		if (wrong)
			add(c, ZD_F_ENTRY_VALUE, z, ZD_NONE, true, false, "zone %u %s", z, wrong);
		if (rt->slot && (rt->slot > nr_slots || dev->slots[rt->slot - 1].zone != z + 1 ||
				 dev->slots[rt->slot - 1].state != ZD_SLOT_USED))
			add(c, ZD_F_SLOT_SHARED, z, ZD_NONE, true, false,
			    "zone %u uses slot %u, which the shared state does not give it", z, rt->slot - 1);
	}
	/* Lists that lead out of their table or in a circle end where they do, and count wrong. */
	for (z = head->imp_head, guard = 0; z && z <= nr_zones && guard <= nr_zones; z = dev->zones[z - 1].next, guard++)
		listed++;
	for (s = 0; s < nr_slots; s++) {
		free_ += dev->slots[s].state == ZD_SLOT_FREE;
		pending += dev->slots[s].state == ZD_SLOT_PENDING;
		if (dev->slots[s].state == ZD_SLOT_FREE)
			warm_bytes += dev->slots[s].filled;
	}
	for (s = head->warm_head, guard = 0; s && s <= nr_slots && guard <= nr_slots; s = dev->slots[s - 1].next, guard++)
		warm++;
	for (s = head->cold_head; s && s <= nr_slots && guard <= nr_slots; s = dev->slots[s - 1].next, guard++)
		warm++;
	differs(c, "implicitly open zones", head->nr_implicit, imp);
	differs(c, "implicitly open zones in its list", listed, imp);
	differs(c, "implicitly open zones in its map", bits, imp);
	differs(c, "explicitly open zones", head->nr_explicit, exp);
	differs(c, "closed zones", head->nr_closed, closed);
	differs(c, "free slots", head->nr_free, free_);
	differs(c, "free slots in its lists", warm, free_);
	differs(c, "pending slots", head->nr_pending, pending);
	for (z = 0; z < dev->g.h.nr_zones; z++) {
		const struct zd_pre *p = zd_pre_peek(dev, z);

		pre += p ? (p->data != 0) + (p->map != 0) : 0;
	}
	differs(c, "slots of pre-images", head->nr_pre, pre);
	differs(c, "bytes in free slots", head->warm_bytes, warm_bytes);
	if (dev->g.h.model == ZD_HOST_MANAGED && dev->g.h.max_open && imp + exp > dev->g.h.max_open)
		add(c, ZD_F_LIMIT, ZD_NO_ZONE, ZD_NONE, true, false, "%u zones are open, and max_open is %u", imp + exp,
		    dev->g.h.max_open);
	if (dev->g.h.model == ZD_HOST_MANAGED && dev->g.h.max_active && imp + exp + closed > dev->g.h.max_active)
		add(c, ZD_F_LIMIT, ZD_NO_ZONE, ZD_NONE, true, false, "%u zones are active, and max_active is %u",
		    imp + exp + closed, dev->g.h.max_active);
}

static unsigned brief(const struct check *c)
{
	return c->dev.brief ? ZD_OPEN_BRIEFLY : 0;
}

/* Alone with it, so that nobody changes what is mended. */
static int come_in(struct check *c, struct zd_error *err)
{
	int r = zd_door_enter(&c->dev, err);

	if (!r && zd_door_others(&c->dev, false))
		r = zd_fail(err, ZD_E_BUSY, "others have the image open; repair needs it alone");
	return r;
}

static void go_out(struct check *c)
{
	if (c->dev.gate)
		zd_door_leave(&c->dev);
}

static int check_living(struct check *c, const char *path, struct zd_error *err)
{
	zd_dev *dev;
	int r = zd_open(path, brief(c), &dev, err);

	if (r == -EACCES || r == -EROFS || r == -EPERM)
		return 0; /* without the right to take its locks, its counts cannot be compared */
	if (r)
		return r;
	dev->brief = c->dev.brief;
	r = zd_lock_commit(dev);
	if (!r) {
		r = zd_lock_zones(dev, 0, ZD_STRIPES - 1);
		if (!r) {
			r = zd_lock_resource(dev);
			if (!r) {
				recount(c, dev);
				zd_unlock_resource(dev);
			}
			zd_unlock_zones(dev, 0, ZD_STRIPES - 1);
		}
		zd_unlock_commit(dev);
	}
	if (r)
		zd_fail_host(err, -r, "cannot lock the image's shared state");
	{
		int closed = zd_close(dev, r ? NULL : err);

		return r ? r : closed;
	}
}

/* The area as others left it, or a copy; for changing it nobody may have it open. What they wrote down to do is done. */
static int map_left(struct check *c, struct zd_error *err)
{
	uint8_t *rt = mmap(NULL, c->dev.g.rt_size, PROT_READ | PROT_WRITE, (c->repair ? MAP_SHARED : MAP_PRIVATE) | MAP_NORESERVE,
			   c->dev.fd, (off_t)c->dev.g.h.runtime_offset);
	int r;

	if (rt == MAP_FAILED)
		return zd_fail_host(err, errno, "cannot map the image's shared state");
	zd_runtime_bind(&c->dev, rt);
	r = zd_back_left(&c->dev);
	return r ? zd_fail_host(err, -r, "cannot read what the disk goes back to") : 0;
}

static void unmap_left(struct check *c)
{
	if (c->dev.rt)
		munmap(c->dev.rt, c->dev.g.rt_size);
	c->dev.rt = NULL;
}

/* In the area, and as the zone's entry, which must be there before the file grows. */
static int put_right(struct check *c, const struct zd_verdict *v)
{
	struct zd_zone_rt *rt = &c->dev.zones[v->zone];

	if (zd_pre_peek(&c->dev, v->zone))
		memset(&c->dev.pre[v->zone], 0, sizeof(c->dev.pre[v->zone]));
	rt->durable = 0;
	rt->slot = v->to.slot;
	rt->word = v->to.word;
	rt->durable = v->to.durable;
	rt->open_seq = 0;
	rt->gen++;
	return write_state(c, v->zone, &v->to);
}

static void tell_verdict(struct check *c, const struct zd_verdict *v)
{
	uint64_t end = v->is.slot ? zd_slot_offset(&c->dev, v->is.slot - 1) + c->dev.g.h.slot_size : 0;
	struct zd_finding *f;

	if (zd_state_short(&c->dev, &v->to, c->file_size))
		want_room(c, v->zone, v->to.slot - 1);
	if (v->kind == ZD_F_SHORT && !v->lost)
		return;
	c->cut += v->kind == ZD_F_SHORT;
	f = v->kind == ZD_F_SHORT ?
		    add(c, v->kind, v->zone, c->file_size, true, true,
			"the file ends at byte %llu, but the data of zone %u goes on to byte %llu",
			(unsigned long long)c->file_size, v->zone, (unsigned long long)end) :
	    v->kind == ZD_F_SLOT_SHARED ?
		    add(c, v->kind, v->zone, ZD_NONE, true, true, "zone %u, as its last users left it, claims slot %u, as zone %u does",
			v->zone, v->is.slot - 1, v->other) :
		    add(c, v->kind, v->zone, ZD_NONE, true, true, "zone %u, as its last users left it, %s", v->zone, v->wrong);
	if (c->repair)
		mended(f, put_right(c, v));
	tell_loss(c, f, v->zone, &v->to, v->lost);
}

/* More zones left open than may be. Repair closes them once they are written down. */
static void count_left(struct check *c, const struct zd_verdict *v, size_t n)
{
	uint32_t z, open = 0, active = 0;
	size_t i = 0;

	for (z = 0; z < c->dev.g.h.nr_zones; z++) {
		const struct zd_zone_rt *rt = zd_zone_peek(&c->dev, z);
		struct zd_state s;

		if (!rt)
			continue;
		s = zd_live_state(rt);
		if (i < n && v[i].zone == z)
			s = v[i++].to;
		count_active(c, z, &s, 1, &open, &active);
	}
	if (c->dev.g.h.model == ZD_HOST_MANAGED)
		check_limits(c, open, active);
}

/*
 * Its users died. Without repair only a look, as opening it for writing would change the file. Repair puts right the
 * zones that cannot be as they were left, each by itself, and leaves writing it all down to an opener.
 */
static int check_left(struct check *c, const char *path, struct zd_error *err)
{
	struct zd_verdict *v = NULL;
	size_t n = 0, i;
	int r = map_left(c, err);

	if (r) {
		unmap_left(c);
		return r;
	}
	r = zd_judge(&c->dev, c->file_size, &v, &n);
	if (r) {
		zd_fail_host(err, -r, "cannot judge the zones that its users left");
	} else if (!c->repair && zd_door_others(&c->dev, false)) {
		/* Somebody came meanwhile, and what was seen may have been half done. */
		r = check_living(c, path, err);
	} else {
		if (!c->repair)
			add(c, ZD_F_UNCLEAN, ZD_NO_ZONE, ZD_NONE, false, false, "its last users died without closing it; %s",
			    n ? "of what they left all is kept but what is told here" :
				"nothing is lost, and the next opener writes down what they left");
		for (i = 0; i < n; i++)
			tell_verdict(c, &v[i]);
		check_room(c);
		if (!c->repair)
			count_left(c, v, n);
	}
	free(v);
	unmap_left(c);
	return r;
}

/* A failed sync makes the shared words worthless: what they say may never have reached the disk. What goes with them? */
static int give_up_left(struct check *c, struct zd_error *err)
{
	uint32_t z;
	int r = map_left(c, err);

	for (z = 0; !r && z < c->dev.g.h.nr_zones; z++) {
		const struct zd_zone_rt *rt = zd_zone_peek(&c->dev, z);
		struct zd_state is, to;
		struct zd_finding *f;
		uint64_t lost;
		bool there;

		if (!rt)
			continue;
		is = zd_live_state(rt);
		if (zd_state_wrong(&c->dev, z, &is))
			continue; /* nobody could use it as it is */
		r = zd_state_of_entry(&c->dev, z, &to, &there);
		if (r) {
			zd_fail_host(err, -r, "cannot read the image's zone entries");
			break;
		}
		lost = there ? zd_state_loss(&c->dev, z, &is, &to) : 0; /* an entry that is lost tells so itself */
		if (!lost)
			continue;
		f = add(c, ZD_F_FAILED, z, ZD_NONE, true, true, "what was written to zone %u since the last sync that succeeded may be lost", z);
		if (c->repair)
			mended(f, 0);
		tell_loss(c, f, z, &to, lost);
	}
	unmap_left(c);
	return r;
}

/* Does the runtime area hold words that count, with or without somebody alive? */
static bool area_lives(struct check *c)
{
	struct zd_rt_head *head = mmap(NULL, ZD_PAGE, PROT_READ, MAP_SHARED, c->dev.fd, (off_t)c->dev.g.h.runtime_offset);
	struct zd_rt_tag tag;
	bool lives;

	if (head == MAP_FAILED)
		return false;
	lives = zd_runtime_tag(&c->dev, c->dev.fd, &tag) == 0 && memcmp(&tag, &head->tag, sizeof(tag)) == 0 &&
		head->state == ZD_RT_OPEN;
	munmap(head, ZD_PAGE);
	return lives;
}

/* No opener believes it any more. */
static int drop_area(struct check *c)
{
	static const struct zd_rt_tag none;

	return zd_host_pwrite(c->dev.fd, &none, sizeof(none), c->dev.g.h.runtime_offset);
}

/* Killed users left words that are ahead of the entries: an opener that closes again writes them down. */
static int write_down(struct check *c, const char *path, struct zd_error *err)
{
	struct zd_status status;
	struct stat st;
	zd_dev *dev;
	int r, bad;

	go_out(c);
	r = zd_open(path, brief(c), &dev, err);
	if (!r)
		r = zd_close(dev, err);
	if (!r)
		r = come_in(c, err);
	if (r)
		return r; /* nothing of it is given up: the next try finds it as it was */
	r = zd_status_read(c->dev.fd, &status, &bad);
	if (r || fstat(c->dev.fd, &st))
		return zd_fail_host(err, r == ZD_E_CORRUPT ? EIO : r ? -r : errno, "cannot read the image");
	c->clean = status.clean;
	c->alive = area_lives(c);
	c->file_size = (uint64_t)st.st_size;
	return 0;
}

int zd_check(const char *path, unsigned flags, struct zd_finding **findings, size_t *count, struct zd_error *err)
{
	struct check *c = calloc(1, sizeof(*c));
	struct zd_status status, before;
	struct zd_header header;
	struct stat st;
	bool lives, failed;
	int r, bad;

	*findings = NULL;
	*count = 0;
	zd_forget_waited();
	if (!c)
		return zd_fail_host(err, ENOMEM, "no memory to check an image");
	c->repair = flags & ZD_CHECK_REPAIR;
	c->dev.readonly = !c->repair;
	c->dev.brief = flags & ZD_CHECK_BRIEFLY;
	c->dev.fd = open(path, (c->repair ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK);
	if (c->dev.fd < 0 || fstat(c->dev.fd, &st)) {
		r = zd_fail_host(err, errno, "cannot open the image");
		goto out;
	}
	if (!S_ISREG(st.st_mode)) {
		r = zd_fail(err, ZD_E_NOT_IMAGE, "the path is no regular file, and images are");
		goto out;
	}
	c->file_size = (uint64_t)st.st_size;
	r = zd_header_read(c->dev.fd, &header, &bad, err);
	if (!r)
		r = zd_geometry_from_header(&header, &c->dev.g, err);
	if (r)
		goto out;
	if (c->file_size < c->dev.g.h.data_offset) {
		add(c, ZD_F_SHORT, ZD_NO_ZONE, c->file_size, true, false,
		    "the file ends at byte %llu, but its metadata goes on to byte %llu; restore it from a dump",
		    (unsigned long long)c->file_size, (unsigned long long)c->dev.g.h.data_offset);
		goto done;
	}
	if (c->repair) {
		r = come_in(c, err);
		if (r)
			goto out;
	}
	c->users = !c->repair && zd_door_others(&c->dev, false);
	lives = area_lives(c);
	r = zd_status_read(c->dev.fd, &before, &bad);
	failed = r == 0 && before.failed;
	if (failed && lives && !c->users) {
		r = give_up_left(c, err);
		if (r)
			goto out;
		lives = false;
		if (c->repair && drop_area(c)) {
			r = zd_fail_host(err, EIO, "cannot give up the image's shared state");
			goto out;
		}
	}
	c->alive = c->users || lives;
	r = zd_header_read(c->dev.fd, &header, &bad, err);
	if (!r)
		r = check_headers(c, &header, bad);
	if (!r)
		r = check_status(c, &status);
	if (r)
		goto unreadable;
	if (lives) {
		r = c->users ? check_living(c, path, err) : check_left(c, path, err);
		if (r)
			goto out;
	}
	if (lives && c->repair) {
		r = write_down(c, path, err);
		if (r)
			goto out;
	}
	r = check_entries(c);
unreadable:
	if (r) {
		r = zd_fail_host(err, r < -1000 ? EIO : -r, "cannot read or write the image");
		goto out;
	}
	if (c->repair && zd_host_sync(c->dev.fd)) {
		r = zd_fail_host(err, errno, "syncing the repaired image failed");
		goto out;
	}
done:
	tell_spilt(c);
	r = c->no_memory ? zd_fail_host(err, ENOMEM, "no memory for the findings") : 0;
	if (!r) {
		*findings = c->at;
		*count = c->n;
		c->at = NULL;
	}
out:
	go_out(c);
	zd_door_unmap(&c->dev);
	if (c->dev.fd >= 0)
		close(c->dev.fd);
	zd_geometry_free(&c->dev.g);
	free(c->at);
	free(c);
	return r;
}

void zd_findings_free(struct zd_finding *findings)
{
	free(findings);
}
