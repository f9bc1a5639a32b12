/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz target: the input's first bytes are a disk, the others a stream of NVMe commands for it: any submission queue entry on
 * any queue, with any data and any room. No input may crash, hang or leak; every answer is one that a host can make sense of.
 */
#include "zoned/nvme.h"

#include "executor.h"

#define CONTROLLERS 2
#define QUEUES 2
#define MOST (64u << 10)

static zd_dev *make(struct input *in)
{
	struct zd_range conv;
	struct zd_config config = take_config(in, &conv);
	zd_dev *dev;

	config.dialect = ZD_ZNS;
	config.zone_capacity = take(in, 2) ? 0 : config.zone_size - take(in, 8) * 4096ull;
	config.max_open = take(in, 5);
	config.max_active = config.max_open ? config.max_open + take(in, 3) : take(in, 5);
	config.append_limit = take(in, 3) * 8192ull;
	config.zone_extension = config.max_active % 3 * 128;
	if (config.max_active % 2) {
		uint64_t room = config.zone_capacity ? config.zone_capacity : config.zone_size;

		config.zrwa_size = (room < 2 * config.physical_block ? 1 : 2) * config.physical_block;
		config.zrwa_granularity = config.physical_block;
		config.zrwa_count = 1;
	}
	config.unrestricted_read = take(in, 2) != 0;
	CLAIM(zd_create(NULL, &config, 0, &dev, NULL) == 0);
	return dev;
}

/* Most of the entries are commands that there are, with bits that they know and places that are small. */
static void make_sqe(struct input *in, uint8_t *sqe)
{
	uint32_t kind = take(in, 64);
	struct zd_nvme_command_info info;

	for (uint32_t i = 0; i < 64; i++)
		sqe[i] = i >= 8 && i < 40 ? 0 : (uint8_t)take(in, 256);
	if (kind >= 48 || zd_nvme_command_at(kind % 24, &info))
		return;
	sqe[0] = info.opcode;
	sqe[1] &= 0xC0;
	sqe[4] &= 0x03;
	sqe[5] = sqe[6] = sqe[7] = sqe[4] == 3 ? 0xFF : 0;
	sqe[4] = sqe[4] == 3 ? 0xFF : sqe[4];
	for (uint32_t i = 0; i < 24; i++)
		sqe[40 + i] &= (uint8_t)(info.usage[i / 4] >> 8 * (i % 4));
	/* Of all that a zone can be asked for, half is in this list: OPEN, with an area and without, and commits above all. */
	if (info.opcode == 0x79 && sqe[52] >= 0x80) {
		static const uint8_t actions[] = { 0x01, 0x02, 0x03, 0x03, 0x03, 0x04, 0x05, 0x11, 0x11 };

		sqe[52] = actions[sqe[52] % sizeof(actions)];
		sqe[53] &= 0x03;
	}
	/* The upper bytes of addresses and lengths make nearly all of them wrong. */
	if (!(info.flags & ZD_NVME_ADMIN) && info.usage[0] == UINT32_MAX) {
		memset(sqe + 42, 0, 6);
		sqe[49] &= take(in, 8) ? 0 : 0xFF;
		if (take(in, 2))
			sqe[40] &= 0xF0;
	}
}

static void ended(struct zd_nvme_command *command)
{
	__atomic_fetch_add((int *)command->arg, 1, __ATOMIC_ACQ_REL);
}

static void claim_answer(const struct zd_nvme_command *command)
{
	uint32_t status = command->status & 0x7FF;

	CLAIM(!(command->status & 0x9800)); /* no retry delay, no phase */
	CLAIM(status != 0 || command->status == 0);
	CLAIM(status < 0x100 || (status >= 0x100 && status < 0x1C0) || (status >= 0x280 && status < 0x290));
}

