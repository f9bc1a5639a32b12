/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What happens to a disk by faults and other openers, and which controllers tell it their hosts: by ending an event request, and
 * in log pages. What one host does to a zone by plain commands is no event: ZONE MANAGEMENT RECEIVE shows it.
 */
#include "wire/nvme/nvme.h"

#include "base/base.h"

/* Of a kind of event: its type, its information and its log page; the bit of the feature that lets it be told, 32: always. */
static const struct {
	uint8_t type, information, page, enabled;
} kinds[NR_EVENTS] = {
	[EVENT_INTERNAL] = { 0, 0x04, 0x01, 32 },   /* error: transient internal error */
	[EVENT_RELIABILITY] = { 1, 0x00, 0x02, 2 }, /* health: NVM subsystem reliability */
	[EVENT_NAMESPACE] = { 2, 0x00, 0x04, 8 },   /* notice: namespace attribute changed */
	[EVENT_SANITIZED] = { 6, 0x01, 0x81, 32 },  /* I/O command specific: sanitize operation completed */
	[EVENT_ZONES] = { 2, 0xEF, 0xBF, 27 },      /* notice: zone descriptor changed */
};

static bool enabled(const zd_nvme_controller *controller, enum zd_nvme_event event)
{
	return kinds[event].enabled > 31 || controller->features.events >> kinds[event].enabled & 1;
}

/* Under the lock. Whether an event may be told, which it is thereby. */
static bool taken(struct zd_nvme_news *news, enum zd_nvme_event event)
{
	uint32_t bit = 1u << event;

	if (!(news->pending & ~news->masked & bit))
		return false;
	news->pending &= ~bit;
	news->masked |= bit;
	return true;
}

/* Under the lock. Dwords 0 and 1 of the next event that may be told, which is told thereby; false: there is none. */
static bool next_event(zd_nvme_controller *controller, uint64_t *result)
{
	for (uint32_t event = 0; event < NR_EVENTS; event++) {
		*result = (uint64_t)kinds[event].page << 16 | (uint64_t)kinds[event].information << 8 | kinds[event].type;
		if (!enabled(controller, event))
			continue;
		for (uint32_t nsid = 1; event == EVENT_ZONES && nsid <= ZD_NVME_MAX_NAMESPACES; nsid++) {
			struct zd_nvme_changed *changed = controller->changed[nsid];

			if (!changed || !taken(&changed->news, event))
				continue;
			*result |= (uint64_t)nsid << 32;
			return true;
		}
		if (taken(&controller->untold, event))
			return true;
	}
	return false;
}

/* Under the lock. */
static void stop_waiting(zd_nvme_controller *controller, struct zd_nvme_command **at)
{
	struct zd_nvme_command *command = *at;

	*at = command->waiting;
	if (!*at)
		controller->last_waiting = at;
	command->waits = 0;
	controller->nr_waiting--;
}

void zd_nvme_deliver(zd_nvme_controller *controller)
{
	struct zd_nvme_command *command;
	uint64_t result;

	for (;;) {
		pthread_mutex_lock(&controller->lock);
		command = controller->waiting;
		if (command && next_event(controller, &result))
			stop_waiting(controller, &controller->waiting);
		else
			command = NULL;
		pthread_mutex_unlock(&controller->lock);
		if (!command)
			return;
		command->result = result;
		zd_nvme_good(command);
		zd_nvme_finish(command);
	}
}

bool zd_nvme_stop_waiting(struct zd_nvme_command *command)
{
	zd_nvme_controller *controller = zd_nvme_of(command);
	struct zd_nvme_command **at;
	bool found = false;

	pthread_mutex_lock(&controller->lock);
	if (command->waits) {
		for (at = &controller->waiting; *at != command; at = &(*at)->waiting)
			;
		stop_waiting(controller, at);
		found = true;
	}
	pthread_mutex_unlock(&controller->lock);
	return found;
}

int zd_nvme_event_request(struct zd_nvme_command *command)
{
	zd_nvme_controller *controller = zd_nvme_of(command);
	int next = STEP_WAIT;

	pthread_mutex_lock(&controller->lock);
	if (!command->done || controller->nr_waiting >= ZD_NVME_MAX_EVENTS) {
		next = zd_nvme_refuse(command, ZD_NVME_TOO_MANY_EVENT_REQUESTS);
	} else if (__atomic_load_n(&command->cancelled, __ATOMIC_SEQ_CST)) {
		command->status = ZD_NVME_ABORT_REQUESTED;
		next = STEP_END;
	} else {
		command->waiting = NULL;
		command->waits = 1;
		*controller->last_waiting = command;
		controller->last_waiting = &command->waiting;
		controller->nr_waiting++;
	}
	pthread_mutex_unlock(&controller->lock);
	if (next == STEP_WAIT)
		zd_nvme_deliver(controller);
	return next;
}

