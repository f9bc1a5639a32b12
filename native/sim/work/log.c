/* SPDX-License-Identifier: Apache-2.0 */
/* LOG jobs: the log-structured layer on a drive. */
#include "../layer.h"
#include "work.h"

#define LOG_COMMAND (1u << 20) /* longest command for cleaning */

static int tell(void *arg, int cmd, uint32_t segment, uint32_t block, uint32_t count)
{
	struct job *job = arg;
	struct zd_sim *sim = job->sim;
	uint32_t zone = job->segment_zone[segment];
	struct log_op *op;

	if (job->untimed) {
		uint64_t rel = (uint64_t)block * job->p.log_block, length = (uint64_t)count * job->p.log_block;
		int r;

		switch (cmd) {
		case ZD_CMD_APPEND:
		case ZD_CMD_WRITE: r = machine_write(&sim->d.m, ZD_CMD_WRITE, zone, rel, length, &job->r.why); break;
		case ZD_CMD_RESET: r = zd_machine_manage(&sim->d.m, ZD_CMD_RESET, zone, &job->r.why); break;
		default: r = 0;
		}
		sim->host_wp[zone] = zone_written(&sim->d.m, zone);
		return r;
	}
	if (cmd == ZD_CMD_WRITE && job->op_used) { /* goes on where the last one ended */
		op = &job->ops[(job->op_first + job->op_used - 1) % job->op_room];
		if (op->cmd == ZD_CMD_WRITE && op->segment == segment && op->block + op->count == block) {
			op->count += count;
			return 0;
		}
	}
	if (job->op_used == job->op_room) {
		uint32_t room = job->op_room ? 2 * job->op_room : 256, i;
		struct log_op *ops = malloc(room * sizeof(*ops));

		if (!ops)
			return -ENOMEM;
		for (i = 0; i < job->op_used; i++)
			ops[i] = job->ops[(job->op_first + i) % job->op_room];
		free(job->ops);
		job->ops = ops;
		job->op_first = 0;
		job->op_room = room;
	}
	op = &job->ops[(job->op_first + job->op_used++) % job->op_room];
	op->cmd = (uint8_t)cmd;
	op->segment = segment;
	op->block = block;
	op->count = count;
	return 0;
}

/* The next thing that the layer wants done. */
enum next zd_log_op_next(struct zd_sim *sim, struct job *job, struct command *c)
{
	struct log_op *op = &job->ops[job->op_first];
	uint32_t zone = job->segment_zone[op->segment], most = (uint32_t)(LOG_COMMAND / job->p.log_block), n;

	if (op->cmd == ZD_CMD_RESET) {
		if (job->inflight)
			return NEXT_DRAIN; /* what was valid there must lie elsewhere first */
		zd_make_reset(sim, c, zone);
		job->r.zone_resets++;
		n = op->count;
	} else {
		n = op->count < (most ? most : 1) ? op->count : (most ? most : 1);
		c->cmd = op->cmd == ZD_CMD_READ ? ZD_CMD_READ : job->p.append ? ZD_CMD_APPEND : ZD_CMD_WRITE;
		c->dir = op->cmd == ZD_CMD_APPEND ? ZD_SIM_WRITE : ZD_SIM_NR_DIRS;
		c->flags = c->cmd == ZD_CMD_READ ? 0 : (c->cmd == ZD_CMD_WRITE ? C_ORDERED : C_BEHIND) | C_COUNTED;
		c->zone = zone;
		c->offset = zone_start(&sim->d.m, zone) + (uint64_t)op->block * job->p.log_block;
		c->length = (uint64_t)n * job->p.log_block;
		if (c->cmd != ZD_CMD_READ) {
			sim->host_wp[zone] += c->length;
			sim->valid_bytes += c->length;
		}
		if (c->dir == ZD_SIM_WRITE) {
			c->sent = job->log_sent;
			count_issue(job, c, ZD_SIM_WRITE);
		}
		op->block += n;
		op->count -= n;
		n = op->count;
	}
	if (!n) {
		job->op_first = (job->op_first + 1) % job->op_room;
		job->op_used--;
	}
	return NEXT_COMMAND;
}

void zd_log_work_counts(struct job *job)
{
	struct zd_log_counts counts;

	zd_log_counts(job->log, &counts);
	job->r.log_user = counts.user;
	job->r.log_moved = counts.moved;
	job->r.log_segments = counts.cleaned;
}

enum next zd_log_work_write(struct zd_sim *sim, struct job *job, const uint64_t *block)
{
	uint64_t done;
	int r = zd_log_write(job->log, 1, block, &done);

