/* SPDX-License-Identifier: Apache-2.0 */
/*
 * zd.h - the emulated zoned block device: public interface and manual.
 *
 * A zd_dev is one opener's handle on an emulated host-managed (or host-aware) SMR disk. The disk
 * lives in an image file, or in a memfd when it has no path. Any number of processes may have one
 * disk open at once; they share all of its state through one MAP_SHARED mapping, and the death of
 * any of them (kill -9 included) loses nothing that was acknowledged and leaves no lock held.
 *
 * Units       All offsets and lengths are bytes, absolute on the disk, unless a name says otherwise.
 *             A zone is named by its index, 0 .. nr_zones-1.
 * Returns     int: 0 or a negative code. int64_t: a count (>= 0) or a negative code. A code is either
 *             -errno (the host failed: -ENOSPC, -EIO, ...) or a ZD_E_* rule (the emulated disk
 *             refused). Every function that can fail takes a `struct zd_error *` last, which may be
 *             NULL; it is filled only on failure.
 * Threads     A handle may be used by many threads at once. zd_close() must be the last call on it.
 * fork        A child may go on using its parent's handle; the first call there attaches it anew.
 *             Do not fork while another thread of the same process is inside a call.
 * Signals     A call that takes longer than about 50 ms polls the handle's interrupt hook (below) and
 *             returns -EINTR, with the disk consistent, when the hook says so; also while it waits for another user of
 *             the disk, whatever that one holds. The hook runs with the call's locks held: it must not use this disk.
 *             Without a hook a call waits as long as it takes, but gives up a process that was stopped for 30 s
 *             (-ETIMEDOUT).
 * Locks       commit lock -> zone stripes (zone mod 256) in ascending order -> resource lock. All are
 *             robust and process-shared; none is held when a call returns, but for zd_map_begin().
 * Caveats     Whoever truncates an image that is open kills its users with SIGBUS. A host disk that
 *             fails to read back a mapped page does too. Fix: none in user space; do not do that.
 *
 * Sources named below: ZBC-2 (INCITS 550, T10), ZNS (NVM Express Zoned Namespace Command Set 1.1),
 * Linux 6.12 drivers/block/null_blk/zoned.c and drivers/scsi/scsi_debug.c.
 */
#ifndef ZD_H
#define ZD_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ZD_IMAGE_VERSION 1
#define ZD_NONE UINT64_MAX        /* a write pointer that is not valid (report), or an offset unknown */
#define ZD_NO_ZONE UINT32_MAX     /* no zone is concerned */
#define ZD_MAX_CONV_RANGES 440    /* as many as the header page of an image holds */
#define ZD_MAX_ZONES 16777216u    /* 2^24 */

/* Numbers as in struct blk_zone (linux/blkzoned.h) and ZBC-2 REPORT ZONES. */
enum zd_type { ZD_CONVENTIONAL = 1, ZD_SEQ_WRITE_REQUIRED = 2, ZD_SEQ_WRITE_PREFERRED = 3 };
enum zd_cond {
	ZD_NOT_WP = 0,
	ZD_EMPTY = 1,
	ZD_IMPLICIT_OPEN = 2,
	ZD_EXPLICIT_OPEN = 3,
	ZD_CLOSED = 4,
	ZD_READ_ONLY = 0xD,
	ZD_FULL = 0xE,
	ZD_OFFLINE = 0xF
};

/* The rule book: what a SCSI/ATA disk, an NVMe ZNS drive, or Linux's null_blk does. */
enum zd_dialect { ZD_ZBC = 0, ZD_ZNS = 1, ZD_NULLBLK = 2 };
enum zd_model { ZD_HOST_MANAGED = 0, ZD_HOST_AWARE = 1 }; /* sequential zones are SWR, or SWP */
/* Which implicitly open zone is closed when an open resource is needed. Explicitly open ones never are. */
enum zd_implicit_close {
	ZD_OLDEST = 0,     /* the one opened longest ago (QEMU) */
	ZD_LOWEST = 1,     /* the one with the lowest index (scsi_debug, tcmu-runner) */
	ZD_ROUND_ROBIN = 2 /* the next one behind the last victim (null_blk) */
};
enum zd_data { ZD_STORE = 0, ZD_NO_DATA = 1 }; /* no payload kept: reads return zeros below the wp */
enum zd_host_sync { ZD_SYNC_FLUSH = 0, ZD_SYNC_COMMAND = 1, ZD_SYNC_NEVER = 2 };

/* Commands, as the state table, traces and faults name them. */
enum zd_cmd {
	ZD_CMD_READ = 0,
	ZD_CMD_WRITE = 1,
	ZD_CMD_APPEND = 2,
	ZD_CMD_OPEN = 3,
	ZD_CMD_CLOSE = 4,
	ZD_CMD_FINISH = 5,
	ZD_CMD_RESET = 6,
	ZD_CMD_OPEN_ALL = 7,
	ZD_CMD_CLOSE_ALL = 8,
	ZD_CMD_FINISH_ALL = 9,
	ZD_CMD_RESET_ALL = 10,
	ZD_CMD_POWER_CYCLE = 11,
	ZD_CMD_SET_EMPTY = 12,     /* set_condition: back from the dead, empty (NOT_WP for conventional) */
	ZD_CMD_SET_READ_ONLY = 13, /* set_condition: the head can read but no longer write */
	ZD_CMD_SET_OFFLINE = 14,   /* set_condition: the head is dead */
	ZD_CMD_FLUSH = 15,
	ZD_NR_CMDS = 16
};

/*
 * Broken rules. Each has a name, SCSI sense data (dialects zbc and nullblk), an NVMe status (zns) and
 * an errno; zd_rule_info() tells them. Codes lie far below any -errno.
 */
