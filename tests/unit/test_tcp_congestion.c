/* SPDX-License-Identifier: MIT */
/*
 * Congestion control on a clock of the test's own, beside the formulas of the RFCs computed in
 * double precision.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "random.h"
#include "stack/tcp_congestion.h"

#define MS UINT64_C(1000000)
#define SECOND (1000 * MS)
#define SEGMENT 1448u
#define GIB (1u << 30)
#define ROUND_BYTES (UINT64_C(20) * SEGMENT)

static uint64_t random_state;

static struct vn_tcp_congestion make(enum vnic_congestion algorithm, uint32_t window_bytes,
				     uint32_t threshold_bytes)
{
	struct vn_tcp_congestion c;

	vn_tcp_congestion_init(&c, algorithm, SEGMENT);
	if (window_bytes)
		c.window_bytes = window_bytes;
	if (threshold_bytes)
		c.threshold_bytes = threshold_bytes;
	return c;
}

static void ack(struct vn_tcp_congestion *c, uint32_t bytes)
{
	vn_tcp_congestion_acked(c, SEGMENT, bytes, true, 0, 100 * MS, 0, 0, SECOND);
}

static void assert_near(const char *what, double value, double expected, double most)
{
	if (fabs(value - expected) > most)
		fail_msg("%s: %.1f is not within %.1f of %.1f", what, value, most, expected);
}

/* RFC 6928 section 2. */
static void test_initial_window(void **state)
{
	struct vn_tcp_congestion c;

	(void)state;
	vn_tcp_congestion_init(&c, VNIC_CONGESTION_CUBIC, 536);
	assert_int_equal(c.window_bytes, 5360);
	vn_tcp_congestion_init(&c, VNIC_CONGESTION_CUBIC, 1460);
	assert_int_equal(c.window_bytes, 14600);
	vn_tcp_congestion_init(&c, VNIC_CONGESTION_CUBIC, 4000);
	assert_int_equal(c.window_bytes, 14600);
	vn_tcp_congestion_init(&c, VNIC_CONGESTION_CUBIC, 9000);
	assert_int_equal(c.window_bytes, 18000);
	assert_int_equal(c.threshold_bytes, UINT32_MAX);
}

static void test_slow_start(void **state)
{
	(void)state;
	for (int algorithm = VNIC_CONGESTION_CUBIC; algorithm <= VNIC_CONGESTION_NEWRENO;
	     algorithm++) {
		struct vn_tcp_congestion c = make((enum vnic_congestion)algorithm, 0, 200000);

		/* All of a super-segment counts, and nothing where we did not use the window. */
		ack(&c, 65160);
		assert_int_equal(c.window_bytes, 14480 + 65160);
		vn_tcp_congestion_acked(&c, SEGMENT, 65160, false, 0, 0, 0, 0, SECOND);
		assert_int_equal(c.window_bytes, 14480 + 65160);
		/* It stops at the threshold. */
		ack(&c, 200000 - 79640);
		assert_int_equal(c.window_bytes, 200000);
		ack(&c, 1);
		assert_true(c.window_bytes <= 200000 + SEGMENT);
		/* It never gets over the most that there can be. */
		c = make((enum vnic_congestion)algorithm, GIB - 10, 0);
		ack(&c, UINT32_MAX);
		assert_int_equal(c.window_bytes, GIB);
		ack(&c, UINT32_MAX);
		assert_int_equal(c.window_bytes, GIB);
	}
}

/* RFC 5681 section 3.1: a segment for each window. */
static void test_reno_avoidance(void **state)
{
	struct vn_tcp_congestion c = make(VNIC_CONGESTION_NEWRENO, 20 * SEGMENT, 20 * SEGMENT);

	(void)state;
	for (unsigned i = 0; i < 19; i++)
		ack(&c, SEGMENT);
	assert_int_equal(c.window_bytes, 20 * SEGMENT);
	ack(&c, SEGMENT);
	assert_int_equal(c.window_bytes, 21 * SEGMENT);
	ack(&c, 21 * SEGMENT + 22 * SEGMENT);
	assert_int_equal(c.window_bytes, 23 * SEGMENT);
	vn_tcp_congestion_lost(&c, SEGMENT, 23 * SEGMENT, SECOND);
	assert_int_equal(c.threshold_bytes, 23 * SEGMENT / 2);
	vn_tcp_congestion_recovered(&c, SEGMENT);
	assert_int_equal(c.window_bytes, 23 * SEGMENT / 2);
	/* Never under two segments (RFC 5681 section 3.1 (4)), and by what was used. */
	vn_tcp_congestion_lost(&c, SEGMENT, 2 * SEGMENT, SECOND);
	assert_int_equal(c.threshold_bytes, 2 * SEGMENT);
	vn_tcp_congestion_recovered(&c, SEGMENT);
	/* Limited transmit had sent more than the window (RFC 5681 section 3.2 step 2). */
	c = make(VNIC_CONGESTION_NEWRENO, 20 * SEGMENT, 20 * SEGMENT);
	vn_tcp_congestion_lost(&c, SEGMENT, 22 * SEGMENT, SECOND);
	assert_int_equal(c.threshold_bytes, 10 * SEGMENT);
}

