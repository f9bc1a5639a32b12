/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Open and active resources: who holds them, and whose is taken away when another zone needs one.
 * Everything here runs under the resource lock; no I/O.
 */
#include "device/area/area.h"

static void list_remove(zd_dev *dev, uint32_t zone)
{
	struct zd_zone_rt *rt = &dev->zones[zone];

	if (rt->prev)
		dev->zones[rt->prev - 1].next = rt->next;
	else
		dev->head->imp_head = rt->next;
	if (rt->next)
		dev->zones[rt->next - 1].prev = rt->prev;
	else
		dev->head->imp_tail = rt->prev;
	rt->next = rt->prev = 0;
	dev->implicit[zone / 64] &= ~(1ull << (zone % 64));
}

static void list_append(zd_dev *dev, uint32_t zone)
{
	struct zd_zone_rt *rt = &dev->zones[zone];

	__atomic_store_n(&rt->open_seq, ++dev->head->open_clock, __ATOMIC_RELAXED); /* zd_zone_opened() holds no lock */
	rt->prev = dev->head->imp_tail;
	rt->next = 0;
	if (rt->prev)
		dev->zones[rt->prev - 1].next = zone + 1;
	else
		dev->head->imp_head = zone + 1;
	dev->head->imp_tail = zone + 1;
	dev->implicit[zone / 64] |= 1ull << (zone % 64);
}

/* Seen after `counting` became odd, by those who look without the lock. */
static void count(_Atomic uint32_t *number, uint32_t by)
{
	atomic_store_explicit(number, atomic_load_explicit(number, memory_order_relaxed) + by, memory_order_release);
}

void zd_account(zd_dev *dev, uint32_t zone, int from, int to)
{
	struct zd_rt_head *head = dev->head;
	uint32_t open;

	if (from == to)
		return;
	count(&head->counting, 1);
	switch (from) {
	case ZD_IMPLICIT_OPEN:
		list_remove(dev, zone);
		count(&head->nr_implicit, (uint32_t)-1);
		break;
	case ZD_EXPLICIT_OPEN: count(&head->nr_explicit, (uint32_t)-1); break;
	case ZD_CLOSED: count(&head->nr_closed, (uint32_t)-1); break;
	}
	switch (to) {
	case ZD_IMPLICIT_OPEN:
		list_append(dev, zone);
		count(&head->nr_implicit, 1);
		break;
	case ZD_EXPLICIT_OPEN: count(&head->nr_explicit, 1); break;
	case ZD_CLOSED: count(&head->nr_closed, 1); break;
	}
	count(&head->counting, 1);
	open = head->nr_implicit + head->nr_explicit;
	if (open > head->max_open_seen)
		head->max_open_seen = open;
	if (open + head->nr_closed > head->max_active_seen)
		head->max_active_seen = open + head->nr_closed;
}

/* A count that goes on for ever is one whose process was killed: the next owner of the lock counts anew. */
void zd_resources_now(const struct zd_rt_head *head, struct zd_resources *out)
{
	uint32_t before, tries = 0;

	do {
		before = atomic_load_explicit(&head->counting, memory_order_acquire);
		out->nr_implicit = atomic_load_explicit(&head->nr_implicit, memory_order_acquire);
		out->nr_explicit = atomic_load_explicit(&head->nr_explicit, memory_order_acquire);
		out->nr_closed = atomic_load_explicit(&head->nr_closed, memory_order_acquire);
	} while ((before & 1 || before != atomic_load_explicit(&head->counting, memory_order_acquire)) && ++tries < 1000);
}

/* The first implicitly open zone from `from` on; there must be one somewhere. */
static uint32_t next_implicit(const zd_dev *dev, uint32_t from)
{
	uint32_t words = (dev->g.h.nr_zones + 63) / 64, i, w = from / 64;
	uint64_t bits = dev->implicit[w] & (~0ull << (from % 64));

	for (i = 0; i <= words; i++) {
		if (bits)
			return w * 64 + (uint32_t)__builtin_ctzll(bits);
		w = w + 1 < words ? w + 1 : 0;
		bits = dev->implicit[w];
	}
	return dev->head->imp_head - 1;
}

static uint32_t victim(zd_dev *dev)
{
	struct zd_rt_head *head = dev->head;
	uint32_t zone;

	switch (dev->g.h.implicit_close) {
	case ZD_LOWEST: return next_implicit(dev, 0);
	case ZD_ROUND_ROBIN:
		zone = next_implicit(dev, head->rr_cursor < dev->g.h.nr_zones ? head->rr_cursor : 0);
		head->rr_cursor = zone + 1;
		return zone;
	default: return head->imp_head - 1;
	}
}

static void close_one(zd_dev *dev)
{
	uint32_t zone = victim(dev);
	struct zd_zone_rt *rt = &dev->zones[zone];
	uint64_t word = atomic_load_explicit(&rt->word, memory_order_acquire);
	int to;

	/* Its writer holds its stripe, not this lock, and may move the write pointer meanwhile: hence CAS. */
	do {
		to = zd_rule_closed(&dev->g.book, zd_zone_type(dev, zone), zd_word_holds(word));
	} while (!atomic_compare_exchange_weak_explicit(&rt->word, &word, zd_word_with_cond(word, to), memory_order_acq_rel,
							memory_order_acquire));
	zd_count32(&rt->implicit_closes, 1);
	zd_account(dev, zone, ZD_IMPLICIT_OPEN, to);
	zd_set_dirty(dev, zone);
}

/* 0, the error, or ZD_TAKE_AFTER_CLOSE. */
static int judge(const zd_dev *dev, unsigned effects)
{
	struct zd_resources now;

	zd_resources_now(dev->head, &now);
	return zd_rule_take(&dev->g.book, &now, effects);
}

int zd_ask_resources(const zd_dev *dev, unsigned effects)
{
	int r = judge(dev, effects);

	return r == ZD_TAKE_AFTER_CLOSE ? 0 : r;
}

int zd_take_resources(zd_dev *dev, unsigned effects)
{
	int r = judge(dev, effects);

	if (r != ZD_TAKE_AFTER_CLOSE)
		return r;
	close_one(dev);
	return 0;
}
