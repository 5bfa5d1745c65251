/* SPDX-License-Identifier: MIT */
/*
 * Cutting anything at all, described in any way. The input is ten bytes of description, six more of
 * a tunnel's where there is one, and the packet. What is accepted gives as many segments as were
 * announced, each of which a strict reader accepts, and which have all of the payload in order; a
 * segment that does not fit changes nothing.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <vnic/segment.h>

#include "../unit/samples.h"

#define DESCRIPTION_BYTES 10
#define TUNNEL_BYTES 6
#define CUT_AT_ONCE 4

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint16_t load16(const uint8_t *bytes)
{
	return (uint16_t)(bytes[0] << 8 | bytes[1]);
}

static void store16(uint8_t *bytes, uint16_t value)
{
	bytes[0] = (uint8_t)(value >> 8);
	bytes[1] = (uint8_t)value;
}

/* Makes right what a fuzzer would rarely guess: the IP length and checksum. */
static void repair(uint8_t *bytes, size_t length, enum vnic_layer layer)
{
	struct vnic_ethernet ethernet;
	int used = 0;

	if (layer == VNIC_LAYER_ETHERNET)
		used = vnic_ethernet_parse(bytes, length, &ethernet);
	if (used < 0 || length - (size_t)used > 65535)
		return;
	bytes += used;
	length -= (size_t)used;
	if (length >= 40 && bytes[0] >> 4 == 6) {
		store16(bytes + 4, (uint16_t)(length - 40));
	} else if (length >= 20 && bytes[0] >> 4 == 4 && (size_t)(bytes[0] & 15) * 4 <= length) {
		store16(bytes + 2, (uint16_t)length);
		store16(bytes + 10, 0);
		store16(bytes + 10, vnic_checksum(bytes, (size_t)(bytes[0] & 15) * 4));
	}
}

/* What an accepted packet should hold, if it has no routing header. */
static uint16_t pseudo_sum(const struct vnic_segmenter *segmenter)
{
	const uint8_t *network = segmenter->packet.data + segmenter->network.offset_bytes;
	bool ipv4 = segmenter->network.ipv4;
	enum vnic_family family = ipv4 ? VNIC_IPV4 : VNIC_IPV6;
	struct vnic_address source = vnic_address_from_bytes(family, network + (ipv4 ? 12 : 8));
	struct vnic_address destination =
		vnic_address_from_bytes(family, network + (ipv4 ? 16 : 24));

	return vnic_checksum_fold(vnic_checksum_add_pseudo(
		0, &source, &destination, segmenter->tcp ? VNIC_PROTOCOL_TCP : VNIC_PROTOCOL_UDP,
		segmenter->header_bytes + segmenter->payload_bytes - segmenter->transport_offset));
}

static void check_segment(const struct vnic_segmenter *segmenter, const struct vnic_packet *part,
			  enum vnic_layer layer, uint32_t *position)
{
	const struct vnic_packet *super = &segmenter->packet;
	uint32_t header = segmenter->header_bytes, payload = part->length_bytes - header;
	const char *complaint = plain_complaint(part, layer);

	/* The outer sum is as good as the pseudo header's that came; the inner one must be right. */
	if (super->gso_tunnel && (!complaint || strstr(complaint, "checksum"))) {
		struct vnic_packet inner = *part;

		inner.data += super->inner_start;
		inner.length_bytes -= super->inner_start;
		complaint = plain_complaint(&inner, VNIC_LAYER_IP);
	}
	if (complaint && strstr(complaint, "checksum"))
		assert(load16(super->data + super->csum_start + super->csum_offset) !=
		       pseudo_sum(segmenter));
	else
		assert(!complaint);
	assert(part->length_bytes >= header && payload <= super->gso_size_bytes);
	assert(payload <= segmenter->payload_bytes - *position);
	assert(payload == super->gso_size_bytes || payload == segmenter->payload_bytes - *position);
	assert(memcmp(part->data + header, super->data + header + *position, payload) == 0);
	*position += payload;
}

