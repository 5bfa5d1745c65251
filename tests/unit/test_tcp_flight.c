/* SPDX-License-Identifier: MIT */
/*
 * The scoreboard beside a naive model that knows for each position what became of it, and cases
 * from the RFCs on a clock of the test's own.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "random.h"
#include "stack/tcp_flight.h"

#define MS UINT64_C(1000000)
#define SEGMENT UINT64_C(100)
#define STEPS 40000
#define SPAN 4096 /* positions that the model knows at once */
#define PLENTY 100000

static uint64_t random_state;
#define below(bound) random_below(&random_state, bound)

struct fixture {
	struct vn_tcp_flight flight;
	struct vn_pool pool;
	struct vn_tcp_arrival arrival; /* of the last call */
};

static void open_fixture(struct fixture *f, unsigned most)
{
	memset(f, 0, sizeof(*f));
	vn_pool_init(&f->pool, sizeof(struct vn_tcp_sent), most);
	vn_tcp_flight_init(&f->flight);
}

static void close_fixture(struct fixture *f)
{
	vn_tcp_flight_done(&f->flight, &f->pool);
	assert_int_equal(f->pool.in_use, 0);
	assert_int_equal(f->flight.bytes, 0);
	assert_null(f->flight.first);
	vn_pool_done(&f->pool);
}

/* Segments of SEGMENT bytes, one each millisecond from now_ns on: [first, last) of them. */
static void send_segments(struct fixture *f, unsigned first, unsigned last, uint64_t now_ns)
{
	for (unsigned i = first; i < last; i++)
		assert_int_equal(vn_tcp_flight_sent(&f->flight, &f->pool, 1 + i * SEGMENT,
						    1 + (i + 1) * SEGMENT,
						    now_ns + (i - first) * MS),
				 0);
}

static void acked(struct fixture *f, unsigned segments, uint64_t now_ns)
{
	f->arrival = (struct vn_tcp_arrival){0};
	vn_tcp_flight_acked(&f->flight, &f->pool, 1 + segments * SEGMENT, now_ns, &f->arrival);
}

static void sacked(struct fixture *f, unsigned first, unsigned last, uint64_t now_ns)
{
	f->arrival = (struct vn_tcp_arrival){0};
	vn_tcp_flight_sacked(&f->flight, &f->pool, 1 + first * SEGMENT, 1 + last * SEGMENT, now_ns,
			     &f->arrival);
}

static uint32_t detect(struct fixture *f, bool is_recovering, uint64_t now_ns, uint64_t *due_ns)
{
	return vn_tcp_flight_detect(&f->flight, 0, is_recovering, SEGMENT, now_ns, due_ns);
}

/* The lists hold together, and the counters are the sums. */
static void check(const struct vn_tcp_flight *flight)
{
	const struct vn_tcp_sent *sent, *previous = NULL, *first_lost = NULL;
	uint32_t bytes = 0, sacked_bytes = 0, lost_bytes = 0, count = 0, flying = 0, timed = 0;
	bool has_hint = !flight->hint;

	for (sent = flight->first; sent; previous = sent, sent = sent->next) {
		uint32_t length = (uint32_t)(sent->end - sent->begin);

		assert_true(sent->begin < sent->end);
		assert_ptr_equal(sent->previous, previous);
		assert_true(!previous || previous->end == sent->begin);
		assert_false(sent->sacked && sent->lost);
		assert_false(previous && previous->sacked && sent->sacked);
		count++;
		bytes += length;
		sacked_bytes += sent->sacked ? length : 0;
		lost_bytes += sent->lost ? length : 0;
		flying += !sent->sacked && !sent->lost;
		if (sent->lost && !first_lost)
			first_lost = sent;
		has_hint |= sent == flight->hint;
	}
	assert_ptr_equal(flight->last, previous);
	assert_int_equal(flight->count, count);
	assert_int_equal(flight->bytes, bytes);
	assert_int_equal(flight->sacked_bytes, sacked_bytes);
	assert_int_equal(flight->lost_bytes, lost_bytes);
	assert_ptr_equal(vn_tcp_flight_lost(flight), first_lost);
	assert_true(has_hint);
	previous = NULL;
	for (sent = flight->earliest; sent; previous = sent, sent = sent->later) {
		assert_ptr_equal(sent->earlier, previous);
		assert_true(!previous || previous->sent_ns <= sent->sent_ns);
		assert_false(sent->sacked || sent->lost);
		timed++;
	}
	assert_ptr_equal(flight->latest, previous);
	assert_int_equal(timed, flying);
}

static void test_in_order(void **state)
{
	struct fixture f;

	(void)state;
	open_fixture(&f, PLENTY);
	send_segments(&f, 0, 10, 0);
	assert_int_equal(f.flight.count, 10);
	assert_int_equal(vn_tcp_flight_pipe(&f.flight), 10 * SEGMENT);
	acked(&f, 3, 50 * MS);
	assert_int_equal(f.arrival.acked_bytes, 3 * SEGMENT);
	assert_int_equal(f.arrival.delivered_bytes, 3 * SEGMENT);
	assert_int_equal(f.arrival.rtt_ns, 48 * MS); /* the third was sent at 2 ms */
	/* Half of one. */
	f.arrival = (struct vn_tcp_arrival){0};
	vn_tcp_flight_acked(&f.flight, &f.pool, 1 + 3 * SEGMENT + SEGMENT / 2, 51 * MS, &f.arrival);
	assert_int_equal(f.arrival.acked_bytes, SEGMENT / 2);
	assert_int_equal(f.arrival.rtt_ns, 48 * MS);
	assert_int_equal(f.flight.bytes, 6 * SEGMENT + SEGMENT / 2);
	check(&f.flight);
	/* Again, and an older one: nothing. */
	acked(&f, 2, 51 * MS);
	assert_int_equal(f.arrival.acked_bytes + f.arrival.delivered_bytes, 0);
	assert_int_equal(f.arrival.rtt_ns, 0);
	acked(&f, 10, 60 * MS);
	assert_int_equal(f.flight.count, 0);
	assert_int_equal(f.pool.in_use, 0);
	check(&f.flight);
	close_fixture(&f);
}

