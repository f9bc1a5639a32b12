/* SPDX-License-Identifier: Apache-2.0 */
/*
 * zoned/data.h - bytes: reading, writing, appending, flushing, and reading without a copy.
 *
 * offset and length must be multiples of the logical block; length 0 succeeds and does nothing (the
 * offset must still lie on the disk or at its end). Reads past the write pointer give zeros (0xFF in
 * nullblk), never stale data. A write is visible to other openers once the call returns, and survives
 * the death of this process; it survives power loss after zd_flush().
 *
 * Return: bytes transferred, always the whole length (a drive transfers all or refuses).
 * A write ended by -EINTR leaves the zone's write pointer behind what was written so far. After another error of the host
 * the zone is as before the call.
 */
#ifndef ZONED_DATA_H
#define ZONED_DATA_H

#include "zoned/abi.h"
#include <sys/uio.h>

ZD_BEGIN

/*
 * Read. Errors: ZD_E_OUT_OF_RANGE, ZD_E_BLOCK_ALIGNMENT, ZD_E_READ_BOUNDARY, ZD_E_READ_TYPE, ZD_E_INVALID_READ,
 * ZD_E_GAP, ZD_E_ZONE_OFFLINE, ZD_E_MEDIUM_READ, ZD_E_TIMEOUT, ZD_E_POWER_LOSS, ZD_E_BUSY, ZD_E_CORRUPT, ZD_E_CLOSED (it
 * was held up), -EINTR, -ETIMEDOUT, -EIO, -ENOMEM.
 */
int64_t zd_pread(zd_dev *dev, void *buf, uint64_t length, uint64_t offset, struct zd_error *err);
/*
 * As zd_pread(), into several buffers. Errors: ZD_E_OUT_OF_RANGE, ZD_E_BLOCK_ALIGNMENT, ZD_E_READ_BOUNDARY, ZD_E_READ_TYPE,
 * ZD_E_INVALID_READ, ZD_E_GAP, ZD_E_ZONE_OFFLINE, ZD_E_MEDIUM_READ, ZD_E_TIMEOUT, ZD_E_POWER_LOSS, ZD_E_BUSY, ZD_E_CORRUPT,
 * ZD_E_CLOSED, -EINVAL (a negative iovcnt, a sum beyond any disk), -EINTR, -ETIMEDOUT, -EIO, -ENOMEM.
 */
int64_t zd_preadv(zd_dev *dev, const struct iovec *iov, int iovcnt, uint64_t offset, struct zd_error *err);
/*
 * Write. Errors: ZD_E_UNALIGNED_WRITE, ZD_E_WRITE_BOUNDARY, ZD_E_ZONE_FULL, ZD_E_ZONE_READ_ONLY, ZD_E_ZONE_OFFLINE,
 * ZD_E_OUTSIDE_ZRWA,
 * ZD_E_TOO_MANY_OPEN, ZD_E_TOO_MANY_ACTIVE, ZD_E_GAP, ZD_E_OUT_OF_RANGE, ZD_E_BLOCK_ALIGNMENT, ZD_E_MEDIUM_WRITE,
 * ZD_E_TIMEOUT, ZD_E_POWER_LOSS, ZD_E_BUSY, ZD_E_READONLY_HANDLE, ZD_E_FAILED, ZD_E_CLOSED (it was held up), -EINTR,
 * -ETIMEDOUT, -EIO, -ENOSPC, -EDQUOT, -EFBIG, -ENOMEM.
 */
