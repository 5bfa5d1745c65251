/* SPDX-License-Identifier: MIT */
/*
 * What can be set on an open device, what of it stays behind with a persistent interface, and that
 * the next opener does not inherit it.
 */
#include "nic.h"

#include <linux/bpf.h>
#include <net/if_arp.h>
#include <sys/syscall.h>

#define PORT 4000
#define ETHERTYPE_OFFSET 12

/* An eBPF program that returns a number. */
static int load_program(int result)
{
	const struct bpf_insn instructions[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = result},
		{.code = BPF_JMP | BPF_EXIT},
	};
	union bpf_attr attribute = {
		.prog_type = BPF_PROG_TYPE_SOCKET_FILTER,
		.insns = (uintptr_t)instructions,
		.insn_cnt = 2,
		.license = (uintptr_t) "MIT",
	};

	return (int)syscall(SYS_bpf, BPF_PROG_LOAD, &attribute, sizeof(attribute));
}

static struct vnic_packet *one_packet(void)
{
	static uint8_t bytes[2000];
	static struct vnic_packet packet;

	packet = (struct vnic_packet){.data = bytes, .capacity_bytes = sizeof(bytes)};
	return &packet;
}

static void test_persistent(void **state)
{
	struct vnic_device_options options = {.name = "vn0"};
	struct vnic_device *device;
	struct vnic_error error = {0};

	NIC_BEGIN(state);
	device = nic_open(&options);
	assert_ok(vnic_device_set_persistent(device, true, &error), &error);
	vnic_device_close(device);
	assert_int_not_equal(if_nametoindex("vn0"), 0);
	device = nic_open(&options);
	vnic_device_close(device);
	assert_int_not_equal(if_nametoindex("vn0"), 0);
	device = nic_open(&options);
	assert_ok(vnic_device_set_persistent(device, false, &error), &error);
	assert_int_not_equal(if_nametoindex("vn0"), 0);
	vnic_device_close(device);
	assert_int_equal(if_nametoindex("vn0"), 0);
}

/* Once there is an owner there is always one: the kernel refuses -1. */
static void test_owner_values(void **state)
{
	struct vnic_device *device;
	struct vnic_error error = {0};
	struct vnic_link_info info;

	NIC_BEGIN(state);
	device = nic_open(NULL);
	assert_ok(vnic_device_set_owner(device, 0, &error), &error);
	assert_ok(vnic_device_set_group(device, 0, &error), &error);
	assert_ok(vnic_device_query(device, &info, &error), &error);
	assert_true(info.has_owner && info.has_group);
	assert_int_equal(info.owner, 0);
	assert_int_equal(info.group, 0);
	assert_refused(vnic_device_set_owner(device, (uid_t)-1, &error), &error, -EINVAL,
		       VNIC_CAUSE_ARGUMENT, "owner");
	assert_refused(vnic_device_set_group(device, (gid_t)-1, &error), &error, -EINVAL,
		       VNIC_CAUSE_ARGUMENT, "group");
	vnic_device_close(device);
}

static void test_carrier(void **state)
{
	struct vnic_device_options options = {.no_carrier = true};
	struct vnic_device *device;
	struct vnic_link_info info;
	struct vnic_error error = {0};

	NIC_BEGIN(state);
	device = nic_open(&options);
	nic_up(device, NULL);
	assert_ok(vnic_device_query(device, &info, &error), &error);
	assert_true(info.up && !info.carrier);
	assert_ok(vnic_device_set_carrier(device, true, &error), &error);
	assert_ok(vnic_device_query(device, &info, &error), &error);
	assert_true(info.carrier);
	assert_ok(vnic_device_set_carrier(device, false, &error), &error);
	assert_ok(vnic_device_query(device, &info, &error), &error);
	assert_false(info.carrier);
	vnic_device_close(device);
}

