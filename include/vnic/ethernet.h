/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Ethernet II headers with up to two VLAN tags (IEEE 802.3, IEEE 802.1Q).
 *
 * As with every header of this library: parse reads length_bytes at most, copies what it finds into
 * a struct in host order and returns the length of the header; build writes a header and returns
 * its length. Numbers are in host order, addresses in wire order. All pure and thread-safe.
 */
#ifndef VNIC_ETHERNET_H
#define VNIC_ETHERNET_H

#include <stddef.h>
#include <stdint.h>
#include <vnic/address.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Values of EtherType (IEEE 802 numbers). */
enum vnic_ethertype {
	VNIC_ETHERTYPE_IPV4 = 0x0800,
	VNIC_ETHERTYPE_ARP = 0x0806,
	VNIC_ETHERTYPE_VLAN = 0x8100,
	VNIC_ETHERTYPE_IPV6 = 0x86dd,
	VNIC_ETHERTYPE_QINQ = 0x88a8
};

#define VNIC_ETHERNET_HEADER_BYTES 14
#define VNIC_VLAN_TAG_BYTES 4
#define VNIC_VLAN_TAGS 2

struct vnic_vlan_tag {
	uint16_t protocol; /**< VNIC_ETHERTYPE_VLAN or VNIC_ETHERTYPE_QINQ */
	uint16_t tci;      /**< priority, drop eligible, 12 bits of VLAN identifier */
};

struct vnic_ethernet {
	uint8_t destination[VNIC_MAC_BYTES];
	uint8_t source[VNIC_MAC_BYTES];
	/** Behind the tags; under 0x0600 it is a length */
	uint16_t ethertype;
	/** 0 to 2; a third tag stays in the payload */
	unsigned vlan_count;
	struct vnic_vlan_tag vlan[VNIC_VLAN_TAGS]; /**< the outer one first */
};

/** @return bytes of header, or -EBADMSG: the header or a tag is cut off */
VNIC_API int vnic_ethernet_parse(const uint8_t *bytes, size_t length_bytes,
				 struct vnic_ethernet *ethernet);
/** @return bytes written, or -ENOSPC: they do not fit into capacity_bytes */
VNIC_API int vnic_ethernet_build(uint8_t *bytes, size_t capacity_bytes,
				 const struct vnic_ethernet *ethernet);

#ifdef __cplusplus
}
#endif
#endif
