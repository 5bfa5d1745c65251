/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Sockets at both ends of a link: what each call returns in each situation, when the ready callback is called
 * and when it is not, and who frees what. Streams of bytes through sockets are in test_tcp_grid.c.
 */
#include <errno.h>
#include <stdio.h>
#include <vnic/socket.h>

#include "link.h"

#define PORT 80
#define BUFFER 4096u

/* A socket and what it was told. */
struct user {
	struct vnic_socket *socket;
	unsigned told;      /* bits since they were cleared */
	unsigned calls;     /* since they were cleared */
	unsigned closes_on; /* bits on which it closes the socket */
	bool aborts;
};

struct world {
	struct link link;
	struct user client, server, listening;
	struct vnic_socket_options options;
};

static void on_ready(struct vnic_socket *socket, void *data, unsigned ready)
{
	struct user *user = data;

	assert_true(ready != 0);
	assert_ptr_equal(socket, user->socket);
	user->told |= ready;
	user->calls++;
	if (!(ready & user->closes_on))
		return;
	user->socket = NULL;
	if (user->aborts)
		vnic_socket_abort(socket);
	else
		vnic_socket_close(socket);
}

static unsigned told(struct user *user)
{
	unsigned bits = user->told;

	user->told = user->calls = 0;
	return bits;
}

static void listen_in(struct world *world)
{
	world->options.user = &world->listening;
	assert_int_equal(vnic_socket_listen(world->link.ends[1].stack, NULL, PORT, &world->options,
					    &world->listening.socket, NULL),
			 0);
}

static void connect_in(struct world *world)
{
	struct vnic_flow flow = {.remote_address = link_address(VNIC_IPV4, 1), .remote_port = PORT};

	world->options.user = &world->client;
	assert_int_equal(vnic_socket_connect(world->link.ends[0].stack, &flow, &world->options,
					     &world->client.socket, NULL),
			 0);
}

static void begin(struct world *world)
{
	static const struct link_impairment far = {.delay_ns = 10 * MILLISECOND_NS};

	memset(world, 0, sizeof(*world));
	link_begin(&world->link, VNIC_LAYER_IP, 1, NULL, NULL);
	link_impair(&world->link, &far);
	world->options = (struct vnic_socket_options){
		.receive_bytes = BUFFER, .send_bytes = BUFFER, .ready = on_ready};
}

static void accept_in(struct world *world)
{
	assert_int_equal(vnic_socket_accept(world->listening.socket, &world->server.socket), 0);
	vnic_socket_set_ready(world->server.socket, on_ready, &world->server);
	assert_ptr_equal(vnic_socket_user(world->server.socket), &world->server);
}

static void establish(struct world *world)
{
	begin(world);
	listen_in(world);
	connect_in(world);
	link_wait(&world->link, SECOND_NS);
	accept_in(world);
	told(&world->client);
	told(&world->listening);
}

/* Nothing may be left: whoever looks is the leak check of a sanitizer. */
static void end(struct world *world)
{
	vnic_socket_close(world->listening.socket);
	vnic_socket_close(world->client.socket);
	vnic_socket_close(world->server.socket);
	link_end(&world->link);
}

static void pass_time(struct world *world)
{
	link_wait(&world->link, SECOND_NS);
}

static void sizes_have_a_range(void **state)
{
	static const uint32_t wrong[] = {1, 2048, 4095, 4097, 6000, 1u << 27, UINT32_MAX};
	struct vnic_flow flow = {.remote_address = link_address(VNIC_IPV4, 1), .remote_port = PORT};
	struct vnic_error error;
	struct world world;

	(void)state;
	begin(&world);
	for (size_t i = 0; i < 2 * sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct vnic_socket *socket = (struct vnic_socket *)&world;
		uint32_t *size = i & 1 ? &world.options.receive_bytes : &world.options.send_bytes;

		*size = wrong[i / 2];
		memset(&error, 0, sizeof(error));
		assert_int_equal(vnic_socket_connect(world.link.ends[0].stack, &flow,
						     &world.options, &socket, &error),
				 -EINVAL);
		assert_int_equal(error.cause, VNIC_CAUSE_ARGUMENT);
		assert_int_equal(vnic_socket_listen(world.link.ends[0].stack, NULL, PORT,
						    &world.options, &socket, NULL),
				 -EINVAL);
		assert_ptr_equal(socket, &world);
		*size = BUFFER;
	}
	/* What the connection refuses leaves nothing behind either. */
	flow.remote_port = 0;
	assert_int_equal(vnic_socket_connect(world.link.ends[0].stack, &flow, &world.options,
					     &world.client.socket, &error),
			 -EINVAL);
	listen_in(&world);
	assert_int_equal(vnic_socket_listen(world.link.ends[1].stack, NULL, PORT, NULL,
					    &world.client.socket, &error),
			 -EADDRINUSE);
	assert_int_equal(error.cause, VNIC_CAUSE_ADDRESS_TAKEN);
	assert_null(world.client.socket);
	end(&world);
}

