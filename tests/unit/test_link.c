/* SPDX-License-Identifier: MIT */
/* The kernel's side of an interface: what is configured, asked for, and listed. */
#include "nic.h"

#include <sys/types.h>

static void configure(const char *name, const struct vnic_link_config *config)
{
	struct vnic_error error = {0};

	assert_ok(vnic_link_configure(NULL, name, config, &error), &error);
}

static struct vnic_link_info query(const char *name)
{
	struct vnic_link_info info = {0};
	struct vnic_error error = {0};

	assert_ok(vnic_link_query(NULL, name, &info, &error), &error);
	return info;
}

/* All addresses of an interface as one text. */
static const char *addresses_of(const char *name)
{
	static char text[1000];
	struct vnic_link_address *addresses = NULL;
	struct vnic_error error = {0};
	size_t count = 0;
	size_t i;

	assert_ok(vnic_link_addresses(NULL, name, &addresses, &count, &error), &error);
	text[0] = '\0';
	for (i = 0; i < count; i++) {
		char one[VNIC_ADDRESS_TEXT_BYTES];

		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s", i ? " " : "",
			 vnic_prefix_format(&addresses[i].prefix, one));
		if (addresses[i].peer.family)
			snprintf(text + strlen(text), sizeof(text) - strlen(text), " peer %s",
				 vnic_address_format(&addresses[i].peer, one));
	}
	free(addresses);
	return text;
}

/* What a program prints: the other view of the same kernel. */
static const char *output_of(const char *command)
{
	static char text[4000];
	FILE *pipe = popen(command, "re");
	size_t length;

	assert_non_null(pipe);
	length = fread(text, 1, sizeof(text) - 1, pipe);
	text[length] = '\0';
	assert_int_equal(pclose(pipe), 0);
	return text;
}

static void assert_in_output(const char *command, const char *part)
{
	const char *text = output_of(command);

	if (!strstr(text, part))
		fail_msg("%s does not show '%s', but\n%s", command, part, text);
}

static void set_sysctl(const char *path, const char *value)
{
	int descriptor = open(path, O_WRONLY | O_CLOEXEC);

	if (descriptor < 0 || write(descriptor, value, strlen(value)) < 0)
		fail_msg("%s: %s", path, strerror(errno));
	close(descriptor);
}

/* Wait for something that the kernel does a little later. */
static bool becomes_true(bool (*condition)(void *user), void *user)
{
	int i;

	for (i = 0; i < DEADLINE_MS / 10; i++) {
		if (condition(user))
			return true;
		poll(NULL, 0, 10);
	}
	return false;
}

