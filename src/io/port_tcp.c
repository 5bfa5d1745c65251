/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. `tcp:` and `tcp-listen:` carry packets over one TCP connection, each behind
 * its length (frame.c): what the TUN/TAP tutorial's simpletun speaks. Without a connection, and
 * while it waits for one, packets towards it are dropped as NO_PEER. The wire goes on whatever
 * becomes of it.
 *
 *     IDLE        tcp: waits for the next try's time (advance); tcp-listen: for a caller (ready)
 *     CONNECTING  tcp only: until the kernel tells how it ended (ready), or for too long (advance)
 *     CONNECTED   until the peer closes it, it breaks, or it carries what makes no sense (receive)
 *
 * Only receive ends a connection that was there: packets that came before its end are still handed
 * on. Send only notes that it is broken. The time between two tries is that of backoff.h, and
 * begins anew after a connection that lasted. A listener has one peer, and closes what others open
 * meanwhile at once: the newest one in its stead would let any stranger throw the peer out. A peer
 * that vanished without a word is found out by TCP's keepalive, after half a minute.
 *
 * Out: frames stand in one buffer, super-packets cut right into it, and are written by one call for
 * each burst. What the kernel does not take stays there, up to its size; then the newest packets
 * are dropped whole (FULL). A packet counts as sent when the kernel has its last byte, so whatever
 * is in the buffer when the connection ends counts as dropped.
 *
 * In: a large buffer is read, and packets point into it. Only the beginning of one that has not
 * come as a whole is moved, to the front of the buffer, before the next read.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <vnic/segment.h>

#include "base/bytes.h"
#include "base/error.h"
#include "base/memory.h"
#include "io/backoff.h"
#include "io/endpoint.h"
#include "io/frame.h"
#include "io/port.h"
#include "io/wait.h"

#define IN_BYTES (256 << 10)
#define OUT_BYTES (512 << 10)
#define FRAME_MOST_BYTES (VN_FRAME_LENGTH_BYTES + VN_FRAME_MOST_BYTES)
/* One that lasted shorter counts as a failed try. */
#define LASTING_NS UINT64_C(1000000000)
#define CONNECT_NS UINT64_C(10000000000)
#define ACCEPT_AGAIN_NS UINT64_C(1000000000)
#define ACCEPTS_MOST 16
#define RECEIVE_TRIES 4
/* In seconds: after how much silence to ask, how often again, and how many times. */
#define KEEPALIVE_IDLE 10
#define KEEPALIVE_INTERVAL 5
#define KEEPALIVE_COUNT 4
#define UNACKNOWLEDGED_MS 30000
/* What the kernel may hold and has not sent: more would only make packets late. */
#define UNSENT_BYTES (512 << 10)

enum phase {
	PHASE_IDLE,
	PHASE_CONNECTING,
	PHASE_CONNECTED
};

struct tcp_port {
	int listener; /* -1: tcp: */
	int socket;   /* -1: PHASE_IDLE */
	enum phase phase;
	int broken;   /* the errno of a send that failed; 0: none */
	bool is_told; /* that there is no peer */
	struct vn_endpoint endpoints[VN_ENDPOINTS], peer;
	unsigned endpoint_count, next_endpoint;
	uint64_t since_ns; /* when it began to connect, or was connected */
	uint64_t retry_ns; /* when to connect, or to accept, again */
	struct vn_backoff backoff;
	bool is_resting; /* the listener may accept no more for now */
	uint8_t *in, *out;
	uint32_t in_begin, in_end;
	uint32_t out_frame; /* the first frame that is not completely written, */
	uint32_t out_begin; /* the first byte that is not, */
	uint32_t out_end;   /* and the end of all */
};

/* Without a peer. */

static void tell_absence(struct vnic_port *port, const char *why)
{
	struct tcp_port *state = port->state;
	char text[VN_ENDPOINT_TEXT_BYTES];

	if (state->is_told)
		return;
	state->is_told = true;
	vn_port_tell(port, VNIC_PORT_DISCONNECTED, "%s '%s': %s%s",
		     state->phase == PHASE_CONNECTED ? "lost" : "cannot reach",
		     vn_endpoint_format(&state->peer, text), why,
		     state->listener < 0 ? ": it is tried again" : "");
}

