/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A segment arrives at a connection (RFC 9293 section 3.10.7). In the order of the RFC: is it
 * acceptable, by its timestamp (PAWS, RFC 7323 section 5) and by its sequence numbers; then its RST, its
 * SYN, its ACK, its payload and its FIN. What is not acceptable is answered with an ACK, so that the other
 * end learns where we are; those without payload not more often than CHALLENGE_NS, or two
 * hosts could do that to each other for ever. RST and SYN end nothing unless they are exactly where they must
 * be (RFC 5961): others are challenged with an ACK, to which a true sender gives the right answer.
 *
 * Payload in order goes to the user at once. What is early goes to the queue (tcp_queue.c), and is
 * acknowledged at once, so that its sender can count duplicates and see SACKs.
 *
 * After each call of the user's the connection may have ended: then its state is CLOSED.
 */
#include <errno.h>

#include "stack/tcp.h"

#define CHALLENGE_NS (10 * VN_TCP_MILLISECOND_NS)
#define DELAYED_ACK_NS (40 * VN_TCP_MILLISECOND_NS) /* RFC 9293 section 3.8.6.3: below 0.5 s */
#define TIMESTAMP_AGE_NS (UINT64_C(24) * 86400 * VN_SECOND_NS) /* RFC 7323 section 5.5 */

/* Answer what is not acceptable. */
static void challenge(struct vnic_connection *connection)
{
	struct vnic_stack *stack = connection->stack;

	if (stack->now_ns < connection->challenge_ns)
		return;
	connection->challenge_ns = stack->now_ns + CHALLENGE_NS;
	vn_stack_count(stack, VNIC_STACK_CHALLENGES, 1);
	vn_tcp_send_ack(connection);
}

static bool is_old_timestamp(const struct vnic_connection *connection,
			     const struct vn_tcp_segment *segment)
{
	if (!connection->has_timestamps || segment->tcp.flags & VNIC_TCP_RST)
		return false;
	if (!segment->options.has_timestamps)
		return true; /* RFC 7323 section 3.2 */
	return (int32_t)(segment->options.timestamp - connection->timestamp_recent) < 0 &&
	       connection->stack->now_ns - connection->timestamp_recent_ns < TIMESTAMP_AGE_NS;
}

static void take_timestamp(struct vnic_connection *connection, const struct vn_tcp_segment *segment)
{
	if (!connection->has_timestamps || !segment->options.has_timestamps ||
	    segment->begin > (int64_t)connection->acknowledged)
		return;
	connection->timestamp_recent = segment->options.timestamp;
	connection->timestamp_recent_ns = connection->stack->now_ns;
}

/* RFC 9293 section 3.10.7.4, but an empty segment may stand right behind the window. */
static bool is_acceptable(const struct vnic_connection *connection,
			  const struct vn_tcp_segment *segment)
{
	int64_t next = (int64_t)connection->rcv_nxt, edge = (int64_t)connection->rcv_edge;

	if (segment->begin == segment->end)
		return segment->begin >= next && segment->begin <= edge;
	/* With a closed window its ACK still counts. */
	if (segment->begin == next)
		return true;
	return segment->end > next && segment->begin < edge;
}

static void note_duplicate(struct vnic_connection *connection, int64_t begin, int64_t end)
{
	if (!connection->has_sack || begin >= end || begin < 1)
		return;
	connection->has_dsack = true;
	connection->dsack.begin = (uint64_t)begin;
	connection->dsack.end = (uint64_t)end;
}

/* A keepalive or a window probe: nothing, or an old byte, that wants to be answered. */
static bool is_probe(const struct vnic_connection *connection, const struct vn_tcp_segment *segment)
{
	return segment->begin == (int64_t)connection->rcv_nxt - 1 && segment->payload_bytes <= 1 &&
	       !(segment->tcp.flags & (VNIC_TCP_SYN | VNIC_TCP_FIN));
}