static void test_everything_at_once(void **state)
{
	static const uint8_t mac[VNIC_MAC_BYTES] = {2, 0, 0x5e, 0x10, 0, 1};
	struct vnic_device_options options = {.name = "vn0", .type = VNIC_TAP};
	struct vnic_link_address addresses[] = {
		{.prefix = nic_prefix("10.0.0.1/24")},
		{.prefix = nic_prefix("192.0.2.1/32"), .peer = nic_address("192.0.2.2")},
		{.prefix = nic_prefix("fd00::1/64")},
		{.prefix = nic_prefix("fd01::1/128"), .peer = nic_address("fd01::2")},
	};
	struct vnic_route routes[] = {
		{.destination = nic_prefix("198.51.100.7/24"), .gateway = nic_address("10.0.0.2")},
		{.destination = nic_prefix("203.0.113.0/24"), .metric = 77},
		{.destination = nic_prefix("0.0.0.0/0"), .gateway = nic_address("10.0.0.2")},
		{.destination = nic_prefix("2001:db8::/32"), .gateway = nic_address("fd00::2")},
		{.destination = nic_prefix("::/0")},
	};
	struct vnic_link_config config = {
		.addresses = addresses,
		.address_count = 4,
		.routes = routes,
		.route_count = 5,
		.mac = mac,
		.new_name = "vn9",
		.mtu_bytes = 9000,
		.queue_packets = 1234,
		.state = VNIC_LINK_UP,
	};
	struct vnic_device *device;
	struct vnic_link_info info;
	struct vnic_error error = {0};
	int times;

	NIC_BEGIN(state);
	device = nic_open(&options);
	/* Each time after the first there is nothing to do, and that is no error. */
	for (times = 0; times < 3; times++) {
		assert_ok(vnic_device_configure(device, &config, &error), &error);
		info = query("vn9");
		assert_true(info.up && info.carrier && info.has_mac && info.is_virtual_nic);
		assert_string_equal(info.kind, "tun");
		assert_int_equal(info.type, VNIC_TAP);
		assert_memory_equal(info.mac, mac, sizeof(mac));
		assert_int_equal(info.mtu_bytes, 9000);
		assert_int_equal(info.mtu_least_bytes, 68);
		assert_true(info.mtu_most_bytes > 65000);
		assert_int_equal(info.queue_packets, 1234);
		assert_false(info.ipv6_autoconfiguration);
		assert_string_equal(addresses_of("vn9"), "10.0.0.1/24 192.0.2.1/32 peer 192.0.2.2 "
							 "fd01::1/128 peer fd01::2 fd00::1/64");
		assert_in_output("ip route", "198.51.100.0/24 via 10.0.0.2 dev vn9");
		assert_in_output("ip route",
				 "203.0.113.0/24 dev vn9 proto static scope link metric 77");
		assert_in_output("ip route", "default via 10.0.0.2 dev vn9");
		assert_in_output("ip -6 route", "2001:db8::/32 via fd00::2 dev vn9");
		assert_in_output("ip -6 route", "default dev vn9");
		/* Usable at once: not tentative, and no link-local address was made up. */
		assert_in_output("ip -6 address show vn9", "nodad");
		assert_null(strstr(output_of("ip -6 address show vn9"), "tentative"));
		assert_null(strstr(output_of("ip -6 address show vn9"), "fe80"));
	}
	config = (struct vnic_link_config){.state = VNIC_LINK_DOWN};
	assert_ok(vnic_device_configure(device, &config, &error), &error);
	assert_false(query("vn9").up);
	vnic_device_close(device);
}

