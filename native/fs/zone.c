/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Zone commands on behalf of files, and the accounting that goes with them (Linux fs/zonefs/super.c and file.c:
 * zonefs_zone_mgmt(), zonefs_account_active(), zonefs_file_truncate(), zonefs_seq_file_write_open() and _close()).
 */
#include "zonefs.h"

int zd_fs_zone_command(zd_fs *fs, struct zd_node *node, int cmd, struct zd_error *err)
{
	int r;

	/* A ZNS zone that is closed without being written stays active, so it is reset instead. */
	if (cmd == ZD_CMD_CLOSE && node->size == 0)
		cmd = ZD_CMD_RESET;
	r = zd_fs_zone_mgmt(fs->dev, cmd, node->zone, err);
	if (cmd == ZD_CMD_RESET)
		node->seen = zd_fs_seen(fs, node);
	return r ? zd_fs_errno(fs, r) : 0;
}

void zd_fs_account_active(zd_fs *fs, struct zd_node *node)
{
	bool active;

	if (zd_node_cnv(node))
		return;
	active = !(node->flags & (ZD_NODE_OFFLINE | ZD_NODE_READONLY)) &&
		 ((node->flags & (ZD_NODE_OPEN | ZD_NODE_HELD)) || (node->size > 0 && node->size < node->capacity));
	if (active && !(node->flags & ZD_NODE_ACTIVE)) {
		node->flags |= ZD_NODE_ACTIVE;
		fs->nr_active++;
	} else if (!active && (node->flags & ZD_NODE_ACTIVE)) {
		node->flags &= ~(uint32_t)ZD_NODE_ACTIVE;
		fs->nr_active--;
	}
}

void zd_fs_set_size(zd_fs *fs, struct zd_node *node, uint64_t size)
{
	/* Whole blocks of the new size less those of the old one; the difference may be negative, modulo 2^64. */
	fs->used_blocks += size / fs->block - node->size / fs->block;
	node->size = size;
	if (unlikely(size >= node->capacity) && !zd_node_cnv(node)) {
		if (node->flags & ZD_NODE_ACTIVE)
			fs->nr_active--;
		node->flags &= ~(uint32_t)(ZD_NODE_OPEN | ZD_NODE_ACTIVE | ZD_NODE_LENT);
		if (atomic_fetch_and(&node->flags, ~(uint32_t)ZD_NODE_HELD) & ZD_NODE_HELD)
			fs->nr_held--;
	}
}

int zd_fs_truncate(zd_fs *fs, struct zd_node *node, uint64_t size, struct zd_error *err)
{
	char name[24];
	int r;

	if (zd_node_cnv(node))
		return zd_fs_fail(err, EPERM, "%s is a conventional file: its size is fixed at %llu",
				  zd_node_name(fs, node, name), (unsigned long long)node->capacity);
	/* A relaxed file may be told its own size, as dd does with seek=; that changes nothing. */
	if (fs->relaxed && size == zd_node_end(node) && size != 0)
		return 0;
	if (size != 0 && size != node->capacity)
		return zd_fs_fail(
			err, EPERM,
			"%s can be truncated to 0 (which resets its zone) or to %llu (which finishes it), not to %llu",
			zd_node_name(fs, node, name), (unsigned long long)node->capacity, (unsigned long long)size);
	if (size != 0 && node->tail_length) {
		r = zd_fs_pad_tail(fs, node, err);
		if (r)
			return r;
	}
	zd_fs_tail_end(fs, node); /* truncated away, not lost */
	if (size == node->size)
		return 0;
	r = zd_fs_zone_command(fs, node, size ? ZD_CMD_FINISH : ZD_CMD_RESET, err);
	if (r)
		return r;
	if (node->flags & ZD_NODE_OPEN) {
		/* Both commands close the zone. After a reset it must be open again; a full one needs no closing. */
		if (size == 0)
			r = zd_fs_zone_command(fs, node, ZD_CMD_OPEN, err);
		else
			node->flags &= ~(uint32_t)ZD_NODE_OPEN;
	}
	zd_fs_set_size(fs, node, size);
	zd_fs_account_active(fs, node);
	return r;
}

int zd_fs_write_open(zd_fs *fs, struct zd_node *node, struct zd_error *err)
{
	char name[24];
	uint32_t wro;
	int r;

	if (node->writers++)
		return 0;
	wro = ++fs->nr_wro;
	if (!atomic_load(&fs->explicit_open))
		return 0;
	if (fs->info.max_open && wro > fs->info.max_open) {
		r = zd_fs_fail(err, EBUSY, "%s cannot be opened for writing: %u sequential files are, and at most %u may be",
			       zd_node_name(fs, node, name), wro - 1, fs->info.max_open);
		goto undo;
	}
	if (node->size < node->capacity) {
		r = zd_fs_zone_command(fs, node, ZD_CMD_OPEN, err);
		if (r)
			goto undo;
		node->flags |= ZD_NODE_OPEN;
		zd_fs_account_active(fs, node);
	}
	return 0;
undo:
	fs->nr_wro--;
	node->writers--;
	return r;
}

int zd_fs_write_close(zd_fs *fs, struct zd_node *node, struct zd_error *err)
{
	int pad = 0;

	if (--node->writers)
		return 0;
	if (node->tail_length)
		pad = zd_fs_pad_tail(fs, node, err);
	if (node->flags & ZD_NODE_OPEN) {
		struct zd_error why = { 0 };
		int r = zd_fs_zone_command(fs, node, ZD_CMD_CLOSE, &why);

		if (r) {
			zd_fs_io_error(fs, node, false, &why);
			/* Zones that stay open would use the disk's resources up. */
			if (node->flags & ZD_NODE_OPEN)
				zd_fs_turn_readonly(fs, node, &why);
			/* The kernel leaves the file counted as open for writing here, and so do we. */
			return pad;
		}
		node->flags &= ~(uint32_t)ZD_NODE_OPEN;
		zd_fs_account_active(fs, node);
	}
	fs->nr_wro--;
	return pad;
}
