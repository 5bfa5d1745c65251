/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * The window (cwnd) says how many bytes may be in flight. It lives through these phases:
 *
 *      slow start --(threshold, or HyStart++)--> avoidance <--+
 *          ^    \                                 |           |
 *          |     \--(loss)--> recovery <--(loss)--+           |
 *          |                    |  \----------(recovered)-----+
 *          +-----(timeout)------+
 *
 * Slow start (RFC 5681 section 3.1) grows by every byte that arrives, not by acknowledgments (RFC
 * 3465): one of them may be for a super-segment of 64 KiB, and a limit of some segments for each,
 * as RFC 3465 section 2.2 has it, would stop the growth there. The first slow start of a connection
 * watches the round trip (HyStart++, RFC 9406): where it rises by an eighth, growth is a quarter as
 * fast for up to 5 rounds, and unless the rise was a mistake avoidance follows, before a queue has
 * overflowed.
 *
 * Avoidance: NewReno grows by a segment for each window that arrives (RFC 5681 section 3.1,
 * counting bytes). CUBIC (RFC 9438) follows W(t) = C * (t - K)^3 + W_max: quickly back to where it
 * lost, slowly around there, and quickly on. All of it is in integers. Windows are bytes, and times
 * are milliseconds where they are cubed: C * t^3 of a millisecond is far below a byte. A window is
 * at most 2^30 bytes and a time 2^20 ms, whose cube is 2^60: beyond it the curve is above any
 * window. What is left over of divisions is kept for the next time, so that small acknowledgments
 * of large windows count. Where an ordinary TCP would be faster, CUBIC is as fast as that (section
 * 4.3).
 *
 * A window that the sender does not use does not grow (RFC 9438 section 5.8), and CUBIC's clock
 * stands still meanwhile.
 *
 * Recovery: a loss sets the threshold to half (NewReno) or 0.7 (CUBIC) of what was in flight, and
 * proportional rate reduction (RFC 6937) spreads the way there over a round trip: for what arrives,
 * so much less is sent. Where more was lost than that, it builds up again, by one segment more than
 * arrives (slow start reduction bound), or only by as much while more losses turn up
 * (conservative).
 *
 * Before a reduction everything is put by, for undoing it (RFC 4015, RFC 9438 section 4.9).
 */
#include "stack/tcp_congestion.h"

#include <stddef.h>

#define MS_NS UINT64_C(1000000)
#define WINDOW_MOST_BYTES VNIC_CONNECTION_WINDOW_BYTES
#define THRESHOLD_SEGMENTS 2 /* at least; RFC 5681 section 3.1 (4) */

/* RFC 6928 section 2. */
#define INITIAL_SEGMENTS 10
#define INITIAL_SEGMENTS_LEAST 2
#define INITIAL_BYTES 14600

/* RFC 9406 section 4.3. */
#define HYSTART_RTT_LEAST_NS (4 * MS_NS)
#define HYSTART_RTT_MOST_NS (16 * MS_NS)
#define HYSTART_RTT_DIVISOR 8
#define HYSTART_SAMPLES 8
#define CSS_GROWTH_DIVISOR 4
#define CSS_ROUNDS 5

#define CUBIC_TIME_MOST_MS (UINT64_C(1) << 20)

static uint32_t most(uint32_t a, uint32_t b)
{
	return a > b ? a : b;
}

