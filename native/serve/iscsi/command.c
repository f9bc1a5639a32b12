/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SCSI commands. One that brings data collects it: what comes with the command, what follows unasked (up to
 * FirstBurstLength), and what R2Ts ask for, a burst of up to MaxBurstLength at a time. No more is asked for than the CDB
 * takes. Then the executor has it, in this thread; a flush and its like are given to the helper, since they may
 * take as long as the host's disk does. What the executor holds up ends in another thread, and is answered when this one
 * comes by.
 */
#include "serve/iscsi/iscsi.h"

#define TASK_SET_FULL 0x28
#define SOME_ANSWER (256u << 10) /* room for any answer but that of REPORT ZONES */

static struct task *task_of(struct zd_work *work)
{
	return (struct task *)((uint8_t *)work - offsetof(struct task, work));
}

static struct task *find(struct connection *c, uint32_t itt)
{
	for (uint32_t i = 0; i < c->nr_slots; i++)
		if (c->itts[i] == itt && c->tasks[i].state != FREE && c->tasks[i].state != ENDED)
			return &c->tasks[i];
	return NULL;
}

static struct task *free_slot(struct connection *c)
{
	for (uint32_t i = 0; i < c->nr_slots; i++)
		if (c->tasks[i].state == FREE)
			return &c->tasks[i];
	return c->nr_slots < SLOTS ? &c->tasks[c->nr_slots++] : NULL;
}

static void release(struct connection *c, struct task *t)
{
	zd_scsi_unpin(&t->scsi);
	zd_buffer_put(&c->peer.buffers, t->buffer);
	t->buffer = NULL;
	t->state = FREE;
	c->itts[t - c->tasks] = NOBODY;
}

void zd_iscsi_sent(struct connection *c)
{
	for (uint32_t i = 0; i < c->nr_slots; i++)
		if (c->tasks[i].state == ENDED)
			release(c, &c->tasks[i]);
}

void zd_iscsi_stuck(struct connection *c)
{
	for (uint32_t i = 0; i < c->nr_slots; i++) {
		struct task *t = &c->tasks[i];

		if (t->state != ENDED || !t->pin.length)
			continue;
		zd_link_move(&c->peer.link, t->pin.at, t->pin.length, t->buffer->data);
		zd_scsi_unpin(&t->scsi);
	}
}

/* It takes no room in the window any more. */
static void leave_window(struct connection *c, struct task *t)
{
	if (!t->immediate)
		c->commands--;
	t->immediate = 1;
	atomic_fetch_sub_explicit(&c->peer.under_way, 1, memory_order_relaxed);
}

/* ---------------------------------------------------------------- answers */

static uint32_t set_residual(const struct task *t, uint8_t *flags)
{
	const struct zd_scsi_task *s = &t->scsi;
	int64_t wants, residual;

	if (t->verdict)
		wants = 0;
	else if (t->writes)
		wants = s->residual_out + (int64_t)(s->nr_out ? t->part.iov_len : 0);
	else
		wants = s->residual_in + (int64_t)(s->nr_in ? t->part.iov_len : 0) + (t->reads ? 0 : s->residual_out);
	residual = wants - t->edtl;
	if (residual > 0) {
		*flags |= 0x04;
		return residual > UINT32_MAX ? UINT32_MAX : (uint32_t)residual;
	}
	if (residual < 0)
		*flags |= 0x02;
	return (uint32_t)-residual;
}

