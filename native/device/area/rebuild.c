/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is derived from the zones' words and slots: counts, lists and bitmaps, made anew by the first opener and whenever
 * the owner of the resource lock died. Nothing here can fail: whoever rebuilds has nowhere to go.
 */
#include "device/area/area.h"

#include <stdlib.h>

static int by_open_seq(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return x[0] != y[0] ? (x[0] < y[0] ? -1 : 1) : (x[1] < y[1] ? -1 : x[1] > y[1]);
}

/* The list of implicitly open zones, oldest first; without memory to sort, in the order of the zones. */
static void rebuild_list(zd_dev *dev, uint32_t n)
{
	struct zd_rt_head *head = dev->head;
	uint64_t (*order)[2] = malloc((n ? n : 1) * sizeof(*order));
	uint32_t z, i = 0, last = 0;

	head->imp_head = head->imp_tail = 0;
	for (z = 0; z < dev->g.h.nr_zones && i < n; z++) {
		struct zd_zone_rt *rt = zd_zone_peek(dev, z);

		if (!rt || zd_word_cond(rt->word, zd_zone_type(dev, z)) != ZD_IMPLICIT_OPEN)
			continue;
		if (order) {
			order[i][0] = rt->open_seq;
			order[i][1] = z;
		} else {
			rt->prev = last;
			rt->next = 0;
			if (last)
				dev->zones[last - 1].next = z + 1;
			else
				head->imp_head = z + 1;
			last = z + 1;
		}
		i++;
	}
	if (order) {
		qsort(order, n, sizeof(*order), by_open_seq);
		for (i = 0; i < n; i++) {
			z = (uint32_t)order[i][1];
			dev->zones[z].prev = last;
			dev->zones[z].next = 0;
			if (last)
				dev->zones[last - 1].next = z + 1;
			else
				head->imp_head = z + 1;
			last = z + 1;
		}
	}
	head->imp_tail = last;
	free(order);
}

static void push_slot(zd_dev *dev, uint32_t slot, uint32_t *list)
{
	dev->slots[slot].next = *list;
	*list = slot + 1;
}

static void rebuild_slots(zd_dev *dev, bool trimmer_dead)
{
	struct zd_rt_head *head = dev->head;
	uint32_t s, z;

	head->nr_pre = 0;
	for (s = 0; s < head->nr_slots; s++) {
		if (dev->slots[s].state != ZD_SLOT_TRIM || trimmer_dead)
			dev->slots[s].state = ZD_SLOT_FREE;
		dev->slots[s].zone = 0;
	}
	for (z = 0; z < dev->g.h.nr_zones; z++) {
		struct zd_zone_rt *rt = zd_zone_peek(dev, z);
		uint32_t mine, on_disk[2], i;

		if (!rt)
			continue;
		mine = rt->slot;
		on_disk[0] = rt->disk_slot;
		on_disk[1] = rt->commit_slot;
		if (mine) {
			dev->slots[mine - 1].state = ZD_SLOT_USED;
			dev->slots[mine - 1].zone = z + 1;
		}
		if (zd_pre_peek(dev, z)) {
			for (i = 0; i < 2; i++) {
				s = i ? dev->pre[z].map : dev->pre[z].data;
				if (!s)
					continue;
				dev->slots[s - 1].state = ZD_SLOT_USED;
				dev->slots[s - 1].zone = z + 1;
				head->nr_pre++;
			}
		}
		for (i = 0; i < 2; i++) {
			s = on_disk[i];
			if (s && s != mine && s <= head->nr_slots && dev->slots[s - 1].state == ZD_SLOT_FREE) {
				dev->slots[s - 1].state = ZD_SLOT_PENDING;
				dev->slots[s - 1].zone = z + 1;
			}
		}
	}
	head->warm_head = head->cold_head = head->pending_head = 0;
	head->nr_free = head->nr_pending = 0;
	head->warm_bytes = head->pending_bytes = 0;
	/* From the end, so that low slots are handed out first. */
	for (s = head->nr_slots; s-- > 0;) {
		struct zd_slot_rt *slot = &dev->slots[s];
		uint64_t filled = slot->filled;

		if (slot->state == ZD_SLOT_PENDING) {
			push_slot(dev, s, &head->pending_head);
			head->nr_pending++;
			head->pending_bytes += filled;
		} else if (slot->state == ZD_SLOT_FREE && slot->pins) {
			slot->state = ZD_SLOT_PINNED;
		} else if (slot->state == ZD_SLOT_FREE) {
			push_slot(dev, s, filled ? &head->warm_head : &head->cold_head);
			head->nr_free++;
			head->warm_bytes += filled;
		} else if (slot->state == ZD_SLOT_TRIM) {
			head->nr_free++;
		}
	}
}

void zd_runtime_rebuild(zd_dev *dev, bool trimmer_dead)
{
	struct zd_rt_head *head = dev->head;
	uint32_t z, imp = 0, exp = 0, closed = 0;
	uint64_t written, durable;

	memset(dev->implicit, 0, (dev->g.h.nr_zones + 63) / 64 * 8);
	for (z = 0; z < dev->g.h.nr_zones; z++) {
		struct zd_zone_rt *rt = zd_zone_peek(dev, z);

		if (!rt)
			continue;
		durable = rt->durable; /* before the word, as it follows it upwards */
		written = zd_word_written(rt->word);
		/*
		 * Whoever made the zone's data less may have died before he said so here. What is being committed of a random write area
		 * is durable before its word tells.
		 */
		if (durable > written && !(rt->word & ZD_W_ZRWA))
			atomic_compare_exchange_strong(&rt->durable, &durable, written);
		switch (zd_word_cond(rt->word, zd_zone_type(dev, z))) {
		case ZD_IMPLICIT_OPEN:
			imp++;
			dev->implicit[z / 64] |= 1ull << (z % 64);
			if (rt->open_seq > head->open_clock)
				head->open_clock = rt->open_seq;
			break;
		case ZD_EXPLICIT_OPEN: exp++; break;
		case ZD_CLOSED: closed++; break;
		}
	}
	atomic_fetch_or(&head->counting, 1);
	head->nr_implicit = imp;
	head->nr_explicit = exp;
	head->nr_closed = closed;
	atomic_fetch_add(&head->counting, 1);
	rebuild_list(dev, imp);
	rebuild_slots(dev, trimmer_dead);
}
