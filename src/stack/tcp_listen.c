/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Listeners, and handshakes that others begin.
 *
 * A SYN for a listener makes a connection in SYN-RECEIVED, as long as the listener has fewer of those
 * than its backlog. Over that nothing is kept of a SYN: the answer is a SYN cookie (RFC 4987 section
 * 3.6), an initial sequence number that is a keyed hash of the flow, of the other end's initial sequence
 * number and of the time, with what we must remember of its SYN inside:
 *
 *     31..27  the time, in units of 64 s, modulo 32
 *     26..24  which of mss_values the other end's MSS reaches
 *     23..0   hash
 *
 * The window scale, SACK and ECN of a SYN with timestamps stand in the lowest bits of our timestamp, which
 * comes back as well; without timestamps a cookie has none of them. An ACK for which there is no connection
 * and whose cookie is right and not older than two units makes the connection then.
 *
 * A cookie can be guessed with 2^24 tries for each of few times, so they are accepted only while they
 * are being sent, and for two units after.
 */
#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "stack/tcp.h"

#define COOKIE_UNIT_NS (64 * VN_SECOND_NS)
#define COOKIE_UNITS 2
#define COOKIE_HASH_BITS 24
#define COOKIE_HASH_MASK ((1u << COOKIE_HASH_BITS) - 1)
#define PURPOSE_COOKIE 16

/* In the low bits of a timestamp: */
#define COOKIE_SCALE_MASK 15u /* the window scale; 15: none */
#define COOKIE_SACK 16u
#define COOKIE_BITS_MASK 63u

static const uint16_t mss_values[8] = {536, 1220, 1360, 1400, 1440, 1460, 4096, 8960};

static unsigned slot_of(uint16_t port)
{
	return port % 256u;
}

/* How exactly a listener is about this address and port; 0: not at all. */
static unsigned exactness(const struct vnic_listener *listener, const struct vnic_flow *flow)
{
	const struct vnic_listener_options *options = &listener->options;
	unsigned exact = 1;

	if (!options->any_port) {
		if (options->port != flow->local_port)
			return 0;
		exact += 2;
	}
	if (options->address.family != VNIC_NO_FAMILY) {
		if (!vnic_address_equal(&options->address, &flow->local_address))
			return 0;
		exact += 1;
	}
	return exact;
}

static struct vnic_listener *find_in_slot(struct vn_tcp *tcp, unsigned slot,
					  const struct vnic_flow *flow)
{
	struct vnic_listener *best = NULL;
	unsigned best_exact = 0;

	for (struct vnic_listener *next = tcp->listener_slots[slot]; next; next = next->next) {
		unsigned exact = exactness(next, flow);

		if (exact > best_exact) {
			best_exact = exact;
			best = next;
		}
	}
	return best;
}

/* Those of any port are in the slot of port 0. */
static struct vnic_listener *find_listener(struct vn_tcp *tcp, const struct vnic_flow *flow)
{
	struct vnic_listener *found = find_in_slot(tcp, slot_of(flow->local_port), flow);

	return found ? found : find_in_slot(tcp, slot_of(0), flow);
}

int vnic_listener_open(struct vnic_stack *stack, const struct vnic_listener_options *options,
		       struct vnic_listener **listener, struct vnic_error *error)
{
	struct vn_tcp *tcp = stack->tcp;
	struct vnic_listener *made, **slot = &tcp->listener_slots[slot_of(options->port)];
	char text[VNIC_ADDRESS_TEXT_BYTES];

