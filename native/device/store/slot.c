/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Slots: where a zone's data lies in the file. A zone gets one with its first data and gives it up with its
 * reset. A freed slot that the entry on disk still names is PENDING until that entry has moved on, as a crash
 * of the host brings the old entry back. Free slots with host blocks are kept "warm" for reuse up to
 * slot_cache bytes; the rest is punched out.
 */
#include "device/store/store.h"

#include <sys/mman.h>

static bool on_disk(const struct zd_zone_rt *rt, uint32_t slot)
{
	return rt->disk_slot == slot + 1 || rt->commit_slot == slot + 1;
}

static bool no_room(int r)
{
	return r == -ENOSPC || r == -EDQUOT;
}

static void push_free(zd_dev *dev, uint32_t slot)
{
	struct zd_rt_head *head = dev->head;
	struct zd_slot_rt *s = &dev->slots[slot];
	uint32_t *list = s->filled ? &head->warm_head : &head->cold_head;

	s->state = ZD_SLOT_FREE;
	s->zone = 0;
	s->next = *list;
	*list = slot + 1;
	head->nr_free++;
	head->warm_bytes += s->filled;
}

void zd_slot_give_up(zd_dev *dev, uint32_t slot)
{
	if (!dev->slots[slot].pins) {
		push_free(dev, slot);
		return;
	}
	dev->slots[slot].state = ZD_SLOT_PINNED;
	dev->slots[slot].zone = 0;
}

static uint32_t pop_free(zd_dev *dev, uint32_t *list)
{
	uint32_t slot = *list - 1;

	*list = dev->slots[slot].next;
	dev->head->nr_free--;
	dev->head->warm_bytes -= dev->slots[slot].filled;
	return slot;
}

/*
 * Give a free slot's blocks back to the host; it is in no list meanwhile. Its mark goes first: whoever dies
 * in between leaves a slot that is believed to have fewer blocks than it has, never more.
 */
static int punch(zd_dev *dev, uint32_t slot)
{
	uint64_t filled = dev->slots[slot].filled;
	int r;

	dev->slots[slot].filled = 0;
	r = zd_host_punch(dev->fd, zd_slot_offset(dev, slot), dev->g.h.slot_size);
	if (r)
		dev->slots[slot].filled = filled;
	return r;
}

/* A slot at the file's end: no blocks, all zero. */
static int fresh(zd_dev *dev, uint32_t *slot)
{
	struct zd_rt_head *head = dev->head;
	uint32_t s = head->nr_slots;
	uint64_t end_in_area = dev->g.rt_slots - dev->g.rt_zones + (uint64_t)(s + 1) * sizeof(struct zd_slot_rt) - 1;
	int r;

	if (s >= dev->g.max_slots)
		return -ENOSPC;
	r = zd_reserve_chunk(dev, zd_slot_chunk(dev, s));
	if (!r)
		r = zd_reserve_chunk(dev, (uint32_t)(end_in_area / ZD_CHUNK)); /* a record may lie across two */
	if (!r)
		r = zd_host_grow(dev->fd, zd_slot_offset(dev, s) + dev->g.h.slot_size);
	if (r)
		return r;
	dev->slots[s].filled = 0;
	dev->slots[s].pins = 0;
	dev->slots[s].pinned = 0;
	head->nr_slots = s + 1;
	*slot = s;
	return 0;
}

/* Under the resource lock. */
static int take(zd_dev *dev, bool zeroed, uint32_t *out)
{
	struct zd_rt_head *head = dev->head;
	uint32_t slot = 0;
	int r = 0;

	if (head->warm_head && !zeroed) {
		slot = pop_free(dev, &head->warm_head);
	} else if (head->cold_head &&
		   (!zeroed || zd_host_punch(dev->fd, zd_slot_offset(dev, head->cold_head - 1), dev->g.h.slot_size) == 0)) {
		slot = pop_free(dev, &head->cold_head);
	} else {
		r = fresh(dev, &slot);
		if (no_room(r) && head->warm_head) {
			/* No slot or no space left: one that is kept warm must do. */
			slot = pop_free(dev, &head->warm_head);
			r = punch(dev, slot);
			if (r)
				push_free(dev, slot);
		}
	}
	*out = slot;
	return r;
}

