/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * An endpoint is found by what it is bound to, in one hash table for all kinds of binding: one
 * look-up for each kind that is in use, from the most exact on. The hash is keyed, since a gateway
 * connects its endpoints to whatever addresses strangers choose.
 *
 * Datagrams are handed out in bursts. Consecutive ones for the same endpoint are collected, until
 * one for another comes, there are as many as fit, or vnic_stack_receive() is at its end. Until
 * then their payload stays where it is, in the packets that the call was given. That of a
 * reassembled one does not, so it is handed out at once. A datagram of the same flow as the one
 * before it needs no look-up.
 *
 * The user's function may close any endpoint, that which it is called for too: its memory is given
 * back when the call returns. One that is closed while something is collected for it loses that, as
 * a socket loses what stands in its queue.
 *
 * What came to a group or a broadcast address is for the endpoints that are not bound to one
 * address. Where nobody listens a datagram to one of our addresses is answered with port
 * unreachable, which is what ends a traceroute. A super-datagram stands for many datagrams of one
 * flow, is handed on whole, and gets one answer. One inside of a tunnel does not say where the
 * datagrams of the tunnel end, and is not for endpoints.
 *
 * An error is for the endpoint that what it is about would have been answered to. That a datagram
 * was too long is remembered for its path.
 */
#include "stack/udp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/siphash.h"

int vn_udp_new(struct vnic_stack *stack)
{
	unsigned most = stack->options.udp_endpoints;
	struct vn_udp *udp;
	uint32_t slots = 1;

	while (slots < most)
		slots *= 2;
	udp = calloc(1, sizeof(*udp) + slots * sizeof(struct vnic_endpoint *));
	if (!udp)
		return -ENOMEM;
	stack->udp = udp;
	udp->slot_mask = slots - 1;
	vn_stack_random(stack, udp->key, sizeof(udp->key));
	vn_pool_init(&udp->pool, sizeof(struct vnic_endpoint), most);
	return 0;
}

void vn_udp_free(struct vnic_stack *stack)
{
	if (stack->udp)
		vn_pool_done(&stack->udp->pool);
	free(stack->udp);
}

/* What of a flow an endpoint of a kind is bound to. */
static struct vnic_flow key_of(enum vn_udp_kind kind, const struct vnic_flow *flow)
{
	struct vnic_flow key = {.local_port = 0};

	if (kind != VN_UDP_PORT && kind != VN_UDP_ANYTHING)
		key.local_address = flow->local_address;
	if (kind != VN_UDP_ADDRESS && kind != VN_UDP_ANYTHING)
		key.local_port = flow->local_port;
	if (kind == VN_UDP_CONNECTED) {
		key.remote_address = flow->remote_address;
		key.remote_port = flow->remote_port;
	}
	return key;
}

/* key: of key_of(). One of no family hashes as zeros. */
static struct vnic_endpoint **slot_of(struct vn_udp *udp, enum vn_udp_kind kind,
				      const struct vnic_flow *key)
{
	uint8_t bytes[2 * VNIC_IPV6_BYTES + 8];

	memcpy(bytes, key->local_address.bytes, VNIC_IPV6_BYTES);
	memcpy(bytes + VNIC_IPV6_BYTES, key->remote_address.bytes, VNIC_IPV6_BYTES);
	vn_store16(bytes + 32, key->local_port);
	vn_store16(bytes + 34, key->remote_port);
	vn_store16(bytes + 36, (uint16_t)kind);
	vn_store16(bytes + 38, (uint16_t)key->local_address.family);
	return &udp->slots[vn_siphash(udp->key, bytes, sizeof(bytes)) & udp->slot_mask];
}

bool vn_udp_same_flow(const struct vnic_flow *a, const struct vnic_flow *b)
{
	return a->local_port == b->local_port && a->remote_port == b->remote_port &&
	       vnic_address_equal(&a->remote_address, &b->remote_address) &&
	       vnic_address_equal(&a->local_address, &b->local_address);
}

