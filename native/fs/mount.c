/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mounting: the tree built from the disk's zones, and what belongs to the mount as a whole (Linux
 * fs/zonefs/super.c, zonefs_fill_super(), zonefs_init_zgroup(), zonefs_reconfigure(); sysfs.c).
 */
#include "zonefs.h"

#define NO_ID UINT32_MAX /* in options: as the superblock says */
#define OPTIONS (ZD_FS_EXPLICIT_OPEN | ZD_FS_READONLY | ZD_FS_RELAXED)

static int check_options(const struct zd_fs_options *options, struct zd_error *err)
{
	if (options->errors > ZD_FS_REPAIR)
		return zd_fs_fail(err, EINVAL, "option errors is %u: it must be 0 (remount-ro) to 3 (repair)", options->errors);
	if (options->flags & ~OPTIONS)
		return zd_fs_fail(err, EINVAL, "option flags 0x%x are unknown", options->flags & ~OPTIONS);
	if (options->reserved[0] || options->reserved[1] || options->reserved[2])
		return zd_fs_fail(err, EINVAL, "what the options reserve must be zero");
	if (options->perm != NO_ID && options->perm > 07777)
		return zd_fs_fail(err, EINVAL, "option perm is 0%o: it must be 0 to 07777", options->perm);
	return 0;
}

/* Linux forgets limits that a disk's sequential zones cannot reach: disk_update_zone_resources(), block/blk-zoned.c. */
static void forget_idle_limits(struct zd_info *info)
{
	uint32_t nr_seq = info->nr_zones - info->nr_conv_zones;

	if (info->max_open >= nr_seq)
		info->max_open = 0;
	if (info->max_active >= nr_seq)
		info->max_active = 0;
}

static void set_options(zd_fs *fs, const struct zd_fs_options *options)
{
	const struct zd_fs_format *format = &fs->format;

	fs->errors = options->errors;
	fs->relaxed = (options->flags & ZD_FS_RELAXED) != 0;
	fs->uid = format->features & ZD_FS_F_UID ? format->uid : 0;
	fs->gid = format->features & ZD_FS_F_GID ? format->gid : 0;
	fs->perm = format->features & ZD_FS_F_PERM ? format->perm & 07777 : 0640;
	if (options->uid != NO_ID)
		fs->uid = options->uid;
	if (options->gid != NO_ID)
		fs->gid = options->gid;
	if (options->perm != NO_ID)
		fs->perm = options->perm;
	atomic_store(&fs->readonly, (options->flags & ZD_FS_READONLY) != 0);
	/* Without limits there is nothing to keep, so the kernel ignores the option. */
	atomic_store(&fs->explicit_open, (options->flags & ZD_FS_EXPLICIT_OPEN) && (fs->info.max_open || fs->info.max_active));
}

/* One zone more for a file: the first, or one that is aggregated to it. */
static void add_zone(struct zd_node *node, const struct zd_zone *zone, uint8_t *cond)
{
	if (node->nr_zones++ == 0) {
		node->zone = zone->index;
		node->start = zone->start;
		node->capacity = zone->capacity;
		*cond = zone->cond;
		return;
	}
	node->capacity += zone->capacity;
	if (zone->cond == ZD_OFFLINE || (zone->cond == ZD_READ_ONLY && *cond != ZD_OFFLINE))
		*cond = zone->cond;
}

static int start_node(zd_fs *fs, struct zd_node *node, const struct zd_zone *last, uint8_t cond, int64_t now,
		      struct zd_error *err)
{
	struct zd_zone zone = *last;
	int r = zd_node_init_lock(node);

