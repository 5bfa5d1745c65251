/* SPDX-License-Identifier: MIT */
/**
 * @file
 * A packet, and everything that reads or writes the headers in one.
 *
 * A packet is bytes with room before them, plus what the virtio-net header says of it (Linux
 * Documentation/networking/tuntap.rst, VIRTIO 1.2 section 5.1.6): a checksum that is still to be
 * done, and how a super-packet is to be cut into segments. That description travels with the
 * packet, so that whoever can take a 64 KiB packet whole gets it whole.
 */
#ifndef VNIC_PACKET_H
#define VNIC_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <vnic/address.h>
#include <vnic/arp.h>
#include <vnic/checksum.h>
#include <vnic/ethernet.h>
#include <vnic/icmp.h>
#include <vnic/ipv4.h>
#include <vnic/ipv6.h>
#include <vnic/ndp.h>
#include <vnic/tcp.h>
#include <vnic/udp.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The most packets that one call receives or sends. */
#define VNIC_BURST_PACKETS 64
/** The longest packet there is: 65,535 bytes of IP behind an Ethernet header with two VLAN tags. */
#define VNIC_PACKET_BYTES (65535 + 22)

/** What the first byte of a packet belongs to. */
enum vnic_layer {
	VNIC_LAYER_IP = 0,  /**< an IPv4 or IPv6 header: what a TUN carries */
	VNIC_LAYER_ETHERNET /**< an Ethernet header: what a TAP carries */
};

/** Bits of vnic_packet.flags. */
enum vnic_packet_flag {
	/** Csum_start and csum_offset say which checksum is to be completed */
	VNIC_PACKET_NEEDS_CSUM = 1,
	VNIC_PACKET_DATA_VALID = 2, /**< the sender vouches for the checksum */
	VNIC_PACKET_TRUNCATED = 4   /**< the buffer was too small: the end of the packet is lost */
};

/** Values of vnic_packet.gso_type: those of virtio-net's header, with the ECN bit taken out. */
enum vnic_gso_type {
	VNIC_GSO_NONE = 0,
	VNIC_GSO_TCP4 = 1,
	VNIC_GSO_TCP6 = 4,
	VNIC_GSO_UDP = 5
};

/**
 * A packet in memory that belongs to whoever filled it; the library never frees it and keeps no
 * pointer to it after a call. The bytes from data - headroom_bytes to data + capacity_bytes may be
 * written.
 */
struct vnic_packet {
	uint8_t *data;           /**< the first byte of the outermost header */
	uint32_t length_bytes;   /**< of the packet, from data on */
	uint32_t capacity_bytes; /**< of the memory, from data on */
	uint32_t headroom_bytes; /**< of the memory, before data */
	uint8_t flags;           /**< enum vnic_packet_flag, or-ed */
	uint8_t gso_type;        /**< enum vnic_gso_type; VNIC_GSO_NONE: a plain packet */
	bool gso_ecn;            /**< TCP super-packet with CWR on its first segment only */
	uint16_t gso_size_bytes; /**< of the payload in each segment */
	uint16_t csum_start;     /**< offset of the transport header from data, in bytes */
	uint16_t csum_offset;    /**< offset of the checksum field from csum_start, in bytes */
	/**
	 * A super-packet inside of a UDP tunnel (VNIC_OFFLOAD_UDP_TUNNEL), and the fields above are
	 * about the inner packet: the version of the outer IP header, VNIC_IPV4 or VNIC_IPV6. 0: no
	 * tunnel, and the fields below are 0 too.
	 */
	uint8_t gso_tunnel;
	bool gso_tunnel_csum;  /**< the outer UDP checksum is to be done in each segment */
	uint16_t tunnel_start; /**< offset of the outer UDP header from data, in bytes */
	uint16_t inner_start;  /**< offset of the inner IP header from data, in bytes */
};

/** Packets with their memory: what a program that moves packets keeps one of for each thread. */
struct vnic_burst;

/**
 * Allocate a burst.
 * @param count           packets in it, 1 to VNIC_BURST_PACKETS
 * @param capacity_bytes  of each, at most VNIC_PACKET_BYTES + 1; 0 means that. Memory that no
 *                        packet ever filled is never touched, so room for the longest costs next to
 *                        nothing
 * @param headroom_bytes  before each, for headers to be put in front
 * @param burst           the new burst, to be freed with vnic_burst_free()
 * @return 0, -EINVAL (cause ARGUMENT) or -ENOMEM (cause MEMORY)
 */
VNIC_API int vnic_burst_new(unsigned count, uint32_t capacity_bytes, uint32_t headroom_bytes,
			    struct vnic_burst **burst, struct vnic_error *error);
/** Free a burst and the memory of its packets. NULL is allowed. */
VNIC_API void vnic_burst_free(struct vnic_burst *burst);
/** The packets: an array of vnic_burst_count() that lives as long as the burst. */
VNIC_API struct vnic_packet *vnic_burst_packets(struct vnic_burst *burst);
VNIC_API unsigned vnic_burst_count(const struct vnic_burst *burst);
/** Make every packet empty again: data, capacity and headroom as they were when new. */
VNIC_API void vnic_burst_reset(struct vnic_burst *burst);

/**
 * Complete the checksum of a packet that has VNIC_PACKET_NEEDS_CSUM set, as a NIC would, and clear
 * the flag. A computed UDP checksum of 0 becomes 0xFFFF (RFC 768).
 * @return 0 (also if there was nothing to do), or -EBADMSG: csum_start and csum_offset point
 *         outside of the packet, which is left as it was
 */
VNIC_API int vnic_packet_finish_checksum(struct vnic_packet *packet);

/**
 * Room that a line of vnic_packet_print() always fits into, with its terminating zero, in bytes.
 */
#define VNIC_PACKET_LINE_BYTES 512

/**
 * Describe a packet in one line of text, without a newline: addresses, protocol, what matters of
 * its headers, its length, and what is wrong with it. Any bytes at all may be given.
 *
 *     10.0.0.1 > 10.0.0.2 ICMP echo request id 7 seq 1, 84 bytes
 *     02:..:01 > ff:ff:ff:ff:ff:ff ARP who has 10.0.0.2? tell 10.0.0.1, 42 bytes
 *
 * @param layer  what data begins with
 * @param line   the caller's, size_bytes long, ends with a zero byte always if size_bytes > 0
 * @return the length of the line in bytes; a longer line is cut
 */
VNIC_API size_t vnic_packet_print(const struct vnic_packet *packet, enum vnic_layer layer,
				  char *line, size_t size_bytes);

#ifdef __cplusplus
}
#endif
#endif