/* Memory of the exact size, but for one byte that is missing first. */
static unsigned cut(struct vnic_segmenter *segmenter, enum vnic_layer layer, uint32_t *position)
{
	const struct vnic_packet *super = &segmenter->packet;
	bool plain = super->gso_type == VNIC_GSO_NONE;
	struct vnic_packet parts[CUT_AT_ONCE] = {{.data = NULL}};
	uint32_t size[CUT_AT_ONCE] = {super->length_bytes};
	int count;

	for (unsigned i = 0; i < CUT_AT_ONCE; i++) {
		uint32_t ahead = *position + i * super->gso_size_bytes;
		uint32_t left =
			segmenter->payload_bytes > ahead ? segmenter->payload_bytes - ahead : 0;

		if (!plain)
			size[i] = segmenter->header_bytes +
				  (left < super->gso_size_bytes ? left : super->gso_size_bytes);
		parts[i].data = malloc(size[i] ? size[i] : 1);
		assert(parts[i].data);
	}
	if (segmenter->index == 0 && size[0] > 0) {
		parts[0].capacity_bytes = size[0] - 1;
		assert(vnic_segmenter_next(segmenter, parts, CUT_AT_ONCE) == -EMSGSIZE);
		assert(segmenter->index == 0 && segmenter->position_bytes == 0);
	}
	for (unsigned i = 0; i < CUT_AT_ONCE; i++)
		parts[i].capacity_bytes = size[i];
	count = vnic_segmenter_next(segmenter, parts, CUT_AT_ONCE);
	assert(count >= 0 && count <= CUT_AT_ONCE);
	for (int i = 0; i < count; i++) {
		assert(parts[i].gso_type == VNIC_GSO_NONE);
		assert(!(parts[i].flags & VNIC_PACKET_NEEDS_CSUM));
		if (plain)
			assert(parts[i].length_bytes == super->length_bytes);
		else
			check_segment(segmenter, &parts[i], layer, position);
	}
	for (unsigned i = 0; i < CUT_AT_ONCE; i++)
		free(parts[i].data);
	return (unsigned)count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vnic_packet packet = {.data = NULL};
	struct vnic_segmenter segmenter;
	enum vnic_layer layer;
	size_t used = DESCRIPTION_BYTES;
	uint32_t position = 0;
	unsigned done = 0, more;
	int count;

	if (size < DESCRIPTION_BYTES || size > VNIC_PACKET_BYTES)
		return 0;
	packet.flags = data[0];
	packet.gso_type = data[1];
	packet.gso_size_bytes = load16(data + 2);
	packet.csum_start = load16(data + 4);
	packet.csum_offset = load16(data + 6);
	layer = data[8] & 1 ? VNIC_LAYER_ETHERNET : VNIC_LAYER_IP;
	if (data[8] & 8) {
		if (size < DESCRIPTION_BYTES + TUNNEL_BYTES)
			return 0;
		packet.gso_tunnel = data[10];
		packet.gso_tunnel_csum = data[11] & 1;
		packet.tunnel_start = load16(data + 12);
		packet.inner_start = load16(data + 14);
		used += TUNNEL_BYTES;
	}
	packet.length_bytes = (uint32_t)(size - used);
	packet.capacity_bytes = packet.length_bytes;
	packet.data = malloc(packet.length_bytes ? packet.length_bytes : 1);
	assert(packet.data);
	memcpy(packet.data, data + used, packet.length_bytes);
	if (data[8] & 2)
		repair(packet.data, packet.length_bytes, layer);
	count = vnic_segmenter_begin(&segmenter, &packet, layer);
	assert(count == -EBADMSG || (count >= 1 && count <= 65535));
	if (count > 0 && packet.gso_type != VNIC_GSO_NONE && (data[8] & 4)) {
		store16(packet.data + packet.csum_start + packet.csum_offset,
			pseudo_sum(&segmenter));
		assert(vnic_segmenter_begin(&segmenter, &packet, layer) == count);
	}
	if (count > 0) {
		while ((more = cut(&segmenter, layer, &position)) > 0)
			done += more;
		assert(done == (unsigned)count);
		assert(position == segmenter.payload_bytes);
	}
	free(packet.data);
	return 0;
}
