/* SPDX-License-Identifier: Apache-2.0 */
/* IDENTIFY: what subsystem, controller and namespaces are. Offsets as in the standards' figures; what is not set is 0. */
#include "wire/nvme/nvme.h"

#include "base/base.h"

#include <string.h>

#define VERSION 0x00020000 /* 2.0.0 */
#define LBAFE 2816         /* where the zoned formats begin */

/* Controller or Namespace Structure. */
enum cns {
	NAMESPACE = 0x00,
	CONTROLLER = 0x01,
	ACTIVE_LIST = 0x02,
	DESCRIPTORS = 0x03,
	SET_NAMESPACE = 0x05,
	SET_CONTROLLER = 0x06,
	SET_ACTIVE_LIST = 0x07,
	ANY_NAMESPACE = 0x08,
	ATTACHED_CONTROLLERS = 0x12,
	CONTROLLER_LIST = 0x13,
	COMMAND_SETS = 0x1C
};

void zd_nvme_size_identify(const struct zd_nvme_namespace *ns, const uint8_t *sqe, uint64_t *out, uint64_t *in)
{
	(void)ns;
	(void)sqe;
	*out = 0;
	*in = PAGE;
}

static void put_text(uint8_t *to, const char *text, size_t room)
{
	memset(to, ' ', room);
	memcpy(to, text, strnlen(text, room));
}

static uint32_t pages_log2(uint64_t bytes)
{
	return (uint32_t)__builtin_ctzll(bytes / PAGE);
}

static void controller(const zd_nvme_controller *it, uint8_t *d)
{
	const zd_nvme_subsystem *subsystem = it->subsystem;
	const struct zd_nvme_names *names = &subsystem->names;
	uint64_t capacity = 0;

	for (uint32_t i = 1; i <= ZD_NVME_MAX_NAMESPACES; i++)
		if (subsystem->namespaces[i])
			capacity += subsystem->namespaces[i]->blocks << subsystem->namespaces[i]->shift;
	put_text(d + 4, names->serial, 20);
	put_text(d + 24, names->model, 40);
	put_text(d + 64, names->firmware, 8);
	d[76] = 0x02; /* CMIC: the subsystem may have several controllers */
	d[77] = (uint8_t)pages_log2(ZD_NVME_MAX_TRANSFER);
	put16le(d + 78, it->id);
	put32le(d + 80, VERSION);
	put32le(d + 92, 1u << 8 | 1u << 27);  /* OAES: namespace attributes, zone descriptors */
	put32le(d + 96, 1u << 0);             /* CTRATT: host identifiers of 128 bits */
	d[111] = 1;                           /* CNTRLTYPE: I/O controller */
	put16le(d + 256, 1u << 1);            /* OACS: FORMAT NVM */
	d[258] = 3;                           /* ACL, 0's based */
	d[259] = ZD_NVME_MAX_EVENTS - 1;      /* AERL, 0's based */
	d[260] = 1u << 1 | 1u << 0;           /* FRMW: one slot, which can only be read */
	d[261] = 1u << 5 | 1u << 2 | 1u << 1; /* LPA: effects, offsets, supported pages */
	d[262] = ERRORS - 1;                  /* ELPE, 0's based */
	put16le(d + 266, 343);                /* WCTEMP, K */
	put16le(d + 268, 353);                /* CCTEMP, K */
	put64le(d + 280, capacity);           /* TNVMCAP */
	put16le(d + 320, 10);                 /* KAS: a second */
	put32le(d + 328, 1u << 1 | 1u << 0);  /* SANICAP: block erase, crypto erase */
	d[512] = 0x66;                        /* SQES, CQES: 64 and 16 bytes */
	d[513] = 0x44;
	put16le(d + 514, names->max_depth); /* MAXCMD */
	put32le(d + 516, ZD_NVME_MAX_NAMESPACES);
	/* ONCS: compare, write uncorrectable, dataset management, write zeroes, select, timestamp, verify, copy. */
	put16le(d + 520, 1u << 0 | 1u << 1 | 1u << 2 | 1u << 3 | 1u << 4 | 1u << 6 | 1u << 7 | 1u << 8);
	d[525] = 0x07;                                                  /* VWC: there is one, and FLUSH takes all namespaces */
	put16le(d + 534, 1u << 0 | 1u << 1);                            /* OCFS: copy formats 0 and 1 */
	put32le(d + 536, 1u << 0 | (names->in_capsule ? 1u << 20 : 0)); /* SGLS */
	put32le(d + 540, ZD_NVME_MAX_NAMESPACES);                       /* MNAN */
	memcpy(d + 768, names->nqn, sizeof(names->nqn));
	if (names->in_capsule) {
		put32le(d + 1792, (64 + names->in_capsule) / 16); /* IOCCSZ */
		put32le(d + 1796, 1);                             /* IORCSZ */
		d[1803] = 1;                                      /* MSDBD */
	}
	put16le(d + 2048, 900); /* PSD0: 9 W */
}

