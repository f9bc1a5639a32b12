/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands and their data. What a command needs of the host it has in its capsule, or the host is asked for it by one R2T. A command
 * for which there is no memory waits, and with it no other: those behind it may need less.
 */
#include "serve/nvmetcp/nvmetcp.h"

#include <stddef.h>

#define SET_FEATURES 0x09
#define KEEP_ALIVE 0x18
#define KEEP_ALIVE_TIMER 0x0F

static struct task *task_of(struct zd_work *work)
{
	return (struct task *)((uint8_t *)work - offsetof(struct task, work));
}

static struct task *find(struct connection *c, uint16_t cid)
{
	for (uint32_t i = 0; i < c->nr_slots; i++)
		if (c->tasks[i].cid == cid && c->tasks[i].state != FREE && c->tasks[i].state != ENDED)
			return &c->tasks[i];
	return NULL;
}

/* As many as the queue has entries. */
static struct task *free_slot(struct connection *c)
{
	for (uint32_t i = 0; i < c->nr_slots; i++)
		if (c->tasks[i].state == FREE)
			return &c->tasks[i];
	return c->nr_slots < c->how.depth ? &c->tasks[c->nr_slots++] : NULL;
}

static void release(struct connection *c, struct task *t)
{
	zd_buffer_put(&c->peer.buffers, t->buffer);
	t->buffer = NULL;
	t->state = FREE;
}

void zd_nvmetcp_sent(struct connection *c)
{
	for (uint32_t i = 0; i < c->nr_slots; i++)
		if (c->tasks[i].state == ENDED)
			release(c, &c->tasks[i]);
}

/* ---------------------------------------------------------------- answers */

static int send_response(struct connection *c, const struct task *t)
{
	uint8_t *head;
	int err;

	head = zd_nvmetcp_begin(c, RESPONSE, RESPONSE_HEADER, &err);
	if (!head)
		return err;
	put64le(head + AT_RESULT, t->nvme.result);
	put16le(head + AT_SQHD, c->sqhd);
	put16le(head + AT_RESPONSE_CID, t->cid);
	put16le(head + AT_STATUS, (uint32_t)t->nvme.status << 1);
	zd_nvmetcp_send(c, head, NULL, 0);
	return 0;
}

/* What was read, in one PDU. *whole: the host needs no response beside it, as nothing is told there. */
static int send_data(struct connection *c, const struct task *t, bool *whole)
{
	uint64_t length = t->nvme.in_length;
	uint8_t *head;
	int err;

	head = zd_nvmetcp_begin(c, DATA, DATA_HEADER, &err);
	if (!head)
		return err;
	*whole = c->how.no_flow_control && !t->nvme.status && !t->nvme.result;
	head[AT_FLAGS] |= LAST | (*whole ? SUCCESS : 0);
	put16le(head + AT_CID, t->cid);
	put32le(head + AT_LENGTH, (uint32_t)length);
	zd_nvmetcp_send(c, head, t->buffer->data, length);
	zd_count(&c->peer.bytes_out, length);
	return 0;
}

/* A command has ended, in whatever way: tell the host. */
static int answer(struct connection *c, struct task *t)
{
	bool whole = false;
	int r = 0;

	atomic_fetch_sub_explicit(&c->peer.under_way, 1, memory_order_relaxed);
	if (c->closing || atomic_load_explicit(&t->work.aborted, memory_order_relaxed)) {
		release(c, t);
		return 0;
	}
	if (t->nvme.status)
		zd_count(&c->peer.errors, 1);
	if (t->room && t->nvme.in_length)
		r = send_data(c, t, &whole);
	if (!r && !whole)
		r = send_response(c, t);
	t->state = ENDED;
	/* The other side takes it while the next one is read, and that one finds this one's buffer still in the CPU's cache. */
	return !r && c->peer.link.queued >= ZD_LINK_BURST ? zd_link_flush(&c->peer.link) : r;
}

/* It ends without having been carried out. */
static int refuse(struct connection *c, struct task *t, uint32_t status)
{
	t->nvme.status = (uint16_t)status;
	t->nvme.result = t->nvme.in_length = 0;
	return answer(c, t);
}

