/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. A stream over UDP is opened by a datagram of four bytes, which is answered
 * likewise, and then its datagrams carry the time when they were sent and a number that counts up
 * from 1. What is missing between the numbers was lost, until it comes late; jitter is that of RFC
 * 3550 section 6.4.1. The datagrams of a super-datagram came at one time, which is how they are
 * counted.
 *
 * What is sent is paced: at any time as much as the rate allows since the beginning. It goes out as
 * super-datagrams, in which each datagram has its own header; the rest is the pattern that the
 * frame was filled with. Whoever cannot keep up for a while does not make up for more than
 * BEHIND_NS of it: a burst of seconds would be no rate.
 */
#include "iperf3.h"

#include <endian.h>
#include <string.h>

#define GREETING_BYTES 4
#define GREETINGS_MOST 4        /* answered on one stream */
#define SEGMENTS_MOST 64        /* of a super-datagram, which older kernels have too */
#define FRAME_BYTES_MOST 65000u /* with its headers a packet has at most 65535 */
#define CALL_BYTES_MOST 262144u /* and then the others have their turn */
#define BEHIND_NS (100 * IPERF3_MILLISECOND_NS)
#define IPV4_HEADERS_BYTES 28u
#define IPV6_HEADERS_BYTES 48u

/* Both ends of the greeting, of version 3.12 and of those before, as little-endian hosts write them. */
static const uint32_t greetings[][2] = {
	{0x36373839, 0x39383736},
	{123456789, 987654321},
};
#define GREETINGS (sizeof(greetings) / sizeof(greetings[0]))

/* The answer to a greeting; false: it is none. */
static bool find_answer(const struct vnic_datagram *datagram, uint8_t answer[GREETING_BYTES])
{
	uint32_t word;
	size_t i;

	if (datagram->length_bytes < GREETING_BYTES || datagram->segment_bytes != 0 ||
	    datagram->length_bytes > GREETING_BYTES)
		return false;
	memcpy(&word, datagram->payload, sizeof(word));
	for (i = 0; i < GREETINGS; i++) {
		uint32_t reply;

		if (le32toh(word) == greetings[i][0])
			reply = htole32(greetings[i][1]);
		else if (be32toh(word) == greetings[i][0])
			reply = htobe32(greetings[i][1]);
		else
			continue;
		memcpy(answer, &reply, GREETING_BYTES);
		return true;
	}
	return false;
}

static bool is_greeting(const struct vnic_datagram *datagram)
{
	uint8_t answer[GREETING_BYTES];

	return find_answer(datagram, answer);
}

static void greet(struct vnic_endpoint *endpoint, const struct vnic_datagram *datagram)
{
	uint8_t answer[GREETING_BYTES];
	struct vnic_datagram reply = {
		.flow = datagram->flow,
		.payload = answer,
		.length_bytes = sizeof(answer),
	};

	if (find_answer(datagram, answer))
		(void)vnic_endpoint_send(endpoint, &reply, 1);
}

static void note_number(struct iperf3_stream *stream, uint64_t number)
{
	if (number > stream->highest_number) {
		stream->lost_packets += number - stream->highest_number - 1;
		stream->highest_number = number;
	} else if (stream->lost_packets > 0) {
		stream->lost_packets--; /* it is late, and was counted */
	}
}

static void note_transit(struct iperf3_stream *stream, uint64_t sent_ns, uint64_t now_ns)
{
	int64_t transit_ns = (int64_t)(now_ns - sent_ns);
	int64_t difference = transit_ns - stream->transit_ns;

	if (stream->has_transit)
		stream->jitter_ns +=
			((double)(difference < 0 ? -difference : difference) - stream->jitter_ns) /
			16;
	stream->has_transit = true;
	stream->transit_ns = transit_ns;
}

