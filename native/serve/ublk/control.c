/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands to the driver by /dev/ublk-control: making a device, starting, stopping and deleting it; and the sentences that say
 * what a kernel lacks, and the way out.
 */
#include "serve/ublk/ublk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#define NODE "/dev/ublk-control"
#define NEEDED (UBLK_F_ZONED | UBLK_F_USER_COPY | UBLK_F_USER_RECOVERY | UBLK_F_USER_RECOVERY_REISSUE)

/* The first kernel whose ublk knows zones. */
#define FIRST_MAJOR 6
#define FIRST_MINOR 6

static bool too_old(struct utsname *kernel)
{
	int major = FIRST_MAJOR, minor = FIRST_MINOR;

	if (uname(kernel) || sscanf(kernel->release, "%d.%d", &major, &minor) != 2)
		return false;
	return major < FIRST_MAJOR || (major == FIRST_MAJOR && minor < FIRST_MINOR);
}

static int say_too_old(const struct utsname *kernel, struct zd_error *err)
{
	return zd_fail(
		err, -EOPNOTSUPP,
		"Linux %.64s has no zoned block devices in user space (ublk): boot 6.6 or later, or use 'zonedctl run' or iSCSI",
		kernel->release);
}

int zd_ublk_refused(int r, const char *what, struct zd_error *err)
{
	struct utsname kernel;

	switch (r) {
	case -EPERM:
	case -EACCES:
		return zd_fail(
			err, r,
			"%s needs root (CAP_SYS_ADMIN), as the kernel lets nobody else serve zoned devices: run it by sudo",
			what);
	case -EOPNOTSUPP:
		if (too_old(&kernel))
			return say_too_old(&kernel, err);
		break;
	case -ENODEV: return zd_fail(err, r, "%s: the kernel has no such ublk device any more", what);
	case -EBUSY: return zd_fail(err, r, "%s: another process serves the ublk device", what);
	case -EEXIST: return zd_fail(err, r, "%s: there is a ublk device of that number: leave the number to the kernel", what);
	default: break;
	}
	return zd_fail_host(err, -r, what);
}

static int no_ring(int r, struct zd_error *err)
{
	if (r == -ENOSYS)
		return zd_fail(
			err, -EOPNOTSUPP,
			"the kernel has no io_uring, by which ublk is served: boot one that is built with CONFIG_IO_URING");
	if (r == -EPERM || r == -EACCES)
		return zd_fail(
			err, r,
			"io_uring, by which ublk is served, is forbidden here: allow it (sysctl kernel.io_uring_disabled=0, or in the container's seccomp profile)");
	return zd_fail_host(err, -r, "setting up io_uring");
}

static int no_node(int r, struct zd_error *err)
{
	struct utsname kernel;

	if (r == -ENOENT || r == -ENXIO || r == -ENODEV) {
		if (too_old(&kernel))
			return say_too_old(&kernel, err);
		return zd_fail(
			err, -EOPNOTSUPP,
			"there is no " NODE
			": load the kernel's module by 'modprobe ublk_drv' as root, or boot a kernel built with CONFIG_BLK_DEV_UBLK");
	}
	if (r == -EACCES || r == -EPERM)
		return zd_ublk_refused(r, "serving a disk by ublk", err);
	return zd_fail_host(err, -r, "opening " NODE);
}

/* Whether the driver can do what a zoned device needs. */
static int check_features(struct zd_ublk_control *control, struct zd_error *err)
{
	uint64_t features = 0;
	struct utsname kernel;
	int r = zd_ublk_control(control, UBLK_GET_FEATURES, UINT32_MAX, &features, sizeof(features), 0);

	if (r == -EPERM || r == -EACCES)
		return zd_ublk_refused(r, "serving a disk by ublk", err);
	if (!r && (features & NEEDED) == NEEDED)
		return 0;
	too_old(&kernel); /* whatever its version says */
	return say_too_old(&kernel, err);
}

int zd_ublk_control_open(struct zd_ublk_control *control, struct zd_error *err)
{
	int r;

	control->ring.fd = -1;
	control->ring.rings = control->ring.sqes = NULL;
	control->fd = open(NODE, O_RDWR | O_CLOEXEC);
	if (control->fd < 0)
		return no_node(-errno, err);
	r = zd_ring_open(&control->ring, 4, true);
	if (r)
		r = no_ring(r, err);
	else
		r = check_features(control, err);
	if (r)
		zd_ublk_control_close(control);
	return r;
}

void zd_ublk_control_close(struct zd_ublk_control *control)
{
	zd_ring_close(&control->ring);
	if (control->fd >= 0)
		close(control->fd);
	control->fd = -1;
}

int zd_ublk_control(struct zd_ublk_control *control, uint32_t op, uint32_t id, const void *buffer, uint16_t length,
		    uint64_t data)
{
	const struct ublk_ctrl ctrl = {
		.dev_id = id, .queue_id = UINT16_MAX, .len = length, .addr = (uint64_t)(uintptr_t)buffer, .data = data
	};
	struct uring_sqe *sqe = zd_ring_next(&control->ring);
	const struct uring_cqe *cqe;
	int r;

	if (!sqe)
		return -EBUSY;
	sqe->opcode = URING_OP_URING_CMD;
	sqe->fd = control->fd;
	sqe->cmd_op = op;
	memcpy(sqe->cmd, &ctrl, sizeof(ctrl)); /* the entry is of 128 bytes */
	while (!(cqe = zd_ring_peek(&control->ring))) {
		r = zd_ring_submit(&control->ring, 1);
		if (r < 0)
			return r;
	}
	r = cqe->res;
	zd_ring_seen(&control->ring);
	return r;
}

/* ---------------------------------------------------------------- what others ask */

int zd_ublk_look_up(uint32_t id, struct zd_ublk_device *out, struct zd_error *err)
{
	struct zd_ublk_control control;
	struct ublk_dev_info info = { 0 };
	int r = zd_ublk_control_open(&control, err);

	memset(out, 0, sizeof(*out));
	if (r)
		return r;
	r = zd_ublk_control(&control, UBLK_GET_DEV_INFO, id, &info, sizeof(info), 0);
	zd_ublk_control_close(&control);
	if (r)
		return zd_ublk_refused(r, "asking for a ublk device", err);
	out->mark = info.ublksrv_flags;
	out->pid = info.ublksrv_pid;
	out->state = info.state;
	out->queues = info.nr_hw_queues;
	out->depth = info.queue_depth;
	return 0;
}

int zd_ublk_delete(uint32_t id, uint64_t mark, struct zd_error *err)
{
	struct zd_ublk_control control;
	struct ublk_dev_info info = { 0 };
	int r = zd_ublk_control_open(&control, err);

	if (r)
		return r;
	r = zd_ublk_control(&control, UBLK_GET_DEV_INFO, id, &info, sizeof(info), 0);
	if (!r && info.ublksrv_flags != mark)
		r = -ENODEV; /* another one has the number now */
	if (!r)
		r = zd_ublk_control(&control, UBLK_STOP_DEV, id, NULL, 0, 0);
	if (!r)
		r = zd_ublk_control(&control, UBLK_DEL_DEV, id, NULL, 0, 0);
	zd_ublk_control_close(&control);
	return r ? zd_ublk_refused(r, "deleting a ublk device", err) : 0;
}
