/* SPDX-License-Identifier: MIT */
/*
 * Every system call and allocation below each call of the library fails once. Afterwards nothing
 * may be left: no descriptor, no interface, no memory (LeakSanitizer sees to that), and the error
 * says what happened.
 */
#include "inject.h"
#include "nic.h"

#include <vnic/wire.h>

#define ATTEMPTS_MOST 2000

/* What is tried, in a namespace with the interface "vn0", which is open as context.device. */
struct context {
	struct vnic_device *device;
	struct vnic_device *made;
	struct vnic_watch *watch;
	int descriptors[2];
	int pair[2];
	char netns[32];
	void *list;
	size_t count;
};

static int open_plain(struct context *context, struct vnic_error *error)
{
	return vnic_device_open(NULL, &context->made, error);
}

static int open_rich(struct context *context, struct vnic_error *error)
{
	const struct vnic_device_options options = {
		.name = "vn1",
		.type = VNIC_TAP,
		.mode = VNIC_OPEN_CREATE,
		.queues = 3,
		.offloads = VNIC_OFFLOAD_ALL,
		.packet_information = true,
	};

	return vnic_device_open(&options, &context->made, error);
}

static int open_in_namespace(struct context *context, struct vnic_error *error)
{
	const struct vnic_device_options options = {.netns = context->netns, .queues = 2};

	return vnic_device_open(&options, &context->made, error);
}

static void close_made(struct context *context)
{
	vnic_device_close(context->made);
	context->made = NULL;
}

static int adopt(struct context *context, struct vnic_error *error)
{
	context->descriptors[0] = vnic_device_descriptor(context->device, 0);
	return vnic_device_adopt(context->descriptors, 1, VNIC_OFFLOAD_CSUM, &context->made, error);
}

static void release_made(struct context *context)
{
	vnic_device_release(context->made, context->descriptors);
	context->made = NULL;
}

static int configure(struct context *context, struct vnic_error *error)
{
	struct vnic_link_address addresses[] = {{.prefix = nic_prefix("10.0.0.1/24")},
						{.prefix = nic_prefix("fd00::1/64")}};
	struct vnic_route route = {.destination = nic_prefix("10.1.0.0/16")};
	const struct vnic_link_config config = {
		.addresses = addresses,
		.address_count = 2,
		.routes = &route,
		.route_count = 1,
		.mtu_bytes = 1400,
		.queue_packets = 600,
		.state = VNIC_LINK_UP,
	};

	return vnic_device_configure(context->device, &config, error);
}

static void unconfigure(struct context *context)
{
	const struct vnic_link_config down = {.state = VNIC_LINK_DOWN, .mtu_bytes = 1500};

	(void)context;
	assert_int_equal(system("ip address flush dev vn0"), 0);
	assert_int_equal(vnic_device_configure(context->device, &down, NULL), 0);
}

static int query(struct context *context, struct vnic_error *error)
{
	struct vnic_link_info info;

	return vnic_device_query(context->device, &info, error);
}

static int query_in_namespace(struct context *context, struct vnic_error *error)
{
	struct vnic_link_info info;

	return vnic_link_query(context->netns, "lo", &info, error);
}

static int list(struct context *context, struct vnic_error *error)
{
	return vnic_link_list(NULL, (struct vnic_link_info **)&context->list, &context->count,
			      error);
}

static int list_addresses(struct context *context, struct vnic_error *error)
{
	return vnic_link_addresses(NULL, "vn0", (struct vnic_link_address **)&context->list,
				   &context->count, error);
}

static int list_holders(struct context *context, struct vnic_error *error)
{
	return vnic_link_holders(NULL, "vn0", (struct vnic_link_holder **)&context->list,
				 &context->count, error);
}

static void free_list(struct context *context)
{
	free(context->list);
	context->list = NULL;
}

static int watch(struct context *context, struct vnic_error *error)
{
	return vnic_watch_open(context->device, &context->watch, error);
}

static void close_watch(struct context *context)
{
	vnic_watch_close(context->watch);
	context->watch = NULL;
}

static int ask_features(struct context *context, struct vnic_error *error)
{
	struct vnic_features features;

	(void)context;
	return vnic_features_query(&features, error);
}

static int filter(struct context *context, struct vnic_error *error)
{
	static const uint8_t macs[][VNIC_MAC_BYTES] = {{2, 0, 0, 0, 0, 1}};

	return vnic_device_set_mac_filter(context->device, macs, 1, false, error);
}

