/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A host with TCP behind a TUN or TAP of its own, for the tests to set the kernel's TCP against. It always
 * serves the behaviours of tcp_peer_exchange.c, each on its port; with --connect it opens connections
 * of that behaviour as well. It is driven by signals, so that no test has to guess at times:
 *
 *     SIGUSR1  print a line with all connections and counters
 *     SIGUSR2  let those read that read late
 *     SIGTERM  end with a summary; status 1, if its counters do not add up
 *
 * Everything it prints is a JSON object on a line of its own. It is written on the public API alone.
 */
#include "tcp_peer.h"

#include <err.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

/* What the signal handler knows. */
static struct vnic_device *volatile stop_device;
static volatile sig_atomic_t end_wanted, status_wanted, release_wanted;

static void handle_signal(int number)
{
	if (number == SIGUSR1)
		status_wanted = 1;
	else if (number == SIGUSR2)
		release_wanted = 1;
	else
		end_wanted = 1;
	if (stop_device)
		vnic_stop(stop_device);
}

static void send_packets(void *user, const struct vnic_packet *packets, unsigned count)
{
	struct peer *peer = user;

	if (peer->worker) /* otherwise it ends, and so does its wire */
		vnic_worker_send(peer->worker, packets, count);
}

static void fill_random(void *user, void *bytes, size_t length_bytes)
{
	(void)user;
	if (getrandom(bytes, length_bytes, 0) != (ssize_t)length_bytes)
		abort();
}

static int receive(struct vnic_worker *worker, struct vnic_packet *packets, unsigned count,
		   void *user)
{
	struct peer *peer = user;

	peer->worker = worker;
	vnic_stack_receive(peer->stack, packets, count, vnic_worker_now_ns(worker));
	return 0;
}

static uint64_t advance(struct vnic_worker *worker, uint64_t now_ns, void *user)
{
	struct peer *peer = user;
	uint64_t mine, next;

	peer->worker = worker;
	vnic_stack_advance(peer->stack, now_ns);
	exchanges_connect(peer);
	mine = exchanges_advance(peer, now_ns);
	next = vnic_stack_advance(peer->stack, now_ns);
	return mine < next ? mine : next;
}

static void note_link(struct vnic_worker *worker, enum vnic_link_event event, const char *name,
		      void *user)
{
	struct peer *peer = user;

	(void)name;
	peer->worker = worker;
	if (event == VNIC_LINK_EVENT_UP)
		vnic_stack_link_up(peer->stack, vnic_worker_now_ns(worker));
}

/* The sum that vnic/stack.h promises. */
static bool counters_add_up(const struct vnic_stack *stack)
{
	static const enum vnic_stack_counter places[] = {
		VNIC_STACK_ARP_REPLIES,        VNIC_STACK_NEIGHBOR_ADVERTISEMENTS,
		VNIC_STACK_ECHO_REPLIES,       VNIC_STACK_UNREACHABLES,
		VNIC_STACK_PARAMETER_PROBLEMS, VNIC_STACK_RESETS,
		VNIC_STACK_GROUP_QUERIES,      VNIC_STACK_CONFLICTS,
		VNIC_STACK_NEIGHBORS,          VNIC_STACK_NOTICES,
		VNIC_STACK_DATAGRAMS,          VNIC_STACK_SEGMENTS,
		VNIC_STACK_FRAGMENTS_JOINED,   VNIC_STACK_FRAGMENTS_WAITING,
	};
	uint64_t sum = 0;

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
		sum += vnic_stack_counter(stack, places[i]);
	for (int i = VNIC_STACK_DROP_MALFORMED; i < VNIC_STACK_COUNTERS; i++)
		sum += vnic_stack_counter(stack, (enum vnic_stack_counter)i);
	return sum == vnic_stack_counter(stack, VNIC_STACK_RECEIVED);
}

