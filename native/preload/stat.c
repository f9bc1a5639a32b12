/* SPDX-License-Identifier: Apache-2.0 */
/* stat() and its kin: our nodes are block and character devices, our files are where the program looks for them. */
#include "preload/preload.h"
#include "preload/real.h"

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

int zp_result(int64_t result)
{
	if (result >= 0)
		return (int)result;
	errno = (int)-result;
	return -1;
}

/* Owner, mode and times are the image's: whoever may write it may write the disk. */
void zp_stat(int index, int kind, struct stat *st)
{
	const struct zp_disk *disk = &zp_session.disks[index];
	struct stat image;

	memset(st, 0, sizeof(*st));
	if (syscall(SYS_newfstatat, AT_FDCWD, disk->image, &image, 0) == 0) {
		st->st_uid = image.st_uid;
		st->st_gid = image.st_gid;
		st->st_mode = image.st_mode & 0666;
		st->st_atim = image.st_atim;
		st->st_mtim = image.st_mtim;
		st->st_ctim = image.st_ctim;
	}
	st->st_mode |= kind == ZP_CHAR ? S_IFCHR : S_IFBLK;
	st->st_rdev = kind == ZP_CHAR ? disk->char_number : disk->number;
	st->st_dev = makedev(0, 6);
	st->st_ino = 1000 + (ino_t)index * 2 + (kind == ZP_CHAR);
	st->st_nlink = 1;
	st->st_blksize = 4096;
}

/* Whether it is a link, and the caller wants to see it as one. */
static bool is_link(int dirfd, const char *path, int flags)
{
	char target[4];
	int saved = errno;
	bool link = (flags & AT_SYMLINK_NOFOLLOW) && path && zp_real.readlinkat(dirfd, path, target, sizeof(target)) > 0;

	errno = saved;
	return link;
}

/* What the kernel did not find behind one of our nodes is not there as that is no folder. */
static int below_is_no_folder(int dirfd, const char *path, int r)
{
	if (r < 0 && errno == ENOENT && zp_below(dirfd, path))
		errno = ENOTDIR;
	return r;
}

static __attribute__((noinline)) int stat_path(int dirfd, const char *path, struct stat *st, int flags)
{
	char room[PATH_MAX];
	struct zp_open *open;
	int kind, disk;

	if (path && !*path && (flags & AT_EMPTY_PATH) && (open = zp_find(dirfd))) {
		zp_stat(open->disk, open->kind, st);
		return 0;
	}
	/* A link to one of ours is a link for lstat(). */
	disk = is_link(dirfd, path, flags) ? -1 : zp_named(dirfd, path, &kind);
	if (disk >= 0) {
		zp_stat(disk, kind, st);
		return 0;
	}
	return below_is_no_folder(dirfd, path, zp_real.fstatat(dirfd, zp_instead(dirfd, path, room), st, flags));
}

ZP_EXPORT int stat(const char *path, struct stat *st)
{
	return zp_active() ? stat_path(AT_FDCWD, path, st, 0) : zp_real.stat(path, st);
}

ZP_EXPORT int lstat(const char *path, struct stat *st)
{
	return zp_active() ? stat_path(AT_FDCWD, path, st, AT_SYMLINK_NOFOLLOW) : zp_real.lstat(path, st);
}

ZP_EXPORT int fstat(int fd, struct stat *st)
{
	struct zp_open *open = zp_find(fd);

	if (!open)
		return zp_real.fstat(fd, st);
	zp_stat(open->disk, open->kind, st);
	return 0;
}

ZP_EXPORT int fstatat(int dirfd, const char *path, struct stat *st, int flags)
{
	return zp_active() ? stat_path(dirfd, path, st, flags) : zp_real.fstatat(dirfd, path, st, flags);
}

ZP_ALIAS(stat64, stat);
ZP_ALIAS(lstat64, lstat);
ZP_ALIAS(fstat64, fstat);
ZP_ALIAS(fstatat64, fstatat);

/* What programs that were linked before glibc 2.33 call. */
ZP_EXPORT int __xstat(int version, const char *path, struct stat *st)
{
	(void)version;
	return stat(path, st);
}

ZP_EXPORT int __lxstat(int version, const char *path, struct stat *st)
{
	(void)version;
	return lstat(path, st);
}

