/* SPDX-License-Identifier: MIT */
/* TCP headers, their checksums and options. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <vnic/tcp.h>

#include "packets.h"

struct segment {
	uint8_t *packet;
	uint8_t *bytes;
	size_t length;
	struct vnic_address source, destination;
};

static struct segment open_packet(const char *hex)
{
	struct segment segment;
	size_t length;

	segment.packet = from_hex(hex, &length);
	if (segment.packet[0] >> 4 == 4) {
		segment.bytes = segment.packet + 20;
		segment.source = vnic_address_from_bytes(VNIC_IPV4, segment.packet + 12);
		segment.destination = vnic_address_from_bytes(VNIC_IPV4, segment.packet + 16);
	} else {
		segment.bytes = segment.packet + 40;
		segment.source = vnic_address_from_bytes(VNIC_IPV6, segment.packet + 8);
		segment.destination = vnic_address_from_bytes(VNIC_IPV6, segment.packet + 24);
	}
	segment.length = length - (size_t)(segment.bytes - segment.packet);
	return segment;
}

static void test_segments_of_scapy(void **state)
{
	static const struct {
		const char *hex;
		int header_bytes;
		uint32_t sequence, acknowledgment;
		uint8_t flags;
		uint16_t window;
	} cases[] = {
		{PACKET_SYN, 40, 1000, 0, VNIC_TCP_SYN, 64240},
		{PACKET_DATA, 32, 1001, 2001, VNIC_TCP_PSH | VNIC_TCP_ACK, 502},
		{PACKET_SACK, 40, 5, 6, VNIC_TCP_ACK, 1},
		{PACKET_TCP6, 20, 1, 0, VNIC_TCP_RST, 8192},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct segment s = open_packet(cases[i].hex);
		struct vnic_tcp tcp;
		uint8_t *built;
		size_t payload = s.length - (size_t)cases[i].header_bytes;

		assert_int_equal(vnic_tcp_parse(s.bytes, s.length, &tcp), cases[i].header_bytes);
		assert_int_equal(tcp.sequence, cases[i].sequence);
		assert_int_equal(tcp.acknowledgment, cases[i].acknowledgment);
		assert_int_equal(tcp.flags, cases[i].flags);
		assert_int_equal(tcp.window, cases[i].window);
		assert_int_equal(tcp.checksum, s.bytes[16] << 8 | s.bytes[17]);
		assert_int_equal(tcp.options_bytes, cases[i].header_bytes - 20);
		assert_int_equal(vnic_tcp_verify(s.bytes, s.length, &s.source, &s.destination), 0);

		built = exact_copy(s.bytes, s.length);
		memset(built, 0xa5, (size_t)cases[i].header_bytes);
		assert_int_equal(
			vnic_tcp_build(built, s.length, &s.source, &s.destination, &tcp, payload),
			cases[i].header_bytes);
		assert_memory_equal(built, s.bytes, s.length);
		assert_int_equal(vnic_tcp_build(built, s.length - 1, &s.source, &s.destination,
						&tcp, payload),
				 -ENOSPC);
		free(built);
		for (size_t bit = 0; bit < s.length * 8; bit++) {
			s.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
			assert_int_equal(
				vnic_tcp_verify(s.bytes, s.length, &s.source, &s.destination),
				-EBADMSG);
			s.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		}
		free(s.packet);
	}
}

static void test_every_truncation_is_refused(void **state)
{
	struct segment s = open_packet(PACKET_DATA);
	struct vnic_tcp tcp, untouched;

	(void)state;
	memset(&tcp, 0xa5, sizeof(tcp));
	memset(&untouched, 0xa5, sizeof(untouched));
	for (size_t room = 0; room < s.length; room++) {
		uint8_t *copy = exact_copy(s.bytes, room);

		if (room < 32)
			assert_int_equal(vnic_tcp_parse(copy, room, &tcp), -EBADMSG);
		/* The length is in the pseudo header, so every cut shows. */
		assert_int_equal(vnic_tcp_verify(copy, room, &s.source, &s.destination), -EBADMSG);
		free(copy);
	}
	for (unsigned words = 0; words < 5; words++) {
		s.bytes[12] = (uint8_t)(words << 4);
		assert_int_equal(vnic_tcp_parse(s.bytes, s.length, &tcp), -EBADMSG);
	}
	s.bytes[12] = 0xf0;
	assert_int_equal(vnic_tcp_parse(s.bytes, s.length, &tcp), -EBADMSG);
	assert_memory_equal(&tcp, &untouched, sizeof(tcp));
	free(s.packet);
}

