/* SPDX-License-Identifier: MIT */
/* One line of text per packet: what it says, and that nothing can break it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <vnic/packet.h>

#include "packets.h"

static void assert_line(const struct vnic_packet *packet, enum vnic_layer layer,
			const char *expected)
{
	char line[VNIC_PACKET_LINE_BYTES];
	size_t length = vnic_packet_print(packet, layer, line, sizeof(line));

	assert_string_equal(line, expected);
	assert_int_equal(length, strlen(expected));
}

static struct vnic_packet open_packet(const char *hex)
{
	struct vnic_packet packet = {.headroom_bytes = 0};
	size_t length;

	packet.data = from_hex(hex, &length);
	packet.length_bytes = packet.capacity_bytes = (uint32_t)length;
	return packet;
}

static void test_lines_of_scapys_packets(void **state)
{
	static const struct {
		const char *hex;
		enum vnic_layer layer;
		const char *line;
	} cases[] = {
		{PACKET_ARP_REQUEST, VNIC_LAYER_ETHERNET,
		 "02:00:5e:10:00:01 > ff:ff:ff:ff:ff:ff ARP who has 10.0.0.2? tell 10.0.0.1, 42 "
		 "bytes"},
		{PACKET_ARP_REPLY, VNIC_LAYER_ETHERNET,
		 "02:00:5e:10:00:02 > 02:00:5e:10:00:01 ARP 10.0.0.2 is at 02:00:5e:10:00:02, 42 "
		 "bytes"},
		{PACKET_VLAN_PING, VNIC_LAYER_ETHERNET,
		 "02:00:5e:10:00:01 > 02:00:5e:10:00:02 vlan 5 prio 3 10.0.0.1 > 10.0.0.2 ICMP "
		 "echo request id 7 seq 1, 53 bytes"},
		{PACKET_QINQ_PING6, VNIC_LAYER_ETHERNET,
		 "02:00:5e:10:00:01 > 02:00:5e:10:00:02 svlan 100 vlan 5 fd00::1 > fd00::2 ICMPv6 "
		 "echo request id 7 seq 1, 73 bytes"},
		{PACKET_PING, VNIC_LAYER_IP,
		 "10.0.0.1 > 10.0.0.2 ICMP echo request id 7 seq 1, 84 bytes"},
		{PACKET_PONG, VNIC_LAYER_IP,
		 "10.0.0.2 > 10.0.0.1 ICMP echo reply id 7 seq 1, 31 bytes"},
		{PACKET_PORT_UNREACHABLE, VNIC_LAYER_IP,
		 "10.0.0.2 > 10.0.0.1 ICMP port unreachable (10.0.0.1 > 10.0.0.2 UDP 1234 > "
		 "33434), 66 bytes"},
		{PACKET_TIME_EXCEEDED, VNIC_LAYER_IP,
		 "10.0.0.254 > 10.0.0.1 ICMP time exceeded (10.0.0.1 > 10.0.0.2 ICMP echo request "
		 "id 7 seq 9), 56 bytes"},
		{PACKET_FRAG_NEEDED, VNIC_LAYER_IP,
		 "10.0.0.2 > 10.0.0.1 ICMP fragmentation needed mtu 1400 (10.0.0.1 > 10.0.0.2 TCP "
		 "1 > 80), 68 bytes"},
		{PACKET_OPTIONS, VNIC_LAYER_IP,
		 "10.0.0.1 > 10.0.0.2 record-route UDP 53 > 1234 length 5, 45 bytes"},
		{PACKET_ROUTER_ALERT, VNIC_LAYER_IP,
		 "10.0.0.1 > 224.0.0.22 router-alert IGMP length 16, 40 bytes"},
		{PACKET_FIRST_FRAGMENT, VNIC_LAYER_IP,
		 "10.0.0.1 > 10.0.0.2 fragment id 4242 offset 0+ ICMP echo request id 7 seq 1, 44 "
		 "bytes"},
		{PACKET_LAST_FRAGMENT, VNIC_LAYER_IP,
		 "10.0.0.1 > 10.0.0.2 fragment id 4242 offset 1480 ICMP length 20, 40 bytes"},
		{PACKET_UDP, VNIC_LAYER_IP, "10.0.0.1 > 10.0.0.2 UDP 53 > 1234 length 5, 33 bytes"},
		{PACKET_UDP_NOSUM, VNIC_LAYER_IP,
		 "10.0.0.1 > 10.0.0.2 UDP 53 > 1234 length 5, 33 bytes"},
		{PACKET_UDP6, VNIC_LAYER_IP, "fd00::1 > fd00::2 UDP 53 > 1234 length 5, 53 bytes"},
		{PACKET_SYN, VNIC_LAYER_IP,
		 "10.0.0.1 > 10.0.0.2 TCP 40000 > 80 SYN seq 1000 win 64240 [mss 1460, sackOK, ts "
		 "100/0, wscale 7] length 0, 60 bytes"},
		{PACKET_DATA, VNIC_LAYER_IP,
		 "10.0.0.1 > 10.0.0.2 TCP 40000 > 80 PSH,ACK seq 1001 ack 2001 win 502 [ts 101/50] "
		 "length 18, 70 bytes"},
		{PACKET_SACK, VNIC_LAYER_IP,
		 "10.0.0.1 > 10.0.0.2 TCP 80 > 40000 ACK seq 5 ack 6 win 1 [sack 10-20 30-40] "
		 "length 0, 60 bytes"},
		{PACKET_TCP6, VNIC_LAYER_IP,
		 "fd00::1 > fd00::2 TCP 40000 > 443 RST seq 1 win 8192 length 0, 60 bytes"},
		{PACKET_PING6, VNIC_LAYER_IP,
		 "fd00::1 > fd00::2 ICMPv6 echo request id 7 seq 1, 56 bytes"},
		{PACKET_TOO_BIG, VNIC_LAYER_IP,
		 "fd00::1 > fd00::2 ICMPv6 packet too big mtu 1280 (fd00::2 > fd00::1 UDP 1 > 2), "
		 "97 bytes"},
		{PACKET_HOP_BY_HOP, VNIC_LAYER_IP,
		 "fd00::1 > fd00::2 hop-by-hop ICMPv6 echo request id 7 seq 1, 56 bytes"},
		{PACKET_DEST_OPTIONS, VNIC_LAYER_IP,
		 "fd00::1 > fd00::2 dest-options UDP 1 > 2 length 1, 57 bytes"},
		{PACKET_ROUTING, VNIC_LAYER_IP,
		 "fd00::1 > fd00::2 routing UDP 1 > 2 length 1, 73 bytes"},
		{PACKET_FRAGMENT6, VNIC_LAYER_IP,
		 "fd00::1 > fd00::2 fragment id 4660 offset 0+ ICMPv6 echo request id 7 seq 1, 64 "
		 "bytes"},
		{PACKET_FRAGMENT6_LAST, VNIC_LAYER_IP,
		 "fd00::1 > fd00::2 fragment id 4660 offset 1448 ICMPv6 length 12, 60 bytes"},
		{PACKET_NS, VNIC_LAYER_IP,
		 "fd00::1 > ff02::1:ff00:2 ICMPv6 neighbor solicitation who has fd00::2? tell "
		 "02:00:5e:10:00:01, 72 bytes"},
		{PACKET_DAD, VNIC_LAYER_IP,
		 ":: > ff02::1:ff00:2 ICMPv6 neighbor solicitation who has fd00::2? nonce, 72 "
		 "bytes"},
		{PACKET_NA, VNIC_LAYER_IP,
		 "fd00::2 > fd00::1 ICMPv6 neighbor advertisement fd00::2 is at 02:00:5e:10:00:02 "
		 "solicited override, 72 bytes"},
		{PACKET_RS, VNIC_LAYER_IP,
		 "fe80::1 > ff02::2 ICMPv6 router solicitation, 48 bytes"},
		{PACKET_MLD2, VNIC_LAYER_IP,
		 "fe80::1 > ff02::16 hop-by-hop ICMPv6 MLDv2 report records 1, 76 bytes"},
		{PACKET_GRE, VNIC_LAYER_IP, "10.0.0.1 > 10.0.0.2 GRE length 8, 28 bytes"},
		{PACKET_LLDP, VNIC_LAYER_ETHERNET,
		 "02:00:5e:10:00:01 > 01:80:c2:00:00:0e EtherType 0x88cc, 20 bytes"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct vnic_packet packet = open_packet(cases[i].hex);

		assert_line(&packet, cases[i].layer, cases[i].line);
		free(packet.data);
	}
}

static void test_lines_of_short_packets(void **state)
{
	static const struct {
		const char *hex;
		enum vnic_layer layer;
		const char *line;
	} cases[] = {
		{"", VNIC_LAYER_IP, "empty packet, 0 bytes"},
		{"", VNIC_LAYER_ETHERNET, "empty packet, 0 bytes"},
		{"45", VNIC_LAYER_IP, "IPv4, 1 bytes, truncated"},
		{"60", VNIC_LAYER_IP, "IPv6, 1 bytes, truncated"},
		{"7f", VNIC_LAYER_IP, "IP version 7, 1 bytes"},
		{"44000000", VNIC_LAYER_IP, "IPv4, 4 bytes, bad header length"},
		{"0102", VNIC_LAYER_ETHERNET, "Ethernet, 2 bytes, truncated"},
		{"02005e10000202005e1000010800", VNIC_LAYER_ETHERNET,
		 "02:00:5e:10:00:01 > 02:00:5e:10:00:02 no IP header, 14 bytes, truncated"},
		{"02005e10000202005e100001080060", VNIC_LAYER_ETHERNET,
		 "02:00:5e:10:00:01 > 02:00:5e:10:00:02 IPv6, 15 bytes, truncated, bad EtherType"},
		{"02005e10000202005e1000010806", VNIC_LAYER_ETHERNET,
		 "02:00:5e:10:00:01 > 02:00:5e:10:00:02 ARP, 14 bytes, truncated"},
		{"02005e10000202005e100001002642", VNIC_LAYER_ETHERNET,
		 "02:00:5e:10:00:01 > 02:00:5e:10:00:02 802.3 length 38, 15 bytes"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct vnic_packet packet = open_packet(cases[i].hex);

		assert_line(&packet, cases[i].layer, cases[i].line);
		free(packet.data);
	}
}

static void test_arp_kinds(void **state)
{
	struct vnic_packet packet = open_packet(PACKET_ARP_REQUEST);

	(void)state;
	memset(packet.data + 28, 0, 4);
	assert_line(&packet, VNIC_LAYER_ETHERNET,
		    "02:00:5e:10:00:01 > ff:ff:ff:ff:ff:ff ARP probe: who has 10.0.0.2?, 42 bytes");
	memcpy(packet.data + 28, packet.data + 38, 4);
	assert_line(&packet, VNIC_LAYER_ETHERNET,
		    "02:00:5e:10:00:01 > ff:ff:ff:ff:ff:ff ARP announcement of 10.0.0.2, 42 bytes");
	packet.data[21] = 9;
	assert_line(&packet, VNIC_LAYER_ETHERNET,
		    "02:00:5e:10:00:01 > ff:ff:ff:ff:ff:ff ARP operation 9 from 10.0.0.2 for "
		    "10.0.0.2, 42 bytes");
	packet.data[15] = 6;
	assert_line(&packet, VNIC_LAYER_ETHERNET,
		    "02:00:5e:10:00:01 > ff:ff:ff:ff:ff:ff ARP not for IPv4 over Ethernet, "
		    "42 bytes");
	free(packet.data);
}

static void test_bad_checksums(void **state)
{
	static const struct {
		const char *hex;
		size_t at;
		const char *line;
	} cases[] = {
		{PACKET_PING, 80,
		 "10.0.0.1 > 10.0.0.2 ICMP echo request id 7 seq 1, 84 bytes, bad checksum (ICMP)"},
		{PACKET_PING, 10,
		 "10.0.0.1 > 10.0.0.2 ICMP echo request id 7 seq 1, 84 bytes, bad checksum (IPv4)"},
		{PACKET_PING6, 55,
		 "fd00::1 > fd00::2 ICMPv6 echo request id 7 seq 1, 56 bytes, bad checksum "
		 "(ICMPv6)"},
		{PACKET_UDP, 30,
		 "10.0.0.1 > 10.0.0.2 UDP 53 > 1234 length 5, 33 bytes, bad checksum (UDP)"},
		{PACKET_TCP6, 55,
		 "fd00::1 > fd00::2 TCP 40000 > 443 RST seq 1 win 8195 length 0, 60 bytes, "
		 "bad checksum (TCP)"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct vnic_packet packet = open_packet(cases[i].hex);

		packet.data[cases[i].at] ^= 3;
		assert_line(&packet, VNIC_LAYER_IP, cases[i].line);
		free(packet.data);
	}
}

static void test_unfinished_checksums_are_not_judged(void **state)
{
	static const char *const lines[] = {
		"10.0.0.1 > 10.0.0.2 UDP 53 > 1234 length 5, 33 bytes",
		"10.0.0.1 > 10.0.0.2 UDP 53 > 1234 length 5, 33 bytes, gso 1448",
	};
	struct vnic_packet packet = open_packet(PACKET_UDP);

	(void)state;
	packet.data[30] ^= 3;
	packet.flags = VNIC_PACKET_NEEDS_CSUM;
	assert_line(&packet, VNIC_LAYER_IP, lines[0]);
	packet.flags = VNIC_PACKET_DATA_VALID;
	assert_line(&packet, VNIC_LAYER_IP, lines[0]);
	packet.flags = 0;
	packet.gso_type = VNIC_GSO_UDP;
	packet.gso_size_bytes = 1448;
	assert_line(&packet, VNIC_LAYER_IP, lines[1]);
	free(packet.data);

	packet = open_packet(PACKET_UDP6);
	packet.data[46] = packet.data[47] = 0;
	assert_line(&packet, VNIC_LAYER_IP,
		    "fd00::1 > fd00::2 UDP 53 > 1234 length 5, 53 bytes, no checksum (UDP)");
	free(packet.data);
}

static void test_truncated(void **state)
{
	struct vnic_packet packet = open_packet(PACKET_PING);

	(void)state;
	packet.length_bytes = 40;
	assert_line(&packet, VNIC_LAYER_IP,
		    "10.0.0.1 > 10.0.0.2 ICMP echo request id 7 seq 1, 40 bytes, truncated");
	packet.flags = VNIC_PACKET_TRUNCATED;
	assert_line(&packet, VNIC_LAYER_IP,
		    "10.0.0.1 > 10.0.0.2 ICMP echo request id 7 seq 1, 40 bytes, truncated");
	packet.length_bytes = 25;
	assert_line(&packet, VNIC_LAYER_IP, "10.0.0.1 > 10.0.0.2 ICMP, 25 bytes, truncated");
	packet.length_bytes = 19;
	assert_line(&packet, VNIC_LAYER_IP, "IPv4, 19 bytes, truncated");
	free(packet.data);
}

static void test_unknown_protocol(void **state)
{
	struct vnic_packet packet = open_packet(PACKET_GRE);
	uint16_t checksum;

	(void)state;
	packet.data[9] = 253;
	packet.data[10] = packet.data[11] = 0;
	checksum = vnic_checksum(packet.data, 20);
	packet.data[10] = (uint8_t)(checksum >> 8);
	packet.data[11] = (uint8_t)checksum;
	assert_line(&packet, VNIC_LAYER_IP, "10.0.0.1 > 10.0.0.2 protocol 253 length 8, 28 bytes");
	free(packet.data);
}

static void test_short_buffers(void **state)
{
	static const char whole[] = "10.0.0.1 > 10.0.0.2 ICMP echo request id 7 seq 1, 84 bytes";
	struct vnic_packet packet = open_packet(PACKET_PING);

	(void)state;
	assert_int_equal(vnic_packet_print(&packet, VNIC_LAYER_IP, NULL, 0), 0);
	for (size_t size = 1; size <= sizeof(whole) + 1; size++) {
		char *line = malloc(size);
		size_t expected = size - 1 < strlen(whole) ? size - 1 : strlen(whole);

		assert_non_null(line);
		assert_int_equal(vnic_packet_print(&packet, VNIC_LAYER_IP, line, size), expected);
		assert_int_equal(strlen(line), expected);
		assert_memory_equal(line, whole, expected);
		free(line);
	}
	free(packet.data);
}

/* The longest lines that we can think of must fit, with the room to spare that the header promises. */
static void test_longest_lines(void **state)
{
	/* TCP with every flag, timestamps and SACK blocks, behind two tags and four extension headers */
	static const char tcp[] = "02005e10000202005e100001"
				  "88a8ffff"
				  "8100ffff"
				  "0800" /* says IPv4 */
				  "60000000ffff3cff"
				  "fd11111111111111111111111111111f"
				  "fd22222222222222222222222222222f"
				  "3c00010400000000"
				  "3c00010400000000"
				  "2c00010400000000"
				  "0600000100000001"
				  "ffffffffffffffffffffffff"
				  "f0ff"
				  "ffff"
				  "ffff"
				  "ffff"
				  "080affffffffffffffff"
				  "080affffffffffffffff"
				  "0512ffffffffffffffffffffffffffffffff"
				  "01ff";
	/* An ICMPv6 error about a fragment with an echo */
	static const char error[] = "02005e10000202005e100001"
				    "88a8ffff"
				    "8100ffff"
				    "0800"
				    "60000000ffff3cff"
				    "fd11111111111111111111111111111f"
				    "fd22222222222222222222222222222f"
				    "3c00010400000000"
				    "3c00010400000000"
				    "2c00010400000000"
				    "3a000001ffffffff"
				    "04ffffffffffffff"
				    "60000000ffff2cff"
				    "fd11111111111111111111111111111f"
				    "fd22222222222222222222222222222f"
				    "3a000001ffffffff"
				    "8000ffffffffffff";
	static const char *const cases[] = {tcp, error};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct vnic_packet packet = open_packet(cases[i]);
		char line[2 * VNIC_PACKET_LINE_BYTES];
		size_t length;

		packet.gso_type = VNIC_GSO_TCP6;
		packet.gso_size_bytes = 65535;
		length = vnic_packet_print(&packet, VNIC_LAYER_ETHERNET, line, sizeof(line));
		if (length >= VNIC_PACKET_LINE_BYTES || length < VNIC_PACKET_LINE_BYTES / 2)
			fail_msg("%zu bytes: %s", length, line);
		free(packet.data);
	}
}

