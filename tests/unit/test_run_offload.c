/* SPDX-License-Identifier: MIT */
/*
 * vnic_run() and vnic_worker_send() with super-packets, on real interfaces. The linker sends
 * writev(2) through __wrap_writev() here, which can play a kernel that refuses super-packets.
 */
#include <sys/uio.h>

#include "io/outlet.h"
#include "nic.h"
#include "samples.h"

#include <vnic/run.h>

#define PORT 4000
#define UDP_SEGMENT_OPTION 103
#define SEGMENT_BYTES 1000
#define SEGMENTS 10
#define PAYLOAD_BYTES (SEGMENT_BYTES * SEGMENTS)
#define MOST 200

/* What the kernel is made to say to super-packets; 0: what it says. */
static _Atomic int refusal;
static _Atomic unsigned refusals_left;

ssize_t __real_writev(int descriptor, const struct iovec *parts, int count);
ssize_t __wrap_writev(int descriptor, const struct iovec *parts, int count);
ssize_t __wrap_writev(int descriptor, const struct iovec *parts, int count)
{
	const uint8_t *header = parts[0].iov_base;

	if (refusal && refusals_left && parts[0].iov_len >= 10 && header[1] != 0) {
		refusals_left--;
		errno = refusal;
		return -1;
	}
	return __real_writev(descriptor, parts, count);
}

/* One run: what is sent when it begins, and what was seen. */
struct probe {
	const struct vnic_packet *packets;
	unsigned count;
	int sent;
	unsigned told;
	char text[128];
	unsigned received, calls, supers, wanted, most_at_once;
	const char *complaint;
	const struct vnic_packet *echo; /* sent for each burst that comes; NULL: nothing */
};

static uint64_t send_and_stop(struct vnic_worker *worker, uint64_t now_ns, void *user)
{
	struct probe *probe = user;

	(void)now_ns;
	if (probe->count)
		probe->sent = vnic_worker_send(worker, probe->packets, probe->count);
	probe->count = 0;
	vnic_stop(vnic_worker_device(worker));
	return VNIC_NEVER;
}

static void note_fallback(struct vnic_worker *worker, const char *text, void *user)
{
	struct probe *probe = user;

	(void)worker;
	probe->told++;
	snprintf(probe->text, sizeof(probe->text), "%s", text);
}

static int ignore(struct vnic_worker *worker, struct vnic_packet *packets, unsigned count,
		  void *user)
{
	(void)worker;
	(void)packets;
	(void)count;
	(void)user;
	return 0;
}

/* Returns what vnic_worker_send() did. */
static int send_in_run(struct vnic_device *device, struct probe *probe,
		       const struct vnic_packet *packets, unsigned count)
{
	const struct vnic_handler handler = {
		.receive = ignore, .timer = send_and_stop, .fallback = note_fallback};
	struct vnic_error error = {0};

	probe->packets = packets;
	probe->count = count;
	probe->sent = -1;
	assert_ok(vnic_run(device, &handler, probe, &error), &error);
	return probe->sent;
}

static uint64_t kernel_received(struct vnic_device *device)
{
	struct vnic_link_info info;
	struct vnic_error error = {0};

	assert_ok(vnic_device_query(device, &info, &error), &error);
	return info.statistics.rx_packets;
}

static uint64_t refused(struct vnic_device *device)
{
	struct vnic_queue_statistics statistics;

	vnic_device_statistics(device, 0, &statistics);
	return statistics.send_refused_packets;
}

static struct vnic_device *open_up(const struct vnic_device_options *options)
{
	struct vnic_device *device = nic_open(options);

	nic_up(device, "10.0.0.1/24");
	return device;
}

/* A super-packet of SEGMENTS. */
static struct vnic_packet make_super(bool udp, uint32_t index)
{
	struct vnic_packet packet = {.capacity_bytes = VNIC_PACKET_BYTES};
	const struct sample sample = {
		.payload = PAYLOAD_BYTES, .udp = udp, .sequence = PAYLOAD_BYTES * index};

	packet.data = malloc(VNIC_PACKET_BYTES);
	assert_non_null(packet.data);
	sample_build_super(&sample, SEGMENT_BYTES, &packet);
	return packet;
}

