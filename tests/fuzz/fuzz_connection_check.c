/* SPDX-License-Identifier: MIT */
/* What must hold of every connection and of the counters, whatever was done to the stack. */
#include "fuzz_connection.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../sim/check.h"
#include "stack/tcp.h"

/* What is in flight follows one upon the other, and is what was sent and not acknowledged. */
static void check_flight(const struct vnic_connection *connection)
{
	const struct vn_tcp_flight *flight = &connection->flight;
	uint64_t bytes = 0, sacked = 0, lost = 0, at = connection->una;
	uint32_t count = 0;

	for (const struct vn_tcp_sent *sent = flight->first; sent; sent = sent->next) {
		uint64_t length = sent->end - sent->begin;

		if (sent->begin != at || sent->end <= sent->begin || (sent->sacked && sent->lost))
			die("what is in flight has gaps", sent->begin, at);
		at = sent->end;
		bytes += length;
		sacked += sent->sacked ? length : 0;
		lost += sent->lost ? length : 0;
		count++;
	}
	if (bytes != flight->bytes || sacked != flight->sacked_bytes ||
	    lost != flight->lost_bytes || count != flight->count)
		die("what is in flight is not what is counted", bytes, flight->bytes);
	if (at != connection->nxt)
		die("what is in flight is not what was sent", at, connection->nxt);
}

/* Something is in flight, or the window is closed: then it must be looked after. */
static void check_timer(const struct vnic_connection *connection)
{
	bool waits = connection->state >= VN_TCP_ESTABLISHED && !connection->fin_sent &&
		     !connection->is_starved && connection->end > connection->nxt;

	if (connection->is_pending || connection->state == VN_TCP_TIME_WAIT)
		return;
	if ((connection->flight.count > 0 || waits) && connection->alarm_ns == VN_TCP_NEVER)
		die("waits for ever", connection->state, connection->flight.count);
	if (connection->alarm_ns != VN_TCP_NEVER && !vn_timer_is_set(&connection->timer))
		die("its timer is not set", connection->state, connection->alarm_ns);
}

/* They are there, and do not go back. */
static void check_positions(struct run *run, const struct vnic_connection *connection,
			    unsigned index)
{
	struct remembered *last = &run->remembered[index % REMEMBERED];

	if (connection->una > connection->nxt)
		die("more acknowledged than sent", connection->una, connection->nxt);
	if (connection->end != UINT64_MAX && connection->nxt > connection->end + 1)
		die("more sent than offered", connection->nxt, connection->end);
	if (connection->rcv_nxt > connection->rcv_edge)
		die("received over the window", connection->rcv_nxt, connection->rcv_edge);
	if (connection->acknowledged > connection->rcv_nxt)
		die("acknowledged what was not received", connection->acknowledged,
		    connection->rcv_nxt);
	if (last->connection == connection && last->opened_ns == connection->opened_ns &&
	    last->iss == connection->iss && last->irs == connection->irs) {
		if (connection->una < last->una || connection->nxt < last->nxt ||
		    connection->rcv_nxt < last->rcv_nxt)
			die("a position went back", connection->una, connection->nxt);
		if (connection->rcv_edge < last->rcv_edge &&
		    connection->state != VN_TCP_SYN_RECEIVED)
			die("the window was taken back", connection->rcv_edge, last->rcv_edge);
	}
	*last = (struct remembered){connection,      connection->opened_ns, connection->una,
				    connection->nxt, connection->rcv_nxt,   connection->rcv_edge,
				    connection->iss, connection->irs};
}

/* Grows with each connection that ends: another may have its place, and its numbers, then. */
static uint64_t ended(const struct vnic_stack *stack)
{
	return vnic_stack_counter(stack, VNIC_STACK_OPENED) +
	       vnic_stack_counter(stack, VNIC_STACK_ACCEPTED) +
	       vnic_stack_counter(stack, VNIC_STACK_REFUSED) +
	       vnic_stack_counter(stack, VNIC_STACK_ABORTED) +
	       vnic_stack_counter(stack, VNIC_STACK_HALF_OPEN) -
	       vnic_stack_counter(stack, VNIC_STACK_CONNECTIONS);
}

/* What it tells of itself is what it has. */
static void check_info(const struct vnic_connection *connection)
{
	struct vnic_connection_info info;

	vnic_connection_query(connection, &info);
	if (!info.state || info.acked_bytes > info.sent_bytes)
		die("tells that more is acknowledged than sent", info.acked_bytes, info.sent_bytes);
	if (info.in_flight_bytes > connection->nxt - connection->una)
		die("tells that more is in flight than sent", info.in_flight_bytes, 0);
	if (connection->end != UINT64_MAX && info.sent_bytes + 1 > connection->end &&
	    info.sent_bytes > 0)
		die("tells that more is sent than offered", info.sent_bytes, connection->end);
	if (info.segment_bytes == 0 && connection->state >= VN_TCP_ESTABLISHED)
		die("has no room for payload in its segments", connection->mss_bytes, 0);
}

static void check_connections(struct run *run)
{
	const struct vn_tcp *tcp = run->stack->tcp;
	uint64_t count = 0, half_open = 0;

	if (run->ended != ended(run->stack))
		memset(run->remembered, 0, sizeof(run->remembered));
	run->ended = ended(run->stack);

	for (uint32_t i = 0; i <= tcp->slot_mask; i++)
		for (const struct vnic_connection *next = tcp->slots[i]; next; next = next->next) {
			count++;
			half_open += next->state == VN_TCP_SYN_RECEIVED;
			if (next->state == VN_TCP_CLOSED)
				die("a closed connection in the table", i, 0);
			check_positions(run, next, i);
			if (next->nxt > 0 && next->state != VN_TCP_SYN_RECEIVED)
				check_flight(next);
			check_timer(next);
			check_info(next);
		}
	if (count != vnic_stack_counter(run->stack, VNIC_STACK_CONNECTIONS))
		die("connections are not what is counted", count,
		    vnic_stack_counter(run->stack, VNIC_STACK_CONNECTIONS));
	if (half_open != vnic_stack_counter(run->stack, VNIC_STACK_HALF_OPEN))
		die("half-open is not what is counted", half_open,
		    vnic_stack_counter(run->stack, VNIC_STACK_HALF_OPEN));
	if (count > run->options.tcp_connections)
		die("more connections than allowed", count, run->options.tcp_connections);
	if (tcp->out_of_order_bytes !=
	    vnic_stack_counter(run->stack, VNIC_STACK_OUT_OF_ORDER_BYTES))
		die("memory is not what is counted", tcp->out_of_order_bytes, 0);
	if (tcp->out_of_order_bytes > run->options.tcp_out_of_order_bytes)
		die("more memory than allowed", tcp->out_of_order_bytes, 0);
}

void check_invariants(struct run *run)
{
	const char *wrong = check_counters(run->stack);

	if (wrong)
		die(wrong, 0, 0);
	if (vnic_stack_counter(run->stack, VNIC_STACK_SENT) != run->out_packets)
		die("sent is not what was sent", run->out_packets,
		    vnic_stack_counter(run->stack, VNIC_STACK_SENT));
	check_connections(run);
	note_iss(run);
}
