/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Packets are put together from the inside out by the builders of the public headers, which are
 * tested against scapy's packets. Nothing here knows how segmentation works: a segment is built
 * like any packet, from a sample with another sequence number, identification and length.
 */
#include "samples.h"

#include <assert.h>
#include <string.h>

#include <vnic/checksum.h>

#define DESTINATION_PORT 5201

uint8_t sample_byte(uint32_t position)
{
	position = (position ^ position >> 15) * 0x2c1b3c6d;
	return (uint8_t)(position >> 21);
}

static uint32_t extension_bytes(const struct sample *sample)
{
	return sample->extension ? sample->extension : 8;
}

static uint32_t network_offset(const struct sample *sample)
{
	return sample->tap ? VNIC_ETHERNET_HEADER_BYTES + sample->tags * VNIC_VLAN_TAG_BYTES : 0;
}

static uint32_t transport_offset(const struct sample *sample)
{
	return network_offset(sample) +
	       (sample->ipv6 ? VNIC_IPV6_HEADER_BYTES + sample->extensions * extension_bytes(sample)
			     : VNIC_IPV4_HEADER_BYTES + sample->ip_options * 4);
}

uint32_t sample_header_bytes(const struct sample *sample)
{
	return transport_offset(sample) +
	       (sample->udp ? VNIC_UDP_HEADER_BYTES
			    : VNIC_TCP_HEADER_BYTES + sample->tcp_options * 4);
}

static void find_addresses(const struct sample *sample, struct vnic_address *source,
			   struct vnic_address *destination)
{
	static const uint8_t ipv4[2][16] = {{10, 9}, {10, 8, 0, 2}};
	static const uint8_t ipv6[2][16] = {{0xfd, 9}, {0xfd, 8, [15] = 2}};
	enum vnic_family family = sample->ipv6 ? VNIC_IPV6 : VNIC_IPV4;

	*source = vnic_address_from_bytes(family, sample->ipv6 ? ipv6[0] : ipv4[0]);
	*destination = vnic_address_from_bytes(family, sample->ipv6 ? ipv6[1] : ipv4[1]);
	source->bytes[sample->ipv6 ? 14 : 2] = (uint8_t)(sample->host >> 8);
	source->bytes[sample->ipv6 ? 15 : 3] = (uint8_t)sample->host;
}

static void build_ethernet(const struct sample *sample, struct vnic_packet *packet)
{
	struct vnic_ethernet ethernet = {
		.destination = {2, 0, 0, 0, 0, 2},
		.source = {2, 0, 0, 0, 0, 1},
		.ethertype = sample->ipv6 ? VNIC_ETHERTYPE_IPV6 : VNIC_ETHERTYPE_IPV4,
		.vlan_count = sample->tags,
		.vlan = {{VNIC_ETHERTYPE_QINQ, 100}, {VNIC_ETHERTYPE_VLAN, 5}},
	};

	if (sample->tags == 1)
		ethernet.vlan[0] = ethernet.vlan[1];
	if (vnic_ethernet_build(packet->data, packet->capacity_bytes, &ethernet) < 0)
		assert(0);
}

/* Destination options that are one PadN each. */
static void build_extensions(const struct sample *sample, uint8_t *bytes, uint8_t protocol)
{
	uint32_t length = extension_bytes(sample);

	for (unsigned i = 0; i < sample->extensions; i++, bytes += length) {
		memset(bytes, 0, length);
		bytes[0] = i + 1 < sample->extensions ? VNIC_PROTOCOL_DESTINATION : protocol;
		bytes[1] = (uint8_t)(length / 8 - 1);
		for (uint32_t at = 2; at < length;) {
			uint32_t left = length - at < 257 ? length - at : 200;

			bytes[at] = VNIC_IPV6_OPTION_PADN;
			bytes[at + 1] = (uint8_t)(left - 2);
			at += left;
		}
	}
}

