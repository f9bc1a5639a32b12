/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fast_table.h - how zoned._fast reaches the core that is compiled into zoned._native.
 *
 * The core exists once in a process, inside _native. _native hands out the address of one constant
 * table; _fast calls through it. Both sizes are checked, so that two modules from different builds
 * refuse each other instead of reading each other's memory wrongly.
 */
#ifndef ZD_FAST_TABLE_H
#define ZD_FAST_TABLE_H

#include "zd.h"
#include "zd_fs.h"

struct zd_fast_table {
	size_t table_size; /* sizeof(struct zd_fast_table) */
	size_t error_size; /* sizeof(struct zd_error) */
	int64_t (*pread)(zd_dev *, void *, uint64_t, uint64_t, struct zd_error *);
	int64_t (*pwrite)(zd_dev *, const void *, uint64_t, uint64_t, struct zd_error *);
	int64_t (*pwritev)(zd_dev *, const struct iovec *, int, uint64_t, struct zd_error *);
	int64_t (*append)(zd_dev *, uint32_t, const void *, uint64_t, uint64_t *, struct zd_error *);
	int (*close)(zd_dev *, struct zd_error *);
	void (*set_interrupt)(zd_dev *, int (*)(void *), void *);
	const char *(*waited_for)(void);
	void (*end_hangs)(zd_dev *);
};

/* The same for the files of a zonefs. */
struct zd_fast_fs_table {
	size_t table_size; /* sizeof(struct zd_fast_fs_table) */
	size_t error_size; /* sizeof(struct zd_error) */
	int64_t (*read)(zd_fs_file *, void *, uint64_t, uint64_t, int, struct zd_error *);
	int64_t (*write)(zd_fs_file *, const void *, uint64_t, uint64_t, int, uint64_t *, struct zd_error *);
	int (*truncate)(zd_fs_file *, uint64_t, struct zd_error *);
	int (*close)(zd_fs_file *, struct zd_error *);
	void (*drop)(zd_fs_file *);
};

#endif