/* What others set up stays. */
static void test_nothing_is_removed(void **state)
{
	struct vnic_link_config config = {0};
	struct vnic_device *device;
	struct vnic_error error = {0};

	NIC_BEGIN(state);
	/* Or else the kernel adds a link-local address of its own, now or a little later. */
	set_sysctl("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
	device = nic_open(NULL);
	assert_int_equal(system("ip address add 10.0.7.1/24 dev tun0 && "
				"ip link set tun0 up mtu 1400 && "
				"ip route add 10.8.0.0/16 dev tun0"),
			 0);
	nic_up(device, "10.0.0.1/24");
	assert_ok(vnic_device_configure(device, &config, &error), &error);
	assert_string_equal(addresses_of("tun0"), "10.0.7.1/24 10.0.0.1/24");
	assert_int_equal(query("tun0").mtu_bytes, 1400);
	assert_in_output("ip route", "10.8.0.0/16 dev tun0");
	vnic_device_close(device);
}

static void test_no_noise(void **state)
{
	struct vnic_device_options options = {.type = VNIC_TAP};
	struct vnic_link_config config = {.state = VNIC_LINK_UP, .ipv6_autoconfiguration = true};
	struct vnic_device *device;
	struct vnic_error error = {0};

	NIC_BEGIN(state);
	device = nic_open(&options);
	assert_true(query("tap0").ipv6_autoconfiguration);
	nic_up(device, NULL);
	assert_false(query("tap0").ipv6_autoconfiguration);
	assert_in_output("ip -d link show tap0", "addrgenmode none");
	assert_string_equal(addresses_of("tap0"), "");
	/* Up already: no reason to change the mode behind its user's back. */
	assert_ok(vnic_device_configure(device, &config, &error), &error);
	assert_false(query("tap0").ipv6_autoconfiguration);
	vnic_device_close(device);

	device = nic_open(&options);
	assert_ok(vnic_device_configure(device, &config, &error), &error);
	assert_true(query("tap0").ipv6_autoconfiguration);
	vnic_device_close(device);
}

static bool has_link_local(void *user)
{
	return strncmp(addresses_of(user), "fe80:", 5) == 0;
}

static void test_autoconfiguration(void **state)
{
	struct vnic_device_options options = {.type = VNIC_TAP};
	struct vnic_link_config config = {.state = VNIC_LINK_UP, .ipv6_autoconfiguration = true};
	struct vnic_device *device;
	struct vnic_error error = {0};
	char name[] = "tap0";

	NIC_BEGIN(state);
	device = nic_open(&options);
	assert_ok(vnic_device_configure(device, &config, &error), &error);
	assert_true(becomes_true(has_link_local, name));
	vnic_device_close(device);
}

static void test_mtu_range(void **state)
{
	struct vnic_link_address address = {.prefix = nic_prefix("fd00::1/64")};
	struct vnic_link_config config = {.mtu_bytes = 67};
	struct vnic_device *device;
	struct vnic_error error = {0};

	NIC_BEGIN(state);
	device = nic_open(NULL);
	assert_refused(vnic_device_configure(device, &config, &error), &error, -ERANGE,
		       VNIC_CAUSE_MTU_RANGE, "68 to 65535");
	config.mtu_bytes = 65536;
	assert_refused(vnic_device_configure(device, &config, &error), &error, -ERANGE,
		       VNIC_CAUSE_MTU_RANGE, "MTU 65536");
	config.mtu_bytes = 0xffffffff;
	assert_refused(vnic_device_configure(device, &config, &error), &error, -ERANGE,
		       VNIC_CAUSE_MTU_RANGE, "68 to 65535");
	config = (struct vnic_link_config){
		.addresses = &address, .address_count = 1, .mtu_bytes = 1279};
	assert_refused(vnic_device_configure(device, &config, &error), &error, -ERANGE,
		       VNIC_CAUSE_MTU_RANGE, "1280");
	/* Nothing of it was done. */
	assert_int_equal(query("tun0").mtu_bytes, 1500);
	config.mtu_bytes = 1280;
	assert_ok(vnic_device_configure(device, &config, &error), &error);
	config = (struct vnic_link_config){.mtu_bytes = 65535};
	assert_ok(vnic_device_configure(device, &config, &error), &error);
	assert_int_equal(query("tun0").mtu_bytes, 65535);
	vnic_device_close(device);
}

static void test_bad_addresses(void **state)
{
	static const struct {
		const char *address;
		unsigned length;
		const char *peer;
	} bad[] = {
		{"0.0.0.0", 24, NULL},
		{"224.0.0.1", 24, NULL},
		{"255.255.255.255", 24, NULL},
		{"10.0.0.1", 33, NULL},
		{"::", 64, NULL},
		{"ff02::1", 64, NULL},
		{"fd00::1", 129, NULL},
		{"10.0.0.1", 32, "fd00::1"},
		{"10.0.0.1", 32, "0.0.0.0"},
		{"10.0.0.1", 32, "224.0.0.1"},
		{"fd00::1", 128, "10.0.0.1"},
	};
	struct vnic_link_address addresses[2] = {{.prefix = {{0}, 0}}};
	struct vnic_link_config config = {.addresses = addresses,
					  .address_count = 1,
					  .state = VNIC_LINK_UP,
					  .mtu_bytes = 1400};
	struct vnic_device *device;
	struct vnic_error error = {0};
	size_t i;

	NIC_BEGIN(state);
	device = nic_open(NULL);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		addresses[0] = (struct vnic_link_address){
			.prefix = {nic_address(bad[i].address), bad[i].length}};
		if (bad[i].peer)
			addresses[0].peer = nic_address(bad[i].peer);
		assert_refused(vnic_device_configure(device, &config, &error), &error, -EINVAL,
			       VNIC_CAUSE_ADDRESS_INVALID, "");
	}
	addresses[0] = (struct vnic_link_address){.prefix = {{0}, 0}};
	assert_refused(vnic_device_configure(device, &config, &error), &error, -EINVAL,
		       VNIC_CAUSE_ADDRESS_INVALID, "family");
	/* Twice with two lengths; twice the same is once. */
	config.address_count = 2;
	addresses[0] = (struct vnic_link_address){.prefix = nic_prefix("10.0.0.1/24")};
	addresses[1] = (struct vnic_link_address){.prefix = nic_prefix("10.0.0.1/25")};
	assert_refused(vnic_device_configure(device, &config, &error), &error, -EINVAL,
		       VNIC_CAUSE_ADDRESS_INVALID, "10.0.0.1 is given twice");
	addresses[1].prefix.length_bits = 24;
	addresses[1].peer = nic_address("10.0.0.9");
	assert_refused(vnic_device_configure(device, &config, &error), &error, -EINVAL,
		       VNIC_CAUSE_ADDRESS_INVALID, "10.0.0.1 is given twice");
	assert_string_equal(addresses_of("tun0"), "");
	assert_int_equal(query("tun0").mtu_bytes, 1500);
	assert_false(query("tun0").up);
	addresses[1] = addresses[0];
	assert_ok(vnic_device_configure(device, &config, &error), &error);
	assert_string_equal(addresses_of("tun0"), "10.0.0.1/24");
	vnic_device_close(device);
}