static void test_joins_what_was_sent_at_once(void **state)
{
	struct fixture f;

	(void)state;
	open_fixture(&f, PLENTY);
	assert_int_equal(vn_tcp_flight_sent(&f.flight, &f.pool, 0, 1, 5), 0); /* SYN */
	assert_int_equal(vn_tcp_flight_sent(&f.flight, &f.pool, 1, 65000, 7), 0);
	assert_int_equal(vn_tcp_flight_sent(&f.flight, &f.pool, 65000, 130000, 7), 0);
	assert_int_equal(f.flight.count, 2);
	assert_int_equal(vn_tcp_flight_sent(&f.flight, &f.pool, 130000, 130001, 8), 0);
	assert_int_equal(f.flight.count, 3);
	check(&f.flight);
	close_fixture(&f);
}

/* Ten segments, the first is lost: the third that is SACKed behind it marks it, at once. */
static void test_three_duplicates(void **state)
{
	struct fixture f;
	uint64_t due_ns;

	(void)state;
	open_fixture(&f, PLENTY);
	f.flight.rtt_least_ns = 40 * MS;
	send_segments(&f, 0, 10, 0);
	sacked(&f, 1, 2, 41 * MS);
	assert_int_equal(f.arrival.sacked_bytes, SEGMENT);
	assert_int_equal(f.arrival.rtt_ns, 40 * MS);
	/* Sent at 0, and 40 ms and a quarter of that are given to it. */
	assert_int_equal(detect(&f, false, 41 * MS, &due_ns), 0);
	assert_int_equal(due_ns, 50 * MS);
	sacked(&f, 2, 3, 42 * MS);
	assert_int_equal(detect(&f, false, 42 * MS, &due_ns), 0);
	sacked(&f, 3, 4, 43 * MS);
	assert_int_equal(detect(&f, false, 43 * MS, &due_ns), SEGMENT);
	assert_int_equal(due_ns, UINT64_MAX);
	assert_ptr_equal(vn_tcp_flight_lost(&f.flight), f.flight.first);
	assert_int_equal(vn_tcp_flight_pipe(&f.flight), 6 * SEGMENT);
	/* SACKed ones are one range. */
	assert_int_equal(f.flight.count, 8);
	check(&f.flight);
	close_fixture(&f);
}

/* With two of them only time tells (RFC 8985 section 6.2 step 5). */
static void test_timer_of_reordering(void **state)
{
	struct fixture f;
	uint64_t due_ns;

	(void)state;
	open_fixture(&f, PLENTY);
	f.flight.rtt_least_ns = 40 * MS;
	send_segments(&f, 0, 3, 0);
	sacked(&f, 2, 3, 42 * MS);
	assert_int_equal(detect(&f, false, 42 * MS, &due_ns), 0);
	assert_int_equal(due_ns, 50 * MS);
	assert_int_equal(detect(&f, false, 50 * MS - 1, &due_ns), 0);
	assert_int_equal(detect(&f, false, 50 * MS, &due_ns), SEGMENT);
	assert_int_equal(due_ns, 51 * MS); /* for the second */
	assert_int_equal(detect(&f, false, 51 * MS, &due_ns), SEGMENT);
	assert_int_equal(due_ns, UINT64_MAX);
	/* In recovery there is no waiting. */
	close_fixture(&f);
	open_fixture(&f, PLENTY);
	f.flight.rtt_least_ns = 40 * MS;
	send_segments(&f, 0, 3, 0);
	sacked(&f, 2, 3, 42 * MS);
	assert_int_equal(detect(&f, true, 42 * MS, &due_ns), 2 * SEGMENT);
	close_fixture(&f);
}

