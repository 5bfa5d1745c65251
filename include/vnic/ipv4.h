/* SPDX-License-Identifier: MIT */
/**
 * @file
 * IPv4 headers with options (RFC 791). Conventions as in vnic/ethernet.h.
 */
#ifndef VNIC_IPV4_H
#define VNIC_IPV4_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <vnic/address.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Values of the IPv4 protocol and IPv6 next header fields. */
enum vnic_protocol {
	VNIC_PROTOCOL_HOP_BY_HOP = 0,
	VNIC_PROTOCOL_ICMP = 1,
	VNIC_PROTOCOL_TCP = 6,
	VNIC_PROTOCOL_UDP = 17,
	VNIC_PROTOCOL_ROUTING = 43,
	VNIC_PROTOCOL_FRAGMENT = 44,
	VNIC_PROTOCOL_ICMPV6 = 58,
	VNIC_PROTOCOL_NONE = 59,
	VNIC_PROTOCOL_DESTINATION = 60
};

#define VNIC_IPV4_HEADER_BYTES 20
#define VNIC_IPV4_HEADER_MOST_BYTES 60

struct vnic_ipv4 {
	uint8_t source[VNIC_IPV4_BYTES];
	uint8_t destination[VNIC_IPV4_BYTES];
	uint8_t tos; /**< DSCP and ECN */
	uint8_t ttl;
	uint8_t protocol;
	bool dont_fragment;
	bool more_fragments;
	uint16_t identification;
	uint16_t fragment_offset_bytes; /**< a multiple of 8 */
	uint16_t total_bytes;           /**< header and payload */
	uint8_t options_bytes;          /**< 0 to 40, a multiple of 4 */
	uint8_t options[40];
};

/**
 * Parse and verify. A super-packet may be longer than total_bytes allows for: see vnic_packet.
 * @return bytes of header with its options, or -EBADMSG: cut off, not version 4, a header length
 *         under 20 or over the total, a total over length_bytes, or a wrong header checksum
 */
VNIC_API int vnic_ipv4_parse(const uint8_t *bytes, size_t length_bytes, struct vnic_ipv4 *ipv4);
/**
 * The same without verifying the checksum and with a total over length_bytes allowed: for the
 * packet that an ICMP error quotes, and to describe what is broken.
 * @return bytes of header with its options, or -EBADMSG: cut off, not version 4, header length
 *         under 20
 */
VNIC_API int vnic_ipv4_parse_lenient(const uint8_t *bytes, size_t length_bytes,
				     struct vnic_ipv4 *ipv4);
/**
 * Write the header with its checksum.
 * @return bytes written, or -ENOSPC: they do not fit, or -EINVAL: options or offset no multiple, or
 *         too long
 */
VNIC_API int vnic_ipv4_build(uint8_t *bytes, size_t capacity_bytes, const struct vnic_ipv4 *ipv4);

/** Values of an option's type (IANA, "IP Option Numbers"). */
enum vnic_ipv4_option {
	VNIC_IPV4_OPTION_END = 0,
	VNIC_IPV4_OPTION_NOP = 1,
	VNIC_IPV4_OPTION_RECORD_ROUTE = 7,
	VNIC_IPV4_OPTION_TIMESTAMP = 68,
	VNIC_IPV4_OPTION_LOOSE_SOURCE_ROUTE = 131,
	VNIC_IPV4_OPTION_STRICT_SOURCE_ROUTE = 137,
	VNIC_IPV4_OPTION_ROUTER_ALERT = 148
};

/**
 * Step through the options. Begin with *offset 0.
 * @param offset  of the next option from options' first byte; moved behind the one that is returned
 * @param option  set to its first byte (the type); its length, at least 1, is in *option_bytes
 * @return 1: there is one; 0: no more; -EBADMSG: a length that is too small or reaches over the
 *         end, with *offset left at the option that is wrong
 */
VNIC_API int vnic_ipv4_next_option(const struct vnic_ipv4 *ipv4, size_t *offset,
				   const uint8_t **option, size_t *option_bytes);

#ifdef __cplusplus
}
#endif
#endif
