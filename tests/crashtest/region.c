/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SQLite on the conventional zones of a disk: a VFS that keeps the database in zone 0 and its rollback journal in zone 1, each
 * behind a block with its length, and a program that puts rows. Built with -DFORGETS_SYNC its journal is not synced, so a power
 * cut may leave half a transaction and no journal to take it back.
 */
#include "acknowledge.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BLOCK 4096
#define ZONE (4L << 20)
#define ROWS 3
#ifndef SYNCHRONOUS
#define SYNCHRONOUS "EXTRA" /* FULL leaves the end of the journal in the drive's cache: a row may be taken back */
#endif

static const char *disk;
static sqlite3_vfs *host;

struct region {
	sqlite3_file base;
	int fd, journal;
};

struct head {
	char magic[8];
	int64_t length; /* -1: there is no such file */
	char rest[BLOCK - 16];
};

static off_t begin_of(int journal)
{
	return journal ? ZONE : 0;
}

static int64_t length_of(int fd, int journal)
{
	struct head h;

	if (pread(fd, &h, BLOCK, begin_of(journal)) != BLOCK || memcmp(h.magic, "region", 7))
		return -1;
	return h.length;
}

static int set_length(int fd, int journal, int64_t length)
{
	struct head h = { .magic = "region", .length = length };

	return pwrite(fd, &h, BLOCK, begin_of(journal)) == BLOCK ? SQLITE_OK : SQLITE_IOERR_WRITE;
}

static int r_close(sqlite3_file *file)
{
	close(((struct region *)file)->fd);
	return SQLITE_OK;
}

static int r_read(sqlite3_file *file, void *to, int n, sqlite3_int64 at)
{
	struct region *r = (struct region *)file;
	int64_t length = length_of(r->fd, r->journal), have = length > at ? length - at : 0;

	have = have < n ? have : n;
	memset(to, 0, (size_t)n);
	if (have && pread(r->fd, to, (size_t)have, begin_of(r->journal) + BLOCK + at) != have)
		return SQLITE_IOERR_READ;
	return have == n ? SQLITE_OK : SQLITE_IOERR_SHORT_READ;
}

static int r_write(sqlite3_file *file, const void *from, int n, sqlite3_int64 at)
{
	struct region *r = (struct region *)file;

	if (pwrite(r->fd, from, (size_t)n, begin_of(r->journal) + BLOCK + at) != n)
		return SQLITE_IOERR_WRITE;
	return at + n > length_of(r->fd, r->journal) ? set_length(r->fd, r->journal, at + n) : SQLITE_OK;
}

static int r_truncate(sqlite3_file *file, sqlite3_int64 length)
{
	struct region *r = (struct region *)file;

	return set_length(r->fd, r->journal, length);
}

static int r_sync(sqlite3_file *file, int flags)
{
	struct region *r = (struct region *)file;

	(void)flags;
#ifdef FORGETS_SYNC
	if (r->journal)
		return SQLITE_OK;
#endif
	return fsync(r->fd) ? SQLITE_IOERR_FSYNC : SQLITE_OK;
}

static int r_size(sqlite3_file *file, sqlite3_int64 *size)
{
	struct region *r = (struct region *)file;
	int64_t length = length_of(r->fd, r->journal);

	*size = length > 0 ? length : 0;
	return SQLITE_OK;
}

static int r_lock(sqlite3_file *file, int lock)
{
	(void)file;
	(void)lock;
	return SQLITE_OK;
}

static int r_reserved(sqlite3_file *file, int *out)
{
	(void)file;
	*out = 0;
	return SQLITE_OK;
}

static int r_control(sqlite3_file *file, int op, void *arg)
{
	(void)file;
	(void)op;
	(void)arg;
	return SQLITE_NOTFOUND;
}

static int r_sector(sqlite3_file *file)
{
	(void)file;
	return BLOCK;
}

static int r_is(sqlite3_file *file)
{
	(void)file;
	return 0;
}

static const sqlite3_io_methods methods = {
	.iVersion = 1,
	.xClose = r_close,
	.xRead = r_read,
	.xWrite = r_write,
	.xTruncate = r_truncate,
	.xSync = r_sync,
	.xFileSize = r_size,
	.xLock = r_lock,
	.xUnlock = r_lock,
	.xCheckReservedLock = r_reserved,
	.xFileControl = r_control,
	.xSectorSize = r_sector,
	.xDeviceCharacteristics = r_is,
};

static int is_journal(const char *name)
{
	return name && strstr(name, "-journal") != NULL;
}

