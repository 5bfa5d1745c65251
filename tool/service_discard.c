/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. Discard (RFC 863), TCP and UDP port 9: takes everything, says nothing. A
 * connection needs no memory of ours: nobody takes its bytes, so its window never closes. That makes
 * it the other end of choice for measuring how fast one can send.
 *
 * The operations use no state, so there is none to outlive.
 */
#include "service.h"

#include <stdlib.h>

#define DISCARD_PORT 9
#define WINDOW_BYTES (4u << 20)
/* Who vanished without a word is noticed, and does not hold a connection for ever. */
#define KEEPALIVE_NS UINT64_C(60000000000)

struct discard {
	struct vnic_listener *listener;
	struct vnic_endpoint *endpoint;
};

static void note_event(struct vnic_connection *connection, void *user,
		       enum vnic_connection_event event, int code)
{
	(void)user;
	(void)code;
	if (event == VNIC_CONNECTION_FINISHED)
		vnic_connection_finish(connection);
}

static int accept_connection(void *user, struct vnic_connection *connection)
{
	static const struct vnic_connection_operations operations = {.event = note_event};

	(void)user;
	vnic_connection_set_user(connection, &operations, NULL);
	return 0;
}

static void receive_datagrams(struct vnic_endpoint *endpoint, void *user,
			      const struct vnic_datagram *datagrams, unsigned count)
{
	(void)endpoint;
	(void)user;
	(void)datagrams;
	(void)count;
}

static void close_discard(void *state)
{
	struct discard *discard = state;

	vnic_endpoint_close(discard->endpoint);
	vnic_listener_close(discard->listener);
	free(discard);
}

static int open_discard(const struct service_place *place, void **state, struct vnic_error *error)
{
	struct vnic_listener_options listener = {
		.port = DISCARD_PORT,
		.connection = {.window_bytes = WINDOW_BYTES, .keepalive_ns = KEEPALIVE_NS},
		.accept = accept_connection,
	};
	struct vnic_endpoint_options endpoint = {
		.port = DISCARD_PORT,
		.receive = receive_datagrams,
	};
	struct discard *discard = calloc(1, sizeof(*discard));
	int code;

	if (!discard)
		return service_no_memory(error);
	code = vnic_listener_open(place->stack, &listener, &discard->listener, error);
	if (code == 0)
		code = vnic_endpoint_open(place->stack, &endpoint, &discard->endpoint, error);
	if (code < 0)
		close_discard(discard);
	else
		*state = discard;
	return code;
}

const struct service discard_service = {
	.name = "discard",
	.summary = "TCP and UDP 9: takes everything, says nothing",
	.open = open_discard,
	.close = close_discard,
};
