/* SPDX-License-Identifier: MIT */
/* IPv6 headers, extension headers and their options. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <vnic/ipv6.h>

#include "packets.h"

static void test_scapys_packets_round_trip(void **state)
{
	static const char *const cases[] = {
		PACKET_UDP6,      PACKET_PING6,        PACKET_TOO_BIG, PACKET_HOP_BY_HOP,
		PACKET_FRAGMENT6, PACKET_DEST_OPTIONS, PACKET_NS,      PACKET_DAD,
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint8_t built[VNIC_IPV6_HEADER_BYTES];
		struct vnic_ipv6 ipv6;
		size_t length;
		uint8_t *bytes = from_hex(cases[i], &length);

		assert_int_equal(vnic_ipv6_parse(bytes, length, &ipv6), 40);
		assert_int_equal(ipv6.payload_bytes, length - 40);
		assert_int_equal(vnic_ipv6_build(built, sizeof(built), &ipv6), 40);
		assert_memory_equal(built, bytes, sizeof(built));
		free(bytes);
	}
}

static void test_fields(void **state)
{
	static const uint8_t one[16] = {0xfd, [15] = 1}, two[16] = {0xfd, [15] = 2};
	struct vnic_ipv6 ipv6;
	size_t length;
	uint8_t *bytes = from_hex(PACKET_PING6, &length);

	(void)state;
	assert_int_equal(vnic_ipv6_parse(bytes, length, &ipv6), 40);
	assert_memory_equal(ipv6.source, one, 16);
	assert_memory_equal(ipv6.destination, two, 16);
	assert_int_equal(ipv6.traffic_class, 0x28);
	assert_int_equal(ipv6.flow_label, 0xabcde);
	assert_int_equal(ipv6.next_header, VNIC_PROTOCOL_ICMPV6);
	assert_int_equal(ipv6.hop_limit, 64);
	assert_int_equal(ipv6.payload_bytes, 16);
	free(bytes);
}

static void test_every_truncation_is_refused(void **state)
{
	struct vnic_ipv6 ipv6, untouched;
	size_t length;
	uint8_t *bytes = from_hex(PACKET_PING6, &length);

	(void)state;
	memset(&ipv6, 0xa5, sizeof(ipv6));
	memset(&untouched, 0xa5, sizeof(untouched));
	for (size_t room = 0; room < length; room++) {
		uint8_t *copy = exact_copy(bytes, room);
		struct vnic_ipv6 lenient;

		assert_int_equal(vnic_ipv6_parse(copy, room, &ipv6), -EBADMSG);
		assert_memory_equal(&ipv6, &untouched, sizeof(ipv6));
		assert_int_equal(vnic_ipv6_parse_lenient(copy, room, &lenient),
				 room < 40 ? -EBADMSG : 40);
		if (room < 40)
			assert_int_equal(vnic_ipv6_build(copy, room, &ipv6), -ENOSPC);
		free(copy);
	}
	bytes[0] = 0x45;
	assert_int_equal(vnic_ipv6_parse(bytes, length, &ipv6), -EBADMSG);
	assert_int_equal(vnic_ipv6_parse_lenient(bytes, length, &ipv6), -EBADMSG);
	free(bytes);
}

static void test_flow_label_is_cut_to_20_bits(void **state)
{
	struct vnic_ipv6 ipv6 = {.flow_label = 0xffffffff};
	uint8_t bytes[40];

	(void)state;
	assert_int_equal(vnic_ipv6_build(bytes, sizeof(bytes), &ipv6), 40);
	assert_int_equal(bytes[0], 0x60);
	assert_int_equal(bytes[1], 0x0f);
}

/* Parses the extension header of one of scapy's packets, also cut at every length. */
static void parse_extension(const char *hex, struct vnic_ipv6_extension *extension,
			    uint8_t **to_free)
{
	struct vnic_ipv6_extension untouched, given;
	size_t length;
	uint8_t *bytes = from_hex(hex, &length);
	int used = vnic_ipv6_extension_parse(bytes[6], bytes + 40, length - 40, extension);

	assert_true(used > 0);
	assert_int_equal(used, extension->length_bytes);
	assert_int_equal(extension->type, bytes[6]);
	memset(&untouched, 0xa5, sizeof(untouched));
	for (size_t room = 0; room < (size_t)used; room++) {
		uint8_t *copy = exact_copy(bytes + 40, room);

		memset(&given, 0xa5, sizeof(given));
		assert_int_equal(vnic_ipv6_extension_parse(bytes[6], copy, room, &given), -EBADMSG);
		assert_memory_equal(&given, &untouched, sizeof(given));
		free(copy);
	}
	*to_free = bytes;
}

