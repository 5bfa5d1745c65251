/* SPDX-License-Identifier: MIT */
/*
 * What was sent and is not acknowledged: see tcp_flight.c.
 *
 * Positions are 64 bits wide and never wrap: that of the SYN is 0, and the payload begins at 1.
 */
#ifndef VN_STACK_TCP_FLIGHT_H
#define VN_STACK_TCP_FLIGHT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/pool.h"

/*
 * The bounds of what strangers cut by their SACKs: so many ranges in one connection, and half of
 * the pool. Of the pool, which holds VN_TCP_FLIGHT_SHARE for each connection that there may be, one
 * for each is kept for those that have none: whoever takes the others, all can go on sending.
 */
#define VN_TCP_FLIGHT_RANGES 4096
#define VN_TCP_FLIGHT_SHARE 16

/* One transmission of a range of positions, with SYN and FIN as one position each. */
struct vn_tcp_sent {
	struct vn_tcp_sent *next, *previous; /* by position */
	struct vn_tcp_sent *later, *earlier; /* of those in flight, by the time they were sent */
	uint64_t begin, end;
	uint64_t sent_ns; /* the last time */
	bool sacked;
	bool lost;          /* and not sent again yet: not in flight */
	bool retransmitted; /* once at least: it measures no round trip (Karn) */
	bool forgotten;     /* it was SACKed once, and not sent again since */
};

struct vn_tcp_flight {
	struct vn_tcp_sent *first, *last;      /* by position */
	struct vn_tcp_sent *earliest, *latest; /* by time: what is neither SACKed nor lost */
	struct vn_tcp_sent *first_lost;        /* by position */
	struct vn_tcp_sent *hint;              /* where a SACK led to for last */
	uint32_t bytes;                        /* of all of them */
	uint32_t sacked_bytes;                 /* of those that are */
	uint32_t lost_bytes;                   /* likewise */
	uint32_t count;                        /* of ranges */
	/* RACK (RFC 8985 section 5.2). */
	uint64_t rack_sent_ns; /* of what was sent last among what has arrived */
	uint64_t rack_end;     /* 0: nothing has arrived yet that tells anything */
	uint64_t rack_rtt_ns;
	uint64_t forward_ack;  /* the highest position that arrived: RACK.fack */
	uint64_t rtt_least_ns; /* the caller's to set: of the connection */
	bool is_reordered;     /* reordering was seen */
	uint8_t window_factor; /* RACK.reo_wnd_mult, as DSACKs have it; 1 to begin with */
	uint8_t window_persist;
	uint64_t dsack_round; /* position that ends the round of the last DSACK; 0: none */
};

/* What an acknowledgment brought: zero before the first of the calls for one. */
struct vn_tcp_arrival {
	uint32_t acked_bytes;     /* cumulatively, of positions */
	uint32_t sacked_bytes;    /* newly */
	uint32_t delivered_bytes; /* newly, in either way (DeliveredData of RFC 6937) */
	uint32_t refused_sacks;   /* for which there was no range */
	uint64_t rtt_ns; /* of the last one sent that measures one, at least 1; 0: none does */
	bool has_dsack;  /* the caller's: the first SACK tells of a duplicate (RFC 2883) */
};

/* In flight as RFC 6675 section 4 counts it (pipe). */
static inline uint32_t vn_tcp_flight_pipe(const struct vn_tcp_flight *flight)
{
	return flight->bytes - flight->sacked_bytes - flight->lost_bytes;
}

void vn_tcp_flight_init(struct vn_tcp_flight *flight);
/* Give all ranges back to the pool (of struct vn_tcp_sent). */
void vn_tcp_flight_done(struct vn_tcp_flight *flight, struct vn_pool *pool);
/*
 * Note that [begin, end) is sent for the first time, behind all others. One that continues the last
 * and was sent at the same now_ns joins it. now_ns never goes back.
 * @return 0; -ENOMEM: of the pool, never for the first range but where the system has none
 */
int vn_tcp_flight_sent(struct vn_tcp_flight *flight, struct vn_pool *pool, uint64_t begin,
		       uint64_t end, uint64_t now_ns);
