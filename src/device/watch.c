/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A watch is a netlink socket in the group that is told of every change of a link, and what the
 * interface was like when we last heard: its name, and whether it was up. A message is compared
 * with that, and the differences are the events. So nothing is reported twice, messages about other
 * properties pass silently, and after a flood that the kernel could not queue (ENOBUFS) the
 * interface is asked for and compared in the same way.
 *
 * One message can hold two events, renamed and up: the second waits in the watch. The socket would
 * not be readable for it; vnic_watch_next() is called until it returns none, so it is found.
 *
 * The interface is known by its number, which no rename changes. One that moves into another
 * namespace says goodbye to this one with RTM_DELLINK, as if it were deleted, and would have
 * another number and name there: to the watch it is gone. Bridges send RTM_DELLINK too, for a port
 * that leaves, in their own family: not meant.
 *
 * The socket has to be in the interface's namespace. If that is the caller's own it is simply
 * opened there. If it is another one, and the privilege to go there is gone by now, the one that
 * the device opened in reserve is borrowed until the watch is closed.
 */
#include "base/error.h"
#include "device/device.h"
#include "device/kernel.h"
#include "device/netns.h"
#include "device/system.h"
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define ASK_TRIES 64
#define DISCARD_MOST 10000

struct vnic_watch {
	struct vnic_device *lender; /* of the socket; NULL: the socket is our own */
	struct vn_netlink netlink;
	int index;
	char name[VNIC_NAME_BYTES]; /* as last heard */
	bool up;
	bool was_up;  /* as last told */
	bool renamed; /* not told yet */
	bool gone;    /* not told yet */
	bool told_gone;
};

const char *vnic_link_event_name(enum vnic_link_event event)
{
	switch (event) {
	case VNIC_LINK_EVENT_UP:
		return "up";
	case VNIC_LINK_EVENT_DOWN:
		return "down";
	case VNIC_LINK_EVENT_RENAMED:
		return "renamed";
	case VNIC_LINK_EVENT_GONE:
		return "gone";
	default:
		return "none";
	}
}

/* Our own socket in the interface's namespace, where we may go there. */
static int open_own(struct vnic_device *device, struct vn_netlink *netlink,
		    struct vnic_error *error)
{
	int control = vn_device_control(device);
	int netns;
	int code = vn_netlink_open(netlink, error);

	if (code < 0)
		return code;
	netns = ioctl(control, TUNGETDEVNETNS, 0);
	if (netns >= 0) {
		struct vn_netlink there = VN_NETLINK_NONE;

		code = vn_netns_netlink_at(netns, &there, error);
		close(netns);
		vn_netlink_close(netlink);
		*netlink = there;
		return code;
	}
	if (device->netlink.descriptor >= 0 && vn_netlink_same_namespace(netlink, &device->netlink))
		return 0;
	vn_netlink_close(netlink);
	return vn_error(error, -EPERM, VNIC_CAUSE_CAPABILITY,
			"the interface is in a network namespace that may not be entered");
}

static int find_socket(struct vnic_device *device, struct vnic_watch *watch,
		       struct vnic_error *error)
{
	struct vnic_error forbidden;
	int code = open_own(device, &watch->netlink, &forbidden);

	if (code == -EPERM && device->reserve.descriptor >= 0) {
		watch->netlink = device->reserve;
		watch->lender = device;
		device->reserve = VN_NETLINK_NONE;
		return 0;
	}
	if (code < 0 && error)
		*error = forbidden;
	return code;
}

static int join(struct vnic_watch *watch, struct vnic_error *error)
{
	int group = RTNLGRP_LINK;
	int code;

	if (setsockopt(watch->netlink.descriptor, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group,
		       sizeof(group)) == 0)
		return 0;
	code = -errno;
	return vn_error_system(error, code, vn_system_cause(code), "cannot watch the interface");
}

/* From the state that it has now on, events are told. */
static int begin(struct vnic_device *device, struct vnic_watch *watch, struct vnic_error *error)
{
	struct vn_netlink elsewhere;
	struct vn_netlink *netlink;
	struct vn_link link;
	int code = vn_device_link(device, &elsewhere, &netlink, &link, error);

	if (code < 0)
		return code;
	vn_netlink_close(&elsewhere);
	watch->index = link.info.index;
	watch->up = watch->was_up = link.info.up;
	memcpy(watch->name, link.info.name, VNIC_NAME_BYTES);
	return 0;
}

int vnic_watch_open(struct vnic_device *device, struct vnic_watch **watch, struct vnic_error *error)
{
	struct vnic_watch *made = calloc(1, sizeof(*made));
	int code;

	if (!made)
		return vn_error(error, -ENOMEM, VNIC_CAUSE_MEMORY, "out of memory");
	made->netlink = VN_NETLINK_NONE;
	code = find_socket(device, made, error);
	if (code == 0)
		code = join(made, error);
	/* After joining: what changes in between comes as a message, and is no change then. */
	if (code == 0)
		code = begin(device, made, error);
	if (code < 0) {
		vnic_watch_close(made);
		return code;
	}
	*watch = made;
	return 0;
}

