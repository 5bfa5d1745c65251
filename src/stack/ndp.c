/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Solicitations for our addresses are answered (RFC 4861 section 7.2), to the Ethernet address that
 * the frame came from: it is that of the asker, with or without the option that repeats it. The
 * option makes the asker a neighbor, and so does an advertisement change what is known of one: see
 * neighbor.c.
 *
 * Duplicates, seen from the owner: whoever probes for an address that we have (a solicitation from
 * ::) is told by an advertisement to all nodes, and gives it up (RFC 4862 section 5.4.3). Seen from
 * the newcomer: while we probe, the address is tentative. We answer for it already, with the
 * override flag off, so that no entry that exists is replaced (optimistic, RFC 4429). If an
 * advertisement for it comes, or another's probe, it is theirs, and we fall silent about it. Our
 * own probe may come back to us from a loop in the network: it carries a nonce to be known by (RFC
 * 7527).
 *
 * For addresses in our prefixes the override flag is off too: a host that really has one wins.
 *
 * Messages that came in fragments, or even with a fragment header, are ignored (RFC 6980).
 */
#include <string.h>

#include "stack/stack.h"

#define HOP_LIMIT 255 /* proves that no router forwarded it: RFC 4861 section 3.1 */
#define TELL_INTERVAL_NS (10 * VN_SECOND_NS)

static const struct vnic_address all_nodes = {VNIC_IPV6, {0xff, 0x02, [15] = 1}};

static void send_ndp(struct vnic_stack *stack, const struct vn_link *link,
		     const struct vnic_address *source, const struct vnic_address *destination,
		     const struct vnic_icmp *icmp, const struct vnic_ndp *ndp)
{
	uint8_t *ip = vn_output_buffer(stack), *message = ip + VNIC_IPV6_HEADER_BYTES;
	int body = vnic_ndp_build(
		icmp->type, message + VNIC_ICMP_HEADER_BYTES,
		VN_OUTPUT_BUILT_BYTES - VNIC_IPV6_HEADER_BYTES - VNIC_ICMP_HEADER_BYTES, ndp);

	if (body < 0)
		return; /* the buffer has room: cannot be */
	vnic_icmpv6_build(message, VNIC_ICMP_HEADER_BYTES + (size_t)body, source, destination, icmp,
			  (size_t)body);
	vn_output_ip_header(stack, ip, source, destination, VNIC_PROTOCOL_ICMPV6, 0, HOP_LIMIT,
			    VNIC_ICMP_HEADER_BYTES + (size_t)body);
	vn_output_ip(stack, link, ip,
		     VNIC_IPV6_HEADER_BYTES + VNIC_ICMP_HEADER_BYTES + (size_t)body);
}

static void advertise(struct vnic_stack *stack, const struct vn_link *link,
		      const struct vnic_address *target, const struct vnic_address *destination,
		      uint32_t flags)
{
	struct vnic_icmp icmp = {.type = VNIC_ICMPV6_NEIGHBOR_ADVERTISEMENT, .rest = flags};
	struct vnic_ndp ndp = {.has_mac = true};

	memcpy(ndp.target, target->bytes, VNIC_IPV6_BYTES);
	memcpy(ndp.mac, stack->options.mac, VNIC_MAC_BYTES);
	send_ndp(stack, link, target, destination, &icmp, &ndp);
}

void vn_ndp_announce(struct vnic_stack *stack, const struct vn_address_entry *entry)
{
	struct vn_link link = {.vlan_count = 0};

	vnic_address_multicast_mac(&all_nodes, link.mac);
	advertise(stack, &link, &entry->address, &all_nodes, VNIC_NDP_OVERRIDE);
	vn_stack_count(stack, VNIC_STACK_ANNOUNCEMENTS, 1);
}

void vn_ndp_probe(struct vnic_stack *stack, struct vn_address_entry *entry)
{
	const struct vnic_address nobody = {VNIC_IPV6, {0}};
	struct vnic_address group = vnic_address_solicited_node(&entry->address);
	struct vnic_icmp icmp = {.type = VNIC_ICMPV6_NEIGHBOR_SOLICITATION};
	struct vnic_ndp ndp = {.has_nonce = true};
	struct vn_link link = {.vlan_count = 0};

	memcpy(ndp.target, entry->address.bytes, VNIC_IPV6_BYTES);
	memcpy(ndp.nonce, entry->nonce, sizeof(ndp.nonce));
	vnic_address_multicast_mac(&group, link.mac);
	send_ndp(stack, &link, &nobody, &group, &icmp, &ndp);
	vn_stack_count(stack, VNIC_STACK_ANNOUNCEMENTS, 1);
}

void vn_ndp_ask(struct vnic_stack *stack, const struct vn_link *link,
		const struct vnic_address *source, const struct vnic_address *target)
{
	const struct vn_address_entry *own = vn_addresses_own(&stack->addresses, source);
	struct vnic_address group = vnic_address_solicited_node(target);
	struct vnic_icmp icmp = {.type = VNIC_ICMPV6_NEIGHBOR_SOLICITATION};
	/* RFC 4429 section 3.2: nobody shall enter an address that may not be ours. */
	struct vnic_ndp ndp = {.has_mac = !own || !own->tentative};
	struct vn_link group_link = {.vlan_count = 0};

	memcpy(ndp.target, target->bytes, VNIC_IPV6_BYTES);
	memcpy(ndp.mac, stack->options.mac, VNIC_MAC_BYTES);
	vnic_address_multicast_mac(&group, group_link.mac);
	send_ndp(stack, link ? link : &group_link, source, link ? target : &group, &icmp, &ndp);
}

