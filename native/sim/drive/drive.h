/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A modelled drive: what a command costs in virtual time. It has the zones, the queue of events and the commands that
 * are under way; it knows nothing of jobs, of a host or of results. A model is a table of operations (struct
 * drive_ops); each has a file of its own.
 *
 * A command: drive_submit() gives it to the model, which says when it is done by drive_done_at(), at once or later,
 * from an event of its own. Whoever runs the queue hands EV_DRIVE and EV_IDLE to drive_event().
 */
#ifndef ZD_SIM_DRIVE_H
#define ZD_SIM_DRIVE_H

#include "../machine.h"
#include "../maths.h"

struct command {
	uint64_t sent;    /* by the host */
	uint64_t arrived; /* at the drive */
	uint64_t offset, length;
	uint32_t zone, job;
	uint32_t next; /* in whatever list it waits in: index + 1 */
	uint8_t cmd;   /* enum zd_cmd */
	uint8_t dir;   /* enum zd_sim_dir; 3: counts nowhere (a reset that makes room, cleaning) */
	uint8_t flags;
	uint8_t first;   /* write: the zone was EMPTY before */
	uint32_t merged; /* the first of those that go with it to the drive, as one with it: index + 1 */
	uint32_t moved;  /* C_AREA: bytes that it commits; finish: that lie in the area */
	uint64_t before; /* reset, finish: bytes written before, or'ed with the condition */
};
#define C_HIDDEN 1u   /* takes no place of the job's depth */
#define C_SYNC 2u     /* the job waits for it before it goes on */
#define C_ORDERED 4u  /* write or zone command: one at a time in its zone */
#define C_BEHIND 8u   /* append: goes behind such a command that is under way, holds up nothing itself */
#define C_DURABLE 32u /* a write that is done once the drive's cache is empty */
#define C_APART 64u   /* no zone and no time of the drive's media: a flush, or the engine null */
#define C_AREA 128u   /* in a zone with a random write area */
#define C_COUNTED 16u /* host_wp has it in already: it was sent to where the host knows the zone to end */

enum event_kind { EV_DONE = 0, EV_JOB = 1 /* the engine's own */, EV_DRIVE = 2, EV_IDLE = 3 };
struct event {
	uint64_t time;
	uint64_t tag; /* sequence << 28 | kind << 24 | index */
};

struct zd_drive;
struct drive_ops {
	int (*init)(struct zd_drive *drive, struct zd_error *err);
	void (*release)(struct zd_drive *drive); /* after an init that failed, too */
	void (*submit)(struct zd_drive *drive, struct command *c);
	void (*event)(struct zd_drive *drive);       /* EV_DRIVE; NULL: it makes none */
	void (*idle)(struct zd_drive *drive);        /* EV_IDLE, and no command came since; NULL: it makes none */
	bool (*dirty)(const struct zd_drive *drive); /* data is in its volatile cache; NULL: never */
};
extern const struct drive_ops zd_drive_null, zd_drive_hdd, zd_drive_zns, zd_drive_dm;

struct extent { /* dirty data in a hard disk's cache, contiguous */
	uint64_t offset, length;
	uint32_t zone, commands; /* how many it came in */
};

struct hdd {
	uint64_t turn;         /* ns of one revolution */
	uint32_t *track_bytes; /* by zone */
	uint64_t *first_track;
	uint32_t skew; /* of 2^32 */
	uint64_t cylinders;
	double seek_a, seek_b;
	/* the head */
	uint64_t free_at;
	uint64_t track; /* where it stands */
	uint64_t cylinder;
	uint32_t zone;
	uint64_t head_offset; /* one past what it passed last */
	bool busy;
	/* reads */
	uint32_t queue_first, queue_last, queued; /* commands waiting, index + 1 */
	uint64_t ahead_from, ahead_to, ahead_at;  /* stream being read: ahead_from..ahead_to was passed at ahead_at; */
	uint64_t ahead_limit;                     /* and goes on to here; ahead_live: still does */
	bool ahead_live;
	/* writes */
	uint64_t interface_free;
	uint32_t wait_first, wait_last; /* writes waiting for the cache; */
	uint64_t part;                  /* of the first, longer than that: bytes that are in it, or were */
	uint64_t cached;
	uint32_t nr_extents, cached_commands;
	struct extent *extents;
	uint32_t *zone_extent; /* by zone: the extent that may grow, index + 1 */
	uint32_t current;      /* extent being destaged, index + 1 */
	uint64_t piece;        /* bytes of it */
	uint32_t serving;      /* command the head works for, index + 1 */
};

