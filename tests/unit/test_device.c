/* SPDX-License-Identifier: MIT */
/* Opening devices: names, modes, options, and every way in which it is refused. */
#include "nic.h"

#include "device/device.h"

static short interface_flags(const struct vnic_device *device)
{
	struct ifreq request = {0};

	assert_int_equal(ioctl(vnic_device_descriptor(device, 0), TUNGETIFF, &request), 0);
	return request.ifr_flags;
}

/* A persistent interface that nobody holds. */
static void make_persistent(const char *name, enum vnic_device_type type, unsigned queues)
{
	struct vnic_device_options options = {.name = name, .type = type, .queues = queues};
	struct vnic_device *device = nic_open(&options);
	struct vnic_error error = {0};

	assert_ok(vnic_device_set_persistent(device, true, &error), &error);
	vnic_device_close(device);
}

/* Offloads that every kernel grants. */
#define EVERY_KERNELS (VNIC_OFFLOAD_CSUM | VNIC_OFFLOAD_TSO4 | VNIC_OFFLOAD_TSO6 | VNIC_OFFLOAD_ECN)

static void test_defaults(void **state)
{
	struct vnic_error error = {0};
	char name[VNIC_NAME_BYTES];
	struct vnic_device *device;
	int flags;

	NIC_BEGIN(state);
	device = nic_open(NULL);
	assert_ok(vnic_device_name(device, name, &error), &error);
	assert_string_equal(name, "tun0");
	assert_int_equal(vnic_device_type(device), VNIC_TUN);
	assert_int_equal(vnic_device_layer(device), VNIC_LAYER_IP);
	assert_int_equal(vnic_device_queues(device), 1);
	assert_int_equal(vnic_device_offloads(device) & EVERY_KERNELS, EVERY_KERNELS);
	assert_true(vnic_device_vnet_header_bytes(device) >= 10);
	assert_int_equal(vnic_device_descriptor(device, 1), -1);
	assert_int_equal((unsigned)vnic_device_index(device, &error), if_nametoindex("tun0"));
	assert_int_equal(interface_flags(device) & (IFF_TUN | IFF_VNET_HDR | IFF_MULTI_QUEUE),
			 IFF_TUN | IFF_VNET_HDR);
	flags = fcntl(vnic_device_descriptor(device, 0), F_GETFD);
	assert_int_equal(flags & FD_CLOEXEC, FD_CLOEXEC);
	flags = fcntl(vnic_device_descriptor(device, 0), F_GETFL);
	assert_int_equal(flags & O_NONBLOCK, O_NONBLOCK);
	vnic_device_close(device);
	vnic_device_close(NULL);
	assert_int_equal(if_nametoindex("tun0"), 0);
}

static void test_names(void **state)
{
	static const struct {
		const char *asked;
		const char *got;
	} names[] = {
		{"vn%d", "vn0"},
		{"%dx", "0x"},
		{"a-b_c.d@e", "a-b_c.d@e"},
		{"123456789012345", "123456789012345"},
		{"...", "..."},
	};
	struct vnic_device_options options = {0};
	struct vnic_error error = {0};
	char name[VNIC_NAME_BYTES];
	size_t i;

	NIC_BEGIN(state);
	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct vnic_device *device;

		options.name = names[i].asked;
		device = nic_open(&options);
		assert_ok(vnic_device_name(device, name, &error), &error);
		assert_string_equal(name, names[i].got);
		vnic_device_close(device);
	}
}

