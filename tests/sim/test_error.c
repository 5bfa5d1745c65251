/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation: what is answered with an error or a reset, what the answer says, who gets
 * none, and how many there are at most.
 */
#include "peer.h"

#define SCAPY_UDP6                                                                            \
	"6000000000121101 fd000000000000000000000000000001 fd000000000000000000000000000002 " \
	"9c40829a0012c7c7 74726163 65726f757465"
#define SCAPY_SYN                                                                               \
	"4500002c00010000400666c9 0a000001 0a000002 9c400050000003e8000000006002 2000c3ab0000 " \
	"020405b4"
#define SCAPY_RECORD_ROUTE                                                                       \
	"4f0000440001000040014c85 0a000001 0a000002 072708 0a000001 00000000 00000000 00000000 " \
	"00000000 00000000 00000000 00000000 00000000 00 0800f7fc00010002"

static uint8_t packet[PACKET_BYTES_MAX];

/* An IPv4 packet gets its length and header checksum back after a change. */
static size_t mend(size_t length)
{
	size_t header = (size_t)(packet[0] & 15) * 4;
	uint16_t checksum;

	packet[2] = (uint8_t)(length >> 8);
	packet[3] = (uint8_t)length;
	packet[10] = packet[11] = 0;
	checksum = vnic_checksum(packet, header);
	packet[10] = (uint8_t)(checksum >> 8);
	packet[11] = (uint8_t)checksum;
	return length;
}

/* Put options into an IPv4 packet without any. */
static size_t with_options(size_t length, const uint8_t *options, size_t options_bytes)
{
	size_t padded = (options_bytes + 3) / 4 * 4;

	memmove(packet + 20 + padded, packet + 20, length - 20);
	memset(packet + 20, 0, padded);
	memcpy(packet + 20, options, options_bytes);
	packet[0] = (uint8_t)(0x40 | (5 + padded / 4));
	return mend(length + padded);
}

/* Put an extension header behind the IPv6 header. */
static size_t with_extension(size_t length, uint8_t type, const uint8_t *bytes, size_t count)
{
	unsigned payload;

	memmove(packet + 40 + count, packet + 40, length - 40);
	memcpy(packet + 40, bytes, count);
	packet[40] = packet[6];
	packet[6] = type;
	payload = (unsigned)(length + count - 40);
	packet[4] = (uint8_t)(payload >> 8);
	packet[5] = (uint8_t)payload;
	return length + count;
}

static void assert_error(const struct peer *peer, size_t n, uint8_t type, uint8_t code,
			 uint32_t rest, size_t quoted)
{
	const struct peer_answer *answer = peer_answer(peer, n);
	size_t header = answer->ip[0] >> 4 == 4 ? 20 : 40;
	const uint8_t *message = answer->ip + header;

	assert_int_equal(message[0], type);
	assert_int_equal(message[1], code);
	assert_int_equal(
		(uint32_t)message[4] << 24 | message[5] << 16 | message[6] << 8 | message[7], rest);
	assert_int_equal(answer->ip_length, header + 8 + quoted);
	assert_memory_equal(message + 8, packet, quoted);
	/* From the address that was asked, to the one that asked. */
	assert_memory_equal(answer->ip + (header == 20 ? 12 : 8), packet + (header == 20 ? 16 : 24),
			    header == 20 ? 4 : 16);
	assert_memory_equal(answer->ip + (header == 20 ? 16 : 24), packet + (header == 20 ? 12 : 8),
			    header == 20 ? 4 : 16);
}

static void port_unreachable(void **state)
{
	struct peer peer;
	size_t length;

	(void)state;
	for (int layer = VNIC_LAYER_IP; layer <= VNIC_LAYER_ETHERNET; layer++) {
		peer_begin(&peer, layer, NULL);
		for (size_t size = 0; size <= 1452; size += 121) {
			length = peer_udp(packet, PEER4, STACK4, size);
			packet[8] = 1; /* as traceroute's last probe arrives */
			mend(length);
			assert_verdict(&peer, packet, length, "unreachables");
			assert_error(&peer, 0, 3, 3, 0, length < 548 ? length : 548);
			peer_clear(&peer);
			length = peer_udp(packet, PEER6, STACK6, size);
			packet[7] = 1;
			assert_verdict(&peer, packet, length, "unreachables");
			assert_error(&peer, 0, 1, 4, 0, length < 1232 ? length : 1232);
			peer_clear(&peer);
		}
		peer_end(&peer);
	}
	peer_begin(&peer, VNIC_LAYER_IP, NULL);
	assert_string_equal(peer_send_hex(&peer, SCAPY_UDP6), "unreachables");
	peer_end(&peer);
}

