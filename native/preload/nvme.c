/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NVME_IOCTL_*: submission queue entries and buffers for the NVMe executor, and what came of them, as drivers/nvme/host/ioctl.c of
 * Linux 6.12 gives it. The block node is a namespace of it (/dev/nvme0n1), the character node its controller (/dev/nvme0).
 *
 * Each process has a subsystem of its own before the one disk, but all of a run are one controller: what it remembers (features,
 * the error log, which zones changed) lies in the run's folder, and goes from command to command. Whoever may open the disk is
 * its administrator, as root is on a real one: a descriptor for reading sends any command.
 *
 * A command that a fault rule holds up ends when its time is over, as the kernel aborts it: 30 s, of an admin command 60 s, or
 * what the program said. Then an admin command is EINTR and the controller is reset, another one ends with COMMAND ABORT REQUESTED.
 */
#include "preload/cursor.h"
#include "preload/preload.h"
#include "preload/real.h"
#include "zoned/nvme.h"

#include "base/littleendian.h"

#include <errno.h>
#include <linux/nvme_ioctl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>

#ifndef NVME_IOCTL_IO64_CMD_VEC
#define NVME_IOCTL_IO64_CMD_VEC _IOWR('N', 0x49, struct nvme_passthru_cmd64)
#endif
#define ZONED_NSID 1
#define CONVENTIONAL_NSID 2
#define EVENT_REQUEST 0x0C
#define WRITE 0x01
#define READ 0x02
#define COMPARE 0x05
#define PRACT (1u << 13)
#define ADMIN_MS 60000u
#define IO_MS 30000u
#define LOOK_NS 20000000ull /* between two looks for events, a reset, or that the time is over */

struct host {
	zd_nvme_subsystem *subsystem;
	zd_nvme_controller *controller;
	zd_nvme_queue *admin, *io;
	bool two; /* conventional zones are a second namespace */
};
static struct host hosts[ZP_MAX_DISKS];
static pthread_mutex_t making = PTHREAD_MUTEX_INITIALIZER;

/* What the controller remembers: two of them, of which `current` tells the whole one, as its writer may be killed at any time. */
struct memory {
	_Atomic uint64_t current;
	uint8_t bytes[];
};
static struct memory *memories[ZP_MAX_DISKS];
static size_t memory_size[ZP_MAX_DISKS];

/* Commands that have not ended when zd_nvme_exec() returns are waited for by these. */
static pthread_mutex_t ending = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t ended = PTHREAD_COND_INITIALIZER;

void zp_nvme_forked(void)
{
	memset(hosts, 0, sizeof(hosts)); /* what is in them may have been half done by another thread */
	pthread_mutex_init(&making, NULL);
	pthread_mutex_init(&ending, NULL);
	pthread_cond_init(&ended, NULL);
}

/* ---------------------------------------------------------------- the controller of a run */