static int make_namespace(struct context *context, struct vnic_error *error)
{
	int code = vnic_netns_open(context->netns, error);

	if (code >= 0)
		close(code);
	return code < 0 ? code : 0;
}

static int hand_over(struct context *context, struct vnic_error *error)
{
	int descriptor = vnic_device_descriptor(context->device, 0);
	int code = vnic_descriptors_send(context->pair[0], &descriptor, 1, NULL, 0, error);
	int received = -1;

	if (code < 0)
		return code;
	code = vnic_descriptors_receive(context->pair[1], &received, 1, NULL, NULL, error);
	if (code == 1)
		close(received);
	return code;
}

/* What was sent and, because of the fault, not received. */
static void empty_pair(struct context *context)
{
	int received;

	while (recv(context->pair[1], &received, 1, MSG_DONTWAIT) > 0)
		;
}

/* All is closed again, whether or not it worked. */
static int join(struct context *context, struct vnic_error *error)
{
	const struct vnic_port_options options = {.offloads = VNIC_OFFLOAD_ALL};
	const struct vnic_wire_options impaired = {.impairments = {{.delay_ns = 1}, {.loss = 1}}};
	struct vnic_port *ports[2] = {NULL, NULL};
	struct vnic_wire *wire = NULL;
	char specification[64];
	int code;

	snprintf(specification, sizeof(specification), "tap:vn1@%s,10.0.0.1/24", context->netns);
	code = vnic_port_open("tap:,10.0.1.1/24", &options, &ports[0], error);
	if (code == 0)
		code = vnic_port_open(specification, &options, &ports[1], error);
	if (code == 0)
		code = vnic_wire_new(ports[0], ports[1], &impaired, &wire, error);
	if (code < 0)
		assert_null(wire);
	vnic_wire_free(wire);
	vnic_port_close(ports[0]);
	vnic_port_close(ports[1]);
	return code;
}

/* The other kinds: the same, each joined to a port that needs nothing. */
static int join_kind(const char *specification, bool record, struct vnic_error *error)
{
	const struct vnic_port_options options = {.record = record};
	struct vnic_port *ports[2] = {NULL, NULL};
	struct vnic_wire *wire = NULL;
	int code = vnic_port_open(specification, &options, &ports[record], error);

	if (code < 0)
		assert_null(ports[record]);
	if (code == 0)
		code = vnic_port_open("discard:", NULL, &ports[!record], error);
	if (code == 0)
		code = vnic_wire_new(ports[0], ports[1], NULL, &wire, error);
	if (code < 0)
		assert_null(wire);
	vnic_wire_free(wire);
	vnic_port_close(ports[0]);
	vnic_port_close(ports[1]);
	return code;
}

#define SOCKET_PATH "/tmp/vnic-faults.socket"
#define CAPTURE_PATH "/tmp/vnic-faults.pcap"

static int join_udp(struct context *context, struct vnic_error *error)
{
	(void)context;
	return join_kind("udp:127.0.0.1:4000-127.0.0.1:4001", false, error);
}

static int join_udp6(struct context *context, struct vnic_error *error)
{
	(void)context;
	return join_kind("udp:[::1]-[::1]:4001", false, error);
}

static int join_tcp(struct context *context, struct vnic_error *error)
{
	(void)context;
	return join_kind("tcp:127.0.0.1:4000", false, error);
}

static int join_tcp_listen(struct context *context, struct vnic_error *error)
{
	(void)context;
	return join_kind("tcp-listen:127.0.0.1:0", false, error);
}

static int join_exec(struct context *context, struct vnic_error *error)
{
	(void)context;
	return join_kind("exec:cat <&3 >&3", false, error);
}

static int join_unix(struct context *context, struct vnic_error *error)
{
	(void)context;
	return join_kind("unix:" SOCKET_PATH, false, error);
}

static int join_unix_listen(struct context *context, struct vnic_error *error)
{
	(void)context;
	return join_kind("unix-listen:" SOCKET_PATH, false, error);
}

static int record_capture(struct context *context, struct vnic_error *error)
{
	(void)context;
	return join_kind("pcap:" CAPTURE_PATH, true, error);
}

static int replay_capture(struct context *context, struct vnic_error *error)
{
	(void)context;
	return join_kind("pcap:" CAPTURE_PATH, false, error);
}

