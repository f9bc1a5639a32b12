/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Deaths at every single store, for random write areas. The core is compiled so that it calls a function before each of its stores
 * and atomic operations (what ThreadSanitizer's runtime does elsewhere, this program does here); copies, operations on the file and
 * the giving back of locks are wrapped. A child gives one command and is killed at the first such place, at the second and so on;
 * what is left must be sound each time:
 *
 * - each zone's pointer, area and bytes are as before the command or as behind it, and never half;
 * - a power cut then keeps what is committed, and gives what was flushed of the rest, or what is there: nothing else;
 * - the counts are right, the zones go on working, and `check` finds no error, and nothing at all once the disk was closed.
 *
 * Whoever comes behind is somebody who had the disk open all the time, or the next one to open it.
 *
 *     killstore IMAGE [COMMAND]      one of the names in the table below; without: all of them
 *
 * Prints a line for each command: how many deaths, and its name.
 */
#include "device/whole/whole.h"
#include "testing.h"

#include <pthread.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define BLOCK 4096u
#define ZONE_BLOCKS 16u
#define ZONE_SIZE (ZONE_BLOCKS * BLOCK)
#define ZONES 8u
#define AREA 4u
#define GRANULE 2u
#define PIECE 1024u /* of a copy: a place to die before each */

static const char *path;
static struct zd_error err;

/* ---------------------------------------------------------------- where it dies */

static uint64_t *places; /* that the command has come by; all processes have it */
static uint64_t die_at;  /* in a child; 0: it only counts */
static const zd_dev *dying;

static bool is_shared(const volatile void *at)
{
	const uint8_t *byte = (const uint8_t *)(uintptr_t)at;

	if (byte >= dying->rt && byte < dying->rt + dying->g.rt_size)
		return true;
	for (uint32_t i = 0; i < dying->g.nr_segs; i++) {
		const uint8_t *segment = dying->segs[i];

		if (segment && byte >= segment && byte < segment + dying->g.slots_per_seg * dying->g.h.slot_size)
			return true;
	}
	return false;
}

static void place(void)
{
	if (dying && ++*places == die_at)
		raise(SIGKILL);
}

static void before_store(const volatile void *at)
{
	if (dying && is_shared(at))
		place();
}

/* As the compiler calls them. */
void __tsan_init(void);
void __tsan_func_entry(void *);
void __tsan_func_exit(void);
void __tsan_init(void)
{
}
void __tsan_func_entry(void *caller)
{
	(void)caller;
}
void __tsan_func_exit(void)
{
}
#define ACCESS(name)                      \
	void __tsan_read##name(void *);   \
	void __tsan_read##name(void *at)  \
	{                                 \
		(void)at;                 \
	}                                 \
	void __tsan_write##name(void *);  \
	void __tsan_write##name(void *at) \
	{                                 \
		before_store(at);         \
	}
ACCESS(1)
ACCESS(2)
ACCESS(4)
ACCESS(8)
ACCESS(16)
void __tsan_read_range(void *, size_t);
void __tsan_write_range(void *, size_t);
void __tsan_read_range(void *at, size_t n)
{
	(void)at, (void)n;
}
void __tsan_write_range(void *at, size_t n)
{
	(void)n;
	before_store(at);
}
#define CHANGE(bits, type, what, builtin)                                           \
	type __tsan_atomic##bits##_##what(volatile type *, type, int);              \
	type __tsan_atomic##bits##_##what(volatile type *at, type value, int order) \
	{                                                                           \
		(void)order;                                                        \
		before_store(at);                                                   \
		return builtin(at, value, __ATOMIC_SEQ_CST);                        \
	}
#define ATOMIC(bits, type)                                                                                                \
	type __tsan_atomic##bits##_load(const volatile type *, int);                                                      \
	type __tsan_atomic##bits##_load(const volatile type *at, int order)                                               \
	{                                                                                                                 \
		(void)order;                                                                                              \
		return __atomic_load_n(at, __ATOMIC_SEQ_CST);                                                             \
	}                                                                                                                 \
	void __tsan_atomic##bits##_store(volatile type *, type, int);                                                     \
	void __tsan_atomic##bits##_store(volatile type *at, type value, int order)                                        \
	{                                                                                                                 \
		(void)order;                                                                                              \
		before_store(at);                                                                                         \
		__atomic_store_n(at, value, __ATOMIC_SEQ_CST);                                                            \
	}                                                                                                                 \
	int __tsan_atomic##bits##_compare_exchange_strong(volatile type *, type *, type, int, int);                       \
	int __tsan_atomic##bits##_compare_exchange_strong(volatile type *at, type *old, type value, int order, int other) \
	{                                                                                                                 \
		(void)order, (void)other;                                                                                 \
		before_store(at);                                                                                         \
		return __atomic_compare_exchange_n(at, old, value, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);            \
	}                                                                                                                 \
	int __tsan_atomic##bits##_compare_exchange_weak(volatile type *, type *, type, int, int);                         \
	int __tsan_atomic##bits##_compare_exchange_weak(volatile type *at, type *old, type value, int order, int other)   \
	{                                                                                                                 \
		return __tsan_atomic##bits##_compare_exchange_strong(at, old, value, order, other);                       \
	}                                                                                                                 \
	CHANGE(bits, type, exchange, __atomic_exchange_n)                                                                 \
	CHANGE(bits, type, fetch_add, __atomic_fetch_add)                                                                 \
	CHANGE(bits, type, fetch_sub, __atomic_fetch_sub)                                                                 \
	CHANGE(bits, type, fetch_and, __atomic_fetch_and)                                                                 \
	CHANGE(bits, type, fetch_or, __atomic_fetch_or)
ATOMIC(8, uint8_t)
ATOMIC(16, uint16_t)
ATOMIC(32, uint32_t)
ATOMIC(64, uint64_t)
void __tsan_atomic_thread_fence(int);
void __tsan_atomic_thread_fence(int order)
{
	(void)order;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

/* As the linker does (--wrap): a copy may end anywhere; an operation on the file is done or not. */
void *__real_memcpy(void *, const void *, size_t);
void *__wrap_memcpy(void *, const void *, size_t);
void *__wrap_memcpy(void *to, const void *from, size_t n)
{
	for (size_t at = 0; at < n; at += PIECE) {
		before_store((uint8_t *)to + at);
		__real_memcpy((uint8_t *)to + at, (const uint8_t *)from + at, n - at < PIECE ? n - at : PIECE);
	}
	return to;
}
void *__real_memset(void *, int, size_t);
void *__wrap_memset(void *, int, size_t);
void *__wrap_memset(void *to, int byte, size_t n)
{
	for (size_t at = 0; at < n; at += PIECE) {
		before_store((uint8_t *)to + at);
		__real_memset((uint8_t *)to + at, byte, n - at < PIECE ? n - at : PIECE);
	}
	return to;
}
#define OPERATION(type, name, parameters, arguments) \
	type __real_##name parameters;               \
	type __wrap_##name parameters;               \
	type __wrap_##name parameters                \
	{                                            \
		place();                             \
		return __real_##name arguments;      \
	}
OPERATION(ssize_t, pwritev, (int fd, const struct iovec *iov, int n, off_t at), (fd, iov, n, at))
OPERATION(ssize_t, pwritev2, (int fd, const struct iovec *iov, int n, off_t at, int flags), (fd, iov, n, at, flags))
OPERATION(int, fdatasync, (int fd), (fd))
OPERATION(int, ftruncate, (int fd, off_t length), (fd, length))
OPERATION(int, fallocate, (int fd, int mode, off_t at, off_t length), (fd, mode, at, length))
OPERATION(int, pthread_mutex_unlock, (pthread_mutex_t * mutex), (mutex))

/* ---------------------------------------------------------------- what a disk shows */

struct state {
	struct zd_zone zone[ZONES];
	uint64_t filled[ZONES]; /* bytes, from the zone's start; of zones without an area: written */
	bool area[ZONES];
	uint8_t bytes[ZONES][ZONE_SIZE];
};

static void look(zd_dev *dev, struct state *s)
{
	CLAIM(zd_report(dev, 0, ZONES, s->zone, &err) == ZONES);
	for (uint32_t z = 0; z < ZONES; z++) {
		uint64_t filled;
		int64_t written = zd_zone_written(dev, z, &err);

		s->area[z] = zd_zone_zrwa(dev, z, &filled, &err) == 1;
		s->filled[z] = s->area[z] ? filled - s->zone[z].start : (uint64_t)written;
		CLAIM(zd_pread(dev, s->bytes[z], ZONE_SIZE, (uint64_t)z * ZONE_SIZE, &err) == ZONE_SIZE);
	}
}

static bool same_place(const struct state *a, const struct state *b, uint32_t z)
{
	return a->zone[z].wp == b->zone[z].wp && a->area[z] == b->area[z] && a->filled[z] == b->filled[z] &&
	       (a->zone[z].cond == ZD_FULL) == (b->zone[z].cond == ZD_FULL);
}

/* ---------------------------------------------------------------- commands */

static void put(zd_dev *dev, uint32_t zone, uint32_t block, uint32_t n, int byte)
{
	static uint8_t buffer[ZONE_SIZE];

	memset(buffer, byte, n * BLOCK);
	CLAIM(zd_pwrite(dev, buffer, n * BLOCK, zone * ZONE_SIZE + block * BLOCK, &err) == (int64_t)(n * BLOCK));
}

static void manage(zd_dev *dev, int cmd, uint32_t zone)
{
	CLAIM(zd_zone_mgmt(dev, cmd, zone, 1, &err) == 0);
}

static void open_area(zd_dev *dev, uint32_t zone)
{
	CLAIM(zd_zone_open_zrwa(dev, zone, &err) == 0);
}

static void commit(zd_dev *dev, uint32_t zone, uint32_t block)
{
	CLAIM(zd_zone_commit_zrwa(dev, zone, zone * ZONE_SIZE + block * BLOCK, &err) == 0);
}

/*
 * 1: explicitly open, three blocks flushed, one of them overwritten and one more written since. 2: closed, committed in part.
 * 3: an area with nothing in it. 4: without one, implicitly open. 5, 7: empty. 6: filled to the end, the last four blocks
 * uncommitted. Three zones are open, which is all that may be.
 */
static void prepare(zd_dev *dev)
{
	open_area(dev, 6);
	for (uint32_t block = 0; block < ZONE_BLOCKS; block += GRANULE)
		put(dev, 6, block, GRANULE, 'g');
	manage(dev, ZD_CMD_CLOSE, 6);
	open_area(dev, 1);
	put(dev, 1, 0, 3, 'a');
	open_area(dev, 2);
	put(dev, 2, 0, 3, 'c');
	commit(dev, 2, 2);
	manage(dev, ZD_CMD_CLOSE, 2);
	CLAIM(zd_flush(dev, &err) == 0);
}

static void prepare_more(zd_dev *dev)
{
	open_area(dev, 3);
	put(dev, 1, 1, 1, 'b');
	put(dev, 1, 3, 1, 'b');
	put(dev, 4, 0, 2, 'd');
}

static void opens(zd_dev *dev)
{
	open_area(dev, 5);
}
static void opens_again(zd_dev *dev)
{
	open_area(dev, 2);
}
static void writes_inside(zd_dev *dev)
{
	put(dev, 1, 0, 2, 'w');
}
static void writes_anew(zd_dev *dev)
{
	put(dev, 3, 1, 2, 'w');
}
static void writes_beyond(zd_dev *dev)
{
	put(dev, 1, 3, 3, 'w');
}
static void writes_far_beyond(zd_dev *dev)
{
	put(dev, 1, 6, 2, 'w');
}
static void writes_through(zd_dev *dev)
{
	put(dev, 1, 0, 8, 'w');
}
static void commits(zd_dev *dev)
{
	commit(dev, 1, 2);
}
static void commits_all(zd_dev *dev)
{
	commit(dev, 1, 4);
}
static void commits_what_was_not_written(zd_dev *dev)
{
	commit(dev, 3, 4);
}
static void commits_of_a_closed_zone(zd_dev *dev)
{
	commit(dev, 2, 4);
}
static void commits_to_the_end(zd_dev *dev)
{
	commit(dev, 6, 16);
}
static void writes_in_a_closed_zone(zd_dev *dev)
{
	put(dev, 2, 3, 1, 'w');
}
static void evicts_an_area(zd_dev *dev)
{
	put(dev, 7, 0, 1, 'w');
}
static void finishes(zd_dev *dev)
{
	manage(dev, ZD_CMD_FINISH, 1);
}
static void resets(zd_dev *dev)
{
	manage(dev, ZD_CMD_RESET, 1);
}
static void closes(zd_dev *dev)
{
	manage(dev, ZD_CMD_CLOSE, 1);
}
static void closes_one_with_nothing(zd_dev *dev)
{
	manage(dev, ZD_CMD_CLOSE, 3);
}
static void flushes(zd_dev *dev)
{
	CLAIM(zd_flush(dev, &err) == 0);
}

/* Zone 4, which has no area, makes room for zone 2, which has one and is the oldest that is implicitly open then. */
static void so_that_an_area_is_evicted(zd_dev *dev)
{
	put(dev, 2, 3, 1, 'e');
}

static const struct story {
	const char *name;
	void (*run)(zd_dev *dev);
	bool flushes; /* what was not committed may be durable behind it */
	void (*before)(zd_dev *dev);
} stories[] = {
	{ .name = "opens", .run = opens, .flushes = true },
	{ .name = "opens-again", .run = opens_again, .flushes = true },
	{ .name = "writes-inside", .run = writes_inside },
	{ .name = "writes-anew", .run = writes_anew },
	{ .name = "writes-beyond", .run = writes_beyond },
	{ .name = "writes-far-beyond", .run = writes_far_beyond },
	{ .name = "writes-through", .run = writes_through },
	{ .name = "commits", .run = commits },
	{ .name = "commits-all", .run = commits_all },
	{ .name = "commits-what-was-not-written", .run = commits_what_was_not_written },
	{ .name = "commits-of-a-closed-zone", .run = commits_of_a_closed_zone },
	{ .name = "commits-to-the-end", .run = commits_to_the_end },
	{ .name = "writes-in-a-closed-zone", .run = writes_in_a_closed_zone },
	{ .name = "evicts-an-area", .run = evicts_an_area, .before = so_that_an_area_is_evicted },
	{ .name = "finishes", .run = finishes, .flushes = true },
	{ .name = "resets", .run = resets },
	{ .name = "closes", .run = closes },
	{ .name = "closes-one-with-nothing", .run = closes_one_with_nothing },
	{ .name = "flushes", .run = flushes, .flushes = true },
};

/* ---------------------------------------------------------------- the disk before the command */

static struct state flushed, before, after;

static zd_dev *opened(void)
{
	zd_dev *dev;

	if (zd_open(path, 0, &dev, &err)) {
		fprintf(stderr, "%s\n", err.text);
		CLAIM(!"the image cannot be opened");
	}
	return dev;
}

/* A disk as the commands find it, which somebody keeps open: pre-images live no longer. */
static zd_dev *fresh(const struct story *story)
{
	struct zd_range conv = { 0, 1 };
	struct zd_config config = config_of(ZONES * ZONE_SIZE, ZONE_SIZE, &conv);
	zd_dev *dev;

	config.dialect = ZD_ZNS;
	config.max_open = 3;
	config.max_active = 6;
	config.unrestricted_read = 1;
	config.zrwa_size = AREA * BLOCK;
	config.zrwa_granularity = GRANULE * BLOCK;
	config.zrwa_count = 5;
	CLAIM(zd_create(path, &config, ZD_CREATE_REPLACE, &dev, &err) == 0);
	prepare(dev);
	look(dev, &flushed);
	prepare_more(dev);
	if (story->before)
		story->before(dev);
	look(dev, &before);
	return dev;
}

/* ---------------------------------------------------------------- dying */

/* A child that gives the command, and dies at one place on its way. False: it came to the end before. */
static bool dies(const struct story *story, uint64_t at)
{
	pid_t pid = fork();
	int status;

	CLAIM(pid >= 0);
	if (pid == 0) {
		zd_dev *dev = opened();

		*places = 0;
		die_at = at;
		dying = dev;
		story->run(dev);
		dying = NULL;
		_exit(0);
	}
	CLAIM(waitpid(pid, &status, 0) == pid);
	CLAIM(WIFSIGNALED(status) ? WTERMSIG(status) == SIGKILL : WEXITSTATUS(status) == 0);
	return WIFSIGNALED(status);
}

/* How many places there are, and what the disk is like behind the command. */
static uint64_t count_places(const struct story *story)
{
	zd_dev *dev = fresh(story);

	CLAIM(!dies(story, 0));
	look(dev, &after);
	CLAIM(zd_close(dev, &err) == 0);
	return *places;
}

/* ---------------------------------------------------------------- the verdict */

static const char *telling;
static uint64_t telling_at;

#define HOLDS(condition)                                                                                                    \
	do {                                                                                                                \
		if (!(condition))                                                                                           \
			fprintf(stderr, "%s, killed at place %llu, zone %u: ", telling, (unsigned long long)telling_at, z); \
		CLAIM(condition);                                                                                           \
	} while (0)

static void claim_no_errors(bool nothing_at_all)
{
	struct zd_finding *findings;
	size_t n;

	CLAIM(zd_check(path, 0, &findings, &n, &err) == 0);
	for (size_t i = 0; i < n; i++) {
		if (!findings[i].error && !nothing_at_all)
			continue;
		fprintf(stderr, "%s, killed at place %llu: check: %s\n", telling, (unsigned long long)telling_at,
			findings[i].text);
		CLAIM(!"check finds something");
	}
	zd_findings_free(findings);
}

/* As before the command or as behind it, zone by zone; bytes that it overwrites may be mixed as long as it is not done. */
static void verify(const struct state *got)
{
	for (uint32_t z = 0; z < ZONES; z++) {
		bool is_before = same_place(got, &before, z), is_after = same_place(got, &after, z);
		uint8_t cond = got->zone[z].cond;

		HOLDS(is_before || is_after);
		HOLDS(cond == before.zone[z].cond || cond == after.zone[z].cond || (cond == ZD_IMPLICIT_OPEN && is_before));
		for (uint32_t at = 0; at < ZONE_SIZE; at++) {
			uint8_t byte = got->bytes[z][at];

			if (at >= got->filled[z] && z)
				HOLDS(byte == 0);
			else if (is_before)
				HOLDS(byte == before.bytes[z][at] || byte == after.bytes[z][at]);
			else
				HOLDS(byte == after.bytes[z][at]);
		}
	}
}

static void verify_cut(const struct state *had, const struct state *left, const struct story *story)
{
	for (uint32_t z = 1; z < ZONES; z++) {
		uint64_t wp = had->zone[z].wp == ZD_NONE ? had->filled[z] : had->zone[z].wp - had->zone[z].start;

		if (!had->area[z])
			continue;
		HOLDS(left->zone[z].wp == had->zone[z].wp);
		HOLDS(left->area[z] == (left->zone[z].cond == ZD_CLOSED));
		HOLDS(memcmp(left->bytes[z], had->bytes[z], wp) == 0);
		for (uint64_t block = wp; block < ZONE_SIZE; block += BLOCK) {
			bool is_flushed = memcmp(left->bytes[z] + block, flushed.bytes[z] + block, BLOCK) == 0;
			bool moves =
				before.zone[z].wp != after.zone[z].wp || story->flushes; /* durable before the word says so */

			HOLDS(is_flushed || (moves && memcmp(left->bytes[z] + block, had->bytes[z] + block, BLOCK) == 0));
		}
	}
}

/* Each zone with an area can be written, committed and finished, and the others be opened. */
static void go_on(zd_dev *dev)
{
	struct state s;

	look(dev, &s);
	for (uint32_t z = 1; z < ZONES; z++) {
		uint32_t wp = (uint32_t)((s.zone[z].wp - s.zone[z].start) / BLOCK);

		if (s.area[z] && wp + GRANULE <= ZONE_BLOCKS) {
			put(dev, z, wp + 1, 1, 'n');
			commit(dev, z, wp + GRANULE);
			if (wp + GRANULE < ZONE_BLOCKS)
				manage(dev, ZD_CMD_FINISH, z);
		} else {
			manage(dev, ZD_CMD_RESET, z);
			open_area(dev, z);
			put(dev, z, 0, 1, 'n');
			manage(dev, ZD_CMD_CLOSE, z);
			manage(dev, ZD_CMD_RESET, z);
		}
		claim_disk_is_sound(dev, 1);
	}
}

static void judge(zd_dev *dev, const struct story *story)
{
	static struct state had, left;

	look(dev, &had);
	verify(&had);
	claim_disk_is_sound(dev, 1);
	CLAIM(zd_power_cut(dev, ZD_KEEP_DURABLE, 0, &err) == 0);
	CLAIM(zd_power_on(dev, &err) == 0);
	look(dev, &left);
	verify_cut(&had, &left, story);
	claim_disk_is_sound(dev, 1);
	go_on(dev);
}

/* beside: somebody has the disk open when it happens. Else all have left, by being killed. */
static void die(const struct story *story, uint64_t at, bool beside)
{
	zd_dev *dev = NULL;
	pid_t preparing = 0;
	int status;

	telling = story->name;
	telling_at = at;
	if (beside) {
		dev = fresh(story);
	} else {
		preparing = fork();
		CLAIM(preparing >= 0);
		if (preparing == 0) {
			fresh(story);
			raise(SIGSTOP);
			_exit(1);
		}
		CLAIM(waitpid(preparing, &status, WUNTRACED) == preparing && WIFSTOPPED(status));
	}
	CLAIM(dies(story, at));
	if (preparing) {
		CLAIM(kill(preparing, SIGKILL) == 0);
		CLAIM(waitpid(preparing, &status, 0) == preparing && WIFSIGNALED(status));
	}
	claim_no_errors(false);
	if (!dev)
		dev = opened();
	judge(dev, story);
	claim_no_errors(false);
	CLAIM(zd_close(dev, &err) == 0);
	claim_no_errors(true);
}

int main(int argc, char **argv)
{
	CLAIM(argc > 1);
	places = mmap(NULL, sizeof(*places), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CLAIM(places != MAP_FAILED);
	path = argv[1];
	for (size_t i = 0; i < sizeof(stories) / sizeof(*stories); i++) {
		uint64_t nr;

		if (argc > 2 && strcmp(argv[2], stories[i].name))
			continue;
		nr = count_places(&stories[i]);
		for (uint64_t at = 1; at <= nr; at++)
			die(&stories[i], at, at % 2);
		printf("%llu %s\n", (unsigned long long)nr, stories[i].name);
		fflush(stdout);
	}
	unlink(path);
	return 0;
}
