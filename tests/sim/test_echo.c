/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation: echo requests of both versions, on both layers, of every kind of size and
 * header, and those that must not be answered.
 */
#include "peer.h"

static uint8_t packet[PACKET_BYTES_MAX];

static void assert_echo_data(const uint8_t *message, size_t data_bytes)
{
	for (size_t i = 0; i < data_bytes; i++)
		if (message[8 + i] != peer_data(i))
			fail_msg("byte %zu of %zu is %u, not %u", i, data_bytes, message[8 + i],
				 peer_data(i));
}

static void assert_reply(const struct peer_answer *answer, const char *source,
			 const char *destination, size_t data_bytes)
{
	struct vnic_address from = peer_address(source), to = peer_address(destination);
	bool ipv4 = from.family == VNIC_IPV4;
	size_t header = ipv4 ? 20 : 40;

	assert_int_equal(answer->ip_length, header + 8 + data_bytes);
	assert_memory_equal(answer->ip + (ipv4 ? 12 : 8), to.bytes, ipv4 ? 4 : 16);
	assert_memory_equal(answer->ip + (ipv4 ? 16 : 24), from.bytes, ipv4 ? 4 : 16);
	assert_int_equal(answer->ip[ipv4 ? 8 : 7], 64);
	assert_int_equal(answer->ip[header], ipv4 ? 0 : 129);
	assert_int_equal(answer->ip[header + 1], 0);
	assert_memory_equal(answer->ip + header + 4, "\0\7\0\1", 4);
	assert_echo_data(answer->ip + header, data_bytes);
}

static void answers_every_size(void **state)
{
	static const struct {
		const char *from, *to;
	} pairs[] = {{PEER4, STACK4}, {PEER6, STACK6}, {"fe80::1", STACK6_LINK}};
	struct peer peer;

	(void)state;
	for (int layer = VNIC_LAYER_IP; layer <= VNIC_LAYER_ETHERNET; layer++) {
		peer_begin(&peer, layer, NULL);
		for (size_t p = 0; p < 3; p++) {
			for (size_t size = 0; size <= 1452; size += size < 70 ? 1 : 97) {
				size_t length = peer_echo(packet, pairs[p].from, pairs[p].to, size);

				assert_verdict(&peer, packet, length, "echo_replies");
				assert_int_equal(peer.count, 1);
				assert_reply(peer_answer(&peer, 0), pairs[p].from, pairs[p].to,
					     size);
				peer_clear(&peer);
			}
		}
		peer_end(&peer);
	}
}

/* 64 requests of different kinds in one burst: answers of all kinds share the way out. */
static void answers_a_burst(void **state)
{
	static uint8_t memory[VNIC_BURST_PACKETS][256];
	struct vnic_packet packets[VNIC_BURST_PACKETS];
	struct peer peer;

	(void)state;
	peer_begin(&peer, VNIC_LAYER_IP, NULL);
	for (unsigned i = 0; i < VNIC_BURST_PACKETS; i++) {
		size_t length = i % 2 == 0 ? peer_echo(memory[i], PEER4, STACK4, i)
					   : peer_udp(memory[i], PEER6, STACK6, i);

		packets[i] = (struct vnic_packet){.data = memory[i],
						  .length_bytes = (uint32_t)length,
						  .capacity_bytes = (uint32_t)length};
	}
	vnic_stack_receive(peer.stack, packets, VNIC_BURST_PACKETS, peer.now_ns);
	assert_int_equal(peer.count, VNIC_BURST_PACKETS);
	for (unsigned i = 0; i < VNIC_BURST_PACKETS; i += 2) {
		assert_reply(peer_answer(&peer, i), PEER4, STACK4, i);
		assert_int_equal(peer_answer(&peer, i + 1)->ip[40], VNIC_ICMPV6_UNREACHABLE);
	}
	assert_int_equal(peer_counter(&peer, VNIC_STACK_SENT), VNIC_BURST_PACKETS);
	peer_end(&peer);
}

