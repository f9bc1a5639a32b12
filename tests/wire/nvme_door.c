/* SPDX-License-Identifier: Apache-2.0 */
/* A disk in RAM behind the NVMe executor, as a shared object for tests: plain arguments in, a plain answer out. */
#include "zoned/nvme.h"

#include "disk.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define MAX_CONTROLLERS 4
#define MAX_QUEUES 4

struct door {
	struct disk disk;
	zd_nvme_subsystem *subsystem;
	zd_nvme_controller *controllers[MAX_CONTROLLERS];
	zd_nvme_queue *queues[MAX_CONTROLLERS][MAX_QUEUES];
};
struct answer {
	uint32_t status, ended;
	uint64_t result, in_length;
};
struct given {
	struct zd_nvme_command command;
	struct parcel parcel;
	struct answer answer; /* filled when it has ended */
};

void door_close(struct door *door);

/* Namespace 1 has the sequential zones, namespace 2 the conventional ones, where there are any. */
struct door *nvme_open(const struct shape *shape, int *code, char *text, uint32_t room)
{
	static const struct zd_nvme_names names = { .nqn = "nqn.2026-01.test:disk", .in_capsule = 8192 };
	struct door *door = calloc(1, sizeof(*door));
	struct zd_error err = { 0 };

	*code = disk_open(&door->disk, shape, &err);
	if (!*code)
		*code = zd_nvme_subsystem_new(&names, &door->subsystem, &err);
	if (!*code)
		*code = zd_nvme_namespace_add(door->subsystem, 1, door->disk.dev, ZD_NVME_SEQUENTIAL, &err);
	if (!*code && shape->nr_conv)
		*code = zd_nvme_namespace_add(door->subsystem, 2, door->disk.dev, ZD_NVME_CONVENTIONAL, &err);
	strncpy(text, err.text, room - 1);
	if (!*code)
		return door;
	door_close(door);
	return NULL;
}

/* A controller with its admin queue and an I/O queue. */
int nvme_connect(struct door *door, int index)
{
	static const uint8_t host[16] = "0123456789abcdef";
	int r = zd_nvme_controller_open(door->subsystem, host, 120000, &door->controllers[index], NULL);

	if (!r)
		r = zd_nvme_queue_open(door->controllers[index], 0, &door->queues[index][0], NULL);
	if (!r)
		r = zd_nvme_queue_open(door->controllers[index], 1, &door->queues[index][1], NULL);
	return r;
}

int nvme_queue(struct door *door, int index, uint32_t id)
{
	zd_nvme_queue *queue;
	int r = zd_nvme_queue_open(door->controllers[index], id, &queue, NULL);

	if (!r)
		door->queues[index][id] = queue;
	return r;
}

void nvme_queue_close(struct door *door, int index, int id)
{
	zd_nvme_queue_close(door->queues[index][id]);
	door->queues[index][id] = NULL;
}

void nvme_disconnect(struct door *door, int index)
{
	for (int i = 0; i < MAX_QUEUES; i++)
		nvme_queue_close(door, index, i);
	zd_nvme_controller_close(door->controllers[index]);
	door->controllers[index] = NULL;
}

void door_close(struct door *door)
{
	for (int i = 0; i < MAX_CONTROLLERS; i++)
		if (door->controllers[i])
			nvme_disconnect(door, i);
	zd_nvme_subsystem_free(door->subsystem);
	disk_close(&door->disk);
	free(door);
}

void nvme_reset(struct door *door, int index)
{
	zd_nvme_controller_reset(door->controllers[index]);
}

uint32_t nvme_keep_alive(struct door *door, int index)
{
	return zd_nvme_keep_alive(door->controllers[index]);
}

uint32_t nvme_id(struct door *door, int index)
{
	return zd_nvme_controller_id(door->controllers[index]);
}

void nvme_look(struct door *door, int index)
{
	zd_nvme_look(door->controllers[index]);
}

static void ended(struct zd_nvme_command *command)
{
	sem_post(command->arg);
}

static struct answer answer_of(const struct zd_nvme_command *command)
{
	return (struct answer){ .status = command->status, .result = command->result, .in_length = command->in_length };
}

void nvme_exec(struct door *door, int index, int queue, const uint8_t sqe[64], void *out, uint64_t out_length, void *in,
	       uint64_t in_length, uint64_t cut, struct answer *answer)
{
	struct zd_nvme_command command;
	struct exchange x;

	disk_exchange(&x, out, out_length, in, in_length, cut);
	command = (struct zd_nvme_command){ .size = sizeof(command),
					    .out = x.out,
					    .nr_out = PARTS,
					    .in = x.in,
					    .nr_in = PARTS,
					    .done = disk_is_later() ? ended : NULL,
					    .arg = &x.end };
	memcpy(command.sqe, sqe, 64);
	zd_nvme_exec(door->queues[index][queue], &command);
	disk_await(&x, command.done);
	*answer = answer_of(&command);
}

static void given_ended(struct zd_nvme_command *command)
{
	struct given *given = command->arg;

	given->answer = answer_of(command);
	given->parcel.ended++;
}

/* Hands over a command and does not wait for it. */
struct given *nvme_give(struct door *door, int index, int queue, const uint8_t sqe[64], const void *out, uint64_t out_length,
			uint64_t in_length)
{
	struct given *given = calloc(1, sizeof(*given));

	disk_parcel(&given->parcel, out, out_length, in_length);
	given->command = (struct zd_nvme_command){ .size = sizeof(given->command),
						   PARCEL_BUFFERS(given->parcel, out_length, in_length),
						   .done = given_ended,
						   .arg = given };
	memcpy(given->command.sqe, sqe, 64);
	zd_nvme_exec(door->queues[index][queue], &given->command);
	return given;
}

/* How often it was told to have ended; then the answer is copied. */
uint32_t nvme_given(struct given *given, struct answer *answer)
{
	uint32_t times = given->parcel.ended;

	if (times)
		*answer = given->answer;
	return times;
}

void nvme_cancel(struct given *given)
{
	zd_nvme_cancel(&given->command);
}

void door_forget(struct given *given)
{
	free(given->parcel.room);
	free(given);
}

void nvme_transfer(struct door *door, int index, int queue, const uint8_t sqe[64], uint64_t *out, uint64_t *in)
{
	zd_nvme_transfer(door->queues[index][queue], sqe, out, in);
}

/* A rule for one command; to 0: wherever it is. */
int nvme_fault(struct door *door, uint32_t kind, uint32_t command, uint64_t from, uint64_t to, uint32_t zone, uint64_t ns)
{
	return disk_fault(&door->disk,
			  (struct zd_fault){ .kind = kind,
					     .commands = 1u << command,
					     .first_zone = zone == ZD_NO_ZONE ? 0 : zone,
					     .last_zone = zone,
					     .from = from,
					     .to = to,
					     .real_ns = ns,
					     .limit = kind == ZD_FAULT_READ_ONLY || kind == ZD_FAULT_OFFLINE ? 1 : 0 });
}

/* The table's answer for a sequential zone: the error, or 0. */
int nvme_rule(int condition, int command)
{
	const struct zd_cell *cell = zd_cell(ZD_ZNS, ZD_SEQ_WRITE_REQUIRED, condition, command);

	return !cell ? 1 : cell->next == ZD_NEXT_ERROR ? cell->error : 0;
}

/* What an NVMe host is told of a rule. */
uint32_t nvme_status(int rule)
{
	return zd_rule_info(rule, ZD_ZNS)->nvme_status;
}
