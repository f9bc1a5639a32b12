/* SPDX-License-Identifier: Apache-2.0 */
/*
 * whole: a disk's life and what happens to all of it at once: opening and closing, creating, recovery, power cuts,
 * snapshots and forks, the recorder of a trace, checks. It may call disk and what is below; nothing of the device calls it
 * but through struct zd_upward.
 *
 * From the bottom up: judge (what killed users left), recover (bringing the area to life), recordfile, recorder, handle (open, attach,
 * close), create, power, snapshot, rollback, forks, history, findings, checkentries, checkliving, check.
 */
#ifndef ZD_WHOLE_H
#define ZD_WHOLE_H

#include "device/disk/disk.h"

/* ---------------------------------------------------------------- judge.c */

/* A zone of the living area that cannot be as its word says. */
struct zd_verdict {
	uint32_t zone, other; /* other: claims the same slot, or ZD_NO_ZONE */
	int kind;             /* enum zd_finding_kind: ENTRY_VALUE, SLOT_SHARED or SHORT */
	const char *wrong;    /* of ENTRY_VALUE: what cannot be */
	struct zd_state is;
	struct zd_state to; /* what a repair makes of it: what is left, else its entry, else OFFLINE */
	uint64_t lost;      /* bytes that it costs; ZD_NONE: that cannot be told */
};
/*
 * Judge each zone of a living area by itself, while nobody has it open for writing. *out is malloced, by zones ascending;
 * *n 0: all words are sound. 0 or -errno.
 */
int zd_judge(zd_dev *dev, uint64_t file_size, struct zd_verdict **out, size_t *n);
/* A zone's newest valid entry, whatever it says; *there false: it has none. 0 or -errno. */
int zd_state_of_entry(const zd_dev *dev, uint32_t zone, struct zd_state *out, bool *there);
const char *zd_state_wrong(const zd_dev *dev, uint32_t zone, const struct zd_state *s); /* as zd_entry_wrong() */
/* Whether the file ends before the zone's slot does, and what is left of the zone then. */
bool zd_state_short(const zd_dev *dev, const struct zd_state *s, uint64_t file_size);
struct zd_state zd_state_left(const zd_dev *dev, uint32_t zone, const struct zd_state *s, uint64_t file_size);
/* Bytes of a zone that go when it is put from one state into another; ZD_NONE: that cannot be told. */
uint64_t zd_state_loss(const zd_dev *dev, uint32_t zone, const struct zd_state *is, const struct zd_state *to);

/* ---------------------------------------------------------------- recover.c */

/* First opener: make the area good, from its own words if they are this boot's, else from the entries. */
int zd_runtime_start(zd_dev *dev, struct zd_error *err);
/* Read-only opener without a living area: the same into private memory. */
int zd_runtime_recover(zd_dev *dev, const uint8_t *shared, struct zd_error *err);

/* ---------------------------------------------------------------- recorder.c, recordfile.c, history.c */

#define ZD_RECORD_PIECE 65536u      /* bytes of items written to the file at once, about */
#define ZD_RECORD_DATA (256u << 10) /* with so many bytes of data between them, at most a piece more */
#define ZD_RECORD_PARTS 64u         /* in so many parts */
struct zd_record_base;
struct zd_recorder {
	zd_dev *dev;
	int fd;
	pthread_t thread;
	pthread_mutex_t lock; /* this process only: of ready and result */
	pthread_cond_t changed;
	bool ready;
	const struct zd_record_base *base; /* what a recording with data begins with; NULL: it is without */
	int result;                        /* why the thread cannot go on; 0: it can */
	_Atomic bool go;                   /* what stands before the commands is in the file */
	_Atomic bool stop;
	_Atomic uint64_t end; /* with stop: the first record that is not the recording's any more */
	uint64_t tail, lost, first, waits;
	uint64_t start_ns; /* of the record before, which the next is told against */
	uint32_t pid, tid;
	uint64_t virtual_ns;
	uint32_t crc;       /* of all items so far */
	uint64_t written;   /* bytes in the file */
	uint64_t data_from; /* numbers of this recording's data are above */
	uint64_t data_tail; /* of the ring of data, behind what was taken; in the file is what no part names any more */
	/* What goes to the file next: these parts, then the piece from `listed` on. Data is written from where it lies. */
	struct iovec parts[ZD_RECORD_PARTS];
	uint32_t nr_parts, listed, used;
	uint64_t held; /* bytes of data in the parts */
	uint8_t piece[ZD_RECORD_PIECE + 512];
};
/* history.c: what a disk holds when a recording with data begins. `hold` stands behind no command, else -EAGAIN. */
struct zd_record_base {
	int (*hold)(struct zd_recorder *rec, const struct zd_trace_record *rows, uint32_t n, zd_snapshot **out,
		    struct zd_error *err);
	int (*put)(struct zd_recorder *rec, zd_snapshot *base, const struct zd_trace_record *rows, uint32_t n);
	void (*drop)(zd_snapshot *base);
};
int zd_record_start(zd_dev *dev, int fd, const struct zd_record_base *base, struct zd_error *err);
int zd_record_header(struct zd_recorder *rec);
uint8_t *zd_record_command(struct zd_recorder *rec, uint8_t *to, const struct zd_trace_record *r); /* the body of its item */
/* One item: kind, length, body, checksum of everything so far. The others make the body. 0 or -errno. */
int zd_record_item(struct zd_recorder *rec, int kind, const uint8_t *body, size_t length);
int zd_record_zone(struct zd_recorder *rec, int kind, const struct zd_trace_record *row);
/*
 * Some of what a command writes (data 0: of what the disk held, at being its place), in two parts, which must stay where they
 * are until they are written out.
 */
