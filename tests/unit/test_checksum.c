/* SPDX-License-Identifier: MIT */
/* Every implementation of the checksum against the definition, and the examples of the RFCs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <vnic/packet.h>

#include "packet/checksum.h"
#include "packets.h"

#define ALIGNMENTS 64
#define LENGTHS 301
#define BLOCK_BYTES 65536

/* RFC 1071 section 1, word for word: pairs of bytes, an odd last one padded with 0. */
static uint16_t naive_sum(const uint8_t *bytes, size_t length)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < length; i += 2)
		sum += (uint64_t)(bytes[i] << 8 | (i + 1 < length ? bytes[i + 1] : 0));
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

/* xorshift64: the same bytes every run */
static void fill_random(uint8_t *bytes, size_t length)
{
	uint64_t x = 0x9e3779b97f4a7c15;

	for (size_t i = 0; i < length; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		bytes[i] = (uint8_t)x;
	}
}

static void fill(uint8_t *bytes, size_t length, int content)
{
	if (content < 0)
		fill_random(bytes, length);
	else
		memset(bytes, content, length);
}

static void compare(const struct vn_checksum_implementation *implementation, const uint8_t *bytes,
		    size_t length, size_t alignment)
{
	uint16_t expected = naive_sum(bytes, length);
	uint16_t found = vnic_checksum_fold(implementation->add(0, bytes, length));

	if (found != expected)
		fail_msg("%s: %zu bytes at alignment %zu: %04x, not %04x", implementation->name,
			 length, alignment, found, expected);
}

static void test_implementations_agree_with_the_definition(void **state)
{
	static const int contents[] = {-1, 0x00, 0xff, 0x80};
	size_t count, size = ALIGNMENTS + BLOCK_BYTES + 1;
	const struct vn_checksum_implementation *implementations =
		vn_checksum_implementations(&count);
	uint8_t *memory = aligned_alloc(ALIGNMENTS, size + ALIGNMENTS - size % ALIGNMENTS);

	(void)state;
	assert_non_null(memory);
	assert_true(count >= 1);
	assert_string_equal(implementations[count - 1].name, "portable");
	for (size_t i = 0; i < count; i++) {
		if (!implementations[i].supported()) {
			print_message("# this CPU has no %s\n", implementations[i].name);
			continue;
		}
		for (size_t c = 0; c < sizeof(contents) / sizeof(contents[0]); c++) {
			fill(memory, size, contents[c]);
			for (size_t a = 0; a < ALIGNMENTS; a++) {
				for (size_t length = 0; length < LENGTHS; length++)
					compare(&implementations[i], memory + a, length, a);
				compare(&implementations[i], memory + a, 1500, a);
				compare(&implementations[i], memory + a, BLOCK_BYTES - 1, a);
				compare(&implementations[i], memory + a, BLOCK_BYTES, a);
				compare(&implementations[i], memory + a, BLOCK_BYTES + 1, a);
			}
		}
	}
	free(memory);
}

static void test_implementations_stay_inside(void **state)
{
	size_t count;
	const struct vn_checksum_implementation *implementations =
		vn_checksum_implementations(&count);
	uint8_t bytes[LENGTHS];

	(void)state;
	fill_random(bytes, sizeof(bytes));
	for (size_t i = 0; i < count; i++) {
		if (!implementations[i].supported())
			continue;
		for (size_t length = 0; length < LENGTHS; length++) {
			uint8_t *copy = exact_copy(bytes, length);

			compare(&implementations[i], copy, length, 0);
			free(copy);
		}
	}
	assert_int_equal(vnic_checksum_add(7, NULL, 0), 7);
}

/* Copies to an address of another alignment, between two guards. */
static void compare_copy(const struct vn_checksum_implementation *implementation, uint8_t *to,
			 const uint8_t *from, size_t length)
{
	uint16_t expected = naive_sum(from, length);
	uint16_t found;

	to[0] = to[length + 1] = 0x5c;
	memset(to + 1, 0xa3, length);
	found = vnic_checksum_fold(implementation->copy(to + 1, from, length));
	if (found != expected)
		fail_msg("%s: copying %zu bytes sums up to %04x, not %04x", implementation->name,
			 length, found, expected);
	assert_memory_equal(to + 1, from, length);
	assert_int_equal(to[0], 0x5c);
	assert_int_equal(to[length + 1], 0x5c);
}

