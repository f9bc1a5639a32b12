/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A zone's descriptor extension: at the very end of its slot, behind all that the zone can hold. It is stored once, while the zone
 * is EMPTY, and goes with the slot; so it is pinned, kept until an entry has moved on, and brought back as the zone's data is.
 * The word's bit, which is published behind it, says that it is there.
 */
#include "device/store/store.h"

int zd_extension_store(zd_dev *dev, uint32_t zone, struct zd_zone_rt *rt, const uint8_t *bytes)
{
	uint64_t n = dev->g.h.zone_extension;
	int r = rt->slot ? 0 : zd_slot_assign(dev, zone, rt);

	return r ? r : zd_store_bytes(dev, rt->slot - 1, dev->g.h.slot_size - n, bytes, n);
}

/* Of a fork's zone: in the slot that its snapshot read it from, or in its own. */
static int load(zd_dev *dev, uint32_t zone, uint32_t slot, uint8_t *to)
{
	uint64_t n = dev->g.h.zone_extension, at = dev->g.h.slot_size - n;

	if (dev->view && atomic_load_explicit(&dev->view->parts[zone].extension, memory_order_acquire)) {
		const struct zd_pinned *there = zd_row_extension(dev->view->parts[zone].row);

		return there ? zd_pinned_load(there, at, to, n) : -EIO;
	}
	return slot ? zd_load(dev, slot - 1, at, to, n) : -EIO;
}

int zd_extension_load(zd_dev *dev, uint32_t zone, uint8_t *to)
{
	struct zd_zone_rt *rt = zd_zone_peek(dev, zone);
	uint32_t gen, slot;
	bool same;
	int r;

	if (!rt || !dev->g.h.zone_extension)
		return 0;
	do {
		uint64_t word;

		gen = atomic_load_explicit(&rt->gen, memory_order_acquire);
		word = atomic_load_explicit(&rt->word, memory_order_acquire);
		slot = atomic_load_explicit(&rt->slot, memory_order_acquire);
		if (!(word & ZD_W_EXTENSION) || (word & ZD_W_COND) == ZD_OFFLINE)
			return 0;
		r = load(dev, zone, slot, to);
#ifndef ZD_TSAN /* as in zd_zone_load() */
		atomic_thread_fence(memory_order_acquire);
#endif
		same = gen == atomic_load_explicit(&rt->gen, memory_order_relaxed) &&
		       slot == atomic_load_explicit(&rt->slot, memory_order_relaxed);
	} while (!same);
	return r ? r : 1;
}