/* RFC 9438 in double precision: the state that the integers are to follow. */
struct cubic {
	double window, before, prior, estimate, k;
};

static void cubic_lose(struct cubic *m)
{
	m->before = m->window < m->before ? m->window * (1 + 0.7) / 2 : m->window;
	m->prior = m->window;
	m->window *= 0.7;
	m->estimate = m->window;
	m->k = cbrt((m->before - m->window) / SEGMENT / 0.4);
}

static double cubic_at(const struct cubic *m, double t)
{
	return 0.4 * SEGMENT * pow(t - m->k, 3) + m->before;
}

static void cubic_ack(struct cubic *m, double bytes, double t, double rtt)
{
	double alpha = m->estimate >= m->prior ? 1 : 3 * (1 - 0.7) / (1 + 0.7);
	double target = cubic_at(m, t + rtt);

	m->estimate += alpha * bytes * SEGMENT / m->window;
	if (cubic_at(m, t) < m->estimate) {
		m->window = fmax(m->window, m->estimate);
		return;
	}
	target = fmin(fmax(target, m->window), 1.5 * m->window);
	m->window += bytes * (target - m->window) / m->window;
}

/* Lose at this window, and then once more a little below: compare all of the way. */
static void follow_cubic(uint32_t window_bytes, uint64_t rtt_ns, unsigned round_trips)
{
	struct vn_tcp_congestion c = make(VNIC_CONGESTION_CUBIC, window_bytes, window_bytes);
	struct cubic m = {.window = window_bytes};
	uint64_t now_ns = 5 * SECOND;

	for (unsigned losses = 0; losses < 3; losses++) {
		uint64_t epoch_ns;

		vn_tcp_congestion_lost(&c, SEGMENT, c.window_bytes, now_ns);
		vn_tcp_congestion_recovered(&c, SEGMENT);
		cubic_lose(&m);
		assert_near("after a loss", c.window_bytes, m.window, 4 + m.window / 500);
		m.window = m.estimate = c.window_bytes;
		epoch_ns = now_ns;
		for (unsigned i = 0; i < round_trips * 16; i++) {
			uint32_t bytes = c.window_bytes / 16;
			double t = (double)(now_ns - epoch_ns) / 1e9;

			vn_tcp_congestion_acked(&c, SEGMENT, bytes, true, 0, rtt_ns, 0, 0, now_ns);
			cubic_ack(&m, bytes, t, (double)rtt_ns / 1e9);
			now_ns += rtt_ns / 16;
			if (m.window > GIB)
				m.window = GIB;
			assert_near("window", c.window_bytes, m.window, SEGMENT + m.window / 500);
		}
		/* The second loss comes below W_max, for fast convergence. */
		round_trips /= 4;
	}
}

static void test_cubic_follows_the_formula(void **state)
{
	(void)state;
	follow_cubic(100 * SEGMENT, 100 * MS, 200); /* convex, concave and on */
	follow_cubic(1000 * SEGMENT, 50 * MS, 600);
	follow_cubic(20 * SEGMENT, 1 * MS, 2000); /* as Reno would */
	follow_cubic(40000 * SEGMENT, 100 * MS, 1000);
	follow_cubic(700000 * SEGMENT, 200 * MS, 800); /* up to 1 GiB */
	follow_cubic(5000 * SEGMENT, 16000, 4000);     /* microseconds */
}