static vn_verdict conflict(struct vnic_stack *stack, struct vn_address_entry *entry,
			   const uint8_t *mac)
{
	if (entry->tentative) {
		entry->tentative = false;
		entry->conflicted = true;
		entry->due_ns = UINT64_MAX;
		entry->defended = false;
	}
	if (!entry->defended || stack->now_ns - entry->defended_ns >= TELL_INTERVAL_NS) {
		entry->defended = true;
		entry->defended_ns = stack->now_ns;
		vn_stack_conflict(stack, entry, mac);
	}
	return VNIC_STACK_CONFLICTS;
}

static bool is_solicited_node(const struct vnic_address *address)
{
	static const uint8_t prefix[13] = {0xff, 0x02, [11] = 1, 0xff};

	return memcmp(address->bytes, prefix, sizeof(prefix)) == 0;
}

static vn_verdict input_solicitation(struct vnic_stack *stack, const struct vn_input *input,
				     const struct vnic_ndp *ndp)
{
	struct vnic_address target = vnic_address_from_bytes(VNIC_IPV6, ndp->target);
	struct vn_address_entry *own = vn_addresses_own(&stack->addresses, &target);
	struct vn_link link = input->link;

	if (vnic_address_is_unspecified(&input->source)) {
		if (!is_solicited_node(&input->destination) || ndp->has_mac)
			return VNIC_STACK_DROP_MALFORMED;
		if (own && own->tentative) {
			if (ndp->has_nonce &&
			    memcmp(ndp->nonce, own->nonce, sizeof(own->nonce)) == 0)
				return VNIC_STACK_DROP_UNWANTED;
			return conflict(stack, own, input->link.mac);
		}
		if (!vn_addresses_has(&stack->addresses, &target))
			return VNIC_STACK_DROP_NOT_OURS;
		vnic_address_multicast_mac(&all_nodes, link.mac);
		advertise(stack, &link, &target, &all_nodes, own ? VNIC_NDP_OVERRIDE : 0);
		return VNIC_STACK_NEIGHBOR_ADVERTISEMENTS;
	}
	if (!vn_addresses_has(&stack->addresses, &target))
		return VNIC_STACK_DROP_NOT_OURS;
	if (ndp->has_mac) {
		struct vn_link told = link;

		memcpy(told.mac, ndp->mac, VNIC_MAC_BYTES);
		vn_neighbor_learn(stack, &input->source, &told, VN_NEIGHBOR_ASKED);
	}
	advertise(stack, &link, &target, &input->source,
		  VNIC_NDP_SOLICITED | (own && !own->tentative ? VNIC_NDP_OVERRIDE : 0));
	return VNIC_STACK_NEIGHBOR_ADVERTISEMENTS;
}

static vn_verdict input_advertisement(struct vnic_stack *stack, const struct vn_input *input,
				      const struct vnic_ndp *ndp, uint32_t flags)
{
	struct vnic_address target = vnic_address_from_bytes(VNIC_IPV6, ndp->target);
	struct vn_address_entry *own = vn_addresses_own(&stack->addresses, &target);

	if (input->group && flags & VNIC_NDP_SOLICITED)
		return VNIC_STACK_DROP_MALFORMED;
	if (!own) {
		struct vn_link link = input->link;

		memcpy(link.mac, ndp->mac, VNIC_MAC_BYTES);
		return vn_neighbor_advertised(stack, &target, ndp->has_mac ? &link : NULL, flags)
			       ? VNIC_STACK_NEIGHBORS
			       : VNIC_STACK_DROP_UNWANTED;
	}
	if (own->conflicted)
		return VNIC_STACK_DROP_UNWANTED;
	if (ndp->has_mac && memcmp(ndp->mac, stack->options.mac, VNIC_MAC_BYTES) == 0)
		return VNIC_STACK_DROP_UNWANTED; /* ours, come back from somewhere */
	return conflict(stack, own, ndp->has_mac ? ndp->mac : input->link.mac);
}

vn_verdict vn_ndp_input(struct vnic_stack *stack, const struct vn_input *input,
			const struct vnic_icmp *icmp)
{
	uint32_t at = input->transport + VNIC_ICMP_HEADER_BYTES;
	struct vnic_ndp ndp;

	if (stack->options.layer != VNIC_LAYER_ETHERNET || input->fragmented)
		return VNIC_STACK_DROP_UNWANTED;
	if (input->hop_limit != HOP_LIMIT || icmp->code != 0 ||
	    vnic_ndp_parse(icmp->type, input->ip + at, input->ip_bytes - at, &ndp) < 0 ||
	    ndp.target[0] == 0xff)
		return VNIC_STACK_DROP_MALFORMED;
	if (icmp->type == VNIC_ICMPV6_NEIGHBOR_SOLICITATION)
		return input_solicitation(stack, input, &ndp);
	return input_advertisement(stack, input, &ndp, icmp->rest);
}
