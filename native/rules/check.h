/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The order of checks and what a command makes of a zone, on plain values: no lock, no I/O, no disk. Whoever keeps
 * zones (the device, the simulation, a judge of traces) hands in what a zone is at that moment and is told which rule
 * the command breaks first, or what the zone becomes. Everything is inline, as a 4 KiB write asks all of it.
 *
 * Sources of the order: scsi_debug's check_zbc_access_params() for zbc, QEMU's nvme_check_zone_write() and
 * nvme_check_zone_read() for zns, null_blk's null_zone_write() for nullblk.
 */
#ifndef ZD_RULES_CHECK_H
#define ZD_RULES_CHECK_H

#include "zoned/zoned.h"

#include <stdbool.h>

#define ZD_INLINE static inline __attribute__((always_inline))

/* The disk, as far as rules depend on it. Bytes; 0 of a limit: there is none. */
struct zd_rulebook {
	uint64_t size, append_limit;
	uint32_t nr_zones, logical_block, physical_block, max_open, max_active;
	uint32_t zrwa_size, zrwa_granularity, zrwa_count;
	uint8_t dialect, model, implicit_close, unrestricted_read;
};

/* A zone at one moment. */
struct zd_rule_zone {
	uint64_t start, length, capacity; /* bytes; start on the disk */
	uint64_t written;                 /* bytes up to the write pointer; nothing in a conventional zone */
	int type, cond;                   /* enum zd_type, enum zd_cond */
	bool zrwa;                        /* it has a random write area, from the write pointer on */
};

/* What is broken: rule 0 means nothing. */
struct zd_ruling {
	int rule;       /* ZD_E_*; ZD_E_CORRUPT: the zone is in a condition that its type cannot have */
	uint32_t zone;  /* the one that is concerned */
	uint64_t bound; /* as in struct zd_error */
};

/* ---------------------------------------------------------------- types */

/* Whether a zone has a write pointer. */
ZD_INLINE bool zd_type_has_wp(int type)
{
	return type != ZD_CONVENTIONAL;
}
/* Whether what is written stays as it is until a reset: writes only at the write pointer. */
ZD_INLINE bool zd_type_append_only(int type)
{
	return type == ZD_SEQ_WRITE_REQUIRED;
}
/* The condition of a zone that is as new. */
ZD_INLINE int zd_type_initial(int type)
{
	return zd_type_has_wp(type) ? ZD_EMPTY : ZD_NOT_WP;
}
ZD_INLINE bool zd_cond_open(int cond)
{
	return cond == ZD_IMPLICIT_OPEN || cond == ZD_EXPLICIT_OPEN;
}
ZD_INLINE bool zd_cond_active(int cond)
{
	return zd_cond_open(cond) || cond == ZD_CLOSED;
}
/* Whether the write pointer of a zone that has one is valid in this condition (ZBC-2 table 6). */
ZD_INLINE bool zd_cond_wp_valid(int cond)
{
	return cond >= ZD_EMPTY && cond <= ZD_CLOSED;
}

/* ---------------------------------------------------------------- where a command may lie */

ZD_INLINE int zd_check_range(const struct zd_rulebook *b, uint64_t offset, uint64_t length, uint64_t *bound)
{
	if (__builtin_expect(((offset | length) & (b->logical_block - 1)) != 0, 0)) {
		*bound = b->logical_block;
		return ZD_E_BLOCK_ALIGNMENT;
	}
	if (__builtin_expect(offset > b->size || length > b->size - offset, 0)) {
		*bound = b->size;
		return ZD_E_OUT_OF_RANGE;
	}
	return 0;
}

/* An append, before its zone's condition is looked at. */
ZD_INLINE int zd_check_append(const struct zd_rulebook *b, int type, uint64_t length, uint64_t *bound)
{
	if (__builtin_expect((length & (b->logical_block - 1)) != 0, 0)) {
		*bound = b->logical_block;
		return ZD_E_BLOCK_ALIGNMENT;
	}
	*bound = 0;
	if (__builtin_expect(!zd_type_has_wp(type), 0))
		return ZD_E_CONVENTIONAL;
	*bound = b->append_limit;
	return __builtin_expect(b->append_limit && length > b->append_limit, 0) ? ZD_E_APPEND_LIMIT : 0;
}

/* ---------------------------------------------------------------- writing */

