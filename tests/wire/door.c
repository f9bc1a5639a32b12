/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk in RAM behind the SCSI executor, as a shared object for tests: plain arguments in, a plain answer out. It is linked
 * with --wrap=zd_news, so that a look at the news can be an old one.
 */
#include "zoned/scsi.h"

#include "disk.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define MAX_NEXUSES 8

struct door {
	struct disk disk;
	zd_scsi_target *target;
	zd_scsi_nexus *nexuses[MAX_NEXUSES];
	struct zd_scsi_task *task; /* the last one of door_exec() */
};
struct answer {
	uint32_t status, sense_length, unanswered, zero;
	uint64_t in_length;
	int64_t residual_in, residual_out;
	uint8_t sense[ZD_SCSI_SENSE_ROOM];
};
/* A task that nobody waits for, with what it needs. */
struct given {
	struct zd_scsi_task task;
	uint8_t cdb[64];
	struct parcel parcel;
	struct answer answer; /* filled when it has ended */
};

int __real_zd_news(zd_dev *dev, struct zd_news *out, struct zd_error *err);
int __wrap_zd_news(zd_dev *dev, struct zd_news *out, struct zd_error *err);
void door_close(struct door *door);

/* News as they are now, and looks that find them later on: such are those of a thread that is slow to act on them. */
static struct zd_news old_news;
static _Atomic int looks_are_old;

int door_keep_news(struct door *door)
{
	return __real_zd_news(door->disk.dev, &old_news, NULL);
}

void door_old_looks(int on)
{
	looks_are_old = on;
}

int __wrap_zd_news(zd_dev *dev, struct zd_news *out, struct zd_error *err)
{
	if (!looks_are_old)
		return __real_zd_news(dev, out, err);
	*out = old_news;
	return 0;
}

struct door *door_open(const struct shape *shape, int *code)
{
	static const struct zd_scsi_port port = { "iqn.2026-01.test:disk,t,0x0001", 1, 5, 0 };
	struct door *door = calloc(1, sizeof(*door));

	*code = disk_open(&door->disk, shape, NULL);
	if (!*code)
		*code = zd_scsi_target_new(&port, &door->target, NULL);
	if (!*code)
		*code = zd_scsi_target_add(door->target, 0, door->disk.dev, NULL, NULL);
	if (!*code)
		return door;
	door_close(door);
	return NULL;
}

int door_login(struct door *door, int index, const char *name)
{
	return zd_scsi_nexus_open(door->target, name, strlen(name), &door->nexuses[index], NULL);
}

void door_logout(struct door *door, int index)
{
	zd_scsi_nexus_close(door->nexuses[index]);
	door->nexuses[index] = NULL;
}

void door_close(struct door *door)
{
	for (int i = 0; i < MAX_NEXUSES; i++)
		door_logout(door, i);
	zd_scsi_target_free(door->target);
	disk_close(&door->disk);
	free(door);
}

int door_reset(struct door *door, int index, const uint8_t *lun)
{
	return zd_scsi_reset(door->nexuses[index], lun);
}

static void ended(struct zd_scsi_task *task)
{
	sem_post(task->arg);
}

static struct answer answer_of(const struct zd_scsi_task *task)
{
	struct answer answer = { .status = task->status,
				 .sense_length = task->sense_length,
				 .unanswered = task->unanswered,
				 .in_length = task->in_length,
				 .residual_in = task->residual_in,
				 .residual_out = task->residual_out };

	memcpy(answer.sense, task->sense, sizeof(answer.sense));
	return answer;
}

void door_exec(struct door *door, int index, const uint8_t lun[8], const uint8_t *cdb, uint32_t cdb_length, void *out,
	       uint64_t out_length, void *in, uint64_t in_length, uint64_t cut, struct answer *answer)
{
	struct zd_scsi_task task = { .size = sizeof(task), .cdb = cdb, .cdb_length = cdb_length };
	struct exchange x;

	disk_exchange(&x, out, out_length, in, in_length, cut);
	memcpy(task.lun, lun, 8);
	task.out = x.out;
	task.in = x.in;
	task.nr_out = task.nr_in = PARTS;
	task.arg = &x.end;
	task.done = disk_is_later() ? ended : NULL;
	door->task = &task;
	zd_scsi_exec(door->nexuses[index], &task);
	disk_await(&x, task.done);
	*answer = answer_of(&task);
}

