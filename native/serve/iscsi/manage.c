/* SPDX-License-Identifier: Apache-2.0 */
/* PDUs that are no SCSI commands. */
#include "serve/iscsi/iscsi.h"

int zd_iscsi_reject(struct connection *c, uint8_t reason)
{
	uint8_t *head;
	int err;

	zd_count(&c->rejects, 1);
	head = zd_iscsi_begin(c, REJECT, NOBODY, true, &err);
	if (!head)
		return err;
	head[2] = reason;
	zd_iscsi_send_copy(c, head, c->bhs, BHS);
	return 0;
}

/* ---------------------------------------------------------------- NOP */

int zd_iscsi_nop(struct connection *c)
{
	uint32_t itt = get32(c->bhs + AT_ITT), length = c->length < c->login.max_send ? c->length : c->login.max_send;
	struct zd_buffer *echo = NULL;
	uint8_t *head;
	int r, err;

	/* What is echoed must stay until it is sent, and goes at once: nobody measures by large ones. */
	if (itt != NOBODY && length) {
		echo = zd_buffer_get(&c->peer.buffers, length);
		length = echo ? length : 0;
	}
	r = zd_iscsi_segment(c, echo ? echo->data : NULL, length);
	if (!r)
		r = zd_iscsi_check_power(c, ZD_SCSI_MAX_LUNS); /* a target whose disk is dead does not live */
	if (!r && c->bad_data) {
		r = zd_iscsi_reject(c, BAD_DATA_DIGEST);
	} else if (!r && itt != NOBODY) {
		head = zd_iscsi_begin(c, NOP_IN, itt, true, &err);
		r = head ? 0 : err;
		if (head) {
			memcpy(head + AT_LUN, c->bhs + AT_LUN, 8);
			put32(head + AT_TTT, NOBODY);
			zd_iscsi_send(c, head, echo ? echo->data : NULL, length);
			r = echo ? zd_link_flush(&c->peer.link) : 0;
		}
	}
	zd_buffer_put(&c->peer.buffers, echo);
	return r;
}

int zd_iscsi_ping(struct connection *c)
{
	uint8_t *head;
	int err;

	head = zd_iscsi_begin(c, NOP_IN, NOBODY, false, &err);
	if (!head)
		return err;
	if (++c->ping == NOBODY)
		c->ping = 0;
	put32(head + AT_TTT, c->ping);
	zd_iscsi_send(c, head, NULL, 0);
	return 0;
}

/* ---------------------------------------------------------------- task management */

#define CLEAR_ACA 3
#define REASSIGN 8

/* Responses (11.6.1). */
#define COMPLETE 0
#define NO_TASK 1
#define NO_LUN 2
#define NO_REASSIGN 4
#define NO_FUNCTION 5
#define REJECTED 255

static int tell(struct connection *c, uint32_t itt, uint8_t response)
{
	uint8_t *head;
	int err;

	head = zd_iscsi_begin(c, TASK_MANAGEMENT_RESPONSE, itt, true, &err);
	if (!head)
		return err;
	head[2] = response;
	zd_iscsi_send(c, head, NULL, 0);
	return 0;
}

/* What the executor does not know yet, or has not begun, of the tasks that a function means; how many. */
static uint32_t abort_own(struct connection *c, uint8_t function, const uint8_t *lun, uint32_t referenced)
{
	uint32_t found = 0;

	for (uint32_t i = 0; i < c->nr_slots; i++) {
		struct task *t = &c->tasks[i];

		if (t->state == FREE || t->state == ENDED)
			continue;
		if (function == ZD_SCSI_ABORT_TASK && t->itt != referenced)
			continue;
		if (function < ZD_SCSI_TARGET_WARM_RESET && memcmp(t->scsi.lun, lun, 8))
			continue;
		found++;
		zd_iscsi_abort(c, t);
	}
	return found;
}

static int reset_all(struct connection *c)
{
	int r = zd_link_flush(&c->peer.link);

	if (r)
		return r;
	zd_server_drop_all(&c->target->server);
	return zd_iscsi_disturbed(c, "its initiator reset the target (cold): all connections end");
}

