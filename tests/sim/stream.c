/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Both users of a TCP connection. What each side sends is a function of the seed and the offset, so
 * nothing is kept, and what the other one receives is compared byte by byte: in order, once each, and
 * never behind the end. The users hold the connection to what vnic/connection.h promises:
 * it reads nothing that was not offered or is acknowledged, offsets do not go back, events come in order and
 * none after the last.
 *
 * A side uses the connection itself, or a socket on it. The socket's user keeps to the rules of edges: it reads and writes
 * until there is no more, and does nothing then until it is called.
 */
#include "stream.h"

#include <errno.h>

#include "peer.h"

#define CHUNK_BYTES 8192

static uint64_t word_at(uint64_t seed, unsigned side, uint64_t offset)
{
	uint64_t state = seed ^ (offset / 8) * 2 ^ side;

	return peer_random(&state);
}

uint8_t stream_byte(const struct stream *stream, unsigned side, uint64_t offset)
{
	return (uint8_t)(word_at(stream->seed, side, offset) >> offset % 8 * 8);
}

static void fill(const struct stream *stream, unsigned side, uint64_t offset, uint8_t *bytes,
		 size_t length)
{
	uint64_t word = 0;

	for (size_t i = 0; i < length; i++) {
		if (i == 0 || (offset + i) % 8 == 0)
			word = word_at(stream->seed, side, offset + i);
		bytes[i] = (uint8_t)(word >> (offset + i) % 8 * 8);
	}
}

static void compare(const struct stream_side *side, const uint8_t *bytes, size_t length)
{
	const struct stream *stream = side->stream;
	const struct stream_side *other = &stream->sides[!side->index];
	uint64_t word = 0;

	if (side->received + length > other->offered)
		fail_msg("side %u received up to %llu, but only %llu were offered", side->index,
			 (unsigned long long)(side->received + length),
			 (unsigned long long)other->offered);
	for (size_t i = 0; i < length; i++) {
		uint64_t offset = side->received + i;

		if (i == 0 || offset % 8 == 0)
			word = word_at(stream->seed, other->index, offset);
		if (bytes[i] != (uint8_t)(word >> offset % 8 * 8))
			fail_msg("side %u received a wrong byte at %llu", side->index,
				 (unsigned long long)offset);
	}
}

static void write_more(struct link *link, void *user);

static void plan_write(struct stream_side *side)
{
	if (side->is_writing)
		return;
	side->is_writing = true;
	link_at(side->stream->link, side->stream->link->now_ns + side->options.write_ns, write_more,
		side);
}

static void offer(struct stream_side *side)
{
	if (!side->connection)
		return;
	vnic_connection_offer(side->connection,
			      side->options.is_endless ? UINT64_MAX : side->offered);
}

static void maybe_finish(struct stream_side *side)
{
	if (side->has_finished || side->offered < side->options.total_bytes || !side->connection ||
	    (side->options.finishes_late && !side->is_finished))
		return;
	/* Of an endless offer the end is what was read. */
	if (side->options.is_endless && side->read_end < side->options.total_bytes)
		return;
	stream_finish(side);
}

void stream_finish(struct stream_side *side)
{
	side->has_finished = true;
	if (side->options.uses_socket)
		vnic_socket_shutdown(side->socket);
	else
		vnic_connection_finish(side->connection);
}

static void write_first(struct stream_side *side)
{
	uint64_t total = side->options.total_bytes;

	if (side->options.write_bytes == 0) {
		side->offered = total;
		if (total > 0)
			offer(side);
	} else if (side->offered < total) {
		plan_write(side);
	}
	maybe_finish(side);
}

static void write_more(struct link *link, void *user)
{
	struct stream_side *side = user;
	uint64_t total = side->options.total_bytes;

	(void)link;
	side->is_writing = false;
	if (!side->connection)
		return;
	if (side->options.write_bytes > 0 && side->offered < total)
		side->offered = side->offered + side->options.write_bytes < total
					? side->offered + side->options.write_bytes
					: total;
	offer(side);
	if (side->offered < total)
		plan_write(side);
	maybe_finish(side);
}

