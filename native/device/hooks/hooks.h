/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hooks: what looks at commands on their way without being one: fault rules (matching only), the ring of records that all
 * openers' commands are put into, observers in this process, and who says how long commands take. It may call store and what is below. It decides and
 * remembers; it does nothing to a zone and refuses no command.
 *
 * fault (which rule meets a command), faultset (setting rules), spoil (blocks that cannot be read), spoilset (spoiling
 * them), trace (the ring), pace, observe, tracefile (reading a recording).
 */
#ifndef ZD_HOOKS_H
#define ZD_HOOKS_H

#include "device/store/store.h"
#include "zoned/pace.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* ---------------------------------------------------------------- fault.c */

/* A command on its way, as rules see it. Without a place (flush, ALL forms): zones 0 .. last, length 0. */
struct zd_command {
	int cmd;
	uint32_t first, last; /* zones */
	uint64_t offset, length;
	bool refused; /* the rule book refuses it, as far as can be told before its locks are taken */
};
/* What a rule decided about it. */
struct zd_hit {
	uint32_t id; /* 0: no rule acts */
	uint32_t kind;
	uint64_t at;   /* the first byte that command and rule share */
	uint64_t cut;  /* bytes that are transferred before it fails; the command's length: it does not fail so */
	uint64_t bit;  /* from `at` on */
	uint64_t draw; /* random, from the rule's seed */
	uint32_t zone; /* the first zone that command and rule share */
	uint8_t after, active, keep;
	uint32_t slot;     /* of the rule in the table */
	uint32_t released; /* hang: as often had it been released then */
	uint64_t ns;       /* latency, hang: how long */
	char label[48];
};
/*
 * Count the command with the rules; hit->id 0: none acts. hit->cut is the command's length but where it fails in its midst.
 * 0, or an error of waiting for the rules' lock.
 */
int zd_fault_match(zd_dev *dev, const struct zd_command *c, struct zd_hit *hit, struct zd_error *err);
/* Whether a command that hangs by this hit is let go: the rule was cleared or released. */
bool zd_fault_let_go(const zd_dev *dev, const struct zd_hit *hit);
void zd_fault_waited(zd_dev *dev, const struct zd_hit *hit); /* it hangs no more */
/* Whether what becomes of a command is known only behind its end, not when it took effect. */
bool zd_fault_decides_late(const struct zd_command *c, const struct zd_hit *hit);
/* A write that was done is lost at the next power cut, or makes the next flush fail. 0 or an error. */
int zd_fault_lose(zd_dev *dev, const struct zd_hit *hit, uint64_t landed, struct zd_error *err);
int zd_fault_owe_flush(zd_dev *dev, const struct zd_hit *hit, struct zd_error *err);
/* What the next flush owes, which is forgotten; hit->id 0: nothing. */
int zd_fault_owed_flush(zd_dev *dev, struct zd_hit *hit, struct zd_error *err);
/* How much of a zone a power cut may keep, whatever is durable; UINT64_MAX: all. Forgets it. */
uint64_t zd_fault_lost(zd_dev *dev, uint32_t zone, uint32_t gen);
uint64_t zd_fault_lost_look(zd_dev *dev, uint32_t zone, uint32_t gen); /* without forgetting it */
/* First opener: which gate bits the rules of an earlier run of this boot need. */
uint32_t zd_fault_start(zd_dev *dev);
/* Mark an error as made by a rule. */
void zd_fault_mark(struct zd_error *err, uint32_t id, const char *label);
void zd_fault_name_power(zd_dev *dev, uint32_t id, const char *label); /* NULL: none */
void zd_fault_mark_power(zd_dev *dev, struct zd_error *err);
int zd_fault_forget_flush(zd_dev *dev); /* no flush fails for what a write did before; 0 or -EINTR */

/* ---------------------------------------------------------------- faultset.c */

/* Commands as bits of a rule. */
#define ZD_CMD_BIT(cmd) (1u << (cmd))
#define ZD_DATA_CMDS (ZD_CMD_BIT(ZD_CMD_READ) | ZD_CMD_BIT(ZD_CMD_WRITE) | ZD_CMD_BIT(ZD_CMD_APPEND))
#define ZD_WRITES (ZD_CMD_BIT(ZD_CMD_WRITE) | ZD_CMD_BIT(ZD_CMD_APPEND))
#define ZD_ZRWA_CMDS (ZD_CMD_BIT(ZD_CMD_OPEN_ZRWA) | ZD_CMD_BIT(ZD_CMD_COMMIT_ZRWA))
#define ZD_ONE_ZONE                                                                                                  \
	(ZD_CMD_BIT(ZD_CMD_OPEN) | ZD_CMD_BIT(ZD_CMD_CLOSE) | ZD_CMD_BIT(ZD_CMD_FINISH) | ZD_CMD_BIT(ZD_CMD_RESET) | \
	 ZD_CMD_BIT(ZD_CMD_SET_EXTENSION) | ZD_ZRWA_CMDS)
