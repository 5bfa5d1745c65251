/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * An exchange is one connection of ours and what we do with it, which is the same whoever opened it: see
 * the table. It is driven by the ready callback of its socket: read until there is nothing, write
 * until there is no room, finish when all is said. The bytes that it sends are a function of the seed and of
 * their offset, so they can be made again wherever they must be sent again; what went out and what
 * came in is summed up by CRC-32, which the other end computes as well.
 */
#include "tcp_peer.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LATE_BYTES 4096
#define LATE_NS 1000000u

const struct behaviour behaviours[] = {
	{"echo", 7, .echoes = true},
	{"sink", 9, .replies = true},
	{"source", 19, .sends = true},
	{"late", 21, .replies = true, .reads_late = true},
	{"first", 22, .finishes_first = true},
	{"hold", 23, .sends = false},
	{"direct", 24, .sends = true, .direct = true},
};
const unsigned behaviour_count = sizeof(behaviours) / sizeof(behaviours[0]);

struct exchange {
	struct exchange *next, **link;
	struct peer *peer;
	const struct behaviour *behaviour;
	struct vnic_socket *socket;         /* or */
	struct vnic_connection *connection; /* of a direct one */
	struct vnic_flow flow;
	struct vnic_connection_info info; /* as it was when it was last looked at */
	uint64_t to_send_bytes, sent_bytes, received_bytes;
	uint32_t sent_crc, received_crc;
	uint64_t late_ns;
	bool is_client, has_begun, has_ended, has_finished;
};

const struct behaviour *behaviour_find(const char *name)
{
	for (unsigned i = 0; i < behaviour_count; i++)
		if (strcmp(behaviours[i].name, name) == 0)
			return &behaviours[i];
	return NULL;
}

/* CRC-32 of IEEE 802.3, as zlib and every language have it. */
static uint32_t crc(uint32_t before, const uint8_t *bytes, size_t length_bytes)
{
	static uint32_t table[256];
	uint32_t value;

	for (uint32_t i = 0; table[255] == 0 && i < 256; i++) {
		value = i;
		for (unsigned bit = 0; bit < 8; bit++)
			value = value & 1 ? value >> 1 ^ 0xedb88320u : value >> 1;
		table[i] = value;
	}
	value = ~before;
	while (length_bytes-- > 0)
		value = table[(value ^ *bytes++) & 0xff] ^ value >> 8;
	return ~value;
}

