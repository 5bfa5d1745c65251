/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Describes IPv4 and IPv6 headers, fragments and extension headers, and decides what the printers
 * of the payload may judge. A transport checksum can be verified only where all it covers is
 * there: not in a fragment, not in a truncated or quoted packet, not where NEEDS_CSUM, DATA_VALID
 * or a GSO type say that the checksum in the packet is unfinished, and not on a source route,
 * where the address it covers is not the one in the header.
 */
#include <vnic/checksum.h>

#include "packet/print.h"

/* Shown of a chain of extension headers; the rest is walked without a word. */
#define EXTENSIONS_SHOWN 2

static const struct {
	uint8_t number;
	const char *name;
} protocols[] = {
	{VNIC_PROTOCOL_ICMP, "ICMP"},
	{2, "IGMP"},
	{4, "IPv4-in-IP"},
	{VNIC_PROTOCOL_TCP, "TCP"},
	{VNIC_PROTOCOL_UDP, "UDP"},
	{41, "IPv6-in-IP"},
	{47, "GRE"},
	{50, "ESP"},
	{51, "AH"},
	{VNIC_PROTOCOL_ICMPV6, "ICMPv6"},
	{VNIC_PROTOCOL_NONE, "no next header"},
	{89, "OSPF"},
	{132, "SCTP"},
};

void vn_print_protocol(struct vn_print *print, uint8_t protocol)
{
	for (size_t i = 0; i < sizeof(protocols) / sizeof(protocols[0]); i++) {
		if (protocols[i].number == protocol) {
			vn_text_add(print->line, "%s", protocols[i].name);
			return;
		}
	}
	vn_text_add(print->line, "protocol %u", protocol);
}

void vn_print_payload(struct vn_print *print, uint8_t protocol, const struct vn_payload *payload)
{
	switch (protocol) {
	case VNIC_PROTOCOL_ICMP:
		if (payload->source.family == VNIC_IPV4) {
			vn_print_icmp(print, payload);
			return;
		}
		break;
	case VNIC_PROTOCOL_ICMPV6:
		if (payload->source.family == VNIC_IPV6) {
			vn_print_icmpv6(print, payload);
			return;
		}
		break;
	case VNIC_PROTOCOL_UDP:
		vn_print_udp(print, payload);
		return;
	case VNIC_PROTOCOL_TCP:
		vn_print_tcp(print, payload);
		return;
	}
	vn_print_protocol(print, protocol);
	if (!print->quoted)
		vn_text_add(print->line, " length %zu", payload->length_bytes);
}

static void print_addresses(struct vn_print *print, const struct vn_payload *payload)
{
	char source[VNIC_ADDRESS_TEXT_BYTES], destination[VNIC_ADDRESS_TEXT_BYTES];

	vn_text_add(print->line, "%s > %s ", vnic_address_format(&payload->source, source),
		    vnic_address_format(&payload->destination, destination));
}

static bool checksum_is_finished(const struct vn_print *print)
{
	const struct vnic_packet *packet = print->packet;

	return !print->quoted && !print->truncated && packet->gso_type == VNIC_GSO_NONE &&
	       !(packet->flags & (VNIC_PACKET_NEEDS_CSUM | VNIC_PACKET_DATA_VALID));
}

/* The text of a fragment; false if no upper-layer header can be in it. */
static bool print_fragment(struct vn_print *print, uint32_t identification, unsigned offset_bytes,
			   bool more)
{
	vn_text_add(print->line, "fragment id %u offset %u%s ", identification, offset_bytes,
		    more ? "+" : "");
	return offset_bytes == 0;
}

/* Also where they are broken: a broken option gets a note. */
static bool is_source_routed(struct vn_print *print, const struct vnic_ipv4 *ipv4)
{
	bool routed = false;
	const uint8_t *option;
	size_t offset = 0, option_bytes;
	int more;

	while ((more = vnic_ipv4_next_option(ipv4, &offset, &option, &option_bytes)) > 0)
		if (option[0] == VNIC_IPV4_OPTION_LOOSE_SOURCE_ROUTE ||
		    option[0] == VNIC_IPV4_OPTION_STRICT_SOURCE_ROUTE)
			routed = true;
	if (more < 0)
		vn_print_note(print, "bad IPv4 options");
	return routed;
}

