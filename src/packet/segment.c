/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A super-packet is one set of headers before many segments' payload. All that differs from segment
 * to segment is the length, the IPv4 identification, the sequence number, a few flags and the
 * checksums. So the headers are read once: what is equal in all of them is summed up at the
 * beginning, and each segment adds to that sum what is its own. The payload is copied and summed in
 * one pass, since it would be read from memory twice otherwise.
 *
 * A super-packet may come from a stranger. So its headers are walked from the outermost, strictly,
 * and the walk must end where csum_start says that the transport header is, at the protocol that
 * the GSO type says it has: every segment then is a packet that such a walk accepts again. What the
 * walk found is kept, and so is the description: the second half reads nothing from the packet but
 * bytes that it copies.
 *
 * The sum of the pseudo header is the one that the checksum field holds, less the length. It is not
 * made from the addresses: where there is a routing header or a source route, the receiver's is
 * another than the header's destination.
 *
 * With a tunnel there is a second set of headers around the first. Its IP header is treated alike;
 * its UDP checksum covers all that is inside, so it is made last, from the bytes of the headers as
 * they stand then and the payload's sum.
 *
 * What the segments look like is the kernel's doing (net/ipv4/tcp_offload.c, udp_offload.c), and
 * the tests compare with the kernel's segments byte by byte.
 */
#include <vnic/segment.h>

#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "packet/checksum.h"

#define IPV4_TOTAL_OFFSET 2
#define IPV4_IDENTIFICATION_OFFSET 4
#define IPV4_CHECKSUM_OFFSET 10
#define IPV6_PAYLOAD_OFFSET 4
#define TCP_SEQUENCE_OFFSET 4
#define TCP_DATA_OFFSET 12
#define TCP_FLAGS_OFFSET 13
#define TCP_CHECKSUM_OFFSET 16
#define UDP_LENGTH_OFFSET 4
#define UDP_CHECKSUM_OFFSET 6

/* One's complement: adding this takes a number of 16 bits out of a sum. */
static uint32_t negative(uint32_t number)
{
	return number ^ 0xffff;
}

/* Returns the offset of the IP header, or -EBADMSG. */
static int read_link(const struct vnic_segmenter *segmenter, enum vnic_layer layer)
{
	const struct vnic_packet *packet = &segmenter->packet;
	struct vnic_ethernet ethernet = {.ethertype = 0};
	int used = 0, version;

	if (layer == VNIC_LAYER_ETHERNET) {
		used = vnic_ethernet_parse(packet->data, packet->length_bytes, &ethernet);
		if (used < 0)
			return used;
	}
	if (packet->length_bytes <= (uint32_t)used)
		return -EBADMSG;
	version = packet->data[used] >> 4;
	if (layer == VNIC_LAYER_ETHERNET &&
	    ethernet.ethertype != (version == 4 ? VNIC_ETHERTYPE_IPV4 : VNIC_ETHERTYPE_IPV6))
		return -EBADMSG;
	return used;
}

/* What an IP packet has behind its headers: from where to where in the bytes. */
struct extent {
	uint32_t begin, end;
};

static int read_ipv4(struct vnic_segmenter_network *to, const uint8_t *bytes, uint32_t length_bytes,
		     uint8_t protocol, struct extent *extent)
{
	const uint8_t *network = bytes + to->offset_bytes;
	struct vnic_ipv4 ipv4;
	uint32_t sum;
	int used = vnic_ipv4_parse(network, length_bytes - to->offset_bytes, &ipv4);

	if (used < 0 || ipv4.more_fragments || ipv4.fragment_offset_bytes ||
	    ipv4.protocol != protocol)
		return -EBADMSG;
	to->ipv4 = true;
	to->identification = ipv4.identification;
	/* All but the length, the identification and the checksum. */
	sum = vnic_checksum_add(0, network, 2);
	sum = vnic_checksum_add(sum, network + 6, 4);
	sum = vnic_checksum_add(sum, network + 12, (size_t)used - 12);
	to->sum = vn_checksum_fold(sum);
	extent->begin = to->offset_bytes + (uint32_t)used;
	extent->end = to->offset_bytes + ipv4.total_bytes;
	return 0;
}