static void print_status(const struct peer *peer, const char *event)
{
	struct vnic_queue_statistics queue;

	vnic_device_statistics(peer->device, 0, &queue);
	printf("{\"event\":\"%s\",\"started\":%u,\"finished\":%u,\"failed\":%u,\"last_error\":%d"
	       ",\"adds_up\":%d,\"device_received\":%" PRIu64 ",\"device_refused\":%" PRIu64
	       ",\"exchanges\":",
	       event, peer->started, peer->finished, peer->failed, -peer->last_error,
	       counters_add_up(peer->stack), queue.received_packets, queue.send_refused_packets);
	if (peer->active <= 1000)
		exchanges_print(peer);
	else
		printf("[]");
	printf(",\"active\":%u,\"counters\":{", peer->active);
	for (int i = 0; i < VNIC_STACK_COUNTERS; i++)
		printf("%s\"%s\":%" PRIu64, i ? "," : "",
		       vnic_stack_counter_name((enum vnic_stack_counter)i),
		       vnic_stack_counter(peer->stack, (enum vnic_stack_counter)i));
	printf("}}\n");
	fflush(stdout);
}

/* Options. */

enum {
	OPTION_TAP = 256,
	OPTION_NAME,
	OPTION_KERNEL,
	OPTION_HOST,
	OPTION_ROUTER,
	OPTION_MTU,
	OPTION_NO_HEADER,
	OPTION_NO_OFFLOADS,
	OPTION_PLAIN,
	OPTION_QUIET,
	OPTION_CONNECT,
	OPTION_REMOTE,
	OPTION_PORT,
	OPTION_LOCAL_PORT,
	OPTION_CONNECTIONS,
	OPTION_PARALLEL,
	OPTION_BYTES,
	OPTION_SEED,
	OPTION_BUFFER,
	OPTION_BACKLOG,
	OPTION_LIMIT,
	OPTION_TIME_WAIT,
	OPTION_KEEPALIVE,
	OPTION_USER_TIMEOUT,
	OPTION_NEWRENO,
	OPTION_NO_ECN,
	OPTION_NO_SACK,
	OPTION_NO_TIMESTAMPS,
	OPTION_NO_NAGLE
};

static const struct option long_options[] = {
	{"tap", no_argument, NULL, OPTION_TAP},
	{"name", required_argument, NULL, OPTION_NAME},
	{"kernel", required_argument, NULL, OPTION_KERNEL},
	{"host", required_argument, NULL, OPTION_HOST},
	{"router", required_argument, NULL, OPTION_ROUTER},
	{"mtu", required_argument, NULL, OPTION_MTU},
	{"no-header", no_argument, NULL, OPTION_NO_HEADER},
	{"no-offloads", no_argument, NULL, OPTION_NO_OFFLOADS},
	{"plain", no_argument, NULL, OPTION_PLAIN},
	{"quiet", no_argument, NULL, OPTION_QUIET},
	{"connect", required_argument, NULL, OPTION_CONNECT},
	{"remote", required_argument, NULL, OPTION_REMOTE},
	{"port", required_argument, NULL, OPTION_PORT},
	{"local-port", required_argument, NULL, OPTION_LOCAL_PORT},
	{"connections", required_argument, NULL, OPTION_CONNECTIONS},
	{"parallel", required_argument, NULL, OPTION_PARALLEL},
	{"bytes", required_argument, NULL, OPTION_BYTES},
	{"seed", required_argument, NULL, OPTION_SEED},
	{"buffer", required_argument, NULL, OPTION_BUFFER},
	{"backlog", required_argument, NULL, OPTION_BACKLOG},
	{"limit", required_argument, NULL, OPTION_LIMIT},
	{"time-wait-ms", required_argument, NULL, OPTION_TIME_WAIT},
	{"keepalive-ms", required_argument, NULL, OPTION_KEEPALIVE},
	{"user-timeout-ms", required_argument, NULL, OPTION_USER_TIMEOUT},
	{"newreno", no_argument, NULL, OPTION_NEWRENO},
	{"no-ecn", no_argument, NULL, OPTION_NO_ECN},
	{"no-sack", no_argument, NULL, OPTION_NO_SACK},
	{"no-timestamps", no_argument, NULL, OPTION_NO_TIMESTAMPS},
	{"no-nagle", no_argument, NULL, OPTION_NO_NAGLE},
	{0},
};

static unsigned long number_of(const char *text)
{
	char *end;
	unsigned long number = strtoul(text, &end, 10);

	if (!*text || *end)
		errx(2, "'%s' is no number", text);
	return number;
}

