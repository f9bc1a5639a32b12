/* SPDX-License-Identifier: Apache-2.0 */
/* What LOG jobs need of the log-structured layer beside its public interface: what it does to the drive is told to `tell`. */
#ifndef ZD_SIM_LAYER_H
#define ZD_SIM_LAYER_H

#include "common.h"

uint32_t zd_log_where(const zd_log *log, uint64_t block); /* segment * segment_blocks + slot */
int zd_log_create_told(const struct zd_log_config *config, zd_log **out, struct zd_error *err,
		       int (*tell)(void *, int cmd, uint32_t segment, uint32_t block, uint32_t count), void *arg);

#endif
