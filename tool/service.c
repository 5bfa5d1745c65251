/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. The table of the services, and what `vnic host` does with all of them. A
 * service is opened once on each shard, by the shard's stack; whichever shard a client's packets
 * come to, there is somebody to answer. Services are opened before the first packet and closed after
 * the last, so nothing here is shared between threads but what a service shares itself.
 */
#include "service.h"

#include <errno.h>
#include <string.h>

static const struct service *const table[] = {
	&echo_service, &discard_service, &chargen_service, &http_service, &iperf3_service,
};
#define TABLE_COUNT (sizeof(table) / sizeof(table[0]))
_Static_assert(TABLE_COUNT <= SERVICES_MOST, "room for all services");

int service_no_memory(struct vnic_error *error)
{
	if (error) {
		error->code = -ENOMEM;
		error->cause = VNIC_CAUSE_MEMORY;
		snprintf(error->text, sizeof(error->text), "out of memory");
	}
	return -ENOMEM;
}

bool service_may_answer(const struct vnic_datagram *datagram)
{
	return datagram->flow.remote_port >= 1024;
}

static int unknown_service(const struct tool_command *command, const char *name, size_t length)
{
	char known[128] = "";
	size_t i;

	for (i = 0; i < TABLE_COUNT; i++) {
		strncat(known, i ? ", " : "", sizeof(known) - strlen(known) - 1);
		strncat(known, table[i]->name, sizeof(known) - strlen(known) - 1);
	}
	return usage_error(command, "--service: there is no '%.*s'; there are %s, all and none",
			   (int)length, name, known);
}

bool services_have(const struct services *services, const char *name)
{
	unsigned i;

	for (i = 0; i < services->count; i++)
		if (strcmp(services->items[i]->name, name) == 0)
			return true;
	return false;
}

/* In the order of the table, whatever the order in which they are named. */
static int choose_bits(unsigned *bits, const char *list, const struct tool_command *command)
{
	const char *name = list, *end;
	size_t i, length;

	for (;;) {
		end = strchrnul(name, ',');
		length = (size_t)(end - name);
		for (i = 0; i < TABLE_COUNT; i++)
			if (strlen(table[i]->name) == length &&
			    memcmp(table[i]->name, name, length) == 0)
				break;
		if (i < TABLE_COUNT)
			*bits |= 1u << i;
		else if (length == 3 && memcmp(name, "all", 3) == 0)
			*bits = (1u << TABLE_COUNT) - 1;
		else
			return unknown_service(command, name, length);
		if (!*end)
			return -1;
		name = end + 1;
	}
}

int services_choose(struct services *services, const char *list, const struct tool_command *command)
{
	unsigned bits = 0, i;
	int status;

	if (!list || strcmp(list, "none") != 0) {
		status = choose_bits(&bits, list ? list : "all", command);
		if (status >= 0)
			return status;
	}
	for (i = 0; i < TABLE_COUNT; i++)
		if (bits & (1u << i))
			services->items[services->count++] = table[i];
	return -1;
}

int services_share(struct services *services, struct host *host)
{
	unsigned i;

	for (i = 0; i < services->count; i++) {
		if (!services->items[i]->share)
			continue;
		services->shared[i] = services->items[i]->share(host);
		if (!services->shared[i])
			return -ENOMEM;
	}
	return 0;
}

void services_unshare(struct services *services)
{
	unsigned i;

	for (i = 0; i < services->count; i++) {
		if (services->shared[i])
			services->items[i]->unshare(services->shared[i]);
		services->shared[i] = NULL;
	}
}

int services_open(struct service_instances *instances, const struct services *services,
		  const struct service_place *place, struct vnic_error *error)
{
	struct service_place its = *place;
	int code;

	instances->services = services;
	for (instances->count = 0; instances->count < services->count; instances->count++) {
		its.shared = services->shared[instances->count];
		code = services->items[instances->count]->open(
			&its, &instances->states[instances->count], error);
		if (code < 0) {
			services_close(instances);
			return code;
		}
	}
	return 0;
}

uint64_t services_advance(struct service_instances *instances, uint64_t now_ns)
{
	uint64_t soonest = VNIC_NEVER, next;
	unsigned i;

	for (i = 0; i < instances->count; i++) {
		const struct service *service = instances->services->items[i];

		if (!service->advance)
			continue;
		next = service->advance(instances->states[i], now_ns);
		if (next < soonest)
			soonest = next;
	}
	return soonest;
}

void services_close(struct service_instances *instances)
{
	while (instances->count) {
		instances->count--;
		instances->services->items[instances->count]->close(
			instances->states[instances->count]);
	}
}
