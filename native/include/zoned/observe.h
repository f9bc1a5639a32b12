/* SPDX-License-Identifier: Apache-2.0 */
/*
 * zoned/observe.h - what one handle's commands did, told to its own process.
 *
 * It is this handle's alone: other openers, and other handles, are as fast as without. Any number may observe one handle.
 * A forked child is told nothing.
 */
#ifndef ZONED_OBSERVE_H
#define ZONED_OBSERVE_H

#include "zoned/abi.h"

ZD_BEGIN

/* before, after: the sequential zone's state; of other zones, and where a command concerns all zones, condition 0. */
struct zd_told_zone {
	uint64_t written; /* bytes up to the write pointer */
	uint8_t cond;     /* enum zd_cond */
	uint8_t finished; /* 1: FULL by FINISH */
	uint8_t area;     /* 1: it has a random write area */
	uint8_t reserved;
	uint32_t held; /* bytes in the area: from the write pointer to the last that was written */
};
struct zd_told {
	int32_t cmd;     /* enum zd_cmd */
	uint32_t zone;   /* where it began; ZD_NO_ZONE: it concerns all */
	uint64_t offset; /* data: where; an append: where it landed */
	uint64_t length; /* data: bytes transferred */
	struct zd_told_zone before, after;
};
typedef void (*zd_told_fn)(void *arg, const struct zd_told *what);
/*
 * From now on call `told` for each command of this handle that took effect, a write cut short included. It runs in the
 * thread that gave the command, mostly under the zone's lock, and must not use dev.
 * `end` is called once, when no thread is in `told` any more and none will be: by zd_observe_end(), zd_close(), or the
 * first call in a forked child. Till then arg must live. Errors: ZD_E_READONLY_HANDLE, -ENOMEM.
 */
int zd_observe(zd_dev *dev, zd_told_fn told, void *arg, void (*end)(void *), struct zd_error *err);
/* No longer those with this arg (NULL: all). */
void zd_observe_end(zd_dev *dev, const void *arg);

ZD_END

#endif
