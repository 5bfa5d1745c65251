/* SPDX-License-Identifier: MIT */
#ifndef VN_BASE_POOL_H
#define VN_BASE_POOL_H

#include <stddef.h>

/**
 * Objects of one size, bounded in number. They never move, and cost no memory before they are
 * needed. Not thread-safe.
 */
struct vn_pool {
	size_t item_bytes;
	unsigned most;
	unsigned in_use;
	/* The rest is pool.c's. */
	size_t slot_bytes;            /* item_bytes, rounded up so that each item is aligned */
	unsigned made;                /* items in all chunks; at most `most` */
	unsigned untouched;           /* the last items of the newest chunk, never yet taken */
	struct vn_pool_chunk *chunks; /* the newest first */
	struct vn_pool_free *free;    /* given back, the latest first */
};

/** Takes no memory yet. item_bytes is at least 1. */
void vn_pool_init(struct vn_pool *pool, size_t item_bytes, unsigned most);
/** Free all memory, whatever is still in use. The pool is as after vn_pool_init(). */
void vn_pool_done(struct vn_pool *pool);
/**
 * @return  zeroed and aligned for any type; NULL: the bound is reached or there is no memory. To be
 *          returned with vn_pool_give() or vn_pool_done().
 */
void *vn_pool_take(struct vn_pool *pool);
/** NULL is allowed. The memory stays with the pool. */
void vn_pool_give(struct vn_pool *pool, void *item);

#endif
