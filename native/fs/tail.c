/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a relaxed mount holds back: bytes at the end of a sequential file that make no whole block yet. The kernel's
 * zonefs has nothing like it.
 *
 * The write that brings the first of them has to fail for all that can be known then, since many programs (and every
 * shell) ask no close for its result: so the tail takes what its block will need. A zone's open and active resource
 * by OPEN, where the disk has limits; it is given back, by CLOSE, when the block is written. The place on the host by
 * zd_reserve(). What remains is what the disk finds out when it writes the block.
 *
 * An explicitly open zone is not closed for another. So that tails do not use up what writes through this mount need,
 * a write that finds too many zones open closes one that is open for another file's tail (it lends its resource), and
 * that file does the same when its turn comes.
 */
#include "zonefs.h"

static int hold(zd_fs *fs, struct zd_node *node, struct zd_error *err)
{
	int r;

	/* Zones that the limits cannot reach, or that an open file holds open already, need nothing. */
	if ((!fs->info.max_open && !fs->info.max_active) || (node->flags & ZD_NODE_OPEN))
		return 0;
	do {
		r = zd_fs_zone_mgmt(fs->dev, ZD_CMD_OPEN, node->zone, err);
	} while (r == ZD_E_TOO_MANY_OPEN && zd_fs_tail_lends(fs, node));
	if (r)
		return r;
	if (!(atomic_fetch_or(&node->flags, ZD_NODE_HELD) & ZD_NODE_HELD))
		fs->nr_held++;
	zd_fs_account_active(fs, node);
	return 0;
}

bool zd_fs_tail_lends(zd_fs *fs, const struct zd_node *to)
{
	if (!fs->nr_held)
		return false;
	for (uint32_t i = 0; i < fs->groups[ZD_GROUP_SEQ].nr_nodes; i++) {
		struct zd_node *node = &fs->groups[ZD_GROUP_SEQ].nodes[i];

		if (node == to || !(node->flags & ZD_NODE_HELD))
			continue;
		/* Without that file's lock: its own write opens the zone again, whether before the CLOSE or after it. */
		atomic_fetch_or(&node->flags, ZD_NODE_LENT);
		if (!(atomic_fetch_and(&node->flags, ~(uint32_t)ZD_NODE_HELD) & ZD_NODE_HELD))
			continue;
		fs->nr_held--;
		zd_fs_zone_mgmt(fs->dev, ZD_CMD_CLOSE, node->zone, NULL);
		return true;
	}
	return false;
}

int zd_fs_tail_begin(zd_fs *fs, struct zd_node *node, struct zd_error *err)
{
	int r = hold(fs, node, err);

	if (!r) {
		r = zd_reserve(fs->dev, node->start + node->size, fs->block, err);
		if (r)
			zd_fs_tail_end(fs, node);
	}
	if (!r || r == -EINTR)
		return r;
	return zd_fs_write_refused(fs, node, r, err);
}

void zd_fs_tail_end(zd_fs *fs, struct zd_node *node)
{
	uint32_t was = atomic_fetch_and(&node->flags, ~(uint32_t)(ZD_NODE_HELD | ZD_NODE_LENT));
	struct zd_zone zone;

	node->tail_length = 0;
	for (struct zd_fs_file *file = node->files; file; file = file->next)
		file->in_tail = false;
	if (!(was & (ZD_NODE_HELD | ZD_NODE_LENT)))
		return;
	fs->nr_held -= (was & ZD_NODE_HELD) != 0;
	if (!(was & ZD_NODE_OPEN) && zd_report(fs->dev, node->zone, 1, &zone, NULL) == 1) {
		/* A ZNS zone that was closed without being written stays active; unless somebody else wrote it, reset it. */
		bool unwritten = node->size == 0 && zone.wp == zone.start;

		if (unwritten && (zone.cond == ZD_EXPLICIT_OPEN || zone.cond == ZD_CLOSED))
			zd_fs_zone_command(fs, node, ZD_CMD_RESET, NULL);
		else if (zone.cond == ZD_EXPLICIT_OPEN)
			zd_fs_zone_mgmt(fs->dev, ZD_CMD_CLOSE, node->zone, NULL);
	}
	zd_fs_account_active(fs, node);
}

int zd_fs_pad_tail(zd_fs *fs, struct zd_node *node, struct zd_error *err)
{
	struct iovec block = { node->tail, fs->block };
	struct zd_error why = { 0 };
	int64_t r;

	if (!node->tail_length)
		return 0;
	memset(node->tail + node->tail_length, 0, fs->block - node->tail_length);
	r = zd_fs_write_end(fs, node, &block, 1, fs->block, &why);
	if (r < 0 && err)
		*err = why;
	if (r == -EINTR)
		return -EINTR;
	/* A block that failed once is not tried again: who is told that it is lost may write it anew. */
	if (r < 0)
		zd_fs_tail_lost(fs, node, (int)-r, &why);
	else
		zd_fs_tail_end(fs, node);
	return r < 0 ? (int)r : 0;
}
