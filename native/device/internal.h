/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the device core share: the handle, the shared runtime area, and the inline helpers of
 * the hot path. Nothing outside native/device includes this.
 *
 * Files, from the bottom up: crc32c, geometry (config -> layout), host (all operations
 * on the host's file), lock (robust mutexes, waiting), door (openers taking turns), runtime (the shared area: reserve,
 * rebuild, recover), judge (which of its words can be believed), resource (open and active accounting), slot (where a
 * zone's data lies), commit (flush), io (read, write,
 * append), mgmt (zone commands), report (looking), fault (rules that make commands fail), trace (recording commands),
 * recorder (to a file), tracefile (reading one), preimage (what overwritten blocks held at the last flush), power
 * (cuts), rollback (all or nothing, whoever dies), view (snapshots, forks), image (create, open, close, following a
 * process's fork), check.
 */
#ifndef ZD_INTERNAL_H
#define ZD_INTERNAL_H

#include "format.h"
#include "rules/check.h"
#include "zd.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/types.h>

#define ZD_STRIPES 256u
#define ZD_CACHELINE 64
#define ZD_CHUNK 65536u       /* shared state is reserved on the host in pieces of this size */
#define ZD_IO_CHUNK (8u << 20) /* bytes copied between two looks at the interrupt hook */
#define ZD_PENDING_MAX 1024u  /* freed slots that may wait for a commit */
#define ZD_DEFAULT_SLOT_CACHE (256ull << 20)

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/* ---------------------------------------------------------------- the shared runtime area */

/* Per zone, 128 bytes; all zero is the initial state. */
struct zd_zone_rt {
	_Atomic uint64_t word;      /* as in format.h. Condition changes: under stripe (or CAS by an evictor) and resource lock. */
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
	_Atomic uint32_t commit_slot; /* slot + 1 in the entry being written; equals disk_slot at rest; commit lock */
};
_Static_assert(sizeof(struct zd_zone_rt) == 128, "two cache lines");

enum zd_slot_state {
	ZD_SLOT_FREE = 0,
	ZD_SLOT_USED = 1,
	ZD_SLOT_PENDING = 2,
	ZD_SLOT_TRIM = 3, /* free, but in no list: whoever holds the commit lock is punching it out */
	ZD_SLOT_PINNED = 4 /* no zone's, but views read it */
};

/* Per slot. Under the resource lock, but for filled, which belongs to the owning zone's stripe while used. */
struct zd_slot_rt {
	_Atomic uint64_t filled; /* bytes from the slot's start that surely have host blocks */
	uint32_t zone;           /* owner + 1 (USED, PENDING) */
	uint32_t next;           /* slot + 1 in its list */
	uint32_t pins;           /* snapshots that need its bytes unchanged; under all stripes or, to fall, the resource lock */
	uint32_t state;          /* enum zd_slot_state */
	uint64_t pinned;         /* how many bytes from its start they need */
};
_Static_assert(sizeof(struct zd_slot_rt) == 32, "packs");

/* gcc and clang say it differently. */
#if defined(__SANITIZE_THREAD__)
#define ZD_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define ZD_TSAN 1
#endif
#endif

/*
 * What the blocks of a conventional or preferred zone held at the last flush, where they were written since: their
 * bytes in one slot, at the offsets that they have in the zone, and which they are in another one: for each 64
 * blocks two words, ZD_PRE_WRITTEN and ZD_PRE_LOST. Under the zone's stripe; all zero is the initial state.
 */
struct zd_pre {
	uint32_t data, map;        /* slots + 1; changed under the resource lock too */
	uint32_t flags;            /* enum zd_pre_flag */
	uint32_t zero;
	_Atomic uint64_t from, to; /* blocks with a bit set lie in from .. to-1 */
};
_Static_assert(sizeof(struct zd_pre) == 32, "packs");
enum zd_pre_flag {
	ZD_PRE_STALE = 1,  /* the data slot may hold bytes where no bit is set */
	ZD_PRE_FROZEN = 2  /* snapshots know more of the data slot than the map: take another one before writing */
};
enum { ZD_PRE_WRITTEN = 0, ZD_PRE_LOST = 1 }; /* LOST: a fault's lost write; it stays so through flushes */

enum zd_gate { /* bits of head->gate: anything set sends commands the slow way */
	ZD_GATE_MARK = 1,   /* the image is still marked clean on disk */
	ZD_GATE_FAILED = 2, /* a host sync failed */
	ZD_GATE_POWER = 4,  /* the emulated disk has no power */
	ZD_GATE_FAULTS = 8, /* fault rules are set, or a flush owes an error */
	ZD_GATE_TRACE = 16, /* somebody records */
	ZD_GATE_BACK = 32   /* the disk is going back to a snapshot; if who did it is dead, whoever comes finishes it (rollback.c) */
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
	_Atomic uint32_t state; /* enum zd_rt_state */
	_Atomic uint32_t gate;  /* enum zd_gate */
	uint32_t was_clean;     /* how the first opener of this run found the image */
	_Atomic uint32_t stray_slot; /* a slot being trimmed was left in no list: the next owner of the commit lock rebuilds */
	_Alignas(ZD_CACHELINE) pthread_mutex_t commit;
	_Alignas(ZD_CACHELINE) pthread_mutex_t resource;
	/* under the resource lock */
	_Alignas(ZD_CACHELINE) _Atomic uint32_t nr_implicit;
	_Atomic uint32_t nr_explicit, nr_closed;
	uint32_t imp_head, imp_tail; /* zone + 1 */
	uint32_t rr_cursor;          /* where the round-robin victim search goes on */
	uint64_t open_clock;
	/* read without the lock here and there, hence atomic */
	_Atomic uint32_t max_open_seen, max_active_seen;
	_Atomic uint32_t nr_slots;   /* slots the file has room for */
	uint32_t warm_head, cold_head, pending_head; /* slot + 1 */
	_Atomic uint32_t nr_free, nr_pending;
	_Atomic uint64_t warm_bytes, pending_bytes;
	_Atomic uint32_t nr_pre;    /* slots that hold pre-images */
	_Atomic uint32_t no_pre;    /* nobody wants any */
	/* counters that belong to no zone */
	_Alignas(ZD_CACHELINE) _Atomic uint64_t flushes;
	_Atomic uint64_t errors_by_rule[ZD_NR_RULES];
	/* under the commit lock */
	uint64_t status_seq;
	/* rollback.c: what the zones become, in slots that are linked by their `next`; it counts while ZD_GATE_BACK is set */
	_Atomic uint32_t back_slot; /* slot + 1 */
	_Atomic uint32_t back_rows;
	pthread_mutex_t back;       /* of those who finish it for a dead one; taken after stripes and before the resource lock */
};

/* A rule with what it remembers; under the lock of struct zd_faults. */
struct zd_fault_rt {
	struct zd_fault f;    /* f.id 0: a free place */
	uint64_t rng;
	_Atomic uint32_t id;  /* f.id, for those who look without the lock: read-only handles and commands that hang */
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
	uint32_t flush_fault; /* the next flush fails by this rule */
	_Atomic uint32_t power_fault;    /* the power was cut by this rule; 0: by a call */
	_Atomic uint64_t power_label[6]; /* its label; read without a lock, see zd_fault_mark_power() */
	char flush_label[48];
	_Atomic uint64_t virtual_ns;
	struct zd_fault_rt rule[ZD_MAX_FAULTS];
	struct zd_lost lost[ZD_MAX_LOST];
};

/* Recording: in the shared state, so that all openers' commands are met. The ring lies in the page behind it. */
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
	_Atomic uint32_t observers; /* handles; too many when one was killed */
	_Atomic uint32_t waiting; /* now; too many when one was killed */
	_Atomic uint32_t wake, room; /* futexes: of the recorder, of those who wait */
};

