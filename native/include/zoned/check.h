/* SPDX-License-Identifier: Apache-2.0 */
/*
 * zoned/check.h - checking and mending images.
 */
#ifndef ZONED_CHECK_H
#define ZONED_CHECK_H

#include "zoned/abi.h"

ZD_BEGIN

enum zd_finding_kind {
	ZD_F_HEADER = 1,       /* a header copy is damaged */
	ZD_F_STATUS = 2,       /* a status copy is damaged */
	ZD_F_ENTRY = 3,        /* one copy of a zone's entry is damaged or stale */
	ZD_F_ENTRY_LOST = 4,   /* both copies are */
	ZD_F_ENTRY_VALUE = 5,  /* an entry says what cannot be (condition, write pointer, slot) */
	ZD_F_SLOT_SHARED = 6,  /* two zones claim one slot */
	ZD_F_SHORT = 7,        /* the file ends before a slot in use does */
	ZD_F_LIMIT = 8,        /* more zones open or active than the limits allow */
	ZD_F_COUNT = 9,        /* a derived count differs from a recount */
	ZD_F_UNCLEAN = 10,     /* not closed cleanly: what was not flushed may be lost (a note, not an error) */
	ZD_F_FAILED = 11,      /* a host sync failed */
	ZD_F_RESERVED = 12     /* bytes that must be zero are not */
};
struct zd_finding {
	int32_t kind;
	uint32_t zone;     /* or ZD_NO_ZONE */
	uint64_t offset;   /* in the file; ZD_NONE if no single place */
	uint8_t error;     /* 0: a note */
	uint8_t mendable;  /* repair can mend it */
	uint8_t mended;    /* repair did */
	uint8_t loses;     /* mending costs data of the zone, or may */
	uint8_t becomes;   /* if so: enum zd_cond that the zone has afterwards */
	uint8_t reserved[3];
	uint64_t lost;     /* bytes of the zone that mending costs; 0: none; ZD_NONE: how many cannot be told */
	char text[240];
};
#define ZD_CHECK_REPAIR 1u
#define ZD_CHECK_BRIEFLY 2u
/*
 * Check an image, in use or not. What a repair would cost is told beforehand, in the same findings. *findings is an
 * array of *count (free with zd_findings_free; count 0 gives NULL). With ZD_CHECK_REPAIR others may not have it open
 * (ZD_E_BUSY). A file that is no image at all, or whose both headers are damaged, fails with the code that zd_open()
 * would give; so does a repair that cannot write down what killed users left, of which it gives up nothing.
 * Errors: ZD_E_NOT_IMAGE, ZD_E_VERSION, ZD_E_FEATURE, ZD_E_TRUNCATED, ZD_E_CORRUPT, ZD_E_FAILED, ZD_E_BUSY, -ENOENT, -ENOTDIR,
 * -EISDIR, -EACCES, -EPERM, -EROFS, -ENOSPC, -EDQUOT, -EFBIG, -EIO, -ENOMEM, -EMFILE, -ENFILE, -ENAMETOOLONG, -ELOOP, -ENXIO,
 * -ETIMEDOUT.
 */
int zd_check(const char *path, unsigned flags, struct zd_finding **findings, size_t *count, struct zd_error *err);
void zd_findings_free(struct zd_finding *findings);

/* CRC-32C (Castagnoli, reflected), as the image uses it; crc 0 to begin. */
uint32_t zd_crc32c(uint32_t crc, const void *data, size_t length);

ZD_END

#endif