static const char *ipv4_option_name(uint8_t type)
{
	switch (type) {
	case VNIC_IPV4_OPTION_RECORD_ROUTE:
		return "record-route ";
	case VNIC_IPV4_OPTION_TIMESTAMP:
		return "timestamp ";
	case VNIC_IPV4_OPTION_LOOSE_SOURCE_ROUTE:
		return "loose-source-route ";
	case VNIC_IPV4_OPTION_STRICT_SOURCE_ROUTE:
		return "strict-source-route ";
	case VNIC_IPV4_OPTION_ROUTER_ALERT:
		return "router-alert ";
	default:
		return NULL;
	}
}

/* The first option that is no padding: there is hardly ever a second one. */
static void print_ipv4_option(struct vn_print *print, const struct vnic_ipv4 *ipv4)
{
	const uint8_t *option;
	size_t offset = 0, option_bytes;

	while (vnic_ipv4_next_option(ipv4, &offset, &option, &option_bytes) > 0) {
		if (option[0] == VNIC_IPV4_OPTION_NOP)
			continue;
		if (ipv4_option_name(option[0]))
			vn_text_add(print->line, "%s", ipv4_option_name(option[0]));
		else
			vn_text_add(print->line, "option %u ", option[0]);
		return;
	}
}

static void print_ipv4(struct vn_print *print, const uint8_t *bytes, size_t length_bytes)
{
	struct vn_payload payload;
	struct vnic_ipv4 ipv4;
	int header_bytes = vnic_ipv4_parse_lenient(bytes, length_bytes, &ipv4);
	size_t total;

	if (header_bytes < 0) {
		vn_text_add(print->line, "IPv4");
		if ((bytes[0] & 0x0f) < VNIC_IPV4_HEADER_BYTES / 4)
			vn_print_note(print, "bad header length");
		else if (!print->quoted)
			print->truncated = true;
		return;
	}
	payload.source = vnic_address_from_bytes(VNIC_IPV4, ipv4.source);
	payload.destination = vnic_address_from_bytes(VNIC_IPV4, ipv4.destination);
	print_addresses(print, &payload);
	if (!print->quoted && vnic_checksum(bytes, (size_t)header_bytes) != 0)
		vn_print_note(print, "bad checksum (IPv4)");
	total = ipv4.total_bytes;
	/* A super-packet of more than 65,535 bytes has no total. */
	if (total == 0 && print->packet->gso_type != VNIC_GSO_NONE)
		total = length_bytes;
	if (total < (size_t)header_bytes) {
		vn_print_note(print, "bad total length");
		total = length_bytes;
	}
	if (total > length_bytes) {
		total = length_bytes;
		if (!print->quoted)
			print->truncated = true;
	}
	payload.bytes = bytes + header_bytes;
	payload.length_bytes = total - (size_t)header_bytes;
	payload.verify = checksum_is_finished(print) && !is_source_routed(print, &ipv4);
	if (!print->quoted)
		print_ipv4_option(print, &ipv4);
	if (ipv4.more_fragments || ipv4.fragment_offset_bytes) {
		payload.verify = false;
		if (!print_fragment(print, ipv4.identification, ipv4.fragment_offset_bytes,
				    ipv4.more_fragments)) {
			vn_print_protocol(print, ipv4.protocol);
			vn_text_add(print->line, " length %zu", payload.length_bytes);
			return;
		}
	}
	vn_print_payload(print, ipv4.protocol, &payload);
}