static void a_listening_socket_only_accepts(void **state)
{
	struct vnic_socket *socket = NULL;
	const uint8_t *peeked;
	struct world world;
	char byte;

	(void)state;
	begin(&world);
	listen_in(&world);
	assert_int_equal(vnic_socket_accept(world.listening.socket, &socket), -EAGAIN);
	assert_null(socket);
	assert_int_equal(vnic_socket_read(world.listening.socket, &byte, 1), -ENOTCONN);
	assert_int_equal(vnic_socket_peek(world.listening.socket, &peeked), -ENOTCONN);
	assert_int_equal(vnic_socket_write(world.listening.socket, &byte, 1), -ENOTCONN);
	assert_int_equal(vnic_socket_writable_bytes(world.listening.socket), 0);
	assert_null(vnic_socket_connection(world.listening.socket));
	vnic_socket_shutdown(world.listening.socket);
	connect_in(&world);
	assert_int_equal(vnic_socket_accept(world.client.socket, &socket), -EINVAL);
	pass_time(&world);
	assert_int_equal(told(&world.listening), VNIC_SOCKET_ACCEPTABLE);
	accept_in(&world);
	assert_int_equal(vnic_socket_accept(world.listening.socket, &socket), -EAGAIN);
	end(&world);
}

static void every_port_may_be_listened_to(void **state)
{
	struct vnic_flow flow = {.remote_address = link_address(VNIC_IPV6, 1)};
	struct vnic_address address = link_address(VNIC_IPV6, 1);
	struct world world;

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		begin(&world);
		world.options.user = &world.listening;
		assert_int_equal(vnic_socket_listen(world.link.ends[1].stack, i ? &address : NULL,
						    0, &world.options, &world.listening.socket,
						    NULL),
				 0);
		flow.remote_port = (uint16_t)(1234 + i * 50000);
		world.options.user = &world.client;
		assert_int_equal(vnic_socket_connect(world.link.ends[0].stack, &flow,
						     &world.options, &world.client.socket, NULL),
				 0);
		pass_time(&world);
		accept_in(&world);
		assert_int_equal(vnic_connection_flow(vnic_socket_connection(world.server.socket))
					 ->local_port,
				 flow.remote_port);
		end(&world);
	}
}

