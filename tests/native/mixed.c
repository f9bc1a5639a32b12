/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every call of zoned/zoned.h, at random, by many threads and by child processes that are killed, stopped and continued at any
 * moment; interrupt hooks that say "end" at random, and signals in the midst of system calls. It knows what each call
 * may answer, that no sector of a required zone is torn or misplaced, and that forks stay as they are. At the end the
 * disk must be sound, `check` must find nothing, and the recount must agree.
 *
 *     mixed SECONDS SEED [IMAGE]            without IMAGE in RAM, and then without children and second handles
 *     mixed child MILLISECONDS SEED ID IMAGE   what it starts of itself
 *
 * SEED 0 draws one. It decides geometry, rule book and model, and all that the threads draw, though not how they meet. Each
 * fourth is of a disk whose zones can have random write areas.
 */
#include "testing.h"
#include "zoned/request.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BLOCK 4096u
#define SECTOR 512u
#define ZONE_BLOCKS 32u
#define ZONE_SIZE (ZONE_BLOCKS * BLOCK)
#define NR_ZONES 24u
#define CONV 2u
#define AREAS 18u   /* from here to FLIPPED zones get random write areas, on disks that have them */
#define FLIPPED 22u /* from here on bits are flipped by faults: nobody verifies these zones */
#define NR_PLACES 8u
#define EXTENSION 192u /* bytes of a zone's descriptor extension, on disks that have them */
#define MAX_BLOCKS (4 * ZONE_BLOCKS)

static atomic_bool stop, workers_done;
static atomic_ulong commands;
static bool required; /* the sequential zones are write-required */
static const char *image;
static zd_dev *disk;
static uint64_t disk_seed;

/* Second handles and forks; snapshots. Who uses one holds its lock shared; nobody waits for such a lock. */
static struct place {
	pthread_rwlock_t lock;
	zd_dev *dev;
	zd_snapshot *snapshot;
	bool readonly;
} places[NR_PLACES];

struct worker {
	pthread_t thread;
	uint32_t id;
	uint64_t random;
	uint8_t *bytes, *more; /* a zone's each */
	atomic_bool ended;
	_Atomic uint32_t doing; /* index of an op */
};

static uint64_t draw64(struct worker *w)
{
	uint64_t z = w->random += 0x9E3779B97F4A7C15u;

	z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
	z = (z ^ z >> 27) * 0x94D049BB133111EBu;
	return z ^ z >> 31;
}

static uint32_t draw(struct worker *w, uint32_t below)
{
	return (uint32_t)(draw64(w) >> 33) % below;
}

static void nap(uint32_t microseconds)
{
	struct timespec pause = { microseconds / 1000000, (long)(microseconds % 1000000) * 1000 };

	nanosleep(&pause, NULL); /* a signal may end it early */
}

/* Asked by calls that take long, with the disk's locks held. */
static int hook(void *arg)
{
	return atomic_fetch_add_explicit((_Atomic uint32_t *)arg, 1, memory_order_relaxed) % 8 == 7;
}
static _Atomic uint32_t hook_calls;

static void signalled(int number)
{
	(void)number;
}

#ifdef __SANITIZE_THREAD__
/*
 * What ThreadSanitizer cannot see: that two mappings of a lock are one lock, and that what one process unlocked another
 * locked, and a third thing after it. So where an image is used by several, every lock is taken after all that were
 * given back before. In RAM nothing is added. Nor does it see that a lock whose owner died was taken where it was waited
 * for, only where it was tried.
 */
void __tsan_acquire(void *address);
void __tsan_release(void *address);
static char any_lock;

int pthread_mutex_trylock(pthread_mutex_t *mutex)
{
	int r = ((int (*)(pthread_mutex_t *))dlsym(RTLD_NEXT, "pthread_mutex_trylock"))(mutex);

	if (image && r != EBUSY)
		__tsan_acquire(&any_lock);
	return r;
}

int pthread_mutex_unlock(pthread_mutex_t *mutex)
{
	if (image)
		__tsan_release(&any_lock);
	return ((int (*)(pthread_mutex_t *))dlsym(RTLD_NEXT, "pthread_mutex_unlock"))(mutex);
}

static int try_until(pthread_mutex_t *mutex, clockid_t clock, const struct timespec *until)
{
	for (;;) {
		int r = pthread_mutex_trylock(mutex);
		struct timespec now;

		if (r != EBUSY)
			return r;
		clock_gettime(clock, &now);
		if (now.tv_sec > until->tv_sec || (now.tv_sec == until->tv_sec && now.tv_nsec >= until->tv_nsec))
			return ETIMEDOUT;
		nap(100);
	}
}

int pthread_mutex_timedlock(pthread_mutex_t *mutex, const struct timespec *until)
{
	return try_until(mutex, CLOCK_REALTIME, until);
}

int pthread_mutex_clocklock(pthread_mutex_t *mutex, clockid_t clock, const struct timespec *until)
{
	return try_until(mutex, clock, until);
}
#endif

/* Of the file that ZD_TOLD names. */
static int told_fd = -1;
static void open_told(void)
{
	const char *path = getenv("ZD_TOLD");

	if (path)
		told_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
}

/*
 * Codes that each call gave, for who compares them with what its header lists: a line "zd_call code" for each, once a
 * process, in the file that ZD_TOLD names. call: how it is written.
 */
static void tell(const char *call, int64_t code)
{
	static _Atomic uint32_t seen[4096];
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	char line[64];
	uint32_t key;
	int n;

	call = strstr(call, "zd_");
	if (!call)
		return;
	n = snprintf(line, sizeof(line), "%.*s %d\n", (int)strcspn(call, "("), call, (int)code);
	key = zd_crc32c(0, line, (size_t)n) | 1;
	if (atomic_exchange(&seen[key / 2 % 4096], key) == key)
		return;
	pthread_once(&once, open_told);
	if (told_fd >= 0)
		CLAIM(write(told_fd, line, (size_t)n) == n);
}

/* What a call on a disk that others use, cut and break may answer; a damaged image is never among it. */
#define settle(call, err) settle_call(#call, call, err)
static int64_t settle_call(const char *call, int64_t ret, const struct zd_error *err)
{
	static const int host[] = { -EINVAL, -EINTR, -EALREADY, -EBUSY, -ENOENT, -ENOSPC, -EEXIST, -EAGAIN, -ECANCELED };
	bool known = (ret <= ZD_E_FIRST_RULE && ret > ZD_E_FIRST_RULE - ZD_NR_RULES) || ret == ZD_E_READONLY_HANDLE ||
		     ret == ZD_E_BUSY || ret == ZD_E_CLOSED;

	atomic_fetch_add_explicit(&commands, 1, memory_order_relaxed);
	if (ret >= 0)
		return ret;
	if (err->code != ret)
		fprintf(stderr, "%s gives %lld, and its error tells of %d: %s\n", call, (long long)ret, err->code, err->text);
	claim_known_code(ret, err);
	tell(call, ret);
	if (ret == -EINTR)
		zd_waited_for();
	for (size_t i = 0; i < sizeof(host) / sizeof(host[0]); i++)
		known |= ret == host[i];
	if (!known)
		fprintf(stderr, "unexpected: %s (%d), zone %u, %s\n",
			zd_rule_name((int)ret) ? zd_rule_name((int)ret) : strerror((int)-ret), (int)ret, err->zone, err->text);
	CLAIM(known);
	return ret;
}

