/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests about files: attributes, open, read, write, fsync, close. Each is a thin layer over a call of
 * zoned/fs.h, which knows the rules; this knows how FUSE asks and answers.
 */
#include "fuse_server.h"

#include <sched.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

void zd_fuse_keep_error(struct zd_fuse *fuse, const char *text)
{
	pthread_mutex_lock(&fuse->error_lock);
	snprintf(fuse->last_error, sizeof(fuse->last_error), "%s", text);
	pthread_mutex_unlock(&fuse->error_lock);
}

void zd_fuse_refuse(fuse_req_t req, int64_t code, const struct zd_error *err)
{
	struct zd_fuse *fuse = fuse_of(req);
	char text[ZD_FUSE_TEXT];

	zd_fuse_news(fuse);
	if (err && err->code) {
		const char *rule = zd_rule_name(err->code);

		if (err->text[0])
			snprintf(text, sizeof(text), "%s", err->text);
		else if (rule && err->zone != ZD_NO_ZONE)
			snprintf(text, sizeof(text), "the disk refused: %s in zone %u", rule, err->zone);
		else
			snprintf(text, sizeof(text), "the disk refused: %s", rule ? rule : "the host failed");
		zd_fuse_keep_error(fuse, text);
	}
	fuse_reply_err(req, (int)-code);
	zd_fuse_settle_readonly(fuse);
}

/* ---------------------------------------------------------------- attributes */

int zd_fuse_attr(struct zd_fuse *fuse, uint64_t ino, struct stat *st)
{
	zd_fuse_await_close(fuse, ino);
	if (!fuse->strict && unlikely(zd_fs_revalidate(fuse->fs, ino)))
		zd_fuse_news(fuse);
	return zd_fs_getattr(fuse->fs, ino, st);
}

static void reply_attr(fuse_req_t req, uint64_t ino)
{
	struct stat st;
	int r = zd_fuse_attr(fuse_of(req), ino, &st);

	if (r)
		fuse_reply_err(req, -r);
	else
		fuse_reply_attr(req, &st, 0);
}

/* -EPERM for the file of a dead zone that nobody may read, else 0. */
static int64_t unreadable(struct open_file *open, const struct stat *st, struct zd_error *err)
{
	if (likely(st->st_mode & 0777))
		return 0;
	return zd_fs_read(open->file, NULL, 0, 0, 0, err);
}

/*
 * The kernel names an open file here before a read through its page cache (and before lseek to the end). Such a
 * read, of a file whose zone is dead, would end there and then if the size is 0, or find what is in the page cache;
 * zonefs says EPERM. (Reading such files past the page cache would do too, but then Linux refuses to map them, which
 * zonefs does not.)
 */
static void op_getattr(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
	struct zd_fuse *fuse = fuse_of(req);
	struct zd_error err = { 0 };
	struct stat st;
	int64_t r = zd_fuse_attr(fuse, ino_of(fuse, node), &st);

	if (!r && fi && S_ISREG(st.st_mode) && !open_of(fi)->direct)
		r = unreadable(open_of(fi), &st, &err);
	if (r)
		zd_fuse_refuse(req, r, &err);
	else
		fuse_reply_attr(req, &st, 0);
}

static void op_setattr(fuse_req_t req, fuse_ino_t node, struct stat *to, int what, struct fuse_file_info *fi)
{
	static const struct {
		int fuse;
		unsigned set;
	} names[] = {
		{ FUSE_SET_ATTR_MODE, ZD_FS_SET_MODE },   { FUSE_SET_ATTR_UID, ZD_FS_SET_UID },
		{ FUSE_SET_ATTR_GID, ZD_FS_SET_GID },     { FUSE_SET_ATTR_SIZE, ZD_FS_SET_SIZE },
		{ FUSE_SET_ATTR_ATIME, ZD_FS_SET_ATIME }, { FUSE_SET_ATTR_MTIME, ZD_FS_SET_MTIME },
	};
	struct zd_fuse *fuse = fuse_of(req);
	struct zd_error err = { 0 };
	unsigned set = 0;
	int r = 0;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (what & names[i].fuse)
			set |= names[i].set;
	}
	if (what & (FUSE_SET_ATTR_ATIME_NOW | FUSE_SET_ATTR_MTIME_NOW)) {
		struct timespec now;

		clock_gettime(CLOCK_REALTIME, &now);
		if (what & FUSE_SET_ATTR_ATIME_NOW)
			to->st_atim = now;
		if (what & FUSE_SET_ATTR_MTIME_NOW)
			to->st_mtim = now;
		set |= what & FUSE_SET_ATTR_ATIME_NOW ? ZD_FS_SET_ATIME : 0;
		set |= what & FUSE_SET_ATTR_MTIME_NOW ? ZD_FS_SET_MTIME : 0;
	}
	if (set & ZD_FS_SET_SIZE) { /* a reset, or a finish, which flushes */
		zd_fuse_await_close(fuse, ZD_FUSE_ANY);
		zd_fuse_slow_begin(fuse);
		zd_fuse_serving(req);
		if (fi) {
			r = zd_fs_ftruncate(open_of(fi)->file, (uint64_t)to->st_size, &err);
			set &= ~ZD_FS_SET_SIZE;
		}
	}
	if (!r && set)
		r = zd_fs_setattr(fuse->fs, ino_of(fuse, node), to, set, &err);
	zd_fuse_serving(NULL);
	if (what & FUSE_SET_ATTR_SIZE)
		zd_fuse_slow_end(fuse);
	if (r)
		zd_fuse_refuse(req, r, &err);
	else
		reply_attr(req, ino_of(fuse, node));
}

