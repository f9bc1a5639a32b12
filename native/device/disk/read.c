/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading. A read of sequential zones holds nothing: it copies and then looks whether the zone's generation is still the
 * same, as only a reset makes written bytes change. A read of zones that may be overwritten holds the stripe, so that it
 * never sees half a write.
 */
#include "device/disk/disk.h"

int zd_check_place(zd_dev *dev, int cmd, uint64_t offset, uint64_t length, struct zd_error *err)
{
	uint64_t bound;
	int r = zd_check_range(&dev->g.book, offset, length, &bound);

	if (unlikely(r))
		return zd_refuse(dev, err, r, cmd, offset < dev->g.h.size ? zd_zone_of(dev, offset) : ZD_NO_ZONE, offset, length, bound);
	return 0;
}

/* What the rules said of a command. */
int zd_ruled(zd_dev *dev, const struct zd_ruling *v, int cmd, uint64_t offset, uint64_t length, struct zd_error *err)
{
	if (likely(!v->rule))
		return 0;
	if (v->rule == ZD_E_CORRUPT)
		return zd_fail(err, ZD_E_CORRUPT, "zone %u has a condition that its type cannot have", v->zone);
	return zd_refuse(dev, err, v->rule, cmd, v->zone, offset, length, v->bound);
}

static int check_read(zd_dev *dev, uint64_t offset, uint64_t length, struct zd_error *err)
{
	struct zd_ruling v;

	zd_check_read(&dev->g.book, zd_zone_now, dev, zd_zone_of(dev, offset), zd_zone_of(dev, offset + length - 1), offset, length, &v);
	return zd_ruled(dev, &v, ZD_CMD_READ, offset, length, err);
}

static void count_read(zd_dev *dev, uint32_t zone, uint64_t commands, uint64_t n)
{
	struct zd_zone_rt *rt;

	if (dev->readonly || zd_zone_get(dev, zone, &rt))
		return;
	if (commands)
		atomic_fetch_add_explicit(&rt->reads, commands, memory_order_relaxed);
	atomic_fetch_add_explicit(&rt->bytes_read, n, memory_order_relaxed);
}

static int begin_read(zd_dev *dev, uint64_t offset, uint64_t length, struct zd_error *err)
{
	int r = zd_enter(dev, err);

	if (likely(!r) && unlikely(atomic_load_explicit(&dev->head->gate, memory_order_acquire)))
		r = zd_gate(dev, false, err);
	if (likely(!r))
		r = zd_check_place(dev, ZD_CMD_READ, offset, length, err);
	if (likely(!r) && likely(length))
		r = check_read(dev, offset, length, err);
	return r;
}

int64_t zd_map_begin(zd_dev *dev, uint64_t offset, uint64_t length, const void **at, struct zd_error *err)
{
	uint64_t rel, valid, filled;
	struct zd_zone_rt *rt;
	uint32_t zone, slot;
	uint8_t *base;
	int r = begin_read(dev, offset, length, err);

	if (unlikely(r))
		return r == ZD_SLOW ? 0 : r; /* with fault rules: by zd_pread(), which meets them */
	if (length == 0 || dev->readonly || dev->view)
		return 0;
	zone = zd_zone_of(dev, offset);
	rel = offset - zd_zone_start(dev, zone);
	rt = zd_zone_peek(dev, zone);
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
	count_read(dev, zone, 1, valid);
	return (int64_t)valid;
}

void zd_map_end(zd_dev *dev, uint64_t offset)
{
	zd_unlock_zone(dev, zd_zone_of(dev, offset));
}

static inline __attribute__((always_inline)) int64_t read_now(zd_dev *dev, void *buf, uint64_t length, uint64_t offset,
							      struct zd_error *err)
{
	uint64_t done = 0, last = 0;
	int r;

	if (length > ZD_IO_CHUNK)
		last = zd_now();
	while (done < length) {
		uint64_t at = offset + done, n = length - done;
		uint32_t zone = zd_zone_of(dev, at);
		uint64_t rel = at - zd_zone_start(dev, zone), in_zone = zd_zone_length(dev, zone) - rel;

		if (n > in_zone)
			n = in_zone;
		if (n > ZD_IO_CHUNK)
			n = ZD_IO_CHUNK;
		r = zd_zone_load(dev, zone, rel, (uint8_t *)buf + done, n);
		if (unlikely(r)) {
			zd_fail_host(err, -r, r == -EINTR ? "interrupted" : "the host could not read the data back");
			if (err)
				err->zone = zone;
			return r;
		}
		count_read(dev, zone, done == 0, n);
		done += n;
		if (unlikely(done < length) && zd_interrupted(dev, &last)) {
			zd_fail_host(err, EINTR, "interrupted");
			return -EINTR;
		}
	}
	return (int64_t)length;
}

/* As zd_pread(), with fault rules. */
static int64_t read_met(zd_dev *dev, void *buf, uint64_t length, uint64_t offset, struct zd_traced *t, struct zd_error *err)
{
	struct zd_command c = { ZD_CMD_READ, 0, 0, offset, length, false };
	struct zd_hit hit;
	int64_t done = 0;
	int r = zd_check_place(dev, ZD_CMD_READ, offset, length, err);

	if (r || length == 0)
		return r;
	c.first = zd_zone_of(dev, offset);
	c.last = zd_zone_of(dev, offset + length - 1);
	c.refused = check_read(dev, offset, length, &zd_asking) != 0;
	r = zd_fault_before(dev, &c, &hit, err);
	if (r)
		return r;
	done = check_read(dev, offset, length, err);
	if (done == 0 && hit.cut)
		done = read_now(dev, buf, hit.cut, offset, err);
	t->r.done = done > 0 ? (uint64_t)done : 0;
	if (done >= 0 && hit.cut < length)
		return zd_fault_medium(dev, &c, &hit, err);
	if (done >= 0 && hit.kind == ZD_FAULT_FLIP_READ)
		((uint8_t *)buf)[hit.at - offset + hit.bit / 8] ^= (uint8_t)(1u << hit.bit % 8);
	return zd_fault_after(dev, &c, &hit, done, offset, err);
}

static __attribute__((noinline, cold)) int64_t read_slowly(zd_dev *dev, void *buf, uint64_t length, uint64_t offset,
							   struct zd_error *err)
{
	struct zd_traced t;
	int r = zd_trace_begin(dev, &t, ZD_CMD_READ, ZD_NO_ZONE, offset, length, false, &err);

	return r ? r : zd_trace_end(dev, &t, read_met(dev, buf, length, offset, &t, err), err);
}

int64_t zd_pread(zd_dev *dev, void *buf, uint64_t length, uint64_t offset, struct zd_error *err)
{
	int r = begin_read(dev, offset, length, err);

	if (unlikely(r))
		return r == ZD_SLOW ? read_slowly(dev, buf, length, offset, err) : r;
	return read_now(dev, buf, length, offset, err);
}