static void test_address_taken(void **state)
{
	static const char *const texts[] = {"10.0.0.1/24", "fd00::1/64"};
	struct vnic_link_address address;
	struct vnic_link_config config = {.addresses = &address, .address_count = 1};
	struct vnic_device *first;
	struct vnic_device *second;
	struct vnic_error error = {0};
	size_t i;

	NIC_BEGIN(state);
	first = nic_open(NULL);
	second = nic_open(NULL);
	for (i = 0; i < 2; i++) {
		address = (struct vnic_link_address){.prefix = nic_prefix(texts[i])};
		config.shared_addresses = false;
		assert_ok(vnic_device_configure(first, &config, &error), &error);
		assert_refused(vnic_device_configure(second, &config, &error), &error, -EADDRINUSE,
			       VNIC_CAUSE_ADDRESS_TAKEN, "'tun0'");
		/* Another length, or with a peer: here it is the interface's own already. */
		address.prefix.length_bits = 26;
		assert_refused(vnic_device_configure(first, &config, &error), &error, -EADDRINUSE,
			       VNIC_CAUSE_ADDRESS_TAKEN, texts[i]);
		assert_string_equal(addresses_of("tun1"), i ? "10.0.0.1/26" : "");
		config.shared_addresses = true;
		assert_ok(vnic_device_configure(second, &config, &error), &error);
	}
	/* A link-local address is unique on its link, not on the machine. */
	address = (struct vnic_link_address){.prefix = nic_prefix("fe80::1/64")};
	config.shared_addresses = false;
	assert_ok(vnic_device_configure(first, &config, &error), &error);
	assert_ok(vnic_device_configure(second, &config, &error), &error);
	vnic_device_close(first);
	vnic_device_close(second);
}