int zd_iscsi_manage(struct connection *c)
{
	uint8_t function = c->bhs[1] & 0x7F, lun[8], response;
	uint32_t itt = get32(c->bhs + AT_ITT), referenced = get32(c->bhs + AT_TTT), found;
	int r = zd_iscsi_segment(c, NULL, 0);

	if (r)
		return r;
	if (function == CLEAR_ACA)
		return tell(c, itt, REJECTED); /* there is no such condition: NACA is 0 */
	if (function == REASSIGN)
		return tell(c, itt, NO_REASSIGN);
	if (!function || function > REASSIGN)
		return tell(c, itt, NO_FUNCTION);
	memcpy(lun, c->bhs + AT_LUN, 8);
	found = abort_own(c, function, lun, referenced);
	if (function >= ZD_SCSI_CLEAR_TASK_SET)
		zd_iscsi_clear_others(c, function >= ZD_SCSI_TARGET_WARM_RESET ? ZD_SCSI_MAX_LUNS : get16(lun) & 0x3FFF);
	switch (zd_scsi_manage(c->nexus, function, lun, referenced)) {
	case -ENOENT: response = found ? COMPLETE : NO_TASK; break;
	case -ENXIO: response = NO_LUN; break;
	case 0: response = COMPLETE; break;
	default: response = NO_FUNCTION; break;
	}
	r = zd_peer_collect(&c->peer); /* those that have ended by it are gone before the answer says so */
	if (!r)
		r = tell(c, itt, response);
	return r || function != ZD_SCSI_TARGET_COLD_RESET ? r : reset_all(c);
}

/* ---------------------------------------------------------------- text */

/* SendTargets of a session of the target (RFC 7143 C): its own name, or nothing for "this one". */
static int answer_text(const struct connection *c, const char *text, uint32_t length, char *out, uint32_t room)
{
	uint32_t used = 0;

	while (length) {
		uint32_t size = (uint32_t)strnlen(text, length), key;
		const char *equals = memchr(text, '=', size);

		key = equals ? (uint32_t)(equals - text) : size;
		if (size && (!equals || key == 0 || key > 63))
			return -EINVAL;
		if (key == 11 && !memcmp(text, "SendTargets", 11)) {
			const char *of = equals + 1;
			uint32_t named = size - 12;
			bool own = !named || (named == strlen(c->target->name) && !memcmp(of, c->target->name, named));

			/* All of them is what discovery sessions ask; others are not this session's business. */
			if (own && used + c->target->targets_length <= room) {
				memcpy(out + used, c->target->targets, c->target->targets_length);
				used += c->target->targets_length;
			} else if (named == 3 && !memcmp(of, "All", 3) && used + 19 <= room) {
				memcpy(out + used, "SendTargets=Reject", 19);
				used += 19;
			}
		} else if (size) {
			if (used + key + 15 > room)
				return -E2BIG;
			memcpy(out + used, text, key);
			memcpy(out + used + key, "=NotUnderstood", 15);
			used += key + 15;
		}
		text += size;
		length -= size;
		if (length) {
			text++;
			length--;
		}
	}
	return (int)used;
}

static int send_text(struct connection *c, const char *text, uint32_t length, uint32_t itt)
{
	uint32_t part = length - c->text_at < c->login.max_send ? length - c->text_at : c->login.max_send;
	bool last = c->text_at + part == length;
	uint8_t *head;
	int err;

	head = zd_iscsi_begin(c, TEXT_RESPONSE, itt, true, &err);
	if (!head)
		return err;
	head[1] = last ? FINAL : 0x40; /* to be continued */
	memcpy(head + AT_LUN, c->bhs + AT_LUN, 8);
	put32(head + AT_TTT, last ? NOBODY : 1);
	zd_iscsi_send(c, head, text + c->text_at, part);
	c->text_at = last ? 0 : c->text_at + part;
	c->text_itt = itt;
	return zd_link_flush(&c->peer.link); /* before the text goes */
}

