/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * One pass over the burst. Each packet is looked at once: can it be part of a super-packet at all,
 * where do its headers end, which flow is it of. For each flow that the burst has shown there is at
 * most one packet that still grows, the open head. A packet of that flow either continues the head,
 * and its payload moves behind the head's, or it closes the head, since nothing that comes later
 * may overtake it; then it may be a head itself. A packet whose flow cannot be told, as that of a
 * fragment, might be of any flow, and closes all heads.
 *
 * The rules are the kernel's (net/core/gro.c, tcp_offload.c, udp_offload.c) and a little stricter:
 * what comes out is cut into the very same bytes again. So IPv4 identifications must count up even
 * where the packet may not be fragmented, nothing may follow the IP packet in its frame, and of the
 * two zeros of one's complement a checksum must have the one that we would write.
 *
 * A checksum that nobody vouches for is verified before a byte counts: the payload is summed while
 * it is copied behind the head's, and the head's length grows only if the sum was right. A head is
 * verified when its first continuation comes, so that packets that stay alone are never summed.
 *
 * A burst has 64 packets at most, so flows are found by comparing a hash with at most 64 others; a
 * stranger who makes every packet a flow of its own costs 2,016 comparisons of numbers a burst.
 */
#include <vnic/merge.h>

#include <string.h>
#include <vnic/segment.h>

#include "base/bytes.h"
#include "packet/checksum.h"
#include "packet/merge.h"

#define IPV4_TOTAL_OFFSET 2
#define IPV4_IDENTIFICATION_OFFSET 4
#define IPV4_CHECKSUM_OFFSET 10
#define IPV6_PAYLOAD_OFFSET 4
#define TCP_FLAGS_OFFSET 13
#define TCP_CHECKSUM_OFFSET 16
#define UDP_LENGTH_OFFSET 4
#define UDP_CHECKSUM_OFFSET 6
#define IP_MOST_BYTES 65535
/* The kernel cuts at most so many datagrams from one; newer ones take 128. */
#define UDP_SEGMENTS 64

/* What a packet is to us. */
enum kind {
	KIND_OTHER, /* of no flow that is merged */
	KIND_ODD,   /* it may be of such a flow, but of which cannot be told */
	KIND_FLOW
};

/* Where things are in one packet that might be merged. Offsets and lengths in bytes. */
struct layout {
	uint32_t hash;
	uint32_t network, transport, payload, end; /* end of the IP packet */
	bool ipv4;
	bool tcp;
};

/* A packet that may still grow, and what its next part must look like. */
struct head {
	struct layout layout;
	struct vnic_packet *packet;
	const struct vnic_packet *home; /* NULL: none, or the packet is there */
	unsigned segments;
	uint32_t size_bytes; /* of each segment's payload */
	uint32_t sequence;
	uint16_t identification;
	bool verified;
	bool open;
};

struct merger {
	struct head heads[VNIC_BURST_PACKETS];
	unsigned count;
};

static uint32_t mix(uint32_t hash, uint32_t number)
{
	hash = (hash ^ number) * UINT32_C(0x9e3779b1);
	return hash ^ hash >> 15;
}

static bool is_wanted(uint8_t protocol, unsigned what)
{
	return (protocol == VNIC_PROTOCOL_TCP && (what & VNIC_MERGE_TCP)) ||
	       (protocol == VNIC_PROTOCOL_UDP && (what & VNIC_MERGE_UDP));
}

/* Sets *protocol where it returns KIND_FLOW. */
static enum kind find_ipv4(const uint8_t *network, unsigned what, struct layout *layout,
			   uint8_t *protocol)
{
	struct vnic_ipv4 ipv4;
	int used = vnic_ipv4_parse(network, layout->end - layout->network, &ipv4);

	if (used < 0)
		return KIND_ODD;
	if (!is_wanted(ipv4.protocol, what))
		return KIND_OTHER;
	if (used != VNIC_IPV4_HEADER_BYTES || ipv4.more_fragments || ipv4.fragment_offset_bytes)
		return KIND_ODD;
	*protocol = ipv4.protocol;
	layout->ipv4 = true;
	layout->end = layout->network + ipv4.total_bytes;
	layout->transport = layout->network + VNIC_IPV4_HEADER_BYTES;
	layout->hash = mix(vn_load32(ipv4.source), vn_load32(ipv4.destination));
	return KIND_FLOW;
}

