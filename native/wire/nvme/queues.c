/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands that are under way on a queue (wire/underway.h), and aborting them.
 *
 * Several may abort at once: an ABORT, a reset of the controller, who closes the queue. Each waits for commands, and none for
 * another one who waits, but for him who closes: he waits for all, as the queue is gone behind him. So whoever comes to a queue by
 * its controller counts himself in while he holds the controller's lock, without which nobody closes it.
 */
#include "wire/nvme/nvme.h"

#include "base/base.h"

#include <stdlib.h>

#define ABORT_OPCODE 0x08

static struct zd_nvme_command *command_of(struct zd_under_way *it)
{
	return (struct zd_nvme_command *)((uint8_t *)it - offsetof(struct zd_nvme_command, under_way));
}

static void tell(struct zd_under_way *it)
{
	struct zd_nvme_command *command = command_of(it);

	if (atomic_load(&command->queue->deleters) && command->status == ZD_NVME_ABORT_REQUESTED)
		command->status = ZD_NVME_QUEUE_DELETED | ZD_NVME_DO_NOT_RETRY;
	command->done(command);
}

void zd_nvme_enter(struct zd_nvme_command *command)
{
	zd_under_way_enter(&command->queue->commands, &command->under_way);
}

void zd_nvme_leave(struct zd_nvme_command *command)
{
	struct zd_leaving me;

	zd_under_way_leave(&command->queue->commands, &command->under_way, command->done != NULL, &me);
}

/* ---------------------------------------------------------------- aborting */

/* Under the lock, which it leaves for a while. Whether it ended as one that was aborted. It may be gone afterwards. */
static bool abort_one(zd_nvme_queue *queue, struct zd_nvme_command *command)
{
	struct zd_leaving me;
	bool aborted;

	zd_under_way_hold(&queue->commands, &command->under_way);
	zd_nvme_cancel(command);
	pthread_mutex_lock(&queue->commands.lock);
	aborted = command->under_way.ended && command->status == ZD_NVME_ABORT_REQUESTED;
	zd_under_way_let_go(&queue->commands, &command->under_way, command->done != NULL, &me);
	return aborted;
}

/* The queue of that number; its lock is held, and the caller is one of its aborters. NULL: there is none. */
static zd_nvme_queue *come_to(zd_nvme_controller *controller, uint32_t id)
{
	zd_nvme_queue *queue;

	pthread_mutex_lock(&controller->lock);
	queue = id < ZD_NVME_MAX_QUEUES ? controller->queues[id] : NULL;
	if (queue) {
		pthread_mutex_lock(&queue->commands.lock);
		queue->commands.aborters++;
	}
	pthread_mutex_unlock(&controller->lock);
	return queue;
}

/* Under the lock, which it leaves for good: behind it the queue may be gone. */
static void go_from(zd_nvme_queue *queue)
{
	queue->commands.aborters--;
	pthread_cond_broadcast(&queue->commands.left);
	pthread_mutex_unlock(&queue->commands.lock);
}

/* Under the lock: until all commands have ended. */
static void abort_all(zd_nvme_queue *queue)
{
	struct zd_under_way_list *list = &queue->commands;
	struct zd_under_way *it;

	queue->deleters++;
	while (list->first || list->leaving) {
		for (it = list->first; it && it->aborted; it = it->after)
			;
		if (it)
			abort_one(queue, command_of(it));
		else
			pthread_cond_wait(&list->left, &list->lock);
	}
	queue->deleters--;
}

void zd_nvme_abort_all(zd_nvme_controller *controller, uint32_t id)
{
	zd_nvme_queue *queue = come_to(controller, id);

	if (!queue)
		return;
	abort_all(queue);
	go_from(queue);
}

/*
 * ABORT: dword 10 names a queue and a command of it. Bit 0 of the result says that it was not aborted: there is none, it ended
 * as it would have, or has not yet ended. An ABORT aborts no ABORT, least of all itself.
 */
int zd_nvme_abort(struct zd_nvme_command *command)
{
	zd_nvme_controller *controller = zd_nvme_of(command);
	uint32_t id = get16le(command->sqe + 40);
	uint16_t cid = get16le(command->sqe + 42);
	struct zd_nvme_command *found = NULL;
	zd_nvme_queue *queue;

	command->result = 1;
	queue = come_to(controller, id);
	if (!queue)
		return zd_nvme_good(command);
	for (struct zd_under_way *it = queue->commands.first; it && !found; it = it->after) {
		struct zd_nvme_command *other = command_of(it);

		if (get16le(other->sqe + 2) == cid && !it->aborted && !(id == 0 && other->sqe[0] == ABORT_OPCODE))
			found = other;
	}
	if (found && abort_one(queue, found))
		command->result = 0;
	go_from(queue);
	return zd_nvme_good(command);
}

/* ---------------------------------------------------------------- queues */

int zd_nvme_queue_open(zd_nvme_controller *controller, uint32_t id, zd_nvme_queue **out, struct zd_error *err)
{
	zd_nvme_queue *queue;
	int r = 0;

	*out = NULL;
	if (id >= ZD_NVME_MAX_QUEUES)
		return zd_fail(err, -EINVAL, "queue %u is beyond the last one, %d", id, ZD_NVME_MAX_QUEUES - 1);
	queue = calloc(1, sizeof(*queue));
	if (!queue)
		return zd_fail_host(err, ENOMEM, "making an NVMe queue");
	queue->controller = controller;
	queue->id = id;
	zd_under_way_list_init(&queue->commands, tell);
	pthread_mutex_lock(&controller->lock);
	if (controller->queues[id])
		r = zd_fail(err, -EEXIST, "queue %u is open", id);
	else
		controller->queues[id] = queue;
	pthread_mutex_unlock(&controller->lock);
	if (r) {
		zd_under_way_list_end(&queue->commands);
		free(queue);
		return r;
	}
	*out = queue;
	return 0;
}

void zd_nvme_queue_close(zd_nvme_queue *queue)
{
	if (!queue)
		return;
	pthread_mutex_lock(&queue->controller->lock);
	queue->controller->queues[queue->id] = NULL;
	pthread_mutex_unlock(&queue->controller->lock);
	pthread_mutex_lock(&queue->commands.lock);
	queue->commands.aborters++;
	do {
		abort_all(queue);
		if (queue->commands.aborters > 1)
			pthread_cond_wait(&queue->commands.left, &queue->commands.lock);
	} while (queue->commands.first || queue->commands.leaving || queue->commands.aborters > 1);
	pthread_mutex_unlock(&queue->commands.lock);
	zd_under_way_list_end(&queue->commands);
	free(queue);
}
