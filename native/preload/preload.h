/* SPDX-License-Identifier: Apache-2.0 */
/*
 * preload.h - the shared object that stands in a program's way: block devices without a kernel that knows them.
 *
 * `zonedctl run` starts a program with this library in LD_PRELOAD. Calls of libc that concern one of the run's disks
 * are answered here, over the core in the same process; all others go on to libc. There is no Python in it.
 *
 * Rooms, and which way calls run: names of libc -> what a call means -> the disk -> the core.
 *
 *   names    open.c file.c io.c stat.c paths.c names.c stream.c memory.c aio.c posixaio.c spawn.c signal.c   (exported: libc's names)
 *   meaning  device.c (reads and writes as Linux's block layer does them), tail.c (blocks of buffered writes that are not
 *            whole yet), plug.c (what Linux knows of write
 *            pointers), zones.c and ioctl.c (BLK*), scsi.c (SG_IO), nvme.c (NVME_IOCTL_*), uring.c (io_uring, by a trap)
 *   beside   static.c (a filter for programs without libc) answer.c answerpath.c (the process that answers for them)
 *   below    session.c (the run's folder), table.c (descriptors), disk.c (handles on images), pace.c (a drive's time),
 *            real.c (libc's own functions)
 *
 * The run's folder   $ZONED_RUN names a folder that whoever made the run keeps as long as it lasts. In it: `disks` (a line
 *                    a disk, see session.c), `state` (struct zp_shared, mapped by every process), `fd/` (a file for each
 *                    open file description), `refused` (a line a refused command), `sys/` and `proc/` (what takes the
 *                    place of the files of those names), `nvme/` (what the controllers of zns disks know).
 *
 * A descriptor       The kernel's side is an O_PATH descriptor of `fd/SLOT`. What is not answered here meets EBADF there, never
 *                    silence: that is what makes a forgotten call visible. dup(), fork() and exec() carry it as any
 *                    descriptor, and its name tells whoever finds it which open file description it is. Position and
 *                    flags of that lie in `state`, so that all who share the description share them. A table in this
 *                    process says which of its numbers are such, so that the data path asks nobody.
 *
 * A disk             Each process opens the image by itself when it first needs it, a forked child anew. All state of a disk is
 *                    shared by the core, so a process that is killed leaves what any opener of an image leaves: nothing.
 *
 * Order of the data  pwrite(2): io.c looks the number up -> device.c does the checks of block/fops.c and cuts the range at the
 *                    zones' ends, as the block layer does -> zd_pwrite(). Buffered and direct writes both act at once: a
 *                    program hears at write() what a page cache would tell at fsync(). Of a buffered write that ends
 *                    within a block, the last bytes wait in `state` (tail.c).
 *
 * Signals            A handler that comes while this thread is in the core is put off until it has left it (signal.c), as one
 *                    that comes in a system call is. So handlers may use disks, and longjmp() from them. Nothing on the
 *                    way of the data allocates.
 *
 * Returns            Functions named zp_* give 0, a count, or -errno. Those of libc's names set errno.
 */
#ifndef ZD_PRELOAD_H
#define ZD_PRELOAD_H

#include "zoned/zoned.h"

#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>

#define ZP_EXPORT __attribute__((visibility("default")))
/* Another name of libc's for a function of ours: those for files of 64 bits, where both are the same. */
#define ZP_ALIAS(name, of) \
	extern ZP_EXPORT __typeof__(of) zp_alias_##name __asm__(#name) __attribute__((alias(#of) ZP_ALIKE(of)))
#ifdef __clang__
#define ZP_ALIKE(of)
#else
#define ZP_ALIKE(of) , copy(of) /* gcc wants the same attributes on both */
#endif
#define ZP_MAX_DISKS 16
#define ZP_MAX_FD (1u << 20) /* numbers of descriptors that can be ours */
#define ZP_MAX_OPEN 4096u    /* open file descriptions of a run */
#define ZP_MAX_TAILS 64u     /* unfinished blocks of a run */
#define ZP_LOST 1024u        /* zones of a disk whose write pointer Linux would have lost */
#define ZP_NAME 32
#define ZP_OURS_INTERNAL 0xFFFFu /* in the table: a descriptor of the core, which the program cannot see */
#define zp_likely(x) __builtin_expect(!!(x), 1)
#define zp_unlikely(x) __builtin_expect(!!(x), 0)

/* ---------------------------------------------------------------- shared by all processes of a run */

/* Of a disk's nodes. The character node is its generic SCSI node, or its NVMe controller. */
enum zp_kind { ZP_BLOCK = 0, ZP_CHAR = 1 };