/* What we refuse, and that the kernel would refuse it too, or do something else. */
static void test_bad_names(void **state)
{
	static const char no_break_space[] = {'a', (char)0xa0, 'b', 0};
	static const char *const names[] = {"a/b",  ".",    "..",           "a b", "a:b",
					    "a\tb", "a\nb", no_break_space, "%s",  "%d%d",
					    "a%",   "100%", "%%d",          ""};
	struct vnic_device_options options = {0};
	struct vnic_error error = {0};
	struct vnic_device *device = NULL;
	size_t i;

	NIC_BEGIN(state);
	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct ifreq request = {.ifr_flags = IFF_TUN};
		int descriptor = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

		options.name = names[i];
		assert_refused(vnic_device_open(&options, &device, &error), &error, -EINVAL,
			       VNIC_CAUSE_NAME_INVALID, names[i]);
		assert_null(device);
		/* The empty name is one of its own choice to the kernel. */
		strcpy(request.ifr_name, names[i]);
		if (names[i][0] && ioctl(descriptor, TUNSETIFF, &request) == 0)
			fail_msg("the kernel takes '%s'", names[i]);
		close(descriptor);
	}
	options.name = "1234567890123456";
	assert_refused(vnic_device_open(&options, &device, &error), &error, -ENAMETOOLONG,
		       VNIC_CAUSE_NAME_TOO_LONG, "1234567890123456");
	/* Nothing was made on the way. */
	assert_int_equal(if_nametoindex("123456789012345"), 0);
}

static void test_modes(void **state)
{
	struct vnic_device_options options = {.name = "vn0", .mode = VNIC_OPEN_ATTACH};
	struct vnic_device *device = NULL;
	struct vnic_error error = {0};

	NIC_BEGIN(state);
	assert_refused(vnic_device_open(&options, &device, &error), &error, -ENODEV,
		       VNIC_CAUSE_INTERFACE_MISSING, "'vn0'");
	assert_int_equal(if_nametoindex("vn0"), 0);
	options.name = "vn%d";
	assert_refused(vnic_device_open(&options, &device, &error), &error, -EINVAL,
		       VNIC_CAUSE_NAME_INVALID, "pattern");
	options.name = NULL;
	assert_refused(vnic_device_open(&options, &device, &error), &error, -EINVAL,
		       VNIC_CAUSE_ARGUMENT, "name");
	make_persistent("vn0", VNIC_TUN, 1);
	options.name = "vn0";
	device = nic_open(&options);
	vnic_device_close(device);
	options.mode = VNIC_OPEN_CREATE;
	assert_refused(vnic_device_open(&options, &device, &error), &error, -EEXIST,
		       VNIC_CAUSE_NAME_TAKEN, "'vn0'");
	options.name = "lo";
	assert_refused(vnic_device_open(&options, &device, &error), &error, -EEXIST,
		       VNIC_CAUSE_NAME_TAKEN, "'lo'");
	options.name = "vn1";
	device = nic_open(&options);
	vnic_device_close(device);
	options.name = "vn%d";
	device = nic_open(&options);
	assert_int_not_equal(if_nametoindex("vn1"), 0);
	vnic_device_close(device);
	options = (struct vnic_device_options){.name = "vn0"};
	device = nic_open(&options);
	vnic_device_close(device);
	/* Opening and closing a persistent interface leaves it. */
	assert_int_not_equal(if_nametoindex("vn0"), 0);
}

static void test_mismatches(void **state)
{
	struct vnic_device_options options = {.name = "lo"};
	struct vnic_device *device = NULL;
	struct vnic_device *holder;
	struct vnic_error error = {0};

	NIC_BEGIN(state);
	assert_refused(vnic_device_open(&options, &device, &error), &error, -EINVAL,
		       VNIC_CAUSE_KIND_MISMATCH, "'lo'");
	make_persistent("vn0", VNIC_TUN, 1);
	make_persistent("vn1", VNIC_TAP, 1);
	options = (struct vnic_device_options){.name = "vn0", .type = VNIC_TAP};
	assert_refused(vnic_device_open(&options, &device, &error), &error, -EINVAL,
		       VNIC_CAUSE_TYPE_MISMATCH, "'vn0' is a TUN");
	options = (struct vnic_device_options){.name = "vn1"};
	assert_refused(vnic_device_open(&options, &device, &error), &error, -EINVAL,
		       VNIC_CAUSE_TYPE_MISMATCH, "'vn1' is a TAP");
	options = (struct vnic_device_options){.name = "vn0", .queues = 2};
	assert_refused(vnic_device_open(&options, &device, &error), &error, -EINVAL,
		       VNIC_CAUSE_QUEUES_MISMATCH, "single queue");
	options = (struct vnic_device_options){.name = "vn0"};
	holder = nic_open(&options);
	assert_refused(vnic_device_open(&options, &device, &error), &error, -EBUSY,
		       VNIC_CAUSE_NAME_TAKEN, "in use");
	vnic_device_close(holder);
	assert_null(device);
}

