/* SPDX-License-Identifier: MIT */
/**
 * @file
 * The Internet checksum (RFC 1071), its pseudo headers and its incremental update (RFC 1624).
 *
 * A partial sum is a 32-bit number that is not folded yet; partial sums are added up in any order
 * with vnic_checksum_add(). Sums over an odd number of bytes may only come last. Everything here is
 * pure and thread-safe; the fastest implementation for this CPU is chosen when the first sum is
 * made.
 */
#ifndef VNIC_CHECKSUM_H
#define VNIC_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>
#include <vnic/address.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Add bytes to a partial sum.
 * @param sum    0 to begin, or what an earlier call returned
 * @param bytes  may stand at any alignment; not read where length_bytes is 0
 * @return the new partial sum, in an order that vnic_checksum_finish() knows
 */
VNIC_API uint32_t vnic_checksum_add(uint32_t sum, const void *bytes, size_t length_bytes);

/**
 * Add the pseudo header of TCP, UDP and ICMPv6 to a partial sum (RFC 793 section 3.1, RFC 8200
 * section 8.1). Both addresses must be of one family.
 * @param length_bytes  of the upper-layer header and its data
 */
VNIC_API uint32_t vnic_checksum_add_pseudo(uint32_t sum, const struct vnic_address *source,
					   const struct vnic_address *destination, uint8_t protocol,
					   uint32_t length_bytes);

/**
 * Fold a partial sum and complement it: the value of the checksum field, as a number in host order
 * (store it big-endian). Over data whose checksum field is right it gives 0.
 */
VNIC_API uint16_t vnic_checksum_finish(uint32_t sum);

/**
 * Fold a partial sum without complementing it, as a number in host order: what a NEEDS_CSUM packet
 * holds.
 */
VNIC_API uint16_t vnic_checksum_fold(uint32_t sum);

/** The checksum of one block: finish(add(0, ...)). */
VNIC_API uint16_t vnic_checksum(const void *bytes, size_t length_bytes);

/**
 * The checksum after a 16-bit field of the data changed (RFC 1624, equation 3). All numbers are in
 * host order, as read from big-endian bytes.
 */
VNIC_API uint16_t vnic_checksum_update16(uint16_t checksum, uint16_t before, uint16_t after);
/** The same for a 32-bit field that begins at an even offset. */
VNIC_API uint16_t vnic_checksum_update32(uint16_t checksum, uint32_t before, uint32_t after);

/**
 * The name of the implementation in use on this CPU: "avx2" or "portable" ("avx512" where there is
 * one).
 */
VNIC_API const char *vnic_checksum_implementation(void);

#ifdef __cplusplus
}
#endif
#endif
