/* SPDX-License-Identifier: Apache-2.0 */
/*
 * zoned/sim.h - simulated drives in virtual time: public interface and manual.
 *
 * A zd_sim is one zoned disk, the timing model of one drive, and the jobs that run on it. Time is virtual:
 * integer nanoseconds from 0, moved on by an event queue, so a whole 28 TB drive is filled in seconds and
 * the same seed gives the same result on any machine (no libm but sqrt, -ffp-contract=off). No payload is
 * kept. A zd_sim holds no lock and no global: use one per thread.
 *
 * The state machine  Zone conditions, write pointers, open and active limits and implicit closes are those of
 *             zoned/zone.h: every transition is looked up in zd_cell(). The words live in the simulator itself, not
 *             in a zd_dev, because the locks, the shared mapping and the counters of a zd_dev cost more than
 *             everything else here together; tests drive both with the same commands and compare.
 * Units       Bytes, nanoseconds, zone indices, as in zoned/zoned.h. Rates are bytes per second.
 * Returns     int: 0 or more, or a negative code of zoned/error.h (-errno, ZD_E_*). err may be NULL.
 * Host        One process per job, as fio's: each command that comes back takes model.host_ns of its time before
 *             the next can be sent. Writes to one sequential zone reach the drive one at a time, in
 *             order, as Linux sees to it (zone write plugging, mq-deadline before 6.10); appends do not wait.
 */
#ifndef ZONED_SIM_H
#define ZONED_SIM_H

#include "zoned/zoned.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---------------------------------------------------------------- drive models */

enum zd_sim_kind {
	ZD_SIM_NULL = 0, /* every command takes null_ns, as many at once as are sent */
	ZD_SIM_HDD = 1,  /* host-managed SMR hard disk */
	ZD_SIM_ZNS = 2,  /* ZNS SSD */
	ZD_SIM_DM = 3,   /* drive-managed SMR hard disk: writable at random. The disk has conventional zones only */
	ZD_SIM_REAL = 4  /* a zd_dev and the wall clock: measures the emulator (zd_sim_attach) */
};

/*
 * A hard disk. Positions: each zone has tracks of its own size (data rate falls linearly from the first
 * zone to the last), tracks follow each other head by head and cylinder by cylinder, skewed by one head
 * switch. A seek over d cylinders takes one + a(d-1) + b sqrt(d-1): seek_one at 1, seek_full at all of them,
 * and seek_avg on average over all pairs of places (DiskSim's three-point curve). The platter's angle is the clock's.
 */
struct zd_sim_hdd {
	uint32_t rpm;                           /* 1000..30000 */
	uint32_t heads;                         /* recording surfaces, from 1 */
	double rate_outer;                      /* sustained, at the first zone; head switches included */
	double rate_inner;                      /* at the last zone; 0 < rate_inner <= rate_outer */
	uint64_t seek_one, seek_avg, seek_full; /* ns; one <= avg <= full */
	uint64_t seek_margin;   /* ns longer than that, each seek is expected to take when the queue is put in order */
	uint64_t head_switch;   /* ns, to the next track */
	uint64_t write_settle;  /* ns, added to each seek before a write */
	uint64_t overhead;      /* ns of electronics, each command */
	double interface_rate;  /* to and from the drive's buffer */
	double fill_rate;       /* of reads where nothing is written: no media access, a pattern is made */
	uint64_t cache_bytes;   /* data written and not yet on the platter. 0: no write cache */
	uint32_t cache_entries; /* commands it may have come in (1..4096) */
	uint64_t stream_bytes;  /* most unwritten data of one sequential stream. 0: cache_bytes */
	uint64_t readahead;     /* read on after a read, while nothing else is to be done */
	uint32_t queue;         /* reads the drive sees at once and may reorder (NCQ: 32) */
	uint32_t piece;         /* bytes that go from the cache to the platter before the next choice */
	uint64_t zone_switch;   /* ns, when a stream passes from one zone into the next */
	uint64_t reset, finish, open, close; /* ns of a zone command; an implicit open costs nothing */
};

/*
 * A ZNS SSD. A command passes the controller, one at a time: it goes on after the controller's service, and keeps
 * the controller for a time spread evenly between 0 and twice that (so several zones get what was measured,
 * less than a fixed time would give, and one command alone is not disturbed). Then its data moves in units; a write
 * needs room in a buffer, from which the dies program it in shots, die after die. A read occupies the dies that hold
 * it; it stops a program under way at its next pulse, until suspend_reads of them did. FINISH programs what is
 * unwritten, a RESET erases, and both are in the way of the rest.
 */
