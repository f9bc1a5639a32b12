/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every operation on the host's file: reading, writing, syncing, reserving, punching, locking. Nothing
 * else in the core makes a system call on the image (but for mmap), so that a recording build can see all.
 */
#include "device/area/area.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

int zd_host_pread(int fd, void *buf, size_t length, uint64_t offset)
{
	uint8_t *at = buf;

	while (length) {
		ssize_t n = pread(fd, at, length, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0) {
			memset(at, 0, length);
			return 0;
		}
		at += n;
		offset += (uint64_t)n;
		length -= (size_t)n;
	}
	return 0;
}

int zd_host_pwrite(int fd, const void *buf, size_t length, uint64_t offset)
{
	struct iovec one = { (void *)(uintptr_t)buf, length };

	return zd_host_pwritev(fd, &one, 1, offset, NULL);
}

/* Consumes iov. *done (may be NULL) tells how much landed, also on failure. */
int zd_host_pwritev(int fd, struct iovec *iov, int n, uint64_t offset, uint64_t *done)
{
	if (done)
		*done = 0;
	while (n) {
		ssize_t got;

		if (iov->iov_len == 0) {
			iov++;
			n--;
			continue;
		}
		got = pwritev(fd, iov, n < 64 ? n : 64, (off_t)offset);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0)
			return -EIO;
		offset += (uint64_t)got;
		if (done)
			*done += (uint64_t)got;
		while (got) {
			size_t step = (size_t)got < iov->iov_len ? (size_t)got : iov->iov_len;

			zd_record_write(offset - (uint64_t)got, iov->iov_base, step);
			iov->iov_base = (uint8_t *)iov->iov_base + step;
			iov->iov_len -= step;
			got -= (ssize_t)step;
			if (iov->iov_len == 0 && n) {
				iov++;
				n--;
			}
		}
	}
	return 0;
}

int zd_host_pwrite_dsync(int fd, const void *buf, size_t length, uint64_t offset)
{
	struct iovec one = { (void *)(uintptr_t)buf, length };
	ssize_t n;

	/* RWF_DSYNC waits for these bytes alone; fdatasync would wait for everybody's data. */
	do {
		n = pwritev2(fd, &one, 1, (off_t)offset, RWF_DSYNC);
	} while (n < 0 && errno == EINTR);
	if (n == (ssize_t)length) {
		zd_record_write(offset, buf, length);
		zd_record_sync(offset, length);
		return 0;
	}
	if (n < 0 && errno != EOPNOTSUPP && errno != ENOSYS && errno != EINVAL)
		return -errno;
	{
		int r = zd_host_pwrite(fd, buf, length, offset);

		return r ? r : zd_host_sync(fd);
	}
}

int zd_host_sync(int fd)
{
	/* Never retried: after a failure the kernel has already dropped the pages' dirty marks. */
	if (fdatasync(fd))
		return -errno;
	zd_record_sync(0, UINT64_MAX);
	return 0;
}

int zd_host_grow(int fd, uint64_t size)
{
	struct stat st;

	if (fstat(fd, &st))
		return -errno;
	if ((uint64_t)st.st_size >= size)
		return 0;
	if (ftruncate(fd, (off_t)size))
		return -errno;
	zd_record_size(size);
	return 0;
}

uint64_t zd_host_next_data(int fd, uint64_t offset)
{
	off_t at = lseek(fd, (off_t)offset, SEEK_DATA);

	if (at >= 0)
		return (uint64_t)at;
	return errno == ENXIO ? UINT64_MAX : offset;
}

int zd_host_reserve(int fd, uint64_t offset, uint64_t length)
{
	static const uint8_t zeros[4096];
	uint8_t page[4096];
	int r;

	do {
		r = fallocate(fd, 0, (off_t)offset, (off_t)length) ? -errno : 0;
	} while (r == -EINTR);
	if (r != -EOPNOTSUPP && r != -ENOSYS)
		return r;
	/* A file system without fallocate: write each page back as it is. */
	for (; length; offset += sizeof(page), length -= sizeof(page)) {
		r = zd_host_pread(fd, page, sizeof(page), offset);
		if (!r)
			r = zd_host_pwrite(fd, memcmp(page, zeros, sizeof(page)) ? page : zeros, sizeof(page), offset);
		if (r)
			return r;
	}
	return 0;
}

