/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Which frames are for us, and what is in them. Groups are not looked up here: which of them we are
 * in is decided by IP address, which says more. What is remembered of the frame is how to answer
 * it: to its source, with its VLAN tags, so that one stack answers in each VLAN it is asked in.
 */
#include <string.h>

#include "stack/stack.h"

vn_verdict vn_ethernet_input(struct vnic_stack *stack, struct vn_input *input)
{
	static const uint8_t no_mac[VNIC_MAC_BYTES];
	struct vnic_packet *packet = input->packet;
	struct vnic_ethernet ethernet;
	int header_bytes = vnic_ethernet_parse(packet->data, packet->length_bytes, &ethernet);

	if (header_bytes < 0)
		return VNIC_STACK_DROP_MALFORMED;
	input->link_group = ethernet.destination[0] & 1;
	if (!input->link_group &&
	    memcmp(ethernet.destination, stack->options.mac, VNIC_MAC_BYTES) != 0)
		return VNIC_STACK_DROP_NOT_OURS;
	if (ethernet.source[0] & 1 || memcmp(ethernet.source, no_mac, VNIC_MAC_BYTES) == 0 ||
	    memcmp(ethernet.source, stack->options.mac, VNIC_MAC_BYTES) == 0)
		return VNIC_STACK_DROP_SOURCE;
	memcpy(input->link.mac, ethernet.source, VNIC_MAC_BYTES);
	input->link.vlan_count = (uint8_t)ethernet.vlan_count;
	memcpy(input->link.vlan, ethernet.vlan, sizeof(input->link.vlan));
	input->ip = packet->data + header_bytes;
	input->ip_bytes = packet->length_bytes - (uint32_t)header_bytes;

	switch (ethernet.ethertype) {
	case VNIC_ETHERTYPE_ARP:
		return vn_arp_input(stack, input, input->ip, input->ip_bytes);
	case VNIC_ETHERTYPE_IPV4:
	case VNIC_ETHERTYPE_IPV6:
		if (input->ip_bytes == 0 ||
		    (input->ip[0] >> 4 == 4) != (ethernet.ethertype == VNIC_ETHERTYPE_IPV4))
			return VNIC_STACK_DROP_MALFORMED;
		return vn_ip_input(stack, input);
	default:
		return VNIC_STACK_DROP_PROTOCOL;
	}
}
