/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands as objects (zoned/request.h), case by case:
 *
 *     requests CASE     one of the names in the table at the end
 *     requests --list
 */
#include "device/whole/whole.h"
#include "testing.h"

#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define BLOCK 4096u
#define ZONE (1u << 20)
#define ZONES 16u
#define CONV 4u
#define SEQ(zone) ((uint64_t)(zone) * ZONE)

static zd_dev *new_disk(uint32_t model)
{
	const struct zd_range conv = { 0, CONV };
	struct zd_config config = config_of(ZONES * ZONE, ZONE, &conv);

	config.model = (uint8_t)model;
	return memory_disk(config);
}

static uint8_t data[4 * BLOCK], back[4 * BLOCK];
static struct zd_error err;

static void fill(uint8_t value)
{
	memset(data, value, sizeof(data));
}

/* ---------------------------------------------------------------- requests that are completed later */

static _Atomic uint32_t completed;

static void done(struct zd_request *q)
{
	(void)q;
	atomic_fetch_add(&completed, 1);
}

static struct zd_request request(int op, uint64_t offset, uint64_t length)
{
	return (struct zd_request){ .size = sizeof(struct zd_request),
				    .op = (uint16_t)op,
				    .offset = offset,
				    .length = length,
				    .zone = (uint32_t)(offset / ZONE),
				    .count = 1,
				    .done = done };
}

static uint32_t hang(zd_dev *dev, uint32_t zone)
{
	const struct zd_fault f = { .kind = ZD_FAULT_HANG, .first_zone = zone, .last_zone = zone };
	uint32_t id;

	CLAIM(zd_fault_add(dev, &f, &id, &err) == 0);
	return id;
}

/* A minute is for a machine that does everything else first; what waits for less would be a matter of luck. */
static void await(uint32_t n)
{
	uint64_t begin = zd_now();

	while (atomic_load(&completed) < n) {
		CLAIM(zd_now() - begin < 60000000000ull);
		sched_yield();
	}
}

static uint32_t threads(void)
{
	DIR *folder = opendir("/proc/self/task");
	uint32_t n = 0;

	CLAIM(folder);
	while (readdir(folder))
		n++;
	closedir(folder);
	return n - 2;
}

/* Neither a lock nor a thread: others work in the zone meanwhile, and each is let go or cancelled by itself. */
static void held_up_holds_nothing(void)
{
	enum { MANY = 1000 };
	static struct zd_request q[MANY];
	static struct zd_error errors[MANY];
	static struct iovec one = { data, BLOCK };
	struct zd_request flush = request(ZD_OP_FLUSH, 0, 0);
	zd_dev *dev = new_disk(ZD_HOST_MANAGED), *other;
	uint32_t i, before = threads(), id;
	struct zd_fault f[1];
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", zd_fd(dev));
	CLAIM(zd_open(path, 0, &other, &err) == 0);
	fill(1);
	id = hang(dev, 1);
	for (i = 0; i < MANY; i++) {
		q[i] = request(i % 2 ? ZD_OP_READ : ZD_OP_WRITE, SEQ(1), BLOCK);
		q[i].iov = &one;
		q[i].nr_iov = 1;
		q[i].err = &errors[i];
		CLAIM(zd_submit(dev, &q[i]) == ZD_DEFERRED);
	}
	CLAIM(threads() == before + 1);
	CLAIM(zd_fault_list(dev, f, 1, &err) == 1 && f[0].waiting == MANY);
	/* a zone command and a flush of another opener take the locks that the commands would hold */
	CLAIM(zd_zone_mgmt(other, ZD_CMD_RESET, CONV, 1, &err) == 0);
	CLAIM(zd_pwrite(other, data, BLOCK, SEQ(CONV), &err) == BLOCK);
	CLAIM(zd_submit(dev, &flush) == 0 && flush.result == 0 && completed == 1);
	for (i = 0; i < MANY; i += 2) {
		zd_cancel(dev, &q[i]);
		CLAIM(q[i].result == -ECANCELED && errors[i].code == -ECANCELED && completed == 2 + i / 2);
	}
	CLAIM(zd_fault_list(dev, f, 1, &err) == 1 && f[0].waiting == MANY / 2);
	CLAIM(zd_fault_release(dev, id, &err) == 0);
	await(1 + MANY);
	for (i = 1; i < MANY; i += 2)
		CLAIM(q[i].result == BLOCK);
	for (i = 0; i < BLOCK; i++)
		CLAIM(data[i] == 0); /* the cancelled writes never were, and the reads went into the same buffer */
	zd_cancel(dev, &q[1]);       /* it has ended */
	CLAIM(zd_close(other, &err) == 0);
	CLAIM(zd_close(dev, &err) == 0);
}

static void latency_passes(void)
{
	const struct zd_fault f = { .kind = ZD_FAULT_LATENCY,
				    .first_zone = CONV,
				    .last_zone = CONV,
				    .real_ns = 30000000,
				    .commands = 1u << ZD_CMD_APPEND };
	const struct iovec two[] = { { data, BLOCK }, { data + BLOCK, 2 * BLOCK } };
	struct zd_request q[3];
	zd_dev *dev = new_disk(ZD_HOST_MANAGED);
	uint64_t begin;
	uint32_t id, i;

	CLAIM(zd_fault_add(dev, &f, &id, &err) == 0);
	begin = zd_now();
	for (i = 0; i < 3; i++) {
		q[i] = request(ZD_OP_APPEND, SEQ(CONV), 0);
		q[i].iov = two;
		q[i].nr_iov = 2;
		CLAIM(zd_submit(dev, &q[i]) == ZD_DEFERRED);
	}
	await(3);
	CLAIM(zd_now() - begin >= 30000000);
	for (i = 0; i < 3; i++)
		CLAIM(q[i].result == 3 * BLOCK && q[i].landed == SEQ(CONV) + i * 3 * BLOCK);
	/* without `done` it is waited for */
	q[0].done = NULL;
	begin = zd_now();
	CLAIM(zd_submit(dev, &q[0]) == 0 && q[0].result == 3 * BLOCK && zd_now() - begin >= 30000000 && completed == 3);
	CLAIM(zd_close(dev, &err) == 0);
}

static int flip_fails;

int __real_zd_zone_flip(zd_dev *dev, uint64_t offset, unsigned bit);
int __wrap_zd_zone_flip(zd_dev *dev, uint64_t offset, unsigned bit)
{
	return flip_fails ? flip_fails : __real_zd_zone_flip(dev, offset, bit);
}

