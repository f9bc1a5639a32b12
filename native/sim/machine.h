/* SPDX-License-Identifier: Apache-2.0 */
/* The zones of a simulated disk, driven by the rules. */
#ifndef ZD_SIM_MACHINE_H
#define ZD_SIM_MACHINE_H

#include "common.h"
#include "rules/check.h"

/* A zone's word: bytes written from its start on (a multiple of 512), or'ed with its condition. */
#define W_COND 0xFull
#define W_FINISHED 0x10ull
#define W_LISTED 0x40ull /* only while all closed zones are opened */
#define W_WRITTEN (~511ull)

struct machine {
	uint64_t *word;
	struct zd_rulebook b;
	uint32_t shift; /* log2(zone_size), or 0 */
	uint64_t zone_size, capacity, last_length;
	struct zd_resources now;
	uint32_t *next, *prev; /* implicitly open zones, oldest first: zone + 1 */
	uint32_t head, tail, cursor;
	uint64_t opens, closes, finishes, resets, implicit_opens, implicit_closes;
	const struct zd_cell *cell[2][16][ZD_NR_CMDS]; /* type (0 conventional, 1 sequential), condition, command */
};
int zd_machine_init(struct machine *m, const struct zd_config *disk, struct zd_error *err);
void zd_machine_free(struct machine *m);
static inline uint32_t zone_of(const struct machine *m, uint64_t offset)
{
	return (uint32_t)(m->shift ? offset >> m->shift : offset / m->zone_size);
}
static inline uint64_t zone_start(const struct machine *m, uint32_t zone)
{
	return (uint64_t)zone * m->zone_size;
}
static inline uint64_t zone_length(const struct machine *m, uint32_t zone)
{
	return likely(zone + 1 < m->b.nr_zones) ? m->zone_size : m->last_length;
}
static inline int zone_cond(const struct machine *m, uint32_t zone)
{
	return (int)(m->word[zone] & W_COND);
}
static inline uint64_t zone_written(const struct machine *m, uint32_t zone)
{
	return m->word[zone] & W_WRITTEN;
}
static inline bool zone_conv(const struct machine *m, uint32_t zone);
static inline uint64_t zone_capacity(const struct machine *m, uint32_t zone)
{
	uint64_t length = zone_length(m, zone);

	return length < m->capacity || zone_conv(m, zone) ? length : m->capacity;
}
#define W_CONV 0x20ull
static inline bool zone_conv(const struct machine *m, uint32_t zone)
{
	return m->word[zone] & W_CONV;
}
int zd_machine_write_slow(struct machine *m, int cmd, uint32_t zone, uint64_t rel, uint64_t length, struct zd_error *err);
/* A write of at least a block within one zone; 0 or the rule broken. */
static inline int machine_write(struct machine *m, int cmd, uint32_t zone, uint64_t rel, uint64_t length, struct zd_error *err)
{
	uint64_t word = m->word[zone];

	/* IMPLICIT_OPEN and EXPLICIT_OPEN, in sequence, room left behind it: nothing but the pointer changes. */
	if (likely((word & ~1ull) == (rel | ZD_IMPLICIT_OPEN) && rel + length < m->capacity && zone + 1 < m->b.nr_zones &&
		   !(length & (m->b.physical_block - 1)) && (cmd == ZD_CMD_WRITE || !m->b.append_limit))) {
		m->word[zone] = word + length;
		return 0;
	}
	return zd_machine_write_slow(m, cmd, zone, rel, length, err);
}
int zd_machine_read(const struct machine *m, uint32_t zone, uint64_t rel, uint64_t length, struct zd_error *err);
int zd_machine_manage(struct machine *m, int cmd, uint32_t zone, struct zd_error *err);
/* The zone is so, whatever the rules say: another disk says it. */
void zd_machine_set(struct machine *m, uint32_t zone, uint64_t written, int cond);

#endif
