/* SPDX-License-Identifier: MIT */
/* The options of TCP: each byte as others write and read it, and bytes that no one should write. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "random.h"
#include "stack/tcp_options.h"

#define STEPS 200000

static uint64_t random_state;

static void assert_build(const struct vn_tcp_options *options, const void *expected, size_t length)
{
	uint8_t bytes[VN_TCP_OPTIONS_BYTES];

	assert_int_equal(vn_tcp_options_build(options, bytes), length);
	assert_memory_equal(bytes, expected, length);
}

static struct vn_tcp_options parse(uint8_t flags, const void *bytes, uint8_t length)
{
	struct vnic_tcp tcp = {.flags = flags, .options_bytes = length};
	struct vn_tcp_options options;

	assert_true(length <= sizeof(tcp.options));
	memset(tcp.options, 0xff, sizeof(tcp.options)); /* what is behind the end must not count */
	memcpy(tcp.options, bytes, length);
	memset(&options, 0xa5, sizeof(options));
	vn_tcp_options_parse(&tcp, &options);
	return options;
}

static void test_build_syn(void **state)
{
	struct vn_tcp_options options = {.has_mss = true,
					 .mss_bytes = 1460,
					 .sack_permitted = true,
					 .has_timestamps = true,
					 .timestamp = 0x01020304,
					 .timestamp_echo = 0x05060708,
					 .has_scale = true,
					 .scale = 7};

	(void)state;
	assert_build(&options,
		     "\2\4\x05\xb4"
		     "\4\2\x08\x0a\1\2\3\4\5\6\7\x08"
		     "\1\3\3\7",
		     20);
	options.has_timestamps = false;
	assert_build(&options,
		     "\2\4\x05\xb4"
		     "\1\1\4\2"
		     "\1\3\3\7",
		     12);
	options.sack_permitted = false;
	assert_build(&options,
		     "\2\4\x05\xb4"
		     "\1\3\3\7",
		     8);
	options.has_timestamps = true;
	options.has_scale = false;
	assert_build(&options,
		     "\2\4\x05\xb4"
		     "\1\1\x08\x0a\1\2\3\4\5\6\7\x08",
		     16);
	assert_build(&(struct vn_tcp_options){0}, "", 0);
}

static void test_build_acknowledgment(void **state)
{
	struct vn_tcp_options options = {
		.has_timestamps = true,
		.timestamp = 0xfffffffe,
		.timestamp_echo = 0x80000001,
		.sack_count = 4,
		.sacks = {{1, 2}, {3, 4}, {5, 6}, {0xfffffff0, 7}},
	};
	static const uint8_t sacks[33] =
		"\0\0\0\1\0\0\0\2\0\0\0\3\0\0\0\4\0\0\0\5\0\0\0\6\xff\xff\xff\xf0\0\0\0\7";
	uint8_t expected[VN_TCP_OPTIONS_BYTES] = "\1\1\x08\x0a\xff\xff\xff\xfe\x80\0\0\1\1\1\5\x1a";

	(void)state;
	/* Three fit behind timestamps, four without (RFC 2018 section 3). */
	memcpy(&expected[16], sacks, sizeof(struct vn_tcp_sack) * 3);
	assert_build(&options, expected, 40);
	options.has_timestamps = false;
	vn_store32(expected, 0x01010522);
	memcpy(&expected[4], sacks, sizeof(struct vn_tcp_sack) * 4);
	assert_build(&options, expected, 36);
	options.sack_count = 1;
	expected[3] = 10;
	assert_build(&options, expected, 12);
}

