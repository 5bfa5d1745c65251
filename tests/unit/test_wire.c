/* SPDX-License-Identifier: MIT */
/*
 * Wires between ports of the test's own: what passes whole, what is cut or merged, and that every
 * packet is accounted for.
 */
#include <pthread.h>
#include <sched.h>

#include "fake_port.h"

#include <vnic/segment.h>

#define PAYLOAD 1448

static void test_super_packets_pass_whole(void **state)
{
	struct fake from, to;

	(void)state;
	fake_init(&from, "from", 200);
	fake_init(&to, "to", 0);
	from.port.gives_superpackets = true;
	to.queue.offloads = VNIC_OFFLOAD_ALL;
	for (unsigned i = 0; i < 200; i++)
		say(&from,
		    &(struct sample){.payload = 40 * PAYLOAD,
				     .ipv6 = i % 2,
				     .udp = i % 3 == 0,
				     .sequence = i},
		    PAYLOAD);
	run_wire(&from.port, &to.port, NULL, NULL);
	assert_int_equal(to.kept_count, 200);
	for (unsigned i = 0; i < 200; i++)
		assert_same_packet(&to.kept[i], &from.script[i]);
	assert_counter(&from.port, VNIC_PORT_IN_PACKETS, 200 * 40);
	assert_counter(&from.port, VNIC_PORT_IN_SUPERPACKETS, 200);
	assert_counter(&to.port, VNIC_PORT_OUT_PACKETS, 200 * 40);
	assert_counter(&to.port, VNIC_PORT_OUT_SUPERPACKETS, 200);
	assert_conserved(&from.port, &to.port, NULL, VNIC_FORWARD);
	fake_done(&from);
	fake_done(&to);
}

/* What the sink kept is what the segmenter makes of the script, in order. */
static void assert_segments(const struct fake *from, const struct fake *to)
{
	static uint8_t bytes[VNIC_PACKET_BYTES];
	unsigned next = 0;

	for (unsigned i = 0; i < from->script_count; i++) {
		struct vnic_segmenter segmenter;
		struct vnic_packet segment = {.data = bytes, .capacity_bytes = sizeof(bytes)};

		assert_true(vnic_segmenter_begin(&segmenter, &from->script[i],
						 (enum vnic_layer)from->port.layer) > 0);
		while (vnic_segmenter_next(&segmenter, &segment, 1) == 1) {
			assert_true(next < to->kept_count);
			assert_same_packet(&to->kept[next++], &segment);
		}
	}
	assert_int_equal(next, to->kept_count);
}

static void test_super_packets_are_cut(void **state)
{
	struct fake from, to;

	(void)state;
	fake_init(&from, "from", 60);
	fake_init(&to, "to", 0);
	from.port.gives_superpackets = true;
	for (unsigned i = 0; i < 60; i++) /* plain ones between them, and many small segments */
		say(&from,
		    &(struct sample){.payload = 100 + 937 * i,
				     .ipv6 = i % 2,
				     .udp = i % 5 == 0,
				     .sequence = 1000 * i},
		    i % 3 == 0 && i < 2 ? 0
		    : i % 7 == 0        ? 500
					: PAYLOAD);
	run_wire(&from.port, &to.port, NULL, NULL);
	assert_segments(&from, &to);
	assert_counter(&to.port, VNIC_PORT_OUT_PACKETS, to.kept_count);
	assert_counter(&to.port, VNIC_PORT_OUT_SUPERPACKETS, 0);
	assert_conserved(&from.port, &to.port, NULL, VNIC_FORWARD);
	fake_done(&from);
	fake_done(&to);
}

