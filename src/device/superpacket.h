/* SPDX-License-Identifier: MIT */
#ifndef VN_DEVICE_SUPERPACKET_H
#define VN_DEVICE_SUPERPACKET_H

#include "device/device.h"

/** What a queue takes now: the offloads that were granted, less those that turned out to be none. */
unsigned vn_superpacket_offloads(const struct vnic_device *device, unsigned queue);

/**
 * As vn_device_offer(), and learns from it whether the kernel takes super-packets as it said.
 * @param packets  after 0 was returned: the segments of the packet that has to be cut
 * @param failed   set once for a device, by the queue whose call proved it, to what the kernel does
 *                 not segment: "TCP" or "UDP"; NULL otherwise
 * @return as vn_device_offer(); 0: packets[0] is a super-packet that has to be cut
 */
int vn_superpacket_send(struct vnic_device *device, unsigned queue,
			const struct vnic_packet *packets, unsigned count, const char **failed);

#endif
