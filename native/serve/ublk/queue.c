/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A queue's thread. Each tag has one entry in the ring: it completes when the kernel has a request, which is answered by
 * the next entry of the tag. All that came is carried out before anything is submitted, so that many requests cost one call.
 */
#include "serve/ublk/ublk.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#define EVENT UINT64_MAX  /* user_data of the read of the queue's eventfd */
#define NO_TAG UINT16_MAX /* in `sending` */
#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif

/* ---------------------------------------------------------------- entries */

/* What the kernel has taken from the ring it has been told. */
static int submit(struct queue *queue, uint32_t wait)
{
	uint32_t i, n = queue->nr_sending;
	int taken;

	for (i = 0; i < n; i++) {
		struct slot *s = queue->sending[i] == NO_TAG ? NULL : &queue->slots[queue->sending[i]];

		if (s && s->record && atomic_load_explicit(&s->record->state, memory_order_relaxed) == RECORD_DONE)
			zd_ublk_record_set(s->record, RECORD_SENT);
	}
	taken = zd_ring_submit(&queue->ring, wait);
	if (taken < 0)
		return taken;
	for (i = 0; i < (uint32_t)taken && i < n; i++) {
		struct slot *s = queue->sending[i] == NO_TAG ? NULL : &queue->slots[queue->sending[i]];

		if (s && s->record) {
			zd_ublk_record_set(s->record, RECORD_FREE);
			s->record = NULL;
		}
	}
	memmove(queue->sending, queue->sending + i, (n - i) * sizeof(*queue->sending));
	queue->nr_sending = n - i;
	return 0;
}

/* There is room: the ring has an entry for each tag, and some more. */
static struct uring_sqe *next(struct queue *queue, uint16_t tag)
{
	struct uring_sqe *sqe = zd_ring_next(&queue->ring);

	if (sqe)
		queue->sending[queue->nr_sending++] = tag;
	return sqe;
}

static int give_tag(struct queue *queue, struct slot *s, uint32_t op)
{
	const struct ublk_io io = { .q_id = queue->id, .tag = s->tag, .result = s->result, .addr = s->lba };
	struct uring_sqe *sqe = next(queue, s->tag);

	if (!sqe)
		return -EBUSY;
	sqe->opcode = URING_OP_URING_CMD;
	sqe->fd = queue->ublk->fd;
	sqe->cmd_op = op;
	sqe->user_data = s->tag;
	memcpy(sqe->cmd, &io, sizeof(io));
	s->running = false;
	return 0;
}

static int watch_event(struct queue *queue)
{
	struct uring_sqe *sqe = next(queue, NO_TAG);

	if (!sqe)
		return -EBUSY;
	sqe->opcode = URING_OP_READ;
	sqe->fd = queue->event;
	sqe->addr = (uint64_t)(uintptr_t)&queue->event_count;
	sqe->len = sizeof(queue->event_count);
	sqe->user_data = EVENT;
	return 0;
}

/* ---------------------------------------------------------------- serving */

static int collect(struct queue *queue)
{
	struct zd_work *work = zd_desk_take(&queue->desk), *after;
	int r = 0;

	for (; work; work = after) {
		after = work->next;
		if (!r)
			r = give_tag(queue, zd_ublk_slot_of(work), UBLK_COMMIT_AND_FETCH);
	}
	return r;
}

static int serve(struct queue *queue)
{
	const struct uring_cqe *cqe;
	bool watched = true, ending = false;
	int r = 0;

	while (!r && (queue->nr_live || watched)) {
		if (!queue->nr_live && !ending) { /* so that nothing of the kernel's is left in the ring */
			ending = true;
			zd_ublk_queue_wake(queue);
		}
		r = submit(queue, 1);
		while (!r && (cqe = zd_ring_peek(&queue->ring))) {
			uint64_t which = cqe->user_data;
			int32_t res = cqe->res;

			zd_ring_seen(&queue->ring);
			if (which == EVENT) {
				r = collect(queue);
				if (atomic_load(&queue->ublk->stopping) == LEFT_BEHIND)
					return -ESHUTDOWN;
				watched = !r && !ending;
				if (watched)
					r = watch_event(queue);
			} else if (res) {
				queue->nr_live--; /* the device is being stopped */
			} else {
				struct slot *s = &queue->slots[which];

				s->running = true;
				if (zd_ublk_begin(s, &queue->descs[which]))
					r = give_tag(queue, s, UBLK_COMMIT_AND_FETCH);
			}
		}
	}
	return r;
}

static int begin(struct queue *queue)
{
	zd_ublk *ublk = queue->ublk;
	size_t page = (size_t)sysconf(_SC_PAGESIZE), each = UBLK_MAX_DEPTH * sizeof(struct ublk_io_desc);
	uint32_t entries = 1;
	void *at;
	int r;

	while (entries < ublk->depth + 2)
		entries *= 2;
	r = zd_ring_open(&queue->ring, entries, false);
	if (r)
		return r;
	each = (each + page - 1) / page * page;
	queue->descs_size = (ublk->depth * sizeof(struct ublk_io_desc) + page - 1) / page * page;
	at = mmap(NULL, queue->descs_size, PROT_READ, MAP_SHARED | MAP_POPULATE, ublk->fd, (off_t)(queue->id * each));
	if (at == MAP_FAILED)
		return -errno;
	queue->descs = at;
	for (uint32_t tag = 0; !r && tag < ublk->depth; tag++) {
		r = give_tag(queue, &queue->slots[tag], UBLK_FETCH);
		queue->nr_live += !r;
	}
	if (!r)
		r = watch_event(queue);
	while (!r && queue->nr_sending)
		r = submit(queue, 0);
	return r;
}

static void tell(zd_ublk *ublk, int r)
{
	pthread_mutex_lock(&ublk->lock);
	ublk->nr_ready++;
	if (r && !ublk->failed)
		ublk->failed = r;
	pthread_cond_broadcast(&ublk->changed);
	pthread_mutex_unlock(&ublk->lock);
}

void *zd_ublk_queue_run(void *arg)
{
	struct queue *queue = arg;
	zd_ublk *ublk = queue->ublk;
	struct zd_crew *crew = &ublk->crew;
	int r;

	prctl(PR_SET_NAME, "zoned-ublk", 0, 0, 0);
	/* Memory that this thread needs must not be had by writing to the device that it serves. */
	prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);
	zd_ublk_here = ublk;
	r = begin(queue);
	tell(ublk, r);
	if (!r)
		r = serve(queue);
	/* Should it have failed, the kernel takes the tags back with the ring, as from one that was killed. */
	zd_ring_close(&queue->ring);
	if (queue->descs)
		munmap((void *)(uintptr_t)queue->descs, queue->descs_size);
	queue->descs = NULL;
	zd_ublk_here = NULL;
	if (atomic_fetch_sub(&ublk->nr_running, 1) == 1 || r)
		zd_ublk_set_event(ublk);
	zd_crew_leave(crew);
	return NULL;
}
