/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * The program above the stack: users of connections, sockets, and UDP endpoints that do what the input says,
 * between the calls of the stack and from within its callbacks. Whatever they do is allowed by the headers, and
 * each callback is held to what they promise: nothing is read that was not offered or was acknowledged, offsets do not go
 * back, what is received is what the other end's stream has there, events come in order and none after the last.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz_connection.h"
#include "stack/tcp.h"

#define SELF 0x80 /* of an index: the one that it happens to */
#define DEPTH 3
#define NOBODY UINT32_MAX
#define SOCKET_LISTENS (SOCKETS - 1)
#define SCRATCH_BYTES 131072

enum code {
	NOTHING,
	OFFER,
	OFFER_ENDLESS,
	FINISH,
	CLOSE,
	ABORT,
	MORE_ROOM,
	TAKE_LESS,
	STARVE,
	OPEN,
	OPEN_SOCKET,
	TOGGLE_LISTENER,
	TOGGLE_LISTENING,
	READ,
	CONSUME,
	WRITE,
	SHUTDOWN,
	CLOSE_SOCKET,
	ABORT_SOCKET,
	ACCEPT,
	SEND_DATAGRAM,
	TOGGLE_ENDPOINT,
	SILENCE,
	CODES
};

static void react(struct run *run, enum place place, unsigned self)
{
	struct action *planned = &run->planned[place];

	if (planned->times == 0 || run->depth >= DEPTH)
		return;
	planned->times--;
	run->depth++;
	user_act(run, &(struct action){planned->code, planned->index, planned->amount, 0}, self);
	run->depth--;
}

static unsigned index_of(const struct user *user)
{
	return (unsigned)(user - user->run->users);
}

static size_t on_read(struct vnic_connection *connection, void *data, uint64_t offset,
		      uint8_t *bytes, size_t length)
{
	struct user *user = data;

	if (connection != user->connection)
		die("read for another connection", offset, 0);
	if (length == 0)
		die("a read of nothing", offset, 0);
	if (offset < user->acked)
		die("read again what was acknowledged", offset, user->acked);
	if (!user->is_endless && offset + length > user->offered)
		die("read more than was offered", offset + length, user->offered);
	/* What was read once is there, and what is new not always. All users together write so much, no more. */
	if (user->is_starving || user->run->written > WRITTEN_MOST) {
		uint64_t there = user->read_end > offset ? user->read_end - offset : 0;

		there += user->run->written > WRITTEN_MOST ? 0 : length / 3;
		if (length > there)
			length = (size_t)there;
	}
	memcpy(bytes, stream_bytes(user->seed, true, offset, length), length);
	if (offset + length > user->read_end) {
		user->run->written += offset + length - user->read_end;
		user->read_end = offset + length;
	}
	return length;
}

static void on_acked(struct vnic_connection *connection, void *data, uint64_t offset)
{
	struct user *user = data;

	if (connection != user->connection)
		die("acknowledged for another connection", offset, 0);
	if (offset < user->acked || offset > user->read_end)
		die("acknowledged what was not sent, or back", offset, user->read_end);
	user->acked = offset;
	react(user->run, AT_ACKED, index_of(user));
}

static void compare(uint32_t seed, uint32_t irs, uint64_t received, const uint8_t *bytes,
		    size_t length)
{
	/* The other end's stream is told by its sequence numbers. */
	uint32_t sequence = irs + 1 + (uint32_t)received;

	if (memcmp(bytes, stream_bytes(seed, false, sequence, length), length) != 0)
		die("received what was not sent", received, length);
}

static size_t on_receive(struct vnic_connection *connection, void *data, const uint8_t *bytes,
			 size_t length)
{
	struct user *user = data;

	if (connection != user->connection || !user->is_established || user->end_told)
		die("received before or after its time", user->received, length);
	if (length == 0)
		die("received nothing", user->received, 0);
	if (user->is_closing)
		die("received after close", user->received, length);
	if (length > user->room)
		length = user->room;
	if (length > user->taken_most)
		length = user->taken_most;
	compare(user->seed, connection->irs, user->received, bytes, length);
	user->received += length;
	user->room -= length;
	react(user->run, AT_RECEIVE, index_of(user));
	return length;
}

