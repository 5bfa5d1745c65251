/* SPDX-License-Identifier: MIT */
/*
 * Impairments on a clock of the test's own: what becomes of each packet, when, and how often. All
 * of it comes from seeds, so the numbers are the same in every run; the bounds say how far off a
 * good generator may be (about six standard deviations), not how far a run may be from the last
 * one.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "io/impair.h"

#define PACKETS 100000
#define MS UINT64_C(1000000)
#define SECOND (1000 * MS)

static struct vn_impair *make(const char *text)
{
	struct vnic_impairment impairment;
	struct vnic_error error = {0};
	struct vn_impair *impair = NULL;

	if (vnic_impairment_parse(text, &impairment, &error) < 0 ||
	    vn_impair_new(&impairment, &impair, &error) < 0)
		fail_msg("'%s': %s", text, error.text);
	return impair;
}

/* A packet that knows its number. */
static void put(struct vn_impair *impair, uint32_t number, uint32_t length, uint64_t now_ns)
{
	uint8_t bytes[VNIC_PACKET_BYTES];
	struct vnic_packet packet = {.data = bytes,
				     .length_bytes = length,
				     .capacity_bytes = length,
				     .flags = VNIC_PACKET_DATA_VALID};

	assert_true(length >= sizeof(number) && length <= sizeof(bytes));
	for (uint32_t i = 0; i < length; i++)
		bytes[i] = (uint8_t)(number + i);
	memcpy(bytes, &number, sizeof(number));
	vn_impair_put(impair, &packet, now_ns);
}

/* The next packet whose time has come. Returns its number, or UINT32_MAX: there is none. */
static uint32_t take(struct vn_impair *impair, uint64_t now_ns, uint32_t *length)
{
	static uint8_t bytes[VNIC_PACKET_BYTES + 1];
	struct vnic_packet packet = {.data = bytes, .capacity_bytes = sizeof(bytes)};
	uint32_t number;

	if (vn_impair_take(impair, now_ns, &packet, 1) == 0)
		return UINT32_MAX;
	assert_ptr_equal(packet.data, bytes);
	assert_int_equal(packet.capacity_bytes, sizeof(bytes));
	memcpy(&number, bytes, sizeof(number));
	for (uint32_t i = sizeof(number); i < packet.length_bytes; i++)
		if (bytes[i] != (uint8_t)(number + i))
			fail_msg("packet %u: byte %u is 0x%x, not 0x%x", number, i, bytes[i],
				 (uint8_t)(number + i));
	if (length)
		*length = packet.length_bytes;
	return number;
}

static void assert_between(const char *what, uint64_t number, uint64_t least, uint64_t most)
{
	if (number < least || number > most)
		fail_msg("%s: %llu is not between %llu and %llu", what, (unsigned long long)number,
			 (unsigned long long)least, (unsigned long long)most);
}

static void test_same_seed_same_fate(void **state)
{
	static uint32_t seen[2][2 * PACKETS];
	unsigned counts[2] = {0};

	(void)state;
	for (unsigned run = 0; run < 2; run++) {
		struct vn_impair *impair = make("loss=5%,duplicate=3%,delay=10ms,jitter=9ms,"
						"reorder=4%,seed=7");

		for (uint32_t i = 0; i < PACKETS; i++) {
			uint32_t number;

			put(impair, i, 60, i * MS);
			while ((number = take(impair, i * MS, NULL)) != UINT32_MAX)
				seen[run][counts[run]++] = number;
		}
		vn_impair_free(impair);
	}
	assert_int_equal(counts[0], counts[1]);
	assert_memory_equal(seen[0], seen[1], counts[0] * sizeof(seen[0][0]));
	assert_between("delivered", counts[0], PACKETS / 2, PACKETS);
}

/* Which of the first packets are lost, as bits. */
static uint64_t losses(const char *text)
{
	struct vn_impair *impair = make(text);
	uint64_t lost = 0;

	for (uint32_t i = 0; i < 64; i++) {
		uint64_t before = vn_impair_counter(impair, VNIC_WIRE_DROP_LOSS);

		put(impair, i, 60, i);
		lost |= (vn_impair_counter(impair, VNIC_WIRE_DROP_LOSS) - before) << i;
	}
	vn_impair_free(impair);
	return lost;
}

