/* SPDX-License-Identifier: MIT */
/* What iperf3 clients say: what is understood, what is refused and with which number. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "iperf3_json.h"

static void assert_parameters(const char *text, enum iperf3_problem expected,
			      struct iperf3_parameters *parameters)
{
	enum iperf3_problem got = iperf3_parameters_parse(text, strlen(text), parameters);

	if (got != expected)
		fail_msg("%d, not %d, of %s", (int)got, (int)expected, text);
}

/* As version 3.12 says it. */
static void test_parameters(void **state)
{
	struct iperf3_parameters parameters;

	(void)state;
	assert_parameters("{\"tcp\":true,\"omit\":0,\"server_affinity\":1,\"time\":10,\"num\":0,"
			  "\"blockcount\":0,\"MSS\":1000,\"nodelay\":true,\"parallel\":2,"
			  "\"window\":65536,\"len\":131072,\"bandwidth\":10000000,\"fqrate\":9,"
			  "\"pacing_timer\":1000,\"TOS\":4,\"title\":\"t\",\"extra_data\":\"x\","
			  "\"congestion\":\"reno\",\"client_version\":\"3.12\"}",
			  IPERF3_PROBLEM_NONE, &parameters);
	assert_false(parameters.is_udp);
	assert_false(parameters.is_reverse);
	assert_false(parameters.is_bidirectional);
	assert_false(parameters.wants_output);
	assert_int_equal(parameters.streams, 2);
	assert_int_equal(parameters.duration_s, 10);
	assert_int_equal(parameters.omit_s, 0);
	assert_int_equal(parameters.block_bytes, 131072);
	assert_int_equal(parameters.window_bytes, 65536);
	assert_int_equal(parameters.rate_bits, 9);
	assert_int_equal(parameters.traffic_class, 4);
	assert_int_equal(parameters.pacing_ns, 1000000);

	assert_parameters("{\"udp\":true,\"omit\":3,\"time\":0,\"num\":1000,\"parallel\":128,"
			  "\"reverse\":true,\"len\":65507,\"bandwidth\":1048576,\"burst\":20,"
			  "\"pacing_timer\":0,\"udp_counters_64bit\":1,\"get_server_output\":1}",
			  IPERF3_PROBLEM_NONE, &parameters);
	assert_true(parameters.is_udp);
	assert_true(parameters.is_reverse);
	assert_true(parameters.has_wide_counters);
	assert_true(parameters.wants_output);
	assert_int_equal(parameters.streams, 128);
	assert_int_equal(parameters.duration_s, 0);
	assert_int_equal(parameters.omit_s, 3);
	assert_int_equal(parameters.block_bytes, 65507);
	assert_int_equal(parameters.burst_blocks, 20);
	assert_true(parameters.pacing_ns >= 100000);
}

static void test_parameters_left_out(void **state)
{
	struct iperf3_parameters parameters;

	(void)state;
	assert_parameters("{\"tcp\":true}", IPERF3_PROBLEM_NONE, &parameters);
	assert_int_equal(parameters.streams, 1);
	assert_int_equal(parameters.block_bytes, 131072);
	assert_int_equal(parameters.rate_bits, 0);
	assert_parameters("{\"udp\":true,\"bidirectional\":true}", IPERF3_PROBLEM_NONE,
			  &parameters);
	assert_true(parameters.is_bidirectional);
	assert_int_equal(parameters.block_bytes, 1460);
}