static vn_verdict refuse(struct vnic_connection *connection, const struct vn_tcp_segment *segment)
{
	if (segment->tcp.flags & VNIC_TCP_RST)
		return VNIC_STACK_DROP_SEQUENCE;
	/* What was sent again although it had arrived: say so (RFC 2883), and it is always answered. */
	if (segment->payload_bytes > 0 && segment->end <= (int64_t)connection->rcv_nxt) {
		note_duplicate(connection, segment->begin, segment->end);
		vn_tcp_send_ack(connection);
	} else if (segment->tcp.flags & VNIC_TCP_FIN) {
		vn_tcp_send_ack(connection);
	} else {
		challenge(connection);
	}
	return is_probe(connection, segment) ? VNIC_STACK_SEGMENTS : VNIC_STACK_DROP_SEQUENCE;
}

static vn_verdict input_reset(struct vnic_connection *connection,
			      const struct vn_tcp_segment *segment)
{
	if (segment->begin != (int64_t)connection->rcv_nxt) {
		challenge(connection);
		return VNIC_STACK_DROP_SEQUENCE;
	}
	vn_tcp_end(connection,
		   connection->state == VN_TCP_SYN_RECEIVED ? -ECONNREFUSED : -ECONNRESET);
	return VNIC_STACK_SEGMENTS;
}

/* RFC 9293 section 3.10.7.3 */
static vn_verdict input_syn_sent(struct vnic_connection *connection,
				 const struct vn_tcp_segment *segment)
{
	uint8_t flags = segment->tcp.flags;
	bool has_ack = flags & VNIC_TCP_ACK;
	struct vn_tcp_arrival arrival = {0};

	if (has_ack && (connection->nxt == 0 || segment->tcp.acknowledgment != connection->iss + 1))
		return vn_tcp_reset(connection->stack, segment);
	if (flags & VNIC_TCP_RST) {
		if (!has_ack)
			return VNIC_STACK_DROP_SEQUENCE;
		vn_tcp_end(connection, -ECONNREFUSED);
		return VNIC_STACK_SEGMENTS;
	}
	if (!(flags & VNIC_TCP_SYN))
		return VNIC_STACK_DROP_UNWANTED;
	vn_tcp_take_syn(connection, segment);
	connection->link = segment->input->link;
	connection->has_link = true;
	connection->heard_ns = connection->stack->now_ns;
	if (!has_ack) {
		connection->state = VN_TCP_SYN_RECEIVED;
		connection->has_ecn = false;
		vn_tcp_count_half_open(connection, 1);
		vn_tcp_send_syn(connection);
		return VNIC_STACK_SEGMENTS;
	}
	connection->has_ecn =
		(flags & VNIC_TCP_ECE) && !(flags & VNIC_TCP_CWR) && !connection->options.no_ecn;
	connection->window_ack = connection->una = 1;
	vn_tcp_flight_acked(&connection->flight, &connection->stack->tcp->sent, 1,
			    connection->stack->now_ns, &arrival);
	if (arrival.rtt_ns > 0)
		vn_tcp_measured(connection, arrival.rtt_ns);
	connection->retries = 0;
	connection->progress_ns = connection->stack->now_ns;
	connection->state = VN_TCP_ESTABLISHED;
	connection->ack_now = true;
	vn_tcp_pend(connection);
	vn_tcp_tell(connection, VNIC_CONNECTION_ESTABLISHED, 0);
	return VNIC_STACK_SEGMENTS;
}

/* The handshake is complete. @return false: the connection has ended, or the segment was refused */
static bool establish(struct vnic_connection *connection, const struct vn_tcp_segment *segment)
{
	vn_tcp_count_half_open(connection, -1);
	connection->state = VN_TCP_ESTABLISHED;
	connection->send_window_bytes = (uint32_t)segment->tcp.window << connection->send_scale;
	connection->send_window_most_bytes = connection->send_window_bytes;
	connection->window_position = (uint64_t)segment->begin;
	if (!connection->listener)
		vn_tcp_tell(connection, VNIC_CONNECTION_ESTABLISHED, 0);
	return vn_tcp_accept(connection) && connection->state != VN_TCP_CLOSED;
}

