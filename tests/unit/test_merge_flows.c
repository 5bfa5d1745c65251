/* SPDX-License-Identifier: MIT */
/* Merging whole bursts: several flows and their order, packets of all kinds, and limits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "bursts.h"
#include "packets.h"

static void test_what_is_asked_for(void **state)
{
	static const struct {
		unsigned what, packets;
	} asked[] = {{0, 8}, {VNIC_MERGE_TCP, 6}, {VNIC_MERGE_UDP, 6}, {BOTH, 4}};

	(void)state;
	for (size_t i = 0; i < sizeof(asked) / sizeof(asked[0]); i++) {
		struct burst burst;

		open_burst(&burst);
		for (int flow = 0; flow < 4; flow++) {
			struct sample sample = {.payload = SIZE, .udp = flow & 1, .ipv6 = flow & 2};

			add(&burst, &sample, flow);
			sample = next_of(&sample);
			add(&burst, &sample, flow);
		}
		assert_int_equal(merge(&burst, VNIC_LAYER_IP, asked[i].what, "asked for"),
				 asked[i].packets);
		close_burst(&burst);
	}
}

static void test_interleaved_flows(void **state)
{
	struct sample flows[8];
	struct burst burst;

	(void)state;
	open_burst(&burst);
	for (int i = 0; i < 8; i++)
		flows[i] = (struct sample){
			.payload = SIZE + (uint32_t)i, .udp = i & 1, .ipv6 = i & 2, .host = i & 4};
	for (int round = 0; round < 8; round++) {
		for (int i = 0; i < 8; i++) {
			add(&burst, &flows[i], i);
			flows[i] = next_of(&flows[i]);
		}
	}
	assert_int_equal(merge(&burst, VNIC_LAYER_IP, BOTH, "interleaved"), 8);
	for (int i = 0; i < 8; i++)
		assert_int_equal(burst.packets[i].gso_size_bytes, SIZE + i);
	close_burst(&burst);
}

/* Every packet a flow of its own: nothing is merged, nothing is lost. */
static void test_many_flows(void **state)
{
	struct burst burst;

	(void)state;
	open_burst(&burst);
	for (int i = 0; i < VNIC_BURST_PACKETS; i++) {
		struct sample sample = {.payload = 10, .port = (uint16_t)i};

		add(&burst, &sample, i);
	}
	assert_int_equal(merge(&burst, VNIC_LAYER_IP, BOTH, "many flows"), VNIC_BURST_PACKETS);
	close_burst(&burst);
}

static void test_order_within_a_flow(void **state)
{
	struct sample first = {.payload = SIZE}, second = next_of(&first), third = next_of(&second);
	struct sample fourth = next_of(&third), ack = second;
	struct burst burst;

	(void)state;
	/* Out of order: 1 3 2 4 */
	open_burst(&burst);
	add(&burst, &first, 0);
	add(&burst, &third, 0);
	add(&burst, &second, 0);
	add(&burst, &fourth, 0);
	assert_int_equal(merge(&burst, VNIC_LAYER_IP, BOTH, "out of order"), 4);
	close_burst(&burst);
	/* 1 3 4 2: what continues the third may join it, but not overtake the second. */
	open_burst(&burst);
	add(&burst, &first, 0);
	add(&burst, &third, 0);
	add(&burst, &fourth, 0);
	add(&burst, &second, 0);
	assert_int_equal(merge(&burst, VNIC_LAYER_IP, BOTH, "out of order"), 3);
	close_burst(&burst);
	/* Twice */
	open_burst(&burst);
	add(&burst, &first, 0);
	add(&burst, &first, 0);
	add(&burst, &second, 0);
	assert_int_equal(merge(&burst, VNIC_LAYER_IP, BOTH, "duplicate"), 2);
	close_burst(&burst);
	/* A bare ACK between them */
	ack.payload = 0;
	ack.identification = 99;
	open_burst(&burst);
	add(&burst, &first, 0);
	add(&burst, &ack, 0);
	add(&burst, &second, 0);
	assert_int_equal(merge(&burst, VNIC_LAYER_IP, BOTH, "bare ACK"), 3);
	close_burst(&burst);
	/* One of another protocol with the same numbers is another flow. */
	ack = second;
	ack.udp = true;
	open_burst(&burst);
	add(&burst, &first, 0);
	add(&burst, &ack, 1);
	add(&burst, &second, 0);
	assert_int_equal(merge(&burst, VNIC_LAYER_IP, BOTH, "other protocol"), 2);
	close_burst(&burst);
}

static void add_bytes(struct burst *burst, const char *hex)
{
	struct vnic_packet *packet = &burst->packets[burst->count];
	size_t length;
	uint8_t *bytes = from_hex(hex, &length);

	memcpy(packet->data, bytes, length);
	packet->length_bytes = (uint32_t)length;
	burst->flows[burst->count++] = NO_FLOW;
	free(bytes);
}

