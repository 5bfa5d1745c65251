/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Neighbour solicitations and advertisements (RFC 4861 sections 4.3, 4.4 and 4.6): what stands
 * behind the first 8 bytes of the ICMPv6 message. Conventions as in vnic/ethernet.h.
 */
#ifndef VNIC_NDP_H
#define VNIC_NDP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <vnic/address.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Flags of an advertisement: bits of vnic_icmp.rest. */
#define VNIC_NDP_ROUTER UINT32_C(0x80000000)
#define VNIC_NDP_SOLICITED UINT32_C(0x40000000)
#define VNIC_NDP_OVERRIDE UINT32_C(0x20000000)

struct vnic_ndp {
	uint8_t target[VNIC_IPV6_BYTES];
	bool has_mac; /**< a link-layer address option is there */
	/** The source's in a solicitation, the target's in an advertisement */
	uint8_t mac[VNIC_MAC_BYTES];
	/** A nonce option is there (RFC 3971 section 5.3.2, RFC 7527) */
	bool has_nonce;
	uint8_t nonce[6];
};

/**
 * Parse what follows the ICMPv6 header.
 * @param type  VNIC_ICMPV6_NEIGHBOR_SOLICITATION or _ADVERTISEMENT: says which option carries the
 *              address
 * @return bytes read, or -EBADMSG: cut off, an option of length 0, or one that reaches over the end
 *         (RFC 4861 section 7.1); unknown options are passed over
 */
VNIC_API int vnic_ndp_parse(uint8_t type, const uint8_t *bytes, size_t length_bytes,
			    struct vnic_ndp *ndp);
/** Write what follows the ICMPv6 header. @return bytes written, or -ENOSPC */
VNIC_API int vnic_ndp_build(uint8_t type, uint8_t *bytes, size_t capacity_bytes,
			    const struct vnic_ndp *ndp);

#ifdef __cplusplus
}
#endif
#endif