static void test_reordering_is_seen(void **state)
{
	struct fixture f;
	uint64_t due_ns;

	(void)state;
	open_fixture(&f, PLENTY);
	f.flight.rtt_least_ns = 40 * MS;
	send_segments(&f, 0, 10, 0);
	sacked(&f, 1, 2, 41 * MS);
	assert_false(f.flight.is_reordered);
	acked(&f, 1, 42 * MS); /* the hole is filled, by nothing of ours */
	assert_true(f.flight.is_reordered);
	/* From now on also in recovery, and behind many duplicates, there is waiting. */
	sacked(&f, 4, 8, 48 * MS);
	assert_int_equal(f.flight.rack_rtt_ns, 41 * MS);
	assert_int_equal(detect(&f, true, 48 * MS, &due_ns), 0);
	assert_int_equal(due_ns, (2 + 41 + 10) * MS);
	/* DSACKs make it wait longer, once a round... */
	vn_tcp_flight_dsack(&f.flight, 201, 1001);
	vn_tcp_flight_dsack(&f.flight, 301, 1101);
	assert_int_equal(f.flight.window_factor, 2);
	assert_int_equal(detect(&f, true, 48 * MS, &due_ns), 0);
	assert_int_equal(due_ns, (2 + 41 + 20) * MS);
	vn_tcp_flight_dsack(&f.flight, 1001, 2001);
	assert_int_equal(f.flight.window_factor, 3);
	/* ...up to the smoothed round trip... */
	assert_int_equal(vn_tcp_flight_detect(&f.flight, 25 * MS, true, SEGMENT, 48 * MS, &due_ns),
			 0);
	assert_int_equal(due_ns, (2 + 41 + 25) * MS);
	/* ...until 16 recoveries were without. */
	for (unsigned i = 0; i < 15; i++)
		vn_tcp_flight_recovered(&f.flight);
	assert_int_equal(f.flight.window_factor, 3);
	vn_tcp_flight_recovered(&f.flight);
	assert_int_equal(f.flight.window_factor, 1);
	vn_tcp_flight_recovered(&f.flight);
	assert_int_equal(f.flight.window_factor, 1);
	close_fixture(&f);
}

static void test_window_factor_has_an_end(void **state)
{
	struct fixture f;

	(void)state;
	open_fixture(&f, PLENTY);
	for (unsigned i = 1; i < 1000; i++)
		vn_tcp_flight_dsack(&f.flight, i * SEGMENT, (i + 1) * SEGMENT);
	assert_int_equal(f.flight.window_factor, UINT8_MAX);
	close_fixture(&f);
}

/* A retransmission that is lost again is found by what was sent after it. */
static void test_lost_retransmission(void **state)
{
	struct fixture f;
	struct vn_tcp_sent *sent;
	uint64_t due_ns;

	(void)state;
	open_fixture(&f, PLENTY);
	f.flight.rtt_least_ns = 40 * MS;
	send_segments(&f, 0, 6, 0);
	sacked(&f, 1, 4, 43 * MS);
	assert_int_equal(detect(&f, true, 43 * MS, &due_ns), SEGMENT);
	sent = vn_tcp_flight_resent(&f.flight, &f.pool, vn_tcp_flight_lost(&f.flight), SEGMENT,
				    44 * MS);
	assert_ptr_equal(sent, f.flight.first);
	assert_true(sent->retransmitted && !sent->lost);
	assert_null(vn_tcp_flight_lost(&f.flight));
	send_segments(&f, 6, 7, 45 * MS);
	sacked(&f, 4, 6, 46 * MS); /* were sent before it */
	assert_int_equal(detect(&f, true, 46 * MS, &due_ns), 0);
	sacked(&f, 6, 7, 85 * MS);
	assert_int_equal(detect(&f, true, 85 * MS, &due_ns), SEGMENT);
	assert_true(sent->lost);
	check(&f.flight);
	/* Karn: it measures nothing. */
	vn_tcp_flight_resent(&f.flight, &f.pool, sent, SEGMENT, 86 * MS);
	acked(&f, 7, 130 * MS);
	assert_int_equal(f.arrival.rtt_ns, 0);
	assert_int_equal(f.arrival.acked_bytes, 7 * SEGMENT);
	assert_int_equal(f.arrival.delivered_bytes, SEGMENT);
	check(&f.flight);
	close_fixture(&f);
}

/* A retransmission cannot have arrived in less than a round trip: RACK learns nothing of it. */
static void test_ambiguous_retransmission(void **state)
{
	struct fixture f;
	uint64_t due_ns;

	(void)state;
	open_fixture(&f, PLENTY);
	f.flight.rtt_least_ns = 40 * MS;
	send_segments(&f, 0, 4, 0);
	assert_int_equal(vn_tcp_flight_lose_all(&f.flight), 4 * SEGMENT);
	assert_int_equal(vn_tcp_flight_pipe(&f.flight), 0);
	vn_tcp_flight_resent(&f.flight, &f.pool, f.flight.first, SEGMENT, 300 * MS);
	acked(&f, 1, 310 * MS);
	assert_int_equal(f.flight.rack_end, 0);
	assert_int_equal(detect(&f, true, 310 * MS, &due_ns), 0);
	assert_int_equal(due_ns, UINT64_MAX);
	/* The second arrives, and had not been sent again. */
	acked(&f, 2, 311 * MS);
	assert_int_equal(f.flight.rack_end, 1 + 2 * SEGMENT);
	check(&f.flight);
	close_fixture(&f);
}

/* Before anything measures a round trip, duplicates are counted as RFC 6675 does. */
static void test_duplicates_without_a_round_trip(void **state)
{
	struct fixture f;
	uint64_t due_ns;

	(void)state;
	open_fixture(&f, PLENTY);
	f.flight.rtt_least_ns = 40 * MS;
	send_segments(&f, 0, 8, 0);
	/* All but the first were sent again just now, and what arrives may be either. */
	for (struct vn_tcp_sent *sent = f.flight.first->next; sent; sent = sent->next)
		vn_tcp_flight_resent(&f.flight, &f.pool, sent, SEGMENT, 10 * MS);
	sacked(&f, 4, 6, 41 * MS);
	assert_int_equal(f.flight.rack_end, 0);
	assert_int_equal(detect(&f, false, 41 * MS, &due_ns), 0);
	sacked(&f, 6, 7, 41 * MS);
	assert_int_equal(detect(&f, false, 41 * MS, &due_ns), SEGMENT);
	assert_true(f.flight.first->lost);
	assert_int_equal(due_ns, UINT64_MAX);
	check(&f.flight);
	close_fixture(&f);
}