static int refuse_for_good(struct connection *c, struct task *t, uint32_t status)
{
	return refuse(c, t, status | ZD_NVME_DO_NOT_RETRY);
}

/* ---------------------------------------------------------------- carrying out */

static void ended(struct zd_nvme_command *command)
{
	struct task *t = (struct task *)command;

	zd_work_ended(&t->work);
}

static void carry_out(struct zd_peer *peer, struct zd_work *work)
{
	zd_nvme_exec(connection_of(peer)->queue, &task_of(work)->nvme);
}

static void abandon(struct zd_work *work)
{
	task_of(work)->nvme.status = ZD_NVME_QUEUE_DELETED;
}

static int answer_work(struct zd_peer *peer, struct zd_work *work)
{
	return answer(connection_of(peer), task_of(work));
}

static void release_work(struct zd_peer *peer, struct zd_work *work)
{
	release(connection_of(peer), task_of(work));
}

const struct zd_commands zd_nvmetcp_commands = { carry_out, abandon, answer_work, release_work };

/* It may wait for the host's disk, and nothing that follows needs it to be done first: FLUSH; FORMAT NVM and SANITIZE. */
static bool is_slow(const struct connection *c, const struct task *t)
{
	uint8_t opcode = t->nvme.sqe[0];

	return c->how.queue ? opcode == 0x00 : opcode == 0x80 || opcode == 0x84;
}

/* KEEP ALIVE, and what sets its timeout. */
static bool is_sign_of_life(const uint8_t *sqe)
{
	return sqe[0] == KEEP_ALIVE || (sqe[0] == SET_FEATURES && sqe[40] == KEEP_ALIVE_TIMER);
}

static int run(struct connection *c, struct task *t)
{
	t->state = RUNNING;
	t->nvme.size = sizeof(t->nvme);
	t->nvme.done = ended;
	if (!c->how.queue && is_sign_of_life(t->nvme.sqe))
		atomic_store(&c->controller->heard, zd_now());
	return zd_peer_run(&c->peer, &t->work, is_slow(c, t));
}

static void drop_waiting(struct connection *c)
{
	for (uint32_t i = 0; i < c->nr_slots; i++)
		if (c->tasks[i].state == PARKED || c->tasks[i].state == INCOMING) {
			atomic_fetch_sub_explicit(&c->peer.under_way, 1, memory_order_relaxed);
			release(c, &c->tasks[i]);
		}
	c->parked = NULL;
	c->last_parked = &c->parked;
}

void zd_nvmetcp_silence(struct connection *c)
{
	drop_waiting(c);
	for (uint32_t i = 0; i < c->nr_slots; i++)
		if (c->tasks[i].state == RUNNING && &c->tasks[i] != c->fabrics)
			atomic_store(&c->tasks[i].work.aborted, 1);
}

void zd_nvmetcp_forget_tasks(struct connection *c)
{
	drop_waiting(c);
	zd_peer_collect(&c->peer);
	zd_nvmetcp_sent(c);
}

/* ---------------------------------------------------------------- memory */

/* Those that need none, or what there is. false: it has to wait. */
static bool has_room(struct connection *c, struct task *t)
{
	uint64_t length = t->expect ? t->expect : t->room;

	if (!length)
		return true;
	t->buffer = zd_buffer_get(&c->peer.buffers, length);
	if (!t->buffer && c->peer.link.nr_parts && !zd_link_flush(&c->peer.link)) /* buffers of answers come back by that */
		t->buffer = zd_buffer_get(&c->peer.buffers, length);
	return t->buffer != NULL;
}

static int ask_for_data(struct connection *c, struct task *t)
{
	uint8_t *head;
	int err;

	head = zd_nvmetcp_begin(c, READY_TO_TRANSFER, DATA_HEADER, &err);
	if (!head)
		return err;
	t->state = INCOMING;
	t->tag = c->next_tag++;
	put16le(head + AT_CID, t->cid);
	put16le(head + AT_TAG, t->tag);
	put32le(head + AT_LENGTH, t->expect);
	zd_nvmetcp_send(c, head, NULL, 0);
	return 0;
}

