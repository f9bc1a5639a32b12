/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading without a copy: a pointer into the mapping instead of bytes. Either the zone's stripe is held meanwhile, which
 * costs nothing but must be brief; or the slot is pinned, as a snapshot pins it, and no lock is held: whatever writes
 * or resets the zone meanwhile leaves the pinned bytes as they are.
 */
#include "device/disk/disk.h"

/*
 * Under the zone's stripe, which is taken here and held if the result is not 0: how many bytes from offset on lie in one
 * piece of the mapping.
 */
static int64_t find(zd_dev *dev, uint64_t offset, uint64_t length, const void **at, struct zd_error *err)
{
	uint32_t zone = zd_zone_of(dev, offset), slot;
	uint64_t rel = offset - zd_zone_start(dev, zone), valid, filled;
	struct zd_zone_rt *rt = zd_zone_peek(dev, zone);
	uint8_t *base;
	int r;

	if (!rt || !atomic_load_explicit(&rt->slot, memory_order_acquire))
		return 0;
	r = zd_lock_zone(dev, zone);
	if (unlikely(r))
		return zd_fail_host(err, -r, "interrupted");
	slot = rt->slot;
	valid = zd_is_conv(dev, zone) ? zd_zone_length(dev, zone) : zd_word_written(rt->word);
	filled = slot ? atomic_load_explicit(&dev->slots[slot - 1].filled, memory_order_acquire) : 0;
	valid = valid < filled ? valid : filled;
	if (rel >= valid || zd_slot_map(dev, slot - 1, &base)) {
		zd_unlock_zone(dev, zone);
		return 0;
	}
	*at = base + rel;
	valid = valid - rel < length ? valid - rel : length;
	zd_count_read(dev, zone, 1, valid);
	return (int64_t)valid;
}

int64_t zd_map_begin(zd_dev *dev, uint64_t offset, uint64_t length, const void **at, struct zd_error *err)
{
	int r = zd_begin_reading(dev, offset, length, err);

	if (unlikely(r))
		return r == ZD_SLOW ? 0 : r; /* with fault rules: by zd_pread(), which meets them */
	if (length == 0 || dev->readonly || dev->view)
		return 0;
	return find(dev, offset, length, at, err);
}

void zd_map_end(zd_dev *dev, uint64_t offset)
{
	zd_unlock_zone(dev, zd_zone_of(dev, offset));
}

int64_t zd_pin(zd_dev *dev, uint64_t offset, uint64_t length, struct zd_pin *pin, struct zd_error *err)
{
	struct zd_slot_rt *slot;
	uint64_t end;
	int64_t n;
	int r = zd_begin_reading(dev, offset, length, err);

	memset(pin, 0, sizeof(*pin));
	if (unlikely(r))
		return r == ZD_SLOW ? 0 : r;
	if (length == 0 || dev->readonly || dev->view)
		return 0;
	n = find(dev, offset, length, &pin->at, err);
	if (n <= 0)
		return n;
	r = zd_lock_resource(dev);
	if (r) {
		zd_map_end(dev, offset);
		return zd_fail_host(err, -r, "interrupted");
	}
	pin->slot = dev->zones[zd_zone_of(dev, offset)].slot;
	slot = &dev->slots[pin->slot - 1];
	end = offset - zd_zone_start(dev, zd_zone_of(dev, offset)) + (uint64_t)n;
	slot->pins++;
	if (slot->pinned < end)
		slot->pinned = end;
	zd_unlock_resource(dev);
	zd_map_end(dev, offset);
	pin->length = (uint64_t)n;
	pin->pid = dev->pid;
	return n;
}

void zd_unpin(zd_dev *dev, struct zd_pin *pin)
{
	/* A pin is its process's: a forked child has the mapping, but not the count. */
	if (pin->slot && zd_enter(dev, NULL) == 0 && pin->pid == dev->pid)
		zd_slot_unpin(dev, pin->slot);
	memset(pin, 0, sizeof(*pin));
}
