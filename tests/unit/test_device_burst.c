/* SPDX-License-Identifier: MIT */
/* Real packets: from a socket of the kernel's to the device, and back. */
#include "nic.h"

#include <pthread.h>

#define PORT 4000

static uint8_t memory[VNIC_BURST_PACKETS][70000];

static struct vnic_packet *make_packets(uint32_t capacity)
{
	static struct vnic_packet packets[VNIC_BURST_PACKETS];
	unsigned i;

	for (i = 0; i < VNIC_BURST_PACKETS; i++)
		packets[i] = (struct vnic_packet){.data = memory[i], .capacity_bytes = capacity};
	return packets;
}

static struct vnic_queue_statistics statistics_of(const struct vnic_device *device, unsigned queue)
{
	struct vnic_queue_statistics statistics;

	vnic_device_statistics(device, queue, &statistics);
	return statistics;
}

/* Whether the UDP checksum of an IPv4 packet without options is right. */
static bool is_sum_right(const uint8_t *bytes, uint32_t length)
{
	struct vnic_address source = vnic_address_from_bytes(VNIC_IPV4, bytes + 12);
	struct vnic_address target = vnic_address_from_bytes(VNIC_IPV4, bytes + 16);
	uint32_t sum = vnic_checksum_add_pseudo(0, &source, &target, 17, length - 20);

	return vnic_checksum_finish(vnic_checksum_add(sum, bytes + 20, length - 20)) == 0;
}

static void expect_datagram(int socket_descriptor, uint16_t length)
{
	static uint8_t data[70000];
	ssize_t got;
	uint16_t i;

	nic_wait(socket_descriptor, POLLIN);
	got = recv(socket_descriptor, data, sizeof(data), 0);
	assert_int_equal(got, length);
	for (i = 0; i < length; i++) {
		if (data[i] != (uint8_t)i)
			fail_msg("byte %u is %u", i, data[i]);
	}
}

/* Both ways, with every kind of header before the packet. */
static void test_there_and_back(void **state)
{
	static const struct vnic_device_options cases[] = {
		{.type = VNIC_TUN},
		{.no_offloads = true},
		{.no_offloads = true, .packet_information = true},
		{.no_offloads = true, .vnet_header_bytes = 10},
		{.no_offloads = true, .vnet_header_bytes = 12},
		{.no_offloads = true, .vnet_header_bytes = 24},
		{.no_offloads = true, .vnet_header_bytes = 12, .packet_information = true},
		{.offloads = VNIC_OFFLOAD_CSUM},
		{.offloads = VNIC_OFFLOAD_ALL, .packet_information = true},
		{.napi = true},
		{.no_offloads = true, .napi = true},
	};
	size_t i;

	NIC_BEGIN(state);
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct vnic_packet *packets = make_packets(2000);
		struct vnic_device *device = nic_open(&cases[i]);
		struct vnic_queue_statistics statistics;
		int partial;
		int udp;

		nic_up(device, "10.0.0.1/24");
		udp = nic_udp("10.0.0.1", PORT);
		assert_int_equal(vnic_device_receive(device, 0, packets, 1), -EAGAIN);
		nic_udp_send(udp, "10.0.0.2", 7, "hello", 5);
		nic_receive(device, 0, &packets[0]);
		assert_int_equal(packets[0].length_bytes, 33);
		assert_int_equal(packets[0].data[0], 0x45);
		assert_memory_equal(packets[0].data + 28, "hello", 5);
		assert_int_equal(packets[0].gso_type, VNIC_GSO_NONE);
		if (packets[0].flags & VNIC_PACKET_NEEDS_CSUM) {
			assert_false(cases[i].no_offloads);
			assert_int_equal(packets[0].csum_start, 20);
			assert_int_equal(packets[0].csum_offset, 6);
			assert_int_equal(vnic_packet_finish_checksum(&packets[0]), 0);
		} else {
			assert_true(cases[i].no_offloads);
		}
		assert_true(is_sum_right(packets[0].data, 33));

		/* Checksum done, and left to the other side. */
		for (partial = 0; partial < 2; partial++) {
			uint8_t before[1500];

			packets[0].length_bytes =
				nic_build_udp(packets[0].data, PORT, 1000, partial);
			packets[0].flags = partial ? VNIC_PACKET_NEEDS_CSUM : 0;
			packets[0].csum_start = 20;
			packets[0].csum_offset = 6;
			memcpy(before, packets[0].data, packets[0].length_bytes);
			assert_int_equal(vnic_device_send(device, 0, packets, 1), 1);
			expect_datagram(udp, 1000);
			assert_memory_equal(before, packets[0].data, packets[0].length_bytes);
		}
		statistics = statistics_of(device, 0);
		assert_int_equal(statistics.received_packets, 1);
		assert_int_equal(statistics.received_bytes, 33);
		assert_int_equal(statistics.sent_packets, 2);
		assert_int_equal(statistics.sent_bytes, 2056);
		assert_int_equal(statistics.send_refused_packets, 0);
		assert_int_equal(statistics.received_truncated_packets, 0);
		close(udp);
		vnic_device_close(device);
	}
}