/* ---------------------------------------------------------------- open and close */

static bool is_sequential(struct zd_fuse *fuse, uint64_t ino)
{
	struct zd_zone zone;

	return zd_report(fuse->dev, (uint32_t)ino, 1, &zone, NULL) == 1 && zone.type != ZD_CONVENTIONAL;
}

static void op_open(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
	struct zd_fuse *fuse = fuse_of(req);
	uint64_t ino = ino_of(fuse, node);
	struct zd_error err = { 0 };
	struct open_file *open;
	bool changed = false;
	int r;

	open = calloc(1, sizeof(*open));
	if (!open) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	open->ino = ino;
	open->writes = (fi->flags & O_ACCMODE) != O_RDONLY;
	zd_fuse_await_close(fuse, open->writes ? ZD_FUSE_ANY : ino);
	if (!fuse->strict)
		changed = zd_fs_revalidate(fuse->fs, ino) == 1;
	if (unlikely(changed))
		zd_fuse_news(fuse);
	if (fi->flags & O_TRUNC)
		zd_fuse_slow_begin(fuse);
	zd_fuse_serving(req);
	r = zd_fs_open(fuse->fs, ino, fi->flags, &open->file, &err);
	zd_fuse_serving(NULL);
	if (fi->flags & O_TRUNC)
		zd_fuse_slow_end(fuse);
	if (r) {
		free(open);
		zd_fuse_refuse(req, r, &err);
		return;
	}
	if (is_sequential(fuse, ino)) {
		/*
		 * Writes must come in the order and the pieces in which they were made, so past the page cache. Direct
		 * reads go past it anyway; said here, the kernel does not ask for the attributes before each of them.
		 * In a strict mount such a file can be mapped, as in the kernel, unless libfuse can allow both.
		 */
		open->direct = open->writes || (!fuse->strict && (fi->flags & O_DIRECT));
		fi->direct_io = open->direct;
	}
	fi->keep_cache = !changed && !(fi->flags & O_TRUNC);
	fi->fh = (uintptr_t)open;
	zd_fuse_late_opened(fuse, open);
	if (fuse_reply_open(req, fi)) { /* the caller was killed meanwhile: there will be no RELEASE */
		zd_fs_close(open->file, NULL);
		zd_fuse_late_closed(fuse, open);
	}
}

static void op_flush(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
	struct zd_fuse *fuse = fuse_of(req);
	struct open_file *open = open_of(fi);
	struct zd_error err = { 0 };
	int r = 0;

	(void)node;
	/* Each close(2) of a duplicate, and each process that ends, says this: only the last one pads the block. */
	if (open->writes && unlikely(zd_fs_unsettled(open->file)) && !zd_fuse_has_users(fuse, open)) {
		zd_fuse_slow_begin(fuse);
		zd_fuse_serving(req);
		r = zd_fs_settle(open->file, &err);
		zd_fuse_serving(NULL);
		zd_fuse_slow_end(fuse);
	}
	if (open->writes)
		zd_fuse_late_flushed(fuse, open);
	if (r)
		zd_fuse_refuse(req, r, &err);
	else
		fuse_reply_err(req, 0);
}

static void op_release(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
	struct zd_fuse *fuse = fuse_of(req);
	struct open_file *open = open_of(fi);

	(void)node;
	while (unlikely(atomic_load(&open->lent)))
		sched_yield();
	zd_fs_close(open->file, NULL);
	zd_fuse_news(fuse);
	zd_fuse_late_closed(fuse, open);
	fuse_reply_err(req, 0);
	zd_fuse_settle_readonly(fuse);
}

