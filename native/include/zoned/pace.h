/* SPDX-License-Identifier: Apache-2.0 */
/*
 * zoned/pace.h - commands of a handle that take the time of a drive for real.
 *
 * A paced handle's commands take effect as ever, in the same order and with the same errors, and end when the drive would
 * have ended them. Who says when that is stands above the disk: a struct zd_pace. While a command waits it holds neither
 * a lock nor, given by zd_submit() with `done`, a thread; the calls that wait (zd_pwrite(), ...) return late.
 *
 * What is refused, and what is no command to the drive (reports, zd_info(), snapshots), takes no time. Handles without a
 * pace, in this process or another, are as fast as ever: a pace is not of the disk but of one handle, and two paced handles
 * are two drives that do not wait for each other. A forked child's commands are not paced.
 *
 * While a command waits for the drive: zd_cancel() ends it at once, with what came of it (it was done); an interrupt with
 * -EINTR; a power cut with ZD_E_POWER_LOSS; closing with what came of it.
 */
#ifndef ZONED_PACE_H
#define ZONED_PACE_H

#include "zoned/abi.h"
#include "zoned/observe.h"

ZD_BEGIN

struct zd_pace {
	/* A command took effect: a ticket for the time that it takes, or 0: none. Called under the command's locks, so that
	 * those of a zone are told in their order; it must be brief and must not use the disk. */
	uint64_t (*begin)(void *arg, const struct zd_told *what);
	/* ns until the command of this ticket may have ended, to be asked again then; 0: it has, and the ticket is gone. */
	uint64_t (*left)(void *arg, uint64_t ticket);
	/* Nobody waits for it any more: the ticket is gone. */
	void (*drop)(void *arg, uint64_t ticket);
	/* The handle is gone, or this is a forked child: nothing is called any more. */
	void (*end)(void *arg);
};

/*
 * From now on, and until it is closed, commands of this handle take the time that `pace` says. pace must stay as it is; all
 * four of it are called from any thread, several at once. Errors: -EBUSY (the handle is paced already; arg stays the
 * caller's), and those of a handle that cannot be used.
 */
int zd_set_pace(zd_dev *dev, const struct zd_pace *pace, void *arg, struct zd_error *err);

ZD_END
#endif
