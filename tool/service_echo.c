/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. Echo (RFC 862), TCP and UDP port 7: sends back what it gets. A connection has
 * a ring, of the bytes that were received and are not acknowledged on their way back: they are
 * copied in once, and out when they are sent, and sent again. Offsets of both directions are the
 * same, since what is sent is what was received. While the ring is full the window is closed, so a
 * client that only sends and never reads is stopped, and costs no more than its ring.
 *
 * Over UDP each datagram goes back as it lies there. Datagrams from ports below 1024, where services
 * live, get no answer: two echo services would else exchange one datagram for ever.
 */
#include "service.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ECHO_PORT 7
#define RING_BYTES (256u << 10)
#define CONNECTIONS_MOST 256 /* on each shard, so 64 MiB at most */
#define KEEPALIVE_NS UINT64_C(60000000000)

struct echo;

struct echoed {
	struct echo *echo;
	struct vnic_connection *connection;
	struct echoed *previous, *next;
	uint64_t received, acked; /* offsets: what lies in the ring is between them */
	uint8_t *ring;
};

struct echo {
	struct vnic_listener *listener;
	struct vnic_endpoint *endpoint;
	struct echoed *first;
	unsigned count;
};

static size_t room_left(const struct echoed *echoed)
{
	return RING_BYTES - (size_t)(echoed->received - echoed->acked);
}

static size_t read_back(struct vnic_connection *connection, void *user, uint64_t offset,
			uint8_t *bytes, size_t length_bytes)
{
	const struct echoed *echoed = user;
	size_t at = (size_t)(offset % RING_BYTES), first = RING_BYTES - at;

	(void)connection;
	if (length_bytes > echoed->received - offset)
		length_bytes = (size_t)(echoed->received - offset);
	if (first > length_bytes)
		first = length_bytes;
	memcpy(bytes, echoed->ring + at, first);
	memcpy(bytes + first, echoed->ring, length_bytes - first);
	return length_bytes;
}

static void note_acked(struct vnic_connection *connection, void *user, uint64_t offset)
{
	struct echoed *echoed = user;

	echoed->acked = offset;
	vnic_connection_update_room(connection);
}

static size_t receive_bytes(struct vnic_connection *connection, void *user, const uint8_t *bytes,
			    size_t length_bytes)
{
	struct echoed *echoed = user;
	size_t at = (size_t)(echoed->received % RING_BYTES), first = RING_BYTES - at;

	if (length_bytes > room_left(echoed))
		length_bytes = room_left(echoed);
	if (first > length_bytes)
		first = length_bytes;
	memcpy(echoed->ring + at, bytes, first);
	memcpy(echoed->ring, bytes + first, length_bytes - first);
	echoed->received += length_bytes;
	vnic_connection_offer(connection, echoed->received);
	return length_bytes;
}

static size_t tell_room(struct vnic_connection *connection, void *user)
{
	(void)connection;
	return room_left(user);
}

static void forget(struct echoed *echoed)
{
	if (echoed->next)
		echoed->next->previous = echoed->previous;
	if (echoed->previous)
		echoed->previous->next = echoed->next;
	else
		echoed->echo->first = echoed->next;
	echoed->echo->count--;
	free(echoed->ring);
	free(echoed);
}

static void note_event(struct vnic_connection *connection, void *user,
		       enum vnic_connection_event event, int code)
{
	(void)code;
	if (event == VNIC_CONNECTION_FINISHED)
		vnic_connection_finish(connection);
	else if (event == VNIC_CONNECTION_CLOSED)
		forget(user);
}

static int accept_connection(void *user, struct vnic_connection *connection)
{
	static const struct vnic_connection_operations operations = {
		.read = read_back,
		.acked = note_acked,
		.receive = receive_bytes,
		.room = tell_room,
		.event = note_event,
	};
	struct echo *echo = user;
	struct echoed *echoed;

	if (echo->count == CONNECTIONS_MOST)
		return -ENOSPC;
	echoed = calloc(1, sizeof(*echoed));
	if (!echoed)
		return -ENOMEM;
	echoed->ring = malloc(RING_BYTES);
	if (!echoed->ring) {
		free(echoed);
		return -ENOMEM;
	}
	echoed->echo = echo;
	echoed->connection = connection;
	echoed->next = echo->first;
	if (echo->first)
		echo->first->previous = echoed;
	echo->first = echoed;
	echo->count++;
	vnic_connection_set_user(connection, &operations, echoed);
	return 0;
}

static void receive_datagrams(struct vnic_endpoint *endpoint, void *user,
			      const struct vnic_datagram *datagrams, unsigned count)
{
	unsigned begin = 0, end;
	int sent;

	(void)user;
	while (begin < count) {
		if (!service_may_answer(&datagrams[begin])) {
			begin++;
			continue;
		}
		for (end = begin + 1; end < count && service_may_answer(&datagrams[end]); end++)
			;
		while (begin < end) {
			sent = vnic_endpoint_send(endpoint, &datagrams[begin], end - begin);
			begin += sent > 0 ? (unsigned)sent : 1; /* that one is lost */
		}
	}
}

static void close_echo(void *state)
{
	struct echo *echo = state;

	while (echo->first)
		vnic_connection_abort(echo->first->connection); /* which forgets it */
	vnic_endpoint_close(echo->endpoint);
	vnic_listener_close(echo->listener);
	free(echo);
}

static int open_echo(const struct service_place *place, void **state, struct vnic_error *error)
{
	struct echo *echo = calloc(1, sizeof(*echo));
	struct vnic_listener_options listener = {
		.port = ECHO_PORT,
		.connection = {.window_bytes = RING_BYTES,
			       .no_nagle = true,
			       .keepalive_ns = KEEPALIVE_NS},
		.accept = accept_connection,
		.user = echo,
	};
	struct vnic_endpoint_options endpoint = {
		.port = ECHO_PORT,
		.receive = receive_datagrams,
	};
	int code;

	if (!echo)
		return service_no_memory(error);
	code = vnic_listener_open(place->stack, &listener, &echo->listener, error);
	if (code == 0)
		code = vnic_endpoint_open(place->stack, &endpoint, &echo->endpoint, error);
	if (code < 0)
		close_echo(echo);
	else
		*state = echo;
	return code;
}

const struct service echo_service = {
	.name = "echo",
	.summary = "TCP and UDP 7: sends back what it gets",
	.open = open_echo,
	.close = close_echo,
};
