/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. A program may send super-packets and leave checksums open whatever the
 * device is like. What it takes goes out as it is, as many as stand together by one call; a
 * super-packet that it does not take is cut into memory of the sender's, and its segments go
 * out. That may be known before (no virtio-net header, an offload that was not granted), or only
 * when the kernel refuses the packet: device/superpacket.c says what that proves.
 *
 * A checksum is never a reason to copy a packet: the kernel completes it wherever there is a
 * virtio-net header, and where there is none vnic_device_send() does on the way.
 */
#include "io/sender.h"

#include <errno.h>

#include "device/superpacket.h"

int vn_sender_init(struct vn_sender *sender, struct vnic_device *device, unsigned queue)
{
	sender->device = device;
	sender->queue = queue;
	sender->failed = NULL;
	return vn_outlet_init(&sender->outlet, 0);
}

void vn_sender_free(struct vn_sender *sender)
{
	vn_outlet_free(&sender->outlet);
}

/* Only this thread writes it, so a plain addition is enough; others may read it meanwhile. */
static void count_refused(struct vn_sender *sender, unsigned packets)
{
	_Atomic uint64_t *refused =
		&sender->device->queues[sender->queue].counters.send_refused_packets;

	atomic_store_explicit(refused,
			      atomic_load_explicit(refused, memory_order_relaxed) + packets,
			      memory_order_relaxed);
}

/* As vn_superpacket_send(), but a plain packet that is refused is counted and done with. */
static int put(struct vn_sender *sender, const struct vnic_packet *packets, unsigned count)
{
	const char *failed;
	int code = vn_superpacket_send(sender->device, sender->queue, packets, count, &failed);

	if (failed)
		sender->failed = failed;
	if (code != -EINVAL)
		return code;
	count_refused(sender, 1);
	return 1;
}

/* Cut a packet and send its segments. Returns 1, or as put(). */
static int cut(struct vn_sender *sender, const struct vnic_packet *packet)
{
	enum vnic_layer layer = vnic_device_layer(sender->device);
	struct vn_outlet *outlet = &sender->outlet;
	struct vnic_segmenter segmenter;

	if (vnic_segmenter_begin(&segmenter, packet, layer) < 0) {
		count_refused(sender, 1);
		return 1;
	}
	while (vn_outlet_cut(outlet, &segmenter) > 0) {
		unsigned done = 0;
		int code = 1;

		while (done < outlet->count && code > 0) {
			code = put(sender, outlet->packets + done, outlet->count - done);
			if (code > 0)
				done += (unsigned)code;
		}
		outlet->count = 0;
		outlet->used_bytes = 0;
		if (code < 0)
			return code;
	}
	return 1;
}

/* How many of the packets, from the first on, the device takes as they are. */
static unsigned count_taken(const struct vn_sender *sender, const struct vnic_packet *packets,
			    unsigned count)
{
	unsigned offloads =
		vn_superpacket_offloads(sender->device, sender->queue) | VNIC_OFFLOAD_CSUM;
	unsigned taken = 0;

	while (taken < count && taken < VNIC_BURST_PACKETS &&
	       vn_offloads_take(offloads, &packets[taken]))
		taken++;
	return taken;
}

int vn_sender_send(struct vn_sender *sender, const struct vnic_packet *packets, unsigned count)
{
	unsigned done = 0;

	while (done < count) {
		unsigned taken = count_taken(sender, packets + done, count - done);
		int code = taken > 0 ? put(sender, packets + done, taken) : 0;

		if (code == 0)
			code = cut(sender, packets + done);
		if (code == -ENODEV)
			return code;
		/*
		 * A NIC does not wait for the network either. The send buffer is full only where
		 * the caller made it small, and to wait for it would hold up what comes in.
		 */
		if (code < 0) {
			count_refused(sender, count - done);
			break;
		}
		done += (unsigned)code;
	}
	return (int)done;
}
