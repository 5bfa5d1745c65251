/* SPDX-License-Identifier: MIT */
/* Bursts, and finishing a checksum as a NIC would. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include <vnic/packet.h>

#include "packets.h"

static void test_burst_packets_have_memory_of_their_own(void **state)
{
	struct vnic_burst *burst;
	struct vnic_packet *packets;

	(void)state;
	assert_int_equal(vnic_burst_new(VNIC_BURST_PACKETS, 1500, 64, &burst, NULL), 0);
	assert_int_equal(vnic_burst_count(burst), VNIC_BURST_PACKETS);
	packets = vnic_burst_packets(burst);
	for (unsigned i = 0; i < VNIC_BURST_PACKETS; i++) {
		assert_int_equal(packets[i].length_bytes, 0);
		assert_int_equal(packets[i].capacity_bytes, 1500);
		assert_int_equal(packets[i].headroom_bytes, 64);
		memset(packets[i].data - 64, (int)i + 1, 64 + 1500);
	}
	for (unsigned i = 0; i < VNIC_BURST_PACKETS; i++)
		for (int at = -64; at < 1500; at++)
			if (packets[i].data[at] != i + 1)
				fail_msg("packet %u has %u at %d", i, packets[i].data[at], at);
	vnic_burst_free(burst);
	vnic_burst_free(NULL);
}

static void test_burst_reset(void **state)
{
	struct vnic_packet *packets, first;
	struct vnic_burst *burst;

	(void)state;
	assert_int_equal(vnic_burst_new(2, 100, 10, &burst, NULL), 0);
	packets = vnic_burst_packets(burst);
	first = packets[1];
	packets[1].data += 7;
	packets[1].length_bytes = 50;
	packets[1].capacity_bytes -= 7;
	packets[1].headroom_bytes += 7;
	packets[1].flags = VNIC_PACKET_NEEDS_CSUM;
	packets[1].gso_type = VNIC_GSO_TCP4;
	packets[1].gso_size_bytes = 1448;
	vnic_burst_reset(burst);
	assert_ptr_equal(packets[1].data, first.data);
	assert_int_equal(packets[1].length_bytes, 0);
	assert_int_equal(packets[1].capacity_bytes, 100);
	assert_int_equal(packets[1].headroom_bytes, 10);
	assert_int_equal(packets[1].flags, 0);
	assert_int_equal(packets[1].gso_type, VNIC_GSO_NONE);
	assert_int_equal(packets[1].gso_size_bytes, 0);
	vnic_burst_free(burst);
}

static void test_burst_arguments(void **state)
{
	struct vnic_burst *untouched = (struct vnic_burst *)&state, *burst = untouched;
	struct vnic_error error = {.code = 0};

	assert_int_equal(vnic_burst_new(0, 0, 0, &burst, &error), -EINVAL);
	assert_int_equal(error.cause, VNIC_CAUSE_ARGUMENT);
	assert_int_equal(vnic_burst_new(VNIC_BURST_PACKETS + 1, 0, 0, &burst, NULL), -EINVAL);
	assert_int_equal(vnic_burst_new(1, VNIC_PACKET_BYTES + 2, 0, &burst, NULL), -EINVAL);
	assert_ptr_equal(burst, untouched);
	assert_int_equal(vnic_burst_new(1, VNIC_PACKET_BYTES + 1, 0, &burst, NULL), 0);
	assert_int_equal(vnic_burst_packets(burst)->capacity_bytes, VNIC_PACKET_BYTES + 1);
	vnic_burst_free(burst);
	assert_int_equal(vnic_burst_new(1, 0, 0, &burst, NULL), 0);
	assert_int_equal(vnic_burst_packets(burst)->capacity_bytes, VNIC_PACKET_BYTES + 1);
	vnic_burst_free(burst);
}

/* How many bytes around one packet are in memory, by mincore(). */
static size_t resident_bytes(const struct vnic_packet *packet)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), count = 0;
	uintptr_t first = (uintptr_t)packet->data / page * page;
	uintptr_t end = (uintptr_t)packet->data + packet->capacity_bytes;
	unsigned char map[32];
	size_t pages = (end - first + page - 1) / page;

	assert_true(pages <= sizeof(map));
	/* The last page may be the next packet's, but is still of the same mapping. */
	assert_int_equal(mincore((void *)first, pages * page, map), 0);
	for (size_t i = 0; i < pages; i++)
		count += map[i] & 1;
	return count * page;
}

static void test_burst_memory_is_not_touched(void **state)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), total = 0;
	struct vnic_packet *packets;
	struct vnic_burst *burst;

	(void)state;
	assert_int_equal(vnic_burst_new(VNIC_BURST_PACKETS, 0, 0, &burst, NULL), 0);
	packets = vnic_burst_packets(burst);
	for (unsigned i = 0; i < VNIC_BURST_PACKETS - 1; i++)
		total += resident_bytes(&packets[i]);
	assert_int_equal(total, 0);
	memset(packets[3].data, 1, 1500);
	assert_in_range(resident_bytes(&packets[3]), page, 2 * page);
	assert_int_equal(resident_bytes(&packets[5]), 0);
	vnic_burst_free(burst);
}

