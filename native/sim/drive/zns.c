/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a command costs on a ZNS SSD. Parameters and what they mean are in zoned/sim.h; where their values come
 * from is in the profile.
 *
 * A write is done when its data is in the buffer. The dies program it from there, each a shot at a time, and what
 * they have begun is out of the buffer. What is written in a random write area lies apart until it is committed, which brings
 * it into the buffer. So what reads, FINISH and writes do to each other comes from one place: the
 * dies, each with its reads, its program under way and the programs that wait for it.
 *
 * Events: one for each program under way (index: its die) and for each RESET (index: dies + its slot). When its time
 * has moved since, the event makes another.
 */
#include "drive.h"

#define ZONE_STEP 13 /* dies from the one that a zone begins on to that of the next, so that all have beginnings */

static int init(struct zd_drive *drive, struct zd_error *err)
{
	const struct zd_sim_zns *p = &drive->model.zns;
	struct zns *z = &drive->zns;

	if (!(p->write_rate > 0) || !p->unit || !p->dies || p->dies > 65536 || !(p->finish_rate > 0) ||
	    !(p->die_share > 0 && p->die_share <= 1) || p->shot_bytes < 4096 || p->shot_bytes > p->buffer_bytes / 2 ||
	    !(p->shot_spread >= 0 && p->shot_spread < 1) || !p->stripe_bytes)
		return zd_sim_fail(
			err, ZD_E_GEOMETRY,
			"the ZNS model needs write_rate, finish_rate, unit, dies and stripe above 0, die_share in 0..1, "
			"shot_spread below 1, a shot of at least 4096 bytes, and a buffer of at least two shots");
	z->dies = calloc(p->dies, sizeof(*z->dies));
	if (!z->dies)
		return zd_sim_fail(err, -ENOMEM, "no memory for the model");
	z->shot_ns = 1 + (uint64_t)((double)p->dies * (double)p->shot_bytes * 1e9 / p->write_rate);
	z->pad_ns = 1 + (uint64_t)((double)p->dies * (double)p->shot_bytes * 1e9 / p->finish_rate);
	z->stream_next = NEVER;
	z->append_zone = NONE;
	zd_rng_seed(&z->rng, drive->seed, 0x5A4E53);
	return 0;
}

static void release(struct zd_drive *drive)
{
	free(drive->zns.dies);
	free(drive->zns.finishes);
	free(drive->zns.resets);
}

/* The command may pass the controller when: from t on. */
static uint64_t controller(struct zd_drive *drive, uint64_t t, uint64_t service)
{
	struct zns *z = &drive->zns;
	uint64_t at = t > z->controller_free ? t : z->controller_free;

	z->controller_free = at + rng_below(&z->rng, 2 * service + 1);
	drive->parts[ZD_SIM_CONTROLLER] += service;
	return at;
}

/* ---------------------------------------------------------------- programs */

/* The program under way goes on while the die does not read. */
static void advance(struct zns_die *die, uint64_t t)
{
	uint64_t from = die->seen > die->read_free ? die->seen : die->read_free;

	if (!die->programs || die->locked || t <= from)
		return;
	die->left -= t - from < die->left ? t - from : die->left;
	die->seen = t;
}

/* When the program under way ends if no more reads come. */
static uint64_t program_end(const struct zns_die *die)
{
	return die->locked ? die->locked : (die->seen > die->read_free ? die->seen : die->read_free) + die->left;
}

/* The next FINISH that has something to program, in turns; NULL: none. */
static struct zns_finish *next_finish(struct zns *z)
{
	uint32_t i;

	for (i = 0; z->finishing && i < z->nr_finishes; i++) {
		struct zns_finish *f = &z->finishes[z->finish_turn++ % z->nr_finishes];

		if (f->unstarted)
			return f;
	}
	return NULL;
}

