/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * What a connection may send now, and segments as bytes.
 *
 * First what is lost, then what is new, both as far as the congestion window allows; what is new also as
 * far as the other end's window does. A segment is as long as the payload that may go, up to 64 KiB:
 * longer than the MTU allows it is a super-segment, which carries a description of how to cut it
 * (segments of vn_tcp_payload_most() bytes). With options.plain none is longer than that.
 *
 * Small segments are held back as Minshall's variant of Nagle's algorithm has it (RFC 9293 section 3.7.4
 * asks for one): while another small one is on its way. So one write that ends in a small segment never
 * waits. For a window that is nearly closed RFC 9293 section 3.8.6.2.1 is followed.
 *
 * Every segment carries an ACK and the window. The window's edge is moved only by a segment's worth or more
 * (section 3.8.6.2.2), and never back.
 */
#include <string.h>

#include "base/bytes.h"
#include "stack/tcp.h"

#define ECT0 2 /* RFC 3168 section 5 */
#define PAYLOAD_MOST 65535u
#define FRAGMENT_MSS_BYTES (552 - VNIC_IPV4_HEADER_BYTES - VNIC_TCP_HEADER_BYTES)

/* A segment to be written. */
struct segment {
	uint64_t position;
	uint32_t payload_bytes;
	uint8_t flags;
	bool is_new; /* it carries data for the first time */
};

static size_t headers_bytes(const struct vnic_connection *connection)
{
	return vn_output_ip_header_bytes(connection->flow.remote_address.family) +
	       VNIC_TCP_HEADER_BYTES;
}

/*
 * True if somebody behind us cuts segments and completes their checksums. Not where the link takes less than
 * the least segment: those are fragmented by us.
 */
static bool may_offload(const struct vnic_connection *connection)
{
	const struct vnic_stack_options *options = &connection->stack->options;

	return !options->plain && connection->has_link &&
	       options->mtu_bytes >= VN_TCP_MSS_LEAST + headers_bytes(connection);
}

uint16_t vn_tcp_mss(const struct vnic_stack *stack, const struct vnic_address *remote, bool of_path)
{
	unsigned mtu = of_path ? vn_path_mtu(stack, remote) : stack->options.mtu_bytes;
	unsigned headers =
		(unsigned)vn_output_ip_header_bytes(remote->family) + VNIC_TCP_HEADER_BYTES;

	return (uint16_t)(mtu > headers + VN_TCP_MSS_LEAST ? mtu - headers : VN_TCP_MSS_LEAST);
}

/* What a segment of an established connection carries. */
static uint8_t build_options(const struct vnic_connection *connection,
			     uint8_t bytes[VN_TCP_OPTIONS_BYTES])
{
	struct vn_tcp_options options = {.has_timestamps = connection->has_timestamps};
	struct vn_tcp_range runs[VN_TCP_SACKS];
	unsigned count = 0;

	if (connection->has_timestamps) {
		options.timestamp = vn_tcp_timestamp(connection);
		options.timestamp_echo = connection->timestamp_recent;
	}
	if (connection->has_sack) {
		if (connection->has_dsack)
			runs[count++] = connection->dsack;
		if (connection->queue.bytes > 0)
			count += vn_tcp_queue_runs(&connection->queue, runs + count,
						   VN_TCP_SACKS - count);
	}
	for (unsigned i = 0; i < count; i++) {
		options.sacks[i].begin = connection->irs + (uint32_t)runs[i].begin;
		options.sacks[i].end = connection->irs + (uint32_t)runs[i].end;
	}
	options.sack_count = (uint8_t)count;
	return vn_tcp_options_build(&options, bytes);
}

uint32_t vn_tcp_payload_most(const struct vnic_connection *connection)
{
	uint8_t bytes[VN_TCP_OPTIONS_BYTES];
	uint32_t options_bytes = build_options(connection, bytes);

	/* VN_TCP_MSS_LEAST leaves room behind all options. */
	return connection->mss_bytes > options_bytes ? connection->mss_bytes - options_bytes : 1;
}