static void drop_unsent(struct vnic_port *port)
{
	struct tcp_port *state = port->state;
	uint64_t packets = 0;

	for (; state->out_frame < state->out_end; packets++)
		state->out_frame +=
			VN_FRAME_LENGTH_BYTES + (uint32_t)vn_load16(state->out + state->out_frame);
	vn_port_count(port, 0, VNIC_PORT_DROP_NO_PEER, packets);
	state->out_frame = 0;
	state->out_begin = 0;
	state->out_end = 0;
}

/* The connection, or the attempt, is over. */
static void let_go(struct vnic_port *port, const char *why)
{
	struct tcp_port *state = port->state;
	uint64_t now_ns = vn_now_ns();

	tell_absence(port, why);
	drop_unsent(port);
	if (state->in_begin < state->in_end)
		vn_port_drop_in(port, 0, VNIC_PORT_DROP_TRUNCATED, 1,
				state->in_end - state->in_begin);
	state->in_begin = 0;
	state->in_end = 0;
	close(state->socket);
	state->socket = -1;
	state->broken = 0;
	if (state->phase == PHASE_CONNECTED && now_ns - state->since_ns >= LASTING_NS)
		vn_backoff_reset(&state->backoff);
	/* The next address of the same name is tried at once. */
	state->retry_ns = now_ns;
	if (state->next_endpoint == 0)
		state->retry_ns += vn_backoff_next(&state->backoff);
	state->phase = PHASE_IDLE;
	port->deadline_changed = true;
}

/* Getting a peer. */

static void set(int socket, int level, int option, int value)
{
	/* What is set so makes it faster or ends it earlier; without it we go on. */
	(void)setsockopt(socket, level, option, &value, sizeof(value));
}

static void have_peer(struct vnic_port *port)
{
	struct tcp_port *state = port->state;
	char text[VN_ENDPOINT_TEXT_BYTES];

	set(state->socket, IPPROTO_TCP, TCP_NODELAY, 1);
	set(state->socket, SOL_SOCKET, SO_KEEPALIVE, 1);
	set(state->socket, IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE);
	set(state->socket, IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL);
	set(state->socket, IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_COUNT);
	set(state->socket, IPPROTO_TCP, TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS);
	set(state->socket, IPPROTO_TCP, TCP_NOTSENT_LOWAT, UNSENT_BYTES);
	state->phase = PHASE_CONNECTED;
	state->since_ns = vn_now_ns();
	state->next_endpoint = 0;
	state->is_told = false;
	vn_port_tell(port, VNIC_PORT_CONNECTED, "connected %s '%s'",
		     state->listener < 0 ? "to" : "with", vn_endpoint_format(&state->peer, text));
}

