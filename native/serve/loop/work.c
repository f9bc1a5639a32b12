/* SPDX-License-Identifier: Apache-2.0 */
/* Commands that a thread has under way: who carries one out, and what becomes of those that end in another thread. */
#include "serve/loop/loop.h"

#include <stddef.h>

/* The one that this thread is carrying out, until it has ended. */
static _Thread_local struct zd_work *here;

void zd_desk_init(struct zd_desk *desk, const struct zd_desk_ops *ops)
{
	desk->ops = ops;
	desk->ended = NULL;
	pthread_mutex_init(&desk->lock, NULL);
	zd_helper_init(&desk->helper);
}

void zd_desk_close(struct zd_desk *desk)
{
	pthread_mutex_destroy(&desk->lock);
}

static void by_helper(struct zd_job *job)
{
	struct zd_work *work = (struct zd_work *)((uint8_t *)job - offsetof(struct zd_work, job));

	work->desk->ops->by_helper(work);
}

bool zd_work_begin(struct zd_work *work, struct zd_desk *desk, bool slow)
{
	work->desk = desk;
	work->job.run = by_helper;
	if (slow && !zd_helper_give(&desk->helper, &work->job))
		return false; /* where there is no thread to be had: here, then */
	here = work;
	desk->ops->carry_out(work);
	if (here != work)
		return true;
	here = NULL;
	return false;
}

/* Under the lock to the last: the desk's thread takes it before it forgets what has ended, and may then end. */
static void put(struct zd_work *work)
{
	struct zd_desk *desk = work->desk;

	pthread_mutex_lock(&desk->lock);
	work->next = desk->ended;
	desk->ended = work;
	desk->ops->wake(desk);
	pthread_mutex_unlock(&desk->lock);
}

void zd_work_ended(struct zd_work *work)
{
	if (here == work)
		here = NULL;
	else
		put(work);
}

struct zd_work *zd_desk_take(struct zd_desk *desk)
{
	struct zd_work *work;

	pthread_mutex_lock(&desk->lock);
	work = desk->ended;
	desk->ended = NULL;
	pthread_mutex_unlock(&desk->lock);
	return work;
}
