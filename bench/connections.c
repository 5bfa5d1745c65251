/* SPDX-License-Identifier: MIT */
/*
 * connections COUNT SECONDS
 *
 * What a segment costs among many connections. Two stacks in one process, on a clock of their own,
 * with COUNT established TCP connections between them; then one request of 64 bytes and its reply
 * of 64 on one of them after the other, chosen at random, so that with many of them the next is not
 * in the cache. 10 us of the stacks' time pass with each request: with one connection the next
 * request acknowledges the last reply, with many of them a timer does. All segments count, and both
 * sides of each: making it in one stack, a copy, and taking it in the other one.
 *
 * The time is the process's own, so other work on the machine disturbs little. The memory is what
 * malloc() gave for a connection in one stack, without what its user keeps.
 */
#include "measure.h"

#include <malloc.h>
#include <vnic/vnic.h>

#define REQUEST_BYTES 64
#define STEP_NS 10000 /* from one request to the next */
#define BATCH 256     /* requests between two looks at the clock */
#define COUNT_MOST 131072
#define PORTS_EACH 20000 /* connections to one port of the server */
#define FIRST_PORT 10000
#define QUEUE_PACKETS 8192
#define SLOT_BYTES 2048

struct user {
	struct vnic_connection *connection;
	uint64_t offered; /* up to which byte */
};

/* A stack, and what is on its way to it. */
struct end {
	struct vnic_stack *stack;
	struct end *other;
	struct vnic_packet queue[QUEUE_PACKETS];
	uint8_t *memory;
	unsigned queued;
	struct user *users; /* of its connections */
	unsigned established;
	uint64_t received_bytes;
};

static struct end ends[2]; /* the one who asks, the one who replies */
static uint64_t now_ns = 1000000000, state = 88172645463325252u;

static _Noreturn void complain(const char *text)
{
	fprintf(stderr, "connections: %s\n", text);
	exit(1);
}