/* What was read, in PDUs that the initiator takes; the last one brings a good status along. *whole: it did. */
static int send_data(struct connection *c, struct task *t, bool *whole)
{
	const uint8_t *data = t->pin.length ? t->pin.at : t->buffer->data;
	uint64_t length = t->scsi.in_length, at = 0, burst = 0;
	uint32_t number = 0;
	int err;

	*whole = false;
	zd_count(&c->peer.bytes_out, length);
	while (at < length) {
		uint64_t part = length - at < c->login.max_send ? length - at : c->login.max_send;
		bool last, status;
		uint8_t *head;

		if (part > c->login.max_burst - burst)
			part = c->login.max_burst - burst;
		last = at + part == length;
		status = last && t->scsi.status == ZD_SCSI_GOOD;
		head = zd_iscsi_begin(c, DATA_IN, t->itt, status, &err);
		if (!head)
			return err;
		burst += part;
		if (!last && burst < c->login.max_burst)
			head[1] = 0;
		else
			burst = 0;
		if (status) {
			head[1] |= 0x01;
			put32(head + AT_RESIDUAL, set_residual(t, head + 1));
		} else {
			put32(head + AT_STAT_SN, 0);
		}
		put32(head + AT_TTT, NOBODY);
		put32(head + AT_DATA_SN, number++);
		put32(head + AT_OFFSET, (uint32_t)at);
		zd_iscsi_send(c, head, data + at, (uint32_t)part);
		at += part;
		*whole = status;
	}
	t->data_sn = number;
	return 0;
}

static void spoilt_sense(struct task *t)
{
	memset(t->scsi.sense, 0, 18);
	t->scsi.sense[0] = 0x70;
	t->scsi.sense[2] = 0x0B; /* ABORTED COMMAND */
	t->scsi.sense[7] = 10;
	t->scsi.sense[12] = (uint8_t)(t->spoilt >> 8);
	t->scsi.sense[13] = (uint8_t)t->spoilt;
	t->scsi.sense_length = 18;
}

static int send_status(struct connection *c, struct task *t)
{
	struct zd_scsi_task *s = &t->scsi;
	uint8_t *head;
	int err;

	head = zd_iscsi_begin(c, SCSI_RESPONSE, t->itt, true, &err);
	if (!head)
		return err;
	head[3] = s->status;
	put32(head + AT_DATA_SN, t->reads ? t->data_sn : t->r2t_sn);
	put32(head + AT_RESIDUAL, set_residual(t, head + 1));
	if (s->sense_length) {
		put16(t->sense, s->sense_length);
		memcpy(t->sense + 2, s->sense, s->sense_length);
		zd_iscsi_send(c, head, t->sense, 2u + s->sense_length);
	} else {
		zd_iscsi_send(c, head, NULL, 0);
	}
	return 0;
}

/* A task has ended, in whatever way: tell the initiator, unless it was aborted. */
static int answer(struct connection *c, struct task *t)
{
	bool whole = false;
	int r = 0;

	leave_window(c, t);
	if (t->verdict) {
		t->scsi.status = t->verdict;
		t->scsi.in_length = 0;
		if (t->verdict == ZD_SCSI_CHECK_CONDITION)
			spoilt_sense(t);
		else
			t->scsi.sense_length = 0;
	}
	if (c->closing || t->scsi.unanswered || atomic_load_explicit(&t->work.aborted, memory_order_relaxed)) {
		release(c, t);
		return 0;
	}
	/* A disk without power answers nothing. */
	if (t->scsi.error.code == ZD_E_POWER_LOSS && t->scsi.status == ZD_SCSI_CHECK_CONDITION) {
		release(c, t);
		return zd_iscsi_disturbed(c, "a disk of the target lost its power");
	}
	if (t->scsi.status != ZD_SCSI_GOOD)
		zd_count(&c->peer.errors, 1);
	if (t->reads && t->scsi.in_length)
		r = send_data(c, t, &whole);
	if (!r && !whole)
		r = send_status(c, t);
	t->state = ENDED;
	/* The other side takes it while the next one is read, and that one finds this one's buffer still in the CPU's cache. */
	return !r && c->peer.link.queued >= ZD_LINK_BURST ? zd_link_flush(&c->peer.link) : r;
}

/* ---------------------------------------------------------------- carrying out */

static void ended(struct zd_scsi_task *scsi)
{
	struct task *t = scsi->arg;

	zd_work_ended(&t->work);
}

static void carry_out(struct zd_peer *peer, struct zd_work *work)
{
	zd_scsi_exec(connection_of(peer)->nexus, &task_of(work)->scsi);
}

