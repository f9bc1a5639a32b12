/* SPDX-License-Identifier: Apache-2.0 */
/* The clock of waits, latencies and records: monotonic, so that nobody sets it. */
#include "base/base.h"

#include <time.h>

uint64_t zd_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}
