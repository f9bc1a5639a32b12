/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One controller in many processes: what it knows beyond its commands, as bytes that go from one to the other. A process that
 * carries out a command recalls what the last one remembered, so that the error log of one is read by the next.
 */
#include "wire/nvme/nvme.h"

#include <string.h>

struct head {
	uint64_t size; /* of all of it; 0: nothing was remembered yet */
	struct zd_nvme_features features;
	uint32_t write_through, keep_alive, sanitized, sanitize_dword10;
	struct zd_nvme_news untold;
	uint64_t nr_errors;
	struct zd_nvme_error_entry errors[ERRORS];
};

/* Of each namespace, in ascending order; its zones' bytes follow. */
struct of_namespace {
	uint32_t powered, conditioned, gone_back, unseen, was_changed;
	struct zd_nvme_changed changed;
};

static size_t room_of(const struct zd_nvme_namespace *ns)
{
	return sizeof(struct of_namespace) + (ns->nr_zones + 7u) / 8 * 8;
}

size_t zd_nvme_memory_size(const zd_nvme_subsystem *subsystem)
{
	size_t size = sizeof(struct head);

	for (uint32_t i = 1; i <= ZD_NVME_MAX_NAMESPACES; i++)
		if (subsystem->namespaces[i])
			size += room_of(subsystem->namespaces[i]);
	return size;
}

/* ---------------------------------------------------------------- remembering */

/* Under both locks. */
static void remember_namespace(const zd_nvme_controller *controller, const struct zd_nvme_namespace *ns, uint8_t *to)
{
	struct of_namespace it = { .powered = atomic_load(&ns->powered),
				   .conditioned = atomic_load(&ns->conditioned),
				   .gone_back = atomic_load(&ns->gone_back),
				   .unseen = atomic_load(&ns->unseen),
				   .was_changed = controller->namespace_changed[ns->nsid] };

	if (controller->changed[ns->nsid])
		it.changed = *controller->changed[ns->nsid];
	memcpy(to, &it, sizeof(it));
	memcpy(to + sizeof(it), ns->dead, ns->nr_zones);
}

void zd_nvme_remember(zd_nvme_controller *controller, void *memory)
{
	zd_nvme_subsystem *subsystem = controller->subsystem;
	uint8_t *to = (uint8_t *)memory + sizeof(struct head);
	struct head head = { .size = zd_nvme_memory_size(subsystem) };

	pthread_mutex_lock(&subsystem->lock);
	pthread_mutex_lock(&controller->lock);
	head.features = controller->features;
	head.write_through = atomic_load(&controller->write_through);
	head.keep_alive = atomic_load(&controller->keep_alive);
	head.sanitized = atomic_load(&subsystem->sanitized);
	head.sanitize_dword10 = atomic_load(&subsystem->sanitize_dword10);
	head.untold = controller->untold;
	head.nr_errors = controller->nr_errors;
	memcpy(head.errors, controller->errors, sizeof(head.errors));
	for (uint32_t i = 1; i <= ZD_NVME_MAX_NAMESPACES; i++) {
		if (!subsystem->namespaces[i])
			continue;
		remember_namespace(controller, subsystem->namespaces[i], to);
		to += room_of(subsystem->namespaces[i]);
	}
	controller->remembered = controller->nr_errors;
	memcpy(memory, &head, sizeof(head));
	pthread_mutex_unlock(&controller->lock);
	pthread_mutex_unlock(&subsystem->lock);
}

/* ---------------------------------------------------------------- recalling */

/* Under both locks. */
static void recall_namespace(zd_nvme_controller *controller, struct zd_nvme_namespace *ns, const uint8_t *from)
{
	struct of_namespace it;
	uint32_t dead = 0;

	memcpy(&it, from, sizeof(it));
	atomic_store(&ns->powered, it.powered);
	atomic_store(&ns->conditioned, it.conditioned);
	atomic_store(&ns->gone_back, it.gone_back);
	atomic_store(&ns->unseen, it.unseen);
	controller->namespace_changed[ns->nsid] = it.was_changed != 0;
	if (controller->changed[ns->nsid]) {
		*controller->changed[ns->nsid] = it.changed;
		if (it.changed.news.pending)
			atomic_store(&controller->news, 1);
	}
	memcpy(ns->dead, from + sizeof(it), ns->nr_zones);
	for (uint32_t i = 0; i < ns->nr_zones; i++)
		dead += ns->dead[i] != 0;
	atomic_store(&ns->nr_dead, dead);
}

/* Errors that this controller has met meanwhile, behind those that were remembered. Under the controller's lock. */
static void recall_errors(zd_nvme_controller *controller, const struct head *head)
{
	struct zd_nvme_error_entry met[ERRORS];
	uint64_t nr = controller->nr_errors - controller->remembered;

	if (nr > ERRORS)
		nr = ERRORS;
	for (uint64_t i = 0; i < nr; i++)
		met[i] = controller->errors[(controller->nr_errors - nr + i) % ERRORS];
	controller->nr_errors = controller->remembered = head->nr_errors;
	memcpy(controller->errors, head->errors, sizeof(head->errors));
	for (uint64_t i = 0; i < nr; i++) {
		struct zd_nvme_error_entry *entry = &controller->errors[controller->nr_errors++ % ERRORS];

		*entry = met[i];
		entry->count = controller->nr_errors;
	}
}

void zd_nvme_recall(zd_nvme_controller *controller, const void *memory)
{
	zd_nvme_subsystem *subsystem = controller->subsystem;
	const uint8_t *from = (const uint8_t *)memory + sizeof(struct head);
	struct head head;

	memcpy(&head, memory, sizeof(head));
	if (head.size != zd_nvme_memory_size(subsystem))
		return;
	pthread_mutex_lock(&subsystem->lock);
	pthread_mutex_lock(&controller->lock);
	controller->features = head.features;
	atomic_store(&controller->write_through, head.write_through);
	atomic_store(&controller->keep_alive, head.keep_alive);
	atomic_store(&subsystem->sanitized, head.sanitized);
	atomic_store(&subsystem->sanitize_dword10, head.sanitize_dword10);
	controller->untold = head.untold;
	if (head.untold.pending)
		atomic_store(&controller->news, 1);
	recall_errors(controller, &head);
	for (uint32_t i = 1; i <= ZD_NVME_MAX_NAMESPACES; i++) {
		if (!subsystem->namespaces[i])
			continue;
		recall_namespace(controller, subsystem->namespaces[i], from);
		from += room_of(subsystem->namespaces[i]);
	}
	pthread_mutex_unlock(&controller->lock);
	pthread_mutex_unlock(&subsystem->lock);
}