#define ZD_ALL_FORMS                                                                                  \
	(ZD_CMD_BIT(ZD_CMD_OPEN_ALL) | ZD_CMD_BIT(ZD_CMD_CLOSE_ALL) | ZD_CMD_BIT(ZD_CMD_FINISH_ALL) | \
	 ZD_CMD_BIT(ZD_CMD_RESET_ALL))

/* Shared with fault.c: which bytes and commands a rule is about, and its lock. */
uint64_t zd_fault_from(const zd_dev *dev, const struct zd_fault *f);
uint64_t zd_fault_to(const zd_dev *dev, const struct zd_fault *f);
bool zd_fault_is_one(const struct zd_fault *f);   /* such as zd_fault_add() leaves */
bool zd_fault_is_spent(const struct zd_fault *f); /* it never acts again, whatever comes */
const char *zd_fault_kind_name(int kind);
struct zd_fault_rt *zd_fault_next(struct zd_faults *all,
				  const struct zd_fault_rt *after); /* in the order of acting; NULL at the end */
int zd_fault_lock(zd_dev *dev, struct zd_error *err);
void zd_fault_unlock(zd_dev *dev);
void zd_fault_set_gate(zd_dev *dev);    /* under the lock */
bool zd_fault_lock_surely(zd_dev *dev); /* for what has happened already, or must not be left half-way; false: not held */

/* ---------------------------------------------------------------- spoil.c */

/* The first spoiled byte of from .. to-1, as far as anything is written there; to: there is none. */
uint64_t zd_spoiled_first(const zd_dev *dev, uint64_t from, uint64_t to);
bool zd_spoiled_look(zd_dev *dev); /* under the rules' lock: whether there are any, which commands are told */
/* Under the rules' lock, from here on. Whether any of these bytes are; they no longer are, if `take`. */
bool zd_spoiled_in(zd_dev *dev, uint64_t from, uint64_t length, bool take);
/* A block has one entry, however often it is spoiled. 0 or -ENOSPC. */
int zd_spoiled_put(zd_dev *dev, uint64_t offset, uint64_t length, struct zd_error *err);
void zd_spoiled_clear(zd_dev *dev);

/* ---------------------------------------------------------------- spoilset.c */

/* They hold something new, or nothing: they can be read again. 0 or -EINTR. */
int zd_spoiled_mend(zd_dev *dev, uint64_t offset, uint64_t length, struct zd_error *err);

/* ---------------------------------------------------------------- trace.c: the ring */

#define ZD_TRACE_BYTES (ZD_PAGE + ZD_TRACE_RING * ZD_TRACE_RECORD) /* the shared part: its state, then the ring */

_Static_assert(sizeof(struct zd_trace_record) == ZD_TRACE_RECORD, "as the ring is laid out");
_Static_assert(sizeof(struct zd_trace_rt) <= ZD_PAGE, "the ring begins a page behind it");

/* Bits of modes; any of them sets the gate's bit */
enum zd_trace_mode {
	ZD_TRACE_KEEP = 1,     /* the last commands are kept, whoever looks */
	ZD_TRACE_FILE = 2,     /* a recorder takes all of them to a file: commands wait for room */
	ZD_TRACE_SOON = 4,     /* a recorder is about to */
	ZD_TRACE_WITH_DATA = 8 /* with FILE: what commands write as well */
};

/* Parts of a command in the file: docs/trace-format.md. */
enum zd_trace_flag {
	ZD_TF_OFFSET = 1,
	ZD_TF_LENGTH = 2,
	ZD_TF_ZONE = 4,
	ZD_TF_LANDED = 8,
	ZD_TF_FAILED = 16,
	ZD_TF_INJECTED = 32,
	ZD_TF_OPENER = 64,
	ZD_TF_VIRTUAL = 128
};
#define ZD_TRACE_HAS_DATA 0x80u /* in the marks of a command in the file: which data follows */
#define ZD_TRACE_PIECE 65536u   /* bytes of a DATA or BASE item at most */

static inline struct zd_trace_record *zd_trace_ring(struct zd_trace_rt *trace)
{
	return (struct zd_trace_record *)((uint8_t *)trace + ZD_PAGE);
}

/*
 * Held for the length of a copy, by all but the stopped. What took effect must be put down, so it is not given up easily;
 * cancel (may be NULL) is for threads that no signal reaches. 0, or why it is not held.
 */
static inline int zd_trace_lock(zd_dev *dev, struct zd_trace_rt *trace, const _Atomic bool *cancel)
{
	int r = zd_mutex_lock_surely(dev, &trace->lock, cancel);

	return r == -EOWNERDEAD ? -pthread_mutex_consistent(&trace->lock) : r; /* a record half put in does not count yet */
}

