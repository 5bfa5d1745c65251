/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Merging packets that continue each other into super-packets, as a NIC with LRO or the kernel's
 * GRO does (Linux Documentation/networking/segmentation-offloads.rst).
 *
 * Pure, without allocation, thread-safe.
 */
#ifndef VNIC_MERGE_H
#define VNIC_MERGE_H

#include <stddef.h>
#include <stdint.h>
#include <vnic/error.h>
#include <vnic/packet.h>

#ifdef __cplusplus
extern "C" {
#endif

/** What to merge, as bits. */
enum vnic_merge {
	VNIC_MERGE_TCP = 1,
	VNIC_MERGE_UDP = 2 /**< for those who take VNIC_GSO_UDP: Linux 6.2 */
};

/**
 * Merge the packets of a burst. Only what vnic_segmenter_next() would cut into the very same
 * packets again is merged: TCP segments in sequence with equal headers, datagrams of equal length,
 * with IPv4 identifications that count up and right checksums, and nothing behind a PSH, a FIN or a
 * short one. Packets of one flow stay in order; what is not merged is not changed.
 *
 * A checksum is verified unless VNIC_PACKET_NEEDS_CSUM or VNIC_PACKET_DATA_VALID vouches for it.
 * IPv4 options, IPv6 routing headers, fragments and super-packets are passed on as they are.
 * @param packets  a packet grows in its own memory, as far as its capacity_bytes reaches. On return
 *                 the first ones are the result; those that went into others, with their memory,
 *                 stand behind them
 * @param count    at most VNIC_BURST_PACKETS: with more, nothing is merged
 * @param layer    what the packets begin with
 * @param what     enum vnic_merge, or-ed
 * @return the number of packets in the result
 */
VNIC_API unsigned vnic_packets_merge(struct vnic_packet *packets, unsigned count,
				     enum vnic_layer layer, unsigned what);

#ifdef __cplusplus
}
#endif
#endif
