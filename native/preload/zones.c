/* SPDX-License-Identifier: Apache-2.0 */
/* Zone reports and zone commands as ioctls: block/blk-zoned.c of Linux 6.12, down to what comes first. */
#include "preload/preload.h"

#include <errno.h>
#include <linux/blkzoned.h>
#include <string.h>

#define SECTOR 512u
#define BATCH 64u

/* ZBC and null_blk leave other numbers where no write pointer is valid; these are what the kernel's drivers hand on. */
static uint64_t pointer(const struct zd_zone *zone)
{
	if (zone->wp != ZD_NONE)
		return zone->wp / SECTOR;
	if (zone->type == ZD_CONVENTIONAL || zone->cond == ZD_FULL)
		return (zone->start + zone->length) / SECTOR;
	return UINT64_MAX;
}

static void tell_zone(const struct zd_zone *zone, struct blk_zone *out)
{
	memset(out, 0, sizeof(*out));
	out->start = zone->start / SECTOR;
	out->len = zone->length / SECTOR;
	out->capacity = zone->capacity / SECTOR;
	out->wp = pointer(zone);
	out->type = zone->type;
	out->cond = zone->cond;
	out->non_seq = zone->non_seq;
	out->reset = zone->reset_recommended;
}

int zp_zones_report(struct zp_open *open, void *arg)
{
	struct zp_disk *disk = zp_disk_of(open);
	struct blk_zone_report head;
	struct blk_zone out[BATCH];
	struct zd_zone found[BATCH];
	uint32_t zone, told = 0;
	struct zd_error err;
	zd_dev *dev;
	int r;

	if (!arg)
		return -EINVAL;
	r = zp_copy_in(&head, arg, sizeof(head));
	if (r)
		return r;
	if (!head.nr_zones)
		return -EINVAL;
	zp_enter();
	r = zp_disk_dev(disk, &dev);
	if (!r && atomic_load(&disk->shared->tails))
		zp_tail_flush(disk, dev);
	if (!r && head.sector < disk->info.size / SECTOR) {
		zone = (uint32_t)(head.sector * SECTOR / disk->info.zone_size);
		while (!r && told < head.nr_zones && zone < disk->info.nr_zones) {
			uint32_t want = head.nr_zones - told < BATCH ? head.nr_zones - told : BATCH;
			int64_t got = zd_report(dev, zone, want, found, &err), i;

			if (got <= 0) {
				r = got ? zp_refused(disk, got, &err) : 0;
				break;
			}
			zp_plug_known(disk, zone, (uint32_t)got);
			for (i = 0; i < got; i++)
				tell_zone(&found[i], &out[i]);
			r = zp_copy_out((char *)arg + sizeof(head) + (size_t)told * sizeof(*out), out,
					(size_t)got * sizeof(*out));
			told += (uint32_t)got;
			zone += (uint32_t)got;
		}
	}
	zp_leave();
	if (r)
		return r;
	head.nr_zones = told;
	head.flags = BLK_ZONE_REP_CAPACITY;
	return zp_copy_out(arg, &head, sizeof(head));
}

/*
 * One bio a zone, chained: all of them are carried out, whatever becomes of one, and of several errors the last is told.
 * Only a reset of the whole disk is a command of its own, which passes conventional zones over.
 */
static int manage(struct zp_disk *disk, zd_dev *dev, int op, uint64_t start, uint64_t length)
{
	uint64_t zone = start / disk->info.zone_size, end = start + length;
	struct zd_error err;
	int r, worst = 0;

	if (op == ZD_CMD_RESET || op == ZD_CMD_FINISH)
		zp_plug_known(disk, (uint32_t)zone, (uint32_t)((length - 1) / disk->info.zone_size + 1));
	if (op == ZD_CMD_RESET && start == 0 && end == disk->info.size) {
		r = zd_zone_mgmt(dev, ZD_CMD_RESET_ALL, 0, 0, &err);
		return r ? zp_refused(disk, r, &err) : 0;
	}
	for (; zone * disk->info.zone_size < end && worst != -EINTR; zone++) {
		r = zd_zone_mgmt(dev, op, (uint32_t)zone, 1, &err);
		if (r)
			worst = zp_refused(disk, r, &err);
	}
	return worst;
}

int zp_zones_manage(struct zp_open *open, int op, void *arg)
{
	struct zp_disk *disk = zp_disk_of(open);
	uint32_t flags = atomic_load(&open->flags);
	struct blk_zone_range range;
	uint64_t start, length, end;
	zd_dev *dev;
	int r;

	if (!arg)
		return -EINVAL;
	if (!zp_may_write(flags))
		return -EBADF;
	r = zp_copy_in(&range, arg, sizeof(range));
	if (r)
		return r;
	zp_enter();
	r = zp_disk_dev(disk, &dev);
	if (r)
		goto out;
	r = -EINVAL;
	if (__builtin_mul_overflow(range.sector, SECTOR, &start) || __builtin_mul_overflow(range.nr_sectors, SECTOR, &length) ||
	    __builtin_add_overflow(start, length, &end) || length == 0 || end > disk->info.size)
		goto out;
	if (start % disk->info.zone_size || (length % disk->info.zone_size && end != disk->info.size))
		goto out;
	r = -EPERM;
	if (zp_readonly(disk))
		goto out;
	if (op == ZD_CMD_RESET)
		zp_tail_drop(disk, start, end);
	else if (atomic_load(&disk->shared->tails))
		zp_tail_flush(disk, dev);
	r = manage(disk, dev, op, start, length);
out:
	zp_leave();
	return r;
}