struct zd_sim_zns {
	uint64_t write_base;                  /* ns, of any write, controller service included */
	uint64_t append_extra;                /* ns, what an append takes longer */
	uint64_t append_other;                /* ns, and more when the append before went to another zone */
	uint64_t unit;                        /* bytes; data moves in whole units */
	double write_unit_ns, append_unit_ns; /* ns for each unit of a write, of an append */
	uint64_t list_ns; /* ns, when the data needs a PRP list (more than two 4 KiB pages; NVMe 1.4, 4.3) */
	uint64_t write_service, append_service, read_service; /* ns of the controller */
	double write_rate;      /* the flash's, all dies programming: a program takes dies * shot_bytes / write_rate */
	uint64_t buffer_bytes;  /* written data that no die programs yet */
	uint64_t shot_bytes;    /* programmed by one die at once */
	double shot_spread;     /* a program takes up to this part longer or shorter: 0 <= spread < 1 */
	uint64_t suspend_ns;    /* a read stops a program at a multiple of this. 0: at once */
	uint64_t resume_ns;     /* what a program that was stopped takes longer */
	uint32_t suspend_reads; /* so many reads go before a program's end, then it runs on. 0: none */
	uint32_t dies;          /* reads and programs at once */
	uint64_t stripe_bytes;  /* on one die before the next has its turn, for reads */
	uint64_t read_base;     /* ns of a read, controller service included */
	double read_kib_ns;     /* ns for each KiB of it */
	double die_share;       /* of a read's time, that its die is occupied: 0 < share <= 1 */
	double read_rate;       /* of the channels to all dies. 0: no ceiling */
	uint64_t page_bytes;    /* that a die senses at once and keeps until the next. 0: it keeps none */
	uint64_t sense_ns;      /* what a read of the page that is kept takes less */
	uint64_t ahead_base;    /* ns of a read that goes on a sequential stream: its data was read ahead. 0: never */
	double ahead_kib_ns;    /* for each KiB of it */
	uint64_t ahead_service; /* ns of the controller */
	double ahead_rate;      /* of data that was read ahead, to the host. 0: no ceiling */
	uint64_t finish_base;   /* ns, plus what is unwritten at finish_rate; an empty zone: finish_empty */
	double finish_rate;
	uint64_t finish_empty;
	uint64_t reset_base, reset_full;          /* ns: of an empty zone, and what a finished zone's data adds, by occupancy */
	uint64_t reset_data;                      /* ns, added when anything is written */
	uint64_t reset_unfinished;                /* ns, added when the zone was not finished by command */
	uint64_t reset_open_base;                 /* ns, added when the zone was not FULL and holds more than a block */
	uint64_t reset_slice;                     /* ns that writes and an erase get in turns. 0: no write puts one off */
	uint64_t open_ns, close_ns;               /* explicit commands */
	uint64_t first_write_ns, first_append_ns; /* added to the first one into an empty zone */
};

/* A drive-managed SMR disk: hdd's mechanics below a media cache and bands. */
struct zd_sim_dm {
	uint64_t cache_bytes; /* of the media cache, at the outer edge */
	uint32_t map_entries; /* extents that the drive can remember */
	uint32_t reserved;
	uint64_t band_bytes;
	uint32_t band_passes; /* band-sized transfers for cleaning one band: 3 (read, write aside, write back) */
	uint32_t streams;     /* sequential streams that it can follow at once (1..1024) */
	uint64_t idle_ns;     /* cleans in the background after this long without a command. 0: never */
};

struct zd_sim_model {
	uint32_t kind; /* enum zd_sim_kind */
	uint32_t reserved;
	uint64_t null_ns;      /* from 1: time must move */
	uint64_t host_ns;      /* of the host's time, for each command that is done */
	uint64_t merge_bytes;  /* of writes that wait for their zone one behind the other, sent as one. 0: each by itself */
	struct zd_sim_hdd hdd; /* HDD and DM */
	struct zd_sim_zns zns;
	struct zd_sim_dm dm;
};

/* ---------------------------------------------------------------- jobs */