static void udp_that_gets_no_error(void **state)
{
	static const struct {
		const char *from, *to, *counter;
	} rows[] = {
		{PEER4, "255.255.255.255", "drop_not_answerable"},
		{PEER4, "10.0.0.255", "drop_not_answerable"},
		{PEER4, "224.0.0.1", "drop_not_answerable"},
		{PEER4, "224.0.0.251", "drop_not_ours"},
		{"0.0.0.0", "255.255.255.255", "drop_source"}, /* DHCP */
		{"0.0.0.0", STACK4, "drop_source"},
		{PEER6, "ff02::1", "drop_not_answerable"},
		{PEER6, "ff02::fb", "drop_not_ours"},
		{"::", STACK6, "drop_source"},
		{"::", "ff02::1", "drop_source"},
	};
	struct vnic_tcp tcp = {.source_port = 1, .destination_port = 2, .flags = VNIC_TCP_SYN};
	struct peer peer;
	size_t length;

	(void)state;
	peer_begin(&peer, VNIC_LAYER_IP, NULL);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		length = peer_udp(packet, rows[i].from, rows[i].to, 10);
		assert_verdict(&peer, packet, length, rows[i].counter);
	}
	length = peer_udp(packet, PEER4, STACK4, 11);
	packet[30] ^= 4;
	assert_verdict(&peer, packet, length, "drop_checksum");
	packet[25] += 1; /* UDP length over the packet's */
	assert_verdict(&peer, packet, length, "drop_malformed");
	length = peer_udp(packet, PEER6, STACK6, 11);
	packet[46] = packet[47] = 0; /* no checksum: allowed in IPv4 only */
	assert_verdict(&peer, packet, length, "drop_checksum");
	assert_int_equal(peer.count, 0);
	length = peer_udp(packet, PEER4, STACK4, 11);
	packet[26] = packet[27] = 0;
	assert_verdict(&peer, packet, length, "unreachables");
	peer_end(&peer);

	/* In a frame to everybody, or to the group of nobody in particular. */
	peer_begin(&peer, VNIC_LAYER_ETHERNET, NULL);
	vnic_mac_parse("33:33:ff:00:00:02", peer.to_mac, NULL);
	length = peer_udp(packet, PEER6, STACK6, 10);
	assert_verdict(&peer, packet, length, "drop_not_answerable");
	length = peer_tcp(packet, PEER6, STACK6, &tcp, 0);
	assert_verdict(&peer, packet, length, "drop_not_answerable");
	memset(peer.to_mac, 0xff, 6);
	length = peer_udp(packet, PEER4, STACK4, 10);
	assert_verdict(&peer, packet, length, "drop_not_answerable");
	assert_int_equal(peer.count, 0);
	peer_end(&peer);
}

static void offloaded_packets(void **state)
{
	struct vnic_tcp tcp = {.source_port = 5,
			       .destination_port = 80,
			       .sequence = 100,
			       .flags = VNIC_TCP_ACK,
			       .acknowledgment = 77};
	struct peer peer;
	size_t length;

	(void)state;
	peer_begin(&peer, VNIC_LAYER_IP, NULL);
	/* Not finished by its sender: what stands there is no checksum yet. */
	length = peer_udp(packet, PEER4, STACK4, 100);
	packet[26] ^= 0x55;
	peer.csum_start = 20;
	peer.csum_offset = 6;
	peer.flags = VNIC_PACKET_NEEDS_CSUM;
	assert_verdict(&peer, packet, length, "unreachables");
	peer.flags = VNIC_PACKET_DATA_VALID;
	assert_verdict(&peer, packet, length, "unreachables");
	peer.flags = 0;
	assert_verdict(&peer, packet, length, "drop_checksum");
	peer_clear(&peer);
	/* A super-packet gets one answer. */
	peer.flags = VNIC_PACKET_NEEDS_CSUM;
	peer.gso_type = VNIC_GSO_UDP;
	length = peer_udp(packet, PEER4, STACK4, 60000);
	assert_verdict(&peer, packet, length, "unreachables");
	peer.gso_type = VNIC_GSO_TCP6;
	peer.csum_start = 40;
	peer.csum_offset = 16;
	length = peer_tcp(packet, PEER6, STACK6, &tcp, 60000);
	assert_verdict(&peer, packet, length, "resets");
	assert_int_equal(peer.count, 2);
	peer_end(&peer);
}

