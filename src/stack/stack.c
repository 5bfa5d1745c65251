/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A packet goes up through one function for each layer: ethernet.c, then arp.c or ipv4.c or ipv6.c,
 * reassembly.c if it is a fragment, then icmp.c (and from there ndp.c and mld.c), udp.c or tcp.c.
 * What each finds is kept in a struct vn_input, and what becomes of the packet comes
 * back as the verdict, a counter. Answers go out by error.c and output.c on the way.
 *
 * Every answer goes back to where its request came from, to the same Ethernet address and in the
 * same VLAN. What the stack says by itself, it says to groups (announce.c); what its user has it
 * say first goes to where neighbor.c finds out, in packets as long as path.c knows that the path
 * takes. Errors about any of it come by notice.c.
 *
 * What comes for endpoints is collected (udp.c), and handed out at the end of each burst at the
 * latest. The user's functions are called in the middle of vnic_stack_receive() and
 * vnic_stack_advance(), and may call whatever belongs to endpoints and connections; the stack keeps
 * no pointer over such a call to anything that they could free.
 *
 * All memory is bounded by the options. Tables are allocated here and what stands in them when it
 * is first needed; most of it is never touched on a quiet network, for the system hands out pages
 * when they are first written to.
 *
 * Counters are read from other threads. There is one writer, so a relaxed load and store will do.
 */
#include "stack/stack.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/error.h"

#define TABLE_MOST (1u << 20)
#define WHOLE_BYTES (VN_OUTPUT_HEADROOM_BYTES + 65535 + VNIC_IPV6_HEADER_BYTES)

static const char *const counter_names[] = {
	[VNIC_STACK_RECEIVED] = "received",
	[VNIC_STACK_SENT] = "sent",
	[VNIC_STACK_ARP_REPLIES] = "arp_replies",
	[VNIC_STACK_NEIGHBOR_ADVERTISEMENTS] = "neighbor_advertisements",
	[VNIC_STACK_ECHO_REPLIES] = "echo_replies",
	[VNIC_STACK_UNREACHABLES] = "unreachables",
	[VNIC_STACK_PARAMETER_PROBLEMS] = "parameter_problems",
	[VNIC_STACK_RESETS] = "resets",
	[VNIC_STACK_GROUP_QUERIES] = "group_queries",
	[VNIC_STACK_NEIGHBORS] = "neighbors",
	[VNIC_STACK_NOTICES] = "notices",
	[VNIC_STACK_DATAGRAMS] = "datagrams",
	[VNIC_STACK_SEGMENTS] = "segments",
	[VNIC_STACK_CONFLICTS] = "conflicts",
	[VNIC_STACK_TIME_EXCEEDED] = "time_exceeded",
	[VNIC_STACK_ANNOUNCEMENTS] = "announcements",
	[VNIC_STACK_REASSEMBLED] = "reassembled",
	[VNIC_STACK_FRAGMENTS_JOINED] = "fragments_joined",
	[VNIC_STACK_FRAGMENTS_WAITING] = "fragments_waiting",
	[VNIC_STACK_SOLICITATIONS] = "solicitations",
	[VNIC_STACK_LOST_UNRESOLVED] = "lost_unresolved",
	[VNIC_STACK_ENDPOINTS] = "endpoints",
	[VNIC_STACK_DATAGRAMS_SENT] = "datagrams_sent",
	[VNIC_STACK_CONNECTIONS] = "connections",
	[VNIC_STACK_HALF_OPEN] = "half_open",
	[VNIC_STACK_OPENED] = "opened",
	[VNIC_STACK_ACCEPTED] = "accepted",
	[VNIC_STACK_REFUSED] = "refused",
	[VNIC_STACK_ABORTED] = "aborted",
	[VNIC_STACK_TIMED_OUT] = "timed_out",
	[VNIC_STACK_SEGMENTS_SENT] = "segments_sent",
	[VNIC_STACK_RETRANSMITTED] = "retransmitted",
	[VNIC_STACK_TIMEOUTS] = "timeouts",
	[VNIC_STACK_TAIL_PROBES] = "tail_probes",
	[VNIC_STACK_SPURIOUS] = "spurious",
	[VNIC_STACK_SACKS_REFUSED] = "sacks_refused",
	[VNIC_STACK_WINDOW_PROBES] = "window_probes",
	[VNIC_STACK_KEEPALIVES] = "keepalives",
	[VNIC_STACK_CHALLENGES] = "challenges",
	[VNIC_STACK_COOKIES_SENT] = "cookies_sent",
	[VNIC_STACK_COOKIES_ACCEPTED] = "cookies_accepted",
	[VNIC_STACK_CONGESTION_MARKS] = "congestion_marks",
	[VNIC_STACK_OUT_OF_ORDER_BYTES] = "out_of_order_bytes",
	[VNIC_STACK_DROP_MALFORMED] = "drop_malformed",
	[VNIC_STACK_DROP_CHECKSUM] = "drop_checksum",
	[VNIC_STACK_DROP_TRUNCATED] = "drop_truncated",
	[VNIC_STACK_DROP_NOT_OURS] = "drop_not_ours",
	[VNIC_STACK_DROP_SOURCE] = "drop_source",
	[VNIC_STACK_DROP_PROTOCOL] = "drop_protocol",
	[VNIC_STACK_DROP_UNWANTED] = "drop_unwanted",
	[VNIC_STACK_DROP_NOT_ANSWERABLE] = "drop_not_answerable",
	[VNIC_STACK_DROP_ERROR_RATE] = "drop_error_rate",
	[VNIC_STACK_DROP_REASSEMBLY_FULL] = "drop_reassembly_full",
	[VNIC_STACK_DROP_REASSEMBLY_TIMEOUT] = "drop_reassembly_timeout",
	[VNIC_STACK_DROP_REASSEMBLY_OVERLAP] = "drop_reassembly_overlap",
	[VNIC_STACK_DROP_NOTICE] = "drop_notice",
	[VNIC_STACK_DROP_BACKLOG] = "drop_backlog",
	[VNIC_STACK_DROP_SEQUENCE] = "drop_sequence",
	[VNIC_STACK_DROP_TIMESTAMP] = "drop_timestamp",
	[VNIC_STACK_DROP_OUT_OF_ORDER_FULL] = "drop_out_of_order_full",
	[VNIC_STACK_DROP_NO_ROOM] = "drop_no_room",
};

