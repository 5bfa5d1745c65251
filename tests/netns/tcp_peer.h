/* SPDX-License-Identifier: MIT */
/* What the files of tcp_peer share: see tcp_peer.c. */
#ifndef TCP_PEER_H
#define TCP_PEER_H

#include <stdbool.h>
#include <stdint.h>
#include <vnic/vnic.h>

/* What one end of a connection does. A server listens on the port, and a client does it by name. */
struct behaviour {
	const char *name;
	uint16_t port;
	bool sends;          /* pseudo-random bytes, as many as it was told */
	bool echoes;         /* what it reads */
	bool replies;        /* the digest of what came, when the other end has finished */
	bool reads_late;     /* not before it is told to, and then slowly */
	bool finishes_first; /* before it has read anything */
	bool direct;         /* on the API of connections, without a socket */
};
extern const struct behaviour behaviours[];
extern const unsigned behaviour_count;
const struct behaviour *behaviour_find(const char *name);

struct peer_options {
	const char *name, *remote;
	struct vnic_link_address kernel[4];
	unsigned kernel_count;
	struct vnic_prefix hosts[4];
	unsigned host_count;
	struct vnic_address routers[2];
	unsigned router_count;
	struct vnic_flow flow; /* of a client */
	const struct behaviour *behaviour;
	struct vnic_stack_options stack;
	struct vnic_socket_options socket;
	bool tap, no_header, no_offloads, quiet;
	unsigned mtu_bytes, connections, parallel;
	uint64_t bytes, seed;
};

struct exchange;

struct peer {
	struct peer_options options;
	struct vnic_device *device;
	struct vnic_worker *worker; /* NULL: the device is not being served */
	struct vnic_stack *stack;
	struct exchange *exchanges; /* under way */
	struct vnic_socket *listening[16];
	struct vnic_listener *direct[16];
	unsigned active, started, finished, failed;
	int last_error;
	bool is_released;   /* those who read late may read */
	bool has_connected; /* the client is done, and has said so */
};

/* tcp_peer_exchange.c */
int exchanges_listen(struct peer *peer, struct vnic_error *error);
void exchanges_connect(struct peer *peer);
/* Those who read late: @return when to call again, or VNIC_NEVER */
uint64_t exchanges_advance(struct peer *peer, uint64_t now_ns);
void exchanges_print(const struct peer *peer);
/* End all of them, before the stack is freed. */
void exchanges_end(struct peer *peer);

#endif
