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
	uint64_t before; /* reset, finish: bytes written before, or'ed with the condition */
};
#define C_HIDDEN 1u   /* takes no place of the job's depth */
#define C_SYNC 2u     /* the job waits for it before it goes on */
#define C_ORDERED 4u  /* write or zone command: one at a time in its zone */
#define C_BEHIND 8u   /* append: goes behind such a command that is under way, holds up nothing itself */
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
	uint32_t wait_first, wait_last; /* writes waiting for the cache */
	uint64_t cached;
	uint32_t nr_extents, cached_commands;
	struct extent *extents;
	uint32_t *zone_extent; /* by zone: the extent that may grow, index + 1 */
	uint32_t current;      /* extent being destaged, index + 1 */
	uint64_t piece;        /* bytes of it */
	uint32_t serving;      /* command the head works for, index + 1 */
};

struct zns {
	struct rng rng;
	uint64_t controller_free;
	double drained_at; /* ns when all that is in the buffer will be on flash */
	double taken;      /* bytes that went into the buffer, ever */
	uint64_t *die_free;
	uint64_t shot; /* bytes of the next program operation so far */
	uint32_t shot_die;
	double read_free;
};

struct dm_item { /* a write in the drive's volatile cache */
	uint64_t offset, length;
};
enum dm_op { DM_NOTHING = 0, DM_READ, DM_LOG, DM_DIRECT, DM_CLEAN };
struct dm {
	uint64_t log_at; /* next byte of the media cache, which lies at the disk's start */
	uint64_t used;   /* bytes in it */
	uint32_t entries;
	uint32_t nr_bands;
	uint32_t *band_entries; /* extents of the band in the media cache */
	uint32_t *band_kib;     /* KiB of them */
	uint32_t *fifo;         /* dirty bands, oldest first; some may be clean again */
	uint8_t *listed;        /* by band: it is in there */
	uint32_t fifo_first, fifo_used;
	struct dm_item *items; /* a ring of hdd.cache_entries */
	uint32_t item_first, item_used;
	uint64_t item_bytes;
	uint64_t stream_next;       /* where the sequential stream that goes past the cache would go on */
	uint32_t op;                /* enum dm_op the head is at; */
	uint32_t op_items, op_band; /* how many items, or which band */
	uint32_t read_first, read_last, wait_first, wait_last;
	uint32_t serving;
	uint64_t interface_free;
};

struct zd_drive {
	struct machine m;
	const struct drive_ops *ops; /* NULL: a real disk */
	struct zd_sim_model model;
	uint64_t seed;
	uint64_t now;      /* ns */
	uint64_t arrivals; /* commands submitted, ever */
	bool failed;       /* no memory: what is under way is lost */
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

/* hdd.c, for dm.c: move the head to `offset` and pass `length` bytes from time t on; returns when that is done. */
uint64_t zd_hdd_pass(struct zd_drive *drive, uint64_t t, uint64_t offset, uint64_t length, bool write);
int zd_hdd_init(struct zd_drive *drive, struct zd_error *err);
void zd_hdd_release(struct zd_drive *drive);

#endif
