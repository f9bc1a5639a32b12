/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz target: the input's first bytes are what CONNECT agreed on, the others what a host sends then: PDUs of a kind with fields
 * that are near to right ones, or bytes as they come. The connection, an admin queue or the first I/O queue of a controller that
 * is enabled, is served in this thread until it ends. No input may crash, hang or leak, and what is sent back is whole PDUs.
 */
#include "zoned/serve.h"

#include "base/littleendian.h"
#include "input.h"
#include "stream.h"

#include <unistd.h>

/* A header, its digest, data and its digest, as they belong together, or nearly. */
static void add_pdu(struct input *in, struct stream *out, uint8_t *head, uint32_t size, const void *data, uint32_t length)
{
	uint32_t offset = size + (out->header_digest ? 4 : 0), gap = length && !take(in, 8) ? take(in, 8) * 4 : 0, crc;
	uint8_t digest[32] = { 0 };

	head[1] |= (uint8_t)(out->header_digest | (length && out->data_digest) << 1);
	head[2] = (uint8_t)size;
	head[3] = (uint8_t)(length ? offset + gap : 0);
	put32le(head + 4, offset + (length ? gap + length + (out->data_digest ? 4 : 0) : 0));
	if (!take(in, 40))
		head[take(in, 8)] ^= (uint8_t)take(in, 256);
	add(out, head, size);
	if (out->header_digest) {
		crc = zd_crc32c(0, head, size) ^ !take(in, 60);
		put32le(digest, crc);
		add(out, digest, 4);
		memset(digest, 0, 4);
	}
	if (!length)
		return;
	add(out, digest, gap);
	add(out, data, length);
	if (out->data_digest) {
		crc = zd_crc32c(0, data, length) ^ !take(in, 20);
		put32le(digest, crc);
		add(out, digest, 4);
	}
}

static void add_command(struct input *in, struct stream *out, uint32_t queue)
{
	static const uint8_t admin[] = { 0x02, 0x06, 0x06, 0x08, 0x09, 0x0A, 0x0C, 0x18, 0x7F, 0x80, 0x84 };
	static const uint8_t io[] = { 0x00, 0x01, 0x01, 0x02, 0x02, 0x05, 0x08, 0x09, 0x0C, 0x79, 0x7A, 0x7D, 0x7F };
	static const uint8_t descriptors[] = { 0x01, 0x01, 0x5A, 0x5A, 0x5A, 0x00 };
	static uint8_t data[8192];
	uint8_t head[72] = { 4 }, *sqe = head + 8;
	uint32_t length = take(in, 3) ? 0 : take(in, 2) ? 4096 : take(in, 8192);

	for (int i = 40; i < 64; i++)
		sqe[i] = take(in, 4) ? 0 : (uint8_t)take(in, 256);
	sqe[0] = !take(in, 16) ? (uint8_t)take(in, 256) : queue ? io[take(in, sizeof(io))] : admin[take(in, sizeof(admin))];
	sqe[1] = take(in, 30) ? 0x40 : (uint8_t)take(in, 256);
	sqe[2] = (uint8_t)take(in, 6);
	sqe[4] = (uint8_t)take(in, 4);
	if (sqe[0] == 0x7F)
		sqe[4] = (uint8_t[]){ 0, 0, 4, 1, 8, 5 }[take(in, 6)];
	if (sqe[0] == 0x7F && take(in, 2)) { /* CC or CSTS */
		memset(sqe + 40, 0, 24);
		sqe[44] = take(in, 2) ? 0x14 : 0x1C;
		put32le(sqe + 48, take(in, 2) ? 0x460061 : take(in, 2) ? 0x460060 : 0x464061);
	} else if (queue && take(in, 2)) { /* somewhere on the disk */
		memset(sqe + 40, 0, 24);
		put32le(sqe + 40, take(in, 3) * 16 + take(in, 4));
		sqe[48] = (uint8_t)take(in, 4);
		sqe[52] = (uint8_t)take(in, 6);
	}
	put64le(sqe + 24, take(in, 12) ? 0 : take(in, 2) ? take(in, 8192) : UINT64_MAX - take(in, 9));
	put32le(sqe + 32, take(in, 4) ? (length ? length : 4096u << take(in, 3)) : take(in, 2) ? take(in, 65536) : UINT32_MAX);
	sqe[39] = descriptors[take(in, sizeof(descriptors))];
	add_pdu(in, out, head, 72, data, length);
}

static void add_data(struct input *in, struct stream *out)
{
	static uint8_t data[8192];
	uint8_t head[24] = { 6, (uint8_t)(take(in, 3) ? 4 : 0) };
	uint32_t length = take(in, 3) ? 4096u << take(in, 2) : take(in, 8192);

	head[8] = (uint8_t)take(in, 6);
	head[10] = (uint8_t)take(in, 4);
	put32le(head + 12, take(in, 4) ? 0 : take(in, 2) ? 4096 : UINT32_MAX - take(in, 3));
	put32le(head + 16, take(in, 16) ? length : UINT32_MAX);
	add_pdu(in, out, head, 24, data, length);
}

static void add_any(struct input *in, struct stream *out, uint32_t queue)
{
	uint8_t head[128] = { 0 };

	switch (take(in, 24)) {
	case 0: /* H2CTermReq, which has no digests */
		head[0] = 2;
		head[2] = 24;
		put32le(head + 4, 24 + take(in, 130));
		add(out, head, 24 + take(in, 104));
		break;
	case 1:
		head[2] = 128;
		put32le(head + 4, 128);
		add(out, head, 128);
		break;
	case 2:
	case 3:
	case 4:
	case 5:
	case 6: add_data(in, out); break;
	default: add_command(in, out, queue);
	}
}

