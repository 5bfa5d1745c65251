/* SPDX-License-Identifier: MIT */
/*
 * TCP and UDP packets made to order, plain ones and super-packets, and a strict reader of plain
 * ones. Their payload is what a stream has at the sample's sequence number, so that the parts of a
 * stream fit together however it is cut.
 */
#ifndef VN_TEST_SAMPLES_H
#define VN_TEST_SAMPLES_H

#include <stdbool.h>
#include <stdint.h>
#include <vnic/packet.h>

/* All zero but for the payload: TCP over IPv4 in a TUN. */
struct sample {
	bool tap;
	unsigned tags; /* VLAN, at most 2; TAP only */
	bool ipv6;
	bool udp;
	unsigned ip_options;  /* IPv4: words of 4 bytes, at most 10 */
	unsigned extensions;  /* IPv6: destination options headers... */
	unsigned extension;   /* ...of so many bytes each, a multiple of 8; 0: 8 */
	unsigned tcp_options; /* words of 4 bytes, at most 10 */
	uint32_t option;      /* what they hold: 0: the padding that NOPs are */
	uint8_t tos;
	uint8_t ttl; /* 0: 64 */
	bool dont_fragment;
	uint16_t identification;
	uint32_t flow_label;
	uint16_t host; /* the low bits of the source address */
	uint16_t port; /* of the source */
	uint32_t sequence;
	uint32_t acknowledgment;
	uint8_t flags; /* TCP; 0: ACK */
	uint16_t window;
	uint32_t payload; /* in bytes */
};

static inline enum vnic_layer sample_layer(const struct sample *sample)
{
	return sample->tap ? VNIC_LAYER_ETHERNET : VNIC_LAYER_IP;
}

/* In bytes, up to the payload. */
uint32_t sample_header_bytes(const struct sample *sample);
/* The byte that the stream has at a position. */
uint8_t sample_byte(uint32_t position);
/* A plain packet with all checksums complete. It must fit. */
void sample_build(const struct sample *sample, struct vnic_packet *packet);
/* The same with its checksum still to be done. */
void sample_build_partial(const struct sample *sample, struct vnic_packet *packet);
/* A super-packet. */
void sample_build_super(const struct sample *sample, uint16_t gso_size_bytes,
			struct vnic_packet *packet);
/* The segment at this index that the super-packet is to be cut into; size 0: not cut. */
struct sample sample_segment(const struct sample *super, uint16_t gso_size_bytes, unsigned index);

/* A UDP tunnel around a packet, as VXLAN is one. */
struct tunnel {
	bool tap;
	unsigned tags;
	bool ipv6;
	bool checksum;
	uint16_t identification;
	uint8_t ttl;   /* 0: 64 */
	unsigned shim; /* bytes between UDP and the inner IP header */
};

static inline uint32_t tunnel_bytes(const struct tunnel *tunnel)
{
	return (tunnel->tap ? VNIC_ETHERNET_HEADER_BYTES + tunnel->tags * VNIC_VLAN_TAG_BYTES : 0) +
	       (tunnel->ipv6 ? VNIC_IPV6_HEADER_BYTES : VNIC_IPV4_HEADER_BYTES) +
	       VNIC_UDP_HEADER_BYTES + tunnel->shim;
}
/* Puts a packet of a TUN, plain or super, into a tunnel. It must fit. */
void tunnel_build(const struct tunnel *tunnel, struct vnic_packet *packet);

/*
 * Reads a plain TCP or UDP packet strictly: lengths, both checksums, no byte too many. Returns
 * NULL, or what is wrong. A checksum under a routing header is not looked at.
 */
const char *plain_complaint(const struct vnic_packet *packet, enum vnic_layer layer);

#endif
