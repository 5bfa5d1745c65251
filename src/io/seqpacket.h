/* SPDX-License-Identifier: MIT */
/* A SOCK_SEQPACKET socket with somebody at its other end: what exec: and unix: have in common. */
#ifndef VN_IO_SEQPACKET_H
#define VN_IO_SEQPACKET_H

#include <poll.h>
#include <stdbool.h>
#include <vnic/packet.h>

#include "io/port.h"

struct vn_seqpacket {
	int descriptor;       /* -1: nobody is there */
	unsigned queue_bytes; /* what the kernel lets be under way, as it counts */
	bool is_full;         /* it was, when it was asked last */
};

/** A link with nobody at its other end. */
#define VN_SEQPACKET_INITIAL     \
	{                        \
		.descriptor = -1 \
	}

/** Somebody is there: the descriptor is the link's from now on. */
void vn_seqpacket_begin(struct vn_seqpacket *link, int descriptor);
/** Let the other end go. Where nobody is there: nothing. */
void vn_seqpacket_end(struct vn_seqpacket *link);
/** Let as much be under way from this socket as the kernel grants. @return bytes, as it counts */
unsigned vn_seqpacket_widen(int descriptor);

/**
 * As struct vn_port_kind's receive, for queue 0.
 * @return the number of packets; -EAGAIN: none for now; -EPIPE: the other end is gone, and all that
 *         it had sent is received
 */
int vn_seqpacket_receive(struct vnic_port *port, struct vn_seqpacket *link,
			 struct vnic_packet *packets, unsigned count);
/** As struct vn_port_kind's send, for queue 0. That the other end is gone, only receive tells. */
int vn_seqpacket_send(struct vnic_port *port, struct vn_seqpacket *link,
		      const struct vnic_packet *packets, unsigned count);
/** As room. Where nobody is there: none, so that a patient source waits for somebody. */
unsigned vn_seqpacket_room(struct vn_seqpacket *link);
/** As poll. */
unsigned vn_seqpacket_poll(const struct vn_seqpacket *link, bool want_room,
			   struct pollfd *descriptors);

#endif
