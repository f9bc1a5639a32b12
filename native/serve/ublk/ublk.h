/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ublk: a disk as a block device of this machine's kernel, whose driver hands each request to a server in user space.
 *
 *     kernel.h   numbers and layouts of the kernel's
 *     ring.c     io_uring by its three system calls
 *     control.c  what is asked of /dev/ublk-control, and what it means when the kernel says no
 *     record.c   the state file: which device it is, and what was under way in a server that was killed
 *     request.c  a request of the kernel's as a command, and its result
 *     queue.c    a queue's thread: requests in, results out
 *     device.c   a device's beginning, second life and end
 *
 * It may call serve/loop, the public headers, base. A request's data goes by pread() and pwrite() on /dev/ublkcN straight to
 * the disk's mapping and from there (struct zd_mover). Only a queue's own thread speaks to its ring; what ends elsewhere is put
 * onto the queue's list and wakes it.
 */
#ifndef ZD_SERVE_UBLK_H
#define ZD_SERVE_UBLK_H

#include "zoned/ublk.h"

#include "serve/loop/loop.h"
#include "serve/ublk/kernel.h"

#define SECTOR 512u

/* ---------------------------------------------------------------- ring.c */

struct zd_ring {
	int fd;
	uint32_t *sq_head, *sq_tail, sq_mask, sq_entries, *cq_head, *cq_tail, cq_mask;
	uint32_t begun; /* entries that were filled and not submitted yet */
	size_t sqe_size, rings_size, sqes_size;
	uint8_t *rings, *sqes;
	struct uring_cqe *cqes;
};

/* entries: a power of two. big: entries of 128 bytes; else it is of the thread that opens it. */
int zd_ring_open(struct zd_ring *ring, uint32_t entries, bool big);
void zd_ring_close(struct zd_ring *ring);
struct uring_sqe *zd_ring_next(struct zd_ring *ring); /* zeroed; NULL: all are filled, submit first */
/* Submit what was filled, and wait for so many completions. How many entries the kernel took, or -errno (not -EINTR). */
int zd_ring_submit(struct zd_ring *ring, uint32_t wait);
const struct uring_cqe *zd_ring_peek(struct zd_ring *ring); /* NULL: none has come */
void zd_ring_seen(struct zd_ring *ring);

/* ---------------------------------------------------------------- control.c */

struct zd_ublk_control {
	int fd;
	struct zd_ring ring;
};

/* Fails with the sentence that says what the kernel lacks, and the way out. */
int zd_ublk_control_open(struct zd_ublk_control *control, struct zd_error *err);
void zd_ublk_control_close(struct zd_ublk_control *control);
/* One command; -errno as the driver gives it. Waits for its end. */
int zd_ublk_control(struct zd_ublk_control *control, uint32_t op, uint32_t id, const void *buffer, uint16_t length,
		    uint64_t data);
/* What UBLK_ADD_DEV or another one that failed means. Returns r. */
int zd_ublk_refused(int r, const char *what, struct zd_error *err);

/* ---------------------------------------------------------------- record.c */

enum record_state {
	RECORD_FREE = 0,
	RECORD_BEGUN, /* the disk has it, or will have it */
	RECORD_DONE,  /* it has taken effect, and the kernel has not been told */
	RECORD_SENT,  /* the kernel is being told, or was */
	/* Of a server that died; what was begun and had no effect is forgotten. */
	RECORD_LEFT_EFFECT, /* begun, and found to have taken effect */
	RECORD_LEFT_ZONE,   /* a zone command that was begun */
	RECORD_LEFT_DONE,
	RECORD_LEFT_SENT
};

/* A command that must not take effect twice. In the state file, so that it outlives the server. */
struct record {
	_Atomic uint32_t state; /* enum record_state; written behind the other fields */
	uint16_t queue, tag;
	uint32_t op, nr; /* as in struct ublk_io_desc */
	uint64_t sector;
	_Atomic uint64_t landed; /* an append: where its data lies, bytes; ZD_NONE: no byte of it was stored yet */
	uint64_t number;         /* no other record's */
	uint64_t reserved[3];
};
_Static_assert(sizeof(struct record) == 64, "a cache line each");

struct records {
	uint8_t *map;
	size_t size;
	struct zd_ublk_state *state;
	struct record *now, *left; /* by queue and tag; what dead servers left */
	uint32_t nr_now, nr_left;
	uint32_t end_left;        /* those of `left` from here on are FREE */
	uint32_t looks;           /* claims since it was taken over */
	_Atomic uint32_t waiting; /* of `left`, not FREE */
	_Atomic uint64_t number;
	pthread_mutex_t lock; /* of `left`, and of who claims */
};

