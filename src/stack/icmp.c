/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Echo requests are answered; errors, neighbour discovery and group management have files of their
 * own; everything else of ICMP is nothing that a host has a use for. Timestamp requests need no answer (RFC 1122 section 3.2.2.8) and tell strangers the time:
 * they get none. Unknown types are dropped silently (RFC 1122 section 3.2.2, RFC 4443 section 2.4).
 *
 * The reply is made where the request stands: addresses swapped (which changes no checksum), a new
 * type with the checksum updated for it (RFC 1624), a new hop limit. However long the data, nobody
 * copies them or sums them up a second time. The reply has the request's DSCP and flow label, but
 * no ECN marks.
 *
 * Requests to a group: in IPv6 those to all nodes are answered from one of our addresses (RFC 4443
 * section 4.2), in IPv4 none (RFC 1122 section 3.2.2.6 allows it), for that is how floods
 * were made.
 */
#include <string.h>

#include "base/bytes.h"
#include "stack/stack.h"

#define ECN_BITS 3

/*
 * Fragmenting needs headroom for a header that the request did not have. Where the memory before it
 * is too small, the packet is moved to memory of our own. @return where it is then
 */
static uint8_t *make_room(struct vnic_stack *stack, const struct vn_input *input, uint8_t *ip,
			  size_t length_bytes)
{
	size_t before = (size_t)(ip - input->packet->data) + input->packet->headroom_bytes;
	uint8_t *moved = stack->whole + VN_OUTPUT_HEADROOM_BYTES;

	if (length_bytes <= vn_path_mtu(stack, &input->source) ||
	    before >= VN_OUTPUT_HEADROOM_BYTES || input->reassembled)
		return ip;
	vn_output_flush(stack);
	memcpy(moved, ip, length_bytes);
	return moved;
}

static vn_verdict reply_ipv4(struct vnic_stack *stack, struct vn_input *input)
{
	uint8_t *ip = input->ip, *icmp = ip + input->transport;
	struct vnic_address destination = input->source;
	uint16_t checksum;

	if (input->transport > VNIC_IPV4_HEADER_BYTES) {
		unsigned wrong = vn_ipv4_options_reply(stack, input, ip, &destination);

		if (wrong > 0)
			return vn_error_send(stack, input, VNIC_ICMP_PARAMETER_PROBLEM, 0,
					     wrong << 24);
	}
	/*
	 * The update cannot tell the two zeros of this arithmetic apart. Where everything else in
	 * the reply is zero only 0xffff is right, and elsewhere it is as good as 0.
	 */
	checksum = vnic_checksum_update16(vn_load16(icmp + 2), vn_load16(icmp),
					  VNIC_ICMP_ECHO_REPLY << 8);
	vn_store16(icmp + 2, checksum == 0 ? 0xffff : checksum);
	vn_store16(icmp, VNIC_ICMP_ECHO_REPLY << 8);

	ip[1] &= (uint8_t)~ECN_BITS;
	vn_store16(ip + 4, (uint16_t)vn_stack_random32(stack));
	vn_store16(ip + 6, 0);
	ip[8] = stack->options.ttl;
	vn_store16(ip + 10, 0);
	memcpy(ip + 12, input->destination.bytes, VNIC_IPV4_BYTES);
	memcpy(ip + 16, destination.bytes, VNIC_IPV4_BYTES);
	vn_store16(ip + 10, vnic_checksum(ip, input->transport));
	vn_output_ip(stack, &input->link, ip, input->ip_bytes);
	return VNIC_STACK_ECHO_REPLIES;
}

