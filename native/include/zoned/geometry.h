/* SPDX-License-Identifier: Apache-2.0 */
/*
 * zoned/geometry.h - what a disk is made as: size, zones, blocks, limits, and how it behaves.
 */
#ifndef ZONED_GEOMETRY_H
#define ZONED_GEOMETRY_H

#include "zoned/abi.h"

ZD_BEGIN

#define ZD_MAX_CONV_RANGES 440   /* as many as the header page of an image holds */
#define ZD_MAX_ZONES 16777216u   /* 2^24 */
#define ZD_MOST_EXTENSION 16320u /* 255 times 64 bytes, as many as ZNS can tell */
#define ZD_MOST_GRANULES 254u    /* of a random write area */

/* The rule book: what a SCSI/ATA disk, an NVMe ZNS drive, or Linux's null_blk does. */
enum zd_dialect { ZD_ZBC = 0, ZD_ZNS = 1, ZD_NULLBLK = 2 };
enum zd_model { ZD_HOST_MANAGED = 0, ZD_HOST_AWARE = 1 }; /* sequential zones are SWR, or SWP */
/* Which implicitly open zone is closed when an open resource is needed. Explicitly open ones never are. */
enum zd_implicit_close {
	ZD_OLDEST = 0,     /* the one opened longest ago (QEMU) */
	ZD_LOWEST = 1,     /* the one with the lowest index (scsi_debug, tcmu-runner) */
	ZD_ROUND_ROBIN = 2 /* the next one behind the last victim (null_blk) */
};
enum zd_data { ZD_STORE = 0, ZD_NO_DATA = 1 }; /* no payload kept: reads return zeros below the wp */
enum zd_host_sync { ZD_SYNC_FLUSH = 0, ZD_SYNC_COMMAND = 1, ZD_SYNC_NEVER = 2 };
enum zd_paces { ZD_PACE_NONE = 0, ZD_PACE_REAL = 1 }; /* kept with the disk for its openers, who see to it: zoned/pace.h */

/* "zbc", "zns", "nullblk"; NULL for a number that is none. */
const char *zd_dialect_name(int dialect);

struct zd_range {
	uint32_t first, count; /* zones first .. first+count-1 */
};

/*
 * Geometry and behaviour of a new disk. "0:" tells what zero means.
 *
 * Refused with ZD_E_GEOMETRY (text names the field): zone_size no multiple of physical_block; size not
 * larger than 0 or not a multiple of physical_block; zone_capacity > zone_size or no multiple of
 * physical_block; blocks other than 512 or 4096, physical < logical; conventional ranges that overlap,
 * are unordered, empty or beyond the last zone; max_open > max_active when both are set; more than
 * ZD_MAX_ZONES zones; an enum out of range; slot_cache beyond 2^62 (but for UINT64_MAX); host-aware in any
 * dialect but zbc; append_limit no multiple of logical_block; zone_extension no multiple of 64, beyond ZD_MOST_EXTENSION, in
 * another dialect than zns, or without data; zrwa_size in another dialect than zns, no multiple of zrwa_granularity, larger
 * than the zone capacity, of more than ZD_MOST_GRANULES of them or of more than 65535 blocks; zrwa_granularity no multiple of
 * physical_block, or one that divides zone_capacity or size not; zrwa_count 0 or above max_active where that is a limit;
 * granularity or count without a size.
 */
struct zd_config {
	uint32_t struct_size;    /* sizeof(struct zd_config) */
	uint32_t zone_extension; /* bytes of a zone's descriptor extension (ZDES of ZNS, in bytes). 0: zones have none */
	uint64_t size;           /* of the disk. The last zone is smaller when zone_size does not divide it. */
	uint64_t zone_size;      /* any multiple of physical_block */
	uint64_t zone_capacity;  /* writable bytes of a sequential zone. 0: zone_size */
	uint32_t logical_block;  /* 512 or 4096 */
	uint32_t physical_block; /* 512 or 4096, not below logical_block (512e: 512 and 4096) */
	uint32_t max_open;       /* 0: no limit */
	uint32_t max_active;     /* 0: no limit */
	uint64_t append_limit;   /* longest zone append. 0: the zone's capacity */
	uint64_t seed;           /* of everything random about the disk; also names a reproducible uuid */
	uint64_t slot_cache;     /* bytes of freed zones kept filled for reuse; UINT64_MAX: default 256 MiB */
	uint8_t dialect, model, implicit_close, data, host_sync; /* the enums above */
	uint8_t unrestricted_read;                               /* URSWRZ; in zns: read across zone boundaries (ROZ/RAZB) */
	uint8_t pace;                                            /* enum zd_paces */
	uint8_t reserved2;                                       /* 0 */
	uint32_t nr_conv;                                        /* entries in conv */
	const struct zd_range *conv;                             /* conventional zones, ascending */
	char profile[64];                                        /* name kept for `info`; NUL-terminated */
	/* Random write areas (ZRWA of ZNS); all 0: zones have none */
	uint32_t zrwa_size;        /* bytes of an area (ZRWASZ) */
	uint32_t zrwa_granularity; /* bytes: write pointers move by multiples of them (ZRWAFG) */
	uint32_t zrwa_count;       /* zones that may have one at a time (NUMZRWA) */
	uint32_t reserved3;        /* 0 */
};

ZD_END

#endif