enum zd_rule {
	ZD_E_UNALIGNED_WRITE = -2001,   /* not at the write pointer, or (512e) not ending on a physical block */
	ZD_E_WRITE_BOUNDARY = -2002,    /* a write crosses the zone's end, its capacity, or into another type */
	ZD_E_READ_BOUNDARY = -2003,     /* a read crosses zones where it may not */
	ZD_E_INVALID_READ = -2004,      /* a read passes the write pointer (URSWRZ off) */
	ZD_E_ZONE_FULL = -2005,
	ZD_E_ZONE_READ_ONLY = -2006,
	ZD_E_ZONE_OFFLINE = -2007,
	ZD_E_TOO_MANY_OPEN = -2008,
	ZD_E_TOO_MANY_ACTIVE = -2009,
	ZD_E_INVALID_TRANSITION = -2010,/* the zone's condition does not allow this command */
	ZD_E_CONVENTIONAL = -2011,      /* a zone command (or append) addressed to a conventional zone */
	ZD_E_GAP = -2012,               /* a command that starts between a zone's capacity and its end */
	ZD_E_OUT_OF_RANGE = -2013,      /* beyond the end of the disk, or no such zone */
	ZD_E_BLOCK_ALIGNMENT = -2014,   /* offset or length is no multiple of the logical block */
	ZD_E_APPEND_LIMIT = -2015,      /* longer than the zone append size limit */
	ZD_E_UNSUPPORTED = -2016,       /* the dialect has no such command */
	ZD_E_MEDIUM_READ = -2017,
	ZD_E_MEDIUM_WRITE = -2018,
	ZD_E_POWER_LOSS = -2019,        /* the emulated disk has no power */
	ZD_E_READ_TYPE = -2020,         /* zbc, host-managed: a read begins and ends in zones of different types */
	ZD_E_TIMEOUT = -2021,           /* the command hung and timed out; only a fault makes that happen */
	ZD_E_MISCOMPARE = -2022,        /* a compare found other bytes */
	ZD_E_SEQUENTIAL = -2023,        /* write zeroes or deallocate addressed to a sequential zone */
	/* Not rules of a drive: the image or the caller is at fault. */
	ZD_E_GEOMETRY = -2101,          /* impossible geometry; zd_error.text names it */
	ZD_E_NOT_IMAGE = -2102,
	ZD_E_VERSION = -2103,
	ZD_E_FEATURE = -2104,
	ZD_E_TRUNCATED = -2105,
	ZD_E_CORRUPT = -2106,
	ZD_E_READONLY_HANDLE = -2107,   /* a changing command on a handle opened read-only */
	ZD_E_FAILED = -2108,            /* an earlier host sync failed; the image needs a check */
	ZD_E_BUSY = -2109,              /* needs the disk to itself, and others have it open */
	ZD_E_CLOSED = -2110             /* the handle was closed */
};
#define ZD_E_FIRST_RULE (-2001)
#define ZD_NR_RULES 23 /* rules of a drive: ZD_E_UNALIGNED_WRITE .. ZD_E_SEQUENTIAL */

struct zd_error {
	int32_t code;        /* the code returned */
	int32_t cmd;         /* enum zd_cmd, or -1 */
	int32_t host_errno;  /* > 0 where the host failed */
	uint32_t zone;       /* ZD_NO_ZONE if none is concerned */
	uint64_t offset;     /* where the command began; ZD_NONE if it has no place */
	uint64_t length;     /* its length in bytes, 0 if none */
	uint64_t wp;         /* the zone's write pointer (absolute), ZD_NONE if invalid */
	uint64_t bound;      /* what was crossed: end of zone, capacity or disk; or the limit exceeded; for a medium
			      * error the first byte that failed: what lies before it was transferred */
	uint8_t cond;        /* the zone's condition, 0xFF if no zone is concerned */
	uint8_t injected;    /* 1: a fault rule made this happen */
	uint16_t reserved;
	uint32_t fault;      /* which one */
	char text[192];      /* for image and geometry errors: what was wrong, in words; injected: the fault's label */
};

/* What a rule is called, and how each kind of host sees it. */
struct zd_rule_info {
	const char *name;         /* "unaligned-write" */
	int32_t err;              /* a positive errno, as Linux's block layer gives it */
	uint8_t sense_key, asc, ascq;
	uint8_t reserved;
	uint16_t nvme_status;     /* SCT<<8 | SC */
};
/* NULL if code is no drive rule (it may be an image error or -errno). dialect: some sense codes differ. */
const struct zd_rule_info *zd_rule_info(int code, int dialect);
/* "unaligned-write", "geometry", ... for every ZD_E_ code; NULL for any other number. Static storage. */
const char *zd_rule_name(int code);
/* "IMPLICIT_OPEN", "zbc", "reset" (of ALL forms too); NULL for a number that is none. Static storage. */
const char *zd_cond_name(int cond);
const char *zd_dialect_name(int dialect);
const char *zd_cmd_name(int cmd);

/* A disk, as far as a sentence about a broken rule speaks of it. Bytes; 0 of a limit: there is none. */
struct zd_said_disk {
	uint64_t size, zone_size, append_limit;
	uint64_t zone_start, zone_length, zone_capacity; /* of the error's zone, where it has one */
	uint32_t nr_zones, logical_block, physical_block;
	uint32_t max_open, max_active;
	uint32_t nr_implicit, nr_explicit, nr_closed;    /* zones in these conditions, now */
	uint8_t dialect;
	uint8_t reserved[7];
};
/*
 * The sentence of a broken rule, NUL-terminated and cut where size ends; empty for any other code. Returns how many
 * bytes the whole sentence has, without the NUL (as snprintf does).
 */
size_t zd_rule_sentence(const struct zd_error *err, const struct zd_said_disk *disk, char *text, size_t size);

/* ---------------------------------------------------------------- the state table */

enum zd_next { /* what becomes of the zone's condition */
	ZD_NEXT_SAME = 0,
	ZD_NEXT_EMPTY,
	ZD_NEXT_IMPLICIT_OPEN,    /* or FULL when the write reaches the capacity */
	ZD_NEXT_EXPLICIT_OPEN,    /* as before; FULL when the write reaches the capacity */
	ZD_NEXT_CLOSED,
	ZD_NEXT_CLOSED_OR_EMPTY,  /* EMPTY if nothing is written, else CLOSED */
	ZD_NEXT_FULL,
	ZD_NEXT_READ_ONLY,
	ZD_NEXT_OFFLINE,
	ZD_NEXT_INITIAL,          /* NOT_WP for conventional zones, EMPTY for others */
	ZD_NEXT_ERROR             /* refused: the cell's error */
};
enum zd_effect { /* bits */
	ZD_FX_OPEN = 1,      /* takes an open resource: may close an implicitly open zone, or fail */
	ZD_FX_ACTIVE = 2,    /* takes an active resource, or fails */
	ZD_FX_WP_START = 4,  /* the write pointer goes to the start, data is gone */
	ZD_FX_WP_END = 8,    /* the zone counts as written to its capacity */
	ZD_FX_ADVANCE = 16,  /* the write pointer advances by what was written */
	ZD_FX_DURABLE = 32,  /* what was written becomes durable */
	ZD_FX_NON_SEQ = 64,  /* non_seq is set if the write is not at the write pointer */
	ZD_FX_CHECK = 128    /* needs the resources (may fail, may close another) but does not keep them */
};
struct zd_cell {
	uint8_t next;    /* enum zd_next */
	uint8_t effects; /* enum zd_effect bits */
	int16_t error;   /* ZD_E_* when next is ZD_NEXT_ERROR, else 0 */
};
/*
 * The cell for one zone of `type` in condition `cond` under command `cmd`: pure, no device needed.
 * ALL forms give what happens to each zone the ALL form meets (SAME where it is passed over).
 * Returns NULL when the combination cannot occur (a conventional zone that is FULL, an unknown number).
 */
const struct zd_cell *zd_cell(int dialect, int type, int cond, int cmd);

/* ---------------------------------------------------------------- making and opening */

struct zd_range {
	uint32_t first, count; /* zones first .. first+count-1 */
};