void stream_offer(struct stream_side *side, uint64_t more_bytes)
{
	side->options.total_bytes += more_bytes;
	side->offered = side->options.total_bytes;
	offer(side);
}

static size_t on_read(struct vnic_connection *connection, void *user, uint64_t offset,
		      uint8_t *bytes, size_t length)
{
	struct stream_side *side = user;
	uint64_t end = side->offered;

	assert_ptr_equal(connection, side->connection);
	assert_false(side->is_closed);
	if (offset < side->acked)
		fail_msg("side %u was asked for %llu, but all before %llu is acknowledged",
			 side->index, (unsigned long long)offset, (unsigned long long)side->acked);
	if (!side->options.is_endless && offset + length > end)
		fail_msg("side %u was asked for %llu to %llu, but has offered %llu", side->index,
			 (unsigned long long)offset, (unsigned long long)(offset + length),
			 (unsigned long long)end);
	if (offset >= end) /* an endless offer, with nothing there now */
		return 0;
	if (length > end - offset)
		length = (size_t)(end - offset);
	/* What was read once is there. */
	if (side->options.reads_short && offset + length > side->read_end &&
	    link_random(side->stream->link, 4) == 0) {
		uint64_t least = side->read_end > offset ? side->read_end - offset : 0;

		length = (size_t)(least + link_random(side->stream->link, length - least));
		plan_write(side);
	}
	fill(side->stream, side->index, offset, bytes, length);
	if (offset + length > side->read_end) {
		side->read_end = offset + length;
		if (side->options.is_endless && side->read_end >= side->options.total_bytes)
			plan_write(side); /* to finish */
	}
	return length;
}

static void on_acked(struct vnic_connection *connection, void *user, uint64_t offset)
{
	struct stream_side *side = user;

	assert_ptr_equal(connection, side->connection);
	assert_false(side->is_closed);
	if (offset < side->acked || offset > side->read_end)
		fail_msg("side %u: %llu is acknowledged, after %llu, and %llu was read",
			 side->index, (unsigned long long)offset, (unsigned long long)side->acked,
			 (unsigned long long)side->read_end);
	side->acked = offset;
}

static void drain(struct link *link, void *user)
{
	struct stream_side *side = user;
	uint64_t most = side->options.drain_bytes;

	side->is_draining = false;
	side->held -= side->held < most ? side->held : most;
	if (side->held > 0) {
		side->is_draining = true;
		link_at(link, link->now_ns + side->options.drain_ns, drain, side);
	}
	if (side->connection)
		vnic_connection_update_room(side->connection);
}

static size_t room(const struct stream_side *side)
{
	uint64_t most = side->options.hold_bytes;

	if (most == 0)
		return side->options.connection.window_bytes > 0
			       ? side->options.connection.window_bytes
			       : 1u << 20;
	return (size_t)(most - side->held);
}

static void took(struct stream_side *side, size_t length)
{
	struct stream *stream = side->stream;

	side->received += length;
	if (side->received == stream->sides[!side->index].options.total_bytes)
		side->received_ns = stream->link->now_ns;
}

static size_t on_receive(struct vnic_connection *connection, void *user, const uint8_t *bytes,
			 size_t length)
{
	struct stream_side *side = user;

	assert_ptr_equal(connection, side->connection);
	assert_true(side->is_established);
	assert_false(side->is_finished);
	assert_false(side->is_closed);
	assert_true(length > 0);
	if (length > room(side))
		length = room(side);
	if (side->options.takes_short && link_random(side->stream->link, 8) == 0)
		length = (size_t)link_random(side->stream->link, length + 1);
	compare(side, bytes, length);
	took(side, length);
	if (side->options.hold_bytes > 0 && side->options.drain_bytes > 0) {
		side->held += length;
		if (!side->is_draining && side->held > 0) {
			side->is_draining = true;
			link_at(side->stream->link,
				side->stream->link->now_ns + side->options.drain_ns, drain, side);
		}
	}
	return length;
}