/* A die that programs nothing begins what waits for it: data of the host and padding in turns. */
static void next_program(struct zd_drive *drive, uint32_t i)
{
	struct zns *z = &drive->zns;
	struct zns_die *die = &z->dies[i];
	struct zns_finish *f;

	if (die->programs)
		return;
	f = !die->waiting || die->pads_next ? next_finish(z) : NULL;
	if (f) {
		f->unstarted--;
		die->pads = (uint32_t)(f - z->finishes) + 1;
		die->left = z->pad_ns;
		die->pads_next = false;
	} else if (die->waiting) {
		uint64_t spread = (uint64_t)(drive->model.zns.shot_spread * (double)z->shot_ns);

		die->waiting--;
		z->held -= drive->model.zns.shot_bytes;
		die->pads = 0;
		die->left = z->shot_ns - spread + rng_below(&z->rng, 2 * spread + 1);
		die->pads_next = true;
	} else {
		return;
	}
	die->programs = true;
	die->reads = 0;
	die->locked = 0;
	die->page = 0; /* its register has the program's data */
	die->seen = drive->now > die->read_free ? drive->now : die->read_free;
	drive->parts[f ? ZD_SIM_ZONE_COMMAND : ZD_SIM_FLASH] += die->left / drive->model.zns.dies;
	zd_event(drive, die->seen + die->left, EV_DRIVE, i);
}

/* Data comes into the buffer; each whole shot waits for its die. */
static void take(struct zd_drive *drive, uint64_t bytes)
{
	struct zns *z = &drive->zns;

	z->held += bytes;
	for (z->partial += bytes; z->partial >= drive->model.zns.shot_bytes; z->partial -= drive->model.zns.shot_bytes) {
		uint32_t die = z->shot_die++ % drive->model.zns.dies;

		z->dies[die].waiting++;
		z->made++;
		next_program(drive, die);
	}
}

/* What comes into the buffer by a write or commit. */
static inline uint64_t into_buffer(const struct command *c)
{
	return unlikely(c->flags & C_AREA) ? c->moved : c->length;
}

/* All of it is in the buffer: a write is done at t then, a commit when what it made the dies program is programmed. */
static void is_in(struct zd_drive *drive, struct command *c, uint64_t t)
{
	struct zns *z = &drive->zns;

	if (likely(c->cmd != ZD_CMD_COMMIT_ZRWA) || z->done == z->made) {
		drive_done_at(drive, c, t);
		return;
	}
	c->before = z->made;
	c->next = z->flushes;
	z->flushes = (uint32_t)(c - drive->cmds) + 1;
}

/* Writes that wait come into the buffer as far as there is room. */
static void admit(struct zd_drive *drive)
{
	struct zns *z = &drive->zns;

	while (z->wait_first) {
		struct command *c = &drive->cmds[z->wait_first - 1];
		uint64_t room = drive->model.zns.buffer_bytes - z->held, n = z->wait_left < room ? z->wait_left : room;

		if (!n)
			return;
		z->wait_left -= n;
		take(drive, n); /* may make room again */
		if (z->wait_left)
			continue;
		if (drive->now > c->before)
			drive->parts[ZD_SIM_BUFFER_FULL] += drive->now - c->before;
		z->wait_first = c->next;
		is_in(drive, c, drive->now > c->before ? drive->now : c->before);
		if (z->wait_first)
			z->wait_left = into_buffer(&drive->cmds[z->wait_first - 1]);
		else
			z->wait_last = 0;
	}
}

/* Flushes whose data is on flash. What does not fill a program yet is in a buffer that needs no power, as ever. */
static void let_flushes_go(struct zd_drive *drive)
{
	struct zns *z = &drive->zns;
	uint32_t *link = &z->flushes, i;

	while ((i = *link)) {
		struct command *c = &drive->cmds[i - 1];

		if (z->done < c->before) {
			link = &c->next;
			continue;
		}
		*link = c->next;
		drive_done_at(drive, c, drive->now);
	}
}

static void program_event(struct zd_drive *drive, uint32_t i)
{
	struct zns *z = &drive->zns;
	struct zns_die *die = &z->dies[i];
	uint64_t end;

	advance(die, drive->now);
	end = program_end(die);
	if (end > drive->now && (die->left || die->locked)) {
		zd_event(drive, end, EV_DRIVE, i); /* reads held it up */
		return;
	}
	die->programs = false;
	if (die->pads) {
		struct zns_finish *f = &z->finishes[die->pads - 1];

		if (!--f->undone) {
			uint64_t rest = drive->model.zns.finish_base;

			drive_done_at(drive, &drive->cmds[f->command], drive->now + (rest > z->pad_ns ? rest - z->pad_ns : 0));
			z->finishing--;
		}
	} else {
		z->done++;
		if (z->flushes)
			let_flushes_go(drive);
	}
	next_program(drive, i);
	admit(drive);
}