/*
 * Geometry and behaviour of a new disk. "0:" tells what zero means.
 *
 * Refused with ZD_E_GEOMETRY (text names the field): zone_size no multiple of physical_block; size not
 * larger than 0 or not a multiple of physical_block; zone_capacity > zone_size or no multiple of
 * physical_block; blocks other than 512 or 4096, physical < logical; conventional ranges that overlap,
 * are unordered, empty or beyond the last zone; max_open > max_active when both are set; more than
 * ZD_MAX_ZONES zones; an enum out of range; slot_cache beyond 2^62 (but for UINT64_MAX); host-aware in any
 * dialect but zbc; append_limit no multiple of logical_block.
 */
struct zd_config {
	uint64_t size;             /* of the disk. The last zone is smaller when zone_size does not divide it. */
	uint64_t zone_size;        /* any multiple of physical_block */
	uint64_t zone_capacity;    /* writable bytes of a sequential zone. 0: zone_size */
	uint32_t logical_block;    /* 512 or 4096 */
	uint32_t physical_block;   /* 512 or 4096, not below logical_block (512e: 512 and 4096) */
	uint32_t max_open;         /* 0: no limit */
	uint32_t max_active;       /* 0: no limit */
	uint64_t append_limit;     /* longest zone append. 0: the zone's capacity */
	uint64_t seed;             /* of everything random about the disk; also names a reproducible uuid */
	uint64_t slot_cache;       /* bytes of freed zones kept filled for reuse; UINT64_MAX: default 256 MiB */
	uint8_t dialect, model, implicit_close, data, host_sync;
	uint8_t unrestricted_read; /* URSWRZ; in zns: read across zone boundaries (ROZ/RAZB) */
	uint8_t reserved[2];
	uint32_t nr_conv;          /* entries in conv */
	const struct zd_range *conv; /* conventional zones, ascending */
	char profile[64];          /* name kept for `info`; NUL-terminated */
};

typedef struct zd_dev zd_dev;

#define ZD_OPEN_READONLY 1u
#define ZD_OPEN_BRIEFLY 2u
#define ZD_CREATE_REPLACE 1u

/*
 * Make a disk and open it. path NULL: in RAM (memfd), gone when its last handle and fork closes.
 * A file is made complete under a temporary name and linked into place, so two creates that race give one
 * winner and -EEXIST, and a crash leaves no half image. flags: ZD_CREATE_REPLACE replaces an existing file, whose
 * mode and group the new one gets (without a file: what the umask leaves), and which nobody may have open for writing.
 * Errors: ZD_E_GEOMETRY, -EEXIST, ZD_E_BUSY, -ENOSPC, -EACCES, -EROFS, -ENOENT (no such folder), -EFBIG, -ENOMEM.
 */
int zd_create(const char *path, const struct zd_config *config, unsigned flags, zd_dev **out, struct zd_error *err);
/*
 * Give a finished image its name, as zd_create() does: `from` is its temporary one, in the same folder, and is gone if
 * this succeeds. Errors: -EEXIST, ZD_E_BUSY, those of the host.
 */
int zd_place(const char *from, const char *path, unsigned flags, struct zd_error *err);
/* 0 if ZD_CREATE_REPLACE would find nobody who has the file at path open; ZD_E_BUSY, or those of the host. */
int zd_replaceable(const char *path, struct zd_error *err);

/*
 * Open an image. The first opener recovers it: words left by killed processes of this boot are kept,
 * otherwise the newest valid zone entries count.
 * Errors: ZD_E_NOT_IMAGE, ZD_E_VERSION, ZD_E_FEATURE, ZD_E_TRUNCATED, ZD_E_CORRUPT, ZD_E_FAILED, -ENOENT,
 * -EACCES, -EROFS (use ZD_OPEN_READONLY), -EISDIR, -ENOMEM, -ENOSPC (no room for shared state).
 * Openers take turns. If one of them is stopped at it, others fail with -ETIMEDOUT after 30 s; with ZD_OPEN_BRIEFLY
 * (or, in zd_check(), ZD_CHECK_BRIEFLY) after 50 ms, for callers that may be told to end meanwhile: they try again. Nobody
 * who may only read the image can make those wait who may write it.
 */
int zd_open(const char *path, unsigned flags, zd_dev **out, struct zd_error *err);

/*
 * Close a handle; always frees it. The last closer of an image syncs data and entries (unless host_sync
 * is never) and marks it clean. Conditions stay: this is no power cycle. Returns 0 or the sync's -errno. The interrupt
 * hook can end a wait for others in it (-EINTR): then it is as if the process had died, and nothing is lost by that.
 */
int zd_close(zd_dev *dev, struct zd_error *err);
/* Before zd_close(): commands of this handle that a fault rule holds up, now or later, end with ZD_E_CLOSED. */
void zd_end_hangs(zd_dev *dev);

/* Polled in long calls, with locks held. Return nonzero to end the call with -EINTR. fn NULL: none. */
void zd_set_interrupt(zd_dev *dev, int (*fn)(void *arg), void *arg);
/*
 * For whom the last call of this thread that was interrupted (or timed out) had waited: "process 4711 (fio), which is
 * stopped"; NULL: for nobody. The sentence in zd_error tells it as well. Valid till the thread's next call.
 */
const char *zd_waited_for(void);
/* The hook that is set, and its arg, for one that takes its place and asks it too. */
int (*zd_get_interrupt(zd_dev *dev, void **arg))(void *arg);

/*
 * Be told of commands that C code on top of this library gives through the handle (zonefs does), once each has ended:
 * place is a byte offset, or for zone commands the zone; result what the call gave. No lock of the disk is held. fn
 * NULL: none. zd_watched() tells; it gives result back.
 */
typedef void zd_watch_fn(void *arg, int cmd, uint64_t place, uint64_t length, int64_t result);
void zd_watch(zd_dev *dev, zd_watch_fn *fn, void *arg);
int64_t zd_watched(zd_dev *dev, int cmd, uint64_t place, uint64_t length, int64_t result);

/* ---------------------------------------------------------------- data */

/*
 * offset and length must be multiples of the logical block; length 0 succeeds and does nothing (the
 * offset must still lie on the disk or at its end). Reads past the write pointer give zeros (0xFF in
 * nullblk), never stale data. A write is visible to other openers once the call returns, and survives
 * the death of this process; it survives power loss after zd_flush().
 *
 * zd_pread   ZD_E_OUT_OF_RANGE, BLOCK_ALIGNMENT, READ_BOUNDARY, INVALID_READ, GAP, ZONE_OFFLINE, MEDIUM_READ,
 *            POWER_LOSS
 * zd_pwrite  those of write: UNALIGNED_WRITE, WRITE_BOUNDARY, ZONE_FULL, ZONE_READ_ONLY, ZONE_OFFLINE,
 *            TOO_MANY_OPEN, TOO_MANY_ACTIVE, GAP, OUT_OF_RANGE, BLOCK_ALIGNMENT, READONLY_HANDLE; -ENOSPC and
 *            other host errors, after which the zone is as before the call
 * Return: bytes transferred, always the whole length (a drive transfers all or refuses).
 * A write ended by -EINTR leaves the zone's write pointer behind what was written so far.
 */
