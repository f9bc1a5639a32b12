/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Open files: read, write, fsync (Linux fs/zonefs/file.c). Checks come in the kernel's order; those of the VFS that a
 * user of the system call would meet come first.
 *
 * Relaxed writes (see zoned/fs.h) have no counterpart in the kernel: node->tail holds what makes no whole block yet (tail.c).
 */
#include "zonefs.h"

/* ---------------------------------------------------------------- moving bytes */

/*
 * The next part of a range that one command carries: whole logical blocks of one zone, which go to or from the caller's
 * memory; or (*edge) what lies within one block, which goes through a block of its own. Bytes.
 */
static inline uint64_t next_part(const zd_fs *fs, uint64_t pos, uint64_t length, bool *edge)
{
	uint64_t mask = fs->info.logical_block - 1, zone_size = fs->info.zone_size;
	uint64_t in_block = pos & mask, n = zone_size - pos % zone_size;

	if (n > length)
		n = length;
	*edge = in_block || n <= mask;
	if (!*edge)
		return n & ~mask;
	return n < mask + 1 - in_block ? n : mask + 1 - in_block;
}

/* Read [pos, pos + length) of a file, any byte range below its written size, zone by zone, as the block layer cuts requests. */
static int read_range(zd_fs *fs, struct zd_node *node, uint8_t *to, uint64_t length, uint64_t pos, struct zd_error *err)
{
	uint32_t block = fs->info.logical_block;
	uint8_t whole[4096];
	bool edge;

	while (length) {
		uint64_t n = next_part(fs, pos, length, &edge), in_block = pos & (block - 1);
		int64_t r;

		if (edge)
			r = zd_pread(fs->dev, whole, block, node->start + pos - in_block, err);
		else
			r = zd_pread(fs->dev, to, n, node->start + pos, err);
		if (r < 0)
			return (int)r;
		if (edge)
			memcpy(to, whole + in_block, n);
		to += n;
		pos += n;
		length -= n;
	}
	return 0;
}

/* Part of one block of a conventional file: the block is read first. */
static int64_t write_edge(zd_fs *fs, uint64_t at, uint64_t in_block, const uint8_t *from, uint64_t n, struct zd_error *err)
{
	uint32_t block = fs->info.logical_block;
	uint8_t whole[4096];
	int64_t r = zd_pread(fs->dev, whole, block, at, err);

	if (r < 0)
		return r;
	memcpy(whole + in_block, from, n);
	return zd_fs_pwrite(fs->dev, whole, block, at, err);
}

/* Write to a conventional file, any byte range. *done counts. */
static int write_range(zd_fs *fs, struct zd_node *node, const uint8_t *from, uint64_t length, uint64_t pos, uint64_t *done,
		       struct zd_error *err)
{
	bool edge;

	while (length) {
		uint64_t n = next_part(fs, pos, length, &edge), in_block = pos & (fs->info.logical_block - 1);
		int64_t r = edge ? write_edge(fs, node->start + pos - in_block, in_block, from, n, err) :
				   zd_fs_pwrite(fs->dev, from, n, node->start + pos, err);

		if (r < 0)
			return (int)r;
		node->seen++;
		from += n;
		pos += n;
		length -= n;
		*done += n;
	}
	return 0;
}

/* A signal ended a write: how far did the zone get? Bytes behind the file's old size. */
static uint64_t advanced(zd_fs *fs, struct zd_node *node)
{
	struct zd_zone zone;
	uint64_t size;

	if (zd_report(fs->dev, node->zone, 1, &zone, NULL) != 1 || zone.cond == ZD_READ_ONLY || zone.cond == ZD_OFFLINE)
		return 0;
	size = zone.cond == ZD_FULL ? node->capacity : zone.wp - zone.start;
	return size > node->size ? size - node->size : 0;
}

/*
 * The errno of a write that the disk refused. Linux keeps the write pointers of zones that are partly written, and
 * refuses a misplaced write there itself (EIO). Of an empty or full zone it keeps none, so that the disk is asked;
 * what a SCSI disk calls an illegal request, Linux calls EREMOTEIO (scsi_check_sense(), blk_status_to_errno()).
 */
