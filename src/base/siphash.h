/* SPDX-License-Identifier: MIT */
#ifndef VN_BASE_SIPHASH_H
#define VN_BASE_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

/**
 * SipHash-2-4: who does not know the key can neither guess the hash nor find bytes that collide.
 * For initial sequence numbers (RFC 6528 section 3), and tables whose keys strangers choose.
 * @param bytes  at any alignment; NULL is allowed if there are none
 * @return  the same on machines of either byte order
 */
uint64_t vn_siphash(const uint8_t key[16], const void *bytes, size_t length_bytes);

#endif
