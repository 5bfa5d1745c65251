/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * TCP (RFC 9293) in files of one noun each:
 *
 *     tcp.c             the table of connections, what arrives for none, how one ends
 *     connection.c      the public calls
 *     tcp_listen.c      listeners, handshakes that others begin, SYN cookies
 *     tcp_input.c       a segment arrives at a connection: is it acceptable, what does it bring
 *     tcp_ack.c         what it acknowledges: round trips, losses, recovery, the congestion window
 *     tcp_output.c      what may be sent now, and writing segments
 *     tcp_timer.c       when to look again, and what to do then
 *     tcp_flight.c      what was sent and is not acknowledged, and RACK
 *     tcp_queue.c       what was received out of order
 *     tcp_congestion.c  CUBIC and NewReno, and proportional rate reduction
 *     tcp_options.c     the options of a segment
 *
 * A connection owns no payload that is in order: see vnic/connection.h. What it must keep are the bytes
 * that came too early, and they are bounded for each connection by its window and for all together.
 *
 * Segments are as long as they come: a super-segment of 64 KiB is one segment, costs as much as a short
 * one and gets one ACK. It is cut where somebody cannot take it, behind us. The other way it is the same.
 *
 * Nothing is sent in the middle of a burst but what must not wait (duplicate ACKs, answers to what
 * is not acceptable): a connection that may have something to send is put into a list, and at the end
 * of the burst vn_tcp_flush() has each of them send what it may. So one ACK answers all that came in
 * a burst, and what a user wrote in several pieces goes out in one. All of them together send no more
 * than BUDGET_BYTES before the next burst is taken in; who has more is next in turn then.
 *
 * A connection has one timer, which is set to the earliest of its deadlines. A deadline that moves
 * away (with each ACK that comes) leaves the timer as it is: it expires early, once, and is set anew.
 *
 * Connections are found by a keyed hash of their flow, so that no stranger can choose flows that share a
 * slot. One that ends is taken out of everything at once, and told to its user; its memory is given
 * back at the end of the burst, for its user may have ended it from within one of our calls.
 */
#include "stack/tcp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/siphash.h"

/* As much as is received at once: whoever sends meanwhile waits for no more than that. */
#define BUDGET_BYTES (256u * 1024)
#define SENT_LEAST 4096 /* ranges, however few connections there may be */

enum {
	PURPOSE_TABLE = 0,
	PURPOSE_ISS,
	PURPOSE_TIMESTAMP
};

uint64_t vn_tcp_hash(const struct vnic_stack *stack, const struct vnic_flow *flow, uint32_t purpose,
		     uint32_t more)
{
	uint8_t bytes[48] = {0};

	memcpy(bytes, flow->local_address.bytes, VNIC_IPV6_BYTES);
	memcpy(bytes + 16, flow->remote_address.bytes, VNIC_IPV6_BYTES);
	vn_store16(bytes + 32, flow->local_port);
	vn_store16(bytes + 34, flow->remote_port);
	bytes[36] = (uint8_t)flow->local_address.family;
	vn_store32(bytes + 40, purpose);
	vn_store32(bytes + 44, more);
	return vn_siphash(stack->tcp->secret, bytes, sizeof(bytes));
}

uint32_t vn_tcp_choose_iss(struct vnic_stack *stack, const struct vnic_flow *flow)
{
	/* The clock of RFC 6528 ticks every 4 us, so that a flow that comes again begins higher. */
	return (uint32_t)vn_tcp_hash(stack, flow, PURPOSE_ISS, 0) +
	       (uint32_t)(stack->now_ns / 4000);
}

uint32_t vn_tcp_timestamp_offset(struct vnic_stack *stack, const struct vnic_flow *flow)
{
	return (uint32_t)vn_tcp_hash(stack, flow, PURPOSE_TIMESTAMP, 0);
}

uint32_t vn_tcp_timestamp(const struct vnic_connection *connection)
{
	return connection->timestamp_offset +
	       (uint32_t)(connection->stack->now_ns / VN_TCP_MILLISECOND_NS);
}

