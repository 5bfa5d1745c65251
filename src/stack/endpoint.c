/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Opening decides which kind of binding an endpoint has, and chooses a port if it is to: the first
 * free one from a random place in the dynamic range on (RFC 6056 section 3.3.1). A port that any
 * other endpoint has is not free, unless none is left and the endpoint is connected: then another
 * remote end will do.
 *
 * Sending writes headers and payload into memory of the output: once, and with the checksum in the
 * same pass where it is ours to do. What fits the path goes out with its checksum left open, and a
 * super-datagram as one packet that says how to cut it, as long as a packet may be. With plain
 * packets only, it is cut here. What is longer than the path takes is fragmented, in vn_output_ip().
 *
 * Where to: for datagrams of one flow that is found out once in a call. An answer, given while the
 * question is being handed out or from a connected endpoint soon after, goes to the station that
 * the question came from; anything else to where neighbor.c says. While that is not known, what is
 * sent waits there.
 */
#include <errno.h>
#include <string.h>
#include <vnic/endpoint.h>

#include "base/bytes.h"
#include "base/error.h"
#include "packet/checksum.h"
#include "stack/udp.h"

#define PORT_FIRST 32768
#define PORT_COUNT (61000 - PORT_FIRST)
#define DATAGRAM_MOST_BYTES 65535 /* with its header */
#define IP_MOST_BYTES 65535
#define SEGMENTS_MOST 64 /* in a packet: what every kernel takes */
#define UDP_CHECKSUM_OFFSET 6
#define LINK_NS (30 * VN_SECOND_NS) /* how long the way back is believed */
#define IPV4_DONT_FRAGMENT 0x4000

/* Where the datagrams of one flow go. */
struct route {
	struct vnic_flow flow;
	struct vn_link link;
	bool has_link;
	unsigned mtu_bytes;
};

static struct vnic_address plain_address(const struct vnic_address *address)
{
	return vnic_address_from_bytes(address->family, address->bytes);
}

/* True for what something may be sent to. Broadcast and multicast may; we ourselves cannot. */
static bool is_destination(struct vnic_stack *stack, const struct vnic_address *address)
{
	return !vnic_address_is_unspecified(address) && !vnic_address_is_loopback(address) &&
	       (address->family != VNIC_IPV4 || address->bytes[0] != 0) &&
	       !vn_addresses_own(&stack->addresses, address);
}

static bool choose_source(const struct vnic_stack *stack, const struct vnic_address *destination,
			  struct vnic_address *source)
{
	static const struct vnic_address no_group;

	return vn_addresses_choose(&stack->addresses, &no_group, destination, source);
}

static int check_options(struct vnic_stack *stack, const struct vnic_endpoint_options *options,
			 struct vnic_error *error)
{
	bool connected = options->remote_address.family != VNIC_NO_FAMILY;

	if (!options->receive)
		return vn_error(error, -EINVAL, VNIC_CAUSE_ARGUMENT,
				"an endpoint needs a function that receives");
	if (options->any_port && (options->port != 0 || connected))
		return vn_error(error, -EINVAL, VNIC_CAUSE_ARGUMENT,
				"an endpoint for any port has no port and no remote end");
	if (connected && (options->remote_port == 0 ||
			  (options->address.family != VNIC_NO_FAMILY &&
			   options->address.family != options->remote_address.family)))
		return vn_error(error, -EINVAL, VNIC_CAUSE_ARGUMENT,
				"a remote end has a port, and an address of the same family");
	if (connected && !is_destination(stack, &options->remote_address))
		return vn_error(error, -EINVAL, VNIC_CAUSE_ARGUMENT,
				"nothing can be sent to that remote address");
	if (!connected && options->remote_port != 0)
		return vn_error(error, -EINVAL, VNIC_CAUSE_ARGUMENT, "a remote end has an address");
	return 0;
}

static enum vn_udp_kind kind_of(const struct vnic_endpoint_options *options)
{
	if (options->remote_address.family != VNIC_NO_FAMILY)
		return VN_UDP_CONNECTED;
	if (options->address.family != VNIC_NO_FAMILY)
		return options->any_port ? VN_UDP_ADDRESS : VN_UDP_ADDRESS_PORT;
	return options->any_port ? VN_UDP_ANYTHING : VN_UDP_PORT;
}

