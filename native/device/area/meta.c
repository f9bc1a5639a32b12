/* SPDX-License-Identifier: Apache-2.0 */
/* Headers, status records and zone entries in the file: reading with both copies in mind, and checksums. */
#include "device/area/area.h"

#include <stddef.h>
#include <sys/stat.h>

uint32_t zd_header_crc(const struct zd_header *header)
{
	return zd_crc32c(0, header, offsetof(struct zd_header, crc));
}

static bool header_valid(const struct zd_header *h)
{
	return memcmp(h->magic, zd_magic, sizeof(h->magic)) == 0 && h->crc == zd_header_crc(h);
}

/* *bad_copies: bit 0 copy A, bit 1 copy B. Succeeds with one good copy. */
int zd_header_read(int fd, struct zd_header *header, int *bad_copies, struct zd_error *err)
{
	struct zd_header copy[2];
	struct stat st;
	int i, r, bad = 0, good = -1;

	for (i = 0; i < 2; i++) {
		r = zd_host_pread(fd, &copy[i], sizeof(copy[i]), i ? ZD_HEADER_B : ZD_HEADER_A);
		if (r)
			return zd_fail_host(err, -r, "cannot read the image's header");
		if (!header_valid(&copy[i]))
			bad |= 1 << i;
		else if (good < 0)
			good = i;
	}
	*bad_copies = bad;
	if (good < 0) {
		bool a = memcmp(copy[0].magic, zd_magic, 8) == 0, b = memcmp(copy[1].magic, zd_magic, 8) == 0;

		/* A version to come may checksum its header otherwise, but it will keep magic and version. */
		if (a && copy[0].version != ZD_IMAGE_VERSION && b && copy[0].version == copy[1].version)
			return zd_fail(err, ZD_E_VERSION, "the image has format version %u, and this build knows version %u",
				       copy[0].version, ZD_IMAGE_VERSION);
		if (a && fstat(fd, &st) == 0 && st.st_size < ZD_HEADER_B + (off_t)sizeof(copy[1]))
			return zd_fail(err, ZD_E_TRUNCATED, "the image was cut off at byte %lld, within its headers; restore it from a dump",
				       (long long)st.st_size);
		if (a || b)
			return zd_fail(err, ZD_E_CORRUPT,
				       "both copies of the image's header are damaged (at 0 and 4096); restore it from a dump");
		return zd_fail(err, ZD_E_NOT_IMAGE, "the file is no zoned disk image: it does not begin with \"ZDIMAGE\"");
	}
	*header = copy[good];
	if (header->version != ZD_IMAGE_VERSION)
		return zd_fail(err, ZD_E_VERSION, "the image has format version %u, and this build knows version %u",
			       header->version, ZD_IMAGE_VERSION);
	if (header->features & ~ZD_FEATURES_KNOWN)
		return zd_fail(err, ZD_E_FEATURE, "the image uses feature flags 0x%llx that this build does not know",
			       (unsigned long long)(header->features & ~ZD_FEATURES_KNOWN));
	return 0;
}

static uint32_t status_crc(const struct zd_status *s)
{
	return zd_crc32c(0, s, offsetof(struct zd_status, crc));
}

/* 0; -errno; ZD_E_CORRUPT if neither copy is valid. */
int zd_status_read(int fd, struct zd_status *status, int *bad_copies)
{
	struct zd_status copy[2];
	int i, r, bad = 0, good = -1;

	for (i = 0; i < 2; i++) {
		r = zd_host_pread(fd, &copy[i], sizeof(copy[i]), i ? ZD_STATUS_B : ZD_STATUS_A);
		if (r)
			return r;
		if (memcmp(copy[i].magic, zd_status_magic, 8) || copy[i].crc != status_crc(&copy[i]) || copy[i].clean > 1 ||
		    copy[i].failed > 1)
			bad |= 1 << i;
		else if (good < 0 || (int64_t)(copy[i].seq - copy[good].seq) > 0) /* numbers that go round */
			good = i;
	}
	*bad_copies = bad;
	if (good < 0)
		return ZD_E_CORRUPT;
	*status = copy[good];
	return 0;
}

int zd_status_write(int fd, struct zd_status *status, bool sync)
{
	int r;

	memset(status->zero, 0, sizeof(status->zero));
	memcpy(status->magic, zd_status_magic, 8);
	status->seq++;
	status->crc = status_crc(status);
	/* Both are on the disk before anything relies on them, so that either alone can be believed. */
	r = sync ? zd_host_pwrite_dsync(fd, status, sizeof(*status), ZD_STATUS_A) :
		   zd_host_pwrite(fd, status, sizeof(*status), ZD_STATUS_A);
	if (r)
		return r;
	return sync ? zd_host_pwrite_dsync(fd, status, sizeof(*status), ZD_STATUS_B) :
		      zd_host_pwrite(fd, status, sizeof(*status), ZD_STATUS_B);
}

uint32_t zd_entry_crc(const struct zd_entry *entry, uint32_t zone)
{
	uint32_t crc = zd_crc32c(0, (const uint8_t *)entry + 4, sizeof(*entry) - 4);

	return zd_crc32c(crc, &zone, sizeof(zone));
}

bool zd_entry_zero(const struct zd_entry *entry)
{
	static const struct zd_entry none;

	return memcmp(entry, &none, sizeof(none)) == 0;
}

bool zd_entry_valid(const struct zd_entry *entry, uint32_t zone)
{
	return zd_entry_zero(entry) || (entry->seq && !entry->zero && entry->crc == zd_entry_crc(entry, zone));
}

uint32_t zd_seq_next(uint32_t seq)
{
	return seq + 1 ? seq + 1 : 1;
}

bool zd_seq_newer(uint32_t a, uint32_t b)
{
	if (!a || !b)
		return a != 0 && b == 0;
	return (int32_t)(a - b) > 0;
}

const struct zd_entry *zd_entry_newest(const struct zd_entry *a, const struct zd_entry *b, uint32_t zone, bool stale)
{
	bool va = zd_entry_valid(a, zone), vb = zd_entry_valid(b, zone);

	if (va && vb)
		return zd_seq_newer(b->seq, a->seq) ? b : a;
	/* Copy A is written first, so it is never behind; B alone is current only after a clean close. */
	if (va)
		return a;
	return vb && stale ? b : NULL;
}