/* Of a super-packet its first segment is quoted, as it would have been on a wire. */
static void quoted_segment(void **state)
{
	static uint8_t segment[1100];
	struct vnic_address from, to;
	struct peer peer;

	(void)state;
	vnic_address_parse(PEER4, &from, NULL);
	vnic_address_parse(STACK4, &to, NULL);
	for (int i = 0; i < 2; i++) {
		size_t length = peer_udp(packet, PEER4, STACK4, 3500);
		uint16_t sum;

		peer_begin(&peer, i ? VNIC_LAYER_ETHERNET : VNIC_LAYER_IP, NULL);
		sum = vnic_checksum_fold(
			vnic_checksum_add_pseudo(0, &from, &to, VNIC_PROTOCOL_UDP, 3508));
		packet[26] = (uint8_t)(sum >> 8);
		packet[27] = (uint8_t)sum;
		peer.csum_start = 20;
		peer.csum_offset = 6;
		peer.flags = VNIC_PACKET_NEEDS_CSUM;
		peer.gso_type = VNIC_GSO_UDP;
		assert_verdict(&peer, packet, length, "unreachables");
		assert_int_equal(peer_udp(segment, PEER4, STACK4, 1000), 1028);
		memcpy(packet, segment, sizeof(segment));
		assert_error(&peer, 0, VNIC_ICMP_UNREACHABLE, VNIC_ICMP_UNREACHABLE_PORT, 0, 548);
		peer_end(&peer);
	}
}

