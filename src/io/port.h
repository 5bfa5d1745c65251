/* SPDX-License-Identifier: MIT */
/*
 * Inside of a port. A kind of port is one file, port_KIND.c, with one struct vn_port_kind (or two)
 * that stands in the table of port.c. port_discard.c is the smallest.
 *
 * The wire is the only caller. Its worker for a queue is one thread, and calls receive, send, room,
 * poll and ready with that queue's number only, so what belongs to a queue needs no lock. All kinds
 * but interfaces have one queue, 0. Nothing here may wait: descriptors are non-blocking, and what
 * takes time (connecting, a COMMAND's end) is a state of the port that poll, ready and advance
 * move.
 *
 * The loop of a worker, so that it is clear who is called when:
 *
 *     until stopped:
 *             for each of the two ports:
 *                     receive a burst
 *                     prepare it for the other port: cut, merge, complete checksums, impair
 *                     send it to the other port
 *             if nothing came: poll both, wait (or look, while it spins), ready, advance
 */
#ifndef VN_IO_PORT_H
#define VN_IO_PORT_H

#include <poll.h>
#include <stdatomic.h>
#include <vnic/port.h>
#include <vnic/segment.h>

/** The most descriptors that one queue of a port may want to be polled. */
#define VN_PORT_DESCRIPTORS 4
/** From advance: nothing to wait for. */
#define VN_PORT_NEVER UINT64_MAX
/** What a port carries what the other end of the wire does. Else enum vnic_layer. */
#define VN_PORT_EITHER (-1)

struct vn_port_kind {
	const char *name;     /* what stands before the colon */
	bool has_many_queues; /* false: vnic_port_open() refuses more than one */
	/*
	 * Open it. rest is what follows the colon, and may be empty. Before the call there are
	 * port->kind, specification, options (queues is at least 1), queues, queue_count, layer =
	 * VN_PORT_EITHER, and all else zero. It sets state, and where they differ from that: layer,
	 * most_bytes, gives_superpackets, queues[].offloads, is_exact, is_patient, and the name by
	 * vn_port_rename(). On failure, what it did is undone, or left in state: close is called in
	 * any case.
	 */
	int (*open)(struct vnic_port *port, const char *rest, struct vnic_error *error);
	/* Give back everything; state may be NULL or half made. */
	void (*close)(struct vnic_port *port);
	/*
	 * The wire is complete: layer is known now (set from the other end where it was
	 * VN_PORT_EITHER), also to pcap sinks. Privileges are still there. NULL: nothing to do.
	 */
	int (*attach)(struct vnic_port *port, struct vnic_error *error);
	/*
	 * Receive up to count packets (at most VNIC_BURST_PACKETS), without waiting.
	 *
	 * packets have memory of the caller's: data, capacity_bytes (VNIC_PACKET_BYTES + 1) and
	 * headroom_bytes. Either fill that, or let a packet point into memory of the port's own, as
	 * where one GRO buffer holds many: then set data, capacity_bytes = length_bytes and
	 * headroom_bytes = 0; the wire copies it where it has to grow. That memory, which the
	 * caller may write, must stay as it is until the next call of receive for this queue. Set
	 * length_bytes, flags and the whole offload description (vn_port_describe_plain() does, for
	 * a plain packet).
	 *
	 * What arrived is counted by the caller from the packets that are returned
	 * (IN_*). Only what is dropped here is counted here, by vn_port_drop_in(), which
	 * adds it to IN_PACKETS as well.
	 *
	 * Returns the number of packets, at least 1; -EAGAIN: there are none for now (also while
	 * nobody is connected); -ENODATA: there will never be more: a source is at its end, and
	 * the wire ends well once all is carried (the port has told VNIC_PORT_END or such);
	 * any other errno ends the run with it, once what came before is delivered: fill
	 * queues[queue].failure first, by vn_error(). It is not called again in that run.
	 */
	int (*receive)(struct vnic_port *port, unsigned queue, struct vnic_packet *packets,
		       unsigned count);
	/*
	 * Send count packets (1 to VNIC_BURST_PACKETS), without waiting. They are as
	 * queues[queue].offloads says: without VNIC_OFFLOAD_CSUM every checksum is complete,
	 * without a TSO or USO there are no super-packets; and none is longer than most_bytes
	 * (of a super-packet: no segment). They are the caller's again on return, and their bytes
	 * must not be changed.
	 *
	 * Every packet is sent, and counted by vn_port_count_out(); or dropped, and counted by
	 * vn_port_drop_out() with the reason: NO_PEER, FULL, REFUSED, ... never silently.
	 *
	 * Returns the number of packets that are done with, normally count. Fewer, or 0: the kernel
	 * refuses the super-packet packets[n]; the caller cuts it, sends the segments by
	 * another call, and then goes on behind it. A negative errno ends the run: what is not
	 * sent is counted as dropped, and queues[queue].failure filled first. It may be called
	 * again nevertheless, while what came from the port is still being delivered.
	 */
	int (*send)(struct vnic_port *port, unsigned queue, const struct vnic_packet *packets,
		    unsigned count);
	/*
	 * How many packets of any length send would take now without dropping one as FULL; asked
	 * only where the other end is patient. NULL: always enough. With 0 the wire polls with
	 * want_room until there is room again.
	 */
	unsigned (*room)(struct vnic_port *port, unsigned queue);
	/*
	 * True when all that send took has left the port, or never will. Asked when the other end
	 * is a source at its end, so that the wire does not end before; until then it polls with
	 * want_room. NULL: always.
	 */
	bool (*is_drained)(struct vnic_port *port, unsigned queue);
	/*
	 * Which descriptors to wait for: fill up to VN_PORT_DESCRIPTORS, return how many. Asked
	 * before each wait, so it may change. want_room: wake up when room is no longer 0, or what
	 * was not drained leaves. A descriptor whose readiness no call of receive, send, ready or
	 * advance takes away makes the wire spin: do not name it then. NULL: none.
	 */
	unsigned (*poll)(struct vnic_port *port, unsigned queue, bool want_room,
			 struct pollfd *descriptors);
	/*
	 * The wait is over and one of them has revents: accept, finish connecting, reap a child,
	 * notice POLLERR. Packets are received by receive, which is called next in any case.
	 * Returns 0, or as receive. NULL: nothing to do.
	 */
	int (*ready)(struct vnic_port *port, unsigned queue, const struct pollfd *descriptors,
		     unsigned count);
	/*
	 * Time: connect again, send what is due, replay. Called for queue 0 only, by its worker:
	 * when it starts, after each ready, and when the time has come that it returned last.
	 * now_ns is of CLOCK_MONOTONIC. Returns when to call again at the latest, VN_PORT_NEVER:
	 * no need to. A port whose receive learns of a new deadline sets deadline_changed.
	 * NULL: VN_PORT_NEVER.
	 */
	uint64_t (*advance)(struct vnic_port *port, uint64_t now_ns);
	/*
	 * The run is over, and all its threads have ended: what send took and has not left the port
	 * leaves it now or is counted as dropped. NULL: nothing to do.
	 */
	void (*stop)(struct vnic_port *port);
};