static void test_parse_syn(void **state)
{
	static const char syn[] = "\2\4\x05\xb4\4\2\x08\x0a\1\2\3\4\0\0\0\0\1\3\3\x0f";
	struct vn_tcp_options options = parse(VNIC_TCP_SYN, syn, 20);

	(void)state;
	assert_true(options.has_mss && options.has_scale && options.has_timestamps &&
		    options.sack_permitted);
	assert_int_equal(options.mss_bytes, 1460);
	assert_int_equal(options.scale, 15); /* as it stands there */
	assert_int_equal(options.timestamp, 0x01020304);
	assert_int_equal(options.timestamp_echo, 0);
	assert_int_equal(options.sack_count, 0);

	/* Without SYN only the timestamps mean something. */
	options = parse(VNIC_TCP_ACK, syn, 20);
	assert_false(options.has_mss || options.has_scale || options.sack_permitted);
	assert_true(options.has_timestamps);

	/* And a SYN selects nothing. */
	options = parse(VNIC_TCP_SYN, "\1\1\5\x0a\0\0\0\1\0\0\0\2", 12);
	assert_int_equal(options.sack_count, 0);

	options = parse(VNIC_TCP_SYN, "\2\4\0\0", 4);
	assert_false(options.has_mss);
}

static void test_parse_sack(void **state)
{
	struct vn_tcp_options options;

	(void)state;
	options = parse(VNIC_TCP_ACK,
			"\1\1\x08\x0a\0\0\0\1\0\0\0\2"
			"\1\1\5\x12\0\0\0\x0a\0\0\0\x14\xff\xff\xff\xf0\0\0\0\5",
			32);
	assert_true(options.has_timestamps);
	assert_int_equal(options.timestamp_echo, 2);
	assert_int_equal(options.sack_count, 2);
	assert_int_equal(options.sacks[0].begin, 10);
	assert_int_equal(options.sacks[0].end, 20);
	assert_int_equal(options.sacks[1].begin, 0xfffffff0);
	assert_int_equal(options.sacks[1].end, 5);

	/* A block and a half is a block. */
	options = parse(VNIC_TCP_ACK, "\5\x0e\0\0\0\1\0\0\0\2\0\0\0\3\1\1", 16);
	assert_int_equal(options.sack_count, 1);
	assert_int_equal(options.sacks[0].end, 2);
	options = parse(VNIC_TCP_ACK, "\5\2\1\1", 4);
	assert_int_equal(options.sack_count, 0);
	/* One whose length reaches over the end is no option at all. */
	options = parse(VNIC_TCP_ACK, "\5\x12\0\0\0\1\0\0\0\2\0\0", 12);
	assert_int_equal(options.sack_count, 0);
}

static void test_parse_malformed(void **state)
{
	struct vn_tcp_options options;

	(void)state;
	/* Wrong lengths, unknown kinds; what follows counts. */
	options = parse(VNIC_TCP_SYN, "\2\3\x05\3\4\7\x08\4\3\3\4\3\0\xfd\5\1\2\3\4\2", 20);
	assert_false(options.has_mss || options.has_timestamps);
	assert_false(options.has_scale);
	/* The length 0 must not loop, 1 must not either, and what is before counts. */
	options = parse(VNIC_TCP_SYN, "\3\3\5\x08\0\2\4\x05", 8);
	assert_true(options.has_scale);
	assert_int_equal(options.scale, 5);
	assert_false(options.has_timestamps || options.has_mss);
	options = parse(VNIC_TCP_SYN, "\4\1\4\2", 4);
	assert_false(options.sack_permitted);
	/* Nothing counts behind the end of the list. */
	options = parse(VNIC_TCP_SYN, "\0\2\4\x05\xb4\4\2\1", 8);
	assert_false(options.has_mss || options.sack_permitted);
	/* The fast path needs all of its bytes. */
	options = parse(VNIC_TCP_ACK, "\1\1\x08\x0a\0\0\0\1", 8);
	assert_false(options.has_timestamps);
	options = parse(VNIC_TCP_ACK, "", 0);
	assert_false(options.has_timestamps);
}

