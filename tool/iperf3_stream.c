/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. A stream carries the data of a test in one direction, over a TCP connection
 * or a UDP endpoint. What it receives is counted and thrown away where it lies; what it sends it
 * makes up by its offset, so there is no buffer, and sending again costs nothing.
 *
 * On each tick a stream looks at the phase of its test. It begins to send when the test runs. When
 * the test ends a sender sends FIN, and a receiver does when it has taken all: before the client
 * closes its side, so that it is not the client's port that is in TIME-WAIT, which would keep the next
 * test from using it (--cport). When the test is over a stream has LINGER_NS to close in order. Only
 * the shard's thread touches a stream.
 *
 * A rate or a window that the client asked for is kept by offering no more than they allow; without
 * them the offer has no end, and congestion control rules alone.
 */
#include "iperf3.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LINGER_NS (2 * IPERF3_SECOND_NS)
#define STREAMS_MOST 1024 /* with those that close */

static size_t read_pattern(struct vnic_connection *connection, void *user, uint64_t offset,
			   uint8_t *bytes, size_t length_bytes)
{
	const struct iperf3_stream *stream = user;
	size_t at = (size_t)(offset % IPERF3_PATTERN_BYTES);

	(void)connection;
	if (length_bytes > IPERF3_PATTERN_BYTES)
		length_bytes = IPERF3_PATTERN_BYTES;
	memcpy(bytes, iperf3_shared_pattern(stream->shard->shared) + at, length_bytes);
	return length_bytes;
}

/* Offer what rate and window allow. */
static void offer(struct iperf3_stream *stream, uint64_t now_ns)
{
	const struct iperf3_parameters *parameters = &stream->test->parameters;
	uint64_t end = UINT64_MAX, most;

	if (parameters->rate_bits) {
		most = (uint64_t)((double)(now_ns - stream->test->start_ns + IPERF3_TICK_NS) /
				  (double)IPERF3_SECOND_NS * (double)parameters->rate_bits / 8);
		end = most + 1;
	}
	if (parameters->window_bytes && stream->acked_offset + parameters->window_bytes < end)
		end = stream->acked_offset + parameters->window_bytes;
	vnic_connection_offer(stream->connection, end);
}

static void note_acked(struct vnic_connection *connection, void *user, uint64_t offset)
{
	struct iperf3_stream *stream = user;

	(void)connection;
	stream->acked_offset = offset;
	if (stream->test->parameters.window_bytes && stream->is_started && !stream->is_settled)
		offer(stream, iperf3_now_ns());
}

static size_t receive_bytes(struct vnic_connection *connection, void *user, const uint8_t *bytes,
			    size_t length_bytes)
{
	struct iperf3_stream *stream = user;

	(void)connection;
	(void)bytes;
	stream->received_bytes += length_bytes;
	if (iperf3_test_phase(stream->test) < IPERF3_RUNNING || stream->counts->is_sender)
		return length_bytes;
	atomic_store_explicit(&stream->counts->bytes,
			      stream->received_bytes - stream->omitted_bytes, memory_order_relaxed);
	atomic_store_explicit(&stream->counts->last_ns, iperf3_now_ns(), memory_order_relaxed);
	return length_bytes;
}

/* Bytes sent up to now, and how often something had to be sent again. */
static void count_sent(const struct iperf3_stream *stream, uint64_t *bytes, uint64_t *retransmits)
{
	struct vnic_connection_info info;

	*bytes = stream->sent_bytes;
	*retransmits = 0;
	if (!stream->connection)
		return;
	vnic_connection_query(stream->connection, &info);
	*bytes = info.sent_bytes;
	*retransmits = info.retransmitted_segments;
}

static void publish_sent(struct iperf3_stream *stream)
{
	struct iperf3_counts *counts = stream->counts;
	uint64_t bytes, retransmits;

	count_sent(stream, &bytes, &retransmits);
	atomic_store(&counts->bytes, bytes - stream->omitted_bytes);
	atomic_store(&counts->retransmits, retransmits - stream->omitted_retransmits);
	atomic_store(&counts->packets, stream->sent_packets);
}

static void settle(struct iperf3_stream *stream)
{
	if (stream->is_settled)
		return;
	if (stream->is_started && stream->counts->is_sender)
		publish_sent(stream);
	stream->is_settled = true;
	atomic_store(&stream->counts->is_settled, true);
}

static void note_event(struct vnic_connection *connection, void *user,
		       enum vnic_connection_event event, int code)
{
	struct iperf3_stream *stream = user;

	(void)code;
	stream->shard->is_stirred = true;
	if (event == VNIC_CONNECTION_FINISHED) {
		settle(stream);
		vnic_connection_finish(connection);
	} else if (event == VNIC_CONNECTION_CLOSED) {
		settle(stream);
		stream->connection = NULL;
	}
}

static const struct vnic_connection_operations operations = {
	.read = read_pattern,
	.acked = note_acked,
	.receive = receive_bytes,
	.event = note_event,
};

static int make_stream(struct iperf3_shard *shard, struct iperf3_test *test, unsigned index,
		       struct iperf3_stream **stream)
{
	if (shard->stream_count == STREAMS_MOST)
		return -ENOSPC;
	*stream = calloc(1, sizeof(**stream));
	if (!*stream)
		return -ENOMEM;
	(*stream)->shard = shard;
	(*stream)->test = test;
	(*stream)->counts = &test->counts[index];
	(*stream)->next = shard->streams;
	shard->streams = *stream;
	shard->stream_count++;
	shard->is_stirred = true;
	return 0;
}

