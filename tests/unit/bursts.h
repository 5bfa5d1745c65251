/* SPDX-License-Identifier: MIT */
/*
 * Bursts of samples that are merged. Whatever the outcome, it is cut again and must be the packets
 * that went in, byte by byte, in the order that they had within their flow.
 */
#ifndef VN_TEST_BURSTS_H
#define VN_TEST_BURSTS_H

#include <stdbool.h>
#include <vnic/merge.h>

#include "samples.h"

#define BOTH (VNIC_MERGE_TCP | VNIC_MERGE_UDP)
#define SIZE 1000 /* of a usual payload */
#define NO_FLOW (-1)

/* Packets as they were before merging, with their flows. */
struct burst {
	struct vnic_burst *memory;
	struct vnic_packet *packets;
	struct vnic_packet before[VNIC_BURST_PACKETS]; /* with copies of the bytes */
	int flows[VNIC_BURST_PACKETS];                 /* NO_FLOW: order does not matter */
	bool taken[VNIC_BURST_PACKETS];
	unsigned count;
};

void open_burst(struct burst *burst);
void close_burst(struct burst *burst);
/* Another packet, of a flow or NO_FLOW. */
struct vnic_packet *add(struct burst *burst, const struct sample *sample, int flow);
/* Merges, and takes everything apart again. Returns the number of packets in the result. */
unsigned merge(struct burst *burst, enum vnic_layer layer, unsigned what, const char *name);
/* What continues it. */
struct sample next_of(const struct sample *sample);

/* One of each kind that can be merged. */
#define BASES 7
extern const struct sample bases[BASES];

#endif
