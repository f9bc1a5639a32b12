/* SPDX-License-Identifier: Apache-2.0 */
/* Setting fault rules, clearing and listing them: what can never act is refused with a sentence. */
#include "device/hooks/hooks.h"

static const char *const names[ZD_NR_CMDS] = {
	[ZD_CMD_READ] = "read",
	[ZD_CMD_WRITE] = "write",
	[ZD_CMD_APPEND] = "append",
	[ZD_CMD_OPEN] = "open",
	[ZD_CMD_CLOSE] = "close",
	[ZD_CMD_FINISH] = "finish",
	[ZD_CMD_RESET] = "reset",
	[ZD_CMD_OPEN_ALL] = "open-all",
	[ZD_CMD_CLOSE_ALL] = "close-all",
	[ZD_CMD_FINISH_ALL] = "finish-all",
	[ZD_CMD_RESET_ALL] = "reset-all",
	[ZD_CMD_POWER_CYCLE] = "power-cycle",
	[ZD_CMD_SET_EMPTY] = "set-condition",
	[ZD_CMD_SET_READ_ONLY] = "set-condition",
	[ZD_CMD_SET_OFFLINE] = "set-condition",
	[ZD_CMD_FLUSH] = "flush",
	[ZD_CMD_SET_EXTENSION] = "set-extension",
	[ZD_CMD_OPEN_ZRWA] = "open-zrwa",
	[ZD_CMD_COMMIT_ZRWA] = "commit-zrwa",
};

#define WRONG(...) return zd_fail(err, -EINVAL, __VA_ARGS__)

static int check_commands(const zd_dev *dev, struct zd_fault *f, struct zd_error *err)
{
	uint32_t can = zd_fault_commands((int)f->kind), asked = f->commands;
	bool zones = f->first_zone > 0 || f->last_zone < dev->g.h.nr_zones - 1;
	uint32_t cmd, z;
	bool conv_only = true;

	if (f->to)
		can &= ZD_DATA_CMDS;
	if (zones)
		can &= ~ZD_CMD_BIT(ZD_CMD_FLUSH);
	if (!dev->g.h.zone_extension)
		can &= ~ZD_CMD_BIT(ZD_CMD_SET_EXTENSION);
	if (!dev->g.h.zrwa_size)
		can &= ~ZD_ZRWA_CMDS;
	if (!f->commands)
		f->commands = can;
	for (cmd = 0; cmd < 32; cmd++) {
		if (!(asked & ZD_CMD_BIT(cmd)))
			continue;
		if (cmd >= ZD_NR_CMDS)
			WRONG("there is no command number %u", cmd);
		if (!(zd_fault_commands((int)f->kind) & ZD_CMD_BIT(cmd)))
			WRONG("%s can never happen on %s", zd_fault_kind_name((int)f->kind), names[cmd]);
		if (cmd == ZD_CMD_SET_EXTENSION && !dev->g.h.zone_extension)
			WRONG("the zones of this disk have no descriptor extension, so the rule can never act on %s",
			      names[cmd]);
		if ((ZD_CMD_BIT(cmd) & ZD_ZRWA_CMDS) && !dev->g.h.zrwa_size)
			WRONG("the zones of this disk have no random write areas, so the rule can never act on %s", names[cmd]);
		if (!(can & ZD_CMD_BIT(cmd)))
			WRONG("%s has no place on the disk, so a rule with %s can never meet it", names[cmd],
			      f->to ? "a byte range" : "zones");
	}
	if (!f->commands)
		WRONG("no command that %s can happen on is left, so the rule can never act", zd_fault_kind_name((int)f->kind));
	if (dev->g.h.dialect == ZD_NULLBLK &&
	    !(f->commands & ~(ZD_CMD_BIT(ZD_CMD_OPEN_ALL) | ZD_CMD_BIT(ZD_CMD_CLOSE_ALL) | ZD_CMD_BIT(ZD_CMD_FINISH_ALL))))
		WRONG("dialect nullblk has no such command, so the rule can never act");
	for (z = f->first_zone; conv_only && z <= f->last_zone && z < dev->g.h.nr_zones; z++)
		conv_only = zd_is_conv(dev, z);
	if (conv_only && ((f->kind == ZD_FAULT_LOST && !dev->g.keeps_pre) || f->kind == ZD_FAULT_LIMIT ||
			  !(f->commands & ~(ZD_CMD_BIT(ZD_CMD_APPEND) | ZD_ONE_ZONE))))
		WRONG("zone %u and all others of the rule are conventional, so it can never act", f->first_zone);
	return 0;
}