struct zns_die {
	uint64_t read_free; /* when its reads are done */
	uint64_t seen;      /* how far the program under way has come, was counted at, */
	uint64_t left;      /* and ns that it needed then */
	uint64_t locked;    /* no read stops it any more: it ends then. 0: reads do */
	uint64_t page;      /* what is in its register: number + 1 */
	uint32_t reads;     /* that went before the end of this program */
	uint32_t waiting;   /* programs whose data is in the buffer */
	uint32_t pads;      /* FINISH that the program is of: slot + 1. 0: data of the host */
	bool programs, pads_next;
};
struct zns_finish {
	uint64_t unstarted, undone; /* programs; undone 0: the slot is free */
	uint32_t command;
};
struct zns_reset {
	uint64_t begin, ns; /* of the erase; ns 0: the slot is free */
	uint32_t command;
	bool put_off;
};

struct zns {
	struct rng rng;
	uint64_t controller_free;
	struct zns_die *dies;
	double read_free;    /* the flash's channels, */
	double link_free;    /* and what sends data read ahead */
	uint64_t shot_ns;    /* a program */
	uint64_t pad_ns;     /* the same of padding, which comes over no link */
	uint64_t held;       /* bytes in the buffer, */
	uint64_t partial;    /* and those of them that do not fill a program yet */
	uint64_t made, done; /* programs of the host's data, ever */
	uint32_t shot_die;
	uint32_t wait_first, wait_last; /* writes that wait for the buffer; */
	uint64_t wait_left;             /* bytes of the first */
	uint32_t flushes;
	uint64_t stream_next; /* sequential reads: the next one's offset, */
	uint32_t stream_run;  /* and how many there were */
	uint32_t append_zone; /* of the last append */
	struct zns_finish *finishes;
	struct zns_reset *resets;
	uint32_t nr_finishes, nr_resets; /* slots; */
	uint32_t finishing, resetting;   /* and how many are in use */
	uint32_t finish_turn;
};

struct dm_item { /* a write in the drive's volatile cache */
	uint64_t offset, length;
};
enum dm_op { DM_NOTHING = 0, DM_READ, DM_LOG, DM_DIRECT, DM_CLEAN };
struct dm_extent { /* of a band's data in the media cache: bytes from the band's start */
	uint64_t from, to;
};
struct dm_band {
	struct dm_extent *extents; /* in order, none over another */
	uint32_t used, room;
	bool listed; /* in the fifo */
};
struct dm {
	uint64_t log_at; /* next byte of the media cache, which lies at the disk's start */
	uint64_t used;   /* bytes in it that count: what was written over is garbage there */
	uint32_t entries;
	uint32_t nr_bands;
	struct dm_band *bands;
	uint32_t *fifo; /* dirty bands, oldest first; some may be clean again */
	uint32_t fifo_first, fifo_used;
	struct dm_item *items, *aside; /* a ring of hdd.cache_entries; as much again to sort them */
	uint32_t item_first, item_used;
	uint64_t item_bytes;
	struct dm_stream {           /* sequential streams that go past the cache */
		uint64_t next, last; /* where it goes on; when it was served last */
	} *streams;
	uint64_t turn;
	uint32_t op;                /* enum dm_op the head is at; */
	uint32_t op_items, op_band; /* how many items, or which band */
	uint32_t wait_first, wait_last;
	bool read_last; /* the head's last work was a read */
	uint32_t serving;
	uint64_t interface_free;
};

