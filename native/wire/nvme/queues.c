/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands that are under way, and aborting them. A queue lists its commands from the moment in which they are given until they
 * have ended, so that an ABORT finds them.
 *
 * Who aborts a command holds it while he does, as it may end meanwhile: then it stays in the list, and he hands it over.
 *
 * Several may abort at once: an ABORT, a reset of the controller, who closes the queue. Each waits for commands, and none for
 * another one who waits, but for him who closes: he waits for all, as the queue is gone behind him. So whoever comes to a queue by
 * its controller counts himself in while he holds the controller's lock, without which nobody closes it.
 */
#include "wire/nvme/nvme.h"

#include "base/base.h"

#include <stdlib.h>

#define ABORT_OPCODE 0x08

void zd_nvme_enter(struct zd_nvme_command *command)
{
	zd_nvme_queue *queue = command->queue;

	pthread_mutex_lock(&queue->lock);
	command->link = queue->last;
	command->after = NULL;
	*queue->last = command;
	queue->last = &command->after;
	pthread_mutex_unlock(&queue->lock);
}

/* Under the lock. */
static void take_out(struct zd_nvme_command *command)
{
	zd_nvme_queue *queue = command->queue;

	*command->link = command->after;
	if (command->after)
		command->after->link = command->link;
	else
		queue->last = command->link;
	if (queue->aborters)
		pthread_cond_broadcast(&queue->left);
}

/* A command that has left the list, and whose owner is being told. */
struct zd_nvme_leaving {
	struct zd_nvme_leaving *next;
};

/* Under the lock, which it leaves. The command is its owner's again. */
static void hand_over(zd_nvme_queue *queue, struct zd_nvme_command *command)
{
	struct zd_nvme_leaving me = { queue->leaving }, **at;

	if (queue->deleters && command->status == ZD_NVME_ABORT_REQUESTED)
		command->status = ZD_NVME_QUEUE_DELETED | ZD_NVME_DO_NOT_RETRY;
	queue->leaving = &me;
	pthread_mutex_unlock(&queue->lock);
	command->done(command);
	pthread_mutex_lock(&queue->lock);
	for (at = &queue->leaving; *at != &me; at = &(*at)->next)
		;
	*at = me.next;
	if (queue->aborters)
		pthread_cond_broadcast(&queue->left);
	pthread_mutex_unlock(&queue->lock);
}

void zd_nvme_leave(struct zd_nvme_command *command)
{
	zd_nvme_queue *queue = command->queue;

	pthread_mutex_lock(&queue->lock);
	command->ended = 1;
	if (command->held && command->done) {
		pthread_mutex_unlock(&queue->lock); /* who holds it hands it over */
		return;
	}
	while (command->held)
		pthread_cond_wait(&queue->left, &queue->lock);
	take_out(command);
	if (command->done)
		hand_over(queue, command);
	else
		pthread_mutex_unlock(&queue->lock);
}

/* ---------------------------------------------------------------- aborting */

/* Under the lock, which it leaves for a while. Whether it ended as one that was aborted. It may be gone afterwards. */
static bool abort_one(zd_nvme_queue *queue, struct zd_nvme_command *command)
{
	bool aborted;

	command->aborted = command->held = 1;
	pthread_mutex_unlock(&queue->lock);
	zd_nvme_cancel(command);
	pthread_mutex_lock(&queue->lock);
	command->held = 0;
	aborted = command->ended && command->status == ZD_NVME_ABORT_REQUESTED;
	if (command->ended && command->done) {
		take_out(command);
		hand_over(queue, command);
		pthread_mutex_lock(&queue->lock);
	} else {
		pthread_cond_broadcast(&queue->left); /* who waits for its end in zd_nvme_leave() */
	}
	return aborted;
}

/* The queue of that number; its lock is held, and the caller is one of its aborters. NULL: there is none. */
static zd_nvme_queue *come_to(zd_nvme_controller *controller, uint32_t id)
{
	zd_nvme_queue *queue;

	pthread_mutex_lock(&controller->lock);
	queue = id < ZD_NVME_MAX_QUEUES ? controller->queues[id] : NULL;
	if (queue) {
		pthread_mutex_lock(&queue->lock);
		queue->aborters++;
	}
	pthread_mutex_unlock(&controller->lock);
	return queue;
}

/* Under the lock, which it leaves for good: behind it the queue may be gone. */
static void go_from(zd_nvme_queue *queue)
{
	queue->aborters--;
	pthread_cond_broadcast(&queue->left);
	pthread_mutex_unlock(&queue->lock);
}

/* Under the lock: until all commands have ended. */
static void abort_all(zd_nvme_queue *queue)
{
	struct zd_nvme_command *command;

	queue->deleters++;
	while (queue->commands || queue->leaving) {
		for (command = queue->commands; command && command->aborted; command = command->after)
			;
		if (command)
			abort_one(queue, command);
		else
			pthread_cond_wait(&queue->left, &queue->lock);
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
	for (found = queue->commands; found; found = found->after)
		if (get16le(found->sqe + 2) == cid && !found->aborted && !(id == 0 && found->sqe[0] == ABORT_OPCODE))
			break;
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
	queue->last = &queue->commands;
	pthread_mutex_init(&queue->lock, NULL);
	pthread_cond_init(&queue->left, NULL);
	pthread_mutex_lock(&controller->lock);
	if (controller->queues[id])
		r = zd_fail(err, -EEXIST, "queue %u is open", id);
	else
		controller->queues[id] = queue;
	pthread_mutex_unlock(&controller->lock);
	if (r) {
		pthread_mutex_destroy(&queue->lock);
		pthread_cond_destroy(&queue->left);
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
	pthread_mutex_lock(&queue->lock);
	queue->aborters++;
	do {
		abort_all(queue);
		if (queue->aborters > 1)
			pthread_cond_wait(&queue->left, &queue->lock);
	} while (queue->commands || queue->leaving || queue->aborters > 1);
	pthread_mutex_unlock(&queue->lock);
	pthread_mutex_destroy(&queue->lock);
	pthread_cond_destroy(&queue->left);
	free(queue);
}