/*
 * A write in a zone that has a random write area, whose condition allows it: what it moves the area by is at most the area's size.
 * QEMU's nvme_check_zone_write().
 */
ZD_INLINE int zd_check_zrwa_write(const struct zd_rulebook *b, const struct zd_rule_zone *z, int cmd, uint64_t rel,
				  uint64_t length, uint64_t *bound)
{
	*bound = z->start + z->written;
	if (cmd == ZD_CMD_APPEND)
		return ZD_E_ZONE_OPERATION;
	if (rel < z->written || rel + length > z->written + 2ull * b->zrwa_size)
		return ZD_E_OUTSIDE_ZRWA;
	*bound = z->start + z->capacity;
	return rel + length > z->capacity ? ZD_E_WRITE_BOUNDARY : 0;
}

/*
 * A write or append within one sequential zone; rel: where it begins, bytes from the zone's start (an append: what is
 * written). cell: zd_cell() of the zone for cmd.
 */
ZD_INLINE int zd_check_write(const struct zd_rulebook *b, const struct zd_rule_zone *z, const struct zd_cell *cell, int cmd,
			     uint64_t rel, uint64_t length, uint64_t *bound)
{
	bool crosses = rel + length > z->capacity;

	*bound = z->start + z->capacity;
	if (b->dialect == ZD_ZBC && cmd == ZD_CMD_WRITE) {
		if (rel >= z->capacity)
			return ZD_E_GAP;
		if (crosses)
			return ZD_E_WRITE_BOUNDARY;
	}
	if (cell->next == ZD_NEXT_ERROR)
		return cell->error;
	if (__builtin_expect(z->zrwa, 0))
		return zd_check_zrwa_write(b, z, cmd, rel, length, bound);
	*bound = z->start + z->written;
	if (rel != z->written && !(cell->effects & ZD_FX_NON_SEQ))
		return ZD_E_UNALIGNED_WRITE;
	*bound = z->start + z->capacity;
	if (crosses)
		return ZD_E_WRITE_BOUNDARY;
	*bound = z->start + z->written;
	if (b->dialect == ZD_ZBC && zd_type_append_only(z->type) && length % b->physical_block)
		return ZD_E_UNALIGNED_WRITE;
	return 0;
}

/* ---------------------------------------------------------------- random write areas */

/* Where the write pointer stands behind a write that ends at `end` in an area: the implicit commit. */
ZD_INLINE uint64_t zd_rule_zrwa_wp(const struct zd_rulebook *b, uint64_t wp, uint64_t end)
{
	uint64_t over = end > wp + b->zrwa_size ? end - wp - b->zrwa_size : 0, granule = b->zrwa_granularity;

	return wp + (over + granule - 1) / granule * granule;
}

/* An OPEN that asks for an area, before the zone's condition is looked at (QEMU's nvme_open_zone()). */
ZD_INLINE int zd_check_zrwa_open(const struct zd_rulebook *b, const struct zd_rule_zone *z)
{
	if (!zd_type_has_wp(z->type))
		return ZD_E_CONVENTIONAL;
	if (!b->zrwa_size)
		return ZD_E_ZONE_OPERATION;
	return zd_cond_wp_valid(z->cond) && z->written % b->zrwa_granularity ? ZD_E_ZRWA_UNAVAILABLE : 0;
}
/* Behind the limits of open and active zones; used: zones that have an area. One that has one keeps it. */
ZD_INLINE int zd_rule_take_zrwa(const struct zd_rulebook *b, const struct zd_rule_zone *z, uint32_t used)
{
	return !z->zrwa && used >= b->zrwa_count ? ZD_E_ZRWA_UNAVAILABLE : 0;
}

/* An explicit commit up to rel, before resources are looked at (QEMU's nvme_zone_mgmt_send_zrwa_flush()). */
ZD_INLINE int zd_check_zrwa_commit(const struct zd_rulebook *b, const struct zd_rule_zone *z, uint64_t rel, uint64_t *bound)
{
	uint64_t end = z->written + b->zrwa_size;

	*bound = 0;
	if (!zd_type_has_wp(z->type))
		return ZD_E_CONVENTIONAL;
	if (!b->zrwa_size)
		return ZD_E_ZONE_OPERATION;
	if (!z->zrwa)
		return ZD_E_COMMIT;
	*bound = z->start + (end < z->capacity ? end : z->capacity);
	if (rel <= z->written || z->start + rel > *bound)
		return ZD_E_WRITE_BOUNDARY;
	*bound = b->zrwa_granularity;
	return rel % b->zrwa_granularity ? ZD_E_COMMIT : 0;
}

