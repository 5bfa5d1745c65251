/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. Character generator (RFC 864), TCP and UDP port 19: a pattern without end of
 * lines of 72 printable characters, each beginning one character later. What stands at which offset
 * is known, so a connection keeps nothing: what must be sent, and sent again, is copied from a table
 * that holds the whole period of 95 lines. That makes it the other end of choice for measuring how
 * fast one can receive.
 *
 * Over UDP the service is infamous: a datagram of nothing from a made-up address made it answer a
 * victim with 512 bytes, or another service that answered back, for ever. So an answer is never
 * longer than the question, and questions from ports below 1024, where services live, get none.
 */
#include "service.h"

#include <stdlib.h>
#include <string.h>

#define CHARGEN_PORT 19
#define LINE_CHARACTERS 72
#define LINE_BYTES (LINE_CHARACTERS + 2)
#define CHARACTERS 95 /* that can be printed, from ' ' on */
#define PERIOD_BYTES ((size_t)CHARACTERS * LINE_BYTES)
#define ANSWER_BYTES 512
#define KEEPALIVE_NS UINT64_C(60000000000)

struct chargen {
	struct vnic_listener *listener;
	struct vnic_endpoint *endpoint;
};

/* Twice, so that a period can be copied from any place in it. */
struct pattern {
	uint8_t bytes[2 * PERIOD_BYTES];
};

static void *make_pattern(struct host *host)
{
	struct pattern *pattern = malloc(sizeof(*pattern));
	size_t i;

	(void)host;
	if (!pattern)
		return NULL;
	for (i = 0; i < sizeof(pattern->bytes); i++) {
		size_t line = i / LINE_BYTES, column = i % LINE_BYTES;

		if (column < LINE_CHARACTERS)
			pattern->bytes[i] = (uint8_t)(' ' + (line + column) % CHARACTERS);
		else
			pattern->bytes[i] = column == LINE_CHARACTERS ? '\r' : '\n';
	}
	return pattern;
}

static size_t read_pattern(struct vnic_connection *connection, void *user, uint64_t offset,
			   uint8_t *bytes, size_t length_bytes)
{
	const struct pattern *pattern = user;
	size_t done = 0, part;

	(void)connection;
	while (done < length_bytes) {
		part = length_bytes - done < PERIOD_BYTES ? length_bytes - done : PERIOD_BYTES;
		memcpy(bytes + done, pattern->bytes + (offset + done) % PERIOD_BYTES, part);
		done += part;
	}
	return done;
}

static void note_event(struct vnic_connection *connection, void *user,
		       enum vnic_connection_event event, int code)
{
	(void)user;
	(void)code;
	if (event == VNIC_CONNECTION_ESTABLISHED)
		vnic_connection_offer(connection, UINT64_MAX);
	else if (event == VNIC_CONNECTION_FINISHED)
		vnic_connection_finish(connection);
}

static int accept_connection(void *user, struct vnic_connection *connection)
{
	static const struct vnic_connection_operations operations = {
		.read = read_pattern,
		.event = note_event,
	};

	vnic_connection_set_user(connection, &operations, user);
	return 0;
}

/* Answer each of the datagrams that a super-datagram stands for. */
static void answer(struct vnic_endpoint *endpoint, const struct pattern *pattern,
		   const struct vnic_datagram *question)
{
	struct vnic_datagram answers[VNIC_BURST_PACKETS];
	size_t left = question->length_bytes, segment = left;
	unsigned count = 0;

	if (question->segment_bytes)
		segment = question->segment_bytes;
	do {
		size_t length = left < segment ? left : segment;

		answers[count++] = (struct vnic_datagram){
			.flow = question->flow,
			.payload = pattern->bytes,
			.length_bytes = length < ANSWER_BYTES ? length : ANSWER_BYTES,
		};
		left -= length;
		if (count < VNIC_BURST_PACKETS && left)
			continue;
		vnic_endpoint_send(endpoint, answers, count);
		count = 0;
	} while (left);
}

static void receive_datagrams(struct vnic_endpoint *endpoint, void *user,
			      const struct vnic_datagram *datagrams, unsigned count)
{
	unsigned i;

	for (i = 0; i < count; i++)
		if (service_may_answer(&datagrams[i]))
			answer(endpoint, user, &datagrams[i]);
}

static void close_chargen(void *state)
{
	struct chargen *chargen = state;

	vnic_endpoint_close(chargen->endpoint);
	vnic_listener_close(chargen->listener);
	free(chargen);
}

static int open_chargen(const struct service_place *place, void **state, struct vnic_error *error)
{
	struct vnic_listener_options listener = {
		.port = CHARGEN_PORT,
		.connection = {.keepalive_ns = KEEPALIVE_NS},
		.accept = accept_connection,
		.user = place->shared,
	};
	struct vnic_endpoint_options endpoint = {
		.port = CHARGEN_PORT,
		.receive = receive_datagrams,
		.user = place->shared,
	};
	struct chargen *chargen = calloc(1, sizeof(*chargen));
	int code;

	if (!chargen)
		return service_no_memory(error);
	code = vnic_listener_open(place->stack, &listener, &chargen->listener, error);
	if (code == 0)
		code = vnic_endpoint_open(place->stack, &endpoint, &chargen->endpoint, error);
	if (code < 0)
		close_chargen(chargen);
	else
		*state = chargen;
	return code;
}

const struct service chargen_service = {
	.name = "chargen",
	.summary = "TCP and UDP 19: sends characters without end",
	.share = make_pattern,
	.unshare = free,
	.open = open_chargen,
	.close = close_chargen,
};
