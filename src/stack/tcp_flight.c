/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * What was sent and is not acknowledged is a list of ranges in the order of their positions, without gaps
 * and without overlaps. Each range was sent (the last time) in one go, and has one fate: on its way, SACKed, or
 * lost and not sent again yet. A super-segment of 64 KiB is one range until a SACK or a partial
 * retransmission splits it. Ranges that are SACKed and touch become one again, and so do those sent in the
 * same moment, so that their number is bounded by the number of holes, not of segments.
 *
 * RACK (RFC 8985): of all that has arrived the one sent last is remembered (rack_sent_ns, rack_end). What was
 * sent before it and has not arrived is lost, as soon as a round trip and a reordering window have passed
 * since it was sent. The window is nothing as long as no reordering was seen and three segments are SACKed or a
 * recovery is under way; else a quarter of the least round trip, more with each round that brings
 * DSACKs, since then it was too small.
 *
 * Sums (bytes, sacked_bytes, lost_bytes) are kept with every change, so that asking for what is in flight
 * costs nothing.
 */
#include "stack/tcp_flight.h"

#include <errno.h>
#include <string.h>

#define DUPLICATES 3      /* segments: RFC 5681 section 3.2 */
#define WINDOW_PERSIST 16 /* recoveries: RFC 8985 section 6.2 step 4 */

static uint32_t length_of(const struct vn_tcp_sent *sent)
{
	return (uint32_t)(sent->end - sent->begin);
}

void vn_tcp_flight_init(struct vn_tcp_flight *flight)
{
	*flight = (struct vn_tcp_flight){.window_factor = 1};
}

void vn_tcp_flight_done(struct vn_tcp_flight *flight, struct vn_pool *pool)
{
	struct vn_tcp_sent *next;

	for (struct vn_tcp_sent *sent = flight->first; sent; sent = next) {
		next = sent->next;
		vn_pool_give(pool, sent);
	}
	vn_tcp_flight_init(flight);
}

static void unlink_range(struct vn_tcp_flight *flight, struct vn_pool *pool,
			 struct vn_tcp_sent *sent)
{
	if (sent->previous)
		sent->previous->next = sent->next;
	else
		flight->first = sent->next;
	if (sent->next)
		sent->next->previous = sent->previous;
	else
		flight->last = sent->previous;
	flight->count--;
	vn_pool_give(pool, sent);
}

/* Make two ranges of one, the first length_bytes long. @return false: no memory */
static bool split(struct vn_tcp_flight *flight, struct vn_pool *pool, struct vn_tcp_sent *sent,
		  uint32_t length_bytes)
{
	struct vn_tcp_sent *rest = vn_pool_take(pool);

	if (!rest)
		return false;
	*rest = *sent;
	rest->begin = sent->begin + length_bytes;
	sent->end = rest->begin;
	rest->previous = sent;
	if (sent->next)
		sent->next->previous = rest;
	else
		flight->last = rest;
	sent->next = rest;
	flight->count++;
	return true;
}

/* SACKed ranges that touch become one. What a sum says of them stays. */
static void join_sacked(struct vn_tcp_flight *flight, struct vn_pool *pool,
			struct vn_tcp_sent *sent)
{
	if (sent->previous && sent->previous->sacked) {
		sent = sent->previous;
		sent->end = sent->next->end;
		sent->retransmitted |= sent->next->retransmitted;
		unlink_range(flight, pool, sent->next);
	}
	if (sent->next && sent->next->sacked) {
		sent->end = sent->next->end;
		sent->retransmitted |= sent->next->retransmitted;
		unlink_range(flight, pool, sent->next);
	}
}

int vn_tcp_flight_sent(struct vn_tcp_flight *flight, struct vn_pool *pool, uint64_t begin,
		       uint64_t end, uint64_t now_ns)
{
	struct vn_tcp_sent *sent, *last = flight->last;

	if (last && last->end == begin && last->sent_ns == now_ns && !last->sacked && !last->lost &&
	    !last->retransmitted) {
		last->end = end;
		flight->bytes += (uint32_t)(end - begin);
		return 0;
	}
	sent = vn_pool_take(pool);
	if (!sent)
		return -ENOMEM;
	sent->begin = begin;
	sent->end = end;
	sent->sent_ns = now_ns;
	sent->previous = last;
	if (last)
		last->next = sent;
	else
		flight->first = sent;
	flight->last = sent;
	flight->bytes += (uint32_t)(end - begin);
	flight->count++;
	return 0;
}

