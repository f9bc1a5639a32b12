/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the FUSE server share: fuse_serve (the session), fuse_workers (its threads), fuse_ops (requests about files),
 * fuse_dirs (requests about names, directories and the mount), fuse_late (open files, whose close the kernel tells late),
 * fuse_users (who has a file open), fuse_state (read-only or not, and who is told).
 *
 * Nodes of the FUSE protocol are inode numbers of zonefs plus 2, because 1 is the root by definition.
 */
#ifndef ZD_FUSE_SERVER_H
#define ZD_FUSE_SERVER_H

#define FUSE_USE_VERSION 35
#include <fuse_lowlevel.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fuse.h"
#include "zoned/fs.h"

#define ZD_FUSE_IO (1u << 20) /* the longest read or write in one request: FUSE_MAX_MAX_PAGES pages */

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/* An open file, as fi->fh holds it. */
struct open_file {
	zd_fs_file *file;
	uint64_t ino;
	bool writes;
	bool direct;                  /* past the page cache */
	_Atomic uint32_t lent;        /* answers that are read from the disk's pages; the RELEASE waits for them */
	struct open_file *next, **at; /* all open files; zd_fuse.open_lock, as what follows */
	_Atomic bool flushed;         /* perhaps closed, and its RELEASE on the way: in zd_fuse.flushed */
	struct open_file *next_flushed;
	uint64_t flushed_at; /* nanoseconds, monotonic */
};

struct worker {
	struct zd_fuse *fuse;
	pthread_t thread;
	bool used, finished;     /* zd_fuse.lock */
	bool leaving;            /* counted out already */
	_Atomic int id;          /* of the thread, to the system; 0 until it runs */
	_Atomic bool busy;       /* has a request */
	_Atomic uint64_t served; /* requests so far */
	uint64_t seen;           /* of those, when the watcher last looked; the watcher's own */
	_Atomic bool away;       /* in something slow: not counted as ready; changes under zd_fuse.lock */
	int clone;               /* of /dev/fuse, for this worker's reads that do not wait; -1: there is none */
	int answer;              /* the descriptor that the request came from, which takes the answer */
	size_t moved;            /* bytes of the last request and its answer */
	fuse_req_t req;          /* what it is at, where a signal to the caller may end it early */
	uint32_t misses;         /* looked for the next request in vain, so many times in a row */
	void *memory;            /* where requests are read to */
	void *reply;             /* room for a read's data, made when first needed */
};

struct zd_fuse {
	zd_dev *dev;
	int (*interrupt)(void *); /* the device's own hook, and its argument */
	void *interrupt_arg;
	zd_fs *fs;
	uint64_t root;
	bool strict;
	struct fuse_session *session;
	int fd, event;
	bool given; /* the session closes fd */
	_Atomic bool stopping, ended;
	_Atomic uint64_t give_up; /* nanoseconds, monotonic: when the end waits no longer for the disk; 0 while serving */

	pthread_mutex_t lock;
	uint32_t wanted;        /* workers that should be ready for a request at any time */
	_Atomic uint32_t ready; /* workers that are, or soon will be: not in anything slow */
	struct worker workers[ZD_FUSE_MAX_WORKERS];
	pthread_t watcher;
	bool has_watcher;
	_Atomic bool watching; /* the watcher looks; it sleeps while there are no requests */
	pthread_cond_t watch;

	pthread_mutex_t open_lock;
	struct open_file *opened;
	pthread_cond_t released;
	_Atomic uint32_t nr_flushed;
	struct open_file *flushed;

	char *_Atomic path;      /* the mount point; NULL until that is known, as dev */
	_Atomic uint64_t number; /* st_dev of the files */
	uid_t owner;
	atomic_bool syslog;
	atomic_bool kernel_readonly; /* as far as we know, the kernel takes the mount to be read-only */
	atomic_bool kernel_refuses;  /* we may not tell it */
	uint32_t telling;            /* threads that tell it; lock */
	pthread_cond_t told;

	pthread_mutex_t error_lock;
	char last_error[ZD_FUSE_TEXT];
};