static int v_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out)
{
	struct region *r = (struct region *)file;

	(void)vfs;
	r->base.pMethods = NULL;
	r->journal = is_journal(name) != 0;
	r->fd = name ? open(disk, O_RDWR) : -1;
	if (r->fd < 0)
		return SQLITE_CANTOPEN;
	if (length_of(r->fd, r->journal) < 0 && set_length(r->fd, r->journal, 0))
		return SQLITE_CANTOPEN;
	r->base.pMethods = &methods;
	if (out)
		*out = flags;
	return SQLITE_OK;
}

static int v_delete(sqlite3_vfs *vfs, const char *name, int sync)
{
	static const char zeros[BLOCK];
	int fd = open(disk, O_RDWR), journal = is_journal(name), r = fd < 0 ? SQLITE_IOERR_DELETE : SQLITE_OK;

	(void)vfs;
	/* What a later file of this name has not written yet must not be what this one held. */
	if (!r && pwrite(fd, zeros, BLOCK, begin_of(journal) + BLOCK) != BLOCK)
		r = SQLITE_IOERR_WRITE;
	if (!r)
		r = set_length(fd, journal, -1);
	if (!r && sync && fsync(fd))
		r = SQLITE_IOERR_FSYNC;
	close(fd);
	return r;
}

static int v_access(sqlite3_vfs *vfs, const char *name, int flags, int *out)
{
	int fd = open(disk, O_RDWR);

	(void)vfs;
	(void)flags;
	*out = !strstr(name, "-wal") && fd >= 0 && length_of(fd, is_journal(name)) >= 0;
	close(fd);
	return SQLITE_OK;
}

static int v_path(sqlite3_vfs *vfs, const char *name, int n, char *out)
{
	(void)vfs;
	snprintf(out, (size_t)n, "%s", name);
	return SQLITE_OK;
}

static void run(sqlite3 *db, const char *sql, int (*row)(void *, int, char **, char **), void *arg)
{
	char *said = NULL;

	if (sqlite3_exec(db, sql, row, arg, &said)) {
		printf("%s: %s\n", sql, said ? said : "failed");
		exit(1);
	}
}

static int first(void *arg, int n, char **values, char **names)
{
	(void)n;
	(void)names;
	snprintf(arg, 64, "%s", values[0] ? values[0] : "");
	return 0;
}

int main(int argc, char **argv)
{
	static sqlite3_vfs vfs = {
		.iVersion = 1,
		.szOsFile = sizeof(struct region),
		.mxPathname = 256,
		.zName = "region",
		.xOpen = v_open,
		.xDelete = v_delete,
		.xAccess = v_access,
		.xFullPathname = v_path,
	};
	const char *told = getenv("ZONED_MARKS");
	char sql[256], answer[64] = "";
	sqlite3 *db;
	int i;

	if (argc != 3)
		return 2;
	disk = argv[2];
	sqlite3_initialize();
	host = sqlite3_vfs_find(NULL);
	vfs.xRandomness = host->xRandomness;
	vfs.xSleep = host->xSleep;
	vfs.xCurrentTime = host->xCurrentTime;
	vfs.xGetLastError = host->xGetLastError;
	sqlite3_vfs_register(&vfs, 1);
	if (sqlite3_open_v2("rows.db", &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, "region"))
		return 2;
	run(db, "PRAGMA synchronous=" SYNCHRONOUS "; PRAGMA cache_size=2;", NULL, NULL);
	if (!strcmp(argv[1], "put")) {
		/* Two tables that say the same: half a transaction shows. */
		run(db, "CREATE TABLE a(n INTEGER PRIMARY KEY, t TEXT); CREATE TABLE b(n INTEGER PRIMARY KEY, t TEXT);", NULL,
		    NULL);
		for (i = 0; i < ROWS; i++) {
			snprintf(
				sql, sizeof(sql),
				"BEGIN; INSERT INTO a VALUES(%d, hex(zeroblob(900))); INSERT INTO b SELECT * FROM a WHERE n=%d; COMMIT;",
				i, i);
			run(db, sql, NULL, NULL);
			acknowledge("row", (unsigned)i);
		}
		sqlite3_close(db);
		return 0;
	}
	run(db, "PRAGMA integrity_check", first, answer);
	if (strcmp(answer, "ok")) {
		printf("integrity_check: %s\n", answer);
		return 1;
	}
	run(db, "SELECT count(*) FROM sqlite_master WHERE type='table'", first, answer);
	if (atoi(answer) < 2)
		return told && atoi(told) ? (printf("the tables are gone\n"), 1) : 0;
	run(db, "SELECT (SELECT count(*) FROM a) = (SELECT count(*) FROM b)", first, answer);
	if (strcmp(answer, "1")) {
		printf("a row is in one table and not in the other\n");
		return 1;
	}
	run(db, "SELECT count(*) FROM a", first, answer);
	printf("%s rows, %s were acknowledged\n", answer, told ? told : "0");
	return atoi(answer) < (told ? atoi(told) : 0);
}
