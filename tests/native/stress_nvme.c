/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hosts in threads of their own give commands that fault rules hold up, and event requests that wait, and abort them: by ABORT,
 * by deleting the queue, by a reset and by going away. Each command must end exactly once, and none may be left. They share zones
 * with random write areas, which they open, write over, commit, reset and finish.
 *
 * stress_nvme SECONDS
 */
#include "zoned/nvme.h"

#include "testing.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <time.h>
#include <unistd.h>

#define HOSTS 4
#define COMMANDS 16
#define BLOCK 4096u
#define ZONE (1u << 20)

struct slot {
	struct zd_nvme_command command;
	struct iovec iov;
	uint8_t data[BLOCK];
	_Atomic uint32_t ends;
	bool given;
};
struct host {
	zd_nvme_subsystem *subsystem;
	zd_dev *dev;
	zd_nvme_controller *controller;
	zd_nvme_queue *admin, *io;
	uint32_t number;
	uint16_t id; /* that its last controller had; 0: it had none */
	uint64_t rng;
	uint64_t commands, aborted, aborts, commits;
	uint8_t memory[32768]; /* what its controller remembers */
	struct slot slots[COMMANDS];
};

static _Atomic bool over;

static void ended(struct zd_nvme_command *command)
{
	struct slot *slot = command->arg;

	CLAIM(atomic_fetch_add(&slot->ends, 1) == 0);
}

#define AREA 8u       /* blocks */
#define AREA_ZONES 2u /* the last ones */

/* Something about a zone that has an area, or had one, or will have one. */
static zd_nvme_queue *make_area(struct host *me, uint8_t *sqe)
{
	static const uint8_t actions[] = { 0x03, 0x03, 0x03, 0x11, 0x11, 0x11, 0x11, 0x04, 0x02, 0x01 };
	uint32_t what = draw_of(&me->rng, 3), slba = (8 - 4 - AREA_ZONES + draw_of(&me->rng, AREA_ZONES)) * (ZONE / BLOCK);
	struct zd_zone z;

	sqe[4] = 1;
	/* Where the write pointer is, or was a moment ago. */
	CLAIM(zd_report(me->dev, 4 + slba / (ZONE / BLOCK), 1, &z, NULL) == 1);
	if (what) {
		sqe[0] = what == 1 ? 0x01 : 0x02;
		slba += z.wp == ZD_NONE ? 0 : (uint32_t)((z.wp - z.start) / BLOCK);
		slba += draw_of(&me->rng, 2 * AREA);
	} else {
		sqe[0] = 0x79;
		sqe[52] = actions[draw_of(&me->rng, sizeof(actions))];
		sqe[53] = sqe[52] == 0x03 ? 0x02 : 0; /* with an area */
		/* A commit names the last block of what it commits. */
		if (sqe[52] == 0x11 && z.wp != ZD_NONE)
			slba += (uint32_t)((z.wp - z.start) / BLOCK) + 2 * draw_of(&me->rng, 4) + 1;
	}
	sqe[40] = (uint8_t)slba;
	sqe[41] = (uint8_t)(slba >> 8);
	return me->io;
}

/* Reads, writes, flushes, appends, or a request for an event; of whatever answer. Returns the queue. */
static zd_nvme_queue *make(struct host *me, struct slot *slot)
{
	static const uint8_t opcodes[] = { 0x02, 0x01, 0x00, 0x0C, 0x02, 0x7D, 0x05 };
	uint32_t what = draw_of(&me->rng, 14);
	uint8_t *sqe = slot->command.sqe;

	slot->command = (struct zd_nvme_command){ .size = sizeof(slot->command), .arg = slot, .done = ended };
	sqe[2] = (uint8_t)(slot - me->slots);
	slot->command.out = slot->command.in = &slot->iov;
	slot->command.nr_out = slot->command.nr_in = 1;
	slot->iov = (struct iovec){ slot->data, BLOCK };
	if (what >= 9)
		return make_area(me, sqe);
	if (what >= 7) {
		sqe[0] = what == 7 ? 0x0C :
				     0x02; /* an event, or the log page of changed zones, whose reading lets others come */
		sqe[4] = 1;
		sqe[40] = 0xBF;
		return me->admin;
	}
	sqe[0] = opcodes[what];
	sqe[4] = what == 5 ? 1 : 2;
	sqe[40] = what == 5 ? 0 : (uint8_t)draw_of(&me->rng, 16);
	return me->io;
}

static void collect(struct host *me, struct slot *slot)
{
	if (!slot->given || !atomic_load(&slot->ends))
		return;
	me->commands++;
	me->commits += slot->command.sqe[0] == 0x79 && slot->command.sqe[52] == 0x11 && !slot->command.status;
	me->aborted += (slot->command.status & 0x7FF) == ZD_NVME_ABORT_REQUESTED ||
		       (slot->command.status & 0x7FF) == ZD_NVME_QUEUE_DELETED;
	slot->given = false;
}

