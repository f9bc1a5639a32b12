/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which descriptors are ours, and the open file descriptions behind them.
 *
 * A description belongs to whoever has a descriptor of its file fd/SLOT, in whatever process. The last close in a process
 * frees one that no other process can have; of others only a look at all processes tells whether somebody still has one.
 * That look is taken when none is free any more, or when it matters who holds a disk by O_EXCL: so processes may be
 * killed at any time.
 */
#include "preload/preload.h"
#include "preload/real.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

_Atomic uint16_t *zp_numbers;
static _Atomic uint16_t held[ZP_MAX_OPEN]; /* descriptors of this process by description */
static _Atomic int highest = -1;           /* no descriptor of ours has a higher number */

/* ---------------------------------------------------------------- locks */

int zp_mutex_make(pthread_mutex_t *lock)
{
	pthread_mutexattr_t attr;
	int r;

	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	r = pthread_mutex_init(lock, &attr);
	pthread_mutexattr_destroy(&attr);
	return -r;
}

/* What a dead owner left half done under one of these is a number that is stored at once: nothing is to be mended. */
void zp_lock(pthread_mutex_t *lock)
{
	zp_enter();
	if (pthread_mutex_lock(lock) == EOWNERDEAD)
		pthread_mutex_consistent(lock);
}

void zp_unlock(pthread_mutex_t *lock)
{
	pthread_mutex_unlock(lock);
	zp_leave();
}

/* ---------------------------------------------------------------- numbers */

int zp_table_begin(void)
{
	void *at = zp_real.mmap(NULL, ZP_MAX_FD * sizeof(*zp_numbers), PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (at == MAP_FAILED)
		return -errno;
	zp_numbers = at;
	return 0;
}

static void set(int fd, uint32_t slot)
{
	int seen = atomic_load(&highest);

	atomic_fetch_add(&held[slot], 1);
	atomic_store(&zp_numbers[fd], (uint16_t)(slot + 1));
	while (fd > seen && !atomic_compare_exchange_weak(&highest, &seen, fd))
		;
}

bool zp_internal(int fd)
{
	return zp_active() && (unsigned)fd < ZP_MAX_FD && atomic_load(&zp_numbers[fd]) == ZP_OURS_INTERNAL;
}

static void release(uint32_t slot)
{
	struct zp_open *open = &zp_session.shared->open[slot];
	uint32_t holder = slot + 1;

	if (atomic_load(&open->exclusive))
		atomic_compare_exchange_strong(&zp_disk_of(open)->shared->exclusive, &holder, 0);
	atomic_store(&open->state, 0);
}

static void forget(int fd, uint16_t was)
{
	uint32_t slot = was - 1u;

	if (!was || was == ZP_OURS_INTERNAL || !atomic_compare_exchange_strong(&zp_numbers[fd], &was, 0))
		return;
	if (atomic_fetch_sub(&held[slot], 1) != 1)
		return;
	zp_locks_gone(slot);
	if (!atomic_load(&zp_session.shared->open[slot].shared))
		release(slot);
}

void zp_table_closed(int fd)
{
	if (zp_active() && (unsigned)fd < ZP_MAX_FD)
		forget(fd, atomic_load(&zp_numbers[fd]));
}

void zp_table_fresh(int fd)
{
	if (fd >= 0)
		zp_table_closed(fd);
}

void zp_table_copied(int from, int to)
{
	uint16_t slot;

	if (!zp_active() || (unsigned)from >= ZP_MAX_FD || (unsigned)to >= ZP_MAX_FD || from == to)
		return;
	slot = atomic_load(&zp_numbers[from]);
	forget(to, atomic_load(&zp_numbers[to]));
	if (slot && slot != ZP_OURS_INTERNAL)
		set(to, slot - 1u);
}

void zp_table_forget_all(void)
{
	int fd;

	for (fd = 0; fd <= atomic_load(&highest); fd++)
		atomic_store(&zp_numbers[fd], 0);
	memset((void *)held, 0, sizeof(held));
	zp_disk_forked();
}

void zp_table_share(void)
{
	int fd, last = atomic_load(&highest);

	for (fd = 0; zp_active() && fd <= last; fd++) {
		uint16_t slot = atomic_load(&zp_numbers[fd]);

		if (slot && slot != ZP_OURS_INTERNAL)
			atomic_store(&zp_session.shared->open[slot - 1].shared, 1);
	}
}

int zp_table_hide(int fd)
{
	struct rlimit limit;
	int base = 960, moved;

	if (fd < 0 || !zp_active())
		return fd;
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < 1024)
		base = limit.rlim_cur > 80 ? (int)limit.rlim_cur - 64 : (int)limit.rlim_cur / 2;
	moved = fd >= base ? fd : zp_real.fcntl(fd, F_DUPFD_CLOEXEC, base);
	if (moved < 0 || (unsigned)moved >= ZP_MAX_FD)
		return fd;
	if (moved != fd)
		zp_real.close(fd);
	atomic_store(&zp_numbers[moved], ZP_OURS_INTERNAL);
	return moved;
}

/* ---------------------------------------------------------------- looking at processes */

struct entries {
	int fd;
	long got, at;
	char bytes[4096] __attribute__((aligned(8)));
};

struct entry {
	uint64_t inode;
	int64_t offset;
	unsigned short length;
	unsigned char type;
	char name[];
};

/* The next number among a folder's names; -1: no more. Without memory of its own, so that signal handlers may open. */
static long next_number(struct entries *e)
{
	for (;;) {
		const struct entry *one;
		char *end;
		long number;

		if (e->at >= e->got) {
			e->got = syscall(SYS_getdents64, e->fd, e->bytes, sizeof(e->bytes));
			e->at = 0;
			if (e->got <= 0)
				return -1;
		}
		one = (const struct entry *)(e->bytes + e->at);
		e->at += one->length;
		number = strtol(one->name, &end, 10);
		if (end != one->name && !*end)
			return number;
	}
}