/* The eight bytes at a place: the generator SplitMix64. */
static uint64_t word_at(uint64_t seed, uint64_t place)
{
	uint64_t word = seed + (place + 1) * UINT64_C(0x9e3779b97f4a7c15);

	word = (word ^ word >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	word = (word ^ word >> 27) * UINT64_C(0x94d049bb133111eb);
	return word ^ word >> 31;
}

static void generate(uint64_t seed, uint64_t offset, uint8_t *bytes, size_t length_bytes)
{
	for (size_t i = 0; i < length_bytes; i++, offset++)
		bytes[i] = (uint8_t)(word_at(seed, offset / 8) >> offset % 8 * 8);
}

static void print_info(const struct vnic_connection_info *info)
{
	printf("{\"state\":\"%s\",\"sent_bytes\":%" PRIu64 ",\"acked_bytes\":%" PRIu64
	       ",\"received_bytes\":%" PRIu64 ",\"retransmitted_bytes\":%" PRIu64
	       ",\"retransmitted_segments\":%" PRIu64 ",\"sent_segments\":%" PRIu64
	       ",\"received_segments\":%" PRIu64 ",\"timeouts\":%" PRIu64 ",\"rtt_ns\":%" PRIu64
	       ",\"rto_ns\":%" PRIu64 ",\"congestion_window_bytes\":%u"
	       ",\"send_window_bytes\":%u,\"receive_window_bytes\":%u,\"in_flight_bytes\":%u"
	       ",\"out_of_order_bytes\":%u,\"segment_bytes\":%u,\"has_sack\":%d"
	       ",\"has_timestamps\":%d,\"has_window_scale\":%d,\"has_ecn\":%d}",
	       info->state ? info->state : "", info->sent_bytes, info->acked_bytes,
	       info->received_bytes, info->retransmitted_bytes, info->retransmitted_segments,
	       info->sent_segments, info->received_segments, info->timeouts, info->rtt_ns,
	       info->rto_ns, info->congestion_window_bytes, info->send_window_bytes,
	       info->receive_window_bytes, info->in_flight_bytes, info->out_of_order_bytes,
	       info->segment_bytes, info->has_sack, info->has_timestamps, info->has_window_scale,
	       info->has_ecn);
}

static void print_exchange(const struct exchange *exchange)
{
	printf("\"service\":\"%s\",\"client\":%d,\"local_port\":%u,\"remote_port\":%u"
	       ",\"sent\":%" PRIu64 ",\"sent_crc\":%u,\"received\":%" PRIu64
	       ",\"received_crc\":%u,\"info\":",
	       exchange->behaviour->name, exchange->is_client, exchange->flow.local_port,
	       exchange->flow.remote_port, exchange->sent_bytes, exchange->sent_crc,
	       exchange->received_bytes, exchange->received_crc);
	print_info(&exchange->info);
}

static void look(struct exchange *exchange)
{
	struct vnic_connection *connection = exchange->connection;

	if (exchange->socket)
		connection = vnic_socket_connection(exchange->socket);
	if (!connection)
		return;
	exchange->flow = *vnic_connection_flow(connection);
	vnic_connection_query(connection, &exchange->info);
}

static struct exchange *begin(struct peer *peer, const struct behaviour *behaviour)
{
	struct exchange *exchange = calloc(1, sizeof(*exchange));

	if (!exchange)
		abort();
	exchange->peer = peer;
	exchange->behaviour = behaviour;
	exchange->to_send_bytes = behaviour->sends ? peer->options.bytes : 0;
	exchange->next = peer->exchanges;
	exchange->link = &peer->exchanges;
	if (exchange->next)
		exchange->next->link = &exchange->next;
	peer->exchanges = exchange;
	peer->active++;
	return exchange;
}

static void forget(struct exchange *exchange)
{
	*exchange->link = exchange->next;
	if (exchange->next)
		exchange->next->link = exchange->link;
	exchange->peer->active--;
	free(exchange);
}

/* It is over: in order (0), or why not. A socket is still open. */
static void conclude(struct exchange *exchange, int error)
{
	struct peer *peer = exchange->peer;

	if (error < 0) {
		peer->failed++;
		peer->last_error = error;
	} else {
		peer->finished++;
	}
	if (!peer->options.quiet) {
		printf("{\"event\":\"closed\",\"error\":%d,", -error);
		print_exchange(exchange);
		printf("}\n");
		fflush(stdout);
	}
	vnic_socket_close(exchange->socket);
	forget(exchange);
}

/* @return 0: the other end sends no more; -EAGAIN: not now; another negative errno: it failed */
static ssize_t read_some(struct exchange *exchange, size_t most)
{
	const uint8_t *bytes;
	ssize_t there, taken;

	while (most > 0) {
		there = vnic_socket_peek(exchange->socket, &bytes);
		if (there <= 0)
			return there;
		taken = (size_t)there < most ? there : (ssize_t)most;
		if (exchange->behaviour->echoes) {
			taken = vnic_socket_write(exchange->socket, bytes, (size_t)taken);
			if (taken < 0)
				return taken;
			exchange->sent_crc = crc(exchange->sent_crc, bytes, (size_t)taken);
			exchange->sent_bytes += (uint64_t)taken;
		}
		exchange->received_crc = crc(exchange->received_crc, bytes, (size_t)taken);
		exchange->received_bytes += (uint64_t)taken;
		vnic_socket_consume(exchange->socket, (size_t)taken);
		most -= (size_t)taken;
	}
	return -EAGAIN;
}

/* @return 0: all is written; -EAGAIN: not now; another negative errno: it failed */
static ssize_t write_some(struct exchange *exchange)
{
	uint8_t bytes[8192] = {0};

	while (exchange->sent_bytes < exchange->to_send_bytes) {
		uint64_t left = exchange->to_send_bytes - exchange->sent_bytes;
		size_t length = left < sizeof(bytes) ? (size_t)left : sizeof(bytes);
		ssize_t written;

		generate(exchange->peer->options.seed, exchange->sent_bytes, bytes, length);
		written = vnic_socket_write(exchange->socket, bytes, length);
		if (written < 0)
			return written;
		exchange->sent_crc = crc(exchange->sent_crc, bytes, (size_t)written);
		exchange->sent_bytes += (uint64_t)written;
	}
	return 0;
}

/* The digest of what came, after all of it did: the other way is still open. */
static ssize_t reply(struct exchange *exchange)
{
	char text[16] = "";
	int length = snprintf(text, sizeof(text), "%08x", exchange->received_crc);
	ssize_t written = vnic_socket_write(exchange->socket, text, (size_t)length);

	if (written < 0)
		return written;
	exchange->sent_crc = crc(0, (const uint8_t *)text, (size_t)written);
	exchange->sent_bytes += (uint64_t)written;
	return 0;
}

static void finish(struct exchange *exchange)
{
	exchange->has_finished = true;
	vnic_socket_shutdown(exchange->socket);
}

/* Do what can be done. The exchange may be gone afterwards. */
static void proceed(struct exchange *exchange, size_t most)
{
	const struct behaviour *behaviour = exchange->behaviour;
	ssize_t code;

	look(exchange);
	if (behaviour->finishes_first && !exchange->has_finished)
		finish(exchange);
	code = exchange->has_ended ? 0 : read_some(exchange, most);
	if (code == 0 && !exchange->has_ended) {
		exchange->has_ended = true;
		if (behaviour->replies)
			code = reply(exchange);
	}
	if (code == 0 || code == -EAGAIN)
		code = write_some(exchange);
	look(exchange);
	if (code < 0 && code != -EAGAIN) {
		conclude(exchange, (int)code);
		return;
	}
	if (code == 0 && !exchange->has_finished && (behaviour->sends || exchange->has_ended))
		finish(exchange);
	if (exchange->has_ended && exchange->has_finished)
		conclude(exchange, 0);
}

static void on_ready(struct vnic_socket *socket, void *user, unsigned ready)
{
	struct exchange *exchange = user;

	exchange->has_begun = true;
	if (ready & VNIC_SOCKET_FAILED) {
		look(exchange);
		conclude(exchange, vnic_socket_error(socket));
		return;
	}
	if (!exchange->behaviour->reads_late)
		proceed(exchange, SIZE_MAX);
}

static void on_acceptable(struct vnic_socket *listening, void *user, unsigned ready)
{
	struct peer *peer = user;
	struct vnic_socket *socket;
	unsigned which = 0;

	(void)ready;
	while (peer->listening[which] != listening)
		which++;
	while (vnic_socket_accept(listening, &socket) == 0) {
		struct exchange *exchange = begin(peer, &behaviours[which]);

		exchange->socket = socket;
		peer->started++;
		vnic_socket_set_ready(socket, on_ready, exchange);
		on_ready(socket, exchange, vnic_socket_error(socket) ? VNIC_SOCKET_FAILED : 0);
	}
}

/* Direct ones. */

static size_t on_read(struct vnic_connection *connection, void *user, uint64_t offset,
		      uint8_t *bytes, size_t length_bytes)
{
	struct exchange *exchange = user;
	uint64_t new_offset = exchange->sent_bytes;

	(void)connection;
	generate(exchange->peer->options.seed, offset, bytes, length_bytes);
	/* Whatever was not read before follows what was. */
	if (offset > new_offset || offset + length_bytes > exchange->to_send_bytes)
		abort();
	if (offset + length_bytes > new_offset) {
		size_t known = (size_t)(new_offset - offset);

		exchange->sent_crc = crc(exchange->sent_crc, bytes + known, length_bytes - known);
		exchange->sent_bytes = offset + length_bytes;
	}
	return length_bytes;
}

static size_t on_receive(struct vnic_connection *connection, void *user, const uint8_t *bytes,
			 size_t length_bytes)
{
	struct exchange *exchange = user;

	(void)connection;
	exchange->received_crc = crc(exchange->received_crc, bytes, length_bytes);
	exchange->received_bytes += length_bytes;
	return length_bytes;
}

static void on_event(struct vnic_connection *connection, void *user,
		     enum vnic_connection_event event, int code)
{
	struct exchange *exchange = user;

	look(exchange);
	switch (event) {
	case VNIC_CONNECTION_ESTABLISHED:
		exchange->has_begun = true;
		vnic_connection_offer(connection, exchange->to_send_bytes);
		vnic_connection_finish(connection);
		break;
	case VNIC_CONNECTION_FINISHED:
		exchange->has_ended = true;
		break;
	case VNIC_CONNECTION_CLOSED:
		if (code == 0 &&
		    (!exchange->has_ended || exchange->sent_bytes < exchange->to_send_bytes))
			code = -EPROTO; /* it has not */
		exchange->connection = NULL;
		conclude(exchange, code);
		break;
	}
}

static const struct vnic_connection_operations operations = {
	.read = on_read,
	.receive = on_receive,
	.event = on_event,
};

static int on_accept(void *user, struct vnic_connection *connection)
{
	struct peer *peer = user;
	struct exchange *exchange = begin(peer, behaviour_find("direct"));

	exchange->connection = connection;
	peer->started++;
	vnic_connection_set_user(connection, &operations, exchange);
	return 0;
}

int exchanges_listen(struct peer *peer, struct vnic_error *error)
{
	struct vnic_socket_options options = peer->options.socket;
	struct vnic_listener_options direct = {
		.connection = options.connection,
		.backlog = options.backlog,
		.accept = on_accept,
		.user = peer,
	};
	int code = 0;

	options.ready = on_acceptable;
	options.user = peer;
	for (unsigned i = 0; code == 0 && i < behaviour_count; i++) {
		direct.port = behaviours[i].port;
		if (behaviours[i].direct)
			code = vnic_listener_open(peer->stack, &direct, &peer->direct[i], error);
		else
			code = vnic_socket_listen(peer->stack, NULL, behaviours[i].port, &options,
						  &peer->listening[i], error);
	}
	return code;
}

static void connect_one(struct peer *peer)
{
	struct exchange *exchange = begin(peer, peer->options.behaviour);
	struct vnic_socket_options options = peer->options.socket;
	struct vnic_error error;
	int code;

	exchange->is_client = true;
	options.ready = on_ready;
	options.user = exchange;
	if (exchange->behaviour->direct)
		code = vnic_connection_open(peer->stack, &peer->options.flow, &options.connection,
					    &operations, exchange, &exchange->connection, &error);
	else
		code = vnic_socket_connect(peer->stack, &peer->options.flow, &options,
					   &exchange->socket, &error);
	look(exchange);
	if (code < 0) {
		fprintf(stderr, "tcp_peer: %s\n", error.text);
		conclude(exchange, code);
	}
}

void exchanges_connect(struct peer *peer)
{
	while (peer->options.behaviour && peer->started < peer->options.connections &&
	       peer->active < peer->options.parallel) {
		peer->started++;
		connect_one(peer);
	}
	if (peer->options.behaviour && !peer->has_connected && peer->active == 0 &&
	    peer->started == peer->options.connections) {
		peer->has_connected = true;
		printf("{\"event\":\"done\",\"finished\":%u,\"failed\":%u,\"last_error\":%d}\n",
		       peer->finished, peer->failed, -peer->last_error);
		fflush(stdout);
	}
}

uint64_t exchanges_advance(struct peer *peer, uint64_t now_ns)
{
	uint64_t when = VNIC_NEVER;

	for (struct exchange *next, *exchange = peer->exchanges; exchange; exchange = next) {
		next = exchange->next;
		if (!exchange->behaviour->reads_late || !exchange->has_begun || !peer->is_released)
			continue;
		if (now_ns >= exchange->late_ns) {
			exchange->late_ns = now_ns + LATE_NS;
			proceed(exchange, LATE_BYTES);
			when = now_ns + LATE_NS; /* or it has ended: too early does no harm */
		} else if (exchange->late_ns < when) {
			when = exchange->late_ns;
		}
	}
	return when;
}

void exchanges_print(const struct peer *peer)
{
	printf("[");
	for (struct exchange *exchange = peer->exchanges; exchange; exchange = exchange->next) {
		look(exchange);
		printf("%s{", exchange == peer->exchanges ? "" : ",");
		print_exchange(exchange);
		printf("}");
	}
	printf("]");
}

void exchanges_end(struct peer *peer)
{
	for (unsigned i = 0; i < behaviour_count; i++) {
		vnic_socket_close(peer->listening[i]);
		vnic_listener_close(peer->direct[i]);
	}
	while (peer->exchanges) {
		struct exchange *exchange = peer->exchanges;

		if (exchange->connection) { /* its end is told, and it is forgotten */
			vnic_connection_abort(exchange->connection);
			continue;
		}
		vnic_socket_abort(exchange->socket);
		forget(exchange);
	}
}
