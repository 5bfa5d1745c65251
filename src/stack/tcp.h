/* SPDX-License-Identifier: MIT */
/*
 * What the files of TCP share. How they work together is told in tcp.c.
 *
 * Positions in either direction's sequence space are 64 bits wide and do not wrap: that of the SYN
 * is 0, the payload begins at 1, and the FIN stands behind it. Only the edges (parsing a segment,
 * writing one) know numbers of 32 bits.
 */
#ifndef VN_STACK_TCP_H
#define VN_STACK_TCP_H

#include <stdbool.h>
#include <stdint.h>
#include <vnic/connection.h>
#include <vnic/tcp.h>

#include "base/pool.h"
#include "base/timer.h"
#include "stack/stack.h"
#include "stack/tcp_congestion.h"
#include "stack/tcp_flight.h"
#include "stack/tcp_options.h"
#include "stack/tcp_queue.h"

#define VN_TCP_NEVER UINT64_MAX
#define VN_TCP_MILLISECOND_NS UINT64_C(1000000)
#define VN_TCP_PORT_FIRST 32768 /* of those that are chosen for connections */
#define VN_TCP_PORT_COUNT (61000 - VN_TCP_PORT_FIRST)
#define VN_TCP_MSS_LEAST 88 /* nobody may have us send one byte in each packet */

enum vn_tcp_state {
	VN_TCP_CLOSED,
	VN_TCP_SYN_SENT,
	VN_TCP_SYN_RECEIVED,
	VN_TCP_ESTABLISHED,
	VN_TCP_FIN_WAIT_1,
	VN_TCP_FIN_WAIT_2,
	VN_TCP_CLOSE_WAIT,
	VN_TCP_CLOSING,
	VN_TCP_LAST_ACK,
	VN_TCP_TIME_WAIT
};

/* What the timer of retransmission is to do: there is never more than one of these to be done. */
enum vn_tcp_alarm {
	VN_TCP_ALARM_NONE,
	VN_TCP_ALARM_TIMEOUT, /* RFC 6298 */
	VN_TCP_ALARM_PROBE,   /* of a tail: RFC 8985 section 7 */
	VN_TCP_ALARM_REORDER, /* look whether what may be reordered has come: RFC 8985 section 6.2 */
	VN_TCP_ALARM_PERSIST  /* probe a closed window: RFC 9293 section 3.8.6.1 */
};

struct vnic_listener {
	struct vnic_listener *next; /* of those in the same slot */
	struct vnic_stack *stack;
	struct vnic_listener_options options;
	unsigned half_open;
};

struct vnic_connection {
	struct vn_timer timer;        /* first, so that a timer is its connection */
	struct vnic_connection *next; /* of those in the same slot */
	struct vnic_connection *pending_next;
	struct vnic_connection *older, *younger; /* in TIME-WAIT */
	struct vnic_stack *stack;
	struct vnic_listener *listener; /* until it is accepted */
	const struct vnic_connection_operations *operations;
	void *user;
	struct vnic_connection_options options;
	struct vnic_flow flow;
	struct vn_link link; /* the way to the other end, once it was heard of */
	uint32_t hash;
	uint8_t state;
	uint8_t alarm;   /* enum vn_tcp_alarm */
	uint8_t retries; /* timeouts in a row */
	uint8_t probes;  /* of a closed window, or keepalives, in a row */
	uint8_t send_scale, receive_scale;
	uint8_t duplicates; /* duplicate ACKs in a row */
	uint8_t quick_acks; /* so many more ACKs are not delayed */
	int8_t soft_error;  /* an errno that ICMP told; why it failed, should it fail */
	bool has_link;
	bool has_sack, has_timestamps, has_scale, has_ecn;
	bool is_pending; /* in the list of those that may have something to send */
	bool ack_now;    /* an ACK is due at once */
	bool is_starved; /* read returned less than was offered */
	bool is_closing; /* its user reads no more */
	bool fin_wanted; /* behind end */
	bool fin_sent;
	bool fin_known;     /* fin_at is where the other end's FIN is */
	bool is_limited;    /* the congestion window is what kept us from sending */
	bool is_recovering; /* from a loss, until recovery_end */
	bool is_timed_out;  /* and it was noticed by a timeout */
	bool tail_probed;   /* tail_end is what a probe wants to have acknowledged */
	bool tail_resent;   /* which sent old data again */
	bool override;      /* a small segment may go (RFC 9293 section 3.8.6.2.1, (4)) */
	bool echo_mark;     /* say ECE until the other end has said CWR */
	bool say_reduced;   /* say CWR with the next new data */
	bool has_dsack;
	bool undo_decided;  /* something was sent again in this recovery */
	bool undo_possible; /* and first the oldest: timestamp_undo is that of it */
	uint16_t
		mss_bytes; /* of a segment with its options: what the other end and the path take */
	uint16_t mss_told_bytes; /* by the other end */