int zd_host_punch(int fd, uint64_t offset, uint64_t length)
{
	int r;

	do {
		r = fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)length) ? -errno : 0;
	} while (r == -EINTR);
	if (!r)
		zd_record_write(offset, NULL, length);
	return r;
}

uint64_t zd_host_filled(int fd, uint64_t offset, uint64_t length)
{
	off_t hole = lseek(fd, (off_t)offset, SEEK_HOLE);

	if (hole < 0 || (uint64_t)hole <= offset)
		return 0;
	return (uint64_t)hole - offset < length ? (uint64_t)hole - offset : length;
}

bool zd_host_is_cow(int fd)
{
	struct statfs fs;
	_Alignas(struct fiemap) uint8_t room[sizeof(struct fiemap) + 64 * sizeof(struct fiemap_extent)];
	struct fiemap *map = (struct fiemap *)room;
	uint64_t from = 0;

	if (fstatfs(fd, &fs))
		return true;
	switch ((unsigned long)fs.f_type) {
	case 0x9123683Eul: /* btrfs */
	case 0xCA451A4Eul: /* bcachefs */
	case 0x2FC12FC1ul: /* zfs */
	case 0x3434ul:     /* nilfs2 */
	case 0xF2F52010ul: /* f2fs */ return true;
	case 0x01021994ul: /* tmpfs has no FIEMAP and shares nothing */ return false;
	}
	/* A reflinked file shares its blocks until each is written anew, wherever that needs room. */
	for (;;) {
		unsigned i;

		memset(room, 0, sizeof(room));
		map->fm_start = from;
		map->fm_length = UINT64_MAX - from;
		map->fm_extent_count = 64;
		if (ioctl(fd, FS_IOC_FIEMAP, map) || map->fm_mapped_extents == 0)
			return false;
		for (i = 0; i < map->fm_mapped_extents; i++) {
			const struct fiemap_extent *e = &map->fm_extents[i];

			if (e->fe_flags & FIEMAP_EXTENT_SHARED)
				return true;
			if (e->fe_flags & FIEMAP_EXTENT_LAST)
				return false;
			from = e->fe_logical + e->fe_length;
		}
	}
}

/*
 * A new, empty file whose blocks are to stay where they are: on btrfs a store into the mapping of a page that
 * was written back would else need a block anew, and a full disk would be a SIGBUS. Others know no such flag.
 */
void zd_host_pin_blocks(int fd)
{
	struct statfs fs;
	int flags;

	if (fstatfs(fd, &fs) || (unsigned long)fs.f_type != 0x9123683Eul || ioctl(fd, FS_IOC_GETFLAGS, &flags))
		return;
	flags |= FS_NOCOW_FL;
	ioctl(fd, FS_IOC_SETFLAGS, &flags);
}

/* Blocks shared with a reflinked copy become this file's own. Hosts that share none do not know the call. */
int zd_host_unshare(int fd, uint64_t offset, uint64_t length)
{
	int r;

	do {
		r = fallocate(fd, FALLOC_FL_UNSHARE_RANGE, (off_t)offset, (off_t)length) ? -errno : 0;
	} while (r == -EINTR);
	return r == -EOPNOTSUPP || r == -EINVAL || r == -ENOSYS ? 0 : r;
}

/* Lock bytes far beyond any file's end. OFD locks, as POSIX ones drop when any descriptor closes. */
#define LOCK_BASE ((off_t)1 << 62)

static int set_lock(int fd, enum zd_host_byte byte, short type)
{
	struct flock l = { .l_type = type, .l_whence = SEEK_SET, .l_start = LOCK_BASE + (off_t)byte, .l_len = 1 };

	return fcntl(fd, F_OFD_SETLK, &l) ? -errno : 0;
}

int zd_host_share(zd_dev *dev, int fd, enum zd_host_byte byte)
{
	struct zd_wait wait;

	zd_wait_begin(&wait, NULL);
	for (;;) {
		int r = set_lock(fd, byte, F_RDLCK);

		if (r != -EAGAIN && r != -EACCES)
			return r;
		zd_wait_nap(&wait);
		r = zd_wait_on(dev, &wait, 0);
		if (r)
			return r;
	}
}

bool zd_host_locked(int fd, enum zd_host_byte byte)
{
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = LOCK_BASE + (off_t)byte, .l_len = 1 };

	return fcntl(fd, F_OFD_GETLK, &l) == 0 && l.l_type != F_UNLCK;
}

void zd_host_unlock(int fd, enum zd_host_byte byte)
{
	set_lock(fd, byte, F_UNLCK);
}