static uint64_t milliseconds(const char *text)
{
	return (uint64_t)number_of(text) * 1000000u;
}

static void take_address(struct peer_options *options, int option, const char *text)
{
	struct vnic_error error;
	int code = 0;

	switch (option) {
	case OPTION_KERNEL:
		if (options->kernel_count == 4)
			errx(2, "too many addresses");
		code = vnic_prefix_parse(text, &options->kernel[options->kernel_count++].prefix,
					 &error);
		break;
	case OPTION_HOST:
		if (options->host_count == 4)
			errx(2, "too many addresses");
		code = vnic_prefix_parse(text, &options->hosts[options->host_count++], &error);
		break;
	case OPTION_ROUTER:
		if (options->router_count == 2)
			errx(2, "too many routers");
		code = vnic_address_parse(text, &options->routers[options->router_count++], &error);
		break;
	default:
		code = vnic_address_parse(text, &options->flow.remote_address, &error);
		break;
	}
	if (code < 0)
		errx(2, "%s", error.text);
}

/* Those that have no value. @return false: it has */
static bool take_flag(struct peer_options *options, int option)
{
	struct vnic_connection_options *connection = &options->socket.connection;

	switch (option) {
	case OPTION_TAP:
		return options->tap = true;
	case OPTION_NO_HEADER:
		return options->no_header = true;
	case OPTION_NO_OFFLOADS:
		return options->no_offloads = true;
	case OPTION_PLAIN:
		return options->stack.plain = true;
	case OPTION_QUIET:
		return options->quiet = true;
	case OPTION_NEWRENO:
		connection->congestion = VNIC_CONGESTION_NEWRENO;
		return true;
	case OPTION_NO_ECN:
		return connection->no_ecn = true;
	case OPTION_NO_SACK:
		return connection->no_sack = true;
	case OPTION_NO_TIMESTAMPS:
		return connection->no_timestamps = true;
	case OPTION_NO_NAGLE:
		return connection->no_nagle = true;
	default:
		return false;
	}
}

static void take_number(struct peer_options *options, int option, const char *text)
{
	struct vnic_connection_options *connection = &options->socket.connection;

	switch (option) {
	case OPTION_MTU:
		options->mtu_bytes = (unsigned)number_of(text);
		break;
	case OPTION_PORT:
		options->flow.remote_port = (uint16_t)number_of(text);
		break;
	case OPTION_LOCAL_PORT:
		options->flow.local_port = (uint16_t)number_of(text);
		break;
	case OPTION_CONNECTIONS:
		options->connections = (unsigned)number_of(text);
		break;
	case OPTION_PARALLEL:
		options->parallel = (unsigned)number_of(text);
		break;
	case OPTION_BYTES:
		options->bytes = number_of(text);
		break;
	case OPTION_SEED:
		options->seed = number_of(text);
		break;
	case OPTION_BUFFER:
		options->socket.receive_bytes = (uint32_t)number_of(text);
		options->socket.send_bytes = options->socket.receive_bytes;
		connection->window_bytes = options->socket.receive_bytes;
		break;
	case OPTION_BACKLOG:
		options->socket.backlog = (unsigned)number_of(text);
		break;
	case OPTION_LIMIT:
		options->stack.tcp_connections = (unsigned)number_of(text);
		break;
	case OPTION_TIME_WAIT:
		options->stack.tcp_time_wait_ns = milliseconds(text);
		break;
	case OPTION_KEEPALIVE:
		connection->keepalive_ns = connection->keepalive_interval_ns = milliseconds(text);
		connection->keepalive_probes = 3;
		break;
	case OPTION_USER_TIMEOUT:
		connection->user_timeout_ns = milliseconds(text);
		break;
	default:
		exit(2); /* getopt_long() has said why */
	}
}