/* A snapshot that is taken between a write and its flip makes the zone move, for which there may be no room. */
static void flips_may_fail(void)
{
	const struct zd_fault f = {
		.kind = ZD_FAULT_FLIP_MEDIA, .commands = 1u << ZD_CMD_APPEND, .last_zone = ZONES - 1, .bit = 3
	};
	zd_dev *dev = new_disk(ZD_HOST_MANAGED);
	uint64_t landed;
	uint32_t id;

	fill(7);
	CLAIM(zd_fault_add(dev, &f, &id, &err) == 0);
	memset(&err, 0, sizeof(err));
	flip_fails = -ENOSPC;
	CLAIM(zd_append(dev, CONV, data, BLOCK, &landed, &err) == -ENOSPC);
	CLAIM(err.code == -ENOSPC && err.host_errno == ENOSPC && !strncmp(err.text, "it is done, but ", 16));
	flip_fails = 0;
	CLAIM(zd_append(dev, CONV, data, BLOCK, &landed, &err) == BLOCK && landed == SEQ(CONV) + BLOCK);
	CLAIM(zd_pread(dev, back, 2 * BLOCK, SEQ(CONV), &err) == 2 * BLOCK);
	CLAIM(!memcmp(back, data, BLOCK) && back[BLOCK] == (7 ^ 8) && !memcmp(back + BLOCK + 1, data + 1, BLOCK - 1));
	CLAIM(zd_close(dev, &err) == 0);
}

/* One command per zone: each is held up, and the others go on behind it. */
static void many_zones_are_held_up_one_by_one(void)
{
	zd_dev *dev = new_disk(ZD_HOST_MANAGED);
	struct zd_request q = request(ZD_OP_OPEN, SEQ(CONV), 0);
	uint32_t id = hang(dev, CONV + 1), again = hang(dev, CONV + 2), i;
	struct zd_fault f[2];
	struct zd_zone zones[ZONES];

	q.count = 4;
	CLAIM(zd_submit(dev, &q) == ZD_DEFERRED);
	CLAIM(zd_fault_release(dev, id, &err) == 0);
	for (i = 0; zd_fault_list(dev, f, 2, &err) == 2 && !f[1].waiting; i++)
		sched_yield();
	CLAIM(zd_report(dev, 0, ZONES, zones, &err) == ZONES);
	CLAIM(zones[CONV + 1].cond == ZD_EXPLICIT_OPEN && zones[CONV + 2].cond == ZD_EMPTY && !completed);
	CLAIM(zd_fault_clear(dev, again, &err) == 0);
	await(1);
	CLAIM(q.result == 0 && zd_report(dev, 0, ZONES, zones, &err) == ZONES);
	for (i = 0; i < 4; i++)
		CLAIM(zones[CONV + i].cond == ZD_EXPLICIT_OPEN);
	CLAIM(zd_close(dev, &err) == 0);
}

static void close_ends_them(void)
{
	zd_dev *dev = new_disk(ZD_HOST_MANAGED);
	struct zd_request q[2] = { request(ZD_OP_RESET, SEQ(5), 0), request(ZD_OP_FLUSH, 0, 0) };
	const struct zd_fault f = {
		.kind = ZD_FAULT_LATENCY, .commands = 1u << ZD_CMD_FLUSH, .last_zone = ZD_NO_ZONE, .real_ns = 3600000000000ull
	};
	uint32_t id;

	hang(dev, 5);
	CLAIM(zd_fault_add(dev, &f, &id, &err) == 0);
	CLAIM(zd_submit(dev, &q[0]) == ZD_DEFERRED && zd_submit(dev, &q[1]) == ZD_DEFERRED);
	CLAIM(zd_close(dev, &err) == 0);
	CLAIM(completed == 2 && q[0].result == ZD_E_CLOSED && q[1].result == ZD_E_CLOSED);
}

static void power_cut_ends_them(void)
{
	zd_dev *dev = new_disk(ZD_HOST_MANAGED);
	struct zd_request q = request(ZD_OP_RESET, SEQ(5), 0);

	hang(dev, 5);
	CLAIM(zd_submit(dev, &q) == ZD_DEFERRED);
	CLAIM(zd_power_cut(dev, ZD_KEEP_ALL, 0, &err) == 0);
	await(1);
	CLAIM(q.result == ZD_E_POWER_LOSS);
	CLAIM(zd_close(dev, &err) == 0);
}

/*
 * The disk's timers are up and wait: their thread takes no memory any more. One that begins does, and a child of just then
 * would inherit the lock of AddressSanitizer's allocator, which, unlike malloc's own, nobody lets go at a fork.
 */
static void settled_timers(zd_dev *dev)
{
	struct zd_request q = request(ZD_OP_RESET, SEQ(6), 0);
	uint32_t id = hang(dev, 6);

	CLAIM(zd_submit(dev, &q) == ZD_DEFERRED);
	CLAIM(zd_fault_clear(dev, id, &err) == 0);
	await(1);
	atomic_store(&completed, 0);
}

