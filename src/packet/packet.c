/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A burst is one piece of memory, cut into as many equal pieces as it has packets. Room for 64 of
 * the longest packets is 4 MiB, but pages that are never written are never given, and a program
 * that sees packets of 1,500 bytes writes one or two of each piece.
 *
 * Pieces are a multiple of a cache line apart but never of a page: were the headers of all packets
 * at the same offset in their pages, they would compete for the same few sets of the cache.
 */
#include <vnic/packet.h>

#include <errno.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "base/error.h"
#include "base/memory.h"

#define CACHE_LINE_BYTES 64
#define PAGE_BYTES 4096
#define UDP_CHECKSUM_OFFSET 6

struct vnic_burst {
	uint8_t *memory;
	size_t memory_bytes;
	size_t stride_bytes;
	uint32_t capacity_bytes;
	uint32_t headroom_bytes;
	unsigned count;
	struct vnic_packet packets[];
};

int vnic_burst_new(unsigned count, uint32_t capacity_bytes, uint32_t headroom_bytes,
		   struct vnic_burst **burst, struct vnic_error *error)
{
	struct vnic_burst *made;
	uint64_t stride;

	if (count < 1 || count > VNIC_BURST_PACKETS)
		return vn_error(error, -EINVAL, VNIC_CAUSE_ARGUMENT,
				"a burst has 1 to %d packets, not %u", VNIC_BURST_PACKETS, count);
	if (capacity_bytes > VNIC_PACKET_BYTES + 1)
		return vn_error(error, -EINVAL, VNIC_CAUSE_ARGUMENT,
				"a packet has room for at most %d bytes, not %u",
				VNIC_PACKET_BYTES + 1, capacity_bytes);
	if (capacity_bytes == 0)
		capacity_bytes = VNIC_PACKET_BYTES + 1;
	stride = (uint64_t)capacity_bytes + headroom_bytes + CACHE_LINE_BYTES - 1;
	stride -= stride % CACHE_LINE_BYTES;
	if (stride % PAGE_BYTES == 0)
		stride += CACHE_LINE_BYTES;
	if (stride > PTRDIFF_MAX / count)
		return vn_error(error, -ENOMEM, VNIC_CAUSE_MEMORY,
				"no memory for %u packets of %u bytes", count, capacity_bytes);

	made = calloc(1, sizeof(*made) + count * sizeof(made->packets[0]));
	if (!made)
		return vn_error(error, -ENOMEM, VNIC_CAUSE_MEMORY, "no memory for a burst");
	made->stride_bytes = (size_t)stride;
	made->memory_bytes = made->stride_bytes * count;
	made->capacity_bytes = capacity_bytes;
	made->headroom_bytes = headroom_bytes;
	made->count = count;
	made->memory = vn_memory_reserve(made->memory_bytes);
	if (!made->memory) {
		free(made);
		return vn_error(error, -ENOMEM, VNIC_CAUSE_MEMORY,
				"no memory for %u packets of %u bytes", count, capacity_bytes);
	}
	vnic_burst_reset(made);
	*burst = made;
	return 0;
}

void vnic_burst_free(struct vnic_burst *burst)
{
	if (!burst)
		return;
	vn_memory_release(burst->memory, burst->memory_bytes);
	free(burst);
}

struct vnic_packet *vnic_burst_packets(struct vnic_burst *burst)
{
	return burst->packets;
}

unsigned vnic_burst_count(const struct vnic_burst *burst)
{
	return burst->count;
}

void vnic_burst_reset(struct vnic_burst *burst)
{
	for (unsigned i = 0; i < burst->count; i++)
		burst->packets[i] = (struct vnic_packet){
			.data = burst->memory + i * burst->stride_bytes + burst->headroom_bytes,
			.capacity_bytes = burst->capacity_bytes,
			.headroom_bytes = burst->headroom_bytes,
		};
}

int vnic_packet_finish_checksum(struct vnic_packet *packet)
{
	size_t field = (size_t)packet->csum_start + packet->csum_offset;
	uint16_t checksum;

	if (!(packet->flags & VNIC_PACKET_NEEDS_CSUM))
		return 0;
	if (field + 2 > packet->length_bytes)
		return -EBADMSG;
	/* The field holds the sum of the pseudo header, and so takes part as it is. */
	checksum = vnic_checksum(packet->data + packet->csum_start,
				 packet->length_bytes - packet->csum_start);
	if (checksum == 0 && packet->csum_offset == UDP_CHECKSUM_OFFSET)
		checksum = 0xffff;
	vn_store16(packet->data + field, checksum);
	packet->flags &= (uint8_t)~VNIC_PACKET_NEEDS_CSUM;
	return 0;
}
