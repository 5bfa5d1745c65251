/* SPDX-License-Identifier: MIT */
/**
 * @file
 * A host in user space: it has addresses, and answers as an Internet host does (RFC 1122, RFC
 * 8504).
 *
 * The stack is pure: packets go in, packets come out, time is an argument and randomness a
 * callback. It makes no system call, has no global state and needs a bounded amount of memory, as
 * its options say. One stack is for one thread; many stacks may be used side by side.
 *
 * Programs on it have UDP endpoints (vnic/endpoint.h) and TCP, by sockets (vnic/socket.h) or
 * connections (vnic/connection.h).
 *
 * It answers ARP (RFC 826, RFC 5227) and neighbour discovery (RFC 4861), echo requests of every
 * size (RFC 792, RFC 4443), UDP to a port where nobody listens with port unreachable, TCP likewise
 * with RST (RFC 9293 section 3.5.2), other protocols with protocol unreachable or parameter
 * problem, and never what must not be answered (RFC 1122 section 3.2.2, RFC 4443 section 2.4).
 * Everything that it does not answer is counted by its reason.
 */
#ifndef VNIC_STACK_H
#define VNIC_STACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <vnic/address.h>
#include <vnic/error.h>
#include <vnic/packet.h>

#ifdef __cplusplus
extern "C" {
#endif

struct vnic_stack;

/** The two ends of a conversation in UDP or TCP, seen from the stack. */
struct vnic_flow {
	struct vnic_address local_address, remote_address;
	uint16_t local_port, remote_port;
};

/** How to make a stack. Zero stands for the default; only send and random must be given. */
struct vnic_stack_options {
	/** With VNIC_LAYER_ETHERNET it speaks ARP and neighbour discovery */
	enum vnic_layer layer;
	uint8_t mac[VNIC_MAC_BYTES]; /**< its own, unicast; VNIC_LAYER_ETHERNET only */
	/**
	 * Of IP packets on the link, 68 to 65535 (1280 at least for IPv6 addresses); default 1500
	 */
	unsigned mtu_bytes;
	unsigned reassembly_datagrams; /**< at once; default 64 */
	unsigned reassembly_bytes;     /**< of memory for them, in all; default 1 MiB */
	/** Default 60 s (RFC 8200 section 4.5, RFC 1122 section 3.3.2) */
	uint64_t reassembly_timeout_ns;
	/**
	 * ICMP errors and RSTs sent on average (RFC 1812 section 4.3.2.8, RFC 4443 section 2.4
	 * (f)); default 1000
	 */
	unsigned errors_per_second;
	unsigned errors_burst; /**< and at once; default 50 */
	uint8_t ttl;           /**< of what it sends; default 64 */
	/**
	 * Send plain packets only. Otherwise UDP and TCP send packets of up to 64 KiB with a
	 * description of how to cut them, and leave their checksum open (struct vnic_packet), as
	 * vnic_worker_send() takes them
	 */
	bool plain;
	/** Ethernet addresses known at once; default 1024, at most 2^20, like the next two */
	unsigned neighbors;
	unsigned paths;           /**< path MTUs known at once; default 1024 */
	unsigned udp_endpoints;   /**< at once; default 4096 */
	unsigned tcp_listeners;   /**< at once; default 1024 */
	unsigned tcp_connections; /**< at once, with all that are closing; default 131072 */
	/** Of received data that waits for what is missing, in all connections; default 64 MiB */
	uint32_t tcp_out_of_order_bytes;
	/** The least time of retransmission (RFC 6298 section 2.4); default 50 ms */
	uint64_t tcp_rto_least_ns;
	uint64_t tcp_time_wait_ns; /**< RFC 9293 section 3.4.2; default 2 s */
	/**
	 * Packets to be sent. They and their memory are the stack's and good during the call only.
	 * Must not call the stack. What it cannot send is lost, as on a wire: the function counts
	 * it.
	 */
	void (*send)(void *user, const struct vnic_packet *packets, unsigned count);
	/** Fill bytes with randomness that nobody can guess. */
	void (*random)(void *user, void *bytes, size_t length_bytes);
	/**
	 * Another host uses one of the addresses (RFC 5227, RFC 4862 section 5.4): NULL if nobody
	 * wants to know.
	 */
	void (*conflict)(void *user, const struct vnic_address *address,
			 const uint8_t mac[VNIC_MAC_BYTES]);
	void *user; /**< given to each of them */
};

/**
 * Make a stack without an address.
 * @param options  copied
 * @return 0, -EINVAL (ARGUMENT), -ENOMEM (MEMORY)
 */
VNIC_API int vnic_stack_new(const struct vnic_stack_options *options, struct vnic_stack **stack,
			    struct vnic_error *error);
/** Free a stack. NULL is allowed. */
VNIC_API void vnic_stack_free(struct vnic_stack *stack);

/** How many addresses, prefixes and exceptions together a stack can have. */
#define VNIC_STACK_ADDRESSES 1024

/**
 * Give it an address. An address that it has already is no error. If the link is up already, the
 * address is announced from the next vnic_stack_advance() on.
 * @param address  with the length of the network it is in, which says what its broadcast address is
 * @return 0; -EINVAL (ADDRESS_INVALID) multicast, broadcast, unspecified or loopback; (ARGUMENT)
 *         IPv6 with an MTU under 1280;
 *         -ENOSPC (LIMIT): VNIC_STACK_ADDRESSES
 */
VNIC_API int vnic_stack_add_address(struct vnic_stack *stack, const struct vnic_prefix *address,
				    struct vnic_error *error);
/**
 * Let it answer for all addresses of a network, except its broadcast address and network address.
 * As above.
 */
VNIC_API int vnic_stack_add_prefix(struct vnic_stack *stack, const struct vnic_prefix *prefix,
				   struct vnic_error *error);
/** Except an address from the prefixes: the kernel's own, say. @return 0, -ENOSPC (LIMIT) */
VNIC_API int vnic_stack_except(struct vnic_stack *stack, const struct vnic_address *address,
			       struct vnic_error *error);
/** True if it answers for the address: one of its own, or of its prefixes. */
VNIC_API bool vnic_stack_has(const struct vnic_stack *stack, const struct vnic_address *address);

/**
 * Name the router for what is on none of the stack's networks (of addresses and prefixes given to
 * it; link-local addresses are on all). On Ethernet only what the stack says by itself goes there: an answer goes back to where the
 * question came from. Without one such packets are resolved on the link itself.
 * @param router  on one of the stack's networks, or link-local; one of each family, the last one
 *                counts
 * @return 0, -EINVAL (ADDRESS_INVALID): on none of them, one of the stack's own, or no host
 */
VNIC_API int vnic_stack_set_router(struct vnic_stack *stack, const struct vnic_address *router,
				   struct vnic_error *error);

/**
 * Say that the link came up: on Ethernet the stack announces its addresses (RFC 5227 section 2.3,
 * RFC 4861 section 7.2.6), probes for IPv6 duplicates while it answers already (optimistic DAD, RFC
 * 4429), and reports its groups (RFC 3810).
 */
VNIC_API void vnic_stack_link_up(struct vnic_stack *stack, uint64_t now_ns);
/**
 * Take packets in. Answers come out through options.send during the call.
 * @param packets  may be changed
 * @param now_ns   of any clock that never goes back
 */
VNIC_API void vnic_stack_receive(struct vnic_stack *stack, struct vnic_packet *packets,
				 unsigned count, uint64_t now_ns);
/**
 * Let time pass: send again what was lost, acknowledge what waits for that, give up on datagrams
 * whose fragments do not come, go on announcing. To be called after vnic_stack_link_up(),
 * vnic_stack_receive() and whatever sends something too, which may make the time to come earlier;
 * costs next to nothing before it.
 * @return when to call again at the latest, in ns; UINT64_MAX: no need. At once (now_ns), where TCP
 *         has more than 256 KiB to send: packets that came meanwhile are to be taken in before, so
 *         that nobody waits for all of it
 */
VNIC_API uint64_t vnic_stack_advance(struct vnic_stack *stack, uint64_t now_ns);

/**
 * What a stack counts. Values are not stable; names are.
 *
 * Each packet taken in ends in exactly one place, so at any time between two calls
 *
 *     received == arp_replies + neighbor_advertisements + echo_replies + unreachables
 *                 + parameter_problems + resets + group_queries + conflicts
 *                 + neighbors + notices + datagrams + segments
 *                 + fragments_joined + fragments_waiting
 *                 + all that begin with "drop_"
 *
 * The fragment that completes a datagram counts as what became of the datagram, those before it as
 * fragments_joined. time_exceeded and announcements are sent without a packet that asks for them,
 * and reassembled counts datagrams: these three, received and sent are not in the sum, and neither
 * are those from solicitations to out_of_order_bytes.
 */
enum vnic_stack_counter {
	VNIC_STACK_RECEIVED = 0, /**< packets taken in */
	VNIC_STACK_SENT,         /**< packets given to options.send: each fragment is one */
	VNIC_STACK_ARP_REPLIES,
	VNIC_STACK_NEIGHBOR_ADVERTISEMENTS, /**< in answer to a solicitation */
	VNIC_STACK_ECHO_REPLIES,            /**< IPv4 and IPv6; a reply in fragments counts once */
	/** Port and protocol unreachables and failed source routes, sent */
	VNIC_STACK_UNREACHABLES,
	VNIC_STACK_PARAMETER_PROBLEMS,
	VNIC_STACK_RESETS, /**< TCP RSTs sent */
	/** MLD queries taken in: the reports go out later, as announcements */
	VNIC_STACK_GROUP_QUERIES,
	/**
	 * ARP and neighbor advertisements that answered us, or changed what was known of a neighbor
	 */
	VNIC_STACK_NEIGHBORS,
	VNIC_STACK_NOTICES,   /**< ICMP errors about something that we sent, taken in */
	VNIC_STACK_DATAGRAMS, /**< UDP packets handed to an endpoint; a super-datagram is one */
	/** TCP packets that a connection or listener took in; a super-segment is one */
	VNIC_STACK_SEGMENTS,
	VNIC_STACK_CONFLICTS,     /**< packets that show another host using one of the addresses */
	VNIC_STACK_TIME_EXCEEDED, /**< reassembly time exceeded, sent */
	/**
	 * ARP announcements, probes for duplicates, unsolicited advertisements, MLD reports sent
	 */
	VNIC_STACK_ANNOUNCEMENTS,
	VNIC_STACK_REASSEMBLED, /**< datagrams completed from fragments */
	/** Fragments of completed datagrams, without the one that completed each */
	VNIC_STACK_FRAGMENTS_JOINED,
	VNIC_STACK_FRAGMENTS_WAITING, /**< fragments that wait for others now: goes up and down */
	VNIC_STACK_SOLICITATIONS,   /**< ARP requests and neighbor solicitations of our own, sent */
	VNIC_STACK_LOST_UNRESOLVED, /**< packets of our own to neighbors that did not answer */
	VNIC_STACK_ENDPOINTS,       /**< UDP endpoints now */
	VNIC_STACK_DATAGRAMS_SENT,  /**< by endpoints; a super-datagram is one */
	VNIC_STACK_CONNECTIONS,     /**< TCP connections now, in every state but LISTEN */
	VNIC_STACK_HALF_OPEN,       /**< of these: in SYN-RECEIVED */
	VNIC_STACK_OPENED,          /**< connections that we opened */
	VNIC_STACK_ACCEPTED,        /**< connections whose handshake a listener completed */
	VNIC_STACK_REFUSED,         /**< connections that ended before they were established */
	VNIC_STACK_ABORTED,         /**< connections that were reset, by either side */
	VNIC_STACK_TIMED_OUT,       /**< connections whose other end was not heard of any more */
	VNIC_STACK_SEGMENTS_SENT,   /**< by connections; a super-segment is one */
	VNIC_STACK_RETRANSMITTED,   /**< segments sent again */
	VNIC_STACK_TIMEOUTS,        /**< of retransmission (RFC 6298) */
	VNIC_STACK_TAIL_PROBES,     /**< RFC 8985 section 7 */
	VNIC_STACK_SPURIOUS,        /**< recoveries that had not been necessary (RFC 3522) */
	/** SACKs not noted, for they cut what was sent into too many pieces */
	VNIC_STACK_SACKS_REFUSED,
	VNIC_STACK_WINDOW_PROBES,      /**< of windows of nothing, sent */
	VNIC_STACK_KEEPALIVES,         /**< sent */
	VNIC_STACK_CHALLENGES,         /**< challenge ACKs sent (RFC 5961) */
	VNIC_STACK_COOKIES_SENT,       /**< SYN cookies, for want of room (RFC 4987) */
	VNIC_STACK_COOKIES_ACCEPTED,   /**< and those that came back */
	VNIC_STACK_CONGESTION_MARKS,   /**< packets with CE, taken in (RFC 3168) */
	VNIC_STACK_OUT_OF_ORDER_BYTES, /**< of memory for data that waits for what is missing, now */
	/* From here on: packets that were dropped, by reason. */
	VNIC_STACK_DROP_MALFORMED, /**< a header that is cut off or contradicts itself */
	VNIC_STACK_DROP_CHECKSUM,  /**< a checksum is wrong */
	VNIC_STACK_DROP_TRUNCATED, /**< marked VNIC_PACKET_TRUNCATED */
	/** To another Ethernet or IP address, or a group we are not in */
	VNIC_STACK_DROP_NOT_OURS,
	/**
	 * From a multicast, broadcast, loopback or (where none may) unspecified address, or from
	 * ourselves
	 */
	VNIC_STACK_DROP_SOURCE,
	/** An EtherType or IPv6 option that nobody here speaks, and no error was due */
	VNIC_STACK_DROP_PROTOCOL,
	/**
	 * Well-formed, and no answer is due: ICMP replies and errors that change nothing (time
	 * exceeded), router advertisements, RSTs, duplicates of fragments ...
	 */
	VNIC_STACK_DROP_UNWANTED,
	/**
	 * An answer would be due but must not be sent: to a group, about an error, about a later
	 * fragment
	 */
	VNIC_STACK_DROP_NOT_ANSWERABLE,
	VNIC_STACK_DROP_ERROR_RATE,         /**< an error or RST was due but over the rate */
	VNIC_STACK_DROP_REASSEMBLY_FULL,    /**< fragments given up since a bound was reached */
	VNIC_STACK_DROP_REASSEMBLY_TIMEOUT, /**< fragments whose others did not come in time */
	/** Fragments of datagrams with overlaps or two ends (RFC 5722, RFC 8200 section 4.5) */
	VNIC_STACK_DROP_REASSEMBLY_OVERLAP,
	/** ICMP errors about something that we did not send, or that would do harm (RFC 5927) */
	VNIC_STACK_DROP_NOTICE,
	VNIC_STACK_DROP_BACKLOG,   /**< SYNs while there was no room, nor could be a cookie */
	VNIC_STACK_DROP_SEQUENCE,  /**< segments outside of the window, old ones too */
	VNIC_STACK_DROP_TIMESTAMP, /**< segments that PAWS refused (RFC 7323 section 5) */
	VNIC_STACK_DROP_OUT_OF_ORDER_FULL, /**< segments out of order, over a bound */
	VNIC_STACK_DROP_NO_ROOM, /**< segments that the user of their connection had no room for */
	VNIC_STACK_COUNTERS      /**< how many there are */
};
/** Its name as it stands in reports: "echo_replies", "drop_checksum". NULL for none. */
VNIC_API const char *vnic_stack_counter_name(enum vnic_stack_counter counter);
/** May be called from any thread at any time. */
VNIC_API uint64_t vnic_stack_counter(const struct vnic_stack *stack,
				     enum vnic_stack_counter counter);

#ifdef __cplusplus
}
#endif
#endif
