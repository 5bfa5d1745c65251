/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * What strangers make us keep (connections, fragments, neighbours) is bounded, and the bound is far
 * above what is common. So items come in chunks of about 64 KiB, allocated when all there are is in
 * use. A chunk is not freed before the pool is: after a flood its memory waits for the next one,
 * and no item ever moves, so others may point to it.
 *
 * An item is taken from the free list, the latest given first because it is still in the cache, or
 * else from the untouched end of the newest chunk, which calloc() zeroed.
 *
 * An item on the free list carries a mark that depends on its address: giving it a second time is
 * found at once, not when two owners meet in it. With AddressSanitizer it is also poisoned: a pool
 * would hide from it what is used after it was given back.
 */
#include "base/pool.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define POISONS
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define POISONS
#endif

#ifdef POISONS
#include <sanitizer/asan_interface.h>
#define POISON(memory, length_bytes) ASAN_POISON_MEMORY_REGION(memory, length_bytes)
#define UNPOISON(memory, length_bytes) ASAN_UNPOISON_MEMORY_REGION(memory, length_bytes)
#else
#define POISON(memory, length_bytes) ((void)(memory))
#define UNPOISON(memory, length_bytes) ((void)(memory))
#endif

#define CHUNK_BYTES ((size_t)64 * 1024)
#define ALIGNMENT_BYTES _Alignof(max_align_t)
#define MARK ((uintptr_t)0x9d3c5ae17b20f684ULL)

struct vn_pool_chunk {
	struct vn_pool_chunk *next;
	unsigned items;
	_Alignas(max_align_t) uint8_t bytes[];
};

struct vn_pool_free {
	struct vn_pool_free *next;
	uintptr_t mark;
};

_Static_assert(sizeof(struct vn_pool_free) <= ALIGNMENT_BYTES, "the smallest slot holds it");

static uintptr_t mark_of(const void *item)
{
	return (uintptr_t)item ^ MARK;
}

void vn_pool_init(struct vn_pool *pool, size_t item_bytes, unsigned most)
{
	assert(item_bytes > 0 && item_bytes <= SIZE_MAX / 2);
	*pool = (struct vn_pool){
		.item_bytes = item_bytes,
		.most = most,
		.slot_bytes =
			(item_bytes + ALIGNMENT_BYTES - 1) / ALIGNMENT_BYTES * ALIGNMENT_BYTES,
	};
}

void vn_pool_done(struct vn_pool *pool)
{
	while (pool->chunks) {
		struct vn_pool_chunk *chunk = pool->chunks;

		pool->chunks = chunk->next;
		UNPOISON(chunk->bytes, chunk->items * pool->slot_bytes);
		free(chunk);
	}
	vn_pool_init(pool, pool->item_bytes, pool->most);
}

/* Called when no made item is left. */
static int add_chunk(struct vn_pool *pool)
{
	size_t items = (CHUNK_BYTES - sizeof(struct vn_pool_chunk)) / pool->slot_bytes;
	struct vn_pool_chunk *chunk;

	if (items > pool->most - pool->made)
		items = pool->most - pool->made;
	if (items == 0) /* larger than a chunk: one each */
		items = 1;
	chunk = calloc(1, sizeof(*chunk) + items * pool->slot_bytes);
	if (!chunk)
		return -1;
	chunk->items = (unsigned)items;
	chunk->next = pool->chunks;
	pool->chunks = chunk;
	pool->made += chunk->items;
	pool->untouched = chunk->items;
	POISON(chunk->bytes, items * pool->slot_bytes);
	return 0;
}

void *vn_pool_take(struct vn_pool *pool)
{
	void *item;

	if (pool->in_use == pool->most)
		return NULL;
	if (pool->free) {
		item = pool->free;
		UNPOISON(item, pool->slot_bytes);
		pool->free = pool->free->next;
		memset(item, 0, pool->slot_bytes);
	} else {
		struct vn_pool_chunk *chunk;

		if (!pool->untouched && add_chunk(pool) < 0)
			return NULL;
		chunk = pool->chunks;
		item = chunk->bytes + (chunk->items - pool->untouched) * pool->slot_bytes;
		pool->untouched--;
		UNPOISON(item, pool->slot_bytes);
	}
	POISON((uint8_t *)item + pool->item_bytes, pool->slot_bytes - pool->item_bytes);
	pool->in_use++;
	return item;
}

void vn_pool_give(struct vn_pool *pool, void *item)
{
	struct vn_pool_free *given = item;

	if (!given)
		return;
	UNPOISON(item, sizeof(*given));
	assert(pool->in_use > 0 && given->mark != mark_of(given)); /* not given twice */
	given->next = pool->free;
	given->mark = mark_of(given);
	pool->free = given;
	pool->in_use--;
	POISON(item, pool->slot_bytes);
}