static void build_network(const struct sample *sample, struct vnic_packet *packet,
			  const struct vnic_address *source, const struct vnic_address *destination)
{
	uint8_t *bytes = packet->data + network_offset(sample);
	uint32_t length = packet->length_bytes - network_offset(sample);
	uint8_t protocol = sample->udp ? VNIC_PROTOCOL_UDP : VNIC_PROTOCOL_TCP;
	uint8_t ttl = sample->ttl ? sample->ttl : 64;
	struct vnic_ipv6 ipv6 = {
		.traffic_class = sample->tos,
		.next_header = sample->extensions ? VNIC_PROTOCOL_DESTINATION : protocol,
		.hop_limit = ttl,
		.flow_label = sample->flow_label,
		.payload_bytes = (uint16_t)(length - VNIC_IPV6_HEADER_BYTES),
	};
	struct vnic_ipv4 ipv4 = {
		.tos = sample->tos,
		.ttl = ttl,
		.protocol = protocol,
		.dont_fragment = sample->dont_fragment,
		.identification = sample->identification,
		.total_bytes = (uint16_t)length,
		.options_bytes = (uint8_t)(sample->ip_options * 4),
	};

	if (sample->ipv6) {
		memcpy(ipv6.source, source->bytes, VNIC_IPV6_BYTES);
		memcpy(ipv6.destination, destination->bytes, VNIC_IPV6_BYTES);
		build_extensions(sample, bytes + VNIC_IPV6_HEADER_BYTES, protocol);
		if (vnic_ipv6_build(bytes, length, &ipv6) < 0)
			assert(0);
		return;
	}
	memcpy(ipv4.source, source->bytes, VNIC_IPV4_BYTES);
	memcpy(ipv4.destination, destination->bytes, VNIC_IPV4_BYTES);
	memset(ipv4.options, VNIC_IPV4_OPTION_NOP, sizeof(ipv4.options));
	if (vnic_ipv4_build(bytes, length, &ipv4) < 0)
		assert(0);
}

static void build_transport(const struct sample *sample, struct vnic_packet *packet,
			    const struct vnic_address *source,
			    const struct vnic_address *destination)
{
	uint8_t *bytes = packet->data + transport_offset(sample);
	uint32_t length = packet->length_bytes - transport_offset(sample);
	struct vnic_udp udp = {.source_port = sample->port, .destination_port = DESTINATION_PORT};
	struct vnic_tcp tcp = {
		.source_port = sample->port,
		.destination_port = DESTINATION_PORT,
		.sequence = sample->sequence,
		.acknowledgment = sample->acknowledgment,
		.flags = sample->flags ? sample->flags : VNIC_TCP_ACK,
		.window = sample->window,
		.options_bytes = (uint8_t)(sample->tcp_options * 4),
	};
	int used;

	for (unsigned i = 0; i < sizeof(tcp.options); i++) {
		uint32_t option = sample->option ? sample->option : 0x01010101;

		tcp.options[i] = (uint8_t)(option >> (24 - i % 4 * 8));
	}
	for (uint32_t i = 0; i < sample->payload; i++)
		packet->data[packet->length_bytes - sample->payload + i] =
			sample_byte(sample->sequence + i);
	used = sample->udp
		       ? vnic_udp_build(bytes, length, source, destination, &udp, sample->payload)
		       : vnic_tcp_build(bytes, length, source, destination, &tcp, sample->payload);
	assert(used >= 0);
}

void sample_build(const struct sample *sample, struct vnic_packet *packet)
{
	struct vnic_address source, destination;

	packet->length_bytes = sample_header_bytes(sample) + sample->payload;
	assert(packet->length_bytes <= packet->capacity_bytes);
	packet->flags = 0;
	packet->gso_type = VNIC_GSO_NONE;
	packet->gso_ecn = false;
	packet->gso_size_bytes = 0;
	packet->csum_start = 0;
	packet->csum_offset = 0;
	packet->gso_tunnel = 0;
	packet->gso_tunnel_csum = false;
	packet->tunnel_start = 0;
	packet->inner_start = 0;
	find_addresses(sample, &source, &destination);
	build_transport(sample, packet, &source, &destination);
	build_network(sample, packet, &source, &destination);
	if (sample->tap)
		build_ethernet(sample, packet);
}

void sample_build_partial(const struct sample *sample, struct vnic_packet *packet)
{
	struct vnic_address source, destination;
	uint32_t length;
	uint16_t sum;

	sample_build(sample, packet);
	packet->flags = VNIC_PACKET_NEEDS_CSUM;
	packet->csum_start = (uint16_t)transport_offset(sample);
	packet->csum_offset = sample->udp ? 6 : 16;
	find_addresses(sample, &source, &destination);
	length = packet->length_bytes - packet->csum_start;
	sum = vnic_checksum_fold(vnic_checksum_add_pseudo(
		0, &source, &destination, sample->udp ? VNIC_PROTOCOL_UDP : VNIC_PROTOCOL_TCP,
		length));
	packet->data[packet->csum_start + packet->csum_offset] = (uint8_t)(sum >> 8);
	packet->data[packet->csum_start + packet->csum_offset + 1] = (uint8_t)sum;
}