static bool is_flow(const struct vnic_flow *a, const struct vnic_flow *b)
{
	return a->local_port == b->local_port && a->remote_port == b->remote_port &&
	       vnic_address_equal(&a->remote_address, &b->remote_address) &&
	       vnic_address_equal(&a->local_address, &b->local_address);
}

struct vnic_connection *vn_tcp_find(struct vnic_stack *stack, const struct vnic_flow *flow)
{
	struct vn_tcp *tcp = stack->tcp;
	uint32_t hash = (uint32_t)vn_tcp_hash(stack, flow, PURPOSE_TABLE, 0);
	struct vnic_connection *connection = tcp->slots[hash & tcp->slot_mask];

	while (connection && (connection->hash != hash || !is_flow(&connection->flow, flow)))
		connection = connection->next;
	return connection;
}

/* Where there is no room the oldest that only waits out its time makes some. */
static struct vnic_connection *take_memory(struct vn_tcp *tcp)
{
	struct vnic_connection *connection = vn_pool_take(&tcp->connections);

	if (connection || !tcp->oldest)
		return connection;
	vn_tcp_end(tcp->oldest, 0);
	/* It was buried last, so its memory is not that of one whose calls we are in. */
	connection = tcp->buried;
	tcp->buried = connection->next;
	memset(connection, 0, sizeof(*connection));
	return connection;
}

void vn_tcp_set_defaults(struct vnic_connection_options *options)
{
	if (options->window_bytes == 0)
		options->window_bytes = 1u << 20;
	if (options->window_bytes > VNIC_CONNECTION_WINDOW_BYTES)
		options->window_bytes = VNIC_CONNECTION_WINDOW_BYTES;
	if (options->keepalive_interval_ns == 0)
		options->keepalive_interval_ns = 75 * VN_SECOND_NS;
	if (options->keepalive_probes == 0)
		options->keepalive_probes = 9;
	if (options->user_timeout_ns == 0)
		options->user_timeout_ns = 120 * VN_SECOND_NS;
}

uint8_t vn_tcp_scale(uint32_t window_bytes)
{
	uint8_t scale = 0;

	/* The largest window is one byte more than the largest scale can tell of. */
	while (scale < VN_TCP_SCALE_MOST && window_bytes >> scale > UINT16_MAX)
		scale++;
	return scale;
}

struct vnic_connection *vn_tcp_make(struct vnic_stack *stack, const struct vnic_flow *flow,
				    const struct vnic_connection_options *options)
{
	struct vn_tcp *tcp = stack->tcp;
	struct vnic_connection *connection = tcp->is_freed ? NULL : take_memory(tcp);

	if (!connection)
		return NULL;
	connection->stack = stack;
	connection->flow = *flow;
	if (options)
		connection->options = *options;
	vn_tcp_set_defaults(&connection->options);
	connection->receive_scale = vn_tcp_scale(connection->options.window_bytes);
	connection->hash = (uint32_t)vn_tcp_hash(stack, flow, PURPOSE_TABLE, 0);
	connection->next = tcp->slots[connection->hash & tcp->slot_mask];
	tcp->slots[connection->hash & tcp->slot_mask] = connection;
	connection->iss = vn_tcp_choose_iss(stack, flow);
	connection->timestamp_offset = vn_tcp_timestamp_offset(stack, flow);
	connection->mss_bytes = vn_tcp_mss(stack, &flow->remote_address, true);
	connection->end = 1;
	connection->rto_ns = VN_SECOND_NS;
	connection->alarm_ns = connection->ack_ns = connection->life_ns = VN_TCP_NEVER;
	connection->reorder_ns = VN_TCP_NEVER;
	connection->opened_ns = stack->now_ns;
	connection->heard_ns = connection->progress_ns = connection->sent_ns = stack->now_ns;
	connection->quick_acks = 16;
	vn_tcp_flight_init(&connection->flight);
	vn_tcp_congestion_init(&connection->congestion, connection->options.congestion,
			       connection->mss_bytes);
	vn_stack_count(stack, VNIC_STACK_CONNECTIONS, 1);
	return connection;
}

void vn_tcp_count_half_open(struct vnic_connection *connection, int amount)
{
	vn_stack_count(connection->stack, VNIC_STACK_HALF_OPEN, amount);
	if (connection->listener)
		connection->listener->half_open += (unsigned)amount;
}

