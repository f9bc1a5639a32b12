/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop: what servers of a connection-per-thread kind have in common, whatever they speak.
 *
 *     buffers.c  memory for data: bounded per connection and per server, kept for the next command
 *     link.c     a socket: bytes in, bytes out, stalls, a wake-up from other threads
 *     crew.c     threads of a server, and a helper that a connection gives what takes long
 *     work.c     commands under way: in a connection's own thread, by its helper, or held up and ended elsewhere
 *     server.c   a server and who is connected: their list, their threads, what is said of them, the end
 *
 * It may call base. It knows no protocol, and of a disk only that its calls end where nobody waits for their answers.
 */
#ifndef ZD_SERVE_LOOP_H
#define ZD_SERVE_LOOP_H

#include "zoned/zoned.h"

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
#define ZD_LINK_HEAD 144
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
	 * idle_ms; if it gives 1, it has asked the other side, and if nothing comes for stall_ms after that either, it is over.
	 * sent: all that was queued is out. stuck: it will wait for room to send what is queued, so memory that is not to be
	 * kept that long is left by zd_link_move(). */
	int (*woken)(void *arg);
	int (*idle)(void *arg);
	void (*sent)(void *arg);
	void (*stuck)(void *arg);
	void *arg;
	_Atomic uint32_t dropped;
	uint8_t *in; /* ZD_LINK_IN bytes, of which begin .. end are there */
	uint32_t begin, end;
	bool asked;        /* by idle, and nothing came since */
	uint32_t looks;    /* how often it looks for bytes again before it sleeps */
	uint32_t unpolled; /* pieces received since it last saw whether somebody called */
	uint32_t nr_heads, nr_parts;
	uint32_t nr_sent; /* of the parts */
	uint64_t queued;  /* bytes */
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
/*
 * A segment of `length` bytes and `pad` more, and (if `digest`) the CRC32C of both, least significant byte first: the first `keep`
 * bytes to a place, the others away. *bad: the digest is wrong.
 */
int zd_link_segment(struct zd_link *link, uint8_t *to, uint64_t keep, uint32_t length, uint32_t pad, bool digest, bool *bad);

/* A head of ZD_LINK_HEAD bytes, zeroed, to be filled and put; there is room for three parts then. NULL: *err says why. */
uint8_t *zd_link_head(struct zd_link *link, int *err);
/* Queue bytes, which must stay until `sent`. */
void zd_link_put(struct zd_link *link, const void *data, uint64_t length);
int zd_link_flush(struct zd_link *link);
/* Copy what is queued of these bytes and not sent to other memory, as far from its beginning, and send it from there. */
void zd_link_move(struct zd_link *link, const void *from, uint64_t length, void *to);

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

/* ---------------------------------------------------------------- work.c */

/* A command that a thread has under way. The first member, or another, of the protocol's own. */
struct zd_work {
	struct zd_job job;
	struct zd_desk *desk;
	struct zd_work *next;    /* ended elsewhere */
	_Atomic uint8_t aborted; /* of a connection: no answer is sent; what only waits at the helper is not begun */
};

struct zd_desk_ops {
	/* Give it to whoever executes it, who calls zd_work_ended(): in the desk's own thread, or in the helper's. Behind it the
	 * command may be another one. */
	void (*carry_out)(struct zd_work *work);
	void (*by_helper)(struct zd_work *work);
	void (*wake)(struct zd_desk *desk); /* have its thread call zd_desk_take(); from any thread */
};

/* Of one thread: where its commands come from, and come back to. */
struct zd_desk {
	const struct zd_desk_ops *ops;
	struct zd_helper helper;
	pthread_mutex_t lock; /* of `ended`, and of who wakes the thread for it */
	struct zd_work *ended;
};

void zd_desk_init(struct zd_desk *desk, const struct zd_desk_ops *ops);
/* Once zd_helper_end() has ended its helper, and nothing is under way. */
void zd_desk_close(struct zd_desk *desk);
/* Carry it out; slow: by the helper, as nothing that follows needs it to be done first. Whether it has ended here. */
bool zd_work_begin(struct zd_work *work, struct zd_desk *desk, bool slow);
/* From any thread, as the last that it does with what has ended. */
void zd_work_ended(struct zd_work *work);
/* All that ended in other threads, linked by `next`. */
struct zd_work *zd_desk_take(struct zd_desk *desk);

/* ---------------------------------------------------------------- server.c */

#define ZD_SERVER_TEXT 256 /* room for a sentence */
#define ZD_SERVER_SAID 16
#define ZD_PEER_NAME 224

/* Why a connection is over, beside what zd_link gives: */
#define ZD_PEER_DISTURBED (-EBADMSG) /* with the sentence in `disturbed` */
#define ZD_PEER_LEAVING (-ENOLINK)   /* the other side took its leave: nothing is wrong */