/* All before position has arrived. To be called before the SACKs are. Adds to *arrival. */
void vn_tcp_flight_acked(struct vn_tcp_flight *flight, struct vn_pool *pool, uint64_t position,
			 uint64_t now_ns, struct vn_tcp_arrival *arrival);
/*
 * [begin, end) has arrived, out of order. Positions that were never sent, and those acknowledged
 * already, are passed over. Where a range would have to be split over a bound it is not marked.
 * Those of one segment are to be given by position, the lowest first: acknowledgments may have been
 * lost, and what they tell late would look like reordering. Adds to *arrival.
 */
void vn_tcp_flight_sacked(struct vn_tcp_flight *flight, struct vn_pool *pool, uint64_t begin,
			  uint64_t end, uint64_t now_ns, struct vn_tcp_arrival *arrival);
/*
 * A DSACK came (RFC 8985 section 6.2 step 4): una and end of what was sent tell rounds apart. Not
 * to be called for the DSACK of a tail loss probe.
 */
void vn_tcp_flight_dsack(struct vn_tcp_flight *flight, uint64_t una, uint64_t sent_end);
/* A recovery is over: after 16 of them without a DSACK the window is small again. */
void vn_tcp_flight_recovered(struct vn_tcp_flight *flight);
/*
 * Mark lost what RACK takes for lost (RFC 8985 section 6.2 step 5), and without a measured round
 * trip what has more than 2 segments SACKed above it (RFC 6675 section 4, IsLost).
 * @param is_recovering  in recovery: no waiting for what may be reordered, unless reordering was
 *                       seen. Behind 3 duplicates (more than 2 * segment_bytes are SACKed) it is
 *                       taken for granted.
 * @param due_ns  set to when to look again, UINT64_MAX: not needed
 * @return bytes newly marked
 */
uint32_t vn_tcp_flight_detect(struct vn_tcp_flight *flight, uint64_t srtt_ns, bool is_recovering,
			      uint32_t segment_bytes, uint64_t now_ns, uint64_t *due_ns);
/*
 * Mark everything lost that was not SACKed (RFC 6298 section 5.4, RFC 8985 section 6.3). @return
 * bytes
 */
uint32_t vn_tcp_flight_lose_all(struct vn_tcp_flight *flight);
/*
 * Mark the first range lost, up to segment_bytes of it (splits; without memory for it all of it):
 * NewReno without SACK. @return bytes; 0: it is already
 */
uint32_t vn_tcp_flight_lose_first(struct vn_tcp_flight *flight, struct vn_pool *pool,
				  uint32_t segment_bytes);
/*
 * The SACKs were a lie (reneging: RFC 2018 section 8): forget them all. What they told of is lost,
 * and measures no round trip any more.
 */
void vn_tcp_flight_forget_sacks(struct vn_tcp_flight *flight);
/* Nothing was lost after all: what is marked so is still on its way. */
void vn_tcp_flight_forgive(struct vn_tcp_flight *flight);
/* The first range that is lost; NULL: none. */
struct vn_tcp_sent *vn_tcp_flight_lost(const struct vn_tcp_flight *flight);
/*
 * So many bytes from the beginning of a lost range are lost, without a break; at most most_bytes.
 */
uint32_t vn_tcp_flight_lost_run(const struct vn_tcp_sent *lost, uint32_t most_bytes);
/*
 * The last range that was not SACKed, cut down to its last segment_bytes (splits; without memory
 * for it all of it): for a tail loss probe (RFC 8985 section 7.3) by vn_tcp_flight_resent(). NULL:
 * none.
 */
struct vn_tcp_sent *vn_tcp_flight_tail(struct vn_tcp_flight *flight, struct vn_pool *pool,
				       uint32_t segment_bytes);
/*
 * The first length_bytes of a range that was not SACKed are sent again (splits what is left). Of a
 * lost one they may reach as far as vn_tcp_flight_lost_run() says, and those that they reach over
 * become a part of it. Other ranges than the one returned may be gone afterwards.
 * @return the range that is on its way, of those bytes. Without memory for the split it is all of
 *         what would be split: the rest is sent again when that is found lost.
 */
struct vn_tcp_sent *vn_tcp_flight_resent(struct vn_tcp_flight *flight, struct vn_pool *pool,
					 struct vn_tcp_sent *sent, uint32_t length_bytes,
					 uint64_t now_ns);

#endif