static size_t on_room(struct vnic_connection *connection, void *data)
{
	const struct user *user = data;

	if (connection != user->connection)
		die("room for another connection", 0, 0);
	return user->room;
}

/* In order: the other end has said its last, and so have we, and all arrived. */
static void check_end(const struct user *user)
{
	if (!user->end_told || !user->is_finished)
		die("closed in order, but not finished", user->end_told, user->is_finished);
	if (user->is_endless ? user->acked > user->read_end : user->acked != user->offered)
		die("closed in order, but not all acknowledged", user->acked, user->offered);
}

static void on_event(struct vnic_connection *connection, void *data,
		     enum vnic_connection_event event, int code)
{
	struct user *user = data;
	struct run *run = user->run;

	if (connection != user->connection)
		die("an event of another connection", event, 0);
	switch (event) {
	case VNIC_CONNECTION_ESTABLISHED:
		if (user->is_established || code != 0)
			die("established twice", 0, 0);
		user->is_established = true;
		user->seed = seed_of(connection->flow.local_port, connection->flow.remote_port);
		react(run, AT_ESTABLISHED, index_of(user));
		break;
	case VNIC_CONNECTION_FINISHED:
		if (!user->is_established || user->end_told || code != 0)
			die("finished before it began, or twice", 0, 0);
		user->end_told = true;
		react(run, AT_FINISHED, index_of(user));
		break;
	case VNIC_CONNECTION_CLOSED:
		if (code > 0)
			die("closed with no errno", (uint64_t)code, 0);
		if (code == 0)
			check_end(user);
		/* Its place may be taken again from now on. */
		user->connection = NULL;
		react(run, AT_CLOSED, NOBODY);
		break;
	default:
		die("an unknown event", event, 0);
	}
}

static const struct vnic_connection_operations operations = {
	.read = on_read,
	.acked = on_acked,
	.receive = on_receive,
	.room = on_room,
	.event = on_event,
};

/* It takes whatever comes, and looks at none of it. */
static const struct vnic_connection_operations blind_operations = {
	.read = on_read,
	.acked = on_acked,
	.event = on_event,
};

static const struct vnic_connection_operations *operations_of(const struct run *run)
{
	return run->is_blind ? &blind_operations : &operations;
}

static struct user *free_user(struct run *run)
{
	for (unsigned i = 0; i < USERS; i++)
		if (!run->users[i].connection) {
			run->users[i] = (struct user){
				.run = run, .room = run->room, .taken_most = SIZE_MAX};
			return &run->users[i];
		}
	return NULL;
}

static int on_accept(void *data, struct vnic_connection *connection)
{
	struct run *run = data;
	struct user *user = free_user(run);

	if (!user)
		return -ENOBUFS;
	user->connection = connection;
	vnic_connection_set_user(connection, operations_of(run), user);
	react(run, AT_ACCEPT, index_of(user));
	return 0;
}

/* From a port that is chosen, or from the talker's own. */
static void open_connection(struct run *run, unsigned talker, bool is_chosen)
{
	struct talk *talk = &run->talks[(WAYS - 1) * TALKERS + talker % TALKERS];
	struct user *user = free_user(run);
	struct vnic_connection *connection;
	struct vnic_flow flow = talk->flow;

	if (is_chosen) {
		flow.local_address.family = VNIC_NO_FAMILY;
		flow.local_port = 0;
	}
	if (!user || vnic_connection_open(run->stack, &flow, &run->connection_options,
					  operations_of(run), user, &connection, NULL) < 0)
		return;
	user->connection = connection;
	talk->flow = *vnic_connection_flow(connection);
	user->seed = seed_of(talk->flow.local_port, talk->flow.remote_port);
}

