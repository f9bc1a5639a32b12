/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disk: commands. A request and its stages, write pointers and conditions, flushes, and looking at zones.
 * It may call hooks and what is below.
 *
 * From the bottom up: refuse (errors of broken rules), commit (making durable), gate, zrwa (random write areas), write, read, manage
 * (zone commands), map (reading without a copy), report, info, hold (what fault rules do), defer (requests that wait for their
 * time), ops (what each command does), request (the stages), call (the calls that wait: the plain way, else a request on the stack).
 */
#ifndef ZD_DISK_H
#define ZD_DISK_H

#include "device/hooks/hooks.h"
#include "zoned/request.h"

/* ---------------------------------------------------------------- refuse.c */

/* A broken rule: fills err from the zone's state, counts it, returns code. zone may be ZD_NO_ZONE. */
int zd_refuse(zd_dev *dev, struct zd_error *err, int code, int cmd, uint32_t zone, uint64_t offset, uint64_t length,
	      uint64_t bound);
int zd_stopped(zd_dev *dev, struct zd_error *err);          /* zd_powerless(): why */
int zd_refuse_powerless(zd_dev *dev, struct zd_error *err); /* there is no power; marked with the rule that cut it */
int zd_fail_marked(struct zd_error *err);                   /* an earlier host sync failed */

/* ---------------------------------------------------------------- commit.c */

enum zd_commit_kind {
	ZD_COMMIT_FLUSH, /* the emulated flush: durable pointers move */
	ZD_COMMIT_HOST,  /* only the host's side: close, host_sync=command, too many slots pending */
	ZD_COMMIT_RESETS /* no data sync: entries of zones whose old slot waits, as they were right after the reset */
};
struct zd_zones {
	uint32_t first, last;
};
/* zones: of these alone; NULL: of all. t: observers are told of the flush under the lock; may be NULL. */
int zd_commit(zd_dev *dev, enum zd_commit_kind kind, const struct zd_zones *zones, struct zd_traced *t, struct zd_error *err);
/*
 * Nobody is inside any command: every zone that has an entry gets one of what it holds now. For whoever makes zones hold
 * less than their entries tell of, as a cut of the power and a way back to a snapshot do, before somebody writes in the
 * place of what is gone: a crash of the host would bring back the entry, and with it both, mixed. 0, -errno.
 */
int zd_commit_stopped(zd_dev *dev, struct zd_error *err);
/* After a change: what host_sync=command asks for, and room for pending slots. No lock held. */
int zd_after_change(zd_dev *dev, struct zd_error *err);
int zd_mark_dirty(zd_dev *dev, struct zd_error *err); /* first change: the image is no longer clean */

/* ---------------------------------------------------------------- gate.c */

/* The gate is not 0: 0, ZD_SLOW for a command that observers or fault rules of all openers meet, or why it is refused. */
int zd_gate(zd_dev *dev, bool changes, struct zd_error *err);
/* The same for commands that are on the slow way already, whose refusal is recorded: never ZD_SLOW. */
int zd_gate_rest(zd_dev *dev, bool changes, struct zd_error *err);

/* The first stages of every command: 0: the plain way; ZD_SLOW; or why it is refused. */
static inline int zd_begin_change(zd_dev *dev, struct zd_error *err)
{
	int r = zd_enter_command(dev, err);

	if (likely(!r) && unlikely(dev->readonly))
		r = zd_fail(err, ZD_E_READONLY_HANDLE, "the device is open read-only");
	if (likely(!r) && unlikely(atomic_load_explicit(&dev->head->gate, memory_order_acquire)))
		r = zd_gate(dev, true, err);
	return r;
}
static inline int zd_begin_looking(zd_dev *dev, struct zd_error *err)
{
	int r = zd_enter_command(dev, err);

	if (likely(!r) && unlikely(atomic_load_explicit(&dev->head->gate, memory_order_acquire)))
		r = zd_gate(dev, false, err);
	return r;
}

/* ---------------------------------------------------------------- write.c */