static void test_copying_sums_up(void **state)
{
	static const int contents[] = {-1, 0x00, 0xff};
	static uint8_t memory[ALIGNMENTS + BLOCK_BYTES], copy[ALIGNMENTS + BLOCK_BYTES + 2];
	static const size_t lengths[] = {511, 512, 513, 1448, 1499, 1500, BLOCK_BYTES};
	size_t count;
	const struct vn_checksum_implementation *implementations =
		vn_checksum_implementations(&count);

	(void)state;
	for (size_t i = 0; i < count; i++) {
		if (!implementations[i].supported())
			continue;
		for (size_t c = 0; c < sizeof(contents) / sizeof(contents[0]); c++) {
			fill(memory, sizeof(memory), contents[c]);
			for (size_t a = 0; a < ALIGNMENTS; a++) {
				uint8_t *to = copy + (a * 37 + 5) % ALIGNMENTS;

				for (size_t length = 0; length < LENGTHS; length++)
					compare_copy(&implementations[i], to, memory + a, length);
				for (size_t l = 0; l < sizeof(lengths) / sizeof(lengths[0]); l++)
					compare_copy(&implementations[i], to, memory + a,
						     lengths[l]);
			}
		}
	}
}

static void test_copying_stays_inside(void **state)
{
	size_t count;
	const struct vn_checksum_implementation *implementations =
		vn_checksum_implementations(&count);
	uint8_t bytes[LENGTHS];

	(void)state;
	fill_random(bytes, sizeof(bytes));
	for (size_t i = 0; i < count; i++) {
		if (!implementations[i].supported())
			continue;
		for (size_t length = 1; length < LENGTHS; length++) {
			uint8_t *from = exact_copy(bytes, length), *to = malloc(length);

			assert_non_null(to);
			assert_int_equal(
				vnic_checksum_fold(implementations[i].copy(to, from, length)),
				naive_sum(bytes, length));
			free(from);
			free(to);
		}
	}
}

static void test_arithmetic_on_partial_sums(void **state)
{
	static const uint32_t sums[] = {0,       1,          0xfffe,     0xffff,    0x10000,
					0x1ffff, 0xfffeffff, 0xfffffffe, UINT32_MAX};

	(void)state;
	for (size_t i = 0; i < sizeof(sums) / sizeof(sums[0]); i++) {
		assert_int_equal(vn_checksum_fold(sums[i]), vnic_checksum_fold(sums[i]));
		assert_int_equal(vn_checksum_finish(sums[i]), vnic_checksum_finish(sums[i]));
		for (size_t k = 0; k < sizeof(sums) / sizeof(sums[0]); k++) {
			uint64_t both = (uint64_t)sums[i] + sums[k];

			assert_int_equal(vn_checksum_fold(vn_checksum_combine(sums[i], sums[k])),
					 both == 0       ? 0
					 : both % 0xffff ? both % 0xffff
							 : 0xffff);
		}
	}
}

static void test_rfc1071_example(void **state)
{
	/* Section 3: the sum is ddf2 */
	static const uint8_t bytes[] = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};

	(void)state;
	assert_int_equal(vnic_checksum_fold(vnic_checksum_add(0, bytes, sizeof(bytes))), 0xddf2);
	assert_int_equal(vnic_checksum(bytes, sizeof(bytes)), 0x220d);
	assert_int_equal(vnic_checksum(bytes, 0), 0xffff);
}

static void test_rfc1624_example(void **state)
{
	(void)state;
	/* Section 4: 5555 becomes 3285, and the checksum dd2f becomes 0000, not ffff */
	assert_int_equal(vnic_checksum_update16(0xdd2f, 0x5555, 0x3285), 0x0000);
	assert_int_equal(vnic_checksum_update32(0xdd2f, 0x00005555, 0x00003285), 0x0000);
	assert_int_equal(vnic_checksum_update16(0xdd2f, 0x5555, 0x5555), 0xdd2f);
}

static void test_update_equals_computing_again(void **state)
{
	uint8_t bytes[256];

	(void)state;
	fill_random(bytes, sizeof(bytes));
	for (size_t at = 0; at + 8 <= sizeof(bytes); at += 2) {
		uint16_t before = vnic_checksum(bytes, sizeof(bytes)), after;
		uint16_t old16 = (uint16_t)(bytes[at] << 8 | bytes[at + 1]);
		uint32_t old32;

		bytes[at] ^= 0x5a;
		after = vnic_checksum_update16(before, old16,
					       (uint16_t)(bytes[at] << 8 | bytes[at + 1]));
		assert_int_equal(after, vnic_checksum(bytes, sizeof(bytes)));
		old32 = (uint32_t)bytes[at] << 24 | (uint32_t)bytes[at + 1] << 16 |
			(uint32_t)bytes[at + 2] << 8 | bytes[at + 3];
		memset(bytes + at, (int)at, 4);
		after = vnic_checksum_update32(after, old32, (uint32_t)at * 0x01010101u);
		assert_int_equal(after, vnic_checksum(bytes, sizeof(bytes)));
	}
}

