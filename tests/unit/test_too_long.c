/* SPDX-License-Identifier: MIT */
/* Who is told that a packet is too long, what, and who is told nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "packet/too_long.h"

static const uint8_t near4[4] = {10, 0, 0, 1}, far4[4] = {10, 0, 0, 2};
static const uint8_t near6[16] = {0xfd, [15] = 1}, far6[16] = {0xfd, [15] = 2};
static uint8_t bytes[4096], answer[VN_TOO_LONG_BYTES];
static struct vnic_packet packet;

static void make_ipv4(size_t at, struct vnic_ipv4 change)
{
	memcpy(change.source, near4, 4);
	memcpy(change.destination, far4, 4);
	change.ttl = 9;
	change.total_bytes = 1500;
	assert_int_equal(vnic_ipv4_build(bytes + at, 60, &change), 20 + change.options_bytes);
	packet = (struct vnic_packet){.data = bytes, .length_bytes = (uint32_t)at + 1500};
}

static void make_ipv6(size_t at, uint8_t next_header)
{
	struct vnic_ipv6 header = {
		.hop_limit = 9, .payload_bytes = 1460, .next_header = next_header};

	memcpy(header.source, near6, 16);
	memcpy(header.destination, far6, 16);
	assert_int_equal(vnic_ipv6_build(bytes + at, 40, &header), 40);
	packet = (struct vnic_packet){.data = bytes, .length_bytes = (uint32_t)at + 1500};
}

static uint32_t build_ip(uint32_t most)
{
	return vn_too_long_build(&packet, VNIC_LAYER_IP, most, 0, answer);
}

static int set_up(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 11);
	return 0;
}

static void check_ipv4(const uint8_t *ip, const uint8_t *quoted, uint32_t length, uint32_t mtu)
{
	struct vnic_ipv4 header;
	struct vnic_icmp icmp;

	assert_int_equal(length, 576); /* RFC 1812 section 4.3.2.3 */
	assert_int_equal(vnic_ipv4_parse(ip, length, &header), 20);
	assert_memory_equal(header.source, far4, 4);
	assert_memory_equal(header.destination, near4, 4);
	assert_int_equal(header.protocol, VNIC_PROTOCOL_ICMP);
	assert_int_equal(header.tos, 0xc0);
	assert_int_equal(vnic_icmp_parse(ip + 20, length - 20, &icmp), 8);
	assert_int_equal(icmp.type, 3);
	assert_int_equal(icmp.code, 4);
	assert_int_equal(icmp.rest, mtu); /* RFC 1191 section 4: unused, next-hop MTU */
	assert_memory_equal(ip + 28, quoted, length - 28);
}

static void test_ipv4(void **state)
{
	(void)state;
	make_ipv4(0, (struct vnic_ipv4){.dont_fragment = true, .protocol = 6});
	check_ipv4(answer, bytes, build_ip(1400), 1400);
	make_ipv4(0, (struct vnic_ipv4){.dont_fragment = true, .protocol = 6});
	assert_int_equal(build_ip(67), 0); /* no link is like that */
}

static void test_ipv4_not_answered(void **state)
{
	static const uint8_t wrong[][4] = {
		{0, 0, 0, 0}, {127, 0, 0, 1}, {224, 0, 0, 1}, {240, 1, 1, 1}, {255, 255, 255, 255}};

	(void)state;
	make_ipv4(0, (struct vnic_ipv4){.protocol = 6}); /* may be fragmented */
	assert_int_equal(build_ip(1400), 0);
	make_ipv4(0, (struct vnic_ipv4){
			     .dont_fragment = true, .protocol = 6, .fragment_offset_bytes = 8});
	assert_int_equal(build_ip(1400), 0);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		for (unsigned at = 12; at <= 16; at += 4) { /* from there, and to there */
			struct vnic_ipv4 header;

			make_ipv4(0, (struct vnic_ipv4){.dont_fragment = true, .protocol = 6});
			assert_int_equal(vnic_ipv4_parse(bytes, 1500, &header), 20);
			memcpy(at == 12 ? header.source : header.destination, wrong[i], 4);
			assert_int_equal(vnic_ipv4_build(bytes, 20, &header), 20);
			assert_int_equal(build_ip(1400), 0);
		}
	for (unsigned type = 0; type < 256; type++) { /* RFC 1122 section 3.2.2 */
		make_ipv4(0, (struct vnic_ipv4){.dont_fragment = true, .protocol = 1});
		bytes[20] = (uint8_t)type;
		assert_int_equal(build_ip(1400), vnic_icmp_is_error((uint8_t)type) ? 0 : 576);
	}
	make_ipv4(0, (struct vnic_ipv4){.dont_fragment = true, .protocol = 6});
	bytes[10] ^= 1; /* the header's checksum */
	assert_int_equal(build_ip(1400), 0);
	make_ipv4(0, (struct vnic_ipv4){.dont_fragment = true, .protocol = 1});
	packet.length_bytes = 20; /* nothing is read that is not there */
	assert_int_equal(build_ip(1400), 0);
	for (uint32_t length = 0; length < 20; length++) {
		packet.length_bytes = length;
		assert_int_equal(build_ip(1400), 0);
	}
}