static int refused(zd_fs *fs, struct zd_node *node, int64_t code)
{
	const struct zd_rule_info *rule = zd_rule_info((int)code, fs->info.dialect);
	struct zd_zone zone;
	int r = zd_fs_errno(fs, code);

	if (r != -EIO || !rule || fs->info.dialect != ZD_ZBC || rule->sense_key != 5)
		return r;
	if (zd_report(fs->dev, node->zone, 1, &zone, NULL) != 1)
		return r;
	return zone.cond == ZD_FULL || zone.wp == zone.start ? -EREMOTEIO : r;
}

int zd_fs_write_refused(zd_fs *fs, struct zd_node *node, int64_t code, struct zd_error *err)
{
	int r = refused(fs, node, code);

	zd_fs_io_error(fs, node, true, err);
	return r;
}

/* Less than n lands when a signal comes. */
int64_t zd_fs_write_end(zd_fs *fs, struct zd_node *node, const struct iovec *iov, int count, uint64_t n, struct zd_error *err)
{
	uint64_t before = node->size;
	int64_t r;

	do {
		r = count == 1 ? zd_fs_pwrite(fs->dev, iov->iov_base, n, node->start + before, err) :
				 zd_fs_pwritev(fs->dev, iov, count, n, node->start + before, err);
	} while (unlikely(r == ZD_E_TOO_MANY_OPEN) && zd_fs_tail_lends(fs, node));
	if (unlikely(r == -EINTR)) {
		n = advanced(fs, node);
		if (n == 0)
			return -EINTR;
		r = (int64_t)n;
	}
	if (unlikely(r < 0))
		return zd_fs_write_refused(fs, node, r, err);
	zd_fs_set_size(fs, node, before + n);
	if (unlikely(before == 0) || unlikely(!(node->flags & ZD_NODE_ACTIVE)))
		zd_fs_account_active(fs, node);
	return (int64_t)n;
}

/* ---------------------------------------------------------------- reading */

static void accessed(zd_fs *fs, struct zd_node *node)
{
	int64_t at = atomic_load_explicit(&node->attr.atime, memory_order_relaxed), now;

	/* relatime: only behind a change, or once a day */
	if (atomic_load_explicit(&fs->readonly, memory_order_relaxed))
		return;
	now = zd_fs_now();
	if (at <= node->attr.mtime || at <= node->attr.ctime || now - at >= 86400ll * 1000000000)
		atomic_store_explicit(&node->attr.atime, now, memory_order_relaxed);
}

/*
 * A buffered read that failed: the kernel's page cache gives the pages before the bad one, and EIO whatever
 * the disk said.
 */
static int64_t read_pages(zd_fs *fs, struct zd_node *node, uint8_t *to, uint64_t length, uint64_t pos, struct zd_error *err)
{
	uint64_t done = 0;

	while (done < length) {
		uint64_t n = ZD_FS_PAGE - (pos + done) % ZD_FS_PAGE;
		int r;

		if (n > length - done)
			n = length - done;
		r = read_range(fs, node, to + done, n, pos + done, err);
		if (r)
			return done ? (int64_t)done : r;
		done += n;
	}
	return (int64_t)done;
}

/* Whether the file takes this kind of command at all; 0, or a negative errno. */
static inline int check_open(zd_fs_file *file, bool may, uint64_t pos, const char *what, const char *doing,
			     struct zd_error *err)
{
	char name[24];

	if (unlikely(atomic_load_explicit(&file->fs->dead, memory_order_acquire)))
		return zd_fs_gone(err);
	if (unlikely(!may))
		return zd_fs_fail(err, EBADF, "%s is not open for %s", zd_node_name(file->fs, file->node, name), doing);
	if (unlikely(pos > INT64_MAX))
		return zd_fs_fail(err, EINVAL, "a %s cannot begin at a negative offset", what);
	return 0;
}

/*
 * What is asked before a read. 1: go on, with the node's lock held for reading and *length cut to what is there;
 * 0: nothing is there, or a negative errno, with nothing held.
 */
