/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * The scoreboard of a connection: one range for each transmission that is not acknowledged, by
 * position, without gaps between them. A super-segment is one range, and what is sent at one
 * instant without a break joins. A range is cut only where an acknowledgment or a retransmission
 * treats its parts differently, and joined again where they are alike. SACKed ranges that touch
 * always join, and one that grows takes from its neighbour without cutting: the common case of
 * recovery needs no memory. What a stranger's SACKs can cut is bounded.
 *
 * Each range is in one of three states, and the counters are kept with every change:
 *
 *                  sent                    sacked
 *      (nothing) ---------> in flight ---------------> SACKed
 *                            ^     |                    ^   |
 *                     resent |     | detect, lose       |   | forget (reneging)
 *                            |     v         sacked     |   v
 *                            +--- lost -----------------+  lost
 *
 * and from each of them an acknowledgment takes it away, from the front: so the usual
 * acknowledgment costs what it frees. Those in flight also form a list by the time they were sent,
 * the earliest first, in which a retransmission goes to the end. RACK (RFC 8985) looks at it from
 * its beginning up to what was sent after that which arrived, and costs what it marks. A SACK
 * starts looking where the last one led to.
 *
 * RACK (RFC 8985 sections 5 and 6): of all that arrived the one that was sent last is remembered.
 * What was sent before that and has had the time of a round trip to arrive, and a bit more because
 * packets overtake each other, is lost. That bit is a quarter of the least round trip; it grows
 * with each round in which a DSACK told that we had been too hasty, and is left out in recovery, or
 * with 3 segments SACKed (RFC 6675), as long as no reordering has been seen. The arrival of what
 * was sent again tells nothing where it may be the first transmission that arrived: when it took
 * less than the least round trip. RFC 8985 would look at the timestamp echoed too; but that is of
 * what arrived in order last (RFC 7323 section 4.3), so older than all that is SACKed, and then
 * the loss of what was sent again would be noticed by a timeout only.
 *
 * Karn's rule (RFC 6298 section 3): a range that was sent more than once measures no round trip.
 * One that was SACKed has measured its own when it was.
 */
#include "stack/tcp_flight.h"

#include <errno.h>
#include <stddef.h>

#define DUPLICATES 3        /* DupThresh */
#define DSACK_RECOVERIES 16 /* RFC 8985 section 6.2 step 4 */

static uint32_t length(const struct vn_tcp_sent *sent)
{
	return (uint32_t)(sent->end - sent->begin);
}

static bool in_flight(const struct vn_tcp_sent *sent)
{
	return !sent->sacked && !sent->lost;
}

/* RACK_sent_after() of RFC 8985 section 6.2 step 2. */
static bool is_sent_after(uint64_t sent_ns, uint64_t end, uint64_t other_ns, uint64_t other_end)
{
	return sent_ns > other_ns || (sent_ns == other_ns && end > other_end);
}

void vn_tcp_flight_init(struct vn_tcp_flight *flight)
{
	*flight = (struct vn_tcp_flight){.window_factor = 1};
}

void vn_tcp_flight_done(struct vn_tcp_flight *flight, struct vn_pool *pool)
{
	while (flight->first) {
		struct vn_tcp_sent *sent = flight->first;

		flight->first = sent->next;
		vn_pool_give(pool, sent);
	}
	vn_tcp_flight_init(flight);
}

/* Into the list by time, behind `earlier`, or first of all. */
static void link_time(struct vn_tcp_flight *flight, struct vn_tcp_sent *sent,
		      struct vn_tcp_sent *earlier)
{
	struct vn_tcp_sent *later = earlier ? earlier->later : flight->earliest;

	sent->earlier = earlier;
	sent->later = later;
	*(earlier ? &earlier->later : &flight->earliest) = sent;
	*(later ? &later->earlier : &flight->latest) = sent;
}

static void unlink_time(struct vn_tcp_flight *flight, struct vn_tcp_sent *sent)
{
	*(sent->earlier ? &sent->earlier->later : &flight->earliest) = sent->later;
	*(sent->later ? &sent->later->earlier : &flight->latest) = sent->earlier;
	sent->earlier = sent->later = NULL;
}

/* Into the list by position, behind `previous`, or first of all. */
static void link_position(struct vn_tcp_flight *flight, struct vn_tcp_sent *sent,
			  struct vn_tcp_sent *previous)
{
	struct vn_tcp_sent *next = previous ? previous->next : flight->first;