void vn_tcp_tell(struct vnic_connection *connection, enum vnic_connection_event event, int code)
{
	if (connection->operations && connection->operations->event)
		connection->operations->event(connection, connection->user, event, code);
}

static void unlink_from_slot(struct vn_tcp *tcp, struct vnic_connection *connection)
{
	struct vnic_connection **link = &tcp->slots[connection->hash & tcp->slot_mask];

	while (*link != connection)
		link = &(*link)->next;
	*link = connection->next;
}

static void unlink_from_waiting(struct vn_tcp *tcp, struct vnic_connection *connection)
{
	if (connection->older)
		connection->older->younger = connection->younger;
	else
		tcp->oldest = connection->younger;
	if (connection->younger)
		connection->younger->older = connection->older;
	else
		tcp->youngest = connection->older;
}

static void unlink_from_pending(struct vn_tcp *tcp, struct vnic_connection *connection)
{
	struct vnic_connection **link = &tcp->pending_first;

	if (!connection->is_pending)
		return;
	while (*link != connection)
		link = &(*link)->pending_next;
	*link = connection->pending_next;
	if (!*link)
		tcp->pending_last = link;
	connection->is_pending = false;
}

static void count_end(struct vnic_connection *connection, int code)
{
	if (connection->state == VN_TCP_SYN_SENT || connection->state == VN_TCP_SYN_RECEIVED)
		vn_stack_count(connection->stack, VNIC_STACK_REFUSED, 1);
	else if (code == -ECONNRESET || code == -ECONNABORTED)
		vn_stack_count(connection->stack, VNIC_STACK_ABORTED, 1);
	if (code == -ETIMEDOUT)
		vn_stack_count(connection->stack, VNIC_STACK_TIMED_OUT, 1);
}

void vn_tcp_end(struct vnic_connection *connection, int code)
{
	struct vnic_stack *stack = connection->stack;
	struct vn_tcp *tcp = stack->tcp;
	uint64_t before = tcp->out_of_order_bytes;
	bool was_told;

	if (connection->state == VN_TCP_CLOSED)
		return;
	count_end(connection, code);
	if (connection->state == VN_TCP_SYN_RECEIVED)
		vn_tcp_count_half_open(connection, -1);
	if (connection->state == VN_TCP_TIME_WAIT)
		unlink_from_waiting(tcp, connection);
	/* In TIME-WAIT its user knows already that it is over. */
	was_told = connection->state == VN_TCP_TIME_WAIT;
	connection->state = VN_TCP_CLOSED;
	connection->listener = NULL;
	vn_timer_clear(&tcp->timers, &connection->timer);
	unlink_from_slot(tcp, connection);
	unlink_from_pending(tcp, connection);
	vn_tcp_flight_done(&connection->flight, &tcp->sent);
	vn_tcp_queue_done(&connection->queue, &tcp->out_of_order_bytes);
	vn_stack_count(stack, VNIC_STACK_OUT_OF_ORDER_BYTES,
		       (int64_t)(tcp->out_of_order_bytes - before));
	vn_stack_count(stack, VNIC_STACK_CONNECTIONS, -1);
	if (!was_told)
		vn_tcp_tell(connection, VNIC_CONNECTION_CLOSED, code);
	connection->operations = NULL;
	connection->next = tcp->buried;
	tcp->buried = connection;
	vn_stack_wake(stack, stack->now_ns);
}

void vn_tcp_pend(struct vnic_connection *connection)
{
	struct vn_tcp *tcp = connection->stack->tcp;

	if (connection->is_pending || connection->state == VN_TCP_CLOSED)
		return;
	connection->is_pending = true;
	connection->pending_next = NULL;
	*tcp->pending_last = connection;
	tcp->pending_last = &connection->pending_next;
	vn_stack_wake(connection->stack, connection->stack->now_ns);
}

static uint64_t next_ns(const struct vnic_stack *stack)
{
	return stack->tcp->pending_first ? stack->now_ns : vn_timers_next(&stack->tcp->timers);
}

/*
 * Who has more to send than the budget allows is pending again, behind the others, and the stack wants
 * to be called at once: its user can take in what has come meanwhile.
 */
