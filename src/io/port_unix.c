/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. `unix:PATH` connects to a SOCK_SEQPACKET socket in the file system, and
 * `unix-listen:PATH` is one: a message is a packet (seqpacket.c). A peer may come, go and come back;
 * meanwhile packets are dropped and counted.
 *
 * Connecting happens while the wire runs, so that the first time takes no more privileges than the
 * tenth. It is tried again after a while that doubles each time. That it fails is told once, and
 * again when the reason is another.
 *
 * The listener has one peer at a time. The next waits in the kernel's queue until this one is gone,
 * so a peer that comes back before its end was noticed is not turned away.
 *
 * A socket that was left in the file system by somebody who died refuses connections: that one is
 * removed. One that takes them belongs to somebody, and what is no socket is none of our business:
 * both are errors. At close the file is removed if it is still the one that was made here. Who may
 * connect is what the umask leaves of its permissions, as with any file.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/error.h"
#include "io/backoff.h"
#include "io/port.h"
#include "io/seqpacket.h"
#include "io/wait.h"

struct unix_port {
	struct sockaddr_un address;
	struct vn_seqpacket link;
	bool is_listener;
	int listener;  /* unix-listen: -1: not yet */
	bool is_bound; /* the file is device and inode */
	dev_t device;
	ino_t inode;
	uint64_t deadline_ns; /* connect, or accept again; 0: at any time */
	uint64_t connected_ns;
	struct vn_backoff backoff;
	int told; /* why connecting fails, that was told; 0: nothing */
};

/* Opening. */

static struct unix_port *allocate(struct vnic_port *port, const char *path,
				  struct vnic_error *error, int *code)
{
	struct unix_port *state;

	if (!*path || strlen(path) >= sizeof(state->address.sun_path)) {
		*code = vn_error(error, -EINVAL, VNIC_CAUSE_ARGUMENT,
				 "'%s': a path of 1 to %zu bytes follows the colon",
				 port->specification, sizeof(state->address.sun_path) - 1);
		return NULL;
	}
	state = calloc(1, sizeof(*state));
	if (!state) {
		*code = vn_error(error, -ENOMEM, VNIC_CAUSE_MEMORY, "no memory for a port");
		return NULL;
	}
	*state = (struct unix_port){
		.address.sun_family = AF_UNIX,
		.link = VN_SEQPACKET_INITIAL,
		.listener = -1,
	};
	memcpy(state->address.sun_path, path, strlen(path));
	port->state = state;
	return state;
}

static int open_socket(const struct unix_port *state, struct vnic_error *error)
{
	int descriptor = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int code = -errno;

	if (descriptor >= 0)
		return descriptor;
	return vn_error_system(error, code,
			       code == -EMFILE || code == -ENFILE ? VNIC_CAUSE_LIMIT
								  : VNIC_CAUSE_SYSTEM,
			       "cannot make a socket for '%s'", state->address.sun_path);
}

/* Returns a descriptor or a negative errno. */
static int try_to_connect(const struct unix_port *state)
{
	int descriptor = open_socket(state, NULL);
	int code;

	if (descriptor < 0)
		return descriptor;
	if (connect(descriptor, (const struct sockaddr *)&state->address, sizeof(state->address)) ==
	    0)
		return descriptor;
	code = -errno;
	close(descriptor);
	return code;
}

static int open_unix(struct vnic_port *port, const char *rest, struct vnic_error *error)
{
	int code = 0;

	allocate(port, rest, error, &code);
	return code;
}

/* Make way for a new socket, if nobody needs what is there. */
static int remove_stale(const struct unix_port *state, struct vnic_error *error)
{
	const char *path = state->address.sun_path;
	struct stat status;
	int code;

	if (lstat(path, &status) < 0)
		return 0; /* if that is a problem, bind(2) tells it */
	if (!S_ISSOCK(status.st_mode))
		return vn_error(error, -EEXIST, VNIC_CAUSE_FILE, "'%s' exists and is no socket",
				path);
	code = try_to_connect(state);
	if (code == -ENOENT)
		return 0;
	if (code == -EMFILE || code == -ENFILE)
		return vn_error_system(error, code, VNIC_CAUSE_LIMIT, "cannot make a socket");
	if (code != -ECONNREFUSED) { /* also a socket of another type, or one with a full queue */
		if (code >= 0)
			close(code);
		return vn_error(error, code == -EACCES ? -EACCES : -EADDRINUSE, VNIC_CAUSE_FILE,
				code == -EACCES ? "'%s' exists, and may not be connected to"
						: "somebody listens at '%s' already",
				path);
	}
	if (unlink(path) < 0 && errno != ENOENT)
		return vn_error_system(error, -errno, VNIC_CAUSE_FILE, "cannot remove '%s'", path);
	return 0;
}

static int open_listener(struct vnic_port *port, const char *rest, struct vnic_error *error)
{
	struct stat status;
	int code = 0;
	struct unix_port *state = allocate(port, rest, error, &code);

	if (!state)
		return code;
	state->is_listener = true;
	code = remove_stale(state, error);
	if (code < 0)
		return code;
	state->listener = open_socket(state, error);
	if (state->listener < 0)
		return state->listener;
	if (bind(state->listener, (const struct sockaddr *)&state->address,
		 sizeof(state->address)) < 0)
		return vn_error_system(error, -errno, VNIC_CAUSE_FILE,
				       "cannot make the socket '%s'", rest);
	if (lstat(rest, &status) == 0) {
		state->is_bound = true;
		state->device = status.st_dev;
		state->inode = status.st_ino;
	}
	if (listen(state->listener, 0) < 0)
		return vn_error_system(error, -errno, VNIC_CAUSE_SYSTEM, "cannot listen at '%s'",
				       rest);
	return 0;
}

