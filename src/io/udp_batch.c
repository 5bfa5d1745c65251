/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. The kernel's price is for each message, not for each byte. With UDP_SEGMENT
 * one message is a run of datagrams of one size, of which only the last may be shorter: all full
 * segments of a TCP stream. So packets are put into the open message as long as they fit its size,
 * and whatever does not begins another. Nothing is put in another order.
 *
 * Plain packets stay where they are, and the kernel gathers them. Super-packets are cut right
 * behind one another into the batch's buffer, so that a run of them is one part to be gathered;
 * where they end and the next super-packet begins makes no difference to the message. That is why
 * the port takes super-packets although the network does not: what the wire cut would end with each
 * burst.
 *
 * What comes in is the same run, in one piece of memory, with its size told beside (UDP_GRO).
 */
#include "io/udp_batch.h"

#include <errno.h>

void vn_udp_batch_clear(struct vn_udp_batch *batch)
{
	batch->message_count = 0;
	batch->part_count = 0;
	batch->used_bytes = 0;
}

static bool may_follow(const struct vn_udp_batch *batch, uint32_t length)
{
	const struct vn_udp_message *last;

	if (!batch->segments || batch->message_count == 0)
		return false;
	last = &batch->messages[batch->message_count - 1];
	return !last->is_closed && length <= last->size_bytes && length > 0 &&
	       last->packets < VN_UDP_SEGMENTS && last->bytes + length <= batch->most_bytes;
}

bool vn_udp_batch_add(struct vn_udp_batch *batch, const uint8_t *data, uint32_t length_bytes)
{
	bool follows = may_follow(batch, length_bytes);
	struct vn_udp_message *message;
	struct iovec *part = NULL;

	if (follows)
		part = &batch->parts[batch->part_count - 1];
	if (part && (const uint8_t *)part->iov_base + part->iov_len != data)
		part = NULL;
	if ((!follows && batch->message_count == VN_UDP_MESSAGES) ||
	    (!part && batch->part_count == VN_UDP_PARTS))
		return false;
	if (!follows) {
		batch->messages[batch->message_count++] = (struct vn_udp_message){
			.first_part = batch->part_count,
			.size_bytes = length_bytes,
		};
	}
	message = &batch->messages[batch->message_count - 1];
	if (part) {
		part->iov_len += length_bytes;
	} else {
		/* sendmsg(2) takes what it does not write to by the same struct as what it does. */
		batch->parts[batch->part_count++] =
			(struct iovec){(void *)(uintptr_t)data, length_bytes};
		message->part_count++;
	}
	message->packets++;
	message->bytes += length_bytes;
	message->is_closed = length_bytes < message->size_bytes;
	return true;
}

static uint32_t least(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

int vn_udp_batch_cut(struct vn_udp_batch *batch, struct vnic_segmenter *segmenter)
{
	const struct vnic_packet *from = &segmenter->packet;
	struct vnic_packet segments[VN_UDP_MESSAGES];
	uint32_t size = from->length_bytes, most;
	int made;

	if (from->gso_type != VNIC_GSO_NONE)
		size = least(size, segmenter->header_bytes + from->gso_size_bytes);
	/* At worst each segment is a message and a part. */
	most = least(VN_UDP_MESSAGES - batch->message_count, VN_UDP_PARTS - batch->part_count);
	most = least(most, (VN_UDP_BUFFER_BYTES - batch->used_bytes) / size);
	for (uint32_t i = 0; i < most; i++)
		segments[i] = (struct vnic_packet){
			.data = batch->buffer + batch->used_bytes + (size_t)i * size,
			.capacity_bytes = size,
		};
	if (most == 0)
		return -ENOBUFS;
	made = vnic_segmenter_next(segmenter, segments, most);
	for (int i = 0; i < made; i++) {
		/* There is room: see above. */
		(void)vn_udp_batch_add(batch, segments[i].data, segments[i].length_bytes);
		batch->used_bytes += segments[i].length_bytes;
	}
	return made;
}

unsigned vn_udp_split_packets(const struct vn_udp_split *split)
{
	return (split->length_bytes - split->offset_bytes + split->size_bytes - 1) /
	       split->size_bytes;
}

unsigned vn_udp_split_next(struct vn_udp_split *split, struct vnic_packet *packets, unsigned count)
{
	unsigned made = 0;

	while (made < count && split->offset_bytes < split->length_bytes) {
		uint32_t length =
			least(split->size_bytes, split->length_bytes - split->offset_bytes);

		packets[made++] = (struct vnic_packet){
			.data = split->data + split->offset_bytes,
			.length_bytes = length,
			.capacity_bytes = length,
		};
		split->offset_bytes += length;
	}
	return made;
}