/* K and the plateau: after K seconds the window is what it was. RFC 9438 figure 2. */
static void test_cubic_returns_after_k(void **state)
{
	struct vn_tcp_congestion c = make(VNIC_CONGESTION_CUBIC, 1000 * SEGMENT, 1000 * SEGMENT);
	double k = cbrt(300 / 0.4);
	uint64_t now_ns = SECOND;

	(void)state;
	vn_tcp_congestion_lost(&c, SEGMENT, c.window_bytes, now_ns);
	vn_tcp_congestion_recovered(&c, SEGMENT);
	assert_int_equal(c.window_bytes, 700 * SEGMENT);
	for (unsigned i = 0; (double)(now_ns - SECOND) < k * 1e9; i++) {
		vn_tcp_congestion_acked(&c, SEGMENT, c.window_bytes / 10, true, 0, 200 * MS, 0, 0,
					now_ns);
		now_ns += 20 * MS;
	}
	assert_near("K in ms", (double)c.cubic.k_ns / 1e6, k * 1e3, 1);
	assert_near("window", c.window_bytes, 1000 * SEGMENT, 2 * SEGMENT);
}

static void test_fast_convergence(void **state)
{
	struct vn_tcp_congestion c = make(VNIC_CONGESTION_CUBIC, 1000 * SEGMENT, 1000 * SEGMENT);

	(void)state;
	vn_tcp_congestion_lost(&c, SEGMENT, c.window_bytes, SECOND);
	vn_tcp_congestion_recovered(&c, SEGMENT);
	assert_int_equal(c.cubic.before_bytes, 1000 * SEGMENT);
	vn_tcp_congestion_lost(&c, SEGMENT, c.window_bytes, SECOND);
	assert_int_equal(c.cubic.before_bytes, 700 * SEGMENT * 17 / 20);
	assert_int_equal(c.cubic.prior_bytes, 700 * SEGMENT);
	assert_int_equal(c.threshold_bytes, 490 * SEGMENT);
}

/* RFC 9438 section 4.2: at most half as much again in a round trip, however far the curve is. */
static void test_cubic_target_is_bounded(void **state)
{
	struct vn_tcp_congestion c = make(VNIC_CONGESTION_CUBIC, 10 * SEGMENT, 10 * SEGMENT);

	(void)state;
	ack(&c, 1);
	vn_tcp_congestion_acked(&c, SEGMENT, 10 * SEGMENT, true, 0, 100 * MS, 0, 0, 100 * SECOND);
	assert_int_equal(c.window_bytes, 15 * SEGMENT);
}

/* Bytes that arrive one by one let it grow as much as those that arrive together. */
static void test_cubic_keeps_what_is_left_over(void **state)
{
	struct vn_tcp_congestion c[2];

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		c[i] = make(VNIC_CONGESTION_CUBIC, 1000 * SEGMENT, 1000 * SEGMENT);
		vn_tcp_congestion_lost(&c[i], SEGMENT, c[i].window_bytes, SECOND);
		vn_tcp_congestion_recovered(&c[i], SEGMENT);
		ack(&c[i], 1);
	}
	for (unsigned i = 0; i < 100000; i++)
		vn_tcp_congestion_acked(&c[0], SEGMENT, 1, true, 0, 100 * MS, 0, 0, 2 * SECOND);
	vn_tcp_congestion_acked(&c[1], SEGMENT, 100000, true, 0, 100 * MS, 0, 0, 2 * SECOND);
	assert_true(c[1].window_bytes > 705 * SEGMENT);
	assert_near("one by one", c[0].window_bytes, c[1].window_bytes, SEGMENT);
}

/* While the window is not used, CUBIC's time does not pass. */
static void test_cubic_pauses(void **state)
{
	struct vn_tcp_congestion c[2];
	uint64_t now_ns[2] = {SECOND, SECOND};

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		c[i] = make(VNIC_CONGESTION_CUBIC, 1000 * SEGMENT, 1000 * SEGMENT);
		vn_tcp_congestion_lost(&c[i], SEGMENT, c[i].window_bytes, SECOND);
		vn_tcp_congestion_recovered(&c[i], SEGMENT);
		for (unsigned ms = 0; ms < 3000; ms += 10) {
			if (i == 1 && ms == 1500)
				for (unsigned pause = 0; pause < 60; pause++) {
					now_ns[i] += SECOND;
					vn_tcp_congestion_acked(&c[i], SEGMENT, SEGMENT, false, 0,
								100 * MS, 0, 0, now_ns[i]);
				}
			now_ns[i] += 10 * MS;
			vn_tcp_congestion_acked(&c[i], SEGMENT, 100 * SEGMENT, true, 0, 100 * MS, 0,
						0, now_ns[i]);
		}
	}
	assert_int_equal(c[0].window_bytes, c[1].window_bytes);
	assert_true(c[0].window_bytes > 700 * SEGMENT);
}