static int map_memory(const struct zp_disk *disk, int index, size_t size)
{
	char path[PATH_MAX + 32];
	size_t whole = sizeof(struct memory) + 2 * size;
	void *at;
	int fd, r;

	if (memories[index])
		return 0;
	snprintf(path, sizeof(path), "%s/nvme/%d", zp_session.folder, index);
	fd = zp_real.open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	r = zp_real.ftruncate(fd, (off_t)whole) ? -errno : 0;
	at = r ? MAP_FAILED : zp_real.mmap(NULL, whole, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (!r && at == MAP_FAILED)
		r = -errno;
	zp_real.close(fd);
	if (r) {
		dprintf(2, "zonedctl run: what the controller of /dev/%s knows cannot be kept: %s\n", disk->chars,
			strerror(-r));
		return r;
	}
	memory_size[index] = size;
	memories[index] = at;
	return 0;
}

/* Under the lock of the run's controller: what it knows, and what it shall know. */
static void recall(const struct host *host)
{
	int index = (int)(host - hosts);
	const struct memory *memory = memories[index];

	zd_nvme_recall(host->controller, memory->bytes + (atomic_load(&memory->current) & 1) * memory_size[index]);
}

static void remember(const struct host *host)
{
	int index = (int)(host - hosts);
	struct memory *memory = memories[index];
	uint64_t other = ~atomic_load(&memory->current) & 1;

	zd_nvme_remember(host->controller, memory->bytes + other * memory_size[index]);
	atomic_store(&memory->current, other);
}

static void unmake(struct host *host)
{
	zd_nvme_queue_close(host->io);
	zd_nvme_queue_close(host->admin);
	zd_nvme_controller_close(host->controller);
	zd_nvme_subsystem_free(host->subsystem);
}

static int make(struct zp_disk *disk, zd_dev *dev, bool says, struct host *out)
{
	struct host made = { .two = false };
	struct zd_error err = { .code = 0 };
	int r = zd_nvme_subsystem_new(NULL, &made.subsystem, &err);

	if (!r)
		r = zd_nvme_namespace_add(made.subsystem, ZONED_NSID, dev, ZD_NVME_SEQUENTIAL, &err);
	if (!r && disk->info.nr_conv_zones) {
		made.two = true;
		r = zd_nvme_namespace_add(made.subsystem, CONVENTIONAL_NSID, dev, ZD_NVME_CONVENTIONAL, &err);
	}
	if (!r)
		r = zd_nvme_controller_open(made.subsystem, NULL, 0, &made.controller, &err);
	if (!r)
		r = zd_nvme_queue_open(made.controller, 0, &made.admin, &err);
	if (!r)
		r = zd_nvme_queue_open(made.controller, 1, &made.io, &err);
	if (!r)
		r = map_memory(disk, (int)(disk - zp_session.disks), zd_nvme_memory_size(made.subsystem));
	if (r) {
		unmake(&made);
		if (says && err.text[0])
			dprintf(2, "zonedctl run: /dev/%s has no NVMe side: %s\n", disk->chars, err.text);
		return r > -2000 ? r : -ENXIO;
	}
	*out = made;
	return 0;
}

static int make_once(struct zp_disk *disk, zd_dev *dev, bool says, struct host **out)
{
	struct host *mine = &hosts[disk - zp_session.disks];
	int r = 0;

	pthread_mutex_lock(&making);
	if (!mine->controller)
		r = make(disk, dev, says, mine);
	pthread_mutex_unlock(&making);
	*out = mine;
	return r;
}

/*
 * The first process of a run that opens the disk: what the zones are now is no news to its controller, whatever becomes of
 * them before the first command. A disk that has no NVMe side says so when it is asked for.
 */
void zp_nvme_begin(struct zp_disk *disk, zd_dev *dev)
{
	uint32_t seen = 0;
	struct host *host;

	if (disk->info.dialect != ZD_ZNS || !atomic_compare_exchange_strong(&disk->shared->nvme_begun, &seen, 1) ||
	    make_once(disk, dev, false, &host))
		return;
	zp_lock(&disk->shared->nvme);
	remember(host);
	zp_unlock(&disk->shared->nvme);
}

static int host_of(struct zp_disk *disk, struct host **out)
{
	zd_dev *dev;
	int r = zp_disk_dev(disk, &dev);

	return r ? r : make_once(disk, dev, true, out);
}

/* ---------------------------------------------------------------- one command, whatever its form */

struct passed {
	struct zp_disk *disk;
	struct host *host;
	bool admin;
	uint32_t milliseconds; /* 0: as the kernel has it */
	uint64_t over;         /* when its time is over, ns */
	uint32_t resets;       /* of the controller, when it began */
	bool late;
	_Atomic int ended;
	struct iovec iov[ZP_MAX_IOV];
	uint32_t nr_iov;
	uint64_t length; /* of them together */
	struct zd_nvme_command command;
};

static uint64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void has_ended(struct zd_nvme_command *command)
{
	struct passed *p = command->arg;

	pthread_mutex_lock(&ending);
	atomic_store(&p->ended, 1);
	pthread_cond_broadcast(&ended);
	pthread_mutex_unlock(&ending);
}

static bool was_reset(const struct passed *p)
{
	return atomic_load(&p->disk->shared->nvme_resets) != p->resets;
}

/* Looks what happened to the disk, before anything else is asked of it. */
static void look(const struct passed *p)
{
	zp_lock(&p->disk->shared->nvme);
	recall(p->host);
	zd_nvme_look(p->host->controller);
	remember(p->host);
	zp_unlock(&p->disk->shared->nvme);
}

static void nap(const struct passed *p)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until); /* that of a condition that is made without ado */
	until.tv_nsec += (long)LOOK_NS;
	if (until.tv_nsec >= 1000000000) {
		until.tv_nsec -= 1000000000;
		until.tv_sec++;
	}
	pthread_mutex_lock(&ending);
	if (!atomic_load(&p->ended))
		pthread_cond_timedwait(&ended, &ending, &until);
	pthread_mutex_unlock(&ending);
}