/* ---------------------------------------------------------------- who is told */

/* Under both locks. Whoever gives the controller its next command, or looks, ends the requests that wait. */
static void tell(zd_nvme_controller *controller, enum zd_nvme_event event)
{
	controller->untold.pending |= 1u << event;
	atomic_store(&controller->news, 1);
}

void zd_nvme_tell(zd_nvme_subsystem *subsystem, enum zd_nvme_event event)
{
	pthread_mutex_lock(&subsystem->lock);
	for (zd_nvme_controller *it = subsystem->controllers; it; it = it->next) {
		pthread_mutex_lock(&it->lock);
		tell(it, event);
		pthread_mutex_unlock(&it->lock);
	}
	pthread_mutex_unlock(&subsystem->lock);
}

static struct zd_nvme_news *news_of(zd_nvme_controller *controller, enum zd_nvme_event event, uint32_t nsid)
{
	return event == EVENT_ZONES ? &controller->changed[nsid]->news : &controller->untold;
}

void zd_nvme_forget(zd_nvme_controller *controller, enum zd_nvme_event event, uint32_t nsid)
{
	pthread_mutex_lock(&controller->lock);
	news_of(controller, event, nsid)->pending &= ~(1u << event);
	pthread_mutex_unlock(&controller->lock);
}

void zd_nvme_unmask(zd_nvme_controller *controller, enum zd_nvme_event event, uint32_t nsid)
{
	pthread_mutex_lock(&controller->lock);
	news_of(controller, event, nsid)->masked &= ~(1u << event);
	pthread_mutex_unlock(&controller->lock);
	zd_nvme_deliver(controller);
}

/* Under the subsystem's lock. */
static void zone_changed(zd_nvme_subsystem *subsystem, const struct zd_nvme_namespace *ns, uint32_t zone)
{
	for (zd_nvme_controller *it = subsystem->controllers; it; it = it->next) {
		struct zd_nvme_changed *changed = it->changed[ns->nsid];

		pthread_mutex_lock(&it->lock);
		if (changed) {
			changed->news.pending |= 1u << EVENT_ZONES;
			if (changed->nr < MOST_CHANGED)
				changed->slbas[changed->nr] = zone * ns->zone_blocks;
			changed->nr += changed->nr <= MOST_CHANGED;
		}
		tell(it, EVENT_RELIABILITY);
		pthread_mutex_unlock(&it->lock);
	}
}

void zd_nvme_zone_offline(zd_nvme_subsystem *subsystem, struct zd_nvme_namespace *ns, uint32_t zone)
{
	pthread_mutex_lock(&subsystem->lock);
	if (!ns->dead[zone])
		atomic_fetch_add(&ns->nr_dead, 1);
	ns->dead[zone] = ZD_OFFLINE;
	pthread_mutex_unlock(&subsystem->lock);
}

/* Which zones died, or came back. If the disk does not tell, it is asked again at the next look. */
static void look_at_zones(zd_nvme_subsystem *subsystem, struct zd_nvme_namespace *ns)
{
	struct zd_zone zones[64];
	struct zd_error err;
	uint32_t zone = 0;

	pthread_mutex_lock(&subsystem->lock);
	while (zone < ns->nr_zones) {
		uint32_t left = ns->nr_zones - zone;
		int64_t n = zd_report(ns->dev, ns->first + zone, left < 64 ? left : 64, zones, &err);

		if (n <= 0) {
			atomic_store(&ns->unseen, 1);
			break;
		}
		for (int64_t i = 0; i < n; i++, zone++) {
			uint8_t cond = zones[i].cond, dead = cond == ZD_READ_ONLY || cond == ZD_OFFLINE ? cond : 0;

			if (dead == ns->dead[zone])
				continue;
			if (!ns->dead[zone])
				atomic_fetch_add(&ns->nr_dead, 1);
			else if (!dead)
				atomic_fetch_sub(&ns->nr_dead, 1);
			ns->dead[zone] = dead;
			zone_changed(subsystem, ns, zone);
		}
	}
	pthread_mutex_unlock(&subsystem->lock);
}

