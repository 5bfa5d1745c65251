/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * What comes behind a gap waits here until the gap is closed (RFC 9293 section 3.10.7.4). Each
 * piece that is new is copied once, into a block of its own: a header with the payload behind it,
 * of exactly that size. Blocks form one list by position and never overlap; the first copy of a
 * byte wins.
 *
 * Blocks that touch form a run. The first block of a run knows its last one, and the other way
 * round, so that looking for a place goes from run to run and not from block to block. That is from
 * the end, where nearly everything belongs. New bytes are never inside of a run, else they would
 * not be new: they are put between two runs, and there touch neither, one or both. So it costs at
 * most VN_TCP_QUEUE_GAPS steps, in whatever order a stranger cuts and sends the bytes, and one step
 * for what arrives in order behind the gap.
 *
 *      first                                          last
 *      +------+------+         +-----+     +----+----+----+
 *      |      |      |         |     |     |    |    |    |
 *      +------+------+         +-----+     +----+----+----+
 *       run_last ->              itself      run_last ----->
 *            <- run_first                         <- run_first
 *
 * total_bytes counts the memory, with the headers: a stranger may send byte by byte. That and the
 * number of gaps are the bounds. What does not fit is dropped, as if the network had.
 *
 * SACKs tell first of the run that something came in for last, and then of those that they told of
 * before (RFC 2018 section 4). Runs only grow by what comes in, and merge with that one, and shrink
 * from the front; so a list of the latest ones is kept exact without a search.
 */
#include "stack/tcp_queue.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define RECENT (sizeof(((struct vn_tcp_queue *)0)->recent) / sizeof(struct vn_tcp_range))

struct vn_tcp_block {
	struct vn_tcp_block *next, *previous;
	struct vn_tcp_block *run_first; /* where it is the last one of its run */
	struct vn_tcp_block *run_last;  /* where it is the first one */
	uint64_t begin, end;
	uint32_t kept_bytes; /* that it was made with: some may be gone from its beginning */
	uint8_t bytes[];
};

static uint64_t memory_bytes(uint32_t kept_bytes)
{
	return sizeof(struct vn_tcp_block) + kept_bytes;
}

void vn_tcp_queue_done(struct vn_tcp_queue *queue, uint64_t *total_bytes)
{
	while (queue->first) {
		struct vn_tcp_block *block = queue->first;

		queue->first = block->next;
		*total_bytes -= memory_bytes(block->kept_bytes);
		free(block);
	}
	*queue = (struct vn_tcp_queue){0};
}

static void remove_recent(struct vn_tcp_queue *queue, unsigned index)
{
	memmove(&queue->recent[index], &queue->recent[index + 1],
		(RECENT - 1 - index) * sizeof(queue->recent[0]));
	queue->recent[RECENT - 1] = (struct vn_tcp_range){0};
}

/* Something came in for this run. It may have been several before. */
static void note_recent(struct vn_tcp_queue *queue, const struct vn_tcp_block *first)
{
	struct vn_tcp_range run = {first->begin, first->run_last->end};

	for (unsigned i = 0; i < RECENT;) {
		if (queue->recent[i].end > run.begin && queue->recent[i].begin < run.end)
			remove_recent(queue, i);
		else
			i++;
	}
	memmove(&queue->recent[1], &queue->recent[0], (RECENT - 1) * sizeof(queue->recent[0]));
	queue->recent[0] = run;
}

/*
 * Put a copy of [begin, end) behind `left`, the last block of a run or NULL, and before the run
 * that follows.
 */
static int put(struct vn_tcp_queue *queue, struct vn_tcp_block *left, uint64_t begin, uint64_t end,
	       const uint8_t *bytes, uint64_t *total_bytes, uint64_t most_bytes)
{
	struct vn_tcp_block *right = left ? left->next : queue->first;
	bool joins_left = left && left->end == begin, joins_right = right && right->begin == end;
	uint32_t kept_bytes = (uint32_t)(end - begin);
	struct vn_tcp_block *block, *run_first, *run_last;

	if (!joins_left && !joins_right && queue->gaps >= VN_TCP_QUEUE_GAPS)
		return -ENOSPC;
	if (*total_bytes > most_bytes || memory_bytes(kept_bytes) > most_bytes - *total_bytes)
		return -ENOSPC;
	block = malloc(sizeof(*block) + kept_bytes);
	if (!block)
		return -ENOMEM;
	block->begin = begin;
	block->end = end;
	block->kept_bytes = kept_bytes;
	memcpy(block->bytes, bytes, kept_bytes);
	block->previous = left;
	block->next = right;
	*(left ? &left->next : &queue->first) = block;
	*(right ? &right->previous : &queue->last) = block;
	run_first = joins_left ? left->run_first : block;
	run_last = joins_right ? right->run_last : block;
	run_first->run_last = run_last;
	run_last->run_first = run_first;
	queue->gaps += 1u - joins_left - joins_right;
	queue->bytes += kept_bytes;
	*total_bytes += memory_bytes(kept_bytes);
	return 0;
}

