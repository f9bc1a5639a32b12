/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tasks that are under way, and task management (SAM-5 7). A unit lists its tasks from the moment in which they are given until
 * they have ended, so that whoever aborts finds them, whichever nexus they are of.
 *
 * Who aborts a task holds it while he does, as it may end meanwhile: then it stays in the list, and he hands it over.
 */
#include "wire/scsi/scsi.h"

#include <errno.h>

void zd_scsi_enter(struct zd_scsi_task *task)
{
	struct zd_scsi_lu *unit = task->unit;

	pthread_mutex_lock(&unit->tasks_lock);
	task->serial = unit->next_serial++;
	task->link = unit->last_task;
	task->after = NULL;
	*unit->last_task = task;
	unit->last_task = &task->after;
	pthread_mutex_unlock(&unit->tasks_lock);
}

/* Under the lock. */
static void take_out(struct zd_scsi_task *task)
{
	struct zd_scsi_lu *unit = task->unit;

	*task->link = task->after;
	if (task->after)
		task->after->link = task->link;
	else
		unit->last_task = task->link;
	if (unit->aborters)
		pthread_cond_broadcast(&unit->left);
}

/* A task that has left the list, and whose owner is being told: what of it is aimed at. */
struct zd_scsi_leaving {
	const zd_scsi_nexus *nexus;
	uint64_t tag, serial;
	struct zd_scsi_leaving *next;
};

/* Under the lock, which it leaves. The task is its owner's again. */
static void hand_over(struct zd_scsi_lu *unit, struct zd_scsi_task *task)
{
	struct zd_scsi_leaving me = { task->nexus, task->tag, task->serial, unit->leaving }, **at;

	unit->leaving = &me;
	pthread_mutex_unlock(&unit->tasks_lock);
	task->done(task);
	pthread_mutex_lock(&unit->tasks_lock);
	for (at = &unit->leaving; *at != &me; at = &(*at)->next)
		;
	*at = me.next;
	if (unit->aborters)
		pthread_cond_broadcast(&unit->left);
	pthread_mutex_unlock(&unit->tasks_lock);
}

void zd_scsi_leave(struct zd_scsi_task *task)
{
	struct zd_scsi_lu *unit = task->unit;

	pthread_mutex_lock(&unit->tasks_lock);
	task->ended = 1;
	if (task->held && task->done) {
		pthread_mutex_unlock(&unit->tasks_lock); /* who holds it hands it over */
		return;
	}
	while (task->held)
		pthread_cond_wait(&unit->left, &unit->tasks_lock);
	take_out(task);
	if (task->done)
		hand_over(unit, task);
	else
		pthread_mutex_unlock(&unit->tasks_lock);
}

/* ---------------------------------------------------------------- aborting */

static bool is_aimed_at(const struct zd_scsi_aim *aim, const zd_scsi_nexus *nexus, uint64_t tag, uint64_t serial)
{
	return serial < aim->before && (!aim->nexus || nexus == aim->nexus) &&
	       (!aim->whose || zd_scsi_same_initiator(nexus, aim->whose)) && (!aim->tag || tag == *aim->tag);
}

/* Under the lock, which it leaves for a while. The task may be gone afterwards. */
static void abort_one(struct zd_scsi_lu *unit, const struct zd_scsi_aim *aim, struct zd_scsi_task *task)
{
	task->aborted = task->held = 1;
	if (task->nexus == aim->quietly)
		task->unanswered = 1;
	pthread_mutex_unlock(&unit->tasks_lock);
	zd_scsi_cancel(task);
	pthread_mutex_lock(&unit->tasks_lock);
	task->held = 0;
	if (task->ended && task->done) {
		take_out(task);
		hand_over(unit, task);
		pthread_mutex_lock(&unit->tasks_lock);
	} else {
		pthread_cond_broadcast(&unit->left); /* who waits for its end in zd_scsi_leave() */
	}
}

/* Under the lock: the first task that is still to be aborted, or NULL; *waits: others have not ended. */
static struct zd_scsi_task *next_target(const struct zd_scsi_lu *unit, const struct zd_scsi_aim *aim, bool *waits)
{
	*waits = false;
	for (struct zd_scsi_task *task = unit->tasks; task; task = task->after) {
		if (task == aim->by || !is_aimed_at(aim, task->nexus, task->tag, task->serial))
			continue;
		if (!task->aborted)
			return task;
		/* Two tasks that abort each other's would wait for ever. */
		*waits = *waits || !(aim->by && task->aborts);
	}
	/* Nor does a task wait for `done`, in which it may have been given. */
	for (const struct zd_scsi_leaving *it = aim->by ? NULL : unit->leaving; it; it = it->next)
		*waits = *waits || is_aimed_at(aim, it->nexus, it->tag, it->serial);
	return NULL;
}

uint32_t zd_scsi_abort(struct zd_scsi_lu *unit, struct zd_scsi_aim aim)
{
	struct zd_scsi_task *task;
	uint32_t found = 0;
	bool waits;

	pthread_mutex_lock(&unit->tasks_lock);
	aim.before = unit->next_serial;
	unit->aborters++;
	if (aim.by) {
		aim.by->aborts = 1;
		pthread_cond_broadcast(&unit->left);
	}
	while ((task = next_target(unit, &aim, &waits)) || waits) {
		if (task) {
			found++;
			abort_one(unit, &aim, task);
		} else {
			pthread_cond_wait(&unit->left, &unit->tasks_lock);
		}
	}
	unit->aborters--;
	pthread_mutex_unlock(&unit->tasks_lock);
	return found;
}

int zd_scsi_manage(zd_scsi_nexus *nexus, int function, const uint8_t lun[8], uint64_t tag)
{
	struct zd_scsi_lu *unit;

	if (function == ZD_SCSI_TARGET_WARM_RESET || function == ZD_SCSI_TARGET_COLD_RESET)
		return zd_scsi_reset(nexus, NULL);
	unit = zd_scsi_unit(nexus, lun);
	if (!unit)
		return -ENXIO;
	switch (function) {
	case ZD_SCSI_ABORT_TASK:
		return zd_scsi_abort(unit, (struct zd_scsi_aim){ .nexus = nexus, .quietly = nexus, .tag = &tag }) ? 0 : -ENOENT;
	case ZD_SCSI_ABORT_TASK_SET:
		zd_scsi_abort(unit, (struct zd_scsi_aim){ .nexus = nexus, .quietly = nexus });
		return 0;
	case ZD_SCSI_CLEAR_TASK_SET:
		zd_scsi_abort(unit, (struct zd_scsi_aim){ .quietly = nexus });
		return 0;
	case ZD_SCSI_LUN_RESET:
		return zd_scsi_reset(nexus, lun);
	default:
		return -EOPNOTSUPP;
	}
}