static void close_unix(struct vnic_port *port)
{
	struct unix_port *state = port->state;
	struct stat status;

	if (!state)
		return;
	vn_seqpacket_end(&state->link);
	if (state->is_bound && lstat(state->address.sun_path, &status) == 0 &&
	    status.st_dev == state->device && status.st_ino == state->inode)
		(void)unlink(state->address.sun_path);
	if (state->listener >= 0)
		close(state->listener);
	free(state);
}

/* Peers. */

static void take_peer(struct vnic_port *port, int descriptor)
{
	struct unix_port *state = port->state;
	struct ucred peer = {0};
	socklen_t length = sizeof(peer);

	vn_seqpacket_begin(&state->link, descriptor);
	state->told = 0;
	state->deadline_ns = 0;
	state->connected_ns = vn_now_ns();
	if (getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 && peer.pid > 0)
		vn_port_tell(port, VNIC_PORT_CONNECTED, "process %d is connected at '%s'",
			     (int)peer.pid, state->address.sun_path);
	else
		vn_port_tell(port, VNIC_PORT_CONNECTED, "somebody is connected at '%s'",
			     state->address.sun_path);
}

static void lose_peer(struct vnic_port *port)
{
	struct unix_port *state = port->state;
	uint64_t now_ns = vn_now_ns();

	vn_seqpacket_end(&state->link);
	if (now_ns - state->connected_ns > VN_BACKOFF_MOST_NS)
		vn_backoff_reset(&state->backoff);
	if (!state->is_listener) {
		state->deadline_ns = now_ns + vn_backoff_next(&state->backoff);
		port->deadline_changed = true;
	}
	vn_port_tell(port, VNIC_PORT_DISCONNECTED, "the peer at '%s' is gone",
		     state->address.sun_path);
}

static uint64_t advance(struct vnic_port *port, uint64_t now_ns)
{
	struct unix_port *state = port->state;
	struct vnic_error why;
	int code;

	if (state->link.descriptor >= 0)
		return VN_PORT_NEVER;
	if (now_ns < state->deadline_ns)
		return state->deadline_ns;
	state->deadline_ns = 0;
	if (state->is_listener)
		return VN_PORT_NEVER;
	code = try_to_connect(state);
	if (code >= 0) {
		take_peer(port, code);
		return VN_PORT_NEVER;
	}
	if (code != state->told) {
		vn_error_system(&why, code, VNIC_CAUSE_SYSTEM, "cannot connect to '%s'",
				state->address.sun_path);
		vn_port_tell(port, VNIC_PORT_DISCONNECTED, "%s; it is tried again", why.text);
	}
	state->told = code;
	state->deadline_ns = now_ns + vn_backoff_next(&state->backoff);
	return state->deadline_ns;
}

static int ready(struct vnic_port *port, unsigned queue, const struct pollfd *descriptors,
		 unsigned count)
{
	struct unix_port *state = port->state;
	int descriptor;

	(void)queue;
	for (unsigned i = 0; i < count; i++) {
		if (!descriptors[i].revents || descriptors[i].fd != state->listener)
			continue;
		descriptor = accept4(state->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (descriptor >= 0)
			take_peer(port, descriptor);
		else if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
			/* Out of descriptors, say: the peer goes on waiting, and so do we. */
			state->deadline_ns = vn_now_ns() + VN_BACKOFF_LEAST_NS;
	}
	return 0;
}

/* Packets. */

static int receive(struct vnic_port *port, unsigned queue, struct vnic_packet *packets,
		   unsigned count)
{
	struct unix_port *state = port->state;
	int got = vn_seqpacket_receive(port, &state->link, packets, count);

	(void)queue;
	if (got != -EPIPE)
		return got;
	lose_peer(port);
	return -EAGAIN;
}

static int send_packets(struct vnic_port *port, unsigned queue, const struct vnic_packet *packets,
			unsigned count)
{
	struct unix_port *state = port->state;

	(void)queue;
	return vn_seqpacket_send(port, &state->link, packets, count);
}

static unsigned room(struct vnic_port *port, unsigned queue)
{
	struct unix_port *state = port->state;

	(void)queue;
	return vn_seqpacket_room(&state->link);
}

static unsigned poll_unix(struct vnic_port *port, unsigned queue, bool want_room,
			  struct pollfd *descriptors)
{
	struct unix_port *state = port->state;

	(void)queue;
	if (state->link.descriptor >= 0 || !state->is_listener)
		return vn_seqpacket_poll(&state->link, want_room, descriptors);
	if (state->deadline_ns)
		return 0;
	descriptors[0].fd = state->listener;
	descriptors[0].events = POLLIN;
	return 1;
}

const struct vn_port_kind vn_port_unix = {
	.name = "unix",
	.open = open_unix,
	.close = close_unix,
	.receive = receive,
	.send = send_packets,
	.room = room,
	.poll = poll_unix,
	.ready = ready,
	.advance = advance,
};

const struct vn_port_kind vn_port_unix_listen = {
	.name = "unix-listen",
	.open = open_listener,
	.close = close_unix,
	.receive = receive,
	.send = send_packets,
	.room = room,
	.poll = poll_unix,
	.ready = ready,
	.advance = advance,
};
