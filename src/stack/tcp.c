/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * There are no connections yet: to every segment but a reset the answer is that of the state CLOSED
 * (RFC 9293 section 3.10.7.1), a reset that the sender's own state accepts. The look-up of
 * connections and listeners comes before it.
 *
 * Resets count against the rate of errors: a flood of forged segments must not become one of
 * resets. A super-packet stands for many segments, and gets one answer, to its end.
 */
#include "stack/stack.h"

static vn_verdict send_reset(struct vnic_stack *stack, const struct vn_input *input,
			     const struct vnic_tcp *tcp, uint32_t segment_bytes)
{
	size_t header = vn_output_ip_header_bytes(input->source.family);
	struct vnic_tcp reset = {
		.source_port = tcp->destination_port,
		.destination_port = tcp->source_port,
		.flags = VNIC_TCP_RST,
	};
	uint8_t *ip;

	if (!vn_error_allowed(stack))
		return VNIC_STACK_DROP_ERROR_RATE;
	if (tcp->flags & VNIC_TCP_ACK) {
		reset.sequence = tcp->acknowledgment;
	} else {
		reset.flags |= VNIC_TCP_ACK;
		reset.acknowledgment = tcp->sequence + segment_bytes;
	}
	ip = vn_output_buffer(stack);
	vnic_tcp_build(ip + header, VNIC_TCP_HEADER_BYTES, &input->destination, &input->source,
		       &reset, 0);
	vn_output_ip_header(stack, ip, &input->destination, &input->source, VNIC_PROTOCOL_TCP, 0,
			    stack->options.ttl, VNIC_TCP_HEADER_BYTES);
	vn_output_ip(stack, &input->link, ip, header + VNIC_TCP_HEADER_BYTES);
	return VNIC_STACK_RESETS;
}

vn_verdict vn_tcp_input(struct vnic_stack *stack, struct vn_input *input)
{
	const uint8_t *bytes = input->ip + input->transport;
	uint32_t length_bytes = input->ip_bytes - input->transport, segment_bytes;
	struct vnic_tcp tcp;
	int known = vn_input_checksum(input), header_bytes;

	header_bytes = vnic_tcp_parse(bytes, length_bytes, &tcp);
	if (known < 0 || header_bytes < 0)
		return VNIC_STACK_DROP_MALFORMED;
	if (known == 0 &&
	    vnic_tcp_verify(bytes, length_bytes, &input->source, &input->destination) < 0)
		return VNIC_STACK_DROP_CHECKSUM;
	if (tcp.flags & VNIC_TCP_RST)
		return VNIC_STACK_DROP_UNWANTED;
	if (input->group || input->link_group)
		return VNIC_STACK_DROP_NOT_ANSWERABLE;
	segment_bytes = length_bytes - (uint32_t)header_bytes;
	if (tcp.flags & VNIC_TCP_SYN)
		segment_bytes++;
	if (tcp.flags & VNIC_TCP_FIN)
		segment_bytes++;
	return send_reset(stack, input, &tcp, segment_bytes);
}

int vn_tcp_new(struct vnic_stack *stack)
{
	(void)stack;
	return 0;
}

void vn_tcp_free(struct vnic_stack *stack)
{
	(void)stack;
}

void vn_tcp_flush(struct vnic_stack *stack)
{
	(void)stack;
}

uint64_t vn_tcp_advance(struct vnic_stack *stack)
{
	(void)stack;
	return UINT64_MAX;
}

vn_verdict vn_tcp_notice(struct vnic_stack *stack, const struct vn_notice *notice)
{
	(void)stack;
	(void)notice;
	return VNIC_STACK_DROP_NOTICE;
}