struct zd_stripe {
	_Alignas(ZD_CACHELINE) pthread_mutex_t lock;
};

/* ---------------------------------------------------------------- the handle */

/* Everything derived from the header; never changes. */
struct zd_geometry {
	struct zd_header h;
	struct zd_rulebook book;
	uint32_t zone_shift;  /* log2(zone_size), or 0 if it is no power of two */
	uint32_t block_mask;  /* logical_block - 1 */
	uint32_t max_slots;
	uint64_t slots_per_seg;
	uint32_t nr_segs;
	/* offsets in the runtime area */
	uint64_t rt_stripes, rt_chunks, rt_dirty, rt_implicit, rt_faults, rt_trace, rt_zones, rt_slots, rt_pre, rt_size;
	uint64_t rt_fixed;    /* bytes from the start on that are always reserved */
	uint32_t nr_chunks;
	uint8_t *conv;        /* bitmap of conventional zones, or NULL if there are none */
	uint32_t nr_conv_zones;
	bool keeps_pre;       /* it has zones that may be overwritten, and keeps data */
};

struct zd_dev {
	struct zd_geometry g;
	_Atomic uint32_t *cookie; /* on a page that the kernel wipes in a forked child */
	int fd;
	bool readonly, in_ram, cow, own_rt /* readonly: rt is private memory, recovered for this handle alone */;
	struct zd_rt_head *head;
	struct zd_stripe *stripes;
	_Atomic uint8_t *chunks;    /* 1: that chunk of zones/slots is reserved */
	_Atomic uint64_t *dirty;    /* bitmap: the entry on disk may be behind */
	uint64_t *implicit;         /* bitmap of implicitly open zones; resource lock */
	struct zd_faults *faults;
	struct zd_trace_rt *trace;
	void *trace_map;            /* readonly: a second mapping of it, to write; MAP_FAILED: its user may not */
	pthread_mutex_t trace_lock; /* this process only: of the next two, and of who observes */
	struct zd_recorder *recorder; /* this handle records */
	bool recording;             /* it does, or somebody is about to begin */
	_Atomic(zd_told_fn) told;   /* zd_observe() */
	void *told_arg;
	void (*told_end)(void *);
	_Atomic uint32_t telling;   /* threads that are in it */
	uint32_t pid;                 /* of this process */
	struct zd_zone_rt *zones;
	struct zd_slot_rt *slots;
	struct zd_pre *pre;
	uint8_t *rt;                /* the mapping, rt_size bytes */
	uint8_t *shared_rt;         /* readonly with own_rt: the file's area, to see when it comes alive */
	_Atomic(uint8_t *) *segs;   /* mapped pieces of the data area */
	pthread_mutex_t seg_lock;   /* this process only; also of origin */
	struct zd_origin *origin;   /* the handle that snapshots of this disk share, once there is one */
	struct zd_view *view;       /* a fork: what it reads from elsewhere; NULL for all other disks */
	uint8_t *door;              /* the runtime area's first page, mapped for itself; door.c */
	uint64_t door_of;           /* what stands there if it is this boot's and this file's; 0: not looked at yet */
	pthread_mutex_t *gate;      /* held: this handle is inside the door */
	bool brief;                 /* it waits for nobody long, and then lets its caller decide */
	_Atomic bool closing;       /* commands that hang by a fault rule end */
	int (*interrupt)(void *);
	void *interrupt_arg;
	zd_watch_fn *watch;
	void *watch_arg;
	char path[192];             /* for error texts */
};