static void op_fsync(fuse_req_t req, fuse_ino_t node, int datasync, struct fuse_file_info *fi)
{
	struct zd_fuse *fuse = fuse_of(req);
	struct zd_error err = { 0 };
	int r, lost;

	(void)datasync;
	zd_fuse_slow_begin(fuse);
	zd_fuse_serving(req);
	r = zd_fs_fsync(fuse->fs, ino_of(fuse, node), &err);
	lost = r == -EINTR ? 0 : zd_fs_settle(open_of(fi)->file, r ? NULL : &err);
	r = r ? r : lost;
	zd_fuse_serving(NULL);
	zd_fuse_slow_end(fuse);
	if (r)
		zd_fuse_refuse(req, r, &err);
	else
		fuse_reply_err(req, 0);
}

static void op_fallocate(fuse_req_t req, fuse_ino_t node, int mode, off_t offset, off_t length,
			 struct fuse_file_info *fi)
{
	struct zd_error err = { 0 };
	int r = zd_fs_fallocate(open_of(fi)->file, &err);

	(void)node;
	(void)mode;
	(void)offset;
	(void)length;
	zd_fuse_refuse(req, r, &err);
}

/* ---------------------------------------------------------------- data */

/*
 * Up to here a read is copied to room of the worker's own. Answering straight from the disk's pages saves the copy,
 * but holds the zone's lock until the answer is out, and with it the reader's next request, which another worker has
 * by then: for a small read that costs more than the copy.
 */
#define COPY_MOST (16u << 10)

/* Where the page cache asks, its first try found the zone dead (EIO), and this is its second. */
static int64_t read_error(const struct open_file *open, const struct fuse_file_info *fi, int64_t n)
{
	return n == -EPERM && !open->direct && !(fi->flags & O_DIRECT) ? -EIO : n;
}

static void reply_copy(fuse_req_t req, size_t size, off_t pos, struct fuse_file_info *fi)
{
	struct open_file *open = open_of(fi);
	struct zd_error err = { 0 };
	void *room;
	int64_t n;

	room = size <= ZD_FUSE_IO ? zd_fuse_room() : NULL;
	if (!room) {
		fuse_reply_err(req, size <= ZD_FUSE_IO ? ENOMEM : EINVAL);
		return;
	}
	zd_fuse_serving(req);
	n = zd_fs_read(open->file, room, size, (uint64_t)pos, fi->flags, &err);
	zd_fuse_serving(NULL);
	if (likely(n >= 0)) {
		fuse_reply_buf(req, room, (size_t)n);
		return;
	}
	zd_fuse_refuse(req, read_error(open, fi, n), &err);
}

static void op_read(fuse_req_t req, fuse_ino_t node, size_t size, off_t pos, struct fuse_file_info *fi)
{
	struct open_file *open = open_of(fi);
	struct zd_error err = { 0 };
	const void *at;
	int64_t n;

	(void)node;
	if (size <= COPY_MOST) {
		reply_copy(req, size, pos, fi);
		return;
	}
	zd_fuse_serving(req);
	n = zd_fs_read_begin(open->file, size, (uint64_t)pos, fi->flags, &at, &err);
	zd_fuse_serving(NULL);
	if (likely(n > 0 && at)) { /* the kernel copies straight from the disk's pages to the reader's */
		/* With the answer the reader may go on and close the file, before read_end() here. */
		atomic_fetch_add(&open->lent, 1);
		fuse_reply_buf(req, at, (size_t)n);
		zd_fs_read_end(open->file, (uint64_t)pos);
		atomic_fetch_sub(&open->lent, 1);
	} else if (n == 0) {
		fuse_reply_buf(req, NULL, 0);
	} else if (n == -EAGAIN) {
		reply_copy(req, size, pos, fi);
	} else {
		zd_fuse_refuse(req, read_error(open, fi, n), &err);
	}
}

static void op_write(fuse_req_t req, fuse_ino_t node, const char *buf, size_t size, off_t pos,
		     struct fuse_file_info *fi)
{
	struct zd_fuse *fuse = fuse_of(req);
	struct open_file *open = open_of(fi);
	struct zd_error err = { 0 };
	int64_t n;

	(void)node;
	if (unlikely(atomic_load_explicit(&open->flushed, memory_order_relaxed)))
		zd_fuse_late_forget(fuse, open);
	if (fi->flags & O_APPEND)
		pos = 0; /* the kernel put its idea of the file's end there; zonefs asks about the position first */
	zd_fuse_serving(req);
	n = zd_fs_write(open->file, buf, size, (uint64_t)pos, fi->flags, NULL, &err);
	zd_fuse_serving(NULL);
	if (likely(n >= 0))
		fuse_reply_write(req, (size_t)n);
	else
		zd_fuse_refuse(req, n, &err);
}

void zd_fuse_file_ops(struct fuse_lowlevel_ops *ops)
{
	ops->getattr = op_getattr;
	ops->setattr = op_setattr;
	ops->open = op_open;
	ops->flush = op_flush;
	ops->release = op_release;
	ops->fsync = op_fsync;
	ops->fallocate = op_fallocate;
	ops->read = op_read;
	ops->write = op_write;
}
