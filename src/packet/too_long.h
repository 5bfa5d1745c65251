/* SPDX-License-Identifier: MIT */
/* ICMP errors about a packet as it is in memory. Pure. */
#ifndef VN_PACKET_TOO_LONG_H
#define VN_PACKET_TOO_LONG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <vnic/packet.h>

/** Room for an answer, in bytes: as long as an ICMPv6 error may be, and an Ethernet header. */
#define VN_TOO_LONG_BYTES (VNIC_IPV6_MTU_BYTES + 22)
/** The longest IPv4 error (RFC 1812 section 4.3.2.3). */
#define VN_ICMP_ERROR_BYTES 576
/** Precedence of IPv4 errors (RFC 1812 section 4.3.2.5). */
#define VN_ICMP_ERROR_TOS 0xc0

/**
 * Is an IPv4 packet, whose header was parsed, an ICMP error itself, or may be one? Then it must not
 * be answered with one (RFC 1122 section 3.2.2).
 */
bool vn_is_about_error_ipv4(const uint8_t *ip, size_t length_bytes);
/** The same for IPv6 (RFC 4443 section 2.4 (e)). It looks behind all extension headers. */
bool vn_is_about_error_ipv6(const uint8_t *ip, size_t length_bytes);

/**
 * Build what tells the sender of a packet that it is too long: "fragmentation needed" where it may
 * not be fragmented (RFC 1191 section 4), or "packet too big" (RFC 4443 section 3.2). It comes from
 * the packet's destination, for who is between has no address.
 * @param packet          in its layer; not changed
 * @param most_bytes      what would have passed, with the Ethernet header where there is one
 * @param most_tag_bytes  so much of that is for VLAN tags only, whether there are any or not
 * @param answer          VN_TOO_LONG_BYTES, in the same layer; Ethernet addresses change places
 * @return the answer's length; 0: there must be none
 */
uint32_t vn_too_long_build(const struct vnic_packet *packet, enum vnic_layer layer,
			   uint32_t most_bytes, uint32_t most_tag_bytes, uint8_t *answer);

#endif