#define ZD_COOKIE 0x5A44464Bu

/* image.c */
int zd_reattach(zd_dev *dev, struct zd_error *err);
/* The gate is not 0: 0, ZD_SLOW, or why the command is refused. */
int zd_gate(zd_dev *dev, bool changes, struct zd_error *err);
/* The same for commands that are on the slow way already, whose refusal is recorded: never ZD_SLOW. */
int zd_gate_rest(zd_dev *dev, bool changes, struct zd_error *err);
/* Read-only with a private copy: the file's area is one of this boot, this build and this file. */
bool zd_runtime_same(const zd_dev *dev);
/*
 * What faults, power cuts, snapshots and forks ask on the way of a plain read or write. bench/instructions.py builds
 * the core with ZD_BARE as well, without any of it, to tell what it costs; nothing else does.
 */
#ifdef ZD_BARE
#define zd_asked(condition) false
#else
#define zd_asked(condition) unlikely(condition)
#endif
/* Under the lock that a command works under: a power cut may have come between the gate and here; zd_stopped() tells. */
#define zd_powerless(dev) zd_asked(atomic_load_explicit(&(dev)->head->gate, memory_order_relaxed) & (ZD_GATE_POWER | ZD_GATE_BACK))
int zd_stopped(zd_dev *dev, struct zd_error *err);
/* Every public call begins with this; free but for one load. */
static inline int zd_enter(zd_dev *dev, struct zd_error *err)
{
	if (likely(atomic_load_explicit(dev->cookie, memory_order_relaxed) == ZD_COOKIE) && !dev->own_rt)
		return 0;
	return zd_reattach(dev, err);
}

/* ---------------------------------------------------------------- zones and words */

static inline uint32_t zd_zone_of(const zd_dev *dev, uint64_t offset)
{
	return (uint32_t)(dev->g.zone_shift ? offset >> dev->g.zone_shift : offset / dev->g.h.zone_size);
}
static inline uint64_t zd_zone_start(const zd_dev *dev, uint32_t zone)
{
	return (uint64_t)zone * dev->g.h.zone_size;
}
static inline uint64_t zd_zone_length(const zd_dev *dev, uint32_t zone)
{
	uint64_t left = dev->g.h.size - zd_zone_start(dev, zone);
	return left < dev->g.h.zone_size ? left : dev->g.h.zone_size;
}
static inline bool zd_is_conv(const zd_dev *dev, uint32_t zone)
{
	return dev->g.conv && (dev->g.conv[zone >> 3] >> (zone & 7) & 1);
}
static inline int zd_zone_type(const zd_dev *dev, uint32_t zone)
{
	if (zd_is_conv(dev, zone))
		return ZD_CONVENTIONAL;
	return dev->g.h.model == ZD_HOST_AWARE ? ZD_SEQ_WRITE_PREFERRED : ZD_SEQ_WRITE_REQUIRED;
}
static inline uint64_t zd_zone_capacity(const zd_dev *dev, uint32_t zone)
{
	uint64_t length = zd_zone_length(dev, zone);
	if (zd_is_conv(dev, zone))
		return length;
	return length < dev->g.h.zone_capacity ? length : dev->g.h.zone_capacity;
}

static inline uint64_t zd_word_written(uint64_t word)
{
	return word >> ZD_W_SHIFT << 9;
}
static inline int zd_word_cond(uint64_t word, int type)
{
	int cond = (int)(word & ZD_W_COND);
	if (cond == 0)
		return type == ZD_CONVENTIONAL ? ZD_NOT_WP : ZD_EMPTY;
	return cond;
}
static inline uint64_t zd_word(int cond, uint64_t flags, uint64_t written)
{
	return (uint64_t)(cond == ZD_EMPTY ? 0 : cond) | flags | written >> 9 << ZD_W_SHIFT;
}
static inline uint64_t zd_word_with_cond(uint64_t word, int cond)
{
	return (word & ~ZD_W_COND) | (uint64_t)(cond == ZD_EMPTY ? 0 : cond);
}
static inline uint64_t zd_word_with_written(uint64_t word, uint64_t written)
{
	return (word & ((1ull << ZD_W_SHIFT) - 1)) | written >> 9 << ZD_W_SHIFT;
}
/* A zone as the rules see it. */
static inline __attribute__((always_inline)) void zd_zone_as(const zd_dev *dev, uint32_t zone, uint64_t word, struct zd_rule_zone *z)
{
	z->type = zd_zone_type(dev, zone);
	z->cond = zd_word_cond(word, z->type);
	z->written = zd_word_written(word);
	z->start = zd_zone_start(dev, zone);
	z->length = zd_zone_length(dev, zone);
	z->capacity = zd_zone_capacity(dev, zone);
}

/* Add to a number that only holders of one lock change, but that anybody may read. */
static inline void zd_count32(_Atomic uint32_t *count, uint32_t by)
{
	atomic_store_explicit(count, atomic_load_explicit(count, memory_order_relaxed) + by, memory_order_relaxed);
}
static inline void zd_count64(_Atomic uint64_t *count, uint64_t by)
{
	atomic_store_explicit(count, atomic_load_explicit(count, memory_order_relaxed) + by, memory_order_relaxed);
}