	/* Sending. */
	uint32_t iss;
	uint32_t send_window_bytes, send_window_most_bytes;
	uint64_t una, nxt;
	uint64_t end;                         /* of what was offered; UINT64_MAX: none */
	uint64_t window_position, window_ack; /* the segment that told of the window: WL1, WL2 */
	uint64_t small_end;                   /* of the last segment that was not full */
	uint64_t recovery_end;                /* when it is acknowledged the recovery is over */
	uint64_t mark_end;                    /* likewise for the answer to an ECN mark */
	uint64_t tail_end;
	struct vn_tcp_flight flight;
	struct vn_tcp_congestion congestion;

	/* Receiving. */
	uint32_t irs;
	uint32_t unacknowledged_bytes; /* received in order since the last ACK */
	uint64_t rcv_nxt;
	uint32_t room_most_bytes; /* that its user ever had */
	uint64_t rcv_edge;        /* of the window that was offered */
	uint64_t acknowledged;    /* the last position that we acknowledged */
	uint64_t fin_at;
	struct vn_tcp_range dsack;
	struct vn_tcp_queue queue;

	/* Time. */
	uint32_t timestamp_offset; /* so that our clock is not everybody's */
	uint32_t timestamp_recent, timestamp_undo;
	uint64_t timestamp_recent_ns; /* when it was taken */
	uint64_t srtt_ns, rtt_variation_ns, rto_ns;
	uint64_t alarm_ns;   /* when alarm is due */
	uint64_t reorder_ns; /* when what may be reordered is lost */
	uint64_t ack_ns;     /* when a delayed ACK is */
	uint64_t
		life_ns; /* when to look whether the other end is still there; the end of TIME-WAIT */
	uint64_t keepalive_ns; /* when the last probe of an idle connection went out */
	uint64_t opened_ns;    /* when it was made */
	uint64_t heard_ns;     /* when the last segment came */
	uint64_t progress_ns;  /* when something was acknowledged, or nothing was in flight */
	uint64_t sent_ns;      /* when the last data was sent */
	uint64_t challenge_ns; /* no challenge ACK before it */

	struct {
		uint64_t retransmitted_bytes, retransmitted_segments;
		uint64_t sent_segments, received_segments, timeouts;
	} counts;
};

struct vn_tcp {
	uint8_t secret[16];
	struct vn_pool connections; /* of struct vnic_connection */
	struct vn_pool listeners;
	struct vn_pool sent; /* of struct vn_tcp_sent */
	struct vn_timers timers;
	struct vnic_connection **slots; /* slot_mask + 1 of them */
	uint32_t slot_mask;
	struct vnic_listener *listener_slots[256]; /* by port */
	struct vnic_connection *pending_first, **pending_last;
	uint32_t budget_bytes; /* of payload that may be sent before the user's next call */
	struct vnic_connection
		*buried; /* closed: their memory is given back at the end of a burst */
	struct vnic_connection *oldest, *youngest; /* in TIME-WAIT */
	uint64_t out_of_order_bytes;
	bool is_freed;          /* with its stack: nothing can be opened any more */
	uint64_t cookies_until; /* the last unit of time in which SYN cookies are accepted */
};

/* A segment that came in, in terms of its connection. */
struct vn_tcp_segment {
	const struct vn_input *input;
	struct vnic_tcp tcp;
	struct vn_tcp_options options;
	const uint8_t *payload;
	uint32_t payload_bytes;
	bool has_mark; /* Congestion Experienced */
	int64_t begin; /* position of the first byte, SYN counted; may be long ago */
	int64_t end;   /* behind the payload and the FIN */
};

/* tcp.c */
struct vnic_connection *vn_tcp_find(struct vnic_stack *stack, const struct vnic_flow *flow);
/* Fill in what is 0. */
void vn_tcp_set_defaults(struct vnic_connection_options *options);
/* How far the windows up to this one have to be shifted (RFC 7323 section 2.3). */
uint8_t vn_tcp_scale(uint32_t window_bytes);
/* A new connection in the table, in CLOSED, with nothing sent; NULL: no room. */
struct vnic_connection *vn_tcp_make(struct vnic_stack *stack, const struct vnic_flow *flow,
				    const struct vnic_connection_options *options);