static void discard_news(struct vnic_watch *watch)
{
	unsigned left = DISCARD_MOST; /* others may be faster than we are */
	char byte;

	while (left-- > 0 && (recv(watch->netlink.descriptor, &byte, 1, MSG_DONTWAIT) >= 0 ||
			      errno == ENOBUFS || errno == EINTR))
		;
}

/* As it was borrowed: in no group, and without old news for the next borrower. */
static void give_back(struct vnic_watch *watch)
{
	int group = RTNLGRP_LINK;

	(void)setsockopt(watch->netlink.descriptor, SOL_NETLINK, NETLINK_DROP_MEMBERSHIP, &group,
			 sizeof(group));
	discard_news(watch);
	watch->lender->reserve = watch->netlink;
}

void vnic_watch_close(struct vnic_watch *watch)
{
	if (!watch)
		return;
	if (watch->lender)
		give_back(watch);
	else
		vn_netlink_close(&watch->netlink);
	free(watch);
}

int vnic_watch_descriptor(const struct vnic_watch *watch)
{
	return watch->netlink.descriptor;
}

static void hear(struct vnic_watch *watch, const struct nlmsghdr *message)
{
	const struct ifinfomsg *header = mnl_nlmsg_get_payload(message);
	struct vn_link link;

	if (message->nlmsg_type != RTM_NEWLINK && message->nlmsg_type != RTM_DELLINK)
		return;
	if (mnl_nlmsg_get_payload_len(message) < sizeof(*header) ||
	    header->ifi_index != watch->index || header->ifi_family != AF_UNSPEC)
		return;
	if (message->nlmsg_type == RTM_DELLINK) {
		watch->gone = true;
		return;
	}
	if (vn_link_read(message, &link) < 0 || !link.info.name[0])
		return;
	watch->up = link.info.up;
	if (strcmp(watch->name, link.info.name) != 0) {
		watch->renamed = true;
		memcpy(watch->name, link.info.name, VNIC_NAME_BYTES);
	}
}

/* After a flood: the kernel threw messages away, and says only that it did. */
static int ask_again(struct vnic_watch *watch)
{
	struct vn_link link;
	int code = -ENOBUFS;
	int tries;

	/*
	 * Through the socket itself, which is in the right namespace. It is still full of old news,
	 * and must be emptied for the answer to fit. What comes between that and the answer is
	 * older than it, and skipped; what comes behind it is read later.
	 */
	for (tries = 0; tries < ASK_TRIES && code == -ENOBUFS; tries++) {
		discard_news(watch);
		code = vn_link_get(&watch->netlink, watch->index, "", &link, NULL);
	}
	if (code == -ENODEV) {
		watch->gone = true;
		return 0;
	}
	if (code < 0)
		return code;
	watch->up = link.info.up;
	if (strcmp(watch->name, link.info.name) != 0) {
		watch->renamed = true;
		memcpy(watch->name, link.info.name, VNIC_NAME_BYTES);
	}
	return 0;
}

/* The next event that was heard and not told. */
static int tell(struct vnic_watch *watch, char *name)
{
	int event = VNIC_LINK_EVENT_NONE;

	if (watch->told_gone)
		return event;
	if (watch->renamed) {
		watch->renamed = false;
		event = VNIC_LINK_EVENT_RENAMED;
	} else if (watch->gone) {
		watch->told_gone = true;
		event = VNIC_LINK_EVENT_GONE;
	} else if (watch->up != watch->was_up) {
		watch->was_up = watch->up;
		event = watch->up ? VNIC_LINK_EVENT_UP : VNIC_LINK_EVENT_DOWN;
	}
	if (event != VNIC_LINK_EVENT_NONE && name)
		memcpy(name, watch->name, VNIC_NAME_BYTES);
	return event;
}

static int read_messages(struct vnic_watch *watch)
{
	_Alignas(struct nlmsghdr) uint8_t buffer[VN_NETLINK_REPLY_BYTES];
	const struct nlmsghdr *message = (const struct nlmsghdr *)buffer;
	struct sockaddr_nl from = {0};
	socklen_t from_length = sizeof(from);
	int left = (int)recvfrom(watch->netlink.descriptor, buffer, sizeof(buffer), MSG_DONTWAIT,
				 (struct sockaddr *)&from, &from_length);

	if (left < 0)
		return errno == EINTR ? 0 : -errno;
	if (from.nl_pid != 0)
		return 0;
	for (; mnl_nlmsg_ok(message, left); message = mnl_nlmsg_next(message, &left))
		hear(watch, message);
	return 0;
}

int vnic_watch_next(struct vnic_watch *watch, char *name)
{
	for (;;) {
		int event = tell(watch, name);
		int code;

		if (event != VNIC_LINK_EVENT_NONE)
			return event;
		code = read_messages(watch);
		if (code == -ENOBUFS)
			code = ask_again(watch);
		if (code == -EAGAIN)
			return VNIC_LINK_EVENT_NONE;
		if (code < 0)
			return code;
	}
}
