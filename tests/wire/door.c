/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk in RAM behind the SCSI executor, as a shared object for tests: plain arguments in, a plain answer out. It is linked
 * with --wrap=zd_submit, so that requests can be made to end later and in another thread, as those that are held up do.
 */
#include "zoned/scsi.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define MAX_NEXUSES 8

struct door {
	zd_dev *dev;
	zd_scsi_target *target;
	zd_scsi_nexus *nexuses[MAX_NEXUSES];
	struct zd_scsi_task *task; /* the last one of door_exec() */
};
struct shape {
	uint64_t size, zone_size, zone_capacity;
	uint32_t logical_block, physical_block, max_open, nr_conv;
	uint32_t model, unrestricted_read, dialect;
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
	struct iovec in, out;
	struct answer answer; /* filled when it has ended */
	_Atomic uint32_t ended;
	uint8_t room[];
};

int __real_zd_submit(zd_dev *dev, struct zd_request *request);
int __wrap_zd_submit(zd_dev *dev, struct zd_request *request);
void door_close(struct door *door);

static _Atomic int later;

void door_later(int on)
{
	later = on;
}

struct held {
	zd_dev *dev;
	struct zd_request *request;
};

static void *let_on(void *arg)
{
	struct held held = *(struct held *)arg;

	free(arg);
	__real_zd_submit(held.dev, held.request);
	return NULL;
}

/* Ends at once, or in a thread of its own: before this returns or after it, as it happens. */
int __wrap_zd_submit(zd_dev *dev, struct zd_request *request)
{
	struct held *held;
	pthread_t thread;

	if (!later || !request->done)
		return __real_zd_submit(dev, request);
	held = malloc(sizeof(*held));
	*held = (struct held){ dev, request };
	if (pthread_create(&thread, NULL, let_on, held))
		abort();
	pthread_detach(thread);
	return ZD_DEFERRED;
}

struct door *door_open(const struct shape *shape, int *code)
{
	struct zd_range conv = { 0, shape->nr_conv };
	struct zd_config config = { .struct_size = sizeof(struct zd_config), .size = shape->size, .zone_size = shape->zone_size, .zone_capacity = shape->zone_capacity,
				    .logical_block = shape->logical_block, .physical_block = shape->physical_block,
				    .max_open = shape->max_open, .seed = 7, .slot_cache = UINT64_MAX,
				    .dialect = (uint8_t)shape->dialect, .model = (uint8_t)shape->model,
				    .implicit_close = ZD_LOWEST, .unrestricted_read = (uint8_t)shape->unrestricted_read,
				    .nr_conv = shape->nr_conv ? 1 : 0, .conv = &conv };
	static const struct zd_scsi_port port = { "iqn.2026-01.test:disk,t,0x0001", 1, 5, 0 };
	struct door *door = calloc(1, sizeof(*door));

	*code = zd_create(NULL, &config, 0, &door->dev, NULL);
	if (!*code)
		*code = zd_scsi_target_new(&port, &door->target, NULL);
	if (!*code)
		*code = zd_scsi_target_add(door->target, 0, door->dev, NULL, NULL);
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
	if (door->dev)
		zd_close(door->dev, NULL);
	free(door);
}

zd_dev *door_dev(struct door *door)
{
	return door->dev;
}

int door_reset(struct door *door, int index, const uint8_t *lun)
{
	return zd_scsi_reset(door->nexuses[index], lun);
}

/* Cuts a buffer in two, so that tasks of several buffers are met too. */
static uint32_t halves(struct iovec iov[2], void *data, uint64_t length, uint64_t cut)
{
	cut = cut < length ? cut : length;
	iov[0] = (struct iovec){ data, cut };
	iov[1] = (struct iovec){ (uint8_t *)data + cut, length - cut };
	return 2;
}

static void ended(struct zd_scsi_task *task)
{
	sem_post(task->arg);
}

static void take_answer(struct answer *answer, const struct zd_scsi_task *task)
{
	answer->status = task->status;
	answer->sense_length = task->sense_length;
	answer->unanswered = task->unanswered;
	answer->in_length = task->in_length;
	answer->residual_in = task->residual_in;
	answer->residual_out = task->residual_out;
	memcpy(answer->sense, task->sense, sizeof(answer->sense));
}

void door_exec(struct door *door, int index, const uint8_t lun[8], const uint8_t *cdb, uint32_t cdb_length, void *out,
	       uint64_t out_length, void *in, uint64_t in_length, uint64_t cut, struct answer *answer)
{
	struct zd_scsi_task task = { .size = sizeof(task), .cdb = cdb, .cdb_length = cdb_length };
	struct iovec outs[2], ins[2];
	sem_t end;

	sem_init(&end, 0, 0);
	task.arg = &end;
	task.done = later ? ended : NULL;
	memcpy(task.lun, lun, 8);
	door->task = &task;
	task.out = outs;
	task.nr_out = halves(outs, out, out_length, cut);
	task.in = ins;
	task.nr_in = halves(ins, in, in_length, cut);
	zd_scsi_exec(door->nexuses[index], &task);
	while (task.done && sem_wait(&end))
		;
	take_answer(answer, &task);
}