static void test_mac(void **state)
{
	static const uint8_t group[VNIC_MAC_BYTES] = {1, 0, 0x5e, 0, 0, 1};
	static const uint8_t zero[VNIC_MAC_BYTES] = {0};
	static const uint8_t good[VNIC_MAC_BYTES] = {2, 0, 0, 0, 0, 1};
	struct vnic_device_options options = {.type = VNIC_TAP};
	struct vnic_link_config config = {.mac = group};
	struct vnic_device *device;
	struct vnic_error error = {0};

	NIC_BEGIN(state);
	device = nic_open(&options);
	assert_refused(vnic_device_configure(device, &config, &error), &error, -EADDRNOTAVAIL,
		       VNIC_CAUSE_MAC_INVALID, "01:00:5e:00:00:01");
	config.mac = zero;
	assert_refused(vnic_device_configure(device, &config, &error), &error, -EADDRNOTAVAIL,
		       VNIC_CAUSE_MAC_INVALID, "00:00:00:00:00:00");
	vnic_device_close(device);
	device = nic_open(NULL);
	config.mac = good;
	assert_refused(vnic_device_configure(device, &config, &error), &error, -EADDRNOTAVAIL,
		       VNIC_CAUSE_MAC_INVALID, "only a TAP");
	vnic_device_close(device);
}

static void test_new_name(void **state)
{
	struct vnic_link_config config = {.new_name = "lo"};
	struct vnic_device *device;
	struct vnic_error error = {0};

	NIC_BEGIN(state);
	device = nic_open(NULL);
	assert_refused(vnic_device_configure(device, &config, &error), &error, -EEXIST,
		       VNIC_CAUSE_NAME_TAKEN, "'lo'");
	config.new_name = "a/b";
	assert_refused(vnic_device_configure(device, &config, &error), &error, -EINVAL,
		       VNIC_CAUSE_NAME_INVALID, "a/b");
	config.new_name = "vn%d";
	assert_refused(vnic_device_configure(device, &config, &error), &error, -EINVAL,
		       VNIC_CAUSE_NAME_INVALID, "pattern");
	config.new_name = "1234567890123456";
	assert_refused(vnic_device_configure(device, &config, &error), &error, -ENAMETOOLONG,
		       VNIC_CAUSE_NAME_TOO_LONG, "15 bytes");
	/* Also while it is up. */
	nic_up(device, NULL);
	config.new_name = "vn0";
	assert_ok(vnic_device_configure(device, &config, &error), &error);
	config.new_name = "vn0";
	assert_ok(vnic_device_configure(device, &config, &error), &error);
	assert_int_not_equal(if_nametoindex("vn0"), 0);
	vnic_device_close(device);
}

static void test_routes(void **state)
{
	struct vnic_route route = {.destination = nic_prefix("198.51.100.0/24")};
	struct vnic_link_config config = {.routes = &route, .route_count = 1};
	struct vnic_device *first;
	struct vnic_device *second;
	struct vnic_error error = {0};

	NIC_BEGIN(state);
	first = nic_open(NULL);
	second = nic_open(NULL);
	assert_refused(vnic_device_configure(first, &config, &error), &error, -ENETDOWN,
		       VNIC_CAUSE_ROUTE, "198.51.100.0/24");
	nic_up(first, "10.0.0.1/24");
	nic_up(second, "10.0.1.1/24");
	route.gateway = nic_address("10.99.0.1");
	assert_refused(vnic_device_configure(first, &config, &error), &error, -ENETUNREACH,
		       VNIC_CAUSE_ROUTE, "gateway");
	route.gateway = nic_address("fd00::1");
	assert_refused(vnic_device_configure(first, &config, &error), &error, -EINVAL,
		       VNIC_CAUSE_ROUTE, "two IP versions");
	route.gateway = (struct vnic_address){0};
	route.destination.length_bits = 33;
	assert_refused(vnic_device_configure(first, &config, &error), &error, -EINVAL,
		       VNIC_CAUSE_ROUTE, "not a network");
	route.destination.length_bits = 24;
	assert_ok(vnic_device_configure(first, &config, &error), &error);
	assert_ok(vnic_device_configure(first, &config, &error), &error);
	assert_refused(vnic_device_configure(second, &config, &error), &error, -EEXIST,
		       VNIC_CAUSE_ROUTE, "another route to 198.51.100.0/24");
	/* The one that the kernel made for the address. */
	route.destination = nic_prefix("10.0.0.0/24");
	assert_ok(vnic_device_configure(first, &config, &error), &error);
	vnic_device_close(first);
	vnic_device_close(second);
}

