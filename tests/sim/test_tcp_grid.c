/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Two sides, both of which send, over links of every kind: each seed draws loss, delay, reordering,
 * duplication, corruption, rate, MTU, windows, readers, writers and options of TCP. Whatever the link does,
 * every byte must arrive in order exactly once, both ends must end in order, and nothing may be left.
 *
 * VNIC_SIM_SEEDS=N runs N seeds from VNIC_SIM_FIRST (1) on, instead of the usual number; a failure
 * prints its seed.
 */
#include <stdio.h>
#include <stdlib.h>

#include "peer.h"
#include "stream.h"

#ifdef __SANITIZE_ADDRESS__
#define SEEDS 400
#else
#define SEEDS 3000
#endif

/* What is printed should a test fail. */
static char title[1024];

static int print_title(void **state)
{
	(void)state;
	if (title[0])
		print_message("# in %s\n", title);
	title[0] = '\0';
	return 0;
}

static unsigned pick(uint64_t *random, const unsigned *values, size_t count)
{
	return values[peer_random(random) % count];
}

#define PICK(...)                                     \
	pick(random, (const unsigned[]){__VA_ARGS__}, \
	     sizeof((const unsigned[]){__VA_ARGS__}) / sizeof(unsigned))

static void draw_way(uint64_t *random, struct link_impairment *way)
{
	bool is_bad = PICK(0, 1);

	way->delay_ns = PICK(0, 1, 10, 50, 100, 500) * MILLISECOND_NS;
	way->jitter_ns = PICK(0, 0, 1, 20) * MILLISECOND_NS;
	way->rate_bits = UINT64_C(1000000) * PICK(0, 0, 1, 10, 100);
	way->queue_bytes = PICK(0, 16, 64, 256) << 10;
	way->mark_bytes = PICK(0, 0, 8, 32) << 10;
	way->whole = PICK(0, 0, 0, 1);
	way->merge = PICK(0, 0, 1);
	way->reorder_ns = PICK(1, 5, 50) * MILLISECOND_NS;
	if (!is_bad)
		return;
	way->loss_permille = PICK(0, 1, 10, 50, 100, 200);
	way->duplicate_permille = PICK(0, 0, 10, 200);
	way->corrupt_permille = PICK(0, 0, 10, 50);
	way->reorder_permille = PICK(0, 0, 10, 200);
}

static void draw_side(uint64_t *random, struct stream_options *side)
{
	struct vnic_connection_options *options = &side->connection;

	side->total_bytes = PICK(0, 1, 100, 1460, 10000, 65536, 100000, 200000);
	options->window_bytes = PICK(0, 0, 4096, 65535, 65536, 1000000);
	options->congestion = PICK(VNIC_CONGESTION_CUBIC, VNIC_CONGESTION_NEWRENO);
	options->no_nagle = PICK(0, 1);
	options->no_delayed_ack = PICK(0, 0, 1);
	options->no_ecn = PICK(0, 1);
	options->no_timestamps = PICK(0, 0, 1);
	options->no_sack = PICK(0, 0, 1);
	options->keepalive_ns = PICK(0, 0, 0, 10) * SECOND_NS;
	options->user_timeout_ns = 7 * 86400 * SECOND_NS;
	if (PICK(0, 0, 0, 1)) {
		side->hold_bytes = PICK(2000, 10000, 50000);
		side->drain_bytes = PICK(1, 4, 10) * side->hold_bytes / 10;
		side->drain_ns = PICK(1, 50, 300) * MILLISECOND_NS;
	}
	if (PICK(0, 0, 1)) {
		side->write_bytes = PICK(1000, 1460, 5000);
		side->write_ns = PICK(1, 10, 100) * MILLISECOND_NS;
	}
	side->is_endless = PICK(0, 0, 0, 1);
	side->reads_short = PICK(0, 0, 0, 1);
	side->takes_short = PICK(0, 0, 0, 0, 0, 1);
	if (PICK(0, 0, 1)) {
		side->uses_socket = true;
		side->socket_bytes = PICK(4096, 16384, 65536, 0);
	}
}

struct draw {
	bool plain[2];
	unsigned mtu_bytes[2];
};

static void change(struct vnic_stack_options *options, unsigned end, void *user)
{
	const struct draw *draw = user;

	options->plain = draw->plain[end];
	options->mtu_bytes = draw->mtu_bytes[end];
	/* Whoever lost our last ACK asks again, however long the link is dark. */
	options->tcp_time_wait_ns = 2000 * SECOND_NS;
}