/* An open file description. `state`: 0 free, 1 being made, 2 in use. */
struct zp_open {
	_Atomic uint32_t state;
	_Atomic uint32_t flags; /* O_* as fcntl(F_GETFL) gives them */
	uint16_t disk;
	uint8_t kind;           /* enum zp_kind */
	_Atomic uint8_t shared; /* another process has, or had, it too: only looking at all of them tells whether it is gone */
	_Atomic uint32_t exclusive; /* it holds the disk by O_EXCL */
	_Atomic uint64_t position;
	uint64_t reserved[2];
	pthread_mutex_t lock; /* of the position: robust, process-shared */
};

/* A block that a buffered write has begun: `length` bytes of it, waiting for the rest. */
struct zp_tail {
	_Atomic uint32_t taken; /* disk + 1; 0: free */
	uint32_t length;
	uint64_t offset; /* of the block, on the disk */
	uint8_t bytes[4096];
};

struct zp_shared_disk {
	_Atomic uint32_t readonly;    /* BLKROSET */
	_Atomic uint32_t exclusive;   /* slot + 1 of who has it by O_EXCL */
	_Atomic uint32_t tails;       /* how many of them are this disk's */
	_Atomic uint32_t read_ahead;  /* sectors + 1; 0: as at first */
	_Atomic uint32_t nvme_begun;  /* what its zones were at first was written down */
	_Atomic uint32_t nvme_resets; /* of its controller */
	_Atomic uint32_t nr_lost;     /* words below that are not 0 */
	uint32_t reserved_word;
	uint64_t reserved[2];
	pthread_mutex_t nvme;           /* of what its controller knows: robust, process-shared */
	_Atomic uint32_t lost[ZP_LOST]; /* zone + 1, or 0: plug.c */
};

struct zp_shared {
	_Atomic uint32_t magic; /* 0, 1 while somebody makes it, ZP_MAGIC */
	uint32_t reserved;
	_Atomic uint64_t refused; /* sentences in `refused` */
	pthread_mutex_t lock;     /* of tails, of exclusive holders and of slots being looked for; robust, process-shared */
	struct zp_shared_disk disks[ZP_MAX_DISKS];
	struct zp_open open[ZP_MAX_OPEN];
	struct zp_tail tails[ZP_MAX_TAILS];
};
#define ZP_MAGIC 0x5A50524Eu

/* ---------------------------------------------------------------- this process's */

struct zp_disk {
	char name[ZP_NAME], chars[ZP_NAME]; /* in /dev: the block node, and the character node */
	char image[PATH_MAX];
	dev_t number, char_number;
	uint64_t diskseq;
	_Atomic(zd_dev *) dev; /* NULL until it is first needed */
	bool readonly;         /* the image may not be written */
	struct zd_info info;   /* valid once dev is */
	uint64_t zone_mask;    /* zone_size - 1 where that is a power of two; else 0: no quick way */
	struct zp_shared_disk *shared;
};

struct zp_session {
	char folder[PATH_MAX];
	size_t folder_length;
	uint32_t nr_disks;
	bool explain; /* sentences on standard error, too */
	struct zp_disk disks[ZP_MAX_DISKS];
	struct zp_shared *shared;
};
extern struct zp_session zp_session;
extern _Atomic int zp_begun;         /* 0: not yet; 1: this run has no disks; 2: it has */
extern _Atomic uint16_t *zp_numbers; /* by descriptor: slot + 1, ZP_OURS_INTERNAL, or 0 */
/* How deep this thread is in the core or in a lock of ours. */
extern __thread int zp_inside __attribute__((tls_model("initial-exec")));

/* Libraries that begin before this one see no disks. */
static inline bool zp_active(void)
{
	return atomic_load_explicit(&zp_begun, memory_order_acquire) == 2;
}

/* Between these two no handler of the program runs in this thread. */
void zp_signals_came(void);
extern __thread int zp_pending __attribute__((tls_model("initial-exec")));
static inline void zp_enter(void)
{
	zp_inside++;
	atomic_signal_fence(memory_order_seq_cst);
}
static inline void zp_leave(void)
{
	atomic_signal_fence(memory_order_seq_cst);
	if (--zp_inside == 0 && zp_unlikely(zp_pending))
		zp_signals_came();
}