static void test_parameters_refused(void **state)
{
	static const struct {
		const char *text;
		enum iperf3_problem problem;
	} cases[] = {
		{"", IPERF3_PROBLEM_PARAMETERS},
		{"{", IPERF3_PROBLEM_PARAMETERS},
		{"[]", IPERF3_PROBLEM_PARAMETERS},
		{"{}", IPERF3_PROBLEM_PARAMETERS},
		{"{\"tcp\":true,\"udp\":true}", IPERF3_PROBLEM_PARAMETERS},
		{"{\"TCP\":true}", IPERF3_PROBLEM_PARAMETERS},
		{"{\"sctp\":true}", IPERF3_PROBLEM_SCTP},
		{"{\"tcp\":true,\"parallel\":0}", IPERF3_PROBLEM_STREAMS},
		{"{\"tcp\":true,\"parallel\":129}", IPERF3_PROBLEM_STREAMS},
		{"{\"tcp\":true,\"parallel\":-1}", IPERF3_PROBLEM_STREAMS},
		{"{\"tcp\":true,\"parallel\":null}", IPERF3_PROBLEM_STREAMS},
		{"{\"tcp\":true,\"time\":86401}", IPERF3_PROBLEM_DURATION},
		{"{\"tcp\":true,\"omit\":601}", IPERF3_PROBLEM_OMIT},
		{"{\"tcp\":true,\"len\":0}", IPERF3_PROBLEM_BLOCK},
		{"{\"tcp\":true,\"len\":1048577}", IPERF3_PROBLEM_BLOCK},
		{"{\"udp\":true,\"len\":11}", IPERF3_PROBLEM_DATAGRAM},
		{"{\"udp\":true,\"len\":15,\"udp_counters_64bit\":1}", IPERF3_PROBLEM_DATAGRAM},
		{"{\"udp\":true,\"len\":65508}", IPERF3_PROBLEM_DATAGRAM},
		{"{\"tcp\":true,\"bandwidth\":1e14}", IPERF3_PROBLEM_PARAMETERS},
		{"{\"tcp\":true,\"bandwidth\":1e999}", IPERF3_PROBLEM_PARAMETERS},
		{"{\"tcp\":true,\"burst\":1001}", IPERF3_PROBLEM_BURST},
		{"{\"tcp\":true,\"TOS\":256}", IPERF3_PROBLEM_PARAMETERS},
		{"{\"tcp\":true,\"reverse\":true,\"bidirectional\":true}",
		 IPERF3_PROBLEM_DIRECTIONS},
	};
	struct iperf3_parameters parameters;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		memset(&parameters, 0x5a, sizeof(parameters));
		assert_parameters(cases[i].text, cases[i].problem, &parameters);
		/* An output parameter is set on success only. */
		assert_int_equal(parameters.streams, 0x5a5a5a5a);
	}
}

static void test_results(void **state)
{
	struct iperf3_results results = {
		.cpu_total = 12.5,
		.cpu_user = 10,
		.cpu_system = 2.5,
		.has_retransmits = 1,
		.congestion = "cubic",
		.count = 2,
		.streams =
			{{.id = 1, .bytes = 9007199254740991, .retransmits = 7, .duration_s = 1.5},
			 {.id = 3,
			  .bytes = 5,
			  .retransmits = -1,
			  .jitter_s = 0.25,
			  .errors = 8,
			  .packets = 9}},
	};
	struct iperf3_results read = {0};
	char output[] = "a \"line\"\n";
	char *text;

	(void)state;
	results.output = output;
	text = iperf3_results_format(&results);
	assert_non_null(text);
	assert_non_null(strstr(text, "\"sender_has_retransmits\":1"));
	assert_non_null(strstr(text, "\"congestion_used\":\"cubic\""));
	assert_non_null(strstr(text, "\"server_output_text\":\"a \\\"line\\\"\\n\""));
	assert_non_null(strstr(text, "\"retransmits\":7"));
	assert_non_null(strstr(text, "\"end_time\":1.5"));
	assert_int_equal(iperf3_results_parse(text, strlen(text), &read), 0);
	assert_int_equal(read.count, 2);
	assert_int_equal(read.streams[0].id, 1);
	assert_int_equal(read.streams[0].bytes, 9007199254740991);
	assert_int_equal(read.streams[1].id, 3);
	assert_int_equal(read.streams[1].errors, 8);
	assert_int_equal(read.streams[1].packets, 9);
	assert_true(read.streams[1].jitter_s == 0.25);
	free(text);
}

