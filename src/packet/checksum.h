/* SPDX-License-Identifier: MIT */
/*
 * The implementations of the Internet checksum, so that a test can compare each of them with the
 * definition. Everybody else calls vnic_checksum_add().
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
	bool (*supported)(void);
};

/** The implementations this build has, the fastest first; the last one runs everywhere. */
const struct vn_checksum_implementation *vn_checksum_implementations(size_t *count);

#endif
