/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads and writes of a block device as Linux 6.12 does them (block/fops.c): what is checked in which order, what is cut
 * short at the end of the disk, and how a range is cut at the ends of zones (chunk_sectors).
 */
#include "preload/cursor.h"
#include "preload/preload.h"
#include "preload/real.h"

#include <errno.h>
#include <linux/falloc.h>
#include <unistd.h>

#define MOST_BYTES 0x7ffff000ull /* of one call: MAX_RW_COUNT */
#define MEMORY_MASK 511ull       /* queue/dma_alignment */
#define RWF_KNOWN 0x3F           /* HIPRI, DSYNC, SYNC, NOWAIT, APPEND, NOAPPEND; not ATOMIC */
#define RWF_SYNCED 0x06          /* DSYNC, SYNC */
#define RWF_NO_WAIT 0x08

/* ---------------------------------------------------------------- whole blocks */

static int64_t one_piece(zd_dev *dev, bool write, const struct iovec *iov, int n, uint64_t offset, struct zd_error *err)
{
	if (n == 1)
		return write ? zd_pwrite(dev, iov->iov_base, iov->iov_len, offset, err) :
			       zd_pread(dev, iov->iov_base, iov->iov_len, offset, err);
	return write ? zd_pwritev(dev, iov, n, offset, err) : zd_preadv(dev, iov, n, offset, err);
}

/* A code of the core as an errno; what came of it for later writes is kept. */
static __attribute__((noinline)) int not_done(struct zp_disk *disk, zd_dev *dev, bool write, uint64_t offset, uint64_t length,
					      int64_t code, const struct zd_error *err)
{
	if (write && code != -EINTR)
		zp_plug_failed(disk, dev, offset, length);
	return zp_refused(disk, code, err);
}

static __attribute__((noinline)) int in_pieces(struct zp_disk *disk, zd_dev *dev, bool write, const struct iovec *iov, int n,
					       uint64_t offset, uint64_t length)
{
	uint64_t zone_size = disk->info.zone_size;
	struct zp_cursor at = { iov, n, 0 };
	struct iovec piece[ZP_MAX_IOV];
	struct zd_error err;
	int r = 0;

	while (length) {
		uint64_t here = zone_size - offset % zone_size;
		int64_t done;
		int parts;

		if (here > length)
			here = length;
		parts = zp_cursor_slice(&at, here, piece);
		if (write && zp_plug_lost(disk, offset)) {
			done = r = zp_plug_refuses(disk, offset);
		} else {
			done = one_piece(dev, write, piece, parts, offset, &err);
			if (done < 0) /* the others are on their way already, as in the kernel */
				r = not_done(disk, dev, write, offset, here, done, &err);
		}
		if (done == -EINTR)
			break;
		offset += here;
		length -= here;
	}
	return r;
}

int zp_device_blocks(struct zp_disk *disk, zd_dev *dev, bool write, const struct iovec *iov, int n, uint64_t offset,
		     uint64_t length)
{
	struct zd_error err;
	int64_t done;

	if (zp_unlikely(n != 1 || iov->iov_len != length || offset % disk->info.zone_size + length > disk->info.zone_size))
		return in_pieces(disk, dev, write, iov, n, offset, length);
	if (write && zp_plug_lost(disk, offset))
		return zp_plug_refuses(disk, offset);
	done = one_piece(dev, write, iov, 1, offset, &err);
	return zp_unlikely(done < 0) ? not_done(disk, dev, write, offset, length, done, &err) : 0;
}

/* ---------------------------------------------------------------- one call */

struct call {
	struct zp_open *open;
	struct zp_disk *disk;
	zd_dev *dev;
	const struct iovec *iov;
	int n;
	uint64_t length; /* asked for, then what the disk's end leaves of it */
	bool direct, write;
	int rwf;
};

static int add_up(struct call *c)
{
	uint64_t length = 0;
	int i;

	if (c->n < 0 || c->n > ZP_MAX_IOV)
		return -EINVAL;
	for (i = 0; i < c->n; i++) {
		if (c->iov[i].iov_len > (uint64_t)SSIZE_MAX)
			return -EINVAL;
		length += c->iov[i].iov_len;
		if (length > MOST_BYTES)
			length = MOST_BYTES;
	}
	c->length = length;
	return 0;
}

