/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What Linux knows of write pointers by itself (block/blk-zoned.c, 6.12.8 and later): behind a write that failed it trusts its own
 * idea of that zone's no more, and fails all further writes there with EIO, whether they would be right or not, until
 * somebody reports the zone, resets or finishes it.
 *
 * Kept for the run: a word for each such zone, at a place that zones 1,024 apart share; the later one is remembered then.
 */
#include "preload/preload.h"

#include <errno.h>
#include <stdio.h>

static _Atomic uint32_t *word_of(const struct zp_disk *disk, uint32_t zone)
{
	return &disk->shared->lost[zone % ZP_LOST];
}

bool zp_plug_is_lost(const struct zp_disk *disk, uint64_t offset)
{
	uint32_t zone = (uint32_t)(offset / disk->info.zone_size);

	return atomic_load(word_of(disk, zone)) == zone + 1;
}

int zp_plug_refuses(struct zp_disk *disk, uint64_t offset)
{
	uint32_t zone = (uint32_t)(offset / disk->info.zone_size);
	char text[160];

	snprintf(text, sizeof(text),
		 "write in zone %u, in which one has failed: Linux fails all until the zone is reported, reset or finished",
		 zone);
	zp_tell(disk, "lost-write-pointer", text);
	return -EIO;
}

/*
 * The kernel keeps a plug for a zone that is neither empty nor full. It begins with the first write, whose place is believed;
 * a write elsewhere fails before it reaches the disk. A plug whose pointer came to the end goes, and with it what was lost.
 */
void zp_plug_failed(const struct zp_disk *disk, zd_dev *dev, uint64_t offset, uint64_t length)
{
	uint32_t zone = (uint32_t)(offset / disk->info.zone_size), seen;
	uint64_t end = offset + length;
	struct zd_zone now;
	bool plugged;

	if (zd_report(dev, zone, 1, &now, NULL) != 1 || now.type == ZD_CONVENTIONAL)
		return;
	plugged = now.wp != ZD_NONE && now.wp > now.start && now.wp < now.start + now.capacity;
	if (!(plugged && offset != now.wp) && end >= now.start + now.capacity)
		return;
	seen = atomic_exchange(word_of(disk, zone), zone + 1);
	if (!seen)
		atomic_fetch_add(&disk->shared->nr_lost, 1);
}

void zp_plug_known(const struct zp_disk *disk, uint32_t zone, uint32_t count)
{
	uint32_t i, seen;

	for (i = 0; i < ZP_LOST && atomic_load(&disk->shared->nr_lost); i++) {
		seen = atomic_load(&disk->shared->lost[i]);
		if (seen > zone && seen - 1 - zone < count && atomic_compare_exchange_strong(&disk->shared->lost[i], &seen, 0))
			atomic_fetch_sub(&disk->shared->nr_lost, 1);
	}
}
