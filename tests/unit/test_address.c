/* SPDX-License-Identifier: MIT */
/* Addresses and prefixes: text, what kind they are, and counting in a network. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <vnic/address.h>

static struct vnic_address address(const char *text)
{
	struct vnic_address parsed;
	struct vnic_error error;

	if (vnic_address_parse(text, &parsed, &error) != 0)
		fail_msg("'%s': %s", text, error.text);
	return parsed;
}

static struct vnic_prefix prefix(const char *text)
{
	struct vnic_prefix parsed;
	struct vnic_error error;

	if (vnic_prefix_parse(text, &parsed, &error) != 0)
		fail_msg("'%s': %s", text, error.text);
	return parsed;
}

static void assert_address(const struct vnic_address *found, const char *expected)
{
	char text[VNIC_ADDRESS_TEXT_BYTES];

	assert_string_equal(vnic_address_format(found, text), expected);
}

static void test_address_text_round_trip(void **state)
{
	/* What is written for it: RFC 5952 section 4 for IPv6. */
	static const char *const cases[][2] = {
		{"192.0.2.1", "192.0.2.1"},
		{"0.0.0.0", "0.0.0.0"},
		{"255.255.255.255", "255.255.255.255"},
		{"::", "::"},
		{"::1", "::1"},
		{"2001:DB8::0001", "2001:db8::1"},
		{"2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"},
		{"2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"},
		{"2001:0:0:1:0:0:0:1", "2001:0:0:1::1"},
		{"fe80:0:0:0:0:0:0:0", "fe80::"},
		{"::ffff:192.0.2.1", "::ffff:192.0.2.1"},
		{"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
		 "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct vnic_address parsed = address(cases[i][0]), again;

		assert_address(&parsed, cases[i][1]);
		again = address(cases[i][1]);
		assert_true(vnic_address_equal(&parsed, &again));
	}
}

static void test_address_is_refused(void **state)
{
	static const char *const cases[] = {
		"",
		" ",
		"1",
		"1.2.3",
		"1.2.3.4.5",
		"1.2.3.256",
		"01.2.3.4",
		"1.2.3.4 ",
		" 1.2.3.4",
		"1.2.3.-4",
		"0x1.2.3.4",
		"1.2.3.4/24",
		"::1%lo",
		"fe80::1%eth0",
		":::",
		"1::2::3",
		"12345::",
		"::g",
		"1:2:3:4:5:6:7",
		"1:2:3:4:5:6:7:8:9",
		"::1.2.3.256",
		"::01.2.3.4",
		"tun0",
		"::1/64",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct vnic_address untouched = address("192.0.2.7"), parsed = untouched;
		struct vnic_error error = {.code = 0};
		int result = vnic_address_parse(cases[i], &parsed, &error);

		if (result != -EINVAL)
			fail_msg("'%s' gave %d, not %d", cases[i], result, -EINVAL);
		assert_int_equal(error.code, -EINVAL);
		assert_int_equal(error.cause, VNIC_CAUSE_ADDRESS_INVALID);
		assert_true(error.text[0]);
		assert_memory_equal(&parsed, &untouched, sizeof(parsed));
	}
	assert_int_equal(vnic_address_parse(NULL, NULL, NULL), -EINVAL);
}

static void test_prefix_text_round_trip(void **state)
{
	static const char *const cases[][2] = {
		{"10.0.0.1/24", "10.0.0.1/24"}, {"10.0.0.1", "10.0.0.1/32"},
		{"fd00::1/64", "fd00::1/64"},   {"fd00::1", "fd00::1/128"},
		{"0.0.0.0/0", "0.0.0.0/0"},     {"::/0", "::/0"},
		{"10.0.0.1/32", "10.0.0.1/32"}, {"FD00::1/128", "fd00::1/128"},
	};
	char text[VNIC_ADDRESS_TEXT_BYTES];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct vnic_prefix parsed = prefix(cases[i][0]);

		assert_string_equal(vnic_prefix_format(&parsed, text), cases[i][1]);
	}
}

