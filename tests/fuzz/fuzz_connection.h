/* SPDX-License-Identifier: MIT */
/*
 * What the parts of the target share: fuzz_connection.c is the network and the other ends,
 * fuzz_connection_user.c the program that uses the stack, fuzz_connection_check.c what must hold.
 */
#ifndef FUZZ_CONNECTION_H
#define FUZZ_CONNECTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <vnic/connection.h>
#include <vnic/endpoint.h>
#include <vnic/socket.h>
#include <vnic/stack.h>

#define START_NS UINT64_C(1000000000)
#define TALKERS 4   /* addresses and ports of other ends */
#define WAYS 3      /* to the listener, to the listening socket, and a connection that we open */
#define FLOWS 12    /* TALKERS * WAYS */
#define USERS 12    /* of connections */
#define SOCKETS 12  /* the last one listens */
#define ENDPOINTS 2 /* of UDP */
#define HELD 16     /* packets that wait for a burst */
#define WRITTEN_MOST (2u << 20)
#define REMEMBERED 8 /* connections whose positions are compared */
#define LISTENER_PORT 7000
#define SOCKET_PORT 7001
#define OWN_PORT 6000   /* and so on: one for each talker */
#define THEIR_PORT 4000 /* likewise */

/* Bytes of the input, zeros behind its end. */
struct reader {
	const uint8_t *bytes;
	size_t left;
};

/* Where a user may do something that was planned. */
enum place {
	AT_ACCEPT,
	AT_ESTABLISHED,
	AT_FINISHED,
	AT_CLOSED,
	AT_RECEIVE,
	AT_ACKED,
	AT_READY,
	AT_DATAGRAM,
	PLACES
};

/* Something that a user does. */
struct action {
	uint8_t code, index, amount;
	uint8_t times; /* that it is still to be done, of a planned one */
};

struct user {
	struct run *run;
	struct vnic_connection *connection; /* NULL: free */
	uint32_t seed;
	uint64_t offered, read_end, acked, received;
	size_t room, taken_most;
	bool is_endless, is_starving, is_finished, is_closing, is_established, end_told;
};

struct place_of_socket {
	struct run *run;
	struct vnic_socket *socket; /* NULL: free */
	uint64_t written, received;
	uint32_t seed, irs;
	bool is_known; /* seed and irs are */
};

/* What the other end knows. */
struct talk {
	struct vnic_flow flow;
	uint32_t iss; /* of the other end */
	uint32_t seen_sequence, seen_ack, seen_timestamp;
	uint8_t seen_flags; /* of the last segment from the stack; 0: none */
	uint32_t stack_iss[4];
	unsigned stack_iss_count;
	uint8_t last[128]; /* the beginning of the last packet from the stack */
	size_t last_bytes;
};

struct remembered {
	const struct vnic_connection *connection;
	uint64_t opened_ns, una, nxt, rcv_nxt, rcv_edge;
	uint32_t iss, irs;
};

struct run {
	struct vnic_stack_options options;
	struct vnic_connection_options connection_options;
	struct vnic_stack *stack;
	uint64_t now_ns, random, out_packets;
	uint32_t socket_bytes;
	unsigned backlog;
	size_t room;
	bool is_blind, is_silent, wraps;
	uint16_t identification;
	uint64_t written; /* by all users */
	unsigned depth;   /* of actions within actions */
	struct talk talks[FLOWS];
	bool is_asked[2]; /* for the Ethernet address of the other end, of IPv4 and IPv6 */
	struct user users[USERS];
	struct place_of_socket sockets[SOCKETS];
	struct vnic_listener *listener;
	struct vnic_endpoint *endpoints[ENDPOINTS];
	struct action planned[PLACES];
	struct remembered remembered[REMEMBERED];
	uint64_t ended; /* connections, more or less */
	struct vnic_packet held[HELD];
	unsigned held_count;
	uint8_t last_in[2048]; /* the last packet given in */
	size_t last_in_bytes;
};

/* Learn the initial sequence numbers of connections made of SYN cookies. */
void note_iss(struct run *run);
/* fuzz_connection_check.c: dies where something is wrong. */
void check_invariants(struct run *run);
void die(const char *text, uint64_t a, uint64_t b) __attribute__((noreturn));
uint8_t take8(struct reader *reader);

/* One of the sizes that matter. */
size_t size_of(uint8_t code);
/* Which stream of bytes a connection has. */
uint32_t seed_of(uint16_t local_port, uint16_t remote_port);
/* The bytes of a stream, whose position may wrap: those of the stack's users, and of the others. */
const uint8_t *stream_bytes(uint32_t seed, bool of_stack, uint64_t position, size_t length);

/* Do something, with the user or socket that it happens to, or with the one that it says: 255. */
void user_act(struct run *run, const struct action *action, unsigned self);
void user_begin(struct run *run);
/* Close what must be closed before the stack is freed, and then the rest. */
void user_before_free(struct run *run);
void user_after_free(struct run *run);

#endif
