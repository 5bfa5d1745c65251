/* SPDX-License-Identifier: MIT */
/* SipHash-2-4: the vectors of its reference, alignment, and that each bit of input matters. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/siphash.h"
#include "random.h"

/*
 * The key is 00 01 .. 0f, the message 00 01 .. of as many bytes as the place in the list says.
 * Length 15 is the example in the paper's appendix A. "openssl mac SIPHASH" with size:8 prints the
 * same, lowest byte first.
 */
static const uint64_t vectors[64] = {
	0x726fdb47dd0e0e31, 0x74f839c593dc67fd, 0x0d6c8009d9a94f5a, 0x85676696d7fb7e2d,
	0xcf2794e0277187b7, 0x18765564cd99a68d, 0xcbc9466e58fee3ce, 0xab0200f58b01d137,
	0x93f5f5799a932462, 0x9e0082df0ba9e4b0, 0x7a5dbbc594ddb9f3, 0xf4b32f46226bada7,
	0x751e8fbc860ee5fb, 0x14ea5627c0843d90, 0xf723ca908e7af2ee, 0xa129ca6149be45e5,
	0x3f2acc7f57c29bdb, 0x699ae9f52cbe4794, 0x4bc1b3f0968dd39c, 0xbb6dc91da77961bd,
	0xbed65cf21aa2ee98, 0xd0f2cbb02e3b67c7, 0x93536795e3a33e88, 0xa80c038ccd5ccec8,
	0xb8ad50c6f649af94, 0xbce192de8a85b8ea, 0x17d835b85bbb15f3, 0x2f2e6163076bcfad,
	0xde4daaaca71dc9a5, 0xa6a2506687956571, 0xad87a3535c49ef28, 0x32d892fad841c342,
	0x7127512f72f27cce, 0xa7f32346f95978e3, 0x12e0b01abb051238, 0x15e034d40fa197ae,
	0x314dffbe0815a3b4, 0x027990f029623981, 0xcadcd4e59ef40c4d, 0x9abfd8766a33735c,
	0x0e3ea96b5304a7d0, 0xad0c42d6fc585992, 0x187306c89bc215a9, 0xd4a60abcf3792b95,
	0xf935451de4f21df2, 0xa9538f0419755787, 0xdb9acddff56ca510, 0xd06c98cd5c0975eb,
	0xe612a3cb9ecba951, 0xc766e62cfcadaf96, 0xee64435a9752fe72, 0xa192d576b245165a,
	0x0a8787bf8ecb74b2, 0x81b3e73d20b49b6f, 0x7fa8220ba3b2ecea, 0x245731c13ca42499,
	0xb78dbfaf3a8d83bd, 0xea1ad565322a1a0b, 0x60e61c23a3795013, 0x6606d7e446282b93,
	0x6ca4ecb15c5f91e1, 0x9f626da15c9625f3, 0xe51b38608ef25f57, 0x958a324ceb064572,
};

static void count_up(uint8_t *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++)
		bytes[i] = (uint8_t)i;
}

static void assert_hash(const uint8_t *key, const uint8_t *bytes, size_t length, uint64_t expected)
{
	uint64_t found = vn_siphash(key, bytes, length);

	if (found != expected)
		fail_msg("%zu bytes: %016jx, not %016jx", length, (uintmax_t)found,
			 (uintmax_t)expected);
}

static void test_reference_vectors(void **state)
{
	uint8_t key[16], message[64];

	(void)state;
	count_up(key, sizeof(key));
	count_up(message, sizeof(message));
	for (size_t length = 0; length < 64; length++)
		assert_hash(key, message, length, vectors[length]);
	assert_hash(key, NULL, 0, vectors[0]);
}

static void test_any_alignment(void **state)
{
	uint8_t key[16 + 8], message[64 + 8];

	(void)state;
	for (size_t offset = 0; offset < 8; offset++) {
		memset(key, 0xff, sizeof(key));
		memset(message, 0xff, sizeof(message));
		count_up(key + offset, 16);
		count_up(message + offset, 64);
		for (size_t length = 0; length < 64; length++)
			assert_hash(key + offset, message + offset, length, vectors[length]);
	}
}

/* About half of the hash's bits change with any bit of the key or the message. */
static void test_each_bit_matters(void **state)
{
	struct {
		uint8_t key[16], message[48];
	} input;
	uint8_t *bytes = (uint8_t *)&input;
	uint64_t seed = 0x9e3779b97f4a7c15;
	unsigned flips = 0, changed = 0;

	(void)state;
	for (unsigned step = 0; step < 10000; step++) {
		size_t length = 1 + random_below(&seed, sizeof(input.message));
		unsigned bit = random_below(&seed, (unsigned)(sizeof(input.key) + length) * 8);
		uint64_t before, after;

		for (size_t i = 0; i < sizeof(input); i++)
			bytes[i] = (uint8_t)(random_next(&seed) >> 56);
		before = vn_siphash(input.key, input.message, length);
		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		after = vn_siphash(input.key, input.message, length);
		if (before == after)
			fail_msg("bit %u of a key and %zu bytes does not matter", bit, length);
		changed += (unsigned)__builtin_popcountll(before ^ after);
		flips++;
	}
	assert_in_range(changed, flips * 31, flips * 33);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reference_vectors),
		cmocka_unit_test(test_any_alignment),
		cmocka_unit_test(test_each_bit_matters),
	};

	return cmocka_run_group_tests_name("siphash", tests, NULL, NULL);
}
