/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * What every packet that a stack sends must fulfil, whatever it answers: headers without a fault
 * and without bytes left over, right checksums, not over the MTU, and nobody as its receiver who
 * must not get it. The simulated peer applies it to everything, and so does the fuzzer.
 *
 * A packet with an offload description is cut, as whoever takes it would, and what comes of it must
 * be right.
 */
#include "check.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vnic/segment.h>

/* Only announcements and answers to probes for duplicates go to groups. */
static const char *check_icmpv6(const uint8_t *bytes, size_t length, const struct vnic_ipv6 *ipv6,
				const struct vnic_address *source,
				const struct vnic_address *destination)
{
	bool multicast = vnic_address_is_multicast(destination);
	struct vnic_icmp icmp;
	struct vnic_ndp ndp;

	if (vnic_icmpv6_parse(bytes, length, source, destination, &icmp) < 0)
		return "ICMPv6 cut off or with a wrong checksum";
	switch (icmp.type) {
	case VNIC_ICMPV6_NEIGHBOR_SOLICITATION:
	case VNIC_ICMPV6_NEIGHBOR_ADVERTISEMENT:
		if (ipv6->hop_limit != 255)
			return "neighbour discovery without hop limit 255";
		if (vnic_ndp_parse(icmp.type, bytes + VNIC_ICMP_HEADER_BYTES,
				   length - VNIC_ICMP_HEADER_BYTES, &ndp) < 0)
			return "malformed neighbour discovery";
		if (icmp.type == VNIC_ICMPV6_NEIGHBOR_ADVERTISEMENT &&
		    (!!(icmp.rest & VNIC_NDP_SOLICITED) == multicast || !ndp.has_mac))
			return "an advertisement with a wrong S flag or without a MAC";
		return NULL;
	case VNIC_ICMPV6_MLD2_REPORT:
		if (ipv6->hop_limit != 1 || ipv6->next_header != VNIC_PROTOCOL_HOP_BY_HOP)
			return "a report without hop limit 1 or without router alert";
		if (length != VNIC_ICMP_HEADER_BYTES + (icmp.rest & 0xffff) * 20)
			return "a report whose records do not fill it";
		return NULL;
	default:
		if (multicast)
			return "ICMPv6 to a group";
		if (vnic_address_is_unspecified(source))
			return "ICMPv6 from nobody";
		return NULL;
	}
}

/* Which options a segment may have, and how they look (RFC 9293, RFC 7323, RFC 2018). */
static const char *check_tcp_options(const struct vnic_tcp *tcp)
{
	bool syn = tcp->flags & VNIC_TCP_SYN, seen[VNIC_TCP_OPTION_TIMESTAMPS + 1] = {false};
	const uint8_t *option;
	size_t at = 0, length;
	int rc;

	while ((rc = vnic_tcp_next_option(tcp, &at, &option, &length)) > 0) {
		uint8_t kind = option[0];

		if (kind > VNIC_TCP_OPTION_TIMESTAMPS || seen[kind])
			return "a TCP option that is unknown or there twice";
		seen[kind] = true;
		switch (kind) {
		case VNIC_TCP_OPTION_MSS:
			if (!syn || length != 4 || (option[2] << 8 | option[3]) < 8)
				return "a wrong TCP MSS option";
			break;
		case VNIC_TCP_OPTION_WINDOW_SCALE:
			if (!syn || length != 3 || option[2] > 14)
				return "a wrong TCP window scale option";
			break;
		case VNIC_TCP_OPTION_SACK_PERMITTED:
			if (!syn || length != 2)
				return "a wrong TCP SACK-permitted option";
			break;
		case VNIC_TCP_OPTION_SACK:
			if (syn || length < 10 || (length - 2) % 8 != 0)
				return "a wrong TCP SACK option";
			break;
		case VNIC_TCP_OPTION_TIMESTAMPS:
			if (length != 10)
				return "a wrong TCP timestamps option";
			break;
		default:
			return "a TCP option of an unknown kind";
		}
	}
	if (rc < 0)
		return "a malformed TCP option";
	return syn && !seen[VNIC_TCP_OPTION_MSS] ? "a SYN without an MSS" : NULL;
}