/* geometry.c */
int zd_geometry_from_config(const struct zd_config *config, struct zd_geometry *g, struct zd_error *err);
int zd_geometry_from_header(const struct zd_header *header, struct zd_geometry *g, struct zd_error *err);
void zd_geometry_free(struct zd_geometry *g);
/* NULL, or what cannot be about a zone's word, durable bytes and slot. */
const char *zd_entry_wrong(const zd_dev *dev, uint32_t zone, uint64_t word, uint64_t durable, uint32_t slot);

/* ---------------------------------------------------------------- errors */

int zd_fail(struct zd_error *err, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));
int zd_fail_host(struct zd_error *err, int host_errno, const char *doing);
/* A broken rule: fills err from the zone's state, counts it, returns code. zone may be ZD_NO_ZONE. */
int zd_refuse(zd_dev *dev, struct zd_error *err, int code, int cmd, uint32_t zone, uint64_t offset,
	      uint64_t length, uint64_t bound);
/* As err: whoever checks a command only asks what would come of it; nothing is filled, nothing counted. */
extern struct zd_error zd_asking;
bool zd_interrupted(zd_dev *dev, uint64_t *last_look);
uint64_t zd_now(void);

/* ---------------------------------------------------------------- host.c: every operation on the host's file */

int zd_host_pread(int fd, void *buf, size_t length, uint64_t offset); /* 0 or -errno; beyond the end: zeros */
int zd_host_pwrite(int fd, const void *buf, size_t length, uint64_t offset);
int zd_host_pwritev(int fd, struct iovec *iov, int n, uint64_t offset, uint64_t *done);
int zd_host_pwrite_dsync(int fd, const void *buf, size_t length, uint64_t offset);
int zd_host_sync(int fd);
int zd_host_grow(int fd, uint64_t size);
int zd_host_reserve(int fd, uint64_t offset, uint64_t length); /* blocks for sure, content kept */
void zd_host_pin_blocks(int fd);
int zd_host_unshare(int fd, uint64_t offset, uint64_t length);
int zd_host_punch(int fd, uint64_t offset, uint64_t length);
uint64_t zd_host_filled(int fd, uint64_t offset, uint64_t length); /* how much from offset on surely has blocks */
uint64_t zd_host_next_data(int fd, uint64_t offset); /* where a hole ends; offset itself where that cannot be told; UINT64_MAX: nothing follows */
bool zd_host_is_cow(int fd);
enum zd_host_byte { ZD_BYTE_GATE = 0, ZD_BYTE_WRITERS = 1 };
/* A read lock, which only a write lock of somebody else makes wait: no build of ours but older ones takes those. */
int zd_host_share(zd_dev *dev, int fd, enum zd_host_byte byte);
void zd_host_unlock(int fd, enum zd_host_byte byte);
bool zd_host_locked(int fd, enum zd_host_byte byte); /* by somebody else */

/* A recording build (tests/native/hostcrash.c) sees every store and every operation on the file. */
#ifdef ZD_RECORD
void zd_record_store(const void *to, const void *from, size_t length);
void zd_record_write(uint64_t offset, const void *from, size_t length); /* NULL: zeros */
void zd_record_sync(uint64_t offset, uint64_t length);                  /* length UINT64_MAX: all, and the size */
void zd_record_size(uint64_t size);
#else
static inline void zd_record_store(const void *to, const void *from, size_t length)
{
	(void)to, (void)from, (void)length;
}
static inline void zd_record_write(uint64_t offset, const void *from, size_t length)
{
	(void)offset, (void)from, (void)length;
}
static inline void zd_record_sync(uint64_t offset, uint64_t length)
{
	(void)offset, (void)length;
}
static inline void zd_record_size(uint64_t size)
{
	(void)size;
}
#endif

/* The one way by which bytes reach a mapped data page. */
static inline void zd_store(void *to, const void *from, size_t length)
{
	memcpy(to, from, length);
	zd_record_store(to, from, length);
}

/* ---------------------------------------------------------------- door.c */

#define ZD_DOOR 2048u /* offset in the runtime area; the same in all builds */
struct zd_door_seen {
	uint64_t which;
	uint32_t turn;
};
/* Writers: come in alone, wait for others. 0, -EINTR, -ETIMEDOUT, or an error of the host. */
int zd_door_enter(zd_dev *dev, struct zd_error *err);
void zd_door_leave(zd_dev *dev);
/* Inside: whether others have the image open to write; counted: this handle is one of those who have. */
bool zd_door_others(zd_dev *dev, bool counted);
void zd_door_first(zd_dev *dev); /* inside, no others: whoever was counted is dead. Before the area is made anew */
int zd_door_join(zd_dev *dev);   /* inside: from now on this handle is one of them */
void zd_door_part(zd_dev *dev);  /* no longer; from outside too */
bool zd_door_alone(zd_dev *dev); /* no other was counted */
/* Readers: wait till nobody is inside; later: whether somebody came since. */
int zd_door_look(zd_dev *dev, struct zd_door_seen *seen, struct zd_error *err);
bool zd_door_moved(const zd_dev *dev, const struct zd_door_seen *seen);
void zd_door_unmap(zd_dev *dev);

/* ---------------------------------------------------------------- lock.c */

