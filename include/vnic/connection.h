/* SPDX-License-Identifier: MIT */
/**
 * @file
 * TCP connections of a stack (RFC 9293), for programs that keep the payload themselves.
 *
 * A connection owns no payload. What it sends it reads from its user, by the offset from the
 * beginning, as often as it must be sent; what it receives it hands to its user in order, who says
 * how much was taken and how much room is left. A program that wants to read and write, as with
 * ordinary sockets, finds that in vnic/socket.h, which is built on this.
 *
 * All calls are for the thread that the stack belongs to, from within the operations too. What they
 * make the connection send goes out during the vnic_stack_receive() or vnic_stack_advance() that
 * they are called in, and otherwise during the next vnic_stack_advance(), which is due at once.
 */
#ifndef VNIC_CONNECTION_H
#define VNIC_CONNECTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <vnic/address.h>
#include <vnic/error.h>
#include <vnic/stack.h>

#ifdef __cplusplus
extern "C" {
#endif

struct vnic_connection;
struct vnic_listener;

/** The most bytes of payload that a connection offers to receive: 2^30 (RFC 7323 section 2.3). */
#define VNIC_CONNECTION_WINDOW_BYTES (1u << 30)

/** What happens to a connection. */
enum vnic_connection_event {
	/** The handshake is complete. Of a connection that was accepted the first event. */
	VNIC_CONNECTION_ESTABLISHED = 0,
	/** The other end sends no more: everything before its FIN was taken */
	VNIC_CONNECTION_FINISHED,
	/**
	 * It has ended: both sides have finished and all was acknowledged (code 0), or it failed.
	 * Nothing is called afterwards, and the connection must not be used any more.
	 */
	VNIC_CONNECTION_CLOSED
};

/**
 * What a connection asks of its user. read and room only look: they call nothing of the stack. The
 * others may call everything in this header for any connection, vnic_connection_abort() of their
 * own too.
 */
struct vnic_connection_operations {
	/**
	 * Copy bytes that are to be sent. They were offered and are not acknowledged yet. May be
	 * NULL where nothing is ever offered.
	 * @param offset  of the first of them, in bytes from the beginning of the connection
	 * @return how many were copied; fewer than length_bytes: the rest is not there now, and
	 *         vnic_connection_offer() will say when it is
	 */
	size_t (*read)(struct vnic_connection *connection, void *user, uint64_t offset,
		       uint8_t *bytes, size_t length_bytes);
	/** All before this offset has arrived: it is not read again. NULL is allowed. */
	void (*acked)(struct vnic_connection *connection, void *user, uint64_t offset);
	/**
	 * The next bytes in order. NULL: all of them are thrown away.
	 * @return how many were taken; what was not will be sent again
	 */
	size_t (*receive)(struct vnic_connection *connection, void *user, const uint8_t *bytes,
			  size_t length_bytes);
	/**
	 * How many bytes receive would take now: what the other end may send (its window). NULL:
	 * window_bytes of the options, always. It shall not become less but by what was received.
	 */
	size_t (*room)(struct vnic_connection *connection, void *user);
	/**
	 * Something happened. NULL is allowed.
	 * @param code  with VNIC_CONNECTION_CLOSED why: 0 in order; -ECONNREFUSED: the other end
	 *              refused it; -ECONNRESET: the other end reset it; -ECONNABORTED: we did;
	 *              -ETIMEDOUT: nothing is heard of the other end; -EHOSTUNREACH,
	 *              -ENETUNREACH, -EPROTO, -EACCES: an ICMP error said so, or a neighbor on
	 *              the way did not answer, and there was no way on. Else 0
	 */
	void (*event)(struct vnic_connection *connection, void *user,
		      enum vnic_connection_event event, int code);
};

/** How the rate of sending is found. */
enum vnic_congestion {
	VNIC_CONGESTION_CUBIC = 0, /**< RFC 9438 */
	VNIC_CONGESTION_NEWRENO    /**< RFC 5681, RFC 6582 */
};

/** How a connection behaves. Zero stands for the default. */
struct vnic_connection_options {
	/** What it offers to receive at most; default 1 MiB */
	uint32_t window_bytes;
	enum vnic_congestion congestion;
	bool no_nagle;       /**< small segments are not held back (RFC 9293 section 3.7.4) */
	bool no_delayed_ack; /**< every segment is acknowledged at once */
	bool no_ecn;         /**< do not negotiate it (RFC 3168 section 6.1) */
	bool no_timestamps;  /**< do not negotiate them (RFC 7323 section 3) */
	bool no_sack;        /**< do not negotiate it (RFC 2018) */
	/** Probe an idle connection after this time (RFC 9293 section 3.8.4); 0: never */
	uint64_t keepalive_ns;
	uint64_t keepalive_interval_ns; /**< between probes; default 75 s */
	unsigned keepalive_probes;      /**< without an answer, until it fails; default 9 */
	/** Fail where data stays unacknowledged so long (RFC 5482); default 120 s */
	uint64_t user_timeout_ns;
};

/** Where a listener listens. */
struct vnic_listener_options {
	/** One of the stack's; without a family: any that the stack answers for */
	struct vnic_address address;
	uint16_t port;
	bool any_port; /**< every port that no other listener has: for gateways. port must be 0 */
	/** Handshakes at once; more are answered with SYN cookies (RFC 4987). Default 256 */
	unsigned backlog;
	struct vnic_connection_options connection; /**< of each connection accepted */
	/**
	 * A handshake is complete. To take the connection call vnic_connection_set_user().
	 * VNIC_CONNECTION_ESTABLISHED follows.
	 * @return 0; negative: it is refused, and reset
	 */
	int (*accept)(void *user, struct vnic_connection *connection);
	void *user; /**< for accept */
};

/**
 * Listen. The most exact listener gets a connection: address and port, port, address, any.
 * @return 0; -EINVAL (ARGUMENT): no port, no accept; -EADDRNOTAVAIL (ADDRESS_INVALID): not an
 *         address of the stack's; -EADDRINUSE (ADDRESS_TAKEN): another listens there; -ENOSPC
 *         (LIMIT): tcp_listeners of the stack
 */
VNIC_API int vnic_listener_open(struct vnic_stack *stack,
				const struct vnic_listener_options *options,
				struct vnic_listener **listener, struct vnic_error *error);
/** Stop listening. Handshakes under way are reset, connections stay. NULL is allowed. */
VNIC_API void vnic_listener_close(struct vnic_listener *listener);

/**
 * Connect (RFC 9293 section 3.10.1). VNIC_CONNECTION_ESTABLISHED or CLOSED says how it went; never
 * during this call.
 * @param flow        the other end's address and port; the local address (without a family: one of
 *                    the stack's is chosen) and port (0: one is chosen, RFC 6056)
 * @param options     NULL: the defaults
 * @param operations  live as long as the connection
 * @return 0; -EINVAL (ARGUMENT); -EADDRNOTAVAIL (ADDRESS_INVALID): not an address of the stack's,
 *         or none of that family, or no port left; -EADDRINUSE (ADDRESS_TAKEN): there is such a
 *         connection; -ENOSPC (LIMIT): tcp_connections of the stack, or it is being freed; -ENOMEM
 *         (MEMORY)
 */
VNIC_API int vnic_connection_open(struct vnic_stack *stack, const struct vnic_flow *flow,
				  const struct vnic_connection_options *options,
				  const struct vnic_connection_operations *operations, void *user,
				  struct vnic_connection **connection, struct vnic_error *error);

/** Say who uses a connection: from accept, or later to hand it on. */
VNIC_API void vnic_connection_set_user(struct vnic_connection *connection,
				       const struct vnic_connection_operations *operations,
				       void *user);
VNIC_API void *vnic_connection_user(const struct vnic_connection *connection);

/**
 * Offer bytes to be sent.
 * @param end_offset  all before it may be read; it never goes back. UINT64_MAX: without an end
 */
VNIC_API void vnic_connection_offer(struct vnic_connection *connection, uint64_t end_offset);
/**
 * Send no more than was offered: FIN behind it (RFC 9293 section 3.10.4). What the other end sends
 * is still received. Of an endless offer the end is what was read up to now.
 */
VNIC_API void vnic_connection_finish(struct vnic_connection *connection);
/**
 * Finish, and give up reading: bytes that still come are answered with a reset (RFC 1122 section
 * 4.2.2.13), and the other end's FIN is waited for 60 s at most after its last segment. What was
 * offered is still read, and VNIC_CONNECTION_CLOSED still comes.
 */
VNIC_API void vnic_connection_close(struct vnic_connection *connection);
/** There is room again: to be called when what receive took was used. */
VNIC_API void vnic_connection_update_room(struct vnic_connection *connection);
/**
 * End it at once, with a reset (RFC 9293 section 3.10.5). VNIC_CONNECTION_CLOSED is called with
 * -ECONNABORTED before this returns.
 */
VNIC_API void vnic_connection_abort(struct vnic_connection *connection);

/** The two ends of a connection. */
VNIC_API const struct vnic_flow *vnic_connection_flow(const struct vnic_connection *connection);
VNIC_API struct vnic_stack *vnic_connection_stack(const struct vnic_connection *connection);

/** What a connection knows of itself. Counts begin with it. */
struct vnic_connection_info {
	const char *state; /**< of RFC 9293 section 3.3.2: "ESTABLISHED" */
	/** When it began, with the first SYN (or the ACK with a SYN cookie), by the stack's clock */
	uint64_t opened_ns;
	uint64_t sent_bytes; /**< of payload, without what was sent again */
	uint64_t acked_bytes;
	uint64_t received_bytes; /**< in order */
	uint64_t retransmitted_bytes;
	uint64_t retransmitted_segments;
	uint64_t sent_segments; /**< with all that carry no payload; a super-segment is one */
	uint64_t received_segments;
	uint64_t timeouts; /**< of retransmission (RFC 6298) */
	uint64_t rtt_ns;   /**< smoothed; 0: none measured yet */
	uint64_t rtt_variation_ns;
	uint64_t rtt_least_ns;
	uint64_t rto_ns;
	uint32_t congestion_window_bytes;
	uint32_t slow_start_threshold_bytes; /**< UINT32_MAX: none yet */
	uint32_t send_window_bytes;          /**< what the other end offers */
	uint32_t receive_window_bytes;       /**< what we offer */
	uint32_t in_flight_bytes;
	uint32_t out_of_order_bytes; /**< received, and waiting for what is missing */
	uint16_t segment_bytes;      /**< the most payload in a segment */
	bool has_sack, has_timestamps, has_window_scale, has_ecn;
};
VNIC_API void vnic_connection_query(const struct vnic_connection *connection,
				    struct vnic_connection_info *info);

#ifdef __cplusplus
}
#endif
#endif
