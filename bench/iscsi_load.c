/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A load on an iSCSI target by libiscsi: sessions that read or write one behind the other, each in a span of its own, so
 * many commands in flight. One thread; what it costs is the same for each target.
 *
 * Usage: iscsi_load PORTAL TARGET LUN read|write BLOCKS DEPTH SECONDS SESSIONS FIRST SPAN ZONE
 * FIRST, SPAN: the first session's first block, and blocks of each. ZONE: blocks of a zone, each of which is reset before
 * its span is written again; 0 where nothing has to be. All blocks are the disk's. Prints commands a second.
 */
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>

#define MOST_SESSIONS 256

struct session {
	struct iscsi_context *iscsi;
	uint64_t first, at; /* blocks; at: of the span */
	uint32_t under_way;
	bool draining, resetting;
};

static struct session sessions[MOST_SESSIONS];
static int lun, block_size;
static bool writing;
static uint32_t blocks, depth;
static uint64_t span, zone, done;
static double end;
static uint8_t *data;

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void die(struct session *s, const char *what)
{
	fprintf(stderr, "%s: %s\n", what, s->iscsi ? iscsi_get_error(s->iscsi) : strerror(errno));
	exit(1);
}

static void fill(struct session *s);

/* A command has ended, and well. */
static struct session *ended(void *session, int status, void *command, const char *otherwise)
{
	struct session *s = session;

	if (status != SCSI_STATUS_GOOD)
		die(s, otherwise);
	scsi_free_scsi_task(command);
	s->under_way--;
	return s;
}

static void reset_done(struct iscsi_context *iscsi, int status, void *command, void *arg)
{
	struct session *s = ended(arg, status, command, "a reset failed");

	(void)iscsi;
	if (s->under_way == 0) {
		s->resetting = false;
		fill(s);
	}
}

static void reset(struct session *s)
{
	s->resetting = true;
	for (uint64_t at = 0; at < span; at += zone) {
		uint64_t lba = s->first + at;
		unsigned char cdb[16] = { 0x94, 4 }; /* RESET WRITE POINTER */
		struct scsi_task *task;

		for (int i = 0; i < 8; i++)
			cdb[2 + i] = (unsigned char)(lba >> (56 - 8 * i));
		task = scsi_create_task(16, cdb, SCSI_XFER_NONE, 0);
		s->under_way++;
		if (!task || iscsi_scsi_command_async(s->iscsi, lun, task, reset_done, NULL, s))
			die(s, "a reset cannot be sent");
	}
}

static void command_done(struct iscsi_context *iscsi, int status, void *command, void *arg)
{
	(void)iscsi;
	done++;
	fill(ended(arg, status, command, "a command failed"));
}

static void fill(struct session *s)
{
	if (s->resetting || now() >= end)
		return;
	if (s->at == span) {
		if (writing && zone && s->under_way)
			return; /* the last ones of this round */
		s->at = 0;
		if (writing && zone) {
			reset(s);
			return;
		}
	}
	while (s->under_way < depth && s->at < span) {
		uint32_t bytes = blocks * (uint32_t)block_size;
		struct scsi_task *task = writing ? iscsi_write16_task(s->iscsi, lun, s->first + s->at, data, bytes, block_size,
								      0, 0, 0, 0, 0, command_done, s) :
						   iscsi_read16_task(s->iscsi, lun, s->first + s->at, bytes, block_size, 0, 0,
								     0, 0, 0, command_done, s);

		if (!task)
			die(s, "a command cannot be sent");
		s->at += blocks;
		s->under_way++;
	}
}

static void attach(struct session *s, int number, const char *portal, const char *target)
{
	char name[64];
	struct scsi_readcapacity16 *capacity;
	struct scsi_task *task;

	snprintf(name, sizeof(name), "iqn.2026-01.bench:host%d", number);
	s->iscsi = iscsi_create_context(name);
	if (!s->iscsi)
		die(s, "no context");
	iscsi_set_targetname(s->iscsi, target);
	iscsi_set_session_type(s->iscsi, ISCSI_SESSION_NORMAL);
	if (iscsi_full_connect_sync(s->iscsi, portal, lun))
		die(s, "no connection");
	task = iscsi_readcapacity16_sync(s->iscsi, lun);
	capacity = task ? scsi_datain_unmarshall(task) : NULL;
	if (!capacity)
		die(s, "no capacity");
	block_size = (int)capacity->block_length;
	scsi_free_scsi_task(task);
}

int main(int argc, char **argv)
{
	struct pollfd polls[MOST_SESSIONS];
	double began;
	int number;

	if (argc != 12) {
		fprintf(stderr,
			"usage: iscsi_load PORTAL TARGET LUN read|write BLOCKS DEPTH SECONDS SESSIONS FIRST SPAN ZONE\n");
		return 2;
	}
	lun = atoi(argv[3]);
	writing = !strcmp(argv[4], "write");
	blocks = (uint32_t)atol(argv[5]);
	depth = (uint32_t)atol(argv[6]);
	number = atoi(argv[8]);
	span = strtoull(argv[10], NULL, 10) / blocks * blocks;
	zone = strtoull(argv[11], NULL, 10);
	if (number < 1 || number > MOST_SESSIONS || !blocks || !depth || !span) {
		fprintf(stderr, "1 to %d sessions; blocks, depth and span above 0\n", MOST_SESSIONS);
		return 2;
	}
	for (int i = 0; i < number; i++) {
		attach(&sessions[i], i, argv[1], argv[2]);
		sessions[i].first = strtoull(argv[9], NULL, 10) + (uint64_t)i * span;
		sessions[i].at = span; /* a span begins with its resets */
	}
	data = calloc(blocks, (size_t)block_size);
	if (!data)
		return 1;
	memset(data, 'x', (size_t)blocks * (size_t)block_size);
	began = now();
	end = began + atof(argv[7]);
	for (int i = 0; i < number; i++)
		fill(&sessions[i]);
	while (now() < end) {
		for (int i = 0; i < number; i++)
			polls[i] = (struct pollfd){ iscsi_get_fd(sessions[i].iscsi),
						    (short)iscsi_which_events(sessions[i].iscsi), 0 };
		if (poll(polls, (nfds_t)number, 100) < 0 && errno != EINTR)
			return 1;
		for (int i = 0; i < number; i++)
			if (polls[i].revents && iscsi_service(sessions[i].iscsi, polls[i].revents))
				die(&sessions[i], "the session ended");
	}
	printf("%.1f\n", (double)done / (now() - began));
	return 0; /* what is under way ends with the process */
}