/* Rounds of 20 segments with one round trip. Returns the position after them. */
static uint64_t rounds(struct vn_tcp_congestion *c, unsigned count, uint64_t rtt_ns,
		       uint64_t position)
{
	for (unsigned i = 0; i < count * 20; i++) {
		position += SEGMENT;
		vn_tcp_congestion_acked(c, SEGMENT, SEGMENT, true, rtt_ns, rtt_ns, position,
					position + ROUND_BYTES, SECOND);
	}
	return position;
}

/* RFC 9406 section 4.2. */
static void test_hystart(void **state)
{
	struct vn_tcp_congestion c = make(VNIC_CONGESTION_CUBIC, 0, 0);
	uint64_t position;
	uint32_t before;

	(void)state;
	position = rounds(&c, 5, 40 * MS, 1);
	assert_int_equal(c.css_rounds, 0);
	/* An eighth of 40 ms, less 1 ns: nothing. */
	position = rounds(&c, 1, 45 * MS - 1, position);
	assert_int_equal(c.css_rounds, 0);
	position = rounds(&c, 1, 45 * MS - 1, position);
	assert_int_equal(c.css_rounds, 0);
	position = rounds(&c, 2, 55 * MS, position);
	assert_true(c.css_rounds > 0);
	before = c.window_bytes;
	vn_tcp_congestion_acked(&c, SEGMENT, 4 * SEGMENT, true, 55 * MS, 55 * MS, position,
				position + ROUND_BYTES, SECOND);
	assert_int_equal(c.window_bytes, before + SEGMENT);
	/* It was a mistake. */
	position = rounds(&c, 1, 50 * MS, position);
	position = rounds(&c, 1, 50 * MS, position);
	assert_int_equal(c.css_rounds, 0);
	assert_int_equal(c.threshold_bytes, UINT32_MAX);
	/* It was none. */
	position = rounds(&c, 2, 70 * MS, position);
	assert_true(c.css_rounds > 0);
	/* 5 rounds, the one that it was noticed in included, and then no more. */
	for (unsigned begun = c.css_rounds; begun < 5; begun++) {
		position = rounds(&c, 1, 70 * MS, position);
		assert_int_equal(c.css_rounds, begun + 1);
		assert_int_equal(c.threshold_bytes, UINT32_MAX);
	}
	rounds(&c, 1, 70 * MS, position);
	assert_true(c.threshold_bytes < c.window_bytes + SEGMENT);
	assert_int_equal(c.css_rounds, 0);
	assert_int_equal(c.cubic.prior_bytes, c.threshold_bytes);
}

/* At least 4 ms, whatever an eighth is, and at least 8 samples. */
static void test_hystart_bounds(void **state)
{
	struct vn_tcp_congestion c = make(VNIC_CONGESTION_NEWRENO, 0, 0);
	uint64_t position = rounds(&c, 3, 1 * MS, 1);

	(void)state;
	rounds(&c, 2, 5 * MS - 1, position);
	assert_int_equal(c.css_rounds, 0);
	c = make(VNIC_CONGESTION_NEWRENO, 0, 0);
	position = rounds(&c, 3, 1 * MS, 1);
	rounds(&c, 2, 5 * MS, position);
	assert_true(c.css_rounds > 0);
	/* And at most 16. */
	c = make(VNIC_CONGESTION_NEWRENO, 0, 0);
	position = rounds(&c, 3, 800 * MS, 1);
	rounds(&c, 2, 816 * MS, position);
	assert_true(c.css_rounds > 0);
	/* A later slow start knows where to end. */
	c = make(VNIC_CONGESTION_NEWRENO, 0, GIB);
	position = rounds(&c, 3, 1 * MS, 1);
	rounds(&c, 2, 50 * MS, position);
	assert_int_equal(c.css_rounds, 0);
	/* 7 samples in each round are too few. */
	c = make(VNIC_CONGESTION_NEWRENO, 0, 0);
	for (unsigned i = 0; i < 70; i++)
		vn_tcp_congestion_acked(&c, SEGMENT, SEGMENT, true, (1 + i / 7 * 10) * MS, 0,
					UINT64_C(7) * SEGMENT * (i / 7 + (i % 7 == 6)),
					UINT64_C(7) * SEGMENT * (i / 7 + 1), SECOND);
	assert_int_equal(c.css_rounds, 0);
}