static void make_supers(struct vnic_packet *packets, unsigned count, bool udp)
{
	for (unsigned i = 0; i < count; i++)
		packets[i] = make_super(udp, i);
}

static void free_packets(struct vnic_packet *packets, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		free(packets[i].data);
}

/* Super-packets may be sent whatever the device takes, and stay as they are. */
static void test_any_device_takes_super_packets(void **state)
{
	static const struct {
		struct vnic_device_options options;
		bool tcp_whole, udp_whole;
	} cases[] = {
		{{.name = NULL}, true, true},
		{{.no_offloads = true}, false, false},
		{{.no_offloads = true, .vnet_header_bytes = 12}, false, false},
		{{.offloads = VNIC_OFFLOAD_CSUM}, false, false},
		{{.offloads = VNIC_OFFLOAD_CSUM | VNIC_OFFLOAD_TSO4}, true, false},
		{{.offloads = VNIC_OFFLOAD_CSUM | VNIC_OFFLOAD_TSO6}, false, false},
	};

	NIC_BEGIN(state);
	for (unsigned i = 0; i < 2 * sizeof(cases) / sizeof(cases[0]); i++) {
		bool udp = i % 2, whole = udp ? cases[i / 2].udp_whole : cases[i / 2].tcp_whole;
		struct vnic_device *device = open_up(&cases[i / 2].options);
		struct probe probe = {0};
		struct vnic_packet packets[MOST], one = make_super(udp, 7);
		uint64_t before = kernel_received(device);
		uint64_t expected = whole ? MOST : MOST * SEGMENTS;

		if (udp && whole && !(vnic_device_offloads(device) & VNIC_OFFLOAD_USO))
			expected = MOST * SEGMENTS;
		make_supers(packets, MOST, udp);
		assert_int_equal(send_in_run(device, &probe, packets, MOST), MOST);
		if (kernel_received(device) - before != expected)
			fail_msg("case %u: the kernel got %u packets, not %u", i,
				 (unsigned)(kernel_received(device) - before), (unsigned)expected);
		assert_int_equal(refused(device), 0);
		assert_int_equal(probe.told, 0);
		assert_int_equal(packets[7].length_bytes, one.length_bytes);
		assert_memory_equal(packets[7].data, one.data, one.length_bytes);
		free_packets(packets, MOST);
		free(one.data);
		vnic_device_close(device);
	}
}

/* Send super-packets to a kernel that refuses so many of them. */
static void fall_back(int code, unsigned refusals, unsigned supers, bool udp)
{
	struct vnic_device *device = open_up(NULL);
	unsigned whole = refusals < 4 ? supers - refusals : 0;
	uint64_t before = kernel_received(device);
	struct vnic_packet packets[MOST];
	struct probe probe = {0};

	if (udp && !(vnic_device_offloads(device) & VNIC_OFFLOAD_USO)) {
		vnic_device_close(device);
		return;
	}
	make_supers(packets, supers, udp);
	refusal = code;
	refusals_left = refusals;
	assert_int_equal(send_in_run(device, &probe, packets, supers), supers);
	/* Four in a row are enough. */
	assert_int_equal(refusals_left, refusals >= 4 ? refusals - 4 : 0);
	assert_int_equal(probe.told, refusals >= 4);
	if (probe.told && !strstr(probe.text, udp ? "segment UDP and refuses" : "segment TCP and"))
		fail_msg("'%s'", probe.text);
	assert_int_equal(kernel_received(device) - before, (supers - whole) * SEGMENTS + whole);
	/* What was learnt outlives the run, and is not told again. */
	before = kernel_received(device);
	assert_int_equal(send_in_run(device, &probe, packets, supers), supers);
	assert_int_equal(probe.told, refusals >= 4);
	assert_int_equal(refusals_left, refusals >= 4 ? refusals - 4 : 0);
	assert_int_equal(kernel_received(device) - before,
			 refusals >= 4 ? supers * SEGMENTS : supers);
	refusal = 0;
	assert_int_equal(refused(device), 0);
	free_packets(packets, supers);
	vnic_device_close(device);
}