static void parse(struct peer_options *options, int argc, char **argv)
{
	int option;

	while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		if (take_flag(options, option))
			continue;
		switch (option) {
		case OPTION_NAME:
			options->name = optarg;
			break;
		case OPTION_CONNECT:
			options->behaviour = behaviour_find(optarg);
			if (!options->behaviour)
				errx(2, "'%s' is no behaviour", optarg);
			break;
		case OPTION_KERNEL:
		case OPTION_HOST:
		case OPTION_ROUTER:
		case OPTION_REMOTE:
			take_address(options, option, optarg);
			break;
		default:
			take_number(options, option, optarg);
			break;
		}
	}
	if (optind < argc)
		errx(2, "'%s' is no option", argv[optind]);
}

/* Set-up. Each returns 0 or a negative errno with the error filled. */

static int open_device(struct peer *peer, struct vnic_error *error)
{
	const struct peer_options *options = &peer->options;
	struct vnic_device_options device = {
		.type = options->tap ? VNIC_TAP : VNIC_TUN,
		.name = options->name,
		.mode = VNIC_OPEN_CREATE,
		.vnet_header_bytes = options->no_header ? 0 : 10,
		.offloads = options->no_header || options->no_offloads
				    ? 0
				    : VNIC_OFFLOAD_CSUM | VNIC_OFFLOAD_TSO4 | VNIC_OFFLOAD_TSO6 |
					      VNIC_OFFLOAD_ECN,
	};
	struct vnic_link_config config = {
		.addresses = options->kernel,
		.address_count = options->kernel_count,
		.mtu_bytes = options->mtu_bytes,
		.queue_packets = 1000,
		.state = VNIC_LINK_UP,
	};
	int code = vnic_device_open(&device, &peer->device, error);

	return code < 0 ? code : vnic_device_configure(peer->device, &config, error);
}

static int make_stack(struct peer *peer, struct vnic_error *error)
{
	struct vnic_stack_options *options = &peer->options.stack;
	int code;

	options->layer = vnic_device_layer(peer->device);
	options->mtu_bytes = peer->options.mtu_bytes;
	options->send = send_packets;
	options->random = fill_random;
	options->user = peer;
	if (peer->options.no_header)
		options->plain = true;
	fill_random(NULL, options->mac, sizeof(options->mac));
	options->mac[0] = (uint8_t)((options->mac[0] & ~1u) | 2u);
	code = vnic_stack_new(options, &peer->stack, error);
	for (unsigned i = 0; code == 0 && i < peer->options.host_count; i++)
		code = vnic_stack_add_address(peer->stack, &peer->options.hosts[i], error);
	for (unsigned i = 0; code == 0 && i < peer->options.router_count; i++)
		code = vnic_stack_set_router(peer->stack, &peer->options.routers[i], error);
	return code < 0 ? code : exchanges_listen(peer, error);
}

/* @return 0; a negative errno: the device cannot be served any more */
static int serve(struct peer *peer, struct vnic_error *error)
{
	static const struct vnic_handler handler = {
		.receive = receive,
		.timer = advance,
		.link = note_link,
	};
	int code;

	while (!end_wanted) {
		code = vnic_run(peer->device, &handler, peer, error);
		peer->worker = NULL;
		if (code < 0)
			return code;
		if (release_wanted)
			peer->is_released = true;
		if (status_wanted) {
			status_wanted = 0;
			print_status(peer, "status");
		}
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct peer peer = {
		.options = {.connections = 1, .parallel = 1, .mtu_bytes = 1500, .seed = 1},
	};
	struct sigaction action = {.sa_handler = handle_signal};
	struct vnic_error error;
	bool adds_up;
	int code;

	parse(&peer.options, argc, argv);
	if (open_device(&peer, &error) < 0 || make_stack(&peer, &error) < 0)
		errx(1, "%s", error.text);
	stop_device = peer.device;
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGUSR1, &action, NULL);
	sigaction(SIGUSR2, &action, NULL);
	printf("{\"event\":\"ready\",\"name\":\"%s\",\"offloads\":%u}\n", peer.options.name,
	       vnic_device_offloads(peer.device));
	fflush(stdout);
	code = serve(&peer, &error);
	if (code < 0)
		warnx("%s", error.text);
	print_status(&peer, "summary");
	adds_up = counters_add_up(peer.stack);
	exchanges_end(&peer);
	vnic_stack_free(peer.stack);
	stop_device = NULL;
	vnic_device_close(peer.device);
	return code < 0 || !adds_up;
}