	if (r)
		return zd_fs_fail(err, -r, "no lock for a file");
	if (zone.type == ZD_CONVENTIONAL)
		node->flags |= ZD_NODE_CNV;
	zd_attr_init(&node->attr, fs->perm, fs->uid, fs->gid, now);
	zone.cond = cond;
	node->size = zd_fs_check_condition(node, &zone);
	node->end = node->size;
	if (node->flags & (ZD_NODE_OFFLINE | ZD_NODE_READONLY)) {
		/* How much a zone found read-only holds is not known, so its file cannot be read either. */
		node->flags |= ZD_NODE_IMMUTABLE;
		node->attr.mode &= ~0777u;
	}
	node->seen = zd_fs_seen(fs, node);
	if (node->capacity > fs->max_bytes)
		fs->max_bytes = node->capacity;
	fs->blocks += node->capacity / fs->block;
	fs->used_blocks += node->size / fs->block;
	if (!zd_node_cnv(node) && (cond == ZD_IMPLICIT_OPEN || cond == ZD_EXPLICIT_OPEN) && !fs->info.readonly) {
		r = zd_fs_zone_command(fs, node, ZD_CMD_CLOSE, err);
		if (r)
			return r;
	}
	zd_fs_account_active(fs, node);
	return 0;
}

/* Whether a zone goes into the file of the zone before it. */
static bool joins(const zd_fs *fs, const struct zd_zone *zone, bool before_is_cnv)
{
	return zone->type == ZD_CONVENTIONAL && before_is_cnv && (fs->format.features & ZD_FS_F_AGGRCNV);
}

/* Two passes over the zones: count the files of each group, then make them. Zone 0 holds the superblock. */
static int build_tree(zd_fs *fs, int64_t now, struct zd_error *err)
{
	uint32_t count[ZD_NR_GROUPS] = { 0, 0 }, next[ZD_NR_GROUPS];
	struct zd_zone *zones;
	int64_t got;
	int r = 0;

	zones = calloc(fs->info.nr_zones, sizeof(*zones));
	fs->of_zone = calloc(fs->info.nr_zones, sizeof(*fs->of_zone));
	if (!zones || !fs->of_zone) {
		r = zd_fs_fail(err, ENOMEM, "out of memory");
		goto out;
	}
	got = zd_report(fs->dev, 0, fs->info.nr_zones, zones, err);
	if (got < 0) {
		r = zd_fs_errno(fs, got);
		goto out;
	}
	for (uint32_t z = 1; z < fs->info.nr_zones; z++) {
		if (!joins(fs, &zones[z], z > 1 && zones[z - 1].type == ZD_CONVENTIONAL))
			count[zones[z].type == ZD_CONVENTIONAL ? ZD_GROUP_CNV : ZD_GROUP_SEQ]++;
	}
	fs->nodes = calloc((size_t)count[0] + count[1] + 1, sizeof(*fs->nodes));
	if (!fs->nodes) {
		r = zd_fs_fail(err, ENOMEM, "out of memory");
		goto out;
	}
	fs->groups[ZD_GROUP_CNV].nodes = fs->nodes;
	fs->groups[ZD_GROUP_SEQ].nodes = fs->nodes + count[ZD_GROUP_CNV];
	next[ZD_GROUP_CNV] = 0;
	next[ZD_GROUP_SEQ] = count[ZD_GROUP_CNV];
	for (uint32_t z = 1; !r && z < fs->info.nr_zones; z++) {
		int g = zones[z].type == ZD_CONVENTIONAL ? ZD_GROUP_CNV : ZD_GROUP_SEQ;
		struct zd_node *node = &fs->nodes[next[g]];
		uint8_t cond = zones[z].cond;

		add_zone(node, &zones[z], &cond);
		while (z + 1 < fs->info.nr_zones && joins(fs, &zones[z + 1], zones[z].type == ZD_CONVENTIONAL))
			add_zone(node, &zones[++z], &cond);
		r = start_node(fs, node, &zones[z], cond, now, err);
		if (!r) {
			fs->groups[g].nr_nodes++;
			fs->of_zone[node->zone] = ++next[g];
		}
	}
out:
	free(zones);
	return r;
}

static zd_fs *new_fs(zd_dev *dev)
{
	zd_fs *fs = calloc(1, sizeof(*fs));

	if (!fs)
		return NULL;
	fs->dev = dev;
	fs->refs = 1;
	pthread_mutex_init(&fs->news_lock, NULL);
	fs->info.struct_size = sizeof(fs->info);
	return fs;
}