static uint32_t room_of(struct vnic_connection *connection)
{
	uint32_t most = connection->options.window_bytes;
	size_t room = most;

	if (!connection->has_scale && most > UINT16_MAX)
		most = UINT16_MAX;
	if (connection->operations && connection->operations->room)
		room = connection->operations->room(connection, connection->user);
	if (room > most)
		room = most;
	if (room > connection->room_most_bytes && connection->operations)
		connection->room_most_bytes = (uint32_t)room;
	return (uint32_t)room;
}

/* The window to be written into a segment; moves its edge. */
static uint16_t offer_window(struct vnic_connection *connection)
{
	uint64_t edge = connection->rcv_nxt + room_of(connection);
	/* Half of what its user has room for, which may be less than window_bytes. */
	uint32_t step = connection->room_most_bytes / 2, left;

	if (step > connection->mss_bytes)
		step = connection->mss_bytes;
	if (edge >= connection->rcv_edge + step)
		connection->rcv_edge = edge;
	/* Rounded up, so that what was offered before is not taken back. */
	left = (uint32_t)(connection->rcv_edge - connection->rcv_nxt);
	left = (left + (1u << connection->receive_scale) - 1) >> connection->receive_scale;
	if (left > UINT16_MAX)
		left = UINT16_MAX;
	connection->rcv_edge = connection->rcv_nxt + ((uint64_t)left << connection->receive_scale);
	return (uint16_t)left;
}

/* True if the other end should hear of room that it does not know of (it may be waiting for it). */
static bool wants_update(struct vnic_connection *connection)
{
	uint64_t left = connection->rcv_edge - connection->rcv_nxt;
	uint32_t half = connection->room_most_bytes / 2, step = 2u * connection->mss_bytes;
	uint64_t edge;

	if (left > half || connection->fin_known || connection->is_closing)
		return false;
	edge = connection->rcv_nxt + room_of(connection);
	return edge >= connection->rcv_edge + (step < half ? step : half);
}

/*
 * What is too long for a router we want to hear of, but not below the least path MTU that we believe: from there
 * on routers fragment, or a path with less would take nothing at all (path.c).
 */
static uint8_t *build_ip(struct vnic_stack *stack, const struct vnic_flow *flow, uint8_t *ip,
			 uint8_t traffic_class, size_t payload_bytes, uint16_t mss_bytes)
{
	const struct vnic_address *local = &flow->local_address, *remote = &flow->remote_address;

	if (local->family == VNIC_IPV4) {
		struct vnic_ipv4 ipv4 = {
			.tos = traffic_class,
			.ttl = stack->options.ttl,
			.protocol = VNIC_PROTOCOL_TCP,
			.dont_fragment = mss_bytes > FRAGMENT_MSS_BYTES,
			.identification = (uint16_t)vn_stack_random32(stack),
			.total_bytes = (uint16_t)(VNIC_IPV4_HEADER_BYTES + payload_bytes),
		};

		memcpy(ipv4.source, local->bytes, VNIC_IPV4_BYTES);
		memcpy(ipv4.destination, remote->bytes, VNIC_IPV4_BYTES);
		vnic_ipv4_build(ip, VNIC_IPV4_HEADER_BYTES, &ipv4);
		return ip + VNIC_IPV4_HEADER_BYTES;
	}
	return ip + vn_output_ip_header(stack, ip, local, remote, VNIC_PROTOCOL_TCP, traffic_class,
					stack->options.ttl, payload_bytes);
}

/* Memory for a segment with so much payload, and whether it is a super-segment. */
static uint8_t *take_buffer(struct vnic_connection *connection, uint32_t payload_bytes)
{
	size_t whole = headers_bytes(connection) + VN_TCP_OPTIONS_BYTES + payload_bytes;

	return whole > VN_OUTPUT_SMALL_BYTES ? vn_output_large(connection->stack)
					     : vn_output_buffer(connection->stack);
}