/* It is held up, or waits for an event. */
static void wait_for(struct passed *p)
{
	bool is_event = p->admin && p->command.sqe[0] == EVENT_REQUEST, cancelled = false;

	while (!atomic_load(&p->ended)) {
		nap(p);
		if (atomic_load(&p->ended))
			break;
		if (!cancelled && (was_reset(p) || now() >= p->over)) {
			p->late = !was_reset(p);
			cancelled = true;
			zd_nvme_cancel(&p->command);
		} else if (is_event) {
			look(p);
		}
	}
}

static void give(struct passed *p)
{
	p->command.size = sizeof(p->command);
	p->command.done = has_ended;
	p->command.arg = p;
	zd_nvme_exec(p->admin ? p->host->admin : p->host->io, &p->command);
}

/*
 * An admin command is alone with what the controller knows, from recalling it until it is remembered; but one that waits for an
 * event would keep all others away. Others change of it the error log only, which is told behind them.
 */
static void carry_out_alone(struct passed *p)
{
	bool is_event = p->admin && p->command.sqe[0] == EVENT_REQUEST;

	if (!p->admin)
		look(p);
	else
		zp_lock(&p->disk->shared->nvme);
	if (p->admin)
		recall(p->host);
	give(p);
	if (p->admin && !is_event)
		wait_for(p);
	if (p->admin) {
		remember(p->host);
		zp_unlock(&p->disk->shared->nvme);
	}
	if (!p->admin || is_event)
		wait_for(p);
	if (!p->admin && p->command.status)
		look(p);
}

static int reset(struct zp_disk *disk, struct host *host)
{
	/* First, so that commands of all processes that are held up end. */
	atomic_fetch_add(&disk->shared->nvme_resets, 1);
	zp_lock(&disk->shared->nvme);
	recall(host);
	zd_nvme_controller_reset(host->controller);
	remember(host);
	zp_unlock(&disk->shared->nvme);
	return 0;
}

/* 0 or a status, as ioctl() gives it; -EINTR: the controller was reset meanwhile. */
static int carry_out(struct passed *p)
{
	struct zp_disk *disk = p->disk;
	uint32_t status;
	zd_dev *dev;

	if (atomic_load(&disk->shared->tails) && zp_disk_dev(disk, &dev) == 0)
		zp_tail_flush(disk, dev);
	p->resets = atomic_load(&disk->shared->nvme_resets);
	p->over = now() + (p->milliseconds ? p->milliseconds : p->admin ? ADMIN_MS : IO_MS) * 1000000ull;
	carry_out_alone(p);
	status = p->command.status;
	if (status && p->command.error.code < 0)
		zp_refused(disk, p->command.error.code, &p->command.error);
	if ((status & 0x7FF) == ZD_NVME_QUEUE_DELETED || ((status & 0x7FF) == ZD_NVME_ABORT_REQUESTED && was_reset(p)))
		return -EINTR;
	if (p->late && p->admin && (status & 0x7FF) == ZD_NVME_ABORT_REQUESTED) {
		reset(disk, p->host);
		return -EINTR;
	}
	return (int)status;
}

/* ---------------------------------------------------------------- its buffers */

