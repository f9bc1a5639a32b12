/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz target: a sound image is damaged as the input says, then checked, opened, used, closed, mended.
 *
 * Input: one byte chooses the image (closed cleanly, or copied while in use; of a disk whose zones have random write areas,
 * or none), then any number of damages,
 * 6 bytes each: kind, place (24 bit), value (16 bit). Some kinds mend the checksum, so that what lies
 * behind it is reached. Nothing may crash, hang or leave a disk that contradicts itself.
 */
#include "device/area/format.h"
#include "testing.h"

#include <fcntl.h>
#include <stdint.h>
#include <sys/stat.h>
#include <unistd.h>

#define NR_ZONES 12u
#define BLOCK 4096u
#define ZONE_SIZE (16u * BLOCK)

static struct base {
	char path[80];
	uint8_t *bytes;
	size_t size, data_offset, table_b;
} bases[4];

static void write_zone(zd_dev *dev, uint32_t zone, uint32_t blocks)
{
	static uint8_t buffer[ZONE_SIZE];
	struct zd_error err;

	memset(buffer, (int)zone + 1, sizeof(buffer));
	CLAIM(zd_pwrite(dev, buffer, (uint64_t)blocks * BLOCK, (uint64_t)zone * ZONE_SIZE, &err) >= 0);
}

static void keep(struct base *base, const char *from)
{
	struct stat st;
	int fd = open(from, O_RDONLY);

	CLAIM(fd >= 0 && fstat(fd, &st) == 0);
	base->size = (size_t)st.st_size;
	base->bytes = malloc(base->size);
	CLAIM(base->bytes && pread(fd, base->bytes, base->size, 0) == (ssize_t)base->size);
	close(fd);
	base->data_offset = ((const struct zd_header *)base->bytes)->data_offset;
	base->table_b = ((const struct zd_header *)base->bytes)->table_b;
}

static void remove_files(void)
{
	for (int i = 0; i < 4; i++)
		unlink(bases[i].path);
}

/* Written in any order, committed by writes and by commits; one that is closed, one with nothing in it. */
static void fill_areas(zd_dev *dev)
{
	static uint8_t buffer[4 * BLOCK];
	struct zd_error err;

	memset(buffer, 0xA7, sizeof(buffer));
	for (uint32_t zone = 2; zone < 6; zone++)
		CLAIM(zd_zone_open_zrwa(dev, zone, &err) == 0);
	CLAIM(zd_pwrite(dev, buffer, 2 * BLOCK, 2 * ZONE_SIZE + BLOCK, &err) == 2 * BLOCK);
	CLAIM(zd_pwrite(dev, buffer, 4 * BLOCK, 3 * ZONE_SIZE + 3 * BLOCK, &err) == 4 * BLOCK);
	CLAIM(zd_flush(dev, &err) == 0);
	CLAIM(zd_pwrite(dev, buffer, BLOCK, 3 * ZONE_SIZE + 4 * BLOCK, &err) == BLOCK);
	CLAIM(zd_zone_commit_zrwa(dev, 4, 4 * ZONE_SIZE + 2 * BLOCK, &err) == 0);
	CLAIM(zd_pwrite(dev, buffer, BLOCK, 4 * ZONE_SIZE + 5 * BLOCK, &err) == BLOCK);
	CLAIM(zd_zone_mgmt(dev, ZD_CMD_CLOSE, 4, 1, &err) == 0);
}

static void make_area_bases(struct zd_config *config)
{
	struct zd_error err;
	zd_dev *dev;

	config->dialect = ZD_ZNS;
	config->max_open = 6;
	config->zrwa_size = 4 * BLOCK;
	config->zrwa_granularity = 2 * BLOCK;
	config->zrwa_count = 5;
	config->size += BLOCK; /* whole granules */
	CLAIM(zd_create(bases[2].path, config, ZD_CREATE_REPLACE, &dev, &err) == 0);
	fill_areas(dev);
	write_zone(dev, 6, 12);
	write_zone(dev, 7, 1);
	keep(&bases[3], bases[2].path);
	CLAIM(zd_close(dev, &err) == 0);
	keep(&bases[2], bases[2].path);
}

