/* SPDX-License-Identifier: MIT */
/* IPv4 headers and their options. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <vnic/checksum.h>
#include <vnic/ipv4.h>

#include "packets.h"

static void test_scapys_packets_round_trip(void **state)
{
	static const char *const cases[] = {
		PACKET_PING, PACKET_PONG,         PACKET_PORT_UNREACHABLE, PACKET_FRAG_NEEDED,
		PACKET_UDP,  PACKET_OPTIONS,      PACKET_FIRST_FRAGMENT,   PACKET_LAST_FRAGMENT,
		PACKET_SYN,  PACKET_ROUTER_ALERT,
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint8_t built[VNIC_IPV4_HEADER_MOST_BYTES];
		struct vnic_ipv4 ipv4, lenient;
		size_t length;
		uint8_t *bytes = from_hex(cases[i], &length);
		int header_bytes = vnic_ipv4_parse(bytes, length, &ipv4);

		assert_int_equal(header_bytes, (bytes[0] & 15) * 4);
		assert_int_equal(ipv4.total_bytes, length);
		assert_int_equal(vnic_ipv4_parse_lenient(bytes, length, &lenient), header_bytes);
		assert_memory_equal(&lenient, &ipv4, sizeof(ipv4));
		assert_int_equal(vnic_ipv4_build(built, sizeof(built), &ipv4), header_bytes);
		assert_memory_equal(built, bytes, (size_t)header_bytes);
		free(bytes);
	}
}

static void test_fields(void **state)
{
	static const uint8_t one[4] = {10, 0, 0, 1}, two[4] = {10, 0, 0, 2};
	struct vnic_ipv4 ipv4;
	size_t length;
	uint8_t *bytes = from_hex(PACKET_LAST_FRAGMENT, &length);

	(void)state;
	assert_int_equal(vnic_ipv4_parse(bytes, length, &ipv4), 20);
	assert_memory_equal(ipv4.source, one, 4);
	assert_memory_equal(ipv4.destination, two, 4);
	assert_int_equal(ipv4.identification, 4242);
	assert_int_equal(ipv4.fragment_offset_bytes, 1480);
	assert_false(ipv4.more_fragments);
	assert_false(ipv4.dont_fragment);
	assert_int_equal(ipv4.ttl, 64);
	assert_int_equal(ipv4.protocol, VNIC_PROTOCOL_ICMP);
	assert_int_equal(ipv4.total_bytes, 40);
	assert_int_equal(ipv4.options_bytes, 0);
	free(bytes);

	bytes = from_hex(PACKET_FIRST_FRAGMENT, &length);
	assert_int_equal(vnic_ipv4_parse(bytes, length, &ipv4), 20);
	assert_true(ipv4.more_fragments);
	assert_int_equal(ipv4.fragment_offset_bytes, 0);
	free(bytes);

	bytes = from_hex(PACKET_SYN, &length);
	assert_int_equal(vnic_ipv4_parse(bytes, length, &ipv4), 20);
	assert_true(ipv4.dont_fragment);
	free(bytes);
}

static void test_every_truncation_is_refused(void **state)
{
	struct vnic_ipv4 ipv4, untouched;
	size_t length;
	uint8_t *bytes = from_hex(PACKET_OPTIONS, &length);

	(void)state;
	memset(&ipv4, 0xa5, sizeof(ipv4));
	memset(&untouched, 0xa5, sizeof(untouched));
	for (size_t room = 0; room < length; room++) {
		uint8_t *copy = exact_copy(bytes, room);
		struct vnic_ipv4 lenient;

		assert_int_equal(vnic_ipv4_parse(copy, room, &ipv4), -EBADMSG);
		assert_memory_equal(&ipv4, &untouched, sizeof(ipv4));
		assert_int_equal(vnic_ipv4_parse_lenient(copy, room, &lenient),
				 room < 32 ? -EBADMSG : 32);
		free(copy);
	}
	free(bytes);
}

/* Writes one byte and, so that only that one is wrong, the checksum again. */
static int parse_with(uint8_t *bytes, size_t length, size_t at, uint8_t value, bool lenient)
{
	uint8_t before[20];
	struct vnic_ipv4 ipv4;
	uint16_t checksum;
	int result;

	memcpy(before, bytes, sizeof(before));
	bytes[at] = value;
	bytes[10] = bytes[11] = 0;
	checksum = vnic_checksum(bytes, 20);
	bytes[10] = (uint8_t)(checksum >> 8);
	bytes[11] = (uint8_t)checksum;
	result = lenient ? vnic_ipv4_parse_lenient(bytes, length, &ipv4)
			 : vnic_ipv4_parse(bytes, length, &ipv4);
	memcpy(bytes, before, sizeof(before));
	return result;
}

