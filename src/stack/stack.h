/* SPDX-License-Identifier: MIT */
/*
 * What the files of the stack share. How a packet goes through them is told in stack.c.
 *
 * Every function that takes a packet in returns its verdict: the counter that the packet ends in.
 * Only stack.c counts verdicts, so that none is counted twice or never.
 * VNIC_STACK_FRAGMENTS_WAITING is the verdict of a fragment that is kept.
 */
#ifndef VN_STACK_STACK_H
#define VN_STACK_STACK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <vnic/packet.h>
#include <vnic/stack.h>

#include "stack/addresses.h"
#include "stack/output.h"
#include "stack/reassembly.h"

typedef enum vnic_stack_counter vn_verdict;

#define VN_SECOND_NS UINT64_C(1000000000)

/* How to reach whoever sent a packet. */
struct vn_link {
	uint8_t mac[VNIC_MAC_BYTES];
	uint8_t vlan_count;
	struct vnic_vlan_tag vlan[VNIC_VLAN_TAGS];
};

/* A packet on its way in: each layer fills in what it found. */
struct vn_input {
	struct vnic_packet *packet;
	struct vn_link link;
	bool link_group;   /* the frame went to a group or to everybody */
	uint8_t *ip;       /* the IP header, inside of packet */
	uint32_t ip_bytes; /* of the datagram, from its header on, without the link's padding */
	struct vnic_address source;
	struct vnic_address destination;
	bool group; /* destination is a multicast group of ours, or a broadcast address */
	uint8_t hop_limit;
	uint8_t protocol;      /* of the transport header */
	uint32_t transport;    /* where it begins, in bytes from ip */
	uint32_t protocol_at;  /* where the field stands that says so, in bytes from ip */
	bool fragmented;       /* there is or was a fragment header */
	bool reassembled;      /* from fragments, into the memory of stack->whole */
	bool router_alert;     /* IPv6 */
	struct vnic_ipv4 ipv4; /* the header of an IPv4 packet */
};

/* An error about something that we sent: ICMP whose sender could read that, or guessed well. */
struct vn_notice {
	struct vnic_flow flow; /* of what it is about; local is our end */
	uint8_t protocol;
	int code;                 /* as struct vnic_datagram_error has it */
	unsigned mtu_bytes;       /* with -EMSGSIZE */
	const uint8_t *transport; /* what is quoted of the transport header */
	uint32_t transport_bytes; /* 8 at least */
};

struct vnic_stack {
	struct vnic_stack_options options;
	uint64_t now_ns;
	uint64_t wake_ns; /* the earliest time for which something is planned */
	_Atomic uint64_t counters[VNIC_STACK_COUNTERS];
	struct vn_addresses addresses;
	struct vn_output output;
	struct vn_reassembly *reassembly;
	struct vn_neighbors *neighbors;
	struct vn_paths *paths;
	struct vn_udp *udp;
	struct vn_tcp *tcp;
	/* One datagram of any length, with room for headers before it: see vn_stack_whole(). */
	uint8_t *whole;
	struct {
		uint64_t interval_ns; /* between two errors on average */
		uint64_t slack_ns;    /* how far ahead of that a burst may be */
		uint64_t next_ns; /* when the next error would be due if they were sent evenly */
	} rate;
	struct {
		uint8_t bytes[256];
		unsigned used;
	} random;
	bool inside; /* of a call that tells the time, and sends at its end what is collected */
	bool link_up;
	struct {
		uint64_t pace_ns;    /* not before, or there would be too many at once */
		unsigned next_entry; /* whose turn it is */
		/* When to send (or go on with) the report of groups; UINT64_MAX: never. */
		uint64_t report_ns;
		unsigned report_entry; /* the entry to go on with */
		unsigned reports_left; /* whole reports to be sent once more */
		uint8_t report_type;   /* of the records */
	} announce;
};