static void fill_tcp(struct vnic_connection *connection, const struct segment *segment,
		     struct vnic_tcp *tcp)
{
	tcp->source_port = connection->flow.local_port;
	tcp->destination_port = connection->flow.remote_port;
	tcp->sequence = connection->iss + (uint32_t)segment->position;
	tcp->flags = segment->flags;
	if (segment->flags & VNIC_TCP_ACK)
		tcp->acknowledgment = connection->irs + (uint32_t)connection->rcv_nxt;
	if (connection->has_ecn && connection->echo_mark && !(segment->flags & VNIC_TCP_SYN))
		tcp->flags |= VNIC_TCP_ECE;
	if (segment->is_new && segment->payload_bytes > 0 && connection->say_reduced) {
		tcp->flags |= VNIC_TCP_CWR;
		connection->say_reduced = false;
	}
}

/* An ACK is on its way. */
static void note_acknowledged(struct vnic_connection *connection)
{
	connection->acknowledged = connection->rcv_nxt;
	connection->unacknowledged_bytes = 0;
	connection->ack_now = false;
	connection->ack_ns = VN_TCP_NEVER;
	connection->has_dsack = false;
}

static void describe(const struct vnic_connection *connection, struct vnic_packet *packet,
		     const struct vnic_tcp *tcp, uint8_t *bytes, uint32_t tcp_bytes,
		     uint32_t payload_bytes)
{
	const struct vnic_flow *flow = &connection->flow;
	uint32_t sum = vnic_checksum_add_pseudo(0, &flow->local_address, &flow->remote_address,
						VNIC_PROTOCOL_TCP, tcp_bytes + payload_bytes);
	uint32_t most = connection->mss_bytes - (tcp_bytes - VNIC_TCP_HEADER_BYTES);

	vn_store16(bytes + 16, vnic_checksum_fold(sum));
	packet->flags = VNIC_PACKET_NEEDS_CSUM;
	packet->csum_start = (uint16_t)(bytes - packet->data);
	packet->csum_offset = 16;
	if (payload_bytes <= most)
		return;
	packet->gso_type = flow->local_address.family == VNIC_IPV4 ? VNIC_GSO_TCP4 : VNIC_GSO_TCP6;
	packet->gso_size_bytes = (uint16_t)most;
	packet->gso_ecn = tcp->flags & VNIC_TCP_CWR;
}

/* Write the headers before a payload and send it. ip is of take_buffer(). */
static void send_segment(struct vnic_connection *connection, const struct segment *segment,
			 struct vnic_tcp *tcp, uint8_t *ip)
{
	struct vnic_stack *stack = connection->stack;
	const struct vnic_flow *flow = &connection->flow;
	uint32_t tcp_bytes = VNIC_TCP_HEADER_BYTES + (uint32_t)tcp->options_bytes;
	uint8_t class = connection->has_ecn && segment->is_new && segment->payload_bytes ? ECT0 : 0;
	uint8_t *bytes = build_ip(stack, flow, ip, class, tcp_bytes + segment->payload_bytes,
				  connection->mss_bytes);
	bool is_open = may_offload(connection);
	struct vnic_packet packet = {.data = ip};

	packet.length_bytes = (uint32_t)(bytes - ip) + tcp_bytes + segment->payload_bytes;
	fill_tcp(connection, segment, tcp);
	/* Where the checksum is left open it is not computed over the payload. */
	vnic_tcp_build(bytes, tcp_bytes + segment->payload_bytes, &flow->local_address,
		       &flow->remote_address, tcp, is_open ? 0 : segment->payload_bytes);
	if (is_open)
		describe(connection, &packet, tcp, bytes, tcp_bytes, segment->payload_bytes);
	connection->counts.sent_segments++;
	vn_stack_count(stack, VNIC_STACK_SEGMENTS_SENT, 1);
	if (tcp->flags & VNIC_TCP_ACK)
		note_acknowledged(connection);
	if (!connection->has_link)
		vn_neighbor_send(stack, ip, packet.length_bytes);
	else if (is_open || packet.length_bytes <= stack->options.mtu_bytes)
		vn_output_packet(stack, &connection->link, &packet);
	else
		vn_output_ip(stack, &connection->link, ip, packet.length_bytes);
}

