/* SPDX-License-Identifier: MIT */
/**
 * @file
 * IPv6 headers and their extension headers (RFC 8200). Conventions as in vnic/ethernet.h.
 */
#ifndef VNIC_IPV6_H
#define VNIC_IPV6_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <vnic/address.h>
#include <vnic/ipv4.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VNIC_IPV6_HEADER_BYTES 40
/** The smallest MTU of a link that carries IPv6, in bytes (RFC 8200 section 5). */
#define VNIC_IPV6_MTU_BYTES 1280

struct vnic_ipv6 {
	uint8_t source[VNIC_IPV6_BYTES];
	uint8_t destination[VNIC_IPV6_BYTES];
	uint8_t traffic_class;
	uint8_t next_header; /**< the one right behind this header */
	uint8_t hop_limit;
	uint32_t flow_label;    /**< 20 bits */
	uint16_t payload_bytes; /**< all that follows the 40 bytes */
};

/**
 * @return 40, or -EBADMSG: cut off, not version 6, or a payload length over what is there
 */
VNIC_API int vnic_ipv6_parse(const uint8_t *bytes, size_t length_bytes, struct vnic_ipv6 *ipv6);
/** The same with a payload length over length_bytes allowed: for what an ICMPv6 error quotes. */
VNIC_API int vnic_ipv6_parse_lenient(const uint8_t *bytes, size_t length_bytes,
				     struct vnic_ipv6 *ipv6);
/** @return 40, or -ENOSPC: they do not fit into capacity_bytes */
VNIC_API int vnic_ipv6_build(uint8_t *bytes, size_t capacity_bytes, const struct vnic_ipv6 *ipv6);

/**
 * True for the headers that vnic_ipv6_extension_parse() knows: 0, 43, 44, 60 (RFC 8200 section 4).
 */
VNIC_API bool vnic_ipv6_is_extension(uint8_t next_header);

struct vnic_ipv6_extension {
	uint8_t type; /**< which one this is: the value that led here */
	uint8_t next_header;
	uint16_t length_bytes; /**< of this header: a multiple of 8 */
	/* Hop-by-hop and destination options: */
	const uint8_t *options; /**< into the caller's bytes; NULL for the other types */
	uint16_t options_bytes;
	/* Routing: */
	uint8_t routing_type;
	uint8_t segments_left;
	/* Fragment: */
	bool more_fragments;
	uint16_t fragment_offset_bytes; /**< a multiple of 8 */
	uint32_t identification;
};

/**
 * Parse one extension header.
 * @param type   one for which vnic_ipv6_is_extension() is true
 * @param bytes  where it begins; extension->options points into them
 * @return bytes of header, -EBADMSG: cut off, or -EINVAL: type is no extension header
 */
VNIC_API int vnic_ipv6_extension_parse(uint8_t type, const uint8_t *bytes, size_t length_bytes,
				       struct vnic_ipv6_extension *extension);

#define VNIC_IPV6_FRAGMENT_BYTES 8
/** Write a fragment header. @return 8, -ENOSPC, or -EINVAL: an offset that is no multiple of 8 */
VNIC_API int vnic_ipv6_fragment_build(uint8_t *bytes, size_t capacity_bytes,
				      const struct vnic_ipv6_extension *fragment);

/** Values of an option's type (IANA, "Destination Options and Hop-by-Hop Options"). */
enum vnic_ipv6_option {
	VNIC_IPV6_OPTION_PAD1 = 0,
	VNIC_IPV6_OPTION_PADN = 1,
	VNIC_IPV6_OPTION_ROUTER_ALERT = 5,
	VNIC_IPV6_OPTION_JUMBO = 0xc2
};

/**
 * Step through the options of a hop-by-hop or destination options header. As
 * vnic_ipv4_next_option().
 * @return 1: there is one (Pad1 and PadN are passed over); 0: no more; -EBADMSG: it reaches over
 *         the end
 */
VNIC_API int vnic_ipv6_next_option(const struct vnic_ipv6_extension *extension, size_t *offset,
				   const uint8_t **option, size_t *option_bytes);

#ifdef __cplusplus
}
#endif
#endif