static void given_ended(struct zd_scsi_task *task)
{
	struct given *given = task->arg;

	given->answer = answer_of(task);
	given->parcel.ended++;
}

/* Hands over a task and does not wait for it. */
struct given *door_give(struct door *door, int index, const uint8_t lun[8], const uint8_t *cdb, uint32_t cdb_length,
			uint64_t tag, const void *out, uint64_t out_length, uint64_t in_length)
{
	struct given *given = calloc(1, sizeof(*given));

	memcpy(given->cdb, cdb, cdb_length < sizeof(given->cdb) ? cdb_length : sizeof(given->cdb));
	disk_parcel(&given->parcel, out, out_length, in_length);
	given->task = (struct zd_scsi_task){ .size = sizeof(given->task),
					     .cdb = given->cdb,
					     .cdb_length = cdb_length,
					     .tag = tag,
					     PARCEL_BUFFERS(given->parcel, out_length, in_length),
					     .done = given_ended,
					     .arg = given };
	memcpy(given->task.lun, lun, 8);
	zd_scsi_exec(door->nexuses[index], &given->task);
	return given;
}

/* How often it was told to have ended; then the answer and what was read are copied. */
uint32_t door_given(struct given *given, struct answer *answer, void *data, uint64_t length)
{
	uint32_t ended = given->parcel.ended;

	if (ended) {
		*answer = given->answer;
		memcpy(data, given->parcel.room, length);
	}
	return ended;
}

void door_forget(struct given *given)
{
	free(given->parcel.room);
	free(given);
}

int door_manage(struct door *door, int index, int function, const uint8_t lun[8], uint64_t tag)
{
	return zd_scsi_manage(door->nexuses[index], function, lun, tag);
}

void door_transfer(struct door *door, int index, const uint8_t lun[8], const uint8_t *cdb, uint32_t cdb_length, uint64_t *out,
		   uint64_t *in)
{
	zd_scsi_transfer(door->nexuses[index], lun, cdb, cdb_length, out, in);
}

/* A medium error of that many bytes from an offset on, for reads or for writes. */
int door_bad_block(struct door *door, int writes, uint64_t from, uint64_t length)
{
	return disk_fault(&door->disk, (struct zd_fault){ .kind = ZD_FAULT_MEDIUM,
							  .commands = writes ? 1u << ZD_CMD_WRITE : 1u << ZD_CMD_READ,
							  .last_zone = ZD_NO_ZONE,
							  .from = from,
							  .to = from + length });
}

/* Reads (0) or writes (1) hang, or are late, from now on. ns: how long; 0: for ever. limit: how many of them; 0: all. */
int door_hold(struct door *door, int command, int late, uint64_t ns, uint32_t limit)
{
	return disk_fault(&door->disk, (struct zd_fault){ .kind = late ? ZD_FAULT_LATENCY : ZD_FAULT_HANG,
							  .commands = 1u << command,
							  .last_zone = ZD_NO_ZONE,
							  .real_ns = ns,
							  .limit = limit });
}

int door_let_go(struct door *door)
{
	return zd_fault_release(door->disk.dev, 0, NULL);
}

/* The power goes and comes back at once: nobody sees the disk without it. */
int door_cycle(struct door *door)
{
	struct zd_error err;

	return zd_power_cycle(door->disk.dev, &err);
}

/* The next command of that kind finds its zone dead. */
int door_kill_zone(struct door *door, int command, uint32_t zone, int offline)
{
	return disk_fault(&door->disk, (struct zd_fault){ .kind = offline ? ZD_FAULT_OFFLINE : ZD_FAULT_READ_ONLY,
							  .commands = 1u << command,
							  .first_zone = zone,
							  .last_zone = zone,
							  .limit = 1 });
}

/* Of the task that was given last, and has not ended. */
void door_cancel(struct door *door)
{
	zd_scsi_cancel(door->task);
}