/* A sector says where it belongs, or in an append its zone; the rest is one tag. */
static void stamp(struct worker *w, uint64_t offset, uint32_t length, bool placed)
{
	uint64_t tag = draw64(w) | 1;

	for (uint32_t at = 0; at < length; at += SECTOR) {
		uint64_t words[SECTOR / 8];

		words[0] = placed ? offset + at : ~(offset / ZONE_SIZE);
		for (uint32_t i = 1; i < SECTOR / 8; i++)
			words[i] = tag;
		memcpy(w->bytes + at, words, sizeof(words));
	}
}

static void verify(const uint8_t *bytes, uint64_t offset, uint64_t length)
{
	uint32_t zone = (uint32_t)(offset / ZONE_SIZE);

	/* What a killed process wrote over may be torn. */
	if (image && zone >= AREAS)
		return;
	if (!required || zone < CONV || zone >= FLIPPED || (offset + length - 1) / ZONE_SIZE != zone)
		return;
	for (uint64_t at = 0; at < length; at += SECTOR) {
		uint64_t words[SECTOR / 8];

		memcpy(words, bytes + at, sizeof(words));
		for (uint32_t i = 2; i < SECTOR / 8; i++)
			CLAIM(words[i] == words[1]);
		if (words[0] == words[1])
			CLAIM(words[0] == 0 || words[0] == UINT64_MAX); /* filler */
		else
			CLAIM(words[0] == offset + at || words[0] == ~(uint64_t)zone);
	}
}

/* ---------------------------------------------------------------- the calls */

static void op_read(struct worker *w, zd_dev *dev)
{
	uint32_t block = draw(w, NR_ZONES * ZONE_BLOCKS), n = 1 + draw(w, ZONE_BLOCKS - block % ZONE_BLOCKS);
	uint64_t offset = (uint64_t)block * BLOCK;
	const struct iovec two[] = { { w->more, SECTOR }, { w->more + SECTOR, n * BLOCK - SECTOR } };
	struct zd_error err;
	int64_t got = draw(w, 2) ? settle(zd_pread(dev, w->more, n * BLOCK, offset, &err), &err) :
				   settle(zd_preadv(dev, two, 2, offset, &err), &err);

	if (got >= 0)
		verify(w->more, offset, n * BLOCK);
}

static void op_map(struct worker *w, zd_dev *dev)
{
	uint64_t offset = (uint64_t)draw(w, NR_ZONES * ZONE_BLOCKS) * BLOCK;
	struct zd_error err;
	const void *at;
	int64_t n = settle(zd_map_begin(dev, offset, 1 + draw(w, ZONE_SIZE), &at, &err), &err);

	if (n <= 0)
		return;
	if (offset % ZONE_SIZE + (uint64_t)n <= ZONE_SIZE)
		verify(at, offset, (uint64_t)n / SECTOR * SECTOR);
	zd_map_end(dev, offset);
}

/* Without a lock: whatever others do to the zone meanwhile, and this thread too, the bytes stay as they are. */
static void op_pin(struct worker *w, zd_dev *dev)
{
	uint32_t zone = draw(w, NR_ZONES), n = 1 + draw(w, 4);
	struct zd_error err;
	struct zd_pin pin;
	int64_t got = settle(zd_pin(dev, (uint64_t)zone * ZONE_SIZE, n * BLOCK, &pin, &err), &err);

	if (got <= 0)
		return;
	memcpy(w->more, pin.at, (size_t)got);
	if (zone >= CONV && draw(w, 2))
		settle(zd_zone_mgmt(dev, ZD_CMD_RESET, zone, 1, &err), &err);
	else
		nap(draw(w, 500));
	CLAIM(memcmp(w->more, pin.at, (size_t)got) == 0);
	zd_unpin(dev, &pin);
}

static void op_write(struct worker *w, zd_dev *dev)
{
	uint32_t zone = draw(w, NR_ZONES), n = 1 + draw(w, 6), block;
	struct zd_error err;
	struct zd_zone z;

	/* At the write pointer, as far as that still holds; anywhere in others; over a gap where that may be. */
	if (settle(zd_report(dev, zone, 1, &z, &err), &err) != 1)
		return;
	block = z.type == ZD_CONVENTIONAL || z.wp == ZD_NONE || (!required && draw(w, 2)) ?
			draw(w, ZONE_BLOCKS) :
			(uint32_t)((z.wp - z.start) / BLOCK);
	if (draw(w, 16) == 0)
		block = draw(w, ZONE_BLOCKS);
	else if (zone >= AREAS && z.wp != ZD_NONE && draw(w, 2)) /* in the zone's area, or behind it */
		block = (block + draw(w, 8)) % ZONE_BLOCKS;
	n = n < ZONE_BLOCKS - block ? n : ZONE_BLOCKS - block;
	stamp(w, z.start + block * BLOCK, n * BLOCK, true);
	if (draw(w, 3)) {
		settle(zd_pwrite(dev, w->bytes, n * BLOCK, z.start + block * BLOCK, &err), &err);
	} else {
		uint32_t cut = draw(w, n * BLOCK + 1);
		struct iovec iov[2] = { { w->bytes, cut }, { w->bytes + cut, n * BLOCK - cut } };

		settle(zd_pwritev(dev, iov, 2, z.start + block * BLOCK, &err), &err);
	}
}

static void op_append(struct worker *w, zd_dev *dev)
{
	uint32_t zone = CONV + draw(w, NR_ZONES - CONV), n = 1 + draw(w, 6);
	struct zd_error err;
	const struct iovec two[] = { { w->bytes, SECTOR }, { w->bytes + SECTOR, n * BLOCK - SECTOR } };
	uint64_t landed;
	int64_t got;

	stamp(w, (uint64_t)zone * ZONE_SIZE, n * BLOCK, false);
	got = draw(w, 2) ? settle(zd_append(dev, zone, w->bytes, n * BLOCK, &landed, &err), &err) :
			   settle(zd_appendv(dev, zone, two, 2, &landed, &err), &err);
	if (got >= 0)
		CLAIM(landed / ZONE_SIZE == zone && landed % BLOCK == 0);
}

static void op_reserve(struct worker *w, zd_dev *dev)
{
	uint32_t zone = draw(w, NR_ZONES);
	struct zd_error err;
	struct zd_zone z;

	if (settle(zd_report(dev, zone, 1, &z, &err), &err) == 1 && z.wp != ZD_NONE)
		settle(zd_reserve(dev, z.wp, (1 + draw(w, 4)) * BLOCK, &err), &err);
}

