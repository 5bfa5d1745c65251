/* SPDX-License-Identifier: MIT */
#ifndef TOOL_WIRE_H
#define TOOL_WIRE_H

#include "tool.h"

#include <pthread.h>

/* What the parts of `vnic wire` know of each other. */
struct wire {
	struct hint_context context;
	struct vnic_port_options port_options; /* but record, which differs */
	struct vnic_wire_options wire_options;
	struct vnic_port *ports[2];
	struct vnic_wire *wire;
	/* As it was at the beginning: a persistent interface has counted before us. */
	struct vnic_link_statistics before[2];
	bool json;
	bool is_running;
	FILE *out;
	uint64_t start_ns;
	uint64_t for_ns; /* 0: without end */
};

/* wire_report.c */

void wire_report_ready(const struct wire *wire);
/* As struct vnic_port_options has it; user is the struct wire. */
void wire_report_event(void *user, struct vnic_port *port, enum vnic_port_event event,
		       const char *text);
void wire_report_summary(const struct wire *wire);

/*
 * Shows rates, and the counters when it is asked for them, and ends the wire when its time is over;
 * on a thread of its own.
 */
struct wire_clock {
	struct wire *wire;
	pthread_t thread;
	int told; /* eventfd(2) */
	bool shows_rates;
};
/* Returns 0 or a negative errno. */
int wire_clock_start(struct wire_clock *clock, struct wire *wire);
/* Let it show the counters as they are now. From a signal handler, too. */
void wire_clock_ask(const struct wire_clock *clock);
void wire_clock_stop(struct wire_clock *clock);

uint64_t wire_now_ns(void);

#endif