static void child_has_none(void)
{
	zd_dev *dev = new_disk(ZD_HOST_MANAGED);
	struct zd_request q = request(ZD_OP_RESET, SEQ(5), 0), own = request(ZD_OP_RESET, SEQ(5), 0);
	int status;
	pid_t pid;

	settled_timers(dev);
	hang(dev, 5);
	CLAIM(zd_submit(dev, &q) == ZD_DEFERRED);
	pid = fork();
	CLAIM(pid >= 0);
	if (pid == 0) {
		CLAIM(zd_submit(dev, &own) == ZD_DEFERRED);
		zd_cancel(dev, &own);
		CLAIM(own.result == -ECANCELED && completed == 1);
		CLAIM(zd_close(dev, &err) == 0);
		_exit(completed == 1 ? 0 : 1);
	}
	CLAIM(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
	CLAIM(!completed);
	zd_cancel(dev, &q);
	CLAIM(q.result == -ECANCELED && completed == 1);
	CLAIM(zd_close(dev, &err) == 0);
}

static zd_dev *forks_amid;
static _Atomic pid_t amid;

static uint64_t fork_amid(void *arg, uint64_t ticket)
{
	(void)arg, (void)ticket;
	if (amid)
		return 0;
	amid = fork();
	if (!amid) {
		alarm(10);
		zd_end_hangs(forks_amid);
		_exit(zd_close(forks_amid, &err) != 0);
	}
	return 0;
}

static uint64_t a_ticket(void *arg, const struct zd_told *what)
{
	(void)arg, (void)what;
	return 1;
}

static void nothing_to_drop(void *arg, uint64_t ticket)
{
	(void)arg, (void)ticket;
}

static void nothing_to_end(void *arg)
{
	(void)arg;
}

/* Forked while the parent's timers were locked, and never used: what it inherited is closed without them. */
static void child_closes_at_once(void)
{
	static const struct zd_pace pace = { a_ticket, fork_amid, nothing_to_drop, nothing_to_end };
	struct zd_request q = request(ZD_OP_RESET, SEQ(5), 0);
	int status;

	forks_amid = new_disk(ZD_HOST_MANAGED);
	CLAIM(zd_set_pace(forks_amid, &pace, NULL, &err) == 0);
	CLAIM(zd_submit(forks_amid, &q) == ZD_DEFERRED);
	await(1);
	CLAIM(amid > 0 && waitpid(amid, &status, 0) == amid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
	CLAIM(zd_close(forks_amid, &err) == 0);
}

static void nonsense_is_refused(void)
{
	zd_dev *dev = new_disk(ZD_HOST_MANAGED);
	struct zd_request q = request(ZD_OP_READ, 0, 0);

	q.err = &err;
	q.flags = ZD_REQ_FUA;
	CLAIM(zd_submit(dev, &q) == 0 && q.result == -EINVAL && err.code == -EINVAL);
	q = request(99, 0, 0);
	CLAIM(zd_submit(dev, &q) == 0 && q.result == -EINVAL);
	q = request(20, 0, 0);
	CLAIM(zd_submit(dev, &q) == 0 && q.result == -EINVAL);
	q = request(ZD_OP_FLUSH, 0, 0);
	q.size = 8;
	CLAIM(zd_submit(dev, &q) == 0 && q.result == -EINVAL && completed == 4);
	CLAIM(zd_close(dev, &err) == 0);
}

/* ---------------------------------------------------------------- commands that hosts have */

static int64_t give(zd_dev *dev, int op, uint64_t offset, uint64_t length, uint16_t flags, const void *bytes)
{
	const struct iovec one = { (void *)(uintptr_t)bytes, length };
	struct zd_request q = request(op, offset, length);

	q.done = NULL;
	q.flags = flags;
	q.err = &err;
	if (bytes) {
		q.iov = &one;
		q.nr_iov = 1;
	}
	CLAIM(zd_submit(dev, &q) == 0);
	return q.result;
}

static uint64_t durable(zd_dev *dev, uint32_t zone)
{
	struct zd_zone z;

	CLAIM(zd_report(dev, zone, 1, &z, &err) == 1);
	return z.durable_wp - z.start;
}

static void fua_is_durable(void)
{
	zd_dev *dev = new_disk(ZD_HOST_MANAGED);

	fill(7);
	CLAIM(give(dev, ZD_OP_WRITE, SEQ(8), BLOCK, 0, data) == BLOCK);
	CLAIM(give(dev, ZD_OP_WRITE, SEQ(9), BLOCK, 0, data) == BLOCK);
	CLAIM(give(dev, ZD_OP_WRITE, 0, BLOCK, 0, data) == BLOCK);
	CLAIM(give(dev, ZD_OP_WRITE, SEQ(1), BLOCK, ZD_REQ_FUA, data) == BLOCK);
	CLAIM(durable(dev, 8) == 0);
	CLAIM(give(dev, ZD_OP_WRITE, SEQ(8) + BLOCK, BLOCK, ZD_REQ_FUA, data) == BLOCK);
	CLAIM(give(dev, ZD_OP_APPEND, SEQ(10), 2 * BLOCK, ZD_REQ_FUA, data) == 2 * BLOCK);
	CLAIM(durable(dev, 8) == 2 * BLOCK && durable(dev, 9) == 0 && durable(dev, 10) == 2 * BLOCK);
	CLAIM(zd_power_cut(dev, ZD_KEEP_DURABLE, 0, &err) == 0 && zd_power_on(dev, &err) == 0);
	CLAIM(zd_pread(dev, back, BLOCK, SEQ(1), &err) == BLOCK && back[0] == 7);
	CLAIM(zd_pread(dev, back, BLOCK, 0, &err) == BLOCK && back[0] == 0);
	CLAIM(zd_close(dev, &err) == 0);
}

static void flush_of_a_range(void)
{
	zd_dev *dev = new_disk(ZD_HOST_MANAGED);
	uint32_t zone;

	for (zone = CONV; zone < ZONES; zone++)
		CLAIM(zd_pwrite(dev, data, BLOCK, SEQ(zone), &err) == BLOCK);
	CLAIM(give(dev, ZD_OP_FLUSH, SEQ(6) + BLOCK, 2 * ZONE, 0, NULL) == 0); /* touches three zones */
	for (zone = CONV; zone < ZONES; zone++)
		CLAIM(durable(dev, zone) == (zone >= 6 && zone <= 8 ? BLOCK : 0));
	CLAIM(give(dev, ZD_OP_FLUSH, 1, BLOCK, 0, NULL) == ZD_E_BLOCK_ALIGNMENT);
	CLAIM(give(dev, ZD_OP_FLUSH, 0, (uint64_t)(ZONES + 1) * ZONE, 0, NULL) == ZD_E_OUT_OF_RANGE);
	CLAIM(give(dev, ZD_OP_FLUSH, 0, 0, 0, NULL) == 0 && durable(dev, CONV) == BLOCK);
	CLAIM(zd_close(dev, &err) == 0);
}

static void zeroing(int op)
{
	static const uint8_t zeros[2 * BLOCK];
	zd_dev *dev = new_disk(ZD_HOST_MANAGED);
	uint32_t block;

	fill(3);
	for (block = 0; block < 8; block++)
		CLAIM(zd_pwrite(dev, data, BLOCK, SEQ(1) - 4 * BLOCK + block * BLOCK, &err) == BLOCK);
	CLAIM(zd_flush(dev, &err) == 0);
	/* over a border of zones, and blocks at both sides stay */
	CLAIM(give(dev, op, SEQ(1) - 2 * BLOCK, 4 * BLOCK, 0, NULL) == 4 * BLOCK);
	CLAIM(zd_pread(dev, back, 4 * BLOCK, SEQ(1) - 4 * BLOCK, &err) == 4 * BLOCK);
	CLAIM(memcmp(back, data, 2 * BLOCK) == 0 && memcmp(back + 2 * BLOCK, zeros, 2 * BLOCK) == 0);
	CLAIM(zd_pread(dev, back, 4 * BLOCK, SEQ(1), &err) == 4 * BLOCK);
	CLAIM(memcmp(back, zeros, 2 * BLOCK) == 0 && memcmp(back + 2 * BLOCK, data, 2 * BLOCK) == 0);
	CLAIM(zd_pwrite(dev, data, BLOCK, SEQ(1), &err) == BLOCK);
	CLAIM(zd_pread(dev, back, BLOCK, SEQ(1), &err) == BLOCK && memcmp(back, data, BLOCK) == 0);
	/* not flushed: a power cut brings back what was there */
	CLAIM(zd_power_cut(dev, ZD_KEEP_DURABLE, 0, &err) == 0 && zd_power_on(dev, &err) == 0);
	CLAIM(zd_pread(dev, back, 4 * BLOCK, SEQ(1) - 2 * BLOCK, &err) == 4 * BLOCK && memcmp(back, data, sizeof(data)) == 0);
	/* sequential zones refuse, by a rule that says so */
	CLAIM(give(dev, op, SEQ(CONV), BLOCK, 0, NULL) == ZD_E_SEQUENTIAL && err.zone == CONV);
	CLAIM(give(dev, op, SEQ(CONV) - BLOCK, 2 * BLOCK, 0, NULL) == ZD_E_WRITE_BOUNDARY);
	CLAIM(give(dev, op, 512, BLOCK, 0, NULL) == ZD_E_BLOCK_ALIGNMENT);
	claim_disk_is_sound(dev, 1);
	CLAIM(zd_close(dev, &err) == 0);
	dev = new_disk(ZD_HOST_AWARE);
	CLAIM(give(dev, op, SEQ(CONV), BLOCK, 0, NULL) == ZD_E_SEQUENTIAL);
	CLAIM(zd_close(dev, &err) == 0);
}

static void write_zeroes(void)
{
	zeroing(ZD_OP_WRITE_ZEROES);
}

static void deallocate(void)
{
	zeroing(ZD_OP_DEALLOCATE);
}

static void verify_and_compare(void)
{
	zd_dev *dev = new_disk(ZD_HOST_MANAGED);
	const struct zd_fault f = { .kind = ZD_FAULT_MEDIUM,
				    .last_zone = ZD_NO_ZONE,
				    .commands = 1u << ZD_CMD_READ,
				    .from = SEQ(5) + 2 * BLOCK,
				    .to = SEQ(5) + 3 * BLOCK };
	struct zd_counters counters = { .struct_size = sizeof(counters) };
	uint32_t id, i;

	for (i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7 + i / 256);
	CLAIM(zd_pwrite(dev, data, sizeof(data), SEQ(5), &err) == sizeof(data));
	CLAIM(give(dev, ZD_OP_VERIFY, SEQ(5), 4 * BLOCK, 0, NULL) == 4 * BLOCK);
	CLAIM(give(dev, ZD_OP_COMPARE, SEQ(5), sizeof(data), 0, data) == sizeof(data));
	data[BLOCK + 77] ^= 1;
	CLAIM(give(dev, ZD_OP_COMPARE, SEQ(5), sizeof(data), 0, data) == ZD_E_MISCOMPARE && err.bound == SEQ(5) + BLOCK + 77);
	CLAIM(zd_counters(dev, &counters, &err) == 0 && counters.errors_by_rule[ZD_E_FIRST_RULE - ZD_E_MISCOMPARE] == 1);
	CLAIM(zd_fault_add(dev, &f, &id, &err) == 0);
	CLAIM(give(dev, ZD_OP_VERIFY, SEQ(5), 4 * BLOCK, 0, NULL) == ZD_E_MEDIUM_READ && err.bound == SEQ(5) + 2 * BLOCK);
	/* what differs before the bad block is told, as it was read */
	CLAIM(give(dev, ZD_OP_COMPARE, SEQ(5), sizeof(data), 0, data) == ZD_E_MISCOMPARE);
	data[BLOCK + 77] ^= 1;
	CLAIM(give(dev, ZD_OP_COMPARE, SEQ(5), sizeof(data), 0, data) == ZD_E_MEDIUM_READ);
	CLAIM(zd_close(dev, &err) == 0);
}

static void vectors(void)
{
	zd_dev *dev = new_disk(ZD_HOST_MANAGED);
	struct iovec out[] = { { data, 100 }, { data, 0 }, { data + 100, BLOCK - 100 }, { data + BLOCK, 3 * BLOCK } };
	struct iovec in[] = { { back, 3 }, { back + 3, 0 }, { back + 3, 2 * BLOCK }, { back + 3 + 2 * BLOCK, 2 * BLOCK - 3 } };
	const struct zd_fault flip = { .kind = ZD_FAULT_FLIP_READ, .last_zone = ZD_NO_ZONE, .bit = 8 * 4 };
	uint64_t landed;
	uint32_t i, id;

	for (i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 11 + i / 256);
	CLAIM(zd_appendv(dev, 6, out, 4, &landed, &err) == sizeof(data) && landed == SEQ(6));
	CLAIM(zd_appendv(dev, 6, out, 4, &landed, &err) == sizeof(data) && landed == SEQ(6) + sizeof(data));
	CLAIM(zd_preadv(dev, in, 4, SEQ(6) + sizeof(data), &err) == sizeof(back) && memcmp(back, data, sizeof(data)) == 0);
	CLAIM(zd_fault_add(dev, &flip, &id, &err) == 0);
	CLAIM(zd_preadv(dev, in, 4, SEQ(6), &err) == sizeof(back) && back[4] == (data[4] ^ 1));
	back[4] ^= 1;
	CLAIM(memcmp(back, data, sizeof(data)) == 0);
	CLAIM(zd_appendv(dev, 6, out, -1, &landed, &err) == -EINVAL && zd_preadv(dev, in, -1, 0, &err) == -EINVAL);
	CLAIM(zd_close(dev, &err) == 0);
}

/* Data that lies elsewhere: here in an array that only the calls of a mover touch. */
#define MOVED (40u * BLOCK) /* more than any piece that is copied by way of the stack */

struct elsewhere {
	struct zd_mover mover;
	uint8_t *bytes;
	uint64_t fails_at; /* ZD_NONE: never */
	const uint64_t *landed;
	uint64_t seen; /* of *landed, when it was first asked for data */
};

static int take(const struct zd_mover *mover, uint64_t at, void *to, uint64_t n)
{
	struct elsewhere *e = (struct elsewhere *)(uintptr_t)mover;

	CLAIM(n && at + n <= MOVED);
	if (e->landed && !e->seen)
		e->seen = *e->landed;
	if (at + n > e->fails_at)
		return -EFAULT;
	memcpy(to, e->bytes + at, n);
	return 0;
}

static int give_away(const struct zd_mover *mover, uint64_t at, const void *from, uint64_t n)
{
	struct elsewhere *e = (struct elsewhere *)(uintptr_t)mover;

	CLAIM(n && at + n <= MOVED);
	if (at + n > e->fails_at)
		return -EFAULT;
	memcpy(e->bytes + at, from, n);
	return 0;
}

static int64_t move(zd_dev *dev, int op, uint64_t offset, struct elsewhere *e)
{
	struct zd_request q = request(op, offset, MOVED);

	q.done = NULL;
	q.err = &err;
	q.mover = &e->mover;
	e->landed = op == ZD_OP_APPEND ? &q.landed : NULL;
	e->seen = 0;
	CLAIM(zd_submit(dev, &q) == 0);
	if (op == ZD_OP_APPEND && q.result >= 0)
		CLAIM(e->seen == q.landed);
	return q.result;
}

/* Written, read back and compared in zones of all kinds, on places that the host has and has not, by handle and fork. */
static void movers(void)
{
	zd_dev *dev = new_disk(ZD_HOST_MANAGED), *fork = NULL;
	struct elsewhere e = { { take, give_away }, malloc(MOVED), ZD_NONE, NULL, 0 };
	const struct zd_fault flip = { .kind = ZD_FAULT_FLIP_READ, .last_zone = ZD_NO_ZONE, .bit = 8 * 5 };
	uint8_t *plain = malloc(MOVED), *again = malloc(MOVED);
	const struct iovec one = { again, MOVED };
	struct zd_request q = request(ZD_OP_COMPARE, 0, 0);
	zd_snapshot *snapshot = NULL;
	uint32_t i, id, round;

	CLAIM(e.bytes && plain && again);
	for (round = 0; round < 2; round++) { /* the second time all blocks are there */
		for (i = 0; i < MOVED; i++)
			plain[i] = (uint8_t)(i * 7 + i / 256 + round);
		memcpy(e.bytes, plain, MOVED);
		CLAIM(move(dev, ZD_OP_WRITE, SEQ(1) - 8 * BLOCK, &e) == MOVED); /* across conventional zones */
		CLAIM(move(dev, ZD_OP_WRITE, SEQ(5), &e) == MOVED);
		CLAIM(move(dev, ZD_OP_WRITE, SEQ(5), &e) == ZD_E_UNALIGNED_WRITE);
		CLAIM(move(dev, ZD_OP_APPEND, SEQ(6), &e) == MOVED && move(dev, ZD_OP_APPEND, SEQ(6), &e) == MOVED);
		CLAIM(e.seen == SEQ(6) + MOVED);
		for (i = 0; i < 4; i++) {
			const uint64_t places[] = { SEQ(1) - 8 * BLOCK, SEQ(5), SEQ(6), SEQ(6) + MOVED };

			CLAIM(zd_pread(dev, again, MOVED, places[i], &err) == MOVED && memcmp(again, plain, MOVED) == 0);
			memset(e.bytes, 0x55, MOVED);
			CLAIM(move(dev, ZD_OP_READ, places[i], &e) == MOVED && memcmp(e.bytes, plain, MOVED) == 0);
		}
		/* Zones that hold nothing, and what lies behind a write pointer. */
		CLAIM(move(dev, ZD_OP_READ, SEQ(9), &e) == MOVED && move(dev, ZD_OP_READ, SEQ(5) + MOVED / 2, &e) == MOVED);
		CLAIM(memcmp(e.bytes, plain + MOVED / 2, MOVED / 2) == 0 && e.bytes[MOVED / 2] == 0);
		if (round == 0) {
			CLAIM(zd_zone_mgmt(dev, ZD_CMD_RESET, 5, 2, &err) == 0 && zd_flush(dev, &err) == 0);
			continue;
		}
		CLAIM(zd_fault_add(dev, &flip, &id, &err) == 0);
		CLAIM(move(dev, ZD_OP_READ, SEQ(5), &e) == MOVED && e.bytes[5] == (plain[5] ^ 1));
		e.bytes[5] ^= 1;
		CLAIM(memcmp(e.bytes, plain, MOVED) == 0 && zd_fault_clear(dev, id, &err) == 0);
	}
	CLAIM(zd_snapshot_take(dev, &snapshot, &err) == 0 && zd_fork(snapshot, NULL, &fork, &err) == 0);
	memset(e.bytes, 0x55, MOVED);
	CLAIM(move(fork, ZD_OP_READ, SEQ(6), &e) == MOVED && memcmp(e.bytes, plain, MOVED) == 0);
	CLAIM(move(fork, ZD_OP_WRITE, SEQ(2), &e) == MOVED && move(fork, ZD_OP_READ, SEQ(2), &e) == MOVED);
	CLAIM(zd_close(fork, &err) == 0);
	zd_snapshot_free(snapshot);
	/* What could not be moved was not written: the zone is as it was. */
	e.fails_at = MOVED - BLOCK;
	CLAIM(move(dev, ZD_OP_WRITE, SEQ(5) + MOVED, &e) == -EFAULT && move(dev, ZD_OP_READ, SEQ(5), &e) == -EFAULT);
	CLAIM(move(dev, ZD_OP_WRITE, SEQ(11), &e) == -EFAULT);
	e.fails_at = ZD_NONE;
	CLAIM(move(dev, ZD_OP_WRITE, SEQ(5) + MOVED, &e) == MOVED && move(dev, ZD_OP_WRITE, SEQ(11), &e) == MOVED);
	/* Who has a mover has no buffers, and moves what is read or written. */
	q.mover = &e.mover;
	CLAIM(zd_submit(dev, &q) == 0 && q.result == -EINVAL);
	q = request(ZD_OP_READ, 0, BLOCK);
	q.mover = &e.mover;
	q.iov = &one;
	q.nr_iov = 1;
	CLAIM(zd_submit(dev, &q) == 0 && q.result == -EINVAL);
	claim_disk_is_sound(dev, 1);
	CLAIM(zd_close(dev, &err) == 0);
	free(e.bytes);
	free(plain);
	free(again);
}

/* The same checksum as it is made where the processor has no instruction for it. */
#define zd_crc32c crc32c_by_table
#undef ZD_TSAN
#define ZD_TSAN
#include "../../native/base/crc32c.c"
#undef zd_crc32c

/* Whatever the length, and wherever the bytes lie, it is that of one byte after the other. */
static void checksums(void)
{
	enum { MOST = 200000 };
	uint8_t *bytes = malloc(MOST);
	uint32_t i, crc = 0, seed = 1, length = 0;

	CLAIM(bytes && zd_crc32c(0, "123456789", 9) == 0xE3069283u);
	for (i = 0; i < MOST; i++)
		bytes[i] = (uint8_t)((seed = seed * 1664525u + 1013904223u) >> 24);
	for (i = 0; i < MOST; i++) {
		crc = crc32c_by_table(crc, bytes + i, 1);
		if (i + 1 < length)
			continue;
		CLAIM(zd_crc32c(0, bytes, i + 1) == crc && crc32c_by_table(0, bytes, i + 1) == crc);
		CLAIM(zd_crc32c(zd_crc32c(0, bytes, i / 3), bytes + i / 3, i + 1 - i / 3) == crc);
		length += 1 + length / 7;
	}
	free(bytes);
}

static int64_t report(zd_dev *dev, uint32_t zone, uint32_t count, uint32_t filter, uint16_t flags, struct zd_zone *zones)
{
	struct zd_request q = { .size = sizeof(q),
				.op = ZD_OP_REPORT,
				.zone = zone,
				.count = count,
				.filter = filter,
				.flags = flags,
				.zones = zones,
				.err = &err };

	CLAIM(zd_submit(dev, &q) == 0);
	return q.result;
}

static void report_filters(void)
{
	zd_dev *dev = new_disk(ZD_HOST_MANAGED);
	struct zd_zone zones[ZONES];

	CLAIM(zd_pwrite(dev, data, BLOCK, SEQ(5), &err) == BLOCK);
	CLAIM(zd_zone_mgmt(dev, ZD_CMD_OPEN, 6, 1, &err) == 0);
	CLAIM(zd_zone_mgmt(dev, ZD_CMD_FINISH, 7, 1, &err) == 0);
	CLAIM(zd_set_condition(dev, 8, ZD_READ_ONLY, &err) == 0 && zd_set_condition(dev, 9, ZD_OFFLINE, &err) == 0);
	CLAIM(report(dev, 0, ZONES, ZD_REPORT_ANY, 0, zones) == ZONES);
	CLAIM(report(dev, 0, ZONES, ZD_REPORT_NOT_WP, 0, zones) == CONV && zones[3].index == 3);
	CLAIM(report(dev, 0, ZONES, ZD_REPORT_IMPLICIT_OPEN, 0, zones) == 1 && zones[0].index == 5);
	CLAIM(report(dev, 0, ZONES, ZD_REPORT_EXPLICIT_OPEN, 0, zones) == 1 && zones[0].index == 6);
	CLAIM(report(dev, 0, ZONES, ZD_REPORT_FULL, 0, zones) == 1 && zones[0].index == 7);
	CLAIM(report(dev, 0, ZONES, ZD_REPORT_READ_ONLY, 0, zones) == 1 && zones[0].index == 8);
	CLAIM(report(dev, 0, ZONES, ZD_REPORT_OFFLINE, 0, zones) == 1 && zones[0].index == 9);
	CLAIM(report(dev, 0, ZONES, ZD_REPORT_CLOSED, 0, zones) == 0);
	CLAIM(report(dev, 0, ZONES, ZD_REPORT_NON_SEQ, 0, zones) == 0);
	CLAIM(report(dev, 0, ZONES, 0x20, 0, zones) == 0);
	/* the list is as long as what matches, whatever has room: seven are empty (4, 10 .. 15) */
	CLAIM(report(dev, 0, 2, ZD_REPORT_EMPTY, 0, zones) == 7 && zones[0].index == 4 && zones[1].index == 10);
	CLAIM(report(dev, 0, 2, ZD_REPORT_EMPTY, ZD_REQ_PARTIAL, zones) == 2);
	CLAIM(report(dev, 14, 5, ZD_REPORT_EMPTY, ZD_REQ_PARTIAL, zones) == 2);
	CLAIM(report(dev, ZONES, 5, ZD_REPORT_ANY, 0, zones) == 0);
	CLAIM(report(dev, ZONES + 1, 5, ZD_REPORT_ANY, 0, zones) == ZD_E_OUT_OF_RANGE);
	CLAIM(report(dev, 0, 5, ZD_REPORT_ANY, ZD_REQ_FUA, zones) == -EINVAL);
	CLAIM(zd_close(dev, &err) == 0);
	dev = new_disk(ZD_HOST_AWARE);
	CLAIM(zd_pwrite(dev, data, BLOCK, SEQ(5) + BLOCK, &err) == BLOCK);
	CLAIM(report(dev, 0, ZONES, ZD_REPORT_NON_SEQ, 0, zones) == 1 && zones[0].index == 5);
	CLAIM(zd_zone_mgmt(dev, ZD_CMD_FINISH, 5, 1, &err) == 0);
	CLAIM(report(dev, 0, ZONES, ZD_REPORT_RESET_RECOMMENDED, 0, zones) == 1 && zones[0].index == 5);
	CLAIM(zd_close(dev, &err) == 0);
}

/* ---------------------------------------------------------------- reading without a copy, and observing */

static void pins_survive(void)
{
	zd_dev *dev = new_disk(ZD_HOST_MANAGED);
	struct zd_pin seq, conv, none;
	struct zd_info before = { .struct_size = sizeof(before) }, after = { .struct_size = sizeof(after) };

	fill(5);
	CLAIM(zd_pwrite(dev, data, sizeof(data), SEQ(5), &err) == sizeof(data));
	CLAIM(zd_pwrite(dev, data, sizeof(data), 0, &err) == sizeof(data));
	/* the first write of a block goes by pwrite, and the mapping has it from then on */
	CLAIM(zd_pin(dev, SEQ(5) + BLOCK, sizeof(data), &seq, &err) == 3 * BLOCK);
	CLAIM(zd_pin(dev, 0, 2 * BLOCK, &conv, &err) == 2 * BLOCK);
	CLAIM(zd_pin(dev, SEQ(6), BLOCK, &none, &err) == 0);
	CLAIM(zd_pin(dev, ZONES * (uint64_t)ZONE, BLOCK, &none, &err) == ZD_E_OUT_OF_RANGE);
	/* nothing waits for who reads, and he sees what he saw */
	CLAIM(zd_zone_mgmt(dev, ZD_CMD_RESET, 5, 1, &err) == 0);
	fill(6);
	CLAIM(zd_pwrite(dev, data, sizeof(data), SEQ(5), &err) == sizeof(data));
	CLAIM(zd_pwrite(dev, data, sizeof(data), 0, &err) == sizeof(data));
	CLAIM(zd_flush(dev, &err) == 0);
	fill(5);
	CLAIM(memcmp(seq.at, data, seq.length) == 0 && memcmp(conv.at, data, conv.length) == 0);
	CLAIM(zd_info(dev, &before, &err) == 0);
	zd_unpin(dev, &seq);
	zd_unpin(dev, &conv);
	zd_unpin(dev, &conv);
	CLAIM(zd_info(dev, &after, &err) == 0 && after.slots_free == before.slots_free + 2);
	CLAIM(zd_pread(dev, back, BLOCK, SEQ(5), &err) == BLOCK && back[0] == 6);
	claim_disk_is_sound(dev, 1);
	CLAIM(zd_close(dev, &err) == 0);
}

static _Atomic uint32_t told, ended;

static void hear(void *arg, const struct zd_told *what)
{
	(void)arg;
	told += what->cmd == ZD_CMD_WRITE ? 1 : 100;
}

static void hear_end(void *arg)
{
	(void)arg;
	ended++;
}

/* Who observes one handle sends no other opener the slow way, and several may observe it. */
static void observers_are_local(void)
{
	zd_dev *dev = new_disk(ZD_HOST_MANAGED), *other;
	int first = 1, second = 2;
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", zd_fd(dev));
	CLAIM(zd_open(path, 0, &other, &err) == 0);
	CLAIM(zd_observe(dev, hear, &first, hear_end, &err) == 0 && zd_observe(dev, hear, &second, hear_end, &err) == 0);
	CLAIM(dev->head->gate == 0 && dev->trace->modes == 0 && !other->aside && dev->aside);
	CLAIM(zd_pwrite(other, data, BLOCK, SEQ(4), &err) == BLOCK && told == 0);
	CLAIM(zd_pwrite(dev, data, BLOCK, SEQ(4) + BLOCK, &err) == BLOCK && told == 2);
	CLAIM(zd_trace_keep(other, 1, &err) == 0);
	CLAIM(zd_pwrite(other, data, BLOCK, SEQ(4) + 2 * BLOCK, &err) == BLOCK && told == 2);
	CLAIM(zd_pwrite(dev, data, BLOCK, SEQ(4) + 3 * BLOCK, &err) == BLOCK && told == 4);
	zd_observe_end(dev, &first);
	CLAIM(ended == 1 && zd_pwrite(dev, data, BLOCK, SEQ(4) + 4 * BLOCK, &err) == BLOCK && told == 5);
	zd_observe_end(dev, &second);
	CLAIM(ended == 2 && !dev->aside && zd_pwrite(dev, data, BLOCK, SEQ(4) + 5 * BLOCK, &err) == BLOCK && told == 5);
	CLAIM(zd_close(other, &err) == 0 && zd_close(dev, &err) == 0);
}

static void seen(void *arg, int cmd, uint64_t place, uint64_t length, int64_t result)
{
	(void)arg, (void)place, (void)length;
	CLAIM(cmd == ZD_CMD_WRITE && result == (int64_t)BLOCK);
	ended++;
}

/* Who waits for the ends of what a layer above gives sends no command the slow way. */
static void watchers_hold_up_nothing(void)
{
	zd_dev *dev = new_disk(ZD_HOST_MANAGED);

	zd_watch(dev, seen, NULL);
	CLAIM(!dev->aside && zd_pwrite(dev, data, BLOCK, SEQ(4), &err) == BLOCK && ended == 0);
	CLAIM(zd_watched(dev, ZD_CMD_WRITE, SEQ(4), BLOCK, BLOCK) == BLOCK && ended == 1);
	zd_watch(dev, NULL, NULL);
	CLAIM(zd_watched(dev, ZD_CMD_WRITE, SEQ(4), BLOCK, BLOCK) == BLOCK && ended == 1);
	CLAIM(zd_close(dev, &err) == 0);
}

/* ---------------------------------------------------------------- a drive's time */

/* A drive that is done when the test says so: tickets are numbers, and those below `reached` have ended. */
static struct {
	_Atomic uint64_t given, reached, asked, dropped;
	_Atomic uint32_t ends;
	struct zd_told last;
} drive;

static uint64_t drive_begin(void *arg, const struct zd_told *what)
{
	CLAIM(arg == &drive);
	drive.last = *what;
	return atomic_fetch_add(&drive.given, 1) + 1;
}

static uint64_t drive_left(void *arg, uint64_t ticket)
{
	CLAIM(arg == &drive && ticket >= 1 && ticket <= drive.given);
	atomic_fetch_add(&drive.asked, 1);
	return ticket <= drive.reached ? 0 : 1000000;
}

static void drive_drop(void *arg, uint64_t ticket)
{
	CLAIM(arg == &drive && ticket > drive.reached);
	atomic_fetch_add(&drive.dropped, 1);
}

static void drive_end(void *arg)
{
	CLAIM(arg == &drive);
	atomic_fetch_add(&drive.ends, 1);
}

static const struct zd_pace by_hand = { drive_begin, drive_left, drive_drop, drive_end };

static struct iovec block = { data, BLOCK };

static struct zd_request write_of(uint64_t offset)
{
	struct zd_request q = request(ZD_OP_WRITE, offset, BLOCK);

	q.iov = &block;
	q.nr_iov = 1;
	q.err = &err;
	return q;
}

/* It takes effect at once and in its order, ends when the drive is done, and holds neither a lock nor a thread meanwhile. */
static void pace_defers_what_is_done(void)
{
	enum { MANY = 100 };
	static struct zd_request q[MANY];
	zd_dev *dev = new_disk(ZD_HOST_MANAGED);
	uint32_t i, before = threads();
	struct zd_zone zone;

	CLAIM(zd_set_pace(dev, &by_hand, &drive, &err) == 0);
	CLAIM(zd_set_pace(dev, &by_hand, &drive, &err) == -EBUSY && drive.ends == 0);
	for (i = 0; i < MANY; i++) {
		q[i] = write_of(SEQ(CONV) + i * BLOCK);
		CLAIM(zd_submit(dev, &q[i]) == ZD_DEFERRED);
	}
	CLAIM(threads() == before + 1 && drive.given == MANY && completed == 0);
	CLAIM(zd_report(dev, CONV, 1, &zone, &err) == 1 && zone.wp == SEQ(CONV) + MANY * BLOCK);
	CLAIM(drive.last.cmd == ZD_CMD_WRITE && drive.last.zone == CONV && drive.last.length == BLOCK &&
	      drive.last.before.written == (MANY - 1) * BLOCK && drive.last.after.written == MANY * BLOCK);
	drive.reached = 10;
	await(10);
	for (i = 0; i < 10; i++)
		CLAIM(q[i].result == BLOCK);
	CLAIM(completed == 10);
	drive.reached = MANY;
	await(MANY);
	CLAIM(zd_close(dev, &err) == 0 && drive.ends == 1 && drive.dropped == 0);
}

/* What is refused, or reads nothing, is no work of the drive. */
static void pace_is_of_what_took_effect(void)
{
	struct zd_request q = write_of(SEQ(CONV) + BLOCK);
	zd_dev *dev = new_disk(ZD_HOST_MANAGED);

	CLAIM(zd_set_pace(dev, &by_hand, &drive, &err) == 0);
	CLAIM(zd_submit(dev, &q) == 0 && q.result == ZD_E_UNALIGNED_WRITE && completed == 1 && drive.given == 0);
	CLAIM(zd_pread(dev, back, 0, 0, &err) == 0 && drive.given == 0);
	drive.reached = UINT64_MAX;
	CLAIM(zd_pwrite(dev, data, BLOCK, SEQ(CONV), &err) == BLOCK && drive.given == 1);
	CLAIM(zd_append(dev, CONV, data, BLOCK, NULL, &err) == BLOCK && drive.given == 2 &&
	      drive.last.offset == SEQ(CONV) + BLOCK);
	CLAIM(zd_pread(dev, back, BLOCK, SEQ(CONV), &err) == BLOCK && drive.given == 3);
	CLAIM(zd_zone_mgmt(dev, ZD_CMD_FINISH, CONV, 2, &err) == 0 && drive.given == 5);
	CLAIM(zd_zone_mgmt(dev, ZD_CMD_RESET_ALL, 0, 0, &err) == 0 && drive.given == 6);
	CLAIM(zd_flush(dev, &err) == 0 && drive.given == 7 && drive.last.cmd == ZD_CMD_FLUSH);
	CLAIM(zd_power_cycle(dev, &err) == 0);
	CLAIM(zd_close(dev, &err) == 0 && drive.ends == 1);
}

/* Zones of one command are done one after the other, and each takes its time. */
static void pace_is_of_each_zone(void)
{
	struct zd_request q = request(ZD_OP_FINISH, SEQ(CONV), 0);
	zd_dev *dev = new_disk(ZD_HOST_MANAGED);
	struct zd_zone zones[3];
	uint64_t i;

	q.count = 3;
	CLAIM(zd_set_pace(dev, &by_hand, &drive, &err) == 0);
	CLAIM(zd_submit(dev, &q) == ZD_DEFERRED);
	for (i = 1; i <= 3; i++) {
		while (drive.given < i)
			sched_yield();
		CLAIM(completed == 0 && zd_report(dev, CONV, 3, zones, &err) == 3);
		CLAIM(zones[i - 1].cond == ZD_FULL && (i == 3 || zones[i].cond == ZD_EMPTY));
		drive.reached = i;
	}
	await(1);
	CLAIM(q.result == 0 && drive.given == 3 && zd_close(dev, &err) == 0);
}

static int tired(void *arg)
{
	(void)arg;
	return 1;
}

/* Cancel, interrupt, power cut, close: none waits for the drive, and what was done is done. */
static void pace_is_cut_short(void)
{
	struct zd_request q[3] = { write_of(SEQ(CONV)), write_of(SEQ(CONV) + BLOCK), write_of(SEQ(CONV) + 3 * BLOCK) };
	struct zd_error errors[3];
	zd_dev *dev = new_disk(ZD_HOST_MANAGED);
	uint32_t i;

	for (i = 0; i < 3; i++)
		q[i].err = &errors[i];
	CLAIM(zd_set_pace(dev, &by_hand, &drive, &err) == 0);
	CLAIM(zd_submit(dev, &q[0]) == ZD_DEFERRED);
	zd_cancel(dev, &q[0]);
	CLAIM(completed == 1 && q[0].result == BLOCK && drive.dropped == 1);
	CLAIM(zd_submit(dev, &q[1]) == ZD_DEFERRED);
	zd_set_interrupt(dev, tired, NULL);
	CLAIM(zd_pwrite(dev, data, BLOCK, SEQ(CONV) + 2 * BLOCK, &err) == -EINTR && drive.dropped == 2);
	zd_set_interrupt(dev, NULL, NULL);
	CLAIM(zd_submit(dev, &q[2]) == ZD_DEFERRED && completed == 1);
	CLAIM(zd_close(dev, &err) == 0 && completed == 3 && drive.ends == 1 && drive.dropped == 4);
	CLAIM(q[1].result == BLOCK && q[2].result == BLOCK);
}

static void pace_without_power(void)
{
	struct zd_request q = write_of(SEQ(CONV));
	zd_dev *dev = new_disk(ZD_HOST_MANAGED);

	CLAIM(zd_set_pace(dev, &by_hand, &drive, &err) == 0);
	CLAIM(zd_submit(dev, &q) == ZD_DEFERRED);
	CLAIM(zd_power_cut(dev, ZD_KEEP_DURABLE, 0, &err) == 0);
	await(1);
	CLAIM(q.result == ZD_E_POWER_LOSS && drive.dropped == 1);
	CLAIM(zd_close(dev, &err) == 0 && drive.ends == 1);
}

/* A forked child's commands take no time, and the parent's drive is not asked. */
static void pace_is_not_inherited(void)
{
	zd_dev *dev = new_disk(ZD_HOST_MANAGED);
	int status;
	pid_t child;

	CLAIM(zd_set_pace(dev, &by_hand, &drive, &err) == 0);
	child = fork();
	if (!child) {
		CLAIM(zd_pwrite(dev, data, BLOCK, SEQ(CONV), &err) == BLOCK && drive.given == 0 && drive.ends == 1);
		_exit(zd_close(dev, &err) != 0);
	}
	CLAIM(child > 0 && waitpid(child, &status, 0) == child && status == 0);
	CLAIM(zd_close(dev, &err) == 0 && drive.ends == 1);
}

/* ---------------------------------------------------------------- recordings */

struct other_recordings {
	zd_dev *dev;
	_Atomic int over;
};

static void *record_nothing(void *arg)
{
	struct other_recordings *other = arg;
	int fd = memfd_create("other", MFD_CLOEXEC), r;
	struct zd_error error;

	while (!atomic_load(&other->over)) {
		r = zd_trace_start_data(other->dev, fd, &error);
		CLAIM(r == 0 || r == -EBUSY || r == -EAGAIN);
		if (!r)
			CLAIM(zd_trace_stop(other->dev, NULL, &error) == 0);
	}
	close(fd);
	return NULL;
}

/* From END to the checksums that each item has of all before it. */
static int is_whole(int fd)
{
	struct zd_trace_reader reader = { .with_data = 1 };
	struct zd_trace_record records[64];
	uint64_t length = (uint64_t)lseek(fd, 0, SEEK_END), at, used;
	uint8_t *bytes = malloc(length);
	uint32_t size;

	CLAIM(bytes && pread(fd, bytes, length, 0) == (int64_t)length);
	memcpy(&size, bytes + 12, sizeof(size));
	memcpy(&reader.crc, bytes + size - 4, sizeof(reader.crc));
	for (at = size; zd_trace_read(&reader, bytes + at, length - at, records, 64, &used) > 0; at += used)
		;
	free(bytes);
	return reader.ended && !reader.damage;
}

/* The end of one recording takes nothing from the one that another process begins behind it: its data has a ring of its own. */
static void recordings_in_turn(void)
{
	static uint8_t much[ZONE / 2];
	char path[64];
	const struct zd_range conv = { 0, CONV };
	struct zd_config config = config_of(ZONES * ZONE, ZONE, &conv);
	struct other_recordings other = { 0 };
	uint32_t whole = 0;
	pthread_t thread;
	zd_dev *dev;

	snprintf(path, sizeof(path), "/dev/shm/zoned-recordings-%d", getpid());
	config.host_sync = ZD_SYNC_NEVER;
	CLAIM(zd_create(path, &config, ZD_CREATE_REPLACE, &dev, &err) == 0);
	CLAIM(zd_open(path, 0, &other.dev, &err) == 0);
	memset(much, 7, sizeof(much));
	CLAIM(pthread_create(&thread, NULL, record_nothing, &other) == 0);
	while (whole < 600) {
		int fd = memfd_create("recording", MFD_CLOEXEC), r = zd_trace_start_data(dev, fd, &err);
		uint64_t landed;

		CLAIM(r == 0 || r == -EBUSY || r == -EAGAIN);
		if (!r) {
			for (uint32_t zone = CONV; zone < CONV + 4; zone++) {
				CLAIM(zd_append(dev, zone, much, sizeof(much), &landed, &err) == (int64_t)sizeof(much));
				CLAIM(zd_zone_mgmt(dev, ZD_CMD_RESET, zone, 1, &err) == 0);
			}
			CLAIM(zd_trace_stop(dev, NULL, &err) == 0);
			CLAIM(is_whole(fd));
			whole++;
		}
		close(fd);
	}
	atomic_store(&other.over, 1);
	CLAIM(pthread_join(thread, NULL) == 0);
	CLAIM(zd_close(other.dev, &err) == 0 && zd_close(dev, &err) == 0 && unlink(path) == 0);
}

static const struct {
	const char *name;
	void (*run)(void);
} cases[] = {
	{ "held-up-holds-nothing", held_up_holds_nothing },
	{ "latency-passes", latency_passes },
	{ "flips-may-fail", flips_may_fail },
	{ "many-zones-are-held-up-one-by-one", many_zones_are_held_up_one_by_one },
	{ "close-ends-them", close_ends_them },
	{ "power-cut-ends-them", power_cut_ends_them },
	{ "child-has-none", child_has_none },
	{ "child-closes-at-once", child_closes_at_once },
	{ "nonsense-is-refused", nonsense_is_refused },
	{ "fua-is-durable", fua_is_durable },
	{ "flush-of-a-range", flush_of_a_range },
	{ "write-zeroes", write_zeroes },
	{ "deallocate", deallocate },
	{ "verify-and-compare", verify_and_compare },
	{ "movers", movers },
	{ "checksums", checksums },
	{ "vectors", vectors },
	{ "report-filters", report_filters },
	{ "pins-survive", pins_survive },
	{ "recordings-in-turn", recordings_in_turn },
	{ "observers-are-local", observers_are_local },
	{ "watchers-hold-up-nothing", watchers_hold_up_nothing },
	{ "pace-defers-what-is-done", pace_defers_what_is_done },
	{ "pace-is-of-what-took-effect", pace_is_of_what_took_effect },
	{ "pace-is-of-each-zone", pace_is_of_each_zone },
	{ "pace-is-cut-short", pace_is_cut_short },
	{ "pace-without-power", pace_without_power },
	{ "pace-is-not-inherited", pace_is_not_inherited },
};

int main(int argc, char **argv)
{
	size_t i;

	for (i = 0; argc == 2 && i < sizeof(cases) / sizeof(*cases); i++) {
		if (strcmp(argv[1], "--list") == 0)
			puts(cases[i].name);
		else if (strcmp(argv[1], cases[i].name) == 0)
			return cases[i].run(), 0;
	}
	return argc == 2 && strcmp(argv[1], "--list") == 0 ? 0 : 2;
}