void vn_tcp_send_bare(struct vnic_connection *connection, uint64_t position, uint8_t flags)
{
	struct segment segment = {.position = position, .flags = flags};
	struct vnic_tcp tcp = {0};
	uint8_t *ip = take_buffer(connection, 0);

	if (flags & VNIC_TCP_ACK && !(flags & VNIC_TCP_RST))
		tcp.window = offer_window(connection);
	tcp.options_bytes = build_options(connection, tcp.options);
	send_segment(connection, &segment, &tcp, ip);
}

void vn_tcp_send_ack(struct vnic_connection *connection)
{
	vn_tcp_send_bare(connection, connection->nxt, VNIC_TCP_ACK);
}

static uint16_t syn_window(struct vnic_connection *connection)
{
	uint32_t room = room_of(connection);

	return (uint16_t)(room > UINT16_MAX ? UINT16_MAX : room);
}

void vn_tcp_send_syn(struct vnic_connection *connection)
{
	struct vnic_stack *stack = connection->stack;
	const struct vnic_connection_options *ours = &connection->options;
	bool answers = connection->state == VN_TCP_SYN_RECEIVED;
	struct segment segment = {.flags = VNIC_TCP_SYN | (answers ? VNIC_TCP_ACK : 0)};
	struct vnic_tcp tcp = {.window = syn_window(connection)};
	struct vn_tcp_options options = {
		.has_mss = true,
		.mss_bytes = vn_tcp_mss(stack, &connection->flow.remote_address, false),
		.has_scale = answers ? connection->has_scale : true,
		.scale = connection->receive_scale,
		.sack_permitted = answers ? connection->has_sack : !ours->no_sack,
		.has_timestamps = answers ? connection->has_timestamps : !ours->no_timestamps,
		.timestamp = vn_tcp_timestamp(connection),
		.timestamp_echo = answers ? connection->timestamp_recent : 0,
	};
	uint8_t *ip = take_buffer(connection, 0);

	/* Not of a SYN that was lost: something on the way may not like it (RFC 3168 section 6.1.1.1). */
	if (answers && connection->has_ecn)
		segment.flags |= VNIC_TCP_ECE;
	else if (!answers && !ours->no_ecn && connection->retries == 0)
		segment.flags |= VNIC_TCP_ECE | VNIC_TCP_CWR;
	tcp.options_bytes = vn_tcp_options_build(&options, tcp.options);
	if (connection->nxt == 0) {
		if (vn_tcp_flight_sent(&connection->flight, &stack->tcp->sent, 0, 1,
				       stack->now_ns) < 0)
			return;
		connection->nxt = 1;
	} else if (connection->flight.first) {
		connection->flight.first->retransmitted = true;
		connection->flight.first->sent_ns = stack->now_ns;
	}
	if (answers)
		connection->rcv_edge = 1 + (uint64_t)tcp.window;
	send_segment(connection, &segment, &tcp, ip);
}

void vn_tcp_send_cookie(struct vnic_stack *stack, const struct vn_tcp_segment *segment,
			const struct vnic_flow *flow, uint32_t sequence,
			const struct vn_tcp_options *options, uint16_t window)
{
	struct vnic_tcp tcp = {
		.source_port = flow->local_port,
		.destination_port = flow->remote_port,
		.sequence = sequence,
		.acknowledgment = segment->tcp.sequence + 1,
		.flags = VNIC_TCP_SYN | VNIC_TCP_ACK,
		.window = window,
	};
	uint8_t *ip = vn_output_buffer(stack), *bytes;
	uint32_t tcp_bytes;

	tcp.options_bytes = vn_tcp_options_build(options, tcp.options);
	tcp_bytes = VNIC_TCP_HEADER_BYTES + (uint32_t)tcp.options_bytes;
	bytes = build_ip(stack, flow, ip, 0, tcp_bytes, UINT16_MAX);
	vnic_tcp_build(bytes, tcp_bytes, &flow->local_address, &flow->remote_address, &tcp, 0);
	vn_stack_count(stack, VNIC_STACK_SEGMENTS_SENT, 1);
	vn_output_ip(stack, &segment->input->link, ip, (size_t)(bytes - ip) + tcp_bytes);
}

