/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Spoiling blocks, asking for them, and what is written becoming readable again: under the lock of the fault rules, which learn
 * whether there are any.
 */
#include "device/hooks/hooks.h"

int zd_spoiled_mend(zd_dev *dev, uint64_t offset, uint64_t length, struct zd_error *err)
{
	if (!(atomic_load(&dev->head->gate) & ZD_GATE_FAULTS) ||
	    !atomic_load_explicit(&dev->faults->has_spoiled, memory_order_acquire) ||
	    !zd_spoiled_in(dev, offset, length, false))
		return 0;
	if (!zd_fault_lock_surely(dev))
		return zd_fail_host(err, EINTR, "it is done, but interrupted before its blocks were marked as readable again");
	zd_spoiled_in(dev, offset, length, true);
	zd_fault_set_gate(dev);
	zd_fault_unlock(dev);
	return 0;
}

static int check(const zd_dev *dev, uint64_t offset, uint64_t length, struct zd_error *err)
{
	uint32_t block = dev->g.h.logical_block;

	if (offset % block || length % block)
		return zd_fail(err, -EINVAL, "only whole blocks of %u bytes can be spoiled", block);
	if (offset > dev->g.h.size || length > dev->g.h.size - offset)
		return zd_fail(err, -EINVAL, "blocks beyond the end of the disk, byte %llu, cannot be spoiled",
			       (unsigned long long)dev->g.h.size);
	return 0;
}

int zd_fault_spoil(zd_dev *dev, uint64_t offset, uint64_t length, struct zd_error *err)
{
	int r = zd_enter_writable(dev, err);

	if (!r)
		r = check(dev, offset, length, err);
	if (!r)
		r = zd_fault_lock(dev, err);
	if (r)
		return r;
	r = zd_spoiled_put(dev, offset, length, err);
	if (!r)
		zd_fault_set_gate(dev);
	zd_fault_unlock(dev);
	return r;
}

int64_t zd_fault_spoiled(zd_dev *dev, uint64_t from, struct zd_error *err)
{
	uint64_t first;
	int r = zd_enter(dev, err);

	if (r)
		return r;
	first = zd_spoiled_first(dev, from, dev->g.h.size);
	return first < dev->g.h.size ? (int64_t)first : zd_fail(err, -ENOENT, "no block is spoiled from there on");
}
