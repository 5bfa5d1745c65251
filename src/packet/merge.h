/* SPDX-License-Identifier: MIT */
/* What vnic/merge.h does not offer: merging packets that stand in memory where they cannot grow. */
#ifndef VN_PACKET_MERGE_H
#define VN_PACKET_MERGE_H

#include <vnic/merge.h>

/**
 * vnic_packets_merge() for packets that may have been lent without room behind them, as where one
 * buffer holds many. One that is about to grow, and has no room, is copied to its home first.
 * @param homes  for each packet empty memory of its own: data, capacity_bytes and headroom_bytes
 */
unsigned vn_packets_merge(struct vnic_packet *packets, const struct vnic_packet *homes,
			  unsigned count, enum vnic_layer layer, unsigned what);

#endif