static void test_seeds_differ_and_options_do_not_disturb(void **state)
{
	uint64_t lost = losses("loss=30%,seed=1");

	(void)state;
	assert_true(lost != 0 && lost != UINT64_MAX);
	assert_true(lost != losses("loss=30%,seed=2"));
	assert_true(lost ==
		    losses("loss=30%,delay=1ms,jitter=1ms,duplicate=10%,corrupt=5%,seed=1"));
	/* More loss: the same packets, and more. */
	assert_true((losses("loss=50%,seed=1") & lost) == lost);
	assert_true(losses("loss=100%,seed=1") == UINT64_MAX);
	assert_true(losses("loss=0,delay=1ms,seed=1") == 0);
}

static void test_statistics(void **state)
{
	struct vn_impair *impair =
		make("loss=1%,duplicate=0.5%,reorder=2%,delay=1ms,seed=20260101");
	uint64_t delivered = 0;
	uint64_t kept;

	(void)state;
	for (uint32_t i = 0; i < PACKETS; i++) {
		put(impair, i, 60, i * MS / 10);
		while (take(impair, i * MS / 10, NULL) != UINT32_MAX)
			delivered++;
	}
	while (take(impair, UINT64_MAX, NULL) != UINT32_MAX)
		delivered++;
	kept = PACKETS - vn_impair_counter(impair, VNIC_WIRE_DROP_LOSS);
	assert_between("lost", vn_impair_counter(impair, VNIC_WIRE_DROP_LOSS), 811, 1189);
	assert_between("duplicated", vn_impair_counter(impair, VNIC_WIRE_DUPLICATED), 361, 629);
	assert_between("reordered", vn_impair_counter(impair, VNIC_WIRE_REORDERED), 1715, 2245);
	assert_int_equal(delivered, kept + vn_impair_counter(impair, VNIC_WIRE_DUPLICATED));
	assert_int_equal(vn_impair_held(impair), 0);
	assert_true(vn_impair_deadline(impair) == VN_IMPAIR_NEVER);
	vn_impair_free(impair);
}

/* Delays are spread evenly over delay +- jitter, and the deadline tells the time exactly. */
static void test_delay_and_jitter(void **state)
{
	struct vn_impair *impair = make("delay=20ms,jitter=5ms,seed=3");
	uint64_t least = UINT64_MAX, most = 0, sum = 0;

	(void)state;
	for (uint32_t i = 0; i < 10000; i++) {
		uint64_t now_ns = 100 * MS * i, due_ns;

		put(impair, i, 100, now_ns);
		due_ns = vn_impair_deadline(impair);
		assert_int_equal(take(impair, due_ns - 1, NULL), UINT32_MAX);
		assert_int_equal(take(impair, due_ns, NULL), i);
		due_ns -= now_ns;
		least = due_ns < least ? due_ns : least;
		most = due_ns > most ? due_ns : most;
		sum += due_ns;
	}
	assert_between("least", least, 15 * MS, 15 * MS + MS / 50);
	assert_between("most", most, 25 * MS - MS / 50, 25 * MS);
	assert_between("mean", sum / 10000, 20 * MS - MS / 5, 20 * MS + MS / 5);
	vn_impair_free(impair);
}

/* Jitter alone never lets one packet overtake another, however close they are. */
static void test_jitter_keeps_the_order(void **state)
{
	struct vn_impair *impair = make("delay=20ms,jitter=20ms,seed=5");
	uint32_t expected = 0, number;

	(void)state;
	for (uint32_t i = 0; i < 20000; i++) {
		put(impair, i, 60, i * UINT64_C(1000));
		while ((number = take(impair, i * UINT64_C(1000), NULL)) != UINT32_MAX)
			assert_int_equal(number, expected++);
	}
	while ((number = take(impair, UINT64_MAX, NULL)) != UINT32_MAX)
		assert_int_equal(number, expected++);
	assert_int_equal(expected, 20000);
	vn_impair_free(impair);
}