int64_t zd_pread(zd_dev *dev, void *buf, uint64_t length, uint64_t offset, struct zd_error *err);
/*
 * Reading without a copy: all of zd_pread()'s checks, then a pointer into the mapping instead of bytes. Returns
 * how many of `length` bytes lie at *at, all in one zone; until zd_map_end() from the same thread, that zone's
 * stripe is held, so nothing resets or overwrites them: be brief, and call nothing of this disk in between.
 * Returns 0, with nothing held, where only zd_pread() will do: past the write pointer, on blocks that the host
 * has not got in the mapping, on a read-only handle, with data none. Errors: as zd_pread().
 */
int64_t zd_map_begin(zd_dev *dev, uint64_t offset, uint64_t length, const void **at, struct zd_error *err);
void zd_map_end(zd_dev *dev, uint64_t offset); /* offset: as given to zd_map_begin */
/*
 * The same with no lock held, for as long as one likes: the bytes are pinned, as a snapshot pins them. A reset or an
 * overwrite meanwhile succeeds and leaves them as they are; what is overwritten in place moves to a copy first. Costs the
 * lock of the resources twice. Returns how many of `length` bytes lie at pin->at, or 0 as zd_map_begin(). Each pin that
 * gave more than 0 must be given back before the handle is closed; a process that is killed leaves its pins till
 * the last opener is gone, which costs space and no data. Errors: as zd_pread().
 */
struct zd_pin {
	const void *at;
	uint64_t length;
	uint32_t slot, pid; /* the library's */
	uint64_t reserved;
};
int64_t zd_pin(zd_dev *dev, uint64_t offset, uint64_t length, struct zd_pin *pin, struct zd_error *err);
void zd_unpin(zd_dev *dev, struct zd_pin *pin);
/* As zd_pread(), into several buffers. */
int64_t zd_preadv(zd_dev *dev, const struct iovec *iov, int iovcnt, uint64_t offset, struct zd_error *err);
int64_t zd_pwrite(zd_dev *dev, const void *buf, uint64_t length, uint64_t offset, struct zd_error *err);
int64_t zd_pwritev(zd_dev *dev, const struct iovec *iov, int iovcnt, uint64_t offset, struct zd_error *err);
/*
 * Give blocks at the write pointer of a sequential-write-required zone their place on the host, so that a write of them
 * does not fail for want of room later. Refuses what such a write would be refused for now, but for open and active
 * resources, which OPEN takes. Changes nothing that a user of the disk can see, and is no command of it: it is not
 * recorded and meets no fault rule. Other zones: nothing happens. On a host that copies on write the write may fail all
 * the same.
 */
int zd_reserve(zd_dev *dev, uint64_t offset, uint64_t length, struct zd_error *err);
/* *landed: where the data begins. In zbc (which has no append) as zns. */
int64_t zd_append(zd_dev *dev, uint32_t zone, const void *buf, uint64_t length, uint64_t *landed,
		  struct zd_error *err);
/* As zd_append(), of several buffers, which land one behind the other. */
int64_t zd_appendv(zd_dev *dev, uint32_t zone, const struct iovec *iov, int iovcnt, uint64_t *landed, struct zd_error *err);
/* Everything written before the call becomes durable. Host: fdatasync, then entries, unless host_sync is never. */
int zd_flush(zd_dev *dev, struct zd_error *err);

/* ---------------------------------------------------------------- zone commands */

/*
 * cmd: ZD_CMD_OPEN, CLOSE, FINISH or RESET on zones zone .. zone+count-1, one after the other in ascending
 * order; ends at the first that fails (earlier ones stay done). The ALL forms
 * ignore zone and count; zbc's OPEN ALL opens all closed zones or none (ZBC-2 5.4: insufficient resources).
 * count 0 is ZD_E_OUT_OF_RANGE.
 */
int zd_zone_mgmt(zd_dev *dev, int cmd, uint32_t zone, uint32_t count, struct zd_error *err);
/* cond: ZD_READ_ONLY, ZD_OFFLINE, or ZD_EMPTY to bring a zone back, without its data. */
int zd_set_condition(zd_dev *dev, uint32_t zone, int cond, struct zd_error *err);
/* An orderly power cycle: flush, then the POWER CYCLE row of the table for each zone. */
int zd_power_cycle(zd_dev *dev, struct zd_error *err);

/* ---------------------------------------------------------------- looking */

struct zd_zone {
	uint64_t start, length, capacity;
	uint64_t wp;         /* absolute; ZD_NONE where invalid: conventional, FULL, READ_ONLY, OFFLINE */
	uint64_t durable_wp; /* absolute; ZD_NONE for conventional zones. FULL by FINISH: start + capacity */
	uint32_t index;
	uint8_t type, cond, non_seq, reset_recommended;
};
/* Fill up to count zones from index start on; returns how many. start may be nr_zones (returns 0). */
int64_t zd_report(zd_dev *dev, uint32_t start, uint32_t count, struct zd_zone *out, struct zd_error *err);
/*
 * Bytes from the zone's start on behind which every read gives filler: what a copy of the zone has to carry.
 * Sequential: what was written, known even when FULL, READ_ONLY or OFFLINE. Conventional: its length once
 * anything was stored in it, else 0. Error: ZD_E_OUT_OF_RANGE.
 */
int64_t zd_zone_written(zd_dev *dev, uint32_t zone, struct zd_error *err);
/*
 * When the zone was implicitly opened: a number that is larger for later ones; 0 if it is not implicitly
 * open. The order in which implicit_close=oldest takes its victims. Error: ZD_E_OUT_OF_RANGE.
 */
int64_t zd_zone_opened(zd_dev *dev, uint32_t zone, struct zd_error *err);
/*
 * All zones as they are, each by one load of its word; and all that hold an open or active resource as they were at one
 * moment, so that a disk with the same limits can be brought into the same state. A writable handle holds the lock of
 * the resources meanwhile; a read-only one looks until it sees the same twice, and gives up with -EAGAIN where zones
 * are opened and closed faster than it can look.
 *
 * What was read of a zone is what it held then if `gen` stayed the same, `written` is no less, and, where what is
 * written may be overwritten (conventional and preferred zones), `writes` stayed the same.
 */
struct zd_zone_state {
	uint64_t written; /* as zd_zone_written() */
	uint64_t opened;  /* as zd_zone_opened() */
	uint64_t writes;  /* writes ever, appends not counted */
	uint32_t gen;     /* another one whenever data of the zone went */
	uint8_t type, cond, non_seq, reset_recommended;
};
/* out: an entry for each zone of the disk. */
int zd_zone_states(zd_dev *dev, struct zd_zone_state *out, struct zd_error *err);
/* One zone. Error: ZD_E_OUT_OF_RANGE. */
int zd_zone_state(zd_dev *dev, uint32_t zone, struct zd_zone_state *out, struct zd_error *err);
/* 1 if another handle, in whatever process, has the disk open for writing; 0 if none has. */
int zd_others_write(zd_dev *dev, struct zd_error *err);