/* A wait for another user of the disk. */
struct zd_wait {
	uint64_t begin, last;       /* zd_now() */
	const _Atomic bool *cancel; /* another thread of ours says so; may be NULL */
	uint64_t cancelled;
	bool surely;                /* for what must be tidied up: an interrupt is not obeyed at once, only a little later */
};
void zd_wait_begin(struct zd_wait *w, const _Atomic bool *cancel);
void zd_wait_nap(struct zd_wait *w); /* a slice, where there is nothing better to wait in */
/* Behind each slice; holder: the thread that is waited for, 0 unknown. 0: wait on; -EINTR; -ETIMEDOUT: without a hook. */
int zd_wait_on(zd_dev *dev, struct zd_wait *w, uint32_t holder);
void zd_note_interrupt(void);
void zd_forget_waited(void); /* where a call begins that may be tried again and again */

int zd_mutex_init(pthread_mutex_t *m);
uint32_t zd_mutex_holder(const pthread_mutex_t *m); /* thread id; 0: nobody, or unknown */
bool zd_mutex_is_free(const pthread_mutex_t *m);    /* surely; also when its owner died */
/*
 * As zd_mutex_lock(), for what must be tidied up even when the call was interrupted: a little longer, till nobody can
 * expect it any more. Then the caller leaves the disk as a death of its process would.
 */
int zd_mutex_lock_surely(zd_dev *dev, pthread_mutex_t *m, const _Atomic bool *cancel);
void zd_tidying(bool on); /* meanwhile every mutex is locked so by this thread */
/* 0, -EOWNERDEAD (held; the state it guards must be rebuilt, then zd_mutex_mend), or -EINTR. */
int zd_mutex_lock_slow(zd_dev *dev, pthread_mutex_t *m);
static inline int zd_mutex_lock(zd_dev *dev, pthread_mutex_t *m)
{
	int r = pthread_mutex_trylock(m);

	if (likely(r == 0))
		return 0;
	/* EOWNERDEAD means that it is ours now; only EBUSY is worth waiting for. */
	return r == EBUSY ? zd_mutex_lock_slow(dev, m) : -r;
}
static inline void zd_mutex_unlock(pthread_mutex_t *m)
{
	pthread_mutex_unlock(m);
}
static inline pthread_mutex_t *zd_stripe_of(zd_dev *dev, uint32_t zone)
{
	return &dev->stripes[zone % ZD_STRIPES].lock;
}
int zd_lock_stripe_mend(zd_dev *dev, pthread_mutex_t *m, int r);
static inline int zd_lock_stripe(zd_dev *dev, uint32_t stripe) /* 0 or -EINTR */
{
	int r = zd_mutex_lock(dev, &dev->stripes[stripe].lock);

	return likely(r == 0) ? 0 : zd_lock_stripe_mend(dev, &dev->stripes[stripe].lock, r);
}
static inline int zd_lock_zone(zd_dev *dev, uint32_t zone)
{
	return zd_lock_stripe(dev, zone % ZD_STRIPES);
}
static inline void zd_unlock_zone(zd_dev *dev, uint32_t zone)
{
	zd_mutex_unlock(zd_stripe_of(dev, zone));
}
/* The stripes of zones first..last (all 256 if there are that many), ascending. */
int zd_lock_zones(zd_dev *dev, uint32_t first, uint32_t last);
void zd_unlock_zones(zd_dev *dev, uint32_t first, uint32_t last);
int zd_lock_resource(zd_dev *dev); /* rebuilds what is derived if the owner died; 0 or -EINTR */
bool zd_lock_resource_surely(zd_dev *dev); /* zd_mutex_lock_surely(); false: not held */
static inline void zd_unlock_resource(zd_dev *dev)
{
	zd_mutex_unlock(&dev->head->resource);
}
int zd_lock_commit(zd_dev *dev);
static inline void zd_unlock_commit(zd_dev *dev)
{
	zd_mutex_unlock(&dev->head->commit);
}

/* ---------------------------------------------------------------- runtime.c */