static void submitted(struct zd_request *q)
{
	__atomic_store_n((uint32_t *)q->arg, 1, __ATOMIC_RELEASE);
}

/* Given without waiting for it; what is held up is cancelled or let be till its time comes. */
static void op_submit(struct worker *w, zd_dev *dev)
{
	static const uint16_t some[] = { ZD_OP_READ,       ZD_OP_WRITE,  ZD_OP_APPEND,    ZD_OP_FINISH,
					 ZD_OP_FLUSH,      ZD_OP_VERIFY, ZD_OP_COMPARE,   ZD_OP_WRITE_ZEROES,
					 ZD_OP_DEALLOCATE, ZD_OP_REPORT, ZD_OP_OPEN_ZRWA, ZD_OP_COMMIT_ZRWA };
	const struct iovec in = { w->more, BLOCK }, out = { w->bytes, BLOCK };
	struct zd_error err;
	struct zd_zone zones[4];
	uint32_t ended = 0, zone = draw(w, NR_ZONES);
	struct zd_request q = { .size = sizeof(q),
				.op = some[draw(w, sizeof(some) / sizeof(*some))],
				.zone = zone,
				.count = 1,
				.offset = (uint64_t)zone * ZONE_SIZE + draw(w, ZONE_BLOCKS) * BLOCK,
				.length = BLOCK,
				.zones = zones,
				.err = &err,
				.done = submitted,
				.arg = &ended };

	if (q.op == ZD_OP_WRITE || q.op == ZD_OP_APPEND) {
		stamp(w, q.offset, BLOCK, false);
		q.iov = &out;
		q.nr_iov = 1;
		q.flags = draw(w, 2) ? ZD_REQ_FUA : 0;
	} else if (q.op == ZD_OP_READ || q.op == ZD_OP_COMPARE) {
		q.iov = &in;
		q.nr_iov = 1;
	}
	if (zd_submit(dev, &q) == ZD_DEFERRED && draw(w, 4))
		zd_cancel(dev, &q);
	for (uint32_t tries = 0; !__atomic_load_n(&ended, __ATOMIC_ACQUIRE); tries++) {
		if (tries == 100)
			zd_cancel(dev, &q);
		nap(200);
	}
	settle(q.result, &err);
}

static void op_flush(struct worker *w, zd_dev *dev)
{
	struct zd_error err;

	(void)w;
	settle(zd_flush(dev, &err), &err);
}

static void op_zone(struct worker *w, zd_dev *dev)
{
	uint32_t zone = draw(w, NR_ZONES), many = draw(w, 8) ? 1 : 1 + draw(w, NR_ZONES - zone);
	struct zd_error err;

	if (draw(w, 40) == 0)
		settle(zd_zone_mgmt(dev, ZD_CMD_OPEN_ALL + (int)draw(w, 4), 0, 0, &err), &err);
	else
		settle(zd_zone_mgmt(dev, ZD_CMD_OPEN + (int)draw(w, 4), zone, many, &err), &err);
}

static void op_condition(struct worker *w, zd_dev *dev)
{
	static const int conds[] = { ZD_READ_ONLY, ZD_OFFLINE, ZD_EMPTY, ZD_EMPTY };
	struct zd_error err;

	settle(zd_set_condition(dev, draw(w, NR_ZONES), conds[draw(w, 4)], &err), &err);
}

/* One of them is one byte, many times: a reader sees no half of one and half of another. */
static void op_extension(struct worker *w, zd_dev *dev)
{
	uint8_t bytes[EXTENSION];
	uint32_t zone = draw(w, NR_ZONES);
	struct zd_error err;

	if (draw(w, 2)) {
		memset(bytes, (int)draw(w, 256), sizeof(bytes));
		settle(zd_zone_set_extension(dev, zone, bytes, sizeof(bytes), &err), &err);
	} else if (settle(zd_zone_extension(dev, zone, bytes, &err), &err) == 1) {
		for (uint32_t i = 1; i < sizeof(bytes); i++)
			CLAIM(bytes[i] == bytes[0]);
	}
}

/* Zones get an area, and are committed; what is written in it goes as other writes do. */
static void op_area(struct worker *w, zd_dev *dev)
{
	uint32_t zone = AREAS + draw(w, FLIPPED - AREAS);
	uint64_t filled;
	struct zd_error err;
	struct zd_zone row;

	if (draw(w, 3) == 0)
		settle(zd_zone_open_zrwa(dev, zone, &err), &err);
	else if (settle(zd_zone_zrwa(dev, zone, &filled, &err), &err) == 1 && zd_report(dev, zone, 1, &row, NULL) == 1 &&
		 row.wp != ZD_NONE)
		settle(zd_zone_commit_zrwa(dev, zone, row.wp + (1 + draw(w, 4)) * BLOCK, &err), &err);
	else
		settle(zd_zone_commit_zrwa(dev, zone, zone * ZONE_SIZE + draw(w, 8) * BLOCK, &err), &err);
}

static void op_look(struct worker *w, zd_dev *dev)
{
	struct zd_zone_counters by_zone[NR_ZONES];
	struct zd_zone_state states[NR_ZONES];
	struct zd_zone zones[NR_ZONES];
	struct zd_counters counters = { .struct_size = sizeof(counters) };
	struct zd_range ranges[4];
	struct zd_info info = { .struct_size = sizeof(info) };
	struct zd_news news, later;
	struct zd_error err;
	struct stat st;
	uint32_t zone = draw(w, NR_ZONES);
	int64_t n;

	n = settle(zd_report(dev, zone, NR_ZONES, zones, &err), &err);
	CLAIM(n < 0 || n == NR_ZONES - zone);
	for (int64_t i = 0; i < n; i++)
		CLAIM(zones[i].wp == ZD_NONE ||
		      (zones[i].wp >= zones[i].start && zones[i].wp <= zones[i].start + zones[i].capacity));
	if (settle(zd_info(dev, &info, &err), &err) == 0)
		CLAIM(info.nr_zones == NR_ZONES && info.size == NR_ZONES * ZONE_SIZE && !info.failed);
	CLAIM(zd_conv_ranges(dev, ranges, 4) == 1 && ranges[0].count == CONV);
	if (settle(zd_news(dev, &news, &err), &err) == 0 && settle(zd_news(dev, &later, &err), &err) == 0)
		CLAIM((int32_t)(later.powered - news.powered) >= 0 && (int32_t)(later.conditioned - news.conditioned) >= 0);
	settle(zd_counters(dev, &counters, &err), &err);
	settle(zd_zone_counters(dev, 0, NR_ZONES, by_zone, &err), &err);
	n = settle(zd_zone_written(dev, zone, &err), &err);
	CLAIM(n < 0 || n <= ZONE_SIZE);
	settle(zd_zone_opened(dev, zone, &err), &err);
	if (settle(zd_zone_state(dev, zone, &states[0], &err), &err) == 0)
		CLAIM(states[0].type == ZD_CONVENTIONAL || states[0].written <= ZONE_SIZE);
	settle(zd_zone_states(dev, states, &err), &err);
	settle(zd_others_write(dev, &err), &err);
	CLAIM(zd_fd(dev) >= 0 && fstat(zd_fd(dev), &st) == 0);
}

