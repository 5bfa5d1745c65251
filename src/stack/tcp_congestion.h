/* SPDX-License-Identifier: MIT */
/* How much may be in flight: see tcp_congestion.c. */
#ifndef VN_STACK_TCP_CONGESTION_H
#define VN_STACK_TCP_CONGESTION_H

#include <stdbool.h>
#include <stdint.h>
#include <vnic/connection.h>

/* CUBIC (RFC 9438 section 4.1.2). */
struct vn_tcp_cubic {
	uint32_t before_bytes;   /* W_max; 0: unknown */
	uint32_t prior_bytes;    /* cwnd_prior */
	uint32_t estimate_bytes; /* W_est */
	uint64_t epoch_ns;       /* when avoidance began, plus the time that it was paused */
	uint64_t k_ns;           /* K */
	bool has_epoch;
};

struct vn_tcp_congestion {
	uint32_t window_bytes;    /* cwnd */
	uint32_t threshold_bytes; /* ssthresh; UINT32_MAX: none yet */
	uint32_t segment_bytes;   /* that the sizes here were made for */
	uint8_t algorithm;        /* enum vnic_congestion */
	uint8_t is_recovering;    /* fast recovery, with proportional rate reduction (RFC 6937) */
	struct vn_tcp_cubic cubic;
	uint64_t latest_ns; /* of the last acknowledgment in avoidance */
	/* What is too little to count yet: of the growth of the window, and of the estimate. */
	uint64_t window_rest, estimate_rest;
	/* HyStart++ (RFC 9406), so that slow start ends before it loses. UINT64_MAX: unknown. */
	uint64_t round_rtt_ns, last_round_rtt_ns;
	uint16_t round_samples;
	uint8_t css_rounds; /* 0: in slow start, else conservative slow start */
	uint64_t css_rtt_ns;
	uint64_t round_end; /* position */
	/* Proportional rate reduction. */
	uint32_t prr_flight_bytes;
	uint64_t prr_delivered_bytes, prr_sent_bytes;
	/* For undoing. */
	uint32_t before_window_bytes, before_threshold_bytes;
	struct vn_tcp_cubic before_cubic;
};

/* RFC 6928: 10 segments. */
void vn_tcp_congestion_init(struct vn_tcp_congestion *congestion, enum vnic_congestion algorithm,
			    uint32_t segment_bytes);
/*
 * Bytes arrived, out of recovery: newly, so that those which had been SACKed do not count twice.
 * is_limited: the window was what kept us from sending more (RFC 9438 section 5.8), else it does
 * not grow. rtt_ns: just measured; 0: none was. position: all is acknowledged before it; sent_end:
 * of what was sent, for rounds.
 */
void vn_tcp_congestion_acked(struct vn_tcp_congestion *congestion, uint32_t segment_bytes,
			     uint32_t acked_bytes, bool is_limited, uint64_t rtt_ns,
			     uint64_t srtt_ns, uint64_t position, uint64_t sent_end,
			     uint64_t now_ns);
/*
 * Something was lost: recovery begins, with flight_bytes in flight before the loss was noticed. To
 * be followed by vn_tcp_congestion_recover() for the same acknowledgment, which lets the first
 * segment be sent again.
 */
void vn_tcp_congestion_lost(struct vn_tcp_congestion *congestion, uint32_t segment_bytes,
			    uint32_t flight_bytes, uint64_t now_ns);
/* The other end echoed a mark (RFC 3168 section 6.1.2): the same reduction, nothing was lost. */
void vn_tcp_congestion_marked(struct vn_tcp_congestion *congestion, uint32_t segment_bytes,
			      uint32_t flight_bytes, uint64_t now_ns);
/*
 * In recovery: delivered_bytes arrived, newly, lost_bytes were marked lost, newly, pipe_bytes are
 * in flight now. Sets the window so that what it leaves beyond pipe_bytes may be sent (RFC 6937,
 * with the slow start reduction bound, and the conservative one while more is lost; RFC 9937 is its
 * successor).
 */
void vn_tcp_congestion_recover(struct vn_tcp_congestion *congestion, uint32_t segment_bytes,
			       uint32_t delivered_bytes, uint32_t lost_bytes, uint32_t pipe_bytes);
/* In recovery: so much was sent. */
void vn_tcp_congestion_sent(struct vn_tcp_congestion *congestion, uint32_t bytes);
/* Recovery is over. */
void vn_tcp_congestion_recovered(struct vn_tcp_congestion *congestion, uint32_t segment_bytes);
/*
 * The timer of retransmission expired (RFC 5681 section 3.1); is_first: not again for the same
 * data. Ends a fast recovery.
 */
void vn_tcp_congestion_timeout(struct vn_tcp_congestion *congestion, uint32_t segment_bytes,
			       uint32_t flight_bytes, bool is_first, uint64_t now_ns);
/* It turned out that nothing had been lost (RFC 3522, RFC 4015): as before the last reduction. */
void vn_tcp_congestion_undo(struct vn_tcp_congestion *congestion);
/* Nothing was sent for longer than the timeout of retransmission (RFC 5681 section 4.1). */
void vn_tcp_congestion_idle(struct vn_tcp_congestion *congestion, uint32_t segment_bytes);
/* The path MTU became smaller: as many segments as before. */
void vn_tcp_congestion_resize(struct vn_tcp_congestion *congestion, uint32_t segment_bytes);

#endif
