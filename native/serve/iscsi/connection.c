/* SPDX-License-Identifier: Apache-2.0 */
/* A connection's life. One PDU after the other is read and done; what is answered is queued, and sent before anybody waits. */
#include "serve/iscsi/iscsi.h"

int zd_iscsi_disturbed(struct connection *c, const char *why)
{
	c->peer.disturbed = why;
	return ZD_PEER_DISTURBED;
}

/* ---------------------------------------------------------------- out */

static uint32_t window(const struct connection *c)
{
	return c->exp_cmd_sn + ZD_ISCSI_WINDOW - c->commands - 1;
}

uint8_t *zd_iscsi_begin(struct connection *c, uint8_t opcode, uint32_t itt, bool status, int *err)
{
	uint8_t *head = zd_link_head(&c->peer.link, err);

	if (!head)
		return NULL;
	head[0] = opcode;
	head[1] = FINAL;
	put32(head + AT_ITT, itt);
	put32(head + AT_STAT_SN, c->stat_sn);
	c->stat_sn += status;
	put32(head + AT_EXP_CMD_SN, c->exp_cmd_sn);
	put32(head + AT_MAX_CMD_SN, window(c));
	return head;
}

void zd_iscsi_send(struct connection *c, uint8_t *head, const void *data, uint32_t length)
{
	uint8_t *behind = head + BHS + 4; /* padding and data digest, behind the header and its digest */
	uint32_t pad = -length & 3;

	put24(head + AT_LENGTH, length);
	if (c->login.header_digest) {
		uint32_t crc = zd_crc32c(0, head, BHS);

		memcpy(head + BHS, &crc, 4); /* least significant byte first: 13.1 */
	}
	zd_link_put(&c->peer.link, head, BHS + (c->login.header_digest ? 4 : 0));
	if (!length)
		return;
	zd_link_put(&c->peer.link, data, length);
	if (c->login.data_digest) {
		uint32_t crc = zd_crc32c(zd_crc32c(0, data, length), behind, pad);

		memcpy(behind + pad, &crc, 4);
	}
	zd_link_put(&c->peer.link, behind, pad + (c->login.data_digest ? 4 : 0));
}

void zd_iscsi_send_copy(struct connection *c, uint8_t *head, const void *data, uint32_t length)
{
	memcpy(head + BHS + 12, data, length);
	zd_iscsi_send(c, head, head + BHS + 12, length);
}

/* ---------------------------------------------------------------- in */

int zd_iscsi_segment(struct connection *c, uint8_t *to, uint64_t keep)
{
	return zd_link_segment(&c->peer.link, to, keep, c->length, -c->length & 3, c->login.data_digest, &c->bad_data);
}

/*
 * A request's CmdSN. One connection brings them in order, so that a number beyond the next one means that a request is
 * missing, which error recovery level 0 cannot mend.
 */
enum sequel { TAKE, IGNORE, GAP };

static enum sequel sequence(struct connection *c)
{
	uint32_t number = get32(c->bhs + AT_CMD_SN);
	int32_t ahead = (int32_t)(number - c->exp_cmd_sn);

	if (c->bhs[0] & IMMEDIATE)
		return TAKE;
	if (ahead < 0 || (int32_t)(number - window(c)) > 0)
		return IGNORE;
	if (ahead > 0)
		return GAP;
	c->exp_cmd_sn++;
	return TAKE;
}

static int unknown(struct connection *c)
{
	int r = zd_iscsi_segment(c, NULL, 0);

	return r ? r : zd_iscsi_reject(c, (c->bhs[0] & 0x3F) == SNACK ? SNACK_REJECTED : NOT_SUPPORTED);
}

/* more: additional header segments, still in the link's buffer. */
static int dispatch(struct connection *c, const uint8_t *more, uint32_t more_length)
{
	uint8_t opcode = c->bhs[0] & 0x3F;

	switch (opcode) {
	case DATA_OUT: return zd_iscsi_data_out(c);
	case SCSI_COMMAND:
	case NOP_OUT:
	case TASK_MANAGEMENT:
	case TEXT_REQUEST:
	case LOGOUT: break;
	default: return unknown(c);
	}
	switch (sequence(c)) {
	case IGNORE: return zd_iscsi_segment(c, NULL, 0);
	case GAP: return zd_iscsi_disturbed(c, "a command is missing: CmdSN is beyond the next one");
	case TAKE: break;
	}
	switch (opcode) {
	case SCSI_COMMAND: return zd_iscsi_command(c, more, more_length);
	case NOP_OUT: return zd_iscsi_nop(c);
	case TASK_MANAGEMENT: return zd_iscsi_manage(c);
	case TEXT_REQUEST: return zd_iscsi_text(c);
	default: return zd_iscsi_logout(c);
	}
}

static int one_pdu(struct connection *c)
{
	uint32_t more, header;
	const uint8_t *at;
	int r;

	c->between = zd_link_has(&c->peer.link) == 0;
	r = zd_link_need(&c->peer.link, 1);
	c->between = false;
	if (!r)
		r = zd_link_need(&c->peer.link, BHS);
	if (r)
		return r;
	more = zd_link_at(&c->peer.link)[AT_AHS] * 4u;
	header = BHS + more + (c->login.header_digest ? 4 : 0);
	r = zd_link_need(&c->peer.link, header);
	if (r)
		return r;
	at = zd_link_at(&c->peer.link);
	if (c->login.header_digest) {
		uint32_t crc = zd_crc32c(0, at, BHS + more);

		if (memcmp(at + BHS + more, &crc, 4))
			return zd_iscsi_disturbed(c, "a header digest is wrong");
	}
	memcpy(c->bhs, at, BHS);
	c->length = get24(c->bhs + AT_LENGTH);
	if (c->length > ZD_ISCSI_SEGMENT) {
		r = zd_iscsi_reject(c, PROTOCOL_ERROR);
		return r ? r : zd_iscsi_disturbed(c, "a data segment is longer than MaxRecvDataSegmentLength");
	}
	zd_link_pass(&c->peer.link, header);
	return dispatch(c, at + BHS, more); /* the bytes stay until somebody waits for more */
}

/* ---------------------------------------------------------------- life */

static int woken(void *arg)
{
	struct connection *c = arg;
	int r = zd_peer_collect(&c->peer);

	return r || !c->between ? r : zd_iscsi_orders(c);
}

static int idle(void *arg)
{
	int r = zd_iscsi_check_power(arg, ZD_SCSI_MAX_LUNS);

	if (!r)
		r = zd_iscsi_ping(arg);
	return r ? r : 1;
}

static void sent(void *arg)
{
	zd_iscsi_sent(arg);
}

static void stuck(void *arg)
{
	zd_iscsi_stuck(arg);
}

int zd_iscsi_serve(struct zd_peer *peer)
{
	struct connection *c = connection_of(peer);
	int r = 0;

	while (!r) {
		r = one_pdu(c);
		if (!r && atomic_load_explicit(&c->orders, memory_order_relaxed))
			r = zd_iscsi_orders(c);
	}
	c->closing = true;
	return r;
}

void zd_iscsi_prepare(struct connection *c)
{
	struct zd_link *link = &c->peer.link;

	link->idle_ms = c->target->limits.idle_ms;
	link->stall_ms = c->target->limits.stall_ms;
	link->woken = woken;
	link->idle = idle;
	link->sent = sent;
	link->stuck = stuck;
	link->arg = c;
}
