/* SPDX-License-Identifier: MIT */
/**
 * @file
 * UDP endpoints of a stack (RFC 768, RFC 8085).
 *
 * All calls are for the thread that the stack belongs to, from within the callbacks too.
 */
#ifndef VNIC_ENDPOINT_H
#define VNIC_ENDPOINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <vnic/address.h>
#include <vnic/error.h>
#include <vnic/stack.h>

#ifdef __cplusplus
extern "C" {
#endif

struct vnic_endpoint;

/** A datagram, or with segment_bytes several that go the same way. */
struct vnic_datagram {
	struct vnic_flow flow; /**< local: our end; remote: the other, whichever way it goes */
	const uint8_t *payload;
	size_t length_bytes;
	/**
	 * Not 0: a super-datagram, of as many datagrams of so many bytes, the last of which may be
	 * shorter (Linux UDP_SEGMENT and UDP_GRO)
	 */
	uint16_t segment_bytes;
	uint8_t traffic_class; /**< TOS or traffic class, with the ECN bits (RFC 3168 section 5) */
};

/**
 * An ICMP error about something that an endpoint sent, or a neighbor that does not answer
 * (-EHOSTUNREACH; RFC 4861 section 7.2.2).
 */
struct vnic_datagram_error {
	struct vnic_flow flow; /**< of the datagram that it is about */
	/**
	 * -ECONNREFUSED: nobody listens there; -EMSGSIZE: it is too long, see mtu_bytes;
	 * -EHOSTUNREACH, -ENETUNREACH, -EPROTO, -EACCES (RFC 1122 section 3.2.2.1)
	 */
	int code;
	unsigned mtu_bytes; /**< of the path, with -EMSGSIZE: of IP packets */
};

/** What an endpoint is bound to. */
struct vnic_endpoint_options {
	/** One of the stack's; without a family: any that the stack answers for */
	struct vnic_address address;
	uint16_t port; /**< 0: a free one is chosen (RFC 6056), unless any_port */
	bool any_port; /**< every port that no other endpoint has: for gateways. port must be 0 */
	/**
	 * With a family: connected. Only what comes from there is received, and errors about it.
	 * Without an address of its own the stack chooses one
	 */
	struct vnic_address remote_address;
	uint16_t remote_port;
	/**
	 * Datagrams came, count of them from 1 to VNIC_BURST_PACKETS. They are good during the call
	 * only. The local address is what they were sent to, a group or a broadcast address too.
	 */
	void (*receive)(struct vnic_endpoint *endpoint, void *user,
			const struct vnic_datagram *datagrams, unsigned count);
	/** An ICMP error came. NULL is allowed. */
	void (*error)(struct vnic_endpoint *endpoint, void *user,
		      const struct vnic_datagram_error *error);
	void *user;
	/** Never fragment: what is longer than the path's MTU is -EMSGSIZE (RFC 1191, RFC 8201) */
	bool dont_fragment;
};

/**
 * Bind an endpoint. The most exact one gets a datagram: connected, address and port, port, address
 * with any port, anything.
 * @return 0; -EINVAL (ARGUMENT): no receive, or options that contradict each other;
 *         -EADDRNOTAVAIL (ADDRESS_INVALID): not an address of the stack's; no port left;
 *         -EADDRINUSE (ADDRESS_TAKEN); -ENOSPC (LIMIT): udp_endpoints of the stack; -ENOMEM
 *         (MEMORY)
 */
VNIC_API int vnic_endpoint_open(struct vnic_stack *stack,
				const struct vnic_endpoint_options *options,
				struct vnic_endpoint **endpoint, struct vnic_error *error);
/**
 * Close. From within its own callbacks, too. What came and was not handed out yet is lost. Closed
 * with the stack as well, without a call. NULL is allowed.
 */
VNIC_API void vnic_endpoint_close(struct vnic_endpoint *endpoint);
/** Where it is bound; the remote end has no family unless it is connected. */
VNIC_API const struct vnic_flow *vnic_endpoint_flow(const struct vnic_endpoint *endpoint);
VNIC_API struct vnic_stack *vnic_endpoint_stack(const struct vnic_endpoint *endpoint);

/**
 * Send datagrams. In each the remote end must be given unless the endpoint is connected, and the
 * local one may be (without a family, and with port 0, the endpoint's; where that has none one of
 * the stack's is chosen). So what was received can be answered by its own flow; what came to a
 * group or a broadcast address is answered from one of the stack's. Longer ones than the path's MTU
 * are fragmented, unless dont_fragment; a super-datagram never is: its segments must fit. It may
 * have any length.
 *
 * Within a callback, what is sent goes out before the vnic_stack_receive() or vnic_stack_advance()
 * that it is called in returns, and otherwise at once. Where on Ethernet the other end's address
 * has to be asked for first, up to three packets wait for the answer, and vnic_stack_advance() must
 * be called after this. Nobody is told if there is none: it is counted
 * (VNIC_STACK_LOST_UNRESOLVED), and what is sent may be lost anyway.
 * @return how many were sent: less than count where one failed, and then the next call with it
 *         first tells why: -EMSGSIZE: too long; -EDESTADDRREQ: no remote end; -EADDRNOTAVAIL: not
 *         an address of the stack's, or it has none for that; -EINVAL: another end than the
 *         endpoint is bound or connected to, no port, two families, the stack itself or another
 *         remote address that nothing can be sent to, no payload
 */
VNIC_API int vnic_endpoint_send(struct vnic_endpoint *endpoint,
				const struct vnic_datagram *datagrams, unsigned count);
/** The MTU of the path to an address, of IP packets in bytes (RFC 1191, RFC 8201). */
VNIC_API unsigned vnic_stack_path_mtu(const struct vnic_stack *stack,
				      const struct vnic_address *remote);

#ifdef __cplusplus
}
#endif
#endif