static size_t on_room(struct vnic_connection *connection, void *user)
{
	assert_ptr_equal(connection, ((struct stream_side *)user)->connection);
	return room(user);
}

static void on_established(struct stream_side *side)
{
	assert_false(side->is_established);
	side->is_established = true;
	side->established_ns = side->stream->link->now_ns;
}

static void on_finished(struct stream_side *side)
{
	const struct stream_side *other = &side->stream->sides[!side->index];

	assert_true(side->is_established);
	assert_false(side->is_finished);
	side->is_finished = true;
	if (!other->has_finished || side->received != other->offered)
		fail_msg("side %u was told the end after %llu of %llu bytes", side->index,
			 (unsigned long long)side->received, (unsigned long long)other->offered);
	maybe_finish(side);
}

static void on_event(struct vnic_connection *connection, void *user,
		     enum vnic_connection_event event, int code)
{
	struct stream_side *side = user;

	assert_false(side->is_closed);
	assert_true(side->connection == NULL || side->connection == connection);
	switch (event) {
	case VNIC_CONNECTION_ESTABLISHED:
		assert_int_equal(code, 0);
		on_established(side);
		break;
	case VNIC_CONNECTION_FINISHED:
		assert_int_equal(code, 0);
		on_finished(side);
		break;
	case VNIC_CONNECTION_CLOSED:
		side->is_closed = true;
		side->closed_ns = side->stream->link->now_ns;
		side->code = code;
		side->connection = NULL;
		if (code == 0 &&
		    (!side->is_finished || !side->has_finished || side->acked != side->offered))
			fail_msg("side %u was closed in order, with %llu of %llu acknowledged",
				 side->index, (unsigned long long)side->acked,
				 (unsigned long long)side->offered);
		break;
	}
}

const struct vnic_connection_operations stream_operations = {
	.read = on_read,
	.acked = on_acked,
	.receive = on_receive,
	.room = on_room,
	.event = on_event,
};

/* Read and write with a socket until there is no more to be done now. */
static void use_socket(struct stream_side *side)
{
	static uint8_t bytes[CHUNK_BYTES];
	struct link *link = side->stream->link;
	const uint8_t *peeked;
	ssize_t got;

	for (;;) {
		size_t wanted = 1 + (size_t)link_random(link, CHUNK_BYTES);

		if (link_random(link, 2) == 0) {
			got = vnic_socket_read(side->socket, bytes, wanted);
			peeked = bytes;
		} else {
			got = vnic_socket_peek(side->socket, &peeked);
		}
		if (got <= 0)
			break;
		compare(side, peeked, (size_t)got);
		took(side, (size_t)got);
		if (peeked != bytes)
			vnic_socket_consume(side->socket, (size_t)got);
	}
	if (got == 0 && !side->is_finished)
		on_finished(side);
	else if (got < 0 && got != -EAGAIN && !side->is_closed)
		fail_msg("side %u: reading failed with %zd", side->index, got);
	while (side->read_end < side->options.total_bytes) {
		uint64_t left = side->options.total_bytes - side->read_end;
		size_t length = left < CHUNK_BYTES ? (size_t)left : CHUNK_BYTES;

		fill(side->stream, side->index, side->read_end, bytes, length);
		side->offered = side->read_end + length; /* it may be there before this returns */
		got = vnic_socket_write(side->socket, bytes, length);
		side->offered = side->read_end + (got > 0 ? (uint64_t)got : 0);
		if (got < 0 && got != -EAGAIN)
			fail_msg("side %u: writing failed with %zd", side->index, got);
		if (got <= 0)
			break;
		side->read_end = side->offered;
	}
	if (side->read_end == side->options.total_bytes && !side->has_finished &&
	    (!side->options.finishes_late || side->is_finished))
		stream_finish(side);
	/* A socket does not say that all was acknowledged; its connection does. */
	side->acked = side->offered;
	if (side->has_finished && side->is_finished && !vnic_socket_connection(side->socket))
		side->is_closed = true;
}