/* A routing header changes the pseudo header; a fragment has only a part of the payload. */
static enum kind find_ipv6(const uint8_t *network, unsigned what, struct layout *layout,
			   uint8_t *protocol)
{
	uint32_t offset = VNIC_IPV6_HEADER_BYTES, end;
	struct vnic_ipv6_extension extension;
	struct vnic_ipv6 ipv6;
	uint8_t next;

	if (vnic_ipv6_parse(network, layout->end - layout->network, &ipv6) < 0)
		return KIND_ODD;
	end = VNIC_IPV6_HEADER_BYTES + ipv6.payload_bytes;
	next = ipv6.next_header;
	while (next == VNIC_PROTOCOL_HOP_BY_HOP || next == VNIC_PROTOCOL_DESTINATION) {
		int used =
			vnic_ipv6_extension_parse(next, network + offset, end - offset, &extension);

		if (used < 0)
			return KIND_ODD;
		offset += (uint32_t)used;
		if (layout->network + offset > VNIC_SEGMENT_HEADER_BYTES)
			return KIND_ODD;
		next = extension.next_header;
	}
	if (next == VNIC_PROTOCOL_ROUTING || next == VNIC_PROTOCOL_FRAGMENT)
		return KIND_ODD;
	if (!is_wanted(next, what))
		return KIND_OTHER;
	*protocol = next;
	layout->ipv4 = false;
	layout->end = layout->network + end;
	layout->transport = layout->network + offset;
	layout->hash = mix(vn_load32(ipv6.source + 12), vn_load32(ipv6.destination + 12));
	return KIND_FLOW;
}

static enum kind find_network(const struct vnic_packet *packet, enum vnic_layer layer,
			      unsigned what, struct layout *layout, uint8_t *protocol)
{
	struct vnic_ethernet ethernet = {.ethertype = 0};
	int used = 0, version;

	if (layer == VNIC_LAYER_ETHERNET) {
		used = vnic_ethernet_parse(packet->data, packet->length_bytes, &ethernet);
		if (used < 0)
			return KIND_OTHER;
	}
	if (packet->length_bytes <= (uint32_t)used)
		return KIND_OTHER;
	layout->network = (uint32_t)used;
	layout->end = packet->length_bytes;
	version = packet->data[used] >> 4;
	if (version != 4 && version != 6)
		return KIND_OTHER;
	if (layer == VNIC_LAYER_ETHERNET &&
	    ethernet.ethertype != (version == 4 ? VNIC_ETHERTYPE_IPV4 : VNIC_ETHERTYPE_IPV6))
		return KIND_OTHER;
	return version == 4 ? find_ipv4(packet->data + used, what, layout, protocol)
			    : find_ipv6(packet->data + used, what, layout, protocol);
}

static enum kind find_layout(const struct vnic_packet *packet, enum vnic_layer layer, unsigned what,
			     struct layout *layout)
{
	const uint8_t *transport;
	enum kind kind;
	uint8_t protocol = 0;
	uint32_t length, header = VNIC_UDP_HEADER_BYTES;

	kind = find_network(packet, layer, what, layout, &protocol);
	if (kind != KIND_FLOW)
		return kind;
	layout->tcp = protocol == VNIC_PROTOCOL_TCP;
	transport = packet->data + layout->transport;
	length = layout->end - layout->transport;
	if (layout->tcp) {
		if (length < VNIC_TCP_HEADER_BYTES)
			return KIND_ODD;
		header = (uint32_t)(transport[12] >> 4) * 4;
		if (header < VNIC_TCP_HEADER_BYTES)
			return KIND_ODD;
	}
	if (length < header || (!layout->tcp && vn_load16(transport + UDP_LENGTH_OFFSET) != length))
		return KIND_ODD;
	layout->payload = layout->transport + header;
	layout->hash = mix(layout->hash, vn_load32(transport));
	return KIND_FLOW;
}

