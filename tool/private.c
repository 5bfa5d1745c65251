/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. The tool moves itself into the namespace before it makes any thread,
 * instead of naming the namespace in each call of the library: a COMMAND then finds itself in it,
 * and nothing needs a privilege later to reach the interface (entering a namespace takes one).
 *
 * Without CAP_SYS_ADMIN a network namespace can only be had inside of a new user namespace, in
 * which the process has every capability. One user ID and one group ID of outside are mapped into
 * it.
 */
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int write_file(const char *path, const char *text)
{
	int descriptor = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t written;
	int code;

	if (descriptor < 0)
		return -errno;
	written = write(descriptor, text, strlen(text));
	code = written < 0 ? -errno : 0;
	close(descriptor);
	return code;
}

/* user_namespaces(7): an unprivileged process must deny setgroups() before it may map groups. */
static int map_user(uid_t uid, gid_t gid, enum private_user user)
{
	char text[64];
	int code;

	code = write_file("/proc/self/setgroups", "deny");
	if (code < 0 && code != -ENOENT)
		return code;
	snprintf(text, sizeof(text), "%u %u 1", user == PRIVATE_ROOT ? 0 : (unsigned)uid,
		 (unsigned)uid);
	code = write_file("/proc/self/uid_map", text);
	if (code < 0)
		return code;
	snprintf(text, sizeof(text), "%u %u 1", user == PRIVATE_ROOT ? 0 : (unsigned)gid,
		 (unsigned)gid);
	return write_file("/proc/self/gid_map", text);
}

static bool file_says(const char *path, const char *text)
{
	char buffer[16] = "";
	int descriptor = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t length;

	if (descriptor < 0)
		return false;
	length = read(descriptor, buffer, sizeof(buffer) - 1);
	close(descriptor);
	return length > 0 && strncmp(buffer, text, strlen(text)) == 0;
}

/* Several switches forbid user namespaces: name the one that did. */
static const char *refusal_hint(int code)
{
	if (file_says("/proc/sys/kernel/unprivileged_userns_clone", "0"))
		return "user namespaces are for root only here: run as root, or let root set "
		       "'sysctl kernel.unprivileged_userns_clone=1'";
	if (file_says("/proc/sys/user/max_user_namespaces", "0"))
		return "user namespaces are switched off: run as root, or let root raise 'sysctl "
		       "user.max_user_namespaces'";
	if (file_says("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1"))
		return "AppArmor forbids user namespaces: run as root, or let root set 'sysctl "
		       "kernel.apparmor_restrict_unprivileged_userns=0'";
	if (code == ENOSPC || code == EUSERS)
		return "there are too many namespaces: 'sysctl user.max_user_namespaces' and "
		       "'user.max_net_namespaces' show the limits";
	if (code == EPERM)
		return "this machine or container forbids user namespaces to ordinary users: run "
		       "as root";
	if (code == EINVAL)
		return "this kernel has no user namespaces: run as root";
	return NULL;
}

static int refuse(int code, const struct hint_context *context)
{
	const char *hint = refusal_hint(code);

	return error_say(context, "cannot make a private network namespace: %s%s%s%s",
			 strerror(code), hint ? " (" : "", hint ? hint : "", hint ? ")" : "");
}

static int bring_loopback_up(const struct hint_context *context)
{
	const struct vnic_link_config config = {
		.state = VNIC_LINK_UP,
		.ipv6_autoconfiguration = true,
	};
	struct vnic_error error;

	if (vnic_link_configure(NULL, "lo", &config, &error) < 0)
		return error_report(&error, context);
	return -1;
}

int private_enter(enum private_user user, const struct hint_context *context)
{
	uid_t uid = geteuid();
	gid_t gid = getegid();
	int code;

	if (unshare(CLONE_NEWNET) == 0)
		return bring_loopback_up(context);
	if (errno != EPERM)
		return refuse(errno, context);
	/* The open of /dev/net/tun would fail later, and then in a namespace where its modes look
	 * odd: nobody there is who he was. */
	if (access("/dev/net/tun", R_OK | W_OK) < 0 && errno == EACCES) {
		const struct vnic_error error = {
			.code = -EACCES,
			.cause = VNIC_CAUSE_NODE_PERMISSION,
			.text = "cannot open '/dev/net/tun': Permission denied",
		};
		return error_report(&error, context);
	}
	if (unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
		return refuse(errno, context);
	code = map_user(uid, gid, user);
	if (code < 0)
		return error_say(context, "cannot map the user into a private user namespace: %s",
				 strerror(-code));
	return bring_loopback_up(context);
}