static const char *check_tcp(const uint8_t *bytes, size_t length, const struct vnic_address *source,
			     const struct vnic_address *destination)
{
	struct vnic_tcp tcp;
	int header = vnic_tcp_parse(bytes, length, &tcp);

	if (header < 0 || vnic_tcp_verify(bytes, length, source, destination) < 0)
		return "TCP cut off or with a wrong checksum";
	if (tcp.source_port == 0 || tcp.destination_port == 0)
		return "TCP from or to port 0";
	if (tcp.flags & VNIC_TCP_URG || tcp.urgent != 0)
		return "TCP with urgent data";
	if (bytes[12] & 0x0f)
		return "TCP with reserved bits";
	switch (tcp.flags & (VNIC_TCP_SYN | VNIC_TCP_FIN | VNIC_TCP_RST | VNIC_TCP_ACK)) {
	case VNIC_TCP_RST:
	case VNIC_TCP_RST | VNIC_TCP_ACK:
	case VNIC_TCP_SYN:
	case VNIC_TCP_SYN | VNIC_TCP_ACK:
		if ((size_t)header != length)
			return "a TCP SYN or RST with payload";
		break;
	case VNIC_TCP_ACK:
	case VNIC_TCP_FIN | VNIC_TCP_ACK:
		break;
	default:
		return "TCP flags that nobody sends";
	}
	if (!(tcp.flags & VNIC_TCP_ACK) && tcp.acknowledgment != 0)
		return "a TCP acknowledgment without ACK";
	return check_tcp_options(&tcp);
}

static const char *check_transport(uint8_t protocol, const uint8_t *bytes, size_t length,
				   const struct vnic_address *source,
				   const struct vnic_address *destination)
{
	struct vnic_icmp icmp;
	struct vnic_udp udp;

	switch (protocol) {
	case VNIC_PROTOCOL_ICMP:
		return vnic_icmp_parse(bytes, length, &icmp) < 0
			       ? "ICMP cut off or with a wrong checksum"
			       : NULL;
	case VNIC_PROTOCOL_UDP:
		if (vnic_udp_parse(bytes, length, &udp) < 0 || udp.length_bytes != length)
			return "UDP cut off or with bytes left over";
		if (udp.checksum == 0 || vnic_udp_verify(bytes, &udp, source, destination) < 0)
			return "UDP with a wrong checksum or without one";
		return udp.source_port == 0 || udp.destination_port == 0 ? "UDP port 0" : NULL;
	case VNIC_PROTOCOL_TCP:
		return check_tcp(bytes, length, source, destination);
	default:
		return "a protocol that the stack does not send";
	}
}

static const char *check_ipv4(const uint8_t *bytes, size_t length, unsigned mtu_bytes)
{
	struct vnic_ipv4 ipv4;
	struct vnic_address source, destination;
	int header = vnic_ipv4_parse(bytes, length, &ipv4);

	if (header < 0)
		return "a malformed IPv4 header";
	if (ipv4.total_bytes != length)
		return "an IPv4 length that is not that of the packet";
	if (length > mtu_bytes)
		return "IPv4 over the MTU";
	source = vnic_address_from_bytes(VNIC_IPV4, ipv4.source);
	destination = vnic_address_from_bytes(VNIC_IPV4, ipv4.destination);
	if (ipv4.destination[0] == 0 || ipv4.destination[0] == 127)
		return "IPv4 to nobody or loopback";
	/* Only the user's own datagrams may go there: no answer ever. */
	if (ipv4.protocol != VNIC_PROTOCOL_UDP &&
	    (vnic_address_is_multicast(&destination) ||
	     memcmp(ipv4.destination, "\xff\xff\xff\xff", 4) == 0))
		return "IPv4 to a group or everybody";
	if (ipv4.source[0] == 0 || vnic_address_is_multicast(&source))
		return "IPv4 from nobody or a group";
	if (ipv4.more_fragments && (length - (size_t)header) % 8 != 0)
		return "an IPv4 fragment that is no multiple of 8 long";
	if (ipv4.more_fragments || ipv4.fragment_offset_bytes > 0)
		return NULL;
	return check_transport(ipv4.protocol, bytes + header, length - (size_t)header, &source,
			       &destination);
}

