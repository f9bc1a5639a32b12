/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Errors: what the caller is told, and what a failed read or write does to a file (Linux fs/zonefs/super.c,
 * zonefs_handle_io_error(); Documentation/filesystems/zonefs.rst, "IO error handling").
 */
#include "zonefs.h"

#include <stdarg.h>
#include <stdio.h>

int zd_fs_fail(struct zd_error *err, int e, const char *format, ...)
{
	va_list args;

	if (err) {
		memset(err, 0, sizeof(*err));
		err->code = -e;
		err->cmd = -1;
		err->zone = ZD_NO_ZONE;
		err->offset = ZD_NONE;
		err->wp = ZD_NONE;
		err->cond = 0xFF;
		va_start(args, format);
		vsnprintf(err->text, sizeof(err->text), format, args);
		va_end(args);
	}
	return -e;
}

int zd_fs_gone(struct zd_error *err)
{
	return zd_fs_fail(err, EIO, "the file system was unmounted");
}

int zd_fs_errno(const zd_fs *fs, int64_t code)
{
	const struct zd_rule_info *rule = zd_rule_info((int)code, fs->info.dialect);

	if (rule)
		return -rule->err;
	if (code == ZD_E_READONLY_HANDLE)
		return -EROFS;
	/* Everything else that has a name of ours is an image that fails; the rest is the host's errno. */
	return code > ZD_E_FIRST_RULE ? (int)code : -EIO;
}

uint64_t zd_fs_check_condition(struct zd_node *node, const struct zd_zone *zone)
{
	switch (zone->cond) {
	case ZD_OFFLINE: node->flags |= ZD_NODE_OFFLINE; return 0;
	case ZD_READ_ONLY:
		/* Its write pointer is invalid: the size stays what was last known, which at mount is nothing. */
		node->flags |= ZD_NODE_READONLY;
		return zd_node_cnv(node) ? node->capacity : node->size;
	case ZD_FULL: return node->capacity;
	default: return zd_node_cnv(node) ? node->capacity : zone->wp - zone->start;
	}
}

static void update_mode(struct zd_node *node)
{
	node->flags |= ZD_NODE_IMMUTABLE;
	node->attr.mode &= node->flags & ZD_NODE_OFFLINE ? ~0777u : ~0222u;
}

/* The sentence of an error, or what else is known of it. */
static const char *reason(const zd_fs *fs, const struct zd_error *err, char *room, size_t size)
{
	const struct zd_rule_info *rule = err ? zd_rule_info(err->code, fs->info.dialect) : NULL;

	if (rule)
		snprintf(room, size, "the disk refused (%s)", zd_rule_name(err->code));
	else
		snprintf(room, size, "%.150s", err && err->text[0] ? err->text : "the disk failed");
	return room;
}