/* As of version 3.12, where -1 becomes 2^64 - 1. */
static void test_results_of_a_client(void **state)
{
	static const char text[] =
		"{\"cpu_util_total\":70.6,\"cpu_util_user\":0,\"cpu_util_system\":70.6,"
		"\"sender_has_retransmits\":18446744073709551615,\"congestion_used\":\"bbr\","
		"\"streams\":[{\"id\":1,\"bytes\":131072,\"retransmits\":18446744073709551615,"
		"\"jitter\":0,\"errors\":0,\"packets\":0,\"start_time\":0,\"end_time\":0.4}]}";
	struct iperf3_results results = {0};

	(void)state;
	assert_int_equal(iperf3_results_parse(text, strlen(text), &results), 0);
	assert_int_equal(results.count, 1);
	assert_int_equal(results.streams[0].bytes, 131072);
}

static void test_results_refused(void **state)
{
	static const char *const texts[] = {
		"",
		"{}",
		"[]",
		"{\"streams\":{}}",
		"{\"streams\":[1]}",
		"{\"streams\":[{}]}",
		"{\"streams\":[{\"id\":0}]}",
		"{\"streams\":[{\"id\":65536}]}",
		"{\"streams\":[{\"id\":1,\"bytes\":-1}]}",
		"{\"streams\":[{\"id\":1,\"bytes\":\"1\"}]}",
		"{\"streams\":[{\"id\":1,\"packets\":1e17}]}",
		"{\"streams\":[{\"id\":1}",
	};
	static const char item[] = "{\"id\":1},", begin[] = "{\"streams\":[",
			  end[] = "{\"id\":1}]}";
	struct iperf3_results results = {0};
	size_t i, at;
	char *text;

	(void)state;
	for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		if (iperf3_results_parse(texts[i], strlen(texts[i]), &results) != -EBADMSG ||
		    results.count != 0)
			fail_msg("%u streams in %s", results.count, texts[i]);
	/* 256 are as many as there can be. */
	for (i = 255; i <= 256; i++) {
		int code;

		text = calloc(1, sizeof(begin) + i * sizeof(item) + sizeof(end));
		strcpy(text, begin);
		for (at = 0; at < i; at++)
			strcpy(text + strlen(text), item);
		strcpy(text + strlen(text), end);
		code = iperf3_results_parse(text, strlen(text), &results);
		assert_int_equal(code, i == 255 ? 0 : -EBADMSG);
		assert_int_equal(results.count, i == 255 ? 256 : 0);
		free(text);
	}
}

static void test_datagrams(void **state)
{
	static const uint8_t narrow[12] = {0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 1, 0};
	static const uint8_t wide[16] = {0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 1, 0, 0, 0, 5};
	uint8_t built[16];
	struct iperf3_datagram datagram;

	(void)state;
	assert_int_equal(iperf3_datagram_parse(narrow, 12, false, &datagram), 0);
	assert_int_equal(datagram.sent_ns, 2000003000);
	assert_int_equal(datagram.number, 256);
	assert_int_equal(iperf3_datagram_parse(narrow, 11, false, &datagram), -EBADMSG);
	memset(built, 0xee, sizeof(built));
	iperf3_datagram_build(built, false, &datagram);
	assert_memory_equal(built, narrow, 12);
	assert_int_equal(built[12], 0xee);

	assert_int_equal(iperf3_datagram_parse(wide, 16, true, &datagram), 0);
	assert_int_equal(datagram.number, UINT64_C(0x100000005));
	assert_int_equal(iperf3_datagram_parse(wide, 15, true, &datagram), -EBADMSG);
	iperf3_datagram_build(built, true, &datagram);
	assert_memory_equal(built, wide, 16);

	memcpy(built, wide, 16);
	built[8] = 0x40; /* a number that cannot be */
	assert_int_equal(iperf3_datagram_parse(built, 16, true, &datagram), -EBADMSG);
	memcpy(built, wide, 16);
	memcpy(built + 4, "\0\x0f\x42\x40", 4); /* a million microseconds */
	assert_int_equal(iperf3_datagram_parse(built, 16, true, &datagram), -EBADMSG);
	built[7]--;
	assert_int_equal(iperf3_datagram_parse(built, 16, true, &datagram), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parameters),
		cmocka_unit_test(test_parameters_left_out),
		cmocka_unit_test(test_parameters_refused),
		cmocka_unit_test(test_results),
		cmocka_unit_test(test_results_of_a_client),
		cmocka_unit_test(test_results_refused),
		cmocka_unit_test(test_datagrams),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
