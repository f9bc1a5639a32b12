/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chmod, chown, utimens and truncate (Linux fs/zonefs/super.c, zonefs_inode_setattr(), and before it the VFS:
 * vfs_truncate(), notify_change(), setattr_prepare()). Permission bits are kept, not enforced: that is the
 * business of whoever knows the caller.
 */
#include "zonefs.h"

static int64_t ns_of(struct timespec t)
{
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void copy_attributes(struct zd_attr *attr, bool directory, const struct stat *to, unsigned set)
{
	int64_t now = zd_fs_now();
	uint32_t mode = attr->mode;

	if (set & (ZD_FS_SET_UID | ZD_FS_SET_GID)) {
		if (set & ZD_FS_SET_UID)
			attr->uid = to->st_uid;
		if (set & ZD_FS_SET_GID)
			attr->gid = to->st_gid;
		if (!directory) { /* a new owner has not asked for these */
			mode &= ~(uint32_t)S_ISUID;
			if (mode & S_IXGRP)
				mode &= ~(uint32_t)S_ISGID;
			attr->mode = mode;
		}
	}
	if (set & ZD_FS_SET_MODE)
		attr->mode = to->st_mode & 07777;
	if (set & ZD_FS_SET_ATIME)
		attr->atime = ns_of(to->st_atim);
	if (set & ZD_FS_SET_MTIME)
		attr->mtime = ns_of(to->st_mtim);
	if (set & (ZD_FS_SET_UID | ZD_FS_SET_GID | ZD_FS_SET_MODE | ZD_FS_SET_ATIME | ZD_FS_SET_MTIME))
		attr->ctime = now;
	if ((set & ZD_FS_SET_SIZE) && (set & ZD_FS_BY_FILE)) /* truncate(2) leaves the times alone */
		attr->mtime = attr->ctime = now;
}

static int change_node(zd_fs *fs, struct zd_node *node, const struct stat *to, unsigned set, struct zd_error *err)
{
	char name[24];

	if (zd_node_immutable(node))
		return zd_fs_fail(err, EPERM, "%s cannot be changed: its zone is %s", zd_node_name(fs, node, name),
				  node->flags & ZD_NODE_OFFLINE ? "offline" : "read-only");
	if (set & ZD_FS_SET_SIZE) {
		uint64_t size = (uint64_t)to->st_size;
		int r;

		if (size > zd_node_end(node) && size > fs->max_bytes)
			return zd_fs_fail(err, EFBIG, "%s cannot be truncated to %llu: no file here is larger than %llu",
					  zd_node_name(fs, node, name), (unsigned long long)size,
					  (unsigned long long)fs->max_bytes);
		r = zd_fs_truncate(fs, node, size, err);
		if (r)
			return r;
	}
	copy_attributes(&node->attr, false, to, set);
	return 0;
}

int zd_fs_change(zd_fs *fs, uint64_t ino, const struct stat *to, unsigned set, struct zd_error *err)
{
	struct zd_node *node;
	struct zd_attr *attr = zd_fs_attr(fs, ino, &node);
	int r;

	if (node) {
		r = zd_node_lock(fs, node, true, err);
		if (r)
			return r;
		r = change_node(fs, node, to, set, err);
		zd_node_changed(node);
		return r;
	}
	if ((set & ZD_FS_SET_MODE) && (to->st_mode & 0222))
		return zd_fs_fail(err, EPERM, "a directory of zonefs cannot be made writable: files come and go with zones");
	copy_attributes(attr, true, to, set);
	return 0;
}

int zd_fs_setattr(zd_fs *fs, uint64_t ino, const struct stat *to, unsigned set, struct zd_error *err)
{
	struct zd_node *node;

	if (atomic_load(&fs->dead))
		return zd_fs_fail(err, EIO, "the file system was unmounted");
	if (!zd_fs_attr(fs, ino, &node))
		return zd_fs_fail(err, ENOENT, "there is no file with inode number %llu", (unsigned long long)ino);
	if ((set & ZD_FS_SET_SIZE) && to->st_size < 0)
		return zd_fs_fail(err, EINVAL, "a size cannot be negative");
	if ((set & ZD_FS_SET_SIZE) && !node)
		return zd_fs_fail(err, EISDIR, "a directory cannot be truncated");
	if (atomic_load(&fs->readonly))
		return zd_fs_fail(err, EROFS, "the file system is read-only");
	return zd_fs_change(fs, ino, to, set & ~ZD_FS_BY_FILE, err);
}