static void tell(zd_fs *fs, int what, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void tell(zd_fs *fs, int what, const char *format, ...)
{
	va_list args;

	pthread_mutex_lock(&fs->news_lock);
	va_start(args, format);
	vsnprintf(fs->news_text[what], ZD_FS_TEXT, format, args);
	va_end(args);
	atomic_fetch_or(&fs->news, 1u << what);
	pthread_mutex_unlock(&fs->news_lock);
}

int zd_fs_news(zd_fs *fs, char text[ZD_FS_TEXT])
{
	int what;

	if (likely(!atomic_load_explicit(&fs->news, memory_order_relaxed)))
		return -1;
	pthread_mutex_lock(&fs->news_lock);
	for (what = ZD_FS_NR_NEWS - 1; what >= 0 && !(fs->news & 1u << what); what--)
		;
	if (what >= 0) {
		memcpy(text, fs->news_text[what], ZD_FS_TEXT);
		atomic_fetch_and(&fs->news, ~(1u << what));
	}
	pthread_mutex_unlock(&fs->news_lock);
	return what;
}

void zd_fs_turn_readonly(zd_fs *fs, const struct zd_node *node, const struct zd_error *err)
{
	char name[24], room[160];

	if (!atomic_exchange(&fs->readonly, true))
		tell(fs, ZD_FS_NEWS_READONLY,
		     "the file system is read-only from now on, because of an error in %s (zone %u): %s",
		     zd_node_name(fs, node, name), node->zone, reason(fs, err, room, sizeof(room)));
}

void zd_fs_tail_lost(zd_fs *fs, struct zd_node *node, int e, const struct zd_error *err)
{
	char name[24], room[160];

	if (!node->tail_length)
		return;
	tell(fs, ZD_FS_NEWS_LOST, "%u byte%s at the end of %s (zone %u), which a write had taken, %s lost: %s",
	     node->tail_length, node->tail_length == 1 ? "" : "s", zd_node_name(fs, node, name), node->zone,
	     node->tail_length == 1 ? "is" : "are", reason(fs, err, room, sizeof(room)));
	for (struct zd_fs_file *file = node->files; file; file = file->next) {
		if (file->in_tail)
			file->lost = e;
	}
	zd_fs_tail_end(fs, node);
}

void zd_fs_io_error(zd_fs *fs, struct zd_node *node, bool write, const struct zd_error *err)
{
	struct zd_zone zone = { .cond = ZD_NOT_WP };
	uint64_t size = node->size, data;
	uint32_t errors = fs->errors;

	/* Conventional zones are taken for good whatever the disk says: the kernel fakes their report. */
	if (!zd_node_cnv(node) && zd_report(fs->dev, node->zone, 1, &zone, NULL) != 1) {
		zd_fs_turn_readonly(fs, node, err);
		return;
	}
	data = zd_fs_check_condition(node, &zone);
	if (!(node->flags & (ZD_NODE_READONLY | ZD_NODE_OFFLINE)) && !write && size == data)
		return; /* a read failed, and nothing else is wrong */

	if ((node->flags & ZD_NODE_OFFLINE) || errors == ZD_FS_ZONE_OFFLINE) {
		node->flags |= ZD_NODE_OFFLINE;
		update_mode(node);
		data = 0;
	} else if ((node->flags & ZD_NODE_READONLY) || errors == ZD_FS_ZONE_RO) {
		node->flags |= ZD_NODE_READONLY;
		update_mode(node);
		data = size;
	} else if (errors == ZD_FS_REMOUNT_RO && data > size) {
		data = size; /* what lies behind was never acknowledged */
	}
	if (node->flags & (ZD_NODE_READONLY | ZD_NODE_OFFLINE)) {
		if (atomic_load(&fs->explicit_open))
			node->flags &= ~(uint32_t)ZD_NODE_OPEN;
		zd_fs_tail_lost(fs, node, EIO, err);
	}
	if (data != size)
		zd_fs_tail_lost(fs, node, EIO, err); /* it belonged behind another end */
	if (errors == ZD_FS_REMOUNT_RO)
		zd_fs_turn_readonly(fs, node, err);
	zd_fs_set_size(fs, node, data);
	zd_fs_account_active(fs, node);
}

uint64_t zd_fs_seen(zd_fs *fs, const struct zd_node *node)
{
	struct zd_zone_counters counters[16];
	uint64_t sum = 0;
	int64_t n;

	for (uint32_t done = 0; done < node->nr_zones; done += (uint32_t)n) {
		uint32_t left = node->nr_zones - done;

		n = zd_zone_counters(fs->dev, node->zone + done, left < 16 ? left : 16, counters, NULL);
		if (n <= 0)
			break;
		for (int64_t i = 0; i < n; i++)
			sum += zd_node_cnv(node) ? counters[i].writes : counters[i].resets;
	}
	return sum;
}

/* How much the zone holds now; false when there is nothing to learn from it. */
static bool live_size(zd_fs *fs, struct zd_node *node, uint64_t *size)
{
	struct zd_zone zone;

	if (zd_report(fs->dev, node->zone, 1, &zone, NULL) != 1 || zone.cond == ZD_READ_ONLY || zone.cond == ZD_OFFLINE)
		return false;
	*size = zone.cond == ZD_FULL ? node->capacity : zone.wp - zone.start;
	return true;
}

int zd_fs_revalidate(zd_fs *fs, uint64_t ino)
{
	struct zd_node *node = zd_fs_node(fs, ino);
	uint64_t seen, size;
	bool same;
	int changed = 0;

	if (!node || atomic_load(&fs->dead) || (node->flags & (ZD_NODE_OFFLINE | ZD_NODE_READONLY)))
		return 0;
	/* Somebody writes here, and the disk takes long: what others changed is seen another time. */
	if (!zd_node_lock_soon(node, false))
		return 0;
	same = zd_fs_seen(fs, node) == node->seen && (zd_node_cnv(node) || !live_size(fs, node, &size) || size == node->size);
	pthread_rwlock_unlock(&node->lock);
	if (likely(same))
		return 0;

	if (!zd_node_lock_soon(node, true))
		return 0;
	seen = zd_fs_seen(fs, node);
	if (zd_node_cnv(node)) {
		changed = seen != node->seen;
	} else if (live_size(fs, node, &size)) {
		changed = seen != node->seen || size != node->size;
		if (changed) {
			struct zd_error why = { 0 };

			zd_fs_fail(&why, EIO, "another user of the disk changed the zone");
			zd_fs_tail_lost(fs, node, EIO, &why); /* it belonged behind what is gone */
			zd_fs_set_size(fs, node, size);
			zd_fs_account_active(fs, node);
		}
	}
	node->seen = seen;
	if (changed) {
		/* Whoever caches the file's pages throws them away when the time changes: never the same one twice. */
		struct timespec t;
		int64_t now;

		clock_gettime(CLOCK_REALTIME, &t);
		now = (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
		node->attr.ctime = node->attr.mtime = now > node->attr.mtime ? now : node->attr.mtime + 1;
	}
	zd_node_changed(node);
	return changed;
}