static void one_command(zd_nvme_queue *admin, zd_nvme_queue *queue, struct input *in, uint8_t *out, uint8_t *room)
{
	uint32_t in_length = take(in, 65536), out_length = take(in, 4) ? take(in, 65536) : take(in, 40), cut = take(in, 65536);
	struct zd_nvme_command command = { .size = sizeof(command) };
	struct iovec outs[2], ins[2];
	uint64_t wants_out, wants_in;
	int told = 0;

	make_sqe(in, command.sqe);
	/* Lists come from the input, so that they can be right. */
	for (uint32_t i = 0; i < 48 && i < out_length; i++)
		out[i] = (uint8_t)take(in, 256);
	zd_nvme_transfer(queue, command.sqe, &wants_out, &wants_in);
	CLAIM((!wants_out || !wants_in) && wants_out <= ZD_NVME_MAX_TRANSFER && wants_in <= ZD_NVME_MAX_TRANSFER);
	if (take(in, 4)) {
		/* As a transport gives them. */
		out_length = wants_out < MOST ? (uint32_t)wants_out : MOST;
		in_length = wants_in < MOST ? (uint32_t)wants_in : MOST;
	}
	cut_in_two(outs, out, out_length, cut);
	cut_in_two(ins, room, in_length, cut < out_length ? cut : out_length);
	mark_end(room + in_length);
	command.out = outs;
	command.in = ins;
	command.nr_out = command.nr_in = 2;
	command.arg = &told;
	command.done = take(in, 2) ? ended : NULL;
	zd_nvme_exec(queue, &command);
	if (command.done && !__atomic_load_n(&told, __ATOMIC_ACQUIRE)) {
		/* What waits or hangs is aborted by one of the ways that there are. */
		struct zd_nvme_command ender = { .size = sizeof(ender), .sqe = { 0x08 } };

		ender.sqe[40] = queue != admin;
		memcpy(ender.sqe + 42, command.sqe + 2, 2);
		if (take(in, 2))
			zd_nvme_exec(admin, &ender);
		else
			zd_nvme_cancel(&command);
		CLAIM(!(ender.status & 0x7FF));
		while (!__atomic_load_n(&told, __ATOMIC_ACQUIRE))
			zd_nvme_cancel(&command);
	}
	CLAIM(told == (command.done != NULL));
	claim_answer(&command);
	CLAIM(command.in_length <= in_length);
	if (!command.status && command.sqe[0] == 0x02 && queue != admin)
		CLAIM(command.in_length == wants_in);
	claim_end(room + in_length);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, data + size };
	struct zd_info info = { .struct_size = sizeof(info) };
	zd_dev *dev = make(&in);
	zd_nvme_subsystem *subsystem;
	zd_nvme_controller *controllers[CONTROLLERS];
	zd_nvme_queue *queues[CONTROLLERS][QUEUES];
	uint8_t *out = some_room(MOST), *room = some_room(MOST + CANARY);

	CLAIM(zd_info(dev, &info, NULL) == 0);
	CLAIM(zd_nvme_subsystem_new(NULL, &subsystem, NULL) == 0);
	CLAIM(zd_nvme_namespace_add(subsystem, 1, dev, ZD_NVME_SEQUENTIAL, NULL) == 0);
	CLAIM((zd_nvme_namespace_add(subsystem, 2, dev, ZD_NVME_CONVENTIONAL, NULL) == 0) == (info.nr_conv_zones != 0));
	for (uint32_t i = 0; i < CONTROLLERS; i++) {
		CLAIM(zd_nvme_controller_open(subsystem, NULL, 0, &controllers[i], NULL) == 0);
		for (uint32_t k = 0; k < QUEUES; k++)
			CLAIM(zd_nvme_queue_open(controllers[i], k, &queues[i][k], NULL) == 0);
	}
	while (in.next != in.end) {
		uint32_t what = take(&in, 64), i = what % CONTROLLERS;

		if (what == 0)
			zd_nvme_controller_reset(controllers[take(&in, CONTROLLERS)]);
		else if (what == 1)
			zd_nvme_look(controllers[take(&in, CONTROLLERS)]);
		else if (what < 4)
			disturb(dev, &in);
		else
			one_command(queues[i][0], queues[i][what / CONTROLLERS % 4 != 0], &in, out, room);
	}
	for (uint32_t i = 0; i < CONTROLLERS; i++) {
		for (uint32_t k = 0; k < QUEUES; k++)
			zd_nvme_queue_close(queues[i][k]);
		zd_nvme_controller_close(controllers[i]);
	}
	zd_nvme_subsystem_free(subsystem);
	put_away(dev, out, room);
	return 0;
}