	sent->previous = previous;
	sent->next = next;
	*(previous ? &previous->next : &flight->first) = sent;
	*(next ? &next->previous : &flight->last) = sent;
	flight->count++;
}

/* The first lost one is not lost any more, or goes: whose turn is it? */
static void next_lost(struct vn_tcp_flight *flight)
{
	struct vn_tcp_sent *sent = flight->first_lost->next;

	while (sent && !sent->lost)
		sent = sent->next;
	flight->first_lost = sent;
}

/* Take a range out of everything but the counters of bytes. */
static void drop(struct vn_tcp_flight *flight, struct vn_pool *pool, struct vn_tcp_sent *sent)
{
	if (in_flight(sent))
		unlink_time(flight, sent);
	if (flight->first_lost == sent)
		next_lost(flight);
	if (flight->hint == sent)
		flight->hint = sent->next ? sent->next : sent->previous;
	*(sent->previous ? &sent->previous->next : &flight->first) = sent->next;
	*(sent->next ? &sent->next->previous : &flight->last) = sent->previous;
	flight->count--;
	vn_pool_give(pool, sent);
}

static struct vn_tcp_sent *take(struct vn_tcp_flight *flight, struct vn_pool *pool)
{
	unsigned kept = pool->most / VN_TCP_FLIGHT_SHARE;

	if (flight->count > 0 && pool->in_use >= pool->most - kept)
		return NULL;
	return vn_pool_take(pool);
}

/* May a stranger have a range cut in up to three? */
static bool may_cut(const struct vn_tcp_flight *flight, const struct vn_pool *pool)
{
	return flight->count < VN_TCP_FLIGHT_RANGES && pool->in_use < pool->most / 2;
}

/* Cut a range in two, both as it was. @return the second part; NULL: no memory */
static struct vn_tcp_sent *split(struct vn_tcp_flight *flight, struct vn_pool *pool,
				 struct vn_tcp_sent *sent, uint64_t at)
{
	struct vn_tcp_sent *second = take(flight, pool);

	if (!second)
		return NULL;
	*second = *sent;
	second->begin = at;
	sent->end = at;
	link_position(flight, second, sent);
	if (in_flight(sent))
		link_time(flight, second, sent);
	return second;
}

/* Join a range with the one before it, where they are alike. @return the range that it is now */
static struct vn_tcp_sent *join(struct vn_tcp_flight *flight, struct vn_pool *pool,
				struct vn_tcp_sent *sent)
{
	struct vn_tcp_sent *previous = sent->previous;

	if (!previous || previous->sacked != sent->sacked || previous->lost != sent->lost)
		return sent;
	/* When SACKed ones were sent does not matter any more. */
	if (!sent->sacked &&
	    (previous->sent_ns != sent->sent_ns || previous->retransmitted != sent->retransmitted ||
	     previous->forgotten != sent->forgotten))
		return sent;
	previous->retransmitted |= sent->retransmitted;
	previous->end = sent->end;
	drop(flight, pool, sent);
	return previous;
}

static void mark_lost(struct vn_tcp_flight *flight, struct vn_tcp_sent *sent)
{
	unlink_time(flight, sent);
	sent->lost = true;
	flight->lost_bytes += length(sent);
	if (!flight->first_lost || sent->begin < flight->first_lost->begin)
		flight->first_lost = sent;
}

int vn_tcp_flight_sent(struct vn_tcp_flight *flight, struct vn_pool *pool, uint64_t begin,
		       uint64_t end, uint64_t now_ns)
{
	struct vn_tcp_sent *last = flight->last, *sent;

	if (last && last->end == begin && last->sent_ns == now_ns && in_flight(last) &&
	    !last->retransmitted) {
		last->end = end;
		flight->bytes += (uint32_t)(end - begin);
		return 0;
	}
	sent = take(flight, pool);
	if (!sent)
		return -ENOMEM;
	sent->begin = begin;
	sent->end = end;
	sent->sent_ns = now_ns;
	link_position(flight, sent, last);
	link_time(flight, sent, flight->latest);
	flight->bytes += (uint32_t)(end - begin);
	return 0;
}