static void test_extensions_of_scapy(void **state)
{
	struct vnic_ipv6_extension extension;
	const uint8_t *option;
	size_t offset = 0, option_bytes;
	uint8_t *bytes, built[8];

	(void)state;
	parse_extension(PACKET_HOP_BY_HOP, &extension, &bytes);
	assert_int_equal(extension.next_header, VNIC_PROTOCOL_ICMPV6);
	assert_int_equal(extension.length_bytes, 8);
	assert_int_equal(vnic_ipv6_next_option(&extension, &offset, &option, &option_bytes), 1);
	assert_int_equal(option[0], VNIC_IPV6_OPTION_ROUTER_ALERT);
	assert_int_equal(option_bytes, 4);
	assert_int_equal(vnic_ipv6_next_option(&extension, &offset, &option, &option_bytes), 0);
	free(bytes);

	parse_extension(PACKET_DEST_OPTIONS, &extension, &bytes);
	assert_int_equal(extension.next_header, VNIC_PROTOCOL_UDP);
	offset = 0;
	assert_int_equal(vnic_ipv6_next_option(&extension, &offset, &option, &option_bytes), 1);
	assert_int_equal(option[0], 0x1e);
	assert_int_equal(option_bytes, 4);
	assert_int_equal(vnic_ipv6_next_option(&extension, &offset, &option, &option_bytes), 0);
	free(bytes);

	parse_extension(PACKET_ROUTING, &extension, &bytes);
	assert_int_equal(extension.length_bytes, 24);
	assert_int_equal(extension.routing_type, 0);
	assert_int_equal(extension.segments_left, 1);
	assert_null(extension.options);
	offset = 0;
	assert_int_equal(vnic_ipv6_next_option(&extension, &offset, &option, &option_bytes), 0);
	free(bytes);

	parse_extension(PACKET_FRAGMENT6_LAST, &extension, &bytes);
	assert_int_equal(extension.length_bytes, 8);
	assert_int_equal(extension.fragment_offset_bytes, 1448);
	assert_false(extension.more_fragments);
	assert_int_equal(extension.identification, 0x1234);
	assert_int_equal(vnic_ipv6_fragment_build(built, sizeof(built), &extension), 8);
	assert_memory_equal(built, bytes + 40, sizeof(built));
	free(bytes);

	parse_extension(PACKET_FRAGMENT6, &extension, &bytes);
	assert_true(extension.more_fragments);
	assert_int_equal(vnic_ipv6_fragment_build(built, sizeof(built), &extension), 8);
	assert_memory_equal(built, bytes + 40, sizeof(built));
	assert_int_equal(vnic_ipv6_fragment_build(built, 7, &extension), -ENOSPC);
	extension.fragment_offset_bytes = 1449;
	assert_int_equal(vnic_ipv6_fragment_build(built, sizeof(built), &extension), -EINVAL);
	free(bytes);
}

static void test_what_is_an_extension(void **state)
{
	static const uint8_t bytes[8];

	(void)state;
	for (unsigned type = 0; type < 256; type++) {
		struct vnic_ipv6_extension extension;
		bool expected = type == 0 || type == 43 || type == 44 || type == 60;

		assert_int_equal(vnic_ipv6_is_extension((uint8_t)type), expected);
		assert_int_equal(
			vnic_ipv6_extension_parse((uint8_t)type, bytes, sizeof(bytes), &extension),
			expected ? 8 : -EINVAL);
	}
}

static void test_longest_extension(void **state)
{
	struct vnic_ipv6_extension extension;
	uint8_t *bytes = calloc(1, 2048);

	(void)state;
	bytes[1] = 255;
	assert_int_equal(vnic_ipv6_extension_parse(60, bytes, 2047, &extension), -EBADMSG);
	assert_int_equal(vnic_ipv6_extension_parse(60, bytes, 2048, &extension), 2048);
	assert_int_equal(extension.length_bytes, 2048);
	assert_int_equal(extension.options_bytes, 2046);
	free(bytes);
}

static void test_bad_options(void **state)
{
	static const struct {
		const char *bytes;
		int good; /* options in front of the bad one */
		size_t at;
	} cases[] = {
		{"\x05\x05\0\0\0\0", 0, 0},     {"\x05\x02\0\0\x05\x01", 1, 4},
		{"\0\0\0\0\0\x05", 0, 5},       {"\0\0\0\0\0\x01", 0, 5},
		{"\x01\x05\0\0\0\0", 0, 0},     {"\x01\x02\0\0\x1e\xff", 0, 4},
		{"\x1e\x00\x1e\xff\0\0", 1, 2},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint8_t *bytes = exact_copy(cases[i].bytes, 6);
		struct vnic_ipv6_extension extension = {.options = bytes, .options_bytes = 6};
		size_t offset = 0, option_bytes;
		const uint8_t *option;
		int result, good = 0;

		while ((result = vnic_ipv6_next_option(&extension, &offset, &option,
						       &option_bytes)) > 0)
			good++;
		assert_int_equal(result, -EBADMSG);
		assert_int_equal(good, cases[i].good);
		assert_int_equal(offset, cases[i].at);
		free(bytes);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scapys_packets_round_trip),
		cmocka_unit_test(test_fields),
		cmocka_unit_test(test_every_truncation_is_refused),
		cmocka_unit_test(test_flow_label_is_cut_to_20_bits),
		cmocka_unit_test(test_extensions_of_scapy),
		cmocka_unit_test(test_what_is_an_extension),
		cmocka_unit_test(test_longest_extension),
		cmocka_unit_test(test_bad_options),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
