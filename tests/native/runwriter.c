/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes blocks at a zone's write pointer until it is killed, each with its number in it, and says so on standard output once
 * the disk has taken it. Arguments: the device, the zone's first byte.
 */
#include <fcntl.h>
#include <linux/blkzoned.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

static uint64_t block[512] __attribute__((aligned(4096)));

int main(int argc, char **argv)
{
	static char room[sizeof(struct blk_zone_report) + sizeof(struct blk_zone)] __attribute__((aligned(8)));
	struct blk_zone_report *head = (struct blk_zone_report *)room;
	struct blk_zone *zone = head->zones;
	uint64_t at;
	int fd;

	if (argc != 3)
		return 2;
	fd = open(argv[1], O_RDWR | O_DIRECT);
	head->sector = strtoull(argv[2], NULL, 10) / 512;
	head->nr_zones = 1;
	if (fd < 0 || ioctl(fd, BLKREPORTZONE, head))
		return 3;
	for (at = zone->wp * 512; at < (zone->start + zone->capacity) * 512; at += sizeof(block)) {
		size_t i;

		for (i = 0; i < 512; i++)
			block[i] = at + i;
		if (pwrite(fd, block, sizeof(block), (off_t)at) != sizeof(block))
			return 4;
		at += sizeof(block);
		if (write(1, &at, sizeof(at)) != sizeof(at))
			return 5;
		at -= sizeof(block);
	}
	return 0;
}
