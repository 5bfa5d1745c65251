/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. Control connections and streams come to the same port, and a cookie that
 * comes first tells them apart: one that nobody knows begins a test, that of the test belongs to a
 * stream. Until it is there a connection is a greeting. What is no cookie is reset at once, and so is what
 * takes its time; there are at most GREETINGS_MOST, of which the oldest has to go.
 *
 * A client that comes while another test runs is told so, by one byte. It is not told at once: the
 * end of a test may be known to another shard already and not yet to us, and whoever measures in a
 * loop would be refused for nothing.
 */
#include "iperf3.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define GREETINGS_MOST 256
#define GREETING_NS (10 * IPERF3_SECOND_NS)
#define PATIENCE_NS (50 * IPERF3_MILLISECOND_NS)
#define CLOSING_NS (2 * IPERF3_SECOND_NS)

static const uint8_t access_denied = 0xff;

struct iperf3_greeting {
	struct iperf3_greeting *next; /* an older one */
	struct iperf3_shard *shard;
	struct vnic_connection *connection; /* NULL: it has ended, or is somebody else's now */
	unsigned count;                     /* of bytes of the cookie */
	char cookie[IPERF3_COOKIE_BYTES];
	uint64_t deadline_ns;
	uint64_t patience_ns; /* 0: was not refused yet */
	bool is_denied;
	bool is_over;
};

static size_t read_denial(struct vnic_connection *connection, void *user, uint64_t offset,
			  uint8_t *bytes, size_t length_bytes)
{
	(void)connection;
	(void)user;
	if (offset > 0 || length_bytes == 0)
		return 0;
	*bytes = access_denied;
	return 1;
}

static size_t receive_cookie(struct vnic_connection *connection, void *user, const uint8_t *bytes,
			     size_t length_bytes)
{
	struct iperf3_greeting *greeting = user;
	size_t missing = IPERF3_COOKIE_BYTES - greeting->count, used = length_bytes;

	(void)connection;
	if (used > missing)
		used = missing;
	memcpy(greeting->cookie + greeting->count, bytes, used);
	greeting->count += (unsigned)used;
	/* No client says more before it is answered. */
	if (used < length_bytes && !greeting->is_denied)
		greeting->is_over = true;
	greeting->shard->is_stirred = true;
	return length_bytes;
}

static void note_event(struct vnic_connection *connection, void *user,
		       enum vnic_connection_event event, int code)
{
	struct iperf3_greeting *greeting = user;

	(void)connection;
	(void)code;
	greeting->shard->is_stirred = true;
	if (event == VNIC_CONNECTION_FINISHED)
		greeting->is_over = true;
	else if (event == VNIC_CONNECTION_CLOSED)
		greeting->connection = NULL;
}

int iperf3_greeting_new(struct iperf3_shard *shard, struct vnic_connection *connection)
{
	static const struct vnic_connection_operations operations = {
		.read = read_denial,
		.receive = receive_cookie,
		.event = note_event,
	};
	struct iperf3_greeting *greeting = calloc(1, sizeof(*greeting)), *oldest;

	if (!greeting)
		return -ENOMEM;
	greeting->shard = shard;
	greeting->connection = connection;
	greeting->deadline_ns = iperf3_now_ns() + GREETING_NS;
	greeting->next = shard->greetings;
	shard->greetings = greeting;
	shard->greeting_count++;
	if (shard->greeting_count > GREETINGS_MOST) {
		for (oldest = greeting; oldest->next; oldest = oldest->next)
			;
		oldest->is_over = true;
	}
	shard->is_stirred = true;
	vnic_connection_set_user(connection, &operations, greeting);
	return 0;
}

static void deny(struct iperf3_greeting *greeting, uint64_t now_ns)
{
	greeting->is_denied = true;
	greeting->deadline_ns = now_ns + CLOSING_NS;
	vnic_connection_offer(greeting->connection, 1);
	vnic_connection_finish(greeting->connection);
}

static void begin_test(struct iperf3_greeting *greeting, struct iperf3_test *test)
{
	if (iperf3_control_new(greeting->shard, test, greeting->connection) < 0) {
		iperf3_test_leave(test);
		iperf3_test_release(test);
		greeting->is_over = true;
	} else {
		greeting->connection = NULL;
	}
}

/* The cookie is there. */
static void decide(struct iperf3_greeting *greeting, uint64_t now_ns)
{
	const struct vnic_flow *flow = vnic_connection_flow(greeting->connection);
	struct vnic_connection_info info;
	struct iperf3_test *test;
	unsigned index;

	if (!iperf3_cookie_is_possible(greeting->cookie)) {
		greeting->is_over = true;
		return;
	}
	vnic_connection_query(greeting->connection, &info);
	switch (iperf3_test_call(greeting->shard->shared, greeting->cookie, flow, info.opened_ns,
				 &test, &index)) {
	case IPERF3_ROLE_CONTROL:
		begin_test(greeting, test);
		break;
	case IPERF3_ROLE_STREAM:
		if (iperf3_stream_adopt(greeting->shard, test, index, greeting->connection) < 0) {
			iperf3_test_release(test);
			greeting->is_over = true;
		} else {
			greeting->connection = NULL;
		}
		break;
	case IPERF3_ROLE_NONE:
		if (!greeting->patience_ns)
			greeting->patience_ns = now_ns + PATIENCE_NS;
		else if (now_ns >= greeting->patience_ns)
			deny(greeting, now_ns);
		break;
	}
}

/* Returns when to look again; 0: it can go. */
static uint64_t advance(struct iperf3_greeting *greeting, uint64_t now_ns)
{
	bool is_there = greeting->count == IPERF3_COOKIE_BYTES && !greeting->is_denied;

	if (greeting->connection && is_there && !greeting->is_over)
		decide(greeting, now_ns);
	if (greeting->connection &&
	    ((greeting->is_over && !greeting->is_denied) || now_ns >= greeting->deadline_ns))
		vnic_connection_abort(greeting->connection);
	if (!greeting->connection)
		return 0;
	return is_there && !greeting->is_denied ? now_ns + IPERF3_TICK_NS : greeting->deadline_ns;
}

static void free_greeting(struct iperf3_greeting *greeting)
{
	if (greeting->connection)
		vnic_connection_abort(greeting->connection); /* which forgets it */
	greeting->shard->greeting_count--;
	free(greeting);
}

void iperf3_greetings_advance(struct iperf3_shard *shard, uint64_t now_ns, uint64_t *next_ns)
{
	struct iperf3_greeting **link = &shard->greetings, *greeting;
	uint64_t next;

	while ((greeting = *link) != NULL) {
		next = advance(greeting, now_ns);
		if (next == 0) {
			*link = greeting->next;
			free_greeting(greeting);
			continue;
		}
		if (next < *next_ns)
			*next_ns = next;
		link = &greeting->next;
	}
}

void iperf3_greetings_free(struct iperf3_shard *shard)
{
	struct iperf3_greeting *greeting;

	while ((greeting = shard->greetings) != NULL) {
		shard->greetings = greeting->next;
		free_greeting(greeting);
	}
}
