/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checking what users hold or left: the counts of a disk in use against a recount, under its locks; and, zone by zone
 * (judge.c), the words of users who were killed.
 */
#include "device/whole/whole.h"

#include <stdlib.h>
#include <sys/mman.h>

static void differs(struct zd_check *c, const char *what, uint64_t said, uint64_t counted)
{
	if (said != counted)
		zd_find(c, ZD_F_COUNT, ZD_NO_ZONE, ZD_NONE, true, true,
			"the shared state says %llu %s, and a recount gives %llu", (unsigned long long)said, what,
			(unsigned long long)counted);
}

/* Under all stripes, commit and resource lock of a handle of our own. */
static void recount(struct zd_check *c, zd_dev *dev)
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
			zd_find(c, ZD_F_ENTRY_VALUE, z, ZD_NONE, true, false, "zone %u %s", z, wrong);
		if (rt->slot && (rt->slot > nr_slots || dev->slots[rt->slot - 1].zone != z + 1 ||
				 dev->slots[rt->slot - 1].state != ZD_SLOT_USED))
			zd_find(c, ZD_F_SLOT_SHARED, z, ZD_NONE, true, false,
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
		zd_find(c, ZD_F_LIMIT, ZD_NO_ZONE, ZD_NONE, true, false, "%u zones are open, and max_open is %u", imp + exp,
			dev->g.h.max_open);
	if (dev->g.h.model == ZD_HOST_MANAGED && dev->g.h.max_active && imp + exp + closed > dev->g.h.max_active)
		zd_find(c, ZD_F_LIMIT, ZD_NO_ZONE, ZD_NONE, true, false, "%u zones are active, and max_active is %u",
			imp + exp + closed, dev->g.h.max_active);
}

unsigned zd_check_brief(const struct zd_check *c)
{
	return c->dev.brief ? ZD_OPEN_BRIEFLY : 0;
}

int zd_check_living(struct zd_check *c, const char *path, struct zd_error *err)
{
	zd_dev *dev;
	int r = zd_open(path, zd_check_brief(c), &dev, err);

	if (r == -EACCES || r == -EROFS || r == -EPERM)
		return 0; /* without the right to take its locks, its counts cannot be compared */
	if (r)
		return r;
	dev->brief = c->dev.brief;
	r = zd_lock_all(dev);
	if (r) {
		zd_fail_host(err, -r, "cannot lock the image's shared state");
	} else {
		recount(c, dev);
		zd_unlock_all(dev);
	}
	{
		int closed = zd_close(dev, r ? NULL : err);

		return r ? r : closed;
	}
}

/* The area as others left it, or a copy; for changing it nobody may have it open. What they wrote down to do is done. */
static int map_left(struct zd_check *c, struct zd_error *err)
{
	uint8_t *rt = mmap(NULL, c->dev.g.rt_size, PROT_READ | PROT_WRITE,
			   (c->repair ? MAP_SHARED : MAP_PRIVATE) | MAP_NORESERVE, c->dev.fd, (off_t)c->dev.g.h.runtime_offset);
	int r;

	if (rt == MAP_FAILED)
		return zd_fail_host(err, errno, "cannot map the image's shared state");
	zd_runtime_bind(&c->dev, rt);
	r = zd_back_left(&c->dev);
	return r ? zd_fail_host(err, -r, "cannot read what the disk goes back to") : 0;
}

static void unmap_left(struct zd_check *c)
{
	if (c->dev.rt)
		munmap(c->dev.rt, c->dev.g.rt_size);
	c->dev.rt = NULL;
}

/* In the area, and as the zone's entry, which must be there before the file grows. */
static int put_right(struct zd_check *c, const struct zd_verdict *v)
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
	return zd_check_write_state(c, v->zone, &v->to);
}

static void tell_verdict(struct zd_check *c, const struct zd_verdict *v)
{
	uint64_t end = v->is.slot ? zd_slot_offset(&c->dev, v->is.slot - 1) + c->dev.g.h.slot_size : 0;
	struct zd_finding *f;

	if (zd_state_short(&c->dev, &v->to, c->file_size))
		zd_check_want_room(c, v->zone, v->to.slot - 1);
	if (v->kind == ZD_F_SHORT && !v->lost)
		return;
	c->cut += v->kind == ZD_F_SHORT;
	f = v->kind == ZD_F_SHORT       ? zd_find(c, v->kind, v->zone, c->file_size, true, true,
						  "the file ends at byte %llu, but the data of zone %u goes on to byte %llu",
						  (unsigned long long)c->file_size, v->zone, (unsigned long long)end) :
	    v->kind == ZD_F_SLOT_SHARED ? zd_find(c, v->kind, v->zone, ZD_NONE, true, true,
						  "zone %u, as its last users left it, claims slot %u, as zone %u does",
						  v->zone, v->is.slot - 1, v->other) :
					  zd_find(c, v->kind, v->zone, ZD_NONE, true, true,
						  "zone %u, as its last users left it, %s", v->zone, v->wrong);
	if (c->repair)
		zd_find_mended(f, put_right(c, v));
	zd_find_loss(c, f, v->zone, &v->to, v->lost);
}

/* More zones left open than may be. Repair closes them once they are written down. */
static void count_left(struct zd_check *c, const struct zd_verdict *v, size_t n)
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
		zd_check_count(c, z, &s, 1, &open, &active);
	}
	if (c->dev.g.h.model == ZD_HOST_MANAGED)
		zd_check_limits(c, open, active);
}

/*
 * Its users died. Without repair only a look, as opening it for writing would change the file. Repair puts right the
 * zones that cannot be as they were left, each by itself, and leaves writing it all down to an opener.
 */
int zd_check_left(struct zd_check *c, const char *path, struct zd_error *err)
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
		r = zd_check_living(c, path, err);
	} else {
		if (!c->repair)
			zd_find(c, ZD_F_UNCLEAN, ZD_NO_ZONE, ZD_NONE, false, false,
				"its last users died without closing it; %s",
				n ? "of what they left all is kept but what is told here" :
				    "nothing is lost, and the next opener writes down what they left");
		for (i = 0; i < n; i++)
			tell_verdict(c, &v[i]);
		zd_check_room(c);
		if (!c->repair)
			count_left(c, v, n);
	}
	free(v);
	unmap_left(c);
	return r;
}

/* A failed sync makes the shared words worthless: what they say may never have reached the disk. What goes with them? */
int zd_check_give_up(struct zd_check *c, struct zd_error *err)
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
		f = zd_find(c, ZD_F_FAILED, z, ZD_NONE, true, true,
			    "what was written to zone %u since the last sync that succeeded may be lost", z);
		if (c->repair)
			zd_find_mended(f, 0);
		zd_find_loss(c, f, z, &to, lost);
	}
	unmap_left(c);
	return r;
}
