/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store: the bytes of zones. Where they lie (slots), moving them there and back, copy on write for what snapshots pin, what
 * a fork reads elsewhere, and what overwritten blocks held at the last flush. It may call area and what is below; it knows
 * no command, no fault and no write pointer's rules.
 *
 * From the bottom up: slot, bytes (of a slot), fork (what lies elsewhere), extension (of a descriptor), preimage, prestate,
 * zone (bytes of a zone).
 */
#ifndef ZD_STORE_H
#define ZD_STORE_H

#include "device/area/area.h"

#include "zoned/request.h"

/* ---------------------------------------------------------------- slot.c */

int zd_slot_assign(zd_dev *dev, uint32_t zone, struct zd_zone_rt *rt); /* under the stripe */
/* A slot that belongs to no list and no zone yet; zeroed: all zero. */
int zd_slot_take(zd_dev *dev, uint32_t zone, bool zeroed, uint32_t *slot);
int zd_slot_take_locked(zd_dev *dev, uint32_t zone, bool zeroed, uint32_t *slot); /* under the resource lock */
/* The rest of these under the resource lock. No zone's any more: free, or kept for those who pinned it. */
void zd_slot_give_up(zd_dev *dev, uint32_t slot);
/* A pinned slot is in use by a zone again. */
void zd_slot_claim(zd_dev *dev, uint32_t slot, uint32_t zone);
void zd_slot_release(zd_dev *dev, uint32_t zone, struct zd_zone_rt *rt); /* under stripe and resource lock */
/*
 * Under the stripe, and for _locked the resource lock too, before an EMPTY zone gets anything: who reset it may have been killed
 * before he let its slot go, and the entry on disk still tells of what lies there. That must not be written over: a crash of
 * the host brings the entry back. 0 or -EINTR.
 */
void zd_slot_begin_locked(zd_dev *dev, uint32_t zone, struct zd_zone_rt *rt);
int zd_slot_begin(zd_dev *dev, uint32_t zone, struct zd_zone_rt *rt);
void zd_slot_replace(zd_dev *dev, uint32_t zone, struct zd_zone_rt *rt,
		     uint32_t slot); /* likewise; with one that is in no list */
void zd_slots_settle(zd_dev *dev);   /* free the pending ones whose entry moved on; under commit + resource lock */
void zd_slots_trim(zd_dev *dev);     /* punch out what is beyond slot_cache; takes the resource lock */
/*
 * r: what an operation on the host gave. True: it found no room, but free slots that were kept filled gave theirs, so
 * another try is worth it. For all that takes blocks of the host. Without the resource lock, or under it.
 */
bool zd_slots_gave(zd_dev *dev, int r);
bool zd_slots_gave_locked(zd_dev *dev, int r);
bool zd_slots_pressing(zd_dev *dev);
void zd_slot_unpin(zd_dev *dev, uint32_t number);          /* slot + 1: one pin less; takes the resource lock */
int zd_slot_map(zd_dev *dev, uint32_t slot, uint8_t **at); /* the slot's first byte in the mapping */

/* ---------------------------------------------------------------- bytes.c */

/*
 * What is still to be written. With a mover iov is one empty buffer, whose base is the mover, and n is negative: so that only
 * who finds a buffer that has nothing left has to look for it. n is then -1 less the sectors already taken.
 */
struct zd_source {
	const struct iovec *iov;
	int n;
	size_t skip; /* bytes of iov[0] already taken */
};
static inline uint64_t zd_source_moved(const struct zd_source *s)
{
	return (uint64_t)(-1 - s->n) * 512;
}
void zd_source_skip(struct zd_source *s, uint64_t n); /* n bytes are not wanted */
/* n bytes to rel in a slot, under its zone's stripe; *done: how much landed, also on failure. */
int zd_store_part(zd_dev *dev, uint32_t slot, uint64_t rel, struct zd_source *s, uint64_t n, uint64_t *done);
/* n bytes to rel in a slot, under the stripe of its zone but not the resource lock. */
int zd_store_bytes(zd_dev *dev, uint32_t slot, uint64_t rel, const uint8_t *from, uint64_t n);
int zd_store_once(zd_dev *dev, uint32_t slot, uint64_t rel, const uint8_t *from,
		  uint64_t n);                                             /* under it too; does not look for room */