static void abandon(struct zd_work *work)
{
	task_of(work)->scsi.status = ZD_SCSI_TASK_ABORTED;
}

static int answer_work(struct zd_peer *peer, struct zd_work *work)
{
	return answer(connection_of(peer), task_of(work));
}

static void release_work(struct zd_peer *peer, struct zd_work *work)
{
	release(connection_of(peer), task_of(work));
}

const struct zd_commands zd_iscsi_commands = { carry_out, abandon, answer_work, release_work };

/* It may wait for the host's disk, and nothing that follows needs it to be done first. */
static bool is_slow(const struct task *t)
{
	return t->cdb[0] == 0x35 || t->cdb[0] == 0x91 || t->cdb[0] == 0x04 || t->cdb[0] == 0x48;
}

static int run(struct connection *c, struct task *t)
{
	struct zd_scsi_task *s = &t->scsi;
	uint32_t lun = get16(s->lun) & 0x3FFF;
	int r = lun < ZD_SCSI_MAX_LUNS ? zd_iscsi_check_power(c, lun) : 0;

	if (r) {
		leave_window(c, t);
		release(c, t);
		return r;
	}
	t->state = RUNNING;
	s->size = sizeof(*s);
	s->cdb = t->cdb;
	s->tag = t->itt;
	s->done = ended;
	s->arg = t;
	return zd_peer_run(&c->peer, &t->work, is_slow(t));
}

void zd_iscsi_abort(struct connection *c, struct task *t)
{
	atomic_store(&t->work.aborted, 1);
	if (t->state == RUNNING)
		return;
	leave_window(c, t);
	release(c, t);
}

int zd_iscsi_cleared(struct connection *c, struct task *t)
{
	t->verdict = ZD_SCSI_TASK_ABORTED;
	return answer(c, t);
}

void zd_iscsi_forget_tasks(struct connection *c)
{
	for (uint32_t i = 0; i < c->nr_slots; i++)
		if (c->tasks[i].state == UNSOLICITED || c->tasks[i].state == SOLICITED)
			zd_iscsi_abort(c, &c->tasks[i]);
	zd_peer_collect(&c->peer);
	zd_iscsi_sent(c);
}

/* ---------------------------------------------------------------- data from the initiator */

/* The command ends with ABORTED COMMAND and this, once what is on its way for it has come. */
static void spoil(struct task *t, uint16_t codes)
{
	if (t->verdict)
		return;
	t->verdict = ZD_SCSI_CHECK_CONDITION;
	t->spoilt = codes;
}

static int ask_for_more(struct connection *c, struct task *t)
{
	uint64_t length = t->expect - t->received;
	uint8_t *head;
	int err;

	head = zd_iscsi_begin(c, R2T, t->itt, false, &err);
	if (!head)
		return err;
	if (length > c->login.max_burst)
		length = c->login.max_burst;
	if (++c->next_ttt == NOBODY)
		c->next_ttt = 0;
	t->ttt = c->next_ttt;
	t->state = SOLICITED;
	t->data_sn = 0;
	t->burst_end = t->received + length;
	memcpy(head + AT_LUN, t->scsi.lun, 8);
	put32(head + AT_TTT, t->ttt);
	put32(head + AT_DATA_SN, t->r2t_sn++);
	put32(head + AT_OFFSET, (uint32_t)t->received);
	put32(head + AT_RESIDUAL, (uint32_t)length);
	zd_iscsi_send(c, head, NULL, 0);
	return 0;
}

/* A burst is over. */
static int go_on(struct connection *c, struct task *t)
{
	if (t->verdict)
		return answer(c, t);
	if (t->received < t->expect)
		return ask_for_more(c, t);
	t->part = (struct iovec){ t->buffer ? t->buffer->data : NULL, t->expect };
	t->scsi.out = &t->part;
	t->scsi.nr_out = t->expect != 0;
	return run(c, t);
}