static void test_ipv6(void **state)
{
	struct vnic_address source = {.family = VNIC_IPV6}, destination = {.family = VNIC_IPV6};
	struct vnic_ipv6 header;
	struct vnic_icmp icmp;

	(void)state;
	make_ipv6(0, 6);
	memcpy(source.bytes, far6, 16);
	memcpy(destination.bytes, near6, 16);
	assert_int_equal(build_ip(1400), 1280); /* RFC 4443 section 2.4 (c) */
	assert_int_equal(vnic_ipv6_parse(answer, 1280, &header), 40);
	assert_memory_equal(header.source, far6, 16);
	assert_memory_equal(header.destination, near6, 16);
	assert_int_equal(header.next_header, VNIC_PROTOCOL_ICMPV6);
	assert_int_equal(vnic_icmpv6_parse(answer + 40, 1280 - 40, &source, &destination, &icmp),
			 8);
	assert_int_equal(icmp.type, 2);
	assert_int_equal(icmp.code, 0);
	assert_int_equal(icmp.rest, 1400);
	assert_memory_equal(answer + 48, bytes, 1280 - 48);
}

static void test_ipv6_not_answered(void **state)
{
	static const uint8_t later[8] = {VNIC_PROTOCOL_ICMPV6, 0, 0, 8};

	(void)state;
	make_ipv6(0, 6);
	assert_int_equal(build_ip(1279), 0); /* RFC 8201 section 4: it would be ignored */
	for (unsigned at = 8; at <= 24; at += 16) {
		make_ipv6(0, 6);
		bytes[at] = 0xff; /* a group */
		assert_int_equal(build_ip(1400), 0);
		memset(bytes + at, 0, 16);
		assert_int_equal(build_ip(1400), 0);
	}
	for (unsigned type = 0; type < 256; type++) { /* RFC 4443 section 2.4 (e.1), (e.2) */
		make_ipv6(0, VNIC_PROTOCOL_ICMPV6);
		bytes[40] = (uint8_t)type;
		assert_int_equal(build_ip(1400),
				 type < 128 || type == VNIC_ICMPV6_REDIRECT ? 0 : 1280);
	}
	make_ipv6(0, VNIC_PROTOCOL_FRAGMENT);
	memcpy(bytes + 40, later, sizeof(later));
	assert_int_equal(build_ip(1400), 0);
	bytes[40] = 17; /* of UDP: not the first either */
	assert_int_equal(build_ip(1400), 0);
	bytes[43] = 1; /* the first */
	assert_int_equal(build_ip(1400), 1280);
	for (uint32_t length = 0; length < 40; length++) {
		packet.length_bytes = length;
		assert_int_equal(build_ip(1400), 0);
	}
}

static void test_ethernet(void **state)
{
	struct vnic_ethernet frame = {.destination = {2, 0, 0, 0, 0, 2},
				      .source = {2, 0, 0, 0, 0, 1},
				      .ethertype = VNIC_ETHERTYPE_IPV4},
			     back;

	(void)state;
	for (unsigned tags = 0; tags <= 2; tags++) {
		uint32_t headers = 14 + 4 * tags, length;

		frame.vlan_count = tags;
		for (unsigned i = 0; i < tags; i++)
			frame.vlan[i] =
				(struct vnic_vlan_tag){VNIC_ETHERTYPE_VLAN, (uint16_t)(0x6007 + i)};
		assert_int_equal(vnic_ethernet_build(bytes, headers, &frame), headers);
		make_ipv4(headers, (struct vnic_ipv4){.dont_fragment = true, .protocol = 6});
		length = vn_too_long_build(&packet, VNIC_LAYER_ETHERNET, 1422, 0, answer);
		assert_true(length > headers);
		check_ipv4(answer + headers, bytes + headers, length - headers, 1422 - headers);
		assert_int_equal(vnic_ethernet_parse(answer, length, &back), headers);
		assert_memory_equal(back.source, frame.destination, 6);
		assert_memory_equal(back.destination, frame.source, 6);
		assert_int_equal(back.vlan_count, tags);
		assert_memory_equal(back.vlan, frame.vlan, tags * sizeof(back.vlan[0]));
	}
	/* A TAP's limit has room for a tag: what remains is its MTU with a tag and without. */
	frame.vlan_count = 0;
	assert_int_equal(vnic_ethernet_build(bytes, 14, &frame), 14);
	make_ipv4(14, (struct vnic_ipv4){.dont_fragment = true, .protocol = 6});
	(void)vn_too_long_build(&packet, VNIC_LAYER_ETHERNET, 1418, 4, answer);
	check_ipv4(answer + 14, bytes + 14, 576, 1400);
	for (unsigned at = 0; at <= 6; at += 6) { /* groups of Ethernet */
		bytes[at] |= 1;
		assert_int_equal(vn_too_long_build(&packet, VNIC_LAYER_ETHERNET, 1418, 4, answer),
				 0);
		bytes[at] &= 0xfe;
	}
	bytes[12] = 0x86; /* IPv6, it says */
	bytes[13] = 0xdd;
	assert_int_equal(vn_too_long_build(&packet, VNIC_LAYER_ETHERNET, 1418, 4, answer), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ipv4),     cmocka_unit_test(test_ipv4_not_answered),
		cmocka_unit_test(test_ipv6),     cmocka_unit_test(test_ipv6_not_answered),
		cmocka_unit_test(test_ethernet),
	};

	return cmocka_run_group_tests(tests, set_up, NULL);
}