struct zd_info {
	uint64_t size, zone_size, zone_capacity, append_limit, seed, slot_size, slot_cache;
	uint32_t logical_block, physical_block, max_open, max_active, nr_zones, nr_conv_zones, nr_conv_ranges;
	uint8_t dialect, model, implicit_close, unrestricted_read, data, host_sync;
	uint8_t readonly;       /* this handle */
	uint8_t in_ram;
	uint8_t clean;          /* the image was closed cleanly before this opening (always 1 in RAM) */
	uint8_t failed;         /* a host sync failed */
	uint8_t cow_host;       /* every store goes by pwrite */
	uint8_t reserved;
	uint32_t version;
	uint64_t features;
	uint8_t uuid[16];
	uint64_t created;       /* seconds since 1970 */
	char profile[64];
	/* now */
	uint32_t nr_implicit_open, nr_explicit_open, nr_closed; /* active = their sum */
	uint32_t slots_used, slots_free, slots_pending, slots_total;
	uint64_t table_offset, runtime_offset, data_offset, file_size;
};
int zd_info(zd_dev *dev, struct zd_info *out, struct zd_error *err);
/* The conventional ranges; out has room for max; returns how many there are. */
int zd_conv_ranges(zd_dev *dev, struct zd_range *out, uint32_t max);

/* Since the disk was created, or since the host last booted (they are not part of the image). */
struct zd_zone_counters {
	uint64_t reads, writes, appends, bytes_read, bytes_written;
	uint64_t finish_wasted; /* capacity given up by FINISH, bytes */
	uint64_t opens, closes, finishes, resets; /* commands that succeeded; ALL forms count where they act */
	uint64_t implicit_opens, implicit_closes;
	uint64_t errors;
};
struct zd_counters {
	struct zd_zone_counters zones; /* the sum over all zones; errors: also those that concern no zone */
	uint64_t flushes;
	uint64_t errors_by_rule[ZD_NR_RULES]; /* index: ZD_E_FIRST_RULE - code */
	uint32_t max_open_seen, max_active_seen; /* high-water marks */
};
int zd_counters(zd_dev *dev, struct zd_counters *out, struct zd_error *err);
int64_t zd_zone_counters(zd_dev *dev, uint32_t start, uint32_t count, struct zd_zone_counters *out,
			 struct zd_error *err);

/*
 * How often something has happened to the disk that no host's command explains, by whatever opener, since it was created or
 * the host last booted: a door that looks at it tells its hosts. The numbers wrap; only whether they differ says something.
 */
struct zd_news {
	uint32_t powered;     /* the power came back, or was cycled */
	uint32_t conditioned; /* a zone became READ_ONLY or OFFLINE by itself or by zd_set_condition(), or came back from it */
	uint32_t gone_back;   /* zd_rollback() */
};
/* Three loads; works without power too. Errors: those of a handle that cannot be used. */
int zd_news(zd_dev *dev, struct zd_news *out, struct zd_error *err);

/* A descriptor of the image (owned by the handle; do not close), for fstat and /proc look-ups. */
int zd_fd(zd_dev *dev);

/* ---------------------------------------------------------------- faults */

/*
 * Fault rules make the disk fail on purpose. They live in the disk's shared state: they act on every opener's
 * commands, whoever set them, and stay until cleared, through close and open, until the host boots anew.
 *
 * Which commands   A rule meets a command that is one of `commands`, touches zones first_zone .. last_zone and,
 *                  for read, write and append, bytes from .. to-1 (append: as the write pointer stands when
 *                  the command comes). zd_zone_mgmt() on several zones is one command per zone; an ALL form
 *                  touches every zone. Commands that are misaligned or leave the disk meet no rule.
 *                  zd_set_condition(), zd_power_cycle() and looking never do.
 * What comes first What the rule book refuses - place and boundary, the zone's condition, the write pointer, limits on
 *                  open and active zones - it refuses, as a drive does, before anything is done to it: rules of most
 *                  kinds (medium, torn, lost, flush error, flips, limit) do not even count such a command, and one that
 *                  they cut short is judged by its whole length. LATENCY, HANG, READ_ONLY, OFFLINE and POWER_CUT happen
 *                  to the zone or to the disk, whatever becomes of the command: they meet these commands too, and come
 *                  before the rule book does.
 * When it acts     On every command it meets; or on the nth only; or on every nth; or with a probability. At
 *                  most `limit` times. If several rules meet a command, the first that acts (by order, then
 *                  id) is the only one: rules behind it do not even count the command.
 * What it does     enum zd_fault_kind. The command's error has injected = 1, fault = the rule's id, and its label
 *                  in text.
 *
 * A handle opened read-only cannot count in the shared state: on its reads only rules act that need no count
 * (neither nth, every, probability nor limit) and change nothing on the disk. A disk without rules runs the same
 * instructions as if there were none of this. Nothing of it is part of the image.
 */
#define ZD_MAX_FAULTS 64
#define ZD_MAX_LOST 256 /* zones that may hold data of lost writes at one time */

enum zd_fault_kind {
	/* Medium error at the first block that lies in the rule's range; what comes before it is transferred: a read
	 * fills the buffer up to it, a write lands up to it (whole physical blocks), with the write pointer. Zone
	 * commands and flush fail without having done anything. ZD_E_MEDIUM_READ or ZD_E_MEDIUM_WRITE. */
	ZD_FAULT_MEDIUM = 1,
	/* write, append: the first `blocks` logical blocks land (rounded down to physical blocks) and the pointer with
	 * them, then ZD_E_MEDIUM_WRITE. Meets only longer commands. */
	ZD_FAULT_TORN = 2,
	/* write, append: acknowledged and readable, even reported durable after a flush, but the next power cut takes it
	 * away: in required zones with all behind it in its zone (not with more than ZD_MAX_LOST zones so), in conventional
	 * and preferred ones its own blocks, unless they were written again. */
	ZD_FAULT_LOST = 3,
	/* write, append: it succeeds; the next flush fails with ZD_E_MEDIUM_WRITE and makes nothing durable. */
	ZD_FAULT_FLUSH_ERROR = 4,
	ZD_FAULT_FLIP_READ = 5,  /* read: one bit is wrong in the caller's buffer, silently */
	ZD_FAULT_FLIP_MEDIA = 6, /* write, append: one bit is wrong in what was stored, silently */
	/* The first zone of the command that the rule names goes READ_ONLY or OFFLINE before the command (which then
	 * meets that condition) or, with after, once it has succeeded. */
	ZD_FAULT_READ_ONLY = 7,
	ZD_FAULT_OFFLINE = 8,
	ZD_FAULT_LATENCY = 9, /* real_ns pass before the command begins; virtual_ns are added to the disk's sum */
	/* The command waits, holding no lock, until zd_fault_release(), until the rule is cleared, or real_ns have
	 * passed (0: for ever), which ends it with ZD_E_TIMEOUT, not done. The interrupt hook ends it with -EINTR. */
	ZD_FAULT_HANG = 10,
	/* write, append, open, open-all, finish in a sequential zone: ZD_E_TOO_MANY_OPEN, or with active
	 * ZD_E_TOO_MANY_ACTIVE, though resources are left. */
	ZD_FAULT_LIMIT = 11,
	/* The power goes before the command, which fails with ZD_E_POWER_LOSS; or, with after, once it has been done
	 * and acknowledged. `keep` is what survives. */
	ZD_FAULT_POWER_CUT = 12,
	ZD_NR_FAULT_KINDS = 13
};