int64_t zd_pwrite(zd_dev *dev, const void *buf, uint64_t length, uint64_t offset, struct zd_error *err);
/*
 * As zd_pwrite(), of several buffers. Errors: ZD_E_UNALIGNED_WRITE, ZD_E_WRITE_BOUNDARY, ZD_E_ZONE_FULL,
 * ZD_E_ZONE_READ_ONLY, ZD_E_OUTSIDE_ZRWA, ZD_E_ZONE_OFFLINE, ZD_E_TOO_MANY_OPEN, ZD_E_TOO_MANY_ACTIVE, ZD_E_GAP,
 * ZD_E_OUT_OF_RANGE, ZD_E_BLOCK_ALIGNMENT, ZD_E_MEDIUM_WRITE, ZD_E_TIMEOUT, ZD_E_POWER_LOSS, ZD_E_BUSY,
 * ZD_E_READONLY_HANDLE, ZD_E_FAILED, ZD_E_CLOSED, -EINVAL (a negative iovcnt, a sum beyond any disk), -EINTR,
 * -ETIMEDOUT, -EIO, -ENOSPC, -EDQUOT, -EFBIG, -ENOMEM.
 */
int64_t zd_pwritev(zd_dev *dev, const struct iovec *iov, int iovcnt, uint64_t offset, struct zd_error *err);
/*
 * Write at the zone's write pointer. *landed (may be NULL): where the data begins. In zbc (which has no append) as zns.
 * Errors: ZD_E_ZONE_OPERATION (the zone has a random write area), ZD_E_WRITE_BOUNDARY, ZD_E_UNALIGNED_WRITE (512e),
 * ZD_E_ZONE_FULL, ZD_E_ZONE_READ_ONLY, ZD_E_ZONE_OFFLINE, ZD_E_TOO_MANY_OPEN, ZD_E_TOO_MANY_ACTIVE, ZD_E_CONVENTIONAL,
 * ZD_E_APPEND_LIMIT, ZD_E_OUT_OF_RANGE, ZD_E_BLOCK_ALIGNMENT, ZD_E_MEDIUM_WRITE, ZD_E_TIMEOUT, ZD_E_POWER_LOSS,
 * ZD_E_BUSY, ZD_E_READONLY_HANDLE, ZD_E_FAILED, ZD_E_CLOSED (it was held up), -EINTR, -ETIMEDOUT, -EIO, -ENOSPC,
 * -EDQUOT, -EFBIG, -ENOMEM.
 */
int64_t zd_append(zd_dev *dev, uint32_t zone, const void *buf, uint64_t length, uint64_t *landed, struct zd_error *err);
/*
 * As zd_append(), of several buffers, which land one behind the other. Errors: ZD_E_ZONE_OPERATION, ZD_E_WRITE_BOUNDARY,
 * ZD_E_UNALIGNED_WRITE, ZD_E_ZONE_FULL, ZD_E_ZONE_READ_ONLY, ZD_E_ZONE_OFFLINE, ZD_E_TOO_MANY_OPEN,
 * ZD_E_TOO_MANY_ACTIVE, ZD_E_CONVENTIONAL, ZD_E_APPEND_LIMIT, ZD_E_OUT_OF_RANGE, ZD_E_BLOCK_ALIGNMENT,
 * ZD_E_MEDIUM_WRITE, ZD_E_TIMEOUT, ZD_E_POWER_LOSS, ZD_E_BUSY, ZD_E_READONLY_HANDLE, ZD_E_FAILED, ZD_E_CLOSED, -EINVAL
 * (a negative iovcnt, a sum beyond any disk), -EINTR, -ETIMEDOUT, -EIO, -ENOSPC, -EDQUOT, -EFBIG, -ENOMEM.
 */
int64_t zd_appendv(zd_dev *dev, uint32_t zone, const struct iovec *iov, int iovcnt, uint64_t *landed, struct zd_error *err);
/*
 * Everything written before the call becomes durable. Host: fdatasync, then entries, unless host_sync is never. On a
 * read-only handle nothing happens. Errors: ZD_E_MEDIUM_WRITE, ZD_E_TIMEOUT, ZD_E_POWER_LOSS, ZD_E_BUSY, ZD_E_FAILED
 * (now, or since an earlier one), ZD_E_CLOSED (it was held up), -EINTR, -ETIMEDOUT, -EIO, -ENOSPC, -EDQUOT, -EFBIG,
 * -ENOMEM.
 */