static void test_contradictions(void **state)
{
	const struct vnic_device_options bad[] = {
		{.type = (enum vnic_device_type)2},
		{.mode = (enum vnic_open_mode)3},
		{.queues = VNIC_QUEUES + 1},
		{.vnet_header_bytes = 11},
		{.vnet_header_bytes = 9},
		{.vnet_header_order = (enum vnic_byte_order)2},
		{.vnet_header_order = VNIC_BIG_ENDIAN, .no_offloads = true},
		{.offloads = VNIC_OFFLOAD_CSUM, .no_offloads = true},
		{.offloads = 0x80},
		{.offloads = VNIC_OFFLOAD_TSO4},
		{.offloads = VNIC_OFFLOAD_USO},
		{.offloads = VNIC_OFFLOAD_CSUM | VNIC_OFFLOAD_ECN},
		{.offloads = VNIC_OFFLOAD_CSUM | VNIC_OFFLOAD_UDP_TUNNEL},
		{.offloads = VNIC_OFFLOAD_CSUM | VNIC_OFFLOAD_TSO4 | VNIC_OFFLOAD_UDP_TUNNEL_CSUM},
		{.offloads = VNIC_OFFLOAD_CSUM | VNIC_OFFLOAD_TSO4 | VNIC_OFFLOAD_UDP_TUNNEL,
		 .vnet_header_bytes = 12},
		{.napi = true, .napi_fragments = true},
		{.type = VNIC_TAP, .napi_fragments = true},
		{.send_buffer_bytes = -1},
	};
	struct vnic_device *device = NULL;
	struct vnic_error error = {0};
	size_t i;

	NIC_BEGIN(state);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		int code = vnic_device_open(&bad[i], &device, &error);

		if (code != -EINVAL || error.cause != VNIC_CAUSE_ARGUMENT)
			fail_msg("%zu: %d (%s) '%s'", i, code, vnic_cause_name(error.cause),
				 error.text);
		assert_null(device);
		/* The error may be left out. */
		assert_int_equal(vnic_device_open(&bad[i], &device, NULL), -EINVAL);
	}
}

static void test_queues(void **state)
{
	struct vnic_device_options options = {.name = "vn0", .queues = VNIC_QUEUES};
	struct vnic_device_options one = {.name = "vn0"};
	struct vnic_link_info info;
	struct vnic_device *device;
	struct vnic_device *other = NULL;
	struct vnic_error error = {0};

	NIC_BEGIN(state);
	device = nic_open(&options);
	assert_int_equal(vnic_device_queues(device), VNIC_QUEUES);
	assert_ok(vnic_device_query(device, &info, &error), &error);
	assert_int_equal(info.queues, VNIC_QUEUES);
	assert_true(info.multi_queue);
	assert_refused(vnic_device_open(&one, &other, &error), &error, -E2BIG,
		       VNIC_CAUSE_QUEUES_MISMATCH, "no queue left");
	vnic_device_close(device);
	/* One queue of an interface that has many: the kernel wants the flag then. */
	make_persistent("vn0", VNIC_TUN, 3);
	device = nic_open(&one);
	assert_int_equal(interface_flags(device) & IFF_MULTI_QUEUE, IFF_MULTI_QUEUE);
	options.queues = 4;
	other = nic_open(&options);
	assert_ok(vnic_device_query(device, &info, &error), &error);
	assert_int_equal(info.queues, 5);
	vnic_device_close(other);
	/* The first one's headers hold for all. */
	options.packet_information = true;
	other = NULL;
	assert_refused(vnic_device_open(&options, &other, &error), &error, -EBUSY,
		       VNIC_CAUSE_NAME_TAKEN, "other headers");
	vnic_device_close(device);
}

