/* SPDX-License-Identifier: Apache-2.0 */
/* A disk from C: each subject once, and the errors that its header names. */
#include "disk.h"

#include <fcntl.h>

static char path[64];

static zd_dev *image_new(void)
{
	const struct zd_config config = disk_config();
	zd_dev *dev;

	snprintf(path, sizeof(path), "/tmp/libzoned-%d.img", (int)getpid());
	WANT(zd_create(path, &config, 0, &dev, NULL) == 0);
	return dev;
}

CASE(device, images_are_made_once)
{
	const struct zd_config config = disk_config();
	zd_dev *dev = image_new(), *other;
	struct zd_error err;

	REFUSED(zd_create(path, &config, 0, &other, &err), -EEXIST, &err);
	REFUSED(zd_create(path, &config, ZD_CREATE_REPLACE, &other, &err), ZD_E_BUSY, &err);
	REFUSED(zd_replaceable(path, &err), ZD_E_BUSY, &err);
	REFUSED(zd_open("/nowhere/disk.img", 0, &other, &err), -ENOENT, &err);
	REFUSED(zd_open("/tmp", 0, &other, &err), -EISDIR, &err);
	REFUSED(zd_open("/dev/null", 0, &other, &err), ZD_E_NOT_IMAGE, &err);
	WANT(zd_close(dev, &err) == 0 && zd_replaceable(path, &err) == 0);
	WANT(zd_create(path, &config, ZD_CREATE_REPLACE, &dev, &err) == 0 && zd_close(dev, &err) == 0);
	WANT(unlink(path) == 0);
}

CASE(device, two_openers_share_a_disk)
{
	struct zd_info info = { .struct_size = sizeof(info) };
	zd_dev *dev = image_new(), *other;
	struct zd_error err;

	memset(block, 'x', BLOCK);
	WANT(zd_open(path, ZD_OPEN_READONLY, &other, &err) == 0);
	WANT(zd_pwrite(dev, block, BLOCK, AT(CONV), &err) == BLOCK && zd_others_write(dev, &err) == 0);
	WANT(zd_pread(other, back, BLOCK, AT(CONV), &err) == BLOCK && memcmp(back, block, BLOCK) == 0);
	REFUSED(zd_pwrite(other, block, BLOCK, AT(CONV) + BLOCK, &err), ZD_E_READONLY_HANDLE, &err);
	WANT(zd_info(other, &info, &err) == 0 && info.readonly && info.nr_implicit_open == 1 && strcmp(info.profile, "test") == 0);
	WANT(zd_close(other, &err) == 0 && zd_close(dev, &err) == 0 && unlink(path) == 0);
}

CASE(geometry, impossible_ones_are_named)
{
	struct zd_config config = disk_config();
	struct zd_error err;
	zd_dev *dev;

	config.logical_block = 1000;
	REFUSED(zd_create(NULL, &config, 0, &dev, &err), ZD_E_GEOMETRY, &err);
	WANT(strstr(err.text, "logical_block is 1000"));
}

CASE(data, rules_of_writing)
{
	zd_dev *dev = disk_new();
	struct zd_error err;
	uint64_t landed;

	WANT(zd_pwrite(dev, block, BLOCK, AT(CONV), &err) == BLOCK);
	REFUSED(zd_pwrite(dev, block, BLOCK, AT(CONV), &err), ZD_E_UNALIGNED_WRITE, &err);
	WANT(err.zone == CONV && err.wp == AT(CONV) + BLOCK && err.cond == ZD_IMPLICIT_OPEN);
	REFUSED(zd_pwrite(dev, block, 512, AT(CONV) + BLOCK, &err), ZD_E_BLOCK_ALIGNMENT, &err);
	REFUSED(zd_pread(dev, back, BLOCK, AT(ZONES), &err), ZD_E_OUT_OF_RANGE, &err);
	REFUSED(zd_append(dev, 0, block, BLOCK, &landed, &err), ZD_E_CONVENTIONAL, &err);
	REFUSED(zd_append(dev, ZONES, block, BLOCK, &landed, &err), ZD_E_OUT_OF_RANGE, &err);
	WANT(zd_append(dev, CONV, block, BLOCK, &landed, &err) == BLOCK && landed == AT(CONV) + BLOCK);
	WANT(zd_zone_mgmt(dev, ZD_CMD_FINISH, CONV, 1, &err) == 0);
	REFUSED(zd_append(dev, CONV, block, BLOCK, &landed, &err), ZD_E_ZONE_FULL, &err);
	WANT(zd_close(dev, NULL) == 0);
}