/* What needs no disk. */
static void op_pure(struct worker *w, zd_dev *dev)
{
	int code = ZD_E_FIRST_RULE - (int)draw(w, ZD_NR_RULES);
	const struct zd_error any = { .code = code,
				      .zone = 3,
				      .offset = draw64(w),
				      .length = draw64(w),
				      .bound = draw64(w),
				      .wp = draw64(w),
				      .cond = (uint8_t)draw(w, 256),
				      .cmd = (uint8_t)draw(w, 256) };
	const struct zd_said_disk disk = { .size = draw64(w),
					   .zone_size = draw64(w),
					   .logical_block = 512,
					   .physical_block = 4096,
					   .dialect = (uint8_t)draw(w, 3) };
	size_t room = draw(w, 300), whole;
	char text[300];

	(void)dev;
	whole = zd_rule_sentence(&any, &disk, text, room);
	CLAIM(whole > 0 && (!room || strlen(text) == (whole < room ? whole : room - 1)));
	CLAIM(zd_cond_name((int)draw(w, 3)) && zd_dialect_name((int)draw(w, 3)) && zd_cmd_name((int)draw(w, 12)));
	CLAIM(zd_rule_info(code, (int)draw(w, 3)) && zd_rule_name(code) && *zd_strerror(code) && zd_abi() == ZD_ABI);
	CLAIM(zd_cond_name(ZD_FULL) && zd_dialect_name(ZD_ZNS) && zd_cmd_name((int)draw(w, ZD_NR_CMDS)));
	{
		const struct zd_error broken = { .code = code, .cmd = ZD_CMD_WRITE, .zone = draw(w, NR_ZONES), .wp = ZD_NONE };
		const struct zd_said_disk disk = { .size = NR_ZONES * ZONE_SIZE, .zone_size = ZONE_SIZE, .nr_zones = NR_ZONES };
		char text[64];

		CLAIM(zd_rule_sentence(&broken, &disk, text, sizeof(text)) > 0 && memchr(text, 0, sizeof(text)));
	}
	CLAIM(zd_cell((int)draw(w, 3), ZD_SEQ_WRITE_REQUIRED, ZD_EMPTY, (int)draw(w, 12)));
	CLAIM(zd_crc32c(0, "123456789", 9) == 0xE3069283u);
	CLAIM(zd_fault_commands(1 + (int)draw(w, ZD_NR_FAULT_KINDS - 1)));
}

static void op_fault(struct worker *w, zd_dev *dev)
{
	struct zd_fault fault = { .kind = 1 + draw(w, ZD_NR_FAULT_KINDS - 1),
				  .last_zone = ZD_NO_ZONE,
				  .bit = ZD_NONE,
				  .seed = draw64(w),
				  .limit = 1 + draw(w, 3),
				  .order = draw(w, 1u << 30) };
	struct zd_fault list[ZD_MAX_FAULTS];
	struct zd_error err;
	uint32_t id;
	int n;

	switch (fault.kind) {
	case ZD_FAULT_TORN: fault.blocks = 1 + draw(w, 3); break;
	case ZD_FAULT_FLIP_READ:
	case ZD_FAULT_FLIP_MEDIA: fault.first_zone = FLIPPED; break;
	case ZD_FAULT_READ_ONLY:
	case ZD_FAULT_OFFLINE: fault.after = draw(w, 2); break;
	case ZD_FAULT_LATENCY:
		fault.real_ns = draw(w, 2000000);
		fault.virtual_ns = draw(w, 1000);
		break;
	case ZD_FAULT_HANG: fault.real_ns = draw(w, 2) ? 0 : 1 + draw(w, 20000000); break;
	case ZD_FAULT_LIMIT: fault.active = draw(w, 2); break;
	case ZD_FAULT_POWER_CUT:
		fault.after = draw(w, 2);
		fault.keep = draw(w, 3);
		break;
	}
	if (draw(w, 2))
		fault.nth = 1 + draw(w, 5), fault.limit = 0;
	snprintf(fault.label, sizeof(fault.label), "by %u", w->id);
	if (settle(zd_fault_add(dev, &fault, &id, &err), &err) == 0 && draw(w, 2))
		settle(zd_fault_clear(dev, id, &err), &err);
	n = (int)settle(zd_fault_list(dev, list, ZD_MAX_FAULTS, &err), &err);
	CLAIM(n <= ZD_MAX_FAULTS);
	if (draw(w, 4) == 0)
		settle(zd_fault_release(dev, n > 0 && n <= ZD_MAX_FAULTS ? list[draw(w, (uint32_t)n)].id : 0, &err), &err);
	zd_fault_virtual_ns(dev);
	if (draw(w, 4) == 0) {
		struct zd_info info = { .struct_size = sizeof(info) };
		uint64_t blocks;

		if (settle(zd_info(dev, &info, &err), &err))
			return;
		blocks = info.size / info.logical_block;
		settle(zd_fault_spoil(dev, draw(w, (uint32_t)blocks) * (uint64_t)info.logical_block,
				      draw(w, 40) * (uint64_t)info.logical_block, &err),
		       &err);
		settle(zd_fault_spoiled(dev, 0, &err), &err);
	}
}

/* A whole recording that this thread began and ended has its end. */
static void read_recording(int fd)
{
	struct zd_trace_reader reader = { .crc = 0 };
	struct zd_trace_record records[64];
	uint64_t at, used;
	struct stat st;
	uint32_t size;
	uint8_t *bytes;

	CLAIM(fstat(fd, &st) == 0 && st.st_size > ZD_TRACE_HEADER);
	bytes = malloc((size_t)st.st_size);
	CLAIM(bytes && pread(fd, bytes, (size_t)st.st_size, 0) == st.st_size);
	memcpy(&size, bytes + 12, sizeof(size));
	memcpy(&reader.crc, bytes + size - 4, sizeof(reader.crc));
	reader.with_data = !memcmp(bytes, "ZDHISTO", 7);
	for (at = size; zd_trace_read(&reader, bytes + at, (uint64_t)st.st_size - at, records, 64, &used) > 0; at += used)
		;
	if (!reader.ended || reader.damage || at != (uint64_t)st.st_size) {
		fprintf(stderr,
			"a recording%s of %lld bytes: %s end, damage %u at byte %llu:", reader.with_data ? " with data" : "",
			(long long)st.st_size, reader.ended ? "an" : "no", reader.damage, (unsigned long long)at);
		for (uint64_t i = at; i < (uint64_t)st.st_size && i < at + 64; i++)
			fprintf(stderr, " %02x", bytes[i]);
		fprintf(stderr, "\n");
	}
	CLAIM(reader.ended && !reader.damage && at == (uint64_t)st.st_size);
	free(bytes);
}

