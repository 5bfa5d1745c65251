/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. Not everything takes every packet: a handler that asks for plain ones, an
 * interface whose kernel does not segment, the other end of a wire. What does not go as it is is
 * cut into segments with complete checksums, or completed; that is what an outlet is for.
 *
 * Segments lie behind one another in memory, from its beginning for each array: 64 of 1500 bytes
 * stay in the cache. There is room for the longest ones, of which nothing is touched that is not
 * needed.
 *
 * A burst of super-packets is bounded in bytes as well as in packets, since what was received shall
 * still be in the second-level cache when it is sent. How long the next packets will be nobody
 * knows; the last burst is a good guess.
 */
#include "io/outlet.h"

#include <errno.h>

#include "base/memory.h"

#define CACHE_LINE_BYTES 64
#define BURST_BYTES UINT64_C(262144)
#define BURST_LEAST 2

static size_t to_cache_lines(size_t bytes)
{
	return (bytes + CACHE_LINE_BYTES - 1) / CACHE_LINE_BYTES * CACHE_LINE_BYTES;
}

/* The longest segment, for each packet of an array. */
static size_t memory_bytes(const struct vn_outlet *outlet)
{
	return VNIC_BURST_PACKETS *
	       to_cache_lines(VNIC_PACKET_BYTES + (size_t)2 * outlet->headroom_bytes);
}

int vn_outlet_init(struct vn_outlet *outlet, uint32_t headroom_bytes)
{
	outlet->count = 0;
	outlet->used_bytes = 0;
	outlet->headroom_bytes = headroom_bytes;
	outlet->memory = vn_memory_reserve(memory_bytes(outlet));
	return outlet->memory ? 0 : -ENOMEM;
}

void vn_outlet_free(struct vn_outlet *outlet)
{
	vn_memory_release(outlet->memory, memory_bytes(outlet));
	outlet->memory = NULL;
}

/* No segment is longer than the packet that it is cut from. */
static uint32_t longest_segment(const struct vnic_segmenter *segmenter)
{
	const struct vnic_packet *packet = &segmenter->packet;
	uint32_t bytes = segmenter->header_bytes + packet->gso_size_bytes;

	return packet->gso_type != VNIC_GSO_NONE && bytes < packet->length_bytes
		       ? bytes
		       : packet->length_bytes;
}

unsigned vn_outlet_cut(struct vn_outlet *outlet, struct vnic_segmenter *segmenter)
{
	uint32_t headroom = outlet->headroom_bytes;
	uint32_t capacity = longest_segment(segmenter) + headroom;
	size_t stride = to_cache_lines(headroom + capacity);
	uint8_t *memory = outlet->memory + outlet->used_bytes + headroom;
	int made;

	for (unsigned i = outlet->count; i < VNIC_BURST_PACKETS; i++, memory += stride)
		outlet->packets[i] = (struct vnic_packet){
			.data = memory,
			.capacity_bytes = capacity,
			.headroom_bytes = headroom,
		};
	made = vnic_segmenter_next(segmenter, outlet->packets + outlet->count,
				   VNIC_BURST_PACKETS - outlet->count);
	if (made <= 0) /* they fit, so there are none left */
		return 0;
	outlet->count += (unsigned)made;
	outlet->used_bytes += (size_t)made * stride;
	return (unsigned)made;
}

bool vn_offloads_take(unsigned offloads, const struct vnic_packet *packet)
{
	unsigned wanted = VNIC_OFFLOAD_CSUM;

	switch (packet->gso_type) {
	case VNIC_GSO_NONE:
		return !(packet->flags & VNIC_PACKET_NEEDS_CSUM) || offloads & VNIC_OFFLOAD_CSUM;
	case VNIC_GSO_TCP4:
		wanted |= VNIC_OFFLOAD_TSO4;
		break;
	case VNIC_GSO_TCP6:
		wanted |= VNIC_OFFLOAD_TSO6;
		break;
	default:
		wanted |= VNIC_OFFLOAD_USO;
		break;
	}
	if (packet->gso_ecn)
		wanted |= VNIC_OFFLOAD_ECN;
	if (packet->gso_tunnel)
		wanted |= VNIC_OFFLOAD_UDP_TUNNEL;
	if (packet->gso_tunnel_csum)
		wanted |= VNIC_OFFLOAD_UDP_TUNNEL_CSUM;
	return (offloads & wanted) == wanted;
}

unsigned vn_burst_wanted(const struct vnic_packet *packets, unsigned count)
{
	uint64_t bytes = 1, wanted;

	for (unsigned i = 0; i < count; i++)
		bytes += packets[i].length_bytes;
	wanted = BURST_BYTES * count / bytes;
	if (wanted > VNIC_BURST_PACKETS)
		return VNIC_BURST_PACKETS;
	return wanted > BURST_LEAST ? (unsigned)wanted : BURST_LEAST;
}
