/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Switches that snoop send a group's packets only to ports where a listener has reported itself. So
 * we report our solicited-node groups, by version 2 of multicast listener discovery (RFC 3810):
 * twice when the link comes up, and within the time that a query allows. Every report names all
 * groups, whatever the query asked for, which keeps one timer enough. It goes out in packets of
 * 1280 bytes at most, one at a time, and a second query while it does changes nothing. So however
 * many queries come, what is sent stays bounded.
 *
 * Queries of version 1 get no answer: every querier of this century knows version 2. All nodes is
 * a group that nobody reports (RFC 3810 section 6).
 */
#include <string.h>

#include "base/bytes.h"
#include "stack/stack.h"

#define QUERY_BYTES 28    /* without sources: RFC 3810 section 5.1 */
#define RECORD_BYTES 20   /* without sources: RFC 3810 section 5.2 */
#define MODE_IS_EXCLUDE 2 /* the current state: everything but no source */
#define HOP_BY_HOP_BYTES 8

static const struct vnic_address all_mld2_routers = {VNIC_IPV6, {0xff, 0x02, [15] = 0x16}};

/* RFC 3810 section 5.1.3: a floating point number from 32768 on. */
static uint64_t response_ms(uint16_t code)
{
	if (code < 32768)
		return code;
	return (uint64_t)((code & 0xfff) | 0x1000) << (((code >> 12) & 7) + 3);
}

vn_verdict vn_mld_input(struct vnic_stack *stack, const struct vn_input *input,
			const struct vnic_icmp *icmp)
{
	const uint8_t *query = input->ip + input->transport;
	struct vnic_address group;
	uint64_t delay_ns, when_ns;

	if (stack->options.layer != VNIC_LAYER_ETHERNET || !stack->link_up)
		return VNIC_STACK_DROP_UNWANTED;
	/* RFC 3810 section 5.1.14 */
	if (!vnic_address_is_link_local(&input->source) || input->hop_limit != 1 ||
	    !input->router_alert)
		return VNIC_STACK_DROP_MALFORMED;
	if (input->ip_bytes - input->transport < QUERY_BYTES || !stack->addresses.groups)
		return VNIC_STACK_DROP_UNWANTED;
	group = vnic_address_from_bytes(VNIC_IPV6, query + VNIC_ICMP_HEADER_BYTES);
	if (!vnic_address_is_unspecified(&group) &&
	    !vn_addresses_in_group(&stack->addresses, &group))
		return VNIC_STACK_DROP_UNWANTED;

	delay_ns = response_ms((uint16_t)(icmp->rest >> 16)) * 1000000;
	when_ns = stack->now_ns;
	if (delay_ns > 0)
		when_ns += (uint64_t)vn_stack_random32(stack) * 1000 % delay_ns;
	if (stack->announce.report_ns == UINT64_MAX) {
		stack->announce.report_type = MODE_IS_EXCLUDE;
		stack->announce.reports_left = 0;
	}
	if (when_ns < stack->announce.report_ns)
		stack->announce.report_ns = when_ns;
	vn_stack_wake(stack, stack->announce.report_ns);
	return VNIC_STACK_GROUP_QUERIES;
}

/* From a link-local address, or from nobody as long as there is none (RFC 3590). */
static struct vnic_address source_of_report(const struct vn_addresses *addresses)
{
	const struct vnic_address nobody = {VNIC_IPV6, {0}};

	for (unsigned i = 0; i < addresses->count; i++) {
		const struct vn_address_entry *entry = &addresses->entries[i];

		if (entry->kind == VN_ADDRESS_OWN && entry->address.family == VNIC_IPV6 &&
		    !entry->conflicted && vnic_address_is_link_local(&entry->address))
			return entry->address;
	}
	return nobody;
}

/* Write as many records as fit, from announce.report_entry on. @return how many */
static uint16_t write_records(struct vnic_stack *stack, uint8_t *record, const uint8_t *end)
{
	uint16_t count = 0;

	for (; stack->announce.report_entry < stack->addresses.count;
	     stack->announce.report_entry++) {
		const struct vn_address_entry *entry =
			&stack->addresses.entries[stack->announce.report_entry];

		if (entry->kind != VN_ADDRESS_GROUP)
			continue;
		if (end - record < RECORD_BYTES)
			break;
		memset(record, 0, 4);
		record[0] = stack->announce.report_type;
		memcpy(record + 4, entry->address.bytes, VNIC_IPV6_BYTES);
		record += RECORD_BYTES;
		count++;
	}
	return count;
}

/* Send one packet of the report. When it was the last, announce.report_entry is 0 again. */
void vn_mld_report(struct vnic_stack *stack)
{
	static const uint8_t router_alert[HOP_BY_HOP_BYTES] = {
		VNIC_PROTOCOL_ICMPV6,  0, VNIC_IPV6_OPTION_ROUTER_ALERT, 2, 0, 0,
		VNIC_IPV6_OPTION_PADN, 0,
	};
	struct vnic_address source = source_of_report(&stack->addresses);
	struct vn_link link = {.vlan_count = 0};
	struct vnic_icmp icmp = {.type = VNIC_ICMPV6_MLD2_REPORT};
	uint8_t *ip = vn_output_buffer(stack);
	uint8_t *options = ip + VNIC_IPV6_HEADER_BYTES, *message = options + HOP_BY_HOP_BYTES;
	size_t records_bytes;

	icmp.rest =
		write_records(stack, message + VNIC_ICMP_HEADER_BYTES, ip + VN_OUTPUT_BUILT_BYTES);
	if (stack->announce.report_entry >= stack->addresses.count)
		stack->announce.report_entry = 0;
	if (icmp.rest == 0)
		return;
	records_bytes = (size_t)icmp.rest * RECORD_BYTES;
	memcpy(options, router_alert, HOP_BY_HOP_BYTES);
	vnic_icmpv6_build(message, VNIC_ICMP_HEADER_BYTES + records_bytes, &source,
			  &all_mld2_routers, &icmp, records_bytes);
	vn_output_ip_header(stack, ip, &source, &all_mld2_routers, VNIC_PROTOCOL_HOP_BY_HOP, 0, 1,
			    HOP_BY_HOP_BYTES + VNIC_ICMP_HEADER_BYTES + records_bytes);
	vnic_address_multicast_mac(&all_mld2_routers, link.mac);
	vn_output_ip(stack, &link, ip,
		     VNIC_IPV6_HEADER_BYTES + HOP_BY_HOP_BYTES + VNIC_ICMP_HEADER_BYTES +
			     records_bytes);
	vn_stack_count(stack, VNIC_STACK_ANNOUNCEMENTS, 1);
}
