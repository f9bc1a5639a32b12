/* SPDX-License-Identifier: Apache-2.0 */
/* A connection's life. One PDU after the other is read and done; what is answered is queued, and sent before anybody waits. */
#include "serve/nvmetcp/nvmetcp.h"

#define TICK_MS 500      /* an admin queue looks after its host and its disks as often */
#define PARKED_MS 20     /* memory that others give back is looked for as often */
#define SLACK_MS 1000    /* beyond the timeout: the granularity that IDENTIFY tells (KAS) */
#define MOST_OF_TERM 152 /* bytes of a PDU that ends a connection */

/* ---------------------------------------------------------------- out */

uint8_t *zd_nvmetcp_begin(struct connection *c, uint8_t type, uint8_t length, int *err)
{
	uint8_t *head = zd_link_head(&c->peer.link, err);

	if (!head)
		return NULL;
	head[AT_TYPE] = type;
	head[AT_HEADER_LENGTH] = length;
	return head;
}

void zd_nvmetcp_send(struct connection *c, uint8_t *head, const void *data, uint64_t length)
{
	uint32_t header = head[AT_HEADER_LENGTH], offset = header + (c->how.header_digest ? 4 : 0);
	uint32_t align = (c->how.align + 1u) * 4, crc;
	uint8_t *behind = head + ZD_LINK_HEAD - 4;

	if (length) {
		offset = (offset + align - 1) / align * align;
		head[AT_DATA_OFFSET] = (uint8_t)offset;
	}
	head[AT_FLAGS] |= (c->how.header_digest ? HEADER_DIGEST : 0) | (length && c->how.data_digest ? DATA_DIGEST : 0);
	put32le(head + AT_PDU_LENGTH, (uint32_t)(offset + length + (length && c->how.data_digest ? 4 : 0)));
	if (c->how.header_digest) {
		crc = zd_crc32c(0, head, header);
		put32le(head + header, crc);
	}
	zd_link_put(&c->peer.link, head, offset);
	if (!length)
		return;
	zd_link_put(&c->peer.link, data, length);
	if (!c->how.data_digest)
		return;
	crc = zd_crc32c(0, data, length);
	put32le(behind, crc);
	zd_link_put(&c->peer.link, behind, 4);
}

int zd_nvmetcp_disturbed(struct connection *c, enum fatal status, uint32_t information, const char *why)
{
	uint32_t length = c->head[AT_HEADER_LENGTH];
	uint8_t *head;
	int err;

	c->peer.disturbed = why;
	head = zd_nvmetcp_begin(c, TERMINATES, TERMINATES_HEADER, &err);
	if (!head)
		return ZD_PEER_DISTURBED;
	/* Without digests, and behind it the header that was wrong. */
	if (length > CAPSULE_HEADER || length < COMMON)
		length = COMMON;
	put32le(head + AT_PDU_LENGTH, TERMINATES_HEADER + length);
	put16le(head + 8, status);
	put32le(head + 10, information);
	memcpy(head + TERMINATES_HEADER, c->head, length);
	zd_link_put(&c->peer.link, head, TERMINATES_HEADER + length);
	return ZD_PEER_DISTURBED;
}

/* ---------------------------------------------------------------- in */

int zd_nvmetcp_segment(struct connection *c, uint8_t *to, uint64_t keep)
{
	return zd_link_segment(&c->peer.link, to, keep, c->length, 0, c->how.data_digest, &c->bad_data);
}

/* "Its host ended the connection" is all that is made of it. */
static int terminated(struct connection *c, uint32_t length)
{
	int r;

	if (length < TERMINATES_HEADER || length > MOST_OF_TERM)
		return zd_nvmetcp_disturbed(c, INVALID_HEADER, AT_PDU_LENGTH,
					    "a PDU that ends the connection has a length that none has");
	r = zd_link_need(&c->peer.link, length);
	if (r)
		return r;
	c->peer.disturbed = "its host ended the connection, by an H2CTermReq";
	zd_peer_say(&c->peer, "%s: fatal error status %02xh", c->peer.disturbed, get16le(zd_link_at(&c->peer.link) + COMMON));
	return ZD_PEER_LEAVING;
}

/* Where the data begins and how long it is; 0, or what is wrong was told. */
static int measure(struct connection *c, uint32_t header, uint32_t whole)
{
	uint32_t offset = c->head[AT_DATA_OFFSET], behind = c->how.data_digest ? 4 : 0;
	uint32_t most = c->head[AT_TYPE] == HOST_DATA ? ZD_NVMETCP_SEGMENT :
			c->how.queue                  ? ZD_NVMETCP_IN_CAPSULE :
							ZD_NVMETCP_ADMIN_CAPSULE;

	c->length = 0;
	if (whole < header)
		return zd_nvmetcp_disturbed(c, INVALID_HEADER, AT_PDU_LENGTH, "a PDU is shorter than its header");
	if (whole == header && c->head[AT_TYPE] == CAPSULE)
		return 0;
	if (offset < header || offset % 4 || whole <= offset + behind)
		return zd_nvmetcp_disturbed(c, INVALID_HEADER, AT_DATA_OFFSET, "the data of a PDU lies where none can lie");
	if (!(c->head[AT_FLAGS] & DATA_DIGEST) != !c->how.data_digest)
		return zd_nvmetcp_disturbed(c, INVALID_HEADER, AT_FLAGS,
					    "a PDU has a data digest, or none, against what was agreed on");
	c->length = whole - offset - behind;
	if (c->length > most)
		return zd_nvmetcp_disturbed(c, LIMIT_EXCEEDED, AT_PDU_LENGTH,
					    "a PDU brings more data than the host was told it may");
	return 0;
}

