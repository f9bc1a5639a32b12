/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many threads on one file system: the calls of zoned/fs.h against each other, and against a disk that is changed
 * behind them. Built under ThreadSanitizer it shows races; by itself it shows lost, torn or misplaced data.
 *
 *     stress_fs SECONDS [IMAGE]      without IMAGE in RAM
 */
#include "workers.h"

#include "zoned/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#define NR_ZONES 20u
#define CONV 3u               /* zone 0 holds the superblock */
#define OWN 3u                /* files that one thread alone writes: inode numbers CONV to CONV + OWN - 1 */
#define SHARED (CONV + OWN)   /* the first of those that all write */
#define BROKEN (NR_ZONES - 2) /* those whose zones die and come back */

static atomic_ulong calls;

/* Every failure is one of these, and nothing else may be refused. */
static void settle(int64_t ret)
{
	static const int known[] = { EIO,   EPERM,        EROFS,   EFBIG,  EINVAL, EBUSY,
				     EBADF, ETOOMANYREFS, ENODATA, EAGAIN, EACCES, EREMOTEIO };
	bool found = ret >= 0;

	atomic_fetch_add_explicit(&calls, 1, memory_order_relaxed);
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		found = found || ret == -known[i];
	if (!found)
		fprintf(stderr, "a call gave %lld\n", (long long)ret);
	CLAIM(found);
}

/* A file's own blocks: each 8 bytes hold the place in the file and a tag of the round. */
static void stamp(uint64_t *words, uint64_t pos, uint32_t length, uint64_t tag)
{
	for (uint32_t i = 0; i < length / 8; i++)
		words[i] = (pos + i * 8ull) << 16 | (tag & 0xFFFF);
}

static void *own_file(void *arg)
{
	struct worker *w = arg;
	uint64_t ino = CONV + w->id;
	static _Thread_local uint64_t data[ZONE_SIZE / 8], back[ZONE_SIZE / 8];
	zd_fs_file *file;
	struct zd_error err;

	while (!atomic_load(&stop)) {
		uint64_t at = 0, tag = draw(w, 1 << 16), landed;
		int r = zd_fs_open(w->fs, ino, O_RDWR | O_DIRECT | O_TRUNC, &file, &err);

		settle(r);
		if (r) /* explicit-open: no zone may be opened just now */
			continue;
		while (at < ZONE_SIZE) {
			uint32_t n = (1 + draw(w, (uint32_t)(ZONE_SIZE - at) / BLOCK)) * BLOCK;
			int64_t ret;

			stamp(data + at / 8, at, n, tag);
			ret = zd_fs_write(file, (uint8_t *)data + at, n, at, O_DIRECT, &landed, &err);
			settle(ret);
			if (ret < 0) /* too many open zones */
				break;
			CLAIM(ret == n && landed == at);
			at += n;
			CLAIM(zd_fs_read(file, back, ZONE_SIZE, 0, O_DIRECT, &err) == (int64_t)at);
			CLAIM(memcmp(back, data, at) == 0);
		}
		if (draw(w, 4) == 0)
			settle(zd_fs_fsync(w->fs, ino, &err));
		settle(zd_fs_close(file, &err));
	}
	return NULL;
}

/* Files that all append to, in blocks and in bytes, cut to nothing, fill up and sync. */
static void *shared_files(void *arg)
{
	struct worker *w = arg;
	static _Thread_local uint8_t data[3 * BLOCK];
	zd_fs_file *file;
	struct zd_error err;
	uint64_t landed;

	while (!atomic_load(&stop)) {
		uint64_t ino = SHARED + draw(w, NR_ZONES - SHARED);
		bool direct = draw(w, 2);
		int r = zd_fs_open(w->fs, ino, O_WRONLY | O_APPEND, &file, &err);

		settle(r);
		if (r)
			continue;
		for (uint32_t n = draw(w, 20); n; n--) {
			uint32_t length = direct ? (1 + draw(w, 3)) * BLOCK : 1 + draw(w, sizeof(data));
			int64_t ret = zd_fs_write(file, data, length, 0, O_APPEND | (direct ? O_DIRECT : 0), &landed, &err);

			settle(ret);
			CLAIM(ret < 0 || (ret <= length && landed + (uint64_t)ret <= ZONE_SIZE));
		}
		switch (draw(w, 8)) {
		case 0: settle(zd_fs_ftruncate(file, 0, &err)); break;
		case 1: settle(zd_fs_ftruncate(file, ZONE_SIZE, &err)); break;
		case 2: settle(zd_fs_fsync(w->fs, ino, &err)); break;
		}
		settle(zd_fs_close(file, &err));
	}
	return NULL;
}

static void *conventional(void *arg)
{
	struct worker *w = arg;
	static _Thread_local uint8_t data[BLOCK], back[BLOCK];
	struct zd_error err;
	zd_fs_file *file;

	CLAIM(zd_fs_open(w->fs, 1 + w->id % 2, O_RDWR, &file, &err) == 0);
	while (!atomic_load(&stop)) {
		uint64_t at = draw(w, ZONE_SIZE - BLOCK), ours = (uint64_t)(w->id % 2 ? 0 : 1);

		memset(data, (int)(w->random >> 40), sizeof(data));
		settle(zd_fs_write(file, data, 1 + draw(w, BLOCK - 1), at, 0, NULL, &err));
		settle(zd_fs_read(file, back, BLOCK, at + ours, 0, &err));
	}
	CLAIM(zd_fs_close(file, &err) == 0);
	return NULL;
}

