/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Emulated power cuts: which of the unflushed data survives, and a disk that refuses everything until it has
 * power again. No word of this concerns the host: its crashes are commit's and recovery's business.
 */
#include "device/whole/whole.h"

/* Bytes that a zone keeps: between what is durable and what is written, but nothing of a lost write. */
static uint64_t survivor(const zd_dev *dev, uint32_t zone, uint64_t written, uint64_t durable, int keep, uint64_t *rng)
{
	struct zd_fate fate;

	zd_fate_of_zone(dev, zone, written, durable, &fate);
	switch (keep) {
	case ZD_KEEP_ALL: return fate.high;
	case ZD_KEEP_RANDOM: return zd_fate_length(&fate, zd_splitmix(rng) % fate.choices);
	default: return fate.low;
	}
}

int zd_power_cut_word(zd_dev *dev, uint32_t zone, struct zd_zone_rt *rt, uint64_t kept)
{
	int type = zd_zone_type(dev, zone), from, to;
	uint64_t word = atomic_load_explicit(&rt->word, memory_order_acquire), written = zd_word_written(word), flags, wp, next;
	const struct zd_cell *cell;

	from = to = zd_word_cond(word, type);
	cell = zd_cell(dev->g.h.dialect, type, from, ZD_CMD_POWER_CYCLE);
	if (cell->next == ZD_NEXT_CLOSED_OR_EMPTY ||
	    (kept < written && (from == ZD_CLOSED || (from == ZD_FULL && !(word & ZD_W_FINISHED)))))
		to = kept || (word & ZD_W_EXTENSION) ? ZD_CLOSED :
						       ZD_EMPTY; /* it was on the medium before its zone was told of */
	/* What survived is on the media, and nothing else is. */
	if (to == from && kept == written) {
		if (type != ZD_CONVENTIONAL && rt->durable < kept) {
			zd_set_dirty(dev, zone);
			rt->durable = kept;
		}
		return from;
	}
	wp = zd_word_wp(dev, word);
	wp = wp < kept ? wp : kept - kept % (dev->g.h.zrwa_granularity ? dev->g.h.zrwa_granularity : 1);
	flags = kept || to != ZD_EMPTY ? word & (ZD_W_NON_SEQ | ZD_W_RESET_REC | ZD_W_FINISHED | ZD_W_EXTENSION) : 0;
	zd_set_dirty(dev, zone);
	/* Never more durable than written, wherever a death falls: while there is no power, a smaller number does no harm. */
	if (rt->durable > kept)
		rt->durable = kept;
	next = zd_word(to, flags, kept);
	if ((word & ZD_W_ZRWA) && zd_cond_active(to))
		next = zd_word_with_zrwa(dev, next, wp, kept);
	atomic_store_explicit(&rt->word, next, memory_order_release);
	rt->durable = kept;
	if (kept < written) {
		atomic_fetch_add_explicit(&rt->gen, 1, memory_order_acq_rel);
		zd_spoiled_mend(dev, zd_zone_start(dev, zone) + kept, zd_zone_length(dev, zone) - kept, NULL);
	}
	return from;
}

/* What survives. */
struct choice {
	int keep;
	uint64_t rng;
	uint64_t block_rng;           /* of blocks: which sequential zones keep what must not depend on whether data is kept */
	const struct zd_cut *exactly; /* or NULL: by keep */
	/* while the zones are walked: */
	uint32_t next_kept;
	uint64_t next_undone;
	/* in the zone at work: */
	struct zd_zone_rt *rt;
	uint64_t top; /* preferred: behind the last block that survived */
	bool lost;    /* some were lost writes */
};

/* Whether a block that was written since the flush survives; `exactly` is walked in the order of blocks. */
static bool survives(struct choice *c, uint64_t offset, bool lost)
{
	const struct zd_cut *cut = c->exactly;

	if (cut) {
		while (c->next_undone < cut->nr_undone && cut->undone[c->next_undone] < offset)
			c->next_undone++;
		return c->next_undone == cut->nr_undone || cut->undone[c->next_undone] != offset;
	}
	if (lost)
		return false;
	return c->keep == ZD_KEEP_ALL || (c->keep == ZD_KEEP_RANDOM && (zd_splitmix(&c->block_rng) >> 63));
}