/*
 * The last block of the run that is the last one to begin at or before a position. NULL: none does.
 */
static struct vn_tcp_block *find(const struct vn_tcp_queue *queue, uint64_t position)
{
	struct vn_tcp_block *last = queue->last;

	while (last && last->run_first->begin > position)
		last = last->run_first->previous;
	return last;
}

int vn_tcp_queue_insert(struct vn_tcp_queue *queue, uint64_t begin, const uint8_t *bytes,
			uint32_t length_bytes, uint64_t *total_bytes, uint64_t most_bytes)
{
	uint64_t end = begin + length_bytes, at = begin;
	struct vn_tcp_block *left = find(queue, begin), *run;
	bool is_new = false;
	int failure = 0;

	/* Hole by hole: each is between `left`, where a run ends, and where the next one begins. */
	while (at < end) {
		const struct vn_tcp_block *right = left ? left->next : queue->first;
		uint64_t hole_end = right && right->begin < end ? right->begin : end;

		if (left && left->end > at)
			at = left->end;
		if (at < hole_end) {
			int rc = put(queue, left, at, hole_end, bytes + (at - begin), total_bytes,
				     most_bytes);

			is_new |= rc == 0;
			failure = rc < 0 ? rc : failure;
			at = hole_end;
		}
		if (at >= end)
			break;
		left = right->run_last;
	}
	run = length_bytes ? find(queue, end - 1) : NULL;
	/* Where it failed in part, that run may not have any of it. */
	if (run && run->end > begin)
		note_recent(queue, run->run_first);
	return is_new ? 0 : failure < 0 ? failure : -EEXIST;
}

/* Of the first run, what lies before a position is gone. */
static void trim_recent(struct vn_tcp_queue *queue, uint64_t position)
{
	for (unsigned i = 0; i < RECENT;) {
		struct vn_tcp_range *range = &queue->recent[i];

		if (range->end != 0 && range->end <= position) {
			remove_recent(queue, i);
			continue;
		}
		if (range->end != 0 && range->begin < position)
			range->begin = position;
		i++;
	}
}

static void remove_first(struct vn_tcp_queue *queue, uint64_t *total_bytes)
{
	struct vn_tcp_block *block = queue->first, *next = block->next;

	if (block->run_last == block) {
		queue->gaps--;
	} else {
		next->run_last = block->run_last;
		next->run_last->run_first = next;
	}
	queue->first = next;
	*(next ? &next->previous : &queue->last) = NULL;
	queue->bytes -= (uint32_t)(block->end - block->begin);
	*total_bytes -= memory_bytes(block->kept_bytes);
	free(block);
}

uint32_t vn_tcp_queue_at(struct vn_tcp_queue *queue, uint64_t position, const uint8_t **bytes,
			 uint64_t *total_bytes)
{
	struct vn_tcp_block *first;

	if (!queue->first || queue->first->begin > position)
		return 0;
	while (queue->first && queue->first->end <= position)
		remove_first(queue, total_bytes);
	first = queue->first;
	if (first && first->begin < position) {
		queue->bytes -= (uint32_t)(position - first->begin);
		first->begin = position;
	}
	trim_recent(queue, position);
	if (!first || first->begin > position)
		return 0;
	*bytes = first->bytes + first->kept_bytes - (first->end - position);
	return (uint32_t)(first->end - position);
}

static bool is_told(const struct vn_tcp_range *runs, unsigned count, uint64_t begin)
{
	for (unsigned i = 0; i < count; i++)
		if (runs[i].begin == begin)
			return true;
	return false;
}

unsigned vn_tcp_queue_runs(const struct vn_tcp_queue *queue, struct vn_tcp_range *runs,
			   unsigned most)
{
	const struct vn_tcp_block *last = queue->last;
	unsigned count = 0;

	while (count < most && count < RECENT && queue->recent[count].end != 0) {
		runs[count] = queue->recent[count];
		count++;
	}
	/* There are others where recent ones have merged. */
	for (; last && count < most && count < queue->gaps; last = last->run_first->previous) {
		const struct vn_tcp_block *first = last->run_first;

		if (!is_told(runs, count, first->begin))
			runs[count++] = (struct vn_tcp_range){first->begin, last->end};
	}
	return count;
}
