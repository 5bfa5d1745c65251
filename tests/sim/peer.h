/* SPDX-License-Identifier: MIT */
/* The other side of a simulated link: see peer.c. */
#ifndef SIM_PEER_H
#define SIM_PEER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <vnic/packet.h>
#include <vnic/stack.h>

#define SECOND_NS UINT64_C(1000000000)
#define PACKET_BYTES_MAX (VNIC_PACKET_BYTES + 64)

/* The peer is 10.0.0.1 and fd00::1, the stack 10.0.0.2, fd00::2 and fe80::2. */
#define PEER4 "10.0.0.1"
#define STACK4 "10.0.0.2"
#define PEER6 "fd00::1"
#define STACK6 "fd00::2"
#define STACK6_LINK "fe80::2"
extern const uint8_t peer_mac[VNIC_MAC_BYTES];
extern const uint8_t stack_mac[VNIC_MAC_BYTES];

struct peer_answer {
	uint8_t *bytes; /* with its Ethernet header, if there is one */
	size_t length;
	uint8_t *ip; /* behind that: the IP header or ARP */
	size_t ip_length;
	/* Its offload description, as struct vnic_packet has it; the checksum may be open. */
	uint8_t flags;
	uint8_t gso_type;
	uint16_t gso_size_bytes;
	uint64_t at_ns;
};

struct peer {
	struct vnic_stack_options options;
	struct vnic_stack *stack;
	uint64_t now_ns;
	uint64_t random; /* state of the generator that the stack uses */
	struct peer_answer *answers;
	size_t count;
	size_t room;
	unsigned conflicts; /* told by the stack */
	struct vnic_address conflict;
	/* How the next frames go out. */
	uint8_t from_mac[VNIC_MAC_BYTES];
	uint8_t to_mac[VNIC_MAC_BYTES];
	unsigned vlan_count;
	struct vnic_vlan_tag vlan[VNIC_VLAN_TAGS];
	uint8_t flags; /* of the next packets */
	uint8_t gso_type;
	uint16_t csum_start, csum_offset; /* without the Ethernet header */
};

/* A stack with the addresses above. change may set more options before it is made; NULL: none. */
void peer_begin(struct peer *peer, enum vnic_layer layer,
		void (*change)(struct vnic_stack_options *options));
void peer_end(struct peer *peer);
void peer_add(struct peer *peer, const char *prefix);
struct vnic_address peer_address(const char *text);

/* Give the stack a packet, with an Ethernet header before it where there is one. */
void peer_send(struct peer *peer, uint16_t ethertype, const uint8_t *bytes, size_t length);
/* The same, for what begins with an IP header. @return the name of the counter it ended in */
const char *peer_send_ip(struct peer *peer, const uint8_t *ip, size_t length);
/* The same, with all headers in the bytes. */
const char *peer_send_raw(struct peer *peer, const uint8_t *bytes, size_t length);
/* The same for hexadecimal digits with spaces between. */
const char *peer_send_hex(struct peer *peer, const char *hex);
size_t peer_hex(const char *hex, uint8_t *bytes, size_t room);

/* Let time pass, as a program would: vnic_stack_advance() whenever it asks to be called. */
void peer_wait(struct peer *peer, uint64_t duration_ns);

/* Write an IP packet around a payload. @return its length */
size_t peer_ip(uint8_t *packet, const char *source, const char *destination, uint8_t protocol,
	       const uint8_t *payload, size_t length);
/* Whole packets. */
size_t peer_echo(uint8_t *packet, const char *source, const char *destination, size_t data_bytes);
size_t peer_udp(uint8_t *packet, const char *source, const char *destination, size_t data_bytes);
size_t peer_tcp(uint8_t *packet, const char *source, const char *destination,
		const struct vnic_tcp *tcp, size_t data_bytes);
/* The ICMPv6 message behind headers, with its checksum made right. @return length */
size_t peer_ndp(uint8_t *packet, const char *source, const char *destination, uint8_t type,
		uint32_t flags, const struct vnic_ndp *ndp);
/* Byte number i of the data of peer_echo(). */
uint8_t peer_data(size_t i);

void peer_clear(struct peer *peer);
/* The n-th answer, which must be there. */
const struct peer_answer *peer_answer(const struct peer *peer, size_t n);
/*
 * Put the answers, which are fragments of one datagram, together. @return its length; 0: they are
 * not complete
 */
size_t peer_join(const struct peer *peer, uint8_t *packet);
uint64_t peer_counter(const struct peer *peer, enum vnic_stack_counter counter);
uint64_t peer_random(uint64_t *state);

#define assert_verdict(peer, packet, length, name) \
	assert_string_equal(peer_send_ip(peer, packet, length), name)

#endif