static int cut_block(zd_dev *dev, uint32_t zone, const struct zd_pre_block *block, void *arg)
{
	struct choice *c = arg;
	uint32_t slot = c->rt->slot;
	uint8_t bytes[ZD_PAGE], now[ZD_PAGE];
	int r;

	c->lost |= block->lost;
	if (survives(c, zd_zone_start(dev, zone) + block->rel, block->lost)) {
		uint64_t end = block->rel + dev->g.h.logical_block;

		if (end > c->top)
			c->top = end;
		return 0;
	}
	if (!slot)
		return 0; /* it never got as far as the store */
	r = zd_pre_load(dev, zone, block->rel, bytes);
	if (!r)
		r = zd_load(dev, slot - 1, block->rel, now, dev->g.h.logical_block);
	/* Nor did this one, or it stored the same; and a block that is not there may have no room on the host. */
	if (r || memcmp(bytes, now, dev->g.h.logical_block) == 0)
		return r;
	if (dev->slots[slot - 1].pinned)
		r = zd_slot_unshare(dev, zone, c->rt);
	return r ? r : zd_store_bytes(dev, c->rt->slot - 1, block->rel, bytes, dev->g.h.logical_block);
}

/* All stripes are held. The bytes of a zone that may be overwritten; *kept: how much of a preferred one is left. */
static int cut_data(zd_dev *dev, uint32_t zone, struct choice *c, bool keeps_wp, uint64_t *kept)
{
	struct zd_zone_rt *rt = c->rt;
	uint64_t written = zd_word_written(rt->word), durable = rt->durable < written ? rt->durable : written;
	bool conv = zd_is_conv(dev, zone), known = zd_pre_any(dev, zone);
	int r = known && dev->view ? zd_view_own(dev, zone, rt) : 0;

	if (known && !r)
		r = zd_pre_home(dev, zone);
	if (known && !r)
		r = zd_pre_trim(dev, zone);
	c->top = durable;
	c->lost = false;
	if (known && !r) {
		zd_set_dirty(dev, zone);
		r = zd_pre_each(dev, zone, cut_block, c);
		/* Blocks written while nobody wanted pre-images have no mark that would say so. */
		if (!c->exactly && c->keep == ZD_KEEP_ALL && !c->lost)
			c->top = written;
		if (!r && !conv)
			*kept = keeps_wp ? written : c->top;
	}
	if (!conv && !r && *kept < written) {
		if (dev->view)
			r = zd_view_own(dev, zone, rt);
		if (!r && rt->slot && dev->slots[rt->slot - 1].pinned > *kept)
			r = zd_slot_unshare(dev, zone, rt);
		/* Behind a pointer that goes back nothing takes room. */
		if (!r && rt->slot)
			r = zd_slot_clear(dev, rt->slot - 1, *kept, written);
	}
	if (r && !conv)
		*kept = written;
	zd_pre_drop(dev, zone, false);
	return r;
}

/* All stripes and the resource lock are held. */
static void cut_zone(zd_dev *dev, uint32_t zone, struct zd_zone_rt *rt, uint64_t kept)
{
	int from = zd_power_cut_word(dev, zone, rt, kept);

	zd_account(dev, zone, from, zd_word_cond(rt->word, zd_zone_type(dev, zone)));
	if (dev->view)
		zd_view_cut(dev, zone, kept);
	if (!kept && !(rt->word & ZD_W_EXTENSION))
		zd_slot_release(dev, zone, rt);
}

static uint64_t kept_of(const zd_dev *dev, uint32_t zone, struct zd_zone_rt *rt, struct choice *c)
{
	const struct zd_cut *cut = c->exactly;
	uint64_t written = zd_word_written(rt->word), durable = rt->durable < written ? rt->durable : written;

	if (!cut)
		return survivor(dev, zone, written, durable, c->keep, &c->rng);
	while (c->next_kept < cut->nr_kept && cut->kept[c->next_kept].zone < zone)
		c->next_kept++;
	return c->next_kept < cut->nr_kept && cut->kept[c->next_kept].zone == zone ? cut->kept[c->next_kept].bytes : durable;
}