static uint64_t next_random(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static void fill_random(void *user, void *bytes, size_t length)
{
	(void)user;
	for (size_t i = 0; i < length; i++)
		((uint8_t *)bytes)[i] = (uint8_t)(next_random() >> 32);
}

static void queue_packets(void *user, const struct vnic_packet *packets, unsigned count)
{
	struct end *to = ((struct end *)user)->other;

	for (unsigned i = 0; i < count; i++) {
		struct vnic_packet *packet = &to->queue[to->queued];
		uint8_t *slot = to->memory + (size_t)to->queued * SLOT_BYTES;

		if (to->queued == QUEUE_PACKETS || packets[i].length_bytes > SLOT_BYTES)
			complain("more is on its way than can be");
		*packet = packets[i];
		packet->data = memcpy(slot, packets[i].data, packets[i].length_bytes);
		packet->capacity_bytes = SLOT_BYTES;
		packet->headroom_bytes = 0;
		to->queued++;
	}
}

/* Until nothing is on its way any more. */
static void deliver(void)
{
	while (ends[0].queued || ends[1].queued) {
		for (unsigned i = 0; i < 2; i++) {
			struct end *end = &ends[i];
			unsigned count = end->queued;

			/* What it sends meanwhile goes into the other's queue. */
			end->queued = 0;
			for (unsigned done = 0; done < count; done += VNIC_BURST_PACKETS)
				vnic_stack_receive(end->stack, end->queue + done,
						   count - done < VNIC_BURST_PACKETS
							   ? count - done
							   : VNIC_BURST_PACKETS,
						   now_ns);
		}
	}
}

static void advance(void)
{
	vnic_stack_advance(ends[0].stack, now_ns);
	vnic_stack_advance(ends[1].stack, now_ns);
	deliver();
}

static size_t read_bytes(struct vnic_connection *connection, void *user, uint64_t offset,
			 uint8_t *bytes, size_t length)
{
	(void)connection;
	(void)user;
	memset(bytes, (int)(offset / REQUEST_BYTES), length);
	return length;
}

static size_t take_reply(struct vnic_connection *connection, void *user, const uint8_t *bytes,
			 size_t length)
{
	(void)connection;
	(void)user;
	(void)bytes;
	ends[0].received_bytes += length;
	return length;
}

static size_t take_request(struct vnic_connection *connection, void *user, const uint8_t *bytes,
			   size_t length)
{
	struct user *its = user;

	(void)bytes;
	ends[1].received_bytes += length;
	its->offered += length;
	vnic_connection_offer(connection, its->offered);
	return length;
}

static void note_event(struct vnic_connection *connection, void *user,
		       enum vnic_connection_event event, int code)
{
	(void)user;
	(void)code;
	if (event != VNIC_CONNECTION_ESTABLISHED)
		complain("a connection has ended");
	ends[vnic_connection_stack(connection) == ends[1].stack].established++;
}

static const struct vnic_connection_operations asks = {
	.read = read_bytes, .receive = take_reply, .event = note_event};
static const struct vnic_connection_operations replies = {
	.read = read_bytes, .receive = take_request, .event = note_event};

static int accept_connection(void *user, struct vnic_connection *connection)
{
	struct end *end = user;

	vnic_connection_set_user(connection, &replies, &end->users[end->established]);
	return 0;
}

static void open_end(unsigned index, unsigned count)
{
	struct end *end = &ends[index];
	struct vnic_stack_options options = {.layer = VNIC_LAYER_IP,
					     .tcp_connections = COUNT_MOST,
					     .send = queue_packets,
					     .random = fill_random,
					     .user = end};
	struct vnic_listener_options listener = {.accept = accept_connection, .user = end};
	struct vnic_prefix prefix;
	struct vnic_error error;
	struct vnic_listener *unused;

	end->other = &ends[!index];
	end->memory = malloc((size_t)QUEUE_PACKETS * SLOT_BYTES);
	end->users = calloc(count, sizeof(*end->users));
	if (!end->memory || !end->users)
		bench_die("malloc");
	if (vnic_prefix_parse(index ? "10.0.0.2/24" : "10.0.0.1/24", &prefix, &error) ||
	    vnic_stack_new(&options, &end->stack, &error) ||
	    vnic_stack_add_address(end->stack, &prefix, &error))
		complain(error.text);
	listener.connection.no_nagle = true;
	for (unsigned i = 0; index && i <= COUNT_MOST / PORTS_EACH; i++) {
		listener.port = (uint16_t)(FIRST_PORT + i);
		if (vnic_listener_open(end->stack, &listener, &unused, &error))
			complain(error.text);
	}
}

static void connect_one(unsigned index)
{
	struct vnic_connection_options options = {.no_nagle = true};
	struct vnic_flow flow = {.local_port = (uint16_t)(FIRST_PORT + index % PORTS_EACH),
				 .remote_port = (uint16_t)(FIRST_PORT + index / PORTS_EACH)};
	struct user *its = &ends[0].users[index];
	struct vnic_error error;

	vnic_address_parse("10.0.0.2", &flow.remote_address, NULL);
	if (vnic_connection_open(ends[0].stack, &flow, &options, &asks, its, &its->connection,
				 &error))
		complain(error.text);
	advance();
	now_ns += STEP_NS;
}

static uint64_t segments(void)
{
	return vnic_stack_counter(ends[0].stack, VNIC_STACK_SEGMENTS) +
	       vnic_stack_counter(ends[1].stack, VNIC_STACK_SEGMENTS);
}

static void ask(unsigned count)
{
	struct user *its = &ends[0].users[next_random() % count];
	uint64_t before = ends[0].received_bytes;

	its->offered += REQUEST_BYTES;
	vnic_connection_offer(its->connection, its->offered);
	advance();
	if (ends[0].received_bytes != before + REQUEST_BYTES)
		complain("a request without its reply");
	now_ns += STEP_NS;
}

static double own_seconds(void)
{
	struct timespec time;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
	return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static size_t allocated_bytes(void)
{
	struct mallinfo2 info = mallinfo2();

	return info.uordblks + info.hblkhd;
}

static void measure(unsigned count, double seconds, size_t memory_bytes)
{
	uint64_t requests = 0, before = segments();
	double start = own_seconds(), took;

	do {
		for (unsigned i = 0; i < BATCH; i++)
			ask(count);
		requests += BATCH;
		took = own_seconds() - start;
	} while (took < seconds);
	if (vnic_stack_counter(ends[0].stack, VNIC_STACK_RETRANSMITTED) ||
	    vnic_stack_counter(ends[1].stack, VNIC_STACK_RETRANSMITTED))
		complain("segments were sent again, and none was lost");
	before = segments() - before;
	printf("{\"connections\": %u, \"requests\": %llu, \"segments\": %llu, \"segment_ns\": "
	       "%.2f, \"request_ns\": %.2f, \"connection_bytes\": %.1f}\n",
	       count, (unsigned long long)requests, (unsigned long long)before,
	       took / (double)before * 1e9, took / (double)requests * 1e9,
	       (double)memory_bytes / 2 / count);
}

int main(int argc, char **argv)
{
	unsigned count = argc == 3 ? (unsigned)bench_number(argv[1]) : 0;
	size_t memory_bytes;

	if (count < 1 || count > COUNT_MOST) {
		fprintf(stderr, "usage: connections COUNT SECONDS\n");
		return 2;
	}
	open_end(0, count);
	open_end(1, count);
	memory_bytes = allocated_bytes();
	for (unsigned i = 0; i < count; i++)
		connect_one(i);
	memory_bytes = allocated_bytes() - memory_bytes;
	if (ends[0].established != count || ends[1].established != count)
		complain("not all connections were established");
	measure(count, bench_number(argv[2]), memory_bytes);
	for (unsigned i = 0; i < 2; i++) {
		free(ends[i].memory);
		free(ends[i].users);
	}
	return 0;
}