/*
 * RFC 6937 section 3.1's first example: one of 20 segments is lost, and the 19 others let half of
 * 20 be sent, evenly.
 */
static void test_prr_proportional(void **state)
{
	struct vn_tcp_congestion c = make(VNIC_CONGESTION_NEWRENO, 20 * SEGMENT, 20 * SEGMENT);
	uint32_t pipe = 19 * SEGMENT, sent = 0;

	(void)state;
	vn_tcp_congestion_lost(&c, SEGMENT, 20 * SEGMENT, SECOND);
	assert_true(c.is_recovering);
	for (unsigned i = 1; i <= 19; i++) {
		pipe -= SEGMENT;
		vn_tcp_congestion_recover(&c, SEGMENT, SEGMENT, i == 1 ? SEGMENT : 0, pipe);
		while (c.window_bytes >= pipe + SEGMENT) {
			pipe += SEGMENT;
			sent += SEGMENT;
			vn_tcp_congestion_sent(&c, SEGMENT);
		}
		assert_true(sent >= SEGMENT); /* the retransmission, at once */
		assert_true(sent <= (i + 2) / 2 * SEGMENT);
		assert_true(sent + SEGMENT >= i / 2 * SEGMENT);
	}
	assert_near("in flight at the end", pipe, c.threshold_bytes, SEGMENT);
	vn_tcp_congestion_recovered(&c, SEGMENT);
	assert_int_equal(c.window_bytes, 10 * SEGMENT);
	assert_false(c.is_recovering);
}

/* RFC 6937 section 3.1's second example: 15 of 20 are lost at once. */
static void test_prr_bounds(void **state)
{
	struct vn_tcp_congestion c = make(VNIC_CONGESTION_NEWRENO, 20 * SEGMENT, 20 * SEGMENT);

	(void)state;
	vn_tcp_congestion_lost(&c, SEGMENT, 20 * SEGMENT, SECOND);
	/* The first: 1 is in by now, 15 are lost, 4 in flight. Conservative: as much as arrived. */
	vn_tcp_congestion_recover(&c, SEGMENT, SEGMENT, 15 * SEGMENT, 4 * SEGMENT);
	assert_int_equal(c.window_bytes, 5 * SEGMENT);
	vn_tcp_congestion_sent(&c, SEGMENT);
	/* No more is lost: one more than arrived. */
	vn_tcp_congestion_recover(&c, SEGMENT, SEGMENT, 0, 4 * SEGMENT);
	assert_int_equal(c.window_bytes, 6 * SEGMENT);
	vn_tcp_congestion_sent(&c, 2 * SEGMENT);
	/* More is: what arrived is less than what was sent. */
	vn_tcp_congestion_recover(&c, SEGMENT, SEGMENT, SEGMENT, 4 * SEGMENT);
	assert_int_equal(c.window_bytes, 4 * SEGMENT);
	/* Never over the threshold. */
	vn_tcp_congestion_recover(&c, SEGMENT, 30 * SEGMENT, 0, 9 * SEGMENT);
	assert_int_equal(c.window_bytes, 10 * SEGMENT);
	/* Nothing in flight, no flight even. */
	vn_tcp_congestion_lost(&c, SEGMENT, 0, SECOND);
	vn_tcp_congestion_recover(&c, SEGMENT, 0, 0, 0);
	assert_int_equal(c.window_bytes, SEGMENT);
	vn_tcp_congestion_recover(&c, SEGMENT, 0, 0, GIB);
	assert_int_equal(c.window_bytes, GIB);
}

