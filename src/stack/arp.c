/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Requests for our addresses are answered (RFC 826), probes among them (a sender of 0.0.0.0, RFC
 * 5227 section 2.1.1): the answer is what keeps the prober from taking our address.
 *
 * What others say of their own addresses goes to neighbor.c: who asks us will be spoken to, and
 * becomes a neighbor; anything else that is said only changes what is known, or answers a request
 * of ours (RFC 826, "packet reception").
 *
 * A packet in which another station uses one of our own addresses as its sender is a conflict (RFC
 * 5227 section 2.4). We hold on to the address and defend it with one announcement in ten seconds:
 * rule (c) of that section, for hosts whose address must not change.
 *
 * Within a prefix we answer for whole networks, but we do not fight over their addresses: what
 * another host announces as its own is left to it.
 */
#include <string.h>

#include "stack/stack.h"

#define DEFEND_INTERVAL_NS (10 * VN_SECOND_NS) /* RFC 5227 section 1.1 */

static void send_arp(struct vnic_stack *stack, const struct vn_link *link,
		     const struct vnic_arp *arp)
{
	uint8_t *bytes = vn_output_buffer(stack);

	vnic_arp_build(bytes, VNIC_ARP_BYTES, arp);
	vn_output_frame(stack, link, VNIC_ETHERTYPE_ARP, bytes, VNIC_ARP_BYTES);
}

/* An ARP announcement is a request from and for the address (RFC 5227 section 1.1). */
void vn_arp_announce(struct vnic_stack *stack, const struct vn_address_entry *entry)
{
	struct vn_link everybody = {.mac = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};
	struct vnic_arp arp = {.operation = VNIC_ARP_REQUEST};

	memcpy(arp.sender_mac, stack->options.mac, VNIC_MAC_BYTES);
	memcpy(arp.sender_ip, entry->address.bytes, VNIC_IPV4_BYTES);
	memcpy(arp.target_ip, entry->address.bytes, VNIC_IPV4_BYTES);
	send_arp(stack, &everybody, &arp);
	vn_stack_count(stack, VNIC_STACK_ANNOUNCEMENTS, 1);
}

void vn_arp_ask(struct vnic_stack *stack, const struct vn_link *link,
		const struct vnic_address *source, const struct vnic_address *target)
{
	static const struct vn_link everybody = {.mac = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};
	struct vnic_arp arp = {.operation = VNIC_ARP_REQUEST};

	memcpy(arp.sender_mac, stack->options.mac, VNIC_MAC_BYTES);
	memcpy(arp.sender_ip, source->bytes, VNIC_IPV4_BYTES);
	memcpy(arp.target_ip, target->bytes, VNIC_IPV4_BYTES);
	send_arp(stack, link ? link : &everybody, &arp);
}

static void defend(struct vnic_stack *stack, struct vn_address_entry *entry, const uint8_t *mac)
{
	if (entry->defended && stack->now_ns - entry->defended_ns < DEFEND_INTERVAL_NS)
		return;
	entry->defended = true;
	entry->defended_ns = stack->now_ns;
	vn_arp_announce(stack, entry);
	vn_stack_conflict(stack, entry, mac);
}

vn_verdict vn_arp_input(struct vnic_stack *stack, const struct vn_input *input,
			const uint8_t *bytes, size_t length_bytes)
{
	static const uint8_t no_mac[VNIC_MAC_BYTES];
	struct vnic_address sender, target;
	struct vn_address_entry *own;
	struct vn_link link = input->link;
	bool ours, announced;
	struct vnic_arp arp, reply = {.operation = VNIC_ARP_REPLY};

	if (vnic_arp_parse(bytes, length_bytes, &arp) < 0)
		return VNIC_STACK_DROP_MALFORMED;
	sender = vnic_address_from_bytes(VNIC_IPV4, arp.sender_ip);
	target = vnic_address_from_bytes(VNIC_IPV4, arp.target_ip);
	if (arp.sender_mac[0] & 1 || memcmp(arp.sender_mac, no_mac, VNIC_MAC_BYTES) == 0 ||
	    memcmp(arp.sender_mac, stack->options.mac, VNIC_MAC_BYTES) == 0 ||
	    vnic_address_is_multicast(&sender) || vnic_address_is_loopback(&sender) ||
	    vn_addresses_is_broadcast(&stack->addresses, &sender))
		return VNIC_STACK_DROP_SOURCE;
	if (arp.operation != VNIC_ARP_REQUEST && arp.operation != VNIC_ARP_REPLY)
		return VNIC_STACK_DROP_UNWANTED;
	own = vn_addresses_own(&stack->addresses, &sender);
	if (own) {
		defend(stack, own, arp.sender_mac);
		return VNIC_STACK_CONFLICTS;
	}
	memcpy(link.mac, arp.sender_mac, VNIC_MAC_BYTES);
	ours = vn_addresses_has(&stack->addresses, &target);
	announced = vnic_address_equal(&sender, &target);
	if (!ours || announced || arp.operation == VNIC_ARP_REPLY) {
		if (vn_neighbor_learn(stack, &sender, &link,
				      ours && !announced ? VN_NEIGHBOR_ANSWERED : VN_NEIGHBOR_TOLD))
			return VNIC_STACK_NEIGHBORS;
		return ours ? VNIC_STACK_DROP_UNWANTED : VNIC_STACK_DROP_NOT_OURS;
	}
	vn_neighbor_learn(stack, &sender, &link, VN_NEIGHBOR_ASKED);

	memcpy(reply.sender_mac, stack->options.mac, VNIC_MAC_BYTES);
	memcpy(reply.sender_ip, arp.target_ip, VNIC_IPV4_BYTES);
	memcpy(reply.target_mac, arp.sender_mac, VNIC_MAC_BYTES);
	memcpy(reply.target_ip, arp.sender_ip, VNIC_IPV4_BYTES);
	send_arp(stack, &input->link, &reply);
	return VNIC_STACK_ARP_REPLIES;
}
