/* SPDX-License-Identifier: MIT */
#ifndef VN_DEVICE_NETNS_H
#define VN_DEVICE_NETNS_H

#include "device/netlink.h"
#include <stdbool.h>
#include <vnic/netns.h>

/**
 * Run a function in the namespace that a text names, as vnic_netns_call() does; without a thread
 * where that is the caller's own (netns NULL, or the same one): there it needs no privilege.
 * @param foreign  set to whether it is another one; NULL: not wanted
 */
int vn_netns_run(const char *netns, int (*function)(void *user, struct vnic_error *error),
		 void *user, bool *foreign, struct vnic_error *error);

/** Open a netlink socket in the namespace that a text names, as above. */
int vn_netns_netlink(const char *netns, struct vn_netlink *netlink, bool *foreign,
		     struct vnic_error *error);

/** The same for a namespace's descriptor. */
int vn_netns_netlink_at(int descriptor, struct vn_netlink *netlink, struct vnic_error *error);

#endif
