/* SPDX-License-Identifier: MIT */
/* What the host knows of itself, and how it is told: see status.c and status_json.c. Thread-safe. */
#ifndef TOOL_STATUS_H
#define TOOL_STATUS_H

#include "history.h"
#include "host.h"
#include "meter.h"

/* The largest flows that are told. */
#define STATUS_FLOWS 24

/* All of it at one time; numbers that belong together may be a few packets apart. */
struct status {
	uint64_t now_ns, start_ns;
	char name[VNIC_NAME_BYTES];
	bool is_tap, all;
	unsigned mtu_bytes, queue_count;
	const uint8_t *host_mac; /* NULL: none */
	const struct nic *nic;   /* its addresses */
	const struct answers *answers;
	const struct services *services;
	struct vnic_queue_statistics queues[VNIC_QUEUES];
	uint64_t stack[VNIC_STACK_COUNTERS];
	uint64_t connections[VNIC_QUEUES]; /* on each shard */
	struct meter_totals totals;
	struct meter_flow flows[STATUS_FLOWS];
	unsigned flow_count;
	bool has_link;
	struct vnic_link_info link;
	/* Of the last whole second. */
	struct history_second rate;
};

/* Note in the history what was counted up to now, where a second is over. */
void status_note(struct host *host, uint64_t now_ns);
/* Returns NULL where there is no memory; to be freed with free(). */
struct status *status_take(struct host *host, uint64_t now_ns);

struct meter_traffic status_traffic(const struct status *status, enum direction direction);
uint64_t status_drops(const struct status *status);
/* True for counters that go down too. */
bool status_is_gauge(enum vnic_stack_counter counter);
/* An address of the host, number i; NULL: there are no more. With "all" it is a network. */
const char *status_host(const struct status *status, size_t i, char *text);

/* Texts, written to a stream. */

/* For people, in a terminal. */
void status_text(const struct status *status, FILE *out);
/* The same as elements of HTML, for a browser that runs no script. */
void status_html(const struct status *status, FILE *out);
/* Prometheus, text format 0.0.4. */
void status_metrics(const struct status *status, FILE *out);
/*
 * One JSON object. With history its seconds from number `since` on. Returns a text to be freed with
 * cJSON_free(); NULL: no memory.
 */
char *status_json(const struct status *status, struct history *history, bool with_history,
		  uint64_t since);

#endif
