/* SPDX-License-Identifier: MIT */
#ifndef VN_IO_SENDER_H
#define VN_IO_SENDER_H

#include "device/device.h"
#include "io/outlet.h"

/** Sends any packets on one queue of a device, in the form that it takes. */
struct vn_sender {
	struct vnic_device *device;
	unsigned queue;
	struct vn_outlet outlet;
	const char *failed; /* what the kernel turned out not to segment; set once for a device */
};

/** @return 0 or -ENOMEM */
int vn_sender_init(struct vn_sender *sender, struct vnic_device *device, unsigned queue);
/** All zero is allowed. */
void vn_sender_free(struct vn_sender *sender);

/**
 * Send packets.
 * @param packets  not changed
 * @return how many are done with: sent, or refused and counted. Fewer than count, the send buffer
 *         is full or the interface down, and the rest is counted as refused; -ENODEV: it is gone
 */
int vn_sender_send(struct vn_sender *sender, const struct vnic_packet *packets, unsigned count);

#endif
