/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Packets that go out are collected and handed to the user in bursts. Each place in the burst has a
 * buffer of its own, large enough for whatever is built from scratch (ARP, advertisements, errors,
 * resets) and for a packet of the usual MTU; for longer ones there are a few large buffers. An echo reply is made where its request stands and only takes a place in the burst.
 *
 * A packet larger than its path's MTU is cut up without a copy: the header of each fragment is written
 * right before its part of the payload, over the end of the part before, which the user has seen by
 * then. So fragments are handed out one by one. The first fragment has its headers in front
 * already.
 *
 * Identifications are random: one that counts tells strangers how much we send, and lets them
 * inject fragments (RFC 7739; for IPv4 see RFC 6274 section 3.5.2). What goes out without being
 * fragmented by us may still be fragmented behind us in IPv4, so it has one too. DF is set only by
 * those who act upon what a router says to it, as TCP and endpoints that ask for it do.
 */
#include "stack/output.h"

#include <string.h>

#include "base/bytes.h"
#include "stack/stack.h"

void vn_output_flush(struct vnic_stack *stack)
{
	struct vn_output *output = &stack->output;
	unsigned count = output->count;

	if (count == 0)
		return;
	output->count = 0;
	output->large_count = 0;
	vn_stack_count(stack, VNIC_STACK_SENT, count);
	stack->options.send(stack->options.user, output->packets, count);
}

static void enqueue(struct vnic_stack *stack, const struct vnic_packet *packet)
{
	struct vn_output *output = &stack->output;

	if (output->count == VNIC_BURST_PACKETS)
		vn_output_flush(stack);
	output->packets[output->count++] = *packet;
}

uint8_t *vn_output_buffer(struct vnic_stack *stack)
{
	struct vn_output *output = &stack->output;

	if (output->count == VNIC_BURST_PACKETS)
		vn_output_flush(stack);
	return output->buffers + (size_t)output->count * VN_OUTPUT_BUFFER_BYTES +
	       VN_OUTPUT_HEADROOM_BYTES;
}

uint8_t *vn_output_large(struct vnic_stack *stack)
{
	struct vn_output *output = &stack->output;

	if (output->large_count == VN_OUTPUT_LARGE || output->count == VNIC_BURST_PACKETS)
		vn_output_flush(stack);
	return output->large + (size_t)output->large_count * VN_OUTPUT_LARGE_BYTES +
	       VN_OUTPUT_HEADROOM_BYTES;
}

/* Write the frame's header before payload. @return its length; 0: there is no Ethernet */
static uint32_t put_frame_header(struct vnic_stack *stack, const struct vn_link *link,
				 uint16_t ethertype, uint8_t *payload)
{
	struct vnic_ethernet ethernet = {
		.ethertype = ethertype,
		.vlan_count = link->vlan_count,
	};
	uint32_t header_bytes;

	if (stack->options.layer != VNIC_LAYER_ETHERNET)
		return 0;
	memcpy(ethernet.destination, link->mac, VNIC_MAC_BYTES);
	memcpy(ethernet.source, stack->options.mac, VNIC_MAC_BYTES);
	memcpy(ethernet.vlan, link->vlan, sizeof(ethernet.vlan));
	header_bytes =
		VNIC_ETHERNET_HEADER_BYTES + (uint32_t)link->vlan_count * VNIC_VLAN_TAG_BYTES;
	vnic_ethernet_build(payload - header_bytes, header_bytes, &ethernet);
	return header_bytes;
}

void vn_output_frame(struct vnic_stack *stack, const struct vn_link *link, uint16_t ethertype,
		     uint8_t *payload, size_t length_bytes)
{
	uint32_t header_bytes = put_frame_header(stack, link, ethertype, payload);
	struct vnic_packet packet = {
		.data = payload - header_bytes,
		.length_bytes = (uint32_t)length_bytes + header_bytes,
		.capacity_bytes = (uint32_t)length_bytes + header_bytes,
	};

	enqueue(stack, &packet);
}