/* Make the file what a device of so many queues needs, or take it as a dead server left it (`again`). */
int zd_ublk_records_open(struct records *records, int fd, uint32_t queues, uint32_t depth, bool again, struct zd_error *err);
void zd_ublk_records_close(struct records *records);
/* Before any command is served: what was under way becomes what was left, with what the disk tells of it. */
int zd_ublk_records_take_over(struct records *records, zd_dev *dev, struct zd_error *err);

/* Whether bytes from .. to-1 of a sequential zone were written: by its pointer, but in a random write area by the bytes. */
enum written { UNWRITTEN, WRITTEN, PERHAPS_WRITTEN };
enum written zd_ublk_written(zd_dev *dev, const struct zd_info *info, uint64_t from, uint64_t to);

struct slot;
/* Whether what a slot's request brings is what the disk holds where a record says. */
typedef bool zd_ublk_fits(struct slot *s, const struct record *r);
/*
 * What is left of a command that is issued again: of those with the same op, place and length. Nobody else gets it, and the
 * slot's record takes its place in the file. False: the request is a new one.
 */
bool zd_ublk_records_claim(struct records *records, struct slot *s, zd_ublk_fits *fits, struct record *out);
/* Data from .. to-1 of the disk is gone, and so is what is left of commands that brought it. */
void zd_ublk_records_drop(struct records *records, uint64_t from, uint64_t to);
void zd_ublk_record_set(struct record *r, uint32_t state); /* behind all that was written into it */
int zd_ublk_boot_id(uint8_t id[16]);

/* ---------------------------------------------------------------- request.c */

struct queue;

/* A tag of a queue, and the request that it has. */
struct slot {
	struct zd_mover mover;
	struct zd_request q;
	struct zd_error err;
	struct zd_work work;
	struct queue *queue;
	struct record *record;
	struct record left; /* FREE: the request was not under way when a server died */
	uint64_t sector, lba;
	uint32_t nr, op;
	int32_t result;
	uint16_t tag;
	bool zeroes;  /* a write whose data is zeros */
	bool running; /* no result was sent */
};

struct queue {
	zd_ublk *ublk;
	uint16_t id;
	uint32_t nr_live; /* tags that the kernel may still give requests by */
	struct zd_ring ring;
	int event;
	uint64_t event_count;
	const struct ublk_io_desc *descs;
	size_t descs_size;
	struct slot *slots;
	uint16_t *sending; /* tags whose results lie in the ring */
	uint32_t nr_sending;
	uint8_t *report; /* room for any report of zones, of max_io bytes */
	struct zd_zone *zones;
	struct zd_desk desk;

	_Atomic uint64_t commands, errors, bytes_in, bytes_out, repeated;
};

/* Carry out what desc asks for. True: s->result is there; false: the queue will be woken. */
bool zd_ublk_begin(struct slot *s, const struct ublk_io_desc *desc);
struct slot *zd_ublk_slot_of(struct zd_work *work);
int zd_ublk_queue_init(zd_ublk *ublk, struct queue *queue, uint16_t id);
void zd_ublk_queue_end(struct queue *queue);
void zd_ublk_queue_wake(struct queue *queue);

/* ---------------------------------------------------------------- queue.c */

void *zd_ublk_queue_run(void *queue); /* a thread */

/* ---------------------------------------------------------------- device.c */

enum { SERVING = 0, STOPPING, LEFT_BEHIND }; /* LEFT_BEHIND: as if the server had been killed */
#define REPORT_BATCH 256u                    /* zones */

struct zd_ublk {
	zd_dev *dev;
	struct zd_info info;
	struct zd_range conv[ZD_MAX_CONV_RANGES];
	uint32_t nr_conv;
	uint64_t size; /* of the block device, bytes: whole zones */
	uint32_t id, nr_zones, nr_queues, depth, max_io;
	uint64_t mark; /* as struct zd_ublk_state has it */
	int fd, event;
	struct zd_ublk_control control;
	bool added;
	struct queue *queues;
	uint32_t nr_inited;
	struct zd_crew crew;
	struct records records;
	_Atomic uint32_t stopping, nr_running; /* threads of queues */
	int (*before)(void *arg);              /* the interrupt hook of the handle */
	void *before_arg;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	uint32_t nr_ready; /* queues whose tags were all given to the kernel */
	int failed;        /* why a queue could not; 0: none */
};

/* Geometry, limits and names, once the disk is known: what a kernel would refuse is refused here, by name. */
int zd_ublk_look(zd_ublk *ublk, zd_dev *dev, bool whole_zones, struct zd_error *err);
bool zd_ublk_is_conventional(const zd_ublk *ublk, uint32_t zone);
/* In the threads of this server: which one the interrupt hook is asked for. */
extern _Thread_local const zd_ublk *zd_ublk_here;
void zd_ublk_set_event(zd_ublk *ublk);

#endif
