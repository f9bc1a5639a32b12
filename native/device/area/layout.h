/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The shared runtime area: what lies in it. Records of zones, slots and pre-images, the locks, fault rules and the ring of
 * records. It is no part of the image format: its tag says which build made it (runtime.c), and sizes may change.
 */
#ifndef ZD_LAYOUT_H
#define ZD_LAYOUT_H

#include "base/base.h"

#include <pthread.h>
#include <stdatomic.h>

#define ZD_STRIPES 256u
#define ZD_CACHELINE 64
#define ZD_CHUNK 65536u        /* shared state is reserved on the host in pieces of this size */
#define ZD_IO_CHUNK (8u << 20) /* bytes copied between two looks at the interrupt hook */
#define ZD_PENDING_MAX 1024u   /* freed slots that may wait for a commit */
#define ZD_DEFAULT_SLOT_CACHE (256ull << 20)

/* The counters of a zone, which struct zd_zone_rt and struct zd_zone_counters (zoned/zone.h) call the same. */
/* clang-format off */
#define ZD_EACH_COUNTER(X) \
	X(reads) X(writes) X(appends) X(bytes_read) X(bytes_written) X(finish_wasted) X(opens) X(closes) X(finishes) X(resets) \
	X(implicit_opens) X(implicit_closes) X(errors)
/* clang-format on */

/* Per zone, 128 bytes; all zero is the initial state. */
struct zd_zone_rt {
	_Atomic uint64_t word; /* as in format.h. Condition changes: under stripe (or CAS by an evictor) and resource lock. */
	_Atomic uint64_t durable;   /* bytes that an emulated power cut keeps; under the stripe */
	_Atomic uint32_t slot;      /* slot + 1; under stripe and resource lock */
	_Atomic uint32_t gen;       /* grows whenever the zone's data goes; lets readers work without a lock */
	_Atomic uint32_t disk_slot; /* slot + 1 in the entry last written; under the commit lock */
	uint32_t entry_seq;         /* seq of that entry; under the commit lock */
	uint64_t open_seq;          /* when it was implicitly opened; written under the resource lock */
	uint32_t next, prev;        /* zone + 1 in the list of implicitly open zones, oldest first; resource lock */
	/* counters: added to under the stripe or the resource lock, but for reads and errors; read without any */
	_Atomic uint64_t reads, bytes_read;
	_Atomic uint64_t writes, appends, bytes_written, finish_wasted;
	_Atomic uint32_t opens, closes, finishes, resets, implicit_opens, implicit_closes;
	_Atomic uint32_t errors;
	/* slot + 1 in the entry on its way, from when it was collected; disk_slot at rest; commit lock */
	_Atomic uint32_t commit_slot;
};
_Static_assert(sizeof(struct zd_zone_rt) == 128, "two cache lines");

enum zd_slot_state {
	ZD_SLOT_FREE = 0,
	ZD_SLOT_USED = 1,
	ZD_SLOT_PENDING = 2,
	ZD_SLOT_TRIM = 3,  /* free, but in no list: whoever holds the commit lock is punching it out */
	ZD_SLOT_PINNED = 4 /* no zone's, but views read it */
};

/*
 * Per slot. Under the resource lock, but for filled, which belongs to the owning zone's stripe while used. Pins rise under
 * the stripe and the resource lock, and fall under the latter alone; who holds the stripe and reads them may so see one
 * that has just gone, and copies once more than it had to.
 */
struct zd_slot_rt {
	_Atomic uint64_t filled; /* bytes from the slot's start that surely have host blocks */
	uint32_t zone;           /* owner + 1 (USED, PENDING) */
	uint32_t next;           /* slot + 1 in its list */
	_Atomic uint32_t pins;   /* snapshots, and readers without a lock, that need its bytes unchanged */
	uint32_t state;          /* enum zd_slot_state */
	_Atomic uint64_t pinned; /* how many bytes from its start they need; 0 once the last of them has read its last */
};
_Static_assert(sizeof(struct zd_slot_rt) == 32, "packs");