/* A program that another process answers for has its memory elsewhere. */
static int bounced(struct passed *p, int (*run)(struct passed *p))
{
	struct zp_cursor at = { p->iov, (int)p->nr_iov, 0 };
	struct iovec mine = { NULL, p->length }, piece[ZP_MAX_IOV];
	bool sends = p->command.sqe[0] & 1;
	uint64_t done = 0;
	int r = 0, i, n;

	mine.iov_base = zp_real.mmap(NULL, p->length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (mine.iov_base == MAP_FAILED)
		return -ENOMEM;
	n = zp_cursor_slice(&at, p->length, piece);
	for (i = 0; sends && i < n && !r; i++) {
		r = zp_copy_in((uint8_t *)mine.iov_base + done, piece[i].iov_base, piece[i].iov_len);
		done += piece[i].iov_len;
	}
	if (!r) {
		p->command.in = p->command.out = &mine;
		p->command.nr_out = sends;
		p->command.nr_in = !sends;
		r = run(p);
	}
	for (i = 0, done = 0; !sends && i < n && r >= 0 && done < p->command.in_length; i++) {
		uint64_t left = p->command.in_length - done, here = piece[i].iov_len < left ? piece[i].iov_len : left;

		if (zp_copy_out(piece[i].iov_base, (uint8_t *)mine.iov_base + done, here))
			r = -EFAULT;
		done += here;
	}
	munmap(mine.iov_base, p->length);
	return r;
}

/* The opcode's lowest bit says which way its data goes, whether it is known or not. */
static int with_buffers(struct passed *p)
{
	bool sends = p->command.sqe[0] & 1;
	int r;

	if (!p->nr_iov)
		return carry_out(p);
	if (zp_peer)
		return bounced(p, carry_out);
	r = zp_memory(p->iov, (int)p->nr_iov, !sends);
	if (r)
		return r;
	p->command.in = p->command.out = p->iov;
	p->command.nr_out = sends ? p->nr_iov : 0;
	p->command.nr_in = sends ? 0 : p->nr_iov;
	return carry_out(p);
}

static int one_buffer(struct passed *p, uint64_t at, uint64_t length)
{
	if (!at || !length)
		return 0;
	if (length > ZD_NVME_MAX_TRANSFER)
		return -EINVAL;
	p->iov[0] = (struct iovec){ (void *)(uintptr_t)at, length };
	p->nr_iov = 1;
	p->length = length;
	return 0;
}

static int buffers(struct passed *p, uint64_t at, uint32_t n)
{
	uint32_t i;

	if (!at || !n)
		return 0;
	if (n > ZP_MAX_IOV)
		return -EINVAL;
	if (zp_copy_in(p->iov, (void *)(uintptr_t)at, n * sizeof(*p->iov)))
		return -EFAULT;
	for (i = 0; i < n; i++) {
		if (p->iov[i].iov_len > (uint64_t)SSIZE_MAX)
			return -EINVAL;
		if (p->length <= ZD_NVME_MAX_TRANSFER)
			p->length += p->iov[i].iov_len;
	}
	if (p->length > ZD_NVME_MAX_TRANSFER)
		return -EINVAL;
	p->nr_iov = p->length ? n : 0;
	return 0;
}

/* ---------------------------------------------------------------- the forms */

/* Identifiers of commands, as the kernel's tags are: some number, which the error log shows. */
static void number(uint8_t *sqe)
{
	static _Atomic uint32_t last;

	put16le(sqe + 2, atomic_fetch_add(&last, 1) & 0xFFF);
}

/*
 * Whether an I/O command may name that namespace. node: the one by whose node it comes; 0: the controller's, where it may be any,
 * though the kernel takes them there only if there is but one.
 */
static bool is_for(const struct passed *p, uint32_t nsid, uint32_t node)
{
	return node ? nsid == node : nsid == ZONED_NSID || (p->host->two && nsid == CONVENTIONAL_NSID);
}

static int pass(struct passed *p, const struct nvme_passthru_cmd64 *cmd, uint32_t node, bool vectored)
{
	const uint32_t words[6] = { cmd->cdw10, cmd->cdw11, cmd->cdw12, cmd->cdw13, cmd->cdw14, cmd->cdw15 };
	uint8_t *sqe = p->command.sqe;
	int r, i;

	if (cmd->flags)
		return -EINVAL;
	if (!p->admin && !is_for(p, cmd->nsid, node))
		return -EINVAL;
	r = vectored ? buffers(p, cmd->addr, cmd->vec_cnt) : one_buffer(p, cmd->addr, cmd->data_len);
	if (r)
		return r;
	if (p->nr_iov && cmd->metadata && cmd->metadata_len)
		return -EINVAL; /* there is none */
	sqe[0] = cmd->opcode;
	number(sqe);
	put32le(sqe + 4, cmd->nsid);
	put32le(sqe + 8, cmd->cdw2);
	put32le(sqe + 12, cmd->cdw3);
	for (i = 0; i < 6; i++)
		put32le(sqe + 40 + 4 * i, words[i]);
	p->milliseconds = cmd->timeout_ms;
	return with_buffers(p);
}

static int pass32(struct passed *p, void *arg, uint32_t node)
{
	struct nvme_passthru_cmd given;
	struct nvme_passthru_cmd64 cmd = { .opcode = 0 };
	uint32_t result;
	int r;

	if (zp_copy_in(&given, arg, sizeof(given)))
		return -EFAULT;
	memcpy(&cmd, &given, offsetof(struct nvme_passthru_cmd, result)); /* up to there they are the same */
	r = pass(p, &cmd, node, false);
	if (r < 0)
		return r;
	result = (uint32_t)p->command.result;
	return zp_copy_out((uint8_t *)arg + offsetof(struct nvme_passthru_cmd, result), &result, sizeof(result)) ? -EFAULT : r;
}

static int pass64(struct passed *p, void *arg, uint32_t node, bool vectored)
{
	struct nvme_passthru_cmd64 cmd;
	uint64_t result;
	int r;

	if (zp_copy_in(&cmd, arg, sizeof(cmd)))
		return -EFAULT;
	r = pass(p, &cmd, node, vectored);
	if (r < 0)
		return r;
	result = p->command.result;
	return zp_copy_out((uint8_t *)arg + offsetof(struct nvme_passthru_cmd64, result), &result, sizeof(result)) ? -EFAULT :
														     r;
}

static int submit_io(struct passed *p, void *arg)
{
	uint8_t *sqe = p->command.sqe;
	struct nvme_user_io io;
	int r;

	if (zp_copy_in(&io, arg, sizeof(io)))
		return -EFAULT;
	if (io.flags || (io.opcode != WRITE && io.opcode != READ && io.opcode != COMPARE))
		return -EINVAL;
	if (io.control & PRACT && io.metadata)
		return -EINVAL;
	r = one_buffer(p, io.addr, (io.nblocks + 1ull) * p->disk->info.logical_block);
	if (r)
		return r;
	sqe[0] = io.opcode;
	number(sqe);
	put32le(sqe + 4, ZONED_NSID);
	put64le(sqe + 40, io.slba);
	put16le(sqe + 48, io.nblocks);
	put16le(sqe + 50, io.control);
	put32le(sqe + 52, io.dsmgmt);
	put32le(sqe + 56, io.reftag);
	put16le(sqe + 60, io.apptag);
	put16le(sqe + 62, io.appmask);
	return with_buffers(p);
}

static int command(struct zp_disk *disk, uint32_t node, unsigned long request, void *arg)
{
	struct passed p;
	int r;

	memset(&p, 0, offsetof(struct passed, iov));
	memset(&p.command, 0, sizeof(p.command));
	p.nr_iov = 0;
	p.length = 0;
	p.disk = disk;
	zp_enter();
	r = host_of(disk, &p.host);
	if (!r) {
		p.admin = request == NVME_IOCTL_ADMIN_CMD || request == NVME_IOCTL_ADMIN64_CMD;
		switch (request) {
		case NVME_IOCTL_ID: r = ZONED_NSID; break;
		case NVME_IOCTL_ADMIN_CMD:
		case NVME_IOCTL_IO_CMD: r = pass32(&p, arg, node); break;
		case NVME_IOCTL_ADMIN64_CMD:
		case NVME_IOCTL_IO64_CMD: r = pass64(&p, arg, node, false); break;
		case NVME_IOCTL_IO64_CMD_VEC: r = pass64(&p, arg, node, true); break;
		case NVME_IOCTL_SUBMIT_IO: r = submit_io(&p, arg); break;
		case NVME_IOCTL_RESET: r = reset(disk, p.host); break;
		default: break; /* NVME_IOCTL_RESCAN: what there is does not change */
		}
	}
	zp_leave();
	return r;
}

int zp_nvme_ioctl(struct zp_open *open, unsigned long request, void *arg)
{
	struct zp_disk *disk = zp_disk_of(open);
	bool block = open->kind == ZP_BLOCK;

	if (disk->info.dialect != ZD_ZNS)
		return -ENOTTY;
	switch (request) {
	case NVME_IOCTL_ADMIN_CMD:
	case NVME_IOCTL_ADMIN64_CMD:
	case NVME_IOCTL_IO_CMD: return command(disk, block ? ZONED_NSID : 0, request, arg);
	case NVME_IOCTL_ID:
	case NVME_IOCTL_SUBMIT_IO:
	case NVME_IOCTL_IO64_CMD:
	case NVME_IOCTL_IO64_CMD_VEC: return block ? command(disk, ZONED_NSID, request, arg) : -ENOTTY;
	case NVME_IOCTL_RESET:
	case NVME_IOCTL_RESCAN: return block ? -ENOTTY : command(disk, 0, request, arg);
	default: return -ENOTTY; /* NVME_IOCTL_SUBSYS_RESET, too: a subsystem without that capability */
	}
}