/* With and without a copy; what is read of a file with one writer carries its place. */
static void *reader(void *arg)
{
	struct worker *w = arg;
	static _Thread_local uint64_t room[ZONE_SIZE / 8];
	struct zd_error err;
	zd_fs_file *file;

	while (!atomic_load(&stop)) {
		uint64_t ino = CONV + draw(w, NR_ZONES - CONV), pos = (uint64_t)draw(w, ZONE_BLOCKS) * BLOCK;
		int r = zd_fs_open(w->fs, ino, O_RDONLY, &file, &err);

		settle(r);
		if (r)
			continue;
		for (int i = 0; i < 16; i++) {
			const void *at = NULL;
			bool borrow = draw(w, 2);
			int64_t n = borrow ? zd_fs_read_begin(file, ZONE_SIZE, pos, O_DIRECT, &at, &err) :
					     zd_fs_read(file, room, ZONE_SIZE, pos, O_DIRECT, &err);
			const uint64_t *words = borrow ? at : room;

			settle(n);
			if (n > 0 && words && ino < SHARED) {
				for (int64_t k = 0; k < n / 8; k++) {
					CLAIM(words[k] >> 16 == pos + (uint64_t)k * 8);
					CLAIM((words[k] & 0xFFFF) == (words[0] & 0xFFFF)); /* one round's */
				}
			}
			if (borrow && n > 0)
				zd_fs_read_end(file, pos);
		}
		settle(zd_fs_close(file, &err));
	}
	return NULL;
}

static void *looker(void *arg)
{
	struct worker *w = arg;
	struct zd_fs_counters counters;
	struct zd_fs_options options;
	struct zd_fs_statfs statfs;
	struct zd_error err;
	struct stat st;

	while (!atomic_load(&stop)) {
		uint64_t root = zd_fs_root(w->fs), seq, ino, index = 0;
		char name[17];
		mode_t type;
		int files = 0;

		CLAIM(zd_fs_lookup(w->fs, root, "seq", &seq) == 0);
		while (zd_fs_readdir(w->fs, seq, &index, &ino, &type, name) == 1)
			files++;
		CLAIM(files == NR_ZONES - CONV + 2);
		for (ino = 1; ino < NR_ZONES; ino++) {
			settle(zd_fs_revalidate(w->fs, ino));
			CLAIM(zd_fs_getattr(w->fs, ino, &st) == 0);
			CLAIM(st.st_size >= 0 && st.st_size <= ZONE_SIZE && S_ISREG(st.st_mode));
		}
		CLAIM(zd_fs_statfs(w->fs, &statfs) == 0 && statfs.blocks == (NR_ZONES - 1) * ZONE_BLOCKS);
		zd_fs_get_counters(w->fs, &counters);
		CLAIM(counters.max_wro_seq_files == 12 && counters.nr_active_seq_files <= NR_ZONES);
		zd_fs_get_options(w->fs, &options);
		st.st_mode = S_IFREG | (0600 + draw(w, 0100));
		st.st_uid = draw(w, 100);
		st.st_mtim = (struct timespec){ draw(w, 1000000), 0 };
		settle(zd_fs_setattr(w->fs, CONV + draw(w, NR_ZONES - CONV), &st,
				     ZD_FS_SET_MODE | ZD_FS_SET_UID | ZD_FS_SET_MTIME, &err));
		options.errors = ZD_FS_REPAIR;
		options.flags = ZD_FS_RELAXED | (draw(w, 2) ? ZD_FS_EXPLICIT_OPEN : 0);
		settle(zd_fs_remount(w->fs, &options));
	}
	return NULL;
}

/* Somebody else at the disk: resets zones under the files, kills some and brings them back. */
static void *breaker(void *arg)
{
	struct worker *w = arg;
	struct zd_error err;

	while (pause_for(300000)) {
		uint32_t zone = SHARED + draw(w, NR_ZONES - SHARED);

		if (zone >= BROKEN) {
			zd_set_condition(w->dev, zone, draw(w, 2) ? ZD_READ_ONLY : ZD_OFFLINE, &err);
			zd_set_condition(w->dev, zone, ZD_EMPTY, &err);
		} else {
			zd_zone_mgmt(w->dev, draw(w, 2) ? ZD_CMD_RESET : ZD_CMD_FINISH, zone, 1, &err);
		}
		settle(0);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	static void *(*const jobs[])(void *) = { own_file,     own_file,     own_file, shared_files, shared_files, shared_files,
						 conventional, conventional, reader,   reader,       looker,       breaker };
	enum { NR = sizeof(jobs) / sizeof(jobs[0]) };
	struct zd_range conv = { 0, CONV };
	struct zd_config config = busy_config(NR_ZONES, 12, &conv);
	struct zd_fs_format format = { .label = "stress", .perm = 0640 };
	struct zd_fs_options options = { .errors = ZD_FS_REPAIR, .flags = ZD_FS_RELAXED };
	struct worker like = { 0 };
	struct zd_error err;
	zd_dev *dev;
	zd_fs *fs;

	if (argc < 2) {
		fprintf(stderr, "usage: stress_fs SECONDS [IMAGE]\n");
		return 2;
	}
	CLAIM(zd_create(argc > 2 ? argv[2] : NULL, &config, ZD_CREATE_REPLACE, &dev, &err) == 0);
	CLAIM(zd_fs_mkfs(dev, &format, &err) == 0);
	CLAIM(zd_fs_mount(dev, &options, &fs, &err) == 0);
	like = (struct worker){ .dev = dev, .fs = fs };
	work(jobs, NR, &like, 1, (unsigned)atoi(argv[1]));
	claim_disk_is_sound(dev, 1);
	zd_fs_umount(fs);
	CLAIM(zd_close(dev, &err) == 0);
	printf("%lu calls\n", (unsigned long)calls);
	return 0;
}