static void answers_where_asked_from(void **state)
{
	static const uint8_t other[VNIC_MAC_BYTES] = {0x02, 0, 0, 0, 0, 0x77};
	struct vnic_ethernet ethernet;
	struct peer peer;
	size_t length;

	(void)state;
	peer_begin(&peer, VNIC_LAYER_ETHERNET, NULL);
	memcpy(peer.from_mac, other, sizeof(other));
	for (peer.vlan_count = 0; peer.vlan_count <= 2; peer.vlan_count++) {
		peer.vlan[0] = (struct vnic_vlan_tag){VNIC_ETHERTYPE_QINQ, 0xa123};
		peer.vlan[1] = (struct vnic_vlan_tag){VNIC_ETHERTYPE_VLAN, 0x0456};
		length = peer_echo(packet, PEER4, STACK4, 30);
		packet[length] = 0xee; /* the link's padding is not answered */
		assert_verdict(&peer, packet, length + 1, "echo_replies");
		assert_true(vnic_ethernet_parse(peer_answer(&peer, 0)->bytes,
						peer_answer(&peer, 0)->length, &ethernet) > 0);
		assert_memory_equal(ethernet.destination, other, sizeof(other));
		assert_int_equal(ethernet.vlan_count, peer.vlan_count);
		if (peer.vlan_count > 0) {
			assert_int_equal(ethernet.vlan[0].protocol, VNIC_ETHERTYPE_QINQ);
			assert_int_equal(ethernet.vlan[0].tci, 0xa123);
		}
		assert_reply(peer_answer(&peer, 0), PEER4, STACK4, 30);
		peer_clear(&peer);
	}
	peer_end(&peer);
}

/*
 * From scapy 2.5: IP(src='10.0.0.1',dst='10.0.0.2',id=1,ttl=1)/ICMP(id=1,seq=2)/b'abcdefgh' and
 * IPv6(src='fd00::1',dst='fd00::2',hlim=1)/ICMPv6EchoRequest(id=1,seq=2,data=b'abcdefgh')
 */
#define SCAPY_ECHO4 "45000024000100000101a5d60a0000010a000002 0800666700010002 6162636465666768"
#define SCAPY_ECHO6                                                                           \
	"6000000000103a01 fd000000000000000000000000000001 fd000000000000000000000000000002 " \
	"8000f41700010002 6162636465666768"

static void answers_scapy(void **state)
{
	struct peer peer;

	(void)state;
	peer_begin(&peer, VNIC_LAYER_IP, NULL);
	assert_string_equal(peer_send_hex(&peer, SCAPY_ECHO4), "echo_replies");
	assert_string_equal(peer_send_hex(&peer, SCAPY_ECHO6), "echo_replies");
	assert_memory_equal(peer_answer(&peer, 0)->ip + 28, "abcdefgh", 8);
	assert_memory_equal(peer_answer(&peer, 1)->ip + 48, "abcdefgh", 8);
	peer_end(&peer);
}

static void answers_all_nodes(void **state)
{
	struct peer peer;
	size_t length;

	(void)state;
	peer_begin(&peer, VNIC_LAYER_ETHERNET, NULL);
	vnic_mac_parse("33:33:00:00:00:01", peer.to_mac, NULL);
	length = peer_echo(packet, PEER6, "ff02::1", 56);
	assert_verdict(&peer, packet, length, "echo_replies");
	assert_reply(peer_answer(&peer, 0), PEER6, STACK6, 56);
	length = peer_echo(packet, "fe80::1", "ff02::1", 56);
	assert_verdict(&peer, packet, length, "echo_replies");
	assert_reply(peer_answer(&peer, 1), "fe80::1", STACK6_LINK, 56);
	length = peer_echo(packet, PEER6, "ff02::1:ff00:2", 1);
	assert_verdict(&peer, packet, length, "echo_replies");
	assert_reply(peer_answer(&peer, 2), PEER6, STACK6, 1);
	length = peer_echo(packet, PEER6, "ff02::1:ff00:3", 1);
	assert_verdict(&peer, packet, length, "drop_not_ours");
	length = peer_echo(packet, PEER6, "ff02::2", 1);
	assert_verdict(&peer, packet, length, "drop_not_ours");
	peer_end(&peer);
}

