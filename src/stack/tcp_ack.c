/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * What an acknowledgment means for what is in flight (tcp_flight.c): it measures a round trip, opens the
 * congestion window (tcp_congestion.c), and shows what was lost.
 *
 * With SACK, losses are found by RACK (RFC 8985): what was sent before something that has arrived is lost, when
 * it has had time to be only reordered. Without, three duplicate ACKs show the first (RFC 5681), and each partial
 * ACK the next (RFC 6582). Recovery begins with the first loss found and ends when all that was
 * in flight then is acknowledged; meanwhile as much is sent as arrives, reduced in proportion
 * (RFC 6937). A timeout (tcp_timer.c) begins a recovery too, in slow start.
 *
 * A recovery that was not necessary is recognized by the timestamp that comes back (RFC 3522), and undone.
 */
#include "stack/tcp.h"

#define DUPLICATES 3 /* RFC 5681 section 3.2 */

/* RFC 9293 section 3.10.7.4: not of a segment that was overtaken. */
static bool update_window(struct vnic_connection *connection, const struct vn_tcp_segment *segment,
			  uint64_t ack)
{
	uint32_t window = (uint32_t)segment->tcp.window << connection->send_scale;
	bool changed = window != connection->send_window_bytes;

	if (segment->begin < (int64_t)connection->window_position ||
	    (segment->begin == (int64_t)connection->window_position &&
	     ack < connection->window_ack))
		return false;
	connection->window_position = (uint64_t)segment->begin;
	connection->window_ack = ack;
	connection->send_window_bytes = window;
	if (window > connection->send_window_most_bytes)
		connection->send_window_most_bytes = window;
	return changed;
}

/* The first SACK may be about something that had arrived before (RFC 2883 section 4). */
static bool is_dsack(const struct vn_tcp_range *runs, unsigned count, uint64_t ack)
{
	return runs[0].end <= ack ||
	       (count > 1 && runs[0].begin >= runs[1].begin && runs[0].end <= runs[1].end);
}

/* Mark them, the lowest first. */
static void mark_sacked(struct vnic_connection *connection, struct vn_tcp_range *runs,
			unsigned count, struct vn_tcp_arrival *arrival)
{
	struct vnic_stack *stack = connection->stack;

	for (unsigned i = 1; i < count; i++) {
		struct vn_tcp_range run = runs[i];
		unsigned at = i;

		for (; at > 0 && runs[at - 1].begin > run.begin; at--)
			runs[at] = runs[at - 1];
		runs[at] = run;
	}
	for (unsigned i = 0; i < count; i++)
		vn_tcp_flight_sacked(&connection->flight, &stack->tcp->sent, runs[i].begin,
				     runs[i].end, stack->now_ns, arrival);
}

static void take_sacks(struct vnic_connection *connection, const struct vn_tcp_segment *segment,
		       uint64_t ack, struct vn_tcp_arrival *arrival)
{
	const struct vn_tcp_options *options = &segment->options;
	struct vn_tcp_range runs[VN_TCP_SACKS];
	bool has_first = true; /* the place of a duplicate: whatever else stands there is none */
	unsigned count = 0;

	for (unsigned i = 0; i < options->sack_count; i++) {
		int64_t begin = vn_tcp_unwrap(ack, connection->iss, options->sacks[i].begin);
		int64_t end = vn_tcp_unwrap(ack, connection->iss, options->sacks[i].end);

		if (begin < 0 || begin >= end || end > (int64_t)connection->nxt) {
			if (i == 0)
				has_first = false;
			continue;
		}
		runs[count].begin = (uint64_t)begin;
		runs[count++].end = (uint64_t)end;
	}
	if (count == 0)
		return;
	if (has_first && is_dsack(runs, count, ack)) {
		arrival->has_dsack = true;
		/* What a probe of the tail doubled was no haste of ours. */
		if (!connection->tail_probed)
			vn_tcp_flight_dsack(&connection->flight, ack, connection->nxt);
		mark_sacked(connection, runs + 1, count - 1, arrival);
		return;
	}
	mark_sacked(connection, runs, count, arrival);
}

/*
 * What was in flight is all that was not acknowledged before this ACK (RFC 5681 section 2). Without what is
 * SACKed by now it would be next to nothing, where one ACK is about a whole super-segment.
 */
static void begin_recovery(struct vnic_connection *connection, uint32_t acked_bytes)
{
	connection->is_recovering = true;
	connection->is_timed_out = false;
	connection->undo_decided = connection->undo_possible = false;
	connection->recovery_end = connection->nxt;
	vn_tcp_congestion_lost(&connection->congestion, connection->mss_bytes,
			       connection->flight.bytes + acked_bytes, connection->stack->now_ns);
}