int zd_iscsi_text(struct connection *c)
{
	uint32_t itt = get32(c->bhs + AT_ITT), ttt = get32(c->bhs + AT_TTT), length = c->length;
	char text[TEXT], out[TEXT];
	bool whole = (c->bhs[1] & 0xC0) == FINAL;
	int r = zd_iscsi_segment(c, (uint8_t *)text, length <= sizeof(text) ? length : 0);

	if (r)
		return r;
	if (c->bad_data)
		return zd_iscsi_reject(c, BAD_DATA_DIGEST);
	if (itt == NOBODY || length > sizeof(text))
		return zd_iscsi_reject(c, INVALID_FIELD);
	if (c->text_at && c->text_at < c->target->targets_length && ttt == 1 && itt == c->text_itt && !length)
		return send_text(c, c->target->targets, c->target->targets_length, itt);
	c->text_at = 0; /* a new request gives up an older one */
	if (!whole || ttt != NOBODY)
		return zd_iscsi_reject(c, PROTOCOL_ERROR);
	r = answer_text(c, text, length, out, sizeof(out));
	if (r < 0)
		return zd_iscsi_reject(c, INVALID_FIELD);
	/* Only the list of targets is ever continued. */
	if ((uint32_t)r > c->login.max_send && (uint32_t)r != c->target->targets_length)
		return zd_iscsi_reject(c, INVALID_FIELD);
	return send_text(c, out, (uint32_t)r, itt);
}

/* ---------------------------------------------------------------- the end */

#define SESSION 0
#define CONNECTION 1

static int answer_logout(struct connection *c, uint8_t response)
{
	uint8_t *head;
	int err;

	head = zd_iscsi_begin(c, LOGOUT_RESPONSE, c->logout_itt, true, &err);
	if (!head)
		return err;
	head[2] = response;
	zd_iscsi_send(c, head, NULL, 0);
	return 0;
}

int zd_iscsi_logout(struct connection *c)
{
	uint8_t reason = c->bhs[1] & 0x7F, response = 0;
	int r = zd_iscsi_segment(c, NULL, 0);

	if (r)
		return r;
	c->logout_itt = get32(c->bhs + AT_ITT);
	if (reason > CONNECTION)
		response = 2; /* no recovery of connections */
	else if (reason == CONNECTION && get16(c->bhs + AT_TTT) != c->login.cid)
		response = 1;
	return response ? answer_logout(c, response) : ZD_PEER_LEAVING;
}

void zd_iscsi_farewell(struct zd_peer *peer)
{
	answer_logout(connection_of(peer), 0); /* what the link gives is the end in any case */
}

static int ask_to_leave(struct connection *c)
{
	uint32_t seconds = (atomic_load(&c->grace_ms) + 999) / 1000;
	uint8_t *head;
	int err;

	head = zd_iscsi_begin(c, ASYNC_MESSAGE, NOBODY, true, &err);
	if (!head)
		return err;
	head[36] = 1; /* the target asks for a logout */
	put16(head + 42, seconds > 0xFFFF ? 0xFFFF : seconds);
	zd_iscsi_send(c, head, NULL, 0);
	return 0;
}

int zd_iscsi_orders(struct connection *c)
{
	uint32_t orders = atomic_exchange(&c->orders, 0);
	int r = 0;

	if (orders & ORDER_CLEAR) {
		uint64_t clear[ZD_SCSI_MAX_LUNS / 64];

		for (uint32_t i = 0; i < ZD_SCSI_MAX_LUNS / 64; i++)
			clear[i] = atomic_exchange(&c->clear[i], 0);
		for (uint32_t i = 0; i < c->nr_slots && !r; i++) {
			struct task *t = &c->tasks[i];
			uint32_t lun = get16(t->scsi.lun) & 0x3FFF;

			if ((t->state == UNSOLICITED || t->state == SOLICITED) && lun < ZD_SCSI_MAX_LUNS &&
			    clear[lun / 64] >> lun % 64 & 1)
				r = zd_iscsi_cleared(c, t);
		}
	}
	return !r && orders & ORDER_LOGOUT ? ask_to_leave(c) : r;
}