/* [begin, end) of a range has arrived, which was not known (RFC 8985 section 6.2 steps 1 to 3). */
static void arrive(struct vn_tcp_flight *flight, const struct vn_tcp_sent *sent, uint64_t begin,
		   uint64_t end, uint64_t now_ns, struct vn_tcp_arrival *arrival)
{
	uint64_t rtt_ns = now_ns > sent->sent_ns ? now_ns - sent->sent_ns : 1;

	arrival->delivered_bytes += (uint32_t)(end - begin);
	if (sent->forgotten) /* it has told all of that before */
		return;
	if (!sent->retransmitted && (!arrival->rtt_ns || rtt_ns < arrival->rtt_ns))
		arrival->rtt_ns = rtt_ns;
	if (end > flight->forward_ack)
		flight->forward_ack = end;
	else if (end < flight->forward_ack && !sent->retransmitted)
		flight->is_reordered = true;
	if (sent->retransmitted && rtt_ns < flight->rtt_least_ns)
		return;
	flight->rack_rtt_ns = rtt_ns;
	if (is_sent_after(sent->sent_ns, end, flight->rack_sent_ns, flight->rack_end)) {
		flight->rack_sent_ns = sent->sent_ns;
		flight->rack_end = end;
	}
}

void vn_tcp_flight_acked(struct vn_tcp_flight *flight, struct vn_pool *pool, uint64_t position,
			 uint64_t now_ns, struct vn_tcp_arrival *arrival)
{
	struct vn_tcp_sent *sent;

	while ((sent = flight->first) && sent->begin < position) {
		uint64_t end = sent->end < position ? sent->end : position;
		uint32_t bytes = (uint32_t)(end - sent->begin);

		if (!sent->sacked)
			arrive(flight, sent, sent->begin, end, now_ns, arrival);
		arrival->acked_bytes += bytes;
		flight->bytes -= bytes;
		if (sent->sacked)
			flight->sacked_bytes -= bytes;
		if (sent->lost)
			flight->lost_bytes -= bytes;
		if (end == sent->end)
			drop(flight, pool, sent);
		else
			sent->begin = end;
	}
	if (flight->dsack_round && position >= flight->dsack_round)
		flight->dsack_round = 0;
}

/* The first range that ends behind a position. */
static struct vn_tcp_sent *find(struct vn_tcp_flight *flight, uint64_t position)
{
	struct vn_tcp_sent *sent = flight->hint ? flight->hint : flight->last;

	while (sent && sent->end <= position)
		sent = sent->next;
	while (sent && sent->previous && sent->previous->end > position)
		sent = sent->previous;
	return sent;
}

/*
 * A range becomes SACKed as a whole. @return the range that it is a part of now: its neighbours may
 * have been too
 */
static struct vn_tcp_sent *sack_whole(struct vn_tcp_flight *flight, struct vn_pool *pool,
				      struct vn_tcp_sent *sent)
{
	if (in_flight(sent))
		unlink_time(flight, sent);
	sent->sacked = true;
	sent->lost = false;
	if (flight->first_lost == sent)
		next_lost(flight);
	if (sent->next)
		join(flight, pool, sent->next);
	return join(flight, pool, sent);
}

/*
 * [begin, end) of a range becomes SACKed. Where a neighbour is, it takes that over; else the range
 * is cut. @return the SACKed range; NULL: over a bound, and nothing is marked
 */
static struct vn_tcp_sent *sack_part(struct vn_tcp_flight *flight, struct vn_pool *pool,
				     struct vn_tcp_sent *sent, uint64_t begin, uint64_t end)
{
	struct vn_tcp_sent *previous = sent->previous, *next = sent->next, *part = sent;

	if (begin == sent->begin && end == sent->end)
		return sack_whole(flight, pool, sent);
	if (begin == sent->begin && previous && previous->sacked) {
		previous->end = sent->begin = end;
		return previous;
	}
	if (end == sent->end && next && next->sacked) {
		next->begin = sent->end = begin;
		return next;
	}
	if (!may_cut(flight, pool) ||
	    (begin > sent->begin && !(part = split(flight, pool, sent, begin))))
		return NULL;
	if (end < part->end && !split(flight, pool, part, end)) {
		if (part != sent)
			join(flight, pool, part);
		return NULL;
	}
	return sack_whole(flight, pool, part);
}