static void given_ended(struct zd_scsi_task *task)
{
	struct given *given = task->arg;

	take_answer(&given->answer, task);
	given->ended++;
}

/* Hands over a task and does not wait for it. The room is its data, out and in. */
struct given *door_give(struct door *door, int index, const uint8_t lun[8], const uint8_t *cdb, uint32_t cdb_length, uint64_t tag,
			const void *out, uint64_t out_length, uint64_t in_length)
{
	struct given *given = calloc(1, sizeof(*given) + (out_length > in_length ? out_length : in_length));

	memcpy(given->cdb, cdb, cdb_length < sizeof(given->cdb) ? cdb_length : sizeof(given->cdb));
	given->in = (struct iovec){ given->room, in_length };
	given->out = (struct iovec){ given->room, out_length };
	if (out_length)
		memcpy(given->room, out, out_length);
	given->task = (struct zd_scsi_task){ .size = sizeof(given->task), .cdb = given->cdb, .cdb_length = cdb_length, .tag = tag,
					     .in = &given->in, .nr_in = in_length != 0, .out = &given->out, .nr_out = out_length != 0,
					     .done = given_ended, .arg = given };
	memcpy(given->task.lun, lun, 8);
	zd_scsi_exec(door->nexuses[index], &given->task);
	return given;
}

/* How often it was told to have ended; then the answer and what was read are copied. */
uint32_t door_given(struct given *given, struct answer *answer, void *data, uint64_t length)
{
	uint32_t ended = given->ended;

	if (ended) {
		*answer = given->answer;
		memcpy(data, given->room, length);
	}
	return ended;
}

void door_forget(struct given *given)
{
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
	struct zd_fault fault = { .kind = ZD_FAULT_MEDIUM, .commands = writes ? 1u << ZD_CMD_WRITE : 1u << ZD_CMD_READ,
				  .last_zone = ZD_NO_ZONE, .from = from, .to = from + length };
	uint32_t id;

	return zd_fault_add(door->dev, &fault, &id, NULL);
}

int door_condition(struct door *door, uint32_t zone, int condition)
{
	return zd_set_condition(door->dev, zone, condition, NULL);
}

int door_power(struct door *door, int on)
{
	return on ? zd_power_on(door->dev, NULL) : zd_power_cut(door->dev, ZD_KEEP_ALL, 1, NULL);
}

/* The next read (0) or write (1) hangs. */
int door_hang(struct door *door, int command)
{
	struct zd_fault fault = { .kind = ZD_FAULT_HANG, .commands = 1u << command, .last_zone = ZD_NO_ZONE, .limit = 1 };
	uint32_t id;

	return zd_fault_add(door->dev, &fault, &id, NULL);
}

/* Each read (0) or write (1) hangs, or is late, from now on. ns: how long; 0: for ever. */
int door_hold(struct door *door, int command, int late, uint64_t ns)
{
	struct zd_fault fault = { .kind = late ? ZD_FAULT_LATENCY : ZD_FAULT_HANG, .commands = 1u << command, .last_zone = ZD_NO_ZONE,
				  .real_ns = ns };
	uint32_t id;

	return zd_fault_add(door->dev, &fault, &id, NULL);
}

int door_clear(struct door *door)
{
	return zd_fault_clear(door->dev, 0, NULL);
}

int door_hanging(struct door *door)
{
	struct zd_fault faults[ZD_MAX_FAULTS];
	int n = zd_fault_list(door->dev, faults, ZD_MAX_FAULTS, NULL), waiting = 0;

	for (int i = 0; i < n; i++)
		waiting += (int)faults[i].waiting;
	return waiting;
}

int door_let_go(struct door *door)
{
	return zd_fault_release(door->dev, 0, NULL);
}

/* Another opener's handle of the same disk, or this one: what happens to it concerns all. */
int door_cycle(struct door *door)
{
	struct zd_error err;

	return zd_power_cycle(door->dev, &err);
}

/* Takes a snapshot and goes back to it. */
int door_go_back(struct door *door)
{
	zd_snapshot *snapshot;
	int r = zd_snapshot_take(door->dev, &snapshot, NULL);

	if (!r) {
		r = zd_rollback(door->dev, snapshot, NULL);
		zd_snapshot_free(snapshot);
	}
	return r;
}

/* The next command of that kind finds its zone dead. */
int door_kill_zone(struct door *door, int command, uint32_t zone, int offline)
{
	struct zd_fault fault = { .kind = offline ? ZD_FAULT_OFFLINE : ZD_FAULT_READ_ONLY, .commands = 1u << command,
				  .first_zone = zone, .last_zone = zone, .limit = 1 };
	uint32_t id;

	return zd_fault_add(door->dev, &fault, &id, NULL);
}

/* Of the task that was given last, and has not ended. */
void door_cancel(struct door *door)
{
	zd_scsi_cancel(door->task);
}
