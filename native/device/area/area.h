/* SPDX-License-Identifier: Apache-2.0 */
/*
 * area: the image's layout and the shared runtime area: who is in it, how its words are read and locked, open and active
 * resources, and every operation on the host's file. It knows where a zone's data lies (a slot), but moves none.
 * It may call base and rules. What it needs of those above it (a handle that must be attached anew) goes by struct zd_upward.
 *
 * From the bottom up: wait (mutexes, waiting), host (the file), meta (headers, entries), geometry (config to layout),
 * runtime (whose area it is, its parts), rebuild (what is derived), resource (open and active zones), lock (the disk's
 * locks), door (openers taking turns). format.h has the bytes of an image, layout.h those of the
 * runtime area.
 */
#ifndef ZD_AREA_H
#define ZD_AREA_H

#include "base/base.h"
#include "device/area/format.h"
#include "device/area/layout.h"
#include "rules/check.h"

#include <sys/types.h>

/* ---------------------------------------------------------------- the handle */

/* Everything derived from the header; never changes. */
struct zd_geometry {
	struct zd_header h;
	struct zd_rulebook book;
	uint32_t zone_shift; /* log2(zone_size), or 0 if it is no power of two */
	uint32_t block_mask; /* logical_block - 1 */
	uint32_t max_slots;
	uint64_t slots_per_seg;
	uint32_t nr_segs;
	/* offsets in the runtime area */
	uint64_t rt_stripes, rt_chunks, rt_dirty, rt_implicit, rt_faults, rt_trace, rt_zones, rt_slots, rt_pre, rt_size;
	uint64_t rt_fixed; /* bytes from the start on that are always reserved */
	uint32_t nr_chunks;
	uint8_t *conv; /* bitmap of conventional zones, or NULL if there are none */
	uint32_t nr_conv_zones;
	bool keeps_pre; /* it has zones that may be overwritten, and keeps data */
};

/* What lower storeys need of the highest one; set when a handle is made (whole/handle.c). */
struct zd_upward {
	/* zd_enter(): a forked child, or a reader whose disk may have come alive. */
	int (*reattach)(zd_dev *dev, struct zd_error *err);
	/* A fault rule cuts the power, with no lock held. */
	int (*cut_power)(zd_dev *dev, int keep, uint64_t seed, uint32_t fault, const char *label, struct zd_error *err);
	/* A lock is held whose owner died: if he was going back to a snapshot, that comes first. 0 or -errno: it was not possible. */
	int (*mend)(zd_dev *dev);
	/* Outside of all locks: wait till nobody is going back, or bring it to its end. */
	int (*back_wait)(zd_dev *dev, struct zd_error *err);
};

struct zd_dev {
	const struct zd_upward *up;
	struct zd_geometry g;
	_Atomic uint32_t *cookie; /* on a page that the kernel wipes in a forked child */
	int fd;
	_Atomic bool aside; /* zd_enter() has more to do than look at the cookie: own_rt, observers, or a pace */
	bool readonly, in_ram, cow, own_rt /* readonly: rt is private memory, recovered for this handle alone */;
	struct zd_rt_head *head;
	struct zd_stripe *stripes;
	_Atomic uint8_t *chunks; /* 1: that chunk of zones/slots is reserved */
	_Atomic uint64_t *dirty; /* bitmap: the entry on disk may be behind */
	uint64_t *implicit;      /* bitmap of implicitly open zones; resource lock */
	struct zd_faults *faults;
	struct zd_trace_rt *trace;
	void *data_map;               /* the ring of data that traces have; seg_lock; NULL: not mapped yet */
	void *trace_map;              /* readonly: a second mapping of it, to write; MAP_FAILED: its user may not */
	pthread_mutex_t trace_lock;   /* this process only: of the next two, and of the list of observers */
	struct zd_recorder *recorder; /* this handle records */
	bool recording;               /* it does, or somebody is about to begin */
	_Atomic(struct zd_observer *) observers, watchers; /* of this handle alone; hooks/observe.c */
	_Atomic uint32_t telling;                          /* threads that are in one of them */
	_Atomic(struct zd_paced *) paced;                  /* who says how long commands take for real; hooks/pace.c */
	uint32_t pid;                                      /* of this process */
	struct zd_zone_rt *zones;
	struct zd_slot_rt *slots;
	struct zd_pre *pre;
	uint8_t *rt;              /* the mapping, rt_size bytes */
	uint8_t *shared_rt;       /* readonly with own_rt: the file's area, to see when it comes alive */
	_Atomic(uint8_t *) *segs; /* mapped pieces of the data area */
	pthread_mutex_t seg_lock; /* this process only; also of origin */
	struct zd_origin *origin; /* the handle that snapshots of this disk share, once there is one */
	struct zd_timers *timers; /* requests that wait for their time, once there was one; seg_lock */
	struct zd_view *view;     /* a fork: what it reads from elsewhere; NULL for all other disks */
	bool (*leave)(
		zd_dev *dev); /* what close() does first where there is an origin or a view; true: the handle stays, for reuse */
	uint8_t *door;        /* the runtime area's first page, mapped for itself; door.c */
	uint64_t door_of;     /* what stands there if it is this boot's and this file's; 0: not looked at yet */
	pthread_mutex_t *gate; /* held: this handle is inside the door */
	bool brief;            /* it waits for nobody long, and then lets its caller decide */
	_Atomic bool closing;  /* commands that hang by a fault rule end */
	int (*interrupt)(void *);
	void *interrupt_arg;
	char path[192]; /* for error texts */
};

