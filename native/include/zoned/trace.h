/* SPDX-License-Identifier: Apache-2.0 */
/*
 * zoned/trace.h - recording the commands of all openers, keeping the last of them, and reading recordings.
 *
 * A recording holds every command of every opener from zd_trace_start() to zd_trace_stop(), with its result and times,
 * in a file (docs/trace-format.md). Commands pass through a ring in the disk's shared state; a thread of the recording
 * process takes them from there. If it cannot keep up, commands wait for it before they begin: no record is lost. The
 * one exception is counted: more than 256 commands that were under way at once when the ring was full.
 *
 * Commands of one zone stand in the order in which they took effect, and every command on its side of a power cut. Of
 * writes by others that ran beside a flush it is not recorded which the flush made durable. A host sync that fails behind
 * a command (ZD_SYNC_COMMAND) is not in its record. A command that began before the recording did is not in it, and
 * neither is what a handle refuses by itself (a write on a handle opened read-only, a closed one). Reads of a handle
 * opened read-only are recorded where its user may write the image. zd_map_begin() gives 0 while somebody records.
 * When the recorder dies, commands go on without, and the file ends with what it had written. While nobody records,
 * the data path executes the same instructions as if there were none of this.
 */
#ifndef ZONED_TRACE_H
#define ZONED_TRACE_H

#include "zoned/abi.h"

ZD_BEGIN

#define ZD_TRACE_VERSION 1
#define ZD_TRACE_LONGEST_MARK 4096
#define ZD_TRACE_HEADER 184 /* bytes of a file's header before the conventional ranges */
#define ZD_TRACE_KEEP_CHOSEN 3
#define ZD_TRACE_LAST 1023 /* as many last commands can be asked for */

/* Of a record, and of an item in the file */
enum zd_trace_kind {
	ZD_TRACE_COMMAND = 1,
	ZD_TRACE_ZONE_BEFORE = 2, /* a zone that was not as new when the recording began */
	ZD_TRACE_BEGIN = 3,       /* behind them: their number */
	ZD_TRACE_LOST = 4,        /* commands that are missing about here */
	ZD_TRACE_ZONE_AFTER = 5,  /* a zone that was not as new when it ended */
	ZD_TRACE_END = 6,         /* behind them, last: their number, and that of commands */
	/*
	 * Of recordings with data. data: whose it is; offset: how many bytes came before it (BASE: where on the disk); length: how many
	 * these are; done: how many of them stand in the file, 8 where these repeat; start_ns: where, from the header's end on.
	 */
	ZD_TRACE_DATA = 7, /* some of what a command writes that stands behind it */
	/* some of what the disk held when the recording began; behind the disk's end the descriptor extension of each zone that had one */
	ZD_TRACE_BASE = 8
};
/* Of a command, in marks */
#define ZD_TRACE_FUA 1u    /* what it wrote was durable when it ended */
#define ZD_TRACE_ZEROES 2u /* it wrote zeros, which stand in no DATA */
#define ZD_TRACE_LOSES 4u  /* a fault rule marked it lost: a power cut takes it, flushed or not */
#define ZD_TRACE_FLIPS 8u  /* a fault rule made the disk store another bit than it was given */
/* In cmd, beside enum zd_cmd: what happens to a disk without being a command */
enum zd_trace_event {
	ZD_TRACE_POWER_CUT = 32, /* offset: the seed; length: enum zd_keep, or ZD_TRACE_KEEP_CHOSEN (zd_power_cut_to()) */
	ZD_TRACE_POWER_ON = 33,
	ZD_TRACE_ROLLBACK = 34,
	ZD_TRACE_MARK = 35 /* zd_trace_mark(); its text is its data */
};

struct zd_trace_record {
	uint64_t number;      /* zd_trace_last(): of all that were ever put into the ring; a file: from 0 on */
	uint64_t start_ns;    /* CLOCK_MONOTONIC when it came */
	uint64_t duration_ns; /* till it had taken effect, locks waited for and latency by faults included */
	uint64_t virtual_ns;  /* zd_fault_virtual_ns() at its end */
	uint64_t offset;      /* read, write, commit: as given; else ZD_NONE. Zones: when implicitly opened, as a number */
	uint64_t length;      /* data: bytes asked for; zone commands out of range: zones asked for. Zones: durable bytes */
	uint64_t done;     /* data: bytes transferred, failed or not; failed ALL forms: zones changed. Zones: bytes written */
	uint64_t landed;   /* append: where; else ZD_NONE */
	uint64_t wp;       /* failed: of the zone, absolute; ZD_NONE where invalid */
	uint64_t bound;    /* failed: as in struct zd_error. LOST: how many. BEGIN, END: how many zones */
	int32_t result;    /* 0, or the code that it failed with */
	uint32_t zone;     /* append, zone commands: as given; data: of the failure; else ZD_NO_ZONE */
	uint32_t pid, tid; /* who gave it */
	uint32_t fault;    /* the rule that made it fail, or happen */
	uint8_t kind;      /* enum zd_trace_kind */
	uint8_t cmd;       /* enum zd_cmd, enum zd_trace_event */
	uint8_t cond;      /* failed: of the zone, 0xFF if none is concerned. Zones: condition */
	uint8_t injected;  /* 1: a fault rule made it fail, or happen */
	uint8_t flags;     /* zones: 1 non_seq, 2 reset recommended, 4 finished, 8 has a descriptor extension, 16 has a random
			       * write area, whose number in the zone's word (docs/image-format.md) is in wp */
	uint8_t marks;     /* ZD_TRACE_FUA, ... of a recording with data */
	uint8_t reserved[6];
	uint64_t data; /* of a recording with data: which of it the command wrote; 0: none. DATA: whose; BASE: 0 */
	uint64_t reserved2;
};
/* Begin with struct_size; the rest is filled. */
struct zd_trace_status {
	uint32_t struct_size;          /* sizeof(struct zd_trace_status) */
	uint32_t recorder;             /* pid of who records to a file; 0: nobody */
	uint64_t records, lost, waits; /* of the recording: commands put down, missing, made to wait for room */
	uint64_t bytes;                /* zd_trace_stop(): size of the file */
	int32_t error;                 /* mine: the errno that ended it early; 0: none */
	uint8_t mine;                  /* it is this handle */
	uint8_t keeps;                 /* zd_trace_keep() */
	uint8_t reserved[6];
};

