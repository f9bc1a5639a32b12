/* SPDX-License-Identifier: Apache-2.0 */
/* What is done with descriptors: close, dup, fcntl, positions, syncing, locks. */
#include "preload/preload.h"
#include "preload/raw.h"
#include "preload/real.h"

#include <errno.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

/* A close writes out what waits for the rest of its block, as the last close of a block device does. */
static void settle(const struct zp_open *open)
{
	struct zp_disk *disk = zp_disk_of(open);
	int saved = errno;
	zd_dev *dev;

	if (!atomic_load(&disk->shared->tails))
		return;
	zp_enter();
	if (zp_disk_dev(disk, &dev) == 0)
		zp_tail_flush(disk, dev);
	zp_leave();
	errno = saved;
}

static void before_close(int fd)
{
	const struct zp_open *open = zp_find(fd);

	if (open)
		settle(open);
	else
		zp_uring_closed(fd);
	zp_table_closed(fd);
}

ZP_EXPORT int close(int fd)
{
	if (zp_internal(fd)) {
		if (!zp_inside) {
			errno = EBADF;
			return -1;
		}
		atomic_store(&zp_numbers[fd], 0);
		return zp_real.close(fd);
	}
	before_close(fd);
	return zp_real.close(fd);
}

/* All numbers but those of the core. */
ZP_EXPORT int close_range(unsigned first, unsigned last, int flags)
{
	unsigned fd, from = first, end = last < 1u << 16 ? last : 1u << 16;

	if (!zp_active() || flags || first > last)
		return zp_real.close_range(first, last, flags);
	for (fd = first; fd <= end; fd++) {
		if (!zp_internal((int)fd)) {
			if (zp_find((int)fd))
				before_close((int)fd);
			continue;
		}
		if (fd > from && zp_real.close_range(from, fd - 1, 0))
			return -1;
		from = fd + 1;
	}
	return from <= last ? zp_real.close_range(from, last, 0) : 0;
}

ZP_EXPORT void closefrom(int first)
{
	close_range(first < 0 ? 0 : (unsigned)first, ~0u, 0);
}

ZP_EXPORT int dup(int fd)
{
	int copy = zp_real.dup(fd);

	if (copy >= 0)
		zp_table_copied(fd, copy);
	return copy;
}

static int onto(int from, int to, int flags, bool third)
{
	int r;

	if (zp_internal(to) || zp_internal(from)) {
		errno = EBADF;
		return -1;
	}
	if (from != to && zp_find(to))
		settle(zp_find(to));
	r = third ? zp_real.dup3(from, to, flags) : zp_real.dup2(from, to);
	if (r >= 0)
		zp_table_copied(from, to);
	return r;
}

ZP_EXPORT int dup2(int from, int to)
{
	return onto(from, to, 0, false);
}

ZP_EXPORT int dup3(int from, int to, int flags)
{
	return onto(from, to, flags, true);
}

/* ---------------------------------------------------------------- locks */

/*
 * Locks of whole disks: on a file of the run that stands for the disk. One descriptor of it a process is right for POSIX's
 * locks, which are a process's. Those of flock() belong to a description: each has one of its own, in each process.
 */
static _Atomic int posix_locks[ZP_MAX_DISKS], flocks[ZP_MAX_OPEN];

static int stand_in(_Atomic int *kept, int disk)
{
	char path[PATH_MAX + 16];
	int fd = atomic_load(kept) - 1, none = 0;

	if (fd >= 0)
		return fd;
	snprintf(path, sizeof(path), "%s/locks/%d", zp_session.folder, disk);
	fd = zp_table_hide(zp_real.open(path, O_RDWR | O_CLOEXEC));
	if (fd >= 0 && !atomic_compare_exchange_strong(kept, &none, fd + 1)) {
		atomic_store(&zp_numbers[fd], 0);
		zp_real.close(fd);
		fd = none - 1;
	}
	return fd;
}

void zp_locks_gone(uint32_t slot)
{
	int fd = atomic_exchange(&flocks[slot], 0) - 1;

	if (fd >= 0) {
		atomic_store(&zp_numbers[fd], 0);
		zp_real.close(fd);
	}
}

int zp_flock(int fd, int operation)
{
	struct zp_open *open = zp_find(fd);

	if (!open)
		return zp_real.flock(fd, operation);
	fd = stand_in(&flocks[open - zp_session.shared->open], open->disk);
	return fd < 0 ? -1 : zp_real.flock(fd, operation);
}

ZP_EXPORT int flock(int fd, int operation)
{
	return zp_flock(fd, operation);
}

ZP_EXPORT int lockf(int fd, int command, off_t length)
{
	struct zp_open *open = zp_find(fd);

	if (!open)
		return zp_real.lockf(fd, command, length);
	fd = stand_in(&posix_locks[open->disk], open->disk);
	return fd < 0 ? -1 : zp_real.lockf(fd, command, length);
}
ZP_ALIAS(lockf64, lockf);

/* ---------------------------------------------------------------- fcntl */

static int control(struct zp_open *open, int fd, int command, void *arg)
{
	uint32_t flags;
	int lock;

	switch (command) {
	case F_GETFL: flags = atomic_load(&open->flags); return (int)(flags & O_PATH ? flags : flags | ZP_LARGEFILE);
	case F_SETFL:
		flags = atomic_load(&open->flags);
		if (flags & O_PATH)
			return zp_result(-EBADF);
		atomic_store(&open->flags, (flags & ~ZP_SETTABLE) | ((uint32_t)(uintptr_t)arg & ZP_SETTABLE));
		return 0;
	case F_GETLK:
	case F_SETLK:
	case F_SETLKW:
		lock = stand_in(&posix_locks[open->disk], open->disk);
		return lock < 0 ? -1 : zp_real.fcntl(lock, command, arg);
	case F_OFD_GETLK:
	case F_OFD_SETLK:
	case F_OFD_SETLKW:
		lock = stand_in(&flocks[open - zp_session.shared->open], open->disk);
		return lock < 0 ? -1 : zp_real.fcntl(lock, command, arg);
	default: return zp_real.fcntl(fd, command, arg); /* F_GETFD, F_SETFD; others meet EBADF */
	}
}