static void test_ipv6_disabled(void **state)
{
	struct vnic_link_address addresses[] = {{.prefix = nic_prefix("10.0.0.1/24")},
						{.prefix = nic_prefix("fd00::1/64")}};
	struct vnic_link_config config = {
		.addresses = addresses, .address_count = 1, .state = VNIC_LINK_UP};
	struct vnic_device *device;
	struct vnic_features features;
	struct vnic_error error = {0};

	NIC_BEGIN(state);
	assert_ok(vnic_features_query(&features, &error), &error);
	assert_true(features.ipv6);
	set_sysctl("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1");
	assert_ok(vnic_features_query(&features, &error), &error);
	assert_false(features.ipv6);
	device = nic_open(NULL);
	assert_ok(vnic_device_configure(device, &config, &error), &error);
	assert_string_equal(addresses_of("tun0"), "10.0.0.1/24");
	config.address_count = 2;
	assert_refused(vnic_device_configure(device, &config, &error), &error, -EAFNOSUPPORT,
		       VNIC_CAUSE_UNSUPPORTED, "IPv6 is disabled");
	vnic_device_close(device);
}

static void test_missing(void **state)
{
	struct vnic_link_config config = {.mtu_bytes = 1400};
	struct vnic_link_address *addresses = NULL;
	struct vnic_link_holder *holders = NULL;
	struct vnic_link_info info;
	struct vnic_error error = {0};
	size_t count;

	NIC_BEGIN(state);
	assert_refused(vnic_link_configure(NULL, "vn0", &config, &error), &error, -ENODEV,
		       VNIC_CAUSE_INTERFACE_MISSING, "'vn0'");
	assert_refused(vnic_link_query(NULL, "vn0", &info, &error), &error, -ENODEV,
		       VNIC_CAUSE_INTERFACE_MISSING, "'vn0'");
	assert_refused(vnic_link_query(NULL, "", &info, &error), &error, -ENODEV,
		       VNIC_CAUSE_INTERFACE_MISSING, "''");
	assert_refused(vnic_link_query(NULL, "a name that is much too long", &info, &error), &error,
		       -ENODEV, VNIC_CAUSE_INTERFACE_MISSING, "much too long");
	assert_refused(vnic_link_query(NULL, NULL, &info, &error), &error, -EINVAL,
		       VNIC_CAUSE_ARGUMENT, "named");
	assert_refused(vnic_link_delete(NULL, "vn0", &error), &error, -ENODEV,
		       VNIC_CAUSE_INTERFACE_MISSING, "'vn0'");
	assert_refused(vnic_link_delete(NULL, "lo", &error), &error, -EOPNOTSUPP,
		       VNIC_CAUSE_UNSUPPORTED, "'lo'");
	assert_refused(vnic_link_addresses(NULL, "vn0", &addresses, &count, &error), &error,
		       -ENODEV, VNIC_CAUSE_INTERFACE_MISSING, "'vn0'");
	assert_refused(vnic_link_holders(NULL, "vn0", &holders, &count, &error), &error, -ENODEV,
		       VNIC_CAUSE_INTERFACE_MISSING, "'vn0'");
	assert_refused(vnic_link_query("no-such", "lo", &info, &error), &error, -ENOENT,
		       VNIC_CAUSE_NETNS_MISSING, "'no-such'");
	assert_refused(vnic_link_configure("no-such", "lo", &config, &error), &error, -ENOENT,
		       VNIC_CAUSE_NETNS_MISSING, "'no-such'");
	assert_null(addresses);
	assert_null(holders);
}