_Static_assert(sizeof(counter_names) / sizeof(counter_names[0]) == VNIC_STACK_COUNTERS,
	       "each counter has a name");

const char *vnic_stack_counter_name(enum vnic_stack_counter counter)
{
	return (unsigned)counter < VNIC_STACK_COUNTERS ? counter_names[counter] : NULL;
}

uint64_t vnic_stack_counter(const struct vnic_stack *stack, enum vnic_stack_counter counter)
{
	if ((unsigned)counter >= VNIC_STACK_COUNTERS)
		return 0;
	return atomic_load_explicit(&stack->counters[counter], memory_order_relaxed);
}

void vn_stack_count(struct vnic_stack *stack, enum vnic_stack_counter counter, int64_t amount)
{
	_Atomic uint64_t *value = &stack->counters[counter];

	atomic_store_explicit(value,
			      atomic_load_explicit(value, memory_order_relaxed) + (uint64_t)amount,
			      memory_order_relaxed);
}

/* Asked for in larger pieces, since it costs the user a system call each time. */
void vn_stack_random(struct vnic_stack *stack, void *bytes, size_t length_bytes)
{
	size_t size = sizeof(stack->random.bytes);

	if (length_bytes > size - stack->random.used) {
		stack->options.random(stack->options.user, stack->random.bytes, size);
		stack->random.used = 0;
	}
	memcpy(bytes, stack->random.bytes + stack->random.used, length_bytes);
	stack->random.used += (unsigned)length_bytes;
}

uint32_t vn_stack_random32(struct vnic_stack *stack)
{
	uint8_t bytes[4];

	vn_stack_random(stack, bytes, sizeof(bytes));
	return vn_load32(bytes);
}

static int check_options(const struct vnic_stack_options *options, struct vnic_error *error)
{
	static const uint8_t no_mac[VNIC_MAC_BYTES];

	if (!options->send || !options->random)
		return vn_error(error, -EINVAL, VNIC_CAUSE_ARGUMENT,
				"a stack needs functions to send and for randomness");
	if (options->layer != VNIC_LAYER_IP && options->layer != VNIC_LAYER_ETHERNET)
		return vn_error(error, -EINVAL, VNIC_CAUSE_ARGUMENT, "layer %d is none",
				(int)options->layer);
	if (options->layer == VNIC_LAYER_ETHERNET &&
	    (options->mac[0] & 1 || memcmp(options->mac, no_mac, VNIC_MAC_BYTES) == 0))
		return vn_error(error, -EINVAL, VNIC_CAUSE_ARGUMENT,
				"the stack's Ethernet address must be a unicast address");
	if (options->mtu_bytes != 0 && (options->mtu_bytes < 68 || options->mtu_bytes > 65535))
		return vn_error(error, -EINVAL, VNIC_CAUSE_ARGUMENT,
				"an MTU of %u is not within 68 to 65535", options->mtu_bytes);
	if (options->reassembly_datagrams > 4096 || options->reassembly_bytes > 64u << 20)
		return vn_error(error, -EINVAL, VNIC_CAUSE_ARGUMENT,
				"at most 4096 datagrams of 64 MiB in all can be reassembled");
	if (options->neighbors > TABLE_MOST || options->paths > TABLE_MOST ||
	    options->udp_endpoints > TABLE_MOST)
		return vn_error(error, -EINVAL, VNIC_CAUSE_ARGUMENT,
				"at most %u neighbors, paths and endpoints each can be had",
				TABLE_MOST);
	return 0;
}