static const char *check_ipv6(const uint8_t *bytes, size_t length, unsigned mtu_bytes)
{
	struct vnic_ipv6_extension extension;
	struct vnic_address source, destination;
	struct vnic_ipv6 ipv6;
	size_t at = VNIC_IPV6_HEADER_BYTES;
	uint8_t next;

	if (vnic_ipv6_parse(bytes, length, &ipv6) < 0)
		return "a malformed IPv6 header";
	if (ipv6.payload_bytes != length - VNIC_IPV6_HEADER_BYTES)
		return "an IPv6 length that is not that of the packet";
	if (length > mtu_bytes)
		return "IPv6 over the MTU";
	source = vnic_address_from_bytes(VNIC_IPV6, ipv6.source);
	destination = vnic_address_from_bytes(VNIC_IPV6, ipv6.destination);
	if (vnic_address_is_unspecified(&destination) || vnic_address_is_loopback(&destination) ||
	    vnic_address_is_multicast(&source))
		return "IPv6 to nobody or loopback, or from a group";
	for (next = ipv6.next_header; vnic_ipv6_is_extension(next); next = extension.next_header) {
		int rc = vnic_ipv6_extension_parse(next, bytes + at, length - at, &extension);

		if (rc < 0)
			return "a malformed extension header";
		at += (size_t)rc;
		if (next != VNIC_PROTOCOL_FRAGMENT)
			continue;
		if (vnic_address_is_multicast(&destination) &&
		    extension.next_header != VNIC_PROTOCOL_UDP)
			return "a fragment to a group";
		if (extension.more_fragments && (length - at) % 8 != 0)
			return "an IPv6 fragment that is no multiple of 8 long";
		if (!extension.more_fragments && extension.fragment_offset_bytes == 0)
			return "an atomic fragment";
		return NULL;
	}
	if (next == VNIC_PROTOCOL_ICMPV6)
		return check_icmpv6(bytes + at, length - at, &ipv6, &source, &destination);
	return check_transport(next, bytes + at, length - at, &source, &destination);
}

static const char *check_frame(const struct vnic_packet *packet, const uint8_t *own_mac,
			       unsigned mtu_bytes)
{
	const uint8_t *bytes = packet->data;
	size_t length = packet->length_bytes;
	struct vnic_ethernet ethernet;
	struct vnic_arp arp;
	int header = vnic_ethernet_parse(bytes, length, &ethernet);

	if (header < 0)
		return "a malformed Ethernet header";
	if (memcmp(ethernet.source, own_mac, VNIC_MAC_BYTES) != 0)
		return "a frame from another station's address";
	if (memcmp(ethernet.destination, own_mac, VNIC_MAC_BYTES) == 0)
		return "a frame to ourselves";
	bytes += header;
	length -= (size_t)header;
	switch (ethernet.ethertype) {
	case VNIC_ETHERTYPE_ARP:
		if (vnic_arp_parse(bytes, length, &arp) < 0 || length != VNIC_ARP_BYTES)
			return "malformed ARP";
		if (memcmp(arp.sender_mac, own_mac, VNIC_MAC_BYTES) != 0)
			return "ARP from another station's address";
		if ((ethernet.destination[0] & 1) && arp.operation != VNIC_ARP_REQUEST)
			return "an ARP reply to everybody";
		return NULL;
	case VNIC_ETHERTYPE_IPV4:
		if ((ethernet.destination[0] & 1) && (length < 20 || bytes[9] != VNIC_PROTOCOL_UDP))
			return "IPv4 in a frame to a group";
		return check_ipv4(bytes, length, mtu_bytes);
	case VNIC_ETHERTYPE_IPV6:
		if ((ethernet.destination[0] & 1) != (length > 24 && bytes[24] == 0xff))
			return "an IPv6 destination that does not fit its frame's";
		return check_ipv6(bytes, length, mtu_bytes);
	default:
		return "an EtherType that the stack does not send";
	}
}