CASE(zone, commands_and_limits)
{
	zd_dev *dev = disk_new();
	struct zd_zone zones[ZONES];
	struct zd_error err;

	WANT(zd_zone_mgmt(dev, ZD_CMD_OPEN, CONV, 4, &err) == 0);
	REFUSED(zd_zone_mgmt(dev, ZD_CMD_OPEN, CONV + 4, 1, &err), ZD_E_TOO_MANY_OPEN, &err);
	REFUSED(zd_zone_mgmt(dev, ZD_CMD_OPEN, 0, 1, &err), ZD_E_CONVENTIONAL, &err);
	REFUSED(zd_zone_mgmt(dev, ZD_CMD_READ, CONV, 1, &err), -EINVAL, &err);
	REFUSED(zd_zone_mgmt(dev, ZD_CMD_RESET, CONV, 0, &err), ZD_E_OUT_OF_RANGE, &err);
	WANT(zd_set_condition(dev, ZONES - 1, ZD_OFFLINE, &err) == 0);
	REFUSED(zd_pread(dev, back, BLOCK, AT(ZONES - 1), &err), ZD_E_ZONE_OFFLINE, &err);
	WANT(zd_report(dev, 0, ZONES, zones, &err) == ZONES && zones[CONV].cond == ZD_EXPLICIT_OPEN);
	WANT(zones[0].type == ZD_CONVENTIONAL && zones[0].wp == ZD_NONE && zones[ZONES - 1].cond == ZD_OFFLINE);
	WANT(zd_close(dev, NULL) == 0);
}

CASE(request, report_lists_what_is_asked_for)
{
	zd_dev *dev = disk_new();
	struct zd_zone zone;
	struct zd_error err;
	struct zd_request q = { .size = sizeof(q), .op = ZD_OP_REPORT, .count = 1, .zones = &zone, .filter = ZD_REPORT_FULL, .err = &err };

	WANT(zd_zone_mgmt(dev, ZD_CMD_FINISH, 9, 2, &err) == 0);
	WANT(zd_submit(dev, &q) == 0 && q.result == 2 && zone.index == 9);
	q.size = 8;
	WANT(zd_submit(dev, &q) == 0);
	REFUSED(q.result, -EINVAL, &err);
	WANT(zd_close(dev, NULL) == 0);
}

CASE(power, cuts_and_snapshots)
{
	zd_dev *dev = disk_new(), *fork;
	zd_snapshot *snapshot;
	struct zd_error err;
	struct zd_zone zone;

	WANT(zd_pwrite(dev, block, BLOCK, AT(CONV), &err) == BLOCK && zd_flush(dev, &err) == 0);
	WANT(zd_snapshot_take(dev, &snapshot, &err) == 0);
	WANT(zd_pwrite(dev, block, BLOCK, AT(CONV) + BLOCK, &err) == BLOCK);
	REFUSED(zd_power_cut(dev, 9, 0, &err), -EINVAL, &err);
	WANT(zd_power_cut(dev, ZD_KEEP_DURABLE, 0, &err) == 0 && zd_power(dev, &err) == 0);
	REFUSED(zd_pread(dev, back, BLOCK, 0, &err), ZD_E_POWER_LOSS, &err);
	WANT(zd_power_on(dev, &err) == 0 && zd_power(dev, &err) == 1);
	WANT(zd_report(dev, CONV, 1, &zone, &err) == 1 && zone.wp == AT(CONV) + BLOCK && zone.cond == ZD_CLOSED);
	WANT(zd_fork(snapshot, NULL, &fork, &err) == 0 && zd_zone_mgmt(fork, ZD_CMD_RESET, CONV, 1, &err) == 0);
	WANT(zd_rollback(dev, snapshot, &err) == 0 && zd_zone_written(dev, CONV, &err) == BLOCK);
	zd_snapshot_free(snapshot);
	WANT(zd_close(fork, NULL) == 0 && zd_close(dev, NULL) == 0);
}

