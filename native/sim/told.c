/* SPDX-License-Identifier: Apache-2.0 */
/* Commands that a disk in use has carried out, given to a modelled drive: told.h. */
#include "told.h"

static uint64_t word_of(const struct zd_told_zone *zone)
{
	return (zone->written & W_WRITTEN) | (zone->finished ? W_FINISHED : 0) | zone->cond;
}

static bool is_data(const struct zd_told *k)
{
	return k->cmd >= ZD_CMD_READ && k->cmd <= ZD_CMD_APPEND;
}

/* What goes from a random write area to the medium. */
static uint32_t moved(const struct zd_told *k)
{
	if (!k->before.area)
		return 0;
	if (k->cmd == ZD_CMD_FINISH)
		return k->before.held;
	return k->after.written > k->before.written ? (uint32_t)(k->after.written - k->before.written) : 0;
}

int zd_told_take(struct zd_drive *drive, const struct zd_told *k, int *cmd)
{
	uint32_t zone = k->zone < drive->m.b.nr_zones ? k->zone : 0;

	*cmd = k->cmd;
	if (k->cmd < 0 || (is_data(k) && (k->offset > drive->m.b.size || k->length > drive->m.b.size - k->offset)))
		return -EINVAL;
	if (k->cmd >= ZD_CMD_OPEN_ALL && k->cmd <= ZD_CMD_RESET_ALL)
		*cmd -= ZD_CMD_OPEN_ALL - ZD_CMD_OPEN;
	else if (k->cmd == ZD_CMD_OPEN_ZRWA)
		*cmd = ZD_CMD_OPEN;
	else if (k->cmd > ZD_CMD_RESET && k->cmd != ZD_CMD_FLUSH && k->cmd != ZD_CMD_COMMIT_ZRWA)
		return 0; /* nothing that a program asks of a drive */
	if (!zone_conv(&drive->m, zone) && k->zone == zone)
		drive->m.word[zone] = word_of(&k->after);
	return 1;
}

bool zd_told_part(const struct zd_drive *drive, const struct zd_told *k, uint64_t *at, struct told_part *part)
{
	uint32_t zone = k->zone < drive->m.b.nr_zones ? k->zone : 0;
	uint64_t left, end;

	if (!is_data(k)) {
		bool flush = k->cmd == ZD_CMD_FLUSH;

		*part = (struct told_part){ .zone = zone, .offset = flush ? 0 : zone_start(&drive->m, zone) };
		if (!flush) {
			part->before = word_of(&k->before);
			part->area = k->before.area;
			part->moved = moved(k);
		}
		return !(*at)++;
	}
	left = k->length - *at;
	if (!left)
		return false;
	part->offset = k->offset + *at;
	part->zone = zone_of(&drive->m, part->offset);
	end = zone_start(&drive->m, part->zone) + zone_length(&drive->m, part->zone);
	part->length = left < end - part->offset ? left : end - part->offset;
	part->before = part->zone == k->zone ? word_of(&k->before) : 0;
	part->area = part->zone == k->zone && k->before.area;
	part->moved = part->area ? moved(k) : 0;
	*at += part->length;
	return true;
}

int zd_told_give(struct zd_drive *drive, int cmd, const struct told_part *part, uint32_t job)
{
	uint32_t i = zd_command_new(drive);
	struct command *c;

	if (i == NONE)
		return -ENOMEM;
	c = &drive->cmds[i];
	memset(c, 0, sizeof(*c));
	c->sent = c->arrived = drive->now;
	c->offset = part->offset;
	c->length = part->length;
	c->zone = part->zone;
	c->job = job;
	c->cmd = (uint8_t)cmd;
	c->dir = cmd == ZD_CMD_READ ? ZD_SIM_READ : cmd <= ZD_CMD_APPEND ? ZD_SIM_WRITE : ZD_SIM_NR_DIRS;
	c->before = part->before;
	c->moved = part->moved;
	c->flags = part->area ? C_AREA : 0;
	c->first = (part->before & W_COND) == ZD_EMPTY;
	drive->arrivals++;
	drive_submit(drive, c);
	return 0;
}