static int configure_unprivileged(void *user)
{
	struct vnic_link_address address = {.prefix = nic_prefix("10.7.0.1/24")};
	struct vnic_link_config config = {.addresses = &address, .address_count = 1};
	struct vnic_error error = {0};
	struct vnic_link_info info;

	(void)user;
	nic_check(vnic_link_query(NULL, "tun0", &info, &error) == 0);
	nic_check(vnic_link_configure(NULL, "tun0", &config, &error) == -EPERM);
	nic_check(error.cause == VNIC_CAUSE_CAPABILITY && strstr(error.text, "10.7.0.1/24"));
	nic_check(vnic_link_delete(NULL, "tun0", &error) == -EPERM);
	nic_check(error.cause == VNIC_CAUSE_CAPABILITY);
	return 0;
}

static void test_without_privilege(void **state)
{
	struct vnic_device *device;

	NIC_BEGIN(state);
	NIC_NEEDS_ROOT();
	device = nic_open(NULL);
	nic_child(configure_unprivileged, NULL, NOBODY, -1);
	vnic_device_close(device);
}

static void test_list(void **state)
{
	struct vnic_device *devices[20];
	struct vnic_device_options options = {0};
	struct vnic_link_info *links = (struct vnic_link_info *)1;
	struct vnic_error error = {0};
	size_t count = 7;
	unsigned i;

	NIC_BEGIN(state);
	assert_ok(vnic_link_list(NULL, &links, &count, &error), &error);
	assert_int_equal(count, 0);
	assert_null(links);
	for (i = 0; i < 20; i++) {
		options.type = i % 2 ? VNIC_TAP : VNIC_TUN;
		devices[i] = nic_open(&options);
	}
	assert_ok(vnic_link_list(NULL, &links, &count, &error), &error);
	assert_int_equal(count, 20);
	assert_string_equal(links[0].name, "tun0");
	assert_string_equal(links[1].name, "tap0");
	assert_int_equal(links[1].type, VNIC_TAP);
	assert_int_equal(links[19].queues, 1);
	free(links);
	for (i = 0; i < 20; i++)
		vnic_device_close(devices[i]);
}

/* More than fits into one message of the kernel's. */
static void test_many_addresses(void **state)
{
	static struct vnic_link_address addresses[300];
	struct vnic_link_config config = {
		.addresses = addresses, .address_count = 300, .state = VNIC_LINK_UP};
	struct vnic_link_address *found = NULL;
	struct vnic_device *device;
	struct vnic_error error = {0};
	size_t count = 0;
	unsigned i;

	NIC_BEGIN(state);
	for (i = 0; i < 300; i++) {
		char text[32];

		snprintf(text, sizeof(text), i % 2 ? "10.%u.0.1/24" : "fd00:%x::1/64", i / 2 + 1);
		addresses[i].prefix = nic_prefix(text);
	}
	device = nic_open(NULL);
	assert_ok(vnic_device_configure(device, &config, &error), &error);
	assert_ok(vnic_link_addresses(NULL, "tun0", &found, &count, &error), &error);
	assert_int_equal(count, 300);
	free(found);
	vnic_device_close(device);
}

static void test_statistics(void **state)
{
	struct vnic_device *device;
	struct vnic_link_info info;
	uint8_t bytes[100];
	struct vnic_packet packet = {.data = bytes, .capacity_bytes = sizeof(bytes)};
	int udp;
	int i;

	NIC_BEGIN(state);
	device = nic_open(NULL);
	nic_up(device, "10.0.0.1/24");
	udp = nic_udp("10.0.0.1", 4000);
	packet.length_bytes = nic_build_udp(bytes, 4000, 10, false);
	assert_int_equal(vnic_device_send(device, 0, &packet, 1), 1);
	nic_udp_send(udp, "10.0.0.2", 7, "x", 1);
	nic_receive(device, 0, &packet);
	info = query("tun0");
	assert_int_equal(info.statistics.rx_packets, 1);
	assert_int_equal(info.statistics.rx_bytes, 38);
	assert_int_equal(info.statistics.tx_packets, 1);
	assert_int_equal(info.statistics.tx_bytes, 29);
	/* Nobody reads, and the queue is full. */
	for (i = 0; i < 600; i++)
		nic_udp_send(udp, "10.0.0.2", 7, "x", 1);
	assert_true(query("tun0").statistics.tx_dropped > 0);
	close(udp);
	vnic_device_close(device);
}