static void receive_one(struct iperf3_stream *stream, const uint8_t *bytes, size_t length_bytes,
			uint64_t now_ns)
{
	struct iperf3_datagram datagram;

	if (iperf3_datagram_parse(bytes, length_bytes, stream->test->parameters.has_wide_counters,
				  &datagram) < 0)
		return;
	stream->received_bytes += length_bytes;
	note_number(stream, datagram.number);
	note_transit(stream, datagram.sent_ns, now_ns);
}

static void publish(struct iperf3_stream *stream, uint64_t now_ns)
{
	struct iperf3_counts *counts = stream->counts;

	atomic_store_explicit(&counts->bytes, stream->received_bytes - stream->omitted_bytes,
			      memory_order_relaxed);
	atomic_store_explicit(&counts->packets, stream->highest_number, memory_order_relaxed);
	atomic_store_explicit(&counts->errors, stream->lost_packets, memory_order_relaxed);
	atomic_store_explicit(&counts->jitter_ns, (uint64_t)stream->jitter_ns,
			      memory_order_relaxed);
	atomic_store_explicit(&counts->last_ns, now_ns, memory_order_relaxed);
}

/*
 * A greeting on a stream that there is already: our answer was lost, or the next test uses the same
 * ports and is faster than our closing the stream. Returns false if the stream is closed.
 */
static bool greet_again(struct iperf3_stream *stream, enum iperf3_phase phase,
			const struct vnic_datagram *datagram)
{
	struct iperf3_shard *shard = stream->shard;

	if (phase == IPERF3_JOINING && stream->greetings < GREETINGS_MOST) {
		stream->greetings++;
		greet(stream->endpoint, datagram);
	}
	if (phase < IPERF3_OVER)
		return true;
	vnic_endpoint_close(stream->endpoint);
	stream->endpoint = NULL;
	iperf3_udp_open(shard->endpoint, shard, datagram, 1);
	return false;
}

void iperf3_udp_open(struct vnic_endpoint *endpoint, void *user,
		     const struct vnic_datagram *datagrams, unsigned count)
{
	struct iperf3_shard *shard = user;
	struct iperf3_test *test;
	unsigned i, index;

	(void)endpoint;
	for (i = 0; i < count; i++) {
		const struct vnic_datagram *datagram = &datagrams[i];

		if (!is_greeting(datagram) ||
		    iperf3_test_call_udp(shard->shared, &datagram->flow, iperf3_now_ns(), &test,
					 &index) != IPERF3_ROLE_STREAM)
			continue;
		/* Where it fails the client gets no answer, and the test its time limit. */
		if (iperf3_stream_open(shard, test, index, &datagram->flow) < 0)
			iperf3_test_release(test);
		else
			greet(shard->streams->endpoint, datagram);
	}
}

void iperf3_udp_receive(struct vnic_endpoint *endpoint, void *user,
			const struct vnic_datagram *datagrams, unsigned count)
{
	struct iperf3_stream *stream = user;
	enum iperf3_phase phase = iperf3_test_phase(stream->test);
	uint64_t now_ns = iperf3_now_ns();
	size_t at, length;
	unsigned i;

	(void)endpoint;
	for (i = 0; i < count; i++) {
		const struct vnic_datagram *datagram = &datagrams[i];

		if (phase != IPERF3_RUNNING && is_greeting(datagram)) {
			if (!greet_again(stream, phase, datagram))
				return; /* the endpoint is another's now */
			continue;
		}
		if (phase < IPERF3_RUNNING || phase > IPERF3_ENDING || stream->counts->is_sender)
			continue;
		for (at = 0; at < datagram->length_bytes; at += length) {
			length = datagram->length_bytes - at;
			if (datagram->segment_bytes && length > datagram->segment_bytes)
				length = datagram->segment_bytes;
			receive_one(stream, datagram->payload + at, length, now_ns);
		}
	}
	if (phase == IPERF3_RUNNING || phase == IPERF3_ENDING)
		if (!stream->counts->is_sender)
			publish(stream, now_ns);
}