static void readiness_is_told_once(void **state)
{
	static uint8_t bytes[2 * BUFFER];
	struct world world;

	(void)state;
	begin(&world);
	listen_in(&world);
	connect_in(&world);
	assert_int_equal(told(&world.client), 0); /* never during the call */
	pass_time(&world);
	assert_int_equal(told(&world.client), VNIC_SOCKET_WRITABLE);
	accept_in(&world);
	/* Readable, once, however often something comes. */
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(vnic_socket_write(world.client.socket, bytes, 10), 10);
		pass_time(&world);
	}
	assert_int_equal(world.server.calls, 1);
	assert_int_equal(told(&world.server), VNIC_SOCKET_READABLE);
	/* Not all was read: it is so still, and not told again. */
	assert_int_equal(vnic_socket_read(world.server.socket, bytes, 29), 29);
	vnic_socket_write(world.client.socket, bytes, 10);
	pass_time(&world);
	assert_int_equal(world.server.calls, 0);
	assert_int_equal(vnic_socket_read(world.server.socket, bytes, sizeof(bytes)), 11);
	assert_int_equal(vnic_socket_read(world.server.socket, bytes, 1), -EAGAIN);
	vnic_socket_write(world.client.socket, bytes, 10);
	pass_time(&world);
	assert_int_equal(told(&world.server), VNIC_SOCKET_READABLE);
	assert_int_equal(vnic_socket_read(world.server.socket, bytes, sizeof(bytes)), 10);
	assert_int_equal(told(&world.client), 0);
	/* Writable, when it had been full, and a quarter is free again. */
	assert_int_equal(vnic_socket_writable_bytes(world.client.socket), BUFFER);
	assert_int_equal(vnic_socket_write(world.client.socket, bytes, BUFFER), BUFFER);
	assert_int_equal(vnic_socket_writable_bytes(world.client.socket), 0);
	pass_time(&world);
	assert_int_equal(told(&world.client), 0); /* nobody wanted more */
	assert_int_equal(told(&world.server), VNIC_SOCKET_READABLE);
	/* The window moves in large steps only: a little room the other end has not told of. */
	assert_in_range(vnic_socket_write(world.client.socket, bytes, 2 * BUFFER), BUFFER - 50,
			BUFFER);
	assert_int_equal(vnic_socket_write(world.client.socket, bytes, 1), -EAGAIN);
	pass_time(&world);
	assert_int_equal(told(&world.client), 0); /* the other end has no room */
	assert_in_range(vnic_socket_read(world.server.socket, bytes, sizeof(bytes)), BUFFER - 50,
			BUFFER);
	pass_time(&world);
	assert_int_equal(told(&world.client), VNIC_SOCKET_WRITABLE);
	end(&world);
}

static void peeking_takes_nothing(void **state)
{
	uint8_t bytes[BUFFER], got[BUFFER];
	const uint8_t *peeked = NULL;
	struct world world;

	(void)state;
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 7);
	establish(&world);
	assert_int_equal(vnic_socket_peek(world.server.socket, &peeked), -EAGAIN);
	assert_int_equal(vnic_socket_write(world.client.socket, bytes, 3000), 3000);
	pass_time(&world);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(vnic_socket_peek(world.server.socket, &peeked), 3000);
		assert_memory_equal(peeked, bytes, 3000);
	}
	vnic_socket_consume(world.server.socket, 2000);
	assert_int_equal(vnic_socket_write(world.client.socket, bytes, 3000), 3000);
	pass_time(&world);
	/* Around the end of the ring: in two pieces, one of which is read. */
	assert_int_equal(vnic_socket_peek(world.server.socket, &peeked), BUFFER - 2000);
	assert_memory_equal(peeked, bytes + 2000, 1000);
	assert_int_equal(vnic_socket_read(world.server.socket, got, sizeof(got)), 4000);
	assert_memory_equal(got, bytes + 2000, 1000);
	assert_memory_equal(got + 1000, bytes, 3000);
	vnic_socket_consume(world.server.socket, 1000); /* nothing is there */
	end(&world);
}

static void the_end_comes_after_everything(void **state)
{
	uint8_t bytes[100];
	const uint8_t *peeked;
	struct world world;

	(void)state;
	establish(&world);
	vnic_socket_write(world.client.socket, "abc", 3);
	vnic_socket_shutdown(world.client.socket);
	vnic_socket_shutdown(world.client.socket);
	assert_int_equal(vnic_socket_write(world.client.socket, "d", 1), -EPIPE);
	assert_int_equal(vnic_socket_writable_bytes(world.client.socket), 0);
	pass_time(&world);
	assert_int_equal(told(&world.server), VNIC_SOCKET_READABLE);
	assert_int_equal(vnic_socket_read(world.server.socket, bytes, sizeof(bytes)), 3);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(vnic_socket_read(world.server.socket, bytes, 1), 0);
		assert_int_equal(vnic_socket_peek(world.server.socket, &peeked), 0);
	}
	/* The other way it goes on. */
	assert_int_equal(vnic_socket_write(world.server.socket, bytes, 50), 50);
	vnic_socket_shutdown(world.server.socket);
	pass_time(&world);
	assert_int_equal(vnic_socket_read(world.client.socket, bytes, sizeof(bytes)), 50);
	assert_int_equal(vnic_socket_read(world.client.socket, bytes, 1), 0);
	link_wait(&world.link, 5 * SECOND_NS);
	assert_null(vnic_socket_connection(world.client.socket));
	assert_null(vnic_socket_connection(world.server.socket));
	assert_int_equal(vnic_socket_error(world.client.socket), 0);
	assert_int_equal(vnic_socket_read(world.client.socket, bytes, 1), 0);
	assert_int_equal(vnic_socket_write(world.server.socket, bytes, 1), -EPIPE);
	assert_false(told(&world.client) & VNIC_SOCKET_FAILED);
	end(&world);
}

