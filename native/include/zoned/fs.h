/* SPDX-License-Identifier: Apache-2.0 */
/*
 * zoned/fs.h - zonefs on an emulated disk: public interface and manual of native/fs.
 *
 * A zd_fs shows a disk's zones as files by the rules of Linux 6.12's zonefs (fs/zonefs/{super,file,sysfs}.c):
 * the same tree, numbers, sizes, errno values and order of checks. It knows no FUSE and no Python; both doors,
 * the in-process one and the mount, are thin layers over these calls.
 *
 * Files are named by inode number, as zonefs numbers them: a zone's file has the zone's index; the root
 * nr_zones; cnv/ nr_zones+1; seq/ nr_zones+2. With aggregated conventional zones a file has its first zone's.
 *
 * Returns     0 or a count, or a negative errno exactly as the kernel would give it to the caller of the
 *             system call. Where the disk refused, `struct zd_error *` (may be NULL) tells why as well.
 * Threads     All calls may come from many threads. One lock a file (the inode's), taken before the disk's.
 * State       Each zd_fs keeps its own size, mode and owner for each file, as the kernel does for a mount:
 *             another opener of the same disk that writes or resets a zone is seen by zd_fs_revalidate().
 */
#ifndef ZONED_FS_H
#define ZONED_FS_H

#include "zoned/zoned.h"

#include <sys/stat.h>

ZD_BEGIN

typedef struct zd_fs zd_fs;
typedef struct zd_fs_file zd_fs_file; /* an open file description */

enum zd_fs_errors { /* what an I/O error does (Documentation/filesystems/zonefs.rst, "IO error handling") */
	ZD_FS_REMOUNT_RO = 0,
	ZD_FS_ZONE_RO = 1,
	ZD_FS_ZONE_OFFLINE = 2,
	ZD_FS_REPAIR = 3
};

#define ZD_FS_EXPLICIT_OPEN 1u
#define ZD_FS_READONLY 2u
/*
 * Relaxed: what the default mount does so that cp, dd, tar and >> work. Buffered writes of any length are
 * taken at the end of a sequential file; the last partial block is held back and padded with zeros by fsync,
 * by zd_fs_settle() and by the last close. Until then st_size is the true length. A relaxed write elsewhere in a
 * sequential file is refused as the kernel refuses it (EINVAL).
 *
 * The first bytes that are held back take what their block will need: where the disk has limits its zone is
 * opened, and the block gets its place on the host. So limits, a full zone and a full host fail the write; a
 * failure of the medium fails the fsync or zd_fs_settle().
 */
#define ZD_FS_RELAXED 4u

struct zd_fs_options {
	uint32_t errors;      /* enum zd_fs_errors */
	uint32_t flags;       /* ZD_FS_* */
	/* Each -1 (all ones): as the superblock says, or zonefs's default (0, 0, 0640). */
	uint32_t uid, gid, perm;
	uint32_t reserved[3]; /* 0 */
};

#define ZD_FS_MAGIC 0x5a4f4653u
#define ZD_FS_F_AGGRCNV 1ull
#define ZD_FS_F_UID 2ull
#define ZD_FS_F_GID 4ull
#define ZD_FS_F_PERM 8ull

/* mkzonefs: resets all sequential zones, writes the superblock to zone 0, finishes it if it is sequential. */
struct zd_fs_format {
	uint64_t features;  /* ZD_FS_F_* */
	uint32_t uid, gid, perm;
	char label[64];     /* NUL-padded */
	uint8_t uuid[16];
};
/*
 * 0, or why no zonefs fits on the disk.
 * Errors: -ENOSPC (zone 0 has no room for a superblock, or no other zone can be written), -EIO, -EINTR, -ETIMEDOUT, -ENOMEM.
 */
int zd_fs_fits(zd_dev *dev, struct zd_error *err);
/*
 * Make one. Errors: -EROFS (the disk is open read-only), -EINVAL (unknown features), -ENOSPC (zd_fs_fits(), and the host's),
 * -EIO, -EINTR, -ETIMEDOUT, -EDQUOT, -EFBIG, -ENOMEM.
 */
int zd_fs_mkfs(zd_dev *dev, const struct zd_fs_format *format, struct zd_error *err);
/*
 * The superblock, checked as zonefs_read_super() does. Errors: -EINVAL (err->text names the check that failed), -EIO, -EINTR,
 * -ETIMEDOUT, -ENOMEM.
 */
int zd_fs_read_super(zd_dev *dev, struct zd_fs_format *out, struct zd_error *err);

/*
 * The disk stays the caller's and must outlive the zd_fs. Closes open zones, or resets empty ones, as a mount does.
 * Errors: -EINVAL (an option, or the superblock: zd_fs_read_super()), -EACCES (the disk is open read-only, and ZD_FS_READONLY is
 * not asked for), -EIO, -EINTR, -ETIMEDOUT, -ENOSPC, -EDQUOT, -EFBIG, -ENOMEM.
 */
