/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * The congestion window opens by all that is acknowledged (slow start) until HyStart++ (RFC 9406)
 * sees the round trips grow or something is lost; then by CUBIC (RFC 9438) or NewReno (RFC 5681). A
 * loss reduces it to a part, and while the loss is being repaired proportional rate reduction (RFC
 * 6937) lets out as much as arrives, in that proportion. A timeout begins anew with one segment.
 *
 * CUBIC is computed in integers: time in milliseconds, windows in bytes. RFC 9438 counts in segments and
 * seconds; W_cubic(t) = C (t - K)^3 + W_max with C = 0.4 becomes, for t in ms,
 *
 *     W_max + segment * 4 (t - K)^3 / 10^10
 *
 * |t - K| is cut off where any window would be left behind, so nothing overflows. On a virtual wire, where a
 * round trip takes a tenth of a millisecond, the Reno-friendly region is what matters: there CUBIC
 * grows as Reno does.
 */
#include "stack/tcp_congestion.h"

#define WINDOW_MOST (1u << 30)
#define INITIAL_SEGMENTS 10 /* RFC 6928 */
#define MILLISECOND_NS UINT64_C(1000000)
#define CUBIC_TIME_MOST_MS INT64_C(400000)
/* RFC 9406 section 4.3 */
#define HYSTART_LEAST_NS (4 * MILLISECOND_NS)
#define HYSTART_MOST_NS (16 * MILLISECOND_NS)
#define HYSTART_SAMPLES 8
#define HYSTART_ROUNDS 5
#define HYSTART_DIVISOR 4

static uint32_t bounded(uint64_t bytes, uint32_t segment_bytes)
{
	if (bytes > WINDOW_MOST)
		return WINDOW_MOST;
	return bytes < segment_bytes ? segment_bytes : (uint32_t)bytes;
}

/* The largest number whose cube is not more. */
static uint64_t cube_root(uint64_t value)
{
	uint64_t root = 0;

	for (int bit = 20; bit >= 0; bit--) {
		uint64_t next = root | UINT64_C(1) << bit;

		if (next * next * next <= value)
			root = next;
	}
	return root;
}

void vn_tcp_congestion_init(struct vn_tcp_congestion *congestion, enum vnic_congestion algorithm,
			    uint32_t segment_bytes)
{
	*congestion = (struct vn_tcp_congestion){
		.window_bytes = INITIAL_SEGMENTS * segment_bytes,
		.threshold_bytes = UINT32_MAX,
		.algorithm = (uint8_t)algorithm,
		.round_rtt_ns = UINT64_MAX,
		.last_round_rtt_ns = UINT64_MAX,
	};
}

/* A round is over: what was the least round trip in it is that of the last one now. */
static void begin_round(struct vn_tcp_congestion *congestion, uint64_t sent_end)
{
	congestion->round_end = sent_end;
	congestion->last_round_rtt_ns = congestion->round_rtt_ns;
	congestion->round_rtt_ns = UINT64_MAX;
	congestion->round_samples = 0;
	if (congestion->css_rounds > 0 && ++congestion->css_rounds > HYSTART_ROUNDS)
		congestion->threshold_bytes = congestion->window_bytes; /* slow start has ended */
}

/* RFC 9406 section 4.2 */
static void look_at_rtt(struct vn_tcp_congestion *congestion, uint64_t rtt_ns, uint64_t position,
			uint64_t sent_end)
{
	uint64_t slack;

	if (position >= congestion->round_end)
		begin_round(congestion, sent_end);
	if (rtt_ns == 0)
		return;
	if (rtt_ns < congestion->round_rtt_ns)
		congestion->round_rtt_ns = rtt_ns;
	if (congestion->round_samples < UINT16_MAX)
		congestion->round_samples++;
	if (congestion->round_samples < HYSTART_SAMPLES ||
	    congestion->last_round_rtt_ns == UINT64_MAX)
		return;
	slack = congestion->last_round_rtt_ns / 8;
	if (slack < HYSTART_LEAST_NS)
		slack = HYSTART_LEAST_NS;
	if (slack > HYSTART_MOST_NS)
		slack = HYSTART_MOST_NS;
	if (congestion->css_rounds == 0 &&
	    congestion->round_rtt_ns >= congestion->last_round_rtt_ns + slack) {
		congestion->css_rounds = 1;
		congestion->css_rtt_ns = congestion->round_rtt_ns;
	} else if (congestion->css_rounds > 0 &&
		   congestion->round_rtt_ns < congestion->css_rtt_ns) {
		congestion->css_rounds = 0; /* it was only a moment */
	}
}

/* One segment for each window acknowledged; returns what is left of acked_bytes in partial. */
static void grow_by_window(uint32_t *window, uint32_t *partial, uint64_t acked_bytes,
			   uint32_t segment_bytes)
{
	uint64_t sum = *partial + acked_bytes;
	uint64_t segments = sum / *window;

	*partial = (uint32_t)(sum % *window);
	*window = bounded(*window + segments * segment_bytes, segment_bytes);
}