enum zd_sim_dir { ZD_SIM_READ = 0, ZD_SIM_WRITE = 1, ZD_SIM_TRIM = 2, ZD_SIM_NR_DIRS = 3 };
enum zd_sim_job_kind {
	ZD_SIM_JOB_FIO = 0,   /* what a section of a fio job file describes */
	ZD_SIM_JOB_LOG = 1,   /* random overwrites of a volume through a log-structured layer with cleaning */
	ZD_SIM_JOB_TRACE = 2, /* commands from zd_sim_feed() */
	ZD_SIM_JOB_ZONES = 3  /* fill zones to a given occupancy (untimed), then one command to each (timed) */
};
enum zd_sim_distribution {
	ZD_SIM_UNIFORM = 0,
	ZD_SIM_ZIPF = 1,    /* theta: a */
	ZD_SIM_PARETO = 2,  /* power: a, 0 < a < 1 */
	ZD_SIM_NORMAL = 3,  /* deviation in percent: a */
	ZD_SIM_HOTCOLD = 4, /* a of the accesses go to the first b of the space (0 < a, b < 1) */
	ZD_SIM_ZONED = 5    /* FIO jobs: the ranges below */
};
enum zd_sim_policy { ZD_SIM_FIFO = 0, ZD_SIM_GREEDY = 1, ZD_SIM_COST_BENEFIT = 2, ZD_SIM_OUTSIDE = 3 };

/* NO: none; GROUP: those of its group; ALL: all; STONEWALL: all that run. */
enum zd_sim_steady { ZD_SIM_STEADY_NO = 0, ZD_SIM_STEADY_IOPS = 1, ZD_SIM_STEADY_BYTES = 2, ZD_SIM_STEADY_LATENCY = 3 };
enum zd_sim_exit { ZD_SIM_EXIT_NO = 0, ZD_SIM_EXIT_GROUP = 1, ZD_SIM_EXIT_ALL = 2, ZD_SIM_EXIT_STONEWALL = 3 };

#define ZD_SIM_MAX_SPLIT 16
struct zd_sim_split { /* a block size and how many of 100 commands have it */
	uint64_t bytes;
	uint32_t percent;
	uint32_t reserved;
};

struct zd_sim_range { /* percent of the accesses that go to so many percent of the space */
	double access, space;
};