int zd_reserve_chunk(zd_dev *dev, uint32_t chunk); /* 0 or -errno of the host */
static inline uint32_t zd_zone_chunk(uint32_t zone)
{
	return zone / (ZD_CHUNK / (uint32_t)sizeof(struct zd_zone_rt));
}
static inline uint32_t zd_slot_chunk(const zd_dev *dev, uint32_t slot)
{
	return (uint32_t)((dev->g.rt_slots - dev->g.rt_zones + (uint64_t)slot * sizeof(struct zd_slot_rt)) / ZD_CHUNK);
}
static inline bool zd_chunk_there(const zd_dev *dev, uint32_t chunk)
{
	return atomic_load_explicit(&dev->chunks[chunk], memory_order_acquire);
}
/* The zone's record, or NULL while nothing ever touched its neighbourhood: then it is all zero. */
static inline struct zd_zone_rt *zd_zone_peek(const zd_dev *dev, uint32_t zone)
{
	return likely(zd_chunk_there(dev, zd_zone_chunk(zone))) ? &dev->zones[zone] : NULL;
}
/* The zone's record for changing it; *rt NULL and -errno when the host has no room. */
static inline int zd_zone_get(zd_dev *dev, uint32_t zone, struct zd_zone_rt **rt)
{
	uint32_t chunk = zd_zone_chunk(zone);
	*rt = &dev->zones[zone];
	return likely(zd_chunk_there(dev, chunk)) ? 0 : zd_reserve_chunk(dev, chunk);
}
static inline uint64_t zd_load_word(const zd_dev *dev, uint32_t zone)
{
	struct zd_zone_rt *rt = zd_zone_peek(dev, zone);
	return rt ? atomic_load_explicit(&rt->word, memory_order_acquire) : 0;
}
static inline void zd_set_dirty(zd_dev *dev, uint32_t zone)
{
	_Atomic uint64_t *w = &dev->dirty[zone / 64];
	uint64_t bit = 1ull << (zone % 64);
	if (!(atomic_load_explicit(w, memory_order_relaxed) & bit))
		atomic_fetch_or_explicit(w, bit, memory_order_release);
}
void zd_runtime_bind(zd_dev *dev, uint8_t *rt);
int zd_runtime_tag(const zd_dev *dev, int fd, struct zd_rt_tag *tag);
/* First opener: make the area good, from its own words if they are this boot's, else from the entries. */
int zd_runtime_start(zd_dev *dev, struct zd_error *err);
/* Read-only opener without a living area: the same into private memory. */
int zd_runtime_recover(zd_dev *dev, const uint8_t *shared, struct zd_error *err);
/* Before anything mapped is touched: is the file long enough for its metadata? */
int zd_runtime_file_length(zd_dev *dev, uint64_t *size, struct zd_error *err);
int zd_runtime_init_locks(zd_dev *dev);
/* Derived state from words and slots, under the resource lock or alone. trimmer_dead: slots in TRIM are free. */
void zd_runtime_rebuild(zd_dev *dev, bool trimmer_dead);

int zd_status_read(int fd, struct zd_status *status, int *bad_copies); /* 0, -errno, or ZD_E_CORRUPT */
int zd_status_write(int fd, struct zd_status *status, bool sync);      /* bumps seq */
uint32_t zd_entry_crc(const struct zd_entry *entry, uint32_t zone);
bool zd_entry_valid(const struct zd_entry *entry, uint32_t zone); /* CRC right, or all zero */
bool zd_entry_zero(const struct zd_entry *entry);
/* Numbers of writings go round; 0 is that of an entry never written, and comes before all others. */
uint32_t zd_seq_next(uint32_t seq);
bool zd_seq_newer(uint32_t a, uint32_t b); /* a was given after b */
/* Which of a zone's two entries counts; NULL: none. stale: copy B alone will do, though it may be out of date. */
const struct zd_entry *zd_entry_newest(const struct zd_entry *a, const struct zd_entry *b, uint32_t zone, bool stale);
int zd_header_read(int fd, struct zd_header *header, int *bad_copies, struct zd_error *err);
uint32_t zd_header_crc(const struct zd_header *header);

/* ---------------------------------------------------------------- judge.c */

/* All that a zone's word or its entry say of it. */
struct zd_state {
	uint64_t word, durable;
	uint32_t slot; /* + 1; 0: none */
};
/* A zone of the living area that cannot be as its word says. */
struct zd_verdict {
	uint32_t zone, other; /* other: claims the same slot, or ZD_NO_ZONE */
	int kind;             /* enum zd_finding_kind: ENTRY_VALUE, SLOT_SHARED or SHORT */
	const char *wrong;    /* of ENTRY_VALUE: what cannot be */
	struct zd_state is;
	struct zd_state to;   /* what a repair makes of it: what is left, else its entry, else OFFLINE */
	uint64_t lost;        /* bytes that it costs; ZD_NONE: that cannot be told */
};
/*
 * Judge each zone of a living area by itself, while nobody has it open for writing. *out is malloced, by zones ascending;
 * *n 0: all words are sound. 0 or -errno.
 */
int zd_judge(zd_dev *dev, uint64_t file_size, struct zd_verdict **out, size_t *n);
/* What counts of a zone in the area. A kill between the two stores may leave durable beyond what is written: all is. */
struct zd_state zd_live_state(const struct zd_zone_rt *rt);
/* A zone's newest valid entry, whatever it says; *there false: it has none. 0 or -errno. */
int zd_state_of_entry(const zd_dev *dev, uint32_t zone, struct zd_state *out, bool *there);
const char *zd_state_wrong(const zd_dev *dev, uint32_t zone, const struct zd_state *s); /* as zd_entry_wrong() */
/* Whether the file ends before the zone's slot does, and what is left of the zone then. */
bool zd_state_short(const zd_dev *dev, const struct zd_state *s, uint64_t file_size);
struct zd_state zd_state_left(const zd_dev *dev, uint32_t zone, const struct zd_state *s, uint64_t file_size);
/* Bytes of a zone that go when it is put from one state into another; ZD_NONE: that cannot be told. */
uint64_t zd_state_loss(const zd_dev *dev, uint32_t zone, const struct zd_state *is, const struct zd_state *to);

/* ---------------------------------------------------------------- resource.c; all under the resource lock */

/* Make room for one more open or active zone (effects say which); 0, ZD_E_TOO_MANY_OPEN or ZD_E_TOO_MANY_ACTIVE. */
int zd_take_resources(zd_dev *dev, unsigned effects);
int zd_ask_resources(const zd_dev *dev, unsigned effects); /* what that would give now; takes nothing, needs no lock */
/* Account for a zone that goes from one condition to another. */
void zd_account(zd_dev *dev, uint32_t zone, int from, int to);

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
void zd_slot_replace(zd_dev *dev, uint32_t zone, struct zd_zone_rt *rt, uint32_t slot); /* likewise; with one that is in no list */
void zd_slots_settle(zd_dev *dev); /* free the pending ones whose entry moved on; under commit + resource lock */
void zd_slots_trim(zd_dev *dev);   /* punch out what is beyond slot_cache; takes the resource lock */
/*
 * r: what an operation on the host gave. True: it found no room, but free slots that were kept filled gave theirs, so
 * another try is worth it. For all that takes blocks of the host. Without the resource lock, or under it.
 */