/* Also true across VLANs: that keeps more order than it must, and costs nothing. */
static bool same_flow(const struct head *head, const struct vnic_packet *packet,
		      const struct layout *layout)
{
	const uint8_t *a = head->packet->data + head->layout.network;
	const uint8_t *b = packet->data + layout->network;
	size_t at = layout->ipv4 ? 12 : 8;
	size_t length = layout->ipv4 ? 8 : 32;

	return head->layout.hash == layout->hash && head->layout.ipv4 == layout->ipv4 &&
	       head->layout.tcp == layout->tcp && memcmp(a + at, b + at, length) == 0 &&
	       memcmp(head->packet->data + head->layout.transport, packet->data + layout->transport,
		      4) == 0;
}

/* The sum of the pseudo header for a transport part of length_bytes. */
static uint32_t pseudo_sum(const struct vnic_packet *packet, const struct layout *layout,
			   uint32_t length_bytes)
{
	size_t at = layout->network + (layout->ipv4 ? 12u : 8u);
	size_t length = layout->ipv4 ? 8 : 32;
	uint32_t sum = vnic_checksum_add(0, packet->data + at, length);

	sum = vn_checksum_combine(sum, length_bytes);
	return vn_checksum_combine(sum, layout->tcp ? VNIC_PROTOCOL_TCP : VNIC_PROTOCOL_UDP);
}

/* Would completing the checksum, or the checksum as it is, become what the segmenter writes? */
static bool has_usual_checksum(const struct vnic_packet *packet, const struct layout *layout)
{
	uint32_t offset = layout->tcp ? TCP_CHECKSUM_OFFSET : UDP_CHECKSUM_OFFSET;
	uint16_t field = vn_load16(packet->data + layout->transport + offset);

	if (packet->flags & VNIC_PACKET_NEEDS_CSUM)
		return packet->csum_start == layout->transport && packet->csum_offset == offset &&
		       field == vn_checksum_fold(pseudo_sum(packet, layout,
							    layout->end - layout->transport));
	/* UDP: 0 means that there is none. TCP: 0xffff is the other zero, which nobody writes. */
	return field != (layout->tcp ? 0xffff : 0);
}

/* Is the packet allowed to be a part of a super-packet, wherever in it? */
static bool is_part(const struct vnic_packet *packet, const struct layout *layout)
{
	const uint8_t never = VNIC_TCP_SYN | VNIC_TCP_RST | VNIC_TCP_URG | VNIC_TCP_CWR;
	uint8_t flags;

	if (packet->gso_type != VNIC_GSO_NONE || packet->gso_tunnel ||
	    (packet->flags & VNIC_PACKET_TRUNCATED) || layout->payload == layout->end ||
	    layout->end != packet->length_bytes || !has_usual_checksum(packet, layout))
		return false;
	if (layout->ipv4 &&
	    vn_load16(packet->data + layout->network + IPV4_CHECKSUM_OFFSET) == 0xffff)
		return false;
	if (!layout->tcp)
		return true;
	flags = packet->data[layout->transport + TCP_FLAGS_OFFSET];
	return !(flags & never) && (flags & VNIC_TCP_ACK);
}

/* Everything that the super-packet will have once must be equal; but for PSH and FIN. */
static bool same_headers(const struct head *head, const struct vnic_packet *packet,
			 const struct layout *layout)
{
	const uint8_t *a = head->packet->data, *b = packet->data;
	const uint8_t *ta = a + layout->transport, *tb = b + layout->transport;

	if (head->layout.network != layout->network || head->layout.payload != layout->payload ||
	    head->layout.transport != layout->transport || memcmp(a, b, layout->network) != 0)
		return false;
	a += layout->network;
	b += layout->network;
	if (layout->ipv4) {
		/* TOS; flags, TTL and protocol; the identification counts up. */
		if (a[1] != b[1] || memcmp(a + 6, b + 6, 4) != 0 ||
		    vn_load16(b + IPV4_IDENTIFICATION_OFFSET) != head->identification)
			return false;
	} else if (memcmp(a, b, 4) != 0 || memcmp(a + 6, b + 6, 2) != 0 ||
		   memcmp(a + VNIC_IPV6_HEADER_BYTES, b + VNIC_IPV6_HEADER_BYTES,
			  layout->transport - layout->network - VNIC_IPV6_HEADER_BYTES) != 0) {
		return false;
	}
	if (!layout->tcp)
		return true;
	/* Acknowledgment and data offset; flags; window; urgent pointer and options. */
	return vn_load32(tb + 4) == head->sequence && memcmp(ta + 8, tb + 8, 5) == 0 &&
	       ((ta[TCP_FLAGS_OFFSET] ^ tb[TCP_FLAGS_OFFSET]) & ~(VNIC_TCP_PSH | VNIC_TCP_FIN)) ==
		       0 &&
	       memcmp(ta + 14, tb + 14, 2) == 0 &&
	       memcmp(ta + 18, tb + 18, layout->payload - layout->transport - 18) == 0;
}