/*
 * What the blocks of a conventional or preferred zone held at the last flush, where they were written since: their
 * bytes in one slot, at the offsets that they have in the zone, and which they are in another one: for each 64
 * blocks two words, ZD_PRE_WRITTEN and ZD_PRE_LOST. Under the zone's stripe; all zero is the initial state.
 */
struct zd_pre {
	uint32_t data, map; /* slots + 1; changed under the resource lock too */
	uint32_t flags;     /* enum zd_pre_flag */
	uint32_t zero;
	_Atomic uint64_t from, to; /* blocks with a bit set lie in from .. to-1 */
};
_Static_assert(sizeof(struct zd_pre) == 32, "packs");
enum zd_pre_flag {
	ZD_PRE_STALE = 1, /* the data slot may hold bytes where no bit is set */
	ZD_PRE_FROZEN = 2 /* snapshots know more of the data slot than the map: take another one before writing */
};
enum { ZD_PRE_WRITTEN = 0, ZD_PRE_LOST = 1 }; /* LOST: a fault's lost write; it stays so through flushes */

/* Bits of head->gate: anything set sends commands the slow way */
enum zd_gate {
	ZD_GATE_MARK = 1,   /* the image is still marked clean on disk */
	ZD_GATE_FAILED = 2, /* a host sync failed */
	ZD_GATE_POWER = 4,  /* the emulated disk has no power */
	ZD_GATE_FAULTS = 8, /* fault rules are set, or a flush owes an error */
	ZD_GATE_TRACE = 16, /* somebody records */
	ZD_GATE_BACK =
		32, /* the disk is going back to a snapshot; if who did it is dead, whoever comes finishes it (whole/back.c) */
	ZD_GATE_BEHIND = 64 /* it went back as it was opened: no command before its entries were written */
};
#define ZD_SLOW 1 /* what zd_gate() answers for a command that goes by way of traces and fault rules */

enum zd_rt_state { ZD_RT_NONE = 0, ZD_RT_OPEN = 0x4F50454E, ZD_RT_CLOSED = 0x434C4F53 };

/* Whom the area belongs to; any difference makes its content worthless. */
struct zd_rt_tag {
	char magic[8];
	uint32_t abi; /* sizes of everything in here, hashed */
	uint32_t zero;
	uint8_t boot[16];
	uint64_t device, inode;
	int64_t birth_sec, birth_nsec; /* inode numbers are reused within one boot */
	uint8_t uuid[16];
};

struct zd_rt_head {
	struct zd_rt_tag tag;
	_Atomic uint32_t state;      /* enum zd_rt_state */
	_Atomic uint32_t gate;       /* enum zd_gate */
	uint32_t was_clean;          /* how the first opener of this run found the image */
	_Atomic uint32_t stray_slot; /* a slot being trimmed was left in no list: the next owner of the commit lock rebuilds */
	_Alignas(ZD_CACHELINE) pthread_mutex_t commit;
	_Alignas(ZD_CACHELINE) pthread_mutex_t resource;
	/* under the resource lock */
	_Alignas(ZD_CACHELINE) _Atomic uint32_t nr_implicit;
	_Atomic uint32_t nr_explicit, nr_closed;
	_Atomic uint32_t counting;   /* odd: the three change now; read them by zd_resources_now() */
	uint32_t imp_head, imp_tail; /* zone + 1 */
	uint32_t rr_cursor;          /* where the round-robin victim search goes on */
	uint64_t open_clock;
	/* read without the lock here and there, hence atomic */
	_Atomic uint32_t max_open_seen, max_active_seen;
	_Atomic uint32_t nr_slots;                   /* slots the file has room for */
	uint32_t warm_head, cold_head, pending_head; /* slot + 1 */
	_Atomic uint32_t nr_free, nr_pending;
	_Atomic uint64_t warm_bytes, pending_bytes;
	_Atomic uint32_t nr_pre; /* slots that hold pre-images */
	_Atomic uint32_t no_pre; /* nobody wants any */
	/* counters that belong to no zone */
	_Alignas(ZD_CACHELINE) _Atomic uint64_t flushes;
	_Atomic uint64_t errors_by_rule[ZD_NR_RULES];
	_Atomic uint32_t powered, conditioned, gone_back; /* struct zd_news */
	/* under the commit lock */
	uint64_t status_seq;
	/* whole/back.c: what the zones become, in slots that are linked by their `next`; it counts while ZD_GATE_BACK is set */
	_Atomic uint32_t back_slot; /* slot + 1 */
	_Atomic uint32_t back_rows;
	pthread_mutex_t back; /* of those who finish it for a dead one; taken after stripes and before the resource lock */
};