/* A port that takes TCP whole and nothing else, and refuses some of it. Order stays. */
static void test_refused_super_packets_are_cut(void **state)
{
	struct fake from, to;
	unsigned supers = 0;

	(void)state;
	fake_init(&from, "from", 150);
	fake_init(&to, "to", 0);
	from.port.gives_superpackets = true;
	to.queue.offloads = VNIC_OFFLOAD_CSUM | VNIC_OFFLOAD_TSO4 | VNIC_OFFLOAD_TSO6;
	to.refuse = 10;
	for (unsigned i = 0; i < 150; i++)
		say(&from, &(struct sample){.payload = 10 * PAYLOAD, .udp = i % 2, .sequence = i},
		    PAYLOAD);
	run_wire(&from.port, &to.port, NULL, NULL);
	for (unsigned i = 0; i < to.kept_count; i++)
		supers += to.kept[i].gso_type != VNIC_GSO_NONE;
	assert_int_equal(supers, 75 - 10);
	assert_int_equal(to.kept_count, 75 - 10 + 850);
	assert_counter(&to.port, VNIC_PORT_OUT_PACKETS, 1500);
	assert_counter(&to.port, VNIC_PORT_OUT_SUPERPACKETS, 65);
	assert_conserved(&from.port, &to.port, NULL, VNIC_FORWARD);
	fake_done(&from);
	fake_done(&to);
}

static void merge_wire(bool lends, bool udp)
{
	static const struct vnic_packet empty;
	struct fake from, to;
	unsigned plain = 0;

	fake_init(&from, "from", 64 * 4);
	fake_init(&to, "to", 0);
	from.lends = lends;
	to.queue.offloads = VNIC_OFFLOAD_ALL;
	for (unsigned i = 0; i < 64 * 4; i++)
		say(&from,
		    &(struct sample){.payload = 1000,
				     .udp = udp,
				     .identification = (uint16_t)i,
				     .sequence = 1000 * i},
		    0);
	run_wire(&from.port, &to.port, NULL, NULL);
	assert_counter(&from.port, VNIC_PORT_IN_PACKETS, 64 * 4);
	assert_counter(&from.port, VNIC_PORT_IN_SUPERPACKETS, 0);
	assert_counter(&to.port, VNIC_PORT_OUT_PACKETS, 64 * 4);
	if (to.kept_count > 20)
		fail_msg("%u packets came, hardly merged", to.kept_count);
	/* Cut again they are what went in. */
	for (unsigned i = 0; i < to.kept_count; i++) {
		static uint8_t bytes[2000];
		struct vnic_packet segment = empty;
		struct vnic_segmenter segmenter;

		segment.data = bytes;
		segment.capacity_bytes = sizeof(bytes);
		assert_true(vnic_segmenter_begin(&segmenter, &to.kept[i], VNIC_LAYER_IP) > 0);
		while (vnic_segmenter_next(&segmenter, &segment, 1) == 1)
			assert_same_packet(&segment, &from.script[plain++]);
	}
	assert_int_equal(plain, 64 * 4);
	fake_done(&from);
	fake_done(&to);
}

static void test_plain_packets_are_merged(void **state)
{
	(void)state;
	merge_wire(false, false);
	merge_wire(false, true);
}

static void test_lent_packets_are_merged(void **state)
{
	(void)state;
	merge_wire(true, false);
	merge_wire(true, true);
}

static void test_checksums_are_completed(void **state)
{
	struct fake from, to;

	(void)state;
	fake_init(&from, "from", 2);
	fake_init(&to, "to", 0);
	say(&from, &(struct sample){.payload = 333, .udp = true}, 0);
	say(&from, &(struct sample){.payload = 333, .udp = true}, 0);
	free(from.script[1].data);
	from.script[1].data = malloc(VNIC_PACKET_BYTES);
	from.script[1].capacity_bytes = VNIC_PACKET_BYTES;
	sample_build_partial(&(struct sample){.payload = 333, .udp = true}, &from.script[1]);
	run_wire(&from.port, &to.port, NULL, NULL);
	assert_int_equal(to.kept_count, 2);
	assert_memory_equal(to.kept[0].data, to.kept[1].data, to.kept[0].length_bytes);
	assert_int_equal(to.kept[1].flags & VNIC_PACKET_NEEDS_CSUM, 0);
	fake_done(&from);
	fake_done(&to);
}

