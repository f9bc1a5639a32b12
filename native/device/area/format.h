/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The image format, version 1: what lies in the file at which byte. docs/image-format.md is the prose.
 * All numbers are little-endian. Everything here is written with pwrite, never through a mapping, so
 * that the kernel cannot write metadata back before the data it speaks of.
 *
 *        0  header, copy A          8192  status, copy A       16384  zone entries, copy A
 *     4096  header, copy B         12288  status, copy B        then  zone entries, copy B
 *  runtime_offset  shared state of the openers; no part of the format, worthless after a reboot or a copy
 *  data_offset     slots of slot_size bytes: slot i at data_offset + i * slot_size
 */
#ifndef ZD_FORMAT_H
#define ZD_FORMAT_H

#include <stdint.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the image format is little-endian, and this build does not convert"
#endif

#define ZD_PAGE 4096u
#define ZD_HEADER_A 0u
#define ZD_HEADER_B 4096u
#define ZD_STATUS_A 8192u
#define ZD_STATUS_B 12288u
#define ZD_TABLE 16384u
#define ZD_ALIGN 65536u           /* of runtime_offset, data_offset and slot_size */
#define ZD_FEATURE_EXTENSION 1ull /* zone_extension is not 0 */
#define ZD_FEATURE_ZRWA 2ull      /* zrwa_size is not 0 */
#define ZD_FEATURES_KNOWN (ZD_FEATURE_EXTENSION | ZD_FEATURE_ZRWA)

static const char zd_magic[8] = { 'Z', 'D', 'I', 'M', 'A', 'G', 'E', '\n' };

/* Written once, when the image is made; both copies are the same. */
struct zd_header {
	char magic[8];             /*   0 */
	uint32_t version;          /*   8 ZD_IMAGE_VERSION */
	uint32_t nr_zones;         /*  12 */
	uint64_t features;         /*  16 an unknown bit: refuse to open */
	uint8_t uuid[16];          /*  24 */
	uint64_t created;          /*  40 seconds since 1970 */
	uint64_t size;             /*  48 bytes, as all that follow */
	uint64_t zone_size;        /*  56 */
	uint64_t zone_capacity;    /*  64 */
	uint64_t append_limit;     /*  72 */
	uint64_t seed;             /*  80 */
	uint64_t slot_size;        /*  88 */
	uint64_t slot_cache;       /*  96 */
	uint64_t table_b;          /* 104 offset of the second copy of the zone entries */
	uint64_t runtime_offset;   /* 112 */
	uint64_t data_offset;      /* 120 */
	uint32_t logical_block;    /* 128 */
	uint32_t physical_block;   /* 132 */
	uint32_t max_open;         /* 136 */
	uint32_t max_active;       /* 140 */
	uint8_t dialect;           /* 144 enum zd_dialect */
	uint8_t model;             /* 145 enum zd_model */
	uint8_t implicit_close;    /* 146 enum zd_implicit_close */
	uint8_t data;              /* 147 enum zd_data */
	uint8_t host_sync;         /* 148 enum zd_host_sync */
	uint8_t unrestricted_read; /* 149 */
	uint8_t pace;              /* 150 enum zd_paces */
	uint8_t zero1;             /* 151 */
	uint32_t nr_conv;          /* 152 ranges in conv */
	uint32_t zone_extension;   /* 156 */
	char profile[64];          /* 160 NUL-terminated */
	uint32_t zrwa_size;        /* 224 bytes of a random write area */
	uint32_t zrwa_granularity; /* 228 */
	uint32_t zrwa_count;       /* 232 */
	uint8_t zero3[276];        /* 236 */
	struct {
		uint32_t first, count;
	} conv[440];       /* 512 */
	uint8_t zero4[60]; /* 4032 */
	uint32_t crc;      /* 4092 CRC-32C of bytes 0..4091 */
};
_Static_assert(sizeof(struct zd_header) == ZD_PAGE, "one page");

/* What changes about the image as a whole. The valid copy with the higher seq counts. */
struct zd_status {
	char magic[8];    /*  0 "ZDSTATE\n" */
	uint64_t seq;     /*  8 */
	uint32_t clean;   /* 16 1: the entries say all; 0: changes may have been under way */
	uint32_t failed;  /* 20 1: a host sync failed */
	uint8_t zero[36]; /* 24 */
	uint32_t crc;     /* 60 CRC-32C of bytes 0..59 */
};
_Static_assert(sizeof(struct zd_status) == 64, "well within a sector");
static const char zd_status_magic[8] = { 'Z', 'D', 'S', 'T', 'A', 'T', 'E', '\n' };

/*
 * A zone's entry; zone i at ZD_TABLE + 32*i and table_b + 32*i. Copy A is written and synced first, then
 * copy B. The valid one with the higher seq counts. An entry of zeros is a zone never touched.
 */
struct zd_entry {
	uint32_t crc;     /*  0 CRC-32C of bytes 4..31, then of the zone index (u32) */
	uint32_t seq;     /*  4 from 1 up */
	uint64_t word;    /*  8 condition, attributes, write pointer (below) */
	uint64_t durable; /* 16 bytes of the zone that an emulated power cut keeps */
	uint32_t slot;    /* 24 slot number + 1; 0: none */
	uint32_t zero;    /* 28 */
};
_Static_assert(sizeof(struct zd_entry) == 32, "divides a sector");

/*
 * The word: bits 0-3 condition as in enum zd_cond, but 0 is the initial one (NOT_WP of a conventional
 * zone, EMPTY of any other) and 1 is never stored; bit 4 non_seq; bit 5 reset recommended; bit 6 the zone
 * became FULL by FINISH; bit 7 it has a descriptor extension; bits 8-15 0: it has no random write area, else one more than the
 * granules of the area that the write pointer lies before what is written, whose last granule counts whole; bits 16-63 bytes
 * written from the zone's start on, / 512: in an area, up to the last byte that was.
 */
#define ZD_W_COND 0xFull
#define ZD_W_NON_SEQ 0x10ull
#define ZD_W_RESET_REC 0x20ull
#define ZD_W_FINISHED 0x40ull
#define ZD_W_EXTENSION 0x80ull
#define ZD_W_ZRWA 0xFF00ull
#define ZD_W_ZRWA_SHIFT 8
#define ZD_W_SHIFT 16

#endif