int zd_slot_assign(zd_dev *dev, uint32_t zone, struct zd_zone_rt *rt)
{
	/* Zones written in any order show what was never written, so that must be zero. */
	bool zeroed = zd_zone_type(dev, zone) != ZD_SEQ_WRITE_REQUIRED || rt->word & ZD_W_ZRWA;
	uint32_t slot;
	int r = zd_lock_resource(dev);

	if (r)
		return r;
	r = take(dev, zeroed, &slot);
	if (!r) {
		dev->slots[slot].state = ZD_SLOT_USED;
		dev->slots[slot].zone = zone + 1;
		atomic_store_explicit(&rt->slot, slot + 1, memory_order_release);
	}
	zd_unlock_resource(dev);
	return r;
}

int zd_slot_take_locked(zd_dev *dev, uint32_t zone, bool zeroed, uint32_t *slot)
{
	int r = take(dev, zeroed, slot);

	if (!r) {
		/* On its way to a zone. The pin keeps a rebuild, after somebody's death, from giving it to another. */
		dev->slots[*slot].pins = 1;
		dev->slots[*slot].state = ZD_SLOT_USED;
		dev->slots[*slot].zone = zone + 1;
	}
	return r;
}

int zd_slot_take(zd_dev *dev, uint32_t zone, bool zeroed, uint32_t *slot)
{
	int r = zd_lock_resource(dev);

	if (r)
		return r;
	r = zd_slot_take_locked(dev, zone, zeroed, slot);
	zd_unlock_resource(dev);
	return r;
}

void zd_slot_claim(zd_dev *dev, uint32_t slot, uint32_t zone)
{
	struct zd_rt_head *head = dev->head;
	struct zd_slot_rt *s = &dev->slots[slot];
	uint32_t *link;

	for (link = &head->pending_head; s->state == ZD_SLOT_PENDING && *link; link = &dev->slots[*link - 1].next) {
		if (*link != slot + 1)
			continue;
		*link = s->next;
		head->nr_pending--;
		head->pending_bytes -= s->filled;
		break;
	}
	s->state = ZD_SLOT_USED;
	s->zone = zone + 1;
}

/* It is the zone's no more, but the zone's entry on disk may still name it. */
static void leave(zd_dev *dev, uint32_t zone, struct zd_zone_rt *rt, uint32_t slot)
{
	struct zd_rt_head *head = dev->head;
	struct zd_slot_rt *s;

	if (dev->in_ram || !on_disk(rt, slot)) {
		zd_slot_give_up(dev, slot);
		return;
	}
	s = &dev->slots[slot];
	s->state = ZD_SLOT_PENDING;
	s->zone = zone + 1;
	s->next = head->pending_head;
	head->pending_head = slot + 1;
	head->nr_pending++;
	head->pending_bytes += s->filled;
}

void zd_slot_release(zd_dev *dev, uint32_t zone, struct zd_zone_rt *rt)
{
	uint32_t slot = rt->slot;

	if (slot == 0)
		return;
	atomic_store_explicit(&rt->slot, 0, memory_order_release);
	leave(dev, zone, rt, slot - 1);
}

static bool left_by_reset(const zd_dev *dev, const struct zd_zone_rt *rt)
{
	return unlikely(rt->slot) && !dev->in_ram && on_disk(rt, rt->slot - 1);
}

void zd_slot_begin_locked(zd_dev *dev, uint32_t zone, struct zd_zone_rt *rt)
{
	if (left_by_reset(dev, rt))
		zd_slot_release(dev, zone, rt);
}

int zd_slot_begin(zd_dev *dev, uint32_t zone, struct zd_zone_rt *rt)
{
	int r;

	if (!left_by_reset(dev, rt))
		return 0;
	r = zd_lock_resource(dev);
	if (r)
		return r;
	zd_slot_begin_locked(dev, zone, rt);
	zd_unlock_resource(dev);
	return 0;
}

