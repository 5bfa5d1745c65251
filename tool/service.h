/* SPDX-License-Identifier: MIT */
/*
 * What `vnic host` serves to its network: echo, discard, chargen, http, iperf3.
 *
 * A service is one file with one struct service, which stands in the table of service.c. Each shard
 * (one for each queue, with a stack and a thread of its own) opens every service that was
 * chosen; what the instances of one service must know of each other they share through what share()
 * made, with atomics or a lock.
 */
#ifndef TOOL_SERVICE_H
#define TOOL_SERVICE_H

#include "tool.h"

/* Where one instance of a service lives. */
struct service_place {
	struct vnic_stack *stack;
	unsigned shard; /* 0 to shards - 1 */
	unsigned shards;
	void *shared; /* of this service, by all shards; NULL without share() */
	struct vnic_device *device;
	/* Of the whole host, for reports; thread-safe. */
	struct host *host;
};

struct service {
	const char *name;    /* as --service has it */
	const char *summary; /* "TCP and UDP 7: sends back what it gets" */
	/* Make what all shards share, before any of them opens. NULL: nothing. @return NULL: no memory */
	void *(*share)(struct host *host);
	void (*unshare)(void *shared);
	/* @return 0 or a negative errno with *error filled, as the library has it */
	int (*open)(const struct service_place *place, void **state, struct vnic_error *error);
	/*
	 * Let time pass, on the shard's thread; NULL: not needed. Called after each burst, and when
	 * the time has come that it returned last (VNIC_NEVER: no need).
	 */
	uint64_t (*advance)(void *state, uint64_t now_ns);
	/* The stack is still there, and its connections are aborted afterwards. */
	void (*close)(void *state);
};

/* service.c: which of them, and all that are open on one shard. */

#define SERVICES_MOST 8

struct services {
	const struct service *items[SERVICES_MOST];
	void *shared[SERVICES_MOST];
	unsigned count;
};
/*
 * Choose by --service: "all" (also NULL), "none", or names with commas between them. Returns -1, or
 * the exit status (it has been said).
 */
int services_choose(struct services *services, const char *list,
		    const struct tool_command *command);
bool services_have(const struct services *services, const char *name);
/* Before the first shard opens. Returns 0 or -ENOMEM. */
int services_share(struct services *services, struct host *host);
/* After the last stack was freed. */
void services_unshare(struct services *services);

struct service_instances {
	const struct services *services;
	void *states[SERVICES_MOST];
	unsigned count;
};
/* All of them, on one shard; place->shared is found here. Returns 0 or a negative errno. */
int services_open(struct service_instances *instances, const struct services *services,
		  const struct service_place *place, struct vnic_error *error);
/* Returns when to call again at the latest. */
uint64_t services_advance(struct service_instances *instances, uint64_t now_ns);
void services_close(struct service_instances *instances);

/* What open() returns where there is no memory. */
int service_no_memory(struct vnic_error *error);
/*
 * True unless a datagram comes from a port below 1024. Those are of services, and two services that
 * answer each other never stop.
 */
bool service_may_answer(const struct vnic_datagram *datagram);

extern const struct service echo_service;
extern const struct service discard_service;
extern const struct service chargen_service;
extern const struct service http_service;
extern const struct service iperf3_service;

#endif