void vn_output_packet(struct vnic_stack *stack, const struct vn_link *link,
		      struct vnic_packet *packet)
{
	struct vn_output *output = &stack->output;
	uint16_t ethertype =
		packet->data[0] >> 4 == VNIC_IPV4 ? VNIC_ETHERTYPE_IPV4 : VNIC_ETHERTYPE_IPV6;
	uint32_t header_bytes = put_frame_header(stack, link, ethertype, packet->data);

	if (packet->data >= output->large &&
	    packet->data < output->large + (size_t)VN_OUTPUT_LARGE * VN_OUTPUT_LARGE_BYTES)
		output->large_count++;
	packet->data -= header_bytes;
	packet->length_bytes += header_bytes;
	packet->capacity_bytes = packet->length_bytes;
	if (packet->flags & VNIC_PACKET_NEEDS_CSUM)
		packet->csum_start = (uint16_t)(packet->csum_start + header_bytes);
	enqueue(stack, packet);
}

size_t vn_output_ip_header_bytes(enum vnic_family family)
{
	return family == VNIC_IPV4 ? VNIC_IPV4_HEADER_BYTES : VNIC_IPV6_HEADER_BYTES;
}

size_t vn_output_ip_header(struct vnic_stack *stack, uint8_t *ip, const struct vnic_address *source,
			   const struct vnic_address *destination, uint8_t protocol,
			   uint8_t traffic_class, uint8_t hop_limit, size_t payload_bytes)
{
	if (source->family == VNIC_IPV4) {
		struct vnic_ipv4 ipv4 = {
			.tos = traffic_class,
			.ttl = hop_limit,
			.protocol = protocol,
			.identification = (uint16_t)vn_stack_random32(stack),
			.total_bytes = (uint16_t)(VNIC_IPV4_HEADER_BYTES + payload_bytes),
		};

		memcpy(ipv4.source, source->bytes, VNIC_IPV4_BYTES);
		memcpy(ipv4.destination, destination->bytes, VNIC_IPV4_BYTES);
		vnic_ipv4_build(ip, VNIC_IPV4_HEADER_BYTES, &ipv4);
		return VNIC_IPV4_HEADER_BYTES;
	}
	struct vnic_ipv6 ipv6 = {
		.traffic_class = traffic_class,
		.next_header = protocol,
		.hop_limit = hop_limit,
		.payload_bytes = (uint16_t)payload_bytes,
	};

	memcpy(ipv6.source, source->bytes, VNIC_IPV6_BYTES);
	memcpy(ipv6.destination, destination->bytes, VNIC_IPV6_BYTES);
	vnic_ipv6_build(ip, VNIC_IPV6_HEADER_BYTES, &ipv6);
	return VNIC_IPV6_HEADER_BYTES;
}

/*
 * The options that every fragment carries (RFC 791 section 3.1, the copied flag). @return their
 * length
 */
static uint8_t copied_options(const struct vnic_ipv4 *ipv4, uint8_t *copied)
{
	const uint8_t *option;
	size_t offset = 0, option_bytes;
	uint8_t length = 0;

	while (vnic_ipv4_next_option(ipv4, &offset, &option, &option_bytes) == 1) {
		if ((option[0] & 0x80) == 0)
			continue;
		memcpy(copied + length, option, option_bytes);
		length = (uint8_t)(length + option_bytes);
	}
	while (length % 4 != 0)
		copied[length++] = VNIC_IPV4_OPTION_END;
	return length;
}