static void test_malformed_super_packets_are_counted(void **state)
{
	struct fake from, to;

	(void)state;
	fake_init(&from, "from", 3);
	fake_init(&to, "to", 0);
	from.port.gives_superpackets = true;
	for (unsigned i = 0; i < 3; i++)
		say(&from, &(struct sample){.payload = 10 * PAYLOAD, .sequence = i}, PAYLOAD);
	from.script[1].data[0] = 0x65; /* IPv6? */
	run_wire(&from.port, &to.port, NULL, NULL);
	assert_int_equal(to.kept_count, 20);
	assert_counter(&from.port, VNIC_PORT_DROP_MALFORMED, 10);
	assert_conserved(&from.port, &to.port, NULL, VNIC_FORWARD);
	fake_done(&from);
	fake_done(&to);
}

static void test_too_long_packets_are_counted(void **state)
{
	struct fake from, to;

	(void)state;
	fake_init(&from, "from", 5);
	fake_init(&to, "to", 0);
	from.port.gives_superpackets = true;
	to.queue.offloads = VNIC_OFFLOAD_ALL;
	to.port.most_bytes = 1000;
	say(&from, &(struct sample){.payload = 960}, 0);
	say(&from, &(struct sample){.payload = 961}, 0);
	say(&from, &(struct sample){.payload = 9600}, 960);
	say(&from, &(struct sample){.payload = 9610}, 961);
	say(&from, &(struct sample){.payload = 500}, 1400); /* its only segment is short */
	run_wire(&from.port, &to.port, NULL, NULL);
	assert_int_equal(to.kept_count, 3);
	assert_counter(&to.port, VNIC_PORT_DROP_TOO_LONG, 1 + 10);
	assert_conserved(&from.port, &to.port, NULL, VNIC_FORWARD);
	fake_done(&from);
	fake_done(&to);
}

/* Anything, both ways, through ports that drop at random and an impairment. */
/* breaks: the second port does after so many packets, if it gets them. Returns whether it did. */
static bool conserve(unsigned seed, unsigned breaks)
{
	bool has_broken;
	int code;
	struct vnic_wire_options options = {.pin = seed % 2};
	struct vnic_error error = {0};
	struct vnic_wire *wire;
	struct fake ends[2];
	uint64_t chance = seed;

	if (seed % 3)
		assert_ok(vnic_impairment_parse("loss=5%,duplicate=5%,delay=1ms,jitter=1ms,"
						"reorder=5%,corrupt=1%,rate=1gbit,queue=1ms,seed=1",
						&options.impairments[seed % 2], &error),
			  &error);
	for (unsigned i = 0; i < 2; i++) {
		struct fake *end = &ends[i];

		fake_init(end, i ? "second" : "first", 400);
		end->queue.offloads = (seed + i) % 4 == 0   ? 0
				      : (seed + i) % 4 == 1 ? VNIC_OFFLOAD_ALL
							    : VNIC_OFFLOAD_CSUM | VNIC_OFFLOAD_TSO6;
		end->port.gives_superpackets = (seed >> i & 1) == 0;
		end->lends = (seed + i) % 5 == 0;
		end->chance = seed + i;
		end->refuse = seed % 7;
		end->port.most_bytes = seed % 2 ? 1400 : 0;
		for (unsigned j = 0; j < 400; j++) {
			struct sample sample = {.sequence = (uint32_t)j * 1000};
			bool super;

			chance = chance * 6364136223846793005u + 1442695040888963407u;
			sample.payload = (uint32_t)(chance >> 33) % 12000 + 1;
			sample.udp = chance >> 60 & 1;
			sample.ipv6 = chance >> 61 & 1;
			super = end->port.gives_superpackets && chance >> 62;
			say(end, &sample, super ? (uint16_t)(chance >> 40) % 1400 + 100 : 0);
			if (chance >> 20 % 64 == 0)
				end->script[j].data[0] ^= 0xff;
		}
	}
	ends[1].breaks = breaks;
	assert_ok(vnic_wire_new(&ends[0].port, &ends[1].port, &options, &wire, &error), &error);
	code = vnic_wire_run(wire, &error);
	assert_int_equal(code, ends[1].is_broken ? -EIO : 0);
	if (ends[1].is_broken)
		assert_string_equal(error.text, "the test's port broke");
	assert_conserved(&ends[0].port, &ends[1].port, wire, VNIC_FORWARD);
	assert_conserved(&ends[1].port, &ends[0].port, wire, VNIC_BACKWARD);
	vnic_wire_free(wire);
	has_broken = ends[1].is_broken;
	fake_done(&ends[0]);
	fake_done(&ends[1]);
	return has_broken;
}

