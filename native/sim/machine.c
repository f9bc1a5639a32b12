/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The zones of a simulated disk: conditions, write pointers, open and active resources. What a command may do and
 * what becomes of its zone is asked of the rules; what is added here is who is closed when an open zone is needed.
 */
#include "chain.h"
#include "machine.h"

#include <stdarg.h>
#include <stdio.h>

int zd_sim_fail(struct zd_error *err, int code, const char *format, ...)
{
	va_list args;

	if (err) {
		memset(err, 0, sizeof(*err));
		err->code = code;
		err->cmd = -1;
		err->host_errno = code > -2000 ? -code : 0;
		err->zone = ZD_NO_ZONE;
		err->offset = err->wp = ZD_NONE;
		err->cond = 0xFF;
		va_start(args, format);
		vsnprintf(err->text, sizeof(err->text), format, args);
		va_end(args);
	}
	return code;
}

static int refuse(const struct machine *m, struct zd_error *err, int code, int cmd, uint32_t zone, uint64_t rel,
		  uint64_t length, uint64_t bound)
{
	uint64_t word = m->word[zone];

	if (err) {
		memset(err, 0, sizeof(*err));
		err->code = code;
		err->cmd = cmd;
		err->zone = zone;
		err->offset = zone_start(m, zone) + rel;
		err->length = length;
		err->cond = (uint8_t)(word & W_COND);
		err->wp = !zone_conv(m, zone) && (word & W_COND) <= ZD_CLOSED ? zone_start(m, zone) + (word & W_WRITTEN) :
										ZD_NONE;
		err->bound = bound;
	}
	return code;
}

int zd_machine_init(struct machine *m, const struct zd_config *disk, struct zd_error *err)
{
	static const int types[2] = { ZD_CONVENTIONAL, ZD_SEQ_WRITE_REQUIRED };
	uint32_t i, j;
	int t;

	if (disk->model != ZD_HOST_MANAGED)
		return zd_sim_fail(err, ZD_E_GEOMETRY, "only host-managed disks are simulated, and this one is host-aware");
	if (!disk->size || !disk->zone_size || disk->zone_size % 512 || disk->zone_capacity > disk->zone_size ||
	    (disk->logical_block != 512 && disk->logical_block != 4096) ||
	    (disk->physical_block != 512 && disk->physical_block != 4096))
		return zd_sim_fail(err, ZD_E_GEOMETRY, "the geometry of the disk is impossible");
	if ((disk->size - 1) / disk->zone_size + 1 > ZD_MAX_ZONES)
		return zd_sim_fail(err, ZD_E_GEOMETRY, "more than %u zones", ZD_MAX_ZONES);
	m->b = (struct zd_rulebook){
		.size = disk->size,
		.append_limit = disk->append_limit,
		.nr_zones = (uint32_t)((disk->size - 1) / disk->zone_size + 1),
		.logical_block = disk->logical_block,
		.physical_block = disk->physical_block,
		.max_open = disk->max_open,
		.max_active = disk->max_active,
		.dialect = disk->dialect,
		.model = disk->model,
		.implicit_close = disk->implicit_close,
		.unrestricted_read = disk->unrestricted_read,
	};
	m->zone_size = disk->zone_size;
	m->capacity = disk->zone_capacity ? disk->zone_capacity : disk->zone_size;
	m->last_length = disk->size - (uint64_t)(m->b.nr_zones - 1) * disk->zone_size;
	m->shift = disk->zone_size & (disk->zone_size - 1) ? 0 : (uint32_t)__builtin_ctzll(disk->zone_size);
	m->word = malloc(m->b.nr_zones * sizeof(*m->word));
	m->next = calloc(m->b.nr_zones, sizeof(*m->next));
	m->prev = calloc(m->b.nr_zones, sizeof(*m->prev));
	if (!m->word || !m->next || !m->prev)
		return zd_sim_fail(err, -ENOMEM, "no memory for %u zones", m->b.nr_zones);
	for (i = 0; i < m->b.nr_zones; i++)
		m->word[i] = ZD_EMPTY;
	for (i = 0; i < disk->nr_conv; i++) {
		for (j = 0; j < disk->conv[i].count; j++) {
			if (disk->conv[i].first + (uint64_t)j >= m->b.nr_zones)
				return zd_sim_fail(err, ZD_E_GEOMETRY, "conventional zones beyond the last zone");
			m->word[disk->conv[i].first + j] = ZD_NOT_WP | W_CONV;
		}
	}
	for (t = 0; t < 2; t++) {
		for (i = 0; i < 16; i++) {
			for (j = 0; j < ZD_NR_CMDS; j++)
				m->cell[t][i][j] = zd_cell(m->b.dialect, types[t], (int)i, (int)j);
		}
	}
	return 0;
}

