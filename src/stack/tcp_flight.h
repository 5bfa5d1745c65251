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

/* One transmission of a range of positions, with SYN and FIN as one position each. */
struct vn_tcp_sent {
	struct vn_tcp_sent *next, *previous; /* by position */
	uint64_t begin, end;
	uint64_t sent_ns; /* the last time */
	bool sacked;
	bool lost;          /* and not sent again yet: not in flight */
	bool retransmitted; /* once at least: it measures no round trip (Karn) */
};

struct vn_tcp_flight {
	struct vn_tcp_sent *first, *last;
	uint32_t bytes;        /* of all of them */
	uint32_t sacked_bytes; /* of those that are */
	uint32_t lost_bytes;   /* likewise */
	uint32_t count;        /* of ranges */
	/* RACK (RFC 8985 section 5.2). */
	uint64_t rack_sent_ns; /* of what was sent last among what has arrived */
	uint64_t rack_end;
	uint64_t rack_rtt_ns;  /* 0: nothing has arrived yet */
	uint64_t forward_ack;  /* the highest position that arrived: RACK.fack */
	uint64_t rtt_least_ns; /* the caller's to set: of the connection */
	bool is_reordered;     /* reordering was seen */
	uint8_t window_factor; /* RACK.reo_wnd_mult, as DSACKs have it; 1 to begin with */
	uint8_t window_persist;
	uint64_t dsack_round; /* position that ends the round of the last DSACK */
};

/* What an acknowledgment brought. */
struct vn_tcp_arrival {
	uint32_t acked_bytes;     /* cumulatively, of positions */
	uint32_t sacked_bytes;    /* newly */
	uint64_t rtt_ns;          /* of the last one sent that measures one; 0: none does */
	uint32_t delivered_bytes; /* of both, what had not arrived before */
	bool has_dsack; /* the first SACK tells of a duplicate (RFC 2883): the caller's to set */
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
 * and was sent at the same now_ns may join it. @return 0, -ENOMEM
 */
int vn_tcp_flight_sent(struct vn_tcp_flight *flight, struct vn_pool *pool, uint64_t begin,
		       uint64_t end, uint64_t now_ns);
/* All before position has arrived. Adds to *arrival. */
void vn_tcp_flight_acked(struct vn_tcp_flight *flight, struct vn_pool *pool, uint64_t position,
			 uint64_t now_ns, struct vn_tcp_arrival *arrival);
/*
 * [begin, end) has arrived, out of order. Positions that were never sent, and those acknowledged
 * already, are passed over. Without memory for a split nothing is marked. Adds to *arrival.
 */
void vn_tcp_flight_sacked(struct vn_tcp_flight *flight, struct vn_pool *pool, uint64_t begin,
			  uint64_t end, uint64_t now_ns, struct vn_tcp_arrival *arrival);
/* A DSACK came (RFC 8985 section 6.2 step 4): una and end of what was sent tell rounds apart. */
void vn_tcp_flight_dsack(struct vn_tcp_flight *flight, uint64_t una, uint64_t sent_end);
/* A recovery is over: after 16 of them without a DSACK the window is small again. */
void vn_tcp_flight_recovered(struct vn_tcp_flight *flight);
/*
 * Mark lost what RACK takes for lost (RFC 8985 section 6.2 step 5), and without a measured round
 * trip or where reordering was not seen what has duplicate_bytes SACKed above it (RFC 6675; 3 segments).
 * @param is_recovering  in recovery or behind 3 duplicates: no waiting for what may be reordered,
 *                       unless reordering was seen
 * @param due_ns  set to when to look again, UINT64_MAX: not needed
 * @return bytes newly marked
 */
uint32_t vn_tcp_flight_detect(struct vn_tcp_flight *flight, uint64_t srtt_ns, bool is_recovering,
			      uint32_t segment_bytes, uint64_t now_ns, uint64_t *due_ns);
/* Mark everything lost that was not SACKed (RFC 6298 section 5.4, RFC 8985 section 6.3). @return bytes */
uint32_t vn_tcp_flight_lose_all(struct vn_tcp_flight *flight);
/* Mark the first range lost, up to segment_bytes of it (splits): NewReno without SACK. @return bytes */
uint32_t vn_tcp_flight_lose_first(struct vn_tcp_flight *flight, struct vn_pool *pool,
				  uint32_t segment_bytes);
/* The SACKs were a lie (reneging: RFC 2018 section 8): forget them all. */
void vn_tcp_flight_forget_sacks(struct vn_tcp_flight *flight);
/* Nothing was lost after all: what is marked so is still on its way. */
void vn_tcp_flight_forgive(struct vn_tcp_flight *flight);
/* The first range that is lost; NULL: none. */
struct vn_tcp_sent *vn_tcp_flight_lost(const struct vn_tcp_flight *flight);
/*
 * The first length_bytes of a range (splits what is left) are sent again. @return the range that
 * is on its way, NULL: no memory
 */
struct vn_tcp_sent *vn_tcp_flight_resent(struct vn_tcp_flight *flight, struct vn_pool *pool,
					 struct vn_tcp_sent *sent, uint32_t length_bytes,
					 uint64_t now_ns);

#endif