CASE(snapshot, fates_of_a_power_cut)
{
	zd_dev *dev = disk_new(), *fork;
	struct zd_snapshot_block blocks[4];
	struct zd_survivor kept[8];
	struct zd_fate fates[8];
	uint64_t undone[8], nr_free, choices[4] = { 0 };
	zd_snapshot *snapshot;
	struct zd_error err;
	struct zd_cut cut;

	memset(block, 'o', BLOCK);
	WANT(zd_pwrite(dev, block, BLOCK, 0, &err) == BLOCK && zd_flush(dev, &err) == 0);
	memset(block, 'n', BLOCK);
	WANT(zd_pwrite(dev, block, BLOCK, 0, &err) == BLOCK);
	WANT(zd_pwrite(dev, block, BLOCK, AT(5), &err) == BLOCK && zd_pwrite(dev, block, BLOCK, AT(5) + BLOCK, &err) == BLOCK);
	WANT(zd_snapshot_take(dev, &snapshot, &err) == 0 && zd_snapshot_unflushed(snapshot, blocks, 4, &err) == 1);
	WANT(zd_snapshot_fates(snapshot, blocks, 1, fates, &nr_free) == 2 && nr_free == 2);
	WANT(fates[0].zone == 5 && !fates[0].is_block && fates[0].low == 0 && fates[0].high == 2 * BLOCK && fates[0].choices == 3);
	WANT(fates[1].zone == 0 && fates[1].is_block && fates[1].offset == 0 && fates[1].choices == 2);
	WANT(zd_fates_cut(fates, 2, choices, 2, kept, undone, &cut) == 0 && cut.nr_undone == 1 && kept[0].bytes == 0);
	choices[0] = 1;
	choices[1] = 1;
	WANT(zd_fates_cut(fates, 2, choices, 2, kept, undone, &cut) == 0 && cut.nr_undone == 0 && cut.nr_kept == 1);
	WANT(kept[0].zone == 5 && kept[0].bytes == BLOCK && zd_fork(snapshot, &cut, &fork, &err) == 0);
	WANT(zd_zone_written(fork, 5, &err) == BLOCK && zd_pread(fork, back, BLOCK, 0, &err) == BLOCK && back[0] == 'n');
	choices[0] = 3;
	WANT(zd_fates_cut(fates, 2, choices, 2, kept, undone, &cut) == -EINVAL);
	zd_snapshot_free(snapshot);
	WANT(zd_close(fork, NULL) == 0 && zd_close(dev, NULL) == 0);
}

CASE(fault, medium_error)
{
	const struct zd_fault fault = { .kind = ZD_FAULT_MEDIUM, .commands = 1u << ZD_CMD_READ, .first_zone = CONV, .last_zone = CONV,
					.bit = ZD_NONE, .label = "a scratch" };
	zd_dev *dev = disk_new();
	struct zd_error err;
	uint32_t id;

	WANT(zd_pwrite(dev, block, BLOCK, AT(CONV), &err) == BLOCK && zd_fault_add(dev, &fault, &id, &err) == 0);
	REFUSED(zd_pread(dev, back, BLOCK, AT(CONV), &err), ZD_E_MEDIUM_READ, &err);
	WANT(err.injected && err.fault == id && strcmp(err.text, "a scratch") == 0);
	REFUSED(zd_fault_clear(dev, id + 1, &err), -ENOENT, &err);
	WANT(zd_fault_clear(dev, id, &err) == 0 && zd_pread(dev, back, BLOCK, AT(CONV), &err) == BLOCK);
	WANT(zd_close(dev, NULL) == 0);
}