/* ---------------------------------------------------------------- resets */

static uint64_t reset_end(const struct zd_drive *drive, const struct zns_reset *r)
{
	uint64_t slice = drive->model.zns.reset_slice;

	return r->put_off ? r->begin + (r->ns + slice - 1) / slice * slice : r->begin + r->ns;
}

/*
 * When a command that comes at t may go on: not while an erase has the flash. The first write that comes while one is
 * under way is not held up but puts it off: writes have a slice of time, then the erase has whole ones.
 */
static __attribute__((noinline)) uint64_t past_resets(struct zd_drive *drive, uint64_t t, bool write)
{
	struct zns *z = &drive->zns;
	uint64_t slice = drive->model.zns.reset_slice, go = t;
	uint32_t i;

	for (i = 0; i < z->nr_resets; i++) {
		struct zns_reset *r = &z->resets[i];

		if (!r->ns || t < r->begin || t >= reset_end(drive, r))
			continue;
		if (write && slice && !r->put_off && t < r->begin + slice) {
			r->put_off = true;
			r->begin += slice;
		} else if (go < reset_end(drive, r)) {
			go = reset_end(drive, r);
		}
	}
	return go;
}

static inline uint64_t arrival(struct zd_drive *drive, bool write)
{
	return unlikely(drive->zns.resetting) ? past_resets(drive, drive->now, write) : drive->now;
}

static void reset_event(struct zd_drive *drive, uint32_t slot)
{
	struct zns *z = &drive->zns;
	struct zns_reset *r = &z->resets[slot];
	uint64_t end = reset_end(drive, r);

	if (end > drive->now) {
		zd_event(drive, end, EV_DRIVE, drive->model.zns.dies + slot);
		return;
	}
	r->ns = 0;
	z->resetting--;
	drive_done_at(drive, &drive->cmds[r->command], end);
}

static void event(struct zd_drive *drive)
{
	if (drive->event_index < drive->model.zns.dies)
		program_event(drive, drive->event_index);
	else
		reset_event(drive, drive->event_index - drive->model.zns.dies);
}

/* ---------------------------------------------------------------- commands */

/* It has passed the controller; the host has its answer at t, if there is room. */
static void bring_in(struct zd_drive *drive, struct command *c, uint64_t t)
{
	struct zns *z = &drive->zns;
	uint64_t bytes = into_buffer(c);
	uint32_t i = (uint32_t)(c - drive->cmds) + 1;

	if (unlikely(!bytes) || likely(!z->wait_first && z->held + bytes <= drive->model.zns.buffer_bytes)) {
		take(drive, bytes);
		is_in(drive, c, t);
		return;
	}
	c->before = t;
	c->next = 0;
	if (z->wait_last) {
		drive->cmds[z->wait_last - 1].next = i;
	} else {
		z->wait_first = i;
		z->wait_left = bytes;
	}
	z->wait_last = i;
	admit(drive);
}

static void write_command(struct zd_drive *drive, struct command *c)
{
	const struct zd_sim_zns *p = &drive->model.zns;
	struct zns *z = &drive->zns;
	bool append = c->cmd == ZD_CMD_APPEND;
	uint64_t units = (c->length + p->unit - 1) / p->unit, at, ns;

	at = controller(drive, arrival(drive, !append), append ? p->append_service : p->write_service);
	ns = p->write_base + (append ? p->append_extra : 0) + (c->length > 8192 ? p->list_ns : 0);
	ns += (uint64_t)((double)(units - 1) * (append ? p->append_unit_ns : p->write_unit_ns));
	if (c->first)
		ns += append ? p->first_append_ns : p->first_write_ns;
	if (append && c->zone != z->append_zone) { /* the drive has to find where that one ends */
		ns += c->first || z->append_zone == NONE ? 0 : p->append_other;
		z->append_zone = c->zone;
	}
	bring_in(drive, c, at + ns);
}