/* Who joins an interface that others use reads their headers, and does not change them. */
static void test_header_is_shared(void **state)
{
	struct vnic_device_options first = {.name = "vn0", .queues = 2, .vnet_header_bytes = 12};
	struct vnic_device_options second = {.name = "vn0"};
	struct vnic_device *device, *other = NULL;
	struct vnic_error error = {0};
	int bytes = 0;

	NIC_BEGIN(state);
	device = nic_open(&first);
	other = nic_open(&second);
	assert_int_equal(vnic_device_vnet_header_bytes(other), 12);
	assert_int_equal(vnic_device_offloads(other), vnic_device_offloads(device));
	vnic_device_close(other);
	other = NULL;
	second.vnet_header_bytes = 10;
	assert_refused(vnic_device_open(&second, &other, &error), &error, -EBUSY,
		       VNIC_CAUSE_NAME_TAKEN, "12 bytes");
	second.vnet_header_bytes = 0;
	second.no_offloads = true;
	assert_refused(vnic_device_open(&second, &other, &error), &error, -EBUSY,
		       VNIC_CAUSE_NAME_TAKEN, "other headers");
	assert_int_equal(ioctl(vnic_device_descriptor(device, 0), TUNGETVNETHDRSZ, &bytes), 0);
	assert_int_equal(bytes, 12);
	vnic_device_close(device);
}

static void test_no_queue_opened_half(void **state)
{
	struct vnic_device_options options = {.name = "vn0", .queues = 200};
	struct vnic_device *first;
	struct vnic_device *second = NULL;
	struct vnic_link_info info;
	struct vnic_error error = {0};

	NIC_BEGIN(state);
	first = nic_open(&options);
	assert_refused(vnic_device_open(&options, &second, &error), &error, -E2BIG,
		       VNIC_CAUSE_QUEUES_MISMATCH, "256");
	assert_ok(vnic_device_query(first, &info, &error), &error);
	assert_int_equal(info.queues, 200);
	vnic_device_close(first);
}

static void test_headers(void **state)
{
	static const struct {
		unsigned asked, offloads;
		bool none;
		unsigned least, most, granted; /* the latter of those that every kernel knows */
	} cases[] = {
		{0, 0, true, 0, 0, 0},
		{10, 0, true, 10, 10, 0},
		{12, 0, true, 12, 12, 0},
		{24, 0, true, 24, 24, 0},
		{0, 0, false, 10, 24, EVERY_KERNELS},
		{10, 0, false, 10, 10, EVERY_KERNELS},
		{12, 0, false, 12, 12, EVERY_KERNELS},
		{24, 0, false, 24, 24, EVERY_KERNELS},
		{0, VNIC_OFFLOAD_CSUM, false, 10, 10, VNIC_OFFLOAD_CSUM},
		{12, VNIC_OFFLOAD_CSUM, false, 12, 12, VNIC_OFFLOAD_CSUM},
		{0, VNIC_OFFLOAD_ALL, false, 10, 24, EVERY_KERNELS},
	};
	struct vnic_device_options options = {0};
	size_t i;

	NIC_BEGIN(state);
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct vnic_device *device;
		unsigned bytes;
		int kernel = 0;

		options.vnet_header_bytes = cases[i].asked;
		options.offloads = cases[i].offloads;
		options.no_offloads = cases[i].none;
		device = nic_open(&options);
		bytes = vnic_device_vnet_header_bytes(device);
		if (bytes < cases[i].least || bytes > cases[i].most)
			fail_msg("%zu: %u bytes", i, bytes);
		assert_int_equal(vnic_device_offloads(device) & EVERY_KERNELS, cases[i].granted);
		assert_int_equal(!!(interface_flags(device) & IFF_VNET_HDR), bytes != 0);
		assert_int_equal(ioctl(vnic_device_descriptor(device, 0), TUNGETVNETHDRSZ, &kernel),
				 0);
		assert_int_equal(kernel, bytes ? bytes : 10);
		vnic_device_close(device);
	}
}