/* Nanoseconds, monotonic. */
static inline uint64_t zd_fuse_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}
static inline struct zd_fuse *fuse_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}
static inline uint64_t ino_of(const struct zd_fuse *fuse, fuse_ino_t node)
{
	return node == FUSE_ROOT_ID ? fuse->root : node - 2;
}
static inline fuse_ino_t node_of(const struct zd_fuse *fuse, uint64_t ino)
{
	return ino == fuse->root ? FUSE_ROOT_ID : ino + 2;
}
static inline struct open_file *open_of(const struct fuse_file_info *fi)
{
	return (struct open_file *)(uintptr_t)fi->fh;
}

/* fuse_workers.c */
/* 0 or a negative errno; after an error there may be some to stop. */
int zd_fuse_start_workers(struct zd_fuse *fuse);
/* Returns when they have ended. */
void zd_fuse_stop_workers(struct zd_fuse *fuse);
/* Have the session answer by the descriptor that a request came from. 0, or less. */
int zd_fuse_set_io(struct zd_fuse *fuse);
/* Whether the caller of the request that this thread is at got a signal: see zd_fuse_serving(). */
bool zd_fuse_interrupted(void);
/* Around what may take long: another worker takes over meanwhile. */
void zd_fuse_slow_begin(struct zd_fuse *fuse);
void zd_fuse_slow_end(struct zd_fuse *fuse);
/* Whether no other worker has a request, or has just got one. */
bool zd_fuse_others_idle(struct zd_fuse *fuse);
/*
 * From here to the call with NULL, a signal that the caller gets ends with EINTR what takes long (a hang, a finish).
 * NULL must come before the answer.
 */
void zd_fuse_serving(fuse_req_t req);
/* Room for ZD_FUSE_IO bytes that belongs to this worker; NULL when there is no memory. */
void *zd_fuse_room(void);

/* fuse_ops.c */
/* Answer with a negative errno, and keep the sentence that err holds. */
void zd_fuse_refuse(fuse_req_t req, int64_t code, const struct zd_error *err);
void zd_fuse_file_ops(struct fuse_lowlevel_ops *ops);
/* Attributes as they are now, for the mount's users. */
int zd_fuse_attr(struct zd_fuse *fuse, uint64_t ino, struct stat *st);

/* Keep a sentence, as the last error. */
void zd_fuse_keep_error(struct zd_fuse *fuse, const char *text);

/* fuse_users.c */
/* The beginning of a file of /proc as a string; false if there is none. */
bool zd_fuse_proc(const char *path, char *text, size_t room);
/* Whether a descriptor of this open file description is left anywhere, as far as can be seen. */
bool zd_fuse_has_users(struct zd_fuse *fuse, struct open_file *open);

/* fuse_state.c */
/* Something may have gone wrong that the file system has a sentence about: it becomes the last error, and is said. */
void zd_fuse_news(struct zd_fuse *fuse);
/* If an error made the file system read-only, and nobody has a file open for writing: have the kernel know it. */
void zd_fuse_settle_readonly(struct zd_fuse *fuse);
void zd_fuse_await_telling(struct zd_fuse *fuse);
void zd_fuse_state_ops(struct fuse_lowlevel_ops *ops);

/* fuse_dirs.c */
void zd_fuse_dir_ops(struct fuse_lowlevel_ops *ops);

/*
 * fuse_late.c. close(2) returns after FLUSH; the RELEASE that ends a file's life is sent behind its back and,
 * with several workers, might be overtaken by the next request, which would see the file's last block unpadded or
 * its zone still open. So a FLUSH of a file open for writing is remembered, and requests that could tell the
 * difference wait a little for the RELEASE. Descriptors that were duplicated are flushed without being closed:
 * the next write, or the end of the wait, makes them forgotten.
 */
void zd_fuse_late_opened(struct zd_fuse *fuse, struct open_file *open);
void zd_fuse_late_closed(struct zd_fuse *fuse, struct open_file *open); /* and frees it */
void zd_fuse_late_flushed(struct zd_fuse *fuse, struct open_file *open);
void zd_fuse_late_forget(struct zd_fuse *fuse, struct open_file *open); /* it was written to */
void zd_fuse_late_wait(struct zd_fuse *fuse, uint64_t ino);
#define ZD_FUSE_ANY UINT64_MAX
static inline void zd_fuse_await_close(struct zd_fuse *fuse, uint64_t ino)
{
	if (unlikely(atomic_load_explicit(&fuse->nr_flushed, memory_order_acquire)))
		zd_fuse_late_wait(fuse, ino);
}

#endif