/* A super-segment of which parts arrive, and parts are sent again. */
static void test_super_segment(void **state)
{
	struct fixture f;
	struct vn_tcp_sent *sent;
	uint64_t due_ns;

	(void)state;
	open_fixture(&f, PLENTY);
	f.flight.rtt_least_ns = 40 * MS;
	assert_int_equal(vn_tcp_flight_sent(&f.flight, &f.pool, 1, 65001, 0), 0);
	for (unsigned i = 10; i < 100; i++) {
		sacked(&f, i, i + 1, 40 * MS);
		/* What is left of it in front, what is SACKed, what is left behind. */
		assert_int_equal(f.flight.count, 3);
		assert_int_equal(f.flight.sacked_bytes, (i - 9) * SEGMENT);
	}
	/* Of one time, so the position counts: what is behind is not lost. */
	assert_int_equal(detect(&f, true, 40 * MS, &due_ns), 10 * SEGMENT);
	sent = vn_tcp_flight_lost(&f.flight);
	assert_int_equal(vn_tcp_flight_lost_run(sent, 65000), 10 * SEGMENT);
	assert_int_equal(vn_tcp_flight_lost_run(sent, 150), 150);
	for (unsigned i = 0; i < 10; i++) {
		sent = vn_tcp_flight_lost(&f.flight);
		sent = vn_tcp_flight_resent(&f.flight, &f.pool, sent, SEGMENT, 41 * MS);
		assert_non_null(sent);
		assert_int_equal(sent->begin, 1 + i * SEGMENT);
		assert_int_equal(sent->end, 1 + (i + 1) * SEGMENT);
		/* Those sent at once join again. */
		assert_true(f.flight.count <= 5);
		check(&f.flight);
	}
	assert_int_equal(f.flight.lost_bytes, 0);
	close_fixture(&f);
}

/* After a timeout everything is sent again, in super-segments whatever had been cut. */
static void test_run_of_lost(void **state)
{
	struct fixture f;
	struct vn_tcp_sent *sent;

	(void)state;
	open_fixture(&f, PLENTY);
	send_segments(&f, 0, 10, 0);
	sacked(&f, 8, 9, 40 * MS);
	assert_int_equal(vn_tcp_flight_lose_all(&f.flight), 9 * SEGMENT);
	sent = vn_tcp_flight_lost(&f.flight);
	assert_int_equal(vn_tcp_flight_lost_run(sent, UINT32_MAX), 8 * SEGMENT);
	sent = vn_tcp_flight_resent(&f.flight, &f.pool, sent, 450, 300 * MS);
	assert_int_equal(sent->end - sent->begin, 450);
	check(&f.flight);
	assert_int_equal(f.flight.lost_bytes, 450);
	sent = vn_tcp_flight_lost(&f.flight);
	assert_int_equal(sent->begin, 451);
	/* No more than there is. */
	sent = vn_tcp_flight_resent(&f.flight, &f.pool, sent, 65000, 301 * MS);
	assert_int_equal(sent->end - sent->begin, 350);
	assert_int_equal(vn_tcp_flight_lost(&f.flight)->begin, 901);
	check(&f.flight);
	close_fixture(&f);
}

static void test_tail(void **state)
{
	struct fixture f;
	struct vn_tcp_sent *tail;

	(void)state;
	open_fixture(&f, 4);
	assert_null(vn_tcp_flight_tail(&f.flight, &f.pool, SEGMENT));
	assert_int_equal(vn_tcp_flight_sent(&f.flight, &f.pool, 1, 1001, 0), 0);
	tail = vn_tcp_flight_tail(&f.flight, &f.pool, SEGMENT);
	assert_int_equal(tail->begin, 901);
	assert_int_equal(tail->end, 1001);
	assert_ptr_equal(vn_tcp_flight_tail(&f.flight, &f.pool, SEGMENT), tail);
	assert_ptr_equal(vn_tcp_flight_resent(&f.flight, &f.pool, tail, SEGMENT, 90 * MS), tail);
	assert_int_equal(vn_tcp_flight_pipe(&f.flight), 1000);
	assert_ptr_equal(f.flight.latest, tail);
	check(&f.flight);
	sacked(&f, 9, 10, 130 * MS);
	tail = vn_tcp_flight_tail(&f.flight, &f.pool, 10 * SEGMENT);
	assert_int_equal(tail->begin, 1);
	acked(&f, 9, 130 * MS);
	assert_null(vn_tcp_flight_tail(&f.flight, &f.pool, SEGMENT));
	close_fixture(&f);
}

static void test_lose_first(void **state)
{
	struct fixture f;

	(void)state;
	open_fixture(&f, 2);
	assert_int_equal(vn_tcp_flight_lose_first(&f.flight, &f.pool, SEGMENT), 0);
	assert_int_equal(vn_tcp_flight_sent(&f.flight, &f.pool, 1, 1001, 0), 0);
	assert_int_equal(vn_tcp_flight_lose_first(&f.flight, &f.pool, SEGMENT), SEGMENT);
	assert_int_equal(vn_tcp_flight_lose_first(&f.flight, &f.pool, SEGMENT), 0);
	check(&f.flight);
	acked(&f, 1, 40 * MS);
	/* No memory to cut it: all of it. */
	assert_int_equal(vn_tcp_flight_sent(&f.flight, &f.pool, 1001, 1002, 41 * MS), 0);
	assert_int_equal(vn_tcp_flight_lose_first(&f.flight, &f.pool, SEGMENT), 900);
	check(&f.flight);
	close_fixture(&f);
}

