/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands that are under way, and aborting them: what a unit of SCSI and a queue of NVMe have in common. A list has its commands
 * from the moment in which they are given until they have ended, so that whoever aborts finds them.
 *
 * Who aborts a command holds it while he does, as it may end meanwhile: then it stays in the list, and he hands it over. From when
 * it leaves the list until its owner was told, it stands among those that leave, for who waits for that too.
 */
#ifndef ZD_WIRE_UNDERWAY_H
#define ZD_WIRE_UNDERWAY_H

#include "zoned/request.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

/* A command that has left the list, and whose owner is being told. The first member of what others look at of it. */
struct zd_leaving {
	struct zd_leaving *next;
};

struct zd_under_way_list {
	pthread_mutex_t lock; /* of what follows; no other lock is taken under it */
	pthread_cond_t left;  /* a command has left the list, or is held no longer */
	struct zd_under_way *first, **last;
	struct zd_leaving *leaving;
	uint64_t next_serial;
	uint32_t aborters;                     /* who look at it and its commands from elsewhere */
	void (*tell)(struct zd_under_way *it); /* its owner, whose it is again; under no lock */
};

static inline void zd_under_way_list_init(struct zd_under_way_list *list, void (*tell)(struct zd_under_way *it))
{
	pthread_mutex_init(&list->lock, NULL);
	pthread_cond_init(&list->left, NULL);
	list->first = NULL;
	list->last = &list->first;
	list->leaving = NULL;
	list->next_serial = 0;
	list->aborters = 0;
	list->tell = tell;
}

static inline void zd_under_way_list_end(struct zd_under_way_list *list)
{
	pthread_mutex_destroy(&list->lock);
	pthread_cond_destroy(&list->left);
}

static inline void zd_under_way_enter(struct zd_under_way_list *list, struct zd_under_way *it)
{
	pthread_mutex_lock(&list->lock);
	it->serial = list->next_serial++;
	it->link = list->last;
	it->after = NULL;
	*list->last = it;
	list->last = &it->after;
	pthread_mutex_unlock(&list->lock);
}

/* Under the lock. */
static inline void zd_under_way_take_out(struct zd_under_way_list *list, struct zd_under_way *it)
{
	*it->link = it->after;
	if (it->after)
		it->after->link = it->link;
	else
		list->last = it->link;
	if (list->aborters)
		pthread_cond_broadcast(&list->left);
}

/* Under the lock, which it leaves. */
static inline void zd_under_way_hand_over(struct zd_under_way_list *list, struct zd_under_way *it, struct zd_leaving *me)
{
	struct zd_leaving **at;

	me->next = list->leaving;
	list->leaving = me;
	pthread_mutex_unlock(&list->lock);
	list->tell(it);
	pthread_mutex_lock(&list->lock);
	for (at = &list->leaving; *at != me; at = &(*at)->next)
		;
	*at = me->next;
	if (list->aborters)
		pthread_cond_broadcast(&list->left);
	pthread_mutex_unlock(&list->lock);
}

/* It has ended. told: its owner is to be told, here or by who holds it. */
static inline void zd_under_way_leave(struct zd_under_way_list *list, struct zd_under_way *it, bool told, struct zd_leaving *me)
{
	pthread_mutex_lock(&list->lock);
	it->ended = 1;
	if (it->held && told) {
		pthread_mutex_unlock(&list->lock); /* who holds it hands it over */
		return;
	}
	while (it->held)
		pthread_cond_wait(&list->left, &list->lock);
	zd_under_way_take_out(list, it);
	if (told)
		zd_under_way_hand_over(list, it, me);
	else
		pthread_mutex_unlock(&list->lock);
}

/* Under the lock, which it leaves: who aborts a command cancels it now. */
static inline void zd_under_way_hold(struct zd_under_way_list *list, struct zd_under_way *it)
{
	it->aborted = it->held = 1;
	pthread_mutex_unlock(&list->lock);
}

/* Under the lock, which it leaves for a while. The command may be gone afterwards. */
static inline void zd_under_way_let_go(struct zd_under_way_list *list, struct zd_under_way *it, bool told,
				       struct zd_leaving *me)
{
	it->held = 0;
	if (it->ended && told) {
		zd_under_way_take_out(list, it);
		zd_under_way_hand_over(list, it, me);
		pthread_mutex_lock(&list->lock);
	} else {
		pthread_cond_broadcast(&list->left); /* who waits for its end in zd_under_way_leave() */
	}
}

#endif