static void test_byte_order(void **state)
{
	struct vnic_device_options options = {.vnet_header_bytes = 10};
	struct vnic_device *device = NULL;
	struct vnic_error error = {0};
	int little = 0;
	int code;

	NIC_BEGIN(state);
	device = nic_open(&options);
	assert_int_equal(ioctl(vnic_device_descriptor(device, 0), TUNGETVNETLE, &little), 0);
	assert_int_equal(little, 1);
	vnic_device_close(device);
	device = NULL;
	options.vnet_header_order = VNIC_BIG_ENDIAN;
	code = vnic_device_open(&options, &device, &error);
	if (code == 0) {
		int big = 0;

		assert_int_equal(ioctl(vnic_device_descriptor(device, 0), TUNGETVNETBE, &big), 0);
		assert_int_equal(big, 1);
		vnic_device_close(device);
	} else {
		assert_refused(code, &error, -EOPNOTSUPP, VNIC_CAUSE_UNSUPPORTED, "byte order");
	}
}

static void test_flags(void **state)
{
	const struct vnic_device_options cases[] = {
		{.packet_information = true},
		{.napi = true},
		{.type = VNIC_TAP, .napi = true, .napi_fragments = true},
		{.no_carrier = true},
		{.send_buffer_bytes = 4096},
	};
	struct vnic_error error = {0};
	size_t i;

	NIC_BEGIN(state);
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct vnic_device *device;
		struct vnic_link_info info;
		int send_buffer = 0;
		short flags;

		/* These want the privilege in the first user namespace. */
		if (cases[i].napi_fragments && !nic_true_root)
			continue;
		device = nic_open(&cases[i]);
		flags = interface_flags(device);

		assert_int_equal(!!(flags & IFF_NAPI), cases[i].napi);
		assert_int_equal(!!(flags & IFF_NAPI_FRAGS), cases[i].napi_fragments);
		nic_up(device, NULL);
		assert_ok(vnic_device_query(device, &info, &error), &error);
		assert_int_equal(info.carrier, !cases[i].no_carrier);
		assert_int_equal(info.packet_information, cases[i].packet_information);
		assert_int_equal(
			ioctl(vnic_device_descriptor(device, 0), TUNGETSNDBUF, &send_buffer), 0);
		assert_int_equal(send_buffer, cases[i].send_buffer_bytes
						      ? cases[i].send_buffer_bytes
						      : INT32_MAX);
		vnic_device_close(device);
	}
}

/* The mask of features, as ethtool would show them: the only way to see what TUNSETOFFLOAD did. */
static void test_offloads_negotiated(void **state)
{
	struct vnic_device_options options = {.offloads = VNIC_OFFLOAD_ALL};
	struct vnic_features features;
	struct vnic_device *device;
	struct vnic_error error = {0};

	NIC_BEGIN(state);
	assert_ok(vnic_features_query(&features, &error), &error);
	if (nic_true_root)
		assert_true(features.offloads_known);
	device = nic_open(&options);
	if (features.offloads_known)
		assert_int_equal(vnic_device_offloads(device), features.offloads);
	assert_int_equal(vnic_device_offloads(device) & 0xf, 0xf);
	assert_ok(vnic_device_set_offloads(device, 0, &error), &error);
	assert_int_equal(vnic_device_offloads(device), 0);
	assert_ok(vnic_device_set_offloads(device, VNIC_OFFLOAD_CSUM | VNIC_OFFLOAD_TSO6, &error),
		  &error);
	assert_int_equal(vnic_device_offloads(device), VNIC_OFFLOAD_CSUM | VNIC_OFFLOAD_TSO6);
	assert_refused(vnic_device_set_offloads(device, VNIC_OFFLOAD_TSO4, &error), &error, -EINVAL,
		       VNIC_CAUSE_ARGUMENT, "tso4");
	vnic_device_close(device);
	options = (struct vnic_device_options){.no_offloads = true};
	device = nic_open(&options);
	assert_refused(vnic_device_set_offloads(device, VNIC_OFFLOAD_CSUM, &error), &error, -EINVAL,
		       VNIC_CAUSE_ARGUMENT, "header");
	vnic_device_close(device);
}

