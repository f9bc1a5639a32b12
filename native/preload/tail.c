/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Buffered writes and reads that do not keep to blocks.
 *
 * A kernel keeps such blocks in its page cache until they are whole, or somebody syncs or closes. So does this: a block that
 * a write has begun waits in the run's state, where every process sees it, with what the disk holds around it. Whole
 * blocks go to the disk at once. What still waits when a program is killed is written by the next who syncs, closes or
 * writes directly, at the latest by whoever made the run.
 */
#include "preload/cursor.h"
#include "preload/preload.h"

#include <errno.h>
#include <string.h>

/* As `taken` names a disk. */
static uint32_t owner_of(const struct zp_disk *disk)
{
	return (uint32_t)(disk - zp_session.disks) + 1;
}

static struct zp_tail *find(const struct zp_disk *disk, uint64_t block)
{
	uint32_t mine = owner_of(disk), i;

	for (i = 0; i < ZP_MAX_TAILS && atomic_load(&disk->shared->tails); i++) {
		struct zp_tail *tail = &zp_session.shared->tails[i];

		if (atomic_load(&tail->taken) == mine && tail->offset == block)
			return tail;
	}
	return NULL;
}

static void drop(struct zp_disk *disk, struct zp_tail *tail)
{
	atomic_store(&tail->taken, 0);
	atomic_fetch_sub(&disk->shared->tails, 1);
}

static int write_out(struct zp_disk *disk, zd_dev *dev, struct zp_tail *tail)
{
	struct iovec whole = { tail->bytes, disk->info.logical_block };
	int r = zp_device_blocks(disk, dev, true, &whole, 1, tail->offset, whole.iov_len);

	drop(disk, tail); /* what failed is gone, as a page that could not be written back */
	return r;
}

/* Under the run's lock. In ascending order, as write-back goes. */
static int flush(struct zp_disk *disk, zd_dev *dev)
{
	uint32_t mine = owner_of(disk), i;
	int r, worst = 0;

	for (;;) {
		struct zp_tail *lowest = NULL;

		for (i = 0; i < ZP_MAX_TAILS; i++) {
			struct zp_tail *tail = &zp_session.shared->tails[i];

			if (atomic_load(&tail->taken) == mine && (!lowest || tail->offset < lowest->offset))
				lowest = tail;
		}
		if (!lowest)
			break;
		r = write_out(disk, dev, lowest);
		worst = r ? r : worst;
	}
	atomic_store(&disk->shared->tails, 0); /* a process killed between a tail and its count left them apart */
	return worst;
}

int zp_tail_flush(struct zp_disk *disk, zd_dev *dev)
{
	int r;

	zp_lock(&zp_session.shared->lock);
	r = flush(disk, dev);
	zp_unlock(&zp_session.shared->lock);
	return r;
}

void zp_tail_drop(struct zp_disk *disk, uint64_t from, uint64_t to)
{
	uint32_t mine = owner_of(disk), i;

	if (!atomic_load(&disk->shared->tails))
		return;
	zp_lock(&zp_session.shared->lock);
	for (i = 0; i < ZP_MAX_TAILS; i++) {
		struct zp_tail *tail = &zp_session.shared->tails[i];

		if (atomic_load(&tail->taken) == mine && tail->offset >= from && tail->offset < to)
			drop(disk, tail);
	}
	zp_unlock(&zp_session.shared->lock);
}

static struct zp_tail *find_free(void)
{
	uint32_t i;

	for (i = 0; i < ZP_MAX_TAILS; i++)
		if (atomic_load(&zp_session.shared->tails[i].taken) == 0)
			return &zp_session.shared->tails[i];
	return NULL;
}

/* The block as one reads it, to be changed in part. */
static int begin_block(struct zp_disk *disk, zd_dev *dev, uint64_t block, struct zp_tail **out)
{
	struct zp_tail *tail = find_free();
	struct iovec whole;
	int r;

	if (!tail) {
		r = flush(disk, dev);
		tail = find_free();
		if (!tail)
			return r ? r : -ENOMEM; /* the other disks of the run have them all */
	}
	whole.iov_base = tail->bytes;
	whole.iov_len = disk->info.logical_block;
	r = zp_device_blocks(disk, dev, false, &whole, 1, block, whole.iov_len);
	if (r)
		return r;
	tail->offset = block;
	atomic_fetch_add(&disk->shared->tails, 1);
	atomic_store(&tail->taken, owner_of(disk));
	*out = tail;
	return 0;
}

static int part_of_block(struct zp_disk *disk, zd_dev *dev, struct zp_cursor *at, uint64_t offset, uint64_t part)
{
	uint64_t size = disk->info.logical_block, block = offset & ~(size - 1);
	struct zp_tail *tail = find(disk, block);
	int r;

	if (!tail) {
		r = begin_block(disk, dev, block, &tail);
		if (r)
			return r;
	}
	zp_cursor_copy(at, tail->bytes + (offset - block), part, 0);
	return offset + part == block + size ? write_out(disk, dev, tail) : 0;
}

int64_t zp_tail_write(struct zp_disk *disk, zd_dev *dev, const struct iovec *iov, int n, uint64_t offset, uint64_t length)
{
	uint64_t size = disk->info.logical_block, done = 0;
	struct zp_cursor at = { iov, n, 0 };
	struct iovec piece[ZP_MAX_IOV];
	int r = 0;

	zp_lock(&zp_session.shared->lock);
	while (done < length && !r) {
		uint64_t here = offset + done, left = length - done, part;

		if ((here & (size - 1)) == 0 && left >= size) {
			uint64_t block;

			part = left & ~(size - 1);
			for (block = here; block < here + part && atomic_load(&disk->shared->tails); block += size) {
				struct zp_tail *tail = find(disk, block);

				if (tail)
					drop(disk, tail); /* all of it is written anew */
			}
			r = zp_device_blocks(disk, dev, true, piece, zp_cursor_slice(&at, part, piece), here, part);
		} else {
			part = size - (here & (size - 1));
			part = part < left ? part : left;
			r = part_of_block(disk, dev, &at, here, part);
		}
		if (!r)
			done += part;
	}
	zp_unlock(&zp_session.shared->lock);
	return done ? (int64_t)done : r;
}

int64_t zp_tail_read(struct zp_disk *disk, zd_dev *dev, const struct iovec *iov, int n, uint64_t offset, uint64_t length)
{
	uint64_t size = disk->info.logical_block, done = 0;
	struct zp_cursor at = { iov, n, 0 };
	struct iovec piece[ZP_MAX_IOV];
	uint8_t block[4096];
	int r = 0;

	zp_lock(&zp_session.shared->lock);
	while (done < length && !r) {
		uint64_t here = offset + done, left = length - done, in = here & (size - 1), part = size - in;
		struct zp_tail *tail = find(disk, here - in);
		struct iovec whole = { block, size };

		part = part < left ? part : left;
		if (tail) {
			zp_cursor_copy(&at, tail->bytes + in, part, 1);
		} else if (in || part < size) {
			r = zp_device_blocks(disk, dev, false, &whole, 1, here - in, size);
			if (!r)
				zp_cursor_copy(&at, block + in, part, 1);
		} else {
			if (!atomic_load(&disk->shared->tails))
				part = left & ~(size - 1);
			r = zp_device_blocks(disk, dev, false, piece, zp_cursor_slice(&at, part, piece), here, part);
		}
		if (!r)
			done += part;
	}
	zp_unlock(&zp_session.shared->lock);
	return done ? (int64_t)done : r;
}