static void test_send_buffer(void **state)
{
	struct vnic_device *device;
	struct vnic_error error = {0};
	int bytes = 0;

	NIC_BEGIN(state);
	device = nic_open(NULL);
	assert_ok(vnic_device_set_send_buffer(device, 12345, &error), &error);
	assert_int_equal(ioctl(vnic_device_descriptor(device, 0), TUNGETSNDBUF, &bytes), 0);
	assert_int_equal(bytes, 12345);
	assert_refused(vnic_device_set_send_buffer(device, 0, &error), &error, -EINVAL,
		       VNIC_CAUSE_ARGUMENT, "0 bytes");
	assert_refused(vnic_device_set_send_buffer(device, -5, &error), &error, -EINVAL,
		       VNIC_CAUSE_ARGUMENT, "-5 bytes");
	vnic_device_close(device);
}

static void test_link_type(void **state)
{
	struct vnic_device *device;
	struct vnic_error error = {0};
	struct ifreq request = {.ifr_name = "tun0"};
	int any;

	NIC_BEGIN(state);
	device = nic_open(NULL);
	assert_ok(vnic_device_set_link_type(device, ARPHRD_RAWHDLC, &error), &error);
	any = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_equal(ioctl(any, SIOCGIFHWADDR, &request), 0);
	assert_int_equal(request.ifr_hwaddr.sa_family, ARPHRD_RAWHDLC);
	close(any);
	nic_up(device, NULL);
	assert_refused(vnic_device_set_link_type(device, ARPHRD_NONE, &error), &error, -EBUSY,
		       VNIC_CAUSE_ARGUMENT, "up");
	vnic_device_close(device);
}

/* A frame to everybody, which the kernel hands to the TAP: an ARP request. */
static void ask_for(int udp)
{
	static uint8_t last = 1;
	char address[32];

	/* Never the same twice, or it would wait for its first answer. */
	snprintf(address, sizeof(address), "10.0.0.%u", ++last);
	nic_udp_send(udp, address, 7, "x", 1);
}

/* All that was queued so far is thrown away. */
static void drain(struct vnic_device *device)
{
	while (vnic_device_receive(device, 0, one_packet(), 1) > 0)
		;
}

static uint64_t dropped(struct vnic_device *device)
{
	struct vnic_link_info info = {0};
	struct vnic_error error = {0};

	assert_ok(vnic_device_query(device, &info, &error), &error);
	return info.statistics.tx_dropped;
}

static struct vnic_device *open_tap(const char *name, int *udp)
{
	struct vnic_device_options options = {.name = name, .type = VNIC_TAP, .no_offloads = true};
	struct vnic_device *device = nic_open(&options);

	nic_up(device, "10.0.0.1/24");
	*udp = nic_udp("10.0.0.1", PORT);
	drain(device);
	return device;
}

static void test_mac_filter(void **state)
{
	static const uint8_t macs[][VNIC_MAC_BYTES] = {{2, 0, 0, 0, 0, 9}, {2, 0, 0, 0, 0, 10}};
	static const uint8_t everybody[][VNIC_MAC_BYTES] = {{255, 255, 255, 255, 255, 255}};
	struct vnic_device *device;
	struct vnic_error error = {0};
	uint64_t before;
	int udp;

	NIC_BEGIN(state);
	device = open_tap(NULL, &udp);
	ask_for(udp);
	nic_receive(device, 0, one_packet());
	assert_ok(vnic_device_set_mac_filter(device, macs, 2, false, &error), &error);
	before = dropped(device);
	ask_for(udp);
	assert_int_equal(dropped(device), before + 1);
	assert_ok(vnic_device_set_mac_filter(device, everybody, 1, false, &error), &error);
	ask_for(udp);
	nic_receive(device, 0, one_packet());
	/* Everybody is a group, and every group passes. */
	assert_ok(vnic_device_set_mac_filter(device, macs, 2, true, &error), &error);
	ask_for(udp);
	nic_receive(device, 0, one_packet());
	assert_ok(vnic_device_set_mac_filter(device, macs, 1, false, &error), &error);
	assert_ok(vnic_device_set_mac_filter(device, NULL, 0, false, &error), &error);
	ask_for(udp);
	nic_receive(device, 0, one_packet());
	assert_refused(vnic_device_set_mac_filter(device, macs, 65536, false, &error), &error,
		       -EINVAL, VNIC_CAUSE_ARGUMENT, "65536");
	close(udp);
	vnic_device_close(device);
	device = nic_open(NULL);
	assert_refused(vnic_device_set_mac_filter(device, macs, 1, false, &error), &error, -EINVAL,
		       VNIC_CAUSE_ARGUMENT, "TAP");
	assert_refused(vnic_device_set_socket_filter(device, NULL, 0, &error), &error, -EINVAL,
		       VNIC_CAUSE_ARGUMENT, "TAP");
	vnic_device_close(device);
}

