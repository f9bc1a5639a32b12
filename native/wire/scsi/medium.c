/* SPDX-License-Identifier: Apache-2.0 */
/* What is said of the medium: GET LBA STATUS (SBC-4 5.9, 5.10) and READ DEFECT DATA (SBC-4 5.24, 5.25). */
#include "wire/scsi/scsi.h"

#include <string.h>

#define HEAD 8
#define EACH 16
#define MOST_ZONES 1024 /* that one GET LBA STATUS looks at: it may tell of fewer blocks than there are */

enum { MAPPED, DEALLOCATED }; /* SBC-4 table 70; MAPPED is also said of what is not known */

struct extents {
	uint8_t *out;
	uint32_t nr, room;
	uint64_t next; /* the block behind the last of them */
};

/* Blocks up to `end` are of this kind; false: there is no room to say so of all of them. */
static bool add(struct extents *x, uint64_t end, uint8_t kind)
{
	while (x->next < end) {
		uint8_t *last = x->out + HEAD + EACH * (uint64_t)(x->nr ? x->nr - 1 : 0);
		uint32_t had = x->nr && last[12] == kind ? get32(last + 8) : UINT32_MAX;
		uint64_t n = end - x->next;

		if (had == UINT32_MAX) { /* another kind, or it counts no further */
			if (x->nr == x->room)
				return false;
			last = x->out + HEAD + EACH * (uint64_t)x->nr++;
			memset(last, 0, EACH);
			put64(last, x->next);
			last[12] = kind;
			had = 0;
		}
		if (n > UINT32_MAX - had)
			n = UINT32_MAX - had;
		put32(last + 8, had + (uint32_t)n);
		x->next += n;
	}
	return true;
}

/*
 * Where nothing can be unmapped every block is mapped. Else those are deallocated of which it is sure that nothing is stored:
 * in a sequential zone behind what was written, in a conventional one all of it or none. They read as zeros, as page B2h says.
 */
int zd_scsi_lba_status(struct zd_scsi_task *task)
{
	const struct zd_scsi_lu *unit = task->unit;
	uint64_t lba = get64(task->cdb + 2), zone_blocks = unit->info.zone_size >> unit->shift, stop;
	uint32_t allocation = get32(task->cdb + 10), zone = (uint32_t)(lba / zone_blocks), most = 2 * MOST_ZONES;
	struct extents x = { .next = lba };

	if (lba >= unit->blocks)
		return zd_scsi_check(task, ZD_SENSE_LBA_OUT_OF_RANGE);
	x.room = allocation < HEAD + EACH ? 1 : (allocation - HEAD) / EACH < most ? (allocation - HEAD) / EACH : most;
	x.out = zd_scsi_scratch(task, HEAD + EACH * (uint64_t)x.room);
	if (!x.out)
		return zd_scsi_check(task, ZD_SENSE_NO_RESOURCES);
	memset(x.out, 0, HEAD);
	stop = zone + MOST_ZONES;
	if (stop > unit->info.nr_zones)
		stop = unit->info.nr_zones;
	if (!unit->nr_conv)
		add(&x, unit->blocks, MAPPED);
	for (; unit->nr_conv && zone < stop; zone++) {
		uint64_t start = zone * zone_blocks,
			 end = start + zone_blocks < unit->blocks ? start + zone_blocks : unit->blocks;
		int64_t written = zd_zone_written(unit->dev, zone, &task->error);

		if (written < 0)
			return zd_scsi_failed(task, written);
		if (!add(&x, start + ((uint64_t)written >> unit->shift), MAPPED) || !add(&x, end, DEALLOCATED))
			break;
	}
	put32(x.out, HEAD - 4 + EACH * x.nr);
	return zd_scsi_give(task, x.out, HEAD + EACH * (uint64_t)x.nr, allocation);
}

/* ---------------------------------------------------------------- READ DEFECT DATA */

/* Neither list has an entry, in whatever format. asked: both lists' bits and the format, as all of them stand in CDB and answer. */
static int no_defects(struct zd_scsi_task *task, uint32_t byte, uint32_t length, uint32_t allocation)
{
	uint8_t asked = task->cdb[byte] & 0x1F, out[8] = { 0, asked };

	if ((asked & 0x07) > 5)
		return zd_scsi_field(task, byte, 2); /* vendor's and reserved */
	return zd_scsi_give(task, out, length, allocation);
}

int zd_scsi_read_defects10(struct zd_scsi_task *task)
{
	return no_defects(task, 2, 4, get16(task->cdb + 7));
}

int zd_scsi_read_defects12(struct zd_scsi_task *task)
{
	return no_defects(task, 1, 8, get32(task->cdb + 6));
}
