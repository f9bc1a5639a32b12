/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is done to names: the nodes of a run stay where they are, as those of a /dev that is not the program's. Owner, mode
 * and times are the image's; times can be set by whoever may set the image's.
 */
#include "preload/preload.h"
#include "preload/real.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <sys/time.h>
#include <unistd.h>
#include <utime.h>

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1
#endif

static bool itself(int dirfd, const char *path)
{
	return zp_named_itself(dirfd, path) >= 0;
}

/* The disk that a path leads to; -1 if none. */
static int led_to(int dirfd, const char *path, int flags)
{
	int kind;

	return flags & AT_SYMLINK_NOFOLLOW ? zp_named_itself(dirfd, path) : zp_named(dirfd, path, &kind);
}

/* ---------------------------------------------------------------- going and moving */

ZP_EXPORT int unlinkat(int dirfd, const char *path, int flags)
{
	if (itself(dirfd, path))
		return zp_result(flags & AT_REMOVEDIR ? -ENOTDIR : -EPERM);
	return zp_real.unlinkat(dirfd, path, flags);
}

ZP_EXPORT int unlink(const char *path)
{
	return unlinkat(AT_FDCWD, path, 0);
}

ZP_EXPORT int rmdir(const char *path)
{
	return unlinkat(AT_FDCWD, path, AT_REMOVEDIR);
}

ZP_EXPORT int remove(const char *path)
{
	return itself(AT_FDCWD, path) ? zp_result(-EPERM) : zp_real.remove(path);
}

ZP_EXPORT int renameat2(int from, const char *old, int to, const char *new, unsigned flags)
{
	if (itself(to, new))
		return zp_result(flags & RENAME_NOREPLACE ? -EEXIST : -EPERM);
	return itself(from, old) ? zp_result(-EPERM) : zp_real.renameat2(from, old, to, new, flags);
}

ZP_EXPORT int renameat(int from, const char *old, int to, const char *new)
{
	return renameat2(from, old, to, new, 0);
}

ZP_EXPORT int rename(const char *old, const char *new)
{
	return renameat2(AT_FDCWD, old, AT_FDCWD, new, 0);
}

/* ---------------------------------------------------------------- coming */

/* A node has no other name: it would be on another file system. */
ZP_EXPORT int linkat(int from, const char *old, int to, const char *new, int flags)
{
	if (itself(to, new))
		return zp_result(-EEXIST);
	return led_to(from, old, flags & AT_SYMLINK_FOLLOW ? 0 : AT_SYMLINK_NOFOLLOW) >= 0 ?
		       zp_result(-EXDEV) :
		       zp_real.linkat(from, old, to, new, flags);
}

ZP_EXPORT int link(const char *old, const char *new)
{
	return linkat(AT_FDCWD, old, AT_FDCWD, new, 0);
}

ZP_EXPORT int symlinkat(const char *target, int dirfd, const char *path)
{
	return itself(dirfd, path) ? zp_result(-EEXIST) : zp_real.symlinkat(target, dirfd, path);
}

ZP_EXPORT int symlink(const char *target, const char *path)
{
	return symlinkat(target, AT_FDCWD, path);
}

ZP_EXPORT int mkdirat(int dirfd, const char *path, mode_t mode)
{
	return itself(dirfd, path) ? zp_result(-EEXIST) : zp_real.mkdirat(dirfd, path, mode);
}

ZP_EXPORT int mknodat(int dirfd, const char *path, mode_t mode, dev_t number)
{
	return itself(dirfd, path) ? zp_result(-EEXIST) : zp_real.mknodat(dirfd, path, mode, number);
}

ZP_EXPORT int mknod(const char *path, mode_t mode, dev_t number)
{
	return mknodat(AT_FDCWD, path, mode, number);
}

ZP_EXPORT int mkfifoat(int dirfd, const char *path, mode_t mode)
{
	return itself(dirfd, path) ? zp_result(-EEXIST) : zp_real.mkfifoat(dirfd, path, mode);
}

