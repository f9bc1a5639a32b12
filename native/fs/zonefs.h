/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of native/fs share. Nothing outside native/fs includes this; nothing in here knows FUSE,
 * Python, or the inside of native/device.
 *
 * Files, from the bottom up: super (the superblock), node (names, numbers, attributes), fault (errno values,
 * sentences, what an I/O error does to a file), zone (zone commands, accounting, truncate), tail (what a relaxed
 * mount holds back), file (read, write, fsync), open (open, close, and what an open file answers else), mount (building
 * the tree, options, counters).
 *
 * Locks: a node's lock, then whatever the disk takes. A call never holds two nodes' locks. What belongs to the
 * whole file system is atomic.
 */
#ifndef ZD_FS_INTERNAL_H
#define ZD_FS_INTERNAL_H

#include "zoned/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#define ZD_FS_NAME_MAX 16
#define ZD_FS_PAGE 4096u         /* the kernel's page cache works in these */
#define ZD_FS_MAX_RW 0x7ffff000u /* the longest read or write: MAX_RW_COUNT */

enum { ZD_GROUP_CNV = 0, ZD_GROUP_SEQ = 1, ZD_NR_GROUPS = 2 };

/* The kernel's ZONEFS_ZONE_* */
enum zd_node_flag {
	ZD_NODE_CNV = 1,
	ZD_NODE_OPEN = 2,   /* explicitly opened by this mount */
	ZD_NODE_ACTIVE = 4, /* counted as active */
	ZD_NODE_OFFLINE = 8,
	ZD_NODE_READONLY = 16,
	ZD_NODE_IMMUTABLE = 32,
	/* Ours: explicitly opened for what is held back; and lent, closed again for another file that needed to be open. */
	ZD_NODE_HELD = 64,
	ZD_NODE_LENT = 128
};

/* Attributes that files and directories have. Times are nanoseconds since 1970. */
struct zd_attr {
	_Atomic uint32_t mode;
	_Atomic uint32_t uid, gid;
	_Atomic int64_t atime, mtime, ctime;
};

/*
 * A file. What is not atomic changes under `lock` held for writing, which a write keeps until the disk is done; a disk
 * can hang. So stat does without the lock (`end`), and who waits for it can be interrupted (zd_node_lock()).
 */
struct zd_node {
	pthread_rwlock_t lock;
	struct zd_attr attr;
	_Atomic uint64_t end;    /* what stat tells: zd_node_end() as it was when the lock was last given back */
	uint32_t zone, nr_zones; /* several where conventional zones are aggregated */
	uint64_t start;          /* on the disk */
	uint64_t capacity;
	uint64_t size; /* i_size and z_wpoffset: no moment outside the lock knows them apart */
	uint8_t *tail; /* relaxed: a block's room for what is not written yet */
	uint32_t tail_length;
	_Atomic uint32_t flags;   /* enum zd_node_flag */
	uint32_t writers;         /* descriptions open for writing */
	struct zd_fs_file *files; /* those, of a sequential file */
	uint64_t seen;            /* resets (sequential) or writes (conventional) of the zones, ours or seen */
};

struct zd_group {
	struct zd_attr attr;
	struct zd_node *nodes;
	uint32_t nr_nodes;
};

struct zd_fs {
	zd_dev *dev;
	struct zd_info info;
	struct zd_fs_format format;
	_Atomic uint32_t refs;       /* the mount and each open file */
	_Atomic uint32_t nr_writers; /* open files that can write */
	atomic_bool dead;            /* unmounted */
	atomic_bool readonly;
	_Atomic uint32_t errors; /* enum zd_fs_errors */
	atomic_bool explicit_open;
	bool relaxed;
	uint32_t block; /* the zone write granularity */
	uint32_t uid, gid, perm;
	struct zd_attr root;
	struct zd_group groups[ZD_NR_GROUPS];
	struct zd_node *nodes; /* of both groups */
	uint32_t *of_zone;     /* zone -> index in nodes + 1, or 0 */
	uint64_t max_bytes;    /* s_maxbytes */
	uint64_t blocks;
	_Atomic uint64_t used_blocks;
	_Atomic uint32_t nr_wro, nr_active;
	_Atomic uint32_t nr_held; /* nodes with ZD_NODE_HELD */
	_Atomic uint32_t news;    /* enum zd_fs_news, as bits: what zd_fs_news() has not told yet */
	pthread_mutex_t news_lock;
	char news_text[ZD_FS_NR_NEWS][ZD_FS_TEXT];
};

struct zd_fs_file {
	zd_fs *fs;
	struct zd_node *node;
	bool readable, writable;
	/* Under the node's lock held for writing; read without it where a moment's truth will do. */
	_Atomic bool in_tail;          /* some of what is held back came through here */
	_Atomic int lost;              /* what came through here was lost, with this errno, and nobody was told yet */
	struct zd_fs_file *next, **at; /* zd_node.files */
};

static inline bool zd_node_cnv(const struct zd_node *node)
{
	return (node->flags & ZD_NODE_CNV) != 0;
}
static inline bool zd_node_immutable(const struct zd_node *node)
{
	return (node->flags & ZD_NODE_IMMUTABLE) != 0;
}
/* With what a relaxed mount holds back. */
static inline uint64_t zd_node_end(const struct zd_node *node)
{
	return node->size + node->tail_length;
}

