/* SPDX-License-Identifier: MIT */
#ifndef VN_IO_OUTLET_H
#define VN_IO_OUTLET_H

#include <stdbool.h>
#include <stddef.h>
#include <vnic/device.h>
#include <vnic/segment.h>

/**
 * Packets that go somewhere by one call, in the form that they can go there, and memory for the
 * segments among them. Whoever uses it puts packets into the array, and sets count and used_bytes
 * back to 0 when they are gone.
 */
struct vn_outlet {
	uint8_t *memory;
	size_t used_bytes;
	uint32_t headroom_bytes; /* of each segment, and as much behind it */
	struct vnic_packet packets[VNIC_BURST_PACKETS];
	unsigned count;
};

/** Reserve the memory, which costs nothing until it is used. @return 0 or -ENOMEM */
int vn_outlet_init(struct vn_outlet *outlet, uint32_t headroom_bytes);
/** All zero is allowed. */
void vn_outlet_free(struct vn_outlet *outlet);

/**
 * Add the next segments, as many as there are and as fit. The outlet must not be full.
 * @param segmenter  that vnic_segmenter_begin() succeeded for
 * @return how many: 0 when none is left
 */
unsigned vn_outlet_cut(struct vn_outlet *outlet, struct vnic_segmenter *segmenter);

/** Whether a packet goes where these offloads (enum vnic_offload) are taken as it is. */
bool vn_offloads_take(unsigned offloads, const struct vnic_packet *packet);

/** How many packets to receive at once, as far as the last burst tells: 2 to VNIC_BURST_PACKETS. */
unsigned vn_burst_wanted(const struct vnic_packet *packets, unsigned count);

#endif
