/* SPDX-License-Identifier: MIT */
#ifndef VN_DEVICE_LINK_H
#define VN_DEVICE_LINK_H

#include "device/netlink.h"
#include <stdbool.h>
#include <vnic/link.h>

/** What the kernel tells of an interface: what we publish, and what only we need. */
struct vn_link {
	struct vnic_link_info info;
	bool has_ipv6;   /* IPv6 is compiled in and not switched off for the whole machine */
	bool type_known; /* kernels before 4.20 do not say what a tun is like */
	bool carrier_on; /* the driver's own idea of it, also while the interface is down */
};

/**
 * Ask for one interface: by index where that is positive, else by name.
 * @return 0, -ENODEV (INTERFACE_MISSING) or another negative errno
 */
int vn_link_get(struct vn_netlink *netlink, int index, const char *name, struct vn_link *link,
		struct vnic_error *error);

/** Read one RTM_NEWLINK message. @return 0 or -EBADMSG */
int vn_link_read(const struct nlmsghdr *message, struct vn_link *link);

/** What a link configuration says, done to a link. */
int vn_link_apply(struct vn_netlink *netlink, const struct vn_link *link,
		  const struct vnic_link_config *config, struct vnic_error *error);

/** An address with the interface that has it. */
struct vn_link_owned_address {
	int index;
	struct vnic_link_address address;
};

/**
 * All addresses of the namespace.
 * @param addresses  set to an array of *count, to be freed with free(); NULL where there are none
 */
int vn_link_list_addresses(struct vn_netlink *netlink, struct vn_link_owned_address **addresses,
			   size_t *count, struct vnic_error *error);

#endif
