/* SPDX-License-Identifier: MIT */
/*
 * Packets collected into the messages of one sendmmsg(2), and the messages of one recvmmsg(2) split
 * into packets. No system call here.
 */
#ifndef VN_IO_UDP_BATCH_H
#define VN_IO_UDP_BATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>
#include <vnic/packet.h>
#include <vnic/segment.h>

/** The most messages of a batch. */
#define VN_UDP_MESSAGES 64
/** The most segments of one message: UDP_MAX_SEGMENTS of the kernel, until 6.8. */
#define VN_UDP_SEGMENTS 64
/** Pieces of memory that a batch is made of. */
#define VN_UDP_PARTS 256
/** Room for segments. */
#define VN_UDP_BUFFER_BYTES (256 << 10)
/** What one message carries without UDP_SEGMENT. */
#define VN_UDP_DATAGRAM_BYTES 65507

/** Datagrams in a row, all of size_bytes but for the last, which may be shorter. */
struct vn_udp_message {
	unsigned first_part, part_count;
	unsigned packets;
	uint32_t size_bytes;
	uint32_t bytes;
	bool is_closed; /* its last one is shorter: nothing may follow */
};

struct vn_udp_batch {
	bool segments;       /* false: each packet is a message of its own */
	uint32_t most_bytes; /* of a message of several packets */
	unsigned message_count, part_count;
	uint32_t used_bytes;
	struct vn_udp_message messages[VN_UDP_MESSAGES];
	/* Each has whole packets in it. */
	struct iovec parts[VN_UDP_PARTS];
	uint8_t *buffer; /* of VN_UDP_BUFFER_BYTES */
};

/** Make it empty. */
void vn_udp_batch_clear(struct vn_udp_batch *batch);
/**
 * Add one plain packet, which is not copied: its bytes must stay until the batch is sent.
 * @return false: no room. Send what is there, clear it, and try again
 */
bool vn_udp_batch_add(struct vn_udp_batch *batch, const uint8_t *data, uint32_t length_bytes);
/**
 * Cut a packet, and add the segments that there is room for.
 * @param segmenter  for which vnic_segmenter_begin() succeeded
 * @return how many were added; 0: none is left; -ENOBUFS: no room. Send, clear, try again
 */
int vn_udp_batch_cut(struct vn_udp_batch *batch, struct vnic_segmenter *segmenter);

/** A received message that is being split into packets. */
struct vn_udp_split {
	uint8_t *data;
	uint32_t length_bytes;
	uint32_t size_bytes; /* of each packet but the last */
	uint32_t offset_bytes;
};
/** How many packets are left in it. */
unsigned vn_udp_split_packets(const struct vn_udp_split *split);
/** Let packets point to the next ones. @return how many */
unsigned vn_udp_split_next(struct vn_udp_split *split, struct vnic_packet *packets, unsigned count);

#endif
