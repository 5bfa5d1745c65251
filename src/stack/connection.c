/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * The calls of vnic/connection.h. They change what a connection knows and put it into the list of those
 * that may have something to send; nothing is sent from here but resets, so a user may call them
 * from anywhere. Opening one sends its SYN from the list as well.
 */
#include <vnic/connection.h>

#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "stack/tcp.h"

/* RFC 6056 section 3.3.1: random, and on from there while the flow exists. @return 0: none is free */
static uint16_t choose_port(struct vnic_stack *stack, struct vnic_flow *flow)
{
	uint32_t first = vn_stack_random32(stack) % VN_TCP_PORT_COUNT;

	for (uint32_t i = 0; i < VN_TCP_PORT_COUNT; i++) {
		flow->local_port = (uint16_t)(VN_TCP_PORT_FIRST + (first + i) % VN_TCP_PORT_COUNT);
		if (!vn_tcp_find(stack, flow))
			return flow->local_port;
	}
	return 0;
}

static int choose_local(struct vnic_stack *stack, struct vnic_flow *flow, struct vnic_error *error)
{
	char text[VNIC_ADDRESS_TEXT_BYTES];

	if (flow->remote_port == 0 || vnic_address_is_unspecified(&flow->remote_address) ||
	    vnic_address_is_multicast(&flow->remote_address) ||
	    vn_addresses_is_broadcast(&stack->addresses, &flow->remote_address))
		return vn_error(error, -EINVAL, VNIC_CAUSE_ARGUMENT,
				"a connection goes to the address and port of one host");
	if (flow->local_address.family == VNIC_NO_FAMILY) {
		if (!vn_addresses_choose(&stack->addresses, &flow->remote_address,
					 &flow->remote_address, &flow->local_address))
			return vn_error(error, -EADDRNOTAVAIL, VNIC_CAUSE_ADDRESS_INVALID,
					"the stack has no address to reach %s from",
					vnic_address_format(&flow->remote_address, text));
	} else if (flow->local_address.family != flow->remote_address.family ||
		   !vn_addresses_has(&stack->addresses, &flow->local_address)) {
		return vn_error(error, -EADDRNOTAVAIL, VNIC_CAUSE_ADDRESS_INVALID,
				"the stack cannot connect from %s",
				vnic_address_format(&flow->local_address, text));
	}
	if (flow->local_port != 0 && vn_tcp_find(stack, flow))
		return vn_error(error, -EADDRINUSE, VNIC_CAUSE_ADDRESS_TAKEN,
				"there is a connection from port %u to there", flow->local_port);
	if (flow->local_port == 0 && choose_port(stack, flow) == 0)
		return vn_error(error, -EADDRNOTAVAIL, VNIC_CAUSE_ADDRESS_INVALID,
				"all ports to there are in use");
	return 0;
}

int vnic_connection_open(struct vnic_stack *stack, const struct vnic_flow *flow,
			 const struct vnic_connection_options *options,
			 const struct vnic_connection_operations *operations, void *user,
			 struct vnic_connection **connection, struct vnic_error *error)
{
	struct vnic_flow whole = *flow;
	struct vnic_connection *made;
	int code;

	if (!operations)
		return vn_error(error, -EINVAL, VNIC_CAUSE_ARGUMENT,
				"a connection needs operations");
	code = choose_local(stack, &whole, error);
	if (code < 0)
		return code;
	made = vn_tcp_make(stack, &whole, options);
	if (!made)
		return vn_error(error, -ENOSPC, VNIC_CAUSE_LIMIT,
				"no room for a connection beside %u others",
				stack->options.tcp_connections);
	made->operations = operations;
	made->user = user;
	made->state = VN_TCP_SYN_SENT;
	vn_stack_count(stack, VNIC_STACK_OPENED, 1);
	vn_tcp_pend(made);
	*connection = made;
	return 0;
}

void vnic_connection_set_user(struct vnic_connection *connection,
			      const struct vnic_connection_operations *operations, void *user)
{
	connection->operations = operations;
	connection->user = user;
}

void *vnic_connection_user(const struct vnic_connection *connection)
{
	return connection->user;
}

void vnic_connection_offer(struct vnic_connection *connection, uint64_t end_offset)
{
	uint64_t end = end_offset == UINT64_MAX ? UINT64_MAX : end_offset + 1;

	/* What was not there when it was read is there now, even if nothing is added. */
	connection->is_starved = false;
	if (end > connection->end && !connection->fin_wanted)
		connection->end = end;
	vn_tcp_pend(connection);
}