static void test_nothing_is_lost_silently(void **state)
{
	(void)state;
	for (unsigned seed = 1; seed <= 40; seed++)
		assert_false(conserve(seed, 0));
}

static void test_nothing_is_lost_when_a_port_breaks(void **state)
{
	unsigned broken = 0;

	(void)state;
	for (unsigned seed = 1; seed <= 40; seed++)
		broken += conserve(seed, seed * 7 % 60 + 1);
	assert_in_range(broken, 30, 40);
}

/* The same seed gives the same fate: twice the same bytes in the same order. */
static void test_impaired_by_a_seed(void **state)
{
	struct vnic_wire_options options = {.pin = false};
	struct vnic_error error = {0};
	struct fake from, to[2];

	(void)state;
	assert_ok(vnic_impairment_parse("loss=10%,duplicate=10%,corrupt=10%,seed=42",
					&options.impairments[VNIC_FORWARD], &error),
		  &error);
	for (unsigned run = 0; run < 2; run++) {
		struct vnic_wire *wire;

		fake_init(&from, "from", 100);
		fake_init(&to[run], "to", 0);
		from.port.gives_superpackets = true;
		for (unsigned i = 0; i < 100; i++)
			say(&from, &(struct sample){.payload = 10 * PAYLOAD, .sequence = i},
			    PAYLOAD);
		run_wire(&from.port, &to[run].port, &options, &wire);
		assert_int_equal(vnic_wire_impairment(wire, VNIC_FORWARD)->seed, 42);
		assert_conserved(&from.port, &to[run].port, wire, VNIC_FORWARD);
		/* Of a thousand segments, each by itself. */
		assert_in_range(vnic_wire_counter(wire, VNIC_FORWARD, VNIC_WIRE_DROP_LOSS), 43,
				157);
		vnic_wire_free(wire);
		fake_done(&from);
	}
	assert_int_equal(to[0].kept_count, to[1].kept_count);
	for (unsigned i = 0; i < to[0].kept_count; i++)
		assert_same_packet(&to[0].kept[i], &to[1].kept[i]);
	fake_done(&to[0]);
	fake_done(&to[1]);
}

static void test_a_seed_is_chosen(void **state)
{
	struct vnic_wire_options options = {.impairments = {{.loss = 0.5}, {.loss = 0}}};
	struct vnic_error error = {0};
	struct vnic_wire *wire;
	struct fake one, other;

	(void)state;
	fake_init(&one, "one", 0);
	fake_init(&other, "other", 0);
	assert_ok(vnic_wire_new(&one.port, &other.port, &options, &wire, &error), &error);
	assert_true(vnic_wire_impairment(wire, VNIC_FORWARD)->seed != 0);
	assert_true(vnic_wire_impairment(wire, VNIC_BACKWARD)->seed == 0);
	vnic_wire_free(wire);
	fake_done(&one);
	fake_done(&other);
}

/* A patient source waits for a port that has little room. */
static void test_patience(void **state)
{
	struct fake from, to;

	(void)state;
	fake_init(&from, "from", 1000);
	fake_init(&to, "to", 0);
	from.port.is_patient = true;
	to.port.kind = &narrow_kind;
	to.has_room = true;
	to.room = 7;
	for (unsigned i = 0; i < 1000; i++)
		say(&from, &(struct sample){.payload = 10, .sequence = i}, 0);
	run_wire(&from.port, &to.port, NULL, NULL);
	assert_int_equal(to.kept_count, 1000);
	fake_done(&from);
	fake_done(&to);
}

