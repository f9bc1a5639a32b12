/* SPDX-License-Identifier: Apache-2.0 */
/* Tasks that are under way (wire/underway.h), and task management (SAM-5 7): whoever aborts finds them, whichever nexus they are of. */
#include "wire/scsi/scsi.h"

#include <errno.h>

static struct zd_scsi_task *task_of(struct zd_under_way *it)
{
	return (struct zd_scsi_task *)((uint8_t *)it - offsetof(struct zd_scsi_task, under_way));
}

static void tell(struct zd_under_way *it)
{
	struct zd_scsi_task *task = task_of(it);

	task->done(task);
}

void zd_scsi_tasks_init(struct zd_scsi_lu *unit)
{
	zd_under_way_list_init(&unit->tasks, tell);
}

void zd_scsi_enter(struct zd_scsi_task *task)
{
	zd_under_way_enter(&task->unit->tasks, &task->under_way);
}

/* What of a task that leaves is aimed at. */
struct leaving {
	struct zd_leaving leaving;
	const zd_scsi_nexus *nexus;
	uint64_t tag, serial;
};

static struct leaving leaving_of(const struct zd_scsi_task *task)
{
	return (struct leaving){ { NULL }, task->nexus, task->tag, task->under_way.serial };
}

void zd_scsi_leave(struct zd_scsi_task *task)
{
	struct leaving me = leaving_of(task);

	zd_under_way_leave(&task->unit->tasks, &task->under_way, task->done != NULL, &me.leaving);
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
	struct leaving me = leaving_of(task);

	if (task->nexus == aim->quietly)
		task->unanswered = 1;
	zd_under_way_hold(&unit->tasks, &task->under_way);
	zd_scsi_cancel(task);
	pthread_mutex_lock(&unit->tasks.lock);
	zd_under_way_let_go(&unit->tasks, &task->under_way, task->done != NULL, &me.leaving);
}

/* Under the lock: the first task that is still to be aborted, or NULL; *waits: others have not ended. */
static struct zd_scsi_task *next_target(const struct zd_scsi_lu *unit, const struct zd_scsi_aim *aim, bool *waits)
{
	*waits = false;
	for (struct zd_under_way *it = unit->tasks.first; it; it = it->after) {
		struct zd_scsi_task *task = task_of(it);

		if (task == aim->by || !is_aimed_at(aim, task->nexus, task->tag, it->serial))
			continue;
		if (!it->aborted)
			return task;
		/* Two tasks that abort each other's would wait for ever. */
		*waits = *waits || !(aim->by && task->aborts);
	}
	/* Nor does a task wait for `done`, in which it may have been given. */
	for (const struct zd_leaving *it = aim->by ? NULL : unit->tasks.leaving; it; it = it->next) {
		const struct leaving *gone = (const struct leaving *)it;

		*waits = *waits || is_aimed_at(aim, gone->nexus, gone->tag, gone->serial);
	}
	return NULL;
}

uint32_t zd_scsi_abort(struct zd_scsi_lu *unit, struct zd_scsi_aim aim)
{
	struct zd_scsi_task *task;
	uint32_t found = 0;
	bool waits;

	pthread_mutex_lock(&unit->tasks.lock);
	aim.before = unit->tasks.next_serial;
	unit->tasks.aborters++;
	if (aim.by) {
		aim.by->aborts = 1;
		pthread_cond_broadcast(&unit->tasks.left);
	}
	while ((task = next_target(unit, &aim, &waits)) || waits) {
		if (task) {
			found++;
			abort_one(unit, &aim, task);
		} else {
			pthread_cond_wait(&unit->tasks.left, &unit->tasks.lock);
		}
	}
	unit->tasks.aborters--;
	pthread_mutex_unlock(&unit->tasks.lock);
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
	case ZD_SCSI_ABORT_TASK_SET: zd_scsi_abort(unit, (struct zd_scsi_aim){ .nexus = nexus, .quietly = nexus }); return 0;
	case ZD_SCSI_CLEAR_TASK_SET: zd_scsi_abort(unit, (struct zd_scsi_aim){ .quietly = nexus }); return 0;
	case ZD_SCSI_LUN_RESET: return zd_scsi_reset(nexus, lun);
	default: return -EOPNOTSUPP;
	}
}
