/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making things durable: data first, then the zones' entries (copy A, synced; then copy B), then the durable
 * pointers and the slots that waited. All under the commit lock, so entries have one writer at a time.
 */
#include "device/disk/disk.h"

#include <stdlib.h>

/* A zone as it is to be written; taken under its stripe. */
struct item {
	uint32_t zone, slot, gen;
	uint64_t word, durable;
};

struct items {
	struct item *at;
	uint32_t n;
	uint64_t room;
};

static int add_item(struct items *items, const struct item *item)
{
	struct item *at = zd_grown(items->at, items->n, &items->room, sizeof(*at), 64);

	if (!at)
		return -ENOMEM;
	items->at = at;
	items->at[items->n++] = *item;
	return 0;
}

static void put_back(zd_dev *dev, const struct items *items)
{
	uint32_t i;

	for (i = 0; i < items->n; i++)
		zd_set_dirty(dev, items->at[i].zone);
}

/* The zone's lock is held. */
static int take_snapshot(zd_dev *dev, uint32_t zone, bool flush, struct item *item)
{
	struct zd_zone_rt *rt = &dev->zones[zone];
	struct zd_state now = zd_live_state(rt);

	item->zone = zone;
	item->word = now.word;
	/* What holds nothing names no slot, as one that an entry names is not written over when the zone begins anew. */
	if (!zd_is_conv(dev, zone) && !zd_word_holds(now.word))
		now.slot = 0;
	item->slot = now.slot;
	item->gen = rt->gen;
	/* The entry on its way names it: whoever resets the zone before it is written leaves the slot waiting, not free. */
	if (!dev->in_ram)
		rt->commit_slot = now.slot;
	item->durable = flush ? zd_word_written(now.word) : now.durable;
	/*
	 * What is overwritten from now on is not of this flush. If it fails, the blocks just survive the next power cut; so
	 * does the pointer, that goes first: without marks nothing else tells how far the zone was written.
	 */
	if (!flush)
		return 0;
	if ((zd_zone_type(dev, zone) == ZD_SEQ_WRITE_PREFERRED || zd_pre_any(dev, zone)) && !zd_is_conv(dev, zone) &&
	    rt->durable < item->durable)
		rt->durable = item->durable;
	return zd_pre_flush(dev, zone);
}

static int lock_and_take_snapshot(zd_dev *dev, uint32_t zone, bool flush, struct item *item)
{
	int r = zd_lock_zone(dev, zone);

	if (r)
		return r;
	r = take_snapshot(dev, zone, flush, item);
	zd_unlock_zone(dev, zone);
	return r;
}

/* The bits of a word that stand for zones of a span. */
static uint64_t bits_of(uint32_t w, const struct zd_zones *zones)
{
	uint64_t bits = UINT64_MAX;

	if (zones->first > w * 64)
		bits &= UINT64_MAX << (zones->first - w * 64);
	if (zones->last < w * 64 + 63)
		bits &= UINT64_MAX >> (w * 64 + 63 - zones->last);
	return bits;
}

static int collect_dirty(zd_dev *dev, bool flush, const struct zd_zones *zones, struct items *items)
{
	uint32_t w;
	int r = 0;

	for (w = zones->first / 64; !r && w <= zones->last / 64; w++) {
		uint64_t bits, mine = bits_of(w, zones);

		if (!atomic_load_explicit(&dev->dirty[w], memory_order_relaxed))
			continue;
		/* The bit goes before the state is read: a change from now on sets it again. */
		bits = atomic_fetch_and_explicit(&dev->dirty[w], ~mine, memory_order_acq_rel) & mine;
		while (bits) {
			uint32_t zone = w * 64 + (uint32_t)__builtin_ctzll(bits);
			struct item item;

			r = r ? r : lock_and_take_snapshot(dev, zone, flush, &item);
			r = r ? r : add_item(items, &item);
			if (r)
				zd_set_dirty(dev, zone);
			bits &= bits - 1;
		}
	}
	return r;
}

static int by_zone(const void *a, const void *b)
{
	const struct item *x = a, *y = b;

	return x->zone < y->zone ? -1 : x->zone > y->zone;
}

/* Whether all that a zone's entry on disk names is gone for good, so that the entry of an empty zone loses nothing. */
static bool was_reset(const zd_dev *dev, uint32_t zone)
{
	const struct zd_zone_rt *rt = &dev->zones[zone];

	/* Else its data was moved to another slot, of which nothing may be on disk yet. */
	return zd_is_conv(dev, zone) ? rt->slot == 0 : rt->durable == 0 && !(rt->word & ZD_W_EXTENSION);
}

/* Zones whose old slot waits, as they stood right after the reset that freed it. */
static int collect_resets(zd_dev *dev, struct items *items)
{
	uint32_t slot, i, n = 0;
	int r = zd_lock_resource(dev);

	if (r)
		return r;
	for (slot = dev->head->pending_head; !r && slot; slot = dev->slots[slot - 1].next) {
		struct item item = { .zone = dev->slots[slot - 1].zone - 1 };

		if (was_reset(dev, item.zone))
			r = add_item(items, &item);
	}
	zd_unlock_resource(dev);
	if (items->n)
		qsort(items->at, items->n, sizeof(*items->at), by_zone);
	for (i = 0; i < items->n; i++) {
		if (!n || items->at[n - 1].zone != items->at[i].zone)
			items->at[n++] = items->at[i];
	}
	items->n = n;
	return r;
}

