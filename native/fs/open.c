/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files are opened and closed, and what an open one answers that moves no bytes: ftruncate, fallocate, and what mmap may
 * do (Linux fs/zonefs/file.c). Checks come in the kernel's order; those of the VFS that a user of the system call would
 * meet come first.
 */
#include "zonefs.h"

#include <sys/mman.h>

static void put_fs(zd_fs *fs)
{
	if (--fs->refs)
		return;
	for (int g = 0; g < ZD_NR_GROUPS; g++) {
		for (uint32_t i = 0; i < fs->groups[g].nr_nodes; i++) {
			pthread_rwlock_destroy(&fs->groups[g].nodes[i].lock);
			free(fs->groups[g].nodes[i].tail);
		}
	}
	pthread_mutex_destroy(&fs->news_lock);
	free(fs->nodes);
	free(fs->of_zone);
	free(fs);
}

void zd_fs_detach(zd_fs *fs)
{
	atomic_store(&fs->dead, true);
	put_fs(fs);
}

int zd_fs_open(zd_fs *fs, uint64_t ino, int flags, zd_fs_file **out, struct zd_error *err)
{
	int access = flags & O_ACCMODE, r = 0;
	bool writes = access == O_WRONLY || access == O_RDWR;
	struct zd_node *node;
	zd_fs_file *file;
	char name[24];

	*out = NULL;
	if (atomic_load(&fs->dead))
		return zd_fs_gone(err);
	if (!zd_fs_attr(fs, ino, &node))
		return zd_fs_fail(err, ENOENT, "there is no file with inode number %llu", (unsigned long long)ino);
	if ((flags & O_CREAT) && (flags & O_EXCL))
		return zd_fs_fail(err, EEXIST, "the file exists: zonefs has one for each zone, and O_EXCL asks for a new one");
	if (!node)
		return zd_fs_fail(err, EISDIR, "a directory cannot be opened as a file");
	if (flags & O_DIRECTORY)
		return zd_fs_fail(err, ENOTDIR, "%s is a file, not a directory", zd_node_name(fs, node, name));
	if (writes || (flags & O_TRUNC)) {
		if (atomic_load(&fs->readonly))
			return zd_fs_fail(err, EROFS, "the file system is read-only: %s cannot be opened for writing",
					  zd_node_name(fs, node, name));
		if (zd_node_immutable(node))
			return zd_fs_fail(err, EPERM, "%s cannot be opened for writing: its zone is %s",
					  zd_node_name(fs, node, name),
					  node->flags & ZD_NODE_OFFLINE ? "offline" : "read-only");
	}
	file = malloc(sizeof(*file));
	if (!file)
		return zd_fs_fail(err, ENOMEM, "out of memory");
	*file = (zd_fs_file){ .fs = fs, .node = node, .readable = access == O_RDONLY || access == O_RDWR, .writable = writes };

	if (writes || (flags & O_TRUNC)) {
		r = zd_node_lock(fs, node, true, err);
		if (r) {
			free(file);
			return r;
		}
		if (writes && !zd_node_cnv(node))
			r = zd_fs_write_open(fs, node, err);
		if (!r && (flags & O_TRUNC)) {
			/* The kernel truncates once the file is open: setattr's check, then the zone. */
			if (zd_node_immutable(node))
				r = zd_fs_fail(err, EPERM, "%s cannot be truncated: its zone is dead",
					       zd_node_name(fs, node, name));
			else
				r = zd_fs_truncate(fs, node, 0, err);
			if (!r)
				node->attr.mtime = node->attr.ctime = zd_fs_now();
			if (r && writes && !zd_node_cnv(node))
				zd_fs_write_close(fs, node, NULL);
		}
		if (!r && writes && !zd_node_cnv(node)) {
			file->next = node->files;
			file->at = &node->files;
			if (file->next)
				file->next->at = &file->next;
			node->files = file;
		}
		zd_node_changed(node);
	}
	if (r) {
		free(file);
		return r;
	}
	fs->refs++;
	fs->nr_writers += writes;
	*out = file;
	return 0;
}

/* Under the node's lock held for writing. */
static void take_out(zd_fs_file *file)
{
	*file->at = file->next;
	if (file->next)
		file->next->at = file->at;
	file->at = NULL;
}

int zd_fs_close(zd_fs_file *file, struct zd_error *err)
{
	zd_fs *fs = file->fs;
	struct zd_node *node = file->node;
	int r = 0;

	if (file->writable && !zd_node_cnv(node) && !atomic_load(&fs->dead)) {
		pthread_rwlock_wrlock(&node->lock);
		r = zd_fs_write_close(fs, node, err);
		take_out(file);
		zd_node_changed(node);
	}
	zd_fs_drop(file);
	return r;
}

void zd_fs_drop(zd_fs_file *file)
{
	zd_fs *fs = file->fs;

	if (file->at && !atomic_load(&fs->dead)) {
		pthread_rwlock_wrlock(&file->node->lock);
		take_out(file);
		zd_node_changed(file->node);
	}
	fs->nr_writers -= file->writable;
	free(file);
	put_fs(fs);
}

int zd_fs_ftruncate(zd_fs_file *file, uint64_t size, struct zd_error *err)
{
	struct stat to = { .st_size = (off_t)size };
	zd_fs *fs = file->fs;
	char name[24];

	if (unlikely(atomic_load(&fs->dead)))
		return zd_fs_gone(err);
	if (size > INT64_MAX)
		return zd_fs_fail(err, EINVAL, "a size cannot be negative");
	if (!file->writable)
		return zd_fs_fail(err, EINVAL, "%s is not open for writing", zd_node_name(fs, file->node, name));
	return zd_fs_change(fs, file->node->zone, &to, ZD_FS_SET_SIZE | ZD_FS_BY_FILE, err);
}

int zd_fs_fallocate(zd_fs_file *file, struct zd_error *err)
{
	char name[24];

	if (unlikely(atomic_load(&file->fs->dead)))
		return zd_fs_gone(err);
	if (zd_node_immutable(file->node)) /* vfs_fallocate() asks this first */
		return zd_fs_fail(err, EPERM, "%s cannot be changed: its zone is %s", zd_node_name(file->fs, file->node, name),
				  file->node->flags & ZD_NODE_OFFLINE ? "offline" : "read-only");
	return zd_fs_fail(err, EOPNOTSUPP, "zonefs has no fallocate: a file's space is its zone");
}

int zd_fs_check_mmap(zd_fs_file *file, int prot, int flags)
{
	bool shared = (flags & MAP_TYPE) == MAP_SHARED || (flags & MAP_TYPE) == MAP_SHARED_VALIDATE;

	if (atomic_load(&file->fs->dead))
		return -EIO;
	if (!file->readable || (shared && (prot & PROT_WRITE) && !file->writable))
		return -EACCES;
	/* Writable or not now: mprotect() could make it so. */
	if (!zd_node_cnv(file->node) && shared && file->writable)
		return -EINVAL;
	return 0;
}
