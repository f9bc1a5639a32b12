/* SPDX-License-Identifier: Apache-2.0 */
/* What every file of the simulation includes: the public interface, what base has, and two numbers. */
#ifndef ZD_SIM_COMMON_H
#define ZD_SIM_COMMON_H

#include "base/base.h"

#include "zoned/sim.h"

#define NONE UINT32_MAX
#define NEVER UINT64_MAX

int zd_sim_fail(struct zd_error *err, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
