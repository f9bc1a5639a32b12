/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the host's side of the simulation shares: jobs, what the host knows of the zones, results. Nothing outside
 * native/sim includes this, and nothing in drive/ does.
 *
 * From the bottom up: maths, machine (zone words, by the rules), drive/ (what a command costs), work/ (which command a
 * job gives next), results (counting), stages (when jobs begin and end), burst (many commands alike in one go), engine
 * (events, the host's side), sim (making and asking one). By themselves: layer (the log-structured layer), parse (block
 * traces), clock (a drive's time for a disk in use).
 *
 * One command's way: the engine's pump() asks the work for it -> it waits for its zone if another write is under way
 * there -> machine.c changes the zone -> the drive says when it is done, by an event -> counted.
 */
#ifndef ZD_SIM_INTERNAL_H
#define ZD_SIM_INTERNAL_H

#include "drive/drive.h"

/* One queue of things the log layer wants done on the drive, for LOG jobs. */
struct log_op {
	uint8_t cmd;
	uint32_t segment;
	uint32_t block, count;
};

enum next {
	NEXT_COMMAND, /* *c is filled in */
	NEXT_WAIT,    /* not before job->wake */
	NEXT_DRAIN,   /* not before one of the job's commands is done */
	NEXT_PARK,    /* not before the list of open zones changed, or one of the job's commands is done */
	NEXT_END,
	NEXT_TRACE,
	NEXT_STOPPED,
	NEXT_FAILED
};
struct zd_sim;
struct job;
/* What a kind of job does next; one of these for each kind. */
typedef enum next next_fn(struct zd_sim *sim, struct job *job, struct command *c);

struct extent_written {
	uint64_t offset, length, order;
};

struct rated { /* rate_min: what is done of a direction, and what was when it was looked at last */
	uint64_t bytes, count, since, bytes_then, count_then;
};
struct steady; /* steady.c */

struct job {
	struct zd_sim_job p;
	next_fn *next; /* of its kind */
	uint32_t index;
	struct rng rng;
	struct zd_sim_result r;
	uint64_t *histogram[3];
	uint32_t inflight, hidden;
	bool running, ended, blocked, resting, finishing;
	bool parked;          /* waits for a zone of the open list */
	uint64_t wake;        /* an EV_JOB is due then; NEVER: none */
	uint64_t rests_until; /* what is counted of its rests in r.wait_rest */
	uint64_t cpu;         /* when the host can send the job's next command */
	uint64_t start;
	uint64_t issued_bytes, issued;
	uint64_t dir_bytes[3], dir_count[3];
	uint64_t last_pos[3];
	uint32_t in_sequence[3];
	uint64_t random_at, random_base; /* progress through the permutation */
	struct permutation order;
	struct draw draw;
	bool unusual;   /* options that no burst of commands alike is made with */
	bool watched;   /* somebody looks at each of its commands when it is done */
	bool last_sync; /* the command before was a flush */
	bool end_synced;
	uint64_t least_room; /* bytes that must be left of a zone that is to be written */
	uint64_t due_at[3];  /* poisson: ns from its start */
	uint64_t disk_end;
	uint64_t stride_at, stride_done; /* strided: where the range begins, and the bytes of it that are done */
	uint64_t batch_left;             /* verify_backlog: to be read back now */
	uint64_t flow_done;
	uint32_t flow_at;    /* in flows, from 1; 0: it has not joined */
	uint32_t named_left; /* jobs that it waits for by name and that have not ended */
	/* latency_target, as fio looks for the depth */
	uint32_t depth, depth_low, depth_high, depth_stable;
	uint32_t depth_next; /* once nothing is under way; 0: it stays */
	bool depth_last;     /* the last window: only this one counts */
	uint64_t window_at, window_done, window_late;
	struct steady *steady;
	bool steady_own; /* it is of this job, and of others of its group */
	struct rated rated[3];
	bool rates;   /* there is a least rate */
	bool batched; /* the host waits for several commands at once */
	bool filled;  /* its depth was reached: the host waits for batch_complete, and until depth_low */
	bool reaping; /* those that are done are being counted */
	uint32_t held_first, held_last, nr_held; /* done, and not counted yet: index + 1 */
	/* what is kept of its commands for zd_sim_commands() */
	struct zd_sim_done *done;
	uint64_t done_first, done_used, done_room;
	uint64_t blocks; /* of bs_min in size: the space random offsets are drawn from */
	uint64_t align;
	uint32_t open_count; /* of the host's list of zones being written */
	uint32_t reset_credit;
	bool pending; /* the write that waits behind a reset */
	uint64_t pending_offset, pending_length;
	bool trim_next; /* trimwrite */
	uint64_t trim_offset, trim_length;
	uint32_t since_rest;
	/* verify */
	bool verifying;
	uint64_t verify_at;
	bool keeps; /* where no write pointer and no size tells what was written, or it is read back in between: in */
	struct extent_written *kept;
	uint64_t nr_kept, kept_room, kept_at;
	uint32_t clear_at; /* the first zone that may still have to be reset before the first write */
	uint32_t loops_left;
	uint64_t io_size; /* as given: what no_more() changes in p */
	bool io_given;    /* it was: the job goes on until so much is done */
	uint8_t time_based;
	/* LOG, and TRACE through the log layer */
	struct zd_log *log;
	struct zd_sim *sim; /* for tell() */
	bool untimed;       /* what the layer does happens at once: filling and warming up */
	struct log_op *ops;
	uint32_t op_first, op_used, op_room;
	uint32_t *segment_zone; /* which zone a segment is */
	uint64_t segment_blocks, log_blocks, log_sent;
	uint64_t part_block, part_left; /* TRACE: the rest of a record */
	uint32_t part_dir;
	/* TRACE */
	struct zd_sim_record *records;
	uint64_t rec_first, rec_used, rec_room, trace_time;
	bool trace_last, starved;
	bool beyond;  /* the record that is being done lies beyond what the job has */
	bool partial; /* it is a trim, and of a part of it nothing was made */
	/* ZONES */
	uint32_t zone_next, zone_last, zones_done;
};

struct zd_sim {
	struct zd_drive d;
	uint64_t commands; /* done */
	uint64_t stop;     /* pause when so many commands were done */
	uint64_t barren;   /* events since a command was done last */
	uint32_t nr_parked;
	bool started;
	struct job **jobs;
	uint32_t nr_jobs, jobs_left;
	struct waiter {
		uint32_t wait_for, job;
	} *waiters; /* jobs that wait for others; the first next_waiter of them wait no longer */
	uint32_t nr_waiters, next_waiter;
	uint32_t *named; /* jobs that wait for others by name */
	uint32_t nr_named;
	bool exiting;     /* jobs are ended because another has: they end no more themselves */
	uint32_t flushes; /* that wait until the drive's cache is empty: index + 1 */
	struct flow {
		uint32_t id, weight;
		uint64_t done;
	} *flows;
	uint32_t nr_flows;
	uint32_t ended_before; /* all jobs below this one have ended */
	uint32_t wants;        /* job that wants a trace, index + 1 */
	/* the host's view of the zones */
	uint64_t *host_wp;                /* bytes written or being sent, by zone */
	uint8_t *host_flags;              /* H_* */
	uint32_t *plug_first, *plug_last; /* commands that wait for their zone, index + 1 */
	struct open_zone {
		uint32_t zone, job;
	} *open_list; /* zones being written, for max_open_zones */
	uint32_t open_used;
	uint64_t open_room;
	uint64_t valid_bytes;
	/* results */
	struct zd_sim_sample *series;
	uint32_t *picture;
	struct zd_sim_bin *states;
	uint32_t series_used;
	uint64_t series_step, series_end;
	struct zd_sim_sample *sample; /* the current one */
	uint32_t *picture_row;
	uint32_t first_zone, zones_per_bin, bins;
	/* REAL */
	zd_dev *dev;
	void *buf;
	uint64_t buf_length;
	uint64_t real_start;
};
#define H_BUSY 1u /* an ordered command is at the drive */
#define H_OPEN 2u /* in open_list */

/* ---------------------------------------------------------------- work/ */

next_fn zd_fio_next, zd_log_next, zd_trace_next, zd_zones_next;
int zd_job_init(struct zd_sim *sim, struct job *job, uint32_t index, struct zd_error *err);
void zd_job_free(struct job *job);
int zd_fio_init(struct zd_sim *sim, struct job *job, struct zd_error *err);
/* log.c: the log-structured layer as work; traces go through it too. */
int zd_log_work_init(struct zd_sim *sim, struct job *job, struct zd_error *err);
enum next zd_log_op_next(struct zd_sim *sim, struct job *job, struct command *c);
enum next zd_log_work_write(struct zd_sim *sim, struct job *job, const uint64_t *block);
enum next zd_log_work_read(struct zd_sim *sim, struct job *job, struct command *c, uint64_t block);
void zd_log_work_counts(struct job *job);
/* commands that several kinds give */
void zd_make_reset(struct zd_sim *sim, struct command *c, uint32_t zone);
void zd_make_write(struct zd_sim *sim, struct job *job, struct command *c, uint32_t zone, uint64_t length);
void zd_wake_at(struct zd_sim *sim, struct job *job, uint64_t time);
/* Another command may find room in the zones being written: who waits for that tries again. */
void zd_unpark(struct zd_sim *sim);
/* the host's list of zones that are being written */
int zd_open_list_add(struct zd_sim *sim, struct job *job, uint32_t zone);
void zd_open_list_drop(struct zd_sim *sim, uint32_t zone);

/* ---------------------------------------------------------------- stages.c */

/* Before the first event: which jobs wait for others. -ENOMEM. */
int zd_line_up(struct zd_sim *sim);
/* It sends no more: with an error (code below 0) and why, or without. It is over when nothing of it is under way. */
void zd_end_job(struct zd_sim *sim, struct job *job, int code, const struct zd_error *why);
/* It is over, and those that waited for it begin. */
void zd_job_over(struct zd_sim *sim, struct job *job);

/* ---------------------------------------------------------------- burst.c */

/* As many of the job's commands as nobody can come between are sent and done; false: too few of them. */
bool zd_burst(struct zd_sim *sim, struct job *job);

/* ---------------------------------------------------------------- share.c */

/* Jobs that share their commands by weights (fio's flow): joining (-ENOMEM), leaving, whether it may send one more. */
int zd_flow_join(struct zd_sim *sim, struct job *job);
void zd_flow_leave(struct zd_sim *sim, struct job *job);
bool zd_flow_may(const struct zd_sim *sim, const struct job *job);
void zd_flow_sent(struct zd_sim *sim, struct job *job);
/* A command of a job with a latency target is done: the depth may change, and the job may be over. */
void zd_depth_done(struct zd_sim *sim, struct job *job, const struct command *c);

/* ---------------------------------------------------------------- steady.c */

/* What is wrong with a job's steadiness (ZD_E_GEOMETRY, -ENOMEM); the job begins; a command of it is done. */
int zd_steady_init(struct zd_sim *sim, struct job *job, struct zd_error *err);
void zd_steady_free(struct job *job);
void zd_steady_begin(const struct zd_sim *sim, struct job *job);
void zd_steady_done(struct zd_sim *sim, struct job *job, const struct command *c);
/* A command of a job with a least rate is done: it may end the job. */
void zd_rate_done(struct zd_sim *sim, struct job *job, const struct command *c);

/* ---------------------------------------------------------------- results.c */

int zd_results_init(struct zd_sim *sim);
void zd_results_free(struct zd_sim *sim);
/* A job's command is done, now. */
void zd_count_done(struct zd_sim *sim, struct job *job, const struct command *c);
/* And is kept for zd_sim_commands(). -ENOMEM. */
int zd_keep_done(struct zd_sim *sim, struct job *job, const struct command *c);
/* n commands of the same latency, one done at `done`, the others `each` apart after it. */
void zd_count_burst(struct zd_sim *sim, struct job *job, uint32_t zone, uint64_t n, uint64_t done, uint64_t each);
/* The series begins, or `now` is past its last entry. */
void zd_series_move(struct zd_sim *sim, uint64_t now);

/* real.c */
uint64_t zd_real_now(const struct zd_sim *sim);
int zd_real_submit(struct zd_sim *sim, struct command *c, struct zd_error *err);
int zd_real_flush(struct zd_sim *sim, struct zd_error *err);
/* All zones become what the disk says of them; how many are open and closed there. */
void zd_real_look(struct zd_sim *sim);
void zd_real_resources(const struct zd_sim *sim, struct zd_resources *out);

#endif