/* A checksum that comes out as zero is sent as all ones: zero means that there is none. */
static void test_zero_checksum(void **state)
{
	struct vnic_packet *packets = make_packets(2000);
	struct vnic_device *device;
	uint32_t length;
	uint16_t sum;
	int udp;

	NIC_BEGIN(state);
	device = nic_open(NULL);
	nic_up(device, "10.0.0.1/24");
	udp = nic_udp("10.0.0.1", PORT);
	length = nic_build_udp(memory[0], PORT, 2, false);
	sum = (uint16_t)(memory[0][26] << 8 | memory[0][27]);
	/* Data that make up for the rest. */
	sum = (uint16_t)((memory[0][28] << 8 | memory[0][29]) + sum);
	length = nic_build_udp(memory[0], PORT, 2, true);
	memory[0][28] = (uint8_t)(sum >> 8);
	memory[0][29] = (uint8_t)sum;
	assert_true(vnic_checksum(memory[0] + 20, 10) == 0 ||
		    vnic_checksum(memory[0] + 20, 10) == 0xffff);
	packets[0].length_bytes = length;
	packets[0].flags = VNIC_PACKET_NEEDS_CSUM;
	packets[0].csum_start = 20;
	packets[0].csum_offset = 6;
	assert_int_equal(vnic_device_send(device, 0, packets, 1), 1);
	nic_wait(udp, POLLIN);
	close(udp);
	vnic_device_close(device);
}

static void test_bursts(void **state)
{
	struct vnic_packet *packets = make_packets(2000);
	struct vnic_device_options options = {.offloads = VNIC_OFFLOAD_CSUM};
	struct vnic_device *device;
	unsigned i;
	int udp;

	NIC_BEGIN(state);
	device = nic_open(&options);
	nic_up(device, "10.0.0.1/24");
	udp = nic_udp("10.0.0.1", PORT);
	for (i = 0; i < 100; i++)
		nic_udp_send(udp, "10.0.0.2", 7, &i, sizeof(i));
	assert_int_equal(vnic_device_receive(device, 0, packets, VNIC_BURST_PACKETS), 64);
	for (i = 0; i < 64; i++)
		assert_memory_equal(packets[i].data + 28, &i, sizeof(i));
	assert_int_equal(vnic_device_receive(device, 0, packets, VNIC_BURST_PACKETS), 36);
	assert_memory_equal(packets[35].data + 28, &(unsigned){99}, sizeof(i));
	assert_int_equal(vnic_device_receive(device, 0, packets, VNIC_BURST_PACKETS), -EAGAIN);
	for (i = 0; i < 64; i++) {
		packets[i].length_bytes = nic_build_udp(packets[i].data, PORT, (uint16_t)i, false);
		packets[i].flags = 0;
	}
	assert_int_equal(vnic_device_send(device, 0, packets, 64), 64);
	for (i = 0; i < 64; i++)
		expect_datagram(udp, (uint16_t)i);
	/* Counts and queues that are none. */
	assert_int_equal(vnic_device_receive(device, 0, packets, 0), -EINVAL);
	assert_int_equal(vnic_device_receive(device, 0, packets, 65), -EINVAL);
	assert_int_equal(vnic_device_receive(device, 1, packets, 1), -EINVAL);
	assert_int_equal(vnic_device_send(device, 0, packets, 0), -EINVAL);
	assert_int_equal(vnic_device_send(device, 1, packets, 1), -EINVAL);
	packets[0].capacity_bytes = 1;
	assert_int_equal(vnic_device_receive(device, 0, packets, 1), -EINVAL);
	close(udp);
	vnic_device_close(device);
}

