/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks that were spoiled: a read of them is a medium error until they are written again. Each has an entry of its own, so that
 * no write, however small, needs room for what is left of a range. Entries come and go under the lock of the fault rules; who
 * only looks takes none, as each is one word.
 */
#include "device/hooks/hooks.h"

static uint64_t entry_of(uint64_t offset)
{
	return offset | 1; /* blocks begin at multiples of 512 */
}

static uint64_t offset_of(uint64_t entry)
{
	return entry & ~(uint64_t)1;
}

/* Behind its write pointer a zone holds nothing that could be spoiled: a power cut may have taken it. */
static bool counts(const zd_dev *dev, uint64_t offset)
{
	uint32_t zone = zd_zone_of(dev, offset);

	return zd_is_conv(dev, zone) || offset - zd_zone_start(dev, zone) < zd_word_written(zd_load_word(dev, zone));
}

uint64_t zd_spoiled_first(const zd_dev *dev, uint64_t from, uint64_t to)
{
	uint64_t first = to;

	if (!atomic_load_explicit(&dev->faults->has_spoiled, memory_order_acquire))
		return to;
	for (uint32_t i = 0; i < ZD_MAX_SPOILED; i++) {
		uint64_t entry = atomic_load_explicit(&dev->faults->spoiled[i], memory_order_acquire);
		uint64_t offset = offset_of(entry);

		if (entry && offset >= from && offset < first && offset < dev->g.h.size && counts(dev, offset))
			first = offset;
	}
	return first;
}

bool zd_spoiled_look(zd_dev *dev)
{
	uint32_t i;

	for (i = 0; i < ZD_MAX_SPOILED && !atomic_load_explicit(&dev->faults->spoiled[i], memory_order_relaxed); i++)
		;
	atomic_store_explicit(&dev->faults->has_spoiled, i < ZD_MAX_SPOILED, memory_order_release);
	return i < ZD_MAX_SPOILED;
}

bool zd_spoiled_in(zd_dev *dev, uint64_t from, uint64_t length, bool take)
{
	bool found = false;

	for (uint32_t i = 0; i < ZD_MAX_SPOILED; i++) {
		uint64_t entry = atomic_load_explicit(&dev->faults->spoiled[i], memory_order_relaxed);

		if (!entry || offset_of(entry) < from || offset_of(entry) - from >= length)
			continue;
		found = true;
		if (take)
			atomic_store_explicit(&dev->faults->spoiled[i], 0, memory_order_release);
	}
	return found;
}

void zd_spoiled_clear(zd_dev *dev)
{
	zd_spoiled_in(dev, 0, UINT64_MAX, true);
}

int zd_spoiled_put(zd_dev *dev, uint64_t offset, uint64_t length, struct zd_error *err)
{
	uint64_t block = dev->g.h.logical_block, there = 0;
	uint32_t taken = 0, at = 0;

	for (uint32_t i = 0; i < ZD_MAX_SPOILED; i++) {
		uint64_t entry = atomic_load_explicit(&dev->faults->spoiled[i], memory_order_relaxed);

		taken += entry != 0;
		there += entry && offset_of(entry) >= offset && offset_of(entry) - offset < length;
	}
	if (length / block - there > ZD_MAX_SPOILED - taken)
		return zd_fail(err, -ENOSPC,
			       "%u blocks are spoiled, and a disk has no more than %u at one time: write some of them again",
			       taken, ZD_MAX_SPOILED);
	for (uint64_t end = offset + length; offset < end; offset += block) {
		if (there && zd_spoiled_in(dev, offset, block, false))
			continue;
		while (atomic_load_explicit(&dev->faults->spoiled[at], memory_order_relaxed))
			at++;
		atomic_store_explicit(&dev->faults->spoiled[at], entry_of(offset), memory_order_release);
	}
	return 0;
}
