/* SPDX-License-Identifier: MIT */
/* What goes through a shard of the host, by protocol, size and flow: see meter.c. */
#ifndef TOOL_METER_H
#define TOOL_METER_H

#include "host.h"

enum meter_protocol {
	METER_TCP = 0,
	METER_UDP,
	METER_ICMP, /* of both families */
	METER_ARP,
	METER_OTHER,
	METER_PROTOCOLS
};
/* "tcp" */
const char *meter_protocol_name(enum meter_protocol protocol);

/* Classes of packet sizes: up to so many bytes each, the last one without a bound. */
#define METER_SIZES 9
/* 0 for the last. */
unsigned meter_size_bound(unsigned class);

#define METER_DIRECTIONS 2 /* enum direction */

struct meter_traffic {
	uint64_t packets, bytes;
};

struct meter_flow {
	struct vnic_flow flow;
	uint8_t protocol; /* of IP */
	struct meter_traffic traffic[METER_DIRECTIONS];
	uint64_t first_ns, last_ns;
};

/* What meters say, to be added up over shards. */
struct meter_totals {
	struct meter_traffic protocols[METER_DIRECTIONS][METER_PROTOCOLS];
	uint64_t sizes[METER_DIRECTIONS][METER_SIZES]; /* packets */
	uint64_t segments[METER_DIRECTIONS]; /* packets, a super-packet as what it stands for */
	uint64_t flows_forgotten;            /* to make room for others */
	unsigned flows;                      /* remembered now */
};

struct meter;
/* @return NULL: no memory */
struct meter *meter_new(enum vnic_layer layer, uint64_t seed);
void meter_free(struct meter *meter);
/* Count packets: by the one thread that the meter belongs to. */
void meter_count(struct meter *meter, enum direction direction, const struct vnic_packet *packets,
		 unsigned count, uint64_t now_ns);
/* The rest may be called by any thread at any time. */
void meter_add(const struct meter *meter, struct meter_totals *totals);
/* All packets of one direction. */
struct meter_traffic meter_traffic(const struct meter *meter, enum direction direction);
/*
 * Add the flows of a meter to a table of the largest ones, in descending order of bytes. One that is
 * there already (of another shard) is added up. Returns how many are in the table then.
 */
unsigned meter_add_flows(const struct meter *meter, struct meter_flow *flows, unsigned count,
			 unsigned room);

#endif