static void an_error_comes_after_everything(void **state)
{
	uint8_t bytes[100];
	struct world world;

	(void)state;
	establish(&world);
	vnic_socket_write(world.client.socket, "abc", 3);
	pass_time(&world);
	told(&world.server);
	vnic_socket_abort(world.client.socket);
	world.client.socket = NULL;
	pass_time(&world);
	assert_int_equal(told(&world.server),
			 VNIC_SOCKET_READABLE | VNIC_SOCKET_WRITABLE | VNIC_SOCKET_FAILED);
	assert_int_equal(vnic_socket_error(world.server.socket), -ECONNRESET);
	assert_null(vnic_socket_connection(world.server.socket));
	assert_int_equal(vnic_socket_write(world.server.socket, bytes, 1), -ECONNRESET);
	assert_int_equal(vnic_socket_read(world.server.socket, bytes, sizeof(bytes)), 3);
	assert_int_equal(vnic_socket_read(world.server.socket, bytes, 1), -ECONNRESET);
	end(&world);
	/* Nobody listens. */
	begin(&world);
	connect_in(&world);
	assert_int_equal(vnic_socket_read(world.client.socket, bytes, 1), -EAGAIN);
	pass_time(&world);
	assert_true(told(&world.client) & VNIC_SOCKET_FAILED);
	assert_int_equal(vnic_socket_error(world.client.socket), -ECONNREFUSED);
	assert_int_equal(vnic_socket_read(world.client.socket, bytes, 1), -ECONNREFUSED);
	end(&world);
}

/* RFC 1122 section 4.2.2.13 */
static void closing_with_bytes_unread_resets(void **state)
{
	struct world world;

	(void)state;
	for (unsigned late = 0; late < 2; late++) {
		establish(&world);
		if (!late)
			vnic_socket_write(world.client.socket, "abc", 3);
		pass_time(&world);
		vnic_socket_close(world.server.socket);
		world.server.socket = NULL;
		pass_time(&world);
		if (late) {
			/* Nothing was unread: the end, in order, until something comes. */
			char byte;

			assert_int_equal(vnic_socket_error(world.client.socket), 0);
			assert_int_equal(vnic_socket_read(world.client.socket, &byte, 1), 0);
			vnic_socket_write(world.client.socket, "abc", 3);
			pass_time(&world);
		}
		assert_int_equal(vnic_socket_error(world.client.socket), -ECONNRESET);
		assert_int_equal(link_counter(&world.link, 1, VNIC_STACK_CONNECTIONS), 0);
		end(&world);
	}
}

static void what_was_written_is_sent_after_the_close(void **state)
{
	static uint8_t bytes[BUFFER];
	struct world world;

	(void)state;
	for (unsigned early = 0; early < 2; early++) {
		begin(&world);
		listen_in(&world);
		connect_in(&world);
		if (!early)
			pass_time(&world);
		assert_int_equal(vnic_socket_write(world.client.socket, bytes, BUFFER), BUFFER);
		vnic_socket_close(world.client.socket);
		world.client.socket = NULL;
		told(&world.client);
		pass_time(&world);
		accept_in(&world);
		assert_int_equal(vnic_socket_read(world.server.socket, bytes, BUFFER), BUFFER);
		assert_int_equal(vnic_socket_read(world.server.socket, bytes, BUFFER), 0);
		vnic_socket_close(world.server.socket);
		world.server.socket = NULL;
		link_wait(&world.link, 5 * SECOND_NS);
		assert_int_equal(link_counter(&world.link, 0, VNIC_STACK_CONNECTIONS), 0);
		assert_int_equal(link_counter(&world.link, 0, VNIC_STACK_ABORTED), 0);
		assert_int_equal(link_counter(&world.link, 1, VNIC_STACK_ABORTED), 0);
		assert_int_equal(world.client.calls, 0); /* it is not its owner's any more */
		end(&world);
	}
	/* Nothing was written: not worth a handshake. */
	begin(&world);
	listen_in(&world);
	connect_in(&world);
	vnic_socket_close(world.client.socket);
	world.client.socket = NULL;
	assert_int_equal(link_counter(&world.link, 0, VNIC_STACK_CONNECTIONS), 0);
	end(&world);
}