int zd_slot_clear(zd_dev *dev, uint32_t slot, uint64_t from, uint64_t to); /* under the stripe */
int zd_load(zd_dev *dev, uint32_t slot, uint64_t rel, uint8_t *to, uint64_t n);
/* How many of n bytes at rel in a slot lie in the mapping, at *at, on blocks that the host has. */
uint64_t zd_slot_there(zd_dev *dev, uint32_t slot, uint64_t rel, uint64_t n, const uint8_t **at);
#define ZD_MOVE_PIECE (32u << 10) /* bytes on the stack, where a mover and the mapping do not meet */

/* ---------------------------------------------------------------- fork.c */

#define ZD_POOL 8u /* closed forks kept for reuse */

/* A handle of its own on the origin, shared by what was made from it. */
struct zd_origin {
	zd_dev *dev;
	_Atomic uint32_t refs;
	uint32_t pooled; /* under dev->seg_lock */
	zd_dev *pool[ZD_POOL];
};

/* A slot of a disk, with a pin of this process on it; shared by all rows that name it. */
struct zd_pinned {
	struct zd_origin *origin;
	_Atomic uint32_t refs;
	uint32_t slot; /* + 1 */
	pid_t owner;   /* the pin is this process's, not a forked child's */
};

/* Bytes of a zone, from where the piece before ends. */
struct zd_piece {
	struct zd_pinned *at; /* NULL: zeros */
	uint64_t end;
};

/* Blocks of a zone by bits, in pairs of words as in struct zd_pre; and where the bytes lie that they held before. */
struct zd_blocks {
	uint64_t *words; /* NULL: there are none */
	uint64_t first;
	uint32_t n; /* pairs */
	struct zd_pinned *at;
};

struct zd_row {
	uint32_t zone, opened; /* opened: rank among the implicitly open zones, oldest first */
	uint32_t nr_pieces;
	struct zd_piece *pieces;     /* what a fork's zone reads elsewhere */
	struct zd_pinned *own;       /* behind the last of them: the zone's slot */
	struct zd_pinned *extension; /* a fork's: whose end has the descriptor extension; NULL: its own */
	uint64_t word, durable, lost;
	struct zd_blocks pre;    /* unflushed */
	struct zd_blocks undone; /* in the pieces; they show what they held before. Never beside pre: a survivor is flushed */
};

/*
 * What a fork still reads from its snapshot: bytes 0 .. length-1 of a zone. All but the length and the two flags stay as
 * they are as long as the fork lives, so that a rollback needs to set these three only.
 */
struct zd_part {
	_Atomic bool unflushed; /* the row's pre-images are those of the fork as well */
	_Atomic bool extension; /* the descriptor extension is the row's as well */
	_Atomic uint64_t length;
	const struct zd_row *row;
	struct zd_blocks undone; /* by the power cut that made the fork */
};

struct zd_view {
	zd_snapshot *snapshot;
	struct zd_part *parts; /* per zone */
};

/* Piece i of a row; the last one is the slot of its own. */
static inline struct zd_piece zd_piece_of(const struct zd_row *row, uint32_t i)
{
	return i < row->nr_pieces ? row->pieces[i] : (struct zd_piece){ row->own, UINT64_MAX };
}
bool zd_blocks_have(const struct zd_blocks *b, uint64_t block);
int zd_pinned_load(const struct zd_pinned *p, uint64_t rel, uint8_t *to, uint64_t n);
int zd_row_load(const struct zd_row *row, uint32_t block, uint64_t rel, uint8_t *to,
		uint64_t n); /* what a zone showed at the snapshot */