/* What is built is read back as it was. */
static void test_round_trip(void **state)
{
	(void)state;
	random_state = 1;
	for (unsigned step = 0; step < STEPS; step++) {
		bool is_syn = random_below(&random_state, 2);
		struct vn_tcp_options options = {0}, again;
		uint8_t bytes[VN_TCP_OPTIONS_BYTES], length;
		unsigned most;

		options.has_timestamps = random_below(&random_state, 2);
		if (options.has_timestamps) {
			options.timestamp = random_below(&random_state, UINT32_MAX);
			options.timestamp_echo = random_below(&random_state, UINT32_MAX);
		}
		if (is_syn) {
			options.has_mss = random_below(&random_state, 2);
			options.mss_bytes =
				options.has_mss ? (uint16_t)(1 + random_below(&random_state, 65535))
						: 0;
			options.has_scale = random_below(&random_state, 2);
			options.scale =
				options.has_scale ? (uint8_t)random_below(&random_state, 256) : 0;
			options.sack_permitted = random_below(&random_state, 2);
		} else {
			options.sack_count = (uint8_t)random_below(&random_state, VN_TCP_SACKS + 1);
			for (unsigned i = 0; i < options.sack_count; i++)
				options.sacks[i] = (struct vn_tcp_sack){
					random_below(&random_state, UINT32_MAX),
					random_below(&random_state, UINT32_MAX)};
		}
		length = vn_tcp_options_build(&options, bytes);
		assert_int_equal(length % 4, 0);
		assert_true(length <= VN_TCP_OPTIONS_BYTES);
		again = parse(is_syn ? VNIC_TCP_SYN : VNIC_TCP_ACK, bytes, length);
		assert_int_equal(again.has_mss, options.has_mss);
		assert_int_equal(again.mss_bytes, options.mss_bytes);
		assert_int_equal(again.has_scale, options.has_scale);
		assert_int_equal(again.scale, options.scale);
		assert_int_equal(again.sack_permitted, options.sack_permitted);
		assert_int_equal(again.has_timestamps, options.has_timestamps);
		assert_int_equal(again.timestamp, options.timestamp);
		assert_int_equal(again.timestamp_echo, options.timestamp_echo);
		most = options.has_timestamps ? 3 : 4;
		assert_int_equal(again.sack_count,
				 options.sack_count < most ? options.sack_count : most);
		assert_memory_equal(again.sacks, options.sacks,
				    again.sack_count * sizeof(again.sacks[0]));
	}
}

/* Bytes of a stranger: the slow way to read them says the same. */
static void test_random_bytes(void **state)
{
	static const uint8_t likely[] = {0, 1, 1, 1, 2, 3, 4, 5, 8, 10, 18, 26, 34};

	(void)state;
	random_state = 2;
	for (unsigned step = 0; step < STEPS; step++) {
		uint8_t bytes[VN_TCP_OPTIONS_BYTES];
		uint8_t length = (uint8_t)(4 * random_below(&random_state, 11));
		struct vn_tcp_options options;
		unsigned sacks = 0;
		bool has_timestamps = false;
		uint32_t timestamp = 0;

		for (unsigned i = 0; i < length; i++)
			bytes[i] = random_below(&random_state, 4)
					   ? likely[random_below(&random_state, sizeof(likely))]
					   : (uint8_t)random_below(&random_state, 256);
		if (length >= 12 && random_below(&random_state, 2))
			memcpy(bytes, "\1\1\x08\x0a", 4);
		options = parse(VNIC_TCP_ACK, bytes, length);
		for (unsigned i = 0; i < length && bytes[i] != 0;) {
			if (bytes[i] == 1) {
				i++;
				continue;
			}
			if (i + 1 >= length || bytes[i + 1] < 2 || i + bytes[i + 1] > length)
				break;
			if (bytes[i] == 5)
				sacks += (bytes[i + 1] - 2u) / 8;
			if (bytes[i] == 8 && bytes[i + 1] == 10) {
				has_timestamps = true;
				timestamp = vn_load32(bytes + i + 2);
			}
			i += bytes[i + 1];
		}
		assert_int_equal(options.sack_count, sacks);
		assert_int_equal(options.has_timestamps, has_timestamps);
		assert_int_equal(options.timestamp, timestamp);
		assert_false(options.has_mss || options.has_scale || options.sack_permitted);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_build_syn),       cmocka_unit_test(test_build_acknowledgment),
		cmocka_unit_test(test_parse_syn),       cmocka_unit_test(test_parse_sack),
		cmocka_unit_test(test_parse_malformed), cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_random_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