static bool vouched_for(const struct vnic_packet *packet)
{
	return packet->flags & (VNIC_PACKET_NEEDS_CSUM | VNIC_PACKET_DATA_VALID);
}

/* payload_sum: of the payload, which was summed already. */
static bool checksum_right(const struct vnic_packet *packet, const struct layout *layout,
			   uint32_t payload_sum)
{
	uint32_t sum = pseudo_sum(packet, layout, layout->end - layout->transport);

	sum = vnic_checksum_add(sum, packet->data + layout->transport,
				layout->payload - layout->transport);
	return vn_checksum_finish(vn_checksum_combine(sum, payload_sum)) == 0;
}

static bool verify_head(struct head *head)
{
	const struct vnic_packet *packet = head->packet;

	if (!head->verified && !vouched_for(packet) &&
	    !checksum_right(
		    packet, &head->layout,
		    vnic_checksum_add(0, packet->data + head->layout.payload, head->size_bytes)))
		return false;
	head->verified = true;
	return true;
}

/* May anything follow this segment in a super-packet? */
static bool ends_here(const struct head *head, const struct vnic_packet *packet,
		      const struct layout *layout)
{
	const uint8_t ending = VNIC_TCP_PSH | VNIC_TCP_FIN;

	return layout->end - layout->payload < head->size_bytes ||
	       (layout->tcp && (packet->data[layout->transport + TCP_FLAGS_OFFSET] & ending)) ||
	       (!layout->tcp && head->segments >= UDP_SEGMENTS);
}

static void begin_head(struct merger *merger, struct vnic_packet *packet,
		       const struct vnic_packet *home, const struct layout *layout)
{
	const uint8_t *network = packet->data + layout->network;
	struct head *head = &merger->heads[merger->count++];

	*head = (struct head){
		.layout = *layout,
		.packet = packet,
		.home = home,
		.segments = 1,
		.size_bytes = layout->end - layout->payload,
	};
	if (layout->ipv4)
		head->identification =
			(uint16_t)(vn_load16(network + IPV4_IDENTIFICATION_OFFSET) + 1);
	if (layout->tcp)
		head->sequence = vn_load32(packet->data + layout->transport + 4) + head->size_bytes;
	head->open = is_part(packet, layout) && !ends_here(head, packet, layout);
}

/* Is there room behind the head for size_bytes, now or where its home is? */
static bool has_room(const struct head *head, uint32_t size_bytes)
{
	uint32_t capacity = head->packet->capacity_bytes;

	if (head->home && head->home->capacity_bytes > capacity)
		capacity = head->home->capacity_bytes;
	return head->layout.end + size_bytes <= capacity;
}

/* Move it home if it has no room where it is. */
static void make_room(struct head *head, uint32_t size_bytes)
{
	struct vnic_packet *packet = head->packet;

	if (head->layout.end + size_bytes <= packet->capacity_bytes)
		return;
	memcpy(head->home->data, packet->data, packet->length_bytes);
	packet->data = head->home->data;
	packet->capacity_bytes = head->home->capacity_bytes;
	packet->headroom_bytes = head->home->headroom_bytes;
	head->home = NULL;
}

/* Returns true if the packet's payload is now behind the head's. */
static bool continue_head(struct head *head, const struct vnic_packet *packet,
			  const struct layout *layout)
{
	struct vnic_packet *to = head->packet;
	const uint8_t *payload = packet->data + layout->payload;
	uint32_t size = layout->end - layout->payload;

	if (!head->open || !is_part(packet, layout) || size > head->size_bytes ||
	    !has_room(head, size) || head->layout.end + size - layout->network > IP_MOST_BYTES ||
	    !same_headers(head, packet, layout) || !verify_head(head))
		return false;
	make_room(head, size);
	/* Until the length says so, what stands behind the head's payload is nobody's. */
	if (vouched_for(packet))
		memcpy(to->data + head->layout.end, payload, size);
	else if (!checksum_right(packet, layout,
				 vn_checksum_copy(to->data + head->layout.end, payload, size)))
		return false;
	head->segments++;
	head->sequence += size;
	head->identification++;
	head->layout.end += size;
	to->length_bytes = head->layout.end;
	if (layout->tcp)
		to->data[layout->transport + TCP_FLAGS_OFFSET] |=
			packet->data[layout->transport + TCP_FLAGS_OFFSET];
	head->open = !ends_here(head, packet, layout);
	return true;
}