/* A packet of scapy's made unfinished: the field holds the sum of the pseudo header. */
static void unfinish(struct vnic_packet *packet, uint8_t *bytes, size_t length, uint16_t start,
		     uint16_t offset, uint8_t protocol)
{
	bool v4 = bytes[0] >> 4 == 4;
	struct vnic_address source =
		vnic_address_from_bytes(v4 ? VNIC_IPV4 : VNIC_IPV6, bytes + (v4 ? 12 : 8));
	struct vnic_address destination =
		vnic_address_from_bytes(v4 ? VNIC_IPV4 : VNIC_IPV6, bytes + (v4 ? 16 : 24));
	uint16_t sum = vnic_checksum_fold(vnic_checksum_add_pseudo(
		0, &source, &destination, protocol, (uint32_t)(length - start)));

	*packet = (struct vnic_packet){
		.data = bytes,
		.length_bytes = (uint32_t)length,
		.capacity_bytes = (uint32_t)length,
		.flags = VNIC_PACKET_NEEDS_CSUM | VNIC_PACKET_TRUNCATED,
		.csum_start = start,
		.csum_offset = offset,
	};
	bytes[start + offset] = (uint8_t)(sum >> 8);
	bytes[start + offset + 1] = (uint8_t)sum;
}

static void test_finish_checksum(void **state)
{
	static const struct {
		const char *hex;
		uint16_t start, offset;
		uint8_t protocol;
	} cases[] = {
		{PACKET_UDP, 20, 6, 17},  {PACKET_SYN, 20, 16, 6},  {PACKET_DATA, 20, 16, 6},
		{PACKET_UDP6, 40, 6, 17}, {PACKET_TCP6, 40, 16, 6}, {PACKET_PING6, 40, 2, 58},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct vnic_packet packet;
		size_t length;
		uint8_t *expected = from_hex(cases[i].hex, &length);
		uint8_t *bytes = exact_copy(expected, length);

		unfinish(&packet, bytes, length, cases[i].start, cases[i].offset,
			 cases[i].protocol);
		assert_memory_not_equal(bytes, expected, length);
		assert_int_equal(vnic_packet_finish_checksum(&packet), 0);
		assert_memory_equal(bytes, expected, length);
		assert_int_equal(packet.flags, VNIC_PACKET_TRUNCATED);
		free(expected);
		free(bytes);
	}
}

static void test_finish_checksum_never_writes_a_udp_zero(void **state)
{
	uint8_t bytes[28] = {0x45, [9] = 17, [20] = 0xff, 0xff};
	struct vnic_packet packet = {
		.data = bytes,
		.length_bytes = sizeof(bytes),
		.flags = VNIC_PACKET_NEEDS_CSUM,
		.csum_start = 20,
		.csum_offset = 6,
	};

	(void)state;
	assert_int_equal(vnic_packet_finish_checksum(&packet), 0);
	assert_int_equal(bytes[26] << 8 | bytes[27], 0xffff);
}

static void test_finish_checksum_outside(void **state)
{
	static const struct {
		uint16_t start, offset;
		int result;
	} cases[] = {
		{20, 6, 0},         {20, 18, 0},          {38, 0, 0},
		{20, 19, -EBADMSG}, {39, 0, -EBADMSG},    {40, 0, -EBADMSG},
		{0, 39, -EBADMSG},  {65535, 1, -EBADMSG}, {65535, 65535, -EBADMSG},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		static const uint8_t zero[40];
		uint8_t *bytes = exact_copy(zero, sizeof(zero));
		struct vnic_packet packet = {
			.data = bytes,
			.length_bytes = sizeof(zero),
			.flags = VNIC_PACKET_NEEDS_CSUM,
			.csum_start = cases[i].start,
			.csum_offset = cases[i].offset,
		};

		assert_int_equal(vnic_packet_finish_checksum(&packet), cases[i].result);
		if (cases[i].result < 0) {
			assert_memory_equal(bytes, zero, sizeof(zero));
			assert_int_equal(packet.flags, VNIC_PACKET_NEEDS_CSUM);
		}
		free(bytes);
	}
}

static void test_finish_checksum_with_nothing_to_do(void **state)
{
	uint8_t bytes[4] = {1, 2, 3, 4};
	struct vnic_packet packet = {.data = bytes, .length_bytes = 4, .csum_start = 100};

	(void)state;
	assert_int_equal(vnic_packet_finish_checksum(&packet), 0);
	assert_memory_equal(bytes, "\1\2\3\4", 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_burst_packets_have_memory_of_their_own),
		cmocka_unit_test(test_burst_reset),
		cmocka_unit_test(test_burst_arguments),
		cmocka_unit_test(test_burst_memory_is_not_touched),
		cmocka_unit_test(test_finish_checksum),
		cmocka_unit_test(test_finish_checksum_never_writes_a_udp_zero),
		cmocka_unit_test(test_finish_checksum_outside),
		cmocka_unit_test(test_finish_checksum_with_nothing_to_do),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