ZP_EXPORT int mkfifo(const char *path, mode_t mode)
{
	return mkfifoat(AT_FDCWD, path, mode);
}

/* A sanitizer makes the folders of its reports before it has begun: nothing that it watches may be touched by then. */
__attribute__((no_sanitize("address", "undefined"))) ZP_EXPORT int mkdir(const char *path, mode_t mode)
{
	int (*real)(const char *, mode_t);

	if (atomic_load(&zp_begun))
		return mkdirat(AT_FDCWD, path, mode);
	*(void **)&real = dlsym(RTLD_NEXT, "mkdir");
	return real(path, mode);
}

/* ---------------------------------------------------------------- size, mode, owner, times */

ZP_EXPORT int truncate(const char *path, off_t length)
{
	return led_to(AT_FDCWD, path, 0) >= 0 ? zp_result(-EINVAL) : zp_real.truncate(path, length);
}
ZP_ALIAS(truncate64, truncate);

ZP_EXPORT int fchmodat(int dirfd, const char *path, mode_t mode, int flags)
{
	return led_to(dirfd, path, flags) >= 0 ? zp_result(-EPERM) : zp_real.fchmodat(dirfd, path, mode, flags);
}

ZP_EXPORT int chmod(const char *path, mode_t mode)
{
	return fchmodat(AT_FDCWD, path, mode, 0);
}

ZP_EXPORT int fchownat(int dirfd, const char *path, uid_t user, gid_t group, int flags)
{
	return led_to(dirfd, path, flags) >= 0 ? zp_result(-EPERM) : zp_real.fchownat(dirfd, path, user, group, flags);
}

ZP_EXPORT int chown(const char *path, uid_t user, gid_t group)
{
	return fchownat(AT_FDCWD, path, user, group, 0);
}

ZP_EXPORT int lchown(const char *path, uid_t user, gid_t group)
{
	return fchownat(AT_FDCWD, path, user, group, AT_SYMLINK_NOFOLLOW);
}

static int set_times(int disk, const struct timespec *times)
{
	return zp_real.utimensat(AT_FDCWD, zp_session.disks[disk].image, times, 0);
}

ZP_EXPORT int futimens(int fd, const struct timespec times[2])
{
	const struct zp_open *open = zp_find(fd);

	return open ? set_times(open->disk, times) : zp_real.futimens(fd, times);
}

ZP_EXPORT int utimensat(int dirfd, const char *path, const struct timespec times[2], int flags)
{
	const struct zp_open *open = (flags & AT_EMPTY_PATH) && !*path ? zp_find(dirfd) : NULL;
	int disk = open ? open->disk : led_to(dirfd, path, flags);

	return disk >= 0 ? set_times(disk, times) : zp_real.utimensat(dirfd, path, times, flags);
}

/* The same in units of old. */
static const struct timespec *precise(const struct timeval *times, struct timespec *room)
{
	int i;

	for (i = 0; i < 2 && times; i++)
		room[i] = (struct timespec){ times[i].tv_sec, times[i].tv_usec * 1000 };
	return times ? room : NULL;
}

ZP_EXPORT int utimes(const char *path, const struct timeval times[2])
{
	int disk = led_to(AT_FDCWD, path, 0);
	struct timespec room[2];

	return disk >= 0 ? set_times(disk, precise(times, room)) : zp_real.utimes(path, times);
}

ZP_EXPORT int futimes(int fd, const struct timeval times[2])
{
	const struct zp_open *open = zp_find(fd);
	struct timespec room[2];

	return open ? set_times(open->disk, precise(times, room)) : zp_real.futimes(fd, times);
}

ZP_EXPORT int utime(const char *path, const struct utimbuf *times)
{
	int disk = led_to(AT_FDCWD, path, 0);
	struct timespec room[2];

	if (disk < 0)
		return zp_real.utime(path, times);
	if (times) {
		room[0] = (struct timespec){ .tv_sec = times->actime };
		room[1] = (struct timespec){ .tv_sec = times->modtime };
	}
	return set_times(disk, times ? room : NULL);
}