static void keeps_silent(void **state)
{
	static const struct {
		const char *from, *to, *counter;
	} rows[] = {
		{PEER4, "255.255.255.255", "drop_not_answerable"},
		{PEER4, "10.0.0.255", "drop_not_answerable"},
		{PEER4, "224.0.0.1", "drop_not_answerable"},
		{PEER4, "224.0.0.251", "drop_not_ours"},
		{PEER4, "10.0.0.3", "drop_not_ours"},
		{PEER4, "10.0.0.0", "drop_not_ours"},
		{"224.0.0.1", STACK4, "drop_source"},
		{"255.255.255.255", STACK4, "drop_source"},
		{"10.0.0.255", STACK4, "drop_source"},
		{"0.0.0.0", STACK4, "drop_source"},
		{"0.1.2.3", STACK4, "drop_source"},
		{"127.0.0.1", STACK4, "drop_source"},
		{STACK4, STACK4, "drop_source"},
		{PEER6, "fd00::3", "drop_not_ours"},
		{PEER6, "::1", "drop_not_ours"},
		{PEER6, "ff01::1", "drop_not_ours"},
		{PEER6, "ff05::1", "drop_not_ours"},
		{"ff02::1", STACK6, "drop_source"},
		{"::1", STACK6, "drop_source"},
		{"::", STACK6, "drop_source"},
		{STACK6, STACK6, "drop_source"},
		{STACK6, STACK6_LINK, "drop_source"},
	};
	struct peer peer;

	(void)state;
	for (int layer = VNIC_LAYER_IP; layer <= VNIC_LAYER_ETHERNET; layer++) {
		peer_begin(&peer, layer, NULL);
		for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
			size_t length = peer_echo(packet, rows[i].from, rows[i].to, 56);
			const char *counter = peer_send_ip(&peer, packet, length);

			if (strcmp(counter, rows[i].counter) != 0 || peer.count != 0)
				fail_msg("%s to %s: %s and %zu answers, not %s", rows[i].from,
					 rows[i].to, counter, peer.count, rows[i].counter);
		}
		peer_end(&peer);
	}
}

static void drops_damage(void **state)
{
	struct peer peer;
	size_t length;

	(void)state;
	peer_begin(&peer, VNIC_LAYER_IP, NULL);
	length = peer_echo(packet, PEER4, STACK4, 9);
	packet[30] ^= 1;
	assert_verdict(&peer, packet, length, "drop_checksum");
	packet[30] ^= 1;
	packet[8] ^= 1; /* TTL */
	assert_verdict(&peer, packet, length, "drop_checksum");
	length = peer_echo(packet, PEER6, STACK6, 9);
	packet[50] ^= 1;
	assert_verdict(&peer, packet, length, "drop_checksum");
	length = peer_ip(packet, PEER4, STACK4, VNIC_PROTOCOL_ICMP, (const uint8_t *)"\x08\0\0\0",
			 4);
	assert_verdict(&peer, packet, length, "drop_malformed");
	packet[0] = 0x55;
	assert_verdict(&peer, packet, length, "drop_malformed");
	assert_verdict(&peer, packet, 0, "drop_malformed");
	/* Every shorter part of a packet is one that is cut off. */
	for (int family = 4; family <= 6; family += 2) {
		length = family == 4 ? peer_echo(packet, PEER4, STACK4, 9)
				     : peer_echo(packet, PEER6, STACK6, 9);
		for (size_t cut = 0; cut < length; cut++)
			assert_verdict(&peer, packet, cut, "drop_malformed");
	}
	peer.flags = VNIC_PACKET_TRUNCATED;
	assert_verdict(&peer, packet, length, "drop_truncated");
	assert_int_equal(peer.count, 0);
	peer_end(&peer);
}

/* A local sender leaves the checksum to us: what is there is the sum of the pseudo header. */
static void finishes_checksums(void **state)
{
	struct vnic_address from = peer_address(PEER6), to = peer_address(STACK6);
	struct peer peer;
	uint16_t sum;
	size_t length;

	(void)state;
	peer_begin(&peer, VNIC_LAYER_IP, NULL);
	length = peer_echo(packet, PEER6, STACK6, 33);
	sum = vnic_checksum_fold(vnic_checksum_add_pseudo(0, &from, &to, VNIC_PROTOCOL_ICMPV6, 41));
	packet[42] = (uint8_t)(sum >> 8);
	packet[43] = (uint8_t)sum;
	peer.flags = VNIC_PACKET_NEEDS_CSUM;
	peer.csum_start = 40;
	peer.csum_offset = 2;
	assert_verdict(&peer, packet, length, "echo_replies");
	assert_reply(peer_answer(&peer, 0), PEER6, STACK6, 33);
	peer.csum_start = 4000;
	assert_verdict(&peer, packet, length, "drop_malformed");
	peer_end(&peer);
}