bool zd_slots_gave(zd_dev *dev, int r);
bool zd_slots_gave_locked(zd_dev *dev, int r);
int zd_slot_clear(zd_dev *dev, uint32_t slot, uint64_t from, uint64_t to); /* under the stripe */
bool zd_slots_pressing(zd_dev *dev);
int zd_slot_map(zd_dev *dev, uint32_t slot, uint8_t **at); /* the slot's first byte in the mapping */
static inline uint64_t zd_slot_offset(const zd_dev *dev, uint32_t slot)
{
	return dev->g.h.data_offset + (uint64_t)slot * dev->g.h.slot_size;
}

/* ---------------------------------------------------------------- io.c, mgmt.c: what faults need of them */

/* n bytes to rel in a slot, under the stripe of its zone but not the resource lock. */
int zd_store_bytes(zd_dev *dev, uint32_t slot, uint64_t rel, const uint8_t *from, uint64_t n);
int zd_store_once(zd_dev *dev, uint32_t slot, uint64_t rel, const uint8_t *from, uint64_t n); /* under it too; does not look for room */
/* Flip one bit of what a zone stores; nothing happens where nothing is stored. */
int zd_io_flip(zd_dev *dev, uint64_t offset, unsigned bit);
/* One zone command on one zone, done by fault rule `fault`: it meets no rule. */
int zd_mgmt_one(zd_dev *dev, int cmd, uint32_t zone, uint32_t fault, struct zd_error *err);

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
	uint32_t id;    /* 0: no rule acts */
	uint32_t kind;
	uint64_t at;    /* the first byte that command and rule share */
	uint64_t cut;   /* bytes that are transferred before it fails; the command's length: it does not fail so */
	uint64_t bit;   /* from `at` on */
	uint64_t draw;  /* random, from the rule's seed */
	uint32_t zone;  /* the first zone that command and rule share */
	uint8_t after, active, keep;
	char label[48];
};
/*
 * The gate said ZD_SLOW: count the command with the rules and do what comes before it. 0: go on, and call
 * zd_fault_after(); negative: that is the command's result.
 */
int zd_fault_before(zd_dev *dev, const struct zd_command *c, struct zd_hit *hit, struct zd_error *err);
/* result: what the command gave (< 0: err is filled); landed: where its data lies. Returns what the caller gets. */
int64_t zd_fault_after(zd_dev *dev, const struct zd_command *c, const struct zd_hit *hit, int64_t result,
		       uint64_t landed, struct zd_error *err);
/* Whether what becomes of a command is known only behind zd_fault_after(), not when it took effect. */
bool zd_fault_decides_late(const struct zd_command *c, const struct zd_hit *hit);
/* The error of a command that was cut short at hit->cut. */
int zd_fault_medium(zd_dev *dev, const struct zd_command *c, const struct zd_hit *hit, struct zd_error *err);
/* A flush that owes an error gives it, once. */
int zd_fault_flush(zd_dev *dev, struct zd_error *err);
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
uint64_t zd_splitmix(uint64_t *state); /* splitmix64 */

/* ---------------------------------------------------------------- trace.c, recorder.c */

/* A command on the slow way, while it is recorded; trace NULL: it is not. */
struct zd_traced {
	struct zd_trace_rt *trace;
	struct zd_trace_record r;
	struct zd_error err; /* for callers that want none */
	uint64_t before;     /* the zone's word, for an observer */
	uint64_t part;       /* data: as much is transferred, of a command that is checked as a whole */
	bool done;           /* it is in the ring */
	bool held;           /* zd_fault_decides_late() */
};
/*
 * The gate said ZD_SLOW: look at the rest of the gate and begin to record. zone ZD_NO_ZONE, offset ZD_NONE: there is
 * none. Negative: the command is refused, and has been recorded.
 */
int zd_trace_begin(zd_dev *dev, struct zd_traced *t, int cmd, uint32_t zone, uint64_t offset, uint64_t length, bool changes,
		   struct zd_error **err);
/* Under the command's locks, when it took effect or was refused. */
void zd_trace_effect(zd_dev *dev, struct zd_traced *t, int64_t result, const struct zd_error *err);
/* The command's end, whatever was recorded of it before; gives result. */
int64_t zd_trace_end(zd_dev *dev, struct zd_traced *t, int64_t result, const struct zd_error *err);
/* What happens to the disk without being a command. */
void zd_trace_event(zd_dev *dev, int cmd, uint32_t zone, uint64_t offset, uint64_t length, uint32_t fault);
void zd_trace_close(zd_dev *dev);
void zd_trace_forked(zd_dev *dev);
void zd_trace_unmap(zd_dev *dev);
uint32_t zd_trace_run(zd_dev *dev); /* first opener: the gate's bits for what an earlier run of this boot keeps */
int zd_trace_init_locks(zd_dev *dev);
void zd_recorder_status(zd_dev *dev, struct zd_trace_status *out);

/* ---------------------------------------------------------------- preimage.c; all under the zone's stripe */