/* Find a port that is free for the endpoint. @return 0: none is */
static uint16_t choose_port(const struct vnic_endpoint *endpoint)
{
	struct vnic_stack *stack = endpoint->stack;
	uint32_t start = vn_stack_random32(stack) % PORT_COUNT;
	struct vnic_flow flow = endpoint->flow;

	for (unsigned shared = 0; shared <= (endpoint->kind == VN_UDP_CONNECTED); shared++)
		for (uint32_t i = 0; i < PORT_COUNT; i++) {
			flow.local_port = (uint16_t)(PORT_FIRST + (start + i) % PORT_COUNT);
			if (shared ? !vn_udp_find(stack, VN_UDP_CONNECTED, &flow)
				   : stack->udp->port_uses[flow.local_port] == 0)
				return flow.local_port;
		}
	return 0;
}

/* Set kind and flow. */
static int bind_endpoint(struct vnic_endpoint *endpoint,
			 const struct vnic_endpoint_options *options, struct vnic_error *error)
{
	struct vnic_stack *stack = endpoint->stack;
	struct vnic_flow *flow = &endpoint->flow;
	char text[VNIC_ADDRESS_TEXT_BYTES];

	endpoint->kind = (uint8_t)kind_of(options);
	flow->local_address = plain_address(&options->address);
	flow->local_port = options->port;
	flow->remote_address = plain_address(&options->remote_address);
	flow->remote_port = options->remote_port;
	if (endpoint->kind == VN_UDP_CONNECTED && flow->local_address.family == VNIC_NO_FAMILY &&
	    !choose_source(stack, &flow->remote_address, &flow->local_address))
		return vn_error(error, -EADDRNOTAVAIL, VNIC_CAUSE_ADDRESS_INVALID,
				"the stack has no address to reach %s from",
				vnic_address_format(&flow->remote_address, text));
	if (flow->local_address.family != VNIC_NO_FAMILY &&
	    !vn_addresses_has(&stack->addresses, &flow->local_address))
		return vn_error(error, -EADDRNOTAVAIL, VNIC_CAUSE_ADDRESS_INVALID,
				"%s is no address of the stack",
				vnic_address_format(&flow->local_address, text));
	if (!options->any_port && flow->local_port == 0) {
		flow->local_port = choose_port(endpoint);
		if (flow->local_port == 0)
			return vn_error(error, -EADDRNOTAVAIL, VNIC_CAUSE_ADDRESS_INVALID,
					"no port is left");
	}
	if (vn_udp_find(stack, endpoint->kind, flow))
		return vn_error(error, -EADDRINUSE, VNIC_CAUSE_ADDRESS_TAKEN,
				"another endpoint is bound to UDP port %u there", flow->local_port);
	return 0;
}

/* Where the datagram came from that is just being handed out and may be the question. NULL: none is */
static const struct vn_link *way_of_question(struct vn_udp *udp, const struct vnic_address *remote)
{
	/* Answers mostly come in the order of the questions. */
	for (unsigned i = 0; i < udp->burst.count; i++) {
		unsigned at = (udp->burst.cursor + i) % udp->burst.count;

		if (!vnic_address_equal(&udp->burst.datagrams[at].flow.remote_address, remote))
			continue;
		udp->burst.cursor = at;
		return &udp->burst.links[at];
	}
	return NULL;
}

/*
 * One that is opened for who has just asked knows the way to there. With several queues to ask for it may be in
 * vain: the answer comes in on whichever the kernel chooses.
 */
static void learn_way(struct vnic_endpoint *endpoint)
{
	struct vnic_stack *stack = endpoint->stack;
	struct vn_udp *udp = stack->udp;
	const struct vn_link *link;

	if (endpoint->flow.remote_address.family == VNIC_NO_FAMILY || !udp->burst.endpoint ||
	    !udp->burst.endpoint->in_call)
		return;
	link = way_of_question(udp, &endpoint->flow.remote_address);
	if (!link)
		return;
	endpoint->has_link = true;
	endpoint->link = *link;
	endpoint->link_ns = stack->now_ns;
}

