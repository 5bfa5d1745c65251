/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * The chain of headers is walked from the first to the transport header, once and with a bound on
 * its links (RFC 8200 section 4). What we do not know is answered as the standard says for each
 * place: parameter problem with a pointer to the byte in question, or silence where an option asks
 * for it.
 *
 *  - Hop-by-hop options only come first; anywhere else their number is an unknown next header.
 *  - A routing header with segments left would make us a router: refused whatever its type, which
 *    covers the dangerous type 0 (RFC 5095). Without segments left it says nothing.
 *  - A fragment header that fragments nothing is passed over (RFC 6946). A first fragment must hold
 *  all
 *    headers (RFC 7112): else what follows could not be judged.
 *  - The payload length 0 of a jumbogram is what it says: nothing is there. We know no jumbograms.
 *
 * A datagram that came in fragments goes through here once more when it is whole.
 */
#include <string.h>

#include "base/bytes.h"
#include "stack/stack.h"

#define CHAIN_LINKS 8

/*
 * A host that has our address and says so sends from it. That must be seen, so it alone may come
 * from one of ours.
 */
static bool is_advertisement(const struct vn_input *input)
{
	return input->ip[6] == VNIC_PROTOCOL_ICMPV6 && input->ip_bytes > VNIC_IPV6_HEADER_BYTES &&
	       input->ip[VNIC_IPV6_HEADER_BYTES] == VNIC_ICMPV6_NEIGHBOR_ADVERTISEMENT;
}

static bool is_bad_source(struct vnic_stack *stack, const struct vn_input *input)
{
	const struct vnic_address *source = &input->source;

	return vnic_address_is_multicast(source) || vnic_address_is_loopback(source) ||
	       (vn_addresses_own(&stack->addresses, source) && !is_advertisement(input)) ||
	       vnic_address_equal(source, &input->destination);
}

/*
 * @return VNIC_STACK_RECEIVED: go on
 */
static vn_verdict input_options(struct vnic_stack *stack, struct vn_input *input,
				const struct vnic_ipv6_extension *extension)
{
	size_t offset = 0, option_bytes;
	const uint8_t *option;
	int rc;

	while ((rc = vnic_ipv6_next_option(extension, &offset, &option, &option_bytes)) == 1) {
		if (option[0] == VNIC_IPV6_OPTION_ROUTER_ALERT &&
		    extension->type == VNIC_PROTOCOL_HOP_BY_HOP) {
			input->router_alert = true;
			continue;
		}
		/*
		 * RFC 8200 section 4.2: the first two bits say what to do with one that is unknown.
		 */
		switch (option[0] >> 6) {
		case 0:
			continue;
		case 1:
			return VNIC_STACK_DROP_PROTOCOL;
		case 3:
			if (input->group)
				return VNIC_STACK_DROP_NOT_ANSWERABLE;
			break;
		default:
			break;
		}
		return vn_error_send(stack, input, VNIC_ICMPV6_PARAMETER_PROBLEM,
				     VNIC_ICMPV6_PARAMETER_OPTION, (uint32_t)(option - input->ip));
	}
	return rc < 0 ? VNIC_STACK_DROP_MALFORMED : VNIC_STACK_RECEIVED;
}

/* True if a first fragment's data hold all headers up to that of the transport, whole. */
static bool holds_chain(uint8_t next, const uint8_t *bytes, size_t length_bytes)
{
	struct vnic_ipv6_extension extension;

	for (unsigned links = 0; vnic_ipv6_is_extension(next) && links < CHAIN_LINKS; links++) {
		int rc = vnic_ipv6_extension_parse(next, bytes, length_bytes, &extension);

		if (rc < 0)
			return false;
		next = extension.next_header;
		bytes += rc;
		length_bytes -= (size_t)rc;
	}
	switch (next) {
	case VNIC_PROTOCOL_TCP:
		return length_bytes >= VNIC_TCP_HEADER_BYTES;
	case VNIC_PROTOCOL_UDP:
	case VNIC_PROTOCOL_ICMPV6:
		return length_bytes >= VNIC_UDP_HEADER_BYTES;
	default:
		return true;
	}
}

static vn_verdict input_whole(struct vnic_stack *stack, const struct vn_input *fragment,
			      uint32_t length_bytes)
{
	uint8_t *ip = stack->whole + VN_OUTPUT_HEADROOM_BYTES;

	vn_store16(ip + 4, (uint16_t)(length_bytes - VNIC_IPV6_HEADER_BYTES));
	return vn_ip_input_whole(stack, fragment, length_bytes);
}

