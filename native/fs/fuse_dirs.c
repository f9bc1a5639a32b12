/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests about names, directories, and the mount as a whole. The tree never changes, so that names may be
 * cached for ever, and all that would change it fails as in the kernel's zonefs.
 */
#include "fuse_server.h"

#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#define FOR_EVER 1e9 /* seconds */

static int entry(struct zd_fuse *fuse, uint64_t ino, struct fuse_entry_param *e)
{
	memset(e, 0, sizeof(*e));
	e->ino = node_of(fuse, ino);
	e->entry_timeout = FOR_EVER;
	return zd_fuse_attr(fuse, ino, &e->attr);
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct zd_fuse *fuse = fuse_of(req);
	struct fuse_entry_param e;
	uint64_t ino;
	int r = zd_fs_lookup(fuse->fs, ino_of(fuse, parent), name, &ino);

	if (!r)
		r = entry(fuse, ino, &e);
	if (r)
		fuse_reply_err(req, -r);
	else
		fuse_reply_entry(req, &e);
}

/* Nodes are numbers, there is nothing to forget. */
static void op_forget(fuse_req_t req, fuse_ino_t node, uint64_t lookups)
{
	(void)node;
	(void)lookups;
	fuse_reply_none(req);
}

static void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	(void)count;
	(void)forgets;
	fuse_reply_none(req);
}

/* ---------------------------------------------------------------- listing */

static void list(fuse_req_t req, fuse_ino_t node, size_t size, off_t from, bool with_attributes)
{
	struct zd_fuse *fuse = fuse_of(req);
	uint64_t dir = ino_of(fuse, node), index = (uint64_t)from, ino;
	size_t used = 0;
	char name[17], *room;
	mode_t type;
	int r;

	if (size > ZD_FUSE_IO)
		size = ZD_FUSE_IO;
	room = zd_fuse_room();
	if (!room) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	while ((r = zd_fs_readdir(fuse->fs, dir, &index, &ino, &type, name)) == 1) {
		size_t n;

		if (with_attributes) {
			struct fuse_entry_param e;

			if (name[0] == '.') { /* the kernel takes no entry for these two */
				memset(&e, 0, sizeof(e));
				e.attr.st_ino = ino;
				e.attr.st_mode = type;
			} else if (entry(fuse, ino, &e)) {
				continue;
			}
			n = fuse_add_direntry_plus(req, room + used, size - used, name, &e, (off_t)index);
		} else {
			struct stat st = { .st_ino = ino, .st_mode = type };

			n = fuse_add_direntry(req, room + used, size - used, name, &st, (off_t)index);
		}
		if (n > size - used)
			break;
		used += n;
	}
	if (r < 0)
		fuse_reply_err(req, -r);
	else
		fuse_reply_buf(req, room, used);
}

static void op_readdir(fuse_req_t req, fuse_ino_t node, size_t size, off_t from, struct fuse_file_info *fi)
{
	(void)fi;
	list(req, node, size, from, false);
}

static void op_readdirplus(fuse_req_t req, fuse_ino_t node, size_t size, off_t from, struct fuse_file_info *fi)
{
	(void)fi;
	list(req, node, size, from, true);
}

/* The kernel's zonefs has no fsync for directories. */
static void op_fsyncdir(fuse_req_t req, fuse_ino_t node, int datasync, struct fuse_file_info *fi)
{
	(void)node;
	(void)datasync;
	(void)fi;
	fuse_reply_err(req, EINVAL);
}

/* ---------------------------------------------------------------- what zonefs does not do */

/*
 * A new name: zonefs's lookup itself fails, so that whatever would make one gets its ENOENT. An old one: there
 * is no such operation, EPERM from the VFS.
 */
static void refuse_name(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct zd_fuse *fuse = fuse_of(req);
	uint64_t ino;
	int r = zd_fs_lookup(fuse->fs, ino_of(fuse, parent), name, &ino);

	fuse_reply_err(req, r ? -r : EPERM);
}

static void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	(void)mode;
	(void)rdev;
	refuse_name(req, parent, name);
}

static void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	(void)mode;
	refuse_name(req, parent, name);
}

static void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi)
{
	(void)mode;
	(void)fi;
	refuse_name(req, parent, name);
}

static void op_symlink(fuse_req_t req, const char *link, fuse_ino_t parent, const char *name)
{
	(void)link;
	refuse_name(req, parent, name);
}

static void op_link(fuse_req_t req, fuse_ino_t node, fuse_ino_t parent, const char *name)
{
	(void)node;
	refuse_name(req, parent, name);
}

/* The VFS asks first whether it may write, where a name is to go away; FUSE's does not know that it may not. */
static bool readonly(struct zd_fuse *fuse)
{
	struct zd_fs_options options;

	zd_fs_get_options(fuse->fs, &options);
	return options.flags & ZD_FS_READONLY;
}

