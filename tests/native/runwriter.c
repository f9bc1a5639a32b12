/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes blocks at a zone's write pointer until it is killed, each with its number in it, and says so on standard output once
 * the disk has taken it. Arguments: the device, the zone's first byte.
 */
#include <fcntl.h>
#include <linux/blkzoned.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static uint64_t block[512] __attribute__((aligned(4096)));

int main(int argc, char **argv)
{
	struct {
		struct blk_zone_report head;
		struct blk_zone zone;
	} report;
	uint64_t at;
	int fd;

	if (argc != 3)
		return 2;
	fd = open(argv[1], O_RDWR | O_DIRECT);
	memset(&report, 0, sizeof(report));
	report.head.sector = strtoull(argv[2], NULL, 10) / 512;
	report.head.nr_zones = 1;
	if (fd < 0 || ioctl(fd, BLKREPORTZONE, &report))
		return 3;
	for (at = report.zone.wp * 512; at < (report.zone.start + report.zone.capacity) * 512; at += sizeof(block)) {
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