static int check_rule(const zd_dev *dev, struct zd_fault *f, struct zd_error *err)
{
	const struct zd_header *h = &dev->g.h;
	bool flips = f->kind == ZD_FAULT_FLIP_READ || f->kind == ZD_FAULT_FLIP_MEDIA;
	uint64_t reserved = f->reserved;

	if (!zd_fault_commands((int)f->kind))
		WRONG("there is no kind of fault with the number %u", f->kind);
	if (f->last_zone == ZD_NO_ZONE)
		f->last_zone = h->nr_zones - 1;
	if (f->first_zone >= h->nr_zones || f->last_zone >= h->nr_zones)
		WRONG("zone %u does not exist: the disk has zones 0 to %u",
		      f->first_zone >= h->nr_zones ? f->first_zone : f->last_zone, h->nr_zones - 1);
	if (f->first_zone > f->last_zone)
		WRONG("the zones run backwards, from %u to %u", f->first_zone, f->last_zone);
	if (f->to) {
		if (f->from >= f->to || ((f->from | f->to) & dev->g.block_mask))
			WRONG("the byte range %llu to %llu must be ascending and in whole blocks of %u bytes",
			      (unsigned long long)f->from, (unsigned long long)f->to, h->logical_block);
		if (f->to > h->size)
			WRONG("the byte range ends at %llu, but the disk at %llu", (unsigned long long)f->to,
			      (unsigned long long)h->size);
		if (zd_fault_from(dev, f) >= zd_fault_to(dev, f))
			WRONG("the byte range lies outside the rule's zones, so it can never act");
	}
	if ((f->nth != 0) + (f->every != 0) + (f->probability != 0) > 1)
		WRONG("nth, every and probability exclude each other: give at most one");
	if (f->probability > 1ull << 32)
		WRONG("the probability is more than 1");
	if (f->nth && f->limit > 1)
		WRONG("the nth command comes only once, so a limit of %llu is never reached", (unsigned long long)f->limit);
	if (f->blocks && f->kind != ZD_FAULT_TORN)
		WRONG("a number of blocks belongs to a torn write, not to %s", zd_fault_kind_name((int)f->kind));
	if (f->kind == ZD_FAULT_TORN && f->blocks >= h->zone_size / h->logical_block)
		WRONG("a write of more than %llu blocks does not fit into a zone, so the rule can never act",
		      (unsigned long long)f->blocks);
	if (f->bit != ZD_NONE && flips && f->to && f->bit / 8 >= zd_fault_to(dev, f) - zd_fault_from(dev, f))
		WRONG("bit %llu lies behind the rule's byte range, so it can never act", (unsigned long long)f->bit);
	if (f->kind == ZD_FAULT_FLIP_MEDIA && h->data == ZD_NO_DATA)
		WRONG("the disk keeps no data, so no bit of it can flip");
	if (f->kind == ZD_FAULT_LATENCY && !f->real_ns && !f->virtual_ns)
		WRONG("latency of 0 ns changes nothing");
	if (f->after && f->kind != ZD_FAULT_READ_ONLY && f->kind != ZD_FAULT_OFFLINE && f->kind != ZD_FAULT_POWER_CUT)
		WRONG("%s does not know before and after", zd_fault_kind_name((int)f->kind));
	for (size_t i = 0; i < sizeof(f->reserved2) / sizeof(f->reserved2[0]); i++)
		reserved |= f->reserved2[i];
	if (reserved)
		WRONG("what struct zd_fault reserves must be zero");
	if (f->keep > ZD_KEEP_RANDOM)
		WRONG("there is no choice of survivors with the number %u", f->keep);
	return check_commands(dev, f, err);
}

