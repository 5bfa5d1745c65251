/* SPDX-License-Identifier: MIT */
/*
 * Wires between a port of the test's own and a real interface. The linker sends writev(2) through
 * __wrap_writev() here, which can play a kernel that refuses super-packets.
 */
#include <sys/uio.h>

#include "fake_port.h"

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

static void test_specifications(void **state)
{
	static const char *const texts[] = {"",        "tun",
					    "tune:x",  "TUN:x",
					    "discard", "discard:x",
					    "tun:a@",  "tun:a,10.0.0.1/33",
					    "tun:a,",  "tap:a,10.0.0.1/24,"};
	struct vnic_port_options options = {.queues = 2};
	struct vnic_error error = {0};
	struct vnic_port *port = NULL;

	NIC_BEGIN(state);
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		if (vnic_port_open(texts[i], NULL, &port, &error) != -EINVAL || !error.text[0])
			fail_msg("'%s' was not refused: %s", texts[i], error.text);
	assert_refused(vnic_port_open("discard:", &options, &port, &error), &error, -EINVAL,
		       VNIC_CAUSE_ARGUMENT, "2 queues");
	assert_null(port);
	assert_ok(vnic_port_open("discard:", NULL, &port, &error), &error);
	assert_string_equal(vnic_port_name(port), "discard:");
	assert_string_equal(vnic_port_kind(port), "discard");
	assert_null(vnic_port_device(port));
	vnic_port_close(port);
	vnic_port_close(NULL);
}

/* Real interfaces. */

struct told {
	unsigned events[VNIC_PORT_END + 1];
	char text[256];
};

static void note_event(void *user, struct vnic_port *port, enum vnic_port_event event,
		       const char *text)
{
	struct told *told = user;

	(void)port;
	assert_string_not_equal(vnic_port_event_name(event), "unknown");
	told->events[event]++;
	snprintf(told->text, sizeof(told->text), "%s", text);
}

static struct vnic_port *open_tun(struct told *told)
{
	const struct vnic_port_options options = {
		.offloads = VNIC_OFFLOAD_ALL, .event = note_event, .user = told};
	struct vnic_error error = {0};
	struct vnic_port *port = NULL;

	assert_ok(vnic_port_open("tun:wire%d,10.0.0.1/24", &options, &port, &error), &error);
	assert_true(vnic_port_is_new_device(port));
	assert_int_equal(vnic_port_most_bytes(port), 1500);
	return port;
}

static uint64_t kernel_received(struct vnic_port *port)
{
	struct vnic_link_info info;
	struct vnic_error error = {0};

	assert_ok(vnic_device_query(vnic_port_device(port), &info, &error), &error);
	return info.statistics.rx_packets;
}

/* Send super-packets to a kernel that refuses so many of them. */
static void fall_back(int code, unsigned refused, unsigned supers, bool udp)
{
	struct told told = {.text = ""};
	struct vnic_port *tun = open_tun(&told);
	uint64_t before = kernel_received(tun), whole = refused < 4 ? supers - refused : 0;
	struct fake from;

	if (udp && !(vnic_device_offloads(vnic_port_device(tun)) & VNIC_OFFLOAD_USO)) {
		vnic_port_close(tun);
		return;
	}
	fake_init(&from, "from", supers);
	from.port.gives_superpackets = true;
	for (unsigned i = 0; i < supers; i++)
		say(&from,
		    &(struct sample){.payload = 10 * 1000, .udp = udp, .sequence = 10000 * i},
		    1000);
	refusal = code;
	refusals_left = refused;
	run_wire(&from.port, tun, NULL, NULL);
	refusal = 0;
	/* Four in a row are enough; what the kernel took later as a whole counts as one there. */
	assert_int_equal(told.events[VNIC_PORT_SOFTWARE_GSO], refused >= 4);
	assert_int_equal(refusals_left, refused >= 4 ? refused - 4 : 0);
	assert_counter(tun, VNIC_PORT_OUT_PACKETS, supers * 10);
	assert_counter(tun, VNIC_PORT_OUT_SUPERPACKETS, whole);
	assert_int_equal(kernel_received(tun) - before, (supers - whole) * 10 + whole);
	assert_conserved(&from.port, tun, NULL, VNIC_FORWARD);
	fake_done(&from);
	vnic_port_close(tun);
}

static void test_kernel_refuses_super_packets(void **state)
{
	NIC_BEGIN(state);
	fall_back(EINVAL, 1000, 100, false);
	fall_back(EIO, 1000, 100, false);
	fall_back(EINVAL, 1000, 100, true);
}

/* A few that are refused are cut, and the others pass whole. */
static void test_kernel_refuses_some_super_packets(void **state)
{
	NIC_BEGIN(state);
	fall_back(EINVAL, 3, 100, false);
	fall_back(EIO, 1, 1, true);
}