/*
 * Up to end of a range has arrived, for the first time (RFC 8985 section 6.2 steps 1 to 3, and the
 * round trip).
 */
static void note_arrival(struct vn_tcp_flight *flight, const struct vn_tcp_sent *sent, uint64_t end,
			 uint64_t now_ns, struct vn_tcp_arrival *arrival)
{
	uint64_t rtt = now_ns > sent->sent_ns ? now_ns - sent->sent_ns : 1;

	if (end > flight->forward_ack)
		flight->forward_ack = end;
	else if (end < flight->forward_ack && !sent->retransmitted)
		flight->is_reordered = true;
	/* So soon it cannot be what was sent again that arrived. */
	if (sent->retransmitted && rtt < flight->rtt_least_ns)
		return;
	/* That of what was sent last is the one that tells of now. */
	if (!sent->retransmitted && (arrival->rtt_ns == 0 || rtt < arrival->rtt_ns))
		arrival->rtt_ns = rtt;
	if (sent->sent_ns > flight->rack_sent_ns ||
	    (sent->sent_ns == flight->rack_sent_ns && end > flight->rack_end)) {
		flight->rack_sent_ns = sent->sent_ns;
		flight->rack_end = end;
		flight->rack_rtt_ns = rtt;
	}
}

void vn_tcp_flight_acked(struct vn_tcp_flight *flight, struct vn_pool *pool, uint64_t position,
			 uint64_t now_ns, struct vn_tcp_arrival *arrival)
{
	struct vn_tcp_sent *sent;

	while ((sent = flight->first) != NULL && sent->begin < position) {
		uint64_t end = sent->end < position ? sent->end : position;
		uint32_t bytes = (uint32_t)(end - sent->begin);

		arrival->acked_bytes += bytes;
		flight->bytes -= bytes;
		if (sent->sacked) {
			flight->sacked_bytes -= bytes;
		} else {
			arrival->delivered_bytes += bytes;
			note_arrival(flight, sent, end, now_ns, arrival);
		}
		if (sent->lost)
			flight->lost_bytes -= bytes;
		if (end < sent->end) {
			sent->begin = end;
			return;
		}
		unlink_range(flight, pool, sent);
	}
}

void vn_tcp_flight_sacked(struct vn_tcp_flight *flight, struct vn_pool *pool, uint64_t begin,
			  uint64_t end, uint64_t now_ns, struct vn_tcp_arrival *arrival)
{
	struct vn_tcp_sent *sent, *next;

	for (sent = flight->first; sent && sent->begin < end; sent = next) {
		next = sent->next;
		if (sent->sacked || sent->end <= begin)
			continue;
		if (sent->begin < begin) {
			if (!split(flight, pool, sent, (uint32_t)(begin - sent->begin)))
				return;
			next = sent->next;
			continue;
		}
		if (sent->end > end && !split(flight, pool, sent, (uint32_t)(end - sent->begin)))
			return;
		note_arrival(flight, sent, sent->end, now_ns, arrival);
		arrival->sacked_bytes += length_of(sent);
		arrival->delivered_bytes += length_of(sent);
		flight->sacked_bytes += length_of(sent);
		if (sent->lost)
			flight->lost_bytes -= length_of(sent);
		sent->lost = false;
		sent->sacked = true;
		next = sent->next;
		/* The one after may go into this one, and the search goes on behind it. */
		if (next && next->sacked)
			next = next->next;
		join_sacked(flight, pool, sent);
	}
}

void vn_tcp_flight_dsack(struct vn_tcp_flight *flight, uint64_t una, uint64_t sent_end)
{
	if (una < flight->dsack_round)
		return;
	flight->dsack_round = sent_end;
	if (flight->window_factor < UINT8_MAX)
		flight->window_factor++;
	flight->window_persist = WINDOW_PERSIST;
}

void vn_tcp_flight_recovered(struct vn_tcp_flight *flight)
{
	if (flight->window_persist > 0 && --flight->window_persist == 0)
		flight->window_factor = 1;
}