/** Each has cache lines of its own: only the queue's thread writes it. */
struct vn_port_queue {
	_Alignas(64) unsigned offloads; /* enum vnic_offload: what send takes now */
	_Atomic uint64_t counters[VNIC_PORT_COUNTERS];
	struct vnic_error failure; /* why receive, send or ready ended the run */
};

struct vnic_port {
	const struct vn_port_kind *kind;
	char *specification;
	char *name;
	struct vnic_port_options options;
	void *state; /* the kind's own */
	struct vn_port_queue *queues;
	unsigned queue_count;
	int layer;
	_Atomic unsigned most_bytes; /* of a packet towards it; 0: VNIC_PACKET_BYTES */
	/* Packets from it may be super-packets already: to merge what is none is in vain. */
	bool gives_superpackets;
	/* So much of most_bytes is for VLAN tags only. */
	unsigned most_tag_bytes;
	/* It takes them only to cut them itself: to merge plain packets for it is in vain. */
	bool cuts_superpackets;
	/* Packets from it shall come out as they came in: they are not merged. */
	bool is_exact;
	/* Packets from it are to wait where the other end has no room: see room. */
	bool is_patient;
	/* Its own time has changed outside of advance: advance is called before the next wait. */
	bool deadline_changed;
	struct vnic_device *device; /* of interfaces */
	bool is_new_device;
};

extern const struct vn_port_kind vn_port_tun;
extern const struct vn_port_kind vn_port_tap;
extern const struct vn_port_kind vn_port_udp;
extern const struct vn_port_kind vn_port_tcp;
extern const struct vn_port_kind vn_port_tcp_listen;
extern const struct vn_port_kind vn_port_exec;
extern const struct vn_port_kind vn_port_unix;
extern const struct vn_port_kind vn_port_unix_listen;
extern const struct vn_port_kind vn_port_pcap;
extern const struct vn_port_kind vn_port_discard;

/** Say what the port is called from now on: printf(3). @return 0 or -ENOMEM */
int vn_port_rename(struct vnic_port *port, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/** Tell the user of an event. */
void vn_port_tell(struct vnic_port *port, enum vnic_port_event event, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/** Only the queue's thread may count: a plain addition that others may read meanwhile. */
static inline void vn_port_count(struct vnic_port *port, unsigned queue,
				 enum vnic_port_counter counter, uint64_t more)
{
	_Atomic uint64_t *number = &port->queues[queue].counters[counter];

	if (more)
		atomic_store_explicit(number,
				      atomic_load_explicit(number, memory_order_relaxed) + more,
				      memory_order_relaxed);
}

/** How long the headers of each segment of a super-packet are; 0: it has none. */
uint32_t vn_port_header_bytes(const struct vnic_packet *packet);
/** How many plain packets this one stands for, at least 1. */
unsigned vn_port_segments(const struct vnic_packet *packet);
/** Packets that came from it and were handed on. By the wire. */
void vn_port_count_in(struct vnic_port *port, unsigned queue, const struct vnic_packet *packets,
		      unsigned count);
/** Packets that it sent. */
void vn_port_count_out(struct vnic_port *port, unsigned queue, const struct vnic_packet *packets,
		       unsigned count);
/** Packets towards it that were dropped. */
void vn_port_drop_out(struct vnic_port *port, unsigned queue, enum vnic_port_counter reason,
		      const struct vnic_packet *packets, unsigned count);
/**
 * Begin to cut a packet that the port is to send in pieces; what cannot be cut is counted as refused.
 * @return how many packets it makes; 0: none, and it is settled
 */
unsigned vn_port_begin_cut(struct vnic_port *port, unsigned queue, const struct vnic_packet *packet,
			   struct vnic_segmenter *segmenter);
/** Packets that came from it and are dropped, with their bytes as far as they are known. */
void vn_port_drop_in(struct vnic_port *port, unsigned queue, enum vnic_port_counter reason,
		     uint64_t packets, uint64_t bytes);

/** Make it a plain packet of so many bytes, without any offload. */
static inline void vn_port_describe_plain(struct vnic_packet *packet, uint32_t length_bytes)
{
	*packet = (struct vnic_packet){
		.data = packet->data,
		.capacity_bytes = packet->capacity_bytes,
		.headroom_bytes = packet->headroom_bytes,
		.length_bytes = length_bytes,
	};
}

#endif
