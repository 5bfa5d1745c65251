/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Cutting super-packets into segments, as a NIC with TSO and USO does (Linux
 * Documentation/networking/segmentation-offloads.rst).
 *
 * Pure, without allocation, thread-safe: the state is the caller's.
 */
#ifndef VNIC_SEGMENT_H
#define VNIC_SEGMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <vnic/error.h>
#include <vnic/packet.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The most bytes of headers, from Ethernet to TCP, that a super-packet may have. */
#define VNIC_SEGMENT_HEADER_BYTES 512

/** An IP header of a super-packet that is being cut. Its members are the library's. */
struct vnic_segmenter_network {
	uint32_t offset_bytes;
	uint32_t sum;            /**< IPv4: without what differs by segment */
	uint16_t identification; /**< IPv4: of the first segment */
	bool ipv4;
};

/** A super-packet that is being cut. Its members are the library's. */
struct vnic_segmenter {
	struct vnic_packet packet;                    /**< as it was described at the beginning */
	struct vnic_segmenter_network network;        /**< in front of TCP or UDP */
	struct vnic_segmenter_network tunnel_network; /**< the outer one, with a tunnel */
	uint32_t tunnel_sum; /**< of the outer pseudo header, without the length */
	uint32_t transport_offset;
	uint32_t header_bytes;   /**< all headers */
	uint32_t payload_bytes;  /**< all payload */
	uint32_t position_bytes; /**< payload that is done */
	uint32_t index;          /**< segments that are done */
	uint32_t transport_sum;  /**< of pseudo and transport header, less what differs */
	uint32_t sequence;       /**< of the first segment, TCP */
	uint8_t tcp_flags;       /**< of the super-packet */
	bool tcp;
};

/**
 * Begin to cut a packet. One that is no super-packet gives one segment: itself with its checksum
 * completed.
 * @param packet  unchanged, and not kept; but its bytes must stay as they are until all segments
 *                are made. The sum of the pseudo header is taken from its checksum field, as a NIC
 *                does
 * @param layer   what its bytes begin with
 * @return the number of segments, at least 1 (a payload of no bytes makes one, too), or -EBADMSG:
 *         its headers or its offload description make no sense: not the IP version or protocol
 *         that the description names, csum_start (tunnel_start, inner_start) not at the header
 *         that it is of, lengths that contradict each other, a wrong IPv4 header checksum, an IP
 *         fragment, headers over VNIC_SEGMENT_HEADER_BYTES
 */
VNIC_API int vnic_segmenter_begin(struct vnic_segmenter *segmenter,
				  const struct vnic_packet *packet, enum vnic_layer layer);

/**
 * Write the next segments: plain packets with every checksum complete. IPv4 identifications count
 * up, FIN and PSH are on the last segment only, CWR on the first only. Bytes behind the IP packet,
 * as Ethernet may have them, are left out. Inside of a tunnel each segment has a tunnel's headers
 * of its own, whose UDP checksum is complete if gso_tunnel_csum said so, and as it was otherwise.
 * @param segmenter  for which vnic_segmenter_begin() succeeded
 * @param packets    with memory of the caller's that is not the super-packet's; set are
 *                   length_bytes, flags and the offload description
 * @return the number written: 0 when none is left; -EMSGSIZE: the next segment does not fit into
 *         its memory, and nothing was done
 */
VNIC_API int vnic_segmenter_next(struct vnic_segmenter *segmenter, struct vnic_packet *packets,
				 unsigned count);

#ifdef __cplusplus
}
#endif
#endif
