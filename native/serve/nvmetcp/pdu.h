/* SPDX-License-Identifier: Apache-2.0 */
/* What stands where in PDUs of the NVMe/TCP transport, in Fabrics commands and in completions, as far as this room needs it. */
#ifndef ZD_SERVE_NVMETCP_PDU_H
#define ZD_SERVE_NVMETCP_PDU_H

#include "base/littleendian.h"

#define COMMON 8 /* bytes of the common header */
#define SQE 64

enum pdu_type {
	IC_REQUEST = 0x00,
	HOST_TERMINATES = 0x02,
	TERMINATES = 0x03,
	CAPSULE = 0x04,
	RESPONSE = 0x05,
	HOST_DATA = 0x06,
	DATA = 0x07,
	READY_TO_TRANSFER = 0x09
};

/* Lengths of headers. */
#define CAPSULE_HEADER (COMMON + SQE)
#define RESPONSE_HEADER 24
#define DATA_HEADER 24 /* of both directions, and of R2T */
#define TERMINATES_HEADER 24

/* Offsets in the common header. */
#define AT_TYPE 0
#define AT_FLAGS 1
#define AT_HEADER_LENGTH 2
#define AT_DATA_OFFSET 3
#define AT_PDU_LENGTH 4

/* Flags. */
#define HEADER_DIGEST 0x01
#define DATA_DIGEST 0x02
#define LAST 0x04
#define SUCCESS 0x08 /* no response follows */

/* Offsets in data PDUs and R2T. */
#define AT_CID 8
#define AT_TAG 10
#define AT_OFFSET 12
#define AT_LENGTH 16

/* Offsets in a response: those of the completion queue entry, behind the common header. */
#define AT_RESULT 8
#define AT_SQHD 16
#define AT_RESPONSE_CID 20
#define AT_STATUS 22

/* Why a connection is ended: fatal error status. */
enum fatal {
	INVALID_HEADER = 0x01, /* the information is the offset of the wrong field */
	SEQUENCE = 0x02,
	WRONG_HEADER_DIGEST = 0x03, /* the digest that came */
	OUT_OF_RANGE = 0x04,
	LIMIT_EXCEEDED = 0x05,
	UNSUPPORTED = 0x06
};

/* Offsets in a submission queue entry. */
#define AT_SGL 24
#define AT_FABRICS_TYPE 4

/* The last byte of an SGL descriptor: type and subtype. */
#define IN_CAPSULE 0x01
#define BY_TRANSPORT 0x5A

/* Fabrics commands. */
#define FABRICS 0x7F
#define PROPERTY_SET 0x00
#define PROPERTY_GET 0x04
#define DISCONNECT 0x08

/* Status codes of the transport's own doing. */
#define CID_CONFLICT 0x003
#define BAD_SGL_TYPE 0x011
#define BAD_OFFSET 0x016
#define TRANSIENT_TRANSPORT_ERROR 0x022
#define INVALID_QUEUE_TYPE 0x101
#define INTERRUPTED 0x021

#endif