/* The extension headers are those that the kernel's segmentation knows. */
static int read_ipv6(const struct vnic_segmenter_network *to, const uint8_t *bytes,
		     uint32_t length_bytes, uint8_t protocol, struct extent *extent)
{
	uint32_t offset = to->offset_bytes + VNIC_IPV6_HEADER_BYTES, end;
	struct vnic_ipv6_extension extension;
	struct vnic_ipv6 ipv6;
	uint8_t next;

	if (vnic_ipv6_parse(bytes + to->offset_bytes, length_bytes - to->offset_bytes, &ipv6) < 0)
		return -EBADMSG;
	end = offset + ipv6.payload_bytes;
	next = ipv6.next_header;
	while (next != protocol) {
		int used;

		if (next == VNIC_PROTOCOL_FRAGMENT)
			return -EBADMSG;
		used = vnic_ipv6_extension_parse(next, bytes + offset, end - offset, &extension);
		if (used < 0)
			return -EBADMSG;
		offset += (uint32_t)used;
		if (offset > VNIC_SEGMENT_HEADER_BYTES)
			return -EBADMSG;
		next = extension.next_header;
	}
	extent->begin = offset;
	extent->end = end;
	return 0;
}

/* The IP header at to->offset_bytes, of a packet that ends at length_bytes at the latest. */
static int read_network(struct vnic_segmenter_network *to, const uint8_t *bytes,
			uint32_t length_bytes, uint8_t protocol, struct extent *extent)
{
	if (length_bytes <= to->offset_bytes)
		return -EBADMSG;
	if (bytes[to->offset_bytes] >> 4 == 4)
		return read_ipv4(to, bytes, length_bytes, protocol, extent);
	return read_ipv6(to, bytes, length_bytes, protocol, extent);
}

/* The outer headers. The packet then is the one from inner_start to *end. */
static int read_tunnel(struct vnic_segmenter *segmenter, uint32_t *end)
{
	const struct vnic_packet *packet = &segmenter->packet;
	struct vnic_segmenter_network *network = &segmenter->tunnel_network;
	const uint8_t *outer;
	struct extent extent;
	uint32_t length;

	if (read_network(network, packet->data, *end, VNIC_PROTOCOL_UDP, &extent) < 0 ||
	    packet->gso_tunnel != (network->ipv4 ? VNIC_IPV4 : VNIC_IPV6) ||
	    packet->tunnel_start != extent.begin)
		return -EBADMSG;
	outer = packet->data + packet->tunnel_start;
	length = extent.end - extent.begin;
	if (length < VNIC_UDP_HEADER_BYTES || vn_load16(outer + UDP_LENGTH_OFFSET) != length ||
	    packet->inner_start < extent.begin + VNIC_UDP_HEADER_BYTES)
		return -EBADMSG;
	segmenter->tunnel_sum =
		vn_checksum_combine(vn_load16(outer + UDP_CHECKSUM_OFFSET), negative(length));
	segmenter->network.offset_bytes = packet->inner_start;
	*end = extent.end;
	return 0;
}

/* Sums up what the transport headers of all segments have in common. */
static int read_transport(struct vnic_segmenter *segmenter, uint32_t end)
{
	const uint8_t *transport = segmenter->packet.data + segmenter->transport_offset;
	uint32_t length = end - segmenter->transport_offset;
	uint32_t header = VNIC_UDP_HEADER_BYTES, sum;

	if (segmenter->tcp) {
		if (length < VNIC_TCP_HEADER_BYTES)
			return -EBADMSG;
		header = (uint32_t)(transport[TCP_DATA_OFFSET] >> 4) * 4;
		if (header < VNIC_TCP_HEADER_BYTES)
			return -EBADMSG;
	}
	if (length < header || segmenter->transport_offset + header > VNIC_SEGMENT_HEADER_BYTES ||
	    (!segmenter->tcp && vn_load16(transport + UDP_LENGTH_OFFSET) != length))
		return -EBADMSG;
	segmenter->header_bytes = segmenter->transport_offset + header;
	segmenter->payload_bytes = length - header;

	/* All but the lengths, the checksum, the sequence number and the flags. */
	sum = vn_load16(transport + segmenter->packet.csum_offset);
	sum = vn_checksum_combine(sum, negative(length & 0xffff));
	sum = vnic_checksum_add(sum, transport, 4);
	if (segmenter->tcp) {
		segmenter->sequence = vn_load32(transport + TCP_SEQUENCE_OFFSET);
		segmenter->tcp_flags = transport[TCP_FLAGS_OFFSET];
		sum = vnic_checksum_add(sum, transport + 8, 4);
		sum = vnic_checksum_add(sum, transport + 14, 2);
		sum = vnic_checksum_add(sum, transport + 18, header - 18);
		sum = vn_checksum_combine(sum, (uint32_t)transport[TCP_DATA_OFFSET] << 8);
	}
	segmenter->transport_sum = vn_checksum_fold(sum);
	return 0;
}

