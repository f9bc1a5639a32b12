/* SPDX-License-Identifier: Apache-2.0 */
/* What stands where in PDUs of RFC 7143 11, as far as more than one place needs it. */
#ifndef ZD_SERVE_ISCSI_PDU_H
#define ZD_SERVE_ISCSI_PDU_H

#include "base/bigendian.h"

#define BHS 48
#define NOBODY 0xFFFFFFFFu /* the reserved task tag */

enum opcode {
	NOP_OUT = 0x00,
	SCSI_COMMAND = 0x01,
	TASK_MANAGEMENT = 0x02,
	LOGIN = 0x03,
	TEXT_REQUEST = 0x04,
	DATA_OUT = 0x05,
	LOGOUT = 0x06,
	SNACK = 0x10,
	NOP_IN = 0x20,
	SCSI_RESPONSE = 0x21,
	TASK_MANAGEMENT_RESPONSE = 0x22,
	TEXT_RESPONSE = 0x24,
	DATA_IN = 0x25,
	LOGOUT_RESPONSE = 0x26,
	R2T = 0x31,
	ASYNC_MESSAGE = 0x32,
	REJECT = 0x3F
};

#define IMMEDIATE 0x40 /* byte 0 */
#define FINAL 0x80     /* byte 1 */

/* Reasons of a reject (11.17.1). */
#define BAD_DATA_DIGEST 0x02
#define SNACK_REJECTED 0x03
#define PROTOCOL_ERROR 0x04
#define NOT_SUPPORTED 0x05
#define TOO_MANY_IMMEDIATE 0x06
#define TASK_IN_PROGRESS 0x07
#define INVALID_FIELD 0x09

/* Offsets in the basic header segment. */
#define AT_AHS 4
#define AT_LENGTH 5
#define AT_LUN 8
#define AT_ITT 16
#define AT_TTT 20 /* and expected data transfer length, referenced task tag, CID */
#define AT_CMD_SN 24
#define AT_STAT_SN 24
#define AT_EXP_CMD_SN 28
#define AT_MAX_CMD_SN 32
#define AT_CDB 32
#define AT_DATA_SN 36
#define AT_OFFSET 40
#define AT_RESIDUAL 44

#endif