/* RFC 8985 section 6.2 step 4 */
static uint64_t reordering_window(const struct vn_tcp_flight *flight, uint64_t srtt_ns,
				  bool is_recovering, uint32_t segment_bytes)
{
	uint64_t window;

	if (!flight->is_reordered &&
	    (is_recovering || flight->sacked_bytes >= DUPLICATES * segment_bytes))
		return 0;
	window = flight->rtt_least_ns / 4 * flight->window_factor;
	return window < srtt_ns ? window : srtt_ns;
}

static bool was_sent_before(const struct vn_tcp_flight *flight, const struct vn_tcp_sent *sent)
{
	return sent->sent_ns < flight->rack_sent_ns ||
	       (sent->sent_ns == flight->rack_sent_ns && sent->end < flight->rack_end);
}

uint32_t vn_tcp_flight_detect(struct vn_tcp_flight *flight, uint64_t srtt_ns, bool is_recovering,
			      uint32_t segment_bytes, uint64_t now_ns, uint64_t *due_ns)
{
	uint64_t window, due;
	uint32_t lost_bytes = 0;

	*due_ns = UINT64_MAX;
	if (flight->rack_rtt_ns == 0)
		return 0;
	/* The usual case: what has arrived is all that was sent before. */
	if (flight->sacked_bytes == 0 && !is_recovering &&
	    (!flight->first || !was_sent_before(flight, flight->first)))
		return 0;
	window = reordering_window(flight, srtt_ns, is_recovering, segment_bytes);
	for (struct vn_tcp_sent *sent = flight->first; sent; sent = sent->next) {
		if (sent->sacked || sent->lost || !was_sent_before(flight, sent))
			continue;
		due = sent->sent_ns + flight->rack_rtt_ns + window;
		if (due > now_ns) {
			if (due < *due_ns)
				*due_ns = due;
			continue;
		}
		sent->lost = true;
		flight->lost_bytes += length_of(sent);
		lost_bytes += length_of(sent);
	}
	return lost_bytes;
}

uint32_t vn_tcp_flight_lose_all(struct vn_tcp_flight *flight)
{
	uint32_t lost_bytes = 0;

	for (struct vn_tcp_sent *sent = flight->first; sent; sent = sent->next) {
		if (sent->sacked || sent->lost)
			continue;
		sent->lost = true;
		lost_bytes += length_of(sent);
	}
	flight->lost_bytes += lost_bytes;
	return lost_bytes;
}

uint32_t vn_tcp_flight_lose_first(struct vn_tcp_flight *flight, struct vn_pool *pool,
				  uint32_t segment_bytes)
{
	struct vn_tcp_sent *first = flight->first;

	if (!first || first->lost || first->sacked)
		return 0;
	/* Without memory the whole of it is sent again. */
	if (length_of(first) > segment_bytes)
		split(flight, pool, first, segment_bytes);
	first->lost = true;
	flight->lost_bytes += length_of(first);
	return length_of(first);
}

void vn_tcp_flight_forget_sacks(struct vn_tcp_flight *flight)
{
	for (struct vn_tcp_sent *sent = flight->first; sent; sent = sent->next)
		sent->sacked = false;
	flight->sacked_bytes = 0;
}

void vn_tcp_flight_forgive(struct vn_tcp_flight *flight)
{
	for (struct vn_tcp_sent *sent = flight->first; sent; sent = sent->next)
		sent->lost = false;
	flight->lost_bytes = 0;
}

struct vn_tcp_sent *vn_tcp_flight_lost(const struct vn_tcp_flight *flight)
{
	struct vn_tcp_sent *sent = flight->first;

	if (flight->lost_bytes == 0)
		return NULL;
	while (sent && !sent->lost)
		sent = sent->next;
	return sent;
}

struct vn_tcp_sent *vn_tcp_flight_resent(struct vn_tcp_flight *flight, struct vn_pool *pool,
					 struct vn_tcp_sent *sent, uint32_t length_bytes,
					 uint64_t now_ns)
{
	if (length_bytes < length_of(sent) && !split(flight, pool, sent, length_bytes))
		return NULL;
	if (sent->lost)
		flight->lost_bytes -= length_of(sent);
	sent->lost = false;
	sent->retransmitted = true;
	sent->sent_ns = now_ns;
	return sent;
}
