/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz target: the input's first bytes are a disk, the others a stream of SCSI tasks for it: any CDB of any length, with
 * any data and any room. No input may crash, hang or leak; every answer is one that an initiator can make sense of.
 */
#include "zoned/scsi.h"

#include "executor.h"

#include <errno.h>

#define NEXUSES 2
#define MOST_OUT (64u << 10)
#define MOST_IN (64u << 10)

static zd_dev *make(struct input *in)
{
	struct zd_range conv;
	struct zd_config config = take_config(in, &conv);
	zd_dev *dev;

	config.size -= take(in, 4) * 4096ull;
	config.zone_capacity = take(in, 2) ? 0 : config.zone_size - take(in, 8) * 4096ull;
	config.max_open = take(in, 5);
	config.model = take(in, 4) == 0;
	config.unrestricted_read = take(in, 2) != 0;
	CLAIM(zd_create(NULL, &config, 0, &dev, NULL) == 0);
	return dev;
}

/* Half of the CDBs are commands that there are, with bits that they know and places that are small. */
static uint32_t make_cdb(struct input *in, uint8_t *cdb)
{
	uint32_t kind = take(in, 256), length = take(in, 40);
	struct zd_scsi_command_info info;

	for (uint32_t i = 0; i < length; i++)
		cdb[i] = (uint8_t)take(in, 256);
	if (kind >= 128 || zd_scsi_command_at(kind, &info))
		return length;
	for (uint32_t i = 0; i < info.length; i++)
		cdb[i] = (uint8_t)((i < length ? cdb[i] : 0) & info.usage[i]);
	cdb[0] = info.opcode;
	if (info.action >= 0)
		cdb[1] = (uint8_t)((cdb[1] & 0xE0) | info.action);
	/* The upper bytes of addresses and lengths make nearly all of them wrong. */
	for (uint32_t i = 2; i < (info.length > 12 ? 8 : info.length > 6 ? 4 : 3); i++)
		cdb[i] = info.length > 6 && info.usage[i] == 0xFF && take(in, 8) ? 0 : cdb[i];
	return info.length;
}

/* Half of the tasks are told of, once each; what hangs is aborted by one of the ways that there are. */
static void ended(struct zd_scsi_task *task)
{
	__atomic_fetch_add((int *)task->arg, 1, __ATOMIC_ACQ_REL);
}

static void one_task(zd_scsi_nexus *nexus, struct input *in, uint8_t *out, uint8_t *room)
{
	uint32_t out_length = take(in, 4) ? take(in, 65536) : take(in, 40), in_length = take(in, 65536), cut = take(in, 65536);
	struct zd_scsi_task task = { .size = sizeof(task) };
	struct iovec outs[2], ins[2];
	uint64_t wants_out, wants_in;
	uint8_t cdb[40], *exact;
	int told = 0;

	task.cdb_length = make_cdb(in, cdb);
	exact = malloc(task.cdb_length ? task.cdb_length : 1); /* no byte behind it may be looked at */
	CLAIM(exact);
	memcpy(exact, cdb, task.cdb_length);
	task.cdb = exact;
	task.lun[1] = take(in, 8) == 0;
	task.lun[0] = take(in, 16) == 0 ? (uint8_t)take(in, 256) : 0;
	/* Parameter lists come from the input, so that they can be right. */
	for (uint32_t i = 0; i < 40 && i < out_length; i++)
		out[i] = (uint8_t)take(in, 256);
	cut_in_two(outs, out, out_length, cut);
	cut_in_two(ins, room, in_length, cut < out_length ? cut : out_length);
	if (take(in, 2))
		ins[0].iov_len = ins[1].iov_len = in_length = 0; /* as a write comes */
	mark_end(room + in_length);
	task.out = outs;
	task.in = ins;
	task.nr_out = task.nr_in = 2;
	zd_scsi_transfer(nexus, task.lun, exact, task.cdb_length, &wants_out, &wants_in);
	CLAIM(!wants_out || !wants_in);
	task.arg = &told;
	task.done = out_length & 1 ? ended : NULL;
	zd_scsi_exec(nexus, &task);
	if (task.done && !__atomic_load_n(&told, __ATOMIC_ACQUIRE)) {
		static const int ways[] = { ZD_SCSI_ABORT_TASK, ZD_SCSI_ABORT_TASK_SET, ZD_SCSI_CLEAR_TASK_SET,
					    ZD_SCSI_LUN_RESET, ZD_SCSI_TARGET_WARM_RESET };
		int r = zd_scsi_manage(nexus, ways[in_length % 5], task.lun, task.tag);

		CLAIM(r == 0 || r == -ENOENT);
	}
	CLAIM(told == (task.done != NULL));
	CLAIM(task.status == ZD_SCSI_GOOD || task.status == ZD_SCSI_CHECK_CONDITION ||
	      task.status == ZD_SCSI_RESERVATION_CONFLICT || task.status == ZD_SCSI_TASK_ABORTED);
	CLAIM((task.status == ZD_SCSI_CHECK_CONDITION) == (task.sense_length != 0));
	CLAIM(task.sense_length <= ZD_SCSI_SENSE_ROOM);
	CLAIM(task.in_length <= in_length);
	CLAIM(task.residual_in >= -(int64_t)in_length && task.residual_out >= -(int64_t)out_length);
	if (task.status == ZD_SCSI_GOOD) {
		uint64_t wanted = (uint64_t)(task.residual_in + (int64_t)in_length);

		CLAIM(task.in_length == (wanted < in_length ? wanted : in_length));
		/* A command takes what a transport was told that it takes: no less, and above all no more. */
		CLAIM((uint64_t)(task.residual_out + (int64_t)out_length) == wants_out);
	}
	claim_end(room + in_length);
	free(exact);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, data + size };
	zd_dev *dev = make(&in);
	zd_scsi_target *target;
	zd_scsi_nexus *nexuses[NEXUSES];
	struct zd_scsi_task older = { .size = 64 };
	uint8_t *out = some_room(MOST_OUT), *room = some_room(MOST_IN + CANARY);

	CLAIM(zd_scsi_target_new(NULL, &target, NULL) == 0);
	CLAIM(zd_scsi_target_add(target, 0, dev, NULL, NULL) == 0);
	for (uint32_t i = 0; i < NEXUSES; i++)
		CLAIM(zd_scsi_nexus_open(target, &i, sizeof(i), &nexuses[i], NULL) == 0);
	CLAIM(zd_scsi_target_add(target, 1, dev, NULL, NULL) != 0);
	zd_scsi_exec(nexuses[0], &older);
	CLAIM(older.status == ZD_SCSI_CHECK_CONDITION && older.sense_length);
	while (in.next != in.end) {
		uint32_t what = take(&in, 64);

		if (what == 0)
			zd_scsi_reset(nexuses[0], NULL);
		else if (what == 1)
			zd_scsi_manage(nexuses[0], (int)take(&in, 10), (const uint8_t[8]){ 0, (uint8_t)take(&in, 2) },
				       take(&in, 3));
		else if (what < 4)
			disturb(dev, &in);
		else
			one_task(nexuses[what % NEXUSES], &in, out, room);
	}
	for (uint32_t i = 0; i < NEXUSES; i++)
		zd_scsi_nexus_close(nexuses[i]);
	zd_scsi_target_free(target);
	put_away(dev, out, room);
	return 0;
}
