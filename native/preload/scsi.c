/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SG_IO, in its third form (struct sg_io_hdr, /dev/sgN and /dev/sdX) and its fourth (struct sg_io_v4, bsg): a CDB and
 * buffers for the SCSI executor, and what came of it.
 *
 * Each process is an initiator with a target of its own before the one disk: zones and data are everybody's, but what a
 * target keeps for itself (mode pages, reservations) is this process's.
 */
#include "preload/cursor.h"
#include "preload/preload.h"
#include "zoned/scsi.h"

#include <errno.h>
#include <linux/bsg.h>
#include <scsi/scsi.h>
#include <scsi/sg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define VERSION 30536 /* of the sg driver of Linux 6.12 */
#define RESERVED 32768
#define TIMEOUT 6000 /* jiffies of 1/100 s */
#define LONGEST_CDB 252
#define DRIVER_SENSE 0x08
#define IDENTITY "zoned-run"

struct initiator {
	zd_scsi_target *target;
	zd_scsi_nexus *nexus;
};
static struct initiator initiators[ZP_MAX_DISKS];
static pthread_mutex_t making = PTHREAD_MUTEX_INITIALIZER;

void zp_scsi_forked(void)
{
	memset(initiators, 0, sizeof(initiators)); /* what is in them may have been half done by another thread */
	pthread_mutex_init(&making, NULL);
}

static void run(zd_scsi_nexus *nexus, struct zd_scsi_task *task)
{
	task->size = sizeof(*task);
	zd_scsi_exec(nexus, task);
}

/* A kernel that finds a disk asks until it has been told all that happened before; programs do not see that. */
static void hear_attentions(zd_scsi_nexus *nexus)
{
	static const uint8_t test_unit_ready[6];
	int i;

	for (i = 0; i < 8; i++) {
		struct zd_scsi_task task = { .cdb = test_unit_ready, .cdb_length = sizeof(test_unit_ready) };

		run(nexus, &task);
		if (task.status != ZD_SCSI_CHECK_CONDITION)
			break;
	}
}

static int make(struct zp_disk *disk, zd_dev *dev, struct initiator *out)
{
	struct initiator made = { NULL, NULL };
	struct zd_error err;
	int r = zd_scsi_target_new(NULL, &made.target, &err);

	if (!r)
		r = zd_scsi_target_add(made.target, 0, dev, NULL, &err);
	if (!r)
		r = zd_scsi_nexus_open(made.target, IDENTITY, sizeof(IDENTITY) - 1, &made.nexus, &err);
	if (r) {
		zd_scsi_target_free(made.target);
		dprintf(2, "zonedctl run: /dev/%s has no SCSI side: %s\n", disk->chars, err.text);
		return r > -2000 ? r : -ENXIO;
	}
	hear_attentions(made.nexus);
	*out = made;
	return 0;
}

static int nexus_of(struct zp_disk *disk, zd_scsi_nexus **out)
{
	struct initiator *mine = &initiators[disk - zp_session.disks];
	zd_dev *dev;
	int r = zp_disk_dev(disk, &dev);

	if (r)
		return r;
	pthread_mutex_lock(&making);
	if (!mine->nexus)
		r = make(disk, dev, mine);
	*out = mine->nexus;
	pthread_mutex_unlock(&making);
	return r;
}

/* ---------------------------------------------------------------- one command, whatever its form */

struct command {
	uint8_t cdb[LONGEST_CDB];
	struct iovec out[ZP_MAX_IOV], in[ZP_MAX_IOV];
	struct zd_scsi_task task;
	uint32_t milliseconds;
};

static int carry_out(struct zp_disk *disk, struct command *c)
{
	struct timespec begin, end;
	zd_scsi_nexus *nexus;
	int r;

	r = zp_memory(c->task.out, (int)c->task.nr_out, false);
	if (!r)
		r = zp_memory(c->task.in, (int)c->task.nr_in, true);
	if (r)
		return r;
	clock_gettime(CLOCK_MONOTONIC, &begin);
	zp_enter();
	r = nexus_of(disk, &nexus);
	if (!r) {
		if (atomic_load(&disk->shared->tails)) {
			zd_dev *dev;

			if (zp_disk_dev(disk, &dev) == 0)
				zp_tail_flush(disk, dev);
		}
		c->task.cdb = c->cdb;
		run(nexus, &c->task);
		if (c->task.status == ZD_SCSI_CHECK_CONDITION && c->task.error.code < 0)
			zp_refused(disk, c->task.error.code, &c->task.error);
	}
	zp_leave();
	clock_gettime(CLOCK_MONOTONIC, &end);
	c->milliseconds = (uint32_t)((end.tv_sec - begin.tv_sec) * 1000 + (end.tv_nsec - begin.tv_nsec) / 1000000);
	return r;
}