static void test_truncation(void **state)
{
	static const struct vnic_device_options cases[] = {
		{.type = VNIC_TUN},
		{.packet_information = true},
		{.offloads = VNIC_OFFLOAD_CSUM},
	};
	size_t i;

	NIC_BEGIN(state);
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct vnic_device *device = nic_open(&cases[i]);
		uint8_t data[100] = {0};
		struct vnic_packet *packets = make_packets(129);
		int udp;

		nic_up(device, "10.0.0.1/24");
		udp = nic_udp("10.0.0.1", PORT);
		/* 128 bytes fit into 129, and not into 128. */
		nic_udp_send(udp, "10.0.0.2", 7, data, sizeof(data));
		nic_receive(device, 0, &packets[0]);
		assert_int_equal(packets[0].length_bytes, 128);
		assert_int_equal(packets[0].flags & VNIC_PACKET_TRUNCATED, 0);
		packets = make_packets(128);
		memory[0][127] = 0xee;
		memory[0][128] = 0xee;
		nic_udp_send(udp, "10.0.0.2", 7, data, sizeof(data));
		nic_receive(device, 0, &packets[0]);
		assert_int_equal(packets[0].length_bytes, 127);
		assert_int_equal(packets[0].flags & VNIC_PACKET_TRUNCATED, VNIC_PACKET_TRUNCATED);
		assert_int_equal(memory[0][128], 0xee);
		assert_int_equal(statistics_of(device, 0).received_truncated_packets, 1);
		/* So short that the checksum's place is cut off too. */
		packets = make_packets(8);
		nic_udp_send(udp, "10.0.0.2", 7, data, sizeof(data));
		nic_receive(device, 0, &packets[0]);
		assert_int_equal(packets[0].length_bytes, 7);
		assert_int_equal(packets[0].flags, VNIC_PACKET_TRUNCATED);
		close(udp);
		vnic_device_close(device);
	}
}

static void test_refused(void **state)
{
	struct vnic_packet *packets = make_packets(2000);
	struct vnic_device_options options = {.offloads = VNIC_OFFLOAD_CSUM};
	struct vnic_device *device;
	int udp;

	NIC_BEGIN(state);
	device = nic_open(NULL);
	nic_up(device, "10.0.0.1/24");
	udp = nic_udp("10.0.0.1", PORT);
	/* Not IP, empty, a super-packet, a checksum outside: each is taken, and counted. */
	memset(memory[0], 0, 40);
	packets[0].length_bytes = 40;
	packets[1].length_bytes = 0;
	packets[2].length_bytes = nic_build_udp(memory[2], PORT, 100, true);
	packets[2].gso_type = VNIC_GSO_UDP;
	packets[2].gso_size_bytes = 10;
	packets[3].length_bytes = nic_build_udp(memory[3], PORT, 100, true);
	packets[3].flags = VNIC_PACKET_NEEDS_CSUM;
	packets[3].csum_start = 20;
	packets[3].csum_offset = 107;
	packets[4].length_bytes = nic_build_udp(memory[4], PORT, 100, false);
	assert_int_equal(vnic_device_send(device, 0, packets, 5), 5);
	expect_datagram(udp, 100);
	assert_int_equal(statistics_of(device, 0).send_refused_packets, 4);
	assert_int_equal(statistics_of(device, 0).sent_packets, 1);
	close(udp);
	vnic_device_close(device);

	device = nic_open(&options);
	nic_up(device, "10.0.0.1/24");
	packets[3].csum_offset = 0xffff;
	packets[3].csum_start = 0xffff;
	assert_int_equal(vnic_device_send(device, 0, packets + 3, 1), 1);
	assert_int_equal(statistics_of(device, 0).send_refused_packets, 1);
	vnic_device_close(device);

	options = (struct vnic_device_options){.packet_information = true};
	device = nic_open(&options);
	nic_up(device, "10.0.0.1/24");
	assert_int_equal(vnic_device_send(device, 0, packets, 1), 1);
	assert_int_equal(statistics_of(device, 0).send_refused_packets, 1);
	vnic_device_close(device);
}