int zd_flush(zd_dev *dev, struct zd_error *err);
/*
 * Give blocks at the write pointer of a sequential-write-required zone their place on the host, so that a write of them
 * does not fail for want of room later. Refuses what such a write would be refused for now, but for open and active
 * resources, which OPEN takes. Changes nothing that a user of the disk can see, and is no command of it: it is not
 * recorded and meets no fault rule. Other zones: nothing happens. On a host that copies on write the write may fail all
 * the same; in a random write area nothing happens. Errors: ZD_E_UNALIGNED_WRITE, ZD_E_OUTSIDE_ZRWA,
 * ZD_E_WRITE_BOUNDARY, ZD_E_ZONE_FULL, ZD_E_ZONE_READ_ONLY, ZD_E_ZONE_OFFLINE, ZD_E_GAP, ZD_E_OUT_OF_RANGE,
 * ZD_E_BLOCK_ALIGNMENT, ZD_E_POWER_LOSS, ZD_E_BUSY, ZD_E_READONLY_HANDLE, ZD_E_FAILED, -EINTR, -ETIMEDOUT, -EIO,
 * -ENOSPC, -EDQUOT, -EFBIG, -ENOMEM.
 */
int zd_reserve(zd_dev *dev, uint64_t offset, uint64_t length, struct zd_error *err);

/* ---------------------------------------------------------------- without a copy */

/*
 * Reading without a copy: all of zd_pread()'s checks, then a pointer into the mapping instead of bytes. Returns
 * how many of `length` bytes lie at *at, all in one zone; until zd_map_end() from the same thread, that zone's
 * stripe is held, so nothing resets or overwrites them: be brief, and call nothing of this disk in between.
 * Returns 0, with nothing held, where only zd_pread() will do: past the write pointer, on blocks that the host
 * has not got in the mapping, on a read-only handle, with data none.
 * Errors: ZD_E_OUT_OF_RANGE, ZD_E_BLOCK_ALIGNMENT, ZD_E_READ_BOUNDARY, ZD_E_READ_TYPE, ZD_E_INVALID_READ, ZD_E_GAP,
 * ZD_E_ZONE_OFFLINE, ZD_E_POWER_LOSS, ZD_E_BUSY, -EINTR, -ETIMEDOUT, -EIO, -ENOMEM.
 */
int64_t zd_map_begin(zd_dev *dev, uint64_t offset, uint64_t length, const void **at, struct zd_error *err);
void zd_map_end(zd_dev *dev, uint64_t offset); /* offset: as given to zd_map_begin */
struct zd_pin {
	const void *at;
	uint64_t length;
	uint32_t slot, pid; /* the library's */
	uint64_t reserved;
};
/*
 * The same with no lock held, for as long as one likes: the bytes are pinned, as a snapshot pins them. A reset or an
 * overwrite meanwhile succeeds and leaves them as they are; what is overwritten in place moves to a copy first. Costs the
 * lock of the resources twice. Returns how many of `length` bytes lie at pin->at, or 0 as zd_map_begin(). Each pin that
 * gave more than 0 must be given back before the handle is closed; a process that is killed leaves its pins till
 * the last opener is gone, which costs space and no data.
 * Errors: ZD_E_OUT_OF_RANGE, ZD_E_BLOCK_ALIGNMENT, ZD_E_READ_BOUNDARY, ZD_E_READ_TYPE, ZD_E_INVALID_READ, ZD_E_GAP,
 * ZD_E_ZONE_OFFLINE, ZD_E_POWER_LOSS, ZD_E_BUSY, -EINTR, -ETIMEDOUT, -EIO, -ENOMEM.
 */
int64_t zd_pin(zd_dev *dev, uint64_t offset, uint64_t length, struct zd_pin *pin, struct zd_error *err);
void zd_unpin(zd_dev *dev, struct zd_pin *pin);

ZD_END

#endif
