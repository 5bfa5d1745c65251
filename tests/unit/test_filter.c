/* SPDX-License-Identifier: MIT */
/*
 * Filter expressions: what passes, what does not compile, and that no packet is too short for them.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <vnic/capture.h>

/* 10.0.0.1 > 10.0.0.2, ICMP echo request */
static const uint8_t icmp4[] = {
	0x45, 0, 0, 28, 0, 1, 0, 0, 64, 1, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 8, 0, 0, 0, 0, 7, 0, 1,
};

/* fd00::1 > fd00::2, UDP 1000 > 53 */
static const uint8_t udp6[] = {
	0x60, 0, 0, 0, 0, 8, 17, 64, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0,    0,    0, 0,  0, 0, 0, 1,
	0xfd, 0, 0, 0, 0, 0, 0,  0,  0,    0, 0, 0, 0, 0, 0, 2, 0x03, 0xe8, 0, 53, 0, 8, 0, 0,
};

/* who has 10.0.0.2? */
static const uint8_t arp[] = {
	0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0,  0, 0, 0, 1, 8, 6, 0, 1, 8, 0,  6, 4, 0,
	1,    2,    0,    0,    0,    0,    1, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 2,
};

static bool passes(const char *expression, enum vnic_layer layer, const uint8_t *bytes,
		   size_t length)
{
	uint8_t *copy = malloc(length ? length : 1); /* so that a sanitizer sees the end */
	struct vnic_packet packet = {.data = copy, .length_bytes = (uint32_t)length};
	struct vnic_filter *filter = NULL;
	struct vnic_error error = {.text = ""};
	bool result;

	assert_non_null(copy);
	memcpy(copy, bytes, length);
	if (vnic_filter_new(expression, layer, &filter, &error) != 0)
		fail_msg("'%s': %s", expression, error.text);
	result = vnic_filter_match(filter, &packet);
	vnic_filter_free(filter);
	free(copy);
	return result;
}

static void test_filter_matches(void **state)
{
	static const struct {
		const char *expression;
		const uint8_t *bytes;
		size_t length;
		enum vnic_layer layer;
		bool passes;
	} cases[] = {
		{"icmp", icmp4, sizeof(icmp4), VNIC_LAYER_IP, true},
		{"icmp6", icmp4, sizeof(icmp4), VNIC_LAYER_IP, false},
		{"host 10.0.0.2", icmp4, sizeof(icmp4), VNIC_LAYER_IP, true},
		{"src host 10.0.0.2", icmp4, sizeof(icmp4), VNIC_LAYER_IP, false},
		{"icmp[icmptype] == icmp-echo", icmp4, sizeof(icmp4), VNIC_LAYER_IP, true},
		{"ip", udp6, sizeof(udp6), VNIC_LAYER_IP, false},
		{"ip6 and udp port 53", udp6, sizeof(udp6), VNIC_LAYER_IP, true},
		{"udp port 54", udp6, sizeof(udp6), VNIC_LAYER_IP, false},
		{"net fd00::/64", udp6, sizeof(udp6), VNIC_LAYER_IP, true},
		{"greater 29", icmp4, sizeof(icmp4), VNIC_LAYER_IP, false},
		{"arp", arp, sizeof(arp), VNIC_LAYER_ETHERNET, true},
		{"not arp", arp, sizeof(arp), VNIC_LAYER_ETHERNET, false},
		{"ether broadcast", arp, sizeof(arp), VNIC_LAYER_ETHERNET, true},
		{"ether src 02:00:00:00:00:01", arp, sizeof(arp), VNIC_LAYER_ETHERNET, true},
		{"", icmp4, sizeof(icmp4), VNIC_LAYER_IP, true},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		bool got = passes(cases[i].expression, cases[i].layer, cases[i].bytes,
				  cases[i].length);

		if (got != cases[i].passes)
			fail_msg("case %zu, '%s': passes %d, expected %d", i, cases[i].expression,
				 got, cases[i].passes);
	}
}

static void test_no_filter_lets_everything_pass(void **state)
{
	struct vnic_packet packet = {.data = NULL, .length_bytes = 0};

	(void)state;
	assert_true(vnic_filter_match(NULL, &packet));
	vnic_filter_free(NULL);
}

static void test_short_packets_do_not_match(void **state)
{
	(void)state;
	for (size_t length = 0; length < sizeof(icmp4); length++)
		assert_false(
			passes("icmp[4:2] == 7 and icmp[7] == 1", VNIC_LAYER_IP, icmp4, length));
	for (size_t length = 0; length < sizeof(arp); length++)
		assert_false(
			passes("arp[23] == 2 and arp[27] == 2", VNIC_LAYER_ETHERNET, arp, length));
}

static void test_bad_expressions_are_refused(void **state)
{
	static const struct {
		const char *expression;
		enum vnic_layer layer;
		const char *reason;
	} cases[] = {
		{"icmp and", VNIC_LAYER_IP, "syntax error"},
		{"udp port 70000", VNIC_LAYER_IP, "70000"},
		{"ether host 02:00:00:00:00:01", VNIC_LAYER_IP, "only on ethernet"},
		{"(", VNIC_LAYER_ETHERNET, "syntax error"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct vnic_filter *untouched = (struct vnic_filter *)&cases, *filter = untouched;
		struct vnic_error error = {.code = 1};
		int code = vnic_filter_new(cases[i].expression, cases[i].layer, &filter, &error);

		assert_int_equal(code, -EINVAL);
		assert_int_equal(error.code, -EINVAL);
		assert_int_equal(error.cause, VNIC_CAUSE_FILTER_INVALID);
		assert_ptr_equal(filter, untouched);
		if (!strstr(error.text, cases[i].expression) ||
		    !strstr(error.text, cases[i].reason))
			fail_msg("'%s': the text is '%s', without '%s'", cases[i].expression,
				 error.text, cases[i].reason);
		assert_int_equal(
			vnic_filter_new(cases[i].expression, cases[i].layer, &filter, NULL),
			-EINVAL);
	}
}

static void *compile_and_match(void *argument)
{
	const struct vnic_filter *shared = argument;
	uint8_t bytes[sizeof(icmp4)];
	struct vnic_packet packet = {.data = bytes, .length_bytes = sizeof(bytes)};
	uintptr_t wrong = 0;

	memcpy(bytes, icmp4, sizeof(bytes));
	for (int i = 0; i < 50; i++) {
		wrong += !vnic_filter_match(shared, &packet);
		wrong += !passes("icmp and src 10.0.0.1", VNIC_LAYER_IP, icmp4, sizeof(icmp4));
		wrong += passes("tcp or udp port 53", VNIC_LAYER_IP, icmp4, sizeof(icmp4));
	}
	return (void *)wrong;
}

static void test_threads_share_a_filter(void **state)
{
	struct vnic_filter *filter = NULL;
	pthread_t threads[4];

	(void)state;
	assert_int_equal(vnic_filter_new("icmp", VNIC_LAYER_IP, &filter, NULL), 0);
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, compile_and_match, filter), 0);
	for (int i = 0; i < 4; i++) {
		void *wrong;

		assert_int_equal(pthread_join(threads[i], &wrong), 0);
		assert_int_equal((uintptr_t)wrong, 0);
	}
	vnic_filter_free(filter);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_filter_matches),
		cmocka_unit_test(test_no_filter_lets_everything_pass),
		cmocka_unit_test(test_short_packets_do_not_match),
		cmocka_unit_test(test_bad_expressions_are_refused),
		cmocka_unit_test(test_threads_share_a_filter),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
