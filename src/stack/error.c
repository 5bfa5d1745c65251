/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * ICMP errors, for both versions: whether one may be sent at all, whether the rate allows it, and
 * what stands in it. The rules of who gets none are RFC 1122 section 3.2.2 and RFC 4443 section 2.4
 * (e): nobody whose packet went to a group (of IP or of Ethernet), came from no single host, was
 * itself an error, or was not the first fragment. Breaking one of them makes storms.
 *
 * The rate is a token bucket (RFC 1812 section 4.3.2.8, RFC 4443 section 2.4 (f)), kept as one
 * time: that at which the next error would be due if they were sent evenly. How far it runs ahead
 * of now is how much of the burst is used up. Resets of TCP draw from it too.
 */
#include <string.h>
#include <vnic/segment.h>

#include "base/bytes.h"
#include "packet/too_long.h"
#include "stack/stack.h"

bool vn_error_allowed(struct vnic_stack *stack)
{
	uint64_t next_ns = stack->rate.next_ns;

	if (next_ns < stack->now_ns)
		next_ns = stack->now_ns;
	if (next_ns - stack->now_ns > stack->rate.slack_ns)
		return false;
	stack->rate.next_ns = next_ns + stack->rate.interval_ns;
	return true;
}

int vn_input_checksum(struct vn_input *input)
{
	struct vnic_packet *packet = input->packet;

	if (packet->flags & VNIC_PACKET_DATA_VALID)
		return 1;
	if (!(packet->flags & VNIC_PACKET_NEEDS_CSUM))
		return 0;
	if (packet->data + packet->csum_start == input->ip + input->transport)
		return 1;
	/* It is one further inside, and ours covers it. */
	return vnic_packet_finish_checksum(packet);
}

/*
 * Two errors may answer what went to a group (RFC 4443 section 2.4 (e.3)); only one of them is
 * ours.
 */
static bool may_answer_group(const struct vn_input *input, uint8_t type, uint8_t code)
{
	return input->source.family == VNIC_IPV6 && type == VNIC_ICMPV6_PARAMETER_PROBLEM &&
	       code == VNIC_ICMPV6_PARAMETER_OPTION;
}

static bool is_answerable(const struct vn_input *input, uint8_t type, uint8_t code)
{
	if ((input->group || input->link_group) && !may_answer_group(input, type, code))
		return false;
	if (vnic_address_is_unspecified(&input->source))
		return false;
	if (input->source.family == VNIC_IPV6)
		return !vn_is_about_error_ipv6(input->ip, input->ip_bytes);
	if (input->ipv4.fragment_offset_bytes > 0)
		return false;
	return !vn_is_about_error_ipv4(input->ip, input->ip_bytes);
}

static enum vnic_stack_counter counter_of(enum vnic_family family, uint8_t type)
{
	if (family == VNIC_IPV4) {
		switch (type) {
		case VNIC_ICMP_UNREACHABLE:
			return VNIC_STACK_UNREACHABLES;
		case VNIC_ICMP_TIME_EXCEEDED:
			return VNIC_STACK_TIME_EXCEEDED;
		default:
			return VNIC_STACK_PARAMETER_PROBLEMS;
		}
	}
	switch (type) {
	case VNIC_ICMPV6_UNREACHABLE:
		return VNIC_STACK_UNREACHABLES;
	case VNIC_ICMPV6_TIME_EXCEEDED:
		return VNIC_STACK_TIME_EXCEEDED;
	default:
		return VNIC_STACK_PARAMETER_PROBLEMS;
	}
}

/*
 * How much of the packet an error quotes: as much as fits, for the more its sender sees the better,
 * and always the header and 8 bytes, even where that makes fragments.
 */
static uint32_t quote_bytes(const struct vnic_stack *stack, const struct vn_input *input)
{
	uint32_t most = VNIC_IPV6_MTU_BYTES, header = VNIC_IPV6_HEADER_BYTES, least = 0;

	if (input->source.family == VNIC_IPV4) {
		most = VN_ICMP_ERROR_BYTES;
		header = VNIC_IPV4_HEADER_BYTES;
		least = (uint32_t)(input->ip[0] & 15) * 4 + 8;
		if (most > stack->options.mtu_bytes)
			most = stack->options.mtu_bytes;
	}
	most -= header + VNIC_ICMP_HEADER_BYTES;
	if (most < least)
		most = least;
	return input->ip_bytes < most ? input->ip_bytes : most;
}

/*
 * What is quoted shall be what would have been on a wire: of a super-packet its first segment, with
 * lengths and a checksum of its own. One that cannot be cut is quoted as it came.
 */
static void quote_segment(struct vnic_stack *stack, struct vn_input *input)
{
	uint32_t link_bytes = (uint32_t)(input->ip - input->packet->data);
	struct vnic_packet segment = {
		.data = stack->whole,
		.capacity_bytes = VN_OUTPUT_HEADROOM_BYTES + UINT16_MAX, /* as it was made */
	};
	struct vnic_segmenter segmenter;

	vn_output_flush(stack); /* what is there may be on its way */
	if (vnic_segmenter_begin(&segmenter, input->packet, stack->options.layer) < 0 ||
	    vnic_segmenter_next(&segmenter, &segment, 1) != 1)
		return;
	input->ip = segment.data + link_bytes;
	input->ip_bytes = segment.length_bytes - link_bytes;
}

/*
 * Answer a packet with an error, if that may be. rest is bytes 4 to 7 of the ICMP header.
 * @return the verdict on the packet
 */
vn_verdict vn_error_send(struct vnic_stack *stack, struct vn_input *input, uint8_t type,
			 uint8_t code, uint32_t rest)
{
	enum vnic_family family = input->source.family;
	struct vnic_address source = input->destination;
	struct vnic_icmp icmp = {.type = type, .code = code, .rest = rest};
	struct vnic_packet *packet = input->packet;
	size_t header = vn_output_ip_header_bytes(family), quoted;
	uint8_t *ip;

	if (!is_answerable(input, type, code))
		return VNIC_STACK_DROP_NOT_ANSWERABLE;
	if (input->group &&
	    !vn_addresses_choose(&stack->addresses, &input->destination, &input->source, &source))
		return VNIC_STACK_DROP_NOT_ANSWERABLE;
	if (!vn_error_allowed(stack))
		return VNIC_STACK_DROP_ERROR_RATE;
	if (packet->gso_type != VNIC_GSO_NONE)
		quote_segment(stack, input);
	else if (vnic_packet_finish_checksum(packet) < 0)
		return VNIC_STACK_DROP_MALFORMED;

	ip = vn_output_buffer(stack);
	quoted = quote_bytes(stack, input);
	memcpy(ip + header + VNIC_ICMP_HEADER_BYTES, input->ip, quoted);
	if (family == VNIC_IPV4)
		vnic_icmp_build(ip + header, VNIC_ICMP_HEADER_BYTES + quoted, &icmp, quoted);
	else
		vnic_icmpv6_build(ip + header, VNIC_ICMP_HEADER_BYTES + quoted, &source,
				  &input->source, &icmp, quoted);
	vn_output_ip_header(stack, ip, &source, &input->source,
			    family == VNIC_IPV4 ? VNIC_PROTOCOL_ICMP : VNIC_PROTOCOL_ICMPV6,
			    family == VNIC_IPV4 ? VN_ICMP_ERROR_TOS : 0, stack->options.ttl,
			    VNIC_ICMP_HEADER_BYTES + quoted);
	vn_output_ip(stack, &input->link, ip, header + VNIC_ICMP_HEADER_BYTES + quoted);
	return counter_of(family, type);
}