static void test_holders(void **state)
{
	struct vnic_device_options options = {.name = "vn0", .queues = 2};
	struct vnic_link_holder *holders = NULL;
	struct vnic_device *device;
	struct vnic_device *elsewhere;
	struct vnic_error error = {0};
	char command[16] = "";
	size_t count = 0;
	FILE *file;

	NIC_BEGIN(state);
	device = nic_open(&options);
	assert_ok(vnic_link_holders(NULL, "vn0", &holders, &count, &error), &error);
	assert_int_equal(count, 2);
	assert_int_equal(holders[0].process, getpid());
	assert_int_equal(holders[0].descriptor, vnic_device_descriptor(device, 0));
	assert_int_equal(holders[1].descriptor, vnic_device_descriptor(device, 1));
	file = fopen("/proc/self/comm", "re");
	assert_non_null(fgets(command, sizeof(command), file));
	fclose(file);
	command[strcspn(command, "\n")] = '\0';
	assert_string_equal(holders[0].command, command);
	free(holders);
	/* Of the same name, in another namespace: its holder is another interface's. */
	assert_int_equal(unshare(CLONE_NEWNET), 0);
	elsewhere = nic_open(&options);
	holders = NULL;
	assert_ok(vnic_link_holders(NULL, "vn0", &holders, &count, &error), &error);
	assert_int_equal(count, 2);
	assert_int_equal(holders[0].descriptor, vnic_device_descriptor(elsewhere, 0));
	free(holders);
	assert_ok(vnic_device_set_persistent(elsewhere, true, &error), &error);
	vnic_device_close(elsewhere);
	holders = (struct vnic_link_holder *)1;
	assert_ok(vnic_link_holders(NULL, "vn0", &holders, &count, &error), &error);
	assert_int_equal(count, 0);
	assert_null(holders);
	vnic_device_close(device);
}

/* No interface that we made ourselves. */
static void test_other_kinds(void **state)
{
	struct vnic_link_address address = {.prefix = nic_prefix("127.0.0.1/8")};
	struct vnic_link_config config = {
		.addresses = &address, .address_count = 1, .state = VNIC_LINK_UP};
	struct vnic_link_info info;
	struct vnic_error error = {0};

	NIC_BEGIN(state);
	info = query("lo");
	assert_string_equal(info.kind, "");
	assert_false(info.is_virtual_nic || info.up);
	configure("lo", &config);
	configure("lo", &config);
	assert_true(query("lo").up);
	if (system("ip link add ve0 type veth peer name ve1") == 0) {
		assert_string_equal(query("ve0").kind, "veth");
		assert_ok(vnic_link_delete(NULL, "ve0", &error), &error);
		assert_int_equal(if_nametoindex("ve1"), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		NIC_TEST(test_everything_at_once),
		NIC_TEST(test_nothing_is_removed),
		NIC_TEST(test_no_noise),
		NIC_TEST(test_autoconfiguration),
		NIC_TEST(test_mtu_range),
		NIC_TEST(test_bad_addresses),
		NIC_TEST(test_address_taken),
		NIC_TEST(test_mac),
		NIC_TEST(test_new_name),
		NIC_TEST(test_routes),
		NIC_TEST(test_ipv6_disabled),
		NIC_TEST(test_missing),
		NIC_TEST(test_without_privilege),
		NIC_TEST(test_list),
		NIC_TEST(test_many_addresses),
		NIC_TEST(test_statistics),
		NIC_TEST(test_holders),
		NIC_TEST(test_other_kinds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
