/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A socket and a descriptor of /dev/net/tun belong to the namespace in which their opener was, and
 * stay there wherever they are handed to. So nobody has to live in a namespace to work in it: it is
 * enough to open the descriptor there. setns(2) moves one thread only; a thread is made for it,
 * opens what is wanted, and ends. The caller's threads are never in another namespace, not even for
 * a moment and not if something fails half-way.
 *
 * All signals are blocked in that thread: a handler of the program's must not run in a namespace
 * that it does not expect.
 *
 * Where the namespace is the caller's own there is no thread, for two reasons: setns() wants a
 * privilege even then, and a process that called unshare(CLONE_NEWPID) can make no threads.
 */
#include "device/netns.h"
#include "base/error.h"
#include "device/kernel.h"
#include "device/system.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define OWN_NETNS "/proc/thread-self/ns/net"

/* Where the namespace of that name is to be found. */
static int find_path(const char *netns, char *path, size_t size)
{
	int length;

	if (!netns)
		length = snprintf(path, size, "%s", OWN_NETNS);
	else if (strchr(netns, '/'))
		length = snprintf(path, size, "%s", netns);
	else if (netns[0] && !netns[strspn(netns, "0123456789")])
		length = snprintf(path, size, "/proc/%s/ns/net", netns);
	else
		length = snprintf(path, size, "/run/netns/%s", netns);
	return length < 0 || (size_t)length >= size ? -ENAMETOOLONG : 0;
}

static int open_failed(const char *netns, int code, struct vnic_error *error)
{
	const char *name = netns ? netns : OWN_NETNS;

	switch (-code) {
	case ENAMETOOLONG:
	case ENOTDIR:
	case ESRCH:
	case ELOOP:
		code = -ENOENT;
		/* fall through */
	case ENOENT:
		return vn_error(error, code, VNIC_CAUSE_NETNS_MISSING,
				"there is no network namespace '%s'", name);
	case EACCES:
	case EPERM:
		return vn_error_system(error, code, VNIC_CAUSE_CAPABILITY,
				       "cannot open the network namespace '%s'", name);
	default:
		return vn_error_system(error, code, vn_system_cause(code),
				       "cannot open the network namespace '%s'", name);
	}
}

int vnic_netns_open(const char *netns, struct vnic_error *error)
{
	char path[4096];
	int descriptor;
	int code = find_path(netns, path, sizeof(path));

	if (code < 0 || (netns && !netns[0]))
		return open_failed(netns, -ENOENT, error);
	/* Non-blocking: the path may be anything, a FIFO without a writer too. */
	descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (descriptor < 0)
		return open_failed(netns, -errno, error);
	if (ioctl(descriptor, NS_GET_NSTYPE) != CLONE_NEWNET) {
		close(descriptor);
		return vn_error(error, -EINVAL, VNIC_CAUSE_NETNS_MISSING,
				"'%s' is not a network namespace", netns ? netns : path);
	}
	return descriptor;
}

struct call {
	int netns;
	int (*function)(void *user, struct vnic_error *error);
	void *user;
	struct vnic_error *error;
	int result;
};

static void *call_inside(void *argument)
{
	struct call *call = argument;
	int code = call->netns < 0 ? unshare(CLONE_NEWNET) : setns(call->netns, CLONE_NEWNET);

	if (code < 0) {
		code = -errno;
		call->result =
			vn_error_system(call->error, code, vn_system_cause(code),
					call->netns < 0 ? "cannot make a network namespace"
							: "cannot enter the network namespace");
		return NULL;
	}
	call->result = call->function(call->user, call->error);
	return NULL;
}

int vnic_netns_call(int netns_descriptor, int (*function)(void *user, struct vnic_error *error),
		    void *user, struct vnic_error *error)
{
	struct call call = {netns_descriptor, function, user, error, 0};
	sigset_t all;
	sigset_t before;
	pthread_t thread;
	int code;

	if (netns_descriptor < -1 || !function)
		return vn_error(error, -EINVAL, VNIC_CAUSE_ARGUMENT,
				"no namespace or no function to call in it");
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	code = -pthread_create(&thread, NULL, call_inside, &call);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (code < 0)
		return vn_error_system(error, code,
				       code == -EAGAIN ? VNIC_CAUSE_LIMIT : vn_system_cause(code),
				       "cannot start a thread");
	pthread_join(thread, NULL);
	return call.result;
}

static bool is_own(int descriptor)
{
	struct stat own;
	struct stat other;

	return stat(OWN_NETNS, &own) == 0 && fstat(descriptor, &other) == 0 &&
	       own.st_dev == other.st_dev && own.st_ino == other.st_ino;
}

int vn_netns_run(const char *netns, int (*function)(void *user, struct vnic_error *error),
		 void *user, bool *foreign, struct vnic_error *error)
{
	bool own = !netns;
	int descriptor = -1;
	int result;

	if (netns) {
		descriptor = vnic_netns_open(netns, error);
		if (descriptor < 0)
			return descriptor;
		own = is_own(descriptor);
	}
	if (foreign)
		*foreign = !own;
	result = own ? function(user, error) : vnic_netns_call(descriptor, function, user, error);
	if (descriptor >= 0)
		close(descriptor);
	return result;
}

static int open_netlink(void *user, struct vnic_error *error)
{
	return vn_netlink_open(user, error);
}

int vn_netns_netlink(const char *netns, struct vn_netlink *netlink, bool *foreign,
		     struct vnic_error *error)
{
	return vn_netns_run(netns, open_netlink, netlink, foreign, error);
}

int vn_netns_netlink_at(int descriptor, struct vn_netlink *netlink, struct vnic_error *error)
{
	return is_own(descriptor) ? vn_netlink_open(netlink, error)
				  : vnic_netns_call(descriptor, open_netlink, netlink, error);
}