static void test_reneging(void **state)
{
	struct fixture f;

	(void)state;
	open_fixture(&f, PLENTY);
	send_segments(&f, 0, 6, 0);
	sacked(&f, 1, 3, 40 * MS);
	sacked(&f, 4, 5, 41 * MS);
	vn_tcp_flight_forget_sacks(&f.flight);
	check(&f.flight);
	assert_int_equal(f.flight.sacked_bytes, 0);
	assert_int_equal(f.flight.lost_bytes, 3 * SEGMENT);
	assert_int_equal(vn_tcp_flight_lost(&f.flight)->begin, 1 + SEGMENT);
	/* What it had arrived of is not measured a second time. */
	sacked(&f, 1, 3, 400 * MS);
	assert_int_equal(f.arrival.sacked_bytes, 2 * SEGMENT);
	assert_int_equal(f.arrival.rtt_ns, 0);
	close_fixture(&f);
}

/* What the pool does not give is as if it had not been said. */
static void test_no_memory(void **state)
{
	struct fixture f;

	(void)state;
	open_fixture(&f, 4);
	assert_int_equal(vn_tcp_flight_sent(&f.flight, &f.pool, 1, 1001, 0), 0);
	sacked(&f, 9, 10, 40 * MS);
	assert_int_equal(f.arrival.sacked_bytes, SEGMENT);
	assert_int_equal(f.arrival.refused_sacks, 0);
	/* Half of the pool is in use: nothing is marked, nothing is cut. */
	sacked(&f, 3, 4, 40 * MS);
	assert_int_equal(f.arrival.sacked_bytes, 0);
	assert_int_equal(f.arrival.delivered_bytes, 0);
	assert_int_equal(f.arrival.rtt_ns, 0);
	assert_int_equal(f.arrival.refused_sacks, 1);
	assert_int_equal(f.flight.count, 2);
	check(&f.flight);
	/* It grows without memory. */
	sacked(&f, 7, 9, 41 * MS);
	assert_int_equal(f.flight.sacked_bytes, 3 * SEGMENT);
	/* The other half is for what is sent. */
	assert_int_equal(vn_tcp_flight_sent(&f.flight, &f.pool, 1001, 1101, MS), 0);
	assert_int_equal(vn_tcp_flight_sent(&f.flight, &f.pool, 1101, 1201, 2 * MS), 0);
	assert_int_equal(vn_tcp_flight_sent(&f.flight, &f.pool, 1201, 1301, 3 * MS), -ENOMEM);
	assert_int_equal(f.flight.bytes, 1200);
	check(&f.flight);
	/* What cannot be cut is sent again as a whole, as far as we know. */
	vn_tcp_flight_lose_all(&f.flight);
	assert_int_equal(f.flight.lost_bytes, 9 * SEGMENT);
	assert_ptr_equal(vn_tcp_flight_resent(&f.flight, &f.pool, f.flight.first, SEGMENT, 50 * MS),
			 f.flight.first);
	assert_int_equal(f.flight.lost_bytes, 2 * SEGMENT);
	check(&f.flight);
	assert_int_equal(vn_tcp_flight_lost(&f.flight)->begin, 1001);
	/* Of two that are lost the second cannot be cut either. */
	vn_tcp_flight_resent(&f.flight, &f.pool, vn_tcp_flight_lost(&f.flight), 150, 50 * MS);
	assert_int_equal(f.flight.lost_bytes, 0);
	check(&f.flight);
	close_fixture(&f);
}

/* Every other segment of a long flight: what is over the bound is not marked, and counted. */
static void test_bound_of_sacks(void **state)
{
	const unsigned segments = 3 * VN_TCP_FLIGHT_RANGES;
	struct fixture f;
	uint32_t refused = 0;

	(void)state;
	open_fixture(&f, PLENTY);
	assert_int_equal(vn_tcp_flight_sent(&f.flight, &f.pool, 1, 1 + segments * SEGMENT, 0), 0);
	for (unsigned i = 1; i < segments; i += 2) {
		sacked(&f, i, i + 1, 40 * MS);
		refused += f.arrival.refused_sacks;
	}
	check(&f.flight);
	assert_in_range(f.flight.count, VN_TCP_FLIGHT_RANGES, VN_TCP_FLIGHT_RANGES + 1);
	assert_int_equal(refused, segments / 2 - f.flight.sacked_bytes / SEGMENT);
	/* Room again. */
	acked(&f, segments / 2, 41 * MS);
	sacked(&f, segments - 1, segments, 42 * MS);
	assert_int_equal(f.arrival.refused_sacks, 0);
	assert_int_equal(f.arrival.sacked_bytes, SEGMENT);
	close_fixture(&f);
}

