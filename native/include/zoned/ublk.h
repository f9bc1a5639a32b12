/* SPDX-License-Identifier: Apache-2.0 */
/*
 * zoned/ublk.h - a zoned disk as a block device of this machine, /dev/ublkbN, served from user space (Linux 6.6 and later, root).
 *
 * A zd_ublk is one device: made, started, stopped and deleted here, its requests carried out on a handle. A thread for each of its
 * queues; a request's data goes straight between the kernel's pages and the disk's mapping. What a request breaks of
 * the disk's rules is told as errno by the disk's own table (zoned/error.h).
 *
 * Kills       What was under way when a server was killed is issued again to the next one (zd_serve_ublk_again()). A file of
 *             state, which should lie in memory (/run), says which of it had taken effect: such a command is acknowledged
 *             and not done twice. An append whose acknowledgement was on its way at that moment may be done twice, which no host
 *             is told of; nothing is lost.
 * Power       Without power every request fails with EIO; the device stays, and works again when power is back.
 * Returns     0 or a negative errno or code as in zoned/error.h, with *err (may be NULL) filled. What a kernel lacks is -EOPNOTSUPP
 *             or -EPERM with a sentence that tells the way out.
 * Threads     All calls may be made from any thread; zd_serve_ublk_free() must be the last.
 * fork        A forked child has none of the threads: it calls zd_serve_ublk_forget() and nothing else.
 */
#ifndef ZONED_UBLK_H
#define ZONED_UBLK_H

#include "zoned/zoned.h"

ZD_BEGIN

typedef struct zd_ublk zd_ublk;

#define ZD_UBLK_PATH 1024 /* room for the path of an image, with its NUL */
#define ZD_UBLK_STATE_VERSION 1

/* Zero: the value in brackets. */
struct zd_ublk_config {
	uint32_t size;        /* sizeof(struct zd_ublk_config) */
	uint32_t queues;      /* 1 to 64; the kernel may take fewer [as many as processors, 4 at most] */
	uint32_t depth;       /* requests that each has under way, 1 to 1024 [128] */
	uint32_t max_io;      /* bytes of a request, 4 KiB to 4 MiB, a multiple of 4 KiB [1 MiB] */
	int32_t id;           /* N of /dev/ublkbN + 1 [the kernel's choice] */
	uint8_t whole_zones;  /* 1: leave out a last zone that is smaller, which no such device can have */
	uint8_t reserved1[3]; /* 0 */
	const char *path;     /* of the image, kept for people; may be NULL */
	uint64_t reserved[4]; /* 0 */
};

/* What lies at the beginning of a file of state. */
struct zd_ublk_state {
	char magic[8];    /* "ZDUBLK\n" */
	uint32_t version; /* ZD_UBLK_STATE_VERSION */
	uint32_t id;
	uint64_t mark; /* the kernel keeps it with the device: by it a server knows its own */
	int32_t pid;   /* of the (last) server */
	uint32_t queues, depth, max_io;
	uint8_t uuid[16]; /* of the disk */
	uint8_t boot[16]; /* of the machine */
	uint64_t bytes;   /* of the block device */
	uint8_t whole_zones, started, reserved[6];
	char path[ZD_UBLK_PATH];
};

/* What the kernel says of a device. */
struct zd_ublk_device {
	uint64_t mark;
	int32_t pid;    /* of its server; -1: it has none */
	uint32_t state; /* enum zd_ublk_device_state */
	uint32_t queues, depth;
};
enum zd_ublk_device_state {
	ZD_UBLK_DEAD = 0,    /* not started, or stopped */
	ZD_UBLK_LIVE = 1,    /* it has a server, or had one a moment ago */
	ZD_UBLK_WAITING = 2, /* its server died; requests wait for another one */
	ZD_UBLK_FAILING = 3
};

struct zd_ublk_counters {
	uint64_t commands, bytes_in, bytes_out; /* requests; data that was written, and read */
	uint64_t errors;                        /* requests that failed */
	uint64_t repeated;                      /* issued again after a kill, and only acknowledged */
};

/*
 * Make the device and start it. `state` is the descriptor of an empty file, which is duplicated. The disk stays the caller's and
 * must outlive the device. Errors: -EINVAL (a number out of range), -EOPNOTSUPP, -EPERM, -EACCES, ZD_E_GEOMETRY (a disk that
 * cannot be such a device: zones of another size than a power of two, a smaller last zone without whole_zones,
 * host-aware, reads behind the write pointer refused), -EEXIST, -ENOMEM, -EMFILE, -ENOSPC, -EAGAIN, -EIO.
 */
int zd_serve_ublk_new(zd_dev *dev, const struct zd_ublk_config *config, int state, zd_ublk **out, struct zd_error *err);
/*
 * Go on with a device whose server died, by the file of state that it left. Errors: as zd_serve_ublk_new(), and -ENODEV (there is
 * no such device any more), -EBUSY (it has a server, or the kernel has not done with the dead one yet), -ESTALE (the file is
 * of another disk, machine's boot, or version).
 */
int zd_serve_ublk_again(zd_dev *dev, int state, zd_ublk **out, struct zd_error *err);
/* N of /dev/ublkbN. */
uint32_t zd_serve_ublk_id(const zd_ublk *ublk);
void zd_serve_ublk_counters(const zd_ublk *ublk, struct zd_ublk_counters *out);
/* Readable once the device has ended by itself: somebody else deleted it. The device's; do not close it. */
int zd_serve_ublk_event(const zd_ublk *ublk);
/*
 * Stop and delete the device, wait for its threads, and free it. What the kernel has not written yet is lost to its users,
 * who get EIO. NULL: nothing.
 */
void zd_serve_ublk_free(zd_ublk *ublk);
/* In a forked child: close the descriptors, free nothing. */
void zd_serve_ublk_forget(zd_ublk *ublk);

/* The state that a file begins with. -ESTALE: it is none. */
int zd_ublk_state(int fd, struct zd_ublk_state *out, struct zd_error *err);
/* Errors: -EOPNOTSUPP, -EPERM, -EACCES, -ENODEV. */
int zd_ublk_look_up(uint32_t id, struct zd_ublk_device *out, struct zd_error *err);
/* Stop and delete a device that has no server, if it bears the mark. Errors: as zd_ublk_look_up(). */
int zd_ublk_delete(uint32_t id, uint64_t mark, struct zd_error *err);

ZD_END
#endif