static void fill_in_defaults(struct vnic_stack_options *options)
{
	if (options->mtu_bytes == 0)
		options->mtu_bytes = 1500;
	if (options->reassembly_datagrams == 0)
		options->reassembly_datagrams = 64;
	if (options->reassembly_bytes == 0)
		options->reassembly_bytes = 1u << 20;
	if (options->reassembly_timeout_ns == 0)
		options->reassembly_timeout_ns = 60 * VN_SECOND_NS;
	if (options->errors_per_second == 0)
		options->errors_per_second = 1000;
	if (options->errors_burst == 0)
		options->errors_burst = 50;
	if (options->neighbors == 0)
		options->neighbors = 1024;
	if (options->paths == 0)
		options->paths = 1024;
	if (options->udp_endpoints == 0)
		options->udp_endpoints = 4096;
	if (options->tcp_listeners == 0)
		options->tcp_listeners = 1024;
	if (options->tcp_connections == 0)
		options->tcp_connections = 131072;
	if (options->tcp_out_of_order_bytes == 0)
		options->tcp_out_of_order_bytes = 64u << 20;
	if (options->tcp_rto_least_ns == 0)
		options->tcp_rto_least_ns = VN_SECOND_NS / 20;
	if (options->tcp_time_wait_ns == 0)
		options->tcp_time_wait_ns = 2 * VN_SECOND_NS;
	if (options->ttl == 0)
		options->ttl = 64;
}

int vnic_stack_new(const struct vnic_stack_options *options, struct vnic_stack **stack,
		   struct vnic_error *error)
{
	struct vnic_stack *new;
	int rc = check_options(options, error);

	if (rc < 0)
		return rc;
	new = calloc(1, sizeof(*new));
	if (!new)
		goto no_memory;
	new->options = *options;
	fill_in_defaults(&new->options);
	new->wake_ns = UINT64_MAX;
	new->announce.report_ns = UINT64_MAX;
	new->random.used = sizeof(new->random.bytes);
	new->rate.interval_ns = VN_SECOND_NS / new->options.errors_per_second;
	new->rate.slack_ns = new->rate.interval_ns *(new->options.errors_burst - 1);
	new->output.buffers = malloc((size_t)VNIC_BURST_PACKETS * VN_OUTPUT_BUFFER_BYTES);
	new->output.large = malloc((size_t)VN_OUTPUT_LARGE * VN_OUTPUT_LARGE_BYTES);
	new->whole = malloc(WHOLE_BYTES);
	if (!new->output.buffers || !new->output.large || !new->whole ||
	    vn_reassembly_new(&new->options, &new->reassembly) < 0 || vn_neighbors_new(new) < 0 ||
	    vn_paths_new(new) < 0 || vn_udp_new(new) < 0 || vn_tcp_new(new) < 0)
		goto no_memory;
	*stack = new;
	return 0;

no_memory:
	vnic_stack_free(new);
	return vn_error(error, -ENOMEM, VNIC_CAUSE_MEMORY, "no memory for a stack");
}

void vnic_stack_free(struct vnic_stack *stack)
{
	if (!stack)
		return;
	vn_reassembly_free(stack->reassembly);
	free(stack->whole);
	vn_tcp_free(stack);
	vn_udp_free(stack);
	vn_paths_free(stack);
	vn_neighbors_free(stack);
	free(stack->output.large);
	free(stack->output.buffers);
	free(stack);
}

static int check_mtu(const struct vnic_stack *stack, const struct vnic_address *address,
		     struct vnic_error *error)
{
	if (address->family == VNIC_IPV6 && stack->options.mtu_bytes < VNIC_IPV6_MTU_BYTES)
		return vn_error(error, -EINVAL, VNIC_CAUSE_ARGUMENT,
				"IPv6 needs an MTU of 1280 at least, and this one is %u",
				stack->options.mtu_bytes);
	return 0;
}

int vnic_stack_add_address(struct vnic_stack *stack, const struct vnic_prefix *address,
			   struct vnic_error *error)
{
	struct vn_address_entry *added;
	int rc = check_mtu(stack, &address->address, error);

	if (rc == 0)
		rc = vn_addresses_add(&stack->addresses, address, &added, error);
	if (rc == 0 && added && stack->link_up)
		vn_announce_address(stack, added);
	return rc;
}