/* table.c: numbers of this process, and the descriptions behind them. */
struct zp_open *zp_find_slowly(int fd);
/* What a descriptor means; NULL: it is the kernel's. */
static inline struct zp_open *zp_find(int fd)
{
	uint16_t slot;

	if (!zp_active() || (unsigned)fd >= ZP_MAX_FD)
		return NULL;
	slot = atomic_load_explicit(&zp_numbers[fd], memory_order_relaxed);
	if (zp_likely(slot == 0) || zp_unlikely(slot == ZP_OURS_INTERNAL))
		return NULL;
	return &zp_session.shared->open[slot - 1];
}
bool zp_internal(int fd); /* a descriptor of the core */
int zp_table_begin(void);
void zp_table_scan(void);                         /* finds what this process inherited */
int zp_table_make(int disk, int kind, int flags); /* a new description; gives its descriptor */
void zp_table_copied(int from, int to);           /* the kernel made `to` of `from`, whatever that is */
void zp_table_closed(int fd);                     /* before the kernel closes it; any number */
void zp_table_fresh(int fd);                      /* the kernel gave this number to something else */
void zp_table_forget_all(void);                   /* all of them were closed behind our back */
void zp_table_share(void);                        /* before another process gets all of them */
void zp_table_keep(int fd);                       /* it is the core's from now on: hide it */
int zp_table_hide(int fd);                        /* moves a new descriptor of the core out of the program's way */
int zp_table_claim(struct zp_open *open);         /* O_EXCL: -EBUSY */
void zp_lock(pthread_mutex_t *lock);
void zp_unlock(pthread_mutex_t *lock);
int zp_mutex_make(pthread_mutex_t *lock);

/* disk.c */
/* The handle; 0 or -errno. May not be called before zp_enter(). */
int zp_disk_dev(struct zp_disk *disk, zd_dev **out);
/* pace.c: its commands take the time that the run wants; 0, or a code of the core. */
int zp_pace_begin(const struct zp_disk *disk, zd_dev *dev, struct zd_error *err);
void zp_disk_forked(void);         /* in the child of a fork() */
void zp_disk_lock(bool on);        /* nobody opens a disk meanwhile */
void zp_locks_gone(uint32_t slot); /* file.c: this process has no descriptor of it any more */
/* A code of the core as an errno (negative), told of where the run tells of refusals. */
int zp_refused(struct zp_disk *disk, int64_t code, const struct zd_error *err);
static inline struct zp_disk *zp_disk_of(const struct zp_open *open)
{
	return &zp_session.disks[open->disk];
}
/* The image may not be written, or BLKROSET said so. */
static inline bool zp_readonly(const struct zp_disk *disk)
{
	return disk->readonly || atomic_load_explicit(&disk->shared->readonly, memory_order_relaxed);
}
/* O_* of a description: whether it may write. */
static inline bool zp_may_write(uint32_t flags)
{
	return (flags & O_ACCMODE) == O_WRONLY || (flags & O_ACCMODE) == O_RDWR;
}
#define ZP_SETTABLE ((uint32_t)(O_APPEND | O_NONBLOCK | O_DIRECT | O_NOATIME | O_ASYNC)) /* by F_SETFL */
#define ZP_LARGEFILE 0x8000u /* O_LARGEFILE, which the headers have as 0 */

/* session.c: which disk a path names (-1: none), and what takes a path's place. */
int zp_named(int dirfd, const char *path, int *kind);
/* The same of a path as it stands, no link followed: what unlink() and its kin mean. */
int zp_named_itself(int dirfd, const char *path);
/* Whether a path goes on behind one of our nodes, as if that were a folder. */
bool zp_below(int dirfd, const char *path);
/* The path that the kernel is given instead; `path` itself where nothing takes its place. */
const char *zp_instead(int dirfd, const char *path, char *room);
/* The path as the program knows it, of one within the run's folder; length, or 0: it is no such. */
size_t zp_outside(const char *inside, char *room, size_t size);
bool zp_is_slot(const char *target, uint32_t *slot);

/* Told where the run tells of refusals: a sentence, and a rule's name. */
void zp_tell(struct zp_disk *disk, const char *rule, const char *text);

/* plug.c: zones in which a write has failed. Inside zp_enter(). */
bool zp_plug_is_lost(const struct zp_disk *disk, uint64_t offset);
int zp_plug_refuses(struct zp_disk *disk, uint64_t offset); /* -EIO, told */
void zp_plug_failed(const struct zp_disk *disk, zd_dev *dev, uint64_t offset, uint64_t length);
void zp_plug_known(const struct zp_disk *disk, uint32_t zone, uint32_t count); /* from now on they are right again */
static inline bool zp_plug_lost(const struct zp_disk *disk, uint64_t offset)
{
	return zp_unlikely(atomic_load_explicit(&disk->shared->nr_lost, memory_order_relaxed)) && zp_plug_is_lost(disk, offset);
}

