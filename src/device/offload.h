/* SPDX-License-Identifier: MIT */
#ifndef VN_DEVICE_OFFLOAD_H
#define VN_DEVICE_OFFLOAD_H

#include <vnic/device.h>

#define VN_OFFLOAD_TUNNEL (VNIC_OFFLOAD_UDP_TUNNEL | VNIC_OFFLOAD_UDP_TUNNEL_CSUM)

/** @return 0, or -EINVAL (ARGUMENT): an unknown one, or one without that which it wants */
int vn_offload_check(unsigned offloads, struct vnic_error *error);

/**
 * Set offloads on an interface, leaving out what its kernel does not know.
 * @return what was granted, or a negative errno
 */
int vn_offload_set(int descriptor, unsigned offloads);

#endif