static inline struct zd_pre *zd_pre_peek(const zd_dev *dev, uint32_t zone)
{
	uint64_t at = dev->g.rt_pre - dev->g.rt_zones + (uint64_t)zone * sizeof(struct zd_pre);

	return dev->g.keeps_pre && zd_chunk_there(dev, (uint32_t)(at / ZD_CHUNK)) ? &dev->pre[zone] : NULL;
}
/* Whether blocks of the zone are known to be unflushed (or lost). Without the stripe: a look. */
bool zd_pre_any(const zd_dev *dev, uint32_t zone);
/* n bytes at rel are about to be written: keep what is there. always: also while nobody wants pre-images. */
int zd_pre_log(zd_dev *dev, uint32_t zone, struct zd_zone_rt *rt, uint64_t rel, uint64_t n, bool always);
int zd_pre_lose(zd_dev *dev, uint32_t zone, uint64_t rel, uint64_t n); /* they were logged: the next power cut takes them */
int zd_pre_trim(zd_dev *dev, uint32_t zone); /* what a write that was never published marked behind the pointer is forgotten */
int zd_pre_flush(zd_dev *dev, uint32_t zone); /* what was written is durable, but for lost blocks */
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
void zd_pre_start(zd_dev *dev); /* first opener: forget what cannot be; before rebuilding */

/* ---------------------------------------------------------------- power.c */

/* Ascending, and no nonsense; needs no disk. */
int zd_cut_check(const struct zd_cut *cut, struct zd_error *err);
/* What a cut makes of a zone's word, durable bytes and generation; nothing else. Returns the condition it had. */
int zd_power_cut_word(zd_dev *dev, uint32_t zone, struct zd_zone_rt *rt, uint64_t kept);
int zd_power_cut_by(zd_dev *dev, int keep, uint64_t seed, uint32_t fault, const char *label, struct zd_error *err);

/* ---------------------------------------------------------------- view.c */

int zd_slot_unshare(zd_dev *dev, uint32_t zone, struct zd_zone_rt *rt);
bool zd_view_has(const zd_dev *dev, uint32_t zone); /* some of the zone's bytes lie in the origin */
int zd_view_load(zd_dev *dev, uint32_t zone, uint32_t slot, uint64_t rel, uint8_t *to, uint64_t n);
int zd_view_own(zd_dev *dev, uint32_t zone, struct zd_zone_rt *rt);
void zd_view_cut(zd_dev *dev, uint32_t zone, uint64_t kept); /* after the generation grew */
/* Pre-images that a fork's zone has in its origin; NULL: none. Block rel by zd_view_pre_load(). */
const uint64_t *zd_view_pre(const zd_dev *dev, uint32_t zone, uint64_t *first, uint32_t *n);
int zd_view_pre_load(zd_dev *dev, uint32_t zone, uint64_t rel, uint8_t *to);
void zd_view_pre_drop(zd_dev *dev, uint32_t zone);
void zd_view_close(zd_dev *dev);
bool zd_view_recycle(zd_dev *dev); /* true: the handle was taken, and is no longer the caller's */
int zd_load(zd_dev *dev, uint32_t slot, uint64_t rel, uint8_t *to, uint64_t n); /* io.c */
int zd_create_like(const zd_dev *like, zd_dev **out, struct zd_error *err);      /* image.c: in RAM, all new */

/* ---------------------------------------------------------------- rollback.c */

/* What a zone becomes. Zones without a row become as new. */
struct zd_back {
	uint32_t zone, slot; /* slot + 1; 0: none */
	uint64_t word, durable;
	uint32_t opened;     /* rank among the implicitly open zones, oldest first; 0: it is none */
	uint32_t unflushed;  /* 1: it has pre-images, without which all of it counts as durable */
};
_Static_assert(sizeof(struct zd_back) == 32, "divides a slot");
/* All locks are held. Write down where the disk goes: rows 0 .. n-1 as row() gives them, by zones ascending. 0 or -errno. */
typedef struct zd_back zd_back_fn(const void *arg, uint32_t i);
int zd_back_note(zd_dev *dev, zd_back_fn *row, const void *arg, uint32_t n);
/* All locks are held. It is written down: from here on it happens, whoever dies. begin(), what is only ours, finish(). */
void zd_back_begin(zd_dev *dev);
int zd_back_finish(zd_dev *dev);
/* A lock is held whose owner died: if he was going back, that comes first. 0 or -errno: it was not possible. */
int zd_back_mend(zd_dev *dev);
/* Outside of all locks: wait till nobody is going back, or bring it to its end. */
int zd_back_wait(zd_dev *dev, struct zd_error *err);
/* Nobody has the disk open, or the area is a private copy of what they left. */
int zd_back_left(zd_dev *dev);

/* ---------------------------------------------------------------- commit.c */

enum zd_commit_kind {
	ZD_COMMIT_FLUSH,  /* the emulated flush: durable pointers move */
	ZD_COMMIT_HOST,   /* only the host's side: close, host_sync=command, too many slots pending */
	ZD_COMMIT_RESETS  /* no data sync: entries of zones whose old slot waits, as they were right after the reset */
};
int zd_commit(zd_dev *dev, enum zd_commit_kind kind, struct zd_traced *t, struct zd_error *err);
/* After a change: what host_sync=command asks for, and room for pending slots. No lock held. */
int zd_after_change(zd_dev *dev, struct zd_error *err);
int zd_mark_dirty(zd_dev *dev, struct zd_error *err); /* first change: the image is no longer clean */

#endif