/* W_cubic at a time after the epoch began, in bytes (RFC 9438 section 4.2). */
static uint64_t cubic_window(const struct vn_tcp_congestion *congestion, uint32_t segment_bytes,
			     uint64_t time_ns)
{
	int64_t off_ms = (int64_t)(time_ns / MILLISECOND_NS) -
			 (int64_t)(congestion->cubic_k_ns / MILLISECOND_NS);
	int64_t bytes;

	if (off_ms > CUBIC_TIME_MOST_MS)
		off_ms = CUBIC_TIME_MOST_MS;
	if (off_ms < -CUBIC_TIME_MOST_MS)
		off_ms = -CUBIC_TIME_MOST_MS;
	bytes = 4 * off_ms * off_ms * off_ms / 10000000 * (int64_t)segment_bytes / 1000;
	bytes += congestion->cubic_before_bytes;
	return bytes > 0 ? (uint64_t)bytes : 0;
}

static void begin_epoch(struct vn_tcp_congestion *congestion, uint32_t segment_bytes,
			uint64_t now_ns)
{
	uint32_t window = congestion->window_bytes;

	congestion->cubic_epoch_ns = now_ns ? now_ns : 1;
	congestion->cubic_estimate_bytes = window;
	congestion->cubic_partial = 0;
	congestion->cubic_k_ns = 0;
	if (congestion->cubic_before_bytes > window)
		congestion->cubic_k_ns =
			cube_root((uint64_t)(congestion->cubic_before_bytes - window) *
				  UINT64_C(2500000000) / segment_bytes) *
			MILLISECOND_NS;
	else
		congestion->cubic_before_bytes = window;
}

/* RFC 9438 sections 4.3 to 4.5 */
static void grow_cubic(struct vn_tcp_congestion *congestion, uint32_t segment_bytes,
		       uint32_t acked_bytes, uint64_t srtt_ns, uint64_t now_ns)
{
	uint64_t window = congestion->window_bytes, since, target, share = acked_bytes;

	if (congestion->cubic_epoch_ns == 0)
		begin_epoch(congestion, segment_bytes, now_ns);
	since = now_ns - congestion->cubic_epoch_ns;
	/* alpha = 3 (1 - 0.7) / (1 + 0.7), and 1 once it is as large as before the loss. */
	if (congestion->cubic_estimate_bytes < congestion->cubic_before_bytes)
		share = (uint64_t)acked_bytes * 9 / 17;
	grow_by_window(&congestion->cubic_estimate_bytes, &congestion->cubic_partial, share,
		       segment_bytes);
	if (cubic_window(congestion, segment_bytes, since) < congestion->cubic_estimate_bytes) {
		if (congestion->cubic_estimate_bytes > window)
			congestion->window_bytes = congestion->cubic_estimate_bytes;
		return;
	}
	target = cubic_window(congestion, segment_bytes, since + srtt_ns);
	if (target > window + window / 2)
		target = window + window / 2;
	if (target > window)
		congestion->window_bytes =
			bounded(window + (target - window) * acked_bytes / window, segment_bytes);
}

void vn_tcp_congestion_acked(struct vn_tcp_congestion *congestion, uint32_t segment_bytes,
			     uint32_t acked_bytes, bool is_limited, uint64_t rtt_ns,
			     uint64_t srtt_ns, uint64_t position, uint64_t sent_end,
			     uint64_t now_ns)
{
	bool is_slow = congestion->window_bytes < congestion->threshold_bytes;

	/* Only the first slow start looks for the end of it (RFC 9406 section 4.3). */
	if (is_slow && congestion->threshold_bytes == UINT32_MAX)
		look_at_rtt(congestion, rtt_ns, position, sent_end);
	if (!is_limited)
		return;
	if (is_slow) {
		if (congestion->css_rounds > 0)
			acked_bytes /= HYSTART_DIVISOR;
		congestion->window_bytes =
			bounded((uint64_t)congestion->window_bytes + acked_bytes, segment_bytes);
	} else if (congestion->algorithm == VNIC_CONGESTION_NEWRENO) {
		grow_by_window(&congestion->window_bytes, &congestion->cubic_partial, acked_bytes,
			       segment_bytes);
	} else {
		grow_cubic(congestion, segment_bytes, acked_bytes, srtt_ns, now_ns);
	}
}