static void resets(void **state)
{
	static const struct {
		uint8_t flags;
		size_t data_bytes;
		const char *counter;
		uint32_t sequence, acknowledgment;
		uint8_t answer;
	} rows[] = {
		{VNIC_TCP_SYN, 0, "resets", 0, 1001, VNIC_TCP_RST | VNIC_TCP_ACK},
		{VNIC_TCP_SYN, 5, "resets", 0, 1006, VNIC_TCP_RST | VNIC_TCP_ACK},
		{VNIC_TCP_FIN, 3, "resets", 0, 1004, VNIC_TCP_RST | VNIC_TCP_ACK},
		{0, 0, "resets", 0, 1000, VNIC_TCP_RST | VNIC_TCP_ACK},
		{VNIC_TCP_SYN | VNIC_TCP_ACK, 0, "resets", 5000, 0, VNIC_TCP_RST},
		{VNIC_TCP_ACK, 100, "resets", 5000, 0, VNIC_TCP_RST},
		{VNIC_TCP_RST, 0, "drop_unwanted", 0, 0, 0},
		{VNIC_TCP_RST | VNIC_TCP_ACK, 0, "drop_unwanted", 0, 0, 0},
		{VNIC_TCP_RST | VNIC_TCP_SYN, 0, "drop_unwanted", 0, 0, 0},
	};
	static const char *const pairs[][2] = {{PEER4, STACK4}, {PEER6, STACK6}};
	struct peer peer;

	(void)state;
	peer_begin(&peer, VNIC_LAYER_IP, NULL);
	for (size_t i = 0; i < 2 * sizeof(rows) / sizeof(rows[0]); i++) {
		const char *const *pair = pairs[i % 2];
		struct vnic_tcp tcp = {.source_port = 40000,
				       .destination_port = 80,
				       .sequence = 1000,
				       .acknowledgment = 5000,
				       .flags = rows[i / 2].flags,
				       .window = 1,
				       .options_bytes = 4,
				       .options = {2, 4, 5, 0xb4}},
				answer;
		size_t length = peer_tcp(packet, pair[0], pair[1], &tcp, rows[i / 2].data_bytes);

		assert_verdict(&peer, packet, length, rows[i / 2].counter);
		if (rows[i / 2].answer == 0) {
			assert_int_equal(peer.count, 0);
			continue;
		}
		assert_true(vnic_tcp_parse(peer_answer(&peer, 0)->ip + (i % 2 ? 40 : 20), 20,
					   &answer) > 0);
		assert_int_equal(answer.flags, rows[i / 2].answer);
		assert_int_equal(answer.sequence, rows[i / 2].sequence);
		assert_int_equal(answer.acknowledgment, rows[i / 2].acknowledgment);
		assert_int_equal(answer.source_port, 80);
		assert_int_equal(answer.destination_port, 40000);
		assert_int_equal(answer.window, 0);
		peer_clear(&peer);
	}
	assert_string_equal(peer_send_hex(&peer, SCAPY_SYN), "resets");
	peer_clear(&peer);
	for (size_t i = 0; i < 3; i++) {
		struct vnic_tcp tcp = {
			.source_port = 1, .destination_port = 2, .flags = VNIC_TCP_SYN};
		size_t length = peer_tcp(packet, i < 2 ? PEER4 : PEER6,
					 i == 0   ? "10.0.0.255"
					 : i == 1 ? STACK4
						  : "ff02::1",
					 &tcp, 0);

		if (i == 1)
			packet[24] ^= 1;
		assert_verdict(&peer, packet, length,
			       i == 1 ? "drop_checksum" : "drop_not_answerable");
	}
	assert_verdict(&peer, packet, peer_ip(packet, PEER4, STACK4, 6, packet + 100, 19),
		       "drop_malformed");
	assert_int_equal(peer.count, 0);
	peer_end(&peer);
}

static void unknown_protocols(void **state)
{
	static const uint8_t data[20] = {1, 2, 3};
	struct peer peer;
	size_t length;

	(void)state;
	peer_begin(&peer, VNIC_LAYER_IP, NULL);
	for (unsigned protocol = 0; protocol < 256; protocol++) {
		if (protocol == 1 || protocol == 6 || protocol == 17)
			continue;
		peer_wait(&peer, SECOND_NS);
		length = peer_ip(packet, PEER4, STACK4, (uint8_t)protocol, data, sizeof(data));
		assert_verdict(&peer, packet, length, "unreachables");
		assert_error(&peer, 0, 3, 2, 0, length);
		peer_clear(&peer);
	}
	for (unsigned next = 0; next < 256; next++) {
		if (vnic_ipv6_is_extension((uint8_t)next) || next == 6 || next == 17 || next == 58)
			continue;
		peer_wait(&peer, SECOND_NS);
		length = peer_ip(packet, PEER6, STACK6, (uint8_t)next, data, sizeof(data));
		if (next == VNIC_PROTOCOL_NONE) {
			assert_verdict(&peer, packet, length, "drop_unwanted");
			continue;
		}
		assert_verdict(&peer, packet, length, "parameter_problems");
		assert_error(&peer, 0, 4, 1, 6, length);
		peer_clear(&peer);
	}
	/* IGMP, as hosts send it to groups; nothing is due. */
	length = peer_ip(packet, PEER4, "224.0.0.1", 2, data, 8);
	assert_verdict(&peer, packet, length, "drop_not_answerable");
	peer_end(&peer);
}