int vnic_endpoint_open(struct vnic_stack *stack, const struct vnic_endpoint_options *options,
		       struct vnic_endpoint **endpoint, struct vnic_error *error)
{
	struct vn_pool *pool = &stack->udp->pool;
	struct vnic_endpoint *new;
	int rc = check_options(stack, options, error);

	if (rc < 0)
		return rc;
	if (pool->in_use == pool->most)
		return vn_error(error, -ENOSPC, VNIC_CAUSE_LIMIT,
				"a stack cannot have more than %u endpoints", pool->most);
	new = vn_pool_take(pool);
	if (!new)
		return vn_error(error, -ENOMEM, VNIC_CAUSE_MEMORY, "no memory for an endpoint");
	new->stack = stack;
	rc = bind_endpoint(new, options, error);
	if (rc < 0) {
		vn_pool_give(pool, new);
		return rc;
	}
	new->receive = options->receive;
	new->error = options->error;
	new->user = options->user;
	new->dont_fragment = options->dont_fragment;
	learn_way(new);
	vn_udp_insert(new);
	*endpoint = new;
	return 0;
}

void vnic_endpoint_close(struct vnic_endpoint *endpoint)
{
	if (!endpoint)
		return;
	vn_udp_remove(endpoint);
	endpoint->closed = true;
	if (!endpoint->in_call)
		vn_pool_give(&endpoint->stack->udp->pool, endpoint);
}

const struct vnic_flow *vnic_endpoint_flow(const struct vnic_endpoint *endpoint)
{
	return &endpoint->flow;
}

struct vnic_stack *vnic_endpoint_stack(const struct vnic_endpoint *endpoint)
{
	return endpoint->stack;
}

/* An end that is given must be the one that is bound, if one is. */
static bool fits(const struct vnic_address *given, uint16_t given_port,
		 const struct vnic_address *bound, uint16_t bound_port)
{
	return (given->family == VNIC_NO_FAMILY || bound->family == VNIC_NO_FAMILY ||
		vnic_address_equal(given, bound)) &&
	       (given_port == 0 || bound_port == 0 || given_port == bound_port);
}

/* Fill in what a datagram leaves open of its flow, and check the rest. */
static int complete_flow(const struct vnic_endpoint *endpoint, const struct vnic_flow *given,
			 struct vnic_flow *flow)
{
	const struct vnic_flow *bound = &endpoint->flow;
	struct vnic_stack *stack = endpoint->stack;
	struct vn_addresses *addresses = &stack->addresses;

	flow->local_address = plain_address(&given->local_address);
	flow->remote_address = plain_address(&given->remote_address);
	/* What came to a group is answered from one of our addresses. */
	if (vnic_address_is_multicast(&flow->local_address) ||
	    vn_addresses_is_broadcast(addresses, &flow->local_address))
		flow->local_address.family = VNIC_NO_FAMILY;
	if (!fits(&flow->remote_address, given->remote_port, &bound->remote_address,
		  bound->remote_port) ||
	    !fits(&flow->local_address, given->local_port, &bound->local_address,
		  bound->local_port))
		return -EINVAL;
	if (bound->remote_address.family != VNIC_NO_FAMILY)
		flow->remote_address = bound->remote_address;
	if (flow->remote_address.family == VNIC_NO_FAMILY)
		return -EDESTADDRREQ;
	flow->remote_port = given->remote_port ? given->remote_port : bound->remote_port;
	flow->local_port = given->local_port ? given->local_port : bound->local_port;
	if (flow->remote_port == 0 || flow->local_port == 0 ||
	    !is_destination(stack, &flow->remote_address))
		return -EINVAL;
	if (flow->local_address.family == VNIC_NO_FAMILY)
		flow->local_address = bound->local_address;
	if (flow->local_address.family == VNIC_NO_FAMILY &&
	    !choose_source(stack, &flow->remote_address, &flow->local_address))
		return -EADDRNOTAVAIL;
	if (flow->local_address.family != flow->remote_address.family)
		return -EINVAL;
	return vn_addresses_has(addresses, &flow->local_address) ? 0 : -EADDRNOTAVAIL;
}