static uint32_t least(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

static uint32_t initial_window(uint32_t segment_bytes)
{
	return least(INITIAL_SEGMENTS * segment_bytes,
		     most(INITIAL_SEGMENTS_LEAST * segment_bytes, INITIAL_BYTES));
}

static void grow(struct vn_tcp_congestion *congestion, uint64_t bytes)
{
	uint64_t window_bytes = congestion->window_bytes + bytes;

	if (window_bytes > WINDOW_MOST_BYTES)
		window_bytes = WINDOW_MOST_BYTES;
	congestion->window_bytes = (uint32_t)window_bytes;
}

static void begin_rounds(struct vn_tcp_congestion *congestion)
{
	congestion->round_rtt_ns = congestion->last_round_rtt_ns = UINT64_MAX;
	congestion->css_rtt_ns = UINT64_MAX;
	congestion->round_samples = 0;
	congestion->css_rounds = 0;
	congestion->round_end = 0;
}

void vn_tcp_congestion_init(struct vn_tcp_congestion *congestion, enum vnic_congestion algorithm,
			    uint32_t segment_bytes)
{
	*congestion = (struct vn_tcp_congestion){
		.algorithm = (uint8_t)algorithm,
		.window_bytes = initial_window(segment_bytes),
		.threshold_bytes = UINT32_MAX,
		.segment_bytes = segment_bytes,
	};
	begin_rounds(congestion);
}

/* Slow start is over, and nothing was lost. */
static void leave_slow_start(struct vn_tcp_congestion *congestion)
{
	congestion->threshold_bytes = congestion->window_bytes;
	congestion->cubic.prior_bytes = congestion->window_bytes;
	congestion->css_rounds = 0;
}

/* A round trip was measured in the first slow start (RFC 9406 section 4.2). */
static void sample_round(struct vn_tcp_congestion *congestion, uint64_t rtt_ns)
{
	uint64_t rise_ns = congestion->last_round_rtt_ns / HYSTART_RTT_DIVISOR;

	if (rtt_ns < congestion->round_rtt_ns)
		congestion->round_rtt_ns = rtt_ns;
	if (congestion->round_samples < UINT16_MAX)
		congestion->round_samples++;
	if (congestion->round_samples < HYSTART_SAMPLES)
		return;
	if (congestion->css_rounds) {
		if (congestion->round_rtt_ns < congestion->css_rtt_ns) {
			congestion->css_rtt_ns = UINT64_MAX;
			congestion->css_rounds = 0;
		}
		return;
	}
	if (congestion->last_round_rtt_ns == UINT64_MAX)
		return;
	if (rise_ns < HYSTART_RTT_LEAST_NS)
		rise_ns = HYSTART_RTT_LEAST_NS;
	if (rise_ns > HYSTART_RTT_MOST_NS)
		rise_ns = HYSTART_RTT_MOST_NS;
	if (congestion->round_rtt_ns >= congestion->last_round_rtt_ns + rise_ns) {
		congestion->css_rtt_ns = congestion->round_rtt_ns;
		congestion->css_rounds = 1;
	}
}

static void end_round(struct vn_tcp_congestion *congestion, uint64_t sent_end)
{
	congestion->round_end = sent_end;
	congestion->last_round_rtt_ns = congestion->round_rtt_ns;
	congestion->round_rtt_ns = UINT64_MAX;
	congestion->round_samples = 0;
	if (congestion->css_rounds == 0)
		return;
	/* The one that it began in was the first. */
	if (congestion->css_rounds == CSS_ROUNDS)
		leave_slow_start(congestion);
	else
		congestion->css_rounds++;
}

/* @return what of the bytes is left for avoidance */
static uint32_t grow_slowly(struct vn_tcp_congestion *congestion, uint32_t acked_bytes)
{
	uint32_t room_bytes = congestion->threshold_bytes - congestion->window_bytes;

	if (congestion->css_rounds) {
		grow(congestion, acked_bytes / CSS_GROWTH_DIVISOR);
		return 0;
	}
	if (acked_bytes <= room_bytes) {
		grow(congestion, acked_bytes);
		return 0;
	}
	grow(congestion, room_bytes);
	return acked_bytes - room_bytes;
}

static void grow_reno(struct vn_tcp_congestion *congestion, uint32_t segment_bytes,
		      uint32_t acked_bytes)
{
	congestion->window_rest += acked_bytes;
	while (congestion->window_rest >= congestion->window_bytes) {
		congestion->window_rest -= congestion->window_bytes;
		grow(congestion, segment_bytes);
	}
}

/* The cube root, to the nearest. */
static uint64_t cube_root(uint64_t value)
{
	uint64_t root = 0;

	/* Bit by bit: the root of 2^64 has 22. */
	for (unsigned bit = 22; bit-- > 0;) {
		uint64_t next = root | UINT64_C(1) << bit;

		if (next <= 2642245 && next * next * next <= value)
			root = next;
	}
	/* (root + 1/2)^3 = root^3 + (12 root^2 + 6 root + 1) / 8 */
	if (value - root * root * root > (12 * root * root + 6 * root + 1) / 8)
		root++;
	return root;
}

/* K = cbrt((W_max - cwnd) / C), with C = 2/5 segments/s^3 (RFC 9438 figure 2). */
static uint64_t cubic_k_ns(uint32_t missing_bytes, uint32_t segment_bytes)
{
	/* In ms^3: 5/2 * 10^9, and 2^30 times that has 62 bits. */
	return cube_root(missing_bytes * UINT64_C(2500000000) / segment_bytes) * MS_NS;
}

/* W_cubic(t) (RFC 9438 figure 1), in bytes, from 0 to WINDOW_MOST_BYTES. */
static uint32_t cubic_window(const struct vn_tcp_cubic *cubic, uint32_t segment_bytes,
			     uint64_t t_ns)
{
	bool is_before = t_ns < cubic->k_ns;
	uint64_t away_ms =
		((is_before ? cubic->k_ns - t_ns : t_ns - cubic->k_ns) + MS_NS / 2) / MS_NS;
	const uint64_t divisor = UINT64_C(5000000000); /* C again: 2/5, and ms^3 in s^3 */
	uint64_t twice = UINT64_C(2) * segment_bytes, cube, change_bytes;

	if (away_ms > CUBIC_TIME_MOST_MS)
		away_ms = CUBIC_TIME_MOST_MS;
	cube = away_ms * away_ms * away_ms;
	/* Whole part and rest apart: together the product has too many bits. */
	change_bytes = cube / divisor * twice + cube % divisor * twice / divisor;
	if (is_before)
		return change_bytes < cubic->before_bytes
			       ? cubic->before_bytes - (uint32_t)change_bytes
			       : 0;
	if (change_bytes > WINDOW_MOST_BYTES - cubic->before_bytes)
		return WINDOW_MOST_BYTES;
	return cubic->before_bytes + (uint32_t)change_bytes;
}

static void begin_epoch(struct vn_tcp_congestion *congestion, uint32_t segment_bytes,
			uint64_t now_ns)
{
	struct vn_tcp_cubic *cubic = &congestion->cubic;

	cubic->has_epoch = true;
	cubic->epoch_ns = now_ns;
	cubic->estimate_bytes = congestion->window_bytes;
	congestion->window_rest = congestion->estimate_rest = 0;
	if (congestion->window_bytes < cubic->before_bytes) {
		cubic->k_ns =
			cubic_k_ns(cubic->before_bytes - congestion->window_bytes, segment_bytes);
	} else {
		/* Nothing was lost, or it took a timeout to notice (section 4.8). */
		cubic->k_ns = 0;
		cubic->before_bytes = congestion->window_bytes;
	}
}

/*
 * W_est (RFC 9438 figure 4): with alpha = 3 * (1 - 0.7) / (1 + 0.7) = 9/17 until it has caught up.
 */
static void grow_estimate(struct vn_tcp_congestion *congestion, uint32_t segment_bytes,
			  uint32_t acked_bytes)
{
	struct vn_tcp_cubic *cubic = &congestion->cubic;
	uint32_t alpha = cubic->estimate_bytes >= cubic->prior_bytes ? 17 : 9;
	uint64_t divisor = (uint64_t)17 * congestion->window_bytes, grown;

	/* At most 2^30 * 2^16 * 17: 51 bits, and what is left over has 35. */
	congestion->estimate_rest += (uint64_t)acked_bytes * segment_bytes * alpha;
	grown = congestion->estimate_rest / divisor;
	congestion->estimate_rest %= divisor;
	grown += cubic->estimate_bytes;
	cubic->estimate_bytes = grown < WINDOW_MOST_BYTES ? (uint32_t)grown : WINDOW_MOST_BYTES;
}

/* RFC 9438 sections 4.2 to 4.5. */
static void grow_cubic(struct vn_tcp_congestion *congestion, uint32_t segment_bytes,
		       uint32_t acked_bytes, uint64_t srtt_ns, uint64_t now_ns)
{
	struct vn_tcp_cubic *cubic = &congestion->cubic;
	uint32_t window_bytes = congestion->window_bytes;
	uint32_t target_bytes, most_bytes = window_bytes + window_bytes / 2;
	uint64_t t_ns;

	if (!cubic->has_epoch)
		begin_epoch(congestion, segment_bytes, now_ns);
	t_ns = now_ns - cubic->epoch_ns;
	grow_estimate(congestion, segment_bytes, acked_bytes);
	if (cubic_window(cubic, segment_bytes, t_ns) < cubic->estimate_bytes) {
		if (cubic->estimate_bytes > window_bytes)
			grow(congestion, cubic->estimate_bytes - window_bytes);
		return;
	}
	target_bytes = cubic_window(cubic, segment_bytes, t_ns + srtt_ns);
	if (target_bytes > most_bytes)
		target_bytes = most_bytes;
	if (target_bytes <= window_bytes)
		return;
	/* (target - cwnd) / cwnd segments for each that arrived: at most 2^30 * 2^29. */
	congestion->window_rest += (uint64_t)acked_bytes * (target_bytes - window_bytes);
	grow(congestion, congestion->window_rest / window_bytes);
	congestion->window_rest %= window_bytes;
}

void vn_tcp_congestion_acked(struct vn_tcp_congestion *congestion, uint32_t segment_bytes,
			     uint32_t acked_bytes, bool is_limited, uint64_t rtt_ns,
			     uint64_t srtt_ns, uint64_t position, uint64_t sent_end,
			     uint64_t now_ns)
{
	if (acked_bytes > WINDOW_MOST_BYTES)
		acked_bytes = WINDOW_MOST_BYTES;
	/* Only the first slow start (RFC 9406 section 4.2): later ones know where to end. */
	if (congestion->threshold_bytes == UINT32_MAX) {
		if (rtt_ns)
			sample_round(congestion, rtt_ns);
		if (position >= congestion->round_end)
			end_round(congestion, sent_end);
	}
	if (!is_limited) {
		/* Its clock stands still. */
		if (congestion->cubic.has_epoch && now_ns > congestion->latest_ns)
			congestion->cubic.epoch_ns += now_ns - congestion->latest_ns;
		congestion->latest_ns = now_ns;
		return;
	}
	congestion->latest_ns = now_ns;
	if (congestion->window_bytes < congestion->threshold_bytes)
		acked_bytes = grow_slowly(congestion, acked_bytes);
	if (!acked_bytes)
		return;
	if (congestion->algorithm == VNIC_CONGESTION_CUBIC)
		grow_cubic(congestion, segment_bytes, acked_bytes, srtt_ns, now_ns);
	else
		grow_reno(congestion, segment_bytes, acked_bytes);
}

static void put_by(struct vn_tcp_congestion *congestion)
{
	congestion->before_window_bytes = congestion->window_bytes;
	congestion->before_threshold_bytes = congestion->threshold_bytes;
	congestion->before_cubic = congestion->cubic;
}

/*
 * The threshold after a congestion. What limited transmit sent beyond the window does not count
 * (RFC 5681 section 3.2 step 2).
 */
static void reduce_threshold(struct vn_tcp_congestion *congestion, uint32_t segment_bytes,
			     uint32_t flight_bytes)
{
	uint64_t used_bytes = least(flight_bytes, congestion->window_bytes);
	uint64_t reduced_bytes = congestion->algorithm == VNIC_CONGESTION_CUBIC
					 ? used_bytes * 7 / 10
					 : used_bytes / 2;

	congestion->threshold_bytes =
		most((uint32_t)reduced_bytes, THRESHOLD_SEGMENTS * segment_bytes);
	congestion->css_rounds = 0;
	congestion->window_rest = 0;
}

/* Multiplicative decrease (RFC 9438 sections 4.6 and 4.7). */
static void reduce(struct vn_tcp_congestion *congestion, uint32_t segment_bytes,
		   uint32_t flight_bytes)
{
	struct vn_tcp_cubic *cubic = &congestion->cubic;
	uint32_t window_bytes = congestion->window_bytes;

	put_by(congestion);
	cubic->prior_bytes = window_bytes;
	/* Fast convergence: less than the last time, so someone else needs room. */
	cubic->before_bytes = window_bytes < cubic->before_bytes
				      ? (uint32_t)((uint64_t)window_bytes * 17 / 20)
				      : window_bytes;
	cubic->has_epoch = false;
	reduce_threshold(congestion, segment_bytes, flight_bytes);
	congestion->window_bytes = congestion->threshold_bytes;
}

void vn_tcp_congestion_lost(struct vn_tcp_congestion *congestion, uint32_t segment_bytes,
			    uint32_t flight_bytes, uint64_t now_ns)
{
	(void)now_ns;
	reduce(congestion, segment_bytes, flight_bytes);
	congestion->is_recovering = true;
	congestion->prr_flight_bytes = most(flight_bytes, 1);
	congestion->prr_delivered_bytes = congestion->prr_sent_bytes = 0;
}

void vn_tcp_congestion_marked(struct vn_tcp_congestion *congestion, uint32_t segment_bytes,
			      uint32_t flight_bytes, uint64_t now_ns)
{
	(void)now_ns;
	/* Recovery has reduced it in this round trip (RFC 3168 section 6.1.2). */
	if (!congestion->is_recovering)
		reduce(congestion, segment_bytes, flight_bytes);
}

void vn_tcp_congestion_recover(struct vn_tcp_congestion *congestion, uint32_t segment_bytes,
			       uint32_t delivered_bytes, uint32_t lost_bytes, uint32_t pipe_bytes)
{
	uint64_t threshold_bytes = congestion->threshold_bytes;
	uint64_t flight_bytes = congestion->prr_flight_bytes;
	uint64_t delivered, sent, allowed;

	congestion->prr_delivered_bytes += delivered_bytes;
	delivered = congestion->prr_delivered_bytes;
	sent = congestion->prr_sent_bytes;
	if (pipe_bytes > threshold_bytes) {
		/* In proportion, rounded up. Whole part and rest apart: no product is too long. */
		uint64_t due_bytes = delivered / flight_bytes * threshold_bytes +
				     (delivered % flight_bytes * threshold_bytes + flight_bytes -
				      1) / flight_bytes;

		allowed = due_bytes > sent ? due_bytes - sent : 0;
	} else {
		allowed = delivered > sent ? delivered - sent : 0;
		/* No more is lost: what arrives makes room, and a segment more. */
		if (lost_bytes == 0) {
			if (allowed < delivered_bytes)
				allowed = delivered_bytes;
			allowed += segment_bytes;
		}
		if (allowed > threshold_bytes - pipe_bytes)
			allowed = threshold_bytes - pipe_bytes;
	}
	/* The first retransmission is never held back (RFC 9937 section 6). */
	if (sent == 0 && allowed < segment_bytes)
		allowed = segment_bytes;
	allowed += pipe_bytes;
	congestion->window_bytes =
		allowed < WINDOW_MOST_BYTES ? (uint32_t)allowed : WINDOW_MOST_BYTES;
}

void vn_tcp_congestion_sent(struct vn_tcp_congestion *congestion, uint32_t bytes)
{
	if (congestion->is_recovering)
		congestion->prr_sent_bytes += bytes;
}

void vn_tcp_congestion_recovered(struct vn_tcp_congestion *congestion, uint32_t segment_bytes)
{
	if (!congestion->is_recovering)
		return;
	congestion->is_recovering = false;
	congestion->window_bytes =
		most(congestion->threshold_bytes, THRESHOLD_SEGMENTS * segment_bytes);
}

void vn_tcp_congestion_timeout(struct vn_tcp_congestion *congestion, uint32_t segment_bytes,
			       uint32_t flight_bytes, bool is_first, uint64_t now_ns)
{
	(void)now_ns;
	if (is_first) {
		put_by(congestion);
		/*
		 * In recovery the window follows what is in flight: the threshold is the measure.
		 */
		if (congestion->is_recovering)
			congestion->window_bytes = congestion->before_window_bytes =
				most(congestion->window_bytes, congestion->threshold_bytes);
		congestion->cubic.prior_bytes = congestion->window_bytes;
		reduce_threshold(congestion, segment_bytes, flight_bytes);
	}
	congestion->is_recovering = false;
	congestion->window_bytes = segment_bytes;
	/* Where avoidance will begin is all that is known then (RFC 9438 section 4.8). */
	congestion->cubic.before_bytes = 0;
	congestion->cubic.has_epoch = false;
}

void vn_tcp_congestion_undo(struct vn_tcp_congestion *congestion)
{
	congestion->is_recovering = false;
	congestion->window_bytes = most(congestion->window_bytes, congestion->before_window_bytes);
	congestion->threshold_bytes =
		most(congestion->threshold_bytes, congestion->before_threshold_bytes);
	congestion->cubic = congestion->before_cubic;
	congestion->window_rest = congestion->estimate_rest = 0;
}

void vn_tcp_congestion_idle(struct vn_tcp_congestion *congestion, uint32_t segment_bytes)
{
	uint32_t restart_bytes = least(initial_window(segment_bytes), congestion->window_bytes);

	/* Slow start may go most of the way to where it was (RFC 2861 section 3.2). */
	if (congestion->threshold_bytes != UINT32_MAX)
		congestion->threshold_bytes =
			most(congestion->threshold_bytes,
			     (uint32_t)((uint64_t)congestion->window_bytes * 3 / 4));
	else
		begin_rounds(congestion);
	congestion->window_bytes = restart_bytes;
	congestion->cubic.has_epoch = false;
}

static uint32_t resized(uint32_t bytes, uint32_t segment_bytes, uint32_t old_segment_bytes)
{
	return (uint32_t)((uint64_t)bytes * segment_bytes / old_segment_bytes);
}

static uint32_t resized_threshold(uint32_t bytes, uint32_t segment_bytes,
				  uint32_t old_segment_bytes)
{
	if (bytes == UINT32_MAX)
		return bytes;
	return most(resized(bytes, segment_bytes, old_segment_bytes),
		    THRESHOLD_SEGMENTS * segment_bytes);
}

static void resize_cubic(struct vn_tcp_cubic *cubic, uint32_t segment_bytes, uint32_t old_bytes)
{
	cubic->before_bytes = resized(cubic->before_bytes, segment_bytes, old_bytes);
	cubic->prior_bytes = resized(cubic->prior_bytes, segment_bytes, old_bytes);
	cubic->estimate_bytes = resized(cubic->estimate_bytes, segment_bytes, old_bytes);
}

void vn_tcp_congestion_resize(struct vn_tcp_congestion *congestion, uint32_t segment_bytes)
{
	uint32_t old_bytes = congestion->segment_bytes;

	if (segment_bytes >= old_bytes)
		return;
	congestion->segment_bytes = segment_bytes;
	congestion->window_bytes =
		most(resized(congestion->window_bytes, segment_bytes, old_bytes), segment_bytes);
	congestion->threshold_bytes =
		resized_threshold(congestion->threshold_bytes, segment_bytes, old_bytes);
	resize_cubic(&congestion->cubic, segment_bytes, old_bytes);
	congestion->before_window_bytes =
		resized(congestion->before_window_bytes, segment_bytes, old_bytes);
	congestion->before_threshold_bytes =
		resized_threshold(congestion->before_threshold_bytes, segment_bytes, old_bytes);
	resize_cubic(&congestion->before_cubic, segment_bytes, old_bytes);
}