/* What an emulated power cut keeps of what was written but not flushed. Management commands that returned stay done. */
enum zd_keep {
	ZD_KEEP_DURABLE = 0, /* nothing of it: each zone up to its durable pointer */
	ZD_KEEP_ALL = 1,     /* all of it, but for writes that a fault marked lost */
	ZD_KEEP_RANDOM = 2   /* each zone up to some block between the two, and each block that was overwritten or not, drawn
			      * from the seed */
};

struct zd_fault {
	uint32_t id;          /* out: given by zd_fault_add(), never twice for one disk */
	uint32_t kind;        /* enum zd_fault_kind */
	uint32_t commands;    /* bits 1 << enum zd_cmd; 0: all that the kind can act on */
	uint32_t first_zone, last_zone; /* last_zone ZD_NO_ZONE: to the last */
	uint32_t order;       /* of two rules that may meet the same command, the lower acts first */
	uint64_t from, to;    /* byte range, whole blocks; to 0: no range */
	uint64_t nth, every;  /* 0: not used. At most one of nth, every and probability */
	uint64_t probability; /* of 2^32; 0: not used */
	uint64_t limit;       /* acts at most so often; 0: until cleared */
	uint64_t seed;        /* of probability, of the drawn bit, of a random survivor */
	uint64_t blocks;      /* ZD_FAULT_TORN */
	uint64_t bit;         /* flips: which, counted from the first byte that command and range share; ZD_NONE: drawn */
	uint64_t real_ns, virtual_ns;
	uint8_t after;        /* ZD_FAULT_READ_ONLY, OFFLINE, POWER_CUT */
	uint8_t active;       /* ZD_FAULT_LIMIT */
	uint8_t keep;         /* ZD_FAULT_POWER_CUT: enum zd_keep */
	uint8_t reserved;
	uint32_t waiting;     /* out: commands that it holds up now */
	uint64_t seen;        /* out: commands it met */
	uint64_t matched;     /* out: commands it acted on */
	char label[48];       /* for people; NUL-terminated, may be empty */
};
/*
 * Set a rule; *id says which it became. Refused with -EINVAL and a sentence in err->text: a value out of range, a
 * zone that does not exist, a rule that can never act (commands that its kind does not know, a range outside its
 * zones, zone commands on conventional zones only, data flips on a disk without data, ...), one that may meet the same command as
 * an older one of the same order that can still act. -ENOSPC: ZD_MAX_FAULTS are set. ZD_E_READONLY_HANDLE. -EINTR.
 * Works without power too, as all of these calls do.
 */
int zd_fault_add(zd_dev *dev, const struct zd_fault *fault, uint32_t *id, struct zd_error *err);
/* Take one rule away (-ENOENT: there is none of that id), or all of them with id 0. What hangs goes on. */
int zd_fault_clear(zd_dev *dev, uint32_t id, struct zd_error *err);
/* Let go the commands that hang by a rule now (id 0: by any); the rule stays. */
int zd_fault_release(zd_dev *dev, uint32_t id, struct zd_error *err);
/* The rules in the order in which they act; room for max; returns how many there are. */
int zd_fault_list(zd_dev *dev, struct zd_fault *out, uint32_t max, struct zd_error *err);
/* Commands that a kind can act on, as bits; 0 for an unknown kind. */
uint32_t zd_fault_commands(int kind);
/* Virtual latency that faults have added since the runtime area began, ns. */
uint64_t zd_fault_virtual_ns(zd_dev *dev);

/* ---------------------------------------------------------------- recording commands */

/*
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
#define ZD_TRACE_VERSION 1
#define ZD_TRACE_HEADER 184 /* bytes of a file's header before the conventional ranges */
#define ZD_TRACE_KEEP_CHOSEN 3
#define ZD_TRACE_LAST 1023  /* as many last commands can be asked for */

enum zd_trace_kind { /* of a record, and of an item in the file */
	ZD_TRACE_COMMAND = 1,
	ZD_TRACE_ZONE_BEFORE = 2, /* a zone that was not as new when the recording began */
	ZD_TRACE_BEGIN = 3,       /* behind them: their number */
	ZD_TRACE_LOST = 4,        /* commands that are missing about here */
	ZD_TRACE_ZONE_AFTER = 5,  /* a zone that was not as new when it ended */
	ZD_TRACE_END = 6          /* behind them, last: their number, and that of commands */
};
enum zd_trace_event { /* in cmd, beside enum zd_cmd: what happens to a disk without being a command */
	ZD_TRACE_POWER_CUT = 32, /* offset: the seed; length: enum zd_keep, or ZD_TRACE_KEEP_CHOSEN (zd_power_cut_to()) */
	ZD_TRACE_POWER_ON = 33,
	ZD_TRACE_ROLLBACK = 34
};

struct zd_trace_record {
	uint64_t number;      /* zd_trace_last(): of all that were ever put into the ring; a file: from 0 on */
	uint64_t start_ns;    /* CLOCK_MONOTONIC when it came */
	uint64_t duration_ns; /* till it had taken effect, locks waited for and latency by faults included */
	uint64_t virtual_ns;  /* zd_fault_virtual_ns() at its end */
	uint64_t offset;      /* read, write: as given; else ZD_NONE. Zones: when it was implicitly opened, as a number */
	uint64_t length;      /* data: bytes asked for; zone commands out of range: zones asked for. Zones: durable bytes */
	uint64_t done;        /* bytes transferred, failed or not. Zones: bytes written */
	uint64_t landed;      /* append: where; else ZD_NONE */
	uint64_t wp;          /* failed: of the zone, absolute; ZD_NONE where invalid */
	uint64_t bound;       /* failed: as in struct zd_error. LOST: how many. BEGIN, END: how many zones */
	int32_t result;       /* 0, or the code that it failed with */
	uint32_t zone;        /* append, zone commands: as given; data: of the failure; else ZD_NO_ZONE */
	uint32_t pid, tid;    /* who gave it */
	uint32_t fault;       /* the rule that made it fail, or happen */
	uint8_t kind;         /* enum zd_trace_kind */
	uint8_t cmd;          /* enum zd_cmd, enum zd_trace_event */
	uint8_t cond;         /* failed: of the zone, 0xFF if none is concerned. Zones: condition */
	uint8_t injected;     /* 1: a fault rule made it fail, or happen */
	uint8_t flags;        /* zones: 1 non_seq, 2 reset recommended, 4 finished */
	uint8_t reserved[19];
};

