/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What each broken rule is called, and how each kind of host hears of it: SCSI sense data, NVMe status, errno.
 * One row for each rule, so that no two doors can tell different stories. Pure data and look-ups.
 */
#include "zoned/error.h"

#include "rules/nvme.h"
#include "rules/sense.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define NR_DIALECTS 3
#define DO_NOT_RETRY (1u << 14) /* of an NVMe status */

/* Index: ZD_E_FIRST_RULE - code. Sense codes: ZBC-2 4.5.3, SPC-5 annex F; NVMe: ZNS 1.1 figure 21. */
static const struct zd_rule_info rules[ZD_NR_RULES] = {
	{ "unaligned-write", EIO, 0x5, 0x21, 0x04, 0, 0x1BC },
	{ "write-boundary", EIO, 0x5, 0x21, 0x05, 0, 0x1B8 },
	{ "read-boundary", EIO, 0x5, 0x21, 0x07, 0, 0x1B8 },
	{ "invalid-read", EIO, 0x5, 0x21, 0x06, 0, 0x1B8 },
	{ "zone-full", EIO, 0x5, 0x24, 0x00, 0, 0x1B9 },
	{ "zone-read-only", EIO, 0x7, 0x27, 0x08, 0, 0x1BA },
	{ "zone-offline", EIO, 0x7, 0x2C, 0x0E, 0, 0x1BB },
	{ "too-many-open", ETOOMANYREFS, 0x7, 0x55, 0x0E, 0, 0x1BE },
	{ "too-many-active", EOVERFLOW, 0x7, 0x55, 0x0E, 0, 0x1BD },
	{ "invalid-transition", EIO, 0x5, 0x24, 0x00, 0, 0x1BF },
	{ "conventional-zone", EIO, 0x5, 0x24, 0x00, 0, 0x002 },
	{ "gap", EIO, 0x5, 0x21, 0x09, 0, 0x1B8 },
	{ "out-of-range", EIO, 0x5, 0x21, 0x00, 0, 0x080 },
	{ "block-alignment", EINVAL, 0x5, 0x24, 0x00, 0, 0x002 },
	{ "append-limit", EIO, 0x5, 0x24, 0x00, 0, 0x002 },
	{ "unsupported-command", EOPNOTSUPP, 0x5, 0x20, 0x00, 0, 0x001 },
	{ "medium-error", ENODATA, 0x3, 0x11, 0x00, 0, 0x281 },
	{ "medium-error", EIO, 0x3, 0x0C, 0x00, 0, 0x280 },
	{ "power-loss", EIO, 0x2, 0x04, 0x00, 0, 0x006 },
	{ "read-type-boundary", EIO, 0x5, 0x21, 0x06, 0, 0x1B8 },
	{ "command-timeout", ETIMEDOUT, 0xB, 0x2E, 0x02, 0, 0x007 },
	{ "miscompare", EIO, 0xE, 0x1D, 0x00, 0, 0x285 },
	{ "sequential-zone", EIO, 0x5, 0x24, 0x00, 0, 0x002 },
	{ "zrwa-unavailable", EOVERFLOW, 0x7, 0x55, 0x0E, 0, 0x1B7 },
	{ "invalid-zone-operation", EIO, 0x5, 0x24, 0x00, 0, 0x1B6 },
	{ "outside-zrwa", EIO, 0x5, 0x21, 0x04, 0, 0x1BC },
	{ "invalid-commit", EIO, 0x5, 0x24, 0x00, 0, 0x002 },
};

const struct zd_rule_info *zd_rule_info(int code, int dialect)
{
	int i = ZD_E_FIRST_RULE - code;

	if (dialect < 0 || dialect >= NR_DIALECTS || i < 0 || i >= ZD_NR_RULES)
		return NULL;
	return &rules[i];
}

const char *zd_rule_name(int code)
{
	int i = ZD_E_FIRST_RULE - code;

	if (i >= 0 && i < ZD_NR_RULES)
		return rules[i].name;
	switch (code) {
	case ZD_E_GEOMETRY: return "geometry";
	case ZD_E_NOT_IMAGE: return "not-an-image";
	case ZD_E_VERSION: return "image-version";
	case ZD_E_FEATURE: return "image-feature";
	case ZD_E_TRUNCATED: return "image-truncated";
	case ZD_E_CORRUPT: return "image-corrupt";
	case ZD_E_READONLY_HANDLE: return "read-only-handle";
	case ZD_E_FAILED: return "image-failed";
	case ZD_E_BUSY: return "image-busy";
	case ZD_E_CLOSED: return "closed";
	default: return NULL;
	}
}

/* Index: ZD_E_FIRST_RULE - code. */
static const char *const meanings[ZD_NR_RULES] = {
	"not at the write pointer, or not ending on a physical block",
	"a write crosses the end of its zone or of the zone's capacity",
	"a read crosses the end of a zone",
	"a read passes the write pointer",
	"the zone is full",
	"the zone is read-only",
	"the zone is offline",
	"too many zones are open",
	"too many zones are active",
	"the zone's condition does not allow this command",
	"the zone is conventional",
	"a command starts between a zone's capacity and its end",
	"beyond the end of the disk, or no such zone",
	"not in whole logical blocks",
	"longer than the append limit",
	"the disk's dialect has no such command",
	"medium error while reading",
	"medium error while writing",
	"the emulated disk has no power",
	"a read crosses into another type of zone",
	"the command hung and timed out",
	"the disk holds other data",
	"the zone is sequential",
	"the zone can have no random write area now",
	"not for this zone, by what it says of random write areas",
	"outside of the zone's random write area",
	"nothing to commit, or not in whole granules",
};