int zd_fs_mount(zd_dev *dev, const struct zd_fs_options *options, zd_fs **out, struct zd_error *err);
/*
 * Open files need not be closed first; they become useless (EIO), but zd_fs_close() must still be called to free
 * them. What they hold back is padded and written, and zones they hold open are closed. No other call on fs may be
 * under way.
 */
void zd_fs_umount(zd_fs *fs);
/* The same without touching the disk, for when that is gone already (its handle was closed). */
void zd_fs_detach(zd_fs *fs);
/*
 * In a forked child, before any other call on fs there: the threads that were inside calls do not exist here, and
 * locks of files that they held are free again. Of such a file the size is what its zone holds now.
 */
void zd_fs_forked(zd_fs *fs);
/*
 * As mount -o remount. -EINVAL (an option), -EIO (it was unmounted), -EACCES (the disk is open read-only), -EBUSY (read-only is
 * asked for while files are open for writing).
 */
int zd_fs_remount(zd_fs *fs, const struct zd_fs_options *options);
void zd_fs_get_options(zd_fs *fs, struct zd_fs_options *out); /* readonly may have been set by an error */

/* What happened that no caller may have been told, each time once: */
enum zd_fs_news {
	ZD_FS_NEWS_LOST = 0,     /* bytes that a write had taken never got to the disk */
	ZD_FS_NEWS_READONLY = 1  /* an error made the file system read-only */
};
#define ZD_FS_NR_NEWS 2
#define ZD_FS_TEXT 256 /* room for any sentence below, and its NUL */
/* The next one, and a sentence about it; -1 if there is none. Costs nothing then. */
int zd_fs_news(zd_fs *fs, char text[ZD_FS_TEXT]);
/* Files that are open for writing. */
uint32_t zd_fs_nr_writers(zd_fs *fs);

uint64_t zd_fs_root(zd_fs *fs); /* inode number of the root */
/* -ENOENT, -ENAMETOOLONG (over 16 characters), -ENOTDIR, -EIO (it was unmounted). */
int zd_fs_lookup(zd_fs *fs, uint64_t parent, const char *name, uint64_t *ino);
/* st_dev is left 0. -ENOENT for a number that names nothing, -EIO (it was unmounted). */
int zd_fs_getattr(zd_fs *fs, uint64_t ino, struct stat *out);
/*
 * Directory entries in zonefs's order: ".", "..", then the groups or files. *index is where to go on, 0 to begin;
 * returns 1 with an entry, 0 at the end; -ENOENT, -ENOTDIR, -EIO (it was unmounted). name has room for 17 bytes.
 */
int zd_fs_readdir(zd_fs *fs, uint64_t dir, uint64_t *index, uint64_t *ino, mode_t *type, char *name);

#define ZD_FS_SET_MODE 1u
#define ZD_FS_SET_UID 2u
#define ZD_FS_SET_GID 4u
#define ZD_FS_SET_SIZE 8u
#define ZD_FS_SET_ATIME 16u
#define ZD_FS_SET_MTIME 32u
/*
 * chmod, chown, utimens, truncate: what `set` names, checked in the order of zonefs_inode_setattr().
 * Errors: -ENOENT, -EPERM (a dead zone, a size that no zone can have, a directory to be made writable), -EINVAL (a negative size),
 * -EISDIR, -EROFS, -EFBIG (larger than any file here, and the host's), -EIO (also: it was unmounted), -EINTR, -ETIMEDOUT, -ENOSPC,
 * -EDQUOT, -ENOMEM.
 */
int zd_fs_setattr(zd_fs *fs, uint64_t ino, const struct stat *to, unsigned set, struct zd_error *err);
/*
 * ftruncate(2): as truncate, but not refused because the file system became read-only.
 * Errors: -EINVAL (not open for writing, a negative size), -EPERM, -EFBIG, -EIO, -EINTR, -ETIMEDOUT, -ENOSPC, -EDQUOT, -ENOMEM.
 */
int zd_fs_ftruncate(zd_fs_file *file, uint64_t size, struct zd_error *err);

/*
 * flags: open(2)'s. O_TRUNC truncates (and so resets, or fails with EPERM on conventional files).
 * Errors: -ENOENT, -EEXIST (O_EXCL), -EISDIR, -ENOTDIR, -EROFS, -EPERM, -EBUSY (explicit-open: as many files are open for writing as
 * may be), -EIO (also: it was unmounted), -EINTR, -ETIMEDOUT, -ENOSPC, -EDQUOT, -EFBIG, -ENOMEM.
 */
int zd_fs_open(zd_fs *fs, uint64_t ino, int flags, zd_fs_file **out, struct zd_error *err);
/*
 * The last close of a file open for writing closes (or resets, if empty) its zone under explicit-open. The file is closed
 * whatever comes of it. Errors: -EIO, -EINTR, -ETIMEDOUT, -ENOSPC, -EDQUOT, -EFBIG, -ENOMEM.
 */