/* A connection: the first member of the protocol's own. */
struct zd_peer {
	struct zd_link link;
	struct zd_server *server;
	struct zd_peer *next;                 /* under the server's lock */
	bool over;                            /* the same: `end` is behind it, and all that is left is its farewell */
	uint64_t id;                          /* never 0, and never another one's */
	int64_t since;                        /* CLOCK_REALTIME, ns */
	char name[ZD_PEER_NAME], address[64]; /* of the other side, for people */
	const char *disturbed;
	struct zd_buffers buffers;
	struct zd_desk desk;
	_Atomic uint64_t nr_commands, bytes_in, bytes_out, errors;
	_Atomic uint32_t under_way;
};

/* What a protocol does with its commands. */
struct zd_commands {
	void (*carry_out)(struct zd_peer *peer, struct zd_work *work); /* as of struct zd_desk_ops */
	void (*abandon)(struct zd_work *work);                         /* it ends without having been begun */
	int (*answer)(struct zd_peer *peer, struct zd_work *work);     /* it has ended: what the link gave */
	void (*release)(struct zd_peer *peer, struct zd_work *work);   /* nobody is told */
};

/* What a protocol does with its connections. */
struct zd_serving {
	const char *what, *thread;          /* "iSCSI", in sentences; the name of its threads */
	uint64_t room, keep;                /* bytes of data of one connection, and of these between commands */
	int (*serve)(struct zd_peer *peer); /* until it is over: why */
	void (*end)(struct zd_peer *peer);  /* give back what it has of the disk; zd_peer_here is it no longer */
	/* Behind that, of one that took its leave: queue the answer. Who has it finds nothing of the connection any more. */
	void (*farewell)(struct zd_peer *peer);
	const struct zd_commands *commands;
};

struct zd_server {
	const struct zd_serving *serving;
	struct zd_pool pool;
	struct zd_crew crew;
	uint32_t most;        /* connections */
	int event;            /* readable when there is a sentence, and when a connection has ended */
	pthread_mutex_t lock; /* of what follows */
	struct zd_peer *peers;
	uint32_t count;
	uint64_t next_id;
	bool stopping;
	char said[ZD_SERVER_SAID][ZD_SERVER_TEXT];
	uint32_t said_first, said_count, left_out, this_second;
	uint64_t second;
};

/* Under the lock: the one behind this one, or behind NULL the first, which is not over. */
static inline struct zd_peer *zd_peer_next(const struct zd_server *server, const struct zd_peer *peer)
{
	struct zd_peer *next = peer ? peer->next : server->peers;

	while (next && next->over)
		next = next->next;
	return next;
}

/* The connection for which this thread carries out commands. */
extern _Thread_local struct zd_peer *zd_peer_here;

static inline void zd_count(_Atomic uint64_t *counter, uint64_t more)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + more, memory_order_relaxed);
}

/* room: bytes of data of all connections. -EMFILE and the like. */
int zd_server_open(struct zd_server *server, const struct zd_serving *serving, uint64_t room, uint32_t most);
/* Take no connection any more. */
void zd_server_stop(struct zd_server *server);
/* That, and drop all, and wait for their threads. */
void zd_server_end(struct zd_server *server);
/* Once it has ended. */
void zd_server_close(struct zd_server *server);
/* In a forked child: close the descriptors. */
void zd_server_forget(struct zd_server *server);
void zd_server_signal(struct zd_server *server);
/* Take the oldest sentence; -ENOENT: there is none. The last one tells how many were left out. */
int zd_server_said(struct zd_server *server, char text[ZD_SERVER_TEXT]);

/*
 * A connection of `size` bytes, zeroed, with a link on a duplicate of fd, of which idle_ms, stall_ms and the functions are the
 * caller's to be set. -ENOMEM, -EMFILE.
 */
int zd_peer_new(struct zd_server *server, int fd, size_t size, const char *name, const char *address, struct zd_peer **out,
		struct zd_error *err);
/* Of one that zd_server_take() never got. */
void zd_peer_free(struct zd_peer *peer);
/*
 * Serve it in a thread of its own (wait: in this one, to its end), and free it then. Where that fails, it is given back by
 * `end` and freed: -EUSERS (there are too many), -ESHUTDOWN (the server is stopping), -EAGAIN.
 */
int zd_server_take(struct zd_server *server, struct zd_peer *peer, bool wait, uint64_t *id, struct zd_error *err);
/* -ENOENT: it is gone. */
int zd_server_drop(struct zd_server *server, uint64_t id);
void zd_server_drop_all(struct zd_server *server);
/* One sentence about a connection. At most ZD_SERVER_SAID are kept, and 8 a second are made. */
void zd_peer_say(struct zd_peer *peer, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Why it is over, unless that is nothing to be told: what functions of the link gave. */
void zd_peer_say_why(struct zd_peer *peer, int why);
/* Carry a command out, and answer it once it has ended: what the link gave. */
int zd_peer_run(struct zd_peer *peer, struct zd_work *work, bool slow);
/* Answer those that ended in other threads. */
int zd_peer_collect(struct zd_peer *peer);

/* A disk that is served, and the interrupt hook that it had before. */
struct zd_served {
	zd_dev *dev; /* NULL: none */
	int (*before)(void *arg);
	void *before_arg;
};

/* From here on what takes long in the thread of a connection ends as soon as that is dropped. It stays where it is. */
void zd_served_begin(struct zd_served *served, zd_dev *dev);
void zd_served_end(struct zd_served *served);

#endif
