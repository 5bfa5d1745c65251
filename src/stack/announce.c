/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * What an Ethernet host says without being asked, after its link came up, so that others replace
 * what they knew of its addresses and its switch learns its port:
 *
 *   IPv4   ARP announcement ---2 s--- ARP announcement              (RFC 5227 section 2.3)
 *   IPv6   report of groups, twice                                  (RFC 3810 section 6.1)
 *          probe ---1 s--- advertisement ---1 s--- advertisement    (RFC 4862 section 5.4, RFC 4861
 *          section 7.2.6)
 *
 * Each address is at a step of its row and knows when the next is due. IPv6 begins after a random
 * part of a second (RFC 4862 section 5.4.2): hosts that see one switch come back must not all speak
 * at once. Four packets are sent per 10 ms at most, in turn, so a thousand addresses take some
 * seconds and flood nobody. Nothing waits for it: addresses are answered for from the first moment
 * on.
 */
#include "stack/stack.h"

#define TICK_NS UINT64_C(10000000)
#define PACKETS_PER_TICK 4
#define ARP_INTERVAL_NS (2 * VN_SECOND_NS)
#define NDP_INTERVAL_NS VN_SECOND_NS
#define REPORT_INTERVAL_NS VN_SECOND_NS
#define CHANGE_TO_EXCLUDE 4 /* RFC 3810 section 5.2.12: from now on we listen */
#define REPORTS 2           /* RFC 3810 section 9.1, "robustness" */

static uint64_t random_delay(struct vnic_stack *stack)
{
	return (uint64_t)vn_stack_random32(stack) * VN_SECOND_NS >> 32;
}

static void begin_address(struct vnic_stack *stack, struct vn_address_entry *entry,
			  uint64_t delay_ns)
{
	entry->step = 0;
	entry->conflicted = false;
	entry->due_ns = stack->now_ns;
	if (entry->address.family == VNIC_IPV6) {
		entry->due_ns += delay_ns;
		entry->tentative = true;
		vn_stack_random(stack, entry->nonce, sizeof(entry->nonce));
	}
	vn_stack_wake(stack, entry->due_ns);
}

static void begin_report(struct vnic_stack *stack, uint64_t delay_ns)
{
	if (stack->addresses.groups == 0)
		return;
	stack->announce.report_type = CHANGE_TO_EXCLUDE;
	stack->announce.report_entry = 0;
	stack->announce.reports_left = REPORTS - 1;
	stack->announce.report_ns = stack->now_ns + delay_ns;
	vn_stack_wake(stack, stack->announce.report_ns);
}

void vn_announce_begin(struct vnic_stack *stack)
{
	uint64_t delay_ns = random_delay(stack);

	for (unsigned i = 0; i < stack->addresses.count; i++)
		if (stack->addresses.entries[i].kind == VN_ADDRESS_OWN)
			begin_address(stack, &stack->addresses.entries[i], delay_ns);
	begin_report(stack, delay_ns);
}

void vn_announce_address(struct vnic_stack *stack, struct vn_address_entry *entry)
{
	uint64_t delay_ns = random_delay(stack);

	begin_address(stack, entry, delay_ns);
	if (entry->address.family == VNIC_IPV6)
		begin_report(stack, delay_ns);
}

/* One packet about the address. */
static void step(struct vnic_stack *stack, struct vn_address_entry *entry)
{
	bool ipv4 = entry->address.family == VNIC_IPV4;

	if (ipv4) {
		vn_arp_announce(stack, entry);
	} else if (entry->step == 0) {
		vn_ndp_probe(stack, entry);
	} else {
		entry->tentative = false;
		vn_ndp_announce(stack, entry);
	}
	entry->step++;
	if (entry->step == (ipv4 ? 2 : 3))
		entry->due_ns = UINT64_MAX;
	else
		entry->due_ns = stack->now_ns + (ipv4 ? ARP_INTERVAL_NS : NDP_INTERVAL_NS);
}

static void report(struct vnic_stack *stack)
{
	vn_mld_report(stack);
	if (stack->announce.report_entry > 0) {
		stack->announce.report_ns = stack->now_ns + TICK_NS;
	} else if (stack->announce.reports_left > 0) {
		stack->announce.reports_left--;
		stack->announce.report_ns = stack->now_ns + REPORT_INTERVAL_NS;
	} else {
		stack->announce.report_ns = UINT64_MAX;
	}
}

/* Whichever comes first, of the report and of all addresses. */
static uint64_t next_due(const struct vnic_stack *stack)
{
	uint64_t due_ns = stack->announce.report_ns;

	for (unsigned i = 0; i < stack->addresses.count; i++)
		if (stack->addresses.entries[i].due_ns < due_ns)
			due_ns = stack->addresses.entries[i].due_ns;
	return due_ns;
}

uint64_t vn_announce_advance(struct vnic_stack *stack)
{
	unsigned count = stack->addresses.count, sent = 0;
	uint64_t due_ns;

	if (!stack->link_up)
		return UINT64_MAX;
	if (stack->now_ns >= stack->announce.pace_ns) {
		if (stack->announce.report_ns <= stack->now_ns) {
			report(stack);
			sent++;
		}
		for (unsigned i = 0; i < count && sent < PACKETS_PER_TICK; i++) {
			struct vn_address_entry *entry =
				&stack->addresses.entries[stack->announce.next_entry++ % count];

			if (entry->due_ns > stack->now_ns)
				continue;
			step(stack, entry);
			sent++;
		}
		stack->announce.next_entry %= count > 0 ? count : 1;
		if (sent > 0)
			stack->announce.pace_ns = stack->now_ns + TICK_NS;
	}
	due_ns = next_due(stack);
	return due_ns > stack->announce.pace_ns ? due_ns : stack->announce.pace_ns;
}