/* A rule with what it remembers; under the lock of struct zd_faults. */
struct zd_fault_rt {
	struct zd_fault f; /* f.id 0: a free place */
	uint64_t rng;
	_Atomic uint32_t id;       /* f.id, for those who look without the lock: read-only handles and commands that hang */
	_Atomic uint32_t released; /* grows with each zd_fault_release() */
};

/* Data that the next power cut takes although it was acknowledged: of a zone, from a byte on. */
struct zd_lost {
	uint32_t zone; /* + 1; 0: a free place */
	uint32_t gen;  /* of the zone; another one means that the data is gone anyway */
	uint64_t from; /* bytes from the zone's start */
};

struct zd_faults {
	pthread_mutex_t lock; /* the last of all locks: nothing else is taken under it */
	uint32_t last_id, nr;
	uint32_t flush_fault;            /* the next flush fails by this rule */
	_Atomic uint32_t power_fault;    /* the power was cut by this rule; 0: by a call */
	_Atomic uint64_t power_label[6]; /* its label; read without a lock, see zd_fault_mark_power() */
	char flush_label[48];
	_Atomic uint64_t virtual_ns;
	_Atomic uint32_t has_spoiled; /* 0: no command needs to look for them */
	struct zd_fault_rt rule[ZD_MAX_FAULTS];
	struct zd_lost lost[ZD_MAX_LOST];
	_Atomic uint64_t spoiled[ZD_MAX_SPOILED]; /* blocks that cannot be read: where each begins, | 1; 0: a free place */
};

/*
 * Recording: in the shared state, so that all openers' commands are met. The ring lies in the page behind it. What commands
 * write lies in a second ring, while it is recorded too: in the room that the image has spare behind the runtime area.
 */
#define ZD_TRACE_RING 1024u  /* records */
#define ZD_TRACE_RECORD 128u /* bytes of each */

struct zd_trace_rt {
	pthread_mutex_t lock;     /* of head, modes and the ring; the last of all locks */
	pthread_mutex_t recorder; /* the recorder's thread holds it all its life */
	_Atomic uint32_t modes;   /* enum zd_trace_mode */
	_Atomic uint32_t pid;     /* of the recorder */
	_Atomic uint64_t head;    /* records ever put in; number n lies at n % ZD_TRACE_RING */
	_Atomic uint64_t tail;    /* the first that the recorder has not taken yet */
	_Atomic uint64_t lost;    /* not put in: no room, though the command had waited for some */
	_Atomic uint64_t waits;   /* commands that waited for room */
	uint32_t zero;
	_Atomic uint32_t waiting;    /* now; too many when one was killed */
	_Atomic uint32_t wake, room; /* futexes: of the recorder, of those who wait */
	/* of the ring of data, under the lock: bytes ever put in and taken, and the last command that gave any */
	_Atomic uint64_t data_head, data_tail, last_data;
};

/* A piece of what a command writes, in the ring of data: behind it lie its bytes. */
struct zd_trace_piece {
	uint64_t data; /* of which command: what struct zd_trace_record calls data */
	uint64_t at;   /* how many of its bytes came before */
	uint64_t length;
	uint64_t zero;
};

struct zd_stripe {
	_Alignas(ZD_CACHELINE) pthread_mutex_t lock;
};

#endif