/* A command without data, that makes the dies program some. */
static void commit_command(struct zd_drive *drive, struct command *c)
{
	const struct zd_sim_zns *p = &drive->model.zns;

	bring_in(drive, c, controller(drive, arrival(drive, true), p->write_service) + p->write_base);
}

/* One die reads n bytes from `offset` on, asked at t: when they are there. */
static uint64_t die_read(struct zd_drive *drive, struct zns_die *die, uint64_t t, uint64_t offset, uint64_t n)
{
	const struct zd_sim_zns *p = &drive->model.zns;
	uint64_t ns = p->read_base + (uint64_t)(p->read_kib_ns * (double)n / 1024), start = t;

	if (p->page_bytes) {
		if (die->page == offset / p->page_bytes + 1)
			ns -= p->sense_ns < ns ? p->sense_ns : ns - 1;
		die->page = (offset + n - 1) / p->page_bytes + 1;
	}
	if (die->programs && !die->locked) {
		advance(die, t);
		if (die->left && die->reads >= p->suspend_reads) {
			die->locked = program_end(die) > t ? program_end(die) : t + die->left;
		} else if (die->left) {
			die->reads++;
			if (t >= die->read_free && t >= die->seen) { /* it runs: to the end of its pulse */
				uint64_t pulse = p->suspend_ns ? die->left % p->suspend_ns : 0;

				start += pulse;
				die->left += p->resume_ns - pulse;
				die->seen = start;
			}
		}
	}
	if (start < die->read_free)
		start = die->read_free;
	if (die->programs && start < die->locked)
		start = die->locked;
	die->read_free = start + (uint64_t)(p->die_share * (double)ns);
	drive->parts[ZD_SIM_DIE] += die->read_free - start;
	return start + ns;
}

/* A ceiling of bytes per second that all share: when this command's are through. */
static uint64_t through(double *free_at, uint64_t t, uint64_t length, double rate, uint64_t done)
{
	double from = *free_at > (double)t ? *free_at : (double)t;

	if (!(rate > 0))
		return done;
	*free_at = from + (double)length * 1e9 / rate;
	return (uint64_t)*free_at > done ? (uint64_t)*free_at : done;
}

static uint64_t read_done(struct zd_drive *drive, const struct command *c)
{
	const struct zd_sim_zns *p = &drive->model.zns;
	struct zns *z = &drive->zns;
	uint64_t at = arrival(drive, false), done = 0, left = c->length, offset = c->offset;
	uint32_t first = c->zone * ZONE_STEP;

	z->stream_run = offset == z->stream_next ? z->stream_run + 1 : 0;
	z->stream_next = offset + left;
	if (p->ahead_base && z->stream_run > 1) {
		at = controller(drive, at, p->ahead_service);
		done = at + p->ahead_base + (uint64_t)(p->ahead_kib_ns * (double)left / 1024);
		return through(&z->link_free, at, left, p->ahead_rate, done);
	}
	at = controller(drive, at, p->read_service);
	while (left) {
		uint64_t in = p->stripe_bytes - offset % p->stripe_bytes, n = left < in ? left : in, end;

		end = die_read(drive, &z->dies[(offset / p->stripe_bytes + first) % p->dies], at, offset, n);
		if (end > done)
			done = end;
		left -= n;
		offset += n;
	}
	return through(&z->read_free, at, c->length, p->read_rate, done);
}

static uint64_t reset_ns(const struct zd_drive *drive, const struct command *c)
{
	const struct zd_sim_zns *p = &drive->model.zns;
	uint64_t written = c->before & W_WRITTEN, capacity = zone_capacity(&drive->m, c->zone);
	double occupancy = (double)written / (double)capacity;

	return p->reset_base + (uint64_t)((double)p->reset_full * occupancy) + (written ? p->reset_data : 0) +
	       (c->before & W_FINISHED ? 0 : p->reset_unfinished) +
	       ((c->before & W_COND) != ZD_FULL && written > drive->m.b.logical_block ? p->reset_open_base : 0);
}

