/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Initiators in threads of their own give tasks that fault rules hold up, and abort each other's: by tag, as task sets, by
 * resets, by preempting and by logging out. Each task must end exactly once, and none may be left.
 *
 * stress_scsi SECONDS
 */
#include "zoned/scsi.h"

#include "testing.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

#define NEXUSES 4
#define TASKS 16
#define BLOCK 4096u
#define LONG (16 * BLOCK)

struct slot {
	struct zd_scsi_task task;
	struct iovec iov;
	uint8_t cdb[16], list[24], data[2 * BLOCK];
	_Atomic uint32_t ends;
	bool given;
};
struct initiator {
	zd_scsi_target *target;
	uint32_t number;
	uint64_t rng;
	struct slot slots[TASKS];
	uint64_t tasks, aborted, functions;
};

static _Atomic bool over;

static void ended(struct zd_scsi_task *task)
{
	struct slot *slot = task->arg;

	CLAIM(atomic_fetch_add(&slot->ends, 1) == 0);
}

/* A read, a write, a swap, a flush, a registration or a preemption with abort, of whatever answer. */
static void make(struct initiator *me, struct slot *slot)
{
	static const uint8_t opcodes[] = { 0x28, 0x2A, 0x35, 0x2F, 0x28, 0x2A };
	uint32_t what = draw_of(&me->rng, 10);

	memset(slot->cdb, 0, sizeof(slot->cdb));
	memset(slot->list, 0, sizeof(slot->list));
	slot->task = (struct zd_scsi_task){ .size = sizeof(slot->task), .cdb = slot->cdb, .arg = slot, .done = ended };
	slot->task.tag = (uint64_t)(slot - me->slots);
	if (what < 6) {
		slot->cdb[0] = opcodes[what];
		slot->cdb[5] = (uint8_t)draw_of(&me->rng, 16);
		slot->cdb[8] = 1;
		slot->task.cdb_length = 10;
		slot->iov = (struct iovec){ slot->data, BLOCK };
	} else if (what == 6) {
		slot->cdb[0] = 0x89;
		slot->cdb[9] = (uint8_t)draw_of(&me->rng, 16);
		slot->cdb[13] = 1;
		slot->task.cdb_length = 16;
		slot->iov = (struct iovec){ slot->data, 2 * BLOCK };
	} else {
		slot->cdb[0] = 0x5F;
		slot->cdb[1] = what == 7 ? 0x05 : 0x06; /* PREEMPT AND ABORT; REGISTER AND IGNORE EXISTING KEY */
		slot->cdb[2] = 0x05;
		slot->cdb[8] = sizeof(slot->list);
		slot->list[7] = (uint8_t)(1 + me->number);
		slot->list[15] = (uint8_t)(1 + (what == 7 ? draw_of(&me->rng, NEXUSES) : me->number));
		slot->task.cdb_length = 10;
		slot->iov = (struct iovec){ slot->list, sizeof(slot->list) };
	}
	if (slot->cdb[0] == 0x28) {
		slot->task.in = &slot->iov;
		slot->task.nr_in = 1;
	} else {
		slot->task.out = &slot->iov;
		slot->task.nr_out = slot->cdb[0] == 0x35 || slot->cdb[0] == 0x2F ? 0 : 1;
	}
}

static void collect(struct initiator *me, struct slot *slot)
{
	if (!slot->given || !atomic_load(&slot->ends))
		return;
	me->tasks++;
	me->aborted += slot->task.status == ZD_SCSI_TASK_ABORTED;
	slot->given = false;
}

