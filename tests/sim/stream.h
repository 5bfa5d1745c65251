/* SPDX-License-Identifier: MIT */
/* A TCP connection over a simulated link, whose every byte is compared: see stream.c. */
#ifndef SIM_STREAM_H
#define SIM_STREAM_H

#include <vnic/connection.h>
#include <vnic/socket.h>

#include "link.h"

#define STREAM_PORT 7000

/* How one side behaves. Zero: sends nothing, reads everything at once. */
struct stream_options {
	struct vnic_connection_options connection;
	uint64_t total_bytes; /* to send */
	uint32_t write_bytes; /* offered at a time, each write_ns; 0: all at once */
	uint64_t write_ns;
	uint32_t hold_bytes;  /* that its reader keeps until it reads them; 0: no bound */
	uint32_t drain_bytes; /* read at a time, each drain_ns; 0: all at once */
	uint64_t drain_ns;
	bool is_endless;    /* offers without an end */
	bool reads_short;   /* its bytes are not always there */
	bool takes_short;   /* it does not always take what it has room for */
	bool finishes_late; /* only after the other end has */
	bool uses_socket;
	uint32_t socket_bytes; /* of its buffers */
};

struct stream;

struct stream_side {
	struct stream *stream;
	unsigned index;
	struct stream_options options;
	struct vnic_connection *connection; /* NULL: not yet, or closed */
	struct vnic_socket *socket;
	uint64_t offered, read_end, acked;
	uint64_t received, held;
	bool is_established, is_finished, is_closed, has_finished, is_draining, is_writing;
	int code;                                        /* of VNIC_CONNECTION_CLOSED */
	uint64_t established_ns, closed_ns, received_ns; /* when all was received */
};

struct stream {
	struct link *link;
	uint64_t seed;
	enum vnic_family family;
	struct vnic_flow flow;
	struct stream_side sides[2]; /* the first one connects */
	struct vnic_listener *listener;
	struct vnic_socket *listening;
	unsigned accepted;
	bool refuse;
	bool no_listener;
	bool opens_at_once; /* both sides connect, to each other */
};

/* Side 1 listens, on end 1 of the link, and side 0 connects. The options are set before. */
void stream_begin(struct stream *stream, struct link *link, enum vnic_family family, uint64_t seed);
/* Both sides are told that it is over. */
bool stream_is_closed(void *stream);
bool stream_is_established(void *stream);
/* Both have received everything. */
bool stream_is_received(void *stream);
/*
 * Wait until it is closed, which must be in order and with every byte received; then until nothing
 * is left of it.
 */
void stream_complete(struct stream *stream, uint64_t longest_ns);
/* Wait until it is established. */
void stream_establish(struct stream *stream);
/* Free what is the test's: the listener, and sockets. */
void stream_end(struct stream *stream);
/* Have a side offer more, though it had offered all. */
void stream_offer(struct stream_side *side, uint64_t more_bytes);
void stream_finish(struct stream_side *side);
/* Of the connection. */
struct vnic_connection_info stream_info(const struct stream_side *side);
const char *stream_state(const struct stream_side *side);
/* The byte at an offset of what a side sends. */
uint8_t stream_byte(const struct stream *stream, unsigned side, uint64_t offset);

extern const struct vnic_connection_operations stream_operations;

#endif
