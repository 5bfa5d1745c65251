/* SPDX-License-Identifier: MIT */
/* What udp.c and endpoint.c share: see udp.c. */
#ifndef VN_STACK_UDP_H
#define VN_STACK_UDP_H

#include <stdbool.h>
#include <stdint.h>
#include <vnic/endpoint.h>

#include "base/pool.h"
#include "stack/stack.h"

/* How exactly an endpoint says what it wants, the most exact first. */
enum vn_udp_kind {
	VN_UDP_CONNECTED,
	VN_UDP_ADDRESS_PORT,
	VN_UDP_PORT,
	VN_UDP_ADDRESS, /* with any port */
	VN_UDP_ANYTHING,
	VN_UDP_KINDS
};

struct vnic_endpoint {
	struct vnic_endpoint *next; /* in its slot */
	struct vnic_stack *stack;
	struct vnic_flow flow; /* what it is bound to: no family and port 0 where it is not */
	uint8_t kind;          /* enum vn_udp_kind */
	bool dont_fragment;
	bool closed;      /* and to be freed when its callback returns */
	bool in_call;     /* of one of its callbacks */
	bool has_link;    /* connected: link is where the last datagram came from */
	uint64_t link_ns; /* when */
	struct vn_link link;
	void (*receive)(struct vnic_endpoint *endpoint, void *user,
			const struct vnic_datagram *datagrams, unsigned count);
	void (*error)(struct vnic_endpoint *endpoint, void *user,
		      const struct vnic_datagram_error *error);
	void *user;
};

struct vn_udp {
	uint8_t key[16];
	struct vn_pool pool; /* of struct vnic_endpoint */
	unsigned counts[VN_UDP_KINDS];
	/* What is collected, for the endpoint if there is one. */
	struct {
		struct vnic_endpoint *endpoint;
		unsigned count;
		unsigned cursor; /* where the last answer's question was */
		struct vnic_datagram datagrams[VNIC_BURST_PACKETS];
		struct vn_link links[VNIC_BURST_PACKETS];
	} burst;
	uint32_t port_uses[65536]; /* endpoints with each port */
	uint32_t slot_mask;
	struct vnic_endpoint *slots[];
};

/* The endpoint that is bound to just this; NULL: none. */
struct vnic_endpoint *vn_udp_find(const struct vnic_stack *stack, enum vn_udp_kind kind,
				  const struct vnic_flow *flow);
/* Enter and take out an endpoint, whose kind and flow are set. */
void vn_udp_insert(struct vnic_endpoint *endpoint);
void vn_udp_remove(struct vnic_endpoint *endpoint);
bool vn_udp_same_flow(const struct vnic_flow *a, const struct vnic_flow *b);

#endif