static bool begin_folder(struct entries *e, const char *path)
{
	e->got = e->at = 0;
	e->fd = zp_real.open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return e->fd >= 0;
}

/* Whether what a process has under a number is of this run, and which. */
static bool is_ours(const char *process, long fd, uint32_t *slot)
{
	char link[64], target[PATH_MAX];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/%s/fd/%ld", process, fd);
	n = zp_real.readlink(link, target, sizeof(target) - 1);
	if (n <= 0)
		return false;
	target[n] = '\0';
	return zp_is_slot(target, slot);
}

void zp_table_scan(void)
{
	struct entries all;
	uint32_t slot;
	long fd;

	if (!begin_folder(&all, "/proc/self/fd"))
		return;
	while ((fd = next_number(&all)) >= 0) {
		if (fd == all.fd || (unsigned long)fd >= ZP_MAX_FD || !is_ours("self", fd, &slot))
			continue;
		atomic_store(&zp_session.shared->open[slot].shared, 1);
		set((int)fd, slot);
	}
	zp_real.close(all.fd);
}

/* Free what no process has any more. Under the run's lock. */
static void collect(void)
{
	uint8_t seen[ZP_MAX_OPEN / 8] = { 0 };
	struct entries processes, theirs;
	char name[32], path[64];
	uint32_t slot;
	long pid, fd;

	if (!begin_folder(&processes, "/proc"))
		return;
	while ((pid = next_number(&processes)) >= 0) {
		snprintf(name, sizeof(name), "%ld", pid);
		snprintf(path, sizeof(path), "/proc/%ld/fd", pid);
		if (!begin_folder(&theirs, path))
			continue;
		while ((fd = next_number(&theirs)) >= 0)
			if (is_ours(name, fd, &slot))
				seen[slot / 8] |= (uint8_t)(1u << slot % 8);
		zp_real.close(theirs.fd);
	}
	zp_real.close(processes.fd);
	for (slot = 0; slot < ZP_MAX_OPEN; slot++)
		if (!(seen[slot / 8] & 1u << slot % 8) && atomic_load(&zp_session.shared->open[slot].state) == 2)
			release(slot);
}

/* ---------------------------------------------------------------- making one */

static int64_t take_slot(void)
{
	static _Atomic uint32_t hint;
	uint32_t begin = atomic_load(&hint), i;
	int tries;

	for (tries = 0; tries < 2; tries++) {
		for (i = 0; i < ZP_MAX_OPEN; i++) {
			uint32_t slot = (begin + i) % ZP_MAX_OPEN, free = 0;

			if (atomic_load_explicit(&zp_session.shared->open[slot].state, memory_order_relaxed) == 0 &&
			    atomic_compare_exchange_strong(&zp_session.shared->open[slot].state, &free, 1)) {
				atomic_store(&hint, (slot + 1) % ZP_MAX_OPEN);
				return slot;
			}
		}
		zp_lock(&zp_session.shared->lock);
		collect();
		zp_unlock(&zp_session.shared->lock);
	}
	return -ENFILE;
}

int zp_table_make(int disk, int kind, int flags)
{
	char path[PATH_MAX + 16];
	struct zp_open *open;
	int64_t slot = take_slot();
	int fd, r;

	if (slot < 0)
		return (int)slot;
	open = &zp_session.shared->open[slot];
	snprintf(path, sizeof(path), "%s/fd/%u", zp_session.folder, (unsigned)slot);
	/* A file of its own, so that a descriptor that was forgotten elsewhere is never taken for this one. */
	unlink(path);
	fd = zp_real.open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
	if (fd < 0) {
		r = -errno;
		atomic_store(&open->state, 0);
		return r;
	}
	zp_real.close(fd);
	fd = zp_real.open(path, O_PATH | (flags & O_CLOEXEC));
	if (fd >= 0 && (unsigned)fd >= ZP_MAX_FD) {
		zp_real.close(fd);
		fd = -1;
		errno = EMFILE;
	}
	if (fd < 0) {
		r = -errno;
		atomic_store(&open->state, 0);
		return r;
	}
	open->disk = (uint16_t)disk;
	open->kind = (uint8_t)kind;
	atomic_store(&open->flags, (uint32_t)(flags & ~(O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_CLOEXEC)));
	atomic_store(&open->position, 0);
	atomic_store(&open->shared, 0);
	atomic_store(&open->exclusive, 0);
	zp_mutex_make(&open->lock);
	zp_table_fresh(fd);
	set(fd, (uint32_t)slot);
	atomic_store(&open->state, 2);
	return fd;
}

int zp_table_claim(struct zp_open *open)
{
	_Atomic uint32_t *exclusive = &zp_disk_of(open)->shared->exclusive;
	uint32_t slot = (uint32_t)(open - zp_session.shared->open), holder = 0;
	bool mine;

	atomic_store(&open->exclusive, 1);
	mine = atomic_compare_exchange_strong(exclusive, &holder, slot + 1);
	if (!mine) {
		zp_lock(&zp_session.shared->lock);
		collect(); /* whoever had it may be gone without a word */
		zp_unlock(&zp_session.shared->lock);
		holder = 0;
		mine = atomic_compare_exchange_strong(exclusive, &holder, slot + 1);
	}
	if (!mine)
		atomic_store(&open->exclusive, 0);
	return mine ? 0 : -EBUSY;
}
