/* SPDX-License-Identifier: Apache-2.0 */
/* io_uring, as far as a server of ublk needs it: entries, completions, and one call for both. */
#include "serve/ublk/ublk.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static uint32_t load(const uint32_t *at)
{
	return __atomic_load_n(at, __ATOMIC_ACQUIRE);
}

static void store(uint32_t *at, uint32_t value)
{
	__atomic_store_n(at, value, __ATOMIC_RELEASE);
}

int zd_ring_open(struct zd_ring *ring, uint32_t entries, bool big)
{
	/* Completions come when this thread asks for them, all at once. */
	const uint32_t wishes = URING_SETUP_COOP_TASKRUN | URING_SETUP_SINGLE_ISSUER | URING_SETUP_DEFER_TASKRUN;
	struct uring_params p = { .flags = big ? URING_SETUP_SQE128 : wishes };
	size_t sq_size, cq_size;
	void *at;

	memset(ring, 0, sizeof(*ring));
	ring->fd = (int)syscall(SYS_io_uring_setup, entries, &p);
	if (ring->fd < 0 && errno == EINVAL && !big) {
		p = (struct uring_params){ 0 };
		ring->fd = (int)syscall(SYS_io_uring_setup, entries, &p);
	}
	if (ring->fd < 0)
		return -errno;
	if (!(p.features & URING_FEAT_SINGLE_MMAP)) { /* before 5.4, which has no ublk */
		zd_ring_close(ring);
		return -ENOSYS;
	}
	ring->sqe_size = big ? 128 : 64;
	sq_size = p.sq.array + p.sq_entries * sizeof(uint32_t);
	cq_size = p.cq.cqes + p.cq_entries * sizeof(struct uring_cqe);
	ring->rings_size = sq_size > cq_size ? sq_size : cq_size;
	ring->sqes_size = p.sq_entries * ring->sqe_size;
	at = mmap(NULL, ring->rings_size, PROT_READ | PROT_WRITE, MAP_SHARED, ring->fd, URING_OFF_SQ);
	if (at == MAP_FAILED)
		goto failed;
	ring->rings = at;
	at = mmap(NULL, ring->sqes_size, PROT_READ | PROT_WRITE, MAP_SHARED, ring->fd, URING_OFF_SQES);
	if (at == MAP_FAILED)
		goto failed;
	ring->sqes = at;
	ring->sq_head = (uint32_t *)(ring->rings + p.sq.head);
	ring->sq_tail = (uint32_t *)(ring->rings + p.sq.tail);
	ring->sq_mask = *(uint32_t *)(ring->rings + p.sq.ring_mask);
	ring->sq_entries = p.sq_entries;
	ring->cq_head = (uint32_t *)(ring->rings + p.cq.head);
	ring->cq_tail = (uint32_t *)(ring->rings + p.cq.tail);
	ring->cq_mask = *(uint32_t *)(ring->rings + p.cq.ring_mask);
	ring->cqes = (struct uring_cqe *)(ring->rings + p.cq.cqes);
	for (uint32_t i = 0; i < p.sq_entries; i++) /* entries are submitted in their order */
		((uint32_t *)(ring->rings + p.sq.array))[i] = i;
	return 0;
failed:
	zd_ring_close(ring);
	return -ENOMEM;
}

void zd_ring_close(struct zd_ring *ring)
{
	if (ring->rings)
		munmap(ring->rings, ring->rings_size);
	if (ring->sqes)
		munmap(ring->sqes, ring->sqes_size);
	if (ring->fd >= 0)
		close(ring->fd);
	memset(ring, 0, sizeof(*ring));
	ring->fd = -1;
}

struct uring_sqe *zd_ring_next(struct zd_ring *ring)
{
	uint32_t tail = *ring->sq_tail + ring->begun;
	struct uring_sqe *sqe;

	if (tail - load(ring->sq_head) >= ring->sq_entries)
		return NULL;
	sqe = (struct uring_sqe *)(ring->sqes + (tail & ring->sq_mask) * ring->sqe_size);
	memset(sqe, 0, ring->sqe_size);
	ring->begun++;
	return sqe;
}

int zd_ring_submit(struct zd_ring *ring, uint32_t wait)
{
	uint32_t taken = 0, waiting;
	long r;

	store(ring->sq_tail, *ring->sq_tail + ring->begun);
	ring->begun = 0;
	for (;;) {
		waiting = *ring->sq_tail - load(ring->sq_head);
		r = syscall(SYS_io_uring_enter, ring->fd, waiting, wait, URING_ENTER_GETEVENTS, NULL, 0);
		if (r >= 0) {
			taken += (uint32_t)r;
			if ((uint32_t)r >= waiting)
				return (int)taken;
		} else if (errno != EINTR && errno != EAGAIN && errno != EBUSY) {
			return -errno;
		}
		if (zd_ring_peek(ring))
			wait = 0; /* what was waited for is there, and makes room in the kernel */
		if (r < 0 && errno != EINTR)
			return (int)taken;
	}
}

const struct uring_cqe *zd_ring_peek(struct zd_ring *ring)
{
	uint32_t head = *ring->cq_head;

	return head == load(ring->cq_tail) ? NULL : &ring->cqes[head & ring->cq_mask];
}

void zd_ring_seen(struct zd_ring *ring)
{
	store(ring->cq_head, *ring->cq_head + 1);
}