void sample_build_super(const struct sample *sample, uint16_t gso_size_bytes,
			struct vnic_packet *packet)
{
	sample_build_partial(sample, packet);
	packet->gso_size_bytes = gso_size_bytes;
	packet->gso_ecn = !sample->udp && (sample->flags & VNIC_TCP_CWR);
	packet->gso_type = sample->udp    ? VNIC_GSO_UDP
			   : sample->ipv6 ? VNIC_GSO_TCP6
					  : VNIC_GSO_TCP4;
}

struct sample sample_segment(const struct sample *super, uint16_t gso_size_bytes, unsigned index)
{
	struct sample part = *super;
	uint32_t position = (uint32_t)index * gso_size_bytes;
	uint32_t left = super->payload - position;

	part.flags = super->flags ? super->flags : VNIC_TCP_ACK;
	part.payload = left < gso_size_bytes ? left : gso_size_bytes;
	part.sequence += position;
	part.identification = (uint16_t)(part.identification + index);
	if (part.payload < left)
		part.flags &= (uint8_t) ~(VNIC_TCP_FIN | VNIC_TCP_PSH);
	if (index > 0)
		part.flags &= (uint8_t)~VNIC_TCP_CWR;
	return part;
}

void tunnel_build(const struct tunnel *tunnel, struct vnic_packet *packet)
{
	struct sample outer = {
		.tap = tunnel->tap, .tags = tunnel->tags, .ipv6 = tunnel->ipv6, .host = 77};
	uint32_t more = tunnel_bytes(tunnel), start = more - VNIC_UDP_HEADER_BYTES - tunnel->shim;
	uint32_t length = packet->length_bytes + more, network = network_offset(&outer);
	struct vnic_udp udp = {.source_port = 50000, .destination_port = 4789};
	struct vnic_address source, destination;
	struct vnic_ipv4 ipv4 = {
		.ttl = tunnel->ttl ? tunnel->ttl : 64,
		.protocol = VNIC_PROTOCOL_UDP,
		.identification = tunnel->identification,
		.total_bytes = (uint16_t)(length - network),
	};
	struct vnic_ipv6 ipv6 = {
		.hop_limit = ipv4.ttl,
		.next_header = VNIC_PROTOCOL_UDP,
		.payload_bytes = (uint16_t)(length - network - VNIC_IPV6_HEADER_BYTES),
	};
	uint8_t *field = packet->data + start + 6;
	uint16_t sum = 0;
	int used;

	assert(length <= packet->capacity_bytes);
	memmove(packet->data + more, packet->data, packet->length_bytes);
	packet->length_bytes = length;
	for (unsigned i = 0; i < tunnel->shim; i++)
		packet->data[more - 1 - i] = (uint8_t)(0xc0 + i);
	find_addresses(&outer, &source, &destination);
	memcpy(ipv4.source, source.bytes, VNIC_IPV4_BYTES);
	memcpy(ipv4.destination, destination.bytes, VNIC_IPV4_BYTES);
	memcpy(ipv6.source, source.bytes, VNIC_IPV6_BYTES);
	memcpy(ipv6.destination, destination.bytes, VNIC_IPV6_BYTES);
	if (tunnel->tap)
		build_ethernet(&outer, packet);
	used = tunnel->ipv6 ? vnic_ipv6_build(packet->data + network, more, &ipv6)
			    : vnic_ipv4_build(packet->data + network, more, &ipv4);
	assert(used == (int)(start - network));
	used = vnic_udp_build(packet->data + start, length - start, &source, &destination, &udp,
			      length - start - VNIC_UDP_HEADER_BYTES);
	assert(used == VNIC_UDP_HEADER_BYTES);
	if (!tunnel->checksum) {
		field[0] = field[1] = 0;
	} else if (packet->gso_type != VNIC_GSO_NONE) {
		sum = vnic_checksum_fold(vnic_checksum_add_pseudo(
			0, &source, &destination, VNIC_PROTOCOL_UDP, length - start));
		field[0] = (uint8_t)(sum >> 8);
		field[1] = (uint8_t)sum;
	}
	if (packet->gso_type == VNIC_GSO_NONE)
		return;
	packet->csum_start = (uint16_t)(packet->csum_start + more);
	packet->gso_tunnel = tunnel->ipv6 ? VNIC_IPV6 : VNIC_IPV4;
	packet->gso_tunnel_csum = tunnel->checksum;
	packet->tunnel_start = (uint16_t)start;
	packet->inner_start = (uint16_t)more;
}