static void test_blocks_add_up(void **state)
{
	uint8_t bytes[4095];

	(void)state;
	fill_random(bytes, sizeof(bytes));
	for (size_t cut = 0; cut < sizeof(bytes); cut += 2) {
		uint32_t sum = vnic_checksum_add(0, bytes, cut);
		uint32_t other = vnic_checksum_add(0, bytes + cut, sizeof(bytes) - cut);

		sum = vnic_checksum_add(sum, bytes + cut, sizeof(bytes) - cut);
		other = vnic_checksum_add(other, bytes, cut);
		assert_int_equal(vnic_checksum_fold(sum), naive_sum(bytes, sizeof(bytes)));
		assert_int_equal(vnic_checksum_fold(other), vnic_checksum_fold(sum));
	}
}

static void test_partial_sum_never_overflows(void **state)
{
	static const uint8_t ones[] = {0xff, 0xff};
	uint32_t sum = 0xfffffffe;

	(void)state;
	for (int i = 0; i < 100000; i++)
		sum = vnic_checksum_add(sum, ones, sizeof(ones));
	/* 0xffff is a zero of one's complement, and so is what we began with. */
	assert_int_equal(vnic_checksum_fold(sum), vnic_checksum_fold(0xfffffffe));
	assert_int_equal(vnic_checksum_fold(0xffffffff), 0xffff);
	assert_int_equal(vnic_checksum_finish(0xffffffff), 0);
	assert_int_equal(vnic_checksum_finish(0), 0xffff);
}

static void test_pseudo_headers_of_scapys_packets(void **state)
{
	size_t length;
	uint8_t *bytes = from_hex(PACKET_UDP, &length);
	struct vnic_address source = vnic_address_from_bytes(VNIC_IPV4, bytes + 12);
	struct vnic_address destination = vnic_address_from_bytes(VNIC_IPV4, bytes + 16);
	uint32_t sum =
		vnic_checksum_add_pseudo(0, &source, &destination, 17, (uint32_t)length - 20);

	(void)state;
	assert_int_equal(vnic_checksum_finish(vnic_checksum_add(sum, bytes + 20, length - 20)), 0);
	free(bytes);
	bytes = from_hex(PACKET_UDP6, &length);
	source = vnic_address_from_bytes(VNIC_IPV6, bytes + 8);
	destination = vnic_address_from_bytes(VNIC_IPV6, bytes + 24);
	sum = vnic_checksum_add_pseudo(0, &source, &destination, 17, (uint32_t)length - 40);
	assert_int_equal(vnic_checksum_finish(vnic_checksum_add(sum, bytes + 40, length - 40)), 0);
	/* All 32 bits of the length count (RFC 8200 section 8.1). */
	assert_int_equal(
		vnic_checksum_fold(vnic_checksum_add_pseudo(0, &source, &destination, 0, 0x10000)),
		vnic_checksum_fold(vnic_checksum_add_pseudo(0, &source, &destination, 0, 1)));
	free(bytes);
}

static void test_implementation_in_use(void **state)
{
	size_t count, i = 0;
	const struct vn_checksum_implementation *implementations =
		vn_checksum_implementations(&count);

	(void)state;
	while (i < count && !implementations[i].supported())
		i++;
	assert_true(i < count);
	assert_string_equal(vnic_checksum_implementation(), implementations[i].name);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_implementations_agree_with_the_definition),
		cmocka_unit_test(test_implementations_stay_inside),
		cmocka_unit_test(test_copying_sums_up),
		cmocka_unit_test(test_copying_stays_inside),
		cmocka_unit_test(test_arithmetic_on_partial_sums),
		cmocka_unit_test(test_rfc1071_example),
		cmocka_unit_test(test_rfc1624_example),
		cmocka_unit_test(test_update_equals_computing_again),
		cmocka_unit_test(test_blocks_add_up),
		cmocka_unit_test(test_partial_sum_never_overflows),
		cmocka_unit_test(test_pseudo_headers_of_scapys_packets),
		cmocka_unit_test(test_implementation_in_use),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
