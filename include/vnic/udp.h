/* SPDX-License-Identifier: MIT */
/**
 * @file
 * UDP headers (RFC 768, RFC 8200 section 8.1). Conventions as in vnic/ethernet.h.
 */
#ifndef VNIC_UDP_H
#define VNIC_UDP_H

#include <stddef.h>
#include <stdint.h>
#include <vnic/address.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VNIC_UDP_HEADER_BYTES 8

struct vnic_udp {
	uint16_t source_port;
	uint16_t destination_port;
	uint16_t length_bytes; /**< header and payload; build computes it */
	uint16_t checksum;     /**< as found: 0 says that there is none; build computes it */
};

/**
 * Parse; the checksum is for vnic_udp_verify().
 * @return 8, or -EBADMSG: cut off, or a length under 8 or over length_bytes
 */
VNIC_API int vnic_udp_parse(const uint8_t *bytes, size_t length_bytes, struct vnic_udp *udp);
/**
 * Verify the checksum of a datagram that vnic_udp_parse() accepted.
 * @return 0, or -EBADMSG: it is wrong, or it is missing over IPv6
 */
VNIC_API int vnic_udp_verify(const uint8_t *bytes, const struct vnic_udp *udp,
			     const struct vnic_address *source,
			     const struct vnic_address *destination);
/**
 * Write the header, with the checksum over it, the addresses and the payload_bytes that already
 * follow it.
 * @return 8, -ENOSPC, or -EMSGSIZE: over 65,535 bytes in all
 */
VNIC_API int vnic_udp_build(uint8_t *bytes, size_t capacity_bytes,
			    const struct vnic_address *source,
			    const struct vnic_address *destination, const struct vnic_udp *udp,
			    size_t payload_bytes);

#ifdef __cplusplus
}
#endif
#endif