static void print_extension(struct vn_print *print, const struct vnic_ipv6_extension *extension)
{
	switch (extension->type) {
	case VNIC_PROTOCOL_HOP_BY_HOP:
		vn_text_add(print->line, "hop-by-hop ");
		break;
	case VNIC_PROTOCOL_DESTINATION:
		vn_text_add(print->line, "dest-options ");
		break;
	case VNIC_PROTOCOL_ROUTING:
		vn_text_add(print->line, "routing ");
		break;
	}
}

/*
 * Walk the extension headers. Returns false if the line is done: a later fragment, or a chain that
 * is cut off. Otherwise *protocol and *payload are those of the upper layer.
 */
static bool print_extensions(struct vn_print *print, uint8_t *protocol, struct vn_payload *payload)
{
	struct vnic_ipv6_extension extension;
	bool fragment = false;
	unsigned count = 0;

	for (; vnic_ipv6_is_extension(*protocol); count++) {
		int used = vnic_ipv6_extension_parse(*protocol, payload->bytes,
						     payload->length_bytes, &extension);

		if (used < 0) {
			vn_text_add(print->line, "extension header %u", *protocol);
			if (!print->truncated)
				vn_print_note(print, "bad extension header");
			return false;
		}
		payload->bytes += used;
		payload->length_bytes -= (size_t)used;
		*protocol = extension.next_header;
		if (extension.type == VNIC_PROTOCOL_ROUTING && extension.segments_left)
			payload->verify = false;
		if (count < EXTENSIONS_SHOWN && !print->quoted)
			print_extension(print, &extension);
		else if (count == EXTENSIONS_SHOWN && !print->quoted)
			vn_text_add(print->line, "... ");
		if (extension.type != VNIC_PROTOCOL_FRAGMENT || fragment)
			continue;
		fragment = true;
		if (extension.more_fragments || extension.fragment_offset_bytes)
			payload->verify = false;
		if (!print_fragment(print, extension.identification,
				    extension.fragment_offset_bytes, extension.more_fragments)) {
			vn_print_protocol(print, *protocol);
			vn_text_add(print->line, " length %zu", payload->length_bytes);
			return false;
		}
	}
	return true;
}

static void print_ipv6(struct vn_print *print, const uint8_t *bytes, size_t length_bytes)
{
	struct vn_payload payload;
	struct vnic_ipv6 ipv6;
	uint8_t protocol;

	if (vnic_ipv6_parse_lenient(bytes, length_bytes, &ipv6) < 0) {
		vn_text_add(print->line, "IPv6");
		if (!print->quoted)
			print->truncated = true;
		return;
	}
	payload.source = vnic_address_from_bytes(VNIC_IPV6, ipv6.source);
	payload.destination = vnic_address_from_bytes(VNIC_IPV6, ipv6.destination);
	payload.bytes = bytes + VNIC_IPV6_HEADER_BYTES;
	payload.length_bytes = length_bytes - VNIC_IPV6_HEADER_BYTES;
	print_addresses(print, &payload);
	if (ipv6.payload_bytes > payload.length_bytes) {
		if (!print->quoted)
			print->truncated = true;
	} else if (ipv6.payload_bytes || print->packet->gso_type == VNIC_GSO_NONE) {
		/* A super-packet of more than 65,535 bytes has no payload length. */
		payload.length_bytes = ipv6.payload_bytes;
	}
	payload.verify = checksum_is_finished(print);
	protocol = ipv6.next_header;
	if (print_extensions(print, &protocol, &payload))
		vn_print_payload(print, protocol, &payload);
}

void vn_print_ip(struct vn_print *print, const uint8_t *bytes, size_t length_bytes)
{
	if (length_bytes == 0) {
		vn_text_add(print->line, "no IP header");
		if (!print->quoted)
			print->truncated = true;
		return;
	}
	switch (bytes[0] >> 4) {
	case 4:
		print_ipv4(print, bytes, length_bytes);
		break;
	case 6:
		print_ipv6(print, bytes, length_bytes);
		break;
	default:
		vn_text_add(print->line, "IP version %u", bytes[0] >> 4);
	}
}
