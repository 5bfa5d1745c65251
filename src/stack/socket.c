/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A socket is the user of a connection (vnic/connection.h, of which it uses nothing but what everybody can) and
 * keeps its payload in two rings: what was received and not read, and what was written and not
 * acknowledged. The first ring's room is the window; the second is what the connection reads from, at
 * whatever offset it must send again.
 *
 * A socket belongs to its owner until vnic_socket_close(). From then on, as long as the connection
 * has something to do, it belongs to the connection, and is freed by VNIC_CONNECTION_CLOSED, which
 * vnic_stack_free() sees to at the latest. So the functions below that call the owner do nothing with the
 * socket afterwards: it may be gone.
 *
 * Accepted sockets wait in a list of the listening one, and are silent until they are taken from it:
 * nobody knows them before.
 *
 * What a socket is ready for is told once, when it begins to be so, and again after the owner has found
 * it to be over: readable, after everything was read; writable, after not all could be written. As
 * a small gap is not worth a call, a full ring is told to be writable when a quarter of it is free.
 */
#include <vnic/socket.h>

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/error.h"
#include "stack/ring.h"

#define BUFFER_BYTES (256u << 10)
#define BUFFER_MOST_BYTES (64u << 20)
#define BACKLOG 128
/* A full ring is writable again with this part of it free. */
#define WRITABLE_PART 4

/* What only a listening socket has. */
struct listening {
	struct vnic_listener *listener;
	struct vnic_connection_options connection;
	struct vnic_socket *first, *last; /* that wait to be accepted */
	unsigned count;
	unsigned backlog;
	uint32_t receive_bytes, send_bytes;
};

struct vnic_socket {
	struct vnic_connection *connection; /* NULL: it listens, or has ended */
	struct listening *listening;        /* NULL: it does not */
	struct vnic_socket *queue;          /* listening socket, of one that waits to be accepted */
	struct vnic_socket *next;           /* that waits with it */
	void (*ready)(struct vnic_socket *socket, void *user, unsigned ready);
	void *user;
	struct vn_ring received, sent;
	uint64_t acked;    /* offset of the first byte in sent */
	int error;         /* why it ended; 0: it did not, or in order */
	bool is_finished;  /* the other end sends no more */
	bool is_shut_down; /* we send no more */
	bool is_established;
	bool is_handed_over;     /* to the connection: the owner has closed it */
	bool is_readable_told;   /* and it has been since */
	bool is_writable_wanted; /* not all could be written */
};

static void free_socket(struct vnic_socket *socket)
{
	vn_ring_done(&socket->received);
	vn_ring_done(&socket->sent);
	free(socket->listening);
	free(socket);
}

/* The owner may close the socket meanwhile: nothing may be done with it afterwards. */
static void tell(struct vnic_socket *socket, unsigned ready)
{
	if (socket->ready && !socket->is_handed_over && !socket->queue)
		socket->ready(socket, socket->user, ready);
}

static void tell_readable(struct vnic_socket *socket)
{
	if (socket->is_readable_told)
		return;
	/* While it waits to be accepted there is nobody to be told, and afterwards nobody who was. */
	socket->is_readable_told = !socket->queue;
	tell(socket, VNIC_SOCKET_READABLE);
}

static size_t on_read(struct vnic_connection *connection, void *user, uint64_t offset,
		      uint8_t *bytes, size_t length_bytes)
{
	const struct vnic_socket *socket = user;

	(void)connection;
	return vn_ring_copy(&socket->sent, offset - socket->acked, bytes, length_bytes);
}

static void on_acked(struct vnic_connection *connection, void *user, uint64_t offset)
{
	struct vnic_socket *socket = user;

	(void)connection;
	vn_ring_drop(&socket->sent, offset - socket->acked);
	socket->acked = offset;
	if (!socket->is_writable_wanted ||
	    vn_ring_free_bytes(&socket->sent) < socket->sent.most_bytes / WRITABLE_PART)
		return;
	socket->is_writable_wanted = false;
	tell(socket, VNIC_SOCKET_WRITABLE);
}

static size_t on_receive(struct vnic_connection *connection, void *user, const uint8_t *bytes,
			 size_t length_bytes)
{
	struct vnic_socket *socket = user;
	size_t taken = vn_ring_put(&socket->received, bytes, length_bytes);

	(void)connection;
	if (taken > 0)
		tell_readable(socket);
	return taken;
}

static size_t on_room(struct vnic_connection *connection, void *user)
{
	const struct vnic_socket *socket = user;

	(void)connection;
	return vn_ring_free_bytes(&socket->received);
}

static void on_closed(struct vnic_socket *socket, int code)
{
	socket->connection = NULL;
	socket->error = code;
	vn_ring_done(&socket->sent);
	if (socket->is_handed_over)
		free_socket(socket);
	else if (code < 0)
		tell(socket, VNIC_SOCKET_READABLE | VNIC_SOCKET_WRITABLE | VNIC_SOCKET_FAILED);
}

static void on_event(struct vnic_connection *connection, void *user,
		     enum vnic_connection_event event, int code)
{
	struct vnic_socket *socket = user;

