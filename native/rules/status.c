/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What each broken rule is called, and how each kind of host hears of it: SCSI sense data, NVMe status, errno.
 * One row for each rule, so that no two doors can tell different stories. Pure data and look-ups.
 */
#include "zd.h"

#include <errno.h>
#include <stddef.h>

#define NR_DIALECTS 3

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