void vnic_connection_finish(struct vnic_connection *connection)
{
	if (connection->fin_wanted || connection->state == VN_TCP_CLOSED)
		return;
	connection->fin_wanted = true;
	if (connection->end == UINT64_MAX)
		connection->end = connection->nxt > 1 ? connection->nxt : 1;
	vn_tcp_pend(connection);
}

void vnic_connection_close(struct vnic_connection *connection)
{
	if (connection->is_closing || connection->state == VN_TCP_CLOSED)
		return;
	connection->is_closing = true;
	vnic_connection_finish(connection);
	vn_tcp_set_timer(connection);
}

void vnic_connection_update_room(struct vnic_connection *connection)
{
	vn_tcp_pend(connection);
}

void vnic_connection_abort(struct vnic_connection *connection)
{
	/* Whoever knows nothing of us yet need not be told. */
	if (connection->state != VN_TCP_CLOSED && connection->state != VN_TCP_SYN_SENT &&
	    connection->state != VN_TCP_TIME_WAIT)
		vn_tcp_send_bare(connection, connection->nxt, VNIC_TCP_RST | VNIC_TCP_ACK);
	vn_tcp_end(connection, -ECONNABORTED);
}

const struct vnic_flow *vnic_connection_flow(const struct vnic_connection *connection)
{
	return &connection->flow;
}

struct vnic_stack *vnic_connection_stack(const struct vnic_connection *connection)
{
	return connection->stack;
}

/* Positions of payload: those of the SYN and of the FIN do not count. */
static uint64_t payload_before(const struct vnic_connection *connection, uint64_t position)
{
	if (connection->fin_sent && position > connection->end)
		position = connection->end;
	return position > 0 ? position - 1 : 0;
}

void vnic_connection_query(const struct vnic_connection *connection,
			   struct vnic_connection_info *info)
{
	static const char *const states[] = {
		[VN_TCP_CLOSED] = "CLOSED",
		[VN_TCP_SYN_SENT] = "SYN-SENT",
		[VN_TCP_SYN_RECEIVED] = "SYN-RECEIVED",
		[VN_TCP_ESTABLISHED] = "ESTABLISHED",
		[VN_TCP_FIN_WAIT_1] = "FIN-WAIT-1",
		[VN_TCP_FIN_WAIT_2] = "FIN-WAIT-2",
		[VN_TCP_CLOSE_WAIT] = "CLOSE-WAIT",
		[VN_TCP_CLOSING] = "CLOSING",
		[VN_TCP_LAST_ACK] = "LAST-ACK",
		[VN_TCP_TIME_WAIT] = "TIME-WAIT",
	};
	uint64_t received = connection->rcv_nxt;

	if (connection->fin_known && received > connection->fin_at)
		received = connection->fin_at;
	*info = (struct vnic_connection_info){
		.state = states[connection->state],
		.opened_ns = connection->opened_ns,
		.sent_bytes = payload_before(connection, connection->nxt),
		.acked_bytes = payload_before(connection, connection->una),
		.received_bytes = received > 0 ? received - 1 : 0,
		.retransmitted_bytes = connection->counts.retransmitted_bytes,
		.retransmitted_segments = connection->counts.retransmitted_segments,
		.sent_segments = connection->counts.sent_segments,
		.received_segments = connection->counts.received_segments,
		.timeouts = connection->counts.timeouts,
		.rtt_ns = connection->srtt_ns,
		.rtt_variation_ns = connection->rtt_variation_ns,
		.rtt_least_ns = connection->flight.rtt_least_ns,
		.rto_ns = connection->rto_ns,
		.congestion_window_bytes = connection->congestion.window_bytes,
		.slow_start_threshold_bytes = connection->congestion.threshold_bytes,
		.send_window_bytes = connection->send_window_bytes,
		.receive_window_bytes = (uint32_t)(connection->rcv_edge - connection->rcv_nxt),
		.in_flight_bytes = vn_tcp_flight_pipe(&connection->flight),
		.out_of_order_bytes = connection->queue.bytes,
		.segment_bytes = (uint16_t)vn_tcp_payload_most(connection),
		.has_sack = connection->has_sack,
		.has_timestamps = connection->has_timestamps,
		.has_window_scale = connection->has_scale,
		.has_ecn = connection->has_ecn,
	};
}