/* The class of service comes back; congestion on the way here says nothing of the way back. */
static void reflects_service(void **state)
{
	struct peer peer;
	uint16_t checksum;
	size_t length;

	(void)state;
	peer_begin(&peer, VNIC_LAYER_IP, NULL);
	length = peer_echo(packet, PEER4, STACK4, 8);
	packet[1] = 0xbb;
	packet[10] = packet[11] = 0;
	checksum = vnic_checksum(packet, 20);
	packet[10] = (uint8_t)(checksum >> 8);
	packet[11] = (uint8_t)checksum;
	assert_verdict(&peer, packet, length, "echo_replies");
	assert_int_equal(peer_answer(&peer, 0)->ip[1], 0xb8);
	length = peer_echo(packet, PEER6, STACK6, 8);
	memcpy(packet, "\x6b\xbc\xde\xf1", 4);
	assert_verdict(&peer, packet, length, "echo_replies");
	assert_memory_equal(peer_answer(&peer, 1)->ip, "\x6b\x8c\xde\xf1", 4);
	peer_end(&peer);
}

/* A reply of nothing but zeros is where updating a checksum goes wrong; the peer verifies each. */
static void answers_all_identifiers(void **state)
{
	struct vnic_icmp icmp = {.type = VNIC_ICMP_ECHO_REQUEST};
	struct peer peer;

	(void)state;
	peer_begin(&peer, VNIC_LAYER_IP, NULL);
	memset(packet + 28, 0, 32);
	for (unsigned id = 0; id < 65536; id++) {
		size_t length;

		icmp.rest = id << 16;
		vnic_icmp_build(packet + 20, 40, &icmp, id % 33);
		length = peer_ip(packet, PEER4, STACK4, VNIC_PROTOCOL_ICMP, NULL, 8 + id % 33);
		assert_verdict(&peer, packet, length, "echo_replies");
		peer_clear(&peer);
	}
	peer_end(&peer);
}

static void small_ethernet_frames(void **state)
{
	struct peer peer;
	size_t length = peer_echo(packet, PEER4, STACK4, 9);

	(void)state;
	peer_begin(&peer, VNIC_LAYER_ETHERNET, NULL);
	for (size_t cut = 0; cut < 14; cut++)
		assert_string_equal(peer_send_raw(&peer, packet, cut), "drop_malformed");
	memcpy(peer.to_mac, "\x02\0\0\0\0\x03", 6);
	assert_verdict(&peer, packet, length, "drop_not_ours");
	/* To everybody in Ethernet and to one host in IP: RFC 1122 section 3.3.6. */
	memset(peer.to_mac, 0xff, 6);
	assert_verdict(&peer, packet, length, "drop_not_answerable");
	memcpy(peer.to_mac, stack_mac, 6);
	memcpy(peer.from_mac, "\x03\0\0\0\0\x01", 6);
	assert_verdict(&peer, packet, length, "drop_source");
	memset(peer.from_mac, 0, 6);
	assert_verdict(&peer, packet, length, "drop_source");
	memcpy(peer.from_mac, stack_mac, 6);
	assert_verdict(&peer, packet, length, "drop_source");
	memcpy(peer.from_mac, peer_mac, 6);
	/* LLC, an unknown EtherType, and the wrong one. */
	peer_send(&peer, 0x0026, packet, length);
	peer_send(&peer, 0x88cc, packet, length);
	assert_int_equal(peer_counter(&peer, VNIC_STACK_DROP_PROTOCOL), 2);
	peer_send(&peer, VNIC_ETHERTYPE_IPV6, packet, length);
	assert_int_equal(peer_counter(&peer, VNIC_STACK_DROP_MALFORMED), 15);
	assert_int_equal(peer.count, 0);
	peer_end(&peer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers_every_size),
		cmocka_unit_test(answers_a_burst),
		cmocka_unit_test(answers_where_asked_from),
		cmocka_unit_test(answers_scapy),
		cmocka_unit_test(answers_all_nodes),
		cmocka_unit_test(keeps_silent),
		cmocka_unit_test(drops_damage),
		cmocka_unit_test(finishes_checksums),
		cmocka_unit_test(reflects_service),
		cmocka_unit_test(answers_all_identifiers),
		cmocka_unit_test(small_ethernet_frames),
	};

	return cmocka_run_group_tests_name("echo", tests, NULL, NULL);
}
