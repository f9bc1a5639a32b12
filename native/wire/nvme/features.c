/* SPDX-License-Identifier: Apache-2.0 */
/* SET FEATURES, GET FEATURES, KEEP ALIVE. Nothing is saved: a reset and a loss of power bring back what was at first. */
#include "wire/nvme/nvme.h"

#include "base/base.h"

#include <string.h>

#define NOT_CHANGEABLE 0
#define CHANGEABLE 4 /* bit 2 of what GET FEATURES says of a feature */
#define BY_NAMESPACE 2

enum feature {
	ARBITRATION = 0x01,
	POWER = 0x02,
	THRESHOLD = 0x04,
	RECOVERY = 0x05,
	WRITE_CACHE = 0x06,
	QUEUES = 0x07,
	ATOMICITY = 0x0A,
	EVENTS = 0x0B,
	TIMESTAMP = 0x0E,
	KEEP_ALIVE = 0x0F,
	BEHAVIOR = 0x16,
	COMMAND_SETS = 0x19,
	HOST_ID = 0x81
};
static const struct {
	uint8_t id, capabilities;
	uint16_t length; /* of its data */
} features[] = {
	{ ARBITRATION, CHANGEABLE, 0 },  { POWER, CHANGEABLE, 0 },
	{ THRESHOLD, CHANGEABLE, 0 },    { RECOVERY, CHANGEABLE | BY_NAMESPACE, 0 },
	{ WRITE_CACHE, CHANGEABLE, 0 },  { QUEUES, CHANGEABLE, 0 },
	{ ATOMICITY, CHANGEABLE, 0 },    { EVENTS, CHANGEABLE, 0 },
	{ TIMESTAMP, CHANGEABLE, 8 },    { KEEP_ALIVE, CHANGEABLE, 0 },
	{ BEHAVIOR, CHANGEABLE, 512 },   { COMMAND_SETS, CHANGEABLE, 0 },
	{ HOST_ID, NOT_CHANGEABLE, 16 },
};
#define NR_FEATURES (sizeof(features) / sizeof(features[0]))

enum select { CURRENT, DEFAULT, SAVED, CAPABILITIES };

static int find(uint32_t id)
{
	for (uint32_t i = 0; i < NR_FEATURES; i++)
		if (features[i].id == id)
			return (int)i;
	return -1;
}

bool zd_nvme_knows_feature(uint32_t id, bool *by_namespace)
{
	int i = find(id);

	*by_namespace = i >= 0 && features[i].capabilities & BY_NAMESPACE;
	return i >= 0;
}

void zd_nvme_size_set_features(const struct zd_nvme_namespace *ns, const uint8_t *sqe, uint64_t *out, uint64_t *in)
{
	int i = find(sqe[40]);

	(void)ns;
	*in = 0;
	*out = i >= 0 && features[i].capabilities & CHANGEABLE ? features[i].length : 0;
}

void zd_nvme_size_get_features(const struct zd_nvme_namespace *ns, const uint8_t *sqe, uint64_t *out, uint64_t *in)
{
	int i = find(sqe[40]);

	(void)ns;
	*out = 0;
	*in = i >= 0 && (sqe[41] & 0x07) < CAPABILITIES ? features[i].length : 0;
}

static void at_first(struct zd_nvme_features *set)
{
	*set = (struct zd_nvme_features){ .nr_queues = ZD_NVME_MAX_QUEUES - 1 };
	set->threshold[0] = 343; /* over, and under */
}

/* Under the controller's lock, or before anybody knows it. The keep alive timeout stays. */
void zd_nvme_features_as_at_first(zd_nvme_controller *controller)
{
	at_first(&controller->features);
	atomic_store(&controller->write_through, 0);
}

/* ---------------------------------------------------------------- getting */

static uint64_t now_ms(void)
{
	return zd_now() / 1000000;
}

static void put_timestamp(const struct zd_nvme_features *set, uint8_t *d)
{
	uint64_t now = set->timestamp_set ? set->timestamp + now_ms() - set->timestamp_at : now_ms();

	put32le(d, (uint32_t)now);
	put16le(d + 4, (uint32_t)(now >> 32));
	d[6] = set->timestamp_set ? 0x02 : 0; /* origin: the host */
}

int zd_nvme_get_features(struct zd_nvme_command *command)
{
	zd_nvme_controller *controller = zd_nvme_of(command);
	uint32_t id = command->sqe[40], select = command->sqe[41] & 0x07, word = get32le(command->sqe + 44);
	uint32_t nsid = get32le(command->sqe + 4), result = 0;
	struct zd_nvme_features set;
	uint8_t data[512] = { 0 };
	int i = find(id);

	if (i < 0)
		return zd_nvme_field(command, 40, 0);
	if (select > CAPABILITIES)
		return zd_nvme_field(command, 41, 0);
	if (features[i].capabilities & BY_NAMESPACE && !command->ns && select != CAPABILITIES)
		return zd_nvme_refuse(command, ZD_NVME_INVALID_NAMESPACE);
	if (select == CAPABILITIES) {
		command->result = features[i].capabilities;
		return zd_nvme_good(command);
	}
	pthread_mutex_lock(&controller->lock);
	set = controller->features;
	pthread_mutex_unlock(&controller->lock);
	if (select != CURRENT)
		at_first(&set);
	switch (id) {
	case ARBITRATION: result = set.arbitration; break;
	case THRESHOLD:
		if ((word >> 16 & 0x0F) > 1 || (word >> 20 & 0x03) > 1)
			return zd_nvme_field(command, 46, 0);
		result = set.threshold[word >> 20 & 1] | (word & 0x3F0000);
		break;
	case RECOVERY: result = set.recovery[nsid]; break;
	case WRITE_CACHE: result = select == CURRENT ? !atomic_load(&controller->write_through) : 1; break;
	case QUEUES: result = (set.nr_queues - 1) << 16 | (set.nr_queues - 1); break;
	case EVENTS: result = set.events; break;
	case TIMESTAMP: put_timestamp(&set, data); break;
	case KEEP_ALIVE: result = select == CURRENT ? atomic_load(&controller->keep_alive) : 0; break;
	case BEHAVIOR: memcpy(data, set.behavior, sizeof(set.behavior)); break;
	case HOST_ID: memcpy(data, controller->host_id, sizeof(controller->host_id)); break;
	default: break; /* power state 0, combination 0 */
	}
	command->result = result;
	return zd_nvme_give(command, data, features[i].length);
}

