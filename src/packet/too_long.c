/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Who drops a packet since it is too long tells its sender what would pass, and path MTU discovery
 * works (RFC 1191, RFC 8201). The rules of who is told nothing are those of all errors: nobody whose
 * packet went to a group (of IP or of Ethernet), came from no single host, was itself an error, or
 * was not the first fragment. RFC 4443 would allow this one for groups; a wire that answered those
 * for whole networks would make storms.
 *
 * IPv6 never goes under 1,280 bytes, and hosts ignore who says so: then nothing is said either.
 */
#include "packet/too_long.h"

#include <string.h>

#include "base/bytes.h"

#define IPV4_LEAST_MTU_BYTES 68 /* RFC 791 */
#define TTL 64
#define MAC_GROUP 1

bool vn_is_about_error_ipv4(const uint8_t *ip, size_t length_bytes)
{
	size_t type_at = (size_t)(ip[0] & 15) * 4;

	if (ip[9] != VNIC_PROTOCOL_ICMP)
		return false;
	return type_at >= length_bytes || vnic_icmp_is_error(ip[type_at]);
}

/* What stands behind the extension headers of an IPv6 packet. */
struct upper {
	size_t at; /* where it begins, which may be behind the end */
	uint8_t protocol;
	bool is_continued; /* it began in an earlier fragment: at is no beginning */
};

/* @return false: it cannot be found */
static bool find_upper(const uint8_t *ip, size_t length_bytes, struct upper *upper)
{
	struct vnic_ipv6_extension extension;

	*upper = (struct upper){.at = VNIC_IPV6_HEADER_BYTES, .protocol = ip[6]};
	while (vnic_ipv6_is_extension(upper->protocol)) {
		int length = vnic_ipv6_extension_parse(upper->protocol, ip + upper->at,
						       length_bytes - upper->at, &extension);

		if (length < 0)
			return false;
		upper->protocol = extension.next_header;
		upper->at += (size_t)length;
		if (extension.type == VNIC_PROTOCOL_FRAGMENT &&
		    extension.fragment_offset_bytes > 0) {
			upper->is_continued = true;
			return true;
		}
	}
	return true;
}

/* Looks behind all headers, for what was wrong may have come before the ICMPv6 header was found. */
bool vn_is_about_error_ipv6(const uint8_t *ip, size_t length_bytes)
{
	struct upper upper;

	if (!find_upper(ip, length_bytes, &upper) || upper.protocol != VNIC_PROTOCOL_ICMPV6)
		return false;
	/* What type the first fragment has cannot be seen here. */
	if (upper.is_continued || upper.at >= length_bytes)
		return true;
	return vnic_icmpv6_is_error(ip[upper.at]) || ip[upper.at] == VNIC_ICMPV6_REDIRECT;
}

static bool is_later_fragment_ipv6(const uint8_t *ip, size_t length_bytes)
{
	struct upper upper;

	return find_upper(ip, length_bytes, &upper) && upper.is_continued;
}

/* May it be a single host's (RFC 1122 section 3.2.1.3)? */
static bool is_host_ipv4(const uint8_t *address)
{
	return address[0] != 0 && address[0] != 127 && address[0] < 224;
}

static uint32_t answer_ipv4(const uint8_t *ip, size_t length_bytes, uint32_t mtu_bytes,
			    uint8_t *answer)
{
	const size_t headers = VNIC_IPV4_HEADER_BYTES + VNIC_ICMP_HEADER_BYTES;
	struct vnic_icmp icmp = {.type = VNIC_ICMP_UNREACHABLE,
				 .code = VNIC_ICMP_UNREACHABLE_FRAGMENTATION_NEEDED,
				 .rest = mtu_bytes < 65535 ? mtu_bytes : 65535};
	struct vnic_ipv4 asked,
		answering = {.tos = VN_ICMP_ERROR_TOS, .ttl = TTL, .protocol = VNIC_PROTOCOL_ICMP};
	size_t quoted = VN_ICMP_ERROR_BYTES - headers;

	if (vnic_ipv4_parse(ip, length_bytes, &asked) < 0 || mtu_bytes < IPV4_LEAST_MTU_BYTES)
		return 0;
	if (!asked.dont_fragment || asked.fragment_offset_bytes > 0 ||
	    !is_host_ipv4(asked.source) || !is_host_ipv4(asked.destination) ||
	    vn_is_about_error_ipv4(ip, length_bytes))
		return 0;
	if (quoted > length_bytes)
		quoted = length_bytes;
	memcpy(answering.source, asked.destination, sizeof(answering.source));
	memcpy(answering.destination, asked.source, sizeof(answering.destination));
	answering.total_bytes = (uint16_t)(headers + quoted);
	vnic_ipv4_build(answer, VNIC_IPV4_HEADER_BYTES, &answering);
	memcpy(answer + headers, ip, quoted);
	vnic_icmp_build(answer + VNIC_IPV4_HEADER_BYTES, VNIC_ICMP_HEADER_BYTES + quoted, &icmp,
			quoted);
	return (uint32_t)(headers + quoted);
}