static void test_reordered_packets_overtake(void **state)
{
	struct vn_impair *impair = make("delay=10ms,reorder=10%,seed=9");
	unsigned overtook = 0;
	uint32_t number;

	(void)state;
	for (uint32_t i = 0; i < 1000; i++) {
		uint64_t now_ns = i * MS;

		put(impair, i, 60, now_ns);
		while ((number = take(impair, now_ns, NULL)) != UINT32_MAX) {
			if (number != i && number + 10 != i)
				fail_msg("at %u ms came %u", i, number);
			overtook += number == i;
		}
	}
	assert_between("overtook", overtook, 44, 156);
	assert_int_equal(overtook, vn_impair_counter(impair, VNIC_WIRE_REORDERED));
	vn_impair_free(impair);
}

static void test_corruption_flips_one_bit(void **state)
{
	struct vn_impair *impair = make("corrupt=100%,seed=11");
	static uint8_t before[5000], after[VNIC_PACKET_BYTES];
	bool late = false;

	(void)state;
	for (unsigned i = 0; i < 200; i++) {
		struct vnic_packet packet = {.data = before,
					     .length_bytes = sizeof(before),
					     .flags = VNIC_PACKET_DATA_VALID};
		struct vnic_packet result = {.data = after, .capacity_bytes = sizeof(after)};
		unsigned bits = 0;

		vn_impair_put(impair, &packet, i);
		assert_int_equal(vn_impair_take(impair, i, &result, 1), 1);
		assert_int_equal(result.length_bytes, sizeof(before));
		assert_int_equal(result.flags, 0); /* nobody vouches for it any more */
		for (size_t j = 0; j < sizeof(before); j++) {
			bits += (unsigned)__builtin_popcount(after[j]);
			late |= after[j] && j > 4096;
		}
		assert_int_equal(bits, 1);
	}
	assert_true(late); /* not only in the first of the blocks that hold it */
	assert_int_equal(vn_impair_counter(impair, VNIC_WIRE_CORRUPTED), 200);
	vn_impair_free(impair);
}

/* 1000 packets of 1250 bytes at 10 Mbit/s: one each millisecond. */
static void test_rate(void **state)
{
	struct vn_impair *impair = make("rate=10mbit,queue=2s,seed=1");

	(void)state;
	for (uint32_t i = 0; i < 1000; i++)
		put(impair, i, 1250, 0);
	for (uint32_t i = 0; i < 1000; i++) {
		assert_true(vn_impair_deadline(impair) == (i + 1) * MS);
		assert_int_equal(take(impair, (i + 1) * MS, NULL), i);
	}
	/* The link was idle: what comes now has it at once. */
	put(impair, 0, 1250, 5 * SECOND);
	assert_true(vn_impair_deadline(impair) == 5 * SECOND + MS);
	vn_impair_free(impair);
}

/* At twice the rate every second packet is dropped, once the queue of 50 ms is full. */
static void test_rate_drops_what_waits_too_long(void **state)
{
	struct vn_impair *impair = make("rate=10mbit,queue=50ms,seed=1");
	uint64_t delivered = 0, most_ns = 0;

	(void)state;
	for (uint32_t i = 0; i < 10000; i++) {
		uint64_t now_ns = i * MS / 2, due_ns;

		put(impair, i, 1250, now_ns);
		due_ns = vn_impair_deadline(impair);
		while (take(impair, now_ns, NULL) != UINT32_MAX)
			delivered++;
		most_ns = due_ns > now_ns && due_ns - now_ns > most_ns ? due_ns - now_ns : most_ns;
	}
	delivered += vn_impair_held(impair);
	assert_between("delivered", delivered, 5040, 5060);
	assert_int_equal(delivered + vn_impair_counter(impair, VNIC_WIRE_DROP_RATE), 10000);
	vn_impair_free(impair);
}

/* Whatever comes, memory has a bound, and each packet is accounted for. */
static void test_bounds(void **state)
{
	static const uint32_t lengths[] = {60, 1500, 2048, 2049, 9000, VNIC_PACKET_BYTES};

	(void)state;
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		struct vn_impair *impair = make("delay=60s,seed=1");
		uint32_t blocks = (lengths[i] + VN_IMPAIR_BLOCK_BYTES - 1) / VN_IMPAIR_BLOCK_BYTES;
		uint32_t most = VN_IMPAIR_BLOCKS / blocks, number, length = 0;

		for (unsigned round = 0; round < 2; round++) {
			uint64_t now_ns = 100 * SECOND * round;

			for (uint32_t j = 0; j < most + 10; j++)
				put(impair, j, lengths[i], now_ns);
			assert_int_equal(vn_impair_held(impair), most);
			assert_int_equal(vn_impair_counter(impair, VNIC_WIRE_DROP_MEMORY),
					 10 * (round + UINT64_C(1)));
			for (uint32_t j = 0; j < most; j++) {
				number = take(impair, now_ns + 60 * SECOND, &length);
				assert_int_equal(number, j);
				assert_int_equal(length, lengths[i]);
			}
		}
		vn_impair_free(impair);
	}
}