/* However many ranges some take, one is left for each of the others. */
static void test_one_for_each(void **state)
{
	struct fixture f;
	struct vn_tcp_flight others[3];
	unsigned sent = 0;

	(void)state;
	open_fixture(&f, 2 * VN_TCP_FLIGHT_SHARE);
	while (vn_tcp_flight_sent(&f.flight, &f.pool, 1 + sent * SEGMENT, 1 + (sent + 1) * SEGMENT,
				  sent * MS) == 0)
		sent++;
	assert_int_equal(sent, 2 * VN_TCP_FLIGHT_SHARE - 2);
	for (unsigned i = 0; i < 3; i++) {
		vn_tcp_flight_init(&others[i]);
		assert_int_equal(vn_tcp_flight_sent(&others[i], &f.pool, 0, 1, 0),
				 i < 2 ? 0 : -ENOMEM);
		assert_int_equal(vn_tcp_flight_sent(&others[i], &f.pool, 1, 2, MS), -ENOMEM);
	}
	for (unsigned i = 0; i < 3; i++)
		vn_tcp_flight_done(&others[i], &f.pool);
	close_fixture(&f);
}

static void test_strange_sacks(void **state)
{
	struct fixture f;

	(void)state;
	open_fixture(&f, PLENTY);
	sacked(&f, 0, 5, 40 * MS); /* nothing is there */
	send_segments(&f, 0, 6, 0);
	acked(&f, 2, 40 * MS);
	sacked(&f, 0, 2, 41 * MS); /* before */
	sacked(&f, 6, 9, 41 * MS); /* behind */
	sacked(&f, 4, 4, 41 * MS); /* empty */
	sacked(&f, 5, 3, 41 * MS); /* the wrong way round */
	assert_int_equal(f.flight.sacked_bytes, 0);
	check(&f.flight);
	sacked(&f, 0, 100, 41 * MS); /* all there is */
	assert_int_equal(f.arrival.sacked_bytes, 4 * SEGMENT);
	assert_int_equal(f.flight.count, 1);
	check(&f.flight);
	sacked(&f, 3, 5, 41 * MS);
	assert_int_equal(f.arrival.sacked_bytes, 0);
	close_fixture(&f);
}

/* What became of a position. */
struct cell {
	uint64_t sent_ns;
	bool sacked, lost, retransmitted, forgotten;
};

struct model {
	struct cell cells[SPAN]; /* of una % SPAN and so on */
	uint64_t una, end;
	uint64_t rack_sent_ns, rack_end, rack_rtt_ns, forward_ack, least_ns;
	bool is_reordered;
	uint32_t delivered, acked, sacked; /* of the current step */
	uint64_t rtt_ns;
};

static struct cell *cell(struct model *model, uint64_t position)
{
	return &model->cells[position % SPAN];
}

static void model_arrive(struct model *model, uint64_t position, uint64_t now_ns)
{
	const struct cell *c = cell(model, position);
	uint64_t rtt_ns = now_ns > c->sent_ns ? now_ns - c->sent_ns : 1, end = position + 1;

	model->delivered++;
	if (c->forgotten)
		return;
	if (!c->retransmitted && (!model->rtt_ns || rtt_ns < model->rtt_ns))
		model->rtt_ns = rtt_ns;
	if (end > model->forward_ack)
		model->forward_ack = end;
	else if (end < model->forward_ack && !c->retransmitted)
		model->is_reordered = true;
	if (c->retransmitted && rtt_ns < model->least_ns)
		return;
	model->rack_rtt_ns = rtt_ns;
	if (c->sent_ns > model->rack_sent_ns ||
	    (c->sent_ns == model->rack_sent_ns && end > model->rack_end)) {
		model->rack_sent_ns = c->sent_ns;
		model->rack_end = end;
	}
}

static void begin_step(struct model *model)
{
	model->delivered = model->acked = model->sacked = 0;
	model->rtt_ns = 0;
}

static void model_acked(struct model *model, uint64_t position, uint64_t now_ns)
{
	for (; model->una < position; model->una++) {
		if (!cell(model, model->una)->sacked)
			model_arrive(model, model->una, now_ns);
		model->acked++;
	}
}

static void model_sacked(struct model *model, uint64_t begin, uint64_t end, uint64_t now_ns)
{
	for (uint64_t at = begin; at < end; at++) {
		struct cell *c = cell(model, at);

		if (at < model->una || at >= model->end || c->sacked)
			continue;
		model_arrive(model, at, now_ns);
		model->sacked++;
		c->sacked = true;
		c->lost = false;
	}
}

/* The bytes SACKed above a position. */
static uint32_t model_above(struct model *model, uint64_t position)
{
	uint32_t above = 0;

	for (; position < model->end; position++)
		above += cell(model, position)->sacked;
	return above;
}

static uint32_t model_detect(struct model *model, bool is_recovering, uint8_t factor,
			     uint64_t now_ns, uint64_t *due_ns)
{
	bool has_duplicates = model_above(model, model->una) > 2 * SEGMENT;
	uint64_t least_ns = model->least_ns ? model->least_ns : model->rack_rtt_ns;
	uint64_t window_ns = least_ns / 4 * factor;
	uint32_t lost = 0, above = 0;

	if (!model->is_reordered && (is_recovering || has_duplicates))
		window_ns = 0;
	*due_ns = UINT64_MAX;
	for (uint64_t at = model->end; at-- > model->una;) {
		struct cell *c = cell(model, at);
		uint64_t until_ns = c->sent_ns + model->rack_rtt_ns + window_ns;

		above += c->sacked;
		if (c->sacked || c->lost)
			continue;
		if (!model->rack_end) {
			c->lost = !model->is_reordered && !c->retransmitted && above > 2 * SEGMENT;
		} else if (c->sent_ns < model->rack_sent_ns ||
			   (c->sent_ns == model->rack_sent_ns && at + 1 < model->rack_end)) {
			if (until_ns <= now_ns)
				c->lost = true;
			else if (until_ns < *due_ns)
				*due_ns = until_ns;
		}
		lost += c->lost;
	}
	return lost;
}