/* A socket in the file system is taken away with its port. */
static void no_socket(struct context *context)
{
	(void)context;
	if (access(SOCKET_PATH, F_OK) == 0)
		fail_msg("%s: '" SOCKET_PATH "' is left", inject_function());
}

static void nothing(struct context *context)
{
	(void)context;
}

static const struct operation {
	const char *name;
	int (*try_it)(struct context *context, struct vnic_error *error);
	void (*undo)(struct context *context);  /* after success */
	void (*clean)(struct context *context); /* always */
	unsigned least;                         /* calls that it makes: or the faults miss it */
} operations[] = {
	{"open", open_plain, close_made, nothing, 15},
	{"open a TAP with queues and offloads", open_rich, close_made, nothing, 20},
	{"open in a namespace", open_in_namespace, close_made, nothing, 20},
	{"adopt", adopt, release_made, nothing, 10},
	{"configure", configure, nothing, unconfigure, 20},
	{"query", query, nothing, nothing, 3},
	{"query in a namespace", query_in_namespace, nothing, nothing, 5},
	{"list", list, free_list, nothing, 5},
	{"list addresses", list_addresses, free_list, nothing, 5},
	{"list holders", list_holders, free_list, nothing, 5},
	{"watch", watch, close_watch, nothing, 5},
	{"features", ask_features, nothing, nothing, 5},
	{"filter", filter, nothing, nothing, 2},
	{"open a namespace", make_namespace, nothing, nothing, 1},
	{"hand over", hand_over, nothing, empty_pair, 2},
	{"join two ports", join, nothing, nothing, 60},
	{"udp: over IPv4", join_udp, nothing, nothing, 20},
	{"udp: over IPv6", join_udp6, nothing, nothing, 20},
	{"tcp:", join_tcp, nothing, nothing, 5},
	{"tcp-listen:", join_tcp_listen, nothing, nothing, 8},
	{"exec:", join_exec, nothing, nothing, 5},
	{"unix:", join_unix, nothing, no_socket, 5},
	{"unix-listen:", join_unix_listen, nothing, no_socket, 8},
	{"pcap: that records", record_capture, nothing, nothing, 5},
	{"pcap: that replays", replay_capture, nothing, nothing, 5},
};

/* One call with one fault. Returns false when there are fewer calls than that. */
static bool try_once(const struct operation *operation, struct context *context, unsigned nth)
{
	int before = nic_count_descriptors();
	struct vnic_error error = {0};
	bool fired;
	int after;
	int code;

	inject_nth(nth);
	code = operation->try_it(context, &error);
	fired = inject_end();
	if (code < 0) {
		if (!fired)
			fail_msg("%s: %s, and nothing was made to fail", operation->name,
				 error.text);
		if (error.code != code || error.cause == VNIC_CAUSE_NONE || strlen(error.text) < 8)
			fail_msg("%s, %s (call %u): returned %d, error %d (%s) '%s'",
				 operation->name, inject_function(), nth, code, error.code,
				 vnic_cause_name(error.cause), error.text);
		/* Outputs are set on success only. */
		if (context->made || context->watch || context->list)
			fail_msg("%s, %s (call %u): an output was set", operation->name,
				 inject_function(), nth);
	} else {
		operation->undo(context);
	}
	operation->clean(context);
	after = nic_count_descriptors();
	if (after != before)
		fail_msg("%s, %s (call %u): %d descriptors before, %d after", operation->name,
			 inject_function(), nth, before, after);
	if (if_nametoindex("tun0") || if_nametoindex("vn1"))
		fail_msg("%s, %s (call %u): an interface is left", operation->name,
			 inject_function(), nth);
	if (!fired && inject_count() < operation->least)
		fail_msg("%s: only %u calls were seen", operation->name, inject_count());
	return fired;
}

static void test_every_call_fails_once(void **state)
{
	struct vnic_device_options options = {
		.name = "vn0", .type = VNIC_TAP, .vnet_header_bytes = 12};
	struct context context = {.pair = {-1, -1}};
	struct vnic_error error = {0};
	size_t i;
	int netns;

	NIC_BEGIN(state);
	netns = vnic_netns_open(NULL, &error);
	snprintf(context.netns, sizeof(context.netns), "/proc/self/fd/%d", netns);
	assert_int_equal(unshare(CLONE_NEWNET | CLONE_NEWNS), 0);
	assert_int_equal(system("mount --make-rprivate / && mount -t tmpfs none /tmp && "
				"ip link set lo up"),
			 0);
	context.device = nic_open(&options);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, context.pair), 0);
	for (i = 0; i < sizeof(operations) / sizeof(operations[0]); i++) {
		unsigned nth = 1;

		while (try_once(&operations[i], &context, nth)) {
			if (++nth > ATTEMPTS_MOST)
				fail_msg("%s: no end", operations[i].name);
		}
	}
	vnic_device_close(context.device);
	close(context.pair[0]);
	close(context.pair[1]);
	close(netns);
}

