/* SPDX-License-Identifier: MIT */
/* ICMP and ICMPv6 messages, and neighbour discovery. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <vnic/checksum.h>
#include <vnic/icmp.h>
#include <vnic/ndp.h>

#include "packets.h"

static void addresses(const uint8_t *ipv6, struct vnic_address *source,
		      struct vnic_address *destination)
{
	*source = vnic_address_from_bytes(VNIC_IPV6, ipv6 + 8);
	*destination = vnic_address_from_bytes(VNIC_IPV6, ipv6 + 24);
}

static void test_icmp_of_scapy(void **state)
{
	static const struct {
		const char *hex;
		uint8_t type, code;
		uint32_t rest;
	} cases[] = {
		{PACKET_PING, VNIC_ICMP_ECHO_REQUEST, 0, 7 << 16 | 1},
		{PACKET_PONG, VNIC_ICMP_ECHO_REPLY, 0, 7 << 16 | 1}, /* of odd length */
		{PACKET_PORT_UNREACHABLE, VNIC_ICMP_UNREACHABLE, VNIC_ICMP_UNREACHABLE_PORT, 0},
		{PACKET_TIME_EXCEEDED, VNIC_ICMP_TIME_EXCEEDED, 0, 0},
		{PACKET_FRAG_NEEDED, VNIC_ICMP_UNREACHABLE, 4, 1400},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		size_t length, message;
		uint8_t *bytes = from_hex(cases[i].hex, &length), *built;
		struct vnic_icmp icmp, untouched;

		message = length - 20;
		assert_int_equal(vnic_icmp_parse(bytes + 20, message, &icmp), 8);
		assert_int_equal(icmp.type, cases[i].type);
		assert_int_equal(icmp.code, cases[i].code);
		assert_int_equal(icmp.rest, cases[i].rest);
		assert_int_equal(icmp.checksum, bytes[22] << 8 | bytes[23]);

		built = exact_copy(bytes + 20, message);
		memset(built, 0xa5, 8);
		assert_int_equal(vnic_icmp_build(built, message, &icmp, message - 8), 8);
		assert_memory_equal(built, bytes + 20, message);
		assert_int_equal(vnic_icmp_build(built, message - 1, &icmp, message - 8), -ENOSPC);
		assert_int_equal(vnic_icmp_build(built, 7, &icmp, 0), -ENOSPC);
		assert_int_equal(vnic_icmp_build(built, 8, &icmp, SIZE_MAX), -ENOSPC);
		free(built);

		memset(&icmp, 0xa5, sizeof(icmp));
		untouched = icmp;
		/* What is cut off may sum to 0, as a quoted IPv4 header does: then nothing shows. */
		for (size_t room = 0; room < message; room++) {
			uint8_t *copy = exact_copy(bytes + 20, room);
			struct vnic_icmp unseen;

			if (room < 8 || vnic_checksum(copy, room) != 0)
				assert_int_equal(vnic_icmp_parse(copy, room, &icmp), -EBADMSG);
			else
				assert_int_equal(vnic_icmp_parse(copy, room, &unseen), 8);
			free(copy);
		}
		assert_memory_equal(&icmp, &untouched, sizeof(icmp));
		for (size_t bit = 0; bit < message * 8; bit++) {
			bytes[20 + bit / 8] ^= (uint8_t)(1u << bit % 8);
			assert_int_equal(vnic_icmp_parse(bytes + 20, message, &icmp), -EBADMSG);
			bytes[20 + bit / 8] ^= (uint8_t)(1u << bit % 8);
		}
		free(bytes);
	}
}