/* @return VNIC_STACK_RECEIVED: go on */
static vn_verdict input_ack(struct vnic_connection *connection, struct vn_tcp_segment *segment)
{
	int64_t ack = vn_tcp_unwrap(connection->una, connection->iss, segment->tcp.acknowledgment);
	int64_t una = (int64_t)connection->una;

	if (connection->state == VN_TCP_SYN_RECEIVED) {
		if (ack <= una || ack > (int64_t)connection->nxt)
			return vn_tcp_reset(connection->stack, segment);
		if (!establish(connection, segment))
			return VNIC_STACK_SEGMENTS;
	}
	/* RFC 5961 section 5 */
	if (ack > (int64_t)connection->nxt ||
	    ack < una - (int64_t)connection->send_window_most_bytes - 1) {
		challenge(connection);
		return VNIC_STACK_DROP_SEQUENCE;
	}
	if (ack < una) /* overtaken by another */
		return VNIC_STACK_RECEIVED;
	vn_tcp_acked(connection, segment, (uint64_t)ack);
	if (connection->state == VN_TCP_CLOSED)
		return VNIC_STACK_SEGMENTS;
	if (connection->fin_sent && connection->una == connection->nxt) {
		switch (connection->state) {
		case VN_TCP_FIN_WAIT_1:
			connection->state = VN_TCP_FIN_WAIT_2;
			vn_tcp_set_timer(connection);
			break;
		case VN_TCP_CLOSING:
			vn_tcp_time_wait(connection);
			return VNIC_STACK_SEGMENTS;
		case VN_TCP_LAST_ACK:
			vn_tcp_end(connection, 0);
			return VNIC_STACK_SEGMENTS;
		default:
			break;
		}
	}
	return VNIC_STACK_RECEIVED;
}

/* Hand bytes in order to the user. @return how many were taken */
static uint32_t deliver(struct vnic_connection *connection, const uint8_t *bytes,
			uint32_t length_bytes)
{
	const struct vnic_connection_operations *operations = connection->operations;
	size_t taken = length_bytes;

	if (operations && operations->receive)
		taken = operations->receive(connection, connection->user, bytes, length_bytes);
	if (taken > length_bytes)
		taken = length_bytes;
	connection->rcv_nxt += taken;
	/* It may be more than was offered, where there was room all the same. */
	if (connection->rcv_edge < connection->rcv_nxt)
		connection->rcv_edge = connection->rcv_nxt;
	connection->unacknowledged_bytes += (uint32_t)taken;
	return (uint32_t)taken;
}

static void count_queue(struct vnic_connection *connection, uint64_t before)
{
	vn_stack_count(connection->stack, VNIC_STACK_OUT_OF_ORDER_BYTES,
		       (int64_t)(connection->stack->tcp->out_of_order_bytes - before));
}

/* What is next in the queue. What was there before it is given up, and counted at once: the connection may end. */
static uint32_t look_in_queue(struct vnic_connection *connection, const uint8_t **bytes)
{
	uint64_t *total = &connection->stack->tcp->out_of_order_bytes, before = *total;
	uint32_t length = vn_tcp_queue_at(&connection->queue, connection->rcv_nxt, bytes, total);

	count_queue(connection, before);
	return length;
}

/* Hand on what was early and is due now. */
static void drain_queue(struct vnic_connection *connection)
{
	const uint8_t *bytes;
	uint32_t length;

	while (connection->state != VN_TCP_CLOSED &&
	       (length = look_in_queue(connection, &bytes)) > 0) {
		/* Its user may have closed it when it took what was before this. */
		if (connection->is_closing)
			vnic_connection_abort(connection);
		else if (deliver(connection, bytes, length) < length)
			return;
	}
}

static vn_verdict input_early(struct vnic_connection *connection, uint64_t begin,
			      const uint8_t *bytes, uint32_t length_bytes)
{
	uint64_t *total = &connection->stack->tcp->out_of_order_bytes, before = *total;
	int code = vn_tcp_queue_insert(&connection->queue, begin, bytes, length_bytes, total,
				       connection->stack->options.tcp_out_of_order_bytes);

	count_queue(connection, before);
	if (code == -EEXIST)
		note_duplicate(connection, (int64_t)begin, (int64_t)begin + length_bytes);
	/* At once, and one for each: the other end counts them (RFC 5681 section 4.2). */
	vn_tcp_send_ack(connection);
	return code == 0 || code == -EEXIST ? VNIC_STACK_SEGMENTS
					    : VNIC_STACK_DROP_OUT_OF_ORDER_FULL;
}