static uint32_t answer_ipv6(const uint8_t *ip, size_t length_bytes, uint32_t mtu_bytes,
			    uint8_t *answer)
{
	const size_t headers = VNIC_IPV6_HEADER_BYTES + VNIC_ICMP_HEADER_BYTES;
	struct vnic_icmp icmp = {.type = VNIC_ICMPV6_PACKET_TOO_BIG, .rest = mtu_bytes};
	struct vnic_ipv6 asked, answering = {.next_header = VNIC_PROTOCOL_ICMPV6, .hop_limit = TTL};
	struct vnic_address source = {.family = VNIC_IPV6}, destination = {.family = VNIC_IPV6};
	size_t quoted = VNIC_IPV6_MTU_BYTES - headers;

	if (vnic_ipv6_parse_lenient(ip, length_bytes, &asked) < 0 ||
	    mtu_bytes < VNIC_IPV6_MTU_BYTES)
		return 0;
	memcpy(source.bytes, asked.destination, sizeof(asked.destination));
	memcpy(destination.bytes, asked.source, sizeof(asked.source));
	if (vnic_address_is_multicast(&source) || vnic_address_is_unspecified(&source) ||
	    vnic_address_is_multicast(&destination) || vnic_address_is_unspecified(&destination) ||
	    vn_is_about_error_ipv6(ip, length_bytes) || is_later_fragment_ipv6(ip, length_bytes))
		return 0;
	if (quoted > length_bytes)
		quoted = length_bytes;
	memcpy(answering.source, asked.destination, sizeof(answering.source));
	memcpy(answering.destination, asked.source, sizeof(answering.destination));
	answering.payload_bytes = (uint16_t)(VNIC_ICMP_HEADER_BYTES + quoted);
	vnic_ipv6_build(answer, VNIC_IPV6_HEADER_BYTES, &answering);
	memcpy(answer + headers, ip, quoted);
	vnic_icmpv6_build(answer + VNIC_IPV6_HEADER_BYTES, VNIC_ICMP_HEADER_BYTES + quoted, &source,
			  &destination, &icmp, quoted);
	return (uint32_t)(headers + quoted);
}

static uint32_t answer_ip(const uint8_t *ip, size_t length_bytes, uint32_t mtu_bytes,
			  uint8_t *answer)
{
	if (length_bytes == 0)
		return 0;
	switch (ip[0] >> 4) {
	case VNIC_IPV4:
		return answer_ipv4(ip, length_bytes, mtu_bytes, answer);
	case VNIC_IPV6:
		return answer_ipv6(ip, length_bytes, mtu_bytes, answer);
	default:
		return 0;
	}
}

uint32_t vn_too_long_build(const struct vnic_packet *packet, enum vnic_layer layer,
			   uint32_t most_bytes, uint32_t most_tag_bytes, uint8_t *answer)
{
	const uint8_t *data = packet->data;
	struct vnic_ethernet ethernet;
	uint32_t headers, reserved, length;
	int parsed;

	if (layer == VNIC_LAYER_IP)
		return answer_ip(data, packet->length_bytes, most_bytes, answer);
	parsed = vnic_ethernet_parse(data, packet->length_bytes, &ethernet);
	if (parsed < 0 || (ethernet.destination[0] | ethernet.source[0]) & MAC_GROUP)
		return 0;
	headers = (uint32_t)parsed;
	if (headers + VNIC_IPV4_HEADER_BYTES > packet->length_bytes ||
	    ethernet.ethertype !=
		    (data[headers] >> 4 == VNIC_IPV4 ? VNIC_ETHERTYPE_IPV4 : VNIC_ETHERTYPE_IPV6))
		return 0;
	reserved = VNIC_ETHERNET_HEADER_BYTES + most_tag_bytes;
	if (reserved < headers)
		reserved = headers;
	if (most_bytes <= reserved)
		return 0;
	length = answer_ip(data + headers, packet->length_bytes - headers, most_bytes - reserved,
			   answer + headers);
	if (length == 0)
		return 0;
	memcpy(answer, data, headers); /* with its tags */
	memcpy(answer, ethernet.source, VNIC_MAC_BYTES);
	memcpy(answer + VNIC_MAC_BYTES, ethernet.destination, VNIC_MAC_BYTES);
	return headers + length;
}
