/* SPDX-License-Identifier: MIT */
#ifndef VN_DEVICE_NODE_H
#define VN_DEVICE_NODE_H

#include "device/netlink.h"
#include <stdbool.h>
#include <vnic/device.h>

/** What opening made. */
struct vn_node {
	int *descriptors; /* room for one per queue; those opened are valid */
	unsigned count;   /* opened so far */
	short flags;      /* IFF_*: what the kernel gave */
	bool is_shared;   /* others have queues of the interface, too */
	struct vn_netlink netlink;
};

/** @return 0, or -EINVAL (NAME_INVALID), -ENAMETOOLONG (NAME_TOO_LONG) */
int vn_node_check_name(const char *name, bool pattern_allowed, struct vnic_error *error);

/** Open /dev/net/tun. @return a descriptor, close-on-exec and non-blocking, or a negative errno */
int vn_node_open(struct vnic_error *error);

/**
 * Create or attach to an interface in the calling thread's namespace, with all queues.
 * @param node  with descriptors set; on failure nothing in it is left open
 */
int vn_node_attach(const struct vnic_device_options *options, bool vnet_header,
		   struct vn_node *node, struct vnic_error *error);

/**
 * The interface behind a descriptor.
 * @param name   VNIC_NAME_BYTES; NULL: not wanted
 * @param flags  NULL: not wanted
 * @return 0, -EBADFD (attached to none) or another negative errno
 */
int vn_node_interface(int descriptor, char *name, short *flags);

/** ioctl(2) that returns a negative errno. */
int vn_node_control(int descriptor, unsigned long request, const void *argument);
/**
 * The same for a request that takes its argument by value: a pointer's bits would be taken for it.
 */
int vn_node_control_value(int descriptor, unsigned long request, unsigned long value);

#endif