static int one_pdu(struct connection *c)
{
	struct zd_link *link = &c->peer.link;
	uint32_t header, length, whole;
	const uint8_t *at;
	int r;

	c->between = zd_link_has(link) == 0;
	r = zd_link_need(link, 1);
	c->between = false;
	if (!r)
		r = zd_link_need(link, COMMON);
	if (r)
		return r;
	at = zd_link_at(link);
	memcpy(c->head, at, COMMON);
	whole = get32le(at + AT_PDU_LENGTH);
	switch (at[AT_TYPE]) {
	case CAPSULE: length = CAPSULE_HEADER; break;
	case HOST_DATA: length = DATA_HEADER; break;
	case HOST_TERMINATES: return terminated(c, whole);
	case IC_REQUEST: return zd_nvmetcp_disturbed(c, SEQUENCE, 0, "a connection is begun a second time");
	default: return zd_nvmetcp_disturbed(c, INVALID_HEADER, AT_TYPE, "there is no PDU of that type from hosts");
	}
	if (at[AT_HEADER_LENGTH] != length)
		return zd_nvmetcp_disturbed(c, INVALID_HEADER, AT_HEADER_LENGTH,
					    "a PDU has a header of another length than its type has");
	if (!(at[AT_FLAGS] & HEADER_DIGEST) != !c->how.header_digest)
		return zd_nvmetcp_disturbed(c, INVALID_HEADER, AT_FLAGS,
					    "a PDU has a header digest, or none, against what was agreed on");
	header = length + (c->how.header_digest ? 4 : 0);
	r = zd_link_need(link, header);
	if (r)
		return r;
	at = zd_link_at(link);
	memcpy(c->head, at, length);
	if (c->how.header_digest && zd_crc32c(0, at, length) != get32le(at + length))
		return zd_nvmetcp_disturbed(c, WRONG_HEADER_DIGEST, get32le(at + length), "a header digest is wrong");
	r = measure(c, header, whole);
	if (!r && c->length) {
		header = c->head[AT_DATA_OFFSET];
		r = zd_link_need(link, header);
	}
	if (r)
		return r;
	zd_link_pass(link, header);
	r = c->head[AT_TYPE] == CAPSULE ? zd_nvmetcp_command(c) : zd_nvmetcp_data(c);
	c->silent_ms = 0;
	return r;
}

/* ---------------------------------------------------------------- life */

/* The host of an admin queue is there; -ETIMEDOUT: it did not say so for too long. */
static int watch(struct connection *c)
{
	uint32_t timeout = zd_nvme_keep_alive(c->controller->nvme);
	uint64_t heard = atomic_load(&c->controller->heard);

	if (!timeout || zd_now() - heard < ((uint64_t)timeout + SLACK_MS) * 1000000u)
		return 0;
	zd_nvmetcp_fail(c->controller);
	c->peer.disturbed = "its host sent no KEEP ALIVE for longer than it had said";
	return ZD_PEER_DISTURBED;
}

static int look_after(struct connection *c)
{
	int r = c->parked ? zd_nvmetcp_unpark(c) : 0;

	c->peer.link.idle_ms = c->parked ? PARKED_MS : TICK_MS;
	return r;
}

static int woken(void *arg)
{
	struct connection *c = arg;
	int r = zd_peer_collect(&c->peer);

	return r ? r : look_after(c);
}

static int idle(void *arg)
{
	struct connection *c = arg;
	int r;

	c->silent_ms += c->between ? 0 : c->peer.link.idle_ms;
	if (c->silent_ms > c->peer.link.stall_ms)
		return -ETIMEDOUT;
	if (!c->how.queue) {
		r = watch(c);
		if (r)
			return r;
		zd_nvme_look(c->controller->nvme); /* ends requests for events, which wakes this thread */
	}
	return look_after(c);
}

static void sent(void *arg)
{
	zd_nvmetcp_sent(arg);
}

void zd_nvmetcp_prepare(struct connection *c)
{
	struct zd_link *link = &c->peer.link;

	link->idle_ms = TICK_MS;
	link->stall_ms = c->target->limits.stall_ms;
	link->woken = woken;
	link->idle = idle;
	link->sent = sent;
	link->arg = c;
	c->last_parked = &c->parked;
}

int zd_nvmetcp_serve(struct zd_peer *peer)
{
	struct connection *c = connection_of(peer);
	int r = 0;

	while (!r) {
		r = one_pdu(c);
		if (!r && c->parked)
			r = look_after(c);
		if (!r && !c->how.queue)
			r = watch(c);
	}
	c->closing = true;
	return r;
}