static void test_icmpv6_of_scapy(void **state)
{
	static const struct {
		const char *hex;
		uint8_t type;
		uint32_t rest;
	} cases[] = {
		{PACKET_PING6, VNIC_ICMPV6_ECHO_REQUEST, 7 << 16 | 1},
		{PACKET_TOO_BIG, VNIC_ICMPV6_PACKET_TOO_BIG, 1280},
		{PACKET_NS, VNIC_ICMPV6_NEIGHBOR_SOLICITATION, 0},
		{PACKET_NA, VNIC_ICMPV6_NEIGHBOR_ADVERTISEMENT,
		 VNIC_NDP_SOLICITED | VNIC_NDP_OVERRIDE},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct vnic_address source, destination, other;
		struct vnic_icmp icmp, untouched;
		size_t length, message;
		uint8_t *bytes = from_hex(cases[i].hex, &length), *built;

		message = length - 40;
		addresses(bytes, &source, &destination);
		assert_int_equal(
			vnic_icmpv6_parse(bytes + 40, message, &source, &destination, &icmp), 8);
		assert_int_equal(icmp.type, cases[i].type);
		assert_int_equal(icmp.code, 0);
		assert_int_equal(icmp.rest, cases[i].rest);

		built = exact_copy(bytes + 40, message);
		memset(built, 0xa5, 8);
		assert_int_equal(vnic_icmpv6_build(built, message, &source, &destination, &icmp,
						   message - 8),
				 8);
		assert_memory_equal(built, bytes + 40, message);
		assert_int_equal(vnic_icmpv6_build(built, message - 1, &source, &destination, &icmp,
						   message - 8),
				 -ENOSPC);
		free(built);

		memset(&icmp, 0xa5, sizeof(icmp));
		untouched = icmp;
		/* The length is in the pseudo header, so every cut shows. */
		for (size_t room = 0; room < message; room++) {
			uint8_t *copy = exact_copy(bytes + 40, room);

			assert_int_equal(
				vnic_icmpv6_parse(copy, room, &source, &destination, &icmp),
				-EBADMSG);
			free(copy);
		}
		other = destination;
		other.bytes[15] ^= 4;
		assert_int_equal(vnic_icmpv6_parse(bytes + 40, message, &source, &other, &icmp),
				 -EBADMSG);
		assert_int_equal(
			vnic_icmpv6_parse(bytes + 40, message, &other, &destination, &icmp),
			-EBADMSG);
		assert_memory_equal(&icmp, &untouched, sizeof(icmp));
		free(bytes);
	}
}

static void test_which_messages_are_errors(void **state)
{
	(void)state;
	for (unsigned type = 0; type < 256; type++) {
		bool expected = (type >= 3 && type <= 5) || type == 11 || type == 12;

		if (vnic_icmp_is_error((uint8_t)type) != expected)
			fail_msg("ICMP type %u", type);
		if (vnic_icmpv6_is_error((uint8_t)type) != (type < 128))
			fail_msg("ICMPv6 type %u", type);
	}
}

static void test_ndp_of_scapy(void **state)
{
	static const struct {
		const char *hex;
		uint8_t type, last_mac_byte;
		bool has_nonce;
	} cases[] = {
		{PACKET_NS, VNIC_ICMPV6_NEIGHBOR_SOLICITATION, 1, false},
		{PACKET_NA, VNIC_ICMPV6_NEIGHBOR_ADVERTISEMENT, 2, false},
		{PACKET_DAD, VNIC_ICMPV6_NEIGHBOR_SOLICITATION, 0, true},
	};
	static const uint8_t target[16] = {0xfd, [15] = 2};
	static const uint8_t nonce[6] = {0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct vnic_ndp ndp, untouched;
		uint8_t built[32];
		size_t length;
		uint8_t *bytes = from_hex(cases[i].hex, &length);

		assert_int_equal(vnic_ndp_parse(cases[i].type, bytes + 48, length - 48, &ndp), 24);
		assert_memory_equal(ndp.target, target, 16);
		assert_int_equal(ndp.has_mac, cases[i].last_mac_byte != 0);
		if (ndp.has_mac)
			assert_int_equal(ndp.mac[5], cases[i].last_mac_byte);
		assert_int_equal(ndp.has_nonce, cases[i].has_nonce);
		if (ndp.has_nonce)
			assert_memory_equal(ndp.nonce, nonce, 6);
		assert_int_equal(vnic_ndp_build(cases[i].type, built, sizeof(built), &ndp), 24);
		assert_memory_equal(built, bytes + 48, 24);
		assert_int_equal(vnic_ndp_build(cases[i].type, built, 23, &ndp), -ENOSPC);

		memset(&ndp, 0xa5, sizeof(ndp));
		memset(&untouched, 0xa5, sizeof(untouched));
		for (size_t room = 0; room < 24; room++) {
			uint8_t *copy = exact_copy(bytes + 48, room);
			struct vnic_ndp bare;

			if (room == 16) /* a target alone is a whole message */
				assert_int_equal(vnic_ndp_parse(cases[i].type, copy, room, &bare),
						 16);
			else
				assert_int_equal(vnic_ndp_parse(cases[i].type, copy, room, &ndp),
						 -EBADMSG);
			free(copy);
		}
		assert_memory_equal(&ndp, &untouched, sizeof(ndp));
		free(bytes);
	}
}

