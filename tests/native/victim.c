/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A user of a disk image that does what the oracle of power cuts (tests/faults/oracle.py) tells it, and that can be
 * killed at any step: before any single store to the shared state, before or behind any operation on the file, between
 * the blocks of a copy. It can also make the host full: with so many pages left, and those that are punched out come
 * back.
 *
 *     victim IMAGE LEDGER
 *
 * The core is compiled with -fsanitize=thread, but linked with the functions below instead of the sanitizer: they are
 * called at every access to memory, and count the stores to the shared area. The C library's calls on files and its
 * memcpy are wrapped (-Wl,--wrap). LEDGER is a file that all victims of an image share: which pages of the image have
 * blocks on the host, and how many more the host has. A store into the mapping of a page without blocks on a full host
 * would be a SIGBUS there, and ends the victim here.
 *
 * On stdin comes one struct order after the other, on stdout goes a struct answer for each and what it announces.
 */
#include "device/whole/whole.h"
#include "testing.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>
#include <signal.h>

#define BLOCK 4096u
#define MAX_PAGES 8192u
#define MAX_BLOCKS 1024u
#define MAX_ZONES 64u
#define TORN UINT64_MAX

struct ledger {
	uint64_t limited, left; /* pages that the host still has, if limited */
	uint64_t refused;       /* times that it had none */
	uint8_t there[MAX_PAGES];
};

enum what { STATE, WRITE, APPEND, FLUSH, MANAGE, CUT, CUT_TO, POWER_ON, CREATE, OPEN, CLOSE, SHOT, BACK, FORK, DROP };
struct order {
	uint32_t what, zone, command, die_at; /* die_at: 0: not; else before that step, in a child; from SHOT on by itself */
	uint64_t block, blocks, tag, seed;
	uint32_t conv, aware, slot_cache, host_sync; /* CREATE */
};
struct answer {
	int64_t result;
	uint32_t killed, steps, nr_kept, nr_undone, powered, zero;
	char text[192];
	/* STATE, FORK: of each zone cond, written, durable; then of each block its tag. CUT_TO: what was chosen. */
	uint64_t more[3 * MAX_ZONES + MAX_BLOCKS];
};

static struct ledger *ledger;
static struct answer *answer;
static const char *image;
static zd_dev *dev;
static zd_snapshot *shot;

static uint32_t steps, die_at;
static bool armed;
static bool closing;
static bool on_fork; /* what the host is asked now is about a disk in RAM */

/* ---------------------------------------------------------------- steps */

static void step(void)
{
	if (!armed)
		return;
	if (++steps == die_at)
		kill(getpid(), SIGKILL);
}

static uint64_t page_in(const zd_dev *d, const uint8_t *a)
{
	if (!d->rt)
		return MAX_PAGES;
	if (a >= d->rt && a < d->rt + d->g.rt_size)
		return (d->g.h.runtime_offset + (uint64_t)(a - d->rt)) / ZD_PAGE;
	for (uint32_t i = 0; d->segs && i < d->g.nr_segs; i++) {
		uint64_t bytes = d->g.slots_per_seg * d->g.h.slot_size;
		const uint8_t *base = d->segs[i];

		if (base && a >= base && a < base + bytes)
			return (d->g.h.data_offset + i * bytes + (uint64_t)(a - base)) / ZD_PAGE;
	}
	return MAX_PAGES;
}

/* The page of the image where a mapped address lies; MAX_PAGES: none. */
static uint64_t page_of(const void *at)
{
	uint64_t page = dev && !on_fork ? page_in(dev, at) : MAX_PAGES;

	/* A snapshot has a handle of its own; struct zd_origin begins with it. */
	return page == MAX_PAGES && dev && dev->origin && !closing && !on_fork ? page_in(*(zd_dev *const *)dev->origin, at) :
										 page;
}

static void touched(const void *at, size_t n)
{
	uint64_t page = page_of(at), last;

	if (page == MAX_PAGES)
		return;
	step();
	for (last = page_of((const uint8_t *)at + n - 1); page <= last && page < MAX_PAGES; page++)
		CLAIM(ledger->there[page] || !"a store into a page that the host may have no block for");
}

/* What -fsanitize=thread calls. */
#define LOOKED(name)                 \
	void __tsan_##name(void *at) \
	{                            \
		(void)at;            \
	}
