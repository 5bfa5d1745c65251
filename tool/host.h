/* SPDX-License-Identifier: MIT */
/* What the files of `vnic host` share: who answers, what is reported, what is traced, what is served. */
#ifndef TOOL_HOST_H
#define TOOL_HOST_H

#include "nic.h"
#include "process.h"
#include "service.h"

#include <pthread.h>
#include <stdatomic.h>

/* answer.c: for which addresses the host answers. */

struct answers {
	bool all; /* the prefixes are whole networks */
	struct vnic_prefix *prefixes;
	size_t count;
};
/* Returns -1, or the exit status (it has been said). */
int answers_find(struct answers *answers, const struct nic *nic, const struct text_list *hosts);
int answers_give(const struct answers *answers, const struct nic *nic, struct vnic_stack *stack,
		 struct vnic_error *error);
void answers_free(struct answers *answers);

/* trace.c: packets seen, printed and captured. Thread-safe. */

enum direction {
	DIRECTION_IN, /* from the kernel to the host */
	DIRECTION_OUT
};

struct trace {
	FILE *out;
	bool json;
	bool verbose;
	bool captures_to_stdout;
	const char *capture_path;
	enum vnic_layer layer;
	struct vnic_filter *filter;
	struct vnic_capture *capture;
	pthread_mutex_t lock;     /* guards the next */
	struct vnic_burst *plain; /* what super-packets are cut into to be looked at */
	uint64_t start_ns;
	_Atomic bool output_failed; /* by more than that nobody reads it */
	_Atomic bool is_quiet;      /* nobody reads what is printed */
	_Atomic bool has_lost;      /* and it was said */
	_Atomic bool reader_left;   /* of a capture on the standard output */
};
/* Returns -1, or the exit status (it has been said). */
int trace_open(struct trace *trace, const char *capture_path, const char *expression,
	       const struct hint_context *context);
/* Returns false when the capture has lost its reader, once. */
bool trace_packets(struct trace *trace, enum direction direction, const struct vnic_packet *packets,
		   unsigned count, uint64_t now_ns);
/* Note that printing failed, if it did, and go on without. */
void trace_check_output(struct trace *trace);
void trace_close(struct trace *trace);

/* report.c: what is said of the host as a whole. */

struct report {
	FILE *out;
	bool json;
	bool has_command;
	bool is_shell;
	uint64_t for_ns; /* 0: until it is stopped */
	const struct nic *nic;
	const struct answers *answers;
	const struct services *services;
	const uint8_t *host_mac; /* NULL: none */
};

struct summary {
	uint64_t duration_ns;
	struct vnic_queue_statistics queues; /* of all of them */
	uint64_t stack[VNIC_STACK_COUNTERS];
	bool has_link;
	struct vnic_link_statistics link;
	const char *capture_path; /* NULL: none */
	uint64_t capture_written, capture_lost;
	int command_status; /* -1: none */
};
void report_ready(const struct report *report);
void report_link(const struct report *report, enum vnic_link_event event, const char *name);
/* The kernel does not segment as it said. */
void report_fallback(const struct report *report, const char *text);
void report_summary(const struct report *report, const struct summary *summary);

/* host.c: all of it. */

struct shard {
	struct host *host;
	struct vnic_stack *stack;
	struct service_instances services;
	struct meter *meter;
	struct vnic_worker *worker; /* while it runs */
	bool has_traffic;           /* that the history has not noted */
};

struct host {
	struct nic nic;
	struct text_list host_texts;
	const char *capture_path;
	const char *expression;
	const char *service_list;
	struct services services;
	struct answers answers;
	struct trace trace;
	struct report report;
	struct netns_watch netns_watch;
	struct user *user;
	struct command_options command_options;
	char *shell[2];
	struct command *command;
	uint8_t mac[VNIC_MAC_BYTES];
	struct shard *shards;
	unsigned shard_count;
	struct history *history;
	bool is_announced;
	uint64_t start_ns;
	uint64_t deadline_ns; /* UINT64_MAX: none */
	bool is_ending;       /* the deadline is over, and the COMMAND was asked to end */
	_Atomic bool is_over;
	_Atomic unsigned conflicts;
	/* Of nic.info.name, and what the kernel said of the interface when it was asked last. */
	pthread_mutex_t lock;
	struct vnic_link_info link;
	uint64_t link_ns; /* 0: never */
	bool has_link;
};

#endif