/* How many datagrams go into one super-datagram. Those that must be fragmented go alone. */
static unsigned find_segments(const struct iperf3_stream *stream)
{
	const struct vnic_address *remote = &stream->counts->flow.remote_address;
	unsigned headers = remote->family == VNIC_IPV6 ? IPV6_HEADERS_BYTES : IPV4_HEADERS_BYTES;
	unsigned length = stream->test->parameters.block_bytes, segments;

	if (length + headers > vnic_stack_path_mtu(stream->shard->stack, remote))
		return 1;
	segments = FRAME_BYTES_MOST / length;
	return segments < 1 ? 1 : segments > SEGMENTS_MOST ? SEGMENTS_MOST : segments;
}

/* Send count datagrams as one. What cannot be sent is lost, as it would be on the way. */
static void send_some(struct iperf3_stream *stream, unsigned count, uint64_t now_ns)
{
	const struct iperf3_parameters *parameters = &stream->test->parameters;
	struct iperf3_datagram header = {.sent_ns = now_ns};
	struct vnic_datagram datagram = {
		.flow = stream->counts->flow,
		.payload = stream->shard->frame,
		.length_bytes = (size_t)count * parameters->block_bytes,
		.segment_bytes = count > 1 ? (uint16_t)parameters->block_bytes : 0,
		.traffic_class = parameters->traffic_class & 0xfc, /* ECN is not the client's */
	};
	unsigned i;

	for (i = 0; i < count; i++) {
		header.number = stream->sent_packets + i + 1;
		iperf3_datagram_build(stream->shard->frame + (size_t)i * parameters->block_bytes,
				      parameters->has_wide_counters, &header);
	}
	(void)vnic_endpoint_send(stream->endpoint, &datagram, 1);
	stream->sent_packets += count;
	stream->paced_packets += count;
	stream->sent_bytes += datagram.length_bytes;
}

/* When the datagram with that index may go, counted from where pacing began. */
static uint64_t due_ns(const struct iperf3_stream *stream, uint64_t index)
{
	const struct iperf3_parameters *parameters = &stream->test->parameters;
	double bits = (double)index * parameters->block_bytes * 8;

	return stream->pace_ns +
	       (uint64_t)(bits / (double)parameters->rate_bits * (double)IPERF3_SECOND_NS);
}

/* How many may go now. */
static uint64_t count_due(struct iperf3_stream *stream, uint64_t now_ns)
{
	const struct iperf3_parameters *parameters = &stream->test->parameters;
	double allowed;

	if (parameters->rate_bits == 0)
		return UINT64_MAX;
	if (stream->pace_ns == 0)
		stream->pace_ns = now_ns;
	if (due_ns(stream, stream->paced_packets) + BEHIND_NS < now_ns) {
		stream->pace_ns = now_ns - BEHIND_NS;
		stream->paced_packets = 0;
	}
	allowed = (double)(now_ns - stream->pace_ns) / (double)IPERF3_SECOND_NS *
		  (double)parameters->rate_bits / 8 / parameters->block_bytes;
	if ((uint64_t)allowed + 1 <= stream->paced_packets)
		return 0;
	return (uint64_t)allowed + 1 - stream->paced_packets;
}

uint64_t iperf3_udp_send(struct iperf3_stream *stream, uint64_t now_ns)
{
	const struct iperf3_parameters *parameters = &stream->test->parameters;
	uint64_t due = count_due(stream, now_ns), at_once = parameters->burst_blocks, next;
	unsigned segments = find_segments(stream), count;
	size_t bytes = 0;

	if (due >= at_once) {
		while (due > 0 && bytes < CALL_BYTES_MOST) {
			count = due < segments ? (unsigned)due : segments;
			send_some(stream, count, now_ns);
			bytes += (size_t)count * parameters->block_bytes;
			due -= count;
		}
	}
	if (due > 0 && due >= at_once)
		return now_ns;
	/* Not before some are due together, so that they can travel together. */
	next = due_ns(stream, stream->paced_packets + (at_once ? at_once - 1 : 0));
	return next > now_ns + parameters->pacing_ns ? next : now_ns + parameters->pacing_ns;
}