static void test_stop_counts_what_is_held(void **state)
{
	struct vn_impair *impair = make("delay=1s,seed=1");

	(void)state;
	for (uint32_t i = 0; i < 10; i++)
		put(impair, i, 60, 0);
	vn_impair_stop(impair);
	assert_int_equal(vn_impair_held(impair), 0);
	assert_int_equal(vn_impair_counter(impair, VNIC_WIRE_DROP_STOPPED), 10);
	put(impair, 10, 60, SECOND); /* and it goes on */
	assert_int_equal(take(impair, 2 * SECOND, NULL), 10);
	vn_impair_free(impair);
}

static void test_parse(void **state)
{
	struct vnic_impairment impairment;
	struct vnic_error error;

	(void)state;
	assert_int_equal(vnic_impairment_parse("loss=1%,delay=20ms,jitter=500us,reorder=0.01,"
					       "duplicate=0.1%,corrupt=1e-3,rate=1.5mbit,"
					       "queue=0.25s,seed=18446744073709551615",
					       &impairment, &error),
			 0);
	assert_true(impairment.loss == 0.01 && impairment.reorder == 0.01);
	assert_true(impairment.corrupt == 0.001);
	assert_true(impairment.delay_ns == 20 * MS && impairment.jitter_ns == MS / 2);
	assert_true(impairment.rate_bits_per_second == 1500000);
	assert_true(impairment.queue_ns == SECOND / 4 && impairment.seed == UINT64_MAX);
	assert_true(vnic_impairment_is_any(&impairment));
	assert_int_equal(vnic_impairment_parse("seed=7", &impairment, &error), 0);
	assert_false(vnic_impairment_is_any(&impairment));
}

static void test_parse_refuses(void **state)
{
	static const char *const texts[] = {
		"",
		"loss",
		"loss=",
		"loss=x",
		"loss=-1%",
		"loss=101%",
		"loss=1.01",
		"loss=nan",
		"loss=inf",
		"loss=1%%",
		"loss=0x1",
		"loss=1%,",
		",loss=1%",
		"loss=1%,loss=2%",
		"los=1%",
		"delay=20",
		"delay=20m",
		"delay=-1ms",
		"delay=61s",
		"delay=1e300s",
		"jitter=1ms",
		"delay=1ms,jitter=2ms",
		"reorder=1%",
		"rate=0",
		"rate=100",
		"rate=1bit",
		"rate=1001gbit",
		"rate=-1mbit",
		"queue=1ms",
		"seed=0",
		"seed=-1",
		"seed=x",
		"seed=18446744073709551616",
		"seed=1.5",
		"loss =1%",
		"loss=1% ",
		"duplicate=2",
		"corrupt=1e3",
	};
	struct vnic_impairment impairment, before;
	struct vnic_error error;

	(void)state;
	memset(&before, 0x55, sizeof(before));
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		impairment = before;
		error.text[0] = 0;
		if (vnic_impairment_parse(texts[i], &impairment, &error) != -EINVAL ||
		    error.cause != VNIC_CAUSE_ARGUMENT || !error.text[0])
			fail_msg("'%s' was taken, or for no reason: %s", texts[i], error.text);
		assert_memory_equal(&impairment, &before, sizeof(before));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same_seed_same_fate),
		cmocka_unit_test(test_seeds_differ_and_options_do_not_disturb),
		cmocka_unit_test(test_statistics),
		cmocka_unit_test(test_delay_and_jitter),
		cmocka_unit_test(test_jitter_keeps_the_order),
		cmocka_unit_test(test_reordered_packets_overtake),
		cmocka_unit_test(test_corruption_flips_one_bit),
		cmocka_unit_test(test_rate),
		cmocka_unit_test(test_rate_drops_what_waits_too_long),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_stop_counts_what_is_held),
		cmocka_unit_test(test_parse),
		cmocka_unit_test(test_parse_refuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
