/* SPDX-License-Identifier: MIT */
/*
 * Numbers in packet bytes: big-endian, at any alignment. Compilers turn each of these into one load
 * or store with a byte swap.
 */
#ifndef VN_BASE_BYTES_H
#define VN_BASE_BYTES_H

#include <stdint.h>

static inline uint16_t vn_load16(const uint8_t *bytes)
{
	return (uint16_t)(bytes[0] << 8 | bytes[1]);
}

static inline uint32_t vn_load32(const uint8_t *bytes)
{
	return (uint32_t)vn_load16(bytes) << 16 | vn_load16(bytes + 2);
}

static inline void vn_store16(uint8_t *bytes, uint16_t value)
{
	bytes[0] = (uint8_t)(value >> 8);
	bytes[1] = (uint8_t)value;
}

static inline void vn_store32(uint8_t *bytes, uint32_t value)
{
	vn_store16(bytes, (uint16_t)(value >> 16));
	vn_store16(bytes + 2, (uint16_t)value);
}

#endif