	(void)connection;
	switch (event) {
	case VNIC_CONNECTION_ESTABLISHED:
		socket->is_established = true;
		if (socket->queue)
			tell(socket->queue, VNIC_SOCKET_ACCEPTABLE);
		else
			tell(socket, VNIC_SOCKET_WRITABLE);
		break;
	case VNIC_CONNECTION_FINISHED:
		socket->is_finished = true;
		/* Even where bytes are unread: the end is news. */
		socket->is_readable_told = false;
		tell_readable(socket);
		break;
	case VNIC_CONNECTION_CLOSED:
		on_closed(socket, code);
		break;
	}
}

static const struct vnic_connection_operations operations = {
	.read = on_read,
	.acked = on_acked,
	.receive = on_receive,
	.room = on_room,
	.event = on_event,
};

static struct vnic_socket *new_socket(uint32_t receive_bytes, uint32_t send_bytes)
{
	struct vnic_socket *socket = calloc(1, sizeof(*socket));

	if (!socket)
		return NULL;
	vn_ring_init(&socket->received, receive_bytes);
	vn_ring_init(&socket->sent, send_bytes);
	return socket;
}

static bool is_size(uint32_t bytes)
{
	return bytes >= VN_RING_LEAST_BYTES && bytes <= BUFFER_MOST_BYTES &&
	       (bytes & (bytes - 1)) == 0;
}

/* Options with every default filled in. */
static int take_options(const struct vnic_socket_options *options,
			struct vnic_socket_options *taken, struct vnic_error *error)
{
	*taken = (struct vnic_socket_options){0};
	if (options)
		*taken = *options;
	if (taken->receive_bytes == 0)
		taken->receive_bytes = BUFFER_BYTES;
	if (taken->send_bytes == 0)
		taken->send_bytes = BUFFER_BYTES;
	if (taken->backlog == 0)
		taken->backlog = BACKLOG;
	taken->connection.window_bytes = taken->receive_bytes;
	if (!is_size(taken->receive_bytes) || !is_size(taken->send_bytes))
		return vn_error(
			error, -EINVAL, VNIC_CAUSE_ARGUMENT,
			"a socket's buffers (%u and %u bytes) are powers of 2 from 4 KiB to 64 MiB",
			taken->receive_bytes, taken->send_bytes);
	return 0;
}

int vnic_socket_connect(struct vnic_stack *stack, const struct vnic_flow *flow,
			const struct vnic_socket_options *options, struct vnic_socket **socket,
			struct vnic_error *error)
{
	struct vnic_socket_options taken;
	struct vnic_socket *made;
	int code = take_options(options, &taken, error);

	if (code < 0)
		return code;
	made = new_socket(taken.receive_bytes, taken.send_bytes);
	if (!made)
		return vn_error(error, -ENOMEM, VNIC_CAUSE_MEMORY, "no memory for a socket");
	made->ready = taken.ready;
	made->user = taken.user;
	code = vnic_connection_open(stack, flow, &taken.connection, &operations, made,
				    &made->connection, error);
	if (code < 0) {
		free_socket(made);
		return code;
	}
	*socket = made;
	return 0;
}

static int on_accept(void *user, struct vnic_connection *connection)
{
	struct vnic_socket *socket = user, *made;
	struct listening *listening = socket->listening;

	if (listening->count >= listening->backlog)
		return -ENOBUFS;
	made = new_socket(listening->receive_bytes, listening->send_bytes);
	if (!made)
		return -ENOMEM;
	made->connection = connection;
	made->queue = socket;
	if (listening->last)
		listening->last->next = made;
	else
		listening->first = made;
	listening->last = made;
	listening->count++;
	vnic_connection_set_user(connection, &operations, made);
	return 0;
}

int vnic_socket_listen(struct vnic_stack *stack, const struct vnic_address *address, uint16_t port,
		       const struct vnic_socket_options *options, struct vnic_socket **socket,
		       struct vnic_error *error)
{
	struct vnic_listener_options where = {
		.port = port, .any_port = port == 0, .accept = on_accept};
	struct vnic_socket_options taken;
	struct vnic_socket *made;
	int code = take_options(options, &taken, error);

	if (code < 0)
		return code;
	made = new_socket(taken.receive_bytes, taken.send_bytes);
	if (made)
		made->listening = calloc(1, sizeof(*made->listening));
	if (!made || !made->listening) {
		free(made);
		return vn_error(error, -ENOMEM, VNIC_CAUSE_MEMORY, "no memory for a socket");
	}
	made->ready = taken.ready;
	made->user = taken.user;
	made->listening->backlog = taken.backlog;
	made->listening->receive_bytes = taken.receive_bytes;
	made->listening->send_bytes = taken.send_bytes;
	if (address)
		where.address = *address;
	where.connection = taken.connection;
	where.user = made;
	code = vnic_listener_open(stack, &where, &made->listening->listener, error);
	if (code < 0) {
		free_socket(made);
		return code;
	}
	*socket = made;
	return 0;
}

/* The first that waits, out of the list; NULL: none. */
static struct vnic_socket *take_waiting(struct listening *listening)
{
	struct vnic_socket *socket = listening->first;