static void test_ndp_options(void **state)
{
	/* behind a target: options, and what is to be found in them */
	static const struct {
		const char *name, *hex;
		int result;
		uint8_t mac; /* its first byte; 0: none */
		uint8_t nonce;
	} cases[] = {
		{"none", "", 16, 0, 0},
		{"of length 0", "0100010203040506", -EBADMSG, 0, 0},
		{"length 0 behind a good one", "01010202030405060e00010203040506", -EBADMSG, 0, 0},
		{"unknown", "fe01010203040506", 24, 0, 0},
		{"the target's", "0201010203040506", 24, 0, 0},
		{"unknown, then the source's", "fe020102030405060708090a0b0c0d0e0101220304050607",
		 40, 0x22, 0},
		{"both", "01012203040506070e01330405060708", 32, 0x22, 0x33},
		{"two: the first counts", "01012203040506070101330405060708", 32, 0x22, 0},
		{"a longer address", "01022203040506070809101112131415", 32, 0, 0},
		{"a longer nonce", "0e022203040506070809101112131415", 32, 0, 0},
		{"over the end", "0102220304050607", -EBADMSG, 0, 0},
		{"one byte left", "010122030405060701", -EBADMSG, 0, 0},
		{"seven bytes left", "01012203040506", -EBADMSG, 0, 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		static const uint8_t target[16] = {0xfd, [15] = 2};
		struct vnic_ndp ndp;
		size_t length;
		uint8_t *options = from_hex(cases[i].hex, &length);
		uint8_t *bytes = malloc(16 + length);
		int result;

		memcpy(bytes, target, 16);
		if (length)
			memcpy(bytes + 16, options, length);
		result =
			vnic_ndp_parse(VNIC_ICMPV6_NEIGHBOR_SOLICITATION, bytes, 16 + length, &ndp);
		if (result != cases[i].result)
			fail_msg("%s: %d, not %d", cases[i].name, result, cases[i].result);
		if (result > 0 && (ndp.has_mac != (cases[i].mac != 0) ||
				   (ndp.has_mac && ndp.mac[0] != cases[i].mac)))
			fail_msg("%s: address %d %02x", cases[i].name, ndp.has_mac, ndp.mac[0]);
		if (result > 0 && (ndp.has_nonce != (cases[i].nonce != 0) ||
				   (ndp.has_nonce && ndp.nonce[0] != cases[i].nonce)))
			fail_msg("%s: nonce %d %02x", cases[i].name, ndp.has_nonce, ndp.nonce[0]);
		assert_int_equal(vnic_ndp_parse(VNIC_ICMPV6_REDIRECT, bytes, 16 + length, &ndp),
				 -EBADMSG);
		free(options);
		free(bytes);
	}
}

static void test_ndp_build_with_everything(void **state)
{
	struct vnic_ndp ndp = {
		.target = {0xfd, [15] = 9},
		.has_mac = true,
		.mac = {2, 0, 0, 0, 0, 9},
		.has_nonce = true,
		.nonce = {1, 2, 3, 4, 5, 6},
	};
	struct vnic_ndp parsed;
	uint8_t bytes[32];

	(void)state;
	for (uint8_t type = VNIC_ICMPV6_NEIGHBOR_SOLICITATION;
	     type <= VNIC_ICMPV6_NEIGHBOR_ADVERTISEMENT; type++) {
		assert_int_equal(vnic_ndp_build(type, bytes, 31, &ndp), -ENOSPC);
		assert_int_equal(vnic_ndp_build(type, bytes, 32, &ndp), 32);
		assert_int_equal(vnic_ndp_parse(type, bytes, 32, &parsed), 32);
		assert_memory_equal(parsed.target, ndp.target, 16);
		assert_true(parsed.has_mac && parsed.has_nonce);
		assert_memory_equal(parsed.mac, ndp.mac, 6);
		assert_memory_equal(parsed.nonce, ndp.nonce, 6);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_icmp_of_scapy),
		cmocka_unit_test(test_icmpv6_of_scapy),
		cmocka_unit_test(test_which_messages_are_errors),
		cmocka_unit_test(test_ndp_of_scapy),
		cmocka_unit_test(test_ndp_options),
		cmocka_unit_test(test_ndp_build_with_everything),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