static void test_offload_names(void **state)
{
	unsigned bit;

	(void)state;
	for (bit = 1; bit < VNIC_OFFLOAD_ALL; bit <<= 1)
		assert_non_null(vnic_offload_name((enum vnic_offload)bit));
	assert_string_equal(vnic_offload_name(VNIC_OFFLOAD_CSUM), "csum");
	assert_string_equal(vnic_offload_name(VNIC_OFFLOAD_USO), "uso");
	assert_null(vnic_offload_name((enum vnic_offload)0));
	assert_null(vnic_offload_name((enum vnic_offload)0x80));
}

/* Not remembered: the kernel is asked. */
static void test_renamed(void **state)
{
	struct vnic_link_config config = {.new_name = "other"};
	struct vnic_link_info info;
	struct vnic_device *device;
	struct vnic_error error = {0};
	char name[VNIC_NAME_BYTES];

	NIC_BEGIN(state);
	device = nic_open(NULL);
	assert_ok(vnic_link_configure(NULL, "tun0", &config, &error), &error);
	assert_ok(vnic_device_name(device, name, &error), &error);
	assert_string_equal(name, "other");
	assert_ok(vnic_device_query(device, &info, &error), &error);
	assert_string_equal(info.name, "other");
	nic_up(device, "10.0.0.1/24");
	vnic_device_close(device);
}

static void test_deleted(void **state)
{
	struct vnic_device_options options = {.name = "vn0", .queues = 2};
	struct vnic_link_config config = {.state = VNIC_LINK_UP};
	struct vnic_link_info info;
	struct vnic_device *device;
	struct vnic_error error = {0};
	char name[VNIC_NAME_BYTES];
	struct pollfd ready;

	NIC_BEGIN(state);
	device = nic_open(&options);
	assert_ok(vnic_device_set_queue(device, 1, false, &error), &error);
	assert_ok(vnic_link_delete(NULL, "vn0", &error), &error);
	ready = (struct pollfd){.fd = vnic_device_descriptor(device, 0), .events = POLLIN};
	assert_int_equal(poll(&ready, 1, 0), 1);
	assert_int_equal(ready.revents, POLLERR);
	assert_refused(vnic_device_name(device, name, &error), &error, -ENODEV,
		       VNIC_CAUSE_DEVICE_GONE, "deleted");
	assert_refused(vnic_device_index(device, &error), &error, -ENODEV, VNIC_CAUSE_DEVICE_GONE,
		       "deleted");
	assert_refused(vnic_device_netns(device, &error), &error, -ENODEV, VNIC_CAUSE_DEVICE_GONE,
		       "deleted");
	assert_refused(vnic_device_query(device, &info, &error), &error, -ENODEV,
		       VNIC_CAUSE_DEVICE_GONE, "deleted");
	assert_refused(vnic_device_configure(device, &config, &error), &error, -ENODEV,
		       VNIC_CAUSE_DEVICE_GONE, "deleted");
	assert_refused(vnic_device_set_persistent(device, true, &error), &error, -ENODEV,
		       VNIC_CAUSE_DEVICE_GONE, "deleted");
	assert_refused(vnic_device_set_carrier(device, true, &error), &error, -ENODEV,
		       VNIC_CAUSE_DEVICE_GONE, "deleted");
	assert_refused(vnic_device_set_offloads(device, 0, &error), &error, -ENODEV,
		       VNIC_CAUSE_DEVICE_GONE, "deleted");
	assert_refused(vnic_device_set_queue(device, 0, false, &error), &error, -ENODEV,
		       VNIC_CAUSE_DEVICE_GONE, "deleted");
	assert_refused(vnic_device_set_queue(device, 1, true, &error), &error, -ENODEV,
		       VNIC_CAUSE_DEVICE_GONE, "deleted");
	/* A new interface of that name is another one. */
	make_persistent("vn0", VNIC_TUN, 1);
	assert_int_equal(vnic_device_name(device, name, NULL), -ENODEV);
	vnic_device_close(device);
}