/* A disk with a zone in each condition, and one with areas; each once as it lies there in use, once closed. */
static void make_bases(void)
{
	struct zd_range conv = { 0, 2 };
	struct zd_config config = { .struct_size = sizeof(struct zd_config),
				    .size = NR_ZONES * ZONE_SIZE - BLOCK,
				    .zone_size = ZONE_SIZE,
				    .zone_capacity = 12 * BLOCK,
				    .logical_block = 512,
				    .physical_block = BLOCK,
				    .max_open = 3,
				    .max_active = 8,
				    .unrestricted_read = 1,
				    .seed = 7,
				    .nr_conv = 1,
				    .conv = &conv,
				    .slot_cache = 2 * 65536 };
	const char *folder = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
	struct zd_error err;
	zd_dev *dev;

	for (int i = 0; i < 4; i++)
		snprintf(bases[i].path, sizeof(bases[i].path), "%s/zd-fuzz-%d-%d.img", folder, (int)getpid(), i);
	atexit(remove_files);
	CLAIM(zd_create(bases[0].path, &config, ZD_CREATE_REPLACE, &dev, &err) == 0);
	write_zone(dev, 0, 3);
	for (uint32_t zone = 2; zone < 6; zone++)
		write_zone(dev, zone, zone);
	CLAIM(zd_zone_mgmt(dev, ZD_CMD_OPEN, 6, 1, &err) == 0);
	write_zone(dev, 7, 12);
	CLAIM(zd_flush(dev, &err) == 0);
	CLAIM(zd_zone_mgmt(dev, ZD_CMD_FINISH, 3, 1, &err) == 0);
	CLAIM(zd_set_condition(dev, 8, ZD_OFFLINE, &err) == 0);
	CLAIM(zd_set_condition(dev, 9, ZD_READ_ONLY, &err) == 0);
	CLAIM(zd_zone_mgmt(dev, ZD_CMD_RESET, 2, 1, &err) == 0);
	write_zone(dev, 2, 1);
	keep(&bases[1], bases[0].path);
	CLAIM(zd_close(dev, &err) == 0);
	keep(&bases[0], bases[0].path);
	make_area_bases(&config);
}

static void mend_header(uint8_t *bytes, size_t at)
{
	struct zd_header *header = (struct zd_header *)(bytes + at);

	header->crc = zd_crc32c(0, header, offsetof(struct zd_header, crc));
}

static void mend_entry(uint8_t *bytes, size_t table, uint32_t zone)
{
	struct zd_entry *entry = (struct zd_entry *)(bytes + table + zone * sizeof(*entry));
	uint32_t crc = zd_crc32c(0, &entry->seq, sizeof(*entry) - offsetof(struct zd_entry, seq));

	entry->crc = zd_crc32c(crc, &zone, sizeof(zone));
}

/* Damage bytes[0..size); returns the size that the file shall have. */
static size_t damage(const struct base *base, uint8_t *bytes, const uint8_t *op)
{
	uint32_t place = op[1] | (uint32_t)op[2] << 8 | (uint32_t)op[3] << 16;
	uint16_t value = (uint16_t)(op[4] | op[5] << 8);
	uint32_t zone = place / 32 % NR_ZONES;
	struct zd_status *status;

	switch (op[0] % 10) {
	case 0: /* one byte of the metadata or the shared state */ bytes[place % base->data_offset] = (uint8_t)value; break;
	case 1: /* a number in the header, checksums right */
	case 2:
		for (int copy = 0; copy < 2; copy++) {
			uint8_t *field = bytes + copy * ZD_HEADER_B + place % 4090;

			memcpy(field, &value, op[0] % 10 == 1 ? 2 : 1);
			mend_header(bytes, copy * ZD_HEADER_B);
		}
		break;
	case 3: /* one copy of the header only */
		bytes[place % 4090] ^= (uint8_t)(value | 1);
		if (value & 0x100)
			mend_header(bytes, 0);
		break;
	case 4: /* the status page */
		status = (struct zd_status *)(bytes + (value & 0x100 ? ZD_STATUS_B : ZD_STATUS_A));
		((uint8_t *)status)[place % 60] = (uint8_t)value;
		status->crc = zd_crc32c(0, status, offsetof(struct zd_status, crc));
		break;
	case 5: /* a zone's entry, checksum right; in one copy, or in both */
	case 6:
		bytes[ZD_TABLE + zone * 32 + place % 32] = (uint8_t)value;
		mend_entry(bytes, ZD_TABLE, zone);
		if (op[0] % 10 == 6) {
			bytes[base->table_b + zone * 32 + place % 32] = (uint8_t)value;
			mend_entry(bytes, base->table_b, zone);
		}
		break;
	case 7: /* a sector lost */ memset(bytes + place % (base->data_offset / 512) * 512, value & 1 ? 0xFF : 0, 512); break;
	case 8: /* cut */ return value & 1 ? place % base->size : place % base->data_offset;
	default: return base->size + value;
	}
	return base->size;
}

static void look(zd_dev *dev)
{
	static uint8_t buffer[ZONE_SIZE];
	struct zd_error err;
	struct zd_info info = { .struct_size = sizeof(info) };
	struct zd_zone zone;
	uint64_t filled;
	int64_t ret;

	CLAIM(zd_info(dev, &info, &err) == 0);
	for (uint32_t i = 0; i < info.nr_zones && i < 64; i++) {
		CLAIM(zd_report(dev, i, 1, &zone, &err) == 1);
		ret = zd_zone_zrwa(dev, i, &filled, &err);
		CLAIM(ret == 0 || ret == 1);
		if (ret) {
			CLAIM(info.zrwa_size && zone.wp != ZD_NONE && zone.type == ZD_SEQ_WRITE_REQUIRED);
			CLAIM((zone.wp - zone.start) % info.zrwa_granularity == 0);
			CLAIM(filled <= zone.wp + info.zrwa_size && filled <= zone.start + zone.capacity);
		}
		ret = zd_pread(dev, buffer, zone.length < sizeof(buffer) ? zone.length : sizeof(buffer), zone.start, &err);
		if (ret < 0)
			claim_known_code(ret, &err);
	}
	if (info.nr_zones <= 4096)
		claim_disk_is_sound(dev, 0);
}