static const char *check_plain(const struct vnic_packet *packet, enum vnic_layer layer,
			       const uint8_t *own_mac, unsigned mtu_bytes)
{
	if (layer == VNIC_LAYER_ETHERNET)
		return check_frame(packet, own_mac, mtu_bytes);
	if (packet->data[0] >> 4 == 4)
		return check_ipv4(packet->data, packet->length_bytes, mtu_bytes);
	return check_ipv6(packet->data, packet->length_bytes, mtu_bytes);
}

static const char *check_segments(const struct vnic_packet *packet, enum vnic_layer layer,
				  const uint8_t *own_mac, unsigned mtu_bytes)
{
	struct vnic_segmenter segmenter;
	int count = vnic_segmenter_begin(&segmenter, packet, layer);
	const char *wrong = NULL;
	uint8_t *memory;

	if (count < 1)
		return "a packet with an offload description that makes no sense";
	if (packet->gso_type != VNIC_GSO_NONE && count < 2)
		return "a super-packet of one segment";
	if (count > VNIC_BURST_PACKETS && packet->gso_type == VNIC_GSO_UDP)
		return "a super-datagram of too many segments";
	memory = malloc(VNIC_PACKET_BYTES);
	while (memory && !wrong) {
		struct vnic_packet segment = {
			.data = memory,
			.capacity_bytes = VNIC_PACKET_BYTES,
		};

		if (vnic_segmenter_next(&segmenter, &segment, 1) != 1)
			break;
		wrong = check_plain(&segment, layer, own_mac, mtu_bytes);
		count--;
	}
	free(memory);
	if (!wrong && count != 0)
		wrong = "a super-packet that cannot be cut";
	return wrong;
}

const char *check_packet(const struct vnic_packet *packet, enum vnic_layer layer,
			 const uint8_t *own_mac, unsigned mtu_bytes)
{
	if (packet->length_bytes == 0 || packet->capacity_bytes < packet->length_bytes)
		return "an empty packet, or one longer than its memory";
	if (packet->flags & ~VNIC_PACKET_NEEDS_CSUM || packet->gso_tunnel != 0)
		return "a packet with flags or a tunnel";
	if (packet->flags == 0 && packet->gso_type != VNIC_GSO_NONE)
		return "a super-packet without an open checksum";
	if (packet->flags != 0)
		return check_segments(packet, layer, own_mac, mtu_bytes);
	return check_plain(packet, layer, own_mac, mtu_bytes);
}

const char *check_counters(const struct vnic_stack *stack)
{
	static const enum vnic_stack_counter answers[] = {
		VNIC_STACK_ARP_REPLIES,        VNIC_STACK_NEIGHBOR_ADVERTISEMENTS,
		VNIC_STACK_ECHO_REPLIES,       VNIC_STACK_UNREACHABLES,
		VNIC_STACK_PARAMETER_PROBLEMS, VNIC_STACK_RESETS,
		VNIC_STACK_GROUP_QUERIES,      VNIC_STACK_CONFLICTS,
		VNIC_STACK_FRAGMENTS_JOINED,   VNIC_STACK_FRAGMENTS_WAITING,
		VNIC_STACK_NEIGHBORS,          VNIC_STACK_NOTICES,
		VNIC_STACK_DATAGRAMS,          VNIC_STACK_SEGMENTS,
	};
	static _Thread_local char text[128];
	uint64_t received = vnic_stack_counter(stack, VNIC_STACK_RECEIVED), sum = 0;

	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++)
		sum += vnic_stack_counter(stack, answers[i]);
	for (unsigned i = 0; i < VNIC_STACK_COUNTERS; i++)
		if (strncmp(vnic_stack_counter_name(i), "drop_", 5) == 0)
			sum += vnic_stack_counter(stack, i);
	if (sum == received)
		return NULL;
	snprintf(text, sizeof(text), "%" PRIu64 " packets received, but %" PRIu64 " accounted for",
		 received, sum);
	return text;
}
