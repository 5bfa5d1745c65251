/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A hundred thousand connections between two stacks at once: each carries a little both ways, all are idle
 * then at the same time, and end. The memory of one is measured, and must stay small; one packet must not cost
 * more where there are many. Times are printed for whoever looks, and what is compared is counted: how often
 * a stack was called for a packet.
 */
#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <time.h>

#include "link.h"

#include <vnic/connection.h>
#include <vnic/socket.h>

#ifdef __SANITIZE_ADDRESS__
#define MANY 20000u
#else
#define MANY 100000u
#endif
#define CONNECTION_BYTES_MOST 1024
/* Each port of the server's has so many clients at most: of one address there are no more ports. */
#define CLIENTS_OF_PORT 20000u
#define FIRST_PORT 1000u

struct world {
	struct link link;
	struct vnic_listener *listeners[MANY / CLIENTS_OF_PORT + 1];
	struct vnic_connection **clients;
	unsigned established, accepted, finished, closed, failed;
	uint64_t received_bytes;
};

static size_t on_read(struct vnic_connection *connection, void *user, uint64_t offset,
		      uint8_t *bytes, size_t length)
{
	(void)connection, (void)user, (void)offset;
	memset(bytes, 'x', length);
	return length;
}

static size_t on_receive(struct vnic_connection *connection, void *user, const uint8_t *bytes,
			 size_t length)
{
	struct world *world = user;

	(void)connection, (void)bytes;
	world->received_bytes += length;
	return length;
}

static void on_event(struct vnic_connection *connection, void *user,
		     enum vnic_connection_event event, int code)
{
	struct world *world = user;

	if (event == VNIC_CONNECTION_ESTABLISHED) {
		world->established++;
		vnic_connection_offer(connection, 100);
	} else if (event == VNIC_CONNECTION_FINISHED) {
		world->finished++;
		vnic_connection_finish(connection);
	} else {
		world->closed++;
		world->failed += code != 0;
	}
}

static const struct vnic_connection_operations operations = {
	.read = on_read, .receive = on_receive, .event = on_event};

static int on_accept(void *user, struct vnic_connection *connection)
{
	struct world *world = user;

	world->accepted++;
	vnic_connection_set_user(connection, &operations, world);
	return 0;
}

static void change(struct vnic_stack_options *options, unsigned end, void *user)
{
	(void)end;
	options->tcp_connections = *(const unsigned *)user;
}

static void begin(struct world *world, unsigned most)
{
	static const struct link_impairment far = {.delay_ns = MILLISECOND_NS};
	struct vnic_listener_options where = {.accept = on_accept, .backlog = MANY, .user = world};

	memset(world, 0, sizeof(*world));
	world->clients = calloc(MANY, sizeof(struct vnic_connection *));
	assert_non_null(world->clients);
	link_begin(&world->link, VNIC_LAYER_IP, 1, change, &most);
	link_impair(&world->link, &far);
	for (unsigned i = 0; i <= MANY / CLIENTS_OF_PORT; i++) {
		where.port = (uint16_t)(FIRST_PORT + i);
		assert_int_equal(vnic_listener_open(world->link.ends[1].stack, &where,
						    &world->listeners[i], NULL),
				 0);
	}
}

static void end(struct world *world)
{
	link_end(&world->link);
	free(world->clients);
}

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static size_t memory_bytes(void)
{
	struct mallinfo2 info = mallinfo2();

	return info.uordblks + info.hblkhd;
}

static void open_up_to(struct world *world, unsigned *count, unsigned wanted)
{
	struct vnic_flow flow = {.remote_address = link_address(VNIC_IPV4, 1)};

	for (; *count < wanted; ++*count) {
		flow.remote_port = (uint16_t)(FIRST_PORT + *count / CLIENTS_OF_PORT);
		assert_int_equal(vnic_connection_open(world->link.ends[0].stack, &flow, NULL,
						      &operations, world, &world->clients[*count],
						      NULL),
				 0);
		if (*count % 100 == 99)
			link_wait(&world->link, MILLISECOND_NS / 10);
	}
	link_wait(&world->link, SECOND_NS);
}