static void connections_that_wait_are_bounded(void **state)
{
	enum {
		CLIENTS = 12,
		BACKLOG = 8
	};
	struct vnic_socket_options options = {.receive_bytes = BUFFER, .send_bytes = BUFFER};
	struct vnic_flow flow = {.remote_address = link_address(VNIC_IPV4, 1), .remote_port = PORT};
	struct vnic_socket *clients[CLIENTS], *accepted;
	struct world world;
	unsigned refused = 0;

	(void)state;
	for (unsigned takes = 0; takes < 2; takes++) {
		begin(&world);
		world.options.backlog = BACKLOG;
		listen_in(&world);
		refused = 0;
		for (unsigned i = 0; i < CLIENTS; i++) {
			assert_int_equal(vnic_socket_connect(world.link.ends[0].stack, &flow,
							     &options, &clients[i], NULL),
					 0);
			vnic_socket_write(clients[i], "x", 1);
			pass_time(&world);
		}
		assert_true(world.listening.calls >= 1);
		for (unsigned i = 0; i < CLIENTS; i++)
			refused += vnic_socket_error(clients[i]) == -ECONNRESET;
		assert_int_equal(refused, CLIENTS - BACKLOG);
		for (unsigned i = 0; takes && i < BACKLOG; i++) {
			char byte;

			assert_int_equal(vnic_socket_accept(world.listening.socket, &accepted), 0);
			/* It came while the socket waited. */
			assert_int_equal(vnic_socket_read(accepted, &byte, 1), 1);
			vnic_socket_close(accepted);
		}
		if (takes)
			assert_int_equal(vnic_socket_accept(world.listening.socket, &accepted),
					 -EAGAIN);
		/* Those that wait still are reset. */
		vnic_socket_close(world.listening.socket);
		world.listening.socket = NULL;
		pass_time(&world);
		assert_int_equal(link_counter(&world.link, 1, VNIC_STACK_CONNECTIONS),
				 takes ? BACKLOG : 0);
		for (unsigned i = 0; i < CLIENTS; i++) {
			if (!takes)
				assert_int_equal(vnic_socket_error(clients[i]), -ECONNRESET);
			vnic_socket_close(clients[i]);
		}
		end(&world);
	}
}

static void one_that_failed_may_still_be_accepted(void **state)
{
	struct world world;
	char bytes[10];

	(void)state;
	begin(&world);
	listen_in(&world);
	connect_in(&world);
	pass_time(&world);
	vnic_socket_write(world.client.socket, "abc", 3);
	pass_time(&world);
	vnic_socket_abort(world.client.socket);
	world.client.socket = NULL;
	pass_time(&world);
	accept_in(&world);
	assert_int_equal(vnic_socket_read(world.server.socket, bytes, sizeof(bytes)), 3);
	assert_int_equal(vnic_socket_read(world.server.socket, bytes, 1), -ECONNRESET);
	end(&world);
}