/* stack.c */
void vn_stack_count(struct vnic_stack *stack, enum vnic_stack_counter counter, int64_t amount);
void vn_stack_random(struct vnic_stack *stack, void *bytes, size_t length_bytes);
uint32_t vn_stack_random32(struct vnic_stack *stack);
/* Have vnic_stack_advance() do its work at that time at the latest. */
void vn_stack_wake(struct vnic_stack *stack, uint64_t when_ns);
/* Tell the user of a conflict. */
void vn_stack_conflict(struct vnic_stack *stack, const struct vn_address_entry *entry,
		       const uint8_t *mac);
/* Take in what begins with an IP header at input->ip, up to the end of the packet. */
vn_verdict vn_ip_input(struct vnic_stack *stack, struct vn_input *input);
/* Take in the datagram in stack->whole, whose last fragment came: its header is that of a whole one. */
vn_verdict vn_ip_input_whole(struct vnic_stack *stack, const struct vn_input *fragment,
			     uint32_t length_bytes);

/* One file each. */
vn_verdict vn_ethernet_input(struct vnic_stack *stack, struct vn_input *input);
vn_verdict vn_arp_input(struct vnic_stack *stack, const struct vn_input *input,
			const uint8_t *bytes, size_t length_bytes);
vn_verdict vn_ipv4_input(struct vnic_stack *stack, struct vn_input *input);
vn_verdict vn_ipv6_input(struct vnic_stack *stack, struct vn_input *input);
vn_verdict vn_icmp_input(struct vnic_stack *stack, struct vn_input *input);
vn_verdict vn_icmpv6_input(struct vnic_stack *stack, struct vn_input *input);
/* An error that came in, whose checksum is right: who sent what it is about is told. */
vn_verdict vn_notice_input(struct vnic_stack *stack, const struct vn_input *input,
			   const struct vnic_icmp *icmp);
/* A packet of ours was lost, for its neighbor did not answer: who sent it is told. */
void vn_notice_unreachable(struct vnic_stack *stack, const uint8_t *ip, size_t length_bytes);
vn_verdict vn_ndp_input(struct vnic_stack *stack, const struct vn_input *input,
			const struct vnic_icmp *icmp);
vn_verdict vn_mld_input(struct vnic_stack *stack, const struct vn_input *input,
			const struct vnic_icmp *icmp);
vn_verdict vn_udp_input(struct vnic_stack *stack, struct vn_input *input);
vn_verdict vn_tcp_input(struct vnic_stack *stack, struct vn_input *input);

/*
 * What stands behind vnic/endpoint.h and vnic/connection.h. new() returns 0 or -ENOMEM, free() takes a
 * stack whose new() failed or was not called, advance() returns when to be called again.
 */
int vn_udp_new(struct vnic_stack *stack);
void vn_udp_free(struct vnic_stack *stack);
vn_verdict vn_udp_notice(struct vnic_stack *stack, const struct vn_notice *notice);
int vn_tcp_new(struct vnic_stack *stack);
void vn_tcp_free(struct vnic_stack *stack);
uint64_t vn_tcp_advance(struct vnic_stack *stack);
vn_verdict vn_tcp_notice(struct vnic_stack *stack, const struct vn_notice *notice);
/* Send what user calls made connections want to send: at the end of each burst. */
void vn_tcp_flush(struct vnic_stack *stack);
/* Hand out the datagrams that were collected: at the end of each burst. */
void vn_udp_flush(struct vnic_stack *stack);

/* neighbor.c: Ethernet addresses of those whom the stack speaks to first. */
int vn_neighbors_new(struct vnic_stack *stack);
void vn_neighbors_free(struct vnic_stack *stack);
/* Ask again, and give up: users are told, and may do anything. */
void vn_neighbors_advance(struct vnic_stack *stack);
/* When it is to be called again. */
uint64_t vn_neighbors_next(const struct vnic_stack *stack);
/*
 * Send an IP packet with a complete header, of vn_output_buffer() or vn_output_large(), to its
 * destination or the router before it, as vn_output_ip() does. While its Ethernet address is asked
 * for a copy waits.
 */
void vn_neighbor_send(struct vnic_stack *stack, uint8_t *ip, size_t length_bytes);
/*
 * The way to a destination, for those who send more than one packet or one with an offload
 * description. source is one of our addresses. Multicast and broadcast have their ways, and where
 * there is no Ethernet everything has. @return good until the next call of the stack; NULL: it is
 * not known, so each packet is to be given to vn_neighbor_wait()
 */