static int open_without_node(void *user)
{
	struct vnic_device *device = NULL;
	struct vnic_features features;
	struct vnic_error error = {0};

	(void)user;
	nic_check(vnic_device_open(NULL, &device, &error) == -ENOENT);
	nic_check(error.cause == VNIC_CAUSE_NODE_MISSING && strstr(error.text, "/dev/net/tun"));
	nic_check(vnic_features_query(&features, &error) == -ENOENT);
	nic_check(mknod("/dev/net/tun", S_IFCHR | 0666, makedev(60, 200)) == 0);
	nic_check(vnic_device_open(NULL, &device, &error) == -ENXIO);
	nic_check(error.cause == VNIC_CAUSE_NODE_MISSING && strstr(error.text, "driver"));
	nic_check(device == NULL);
	return 0;
}

static int open_unreadable_node(void *user)
{
	struct vnic_device *device = NULL;
	struct vnic_error error = {0};

	(void)user;
	nic_check(vnic_device_open(NULL, &device, &error) == -EACCES);
	nic_check(error.code == -EACCES && error.cause == VNIC_CAUSE_NODE_PERMISSION);
	return 0;
}

static int open_without_capability(void *user)
{
	struct vnic_device *device = NULL;
	struct vnic_features features;
	struct vnic_error error = {0};

	(void)user;
	nic_check(vnic_device_open(NULL, &device, &error) == -EPERM);
	nic_check(error.code == -EPERM && error.cause == VNIC_CAUSE_CAPABILITY);
	nic_check(strstr(error.text, "cannot create a TUN interface"));
	nic_check(vnic_features_query(&features, &error) == 0);
	nic_check(!features.offloads_known && features.tun && features.multi_queue);
	return 0;
}

/* Who owns an interface, but has no privilege, may attach to it and set everything. */
static int open_as_owner(void *user)
{
	struct vnic_device_options options = {.name = user, .mode = VNIC_OPEN_ATTACH};
	struct vnic_device *device = NULL;
	struct vnic_error error = {0};
	struct vnic_link_info info;

	options.offloads = VNIC_OFFLOAD_ALL;
	if (vnic_device_open(&options, &device, &error) < 0) {
		fprintf(stderr, "%s\n", error.text);
		return 1;
	}
	nic_check(vnic_device_query(device, &info, &error) == 0);
	nic_check(strcmp(info.name, user) == 0);
	nic_check(vnic_device_netns(device, &error) == -EPERM);
	nic_check(error.cause == VNIC_CAUSE_CAPABILITY);
	nic_check(vnic_device_set_persistent(device, true, &error) == 0);
	{
		struct vnic_link_config config = {.state = VNIC_LINK_UP};

		nic_check(vnic_device_configure(device, &config, &error) == -EPERM);
		nic_check(error.cause == VNIC_CAUSE_CAPABILITY);
	}
	vnic_device_close(device);
	return 0;
}