int zd_fs_close(zd_fs_file *file, struct zd_error *err);
/*
 * What close(2) waits for and tells, before the zd_fs_close() behind its back: if bytes that came through this file
 * are held back, their block is padded and written. 0, or the errno with which bytes of this file were lost, now or
 * since it was last told by this, by fsync or by a write.
 * Errors: -EINTR (nothing has changed), -EIO, -ETIMEDOUT, -ENOSPC, -EDQUOT, -EFBIG, -ENOMEM.
 */
int zd_fs_settle(zd_fs_file *file, struct zd_error *err);
/* Whether zd_fs_settle() has anything to do or to tell. Takes no lock. */
int zd_fs_unsettled(const zd_fs_file *file);
/* Free an open file without touching the disk, for when that is gone already (its handle was closed). */
void zd_fs_drop(zd_fs_file *file);
/*
 * flags: O_DIRECT and O_APPEND as fcntl(F_SETFL) may have changed them since; pos -1 is not special.
 * Errors: -EBADF (not open for reading), -EINVAL (a negative offset; O_DIRECT not in whole blocks), -EPERM (a dead zone), -EIO,
 * -EINTR, -ETIMEDOUT, -ENOMEM.
 */
int64_t zd_fs_read(zd_fs_file *file, void *buf, uint64_t length, uint64_t pos, int flags, struct zd_error *err);
/*
 * The same without a copy: all checks of zd_fs_read(), then a pointer to what it would give. Returns the number of
 * bytes at *at, all that zd_fs_read() would return; until zd_fs_read_end() from the same thread nothing changes them,
 * and no other call on this disk may be made. Returns 0 at the end of the file. *at is NULL, and nothing is held,
 * whenever the result is 0 or negative.
 * Errors: -EAGAIN (only zd_fs_read() will do here: a partial block held back, edges within a block, blocks that are not mapped),
 * -EBADF, -EINVAL, -EPERM, -EIO, -EINTR, -ETIMEDOUT, -ENOMEM.
 */
int64_t zd_fs_read_begin(zd_fs_file *file, uint64_t length, uint64_t pos, int flags, const void **at,
			 struct zd_error *err);
void zd_fs_read_end(zd_fs_file *file, uint64_t pos); /* pos: as given to zd_fs_read_begin */
/*
 * landed (may be NULL): where the bytes went, which O_APPEND decides. With O_DSYNC in flags they are durable, and a
 * partial block held back is padded, when the call returns.
 * Errors: -EBADF (not open for writing), -EINVAL (a negative offset; not in whole blocks; O_APPEND of a conventional file; not at
 * the end of a sequential one), -EFBIG (beyond the file's capacity), -EPERM (a dead zone), -EROFS, -EIO (also: a sequential file
 * without O_DIRECT), -EINTR, -ETIMEDOUT, -ENOSPC, -EDQUOT, -ENOMEM.
 */
int64_t zd_fs_write(zd_fs_file *file, const void *buf, uint64_t length, uint64_t pos, int flags, uint64_t *landed,
		    struct zd_error *err);
/*
 * Errors: -ENOENT, -EINVAL (a directory), -EPERM (a dead zone), -EIO (also: it was unmounted, or bytes that a write had taken were
 * lost), -EINTR, -ETIMEDOUT, -ENOSPC, -EDQUOT, -EFBIG, -ENOMEM.
 */
int zd_fs_fsync(zd_fs *fs, uint64_t ino, struct zd_error *err);
/* fallocate(2): there is none. Errors: -EOPNOTSUPP, -EPERM (the file of a dead zone). */
int zd_fs_fallocate(zd_fs_file *file, struct zd_error *err);
/*
 * mmap(2)'s checks, with its prot and flags: -EINVAL for a mapping that could be written on a sequential file, -EACCES for what
 * the file is not open for, -EIO (it was unmounted).
 */
int zd_fs_check_mmap(zd_fs_file *file, int prot, int flags);

struct zd_fs_statfs {
	uint64_t blocks, bfree, files; /* bavail = bfree, ffree = 0 */
	uint32_t bsize, namelen;
	uint64_t fsid;
};
int zd_fs_statfs(zd_fs *fs, struct zd_fs_statfs *out);

/* /sys/fs/zonefs/<dev>/: 0 is no limit, or one that the sequential zones cannot reach. */
struct zd_fs_counters {
	uint32_t max_wro_seq_files, nr_wro_seq_files, max_active_seq_files, nr_active_seq_files;
};
void zd_fs_get_counters(zd_fs *fs, struct zd_fs_counters *out);

/*
 * Take a file's size from its zone if someone else changed the zone since this zd_fs last looked. Returns 1 if it
 * had changed (page caches of the file are stale; its mtime is new then), 0 if not.
 */
int zd_fs_revalidate(zd_fs *fs, uint64_t ino);

ZD_END

#endif
