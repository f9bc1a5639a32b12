/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The superblock of zonefs: 4096 bytes at the start of the disk, little-endian (Linux fs/zonefs/zonefs.h, struct
 * zonefs_super). Zone 0 belongs to it and is never a file.
 */
#include "zonefs.h"

#define SUPER_SIZE 4096u

enum { /* where the fields lie */
	AT_MAGIC = 0,
	AT_CRC = 4,
	AT_LABEL = 8,
	AT_UUID = 72,
	AT_FEATURES = 88,
	AT_UID = 96,
	AT_GID = 100,
	AT_PERM = 104,
	AT_RESERVED = 108
};

#define FEATURES (ZD_FS_F_AGGRCNV | ZD_FS_F_UID | ZD_FS_F_GID | ZD_FS_F_PERM)

static void put(uint8_t *to, uint64_t value, int bytes)
{
	for (int i = 0; i < bytes; i++)
		to[i] = (uint8_t)(value >> (8 * i));
}

static uint64_t get(const uint8_t *from, int bytes)
{
	uint64_t value = 0;

	for (int i = 0; i < bytes; i++)
		value |= (uint64_t)from[i] << (8 * i);
	return value;
}

/* CRC-32 (reflected, 0xedb88320) from all ones and without the usual last inversion, over the block with crc 0. */
static uint32_t checksum(const uint8_t *block)
{
	uint32_t crc = ~0u;

	for (unsigned i = 0; i < SUPER_SIZE; i++) {
		crc ^= i >= AT_CRC && i < AT_LABEL ? 0 : block[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
	}
	return crc;
}

static int disk_error(int64_t code, const struct zd_info *info)
{
	const struct zd_rule_info *rule = zd_rule_info((int)code, info->dialect);

	if (rule)
		return -rule->err;
	if (code == ZD_E_READONLY_HANDLE)
		return -EROFS;
	return code > ZD_E_FIRST_RULE ? (int)code : -EIO;
}

static int reset_all(zd_dev *dev, const struct zd_info *info, struct zd_error *err)
{
	struct zd_zone zones[64];
	int64_t n;

	for (uint32_t at = 0; at < info->nr_zones; at += (uint32_t)n) {
		n = zd_report(dev, at, 64, zones, err);
		if (n <= 0)
			return n ? disk_error(n, info) : zd_fs_fail(err, EIO, "the zone report ends early");
		for (int64_t i = 0; i < n; i++) {
			int r;

			/* Dead zones stay what they are: their files will be empty and without permissions. */
			if (zones[i].type == ZD_CONVENTIONAL || zones[i].cond == ZD_EMPTY ||
			    ((zones[i].cond == ZD_READ_ONLY || zones[i].cond == ZD_OFFLINE) && zones[i].index))
				continue;
			r = zd_fs_zone_mgmt(dev, ZD_CMD_RESET, zones[i].index, err);
			if (r)
				return disk_error(r, info);
		}
	}
	return 0;
}

static int fits(zd_dev *dev, const struct zd_info *info, struct zd_error *err)
{
	struct zd_zone zones[64];
	bool first = true;
	int64_t n;

	for (uint32_t at = 0; at < info->nr_zones; at += (uint32_t)n) {
		n = zd_report(dev, at, 64, zones, err);
		if (n <= 0)
			return n ? disk_error(n, info) : zd_fs_fail(err, EIO, "the zone report ends early");
		if (first && zones[0].capacity < SUPER_SIZE)
			return zd_fs_fail(err, ENOSPC, "zone 0 holds %llu bytes, the superblock needs %u",
					  (unsigned long long)zones[0].capacity, SUPER_SIZE);
		for (int64_t i = first; i < n; i++) {
			if (zones[i].cond != ZD_READ_ONLY && zones[i].cond != ZD_OFFLINE)
				return 0;
		}
		first = false;
	}
	return zd_fs_fail(err, ENOSPC, "no zone would be a file that can be written: zone 0 is the superblock's, %s",
			  info->nr_zones > 1 ? "and all others are read-only or offline" : "and there is no other");
}

int zd_fs_fits(zd_dev *dev, struct zd_error *err)
{
	struct zd_info info = { .struct_size = sizeof(info) };
	int64_t r;

	r = zd_info(dev, &info, err);
	if (r < 0)
		return (int)(r > ZD_E_FIRST_RULE ? r : -EIO);
	return fits(dev, &info, err);
}

int zd_fs_mkfs(zd_dev *dev, const struct zd_fs_format *format, struct zd_error *err)
{
	uint8_t block[SUPER_SIZE] = { 0 };
	struct zd_info info = { .struct_size = sizeof(info) };
	struct zd_zone first;
	int64_t r;

	r = zd_info(dev, &info, err);
	if (r < 0)
		return (int)(r > ZD_E_FIRST_RULE ? r : -EIO);
	if (info.readonly)
		return zd_fs_fail(err, EROFS, "the disk is open read-only, so no file system can be made on it");
	if (format->features & ~FEATURES)
		return zd_fs_fail(err, EINVAL, "features 0x%llx are unknown: only bits 0x%llx exist",
				  (unsigned long long)(format->features & ~FEATURES), (unsigned long long)FEATURES);
	r = fits(dev, &info, err);
	if (r < 0)
		return (int)r;
	r = zd_report(dev, 0, 1, &first, err);
	if (r < 0)
		return disk_error(r, &info);

	put(block + AT_MAGIC, ZD_FS_MAGIC, 4);
	memcpy(block + AT_LABEL, format->label, sizeof(format->label));
	memcpy(block + AT_UUID, format->uuid, sizeof(format->uuid));
	put(block + AT_FEATURES, format->features, 8);
	put(block + AT_UID, format->uid, 4);
	put(block + AT_GID, format->gid, 4);
	put(block + AT_PERM, format->perm, 4);
	put(block + AT_CRC, checksum(block), 4);

	r = reset_all(dev, &info, err);
	if (r)
		return (int)r;
	r = zd_fs_pwrite(dev, block, sizeof(block), 0, err);
	if (r >= 0 && first.type != ZD_CONVENTIONAL)
		r = zd_fs_zone_mgmt(dev, ZD_CMD_FINISH, 0, err);
	if (r >= 0)
		r = zd_fs_flush(dev, err);
	return r < 0 ? disk_error(r, &info) : 0;
}

int zd_fs_read_super(zd_dev *dev, struct zd_fs_format *out, struct zd_error *err)
{
	uint8_t block[SUPER_SIZE];
	struct zd_info info = { .struct_size = sizeof(info) };
	uint32_t stored, crc;
	uint64_t magic;
	int64_t r;

	r = zd_info(dev, &info, err);
	if (r < 0)
		return (int)(r > ZD_E_FIRST_RULE ? r : -EIO);
	if (info.size < SUPER_SIZE)
		return zd_fs_fail(err, EINVAL, "not a zonefs: the disk has no room for a superblock of %u bytes", SUPER_SIZE);
	r = zd_pread(dev, block, sizeof(block), 0, err);
	if (r == ZD_E_INVALID_READ) /* a disk without URSWRZ, and nothing was ever written to it */
		return zd_fs_fail(err, EIO, "not a zonefs: nothing is written at the start of the disk");
	if (r < 0)
		return disk_error(r, &info);

	magic = get(block + AT_MAGIC, 4);
	if (magic != ZD_FS_MAGIC)
		return zd_fs_fail(err, EINVAL, "not a zonefs: the magic number at 0 is 0x%08llx, it must be 0x%08x; "
				  "mkfs makes one", (unsigned long long)magic, ZD_FS_MAGIC);
	stored = (uint32_t)get(block + AT_CRC, 4);
	crc = checksum(block);
	if (crc != stored)
		return zd_fs_fail(err, EINVAL, "the superblock's crc at 4 is 0x%08x, its content makes 0x%08x", stored, crc);

	memset(out, 0, sizeof(*out));
	out->features = get(block + AT_FEATURES, 8);
	memcpy(out->label, block + AT_LABEL, sizeof(out->label));
	memcpy(out->uuid, block + AT_UUID, sizeof(out->uuid));
	out->uid = (uint32_t)get(block + AT_UID, 4);
	out->gid = (uint32_t)get(block + AT_GID, 4);
	out->perm = (uint32_t)get(block + AT_PERM, 4);
	if (out->features & ~FEATURES)
		return zd_fs_fail(err, EINVAL, "the superblock has unknown features 0x%llx: only bits 0x%llx exist",
				  (unsigned long long)(out->features & ~FEATURES), (unsigned long long)FEATURES);
	if ((out->features & ZD_FS_F_UID) && out->uid == UINT32_MAX)
		return zd_fs_fail(err, EINVAL, "the superblock's uid is 4294967295, which is no user");
	if ((out->features & ZD_FS_F_GID) && out->gid == UINT32_MAX)
		return zd_fs_fail(err, EINVAL, "the superblock's gid is 4294967295, which is no group");
	for (unsigned i = AT_RESERVED; i < SUPER_SIZE; i++) {
		if (block[i])
			return zd_fs_fail(err, EINVAL, "the superblock's reserved byte at %u is 0x%02x, it must be 0", i, block[i]);
	}
	return 0;
}