static void manage(struct initiator *me, zd_scsi_nexus *nexus)
{
	static const int functions[] = { ZD_SCSI_ABORT_TASK, ZD_SCSI_ABORT_TASK,     ZD_SCSI_ABORT_TASK_SET,
					 ZD_SCSI_ABORT_TASK, ZD_SCSI_CLEAR_TASK_SET, ZD_SCSI_LUN_RESET };
	uint8_t lun[8] = { 0 };
	uint32_t tag = draw_of(&me->rng, TASKS);
	int function = functions[draw_of(&me->rng, 6)];
	int r;

	if (function == ZD_SCSI_LUN_RESET && draw_of(&me->rng, 2))
		r = zd_scsi_reset(nexus, draw_of(&me->rng, 2) ? lun : NULL);
	else
		r = zd_scsi_manage(nexus, function, lun, tag);

	CLAIM(r == 0 || (r == -ENOENT && function == ZD_SCSI_ABORT_TASK));
	/* What this nexus gave before has ended. */
	for (uint32_t i = 0; i < TASKS; i++)
		if (me->slots[i].given && (function != ZD_SCSI_ABORT_TASK || i == tag))
			CLAIM(atomic_load(&me->slots[i].ends) == 1);
	me->functions++;
}

static void *initiate(void *arg)
{
	struct initiator *me = arg;
	zd_scsi_nexus *nexus = NULL;
	uint64_t sends, gets;

	while (!over) {
		struct slot *slot = &me->slots[draw_of(&me->rng, TASKS)];

		if (!nexus)
			CLAIM(zd_scsi_nexus_open(me->target, &me->number, sizeof(me->number), &nexus, NULL) == 0);
		collect(me, slot);
		if (!slot->given) {
			make(me, slot);
			atomic_store(&slot->ends, 0);
			slot->given = true;
			zd_scsi_transfer(nexus, slot->task.lun, slot->cdb, slot->task.cdb_length, &sends, &gets);
			CLAIM(sends <= sizeof(slot->data) && gets <= sizeof(slot->data));
			zd_scsi_exec(nexus, &slot->task);
		} else if (draw_of(&me->rng, 16) == 0) {
			zd_scsi_cancel(&slot->task);
		} else if (draw_of(&me->rng, 8) == 0) {
			manage(me, nexus);
		} else if (draw_of(&me->rng, 100) == 0) {
			zd_scsi_nexus_close(nexus);
			nexus = NULL;
			for (uint32_t i = 0; i < TASKS; i++)
				CLAIM(!me->slots[i].given || atomic_load(&me->slots[i].ends) == 1);
		}
	}
	zd_scsi_nexus_close(nexus);
	for (uint32_t i = 0; i < TASKS; i++) {
		CLAIM(!me->slots[i].given || atomic_load(&me->slots[i].ends) == 1);
		collect(me, &me->slots[i]);
	}
	return NULL;
}

/* A long read, in the task's own buffer or pinned. */
static const uint8_t *read_long(zd_scsi_nexus *nexus, struct zd_scsi_task *task, uint32_t lba, uint8_t *room,
				struct zd_pin *pin)
{
	const uint8_t cdb[10] = { 0x28, 0, 0, 0, (uint8_t)(lba >> 8), (uint8_t)lba, 0, 0, LONG / BLOCK, 0 };
	struct iovec iov = { room, LONG };

	*pin = (struct zd_pin){ 0 };
	*task = (struct zd_scsi_task){ .size = sizeof(*task), .cdb = cdb, .cdb_length = sizeof(cdb), .in = &iov, .nr_in = 1 };
	task->pin = pin;
	zd_scsi_exec(nexus, task);
	CLAIM(task->status == ZD_SCSI_GOOD && task->in_length == LONG);
	return pin->length ? pin->at : room;
}