static void test_bad_headers_are_refused(void **state)
{
	struct vnic_ipv4 ipv4;
	size_t length;
	uint8_t *bytes = from_hex(PACKET_UDP, &length);

	(void)state;
	assert_int_equal(parse_with(bytes, length, 8, 3, false), 20); /* the method works */
	assert_int_equal(parse_with(bytes, length, 0, 0x65, false), -EBADMSG);
	assert_int_equal(parse_with(bytes, length, 0, 0x65, true), -EBADMSG);
	assert_int_equal(parse_with(bytes, length, 0, 0x44, false), -EBADMSG);
	assert_int_equal(parse_with(bytes, length, 0, 0x44, true), -EBADMSG);
	assert_int_equal(parse_with(bytes, length, 0, 0x40, true), -EBADMSG);
	assert_int_equal(parse_with(bytes, length, 0, 0x4f, true), -EBADMSG);
	assert_int_equal(parse_with(bytes, length, 3, 19, false), -EBADMSG);
	assert_int_equal(parse_with(bytes, length, 3, 20, false), 20);
	assert_int_equal(parse_with(bytes, length, 3, 19, true), 20);
	assert_int_equal(parse_with(bytes, length, 3, (uint8_t)length + 1, false), -EBADMSG);
	assert_int_equal(parse_with(bytes, length, 3, (uint8_t)length + 1, true), 20);
	for (size_t bit = 0; bit < 20 * 8; bit++) {
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_int_equal(vnic_ipv4_parse(bytes, length, &ipv4), -EBADMSG);
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	free(bytes);
}

static void test_padding_behind_the_total_is_allowed(void **state)
{
	uint8_t frame[64] = {0};
	struct vnic_ipv4 ipv4;
	size_t length;
	uint8_t *bytes = from_hex(PACKET_UDP, &length);

	(void)state;
	memcpy(frame, bytes, length);
	assert_int_equal(vnic_ipv4_parse(frame, sizeof(frame), &ipv4), 20);
	assert_int_equal(ipv4.total_bytes, length);
	free(bytes);
}

static void test_build_is_refused(void **state)
{
	struct vnic_ipv4 ipv4 = {.options_bytes = 8, .total_bytes = 28};

	(void)state;
	for (size_t room = 0; room < 28; room++) {
		uint8_t *bytes = exact_copy(&ipv4, room);

		assert_int_equal(vnic_ipv4_build(bytes, room, &ipv4), -ENOSPC);
		free(bytes);
	}
	ipv4.options_bytes = 6;
	assert_int_equal(vnic_ipv4_build(NULL, 0, &ipv4), -EINVAL);
	ipv4.options_bytes = 44;
	assert_int_equal(vnic_ipv4_build(NULL, 0, &ipv4), -EINVAL);
	ipv4.options_bytes = 0;
	ipv4.fragment_offset_bytes = 1481;
	assert_int_equal(vnic_ipv4_build(NULL, 0, &ipv4), -EINVAL);
}

static void set_options(struct vnic_ipv4 *ipv4, const void *options, size_t length)
{
	memset(ipv4, 0xa5, sizeof(*ipv4));
	memcpy(ipv4->options, options, length);
	ipv4->options_bytes = (uint8_t)length;
}

static void test_options_of_scapy(void **state)
{
	const uint8_t *option;
	size_t offset = 0, option_bytes, length;
	struct vnic_ipv4 ipv4;
	uint8_t *bytes = from_hex(PACKET_OPTIONS, &length);

	(void)state;
	assert_int_equal(vnic_ipv4_parse(bytes, length, &ipv4), 32);
	assert_int_equal(vnic_ipv4_next_option(&ipv4, &offset, &option, &option_bytes), 1);
	assert_int_equal(option[0], VNIC_IPV4_OPTION_RECORD_ROUTE);
	assert_int_equal(option_bytes, 11);
	assert_int_equal(offset, 11);
	assert_int_equal(vnic_ipv4_next_option(&ipv4, &offset, &option, &option_bytes), 1);
	assert_int_equal(option[0], VNIC_IPV4_OPTION_NOP);
	assert_int_equal(option_bytes, 1);
	assert_int_equal(vnic_ipv4_next_option(&ipv4, &offset, &option, &option_bytes), 0);
	assert_int_equal(vnic_ipv4_next_option(&ipv4, &offset, &option, &option_bytes), 0);
	free(bytes);
}

static void test_bad_options(void **state)
{
	static const struct {
		const char *bytes;
		size_t good_bytes; /* in front of the bad one */
	} cases[] = {
		{"\x07\x00\x00\x00", 0}, {"\x07\x01\x00\x00", 0},
		{"\x07\x05\x00\x00", 0}, {"\x01\x07\x04\x00", 1},
		{"\x01\x01\x01\x07", 3}, {"\x94\x04\xff\xff\x07\x00\0\0", 4},
		{"\x07\xff\x00\x00", 0},
	};
	struct vnic_ipv4 ipv4;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const uint8_t *option;
		size_t offset = 0, option_bytes;
		int result;

		set_options(&ipv4, cases[i].bytes, cases[i].good_bytes == 4 ? 8 : 4);
		do
			result = vnic_ipv4_next_option(&ipv4, &offset, &option, &option_bytes);
		while (result > 0);
		assert_int_equal(result, -EBADMSG);
		assert_int_equal(offset, cases[i].good_bytes);
	}
	set_options(&ipv4, "\x00\x07\x00\x00", 4); /* behind the end nothing is read */
	assert_int_equal(
		vnic_ipv4_next_option(&ipv4, &(size_t){0}, &(const uint8_t *){NULL}, &(size_t){0}),
		0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scapys_packets_round_trip),
		cmocka_unit_test(test_fields),
		cmocka_unit_test(test_every_truncation_is_refused),
		cmocka_unit_test(test_bad_headers_are_refused),
		cmocka_unit_test(test_padding_behind_the_total_is_allowed),
		cmocka_unit_test(test_build_is_refused),
		cmocka_unit_test(test_options_of_scapy),
		cmocka_unit_test(test_bad_options),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