struct zd_sim_job {
	uint32_t kind;                /* enum zd_sim_job_kind */
	uint32_t iodepth;             /* from 1 */
	uint64_t offset, size;        /* the range it works on; both on the disk */
	uint64_t io_size;             /* bytes to move. 0: size */
	uint64_t number_ios;          /* commands to send at most. 0: no limit */
	uint8_t reads, writes, trims; /* which directions */
	uint8_t random;               /* 0: sequential */
	uint8_t zbd;                  /* fio's zonemode=zbd: writes go to write pointers, reads to written data */
	uint8_t append;               /* writes are zone appends */
	uint8_t identical;            /* rw_sequencer=identical: the same offset repeated */
	uint8_t norandommap;          /* random offsets may repeat before all were used */
	uint8_t read_beyond_wp, ignore_zone_limits, time_based;
	uint8_t verify;         /* read back what was written when done */
	uint8_t trimwrite;      /* each block is trimmed, then written */
	uint8_t log_policy;     /* enum zd_sim_policy */
	uint8_t log_separate;   /* cleaned data goes to segments of its own */
	uint8_t zones_finish;   /* ZONES: 1 finish, 0 reset */
	uint8_t zones_finished; /* ZONES, reset: finish the zone (untimed) before */
	uint8_t zones_command; /* ZONES: 0 as zones_finish says, 1 OPEN of a zone that is empty or closed, 2 CLOSE of an open one */
	uint8_t thinktime_issue; /* thinktime_blocks counts commands sent; 0: commands done */
	uint8_t durable;         /* each write is flushed before it counts as done (fio's sync) */
	uint8_t end_fsync;       /* a flush when all is done */
	uint8_t diskless;        /* fio's engine null: commands are done at once, and the drive hears of none */
	uint8_t write_remainder; /* what is left of a zone is written in a shorter block; 0: the zone is finished */
	uint8_t exitall;         /* enum zd_sim_exit: which jobs end with this one */
	uint8_t poisson;         /* commands of a rate come by a Poisson process */
	uint8_t strided;         /* fio's zonemode=strided: the three below */
	uint8_t latency_run;     /* go on when the depth for latency_target was found */
	uint8_t zone_lock;       /* it waits for its zone at its own lock (a synchronous engine of fio): no part of latency */
	uint8_t log;             /* keep each command for zd_sim_commands() */
	uint8_t exit_on_error;   /* enum zd_sim_exit: which jobs end with this one if an error ends it */
	uint8_t steady_slope;    /* steady: by the slope of a line through the samples; 0: by their distance from the mean */
	uint8_t steady_percent;  /* steady_limit is in percent of the mean */
	uint32_t sequence;       /* a new random offset only each this many commands. 0: 1 */
	int64_t sequence_add;    /* sequential: bytes left out between commands (may be negative) */
	uint32_t mix_read;       /* reads in 100 commands where reads and writes are mixed */
	uint32_t distribution;   /* enum zd_sim_distribution */
	double a, b;             /* of the distribution */
	struct zd_sim_range ranges[ZD_SIM_MAX_SPLIT]; /* ZONED: of the job's range, from its start */
	uint32_t nr_ranges;
	uint32_t loops;       /* how often the whole is done. 0: once */
	uint32_t nr_split[3]; /* by direction; from 1 for a direction used */
	struct zd_sim_split split[3][ZD_SIM_MAX_SPLIT];
	uint64_t bs_min[3], bs_max[3]; /* nr_split 0: uniform in steps of bs_min */
	uint64_t rate[3];              /* bytes a second. 0: no limit */
	uint32_t rate_iops[3];
	uint32_t thinktime_blocks;
	uint64_t thinktime;                          /* ns of rest after each thinktime_blocks commands */
	uint64_t runtime;                            /* ns from its start, ramp included. 0: no limit */
	uint64_t ramp;                               /* ns from its start that do not count (warm-up) */
	uint64_t startdelay;                         /* ns */
	uint32_t group;                              /* for exitall */
	uint32_t wait_for;                           /* starts when all jobs below this index have ended. 0: at once */
	uint32_t max_open_zones, job_max_open_zones; /* 0: the drive's, none */
	double reset_threshold;                      /* zone_reset_threshold: 0 off */
	double reset_frequency;
	/* LOG */
	uint64_t log_block; /* bytes of a block of the volume */
	double log_spare;   /* Sf: part of the zones' room that the volume does not use */
	uint64_t log_warm;  /* blocks written before counting begins */
	/* ZONES */
	double occupancy; /* 0..1 of the capacity; what is above 0 is at least one block */
	uint32_t zones_count;
	uint32_t reserved2;
	uint64_t seed; /* of this job; 0: from the simulation's */
	/* FIO */
	uint64_t fsync;                    /* a flush after each so many writes. 0: none */
	uint64_t align[3];                 /* random places are multiples of it. 0: of the smallest block */
	uint32_t named_first, named_count; /* it starts when these jobs, too, have ended */
	uint32_t flow, flow_id;            /* its share of the commands of all jobs with this id. flow 0: as it comes */
	uint64_t flow_sleep;               /* ns, when it is ahead of its share. 0: until the others have caught up */
	uint64_t zone_bytes, zone_range, zone_skip; /* strided: so much within each range, then so much is skipped */
	uint64_t verify_backlog, verify_batch;      /* read back after so many writes, so many of them. 0: at the end, all */
	uint64_t latency_target;   /* ns; iodepth is the most, and the depth that keeps it is looked for. 0: off */
	uint64_t latency_window;   /* ns for which a depth is tried */
	double latency_percentile; /* of the commands must keep it */
	uint64_t rate_min[3];      /* bytes a second: a job that is slower for rate_cycle ends with -EIO. 0: none */
	uint32_t rate_iops_min[3]; /* the same in commands, where rate_min is 0 */
	uint64_t rate_cycle;       /* ns. 0: a second */
	uint32_t batch_complete;   /* done commands that the host waits for, once iodepth is reached. 0: 1 */
	uint32_t depth_low;        /* and it sends no more until so few are under way. 0: iodepth */
	uint32_t steady;           /* enum zd_sim_steady: the job ends when this is steady */
	uint32_t steady_group;     /* 1: of all jobs of its group with steady together */
	double steady_limit;       /* above 0 */
	uint64_t steady_duration, steady_ramp, steady_interval; /* ns: looked at, not looked at before, between two samples */
};

/* ---------------------------------------------------------------- running */

typedef struct zd_sim zd_sim;

/*
 * disk: as for zd_create(); data, host_sync and slot_cache do not matter. Errors: ZD_E_GEOMETRY (what the disk
 * or the model has wrong; a host-aware disk), -ENOMEM.
 */