enum zd_write_how { ZD_WRITE_BYTES = 0, ZD_WRITE_ZEROES, ZD_WRITE_DROP /* zeros, and the blocks are the host's again */ };
struct zd_write {
	int cmd;                 /* ZD_CMD_WRITE or ZD_CMD_APPEND */
	uint64_t offset, length; /* the whole command, for errors */
	uint64_t part;           /* zd_write_run(): as much is transferred, of a command that is checked as a whole */
	struct zd_source source;
	uint64_t landed;    /* out: where the data begins */
	uint8_t how;        /* enum zd_write_how; all but bytes in conventional zones only */
	bool counted, lost; /* lost: a fault makes the next power cut take it */
	uint64_t *told;     /* zd_write_run(): is set to where the data begins before any of it is stored; or NULL */
};
/* Checks, stores and publishes: bytes, or an error. The place was checked. The second tells observers. */
int64_t zd_write_now(zd_dev *dev, struct zd_write *w, struct zd_error *err);
int64_t zd_write_run(zd_dev *dev, struct zd_write *w, struct zd_traced *t, struct zd_error *err);
bool zd_write_refused(zd_dev *dev, const struct zd_write *w); /* what the rule book says now, without locks */
/* No room on the host, but slots of zones that were reset, held back only till an entry says so, gave some: try again. */
bool zd_write_room(zd_dev *dev, int64_t r);
/* Blocks at the write pointer of a required zone get their place on the host: zd_reserve(). */
int zd_write_reserve(zd_dev *dev, uint64_t offset, uint64_t length, struct zd_error *err);
int zd_write_failed(zd_dev *dev, struct zd_error *err, int r, uint32_t zone); /* the host failed; returns r */
/* A commit opens a closed zone as a write does, under its stripe; and closes it again where nothing could be published. */
int zd_open_to_commit(zd_dev *dev, uint32_t zone, struct zd_zone_rt *rt, const struct zd_cell *cell, struct zd_error *err);
void zd_undo_open_to_commit(zd_dev *dev, uint32_t zone, struct zd_zone_rt *rt);

/* ---------------------------------------------------------------- read.c */

int zd_check_place(zd_dev *dev, int cmd, uint64_t offset, uint64_t length, struct zd_error *err);
/* A zd_zone_at_fn of a zd_dev. */
static inline __attribute__((always_inline)) void zd_zone_now(const void *disk, uint32_t zone, struct zd_rule_zone *z)
{
	const zd_dev *dev = disk;

	zd_zone_as(dev, zone, zd_load_word(dev, zone), z);
}
int zd_ruled(zd_dev *dev, const struct zd_ruling *v, int cmd, uint64_t offset, uint64_t length, struct zd_error *err);
int zd_check_reading(zd_dev *dev, uint64_t offset, uint64_t length, struct zd_error *err); /* of at least a block */
/* All that comes before reading on the plain way: 0, an error, or ZD_SLOW. */
static inline int zd_begin_reading(zd_dev *dev, uint64_t offset, uint64_t length, struct zd_error *err)
{
	int r = zd_begin_looking(dev, err);

	if (likely(!r))
		r = zd_check_place(dev, ZD_CMD_READ, offset, length, err);
	return likely(!r) && likely(length) ? zd_check_reading(dev, offset, length, err) : r;
}
/* What was checked is read: length, or an error. */
int64_t zd_read_now(zd_dev *dev, void *buf, uint64_t length, uint64_t offset, struct zd_error *err);
int64_t zd_read_into(zd_dev *dev, const struct iovec *iov, uint64_t length, uint64_t offset, struct zd_error *err);
int64_t zd_read_give(zd_dev *dev, const struct zd_mover *mover, uint64_t length, uint64_t offset, struct zd_error *err);
/* Read and compared; iov NULL: only read. The bytes that are alike; *differs: the first that is not, on the disk, or ZD_NONE. */
int64_t zd_read_compare(zd_dev *dev, const struct iovec *iov, uint64_t length, uint64_t offset, uint64_t *differs,
			struct zd_error *err);
