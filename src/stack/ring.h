/* SPDX-License-Identifier: MIT */
/* Bytes that wait in a ring: see ring.c. */
#ifndef VN_STACK_RING_H
#define VN_STACK_RING_H

#include <stddef.h>
#include <stdint.h>

/* The least memory that a ring takes once it has any. */
#define VN_RING_LEAST_BYTES 4096u

struct vn_ring {
	uint8_t *bytes;
	uint32_t size_bytes; /* of the memory: a power of 2, or 0 */
	uint32_t most_bytes; /* that it may become: a power of 2 */
	uint32_t first;      /* where the oldest byte is */
	uint32_t used_bytes;
};

/* Takes no memory. most_bytes is a power of 2, and VN_RING_LEAST_BYTES at least. */
void vn_ring_init(struct vn_ring *ring, uint32_t most_bytes);
/* Free the memory and what is in it. */
void vn_ring_done(struct vn_ring *ring);
/* @return how many were put behind what is there: fewer where it is full, or memory has run out */
size_t vn_ring_put(struct vn_ring *ring, const uint8_t *bytes, size_t length_bytes);
/* Copy from behind the first skip_bytes, which stay. @return how many were copied */
size_t vn_ring_copy(const struct vn_ring *ring, size_t skip_bytes, uint8_t *bytes,
		    size_t length_bytes);
/* The oldest bytes, where they lie. @return how many lie in one piece */
size_t vn_ring_peek(const struct vn_ring *ring, const uint8_t **bytes);
/* Take away the oldest. There are as many. */
void vn_ring_drop(struct vn_ring *ring, size_t length_bytes);

static inline size_t vn_ring_free_bytes(const struct vn_ring *ring)
{
	return ring->most_bytes - ring->used_bytes;
}

#endif
