/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A connection has three deadlines, and one timer for the earliest of them:
 *
 *     alarm_ns  something is in flight, or would be if the window were open: what alarm says
 *     ack_ns    a delayed ACK
 *     life_ns   keepalive, the end of TIME-WAIT, of FIN-WAIT-2 after a close
 *
 * The time of retransmission is that of RFC 6298, with a least value that suits a virtual wire: 50 ms, which
 * is longer than others delay an ACK and than a busy machine keeps a program waiting. A single
 * segment, which the other end may acknowledge late on purpose, gets DELAYED_ACK_NS more, or every
 * small write would be sent twice. A tail is probed before (RFC 8985 section 7), after two round
 * trips, so that most losses at the end of something cost no timeout.
 */
#include <errno.h>

#include "stack/tcp.h"

#define GRANULARITY_NS VN_TCP_MILLISECOND_NS
#define RTO_MOST_NS (60 * VN_SECOND_NS)
#define DELAYED_ACK_NS (60 * VN_TCP_MILLISECOND_NS) /* Linux delays by 40 ms at least */
#define PROBE_LEAST_NS (10 * VN_TCP_MILLISECOND_NS) /* as others do: the other end has to wake up */
#define SYN_RETRIES 6
#define SYN_ACK_RETRIES 5
#define CLOSE_WAIT_NS (60 * VN_SECOND_NS) /* of vnic_connection_close() */

void vn_tcp_measured(struct vnic_connection *connection, uint64_t rtt_ns)
{
	uint64_t least = connection->stack->options.tcp_rto_least_ns, variation, rto;

	if (connection->flight.rtt_least_ns == 0 || rtt_ns < connection->flight.rtt_least_ns)
		connection->flight.rtt_least_ns = rtt_ns;
	/* RFC 6298 section 2 */
	if (connection->srtt_ns == 0) {
		connection->srtt_ns = rtt_ns;
		connection->rtt_variation_ns = rtt_ns / 2;
	} else {
		uint64_t off = connection->srtt_ns > rtt_ns ? connection->srtt_ns - rtt_ns
							    : rtt_ns - connection->srtt_ns;

		connection->rtt_variation_ns = (3 * connection->rtt_variation_ns + off) / 4;
		connection->srtt_ns = (7 * connection->srtt_ns + rtt_ns) / 8;
	}
	if (connection->srtt_ns == 0)
		connection->srtt_ns = 1;
	variation = 4 * connection->rtt_variation_ns;
	rto = connection->srtt_ns + (variation > GRANULARITY_NS ? variation : GRANULARITY_NS);
	if (rto < least)
		rto = least;
	connection->rto_ns = rto < RTO_MOST_NS ? rto : RTO_MOST_NS;
}

uint64_t vn_tcp_timeout_ns(const struct vnic_connection *connection)
{
	uint64_t timeout = connection->rto_ns;

	if (connection->srtt_ns > 0 && connection->flight.bytes <= connection->mss_bytes &&
	    timeout < connection->srtt_ns + DELAYED_ACK_NS)
		timeout = connection->srtt_ns + DELAYED_ACK_NS;
	for (unsigned i = 0; i < connection->retries && timeout < RTO_MOST_NS; i++)
		timeout *= 2;
	return timeout < RTO_MOST_NS ? timeout : RTO_MOST_NS;
}

static void look_after_life(struct vnic_connection *connection)
{
	uint64_t interval = connection->options.keepalive_ns;

	if (connection->state == VN_TCP_TIME_WAIT)
		return;
	if (connection->state == VN_TCP_FIN_WAIT_2 && connection->is_closing)
		connection->life_ns = connection->heard_ns + CLOSE_WAIT_NS;
	/* While something is asked for otherwise, that shows whether it is there. */
	else if (interval == 0 || connection->flight.count > 0 ||
		 connection->alarm == VN_TCP_ALARM_PERSIST)
		connection->life_ns = VN_TCP_NEVER;
	else if (connection->probes > 0)
		connection->life_ns =
			connection->keepalive_ns + connection->options.keepalive_interval_ns;
	else
		connection->life_ns = connection->heard_ns + interval;
}

void vn_tcp_set_timer(struct vnic_connection *connection)
{
	struct vn_timers *timers = &connection->stack->tcp->timers;
	uint64_t due = connection->alarm_ns;

	if (connection->state == VN_TCP_CLOSED)
		return;
	look_after_life(connection);
	if (connection->ack_ns < due)
		due = connection->ack_ns;
	if (connection->life_ns < due)
		due = connection->life_ns;
	if (due == VN_TCP_NEVER)
		vn_timer_clear(timers, &connection->timer);
	/* One that is early only looks at the time. */
	else if (!vn_timer_is_set(&connection->timer) || due < connection->timer.due_ns)
		vn_timer_set(timers, &connection->timer, due);
	vn_stack_wake(connection->stack, due);
}

