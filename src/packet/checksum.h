/* SPDX-License-Identifier: MIT */
/*
 * What vnic/checksum.h does not offer: copying and summing in one pass, and arithmetic on partial
 * sums without a call. The implementations are listed so that a test can compare each of them with
 * the definition; everybody else calls vnic_checksum_add() and vn_checksum_copy().
 */
#ifndef VN_PACKET_CHECKSUM_H
#define VN_PACKET_CHECKSUM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vn_checksum_implementation {
	const char *name;
	/** The contract of vnic_checksum_add(). Call it only where supported() is true. */
	uint32_t (*add)(uint32_t sum, const void *bytes, size_t length_bytes);
	/** The contract of vn_checksum_copy(). */
	uint32_t (*copy)(void *to, const void *from, size_t length_bytes);
	bool (*supported)(void);
};

/** The implementations this build has, the fastest first; the last one runs everywhere. */
const struct vn_checksum_implementation *vn_checksum_implementations(size_t *count);

/**
 * Copy bytes, and return their partial sum: memory is read once for both. The two blocks may stand
 * at any alignment, but must not overlap; of no bytes either may be NULL.
 */
uint32_t vn_checksum_copy(void *to, const void *from, size_t length_bytes);

/** Add two partial sums, or a number of up to 32 bits to one. */
static inline uint32_t vn_checksum_combine(uint32_t sum, uint32_t other)
{
	sum += other;
	return sum + (sum < other);
}

/** vnic_checksum_fold() without a call. */
static inline uint16_t vn_checksum_fold(uint32_t sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)(sum + (sum >> 16));
}

/** vnic_checksum_finish() without a call. */
static inline uint16_t vn_checksum_finish(uint32_t sum)
{
	return (uint16_t)~vn_checksum_fold(sum);
}

#endif
