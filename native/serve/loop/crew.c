/* SPDX-License-Identifier: Apache-2.0 */
/* Threads of a server. Signals from outside are the process's: none of them takes any. */
#include "serve/loop/loop.h"

#include <signal.h>

#define STACK (1u << 20) /* nothing here keeps data on the stack; only touched pages cost */

static int start(pthread_t *thread, bool detached, void *(*function)(void *arg), void *arg)
{
	sigset_t all, before;
	pthread_attr_t how;
	int r;

	if (pthread_attr_init(&how))
		return -ENOMEM;
	pthread_attr_setstacksize(&how, STACK);
	if (detached)
		pthread_attr_setdetachstate(&how, PTHREAD_CREATE_DETACHED);
	sigfillset(&all);
	sigdelset(&all, SIGBUS); /* of a thread's own doing */
	sigdelset(&all, SIGSEGV);
	sigdelset(&all, SIGFPE);
	sigdelset(&all, SIGILL);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(thread, &how, function, arg);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&how);
	return -r;
}

void zd_crew_init(struct zd_crew *crew)
{
	pthread_mutex_init(&crew->lock, NULL);
	pthread_cond_init(&crew->ended, NULL);
	crew->count = 0;
}

int zd_crew_start(struct zd_crew *crew, void *(*function)(void *arg), void *arg)
{
	pthread_t thread;
	int r;

	pthread_mutex_lock(&crew->lock);
	r = start(&thread, true, function, arg);
	if (!r)
		crew->count++;
	pthread_mutex_unlock(&crew->lock);
	return r;
}

void zd_crew_leave(struct zd_crew *crew)
{
	pthread_mutex_lock(&crew->lock);
	if (!--crew->count)
		pthread_cond_broadcast(&crew->ended);
	pthread_mutex_unlock(&crew->lock);
}

void zd_crew_end(struct zd_crew *crew)
{
	pthread_mutex_lock(&crew->lock);
	while (crew->count)
		pthread_cond_wait(&crew->ended, &crew->lock);
	pthread_mutex_unlock(&crew->lock);
	pthread_cond_destroy(&crew->ended);
	pthread_mutex_destroy(&crew->lock);
}

/* ---------------------------------------------------------------- a helper */

void zd_helper_init(struct zd_helper *helper)
{
	pthread_mutex_init(&helper->lock, NULL);
	pthread_cond_init(&helper->given, NULL);
	helper->first = NULL;
	helper->last = &helper->first;
	helper->started = helper->ending = false;
}

static void *help(void *arg)
{
	struct zd_helper *helper = arg;

	pthread_mutex_lock(&helper->lock);
	for (;;) {
		struct zd_job *job = helper->first;

		if (!job && helper->ending)
			break;
		if (!job) {
			pthread_cond_wait(&helper->given, &helper->lock);
			continue;
		}
		helper->first = job->next;
		if (!helper->first)
			helper->last = &helper->first;
		pthread_mutex_unlock(&helper->lock);
		job->run(job);
		pthread_mutex_lock(&helper->lock);
	}
	pthread_mutex_unlock(&helper->lock);
	return NULL;
}

int zd_helper_give(struct zd_helper *helper, struct zd_job *job)
{
	int r = 0;

	pthread_mutex_lock(&helper->lock);
	if (!helper->started) {
		r = start(&helper->thread, false, help, helper);
		helper->started = !r;
	}
	if (!r) {
		job->next = NULL;
		*helper->last = job;
		helper->last = &job->next;
		pthread_cond_signal(&helper->given);
	}
	pthread_mutex_unlock(&helper->lock);
	return r;
}

void zd_helper_end(struct zd_helper *helper)
{
	pthread_mutex_lock(&helper->lock);
	helper->ending = true;
	pthread_cond_signal(&helper->given);
	pthread_mutex_unlock(&helper->lock);
	if (helper->started)
		pthread_join(helper->thread, NULL);
	pthread_cond_destroy(&helper->given);
	pthread_mutex_destroy(&helper->lock);
}