static void test_prefix_is_refused(void **state)
{
	static const char *const cases[] = {
		"",
		"/",
		"/24",
		"10.0.0.1/",
		"10.0.0.1/33",
		"10.0.0.1/-1",
		"10.0.0.1/+1",
		"10.0.0.1/ 24",
		"10.0.0.1/24 ",
		"10.0.0.1/024",
		"10.0.0.1/00",
		"10.0.0.1/24/24",
		"10.0.0.1/a",
		"10.0.0.1/4294967320",
		"10.0.0.1/255.255.255.0",
		"fd00::1/129",
		"fd00::1/1000",
		"10.0.0/24",
		"fd00::1%lo/64",
		"1111:1111:1111:1111:1111:1111:1111:1111:1111:1111:1111:1111:1111/64",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct vnic_prefix untouched = prefix("192.0.2.7/25"), parsed = untouched;
		struct vnic_error error = {.code = 0};
		int result = vnic_prefix_parse(cases[i], &parsed, &error);

		if (result != -EINVAL)
			fail_msg("'%s' gave %d, not %d", cases[i], result, -EINVAL);
		assert_int_equal(error.cause, VNIC_CAUSE_ADDRESS_INVALID);
		assert_memory_equal(&parsed, &untouched, sizeof(parsed));
	}
	assert_int_equal(vnic_prefix_parse(NULL, NULL, NULL), -EINVAL);
}

static void test_mac_text(void **state)
{
	static const uint8_t expected[VNIC_MAC_BYTES] = {0x02, 0x00, 0x5e, 0xa0, 0xbc, 0xdf};
	static const char *const bad[] = {
		"",
		"02:00:5e:10:00",
		"02:00:5e:10:00:",
		"02:00:5e:10:00:01:",
		"2:0:5e:10:0:1",
		"02:00:5e:10:00:01:02",
		"02-00-5e-10-00-01",
		"02:00:5e:10:00:0g",
		"02005e100001",
		"02:00:5e:10:00:1",
		" 2:00:5e:10:00:01",
		"+2:00:5e:10:00:01",
	};
	char text[VNIC_ADDRESS_TEXT_BYTES];
	uint8_t mac[VNIC_MAC_BYTES];

	(void)state;
	assert_int_equal(vnic_mac_parse("02:00:5e:A0:bC:df", mac, NULL), 0);
	assert_memory_equal(mac, expected, sizeof(mac));
	assert_string_equal(vnic_mac_format(mac, text), "02:00:5e:a0:bc:df");
	assert_int_equal(vnic_mac_parse("ff:ff:ff:ff:ff:ff", mac, NULL), 0);
	memcpy(mac, expected, sizeof(mac));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct vnic_error error = {.code = 0};
		int result = vnic_mac_parse(bad[i], mac, &error);

		if (result != -EINVAL)
			fail_msg("'%s' gave %d, not %d", bad[i], result, -EINVAL);
		assert_int_equal(error.cause, VNIC_CAUSE_MAC_INVALID);
		assert_memory_equal(mac, expected, sizeof(mac));
	}
	assert_int_equal(vnic_mac_parse(NULL, mac, NULL), -EINVAL);
}

static void test_kinds_of_address(void **state)
{
	static const struct {
		const char *text;
		bool multicast, unspecified, loopback, link_local;
	} cases[] = {
		{"0.0.0.0", false, true, false, false},
		{"0.0.0.1", false, false, false, false},
		{"127.0.0.1", false, false, true, false},
		{"127.255.255.255", false, false, true, false},
		{"128.0.0.1", false, false, false, false},
		{"169.254.1.1", false, false, false, true},
		{"169.253.255.255", false, false, false, false},
		{"223.255.255.255", false, false, false, false},
		{"224.0.0.1", true, false, false, false},
		{"239.255.255.255", true, false, false, false},
		{"240.0.0.0", false, false, false, false},
		{"::", false, true, false, false},
		{"::1", false, false, true, false},
		{"::2", false, false, false, false},
		{"fe80::1", false, false, false, true},
		{"febf::1", false, false, false, true},
		{"fec0::1", false, false, false, false},
		{"fe7f::1", false, false, false, false},
		{"ff02::1", true, false, false, false},
		{"fd00::1", false, false, false, false},
	};
	struct vnic_address none = {.family = VNIC_NO_FAMILY};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct vnic_address a = address(cases[i].text);

		if (vnic_address_is_multicast(&a) != cases[i].multicast ||
		    vnic_address_is_unspecified(&a) != cases[i].unspecified ||
		    vnic_address_is_loopback(&a) != cases[i].loopback ||
		    vnic_address_is_link_local(&a) != cases[i].link_local)
			fail_msg("%s: multicast %d unspecified %d loopback %d link-local %d",
				 cases[i].text, vnic_address_is_multicast(&a),
				 vnic_address_is_unspecified(&a), vnic_address_is_loopback(&a),
				 vnic_address_is_link_local(&a));
	}
	assert_true(vnic_address_is_unspecified(&none));
	assert_false(vnic_address_is_multicast(&none));
	assert_address(&none, "none");
}