static int check_overlap(const zd_dev *dev, const struct zd_fault *f, struct zd_error *err)
{
	int i;

	for (i = 0; i < ZD_MAX_FAULTS; i++) {
		const struct zd_fault *o = &dev->faults->rule[i].f;
		uint32_t both = f->commands & o->commands, cmd = 0;

		if (!zd_fault_is_one(o) || zd_fault_is_spent(o) || o->order != f->order || !both ||
		    o->first_zone > f->last_zone || o->last_zone < f->first_zone)
			continue;
		/* Commands without a byte range meet wherever their zones do. */
		if (!(both & ~ZD_DATA_CMDS) &&
		    (zd_fault_from(dev, f) >= zd_fault_to(dev, o) || zd_fault_from(dev, o) >= zd_fault_to(dev, f)))
			continue;
		while (!(both & ZD_CMD_BIT(cmd)))
			cmd++;
		WRONG("fault %u meets the same commands (such as %s in zone %u): give the rules different orders to say which acts",
		      o->id, names[cmd], f->first_zone > o->first_zone ? f->first_zone : o->first_zone);
	}
	return 0;
}

/* Calls about faults work without power, and on a handle that is read-only only look. */

int zd_fault_add(zd_dev *dev, const struct zd_fault *fault, uint32_t *id, struct zd_error *err)
{
	struct zd_fault f = *fault;
	int i, r = zd_enter_writable(dev, err);

	if (!r)
		r = check_rule(dev, &f, err);
	if (!r)
		r = zd_fault_lock(dev, err);
	if (r)
		return r;
	r = check_overlap(dev, &f, err);
	if (r)
		goto out;
	for (i = 0; i < ZD_MAX_FAULTS && dev->faults->rule[i].f.id; i++)
		;
	if (i == ZD_MAX_FAULTS) {
		r = zd_fail(err, -ENOSPC, "%d faults are set already, and more have no room: clear some", ZD_MAX_FAULTS);
		goto out;
	}
	dev->faults->last_id = zd_seq_next(dev->faults->last_id); /* 0 is a free place */
	f.id = *id = dev->faults->last_id;
	f.waiting = 0;
	f.seen = f.matched = 0;
	f.label[sizeof(f.label) - 1] = 0;
	dev->faults->rule[i].f = f;
	dev->faults->rule[i].rng = f.seed ^ (uint64_t)f.kind << 56;
	atomic_store_explicit(&dev->faults->rule[i].id, f.id, memory_order_release);
	dev->faults->nr++;
	zd_fault_set_gate(dev);
out:
	zd_fault_unlock(dev);
	return r;
}

static int each(zd_dev *dev, uint32_t id, bool clear, struct zd_error *err)
{
	int i, r = zd_enter_writable(dev, err), found = 0;

	if (!r)
		r = zd_fault_lock(dev, err);
	if (r)
		return r;
	for (i = 0; i < ZD_MAX_FAULTS; i++) {
		struct zd_fault_rt *rule = &dev->faults->rule[i];

		if (!rule->f.id || (id && rule->f.id != id))
			continue;
		found++;
		if (clear) {
			atomic_store_explicit(&rule->id, 0, memory_order_release);
			rule->f.id = 0;
			dev->faults->nr--;
		} else {
			atomic_fetch_add(&rule->released, 1);
			rule->f.waiting = 0; /* those that were killed while they hung, too */
		}
	}
	if (clear && !id) {
		dev->faults->flush_fault = 0;
		zd_spoiled_clear(dev);
	}
	zd_fault_set_gate(dev);
	zd_fault_unlock(dev);
	return id && !found ? zd_fail(err, -ENOENT, "there is no fault %u", id) : 0;
}

int zd_fault_clear(zd_dev *dev, uint32_t id, struct zd_error *err)
{
	return each(dev, id, true, err);
}

int zd_fault_release(zd_dev *dev, uint32_t id, struct zd_error *err)
{
	return each(dev, id, false, err);
}

int zd_fault_list(zd_dev *dev, struct zd_fault *out, uint32_t max, struct zd_error *err)
{
	struct zd_fault_rt *rule = NULL;
	uint32_t n = 0;
	int r = zd_enter(dev, err);

	if (!r && !dev->readonly)
		r = zd_fault_lock(dev, err);
	if (r)
		return r;
	for (; (rule = zd_fault_next(dev->faults, rule)); n++) {
		if (n < max)
			out[n] = rule->f;
	}
	if (!dev->readonly)
		zd_fault_unlock(dev);
	return (int)n;
}

uint64_t zd_fault_virtual_ns(zd_dev *dev)
{
	return zd_enter(dev, NULL) ? 0 : atomic_load_explicit(&dev->faults->virtual_ns, memory_order_relaxed);
}