static void many_at_once(void **state)
{
	static struct world world;
	size_t before, used;
	unsigned count = 0;
	uint64_t sent;

	(void)state;
	begin(&world, MANY);
	/* What is made for the first ones of all is none of these. */
	open_up_to(&world, &count, 1000);
	before = memory_bytes();
	for (unsigned wanted = MANY / 8; wanted <= MANY; wanted += MANY / 8) {
		double begun = seconds();
		uint64_t packets = world.link.ends[0].sent + world.link.ends[1].sent;

		open_up_to(&world, &count, wanted);
		packets = world.link.ends[0].sent + world.link.ends[1].sent - packets;
		print_message("# %6u connections: %.2f us a packet\n", count,
			      (seconds() - begun) * 1e6 / (double)packets);
	}
	assert_int_equal(world.established, 2 * MANY);
	assert_int_equal(world.accepted, MANY);
	assert_int_equal(world.received_bytes, UINT64_C(200) * MANY);
	assert_int_equal(link_counter(&world.link, 0, VNIC_STACK_CONNECTIONS), MANY);
	assert_int_equal(link_counter(&world.link, 1, VNIC_STACK_CONNECTIONS), MANY);
	assert_true(link_is_idle(&world.link));
	used = memory_bytes() - before;
	print_message("# %zu bytes a connection\n", used / (2 * (MANY - 1000)));
#ifndef __SANITIZE_ADDRESS__
	assert_in_range(used / (2 * (MANY - 1000)), 1, CONNECTION_BYTES_MOST);
#endif
	/* Idle, none of them wants anything. */
	sent = world.link.ends[0].sent + world.link.ends[1].sent;
	link_wait(&world.link, 86400 * SECOND_NS);
	assert_int_equal(world.link.ends[0].sent + world.link.ends[1].sent, sent);
	for (unsigned i = 0; i < MANY; i++)
		vnic_connection_finish(world.clients[i]);
	link_wait(&world.link, 60 * SECOND_NS);
	assert_int_equal(world.closed, 2 * MANY);
	assert_int_equal(world.failed, 0);
	assert_int_equal(link_counter(&world.link, 0, VNIC_STACK_CONNECTIONS), 0);
	assert_int_equal(link_counter(&world.link, 1, VNIC_STACK_CONNECTIONS), 0);
	/* And the same memory serves the next ones. */
	used = memory_bytes();
	count = 0;
	open_up_to(&world, &count, MANY / 4);
	assert_true(memory_bytes() <= used + (used - before) / 8);
	end(&world);
}

static void there_are_no_more_than_allowed(void **state)
{
	enum {
		LIMIT = 40000
	};
	static struct world world;
	struct vnic_flow flow = {.remote_address = link_address(VNIC_IPV4, 1),
				 .remote_port = FIRST_PORT};
	struct vnic_connection *one;
	struct vnic_error error;
	unsigned count = 0;
	int code = 0;

	(void)state;
	begin(&world, LIMIT);
	/* All local ports to one port of a host. */
	while ((code = vnic_connection_open(world.link.ends[0].stack, &flow, NULL, &operations,
					    &world, &one, &error)) == 0)
		count++;
	assert_int_equal(code, -EADDRNOTAVAIL);
	assert_in_range(count, 10000, LIMIT - 1);
	/* To another port there are as many again, up to the bound of the stack. */
	while (code != -ENOSPC) {
		flow.remote_port++;
		while ((code = vnic_connection_open(world.link.ends[0].stack, &flow, NULL,
						    &operations, &world, &one, &error)) == 0)
			count++;
	}
	assert_int_equal(error.cause, VNIC_CAUSE_LIMIT);
	assert_int_equal(count, LIMIT);
	end(&world);
}

/* A socket that was accepted and has nothing to say costs no buffers. */
static void idle_sockets_are_small(void **state)
{
	enum {
		SOCKETS = 2000
	};
	static struct vnic_socket *clients[SOCKETS], *servers[SOCKETS];
	struct vnic_socket_options options = {.backlog = SOCKETS};
	struct vnic_flow flow = {.remote_address = link_address(VNIC_IPV4, 1), .remote_port = 80};
	struct vnic_socket *listening;
	struct link link;
	size_t before;

	(void)state;
	link_begin(&link, VNIC_LAYER_IP, 1, NULL, NULL);
	assert_int_equal(
		vnic_socket_listen(link.ends[1].stack, NULL, 80, &options, &listening, NULL), 0);
	before = memory_bytes();
	for (unsigned i = 0; i < SOCKETS; i++) {
		assert_int_equal(
			vnic_socket_connect(link.ends[0].stack, &flow, &options, &clients[i], NULL),
			0);
		link_wait(&link, MILLISECOND_NS);
		assert_int_equal(vnic_socket_accept(listening, &servers[i]), 0);
	}
	link_wait(&link, SECOND_NS);
	print_message("# %zu bytes a socket with its connection\n",
		      (memory_bytes() - before) / (2 * SOCKETS));
#ifndef __SANITIZE_ADDRESS__
	/* Pools grow by chunks, so there is some slack. */
	assert_in_range((memory_bytes() - before) / (2 * SOCKETS), 1, 3 * CONNECTION_BYTES_MOST);
#endif
	for (unsigned i = 0; i < SOCKETS; i++) {
		vnic_socket_close(clients[i]);
		vnic_socket_close(servers[i]);
	}
	vnic_socket_close(listening);
	link_end(&link);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(many_at_once),
		cmocka_unit_test(there_are_no_more_than_allowed),
		cmocka_unit_test(idle_sockets_are_small),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
