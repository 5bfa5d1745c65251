/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Sockets of a stack: TCP connections (vnic/connection.h) with buffers, to be read and written.
 *
 * Nothing blocks: a call that would have to wait returns -EAGAIN, and the ready callback says when
 * it is worth another try. All calls are for the thread that the stack belongs to, from within the
 * callback too.
 *
 * A socket is its owner's until vnic_socket_close(), whatever becomes of its connection. Listening
 * sockets must be closed before vnic_stack_free(). It ends all connections: sockets with one fail
 * with -ECONNABORTED, and are still to be closed, then or in the callback; those that were closed
 * before and still had something to send are freed.
 */
#ifndef VNIC_SOCKET_H
#define VNIC_SOCKET_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <vnic/connection.h>
#include <vnic/error.h>
#include <vnic/stack.h>

#ifdef __cplusplus
extern "C" {
#endif

struct vnic_socket;

/** What a socket is ready for, as bits. */
enum vnic_socket_ready {
	VNIC_SOCKET_READABLE = 1,   /**< bytes, the end, or an error can be read */
	VNIC_SOCKET_WRITABLE = 2,   /**< there is room to write, or an error to be told */
	VNIC_SOCKET_ACCEPTABLE = 4, /**< of a listening socket: vnic_socket_accept() has one */
	VNIC_SOCKET_FAILED = 8      /**< it has failed: vnic_socket_error() says why */
};

/** How to make a socket. Zero stands for the default. */
struct vnic_socket_options {
	/**
	 * Of memory for what is received; default 256 KiB. A power of 2, 4 KiB to 64 MiB. It is
	 * taken as it is needed: a socket without payload takes none
	 */
	uint32_t receive_bytes;
	/** Of memory for what is not acknowledged; likewise */
	uint32_t send_bytes;
	/** Of connections that wait to be accepted, default 128; more are reset */
	unsigned backlog;
	/** How its connections behave; window_bytes is receive_bytes */
	struct vnic_connection_options connection;
	/**
	 * Something became possible that was not (edges: read or write until -EAGAIN). Readable is
	 * told again after all was read, writable after something could not be written and a
	 * quarter of the memory is free again, acceptable for each connection. Accepted sockets
	 * begin with that of their listener. The socket may be closed here. NULL is allowed.
	 * @param ready  enum vnic_socket_ready, or-ed
	 */
	void (*ready)(struct vnic_socket *socket, void *user, unsigned ready);
	void *user;
};

/**
 * Connect; VNIC_SOCKET_WRITABLE or VNIC_SOCKET_FAILED follows.
 * @param flow  as for vnic_connection_open()
 * @return as vnic_connection_open(), and -EINVAL (ARGUMENT): sizes out of range
 */
VNIC_API int vnic_socket_connect(struct vnic_stack *stack, const struct vnic_flow *flow,
				 const struct vnic_socket_options *options,
				 struct vnic_socket **socket, struct vnic_error *error);
/**
 * Listen.
 * @param address  NULL: any that the stack answers for
 * @param port     0: every port that nobody else listens to
 * @return as vnic_listener_open(), and -EINVAL (ARGUMENT): sizes out of range
 */
VNIC_API int vnic_socket_listen(struct vnic_stack *stack, const struct vnic_address *address,
				uint16_t port, const struct vnic_socket_options *options,
				struct vnic_socket **socket, struct vnic_error *error);
/**
 * Take a connection from a listening socket. Something may have come in already, or it may have
 * failed already, and the callback tells only what happens from now on: read it at once.
 * @return 0, -EAGAIN: none waits, -EINVAL: not listening
 */
VNIC_API int vnic_socket_accept(struct vnic_socket *listening, struct vnic_socket **socket);

/**
 * Read what has come in.
 * @return bytes; 0: the other end sends no more; -EAGAIN: nothing is there; another negative errno
 *         once all that came was read: as VNIC_CONNECTION_CLOSED tells it; -ENOTCONN: it listens
 */
VNIC_API ssize_t vnic_socket_read(struct vnic_socket *socket, void *bytes, size_t length_bytes);
/**
 * Look at what has come in, where it lies; vnic_socket_consume() then takes it.
 * @param bytes  set to memory that is good until the next call for this socket or its stack
 * @return as vnic_socket_read(); more may stand elsewhere, and be found when this was consumed
 */
VNIC_API ssize_t vnic_socket_peek(struct vnic_socket *socket, const uint8_t **bytes);
/** Take bytes that vnic_socket_peek() showed, or some of them. */
VNIC_API void vnic_socket_consume(struct vnic_socket *socket, size_t length_bytes);
/**
 * Write. The bytes are copied. Before the connection is established, too.
 * @return how many, perhaps fewer than length_bytes; -EAGAIN: there is no room; -EPIPE: it was
 *         shut down; -ENOTCONN: it listens; -ENOMEM: nothing was written, for want of memory;
 *         another negative errno: it has failed
 */
VNIC_API ssize_t vnic_socket_write(struct vnic_socket *socket, const void *bytes,
				   size_t length_bytes);
/** How many bytes could be written now; 0 as well where none can be any more. */
VNIC_API size_t vnic_socket_writable_bytes(const struct vnic_socket *socket);
/** Send no more: FIN behind what was written. Reading goes on. */
VNIC_API void vnic_socket_shutdown(struct vnic_socket *socket);
/**
 * Give a socket up; the callback is not called any more. What was written is still sent, as
 * close(2) does; where bytes were not read, or come later, the connection is reset (RFC 1122
 * section 4.2.2.13). One that is not established, and to which nothing was written, is given up.
 * Of a listening socket the connections that wait to be accepted are reset, those that were
 * accepted stay. NULL is allowed.
 */
VNIC_API void vnic_socket_close(struct vnic_socket *socket);
/** The same, but reset it, whatever is still to be sent. */
VNIC_API void vnic_socket_abort(struct vnic_socket *socket);

/** Have another function called. */
VNIC_API void vnic_socket_set_ready(struct vnic_socket *socket,
				    void (*ready)(struct vnic_socket *socket, void *user,
						  unsigned ready),
				    void *user);
VNIC_API void *vnic_socket_user(const struct vnic_socket *socket);
/** Why it failed: a negative errno as of VNIC_CONNECTION_CLOSED; 0: it did not. */
VNIC_API int vnic_socket_error(const struct vnic_socket *socket);
/** Its connection, for vnic_connection_query() and _flow(); NULL: it listens, or has ended. */
VNIC_API struct vnic_connection *vnic_socket_connection(const struct vnic_socket *socket);

#ifdef __cplusplus
}
#endif
#endif