static void test_down_and_gone(void **state)
{
	struct vnic_link_config down = {.state = VNIC_LINK_DOWN};
	struct vnic_packet *packets = make_packets(2000);
	struct vnic_device *device;
	struct vnic_error error = {0};
	int udp;

	NIC_BEGIN(state);
	device = nic_open(NULL);
	packets[0].length_bytes = packets[1].length_bytes =
		nic_build_udp(memory[0], PORT, 1, false);
	nic_build_udp(memory[1], PORT, 1, false);
	assert_int_equal(vnic_device_send(device, 0, packets, 2), -ENETDOWN);
	assert_int_equal(vnic_device_receive(device, 0, packets, 1), -EAGAIN);
	nic_up(device, "10.0.0.1/24");
	udp = nic_udp("10.0.0.1", PORT);
	packets[0].length_bytes = nic_build_udp(memory[0], PORT, 1, false);
	assert_int_equal(vnic_device_send(device, 0, packets, 2), 2);
	expect_datagram(udp, 1);
	assert_ok(vnic_device_configure(device, &down, &error), &error);
	assert_int_equal(vnic_device_send(device, 0, packets, 1), -ENETDOWN);
	assert_int_equal(statistics_of(device, 0).send_link_down, 2);
	assert_int_equal(statistics_of(device, 0).sent_packets, 2);
	assert_ok(vnic_link_delete(NULL, "tun0", &error), &error);
	assert_int_equal(vnic_device_send(device, 0, packets, 1), -ENODEV);
	assert_int_equal(vnic_device_receive(device, 0, packets, 1), -ENODEV);
	close(udp);
	vnic_device_close(device);
}

/* 64 KiB of UDP leave a socket in one piece, and come back in one. */
static void test_super_packets(void **state)
{
	struct vnic_device_options options = {.offloads = VNIC_OFFLOAD_ALL};
	struct vnic_packet *packets = make_packets(70000);
	struct vnic_device *device;
	static uint8_t data[30000];
	int size = 1000;
	unsigned i;
	int udp;

	NIC_BEGIN(state);
	device = nic_open(&options);
	if (!(vnic_device_offloads(device) & VNIC_OFFLOAD_USO)) {
		vnic_device_close(device);
		print_message("this kernel has no USO\n");
		skip();
	}
	nic_up(device, "10.0.0.1/24");
	udp = nic_udp("10.0.0.1", PORT);
	assert_int_equal(setsockopt(udp, IPPROTO_UDP, 103 /* UDP_SEGMENT */, &size, sizeof(size)),
			 0);
	for (i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i % 1000);
	nic_udp_send(udp, "10.0.0.2", 7, data, sizeof(data));
	nic_receive(device, 0, &packets[0]);
	assert_int_equal(packets[0].length_bytes, 30028);
	assert_int_equal(packets[0].gso_type, VNIC_GSO_UDP);
	assert_int_equal(packets[0].gso_size_bytes, 1000);
	assert_int_equal(packets[0].flags, VNIC_PACKET_NEEDS_CSUM);
	assert_int_equal(packets[0].csum_start, 20);
	assert_int_equal(packets[0].csum_offset, 6);
	/* The same with its ends exchanged. */
	memcpy(packets[0].data + 12, (const uint8_t[]){10, 0, 0, 2, 10, 0, 0, 1}, 8);
	packets[0].data[20] = 0;
	packets[0].data[21] = 7;
	packets[0].data[22] = PORT >> 8;
	packets[0].data[23] = PORT & 0xff;
	assert_int_equal(vnic_device_send(device, 0, packets, 1), 1);
	assert_int_equal(statistics_of(device, 0).send_refused_packets, 0);
	for (i = 0; i < 30; i++) {
		uint8_t piece[2000];

		nic_wait(udp, POLLIN);
		assert_int_equal(recv(udp, piece, sizeof(piece), 0), 1000);
		assert_memory_equal(piece, data + i * 1000, 1000);
	}
	close(udp);
	vnic_device_close(device);
}