/* An array of *nr elements with more, zeroed, behind them; as it was where there is no memory, and then the run has failed. */
static void *grown(struct zd_drive *drive, void *array, uint32_t *nr, size_t size)
{
	uint32_t room = *nr ? 2 * *nr : 16;
	uint8_t *more = realloc(array, room * size);

	if (!more) {
		drive->failed = true;
		return array;
	}
	memset(more + *nr * size, 0, (room - *nr) * size);
	*nr = room;
	return more;
}

/* An erase begins when the programs under way are done. */
static void reset_command(struct zd_drive *drive, struct command *c)
{
	struct zns *z = &drive->zns;
	struct zns_reset *r;
	uint32_t i;

	for (i = 0; i < z->nr_resets && z->resets[i].ns; i++)
		;
	if (i == z->nr_resets)
		z->resets = grown(drive, z->resets, &z->nr_resets, sizeof(*r));
	if (i == z->nr_resets)
		return;
	r = &z->resets[i];
	*r = (struct zns_reset){ drive->now, reset_ns(drive, c) + 1, (uint32_t)(c - drive->cmds), false };
	if (z->made > z->done || z->finishing) {
		uint32_t die;

		for (die = 0; die < drive->model.zns.dies; die++) {
			if (z->dies[die].programs && program_end(&z->dies[die]) > r->begin)
				r->begin = program_end(&z->dies[die]);
		}
	}
	z->resetting++;
	drive->parts[ZD_SIM_ZONE_COMMAND] += r->ns;
	zd_event(drive, reset_end(drive, r), EV_DRIVE, drive->model.zns.dies + i);
}

static void finish_command(struct zd_drive *drive, struct command *c)
{
	const struct zd_sim_zns *p = &drive->model.zns;
	struct zns *z = &drive->zns;
	uint64_t in_area = c->flags & C_AREA ? c->moved : 0; /* written there, and on no flash yet */
	uint64_t written = c->before & W_WRITTEN, left = zone_capacity(&drive->m, c->zone) - written;
	struct zns_finish *f;
	uint32_t i, die;

	if ((c->before & W_COND) == ZD_FULL || (!written && !in_area) || !left) {
		drive_done_at(drive, c, drive->now + p->finish_empty);
		drive->parts[ZD_SIM_ZONE_COMMAND] += p->finish_empty;
		return;
	}
	for (i = 0; i < z->nr_finishes && z->finishes[i].undone; i++)
		;
	if (i == z->nr_finishes)
		z->finishes = grown(drive, z->finishes, &z->nr_finishes, sizeof(*f));
	if (i == z->nr_finishes)
		return;
	f = &z->finishes[i];
	f->unstarted = f->undone = (left + p->shot_bytes - 1) / p->shot_bytes;
	f->command = (uint32_t)(c - drive->cmds);
	z->finishing++;
	for (die = 0; die < p->dies && f->unstarted; die++)
		next_program(drive, die);
}

static void submit(struct zd_drive *drive, struct command *c)
{
	struct zns *z = &drive->zns;

	switch (c->cmd) {
	case ZD_CMD_READ: drive_done_at(drive, c, read_done(drive, c)); break;
	case ZD_CMD_WRITE:
	case ZD_CMD_APPEND: write_command(drive, c); break;
	case ZD_CMD_FLUSH:
		if (z->done == z->made) {
			drive_done_at(drive, c, drive->now);
			break;
		}
		c->before = z->made;
		c->next = z->flushes;
		z->flushes = (uint32_t)(c - drive->cmds) + 1;
		break;
	case ZD_CMD_FINISH: finish_command(drive, c); break;
	case ZD_CMD_COMMIT_ZRWA: commit_command(drive, c); break;
	case ZD_CMD_OPEN:
	case ZD_CMD_CLOSE: {
		uint64_t ns = c->cmd == ZD_CMD_OPEN ? drive->model.zns.open_ns : drive->model.zns.close_ns;

		drive->parts[ZD_SIM_ZONE_COMMAND] += ns;
		drive_done_at(drive, c, drive->now + ns);
		break;
	}
	default: reset_command(drive, c);
	}
}

const struct drive_ops zd_drive_zns = { .init = init, .release = release, .submit = submit, .event = event };