static void op_trace(struct worker *w, zd_dev *dev)
{
	struct zd_trace_record *last;
	struct zd_trace_status status = { .struct_size = sizeof(status) };
	struct zd_error err;
	int64_t n;
	int fd;

	switch (draw(w, 6)) {
	case 0:
	case 1:
		fd = memfd_create("recording", MFD_CLOEXEC);
		CLAIM(fd >= 0);
		n = draw(w, 2) ? settle(zd_trace_start(dev, fd, &err), &err) : settle(zd_trace_start_data(dev, fd, &err), &err);
		if (n == 0 && draw(w, 3)) {
			for (uint32_t i = draw(w, 8); i; i--)
				op_append(w, dev);
			nap(draw(w, 2000));
			if (settle(zd_trace_stop(dev, &status, &err), &err) == 0)
				read_recording(fd);
		}
		close(fd);
		break;
	case 2: settle(zd_trace_stop(dev, draw(w, 2) ? &status : NULL, &err), &err); break;
	case 3: settle(zd_trace_keep(dev, (int)draw(w, 2), &err), &err); break;
	case 5: settle(zd_trace_mark(dev, "a word", draw(w, 7), &err), &err); break;
	case 4:
		last = malloc(ZD_TRACE_LAST * sizeof(*last));
		CLAIM(last);
		n = settle(zd_trace_last(dev, last, ZD_TRACE_LAST, &err), &err);
		for (int64_t i = 1; i < n; i++)
			CLAIM(last[i].number > last[i - 1].number);
		free(last);
		break;
	}
	if (settle(zd_trace_status(dev, &status, &err), &err) == 0)
		CLAIM(status.error == 0);
}

static void observed(void *arg, const struct zd_told *what)
{
	CLAIM(what->cmd >= 0 && what->cmd < ZD_NR_CMDS);
	atomic_fetch_add_explicit((_Atomic uint64_t *)arg, 1, memory_order_relaxed);
}

static void observer_ended(void *arg)
{
	free(arg);
}

static void op_observe(struct worker *w, zd_dev *dev)
{
	_Atomic uint64_t *count = calloc(1, sizeof(*count));
	struct zd_error err;

	CLAIM(count);
	if (settle(zd_observe(dev, observed, count, observer_ended, &err), &err) < 0) {
		free(count);
		count = NULL;
	}
	for (uint32_t i = draw(w, 4); i; i--)
		op_append(w, dev);
	if (draw(w, 2))
		zd_observe_end(dev, draw(w, 2) ? NULL : count);
}

/* The same by the library's own list of what may become of zones and blocks. */
static void choose_fates(struct worker *w, zd_snapshot *snapshot, const struct zd_snapshot_block *blocks, uint64_t n,
			 struct zd_cut *cut, struct zd_survivor *kept, uint64_t *undone)
{
	struct zd_fate fates[NR_ZONES + MAX_BLOCKS];
	struct zd_survivor all[NR_ZONES + MAX_BLOCKS];
	uint64_t choices[NR_ZONES + MAX_BLOCKS], nr_free, nr = zd_snapshot_fates(snapshot, blocks, n, fates, &nr_free);

	CLAIM(nr_free <= nr && nr <= NR_ZONES + n);
	for (uint64_t i = 0; i < nr; i++)
		choices[i] = i < nr_free ? draw(w, (uint32_t)fates[i].choices) : 0;
	CLAIM(zd_fates_cut(fates, nr, choices, nr_free, all, undone, cut) == 0 && cut->nr_kept <= NR_ZONES);
	memcpy(kept, all, cut->nr_kept * sizeof(*kept));
	cut->kept = kept;
}

/* A survivor that could be, at the moment of the snapshot. */
static void choose(struct worker *w, zd_snapshot *snapshot, struct zd_cut *cut, struct zd_survivor *kept, uint64_t *undone)
{
	struct zd_snapshot_zone rows[NR_ZONES];
	struct zd_snapshot_block blocks[MAX_BLOCKS];
	struct zd_error err;
	int64_t n = settle(zd_snapshot_unflushed(snapshot, blocks, MAX_BLOCKS, &err), &err);
	int nr = zd_snapshot_rows(snapshot, rows, NR_ZONES);

	*cut = (struct zd_cut){ .kept = kept, .undone = undone };
	CLAIM(nr >= 0 && nr <= (int)NR_ZONES);
	if (n >= 0 && n <= MAX_BLOCKS && draw(w, 2)) {
		choose_fates(w, snapshot, blocks, (uint64_t)n, cut, kept, undone);
		return;
	}
	for (int i = 0; i < nr; i++) {
		const struct zd_snapshot_zone *z = &rows[i];

		CLAIM(z->durable <= z->written && z->written <= ZONE_SIZE);
		if (z->type == ZD_SEQ_WRITE_REQUIRED && z->written > z->durable && z->written < z->lost_from && draw(w, 2))
			kept[cut->nr_kept++] = (struct zd_survivor){
				.zone = z->zone,
				.bytes = z->durable + draw(w, (uint32_t)((z->written - z->durable) / BLOCK) + 1) * BLOCK
			};
	}
	for (int64_t i = 0; i < n && i < MAX_BLOCKS; i++) {
		if (blocks[i].lost || draw(w, 2))
			undone[cut->nr_undone++] = blocks[i].offset;
	}
}

static void op_power(struct worker *w, zd_dev *dev)
{
	struct zd_survivor kept[NR_ZONES];
	uint64_t undone[MAX_BLOCKS];
	zd_snapshot *snapshot;
	struct zd_error err;
	struct zd_cut cut;

	switch (draw(w, 6)) {
	case 0: settle(zd_power_cut(dev, (int)draw(w, 3), draw64(w), &err), &err); break;
	case 1:
		if (settle(zd_snapshot_take(dev, &snapshot, &err), &err) == 0) {
			choose(w, snapshot, &cut, kept, undone);
			zd_snapshot_free(snapshot);
			settle(zd_power_cut_to(dev, &cut, &err), &err);
		}
		break;
	case 2: settle(zd_power_cycle(dev, &err), &err); break;
	case 3: settle(zd_power_track(dev, draw(w, 4) != 0, &err), &err); break;
	}
	CLAIM(settle(zd_power_tracked(dev, &err), &err) <= 1);
	if (settle(zd_power(dev, &err), &err) == 0 || draw(w, 4) == 0)
		settle(zd_power_on(dev, &err), &err);
}

static void op_check(struct worker *w, zd_dev *dev)
{
	struct zd_finding *findings = NULL;
	struct zd_error err;
	size_t n = 0;

	(void)dev;
	if (!image)
		return;
	if (draw(w, 4) == 0) {
		CLAIM(settle(zd_check(image, ZD_CHECK_REPAIR, &findings, &n, &err), &err) == ZD_E_BUSY);
		return;
	}
	if (settle(zd_check(image, 0, &findings, &n, &err), &err) < 0)
		return;
	for (size_t i = 0; i < n; i++) {
		if (findings[i].error)
			fprintf(stderr, "check: %s\n", findings[i].text);
		CLAIM(!findings[i].error);
	}
	zd_findings_free(findings);
}