static void namespace(const struct zd_nvme_namespace *ns, uint8_t *d)
{
	uint32_t physical = ns->info.physical_block >> ns->shift;
	uint64_t capacity = ns->csi == CSI_ZNS ? ns->nr_zones * ns->zone_capacity : ns->blocks;

	put64le(d + 0, ns->blocks); /* NSZE */
	put64le(d + 8, capacity);   /* NCAP */
	put64le(d + 16, capacity);  /* NUSE */
	d[24] = 1u << 4;            /* NSFEAT: NPWG to NOWS are there */
	d[30] = 1;                  /* NMIC: shared */
	d[33] = 1u << 3 | 1u << 0;  /* DLFEAT: deallocated blocks read as zeros, WRITE ZEROES may deallocate */
	put64le(d + 48, ns->blocks << ns->shift);
	put16le(d + 64, physical - 1); /* NPWG, NPWA, 0's based */
	put16le(d + 66, physical - 1);
	put16le(d + 74, MOST_COPY >> ns->shift); /* MSSRL */
	put32le(d + 76, MOST_COPY >> ns->shift); /* MCL */
	d[80] = MOST_COPY_RANGES - 1;            /* MSRC, 0's based */
	d[99] = ns->write_protected;             /* NSATTR */
	d[130] = (uint8_t)ns->shift;             /* LBAF0: LBADS */
}

static void zoned_namespace(const struct zd_nvme_namespace *ns, uint8_t *d)
{
	/* OZCS: reads across zone boundaries, random write areas */
	put16le(d + 2, (uint16_t)((ns->info.unrestricted_read ? 1u : 0) | (ns->info.zrwa_size ? 1u << 1 : 0)));
	put32le(d + 4, ns->info.max_active - 1u); /* MAR, MOR, 0's based: all ones is no limit */
	put32le(d + 8, ns->info.max_open - 1u);
	put32le(d + 44, ns->info.zrwa_count);                                /* NUMZRWA */
	put16le(d + 48, (uint16_t)(ns->info.zrwa_granularity >> ns->shift)); /* ZRWAFG */
	put16le(d + 50, (uint16_t)(ns->info.zrwa_size >> ns->shift));        /* ZRWASZ */
	d[52] = ns->info.zrwa_size != 0;                                     /* ZRWACAP: explicit commits */
	put64le(d + LBAFE, ns->zone_blocks);
	d[LBAFE + 8] = (uint8_t)(ns->info.zone_extension / 64); /* ZDES */
}

static void any_namespace(const struct zd_nvme_namespace *ns, uint8_t *d)
{
	d[1] = 1;                   /* NMIC */
	d[8] = ns->write_protected; /* NSATTR */
	d[14] = 1;                  /* NSTAT: ready */
}

static void descriptors(const struct zd_nvme_namespace *ns, uint8_t *d)
{
	d[0] = 3; /* uuid */
	d[1] = 16;
	memcpy(d + 4, ns->uuid, 16);
	d[20] = 4; /* command set identifier */
	d[21] = 1;
	d[24] = (uint8_t)ns->csi;
}

/* Those above `nsid`, of one command set or (negative) of all. */
static void list(const zd_nvme_subsystem *subsystem, uint32_t nsid, int csi, uint8_t *d)
{
	for (uint32_t i = nsid + 1; i <= ZD_NVME_MAX_NAMESPACES; i++)
		if (subsystem->namespaces[i] && (csi < 0 || subsystem->namespaces[i]->csi == (uint32_t)csi)) {
			put32le(d, i);
			d += 4;
		}
}