/* device.c: block/fops.c of Linux 6.12. */
#define ZP_AT_POSITION (-1)
/* One buffer at a place: what most calls are. */
int64_t zp_device_pread(struct zp_open *open, void *buf, size_t length, int64_t offset);
int64_t zp_device_pwrite(struct zp_open *open, const void *buf, size_t length, int64_t offset);
int64_t zp_device_read(struct zp_open *open, const struct iovec *iov, int n, int64_t offset, int rwf);
int64_t zp_device_write(struct zp_open *open, const struct iovec *iov, int n, int64_t offset, int rwf);
int64_t zp_device_seek(struct zp_open *open, int64_t offset, int whence);
int zp_device_sync(struct zp_open *open);
int zp_device_allocate(struct zp_open *open, int mode, int64_t offset, int64_t length);
int zp_device_zero(struct zp_disk *disk, uint64_t offset, uint64_t length);
/* Whole blocks, cut at the ends of zones as the block layer cuts them. Inside zp_enter(). */
int zp_device_blocks(struct zp_disk *disk, zd_dev *dev, bool write, const struct iovec *iov, int n, uint64_t offset,
		     uint64_t length);

/* memory.c: whether the program's buffers are there, to be filled or to be read; -EFAULT. */
int zp_memory(const struct iovec *iov, int n, bool to_be_filled);
void zp_memory_changed(void);

/* What this thread knows of them: a table by the buffer's first page. */
#define ZP_KNOWN 64
struct zp_known {
	uint32_t changes; /* of the mappings, when it was filled */
	uintptr_t ranges[2][ZP_KNOWN][2];
};
extern _Atomic uint32_t zp_memory_changes;
extern __thread struct zp_known zp_known __attribute__((tls_model("initial-exec")));

/* Neighbours, and buffers of any one size, come to lie in different places. */
static inline unsigned zp_known_place(uintptr_t from)
{
	return (unsigned)(((from >> 12) * 0x9E3779B97F4A7C15ull) >> 58);
}

static inline bool zp_memory_known(uintptr_t from, size_t length, bool to_be_filled)
{
	const uintptr_t *kept = zp_known.ranges[to_be_filled][zp_known_place(from)];

	return from >= kept[0] && from < kept[1] && length <= kept[1] - from &&
	       zp_known.changes == atomic_load_explicit(&zp_memory_changes, memory_order_acquire);
}

/* tail.c; inside zp_enter() */
int64_t zp_tail_write(struct zp_disk *disk, zd_dev *dev, const struct iovec *iov, int n, uint64_t offset, uint64_t length);
int64_t zp_tail_read(struct zp_disk *disk, zd_dev *dev, const struct iovec *iov, int n, uint64_t offset, uint64_t length);
int zp_tail_flush(struct zp_disk *disk, zd_dev *dev); /* write them all, padded with zeros */
void zp_tail_drop(struct zp_disk *disk, uint64_t from, uint64_t to);

/* ioctl.c, zones.c, stat.c */
int zp_ioctl(struct zp_open *open, unsigned long request, void *arg);
int zp_scsi_io(struct zp_disk *disk, void *arg);
int zp_scsi_ioctl(struct zp_open *open, unsigned long request, void *arg); /* of the generic node */
void zp_scsi_forked(void);
int zp_nvme_ioctl(struct zp_open *open, unsigned long request, void *arg); /* of either node */
void zp_nvme_begin(struct zp_disk *disk, zd_dev *dev);                     /* it was opened; within zp_enter() */
void zp_nvme_forked(void);
int zp_zones_report(struct zp_open *open, void *arg);
int zp_zones_manage(struct zp_open *open, int op, void *arg);
void zp_stat(int disk, int kind, struct stat *st);
/* Whether memory of the program can be read or written; -EFAULT. As the kernel's copies do, without a signal. */
/* Whose memory they mean: 0, or the process for which this one answers (answer.c). */
extern pid_t zp_peer;
int zp_copy_in(void *to, const void *from, size_t length);
int zp_copy_out(void *to, const void *from, size_t length);
/* An ioctl's answer: a value of that type where its argument `arg` points to. */
#define ZP_PUT(type, ...)                                   \
	do {                                                \
		type put = __VA_ARGS__;                     \
		return zp_copy_out(arg, &put, sizeof(put)); \
	} while (0)

/* aio.c */
int zp_result(int64_t result); /* a result of ours as libc gives it: errno set */

#endif