static void test_kernel_refuses_super_packets(void **state)
{
	NIC_BEGIN(state);
	fall_back(EINVAL, 1000, 100, false);
	fall_back(EIO, 1000, 100, false);
	fall_back(EINVAL, 1000, 100, true);
	fall_back(EIO, 1000, 100, true);
}

static void test_kernel_refuses_some_super_packets(void **state)
{
	NIC_BEGIN(state);
	fall_back(EINVAL, 3, 100, false);
	fall_back(EIO, 1, 1, true);
}

/* Super-packets that cannot be cut, with plain packets between them, turn nothing off. */
static void test_broken_super_packets_prove_nothing(void **state)
{
	const struct sample plain = {.payload = 100};
	struct vnic_packet packets[40];
	struct vnic_device *device;
	struct probe probe = {0};
	uint64_t before;

	NIC_BEGIN(state);
	device = open_up(NULL);
	for (unsigned i = 0; i < 40; i++) {
		packets[i] = make_super(false, i);
		if (i % 2)
			sample_build(&plain, &packets[i]);
		else
			packets[i].csum_start = 60000;
	}
	before = kernel_received(device);
	assert_int_equal(send_in_run(device, &probe, packets, 40), 40);
	assert_int_equal(probe.told, 0);
	assert_int_equal(refused(device), 20);
	assert_int_equal(kernel_received(device) - before, 20);
	free_packets(packets, 40);
	make_supers(packets, 10, false);
	assert_int_equal(send_in_run(device, &probe, packets, 10), 10);
	assert_int_equal(kernel_received(device) - before, 30); /* whole, as before */
	free_packets(packets, 10);
	vnic_device_close(device);
}

static void test_interface_is_down(void **state)
{
	const struct vnic_link_config down = {.state = VNIC_LINK_DOWN};
	struct vnic_packet packets[MOST];
	struct vnic_error error = {0};
	struct vnic_device *device;
	struct probe probe = {0};

	NIC_BEGIN(state);
	device = open_up(NULL);
	assert_ok(vnic_device_configure(device, &down, &error), &error);
	make_supers(packets, MOST, false);
	assert_int_equal(send_in_run(device, &probe, packets, MOST), 0);
	assert_int_equal(probe.told, 0);
	assert_int_equal(refused(device), MOST);
	free_packets(packets, MOST);
	vnic_device_close(device);
}

/* A datagram of many segments from 10.0.0.2 to the kernel's socket. */
static void make_datagrams(struct vnic_packet *packet, uint8_t *bytes)
{
	*packet = (struct vnic_packet){
		.data = bytes,
		.length_bytes = nic_build_udp(bytes, PORT, PAYLOAD_BYTES, true),
		.capacity_bytes = 28 + PAYLOAD_BYTES,
		.flags = VNIC_PACKET_NEEDS_CSUM,
		.gso_type = VNIC_GSO_UDP,
		.gso_size_bytes = SEGMENT_BYTES,
		.csum_start = 20,
		.csum_offset = 6,
	};
}

static void expect_datagrams(int udp, unsigned count, uint32_t bytes)
{
	uint8_t data[PAYLOAD_BYTES + 1];
	uint8_t first = 0;

	for (unsigned i = 0; i < count; i++) {
		nic_wait(udp, POLLIN);
		assert_int_equal(recv(udp, data, sizeof(data), 0), bytes);
		for (unsigned j = 0; j < bytes; j++, first++)
			if (data[j] != first)
				fail_msg("datagram %u: byte %u is %u, not %u", i, j, data[j],
					 first);
		if (count == 1)
			first = 0;
	}
}