/* Fills in a zone of `disk`. */
typedef void zd_zone_at_fn(const void *disk, uint32_t zone, struct zd_rule_zone *out);

/*
 * A write over zones first .. last that may be overwritten, of the first one's type: where each part may lie, and
 * each zone's condition.
 */
ZD_INLINE void zd_check_write_over(const struct zd_rulebook *b, zd_zone_at_fn *at, const void *disk, uint32_t first,
				   uint32_t last, uint64_t offset, uint64_t length, struct zd_ruling *v)
{
	uint64_t end = offset + length;
	int type = 0;

	v->rule = 0;
	for (v->zone = first; v->zone <= last; v->zone++) {
		const struct zd_cell *cell;
		struct zd_rule_zone z;
		uint64_t from, to;

		at(disk, v->zone, &z);
		from = offset > z.start ? offset : z.start;
		to = end < z.start + z.length ? end : z.start + z.length;
		if (v->zone == first)
			type = z.type;
		v->bound = z.start + z.capacity;
		if (z.type != type) {
			v->rule = ZD_E_WRITE_BOUNDARY;
			v->bound = z.start;
			v->zone--;
		} else if (from - z.start >= z.capacity) {
			v->rule = ZD_E_GAP;
		} else if (to - z.start > z.capacity) {
			v->rule = ZD_E_WRITE_BOUNDARY;
		} else {
			cell = zd_cell(b->dialect, z.type, z.cond, ZD_CMD_WRITE);
			v->rule = !cell ? ZD_E_CORRUPT : cell->next == ZD_NEXT_ERROR ? cell->error : 0;
		}
		if (v->rule)
			return;
	}
}

/* ---------------------------------------------------------------- reading */

/* A read of at least a block in zones first .. last. */
ZD_INLINE void zd_check_read(const struct zd_rulebook *b, zd_zone_at_fn *at, const void *disk, uint32_t first, uint32_t last,
			     uint64_t offset, uint64_t length, struct zd_ruling *v)
{
	uint64_t end = offset + length;
	struct zd_rule_zone z, tail;
	uint32_t zone;

	at(disk, first, &z);
	v->zone = first;
	if (b->dialect == ZD_ZBC) {
		v->bound = z.start + z.capacity;
		v->rule = ZD_E_GAP;
		if (__builtin_expect(offset >= v->bound, 0))
			return;
		if (b->model == ZD_HOST_MANAGED) {
			/* As scsi_debug: only where it begins and where it ends count. The gap is a type of its own. */
			tail = z;
			if (__builtin_expect(first != last, 0))
				at(disk, last, &tail);
			v->rule = ZD_E_READ_TYPE;
			v->bound = tail.start;
			if (zd_type_has_wp(z.type) != zd_type_has_wp(tail.type))
				return;
			v->bound = tail.start + tail.capacity;
			if (end > v->bound) {
				v->zone = last;
				return;
			}
			/* A required zone's border counts wherever it lies, between conventional ends too. */
			for (zone = first; !b->unrestricted_read && first != last && zone <= last; zone++) {
				at(disk, zone, &tail);
				if (zd_type_has_wp(tail.type)) {
					v->rule = ZD_E_READ_BOUNDARY;
					v->bound = z.start + z.length;
					return;
				}
			}
		}
	} else if (b->dialect == ZD_ZNS && !b->unrestricted_read && first != last && z.cond != ZD_OFFLINE) {
		/* A dead first zone is told of first, as QEMU's nvme_check_zone_read() does. */
		v->rule = ZD_E_READ_BOUNDARY;
		v->bound = z.start + z.length;
		return;
	}
	for (zone = first;;) {
		const struct zd_cell *cell = zd_cell(b->dialect, z.type, z.cond, ZD_CMD_READ);

		v->zone = zone;
		v->bound = 0;
		v->rule = __builtin_expect(!cell, 0) ? ZD_E_CORRUPT : cell->next == ZD_NEXT_ERROR ? cell->error : 0;
		if (__builtin_expect(v->rule, 0))
			return;
		/* URSWRZ off: only required zones with a valid write pointer are restricted (ZBC-2 4.5.3.2.2). */
		if (__builtin_expect(!b->unrestricted_read && b->dialect == ZD_ZBC, 0) && zd_type_append_only(z.type) &&
		    z.cond <= ZD_CLOSED && end > z.start + z.written) {
			v->rule = ZD_E_INVALID_READ;
			v->bound = z.start + z.written;
			return;
		}
		if (++zone > last)
			return;
		at(disk, zone, &z);
	}
}

