/* SPDX-License-Identifier: MIT */
/**
 * @file
 * ARP for IPv4 over Ethernet (RFC 826, RFC 5227). Conventions as in vnic/ethernet.h.
 */
#ifndef VNIC_ARP_H
#define VNIC_ARP_H

#include <stddef.h>
#include <stdint.h>
#include <vnic/address.h>

#ifdef __cplusplus
extern "C" {
#endif

enum vnic_arp_operation {
	VNIC_ARP_REQUEST = 1,
	VNIC_ARP_REPLY = 2
};

#define VNIC_ARP_BYTES 28

struct vnic_arp {
	uint16_t operation;
	uint8_t sender_mac[VNIC_MAC_BYTES];
	uint8_t sender_ip[VNIC_IPV4_BYTES];
	uint8_t target_mac[VNIC_MAC_BYTES];
	uint8_t target_ip[VNIC_IPV4_BYTES];
};

/** @return VNIC_ARP_BYTES, or -EBADMSG: cut off, or not for IPv4 over Ethernet */
VNIC_API int vnic_arp_parse(const uint8_t *bytes, size_t length_bytes, struct vnic_arp *arp);
/** @return VNIC_ARP_BYTES, or -ENOSPC: they do not fit into capacity_bytes */
VNIC_API int vnic_arp_build(uint8_t *bytes, size_t capacity_bytes, const struct vnic_arp *arp);

#ifdef __cplusplus
}
#endif
#endif
