/* SPDX-License-Identifier: MIT */
/* Who belongs to an iperf3 test, and which stream is which. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "iperf3_test.h"

static const char cookie[IPERF3_COOKIE_BYTES] = "abcdefghijklmnopqrstuvwxyz2345672345";
static const char other_cookie[IPERF3_COOKIE_BYTES] = "bbcdefghijklmnopqrstuvwxyz2345672345";
static const struct vnic_flow flow = {
	.remote_address = {.family = VNIC_IPV4, .bytes = {10, 0, 0, 1}},
	.remote_port = 1000,
};
static const struct vnic_flow other_flow = {
	.remote_address = {.family = VNIC_IPV4, .bytes = {10, 0, 0, 9}},
	.remote_port = 1000,
};

static struct iperf3_test *begin(struct iperf3_shared *shared, unsigned streams, bool is_udp)
{
	struct iperf3_test *test = NULL;
	unsigned index;

	assert_int_equal(iperf3_test_call(shared, cookie, &flow, 1, &test, &index),
			 IPERF3_ROLE_CONTROL);
	/* Before it says what it wants, there are no streams. */
	assert_int_equal(iperf3_test_call(shared, cookie, &flow, 1, &test, &index),
			 IPERF3_ROLE_NONE);
	test->parameters.streams = streams;
	test->parameters.is_udp = is_udp;
	iperf3_test_set_phase(test, IPERF3_JOINING);
	return test;
}

static void end(struct iperf3_test *test, unsigned references)
{
	iperf3_test_leave(test);
	while (references--)
		iperf3_test_release(test);
}

static void test_cookies(void **state)
{
	char bytes[IPERF3_COOKIE_BYTES];

	(void)state;
	assert_true(iperf3_cookie_is_possible(cookie));
	memset(bytes, 0, sizeof(bytes));
	assert_false(iperf3_cookie_is_possible(bytes));
	memcpy(bytes, "host.1234", 9); /* as old clients have it */
	assert_true(iperf3_cookie_is_possible(bytes));
	bytes[36] = 'x';
	assert_false(iperf3_cookie_is_possible(bytes));
	memset(bytes, 'a', sizeof(bytes));
	assert_false(iperf3_cookie_is_possible(bytes));
	memcpy(bytes, cookie, sizeof(bytes));
	bytes[10] = ' ';
	assert_false(iperf3_cookie_is_possible(bytes));
	bytes[10] = (char)0xff;
	assert_false(iperf3_cookie_is_possible(bytes));
}

static void test_one_at_a_time(void **state)
{
	struct iperf3_shared *shared = iperf3_shared_new();
	struct iperf3_test *test = begin(shared, 2, false), *found = NULL;
	unsigned index;

	(void)state;
	assert_int_equal(iperf3_test_call(shared, other_cookie, &flow, 1, &found, &index),
			 IPERF3_ROLE_NONE);
	assert_int_equal(iperf3_test_call_udp(shared, &flow, 1, &found, &index), IPERF3_ROLE_NONE);
	assert_false(iperf3_test_is_complete(test));
	assert_int_equal(iperf3_test_call(shared, cookie, &flow, 5, &found, &index),
			 IPERF3_ROLE_STREAM);
	assert_ptr_equal(found, test);
	assert_int_equal(index, 0);
	assert_int_equal(iperf3_test_call(shared, cookie, &flow, 6, &found, &index),
			 IPERF3_ROLE_STREAM);
	assert_int_equal(index, 1);
	assert_true(iperf3_test_is_complete(test));
	assert_int_equal(iperf3_test_call(shared, cookie, &flow, 7, &found, &index),
			 IPERF3_ROLE_NONE);
	iperf3_test_start(test, 100);
	assert_int_equal(iperf3_test_phase(test), IPERF3_RUNNING);
	assert_int_equal(test->start_ns, 100);
	assert_int_equal(iperf3_test_call(shared, other_cookie, &flow, 8, &found, &index),
			 IPERF3_ROLE_NONE);

	/* Streams that still close keep the memory, not the place. */
	iperf3_test_leave(test);
	iperf3_test_release(test);
	assert_int_equal(iperf3_test_call(shared, other_cookie, &flow, 9, &found, &index),
			 IPERF3_ROLE_CONTROL);
	assert_ptr_not_equal(found, test);
	iperf3_test_leave(test);
	assert_int_equal(iperf3_test_call(shared, cookie, &flow, 9, &found, &index),
			 IPERF3_ROLE_NONE);
	end(found, 1);
	end(test, 2);
	iperf3_shared_free(shared);
}

static void test_udp(void **state)
{
	struct iperf3_shared *shared = iperf3_shared_new();
	struct iperf3_test *test = NULL, *found = NULL;
	unsigned index;

	(void)state;
	assert_int_equal(iperf3_test_call_udp(shared, &flow, 1, &found, &index), IPERF3_ROLE_NONE);
	test = begin(shared, 1, true);
	assert_int_equal(iperf3_test_call_udp(shared, &other_flow, 1, &found, &index),
			 IPERF3_ROLE_NONE);
	assert_int_equal(iperf3_test_call(shared, cookie, &flow, 1, &found, &index),
			 IPERF3_ROLE_NONE);
	assert_int_equal(iperf3_test_call_udp(shared, &flow, 1, &found, &index),
			 IPERF3_ROLE_STREAM);
	assert_ptr_equal(found, test);
	assert_int_equal(iperf3_test_call_udp(shared, &flow, 1, &found, &index), IPERF3_ROLE_NONE);
	end(test, 2);
	iperf3_shared_free(shared);
}

/* Streams join in any order; when they were opened says which they are. */
static void test_order(void **state)
{
	static const uint64_t opened[] = {40, 10, 30, 20};
	static const unsigned ids[] = {5, 1, 4, 3}; /* the client passes over 2 */
	struct iperf3_shared *shared = iperf3_shared_new();
	struct iperf3_test *test = begin(shared, 2, false), *found;
	unsigned index, i;

	(void)state;
	test->parameters.is_bidirectional = true;
	assert_int_equal(iperf3_test_streams(test), 4);
	for (i = 0; i < 4; i++)
		assert_int_equal(iperf3_test_call(shared, cookie, &flow, opened[i], &found, &index),
				 IPERF3_ROLE_STREAM);
	iperf3_test_start(test, 1);
	for (i = 0; i < 4; i++) {
		assert_int_equal(test->counts[i].id, ids[i]);
		/* The first two are what the client sends. */
		assert_int_equal(test->counts[i].is_sender, opened[i] > 20);
		assert_int_equal(test->counts[test->order[i]].opened_ns, 10 * (i + 1));
	}
	end(test, 5);
	iperf3_shared_free(shared);
}

static void test_reverse(void **state)
{
	struct iperf3_shared *shared = iperf3_shared_new();
	struct iperf3_test *test = begin(shared, 1, false), *found;
	const uint8_t *pattern = iperf3_shared_pattern(shared);
	unsigned index;

	(void)state;
	test->parameters.is_reverse = true;
	iperf3_test_call(shared, cookie, &flow, 1, &found, &index);
	iperf3_test_start(test, 1);
	assert_true(test->counts[0].is_sender);
	assert_int_equal(test->counts[0].id, 1);
	assert_memory_equal(pattern, pattern + IPERF3_PATTERN_BYTES, IPERF3_PATTERN_BYTES);
	end(test, 2);
	iperf3_shared_free(shared);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cookies), cmocka_unit_test(test_one_at_a_time),
		cmocka_unit_test(test_udp),     cmocka_unit_test(test_order),
		cmocka_unit_test(test_reverse),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