/* RFC 1122 section 3.2.2 and RFC 4443 section 2.4 (e.1): no error about an error. */
static void errors_about_errors(void **state)
{
	static const uint8_t bad[] = {0, 0, 0xc0, 0,
				      0, 0, 0,    0}; /* option "answer even to groups": not */
	struct vnic_icmp icmp = {0};
	struct peer peer;

	(void)state;
	peer_begin(&peer, VNIC_LAYER_IP, NULL);
	for (unsigned type = 0; type < 256; type++) {
		struct vnic_address from = peer_address(PEER6), to = peer_address(STACK6);
		const char *expected;
		size_t length;

		icmp.type = (uint8_t)type;
		if (type != VNIC_ICMP_ECHO_REQUEST) {
			memset(packet + 28, 0, 28);
			vnic_icmp_build(packet + 20, 36, &icmp, 28);
			length = peer_ip(packet, PEER4, STACK4, VNIC_PROTOCOL_ICMP, NULL, 36);
			/* What it is about is nothing that we sent. */
			assert_verdict(&peer, packet, length,
				       type == VNIC_ICMP_UNREACHABLE ||
						       type == VNIC_ICMP_PARAMETER_PROBLEM
					       ? "drop_notice"
					       : "drop_unwanted");
			/* With a wrong option, only what is no error may be answered with one. */
			peer_wait(&peer, SECOND_NS);
			length = with_options(length, (const uint8_t *)"\x07\x02\x00\x00", 4);
			assert_verdict(&peer, packet, length,
				       vnic_icmp_is_error((uint8_t)type) ? "drop_not_answerable"
									 : "parameter_problems");
		}
		peer_wait(&peer, SECOND_NS);
		vnic_icmpv6_build(packet + 40, 36, &from, &to, &icmp, 28);
		length = peer_ip(packet, PEER6, STACK6, VNIC_PROTOCOL_ICMPV6, NULL, 36);
		length = with_extension(length, VNIC_PROTOCOL_DESTINATION, bad, 8);
		expected = type < 128 || type == VNIC_ICMPV6_REDIRECT ? "drop_not_answerable"
								      : "parameter_problems";
		assert_verdict(&peer, packet, length, expected);
	}
	peer_end(&peer);
}

static void ipv4_options(void **state)
{
	static const struct {
		const char *options;
		size_t length;
		const char *counter;
		int type, code;
		uint32_t pointer;
	} rows[] = {
		{"\x01\x01\x01\x00", 4, "echo_replies", 0, 0, 0},
		{"\x94\x04\x00\x00", 4, "echo_replies", 0, 0, 0},                 /* router alert */
		{"\x1e\x04\x00\x00", 4, "echo_replies", 0, 0, 0},                 /* unknown */
		{"\x07\x02\x00\x00", 4, "parameter_problems", 12, 0, 20},         /* too short */
		{"\x01\x07\x00\x00", 4, "parameter_problems", 12, 0, 21},         /* length 0 */
		{"\x01\x01\x07\x07", 4, "parameter_problems", 12, 0, 22},         /* over the end */
		{"\x07\x07\x03\0\0\0\0\0", 8, "parameter_problems", 12, 0, 20},   /* pointer */
		{"\x44\x07\x05\x00\0\0\0\0", 8, "parameter_problems", 12, 0, 20}, /* half */
		{"\x07\x06\x04\0\0\0\0\0", 8, "parameter_problems", 12, 0, 20},
		{"\x44\x04\x02\x00", 4, "parameter_problems", 12, 0, 20},
		{"\x44\x08\x05\x02\0\0\0\0", 8, "parameter_problems", 12, 0, 20}, /* flags */
		{"\x83\x07\x04\x0a\0\0\x05\0", 8, "unreachables", 3, 5, 0}, /* go on, please */
		{"\x89\x07\x04\x0a\0\0\x05\0", 8, "unreachables", 3, 5, 0},
		{"\x83\x03\x04\x83\x03\x04\0\0", 8, "parameter_problems", 12, 0, 23},
		{"\x83\x07\x08\xe0\0\0\x05\0", 8, "parameter_problems", 12, 0,
		 20}, /* back by a group */
	};
	struct peer peer;

	(void)state;
	peer_begin(&peer, VNIC_LAYER_IP, NULL);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		size_t length = peer_echo(packet, PEER4, STACK4, 20);
		const char *counter;

		length = with_options(length, (const uint8_t *)rows[i].options, rows[i].length);
		counter = peer_send_ip(&peer, packet, length);
		if (strcmp(counter, rows[i].counter) != 0 || peer.count != 1)
			fail_msg("row %zu: %s, not %s", i, counter, rows[i].counter);
		if (rows[i].type != 0)
			assert_error(&peer, 0, (uint8_t)rows[i].type, (uint8_t)rows[i].code,
				     rows[i].pointer << 24, length);
		peer_clear(&peer);
	}
	peer_end(&peer);
}