void vn_tcp_flush(struct vnic_stack *stack)
{
	struct vn_tcp *tcp = stack->tcp;
	struct vnic_connection *connection;

	tcp->budget_bytes = BUDGET_BYTES;
	while (tcp->budget_bytes > 0 && (connection = tcp->pending_first) != NULL) {
		tcp->pending_first = connection->pending_next;
		if (!tcp->pending_first)
			tcp->pending_last = &tcp->pending_first;
		connection->is_pending = false;
		vn_tcp_output(connection);
	}
	while ((connection = tcp->buried) != NULL) {
		tcp->buried = connection->next;
		vn_pool_give(&tcp->connections, connection);
	}
	vn_stack_wake(stack, next_ns(stack));
}

uint64_t vn_tcp_advance(struct vnic_stack *stack)
{
	struct vn_tcp *tcp = stack->tcp;
	struct vn_timer *timer;

	while ((timer = vn_timers_expired(&tcp->timers, stack->now_ns)) != NULL)
		vn_tcp_expired((struct vnic_connection *)timer);
	vn_tcp_flush(stack);
	return next_ns(stack);
}

vn_verdict vn_tcp_reset(struct vnic_stack *stack, const struct vn_tcp_segment *segment)
{
	const struct vn_input *input = segment->input;
	const struct vnic_tcp *tcp = &segment->tcp;
	size_t header = vn_output_ip_header_bytes(input->source.family);
	struct vnic_tcp reset = {
		.source_port = tcp->destination_port,
		.destination_port = tcp->source_port,
		.flags = VNIC_TCP_RST,
	};
	uint8_t *ip;

	if (tcp->flags & VNIC_TCP_RST)
		return VNIC_STACK_DROP_UNWANTED;
	/* A flood of forged segments must not become one of resets. */
	if (!vn_error_allowed(stack))
		return VNIC_STACK_DROP_ERROR_RATE;
	if (tcp->flags & VNIC_TCP_ACK) {
		reset.sequence = tcp->acknowledgment;
	} else {
		reset.flags |= VNIC_TCP_ACK;
		reset.acknowledgment = tcp->sequence + (uint32_t)(segment->end - segment->begin);
	}
	ip = vn_output_buffer(stack);
	vnic_tcp_build(ip + header, VNIC_TCP_HEADER_BYTES, &input->destination, &input->source,
		       &reset, 0);
	vn_output_ip_header(stack, ip, &input->destination, &input->source, VNIC_PROTOCOL_TCP, 0,
			    stack->options.ttl, VNIC_TCP_HEADER_BYTES);
	vn_output_ip(stack, &input->link, ip, header + VNIC_TCP_HEADER_BYTES);
	return VNIC_STACK_RESETS;
}

/* Congestion Experienced, in the field that both versions have (RFC 3168 section 5). */
static bool has_mark(const struct vn_input *input)
{
	uint8_t field =
		input->source.family == VNIC_IPV4 ? input->ipv4.tos : (uint8_t)(input->ip[1] >> 4);

	return (field & 3) == 3;
}

vn_verdict vn_tcp_input(struct vnic_stack *stack, struct vn_input *input)
{
	const uint8_t *bytes = input->ip + input->transport;
	uint32_t length_bytes = input->ip_bytes - input->transport;
	struct vn_tcp_segment segment;
	struct vnic_connection *connection;
	struct vnic_flow flow;
	int known = vn_input_checksum(input), header_bytes;

	header_bytes = vnic_tcp_parse(bytes, length_bytes, &segment.tcp);
	/* Port 0 is nobody's (RFC 6335 section 6), so there is nobody to be answered either. */
	if (known < 0 || header_bytes < 0 || segment.tcp.source_port == 0 ||
	    segment.tcp.destination_port == 0)
		return VNIC_STACK_DROP_MALFORMED;
	if (known == 0 &&
	    vnic_tcp_verify(bytes, length_bytes, &input->source, &input->destination) < 0)
		return VNIC_STACK_DROP_CHECKSUM;
	if (input->group || input->link_group)
		return segment.tcp.flags & VNIC_TCP_RST ? VNIC_STACK_DROP_UNWANTED
							: VNIC_STACK_DROP_NOT_ANSWERABLE;
	segment.input = input;
	segment.payload = bytes + header_bytes;
	segment.payload_bytes = length_bytes - (uint32_t)header_bytes;
	segment.has_mark = has_mark(input);
	segment.begin = 0;
	segment.end = (int64_t)segment.payload_bytes + !!(segment.tcp.flags & VNIC_TCP_SYN) +
		      !!(segment.tcp.flags & VNIC_TCP_FIN);
	vn_tcp_options_parse(&segment.tcp, &segment.options);
	if (segment.has_mark)
		vn_stack_count(stack, VNIC_STACK_CONGESTION_MARKS, 1);

	flow.local_address = input->destination;
	flow.remote_address = input->source;
	flow.local_port = segment.tcp.destination_port;
	flow.remote_port = segment.tcp.source_port;
	connection = vn_tcp_find(stack, &flow);
	if (!connection)
		return vn_tcp_listen_input(stack, &segment, &flow);
	return vn_tcp_segment_input(connection, &segment);
}

