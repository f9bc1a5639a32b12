/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop: what servers of a connection-per-thread kind have in common, whatever they speak.
 *
 *     buffers.c  memory for data: bounded per connection and per server, kept for the next command
 *     link.c     a socket: bytes in, bytes out, stalls, a wake-up from other threads
 *     crew.c     threads of a server, and a helper that a connection gives what takes long
 *
 * It may call base. It knows no protocol and no disk.
 */
#ifndef ZD_SERVE_LOOP_H
#define ZD_SERVE_LOOP_H

#include "base/base.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/uio.h>

/* ---------------------------------------------------------------- buffers.c */

#define ZD_BUFFER_CLASSES 14 /* 4 KiB << class: up to 32 MiB */

/* What all connections of a server hold together. */
struct zd_pool {
	_Atomic uint64_t held;
	uint64_t room;
};

struct zd_buffer {
	struct zd_buffer *next;
	uint32_t class;
	uint8_t data[] __attribute__((aligned(64)));
};

/* Of one connection; used by its thread only. held counts what is in use and what is kept. */
struct zd_buffers {
	struct zd_pool *pool;
	uint64_t room, keep;
	uint64_t held, kept;
	struct zd_buffer *free[ZD_BUFFER_CLASSES];
};

/* At least so many bytes, up to 32 MiB; NULL: there is no room, or no memory. */
struct zd_buffer *zd_buffer_get(struct zd_buffers *buffers, uint64_t length);
void zd_buffer_put(struct zd_buffers *buffers, struct zd_buffer *buffer); /* NULL: nothing */
/* Give back what is kept. */
void zd_buffers_end(struct zd_buffers *buffers);

/* ---------------------------------------------------------------- link.c */

#define ZD_LINK_IN (128u << 10)
#define ZD_LINK_HEADS 96
#define ZD_LINK_HEAD 128
#define ZD_LINK_PARTS (3 * ZD_LINK_HEADS)
#define ZD_LINK_BURST (128u << 10) /* so many bytes are not held back for more to come */

/*
 * A connection's end. Functions give 0, or why it is over: -ECONNRESET (the other side closed it), -ETIMEDOUT (it stalls),
 * -ESHUTDOWN (zd_link_drop()), another -errno of the socket, or what a callback gave.
 */
struct zd_link {
	int fd, event;
	uint32_t idle_ms, stall_ms;
	/* Called by the link's own thread while it waits for bytes. woken: somebody called zd_link_wake(). idle: nothing came for
	 * idle_ms; if nothing comes for stall_ms after that either, it is over. sent: all that was queued is out. */
	int (*woken)(void *arg);
	int (*idle)(void *arg);
	void (*sent)(void *arg);
	void *arg;
	_Atomic uint32_t dropped;
	uint8_t *in;            /* ZD_LINK_IN bytes, of which begin .. end are there */
	uint32_t begin, end;
	bool asked;             /* idle was called and nothing came since */
	uint32_t nr_heads, nr_parts;
	uint64_t queued;        /* bytes */
	struct iovec parts[ZD_LINK_PARTS];
	uint8_t heads[ZD_LINK_HEADS][ZD_LINK_HEAD] __attribute__((aligned(64)));
};

/* The fields above that callers set are set; fd is duplicated. -ENOMEM, -EMFILE. */
int zd_link_open(struct zd_link *link, int fd);
void zd_link_close(struct zd_link *link);

/* Wait until so many bytes, up to ZD_LINK_IN, are at zd_link_at(). What is queued is sent before anybody waits. */
int zd_link_need(struct zd_link *link, uint32_t length);
static inline const uint8_t *zd_link_at(const struct zd_link *link)
{
	return link->in + link->begin;
}
static inline uint32_t zd_link_has(const struct zd_link *link)
{
	return link->end - link->begin;
}
/* Of the bytes that are there. */
static inline void zd_link_pass(struct zd_link *link, uint32_t length)
{
	link->begin += length;
}
/* So many bytes to a place; to NULL: away. */
int zd_link_take(struct zd_link *link, uint8_t *to, uint64_t length);

/* A head of ZD_LINK_HEAD bytes, zeroed, to be filled and put; there is room for three parts then. NULL: *err says why. */
uint8_t *zd_link_head(struct zd_link *link, int *err);
/* Queue bytes, which must stay until `sent`. */
void zd_link_put(struct zd_link *link, const void *data, uint64_t length);
int zd_link_flush(struct zd_link *link);

/* From any thread. */
void zd_link_wake(struct zd_link *link);
void zd_link_drop(struct zd_link *link);

/* ---------------------------------------------------------------- crew.c */

/* Threads of a server; they take no signals from outside. */
struct zd_crew {
	pthread_mutex_t lock;
	pthread_cond_t ended;
	uint32_t count;
};

void zd_crew_init(struct zd_crew *crew);
/* Run a function in a thread of the crew. -EAGAIN, -ENOMEM. */
int zd_crew_start(struct zd_crew *crew, void *(*function)(void *arg), void *arg);
/* The last that a function of the crew does: behind it the crew may be gone. */
void zd_crew_leave(struct zd_crew *crew);
/* Until none is left. */
void zd_crew_end(struct zd_crew *crew);

/* One thread beside a connection's, started when it is first needed. */
struct zd_job {
	struct zd_job *next;
	void (*run)(struct zd_job *job);
};
struct zd_helper {
	pthread_mutex_t lock;
	pthread_cond_t given;
	pthread_t thread;
	struct zd_job *first, **last;
	bool started, ending;
};

void zd_helper_init(struct zd_helper *helper);
/* Jobs are done in their order. -EAGAIN: there is no thread to be had. */
int zd_helper_give(struct zd_helper *helper, struct zd_job *job);
/* Does what was given, and ends. */
void zd_helper_end(struct zd_helper *helper);

#endif