static inline void zd_trace_unlock(struct zd_trace_rt *trace)
{
	pthread_mutex_unlock(&trace->lock);
}

static inline void zd_trace_wait(_Atomic uint32_t *word, uint32_t value, long ns)
{
	struct timespec t = { 0, ns };

	syscall(SYS_futex, word, FUTEX_WAIT, value, &t, NULL, 0);
}

static inline void zd_trace_wake(_Atomic uint32_t *word)
{
	atomic_fetch_add(word, 1);
	syscall(SYS_futex, word, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

/* Under the lock: take modes away, add others; the gate follows. */
void zd_trace_modes(zd_dev *dev, struct zd_trace_rt *trace, uint32_t drop, uint32_t add);
/* The handle may record: it is no read-only one, and the ring has room on the host. */
int zd_trace_enter(zd_dev *dev, struct zd_error *err);

/* A command on the slow way, as observers are told of it. */
struct zd_traced {
	struct zd_trace_rt *trace; /* the ring it is put into; NULL: none */
	struct zd_trace_record r;
	uint64_t before; /* the zone's word, for observers of this handle */
	bool local;      /* there are some */
	bool done;       /* they were told */
	bool told_late;  /* zd_fault_decides_late() */
	uint64_t ticket; /* of its pace, once it took effect; 0: it takes no time */
};
int zd_trace_join(zd_dev *dev, struct zd_traced *t); /* whether it is to be put in; waits for room. 0 or -EINTR */
/*
 * What a command will write, into the ring of data, where somebody records it; before any lock, as it waits for room. Then
 * t->r.data says which it is. From its buffers, or by its mover where it has one. 0, -EINTR, or what the mover said.
 */
int zd_trace_data(zd_dev *dev, struct zd_traced *t, const struct iovec *iov, const struct zd_mover *mover, uint64_t length);
int zd_trace_data_reserve(zd_dev *dev); /* room on the host for the ring. 0 or -errno */
void zd_trace_data_punch(zd_dev *dev);  /* and back */
/* The ring of data in this process, and how long it is; NULL: it cannot be had. */
uint8_t *zd_trace_data_ring(zd_dev *dev, uint64_t *size);
static inline bool zd_trace_wants_data(const struct zd_traced *t)
{
	return t->trace && atomic_load_explicit(&t->trace->modes, memory_order_relaxed) & ZD_TRACE_WITH_DATA;
}
/* What a fault rule of this kind does to what is written, of which a disk that is built of the recording knows nothing. */
static inline uint8_t zd_trace_marks_of(int kind)
{
	return kind == ZD_FAULT_LOST ? ZD_TRACE_LOSES : kind == ZD_FAULT_FLIP_MEDIA ? ZD_TRACE_FLIPS : 0;
}
void zd_trace_put(zd_dev *dev, struct zd_traced *t);
void zd_trace_sign(zd_dev *dev, struct zd_trace_record *r); /* who gives it */
/* What happens to the disk without being a command. */
void zd_trace_event(zd_dev *dev, int cmd, uint32_t zone, uint64_t offset, uint64_t length, uint32_t fault);
void zd_trace_unmap(zd_dev *dev);
uint32_t zd_trace_run(zd_dev *dev); /* first opener: the gate's bits for what an earlier run of this boot keeps */

/* ---------------------------------------------------------------- observe.c */

/*
 * Before any lock, as it may wait for room. t is zero. zone ZD_NO_ZONE, offset ZD_NONE: there is none. 0, or -EINTR; err is not NULL,
 * as what is refused must tell why, whoever asked for no error.
 */
int zd_observe_begin(zd_dev *dev, struct zd_traced *t, int cmd, uint32_t zone, uint64_t offset, uint64_t length,
		     struct zd_error *err);
/* Under the command's locks, when it took effect or was refused. */
void zd_observe_effect(zd_dev *dev, struct zd_traced *t, int64_t result, const struct zd_error *err);
/* The command's end, if observers were not told yet. */
void zd_observe_end_of(zd_dev *dev, struct zd_traced *t, int64_t result, const struct zd_error *err);
void zd_observe_forked(zd_dev *dev); /* a forked child has none of its parent's */

/* ---------------------------------------------------------------- pace.c */

void zd_pace_begin(zd_dev *dev, struct zd_traced *t, const struct zd_told *what); /* fills t->ticket */
uint64_t zd_pace_left(zd_dev *dev, uint64_t ticket); /* ns until it may have ended; 0: it has, and the ticket is gone */
void zd_pace_drop(zd_dev *dev, uint64_t ticket);
void zd_pace_end(zd_dev *dev); /* no command of this handle waits any more, or ever will */

#endif