static void test_equal_and_from_bytes(void **state)
{
	static const uint8_t bytes[16] = {10, 0, 0, 1, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9};
	struct vnic_address a = vnic_address_from_bytes(VNIC_IPV4, bytes);
	struct vnic_address b = address("10.0.0.1"), c = address("10.0.0.2");
	struct vnic_address d = vnic_address_from_bytes(VNIC_IPV6, bytes);
	struct vnic_address none = vnic_address_from_bytes(VNIC_NO_FAMILY, bytes);

	(void)state;
	assert_memory_equal(&a, &b, sizeof(a)); /* the rest is zero */
	assert_true(vnic_address_equal(&a, &b));
	assert_false(vnic_address_equal(&a, &c));
	assert_false(vnic_address_equal(&a, &d));
	assert_false(vnic_address_equal(&a, &none));
	assert_true(vnic_address_equal(&none, &none));
	assert_address(&d, "a00:1:909:909:909:909:909:909");
}

static void test_prefix_contains(void **state)
{
	static const struct {
		const char *prefix, *address;
		bool contains;
	} cases[] = {
		{"10.0.0.1/24", "10.0.0.200", true},
		{"10.0.0.1/24", "10.0.1.1", false},
		{"10.0.0.1/23", "10.0.1.1", true},
		{"10.0.0.1/32", "10.0.0.1", true},
		{"10.0.0.1/32", "10.0.0.0", false},
		{"10.0.0.1/0", "255.0.0.1", true},
		{"10.0.0.1/25", "10.0.0.128", false},
		{"10.0.0.129/25", "10.0.0.128", true},
		{"fd00::1/64", "fd00::ffff:0:0:1", true},
		{"fd00::1/64", "fd00:0:0:1::1", false},
		{"fd00::1/63", "fd00:0:0:1::1", true},
		{"fd00::1/128", "fd00::1", true},
		{"fd00::1/128", "fd00::2", false},
		{"::/0", "fd00::1", true},
		{"::/0", "10.0.0.1", false},
		{"0.0.0.0/0", "::", false},
	};
	struct vnic_prefix bad = prefix("10.0.0.1/32");
	struct vnic_address inside = address("10.0.0.1");

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct vnic_prefix p = prefix(cases[i].prefix);
		struct vnic_address a = address(cases[i].address);

		if (vnic_prefix_contains(&p, &a) != cases[i].contains)
			fail_msg("%s contains %s: %d", cases[i].prefix, cases[i].address,
				 !cases[i].contains);
	}
	bad.length_bits = 33;
	assert_false(vnic_prefix_contains(&bad, &inside));
}

static void test_prefix_network(void **state)
{
	static const char *const cases[][2] = {
		{"10.1.2.3/24", "10.1.2.0/24"},  {"10.1.2.3/32", "10.1.2.3/32"},
		{"10.1.2.3/0", "0.0.0.0/0"},     {"10.1.255.3/20", "10.1.240.0/20"},
		{"fd00::1:2:3/64", "fd00::/64"}, {"fd00::ffff/121", "fd00::ff80/121"},
	};
	char text[VNIC_ADDRESS_TEXT_BYTES];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct vnic_prefix given = prefix(cases[i][0]);
		struct vnic_prefix network = vnic_prefix_network(&given);

		assert_string_equal(vnic_prefix_format(&network, text), cases[i][1]);
	}
}

