/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. A ring of the last 300 seconds, each with what was counted in it. Nothing
 * wakes up for it: whoever sees packets first in a new second notes what was counted until then.
 * Nobody saw packets in the seconds between, so those are zero. Only after traffic is a wake-up due,
 * at the end of the second; so an idle host sleeps, and the plot of its page still is right.
 */
#include "history.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define SECOND_NS UINT64_C(1000000000)

struct history {
	uint64_t start_ns;
	_Atomic uint64_t end_ns; /* of the second that is under way */
	pthread_mutex_t lock;    /* of all below */
	struct history_second before;
	struct history_second seconds[HISTORY_SECONDS]; /* that of number n at n % 300 */
	uint64_t noted;                                 /* how many are whole */
};

struct history *history_new(uint64_t start_ns)
{
	struct history *history = calloc(1, sizeof(*history));

	if (!history)
		return NULL;
	history->start_ns = start_ns;
	atomic_store(&history->end_ns, start_ns + SECOND_NS);
	pthread_mutex_init(&history->lock, NULL);
	return history;
}

void history_free(struct history *history)
{
	if (!history)
		return;
	pthread_mutex_destroy(&history->lock);
	free(history);
}

bool history_is_due(const struct history *history, uint64_t now_ns)
{
	return now_ns >= atomic_load_explicit(&history->end_ns, memory_order_relaxed);
}

static void subtract(struct history_second *result, const struct history_second *now,
		     const struct history_second *before)
{
	result->in_packets = now->in_packets - before->in_packets;
	result->in_bytes = now->in_bytes - before->in_bytes;
	result->out_packets = now->out_packets - before->out_packets;
	result->out_bytes = now->out_bytes - before->out_bytes;
	result->drops = now->drops - before->drops;
}

/* With the lock: the seconds that are over by now, of which all but the first were quiet. */
static void end_seconds(struct history *history, const struct history_second *total,
			uint64_t now_ns)
{
	uint64_t whole = (now_ns - history->start_ns) / SECOND_NS;
	struct history_second *second = &history->seconds[history->noted % HISTORY_SECONDS];

	if (whole <= history->noted)
		return;
	subtract(second, total, &history->before);
	history->before = *total;
	history->noted++;
	if (whole - history->noted > HISTORY_SECONDS)
		history->noted = whole - HISTORY_SECONDS;
	for (; history->noted < whole; history->noted++)
		memset(&history->seconds[history->noted % HISTORY_SECONDS], 0, sizeof(*second));
	atomic_store_explicit(&history->end_ns, history->start_ns + (whole + 1) * SECOND_NS,
			      memory_order_relaxed);
}

void history_note(struct history *history, const struct history_second *total, uint64_t now_ns)
{
	if (pthread_mutex_trylock(&history->lock) != 0)
		return;
	end_seconds(history, total, now_ns);
	pthread_mutex_unlock(&history->lock);
}

uint64_t history_next_ns(const struct history *history, bool has_traffic)
{
	return has_traffic ? atomic_load_explicit(&history->end_ns, memory_order_relaxed)
			   : UINT64_MAX;
}

unsigned history_read(struct history *history, uint64_t since,
		      struct history_second seconds[HISTORY_SECONDS], uint64_t *first)
{
	unsigned count = 0;
	uint64_t number;

	pthread_mutex_lock(&history->lock);
	number = history->noted > HISTORY_SECONDS ? history->noted - HISTORY_SECONDS : 0;
	if (since > number)
		number = since < history->noted ? since : history->noted;
	*first = number;
	for (; number < history->noted; number++)
		seconds[count++] = history->seconds[number % HISTORY_SECONDS];
	pthread_mutex_unlock(&history->lock);
	return count;
}