void zd_slot_replace(zd_dev *dev, uint32_t zone, struct zd_zone_rt *rt, uint32_t slot)
{
	uint32_t old = rt->slot;

	dev->slots[slot].state = ZD_SLOT_USED;
	dev->slots[slot].zone = zone + 1;
	/* One store: whoever is killed before or behind it leaves a zone that has its data. */
	atomic_store_explicit(&rt->slot, slot + 1, memory_order_release);
	if (old)
		leave(dev, zone, rt, old - 1);
}

void zd_slots_settle(zd_dev *dev)
{
	struct zd_rt_head *head = dev->head;
	uint32_t *link = &head->pending_head;

	while (*link) {
		uint32_t slot = *link - 1;
		struct zd_slot_rt *s = &dev->slots[slot];

		if (on_disk(&dev->zones[s->zone - 1], slot)) {
			link = &s->next;
			continue;
		}
		*link = s->next;
		head->nr_pending--;
		head->pending_bytes -= s->filled;
		zd_slot_give_up(dev, slot);
	}
}

bool zd_slots_pressing(zd_dev *dev)
{
	const struct zd_rt_head *head = dev->head;

	/* Read without the lock: a hint, and acted upon under it. */
	return head->nr_pending > ZD_PENDING_MAX || (head->nr_pending && head->pending_bytes > dev->g.h.slot_cache);
}

/* The host is full, and these blocks are ours to give. */
bool zd_slots_gave_locked(zd_dev *dev, int r)
{
	struct zd_rt_head *head = dev->head;
	bool dropped = false;

	while (no_room(r) && head->warm_head) {
		uint32_t slot = pop_free(dev, &head->warm_head);
		int failed = punch(dev, slot);

		push_free(dev, slot);
		if (failed)
			break;
		dropped = true;
	}
	return dropped;
}

bool zd_slots_gave(zd_dev *dev, int r)
{
	bool gave;

	if (likely(!no_room(r)) || !dev->head->warm_bytes || zd_lock_resource(dev))
		return false;
	gave = zd_slots_gave_locked(dev, r);
	zd_unlock_resource(dev);
	return gave;
}

/* Under the commit lock. The slot at work belongs to no list; if we die, the next owner rebuilds them. */
void zd_slots_trim(zd_dev *dev)
{
	struct zd_rt_head *head = dev->head;

	for (;;) {
		uint32_t slot;
		int r;

		if (zd_lock_resource(dev))
			return;
		if (head->warm_bytes <= dev->g.h.slot_cache || !head->warm_head) {
			zd_unlock_resource(dev);
			return;
		}
		slot = pop_free(dev, &head->warm_head);
		dev->slots[slot].state = ZD_SLOT_TRIM;
		head->nr_free++; /* it stays a free slot */
		zd_unlock_resource(dev);

		r = punch(dev, slot);

		if (!zd_lock_resource_surely(dev)) {
			atomic_store(&dev->head->stray_slot, 1);
			return;
		}
		head->nr_free--;
		push_free(dev, slot);
		zd_unlock_resource(dev);
		if (r)
			return; /* a host that cannot punch keeps its blocks */
	}
}

int zd_slot_map(zd_dev *dev, uint32_t slot, uint8_t **at)
{
	uint64_t seg = slot / dev->g.slots_per_seg, in_seg = slot % dev->g.slots_per_seg;
	uint64_t seg_bytes = dev->g.slots_per_seg * dev->g.h.slot_size;
	uint8_t *base = atomic_load_explicit(&dev->segs[seg], memory_order_acquire);

	if (unlikely(!base)) {
		pthread_mutex_lock(&dev->seg_lock);
		base = atomic_load_explicit(&dev->segs[seg], memory_order_acquire);
		if (!base) {
			base = mmap(NULL, seg_bytes, dev->readonly ? PROT_READ : PROT_READ | PROT_WRITE,
				    MAP_SHARED | MAP_NORESERVE, dev->fd, (off_t)(dev->g.h.data_offset + seg * seg_bytes));
			if (base == MAP_FAILED)
				base = NULL;
			else
				atomic_store_explicit(&dev->segs[seg], base, memory_order_release);
		}
		pthread_mutex_unlock(&dev->seg_lock);
		if (!base)
			return -ENOMEM;
	}
	*at = base + in_seg * dev->g.h.slot_size;
	return 0;
}

void zd_slot_unpin(zd_dev *dev, uint32_t number)
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
