/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sense data that is no broken rule of the disk: what a SCSI door says about CDBs, parameters, reservations and about
 * itself. The rows stand in status.c, beside those of the rules.
 */
#ifndef ZD_RULES_SENSE_H
#define ZD_RULES_SENSE_H

#include <stdint.h>

enum zd_sense {
	ZD_SENSE_NONE,
	ZD_SENSE_INVALID_OPCODE,
	ZD_SENSE_INVALID_FIELD_IN_CDB,
	ZD_SENSE_LBA_OUT_OF_RANGE,
	ZD_SENSE_UNIT_NOT_SUPPORTED,
	ZD_SENSE_PARAMETER_LIST_LENGTH,
	ZD_SENSE_INVALID_FIELD_IN_PARAMETERS,
	ZD_SENSE_INVALID_RELEASE,
	ZD_SENSE_NO_REGISTRATION_ROOM,
	ZD_SENSE_SAVING_NOT_SUPPORTED,
	ZD_SENSE_MISCOMPARE,
	ZD_SENSE_STOPPED,
	ZD_SENSE_WRITE_PROTECTED,
	ZD_SENSE_SOFTWARE_WRITE_PROTECTED,
	ZD_SENSE_SPACE_EXHAUSTED,
	ZD_SENSE_INTERNAL_FAILURE,
	ZD_SENSE_NO_RESOURCES,
	/* Unit attentions, in the order in which they are told. */
	ZD_SENSE_POWER_ON,
	ZD_SENSE_RESET,
	ZD_SENSE_NEXUS_LOSS,
	ZD_SENSE_MEDIUM_CHANGED,
	ZD_SENSE_LUNS_CHANGED,
	ZD_SENSE_CAPACITY_CHANGED,
	ZD_SENSE_MODE_CHANGED,
	ZD_SENSE_PARAMETERS_CHANGED,
	ZD_SENSE_RESERVATIONS_PREEMPTED,
	ZD_SENSE_RESERVATIONS_RELEASED,
	ZD_SENSE_REGISTRATIONS_PREEMPTED,
	ZD_NR_SENSES
};
#define ZD_SENSE_FIRST_ATTENTION ZD_SENSE_POWER_ON

struct zd_sense_codes {
	uint8_t key, asc, ascq;
};

/* The row of one of enum zd_sense. */
struct zd_sense_codes zd_sense_codes(int sense);
/* What a SCSI host is told of any code of zd.h: a rule's row, or what fits the failure of host or image. */
struct zd_sense_codes zd_sense_of(int code, int dialect);

#endif