static uint32_t super_bytes(const struct vnic_connection *connection, uint32_t most)
{
	uint32_t room = PAYLOAD_MOST - (uint32_t)headers_bytes(connection) - VN_TCP_OPTIONS_BYTES;

	if (!may_offload(connection) || most > room)
		return most;
	return room - room % most;
}

/* Remember that positions are sent: those of `sent` again, else new ones. @return false: no memory */
static bool note_flight(struct vnic_connection *connection, uint64_t position, uint32_t length,
			struct vn_tcp_sent *sent)
{
	struct vnic_stack *stack = connection->stack;
	struct vn_pool *pool = &stack->tcp->sent;

	if (!sent)
		return vn_tcp_flight_sent(&connection->flight, pool, position, position + length,
					  stack->now_ns) == 0;
	vn_tcp_flight_resent(&connection->flight, pool, sent, length, stack->now_ns);
	return true;
}

/*
 * Read payload and send it. @return how much it was; 0: there was none, or the connection has ended.
 * For data that is sent again sent says which.
 */
static uint32_t send_payload(struct vnic_connection *connection, uint64_t position,
			     uint32_t length_bytes, uint8_t flags, struct vn_tcp_sent *sent)
{
	const struct vnic_connection_operations *operations = connection->operations;
	struct vnic_stack *stack = connection->stack;
	struct segment segment = {.position = position, .flags = flags, .is_new = !sent};
	struct vnic_tcp tcp = {0};
	uint8_t *ip = take_buffer(connection, length_bytes);
	size_t got = 0;

	tcp.options_bytes = build_options(connection, tcp.options);
	if (operations && operations->read)
		got = operations->read(connection, connection->user, position - 1,
				       ip + headers_bytes(connection) + tcp.options_bytes,
				       length_bytes);
	if (connection->state == VN_TCP_CLOSED)
		return 0;
	if (got < length_bytes) {
		connection->is_starved = true;
		segment.flags &= (uint8_t)~VNIC_TCP_FIN;
	}
	if (got == 0)
		return 0;
	segment.payload_bytes = got < length_bytes ? (uint32_t)got : length_bytes;
	if (!note_flight(connection, position,
			 segment.payload_bytes + !!(segment.flags & VNIC_TCP_FIN), sent))
		return 0;
	tcp.window = offer_window(connection);
	send_segment(connection, &segment, &tcp, ip);
	connection->sent_ns = stack->now_ns;
	stack->tcp->budget_bytes -= segment.payload_bytes < stack->tcp->budget_bytes
					    ? segment.payload_bytes
					    : stack->tcp->budget_bytes;
	if (connection->is_recovering && !connection->is_timed_out)
		vn_tcp_congestion_sent(&connection->congestion, segment.payload_bytes);
	return segment.payload_bytes;
}

/* What the congestion window leaves; one segment, if nothing is on its way. */
static uint32_t allowance(const struct vnic_connection *connection)
{
	uint32_t pipe = vn_tcp_pipe(connection), window = connection->congestion.window_bytes;

	if (pipe == 0 && window < connection->mss_bytes)
		window = connection->mss_bytes;
	return window > pipe ? window - pipe : 0;
}

/*
 * is_oldest: it was the first one in flight, and never sent again before. Only the ACK for such a segment shows
 * whether it had arrived by itself (RFC 3522 section 3.2).
 */
static void note_resent(struct vnic_connection *connection, uint32_t bytes, uint32_t most,
			bool is_oldest)
{
	struct vnic_stack *stack = connection->stack;
	uint32_t segments = (bytes + most - 1) / most;

	if (segments == 0)
		segments = 1;
	connection->counts.retransmitted_bytes += bytes;
	connection->counts.retransmitted_segments += segments;
	vn_stack_count(stack, VNIC_STACK_RETRANSMITTED, segments);
	if (!connection->undo_decided && connection->is_recovering) {
		connection->undo_decided = true;
		connection->undo_possible = is_oldest;
		connection->timestamp_undo = vn_tcp_timestamp(connection);
	}
}

