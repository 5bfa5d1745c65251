/* SPDX-License-Identifier: MIT */
/*
 * For tests of devices. Each test has a network namespace to itself: NIC_TEST() wraps it in a setup
 * that makes one, and a teardown that counts descriptors. What was made there vanishes with it.
 */
#ifndef NIC_H
#define NIC_H

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#include <cmocka.h>

#include <vnic/device.h>
#include <vnic/link.h>
#include <vnic/netns.h>
#include <vnic/packet.h>

#define DEADLINE_MS 10000
#define NOBODY 65534

static int nic_descriptors_before;
static bool nic_true_root = true; /* not only in a user namespace */
static const char *nic_refused;   /* why no test can run here; NULL: all can */

static inline int nic_count_descriptors(void)
{
	DIR *directory = opendir("/proc/self/fd");
	int count = -3; /* ".", ".." and the directory itself */

	while (readdir(directory))
		count++;
	closedir(directory);
	return count;
}

static inline bool nic_write(const char *path, const char *text)
{
	int descriptor = open(path, O_WRONLY | O_CLOEXEC);
	bool done = descriptor >= 0 && write(descriptor, text, strlen(text)) >= 0;

	if (descriptor >= 0)
		close(descriptor);
	return done;
}

/* Become the root of a user namespace of our own. */
static inline bool nic_become_root(void)
{
	char users[32];
	char groups[32];

	snprintf(users, sizeof(users), "0 %u 1", geteuid());
	snprintf(groups, sizeof(groups), "0 %u 1", getegid());
	nic_true_root = false;
	return unshare(CLONE_NEWUSER) == 0 && nic_write("/proc/self/setgroups", "deny") &&
	       nic_write("/proc/self/uid_map", users) && nic_write("/proc/self/gid_map", groups);
}

static inline int nic_setup(void **state)
{
	(void)state;
	if (geteuid() != 0 && !nic_become_root())
		nic_refused = "needs root or user namespaces";
	else if (unshare(CLONE_NEWNET) < 0)
		nic_refused = "may not make a network namespace";
	else if (access("/dev/net/tun", R_OK | W_OK) < 0)
		nic_refused = "may not open /dev/net/tun";
	nic_descriptors_before = nic_count_descriptors();
	return 0;
}

static inline int nic_teardown(void **state)
{
	int after = nic_count_descriptors();

	(void)state;
	if (after == nic_descriptors_before)
		return 0;
	print_error("%d descriptors before, %d after\n", nic_descriptors_before, after);
	return -1;
}

#define NIC_TEST(function) cmocka_unit_test_setup_teardown(function, nic_setup, nic_teardown)

/* The first line of a test. */
#define NIC_BEGIN(state)                                    \
	do {                                                \
		(void)(state);                              \
		if (nic_refused) {                          \
			print_message("%s\n", nic_refused); \
			skip();                             \
		}                                           \
	} while (0)

#define assert_ok(call, error)                                             \
	do {                                                               \
		int assert_ok_code = (call);                               \
		if (assert_ok_code < 0)                                    \
			fail_msg("%d: %s", assert_ok_code, (error)->text); \
	} while (0)

/* A call failed as it should: with this code, this cause, and a text that holds this. */
#define assert_refused(call, error, expected_code, expected_cause, part)                        \
	do {                                                                                    \
		int refused_code = (call);                                                      \
		if (refused_code != (expected_code) || (error)->code != (expected_code) ||      \
		    (error)->cause != (expected_cause) || !strstr((error)->text, (part)))       \
			fail_msg("%d, %d (%s) '%s'; expected %d (%s) with '%s'", refused_code,  \
				 (error)->code, vnic_cause_name((error)->cause), (error)->text, \
				 (expected_code), vnic_cause_name(expected_cause), (part));     \
		*(error) = (struct vnic_error){0};                                              \
	} while (0)

static inline struct vnic_device *nic_open(const struct vnic_device_options *options)
{
	struct vnic_device *device = NULL;
	struct vnic_error error = {0};

	assert_ok(vnic_device_open(options, &device, &error), &error);
	assert_non_null(device);
	return device;
}

static inline struct vnic_prefix nic_prefix(const char *text)
{
	struct vnic_prefix prefix = {0};
	struct vnic_error error = {0};

	assert_ok(vnic_prefix_parse(text, &prefix, &error), &error);
	return prefix;
}

static inline struct vnic_address nic_address(const char *text)
{
	return nic_prefix(text).address;
}

/* Give it an address (NULL: none) and set it up. */
static inline void nic_up(struct vnic_device *device, const char *address)
{
	struct vnic_link_address addresses[1] = {{.prefix = {{0}, 0}}};
	struct vnic_link_config config = {.addresses = addresses, .state = VNIC_LINK_UP};
	struct vnic_error error = {0};

	if (address) {
		addresses[0].prefix = nic_prefix(address);
		config.address_count = 1;
	}
	assert_ok(vnic_device_configure(device, &config, &error), &error);
}

