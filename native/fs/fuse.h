/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuse.h - the FUSE server of zonefs: what zonefs._fuse offers to Python.
 *
 * Whoever mounts gets a descriptor of /dev/fuse (from mount(2) or from fusermount3) and gives it to
 * zd_fuse_start(), which serves it with threads of its own until the file system is unmounted or
 * zd_fuse_stop() is called. No Python runs in those threads, and signals from outside are blocked in them.
 *
 * Returns     0 or a negative errno.
 * fork        A forked child has the descriptors but none of the threads: it calls zd_fuse_forget(), or the
 *             mount would outlive this process as one that never answers.
 */
#ifndef ZD_FUSE_H
#define ZD_FUSE_H

#include <stddef.h>
#include <stdint.h>

typedef struct zd_fuse zd_fuse;

/* Strict: nobody looks whether others changed the disk, as the kernel's zonefs would not. */
#define ZD_FUSE_STRICT 1u
#define ZD_FUSE_READONLY 2u /* it is mounted read-only */
#define ZD_FUSE_MAX_WORKERS 64
#define ZD_FUSE_TEXT 256 /* room for any sentence below */

struct zd_fuse_options {
	uint32_t flags;   /* ZD_FUSE_* */
	uint32_t workers; /* threads that wait for requests; 0: the best number here */
};

/*
 * Of which headers this module was built: a check sum. It uses the library that is compiled into zoned._native, whose
 * zd_native_build() must be the same before anything else here is called.
 */
uint32_t zd_fuse_build(void);
/*
 * Serve the mounted descriptor fd, which is duplicated. dev, fs: addresses of a zd_dev and a zd_fs, which must
 * outlive the server. -EINVAL: options out of range; -ENOMEM; -EAGAIN.
 */
int zd_fuse_start(uintptr_t dev, uintptr_t fs, int fd, const struct zd_fuse_options *options, zd_fuse **out);
/* A descriptor that becomes readable when serving has ended. The server's; do not close it. */
int zd_fuse_event(const zd_fuse *fuse);
/* 1 once serving has ended: the file system was unmounted, or its connection was cut. */
int zd_fuse_ended(zd_fuse *fuse);
/*
 * Where it is mounted, and the st_dev that its files have: needed for all that follows, and to find out at a close(2)
 * whether somebody else has the file open still. -ENOMEM.
 */
int zd_fuse_mounted(zd_fuse *fuse, const char *path, uint64_t dev);
/*
 * What no caller of the file system is told (it became read-only; bytes were lost behind a close) is written to standard
 * error, a line each; after this call to syslog.
 */
void zd_fuse_use_syslog(zd_fuse *fuse);
/*
 * As mount -o remount. set: which of errors and flags (ZD_FUSE_SET_*) are meant. 0, or a negative errno and a sentence.
 * Root's mount shows what it is in /proc/mounts too; that of others does where it was mounted read-only, and cannot be
 * made writable then (-EPERM).
 */
#define ZD_FUSE_SET_ERRORS 1u
#define ZD_FUSE_SET_EXPLICIT_OPEN 2u
#define ZD_FUSE_SET_READONLY 4u
struct zd_fuse_remount {
	uint32_t set;    /* ZD_FUSE_SET_* */
	uint32_t flags;  /* of those, what is to be on: ZD_FUSE_SET_EXPLICIT_OPEN, ZD_FUSE_SET_READONLY */
	uint32_t errors; /* enum zd_fs_errors */
	int32_t code;    /* the result */
	char text[ZD_FUSE_TEXT];
};
int zd_fuse_remount(zd_fuse *fuse, struct zd_fuse_remount *how);
/*
 * The same through an open descriptor of the mount point, for other processes: the ioctl's number. Its user must be root
 * or the one who mounted (EPERM). Returns 0; code in *how is the result.
 */
unsigned long zd_fuse_remount_ioctl(void);
/* The last refusal or failure that a caller of the file system met, as a sentence; "" if there was none. */
void zd_fuse_last_error(zd_fuse *fuse, char text[ZD_FUSE_TEXT]);
/*
 * End the threads, after the requests they are at, and free the server. What still uses the mount gets
 * ENOTCONN from now on: unmount first. A command of the disk that takes longer than 3 s is given up (EINTR).
 */
void zd_fuse_stop(zd_fuse *fuse);
/* In a forked child: close the descriptors, free nothing. */
void zd_fuse_forget(zd_fuse *fuse);

/* mount(2) and umount2(2), for their errno. readonly: MS_RDONLY. lazy: MNT_DETACH. */
int zd_fuse_sys_mount(const char *source, const char *dir, const char *type, int readonly, const char *options);
int zd_fuse_sys_umount(const char *dir, int lazy);
/* The version of libfuse in use, such as "3.14.0". Static storage. */
const char *zd_fuse_library(void);

#endif
