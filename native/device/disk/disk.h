/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disk: commands. The gate, the order in which rule book, fault rules, store and observers are asked, write pointers and
 * conditions, flushes, and looking at zones. It may call hooks and what is below.
 *
 * From the bottom up: gate (refusals), commit (making durable), flush, manage (zone commands), hold (what fault rules do),
 * read, write, report, info.
 */
#ifndef ZD_DISK_H
#define ZD_DISK_H

#include "device/hooks/hooks.h"

/* ---------------------------------------------------------------- gate.c */

#define ZD_SLOW 1 /* what zd_gate() answers for a command that goes by way of traces and fault rules */
/* A broken rule: fills err from the zone's state, counts it, returns code. zone may be ZD_NO_ZONE. */
int zd_refuse(zd_dev *dev, struct zd_error *err, int code, int cmd, uint32_t zone, uint64_t offset,
	      uint64_t length, uint64_t bound);
int zd_stopped(zd_dev *dev, struct zd_error *err); /* zd_powerless(): why */
int zd_refuse_powerless(zd_dev *dev, struct zd_error *err); /* there is no power; marked with the rule that cut it */
int zd_fail_marked(struct zd_error *err); /* an earlier host sync failed */
/* The gate is not 0: 0, ZD_SLOW, or why the command is refused. */
int zd_gate(zd_dev *dev, bool changes, struct zd_error *err);
/* The same for commands that are on the slow way already, whose refusal is recorded: never ZD_SLOW. */
int zd_gate_rest(zd_dev *dev, bool changes, struct zd_error *err);

/* ---------------------------------------------------------------- commit.c */

enum zd_commit_kind {
	ZD_COMMIT_FLUSH,  /* the emulated flush: durable pointers move */
	ZD_COMMIT_HOST,   /* only the host's side: close, host_sync=command, too many slots pending */
	ZD_COMMIT_RESETS  /* no data sync: entries of zones whose old slot waits, as they were right after the reset */
};
int zd_commit(zd_dev *dev, enum zd_commit_kind kind, struct zd_traced *t, struct zd_error *err);
/* After a change: what host_sync=command asks for, and room for pending slots. No lock held. */
int zd_after_change(zd_dev *dev, struct zd_error *err);
int zd_mark_dirty(zd_dev *dev, struct zd_error *err); /* first change: the image is no longer clean */

/* ---------------------------------------------------------------- manage.c */

/* One zone command on one zone, done by fault rule `fault`: it meets no rule. */
int zd_mgmt_one(zd_dev *dev, int cmd, uint32_t zone, uint32_t fault, struct zd_error *err);

/* ---------------------------------------------------------------- hold.c */

/*
 * The gate said ZD_SLOW: look at the rest of the gate and begin to record. zone ZD_NO_ZONE, offset ZD_NONE: there is
 * none. Negative: the command is refused, and has been recorded.
 */
int zd_trace_begin(zd_dev *dev, struct zd_traced *t, int cmd, uint32_t zone, uint64_t offset, uint64_t length, bool changes,
		   struct zd_error **err);
/*
 * Count the command with the rules and do what comes before it. 0: go on, and call zd_fault_after(); negative: that is the
 * command's result.
 */
int zd_fault_before(zd_dev *dev, const struct zd_command *c, struct zd_hit *hit, struct zd_error *err);
/* result: what the command gave (< 0: err is filled); landed: where its data lies. Returns what the caller gets. */
int64_t zd_fault_after(zd_dev *dev, const struct zd_command *c, const struct zd_hit *hit, int64_t result,
		       uint64_t landed, struct zd_error *err);
/* The error of a command that was cut short at hit->cut. */
int zd_fault_medium(zd_dev *dev, const struct zd_command *c, const struct zd_hit *hit, struct zd_error *err);
/* A flush that owes an error gives it, once. */
int zd_fault_flush(zd_dev *dev, struct zd_error *err);

/* ---------------------------------------------------------------- read.c, for all data commands */

int zd_check_place(zd_dev *dev, int cmd, uint64_t offset, uint64_t length, struct zd_error *err);
/* A zd_zone_at_fn of a zd_dev. */
static inline __attribute__((always_inline)) void zd_zone_now(const void *disk, uint32_t zone, struct zd_rule_zone *z)
{
	const zd_dev *dev = disk;

	zd_zone_as(dev, zone, zd_load_word(dev, zone), z);
}
int zd_ruled(zd_dev *dev, const struct zd_ruling *v, int cmd, uint64_t offset, uint64_t length, struct zd_error *err);

#endif
