/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. iperf3, TCP and UDP port 5201: a server for the iperf3 client, to measure a
 * virtual NIC with. Sending and receiving cost this host as little as can be, so what is measured
 * is the interface and what lies between.
 *
 *     iperf3_greeting.c  a connection until its cookie says what it is
 *     iperf3_control.c   the control connection of a test, which takes it through its steps
 *     iperf3_stream.c    its streams, over TCP or (iperf3_udp.c) UDP
 *     iperf3_test.c      what all of these know of each other, whichever shard they are on
 *     iperf3_json.c      what is exchanged
 *
 * Callbacks of the stack take notes, and set is_stirred where something shall follow from them. It
 * follows on the shard's advance, after the burst. What happens on other shards is looked for once
 * a tick, but only while there is something to wait for: an idle service has no timer.
 */
#include "iperf3.h"
#include "service.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define KEEPALIVE_NS (20 * IPERF3_SECOND_NS)
#define KEEPALIVE_INTERVAL_NS (5 * IPERF3_SECOND_NS)
#define KEEPALIVE_PROBES 4
#define UNACKNOWLEDGED_NS (40 * IPERF3_SECOND_NS) /* and then the other end is gone */

uint64_t iperf3_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * IPERF3_SECOND_NS + (uint64_t)now.tv_nsec;
}

static void *share(struct host *host)
{
	(void)host;
	return iperf3_shared_new();
}

static void unshare(void *shared)
{
	iperf3_shared_free(shared);
}

static int accept_connection(void *user, struct vnic_connection *connection)
{
	return iperf3_greeting_new(user, connection);
}

static uint64_t advance(void *state, uint64_t now_ns)
{
	struct iperf3_shard *shard = state;

	/* What a round stirs itself, as streams that the control connection started, is next. */
	while (shard->is_stirred || now_ns >= shard->next_ns) {
		shard->is_stirred = false;
		shard->next_ns = VNIC_NEVER;
		iperf3_greetings_advance(shard, now_ns, &shard->next_ns);
		iperf3_controls_advance(shard, now_ns, &shard->next_ns);
		iperf3_streams_advance(shard, now_ns, &shard->next_ns);
		if (!shard->is_stirred)
			break;
	}
	return shard->next_ns;
}

static void close_iperf3(void *state)
{
	struct iperf3_shard *shard = state;

	iperf3_streams_free(shard);
	iperf3_controls_free(shard);
	iperf3_greetings_free(shard);
	vnic_endpoint_close(shard->endpoint);
	vnic_listener_close(shard->listener);
	free(shard->frame);
	free(shard);
}

static int open_iperf3(const struct service_place *place, void **state, struct vnic_error *error)
{
	struct iperf3_shard *shard = calloc(1, sizeof(*shard));
	struct vnic_listener_options listener = {
		.port = IPERF3_PORT,
		.connection = {.window_bytes = IPERF3_WINDOW_BYTES,
			       .no_nagle = true,
			       .keepalive_ns = KEEPALIVE_NS,
			       .keepalive_interval_ns = KEEPALIVE_INTERVAL_NS,
			       .keepalive_probes = KEEPALIVE_PROBES,
			       .user_timeout_ns = UNACKNOWLEDGED_NS},
		.accept = accept_connection,
		.user = shard,
	};
	struct vnic_endpoint_options endpoint = {
		.port = IPERF3_PORT,
		.receive = iperf3_udp_open,
		.user = shard,
	};
	int code;

	if (!shard)
		return service_no_memory(error);
	shard->shared = place->shared;
	shard->stack = place->stack;
	shard->next_ns = VNIC_NEVER;
	shard->frame = malloc(IPERF3_FRAME_BYTES);
	if (!shard->frame) {
		close_iperf3(shard);
		return service_no_memory(error);
	}
	memcpy(shard->frame, iperf3_shared_pattern(shard->shared), IPERF3_FRAME_BYTES);
	code = vnic_listener_open(place->stack, &listener, &shard->listener, error);
	if (code == 0)
		code = vnic_endpoint_open(place->stack, &endpoint, &shard->endpoint, error);
	if (code < 0)
		close_iperf3(shard);
	else
		*state = shard;
	return code;
}

const struct service iperf3_service = {
	.name = "iperf3",
	.summary = "TCP and UDP 5201: a server for the iperf3 client",
	.share = share,
	.unshare = unshare,
	.open = open_iperf3,
	.advance = advance,
	.close = close_iperf3,
};
