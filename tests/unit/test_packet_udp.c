/* SPDX-License-Identifier: MIT */
/* UDP headers and their checksums. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <vnic/checksum.h>
#include <vnic/udp.h>

#include "packets.h"

struct datagram {
	uint8_t *packet;
	uint8_t *bytes;
	size_t length;
	struct vnic_address source, destination;
};

static struct datagram open_packet(const char *hex)
{
	struct datagram datagram;
	size_t length;

	datagram.packet = from_hex(hex, &length);
	if (datagram.packet[0] >> 4 == 4) {
		datagram.bytes = datagram.packet + 20;
		datagram.source = vnic_address_from_bytes(VNIC_IPV4, datagram.packet + 12);
		datagram.destination = vnic_address_from_bytes(VNIC_IPV4, datagram.packet + 16);
	} else {
		datagram.bytes = datagram.packet + 40;
		datagram.source = vnic_address_from_bytes(VNIC_IPV6, datagram.packet + 8);
		datagram.destination = vnic_address_from_bytes(VNIC_IPV6, datagram.packet + 24);
	}
	datagram.length = length - (size_t)(datagram.bytes - datagram.packet);
	return datagram;
}

static void test_datagrams_of_scapy(void **state)
{
	static const char *const cases[] = {PACKET_UDP, PACKET_UDP6};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct datagram d = open_packet(cases[i]);
		struct vnic_udp udp;
		uint8_t *built;

		assert_int_equal(vnic_udp_parse(d.bytes, d.length, &udp), 8);
		assert_int_equal(udp.source_port, 53);
		assert_int_equal(udp.destination_port, 1234);
		assert_int_equal(udp.length_bytes, 13);
		assert_int_equal(udp.checksum, d.bytes[6] << 8 | d.bytes[7]);
		assert_int_equal(vnic_udp_verify(d.bytes, &udp, &d.source, &d.destination), 0);

		built = exact_copy(d.bytes, d.length);
		memset(built, 0xa5, 8);
		assert_int_equal(
			vnic_udp_build(built, d.length, &d.source, &d.destination, &udp, 5), 8);
		assert_memory_equal(built, d.bytes, d.length);
		free(built);
		for (size_t bit = 0; bit < d.length * 8; bit++) {
			d.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
			if (vnic_udp_parse(d.bytes, d.length, &udp) == 8)
				assert_int_equal(
					vnic_udp_verify(d.bytes, &udp, &d.source, &d.destination),
					-EBADMSG);
			d.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		}
		free(d.packet);
	}
}

static void test_every_truncation_is_refused(void **state)
{
	struct datagram d = open_packet(PACKET_UDP);
	struct vnic_udp udp, untouched;

	(void)state;
	memset(&udp, 0xa5, sizeof(udp));
	untouched = udp;
	for (size_t room = 0; room < d.length; room++) {
		uint8_t *copy = exact_copy(d.bytes, room);

		assert_int_equal(vnic_udp_parse(copy, room, &udp), -EBADMSG);
		free(copy);
	}
	for (unsigned length = 0; length < 8; length++) {
		d.bytes[5] = (uint8_t)length;
		assert_int_equal(vnic_udp_parse(d.bytes, d.length, &udp), -EBADMSG);
	}
	assert_memory_equal(&udp, &untouched, sizeof(udp));
	free(d.packet);
}

static void test_bytes_behind_the_length_do_not_count(void **state)
{
	struct datagram d = open_packet(PACKET_UDP);
	uint8_t bytes[64];
	struct vnic_udp udp;

	(void)state;
	memset(bytes, 0xff, sizeof(bytes));
	memcpy(bytes, d.bytes, d.length);
	assert_int_equal(vnic_udp_parse(bytes, sizeof(bytes), &udp), 8);
	assert_int_equal(udp.length_bytes, d.length);
	assert_int_equal(vnic_udp_verify(bytes, &udp, &d.source, &d.destination), 0);
	free(d.packet);
}

static void test_no_checksum(void **state)
{
	struct datagram d = open_packet(PACKET_UDP_NOSUM), d6 = open_packet(PACKET_UDP6);
	struct vnic_udp udp;

	(void)state;
	assert_int_equal(vnic_udp_parse(d.bytes, d.length, &udp), 8);
	assert_int_equal(udp.checksum, 0);
	assert_int_equal(vnic_udp_verify(d.bytes, &udp, &d.source, &d.destination), 0);
	d6.bytes[6] = d6.bytes[7] = 0;
	assert_int_equal(vnic_udp_parse(d6.bytes, d6.length, &udp), 8);
	assert_int_equal(vnic_udp_verify(d6.bytes, &udp, &d6.source, &d6.destination), -EBADMSG);
	free(d.packet);
	free(d6.packet);
}

static void test_a_computed_zero_becomes_ffff(void **state)
{
	struct datagram d = open_packet(PACKET_UDP);
	struct vnic_udp udp = {.source_port = 1}, parsed;
	uint8_t bytes[10] = {0};
	uint16_t checksum;

	(void)state;
	/* With this checksum as payload the sum is all ones, whose complement is 0. */
	assert_int_equal(vnic_udp_build(bytes, sizeof(bytes), &d.source, &d.destination, &udp, 2),
			 8);
	checksum = (uint16_t)(bytes[6] << 8 | bytes[7]);
	bytes[8] = (uint8_t)(checksum >> 8);
	bytes[9] = (uint8_t)checksum;
	assert_int_equal(vnic_udp_build(bytes, sizeof(bytes), &d.source, &d.destination, &udp, 2),
			 8);
	assert_int_equal(bytes[6] << 8 | bytes[7], 0xffff);
	assert_int_equal(vnic_udp_parse(bytes, sizeof(bytes), &parsed), 8);
	assert_int_equal(vnic_udp_verify(bytes, &parsed, &d.source, &d.destination), 0);
	free(d.packet);
}

static void test_build_is_refused(void **state)
{
	struct datagram d = open_packet(PACKET_UDP);
	struct vnic_udp udp = {.source_port = 1};
	uint8_t *bytes = calloc(1, 65536);

	(void)state;
	assert_int_equal(vnic_udp_build(bytes, 7, &d.source, &d.destination, &udp, 0), -ENOSPC);
	assert_int_equal(vnic_udp_build(bytes, 12, &d.source, &d.destination, &udp, 5), -ENOSPC);
	assert_int_equal(vnic_udp_build(bytes, 65536, &d.source, &d.destination, &udp, 65527), 8);
	assert_int_equal(bytes[4] << 8 | bytes[5], 65535);
	assert_int_equal(vnic_udp_build(bytes, 65536, &d.source, &d.destination, &udp, 65528),
			 -EMSGSIZE);
	assert_int_equal(vnic_udp_build(bytes, 65536, &d.source, &d.destination, &udp, SIZE_MAX),
			 -EMSGSIZE);
	free(bytes);
	free(d.packet);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_datagrams_of_scapy),
		cmocka_unit_test(test_every_truncation_is_refused),
		cmocka_unit_test(test_bytes_behind_the_length_do_not_count),
		cmocka_unit_test(test_no_checksum),
		cmocka_unit_test(test_a_computed_zero_becomes_ffff),
		cmocka_unit_test(test_build_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
