/* SPDX-License-Identifier: Apache-2.0 */
/* open() and its kin. */
#include "preload/preload.h"
#include "preload/real.h"

#include <errno.h>
#include <string.h>

static int open_disk(int index, int kind, int flags)
{
	struct zp_disk *disk = &zp_session.disks[index];
	bool writes = zp_may_write((uint32_t)flags);
	zd_dev *dev;
	int fd, r;

	if ((flags & O_CREAT) && !(flags & O_PATH)) { /* with O_PATH it means nothing */
		if (flags & O_DIRECTORY)
			return -EINVAL;
		if (flags & O_EXCL)
			return -EEXIST;
	}
	if (flags & O_DIRECTORY) /* with O_PATH, too: cp, mv and install ask so whether their target is a folder */
		return -ENOTDIR;
	if (flags & O_PATH)
		return zp_table_make(index, kind, O_PATH | (flags & O_CLOEXEC));
	zp_enter();
	r = zp_disk_dev(disk, &dev);
	zp_leave();
	if (r)
		return r == -ENOENT ? -ENXIO : r;
	if (writes && disk->readonly)
		return -EACCES;
	fd = zp_table_make(index, kind, flags);
	if (fd >= 0 && (flags & O_EXCL) && kind == ZP_BLOCK) {
		r = zp_table_claim(zp_find(fd));
		if (r) {
			zp_table_closed(fd);
			zp_real.close(fd);
			return r;
		}
	}
	return fd;
}

static __attribute__((noinline)) int open_path(int dirfd, const char *path, int flags, mode_t mode)
{
	char room[PATH_MAX];
	int kind, disk, fd;

	if (zp_inside) { /* the core opens something: out of the program's way with it */
		fd = zp_real.openat(dirfd, path, flags, mode);
		return zp_table_hide(fd);
	}
	disk = zp_active() ? zp_named(dirfd, path, &kind) : -1;
	if (disk >= 0)
		return zp_result(open_disk(disk, kind, flags));
	fd = zp_real.openat(dirfd, zp_instead(dirfd, path, room), flags, mode);
	if (fd < 0 && errno == ENOENT && zp_below(dirfd, path))
		errno = ENOTDIR;
	zp_table_fresh(fd);
	return fd;
}

#define MODE(flags, last)                                        \
	({                                                       \
		mode_t mode_ = 0;                                \
		if ((flags) & (O_CREAT | O_TMPFILE)) {           \
			va_list list_;                           \
			va_start(list_, last);                   \
			mode_ = (mode_t)va_arg(list_, unsigned); \
			va_end(list_);                           \
		}                                                \
		mode_;                                           \
	})

ZP_EXPORT int open(const char *path, int flags, ...)
{
	return open_path(AT_FDCWD, path, flags, MODE(flags, flags));
}

ZP_EXPORT int openat(int dirfd, const char *path, int flags, ...)
{
	return open_path(dirfd, path, flags, MODE(flags, flags));
}

ZP_EXPORT int creat(const char *path, mode_t mode)
{
	return open_path(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

/* What open() becomes in programs that were compiled with _FORTIFY_SOURCE. */
ZP_EXPORT int __open_2(const char *path, int flags)
{
	return open_path(AT_FDCWD, path, flags, 0);
}

ZP_EXPORT int __openat_2(int dirfd, const char *path, int flags)
{
	return open_path(dirfd, path, flags, 0);
}

ZP_ALIAS(open64, open);
ZP_ALIAS(openat64, openat);
ZP_ALIAS(creat64, creat);
ZP_ALIAS(__open64_2, __open_2);
ZP_ALIAS(__openat64_2, __openat_2);