void zd_count_read(zd_dev *dev, uint32_t zone, uint64_t commands, uint64_t n);

/* ---------------------------------------------------------------- manage.c */

/* One zone command on one zone. t: observers; may be NULL. */
int zd_manage_one(zd_dev *dev, int cmd, uint32_t zone, struct zd_traced *t, struct zd_error *err);
/* The same, done by fault rule `fault`: it meets no rule. */
int zd_manage_by_fault(zd_dev *dev, int cmd, uint32_t zone, uint32_t fault, struct zd_error *err);
/* ZD_CMD_SET_EXTENSION, with as many bytes as the disk's extensions have. */
int zd_manage_extend(zd_dev *dev, uint32_t zone, const uint8_t *bytes, struct zd_traced *t, struct zd_error *err);
int zd_manage_all(zd_dev *dev, int cmd, struct zd_traced *t, struct zd_error *err); /* an ALL form, or POWER_CYCLE */
bool zd_manage_refused(const zd_dev *dev, int cmd, uint32_t zone); /* what the rule book says now, without locks */
bool zd_manage_all_refused(const zd_dev *dev, int cmd);
/* Between zones of one call that covers many; z: the one that is done. 0 or -EINTR. */
int zd_manage_between(zd_dev *dev, uint32_t z, uint64_t *last, struct zd_error *err);

/* ---------------------------------------------------------------- zrwa.c: random write areas */

uint32_t zd_zrwas_used(const zd_dev *dev); /* zones that have one; a look, or under the resource lock */
/* Why OPEN_ZRWA of a zone with this word and cell is refused by what it asks beyond an OPEN: 0 or a rule. */
int zd_zrwa_refused(const zd_dev *dev, uint32_t zone, uint64_t word, const struct zd_cell *cell, uint64_t *bound);
/* What was stored up to `end` in a zone's area, under its stripe: the word, and what it commits. */
void zd_zrwa_publish(zd_dev *dev, uint32_t zone, struct zd_zone_rt *rt, uint64_t wp, uint64_t end);
/* The zone is committed to its capacity, and full; under its stripe. 0 or -EINTR. */
int zd_zrwa_fill(zd_dev *dev, uint32_t zone, struct zd_zone_rt *rt, uint64_t capacity);

/* ---------------------------------------------------------------- report.c */

int64_t zd_report_request(zd_dev *dev, struct zd_request *q, struct zd_error *err); /* ZD_OP_REPORT */
/* Zones start .. start+*count-1 as far as there are any; ZD_E_OUT_OF_RANGE if start is none, nor the end. */
int zd_clip_zones(zd_dev *dev, uint32_t start, uint32_t *count, struct zd_error *err);

/* ---------------------------------------------------------------- a command on the slow way */

struct zd_stages;
/* From a command's beginning to its end. On the stack, but where it is deferred. */
struct zd_run {
	struct zd_request *q;
	const struct zd_stages *op;
	struct zd_error *err, own; /* own: for callers that want none, as observers tell why */
	struct zd_traced t;
	struct zd_command c;
	struct zd_hit hit;
	struct iovec moved;   /* a mover, as struct zd_source has it */
	uint64_t length;      /* data: bytes */
	uint64_t part;        /* as many of them are transferred, of a command that is checked as a whole */
	uint64_t since, last; /* held up: since when; when the interrupt hook was asked */
	uint32_t at, end;     /* zone commands: whose turn it is, and behind the last */
	bool acted;           /* it, or one of its zones, got as far as the disk */
	bool pacing;          /* it is done, and held up until a drive would have done it */
	struct zd_run *next;  /* among the deferred */
	void (*resume)(zd_dev *dev, struct zd_run *run, int r); /* deferred: it goes on, r from zd_hold_look(), and is freed */
};

/* ---------------------------------------------------------------- ops.c: what each op of a request does */