static void end_recovery(struct vnic_connection *connection)
{
	if (!connection->is_timed_out)
		vn_tcp_congestion_recovered(&connection->congestion, connection->mss_bytes);
	connection->is_recovering = connection->is_timed_out = false;
	connection->undo_decided = connection->undo_possible = false;
	vn_tcp_flight_recovered(&connection->flight);
}

/* Without SACK. @return bytes newly taken for lost */
static uint32_t detect_by_duplicates(struct vnic_connection *connection, bool is_partial)
{
	struct vn_pool *pool = &connection->stack->tcp->sent;

	if (connection->is_timed_out || connection->flight.lost_bytes > 0)
		return 0;
	if (connection->is_recovering ? is_partial : connection->duplicates == DUPLICATES)
		return vn_tcp_flight_lose_first(&connection->flight, pool, connection->mss_bytes);
	return 0;
}

static uint32_t detect(struct vnic_connection *connection, const struct vn_tcp_arrival *arrival)
{
	uint32_t lost_bytes;

	connection->reorder_ns = VN_TCP_NEVER;
	if (connection->flight.count == 0)
		return 0;
	if (!connection->has_sack)
		return detect_by_duplicates(connection, arrival && arrival->acked_bytes > 0);
	lost_bytes = vn_tcp_flight_detect(&connection->flight, connection->srtt_ns,
					  connection->is_recovering, connection->mss_bytes,
					  connection->stack->now_ns, &connection->reorder_ns);
	/* To look again at once would not end. */
	if (connection->reorder_ns < connection->stack->now_ns + VN_TCP_MILLISECOND_NS)
		connection->reorder_ns = connection->stack->now_ns + VN_TCP_MILLISECOND_NS;
	return lost_bytes;
}

void vn_tcp_detect(struct vnic_connection *connection, const struct vn_tcp_arrival *arrival)
{
	uint32_t lost_bytes = detect(connection, arrival), delivered = 0;

	if (lost_bytes > 0 && !connection->is_recovering)
		begin_recovery(connection, arrival ? arrival->acked_bytes : 0);
	if (!connection->is_recovering || connection->is_timed_out)
		return;
	if (arrival)
		delivered = arrival->delivered_bytes;
	if (delivered == 0 && !connection->has_sack && arrival)
		delivered = connection->mss_bytes; /* of a duplicate */
	vn_tcp_congestion_recover(&connection->congestion, connection->mss_bytes, delivered,
				  lost_bytes, vn_tcp_pipe(connection));
}

/* A tail was probed, and its end is acknowledged (RFC 8985 section 7.4). */
static void end_tail_probe(struct vnic_connection *connection, const struct vn_tcp_arrival *arrival)
{
	if (!connection->tail_probed || connection->una < connection->tail_end)
		return;
	connection->tail_probed = false;
	/* The probe repaired a loss, which nobody else has seen. */
	if (connection->tail_resent && !arrival->has_dsack && !connection->is_recovering) {
		begin_recovery(connection, arrival->acked_bytes);
		end_recovery(connection);
	}
}

static void undo_recovery(struct vnic_connection *connection, const struct vn_tcp_segment *segment)
{
	if (!connection->is_recovering || !connection->undo_possible)
		return;
	/* The first ACK for what was sent again says it, none after it. */
	connection->undo_possible = false;
	if (!connection->has_timestamps || !segment->options.has_timestamps ||
	    (int32_t)(segment->options.timestamp_echo - connection->timestamp_undo) >= 0)
		return;
	vn_stack_count(connection->stack, VNIC_STACK_SPURIOUS, 1);
	vn_tcp_congestion_undo(&connection->congestion);
	vn_tcp_flight_forgive(&connection->flight);
	connection->is_recovering = connection->is_timed_out = false;
}

static void answer_mark(struct vnic_connection *connection, const struct vn_tcp_segment *segment,
			const struct vn_tcp_arrival *arrival)
{
	if (!connection->has_ecn || !(segment->tcp.flags & VNIC_TCP_ECE) ||
	    connection->una <= connection->mark_end || connection->is_recovering)
		return;
	vn_tcp_congestion_marked(&connection->congestion, connection->mss_bytes,
				 connection->flight.bytes + arrival->acked_bytes,
				 connection->stack->now_ns);
	connection->mark_end = connection->nxt;
	connection->say_reduced = true;
}