/* What of `length` bytes sent the command did not take. */
static int left_out(const struct zd_scsi_task *task)
{
	return task->residual_out < 0 ? (int)-task->residual_out : 0;
}

static uint8_t sense_given(const struct zd_scsi_task *task, uint64_t to, uint8_t room)
{
	uint8_t n = task->sense_length < room ? task->sense_length : room;

	return n && to && zp_copy_out((void *)(uintptr_t)to, task->sense, n) == 0 ? n : 0;
}

static uint64_t sum(const struct iovec *iov, uint32_t n)
{
	uint64_t length = 0;
	uint32_t i;

	for (i = 0; i < n; i++)
		length += iov[i].iov_len;
	return length;
}

/* ---------------------------------------------------------------- the third form */

static int buffers(const struct sg_io_hdr *head, struct iovec *iov, uint32_t *n)
{
	uint64_t left = head->dxfer_len;
	uint32_t i;

	*n = 0;
	if (!head->dxfer_len)
		return 0;
	if (!head->iovec_count) {
		iov[0] = (struct iovec){ head->dxferp, head->dxfer_len };
		*n = 1;
		return 0;
	}
	if (head->iovec_count > ZP_MAX_IOV)
		return -EINVAL;
	if (zp_copy_in(iov, head->dxferp, head->iovec_count * sizeof(*iov)))
		return -EFAULT;
	for (i = 0; i < head->iovec_count && left; i++) { /* no more than dxfer_len, whatever the list holds */
		if (iov[i].iov_len > left)
			iov[i].iov_len = left;
		left -= iov[i].iov_len;
	}
	*n = i;
	return 0;
}

static int third(struct zp_disk *disk, void *arg, struct command *c)
{
	struct sg_io_hdr head;
	int r;

	if (zp_copy_in(&head, arg, sizeof(head)))
		return -EFAULT;
	if (head.cmd_len < 6 || head.cmd_len > LONGEST_CDB)
		return -EMSGSIZE;
	if (zp_copy_in(c->cdb, head.cmdp, head.cmd_len))
		return -EFAULT;
	c->task.cdb_length = head.cmd_len;
	switch (head.dxfer_direction) {
	case SG_DXFER_NONE: r = 0; break;
	case SG_DXFER_TO_DEV:
		r = buffers(&head, c->out, &c->task.nr_out);
		c->task.out = c->out;
		break;
	case SG_DXFER_FROM_DEV:
	case SG_DXFER_TO_FROM_DEV:
		r = buffers(&head, c->in, &c->task.nr_in);
		c->task.in = c->in;
		break;
	default: return -EINVAL;
	}
	if (r)
		return r;
	r = carry_out(disk, c);
	if (r)
		return r;
	head.status = c->task.status;
	head.masked_status = (c->task.status >> 1) & 0x1F;
	head.msg_status = 0;
	head.sb_len_wr = sense_given(&c->task, (uintptr_t)head.sbp, head.mx_sb_len);
	head.host_status = 0;
	head.driver_status = head.sb_len_wr ? DRIVER_SENSE : 0;
	head.resid = c->task.nr_in ? (int)(sum(c->in, c->task.nr_in) - c->task.in_length) : left_out(&c->task);
	head.duration = c->milliseconds;
	head.info = c->task.status ? SG_INFO_CHECK : SG_INFO_OK;
	return zp_copy_out(arg, &head, sizeof(head));
}

/* ---------------------------------------------------------------- the fourth form */