int zd_sim_create(const struct zd_config *disk, const struct zd_sim_model *model, uint64_t seed, zd_sim **out,
		  struct zd_error *err);
void zd_sim_free(zd_sim *sim);
/* ZD_SIM_REAL: the disk that commands go to; it must have the geometry of `disk` and stay open. Takes over the
 * zones' present state. buf: at least as long as the longest command. */
int zd_sim_attach(zd_sim *sim, zd_dev *dev, void *buf, uint64_t length, struct zd_error *err);
/* Returns the job's index. Errors: ZD_E_GEOMETRY with a sentence in err->text, -ENOMEM. */
int zd_sim_add_job(zd_sim *sim, const struct zd_sim_job *job, struct zd_error *err);

/* WANTS_VICTIM: of zd_log_write() only. */
enum zd_sim_state { ZD_SIM_DONE = 0, ZD_SIM_PAUSED = 1, ZD_SIM_WANTS_TRACE = 2, ZD_SIM_WANTS_VICTIM = 3 };
/*
 * Run until all jobs have ended, or about max_commands (0: no limit) more were completed. Returns enum
 * zd_sim_state; WANTS_TRACE: a TRACE job has used up what it was fed. A refused command ends its job (see its
 * result), not the run.
 */
int zd_sim_run(zd_sim *sim, uint64_t max_commands, struct zd_error *err);

struct zd_sim_record { /* one command of a trace */
	uint64_t time; /* ns since the trace's start */
	uint64_t offset, length;
	uint32_t dir;    /* enum zd_sim_dir; 3: wait until everything before is done; or enum zd_trace_dir */
	uint32_t device; /* which volume, where the trace has several */
};
#define ZD_SIM_MOST_LENGTH UINT32_MAX /* bytes of a read or write: what a request of Linux, SCSI or NVMe can move */
#define ZD_SIM_MOST_TIME (1ull << 62) /* ns: 146 years */
/*
 * Commands for a TRACE job, in time order; last: no more will come. Copied. A command that is longer than the job's
 * range (LOG: than the volume) reads or writes all of it once. A zone command (enum zd_trace_dir) is of the zone that
 * its offset lies in, and an append is one to it; one on all zones is given to each that it changes, one after the
 * other. LOG: these mean nothing, and are passed over. -EINVAL: one is longer or later than the above.
 */
int zd_sim_feed(zd_sim *sim, uint32_t job, const struct zd_sim_record *records, uint64_t count, int last, struct zd_error *err);

/* ---------------------------------------------------------------- results */

/* Latency histogram, with fio's buckets: values below 128 have one each, then 64 to each power of two; bucket i
 * ends below zd_sim_bucket(i + 1). The last one takes everything from 2^45 ns (ten hours) on. */
#define ZD_SIM_BUCKETS 2560
uint64_t zd_sim_bucket(uint32_t i); /* its lowest value, ns */

struct zd_sim_stats {
	uint64_t count, bytes;
	uint64_t min, max, sum; /* ns of latency */
	double sum_squares;
	uint64_t first, last; /* ns: submission of the first, completion of the last command that counts */
	uint64_t errors;
};

#define ZD_SIM_SLOTS 512 /* entries of a time series at most; the step doubles when they are used up */

struct zd_sim_result {
	struct zd_sim_stats dir[3];
	uint64_t started, ended;                  /* ns; ended 0: still running */
	uint64_t zone_resets;                     /* issued by the job itself (not trims) */
	uint64_t depth[7];                        /* commands sent while 1, 2-3, 4-7, ..., 64+ were under way */
	uint64_t wait_host, wait_zone, wait_rest; /* ns: for the host, for a zone's other write, rate and think time */
	int32_t error;                            /* the code that ended the job, or 0 */
	uint32_t stopped;                         /* 1: no zone it may write is left within its range and the open limit */
	struct zd_error why;
	/* LOG */
	uint64_t log_user, log_moved;                 /* blocks written by the user and moved by cleaning, after the warm-up */
	uint64_t log_segments;                        /* cleaned */
	uint64_t syncs, sync_sum, sync_min, sync_max; /* flushes that it asked for, and ns of their latencies */
	uint32_t depth_found;                         /* latency_target: the depth it came to. 0: none was looked for */
	uint32_t steady;                              /* 0: not looked for, 1: looked for, 2: and found */
	/* TRACE */
	uint64_t
		folded; /* commands that lie beyond the job's range, or its volume: taken round to its start; trims: left out */
	uint64_t partial; /* trims, straight: of a part of a zone or of conventional ones, of which nothing was made */
	/* zones when `error` ended it: what a limit that was in the way is told with */
	uint32_t implicit_open, explicit_open, closed, reserved;
	/* steady: what was compared with the limit last, and the means of the samples */
	double steady_criterion;
	uint64_t steady_bytes, steady_iops, steady_latency; /* bytes a second, commands a second, ns */
};
int zd_sim_result(zd_sim *sim, uint32_t job, struct zd_sim_result *out);
/* out: ZD_SIM_BUCKETS numbers. */
int zd_sim_histogram(zd_sim *sim, uint32_t job, uint32_t dir, uint64_t *out);