/* Under the stripe: the zone's slot is pinned, and bytes below the pinned part are to change: it moves to a copy. */
int zd_slot_unshare(zd_dev *dev, uint32_t zone, struct zd_zone_rt *rt);
bool zd_view_has(const zd_dev *dev, uint32_t zone); /* some of the zone's bytes lie in the origin */
int zd_view_load(zd_dev *dev, uint32_t zone, uint32_t slot, uint64_t rel, uint8_t *to, uint64_t n);
int zd_view_own(zd_dev *dev, uint32_t zone, struct zd_zone_rt *rt);
void zd_view_cut(zd_dev *dev, uint32_t zone, uint64_t kept); /* after the generation grew */
void zd_view_reset(zd_dev *dev, uint32_t zone);              /* likewise: nothing of the zone lies in the origin any more */
/* Which slot's end has the descriptor extension of a row's zone. */
static inline struct zd_pinned *zd_row_extension(const struct zd_row *row)
{
	return row->extension ? row->extension : row->own;
}
/* Pre-images that a fork's zone has in its origin; NULL: none. Block rel by zd_view_pre_load(). */
const uint64_t *zd_view_pre(const zd_dev *dev, uint32_t zone, uint64_t *first, uint32_t *n);
int zd_view_pre_load(zd_dev *dev, uint32_t zone, uint64_t rel, uint8_t *to);
void zd_view_pre_drop(zd_dev *dev, uint32_t zone);

/* ---------------------------------------------------------------- preimage.c, prestate.c; all under the zone's stripe */

/* Whether blocks of the zone are known to be unflushed (or lost). Without the stripe: a look. */
bool zd_pre_any(const zd_dev *dev, uint32_t zone);
/* n bytes at rel are about to be written: keep what is there. always: also while nobody wants pre-images. */
int zd_pre_log(zd_dev *dev, uint32_t zone, struct zd_zone_rt *rt, uint64_t rel, uint64_t n, bool always);
int zd_pre_lose(zd_dev *dev, uint32_t zone, uint64_t rel, uint64_t n); /* they were logged: the next power cut takes them */
int zd_pre_trim(zd_dev *dev, uint32_t zone); /* what a write that was never published marked behind the pointer is forgotten */
/* What was written before `end` is durable, but for lost blocks. */
void zd_pre_commit(zd_dev *dev, uint32_t zone, uint64_t end);
int zd_pre_flush(zd_dev *dev, uint32_t zone);                     /* what was written is durable, but for lost blocks */
void zd_pre_drop(zd_dev *dev, uint32_t zone, bool resource_held); /* nothing to go back to */
/* Each block with a bit set, ascending. A negative result of `each` ends it. */
struct zd_pre_block {
	uint64_t rel; /* from the zone's start */
	bool lost;
};
typedef int zd_pre_fn(zd_dev *dev, uint32_t zone, const struct zd_pre_block *block, void *arg);
int zd_pre_each(zd_dev *dev, uint32_t zone, zd_pre_fn *each, void *arg);
int zd_pre_load(zd_dev *dev, uint32_t zone, uint64_t rel, uint8_t *to); /* one block as it was */
/* The zone's blocks as a list for snapshots: words from first on, in pairs; *words is malloced, NULL if there are none. */
int zd_pre_copy(zd_dev *dev, uint32_t zone, uint64_t **words, uint64_t *first, uint32_t *n, uint32_t *slot);
/* All locks held: as a snapshot has it. slot + 1 of the pinned data, n 0: nothing. */
void zd_pre_put_back(zd_dev *dev, uint32_t zone, const uint64_t *words, uint64_t first, uint32_t n, uint32_t slot);
int zd_pre_home(zd_dev *dev, uint32_t zone); /* a fork: what lies in the origin becomes its own */
void zd_pre_start(zd_dev *dev);              /* first opener: forget what cannot be; before rebuilding */

#define ZD_PRE_PER_WORD 64u /* blocks */