/*
 * Record to a file, from its present position on; the descriptor is duplicated.
 * Any threads may begin and end: one recording at a time begins, and one call ends it.
 * A forked child does not go on recording. All of this works without power.
 * Errors: ZD_E_READONLY_HANDLE, -EALREADY (this handle does so, or another thread begins or ends one), -EBUSY (another handle
 * does), -EBADF, -EINTR, -ETIMEDOUT, -EIO, -ENOSPC (the file's, or no room for the ring), -EDQUOT, -EFBIG, -EPIPE, -ENOMEM, -EMFILE,
 * -EAGAIN (no thread).
 */
int zd_trace_start(zd_dev *dev, int fd, struct zd_error *err);
/*
 * The same, with what each command writes, its FUA, and what the disk holds now: a history of which the disk can be built at
 * any moment. It flushes the disk first, so that all that it begins with is durable. While what the disk holds is written to
 * the file, commands wait. A command that cannot have room for what it writes (interrupted) is not begun.
 * Errors: ZD_E_READONLY_HANDLE, -EALREADY and -EBUSY as zd_trace_start(), -EOPNOTSUPP (a disk that keeps no data, an image
 * without spare room), -EAGAIN (others give commands faster than the disk can be looked at, or no thread), ZD_E_MEDIUM_WRITE,
 * ZD_E_TIMEOUT, ZD_E_POWER_LOSS, ZD_E_BUSY, ZD_E_FAILED, ZD_E_CLOSED (of the flush), -EBADF, -EINTR, -ETIMEDOUT, -EIO, -ENOSPC,
 * -EDQUOT, -EFBIG, -EPIPE, -ENOMEM, -EMFILE, -ENFILE, -EACCES.
 */
int zd_trace_start_data(zd_dev *dev, int fd, struct zd_error *err);
/*
 * Put a text of up to ZD_TRACE_LONGEST_MARK bytes into the recording with data, behind all commands that have ended. By any
 * handle. Errors: -EINVAL (longer), -ENOENT (nobody records with data), ZD_E_READONLY_HANDLE, -EINTR, -ETIMEDOUT.
 */
int zd_trace_mark(zd_dev *dev, const void *text, uint64_t length, struct zd_error *err);
/*
 * Take the rest from the ring, write the end and close the file; out may be NULL. zd_close() does it too. But for the first
 * four, errors say that the file could not be written on, and lacks its end.
 * Errors: -EINVAL (struct_size), -ENOENT (this handle records nothing), -EALREADY, -EINTR, -ETIMEDOUT, -EIO, -ENOSPC, -EDQUOT,
 * -EFBIG, -EPIPE, -ENOMEM.
 */
int zd_trace_stop(zd_dev *dev, struct zd_trace_status *out, struct zd_error *err);
/* How a recording stands. Errors: -EINVAL (struct_size). */
int zd_trace_status(zd_dev *dev, struct zd_trace_status *out, struct zd_error *err);
/*
 * Keep the last commands of all openers in the shared state, or no longer. It stays so through close and open, until
 * the host boots anew. Errors: ZD_E_READONLY_HANDLE, -EINTR, -ETIMEDOUT, -EIO, -ENOSPC, -EDQUOT.
 */
int zd_trace_keep(zd_dev *dev, int on, struct zd_error *err);
/*
 * Copy up to max of them, oldest first; returns how many. At most ZD_TRACE_LAST are there. It works while a recording runs,
 * too, and on what the last opener left. Errors: -EIO.
 */
int64_t zd_trace_last(zd_dev *dev, struct zd_trace_record *out, uint32_t max, struct zd_error *err);

/* Reading a file: what lies behind its header, piece by piece. To begin: crc and start_ns as the header has them, with_data, else zeros. */
enum zd_trace_damage {
	ZD_TRACE_SOUND = 0,
	ZD_TRACE_CHECKSUM = 1, /* an item's checksum is wrong */
	ZD_TRACE_KIND = 2,     /* an item of an unknown kind */
	ZD_TRACE_BODY = 3      /* an item that says what cannot be */
};
struct zd_trace_reader {
	uint64_t at;       /* bytes behind the header that were understood: damage lies here */
	uint64_t commands; /* so far */
	uint64_t start_ns, virtual_ns;
	uint32_t pid, tid;
	uint32_t crc;       /* of everything so far */
	uint32_t damage;    /* enum zd_trace_damage; nothing more is read */
	uint32_t ended;     /* the END item was met */
	uint32_t with_data; /* the file begins as a recording with data */
};
/*
 * The records in a piece of a file. *used: bytes taken; an item that is not whole yet stays. out has room for max.
 * Returns the number of records; none and *used 0 means that more bytes are needed, or damage. Needs no disk; never fails.
 */
int64_t zd_trace_read(struct zd_trace_reader *reader, const void *bytes, uint64_t length, struct zd_trace_record *out,
		      uint64_t max, uint64_t *used);

ZD_END

#endif