static void on_ready(struct vnic_socket *socket, void *user, unsigned ready)
{
	struct stream_side *side = user;

	if (ready & VNIC_SOCKET_ACCEPTABLE) {
		assert_ptr_equal(socket, side->stream->listening);
		assert_int_equal(vnic_socket_accept(socket, &side->socket), 0);
		vnic_socket_set_ready(side->socket, on_ready, side);
		assert_int_equal(vnic_socket_error(side->socket), 0);
		on_established(side);
		side->stream->accepted++;
		use_socket(side);
		return;
	}
	assert_ptr_equal(socket, side->socket);
	if (ready & VNIC_SOCKET_FAILED) {
		side->is_closed = true;
		side->code = vnic_socket_error(socket);
		return;
	}
	if (!side->is_established && ready & VNIC_SOCKET_WRITABLE)
		on_established(side);
	use_socket(side);
}

static int on_accept(void *user, struct vnic_connection *connection)
{
	struct stream *stream = user;
	struct stream_side *side = &stream->sides[1];

	stream->accepted++;
	if (stream->refuse)
		return -EPERM;
	assert_null(side->connection);
	side->connection = connection;
	vnic_connection_set_user(connection, &stream_operations, side);
	assert_ptr_equal(vnic_connection_user(connection), side);
	assert_ptr_equal(vnic_connection_stack(connection), stream->link->ends[1].stack);
	write_first(side);
	return 0;
}

static void listen_at(struct stream *stream)
{
	struct stream_side *side = &stream->sides[1];
	struct vnic_stack *stack = stream->link->ends[1].stack;
	struct vnic_listener_options where = {.port = STREAM_PORT,
					      .connection = side->options.connection,
					      .accept = on_accept,
					      .user = stream};
	struct vnic_socket_options how = {.receive_bytes = side->options.socket_bytes,
					  .send_bytes = side->options.socket_bytes,
					  .connection = side->options.connection,
					  .ready = on_ready,
					  .user = side};

	if (side->options.uses_socket)
		assert_int_equal(vnic_socket_listen(stack, NULL, STREAM_PORT, &how,
						    &stream->listening, NULL),
				 0);
	else
		assert_int_equal(vnic_listener_open(stack, &where, &stream->listener, NULL), 0);
}

static void connect_from(struct stream *stream, unsigned index)
{
	struct stream_side *side = &stream->sides[index];
	struct vnic_stack *stack = stream->link->ends[index].stack;
	struct vnic_flow flow = stream->flow;
	struct vnic_socket_options how = {.receive_bytes = side->options.socket_bytes,
					  .send_bytes = side->options.socket_bytes,
					  .connection = side->options.connection,
					  .ready = on_ready,
					  .user = side};
	struct vnic_error error = {0};
	int code;

	if (index == 1) {
		flow.remote_address = link_address(stream->family, 0);
		flow.local_port = STREAM_PORT;
		flow.remote_port = STREAM_PORT;
	}
	if (side->options.uses_socket)
		code = vnic_socket_connect(stack, &flow, &how, &side->socket, &error);
	else
		code = vnic_connection_open(stack, &flow, &side->options.connection,
					    &stream_operations, side, &side->connection, &error);
	if (code < 0)
		fail_msg("connecting: %s", error.text);
	if (!side->options.uses_socket)
		write_first(side);
}

void stream_begin(struct stream *stream, struct link *link, enum vnic_family family, uint64_t seed)
{
	stream->link = link;
	stream->seed = seed * UINT64_C(0x9e3779b97f4a7c15);
	stream->family = family;
	stream->flow.remote_address = link_address(family, 1);
	stream->flow.remote_port = STREAM_PORT;
	for (unsigned i = 0; i < 2; i++) {
		stream->sides[i].stream = stream;
		stream->sides[i].index = i;
	}
	if (stream->opens_at_once) {
		stream->flow.local_port = STREAM_PORT;
		connect_from(stream, 1);
	} else if (!stream->no_listener) {
		listen_at(stream);
	}
	connect_from(stream, 0);
}