/* When to acknowledge what came in order. */
static void plan_ack(struct vnic_connection *connection)
{
	if (connection->unacknowledged_bytes == 0) {
		/* Nothing could be taken, or all was there already: the other end must hear of it. */
		if (connection->ack_now)
			vn_tcp_pend(connection);
		return;
	}
	if (connection->unacknowledged_bytes >= 2u * connection->mss_bytes ||
	    connection->quick_acks > 0 || connection->options.no_delayed_ack ||
	    connection->queue.bytes > 0 || connection->echo_mark) {
		if (connection->quick_acks > 0)
			connection->quick_acks--;
		connection->ack_now = true;
	} else if (connection->ack_ns == VN_TCP_NEVER) {
		connection->ack_ns = connection->stack->now_ns + DELAYED_ACK_NS;
	}
	vn_tcp_pend(connection);
}

/* The other end sends no more, and all that it sent was taken. */
static void input_end(struct vnic_connection *connection)
{
	connection->rcv_nxt++;
	if (connection->rcv_edge < connection->rcv_nxt)
		connection->rcv_edge = connection->rcv_nxt;
	connection->ack_now = true;
	vn_tcp_pend(connection);
	switch (connection->state) {
	case VN_TCP_ESTABLISHED:
		connection->state = VN_TCP_CLOSE_WAIT;
		break;
	case VN_TCP_FIN_WAIT_1:
		connection->state = VN_TCP_CLOSING;
		break;
	case VN_TCP_FIN_WAIT_2:
		vn_tcp_send_ack(connection);
		vn_tcp_tell(connection, VNIC_CONNECTION_FINISHED, 0);
		if (connection->state != VN_TCP_CLOSED)
			vn_tcp_time_wait(connection);
		return;
	default:
		break;
	}
	vn_tcp_tell(connection, VNIC_CONNECTION_FINISHED, 0);
}

static bool receives(const struct vnic_connection *connection)
{
	return connection->state == VN_TCP_ESTABLISHED || connection->state == VN_TCP_FIN_WAIT_1 ||
	       connection->state == VN_TCP_FIN_WAIT_2;
}

static vn_verdict input_payload(struct vnic_connection *connection,
				const struct vn_tcp_segment *segment)
{
	int64_t begin = segment->begin, end = begin + segment->payload_bytes;
	int64_t next = (int64_t)connection->rcv_nxt, edge = (int64_t)connection->rcv_edge;
	const uint8_t *bytes = segment->payload;
	bool was_cut = false;
	uint32_t length, taken;

	if (begin < next) {
		note_duplicate(connection, begin, next < end ? next : end);
		connection->ack_now = true;
		bytes += next - begin;
		begin = next;
	}
	if (end > edge) {
		end = edge;
		was_cut = true;
	}
	if (segment->tcp.flags & VNIC_TCP_FIN && !was_cut) {
		connection->fin_known = true;
		connection->fin_at = (uint64_t)end;
	}
	length = end > begin ? (uint32_t)(end - begin) : 0;
	if (length == 0) {
		if (!was_cut)
			return VNIC_STACK_SEGMENTS;
		connection->ack_now = true;
		vn_tcp_pend(connection);
		return VNIC_STACK_DROP_NO_ROOM;
	}
	if (connection->is_closing) {
		vnic_connection_abort(connection);
		return VNIC_STACK_SEGMENTS;
	}
	if (begin > next)
		return input_early(connection, (uint64_t)begin, bytes, length);
	taken = deliver(connection, bytes, length);
	if (connection->state == VN_TCP_CLOSED)
		return VNIC_STACK_SEGMENTS;
	if (taken < length || was_cut)
		connection->ack_now = true;
	else if (connection->queue.bytes > 0)
		drain_queue(connection);
	return taken > 0 ? VNIC_STACK_SEGMENTS : VNIC_STACK_DROP_NO_ROOM;
}

/* A handshake may begin anew before the time is over (RFC 9293 section 3.10.7.4, RFC 6191). */
static vn_verdict input_time_wait(struct vnic_connection *connection,
				  struct vn_tcp_segment *segment)
{
	struct vnic_stack *stack = connection->stack;
	uint8_t flags = segment->tcp.flags;
	struct vnic_flow flow = connection->flow;
	bool is_newer = segment->begin > (int64_t)connection->rcv_nxt;

