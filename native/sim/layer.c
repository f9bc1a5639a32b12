/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log-structured layer: a volume that may be overwritten anywhere, on segments (zones) that may only be
 * written in order. Every overwrite leaves an invalid block behind; cleaning moves what is still valid out of
 * a victim and gives it back. Counts, no time: LOG jobs turn what happens here into commands.
 *
 * At any moment one segment per frontier is being written, `reserve` are free, and all others are closed. A new
 * frontier is taken from the free ones first, and then victims are cleaned until the reserve is whole again.
 */
#include "chain.h"
#include "layer.h"
#include "maths.h"

#define FREE_SEGMENT 1u
#define OPEN_SEGMENT 2u

struct pool {
	uint32_t first, count; /* its segments */
	uint32_t *free_list;
	uint32_t free_used;
	uint32_t user, cleaned; /* frontiers: segments; NONE before the first write. cleaned == user unless separate */
	uint32_t user_at, cleaned_at;
	/* closed segments: FIFO, and by the number of valid blocks */
	uint32_t oldest, newest; /* segment + 1 */
};

struct zd_log {
	struct zd_log_config c;
	uint32_t *where;  /* block -> place (segment * segment_blocks + slot) */
	uint32_t *what;   /* place -> block */
	uint32_t *valid;  /* by segment */
	uint64_t *filled; /* by segment: the clock, or 0 */
	uint8_t *state;
	uint32_t *older, *younger;      /* list of closed segments by age, segment + 1 */
	uint32_t *less, *more;          /* list of closed segments with as many valid blocks, segment + 1 */
	uint32_t *bucket, *bucket_last; /* by pool and number of valid blocks: first and last segment + 1 */
	uint32_t fewest[2];             /* no bucket below this one has a segment */
	struct pool pool[2];
	uint32_t nr_pools;
	uint64_t hot_blocks;
	struct rng rng;
	struct draw draw;
	uint64_t clock;
	struct zd_log_counts counts;
	bool wants_victim, has_retry;
	uint32_t wants_pool, retry;
	uint32_t *changed;
	uint8_t *is_changed;
	uint32_t nr_changed;
	int (*tell)(void *, int cmd, uint32_t segment, uint32_t block, uint32_t count);
	void *arg;
};

static void mark_changed(struct zd_log *log, uint32_t segment)
{
	if (!log->is_changed[segment]) {
		log->is_changed[segment] = 1;
		log->changed[log->nr_changed++] = segment;
	}
}

static inline uint32_t pool_of_segment(const struct zd_log *log, uint32_t segment)
{
	return segment >= log->pool[0].count;
}

/* ---------------------------------------------------------------- closed segments */

static inline uint32_t *bucket_of(struct zd_log *log, uint32_t pool, uint32_t valid)
{
	return &log->bucket[pool * (log->c.segment_blocks + 1) + valid];
}

static void bucket_add(struct zd_log *log, uint32_t s)
{
	uint32_t pool = pool_of_segment(log, s), v = log->valid[s];
	uint32_t *first = bucket_of(log, pool, v), *last = &log->bucket_last[first - log->bucket];

	log->less[s] = *last;
	log->more[s] = 0;
	if (*last)
		log->more[*last - 1] = s + 1;
	else
		*first = s + 1;
	*last = s + 1;
	if (v < log->fewest[pool])
		log->fewest[pool] = v;
}

static void bucket_remove(struct zd_log *log, uint32_t s)
{
	uint32_t *first = bucket_of(log, pool_of_segment(log, s), log->valid[s]),
		 *last = &log->bucket_last[first - log->bucket];

	if (log->less[s])
		log->more[log->less[s] - 1] = log->more[s];
	else
		*first = log->more[s];
	if (log->more[s])
		log->less[log->more[s] - 1] = log->less[s];
	else
		*last = log->less[s];
}

static void close_segment(struct zd_log *log, uint32_t s)
{
	struct pool *p = &log->pool[pool_of_segment(log, s)];

	log->state[s] = 0;
	log->filled[s] = log->clock;
	chain_append(log->older, log->younger, &p->oldest, &p->newest, s);
	if (log->c.policy == ZD_SIM_GREEDY)
		bucket_add(log, s);
	if (log->c.policy == ZD_SIM_OUTSIDE)
		mark_changed(log, s);
}

static void unlink_segment(struct zd_log *log, uint32_t s)
{
	struct pool *p = &log->pool[pool_of_segment(log, s)];

	chain_remove(log->older, log->younger, &p->oldest, &p->newest, s);
	if (log->c.policy == ZD_SIM_GREEDY)
		bucket_remove(log, s);
}