/* Data at the offset that the task is at; the segment is read in any case. */
static int take_data(struct connection *c, struct task *t)
{
	uint64_t room = t->received < t->expect ? t->expect - t->received : 0;
	int r = zd_iscsi_segment(c, t->buffer && !t->verdict ? t->buffer->data + t->received : NULL, room);

	t->received += c->length;
	zd_count(&c->peer.bytes_in, c->length);
	if (r || !c->bad_data)
		return r;
	spoil(t, 0x4705); /* PROTOCOL SERVICE CRC ERROR */
	return zd_iscsi_reject(c, BAD_DATA_DIGEST);
}

int zd_iscsi_data_out(struct connection *c)
{
	const uint8_t *bhs = c->bhs;
	uint32_t ttt = get32(bhs + AT_TTT);
	struct task *t = find(c, get32(bhs + AT_ITT));
	bool final = bhs[1] & FINAL;
	int r;

	if (!t || (ttt == NOBODY ? t->state != UNSOLICITED : t->state != SOLICITED || t->ttt != ttt)) {
		/* For a task that has ended meanwhile, as a rule. */
		r = zd_iscsi_segment(c, NULL, 0);
		return r || !t ? r : zd_iscsi_reject(c, INVALID_FIELD);
	}
	if (get32(bhs + AT_DATA_SN) != t->data_sn || get32(bhs + AT_OFFSET) != t->received)
		spoil(t, 0x4B05); /* DATA OFFSET ERROR */
	else if (t->received + c->length > t->burst_end)
		spoil(t, t->state == UNSOLICITED ? 0x0C0C : 0x4B02); /* UNEXPECTED UNSOLICITED DATA, TOO MUCH WRITE DATA */
	t->data_sn++;
	if (t->received + c->length > UINT32_MAX)
		return zd_iscsi_disturbed(c, "more data was sent than any command has");
	r = take_data(c, t);
	if (r || (!final && t->received < t->burst_end))
		return r;
	if (t->state == SOLICITED && t->received < t->burst_end)
		spoil(t, 0x0C0D); /* NOT ENOUGH UNSOLICITED DATA: an incorrect amount of data, says RFC 7143 11.4.7.2 */
	return final || !t->verdict ? go_on(c, t) : 0;
}

/* ---------------------------------------------------------------- a command */

/* The CDB goes on in an additional header segment (11.2.2.3); a read of a command that writes has no room here. */
static uint32_t take_cdb(struct connection *c, struct task *t, const uint8_t *more, uint32_t more_length)
{
	uint32_t length = 16;

	memset(t->cdb, 0, sizeof(t->cdb));
	memcpy(t->cdb, c->bhs + AT_CDB, 16);
	for (uint32_t at = 0; at + 4 <= more_length;) {
		uint32_t size = get16(more + at);

		if (at + 3 + size > more_length)
			break;
		if (more[at + 2] == 1 && size >= 1 && size - 1 <= CDB - 16) {
			memcpy(t->cdb + 16, more + at + 4, size - 1);
			length = 16 + size - 1;
		}
		at += (3 + size + 3) & ~3u;
	}
	return length;
}

static void begin(struct connection *c, struct task *t, const uint8_t *more, uint32_t more_length)
{
	const uint8_t *bhs = c->bhs;

	memset(&t->scsi, 0, sizeof(t->scsi));
	t->buffer = NULL;
	t->pin = (struct zd_pin){ 0 };
	t->received = t->expect = 0;
	t->itt = get32(bhs + AT_ITT);
	t->edtl = get32(bhs + AT_TTT);
	t->data_sn = t->r2t_sn = 0;
	t->reads = (bhs[1] & 0x60) == 0x40;
	t->writes = (bhs[1] & 0x20) != 0;
	t->immediate = (bhs[0] & IMMEDIATE) != 0;
	t->verdict = 0;
	atomic_store_explicit(&t->work.aborted, 0, memory_order_relaxed);
	t->part = (struct iovec){ 0 };
	c->itts[t - c->tasks] = t->itt;
	t->scsi.cdb_length = take_cdb(c, t, more, more_length);
	memcpy(t->scsi.lun, bhs + AT_LUN, 8);
	if (!t->immediate)
		c->commands++;
	atomic_fetch_add_explicit(&c->peer.under_way, 1, memory_order_relaxed);
	zd_count(&c->peer.nr_commands, 1);
}

