/* SPDX-License-Identifier: Apache-2.0 */
/* What every file of the simulation includes: the public interface, and two words of the house. */
#ifndef ZD_SIM_COMMON_H
#define ZD_SIM_COMMON_H

#include "zoned/sim.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#define NONE UINT32_MAX
#define NEVER UINT64_MAX

int zd_sim_fail(struct zd_error *err, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