static uint32_t choose_victim(struct zd_log *log, uint32_t pool)
{
	struct pool *p = &log->pool[pool];
	uint32_t s, best = p->oldest;
	double best_score = -1;

	switch (log->c.policy) {
	case ZD_SIM_GREEDY:
		while (log->fewest[pool] <= log->c.segment_blocks && !*bucket_of(log, pool, log->fewest[pool]))
			log->fewest[pool]++;
		return log->fewest[pool] <= log->c.segment_blocks ? *bucket_of(log, pool, log->fewest[pool]) : 0;
	case ZD_SIM_COST_BENEFIT: /* Rosenblum and Ousterhout 1992: (1-u) age / (1+u) */
		for (s = p->oldest; s; s = log->younger[s - 1]) {
			double u = (double)log->valid[s - 1] / (double)log->c.segment_blocks;
			double score = (1 - u) * (double)(log->clock - log->filled[s - 1]) / (1 + u);

			if (score > best_score) {
				best_score = score;
				best = s;
			}
		}
		return best;
	default: return p->oldest;
	}
}

/* ---------------------------------------------------------------- writing */

static int take_free(struct zd_log *log, struct pool *p, uint32_t *segment)
{
	if (!p->free_used)
		return -ENOSPC;
	*segment = p->free_list[--p->free_used];
	log->state[*segment] = OPEN_SEGMENT;
	log->filled[*segment] = 0;
	return 0;
}

static inline void put(struct zd_log *log, uint32_t segment, uint32_t slot, uint32_t block)
{
	uint32_t place = segment * log->c.segment_blocks + slot;

	log->what[place] = block;
	log->where[block] = place;
	log->valid[segment]++;
	log->clock++;
}

static inline void invalidate(struct zd_log *log, uint32_t block)
{
	uint32_t s = log->where[block] / log->c.segment_blocks;

	if (log->state[s] == 0) {
		if (log->c.policy == ZD_SIM_GREEDY) {
			bucket_remove(log, s);
			log->valid[s]--;
			bucket_add(log, s);
			return;
		}
		if (log->c.policy == ZD_SIM_OUTSIDE)
			mark_changed(log, s);
	}
	log->valid[s]--;
}

/* Move what is valid in a closed segment to the frontier for cleaned blocks, and free it. */
static int clean(struct zd_log *log, uint32_t victim)
{
	struct pool *p = &log->pool[pool_of_segment(log, victim)];
	uint32_t n = log->c.segment_blocks, slot, base = victim * n, run = 0;
	uint32_t *frontier = log->c.separate ? &p->cleaned : &p->user, *at = log->c.separate ? &p->cleaned_at : &p->user_at;
	int r;

	unlink_segment(log, victim);
	log->state[victim] = OPEN_SEGMENT; /* nobody's victim meanwhile */
	for (slot = 0; log->tell && slot <= n; slot++) {
		bool live = slot < n && log->where[log->what[base + slot]] == base + slot;

		if (live) {
			run++;
		} else if (run) {
			r = log->tell(log->arg, ZD_CMD_READ, victim, slot - run, run);
			if (r)
				return r;
			run = 0;
		}
	}
	for (slot = 0; slot < n && log->valid[victim]; slot++) {
		uint32_t block = log->what[base + slot];

		if (log->where[block] != base + slot)
			continue;
		if (*frontier == NONE || *at == n) {
			if (*frontier != NONE)
				close_segment(log, *frontier);
			r = take_free(log, p, frontier);
			if (r)
				return r;
			*at = 0;
		}
		log->valid[victim]--;
		put(log, *frontier, *at, block);
		if (log->tell) {
			r = log->tell(log->arg, ZD_CMD_WRITE, *frontier, *at, 1);
			if (r)
				return r;
		}
		(*at)++;
		log->counts.moved++;
	}
	log->counts.cleaned++;
	log->valid[victim] = 0;
	log->filled[victim] = 0;
	log->state[victim] = FREE_SEGMENT;
	p->free_list[p->free_used++] = victim;
	mark_changed(log, victim);
	return log->tell ? log->tell(log->arg, ZD_CMD_RESET, victim, 0, 0) : 0;
}