const struct vn_link *vn_neighbor_find(struct vnic_stack *stack, const struct vnic_address *source,
				       const struct vnic_address *destination);
/*
 * Keep a copy of an IP packet, plain or with an offload description, that begins at packet->data,
 * until the way to its destination is known, which is asked for. vn_neighbor_find() has just
 * returned NULL for it.
 */
void vn_neighbor_wait(struct vnic_stack *stack, const struct vnic_packet *packet);

enum vn_neighbor_news {
	VN_NEIGHBOR_ASKED,   /* it asked us for our address */
	VN_NEIGHBOR_TOLD,    /* it said something to others, or to everybody */
	VN_NEIGHBOR_ANSWERED /* it answers us, if we have asked */
};
/*
 * A station has said that an address is its own. link->mac is what it said.
 * @return true if it was an answer that we waited for, or changed what we knew
 */
bool vn_neighbor_learn(struct vnic_stack *stack, const struct vnic_address *address,
		       const struct vn_link *link, enum vn_neighbor_news news);
/* The same for a neighbor advertisement. link: NULL if it did not say */
bool vn_neighbor_advertised(struct vnic_stack *stack, const struct vnic_address *address,
			    const struct vn_link *link, uint32_t flags);
/* Ask for the Ethernet address of target, of whom link is believed to be, or of everybody: NULL. */
void vn_arp_ask(struct vnic_stack *stack, const struct vn_link *link,
		const struct vnic_address *source, const struct vnic_address *target);
void vn_ndp_ask(struct vnic_stack *stack, const struct vn_link *link,
		const struct vnic_address *source, const struct vnic_address *target);

/* path.c: what routers said of the paths' MTUs. */
int vn_paths_new(struct vnic_stack *stack);
void vn_paths_free(struct vnic_stack *stack);
/* The MTU of IP packets to an address, in bytes. */
unsigned vn_path_mtu(const struct vnic_stack *stack, const struct vnic_address *remote);
/*
 * Learn a smaller one (RFC 1191, RFC 8201), for 10 minutes; what is below the least that there may
 * be is taken as that. @return true if the path's MTU is smaller now than it was
 */
bool vn_path_learn(struct vnic_stack *stack, const struct vnic_address *remote, unsigned mtu_bytes);

/*
 * ipv4_options.c. Both return 0, or the offset of what is wrong from the header's first byte.
 * check() also says whether a source route wants the packet to go on; reply() turns a request's
 * options in place into those of the reply, which goes to where *destination says then.
 */
unsigned vn_ipv4_options_check(const struct vnic_ipv4 *ipv4, bool *source_route_left);
unsigned vn_ipv4_options_reply(const struct vnic_stack *stack, const struct vn_input *input,
			       uint8_t *ip, struct vnic_address *destination);

/* error.c */
vn_verdict vn_error_send(struct vnic_stack *stack, struct vn_input *input, uint8_t type,
			 uint8_t code, uint32_t rest);
/* Take one from what the rate allows; false if there is none left. */
bool vn_error_allowed(struct vnic_stack *stack);
/*
 * See to the checksum of the transport header.
 * @return 1: it needs no verification, 0: it is complete and may be verified, or -EBADMSG
 */
int vn_input_checksum(struct vn_input *input);

/* announce.c, and what it calls of arp.c, ndp.c and mld.c */
void vn_announce_begin(struct vnic_stack *stack);
void vn_announce_address(struct vnic_stack *stack, struct vn_address_entry *entry);
uint64_t vn_announce_advance(struct vnic_stack *stack);
void vn_arp_announce(struct vnic_stack *stack, const struct vn_address_entry *entry);
void vn_ndp_probe(struct vnic_stack *stack, struct vn_address_entry *entry);
void vn_ndp_announce(struct vnic_stack *stack, const struct vn_address_entry *entry);
void vn_mld_report(struct vnic_stack *stack);

#endif
