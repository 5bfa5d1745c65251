/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A ring begins without memory and doubles it, up to its bound, as more has to wait in it: a hundred
 * thousand connections that say nothing cost nothing, and those that say little cost little. It does
 * not become smaller again before it is done with.
 *
 * One that has run empty begins again at its first byte, so that a connection whose user keeps up
 * touches the same few pages all the time, and finds them in the cache.
 */
#include "stack/ring.h"

#include <stdlib.h>
#include <string.h>

void vn_ring_init(struct vn_ring *ring, uint32_t most_bytes)
{
	*ring = (struct vn_ring){.most_bytes = most_bytes};
}

void vn_ring_done(struct vn_ring *ring)
{
	free(ring->bytes);
	vn_ring_init(ring, ring->most_bytes);
}

/* Have room for so many bytes in all; where there is no memory things stay as they are. */
static void grow(struct vn_ring *ring, size_t wanted_bytes)
{
	uint32_t size = ring->size_bytes > 0 ? ring->size_bytes : VN_RING_LEAST_BYTES;
	uint8_t *bytes;

	while (size < wanted_bytes && size < ring->most_bytes)
		size *= 2;
	if (size == ring->size_bytes)
		return;
	bytes = malloc(size);
	if (!bytes)
		return;
	vn_ring_copy(ring, 0, bytes, ring->used_bytes);
	free(ring->bytes);
	ring->bytes = bytes;
	ring->size_bytes = size;
	ring->first = 0;
}

size_t vn_ring_put(struct vn_ring *ring, const uint8_t *bytes, size_t length_bytes)
{
	size_t length = vn_ring_free_bytes(ring), at, piece;

	if (length > length_bytes)
		length = length_bytes;
	if (length == 0)
		return 0;
	if (length > ring->size_bytes - ring->used_bytes)
		grow(ring, ring->used_bytes + length);
	if (length > ring->size_bytes - ring->used_bytes)
		length = ring->size_bytes - ring->used_bytes;
	if (length == 0)
		return 0;
	at = (ring->first + ring->used_bytes) & (ring->size_bytes - 1);
	piece = ring->size_bytes - at;
	if (piece > length)
		piece = length;
	memcpy(ring->bytes + at, bytes, piece);
	memcpy(ring->bytes, bytes + piece, length - piece);
	ring->used_bytes += (uint32_t)length;
	return length;
}

size_t vn_ring_copy(const struct vn_ring *ring, size_t skip_bytes, uint8_t *bytes,
		    size_t length_bytes)
{
	size_t length, at, piece;

	if (skip_bytes >= ring->used_bytes)
		return 0;
	length = ring->used_bytes - skip_bytes;
	if (length > length_bytes)
		length = length_bytes;
	if (length == 0)
		return 0;
	at = (ring->first + skip_bytes) & (ring->size_bytes - 1);
	piece = ring->size_bytes - at;
	if (piece > length)
		piece = length;
	memcpy(bytes, ring->bytes + at, piece);
	memcpy(bytes + piece, ring->bytes, length - piece);
	return length;
}

size_t vn_ring_peek(const struct vn_ring *ring, const uint8_t **bytes)
{
	size_t piece = ring->size_bytes - ring->first;

	if (ring->used_bytes == 0)
		return 0;
	*bytes = ring->bytes + ring->first;
	return piece < ring->used_bytes ? piece : ring->used_bytes;
}

void vn_ring_drop(struct vn_ring *ring, size_t length_bytes)
{
	ring->used_bytes -= (uint32_t)length_bytes;
	ring->first = ring->used_bytes > 0
			      ? (ring->first + (uint32_t)length_bytes) & (ring->size_bytes - 1)
			      : 0;
}