static void test_time(void **state)
{
	struct fake from, to;

	(void)state;
	fake_init(&from, "from", 0);
	fake_init(&to, "to", 0);
	from.period_ns = 3000000;
	run_wire(&from.port, &to.port, NULL, NULL); /* it ends after the eighth call */
	assert_int_equal(from.advanced, 8);
	for (unsigned i = 1; i < 8; i++)
		if (from.advanced_ns[i] - from.advanced_ns[i - 1] < 3000000)
			fail_msg("call %u came after %llu ns", i,
				 (unsigned long long)(from.advanced_ns[i] -
						      from.advanced_ns[i - 1]));
	fake_done(&from);
	fake_done(&to);
}

static void test_a_port_that_fails(void **state)
{
	struct vnic_error error = {0};
	struct vnic_wire *wire;
	struct fake from, to;

	(void)state;
	fake_init(&from, "from", 1);
	fake_init(&to, "to", 0);
	say(&from, &(struct sample){.payload = 10}, 0);
	from.failure = -ECONNRESET;
	assert_ok(vnic_wire_new(&from.port, &to.port, NULL, &wire, &error), &error);
	assert_refused(vnic_wire_run(wire, &error), &error, -ECONNRESET, VNIC_CAUSE_SYSTEM,
		       "the test's port failed");
	assert_int_equal(to.kept_count, 1);
	assert_int_equal(vnic_wire_run(wire, NULL), -ECONNRESET); /* and again */
	vnic_wire_free(wire);
	fake_done(&from);
	fake_done(&to);
}

static void *stop_when_all_came(void *user)
{
	struct vnic_wire *wire = user;

	vnic_wire_stop(wire);
	return NULL;
}

static void test_stop(void **state)
{
	struct vnic_error error = {0};
	struct vnic_wire *wire;
	struct fake one, other;
	pthread_t thread;

	(void)state;
	fake_init(&one, "one", 0);
	fake_init(&other, "other", 0);
	assert_ok(vnic_wire_new(&one.port, &other.port, NULL, &wire, &error), &error);
	vnic_wire_stop(wire); /* before it begins */
	assert_ok(vnic_wire_run(wire, &error), &error);
	for (unsigned i = 0; i < 100; i++) {
		assert_int_equal(pthread_create(&thread, NULL, stop_when_all_came, wire), 0);
		assert_ok(vnic_wire_run(wire, &error), &error);
		pthread_join(thread, NULL);
	}
	vnic_wire_free(wire);
	fake_done(&one);
	fake_done(&other);
}

/* Stop the wire when all that one port had to say was received. */
struct stopper {
	struct vnic_wire *wire;
	const struct vnic_port *port;
	uint64_t packets;
};

static void *stop_when_received(void *user)
{
	const struct stopper *stopper = user;

	while (vnic_port_counter(stopper->port, 0, VNIC_PORT_IN_PACKETS) < stopper->packets)
		sched_yield();
	vnic_wire_stop(stopper->wire);
	return NULL;
}

/* What is still delayed when the wire is stopped is counted. */
static void test_what_is_delayed_when_stopped(void **state)
{
	struct vnic_wire_options options = {.impairments = {{.delay_ns = 60000000000, .seed = 1}}};
	struct vnic_error error = {0};
	struct vnic_wire *wire;
	struct fake from, to;
	struct stopper stopper;
	pthread_t thread;

	(void)state;
	fake_init(&from, "from", 10);
	fake_init(&to, "to", 0);
	from.is_endless = true;
	for (unsigned i = 0; i < 10; i++)
		say(&from, &(struct sample){.payload = 10}, 0);
	assert_ok(vnic_wire_new(&from.port, &to.port, &options, &wire, &error), &error);
	stopper = (struct stopper){wire, &from.port, 10};
	assert_int_equal(pthread_create(&thread, NULL, stop_when_received, &stopper), 0);
	assert_ok(vnic_wire_run(wire, &error), &error);
	pthread_join(thread, NULL);
	assert_int_equal(vnic_wire_counter(wire, VNIC_FORWARD, VNIC_WIRE_DROP_STOPPED), 10);
	assert_conserved(&from.port, &to.port, wire, VNIC_FORWARD);
	vnic_wire_free(wire);
	fake_done(&from);
	fake_done(&to);
}