/* It has its memory. */
static int begin(struct connection *c, struct task *t)
{
	if (t->expect)
		return ask_for_data(c, t);
	if (t->room) {
		t->part = (struct iovec){ t->buffer->data, t->room };
		t->nvme.in = &t->part;
		t->nvme.nr_in = 1;
	}
	return run(c, t);
}

static int begin_or_park(struct connection *c, struct task *t)
{
	if (has_room(c, t))
		return begin(c, t);
	t->state = PARKED;
	t->behind = NULL;
	*c->last_parked = t;
	c->last_parked = &t->behind;
	return 0;
}

int zd_nvmetcp_unpark(struct connection *c)
{
	struct task *t = c->parked, *next;
	int r = 0;

	c->parked = NULL;
	c->last_parked = &c->parked;
	for (; t; t = next) {
		next = t->behind;
		/* Where the connection is over, they are forgotten with the others. */
		if (!r)
			r = begin_or_park(c, t);
	}
	return r;
}

/* ---------------------------------------------------------------- data from the host */

int zd_nvmetcp_data(struct connection *c)
{
	const uint8_t *head = c->head;
	uint32_t offset = get32le(head + AT_OFFSET), length = get32le(head + AT_LENGTH);
	struct task *t = find(c, get16le(head + AT_CID));
	bool last = head[AT_FLAGS] & LAST;
	int r;

	if (length != c->length)
		return zd_nvmetcp_disturbed(c, INVALID_HEADER, AT_LENGTH, "a PDU has another length of data than it says");
	if (!t || t->state != INCOMING)
		return zd_nvmetcp_disturbed(c, INVALID_HEADER, AT_CID, "data came for a command that asked for none");
	if (t->tag != get16le(head + AT_TAG))
		return zd_nvmetcp_disturbed(c, INVALID_HEADER, AT_TAG, "data came with a tag that no R2T had");
	if (offset != t->received || length > t->expect - t->received)
		return zd_nvmetcp_disturbed(c, OUT_OF_RANGE, AT_OFFSET, "data came from beyond what an R2T asked for");
	if (last != (offset + length == t->expect))
		return zd_nvmetcp_disturbed(c, INVALID_HEADER, AT_FLAGS,
					    "the last data of a command is not marked so, or other data is");
	r = zd_nvmetcp_segment(c, t->buffer->data + t->received, length);
	if (r)
		return r;
	t->received += length;
	zd_count(&c->peer.bytes_in, length);
	if (c->bad_data)
		t->nvme.status = TRANSIENT_TRANSPORT_ERROR; /* once all has come */
	if (!last)
		return 0;
	if (t->nvme.status)
		return refuse(c, t, t->nvme.status);
	t->part = (struct iovec){ t->buffer->data, t->expect };
	t->nvme.out = &t->part;
	t->nvme.nr_out = 1;
	return run(c, t);
}

/* What is in the capsule is read in any case: into a buffer of the command, if that is to have it. */
static int take_capsule(struct connection *c, struct task *t, bool wanted)
{
	if (wanted)
		t->buffer = zd_buffer_get(&c->peer.buffers, c->length);
	if (wanted && !t->buffer && c->peer.link.nr_parts && !zd_link_flush(&c->peer.link))
		t->buffer = zd_buffer_get(&c->peer.buffers, c->length);
	zd_count(&c->peer.bytes_in, c->length);
	return zd_nvmetcp_segment(c, t->buffer ? t->buffer->data : NULL, c->length);
}

/* ---------------------------------------------------------------- a command */

static struct task *take_slot(struct connection *c, int *r)
{
	struct task *t = free_slot(c);

	*r = 0;
	if (!t) {
		*r = zd_link_flush(&c->peer.link);
		t = *r ? NULL : free_slot(c);
	}
	if (!t && !*r)
		*r = zd_nvmetcp_disturbed(c, SEQUENCE, 0, "there are more commands under way than the queue has entries");
	return t;
}

static void fill(struct connection *c, struct task *t)
{
	memset(&t->nvme, 0, sizeof(t->nvme));
	memcpy(t->nvme.sqe, c->head + COMMON, SQE);
	t->buffer = NULL;
	t->part = (struct iovec){ 0 };
	t->expect = t->room = t->received = 0;
	t->cid = get16le(t->nvme.sqe + 2);
	t->state = RUNNING;
	atomic_store_explicit(&t->work.aborted, 0, memory_order_relaxed);
	c->sqhd = c->how.no_flow_control ? 0 : (c->sqhd + 1) % c->how.depth;
	atomic_fetch_add_explicit(&c->peer.under_way, 1, memory_order_relaxed);
	zd_count(&c->peer.nr_commands, 1);
}