CASE(check, tells_of_a_torn_header)
{
	zd_dev *dev = image_new();
	struct zd_finding *findings;
	size_t count;
	int fd;

	WANT(zd_close(dev, NULL) == 0 && zd_check(path, 0, &findings, &count, NULL) == 0 && count == 0 && !findings);
	fd = open(path, O_WRONLY);
	WANT(fd >= 0 && pwrite(fd, "torn", 4, 64) == 4 && close(fd) == 0);
	WANT(zd_check(path, ZD_CHECK_REPAIR, &findings, &count, NULL) == 0 && count == 1);
	WANT(findings->kind == ZD_F_HEADER && findings->mended && !findings->loses);
	zd_findings_free(findings);
	WANT(zd_check(path, 0, &findings, &count, NULL) == 0 && count == 0 && unlink(path) == 0);
}

CASE(trace, commands_are_recorded_and_kept)
{
	zd_dev *dev = disk_new();
	FILE *file = tmpfile();
	struct zd_trace_status status = { .struct_size = sizeof(status) };
	struct zd_trace_record rows[8];
	struct zd_error err;
	struct stat st;
	int64_t n;

	WANT(file && zd_trace_start(dev, fileno(file), &err) == 0);
	REFUSED(zd_trace_start(dev, fileno(file), &err), -EALREADY, &err);
	WANT(zd_pwrite(dev, block, BLOCK, AT(CONV), &err) == BLOCK && zd_trace_stop(dev, &status, &err) == 0);
	WANT(status.records == 1 && status.lost == 0 && status.bytes > 0);
	REFUSED(zd_trace_stop(dev, &status, &err), -ENOENT, &err);
	WANT(fstat(fileno(file), &st) == 0 && (uint64_t)st.st_size == status.bytes && fclose(file) == 0);
	WANT(zd_trace_keep(dev, 1, &err) == 0 && zd_zone_mgmt(dev, ZD_CMD_FINISH, CONV, 1, &err) == 0);
	REFUSED(zd_pwrite(dev, block, BLOCK, AT(CONV), &err), ZD_E_ZONE_FULL, &err);
	n = zd_trace_last(dev, rows, 8, &err);
	WANT(n >= 2 && rows[n - 2].cmd == ZD_CMD_FINISH && rows[n - 2].zone == CONV && rows[n - 2].result == 0);
	WANT(rows[n - 1].cmd == ZD_CMD_WRITE && rows[n - 1].offset == AT(CONV) && rows[n - 1].result == ZD_E_ZONE_FULL);
	WANT(zd_trace_status(dev, &status, &err) == 0 && status.keeps && !status.recorder);
	WANT(zd_close(dev, NULL) == 0);
}

CASE(fs, zones_are_files)
{
	const struct zd_fs_format format = { .features = ZD_FS_F_PERM, .perm = 0600, .label = "c" };
	const struct zd_fs_options options = { .errors = ZD_FS_REPAIR, .uid = UINT32_MAX, .gid = UINT32_MAX, .perm = UINT32_MAX };
	struct zd_fs_options wrong = options;
	struct zd_error err;
	uint64_t seq, ino;
	struct stat st;
	zd_dev *dev = disk_new();
	zd_fs *fs;

	WANT(zd_fs_mkfs(dev, &format, &err) == 0);
	wrong.reserved[0] = 1;
	REFUSED(zd_fs_mount(dev, &wrong, &fs, &err), -EINVAL, &err);
	WANT(zd_fs_mount(dev, &options, &fs, &err) == 0);
	WANT(zd_fs_lookup(fs, zd_fs_root(fs), "seq", &seq) == 0 && zd_fs_lookup(fs, seq, "0", &ino) == 0);
	WANT(zd_fs_getattr(fs, ino, &st) == 0 && st.st_size == 0 && (st.st_mode & 0777) == 0600);
	WANT(zd_fs_lookup(fs, seq, "99", &ino) == -ENOENT);
	zd_fs_umount(fs);
	WANT(zd_close(dev, NULL) == 0);
}