#define ZD_COOKIE 0x5A44464Bu

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
#define zd_powerless(dev) \
	zd_asked(atomic_load_explicit(&(dev)->head->gate, memory_order_relaxed) & (ZD_GATE_POWER | ZD_GATE_BACK))
static inline bool zd_is_attached(const zd_dev *dev)
{
	return likely(atomic_load_explicit(dev->cookie, memory_order_relaxed) == ZD_COOKIE) &&
	       likely(!atomic_load_explicit(&dev->aside, memory_order_relaxed));
}
/* Every public call begins with this; free but for one load. */
static inline int zd_enter(zd_dev *dev, struct zd_error *err)
{
	return likely(zd_is_attached(dev)) ? 0 : dev->up->reattach(dev, err);
}
/* Whether commands of this handle go the slow way: somebody observes them, or they take a drive's time. */
static inline bool zd_is_looked_at(const zd_dev *dev)
{
	return atomic_load(&dev->observers) || atomic_load(&dev->paced);
}
/* As zd_enter(), for commands: ZD_SLOW where that is so. */
#define ZD_SLOW 1
static inline int zd_enter_command(zd_dev *dev, struct zd_error *err)
{
	int r;

	if (likely(zd_is_attached(dev)))
		return 0;
	r = dev->up->reattach(dev, err);
	return !r && zd_is_looked_at(dev) ? ZD_SLOW : r;
}
/* own_rt, the list of observers or the pace has changed. */
static inline void zd_set_aside(zd_dev *dev)
{
	atomic_store(&dev->aside, dev->own_rt || zd_is_looked_at(dev));
}
/* The same for calls that change something. */
static inline int zd_enter_writable(zd_dev *dev, struct zd_error *err)
{
	int r = zd_enter(dev, err);

	return likely(!r) && unlikely(dev->readonly) ? zd_fail(err, ZD_E_READONLY_HANDLE, "the device is open read-only") : r;
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
/* A random write area goes where the zone is no longer active. */
static inline uint64_t zd_word_with_cond(uint64_t word, int cond)
{
	return (word & ~(zd_cond_active(cond) ? ZD_W_COND : ZD_W_COND | ZD_W_ZRWA)) | (uint64_t)(cond == ZD_EMPTY ? 0 : cond);
}
static inline uint64_t zd_word_with_written(uint64_t word, uint64_t written)
{
	return (word & ((1ull << ZD_W_SHIFT) - 1)) | written >> 9 << ZD_W_SHIFT;
}
/* The write pointer, from the zone's start: before what is written in a random write area. A word may say anything. */
static inline __attribute__((always_inline)) uint64_t zd_word_wp(const zd_dev *dev, uint64_t word)
{
	uint64_t written = zd_word_written(word), granule = dev->g.h.zrwa_granularity, end, filled;

	if (likely(!(word & ZD_W_ZRWA)) || !granule)
		return written;
	end = (written + granule - 1) / granule * granule;
	filled = (((word & ZD_W_ZRWA) >> ZD_W_ZRWA_SHIFT) - 1) * granule;
	return filled < end ? end - filled : 0;
}
/* With a random write area between a write pointer, on a multiple of the granularity, and what is written. */
static inline uint64_t zd_word_with_zrwa(const zd_dev *dev, uint64_t word, uint64_t wp, uint64_t written)
{
	uint64_t granule = dev->g.h.zrwa_granularity, n = (written - wp + granule - 1) / granule;

	return (zd_word_with_written(word, written) & ~ZD_W_ZRWA) | (n + 1) << ZD_W_ZRWA_SHIFT;
}
/* Whether something is in the zone that goes with its reset only: data, or a descriptor extension. Such a zone is never EMPTY. */
static inline bool zd_word_holds(uint64_t word)
{
	return (word >> ZD_W_SHIFT | (word & ZD_W_EXTENSION)) != 0;
}
/* A zone as the rules see it. */
static inline __attribute__((always_inline)) void zd_zone_as(const zd_dev *dev, uint32_t zone, uint64_t word,
							     struct zd_rule_zone *z)
{
	z->type = zd_zone_type(dev, zone);
	z->cond = zd_word_cond(word, z->type);
	z->written = zd_word_wp(dev, word);
	z->zrwa = word & ZD_W_ZRWA;
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

/* ---------------------------------------------------------------- geometry.c */

int zd_geometry_from_config(const struct zd_config *config, struct zd_geometry *g, struct zd_error *err);
int zd_geometry_from_header(const struct zd_header *header, struct zd_geometry *g, struct zd_error *err);
void zd_geometry_free(struct zd_geometry *g);
/* NULL, or what cannot be about a zone's word, durable bytes and slot. */
const char *zd_entry_wrong(const zd_dev *dev, uint32_t zone, uint64_t word, uint64_t durable, uint32_t slot);

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
uint64_t
zd_host_next_data(int fd,
		  uint64_t
			  offset); /* where a hole ends; offset itself where that cannot be told; UINT64_MAX: nothing follows */
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

/* ---------------------------------------------------------------- wait.c */

/* A wait for another user of the disk. */
struct zd_wait {
	uint64_t begin, last;       /* zd_now() */
	const _Atomic bool *cancel; /* another thread of ours says so; may be NULL */
	uint64_t cancelled;
	bool surely; /* for what must be tidied up: an interrupt is not obeyed at once, only a little later */
};
void zd_wait_begin(struct zd_wait *w, const _Atomic bool *cancel);
void zd_wait_nap(struct zd_wait *w); /* a slice, where there is nothing better to wait in */
/* Behind each slice; holder: the thread that is waited for, 0 unknown. 0: wait on; -EINTR; -ETIMEDOUT: without a hook. */
int zd_wait_on(zd_dev *dev, struct zd_wait *w, uint32_t holder);
void zd_note_interrupt(void);
/* Whether the handle's hook ends a long call, asked every 50 ms. */
bool zd_interrupted(zd_dev *dev, uint64_t *last_look);
/* From now on this word ends them too, in this thread; gives the one before. */
const uint32_t *zd_cancelled_by(const uint32_t *flag);

int zd_thread_start(pthread_t *thread, void *(*run)(void *), void *arg); /* one that no signal reaches; 0 or -errno */
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
/* 0; 1: it cannot be told, so nothing that is found may be believed; or -errno */
int zd_runtime_tag(const zd_dev *dev, int fd, struct zd_rt_tag *tag);
/* Whether an area is one of this boot, this build and this file. */
bool zd_runtime_same(const zd_dev *dev, const uint8_t *rt);
/* Before anything mapped is touched: is the file long enough for its metadata? */
int zd_runtime_file_length(zd_dev *dev, uint64_t *size, struct zd_error *err);
/* rebuild.c: derived state from words and slots, under the resource lock or alone. trimmer_dead: slots in TRIM are free. */
void zd_runtime_rebuild(zd_dev *dev, bool trimmer_dead);

/* ---------------------------------------------------------------- meta.c */

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

/* ---------------------------------------------------------------- resource.c; all under the resource lock */

/* Make room for one more open or active zone (effects say which); 0, ZD_E_TOO_MANY_OPEN or ZD_E_TOO_MANY_ACTIVE. */
int zd_take_resources(zd_dev *dev, unsigned effects);
int zd_ask_resources(const zd_dev *dev, unsigned effects); /* what that would give now; takes nothing, needs no lock */
/* Without the lock: how many zones are open and closed, as it was at one moment. */
void zd_resources_now(const struct zd_rt_head *head, struct zd_resources *out);
/* Account for a zone that goes from one condition to another. */
void zd_account(zd_dev *dev, uint32_t zone, int from, int to);

/* ---------------------------------------------------------------- lock.c */

int zd_runtime_init_locks(zd_dev *dev);
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
int zd_lock_resource(zd_dev *dev);         /* rebuilds what is derived if the owner died; 0 or -EINTR */
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

/* ---------------------------------------------------------------- where the storey above finds slots and pre-images */

static inline uint64_t zd_slot_offset(const zd_dev *dev, uint32_t slot)
{
	return dev->g.h.data_offset + (uint64_t)slot * dev->g.h.slot_size;
}
static inline struct zd_pre *zd_pre_peek(const zd_dev *dev, uint32_t zone)
{
	uint64_t at = dev->g.rt_pre - dev->g.rt_zones + (uint64_t)zone * sizeof(struct zd_pre);

	return dev->g.keeps_pre && zd_chunk_there(dev, (uint32_t)(at / ZD_CHUNK)) ? &dev->pre[zone] : NULL;
}

/* All that a zone's word or its entry say of it. */
struct zd_state {
	uint64_t word, durable;
	uint32_t slot; /* + 1; 0: none */
};
/* What counts of a zone in the area. A kill between the two stores may leave durable beyond what is written: all is. */
static inline struct zd_state zd_live_state(const struct zd_zone_rt *rt)
{
	uint64_t durable = rt->durable, word = rt->word, written = zd_word_written(word);

	return (struct zd_state){ word, durable < written ? durable : written, rt->slot };
}

#endif
