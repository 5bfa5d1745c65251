/* SPDX-License-Identifier: MIT */
/* Packets on their way out: see output.c. */
#ifndef VN_STACK_OUTPUT_H
#define VN_STACK_OUTPUT_H

#include <stddef.h>
#include <stdint.h>
#include <vnic/packet.h>

struct vnic_stack;
struct vn_link;

/* An Ethernet header with two tags, and an IPv6 fragment header, with what aligns them. */
#define VN_OUTPUT_HEADROOM_BYTES 64
/* The longest packet that is built whatever the MTU is: an ICMPv6 error. */
#define VN_OUTPUT_BUILT_BYTES 1280
/* The longest that a buffer holds: what fits into most links. */
#define VN_OUTPUT_SMALL_BYTES 1536
#define VN_OUTPUT_BUFFER_BYTES (VN_OUTPUT_HEADROOM_BYTES + VN_OUTPUT_SMALL_BYTES)

/* For super-packets. So many of them fit into a processor's second-level cache. */
#define VN_OUTPUT_LARGE 4
/* The longest IPv6 packet has 65,535 bytes behind its header. */
#define VN_OUTPUT_LARGE_BYTES (VN_OUTPUT_HEADROOM_BYTES + 65536 + 64)

struct vn_output {
	struct vnic_packet packets[VNIC_BURST_PACKETS];
	unsigned count;
	unsigned large_count;
	uint8_t *buffers; /* one for each of packets, VN_OUTPUT_BUFFER_BYTES long */
	uint8_t *large;   /* VN_OUTPUT_LARGE of VN_OUTPUT_LARGE_BYTES */
};

/*
 * Memory to build a packet of up to VN_OUTPUT_SMALL_BYTES in, with headroom before it. Good until
 * something is sent.
 */
uint8_t *vn_output_buffer(struct vnic_stack *stack);
/*
 * The same for a packet of any length. Sent, if at all, with vn_output_packet() or vn_output_ip().
 */
uint8_t *vn_output_large(struct vnic_stack *stack);
/*
 * Send an IP packet with its offload description, which begins at packet->data. It is not larger
 * than the MTU, or is a super-packet. Its memory is that of vn_output_buffer() or
 * vn_output_large().
 */
void vn_output_packet(struct vnic_stack *stack, const struct vn_link *link,
		      struct vnic_packet *packet);
/*
 * Send what stands at payload in a frame to link, or without one where there is no Ethernet.
 * VN_OUTPUT_HEADROOM_BYTES before it may be written, or what the frame it came in had there.
 */
void vn_output_frame(struct vnic_stack *stack, const struct vn_link *link, uint16_t ethertype,
		     uint8_t *payload, size_t length_bytes);
/*
 * Send an IP packet whose header is complete, in fragments if it is larger than the path's MTU. An IPv6
 * header must be followed by its payload at once, and fragmenting it takes VNIC_IPV6_FRAGMENT_BYTES
 * more of headroom.
 */
void vn_output_ip(struct vnic_stack *stack, const struct vn_link *link, uint8_t *ip,
		  size_t length_bytes);
/* Write the header of a packet of our own. @return its length in bytes */
size_t vn_output_ip_header(struct vnic_stack *stack, uint8_t *ip, const struct vnic_address *source,
			   const struct vnic_address *destination, uint8_t protocol,
			   uint8_t traffic_class, uint8_t hop_limit, size_t payload_bytes);
/* How long it is going to be. */
size_t vn_output_ip_header_bytes(enum vnic_family family);
/* Hand everything to the user: afterwards none of the memory is in use. */
void vn_output_flush(struct vnic_stack *stack);

#endif
