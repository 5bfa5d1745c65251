/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Nobody listens yet: a datagram with a right checksum to one of our addresses is answered with
 * port unreachable, which is what ends a traceroute. The look-up of endpoints comes where the error
 * is sent now.
 *
 * A super-packet stands for many datagrams of one flow, and gets one answer.
 */
#include "stack/stack.h"

vn_verdict vn_udp_input(struct vnic_stack *stack, struct vn_input *input)
{
	const uint8_t *bytes = input->ip + input->transport;
	struct vnic_udp udp;
	int known = vn_input_checksum(input);

	if (known < 0 || vnic_udp_parse(bytes, input->ip_bytes - input->transport, &udp) < 0)
		return VNIC_STACK_DROP_MALFORMED;
	if (known == 0 && vnic_udp_verify(bytes, &udp, &input->source, &input->destination) < 0)
		return VNIC_STACK_DROP_CHECKSUM;
	if (input->source.family == VNIC_IPV4)
		return vn_error_send(stack, input, VNIC_ICMP_UNREACHABLE,
				     VNIC_ICMP_UNREACHABLE_PORT, 0);
	return vn_error_send(stack, input, VNIC_ICMPV6_UNREACHABLE, VNIC_ICMPV6_UNREACHABLE_PORT,
			     0);
}

int vn_udp_new(struct vnic_stack *stack)
{
	(void)stack;
	return 0;
}

void vn_udp_free(struct vnic_stack *stack)
{
	(void)stack;
}

void vn_udp_flush(struct vnic_stack *stack)
{
	(void)stack;
}

vn_verdict vn_udp_notice(struct vnic_stack *stack, const struct vn_notice *notice)
{
	(void)stack;
	(void)notice;
	return VNIC_STACK_DROP_NOTICE;
}