/* Every cut of every packet, and every single byte of it changed to a few values. */
static void test_any_bytes_at_all(void **state)
{
	static const char *const cases[] = {
		PACKET_ARP_REQUEST, PACKET_QINQ_PING6, PACKET_PORT_UNREACHABLE,
		PACKET_OPTIONS,     PACKET_SYN,        PACKET_SACK,
		PACKET_TOO_BIG,     PACKET_HOP_BY_HOP, PACKET_ROUTING,
		PACKET_FRAGMENT6,   PACKET_NS,         PACKET_DAD,
		PACKET_NA,          PACKET_MLD2,
	};
	static const uint8_t values[] = {0x00, 0x01, 0x7f, 0x80, 0xff};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct vnic_packet packet = open_packet(cases[i]);
		uint32_t whole = packet.length_bytes;
		uint8_t *bytes = packet.data;
		char line[VNIC_PACKET_LINE_BYTES];

		for (uint32_t length = 0; length <= whole; length++) {
			packet.data = exact_copy(bytes, length);
			packet.length_bytes = length;
			vnic_packet_print(&packet, VNIC_LAYER_IP, line, sizeof(line));
			vnic_packet_print(&packet, VNIC_LAYER_ETHERNET, line, sizeof(line));
			free(packet.data);
		}
		packet.data = bytes;
		for (uint32_t at = 0; at < whole; at++) {
			uint8_t before = bytes[at];

			for (size_t v = 0; v < sizeof(values); v++) {
				size_t length;

				bytes[at] = values[v];
				length = vnic_packet_print(&packet, (enum vnic_layer)(v & 1), line,
							   sizeof(line));
				assert_int_equal(length, strlen(line));
				for (size_t c = 0; c < length; c++)
					assert_in_range(line[c], ' ', '~');
			}
			bytes[at] = before;
		}
		free(bytes);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines_of_scapys_packets),
		cmocka_unit_test(test_lines_of_short_packets),
		cmocka_unit_test(test_arp_kinds),
		cmocka_unit_test(test_bad_checksums),
		cmocka_unit_test(test_unfinished_checksums_are_not_judged),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_unknown_protocol),
		cmocka_unit_test(test_short_buffers),
		cmocka_unit_test(test_longest_lines),
		cmocka_unit_test(test_any_bytes_at_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