/* The kernel's sockets receive what was meant, on whichever way it went in. */
static void test_what_arrives(void **state)
{
	static const struct vnic_device_options cases[] = {
		{.name = NULL},
		{.no_offloads = true},
		{.no_offloads = true, .vnet_header_bytes = 24},
		{.name = "vn0"}, /* refuses */
	};
	static uint8_t bytes[28 + PAYLOAD_BYTES], small[128];
	struct vnic_packet packets[2];

	NIC_BEGIN(state);
	make_datagrams(&packets[0], bytes);
	packets[1] = (struct vnic_packet){
		.data = small,
		.length_bytes = nic_build_udp(small, PORT, 100, true),
		.capacity_bytes = sizeof(small),
		.flags = VNIC_PACKET_NEEDS_CSUM,
		.csum_start = 20,
		.csum_offset = 6,
	};
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct vnic_device *device = open_up(&cases[i]);
		struct probe probe = {0};
		int udp = nic_udp("10.0.0.1", PORT);

		refusal = cases[i].name ? EINVAL : 0;
		refusals_left = 1000;
		assert_int_equal(send_in_run(device, &probe, packets, 2), 2);
		refusal = 0;
		expect_datagrams(udp, SEGMENTS, SEGMENT_BYTES);
		expect_datagrams(udp, 1, 100);
		close(udp);
		vnic_device_close(device);
	}
}

/* What handlers are given. */

static int note_packets(struct vnic_worker *worker, struct vnic_packet *packets, unsigned count,
			void *user)
{
	struct probe *probe = user;

	probe->calls++;
	if (count > probe->most_at_once)
		probe->most_at_once = count;
	if (probe->echo && vnic_worker_send(worker, probe->echo, 1) != 1)
		probe->complaint = "not sent";
	for (unsigned i = 0; i < count; i++) {
		const char *complaint = NULL;

		if (packets[i].data[0] >> 4 != 4)
			continue; /* the kernel's own */
		probe->received++;
		probe->supers += packets[i].gso_type != VNIC_GSO_NONE;
		if (packets[i].headroom_bytes < 128)
			complaint = "too little headroom";
		else if (packets[i].gso_type == VNIC_GSO_NONE &&
			 !(packets[i].flags & VNIC_PACKET_NEEDS_CSUM))
			complaint = plain_complaint(&packets[i], VNIC_LAYER_IP);
		if (packets[i].gso_type == VNIC_GSO_NONE &&
		    packets[i].length_bytes != 28 + SEGMENT_BYTES)
			complaint = "of another length";
		if (packets[i].flags & VNIC_PACKET_NEEDS_CSUM && !probe->supers)
			complaint = "its checksum is open";
		/* All of it may be written. */
		memset(packets[i].data - packets[i].headroom_bytes, 0xa5,
		       packets[i].headroom_bytes);
		if (complaint)
			probe->complaint = complaint;
	}
	return probe->received >= probe->wanted;
}

/* The kernel sends that many super-packets. */
static int send_supers(unsigned count)
{
	static uint8_t data[PAYLOAD_BYTES];
	int udp = nic_udp("10.0.0.1", PORT), size = SEGMENT_BYTES;

	assert_int_equal(setsockopt(udp, IPPROTO_UDP, UDP_SEGMENT_OPTION, &size, sizeof(size)), 0);
	for (unsigned i = 0; i < count; i++)
		nic_udp_send(udp, "10.0.0.2", 7, data, sizeof(data));
	return udp;
}

static void test_plain_handler(void **state)
{
	static const struct vnic_device_options cases[] = {
		{.name = NULL},
		{.no_offloads = true},
		{.no_offloads = true, .vnet_header_bytes = 12},
		{.offloads = VNIC_OFFLOAD_CSUM},
		{.packet_information = true},
	};
	const struct vnic_handler handler = {.receive = note_packets, .plain = true};

	NIC_BEGIN(state);
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct vnic_device *device = open_up(&cases[i]);
		struct probe probe = {.wanted = 20 * SEGMENTS};
		struct vnic_error error = {0};
		int udp = send_supers(20);

		assert_ok(vnic_run(device, &handler, &probe, &error), &error);
		if (probe.complaint)
			fail_msg("case %u: %s", i, probe.complaint);
		assert_int_equal(probe.received, 20 * SEGMENTS);
		assert_int_equal(probe.supers, 0);
		assert_true(probe.most_at_once <= VNIC_BURST_PACKETS);
		close(udp);
		vnic_device_close(device);
	}
}