struct zd_sim_done {      /* one command of a job with `log`, without those of its warm-up */
	uint64_t time;    /* ns since the job's start at which it was done */
	uint64_t latency; /* ns */
	uint64_t offset, length;
	uint32_t dir; /* enum zd_sim_dir */
	uint32_t reserved;
};
/*
 * The commands done since the last call, at most max of them, oldest first; they are forgotten. Returns how many. Kept
 * are those of one zd_sim_run(), however many it does: ask after each.
 */
int64_t zd_sim_commands(zd_sim *sim, uint32_t job, struct zd_sim_done *out, uint64_t max);

/* What the drive's time went to. Parts may overlap (several commands at once). */
enum zd_sim_part {
	ZD_SIM_SEEK = 0,
	ZD_SIM_ROTATE,
	ZD_SIM_MEDIA,
	ZD_SIM_SWITCH,
	ZD_SIM_INTERFACE,
	ZD_SIM_ZONE_COMMAND,
	ZD_SIM_CONTROLLER,
	ZD_SIM_BUFFER_FULL,
	ZD_SIM_FLASH,
	ZD_SIM_DIE,
	ZD_SIM_CLEAN,
	ZD_SIM_MOVE,
	ZD_SIM_NR_PARTS
};
#define ZD_SIM_ZONE_BINS 256
struct zd_sim_summary {
	uint64_t now;                                                              /* ns */
	uint64_t commands;                                                         /* completed by all jobs, warm-up too */
	uint64_t parts[16];                                                        /* ns by enum zd_sim_part */
	uint64_t opens, closes, finishes, resets, implicit_opens, implicit_closes; /* that took place */
	uint64_t moved;                                                            /* seeks */
	uint64_t seeks[48];                       /* of them, by the power of two of their distance in cylinders; 0: none */
	uint64_t series_step;                     /* ns */
	uint32_t series_used;                     /* entries */
	uint32_t first_zone, zones_per_bin, bins; /* of the picture of zones */
	uint64_t dm_fast, dm_direct, dm_cleaned, dm_clean_bytes; /* DM: writes into the cache, past it; bands cleaned */
	uint64_t dm_full_at;                                     /* ns when the cache or the map was first full; 0: never */
	uint64_t dm_full_entries;                                /* extents in the map then */
	uint64_t media_bytes;                                    /* HDD, DM: written to the platter */
};
int zd_sim_summary(zd_sim *sim, struct zd_sim_summary *out);
/* Time series, entry i covering series_step ns: bytes and commands done by direction (3 each), and resets. */
struct zd_sim_sample {
	uint64_t bytes[3], count[3], lat_sum[3], lat_max[3], resets;
};
int zd_sim_series(zd_sim *sim, struct zd_sim_sample *out, uint32_t max);
/* KiB written in each bin of zones in each entry of the series: out[entry * ZD_SIM_ZONE_BINS + bin]. */
int zd_sim_picture(zd_sim *sim, uint32_t *written, uint32_t max_entries);
/* The sequential zones of a bin at the end of an entry of the series; of a large bin, 16 of them, evenly spaced. */
struct zd_sim_bin {
	uint8_t filled;             /* how far write pointers are: 0..255 of the capacity, on average; a FULL zone is 255 */
	uint8_t open, closed, full; /* 0..255 of the zones are in this condition */
	uint32_t resets;            /* that were done in the bin during this entry */
};
/* out[entry * ZD_SIM_ZONE_BINS + bin]. Returns how many entries. */
int zd_sim_bins(zd_sim *sim, struct zd_sim_bin *out, uint32_t max_entries);

/* ---------------------------------------------------------------- zones, without time */