/* Blocks from .. to-1 */
struct zd_span {
	uint64_t from, to;
};
struct zd_span zd_pre_marks(const zd_dev *dev, uint32_t zone,
			    const struct zd_pre *pre); /* the part of a record that means something */
void zd_pre_widen(const zd_dev *dev, struct zd_pre *pre, uint64_t first, uint64_t n);
void zd_pre_detach(zd_dev *dev, uint32_t *from); /* under the resource lock, as the next */
int zd_pre_take_map(zd_dev *dev, uint32_t zone, struct zd_pre *pre);
static inline int zd_pre_load_words(zd_dev *dev, const struct zd_pre *pre, uint64_t word, uint64_t pair[2])
{
	return zd_load(dev, pre->map - 1, word * 16, (uint8_t *)pair, 16);
}
static inline int zd_pre_store_words(zd_dev *dev, const struct zd_pre *pre, uint64_t word, const uint64_t pair[2],
				     bool resource_held)
{
	return resource_held ? zd_store_once(dev, pre->map - 1, word * 16, (const uint8_t *)pair, 16) :
			       zd_store_bytes(dev, pre->map - 1, word * 16, (const uint8_t *)pair, 16);
}
/* The bits of blocks from .. to-1 that lie in a word. */
static inline uint64_t zd_pre_mask(uint64_t word, uint64_t from, uint64_t to)
{
	uint64_t first = word * ZD_PRE_PER_WORD, mask = UINT64_MAX;

	if (from > first)
		mask &= UINT64_MAX << (from - first);
	if (to < first + ZD_PRE_PER_WORD)
		mask &= UINT64_MAX >> (first + ZD_PRE_PER_WORD - to);
	return mask;
}

/* ---------------------------------------------------------------- extension.c */

/* Under the stripe, of an EMPTY zone, which has a slot from then on: its descriptor extension, not published yet. */
int zd_extension_store(zd_dev *dev, uint32_t zone, struct zd_zone_rt *rt, const uint8_t *bytes);
/* 1, 0: the zone has none, or -errno. No lock is needed. */
int zd_extension_load(zd_dev *dev, uint32_t zone, uint8_t *to);

/* ---------------------------------------------------------------- zone.c; under the zone's stripe, but for reading a required zone */

/*
 * *done: how much landed. -EINTR when the hook said so: what landed counts. Other errors: the host failed,
 * and what landed lies beyond any write pointer.
 */
int zd_zone_store(zd_dev *dev, struct zd_zone_rt *rt, uint32_t zone, uint64_t rel, struct zd_source *s, uint64_t n,
		  uint64_t *done);
/* The same in a zone that may be overwritten. lost: a fault makes the next power cut take it. */
int zd_zone_store_over(zd_dev *dev, struct zd_zone_rt *rt, uint32_t zone, uint64_t rel, struct zd_source *s, uint64_t n,
		       bool lost, uint64_t *done);
/* What is not written below `to` becomes zeros, before a write pointer goes there. 0 or -errno. */
int zd_zone_raise(zd_dev *dev, uint32_t zone, struct zd_zone_rt *rt, uint64_t to);
/* Zeros instead of bytes; drop: their blocks are given back to the host. */
int zd_zone_zero(zd_dev *dev, struct zd_zone_rt *rt, uint32_t zone, uint64_t rel, uint64_t n, bool drop, bool lost,
		 uint64_t *done);
int zd_zone_load(zd_dev *dev, uint32_t zone, uint64_t rel, uint8_t *to,
		 uint64_t n); /* takes the stripe itself where it needs it */
/* The same to a mover, whose first byte is `at`. */
int zd_zone_give(zd_dev *dev, uint32_t zone, uint64_t rel, const struct zd_mover *mover, uint64_t at, uint64_t n);
/* Flip one bit of what a zone stores, by its place on the disk; takes the stripe. Nothing happens where nothing is stored. */
int zd_zone_flip(zd_dev *dev, uint64_t offset, unsigned bit);

#endif