static void swap(uint8_t *bytes, size_t a, size_t b, size_t length)
{
	uint8_t kept[6];

	memcpy(kept, bytes + a, length);
	memcpy(bytes + a, bytes + b, length);
	memcpy(bytes + b, kept, length);
}

/* A super-packet inside of VXLAN: Ethernet, IPv4, UDP, VXLAN (8 bytes), Ethernet, IPv4, UDP. */
static void test_super_packet_in_a_tunnel(void **state)
{
	struct vnic_device_options options = {.type = VNIC_TAP, .offloads = VNIC_OFFLOAD_ALL};
	struct vnic_packet *packets = make_packets(70000);
	struct vnic_device *device;
	static uint8_t data[10000];
	int size = 1000;
	unsigned i;
	int udp;

	NIC_BEGIN(state);
	device = nic_open(&options);
	if (!(vnic_device_offloads(device) & VNIC_OFFLOAD_UDP_TUNNEL) ||
	    system("ip link add vx0 type vxlan id 7 remote 10.0.0.2 dstport 4789 dev tap0") != 0) {
		vnic_device_close(device);
		print_message(
			"this kernel has no VXLAN, or does not leave its segmentation to us\n");
		skip();
	}
	nic_up(device, "10.0.0.1/24");
	assert_int_equal(system("ip link set vx0 addrgenmode none up && "
				"ip address add 10.9.0.1/24 dev vx0 && "
				"ip neigh replace 10.0.0.2 lladdr 02:00:00:00:00:02 dev tap0 && "
				"ip neigh replace 10.9.0.2 lladdr 02:00:00:00:00:09 dev vx0"),
			 0);
	udp = nic_udp("10.9.0.1", PORT);
	assert_int_equal(setsockopt(udp, IPPROTO_UDP, 103 /* UDP_SEGMENT */, &size, sizeof(size)),
			 0);
	for (i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i % 1000);
	nic_udp_send(udp, "10.9.0.2", 7, data, sizeof(data));
	/* The kernel may have asked for a neighbour or reported a group on its own before. */
	do
		nic_receive(device, 0, &packets[0]);
	while (packets[0].length_bytes < sizeof(data));
	assert_int_equal(packets[0].length_bytes, 14 + 20 + 8 + 8 + 14 + 20 + 8 + sizeof(data));
	assert_int_equal(packets[0].gso_type, VNIC_GSO_UDP);
	assert_int_equal(packets[0].gso_size_bytes, 1000);
	assert_int_equal(packets[0].gso_tunnel, VNIC_IPV4);
	assert_int_equal(packets[0].tunnel_start, 34);
	assert_int_equal(packets[0].inner_start, 64);
	assert_int_equal(packets[0].csum_start, 84);
	assert_int_equal(statistics_of(device, 0).received_malformed_packets, 0);
	/* Back, with its ends exchanged in both headers. */
	swap(memory[0], 0, 6, 6);
	swap(memory[0], 26, 30, 4);
	swap(memory[0], 50, 56, 6);
	swap(memory[0], 76, 80, 4);
	swap(memory[0], 84, 86, 2);
	assert_int_equal(vnic_device_send(device, 0, packets, 1), 1);
	assert_int_equal(statistics_of(device, 0).send_refused_packets, 0);
	for (i = 0; i < 10; i++) {
		uint8_t piece[2000];

		nic_wait(udp, POLLIN);
		assert_int_equal(recv(udp, piece, sizeof(piece), 0), 1000);
		assert_memory_equal(piece, data + i * 1000, 1000);
	}
	close(udp);
	vnic_device_close(device);
}