void zd_machine_free(struct machine *m)
{
	free(m->word);
	free(m->next);
	free(m->prev);
}

/* ---------------------------------------------------------------- open and active zones */

static void list_remove(struct machine *m, uint32_t zone)
{
	chain_remove(m->prev, m->next, &m->head, &m->tail, zone);
	m->next[zone] = m->prev[zone] = 0;
}

static void list_append(struct machine *m, uint32_t zone)
{
	chain_append(m->prev, m->next, &m->head, &m->tail, zone);
}

static void account(struct machine *m, uint32_t zone, int from, int to)
{
	if (from == to)
		return;
	switch (from) {
	case ZD_IMPLICIT_OPEN:
		list_remove(m, zone);
		m->now.nr_implicit--;
		break;
	case ZD_EXPLICIT_OPEN: m->now.nr_explicit--; break;
	case ZD_CLOSED: m->now.nr_closed--; break;
	}
	switch (to) {
	case ZD_IMPLICIT_OPEN:
		list_append(m, zone);
		m->now.nr_implicit++;
		break;
	case ZD_EXPLICIT_OPEN: m->now.nr_explicit++; break;
	case ZD_CLOSED: m->now.nr_closed++; break;
	}
}

static void set_cond(struct machine *m, uint32_t zone, int to)
{
	account(m, zone, zone_cond(m, zone), to);
	m->word[zone] = (m->word[zone] & ~W_COND) | (uint64_t)to;
}

void zd_machine_set(struct machine *m, uint32_t zone, uint64_t written, int cond)
{
	set_cond(m, zone, cond);
	m->word[zone] = (m->word[zone] & ~(W_WRITTEN | W_FINISHED)) | written;
}

/* The implicitly open zone with the lowest index from `from` on, else the lowest of all. */
static uint32_t next_implicit(const struct machine *m, uint32_t from)
{
	uint32_t best = NONE, lowest = NONE, at;

	for (at = m->head; at; at = m->next[at - 1]) {
		if (at - 1 >= from && at - 1 < best)
			best = at - 1;
		if (at - 1 < lowest)
			lowest = at - 1;
	}
	return best == NONE ? lowest : best;
}

static int take(struct machine *m, unsigned effects)
{
	int r = zd_rule_take(&m->b, &m->now, effects);
	uint32_t victim;

	if (r != ZD_TAKE_AFTER_CLOSE)
		return r;
	switch (m->b.implicit_close) {
	case ZD_LOWEST: victim = next_implicit(m, 0); break;
	case ZD_ROUND_ROBIN:
		victim = next_implicit(m, m->cursor);
		m->cursor = victim + 1;
		break;
	default: victim = m->head - 1;
	}
	set_cond(m, victim, zd_rule_closed(&m->b, ZD_SEQ_WRITE_REQUIRED, zone_written(m, victim)));
	m->implicit_closes++;
	return 0;
}

/* ---------------------------------------------------------------- commands */

static void zone_now(const void *machine, uint32_t zone, struct zd_rule_zone *z)
{
	const struct machine *m = machine;

	z->type = zone_conv(m, zone) ? ZD_CONVENTIONAL : ZD_SEQ_WRITE_REQUIRED;
	z->cond = zone_cond(m, zone);
	z->written = zone_written(m, zone);
	z->start = zone_start(m, zone);
	z->length = zone_length(m, zone);
	z->capacity = zone_capacity(m, zone);
	z->zrwa = false; /* a drive that is modelled gives no zone a random write area */
}

int zd_machine_write_slow(struct machine *m, int cmd, uint32_t zone, uint64_t rel, uint64_t length, struct zd_error *err)
{
	const struct zd_cell *cell;
	struct zd_rule_zone z;
	uint64_t written, bound = m->b.logical_block;
	int r = 0;

	zone_now(m, zone, &z);
	if (cmd == ZD_CMD_APPEND && zd_type_has_wp(z.type))
		r = zd_check_append(&m->b, z.type, length, &bound);
	else if ((rel | length) & (m->b.logical_block - 1))
		r = ZD_E_BLOCK_ALIGNMENT;
	if (r)
		return refuse(m, err, r, cmd, zone, rel, length, bound);
	cell = m->cell[zd_type_has_wp(z.type)][z.cond][cmd];
	if (!zd_type_has_wp(z.type))
		return cell->next == ZD_NEXT_ERROR ? refuse(m, err, cell->error, cmd, zone, rel, length, 0) : 0;
	r = zd_check_write(&m->b, &z, cell, cmd, rel, length, &bound);
	if (r)
		refuse(m, err, r, cmd, zone, rel, length, bound);
	if (r || !length)
		return r;
	if (cell->next == ZD_NEXT_IMPLICIT_OPEN && z.cond != ZD_IMPLICIT_OPEN) {
		r = take(m, cell->effects);
		if (r)
			return refuse(m, err, r, cmd, zone, rel, length, zd_rule_limit(&m->b, r));
		set_cond(m, zone, ZD_IMPLICIT_OPEN);
		m->implicit_opens++;
	}
	written = rel + length;
	m->word[zone] = (m->word[zone] & ~W_WRITTEN) | written;
	if (written == z.capacity)
		set_cond(m, zone, ZD_FULL);
	return 0;
}