/* A drive that lost its power forgets what its hosts had set. */
static void powered(zd_nvme_subsystem *subsystem)
{
	pthread_mutex_lock(&subsystem->lock);
	for (zd_nvme_controller *it = subsystem->controllers; it; it = it->next) {
		uint32_t events;

		pthread_mutex_lock(&it->lock);
		events = it->features.events; /* whose requests still wait */
		zd_nvme_features_as_at_first(it);
		it->features.events = events;
		tell(it, EVENT_INTERNAL);
		pthread_mutex_unlock(&it->lock);
	}
	pthread_mutex_unlock(&subsystem->lock);
}

static void gone_back(zd_nvme_subsystem *subsystem, const struct zd_nvme_namespace *ns)
{
	pthread_mutex_lock(&subsystem->lock);
	for (zd_nvme_controller *it = subsystem->controllers; it; it = it->next) {
		pthread_mutex_lock(&it->lock);
		it->namespace_changed[ns->nsid] = 1;
		tell(it, EVENT_NAMESPACE);
		pthread_mutex_unlock(&it->lock);
	}
	pthread_mutex_unlock(&subsystem->lock);
}

static void look(zd_nvme_subsystem *subsystem, struct zd_nvme_namespace *ns)
{
	struct zd_error err;
	struct zd_news news;

	if (zd_news(ns->dev, &news, &err))
		return; /* the command will meet the same failure, and tell it */
	if (zd_wire_is_new(&ns->powered, news.powered)) {
		/* A disk of two namespaces lost its power once. */
		for (uint32_t i = 1; i <= ZD_NVME_MAX_NAMESPACES; i++)
			if (subsystem->namespaces[i] && subsystem->namespaces[i]->dev == ns->dev)
				zd_wire_is_new(&subsystem->namespaces[i]->powered, news.powered);
		powered(subsystem);
	}
	if (zd_wire_is_new(&ns->gone_back, news.gone_back)) {
		atomic_store(&ns->unseen, 1); /* other zones may be dead now */
		gone_back(subsystem, ns);
	}
	if (zd_wire_is_new(&ns->conditioned, news.conditioned))
		atomic_store(&ns->unseen, 1);
	if (atomic_load_explicit(&ns->unseen, memory_order_relaxed) && atomic_exchange(&ns->unseen, 0))
		look_at_zones(subsystem, ns);
}

void zd_nvme_look_for_news(zd_nvme_subsystem *subsystem, struct zd_nvme_namespace *only)
{
	if (only) {
		look(subsystem, only);
		return;
	}
	for (uint32_t i = 1; i <= ZD_NVME_MAX_NAMESPACES; i++)
		if (subsystem->namespaces[i])
			look(subsystem, subsystem->namespaces[i]);
}

void zd_nvme_tell_news(zd_nvme_controller *controller)
{
	if (atomic_load_explicit(&controller->news, memory_order_relaxed) && atomic_exchange(&controller->news, 0))
		zd_nvme_deliver(controller);
}

void zd_nvme_look(zd_nvme_controller *controller)
{
	zd_nvme_look_for_news(controller->subsystem, NULL);
	zd_nvme_tell_news(controller);
}

/* ---------------------------------------------------------------- the error log */

void zd_nvme_log_error(struct zd_nvme_command *command)
{
	zd_nvme_controller *controller = zd_nvme_of(command);
	uint16_t status = command->status & (uint16_t)~ZD_NVME_DO_NOT_RETRY;
	struct zd_nvme_error_entry *entry;

	if (status == ZD_NVME_ABORT_REQUESTED || status == ZD_NVME_QUEUE_DELETED)
		return;
	command->status |= ZD_NVME_MORE;
	pthread_mutex_lock(&controller->lock);
	entry = &controller->errors[controller->nr_errors++ % ERRORS];
	*entry = (struct zd_nvme_error_entry){ .count = controller->nr_errors,
					       .slba = command->slba,
					       .result = command->result,
					       .nsid = get32le(command->sqe + 4),
					       .queue = (uint16_t)command->queue->id,
					       .cid = get16le(command->sqe + 2),
					       .status = command->status,
					       .location = (uint16_t)command->location };
	pthread_mutex_unlock(&controller->lock);
}