vn_verdict vn_icmp_input(struct vnic_stack *stack, struct vn_input *input)
{
	struct vnic_icmp icmp;
	uint32_t length_bytes = input->ip_bytes - input->transport;

	if (vnic_packet_finish_checksum(input->packet) < 0 || length_bytes < VNIC_ICMP_HEADER_BYTES)
		return VNIC_STACK_DROP_MALFORMED;
	if (vnic_icmp_parse(input->ip + input->transport, length_bytes, &icmp) < 0)
		return VNIC_STACK_DROP_CHECKSUM;
	switch (icmp.type) {
	case VNIC_ICMP_ECHO_REQUEST:
		if (input->group)
			return VNIC_STACK_DROP_NOT_ANSWERABLE;
		return reply_ipv4(stack, input);
	case VNIC_ICMP_UNREACHABLE:
	case VNIC_ICMP_PARAMETER_PROBLEM:
		return vn_notice_input(stack, input, &icmp);
	default:
		return VNIC_STACK_DROP_UNWANTED;
	}
}

/*
 * The reply has no extension headers: its IPv6 header moves up to where the request's ICMP header
 * begins.
 */
static vn_verdict reply_ipv6(struct vnic_stack *stack, struct vn_input *input)
{
	uint8_t *icmp = input->ip + input->transport, *ip = icmp - VNIC_IPV6_HEADER_BYTES;
	uint32_t length_bytes = input->ip_bytes - input->transport;
	struct vnic_address source = input->destination;
	uint16_t checksum = vn_load16(icmp + 2);

	if (input->group) {
		if (!vn_addresses_choose(&stack->addresses, &input->destination, &input->source,
					 &source))
			return VNIC_STACK_DROP_NOT_ANSWERABLE;
		for (unsigned i = 0; i < VNIC_IPV6_BYTES; i += 4)
			checksum = vnic_checksum_update32(checksum,
							  vn_load32(input->destination.bytes + i),
							  vn_load32(source.bytes + i));
	}
	checksum = vnic_checksum_update16(checksum, vn_load16(icmp), VNIC_ICMPV6_ECHO_REPLY << 8);
	vn_store16(icmp, VNIC_ICMPV6_ECHO_REPLY << 8);
	vn_store16(icmp + 2, checksum);

	memmove(ip, input->ip, 4); /* version, traffic class, flow label */
	ip[1] &= (uint8_t) ~(ECN_BITS << 4);
	vn_store16(ip + 4, (uint16_t)length_bytes);
	ip[6] = VNIC_PROTOCOL_ICMPV6;
	ip[7] = stack->options.ttl;
	memcpy(ip + 8, source.bytes, VNIC_IPV6_BYTES);
	memcpy(ip + 24, input->source.bytes, VNIC_IPV6_BYTES);
	length_bytes += VNIC_IPV6_HEADER_BYTES;
	ip = make_room(stack, input, ip, length_bytes);
	vn_output_ip(stack, &input->link, ip, length_bytes);
	return VNIC_STACK_ECHO_REPLIES;
}

vn_verdict vn_icmpv6_input(struct vnic_stack *stack, struct vn_input *input)
{
	struct vnic_icmp icmp;
	uint32_t length_bytes = input->ip_bytes - input->transport;

	if (vnic_packet_finish_checksum(input->packet) < 0 || length_bytes < VNIC_ICMP_HEADER_BYTES)
		return VNIC_STACK_DROP_MALFORMED;
	if (vnic_icmpv6_parse(input->ip + input->transport, length_bytes, &input->source,
			      &input->destination, &icmp) < 0)
		return VNIC_STACK_DROP_CHECKSUM;
	switch (icmp.type) {
	case VNIC_ICMPV6_ECHO_REQUEST:
		if (vnic_address_is_unspecified(&input->source))
			return VNIC_STACK_DROP_SOURCE;
		return reply_ipv6(stack, input);
	case VNIC_ICMPV6_UNREACHABLE:
	case VNIC_ICMPV6_PACKET_TOO_BIG:
	case VNIC_ICMPV6_PARAMETER_PROBLEM:
		return vn_notice_input(stack, input, &icmp);
	case VNIC_ICMPV6_NEIGHBOR_SOLICITATION:
	case VNIC_ICMPV6_NEIGHBOR_ADVERTISEMENT:
		return vn_ndp_input(stack, input, &icmp);
	case VNIC_ICMPV6_MLD_QUERY:
		return vn_mld_input(stack, input, &icmp);
	default:
		return VNIC_STACK_DROP_UNWANTED;
	}
}