/* Take it out of everything and tell its user why. */
void vn_tcp_end(struct vnic_connection *connection, int code);
/* Have vn_tcp_output() called at the end of the burst. */
void vn_tcp_pend(struct vnic_connection *connection);
void vn_tcp_tell(struct vnic_connection *connection, enum vnic_connection_event event, int code);
/* Answer a segment that belongs to no connection with a reset (RFC 9293 section 3.10.7.1). */
vn_verdict vn_tcp_reset(struct vnic_stack *stack, const struct vn_tcp_segment *segment);
void vn_tcp_count_half_open(struct vnic_connection *connection, int amount);
/* Initial sequence number (RFC 6528), and what our timestamps of a flow begin with (RFC 7323 section 5.4). */
uint32_t vn_tcp_choose_iss(struct vnic_stack *stack, const struct vnic_flow *flow);
uint32_t vn_tcp_timestamp(const struct vnic_connection *connection);
uint32_t vn_tcp_timestamp_offset(struct vnic_stack *stack, const struct vnic_flow *flow);
/* Hash something about a flow; purpose tells the uses apart. */
uint64_t vn_tcp_hash(const struct vnic_stack *stack, const struct vnic_flow *flow, uint32_t purpose,
		     uint32_t more);

/* tcp_listen.c: segments for which there is no connection. */
vn_verdict vn_tcp_listen_input(struct vnic_stack *stack, struct vn_tcp_segment *segment,
			       const struct vnic_flow *flow);
/* The handshake of an accepted connection is complete. @return false: it was refused */
bool vn_tcp_accept(struct vnic_connection *connection);
/* Take over what the SYN of the other end says. */
void vn_tcp_take_syn(struct vnic_connection *connection, const struct vn_tcp_segment *segment);

/* tcp_input.c */
vn_verdict vn_tcp_segment_input(struct vnic_connection *connection, struct vn_tcp_segment *segment);
/* Where the sequence number is, nearest to a position. */
static inline int64_t vn_tcp_unwrap(uint64_t position, uint32_t initial, uint32_t sequence)
{
	return (int64_t)position + (int32_t)(sequence - (initial + (uint32_t)position));
}

/* tcp_ack.c */
/* What the segment acknowledges. The acknowledgment is between una and nxt. */
void vn_tcp_acked(struct vnic_connection *connection, const struct vn_tcp_segment *segment,
		  uint64_t ack);
/* Look for losses, and recover from them. arrival may be NULL. */
void vn_tcp_detect(struct vnic_connection *connection, const struct vn_tcp_arrival *arrival);
/* The path takes less than it did: adapt, and send again what was too long. */
void vn_tcp_shrink(struct vnic_connection *connection);

/*
 * What is in flight. Without SACK each duplicate ACK says that a segment has left the network.
 */
static inline uint32_t vn_tcp_pipe(const struct vnic_connection *connection)
{
	uint32_t pipe = vn_tcp_flight_pipe(&connection->flight), arrived = 0;

	if (!connection->has_sack)
		arrived = (uint32_t)connection->duplicates * connection->mss_bytes;
	return arrived < pipe ? pipe - arrived : 0;
}

/* tcp_output.c */
/* Send what may be sent: what is lost, what is new, an ACK that is due. */
void vn_tcp_output(struct vnic_connection *connection);
/* Send an ACK now. */
void vn_tcp_send_ack(struct vnic_connection *connection);
/* Send the SYN, or the SYN with ACK. */
void vn_tcp_send_syn(struct vnic_connection *connection);
/* Send a segment without payload that was or will be sent otherwise: a reset, a probe. */
void vn_tcp_send_bare(struct vnic_connection *connection, uint64_t position, uint8_t flags);
/* Send the last segment again, or a new one, to learn whether the tail has arrived. */
void vn_tcp_send_probe(struct vnic_connection *connection);
/* Payload in a segment, next to the options that it carries now. */
uint32_t vn_tcp_payload_most(const struct vnic_connection *connection);
/* A SYN-ACK of which nothing is kept. */
void vn_tcp_send_cookie(struct vnic_stack *stack, const struct vn_tcp_segment *segment,
			const struct vnic_flow *flow, uint32_t sequence,
			const struct vn_tcp_options *options, uint16_t window);
/* MTU of the path, less the headers of IP and TCP. */
uint16_t vn_tcp_mss(const struct vnic_stack *stack, const struct vnic_address *remote,
		    bool of_path);

/* tcp_timer.c */
/* Find out what the alarm is to be now, and set the timer. */
void vn_tcp_set_alarm(struct vnic_connection *connection);
void vn_tcp_set_timer(struct vnic_connection *connection);
void vn_tcp_expired(struct vnic_connection *connection);
void vn_tcp_measured(struct vnic_connection *connection, uint64_t rtt_ns);
void vn_tcp_time_wait(struct vnic_connection *connection);
/* The time of retransmission for what is in flight now. */
uint64_t vn_tcp_timeout_ns(const struct vnic_connection *connection);

#endif