	if (!socket)
		return NULL;
	listening->first = socket->next;
	if (!listening->first)
		listening->last = NULL;
	listening->count--;
	socket->next = NULL;
	socket->queue = NULL;
	return socket;
}

int vnic_socket_accept(struct vnic_socket *listening, struct vnic_socket **socket)
{
	struct vnic_socket *taken;

	if (!listening->listening)
		return -EINVAL;
	taken = take_waiting(listening->listening);
	if (!taken)
		return -EAGAIN;
	taken->ready = listening->ready;
	taken->user = listening->user;
	*socket = taken;
	return 0;
}

/* What reading returns when nothing is there to be read. */
static ssize_t nothing_to_read(struct vnic_socket *socket)
{
	if (socket->listening)
		return -ENOTCONN;
	if (socket->is_finished)
		return 0;
	if (!socket->connection)
		return socket->error;
	socket->is_readable_told = false;
	return -EAGAIN;
}

ssize_t vnic_socket_peek(struct vnic_socket *socket, const uint8_t **bytes)
{
	size_t length = vn_ring_peek(&socket->received, bytes);

	return length > 0 ? (ssize_t)length : nothing_to_read(socket);
}

void vnic_socket_consume(struct vnic_socket *socket, size_t length_bytes)
{
	if (length_bytes > socket->received.used_bytes)
		length_bytes = socket->received.used_bytes;
	if (length_bytes == 0)
		return;
	vn_ring_drop(&socket->received, length_bytes);
	if (socket->received.used_bytes == 0)
		socket->is_readable_told = false;
	if (socket->connection)
		vnic_connection_update_room(socket->connection);
}

ssize_t vnic_socket_read(struct vnic_socket *socket, void *bytes, size_t length_bytes)
{
	size_t length;

	if (socket->received.used_bytes == 0)
		return nothing_to_read(socket);
	length = vn_ring_copy(&socket->received, 0, bytes, length_bytes);
	vnic_socket_consume(socket, length);
	return (ssize_t)length;
}

ssize_t vnic_socket_write(struct vnic_socket *socket, const void *bytes, size_t length_bytes)
{
	size_t length;

	if (socket->listening)
		return -ENOTCONN;
	if (socket->error < 0)
		return socket->error;
	if (socket->is_shut_down || !socket->connection)
		return -EPIPE;
	length = vn_ring_put(&socket->sent, bytes, length_bytes);
	if (length > 0)
		vnic_connection_offer(socket->connection, socket->acked + socket->sent.used_bytes);
	if (length == length_bytes)
		return (ssize_t)length;
	if (length == 0 && vn_ring_free_bytes(&socket->sent) > 0)
		return -ENOMEM; /* the ring would have grown: no acknowledgment makes room */
	socket->is_writable_wanted = true;
	return length > 0 ? (ssize_t)length : -EAGAIN;
}

size_t vnic_socket_writable_bytes(const struct vnic_socket *socket)
{
	return socket->connection && !socket->is_shut_down ? vn_ring_free_bytes(&socket->sent) : 0;
}

void vnic_socket_shutdown(struct vnic_socket *socket)
{
	if (!socket->connection || socket->is_shut_down)
		return;
	socket->is_shut_down = true;
	vnic_connection_finish(socket->connection);
}

/* Nobody knows the socket any more but its connection, whose end frees it. */
static void hand_over(struct vnic_socket *socket, bool abort)
{
	struct vnic_connection *connection = socket->connection;

	if (!connection) {
		free_socket(socket);
		return;
	}
	socket->is_handed_over = true;
	if (socket->received.used_bytes > 0)
		abort = true; /* the other end shall not believe that it was read */
	if (!socket->is_established && socket->sent.used_bytes == 0)
		abort = true; /* nothing that is worth a handshake */
	vn_ring_done(&socket->received);
	if (abort)
		vnic_connection_abort(connection);
	else
		vnic_connection_close(connection);
}

static void close_listening(struct vnic_socket *socket)
{
	struct vnic_socket *waiting;

	vnic_listener_close(socket->listening->listener);
	while ((waiting = take_waiting(socket->listening)) != NULL)
		hand_over(waiting, true);
	free_socket(socket);
}

static void close_or_abort(struct vnic_socket *socket, bool abort)
{
	if (!socket)
		return;
	if (socket->listening)
		close_listening(socket);
	else
		hand_over(socket, abort);
}

void vnic_socket_close(struct vnic_socket *socket)
{
	close_or_abort(socket, false);
}

void vnic_socket_abort(struct vnic_socket *socket)
{
	close_or_abort(socket, true);
}

void vnic_socket_set_ready(struct vnic_socket *socket,
			   void (*ready)(struct vnic_socket *socket, void *user, unsigned ready),
			   void *user)
{
	socket->ready = ready;
	socket->user = user;
}

void *vnic_socket_user(const struct vnic_socket *socket)
{
	return socket->user;
}

int vnic_socket_error(const struct vnic_socket *socket)
{
	return socket->error;
}

struct vnic_connection *vnic_socket_connection(const struct vnic_socket *socket)
{
	return socket->connection;
}