/* A disk of one's own, beside: made, used, closed, checked. */
static void op_create(struct worker *w, zd_dev *dev)
{
	struct zd_config config = { .struct_size = sizeof(struct zd_config),
				    .size = 4 * ZONE_SIZE,
				    .zone_size = ZONE_SIZE,
				    .logical_block = SECTOR,
				    .physical_block = BLOCK };
	struct zd_finding *findings;
	struct zd_error err;
	char path[4096], placed[4096 + 8];
	bool in_file;
	zd_dev *own;
	size_t n;

	(void)dev;
	if (image)
		snprintf(path, sizeof(path), "%s-%u", image, w->id);
	if (image && draw(w, 4) == 0)
		CLAIM(settle(zd_create(image, &config, 0, &own, &err), &err) == -EEXIST);
	in_file = image && draw(w, 2);
	CLAIM(zd_create(in_file ? path : NULL, &config, ZD_CREATE_REPLACE, &own, &err) == 0);
	CLAIM(zd_pwrite(own, w->bytes, BLOCK, 0, &err) == BLOCK);
	CLAIM(zd_close(own, &err) == 0);
	if (!in_file)
		return;
	CLAIM(zd_check(path, 0, &findings, &n, &err) == 0 && n == 0);
	zd_findings_free(findings);
	/* It takes another name, where nobody has an image or one that nobody uses. */
	snprintf(placed, sizeof(placed), "%s-placed", path);
	CLAIM(access(placed, F_OK) || zd_replaceable(placed, &err) == 0);
	CLAIM(zd_place(path, placed, ZD_CREATE_REPLACE, &err) == 0);
	CLAIM(settle(zd_place(placed, image, 0, &err), &err) == -EEXIST);
}

static void watching(void *arg, int cmd, uint64_t place, uint64_t length, int64_t result)
{
	(void)cmd, (void)place, (void)length, (void)result;
	atomic_fetch_add_explicit((_Atomic uint32_t *)arg, 1, memory_order_relaxed);
}

static uint64_t now(void)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	return (uint64_t)at.tv_sec * 1000000000 + (uint64_t)at.tv_nsec;
}

/* A drive that takes up to 200 us for anything. A ticket is the time at which its command is done. */
static uint64_t paced(void *arg, const struct zd_told *what)
{
	(void)arg;
	CLAIM(what->cmd >= 0 && what->cmd < ZD_NR_CMDS);
	return what->length ? now() + 200000 - what->offset % 200000 : 0;
}

static uint64_t still_to_go(void *arg, uint64_t ticket)
{
	uint64_t at = now();

	(void)arg;
	return ticket > at ? ticket - at : 0;
}

static void never_mind(void *arg, uint64_t ticket)
{
	(void)arg;
	CLAIM(ticket);
}

static void pace_ended(void *arg)
{
	CLAIM(arg == NULL);
}

/* Hook, watcher and pace are set before anybody else has the handle. */
static void furnish(struct worker *w, zd_dev *dev)
{
	static const struct zd_pace pace = { paced, still_to_go, never_mind, pace_ended };
	struct zd_error err;
	int (*before)(void *);
	void *arg;

	zd_set_interrupt(dev, hook, &hook_calls);
	before = zd_get_interrupt(dev, &arg);
	CLAIM(before == hook && arg == &hook_calls);
	zd_watch(dev, watching, &hook_calls);
	CLAIM(zd_watched(dev, ZD_CMD_WRITE, 0, BLOCK, (int64_t)w->id) == w->id);
	if (draw(w, 4) == 0 && settle(zd_set_pace(dev, &pace, NULL, &err), &err) == 0)
		CLAIM(settle(zd_set_pace(dev, &pace, NULL, &err), &err) == -EBUSY);
}

/* A fork shows one thing, whatever happens to the disk. */
static void fork_of(struct worker *w, zd_snapshot *snapshot, struct place *to)
{
	struct zd_survivor kept[NR_ZONES];
	uint64_t undone[MAX_BLOCKS];
	uint64_t offset = (uint64_t)draw(w, NR_ZONES) * ZONE_SIZE;
	struct zd_error err;
	struct zd_cut cut;
	bool cut_it = draw(w, 2);

	if (cut_it)
		choose(w, snapshot, &cut, kept, undone);
	if (settle(zd_fork(snapshot, cut_it ? &cut : NULL, &to->dev, &err), &err) < 0) {
		to->dev = NULL;
		return;
	}
	to->readonly = false;
	if (settle(zd_pread(to->dev, w->bytes, ZONE_SIZE, offset, &err), &err) >= 0) {
		nap(draw(w, 300));
		CLAIM(zd_pread(to->dev, w->more, ZONE_SIZE, offset, &err) == ZONE_SIZE);
		CLAIM(memcmp(w->bytes, w->more, ZONE_SIZE) == 0);
		verify(w->more, offset, ZONE_SIZE);
	}
	claim_disk_is_sound(to->dev, 0);
	furnish(w, to->dev);
}

static bool reads_only(zd_dev *dev)
{
	struct zd_error err;
	struct zd_info info = { .struct_size = sizeof(info) };

	return zd_info(dev, &info, &err) < 0 || info.readonly;
}

/* Fill a place with a second handle, a fork or a snapshot; or empty it. */
static void op_place(struct worker *w, zd_dev *dev)
{
	struct place *place = &places[draw(w, NR_PLACES)], *from = &places[draw(w, NR_PLACES)];
	zd_snapshot *shared;
	struct zd_error err;

	if (pthread_rwlock_trywrlock(&place->lock))
		return;
	if (place->dev && draw(w, 2)) {
		if (draw(w, 2))
			zd_end_hangs(place->dev);
		settle(zd_close(place->dev, &err), &err);
		place->dev = NULL;
	} else if (place->snapshot && draw(w, 3) == 0) {
		zd_snapshot_free(place->snapshot);
		place->snapshot = NULL;
	} else if (!place->dev && image && draw(w, 2)) {
		place->readonly = draw(w, 3) == 0;
		if (settle(zd_open(image, place->readonly ? ZD_OPEN_READONLY : 0, &place->dev, &err), &err) < 0)
			place->dev = NULL;
		else
			furnish(w, place->dev);
	} else if (!place->snapshot) {
		zd_dev *of = place->dev && draw(w, 2) ? place->dev : dev;

		/* By a read-only handle a look takes no lock and races by design; what it tells is tested from Python. */
		if ((draw(w, 2) && !reads_only(of) ? settle(zd_snapshot_look(of, &place->snapshot, &err), &err) :
						     settle(zd_snapshot_take(of, &place->snapshot, &err), &err)) < 0)
			place->snapshot = NULL;
	} else if (!place->dev) {
		/* Through a second hold of it, whose end must leave the first. */
		zd_snapshot_share(place->snapshot, &shared);
		fork_of(w, place->snapshot, place);
		zd_snapshot_free(shared);
	} else if (from != place && !pthread_rwlock_tryrdlock(&from->lock)) {
		if (from->snapshot)
			settle(zd_rollback(place->dev, from->snapshot, &err), &err);
		pthread_rwlock_unlock(&from->lock);
	}
	pthread_rwlock_unlock(&place->lock);
}