/* Under zd_lock_data(), as bringing blocks back may take slots; the gate says already that there is no power. */
static int cut_all(zd_dev *dev, struct choice *c)
{
	int result = 0, r;
	uint32_t zone;

	for (zone = 0; zone < dev->g.h.nr_zones; zone++) {
		struct zd_zone_rt *rt = c->rt = zd_zone_peek(dev, zone);
		uint64_t kept = 0, lost, written;
		bool crowded;

		if (!rt)
			continue;
		written = zd_word_written(rt->word);
		/* A zone that filled up gave its active resource to another one, and cannot have it back. */
		crowded = dev->g.h.max_active && !zd_is_conv(dev, zone) &&
			  zd_word_cond(rt->word, ZD_SEQ_WRITE_REQUIRED) == ZD_FULL && !(rt->word & ZD_W_FINISHED) &&
			  dev->head->nr_implicit + dev->head->nr_explicit + dev->head->nr_closed >= dev->g.h.max_active;
		if (!zd_is_conv(dev, zone)) {
			lost = zd_fault_lost(dev, zone, rt->gen);
			kept = kept_of(dev, zone, rt, c);
			kept = kept < lost ? kept : lost;
			if (crowded)
				kept = written;
		}
		/* Also what was written in a random write area, whether or not the zone has it still. */
		if (zd_zone_type(dev, zone) != ZD_SEQ_WRITE_REQUIRED || zd_pre_any(dev, zone)) {
			r = cut_data(dev, zone, c, crowded, &kept);
			result = result ? result : r;
		}
		if (zd_is_conv(dev, zone))
			continue;
		if (!zd_lock_resource_surely(dev))
			return -EINTR; /* half-way, without power: zd_power_on() brings it to its end */
		cut_zone(dev, zone, rt, kept);
		zd_unlock_resource(dev);
	}
	return result;
}

static int host_failed(int r, struct zd_error *err)
{
	return r ? zd_fail_host(err, -r,
				"the power is cut, but the host failed to bring back all blocks that did not survive") :
		   0;
}

static int cut_by(zd_dev *dev, struct choice *c, uint32_t fault, const char *label, struct zd_error *err)
{
	uint64_t seed = c->rng;
	int r;

	zd_fault_name_power(dev, fault, label);
	atomic_fetch_or(&dev->head->gate, ZD_GATE_POWER);
	r = cut_all(dev, c);
	zd_trace_event(dev, ZD_TRACE_POWER_CUT, ZD_NO_ZONE, seed, c->exactly ? ZD_TRACE_KEEP_CHOSEN : (uint64_t)c->keep, fault);
	return host_failed(r, err);
}

int zd_power_cut_by(zd_dev *dev, int keep, uint64_t seed, uint32_t fault, const char *label, struct zd_error *err)
{
	struct choice c = { .keep = keep, .rng = seed, .block_rng = ~seed };
	int r = zd_lock_data(dev);

	if (r)
		return zd_fail_host(err, -r, "interrupted before the power was cut");
	if (!(atomic_load(&dev->head->gate) & ZD_GATE_POWER))
		r = cut_by(dev, &c, fault, label, err);
	zd_unlock_data(dev);
	return r ? r : zd_after_change(dev, err);
}

static int enter_power(zd_dev *dev, bool changes, struct zd_error *err)
{
	int r = changes ? zd_enter_writable(dev, err) : zd_enter(dev, err);

	if (!r && changes && (atomic_load(&dev->head->gate) & ZD_GATE_MARK))
		r = zd_mark_dirty(dev, err);
	return r;
}

/* The same, and nobody has a command under way; `interrupted` says what a signal kept from happening. */
static int enter_and_lock(zd_dev *dev, const char *interrupted, struct zd_error *err)
{
	int r = enter_power(dev, true, err);

	if (r)
		return r;
	r = zd_lock_data(dev);
	return r ? zd_fail_host(err, -r, interrupted) : 0;
}

int zd_power_cut(zd_dev *dev, int keep, uint64_t seed, struct zd_error *err)
{
	int r = enter_power(dev, true, err);

	if (!r && (keep < ZD_KEEP_DURABLE || keep > ZD_KEEP_RANDOM))
		r = zd_fail(err, -EINVAL, "there is no choice of survivors with the number %d", keep);
	return r ? r : zd_power_cut_by(dev, keep, seed, 0, NULL, err);
}

int zd_cut_check(const struct zd_cut *cut, struct zd_error *err)
{
	uint64_t i;

	for (i = 1; i < cut->nr_kept; i++) {
		if (cut->kept[i].zone <= cut->kept[i - 1].zone)
			return zd_fail(err, -EINVAL, "the zones of a survivor must ascend");
	}
	for (i = 1; i < cut->nr_undone; i++) {
		if (cut->undone[i] <= cut->undone[i - 1])
			return zd_fail(err, -EINVAL, "the blocks of a survivor must ascend");
	}
	return 0;
}

struct matching {
	const struct zd_cut *cut;
	uint64_t next;
};

static int match_block(zd_dev *dev, uint32_t zone, const struct zd_pre_block *block, void *arg)
{
	struct matching *m = arg;

	if (m->next < m->cut->nr_undone && m->cut->undone[m->next] == zd_zone_start(dev, zone) + block->rel)
		m->next++;
	return 0;
}

