/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Ports: what a wire (vnic/wire.h) can be plugged into.
 *
 * A port is opened from one line of text:
 *
 *     tun:NAME[@NETNS][,ADDR/LEN...]        a virtual interface for IP packets; NAME may be empty
 *                                           or a pattern (tun%d)
 *     tap:NAME[@NETNS][,ADDR/LEN...]        the same for Ethernet frames
 *     udp:LOCAL[:PORT]-REMOTE:PORT          one packet a datagram; IPv6 addresses in brackets
 *     tcp:HOST:PORT  tcp-listen:ADDR:PORT   each packet behind its length, 16 bits, big-endian
 *     exec:COMMAND                          one packet a message of the SOCK_SEQPACKET socket that
 *                                           COMMAND finds as descriptor 3 (VNIC_FD)
 *     unix:PATH  unix-listen:PATH           the same over a socket in the file system
 *     pcap:FILE                             a capture: a source that is replayed, or a sink
 *     discard:                              takes everything and sends nothing
 *
 * What a packet begins with, an IP or an Ethernet header, is a matter of the interface or the file;
 * the other kinds carry what the other end of the wire carries. None of them encrypts or
 * authenticates: a wire over a network is no VPN.
 */
#ifndef VNIC_PORT_H
#define VNIC_PORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <vnic/device.h>
#include <vnic/error.h>
#include <vnic/packet.h>

