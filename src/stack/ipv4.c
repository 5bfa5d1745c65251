/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * An IPv4 packet is ours if it goes to one of our addresses, a broadcast address of theirs or the
 * group of all hosts. What comes from where no single host can be is dropped (RFC 1122 section
 * 3.2.1.3). Its options are looked at before it is put together from fragments, so that an error
 * can quote them. A datagram that came in fragments goes through here once more when it is whole.
 */
#include <string.h>

#include "base/bytes.h"
#include "stack/stack.h"

/*
 * The parser says only that something is wrong; the counters tell a wrong checksum from the rest.
 */
static vn_verdict why_refused(const struct vn_input *input)
{
	struct vnic_ipv4 ipv4;
	int header_bytes = vnic_ipv4_parse_lenient(input->ip, input->ip_bytes, &ipv4);

	if (header_bytes > 0 && vnic_checksum(input->ip, (size_t)header_bytes) != 0)
		return VNIC_STACK_DROP_CHECKSUM;
	return VNIC_STACK_DROP_MALFORMED;
}

static bool is_bad_source(struct vnic_stack *stack, const struct vn_input *input)
{
	const struct vnic_address *source = &input->source;

	return source->bytes[0] == 0 || vnic_address_is_multicast(source) ||
	       vnic_address_is_loopback(source) ||
	       vn_addresses_is_broadcast(&stack->addresses, source) ||
	       vn_addresses_own(&stack->addresses, source) ||
	       vnic_address_equal(source, &input->destination);
}

static vn_verdict input_transport(struct vnic_stack *stack, struct vn_input *input)
{
	switch (input->protocol) {
	case VNIC_PROTOCOL_ICMP:
		return vn_icmp_input(stack, input);
	case VNIC_PROTOCOL_UDP:
		return vn_udp_input(stack, input);
	case VNIC_PROTOCOL_TCP:
		return vn_tcp_input(stack, input);
	default:
		return vn_error_send(stack, input, VNIC_ICMP_UNREACHABLE,
				     VNIC_ICMP_UNREACHABLE_PROTOCOL, 0);
	}
}

static vn_verdict input_options(struct vnic_stack *stack, struct vn_input *input)
{
	bool source_route_left = false;
	unsigned wrong = vn_ipv4_options_check(&input->ipv4, &source_route_left);

	if (wrong > 0)
		return vn_error_send(stack, input, VNIC_ICMP_PARAMETER_PROBLEM, 0, wrong << 24);
	if (source_route_left)
		return vn_error_send(stack, input, VNIC_ICMP_UNREACHABLE,
				     VNIC_ICMP_UNREACHABLE_SOURCE_ROUTE, 0);
	return VNIC_STACK_RECEIVED;
}

static vn_verdict input_whole(struct vnic_stack *stack, const struct vn_input *fragment,
			      uint32_t length_bytes)
{
	uint8_t *ip = stack->whole + VN_OUTPUT_HEADROOM_BYTES;
	uint32_t header_bytes = (uint32_t)(ip[0] & 15) * 4;

	vn_store16(ip + 2, (uint16_t)length_bytes);
	vn_store16(ip + 6, 0);
	vn_store16(ip + 10, 0);
	vn_store16(ip + 10, vnic_checksum(ip, header_bytes));
	return vn_ip_input_whole(stack, fragment, length_bytes);
}

static vn_verdict input_fragment(struct vnic_stack *stack, struct vn_input *input)
{
	const struct vnic_ipv4 *ipv4 = &input->ipv4;
	uint32_t header_bytes = input->transport, data_bytes = input->ip_bytes - header_bytes;
	uint32_t length_bytes;
	vn_verdict verdict;
	struct vn_fragment fragment = {
		.identification = ipv4->identification,
		.protocol = ipv4->protocol,
		.more = ipv4->more_fragments,
		.offset_bytes = ipv4->fragment_offset_bytes,
		.data_bytes = (uint16_t)data_bytes,
		.data = input->ip + header_bytes,
		.header_bytes = (uint16_t)header_bytes,
	};

	if (data_bytes == 0 || (ipv4->more_fragments && data_bytes % 8 != 0) ||
	    header_bytes + ipv4->fragment_offset_bytes + data_bytes > 65535)
		return VNIC_STACK_DROP_MALFORMED;
	if (vnic_packet_finish_checksum(input->packet) < 0)
		return VNIC_STACK_DROP_MALFORMED;
	verdict = vn_reassembly_insert(stack, input, &fragment, &length_bytes);
	if (verdict != VNIC_STACK_REASSEMBLED)
		return verdict;
	return input_whole(stack, input, length_bytes);
}

vn_verdict vn_ipv4_input(struct vnic_stack *stack, struct vn_input *input)
{
	const struct vnic_ipv4 *ipv4 = &input->ipv4;
	int header_bytes = vnic_ipv4_parse(input->ip, input->ip_bytes, &input->ipv4);

	if (header_bytes < 0)
		return why_refused(input);
	input->ip_bytes = ipv4->total_bytes;
	input->source = vnic_address_from_bytes(VNIC_IPV4, ipv4->source);
	input->destination = vnic_address_from_bytes(VNIC_IPV4, ipv4->destination);
	input->hop_limit = ipv4->ttl;
	input->protocol = ipv4->protocol;
	input->protocol_at = 9;
	input->transport = (uint32_t)header_bytes;

	if (vn_addresses_has(&stack->addresses, &input->destination)) {
		/*
		 * RFC 1122 section 3.3.6: a frame to everybody with a packet to one is somebody's
		 * mistake.
		 */
		if (input->link_group)
			return VNIC_STACK_DROP_NOT_ANSWERABLE;
	} else if (vn_addresses_is_broadcast(&stack->addresses, &input->destination) ||
		   vn_addresses_in_group(&stack->addresses, &input->destination)) {
		input->group = true;
	} else {
		return VNIC_STACK_DROP_NOT_OURS;
	}
	if (is_bad_source(stack, input))
		return VNIC_STACK_DROP_SOURCE;
	if (ipv4->options_bytes > 0) {
		vn_verdict verdict = input_options(stack, input);

		if (verdict != VNIC_STACK_RECEIVED)
			return verdict;
	}
	if (ipv4->more_fragments || ipv4->fragment_offset_bytes > 0)
		return input_fragment(stack, input);
	return input_transport(stack, input);
}