#define PER_PAGE (ZD_PAGE / sizeof(struct zd_entry))

/* Items come in ascending order; each page of the table is written at most once. */
static int write_entries(zd_dev *dev, const struct items *items, uint64_t table, bool sync)
{
	uint32_t i, pages = 0, at = 0;
	bool each;
	int r = 0;

	for (i = 0; i < items->n; i++)
		pages += i == 0 || items->at[i].zone / PER_PAGE != items->at[i - 1].zone / PER_PAGE;
	each = sync && pages <= 8;
	while (!r && at < items->n) {
		struct zd_entry page[PER_PAGE];
		uint32_t first = items->at[at].zone, base = first - first % PER_PAGE, last = first;
		uint64_t offset = table + (uint64_t)base * sizeof(struct zd_entry);

		r = zd_host_pread(dev->fd, page, sizeof(page), offset);
		for (; at < items->n && items->at[at].zone - base < PER_PAGE; at++) {
			const struct item *item = &items->at[at];
			struct zd_entry *e = &page[item->zone - base];

			e->seq = zd_seq_next(dev->zones[item->zone].entry_seq);
			e->word = item->word;
			e->durable = item->durable;
			e->slot = item->slot;
			e->zero = 0;
			e->crc = zd_entry_crc(e, item->zone);
			last = item->zone;
		}
		if (!r) {
			size_t length = (last - first + 1) * sizeof(struct zd_entry);

			offset += (first - base) * sizeof(struct zd_entry);
			r = each ? zd_host_pwrite_dsync(dev->fd, &page[first - base], length, offset) :
				   zd_host_pwrite(dev->fd, &page[first - base], length, offset);
		}
	}
	if (!r && sync && !each)
		r = zd_host_sync(dev->fd);
	return r;
}

static int sync_failed(zd_dev *dev, int r, struct zd_error *err)
{
	struct zd_status status = { .seq = dev->head->status_seq, .clean = 0, .failed = 1 };

	atomic_fetch_or(&dev->head->gate, ZD_GATE_FAILED);
	zd_status_write(dev->fd, &status, true); /* as well as the host still can */
	dev->head->status_seq = status.seq;
	return zd_fail_host(err, -r, "syncing the image to the host's disk failed; close it and run `zonedctl check --repair`");
}

/* Under the commit lock. */
static int unmark(zd_dev *dev, struct zd_error *err)
{
	struct zd_status status = { .seq = dev->head->status_seq, .clean = 0, .failed = 0 };
	int r;

	if (!(atomic_load(&dev->head->gate) & ZD_GATE_MARK))
		return 0;
	r = zd_status_write(dev->fd, &status, dev->g.h.host_sync != ZD_SYNC_NEVER);
	if (r)
		return zd_fail_host(err, -r, "cannot mark the image as being changed");
	dev->head->status_seq = status.seq;
	atomic_fetch_and(&dev->head->gate, ~(uint32_t)ZD_GATE_MARK);
	return 0;
}

static int commit_host(zd_dev *dev, const struct items *items, enum zd_commit_kind kind, struct zd_error *err)
{
	bool sync = dev->g.h.host_sync != ZD_SYNC_NEVER;
	uint32_t i;
	int r;

	/*
	 * Whoever writes entries marks the image first, whether or not a command of his counts as a change: between
	 * the two copies they differ, which a clean image's never do.
	 */
	r = unmark(dev, err);
	if (r)
		return r;
	if (sync && kind != ZD_COMMIT_RESETS) {
		r = zd_host_sync(dev->fd);
		if (r)
			return sync_failed(dev, r, err);
	}
	for (i = 0; i < items->n; i++)
		dev->zones[items->at[i].zone].commit_slot = items->at[i].slot;
	r = write_entries(dev, items, ZD_TABLE, sync);
	if (r == -ENOSPC || r == -EDQUOT)
		return zd_fail_host(err, -r, "no room on the host for the image's zone entries");
	if (r)
		return sync_failed(dev, r, err);
	r = write_entries(dev, items, dev->g.h.table_b, false);
	for (i = 0; i < items->n; i++) {
		struct zd_zone_rt *rt = &dev->zones[items->at[i].zone];

		rt->entry_seq = zd_seq_next(rt->entry_seq);
		rt->disk_slot = items->at[i].slot;
		/* Written but not flushed: the next flush must find it. */
		if (kind == ZD_COMMIT_HOST &&
		    (items->at[i].durable < zd_word_written(items->at[i].word) || zd_pre_any(dev, items->at[i].zone)))
			zd_set_dirty(dev, items->at[i].zone);
	}
	if (r)
		return zd_fail_host(err, -r, "cannot write the second copy of the image's zone entries");
	return 0;
}