/* Let nothing pass. */
static const struct vnic_bpf_instruction drop_all[] = {{.code = BPF_RET | BPF_K, .k = 0}};

static void test_socket_filter(void **state)
{
	static const struct vnic_bpf_instruction nonsense[] = {{.code = 0xffff}};
	struct vnic_device *device;
	struct vnic_error error = {0};
	uint64_t before;
	int udp;

	NIC_BEGIN(state);
	device = open_tap(NULL, &udp);
	assert_ok(vnic_device_set_socket_filter(device, drop_all, 1, &error), &error);
	before = dropped(device);
	ask_for(udp);
	assert_int_equal(dropped(device), before + 1);
	assert_ok(vnic_device_set_socket_filter(device, NULL, 0, &error), &error);
	/* Removing it twice is no error. */
	assert_ok(vnic_device_set_socket_filter(device, NULL, 0, &error), &error);
	ask_for(udp);
	nic_receive(device, 0, one_packet());
	assert_refused(vnic_device_set_socket_filter(device, nonsense, 1, &error), &error, -EINVAL,
		       VNIC_CAUSE_ARGUMENT, "program");
	assert_refused(vnic_device_set_socket_filter(device, drop_all, 4097, &error), &error,
		       -EINVAL, VNIC_CAUSE_ARGUMENT, "4097");
	close(udp);
	vnic_device_close(device);
}

static void test_programs(void **state)
{
	/* A filter cuts the checksum field off, which an offload would want to be there. */
	struct vnic_device_options options = {.queues = 3, .no_offloads = true};
	struct vnic_device *device;
	struct vnic_error error = {0};
	uint64_t before;
	int program;
	int udp;

	NIC_BEGIN(state);
	program = load_program(2);
	if (program < 0) {
		print_message("may not load eBPF programs: %s\n", strerror(errno));
		skip();
	}
	device = nic_open(&options);
	nic_up(device, "10.0.0.1/24");
	udp = nic_udp("10.0.0.1", PORT);
	assert_ok(vnic_device_set_steering(device, program, &error), &error);
	nic_udp_send(udp, "10.0.0.2", 7, "x", 1);
	nic_receive(device, 2, one_packet());
	assert_ok(vnic_device_set_steering(device, -1, &error), &error);
	close(program);

	/* It keeps 24 bytes. */
	program = load_program(24);
	assert_ok(vnic_device_set_steering(device, -1, &error), &error);
	assert_ok(vnic_device_set_filter(device, program, &error), &error);
	assert_ok(vnic_device_set_queue(device, 1, false, &error), &error);
	assert_ok(vnic_device_set_queue(device, 2, false, &error), &error);
	nic_udp_send(udp, "10.0.0.2", 7, "hello", 5);
	{
		struct vnic_packet *packet = one_packet();

		nic_receive(device, 0, packet);
		assert_int_equal(packet->length_bytes, 24);
	}
	close(program);
	program = load_program(0);
	assert_ok(vnic_device_set_filter(device, program, &error), &error);
	before = dropped(device);
	nic_udp_send(udp, "10.0.0.2", 7, "hello", 5);
	assert_int_equal(dropped(device), before + 1);
	assert_ok(vnic_device_set_filter(device, -1, &error), &error);
	close(program);
	nic_udp_send(udp, "10.0.0.2", 7, "hello", 5);
	nic_receive(device, 0, one_packet());

	assert_refused(vnic_device_set_steering(device, udp, &error), &error, -EINVAL,
		       VNIC_CAUSE_ARGUMENT, "eBPF");
	assert_refused(vnic_device_set_filter(device, 9999, &error), &error, -EINVAL,
		       VNIC_CAUSE_ARGUMENT, "eBPF");
	close(udp);
	vnic_device_close(device);
}