/* Make sure that the user's frontier has room; ZD_SIM_WANTS_VICTIM, 0, or an error. */
static int make_room(struct zd_log *log, uint32_t pool)
{
	struct pool *p = &log->pool[pool];
	int r;

	for (;;) {
		if (p->user == NONE || p->user_at == log->c.segment_blocks) {
			if (p->free_used > (log->c.separate ? 1u : 0u) || log->clock < log->c.nr_blocks) {
				if (p->user != NONE)
					close_segment(log, p->user);
				r = take_free(log, p, &p->user);
				if (r)
					return r;
				p->user_at = 0;
			}
		}
		if (p->free_used >= log->c.reserve || log->clock < log->c.nr_blocks) {
			if (p->user_at < log->c.segment_blocks)
				return 0;
			continue;
		}
		if (log->c.policy == ZD_SIM_OUTSIDE) {
			log->wants_victim = true;
			log->wants_pool = pool;
			return ZD_SIM_WANTS_VICTIM;
		}
		{
			uint32_t victim = choose_victim(log, pool);

			if (!victim)
				return -ENOSPC;
			r = clean(log, victim - 1);
			if (r)
				return r;
		}
	}
}

static int write_one(struct zd_log *log, uint32_t block, bool fresh)
{
	uint32_t pool = log->nr_pools == 2 && block >= log->hot_blocks;
	struct pool *p = &log->pool[pool];
	int r = p->user != NONE && p->user_at < log->c.segment_blocks && p->free_used >= log->c.reserve ? 0 :
													  make_room(log, pool);

	if (r)
		return r;
	if (!fresh)
		invalidate(log, block);
	put(log, p->user, p->user_at, block);
	if (log->tell) {
		r = log->tell(log->arg, ZD_CMD_APPEND, p->user, p->user_at, 1);
		if (r)
			return r;
	}
	p->user_at++;
	log->counts.user++;
	return 0;
}

/* ---------------------------------------------------------------- the interface */

static int init_pools(struct zd_log *log, struct zd_error *err)
{
	const struct zd_log_config *c = &log->c;
	uint64_t hot_room, cold_room;
	uint32_t i, j;

	log->nr_pools = c->pools == 2 ? 2 : 1;
	log->pool[0].count = log->nr_pools == 2 ? c->hot_segments : c->nr_segments;
	log->pool[1].first = log->pool[0].count;
	log->pool[1].count = c->nr_segments - log->pool[0].count;
	log->hot_blocks = c->nr_blocks;
	if (log->nr_pools == 2) {
		if (c->distribution != ZD_SIM_HOTCOLD || c->hot_segments >= c->nr_segments)
			return zd_sim_fail(err, ZD_E_GEOMETRY,
					   "two pools need the hot/cold distribution and fewer hot segments than segments");
		log->hot_blocks = (uint64_t)(c->b * (double)c->nr_blocks + 0.5);
		hot_room = (uint64_t)log->pool[0].count * c->segment_blocks;
		cold_room = (uint64_t)log->pool[1].count * c->segment_blocks;
		if (log->hot_blocks + (c->reserve + 1ull) * c->segment_blocks > hot_room ||
		    c->nr_blocks - log->hot_blocks + (c->reserve + 1ull) * c->segment_blocks > cold_room)
			return zd_sim_fail(err, ZD_E_GEOMETRY,
					   "a pool is too small for its blocks: it needs room for them and for %u segments",
					   c->reserve + 1);
	}
	for (i = 0; i < log->nr_pools; i++) {
		struct pool *p = &log->pool[i];

		p->user = p->cleaned = NONE;
		p->free_list = malloc((p->count + 1ull) * sizeof(*p->free_list));
		if (!p->free_list)
			return zd_sim_fail(err, -ENOMEM, "no memory for %u segments", c->nr_segments);
		for (j = p->count; j-- > 0;)
			p->free_list[p->free_used++] = p->first + j;
	}
	return 0;
}

