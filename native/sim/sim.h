/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the simulation share. Nothing outside native/sim includes this.
 *
 * Files, from the bottom up: maths (random numbers, log, exp, pow), machine (zone words, driven by zd_cell()),
 * cleaner (the log-structured layer), hdd, zns, dm, real (what a command costs), jobs (which command comes next),
 * engine (events, the host's side, results), trace (parsing).
 *
 * One command's way: engine pump() asks jobs.c for it -> waits for its zone if another write is under way
 * there -> machine.c changes the zone -> the model says when it is done, by an event -> counted.
 */
#ifndef ZD_SIM_INTERNAL_H
#define ZD_SIM_INTERNAL_H

#include "zd_sim.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#define NONE UINT32_MAX
#define NEVER UINT64_MAX

/* ---------------------------------------------------------------- maths.c */

struct rng {
	uint64_t s[4];
};
void zd_rng_seed(struct rng *r, uint64_t seed, uint64_t stream);
uint64_t zd_mix64(uint64_t x);
static inline uint64_t rng_next(struct rng *r) /* xoshiro256**, Blackman and Vigna 2018, public domain */
{
	uint64_t *s = r->s, result = s[1] * 5, t = s[1] << 17;

	result = (result << 7 | result >> 57) * 9;
	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = s[3] << 45 | s[3] >> 19;
	return result;
}
static inline uint64_t rng_below(struct rng *r, uint64_t n)
{
	return (uint64_t)((unsigned __int128)rng_next(r) * n >> 64);
}
static inline double rng_unit(struct rng *r) /* [0, 1) */
{
	return (double)(rng_next(r) >> 11) * 0x1p-53;
}

/* Numbers 0..n-1 by a distribution. */
struct draw {
	uint32_t kind;
	double a, b;
	uint64_t n, hot;          /* HOTCOLD: how many are hot */
	double zetan, eta, alpha; /* ZIPF */
	uint64_t rotate;          /* ZIPF, PARETO: where the favourites lie */
	uint32_t nr;              /* ZONED: ranges, where each ends, and the share of accesses up to there */
	uint64_t end[ZD_SIM_MAX_SPLIT];
	double upto[ZD_SIM_MAX_SPLIT];
};
int zd_draw_init(struct draw *d, uint32_t kind, double a, double b, uint64_t n, struct rng *r);
/* ZONED. -ERANGE: a range without a block, or accesses or space that do not add up to 100. */
int zd_draw_init_ranges(struct draw *d, const struct zd_sim_range *ranges, uint32_t nr, uint64_t n);
uint64_t zd_draw(struct draw *d, struct rng *r);

/* A random order of 0..n-1 without memory (a Feistel network with cycle walking). */
struct permutation {
	uint64_t n, key, mask;
	uint32_t half;
};
void zd_permutation_init(struct permutation *p, uint64_t n, uint64_t key);
uint64_t zd_permute(const struct permutation *p, uint64_t i);

/* ---------------------------------------------------------------- machine.c */

/* A zone's word: bytes written from its start on (a multiple of 512), or'ed with its condition. */
#define W_COND 0xFull
#define W_FINISHED 0x10ull
#define W_LISTED 0x40ull /* only while all closed zones are opened */
#define W_WRITTEN (~511ull)

struct machine {
	uint64_t *word;
	uint32_t nr_zones, shift; /* shift: log2(zone_size), or 0 */
	uint64_t size, zone_size, capacity, last_length;
	uint32_t logical, physical;
	uint32_t max_open, max_active;
	uint64_t append_limit;
	uint8_t dialect, implicit_close, unrestricted_read;
	uint32_t nr_implicit, nr_explicit, nr_closed;
	uint32_t *next, *prev;    /* implicitly open zones, oldest first: zone + 1 */
	uint32_t head, tail, cursor;
	uint64_t opens, closes, finishes, resets, implicit_opens, implicit_closes;
	const struct zd_cell *cell[2][16][ZD_NR_CMDS]; /* type (0 conventional, 1 sequential), condition, command */
};
int zd_machine_init(struct machine *m, const struct zd_config *disk, struct zd_error *err);
void zd_machine_free(struct machine *m);
static inline uint32_t zone_of(const struct machine *m, uint64_t offset)
{
	return (uint32_t)(m->shift ? offset >> m->shift : offset / m->zone_size);
}
static inline uint64_t zone_start(const struct machine *m, uint32_t zone)
{
	return (uint64_t)zone * m->zone_size;
}
static inline uint64_t zone_length(const struct machine *m, uint32_t zone)
{
	return likely(zone + 1 < m->nr_zones) ? m->zone_size : m->last_length;
}
static inline int zone_cond(const struct machine *m, uint32_t zone)
{
	return (int)(m->word[zone] & W_COND);
}
static inline uint64_t zone_written(const struct machine *m, uint32_t zone)
{
	return m->word[zone] & W_WRITTEN;
}
static inline bool zone_conv(const struct machine *m, uint32_t zone);
static inline uint64_t zone_capacity(const struct machine *m, uint32_t zone)
{
	uint64_t length = zone_length(m, zone);

	return length < m->capacity || zone_conv(m, zone) ? length : m->capacity;
}
#define W_CONV 0x20ull
static inline bool zone_conv(const struct machine *m, uint32_t zone)
{
	return m->word[zone] & W_CONV;
}
int zd_machine_write_slow(struct machine *m, int cmd, uint32_t zone, uint64_t rel, uint64_t length, struct zd_error *err);
/* A write of at least a block within one zone; 0 or the rule broken. */
static inline int machine_write(struct machine *m, int cmd, uint32_t zone, uint64_t rel, uint64_t length,
				struct zd_error *err)
{
	uint64_t word = m->word[zone];

	/* IMPLICIT_OPEN and EXPLICIT_OPEN, in sequence, room left behind it: nothing but the pointer changes. */
	if (likely((word & ~1ull) == (rel | ZD_IMPLICIT_OPEN) && rel + length < m->capacity &&
		   zone + 1 < m->nr_zones && !(length & (m->physical - 1)) &&
		   (cmd == ZD_CMD_WRITE || !m->append_limit))) {
		m->word[zone] = word + length;
		return 0;
	}
	return zd_machine_write_slow(m, cmd, zone, rel, length, err);
}
int zd_machine_read(const struct machine *m, uint32_t zone, uint64_t rel, uint64_t length, struct zd_error *err);
int zd_machine_manage(struct machine *m, int cmd, uint32_t zone, struct zd_error *err);
int zd_sim_fail(struct zd_error *err, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* ---------------------------------------------------------------- the simulation */

struct command {
	uint64_t sent;     /* by the host */
	uint64_t arrived;  /* at the drive */
	uint64_t offset, length;
	uint32_t zone, job;
	uint32_t next;     /* in whatever list it waits in: index + 1 */
	uint8_t cmd;       /* enum zd_cmd */
	uint8_t dir;       /* enum zd_sim_dir; 3: counts nowhere (a reset that makes room, cleaning) */
	uint8_t flags;
	uint8_t first;     /* write: the zone was EMPTY before */
	uint64_t before;   /* reset, finish: bytes written before, or'ed with the condition */
};
#define C_HIDDEN 1u   /* takes no place of the job's depth */
#define C_SYNC 2u     /* the job waits for it before it goes on */
#define C_ORDERED 4u  /* write or zone command: one at a time in its zone */
#define C_BEHIND 8u   /* append: goes behind such a command that is under way, holds up nothing itself */
#define C_COUNTED 16u /* host_wp has it in already: it was sent to where the host knows the zone to end */

enum event_kind { EV_DONE = 0, EV_JOB = 1, EV_DRIVE = 2, EV_IDLE = 3 };
struct event {
	uint64_t time;
	uint64_t tag; /* sequence << 28 | kind << 24 | index */
};

/* One queue of things the log layer wants done on the drive, for LOG jobs. */
struct log_op {
	uint8_t cmd;
	uint32_t segment;
	uint32_t block, count;
};

struct job {
	struct zd_sim_job p;
	uint32_t index;
	struct rng rng;
	struct zd_sim_result r;
	uint64_t *histogram[3];
	uint32_t inflight, hidden;
	bool running, ended, blocked, resting, finishing;
	bool parked;               /* waits for a zone of the open list */
	uint64_t wake;             /* an EV_JOB is due then; NEVER: none */
	uint64_t cpu;              /* when the host can send the job's next command */
	uint64_t start;
	uint64_t issued_bytes, issued;
	uint64_t dir_bytes[3], dir_count[3];
	uint64_t last_pos[3];
	uint32_t in_sequence[3];
	uint64_t random_at, random_base; /* progress through the permutation */
	struct permutation order;
	struct draw draw;
	uint64_t blocks;           /* of bs_min in size: the space random offsets are drawn from */
	uint64_t align;
	uint32_t open_count;       /* of the host's list of zones being written */
	uint32_t reset_credit;
	bool pending;              /* the write that waits behind a reset */
	uint64_t pending_offset, pending_length;
	bool trim_next;            /* trimwrite */
	uint64_t trim_offset, trim_length;
	uint32_t since_rest;
	/* verify */
	bool verifying;
	uint64_t verify_at;
	uint32_t clear_at;         /* the first zone that may still have to be reset before the first write */
	uint32_t loops_left;
	uint64_t io_size;          /* as given: what no_more() changes in p */
	bool io_given;             /* it was: the job goes on until so much is done */
	uint8_t time_based;
	/* LOG, and TRACE through the log layer */
	struct zd_log *log;
	struct zd_sim *sim;        /* for tell() */
	bool untimed;              /* what the layer does happens at once: filling and warming up */
	struct log_op *ops;
	uint32_t op_first, op_used, op_room;
	uint32_t *segment_zone;    /* which zone a segment is */
	uint64_t segment_blocks, log_blocks, log_sent;
	uint64_t part_block, part_left; /* TRACE: the rest of a record */
	uint32_t part_dir;
	/* TRACE */
	struct zd_sim_record *records;
	uint64_t rec_first, rec_used, rec_room, trace_time;
	bool trace_last, starved;
	/* ZONES */
	uint32_t zone_next, zone_last, zones_done;
};

struct extent { /* dirty data in a hard disk's cache, contiguous */
	uint64_t offset, length;
	uint32_t zone, commands; /* how many it came in */
};

struct hdd {
	uint64_t turn;             /* ns of one revolution */
	uint32_t *track_bytes;     /* by zone */
	uint64_t *first_track;
	uint32_t skew;             /* of 2^32 */
	uint64_t cylinders;
	double seek_a, seek_b;
	/* the head */
	uint64_t free_at;
	uint64_t track;            /* where it stands */
	uint64_t cylinder;
	uint32_t zone;
	uint64_t head_offset;      /* one past what it passed last */
	bool busy;
	/* reads */
	uint32_t queue_first, queue_last, queued; /* commands waiting, index + 1 */
	uint64_t ahead_from, ahead_to, ahead_at;  /* stream being read: ahead_from..ahead_to was passed at ahead_at; */
	uint64_t ahead_limit;      /* and goes on to here; ahead_live: still does */
	bool ahead_live;
	/* writes */
	uint64_t interface_free;
	uint32_t wait_first, wait_last; /* writes waiting for the cache */
	uint64_t cached;
	uint32_t nr_extents, cached_commands;
	struct extent *extents;
	uint32_t *zone_extent;     /* by zone: the extent that may grow, index + 1 */
	uint32_t current;          /* extent being destaged, index + 1 */
	uint64_t piece;            /* bytes of it */
	uint32_t serving;          /* command the head works for, index + 1 */
};

struct zns {
	struct rng rng;
	uint64_t controller_free;
	double drained_at;         /* ns when all that is in the buffer will be on flash */
	double taken;              /* bytes that went into the buffer, ever */
	uint64_t *die_free;
	uint64_t shot;             /* bytes of the next program operation so far */
	uint32_t shot_die;
	double read_free;
};

struct dm_item { /* a write in the drive's volatile cache */
	uint64_t offset, length;
};
enum dm_op { DM_NOTHING = 0, DM_READ, DM_LOG, DM_DIRECT, DM_CLEAN };
struct dm {
	uint64_t log_at;           /* next byte of the media cache, which lies at the disk's start */
	uint64_t used;             /* bytes in it */
	uint32_t entries;
	uint32_t nr_bands;
	uint32_t *band_entries;    /* extents of the band in the media cache */
	uint32_t *band_kib;        /* KiB of them */
	uint32_t *fifo;            /* dirty bands, oldest first; some may be clean again */
	uint8_t *listed;           /* by band: it is in there */
	uint32_t fifo_first, fifo_used;
	struct dm_item *items;     /* a ring of hdd.cache_entries */
	uint32_t item_first, item_used;
	uint64_t item_bytes;
	uint64_t stream_next;      /* where the sequential stream that goes past the cache would go on */
	uint32_t op;               /* enum dm_op the head is at; */
	uint32_t op_items, op_band;/* how many items, or which band */
	uint32_t read_first, read_last, wait_first, wait_last;
	uint32_t serving;
	uint64_t interface_free;
};

struct zd_sim {
	struct machine m;
	struct zd_sim_model model;
	uint64_t seed;
	uint64_t now, commands, arrivals;
	uint64_t stop;             /* pause when so many commands were done */
	uint64_t barren;           /* events since a command was done last */
	uint32_t nr_parked;
	bool started, failed;
	struct event *heap;
	uint32_t heap_used, heap_room;
	uint64_t sequence;
	struct command *cmds;
	uint32_t nr_cmds, free_cmd; /* index + 1 */
	struct job **jobs;
	uint32_t nr_jobs, jobs_left;
	struct waiter {
		uint32_t wait_for, job;
	} *waiters;                /* jobs that wait for others; the first next_waiter of them wait no longer */
	uint32_t nr_waiters, next_waiter;
	uint32_t ended_before;     /* all jobs below this one have ended */
	uint32_t wants;            /* job that wants a trace, index + 1 */
	/* the host's view of the zones */
	uint64_t *host_wp;         /* bytes written or being sent, by zone */
	uint8_t *host_flags;       /* H_* */
	uint32_t *plug_first, *plug_last; /* commands that wait for their zone, index + 1 */
	struct open_zone {
		uint32_t zone, job;
	} *open_list;              /* zones being written, for max_open_zones */
	uint32_t open_used, open_room;
	uint64_t valid_bytes;
	/* results */
	uint64_t parts[16];
	uint64_t seeks[48], moved;
	struct zd_sim_sample *series;
	uint32_t *picture;
	struct zd_sim_bin *states;
	uint32_t series_used;
	uint64_t series_step, series_end;
	struct zd_sim_sample *sample; /* the current one */
	uint32_t *picture_row;
	uint32_t first_zone, zones_per_bin, bins;
	uint64_t dm_fast, dm_direct, dm_cleaned, dm_clean_bytes, dm_full_at, dm_full_entries, media_bytes;
	struct hdd hdd;
	struct zns zns;
	struct dm dm;
	/* REAL */
	zd_dev *dev;
	void *buf;
	uint64_t buf_length;
	uint64_t real_start;
};
#define H_BUSY 1u /* an ordered command is at the drive */
#define H_OPEN 2u /* in open_list */

/* engine.c */
void zd_event(struct zd_sim *sim, uint64_t time, enum event_kind kind, uint32_t index);
static inline void sim_done_at(struct zd_sim *sim, struct command *c, uint64_t time)
{
	zd_event(sim, time, EV_DONE, (uint32_t)(c - sim->cmds));
}
struct event zd_next_event(struct zd_sim *sim); /* the heap must not be empty */
void zd_drive_event(struct zd_sim *sim, const struct event *e); /* of kind DRIVE or IDLE, sim->now being its time */
uint32_t zd_command_new(struct zd_sim *sim); /* index, or NONE when there is no memory */
void zd_command_free(struct zd_sim *sim, uint32_t i);
void zd_end_job(struct zd_sim *sim, struct job *job, int code, const struct zd_error *why);
/* Another command may find room in the zones being written: who waits for that tries again. */
void zd_unpark(struct zd_sim *sim);

/* jobs.c */
enum next {
	NEXT_COMMAND, /* *c is filled in */
	NEXT_WAIT,    /* not before job->wake */
	NEXT_DRAIN,   /* not before one of the job's commands is done */
	NEXT_PARK,    /* not before the list of open zones changed, or one of the job's commands is done */
	NEXT_END, NEXT_TRACE, NEXT_STOPPED, NEXT_FAILED
};
int zd_job_init(struct zd_sim *sim, struct job *job, uint32_t index, struct zd_error *err);
void zd_job_free(struct job *job);
enum next zd_job_next(struct zd_sim *sim, struct job *job, struct command *c);
void zd_open_list_drop(struct zd_sim *sim, uint32_t zone);

/* hdd.c */
int zd_hdd_init(struct zd_sim *sim, struct zd_error *err);
void zd_hdd_free(struct zd_sim *sim);
void zd_hdd_submit(struct zd_sim *sim, struct command *c);
void zd_hdd_event(struct zd_sim *sim);
/* Move the head to `offset` and pass `length` bytes from time t on; returns when that is done. */
uint64_t zd_hdd_pass(struct zd_sim *sim, uint64_t t, uint64_t offset, uint64_t length, bool write);
/* dm.c */
int zd_dm_init(struct zd_sim *sim, struct zd_error *err);
void zd_dm_free(struct zd_sim *sim);
void zd_dm_submit(struct zd_sim *sim, struct command *c);
void zd_dm_event(struct zd_sim *sim);
void zd_dm_idle(struct zd_sim *sim);
/* zns.c */
int zd_zns_init(struct zd_sim *sim, struct zd_error *err);
void zd_zns_free(struct zd_sim *sim);
void zd_zns_submit(struct zd_sim *sim, struct command *c);
/* real.c */
uint64_t zd_real_now(const struct zd_sim *sim);
int zd_real_submit(struct zd_sim *sim, struct command *c, struct zd_error *err);

/* cleaner.c, for LOG jobs: what the layer does to the drive is told to `tell`. */
uint32_t zd_log_where(const zd_log *log, uint64_t block); /* segment * segment_blocks + slot */
int zd_log_create_told(const struct zd_log_config *config, zd_log **out, struct zd_error *err,
		       int (*tell)(void *, int cmd, uint32_t segment, uint32_t block, uint32_t count), void *arg);

#endif