static void use(zd_dev *dev)
{
	static const uint8_t block[BLOCK] = { 1 };
	struct zd_error err;
	struct zd_zone zone;
	uint64_t landed;
	int64_t ret;

	for (uint32_t i = 0; i < 16 && zd_report(dev, i, 1, &zone, &err) == 1; i++) {
		ret = zd_pwrite(dev, block, sizeof(block), zone.wp == ZD_NONE ? zone.start : zone.wp, &err);
		if (ret < 0)
			claim_known_code(ret, &err);
		ret = zd_append(dev, i, block, sizeof(block), &landed, &err);
		if (ret < 0)
			claim_known_code(ret, &err);
		ret = zd_zone_mgmt(dev, ZD_CMD_OPEN + (int)(i % 4), i, 1, &err);
		if (ret < 0)
			claim_known_code(ret, &err);
		if (i % 5 == 4 && (ret = zd_flush(dev, &err)) < 0)
			claim_known_code(ret, &err);
	}
	ret = zd_zone_mgmt(dev, ZD_CMD_RESET_ALL, 0, 0, &err);
	if (ret < 0)
		claim_known_code(ret, &err);
}

/* Areas are taken, written in and beyond, and committed, whatever is there already. */
static void use_areas(zd_dev *dev)
{
	static const uint8_t block[BLOCK] = { 2 };
	struct zd_error err;
	struct zd_zone zone;
	int64_t ret;

	for (uint32_t i = 0; i < 16 && zd_report(dev, i, 1, &zone, &err) == 1; i++) {
		if (i % 4 == 3 && (ret = zd_zone_open_zrwa(dev, i, &err)) < 0)
			claim_known_code(ret, &err);
		if (zone.wp == ZD_NONE)
			continue;
		for (uint32_t at = 0; at < 6; at += 2) {
			ret = zd_pwrite(dev, block, sizeof(block), zone.wp + ((at + i) % 6) * BLOCK, &err);
			if (ret < 0)
				claim_known_code(ret, &err);
		}
		ret = zd_zone_commit_zrwa(dev, i, zone.wp + 2 * BLOCK, &err);
		if (ret < 0)
			claim_known_code(ret, &err);
	}
}

static int check(const char *path, unsigned flags, size_t *errors, size_t *mendable)
{
	struct zd_finding *findings = NULL;
	struct zd_error err;
	size_t count = 0;
	int ret = zd_check(path, flags, &findings, &count, &err);

	*errors = *mendable = 0;
	if (ret) {
		claim_known_code(ret, &err);
		CLAIM(err.text[0] || ret > -200);
	}
	for (size_t i = 0; i < count; i++) {
		CLAIM(findings[i].kind >= ZD_F_HEADER && findings[i].text[0]);
		CLAIM(memchr(findings[i].text, 0, sizeof(findings[i].text)));
		*errors += findings[i].error && !findings[i].mended;
		*mendable += findings[i].error && findings[i].mendable && !findings[i].mended;
	}
	zd_findings_free(findings);
	return ret;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct base *base;
	size_t length, errors, mendable;
	struct zd_error err;
	uint8_t *bytes;
	zd_dev *dev;
	int fd, ret;

	if (!bases[0].bytes)
		make_bases();
	if (!size)
		return 0;
	base = &bases[(data[0] & 1) + ((data[0] & 6) == 4 ? 2 : 0)];
	bytes = malloc(base->size);
	CLAIM(bytes);
	memcpy(bytes, base->bytes, base->size);
	length = base->size;
	for (data++, size--; size >= 6; data += 6, size -= 6)
		length = damage(base, bytes, data);

	/* The same file each time, so that the shared state in it stays this boot's and this file's. */
	fd = open(base->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	CLAIM(fd >= 0 && ftruncate(fd, 0) == 0);
	CLAIM(pwrite(fd, bytes, base->size < length ? base->size : length, 0) >= 0);
	CLAIM(ftruncate(fd, (off_t)length) == 0);
	close(fd);
	free(bytes);

	check(base->path, 0, &errors, &mendable);
	ret = zd_open(base->path, ZD_OPEN_READONLY, &dev, &err);
	if (ret == 0) {
		look(dev);
		CLAIM(zd_close(dev, &err) == 0);
	} else {
		claim_known_code(ret, &err);
	}
	ret = zd_open(base->path, 0, &dev, &err);
	if (ret == 0) {
		look(dev);
		use_areas(dev);
		look(dev);
		use(dev);
		look(dev);
		ret = zd_close(dev, &err);
	}
	if (ret)
		claim_known_code(ret, &err);
	/* What repair says it mended stays mended, and what it could mend it did. */
	if (check(base->path, ZD_CHECK_REPAIR, &errors, &mendable) == 0) {
		CLAIM(mendable == 0);
		size_t left = errors;
		CLAIM(check(base->path, 0, &errors, &mendable) == 0);
		CLAIM(errors <= left && mendable == 0);
	}
	return 0;
}