static void test_timeout(void **state)
{
	struct vn_tcp_congestion c = make(VNIC_CONGESTION_NEWRENO, 20 * SEGMENT, 20 * SEGMENT);

	(void)state;
	vn_tcp_congestion_timeout(&c, SEGMENT, 16 * SEGMENT, true, SECOND);
	assert_int_equal(c.window_bytes, SEGMENT);
	assert_int_equal(c.threshold_bytes, 8 * SEGMENT);
	/* Again for the same: the threshold stays (RFC 5681 section 3.1). */
	vn_tcp_congestion_timeout(&c, SEGMENT, 16 * SEGMENT, false, SECOND);
	assert_int_equal(c.threshold_bytes, 8 * SEGMENT);
	vn_tcp_congestion_undo(&c);
	assert_int_equal(c.window_bytes, 20 * SEGMENT);
	assert_int_equal(c.threshold_bytes, 20 * SEGMENT);

	/* In recovery, with little in flight just now: the threshold was the measure. */
	vn_tcp_congestion_lost(&c, SEGMENT, 20 * SEGMENT, SECOND);
	vn_tcp_congestion_recover(&c, SEGMENT, SEGMENT, 18 * SEGMENT, SEGMENT);
	vn_tcp_congestion_timeout(&c, SEGMENT, 20 * SEGMENT, true, SECOND);
	assert_false(c.is_recovering);
	assert_int_equal(c.threshold_bytes, 5 * SEGMENT);
	assert_int_equal(c.window_bytes, SEGMENT);
}

/* RFC 9438 section 4.8: after a timeout the curve begins where avoidance does. */
static void test_cubic_timeout(void **state)
{
	struct vn_tcp_congestion c = make(VNIC_CONGESTION_CUBIC, 100 * SEGMENT, 100 * SEGMENT);

	(void)state;
	vn_tcp_congestion_timeout(&c, SEGMENT, 100 * SEGMENT, true, SECOND);
	assert_int_equal(c.threshold_bytes, 70 * SEGMENT);
	ack(&c, 69 * SEGMENT);
	assert_int_equal(c.window_bytes, 70 * SEGMENT);
	ack(&c, SEGMENT);
	assert_int_equal(c.cubic.before_bytes, 70 * SEGMENT);
	assert_int_equal(c.cubic.k_ns, 0);
}

static void test_undo(void **state)
{
	struct vn_tcp_congestion c = make(VNIC_CONGESTION_CUBIC, 100 * SEGMENT, 100 * SEGMENT);
	struct vn_tcp_congestion before;

	(void)state;
	ack(&c, 50 * SEGMENT);
	before = c;
	vn_tcp_congestion_lost(&c, SEGMENT, 100 * SEGMENT, 2 * SECOND);
	vn_tcp_congestion_recover(&c, SEGMENT, SEGMENT, SEGMENT, 50 * SEGMENT);
	vn_tcp_congestion_undo(&c);
	assert_false(c.is_recovering);
	assert_int_equal(c.window_bytes, before.window_bytes);
	assert_int_equal(c.threshold_bytes, before.threshold_bytes);
	assert_memory_equal(&c.cubic, &before.cubic, sizeof(c.cubic));
}

static void test_marked(void **state)
{
	struct vn_tcp_congestion c = make(VNIC_CONGESTION_NEWRENO, 20 * SEGMENT, 20 * SEGMENT);

	(void)state;
	vn_tcp_congestion_marked(&c, SEGMENT, 20 * SEGMENT, SECOND);
	assert_int_equal(c.window_bytes, 10 * SEGMENT);
	assert_int_equal(c.threshold_bytes, 10 * SEGMENT);
	assert_false(c.is_recovering);
	/* In recovery that is done already. */
	vn_tcp_congestion_lost(&c, SEGMENT, 10 * SEGMENT, SECOND);
	vn_tcp_congestion_marked(&c, SEGMENT, 10 * SEGMENT, SECOND);
	assert_int_equal(c.threshold_bytes, 5 * SEGMENT);
}

static void test_idle(void **state)
{
	struct vn_tcp_congestion c = make(VNIC_CONGESTION_CUBIC, 100 * SEGMENT, 50 * SEGMENT);

	(void)state;
	vn_tcp_congestion_idle(&c, SEGMENT);
	assert_int_equal(c.window_bytes, 10 * SEGMENT);
	assert_int_equal(c.threshold_bytes, 75 * SEGMENT);
	/* A window that was smaller stays (RFC 5681 section 4.1). */
	c.window_bytes = 3 * SEGMENT;
	vn_tcp_congestion_idle(&c, SEGMENT);
	assert_int_equal(c.window_bytes, 3 * SEGMENT);
	assert_int_equal(c.threshold_bytes, 75 * SEGMENT);
	c = make(VNIC_CONGESTION_CUBIC, 100 * SEGMENT, 0);
	vn_tcp_congestion_idle(&c, SEGMENT);
	assert_int_equal(c.threshold_bytes, UINT32_MAX);
}