int zd_record_data(struct zd_recorder *rec, uint64_t data, uint64_t at, const struct iovec bytes[2]);
int zd_record_count(struct zd_recorder *rec, int kind, uint64_t a, uint64_t b, uint64_t c);
int zd_record_write_out(struct zd_recorder *rec);

void zd_trace_close(zd_dev *dev);  /* this handle records and observes no more */
void zd_trace_forked(zd_dev *dev); /* the same in a forked child, whose parent goes on */

/* ---------------------------------------------------------------- handle.c */

zd_dev *zd_handle_new(const char *path);
void zd_handle_free(zd_dev *dev);
int zd_handle_start(zd_dev *dev, struct zd_error *err); /* dev->fd and dev->g are set */

/* ---------------------------------------------------------------- create.c */

int zd_create_like(const zd_dev *like, zd_dev **out, struct zd_error *err); /* in RAM, all new */

/* ---------------------------------------------------------------- power.c */

/* Ascending, and no nonsense; needs no disk. */
int zd_cut_check(const struct zd_cut *cut, struct zd_error *err);
/* fate.c: what a sequential zone with so much written may keep, and what it keeps by one choice */
void zd_fate_of_zone(const zd_dev *dev, uint32_t zone, uint64_t written, uint64_t durable, struct zd_fate *out);
uint64_t zd_fate_length(const struct zd_fate *fate, uint64_t choice);
/* What a cut makes of a zone's word, durable bytes and generation; nothing else. Returns the condition it had. */
int zd_power_cut_word(zd_dev *dev, uint32_t zone, struct zd_zone_rt *rt, uint64_t kept);
int zd_power_cut_by(zd_dev *dev, int keep, uint64_t seed, uint32_t fault, const char *label, struct zd_error *err);

/* ---------------------------------------------------------------- back.c */

/* What a zone becomes. Zones without a row become as new. */
struct zd_back {
	uint32_t zone, slot; /* slot + 1; 0: none */
	uint64_t word, durable;
	uint32_t opened;    /* rank among the implicitly open zones, oldest first; 0: it is none */
	uint32_t unflushed; /* 1: it has pre-images, without which all of it counts as durable */
};
_Static_assert(sizeof(struct zd_back) == 32, "divides a slot");
/* All locks are held. Write down where the disk goes: rows 0 .. n-1 as row() gives them, by zones ascending. 0 or -errno. */
typedef struct zd_back zd_back_fn(const void *arg, uint32_t i);
int zd_back_note(zd_dev *dev, zd_back_fn *row, const void *arg, uint32_t n);
/* All locks are held. It is written down: from here on it happens, whoever dies. begin(), what is only ours, finish(). */
void zd_back_begin(zd_dev *dev);
int zd_back_finish(zd_dev *dev);
int zd_back_mend(zd_dev *dev);                       /* struct zd_upward's mend */
int zd_back_wait(zd_dev *dev, struct zd_error *err); /* its back_wait */
/* Nobody has the disk open, or the area is a private copy of what they left. */
int zd_back_left(zd_dev *dev);