int zd_fs_mount(zd_dev *dev, const struct zd_fs_options *options, zd_fs **out, struct zd_error *err)
{
	int64_t now = zd_fs_now();
	zd_fs *fs;
	int r;

	*out = NULL;
	r = check_options(options, err);
	if (r)
		return r;
	fs = new_fs(dev);
	if (!fs)
		return zd_fs_fail(err, ENOMEM, "out of memory");
	r = zd_info(dev, &fs->info, err);
	if (r) {
		r = r > ZD_E_FIRST_RULE ? r : -EIO;
		goto fail;
	}
	if (fs->info.readonly && !(options->flags & ZD_FS_READONLY)) {
		r = zd_fs_fail(err, EACCES, "the disk is open read-only: it can be mounted read-only");
		goto fail;
	}
	forget_idle_limits(&fs->info);
	fs->block = fs->info.physical_block;
	r = zd_fs_read_super(dev, &fs->format, err);
	if (r)
		goto fail;
	set_options(fs, options);
	r = build_tree(fs, now, err);
	if (r)
		goto fail;
	zd_attr_init(&fs->root, 0555, 0, 0, now);
	for (int g = 0; g < ZD_NR_GROUPS; g++)
		zd_attr_init(&fs->groups[g].attr, 0555, 0, 0, now);
	*out = fs;
	return 0;
fail:
	zd_fs_detach(fs);
	return r;
}

void zd_fs_umount(zd_fs *fs)
{
	for (int g = 0; g < ZD_NR_GROUPS; g++) {
		for (uint32_t i = 0; i < fs->groups[g].nr_nodes; i++) {
			struct zd_node *node = &fs->groups[g].nodes[i];

			if (!node->writers)
				continue;
			pthread_rwlock_wrlock(&node->lock);
			node->writers = 1;
			zd_fs_write_close(fs, node, NULL);
			zd_node_changed(node);
		}
	}
	zd_fs_detach(fs);
}

void zd_fs_forked(zd_fs *fs)
{
	pthread_mutex_init(&fs->news_lock, NULL); /* whoever held it is not here */
	for (int g = 0; g < ZD_NR_GROUPS; g++) {
		for (uint32_t i = 0; i < fs->groups[g].nr_nodes; i++) {
			struct zd_node *node = &fs->groups[g].nodes[i];

			if (pthread_rwlock_trywrlock(&node->lock) == 0) {
				pthread_rwlock_unlock(&node->lock);
				continue;
			}
			zd_node_init_lock(node);
			zd_fs_revalidate(fs, node->zone);
		}
	}
}

int zd_fs_remount(zd_fs *fs, const struct zd_fs_options *options)
{
	bool readonly = (options->flags & ZD_FS_READONLY) != 0;
	int r = check_options(options, NULL);

	if (r)
		return r;
	if (atomic_load(&fs->dead))
		return -EIO;
	if (fs->info.readonly && !readonly)
		return -EACCES;
	if (readonly && !atomic_load(&fs->readonly) && fs->nr_writers)
		return -EBUSY;
	fs->errors = options->errors;
	/* Unlike at mount, the option is not ignored where there are no limits. */
	atomic_store(&fs->explicit_open, (options->flags & ZD_FS_EXPLICIT_OPEN) != 0);
	atomic_store(&fs->readonly, readonly);
	return 0;
}

void zd_fs_get_options(zd_fs *fs, struct zd_fs_options *out)
{
	*out = (struct zd_fs_options){
		.errors = fs->errors,
		.flags = (atomic_load(&fs->explicit_open) ? ZD_FS_EXPLICIT_OPEN : 0) |
			 (atomic_load(&fs->readonly) ? ZD_FS_READONLY : 0) | (fs->relaxed ? ZD_FS_RELAXED : 0),
		.uid = fs->uid,
		.gid = fs->gid,
		.perm = fs->perm,
	};
}

uint32_t zd_fs_nr_writers(zd_fs *fs)
{
	return fs->nr_writers;
}

void zd_fs_get_counters(zd_fs *fs, struct zd_fs_counters *out)
{
	*out = (struct zd_fs_counters){ fs->info.max_open, fs->nr_wro, fs->info.max_active, fs->nr_active };
}