/* Controllers from an identifier on, in ascending order. */
static void controllers(zd_nvme_subsystem *subsystem, uint32_t from, uint8_t *d)
{
	uint32_t nr = 0;

	pthread_mutex_lock(&subsystem->lock);
	while (nr < PAGE / 2 - 1) {
		uint32_t next = UINT32_MAX;

		for (const zd_nvme_controller *it = subsystem->controllers; it; it = it->next)
			if (it->id >= from && it->id < next)
				next = it->id;
		if (next == UINT32_MAX)
			break;
		put16le(d + 2 + 2 * nr++, next);
		from = next + 1;
	}
	pthread_mutex_unlock(&subsystem->lock);
	put16le(d, nr);
}

static bool is_number(uint32_t nsid)
{
	return nsid && nsid <= ZD_NVME_MAX_NAMESPACES;
}

/* A namespace that is not there, of a number that one may have, has zeros. */
static int of_namespace(struct zd_nvme_command *command, void (*fill)(const struct zd_nvme_namespace *, uint8_t *), int csi)
{
	uint8_t page[PAGE] = { 0 };

	if (!is_number(get32le(command->sqe + 4)))
		return zd_nvme_refuse(command, ZD_NVME_INVALID_NAMESPACE);
	if (command->ns && csi >= 0 && command->ns->csi != (uint32_t)csi)
		return zd_nvme_field(command, 47, 0);
	if (command->ns && fill)
		fill(command->ns, page);
	return zd_nvme_give(command, page, PAGE);
}

static int of_set(struct zd_nvme_command *command, uint32_t csi)
{
	const zd_nvme_subsystem *subsystem = zd_nvme_of(command)->subsystem;
	uint8_t page[PAGE] = { 0 };

	/* Of the NVM command set's limits of commands without data the others are 0: there are none. */
	if (csi == CSI_NVM)
		page[2] = (uint8_t)pages_log2(MOST_UNCORRECTABLE); /* WUSL */
	if (csi == CSI_ZNS && subsystem->append_limit < ZD_NVME_MAX_TRANSFER)
		page[0] = (uint8_t)pages_log2(subsystem->append_limit); /* ZASL; 0: as MDTS */
	return zd_nvme_give(command, page, PAGE);
}

int zd_nvme_identify(struct zd_nvme_command *command)
{
	zd_nvme_controller *it = zd_nvme_of(command);
	uint32_t nsid = get32le(command->sqe + 4), from = get16le(command->sqe + 42);
	uint8_t cns = command->sqe[40], csi = command->sqe[47];
	uint8_t page[PAGE] = { 0 };

	if (cns >= SET_NAMESPACE && cns <= SET_ACTIVE_LIST && csi != CSI_NVM && csi != CSI_ZNS)
		return zd_nvme_refuse(command, ZD_NVME_INVALID_COMMAND_SET);
	switch (cns) {
	case NAMESPACE: return of_namespace(command, namespace, -1);
	case CONTROLLER: controller(it, page); break;
	case ACTIVE_LIST:
	case SET_ACTIVE_LIST:
		if (nsid >= ALL_NAMESPACES - 1)
			return zd_nvme_refuse(command, ZD_NVME_INVALID_NAMESPACE);
		if (nsid < ZD_NVME_MAX_NAMESPACES)
			list(it->subsystem, nsid, cns == SET_ACTIVE_LIST ? csi : -1, page);
		break;
	case DESCRIPTORS:
		if (!command->ns)
			return zd_nvme_refuse(command, ZD_NVME_INVALID_NAMESPACE);
		descriptors(command->ns, page);
		break;
	case SET_NAMESPACE: return of_namespace(command, csi == CSI_ZNS ? zoned_namespace : NULL, csi);
	case SET_CONTROLLER: return of_set(command, csi);
	case ANY_NAMESPACE: return of_namespace(command, any_namespace, -1);
	case ATTACHED_CONTROLLERS:
		if (!is_number(nsid))
			return zd_nvme_refuse(command, ZD_NVME_INVALID_NAMESPACE);
		if (command->ns)
			controllers(it->subsystem, from, page);
		break;
	case CONTROLLER_LIST: controllers(it->subsystem, from, page); break;
	case COMMAND_SETS:
		if (from != 0xFFFF && from != it->id)
			return zd_nvme_field(command, 42, 0);
		page[0] = 1u << CSI_NVM | 1u << CSI_ZNS; /* the only combination */
		break;
	default: return zd_nvme_field(command, 40, 0);
	}
	return zd_nvme_give(command, page, PAGE);
}