struct vnic_endpoint *vn_udp_find(const struct vnic_stack *stack, enum vn_udp_kind kind,
				  const struct vnic_flow *flow)
{
	struct vnic_flow key = key_of(kind, flow);
	struct vnic_endpoint *endpoint;

	if (stack->udp->counts[kind] == 0)
		return NULL;
	endpoint = *slot_of(stack->udp, kind, &key);
	while (endpoint && (endpoint->kind != kind || !vn_udp_same_flow(&endpoint->flow, &key)))
		endpoint = endpoint->next;
	return endpoint;
}

void vn_udp_insert(struct vnic_endpoint *endpoint)
{
	struct vn_udp *udp = endpoint->stack->udp;
	struct vnic_endpoint **slot = slot_of(udp, endpoint->kind, &endpoint->flow);

	endpoint->next = *slot;
	*slot = endpoint;
	udp->counts[endpoint->kind]++;
	udp->port_uses[endpoint->flow.local_port]++;
	vn_stack_count(endpoint->stack, VNIC_STACK_ENDPOINTS, 1);
}

void vn_udp_remove(struct vnic_endpoint *endpoint)
{
	struct vn_udp *udp = endpoint->stack->udp;
	struct vnic_endpoint **link = slot_of(udp, endpoint->kind, &endpoint->flow);

	while (*link != endpoint)
		link = &(*link)->next;
	*link = endpoint->next;
	udp->counts[endpoint->kind]--;
	udp->port_uses[endpoint->flow.local_port]--;
	vn_stack_count(endpoint->stack, VNIC_STACK_ENDPOINTS, -1);
	if (udp->burst.endpoint == endpoint && !endpoint->in_call) {
		udp->burst.endpoint = NULL;
		udp->burst.count = 0;
	}
}

static struct vnic_endpoint *look_up(const struct vnic_stack *stack, const struct vnic_flow *flow,
				     bool group)
{
	/* Port 0 says that there is none (RFC 768): nothing can be sent there. */
	if (flow->local_port == 0)
		return NULL;
	for (unsigned kind = 0; kind < VN_UDP_KINDS; kind++) {
		struct vnic_endpoint *endpoint;

		if (group && kind != VN_UDP_PORT && kind != VN_UDP_ANYTHING)
			continue;
		endpoint = vn_udp_find(stack, kind, flow);
		if (endpoint)
			return endpoint;
	}
	return NULL;
}

static void end_call(struct vnic_endpoint *endpoint)
{
	endpoint->in_call = false;
	if (endpoint->closed)
		vn_pool_give(&endpoint->stack->udp->pool, endpoint);
}

void vn_udp_flush(struct vnic_stack *stack)
{
	struct vn_udp *udp = stack->udp;
	struct vnic_endpoint *endpoint = udp->burst.endpoint;

	if (!endpoint || endpoint->in_call)
		return;
	udp->burst.cursor = 0;
	endpoint->in_call = true;
	endpoint->receive(endpoint, endpoint->user, udp->burst.datagrams, udp->burst.count);
	udp->burst.endpoint = NULL;
	udp->burst.count = 0;
	end_call(endpoint);
}

static uint8_t traffic_class_of(const struct vn_input *input)
{
	if (input->source.family == VNIC_IPV4)
		return input->ipv4.tos;
	return (uint8_t)(vn_load16(input->ip) >> 4);
}

static void collect(struct vnic_stack *stack, struct vnic_endpoint *endpoint,
		    const struct vn_input *input, const struct vnic_datagram *datagram)
{
	struct vn_udp *udp = stack->udp;

	udp->burst.endpoint = endpoint;
	udp->burst.links[udp->burst.count] = input->link;
	udp->burst.datagrams[udp->burst.count++] = *datagram;
	if (endpoint->kind == VN_UDP_CONNECTED) {
		endpoint->has_link = true;
		endpoint->link = input->link;
		endpoint->link_ns = stack->now_ns;
	}
	if (input->reassembled)
		vn_udp_flush(stack);
}

