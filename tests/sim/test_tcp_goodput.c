/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * How fast a transfer is on links of many kinds, against what theory allows: the rate of the link, and with random
 * losses the bound of Mathis et al. (1997), MSS / RTT * C / sqrt(p). As the same seed gives the same
 * run, every number is compared with tests/sim/goodput.txt exactly: whoever changes how TCP sends sees
 * at once what became better or worse. VNIC_SIM_GOODPUT=FILE writes a new one:
 *
 *     VNIC_SIM_GOODPUT=tests/sim/goodput.txt build/tests/sim/test_tcp_goodput
 */
#include <math.h>
#include <stdio.h>

#include "stream.h"

#ifndef GOODPUT_FILE
#error "the build says where goodput.txt is"
#endif

#define SEEDS 3

struct scene {
	const char *name;
	uint64_t rate_bits;
	uint64_t delay_ns; /* one way */
	unsigned loss_permille, reorder_permille;
	uint32_t queue_bytes, mark_bytes;
	uint64_t total_bytes;
	bool no_sack, plain, reno, whole, no_ecn;
	unsigned least_percent; /* of what theory allows */
};

#define MS MILLISECOND_NS
#define MBIT UINT64_C(1000000)
#define MB UINT64_C(1000000)

static const struct scene scenes[] = {
	{"lan", 1000 * MBIT, MS / 10, .queue_bytes = 256 << 10, .total_bytes = 40 * MB,
	 .least_percent = 85},
	{"lan_plain", 1000 * MBIT, MS / 10, .queue_bytes = 256 << 10, .total_bytes = 40 * MB,
	 .plain = true, .least_percent = 85},
	{"lan_reno", 1000 * MBIT, MS / 10, .queue_bytes = 256 << 10, .total_bytes = 40 * MB,
	 .reno = true, .least_percent = 85},
	{"lan_no_sack", 1000 * MBIT, MS / 10, .queue_bytes = 256 << 10, .total_bytes = 40 * MB,
	 .no_sack = true, .least_percent = 70},
	{"wire_whole", 0, MS / 20, .total_bytes = 100 * MB, .whole = true, .least_percent = 0},
	{"dsl", 20 * MBIT, 15 * MS, .queue_bytes = 128 << 10, .total_bytes = 20 * MB,
	 .least_percent = 85},
	{"dsl_shallow", 20 * MBIT, 15 * MS, .queue_bytes = 24 << 10, .total_bytes = 20 * MB,
	 .least_percent = 55},
	{"dsl_ecn", 20 * MBIT, 15 * MS, .queue_bytes = 256 << 10, .mark_bytes = 40 << 10,
	 .total_bytes = 20 * MB, .least_percent = 75},
	{"dsl_no_ecn", 20 * MBIT, 15 * MS, .queue_bytes = 256 << 10, .mark_bytes = 40 << 10,
	 .total_bytes = 20 * MB, .no_ecn = true, .least_percent = 80},
	{"far", 100 * MBIT, 100 * MS, .queue_bytes = 2 << 20, .total_bytes = 100 * MB,
	 .least_percent = 40},
	{"far_reno", 100 * MBIT, 100 * MS, .queue_bytes = 2 << 20, .total_bytes = 100 * MB,
	 .reno = true, .least_percent = 30},
	{"loss_01", 100 * MBIT, 10 * MS, 1, .queue_bytes = 512 << 10, .total_bytes = 20 * MB,
	 .least_percent = 50},
	{"loss_1", 100 * MBIT, 10 * MS, 10, .queue_bytes = 512 << 10, .total_bytes = 10 * MB,
	 .least_percent = 50},
	{"loss_1_reno", 100 * MBIT, 10 * MS, 10, .queue_bytes = 512 << 10, .total_bytes = 10 * MB,
	 .reno = true, .least_percent = 50},
	{"loss_1_no_sack", 100 * MBIT, 10 * MS, 10, .queue_bytes = 512 << 10,
	 .total_bytes = 10 * MB, .no_sack = true, .least_percent = 30},
	{"loss_5", 100 * MBIT, 10 * MS, 50, .queue_bytes = 512 << 10, .total_bytes = 3 * MB,
	 .least_percent = 30},
	{"loss_10", 100 * MBIT, 10 * MS, 100, .queue_bytes = 512 << 10, .total_bytes = 1 * MB,
	 .least_percent = 15},
	{"reorder_1", 100 * MBIT, 10 * MS, 0, 10, .queue_bytes = 512 << 10, .total_bytes = 20 * MB,
	 .least_percent = 50},
	{"reorder_5_no_sack", 100 * MBIT, 10 * MS, 0, 50, .queue_bytes = 512 << 10,
	 .total_bytes = 10 * MB, .no_sack = true, .least_percent = 1},
};

#define SCENES (sizeof(scenes) / sizeof(scenes[0]))

struct result {
	uint64_t bits; /* in a second */
	uint64_t retransmitted, timeouts, spurious, overflowed, marked,
		early; /* dropped by the receiver */
};

static struct result results[SCENES];

static void change(struct vnic_stack_options *options, unsigned end, void *user)
{
	(void)end;
	options->plain = ((const struct scene *)user)->plain;
}