static int begin_read(zd_fs_file *file, uint64_t *length, uint64_t pos, int flags, struct zd_error *err)
{
	zd_fs *fs = file->fs;
	struct zd_node *node = file->node;
	uint64_t end;
	char name[24];
	int r;

	r = check_open(file, file->readable, pos, "read", "reading", err);
	if (unlikely(r))
		return r;
	if (*length > ZD_FS_MAX_RW)
		*length = ZD_FS_MAX_RW;
	if (unlikely(zd_node_immutable(node)) && !(node->attr.mode & 0777))
		return zd_fs_fail(err, EPERM, "%s cannot be read: its zone is %s", zd_node_name(fs, node, name),
				  node->flags & ZD_NODE_OFFLINE ? "offline" : "read-only, and how much it holds is not known");
	if (pos >= node->capacity)
		return 0;
	r = zd_node_lock(fs, node, false, err);
	if (unlikely(r))
		return r;
	end = zd_node_end(node);
	if (pos >= end) {
		pthread_rwlock_unlock(&node->lock);
		return 0;
	}
	if (*length > end - pos)
		*length = end - pos;
	if ((flags & O_DIRECT) && unlikely((pos | *length) & (fs->block - 1))) {
		pthread_rwlock_unlock(&node->lock);
		return zd_fs_fail(err, EINVAL,
				  "direct read of %llu bytes at %llu in %s: both must be multiples of the block size, %u",
				  (unsigned long long)*length, (unsigned long long)pos, zd_node_name(fs, node, name),
				  fs->block);
	}
	accessed(fs, node);
	return 1;
}

/* After the lock was given back: a read of the disk failed. What the caller is told. */
static int read_failed(zd_fs *fs, struct zd_node *node, int code, int flags, const struct zd_error *err)
{
	if (code == -EINTR)
		return code;
	pthread_rwlock_wrlock(&node->lock);
	zd_fs_io_error(fs, node, false, err);
	zd_node_changed(node);
	return flags & O_DIRECT ? zd_fs_errno(fs, code) : -EIO;
}

int64_t zd_fs_read(zd_fs_file *file, void *buf, uint64_t length, uint64_t pos, int flags, struct zd_error *err)
{
	zd_fs *fs = file->fs;
	struct zd_node *node = file->node;
	uint64_t disk;
	int64_t done;
	int r = begin_read(file, &length, pos, flags, err);

	if (r <= 0)
		return r;
	disk = pos < node->size ? node->size - pos : 0;
	if (disk > length)
		disk = length;
	r = disk ? read_range(fs, node, buf, disk, pos, err) : 0;
	done = (int64_t)length;
	if (unlikely(r))
		done = r == -EINTR || (flags & O_DIRECT) ? r : read_pages(fs, node, buf, disk, pos, err);
	else if (length > disk)
		memcpy((uint8_t *)buf + disk, node->tail + (pos + disk - node->size), length - disk);
	pthread_rwlock_unlock(&node->lock);
	return likely(done >= 0) ? done : read_failed(fs, node, (int)done, flags, err);
}

int64_t zd_fs_read_begin(zd_fs_file *file, uint64_t length, uint64_t pos, int flags, const void **at, struct zd_error *err)
{
	zd_fs *fs = file->fs;
	struct zd_node *node = file->node;
	uint64_t mask = fs->info.logical_block - 1, whole;
	int64_t n = 0;
	int r;

	*at = NULL;
	r = begin_read(file, &length, pos, flags, err);
	if (r <= 0)
		return r;
	whole = (length + mask) & ~mask; /* the file may end within a block, if someone else padded nothing */
	if (length && !(pos & mask) && pos + length <= node->size) {
		n = zd_map_begin(fs->dev, node->start + pos, whole, at, err);
		if (n > 0 && (uint64_t)n >= length)
			return (int64_t)length;
		if (n > 0)
			zd_map_end(fs->dev, node->start + pos);
		*at = NULL;
	}
	pthread_rwlock_unlock(&node->lock);
	if (!length)
		return 0;
	/* Where a buffered read fails, zd_fs_read() tries page by page, as the kernel does after its readahead. */
	return n < 0 && (flags & O_DIRECT) ? read_failed(fs, node, (int)n, flags, err) : -EAGAIN;
}

void zd_fs_read_end(zd_fs_file *file, uint64_t pos)
{
	zd_map_end(file->fs->dev, file->node->start + pos);
	pthread_rwlock_unlock(&file->node->lock);
}

/* ---------------------------------------------------------------- writing */

/* O_DSYNC (which O_SYNC contains): the write is durable when it returns. */
static int64_t synced(zd_fs *fs, struct zd_node *node, int64_t done, int flags, struct zd_error *err)
{
	int r;

	if (likely(!(flags & O_DSYNC)) || done <= 0)
		return done;
	r = node->tail_length ? zd_fs_pad_tail(fs, node, err) : 0;
	if (r)
		return r;
	r = zd_fs_flush(fs->dev, err);
	if (r) {
		zd_fs_io_error(fs, node, true, err);
		return zd_fs_errno(fs, r);
	}
	return done;
}

