/* SPDX-License-Identifier: MIT */
/* The other end of a TCP connection, segment by segment: see talk.c. */
#ifndef SIM_TALK_H
#define SIM_TALK_H

#include <vnic/connection.h>

#include "peer.h"

#define MILLISECOND_NS UINT64_C(1000000)
#define TALK_PORT 9000       /* of the stack, which listens there */
#define TALK_PEER_PORT 40000 /* of the test */

/*
 * What the stack and the test say to each other. Sequence numbers in both directions are told from
 * the first byte of payload on: that of the SYN is -1.
 */
struct talk {
	struct peer peer;
	struct vnic_listener *listener;
	struct vnic_connection *connection; /* of the stack; NULL: none yet, or it has ended */
	struct vnic_connection_options options;
	const char *remote, *local; /* addresses */
	uint16_t remote_port, local_port;
	uint32_t iss, irs; /* initial sequence numbers: the test's, the stack's */
	uint16_t window;   /* that the test offers */
	uint8_t scale;     /* of it, to be said in the SYN; 0xff: none */
	uint16_t mss;
	bool timestamps, sack, ecn; /* to be said in the SYN */
	uint32_t timestamp, timestamp_echo;
	uint8_t tos; /* of the next segments */
	/* The stack's user. */
	uint8_t received[65536];
	size_t received_bytes, room, taken_most;
	uint64_t acked;
	unsigned accepted;
	bool is_established, is_finished, is_closed;
	int code;
};

/* A segment that the stack sent. */
struct talk_segment {
	struct vnic_tcp tcp;
	int64_t sequence, acknowledgment;
	const uint8_t *payload;
	size_t payload_bytes;
	uint8_t ecn;
	uint64_t at_ns;
	unsigned sack_count;
	int64_t sacks[4][2];
	uint32_t timestamp, timestamp_echo;
	bool has_timestamps;
};

/* A stack that listens; everything in the talk may be set between the two. */
void talk_init(struct talk *talk);
void talk_begin(struct talk *talk);
void talk_end(struct talk *talk);
/* The stack connects to the test instead. */
void talk_connect(struct talk *talk);
/* The handshake, up to ESTABLISHED on both sides. */
void talk_handshake(struct talk *talk);

/* Send a segment. @return the name of the counter that it ended in */
const char *talk_send(struct talk *talk, uint8_t flags, int64_t sequence, int64_t acknowledgment,
		      size_t payload_bytes);
/* The same from another port, or with an absolute acknowledgment. */
const char *talk_send_raw(struct talk *talk, const struct vnic_tcp *tcp, size_t payload_bytes);
/* An ICMP error about a segment that the stack sent, or would have. */
const char *talk_send_error(struct talk *talk, uint8_t type, uint8_t code, uint16_t mtu_bytes,
			    int64_t sequence);

/* How many segments the stack has sent since they were cleared. */
size_t talk_count(const struct talk *talk);
/* The n-th of them. */
struct talk_segment talk_segment(struct talk *talk, size_t n);
/* The only one, with just these flags; then they are cleared. */
struct talk_segment talk_expect(struct talk *talk, uint8_t flags, int64_t sequence,
				int64_t acknowledgment, size_t payload_bytes);
/* None was sent. */
void talk_expect_nothing(struct talk *talk);
void talk_wait(struct talk *talk, uint64_t duration_ns);
const char *talk_state(const struct talk *talk);

#endif
