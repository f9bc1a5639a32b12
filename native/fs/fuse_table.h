/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuse_table.h - how zonefs._fuse reaches the zonefs rules that are compiled into zoned._native.
 *
 * The core exists once in a process, inside _native, which hands out the address of one constant table; the
 * FUSE server calls through it. The sizes are checked, so that two modules from different builds refuse each
 * other instead of reading each other's memory wrongly.
 */
#ifndef ZD_FUSE_TABLE_H
#define ZD_FUSE_TABLE_H

#include "zd_fs.h"

struct zd_fuse_table {
	size_t table_size; /* sizeof(struct zd_fuse_table) */
	size_t error_size; /* sizeof(struct zd_error) */
	const char *(*rule_name)(int);
	int64_t (*report)(zd_dev *, uint32_t, uint32_t, struct zd_zone *, struct zd_error *);
	uint64_t (*root)(zd_fs *);
	int (*lookup)(zd_fs *, uint64_t, const char *, uint64_t *);
	int (*getattr)(zd_fs *, uint64_t, struct stat *);
	int (*readdir)(zd_fs *, uint64_t, uint64_t *, uint64_t *, mode_t *, char *);
	int (*setattr)(zd_fs *, uint64_t, const struct stat *, unsigned, struct zd_error *);
	int (*ftruncate)(zd_fs_file *, uint64_t, struct zd_error *);
	int (*open)(zd_fs *, uint64_t, int, zd_fs_file **, struct zd_error *);
	int (*close)(zd_fs_file *, struct zd_error *);
	int (*unsettled)(const zd_fs_file *);
	int (*settle)(zd_fs_file *, struct zd_error *);
	int64_t (*read)(zd_fs_file *, void *, uint64_t, uint64_t, int, struct zd_error *);
	int64_t (*read_begin)(zd_fs_file *, uint64_t, uint64_t, int, const void **, struct zd_error *);
	void (*read_end)(zd_fs_file *, uint64_t);
	int64_t (*write)(zd_fs_file *, const void *, uint64_t, uint64_t, int, uint64_t *, struct zd_error *);
	int (*fsync)(zd_fs *, uint64_t, struct zd_error *);
	int (*statfs)(zd_fs *, struct zd_fs_statfs *);
	void (*counters)(zd_fs *, struct zd_fs_counters *);
	int (*revalidate)(zd_fs *, uint64_t);
	void (*get_options)(zd_fs *, struct zd_fs_options *);
	int (*remount)(zd_fs *, const struct zd_fs_options *);
	int (*news)(zd_fs *, char *);
	uint32_t (*nr_writers)(zd_fs *);
	int (*fallocate)(zd_fs_file *, struct zd_error *);
	void (*set_interrupt)(zd_dev *, int (*)(void *), void *);
	int (*(*get_interrupt)(zd_dev *, void **))(void *);
};

#define ZD_FUSE_TABLE_INIT                                                                                    \
	{                                                                                                     \
		sizeof(struct zd_fuse_table), sizeof(struct zd_error), zd_rule_name, zd_report, zd_fs_root,       \
			zd_fs_lookup, zd_fs_getattr, zd_fs_readdir, zd_fs_setattr, zd_fs_ftruncate, zd_fs_open,       \
			zd_fs_close, zd_fs_unsettled, zd_fs_settle, zd_fs_read, zd_fs_read_begin, zd_fs_read_end,     \
			zd_fs_write, zd_fs_fsync, zd_fs_statfs, zd_fs_get_counters, zd_fs_revalidate,                 \
			zd_fs_get_options, zd_fs_remount, zd_fs_news, zd_fs_nr_writers, zd_fs_fallocate,              \
			zd_set_interrupt, zd_get_interrupt                                                            \
	}

#endif