static int publish_durable(zd_dev *dev, const struct items *items)
{
	uint32_t i;

	for (i = 0; i < items->n; i++) {
		const struct item *item = &items->at[i];
		struct zd_zone_rt *rt = &dev->zones[item->zone];
		int r = zd_lock_zone(dev, item->zone);

		if (r)
			return r;
		/* If the zone was reset meanwhile, what was flushed is gone, as it should be. */
		if (rt->gen == item->gen && rt->durable < item->durable)
			rt->durable = item->durable;
		zd_unlock_zone(dev, item->zone);
	}
	return 0;
}

int zd_commit(zd_dev *dev, enum zd_commit_kind kind, const struct zd_zones *zones, struct zd_traced *t, struct zd_error *err)
{
	const struct zd_zones all = { 0, dev->g.h.nr_zones - 1 };
	struct items items = { NULL, 0, 0 };
	int r = zd_lock_commit(dev);

	if (r)
		return zd_fail_host(err, -r, "interrupted while waiting for the commit lock");
	if (zd_powerless(dev) && (kind == ZD_COMMIT_FLUSH || atomic_load(&dev->head->gate) & ZD_GATE_BACK)) {
		/* Cut while we waited: what was to be flushed may be gone. */
		zd_unlock_commit(dev);
		return zd_stopped(dev, err);
	}
	if (atomic_load(&dev->head->gate) & ZD_GATE_FAILED) {
		zd_unlock_commit(dev);
		return zd_fail_marked(err);
	}
	r = kind == ZD_COMMIT_RESETS ? collect_resets(dev, &items) :
				       collect_dirty(dev, kind == ZD_COMMIT_FLUSH, zones ? zones : &all, &items);
	if (r)
		zd_fail_host(err, -r, "cannot collect the zones to commit");
	if (!r && items.n && !dev->in_ram)
		r = commit_host(dev, &items, kind, err);
	if (r && kind != ZD_COMMIT_RESETS)
		put_back(dev, &items);
	if (!r && kind == ZD_COMMIT_FLUSH) {
		r = publish_durable(dev, &items);
		if (r) {
			put_back(dev, &items);
			zd_fail_host(err, -r, "interrupted while waiting for a zone's lock");
		}
		atomic_fetch_add_explicit(&dev->head->flushes, 1, memory_order_relaxed);
	}
	if (!r && dev->head->nr_pending && zd_lock_resource(dev) == 0) {
		zd_slots_settle(dev);
		zd_unlock_resource(dev);
	}
	if (!r && dev->head->warm_bytes > dev->g.h.slot_cache)
		zd_slots_trim(dev);
	if (!r && t)
		zd_observe_effect(dev, t, r, err); /* under the lock: a power cut that comes next stands behind it */
	zd_unlock_commit(dev);
	free(items.at);
	return r;
}

int zd_commit_stopped(zd_dev *dev, struct zd_error *err)
{
	struct items items = { NULL, 0, 0 };
	uint32_t w;
	int r = 0;

	if (dev->in_ram || atomic_load(&dev->head->gate) & ZD_GATE_FAILED)
		return 0;
	for (w = 0; !r && w < (dev->g.h.nr_zones + 63) / 64; w++) {
		uint64_t bits = atomic_load_explicit(&dev->dirty[w], memory_order_acquire);

		/* The bits stay: who dies in here leaves nothing else that tells of the zones. */
		for (; !r && bits; bits &= bits - 1) {
			uint32_t zone = w * 64 + (uint32_t)__builtin_ctzll(bits);
			struct item item;

			if (!dev->zones[zone].entry_seq)
				continue;
			r = take_snapshot(dev, zone, false, &item);
			r = r ? r : add_item(&items, &item);
		}
	}
	if (r)
		zd_fail_host(err, -r, "cannot collect the zones to commit");
	else if (items.n)
		r = commit_host(dev, &items, ZD_COMMIT_HOST, err);
	free(items.at);
	return r;
}

int zd_after_change(zd_dev *dev, struct zd_error *err)
{
	int r = 0;

	if (unlikely(dev->g.h.host_sync == ZD_SYNC_COMMAND) && !dev->in_ram)
		r = zd_commit(dev, ZD_COMMIT_HOST, NULL, NULL, err);
	if (unlikely(zd_slots_pressing(dev))) {
		/* To save room; flush and close will tell if it cannot be done. */
		zd_commit(dev, ZD_COMMIT_RESETS, NULL, NULL, NULL);
		if (zd_slots_pressing(dev))
			zd_commit(dev, ZD_COMMIT_HOST, NULL, NULL, NULL);
	} else if (unlikely(dev->head->warm_bytes > dev->g.h.slot_cache) && zd_lock_commit(dev) == 0) {
		zd_slots_trim(dev);
		zd_unlock_commit(dev);
	}
	return r;
}

int zd_mark_dirty(zd_dev *dev, struct zd_error *err)
{
	int r = zd_lock_commit(dev);

	if (r)
		return zd_fail_host(err, -r, "interrupted while waiting for the commit lock");
	r = unmark(dev, err);
	zd_unlock_commit(dev);
	return r;
}
