/* SPDX-License-Identifier: Apache-2.0 */
/*
 * zoned/device.h - disks: making them, opening and closing them, what they are, and who is asked during long calls.
 */
#ifndef ZONED_DEVICE_H
#define ZONED_DEVICE_H

#include "zoned/abi.h"
#include "zoned/error.h"
#include "zoned/geometry.h"
#include "zoned/zone.h"

ZD_BEGIN

#define ZD_IMAGE_VERSION 1

#define ZD_OPEN_READONLY 1u
#define ZD_OPEN_BRIEFLY 2u /* zd_open() */
#define ZD_CREATE_REPLACE 1u

/*
 * Make a disk and open it. path NULL: in RAM (memfd), gone when its last handle and fork closes.
 * A file is made complete under a temporary name and linked into place, so two creates that race give one
 * winner and -EEXIST, and a crash leaves no half image. flags: ZD_CREATE_REPLACE replaces an existing file, whose
 * mode and group the new one gets (without a file: what the umask leaves), and which nobody may have open for writing.
 * Errors: ZD_E_GEOMETRY, ZD_E_BUSY, -EINVAL (struct_size; something reserved is not zero), -EEXIST, -ENOENT (no such folder),
 * -ENOTDIR, -EISDIR, -EACCES, -EPERM, -EROFS, -ENOSPC, -EDQUOT, -EFBIG, -EIO, -ENOMEM, -EMFILE, -ENFILE, -ENAMETOOLONG, -ELOOP,
 * -ETIMEDOUT (as zd_open()).
 */
int zd_create(const char *path, const struct zd_config *config, unsigned flags, zd_dev **out, struct zd_error *err);
/*
 * Give a finished image its name, as zd_create() does: `from` is its temporary one, in the same folder, and is gone if
 * this succeeds. Errors: ZD_E_BUSY, -EEXIST, -ENOENT, -ENOTDIR, -EISDIR, -EACCES, -EPERM, -EROFS, -ENOSPC, -EDQUOT, -EIO, -ENOMEM,
 * -EMFILE, -ENFILE, -ENAMETOOLONG, -ELOOP, -EXDEV, -ETIMEDOUT.
 */
int zd_place(const char *from, const char *path, unsigned flags, struct zd_error *err);
/*
 * 0 if ZD_CREATE_REPLACE would find nobody who has the file at path open. Errors: ZD_E_BUSY, -EISDIR, -ENOTDIR, -EACCES, -ELOOP,
 * -EIO, -ENOMEM, -EMFILE, -ENFILE, -ENAMETOOLONG, -ETIMEDOUT.
 */
int zd_replaceable(const char *path, struct zd_error *err);

/*
 * Open an image. The first opener recovers it: words left by killed processes of this boot are kept,
 * otherwise the newest valid zone entries count.
 * Openers take turns. If one of them is stopped at it, others fail with -ETIMEDOUT after 30 s; with ZD_OPEN_BRIEFLY
 * (or, in zd_check(), ZD_CHECK_BRIEFLY) after 50 ms, for callers that may be told to end meanwhile: they try again. Nobody
 * who may only read the image can make those wait who may write it.
 * Errors: ZD_E_NOT_IMAGE, ZD_E_VERSION, ZD_E_FEATURE, ZD_E_TRUNCATED, ZD_E_CORRUPT, ZD_E_FAILED, ZD_E_BUSY (open by a build that
 * shares its state in another way), -ENOENT, -ENOTDIR, -EISDIR, -EACCES, -EPERM, -EROFS (use ZD_OPEN_READONLY), -ENOSPC and -EDQUOT
 * (no room for shared state), -EFBIG, -EIO, -ENOMEM, -EMFILE, -ENFILE, -ENAMETOOLONG, -ELOOP, -ENXIO, -ETIMEDOUT.
 */
int zd_open(const char *path, unsigned flags, zd_dev **out, struct zd_error *err);