static int fourth(struct zp_disk *disk, void *arg, struct command *c)
{
	struct sg_io_v4 head;
	int r;

	if (zp_copy_in(&head, arg, sizeof(head)))
		return -EFAULT;
	if (head.protocol != BSG_PROTOCOL_SCSI || head.subprotocol != BSG_SUB_PROTOCOL_SCSI_CMD)
		return -EINVAL;
	if (head.request_len < 6 || head.request_len > LONGEST_CDB || head.dout_iovec_count || head.din_iovec_count)
		return -EINVAL;
	if (head.dout_xfer_len && head.din_xfer_len)
		return -EOPNOTSUPP;
	if (zp_copy_in(c->cdb, (void *)(uintptr_t)head.request, head.request_len))
		return -EFAULT;
	c->task.cdb_length = head.request_len;
	c->out[0] = (struct iovec){ (void *)(uintptr_t)head.dout_xferp, head.dout_xfer_len };
	c->in[0] = (struct iovec){ (void *)(uintptr_t)head.din_xferp, head.din_xfer_len };
	c->task.out = c->out;
	c->task.in = c->in;
	c->task.nr_out = head.dout_xfer_len != 0;
	c->task.nr_in = head.din_xfer_len != 0;
	r = carry_out(disk, c);
	if (r)
		return r;
	head.device_status = c->task.status;
	head.transport_status = 0;
	head.response_len =
		sense_given(&c->task, head.response, head.max_response_len < 255 ? (uint8_t)head.max_response_len : 255);
	head.driver_status = head.response_len ? DRIVER_SENSE : 0;
	head.din_resid = (int)(head.din_xfer_len - c->task.in_length);
	head.dout_resid = left_out(&c->task);
	head.duration = c->milliseconds;
	head.info = c->task.status ? SG_INFO_CHECK : 0;
	return zp_copy_out(arg, &head, sizeof(head));
}

int zp_scsi_io(struct zp_disk *disk, void *arg)
{
	struct command c;
	int32_t form;

	if (zp_copy_in(&form, arg, sizeof(form)))
		return -EFAULT;
	memset(&c.task, 0, sizeof(c.task));
	if (form == 'S')
		return third(disk, arg, &c);
	return form == 'Q' ? fourth(disk, arg, &c) : -ENOSYS;
}

/* ---------------------------------------------------------------- what else the sg driver answers */

static int reset(struct zp_disk *disk)
{
	zd_scsi_nexus *nexus;
	int r;

	zp_enter();
	r = nexus_of(disk, &nexus);
	if (!r)
		r = zd_scsi_reset(nexus, NULL);
	zp_leave();
	return r;
}

int zp_scsi_ioctl(struct zp_open *open, unsigned long request, void *arg)
{
	struct zp_disk *disk = zp_disk_of(open);
	int index = (int)(disk - zp_session.disks);

	switch (request) {
	case SG_IO: return zp_scsi_io(disk, arg);
	case SG_GET_VERSION_NUM: ZP_PUT(int, VERSION);
	case SG_GET_RESERVED_SIZE: ZP_PUT(int, RESERVED);
	case SG_SET_RESERVED_SIZE:
	case SG_SET_TIMEOUT:
	case SG_SET_FORCE_PACK_ID:
	case SG_SET_COMMAND_Q:
	case SG_SET_KEEP_ORPHAN:
	case SG_SET_DEBUG: return 0;
	case SG_GET_TIMEOUT: return TIMEOUT;
	case SG_GET_COMMAND_Q: ZP_PUT(int, 1);
	case SG_GET_KEEP_ORPHAN: ZP_PUT(int, 0);
	case SG_GET_NUM_WAITING: ZP_PUT(int, 0);
	case SG_GET_SG_TABLESIZE: ZP_PUT(int, 128);
	case SG_EMULATED_HOST: ZP_PUT(int, 0);
	case SG_GET_SCSI_ID:
		ZP_PUT(struct sg_scsi_id,
		       { .host_no = 0, .scsi_id = index, .scsi_type = 0x14, .h_cmd_per_lun = 64, .d_queue_depth = 64 });
	case SCSI_IOCTL_GET_IDLUN:
		ZP_PUT(
			struct {
				int a;
				int b;
			},
			{ index, 0 });
	case SCSI_IOCTL_GET_BUS_NUMBER: ZP_PUT(int, 0);
	case SG_SCSI_RESET: return reset(disk);
	default: return -EINVAL; /* sg's own answer to what it does not know */
	}
}