int vnic_stack_add_prefix(struct vnic_stack *stack, const struct vnic_prefix *prefix,
			  struct vnic_error *error)
{
	int rc = check_mtu(stack, &prefix->address, error);

	return rc < 0 ? rc : vn_addresses_add_prefix(&stack->addresses, prefix, error);
}

int vnic_stack_except(struct vnic_stack *stack, const struct vnic_address *address,
		      struct vnic_error *error)
{
	return vn_addresses_except(&stack->addresses, address, error);
}

bool vnic_stack_has(const struct vnic_stack *stack, const struct vnic_address *address)
{
	return vn_addresses_has(&stack->addresses, address);
}

void vn_stack_wake(struct vnic_stack *stack, uint64_t when_ns)
{
	if (when_ns < stack->wake_ns)
		stack->wake_ns = when_ns;
}

void vn_stack_conflict(struct vnic_stack *stack, const struct vn_address_entry *entry,
		       const uint8_t *mac)
{
	if (stack->options.conflict)
		stack->options.conflict(stack->options.user, &entry->address, mac);
}

static void set_time(struct vnic_stack *stack, uint64_t now_ns)
{
	if (now_ns > stack->now_ns)
		stack->now_ns = now_ns;
}

void vnic_stack_link_up(struct vnic_stack *stack, uint64_t now_ns)
{
	set_time(stack, now_ns);
	if (stack->options.layer != VNIC_LAYER_ETHERNET)
		return;
	stack->link_up = true;
	vn_announce_begin(stack);
}

vn_verdict vn_ip_input(struct vnic_stack *stack, struct vn_input *input)
{
	if (input->ip_bytes == 0)
		return VNIC_STACK_DROP_MALFORMED;
	switch (input->ip[0] >> 4) {
	case 4:
		return vn_ipv4_input(stack, input);
	case 6:
		return vn_ipv6_input(stack, input);
	default:
		return VNIC_STACK_DROP_MALFORMED;
	}
}

vn_verdict vn_ip_input_whole(struct vnic_stack *stack, const struct vn_input *fragment,
			     uint32_t length_bytes)
{
	uint8_t *ip = stack->whole + VN_OUTPUT_HEADROOM_BYTES;
	struct vnic_packet packet = {
		.data = ip,
		.length_bytes = length_bytes,
		.capacity_bytes = length_bytes,
		.headroom_bytes = VN_OUTPUT_HEADROOM_BYTES,
	};
	struct vn_input input = {
		.packet = &packet,
		.link = fragment->link,
		.link_group = fragment->link_group,
		.ip = ip,
		.ip_bytes = length_bytes,
		.fragmented = true,
		.reassembled = true,
	};

	return vn_ip_input(stack, &input);
}

static vn_verdict receive_one(struct vnic_stack *stack, struct vnic_packet *packet)
{
	struct vn_input input = {.packet = packet};

	if (packet->flags & VNIC_PACKET_TRUNCATED)
		return VNIC_STACK_DROP_TRUNCATED;
	if (stack->options.layer == VNIC_LAYER_ETHERNET)
		return vn_ethernet_input(stack, &input);
	input.ip = packet->data;
	input.ip_bytes = packet->length_bytes;
	return vn_ip_input(stack, &input);
}

void vnic_stack_receive(struct vnic_stack *stack, struct vnic_packet *packets, unsigned count,
			uint64_t now_ns)
{
	set_time(stack, now_ns);
	stack->inside = true;
	for (unsigned i = 0; i < count; i++) {
		vn_verdict verdict = receive_one(stack, &packets[i]);

		vn_stack_count(stack, VNIC_STACK_RECEIVED, 1);
		vn_stack_count(stack, verdict, 1);
	}
	vn_udp_flush(stack);
	vn_tcp_flush(stack);
	vn_output_flush(stack);
	stack->inside = false;
}

uint64_t vnic_stack_advance(struct vnic_stack *stack, uint64_t now_ns)
{
	uint64_t due_ns[4];

	set_time(stack, now_ns);
	if (stack->now_ns < stack->wake_ns)
		return stack->wake_ns;
	stack->inside = true;
	/* First what users are told of: what they begin then is sent with the rest. */
	vn_neighbors_advance(stack);
	due_ns[0] = vn_tcp_advance(stack);
	due_ns[1] = vn_reassembly_advance(stack);
	due_ns[2] = vn_announce_advance(stack);
	/* Last, for all of these may have asked for neighbors. */
	due_ns[3] = vn_neighbors_next(stack);
	/* What they planned meanwhile is among what they returned. */
	stack->wake_ns = UINT64_MAX;
	for (size_t i = 0; i < sizeof(due_ns) / sizeof(due_ns[0]); i++)
		vn_stack_wake(stack, due_ns[i]);
	vn_output_flush(stack);
	stack->inside = false;
	return stack->wake_ns;
}
