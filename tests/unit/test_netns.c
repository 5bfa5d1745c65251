/* SPDX-License-Identifier: MIT */
/* Namespaces: by name, path and process, and that nobody is left in another one. */
#include "nic.h"

#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>

static struct stat namespace_of(int descriptor)
{
	struct stat result;

	assert_int_equal(fstat(descriptor, &result), 0);
	return result;
}

static bool is_same(int a, int b)
{
	return namespace_of(a).st_ino == namespace_of(b).st_ino;
}

/* A process in a namespace of its own, until it is told to end. */
struct other {
	pid_t process;
	int end;
	char text[32];
};

static struct other start_other(void)
{
	struct other other;
	int ready[2];
	int end[2];
	char byte;

	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	assert_int_equal(pipe2(end, O_CLOEXEC), 0);
	other.process = fork();
	assert_true(other.process >= 0);
	if (other.process == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(end[1]);
		if (unshare(CLONE_NEWNET) < 0 || write(ready[1], "x", 1) != 1)
			_exit(1);
		_exit(read(end[0], &byte, 1) != 0);
	}
	close(ready[1]);
	close(end[0]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	other.end = end[1];
	snprintf(other.text, sizeof(other.text), "%d", other.process);
	return other;
}

static void end_other(const struct other *other)
{
	int status;

	close(other->end);
	assert_int_equal(waitpid(other->process, &status, 0), other->process);
	assert_int_equal(status, 0);
}

static void test_open(void **state)
{
	struct vnic_error error = {0};
	struct other other;
	char path[64];
	int mine;
	int again;

	NIC_BEGIN(state);
	mine = vnic_netns_open(NULL, &error);
	assert_true(mine >= 0);
	assert_int_equal(fcntl(mine, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	other = start_other();
	again = vnic_netns_open(other.text, &error);
	assert_ok(again, &error);
	assert_false(is_same(mine, again));
	close(again);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", mine);
	again = vnic_netns_open(path, &error);
	assert_ok(again, &error);
	assert_true(is_same(mine, again));
	close(again);
	end_other(&other);
	close(mine);
}

static void test_open_refused(void **state)
{
	struct vnic_error error = {0};

	NIC_BEGIN(state);
	assert_refused(vnic_netns_open("no-such-namespace", &error), &error, -ENOENT,
		       VNIC_CAUSE_NETNS_MISSING, "'no-such-namespace'");
	assert_refused(vnic_netns_open("/no/such/path", &error), &error, -ENOENT,
		       VNIC_CAUSE_NETNS_MISSING, "'/no/such/path'");
	assert_refused(vnic_netns_open("4194305", &error), &error, -ENOENT,
		       VNIC_CAUSE_NETNS_MISSING, "'4194305'");
	assert_refused(vnic_netns_open("", &error), &error, -ENOENT, VNIC_CAUSE_NETNS_MISSING,
		       "''");
	assert_refused(vnic_netns_open("/dev/null", &error), &error, -EINVAL,
		       VNIC_CAUSE_NETNS_MISSING, "not a network namespace");
	assert_refused(vnic_netns_open("/proc/self/ns/uts", &error), &error, -EINVAL,
		       VNIC_CAUSE_NETNS_MISSING, "not a network namespace");
	assert_refused(vnic_netns_open("/tmp", &error), &error, -EINVAL, VNIC_CAUSE_NETNS_MISSING,
		       "not a network namespace");
}

struct seen {
	int netns;
	sigset_t signals;
	pthread_t thread;
	int result;
};

static int look_around(void *user, struct vnic_error *error)
{
	struct seen *seen = user;

	seen->netns = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	seen->thread = pthread_self();
	pthread_sigmask(SIG_BLOCK, NULL, &seen->signals);
	if (seen->result < 0 && error)
		*error = (struct vnic_error){seen->result, VNIC_CAUSE_SYSTEM, "as asked"};
	return seen->result;
}

static void test_call(void **state)
{
	struct vnic_error error = {0};
	struct seen seen = {.result = 7};
	struct other other;
	int before;
	int after;
	int netns;

	NIC_BEGIN(state);
	before = vnic_netns_open(NULL, &error);
	other = start_other();
	netns = vnic_netns_open(other.text, &error);
	assert_int_equal(vnic_netns_call(netns, look_around, &seen, &error), 7);
	assert_true(is_same(seen.netns, netns));
	assert_int_equal(sigismember(&seen.signals, SIGINT), 1);
	assert_int_equal(sigismember(&seen.signals, SIGTERM), 1);
	close(seen.netns);
	/* A new one. */
	seen.result = -EDOM;
	assert_refused(vnic_netns_call(-1, look_around, &seen, &error), &error, -EDOM,
		       VNIC_CAUSE_SYSTEM, "as asked");
	assert_false(is_same(seen.netns, netns));
	assert_false(is_same(seen.netns, before));
	close(seen.netns);
	assert_refused(vnic_netns_call(-2, look_around, &seen, &error), &error, -EINVAL,
		       VNIC_CAUSE_ARGUMENT, "namespace");
	close(netns);
	/* The caller never left. */
	after = vnic_netns_open(NULL, &error);
	assert_true(is_same(before, after));
	close(after);
	close(before);
	end_other(&other);
}

/* Everything that takes a namespace, in one that belongs to another process. */
static void test_work_in_another(void **state)
{
	struct vnic_device_options options = {.name = "vn0"};
	struct vnic_link_address address = {.prefix = nic_prefix("10.0.0.1/24")};
	struct vnic_link_config config = {
		.addresses = &address, .address_count = 1, .state = VNIC_LINK_UP};
	struct vnic_link_address *addresses = NULL;
	struct vnic_link_info *links = NULL;
	struct vnic_link_info info;
	struct vnic_device *device = NULL;
	struct vnic_device *adopted = NULL;
	struct vnic_error error = {0};
	char name[VNIC_NAME_BYTES];
	struct other other;
	size_t count;
	int descriptor;
	int there;
	int where;

	NIC_BEGIN(state);
	other = start_other();
	there = vnic_netns_open(other.text, &error);
	options.netns = other.text;
	device = nic_open(&options);
	assert_int_equal(if_nametoindex("vn0"), 0);
	where = vnic_device_netns(device, &error);
	assert_ok(where, &error);
	assert_true(is_same(where, there));
	close(where);
	assert_ok(vnic_device_name(device, name, &error), &error);
	assert_string_equal(name, "vn0");
	assert_ok(vnic_device_index(device, &error), &error);
	assert_ok(vnic_link_configure(other.text, "vn0", &config, &error), &error);
	assert_ok(vnic_device_configure(device, &config, &error), &error);
	assert_ok(vnic_link_query(other.text, "vn0", &info, &error), &error);
	assert_true(info.up);
	assert_ok(vnic_link_list(other.text, &links, &count, &error), &error);
	assert_int_equal(count, 1);
	free(links);
	assert_ok(vnic_link_addresses(other.text, "vn0", &addresses, &count, &error), &error);
	assert_int_equal(count, 1);
	assert_int_equal(addresses[0].prefix.length_bits, 24);
	free(addresses);
	assert_refused(vnic_link_query(NULL, "vn0", &info, &error), &error, -ENODEV,
		       VNIC_CAUSE_INTERFACE_MISSING, "'vn0'");
	vnic_device_release(device, &descriptor);
	assert_ok(vnic_device_adopt(&descriptor, 1, 0, &adopted, &error), &error);
	assert_ok(vnic_device_query(adopted, &info, &error), &error);
	assert_true(info.up);
	assert_ok(vnic_link_delete(other.text, "vn0", &error), &error);
	assert_int_equal(vnic_device_name(adopted, name, NULL), -ENODEV);
	vnic_device_close(adopted);
	close(there);
	end_other(&other);
}

/* Without CAP_SYS_ADMIN one's own namespace can still be named. */
static int open_own(void *user)
{
	char text[32];
	struct vnic_error error = {0};
	struct vnic_link_info info;

	snprintf(text, sizeof(text), "%d", getpid());
	nic_check(vnic_link_query(text, "lo", &info, &error) == 0);
	nic_check(vnic_link_query("/proc/self/ns/net", "lo", &info, &error) == 0);
	nic_check(vnic_netns_call(-1, look_around, user, &error) == -EPERM);
	nic_check(error.cause == VNIC_CAUSE_CAPABILITY);
	nic_check(vnic_link_query("1", "lo", &info, &error) < 0);
	nic_check(error.cause == VNIC_CAUSE_CAPABILITY);
	return 0;
}

static void test_without_privilege(void **state)
{
	struct seen seen = {0};

	NIC_BEGIN(state);
	NIC_NEEDS_ROOT();
	nic_child(open_own, &seen, NOBODY, -1);
}

/*
 * Handed on to somebody who may not go to its namespace, and who has another interface of that
 * name.
 */
static int adopt_without_privilege(void *user)
{
	int descriptor = *(int *)user;
	struct vnic_device *device = NULL;
	struct vnic_link_info info;
	struct vnic_error error = {0};
	char name[VNIC_NAME_BYTES];

	nic_check(vnic_link_query(NULL, "vn0", &info, &error) == 0);
	nic_check(vnic_device_adopt(&descriptor, 1, 0, &device, &error) == 0);
	nic_check(vnic_device_name(device, name, &error) == 0 && strcmp(name, "vn0") == 0);
	nic_check(vnic_device_query(device, &info, &error) == -EPERM);
	nic_check(error.cause == VNIC_CAUSE_CAPABILITY);
	return 0;
}

static void test_adopted_without_privilege(void **state)
{
	struct vnic_device_options options = {.name = "vn0", .type = VNIC_TAP};
	struct vnic_device *device;
	struct vnic_device *namesake;
	struct other other;
	int descriptor;

	NIC_BEGIN(state);
	NIC_NEEDS_ROOT();
	namesake = nic_open(&options);
	other = start_other();
	options.netns = other.text;
	device = nic_open(&options);
	descriptor = vnic_device_descriptor(device, 0);
	nic_child(adopt_without_privilege, &descriptor, NOBODY, -1);
	vnic_device_close(device);
	vnic_device_close(namesake);
	end_other(&other);
}

/*
 * Rights are dropped after opening: what the device holds already goes on, and the rest says why.
 */
static int ask_without_privilege(void *user)
{
	struct vnic_device *device = user;
	struct vnic_link_config config = {.mtu_bytes = 1400};
	struct vnic_watch *watch = NULL;
	struct vnic_watch *second = NULL;
	struct vnic_link_info info;
	struct vnic_error error = {0};
	int i;

	nic_check(vnic_device_query(device, &info, &error) == 0);
	nic_check(strcmp(info.name, "vn0") == 0);
	nic_check(vnic_device_configure(device, &config, &error) == -EPERM);
	nic_check(error.cause == VNIC_CAUSE_CAPABILITY);
	for (i = 0; i < 3; i++) {
		nic_check(vnic_watch_open(device, &watch, &error) == 0);
		nic_check(vnic_watch_next(watch, NULL) == VNIC_LINK_EVENT_NONE);
		/* There is one socket in reserve. */
		nic_check(vnic_watch_open(device, &second, &error) == -EPERM);
		vnic_watch_close(watch);
	}
	return 0;
}

static void test_privilege_dropped(void **state)
{
	struct vnic_device_options options = {.name = "vn0"};
	struct vnic_device *device;
	struct other other;

	NIC_BEGIN(state);
	NIC_NEEDS_ROOT();
	other = start_other();
	options.netns = other.text;
	device = nic_open(&options);
	nic_child(ask_without_privilege, device, NOBODY, -1);
	vnic_device_close(device);
	end_other(&other);
}

/* Moved while it is open: the device goes with it. */
static void test_moved(void **state)
{
	struct vnic_device_options options = {.name = "vn0"};
	struct vnic_link_info info;
	struct vnic_device *device;
	struct vnic_watch *watch = NULL;
	struct vnic_error error = {0};
	char command[100];
	struct other other;

	NIC_BEGIN(state);
	other = start_other();
	device = nic_open(&options);
	assert_ok(vnic_watch_open(device, &watch, &error), &error);
	snprintf(command, sizeof(command), "ip link set vn0 netns %s", other.text);
	assert_int_equal(system(command), 0);
	nic_wait(vnic_watch_descriptor(watch), POLLIN);
	assert_int_equal(vnic_watch_next(watch, NULL), VNIC_LINK_EVENT_GONE);
	vnic_watch_close(watch);
	assert_ok(vnic_device_query(device, &info, &error), &error);
	assert_string_equal(info.name, "vn0");
	nic_up(device, "10.0.0.1/24");
	assert_ok(vnic_link_query(other.text, "vn0", &info, &error), &error);
	assert_true(info.up);
	assert_ok(vnic_watch_open(device, &watch, &error), &error);
	vnic_watch_close(watch);
	vnic_device_close(device);
	end_other(&other);
}

/* By the name that `ip netns` would give, in a mount namespace of our own. */
static int open_by_name(void *user)
{
	struct vnic_device_options options = {.netns = "blue", .name = "vn0"};
	struct vnic_device *device = NULL;
	struct vnic_error error = {0};
	struct vnic_link_info info;

	(void)user;
	nic_check(unshare(CLONE_NEWNS) == 0);
	nic_check(mount("none", "/", NULL, MS_REC | MS_PRIVATE, "") == 0);
	nic_check(mount("none", "/run", "tmpfs", 0, "") == 0);
	nic_check(mkdir("/run/netns", 0755) == 0);
	nic_check(close(open("/run/netns/blue", O_CREAT | O_RDONLY | O_CLOEXEC, 0600)) == 0);
	nic_check(vnic_device_open(&options, &device, &error) == -EINVAL);
	nic_check(error.cause == VNIC_CAUSE_NETNS_MISSING);
	nic_check(mount("/proc/self/ns/net", "/run/netns/blue", NULL, MS_BIND, "") == 0);
	nic_check(unshare(CLONE_NEWNET) == 0);
	nic_check(vnic_device_open(&options, &device, &error) == 0);
	nic_check(vnic_link_query("blue", "vn0", &info, &error) == 0);
	nic_check(vnic_link_query("/run/netns/blue", "vn0", &info, &error) == 0);
	nic_check(vnic_link_query(NULL, "vn0", &info, &error) == -ENODEV);
	vnic_device_close(device);
	return 0;
}

static void test_by_name(void **state)
{
	NIC_BEGIN(state);
	NIC_NEEDS_ROOT();
	nic_child(open_by_name, NULL, 0, -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		NIC_TEST(test_open),
		NIC_TEST(test_open_refused),
		NIC_TEST(test_call),
		NIC_TEST(test_work_in_another),
		NIC_TEST(test_without_privilege),
		NIC_TEST(test_privilege_dropped),
		NIC_TEST(test_adopted_without_privilege),
		NIC_TEST(test_moved),
		NIC_TEST(test_by_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