struct zd_trace_status {
	uint64_t records, lost, waits; /* of the recording: commands put down, missing, made to wait for room */
	uint64_t bytes;                /* zd_trace_stop(): size of the file */
	uint32_t recorder;             /* pid of who records to a file; 0: nobody */
	int32_t error;                 /* mine: the errno that ended it early; 0: none */
	uint8_t mine;                  /* it is this handle */
	uint8_t keeps;                 /* zd_trace_keep() */
	uint8_t reserved[6];
};

/*
 * Record to a file, from its present position on; the descriptor is duplicated. -EALREADY: this handle does so;
 * -EBUSY: another does. ZD_E_READONLY_HANDLE, -EINTR, host errors of writing, -ENOSPC (no room for the ring).
 * zd_trace_stop() takes the rest from the ring, writes the end and closes the file; out may be NULL. -ENOENT: this
 * handle records nothing. Other errors: the file could not be written on, and lacks its end. zd_close() does it too.
 * Any threads may begin and end: one recording at a time begins (-EALREADY also while another thread begins or ends
 * one), and one call ends it.
 * A forked child does not go on recording. Both work without power.
 */
int zd_trace_start(zd_dev *dev, int fd, struct zd_error *err);
int zd_trace_stop(zd_dev *dev, struct zd_trace_status *out, struct zd_error *err);
int zd_trace_status(zd_dev *dev, struct zd_trace_status *out, struct zd_error *err);
/*
 * Keep the last commands of all openers in the shared state, or no longer. It stays so through close and open, until
 * the host boots anew. zd_trace_last() copies up to max of them, oldest first, and returns how many; at most
 * ZD_TRACE_LAST are there. It works while a recording runs, too, and on what the last opener left.
 */
int zd_trace_keep(zd_dev *dev, int on, struct zd_error *err);
int64_t zd_trace_last(zd_dev *dev, struct zd_trace_record *out, uint32_t max, struct zd_error *err);

/*
 * What one handle's commands did, told to its own process. before, after: the sequential zone's state; of other
 * zones, and where a command concerns all zones, condition 0.
 */
struct zd_told_zone {
	uint64_t written;     /* bytes up to the write pointer */
	uint8_t cond;         /* enum zd_cond */
	uint8_t finished;     /* 1: FULL by FINISH */
	uint8_t reserved[6];
};
struct zd_told {
	int32_t cmd;          /* enum zd_cmd */
	uint32_t zone;        /* where it began; ZD_NO_ZONE: it concerns all */
	uint64_t offset;      /* data: where; an append: where it landed */
	uint64_t length;      /* data: bytes transferred */
	struct zd_told_zone before, after;
};
typedef void (*zd_told_fn)(void *arg, const struct zd_told *what);
/*
 * From now on call `told` for each command of this handle that took effect, a write cut short included. It runs in the
 * thread that gave the command, mostly under the zone's lock, and must not use dev. A forked child is told nothing. It is
 * this handle's alone: other openers, and other handles, are as fast as without. Any number may observe one handle.
 * `end` is called once, when no thread is in `told` any more and none will be: by zd_observe_end(), zd_close(), or the
 * first call in a forked child. Till then arg must live. Errors: ZD_E_READONLY_HANDLE, -ENOMEM.
 */
int zd_observe(zd_dev *dev, zd_told_fn told, void *arg, void (*end)(void *), struct zd_error *err);
/* No longer those with this arg (NULL: all). */
void zd_observe_end(zd_dev *dev, const void *arg);

/* Reading a file: what lies behind its header, piece by piece. To begin: crc and start_ns as the header has them, else zeros. */
enum zd_trace_damage {
	ZD_TRACE_SOUND = 0,
	ZD_TRACE_CHECKSUM = 1, /* an item's checksum is wrong */
	ZD_TRACE_KIND = 2,     /* an item of an unknown kind */
	ZD_TRACE_BODY = 3      /* an item that says what cannot be */
};
struct zd_trace_reader {
	uint64_t at;        /* bytes behind the header that were understood: damage lies here */
	uint64_t commands;  /* so far */
	uint64_t start_ns, virtual_ns;
	uint32_t pid, tid;
	uint32_t crc;       /* of everything so far */
	uint32_t damage;    /* enum zd_trace_damage; nothing more is read */
	uint32_t ended;     /* the END item was met */
	uint32_t reserved;
};
/*
 * The records in a piece of a file. *used: bytes taken; an item that is not whole yet stays. out has room for max.
 * Returns the number of records; none and *used 0 means that more bytes are needed, or damage.
 */
int64_t zd_trace_read(struct zd_trace_reader *reader, const void *bytes, uint64_t length, struct zd_trace_record *out,
		      uint64_t max, uint64_t *used);

/* ---------------------------------------------------------------- power */

/*
 * Take the power away, for all openers: their commands end first, later ones fail with ZD_E_POWER_LOSS (zd_info,
 * counters and everything about faults and power still answer). Each zone keeps what `keep` says of its
 * unflushed data, then the POWER CYCLE row holds: open zones become CLOSED, or EMPTY where nothing is left. A zone
 * that was written full keeps its condition where max_active leaves it no way back. A disk that has no power already
 * stays as it is.
 *
 * Required zones keep a prefix of what was written. In conventional and preferred zones each block written since the
 * last flush survives or not by itself, at the grain of logical blocks: what does not shows what it held at the last
 * flush. A preferred zone's write pointer stands behind the last block that survived, never before what is durable.
 * Errors: ZD_E_READONLY_HANDLE, -EINVAL, -EINTR; those of the host, after which the disk has no power, and blocks
 * that could not be brought back survived.
 */
int zd_power_cut(zd_dev *dev, int keep, uint64_t seed, struct zd_error *err);
/* Give it back. A cut whose process was killed half-way is brought to its end first: in zones that it had not
 * finished nothing survives that was not flushed. */
int zd_power_on(zd_dev *dev, struct zd_error *err);

/* What a crash survivor keeps of one zone: bytes from its start, in whole logical blocks. */
struct zd_survivor {
	uint32_t zone, zero;
	uint64_t bytes;
};
/*
 * Exactly one survivor. kept: zones in ascending order; a sequential zone that is not named keeps what is durable.
 * undone: first bytes (on the disk, ascending) of the blocks in conventional and preferred zones that are taken back.
 */
struct zd_cut {
	const struct zd_survivor *kept;
	const uint64_t *undone;
	uint32_t nr_kept, zero;
	uint64_t nr_undone;
};
/* As zd_power_cut(). -EINVAL: the disk cannot be left so (now). */
int zd_power_cut_to(zd_dev *dev, const struct zd_cut *cut, struct zd_error *err);

