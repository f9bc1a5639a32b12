/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The locks of a disk, in the order commit -> stripes (ascending) -> resource. What a dead owner may have left half
 * done: under a stripe nothing that matters (a zone's word is one atomic store), under the resource lock derived state,
 * under the commit lock entries whose dirty bits were already taken, under all of them a way back to a snapshot
 * (whole/back.c).
 */
#include "device/area/area.h"

int zd_runtime_init_locks(zd_dev *dev)
{
	uint32_t i;
	int r = zd_mutex_init(&dev->head->commit);

	if (!r)
		r = zd_mutex_init(&dev->head->resource);
	if (!r)
		r = zd_mutex_init(&dev->head->back);
	if (!r)
		r = zd_mutex_init(&dev->faults->lock);
	if (!r)
		r = zd_mutex_init(&dev->trace->lock);
	if (!r)
		r = zd_mutex_init(&dev->trace->recorder);
	for (i = 0; !r && i < ZD_STRIPES; i++)
		r = zd_mutex_init(&dev->stripes[i].lock);
	return r;
}

/* Whoever cannot finish what the dead one was at leaves it to the next: the gate keeps saying so (zd_powerless()). */
int zd_lock_stripe_mend(zd_dev *dev, pthread_mutex_t *m, int r)
{
	if (r == -EOWNERDEAD) {
		r = -pthread_mutex_consistent(m);
		if (!r) {
			r = dev->up->mend(dev);
			if (r)
				zd_mutex_unlock(m);
		}
	}
	return r;
}

int zd_lock_zones(zd_dev *dev, uint32_t first, uint32_t last)
{
	bool all = last - first >= ZD_STRIPES - 1;
	uint32_t low = first % ZD_STRIPES, high = last % ZD_STRIPES;
	uint32_t s;

	if (likely(first == last))
		return zd_lock_zone(dev, first);
	for (s = 0; s < ZD_STRIPES; s++) {
		bool in = all || (low <= high ? s >= low && s <= high : s >= low || s <= high);
		int r = in ? zd_lock_stripe(dev, s) : 0;

		if (r) {
			while (s--) {
				if (all || (low <= high ? s >= low && s <= high : s >= low || s <= high))
					zd_mutex_unlock(&dev->stripes[s].lock);
			}
			return r;
		}
	}
	return 0;
}

void zd_unlock_zones(zd_dev *dev, uint32_t first, uint32_t last)
{
	bool all = last - first >= ZD_STRIPES - 1;
	uint32_t low = first % ZD_STRIPES, high = last % ZD_STRIPES;
	uint32_t s;

	if (likely(first == last)) {
		zd_unlock_zone(dev, first);
		return;
	}
	for (s = 0; s < ZD_STRIPES; s++) {
		if (all || (low <= high ? s >= low && s <= high : s >= low || s <= high))
			zd_mutex_unlock(&dev->stripes[s].lock);
	}
}

static int mend_resource(zd_dev *dev, int r)
{
	if (unlikely(r == -EOWNERDEAD)) {
		zd_runtime_rebuild(dev, false);
		pthread_mutex_consistent(&dev->head->resource);
		r = 0;
	}
	return r;
}

int zd_lock_resource(zd_dev *dev)
{
	return mend_resource(dev, zd_mutex_lock(dev, &dev->head->resource));
}

bool zd_lock_resource_surely(zd_dev *dev)
{
	return mend_resource(dev, zd_mutex_lock_surely(dev, &dev->head->resource, NULL)) == 0;
}

int zd_lock_commit(zd_dev *dev)
{
	int r = zd_mutex_lock(dev, &dev->head->commit);

	if (unlikely(r == -EOWNERDEAD)) {
		uint32_t zone;

		/* Its dirty bits were taken, its entries perhaps not written: write every zone's anew. */
		for (zone = 0; zone < dev->g.h.nr_zones; zone++) {
			if (zd_zone_peek(dev, zone))
				zd_set_dirty(dev, zone);
		}
		/* A slot that it was trimming is in no list. */
		atomic_store(&dev->head->stray_slot, 1);
		pthread_mutex_consistent(&dev->head->commit);
		r = dev->up->mend(dev);
		if (r) {
			zd_unlock_commit(dev);
			return r;
		}
	}
	if (unlikely(!r && atomic_load(&dev->head->stray_slot))) {
		r = zd_lock_resource(dev);
		if (r) {
			zd_unlock_commit(dev);
			return r; /* whoever comes next finds the mark */
		}
		atomic_store(&dev->head->stray_slot, 0);
		zd_runtime_rebuild(dev, true);
		zd_unlock_resource(dev);
	}
	return r;
}