/* Where offloads are not asked for, super-packets come as they are. */
static void test_handler_of_super_packets(void **state)
{
	const struct vnic_handler handler = {.receive = note_packets};
	struct probe probe = {.wanted = 20};
	struct vnic_error error = {0};
	struct vnic_device *device;
	int udp;

	NIC_BEGIN(state);
	device = open_up(NULL);
	if (!(vnic_device_offloads(device) & VNIC_OFFLOAD_USO)) {
		vnic_device_close(device);
		skip();
	}
	udp = send_supers(20);
	assert_ok(vnic_run(device, &handler, &probe, &error), &error);
	assert_int_equal(probe.received, 20);
	assert_int_equal(probe.supers, 20);
	assert_null(probe.complaint);
	close(udp);
	vnic_device_close(device);
}

/* A handler that has had enough in the middle of a super-packet is not called again. */
static void test_plain_handler_ends_the_run(void **state)
{
	const struct vnic_handler handler = {.receive = note_packets, .plain = true};
	struct probe probe = {.wanted = 1};
	struct vnic_error error = {0};
	struct vnic_device *device;
	int udp;

	NIC_BEGIN(state);
	device = open_up(NULL);
	udp = send_supers(20);
	assert_ok(vnic_run(device, &handler, &probe, &error), &error);
	assert_int_equal(probe.calls, 1);
	assert_true(probe.received <= VNIC_BURST_PACKETS);
	close(udp);
	vnic_device_close(device);
}

/* What is cut to be sent does not get into the way of what was cut on the way in. */
static void test_plain_handler_sends_super_packets(void **state)
{
	const struct vnic_handler handler = {.receive = note_packets, .plain = true};
	static uint8_t bytes[28 + PAYLOAD_BYTES];
	struct vnic_packet echo;
	struct probe probe = {.wanted = 20 * SEGMENTS, .echo = &echo};
	struct vnic_error error = {0};
	struct vnic_device *device;
	int udp;

	NIC_BEGIN(state);
	make_datagrams(&echo, bytes);
	device = open_up(NULL);
	udp = send_supers(20);
	refusal = EIO;
	refusals_left = 1000;
	assert_ok(vnic_run(device, &handler, &probe, &error), &error);
	refusal = 0;
	if (probe.complaint)
		fail_msg("%s", probe.complaint);
	assert_int_equal(probe.received, 20 * SEGMENTS);
	expect_datagrams(udp, SEGMENTS, SEGMENT_BYTES);
	close(udp);
	vnic_device_close(device);
}

/* A burst is bounded in bytes: 256 KiB, but always two packets. */
static void test_burst_is_bounded(void **state)
{
	static const struct {
		uint32_t length_bytes;
		unsigned count, wanted;
	} cases[] = {
		{1, 64, 64},   {1500, 64, 64}, {4095, 64, 64}, {8192, 64, 31},
		{60000, 1, 4}, {60000, 64, 4}, {65535, 64, 4}, {65557, 2, 3},
	};
	struct vnic_packet packets[VNIC_BURST_PACKETS];

	(void)state;
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		unsigned wanted;

		for (unsigned j = 0; j < cases[i].count; j++)
			packets[j] = (struct vnic_packet){.length_bytes = cases[i].length_bytes};
		wanted = vn_burst_wanted(packets, cases[i].count);
		if (wanted != cases[i].wanted)
			fail_msg("%u packets of %u bytes: %u are wanted, not %u", cases[i].count,
				 cases[i].length_bytes, wanted, cases[i].wanted);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		NIC_TEST(test_any_device_takes_super_packets),
		NIC_TEST(test_kernel_refuses_super_packets),
		NIC_TEST(test_kernel_refuses_some_super_packets),
		NIC_TEST(test_broken_super_packets_prove_nothing),
		NIC_TEST(test_interface_is_down),
		NIC_TEST(test_what_arrives),
		NIC_TEST(test_plain_handler),
		NIC_TEST(test_handler_of_super_packets),
		NIC_TEST(test_plain_handler_ends_the_run),
		NIC_TEST(test_plain_handler_sends_super_packets),
		NIC_TEST(test_burst_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
