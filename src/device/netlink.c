/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * rtnetlink is asked one question at a time: a request goes out, and what comes back is read until
 * the message that ends it, an acknowledgement or the end of a dump. Every request asks for an
 * acknowledgement, so that there always is one. Answers are told apart from leftovers of an
 * earlier, failed exchange by their sequence number; so a socket stays usable after any error. On a
 * socket that is in a group too, other programs' changes come with those programs' sequence
 * numbers: they are known by the port in them.
 *
 * rtnetlink works while the request is being sent: when sendto(2) returns the answer is there, or
 * its first part, and the next when that is taken. What is not there then was thrown away because
 * the socket's buffer is full; so nothing ever waits here.
 *
 * libmnl builds and reads the messages. Its sockets are not used: they cannot be opened
 * close-on-exec, and they report through errno.
 *
 * NETLINK_EXT_ACK makes the kernel explain its errors in words. Kernels that do not know an option
 * refuse it, and work as well without: so the options' results do not matter.
 */
#include "device/netlink.h"
#include "base/error.h"
#include "device/kernel.h"
#include "device/system.h"
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* The kernel chooses a port. */
static int choose_port(int descriptor, uint32_t *port)
{
	struct sockaddr_nl address = {.nl_family = AF_NETLINK};
	socklen_t length = sizeof(address);

	if (bind(descriptor, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    getsockname(descriptor, (struct sockaddr *)&address, &length) < 0)
		return -errno;
	*port = address.nl_pid;
	return 0;
}

int vn_netlink_open(struct vn_netlink *netlink, struct vnic_error *error)
{
	int descriptor = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	uint32_t port = 0;
	int one = 1;
	int code = descriptor < 0 ? -errno : choose_port(descriptor, &port);

	if (code < 0) {
		if (descriptor >= 0)
			close(descriptor);
		return vn_error_system(error, code, vn_system_cause(code),
				       "cannot open a netlink socket");
	}
	(void)setsockopt(descriptor, SOL_NETLINK, NETLINK_EXT_ACK, &one, sizeof(one));
	(void)setsockopt(descriptor, SOL_NETLINK, NETLINK_CAP_ACK, &one, sizeof(one));
	(void)setsockopt(descriptor, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &one, sizeof(one));
	netlink->descriptor = descriptor;
	netlink->port = port;
	netlink->sequence = 0;
	return 0;
}

void vn_netlink_close(struct vn_netlink *netlink)
{
	if (netlink->descriptor >= 0)
		close(netlink->descriptor);
	netlink->descriptor = -1;
}

static bool get_cookie(const struct vn_netlink *netlink, uint64_t *cookie)
{
	socklen_t length = sizeof(*cookie);

	return getsockopt(netlink->descriptor, SOL_SOCKET, SO_NETNS_COOKIE, cookie, &length) == 0;
}

bool vn_netlink_same_namespace(const struct vn_netlink *a, const struct vn_netlink *b)
{
	uint64_t cookie_a;
	uint64_t cookie_b;

	if (!get_cookie(a, &cookie_a) || !get_cookie(b, &cookie_b))
		return true;
	return cookie_a == cookie_b;
}

/* The attributes behind an error say in words what was wrong. */
static void explain(const struct nlmsghdr *message, const struct nlmsgerr *failure, char *why)
{
	size_t offset = sizeof(*failure);
	const struct nlattr *attribute;

	if (!(message->nlmsg_flags & NLM_F_ACK_TLVS))
		return;
	if (!(message->nlmsg_flags & NLM_F_CAPPED))
		offset += MNL_ALIGN(failure->msg.nlmsg_len) - sizeof(failure->msg);
	if (offset > mnl_nlmsg_get_payload_len(message))
		return;
	mnl_attr_for_each(attribute, message, offset)
	{
		if (mnl_attr_get_type(attribute) == NLMSGERR_ATTR_MSG &&
		    mnl_attr_validate(attribute, MNL_TYPE_NUL_STRING) >= 0)
			snprintf(why, VN_NETLINK_WHY_BYTES, ": %s", mnl_attr_get_str(attribute));
	}
}

/* Look at one message. Returns 1 if it ends the exchange with *result. */
static int take(const struct nlmsghdr *message, vn_netlink_part *part, void *user, char *why,
		int *result)
{
	if (message->nlmsg_flags & NLM_F_DUMP_INTR)
		*result = -EINTR;
	if (message->nlmsg_type == NLMSG_ERROR) {
		const struct nlmsgerr *failure = mnl_nlmsg_get_payload(message);

		if (mnl_nlmsg_get_payload_len(message) < sizeof(*failure)) {
			*result = -EBADMSG;
			return 1;
		}
		if (failure->error)
			*result = failure->error;
		explain(message, failure, why);
		return 1;
	}
	if (message->nlmsg_type == NLMSG_DONE) {
		if (mnl_nlmsg_get_payload_len(message) >= sizeof(int)) {
			int code;

			memcpy(&code, mnl_nlmsg_get_payload(message), sizeof(code));
			if (code < 0)
				*result = code;
		}
		return 1;
	}
	if (message->nlmsg_type >= NLMSG_MIN_TYPE && part && *result == 0)
		*result = part(message, user);
	return 0;
}

static int receive_answer(struct vn_netlink *netlink, vn_netlink_part *part, void *user, char *why)
{
	_Alignas(struct nlmsghdr) uint8_t buffer[VN_NETLINK_REPLY_BYTES];
	int result = 0;

	for (;;) {
		const struct nlmsghdr *message = (const struct nlmsghdr *)buffer;
		struct sockaddr_nl from = {0};
		socklen_t from_length = sizeof(from);
		int left = (int)recvfrom(netlink->descriptor, buffer, sizeof(buffer),
					 MSG_TRUNC | MSG_DONTWAIT, (struct sockaddr *)&from,
					 &from_length);

		if (left < 0 && errno == EINTR)
			continue;
		if (left < 0)
			return errno == EAGAIN ? -ENOBUFS : -errno;
		if ((size_t)left > sizeof(buffer))
			return -EMSGSIZE;
		if (from.nl_pid != 0) /* another process may write to us too */
			continue;
		for (; mnl_nlmsg_ok(message, left); message = mnl_nlmsg_next(message, &left)) {
			if (message->nlmsg_seq == netlink->sequence &&
			    message->nlmsg_pid == netlink->port &&
			    take(message, part, user, why, &result))
				return result;
		}
	}
}

int vn_netlink_request(struct vn_netlink *netlink, struct nlmsghdr *request, vn_netlink_part *part,
		       void *user, char *why)
{
	struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
	ssize_t sent;

	why[0] = '\0';
	request->nlmsg_flags |= NLM_F_REQUEST;
	/* A dump ends by itself; asked to acknowledge it too, old kernels send two ends. */
	if ((request->nlmsg_flags & NLM_F_DUMP) != NLM_F_DUMP)
		request->nlmsg_flags |= NLM_F_ACK;
	request->nlmsg_seq = ++netlink->sequence;
	do
		sent = sendto(netlink->descriptor, request, request->nlmsg_len, 0,
			      (const struct sockaddr *)&kernel, sizeof(kernel));
	while (sent < 0 && errno == EINTR);
	if (sent < 0)
		return -errno;
	return receive_answer(netlink, part, user, why);
}
