/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Robust process-shared mutexes, in the order commit -> stripes (ascending) -> resource. What a dead owner
 * may have left half done: under a stripe nothing that matters (a zone's word is one atomic store), under
 * the resource lock derived state, under the commit lock entries whose dirty bits were already taken.
 */
#include "internal.h"

#include <errno.h>
#include <time.h>

int zd_mutex_init(pthread_mutex_t *m)
{
	pthread_mutexattr_t a;
	int r = pthread_mutexattr_init(&a);

	if (r)
		return -r;
	r = pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
	if (!r)
		r = pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
	if (!r)
		r = pthread_mutex_init(m, &a);
	pthread_mutexattr_destroy(&a);
	return -r;
}

int zd_mutex_lock_slow(zd_dev *dev, pthread_mutex_t *m)
{
	uint64_t last = zd_now();

	for (;;) {
		struct timespec until;
		int r;

		/* In slices, so that Ctrl-C works even if the owner is a stopped process. */
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += 60000000;
		if (until.tv_nsec >= 1000000000) {
			until.tv_sec++;
			until.tv_nsec -= 1000000000;
		}
		r = pthread_mutex_timedlock(m, &until);
		if (r == 0)
			return 0;
		if (r == EOWNERDEAD)
			return -EOWNERDEAD;
		if (r != ETIMEDOUT)
			return -r;
		if (zd_interrupted(dev, &last))
			return -EINTR;
	}
}

int zd_lock_stripe_mend(pthread_mutex_t *m, int r)
{
	if (r == -EOWNERDEAD)
		r = -pthread_mutex_consistent(m);
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

int zd_lock_resource(zd_dev *dev)
{
	int r = zd_mutex_lock(dev, &dev->head->resource);

	if (unlikely(r == -EOWNERDEAD)) {
		zd_runtime_rebuild(dev, false);
		pthread_mutex_consistent(&dev->head->resource);
		r = 0;
	}
	return r;
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
		/* A slot that it was trimming is in no list. Not to be given up half-way: nobody else would do it. */
		while (zd_lock_resource(dev))
			;
		zd_runtime_rebuild(dev, true);
		zd_unlock_resource(dev);
		pthread_mutex_consistent(&dev->head->commit);
		r = 0;
	}
	return r;
}