/* As zd_report(). durable_wp is the write pointer. */
int64_t zd_sim_report(zd_sim *sim, uint32_t start, uint32_t count, struct zd_zone *out);
/* One command's effect on the zones, in no time: what a run does for each command. length as in zoned/zoned.h; zone
 * commands take the zone of offset. Errors: the rule broken. */
int zd_sim_apply(zd_sim *sim, int cmd, uint64_t offset, uint64_t length, struct zd_error *err);
/* Write `bytes` into each of these zones; finish: then finish them. */
int zd_sim_fill(zd_sim *sim, uint32_t zone, uint32_t count, uint64_t bytes, int finish, struct zd_error *err);
/* The measure for the engine: n writes of `bytes` each from `offset` on through the same state machine in a bare loop.
 * Returns how many were done. */
uint64_t zd_sim_bare(zd_sim *sim, uint64_t offset, uint64_t bytes, uint64_t n);
/* The same writes, through zd_pwrite() on dev. */
uint64_t zd_sim_bare_device(zd_dev *dev, uint64_t offset, uint64_t bytes, uint64_t n, const void *buf);

/* ---------------------------------------------------------------- the clock of a disk in use */

/*
 * What the commands that a zd_dev carries out would take on a modelled drive, one at a time. Only time passes here:
 * the zones' states are told, not decided. Any number of threads may use a clock; their commands queue up in it.
 */
typedef struct zd_clock zd_clock;
struct zd_clock_state {
	uint64_t now;  /* ns since it began */
	uint64_t last; /* ns that the last command took */
	uint64_t busy; /* ns that all of them took: the rest was idle */
	uint64_t commands;
	uint64_t parts[16]; /* ns by enum zd_sim_part */
	uint32_t failed;    /* 1: memory ran out once, and the time is too short since */
	uint32_t reserved;
};
/* disk, model: as for zd_sim_create(), but not REAL. Errors: ZD_E_GEOMETRY, -ENOMEM. */
int zd_clock_create(const struct zd_config *disk, const struct zd_sim_model *model, uint64_t seed, zd_clock **out,
		    struct zd_error *err);
void zd_clock_free(zd_clock *clock);
/* Let the time of each command of dev pass, by zd_observe() (whose errors it has), or no longer. The disk must have
 * the geometry that the clock was made for. The handle keeps the clock while it is attached, freed or not. */
int zd_clock_attach(zd_clock *clock, zd_dev *dev, struct zd_error *err);
void zd_clock_detach(zd_clock *clock, zd_dev *dev);
/* 1: it is attached to a handle. */
int zd_clock_runs(const zd_clock *clock);
/* Let one command's time pass. A command that concerns all zones takes the time of one zone command; power events take
 * none. -EINVAL: outside the disk; -ENOMEM. */
int zd_clock_command(zd_clock *clock, const struct zd_told *command);
/* Let time pass in which nothing is asked of the drive. */
void zd_clock_idle(zd_clock *clock, uint64_t ns);
void zd_clock_look(zd_clock *clock, struct zd_clock_state *out);

/*
 * Commands of a zd_dev take for real what they would take on this drive, queued as its model says, until the handle is
 * closed: zd_set_pace() of zoned/pace.h, whose errors it has. What a command finds in its zone is told by the disk. disk, model: as for zd_clock_create(). Errors: ZD_E_GEOMETRY, -ENOMEM, -EBUSY.
 */
int zd_pace_as(zd_dev *dev, const struct zd_config *disk, const struct zd_sim_model *model, uint64_t seed,
	       struct zd_error *err);

/* ---------------------------------------------------------------- the log-structured layer by itself */

/*
 * A volume of nr_blocks blocks on nr_segments segments of segment_blocks each. Overwriting a block makes its old
 * place invalid; when fewer than `reserve` segments are free, the policy's victim is cleaned: its valid blocks
 * are moved to the log's end. No time, no device: counts only.
 */