struct zd_drive {
	struct machine m;
	const struct drive_ops *ops; /* NULL: a real disk */
	struct zd_sim_model model;
	uint64_t seed;
	uint64_t now;         /* ns */
	uint64_t arrivals;    /* commands submitted, ever */
	uint32_t event_index; /* of the EV_DRIVE that is handled */
	bool failed;          /* no memory: what is under way is lost */
	/* queue.c */
	struct event *heap;
	uint32_t heap_used, heap_room;
	uint64_t sequence;
	struct command *cmds;
	uint32_t nr_cmds, free_cmd; /* index + 1 */
	/* where the time went */
	uint64_t parts[16];
	uint64_t seeks[48], moved;
	uint64_t dm_fast, dm_direct, dm_cleaned, dm_clean_bytes, dm_full_at, dm_full_entries, media_bytes;
	/* the models' own */
	struct hdd hdd;
	struct zns zns;
	struct dm dm;
};

/* drive.c. A drive of zeros may be freed. REAL: zones and a queue, but no model. */
int zd_drive_init(struct zd_drive *drive, const struct zd_config *disk, const struct zd_sim_model *model, uint64_t seed,
		  struct zd_error *err);
/* As zd_drive_init(), of what tells times and so has to have the model of a drive. what: "clock", in the error. */
int zd_drive_init_timed(struct zd_drive *drive, const char *what, const struct zd_config *disk,
			const struct zd_sim_model *model, uint64_t seed, struct zd_error *err);
void zd_drive_free(struct zd_drive *drive);
void zd_drive_event(struct zd_drive *drive, const struct event *e); /* DRIVE or IDLE, drive->now being its time */
static inline void drive_submit(struct zd_drive *drive, struct command *c)
{
	drive->ops->submit(drive, c);
}
static inline bool drive_dirty(const struct zd_drive *drive)
{
	return drive->ops->dirty && drive->ops->dirty(drive);
}

/* queue.c: events, by time and then in the order in which they were made. */
void zd_event(struct zd_drive *drive, uint64_t time, enum event_kind kind, uint32_t index);
struct event zd_next_event(struct zd_drive *drive); /* the heap must not be empty */
uint32_t zd_command_new(struct zd_drive *drive);    /* index, or NONE when there is no memory */
static inline void command_free(struct zd_drive *drive, uint32_t i)
{
	drive->cmds[i].next = drive->free_cmd;
	drive->free_cmd = i + 1;
}
static inline void drive_done_at(struct zd_drive *drive, struct command *c, uint64_t time)
{
	zd_event(drive, time, EV_DONE, (uint32_t)(c - drive->cmds));
}
static inline uint32_t event_kind(const struct event *e)
{
	return (uint32_t)(e->tag >> 24 & 15);
}
static inline uint32_t event_index(const struct event *e)
{
	return (uint32_t)(e->tag & 0xFFFFFF);
}

/* mechanics.c: move the head to `offset` and pass `length` bytes from time t on; returns when that is done. */
uint64_t zd_hdd_pass(struct zd_drive *drive, uint64_t t, uint64_t offset, uint64_t length, bool write);
/* When the head will stand over `offset`, as the drive expects it when it puts its queue in order at t. */
uint64_t zd_hdd_expected(const struct zd_drive *drive, uint64_t t, uint64_t offset, bool write);
int zd_hdd_init(struct zd_drive *drive, struct zd_error *err);
void zd_hdd_release(struct zd_drive *drive);
/* hdd.c, for dm.c. Reads: put into the queue, the one to serve next (index + 1) and when the head is there, out of the queue again. */
void zd_hdd_push(struct zd_drive *drive, uint32_t *first, uint32_t *last, struct command *c);
uint32_t zd_hdd_choose_read(struct zd_drive *drive, uint64_t t, uint64_t *best_at, uint32_t *best_before);
struct command *zd_hdd_take(struct zd_drive *drive, uint32_t read, uint32_t before);
/* Reading ahead: after a read; until the head goes elsewhere; when a read's data is there, or NEVER. */
void zd_hdd_ahead_begin(struct zd_drive *drive, const struct command *c);
void zd_hdd_ahead_break(struct zd_drive *drive, uint64_t t);
uint64_t zd_hdd_ahead_hit(struct zd_drive *drive, const struct command *c);

#endif