static void toggle_listener(struct run *run)
{
	struct vnic_listener_options options = {
		.port = LISTENER_PORT,
		.backlog = run->backlog,
		.connection = run->connection_options,
		.accept = on_accept,
		.user = run,
	};
	struct vnic_listener *closed = run->listener;

	run->listener = NULL;
	if (closed)
		vnic_listener_close(closed);
	else if (vnic_listener_open(run->stack, &options, &run->listener, NULL) < 0)
		run->listener = NULL;
}

/* Who the other end is can be asked as long as the connection lives. */
static void learn(struct place_of_socket *place)
{
	struct vnic_connection *connection =
		place->socket ? vnic_socket_connection(place->socket) : NULL;

	if (!connection || place->is_known || connection->state < VN_TCP_ESTABLISHED)
		return;
	place->is_known = true;
	place->irs = connection->irs;
	place->seed = seed_of(connection->flow.local_port, connection->flow.remote_port);
}

static void on_ready(struct vnic_socket *socket, void *data, unsigned ready)
{
	struct run *run = data;
	unsigned self = NOBODY;

	if (ready == 0 || ready > 15)
		die("ready for nothing", ready, 0);
	for (unsigned i = 0; i < SOCKETS; i++)
		if (run->sockets[i].socket == socket)
			self = i;
	if (self != NOBODY)
		learn(&run->sockets[self]);
	react(run, AT_READY, self);
}

static struct vnic_socket_options socket_options(struct run *run)
{
	return (struct vnic_socket_options){
		.receive_bytes = run->socket_bytes,
		.send_bytes = run->socket_bytes,
		.backlog = run->backlog,
		.connection = run->connection_options,
		.ready = on_ready,
		.user = run,
	};
}

/* The listening socket has the last place. */
static struct place_of_socket *free_socket(struct run *run)
{
	for (unsigned i = 0; i < SOCKET_LISTENS; i++)
		if (!run->sockets[i].socket) {
			run->sockets[i] = (struct place_of_socket){.run = run};
			return &run->sockets[i];
		}
	return NULL;
}

static void open_socket(struct run *run, unsigned talker)
{
	const struct talk *talk = &run->talks[(WAYS - 1) * TALKERS + talker % TALKERS];
	struct vnic_socket_options options = socket_options(run);
	struct place_of_socket *place = free_socket(run);

	if (!place ||
	    vnic_socket_connect(run->stack, &talk->flow, &options, &place->socket, NULL) < 0)
		return;
	place->seed = seed_of(talk->flow.local_port, talk->flow.remote_port);
}

static void toggle_listening(struct run *run)
{
	struct place_of_socket *place = &run->sockets[SOCKET_LISTENS];
	struct vnic_socket_options options = socket_options(run);
	struct vnic_socket *closed = place->socket;

	place->socket = NULL;
	if (closed)
		vnic_socket_close(closed);
	else if (vnic_socket_listen(run->stack, NULL, SOCKET_PORT, &options, &place->socket, NULL) <
		 0)
		place->socket = NULL;
}

static void accept_socket(struct run *run)
{
	struct place_of_socket *place = free_socket(run);

	if (!place || !run->sockets[SOCKET_LISTENS].socket)
		return;
	if (vnic_socket_accept(run->sockets[SOCKET_LISTENS].socket, &place->socket) < 0)
		place->socket = NULL;
	/* If it has failed already, what it received is not compared. */
	learn(place);
}

static void took(struct place_of_socket *place, const uint8_t *bytes, size_t length)
{
	if (place->is_known)
		compare(place->seed, place->irs, place->received, bytes, length);
	place->received += length;
}

static void read_socket(struct place_of_socket *place, size_t length)
{
	static uint8_t bytes[SCRATCH_BYTES];
	ssize_t got;

	if (length > sizeof(bytes))
		length = sizeof(bytes);
	learn(place);
	got = vnic_socket_read(place->socket, bytes, length);
	if (got > (ssize_t)length)
		die("read more than there is room", (uint64_t)got, length);
	if (got > 0)
		took(place, bytes, (size_t)got);
}