/* One opener leaves everything behind that can be; the next finds nothing of it. */
static void test_next_opener_inherits_nothing(void **state)
{
	struct vnic_device_options first = {
		.name = "vn0",
		.type = VNIC_TAP,
		.offloads = VNIC_OFFLOAD_ALL,
		.vnet_header_bytes = 24,
		.send_buffer_bytes = 3000,
		.no_carrier = true,
		.packet_information = true,
	};
	static const uint8_t macs[][VNIC_MAC_BYTES] = {{2, 0, 0, 0, 0, 9}};
	struct vnic_device *device;
	struct vnic_link_info info;
	struct vnic_error error = {0};
	int program;
	int bytes = 0;
	int off = 0;
	int udp;

	NIC_BEGIN(state);
	device = nic_open(&first);
	assert_ok(vnic_device_set_persistent(device, true, &error), &error);
	assert_ok(vnic_device_set_socket_filter(device, drop_all, 1, &error), &error);
	assert_ok(vnic_device_set_mac_filter(device, macs, 1, false, &error), &error);
	program = load_program(0);
	if (program >= 0) {
		assert_ok(vnic_device_set_filter(device, program, &error), &error);
		close(program);
	}
	assert_int_equal(ioctl(vnic_device_descriptor(device, 0), TUNSETVNETLE, &off), 0);
	vnic_device_close(device);

	device = open_tap("vn0", &udp);
	assert_int_equal(ioctl(vnic_device_descriptor(device, 0), TUNGETVNETHDRSZ, &bytes), 0);
	assert_int_equal(bytes, 10);
	assert_int_equal(ioctl(vnic_device_descriptor(device, 0), TUNGETVNETLE, &bytes), 0);
	assert_int_equal(bytes, 1);
	assert_int_equal(ioctl(vnic_device_descriptor(device, 0), TUNGETSNDBUF, &bytes), 0);
	assert_int_equal(bytes, INT32_MAX);
	assert_ok(vnic_device_query(device, &info, &error), &error);
	assert_true(info.persistent && info.carrier);
	assert_false(info.packet_information || info.vnet_header);
	/* The filters would have let nothing pass. */
	ask_for(udp);
	{
		struct vnic_packet *packet = one_packet();

		nic_receive(device, 0, packet);
		assert_memory_equal(packet->data + ETHERTYPE_OFFSET, "\x08\x06", 2);
	}
	close(udp);
	vnic_device_close(device);
}

/* A program that knows nothing of this library, and nothing of virtio-net headers. */
static int open_foreign(const char *name)
{
	struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
	int descriptor = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

	assert_true(descriptor >= 0);
	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
	assert_int_equal(ioctl(descriptor, TUNSETIFF, &request), 0);
	return descriptor;
}