void vn_tcp_flight_sacked(struct vn_tcp_flight *flight, struct vn_pool *pool, uint64_t begin,
			  uint64_t end, uint64_t now_ns, struct vn_tcp_arrival *arrival)
{
	struct vn_tcp_sent *sent = find(flight, begin);

	while (sent && sent->begin < end) {
		uint64_t from = sent->begin > begin ? sent->begin : begin;
		uint64_t to = sent->end < end ? sent->end : end;
		uint32_t bytes = (uint32_t)(to - from);
		struct vn_tcp_sent before = *sent, *sacked = sent;

		if (from < to && !sent->sacked) {
			sacked = sack_part(flight, pool, sent, from, to);
			if (sacked) {
				arrive(flight, &before, from, to, now_ns, arrival);
				arrival->sacked_bytes += bytes;
				flight->sacked_bytes += bytes;
				if (before.lost)
					flight->lost_bytes -= bytes;
			} else {
				arrival->refused_sacks++;
				sacked = sent;
			}
		}
		flight->hint = sacked;
		sent = sacked->next;
	}
}

void vn_tcp_flight_dsack(struct vn_tcp_flight *flight, uint64_t una, uint64_t sent_end)
{
	if (flight->dsack_round && una >= flight->dsack_round)
		flight->dsack_round = 0;
	if (flight->dsack_round)
		return;
	flight->dsack_round = sent_end;
	if (flight->window_factor < UINT8_MAX)
		flight->window_factor++;
	flight->window_persist = DSACK_RECOVERIES;
}

void vn_tcp_flight_recovered(struct vn_tcp_flight *flight)
{
	if (flight->window_persist && --flight->window_persist == 0)
		flight->window_factor = 1;
}

/* RACK.reo_wnd of RFC 8985 section 6.2 step 4. */
static uint64_t reordering_window_ns(const struct vn_tcp_flight *flight, uint64_t srtt_ns,
				     bool is_recovering, uint32_t segment_bytes)
{
	uint64_t least_ns = flight->rtt_least_ns ? flight->rtt_least_ns : flight->rack_rtt_ns;
	uint64_t window_ns = least_ns / 4 * flight->window_factor;

	if (!flight->is_reordered &&
	    (is_recovering || flight->sacked_bytes > (DUPLICATES - 1) * segment_bytes))
		return 0;
	return srtt_ns && window_ns > srtt_ns ? srtt_ns : window_ns;
}

/* IsLost() of RFC 6675 section 4, for what was sent once. */
static uint32_t detect_duplicates(struct vn_tcp_flight *flight, uint32_t segment_bytes)
{
	uint32_t above_bytes = 0, lost_bytes = 0;

	if (flight->is_reordered || flight->sacked_bytes <= (DUPLICATES - 1) * segment_bytes)
		return 0;
	for (struct vn_tcp_sent *sent = flight->last; sent; sent = sent->previous) {
		if (sent->sacked) {
			above_bytes += length(sent);
		} else if (in_flight(sent) && !sent->retransmitted &&
			   above_bytes > (DUPLICATES - 1) * segment_bytes) {
			mark_lost(flight, sent);
			lost_bytes += length(sent);
		}
	}
	return lost_bytes;
}

uint32_t vn_tcp_flight_detect(struct vn_tcp_flight *flight, uint64_t srtt_ns, bool is_recovering,
			      uint32_t segment_bytes, uint64_t now_ns, uint64_t *due_ns)
{
	uint64_t wait_ns = flight->rack_rtt_ns +
			   reordering_window_ns(flight, srtt_ns, is_recovering, segment_bytes);
	struct vn_tcp_sent *sent, *later;
	uint32_t lost_bytes = 0;

	*due_ns = UINT64_MAX;
	if (!flight->rack_end)
		return detect_duplicates(flight, segment_bytes);
	for (sent = flight->earliest; sent && sent->sent_ns <= flight->rack_sent_ns; sent = later) {
		later = sent->later;
		if (!is_sent_after(flight->rack_sent_ns, flight->rack_end, sent->sent_ns,
				   sent->end))
			continue;
		if (sent->sent_ns + wait_ns > now_ns) {
			/* All others were sent later, and so are due later. */
			*due_ns = sent->sent_ns + wait_ns;
			break;
		}
		mark_lost(flight, sent);
		lost_bytes += length(sent);
	}
	return lost_bytes;
}