static uint64_t last_sent_ns(const struct vnic_connection *connection)
{
	const struct vn_tcp_sent *last = connection->flight.last;

	return last && last->sent_ns > connection->sent_ns ? last->sent_ns : connection->sent_ns;
}

/* RFC 8985 section 7.2 */
static uint64_t probe_ns(const struct vnic_connection *connection)
{
	uint64_t timeout = vn_tcp_timeout_ns(connection), probe = 2 * connection->srtt_ns;

	if (connection->flight.bytes <= connection->mss_bytes)
		probe += DELAYED_ACK_NS;
	if (probe < PROBE_LEAST_NS)
		probe = PROBE_LEAST_NS;
	return probe < timeout ? probe : timeout;
}

/* For the window, or for memory: then nothing else would have it tried again. */
static bool waits_for_room(const struct vnic_connection *connection)
{
	return connection->state >= VN_TCP_ESTABLISHED && !connection->fin_sent &&
	       !connection->is_starved &&
	       (connection->end > connection->nxt || connection->fin_wanted);
}

static void set(struct vnic_connection *connection, enum vn_tcp_alarm alarm, uint64_t when_ns)
{
	connection->alarm = (uint8_t)alarm;
	connection->alarm_ns = when_ns;
}

void vn_tcp_set_alarm(struct vnic_connection *connection)
{
	const struct vn_tcp_flight *flight = &connection->flight;

	if (connection->state == VN_TCP_CLOSED || connection->state == VN_TCP_TIME_WAIT)
		return;
	if (flight->count > 0) {
		uint64_t since = connection->progress_ns;

		/* From when the first was sent, or something before it arrived: RFC 6298 section 5. */
		if (flight->first->sent_ns > since || connection->retries > 0)
			since = flight->first->sent_ns;
		if (connection->reorder_ns != VN_TCP_NEVER)
			set(connection, VN_TCP_ALARM_REORDER, connection->reorder_ns);
		else if (connection->has_sack && connection->srtt_ns > 0 &&
			 !connection->is_recovering && !connection->tail_probed &&
			 connection->retries == 0 && flight->sacked_bytes == 0)
			set(connection, VN_TCP_ALARM_PROBE,
			    (last_sent_ns(connection) > connection->progress_ns
				     ? last_sent_ns(connection)
				     : connection->progress_ns) +
				    probe_ns(connection));
		else
			set(connection, VN_TCP_ALARM_TIMEOUT,
			    since + vn_tcp_timeout_ns(connection));
	} else if (waits_for_room(connection)) {
		if (connection->alarm != VN_TCP_ALARM_PERSIST)
			set(connection, VN_TCP_ALARM_PERSIST,
			    connection->stack->now_ns + vn_tcp_timeout_ns(connection));
	} else if (connection->nxt == 0) {
		/* Without memory the SYN is as good as lost. */
		set(connection, VN_TCP_ALARM_TIMEOUT,
		    connection->stack->now_ns + vn_tcp_timeout_ns(connection));
	} else {
		set(connection, VN_TCP_ALARM_NONE, VN_TCP_NEVER);
	}
	vn_tcp_set_timer(connection);
}

/* How it ends when nothing is heard any more. */
static void give_up(struct vnic_connection *connection)
{
	int code = connection->soft_error ? connection->soft_error : -ETIMEDOUT;

	if (connection->state >= VN_TCP_ESTABLISHED)
		vn_tcp_send_bare(connection, connection->nxt, VNIC_TCP_RST | VNIC_TCP_ACK);
	vn_tcp_end(connection, code);
}

static bool is_hopeless(const struct vnic_connection *connection)
{
	uint64_t since = connection->stack->now_ns - connection->progress_ns;

	if (connection->state == VN_TCP_SYN_SENT && connection->retries >= SYN_RETRIES)
		return true;
	if (connection->state == VN_TCP_SYN_RECEIVED && connection->retries >= SYN_ACK_RETRIES)
		return true;
	/* It has taken its window back, so what is sent again only probes (RFC 9293 section 3.8.6.1). */
	if (connection->state >= VN_TCP_ESTABLISHED && connection->send_window_bytes == 0) {
		if (connection->heard_ns >= last_sent_ns(connection))
			return false;
		since = connection->stack->now_ns - connection->heard_ns;
	}
	return since >= connection->options.user_timeout_ns;
}

