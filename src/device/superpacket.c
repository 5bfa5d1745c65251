/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Some kernels grant offloads and then refuse what they stand for: a write of a super-packet gives
 * EINVAL or EIO. EIO is also what an interface gives that is down, and EINVAL what a packet gives
 * that makes no sense, so neither proves anything. The proof is that the segments of the same
 * packet go through: who sends is told to cut a refused super-packet, and sends its segments next;
 * where the first of them is taken, it was the kernel's fault. A stranger may be able to send one
 * super-packet that is refused whole and taken in parts, so only REFUSALS_MOST of them, without one
 * that went through between, end it: then the offload is not used on this queue any more, which is
 * told once. TCP and UDP are two offloads in the kernel, and here. A super-packet that cannot be cut
 * has no segments, and proves nothing: it is refused as a plain one would be.
 *
 * What was learnt is the queue's, and only its thread looks at it: it outlives a run.
 */
#include "device/superpacket.h"
#include <errno.h>
#include <vnic/segment.h>

#define REFUSALS_MOST 4
#define TCP_OFFLOADS (VNIC_OFFLOAD_TSO4 | VNIC_OFFLOAD_TSO6 | VNIC_OFFLOAD_ECN)
#define TUNNEL_OFFLOADS (VNIC_OFFLOAD_UDP_TUNNEL | VNIC_OFFLOAD_UDP_TUNNEL_CSUM)

static enum vn_segmentation segmentation_of(const struct vnic_packet *packet)
{
	return packet->gso_type == VNIC_GSO_UDP ? VN_SEGMENTATION_UDP : VN_SEGMENTATION_TCP;
}

unsigned vn_superpacket_offloads(const struct vnic_device *device, unsigned queue)
{
	const struct vn_refusals *own = &device->queues[queue].refusals;
	unsigned offloads = atomic_load_explicit(&device->offloads, memory_order_relaxed);

	if (own->is_given_up[VN_SEGMENTATION_TCP])
		offloads &= ~(unsigned)(TCP_OFFLOADS | TUNNEL_OFFLOADS);
	if (own->is_given_up[VN_SEGMENTATION_UDP])
		offloads &= ~(unsigned)(VNIC_OFFLOAD_USO | TUNNEL_OFFLOADS);
	return offloads;
}

/* The segments of a super-packet that was refused went through: it was the kernel's fault. */
static const char *prove(struct vnic_device *device, struct vn_refusals *own)
{
	own->in_doubt = false;
	if (++own->count[own->doubt] < REFUSALS_MOST)
		return NULL;
	own->is_given_up[own->doubt] = true;
	if (atomic_flag_test_and_set(&device->is_segmentation_told))
		return NULL;
	return own->doubt == VN_SEGMENTATION_UDP ? "UDP" : "TCP";
}

int vn_superpacket_send(struct vnic_device *device, unsigned queue,
			const struct vnic_packet *packets, unsigned count, const char **failed)
{
	struct vn_refusals *own = &device->queues[queue].refusals;
	bool is_super = packets->gso_type != VNIC_GSO_NONE;
	struct vnic_segmenter segmenter;
	int code;

	*failed = NULL;
	if (is_super && own->is_given_up[segmentation_of(packets)])
		return 0;
	code = vn_device_offer(device, queue, packets, count);
	if (code > 0) {
		if (own->in_doubt && !is_super)
			*failed = prove(device, own);
		for (int i = 0; i < code; i++)
			if (packets[i].gso_type != VNIC_GSO_NONE)
				own->count[segmentation_of(&packets[i])] = 0;
		return code;
	}
	own->in_doubt = false;
	if (!is_super || code == -EAGAIN || code == -ENODEV)
		return code;
	if (vnic_segmenter_begin(&segmenter, packets, vnic_device_layer(device)) < 0)
		return -EINVAL;
	own->in_doubt = true;
	own->doubt = segmentation_of(packets);
	return 0;
}