static void fragment_ipv4(struct vnic_stack *stack, const struct vn_link *link, size_t mtu,
			  uint8_t *ip, size_t length_bytes)
{
	size_t header_bytes, slice, total, at = 0;
	struct vnic_ipv4 ipv4;
	uint8_t *payload;
	int rc = vnic_ipv4_parse_lenient(ip, length_bytes, &ipv4);

	if (rc < 0)
		return; /* we wrote it: cannot be */
	header_bytes = (size_t)rc;
	payload = ip + header_bytes;
	total = length_bytes - header_bytes;
	ipv4.dont_fragment = false;
	while (at < total) {
		slice = (mtu - header_bytes) & ~(size_t)7;
		if (slice >= total - at)
			slice = total - at;
		ipv4.fragment_offset_bytes = (uint16_t)at;
		ipv4.more_fragments = at + slice < total;
		ipv4.total_bytes = (uint16_t)(header_bytes + slice);
		vnic_ipv4_build(payload + at - header_bytes, header_bytes, &ipv4);
		vn_output_frame(stack, link, VNIC_ETHERTYPE_IPV4, payload + at - header_bytes,
				header_bytes + slice);
		vn_output_flush(stack);
		if (at == 0) {
			uint8_t copied[sizeof(ipv4.options)];

			ipv4.options_bytes = copied_options(&ipv4, copied);
			memcpy(ipv4.options, copied, ipv4.options_bytes);
			header_bytes = VNIC_IPV4_HEADER_BYTES + (size_t)ipv4.options_bytes;
		}
		at += slice;
	}
}

static void fragment_ipv6(struct vnic_stack *stack, const struct vn_link *link, size_t mtu,
			  uint8_t *ip, size_t length_bytes)
{
	const size_t header_bytes = VNIC_IPV6_HEADER_BYTES + VNIC_IPV6_FRAGMENT_BYTES;
	size_t most = (mtu - header_bytes) & ~(size_t)7, slice;
	uint8_t *payload = ip + VNIC_IPV6_HEADER_BYTES;
	size_t total = length_bytes - VNIC_IPV6_HEADER_BYTES;
	struct vnic_ipv6 ipv6;
	struct vnic_ipv6_extension fragment = {.identification = vn_stack_random32(stack)};

	if (vnic_ipv6_parse_lenient(ip, length_bytes, &ipv6) < 0)
		return; /* we wrote it: cannot be */
	fragment.type = VNIC_PROTOCOL_FRAGMENT;
	fragment.next_header = ipv6.next_header;
	ipv6.next_header = VNIC_PROTOCOL_FRAGMENT;
	for (size_t at = 0; at < total; at += slice) {
		uint8_t *header = payload + at - header_bytes;

		slice = total - at > most ? most : total - at;
		fragment.fragment_offset_bytes = (uint16_t)at;
		fragment.more_fragments = at + slice < total;
		ipv6.payload_bytes = (uint16_t)(VNIC_IPV6_FRAGMENT_BYTES + slice);
		vnic_ipv6_build(header, VNIC_IPV6_HEADER_BYTES, &ipv6);
		vnic_ipv6_fragment_build(header + VNIC_IPV6_HEADER_BYTES, VNIC_IPV6_FRAGMENT_BYTES,
					 &fragment);
		vn_output_frame(stack, link, VNIC_ETHERTYPE_IPV6, header, header_bytes + slice);
		vn_output_flush(stack);
	}
}

void vn_output_ip(struct vnic_stack *stack, const struct vn_link *link, uint8_t *ip,
		  size_t length_bytes)
{
	bool ipv4 = ip[0] >> 4 == VNIC_IPV4;
	struct vnic_packet packet = {.data = ip, .length_bytes = (uint32_t)length_bytes};
	struct vnic_address destination =
		vnic_address_from_bytes(ipv4 ? VNIC_IPV4 : VNIC_IPV6, ip + (ipv4 ? 16 : 24));
	size_t mtu = vn_path_mtu(stack, &destination);

	if (length_bytes <= mtu) {
		vn_output_packet(stack, link, &packet);
		return;
	}
	vn_output_flush(stack); /* keeps the order */
	if (ipv4)
		fragment_ipv4(stack, link, mtu, ip, length_bytes);
	else
		fragment_ipv6(stack, link, mtu, ip, length_bytes);
}