/* node.c */
int64_t zd_fs_now(void);
struct zd_node *zd_fs_node(zd_fs *fs, uint64_t ino); /* NULL if the number names no file */
/* The attributes of a file or directory, NULL if there is none. *node is NULL for directories. */
struct zd_attr *zd_fs_attr(zd_fs *fs, uint64_t ino, struct zd_node **node);
void zd_attr_init(struct zd_attr *attr, uint32_t mode, uint32_t uid, uint32_t gid, int64_t now);
/* "seq/3", for sentences; to has room for 24 bytes. */
const char *zd_node_name(const zd_fs *fs, const struct zd_node *node, char *to);
/* 0 or a negative errno. */
int zd_node_init_lock(struct zd_node *node);
/* Take the lock for reading or writing. -EINTR, with nothing held: the disk's interrupt hook ended the wait. */
int zd_node_lock(zd_fs *fs, struct zd_node *node, bool write, struct zd_error *err);
/* The same for who can do without: false if it was not to be had within 50 ms. */
bool zd_node_lock_soon(struct zd_node *node, bool write);
/* Give back a lock that was held for writing. */
void zd_node_changed(struct zd_node *node);

/* fault.c */
/* -e, with a sentence in err. */
int zd_fs_fail(struct zd_error *err, int e, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* -EIO: it was unmounted. */
int zd_fs_gone(struct zd_error *err);
/* The negative errno for what the disk returned. */
int zd_fs_errno(const zd_fs *fs, int64_t code);
/* zonefs_io_error(): under the node's lock held for writing. err: why, for who asks what made the mount read-only. */
void zd_fs_io_error(zd_fs *fs, struct zd_node *node, bool write, const struct zd_error *err);
/* An error made the file system read-only. */
void zd_fs_turn_readonly(zd_fs *fs, const struct zd_node *node, const struct zd_error *err);
/* zonefs_check_zone_condition(): how much of the zone can be read; marks dead zones. */
uint64_t zd_fs_check_condition(struct zd_node *node, const struct zd_zone *zone);
/* What is shared with other openers, as it is now: see zd_node.seen. */
uint64_t zd_fs_seen(zd_fs *fs, const struct zd_node *node);

/* zone.c; all under the node's lock held for writing */
int zd_fs_zone_command(zd_fs *fs, struct zd_node *node, int cmd, struct zd_error *err);
void zd_fs_account_active(zd_fs *fs, struct zd_node *node);
/* With the block statistics. A full zone is neither open nor active any more. */
void zd_fs_set_size(zd_fs *fs, struct zd_node *node, uint64_t size);
int zd_fs_truncate(zd_fs *fs, struct zd_node *node, uint64_t size, struct zd_error *err);
int zd_fs_write_open(zd_fs *fs, struct zd_node *node, struct zd_error *err);
int zd_fs_write_close(zd_fs *fs, struct zd_node *node, struct zd_error *err);

/* attr.c: setattr without the question whether the mount is read-only, which ftruncate(2) does not ask. */
#define ZD_FS_BY_FILE 0x80000000u /* in `set`: through an open file */
int zd_fs_change(zd_fs *fs, uint64_t ino, const struct stat *to, unsigned set, struct zd_error *err);

/* tail.c; all under the node's lock held for writing */
/* Before the first bytes are held back: take what the block's write will need. 0 or a negative errno. */
int zd_fs_tail_begin(zd_fs *fs, struct zd_node *node, struct zd_error *err);
/* What is held back is on the disk, or is to be forgotten. */
void zd_fs_tail_end(zd_fs *fs, struct zd_node *node);
/* What is held back will never be on the disk. err (may be NULL): why. */
void zd_fs_tail_lost(zd_fs *fs, struct zd_node *node, int e, const struct zd_error *err);
/* Fill the block up with zeros and write it. If that fails, it is lost, but for -EINTR. */
int zd_fs_pad_tail(zd_fs *fs, struct zd_node *node, struct zd_error *err);
/* Too many zones are open: close one that is open for another file's tail. False if there is none. */
bool zd_fs_tail_lends(zd_fs *fs, const struct zd_node *to);

/* file.c */
/* n bytes (whole blocks, all of iov) at the end of a sequential file: what landed, or a negative errno. */
int64_t zd_fs_write_end(zd_fs *fs, struct zd_node *node, const struct iovec *iov, int count, uint64_t n, struct zd_error *err);
/* What a write that the disk refused with this code ends with, the file having been dealt with. */
int zd_fs_write_refused(zd_fs *fs, struct zd_node *node, int64_t code, struct zd_error *err);

/* ---------------------------------------------------------------- the disk's commands, told to who watches the handle */

static inline int64_t zd_fs_pwrite(zd_dev *dev, const void *buf, uint64_t length, uint64_t offset, struct zd_error *err)
{
	return zd_watched(dev, ZD_CMD_WRITE, offset, length, zd_pwrite(dev, buf, length, offset, err));
}

static inline int64_t zd_fs_pwritev(zd_dev *dev, const struct iovec *iov, int count, uint64_t length, uint64_t offset,
				    struct zd_error *err)
{
	return zd_watched(dev, ZD_CMD_WRITE, offset, length, zd_pwritev(dev, iov, count, offset, err));
}

static inline int zd_fs_zone_mgmt(zd_dev *dev, int cmd, uint32_t zone, struct zd_error *err)
{
	return (int)zd_watched(dev, cmd, zone, 1, zd_zone_mgmt(dev, cmd, zone, 1, err));
}

static inline int zd_fs_flush(zd_dev *dev, struct zd_error *err)
{
	return (int)zd_watched(dev, ZD_CMD_FLUSH, 0, 0, zd_flush(dev, err));
}

#endif
