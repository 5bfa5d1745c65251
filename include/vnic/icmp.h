/* SPDX-License-Identifier: MIT */
/**
 * @file
 * ICMP (RFC 792) and ICMPv6 (RFC 4443) messages. Conventions as in vnic/ethernet.h. For what
 * neighbour discovery puts into ICMPv6 see vnic/ndp.h.
 */
#ifndef VNIC_ICMP_H
#define VNIC_ICMP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <vnic/address.h>

#ifdef __cplusplus
extern "C" {
#endif

enum vnic_icmp_type {
	VNIC_ICMP_ECHO_REPLY = 0,
	VNIC_ICMP_UNREACHABLE = 3,
	VNIC_ICMP_REDIRECT = 5,
	VNIC_ICMP_ECHO_REQUEST = 8,
	VNIC_ICMP_TIME_EXCEEDED = 11,
	VNIC_ICMP_PARAMETER_PROBLEM = 12,
	VNIC_ICMP_TIMESTAMP = 13,
	VNIC_ICMP_TIMESTAMP_REPLY = 14
};

/** Codes of VNIC_ICMP_UNREACHABLE. */
enum vnic_icmp_unreachable {
	VNIC_ICMP_UNREACHABLE_NET = 0,
	VNIC_ICMP_UNREACHABLE_HOST = 1,
	VNIC_ICMP_UNREACHABLE_PROTOCOL = 2,
	VNIC_ICMP_UNREACHABLE_PORT = 3,
	VNIC_ICMP_UNREACHABLE_FRAGMENTATION_NEEDED = 4,
	VNIC_ICMP_UNREACHABLE_SOURCE_ROUTE = 5
};

enum vnic_icmpv6_type {
	VNIC_ICMPV6_UNREACHABLE = 1,
	VNIC_ICMPV6_PACKET_TOO_BIG = 2,
	VNIC_ICMPV6_TIME_EXCEEDED = 3,
	VNIC_ICMPV6_PARAMETER_PROBLEM = 4,
	VNIC_ICMPV6_ECHO_REQUEST = 128,
	VNIC_ICMPV6_ECHO_REPLY = 129,
	VNIC_ICMPV6_MLD_QUERY = 130,
	VNIC_ICMPV6_MLD_REPORT = 131,
	VNIC_ICMPV6_MLD_DONE = 132,
	VNIC_ICMPV6_ROUTER_SOLICITATION = 133,
	VNIC_ICMPV6_ROUTER_ADVERTISEMENT = 134,
	VNIC_ICMPV6_NEIGHBOR_SOLICITATION = 135,
	VNIC_ICMPV6_NEIGHBOR_ADVERTISEMENT = 136,
	VNIC_ICMPV6_REDIRECT = 137,
	VNIC_ICMPV6_MLD2_REPORT = 143
};

/** Codes of VNIC_ICMPV6_UNREACHABLE. */
enum vnic_icmpv6_unreachable {
	VNIC_ICMPV6_UNREACHABLE_ROUTE = 0,
	VNIC_ICMPV6_UNREACHABLE_PROHIBITED = 1,
	VNIC_ICMPV6_UNREACHABLE_ADDRESS = 3,
	VNIC_ICMPV6_UNREACHABLE_PORT = 4
};

/** Codes of VNIC_ICMPV6_PARAMETER_PROBLEM. */
enum vnic_icmpv6_parameter {
	VNIC_ICMPV6_PARAMETER_HEADER = 0,
	VNIC_ICMPV6_PARAMETER_NEXT_HEADER = 1,
	VNIC_ICMPV6_PARAMETER_OPTION = 2,
	VNIC_ICMPV6_PARAMETER_INCOMPLETE_CHAIN =
		3 /**< of the first fragment (RFC 7112 section 6) */
};

#define VNIC_ICMP_HEADER_BYTES 8

/** The first 8 bytes of any ICMP or ICMPv6 message. */
struct vnic_icmp {
	uint8_t type;
	uint8_t code;
	uint16_t checksum; /**< as found; the builders compute it */
	/** Bytes 4 to 7: identifier << 16 | sequence for an echo, MTU, pointer, 0 */
	uint32_t rest;
};

/**
 * Parse and verify an ICMP message: the checksum is over all length_bytes.
 * @return 8, or -EBADMSG: cut off, or a wrong checksum
 */
VNIC_API int vnic_icmp_parse(const uint8_t *bytes, size_t length_bytes, struct vnic_icmp *icmp);
/**
 * Write the header, with the checksum over it and the payload_bytes that already follow it. @return
 * 8 or -ENOSPC
 */
VNIC_API int vnic_icmp_build(uint8_t *bytes, size_t capacity_bytes, const struct vnic_icmp *icmp,
			     size_t payload_bytes);

/** The same for ICMPv6, whose checksum covers the addresses too (RFC 4443 section 2.3). */
VNIC_API int vnic_icmpv6_parse(const uint8_t *bytes, size_t length_bytes,
			       const struct vnic_address *source,
			       const struct vnic_address *destination, struct vnic_icmp *icmp);
VNIC_API int vnic_icmpv6_build(uint8_t *bytes, size_t capacity_bytes,
			       const struct vnic_address *source,
			       const struct vnic_address *destination, const struct vnic_icmp *icmp,
			       size_t payload_bytes);

/**
 * True for the types that report an error, which nothing may answer with an error (RFC 1122 section
 * 3.2.2).
 */
VNIC_API bool vnic_icmp_is_error(uint8_t type);
/** True for types under 128 (RFC 4443 section 2.1). */
VNIC_API bool vnic_icmpv6_is_error(uint8_t type);

#ifdef __cplusplus
}
#endif
#endif
