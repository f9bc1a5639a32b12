/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The queue of events and the commands under way. Events are ordered by time, then by the order in which they were
 * made, so a run is the same every time.
 */
#include "drive.h"

#define EVENT_INDEXES (1u << 24) /* bits of a tag that number a command or a job */

static inline bool earlier(const struct event *a, const struct event *b)
{
	return a->time < b->time || (a->time == b->time && a->tag < b->tag);
}

void zd_event(struct zd_drive *drive, uint64_t time, enum event_kind kind, uint32_t index)
{
	struct event e = { time, drive->sequence++ << 28 | (uint64_t)kind << 24 | index };
	uint32_t i, up;

	if (unlikely(drive->heap_used == drive->heap_room)) {
		uint32_t room = drive->heap_room * 2;
		struct event *heap = realloc(drive->heap, room * sizeof(*heap));

		if (!heap) {
			drive->failed = true; /* whoever runs the queue says so */
			return;
		}
		drive->heap = heap;
		drive->heap_room = room;
	}
	for (i = drive->heap_used++; i; i = up) {
		up = (i - 1) / 2;
		if (!earlier(&e, &drive->heap[up]))
			break;
		drive->heap[i] = drive->heap[up];
	}
	drive->heap[i] = e;
}

struct event zd_next_event(struct zd_drive *drive)
{
	struct event top = drive->heap[0], e = drive->heap[--drive->heap_used];
	uint32_t i = 0, down, n = drive->heap_used;

	while ((down = 2 * i + 1) < n) {
		if (down + 1 < n && earlier(&drive->heap[down + 1], &drive->heap[down]))
			down++;
		if (!earlier(&drive->heap[down], &e))
			break;
		drive->heap[i] = drive->heap[down];
		i = down;
	}
	drive->heap[i] = e;
	return top;
}

uint32_t zd_command_new(struct zd_drive *drive)
{
	uint32_t i = drive->free_cmd, room, old = drive->nr_cmds;

	if (unlikely(!i)) {
		struct command *cmds;

		room = old ? 2 * old : 64;
		if (room > EVENT_INDEXES)
			return NONE;
		cmds = realloc(drive->cmds, room * sizeof(*cmds));
		if (!cmds)
			return NONE;
		drive->cmds = cmds;
		drive->nr_cmds = room;
		for (i = room; i-- > old;) {
			cmds[i].next = drive->free_cmd;
			drive->free_cmd = i + 1;
		}
		i = drive->free_cmd;
	}
	drive->free_cmd = drive->cmds[i - 1].next;
	return i - 1;
}