/* A FIN by itself is sent, for the first time or again. */
static void send_fin(struct vnic_connection *connection, struct vn_tcp_sent *sent)
{
	if (note_flight(connection, connection->end, 1, sent))
		vn_tcp_send_bare(connection, connection->end, VNIC_TCP_FIN | VNIC_TCP_ACK);
}

/* The budget is used up: others first. */
static bool must_wait(struct vnic_connection *connection)
{
	if (connection->stack->tcp->budget_bytes > 0)
		return false;
	vn_tcp_pend(connection);
	return true;
}

static void send_lost(struct vnic_connection *connection)
{
	struct vn_tcp_sent *sent;

	while ((sent = vn_tcp_flight_lost(&connection->flight)) != NULL && !must_wait(connection)) {
		uint32_t most = vn_tcp_payload_most(connection), allowed = allowance(connection);
		uint32_t super = super_bytes(connection, most), length;
		uint64_t last = sent->begin + vn_tcp_flight_lost_run(sent, super + 1), end = last;
		bool is_oldest = sent == connection->flight.first && !sent->retransmitted;
		uint8_t flags = VNIC_TCP_ACK;

		if (connection->fin_sent && end > connection->end)
			end = connection->end;
		length = end - sent->begin < super ? (uint32_t)(end - sent->begin) : super;
		if (length > allowed) {
			if (allowed < most)
				break;
			length = allowed - allowed % most;
		}
		if (end == sent->begin) {
			send_fin(connection, sent);
			note_resent(connection, 0, most, is_oldest);
			continue;
		}
		if (sent->begin + length == end && end < last)
			flags |= VNIC_TCP_FIN;
		length = send_payload(connection, sent->begin, length, flags, sent);
		if (length == 0)
			break;
		note_resent(connection, length, most, is_oldest);
	}
}

/* How much of what is offered may go now. most: in one segment. */
static uint32_t choose_length(struct vnic_connection *connection, uint32_t most)
{
	uint64_t edge = connection->una + connection->send_window_bytes;
	uint64_t available = connection->is_starved || connection->fin_sent
				     ? 0
				     : connection->end - connection->nxt;
	uint32_t usable = edge > connection->nxt ? (uint32_t)(edge - connection->nxt) : 0;
	uint32_t allowed = allowance(connection), super = super_bytes(connection, most);
	uint32_t length = available < super ? (uint32_t)available : super;
	bool is_whole;

	connection->is_limited = false;
	if (length > usable)
		length = usable;
	if (length > allowed) {
		length = allowed;
		connection->is_limited = true;
	}
	is_whole = length == available;
	if (length >= most) {
		uint32_t rest = length % most;

		if (rest > 0 &&
		    (!is_whole || (connection->small_end > connection->una &&
				   !connection->options.no_nagle && !connection->fin_wanted)))
			length -= rest;
		return length;
	}
	if (length == 0)
		return 0;
	if (is_whole)
		return connection->small_end > connection->una && !connection->options.no_nagle &&
				       !connection->fin_wanted
			       ? 0
			       : length;
	/* The rest of a window that is nearly full. */
	if (!connection->is_limited &&
	    (length >= connection->send_window_most_bytes / 2 || connection->override))
		return length;
	return 0;
}

static void note_fin(struct vnic_connection *connection)
{
	connection->fin_sent = true;
	connection->nxt = connection->end + 1;
	if (connection->state == VN_TCP_ESTABLISHED)
		connection->state = VN_TCP_FIN_WAIT_1;
	else if (connection->state == VN_TCP_CLOSE_WAIT)
		connection->state = VN_TCP_LAST_ACK;
}