uint32_t vn_tcp_flight_lose_all(struct vn_tcp_flight *flight)
{
	uint32_t before_bytes = flight->lost_bytes;

	while (flight->earliest)
		mark_lost(flight, flight->earliest);
	return flight->lost_bytes - before_bytes;
}

uint32_t vn_tcp_flight_lose_first(struct vn_tcp_flight *flight, struct vn_pool *pool,
				  uint32_t segment_bytes)
{
	struct vn_tcp_sent *first = flight->first;

	if (!first || !in_flight(first))
		return 0;
	if (length(first) > segment_bytes)
		split(flight, pool, first, first->begin + segment_bytes);
	mark_lost(flight, first);
	return length(first);
}

void vn_tcp_flight_forget_sacks(struct vn_tcp_flight *flight)
{
	for (struct vn_tcp_sent *sent = flight->first; sent; sent = sent->next) {
		if (!sent->sacked)
			continue;
		sent->sacked = false;
		sent->lost = true;
		sent->retransmitted = sent->forgotten = true;
		flight->lost_bytes += length(sent);
		if (!flight->first_lost || sent->begin < flight->first_lost->begin)
			flight->first_lost = sent;
	}
	flight->sacked_bytes = 0;
}

void vn_tcp_flight_forgive(struct vn_tcp_flight *flight)
{
	for (struct vn_tcp_sent *sent = flight->first_lost; sent; sent = sent->next) {
		struct vn_tcp_sent *earlier = flight->latest;

		if (!sent->lost)
			continue;
		while (earlier && earlier->sent_ns > sent->sent_ns)
			earlier = earlier->earlier;
		sent->lost = false;
		link_time(flight, sent, earlier);
	}
	flight->first_lost = NULL;
	flight->lost_bytes = 0;
}

struct vn_tcp_sent *vn_tcp_flight_lost(const struct vn_tcp_flight *flight)
{
	return flight->first_lost;
}

struct vn_tcp_sent *vn_tcp_flight_tail(struct vn_tcp_flight *flight, struct vn_pool *pool,
				       uint32_t segment_bytes)
{
	struct vn_tcp_sent *sent = flight->last, *tail;

	while (sent && sent->sacked)
		sent = sent->previous;
	if (!sent || length(sent) <= segment_bytes)
		return sent;
	tail = split(flight, pool, sent, sent->end - segment_bytes);
	return tail ? tail : sent;
}

uint32_t vn_tcp_flight_lost_run(const struct vn_tcp_sent *lost, uint32_t most_bytes)
{
	uint64_t begin = lost->begin, end = lost->end;

	while (end - begin < most_bytes && (lost = lost->next) && lost->lost)
		end = lost->end;
	return end - begin < most_bytes ? (uint32_t)(end - begin) : most_bytes;
}

/* A lost range takes in those behind it up to a position, or without memory for a split beyond. */
static void take_in(struct vn_tcp_flight *flight, struct vn_pool *pool, struct vn_tcp_sent *sent,
		    uint64_t end)
{
	struct vn_tcp_sent *next = sent;

	while (next->end < end)
		next = next->next;
	if (next->end > end && !split(flight, pool, next, end))
		end = next->end;
	while (sent->end < end) {
		next = sent->next;
		sent->end = next->end;
		sent->retransmitted |= next->retransmitted;
		drop(flight, pool, next);
	}
}

struct vn_tcp_sent *vn_tcp_flight_resent(struct vn_tcp_flight *flight, struct vn_pool *pool,
					 struct vn_tcp_sent *sent, uint32_t length_bytes,
					 uint64_t now_ns)
{
	uint32_t most_bytes =
		sent->lost ? vn_tcp_flight_lost_run(sent, length_bytes) : length(sent);

	if (length_bytes > most_bytes)
		length_bytes = most_bytes;
	take_in(flight, pool, sent, sent->begin + length_bytes);
	/* The two before may be what our last two calls returned, and alike. */
	if (sent->previous)
		join(flight, pool, sent->previous);
	if (sent->lost)
		flight->lost_bytes -= length(sent);
	else
		unlink_time(flight, sent);
	sent->lost = false;
	if (flight->first_lost == sent)
		next_lost(flight);
	sent->retransmitted = true;
	sent->forgotten = false;
	sent->sent_ns = now_ns;
	link_time(flight, sent, flight->latest);
	return sent;
}