/*
 * Whether the disk remembers, for all openers, what blocks of conventional and preferred zones held at the last
 * flush. Without it a power cut keeps all that was written in them, but for a required order: a preferred zone keeps
 * a prefix. On at first and after the host booted anew; set off and on again, it is on for what is written from then.
 *
 * What it costs: the first write to a block since the last flush reads its old content and stores it (4 KiB: about a
 * microsecond), and the image or RAM holds both till the next flush. Sequential zones of host-managed disks pay
 * nothing. Errors: ZD_E_READONLY_HANDLE, -EINTR.
 */
int zd_power_track(zd_dev *dev, int on, struct zd_error *err);
int zd_power_tracked(zd_dev *dev, struct zd_error *err); /* 1, 0, or negative */
/* 1: there is power. 0: there is none. Negative: the handle cannot tell. */
int zd_power(zd_dev *dev, struct zd_error *err);

/* ---------------------------------------------------------------- snapshots and forks */

/*
 * A snapshot is the whole disk at one moment: conditions, write pointers, durable pointers, data. Taking one copies
 * no data, also not of a fork: slots in use are pinned, which means kept as they are, wherever they lie. It belongs to
 * the process that took it, keeps the disk open till it and all forks of it are freed, and outlives the handle it was
 * taken by. Fault rules, counters and power are no part of it. Works without power.
 * Errors: ZD_E_READONLY_HANDLE, -ENOMEM, -EINTR, -EMFILE, others of zd_open().
 */
typedef struct zd_snapshot zd_snapshot;
int zd_snapshot_take(zd_dev *dev, zd_snapshot **out, struct zd_error *err);
/*
 * The same by any handle. By a read-only one nothing is pinned and no lock is taken, so that what it tells (rows,
 * unflushed blocks) is of one moment only where two looks tell the same; rollbacks and forks of it are refused (-EINVAL).
 */
int zd_snapshot_look(zd_dev *dev, zd_snapshot **out, struct zd_error *err);
void zd_snapshot_free(zd_snapshot *snapshot); /* NULL: nothing */

/*
 * Make the disk what it was at the snapshot, for all openers, in one step. The snapshot stays and may be used again.
 * If the process is killed meanwhile, the disk is as it was, or as the snapshot; then what had been written survives the
 * next power cut even where the snapshot knew that it might not.
 * Errors: -EINVAL (a snapshot of another disk, or of the parent process), READONLY_HANDLE, POWER_LOSS, -EINTR, -ENOSPC (it
 * needs a little room, and changes nothing without it).
 */
int zd_rollback(zd_dev *dev, zd_snapshot *snapshot, struct zd_error *err);

/*
 * A disk of its own in RAM that begins as the snapshot: it sees nothing that is written, reset or punched in the
 * origin later, and the origin sees nothing of it. It may be snapshotted and forked as any disk; whoever is closed
 * first, the others keep what they read (and a file descriptor for each disk in which it lies). cut NULL: exactly the
 * snapshot; else as that power cut would have left it. It lives as long as its handle, in this process.
 * Errors: -EINVAL (a survivor that cannot be), -ENOMEM, -EMFILE and other host errors.
 */
int zd_fork(zd_snapshot *snapshot, const struct zd_cut *cut, zd_dev **out, struct zd_error *err);
/* The same snapshot, to be freed once more. */
void zd_snapshot_share(zd_snapshot *snapshot, zd_snapshot **out);

/* A zone that is not as new. */
struct zd_snapshot_zone {
	uint32_t zone;
	uint8_t type, cond, finished, reserved;
	uint64_t written, durable; /* bytes from the zone's start */
	uint64_t lost_from;        /* a lost write: a power cut keeps no more than that; UINT64_MAX: none */
};
/* A block that was written since the last flush, in a conventional or preferred zone. */
struct zd_snapshot_block {
	uint32_t zone;
	uint32_t lost;   /* 1: by a lost write; no power cut keeps it */
	uint64_t offset; /* its first byte on the disk */
};
/*
 * Those of them whose fate in a power cut can be seen (not those that hold what they held), ascending. Fill up to max;
 * returns how many there are. Errors: those of the host.
 */
int64_t zd_snapshot_unflushed(const zd_snapshot *snapshot, struct zd_snapshot_block *out, uint64_t max, struct zd_error *err);
/* Fill up to max; returns how many there are. */
int zd_snapshot_rows(const zd_snapshot *snapshot, struct zd_snapshot_zone *out, uint32_t max);

/* ---------------------------------------------------------------- check and repair */

enum zd_finding_kind {
	ZD_F_HEADER = 1,       /* a header copy is damaged */
	ZD_F_STATUS = 2,       /* a status copy is damaged */
	ZD_F_ENTRY = 3,        /* one copy of a zone's entry is damaged or stale */
	ZD_F_ENTRY_LOST = 4,   /* both copies are */
	ZD_F_ENTRY_VALUE = 5,  /* an entry says what cannot be (condition, write pointer, slot) */
	ZD_F_SLOT_SHARED = 6,  /* two zones claim one slot */
	ZD_F_SHORT = 7,        /* the file ends before a slot in use does */
	ZD_F_LIMIT = 8,        /* more zones open or active than the limits allow */
	ZD_F_COUNT = 9,        /* a derived count differs from a recount */
	ZD_F_UNCLEAN = 10,     /* not closed cleanly: what was not flushed may be lost (a note, not an error) */
	ZD_F_FAILED = 11,      /* a host sync failed */
	ZD_F_RESERVED = 12     /* bytes that must be zero are not */
};
struct zd_finding {
	int32_t kind;
	uint32_t zone;     /* or ZD_NO_ZONE */
	uint64_t offset;   /* in the file; ZD_NONE if no single place */
	uint8_t error;     /* 0: a note */
	uint8_t mendable;  /* repair can mend it */
	uint8_t mended;    /* repair did */
	uint8_t loses;     /* mending costs data of the zone, or may */
	uint8_t becomes;   /* if so: enum zd_cond that the zone has afterwards */
	uint8_t reserved[3];
	uint64_t lost;     /* bytes of the zone that mending costs; 0: none; ZD_NONE: how many cannot be told */
	char text[240];
};
#define ZD_CHECK_REPAIR 1u
#define ZD_CHECK_BRIEFLY 2u
/*
 * Check an image, in use or not. What a repair would cost is told beforehand, in the same findings. *findings is an
 * array of *count (free with zd_findings_free; count 0 gives NULL). With ZD_CHECK_REPAIR others may not have it open
 * (ZD_E_BUSY). A file that is no image at all, or whose both headers are damaged, fails with the code that zd_open()
 * would give; so does a repair that cannot write down what killed users left, of which it gives up nothing.
 */
int zd_check(const char *path, unsigned flags, struct zd_finding **findings, size_t *count, struct zd_error *err);
void zd_findings_free(struct zd_finding *findings);

/* CRC-32C (Castagnoli, reflected), as the image uses it; crc 0 to begin. */
uint32_t zd_crc32c(uint32_t crc, const void *data, size_t length);

#ifdef __cplusplus
}
#endif
#endif
