/* SPDX-License-Identifier: Apache-2.0 */
/* ioctl() on a disk: block/ioctl.c of Linux 6.12. What is not named here is ENOTTY, as there. */
#include "preload/preload.h"

#include <errno.h>
#include <linux/blkzoned.h>
#include <linux/fs.h>
#include <scsi/sg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef BLKGETDISKSEQ
#define BLKGETDISKSEQ _IOR(0x12, 128, uint64_t)
#endif
#define MAX_SECTORS 2560u /* of one request; larger ones are cut */
#define READ_AHEAD 256u   /* sectors */

pid_t zp_peer;

int zp_copy_in(void *to, const void *from, size_t length)
{
	struct iovec local = { to, length }, remote = { (void *)(uintptr_t)from, length };

	return process_vm_readv(zp_peer ? zp_peer : getpid(), &local, 1, &remote, 1, 0) == (ssize_t)length ? 0 : -EFAULT;
}

int zp_copy_out(void *to, const void *from, size_t length)
{
	struct iovec local = { (void *)(uintptr_t)from, length }, remote = { to, length };

	return process_vm_writev(zp_peer ? zp_peer : getpid(), &local, 1, &remote, 1, 0) == (ssize_t)length ? 0 : -EFAULT;
}

#define PUT(type, value) ZP_PUT(type, (type)(value))

/* As set_init_blocksize(): the largest power of two up to a page that divides the disk. */
static uint32_t buffer_block(const struct zd_info *info)
{
	uint32_t size = info->logical_block;

	while (size < 4096 && info->size % (size * 2) == 0)
		size *= 2;
	return size;
}

static int discard(const struct zp_open *open)
{
	return zp_may_write(atomic_load(&open->flags)) ? -EOPNOTSUPP : -EBADF;
}

static int zero_out(struct zp_open *open, void *arg)
{
	struct zp_disk *disk = zp_disk_of(open);
	uint64_t range[2], end;

	if (!zp_may_write(atomic_load(&open->flags)))
		return -EBADF;
	if (zp_copy_in(range, arg, sizeof(range)))
		return -EFAULT;
	if ((range[0] | range[1]) & 511 || __builtin_add_overflow(range[0], range[1], &end) || range[1] == 0 ||
	    end > disk->info.size)
		return -EINVAL;
	if ((range[0] | range[1]) & (disk->info.logical_block - 1))
		return -EINVAL;
	if (zp_readonly(disk))
		return -EPERM;
	return zp_device_zero(disk, range[0], range[1]);
}

static int set_readonly(struct zp_disk *disk, void *arg)
{
	int on;

	if (zp_copy_in(&on, arg, sizeof(on)))
		return -EFAULT;
	atomic_store(&disk->shared->readonly, on != 0);
	return 0;
}

static int set_block(const struct zp_disk *disk, void *arg)
{
	int size;

	if (!arg)
		return -EINVAL;
	if (zp_copy_in(&size, arg, sizeof(size)))
		return -EFAULT;
	return size < 512 || size > 4096 || (size & (size - 1)) || (uint32_t)size < disk->info.logical_block ? -EINVAL : 0;
}

/* Blocks that two files share: not with a file of another file system, as that of /dev is. */
static int share(int from)
{
	if (zp_find(from))
		return -EINVAL;
	return fcntl(from, F_GETFD) < 0 ? -EBADF : -EXDEV;
}

static int share_range(const void *arg)
{
	struct file_clone_range range;

	return zp_copy_in(&range, arg, sizeof(range)) ? -EFAULT : share((int)range.src_fd);
}

static int block(struct zp_open *open, struct zp_disk *disk, unsigned long request, void *arg)
{
	const struct zd_info *info = &disk->info;
	uint32_t ahead;

	switch (request) {
	case BLKREPORTZONE: return zp_zones_report(open, arg);
	case BLKRESETZONE: return zp_zones_manage(open, ZD_CMD_RESET, arg);
	case BLKOPENZONE: return zp_zones_manage(open, ZD_CMD_OPEN, arg);
	case BLKCLOSEZONE: return zp_zones_manage(open, ZD_CMD_CLOSE, arg);
	case BLKFINISHZONE: return zp_zones_manage(open, ZD_CMD_FINISH, arg);
	case BLKGETZONESZ: PUT(uint32_t, info->zone_size / 512);
	case BLKGETNRZONES: PUT(uint32_t, info->nr_zones);
	case BLKGETSIZE64: PUT(uint64_t, info->size);
	case BLKGETSIZE: PUT(unsigned long, info->size / 512);
	case BLKSSZGET: PUT(int, info->logical_block);
	case BLKPBSZGET: PUT(unsigned, info->physical_block);
	case BLKBSZGET: PUT(int, buffer_block(info));
	case BLKBSZSET: return set_block(disk, arg);
	case BLKIOMIN: PUT(unsigned, info->physical_block);
	case BLKIOOPT: PUT(unsigned, 0);
	case BLKALIGNOFF: PUT(int, 0);
	case BLKDISCARDZEROES: PUT(unsigned, 0);
	case BLKSECTGET: PUT(unsigned short, MAX_SECTORS);
	case BLKROTATIONAL: PUT(unsigned short, info->dialect == ZD_ZBC);
	case BLKRAGET:
	case BLKFRAGET:
		if (!arg)
			return -EINVAL;
		ahead = atomic_load(&disk->shared->read_ahead);
		PUT(long, ahead ? ahead - 1 : READ_AHEAD);
	case BLKRASET:
	case BLKFRASET: atomic_store(&disk->shared->read_ahead, (uint32_t)(uintptr_t)arg + 1); return 0;
	case BLKROGET: PUT(int, zp_readonly(disk));
	case BLKROSET: return set_readonly(disk, arg);
	case BLKGETDISKSEQ: PUT(uint64_t, disk->diskseq);
	case BLKFLSBUF: return zp_device_sync(open);
	case BLKDISCARD:
	case BLKSECDISCARD: return discard(open);
	case BLKZEROOUT: return zero_out(open, arg);
	case BLKRRPART: return -EINVAL; /* no disk with partitions */
	case FIGETBSZ: PUT(int, 4096);
	case FICLONE: return share((int)(intptr_t)arg);
	case FICLONERANGE: return share_range(arg);
	case SG_IO: return disk->info.dialect == ZD_ZBC ? zp_scsi_io(disk, arg) : -ENOTTY; /* others are no SCSI disks */
	case SG_GET_VERSION_NUM:
		if (disk->info.dialect != ZD_ZBC)
			return -ENOTTY;
		PUT(int, 30536);
	default: return zp_nvme_ioctl(open, request, arg);
	}
}

int zp_ioctl(struct zp_open *open, unsigned long request, void *arg)
{
	struct zp_disk *disk = zp_disk_of(open);
	zd_dev *dev;
	int r;

	request &= UINT32_MAX; /* the kernel's commands have 32 bits; some programs sign-extend them */
	if (atomic_load(&open->flags) & O_PATH)
		return -EBADF;
	zp_enter();
	r = zp_disk_dev(disk, &dev);
	zp_leave();
	if (r)
		return r;
	if (open->kind == ZP_BLOCK)
		return block(open, disk, request, arg);
	return disk->info.dialect == ZD_ZBC ? zp_scsi_ioctl(open, request, arg) : zp_nvme_ioctl(open, request, arg);
}