static void compare(const struct vn_tcp_flight *flight, struct model *model)
{
	uint64_t at = model->una;

	check(flight);
	for (const struct vn_tcp_sent *sent = flight->first; sent; sent = sent->next) {
		assert_int_equal(sent->begin, at);
		for (; at < sent->end; at++) {
			const struct cell *c = cell(model, at);

			if (c->sacked != sent->sacked || c->lost != sent->lost ||
			    (!c->sacked && c->retransmitted != sent->retransmitted) ||
			    (!c->sacked && !c->lost && c->sent_ns != sent->sent_ns))
				fail_msg("position %llu: sacked %d, lost %d, sent %llu, not %d, "
					 "%d, %llu",
					 (unsigned long long)at, sent->sacked, sent->lost,
					 (unsigned long long)sent->sent_ns, c->sacked, c->lost,
					 (unsigned long long)c->sent_ns);
		}
	}
	assert_int_equal(at, model->end);
	assert_int_equal(flight->is_reordered, model->is_reordered);
	assert_int_equal(flight->forward_ack, model->forward_ack);
	assert_int_equal(flight->rack_sent_ns, model->rack_sent_ns);
	assert_int_equal(flight->rack_end, model->rack_end);
	assert_int_equal(flight->rack_rtt_ns, model->rack_rtt_ns);
}

static void compare_arrival(const struct vn_tcp_arrival *arrival, const struct model *model)
{
	assert_int_equal(arrival->acked_bytes, model->acked);
	assert_int_equal(arrival->sacked_bytes, model->sacked);
	assert_int_equal(arrival->delivered_bytes, model->delivered);
	assert_int_equal(arrival->rtt_ns, model->rtt_ns);
}

static void random_send(struct fixture *f, struct model *model, uint64_t now_ns)
{
	uint64_t end = model->end + 1 + below(below(4) ? 150 : 700);

	if (end - model->una > SPAN)
		return;
	assert_int_equal(vn_tcp_flight_sent(&f->flight, &f->pool, model->end, end, now_ns), 0);
	for (; model->end < end; model->end++)
		*cell(model, model->end) = (struct cell){.sent_ns = now_ns};
}

static void random_arrival(struct fixture *f, struct model *model, uint64_t now_ns)
{
	uint32_t span = (uint32_t)(model->end - model->una);
	struct vn_tcp_arrival arrival = {0};

	begin_step(model);
	if (below(3) == 0) {
		uint64_t position =
			model->una + random_below(&random_state, below(3) ? 200 : span + 1);

		if (position > model->end)
			position = model->end;
		model_acked(model, position, now_ns);
		vn_tcp_flight_acked(&f->flight, &f->pool, position, now_ns, &arrival);
	} else {
		uint64_t begin = model->una + below(span + 20);
		uint64_t end = begin + random_below(&random_state, below(4) ? 120 : 900);

		begin -= begin > 10 ? 10 : 0;
		model_sacked(model, begin, end, now_ns);
		vn_tcp_flight_sacked(&f->flight, &f->pool, begin, end, now_ns, &arrival);
	}
	compare_arrival(&arrival, model);
}

static void random_resend(struct fixture *f, struct model *model, uint64_t now_ns)
{
	struct vn_tcp_sent *sent = vn_tcp_flight_lost(&f->flight);
	uint32_t length = 1 + below(400), run = 0;
	uint64_t begin;

	if (!sent) {
		/* A probe of the tail. */
		sent = vn_tcp_flight_tail(&f->flight, &f->pool, SEGMENT);
		if (!sent)
			return;
		assert_true(sent->end - sent->begin <= SEGMENT);
		assert_false(sent->sacked);
		assert_true(!sent->next || sent->next->sacked);
	}
	begin = sent->begin;
	if (sent->lost)
		while (begin + run < model->end && run < length && cell(model, begin + run)->lost)
			run++;
	else
		run = length < sent->end - begin ? length : (uint32_t)(sent->end - begin);
	if (sent->lost)
		assert_int_equal(vn_tcp_flight_lost_run(sent, length), run);
	sent = vn_tcp_flight_resent(&f->flight, &f->pool, sent, length, now_ns);
	assert_non_null(sent);
	assert_int_equal(sent->begin, begin);
	assert_int_equal(sent->end, begin + run);
	for (uint64_t at = begin; at < begin + run; at++)
		*cell(model, at) = (struct cell){.sent_ns = now_ns, .retransmitted = true};
}