ZP_EXPORT int __fxstat(int version, int fd, struct stat *st)
{
	(void)version;
	return fstat(fd, st);
}

ZP_EXPORT int __fxstatat(int version, int dirfd, const char *path, struct stat *st, int flags)
{
	(void)version;
	return fstatat(dirfd, path, st, flags);
}

ZP_ALIAS(__xstat64, __xstat);
ZP_ALIAS(__lxstat64, __lxstat);
ZP_ALIAS(__fxstat64, __fxstat);
ZP_ALIAS(__fxstatat64, __fxstatat);

static void told(struct statx_timestamp *out, struct timespec time)
{
	out->tv_sec = time.tv_sec;
	out->tv_nsec = (uint32_t)time.tv_nsec;
}

static void as_statx(const struct stat *st, int index, int kind, struct statx *out)
{
	const struct zp_disk *disk = &zp_session.disks[index];

	memset(out, 0, sizeof(*out));
	out->stx_mask = STATX_BASIC_STATS;
	out->stx_blksize = (uint32_t)st->st_blksize;
	out->stx_nlink = 1;
	out->stx_uid = st->st_uid;
	out->stx_gid = st->st_gid;
	out->stx_mode = (uint16_t)st->st_mode;
	out->stx_ino = st->st_ino;
	told(&out->stx_atime, st->st_atim);
	told(&out->stx_mtime, st->st_mtim);
	told(&out->stx_ctime, st->st_ctim);
	out->stx_rdev_major = major(st->st_rdev);
	out->stx_rdev_minor = minor(st->st_rdev);
	out->stx_dev_major = major(st->st_dev);
	out->stx_dev_minor = minor(st->st_dev);
#ifdef STATX_DIOALIGN
	if (kind == ZP_BLOCK && atomic_load(&disk->dev)) {
		out->stx_mask |= STATX_DIOALIGN;
		out->stx_dio_mem_align = 512;
		out->stx_dio_offset_align = disk->info.logical_block;
	}
#else
	(void)disk;
	(void)kind;
#endif
}

static __attribute__((noinline)) int statx_path(int dirfd, const char *path, int flags, unsigned mask, struct statx *out)
{
	struct zp_open *open = path && !*path && (flags & AT_EMPTY_PATH) ? zp_find(dirfd) : NULL;
	int kind = open ? open->kind : 0, disk = open ? open->disk : -1;
	char room[PATH_MAX];
	struct stat st;

	if (!open && !is_link(dirfd, path, flags))
		disk = zp_named(dirfd, path, &kind);
	if (disk < 0)
		return below_is_no_folder(dirfd, path, zp_real.statx(dirfd, zp_instead(dirfd, path, room), flags, mask, out));
	zp_stat(disk, kind, &st);
	as_statx(&st, disk, kind, out);
	return 0;
}

ZP_EXPORT int statx(int dirfd, const char *path, int flags, unsigned mask, struct statx *out)
{
	return zp_active() ? statx_path(dirfd, path, flags, mask, out) : zp_real.statx(dirfd, path, flags, mask, out);
}

/* The path by which the file system of another is asked for: a node is on that of /dev. */
static const char *file_system_of(const char *path, char *room)
{
	int kind;

	return zp_named(AT_FDCWD, path, &kind) >= 0 ? "/dev" : zp_instead(AT_FDCWD, path, room);
}

ZP_EXPORT int statfs(const char *path, struct statfs *out)
{
	char room[PATH_MAX];

	return zp_real.statfs(file_system_of(path, room), out);
}

ZP_EXPORT int fstatfs(int fd, struct statfs *out)
{
	return zp_find(fd) ? zp_real.statfs("/dev", out) : zp_real.fstatfs(fd, out);
}

ZP_EXPORT int statvfs(const char *path, struct statvfs *out)
{
	char room[PATH_MAX];

	return zp_real.statvfs(file_system_of(path, room), out);
}

ZP_EXPORT int fstatvfs(int fd, struct statvfs *out)
{
	return zp_find(fd) ? zp_real.statvfs("/dev", out) : zp_real.fstatvfs(fd, out);
}

ZP_ALIAS(statfs64, statfs);
ZP_ALIAS(fstatfs64, fstatfs);
ZP_ALIAS(statvfs64, statvfs);
ZP_ALIAS(fstatvfs64, fstatvfs);