/* Use a snapshot that others use too. */
static void op_snapshot(struct worker *w, zd_dev *dev)
{
	struct place *place = &places[draw(w, NR_PLACES)], own = { .dev = NULL };
	struct zd_error err;
	zd_snapshot *shared;

	if (pthread_rwlock_tryrdlock(&place->lock))
		return;
	if (place->snapshot && draw(w, 3)) {
		zd_snapshot_share(place->snapshot, &shared);
		pthread_rwlock_unlock(&place->lock);
		fork_of(w, shared, &own);
		zd_snapshot_free(shared);
		if (own.dev)
			CLAIM(zd_close(own.dev, &err) == 0);
		return;
	}
	if (place->snapshot && draw(w, 4) == 0)
		settle(zd_rollback(dev, place->snapshot, &err), &err);
	pthread_rwlock_unlock(&place->lock);
}

static const struct op {
	void (*run)(struct worker *w, zd_dev *dev);
	uint32_t weight;
} ops[] = { { op_read, 14 },   { op_map, 6 },    { op_pin, 6 },   { op_submit, 10 },   { op_write, 20 },    { op_append, 20 },
	    { op_reserve, 3 }, { op_flush, 3 },  { op_zone, 8 },  { op_condition, 1 }, { op_extension, 3 }, { op_area, 8 },
	    { op_look, 5 },    { op_pure, 1 },   { op_fault, 2 }, { op_trace, 2 },     { op_observe, 2 },   { op_power, 1 },
	    { op_check, 1 },   { op_create, 1 }, { op_place, 6 }, { op_snapshot, 2 } };
#define NR_OPS (sizeof(ops) / sizeof(ops[0]))
#define ENDLESS 120 /* seconds that no call takes, even where the machine is busy */

static uint32_t draw_op(struct worker *w)
{
	uint32_t sum = 0, at;
	size_t i;

	for (i = 0; i < NR_OPS; i++)
		sum += ops[i].weight;
	at = draw(w, sum);
	for (i = 0; at >= ops[i].weight; i++)
		at -= ops[i].weight;
	return (uint32_t)i;
}

static void run_op(struct worker *w, uint32_t i, zd_dev *dev)
{
	atomic_store_explicit(&w->doing, i, memory_order_relaxed);
	ops[i].run(w, dev);
}

static void *work(void *arg)
{
	struct worker *w = arg;

	/* Each call at least once, before chance has its way. */
	for (size_t i = 0; i < NR_OPS; i++)
		run_op(w, (i + w->id) % NR_OPS, disk);
	while (!atomic_load(&stop)) {
		struct place *place = draw(w, 3) ? NULL : &places[draw(w, NR_PLACES)];

		if (place && pthread_rwlock_tryrdlock(&place->lock))
			place = NULL;
		run_op(w, draw_op(w), place && place->dev ? place->dev : disk);
		if (place)
			pthread_rwlock_unlock(&place->lock);
	}
	atomic_store(&w->ended, true);
	return NULL;
}

/* ---------------------------------------------------------------- what goes on beside */

/* The disk is given its power back, dead zones come back, faults go: else soon nothing would work. */
static void tidy(zd_dev *dev, struct worker *w)
{
	struct zd_zone zones[NR_ZONES];
	struct zd_error err;
	int64_t n;

	settle(zd_power_on(dev, &err), &err);
	settle(zd_fault_release(dev, 0, &err), &err);
	if (draw(w, 4) == 0 || atomic_load(&stop))
		settle(zd_fault_clear(dev, 0, &err), &err);
	n = settle(zd_report(dev, 0, NR_ZONES, zones, &err), &err);
	for (int64_t i = 0; i < n; i++) {
		if (zones[i].cond == ZD_READ_ONLY || zones[i].cond == ZD_OFFLINE)
			settle(zd_set_condition(dev, (uint32_t)i, ZD_EMPTY, &err), &err);
	}
}

static struct worker *all;
static uint32_t nr_workers;

static void *janitor(void *arg)
{
	struct worker *w = arg;

	while (!atomic_load(&workers_done)) {
		nap(500 + draw(w, 4000));
		tidy(disk, w);
		for (uint32_t i = 0; i < NR_PLACES; i++) {
			if (pthread_rwlock_tryrdlock(&places[i].lock))
				continue;
			if (places[i].dev && !places[i].readonly)
				tidy(places[i].dev, w);
			pthread_rwlock_unlock(&places[i].lock);
		}
		/* Threads that have ended are not joined before this one. */
		pthread_kill(all[draw(w, nr_workers)].thread, SIGUSR1);
	}
	return NULL;
}

static pid_t start_child(struct worker *w)
{
	extern char **environ;
	char milliseconds[16], seed[32], id[16];
	char *argv[] = { "mixed", "child", milliseconds, seed, id, (char *)image, NULL };
	pid_t pid;

	snprintf(milliseconds, sizeof(milliseconds), "%u", 50 + draw(w, 500));
	snprintf(seed, sizeof(seed), "%llu", (unsigned long long)draw64(w));
	snprintf(id, sizeof(id), "%u", 100 * w->id);
	CLAIM(posix_spawn(&pid, "/proc/self/exe", NULL, NULL, argv, environ) == 0);
	return pid;
}

static int reap(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) != pid)
		CLAIM(errno == EINTR);
	return status;
}

/* Child after child opens the disk, and is killed, stopped and continued, or comes to its end. */
static void *warden(void *arg)
{
	struct worker *w = arg;

	while (!atomic_load(&stop)) {
		uint32_t fate = draw(w, 4);
		pid_t pid = start_child(w);
		int status;

		nap(1000 * (1 + draw(w, 400)));
		if (fate == 1 || fate == 2) {
			kill(pid, SIGSTOP);
			nap(1000 * (1 + draw(w, 150)));
			if (fate == 1) {
				kill(pid, SIGCONT);
				nap(1000 * (1 + draw(w, 150)));
			}
		}
		if (fate != 3)
			kill(pid, SIGKILL);
		status = reap(pid);
		if (!(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) && !(WIFEXITED(status) && WEXITSTATUS(status) == 0))
			fprintf(stderr, "a child ended with status %#x\n", (unsigned)status);
		CLAIM((WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL && fate != 3) ||
		      (WIFEXITED(status) && WEXITSTATUS(status) == 0));
	}
	atomic_store(&w->ended, true);
	return NULL;
}

static struct worker make_worker(uint32_t id, uint64_t seed)
{
	struct worker w = { .id = id, .random = seed + id * 7919, .bytes = malloc(ZONE_SIZE), .more = malloc(ZONE_SIZE) };