/* A closed device leaves no offloads behind in a persistent interface. */
static void test_foreign_opener_gets_plain_packets(void **state)
{
	struct vnic_device_options options = {.name = "vn0"};
	struct vnic_device *device;
	struct vnic_error error = {0};
	static uint8_t data[10000], packet[65536];
	int foreign, udp, size = 1000;

	NIC_BEGIN(state);
	device = nic_open(&options);
	assert_ok(vnic_device_set_persistent(device, true, &error), &error);
	nic_up(device, "10.0.0.1/24");
	vnic_device_close(device);
	foreign = open_foreign("vn0");
	udp = nic_udp("10.0.0.1", PORT);
	assert_int_equal(setsockopt(udp, IPPROTO_UDP, 103 /* UDP_SEGMENT */, &size, sizeof(size)),
			 0);
	nic_udp_send(udp, "10.0.0.2", 7, data, sizeof(data));
	for (unsigned i = 0; i < 10; i++) {
		struct vnic_udp header;
		struct vnic_address from = nic_address("10.0.0.1/24"),
				    to = nic_address("10.0.0.2/24");

		nic_wait(foreign, POLLIN);
		assert_int_equal(read(foreign, packet, sizeof(packet)), 1028);
		assert_true(vnic_udp_parse(packet + 20, 1008, &header) > 0);
		assert_int_equal(vnic_udp_verify(packet + 20, &header, &from, &to), 0);
	}
	close(udp);
	close(foreign);
}

/* With TSO and USO left on, a device without headers would get packets of 64 KiB. */
static void test_offloads_are_not_inherited(void **state)
{
	struct vnic_device_options options = {.name = "vn0", .offloads = VNIC_OFFLOAD_ALL};
	struct vnic_device *device;
	struct vnic_error error = {0};
	static uint8_t data[10000];
	int size = 1000;
	unsigned i;
	int udp;

	NIC_BEGIN(state);
	device = nic_open(&options);
	assert_ok(vnic_device_set_persistent(device, true, &error), &error);
	vnic_device_close(device);
	options.offloads = 0;
	options.no_offloads = true;
	device = nic_open(&options);
	assert_int_equal(vnic_device_vnet_header_bytes(device), 0);
	nic_up(device, "10.0.0.1/24");
	udp = nic_udp("10.0.0.1", PORT);
	assert_int_equal(setsockopt(udp, IPPROTO_UDP, 103 /* UDP_SEGMENT */, &size, sizeof(size)),
			 0);
	nic_udp_send(udp, "10.0.0.2", 7, data, sizeof(data));
	for (i = 0; i < 10; i++) {
		struct vnic_packet *packet = one_packet();

		nic_receive(device, 0, packet);
		assert_int_equal(packet->length_bytes, 1028);
	}
	close(udp);
	vnic_device_close(device);
}

/* What the user set up on a persistent interface is there after opening it. */
static void test_opening_keeps_addresses(void **state)
{
	struct vnic_device_options options = {.name = "vn0"};
	struct vnic_link_address *addresses;
	struct vnic_device *device;
	struct vnic_error error = {0};
	size_t count = 0;

	NIC_BEGIN(state);
	device = nic_open(&options);
	assert_ok(vnic_device_set_persistent(device, true, &error), &error);
	nic_up(device, "10.0.0.1/24");
	vnic_device_close(device);
	device = nic_open(&options);
	nic_up(device, "10.0.1.1/24");
	assert_ok(vnic_link_addresses(NULL, "vn0", &addresses, &count, &error), &error);
	assert_int_equal(count, 2);
	free(addresses);
	vnic_device_close(device);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		NIC_TEST(test_persistent),
		NIC_TEST(test_owner_values),
		NIC_TEST(test_carrier),
		NIC_TEST(test_send_buffer),
		NIC_TEST(test_link_type),
		NIC_TEST(test_mac_filter),
		NIC_TEST(test_socket_filter),
		NIC_TEST(test_programs),
		NIC_TEST(test_next_opener_inherits_nothing),
		NIC_TEST(test_offloads_are_not_inherited),
		NIC_TEST(test_foreign_opener_gets_plain_packets),
		NIC_TEST(test_opening_keeps_addresses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
