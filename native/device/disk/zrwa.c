/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random write areas: who has one, and what a write or a commit in one publishes. A zone's word says that it has one
 * and where the write pointer stands before what is written (format.h); everything else about them follows from the words.
 */
#include "device/disk/disk.h"

uint32_t zd_zrwas_used(const zd_dev *dev)
{
	uint32_t z, n = 0;

	for (z = 0; dev->g.h.zrwa_size && z < dev->g.h.nr_zones; z++)
		n += (zd_load_word(dev, z) & ZD_W_ZRWA) != 0;
	return n;
}

int zd_zrwa_refused(const zd_dev *dev, uint32_t zone, uint64_t word, const struct zd_cell *cell, uint64_t *bound)
{
	struct zd_rule_zone z;
	int r;

	*bound = 0;
	if (dev->g.h.dialect != ZD_ZNS)
		return 0; /* the table says it */
	zd_zone_as(dev, zone, word, &z);
	r = zd_check_zrwa_open(&dev->g.book, &z);
	if (r || cell->next == ZD_NEXT_ERROR || zd_ask_resources(dev, cell->effects))
		return r;
	r = zd_rule_take_zrwa(&dev->g.book, &z, zd_zrwas_used(dev));
	*bound = r ? dev->g.h.zrwa_count : 0;
	return r;
}

/*
 * What is committed is durable: before the word says that it is, so that whoever is killed in between leaves bytes that survive
 * without being committed, which they may, and not the reverse. That can be more than is written, which counts as all of it.
 */
static void make_durable(zd_dev *dev, uint32_t zone, struct zd_zone_rt *rt, uint64_t wp)
{
	if (rt->durable < wp)
		rt->durable = wp;
	zd_pre_commit(dev, zone, wp);
}

/* One that was killed there left more durable than is written: what comes now is not. */
static void trim_durable(struct zd_zone_rt *rt)
{
	uint64_t written = zd_word_written(rt->word);

	if (rt->durable > written)
		rt->durable = written;
}

void zd_zrwa_publish(zd_dev *dev, uint32_t zone, struct zd_zone_rt *rt, uint64_t wp, uint64_t end)
{
	uint64_t word = atomic_load_explicit(&rt->word, memory_order_acquire), before = zd_word_wp(dev, word), next;

	zd_set_dirty(dev, zone);
	trim_durable(rt);
	if (wp > before)
		make_durable(dev, zone, rt, wp);
	do { /* the condition may change meanwhile: an implicitly open zone is closed for another one */
		uint64_t written = zd_word_written(word);

		next = zd_word_with_zrwa(dev, word, wp, end > written ? end : written);
	} while (!atomic_compare_exchange_weak_explicit(&rt->word, &word, next, memory_order_acq_rel, memory_order_acquire));
}

int zd_zrwa_fill(zd_dev *dev, uint32_t zone, struct zd_zone_rt *rt, uint64_t capacity)
{
	uint64_t word;
	int r, cond;

	make_durable(dev, zone, rt, capacity);
	r = zd_lock_resource(dev);
	if (r)
		return r;
	word = atomic_load_explicit(&rt->word, memory_order_acquire);
	cond = zd_word_cond(word, ZD_SEQ_WRITE_REQUIRED);
	zd_set_dirty(dev, zone);
	word = zd_word_with_written(zd_word_with_cond(word, ZD_FULL), capacity);
	atomic_store_explicit(&rt->word, word, memory_order_release);
	zd_account(dev, zone, cond, ZD_FULL);
	zd_unlock_resource(dev);
	return 0;
}