/* Does the description make sense for what the headers are? */
static bool describes(const struct vnic_segmenter *segmenter)
{
	const struct vnic_packet *packet = &segmenter->packet;

	switch (packet->gso_type) {
	case VNIC_GSO_TCP4:
		if (!segmenter->network.ipv4)
			return false;
		break;
	case VNIC_GSO_TCP6:
		if (segmenter->network.ipv4)
			return false;
		break;
	default:
		break;
	}
	return packet->csum_start == segmenter->transport_offset &&
	       packet->csum_offset == (segmenter->tcp ? TCP_CHECKSUM_OFFSET : UDP_CHECKSUM_OFFSET);
}

int vnic_segmenter_begin(struct vnic_segmenter *segmenter, const struct vnic_packet *packet,
			 enum vnic_layer layer)
{
	uint8_t protocol = VNIC_PROTOCOL_TCP;
	uint32_t end = packet->length_bytes;
	struct extent extent;
	int offset;

	memset(segmenter, 0, sizeof(*segmenter));
	segmenter->packet = *packet;
	switch (packet->gso_type) {
	case VNIC_GSO_NONE:
		return (packet->flags & VNIC_PACKET_NEEDS_CSUM) &&
				       (uint32_t)packet->csum_start + packet->csum_offset + 2 >
					       packet->length_bytes
			       ? -EBADMSG
			       : 1;
	case VNIC_GSO_TCP4:
	case VNIC_GSO_TCP6:
		segmenter->tcp = true;
		break;
	case VNIC_GSO_UDP:
		protocol = VNIC_PROTOCOL_UDP;
		break;
	default:
		return -EBADMSG;
	}
	if (!(packet->flags & VNIC_PACKET_NEEDS_CSUM) || packet->gso_size_bytes == 0)
		return -EBADMSG;
	offset = read_link(segmenter, layer);
	if (offset < 0)
		return offset;
	segmenter->network.offset_bytes = segmenter->tunnel_network.offset_bytes = (uint32_t)offset;
	if ((packet->gso_tunnel && read_tunnel(segmenter, &end) < 0) ||
	    read_network(&segmenter->network, packet->data, end, protocol, &extent) < 0 ||
	    (packet->gso_tunnel && extent.end != end))
		return -EBADMSG;
	segmenter->transport_offset = extent.begin;
	if (!describes(segmenter) || read_transport(segmenter, extent.end) < 0)
		return -EBADMSG;
	if (segmenter->payload_bytes == 0)
		return 1;
	return (int)((segmenter->payload_bytes + packet->gso_size_bytes - 1) /
		     packet->gso_size_bytes);
}

static void describe_plain(struct vnic_packet *packet, uint32_t length_bytes, uint8_t flags)
{
	packet->length_bytes = length_bytes;
	packet->flags = flags;
	packet->gso_type = VNIC_GSO_NONE;
	packet->gso_size_bytes = 0;
	packet->gso_ecn = false;
	packet->csum_start = 0;
	packet->csum_offset = 0;
	packet->gso_tunnel = 0;
	packet->gso_tunnel_csum = false;
	packet->tunnel_start = 0;
	packet->inner_start = 0;
}

/* A packet that is not cut: a copy with its checksum done. */
static int copy_whole(struct vnic_segmenter *segmenter, struct vnic_packet *to)
{
	const struct vnic_packet *from = &segmenter->packet;

	if (to->capacity_bytes < from->length_bytes)
		return -EMSGSIZE;
	memcpy(to->data, from->data, from->length_bytes);
	describe_plain(to, from->length_bytes, from->flags);
	to->csum_start = from->csum_start;
	to->csum_offset = from->csum_offset;
	/* Cannot fail: the offsets were checked at the beginning. */
	(void)vnic_packet_finish_checksum(to);
	describe_plain(to, to->length_bytes, to->flags);
	segmenter->index = 1;
	return 1;
}

/* Lengths and identification of an IP header in a segment of segment_bytes. */
static void write_network(const struct vnic_segmenter_network *network, uint32_t index,
			  uint8_t *segment, uint32_t segment_bytes)
{
	uint16_t identification = (uint16_t)(network->identification + index);
	uint32_t length = segment_bytes - network->offset_bytes;
	uint8_t *header = segment + network->offset_bytes;

	if (!network->ipv4) {
		vn_store16(header + IPV6_PAYLOAD_OFFSET,
			   (uint16_t)(length - VNIC_IPV6_HEADER_BYTES));
		return;
	}
	vn_store16(header + IPV4_TOTAL_OFFSET, (uint16_t)length);
	vn_store16(header + IPV4_IDENTIFICATION_OFFSET, identification);
	vn_store16(header + IPV4_CHECKSUM_OFFSET,
		   vn_checksum_finish(network->sum + length + identification));
}