/* At the end of a source it is delivered, whether that ends well or not; to a broken port nothing. */
static void test_what_is_delayed_at_the_end(void **state)
{
	const struct vnic_wire_options options = {
		.impairments = {{.delay_ns = 2000000, .seed = 1}, {.delay_ns = 2000000, .seed = 2}},
	};
	static const int failures[] = {0, -EPIPE, -EPIPE};
	struct vnic_error error = {0};
	struct vnic_wire *wire;
	struct fake from, to;

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		unsigned expected = i == 2 ? 4 : 10;

		fake_init(&from, "from", 10);
		fake_init(&to, "to", 10);
		for (unsigned j = 0; j < 10; j++) {
			say(&from, &(struct sample){.payload = 10}, 0);
			say(&to, &(struct sample){.payload = 10}, 0);
		}
		from.failure = failures[i];
		to.is_endless = true;
		to.breaks = i == 2 ? 4 : 0;
		assert_ok(vnic_wire_new(&from.port, &to.port, &options, &wire, &error), &error);
		assert_int_equal(vnic_wire_run(wire, &error), failures[i]);
		if (failures[i]) /* the first of two */
			assert_string_equal(error.text, "the test's port failed");
		assert_int_equal(to.kept_count, expected);
		assert_counter(&to.port, VNIC_PORT_DROP_DOWN, 10 - expected);
		assert_conserved(&from.port, &to.port, wire, VNIC_FORWARD);
		assert_conserved(&to.port, &from.port, wire, VNIC_BACKWARD);
		vnic_wire_free(wire);
		fake_done(&from);
		fake_done(&to);
	}
}

static void test_what_cannot_be_joined(void **state)
{
	struct vnic_wire_options options = {.impairments = {{.loss = 2}}};
	struct vnic_error error = {0};
	struct vnic_wire *wire = NULL;
	struct fake one, other;

	(void)state;
	fake_init(&one, "one", 0);
	fake_init(&other, "other", 0);
	assert_refused(vnic_wire_new(&one.port, &one.port, NULL, &wire, &error), &error, -EINVAL,
		       VNIC_CAUSE_ARGUMENT, "'one'");
	other.port.layer = VNIC_LAYER_ETHERNET;
	assert_refused(vnic_wire_new(&one.port, &other.port, NULL, &wire, &error), &error, -EINVAL,
		       VNIC_CAUSE_ARGUMENT, "Ethernet");
	other.port.layer = VN_PORT_EITHER;
	other.port.queue_count = 2;
	assert_refused(vnic_wire_new(&one.port, &other.port, NULL, &wire, &error), &error, -EINVAL,
		       VNIC_CAUSE_ARGUMENT, "queues");
	other.port.queue_count = 1;
	assert_refused(vnic_wire_new(&one.port, &other.port, &options, &wire, &error), &error,
		       -EINVAL, VNIC_CAUSE_ARGUMENT, "probability");
	assert_null(wire);
	fake_done(&one);
	fake_done(&other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_super_packets_pass_whole),
		cmocka_unit_test(test_super_packets_are_cut),
		cmocka_unit_test(test_refused_super_packets_are_cut),
		cmocka_unit_test(test_plain_packets_are_merged),
		cmocka_unit_test(test_lent_packets_are_merged),
		cmocka_unit_test(test_checksums_are_completed),
		cmocka_unit_test(test_malformed_super_packets_are_counted),
		cmocka_unit_test(test_too_long_packets_are_counted),
		cmocka_unit_test(test_nothing_is_lost_silently),
		cmocka_unit_test(test_nothing_is_lost_when_a_port_breaks),
		cmocka_unit_test(test_impaired_by_a_seed),
		cmocka_unit_test(test_a_seed_is_chosen),
		cmocka_unit_test(test_patience),
		cmocka_unit_test(test_time),
		cmocka_unit_test(test_a_port_that_fails),
		cmocka_unit_test(test_stop),
		cmocka_unit_test(test_what_is_delayed_when_stopped),
		cmocka_unit_test(test_what_is_delayed_at_the_end),
		cmocka_unit_test(test_what_cannot_be_joined),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