static bool misaligned(const struct call *c, uint64_t offset)
{
	uint64_t mask = c->disk->info.logical_block - 1;
	uint64_t left = c->length;
	int i;

	if ((offset | c->length) & mask)
		return true;
	for (i = 0; i < c->n && left; i++) {
		uint64_t here = c->iov[i].iov_len < left ? c->iov[i].iov_len : left;

		if (here && (((uintptr_t)c->iov[i].iov_base & MEMORY_MASK) || (here & mask)))
			return true;
		left -= here;
	}
	return false;
}

static int64_t at_offset(struct call *c, uint64_t offset)
{
	uint64_t size = c->disk->info.size, mask = c->disk->info.logical_block - 1;
	bool tails = atomic_load_explicit(&c->disk->shared->tails, memory_order_relaxed) != 0;
	int64_t done;
	int r;

	if (c->write && zp_unlikely(zp_readonly(c->disk)))
		return -EPERM;
	if (c->length == 0)
		return 0;
	if (offset >= size)
		return c->write ? -ENOSPC : 0;
	if (c->write && (c->rwf & RWF_NO_WAIT) && !c->direct)
		return -EOPNOTSUPP;
	if (c->length > size - offset)
		c->length = size - offset;
	if (c->direct && misaligned(c, offset))
		return -EINVAL;
	r = zp_memory(c->iov, c->n, !c->write);
	if (r)
		return r;
	if (c->direct && tails) {
		r = zp_tail_flush(c->disk, c->dev);
		if (r)
			return r;
	} else if (!c->direct && (tails || ((offset | c->length) & mask))) {
		done = c->write ? zp_tail_write(c->disk, c->dev, c->iov, c->n, offset, c->length) :
				  zp_tail_read(c->disk, c->dev, c->iov, c->n, offset, c->length);
		if (done <= 0)
			return done;
		c->length = (uint64_t)done;
		goto synced;
	}
	r = zp_device_blocks(c->disk, c->dev, c->write, c->iov, c->n, offset, c->length);
	if (r)
		return r;
synced:
	if (c->write && ((c->rwf & RWF_SYNCED) || (atomic_load_explicit(&c->open->flags, memory_order_relaxed) & O_DSYNC))) {
		r = zp_device_sync(c->open);
		if (r)
			return r;
	}
	return (int64_t)c->length;
}

static int64_t transfer(struct zp_open *open, bool write, const struct iovec *iov, int n, int64_t offset, int rwf)
{
	uint32_t flags = atomic_load_explicit(&open->flags, memory_order_relaxed);
	struct call c = { .open = open,
			  .disk = zp_disk_of(open),
			  .iov = iov,
			  .n = n,
			  .direct = flags & O_DIRECT,
			  .write = write,
			  .rwf = rwf };
	bool position = offset == ZP_AT_POSITION;
	int64_t done;
	int r;

	if (zp_unlikely((flags & O_PATH) || (flags & O_ACCMODE) == 3 || (flags & O_ACCMODE) == (write ? O_RDONLY : O_WRONLY)))
		return -EBADF;
	if (zp_unlikely(open->kind != ZP_BLOCK))
		return -EINVAL; /* commands go by ioctl(); the read and write form of sg was never offered to zoned tools */
	if (zp_unlikely(offset < ZP_AT_POSITION))
		return -EINVAL;
	if (zp_unlikely(rwf & ~RWF_KNOWN))
		return -EOPNOTSUPP;
	r = add_up(&c);
	if (zp_unlikely(r))
		return r;
	zp_enter();
	r = zp_disk_dev(c.disk, &c.dev);
	if (zp_unlikely(r)) {
		zp_leave();
		return r;
	}
	if (position) {
		zp_lock(&open->lock);
		done = at_offset(&c, atomic_load_explicit(&open->position, memory_order_relaxed));
		if (done > 0)
			atomic_fetch_add_explicit(&open->position, (uint64_t)done, memory_order_relaxed);
		zp_unlock(&open->lock);
	} else {
		done = at_offset(&c, (uint64_t)offset);
	}
	zp_leave();
	return done;
}