#define ZD_HELD 2 /* a fault rule, or the pace of the handle, holds the command up */
/* What of the request says where, and how long it is. */
enum zd_shape {
	ZD_SHAPE_DATA,   /* its offset and its buffers */
	ZD_SHAPE_RANGE,  /* its offset and its length; it has no buffers */
	ZD_SHAPE_APPEND, /* its zone and its buffers */
	ZD_SHAPE_ZONE,   /* its zone and its count */
	ZD_SHAPE_SET,    /* its zone and its buffers */
	ZD_SHAPE_UPTO,   /* its zone and its offset */
	ZD_SHAPE_WHOLE   /* it concerns the disk */
};

/* What a place may say beside 0, errors and ZD_HELD. */
enum { ZD_NOTHING = ZD_HELD + 1, ZD_UNMET }; /* there is nothing to do; no fault rule meets the command */

struct zd_stages {
	uint8_t cmd; /* as rule book, fault rules and observers know it */
	uint8_t shape;
	bool changes;
	uint16_t flags;                                         /* ZD_REQ_* that it knows */
	int (*place)(zd_dev *dev, struct zd_run *run);          /* fills run->c. 0, ZD_NOTHING, ZD_UNMET, or an error */
	bool (*refused)(zd_dev *dev, const struct zd_run *run); /* what the rule book says now, without locks */
	int64_t (*act)(zd_dev *dev, struct zd_run *run);
};
extern const struct zd_stages zd_ops[];
extern const uint32_t zd_nr_ops;
/* Whether a request of zones lies beyond the last one. */
bool zd_zones_beyond(const zd_dev *dev, const struct zd_run *run);

/* ---------------------------------------------------------------- hold.c */

#define ZD_HOLD_STEP 2000000u            /* ns between two looks at what the shared state says of a held-up command */
bool zd_holds(const struct zd_hit *hit); /* whether it begins by doing so */
/* ZD_HELD, 0: it goes on, or the error with which it ends. *left: ns till its time comes, UINT64_MAX: nobody knows. */
int zd_hold_look(zd_dev *dev, struct zd_run *run, uint64_t *left);
void zd_hold_end(zd_dev *dev, struct zd_run *run); /* nobody waits for what held it any more */
int zd_hold_wait(zd_dev *dev, struct zd_run *run); /* in the thread that gives it */
/* What else comes before it. 0, or the error with which it ends. */
int zd_strike_before(zd_dev *dev, const struct zd_run *run);
/* What comes behind it. result: what the command gave; landed: where its data lies. Returns what the caller gets. */
int64_t zd_strike_after(zd_dev *dev, const struct zd_run *run, int64_t result, uint64_t landed);
int zd_strike_medium(zd_dev *dev, const struct zd_run *run); /* the error of a command that was cut short at hit.cut */
int zd_strike_flush(zd_dev *dev, const struct zd_run *run);  /* a flush that owes an error gives it, once */

/* ---------------------------------------------------------------- defer.c */

/* The run, which was malloced, waits for its time. 0, or -errno: no thread can be started. */
int zd_defer(zd_dev *dev, struct zd_run *run);
void zd_defer_wake(zd_dev *dev);   /* something has changed for all: look again */
void zd_defer_close(zd_dev *dev);  /* all go on, and end as the closing handle says; the thread ends */
void zd_defer_forked(zd_dev *dev); /* they are the parent's */

/* ---------------------------------------------------------------- extend.c: stages of ZD_OP_SET_EXTENSION, as in ops.c */

int zd_extend_place(zd_dev *dev, struct zd_run *run);
bool zd_extend_refused(zd_dev *dev, const struct zd_run *run);
int64_t zd_extend(zd_dev *dev, struct zd_run *run);

/* ---------------------------------------------------------------- commitzrwa.c: stages of ZD_OP_COMMIT_ZRWA, as in ops.c */

int zd_commit_place(zd_dev *dev, struct zd_run *run);
bool zd_commit_refused(zd_dev *dev, const struct zd_run *run);
int64_t zd_commit_act(zd_dev *dev, struct zd_run *run);

/* ---------------------------------------------------------------- request.c */

/* A request without `done`, from its first stage to its last, in this thread; its result. */
int64_t zd_run_here(zd_dev *dev, struct zd_request *q);

#endif
