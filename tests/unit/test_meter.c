/* SPDX-License-Identifier: MIT */
/* What the host's meter counts by protocol, size and flow; and the history of rates. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "history.h"
#include "meter.h"

#define SECOND UINT64_C(1000000000)

/* A packet of 10.0.0.n to 10.0.0.2, seen by the host as coming in. */
static struct vnic_packet build(uint8_t *bytes, unsigned from, uint8_t protocol, uint16_t port,
				uint32_t length)
{
	struct vnic_ipv4 ipv4 = {
		.source = {10, 0, (uint8_t)(from >> 8), (uint8_t)from},
		.destination = {10, 0, 0, 2},
		.ttl = 64,
		.protocol = protocol,
		.total_bytes = (uint16_t)length,
	};

	memset(bytes, 0, length);
	assert_int_equal(vnic_ipv4_build(bytes, length, &ipv4), 20);
	bytes[20] = (uint8_t)(port >> 8);
	bytes[21] = (uint8_t)port;
	bytes[23] = 80;
	return (struct vnic_packet){
		.data = bytes, .length_bytes = length, .capacity_bytes = length};
}

static struct meter *new_meter(enum vnic_layer layer)
{
	struct meter *meter = meter_new(layer, 7);

	assert_non_null(meter);
	return meter;
}

static void assert_flow(const struct meter_flow *flow, const char *remote, unsigned remote_port,
			unsigned local_port, uint64_t in, uint64_t out)
{
	char text[VNIC_ADDRESS_TEXT_BYTES];

	assert_string_equal(vnic_address_format(&flow->flow.remote_address, text), remote);
	assert_int_equal(flow->flow.remote_port, remote_port);
	assert_int_equal(flow->flow.local_port, local_port);
	assert_int_equal(flow->traffic[DIRECTION_IN].bytes, in);
	assert_int_equal(flow->traffic[DIRECTION_OUT].bytes, out);
}

/* Both directions of a conversation are one flow; others are others. */
static void test_flows(void **state)
{
	struct meter *meter = new_meter(VNIC_LAYER_IP);
	struct vnic_packet packets[3];
	uint8_t bytes[3][128], answer[128];
	struct meter_totals totals = {0};
	struct meter_flow flows[4];

	(void)state;
	packets[0] = build(bytes[0], 1, VNIC_PROTOCOL_TCP, 4000, 100);
	packets[1] = build(bytes[1], 1, VNIC_PROTOCOL_UDP, 4000, 28);
	packets[2] = build(bytes[2], 1, VNIC_PROTOCOL_ICMP, 0, 84);
	meter_count(meter, DIRECTION_IN, packets, 3, 5 * SECOND);
	memcpy(answer, bytes[0], 100);
	memcpy(answer + 12, bytes[0] + 16, 4);
	memcpy(answer + 16, bytes[0] + 12, 4);
	memcpy(answer + 20, bytes[0] + 22, 2);
	memcpy(answer + 22, bytes[0] + 20, 2);
	packets[0].data = answer;
	packets[0].length_bytes = 60;
	meter_count(meter, DIRECTION_OUT, packets, 1, 6 * SECOND);

	assert_int_equal(meter_add_flows(meter, flows, 0, 4), 3);
	assert_flow(&flows[0], "10.0.0.1", 4000, 80, 100, 60);
	assert_int_equal(flows[0].protocol, VNIC_PROTOCOL_TCP);
	assert_int_equal(flows[0].first_ns, 5 * SECOND);
	assert_int_equal(flows[0].last_ns, 6 * SECOND);
	assert_flow(&flows[1], "10.0.0.1", 0, 0, 84, 0);
	assert_flow(&flows[2], "10.0.0.1", 4000, 80, 28, 0);
	assert_int_equal(flows[2].protocol, VNIC_PROTOCOL_UDP);

	/* Another shard saw the same flows: they are added up, and the table stays in order. */
	assert_int_equal(meter_add_flows(meter, flows, 3, 4), 3);
	assert_flow(&flows[0], "10.0.0.1", 4000, 80, 200, 120);
	assert_flow(&flows[1], "10.0.0.1", 0, 0, 168, 0);
	assert_int_equal(meter_add_flows(meter, flows, 0, 1), 1); /* the largest */
	assert_flow(&flows[0], "10.0.0.1", 4000, 80, 100, 60);

	meter_add(meter, &totals);
	assert_int_equal(totals.flows, 3);
	assert_int_equal(totals.flows_forgotten, 0);
	assert_int_equal(totals.protocols[DIRECTION_IN][METER_TCP].bytes, 100);
	assert_int_equal(totals.protocols[DIRECTION_IN][METER_UDP].packets, 1);
	assert_int_equal(totals.protocols[DIRECTION_IN][METER_ICMP].bytes, 84);
	assert_int_equal(totals.protocols[DIRECTION_OUT][METER_TCP].bytes, 60);
	meter_free(meter);
}