int64_t zp_device_read(struct zp_open *open, const struct iovec *iov, int n, int64_t offset, int rwf)
{
	return transfer(open, false, iov, n, offset, rwf);
}

int64_t zp_device_write(struct zp_open *open, const struct iovec *iov, int n, int64_t offset, int rwf)
{
	return transfer(open, true, iov, n, offset, rwf);
}

/*
 * Whole blocks in one zone, by a descriptor and a buffer that are known to be fit: all that the checks above would find to be
 * in order. What is not goes through them. O_DSYNC is what waits for the disk.
 */
static inline bool is_plain(const struct zp_open *open, const struct zp_disk *disk, bool write, uintptr_t buf, uint64_t length,
			    int64_t offset)
{
	uint32_t flags = atomic_load_explicit(&open->flags, memory_order_relaxed);
	uint64_t in_zone = (uint64_t)offset & disk->zone_mask;

	return ((flags & O_ACCMODE) == O_RDWR || (flags & O_ACCMODE) == (write ? O_WRONLY : O_RDONLY)) &&
	       !(flags & (O_PATH | (write ? O_DSYNC : 0))) && open->kind == ZP_BLOCK && offset >= 0 && disk->zone_mask &&
	       !(((uint64_t)offset | length) & (disk->info.logical_block - 1)) && !(buf & MEMORY_MASK) && length &&
	       length <= disk->zone_mask + 1 - in_zone && (uint64_t)offset < disk->info.size &&
	       length <= disk->info.size - (uint64_t)offset &&
	       !atomic_load_explicit(&disk->shared->tails, memory_order_relaxed) && !(write && zp_readonly(disk)) &&
	       zp_memory_known(buf, length, !write);
}

int64_t zp_device_pread(struct zp_open *open, void *buf, size_t length, int64_t offset)
{
	struct zp_disk *disk = zp_disk_of(open);
	zd_dev *dev = atomic_load_explicit(&disk->dev, memory_order_acquire);
	struct iovec one = { buf, length };
	struct zd_error err;
	int64_t done;

	if (zp_unlikely(!dev || !is_plain(open, disk, false, (uintptr_t)buf, length, offset)))
		return transfer(open, false, &one, 1, offset, 0);
	zp_enter();
	done = zd_pread(dev, buf, length, (uint64_t)offset, &err);
	if (zp_unlikely(done < 0))
		done = zp_refused(disk, done, &err);
	zp_leave();
	return done;
}

int64_t zp_device_pwrite(struct zp_open *open, const void *buf, size_t length, int64_t offset)
{
	struct zp_disk *disk = zp_disk_of(open);
	zd_dev *dev = atomic_load_explicit(&disk->dev, memory_order_acquire);
	struct iovec one = { (void *)(uintptr_t)buf, length };
	struct zd_error err;
	int64_t done;

	if (zp_unlikely(!dev || !is_plain(open, disk, true, (uintptr_t)buf, length, offset)))
		return transfer(open, true, &one, 1, offset, 0);
	zp_enter();
	if (zp_plug_lost(disk, (uint64_t)offset)) {
		done = zp_plug_refuses(disk, (uint64_t)offset);
	} else {
		done = zd_pwrite(dev, buf, length, (uint64_t)offset, &err);
		if (zp_unlikely(done < 0))
			done = not_done(disk, dev, true, (uint64_t)offset, length, done, &err);
	}
	zp_leave();
	return done;
}

/* ---------------------------------------------------------------- positions and the whole disk */

static int begin(struct zp_disk *disk, zd_dev **dev)
{
	int r;

	zp_enter();
	r = zp_disk_dev(disk, dev);
	if (r)
		zp_leave();
	return r;
}

/* Of a descriptor that has to be the block device's: no_block, -errno, if it is another one of the disk. */
static int begin_open(struct zp_open *open, int no_block, zd_dev **dev)
{
	if (atomic_load(&open->flags) & O_PATH)
		return -EBADF;
	return open->kind == ZP_BLOCK ? begin(zp_disk_of(open), dev) : no_block;
}