/* Only of a first fragment does its sender hear. */
static void errors_about_fragments(void **state)
{
	struct peer peer;
	size_t length;

	(void)state;
	peer_begin(&peer, VNIC_LAYER_IP, NULL);
	for (unsigned offset = 0; offset < 2; offset++) {
		length = with_options(peer_udp(packet, PEER4, STACK4, 100),
				      (const uint8_t *)"\x07\x02\x00\x00", 4);
		packet[6] = 0x20;
		packet[7] = (uint8_t)offset;
		mend(length);
		assert_verdict(&peer, packet, length,
			       offset ? "drop_not_answerable" : "parameter_problems");
	}
	/* In IPv6 it hears of others too, but of ICMPv6 nobody can tell whether it is an error. */
	for (unsigned icmpv6 = 0; icmpv6 < 2; icmpv6++) {
		length = icmpv6 ? peer_echo(packet, PEER6, STACK6, 101)
				: peer_udp(packet, PEER6, STACK6, 101);
		length = with_extension(length, 44, (const uint8_t *)"\0\0\0\x09\0\0\0\1", 8);
		assert_verdict(&peer, packet, length,
			       icmpv6 ? "drop_not_answerable" : "parameter_problems");
	}
	peer_end(&peer);
}

static void options_come_back(void **state)
{
	static const uint8_t route[] = {0x83, 11, 12, 10, 0, 0, 5, 10, 0, 0, 6, 0};
	static const uint8_t back[] = {0x83, 11, 4, 10, 0, 0, 5, 10, 0, 0, 1, 0};
	const struct peer_answer *answer;
	struct peer peer;
	size_t length;

	(void)state;
	peer_begin(&peer, VNIC_LAYER_IP, NULL);
	/* Record route: 10.0.0.2 behind 10.0.0.1. */
	assert_string_equal(peer_send_hex(&peer, SCAPY_RECORD_ROUTE), "echo_replies");
	answer = peer_answer(&peer, 0);
	assert_memory_equal(answer->ip + 20, "\x07\x27\x0c\x0a\0\0\x01\x0a\0\0\x02\0\0", 13);
	assert_memory_equal(answer->ip + 12, "\x0a\0\0\x02\x0a\0\0\x01", 8);

	/* A source route through 10.0.0.5 and 10.0.0.6: back to the last one first. */
	length = with_options(peer_echo(packet, PEER4, STACK4, 4), route, sizeof(route));
	assert_verdict(&peer, packet, length, "echo_replies");
	answer = peer_answer(&peer, 1);
	assert_memory_equal(answer->ip + 16, "\x0a\0\0\x06", 4);
	assert_memory_equal(answer->ip + 20, back, sizeof(back));

	/* Timestamps: with room, with an address, and one too many, at 1000 s. */
	length = with_options(peer_echo(packet, PEER4, STACK4, 4),
			      (const uint8_t *)"\x44\x08\x05\x00\0\0\0\0", 8);
	assert_verdict(&peer, packet, length, "echo_replies");
	assert_memory_equal(peer_answer(&peer, 2)->ip + 20, "\x44\x08\x09\x00\x80\x0f\x42\x40", 8);
	length = with_options(peer_echo(packet, PEER4, STACK4, 4),
			      (const uint8_t *)"\x44\x0c\x05\x01\0\0\0\0\0\0\0\0", 12);
	assert_verdict(&peer, packet, length, "echo_replies");
	assert_memory_equal(peer_answer(&peer, 3)->ip + 20,
			    "\x44\x0c\x0d\x01\x0a\0\0\x02\x80\x0f\x42\x40", 12);
	length = with_options(peer_echo(packet, PEER4, STACK4, 4),
			      (const uint8_t *)"\x44\x04\x05\xe0", 4);
	assert_verdict(&peer, packet, length, "echo_replies");
	assert_memory_equal(peer_answer(&peer, 4)->ip + 20, "\x44\x04\x05\xf0", 4);
	length = with_options(peer_echo(packet, PEER4, STACK4, 4),
			      (const uint8_t *)"\x44\x04\x05\xf0", 4);
	assert_verdict(&peer, packet, length, "parameter_problems");
	peer_end(&peer);
}