/* What a loss or a mark leaves. */
static void reduce(struct vn_tcp_congestion *congestion, uint32_t segment_bytes,
		   uint32_t flight_bytes)
{
	uint64_t window = congestion->window_bytes, threshold = flight_bytes / 2;

	congestion->before_window_bytes = congestion->window_bytes;
	congestion->before_threshold_bytes = congestion->threshold_bytes;
	if (congestion->algorithm == VNIC_CONGESTION_CUBIC) {
		threshold = (uint64_t)flight_bytes * 7 / 10;
		/* Fast convergence (RFC 9438 section 4.7): make room for those who come. */
		if (window < congestion->cubic_before_bytes)
			window = window * 17 / 20;
		congestion->cubic_before_bytes = (uint32_t)window;
	}
	if (threshold < 2 * (uint64_t)segment_bytes)
		threshold = 2 * (uint64_t)segment_bytes;
	congestion->threshold_bytes = bounded(threshold, segment_bytes);
	congestion->cubic_epoch_ns = 0;
	congestion->cubic_partial = 0;
	congestion->css_rounds = 0;
}

void vn_tcp_congestion_lost(struct vn_tcp_congestion *congestion, uint32_t segment_bytes,
			    uint32_t flight_bytes, uint64_t now_ns)
{
	(void)now_ns;
	reduce(congestion, segment_bytes, flight_bytes);
	congestion->is_recovering = true;
	congestion->prr_flight_bytes = flight_bytes > 0 ? flight_bytes : segment_bytes;
	congestion->prr_delivered_bytes = 0;
	congestion->prr_sent_bytes = 0;
}

void vn_tcp_congestion_marked(struct vn_tcp_congestion *congestion, uint32_t segment_bytes,
			      uint32_t flight_bytes, uint64_t now_ns)
{
	(void)now_ns;
	reduce(congestion, segment_bytes, flight_bytes);
	congestion->window_bytes = congestion->threshold_bytes;
}

void vn_tcp_congestion_recover(struct vn_tcp_congestion *congestion, uint32_t segment_bytes,
			       uint32_t delivered_bytes, uint32_t lost_bytes, uint32_t pipe_bytes)
{
	uint64_t delivered, sent = congestion->prr_sent_bytes, share = 0;

	if (!congestion->is_recovering)
		return;
	congestion->prr_delivered_bytes += delivered_bytes;
	delivered = congestion->prr_delivered_bytes;
	if (pipe_bytes > congestion->threshold_bytes) {
		uint64_t due = (delivered * congestion->threshold_bytes +
				congestion->prr_flight_bytes - 1) /
			       congestion->prr_flight_bytes;

		share = due > sent ? due - sent : 0;
	} else {
		uint64_t room = congestion->threshold_bytes - pipe_bytes;

		share = delivered > sent ? delivered - sent : 0;
		/* Where nothing more is lost it may grow as in slow start. */
		if (lost_bytes == 0) {
			if (share < delivered_bytes)
				share = delivered_bytes;
			share += segment_bytes;
		}
		if (share > room)
			share = room;
	}
	/* The first segment is sent again whatever is in flight (RFC 5681 section 3.2). */
	if (sent == 0 && share < segment_bytes)
		share = segment_bytes;
	congestion->window_bytes = bounded(pipe_bytes + share, segment_bytes);
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
	congestion->window_bytes = bounded(congestion->threshold_bytes, segment_bytes);
}

void vn_tcp_congestion_timeout(struct vn_tcp_congestion *congestion, uint32_t segment_bytes,
			       uint32_t flight_bytes, bool is_first, uint64_t now_ns)
{
	(void)now_ns;
	if (is_first)
		reduce(congestion, segment_bytes, flight_bytes);
	congestion->is_recovering = false;
	congestion->window_bytes = segment_bytes;
}

void vn_tcp_congestion_undo(struct vn_tcp_congestion *congestion)
{
	congestion->is_recovering = false;
	if (congestion->window_bytes < congestion->before_window_bytes)
		congestion->window_bytes = congestion->before_window_bytes;
	if (congestion->threshold_bytes < congestion->before_threshold_bytes)
		congestion->threshold_bytes = congestion->before_threshold_bytes;
	congestion->cubic_epoch_ns = 0;
}

void vn_tcp_congestion_idle(struct vn_tcp_congestion *congestion, uint32_t segment_bytes)
{
	uint32_t restart = INITIAL_SEGMENTS * segment_bytes;

	if (congestion->window_bytes <= restart)
		return;
	/* What was found before is remembered for the next slow start (RFC 2861 section 3). */
	if (congestion->threshold_bytes != UINT32_MAX &&
	    congestion->threshold_bytes < congestion->window_bytes / 4 * 3)
		congestion->threshold_bytes = congestion->window_bytes / 4 * 3;
	congestion->window_bytes = restart;
	congestion->cubic_epoch_ns = 0;
}

void vn_tcp_congestion_resize(struct vn_tcp_congestion *congestion, uint32_t segment_bytes)
{
	congestion->window_bytes = bounded(congestion->window_bytes, segment_bytes);
	congestion->cubic_epoch_ns = 0;
}
