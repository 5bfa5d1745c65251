/* SPDX-License-Identifier: MIT */
#ifndef VN_DEVICE_DEVICE_H
#define VN_DEVICE_DEVICE_H

#include "device/link.h"
#include "device/netlink.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <vnic/device.h>

/** struct tun_pi and the longest virtio-net header: what can stand before a packet. */
#define VN_HEADER_BYTES (4 + 24)

/** Written by the queue's thread, read by any. */
struct vn_queue_counters {
	_Atomic uint64_t received_packets;
	_Atomic uint64_t received_bytes;
	_Atomic uint64_t received_truncated_packets;
	_Atomic uint64_t received_malformed_packets;
	_Atomic uint64_t sent_packets;
	_Atomic uint64_t sent_bytes;
	_Atomic uint64_t send_refused_packets;
	_Atomic uint64_t send_link_down;
	_Atomic uint64_t send_full;
};

/** What a kernel may say that it segments. */
enum vn_segmentation {
	VN_SEGMENTATION_TCP,
	VN_SEGMENTATION_UDP,
	VN_SEGMENTATIONS
};

/** What a queue has learnt of super-packets: see superpacket.c. */
struct vn_refusals {
	unsigned count[VN_SEGMENTATIONS]; /* since the last one that was taken */
	bool is_given_up[VN_SEGMENTATIONS];
	bool in_doubt; /* a super-packet was refused: are its segments? */
	enum vn_segmentation doubt;
};

/** What a queue's thread works with. Each has cache lines of its own. */
struct vn_queue {
	_Alignas(64) int descriptor;
	bool detached; /* by vnic_device_set_queue() */
	bool is_tap;
	bool big_endian;
	uint8_t information_bytes; /* struct tun_pi: 0 or 4 */
	uint8_t vnet_header_bytes; /* 0, 10, 12 or 24 */
	struct vn_refusals refusals;
	struct vn_queue_counters counters;
};

struct vnic_device {
	enum vnic_device_type type;
	unsigned queue_count;
	_Atomic unsigned offloads; /* granted; what a queue takes: vn_superpacket_offloads() */
	atomic_flag is_segmentation_told; /* that the kernel refuses what it granted */
	unsigned vnet_header_bytes;
	int send_buffer_bytes;     /* 0: never set */
	struct vn_netlink netlink; /* where the interface was when it was opened; may be none */
	/*
	 * One more in the same namespace, for a watch: when one is wanted the privilege to go there
	 * may be gone. None where the namespace is the opener's own.
	 */
	struct vn_netlink reserve;
	int stop; /* an eventfd for vnic_stop(), which may come before vnic_run() */
	struct vn_queue *queues;
};

/** A descriptor for ioctl(2): a queue that is detached answers too. */
int vn_device_control(const struct vnic_device *device);

/**
 * As vnic_device_send(), but the burst ends at each packet that is not sent.
 * @param wanted  1 to VNIC_BURST_PACKETS
 * @return the number sent, at least 1; -EAGAIN, -ENETDOWN, -ENODEV: as there; -EINVAL: the first
 *         packet is refused, and not counted here: the caller may try it in another form. A kernel
 *         that cannot segment a super-packet may call that -ENETDOWN, too
 */
int vn_device_offer(struct vnic_device *device, unsigned queue, const struct vnic_packet *packets,
		    unsigned wanted);

/** The error of a call that found its interface deleted. */
int vn_device_gone(struct vnic_error *error);

/**
 * What the kernel says of the interface, wherever it is now.
 * @param elsewhere  set to a socket in its namespace, which the caller closes, where it has left the
 *                   one where it was opened; else to none
 * @param netlink    set to the socket to ask with: elsewhere or the device's
 * @return 0, -ENODEV (DEVICE_GONE) or another negative errno
 */
int vn_device_link(struct vnic_device *device, struct vn_netlink *elsewhere,
		   struct vn_netlink **netlink, struct vn_link *link, struct vnic_error *error);

#endif