static void run(const struct scene *scene, uint64_t seed, struct result *result)
{
	struct scene copy = *scene;
	struct stream stream = {0};
	struct link_impairment there = {.rate_bits = scene->rate_bits,
					.delay_ns = scene->delay_ns,
					.loss_permille = scene->loss_permille,
					.reorder_permille = scene->reorder_permille,
					.reorder_ns = scene->delay_ns / 4,
					.queue_bytes = scene->queue_bytes,
					.mark_bytes = scene->mark_bytes,
					.whole = scene->whole};
	struct link_impairment back = {.rate_bits = scene->rate_bits, .delay_ns = scene->delay_ns};
	struct vnic_connection_options options = {
		.window_bytes = 16 << 20,
		.congestion = scene->reno ? VNIC_CONGESTION_NEWRENO : VNIC_CONGESTION_CUBIC,
		.no_sack = scene->no_sack,
		.no_ecn = scene->no_ecn};
	struct link link;
	uint64_t begun_ns;

	link_begin(&link, VNIC_LAYER_IP, seed, change, &copy);
	link.ends[0].out = there;
	link.ends[1].out = back;
	stream.sides[0].options.connection = stream.sides[1].options.connection = options;
	stream.sides[0].options.total_bytes = scene->total_bytes;
	begun_ns = link.now_ns;
	stream_begin(&stream, &link, VNIC_IPV4, seed);
	assert_true(link_wait_until(&link, stream_is_received, &stream, 3600 * SECOND_NS));
	result->bits += (uint64_t)((double)scene->total_bytes * 8e9 /
				   (double)(stream.sides[1].received_ns - begun_ns) / SEEDS);
	result->retransmitted += link_counter(&link, 0, VNIC_STACK_RETRANSMITTED);
	result->timeouts += link_counter(&link, 0, VNIC_STACK_TIMEOUTS);
	result->spurious += link_counter(&link, 0, VNIC_STACK_SPURIOUS);
	result->early += link_counter(&link, 1, VNIC_STACK_DROP_OUT_OF_ORDER_FULL);
	result->overflowed += link.ends[0].overflowed;
	result->marked += link.ends[0].marked;
	stream_end(&stream);
	link_end(&link);
}

/* Of payload: 1448 bytes of the 1500 of a packet. */
static double allowed_bits(const struct scene *scene)
{
	double rate = (double)scene->rate_bits * 1448 / 1500, mathis;

	if (scene->loss_permille == 0)
		return rate;
	mathis = 1448 * 8 / (2 * (double)scene->delay_ns / 1e9) * sqrt(1.5) /
		 sqrt(scene->loss_permille / 1000.0);
	return mathis < rate ? mathis : rate;
}

static void line_of(size_t i, char *line, size_t size)
{
	const struct result *result = &results[i];

	snprintf(line, size, "%-18s %12llu %8llu %6llu %6llu %8llu %8llu %8llu", scenes[i].name,
		 (unsigned long long)result->bits, (unsigned long long)result->retransmitted,
		 (unsigned long long)result->timeouts, (unsigned long long)result->spurious,
		 (unsigned long long)result->overflowed, (unsigned long long)result->marked,
		 (unsigned long long)result->early);
}

static void transfers_are_as_fast_as_theory_allows(void **state)
{
	(void)state;
	print_message(
		"# scene                  bits/s   resent timeouts spurious overflowed marked  "
		"of what is possible\n");
	for (size_t i = 0; i < SCENES; i++) {
		double allowed = allowed_bits(&scenes[i]);
		char line[160];

		for (uint64_t seed = 1; seed <= SEEDS; seed++)
			run(&scenes[i], seed, &results[i]);
		line_of(i, line, sizeof(line));
		if (allowed > 0)
			print_message("# %s %5.1f %%\n", line,
				      100 * (double)results[i].bits / allowed);
		else
			print_message("# %s\n", line);
	}
	for (size_t i = 0; i < SCENES; i++) {
		double allowed = allowed_bits(&scenes[i]);

		if (allowed > 0 &&
		    (double)results[i].bits * 100 < allowed * scenes[i].least_percent)
			fail_msg("%s: %llu bits/s of %.0f", scenes[i].name,
				 (unsigned long long)results[i].bits, allowed);
		if (scenes[i].rate_bits > 0)
			assert_true((double)results[i].bits <=
				    (double)scenes[i].rate_bits * 1460 / 1500);
	}
	/* Marks instead of losses. */
	for (size_t i = 0; i < SCENES; i++)
		if (scenes[i].mark_bytes > 0 && !scenes[i].no_ecn) {
			assert_true(results[i].marked > 0);
			assert_int_equal(results[i].overflowed, 0);
			assert_int_equal(results[i].retransmitted, 0);
		}
}

static void nothing_changed(void **state)
{
	const char *written = getenv("VNIC_SIM_GOODPUT");
	FILE *file = fopen(written ? written : GOODPUT_FILE, written ? "w" : "r");
	char line[160], before[160];
	unsigned differences = 0;

	(void)state;
	assert_non_null(file);
	for (size_t i = 0; i < SCENES; i++) {
		line_of(i, line, sizeof(line));
		if (written) {
			fprintf(file, "%s\n", line);
			continue;
		}
		if (!fgets(before, sizeof(before), file))
			before[0] = '\0';
		before[strcspn(before, "\n")] = '\0';
		if (strcmp(line, before) == 0)
			continue;
		differences++;
		print_message("# was %s\n# is  %s\n", before, line);
	}
	fclose(file);
	if (differences > 0)
		fail_msg("%u lines differ from goodput.txt: write it anew if that is meant",
			 differences);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(transfers_are_as_fast_as_theory_allows),
		cmocka_unit_test(nothing_changed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
