/* SPDX-License-Identifier: Apache-2.0 */
/* Workers whose jobs are the commands of a disk, which are counted. */
#ifndef DISKWORKERS_H
#define DISKWORKERS_H

#include "workers.h"

static atomic_ulong commands;

static inline void settle(int64_t ret, const struct zd_error *err)
{
	atomic_fetch_add_explicit(&commands, 1, memory_order_relaxed);
	if (ret < 0)
		claim_known_code(ret, err);
}

/* Once in so many ns. */
static inline void *keep_flushing(struct worker *w, long ns)
{
	struct zd_error err;

	while (pause_for(ns)) {
		CLAIM(zd_flush(w->dev, &err) == 0);
		settle(0, &err);
	}
	return NULL;
}

#endif