/* ---------------------------------------------------------------- setting */

static uint32_t fewer(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

static int set_queues(struct zd_nvme_command *command, zd_nvme_controller *controller, uint32_t word)
{
	uint32_t submission = word & 0xFFFF, completion = word >> 16;

	if (submission == 0xFFFF || completion == 0xFFFF)
		return zd_nvme_field(command, 44, 0);
	for (uint32_t i = 1; i < ZD_NVME_MAX_QUEUES; i++)
		if (controller->queues[i])
			return zd_nvme_refuse(command, ZD_NVME_SEQUENCE_ERROR);
	controller->features.nr_queues = fewer(fewer(submission, completion) + 1, ZD_NVME_MAX_QUEUES - 1);
	command->result = (controller->features.nr_queues - 1) << 16 | (controller->features.nr_queues - 1);
	return zd_nvme_good(command);
}

static int set_threshold(struct zd_nvme_command *command, struct zd_nvme_features *set, uint32_t word)
{
	if ((word >> 16 & 0x0F) > 1 && (word >> 16 & 0x0F) != 0x0F)
		return zd_nvme_field(command, 46, 0);
	if ((word >> 20 & 0x03) > 1)
		return zd_nvme_field(command, 46, 4);
	set->threshold[word >> 20 & 1] = word & 0xFFFF;
	return zd_nvme_good(command);
}

static int set_timestamp(struct zd_nvme_command *command, struct zd_nvme_features *set)
{
	uint8_t data[8];

	zd_nvme_take(command, data, sizeof(data));
	set->timestamp = get32le(data) | (uint64_t)get16le(data + 4) << 32;
	set->timestamp_at = now_ms();
	set->timestamp_set = true;
	return zd_nvme_good(command);
}

static int set_recovery(struct zd_nvme_command *command, zd_nvme_controller *controller, uint32_t word)
{
	uint32_t nsid = get32le(command->sqe + 4);

	if (word & 1u << 16)
		return zd_nvme_field(command, 46, 0); /* no namespace tells of deallocated blocks by an error */
	if (nsid != ALL_NAMESPACES && !command->ns)
		return zd_nvme_refuse(command, ZD_NVME_INVALID_NAMESPACE);
	for (uint32_t i = 1; i <= ZD_NVME_MAX_NAMESPACES; i++)
		if (nsid == ALL_NAMESPACES || i == nsid)
			controller->features.recovery[i] = word & 0xFFFF;
	return zd_nvme_good(command);
}

/* Under the lock. */
static int set(struct zd_nvme_command *command, zd_nvme_controller *controller, uint32_t id, uint32_t word)
{
	struct zd_nvme_features *set = &controller->features;

	switch (id) {
	case ARBITRATION: set->arbitration = word & 0xFFFFFF07; break;
	case POWER: return word & 0x1F ? zd_nvme_field(command, 44, 0) : zd_nvme_good(command);
	case THRESHOLD: return set_threshold(command, set, word);
	case RECOVERY: return set_recovery(command, controller, word);
	case WRITE_CACHE: atomic_store(&controller->write_through, !(word & 1)); break;
	case QUEUES: return set_queues(command, controller, word);
	case EVENTS: set->events = word; break;
	case TIMESTAMP: return set_timestamp(command, set);
	case KEEP_ALIVE: atomic_store(&controller->keep_alive, word); break;
	case BEHAVIOR: zd_nvme_take(command, set->behavior, sizeof(set->behavior)); break;
	case COMMAND_SETS: return word & 0x1FF ? zd_nvme_field(command, 44, 0) : zd_nvme_good(command);
	default: break; /* writes are as atomic as they are */
	}
	return zd_nvme_good(command);
}

int zd_nvme_set_features(struct zd_nvme_command *command)
{
	zd_nvme_controller *controller = zd_nvme_of(command);
	int i = find(command->sqe[40]), next;

	if (i < 0)
		return zd_nvme_field(command, 40, 0);
	if (command->sqe[43] & 0x80)
		return zd_nvme_refuse(command, ZD_NVME_NOT_SAVEABLE);
	if (!(features[i].capabilities & CHANGEABLE))
		return zd_nvme_refuse(command, ZD_NVME_NOT_CHANGEABLE);
	pthread_mutex_lock(&controller->lock);
	next = set(command, controller, features[i].id, get32le(command->sqe + 44));
	pthread_mutex_unlock(&controller->lock);
	if (features[i].id == EVENTS)
		zd_nvme_deliver(controller);
	return next;
}

int zd_nvme_stay_alive(struct zd_nvme_command *command)
{
	return zd_nvme_good(command);
}