/*
 * Close a handle; always frees it. The last closer of an image syncs data and entries (unless host_sync
 * is never) and marks it clean. Conditions stay: this is no power cycle. The interrupt
 * hook can end a wait for others in it (-EINTR): then it is as if the process had died, and nothing is lost by that.
 * Errors: ZD_E_FAILED, -EINTR, -ETIMEDOUT, -EIO, -ENOSPC, -EDQUOT, -EFBIG, -ENOMEM.
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

/* ---------------------------------------------------------------- looking */

/* Begin with struct_size; the rest is filled. */
struct zd_info {
	uint32_t struct_size; /* sizeof(struct zd_info) */
	uint32_t version;
	uint64_t size, zone_size, zone_capacity, append_limit, seed, slot_size, slot_cache;
	uint32_t logical_block, physical_block, max_open, max_active, nr_zones, nr_conv_zones, nr_conv_ranges;
	uint8_t dialect, model, implicit_close, unrestricted_read, data, host_sync;
	uint8_t readonly; /* this handle */
	uint8_t in_ram;
	uint8_t clean;    /* the image was closed cleanly before this opening (always 1 in RAM) */
	uint8_t failed;   /* a host sync failed */
	uint8_t cow_host; /* every store goes by pwrite */
	uint8_t pace;     /* enum zd_paces: as the disk was made, whatever this handle does */
	uint64_t features;
	uint8_t uuid[16];
	uint64_t created; /* seconds since 1970 */
	char profile[64];
	/* now */
	uint32_t nr_implicit_open, nr_explicit_open, nr_closed; /* active = their sum */
	uint32_t slots_used, slots_free, slots_pending, slots_total;
	uint32_t zone_extension; /* bytes of a zone's descriptor extension; 0: zones have none */
	uint64_t table_offset, runtime_offset, data_offset, file_size;
	uint32_t zrwa_size, zrwa_granularity, zrwa_count; /* as in struct zd_config */
	uint32_t zrwa_used;                               /* zones that have a random write area now */
};
/*
 * What the disk is and how it stands. Takes no lock, and works without power. Errors: -EINVAL (struct_size), -EIO.
 */
int zd_info(zd_dev *dev, struct zd_info *out, struct zd_error *err);
/* The conventional ranges; out has room for max; returns how many there are. Never fails. */
int zd_conv_ranges(zd_dev *dev, struct zd_range *out, uint32_t max);

#define ZD_MAX_RULES 64 /* room for more rules than there are */

/* Begin with struct_size; the rest is filled. */
struct zd_counters {
	uint32_t struct_size;                    /* sizeof(struct zd_counters) */
	uint32_t max_open_seen, max_active_seen; /* high-water marks */
	uint32_t reserved;
	struct zd_zone_counters zones; /* the sum over all zones; errors: also those that concern no zone */
	uint64_t flushes;
	uint64_t errors_by_rule[ZD_MAX_RULES]; /* index: ZD_E_FIRST_RULE - code */
};
/* Since the disk was created, or since the host last booted. Works without power. Errors: -EINVAL (struct_size). */
int zd_counters(zd_dev *dev, struct zd_counters *out, struct zd_error *err);

/* 1 if another handle, in whatever process, has the disk open for writing; 0 if none has. Errors: -EIO, -ENOLCK. */
int zd_others_write(zd_dev *dev, struct zd_error *err);
/*
 * How often something has happened to the disk that no host's command explains, by whatever opener, since it was created or
 * the host last booted: a door that looks at it tells its hosts. The numbers only grow, and wrap: of two looks, the later one
 * has the larger, by (int32_t)(later - earlier) >= 0.
 */
struct zd_news {
	uint32_t powered;     /* the power came back, or was cycled */
	uint32_t conditioned; /* a zone became READ_ONLY or OFFLINE by itself or by zd_set_condition(), or came back from it */
	uint32_t gone_back;   /* zd_rollback() */
};
/*
 * Three loads; works without power too. Errors: -EIO, -EMFILE (both only of a
 * forked child, which attaches anew).
 */
int zd_news(zd_dev *dev, struct zd_news *out, struct zd_error *err);

/* A descriptor of the image (owned by the handle; do not close), for fstat and /proc look-ups. */
int zd_fd(zd_dev *dev);

ZD_END

#endif
