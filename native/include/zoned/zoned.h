/* SPDX-License-Identifier: Apache-2.0 */
/*
 * zoned/zoned.h - the emulated zoned block device: everything, and what holds for all of it.
 *
 * A zd_dev is one opener's handle on an emulated host-managed (or host-aware) SMR disk. The disk
 * lives in an image file, or in a memfd when it has no path. Any number of processes may have one
 * disk open at once; they share all of its state through one MAP_SHARED mapping, and the death of
 * any of them (kill -9 included) loses nothing that was acknowledged and leaves no lock held.
 *
 * Headers     Each is the manual of its subject: abi.h, error.h, geometry.h, zone.h, device.h, data.h, request.h, fault.h,
 *             power.h, snapshot.h, observe.h, pace.h, trace.h, check.h. fs.h (zonefs on such a disk) is not among these.
 * Units       All offsets and lengths are bytes, absolute on the disk, unless a name says otherwise.
 *             A zone is named by its index, 0 .. nr_zones-1.
 * Returns     int: 0 or a negative code. int64_t: a count (>= 0) or a negative code. A code is either
 *             -errno (the host failed: -ENOSPC, -EIO, ...) or a ZD_E_* rule (the emulated disk
 *             refused). Every function that can fail takes a `struct zd_error *` last, which may be
 *             NULL; it is filled only on failure. "Errors:" lists all codes of a function, by the names that error.h and
 *             errno.h have for them; beside these, a system call that fails as no manual tells passes its errno on.
 *             ZD_E_BUSY of a command: a process that was killed left the disk half-way back to a snapshot, and who finishes
 *             that is held up.
 * Threads     A handle may be used by many threads at once. zd_close() must be the last call on it.
 * fork        A child may go on using its parent's handle; the first call there attaches it anew, and has the errors of
 *             zd_open() as well. Do not fork while another thread of the same process is inside a call.
 * Signals     A call that takes longer than about 50 ms polls the handle's interrupt hook (device.h) and
 *             returns -EINTR, with the disk consistent, when the hook says so; also while it waits for another user of
 *             the disk, whatever that one holds. The hook runs with the call's locks held: it must not use this disk.
 *             Without a hook a call waits as long as it takes, but gives up a process that was stopped for 30 s
 *             (-ETIMEDOUT).
 * Locks       commit lock -> zone stripes (zone mod 256) in ascending order -> resource lock. All are
 *             robust and process-shared; none is held when a call returns, but for zd_map_begin().
 * Caveats     Whoever truncates an image that is open kills its users with SIGBUS. A host disk that
 *             fails to read back a mapped page does too. Fix: none in user space; do not do that.
 *
 * Sources named in the headers: ZBC-2 (INCITS 550, T10), ZNS (NVM Express Zoned Namespace Command Set 1.1),
 * Linux 6.12 drivers/block/null_blk/zoned.c and drivers/scsi/scsi_debug.c.
 */
#ifndef ZONED_ZONED_H
#define ZONED_ZONED_H

#include "zoned/abi.h"
#include "zoned/check.h"
#include "zoned/data.h"
#include "zoned/device.h"
#include "zoned/error.h"
#include "zoned/fault.h"
#include "zoned/geometry.h"
#include "zoned/observe.h"
#include "zoned/pace.h"
#include "zoned/power.h"
#include "zoned/request.h"
#include "zoned/snapshot.h"
#include "zoned/trace.h"
#include "zoned/zone.h"

#endif
