/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz target: the input's first bytes are what a login agreed on, the others what an initiator sends then: PDUs of a kind
 * with fields that are near to right ones, or bytes as they come. The connection is served in this thread until it ends. No
 * input may crash, hang or leak, and what is sent back is whole PDUs with numbers that an initiator can follow.
 */
#include "zoned/serve.h"

#include "base/bigendian.h"
#include "input.h"
#include "stream.h"

static uint32_t near(struct input *in, uint32_t right)
{
	switch (take(in, 12)) {
	case 0: return right + 1;
	case 1: return right - 1;
	case 2: return UINT32_MAX;
	case 3: return take(in, 65536) << 16;
	default: return right;
	}
}

/* A command for the disk of 1 MiB, or whatever the input says. */
static void make_cdb(struct input *in, uint8_t *cdb)
{
	static const uint8_t opcodes[] = { 0x00, 0x12, 0x28, 0x2A, 0x88, 0x8A, 0x95, 0x94,
					   0x35, 0x41, 0x42, 0x15, 0x5F, 0x89, 0x2E, 0xA0 };

	for (int i = 0; i < 16; i++)
		cdb[i] = take(in, 3) ? 0 : (uint8_t)take(in, 256);
	if (take(in, 8))
		cdb[0] = opcodes[take(in, sizeof(opcodes))];
	if (cdb[0] == 0x88 || cdb[0] == 0x8A) {
		memset(cdb + 1, 0, 15);
		cdb[8] = (uint8_t)take(in, 4);
		cdb[9] = (uint8_t)take(in, 256);
		cdb[13] = (uint8_t)take(in, 40);
	}
}

static void add_pdu(struct input *in, struct stream *out, uint32_t *cmd_sn)
{
	static const uint8_t opcodes[] = { 0x00, 0x01, 0x01, 0x01, 0x01, 0x02, 0x04, 0x05, 0x05, 0x05, 0x06, 0x10, 0x3F };
	uint8_t bhs[48] = { 0 }, more[64] = { 0 }, data[4100] = { 0 }, digest[4];
	uint32_t length = take(in, 4) ? 0 : take(in, 4097), crc;

	bhs[0] = opcodes[take(in, sizeof(opcodes))] | (take(in, 4) ? 0 : 0x40);
	bhs[1] = (uint8_t)(take(in, 3) ? 0x80 | take(in, 16) : take(in, 256));
	if (bhs[0] % 64 == 1)
		bhs[1] = (uint8_t)((take(in, 3) ? 0x80 : 0) | take(in, 4) << 5);
	bhs[4] = take(in, 8) ? 0 : (uint8_t)take(in, 16);
	bhs[9] = take(in, 8) == 0;
	put32(bhs + 16, take(in, 5) ? take(in, 6) : UINT32_MAX);
	put32(bhs + 20, take(in, 3) ? take(in, 65536) : near(in, take(in, 8)));
	put32(bhs + 24, near(in, *cmd_sn));
	if (get32(bhs + 24) == *cmd_sn && !(bhs[0] & 0x40) && bhs[0] != 5)
		(*cmd_sn)++;
	if (bhs[0] % 64 == 1) {
		make_cdb(in, bhs + 32);
	} else {
		put32(bhs + 36, near(in, take(in, 4)));
		put32(bhs + 40, near(in, take(in, 4) * 4096));
	}
	for (uint32_t i = 0; i < 24 && i < length; i++)
		data[i] = (uint8_t)take(in, 256);
	bhs[6] = (uint8_t)(length >> 8);
	bhs[7] = (uint8_t)length;
	if (!take(in, 40))
		bhs[5] = (uint8_t)take(in, 256);
	for (uint32_t i = 0; i < bhs[4] * 4u; i++)
		more[i] = (uint8_t)take(in, 256);
	add(out, bhs, sizeof(bhs));
	add(out, more, bhs[4] * 4u);
	if (out->header_digest) {
		crc = zd_crc32c(zd_crc32c(0, bhs, sizeof(bhs)), more, bhs[4] * 4u) ^ (take(in, 40) == 1);
		memcpy(digest, &crc, 4);
		add(out, digest, 4);
	}
	if (!length)
		return;
	length = (length + 3) & ~3u;
	add(out, data, length);
	if (out->data_digest) {
		crc = zd_crc32c(0, data, length) ^ (take(in, 10) == 1);
		memcpy(digest, &crc, 4);
		add(out, digest, 4);
	}
}