	if (connection->has_timestamps && segment->options.has_timestamps)
		is_newer = is_newer ||
			   (int32_t)(segment->options.timestamp - connection->timestamp_recent) > 0;
	if ((flags & (VNIC_TCP_SYN | VNIC_TCP_ACK | VNIC_TCP_RST)) == VNIC_TCP_SYN && is_newer) {
		vn_tcp_end(connection, 0);
		segment->begin = 0;
		segment->end = 1 + (int64_t)segment->payload_bytes;
		return vn_tcp_listen_input(stack, segment, &flow);
	}
	/* RFC 1337: a reset of long ago must not end it early. */
	if (flags & VNIC_TCP_RST)
		return VNIC_STACK_DROP_SEQUENCE;
	if (segment->begin == segment->end && segment->begin == (int64_t)connection->rcv_nxt)
		return VNIC_STACK_SEGMENTS;
	/* Its FIN again: our last ACK was lost. */
	if (flags & VNIC_TCP_FIN)
		connection->life_ns = stack->now_ns + stack->options.tcp_time_wait_ns;
	return refuse(connection, segment);
}

/* The other end's SYN once more. @return VNIC_STACK_RECEIVED: go on, without it */
static vn_verdict input_syn_again(struct vnic_connection *connection,
				  struct vn_tcp_segment *segment)
{
	if (connection->state != VN_TCP_SYN_RECEIVED || segment->begin != 0) {
		challenge(connection);
		return VNIC_STACK_DROP_SEQUENCE;
	}
	if (!(segment->tcp.flags & VNIC_TCP_ACK)) {
		if (connection->stack->now_ns >= connection->challenge_ns) {
			connection->challenge_ns = connection->stack->now_ns + CHALLENGE_NS;
			vn_tcp_send_syn(connection);
		}
		return VNIC_STACK_SEGMENTS;
	}
	segment->begin = 1;
	return VNIC_STACK_RECEIVED;
}

vn_verdict vn_tcp_segment_input(struct vnic_connection *connection, struct vn_tcp_segment *segment)
{
	uint8_t flags = segment->tcp.flags;
	vn_verdict verdict;

	connection->counts.received_segments++;
	if (connection->state == VN_TCP_SYN_SENT)
		return input_syn_sent(connection, segment);
	segment->begin = vn_tcp_unwrap(connection->rcv_nxt, connection->irs, segment->tcp.sequence);
	segment->end += segment->begin;
	if (connection->state == VN_TCP_TIME_WAIT)
		return input_time_wait(connection, segment);
	if (flags & VNIC_TCP_SYN && !(flags & VNIC_TCP_RST)) {
		verdict = input_syn_again(connection, segment);
		if (verdict != VNIC_STACK_RECEIVED)
			return verdict;
	}
	if (is_old_timestamp(connection, segment)) {
		refuse(connection, segment);
		return VNIC_STACK_DROP_TIMESTAMP;
	}
	if (!is_acceptable(connection, segment))
		return refuse(connection, segment);
	if (flags & VNIC_TCP_RST)
		return input_reset(connection, segment);
	if (!(flags & VNIC_TCP_ACK))
		return VNIC_STACK_DROP_UNWANTED;
	take_timestamp(connection, segment);
	connection->link = segment->input->link;
	connection->has_link = true;
	connection->heard_ns = connection->stack->now_ns;
	connection->probes = 0;
	verdict = input_ack(connection, segment);
	if (verdict != VNIC_STACK_RECEIVED)
		return verdict;

	verdict = VNIC_STACK_SEGMENTS;
	if (connection->has_ecn && segment->payload_bytes > 0) {
		if (flags & VNIC_TCP_CWR)
			connection->echo_mark = false;
		if (segment->has_mark)
			connection->echo_mark = true;
	}
	if (receives(connection) && segment->end > segment->begin)
		verdict = input_payload(connection, segment);
	if (connection->state == VN_TCP_CLOSED)
		return verdict;
	plan_ack(connection);
	if (connection->fin_known && receives(connection) &&
	    connection->rcv_nxt == connection->fin_at)
		input_end(connection);
	if (connection->state != VN_TCP_CLOSED)
		vn_tcp_set_timer(connection);
	return verdict;
}