/* From within each callback, in both ways. */
static void sockets_are_closed_in_callbacks(void **state)
{
	static uint8_t bytes[3 * BUFFER];
	static const unsigned bits[] = {VNIC_SOCKET_READABLE, VNIC_SOCKET_WRITABLE,
					VNIC_SOCKET_FAILED};
	struct world world;

	(void)state;
	for (unsigned i = 0; i < 12; i++) {
		bool by_server = i & 1;
		struct user *user;

		establish(&world);
		user = by_server ? &world.server : &world.client;
		user->closes_on = bits[i / 4];
		user->aborts = i & 2;
		vnic_socket_write(world.client.socket, bytes, sizeof(bytes));
		vnic_socket_write(world.server.socket, bytes, sizeof(bytes));
		pass_time(&world);
		for (unsigned j = 0; j < 2; j++) {
			struct user *reader = j ? &world.client : &world.server;

			if (reader->socket)
				vnic_socket_read(reader->socket, bytes, sizeof(bytes));
		}
		pass_time(&world);
		if (bits[i / 4] == VNIC_SOCKET_FAILED) {
			struct user *other = by_server ? &world.client : &world.server;

			vnic_socket_abort(other->socket);
			other->socket = NULL;
			pass_time(&world);
		}
		assert_null(user->socket);
		link_wait(&world.link, 300 * SECOND_NS);
		assert_int_equal(link_counter(&world.link, by_server, VNIC_STACK_CONNECTIONS), 0);
		end(&world);
	}
	/* The listening one, with the connection in its hands. */
	begin(&world);
	listen_in(&world);
	world.listening.closes_on = VNIC_SOCKET_ACCEPTABLE;
	connect_in(&world);
	pass_time(&world);
	assert_null(world.listening.socket);
	assert_int_equal(vnic_socket_error(world.client.socket), -ECONNRESET);
	end(&world);
}

static void sockets_outlive_their_stack(void **state)
{
	struct world world;
	char byte;

	(void)state;
	for (unsigned closes = 0; closes < 2; closes++) {
		establish(&world);
		vnic_socket_write(world.client.socket, "abc", 3);
		pass_time(&world);
		told(&world.server);
		world.server.closes_on = closes ? VNIC_SOCKET_FAILED : 0;
		/* One that has something to send is the stack's by now. */
		vnic_socket_close(world.client.socket);
		world.client.socket = NULL;
		vnic_socket_close(world.listening.socket);
		world.listening.socket = NULL;
		for (unsigned i = 0; i < 2; i++) {
			vnic_stack_free(world.link.ends[i].stack);
			world.link.ends[i].stack = NULL;
		}
		assert_true(world.server.told & VNIC_SOCKET_FAILED);
		if (closes) {
			assert_null(world.server.socket);
		} else {
			assert_int_equal(vnic_socket_error(world.server.socket), -ECONNABORTED);
			assert_int_equal(vnic_socket_read(world.server.socket, &byte, 1), 1);
			assert_int_equal(vnic_socket_write(world.server.socket, &byte, 1),
					 -ECONNABORTED);
		}
		end(&world);
	}
}

static void without_a_callback_it_is_asked(void **state)
{
	struct world world;
	char bytes[10];

	(void)state;
	begin(&world);
	world.options.ready = NULL;
	listen_in(&world);
	connect_in(&world);
	pass_time(&world);
	assert_int_equal(vnic_socket_accept(world.listening.socket, &world.server.socket), 0);
	assert_int_equal(vnic_socket_write(world.server.socket, "hello", 5), 5);
	assert_int_equal(vnic_socket_write(world.server.socket, "", 0), 0);
	pass_time(&world);
	assert_int_equal(vnic_socket_read(world.client.socket, bytes, sizeof(bytes)), 5);
	assert_memory_equal(bytes, "hello", 5);
	assert_int_equal(world.client.calls, 0);
	end(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes_have_a_range),
		cmocka_unit_test(a_listening_socket_only_accepts),
		cmocka_unit_test(every_port_may_be_listened_to),
		cmocka_unit_test(readiness_is_told_once),
		cmocka_unit_test(peeking_takes_nothing),
		cmocka_unit_test(the_end_comes_after_everything),
		cmocka_unit_test(an_error_comes_after_everything),
		cmocka_unit_test(closing_with_bytes_unread_resets),
		cmocka_unit_test(what_was_written_is_sent_after_the_close),
		cmocka_unit_test(connections_that_wait_are_bounded),
		cmocka_unit_test(one_that_failed_may_still_be_accepted),
		cmocka_unit_test(sockets_are_closed_in_callbacks),
		cmocka_unit_test(sockets_outlive_their_stack),
		cmocka_unit_test(without_a_callback_it_is_asked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