/* A hundred thousand small flows do not push out the large ones, nor need more room. */
static void test_flood(void **state)
{
	struct meter *meter = new_meter(VNIC_LAYER_IP);
	struct meter_totals totals = {0};
	struct meter_flow flows[3];
	struct vnic_packet packet;
	uint8_t bytes[1500];
	unsigned i;

	(void)state;
	for (i = 0; i < 100000; i++) {
		if (i % 10 == 0) {
			packet = build(bytes, 1, VNIC_PROTOCOL_TCP, (uint16_t)(1 + i / 10 % 3),
				       1500);
			meter_count(meter, DIRECTION_IN, &packet, 1, SECOND + i);
		}
		packet = build(bytes, 2 + i % 60000, VNIC_PROTOCOL_TCP, (uint16_t)(i >> 4), 40);
		meter_count(meter, DIRECTION_IN, &packet, 1, SECOND + i);
	}
	assert_int_equal(meter_add_flows(meter, flows, 0, 3), 3);
	for (i = 0; i < 3; i++)
		assert_true(flows[i].traffic[DIRECTION_IN].bytes >= UINT64_C(3333) * 1500);
	meter_add(meter, &totals);
	assert_int_equal(totals.flows, 1024);
	assert_int_equal(totals.flows_forgotten, 100003 - 1024);

	/* What was silent for long makes room first, however large it was. */
	for (i = 0; i < 20000; i++) {
		packet = build(bytes, 2 + i, VNIC_PROTOCOL_UDP, (uint16_t)i, 28);
		meter_count(meter, DIRECTION_IN, &packet, 1, 100 * SECOND + i);
	}
	assert_int_equal(meter_add_flows(meter, flows, 0, 3), 3);
	for (i = 0; i < 3; i++)
		assert_int_equal(flows[i].protocol, VNIC_PROTOCOL_UDP);
	meter_free(meter);
}

static void test_sizes(void **state)
{
	static const uint32_t lengths[] = {28, 64, 65, 512, 513, 1500, 1518, 1519, 9217, 65535};
	static const unsigned expected[METER_SIZES] = {2, 1, 0, 1, 1, 2, 1, 0, 2};
	struct meter *meter = new_meter(VNIC_LAYER_IP);
	uint8_t *bytes = malloc(65536);
	struct meter_totals totals = {0};
	struct vnic_packet packet;
	size_t i;

	(void)state;
	assert_non_null(bytes);
	for (i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		packet = build(bytes, 1, VNIC_PROTOCOL_TCP, 1, lengths[i]);
		meter_count(meter, DIRECTION_OUT, &packet, 1, SECOND);
	}
	packet.gso_type = VNIC_GSO_TCP4;
	packet.gso_size_bytes = 1460;
	meter_count(meter, DIRECTION_IN, &packet, 1, SECOND);
	meter_add(meter, &totals);
	for (i = 0; i < METER_SIZES; i++)
		assert_int_equal(totals.sizes[DIRECTION_OUT][i], expected[i]);
	assert_int_equal(totals.segments[DIRECTION_OUT], 10);
	assert_int_equal(totals.segments[DIRECTION_IN], 45);
	assert_int_equal(totals.protocols[DIRECTION_IN][METER_TCP].packets, 1);
	meter_free(meter);
	free(bytes);
}

