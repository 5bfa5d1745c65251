/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. `discard:` is a port that takes everything and sends nothing: to measure how
 * fast a source is, to let an interface be up, and as the smallest example of a port. It takes
 * super-packets as they are, so nothing is spent on cutting what is thrown away; its packets count
 * as sent.
 */
#include <errno.h>

#include "base/error.h"
#include "io/port.h"

static int open_discard(struct vnic_port *port, const char *rest, struct vnic_error *error)
{
	if (*rest)
		return vn_error(error, -EINVAL, VNIC_CAUSE_ARGUMENT,
				"'%s': nothing may follow the colon", port->specification);
	port->queues[0].offloads = VNIC_OFFLOAD_ALL;
	return 0;
}

static void close_discard(struct vnic_port *port)
{
	(void)port;
}

static int receive(struct vnic_port *port, unsigned queue, struct vnic_packet *packets,
		   unsigned count)
{
	(void)port;
	(void)queue;
	(void)packets;
	(void)count;
	return -EAGAIN;
}

static int send(struct vnic_port *port, unsigned queue, const struct vnic_packet *packets,
		unsigned count)
{
	vn_port_count_out(port, queue, packets, count);
	return (int)count;
}

const struct vn_port_kind vn_port_discard = {
	.name = "discard",
	.open = open_discard,
	.close = close_discard,
	.receive = receive,
	.send = send,
};