int iperf3_stream_adopt(struct iperf3_shard *shard, struct iperf3_test *test, unsigned index,
			struct vnic_connection *connection)
{
	struct iperf3_stream *stream;
	int code = make_stream(shard, test, index, &stream);

	if (code < 0)
		return code;
	stream->connection = connection;
	vnic_connection_set_user(connection, &operations, stream);
	return 0;
}

int iperf3_stream_open(struct iperf3_shard *shard, struct iperf3_test *test, unsigned index,
		       const struct vnic_flow *flow)
{
	struct vnic_endpoint_options options = {
		.address = flow->local_address,
		.port = flow->local_port,
		.remote_address = flow->remote_address,
		.remote_port = flow->remote_port,
		.receive = iperf3_udp_receive,
	};
	struct vnic_endpoint *endpoint;
	struct iperf3_stream *stream;
	int code = make_stream(shard, test, index, &stream);

	if (code < 0)
		return code;
	options.user = stream;
	code = vnic_endpoint_open(shard->stack, &options, &endpoint, NULL);
	if (code < 0) {
		shard->streams = stream->next;
		shard->stream_count--;
		free(stream);
		return code;
	}
	stream->endpoint = endpoint;
	return 0;
}

static uint64_t omit_ns(const struct iperf3_test *test)
{
	return test->parameters.omit_s * IPERF3_SECOND_NS;
}

/* The beginning is over that nobody wants to know of: count from here. */
static void omit(struct iperf3_stream *stream)
{
	stream->has_omitted = true;
	if (stream->counts->is_sender) {
		count_sent(stream, &stream->omitted_bytes, &stream->omitted_retransmits);
		return;
	}
	stream->omitted_bytes = stream->received_bytes;
	stream->jitter_ns = 0;
	atomic_store(&stream->counts->bytes, 0);
}

static uint64_t run(struct iperf3_stream *stream, uint64_t now_ns)
{
	const struct iperf3_parameters *parameters = &stream->test->parameters;
	uint64_t next = now_ns + IPERF3_TICK_NS, due;

	if (!stream->has_omitted && omit_ns(stream->test) &&
	    now_ns >= stream->test->start_ns + omit_ns(stream->test))
		omit(stream);
	if (!stream->counts->is_sender || stream->is_settled)
		return next;
	if (parameters->is_udp) {
		due = iperf3_udp_send(stream, now_ns);
		next = due < next ? due : next;
	} else if (!stream->is_started || parameters->rate_bits) {
		stream->is_started = true;
		offer(stream, now_ns);
	}
	stream->is_started = true;
	publish_sent(stream);
	return next;
}

/* Send no more, nor count what comes. */
static void finish(struct iperf3_stream *stream)
{
	if (stream->is_settled)
		return;
	settle(stream);
	if (stream->connection)
		vnic_connection_finish(stream->connection);
}

/* Returns when to look again; 0: the stream can go. */
static uint64_t close_stream(struct iperf3_stream *stream, uint64_t now_ns)
{
	settle(stream);
	if (!stream->is_closing) {
		stream->is_closing = true;
		stream->linger_ns = now_ns;
		if (iperf3_test_phase(stream->test) == IPERF3_OVER && stream->connection) {
			stream->linger_ns += LINGER_NS;
			vnic_connection_finish(stream->connection);
		}
	}
	if (stream->connection && now_ns >= stream->linger_ns)
		vnic_connection_abort(stream->connection);
	return stream->connection ? stream->linger_ns : 0;
}

/* Returns when to look again; 0: the stream can go. */
static uint64_t advance(struct iperf3_stream *stream, uint64_t now_ns)
{
	switch (iperf3_test_phase(stream->test)) {
	case IPERF3_RUNNING:
		return run(stream, now_ns);
	case IPERF3_ENDING:
		if (stream->counts->is_sender)
			finish(stream);
		break;
	case IPERF3_CLOSING:
		finish(stream);
		break;
	case IPERF3_OVER:
	case IPERF3_ABORTED:
		return close_stream(stream, now_ns);
	case IPERF3_PREPARING:
	case IPERF3_JOINING:
		break;
	}
	return now_ns + IPERF3_TICK_NS;
}

static void free_stream(struct iperf3_stream *stream)
{
	if (stream->connection)
		vnic_connection_abort(stream->connection); /* which forgets it */
	settle(stream);
	vnic_endpoint_close(stream->endpoint);
	stream->shard->stream_count--;
	iperf3_test_release(stream->test);
	free(stream);
}

void iperf3_streams_advance(struct iperf3_shard *shard, uint64_t now_ns, uint64_t *next_ns)
{
	struct iperf3_stream **link = &shard->streams, *stream;
	uint64_t next;

	while ((stream = *link) != NULL) {
		next = advance(stream, now_ns);
		if (next == 0) {
			*link = stream->next;
			free_stream(stream);
			continue;
		}
		if (next < *next_ns)
			*next_ns = next;
		link = &stream->next;
	}
}

void iperf3_streams_free(struct iperf3_shard *shard)
{
	struct iperf3_stream *stream;

	while ((stream = shard->streams) != NULL) {
		shard->streams = stream->next;
		free_stream(stream);
	}
}