/* The outer headers, when all that is inside is written; payload_sum is folded to 16 bits. */
static void write_tunnel(const struct vnic_segmenter *segmenter, uint8_t *segment,
			 uint32_t segment_bytes, uint32_t payload_sum)
{
	uint32_t start = segmenter->packet.tunnel_start, length = segment_bytes - start;
	uint32_t header = segmenter->header_bytes - start, sum;
	uint8_t *outer = segment + start;
	uint16_t checksum;

	write_network(&segmenter->tunnel_network, segmenter->index, segment, segment_bytes);
	vn_store16(outer + UDP_LENGTH_OFFSET, (uint16_t)length);
	if (!segmenter->packet.gso_tunnel_csum)
		return;
	vn_store16(outer + UDP_CHECKSUM_OFFSET, 0);
	sum = vn_checksum_combine(vnic_checksum_add(segmenter->tunnel_sum, outer, header), length);
	/* Behind an odd number of header bytes the payload's words are the other way round. */
	if (header & 1)
		payload_sum = payload_sum >> 8 | (payload_sum & 0xff) << 8;
	checksum = vn_checksum_finish(vn_checksum_combine(sum, payload_sum));
	vn_store16(outer + UDP_CHECKSUM_OFFSET, checksum ? checksum : 0xffff);
}

/* The transport header's own fields; sum is that of the payload, folded to 16 bits. */
static void write_transport(const struct vnic_segmenter *segmenter, uint8_t *transport,
			    uint32_t length_bytes, bool last, uint32_t sum)
{
	uint16_t checksum;

	/* Some ten numbers of 16 bits: no carry is lost in 32. */
	sum += segmenter->transport_sum + length_bytes;
	if (segmenter->tcp) {
		uint32_t sequence = segmenter->sequence + segmenter->position_bytes;
		uint8_t flags = segmenter->tcp_flags;

		if (!last)
			flags &= (uint8_t) ~(VNIC_TCP_FIN | VNIC_TCP_PSH);
		if (segmenter->index > 0)
			flags &= (uint8_t)~VNIC_TCP_CWR;
		vn_store32(transport + TCP_SEQUENCE_OFFSET, sequence);
		transport[TCP_FLAGS_OFFSET] = flags;
		sum += (sequence >> 16) + (sequence & 0xffff) + flags;
		vn_store16(transport + TCP_CHECKSUM_OFFSET, vn_checksum_finish(sum));
		return;
	}
	vn_store16(transport + UDP_LENGTH_OFFSET, (uint16_t)length_bytes);
	checksum = vn_checksum_finish(sum + length_bytes);
	vn_store16(transport + UDP_CHECKSUM_OFFSET, checksum ? checksum : 0xffff);
}

int vnic_segmenter_next(struct vnic_segmenter *segmenter, struct vnic_packet *packets,
			unsigned count)
{
	const struct vnic_packet *from = &segmenter->packet;
	const uint32_t header = segmenter->header_bytes;
	unsigned done;

	if (from->gso_type == VNIC_GSO_NONE)
		return segmenter->index == 0 && count > 0 ? copy_whole(segmenter, packets) : 0;

	for (done = 0; done < count; done++) {
		struct vnic_packet *to = &packets[done];
		uint32_t left = segmenter->payload_bytes - segmenter->position_bytes;
		uint32_t size = left < from->gso_size_bytes ? left : from->gso_size_bytes;
		uint32_t sum;

		if (left == 0 && segmenter->index > 0)
			break;
		if (to->capacity_bytes < header + size)
			return done > 0 ? (int)done : -EMSGSIZE;
		memcpy(to->data, from->data, header);
		sum = vn_checksum_fold(vn_checksum_copy(
			to->data + header, from->data + header + segmenter->position_bytes, size));
		write_network(&segmenter->network, segmenter->index, to->data, header + size);
		write_transport(segmenter, to->data + segmenter->transport_offset,
				header + size - segmenter->transport_offset, size == left, sum);
		if (from->gso_tunnel)
			write_tunnel(segmenter, to->data, header + size, sum);
		describe_plain(to, header + size, 0);
		segmenter->position_bytes += size;
		segmenter->index++;
	}
	return (int)done;
}