/* What a long read of a sequential zone found stays where it is, whatever becomes of the zone; of others it is copied. */
static void pins(zd_dev *dev, zd_scsi_target *target)
{
	static uint8_t data[LONG], later[LONG], room[LONG];
	const uint64_t zone = 1 << 20;
	struct zd_scsi_task task;
	zd_scsi_nexus *nexus;
	const uint8_t *at;
	struct zd_pin pin;
	struct iovec none;

	memset(data, 1, LONG);
	memset(later, 2, LONG);
	CLAIM(zd_scsi_nexus_open(target, &zone, sizeof(zone), &nexus, NULL) == 0);
	none = (struct iovec){ room, 0 };
	task = (struct zd_scsi_task){ .size = sizeof(task), .cdb = room, .cdb_length = 6, .in = &none };
	zd_scsi_exec(nexus, &task); /* TEST UNIT READY takes the news of the power */
	CLAIM(zd_pwrite(dev, data, LONG, 0, NULL) == LONG && zd_pwrite(dev, data, LONG, 5 * zone, NULL) == LONG);
	at = read_long(nexus, &task, 0, room, &pin);
	CLAIM(at == room && memcmp(at, data, LONG) == 0);
	zd_scsi_unpin(&task); /* there is none */
	at = read_long(nexus, &task, (uint32_t)(5 * zone / BLOCK), room, &pin);
	CLAIM(at != room && pin.length == LONG && memcmp(at, data, LONG) == 0);
	CLAIM(zd_zone_mgmt(dev, ZD_CMD_RESET, 5, 1, NULL) >= 0 && zd_pwrite(dev, later, LONG, 5 * zone, NULL) == LONG);
	CLAIM(memcmp(at, data, LONG) == 0);
	zd_scsi_unpin(&task);
	CLAIM(!pin.length);
	zd_scsi_unpin(&task);
	at = read_long(nexus, &task, (uint32_t)(5 * zone / BLOCK), room, &pin);
	CLAIM(at != room && memcmp(at, later, LONG) == 0);
	zd_scsi_unpin(&task);
	CLAIM(zd_zone_mgmt(dev, ZD_CMD_RESET, 5, 1, NULL) >= 0);
	zd_scsi_nexus_close(nexus);
}

int main(int argc, char **argv)
{
	struct zd_range conv = { 0, 4 };
	struct zd_config config = config_of(8 << 20, 1 << 20, &conv);
	const struct timespec time = { argc > 1 ? atoi(argv[1]) : 1, 0 };
	static struct initiator initiators[NEXUSES];
	uint64_t tasks = 0, aborted = 0, functions = 0;
	pthread_t threads[NEXUSES];
	struct zd_scsi_command_info command;
	zd_scsi_target *target;
	zd_dev *dev;

	for (uint32_t i = 0; zd_scsi_command_at(i, &command) == 0; i++)
		CLAIM(command.name && command.usage[0] == command.opcode);
	config.slot_cache = UINT64_MAX;
	config.unrestricted_read = 1;
	CLAIM(zd_create(NULL, &config, 0, &dev, NULL) == 0);
	CLAIM(zd_scsi_target_new(NULL, &target, NULL) == 0);
	CLAIM(zd_scsi_target_add(target, 0, dev, NULL, NULL) == 0);
	pins(dev, target);
	hold_up(dev, ZD_FAULT_HANG, 1, 0, 1u << ZD_CMD_READ);
	hold_up(dev, ZD_FAULT_LATENCY, 2, 300000, 1u << ZD_CMD_READ | 1u << ZD_CMD_WRITE | 1u << ZD_CMD_FLUSH);
	for (uint32_t i = 0; i < NEXUSES; i++) {
		initiators[i].target = target;
		initiators[i].number = i;
		initiators[i].rng = 77 + i;
		CLAIM(pthread_create(&threads[i], NULL, initiate, &initiators[i]) == 0);
	}
	nanosleep(&time, NULL);
	over = true;
	for (uint32_t i = 0; i < NEXUSES; i++) {
		pthread_join(threads[i], NULL);
		tasks += initiators[i].tasks;
		aborted += initiators[i].aborted;
		functions += initiators[i].functions;
	}
	CLAIM(tasks && aborted && functions);
	zd_scsi_target_free(target);
	CLAIM(zd_close(dev, NULL) == 0);
	printf("%llu tasks, %llu aborted, by %llu functions\n", (unsigned long long)tasks, (unsigned long long)aborted,
	       (unsigned long long)functions);
	return 0;
}