/* Whole PDUs. */
static void check(const uint8_t *at, size_t length, const struct zd_nvmetcp_connect *how)
{
	while (length) {
		uint32_t size, header, offset;

		CLAIM(length >= 24);
		size = get32le(at + 4);
		header = at[2];
		offset = at[3];
		CLAIM(size <= length && size >= header);
		CLAIM(at[0] == 0x03 || at[0] == 0x05 || at[0] == 0x07 || at[0] == 0x09);
		CLAIM(header == 24);
		if (at[0] != 0x03)
			CLAIM((at[1] & 1) == how->header_digest);
		if (at[0] == 0x07) {
			CLAIM(offset % ((how->align + 1u) * 4) == 0 && offset >= header + (how->header_digest ? 4u : 0));
			CLAIM(size == offset + get32le(at + 16) + (how->data_digest ? 4 : 0));
			CLAIM(!(at[1] & 8) || how->no_flow_control);
		}
		CLAIM(at[0] != 0x03 || size == length); /* the last */
		at += size;
		length -= size;
	}
}

/* An admin queue in a thread of its own, which enables the controller and stays until its host goes. */
static int enable(zd_nvmetcp *target, int ends[2])
{
	struct zd_nvmetcp_connect how = { .host = "nqn.2026-01.test:fuzz", .controller = 7, .depth = 32, .taken = 1 };
	uint8_t head[72] = { 4, 0, 72 }, answer[24];
	size_t got = 0;
	uint64_t id;

	open_ends(ends);
	CLAIM(zd_serve_nvmetcp_take(target, ends[1], &how, &id, NULL) == 0);
	put32le(head + 4, 72);
	head[8] = 0x7F;
	head[9] = 0x40;
	head[52] = 0x14;
	put32le(head + 56, 0x460061);
	CLAIM(send(ends[0], head, sizeof(head), MSG_NOSIGNAL) == sizeof(head));
	while (got < sizeof(answer)) {
		ssize_t n = recv(ends[0], answer + got, sizeof(answer) - got, 0);

		if (n > 0)
			got += (size_t)n;
		else
			usleep(50);
	}
	CLAIM(get16le(answer + 22) == 0);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t *room, *answers;
	struct input in = { data, data + size };
	struct zd_config config = small_config();
	struct zd_nvmetcp_limits limits = { .room = take(&in, 4) ? 4 << 20 : 12 << 10, .stall_ms = 1 };
	struct zd_nvmetcp_connect how = { .host = "nqn.2026-01.test:fuzz", .address = "here", .controller = 7, .taken = 1 };
	struct stream out = { 0 };
	int ends[2], others[2] = { -1, -1 };
	size_t got;
	zd_nvmetcp *target;
	zd_dev *dev;

	config.logical_block = 4096;
	config.dialect = ZD_ZNS;
	config.max_active = 6;
	how.queue = (uint16_t)take(&in, 3);
	how.depth = (uint16_t)(2 + take(&in, 6));
	how.header_digest = take(&in, 3) == 1;
	how.data_digest = take(&in, 3) == 1;
	how.align = (uint8_t)(take(&in, 3) ? 0 : take(&in, 32));
	how.no_flow_control = take(&in, 2);
	out = (struct stream){ stream_room(&room, MOST), 0, how.header_digest, how.data_digest };
	stream_room(&answers, ANSWERS);
	if (!how.queue) { /* enabled, as a rule */
		uint8_t head[72] = { 4 };

		head[8] = 0x7F;
		head[9] = 0x40;
		head[10] = 5;
		head[52] = 0x14;
		put32le(head + 56, 0x460061);
		if (take(&in, 16)) {
			uint32_t crc;
			uint8_t digest[4];

			head[1] = how.header_digest;
			head[2] = 72;
			put32le(head + 4, 72 + (how.header_digest ? 4 : 0));
			add(&out, head, 72);
			crc = zd_crc32c(0, head, 72);
			put32le(digest, crc);
			add(&out, digest, how.header_digest ? 4 : 0);
		}
	}
	if (take(&in, 16) == 0)
		add(&out, in.next, (uint32_t)(in.end - in.next));
	else
		while (in.next != in.end)
			add_any(&in, &out, how.queue);
	CLAIM(zd_create(NULL, &config, 0, &dev, NULL) == 0);
	CLAIM(zd_serve_nvmetcp_new("nqn.2026-01.test:disk", &limits, &target, NULL) == 0);
	CLAIM(zd_serve_nvmetcp_namespace(target, 1, dev, ZD_NVME_SEQUENTIAL, NULL) == 0);
	CLAIM(zd_serve_nvmetcp_namespace(target, 2, dev, ZD_NVME_CONVENTIONAL, NULL) == 0);
	if (how.queue)
		enable(target, others);
	begin_talk(ends, &out);
	CLAIM(zd_serve_nvmetcp_here(target, ends[1], &how, NULL) == 0);
	got = end_talk(ends, answers);
	CLAIM(zd_serve_nvmetcp_list(target, NULL, 0) == (how.queue ? 1 : 0));
	if (how.queue)
		close_ends(others);
	zd_serve_nvmetcp_free(target);
	CLAIM(zd_close(dev, NULL) == 0);
	/* Where not all of it found room, it ends anywhere. */
	if (got < 100000)
		check(answers, got, &how);
	return 0;
}