static void consume_socket(struct place_of_socket *place, size_t length)
{
	const uint8_t *bytes;
	ssize_t got;

	learn(place);
	got = vnic_socket_peek(place->socket, &bytes);
	if (got <= 0)
		return;
	if (length > (size_t)got)
		length = (size_t)got;
	took(place, bytes, length);
	vnic_socket_consume(place->socket, length);
}

static void write_socket(struct run *run, struct place_of_socket *place, size_t length)
{
	size_t room = vnic_socket_writable_bytes(place->socket);
	ssize_t got;

	if (length > SCRATCH_BYTES / 2)
		length = SCRATCH_BYTES / 2;
	if (run->written > WRITTEN_MOST)
		return;
	if (!place->is_known) {
		struct vnic_connection *connection = vnic_socket_connection(place->socket);

		if (connection)
			place->seed =
				seed_of(connection->flow.local_port, connection->flow.remote_port);
	}
	got = vnic_socket_write(place->socket,
				stream_bytes(place->seed, true, place->written, length), length);
	if (got > (ssize_t)room)
		die("wrote more than there is room", (uint64_t)got, room);
	if (got <= 0)
		return;
	place->written += (uint64_t)got;
	run->written += (uint64_t)got;
}

static void act_on_socket(struct run *run, const struct action *action, unsigned index)
{
	struct place_of_socket *place = &run->sockets[index % SOCKETS];
	struct vnic_socket *socket = place->socket;

	if (!socket)
		return;
	switch (action->code % CODES) {
	case READ:
		read_socket(place, size_of(action->amount));
		break;
	case CONSUME:
		consume_socket(place, size_of(action->amount));
		break;
	case WRITE:
		write_socket(run, place, size_of(action->amount));
		break;
	case SHUTDOWN:
		vnic_socket_shutdown(socket);
		break;
	case CLOSE_SOCKET:
		place->socket = NULL;
		vnic_socket_close(socket);
		break;
	case ABORT_SOCKET:
		place->socket = NULL;
		vnic_socket_abort(socket);
		break;
	case SILENCE:
		if (vnic_socket_user(socket) != run || vnic_socket_error(socket) > 0)
			die("a socket of somebody else", index, 0);
		vnic_socket_set_ready(socket, action->amount & 1 ? NULL : on_ready, run);
		break;
	default:
		break;
	}
}

static void act_on_user(struct run *run, const struct action *action, unsigned index)
{
	struct user *user = &run->users[index % USERS];
	struct vnic_connection *connection = user->connection;

	if (!connection)
		return;
	switch (action->code % CODES) {
	case OFFER:
		/* After the end nothing can be offered: it would be ignored. */
		if (!user->is_finished && !user->is_endless)
			user->offered += size_of(action->amount);
		user->is_starving = false;
		vnic_connection_offer(connection, user->is_endless ? UINT64_MAX : user->offered);
		break;
	case OFFER_ENDLESS:
		user->is_starving = false;
		if (user->is_finished)
			break;
		user->is_endless = true;
		vnic_connection_offer(connection, UINT64_MAX);
		break;
	case FINISH:
		user->is_finished = true;
		vnic_connection_finish(connection);
		break;
	case CLOSE:
		user->is_finished = user->is_closing = true;
		vnic_connection_close(connection);
		break;
	case ABORT:
		vnic_connection_abort(connection);
		if (user->connection == connection)
			die("aborted, and was not told", 0, 0);
		break;
	case MORE_ROOM:
		user->room += size_of(action->amount);
		vnic_connection_update_room(connection);
		break;
	case TAKE_LESS:
		user->taken_most = action->amount & 1 ? SIZE_MAX : size_of(action->amount);
		break;
	case STARVE:
		user->is_starving = action->amount & 1;
		if (!user->is_starving)
			vnic_connection_offer(connection,
					      user->is_endless ? UINT64_MAX : user->offered);
		break;
	default:
		break;
	}
}

