/* SPDX-License-Identifier: Apache-2.0 */
/*
 * zoned/request.h - a command as an object: giving one without waiting for it, and ending one.
 *
 * A struct zd_request says what is wanted and where, and is filled with what came of it. zd_submit() carries it out in
 * the thread that gives it, and completes it there, if nothing stands in its way: that is the rule. A fault rule that
 * holds it up defers it: zd_submit() returns at once, and the request waits for its time
 * holding neither a thread nor a lock of the disk. A thread of the handle, which the first deferred request starts,
 * then carries it out and completes it. So a server answers an abort or a keep-alive while a command hangs, and a
 * thousand held-up commands cost a thousand requests and one thread.
 *
 * The other calls (zd_pwrite(), zd_zone_mgmt(), ...) are requests on the stack without `done`: they return once
 * the command has ended, however long it was held up.
 *
 * Stages      enter, gate (power, a failed image), place, fault rules, deferring, locks, rule book, store, publishing,
 *             observers, completion. docs/design.md tells of each.
 * Memory      The request, its buffers and *err belong to the library from zd_submit() until it has been completed, and
 *             must stay where they are. In `done` they are the caller's again: it may free or submit the request there.
 * Threads     `done` runs in the submitting thread, in the one that cancels it, or in the handle's own. No lock of the disk is held, and any call but
 *             zd_close() may be made from it. What it does there keeps other deferred requests waiting: be brief.
 *             In the handle's own thread zd_submit() may be called from it too.
 * Order       Requests that are not deferred take effect in the order of their submission. A deferred one takes effect
 *             when its time has come, as if it were given then: the write pointer may have moved.
 * fork        A forked child has none of its parent's deferred requests: they are completed in the parent alone.
 * Closing     zd_close() completes deferred requests with ZD_E_CLOSED before it returns; zd_end_hangs() lets them end.
 *
 * enum zd_report_filter: the numbers are REPORTING OPTIONS of ZBC-2 REPORT ZONES, and up to 7 the Zone Receive
 * Action Specific field of ZNS 1.1 as well.
 */
#ifndef ZONED_REQUEST_H
#define ZONED_REQUEST_H

#include "zoned/abi.h"
#include "zoned/zone.h"

#include <sys/uio.h>

ZD_BEGIN

/*
 * What is wanted. Numbers below 32 are those of enum zd_cmd. Each of the others meets the rule book, fault rules and
 * observers as the command that it is to the medium, which its line names.
 *
 * READ           offset, iov. Fills the buffers. As zd_pread().
 * WRITE          offset, iov. As zd_pwrite(). Flag FUA.
 * APPEND         zone, iov. landed: where. As zd_append(). Flag FUA.
 * OPEN .. RESET  zone, count (at least 1), or flag ALL. As zd_zone_mgmt(); so are OPEN_ALL .. RESET_ALL.
 * POWER_CYCLE    As zd_power_cycle().
 * SET_*          zone, count. As zd_set_condition().
 * SET_EXTENSION  zone, iov. As zd_zone_set_extension().
 * OPEN_ZRWA      zone, count 1. As zd_zone_open_zrwa().
 * COMMIT_ZRWA    zone, offset. As zd_zone_commit_zrwa(), to the offset.
 * FLUSH          length 0: the whole disk, as zd_flush(). Else offset and length: what was written in the zones that this
 *                range touches, and all that the host must sync for it; other zones keep what is durable of them.
 * VERIFY         (READ) offset, length. Reads what is there and hands over nothing: MEDIUM_READ where that fails.
 * COMPARE        (READ) offset, iov. ZD_E_MISCOMPARE with bound: the first byte that differs, on the disk.
 * WRITE_ZEROES   (WRITE) offset, length. Conventional zones only: elsewhere ZD_E_SEQUENTIAL. Flag FUA.
 * DEALLOCATE     (WRITE) offset, length. As WRITE_ZEROES, but whole blocks of the host are given back to it. A drive may
 *                leave such blocks as they are; here they read as zeros from then on.
 * REPORT         zone, count, zones, filter: zones from `zone` on that match, up to `count` of them. result: how many match
 *                up to the end of the disk, more than `count` perhaps; with flag PARTIAL how many were filled. Meets no
 *                fault rule and no observer.
 */
enum zd_op {
	ZD_OP_READ = ZD_CMD_READ,
	ZD_OP_WRITE = ZD_CMD_WRITE,
	ZD_OP_APPEND = ZD_CMD_APPEND,
	ZD_OP_OPEN = ZD_CMD_OPEN,
	ZD_OP_CLOSE = ZD_CMD_CLOSE,
	ZD_OP_FINISH = ZD_CMD_FINISH,
	ZD_OP_RESET = ZD_CMD_RESET,
	ZD_OP_OPEN_ALL = ZD_CMD_OPEN_ALL,
	ZD_OP_CLOSE_ALL = ZD_CMD_CLOSE_ALL,
	ZD_OP_FINISH_ALL = ZD_CMD_FINISH_ALL,
	ZD_OP_RESET_ALL = ZD_CMD_RESET_ALL,
	ZD_OP_POWER_CYCLE = ZD_CMD_POWER_CYCLE,
	ZD_OP_SET_EMPTY = ZD_CMD_SET_EMPTY,
	ZD_OP_SET_READ_ONLY = ZD_CMD_SET_READ_ONLY,
	ZD_OP_SET_OFFLINE = ZD_CMD_SET_OFFLINE,
	ZD_OP_FLUSH = ZD_CMD_FLUSH,
	ZD_OP_SET_EXTENSION = ZD_CMD_SET_EXTENSION,
	ZD_OP_OPEN_ZRWA = ZD_CMD_OPEN_ZRWA,
	ZD_OP_COMMIT_ZRWA = ZD_CMD_COMMIT_ZRWA,
	ZD_OP_VERIFY = 32,
	ZD_OP_COMPARE = 33,
	ZD_OP_WRITE_ZEROES = 34,
	ZD_OP_DEALLOCATE = 35,
	ZD_OP_REPORT = 36
};