/* Quoted are the ports and the sequence number, of a segment that must be in flight (RFC 5927). */
vn_verdict vn_tcp_notice(struct vnic_stack *stack, const struct vn_notice *notice)
{
	struct vnic_connection *connection = vn_tcp_find(stack, &notice->flow);
	int64_t position;

	if (!connection || notice->transport_bytes < 8)
		return VNIC_STACK_DROP_NOTICE;
	position =
		vn_tcp_unwrap(connection->una, connection->iss, vn_load32(notice->transport + 4));
	if (position < (int64_t)connection->una || position >= (int64_t)connection->nxt)
		return VNIC_STACK_DROP_NOTICE;
	if (notice->code == -EMSGSIZE) {
		if (vn_path_learn(stack, &notice->flow.remote_address, notice->mtu_bytes))
			vn_tcp_shrink(connection);
		return VNIC_STACK_NOTICES;
	}
	/* RFC 1122 section 4.2.3.9 has some of them abort; RFC 5927 section 6 says when not to. */
	if (connection->state == VN_TCP_SYN_SENT || connection->state == VN_TCP_SYN_RECEIVED)
		vn_tcp_end(connection, notice->code);
	else
		connection->soft_error = (int8_t)notice->code;
	return VNIC_STACK_NOTICES;
}

int vn_tcp_new(struct vnic_stack *stack)
{
	struct vn_tcp *tcp = calloc(1, sizeof(*tcp));
	uint32_t slots = 64, ranges = stack->options.tcp_connections * VN_TCP_FLIGHT_SHARE;

	if (!tcp)
		return -ENOMEM;
	stack->tcp = tcp;
	while (slots < stack->options.tcp_connections)
		slots *= 2;
	tcp->slot_mask = slots - 1;
	tcp->pending_last = &tcp->pending_first;
	vn_pool_init(&tcp->connections, sizeof(struct vnic_connection),
		     stack->options.tcp_connections);
	vn_pool_init(&tcp->listeners, sizeof(struct vnic_listener), stack->options.tcp_listeners);
	vn_pool_init(&tcp->sent, sizeof(struct vn_tcp_sent),
		     ranges > SENT_LEAST ? ranges : SENT_LEAST);
	vn_timers_init(&tcp->timers, 0);
	/* The system hands it out as it is touched. */
	tcp->slots = calloc(slots, sizeof(struct vnic_connection *));
	if (!tcp->slots)
		return -ENOMEM;
	vn_stack_random(stack, tcp->secret, sizeof(tcp->secret));
	return 0;
}

void vn_tcp_free(struct vnic_stack *stack)
{
	struct vn_tcp *tcp = stack->tcp;

	if (!tcp)
		return;
	/* Users are told. Whoever connects again then would have to be told for ever. */
	tcp->is_freed = true;
	for (uint32_t i = 0; tcp->slots && i <= tcp->slot_mask; i++)
		while (tcp->slots[i])
			vn_tcp_end(tcp->slots[i], -ECONNABORTED);
	vn_pool_done(&tcp->connections);
	vn_pool_done(&tcp->listeners);
	vn_pool_done(&tcp->sent);
	free(tcp->slots);
	free(tcp);
	stack->tcp = NULL;
}
