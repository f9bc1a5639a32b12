/* SPDX-License-Identifier: Apache-2.0 */
/*
 * zoned/error.h - what can go wrong: codes, what they are called, and how each kind of host hears of them.
 *
 * A code is ZD_E_* where the emulated disk refused or the image is at fault, or -errno where the host failed. ZD_E_* lie far below
 * any -errno. Nothing here needs a disk, takes a lock, or fails. Texts are static storage unless said otherwise.
 */
#ifndef ZONED_ERROR_H
#define ZONED_ERROR_H

#include "zoned/abi.h"

ZD_BEGIN

#define ZD_NONE UINT64_MAX    /* a write pointer that is not valid (report), or an offset unknown */
#define ZD_NO_ZONE UINT32_MAX /* no zone is concerned */

/*
 * Broken rules. Each has a name, SCSI sense data (dialects zbc and nullblk), an NVMe status (zns) and
 * an errno; zd_rule_info() tells them. Codes lie far below any -errno.
 */
enum zd_rule {
	ZD_E_UNALIGNED_WRITE = -2001, /* not at the write pointer, or (512e) not ending on a physical block */
	ZD_E_WRITE_BOUNDARY = -2002,  /* a write crosses the zone's end, its capacity, or into another type */
	ZD_E_READ_BOUNDARY = -2003,   /* a read crosses zones where it may not */
	ZD_E_INVALID_READ = -2004,    /* a read passes the write pointer (URSWRZ off) */
	ZD_E_ZONE_FULL = -2005,
	ZD_E_ZONE_READ_ONLY = -2006,
	ZD_E_ZONE_OFFLINE = -2007,
	ZD_E_TOO_MANY_OPEN = -2008,
	ZD_E_TOO_MANY_ACTIVE = -2009,
	ZD_E_INVALID_TRANSITION = -2010, /* the zone's condition does not allow this command */
	ZD_E_CONVENTIONAL = -2011,       /* a zone command (or append) addressed to a conventional zone */
	ZD_E_GAP = -2012,                /* a command that starts between a zone's capacity and its end */
	ZD_E_OUT_OF_RANGE = -2013,       /* beyond the end of the disk, or no such zone */
	ZD_E_BLOCK_ALIGNMENT = -2014,    /* offset or length is no multiple of the logical block */
	ZD_E_APPEND_LIMIT = -2015,       /* longer than the zone append size limit */
	ZD_E_UNSUPPORTED = -2016,        /* the dialect has no such command */
	ZD_E_MEDIUM_READ = -2017,
	ZD_E_MEDIUM_WRITE = -2018,
	ZD_E_POWER_LOSS = -2019, /* the emulated disk has no power */
	ZD_E_READ_TYPE = -2020,  /* zbc, host-managed: a read begins and ends in zones of different types */
	ZD_E_TIMEOUT = -2021,    /* the command hung and timed out; only a fault makes that happen */
	ZD_E_MISCOMPARE = -2022, /* a compare found other bytes */
	ZD_E_SEQUENTIAL = -2023, /* write zeroes or deallocate addressed to a sequential zone */
	/* Of random write areas (ZRWA) */
	ZD_E_ZRWA_UNAVAILABLE = -2024, /* no area is left, or the zone's write pointer is on no multiple of the granularity */
	ZD_E_ZONE_OPERATION = -2025,   /* an append to a zone that has an area, or the disk's zones can have none */
	ZD_E_OUTSIDE_ZRWA = -2026,     /* a write before the zone's area, or beyond what moves it by its own size */
	ZD_E_COMMIT = -2027, /* an explicit commit of a zone without an area, or up to no multiple of the granularity */
	/* Not rules of a drive: the image or the caller is at fault. */
	ZD_E_GEOMETRY = -2101, /* impossible geometry; zd_error.text names it */
	ZD_E_NOT_IMAGE = -2102,
	ZD_E_VERSION = -2103,
	ZD_E_FEATURE = -2104,
	ZD_E_TRUNCATED = -2105,
	ZD_E_CORRUPT = -2106,
	ZD_E_READONLY_HANDLE = -2107, /* a changing command on a handle opened read-only */
	ZD_E_FAILED = -2108,          /* an earlier host sync failed; the image needs a check */
	ZD_E_BUSY = -2109,            /* needs the disk to itself, and others have it open */
	ZD_E_CLOSED = -2110           /* the handle was closed */
};
#define ZD_E_FIRST_RULE (-2001)
#define ZD_NR_RULES 27 /* rules of a drive: ZD_E_UNALIGNED_WRITE .. ZD_E_COMMIT */

struct zd_error {
	int32_t code;       /* the code returned */
	int32_t cmd;        /* enum zd_cmd, or -1 */
	int32_t host_errno; /* > 0 where the host failed */
	uint32_t zone;      /* ZD_NO_ZONE if none is concerned */
	uint64_t offset;    /* where the command began; ZD_NONE if it has no place */
	uint64_t length;    /* its length in bytes, 0 if none */
	uint64_t wp;        /* the zone's write pointer (absolute), ZD_NONE if invalid */
	uint64_t bound;     /* what was crossed: end of zone, capacity or disk; or the limit exceeded; for a medium
			      * error the first byte that failed: what lies before it was transferred */
	uint8_t cond;       /* the zone's condition, 0xFF if no zone is concerned */
	uint8_t injected;   /* 1: a fault rule made this happen */
	uint16_t reserved;
	uint32_t fault; /* which one */
	char text[192]; /* for image and geometry errors: what was wrong, in words; injected: the fault's label */
};

/* What a rule is called, and how each kind of host sees it. */
struct zd_rule_info {
	const char *name; /* "unaligned-write" */
	int32_t err;      /* a positive errno, as Linux's block layer gives it */
	uint8_t sense_key, asc, ascq;
	uint8_t reserved;
	uint16_t nvme_status; /* SCT<<8 | SC */
};
/* NULL if code is no drive rule (it may be an image error or -errno), or dialect (enum zd_dialect) is none. */
const struct zd_rule_info *zd_rule_info(int code, int dialect);
/* "unaligned-write", "geometry", ... for every ZD_E_ code; NULL for any other number. */
const char *zd_rule_name(int code);
/*
 * What a code means, in a few words and without a full stop: "not at the write pointer" for ZD_E_UNALIGNED_WRITE, the
 * C library's words for -errno, "success" for 0 and above, and for any other number a text that says it. Never NULL. Valid till
 * the thread's next call. For what happened this time, with its numbers, see zd_rule_sentence() and zd_error.text.
 */
const char *zd_strerror(int code);

/* A disk, as far as a sentence about a broken rule speaks of it. Bytes; 0 of a limit: there is none. */
struct zd_said_disk {
	uint64_t size, zone_size, append_limit;
	uint64_t zone_start, zone_length, zone_capacity; /* of the error's zone, where it has one */
	uint32_t nr_zones, logical_block, physical_block;
	uint32_t max_open, max_active;
	uint32_t nr_implicit, nr_explicit, nr_closed; /* zones in these conditions, now */
	uint8_t dialect;
	uint8_t reserved[7];
};
/*
 * The sentence of a broken rule, NUL-terminated and cut where size ends; empty for any other code. Returns how many
 * bytes the whole sentence has, without the NUL (as snprintf does).
 */
size_t zd_rule_sentence(const struct zd_error *err, const struct zd_said_disk *disk, char *text, size_t size);

ZD_END

#endif