/* EIO of an interface that is down proves nothing about super-packets. */
static void test_interface_is_down(void **state)
{
	const struct vnic_link_config down = {.state = VNIC_LINK_DOWN};
	struct vnic_error error = {0};
	struct told told = {.text = ""};
	struct vnic_port *tun;
	struct fake from;

	NIC_BEGIN(state);
	tun = open_tun(&told);
	assert_ok(vnic_device_configure(vnic_port_device(tun), &down, &error), &error);
	fake_init(&from, "from", 40);
	from.port.gives_superpackets = true;
	for (unsigned i = 0; i < 40; i++)
		say(&from, &(struct sample){.payload = 10000, .sequence = i}, i % 2 ? 1000 : 0);
	for (unsigned i = 0; i < 40; i += 2)
		from.script[i].data[0] = 0x45; /* plain ones of 10000 bytes are too long */
	run_wire(&from.port, tun, NULL, NULL);
	assert_counter(tun, VNIC_PORT_DROP_TOO_LONG, 20);
	assert_counter(tun, VNIC_PORT_DROP_DOWN, 200);
	assert_counter(tun, VNIC_PORT_OUT_PACKETS, 0);
	assert_int_equal(told.events[VNIC_PORT_SOFTWARE_GSO], 0);
	assert_conserved(&from.port, tun, NULL, VNIC_FORWARD);
	fake_done(&from);
	vnic_port_close(tun);
}

static void test_interface_is_deleted(void **state)
{
	struct vnic_error error = {0};
	struct told told = {.text = ""};
	char name[VNIC_NAME_BYTES];
	struct vnic_wire *wire;
	struct vnic_port *tun;
	struct fake other;

	NIC_BEGIN(state);
	tun = open_tun(&told);
	fake_init(&other, "other", 0);
	assert_ok(vnic_wire_new(tun, &other.port, NULL, &wire, &error), &error);
	assert_ok(vnic_device_name(vnic_port_device(tun), name, &error), &error);
	assert_ok(vnic_link_delete(NULL, name, &error), &error);
	assert_refused(vnic_wire_run(wire, &error), &error, -ENODEV, VNIC_CAUSE_DEVICE_GONE,
		       "is gone");
	vnic_wire_free(wire);
	fake_done(&other);
	vnic_port_close(tun);
}

/* The MTU of an interface that is made fits the other end, unless one is asked for. */
static void test_mtu_fits(void **state)
{
	struct vnic_port_options options = {.mtu_bytes = 1400};
	struct vnic_error error = {0};
	struct vnic_link_info info;
	struct vnic_wire *wire;
	struct vnic_port *tun;
	struct fake other;

	NIC_BEGIN(state);
	for (unsigned i = 0; i < 4; i++) {
		bool is_tap = i % 2, is_asked = i / 2;
		unsigned expected = is_asked ? 1400 : is_tap ? 1300 - 14 : 1300;

		assert_ok(vnic_port_open(is_tap ? "tap:" : "tun:", is_asked ? &options : NULL, &tun,
					 &error),
			  &error);
		fake_init(&other, "other", 0);
		other.port.layer = VN_PORT_EITHER;
		other.port.most_bytes = 1300;
		assert_ok(vnic_wire_new(&other.port, tun, NULL, &wire, &error), &error);
		assert_int_equal(other.port.layer, is_tap ? VNIC_LAYER_ETHERNET : VNIC_LAYER_IP);
		assert_ok(vnic_device_query(vnic_port_device(tun), &info, &error), &error);
		assert_int_equal(info.mtu_bytes, expected);
		assert_int_equal(vnic_port_most_bytes(tun), expected + (is_tap ? 18 : 0));
		vnic_wire_free(wire);
		fake_done(&other);
		vnic_port_close(tun);
	}
}

/* An interface that exists keeps its addresses and its MTU. */
static void test_interface_that_exists(void **state)
{
	struct vnic_device_options options = {.name = "wire7", .mode = VNIC_OPEN_CREATE};
	const struct vnic_link_config config = {.mtu_bytes = 1280};
	struct vnic_link_address *addresses;
	struct vnic_error error = {0};
	struct vnic_link_info info;
	struct vnic_device *device;
	struct vnic_port *tun;
	size_t count;

	NIC_BEGIN(state);
	device = nic_open(&options);
	nic_up(device, "10.0.0.7/24");
	assert_ok(vnic_device_configure(device, &config, &error), &error);
	assert_ok(vnic_device_set_persistent(device, true, &error), &error);
	vnic_device_close(device);
	assert_ok(vnic_port_open("tun:wire7", NULL, &tun, &error), &error);
	assert_false(vnic_port_is_new_device(tun));
	assert_string_equal(vnic_port_name(tun), "tun:wire7");
	assert_int_equal(vnic_port_most_bytes(tun), 1280);
	vnic_port_close(tun);
	assert_ok(vnic_link_query(NULL, "wire7", &info, &error), &error);
	assert_ok(vnic_link_addresses(NULL, "wire7", &addresses, &count, &error), &error);
	assert_int_equal(count, 1);
	free(addresses);
	assert_ok(vnic_link_delete(NULL, "wire7", &error), &error);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		NIC_TEST(test_specifications),
		NIC_TEST(test_kernel_refuses_super_packets),
		NIC_TEST(test_kernel_refuses_some_super_packets),
		NIC_TEST(test_interface_is_down),
		NIC_TEST(test_interface_is_deleted),
		NIC_TEST(test_mtu_fits),
		NIC_TEST(test_interface_that_exists),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
