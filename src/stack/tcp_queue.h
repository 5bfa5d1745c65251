/* SPDX-License-Identifier: MIT */
/* What was received out of order, with its payload: see tcp_queue.c. */
#ifndef VN_STACK_TCP_QUEUE_H
#define VN_STACK_TCP_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Gaps in one connection at once; a segment that would make one more is dropped. */
#define VN_TCP_QUEUE_GAPS 1024

struct vn_tcp_block; /* bytes in one piece of memory */

/* Ranges that touch are told to the other end as one. */
struct vn_tcp_range {
	uint64_t begin, end;
};

struct vn_tcp_queue {
	struct vn_tcp_block *first, *last; /* by position, without overlaps */
	uint32_t bytes;
	uint32_t gaps;                 /* runs of blocks that touch each other, each behind a gap */
	struct vn_tcp_range recent[4]; /* where something came in, the last one first */
};

/*
 * Free everything. *total_bytes is the memory that all queues of the stack hold, with what each
 * block costs besides its payload.
 */
void vn_tcp_queue_done(struct vn_tcp_queue *queue, uint64_t *total_bytes);
/*
 * Keep a copy of bytes at a position. What is there already is not kept again.
 * @param total_bytes  grows by what is kept, and shall not be over most_bytes afterwards
 * @return 0: something of it is new; -EEXIST: nothing is; -ENOSPC: VN_TCP_QUEUE_GAPS or most_bytes;
 *         -ENOMEM
 */
int vn_tcp_queue_insert(struct vn_tcp_queue *queue, uint64_t begin, const uint8_t *bytes,
			uint32_t length_bytes, uint64_t *total_bytes, uint64_t most_bytes);
/*
 * The bytes that are at position, in the first block. @return their number; 0: they are not there.
 * What is before position, of blocks and of runs, is forgotten.
 */
uint32_t vn_tcp_queue_at(struct vn_tcp_queue *queue, uint64_t position, const uint8_t **bytes,
			 uint64_t *total_bytes);
/*
 * Runs to be told, the one that something came in last first (RFC 2018 section 4). @return number
 */
unsigned vn_tcp_queue_runs(const struct vn_tcp_queue *queue, struct vn_tcp_range *runs,
			   unsigned most);

#endif