	job->log_sent = sim->d.now;
	zd_log_work_counts(job);
	if (r) {
		zd_sim_fail(&job->r.why, r, "the log-structured layer has no segment to clean");
		job->r.error = r;
		return NEXT_FAILED;
	}
	return NEXT_COMMAND;
}

enum next zd_log_work_read(struct zd_sim *sim, struct job *job, struct command *c, uint64_t block)
{
	uint32_t place = zd_log_where(job->log, block);
	uint32_t zone = job->segment_zone[place / job->segment_blocks];

	c->cmd = ZD_CMD_READ;
	c->dir = ZD_SIM_READ;
	c->flags = 0;
	c->zone = zone;
	c->offset = zone_start(&sim->d.m, zone) + place % job->segment_blocks * job->p.log_block;
	c->length = job->p.log_block;
	count_issue(job, c, ZD_SIM_READ);
	return NEXT_COMMAND;
}

enum next zd_log_next(struct zd_sim *sim, struct job *job, struct command *c)
{
	enum next n;

	if (!job->op_used) {
		if (over(sim, job))
			return NEXT_END;
		if (job->p.reads && rng_below(&job->rng, 100) < job->p.mix_read)
			return zd_log_work_read(sim, job, c, zd_draw(&job->draw, &job->rng));
		n = zd_log_work_write(sim, job, NULL);
		if (n != NEXT_COMMAND)
			return n;
	}
	return zd_log_op_next(sim, job, c);
}

/* Segments are the sequential zones that lie wholly in the job's range. Fills and warms the volume up. */
int zd_log_work_init(struct zd_sim *sim, struct job *job, struct zd_error *err)
{
	struct zd_sim_job *p = &job->p;
	struct zd_log_config config = { 0 };
	uint32_t zone, n = 0, last = zone_of(&sim->d.m, p->offset + p->size - 1);
	uint64_t done;
	int r;

	if (!p->log_block || p->log_block % sim->d.m.b.physical_block || p->log_block > sim->d.m.capacity)
		return zd_sim_fail(err, ZD_E_GEOMETRY,
				   "the log's block must be a multiple of the physical block and fit a zone");
	if (!(p->log_spare > 0 && p->log_spare < 1))
		return zd_sim_fail(err, ZD_E_GEOMETRY, "the log's spare part must lie between 0 and 1");
	job->segment_zone = malloc((last + 1ull) * sizeof(*job->segment_zone));
	if (!job->segment_zone)
		return zd_sim_fail(err, -ENOMEM, "no memory for a log");
	for (zone = zone_of(&sim->d.m, p->offset); zone <= last; zone++) {
		if (zone_conv(&sim->d.m, zone) || zone_start(&sim->d.m, zone) < p->offset ||
		    zone_start(&sim->d.m, zone) + zone_length(&sim->d.m, zone) > p->offset + p->size ||
		    zone_capacity(&sim->d.m, zone) != sim->d.m.capacity)
			continue;
		if (sim->host_wp[zone])
			return zd_sim_fail(err, ZD_E_GEOMETRY, "zone %u is not empty, and a log needs its zones empty", zone);
		job->segment_zone[n++] = zone;
	}
	job->segment_blocks = sim->d.m.capacity / p->log_block;
	job->sim = sim;
	job->untimed = true;
	config.nr_segments = n;
	config.segment_blocks = (uint32_t)job->segment_blocks;
	config.nr_blocks = (uint64_t)((double)n * (double)job->segment_blocks * (1 - p->log_spare));
	config.policy = p->log_policy;
	config.separate = p->log_separate;
	config.distribution = p->distribution;
	config.a = p->a;
	config.b = p->b;
	config.seed = rng_next(&job->rng);
	job->log_blocks = config.nr_blocks;
	if (job->segment_blocks * p->log_block != sim->d.m.capacity)
		return zd_sim_fail(err, ZD_E_GEOMETRY, "the zone capacity, %llu bytes, is no multiple of the log's block, %llu",
				   (unsigned long long)sim->d.m.capacity, (unsigned long long)p->log_block);
	r = zd_log_create_told(&config, &job->log, err, tell, job);
	if (r)
		return r;
	r = zd_log_write(job->log, p->log_warm, NULL, &done);
	if (r)
		return zd_sim_fail(err, r, "the log could not be warmed up: %s", job->r.why.text);
	zd_log_count_from_here(job->log);
	job->untimed = false;
	return zd_job_draw(job, config.nr_blocks, err);
}
