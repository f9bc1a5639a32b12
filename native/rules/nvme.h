/* SPDX-License-Identifier: Apache-2.0 */
/* What an NVMe host is told of any code of zoned/error.h. The rows stand in status.c, beside those of SCSI. */
#ifndef ZD_RULES_NVME_H
#define ZD_RULES_NVME_H

#include <stdint.h>

/*
 * SCT << 8 | SC, and bit 14 (do not retry) but where the same command might succeed a moment later: the disk has no power, the
 * command was held up for too long or aborted, the host failed.
 */
uint16_t zd_nvme_status_of(int64_t code, int dialect);

#endif