static void describe(uint64_t seed, enum vnic_family family, const struct link *link,
		     const struct stream *stream)
{
	int length =
		snprintf(title, sizeof(title), "seed %llu: %s, IPv%d", (unsigned long long)seed,
			 link->layer == VNIC_LAYER_ETHERNET ? "Ethernet" : "IP", (int)family);

	for (unsigned i = 0; i < 2; i++) {
		const struct link_impairment *way = &link->ends[i].out;
		const struct stream_options *side = &stream->sides[i].options;

		length += snprintf(
			title + length, sizeof(title) - (size_t)length,
			"\n#   %u: loss %u duplicate %u corrupt %u reorder %u delay %llu ms jitter "
			"%llu "
			"ms rate %llu queue %u mark %u mtu %u%s%s%s, %llu bytes by %u, window %u, "
			"hold %u "
			"drain %u%s%s%s%s%s%s%s%s%s%s",
			i, way->loss_permille, way->duplicate_permille, way->corrupt_permille,
			way->reorder_permille, (unsigned long long)(way->delay_ns / MILLISECOND_NS),
			(unsigned long long)(way->jitter_ns / MILLISECOND_NS),
			(unsigned long long)way->rate_bits, way->queue_bytes, way->mark_bytes,
			link->ends[i].options.mtu_bytes,
			link->ends[i].options.plain ? " plain" : "", way->whole ? " whole" : "",
			way->merge ? " merge" : "", (unsigned long long)side->total_bytes,
			side->write_bytes, side->connection.window_bytes, side->hold_bytes,
			side->drain_bytes, side->connection.congestion ? " newreno" : "",
			side->connection.no_nagle ? " no-nagle" : "",
			side->connection.no_delayed_ack ? " quick" : "",
			side->connection.no_ecn ? "" : " ecn",
			side->connection.no_timestamps ? " no-timestamps" : "",
			side->connection.no_sack ? " no-sack" : "",
			side->is_endless ? " endless" : "", side->reads_short ? " reads-short" : "",
			side->takes_short ? " takes-short" : "",
			side->uses_socket ? " socket" : "");
	}
}

/* A handshake gives up after some tries: it gets a fair chance, and what is worse comes afterwards. */
static void begin(struct stream *stream, struct link *link, enum vnic_family family, uint64_t seed)
{
	unsigned loss_permille[2];

	for (unsigned i = 0; i < 2; i++) {
		loss_permille[i] = link->ends[i].out.loss_permille;
		if (loss_permille[i] > 100)
			link->ends[i].out.loss_permille = 100;
	}
	stream_begin(stream, link, family, seed);
	stream_establish(stream);
	for (unsigned i = 0; i < 2; i++)
		link->ends[i].out.loss_permille = loss_permille[i];
}

static void run(uint64_t seed)
{
	uint64_t state = seed, *random = &state;
	struct stream stream = {0};
	struct link link;
	struct draw draw;
	enum vnic_layer layer = PICK(VNIC_LAYER_IP, VNIC_LAYER_ETHERNET);
	enum vnic_family family = PICK(VNIC_IPV4, VNIC_IPV6);

	for (unsigned i = 0; i < 2; i++) {
		draw.plain[i] = PICK(0, 1);
		draw.mtu_bytes[i] = family == VNIC_IPV6
					    ? PICK(1280, 1500, 9000, 65535)
					    : PICK(100, 300, 576, 1500, 1500, 9000, 65535);
	}
	link_begin(&link, layer, seed, change, &draw);
	if (layer == VNIC_LAYER_ETHERNET)
		link_introduce(&link, family);
	for (unsigned i = 0; i < 2; i++) {
		draw_way(random, &link.ends[i].out);
		draw_side(random, &stream.sides[i].options);
		if (draw.mtu_bytes[i] > 9000 || link.ends[i].out.whole) /* or none would fit */
			link.ends[i].out.queue_bytes *= 16;
	}
	/* One at least ends it. */
	stream.sides[PICK(0, 1)].options.finishes_late = PICK(0, 1);
	describe(seed, family, &link, &stream);
	if (PICK(0, 0, 0, 0, 1))
		link_darken(&link, link.now_ns + PICK(0, 100, 1000) * MILLISECOND_NS,
			    PICK(1, 2) * SECOND_NS);
	begin(&stream, &link, family, seed);
	if (PICK(0, 0, 0, 0, 1))
		link_darken(&link, link.now_ns + PICK(0, 100, 1000) * MILLISECOND_NS,
			    PICK(1, 60, 600) * SECOND_NS);
	stream_complete(&stream, 86400 * SECOND_NS);
	assert_int_equal(stream.accepted, 1);
	stream_end(&stream);
	link_end(&link);
	title[0] = '\0';
}

static uint64_t number_from(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 10) : otherwise;
}

static void every_byte_arrives_once(void **state)
{
	uint64_t first = number_from("VNIC_SIM_FIRST", 1);
	uint64_t count = number_from("VNIC_SIM_SEEDS", SEEDS);

	(void)state;
	for (uint64_t seed = first; seed < first + count; seed++)
		run(seed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(every_byte_arrives_once, print_title),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