int zd_log_create_told(const struct zd_log_config *config, zd_log **out, struct zd_error *err,
		       int (*tell)(void *, int, uint32_t, uint32_t, uint32_t), void *arg)
{
	struct zd_log *log = calloc(1, sizeof(*log));
	uint64_t places, buckets, i;
	int r = 0;

	if (!log)
		return zd_sim_fail(err, -ENOMEM, "no memory");
	log->c = *config;
	log->tell = tell;
	log->arg = arg;
	if (!log->c.reserve)
		log->c.reserve = 1;
	if (log->c.separate && log->c.reserve < 2)
		log->c.reserve = 2;
	places = (uint64_t)config->nr_segments * config->segment_blocks;
	if (!config->segment_blocks || !config->nr_blocks || places >= UINT32_MAX || config->policy > ZD_SIM_OUTSIDE ||
	    config->nr_blocks + (log->c.reserve + 1ull + (config->separate != 0)) * config->segment_blocks > places) {
		r = zd_sim_fail(
			err, ZD_E_GEOMETRY,
			"%llu blocks do not fit %u segments of %u blocks: room for %u more segments is needed, and at most 2^32-2 "
			"blocks in all",
			(unsigned long long)config->nr_blocks, config->nr_segments, config->segment_blocks,
			log->c.reserve + 1 + (config->separate != 0));
		goto fail;
	}
	buckets = 2ull * (config->segment_blocks + 1);
	log->where = malloc(config->nr_blocks * sizeof(*log->where));
	log->what = calloc(places, sizeof(*log->what));
	log->valid = calloc(config->nr_segments, sizeof(*log->valid));
	log->filled = calloc(config->nr_segments, sizeof(*log->filled));
	log->state = malloc(config->nr_segments);
	log->older = calloc(config->nr_segments, sizeof(*log->older));
	log->younger = calloc(config->nr_segments, sizeof(*log->younger));
	log->less = calloc(config->nr_segments, sizeof(*log->less));
	log->more = calloc(config->nr_segments, sizeof(*log->more));
	log->bucket = calloc(buckets, sizeof(*log->bucket));
	log->bucket_last = calloc(buckets, sizeof(*log->bucket_last));
	log->changed = calloc(config->nr_segments, sizeof(*log->changed));
	log->is_changed = calloc(config->nr_segments, 1);
	if (!log->where || !log->what || !log->valid || !log->filled || !log->state || !log->older || !log->younger ||
	    !log->less || !log->more || !log->bucket || !log->bucket_last || !log->changed || !log->is_changed) {
		r = zd_sim_fail(err, -ENOMEM, "no memory for a volume of %llu blocks", (unsigned long long)config->nr_blocks);
		goto fail;
	}
	memset(log->state, FREE_SEGMENT, config->nr_segments);
	log->fewest[0] = log->fewest[1] = config->segment_blocks + 1;
	r = init_pools(log, err);
	if (r)
		goto fail;
	zd_rng_seed(&log->rng, config->seed, 0x4C4F47);
	if (zd_draw_init(&log->draw, config->distribution, config->a, config->b, config->nr_blocks, &log->rng)) {
		r = zd_sim_fail(err, ZD_E_GEOMETRY, "the parameters of the distribution are out of range");
		goto fail;
	}
	for (i = 0; i < config->nr_blocks && !r; i++)
		r = write_one(log, (uint32_t)i, true);
	if (r) {
		zd_sim_fail(err, r, "the volume does not fit");
		goto fail;
	}
	memset(&log->counts, 0, sizeof(log->counts));
	*out = log;
	return 0;
fail:
	zd_log_free(log);
	return r;
}

int zd_log_create(const struct zd_log_config *config, zd_log **out, struct zd_error *err)
{
	return zd_log_create_told(config, out, err, NULL, NULL);
}

void zd_log_free(zd_log *log)
{
	if (!log)
		return;
	ZD_FREE(log->where, log->what, log->valid, log->filled, log->state, log->older, log->younger, log->less, log->more,
		log->bucket, log->bucket_last, log->changed, log->is_changed, log->pool[0].free_list, log->pool[1].free_list,
		log);
}

int zd_log_write(zd_log *log, uint64_t n, const uint64_t *blocks, uint64_t *done)
{
	int r = 0;

	for (*done = 0; *done < n; (*done)++) {
		uint64_t block = blocks         ? blocks[*done] % log->c.nr_blocks :
				 log->has_retry ? log->retry :
						  zd_draw(&log->draw, &log->rng);

		r = write_one(log, (uint32_t)block, false);
		log->has_retry = r && !blocks;
		if (r) { /* not made: the same block comes again once there is room */
			log->retry = (uint32_t)block;
			break;
		}
	}
	return r;
}

int zd_log_clean(zd_log *log, uint32_t segment)
{
	int r;

	if (segment >= log->c.nr_segments || log->state[segment] != 0)
		return -EINVAL;
	if (log->wants_victim && pool_of_segment(log, segment) != log->wants_pool)
		return -EINVAL;
	r = clean(log, segment);
	log->wants_victim = false;
	return r;
}

void zd_log_count_from_here(zd_log *log)
{
	memset(&log->counts, 0, sizeof(log->counts));
}

void zd_log_counts(const zd_log *log, struct zd_log_counts *out)
{
	*out = log->counts;
}

const uint32_t *zd_log_valid(const zd_log *log)
{
	return log->valid;
}

const uint64_t *zd_log_filled(const zd_log *log)
{
	return log->filled;
}

uint32_t zd_log_changed(zd_log *log, uint32_t *out, uint32_t max)
{
	uint32_t n = 0;

	while (n < max && log->nr_changed) {
		out[n] = log->changed[--log->nr_changed];
		log->is_changed[out[n++]] = 0;
	}
	return n;
}

uint64_t zd_log_clock(const zd_log *log)
{
	return log->clock;
}

uint32_t zd_log_where(const zd_log *log, uint64_t block)
{
	return log->where[block];
}