#ifdef __cplusplus
extern "C" {
#endif

struct vnic_port;

/** What happens to a port while a wire runs. */
enum vnic_port_event {
	VNIC_PORT_CONNECTED = 1, /**< a peer is there */
	/** The peer went or could not be reached; it is tried again where that makes sense */
	VNIC_PORT_DISCONNECTED,
	/** The peer sent what makes no sense; the connection was ended */
	VNIC_PORT_PROTOCOL_ERROR,
	VNIC_PORT_COMMAND_STARTED, /**< exec: COMMAND runs (again) */
	VNIC_PORT_COMMAND_ENDED,   /**< exec: COMMAND ended or was killed */
	VNIC_PORT_LINK_UP,         /**< the interface was set up */
	VNIC_PORT_LINK_DOWN,       /**< the interface was set down */
	VNIC_PORT_RENAMED,         /**< the interface has another name */
	/** The kernel granted offloads and then refused to segment: that is done here now */
	VNIC_PORT_SOFTWARE_GSO,
	VNIC_PORT_END, /**< a source has no more packets, or a sink nobody who reads it */
	VNIC_PORT_FULL /**< pcap: the file takes no more packets; told once */
};
/** "connected", "link-down", ...; "unknown" for a value that is none. */
VNIC_API const char *vnic_port_event_name(enum vnic_port_event event);

/** How to open a port. All zero: defaults. */
struct vnic_port_options {
	unsigned queues; /**< 0: 1; more for interfaces only */
	/** Interfaces: enum vnic_offload, or-ed; what is not granted is left out. 0: all */
	unsigned offloads;
	bool no_offloads;    /**< interfaces: none at all */
	unsigned mtu_bytes;  /**< of the interface; 0: what fits the other end, or the kernel's */
	bool record;         /**< pcap: a sink; otherwise a source */
	bool replay_fast;    /**< pcap source: as fast as the other end takes them */
	double replay_speed; /**< pcap source: 2 is twice as fast as recorded; 0: 1 */
	bool restart;        /**< exec: start COMMAND again when it ended */
	/**
	 * Told what happens, with a sentence for people without a full stop. Called by the threads
	 * of a wire that runs, by two at the same time where it has several queues. It must not
	 * wait. NULL: nobody wants to know.
	 */
	void (*event)(void *user, struct vnic_port *port, enum vnic_port_event event,
		      const char *text);
	void *user;
};

/**
 * Open a port. An interface is created where there is none; it is set up, and gets the addresses
 * that the specification names. One that exists keeps its MTU and addresses otherwise.
 * @param options  NULL: all zero. Not kept
 * @param port     the new port, to be closed with vnic_port_close()
 * @return 0; -EINVAL (ARGUMENT): the specification does not parse, or several queues for what has
 *         one; for interfaces what vnic_device_open() and vnic_device_configure() return; for the
 *         others -ENOENT, -EACCES (FILE), and what socket(2), bind(2), ... return (SYSTEM);
 *         -EMFILE (LIMIT); -ENOMEM (MEMORY)
 */
VNIC_API int vnic_port_open(const char *specification, const struct vnic_port_options *options,
			    struct vnic_port **port, struct vnic_error *error);
/** Not while a wire has it. NULL is allowed. */
VNIC_API void vnic_port_close(struct vnic_port *port);

/**
 * The port as text: the specification with what was chosen filled in (the interface's name, the
 * bound port). Valid until close.
 */
VNIC_API const char *vnic_port_name(const struct vnic_port *port);
/** The kind: "tun", "udp", ... A static string. */
VNIC_API const char *vnic_port_kind(const struct vnic_port *port);
/** The device behind tun: and tap:, still the port's; NULL for others. */
VNIC_API struct vnic_device *vnic_port_device(const struct vnic_port *port);
/** True for an interface that was not there before the port. */
VNIC_API bool vnic_port_is_new_device(const struct vnic_port *port);
/**
 * The longest packet that passes without being fragmented, in bytes, with its Ethernet header where
 * there is one; 0: no limit but VNIC_PACKET_BYTES.
 */
VNIC_API unsigned vnic_port_most_bytes(const struct vnic_port *port);
VNIC_API unsigned vnic_port_queues(const struct vnic_port *port);

/**
 * What a port counts. "In" is what arrived at the port: everything, also what is dropped then.
 * "Towards" is what came from the other end of the wire. So for each direction
 *
 *     in of one port = out of the other + drops from the one + drops towards the other
 *                      + what an impairment lost - what it duplicated - ANSWERED of the other
 *
 * Packets are plain ones: a super-packet counts as its segments.
 */
enum vnic_port_counter {
	VNIC_PORT_IN_PACKETS = 0,
	VNIC_PORT_IN_BYTES,
	VNIC_PORT_IN_SUPERPACKETS, /**< read as one by one call, and so on */
	VNIC_PORT_OUT_PACKETS,
	VNIC_PORT_OUT_BYTES,
	VNIC_PORT_OUT_SUPERPACKETS,
	/**
	 * Of those out (or dropped on the way out): ICMP errors that the wire itself sent, since a
	 * packet from here was too long for the other end
	 */
	VNIC_PORT_ANSWERED,
	/* From here on: packets that were dropped, by reason. */
	VNIC_PORT_DROP_DOWN,      /**< towards: the interface is down, or gone */
	VNIC_PORT_DROP_NO_PEER,   /**< towards: nobody is connected */
	VNIC_PORT_DROP_FULL,      /**< towards: its queue or socket is full */
	VNIC_PORT_DROP_TOO_LONG,  /**< towards: longer than it can carry */
	VNIC_PORT_DROP_REFUSED,   /**< towards: the kernel or the peer refused it */
	VNIC_PORT_DROP_MALFORMED, /**< from: a length or a header that makes no sense */
	VNIC_PORT_DROP_TRUNCATED, /**< from: its end is missing */
	VNIC_PORT_DROP_STRANGER,  /**< from: not from the peer */
	/** From: the queue of its socket was full before it was read; the least that was lost */
	VNIC_PORT_DROP_OVERFLOW,
	VNIC_PORT_COUNTERS
};
/** "in_packets", "drop_no_peer", ...; NULL for none. */
VNIC_API const char *vnic_port_counter_name(enum vnic_port_counter counter);
/** What one queue counted so far. May be called from any thread at any time. */
VNIC_API uint64_t vnic_port_counter(const struct vnic_port *port, unsigned queue,
				    enum vnic_port_counter counter);

#ifdef __cplusplus
}
#endif
#endif