	if (!options->accept || options->any_port == (options->port != 0))
		return vn_error(error, -EINVAL, VNIC_CAUSE_ARGUMENT,
				"a listener needs an accept function and a port, or any port");
	if (options->address.family != VNIC_NO_FAMILY &&
	    !vn_addresses_has(&stack->addresses, &options->address))
		return vn_error(error, -EADDRNOTAVAIL, VNIC_CAUSE_ADDRESS_INVALID,
				"%s is not an address of the stack",
				vnic_address_format(&options->address, text));
	for (made = *slot; made; made = made->next)
		if (made->options.any_port == options->any_port &&
		    made->options.port == options->port &&
		    made->options.address.family == options->address.family &&
		    (options->address.family == VNIC_NO_FAMILY ||
		     vnic_address_equal(&made->options.address, &options->address)))
			return vn_error(error, -EADDRINUSE, VNIC_CAUSE_ADDRESS_TAKEN,
					"something listens to port %u already", options->port);
	made = vn_pool_take(&tcp->listeners);
	if (!made)
		return vn_error(error, -ENOSPC, VNIC_CAUSE_LIMIT,
				"no room for a listener beside %u others",
				stack->options.tcp_listeners);
	made->stack = stack;
	made->options = *options;
	vn_tcp_set_defaults(&made->options.connection);
	if (made->options.backlog == 0)
		made->options.backlog = 256;
	made->next = *slot;
	*slot = made;
	*listener = made;
	return 0;
}

/* Resets what has not been accepted: whoever was to accept it is gone. */
static void abort_half_open(struct vnic_listener *listener)
{
	struct vn_tcp *tcp = listener->stack->tcp;

	for (uint32_t i = 0; listener->half_open > 0 && i <= tcp->slot_mask; i++) {
		struct vnic_connection *next, *connection = tcp->slots[i];

		for (; connection; connection = next) {
			next = connection->next;
			if (connection->listener == listener)
				vnic_connection_abort(connection);
		}
	}
}

void vnic_listener_close(struct vnic_listener *listener)
{
	struct vnic_listener **link;
	struct vn_tcp *tcp;

	if (!listener)
		return;
	tcp = listener->stack->tcp;
	abort_half_open(listener);
	link = &tcp->listener_slots[slot_of(listener->options.port)];
	while (*link != listener)
		link = &(*link)->next;
	*link = listener->next;
	vn_pool_give(&tcp->listeners, listener);
}

bool vn_tcp_accept(struct vnic_connection *connection)
{
	struct vnic_listener *listener = connection->listener;
	int code;

	if (!listener)
		return true; /* both ends opened it at once */
	connection->listener = NULL;
	code = listener->options.accept(listener->options.user, connection);
	if (connection->state == VN_TCP_CLOSED)
		return false;
	if (code < 0 || !connection->operations) {
		connection->operations = NULL;
		vnic_connection_abort(connection);
		return false;
	}
	vn_stack_count(connection->stack, VNIC_STACK_ACCEPTED, 1);
	vn_tcp_tell(connection, VNIC_CONNECTION_ESTABLISHED, 0);
	return connection->state != VN_TCP_CLOSED;
}

void vn_tcp_take_syn(struct vnic_connection *connection, const struct vn_tcp_segment *segment)
{
	const struct vn_tcp_options *options = &segment->options;
	const struct vnic_connection_options *ours = &connection->options;
	uint16_t own_mss = vn_tcp_mss(connection->stack, &connection->flow.remote_address, true);

	connection->irs = segment->tcp.sequence;
	connection->rcv_nxt = connection->rcv_edge = connection->acknowledged = 1;
	connection->has_sack = options->sack_permitted && !ours->no_sack;
	connection->has_timestamps = options->has_timestamps && !ours->no_timestamps;
	connection->has_scale = options->has_scale;
	connection->send_scale = 0;
	if (!options->has_scale)
		connection->receive_scale = 0;
	else
		connection->send_scale =
			options->scale > VN_TCP_SCALE_MOST ? VN_TCP_SCALE_MOST : options->scale;
	connection->timestamp_recent = options->timestamp;
	connection->timestamp_recent_ns = connection->stack->now_ns;
	/* RFC 9293 section 3.7.1; what makes no sense is not followed. */
	connection->mss_told_bytes = options->has_mss ? options->mss_bytes
				     : connection->flow.remote_address.family == VNIC_IPV4 ? 536
											   : 1220;
	if (connection->mss_told_bytes < VN_TCP_MSS_LEAST)
		connection->mss_told_bytes = VN_TCP_MSS_LEAST;
	connection->mss_bytes =
		own_mss < connection->mss_told_bytes ? own_mss : connection->mss_told_bytes;
	vn_tcp_congestion_init(&connection->congestion, ours->congestion, connection->mss_bytes);
	/* The window of a SYN is never scaled (RFC 7323 section 2.2). */
	connection->send_window_bytes = segment->tcp.window;
	connection->send_window_most_bytes = segment->tcp.window;
	connection->window_position = 0;
}