/* Flags of a request; a bit that its op does not know is -EINVAL. */
#define ZD_REQ_FUA 1u     /* what was written is durable when the request completes, as by a FLUSH of its zones */
#define ZD_REQ_ALL 2u     /* OPEN, CLOSE, FINISH, RESET: all zones; zone and count are not looked at */
#define ZD_REQ_PARTIAL 4u /* REPORT: result counts the zones that were filled */

/* Which zones a report lists. */
enum zd_report_filter {
	ZD_REPORT_ANY = 0x00,
	ZD_REPORT_EMPTY = 0x01,
	ZD_REPORT_IMPLICIT_OPEN = 0x02,
	ZD_REPORT_EXPLICIT_OPEN = 0x03,
	ZD_REPORT_CLOSED = 0x04,
	ZD_REPORT_FULL = 0x05,
	ZD_REPORT_READ_ONLY = 0x06,
	ZD_REPORT_OFFLINE = 0x07,
	ZD_REPORT_RESET_RECOMMENDED = 0x10,
	ZD_REPORT_NON_SEQ = 0x11,
	ZD_REPORT_NOT_WP = 0x3F
};

/*
 * Data that lies elsewhere than in this process's memory (with ublk: in a request of the kernel's), and how it is moved: straight
 * to the disk's mapping and from there. `at` is an offset in the command's data, `n` at least 1; 0 or -errno, with which the
 * command then ends (a write as if the host had failed to store it). Bytes may be asked for twice, and given twice, of which the
 * last are right. Called in the thread that carries the command out, with the lock of a zone held: like a copy in
 * memory it must wait for nothing and use nothing of the disk. It must stay where it is until the request is complete.
 */
struct zd_mover {
	int (*take)(const struct zd_mover *mover, uint64_t at, void *to, uint64_t n);         /* WRITE, APPEND */
	int (*give)(const struct zd_mover *mover, uint64_t at, const void *from, uint64_t n); /* READ */
};

/* Begin with all zero, then size and what the op asks for. */
struct zd_request {
	uint32_t size;           /* sizeof(struct zd_request) as the caller was compiled */
	uint16_t op;             /* enum zd_op */
	uint16_t flags;          /* ZD_REQ_* */
	uint32_t zone, count;    /* a zone's index; how many */
	uint64_t offset, length; /* bytes on the disk. With buffers the length is their sum, whatever stands here */
	const struct iovec *iov; /* the buffers, in their order; empty ones are passed over */
	uint32_t nr_iov;
	uint32_t filter;       /* REPORT: enum zd_report_filter */
	struct zd_zone *zones; /* REPORT: room for count */
	struct zd_error *err;  /* filled if it fails; may be NULL */
	/* Called once, when the request has ended. NULL: zd_submit() returns no earlier. */
	void (*done)(struct zd_request *request);
	void *arg; /* the caller's, for done */
	/* out */
	int64_t result;  /* bytes transferred, zones, or 0; negative: a code as everywhere */
	uint64_t landed; /* APPEND: where the data begins */
	/* the library's: zero at first */
	uint64_t reserved0;
	uint32_t reserved1, cancel;
	/*
	 * READ, WRITE, APPEND: instead of buffers, `length` bytes by its calls; NULL: the buffers. Of an append `landed` is set before
	 * the first of them is taken; before that it is ZD_NONE where a recording with data takes them too.
	 */
	const struct zd_mover *mover;
	uint64_t reserved[5];
};

/* The library's, in commands of wire protocols: the place of one in the list of those that are under way. */
struct zd_under_way {
	struct zd_under_way *after, **link;
	uint64_t serial; /* in the order in which they were given */
	uint8_t held, ended, aborted;
	uint8_t reserved[5];
};

#define ZD_DEFERRED 1 /* what zd_submit() gives for a request that is completed later */

/*
 * Give a command. 0: it has ended, and `done` was called. ZD_DEFERRED: it will be, by the handle's own thread. Either way
 * request->result tells what came of it; a request that cannot be (size, op, a flag, a negative length: -EINVAL) ends
 * as any other. Errors in result: those of the call that the op names, and -ECANCELED (zd_cancel()), ZD_E_CLOSED (the
 * handle was closed while it was held up), -ENOMEM (no memory to defer it).
 */
int zd_submit(zd_dev *dev, struct zd_request *request);

/*
 * End one command, from any thread. Held up, it completes with -ECANCELED at once, not done; in the midst of a long
 * transfer or waiting for another user of the disk, within 50 ms, as if the interrupt hook had ended it: what was written
 * counts. Where it is done already nothing happens. It does not wait for the end. The request must not have been
 * completed and freed: whoever frees it in `done` keeps zd_cancel() away from it by himself.
 */
void zd_cancel(zd_dev *dev, struct zd_request *request);

ZD_END

#endif