/* Bytes of any number at the end of a sequential file; what makes no whole block waits in the tail. */
static int64_t write_relaxed(zd_fs_file *file, const uint8_t *from, uint64_t length, struct zd_error *err)
{
	zd_fs *fs = file->fs;
	struct zd_node *node = file->node;
	uint64_t held = node->tail_length, total = held + length, whole = total - total % fs->block;
	struct iovec iov[2];
	int count = 0;
	int64_t r;

	if (!node->tail) {
		node->tail = malloc(fs->block);
		if (!node->tail)
			return zd_fs_fail(err, ENOMEM, "out of memory");
	}
	if (!whole) {
		r = held ? 0 : zd_fs_tail_begin(fs, node, err);
		if (r)
			return r;
		memcpy(node->tail + held, from, length);
		node->tail_length = (uint32_t)total;
		file->in_tail = true;
		return (int64_t)length;
	}
	if (held)
		iov[count++] = (struct iovec){ node->tail, held };
	iov[count++] = (struct iovec){ (void *)(uintptr_t)from, whole - held };
	r = zd_fs_write_end(fs, node, iov, count, whole, err);
	if (r < 0)
		return r;
	if ((uint64_t)r < held) /* a signal, before anything landed */
		return -EINTR;
	zd_fs_tail_end(fs, node);
	if ((uint64_t)r < whole) /* a signal; whole blocks landed */
		return r - (int64_t)held ? r - (int64_t)held : -EINTR;
	/* What cannot be held back was not taken; whoever goes on with it is told why. */
	if (total == whole || zd_fs_tail_begin(fs, node, err))
		return (int64_t)(whole - held);
	node->tail_length = (uint32_t)(total - whole);
	memcpy(node->tail, from + (whole - held), node->tail_length);
	file->in_tail = true;
	return (int64_t)length;
}

static int64_t misplaced(zd_fs *fs, struct zd_node *node, uint64_t pos, uint64_t end, struct zd_error *err)
{
	char name[24];

	return zd_fs_fail(err, EINVAL, "write at %llu in %s: a sequential file is written at its end only, which is %llu",
			  (unsigned long long)pos, zd_node_name(fs, node, name), (unsigned long long)end);
}

static int64_t too_far(zd_fs *fs, struct zd_node *node, struct zd_error *err)
{
	char name[24];

	return zd_fs_fail(err, EFBIG, "%s is at its capacity of %llu bytes%s", zd_node_name(fs, node, name),
			  (unsigned long long)node->capacity, zd_node_cnv(node) ? "" : ": truncate it to 0 to write it anew");
}

/* The write proper, under the lock. *pos becomes where it landed. */
static int64_t write_locked(zd_fs_file *file, const uint8_t *from, uint64_t length, uint64_t *pos, int flags,
			    struct zd_error *err)
{
	zd_fs *fs = file->fs;
	struct zd_node *node = file->node;
	bool cnv = zd_node_cnv(node), direct = (flags & O_DIRECT) != 0;
	uint64_t done = 0;
	char name[24];
	int64_t r;

	if (!cnv && !direct && !fs->relaxed)
		return zd_fs_fail(err, EIO, "%s is a sequential file: it takes direct writes (O_DIRECT) only",
				  zd_node_name(fs, node, name));
	if (length == 0)
		return 0;
	if (flags & O_APPEND) {
		if (cnv)
			return zd_fs_fail(err, EINVAL, "%s is a conventional file: it has no end to append to",
					  zd_node_name(fs, node, name));
		if (direct && unlikely(node->tail_length)) {
			r = zd_fs_pad_tail(fs, node, err);
			if (r)
				return r;
		}
		*pos = zd_node_end(node);
	}
	if (unlikely(*pos >= node->capacity))
		return too_far(fs, node, err);
	if (length > node->capacity - *pos)
		length = node->capacity - *pos;