static void test_prefix_broadcast(void **state)
{
	static const struct {
		const char *prefix, *address;
		bool broadcast;
	} cases[] = {
		{"10.0.0.1/24", "10.0.0.255", true},
		{"10.0.0.1/24", "10.0.0.254", false},
		{"10.0.0.1/24", "10.0.1.255", false},
		{"10.0.0.1/30", "10.0.0.3", true},
		{"10.0.0.0/31", "10.0.0.1", false},
		{"10.0.0.1/32", "10.0.0.1", false},
		{"10.0.0.1/25", "10.0.0.127", true},
		{"0.0.0.0/0", "255.255.255.255", true},
		{"fd00::/64", "fd00::ffff:ffff:ffff:ffff", false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct vnic_prefix p = prefix(cases[i].prefix);
		struct vnic_address a = address(cases[i].address);

		if (vnic_prefix_is_broadcast(&p, &a) != cases[i].broadcast)
			fail_msg("%s is the broadcast address of %s: %d", cases[i].address,
				 cases[i].prefix, !cases[i].broadcast);
	}
}

static void test_prefix_next_host(void **state)
{
	static const char *const cases[][2] = {
		{"10.0.0.1/24", "10.0.0.2"},
		{"10.0.0.253/24", "10.0.0.254"},
		{"10.0.0.254/24", "10.0.0.1"},
		{"10.0.0.255/24", "10.0.0.1"},
		{"10.0.0.0/24", "10.0.0.1"},
		{"10.0.255.255/8", "10.1.0.0"},
		{"10.0.0.1/30", "10.0.0.2"},
		{"10.0.0.2/30", "10.0.0.1"},
		{"10.0.0.6/30", "10.0.0.5"},
		{"10.0.0.0/31", "10.0.0.1"},
		{"10.0.0.1/31", "10.0.0.0"},
		{"255.255.255.254/0", "0.0.0.1"},
		{"255.255.255.255/0", "0.0.0.1"},
		{"255.255.255.254/24", "255.255.255.1"},
		{"fd00::1/64", "fd00::2"},
		{"fd00::/64", "fd00::1"},
		{"fd00::ffff/64", "fd00::1:0"},
		{"fd00::ffff:ffff:ffff:fffe/64", "fd00::ffff:ffff:ffff:ffff"},
		{"fd00::ffff:ffff:ffff:ffff/64", "fd00::1"},
		{"fd00::3/126", "fd00::1"},
		{"fd00::/127", "fd00::1"},
		{"fd00::1/127", "fd00::"},
		{"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/0", "::1"},
	};
	static const char *const alone[] = {"10.0.0.1/32", "fd00::1/128"};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct vnic_prefix given = prefix(cases[i][0]);
		struct vnic_address next;

		assert_int_equal(vnic_prefix_next_host(&given, &next), 0);
		assert_address(&next, cases[i][1]);
	}
	for (size_t i = 0; i < sizeof(alone) / sizeof(alone[0]); i++) {
		struct vnic_prefix given = prefix(alone[i]);
		struct vnic_address next = address("192.0.2.7");

		assert_int_equal(vnic_prefix_next_host(&given, &next), -ERANGE);
		assert_address(&next, "192.0.2.7");
	}
}

static void test_multicast_addresses(void **state)
{
	static const struct {
		const char *address, *mac;
	} cases[] = {
		{"224.0.0.1", "01:00:5e:00:00:01"},         {"239.255.1.2", "01:00:5e:7f:01:02"},
		{"239.128.1.2", "01:00:5e:00:01:02"},       {"ff02::1", "33:33:00:00:00:01"},
		{"ff02::1:ff28:9c5a", "33:33:ff:28:9c:5a"},
	};
	/* RFC 4291 section 2.7.1 has this example. */
	struct vnic_address node = address("4037::1:800:200e:8c6c");
	struct vnic_address group = vnic_address_solicited_node(&node);
	char text[VNIC_ADDRESS_TEXT_BYTES];
	uint8_t mac[VNIC_MAC_BYTES];

	(void)state;
	assert_address(&group, "ff02::1:ff0e:8c6c");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct vnic_address a = address(cases[i].address);

		vnic_address_multicast_mac(&a, mac);
		assert_string_equal(vnic_mac_format(mac, text), cases[i].mac);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_address_text_round_trip),
		cmocka_unit_test(test_address_is_refused),
		cmocka_unit_test(test_prefix_text_round_trip),
		cmocka_unit_test(test_prefix_is_refused),
		cmocka_unit_test(test_mac_text),
		cmocka_unit_test(test_kinds_of_address),
		cmocka_unit_test(test_equal_and_from_bytes),
		cmocka_unit_test(test_prefix_contains),
		cmocka_unit_test(test_prefix_network),
		cmocka_unit_test(test_prefix_broadcast),
		cmocka_unit_test(test_prefix_next_host),
		cmocka_unit_test(test_multicast_addresses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