static void test_resize(void **state)
{
	struct vn_tcp_congestion c = make(VNIC_CONGESTION_CUBIC, 100 * SEGMENT, 50 * SEGMENT);

	(void)state;
	vn_tcp_congestion_resize(&c, SEGMENT / 2);
	assert_int_equal(c.window_bytes, 50 * SEGMENT);
	assert_int_equal(c.threshold_bytes, 25 * SEGMENT);
	vn_tcp_congestion_resize(&c, SEGMENT); /* larger: as before */
	assert_int_equal(c.window_bytes, 50 * SEGMENT);
	c = make(VNIC_CONGESTION_CUBIC, 0, 0);
	vn_tcp_congestion_resize(&c, 536);
	assert_int_equal(c.window_bytes, 5360);
	assert_int_equal(c.threshold_bytes, UINT32_MAX);
}

/* Whatever happens: at least a segment, at most 1 GiB, a threshold of at least two. */
static void test_random_steps(void **state)
{
	uint64_t now_ns = 0, position = 0;

	(void)state;
	random_state = 7;
	for (int algorithm = VNIC_CONGESTION_CUBIC; algorithm <= VNIC_CONGESTION_NEWRENO;
	     algorithm++) {
		struct vn_tcp_congestion c = make((enum vnic_congestion)algorithm, 0, 0);

		for (unsigned step = 0; step < 300000; step++) {
			uint32_t bytes = random_below(
				&random_state, random_below(&random_state, 50) ? 70000 : GIB);
			uint32_t before = c.window_bytes;

			now_ns += random_below(&random_state, random_below(&random_state, 100)
								      ? 1000000
								      : 2000000000) *
				  UINT64_C(500);
			switch (random_below(&random_state, 400)) {
			case 0:
				vn_tcp_congestion_lost(&c, SEGMENT, bytes, now_ns);
				break;
			case 1:
				vn_tcp_congestion_timeout(&c, SEGMENT, bytes,
							  random_below(&random_state, 2), now_ns);
				break;
			case 2:
				vn_tcp_congestion_undo(&c);
				break;
			case 3:
				vn_tcp_congestion_idle(&c, SEGMENT);
				break;
			case 4:
				vn_tcp_congestion_marked(&c, SEGMENT, bytes, now_ns);
				break;
			case 5:
				vn_tcp_congestion_recovered(&c, SEGMENT);
				break;
			default:
				if (c.is_recovering) {
					vn_tcp_congestion_recover(&c, SEGMENT, bytes,
								  random_below(&random_state, 2) *
									  SEGMENT,
								  random_below(&random_state, GIB));
					vn_tcp_congestion_sent(&c,
							       random_below(&random_state, 70000));
					break;
				}
				position += bytes;
				vn_tcp_congestion_acked(
					&c, SEGMENT, bytes, random_below(&random_state, 4),
					random_below(&random_state, 200) * MS, 100 * MS, position,
					position + c.window_bytes, now_ns);
				assert_true(c.window_bytes >= before);
			}
			if (c.window_bytes < SEGMENT || c.window_bytes > GIB ||
			    c.threshold_bytes < 2 * SEGMENT)
				fail_msg("step %u: window %u, threshold %u", step, c.window_bytes,
					 c.threshold_bytes);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_initial_window),
		cmocka_unit_test(test_slow_start),
		cmocka_unit_test(test_reno_avoidance),
		cmocka_unit_test(test_cubic_follows_the_formula),
		cmocka_unit_test(test_cubic_returns_after_k),
		cmocka_unit_test(test_fast_convergence),
		cmocka_unit_test(test_cubic_target_is_bounded),
		cmocka_unit_test(test_cubic_keeps_what_is_left_over),
		cmocka_unit_test(test_cubic_pauses),
		cmocka_unit_test(test_hystart),
		cmocka_unit_test(test_hystart_bounds),
		cmocka_unit_test(test_prr_proportional),
		cmocka_unit_test(test_prr_bounds),
		cmocka_unit_test(test_timeout),
		cmocka_unit_test(test_cubic_timeout),
		cmocka_unit_test(test_undo),
		cmocka_unit_test(test_marked),
		cmocka_unit_test(test_idle),
		cmocka_unit_test(test_resize),
		cmocka_unit_test(test_random_steps),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