static void test_frames(void **state)
{
	struct vnic_device_options options = {.type = VNIC_TAP, .packet_information = true};
	static const uint8_t mac[6] = {2, 0, 0, 0, 0, 1};
	struct vnic_link_address address = {.prefix = nic_prefix("10.0.0.1/24")};
	struct vnic_link_config config = {
		.mac = mac, .addresses = &address, .address_count = 1, .state = VNIC_LINK_UP};
	struct vnic_packet *packets = make_packets(2000);
	struct vnic_device *device;
	struct vnic_error error = {0};
	int udp;

	NIC_BEGIN(state);
	device = nic_open(&options);
	assert_ok(vnic_device_configure(device, &config, &error), &error);
	udp = nic_udp("10.0.0.1", PORT);
	nic_udp_send(udp, "10.0.0.2", 7, "x", 1);
	nic_receive(device, 0, &packets[0]);
	/* Who has 10.0.0.2? */
	assert_int_equal(vnic_device_layer(device), VNIC_LAYER_ETHERNET);
	assert_memory_equal(packets[0].data + 6, mac, 6);
	assert_memory_equal(packets[0].data + 12, "\x08\x06", 2);
	memcpy(memory[0], mac, 6);
	memcpy(memory[0] + 6, (const uint8_t[]){2, 0, 0, 0, 0, 2, 8, 0}, 8);
	packets[0].length_bytes = 14 + nic_build_udp(memory[0] + 14, PORT, 50, false);
	packets[0].flags = 0;
	assert_int_equal(vnic_device_send(device, 0, packets, 1), 1);
	expect_datagram(udp, 50);
	/* Shorter than an Ethernet header. */
	packets[0].length_bytes = 13;
	assert_int_equal(vnic_device_send(device, 0, packets, 1), 1);
	assert_int_equal(statistics_of(device, 0).send_refused_packets, 1);
	close(udp);
	vnic_device_close(device);
}

/* The kernel sends a flow to the queue that last wrote it. */
static void test_many_queues(void **state)
{
	struct vnic_device_options options = {.queues = 4};
	struct vnic_packet *packets = make_packets(2000);
	struct vnic_device *device;
	struct vnic_error error = {0};
	unsigned queue;
	int udp;

	NIC_BEGIN(state);
	device = nic_open(&options);
	nic_up(device, "10.0.0.1/24");
	udp = nic_udp("10.0.0.1", PORT);
	for (queue = 0; queue < 4; queue++) {
		packets[0].length_bytes = nic_build_udp(memory[0], PORT, 10, false);
		packets[0].flags = 0;
		assert_int_equal(vnic_device_send(device, queue, packets, 1), 1);
		expect_datagram(udp, 10);
		nic_udp_send(udp, "10.0.0.2", 0x1234, "y", 1);
		nic_receive(device, queue, &packets[0]);
		assert_int_equal(packets[0].length_bytes, 29);
		assert_int_equal(statistics_of(device, queue).received_packets, 1);
	}
	/* A detached queue: nothing is steered there, and detaching twice is no error. */
	assert_ok(vnic_device_set_queue(device, 3, false, &error), &error);
	assert_ok(vnic_device_set_queue(device, 3, false, &error), &error);
	assert_int_equal(vnic_device_receive(device, 3, packets, 1), -EAGAIN);
	nic_udp_send(udp, "10.0.0.2", 0x1234, "z", 1);
	{
		struct pollfd polls[3];

		for (queue = 0; queue < 3; queue++)
			polls[queue] = (struct pollfd){.fd = vnic_device_descriptor(device, queue),
						       .events = POLLIN};
		assert_true(poll(polls, 3, DEADLINE_MS) > 0);
	}
	assert_ok(vnic_device_set_queue(device, 3, true, &error), &error);
	assert_ok(vnic_device_set_queue(device, 3, true, &error), &error);
	packets[0].length_bytes = nic_build_udp(memory[0], PORT, 10, false);
	packets[0].flags = 0;
	assert_int_equal(vnic_device_send(device, 3, packets, 1), 1);
	expect_datagram(udp, 10);
	assert_refused(vnic_device_set_queue(device, 4, true, &error), &error, -EINVAL,
		       VNIC_CAUSE_ARGUMENT, "queue 4");
	/* All detached: the device can be asked and set all the same. */
	{
		struct vnic_link_info info;
		char name[VNIC_NAME_BYTES];

		for (queue = 0; queue < 4; queue++)
			assert_ok(vnic_device_set_queue(device, queue, false, &error), &error);
		assert_ok(vnic_device_query(device, &info, &error), &error);
		assert_int_equal(info.queues_detached, 4);
		assert_ok(vnic_device_name(device, name, &error), &error);
		assert_string_equal(name, "tun0");
		assert_ok(vnic_device_set_persistent(device, false, &error), &error);
		assert_ok(vnic_device_set_queue(device, 0, true, &error), &error);
		assert_ok(vnic_link_delete(NULL, name, &error), &error);
	}
	close(udp);
	vnic_device_close(device);
	device = nic_open(NULL);
	assert_refused(vnic_device_set_queue(device, 0, false, &error), &error, -EINVAL,
		       VNIC_CAUSE_ARGUMENT, "single-queue");
	vnic_device_close(device);
}