static void ipv6_extensions(void **state)
{
	static const struct {
		const char *name;
		uint8_t type;
		const char *bytes;
		size_t length;
		const char *counter;
		uint8_t code;
		uint32_t pointer;
	} rows[] = {
		{"padding", 0, "\0\0\x01\x04\0\0\0\0", 8, "echo_replies", 0, 0},
		{"router alert", 0, "\0\0\x05\x02\0\0\x01\0", 8, "echo_replies", 0, 0},
		{"unknown, skip", 60, "\0\0\x1e\x04\0\0\0\0", 8, "echo_replies", 0, 0},
		{"unknown, discard", 60, "\0\0\x5e\x04\0\0\0\0", 8, "drop_protocol", 0, 0},
		{"unknown, tell", 60, "\0\0\x9e\x04\0\0\0\0", 8, "parameter_problems", 2, 42},
		{"unknown, tell unless group", 0, "\0\0\x01\0\xde\x02\0\0", 8, "parameter_problems",
		 2, 44},
		{"jumbo payload", 0, "\0\0\xc2\x04\0\x01\0\0", 8, "parameter_problems", 2, 42},
		{"option over the end", 60, "\0\0\x1e\x05\0\0\0\0", 8, "drop_malformed", 0, 0},
		{"header over the end", 60, "\0\xff\x01\x04\0\0\0\0", 8, "drop_malformed", 0, 0},
		{"used-up routing", 43, "\0\0\0\0\0\0\0\0", 8, "echo_replies", 0, 0},
		{"routing type 0", 43, "\0\0\0\x01\0\0\0\0", 8, "parameter_problems", 0, 42},
		{"routing type 4", 43, "\0\0\x04\x01\0\0\0\0", 8, "parameter_problems", 0, 42},
		{"atomic fragment", 44, "\0\0\0\0\x12\x34\x56\x78", 8, "echo_replies", 0, 0},
	};
	struct peer peer;
	size_t length;

	(void)state;
	peer_begin(&peer, VNIC_LAYER_IP, NULL);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const char *counter;

		length = peer_echo(packet, PEER6, STACK6, 20);
		length = with_extension(length, rows[i].type, (const uint8_t *)rows[i].bytes,
					rows[i].length);
		counter = peer_send_ip(&peer, packet, length);
		if (strcmp(counter, rows[i].counter) != 0)
			fail_msg("%s: %s, not %s", rows[i].name, counter, rows[i].counter);
		if (strcmp(counter, "parameter_problems") == 0)
			assert_error(&peer, 0, 4, rows[i].code, rows[i].pointer, length);
		else if (strcmp(counter, "echo_replies") == 0)
			assert_int_equal(peer_answer(&peer, 0)->ip_length, 40 + 8 + 20);
		peer_clear(&peer);
	}
	/* Hop-by-hop options in the second place; the pointer is at what leads there. */
	length = peer_echo(packet, PEER6, STACK6, 20);
	length = with_extension(length, 0, (const uint8_t *)"\0\0\x01\x04\0\0\0\0", 8);
	length = with_extension(length, 60, (const uint8_t *)"\0\0\x01\x04\0\0\0\0", 8);
	assert_verdict(&peer, packet, length, "parameter_problems");
	assert_error(&peer, 0, 4, 1, 40, length);
	peer_clear(&peer);
	/* A chain without end. */
	length = peer_echo(packet, PEER6, STACK6, 20);
	for (unsigned i = 0; i < 8; i++)
		length = with_extension(length, 60, (const uint8_t *)"\0\0\x01\x04\0\0\0\0", 8);
	assert_verdict(&peer, packet, length, "echo_replies");
	length = with_extension(length, 60, (const uint8_t *)"\0\0\x01\x04\0\0\0\0", 8);
	assert_verdict(&peer, packet, length, "drop_malformed");
	peer_clear(&peer);
	/* To a group: only one kind of option is answered (RFC 4443 section 2.4 (e.3)). */
	length = peer_echo(packet, PEER6, "ff02::1", 20);
	length = with_extension(length, 60, (const uint8_t *)"\0\0\xde\x04\0\0\0\0", 8);
	assert_verdict(&peer, packet, length, "drop_not_answerable");
	length = peer_echo(packet, PEER6, "ff02::1", 20);
	length = with_extension(length, 60, (const uint8_t *)"\0\0\x9e\x04\0\0\0\0", 8);
	assert_verdict(&peer, packet, length, "parameter_problems");
	assert_memory_equal(peer_answer(&peer, 0)->ip + 8, peer_address(STACK6).bytes, 16);
	length = peer_echo(packet, PEER6, "ff02::1", 20);
	length = with_extension(length, 43, (const uint8_t *)"\0\0\0\x01\0\0\0\0", 8);
	assert_verdict(&peer, packet, length, "drop_not_answerable");
	peer_end(&peer);
}