static void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	if (readonly(fuse_of(req)))
		fuse_reply_err(req, EROFS);
	else
		refuse_name(req, parent, name);
}

static void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t newparent, const char *newname,
		      unsigned flags)
{
	(void)parent;
	(void)name;
	(void)flags;
	if (readonly(fuse_of(req)))
		fuse_reply_err(req, EROFS);
	else
		refuse_name(req, newparent, newname);
}

/* ---------------------------------------------------------------- the mount */

static void op_statfs(fuse_req_t req, fuse_ino_t node)
{
	struct zd_fuse *fuse = fuse_of(req);
	struct zd_fs_statfs fs;
	struct statvfs st;
	int r;

	(void)node;
	zd_fuse_await_close(fuse, ZD_FUSE_ANY);
	r = zd_fs_statfs(fuse->fs, &fs);
	if (r) {
		fuse_reply_err(req, -r);
		return;
	}
	memset(&st, 0, sizeof(st));
	st.f_bsize = st.f_frsize = fs.bsize;
	st.f_blocks = fs.blocks;
	st.f_bfree = st.f_bavail = fs.bfree;
	st.f_files = fs.files;
	st.f_fsid = fs.fsid;
	st.f_namemax = fs.namelen;
	fuse_reply_statfs(req, &st);
}

/* /sys/fs/zonefs/<dev>/ has a place only in the kernel: the root's extended attributes stand for it. */
#define PREFIX "user.zonefs."
static const char *const attributes[] = {
	PREFIX "max_wro_seq_files",    PREFIX "nr_wro_seq_files", PREFIX "max_active_seq_files",
	PREFIX "nr_active_seq_files", PREFIX "last_error",
};
enum { NR_ATTRIBUTES = sizeof(attributes) / sizeof(attributes[0]) };

static void reply_xattr(fuse_req_t req, const char *value, size_t length, size_t size)
{
	if (size == 0)
		fuse_reply_xattr(req, length);
	else if (size < length)
		fuse_reply_err(req, ERANGE);
	else
		fuse_reply_buf(req, value, length);
}

static void op_getxattr(fuse_req_t req, fuse_ino_t node, const char *name, size_t size)
{
	struct zd_fuse *fuse = fuse_of(req);
	struct zd_fs_counters now;
	char text[ZD_FUSE_TEXT];
	int i = 0;

	while (i < NR_ATTRIBUTES && strcmp(name, attributes[i]))
		i++;
	if (node != FUSE_ROOT_ID || i == NR_ATTRIBUTES) {
		fuse_reply_err(req, strncmp(name, PREFIX, sizeof(PREFIX) - 1) ? EOPNOTSUPP : ENODATA);
		return;
	}
	if (i == NR_ATTRIBUTES - 1) {
		zd_fuse_last_error(fuse, text);
	} else {
		zd_fuse_await_close(fuse, ZD_FUSE_ANY);
		zd_fs_get_counters(fuse->fs, &now);
		uint32_t values[] = { now.max_wro_seq_files, now.nr_wro_seq_files, now.max_active_seq_files,
				      now.nr_active_seq_files };

		snprintf(text, sizeof(text), "%u", values[i]);
	}
	reply_xattr(req, text, strlen(text), size);
}

static void op_listxattr(fuse_req_t req, fuse_ino_t node, size_t size)
{
	char names[NR_ATTRIBUTES * 48];
	size_t length = 0;

	for (int i = 0; node == FUSE_ROOT_ID && i < NR_ATTRIBUTES; i++) {
		size_t n = strlen(attributes[i]) + 1;

		memcpy(names + length, attributes[i], n);
		length += n;
	}
	reply_xattr(req, names, length, size);
}

static void op_setxattr(fuse_req_t req, fuse_ino_t node, const char *name, const char *value, size_t size, int flags)
{
	(void)node;
	(void)name;
	(void)value;
	(void)size;
	(void)flags;
	fuse_reply_err(req, EOPNOTSUPP);
}

static void op_removexattr(fuse_req_t req, fuse_ino_t node, const char *name)
{
	(void)node;
	(void)name;
	fuse_reply_err(req, EOPNOTSUPP);
}

void zd_fuse_dir_ops(struct fuse_lowlevel_ops *ops)
{
	ops->lookup = op_lookup;
	ops->forget = op_forget;
	ops->forget_multi = op_forget_multi;
	ops->readdir = op_readdir;
	ops->readdirplus = op_readdirplus;
	ops->fsyncdir = op_fsyncdir;
	ops->mknod = op_mknod;
	ops->mkdir = op_mkdir;
	ops->create = op_create;
	ops->symlink = op_symlink;
	ops->link = op_link;
	ops->unlink = op_unlink;
	ops->rmdir = op_unlink;
	ops->rename = op_rename;
	ops->statfs = op_statfs;
	ops->getxattr = op_getxattr;
	ops->listxattr = op_listxattr;
	ops->setxattr = op_setxattr;
	ops->removexattr = op_removexattr;
}