static void begin_to_connect(struct vnic_port *port, uint64_t now_ns)
{
	struct tcp_port *state = port->state;

	state->peer = state->endpoints[state->next_endpoint];
	state->next_endpoint = (state->next_endpoint + 1) % state->endpoint_count;
	state->since_ns = now_ns;
	state->socket = socket(state->peer.address.ss_family,
			       SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (state->socket < 0) {
		tell_absence(port, strerror(errno));
		state->next_endpoint = 0;
		state->retry_ns = now_ns + vn_backoff_next(&state->backoff);
		return;
	}
	state->phase = PHASE_CONNECTING;
	if (connect(state->socket, (struct sockaddr *)&state->peer.address,
		    state->peer.length_bytes) == 0)
		have_peer(port);
	else if (errno != EINPROGRESS)
		let_go(port, strerror(errno));
}

static void end_to_connect(struct vnic_port *port)
{
	struct tcp_port *state = port->state;
	socklen_t length = sizeof(int);
	int code = 0;

	if (getsockopt(state->socket, SOL_SOCKET, SO_ERROR, &code, &length) < 0)
		code = errno;
	if (code == 0)
		have_peer(port);
	else
		let_go(port, strerror(code));
}

static void accept_callers(struct vnic_port *port)
{
	struct tcp_port *state = port->state;

	for (unsigned i = 0; i < ACCEPTS_MOST; i++) {
		struct vn_endpoint caller = {.length_bytes = sizeof(caller.address)};
		int descriptor = accept4(state->listener, (struct sockaddr *)&caller.address,
					 &caller.length_bytes, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (descriptor < 0) {
			if (errno == EAGAIN || errno == EINTR)
				return;
			/* The caller went away meanwhile; otherwise there are no descriptors. */
			if (errno != EMFILE && errno != ENFILE && errno != ENOBUFS &&
			    errno != ENOMEM)
				continue;
			state->is_resting = true;
			state->retry_ns = vn_now_ns() + ACCEPT_AGAIN_NS;
			return;
		}
		/* Bytes of the last peer may still wait to be handed on. */
		if (state->socket >= 0) {
			close(descriptor);
			continue;
		}
		state->socket = descriptor;
		state->peer = caller;
		have_peer(port);
	}
}

static uint64_t advance(struct vnic_port *port, uint64_t now_ns)
{
	struct tcp_port *state = port->state;

	if (state->listener >= 0) {
		if (state->is_resting && now_ns >= state->retry_ns)
			state->is_resting = false;
		return state->is_resting ? state->retry_ns : VN_PORT_NEVER;
	}
	if (state->phase == PHASE_CONNECTING && now_ns - state->since_ns >= CONNECT_NS)
		let_go(port, strerror(ETIMEDOUT));
	if (state->phase == PHASE_IDLE && now_ns >= state->retry_ns)
		begin_to_connect(port, now_ns);
	switch (state->phase) {
	case PHASE_IDLE:
		return state->retry_ns;
	case PHASE_CONNECTING:
		return state->since_ns + CONNECT_NS;
	default:
		return VN_PORT_NEVER;
	}
}

/* Sending. */

/* Frames of which the last byte is written by now were sent. */
static void count_written(struct vnic_port *port)
{
	struct tcp_port *state = port->state;
	uint64_t packets = 0, bytes = 0;

	while (state->out_frame < state->out_begin) {
		uint32_t length = vn_load16(state->out + state->out_frame);

		if (state->out_frame + VN_FRAME_LENGTH_BYTES + length > state->out_begin)
			break;
		state->out_frame += VN_FRAME_LENGTH_BYTES + length;
		packets++;
		bytes += length;
	}
	vn_port_count(port, 0, VNIC_PORT_OUT_PACKETS, packets);
	vn_port_count(port, 0, VNIC_PORT_OUT_BYTES, bytes);
}

static void flush(struct vnic_port *port)
{
	struct tcp_port *state = port->state;

	while (state->out_begin < state->out_end && !state->broken) {
		ssize_t put = send(state->socket, state->out + state->out_begin,
				   state->out_end - state->out_begin, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (put > 0)
			state->out_begin += (uint32_t)put;
		else if (put < 0 && errno == EAGAIN)
			break;
		else if (put < 0 && errno != EINTR)
			state->broken = errno;
	}
	count_written(port);
	if (state->out_frame == state->out_end) {
		state->out_frame = 0;
		state->out_begin = 0;
		state->out_end = 0;
	}
}

/* To move what waits is only worth it where it makes much room. */
static bool may_move(const struct tcp_port *state)
{
	return state->out_frame >= OUT_BYTES / 2;
}

/* How many bytes there is room for, after all that helps was done if they are too few. */
static uint32_t make_room(struct vnic_port *port, uint32_t wanted_bytes)
{
	struct tcp_port *state = port->state;

	if (OUT_BYTES - state->out_end >= wanted_bytes)
		return OUT_BYTES - state->out_end;
	flush(port);
	if (OUT_BYTES - state->out_end < wanted_bytes && may_move(state)) {
		memmove(state->out, state->out + state->out_frame,
			state->out_end - state->out_frame);
		state->out_begin -= state->out_frame;
		state->out_end -= state->out_frame;
		state->out_frame = 0;
	}
	return OUT_BYTES - state->out_end;
}

/* Returns 0, or the counter to which it is dropped. */
static unsigned put_whole(struct vnic_port *port, const struct vnic_packet *packet)
{
	struct tcp_port *state = port->state;
	uint32_t wanted = VN_FRAME_LENGTH_BYTES + packet->length_bytes;

	if (make_room(port, wanted) < wanted)
		return VNIC_PORT_DROP_FULL;
	vn_store16(state->out + state->out_end, (uint16_t)packet->length_bytes);
	memcpy(state->out + state->out_end + VN_FRAME_LENGTH_BYTES, packet->data,
	       packet->length_bytes);
	state->out_end += wanted;
	return 0;
}

/* Cut it into the buffer. Returns how many segments went there; there may be room for no more. */
static unsigned put_segments(struct vnic_port *port, struct vnic_segmenter *segmenter)
{
	struct tcp_port *state = port->state;
	const struct vnic_packet *from = &segmenter->packet;
	struct vnic_packet segments[VNIC_BURST_PACKETS];
	uint32_t size = from->length_bytes;
	unsigned done = 0;
	int made;

	if (from->gso_type != VNIC_GSO_NONE &&
	    segmenter->header_bytes + from->gso_size_bytes < size)
		size = segmenter->header_bytes + from->gso_size_bytes;
	do {
		uint32_t frame = VN_FRAME_LENGTH_BYTES + size;
		uint32_t most = make_room(port, frame) / frame;
		uint8_t *next = state->out + state->out_end + VN_FRAME_LENGTH_BYTES;

		for (uint32_t i = 0; i < most && i < VNIC_BURST_PACKETS; i++, next += frame)
			segments[i] = (struct vnic_packet){.data = next, .capacity_bytes = size};
		made = vnic_segmenter_next(segmenter, segments,
					   most < VNIC_BURST_PACKETS ? most : VNIC_BURST_PACKETS);
		for (int i = 0; i < made; i++) {
			/* All but the last are of one size, so that there is no gap between. */
			vn_store16(segments[i].data - VN_FRAME_LENGTH_BYTES,
				   (uint16_t)segments[i].length_bytes);
			state->out_end += VN_FRAME_LENGTH_BYTES + segments[i].length_bytes;
			done++;
		}
	} while (made > 0);
	return done;
}

static void send_cut(struct vnic_port *port, const struct vnic_packet *packet)
{
	struct vnic_segmenter segmenter;
	unsigned count = vn_port_begin_cut(port, 0, packet, &segmenter);

	if (count > 0)
		vn_port_count(port, 0, VNIC_PORT_DROP_FULL, count - put_segments(port, &segmenter));
}

static int send_packets(struct vnic_port *port, unsigned queue, const struct vnic_packet *packets,
			unsigned count)
{
	struct tcp_port *state = port->state;

	for (unsigned i = 0; i < count; i++) {
		const struct vnic_packet *packet = &packets[i];
		unsigned reason = 0;

		if (state->phase != PHASE_CONNECTED || state->broken)
			reason = VNIC_PORT_DROP_NO_PEER;
		else if (packet->length_bytes > VN_FRAME_MOST_BYTES)
			reason = VNIC_PORT_DROP_TOO_LONG;
		else if (!vn_frame_is_possible(packet->data, packet->length_bytes,
					       packet->length_bytes, (enum vnic_layer)port->layer))
			reason = VNIC_PORT_DROP_REFUSED; /* the peer would end the connection */
		else if (packet->gso_type != VNIC_GSO_NONE ||
			 packet->flags & VNIC_PACKET_NEEDS_CSUM)
			send_cut(port, packet);
		else
			reason = put_whole(port, packet);
		if (reason)
			vn_port_drop_out(port, queue, (enum vnic_port_counter)reason, packet, 1);
	}
	if (state->phase == PHASE_CONNECTED)
		flush(port);
	return (int)count;
}

static unsigned room(struct vnic_port *port, unsigned queue)
{
	const struct tcp_port *state = port->state;
	uint32_t used = may_move(state) ? state->out_end - state->out_frame : state->out_end;

	(void)queue;
	/* Who has patience can wait for the peer, too. */
	return state->phase == PHASE_CONNECTED ? (OUT_BYTES - used) / FRAME_MOST_BYTES : 0;
}

static bool is_drained(struct vnic_port *port, unsigned queue)
{
	const struct tcp_port *state = port->state;

	(void)queue;
	return state->out_end == 0;
}

/* Receiving. */

/* Returns the number of packets that are there; -EBADMSG: what follows makes no sense. */
static int hand_out(struct vnic_port *port, struct vnic_packet *packets, unsigned count)
{
	struct tcp_port *state = port->state;
	unsigned made = 0;

	while (made < count) {
		uint8_t *frame = state->in + state->in_begin;
		int used = vn_frame_parse(frame, state->in_end - state->in_begin,
					  (enum vnic_layer)port->layer);

		if (used < 0 && made == 0)
			return used;
		if (used <= 0)
			break;
		packets[made++] = (struct vnic_packet){
			.data = frame + VN_FRAME_LENGTH_BYTES,
			.length_bytes = (uint32_t)used - VN_FRAME_LENGTH_BYTES,
			.capacity_bytes = (uint32_t)used - VN_FRAME_LENGTH_BYTES,
		};
		state->in_begin += (uint32_t)used;
	}
	return (int)made;
}

static void end_nonsense(struct vnic_port *port)
{
	struct tcp_port *state = port->state;
	char text[VN_ENDPOINT_TEXT_BYTES];

	vn_port_tell(port, VNIC_PORT_PROTOCOL_ERROR,
		     "'%s' sent a length that cannot be that of a packet: the connection is ended",
		     vn_endpoint_format(&state->peer, text));
	vn_port_drop_in(port, 0, VNIC_PORT_DROP_MALFORMED, 1, state->in_end - state->in_begin);
	state->in_begin = state->in_end;
	let_go(port, "it speaks another protocol");
}

/* Returns true if there are bytes that were not there before. */
static bool read_more(struct vnic_port *port)
{
	struct tcp_port *state = port->state;
	ssize_t got;

	if (state->in_begin > 0) {
		memmove(state->in, state->in + state->in_begin, state->in_end - state->in_begin);
		state->in_end -= state->in_begin;
		state->in_begin = 0;
	}
	do
		got = recv(state->socket, state->in + state->in_end, IN_BYTES - state->in_end,
			   MSG_DONTWAIT);
	while (got < 0 && errno == EINTR);
	if (got > 0) {
		state->in_end += (uint32_t)got;
		return true;
	}
	if (got == 0)
		let_go(port, "it closed the connection");
	else if (errno != EAGAIN)
		let_go(port, strerror(errno));
	else if (state->broken)
		let_go(port, strerror(state->broken));
	return false;
}

static int receive(struct vnic_port *port, unsigned queue, struct vnic_packet *packets,
		   unsigned count)
{
	struct tcp_port *state = port->state;

	(void)queue;
	for (unsigned try = 0; try < RECEIVE_TRIES && state->phase == PHASE_CONNECTED; try++) {
		int made = hand_out(port, packets, count);

		if (made > 0)
			return made;
		if (made < 0)
			end_nonsense(port);
		else if (!read_more(port))
			break;
	}
	return -EAGAIN;
}

static unsigned poll_sockets(struct vnic_port *port, unsigned queue, bool want_room,
			     struct pollfd *descriptors)
{
	const struct tcp_port *state = port->state;
	unsigned count = 0;

	(void)queue;
	(void)want_room; /* there is room again when something was written */
	if (state->listener >= 0 && !state->is_resting)
		descriptors[count++] = (struct pollfd){.fd = state->listener, .events = POLLIN};
	if (state->phase == PHASE_CONNECTING)
		descriptors[count++] = (struct pollfd){.fd = state->socket, .events = POLLOUT};
	if (state->phase == PHASE_CONNECTED)
		descriptors[count++] = (struct pollfd){
			.fd = state->socket,
			.events = (short)(state->out_begin < state->out_end ? POLLIN | POLLOUT
									    : POLLIN),
		};
	return count;
}

static int ready(struct vnic_port *port, unsigned queue, const struct pollfd *descriptors,
		 unsigned count)
{
	struct tcp_port *state = port->state;

	(void)queue;
	for (unsigned i = 0; i < count; i++) {
		if (!descriptors[i].revents)
			continue;
		if (descriptors[i].fd == state->listener)
			accept_callers(port);
		else if (descriptors[i].fd != state->socket)
			continue;
		else if (state->phase == PHASE_CONNECTING)
			end_to_connect(port);
		else if (descriptors[i].revents & POLLOUT)
			flush(port);
	}
	return 0;
}

/* A frame that is written in part cannot be taken back: then the connection is lost. */
static void stop(struct vnic_port *port)
{
	struct tcp_port *state = port->state;

	if (state->phase == PHASE_CONNECTED)
		flush(port);
	if (state->out_end > 0) {
		state->is_told = true; /* nobody needs to be */
		let_go(port, "");
	}
}

/* Opening. */

static int prepare(struct vnic_port *port, struct vnic_error *error)
{
	struct tcp_port *state = calloc(1, sizeof(*state));

	if (state) {
		port->state = state;
		state->listener = -1;
		state->socket = -1;
		state->in = vn_memory_reserve(IN_BYTES);
		state->out = vn_memory_reserve(OUT_BYTES);
	}
	if (!state || !state->in || !state->out)
		return vn_error(error, -ENOMEM, VNIC_CAUSE_MEMORY, "no memory for a port");
	port->queues[0].offloads = VNIC_OFFLOAD_ALL;
	port->cuts_superpackets = true;
	return 0;
}

static int open_tcp(struct vnic_port *port, const char *rest, struct vnic_error *error)
{
	struct tcp_port *state;
	int code = prepare(port, error);

	if (code < 0)
		return code;
	state = port->state;
	code = vn_endpoint_parse(rest, strlen(rest), port->specification, AF_UNSPEC,
				 VN_ENDPOINT_STREAM, state->endpoints, VN_ENDPOINTS, error);
	if (code < 0)
		return code;
	state->endpoint_count = (unsigned)code;
	return 0;
}

static int fail(const struct vnic_port *port, const char *what, struct vnic_error *error)
{
	int code = -errno;

	return vn_error_system(error, code,
			       code == -EMFILE || code == -ENFILE ? VNIC_CAUSE_LIMIT
								  : VNIC_CAUSE_SYSTEM,
			       "'%s': cannot %s", port->specification, what);
}

static int listen_at(struct vnic_port *port, struct vn_endpoint *endpoint, struct vnic_error *error)
{
	struct tcp_port *state = port->state;
	char text[VN_ENDPOINT_TEXT_BYTES];

	state->listener =
		socket(endpoint->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (state->listener < 0)
		return fail(port, "make a socket", error);
	/* Connections of an earlier run may still be dying. */
	set(state->listener, SOL_SOCKET, SO_REUSEADDR, 1);
	if (endpoint->address.ss_family == AF_INET6)
		set(state->listener, IPPROTO_IPV6, IPV6_V6ONLY, 0);
	if (bind(state->listener, (struct sockaddr *)&endpoint->address, endpoint->length_bytes) <
	    0)
		return fail(port, "bind", error);
	if (listen(state->listener, ACCEPTS_MOST) < 0)
		return fail(port, "listen", error);
	if (getsockname(state->listener, (struct sockaddr *)&endpoint->address,
			&endpoint->length_bytes) < 0)
		return fail(port, "ask for its address", error);
	if (vn_port_rename(port, "tcp-listen:%s", vn_endpoint_format(endpoint, text)) < 0)
		return vn_error(error, -ENOMEM, VNIC_CAUSE_MEMORY, "no memory for a port");
	return 0;
}

static int open_tcp_listen(struct vnic_port *port, const char *rest, struct vnic_error *error)
{
	struct vn_endpoint endpoint;
	int code = prepare(port, error);

	if (code < 0)
		return code;
	/* An empty address, or 0.0.0.0, is every one. A name may have several: the first. */
	code = vn_endpoint_parse(rest, strlen(rest), port->specification, AF_UNSPEC,
				 VN_ENDPOINT_STREAM | VN_ENDPOINT_PASSIVE | VN_ENDPOINT_ANY_PORT,
				 &endpoint, 1, error);
	return code < 0 ? code : listen_at(port, &endpoint, error);
}

static void close_tcp(struct vnic_port *port)
{
	struct tcp_port *state = port->state;

	if (!state)
		return;
	if (state->socket >= 0)
		close(state->socket);
	if (state->listener >= 0)
		close(state->listener);
	vn_memory_release(state->in, IN_BYTES);
	vn_memory_release(state->out, OUT_BYTES);
	free(state);
}

const struct vn_port_kind vn_port_tcp = {
	.name = "tcp",
	.open = open_tcp,
	.close = close_tcp,
	.receive = receive,
	.send = send_packets,
	.room = room,
	.is_drained = is_drained,
	.poll = poll_sockets,
	.ready = ready,
	.advance = advance,
	.stop = stop,
};

const struct vn_port_kind vn_port_tcp_listen = {
	.name = "tcp-listen",
	.open = open_tcp_listen,
	.close = close_tcp,
	.receive = receive,
	.send = send_packets,
	.room = room,
	.is_drained = is_drained,
	.poll = poll_sockets,
	.ready = ready,
	.advance = advance,
	.stop = stop,
};
