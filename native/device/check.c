/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checking an image, byte by byte and copy against copy, and mending what can be mended without inventing
 * data: a damaged copy from its twin; a zone whose entry is lost or impossible goes OFFLINE; a zone whose data
 * was cut off goes READ_ONLY with what is left. An image in use is checked through a handle of its own, under
 * the locks, so that its counts can be compared with a recount.
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
	zd_dev dev;      /* only g, fd and readonly are used */
	bool repair, clean;
	bool users; /* somebody has it open for writing */
	bool alive; /* the shared words count, not the entries */
	uint64_t file_size;
	struct zd_finding *at;
	size_t n, room;
	bool no_memory;
};

static struct zd_finding *add(struct check *c, int kind, uint32_t zone, uint64_t offset, bool error, bool mendable,
			      const char *format, ...) __attribute__((format(printf, 7, 8)));

static struct zd_finding *add(struct check *c, int kind, uint32_t zone, uint64_t offset, bool error, bool mendable,
			      const char *format, ...)
{
	static struct zd_finding *const none = NULL;
	struct zd_finding *f;
	va_list args;

	if (c->n == MAX_FINDINGS)
		return none;
	if (c->n == c->room) {
		size_t room = c->room ? 2 * c->room : 16;
		struct zd_finding *at_ = realloc(c->at, room * sizeof(*at_));

		if (!at_) {
			c->no_memory = true;
			return none;
		}
		c->at = at_;
		c->room = room;
	}
	f = &c->at[c->n++];
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

static int take_offline(struct check *c, uint32_t zone, const struct zd_entry *a, const struct zd_entry *b)
{
	struct zd_entry e = { .seq = (a->seq > b->seq ? a->seq : b->seq) + 1, .word = zd_word(ZD_OFFLINE, 0, 0) };

	if (e.seq == 0)
		e.seq = 1;
	return write_entry(c, zone, &e);
}

/* What is left of a zone whose slot goes beyond the file's end: its first bytes if it is sequential, else nothing. */
static int cut_down(struct check *c, uint32_t zone, struct zd_entry *e)
{
	uint64_t from = zd_slot_offset(&c->dev, e->slot - 1), to = from + c->dev.g.h.slot_size;
	uint64_t left = c->file_size > from ? c->file_size - from : 0, written = zd_word_written(e->word);

	left -= left % c->dev.g.h.logical_block;
	if (left >= written && !zd_is_conv(&c->dev, zone))
		return zd_host_grow(c->dev.fd, to); /* only space that was never written is missing */
	e->seq++;
	if (zd_is_conv(&c->dev, zone) || left == 0) {
		e->word = zd_word(ZD_OFFLINE, 0, 0);
		e->durable = 0;
		e->slot = 0;
		return write_entry(c, zone, e);
	}
	e->word = zd_word(ZD_READ_ONLY, 0, left);
	e->durable = e->durable < left ? e->durable : left;
	{
		int r = zd_host_grow(c->dev.fd, to);

		return r ? r : write_entry(c, zone, e);
	}
}

/* *chosen: what counts, after repair; all zero if nothing does. */
static void check_entry(struct check *c, uint32_t zone, const struct zd_entry *a, const struct zd_entry *b,
			struct zd_entry *chosen)
{
	bool va = zd_entry_valid(a, zone), vb = zd_entry_valid(b, zone);
	struct zd_finding *f;
	const char *wrong;

	memset(chosen, 0, sizeof(*chosen));
	if (!va && !vb) {
		f = add(c, ZD_F_ENTRY_LOST, zone, entry_offset(c, zone, 0), true, true,
			"zone %u has lost both copies of its entry; repair takes it OFFLINE", zone);
		if (c->repair)
			mended(f, take_offline(c, zone, a, b));
		return;
	}
	*chosen = va && (!vb || a->seq >= b->seq) ? *a : *b;
	if (!va || !vb) {
		bool stale = !va && !c->clean;

		f = add(c, ZD_F_ENTRY, zone, entry_offset(c, zone, va ? 1 : 0), true, true,
			"copy %c of the entry of zone %u is damaged%s", va ? 'B' : 'A', zone,
			stale ? "; copy B may be out of date, and repair takes it" : "");
		if (c->repair) {
			struct zd_entry e = *chosen;

			mended(f, zd_entry_zero(&e) ? zd_host_pwrite(c->dev.fd, &e, sizeof(e), entry_offset(c, zone, va ? 1 : 0)) :
						      write_entry(c, zone, &e));
		}
	} else if (c->clean && !c->alive && memcmp(a, b, sizeof(*a))) {
		f = add(c, ZD_F_ENTRY, zone, entry_offset(c, zone, 1), true, true,
			"the copies of the entry of zone %u differ, though the image was closed cleanly", zone);
		if (c->repair) {
			struct zd_entry e = *chosen;

			mended(f, write_entry(c, zone, &e));
		}
	}
	wrong = zd_entry_wrong(&c->dev, zone, chosen->word, chosen->durable, chosen->slot);
	if (wrong) {
		f = add(c, ZD_F_ENTRY_VALUE, zone, entry_offset(c, zone, 0), true, true,
			"zone %u %s; repair takes it OFFLINE", zone, wrong);
		if (c->repair)
			mended(f, take_offline(c, zone, a, b));
		memset(chosen, 0, sizeof(*chosen));
	}
}

static void check_slot(struct check *c, uint32_t zone, struct zd_entry *e, uint32_t *owner)
{
	uint64_t end = zd_slot_offset(&c->dev, e->slot - 1) + c->dev.g.h.slot_size;
	struct zd_finding *f;

	if (owner[e->slot - 1]) {
		uint32_t other = owner[e->slot - 1] - 1;

		f = add(c, ZD_F_SLOT_SHARED, zone, entry_offset(c, zone, 0), true, true,
			"zones %u and %u claim the same slot, %u; repair takes both OFFLINE, as whose data it holds cannot be told",
			other, zone, e->slot - 1);
		if (c->repair) {
			struct zd_entry mine = *e, theirs = *e;
			int r = take_offline(c, zone, &mine, &mine);

			theirs.seq = UINT32_MAX - 1;
			mended(f, r ? r : take_offline(c, other, &theirs, &theirs));
		}
		return;
	}
	owner[e->slot - 1] = zone + 1;
	if (end > c->file_size && !c->alive) {
		f = add(c, ZD_F_SHORT, zone, c->file_size, true, true,
			"the file ends at byte %llu, but the data of zone %u goes on to byte %llu; repair keeps what is left of it",
			(unsigned long long)c->file_size, zone, (unsigned long long)end);
		if (c->repair)
			mended(f, cut_down(c, zone, e));
	}
}

#define BATCH 2048u

static void check_limits(struct check *c, uint32_t open, uint32_t active);

static int check_entries(struct check *c)
{
	const struct zd_header *h = &c->dev.g.h;
	struct zd_entry *a = malloc(2 * BATCH * sizeof(*a)), *b = a + BATCH;
	uint32_t *owner = calloc(c->dev.g.max_slots, sizeof(*owner));
	uint32_t z, i, open = 0, active = 0;
	int r = a && owner ? 0 : -ENOMEM;

	for (z = 0; !r && z < h->nr_zones; z += BATCH) {
		uint32_t n = h->nr_zones - z < BATCH ? h->nr_zones - z : BATCH;

		r = zd_host_pread(c->dev.fd, a, n * sizeof(*a), entry_offset(c, z, 0));
		if (!r)
			r = zd_host_pread(c->dev.fd, b, n * sizeof(*b), entry_offset(c, z, 1));
		for (i = 0; !r && i < n; i++) {
			struct zd_entry e;
			int type = zd_zone_type(&c->dev, z + i), cond;

			if (zd_entry_zero(&a[i]) && zd_entry_zero(&b[i]))
				continue;
			check_entry(c, z + i, &a[i], &b[i], &e);
			cond = zd_word_cond(e.word, type);
			open += zd_cond_open(cond);
			active += zd_cond_open(cond) || cond == ZD_CLOSED;
			if (e.slot)
				check_slot(c, z + i, &e, owner);
		}
	}
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
			struct zd_entry e;
			int to = ZD_CLOSED;

			r = zd_host_pread(c->dev.fd, &e, sizeof(e), entry_offset(c, z, 0));
			if (r || zd_word_cond(e.word, type) != from)
				continue;
			if (cell->next == ZD_NEXT_CLOSED_OR_EMPTY && zd_word_written(e.word) == 0)
				to = ZD_EMPTY;
			e.word = zd_word_with_cond(e.word, to);
			e.seq++;
			r = write_entry(c, z, &e);
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
		const char *wrong;
		int cond;

		bits += dev->implicit[z / 64] >> (z % 64) & 1;
		if (!rt)
			continue;
		cond = zd_word_cond(rt->word, zd_zone_type(dev, z));
		imp += cond == ZD_IMPLICIT_OPEN;
		exp += cond == ZD_EXPLICIT_OPEN;
		closed += cond == ZD_CLOSED;
		wrong = zd_entry_wrong(dev, z, rt->word, rt->durable, rt->slot);
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

/* To be alone with the image. */
static int come_in(struct check *c, struct zd_error *err)
{
	int r = zd_door_enter(&c->dev, err);

	if (!r && zd_door_others(&c->dev, false))
		r = zd_fail(err, ZD_E_BUSY, "others have the image open; repair needs it alone");
	return r;
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

/* Its users died: only look, as opening it for writing would change the file. */
static int check_left(struct check *c, const char *path, struct zd_error *err)
{
	zd_dev *dev;
	uint32_t z;
	int r = zd_open(path, ZD_OPEN_READONLY | brief(c), &dev, err);

	if (r)
		return r;
	add(c, ZD_F_UNCLEAN, ZD_NO_ZONE, ZD_NONE, false, false,
	    "its last users died without closing it; nothing is lost, and the next opener writes down what they left");
	for (z = 0; z < dev->g.h.nr_zones; z++) {
		struct zd_zone_rt *rt = zd_zone_peek(dev, z);
		const char *wrong = rt ? zd_entry_wrong(dev, z, rt->word, rt->durable, rt->slot) : NULL;

		if (wrong)
			add(c, ZD_F_ENTRY_VALUE, z, ZD_NONE, true, false, "zone %u %s", z, wrong);
	}
	return zd_close(dev, err);
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

/* A failed sync makes the shared words worthless: what they say may never have reached the disk. */
static int drop_area(struct check *c)
{
	static const struct zd_rt_tag none;

	return zd_host_pwrite(c->dev.fd, &none, sizeof(none), c->dev.g.h.runtime_offset);
}

int zd_check(const char *path, unsigned flags, struct zd_finding **findings, size_t *count, struct zd_error *err)
{
	struct check *c = calloc(1, sizeof(*c));
	struct zd_status status, before;
	struct zd_header header;
	struct stat st;
	bool lives;
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
	if (r == 0 && before.failed && c->repair && lives) {
		r = drop_area(c);
		lives = false;
	}
	if (c->repair && lives && (r || !before.failed)) {
		/* Killed users left words that are ahead of the entries: write them down by opening and closing. */
		zd_dev *dev;

		zd_door_leave(&c->dev);
		if (zd_open(path, brief(c), &dev, NULL) == 0)
			zd_close(dev, NULL);
		r = come_in(c, err);
		if (r)
			goto out;
		lives = area_lives(c);
		if (fstat(c->dev.fd, &st) == 0)
			c->file_size = (uint64_t)st.st_size;
	}
	c->alive = c->users || lives;
	r = zd_header_read(c->dev.fd, &header, &bad, err);
	if (!r)
		r = check_headers(c, &header, bad);
	if (!r)
		r = check_status(c, &status);
	if (!r)
		r = check_entries(c);
	if (r) {
		r = zd_fail_host(err, r < -1000 ? EIO : -r, "cannot read or write the image");
		goto out;
	}
	if (lives && !c->repair) {
		r = c->users ? check_living(c, path, err) : check_left(c, path, err);
		if (r)
			goto out;
	}
	if (c->repair && zd_host_sync(c->dev.fd)) {
		r = zd_fail_host(err, errno, "syncing the repaired image failed");
		goto out;
	}
done:
	r = c->no_memory ? zd_fail_host(err, ENOMEM, "no memory for the findings") : 0;
	if (!r) {
		*findings = c->at;
		*count = c->n;
		c->at = NULL;
	}
out:
	if (c->dev.gate)
		zd_door_leave(&c->dev);
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