/* at: where the fragment header begins. */
static vn_verdict input_fragment(struct vnic_stack *stack, struct vn_input *input,
				 const struct vnic_ipv6_extension *extension, uint32_t at)
{
	uint32_t data_at = at + VNIC_IPV6_FRAGMENT_BYTES, data_bytes = input->ip_bytes - data_at;
	uint32_t length_bytes;
	vn_verdict verdict;
	struct vn_fragment fragment = {
		.identification = extension->identification,
		.more = extension->more_fragments,
		.offset_bytes = extension->fragment_offset_bytes,
		.data_bytes = (uint16_t)data_bytes,
		.data = input->ip + data_at,
		.header_bytes = (uint16_t)data_at,
		.per_fragment_bytes = VNIC_IPV6_FRAGMENT_BYTES,
		.next_header = extension->next_header,
		.next_header_at = (uint16_t)input->protocol_at,
	};

	/* A fragment of fragments is nothing an honest sender makes. */
	if (input->reassembled || data_bytes == 0 || data_at > VN_REASSEMBLY_HEADER_BYTES)
		return VNIC_STACK_DROP_MALFORMED;
	if (extension->more_fragments && data_bytes % 8 != 0)
		return vn_error_send(stack, input, VNIC_ICMPV6_PARAMETER_PROBLEM,
				     VNIC_ICMPV6_PARAMETER_HEADER, 4);
	if (at - VNIC_IPV6_HEADER_BYTES + extension->fragment_offset_bytes + data_bytes > 65535)
		return vn_error_send(stack, input, VNIC_ICMPV6_PARAMETER_PROBLEM,
				     VNIC_ICMPV6_PARAMETER_HEADER, at + 2);
	if (extension->fragment_offset_bytes == 0 &&
	    !holds_chain(extension->next_header, fragment.data, data_bytes))
		return vn_error_send(stack, input, VNIC_ICMPV6_PARAMETER_PROBLEM,
				     VNIC_ICMPV6_PARAMETER_INCOMPLETE_CHAIN, 0);
	if (vnic_packet_finish_checksum(input->packet) < 0)
		return VNIC_STACK_DROP_MALFORMED;
	verdict = vn_reassembly_insert(stack, input, &fragment, &length_bytes);
	if (verdict != VNIC_STACK_REASSEMBLED)
		return verdict;
	return input_whole(stack, input, length_bytes);
}

static vn_verdict input_transport(struct vnic_stack *stack, struct vn_input *input)
{
	/* Only neighbour discovery and group reports may come from nobody. */
	if (input->protocol != VNIC_PROTOCOL_ICMPV6 && vnic_address_is_unspecified(&input->source))
		return VNIC_STACK_DROP_SOURCE;
	switch (input->protocol) {
	case VNIC_PROTOCOL_ICMPV6:
		return vn_icmpv6_input(stack, input);
	case VNIC_PROTOCOL_UDP:
		return vn_udp_input(stack, input);
	case VNIC_PROTOCOL_TCP:
		return vn_tcp_input(stack, input);
	case VNIC_PROTOCOL_NONE:
		return VNIC_STACK_DROP_UNWANTED;
	default:
		return vn_error_send(stack, input, VNIC_ICMPV6_PARAMETER_PROBLEM,
				     VNIC_ICMPV6_PARAMETER_NEXT_HEADER, input->protocol_at);
	}
}

/* One header of the chain. @return VNIC_STACK_RECEIVED: go on with the next */
static vn_verdict input_extension(struct vnic_stack *stack, struct vn_input *input,
				  const struct vnic_ipv6_extension *extension, uint32_t at)
{
	switch (extension->type) {
	case VNIC_PROTOCOL_HOP_BY_HOP:
	case VNIC_PROTOCOL_DESTINATION:
		return input_options(stack, input, extension);
	case VNIC_PROTOCOL_ROUTING:
		if (extension->segments_left == 0)
			return VNIC_STACK_RECEIVED;
		return vn_error_send(stack, input, VNIC_ICMPV6_PARAMETER_PROBLEM,
				     VNIC_ICMPV6_PARAMETER_HEADER, at + 2);
	default:
		input->fragmented = true;
		if (extension->fragment_offset_bytes == 0 && !extension->more_fragments)
			return VNIC_STACK_RECEIVED;
		return input_fragment(stack, input, extension, at);
	}
}

static vn_verdict input_chain(struct vnic_stack *stack, struct vn_input *input, uint8_t next)
{
	struct vnic_ipv6_extension extension;
	uint32_t at = VNIC_IPV6_HEADER_BYTES;
	unsigned links = 0;

	input->protocol_at = 6;
	while (vnic_ipv6_is_extension(next)) {
		vn_verdict verdict;
		int rc;

		/* An unknown header, as far as this place is concerned (RFC 8200 section 4.1). */
		if (next == VNIC_PROTOCOL_HOP_BY_HOP && at != VNIC_IPV6_HEADER_BYTES)
			break;
		if (++links > CHAIN_LINKS)
			return VNIC_STACK_DROP_MALFORMED;
		rc = vnic_ipv6_extension_parse(next, input->ip + at, input->ip_bytes - at,
					       &extension);
		if (rc < 0)
			return VNIC_STACK_DROP_MALFORMED;
		verdict = input_extension(stack, input, &extension, at);
		if (verdict != VNIC_STACK_RECEIVED)
			return verdict;
		next = extension.next_header;
		input->protocol_at = at;
		at += (uint32_t)rc;
	}
	input->protocol = next;
	input->transport = at;
	return input_transport(stack, input);
}

vn_verdict vn_ipv6_input(struct vnic_stack *stack, struct vn_input *input)
{
	struct vnic_ipv6 ipv6;

	if (vnic_ipv6_parse(input->ip, input->ip_bytes, &ipv6) < 0)
		return VNIC_STACK_DROP_MALFORMED;
	input->ip_bytes = VNIC_IPV6_HEADER_BYTES + (uint32_t)ipv6.payload_bytes;
	input->source = vnic_address_from_bytes(VNIC_IPV6, ipv6.source);
	input->destination = vnic_address_from_bytes(VNIC_IPV6, ipv6.destination);
	input->hop_limit = ipv6.hop_limit;

	if (vnic_address_is_multicast(&input->destination) &&
	    vn_addresses_in_group(&stack->addresses, &input->destination))
		input->group = true;
	else if (!vn_addresses_has(&stack->addresses, &input->destination))
		return VNIC_STACK_DROP_NOT_OURS;
	if (is_bad_source(stack, input))
		return VNIC_STACK_DROP_SOURCE;
	return input_chain(stack, input, ipv6.next_header);
}