static void test_build_is_refused(void **state)
{
	struct segment s = open_packet(PACKET_SYN);
	struct vnic_tcp tcp = {.options_bytes = 4};
	uint8_t bytes[64] = {0};

	(void)state;
	for (size_t room = 0; room < 24; room++)
		assert_int_equal(vnic_tcp_build(bytes, room, &s.source, &s.destination, &tcp, 0),
				 -ENOSPC);
	assert_int_equal(
		vnic_tcp_build(bytes, sizeof(bytes), &s.source, &s.destination, &tcp, SIZE_MAX),
		-ENOSPC);
	tcp.options_bytes = 5;
	assert_int_equal(vnic_tcp_build(bytes, sizeof(bytes), &s.source, &s.destination, &tcp, 0),
			 -EINVAL);
	tcp.options_bytes = 44;
	assert_int_equal(vnic_tcp_build(bytes, sizeof(bytes), &s.source, &s.destination, &tcp, 0),
			 -EINVAL);
	free(s.packet);
}

static void test_options_of_scapy(void **state)
{
	/* NOPs are passed over */
	static const uint8_t kinds[] = {VNIC_TCP_OPTION_MSS, VNIC_TCP_OPTION_SACK_PERMITTED,
					VNIC_TCP_OPTION_TIMESTAMPS, VNIC_TCP_OPTION_WINDOW_SCALE};
	static const size_t lengths[] = {4, 2, 10, 3};
	struct segment s = open_packet(PACKET_SYN);
	size_t offset = 0, option_bytes;
	const uint8_t *option;
	struct vnic_tcp tcp;

	(void)state;
	assert_int_equal(vnic_tcp_parse(s.bytes, s.length, &tcp), 40);
	for (size_t i = 0; i < sizeof(kinds); i++) {
		assert_int_equal(vnic_tcp_next_option(&tcp, &offset, &option, &option_bytes), 1);
		assert_int_equal(option[0], kinds[i]);
		assert_int_equal(option_bytes, lengths[i]);
	}
	assert_int_equal(vnic_tcp_next_option(&tcp, &offset, &option, &option_bytes), 0);
	assert_int_equal(vnic_tcp_next_option(&tcp, &offset, &option, &option_bytes), 0);
	free(s.packet);
}

static void test_bad_options(void **state)
{
	static const struct {
		const char *bytes;
		size_t length, at;
		int result;
	} cases[] = {
		{"\x02\x00\x00\x00", 4, 0, -EBADMSG},
		{"\x02\x01\x00\x00", 4, 0, -EBADMSG},
		{"\x02\x05\x00\x00", 4, 0, -EBADMSG},
		{"\x01\x01\x01\x02", 4, 3, -EBADMSG},
		{"\x01\x01\x04\x03", 4, 2, -EBADMSG},
		{"\x02\x04\x05\xb4\xff\xff\x00\x00", 8, 4, -EBADMSG},
		{"\x00\x02\x00\x00", 4, 0, 0}, /* behind the end nothing is read */
		{"\x01\x01\x01\x01", 4, 4, 0},
		{"\x04\x02\x00\x02", 4, 2, 0},
		{"", 0, 0, 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		size_t offset = 0, option_bytes;
		const uint8_t *option;
		struct vnic_tcp tcp;
		int result;

		memset(&tcp, 0xa5, sizeof(tcp));
		memcpy(tcp.options, cases[i].bytes, cases[i].length);
		tcp.options_bytes = (uint8_t)cases[i].length;
		do
			result = vnic_tcp_next_option(&tcp, &offset, &option, &option_bytes);
		while (result > 0);
		if (result != cases[i].result || offset != cases[i].at)
			fail_msg("case %zu: %d at %zu, not %d at %zu", i, result, offset,
				 cases[i].result, cases[i].at);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_segments_of_scapy),
		cmocka_unit_test(test_every_truncation_is_refused),
		cmocka_unit_test(test_build_is_refused),
		cmocka_unit_test(test_options_of_scapy),
		cmocka_unit_test(test_bad_options),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