/*
 * The endpoint for a flow, perhaps the same as that of the datagram before. What is collected for
 * another is handed out first, which may close this one.
 */
static struct vnic_endpoint *endpoint_of(struct vnic_stack *stack, const struct vnic_flow *flow,
					 bool group)
{
	const struct vn_udp *udp = stack->udp;
	struct vnic_endpoint *endpoint;
	unsigned count = udp->burst.count;

	if (count > 0 && count < VNIC_BURST_PACKETS &&
	    vn_udp_same_flow(&udp->burst.datagrams[count - 1].flow, flow))
		return udp->burst.endpoint;
	endpoint = look_up(stack, flow, group);
	if (!endpoint || count == 0 ||
	    (endpoint == udp->burst.endpoint && count < VNIC_BURST_PACKETS))
		return endpoint;
	vn_udp_flush(stack);
	return look_up(stack, flow, group);
}

vn_verdict vn_udp_input(struct vnic_stack *stack, struct vn_input *input)
{
	const uint8_t *bytes = input->ip + input->transport;
	const struct vnic_packet *packet = input->packet;
	struct vnic_endpoint *endpoint;
	struct vnic_datagram datagram;
	struct vnic_udp udp;
	int known = vn_input_checksum(input);

	if (known < 0 || vnic_udp_parse(bytes, input->ip_bytes - input->transport, &udp) < 0)
		return VNIC_STACK_DROP_MALFORMED;
	if (known == 0 && vnic_udp_verify(bytes, &udp, &input->source, &input->destination) < 0)
		return VNIC_STACK_DROP_CHECKSUM;
	datagram = (struct vnic_datagram){
		.flow = {input->destination, input->source, udp.destination_port, udp.source_port},
		.payload = bytes + VNIC_UDP_HEADER_BYTES,
		.length_bytes = (size_t)udp.length_bytes - VNIC_UDP_HEADER_BYTES,
		.traffic_class = traffic_class_of(input),
	};
	endpoint = endpoint_of(stack, &datagram.flow, input->group);
	if (endpoint) {
		if (packet->gso_tunnel != 0)
			return VNIC_STACK_DROP_PROTOCOL;
		if (packet->gso_type == VNIC_GSO_UDP &&
		    packet->gso_size_bytes < datagram.length_bytes)
			datagram.segment_bytes = packet->gso_size_bytes;
		collect(stack, endpoint, input, &datagram);
		return VNIC_STACK_DATAGRAMS;
	}
	if (input->source.family == VNIC_IPV4)
		return vn_error_send(stack, input, VNIC_ICMP_UNREACHABLE,
				     VNIC_ICMP_UNREACHABLE_PORT, 0);
	return vn_error_send(stack, input, VNIC_ICMPV6_UNREACHABLE, VNIC_ICMPV6_UNREACHABLE_PORT,
			     0);
}

vn_verdict vn_udp_notice(struct vnic_stack *stack, const struct vn_notice *notice)
{
	struct vnic_endpoint *endpoint;
	struct vnic_datagram_error error = {.flow = notice->flow, .code = notice->code};

	vn_udp_flush(stack); /* what came before it; and may close the endpoint */
	endpoint = look_up(stack, &notice->flow, false);
	if (!endpoint)
		return VNIC_STACK_DROP_NOTICE;
	if (notice->code == -EMSGSIZE) {
		vn_path_learn(stack, &notice->flow.remote_address, notice->mtu_bytes);
		error.mtu_bytes = vn_path_mtu(stack, &notice->flow.remote_address);
	}
	if (endpoint->error) {
		endpoint->in_call = true;
		endpoint->error(endpoint, endpoint->user, &error);
		end_call(endpoint);
	}
	return VNIC_STACK_NOTICES;
}