int zd_machine_read(const struct machine *m, uint32_t zone, uint64_t rel, uint64_t length, struct zd_error *err)
{
	struct zd_ruling v = { 0, zone, m->b.logical_block };

	if ((rel | length) & (m->b.logical_block - 1))
		v.rule = ZD_E_BLOCK_ALIGNMENT;
	else
		zd_check_read(&m->b, zone_now, m, zone, zone, zone_start(m, zone) + rel, length, &v);
	return v.rule ? refuse(m, err, v.rule, ZD_CMD_READ, zone, rel, length, v.bound) : 0;
}

static int manage_one(struct machine *m, int cmd, uint32_t zone, struct zd_error *err)
{
	bool conv = zone_conv(m, zone);
	int cond = zone_cond(m, zone), to, r;
	const struct zd_cell *cell = m->cell[!conv][cond][cmd];

	if (!cell)
		return refuse(m, err, ZD_E_UNSUPPORTED, cmd, zone, 0, 0, 0);
	if (cell->next == ZD_NEXT_ERROR)
		return refuse(m, err, cell->error, cmd, zone, 0, 0, 0);
	if (cell->next == ZD_NEXT_SAME)
		return 0;
	to = zd_rule_next(cell->next, conv ? ZD_CONVENTIONAL : ZD_SEQ_WRITE_REQUIRED, zone_written(m, zone));
	if (cell->effects & (ZD_FX_OPEN | ZD_FX_ACTIVE)) {
		r = take(m, cell->effects);
		if (r)
			return refuse(m, err, r, cmd, zone, 0, 0, zd_rule_limit(&m->b, r));
	}
	set_cond(m, zone, to);
	if (cell->effects & ZD_FX_WP_START)
		m->word[zone] &= ~(W_WRITTEN | W_FINISHED);
	if (cell->effects & ZD_FX_WP_END)
		m->word[zone] |= W_FINISHED;
	return 0;
}

/* Zones that are CLOSED now; one that is closed to make room for another stays closed. */
static int open_all(struct machine *m, struct zd_error *err)
{
	uint32_t i, wanted = 0;
	int r = 0;

	for (i = 0; i < m->b.nr_zones; i++) {
		if (zone_cond(m, i) == ZD_CLOSED) {
			m->word[i] |= W_LISTED;
			wanted++;
		}
	}
	r = zd_rule_open_all(&m->b, wanted, m->now.nr_explicit);
	if (r)
		refuse(m, err, r, ZD_CMD_OPEN_ALL, 0, 0, 0, zd_rule_limit(&m->b, r));
	for (i = 0; i < m->b.nr_zones; i++) {
		if (!(m->word[i] & W_LISTED))
			continue;
		m->word[i] &= ~W_LISTED;
		if (!r)
			r = manage_one(m, ZD_CMD_OPEN_ALL, i, err);
	}
	return r;
}

int zd_machine_manage(struct machine *m, int cmd, uint32_t zone, struct zd_error *err)
{
	uint32_t i;
	int r;

	switch (cmd) {
	case ZD_CMD_OPEN: m->opens++; break;
	case ZD_CMD_CLOSE: m->closes++; break;
	case ZD_CMD_FINISH: m->finishes++; break;
	case ZD_CMD_RESET: m->resets++; break;
	case ZD_CMD_OPEN_ALL:
	case ZD_CMD_CLOSE_ALL:
	case ZD_CMD_FINISH_ALL:
	case ZD_CMD_RESET_ALL:
		if (cmd == ZD_CMD_OPEN_ALL && m->b.dialect != ZD_NULLBLK)
			return open_all(m, err);
		for (i = 0; i < m->b.nr_zones; i++) {
			r = manage_one(m, cmd, i, err);
			if (r)
				return r;
		}
		return 0;
	}
	return manage_one(m, cmd, zone, err);
}