static int run_fabrics(struct connection *c, struct task *t)
{
	int r, told;

	c->fabrics = t;
	r = zd_nvmetcp_fabrics(c, &t->nvme);
	if (r == ZD_PEER_LEAVING)
		return r;
	c->fabrics = NULL;
	told = answer(c, t);
	return told ? told : r;
}

void zd_nvmetcp_farewell(struct zd_peer *peer)
{
	struct connection *c = connection_of(peer);

	if (c->fabrics)
		send_response(c, c->fabrics); /* what the link gives is the end in any case */
}

/* What is in the capsule is read; whether that is the end, for the command or the connection: *r. */
static bool is_lost(struct connection *c, struct task *t, bool wanted, int *r)
{
	*r = take_capsule(c, t, wanted);
	if (!*r && c->bad_data) {
		*r = refuse(c, t, TRANSIENT_TRANSPORT_ERROR);
		return true;
	}
	return *r != 0;
}

/* Data that came in the capsule, at the offset that the descriptor says. */
static int with_capsule(struct connection *c, struct task *t, uint64_t out)
{
	uint64_t offset = get64le(t->nvme.sqe + AT_SGL);
	uint32_t length = get32le(t->nvme.sqe + AT_SGL + 8);
	int r;

	if (is_lost(c, t, true, &r))
		return r;
	if (offset > c->length)
		return refuse_for_good(c, t, BAD_OFFSET);
	if (length > c->length - offset || length < out)
		return refuse_for_good(c, t, ZD_NVME_DATA_LENGTH);
	if (!t->buffer && c->length)
		return refuse(c, t, INTERRUPTED); /* the host gives it again */
	if (length) {
		t->part = (struct iovec){ t->buffer->data + offset, length };
		t->nvme.out = &t->part;
		t->nvme.nr_out = 1;
	}
	return run(c, t);
}

static int with_transfer(struct connection *c, struct task *t, uint64_t out, uint64_t in)
{
	uint32_t length = get32le(t->nvme.sqe + AT_SGL + 8);
	int r;

	if (is_lost(c, t, false, &r))
		return r;
	if (length < out)
		return refuse_for_good(c, t, ZD_NVME_DATA_LENGTH);
	t->expect = (uint32_t)out;
	t->room = out ? 0 : (uint32_t)(length < in ? length : in);
	return begin_or_park(c, t);
}

int zd_nvmetcp_command(struct connection *c)
{
	uint64_t out = 0, in = 0;
	uint8_t descriptor;
	struct task *t;
	bool conflict = find(c, get16le(c->head + COMMON + 2)) != NULL;
	int r;

	t = take_slot(c, &r);
	if (!t)
		return r;
	fill(c, t);
	if (conflict || (t->nvme.sqe[1] & 0xC0) != 0x40) {
		r = take_capsule(c, t, false);
		return r ? r : refuse_for_good(c, t, conflict ? CID_CONFLICT : ZD_NVME_INVALID_FIELD);
	}
	if (t->nvme.sqe[0] == FABRICS || !zd_nvmetcp_is_enabled(c->controller)) {
		r = take_capsule(c, t, false);
		if (r)
			return r;
		return t->nvme.sqe[0] == FABRICS ? run_fabrics(c, t) : refuse_for_good(c, t, ZD_NVME_SEQUENCE_ERROR);
	}
	zd_nvme_transfer(c->queue, t->nvme.sqe, &out, &in);
	descriptor = t->nvme.sqe[AT_SGL + 15];
	if (out && descriptor == IN_CAPSULE)
		return with_capsule(c, t, out);
	if (!out && !in) {
		r = take_capsule(c, t, false);
		return r ? r : run(c, t);
	}
	if (descriptor == BY_TRANSPORT)
		return with_transfer(c, t, out, in);
	r = take_capsule(c, t, false);
	return r ? r : refuse_for_good(c, t, BAD_SGL_TYPE);
}