static void send_new(struct vnic_connection *connection)
{
	uint32_t most = vn_tcp_payload_most(connection), length;
	bool was_limited = connection->is_limited;

	if (connection->flight.count == 0 && connection->nxt < connection->end) {
		if (connection->stack->now_ns - connection->sent_ns > connection->rto_ns)
			vn_tcp_congestion_idle(&connection->congestion, connection->mss_bytes);
		connection->progress_ns = connection->stack->now_ns;
	}
	while ((length = choose_length(connection, most)) > 0) {
		uint64_t end = connection->nxt + length;
		bool is_last = end == connection->end;
		bool has_fin = is_last && connection->fin_wanted;
		uint32_t sent;

		if (must_wait(connection)) {
			/* The window may still turn out to be what keeps it. */
			connection->is_limited = was_limited;
			return;
		}
		sent = send_payload(connection, connection->nxt, length,
				    (uint8_t)(VNIC_TCP_ACK | (is_last ? VNIC_TCP_PSH : 0) |
					      (has_fin ? VNIC_TCP_FIN : 0)),
				    NULL);
		if (sent == 0)
			return;
		connection->nxt += sent;
		connection->override = false;
		if (sent % most > 0)
			connection->small_end = connection->nxt;
		if (has_fin && sent == length)
			note_fin(connection);
	}
	if (connection->fin_wanted && !connection->fin_sent && connection->nxt == connection->end) {
		send_fin(connection, NULL);
		if (connection->flight.last && connection->flight.last->end > connection->end)
			note_fin(connection);
	}
}

/* Send the last segment again. */
static void resend_tail(struct vnic_connection *connection, uint32_t most)
{
	struct vn_tcp_sent *tail =
		vn_tcp_flight_tail(&connection->flight, &connection->stack->tcp->sent, most);
	uint8_t flags = VNIC_TCP_ACK | VNIC_TCP_PSH;
	uint64_t end;
	uint32_t length;

	if (!tail)
		return;
	end = tail->end;
	if (connection->fin_sent && end > connection->end) {
		end = connection->end;
		flags |= VNIC_TCP_FIN;
	}
	if (end == tail->begin) {
		send_fin(connection, tail);
		note_resent(connection, 0, most, false);
		return;
	}
	length = end - tail->begin < most ? (uint32_t)(end - tail->begin) : most;
	if (tail->begin + length < end)
		flags &= (uint8_t)~VNIC_TCP_FIN;
	length = send_payload(connection, tail->begin, length, flags, tail);
	if (length > 0)
		note_resent(connection, length, most, false);
}

void vn_tcp_send_probe(struct vnic_connection *connection)
{
	uint32_t most = vn_tcp_payload_most(connection);
	uint64_t edge = connection->una + connection->send_window_bytes;

	connection->tail_resent = true;
	/* Better something new, whatever the congestion window says (RFC 8985 section 7.3). */
	if (!connection->fin_sent && !connection->is_starved && connection->end > connection->nxt &&
	    edge > connection->nxt) {
		uint64_t length = connection->end - connection->nxt;

		if (length > edge - connection->nxt)
			length = edge - connection->nxt;
		if (length > most)
			length = most;
		length = send_payload(connection, connection->nxt, (uint32_t)length,
				      VNIC_TCP_ACK | VNIC_TCP_PSH, NULL);
		connection->nxt += length;
		connection->tail_resent = length == 0;
	} else {
		resend_tail(connection, most);
	}
	if (connection->state != VN_TCP_CLOSED) {
		connection->tail_probed = true;
		connection->tail_end = connection->nxt;
	}
}

void vn_tcp_output(struct vnic_connection *connection)
{
	switch (connection->state) {
	case VN_TCP_CLOSED:
		return;
	case VN_TCP_SYN_SENT:
	case VN_TCP_SYN_RECEIVED:
		if (connection->nxt == 0)
			vn_tcp_send_syn(connection);
		vn_tcp_set_alarm(connection);
		return;
	case VN_TCP_TIME_WAIT:
		if (connection->ack_now)
			vn_tcp_send_ack(connection);
		return;
	default:
		break;
	}
	if (connection->flight.lost_bytes > 0)
		send_lost(connection);
	if (connection->state != VN_TCP_CLOSED && connection->flight.lost_bytes == 0)
		send_new(connection);
	if (connection->state == VN_TCP_CLOSED)
		return;
	if (connection->ack_now || wants_update(connection))
		vn_tcp_send_ack(connection);
	vn_tcp_set_alarm(connection);
}
