/* SPDX-License-Identifier: MIT */
/* What happens to an interface, told in order and once. */
#include "nic.h"

static void set(const char *name, enum vnic_link_state state, const char *new_name)
{
	struct vnic_link_config config = {.state = state, .new_name = new_name};
	struct vnic_error error = {0};

	assert_ok(vnic_link_configure(NULL, name, &config, &error), &error);
}

static void expect(struct vnic_watch *watch, enum vnic_link_event event, const char *expected_name)
{
	char name[VNIC_NAME_BYTES] = "";
	int got = vnic_watch_next(watch, name);

	while (got == VNIC_LINK_EVENT_NONE) {
		nic_wait(vnic_watch_descriptor(watch), POLLIN);
		got = vnic_watch_next(watch, name);
	}
	if (got != (int)event || strcmp(name, expected_name) != 0)
		fail_msg("%s of '%s', expected %s of '%s'",
			 vnic_link_event_name((enum vnic_link_event)got), name,
			 vnic_link_event_name(event), expected_name);
}

static void test_events(void **state)
{
	struct vnic_device *device;
	struct vnic_device *other;
	struct vnic_watch *watch = NULL;
	struct vnic_error error = {0};

	NIC_BEGIN(state);
	device = nic_open(NULL);
	assert_ok(vnic_watch_open(device, &watch, &error), &error);
	assert_int_equal(vnic_watch_next(watch, NULL), VNIC_LINK_EVENT_NONE);
	set("tun0", VNIC_LINK_UP, NULL);
	expect(watch, VNIC_LINK_EVENT_UP, "tun0");
	set("tun0", VNIC_LINK_DOWN, NULL);
	set("tun0", VNIC_LINK_UP, NULL);
	expect(watch, VNIC_LINK_EVENT_DOWN, "tun0");
	expect(watch, VNIC_LINK_EVENT_UP, "tun0");
	set("tun0", VNIC_LINK_KEEP, "vn0");
	expect(watch, VNIC_LINK_EVENT_RENAMED, "vn0");
	/* What happens to others, and what is no event, is silent. */
	other = nic_open(NULL);
	nic_up(other, "10.0.0.1/24");
	{
		struct vnic_link_config config = {.mtu_bytes = 1400};

		assert_ok(vnic_device_configure(device, &config, &error), &error);
	}
	nic_wait(vnic_watch_descriptor(watch), POLLIN);
	assert_int_equal(vnic_watch_next(watch, NULL), VNIC_LINK_EVENT_NONE);
	vnic_device_close(other);
	assert_ok(vnic_link_delete(NULL, "vn0", &error), &error);
	expect(watch, VNIC_LINK_EVENT_DOWN, "vn0");
	expect(watch, VNIC_LINK_EVENT_GONE, "vn0");
	/* Nothing comes after the last. */
	other = nic_open(NULL);
	nic_up(other, NULL);
	assert_int_equal(vnic_watch_next(watch, NULL), VNIC_LINK_EVENT_NONE);
	vnic_device_close(other);
	vnic_watch_close(watch);
	watch = NULL;
	assert_refused(vnic_watch_open(device, &watch, &error), &error, -ENODEV,
		       VNIC_CAUSE_DEVICE_GONE, "deleted");
	assert_null(watch);
	vnic_watch_close(NULL);
	vnic_device_close(device);
}

/* The bridge says goodbye to a port; the port lives on. */
static void test_leaving_a_bridge_is_not_gone(void **state)
{
	struct vnic_device_options options = {.type = VNIC_TAP};
	struct vnic_device *device;
	struct vnic_watch *watch = NULL;
	struct vnic_error error = {0};
	int event;

	NIC_BEGIN(state);
	if (system("ip link add br0 type bridge") != 0) {
		print_message("this kernel has no bridges\n");
		skip();
	}
	device = nic_open(&options);
	assert_ok(vnic_watch_open(device, &watch, &error), &error);
	assert_int_equal(system("ip link set tap0 master br0 && ip link set tap0 nomaster"), 0);
	set("tap0", VNIC_LINK_UP, NULL);
	do
		event = vnic_watch_next(watch, NULL);
	while (event == VNIC_LINK_EVENT_NONE);
	assert_int_equal(event, VNIC_LINK_EVENT_UP);
	vnic_watch_close(watch);
	vnic_device_close(device);
}

/* So many changes that the kernel throws messages away: what is true at the end is told. */
static void test_flood(void **state)
{
	struct vnic_device *device;
	struct vnic_watch *watch = NULL;
	struct vnic_error error = {0};
	char name[VNIC_NAME_BYTES] = "tun0";
	char last_name[VNIC_NAME_BYTES] = "";
	int last_state = VNIC_LINK_EVENT_NONE;
	bool renamed = false;
	int event;
	int small = 4096;
	int i;

	NIC_BEGIN(state);
	device = nic_open(NULL);
	assert_ok(vnic_watch_open(device, &watch, &error), &error);
	assert_int_equal(setsockopt(vnic_watch_descriptor(watch), SOL_SOCKET, SO_RCVBUF, &small,
				    sizeof(small)),
			 0);
	for (i = 0; i < 101; i++)
		set(name, i % 2 ? VNIC_LINK_DOWN : VNIC_LINK_UP, NULL);
	set("tun0", VNIC_LINK_KEEP, "vn0");
	while ((event = vnic_watch_next(watch, last_name)) != VNIC_LINK_EVENT_NONE) {
		if (event < 0)
			fail_msg("%d", event);
		if (event == VNIC_LINK_EVENT_RENAMED)
			renamed = true;
		else
			last_state = event;
	}
	assert_true(renamed);
	assert_string_equal(last_name, "vn0");
	assert_int_equal(last_state, VNIC_LINK_EVENT_UP);
	for (i = 0; i < 20; i++)
		set("vn0", i % 2 ? VNIC_LINK_UP : VNIC_LINK_DOWN, NULL);
	assert_ok(vnic_link_delete(NULL, "vn0", &error), &error);
	do {
		event = vnic_watch_next(watch, last_name);
		if (event < 0)
			fail_msg("%d", event);
	} while (event != VNIC_LINK_EVENT_GONE && event != VNIC_LINK_EVENT_NONE);
	assert_int_equal(event, VNIC_LINK_EVENT_GONE);
	vnic_watch_close(watch);
	vnic_device_close(device);
}

static void test_names(void **state)
{
	(void)state;
	assert_string_equal(vnic_link_event_name(VNIC_LINK_EVENT_UP), "up");
	assert_string_equal(vnic_link_event_name(VNIC_LINK_EVENT_DOWN), "down");
	assert_string_equal(vnic_link_event_name(VNIC_LINK_EVENT_RENAMED), "renamed");
	assert_string_equal(vnic_link_event_name(VNIC_LINK_EVENT_GONE), "gone");
	assert_string_equal(vnic_link_event_name(VNIC_LINK_EVENT_NONE), "none");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		NIC_TEST(test_events),
		NIC_TEST(test_leaving_a_bridge_is_not_gone),
		NIC_TEST(test_flood),
		NIC_TEST(test_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