static void test_packets_of_other_kinds(void **state)
{
	static const struct {
		const char *name, *packet;
		enum vnic_layer layer;
		unsigned packets; /* of three */
	} others[] = {
		/* No part of any flow: those in front and behind may meet. */
		{"ping", PACKET_PING, VNIC_LAYER_IP, 2},
		{"ping over IPv6", PACKET_PING6, VNIC_LAYER_IP, 2},
		{"GRE", PACKET_GRE, VNIC_LAYER_IP, 2},
		{"an ICMP error", PACKET_PORT_UNREACHABLE, VNIC_LAYER_IP, 2},
		{"hop-by-hop", PACKET_HOP_BY_HOP, VNIC_LAYER_IP, 2},
		{"IGMP with router alert", PACKET_ROUTER_ALERT, VNIC_LAYER_IP, 2},
		{"another UDP flow", PACKET_UDP, VNIC_LAYER_IP, 2},
		{"ARP", PACKET_ARP_REQUEST, VNIC_LAYER_ETHERNET, 2},
		{"LLDP", PACKET_LLDP, VNIC_LAYER_ETHERNET, 2},
		{"ping in a VLAN", PACKET_VLAN_PING, VNIC_LAYER_ETHERNET, 2},
		{"a runt", "02005e1000", VNIC_LAYER_ETHERNET, 2},
		{"one byte", "45", VNIC_LAYER_IP, 3},
		{"neither version", "55005e1000", VNIC_LAYER_IP, 2},
		/* Of which flow these are cannot be told. */
		{"UDP with IPv4 options", PACKET_OPTIONS, VNIC_LAYER_IP, 3},
		{"a routing header", PACKET_ROUTING, VNIC_LAYER_IP, 3},
		{"an IPv6 fragment", PACKET_FRAGMENT6, VNIC_LAYER_IP, 3},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		struct sample sample = {.payload = SIZE,
					.tap = others[i].layer == VNIC_LAYER_ETHERNET};
		struct burst burst;
		unsigned found;

		open_burst(&burst);
		add(&burst, &sample, 0);
		add_bytes(&burst, others[i].packet);
		sample = next_of(&sample);
		add(&burst, &sample, 0);
		found = merge(&burst, others[i].layer, BOTH, others[i].name);
		if (found != others[i].packets)
			fail_msg("%s: %u packets, not %u", others[i].name, found,
				 others[i].packets);
		close_burst(&burst);
	}
}

static void test_64_kib_in_all(void **state)
{
	(void)state;
	for (size_t i = 0; i < BASES; i++) {
		struct sample sample = bases[i];
		uint32_t header, most;
		struct burst burst;

		sample.payload = 2000;
		header = sample_header_bytes(&sample) -
			 (sample.tap ? 14 + 4 * sample.tags : 0); /* from IP on */
		most = (65535 - header) / 2000;
		open_burst(&burst);
		for (unsigned k = 0; k < 40; k++, sample = next_of(&sample))
			add(&burst, &sample, 0);
		assert_int_equal(merge(&burst, sample_layer(&sample), BOTH, "64 KiB"), 2);
		assert_int_equal(burst.packets[0].length_bytes,
				 sample_header_bytes(&sample) + most * 2000);
		close_burst(&burst);
		/* To the last byte */
		for (unsigned more = 0; more < 2; more++) {
			sample = bases[i];
			sample.payload = 2000;
			open_burst(&burst);
			for (unsigned k = 0; k < most; k++, sample = next_of(&sample))
				add(&burst, &sample, 0);
			sample.payload = 65535 - header - most * 2000 + more;
			add(&burst, &sample, 0);
			assert_int_equal(merge(&burst, sample_layer(&sample), BOTH, "65535"),
					 1 + more);
			close_burst(&burst);
		}
	}
}

static void test_memory_that_is_too_small(void **state)
{
	struct sample sample;
	struct burst burst;

	(void)state;
	for (uint32_t room = 0; room < 3 * SIZE; room += SIZE / 2) {
		sample = bases[0];
		open_burst(&burst);
		for (unsigned k = 0; k < 4; k++, sample = next_of(&sample)) {
			struct vnic_packet *packet = add(&burst, &sample, 0);

			/* Its own memory, so that a sanitizer sees the first byte behind. */
			packet->capacity_bytes = packet->length_bytes + room;
			packet->data = memcpy(malloc(packet->capacity_bytes), packet->data,
					      packet->length_bytes);
		}
		assert_int_equal(merge(&burst, VNIC_LAYER_IP, BOTH, "small memory"),
				 room < SIZE       ? 4
				 : room < 3 * SIZE ? 2
						   : 1);
		for (unsigned k = 0; k < 4; k++)
			free(burst.packets[k].data);
		close_burst(&burst);
	}
}

static void test_too_many_packets(void **state)
{
	struct vnic_packet packets[VNIC_BURST_PACKETS + 1] = {{.data = NULL}};

	(void)state;
	assert_int_equal(vnic_packets_merge(packets, 0, VNIC_LAYER_IP, BOTH), 0);
	assert_int_equal(vnic_packets_merge(packets, VNIC_BURST_PACKETS + 1, VNIC_LAYER_IP, BOTH),
			 VNIC_BURST_PACKETS + 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_asked_for),
		cmocka_unit_test(test_interleaved_flows),
		cmocka_unit_test(test_many_flows),
		cmocka_unit_test(test_order_within_a_flow),
		cmocka_unit_test(test_packets_of_other_kinds),
		cmocka_unit_test(test_64_kib_in_all),
		cmocka_unit_test(test_memory_that_is_too_small),
		cmocka_unit_test(test_too_many_packets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
