/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * ARP can map anything to anything; the first 6 bytes say what to what. They are compared with the
 * one combination that exists on our wires, IPv4 (4 bytes) on Ethernet (6 bytes), and from there
 * on every field has its fixed place. Operations are not judged here: unknown ones are the
 * receiver's to ignore.
 */
#include <vnic/arp.h>

#include <errno.h>
#include <string.h>

#include "base/bytes.h"

/* Hardware type 1, protocol type 0x0800, their address lengths. */
static const uint8_t ipv4_over_ethernet[6] = {0, 1, 0x08, 0x00, VNIC_MAC_BYTES, VNIC_IPV4_BYTES};

int vnic_arp_parse(const uint8_t *bytes, size_t length_bytes, struct vnic_arp *arp)
{
	if (length_bytes < VNIC_ARP_BYTES ||
	    memcmp(bytes, ipv4_over_ethernet, sizeof(ipv4_over_ethernet)) != 0)
		return -EBADMSG;
	arp->operation = vn_load16(bytes + 6);
	memcpy(arp->sender_mac, bytes + 8, VNIC_MAC_BYTES);
	memcpy(arp->sender_ip, bytes + 14, VNIC_IPV4_BYTES);
	memcpy(arp->target_mac, bytes + 18, VNIC_MAC_BYTES);
	memcpy(arp->target_ip, bytes + 24, VNIC_IPV4_BYTES);
	return VNIC_ARP_BYTES;
}

int vnic_arp_build(uint8_t *bytes, size_t capacity_bytes, const struct vnic_arp *arp)
{
	if (capacity_bytes < VNIC_ARP_BYTES)
		return -ENOSPC;
	memcpy(bytes, ipv4_over_ethernet, sizeof(ipv4_over_ethernet));
	vn_store16(bytes + 6, arp->operation);
	memcpy(bytes + 8, arp->sender_mac, VNIC_MAC_BYTES);
	memcpy(bytes + 14, arp->sender_ip, VNIC_IPV4_BYTES);
	memcpy(bytes + 18, arp->target_mac, VNIC_MAC_BYTES);
	memcpy(bytes + 24, arp->target_ip, VNIC_IPV4_BYTES);
	return VNIC_ARP_BYTES;
}