static inline void nic_wait(int descriptor, short events)
{
	struct pollfd poll_descriptor = {.fd = descriptor, .events = events};
	int ready = poll(&poll_descriptor, 1, DEADLINE_MS);

	if (ready != 1)
		fail_msg("waiting for 0x%x on %d: poll() gave %d", events, descriptor, ready);
}

/* The next packet of a queue. */
static inline void nic_receive(struct vnic_device *device, unsigned queue,
			       struct vnic_packet *packet)
{
	int code = vnic_device_receive(device, queue, packet, 1);

	while (code == -EAGAIN) {
		nic_wait(vnic_device_descriptor(device, queue), POLLIN);
		code = vnic_device_receive(device, queue, packet, 1);
	}
	assert_int_equal(code, 1);
}

/* A UDP socket in the test's namespace. */
static inline int nic_udp(const char *address, uint16_t port)
{
	struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons(port)};
	int descriptor = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	assert_true(descriptor >= 0);
	inet_pton(AF_INET, address, &name.sin_addr);
	if (bind(descriptor, (struct sockaddr *)&name, sizeof(name)) < 0)
		fail_msg("bind: %s", strerror(errno));
	return descriptor;
}

static inline void nic_udp_send(int descriptor, const char *address, uint16_t port,
				const void *data, size_t length)
{
	struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons(port)};
	ssize_t sent;

	inet_pton(AF_INET, address, &name.sin_addr);
	sent = sendto(descriptor, data, length, 0, (struct sockaddr *)&name, sizeof(name));
	if (sent != (ssize_t)length)
		fail_msg("sendto: %zd of %zu, %s", sent, length, strerror(errno));
}

/*
 * An IPv4 packet with UDP from 10.0.0.2 to 10.0.0.1, its data counting up. With partial, the
 * UDP checksum is left to others. Returns its length.
 */
static inline uint32_t nic_build_udp(uint8_t *bytes, uint16_t port, uint16_t length, bool partial)
{
	static const uint8_t header[20] = {0x45, 0, 0,  0, 0, 1, 0,  0, 64, 17,
					   0,    0, 10, 0, 0, 2, 10, 0, 0,  1};
	struct vnic_address source = vnic_address_from_bytes(VNIC_IPV4, header + 12);
	struct vnic_address target = vnic_address_from_bytes(VNIC_IPV4, header + 16);
	uint16_t total = (uint16_t)(28 + length);
	uint16_t udp = (uint16_t)(8 + length);
	uint32_t sum = vnic_checksum_add_pseudo(0, &source, &target, 17, udp);
	uint16_t checksum;
	uint16_t i;

	memcpy(bytes, header, sizeof(header));
	bytes[2] = (uint8_t)(total >> 8);
	bytes[3] = (uint8_t)total;
	checksum = vnic_checksum(bytes, 20);
	bytes[10] = (uint8_t)(checksum >> 8);
	bytes[11] = (uint8_t)checksum;
	memset(bytes + 20, 0, 8);
	bytes[20] = 0x12;
	bytes[21] = 0x34;
	bytes[22] = (uint8_t)(port >> 8);
	bytes[23] = (uint8_t)port;
	bytes[24] = (uint8_t)(udp >> 8);
	bytes[25] = (uint8_t)udp;
	for (i = 0; i < length; i++)
		bytes[28 + i] = (uint8_t)i;
	checksum = partial ? vnic_checksum_fold(sum)
			   : vnic_checksum_finish(vnic_checksum_add(sum, bytes + 20, udp));
	bytes[26] = (uint8_t)(checksum >> 8);
	bytes[27] = (uint8_t)checksum;
	return total;
}

/*
 * Run a function in a child process, perhaps as another user. There cmocka's assertions would go on
 * with the next test: use nic_check().
 * @param node_mode  /dev/net/tun as the child sees it, in a mount namespace of its own: its mode;
 *                   0: there is none; -1: as it is
 */
static inline void nic_child(int (*function)(void *user), void *user, uid_t uid, int node_mode)
{
	int status;
	pid_t child = fork();

	assert_true(child >= 0);
	if (child == 0) {
		umask(0);
		if (node_mode >= 0 &&
		    (unshare(CLONE_NEWNS) < 0 ||
		     mount("none", "/", NULL, MS_REC | MS_PRIVATE, "") ||
		     mount("none", "/dev/net", "tmpfs", 0, "") ||
		     (node_mode &&
		      mknod("/dev/net/tun", S_IFCHR | (mode_t)node_mode, makedev(10, 200)))))
			_exit(99);
		if (uid && (setgroups(0, NULL) || setgid(uid) || setuid(uid)))
			_exit(98);
		_exit(function(user));
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	if (status)
		fail_msg("the child ended with status 0x%x", (unsigned)status);
}

#define nic_check(condition)                                                                    \
	do {                                                                                    \
		if (!(condition)) {                                                             \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
			_exit(1);                                                               \
		}                                                                               \
	} while (0)

/* Tests that need more than a user namespace. */
#define NIC_NEEDS_ROOT()                               \
	do {                                           \
		if (!nic_true_root) {                  \
			print_message("needs root\n"); \
			skip();                        \
		}                                      \
	} while (0)

#endif