/* Real limits have their own cause, so that a program can say what to raise. */
static void test_causes(void **state)
{
	static const struct {
		const char *function;
		int code;
		int expected;
		enum vnic_cause cause;
	} cases[] = {
		{"open", EMFILE, -EMFILE, VNIC_CAUSE_LIMIT},
		{"open", ENFILE, -ENFILE, VNIC_CAUSE_LIMIT},
		{"open", EACCES, -EACCES, VNIC_CAUSE_NODE_PERMISSION},
		{"open", EPERM, -EACCES, VNIC_CAUSE_NODE_PERMISSION},
		{"open", ENOENT, -ENOENT, VNIC_CAUSE_NODE_MISSING},
		{"open", ENODEV, -ENXIO, VNIC_CAUSE_NODE_MISSING},
		{"open", ENXIO, -ENXIO, VNIC_CAUSE_NODE_MISSING},
		{"socket", EMFILE, -EMFILE, VNIC_CAUSE_LIMIT},
		{"eventfd", EMFILE, -EMFILE, VNIC_CAUSE_LIMIT},
		{"calloc", ENOMEM, -ENOMEM, VNIC_CAUSE_MEMORY},
		{"aligned_alloc", ENOMEM, -ENOMEM, VNIC_CAUSE_MEMORY},
	};
	struct vnic_device *device = NULL;
	struct vnic_error error = {0};
	size_t i;

	NIC_BEGIN(state);
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int code;

		inject_all(cases[i].function, cases[i].code);
		code = vnic_device_open(NULL, &device, &error);
		if (!inject_end())
			fail_msg("%s was not called", cases[i].function);
		assert_refused(code, &error, cases[i].expected, cases[i].cause, "");
	}
	inject_all("pthread_create", EAGAIN);
	{
		int code = vnic_netns_call(-1, NULL, NULL, &error);

		(void)inject_end();
		assert_refused(code, &error, -EINVAL, VNIC_CAUSE_ARGUMENT, "function");
	}
	assert_null(device);
}

/* What the data calls make of each errno. */
static void test_data_calls(void **state)
{
	static const struct {
		int code;
		int sent;
		int received;
	} cases[] = {
		{EAGAIN, -EAGAIN, -EAGAIN}, {EIO, -ENETDOWN, -EIO}, {EBADFD, -ENODEV, -ENODEV},
		{EBADF, -EBADF, -EBADF},    {EINVAL, 1, -EINVAL},   {ENOMEM, 1, -ENOMEM},
		{EMSGSIZE, 1, -EMSGSIZE},
	};
	const struct vnic_device_options plain = {.no_offloads = true};
	struct vnic_queue_statistics statistics;
	struct vnic_device *device;
	uint8_t bytes[100];
	struct vnic_packet packet = {.data = bytes, .capacity_bytes = sizeof(bytes)};
	size_t i;

	NIC_BEGIN(state);
	device = nic_open(&plain);
	nic_up(device, "10.0.0.1/24");
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int code;

		packet.length_bytes = nic_build_udp(bytes, 4000, 10, false);
		inject_all("write", cases[i].code);
		code = vnic_device_send(device, 0, &packet, 1);
		assert_true(inject_end());
		assert_int_equal(code, cases[i].sent);
		inject_all("read", cases[i].code);
		code = vnic_device_receive(device, 0, &packet, 1);
		assert_true(inject_end());
		assert_int_equal(code, cases[i].received);
	}
	vnic_device_statistics(device, 0, &statistics);
	assert_int_equal(statistics.send_full, 1);
	assert_int_equal(statistics.send_link_down, 1);
	assert_int_equal(statistics.send_refused_packets, 3);
	assert_int_equal(statistics.sent_packets, 0);
	vnic_device_close(device);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		NIC_TEST(test_every_call_fails_once),
		NIC_TEST(test_causes),
		NIC_TEST(test_data_calls),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
