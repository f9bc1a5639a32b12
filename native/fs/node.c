/* SPDX-License-Identifier: Apache-2.0 */
/* The tree: numbers, names, attributes, directory listings, statfs. Nothing here changes the disk. */
#include "zonefs.h"

#include <stdio.h>

static const char group_names[ZD_NR_GROUPS][4] = { "cnv", "seq" };

int64_t zd_fs_now(void)
{
	struct timespec t;

	/* The kernel stamps files with its coarse clock too. */
	clock_gettime(CLOCK_REALTIME_COARSE, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

void zd_attr_init(struct zd_attr *attr, uint32_t mode, uint32_t uid, uint32_t gid, int64_t now)
{
	attr->mode = mode;
	attr->uid = uid;
	attr->gid = gid;
	attr->atime = attr->mtime = attr->ctime = now;
}

uint64_t zd_fs_root(zd_fs *fs)
{
	return fs->info.nr_zones;
}

static int group_of(const zd_fs *fs, uint64_t ino)
{
	for (int g = 0; g < ZD_NR_GROUPS; g++) {
		if (ino == (uint64_t)fs->info.nr_zones + 1 + g && fs->groups[g].nr_nodes)
			return g;
	}
	return -1;
}

struct zd_node *zd_fs_node(zd_fs *fs, uint64_t ino)
{
	if (ino >= fs->info.nr_zones || !fs->of_zone[ino])
		return NULL;
	return &fs->nodes[fs->of_zone[ino] - 1];
}

struct zd_attr *zd_fs_attr(zd_fs *fs, uint64_t ino, struct zd_node **node)
{
	int g;

	*node = zd_fs_node(fs, ino);
	if (*node)
		return &(*node)->attr;
	if (ino == zd_fs_root(fs))
		return &fs->root;
	g = group_of(fs, ino);
	return g < 0 ? NULL : &fs->groups[g].attr;
}

const char *zd_node_name(const zd_fs *fs, const struct zd_node *node, char *to)
{
	int g = zd_node_cnv(node) ? ZD_GROUP_CNV : ZD_GROUP_SEQ;

	snprintf(to, 24, "%s/%u", group_names[g], (unsigned)(node - fs->groups[g].nodes));
	return to;
}

/* Decimal, no leading zeros (zonefs_fname_to_fno()). At most 16 digits: no overflow. */
static int file_number(const char *name, size_t length, uint64_t *number)
{
	*number = 0;
	if (length == 0 || (length > 1 && name[0] == '0'))
		return -ENOENT;
	for (size_t i = 0; i < length; i++) {
		if (name[i] < '0' || name[i] > '9')
			return -ENOENT;
		*number = *number * 10 + (uint64_t)(name[i] - '0');
	}
	return 0;
}

int zd_fs_lookup(zd_fs *fs, uint64_t parent, const char *name, uint64_t *ino)
{
	size_t length = strlen(name);
	uint64_t number;
	int g;

	if (atomic_load(&fs->dead))
		return -EIO;
	if (zd_fs_node(fs, parent))
		return -ENOTDIR;
	g = group_of(fs, parent);
	if (g < 0 && parent != zd_fs_root(fs))
		return -ENOENT;
	if (length > ZD_FS_NAME_MAX)
		return -ENAMETOOLONG;
	if (strcmp(name, ".") == 0) {
		*ino = parent;
		return 0;
	}
	if (strcmp(name, "..") == 0) {
		*ino = zd_fs_root(fs);
		return 0;
	}
	if (g < 0) {
		for (g = 0; g < ZD_NR_GROUPS; g++) {
			if (fs->groups[g].nr_nodes && strcmp(name, group_names[g]) == 0) {
				*ino = zd_fs_root(fs) + 1 + (uint64_t)g;
				return 0;
			}
		}
		return -ENOENT;
	}
	if (file_number(name, length, &number) || number >= fs->groups[g].nr_nodes)
		return -ENOENT;
	*ino = fs->groups[g].nodes[number].zone;
	return 0;
}

/* ---------------------------------------------------------------- locks */

#define LOOK_NS 50000000 /* between two looks at the interrupt hook */

int zd_node_init_lock(struct zd_node *node)
{
	pthread_rwlockattr_t kind;
	int r;

	pthread_rwlockattr_init(&kind);
	pthread_rwlockattr_setkind_np(&kind, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	r = pthread_rwlock_init(&node->lock, &kind);
	pthread_rwlockattr_destroy(&kind);
	return -r;
}

bool zd_node_lock_soon(struct zd_node *node, bool write)
{
	struct timespec until;

	if (likely(!(write ? pthread_rwlock_trywrlock(&node->lock) : pthread_rwlock_tryrdlock(&node->lock))))
		return true;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += LOOK_NS;
	if (until.tv_nsec >= 1000000000) {
		until.tv_nsec -= 1000000000;
		until.tv_sec++;
	}
	return !(write ? pthread_rwlock_timedwrlock(&node->lock, &until) : pthread_rwlock_timedrdlock(&node->lock, &until));
}

int zd_node_lock(zd_fs *fs, struct zd_node *node, bool write, struct zd_error *err)
{
	char name[24];

	while (unlikely(!zd_node_lock_soon(node, write))) {
		void *arg;
		int (*interrupted)(void *) = zd_get_interrupt(fs->dev, &arg);

		if (interrupted && interrupted(arg))
			return zd_fs_fail(err, EINTR, "interrupted while waiting for another user of %s",
					  zd_node_name(fs, node, name));
	}
	return 0;
}

void zd_node_changed(struct zd_node *node)
{
	atomic_store_explicit(&node->end, zd_node_end(node), memory_order_release);
	pthread_rwlock_unlock(&node->lock);
}

static struct timespec timespec_of(int64_t ns)
{
	int64_t sec = ns / 1000000000, rest = ns % 1000000000;

	if (rest < 0) {
		rest += 1000000000;
		sec--;
	}
	return (struct timespec){ .tv_sec = sec, .tv_nsec = rest };
}

int zd_fs_getattr(zd_fs *fs, uint64_t ino, struct stat *out)
{
	struct zd_node *node;
	struct zd_attr *attr = zd_fs_attr(fs, ino, &node);

	if (atomic_load(&fs->dead))
		return -EIO;
	if (!attr)
		return -ENOENT;
	memset(out, 0, sizeof(*out));
	out->st_ino = ino;
	out->st_uid = attr->uid;
	out->st_gid = attr->gid;
	out->st_blksize = fs->block;
	out->st_atim = timespec_of(attr->atime);
	out->st_mtim = timespec_of(attr->mtime);
	out->st_ctim = timespec_of(attr->ctime);
	if (node) {
		out->st_size = (off_t)atomic_load_explicit(&node->end, memory_order_acquire);
		out->st_mode = S_IFREG | attr->mode;
		out->st_nlink = 1;
		out->st_blocks = (blkcnt_t)(node->capacity / 512);
		return 0;
	}
	out->st_mode = S_IFDIR | attr->mode;
	out->st_nlink = 2;
	if (ino == zd_fs_root(fs)) {
		for (int g = 0; g < ZD_NR_GROUPS; g++)
			out->st_nlink += fs->groups[g].nr_nodes != 0;
		out->st_size = (off_t)out->st_nlink;
	} else {
		out->st_size = fs->groups[group_of(fs, ino)].nr_nodes;
	}
	return 0;
}

int zd_fs_readdir(zd_fs *fs, uint64_t dir, uint64_t *index, uint64_t *ino, mode_t *type, char *name)
{
	int g = group_of(fs, dir);
	uint64_t at = *index;

	if (atomic_load(&fs->dead))
		return -EIO;
	if (zd_fs_node(fs, dir))
		return -ENOTDIR;
	if (g < 0 && dir != zd_fs_root(fs))
		return -ENOENT;
	*type = S_IFDIR;
	if (at < 2) {
		strcpy(name, at == 0 ? "." : "..");
		*ino = at == 0 ? dir : zd_fs_root(fs);
	} else if (g < 0) {
		int left = (int)(at - 2 < ZD_NR_GROUPS ? at - 2 : ZD_NR_GROUPS), which = 0;

		while (which < ZD_NR_GROUPS && (!fs->groups[which].nr_nodes || left-- > 0))
			which++;
		if (which == ZD_NR_GROUPS)
			return 0;
		strcpy(name, group_names[which]);
		*ino = zd_fs_root(fs) + 1 + (uint64_t)which;
	} else {
		if (at - 2 >= fs->groups[g].nr_nodes)
			return 0;
		snprintf(name, ZD_FS_NAME_MAX + 1, "%u", (unsigned)(at - 2));
		*ino = fs->groups[g].nodes[at - 2].zone;
		*type = S_IFREG;
	}
	*index = at + 1;
	return 1;
}

int zd_fs_statfs(zd_fs *fs, struct zd_fs_statfs *out)
{
	uint64_t used = fs->used_blocks, half[2] = { 0, 0 };

	if (atomic_load(&fs->dead))
		return -EIO;
	memset(out, 0, sizeof(*out));
	out->bsize = fs->block;
	out->namelen = ZD_FS_NAME_MAX;
	out->blocks = fs->blocks;
	out->bfree = used > fs->blocks ? 0 : fs->blocks - used;
	for (int g = 0; g < ZD_NR_GROUPS; g++) {
		if (fs->groups[g].nr_nodes)
			out->files += fs->groups[g].nr_nodes + 1;
	}
	for (int i = 0; i < 16; i++)
		half[i / 8] |= (uint64_t)fs->format.uuid[i] << (8 * (i % 8));
	out->fsid = half[0] ^ half[1]; /* uuid_to_fsid() */
	return 0;
}