int64_t zp_device_seek(struct zp_open *open, int64_t offset, int whence)
{
	struct zp_disk *disk = zp_disk_of(open);
	int64_t at = -EINVAL;
	zd_dev *dev;
	int r = begin_open(open, -ESPIPE, &dev);

	if (r)
		return r;
	zp_lock(&open->lock);
	if (whence == SEEK_SET)
		at = offset;
	else if (whence == SEEK_CUR)
		at = __builtin_add_overflow((int64_t)atomic_load(&open->position), offset, &at) ? -EINVAL : at;
	else if (whence == SEEK_END)
		at = __builtin_add_overflow((int64_t)disk->info.size, offset, &at) ? -EINVAL : at;
	if (at < 0 || (uint64_t)at > disk->info.size)
		at = -EINVAL;
	else
		atomic_store(&open->position, (uint64_t)at);
	zp_unlock(&open->lock);
	zp_leave();
	return at;
}

int zp_device_sync(struct zp_open *open)
{
	struct zp_disk *disk = zp_disk_of(open);
	struct zd_error err;
	zd_dev *dev;
	int r = begin_open(open, -EINVAL, &dev), flushed = 0;

	if (r)
		return r;
	if (atomic_load(&disk->shared->tails))
		flushed = zp_tail_flush(disk, dev);
	if (!disk->readonly) {
		r = zd_flush(dev, &err);
		if (r)
			r = zp_refused(disk, r, &err);
	}
	zp_leave();
	return r ? r : flushed;
}

/* Zeros by writing them, as the kernel does where a device has no command for it: in zones, at the write pointer. */
int zp_device_zero(struct zp_disk *disk, uint64_t offset, uint64_t length)
{
	static const char zeros[1 << 16];
	int r, worst = 0;
	zd_dev *dev;

	r = begin(disk, &dev);
	if (r)
		return r;
	zp_tail_drop(disk, offset, offset + length);
	while (length && worst != -EINTR) {
		uint64_t here = length < sizeof(zeros) ? length : sizeof(zeros);
		struct iovec one = { (void *)(uintptr_t)zeros, here };

		r = zp_device_blocks(disk, dev, true, &one, 1, offset, here);
		if (r)
			worst = r;
		offset += here;
		length -= here;
		if (r && worst == -EIO && length > (16u << 20))
			break; /* nothing better can come of the rest, and it may be terabytes */
	}
	zp_leave();
	return worst;
}

/* vfs_fallocate() and blkdev_fallocate() */
int zp_device_allocate(struct zp_open *open, int mode, int64_t offset, int64_t length)
{
	const int keep = FALLOC_FL_KEEP_SIZE, punch = FALLOC_FL_PUNCH_HOLE, zero = FALLOC_FL_ZERO_RANGE;
	uint32_t flags = atomic_load(&open->flags);
	struct zp_disk *disk = zp_disk_of(open);
	uint64_t size, end;
	zd_dev *dev;
	int r;

	if (flags & O_PATH)
		return -EBADF;
	if (offset < 0 || length <= 0)
		return -EINVAL;
	if ((mode & ~(keep | punch | zero)) || (mode & (punch | zero)) == (punch | zero) || (mode & (punch | keep)) == punch)
		return -EOPNOTSUPP;
	if (!zp_may_write(flags))
		return -EBADF;
	if (open->kind != ZP_BLOCK)
		return -ENODEV;
	r = begin(disk, &dev);
	if (r)
		return r;
	zp_leave();
	size = disk->info.size;
	if ((uint64_t)offset >= size || __builtin_add_overflow((uint64_t)offset, (uint64_t)length, &end))
		return -EINVAL;
	if (end > size) {
		if (!(mode & keep))
			return -EINVAL;
		end = size;
	}
	if (((uint64_t)offset | end) & (disk->info.logical_block - 1))
		return -EINVAL;
	if (!(mode & zero))
		return -EOPNOTSUPP; /* no discard on a zoned disk */
	if (zp_readonly(disk))
		return -EPERM;
	return zp_device_zero(disk, (uint64_t)offset, end - (uint64_t)offset);
}
