/* SPDX-License-Identifier: MIT */
/* Descriptors that come from elsewhere, and go there. */
#include "nic.h"

#define PORT 4000

static int raw_queue(const char *name, short flags)
{
	struct ifreq request = {.ifr_flags = flags};
	int descriptor = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

	assert_true(descriptor >= 0);
	strcpy(request.ifr_name, name);
	if (ioctl(descriptor, TUNSETIFF, &request) < 0)
		fail_msg("TUNSETIFF: %s", strerror(errno));
	return descriptor;
}

static void test_adopt(void **state)
{
	static const struct {
		short flags;
		unsigned header;
		unsigned offloads;
		bool information;
	} cases[] = {
		{IFF_TUN | IFF_NO_PI, 0, 0, false},
		{IFF_TUN, 0, 0, true},
		{IFF_TAP | IFF_NO_PI, 0, 0, false},
		{IFF_TUN | IFF_NO_PI | IFF_VNET_HDR, 12, VNIC_OFFLOAD_CSUM, false},
		{IFF_TUN | IFF_VNET_HDR, 12, VNIC_OFFLOAD_CSUM | VNIC_OFFLOAD_TSO4, true},
	};
	struct vnic_error error = {0};
	size_t i;

	NIC_BEGIN(state);
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int descriptor = raw_queue("vn0", cases[i].flags);
		struct vnic_device *device = NULL;
		uint8_t bytes[2000];
		struct vnic_packet packet = {.data = bytes, .capacity_bytes = sizeof(bytes)};
		int length = 12;
		int released;
		int udp;

		if (cases[i].header)
			assert_int_equal(ioctl(descriptor, TUNSETVNETHDRSZ, &length), 0);
		assert_ok(vnic_device_adopt(&descriptor, 1, cases[i].offloads, &device, &error),
			  &error);
		assert_int_equal(vnic_device_offloads(device), cases[i].offloads);
		assert_int_equal(vnic_device_vnet_header_bytes(device), cases[i].header);
		assert_int_equal(vnic_device_type(device),
				 cases[i].flags & IFF_TAP ? VNIC_TAP : VNIC_TUN);
		assert_int_equal(vnic_device_descriptor(device, 0), descriptor);
		assert_int_equal(fcntl(descriptor, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
		nic_up(device, "10.0.0.1/24");
		udp = nic_udp("10.0.0.1", PORT);
		nic_udp_send(udp, "10.0.0.2", 7, "hello", 5);
		nic_receive(device, 0, &packet);
		if (!(cases[i].flags & IFF_TAP)) {
			assert_int_equal(packet.length_bytes, 33);
			assert_int_equal(packet.data[0], 0x45);
			assert_int_equal(packet.flags & VNIC_PACKET_NEEDS_CSUM,
					 cases[i].offloads ? VNIC_PACKET_NEEDS_CSUM : 0);
		}
		close(udp);
		if (i % 2) {
			vnic_device_close(device);
			assert_int_equal(fcntl(descriptor, F_GETFD), -1);
		} else {
			vnic_device_release(device, &released);
			assert_int_equal(released, descriptor);
			assert_int_not_equal(if_nametoindex("vn0"), 0);
			close(descriptor);
		}
		assert_int_equal(if_nametoindex("vn0"), 0);
	}
}

static void test_adopt_refused(void **state)
{
	struct vnic_device *device = NULL;
	struct vnic_error error = {0};
	int descriptors[2];

	NIC_BEGIN(state);
	descriptors[0] = open("/dev/null", O_RDWR | O_CLOEXEC);
	assert_refused(vnic_device_adopt(descriptors, 1, 0, &device, &error), &error, -EBADF,
		       VNIC_CAUSE_ARGUMENT, "/dev/net/tun");
	close(descriptors[0]);
	assert_refused(vnic_device_adopt(descriptors, 1, 0, &device, &error), &error, -EBADF,
		       VNIC_CAUSE_ARGUMENT, "/dev/net/tun");
	assert_refused(vnic_device_adopt(descriptors, 0, 0, &device, &error), &error, -EINVAL,
		       VNIC_CAUSE_ARGUMENT, "0 descriptors");
	assert_refused(vnic_device_adopt(descriptors, 257, 0, &device, &error), &error, -EINVAL,
		       VNIC_CAUSE_ARGUMENT, "257 descriptors");
	descriptors[0] = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	assert_refused(vnic_device_adopt(descriptors, 1, 0, &device, &error), &error, -EBADFD,
		       VNIC_CAUSE_DEVICE_GONE, "no interface");
	close(descriptors[0]);
	descriptors[0] = raw_queue("vn0", IFF_TUN | IFF_NO_PI);
	descriptors[1] = raw_queue("vn1", IFF_TUN | IFF_NO_PI);
	assert_refused(vnic_device_adopt(descriptors, 2, 0, &device, &error), &error, -EINVAL,
		       VNIC_CAUSE_ARGUMENT, "two interfaces");
	assert_refused(vnic_device_adopt(descriptors, 1, VNIC_OFFLOAD_CSUM, &device, &error),
		       &error, -EINVAL, VNIC_CAUSE_ARGUMENT, "header");
	assert_refused(vnic_device_adopt(descriptors, 1, VNIC_OFFLOAD_TSO4, &device, &error),
		       &error, -EINVAL, VNIC_CAUSE_ARGUMENT, "tso4");
	close(descriptors[1]);
	descriptors[1] = dup(descriptors[0]);
	assert_refused(vnic_device_adopt(descriptors, 2, 0, &device, &error), &error, -EINVAL,
		       VNIC_CAUSE_ARGUMENT, "single queue");
	/* They are still the caller's, and as they were. */
	assert_int_equal(fcntl(descriptors[0], F_GETFL) & O_NONBLOCK, 0);
	assert_null(device);
	close(descriptors[0]);
	close(descriptors[1]);
}

static void test_descriptors_over_a_socket(void **state)
{
	static const int types[] = {SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM};
	struct vnic_device_options options = {.queues = 3};
	struct vnic_error error = {0};
	size_t i;

	NIC_BEGIN(state);
	for (i = 0; i < 3; i++) {
		struct vnic_device *device = nic_open(&options);
		struct vnic_device *adopted = NULL;
		int descriptors[3];
		int received[4] = {-1, -1, -1, -1};
		char name[VNIC_NAME_BYTES];
		char data[64];
		size_t length = sizeof(data);
		int pair[2];

		assert_int_equal(socketpair(AF_UNIX, types[i] | SOCK_CLOEXEC, 0, pair), 0);
		vnic_device_release(device, descriptors);
		assert_ok(vnic_descriptors_send(pair[0], descriptors, 3, "tun0", 5, &error),
			  &error);
		assert_int_equal(
			vnic_descriptors_receive(pair[1], received, 4, data, &length, &error), 3);
		assert_int_equal(length, 5);
		assert_string_equal(data, "tun0");
		assert_int_equal(fcntl(received[2], F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
		close(descriptors[0]);
		close(descriptors[1]);
		close(descriptors[2]);
		assert_ok(vnic_device_adopt(received, 3, 0, &adopted, &error), &error);
		assert_ok(vnic_device_name(adopted, name, &error), &error);
		assert_string_equal(name, "tun0");
		vnic_device_close(adopted);
		close(pair[0]);
		close(pair[1]);
	}
}

static void test_descriptors_limits(void **state)
{
	struct vnic_error error = {0};
	int many[254];
	int received[253];
	int pair[2];
	char room[4];
	size_t length = sizeof(room);
	unsigned i;

	NIC_BEGIN(state);
	for (i = 0; i < 254; i++)
		many[i] = 0;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair),
			 0);
	assert_refused(vnic_descriptors_send(pair[0], many, 0, NULL, 0, &error), &error, -EINVAL,
		       VNIC_CAUSE_ARGUMENT, "0 descriptors");
	assert_refused(vnic_descriptors_send(pair[0], many, 254, NULL, 0, &error), &error, -EINVAL,
		       VNIC_CAUSE_ARGUMENT, "254 descriptors");
	assert_refused(vnic_descriptors_send(pair[0], many, 1, room, 0, &error), &error, -EINVAL,
		       VNIC_CAUSE_ARGUMENT, "0 bytes");
	assert_refused(vnic_descriptors_send(pair[0], many, 1, room, 4097, &error), &error, -EINVAL,
		       VNIC_CAUSE_ARGUMENT, "4097 bytes");
	/* The most that go, without data; and a caller with room for 2: the rest does not leak. */
	assert_ok(vnic_descriptors_send(pair[0], many, 253, NULL, 0, &error), &error);
	assert_int_equal(vnic_descriptors_receive(pair[1], received, 253, NULL, NULL, &error), 253);
	for (i = 0; i < 253; i++)
		close(received[i]);
	assert_ok(vnic_descriptors_send(pair[0], many, 5, "x", 1, &error), &error);
	assert_int_equal(vnic_descriptors_receive(pair[1], received, 2, room, &length, &error), 2);
	assert_int_equal(length, 1);
	close(received[0]);
	close(received[1]);
	/* Bytes alone are not what was promised. */
	assert_int_equal(write(pair[0], "y", 1), 1);
	assert_refused(vnic_descriptors_receive(pair[1], received, 2, NULL, NULL, &error), &error,
		       -EBADMSG, VNIC_CAUSE_SYSTEM, "without descriptors");
	close(pair[0]);
	assert_int_equal(vnic_descriptors_receive(pair[1], received, 2, NULL, NULL, &error), 0);
	assert_refused(vnic_descriptors_send(pair[1], many, 1, NULL, 0, &error), &error, -EPIPE,
		       VNIC_CAUSE_SYSTEM, "cannot send");
	close(pair[1]);
	assert_refused(vnic_descriptors_receive(-1, received, 2, NULL, NULL, &error), &error,
		       -EBADF, VNIC_CAUSE_SYSTEM, "cannot receive");
}

/* A child without any privilege gets an open device, and can use it. */
static int use_handed(void *user)
{
	const int *pair = user;
	struct vnic_device *device = NULL;
	struct vnic_error error = {0};
	uint8_t bytes[2000];
	struct vnic_packet packet = {.data = bytes, .capacity_bytes = sizeof(bytes)};
	struct vnic_link_info info;
	int descriptor;

	nic_check(vnic_descriptors_receive(pair[1], &descriptor, 1, NULL, NULL, &error) == 1);
	nic_check(vnic_device_adopt(&descriptor, 1, 0, &device, &error) == 0);
	nic_check(vnic_device_query(device, &info, &error) == 0);
	nic_check(strcmp(info.name, "tun0") == 0);
	packet.length_bytes = nic_build_udp(bytes, PORT, 3, false);
	nic_check(vnic_device_send(device, 0, &packet, 1) == 1);
	vnic_device_close(device);
	return 0;
}

static void test_handed_to_a_child(void **state)
{
	struct vnic_device *device;
	struct vnic_error error = {0};
	int descriptor;
	int pair[2];
	int udp;

	NIC_BEGIN(state);
	NIC_NEEDS_ROOT();
	device = nic_open(NULL);
	nic_up(device, "10.0.0.1/24");
	udp = nic_udp("10.0.0.1", PORT);
	descriptor = vnic_device_descriptor(device, 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_ok(vnic_descriptors_send(pair[0], &descriptor, 1, NULL, 0, &error), &error);
	nic_child(use_handed, pair, NOBODY, -1);
	nic_wait(udp, POLLIN);
	close(pair[0]);
	close(pair[1]);
	close(udp);
	vnic_device_close(device);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		NIC_TEST(test_adopt),
		NIC_TEST(test_adopt_refused),
		NIC_TEST(test_descriptors_over_a_socket),
		NIC_TEST(test_descriptors_limits),
		NIC_TEST(test_handed_to_a_child),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