/* Every prefix of a packet, with all kinds of headers before the ports. */
static void test_headers(void **state)
{
	static const struct {
		enum vnic_layer layer;
		enum meter_protocol protocol;
		const char *bytes;
		size_t length;
		unsigned flows, port;
	} cases[] = {
		{VNIC_LAYER_ETHERNET, METER_ARP, "\x02\0\0\0\0\1\x02\0\0\0\0\2\x08\x06", 14, 0, 0},
		{VNIC_LAYER_ETHERNET, METER_ARP, "\x02\0\0\0\0\1\x02\0\0\0\0\2\x81\0\0\7\x08\x06",
		 18, 0, 0},
		{VNIC_LAYER_ETHERNET, METER_OTHER, "\x02\0\0\0\0\1\x02\0\0\0\0\2\x88\xcc", 14, 0,
		 0},
		{VNIC_LAYER_ETHERNET, METER_UDP,
		 "\x02\0\0\0\0\1\x02\0\0\0\0\2\x08\0"
		 "\x45\0\0\x1c\0\0\0\0\x40\x11\0\0\x0a\0\0\1\x0a\0\0\2\x12\x34\0\7\0\x08\0\0",
		 42, 1, 0x1234},
		/* A later fragment has no ports. */
		{VNIC_LAYER_IP, METER_UDP,
		 "\x45\0\0\x1c\0\0\0\1\x40\x11\0\0\x0a\0\0\1\x0a\0\0\2\x12\x34\0\7\0\x08\0\0", 28,
		 1, 0},
		/* Options before them. */
		{VNIC_LAYER_IP, METER_TCP,
		 "\x46\0\0\x20\0\0\0\0\x40\x06\0\0\x0a\0\0\1\x0a\0\0\2\1\1\1\1\x12\x34\0\7", 28, 1,
		 0x1234},
		/* IPv6 with a destination option. */
		{VNIC_LAYER_IP, METER_UDP,
		 "\x60\0\0\0\0\x10\x3c\x40\xfd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1\xfd\0\0\0\0\0\0\0\0\0"
		 "\0\0\0\0\0\2"
		 "\x11\0\1\4\0\0\0\0\x12\x34\0\7\0\x08\0\0",
		 56, 1, 0x1234},
		{VNIC_LAYER_IP, METER_OTHER, "\x45\0\0\x14\0\0\0\0\x40\xfd\0\0\x0a\0\0\1\x0a\0\0\2",
		 20, 1, 0},
		{VNIC_LAYER_IP, METER_OTHER, "\x70", 1, 0, 0},
		{VNIC_LAYER_IP, METER_OTHER, "", 0, 0, 0},
	};
	size_t i, length;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct meter *meter = new_meter(cases[i].layer);
		struct meter_totals totals = {0};
		struct vnic_packet packet = {.length_bytes = (uint32_t)cases[i].length};
		struct meter_flow flow = {0};

		packet.data = malloc(cases[i].length + 1);
		assert_non_null(packet.data);
		memcpy(packet.data, cases[i].bytes, cases[i].length);
		meter_count(meter, DIRECTION_IN, &packet, 1, SECOND);
		meter_add(meter, &totals);
		assert_int_equal(totals.protocols[DIRECTION_IN][cases[i].protocol].packets, 1);
		assert_int_equal(totals.flows, cases[i].flows);
		assert_int_equal(meter_add_flows(meter, &flow, 0, 1), cases[i].flows);
		assert_int_equal(flow.flow.remote_port, cases[i].port);
		free(packet.data);
		for (length = 0; length < cases[i].length; length++) {
			packet.data = malloc(length ? length : 1); /* so that a sanitizer sees it */
			packet.length_bytes = (uint32_t)length;
			assert_non_null(packet.data);
			memcpy(packet.data, cases[i].bytes, length);
			meter_count(meter, DIRECTION_OUT, &packet, 1, SECOND);
			free(packet.data);
		}
		assert_int_equal(meter_traffic(meter, DIRECTION_OUT).packets, cases[i].length);
		meter_free(meter);
	}
}

static void test_history(void **state)
{
	struct history_second seconds[HISTORY_SECONDS], total = {.in_packets = 5, .in_bytes = 500};
	struct history *history = history_new(100 * SECOND);
	uint64_t first = 99;

	(void)state;
	assert_non_null(history);
	assert_false(history_is_due(history, 100 * SECOND));
	assert_false(history_is_due(history, 101 * SECOND - 1));
	assert_int_equal(history_read(history, 0, seconds, &first), 0);
	assert_int_equal(first, 0);
	assert_true(history_next_ns(history, false) == UINT64_MAX);
	assert_true(history_next_ns(history, true) == 101 * SECOND);

	/* All was counted in the first second; nobody saw packets in the next two. */
	assert_true(history_is_due(history, 103 * SECOND + 5));
	history_note(history, &total, 103 * SECOND + 5);
	assert_false(history_is_due(history, 103 * SECOND + 6));
	assert_int_equal(history_read(history, 0, seconds, &first), 3);
	assert_int_equal(seconds[0].in_packets, 5);
	assert_int_equal(seconds[0].in_bytes, 500);
	assert_int_equal(seconds[1].in_packets, 0);
	assert_int_equal(seconds[2].in_bytes, 0);

	total.out_bytes = 7;
	total.in_packets = 6;
	history_note(history, &total, 104 * SECOND);
	assert_int_equal(history_read(history, 3, seconds, &first), 1);
	assert_int_equal(first, 3);
	assert_int_equal(seconds[0].in_packets, 1);
	assert_int_equal(seconds[0].out_bytes, 7);
	assert_int_equal(history_read(history, 4, seconds, &first), 0);
	assert_int_equal(first, 4);
	assert_int_equal(history_read(history, 4000, seconds, &first), 0);
	assert_int_equal(first, 4);

	/* Only the last 300 are kept, after a day of silence too. */
	total.drops = 3;
	history_note(history, &total, 404 * SECOND);
	assert_int_equal(history_read(history, 0, seconds, &first), HISTORY_SECONDS);
	assert_int_equal(first, 4);
	assert_int_equal(seconds[0].drops, 3);
	history_note(history, &total, 90000 * SECOND);
	assert_int_equal(history_read(history, 0, seconds, &first), HISTORY_SECONDS);
	assert_int_equal(first, 90000 - 100 - HISTORY_SECONDS);
	assert_int_equal(seconds[0].drops, 0);
	assert_int_equal(seconds[HISTORY_SECONDS - 1].in_packets, 0);
	total.in_packets = 16;
	history_note(history, &total, 90001 * SECOND);
	assert_int_equal(history_read(history, first + HISTORY_SECONDS, seconds, &first), 1);
	assert_int_equal(seconds[0].in_packets, 10);
	history_free(history);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_flows),   cmocka_unit_test(test_flood),
		cmocka_unit_test(test_sizes),   cmocka_unit_test(test_headers),
		cmocka_unit_test(test_history),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