static void on_datagrams(struct vnic_endpoint *endpoint, void *data,
			 const struct vnic_datagram *datagrams, unsigned count)
{
	struct run *run = data;

	if (count < 1 || count > VNIC_BURST_PACKETS)
		die("a burst of no size", count, 0);
	if (datagrams[0].length_bytes % 2)
		vnic_endpoint_send(endpoint, datagrams, count);
	react(run, AT_DATAGRAM, NOBODY);
}

static void toggle_endpoint(struct run *run, unsigned index)
{
	struct vnic_endpoint_options options = {
		.port = (uint16_t)(LISTENER_PORT + index % ENDPOINTS),
		.receive = on_datagrams,
		.user = run,
	};
	struct vnic_endpoint **place = &run->endpoints[index % ENDPOINTS], *closed = *place;

	*place = NULL;
	if (closed)
		vnic_endpoint_close(closed);
	else if (vnic_endpoint_open(run->stack, &options, place, NULL) < 0)
		*place = NULL;
}

static void send_datagram(struct run *run, const struct action *action, unsigned index)
{
	struct vnic_endpoint *endpoint = run->endpoints[index % ENDPOINTS];
	size_t length = size_of(action->amount);
	struct vnic_datagram datagram = {
		.flow.remote_address = run->talks[action->amount % 2].flow.remote_address,
		.flow.remote_port = THEIR_PORT,
		.length_bytes = length > 65000 ? 65000 : length,
	};

	datagram.payload = stream_bytes(0, true, 0, datagram.length_bytes);
	if (endpoint)
		vnic_endpoint_send(endpoint, &datagram, 1);
}

void user_act(struct run *run, const struct action *action, unsigned self)
{
	unsigned index = action->index & SELF && self != NOBODY ? self : action->index & ~SELF;

	switch (action->code % CODES) {
	case NOTHING:
		break;
	case OPEN:
		open_connection(run, index, action->amount & 1);
		break;
	case OPEN_SOCKET:
		open_socket(run, index);
		break;
	case TOGGLE_LISTENER:
		toggle_listener(run);
		break;
	case TOGGLE_LISTENING:
		toggle_listening(run);
		break;
	case ACCEPT:
		accept_socket(run);
		break;
	case SEND_DATAGRAM:
		send_datagram(run, action, index);
		break;
	case TOGGLE_ENDPOINT:
		toggle_endpoint(run, index);
		break;
	case READ:
	case CONSUME:
	case WRITE:
	case SHUTDOWN:
	case CLOSE_SOCKET:
	case ABORT_SOCKET:
	case SILENCE:
		act_on_socket(run, action, index);
		break;
	default:
		act_on_user(run, action, index);
	}
}

void user_begin(struct run *run)
{
	toggle_listener(run);
	toggle_listening(run);
	for (unsigned i = 0; i < ENDPOINTS; i++)
		toggle_endpoint(run, i);
	if (!run->listener || !run->sockets[SOCKET_LISTENS].socket || !run->endpoints[0])
		die("cannot listen", 0, 0);
}

void user_before_free(struct run *run)
{
	if (run->listener)
		toggle_listener(run);
	if (run->sockets[SOCKET_LISTENS].socket)
		toggle_listening(run);
	memset(run->endpoints, 0, sizeof(run->endpoints)); /* the stack closes them */
	/* What would have to be closed before the stack is freed cannot be opened meanwhile. */
	for (unsigned i = 0; i < PLACES; i++)
		if (run->planned[i].code % CODES == TOGGLE_LISTENING ||
		    run->planned[i].code % CODES == TOGGLE_LISTENER ||
		    run->planned[i].code % CODES == TOGGLE_ENDPOINT)
			run->planned[i].times = 0;
}

void user_after_free(struct run *run)
{
	for (unsigned i = 0; i < USERS; i++)
		if (run->users[i].connection)
			die("freed, and a user was not told", i, 0);
	for (unsigned i = 0; i < SOCKETS; i++) {
		if (run->sockets[i].socket && vnic_socket_connection(run->sockets[i].socket))
			die("freed, and a socket still has a connection", i, 0);
		vnic_socket_close(run->sockets[i].socket);
	}
}