static void few_errors(struct vnic_stack_options *options)
{
	options->errors_per_second = 10;
	options->errors_burst = 5;
}

static void limits_the_rate(void **state)
{
	struct vnic_tcp tcp = {.source_port = 1, .destination_port = 2, .flags = VNIC_TCP_SYN};
	struct peer peer;
	size_t length;

	(void)state;
	peer_begin(&peer, VNIC_LAYER_IP, few_errors);
	length = peer_udp(packet, PEER4, STACK4, 10);
	for (unsigned i = 0; i < 100; i++)
		peer_send_ip(&peer, packet, length);
	assert_int_equal(peer.count, 5);
	assert_int_equal(peer_counter(&peer, VNIC_STACK_DROP_ERROR_RATE), 95);
	/* Resets draw from the same; echo replies do not. */
	length = peer_tcp(packet, PEER6, STACK6, &tcp, 0);
	assert_verdict(&peer, packet, length, "drop_error_rate");
	length = peer_echo(packet, PEER6, STACK6, 0);
	assert_verdict(&peer, packet, length, "echo_replies");
	/* 10 each second from now on, however many ask. */
	peer_clear(&peer);
	length = peer_udp(packet, PEER4, STACK4, 10);
	for (unsigned i = 0; i < 10000; i++) {
		peer_wait(&peer, SECOND_NS / 1000);
		peer_send_ip(&peer, packet, length);
	}
	assert_int_equal(peer.count, 100);
	/* After hours without, a burst again, and no larger one. */
	peer_wait(&peer, 36000 * SECOND_NS);
	peer_clear(&peer);
	for (unsigned i = 0; i < 100; i++)
		peer_send_ip(&peer, packet, length);
	assert_int_equal(peer.count, 5);
	peer_end(&peer);
}

static void tiny_mtu(struct vnic_stack_options *options)
{
	options->mtu_bytes = 68;
}

/* 68 bytes do not hold the header and 8 bytes of what is quoted, with options: fragments do. */
static void fits_the_smallest_mtu(void **state)
{
	static uint8_t whole[2048], options[40];
	struct peer peer;
	size_t length;

	(void)state;
	peer_begin(&peer, VNIC_LAYER_IP, tiny_mtu);
	memset(options, 1, sizeof(options));
	length = with_options(peer_udp(packet, PEER4, STACK4, 400), options, 40);
	assert_verdict(&peer, packet, length, "unreachables");
	assert_int_equal(peer_join(&peer, whole), 20 + 8 + 60 + 8);
	peer_end(&peer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(port_unreachable),
		cmocka_unit_test(udp_that_gets_no_error),
		cmocka_unit_test(offloaded_packets),
		cmocka_unit_test(quoted_segment),
		cmocka_unit_test(resets),
		cmocka_unit_test(unknown_protocols),
		cmocka_unit_test(errors_about_errors),
		cmocka_unit_test(ipv4_options),
		cmocka_unit_test(errors_about_fragments),
		cmocka_unit_test(options_come_back),
		cmocka_unit_test(ipv6_extensions),
		cmocka_unit_test(limits_the_rate),
		cmocka_unit_test(fits_the_smallest_mtu),
	};

	return cmocka_run_group_tests_name("error", tests, NULL, NULL);
}