static void random_loss(struct fixture *f, struct model *model, uint64_t now_ns)
{
	uint64_t due_ns, expected_due_ns;
	uint32_t expected = 0;

	switch (below(60)) {
	case 0:
		for (uint64_t at = model->una; at < model->end; at++) {
			struct cell *c = cell(model, at);

			expected += !c->sacked && !c->lost;
			c->lost |= !c->sacked;
		}
		assert_int_equal(vn_tcp_flight_lose_all(&f->flight), expected);
		return;
	case 1:
		for (uint64_t at = model->una; at < model->end; at++) {
			struct cell *c = cell(model, at);

			if (c->sacked)
				*c = (struct cell){
					.lost = true, .retransmitted = true, .forgotten = true};
		}
		vn_tcp_flight_forget_sacks(&f->flight);
		return;
	case 2:
		if (f->flight.first && !f->flight.first->lost && !f->flight.first->sacked) {
			uint64_t length = f->flight.first->end - f->flight.first->begin;

			expected = length < SEGMENT ? (uint32_t)length : SEGMENT;
			for (uint64_t at = model->una; at < model->una + expected; at++)
				cell(model, at)->lost = true;
		}
		assert_int_equal(vn_tcp_flight_lose_first(&f->flight, &f->pool, SEGMENT), expected);
		return;
	default: {
		bool is_recovering = below(2);

		expected = model_detect(model, is_recovering, f->flight.window_factor, now_ns,
					&expected_due_ns);
		assert_int_equal(detect(f, is_recovering, now_ns, &due_ns), expected);
		assert_int_equal(due_ns, expected_due_ns);
	}
	}
}

static void run_random(uint64_t seed, bool is_slow)
{
	static struct model model;
	struct fixture f;
	uint64_t now_ns = 0;

	random_state = seed;
	open_fixture(&f, PLENTY);
	memset(&model, 0, sizeof(model));
	model.least_ns = f.flight.rtt_least_ns = 5 * MS * below(2);
	for (unsigned step = 0; step < STEPS; step++) {
		now_ns += below(is_slow ? 6 : 2) * MS;
		switch (below(8)) {
		case 0:
		case 1:
		case 2:
			random_send(&f, &model, now_ns);
			break;
		case 3:
		case 4:
			random_arrival(&f, &model, now_ns);
			break;
		case 5:
		case 6:
			random_resend(&f, &model, now_ns);
			break;
		default:
			random_loss(&f, &model, now_ns);
		}
		compare(&f.flight, &model);
		/* Now and then a connection that has seen nothing yet. */
		if (below(500) == 0) {
			vn_tcp_flight_done(&f.flight, &f.pool);
			assert_int_equal(f.pool.in_use, 0);
			memset(&model, 0, sizeof(model));
			model.least_ns = f.flight.rtt_least_ns = 5 * MS * below(2);
		}
	}
	close_fixture(&f);
}

static void test_random_steps(void **state)
{
	(void)state;
	run_random(1, false);
	run_random(2, true);
}

/* Small pools: whatever fails, the counters are right, and an acknowledgment empties it. */
static void test_random_steps_without_memory(void **state)
{
	struct fixture f;
	uint64_t now_ns = 0, una = 0, end = 0, due_ns;

	(void)state;
	random_state = 3;
	open_fixture(&f, 12);
	for (unsigned step = 0; step < STEPS; step++) {
		struct vn_tcp_arrival arrival = {0};
		uint64_t begin = una + below((uint32_t)(end - una) + 1);
		uint64_t to = begin + below(300);
		uint32_t before = f.flight.sacked_bytes;
		struct vn_tcp_sent *sent;

		now_ns += below(3) * MS;
		switch (below(6)) {
		case 0:
			to = end + 1 + below(600);
			if (vn_tcp_flight_sent(&f.flight, &f.pool, end, to, now_ns) == 0)
				end = to;
			break;
		case 1:
			una = below(4) ? una : begin;
			vn_tcp_flight_acked(&f.flight, &f.pool, una, now_ns, &arrival);
			break;
		case 2:
		case 3:
			vn_tcp_flight_sacked(&f.flight, &f.pool, begin, to, now_ns, &arrival);
			assert_int_equal(f.flight.sacked_bytes, before + arrival.sacked_bytes);
			break;
		case 4:
			detect(&f, below(2), now_ns, &due_ns);
			break;
		default:
			sent = vn_tcp_flight_lost(&f.flight);
			if (sent)
				vn_tcp_flight_resent(&f.flight, &f.pool, sent, 1 + below(200),
						     now_ns);
		}
		check(&f.flight);
		assert_int_equal(f.flight.bytes, end - una);
		assert_int_equal(f.flight.count, f.pool.in_use);
	}
	close_fixture(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_in_order),
		cmocka_unit_test(test_joins_what_was_sent_at_once),
		cmocka_unit_test(test_three_duplicates),
		cmocka_unit_test(test_timer_of_reordering),
		cmocka_unit_test(test_reordering_is_seen),
		cmocka_unit_test(test_window_factor_has_an_end),
		cmocka_unit_test(test_lost_retransmission),
		cmocka_unit_test(test_ambiguous_retransmission),
		cmocka_unit_test(test_duplicates_without_a_round_trip),
		cmocka_unit_test(test_super_segment),
		cmocka_unit_test(test_run_of_lost),
		cmocka_unit_test(test_tail),
		cmocka_unit_test(test_lose_first),
		cmocka_unit_test(test_reneging),
		cmocka_unit_test(test_no_memory),
		cmocka_unit_test(test_bound_of_sacks),
		cmocka_unit_test(test_one_for_each),
		cmocka_unit_test(test_strange_sacks),
		cmocka_unit_test(test_random_steps),
		cmocka_unit_test(test_random_steps_without_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