static void make_room(struct connection *c, struct task *t, uint64_t length)
{
	t->buffer = zd_buffer_get(&c->peer.buffers, length);
	if (!t->buffer && c->peer.link.nr_parts && !zd_link_flush(&c->peer.link)) /* buffers of answers come back by that */
		t->buffer = zd_buffer_get(&c->peer.buffers, length);
	if (!t->buffer)
		t->verdict = TASK_SET_FULL;
}

static int with_data_in(struct connection *c, struct task *t, uint64_t wants_in)
{
	uint64_t room = wants_in ? wants_in : t->cdb[0] == 0x95 ? ZD_SCSI_MAX_TRANSFER : SOME_ANSWER;

	if (room > t->edtl)
		room = t->edtl;
	if (room > ZD_SCSI_MAX_TRANSFER)
		room = ZD_SCSI_MAX_TRANSFER;
	if (room) {
		make_room(c, t, room);
		if (t->verdict)
			return answer(c, t);
		t->part = (struct iovec){ t->buffer->data, room };
		t->scsi.in = &t->part;
		t->scsi.nr_in = 1;
		t->scsi.pin = &t->pin;
	}
	return run(c, t);
}

static int with_data_out(struct connection *c, struct task *t, uint64_t wants_out)
{
	uint32_t first = c->login.first_burst < t->edtl ? c->login.first_burst : t->edtl;
	bool final = c->bhs[1] & FINAL;
	int r;

	t->expect = wants_out < t->edtl ? wants_out : t->edtl;
	if (t->expect > ZD_SCSI_MAX_TRANSFER)
		t->expect = 0; /* the executor refuses it */
	t->scsi.untaken = t->edtl - t->expect;
	if (t->expect)
		make_room(c, t, t->expect);
	t->state = UNSOLICITED;
	t->burst_end = first;
	if (c->length > first)
		spoil(t, 0x0C0C);
	r = take_data(c, t);
	if (r || (!final && t->received < first))
		return r;
	return go_on(c, t);
}

int zd_iscsi_command(struct connection *c, const uint8_t *more, uint32_t more_length)
{
	const uint8_t *bhs = c->bhs;
	uint64_t wants_out, wants_in;
	struct task *t;
	const char *why = NULL;
	int r;

	if (!(bhs[1] & FINAL) && (!(bhs[1] & 0x20) || c->login.initial_r2t))
		why = "a command announces data that was not agreed on (InitialR2T)";
	else if (c->length && (!(bhs[1] & 0x20) || !c->login.immediate_data))
		why = "a command brings data that was not agreed on (ImmediateData)";
	else if (get32(bhs + AT_ITT) == NOBODY)
		why = "a command bears the reserved task tag";
	if (why) {
		r = zd_iscsi_reject(c, PROTOCOL_ERROR);
		return r ? r : zd_iscsi_disturbed(c, why);
	}
	if (find(c, get32(bhs + AT_ITT))) {
		r = zd_iscsi_segment(c, NULL, 0);
		return r ? r : zd_iscsi_reject(c, TASK_IN_PROGRESS);
	}
	t = free_slot(c);
	if (!t && (r = zd_link_flush(&c->peer.link)))
		return r;
	t = t ? t : free_slot(c);
	if (!t) {
		r = zd_iscsi_segment(c, NULL, 0);
		return r ? r : zd_iscsi_reject(c, TOO_MANY_IMMEDIATE);
	}
	begin(c, t, more, more_length);
	zd_scsi_transfer(c->nexus, t->scsi.lun, t->cdb, t->scsi.cdb_length, &wants_out, &wants_in);
	return t->writes ? with_data_out(c, t, wants_out) : with_data_in(c, t, wants_in);
}