static void connect(struct host *me)
{
	zd_nvme_controller *second = NULL;

	/* Some ask for the identifier that they had: nobody else has one with it at the same time. */
	if (!me->id || draw_of(&me->rng, 2) ||
	    zd_nvme_controller_open_as(me->subsystem, me->id, NULL, 1000, &me->controller, NULL))
		CLAIM(zd_nvme_controller_open(me->subsystem, NULL, 1000, &me->controller, NULL) == 0);
	me->id = zd_nvme_controller_id(me->controller);
	CLAIM(zd_nvme_controller_open_as(me->subsystem, me->id, NULL, 1000, &second, NULL) == -EEXIST && !second);
	CLAIM(zd_nvme_controller_id(me->controller) && zd_nvme_keep_alive(me->controller) == 1000);
	CLAIM(zd_nvme_queue_open(me->controller, 0, &me->admin, NULL) == 0);
	CLAIM(zd_nvme_queue_open(me->controller, 1, &me->io, NULL) == 0);
	CLAIM(zd_nvme_queue_open(me->controller, 1, &(zd_nvme_queue *){ NULL }, NULL) == -EEXIST);
	/* It wants to hear of zones. */
	struct zd_nvme_command command = { .size = sizeof(command), .sqe = { 0x09 } };
	command.sqe[40] = 0x0B;
	command.sqe[47] = 0x08;
	zd_nvme_exec(me->admin, &command);
	CLAIM(!command.status);
}

static void all_have_ended(struct host *me)
{
	for (uint32_t i = 0; i < COMMANDS; i++) {
		CLAIM(!me->slots[i].given || atomic_load(&me->slots[i].ends) == 1);
		collect(me, &me->slots[i]);
	}
}

static void go_away(struct host *me)
{
	zd_nvme_queue_close(me->io);
	zd_nvme_queue_close(me->admin);
	zd_nvme_controller_close(me->controller);
	me->controller = NULL;
	all_have_ended(me);
}

static void abort_one(struct host *me)
{
	struct zd_nvme_command command = { .size = sizeof(command), .sqe = { 0x08 } };

	command.sqe[40] = (uint8_t)draw_of(&me->rng, 2);
	command.sqe[42] = (uint8_t)draw_of(&me->rng, COMMANDS);
	zd_nvme_exec(me->admin, &command);
	CLAIM(!command.status && command.result <= 1);
	me->aborts += command.result == 0;
}

/* ---------------------------------------------------------------- a reset beside the end of a queue */

static zd_nvme_controller *resetting;
static _Atomic bool ending;

static void *reset(void *arg)
{
	zd_nvme_controller_reset(resetting);
	return arg;
}

/* The reset aborts the command, and is in here until the queue is being closed, too: it is open no more then. */
static void ended_late(struct zd_nvme_command *command)
{
	zd_nvme_queue *again = NULL;

	atomic_store(&ending, true);
	while (zd_nvme_queue_open(resetting, 1, &again, NULL) == -EEXIST)
		sched_yield();
	atomic_store((_Atomic(zd_nvme_queue *) *)command->arg, again);
}

/* A controller is reset in one thread while the connection of its I/O queue ends in another. */
static void reset_beside_the_end(zd_nvme_subsystem *subsystem)
{
	struct zd_nvme_command command = { .size = sizeof(command), .sqe = { 0x02, 0, 0, 0, 1 }, .done = ended_late };
	_Atomic(zd_nvme_queue *) again = NULL;
	zd_nvme_queue *admin, *io;
	uint8_t data[BLOCK];
	pthread_t thread;
	struct iovec iov = { data, BLOCK };

	command.in = &iov;
	command.nr_in = 1;
	command.arg = &again;
	CLAIM(zd_nvme_controller_open(subsystem, NULL, 1000, &resetting, NULL) == 0);
	CLAIM(zd_nvme_queue_open(resetting, 0, &admin, NULL) == 0);
	CLAIM(zd_nvme_queue_open(resetting, 1, &io, NULL) == 0);
	atomic_store(&ending, false);
	zd_nvme_exec(io, &command);
	CLAIM(!atomic_load(&again)); /* it hangs */
	CLAIM(pthread_create(&thread, NULL, reset, NULL) == 0);
	while (!atomic_load(&ending))
		sched_yield();
	zd_nvme_queue_close(io);
	CLAIM(pthread_join(thread, NULL) == 0);
	CLAIM(atomic_load(&again) && (command.status & 0x7FF) == ZD_NVME_QUEUE_DELETED);
	zd_nvme_queue_close(atomic_load(&again));
	zd_nvme_queue_close(admin);
	zd_nvme_controller_close(resetting);
}

static void resets_beside_ends(zd_nvme_subsystem *subsystem, zd_dev *dev)
{
	struct zd_fault hang = { .kind = ZD_FAULT_HANG, .commands = 1u << ZD_CMD_READ, .last_zone = ZD_NO_ZONE };
	uint32_t id;

	CLAIM(zd_fault_add(dev, &hang, &id, NULL) == 0);
	alarm(300); /* what waits for ever ends so */
	for (uint32_t i = 0; i < 200; i++)
		reset_beside_the_end(subsystem);
	alarm(0);
	CLAIM(zd_fault_clear(dev, id, NULL) == 0);
}