static uint32_t cookie_unit(const struct vnic_stack *stack)
{
	return (uint32_t)(stack->now_ns / COOKIE_UNIT_NS);
}

static uint32_t cookie_hash(const struct vnic_stack *stack, const struct vnic_flow *flow,
			    uint32_t unit, uint32_t peer_sequence, unsigned mss_index)
{
	return (uint32_t)vn_tcp_hash(stack, flow, PURPOSE_COOKIE + (unit << 8),
				     peer_sequence ^ mss_index << 29) &
	       COOKIE_HASH_MASK;
}

static vn_verdict send_cookie(struct vnic_stack *stack, struct vnic_listener *listener,
			      const struct vn_tcp_segment *segment, const struct vnic_flow *flow)
{
	const struct vn_tcp_options *theirs = &segment->options;
	const struct vnic_connection_options *ours = &listener->options.connection;
	struct vn_tcp_options options = {
		.has_mss = true,
		.mss_bytes = vn_tcp_mss(stack, &flow->remote_address, false),
	};
	uint32_t unit = cookie_unit(stack), window = ours->window_bytes;
	uint16_t mss = theirs->has_mss ? theirs->mss_bytes : mss_values[0];
	unsigned index = 7;

	/*
	 * Not bounded in its rate as errors are: an answer is no longer than the SYN, and in a flood that
	 * uses up the rate those who mean it would not get through.
	 */
	while (index > 0 && mss_values[index] > mss)
		index--;
	if (theirs->has_timestamps && !ours->no_timestamps) {
		uint32_t now = vn_tcp_timestamp_offset(stack, flow) +
			       (uint32_t)(stack->now_ns / VN_TCP_MILLISECOND_NS);
		uint32_t bits =
			theirs->has_scale ? theirs->scale & COOKIE_SCALE_MASK : COOKIE_SCALE_MASK;

		options.sack_permitted = theirs->sack_permitted && !ours->no_sack;
		options.has_scale = theirs->has_scale;
		if (options.sack_permitted)
			bits |= COOKIE_SACK;
		options.has_timestamps = true;
		options.timestamp = (now & ~COOKIE_BITS_MASK) | bits;
		/* Not from the future: what follows must not be older. */
		if (options.timestamp > now)
			options.timestamp -= COOKIE_BITS_MASK + 1;
		options.timestamp_echo = theirs->timestamp;
		options.scale = options.has_scale ? vn_tcp_scale(window) : 0;
	}
	vn_tcp_send_cookie(stack, segment, flow,
			   unit << 27 | index << COOKIE_HASH_BITS |
				   cookie_hash(stack, flow, unit, segment->tcp.sequence, index),
			   &options, (uint16_t)(window > UINT16_MAX ? UINT16_MAX : window));
	stack->tcp->cookies_until = unit + COOKIE_UNITS;
	vn_stack_count(stack, VNIC_STACK_COOKIES_SENT, 1);
	return VNIC_STACK_SEGMENTS;
}