/* Where the question came from that this may be the answer to. NULL: it is none */
static const struct vn_link *way_back(const struct vnic_endpoint *endpoint,
				      const struct vnic_address *remote)
{
	const struct vnic_stack *stack = endpoint->stack;
	struct vn_udp *udp = stack->udp;

	if (stack->options.layer != VNIC_LAYER_ETHERNET)
		return NULL;
	if (endpoint->in_call && udp->burst.endpoint == endpoint) {
		const struct vn_link *link = way_of_question(udp, remote);

		if (link)
			return link;
	}
	if (endpoint->has_link && stack->now_ns - endpoint->link_ns < LINK_NS)
		return &endpoint->link;
	return NULL;
}

static int find_route(const struct vnic_endpoint *endpoint, const struct vnic_flow *given,
		      struct route *route)
{
	struct vnic_stack *stack = endpoint->stack;
	const struct vn_link *link;
	int rc = complete_flow(endpoint, given, &route->flow);

	if (rc < 0)
		return rc;
	link = way_back(endpoint, &route->flow.remote_address);
	if (!link)
		link = vn_neighbor_find(stack, &route->flow.local_address,
					&route->flow.remote_address);
	route->has_link = link;
	if (link)
		route->link = *link;
	route->mtu_bytes = vn_path_mtu(stack, &route->flow.remote_address);
	return 0;
}

/* Write the IP header. @return its length in bytes */
static size_t put_ip_header(const struct vnic_endpoint *endpoint, const struct vnic_flow *flow,
			    uint8_t *ip, uint8_t traffic_class, size_t payload_bytes)
{
	struct vnic_stack *stack = endpoint->stack;
	/* What goes to a group stays on the link unless somebody wants it otherwise (RFC 1112). */
	uint8_t hop_limit =
		vnic_address_is_multicast(&flow->remote_address) ? 1 : stack->options.ttl;
	size_t header =
		vn_output_ip_header(stack, ip, &flow->local_address, &flow->remote_address,
				    VNIC_PROTOCOL_UDP, traffic_class, hop_limit, payload_bytes);

	if (endpoint->dont_fragment && flow->local_address.family == VNIC_IPV4) {
		uint16_t before = vn_load16(ip + 6);
		uint16_t after = before | IPV4_DONT_FRAGMENT;

		vn_store16(ip + 6, after);
		vn_store16(ip + 10, vnic_checksum_update16(vn_load16(ip + 10), before, after));
	}
	return header;
}

/* One packet; of several segments if segment_bytes is less than its length and not 0. */
static void transmit(const struct vnic_endpoint *endpoint, const struct route *route,
		     const struct vnic_datagram *datagram, size_t at, size_t length_bytes)
{
	struct vnic_stack *stack = endpoint->stack;
	const struct vnic_flow *flow = &route->flow;
	size_t udp_bytes = VNIC_UDP_HEADER_BYTES + length_bytes;
	size_t header = vn_output_ip_header_bytes(flow->local_address.family);
	size_t total = header + udp_bytes;
	bool is_super = datagram->segment_bytes && length_bytes > datagram->segment_bytes;
	bool open = !stack->options.plain && (is_super || total <= route->mtu_bytes);
	uint8_t *ip =
		total <= VN_OUTPUT_SMALL_BYTES ? vn_output_buffer(stack) : vn_output_large(stack);
	uint8_t *udp = ip + header;
	struct vnic_packet packet = {.data = ip, .length_bytes = (uint32_t)total};
	uint32_t sum = vnic_checksum_add_pseudo(0, &flow->local_address, &flow->remote_address,
						VNIC_PROTOCOL_UDP, (uint32_t)udp_bytes);
	uint16_t checksum;

	put_ip_header(endpoint, flow, ip, datagram->traffic_class, udp_bytes);
	vn_store16(udp, flow->local_port);
	vn_store16(udp + 2, flow->remote_port);
	vn_store16(udp + 4, (uint16_t)udp_bytes);
	vn_store16(udp + UDP_CHECKSUM_OFFSET, 0);
	if (open) {
		if (length_bytes > 0)
			memcpy(udp + VNIC_UDP_HEADER_BYTES, datagram->payload + at, length_bytes);
		vn_store16(udp + UDP_CHECKSUM_OFFSET, vn_checksum_fold(sum));
		packet.flags = VNIC_PACKET_NEEDS_CSUM;
		packet.csum_start = (uint16_t)header;
		packet.csum_offset = UDP_CHECKSUM_OFFSET;
	} else {
		sum = vnic_checksum_add(sum, udp, VNIC_UDP_HEADER_BYTES);
		sum = vn_checksum_combine(sum,
					  vn_checksum_copy(udp + VNIC_UDP_HEADER_BYTES,
							   datagram->payload + at, length_bytes));
		checksum = vn_checksum_finish(sum);
		vn_store16(udp + UDP_CHECKSUM_OFFSET, checksum ? checksum : 0xffff);
	}
	if (open && is_super) {
		packet.gso_type = VNIC_GSO_UDP;
		packet.gso_size_bytes = datagram->segment_bytes;
	}
	if (!route->has_link)
		vn_neighbor_wait(stack, &packet);
	else if (open)
		vn_output_packet(stack, &route->link, &packet);
	else
		vn_output_ip(stack, &route->link, ip, total);
}