/* ---------------------------------------------------------------- hosts */

static void *run(void *arg)
{
	struct host *me = arg;
	uint64_t sends, gets;

	while (!over) {
		struct slot *slot = &me->slots[draw_of(&me->rng, COMMANDS)];

		if (!me->controller)
			connect(me);
		collect(me, slot);
		if (!slot->given) {
			zd_nvme_queue *queue = make(me, slot);

			atomic_store(&slot->ends, 0);
			slot->given = true;
			zd_nvme_transfer(queue, slot->command.sqe, &sends, &gets);
			CLAIM(sends <= BLOCK && gets <= BLOCK);
			zd_nvme_exec(queue, &slot->command);
		} else if (draw_of(&me->rng, 16) == 0) {
			zd_nvme_cancel(&slot->command);
		} else if (draw_of(&me->rng, 8) == 0) {
			abort_one(me);
		} else if (draw_of(&me->rng, 50) == 0) {
			zd_set_condition(me->dev, 4 + draw_of(&me->rng, 4), draw_of(&me->rng, 2) ? ZD_EMPTY : ZD_READ_ONLY,
					 NULL);
			zd_nvme_look(me->controller);
		} else if (draw_of(&me->rng, 100) == 0) {
			zd_nvme_controller_reset(me->controller);
			all_have_ended(me);
		} else if (draw_of(&me->rng, 50) == 0) {
			zd_nvme_recall(me->controller, me->memory);
			zd_nvme_remember(me->controller, me->memory);
		} else if (draw_of(&me->rng, 100) == 0) {
			go_away(me);
		}
	}
	if (me->controller)
		go_away(me);
	return NULL;
}

int main(int argc, char **argv)
{
	struct zd_range conv = { 0, 4 };
	struct zd_config config = config_of(8 * ZONE, ZONE, &conv);
	const struct timespec time = { argc > 1 ? atoi(argv[1]) : 1, 0 };
	uint64_t commands = 0, aborted = 0, aborts = 0, commits = 0;
	struct zd_nvme_command_info info;
	static struct host hosts[HOSTS];
	pthread_t threads[HOSTS];
	zd_nvme_subsystem *subsystem;
	zd_dev *dev;

	for (uint32_t i = 0; zd_nvme_command_at(i, &info) == 0; i++)
		CLAIM(info.name && info.effects & 1);
	config.slot_cache = UINT64_MAX;
	config.dialect = ZD_ZNS;
	config.zrwa_size = AREA * BLOCK;
	config.zrwa_granularity = 2 * BLOCK;
	config.zrwa_count = 1; /* the zones take it from each other */
	CLAIM(zd_create(NULL, &config, 0, &dev, NULL) == 0);
	CLAIM(zd_nvme_subsystem_new(NULL, &subsystem, NULL) == 0);
	CLAIM(zd_nvme_namespace_add(subsystem, 1, dev, ZD_NVME_SEQUENTIAL, NULL) == 0);
	CLAIM(zd_nvme_namespace_add(subsystem, 2, dev, ZD_NVME_CONVENTIONAL, NULL) == 0);
	CLAIM(zd_nvme_memory_size(subsystem) <= sizeof(hosts[0].memory));
	resets_beside_ends(subsystem, dev);
	hold_up(dev, ZD_FAULT_HANG, 1, 0, 1u << ZD_CMD_READ);
	hold_up(dev, ZD_FAULT_LATENCY, 2, 200000,
		1u << ZD_CMD_WRITE | 1u << ZD_CMD_APPEND | 1u << ZD_CMD_OPEN_ZRWA | 1u << ZD_CMD_COMMIT_ZRWA);
	for (uint32_t i = 0; i < HOSTS; i++) {
		hosts[i] = (struct host){ .subsystem = subsystem, .dev = dev, .number = i, .rng = i + 1 };
		CLAIM(pthread_create(&threads[i], NULL, run, &hosts[i]) == 0);
	}
	nanosleep(&time, NULL);
	over = true;
	for (uint32_t i = 0; i < HOSTS; i++) {
		CLAIM(pthread_join(threads[i], NULL) == 0);
		commands += hosts[i].commands;
		aborted += hosts[i].aborted;
		aborts += hosts[i].aborts;
		commits += hosts[i].commits;
	}
	CLAIM(aborted && aborts && commits);
	zd_nvme_subsystem_free(subsystem);
	CLAIM(zd_fault_clear(dev, 0, NULL) == 0);
	claim_disk_is_sound(dev, 1);
	CLAIM(zd_close(dev, NULL) == 0);
	printf("%llu commands, %llu aborted, %llu by ABORT; %llu areas committed\n", (unsigned long long)commands,
	       (unsigned long long)aborted, (unsigned long long)aborts, (unsigned long long)commits);
	return 0;
}