/*
 * What is read where nothing was written: zeros. null_blk shows 0xFF; its pointer stands at the zone's end after
 * FINISH, at the capacity when the zone was filled, and beyond everything when the zone is dead.
 */
ZD_INLINE int zd_rule_filler(int dialect, int type, int cond, bool finished)
{
	if (dialect != ZD_NULLBLK || !zd_type_has_wp(type))
		return 0;
	return cond <= ZD_CLOSED || (cond == ZD_FULL && !finished) ? 0xFF : 0;
}

/* ---------------------------------------------------------------- what becomes of the zone */

/* The condition that a cell leads to; not for ZD_NEXT_SAME and ZD_NEXT_ERROR. written: bytes in the zone before. */
ZD_INLINE int zd_rule_next(int next, int type, uint64_t written)
{
	switch (next) {
	case ZD_NEXT_EMPTY: return ZD_EMPTY;
	case ZD_NEXT_IMPLICIT_OPEN: return ZD_IMPLICIT_OPEN;
	case ZD_NEXT_EXPLICIT_OPEN: return ZD_EXPLICIT_OPEN;
	case ZD_NEXT_CLOSED: return ZD_CLOSED;
	case ZD_NEXT_CLOSED_OR_EMPTY: return written ? ZD_CLOSED : ZD_EMPTY;
	case ZD_NEXT_FULL: return ZD_FULL;
	case ZD_NEXT_READ_ONLY: return ZD_READ_ONLY;
	case ZD_NEXT_OFFLINE: return ZD_OFFLINE;
	default: return zd_type_initial(type);
	}
}

/* ---------------------------------------------------------------- open and active resources */

struct zd_resources {
	uint32_t nr_implicit, nr_explicit, nr_closed; /* zones in these conditions */
};
#define ZD_TAKE_AFTER_CLOSE 1 /* an implicitly open zone has to be closed first */

/* One more zone wants what effects say (enum zd_effect): 0, ZD_TAKE_AFTER_CLOSE, or the rule that forbids it. */
ZD_INLINE int zd_rule_take(const struct zd_rulebook *b, const struct zd_resources *now, unsigned effects)
{
	uint32_t open = now->nr_implicit + now->nr_explicit, active = open + now->nr_closed;

	if ((effects & ZD_FX_ACTIVE) && b->max_active && active >= b->max_active)
		return ZD_E_TOO_MANY_ACTIVE;
	if (!(effects & ZD_FX_OPEN) || !b->max_open || open < b->max_open)
		return 0;
	if (now->nr_implicit == 0)
		return ZD_E_TOO_MANY_OPEN;
	/* null_check_open() asks for active headroom even where closing another would do. */
	if (b->dialect == ZD_NULLBLK && b->max_active && active >= b->max_active)
		return ZD_E_TOO_MANY_OPEN;
	return ZD_TAKE_AFTER_CLOSE;
}
/* What an implicitly open zone becomes that is closed to make room. */
ZD_INLINE int zd_rule_closed(const struct zd_rulebook *b, int type, uint64_t written)
{
	return zd_rule_next(zd_cell(b->dialect, type, ZD_IMPLICIT_OPEN, ZD_CMD_CLOSE)->next, type, written);
}
/* The limit that such a rule speaks of. */
ZD_INLINE uint64_t zd_rule_limit(const struct zd_rulebook *b, int rule)
{
	return rule == ZD_E_TOO_MANY_OPEN ? b->max_open : rule == ZD_E_TOO_MANY_ACTIVE ? b->max_active : 0;
}
/* OPEN ALL with so many zones CLOSED: zbc opens all or none (ZBC-2 5.4), the others as many as they can. */
ZD_INLINE int zd_rule_open_all(const struct zd_rulebook *b, uint32_t closed, uint32_t nr_explicit)
{
	return b->dialect == ZD_ZBC && b->model == ZD_HOST_MANAGED && b->max_open && closed + nr_explicit > b->max_open ?
		       ZD_E_TOO_MANY_OPEN :
		       0;
}

#endif