ZP_EXPORT int fcntl(int fd, int command, ...)
{
	struct zp_open *open = zp_find(fd);
	va_list list;
	void *arg;
	int r;

	va_start(list, command);
	arg = va_arg(list, void *);
	va_end(list);
	if (command == F_DUPFD || command == F_DUPFD_CLOEXEC) {
		r = zp_real.fcntl(fd, command, arg);
		if (r >= 0)
			zp_table_copied(fd, r);
		return zp_inside ? zp_table_hide(r) : r;
	}
	return open ? control(open, fd, command, arg) : zp_real.fcntl(fd, command, arg);
}
ZP_ALIAS(fcntl64, fcntl);

ZP_EXPORT int ioctl(int fd, unsigned long request, ...)
{
	struct zp_open *open = zp_find(fd);
	va_list list;
	void *arg;

	va_start(list, request);
	arg = va_arg(list, void *);
	va_end(list);
	if (open)
		return zp_result(zp_ioctl(open, request, arg));
	if (zp_unlikely((uint32_t)request == FICLONE) && zp_find((int)(intptr_t)arg))
		return zp_result(-EXDEV); /* the disk's blocks for a file: no file system has both */
	return zp_real.ioctl(fd, request, arg);
}

ZP_EXPORT int isatty(int fd)
{
	if (!zp_find(fd))
		return zp_real.isatty(fd);
	errno = ENOTTY;
	return 0;
}

/* ---------------------------------------------------------------- positions, syncing, space */

ZP_EXPORT off_t lseek(int fd, off_t offset, int whence)
{
	struct zp_open *open = zp_find(fd);
	int64_t at;

	if (!open)
		return zp_real.lseek(fd, offset, whence);
	at = zp_device_seek(open, offset, whence);
	return at < 0 ? zp_result(at) : at;
}
ZP_ALIAS(lseek64, lseek);
ZP_ALIAS(llseek, lseek);

ZP_EXPORT int fsync(int fd)
{
	struct zp_open *open = zp_find(fd);

	return open ? zp_result(zp_device_sync(open)) : zp_real.fsync(fd);
}

ZP_EXPORT int fdatasync(int fd)
{
	struct zp_open *open = zp_find(fd);

	return open ? zp_result(zp_device_sync(open)) : zp_real.fdatasync(fd);
}

ZP_EXPORT int syncfs(int fd)
{
	struct zp_open *open = zp_find(fd);

	return open ? zp_result(zp_device_sync(open)) : zp_real.syncfs(fd);
}

/* Starts write-back, or waits for it: there is none, but for blocks that are not whole. */
ZP_EXPORT int sync_file_range(int fd, off_t offset, off_t length, unsigned flags)
{
	struct zp_open *open = zp_find(fd);

	if (!open)
		return zp_real.sync_file_range(fd, offset, length, flags);
	if ((flags & ~7u) || offset < 0 || length < 0)
		return zp_result(-EINVAL);
	if (flags)
		settle(open);
	return 0;
}

ZP_EXPORT int fallocate(int fd, int mode, off_t offset, off_t length)
{
	struct zp_open *open = zp_find(fd);

	return open ? zp_result(zp_device_allocate(open, mode, offset, length)) : zp_real.fallocate(fd, mode, offset, length);
}
ZP_ALIAS(fallocate64, fallocate);

ZP_EXPORT int posix_fallocate(int fd, off_t offset, off_t length)
{
	return zp_find(fd) ? ENODEV : zp_real.posix_fallocate(fd, offset, length);
}
ZP_ALIAS(posix_fallocate64, posix_fallocate);

ZP_EXPORT int ftruncate(int fd, off_t length)
{
	return zp_find(fd) ? zp_result(-EINVAL) : zp_real.ftruncate(fd, length);
}
ZP_ALIAS(ftruncate64, ftruncate);

ZP_EXPORT int posix_fadvise(int fd, off_t offset, off_t length, int advice)
{
	return zp_find(fd) ? 0 : zp_real.posix_fadvise(fd, offset, length, advice);
}
ZP_ALIAS(posix_fadvise64, posix_fadvise);

ZP_EXPORT ssize_t readahead(int fd, off_t offset, size_t length)
{
	return zp_find(fd) ? 0 : zp_real.readahead(fd, offset, length);
}

/* Mode and owner are the image's. */
ZP_EXPORT int fchmod(int fd, mode_t mode)
{
	return zp_find(fd) ? zp_result(-EPERM) : zp_real.fchmod(fd, mode);
}

ZP_EXPORT int fchown(int fd, uid_t user, gid_t group)
{
	return zp_find(fd) ? zp_result(-EPERM) : zp_real.fchown(fd, user, group);
}

/* There are no pages of a disk that could be mapped: refused by name, never a mapping that shows something else. */
ZP_EXPORT void *mmap(void *at, size_t length, int protection, int flags, int fd, off_t offset)
{
	if (!(flags & MAP_ANONYMOUS) && zp_find(fd)) {
		errno = ENODEV;
		return MAP_FAILED;
	}
	if (flags & MAP_FIXED)
		zp_memory_changed();
	return zp_real.mmap(at, length, protection, flags, fd, offset);
}
ZP_ALIAS(mmap64, mmap);