struct zd_log_config {
	uint32_t nr_segments, segment_blocks;
	uint64_t nr_blocks; /* less than (nr_segments - 1) * segment_blocks */
	uint32_t policy;    /* enum zd_sim_policy */
	uint8_t separate;   /* cleaned blocks go to segments of their own */
	uint8_t pools;      /* 2: hot and cold blocks have pools of segments of their own, hot_segments of them hot */
	uint8_t reserved[2];
	uint32_t hot_segments;
	uint32_t reserve;      /* free segments kept; from 1 */
	uint32_t distribution; /* enum zd_sim_distribution */
	uint32_t reserved2;
	double a, b;
	uint64_t seed;
};
typedef struct zd_log zd_log;
struct zd_log_counts {
	uint64_t user, moved, cleaned; /* blocks, blocks, segments since the last zd_log_count_from_here() */
};
/* Writes every block once in order, so that the volume is full. Errors: ZD_E_GEOMETRY, -ENOMEM. */
int zd_log_create(const struct zd_log_config *config, zd_log **out, struct zd_error *err);
void zd_log_free(zd_log *log);
/*
 * n user writes by the configured distribution (blocks NULL), or to these blocks (modulo nr_blocks). *done:
 * how many were made. Returns ZD_SIM_DONE, or ZD_SIM_WANTS_VICTIM (policy OUTSIDE): choose one with zd_log_clean().
 */
int zd_log_write(zd_log *log, uint64_t n, const uint64_t *blocks, uint64_t *done);
/* Clean this segment. -EINVAL if it is free or being written. */
int zd_log_clean(zd_log *log, uint32_t segment);
void zd_log_count_from_here(zd_log *log);
void zd_log_counts(const zd_log *log, struct zd_log_counts *out);
/* For outside policies: by segment, valid blocks; and the clock (user and moved blocks so far) when it was filled, 0
 * while it is free or being written. Both stay valid and current as long as the log lives. */
const uint32_t *zd_log_valid(const zd_log *log);
const uint64_t *zd_log_filled(const zd_log *log);
/* Segments whose entry in either changed since the last call, at most once each; at most max of them into out. */
uint32_t zd_log_changed(zd_log *log, uint32_t *out, uint32_t max);
uint64_t zd_log_clock(const zd_log *log);

/* ---------------------------------------------------------------- traces */

enum zd_trace_format {
	ZD_TRACE_MSR = 0,
	ZD_TRACE_ALIBABA,
	ZD_TRACE_TENCENT,
	ZD_TRACE_IOLOG2,
	ZD_TRACE_IOLOG3,
	ZD_TRACE_BLKPARSE
};
/* Of a record, behind the directions of jobs; ZD_SIM_NR_DIRS itself is a flush */
enum zd_trace_dir {
	ZD_TRACE_DIR_RESET = 16,
	ZD_TRACE_DIR_RESET_ALL,
	ZD_TRACE_DIR_OPEN,
	ZD_TRACE_DIR_CLOSE,
	ZD_TRACE_DIR_FINISH,
	ZD_TRACE_DIR_APPEND,
	ZD_TRACE_DIR_OPEN_ALL,
	ZD_TRACE_DIR_CLOSE_ALL,
	ZD_TRACE_DIR_FINISH_ALL
};
struct zd_trace_parser {
	uint32_t format;   /* enum zd_trace_format */
	uint32_t iolog_ns; /* iolog v3: 1 if its times are nanoseconds, 0 if milliseconds */
	uint32_t action;   /* blkparse: the action taken, 'D' or 'Q' */
	uint32_t zones;    /* blkparse: 1 takes zone commands too, with dir from ZD_TRACE_DIR_RESET on */
	uint32_t files;    /* iolog: 1 tells files apart, device is the 32-bit FNV-1a hash of the name; 0: it is 0 */
	uint32_t started;  /* inside */
	uint64_t line;     /* lines read so far */
	uint64_t records, bad, ignored; /* lines that gave a command, were malformed, were well-formed and not commands */
	uint64_t first_time;            /* inside: the trace's own first timestamp */
	uint64_t clock;                 /* inside: iolog v2, sum of waits */
	uint64_t bad_line;              /* the first malformed line's number, and how it begins */
	char bad_text[80];
};
/*
 * Parse whole lines of text. A line whose command is longer, later, or farther out than any disk has it (above, and
 * 2^63 bytes) is malformed; blkparse's lines about no block I/O are not. *used: bytes taken (an unfinished last line stays, unless last). out has room for
 * max records. Returns the number of records.
 */
int64_t zd_trace_parse(struct zd_trace_parser *parser, const char *text, uint64_t length, int last, struct zd_sim_record *out,
		       uint64_t max, uint64_t *used);

/* Logarithm, exponential and power as the simulation computes them: the same bits on every machine. */
double zd_sim_log(double x);
double zd_sim_exp(double x);
double zd_sim_pow(double x, double y);

#ifdef __cplusplus
}
#endif
#endif