#define CHANGED(name, n)             \
	void __tsan_##name(void *at) \
	{                            \
		touched(at, n);      \
	}
/* clang-format off */
#define PLAIN(n) \
	LOOKED(read##n) LOOKED(unaligned_read##n) LOOKED(volatile_read##n) \
	CHANGED(write##n, n) CHANGED(unaligned_write##n, n) CHANGED(volatile_write##n, n)
PLAIN(1) PLAIN(2) PLAIN(4) PLAIN(8) PLAIN(16);
/* clang-format on */

void __tsan_read_range(void *at, size_t n)
{
	(void)at, (void)n;
}
void __tsan_write_range(void *at, size_t n)
{
	touched(at, n);
}
void __tsan_init(void)
{
}
void __tsan_func_entry(void *at)
{
	(void)at;
}
void __tsan_func_exit(void)
{
}
void __tsan_atomic_thread_fence(int order)
{
	(void)order;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}
void __tsan_atomic_signal_fence(int order)
{
	(void)order;
}
#define CHANGE(bits, type, name, builtin)                                  \
	type __tsan_atomic##bits##_##name(volatile type *a, type v, int o) \
	{                                                                  \
		(void)o;                                                   \
		touched((const void *)(uintptr_t)a, sizeof(*a));           \
		return builtin(a, v, __ATOMIC_SEQ_CST);                    \
	}
#define ATOMIC(bits, type)                                                                                 \
	type __tsan_atomic##bits##_load(const volatile type *a, int o)                                     \
	{                                                                                                  \
		(void)o;                                                                                   \
		return __atomic_load_n(a, __ATOMIC_SEQ_CST);                                               \
	}                                                                                                  \
	void __tsan_atomic##bits##_store(volatile type *a, type v, int o)                                  \
	{                                                                                                  \
		(void)o;                                                                                   \
		touched((const void *)(uintptr_t)a, sizeof(*a));                                           \
		__atomic_store_n(a, v, __ATOMIC_SEQ_CST);                                                  \
	}                                                                                                  \
	CHANGE(bits, type, exchange, __atomic_exchange_n)                                                  \
	CHANGE(bits, type, fetch_add, __atomic_fetch_add)                                                  \
	CHANGE(bits, type, fetch_sub, __atomic_fetch_sub)                                                  \
	CHANGE(bits, type, fetch_or, __atomic_fetch_or)                                                    \
	CHANGE(bits, type, fetch_and, __atomic_fetch_and)                                                  \
	int __tsan_atomic##bits##_compare_exchange_strong(volatile type *a, type *c, type v, int o, int f) \
	{                                                                                                  \
		(void)o, (void)f;                                                                          \
		touched((const void *)(uintptr_t)a, sizeof(*a));                                           \
		return __atomic_compare_exchange_n(a, c, v, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);        \
	}                                                                                                  \
	int __tsan_atomic##bits##_compare_exchange_weak(volatile type *a, type *c, type v, int o, int f)   \
	{                                                                                                  \
		return __tsan_atomic##bits##_compare_exchange_strong(a, c, v, o, f);                       \
	}
/* clang-format off */
ATOMIC(8, uint8_t) ATOMIC(32, uint32_t) ATOMIC(64, uint64_t)
	/* clang-format on */

	/* Killed between the blocks of a copy, too. */
	void *__real_memcpy(void *to, const void *from, size_t n);
void *__wrap_memcpy(void *to, const void *from, size_t n)
{
	size_t at = 0;

	while (n - at > BLOCK && page_of(to) != MAX_PAGES) {
		touched((uint8_t *)to + at, BLOCK);
		__real_memcpy((uint8_t *)to + at, (const uint8_t *)from + at, BLOCK);
		at += BLOCK;
	}
	if (n > at)
		touched((uint8_t *)to + at, n - at);
	__real_memcpy((uint8_t *)to + at, (const uint8_t *)from + at, n - at);
	return to;
}

/* ---------------------------------------------------------------- the host */

/* Takes blocks for the pages of a range, as far as there are some; gives where it ended. */
static uint64_t take_pages(uint64_t offset, uint64_t length)
{
	uint64_t page, end = offset + length;

	CLAIM(end <= (uint64_t)MAX_PAGES * ZD_PAGE);
	for (page = offset / ZD_PAGE; page * ZD_PAGE < end; page++) {
		if (ledger->there[page])
			continue;
		if (ledger->limited && ledger->left == 0) {
			ledger->refused++;
			return page * ZD_PAGE > offset ? page * ZD_PAGE : offset;
		}
		ledger->left -= ledger->limited;
		ledger->there[page] = 1;
	}
	return end;
}

ssize_t __real_pwritev(int fd, const struct iovec *iov, int n, off_t offset);
ssize_t __wrap_pwritev(int fd, const struct iovec *iov, int n, off_t offset)
{
	uint64_t length = 0, room, take;
	ssize_t done = 0;

	if (on_fork)
		return __real_pwritev(fd, iov, n, offset);
	for (int i = 0; i < n; i++)
		length += iov[i].iov_len;
	room = take_pages((uint64_t)offset, length) - (uint64_t)offset;
	step();
	if (!room && length) {
		errno = ENOSPC;
		return -1;
	}
	for (int i = 0; i < n && room; i++, room -= take) { /* block by block, so that a kill leaves some of them */
		take = iov[i].iov_len < room ? iov[i].iov_len : room;
		for (uint64_t at = 0; at < take; at += BLOCK) {
			uint64_t part = take - at < BLOCK ? take - at : BLOCK;

			CLAIM(pwrite(fd, (uint8_t *)iov[i].iov_base + at, part, offset + done) == (ssize_t)part);
			done += (ssize_t)part;
			step();
		}
	}
	return done;
}

ssize_t __wrap_pwritev2(int fd, const struct iovec *iov, int n, off_t offset, int flags)
{
	(void)flags;
	return __wrap_pwritev(fd, iov, n, offset);
}

int __real_fallocate(int fd, int mode, off_t offset, off_t length);
int __wrap_fallocate(int fd, int mode, off_t offset, off_t length)
{
	uint64_t page = (uint64_t)offset / ZD_PAGE, need = 0, end = (uint64_t)(offset + length);
	int r;

	if (on_fork)
		return __real_fallocate(fd, mode, offset, length);
	step();
	if (mode & FALLOC_FL_PUNCH_HOLE) {
		r = __real_fallocate(fd, mode, offset, length);
		for (page = ((uint64_t)offset + ZD_PAGE - 1) / ZD_PAGE; !r && page < end / ZD_PAGE && page < MAX_PAGES;
		     page++) {
			ledger->left += ledger->limited && ledger->there[page];
			ledger->there[page] = 0;
		}
		step();
		return r;
	}
	CLAIM(mode == 0 && end <= (uint64_t)MAX_PAGES * ZD_PAGE);
	for (; page * ZD_PAGE < end; page++)
		need += !ledger->there[page];
	if (ledger->limited && need > ledger->left) { /* all or nothing */
		ledger->refused++;
		errno = ENOSPC;
		return -1;
	}
	r = __real_fallocate(fd, mode, offset, length);
	if (!r)
		take_pages((uint64_t)offset, (uint64_t)length);
	step();
	return r;
}

/* ---------------------------------------------------------------- orders */

static void fill(uint64_t *to, uint64_t blocks, uint64_t tag)
{
	for (uint64_t i = 0; i < blocks * BLOCK / 8; i++)
		to[i] = tag + i / (BLOCK / 8);
}

static int64_t state(const struct order *o, struct zd_error *err)
{
	static uint64_t bytes[MAX_BLOCKS * BLOCK / 8];
	uint64_t *out = answer->more;
	struct zd_zone zones[MAX_ZONES];
	struct zd_zone_rt *rt;
	uint64_t durable;
	int64_t n, written;

	(void)o;
	answer->powered = (uint32_t)zd_power(dev, err);
	if (!answer->powered)
		return 0;
	n = zd_report(dev, 0, MAX_ZONES, zones, err);
	for (int64_t i = 0; i < n; i++) {
		written = zones[i].type == ZD_CONVENTIONAL ? 0 : zd_zone_written(dev, (uint32_t)i, err);
		if (written < 0)
			return written;
		*out++ = zones[i].cond;
		*out++ = (uint64_t)written / BLOCK;
		/* Of a zone that is FULL by FINISH the report says its end, whatever lies in it. */
		rt = zd_zone_peek(dev, (uint32_t)i);
		durable = zones[i].type == ZD_CONVENTIONAL || !rt ? 0 : rt->durable;
		/* Whoever next needs the resources finds their owner dead in a reset, and sets it right. */
		out[0] = durable / BLOCK < out[-1] ? durable / BLOCK : out[-1];
		out++;
	}
	for (int64_t i = 0; i < n; i++) {
		if (zd_pread(dev, (uint8_t *)bytes + zones[i].start, zones[i].length, zones[i].start, err) < 0)
			return err->code;
	}
	if (n < 0)
		return n;
	for (uint64_t b = 0; b < dev->g.h.size / BLOCK; b++) {
		const uint64_t *block = bytes + b * BLOCK / 8;

		*out++ = memcmp(block, block + 1, BLOCK - 8) ? TORN : *block;
	}
	return out - answer->more;
}

/* Some survivor that can be: chosen here, as only a look tells what there is to choose from. */
static int64_t cut_to(const struct order *o, struct zd_error *err)
{
	static struct zd_snapshot_block blocks[MAX_BLOCKS];
	struct zd_snapshot_zone zones[MAX_ZONES];
	struct zd_survivor kept[MAX_ZONES];
	uint64_t undone[MAX_BLOCKS], rng = o->seed;
	struct zd_cut cut = { kept, undone, 0, 0, 0 };
	zd_snapshot *shot;
	int64_t n;
	int r = zd_snapshot_take(dev, &shot, err), rows;

	if (r)
		return r;
	rows = zd_snapshot_rows(shot, zones, MAX_ZONES);
	for (int i = 0; i < rows; i++) {
		uint64_t room = (zones[i].written - zones[i].durable) / BLOCK;

		if (zones[i].type == ZD_SEQ_WRITE_REQUIRED)
			kept[cut.nr_kept++] = (struct zd_survivor){ zones[i].zone, 0,
								    zones[i].durable + zd_splitmix(&rng) % (room + 1) * BLOCK };
	}
	n = zd_snapshot_unflushed(shot, blocks, MAX_BLOCKS, err);
	for (int64_t i = 0; i < n; i++) {
		if (zd_splitmix(&rng) & 1)
			undone[cut.nr_undone++] = blocks[i].offset;
	}
	zd_snapshot_free(shot);
	if (n < 0)
		return n;
	answer->nr_kept = cut.nr_kept;
	answer->nr_undone = (uint32_t)cut.nr_undone;
	for (uint32_t i = 0; i < cut.nr_kept; i++) {
		answer->more[2 * i] = kept[i].zone;
		answer->more[2 * i + 1] = kept[i].bytes / BLOCK;
	}
	for (uint64_t i = 0; i < cut.nr_undone; i++)
		answer->more[2 * cut.nr_kept + i] = undone[i] / BLOCK;
	return zd_power_cut_to(dev, &cut, err);
}

/* What a fork of the snapshot shows, which is written to then, cut and given up again. */
static int64_t use_fork(const struct order *o, struct zd_error *err)
{
	static uint64_t bytes[BLOCK / 8];
	zd_dev *origin = dev, *fork;
	uint64_t landed;
	int64_t r;

	on_fork = true;
	r = zd_fork(shot, NULL, &fork, err);
	if (!r) {
		if (o->die_at)
			kill(getpid(), SIGKILL);
		dev = fork;
		r = state(o, err);
		zd_append(dev, o->zone, bytes, BLOCK, &landed, NULL); /* it may be full */
		zd_power_cut(dev, ZD_KEEP_RANDOM, o->seed, NULL);
		dev = origin;
		zd_close(fork, NULL);
	}
	on_fork = false;
	return r;
}

static int64_t create(const struct order *o, struct zd_error *err)
{
	struct zd_range conv = { 0, o->conv };
	struct zd_config config = { .struct_size = sizeof(struct zd_config),
				    .size = o->blocks * BLOCK,
				    .zone_size = o->block * BLOCK,
				    .logical_block = BLOCK,
				    .physical_block = BLOCK,
				    .max_open = o->command,
				    .slot_cache = o->slot_cache,
				    .dialect = ZD_ZBC,
				    .model = o->aware ? ZD_HOST_AWARE : ZD_HOST_MANAGED,
				    .host_sync = (uint8_t)o->host_sync,
				    .unrestricted_read = 1,
				    .nr_conv = o->conv ? 1 : 0,
				    .conv = &conv };

	memset(ledger, 0, sizeof(*ledger));
	return zd_create(image, &config, ZD_CREATE_REPLACE, &dev, err);
}

static int64_t obey(const struct order *o, struct zd_error *err)
{
	static uint64_t bytes[MAX_BLOCKS * BLOCK / 8];
	uint64_t landed;
	int r;

	switch (o->what) {
	case STATE: return state(o, err);
	case WRITE: fill(bytes, o->blocks, o->tag); return zd_pwrite(dev, bytes, o->blocks * BLOCK, o->block * BLOCK, err);
	case APPEND: fill(bytes, o->blocks, o->tag); return zd_append(dev, o->zone, bytes, o->blocks * BLOCK, &landed, err);
	case FLUSH: return zd_flush(dev, err);
	case MANAGE: return zd_zone_mgmt(dev, (int)o->command, o->zone, 1, err);
	case CUT: return zd_power_cut(dev, (int)o->command, o->seed, err);
	case CUT_TO: return cut_to(o, err);
	case POWER_ON: return zd_power_on(dev, err);
	case CREATE: return create(o, err);
	case OPEN: return zd_open(image, 0, &dev, err);
	case SHOT: return zd_snapshot_take(dev, &shot, err);
	case BACK: return zd_rollback(dev, shot, err);
	case FORK: return use_fork(o, err);
	case DROP:
		zd_snapshot_free(shot);
		shot = NULL;
		return 0;
	default:
		zd_snapshot_free(shot);
		shot = NULL;
		closing = true;
		r = zd_close(dev, err);
		closing = false;
		dev = NULL;
		return r;
	}
}

static void do_it(const struct order *o)
{
	struct zd_error err;

	memset(&err, 0, sizeof(err));
	answer->result = obey(o, &err);
	armed = false;
	answer->steps = steps;
	if (answer->result < 0)
		snprintf(answer->text, sizeof(answer->text), "%s", err.text);
}

/* In a child, that is killed half-way or ends without closing anything. */
static void do_it_mortally(const struct order *o)
{
	struct zd_error err;
	int status;
	pid_t child = fork();

	CLAIM(child >= 0);
	if (child == 0) {
		zd_power(dev, &err); /* attaches it to the disk */
		die_at = o->die_at;
		armed = true;
		do_it(o);
		_exit(0);
	}
	CLAIM(waitpid(child, &status, 0) == child);
	answer->killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
	CLAIM(answer->killed || (WIFEXITED(status) && WEXITSTATUS(status) == 0));
}

static bool get(void *to, size_t n)
{
	ssize_t got = 1;

	for (size_t at = 0; at < n && got > 0; at += (size_t)got)
		got = read(0, (uint8_t *)to + at, n - at);
	return got > 0;
}

int main(int argc, char **argv)
{
	struct order o;
	int fd;

	if (argc < 3)
		return 2;
	image = argv[1];
	fd = open(argv[2], O_RDWR | O_CREAT, 0600);
	CLAIM(fd >= 0 && ftruncate(fd, sizeof(*ledger)) == 0);
	ledger = mmap(NULL, sizeof(*ledger), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	answer = mmap(NULL, sizeof(*answer), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CLAIM(ledger != MAP_FAILED && answer != MAP_FAILED);
	while (get(&o, sizeof(o))) {
		size_t head = offsetof(struct answer, more), n;

		memset(answer, 0, head);
		steps = 0;
		if (o.die_at && o.what < SHOT) {
			do_it_mortally(&o);
		} else { /* a snapshot is its process's, so that dies itself */
			die_at = o.die_at;
			armed = o.die_at != 0;
			do_it(&o);
		}
		n = (o.what == STATE || o.what == FORK) && answer->result > 0 ? (size_t)answer->result :
										2ul * answer->nr_kept + answer->nr_undone;
		CLAIM(write(1, answer, head + n * 8) == (ssize_t)(head + n * 8));
	}
	return 0;
}