/* One thread for each queue, and one that looks on: for ThreadSanitizer. */

struct reader {
	struct vnic_device *device;
	unsigned queue;
	_Atomic bool *stop;
};

static void *read_queue(void *argument)
{
	const struct reader *reader = argument;
	uint8_t bytes[2000];
	uint8_t reply[100];
	uint32_t length = nic_build_udp(reply, PORT, 10, false);

	while (!*reader->stop) {
		struct vnic_packet packet = {.data = bytes, .capacity_bytes = sizeof(bytes)};

		if (vnic_device_receive(reader->device, reader->queue, &packet, 1) != 1)
			continue;
		packet = (struct vnic_packet){.data = reply, .length_bytes = length};
		vnic_device_send(reader->device, reader->queue, &packet, 1);
	}
	return NULL;
}

static void test_threads(void **state)
{
	struct vnic_device_options options = {.queues = 2};
	struct vnic_device *device;
	_Atomic bool stop = false;
	struct reader readers[2];
	pthread_t threads[2];
	unsigned i;
	int udp;

	NIC_BEGIN(state);
	device = nic_open(&options);
	nic_up(device, "10.0.0.1/24");
	udp = nic_udp("10.0.0.1", PORT);
	for (i = 0; i < 2; i++) {
		readers[i] = (struct reader){device, i, &stop};
		assert_int_equal(pthread_create(&threads[i], NULL, read_queue, &readers[i]), 0);
	}
	for (i = 0; i < 200; i++) {
		nic_udp_send(udp, "10.0.0.2", (uint16_t)(1000 + i), &i, sizeof(i));
		expect_datagram(udp, 10);
		(void)statistics_of(device, i % 2);
	}
	stop = true;
	for (i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(statistics_of(device, 0).received_packets +
				 statistics_of(device, 1).received_packets,
			 200);
	close(udp);
	vnic_device_close(device);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		NIC_TEST(test_there_and_back), NIC_TEST(test_zero_checksum),
		NIC_TEST(test_bursts),         NIC_TEST(test_truncation),
		NIC_TEST(test_refused),        NIC_TEST(test_down_and_gone),
		NIC_TEST(test_super_packets),  NIC_TEST(test_super_packet_in_a_tunnel),
		NIC_TEST(test_frames),         NIC_TEST(test_many_queues),
		NIC_TEST(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