/* RFC 6298 section 5.4 to 5.7 */
static void time_out(struct vnic_connection *connection)
{
	bool is_first = connection->retries == 0;
	uint32_t flight_bytes = connection->flight.bytes;

	if (is_hopeless(connection)) {
		give_up(connection);
		return;
	}
	connection->counts.timeouts++;
	vn_stack_count(connection->stack, VNIC_STACK_TIMEOUTS, 1);
	connection->retries++;
	if (connection->state == VN_TCP_SYN_SENT || connection->state == VN_TCP_SYN_RECEIVED) {
		vn_tcp_send_syn(connection);
		vn_stack_count(connection->stack, VNIC_STACK_RETRANSMITTED, 1);
		vn_tcp_set_alarm(connection);
		return;
	}
	/* A receiver may drop what it had SACKed (RFC 2018 section 8): then nothing moves on. */
	if (connection->retries > 1)
		vn_tcp_flight_forget_sacks(&connection->flight);
	vn_tcp_flight_lose_all(&connection->flight);
	vn_tcp_congestion_timeout(&connection->congestion, connection->mss_bytes, flight_bytes,
				  is_first, connection->stack->now_ns);
	if (is_first)
		connection->undo_decided = connection->undo_possible = false;
	connection->is_recovering = connection->is_timed_out = true;
	connection->recovery_end = connection->nxt;
	connection->duplicates = 0;
	connection->tail_probed = false;
	vn_tcp_output(connection);
}

/* RFC 9293 section 3.8.6.1 */
static void persist(struct vnic_connection *connection)
{
	uint64_t silence = connection->stack->now_ns - connection->heard_ns;

	/* As long as it answers the other end may keep its window closed for ever. */
	if (connection->probes > 0 && silence >= connection->options.user_timeout_ns) {
		give_up(connection);
		return;
	}
	connection->alarm = VN_TCP_ALARM_NONE;
	if (connection->send_window_bytes > 0) {
		connection->override = true;
		vn_tcp_output(connection);
		return;
	}
	if (connection->probes < UINT8_MAX)
		connection->probes++;
	if (connection->retries < 16)
		connection->retries++;
	vn_stack_count(connection->stack, VNIC_STACK_WINDOW_PROBES, 1);
	/* An old number: whatever is there answers it with what it offers. */
	vn_tcp_send_bare(connection, connection->una - 1, VNIC_TCP_ACK);
	vn_tcp_set_alarm(connection);
}

static void ring(struct vnic_connection *connection)
{
	switch (connection->alarm) {
	case VN_TCP_ALARM_TIMEOUT:
		time_out(connection);
		break;
	case VN_TCP_ALARM_PROBE:
		vn_stack_count(connection->stack, VNIC_STACK_TAIL_PROBES, 1);
		vn_tcp_send_probe(connection);
		vn_tcp_set_alarm(connection);
		break;
	case VN_TCP_ALARM_REORDER:
		vn_tcp_detect(connection, NULL);
		vn_tcp_output(connection);
		break;
	case VN_TCP_ALARM_PERSIST:
		persist(connection);
		break;
	default:
		break;
	}
}

static void look_whether_alive(struct vnic_connection *connection)
{
	if (connection->state == VN_TCP_TIME_WAIT) {
		vn_tcp_end(connection, 0);
		return;
	}
	if (connection->state == VN_TCP_FIN_WAIT_2 && connection->is_closing) {
		give_up(connection);
		return;
	}
	if (connection->probes >= connection->options.keepalive_probes) {
		give_up(connection);
		return;
	}
	connection->probes++;
	connection->keepalive_ns = connection->stack->now_ns;
	vn_stack_count(connection->stack, VNIC_STACK_KEEPALIVES, 1);
	vn_tcp_send_bare(connection, connection->nxt - 1, VNIC_TCP_ACK);
}

void vn_tcp_expired(struct vnic_connection *connection)
{
	uint64_t now = connection->stack->now_ns;

	if (now >= connection->life_ns)
		look_whether_alive(connection);
	if (connection->state != VN_TCP_CLOSED && now >= connection->ack_ns) {
		connection->ack_ns = VN_TCP_NEVER;
		connection->ack_now = true;
		vn_tcp_pend(connection);
	}
	if (connection->state != VN_TCP_CLOSED && now >= connection->alarm_ns)
		ring(connection);
	vn_tcp_set_timer(connection);
}

void vn_tcp_time_wait(struct vnic_connection *connection)
{
	struct vnic_stack *stack = connection->stack;
	struct vn_tcp *tcp = stack->tcp;

	connection->state = VN_TCP_TIME_WAIT;
	set(connection, VN_TCP_ALARM_NONE, VN_TCP_NEVER);
	connection->life_ns = stack->now_ns + stack->options.tcp_time_wait_ns;
	vn_tcp_set_timer(connection);
	/* For its user this is the end. */
	vn_tcp_tell(connection, VNIC_CONNECTION_CLOSED, 0);
	/* Not before: a connection that its user opens meanwhile may take the memory of any of these. */
	connection->older = tcp->youngest;
	connection->younger = NULL;
	if (tcp->youngest)
		tcp->youngest->younger = connection;
	else
		tcp->oldest = connection;
	tcp->youngest = connection;
	connection->operations = NULL;
}