static const char *transport_complaint(const uint8_t *bytes, uint32_t length, uint8_t protocol,
				       const struct vnic_address *source,
				       const struct vnic_address *destination, bool routed)
{
	struct vnic_udp udp;
	struct vnic_tcp tcp;

	if (protocol == VNIC_PROTOCOL_TCP) {
		if (vnic_tcp_parse(bytes, length, &tcp) < 0)
			return "no TCP header";
		if (!routed && vnic_tcp_verify(bytes, length, source, destination) < 0)
			return "a wrong TCP checksum";
		return NULL;
	}
	if (protocol != VNIC_PROTOCOL_UDP)
		return "neither TCP nor UDP";
	if (vnic_udp_parse(bytes, length, &udp) < 0)
		return "no UDP header";
	if (udp.length_bytes != length)
		return "a UDP length that is not IP's";
	if (udp.checksum == 0)
		return "no UDP checksum";
	if (!routed && vnic_udp_verify(bytes, &udp, source, destination) < 0)
		return "a wrong UDP checksum";
	return NULL;
}

static const char *ipv6_complaint(const uint8_t *bytes, uint32_t length)
{
	struct vnic_ipv6_extension extension;
	struct vnic_address source, destination;
	struct vnic_ipv6 ipv6;
	bool routed = false;
	uint32_t offset = VNIC_IPV6_HEADER_BYTES;
	uint8_t next;

	if (vnic_ipv6_parse(bytes, length, &ipv6) < 0)
		return "no IPv6 header";
	if (VNIC_IPV6_HEADER_BYTES + (uint32_t)ipv6.payload_bytes != length)
		return "an IPv6 payload length that is not the packet's";
	next = ipv6.next_header;
	while (vnic_ipv6_is_extension(next)) {
		int used = vnic_ipv6_extension_parse(next, bytes + offset, length - offset,
						     &extension);

		if (used < 0)
			return "an IPv6 extension header that does not parse";
		if (next == VNIC_PROTOCOL_FRAGMENT)
			return "a fragment";
		routed |= next == VNIC_PROTOCOL_ROUTING;
		offset += (uint32_t)used;
		next = extension.next_header;
	}
	source = vnic_address_from_bytes(VNIC_IPV6, ipv6.source);
	destination = vnic_address_from_bytes(VNIC_IPV6, ipv6.destination);
	return transport_complaint(bytes + offset, length - offset, next, &source, &destination,
				   routed);
}

const char *plain_complaint(const struct vnic_packet *packet, enum vnic_layer layer)
{
	const uint8_t *bytes = packet->data;
	uint32_t length = packet->length_bytes;
	struct vnic_address source, destination;
	struct vnic_ethernet ethernet;
	struct vnic_ipv4 ipv4;
	int used;

	if (packet->gso_type != VNIC_GSO_NONE || packet->flags & VNIC_PACKET_NEEDS_CSUM)
		return "not a plain packet";
	if (layer == VNIC_LAYER_ETHERNET) {
		used = vnic_ethernet_parse(bytes, length, &ethernet);
		if (used < 0)
			return "no Ethernet header";
		bytes += used;
		length -= (uint32_t)used;
		if (ethernet.ethertype == VNIC_ETHERTYPE_IPV6)
			return ipv6_complaint(bytes, length);
		if (ethernet.ethertype != VNIC_ETHERTYPE_IPV4)
			return "no IP packet";
	}
	if (length > 0 && bytes[0] >> 4 == 6)
		return ipv6_complaint(bytes, length);
	used = vnic_ipv4_parse(bytes, length, &ipv4);
	if (used < 0)
		return "no IPv4 header";
	if (ipv4.total_bytes != length)
		return "an IPv4 total that is not the packet's";
	if (ipv4.more_fragments || ipv4.fragment_offset_bytes)
		return "a fragment";
	source = vnic_address_from_bytes(VNIC_IPV4, ipv4.source);
	destination = vnic_address_from_bytes(VNIC_IPV4, ipv4.destination);
	return transport_complaint(bytes + used, length - (uint32_t)used, ipv4.protocol, &source,
				   &destination, false);
}
