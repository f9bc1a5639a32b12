/* SPDX-License-Identifier: Apache-2.0 */
/* What the C test programs share: a claim that ends the program, and the invariants of a disk. */
#ifndef TESTING_H
#define TESTING_H

#include "zoned/zoned.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
void __sanitizer_print_stack_trace(void);
static inline void say_where(void)
{
	__sanitizer_print_stack_trace();
}
#else
static inline void say_where(void)
{
}
#endif

#define CLAIM(condition)                                                                               \
	do {                                                                                           \
		if (!(condition)) {                                                                    \
			fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition); \
			say_where();                                                                   \
			abort();                                                                       \
		}                                                                                      \
	} while (0)

/* Blocks of 4 KiB, zones of one size, the first of them conventional: a program adds to that what it is about. */
static inline struct zd_config config_of(uint64_t size, uint64_t zone_size, const struct zd_range *conv)
{
	return (struct zd_config){ .struct_size = sizeof(struct zd_config),
				   .size = size,
				   .zone_size = zone_size,
				   .logical_block = 4096,
				   .physical_block = 4096,
				   .nr_conv = 1,
				   .conv = conv };
}

/* A disk in RAM that may be read anywhere. */
static inline zd_dev *memory_disk(struct zd_config config)
{
	struct zd_error err;
	zd_dev *dev;

	config.slot_cache = UINT64_MAX;
	config.unrestricted_read = 1;
	CLAIM(zd_create(NULL, &config, 0, &dev, &err) == 0);
	return dev;
}

/* A rule that lets a quarter of such commands hang or be late. */
static inline void hold_up(zd_dev *dev, uint32_t kind, uint32_t order, uint64_t ns, uint32_t commands)
{
	struct zd_fault fault = { .kind = kind,
				  .commands = commands,
				  .last_zone = ZD_NO_ZONE,
				  .order = order,
				  .real_ns = ns,
				  .probability = 1u << 30,
				  .seed = 5 };
	uint32_t id;

	CLAIM(zd_fault_add(dev, &fault, &id, NULL) == 0);
}

/* 0 to below - 1, of a generator that each thread has for itself. */
static inline uint32_t draw_of(uint64_t *rng, uint32_t below)
{
	*rng = *rng * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(*rng >> 33) % below;
}

/* Every failure is a rule of the drive, an image error or a host errno that can occur here, and says so. */
static inline void claim_known_code(int64_t code, const struct zd_error *err)
{
	CLAIM(code < 0);
	CLAIM(err->code == code);
	if (code <= ZD_E_FIRST_RULE)
		CLAIM(zd_rule_name((int)code) != NULL);
	else
		CLAIM(code > -200);
}

/*
 * What holds for every disk at rest: pointers inside their zones, derived counts equal to a count over the
 * report, and (limits) no more open and active zones than the limits allow.
 */
static inline void claim_disk_is_sound(zd_dev *dev, int limits)
{
	struct zd_info info = { .struct_size = sizeof(info) };
	struct zd_error err;
	struct zd_zone *zones;
	uint32_t implicit = 0, explicit = 0, closed = 0, limited_open = 0, limited_active = 0;
	uint64_t next = 0;

	CLAIM(zd_info(dev, &info, &err) == 0);
	zones = calloc(info.nr_zones, sizeof(*zones));
	CLAIM(zones);
	CLAIM(zd_report(dev, 0, info.nr_zones, zones, &err) == (int64_t)info.nr_zones);
	for (uint32_t i = 0; i < info.nr_zones; i++) {
		const struct zd_zone *z = &zones[i];
		int open = z->cond == ZD_IMPLICIT_OPEN || z->cond == ZD_EXPLICIT_OPEN;

		CLAIM(z->index == i && z->start == next && z->length > 0 && z->capacity > 0);
		CLAIM(z->capacity <= z->length && zd_cell(info.dialect, z->type, z->cond, ZD_CMD_READ));
		next = z->start + z->length;
		implicit += z->cond == ZD_IMPLICIT_OPEN;
		explicit += z->cond == ZD_EXPLICIT_OPEN;
		closed += z->cond == ZD_CLOSED;
		if (z->type == ZD_SEQ_WRITE_REQUIRED) {
			limited_open += open;
			limited_active += open || z->cond == ZD_CLOSED;
		}
		if (z->type == ZD_CONVENTIONAL) {
			CLAIM(z->wp == ZD_NONE && z->durable_wp == ZD_NONE);
			continue;
		}
		if (open || z->cond == ZD_CLOSED || z->cond == ZD_EMPTY) {
			CLAIM(z->wp >= z->start && z->wp < z->start + z->capacity);
			CLAIM(z->durable_wp >= z->start && z->durable_wp <= z->wp);
		} else {
			CLAIM(z->wp == ZD_NONE);
		}
		if (z->cond == ZD_EMPTY)
			CLAIM(z->wp == z->start && !z->non_seq && !z->reset_recommended);
		if (z->type != ZD_SEQ_WRITE_PREFERRED)
			CLAIM(!z->non_seq && !z->reset_recommended);
	}
	CLAIM(next == info.size);
	CLAIM(implicit == info.nr_implicit_open && explicit == info.nr_explicit_open && closed == info.nr_closed);
	if (limits) {
		CLAIM(!info.max_open || limited_open <= info.max_open);
		CLAIM(!info.max_active || limited_active <= info.max_active);
	}
	CLAIM(info.slots_used + info.slots_free + info.slots_pending <= info.slots_total);
	free(zones);
}

#endif