static int open_anothers(void *user)
{
	struct vnic_device_options options = {.name = user};
	struct vnic_device *device = NULL;
	struct vnic_error error = {0};

	nic_check(vnic_device_open(&options, &device, &error) == -EPERM);
	nic_check(error.cause == VNIC_CAUSE_NOT_OWNER && strstr(error.text, user));
	return 0;
}

static void test_node_and_capability(void **state)
{
	NIC_BEGIN(state);
	NIC_NEEDS_ROOT();
	nic_child(open_without_node, NULL, 0, 0);
	nic_child(open_unreadable_node, NULL, NOBODY, 0600);
	nic_child(open_without_capability, NULL, NOBODY, 0666);
}

static void test_owner(void **state)
{
	struct vnic_device_options options = {.name = "vn0"};
	char mine[] = "vn0";
	char group[] = "vn1";
	struct vnic_device *device;
	struct vnic_link_info info;
	struct vnic_error error = {0};

	NIC_BEGIN(state);
	NIC_NEEDS_ROOT();
	device = nic_open(&options);
	assert_ok(vnic_device_query(device, &info, &error), &error);
	assert_false(info.has_owner || info.has_group || info.persistent);
	assert_ok(vnic_device_set_persistent(device, true, &error), &error);
	assert_ok(vnic_device_set_owner(device, NOBODY, &error), &error);
	assert_ok(vnic_device_query(device, &info, &error), &error);
	assert_true(info.has_owner && info.persistent);
	/* By value: a pointer would have made it somebody else's. */
	assert_int_equal(info.owner, NOBODY);
	vnic_device_close(device);
	nic_child(open_as_owner, mine, NOBODY, 0666);
	nic_child(open_anothers, mine, NOBODY - 1, 0666);

	options.name = "vn1";
	device = nic_open(&options);
	assert_ok(vnic_device_set_persistent(device, true, &error), &error);
	assert_ok(vnic_device_set_group(device, NOBODY, &error), &error);
	assert_ok(vnic_device_query(device, &info, &error), &error);
	assert_true(info.has_group);
	assert_int_equal(info.group, NOBODY);
	vnic_device_close(device);
	nic_child(open_as_owner, group, NOBODY, 0666);
	nic_child(open_anothers, group, NOBODY - 1, 0666);
	/* Attaching did not un-persist it. */
	assert_int_not_equal(if_nametoindex("vn0"), 0);
}

static void test_features(void **state)
{
	struct vnic_features features;
	struct vnic_error error = {0};

	NIC_BEGIN(state);
	assert_ok(vnic_features_query(&features, &error), &error);
	assert_true(features.tun && features.tap && features.packet_information);
	assert_true(features.multi_queue && features.vnet_header && features.exclusive);
	assert_true(strlen(features.kernel) > 2);
	if (nic_true_root) {
		assert_true(features.offloads_known);
		assert_int_equal(features.offloads & 0xf, 0xf);
		assert_int_equal(features.vnet_header_most_bytes,
				 features.offloads & VNIC_OFFLOAD_UDP_TUNNEL ? 24 : 12);
		assert_true(features.carrier && features.steering && features.netns);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		NIC_TEST(test_defaults),
		NIC_TEST(test_names),
		NIC_TEST(test_bad_names),
		NIC_TEST(test_modes),
		NIC_TEST(test_mismatches),
		NIC_TEST(test_contradictions),
		NIC_TEST(test_queues),
		NIC_TEST(test_header_is_shared),
		NIC_TEST(test_no_queue_opened_half),
		NIC_TEST(test_headers),
		NIC_TEST(test_byte_order),
		NIC_TEST(test_flags),
		NIC_TEST(test_offloads_negotiated),
		NIC_TEST(test_offload_names),
		NIC_TEST(test_renamed),
		NIC_TEST(test_deleted),
		NIC_TEST(test_node_and_capability),
		NIC_TEST(test_owner),
		NIC_TEST(test_features),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