static void count_duplicate(struct vnic_connection *connection,
			    const struct vn_tcp_segment *segment, bool window_changed,
			    const struct vn_tcp_arrival *arrival)
{
	if (arrival->acked_bytes > 0) {
		/* What is acknowledged now is among what the duplicates stood for. */
		uint32_t segments = arrival->acked_bytes / connection->mss_bytes;

		connection->duplicates =
			connection->is_recovering && segments < connection->duplicates
				? (uint8_t)(connection->duplicates - segments)
				: 0;
		return;
	}
	/* RFC 5681 section 2 */
	if (segment->end == segment->begin && !window_changed && connection->flight.count > 0 &&
	    connection->duplicates < UINT8_MAX)
		connection->duplicates++;
}

static void advance(struct vnic_connection *connection, uint64_t ack,
		    struct vn_tcp_arrival *arrival)
{
	struct vnic_stack *stack = connection->stack;

	vn_tcp_flight_acked(&connection->flight, &stack->tcp->sent, ack, stack->now_ns, arrival);
	/* What is not in flight (the SYN of a cookie) counts as well. */
	if (arrival->acked_bytes == 0)
		arrival->acked_bytes = arrival->delivered_bytes = (uint32_t)(ack - connection->una);
	connection->una = ack;
	connection->retries = 0;
	connection->soft_error = 0;
	connection->progress_ns = stack->now_ns;
}

/* Tell the user how far the payload has arrived. */
static void tell_acked(struct vnic_connection *connection, uint64_t before)
{
	const struct vnic_connection_operations *operations = connection->operations;
	uint64_t position = connection->una;

	if (connection->fin_sent && position > connection->end)
		position = connection->end;
	if (position > before && position > 1 && operations && operations->acked)
		operations->acked(connection, connection->user, position - 1);
}

/* A window that had been taken back is open again: what was dropped meanwhile waits for no timeout. */
static void resume(struct vnic_connection *connection)
{
	vn_tcp_flight_lose_all(&connection->flight);
	connection->retries = 0;
}

void vn_tcp_acked(struct vnic_connection *connection, const struct vn_tcp_segment *segment,
		  uint64_t ack)
{
	bool was_closed = connection->send_window_bytes == 0;
	struct vn_tcp_arrival arrival = {0};
	bool window_changed = update_window(connection, segment, ack);
	uint64_t before = connection->una;

	if (ack == connection->nxt && connection->flight.count == 0 && !window_changed &&
	    ack == before)
		return; /* it is about payload only */
	if (ack > before)
		advance(connection, ack, &arrival);
	else if (connection->flight.count == 0)
		connection->retries = 0; /* of probing the window */
	if (connection->has_sack && segment->options.sack_count > 0) {
		take_sacks(connection, segment, ack, &arrival);
		vn_stack_count(connection->stack, VNIC_STACK_SACKS_REFUSED, arrival.refused_sacks);
	}
	if (arrival.rtt_ns > 0)
		vn_tcp_measured(connection, arrival.rtt_ns);
	if (ack > before)
		undo_recovery(connection, segment);
	if (!connection->has_sack)
		count_duplicate(connection, segment, window_changed, &arrival);
	answer_mark(connection, segment, &arrival);
	end_tail_probe(connection, &arrival);
	if (connection->is_recovering && connection->una >= connection->recovery_end)
		end_recovery(connection);
	if (arrival.acked_bytes > 0 && (!connection->is_recovering || connection->is_timed_out))
		vn_tcp_congestion_acked(&connection->congestion, connection->mss_bytes,
					arrival.delivered_bytes, connection->is_limited,
					arrival.rtt_ns, connection->srtt_ns, connection->una,
					connection->nxt, connection->stack->now_ns);
	if (was_closed && connection->send_window_bytes > 0 && connection->is_timed_out)
		resume(connection);
	vn_tcp_detect(connection, &arrival);
	vn_tcp_set_alarm(connection);
	vn_tcp_pend(connection);
	tell_acked(connection, before);
}

void vn_tcp_shrink(struct vnic_connection *connection)
{
	uint16_t mss = vn_tcp_mss(connection->stack, &connection->flow.remote_address, true);

	if (mss >= connection->mss_bytes)
		return;
	connection->mss_bytes = mss;
	vn_tcp_congestion_resize(&connection->congestion, mss);
	/* The network was not too full, so this is no matter of congestion (RFC 1191 section 6.5). */
	vn_tcp_flight_lose_all(&connection->flight);
	vn_tcp_set_alarm(connection);
	vn_tcp_pend(connection);
}