const char *zd_strerror(int code)
{
	static _Thread_local char text[128];
	int i = ZD_E_FIRST_RULE - code;

	if (code >= 0)
		return "success";
	if (i >= 0 && i < ZD_NR_RULES)
		return meanings[i];
	switch (code) {
	case ZD_E_GEOMETRY: return "impossible geometry";
	case ZD_E_NOT_IMAGE: return "not an image of a zoned disk";
	case ZD_E_VERSION: return "an image of another version";
	case ZD_E_FEATURE: return "an image with a feature that this library does not have";
	case ZD_E_TRUNCATED: return "the image is cut off";
	case ZD_E_CORRUPT: return "the image is damaged";
	case ZD_E_READONLY_HANDLE: return "the disk was opened read-only";
	case ZD_E_FAILED: return "an earlier sync to the host's disk failed";
	case ZD_E_BUSY: return "others have the disk open";
	case ZD_E_CLOSED: return "the handle was closed";
	default: break;
	}
	/* This form of strerror_r() (of GNU) gives a text that lies here or elsewhere. */
	if (code > -4096)
		return strerror_r(-code, text, sizeof(text));
	snprintf(text, sizeof(text), "unknown error %d", code);
	return text;
}

/* Index: enum zd_sense. SPC-5 annex F. */
static const struct zd_sense_codes senses[ZD_NR_SENSES] = {
	[ZD_SENSE_NONE] = { 0x0, 0x00, 0x00 },
	[ZD_SENSE_INVALID_OPCODE] = { 0x5, 0x20, 0x00 },
	[ZD_SENSE_INVALID_FIELD_IN_CDB] = { 0x5, 0x24, 0x00 },
	[ZD_SENSE_LBA_OUT_OF_RANGE] = { 0x5, 0x21, 0x00 },
	[ZD_SENSE_UNIT_NOT_SUPPORTED] = { 0x5, 0x25, 0x00 },
	[ZD_SENSE_PARAMETER_LIST_LENGTH] = { 0x5, 0x1A, 0x00 },
	[ZD_SENSE_INVALID_FIELD_IN_PARAMETERS] = { 0x5, 0x26, 0x00 },
	[ZD_SENSE_INVALID_RELEASE] = { 0x5, 0x26, 0x04 },
	[ZD_SENSE_NO_REGISTRATION_ROOM] = { 0x5, 0x55, 0x04 },
	[ZD_SENSE_SAVING_NOT_SUPPORTED] = { 0x5, 0x39, 0x00 },
	[ZD_SENSE_STOPPED] = { 0x2, 0x04, 0x02 },
	[ZD_SENSE_WRITE_PROTECTED] = { 0x7, 0x27, 0x00 },
	[ZD_SENSE_SOFTWARE_WRITE_PROTECTED] = { 0x7, 0x27, 0x02 },
	[ZD_SENSE_SPACE_EXHAUSTED] = { 0x7, 0x27, 0x07 },
	[ZD_SENSE_INTERNAL_FAILURE] = { 0x4, 0x44, 0x00 },
	[ZD_SENSE_NO_RESOURCES] = { 0xB, 0x55, 0x03 },
	[ZD_SENSE_POWER_ON] = { 0x6, 0x29, 0x00 },
	[ZD_SENSE_RESET] = { 0x6, 0x29, 0x03 },
	[ZD_SENSE_MEDIUM_CHANGED] = { 0x6, 0x28, 0x00 },
	[ZD_SENSE_MODE_CHANGED] = { 0x6, 0x2A, 0x01 },
	[ZD_SENSE_PARAMETERS_CHANGED] = { 0x6, 0x2A, 0x00 },
	[ZD_SENSE_RESERVATIONS_PREEMPTED] = { 0x6, 0x2A, 0x03 },
	[ZD_SENSE_RESERVATIONS_RELEASED] = { 0x6, 0x2A, 0x04 },
	[ZD_SENSE_REGISTRATIONS_PREEMPTED] = { 0x6, 0x2A, 0x05 },
};

struct zd_sense_codes zd_sense_codes(int sense)
{
	return senses[sense >= 0 && sense < ZD_NR_SENSES ? sense : ZD_SENSE_INTERNAL_FAILURE];
}

struct zd_sense_codes zd_sense_of(int code, int dialect)
{
	const struct zd_rule_info *rule = zd_rule_info(code, dialect);

	if (rule)
		return (struct zd_sense_codes){ rule->sense_key, rule->asc, rule->ascq };
	switch (code) {
	case ZD_E_READONLY_HANDLE: return senses[ZD_SENSE_WRITE_PROTECTED];
	case -ENOSPC: return senses[ZD_SENSE_SPACE_EXHAUSTED];
	case -ENOMEM: return senses[ZD_SENSE_NO_RESOURCES];
	default: return senses[ZD_SENSE_INTERNAL_FAILURE];
	}
}

uint16_t zd_nvme_status_of(int64_t code, int dialect)
{
	const struct zd_rule_info *rule = zd_rule_info((int)code, dialect);

	if (code == ZD_E_POWER_LOSS || code == ZD_E_TIMEOUT)
		return rule->nvme_status;
	if (rule)
		return rule->nvme_status | DO_NOT_RETRY;
	switch (code) {
	case ZD_E_READONLY_HANDLE: return 0x020 | DO_NOT_RETRY; /* namespace is write protected */
	case -ENOSPC:
	case -EDQUOT: return 0x081 | DO_NOT_RETRY; /* capacity exceeded */
	case -ECANCELED: return 0x007;             /* command abort requested */
	default: return 0x006;                     /* internal error */
	}
}