	if (direct && unlikely((*pos | length) & (fs->block - 1)))
		return zd_fs_fail(err, EINVAL,
				  "direct write of %llu bytes at %llu in %s: both must be multiples of the block size, %u",
				  (unsigned long long)length, (unsigned long long)*pos, zd_node_name(fs, node, name),
				  fs->block);
	if (!cnv) {
		if (unlikely(*pos != zd_node_end(node)))
			return misplaced(fs, node, *pos, zd_node_end(node), err);
		if (direct) {
			struct iovec one = { (void *)(uintptr_t)from, length };

			return synced(fs, node, zd_fs_write_end(fs, node, &one, 1, length, err), flags, err);
		}
		return synced(fs, node, write_relaxed(file, from, length, err), flags, err);
	}
	r = write_range(fs, node, from, length, *pos, &done, err);
	if (r == -EINTR)
		return done ? (int64_t)done : r;
	if (r && direct)
		return zd_fs_errno(fs, r); /* the kernel leaves a conventional file alone here */
	if (r) {
		zd_fs_io_error(fs, node, true, err);
		/* The kernel writes its page cache back later, and then knows two errors only. */
		return zd_fs_errno(fs, r) == -ENOSPC ? -ENOSPC : -EIO;
	}
	return synced(fs, node, (int64_t)done, flags, err);
}

int64_t zd_fs_write(zd_fs_file *file, const void *buf, uint64_t length, uint64_t pos, int flags, uint64_t *landed,
		    struct zd_error *err)
{
	zd_fs *fs = file->fs;
	struct zd_node *node = file->node;
	char name[24];
	int64_t r;

	r = check_open(file, file->writable, pos, "write", "writing", err);
	if (unlikely(r))
		return r;
	if (length > ZD_FS_MAX_RW)
		length = ZD_FS_MAX_RW;

	r = zd_node_lock(fs, node, true, err);
	if (unlikely(r))
		return r;
	if (unlikely(zd_node_immutable(node)))
		r = zd_fs_fail(err, EPERM, "%s cannot be written: its zone is %s", zd_node_name(fs, node, name),
			       node->flags & ZD_NODE_OFFLINE ? "offline" : "read-only");
	else if (unlikely(atomic_load_explicit(&fs->readonly, memory_order_relaxed)))
		r = zd_fs_fail(err, EROFS, "the file system is read-only: %s cannot be written", zd_node_name(fs, node, name));
	else if (unlikely(pos >= node->capacity))
		r = too_far(fs, node, err); /* asked before O_APPEND moves the position, and before anything else */
	else
		r = write_locked(file, buf, length, &pos, flags, err);
	if (unlikely(r < 0) && r != -EINTR)
		file->lost = 0; /* told hereby */
	zd_node_changed(node);
	if (landed)
		*landed = pos;
	return r;
}

int zd_fs_fsync(zd_fs *fs, uint64_t ino, struct zd_error *err)
{
	struct zd_node *node;
	char name[24];
	int r;

	if (unlikely(atomic_load(&fs->dead)))
		return zd_fs_gone(err);
	if (!zd_fs_attr(fs, ino, &node))
		return zd_fs_fail(err, ENOENT, "there is no file with inode number %llu", (unsigned long long)ino);
	if (!node)
		return zd_fs_fail(err, EINVAL, "a directory of zonefs cannot be synced");
	if (zd_node_immutable(node))
		return zd_fs_fail(err, EPERM, "%s cannot be synced: its zone is %s", zd_node_name(fs, node, name),
				  node->flags & ZD_NODE_OFFLINE ? "offline" : "read-only");
	if (fs->relaxed) {
		r = zd_node_lock(fs, node, true, err);
		if (r)
			return r;
		r = zd_fs_pad_tail(fs, node, err);
		zd_node_changed(node);
		if (r)
			return r;
	}
	r = zd_fs_flush(fs->dev, err);
	if (!r)
		return 0;
	if (r == -EINTR)
		return r;
	pthread_rwlock_wrlock(&node->lock);
	zd_fs_io_error(fs, node, true, err);
	zd_node_changed(node);
	return zd_fs_errno(fs, r);
}

int zd_fs_unsettled(const zd_fs_file *file)
{
	return file->in_tail || file->lost;
}

int zd_fs_settle(zd_fs_file *file, struct zd_error *err)
{
	zd_fs *fs = file->fs;
	struct zd_node *node = file->node;
	char name[24];
	int r, lost;

	if (!zd_fs_unsettled(file))
		return 0;
	if (atomic_load(&fs->dead))
		return zd_fs_gone(err);
	r = zd_node_lock(fs, node, true, err);
	if (r)
		return r;
	if (file->in_tail)
		r = zd_fs_pad_tail(fs, node, err);
	if (r != -EINTR) {
		lost = atomic_exchange(&file->lost, 0);
		if (!r && lost)
			r = zd_fs_fail(err, lost, "what was written last to %s was lost before it was on the disk",
				       zd_node_name(fs, node, name));
	}
	zd_node_changed(node);
	return r;
}
