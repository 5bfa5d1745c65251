/* SPDX-License-Identifier: MIT */
/* Packets in a stream of bytes: each behind its length, 16 bits, big-endian. Pure. */
#ifndef VN_IO_FRAME_H
#define VN_IO_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <vnic/packet.h>

#define VN_FRAME_LENGTH_BYTES 2
/** The longest packet that the length can tell. */
#define VN_FRAME_MOST_BYTES 65535

/**
 * May a packet of length_bytes begin so? It is as long as its IP header says, or at least an
 * Ethernet header. @param there_bytes  how many of its bytes can be read @return false: never. With
 * too few bytes to be told, true
 */
bool vn_frame_is_possible(const uint8_t *packet, size_t there_bytes, size_t length_bytes,
			  enum vnic_layer layer);

/**
 * Look at the frame that the stream begins with.
 * @return its length with that of the packet in front; 0: it is not all there yet; -EBADMSG: it can
 *         be none, and where the next one begins nobody knows
 */
int vn_frame_parse(const uint8_t *stream, size_t length_bytes, enum vnic_layer layer);

#endif