/* Under zd_lock_data(): can the disk as it is now be left so? */
static int check_possible(zd_dev *dev, const struct zd_cut *cut, struct zd_error *err)
{
	struct matching m = { cut, 0 };
	uint32_t zone, i;
	int r = 0;

	for (i = 0; i < cut->nr_kept; i++) {
		struct zd_zone_rt *rt = cut->kept[i].zone < dev->g.h.nr_zones ? zd_zone_peek(dev, cut->kept[i].zone) : NULL;
		uint64_t written = rt ? zd_word_written(rt->word) : 0;

		if (cut->kept[i].bytes > written || cut->kept[i].bytes % dev->g.h.logical_block)
			return zd_fail(err, -EINVAL, "zone %u cannot keep %llu bytes: %llu are written, in blocks of %u",
				       cut->kept[i].zone, (unsigned long long)cut->kept[i].bytes, (unsigned long long)written,
				       dev->g.h.logical_block);
	}
	for (zone = 0; !r && zone < dev->g.h.nr_zones && m.next < cut->nr_undone; zone++) {
		r = zd_pre_home(dev, zone);
		if (!r)
			r = zd_pre_each(dev, zone, match_block, &m);
	}
	if (r)
		return zd_fail_host(err, -r, "the host could not read the data back");
	if (m.next < cut->nr_undone)
		return zd_fail(err, -EINVAL, "byte %llu begins no block that was overwritten since the last flush",
			       (unsigned long long)cut->undone[m.next]);
	return 0;
}

int zd_power_cut_to(zd_dev *dev, const struct zd_cut *cut, struct zd_error *err)
{
	struct choice c = { .exactly = cut };
	int r = enter_power(dev, true, err);

	if (!r)
		r = zd_cut_check(cut, err);
	if (r)
		return r;
	r = zd_lock_data(dev);
	if (r)
		return zd_fail_host(err, -r, "interrupted before the power was cut");
	if (atomic_load(&dev->head->gate) & ZD_GATE_POWER)
		r = zd_gate_rest(dev, false, err);
	if (!r)
		r = check_possible(dev, cut, err);
	if (!r)
		r = cut_by(dev, &c, 0, NULL, err);
	zd_unlock_data(dev);
	return r ? r : zd_after_change(dev, err);
}

int zd_power_on(zd_dev *dev, struct zd_error *err)
{
	struct choice c = { .keep = ZD_KEEP_DURABLE };
	bool was_off;
	int r = enter_and_lock(dev, "interrupted before the power was on", err);

	if (r)
		return r;
	was_off = atomic_load(&dev->head->gate) & ZD_GATE_POWER;
	/*
	 * Whoever cut it may have been killed half-way, in the middle of a block even: what it had not finished is taken back.
	 * Of a zone that it had finished nothing is unflushed any more.
	 */
	if (was_off)
		r = host_failed(cut_all(dev, &c), err);
	if (!r && was_off)
		r = zd_commit_stopped(dev, err);
	/* What the cache owed is gone with its power. */
	if (!r && (r = zd_fault_forget_flush(dev)))
		zd_fail_host(err, -r, "interrupted before the power was on");
	if (!r) {
		atomic_store(&dev->faults->power_fault, 0);
		if (was_off)
			atomic_fetch_add(&dev->head->powered, 1);
		atomic_fetch_and(&dev->head->gate, ~(uint32_t)ZD_GATE_POWER);
		zd_trace_event(dev, ZD_TRACE_POWER_ON, ZD_NO_ZONE, ZD_NONE, 0, 0);
	}
	zd_unlock_data(dev);
	return r;
}

int zd_power_track(zd_dev *dev, int on, struct zd_error *err)
{
	uint32_t zone;
	int r = enter_and_lock(dev, "interrupted", err);

	if (r)
		return r;
	atomic_store(&dev->head->no_pre, !on);
	/* What is known of earlier overwrites goes: all of them survive from here on, lost writes too. */
	for (zone = 0; !on && zone < dev->g.h.nr_zones; zone++)
		zd_pre_drop(dev, zone, false);
	zd_unlock_data(dev);
	return 0;
}

int zd_power_tracked(zd_dev *dev, struct zd_error *err)
{
	int r = enter_power(dev, false, err);

	return r ? r : !atomic_load(&dev->head->no_pre) && dev->g.keeps_pre;
}

int zd_power(zd_dev *dev, struct zd_error *err)
{
	int r = enter_power(dev, false, err);

	return r ? r : !(atomic_load(&dev->head->gate) & ZD_GATE_POWER);
}