	CLAIM(w.bytes && w.more);
	return w;
}

/* Threads on `disk` for a while; then everything beside it is closed. */
static void run_threads(uint64_t seed, uint32_t milliseconds, uint32_t nr, uint32_t wardens, uint32_t first_id)
{
	struct sigaction quiet = { .sa_handler = signalled }; /* no SA_RESTART: system calls end with EINTR */
	struct worker workers[16], beside = make_worker(first_id + 15, seed);
	struct timespec now, end;
	struct zd_error err;

	CLAIM(sigaction(SIGUSR1, &quiet, NULL) == 0);
	for (uint32_t i = 0; i < NR_PLACES; i++)
		CLAIM(pthread_rwlock_init(&places[i].lock, NULL) == 0);
	all = workers;
	nr_workers = nr;
	furnish(&beside, disk);
	for (uint32_t i = 0; i < nr + wardens; i++)
		workers[i] = make_worker(first_id + i, seed);
	for (uint32_t i = 0; i < nr + wardens; i++)
		CLAIM(pthread_create(&workers[i].thread, NULL, i < nr ? work : warden, &workers[i]) == 0);
	CLAIM(pthread_create(&beside.thread, NULL, janitor, &beside) == 0);
	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += milliseconds / 1000;
	end.tv_nsec += (long)(milliseconds % 1000) * 1000000;
	do {
		nap(10000);
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while ((now.tv_sec - end.tv_sec) * 1000000000ll + now.tv_nsec - end.tv_nsec < 0);
	atomic_store(&stop, true);
	for (uint32_t i = 0, waited = 0; i < nr + wardens; i++) {
		for (; !atomic_load(&workers[i].ended); nap(2000)) {
			if (waited++ < ENDLESS * 500)
				continue;
			fprintf(stderr, "thread %u does not come back from op %u (wardens wait for children)\n", i,
				atomic_load_explicit(&workers[i].doing, memory_order_relaxed));
			abort();
		}
	}
	atomic_store(&workers_done, true);
	CLAIM(pthread_join(beside.thread, NULL) == 0);
	for (uint32_t i = 0; i < nr + wardens; i++) {
		CLAIM(pthread_join(workers[i].thread, NULL) == 0);
		free(workers[i].bytes);
		free(workers[i].more);
	}
	for (uint32_t i = 0; i < NR_PLACES; i++) {
		zd_snapshot_free(places[i].snapshot);
		if (places[i].dev)
			settle(zd_close(places[i].dev, &err), &err);
		pthread_rwlock_destroy(&places[i].lock);
	}
	free(beside.bytes);
	free(beside.more);
}

static void learn(void)
{
	struct zd_info info = { .struct_size = sizeof(info) };
	struct zd_error err;

	CLAIM(zd_info(disk, &info, &err) == 0);
	required = info.model == ZD_HOST_MANAGED;
}

static int child(char **argv)
{
	struct zd_error err;

	image = argv[5];
	if (settle(zd_open(image, 0, &disk, &err), &err) < 0)
		return 1;
	learn();
	run_threads(strtoull(argv[3], NULL, 0), (uint32_t)atoi(argv[2]), 2, 0, (uint32_t)atoi(argv[4]));
	settle(zd_close(disk, &err), &err);
	return 0;
}

static void create_disk(uint64_t seed)
{
	struct worker w = { .random = seed };
	struct zd_range conv = { 0, CONV };
	struct zd_config config = config_of(NR_ZONES * ZONE_SIZE, ZONE_SIZE, &conv);
	struct zd_error err;

	config.unrestricted_read = 1;
	config.model = draw(&w, 2) ? ZD_HOST_AWARE : ZD_HOST_MANAGED;
	config.dialect = config.model == ZD_HOST_AWARE ? ZD_ZBC : (uint8_t)draw(&w, 3);
	config.zone_capacity = draw(&w, 2) ? ZONE_SIZE : ZONE_SIZE - 4 * BLOCK;
	if (config.dialect == ZD_ZBC)
		config.zone_capacity = 0;
	if (seed % 4 == 0) {
		config.model = ZD_HOST_MANAGED;
		config.dialect = ZD_ZNS;
	}
	if (config.dialect == ZD_ZNS && draw(&w, 4))
		config.zone_extension = EXTENSION;
	if (seed % 4 == 0) {
		config.zrwa_size = 4 * BLOCK;
		config.zrwa_granularity = 2 * BLOCK;
		config.zrwa_count = 3;
	}
	config.max_open = 4 + draw(&w, 8);
	config.max_active = config.dialect == ZD_ZBC ? 0 : config.max_open + draw(&w, 6);
	config.implicit_close = (uint8_t)draw(&w, 3);
	config.host_sync = draw(&w, 4) ? ZD_SYNC_FLUSH : ZD_SYNC_COMMAND;
	config.slot_cache = draw(&w, 3) * 4 * ZONE_SIZE;
	CLAIM(zd_create(image, &config, ZD_CREATE_REPLACE, &disk, &err) == 0);
}

static void claim_check_finds(bool errors_only)
{
	struct zd_finding *findings;
	struct zd_error err;
	size_t n;

	CLAIM(zd_check(image, 0, &findings, &n, &err) == 0);
	for (size_t i = 0; i < n; i++) {
		fprintf(stderr, "check: %s\n", findings[i].text);
		CLAIM(errors_only && !findings[i].error);
	}
	zd_findings_free(findings);
}

int main(int argc, char **argv)
{
	struct worker w = { .random = 0 };
	struct zd_error err;

	if (argc == 6 && strcmp(argv[1], "child") == 0)
		return child(argv);
	if (argc < 3) {
		fprintf(stderr, "usage: mixed SECONDS SEED [IMAGE]\n");
		return 2;
	}
	disk_seed = strtoull(argv[2], NULL, 0);
	if (!disk_seed)
		CLAIM(getrandom(&disk_seed, 4, 0) == 4);
	image = argc > 3 ? argv[3] : NULL;
	fprintf(stderr, "seed %llu\n", (unsigned long long)disk_seed);
	create_disk(disk_seed);
	learn();
	run_threads(disk_seed, (uint32_t)atoi(argv[1]) * 1000, 6, image ? 2 : 0, 0);
	zd_set_interrupt(disk, NULL, NULL);
	for (int i = 0; i < 2; i++)
		tidy(disk, &w);
	claim_disk_is_sound(disk, 1);
	if (image)
		claim_check_finds(true);
	CLAIM(zd_flush(disk, &err) == 0);
	CLAIM(zd_close(disk, &err) == 0);
	if (image) {
		claim_check_finds(false);
		CLAIM(zd_open(image, 0, &disk, &err) == 0);
		claim_disk_is_sound(disk, 1);
		CLAIM(zd_close(disk, &err) == 0);
		claim_check_finds(false);
	}
	printf("%lu calls, seed %llu\n", (unsigned long)commands, (unsigned long long)disk_seed);
	return 0;
}