/* A socket's owner is not told of an end in order. */
static bool is_closed(const struct stream_side *side)
{
	return side->is_closed || (side->socket && side->has_finished && side->is_finished &&
				   !vnic_socket_connection(side->socket));
}

bool stream_is_closed(void *user)
{
	const struct stream *stream = user;

	return is_closed(&stream->sides[0]) && is_closed(&stream->sides[1]);
}

bool stream_is_established(void *user)
{
	const struct stream *stream = user;

	return stream->sides[0].is_established && stream->sides[1].is_established;
}

bool stream_is_received(void *user)
{
	const struct stream *stream = user;

	return stream->sides[0].received == stream->sides[1].options.total_bytes &&
	       stream->sides[1].received == stream->sides[0].options.total_bytes;
}

void stream_establish(struct stream *stream)
{
	assert_true(link_wait_until(stream->link, stream_is_established, stream, 600 * SECOND_NS));
}

static void assert_nothing_left(const struct link *link)
{
	static const enum vnic_stack_counter counters[] = {
		VNIC_STACK_CONNECTIONS, VNIC_STACK_HALF_OPEN, VNIC_STACK_OUT_OF_ORDER_BYTES};

	for (unsigned end = 0; end < 2; end++)
		for (size_t i = 0; i < sizeof(counters) / sizeof(counters[0]); i++)
			if (link_counter(link, end, counters[i]) != 0)
				fail_msg("end %u: %s is %llu at the end", end,
					 vnic_stack_counter_name(counters[i]),
					 (unsigned long long)link_counter(link, end, counters[i]));
}

static void print_counters(const struct link *link)
{
	for (unsigned end = 0; end < 2; end++) {
		print_message("# end %u:", end);
		for (unsigned i = 0; i < VNIC_STACK_COUNTERS; i++)
			if (link_counter(link, end, i) > 0)
				print_message(" %s %llu", vnic_stack_counter_name(i),
					      (unsigned long long)link_counter(link, end, i));
		print_message("\n");
	}
}

void stream_complete(struct stream *stream, uint64_t longest_ns)
{
	bool closed = link_wait_until(stream->link, stream_is_closed, stream, longest_ns);

	for (unsigned i = 0; i < 2; i++) {
		const struct stream_side *side = &stream->sides[i];
		const struct stream_side *other = &stream->sides[!i];

		if (closed && side->code == 0 && side->received == other->options.total_bytes)
			continue;
		print_counters(stream->link);
		fail_msg("side %u: %s with code %d, %llu of %llu bytes received, %s %s", i,
			 is_closed(side) ? "closed" : "open", side->code,
			 (unsigned long long)side->received,
			 (unsigned long long)other->options.total_bytes, stream_state(side),
			 stream_state(other));
	}
	/* TIME-WAIT is over some time; neighbours are forgotten later. */
	link_wait(stream->link, 3600 * SECOND_NS);
	assert_nothing_left(stream->link);
}

void stream_end(struct stream *stream)
{
	vnic_listener_close(stream->listener);
	vnic_socket_close(stream->listening);
	vnic_socket_close(stream->sides[0].socket);
	vnic_socket_close(stream->sides[1].socket);
	stream->listener = NULL;
	stream->listening = stream->sides[0].socket = stream->sides[1].socket = NULL;
}

struct vnic_connection_info stream_info(const struct stream_side *side)
{
	const struct vnic_connection *connection =
		side->socket ? vnic_socket_connection(side->socket) : side->connection;
	struct vnic_connection_info info = {.state = "none"};

	if (connection)
		vnic_connection_query(connection, &info);
	return info;
}

const char *stream_state(const struct stream_side *side)
{
	return stream_info(side).state;
}