/* Make of an ACK the SYN that it answers for. @return false: it is no cookie of ours */
static bool open_cookie(struct vnic_stack *stack, const struct vn_tcp_segment *segment,
			const struct vnic_flow *flow, struct vn_tcp_segment *syn)
{
	uint32_t cookie = segment->tcp.acknowledgment - 1, now = cookie_unit(stack), unit;
	unsigned index = cookie >> COOKIE_HASH_BITS & 7;
	uint32_t age = (now - (cookie >> 27)) & 31;

	if (now > stack->tcp->cookies_until || age > COOKIE_UNITS || age > now)
		return false;
	unit = now - age;
	if ((cookie & COOKIE_HASH_MASK) !=
	    cookie_hash(stack, flow, unit, segment->tcp.sequence - 1, index))
		return false;
	*syn = *segment;
	syn->tcp.sequence--;
	syn->options = (struct vn_tcp_options){.has_mss = true, .mss_bytes = mss_values[index]};
	if (segment->options.has_timestamps) {
		uint32_t bits = segment->options.timestamp_echo;

		syn->options.has_timestamps = true;
		syn->options.timestamp = segment->options.timestamp;
		syn->options.sack_permitted = bits & COOKIE_SACK;
		syn->options.has_scale = (bits & COOKIE_SCALE_MASK) != COOKIE_SCALE_MASK;
		syn->options.scale = bits & COOKIE_SCALE_MASK;
	}
	return true;
}

static vn_verdict accept_cookie(struct vnic_stack *stack, struct vnic_listener *listener,
				struct vn_tcp_segment *segment, const struct vnic_flow *flow)
{
	struct vnic_connection *connection;
	struct vn_tcp_segment syn;

	if (!open_cookie(stack, segment, flow, &syn))
		return vn_tcp_reset(stack, segment);
	connection = vn_tcp_make(stack, flow, &listener->options.connection);
	if (!connection)
		return VNIC_STACK_DROP_BACKLOG; /* it may come again */
	vn_stack_count(stack, VNIC_STACK_COOKIES_ACCEPTED, 1);
	connection->state = VN_TCP_SYN_RECEIVED;
	connection->listener = listener;
	vn_tcp_count_half_open(connection, 1);
	vn_tcp_take_syn(connection, &syn);
	connection->iss = segment->tcp.acknowledgment - 1;
	connection->nxt = 1;
	/* What the cookie offered. */
	connection->rcv_edge = 1 + (connection->options.window_bytes > UINT16_MAX
					    ? UINT16_MAX
					    : connection->options.window_bytes);
	return vn_tcp_segment_input(connection, segment);
}

static vn_verdict input_syn(struct vnic_stack *stack, struct vnic_listener *listener,
			    struct vn_tcp_segment *segment, const struct vnic_flow *flow)
{
	struct vnic_connection *connection;

	if (listener->half_open >= listener->options.backlog)
		return send_cookie(stack, listener, segment, flow);
	connection = vn_tcp_make(stack, flow, &listener->options.connection);
	if (!connection)
		return VNIC_STACK_DROP_BACKLOG;
	connection->state = VN_TCP_SYN_RECEIVED;
	connection->listener = listener;
	vn_tcp_count_half_open(connection, 1);
	connection->link = segment->input->link;
	connection->has_link = true;
	vn_tcp_take_syn(connection, segment);
	connection->has_ecn = (segment->tcp.flags & VNIC_TCP_ECE) &&
			      (segment->tcp.flags & VNIC_TCP_CWR) && !connection->options.no_ecn;
	connection->counts.received_segments++;
	vn_tcp_pend(connection);
	return VNIC_STACK_SEGMENTS;
}

vn_verdict vn_tcp_listen_input(struct vnic_stack *stack, struct vn_tcp_segment *segment,
			       const struct vnic_flow *flow)
{
	struct vnic_listener *listener = find_listener(stack->tcp, flow);
	uint8_t flags = segment->tcp.flags;

	if (flags & VNIC_TCP_RST)
		return VNIC_STACK_DROP_UNWANTED;
	if (!listener)
		return vn_tcp_reset(stack, segment);
	/* RFC 9293 section 3.10.7.2 */
	if (flags & VNIC_TCP_ACK)
		return flags & VNIC_TCP_SYN ? vn_tcp_reset(stack, segment)
					    : accept_cookie(stack, listener, segment, flow);
	if (!(flags & VNIC_TCP_SYN) || flags & VNIC_TCP_FIN)
		return VNIC_STACK_DROP_UNWANTED;
	return input_syn(stack, listener, segment, flow);
}