/* Whole PDUs, and StatSN without a gap. */
static void check(const uint8_t *at, size_t length, const struct zd_iscsi_login *login)
{
	uint32_t stat_sn = login->stat_sn;

	while (length) {
		uint32_t data, size, opcode = at[0];
		bool takes_one = opcode != 0x31 && !(opcode == 0x25 && !(at[1] & 1)) &&
				 !(opcode == 0x20 && get32(at + 16) == UINT32_MAX);

		CLAIM(length >= 48);
		data = (uint32_t)at[5] << 16 | (uint32_t)at[6] << 8 | at[7];
		CLAIM(data <= login->max_send || opcode == 0x3F || opcode == 0x21);
		size = 48 + (login->header_digest ? 4 : 0) + (data ? ((data + 3) & ~3u) + (login->data_digest ? 4 : 0) : 0);
		CLAIM(size <= length);
		CLAIM(opcode == 0x20 || opcode == 0x21 || opcode == 0x22 || opcode == 0x24 || opcode == 0x25 ||
		      opcode == 0x26 || opcode == 0x31 || opcode == 0x32 || opcode == 0x3F);
		if (takes_one) {
			CLAIM(get32(at + 24) == stat_sn);
			stat_sn++;
		}
		CLAIM((int32_t)(get32(at + 32) - get32(at + 28)) >= -1);
		CLAIM((int32_t)(get32(at + 32) - get32(at + 28)) < ZD_ISCSI_WINDOW);
		at += size;
		length -= size;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t *room, *answers;
	struct input in = { data, data + size };
	struct zd_config config = small_config();
	struct zd_iscsi_limits limits = { .room = 4 << 20, .stall_ms = 1, .idle_ms = 10000 };
	struct zd_iscsi_login login = { .initiator = "iqn.2026-01.test:fuzz", .address = "here" };
	struct stream out = { 0 };
	uint32_t cmd_sn;
	int ends[2];
	size_t got;
	zd_iscsi *target;
	zd_dev *dev;

	config.logical_block = 512;
	config.unrestricted_read = 1;
	login.cmd_sn = take(&in, 4) ? 7 : UINT32_MAX - 1;
	login.stat_sn = 9;
	login.max_send = take(&in, 2) ? 512 : 65536;
	login.max_burst = take(&in, 2) ? 1024 : 65536;
	login.first_burst = take(&in, 2) ? 512 : login.max_burst;
	login.header_digest = take(&in, 3) == 1;
	login.data_digest = take(&in, 3) == 1;
	login.immediate_data = take(&in, 3) != 0;
	login.initial_r2t = take(&in, 3) == 0;
	out = (struct stream){ stream_room(&room, MOST), 0, login.header_digest, login.data_digest };
	cmd_sn = login.cmd_sn;
	stream_room(&answers, ANSWERS);
	if (take(&in, 16) == 0)
		add(&out, in.next, (uint32_t)(in.end - in.next));
	else
		while (in.next != in.end)
			add_pdu(&in, &out, &cmd_sn);
	CLAIM(zd_create(NULL, &config, 0, &dev, NULL) == 0);
	CLAIM(zd_serve_iscsi_new("iqn.2026-01.test:disk", 1, &limits, &target, NULL) == 0);
	CLAIM(zd_serve_iscsi_unit(target, 0, dev, NULL) == 0);
	CLAIM(zd_serve_iscsi_targets(target, "TargetName=a", 13, NULL) == 0);
	begin_talk(ends, &out);
	CLAIM(zd_serve_iscsi_here(target, ends[1], &login, NULL) == 0);
	got = end_talk(ends, answers);
	CLAIM(zd_serve_iscsi_list(target, NULL, 0) == 0);
	zd_serve_iscsi_free(target);
	CLAIM(zd_close(dev, NULL) == 0);
	/* Where not all of it found room, it ends anywhere. */
	if (got < 100000)
		check(answers, got, &login);
	return 0;
}