/* Make the headers of what has grown those of a super-packet. */
static void finish_head(const struct head *head)
{
	struct vnic_packet *packet = head->packet;
	const struct layout *layout = &head->layout;
	uint8_t *network = packet->data + layout->network;
	uint8_t *transport = packet->data + layout->transport;
	uint32_t length = layout->end - layout->transport;

	if (head->segments == 1)
		return;
	if (layout->ipv4) {
		vn_store16(network + IPV4_TOTAL_OFFSET, (uint16_t)(layout->end - layout->network));
		vn_store16(network + IPV4_CHECKSUM_OFFSET, 0);
		vn_store16(network + IPV4_CHECKSUM_OFFSET,
			   vnic_checksum(network, VNIC_IPV4_HEADER_BYTES));
	} else {
		vn_store16(network + IPV6_PAYLOAD_OFFSET,
			   (uint16_t)(layout->end - layout->network - VNIC_IPV6_HEADER_BYTES));
	}
	if (!layout->tcp)
		vn_store16(transport + UDP_LENGTH_OFFSET, (uint16_t)length);
	packet->csum_start = (uint16_t)layout->transport;
	packet->csum_offset = layout->tcp ? TCP_CHECKSUM_OFFSET : UDP_CHECKSUM_OFFSET;
	vn_store16(transport + packet->csum_offset,
		   vn_checksum_fold(pseudo_sum(packet, layout, length)));
	packet->flags = VNIC_PACKET_NEEDS_CSUM;
	packet->gso_size_bytes = (uint16_t)head->size_bytes;
	packet->gso_ecn = false;
	packet->gso_type = !layout->tcp   ? VNIC_GSO_UDP
			   : layout->ipv4 ? VNIC_GSO_TCP4
					  : VNIC_GSO_TCP6;
}

/* Returns true if the packet went into another. */
static bool merge_one(struct merger *merger, struct vnic_packet *packet,
		      const struct vnic_packet *home, enum vnic_layer layer, unsigned what)
{
	struct layout layout;
	enum kind kind = find_layout(packet, layer, what, &layout);

	if (kind == KIND_ODD) {
		for (unsigned i = 0; i < merger->count; i++)
			merger->heads[i].open = false;
	}
	if (kind != KIND_FLOW)
		return false;
	/* Only the flow's last head may grow: nothing may overtake what stands behind it. */
	for (unsigned i = merger->count; i-- > 0;) {
		struct head *head = &merger->heads[i];

		if (!same_flow(head, packet, &layout))
			continue;
		if (continue_head(head, packet, &layout))
			return true;
		break;
	}
	begin_head(merger, packet, home, &layout);
	return false;
}

unsigned vn_packets_merge(struct vnic_packet *packets, const struct vnic_packet *homes,
			  unsigned count, enum vnic_layer layer, unsigned what)
{
	bool gone[VNIC_BURST_PACKETS];
	struct merger merger;
	unsigned kept = 0;

	if (count > VNIC_BURST_PACKETS)
		return count;
	merger.count = 0;
	for (unsigned i = 0; i < count; i++)
		gone[i] = merge_one(&merger, &packets[i], homes ? &homes[i] : NULL, layer, what);
	for (unsigned i = 0; i < merger.count; i++)
		finish_head(&merger.heads[i]);
	for (unsigned i = 0; i < count; i++) {
		struct vnic_packet packet = packets[i];

		if (gone[i])
			continue;
		packets[i] = packets[kept];
		packets[kept++] = packet;
	}
	return kept;
}

unsigned vnic_packets_merge(struct vnic_packet *packets, unsigned count, enum vnic_layer layer,
			    unsigned what)
{
	return vn_packets_merge(packets, NULL, count, layer, what);
}