/* ---------------------------------------------------------------- snapshot.c, rollback.c, forks.c */

#define ZD_ONLY_LOOKED "what a read-only handle has seen keeps no data: it can be looked at, not forked or rolled back to"

struct zd_snapshot {
	struct zd_origin *origin;
	_Atomic uint32_t refs;
	pid_t owner;
	uint32_t n;
	uint32_t no_pre;
	bool look;           /* by a handle that may only read: nothing is pinned, so it is good for telling only */
	struct zd_row *rows; /* zones that are not as new, ascending */
};

/* Nobody else is in any command: the commit lock and all stripes. 0, -EINTR, or what hinders a way back to a snapshot. */
static inline int zd_lock_data(zd_dev *dev)
{
	int r = zd_lock_commit(dev);

	if (r)
		return r;
	r = zd_lock_zones(dev, 0, ZD_STRIPES - 1);
	if (r)
		goto commit;
	r = zd_back_mend(dev);
	if (!r)
		return 0;
	zd_unlock_zones(dev, 0, ZD_STRIPES - 1);
commit:
	zd_unlock_commit(dev);
	return r;
}
static inline void zd_unlock_data(zd_dev *dev)
{
	zd_unlock_zones(dev, 0, ZD_STRIPES - 1);
	zd_unlock_commit(dev);
}
/* The resource lock, too. */
static inline int zd_lock_all(zd_dev *dev)
{
	int r = zd_lock_data(dev);

	if (r)
		return r;
	r = zd_lock_resource(dev);
	if (r)
		zd_unlock_data(dev);
	return r;
}
static inline void zd_unlock_all(zd_dev *dev)
{
	zd_unlock_resource(dev);
	zd_unlock_data(dev);
}
void zd_view_clear(zd_dev *dev); /* a fork reads nothing elsewhere any more */
bool zd_view_leave(zd_dev *dev); /* dev->leave of a disk with snapshots: gives back what they share; false */

/* ---------------------------------------------------------------- findings.c, checkentries.c, checkliving.c */

/* A check at work. */
struct zd_check {
	zd_dev dev; /* only g, fd and readonly are used; rt, too, where a living area is judged */
	bool repair, clean;
	bool users; /* somebody has it open for writing */
	bool alive; /* the shared words count, not the entries */
	uint64_t file_size;
	uint64_t grow_to;  /* how long the file must be for the zones' slots; 0: it is */
	uint32_t cut;      /* zones that lost data by its end */
	uint32_t roomless; /* if so: the first of those zones */
	struct zd_finding *at;
	size_t n, room;
	bool no_memory;
	struct zd_finding spill; /* the last of those that are one too many */
	struct zd_finding sum;   /* all of them but that */
	uint64_t nr_spilt;
};
struct zd_finding *zd_find(struct zd_check *c, int kind, uint32_t zone, uint64_t offset, bool error, bool mendable,
			   const char *format, ...) __attribute__((format(printf, 7, 8)));
void zd_find_mended(struct zd_finding *f, int r); /* if r is 0 */
/* What mending it costs: the zone becomes `to`. */
void zd_find_loss(struct zd_check *c, struct zd_finding *f, uint32_t zone, const struct zd_state *to, uint64_t lost);
void zd_find_spilt(struct zd_check *c); /* those that were one too many, together */
int zd_check_zero(struct zd_check *c, uint64_t from, uint64_t to, const char *what); /* bytes of the file that must be */
int zd_check_write_state(struct zd_check *c, uint32_t zone, const struct zd_state *s);
void zd_check_want_room(struct zd_check *c, uint32_t zone, uint32_t slot);
void zd_check_room(struct zd_check *c);
void zd_check_count(const struct zd_check *c, uint32_t zone, const struct zd_state *s, uint32_t by, uint32_t *open,
		    uint32_t *active);
void zd_check_limits(struct zd_check *c, uint32_t open, uint32_t active);
int zd_check_entries(struct zd_check *c);
int zd_check_living(struct zd_check *c, const char *path, struct zd_error *err);
int zd_check_left(struct zd_check *c, const char *path, struct zd_error *err);
int zd_check_give_up(struct zd_check *c, struct zd_error *err); /* what a failed sync makes worthless */
unsigned zd_check_brief(const struct zd_check *c);              /* flags for zd_open() */

#endif