static int send_super(const struct vnic_endpoint *endpoint, const struct route *route,
		      const struct vnic_datagram *datagram)
{
	size_t segment = datagram->segment_bytes, left = datagram->length_bytes, most;
	size_t headers =
		vn_output_ip_header_bytes(route->flow.local_address.family) + VNIC_UDP_HEADER_BYTES;

	if (headers + segment > route->mtu_bytes)
		return -EMSGSIZE;
	most = (IP_MOST_BYTES - headers) / segment;
	if (endpoint->stack->options.plain)
		most = 1;
	else if (most > SEGMENTS_MOST)
		most = SEGMENTS_MOST;
	most *= segment;
	for (size_t at = 0; left > 0; at += most) {
		size_t piece = left < most ? left : most;

		transmit(endpoint, route, datagram, at, piece);
		left -= piece;
	}
	return 0;
}

static int send_one(const struct vnic_endpoint *endpoint, const struct route *route,
		    const struct vnic_datagram *datagram)
{
	size_t length = datagram->length_bytes;
	size_t header = vn_output_ip_header_bytes(route->flow.local_address.family);
	/* IPv4 counts its header. */
	size_t most = DATAGRAM_MOST_BYTES - VNIC_UDP_HEADER_BYTES;

	if (length > 0 && !datagram->payload)
		return -EINVAL;
	if (datagram->segment_bytes && length > datagram->segment_bytes)
		return send_super(endpoint, route, datagram);
	if (route->flow.local_address.family == VNIC_IPV4)
		most -= VNIC_IPV4_HEADER_BYTES;
	if (length > most ||
	    (endpoint->dont_fragment && header + VNIC_UDP_HEADER_BYTES + length > route->mtu_bytes))
		return -EMSGSIZE;
	transmit(endpoint, route, datagram, 0, length);
	return 0;
}

int vnic_endpoint_send(struct vnic_endpoint *endpoint, const struct vnic_datagram *datagrams,
		       unsigned count)
{
	struct vnic_stack *stack = endpoint->stack;
	struct route route;
	unsigned sent;
	int rc = 0;

	for (sent = 0; sent < count; sent++) {
		if (sent == 0 ||
		    !vn_udp_same_flow(&datagrams[sent].flow, &datagrams[sent - 1].flow))
			rc = find_route(endpoint, &datagrams[sent].flow, &route);
		if (rc == 0)
			rc = send_one(endpoint, &route, &datagrams[sent]);
		if (rc < 0)
			break;
	}
	vn_stack_count(stack, VNIC_STACK_DATAGRAMS_SENT, sent);
	if (!stack->inside)
		vn_output_flush(stack);
	return sent > 0 ? (int)sent : rc;
}
