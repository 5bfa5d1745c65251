/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * The fixed header is read like IPv4's, without a checksum as it has none. Extension headers are a
 * linked list in the packet, each naming the type of the next; parsing takes one of them at a
 * time, so that the walk and its bound stay with the caller, who knows what each header means to
 * him: a host counts them, a printer names them. All but the fragment header carry their length at
 * the same place, which is why one function can read the four of them.
 */
#include <vnic/ipv6.h>

#include <errno.h>
#include <string.h>

#include "base/bytes.h"

int vnic_ipv6_parse_lenient(const uint8_t *bytes, size_t length_bytes, struct vnic_ipv6 *ipv6)
{
	uint32_t first;

	if (length_bytes < VNIC_IPV6_HEADER_BYTES || bytes[0] >> 4 != 6)
		return -EBADMSG;
	first = vn_load32(bytes);
	ipv6->traffic_class = (uint8_t)(first >> 20);
	ipv6->flow_label = first & 0xfffff;
	ipv6->payload_bytes = vn_load16(bytes + 4);
	ipv6->next_header = bytes[6];
	ipv6->hop_limit = bytes[7];
	memcpy(ipv6->source, bytes + 8, VNIC_IPV6_BYTES);
	memcpy(ipv6->destination, bytes + 24, VNIC_IPV6_BYTES);
	return VNIC_IPV6_HEADER_BYTES;
}

int vnic_ipv6_parse(const uint8_t *bytes, size_t length_bytes, struct vnic_ipv6 *ipv6)
{
	struct vnic_ipv6 found;
	int header_bytes = vnic_ipv6_parse_lenient(bytes, length_bytes, &found);

	if (header_bytes < 0)
		return header_bytes;
	if (found.payload_bytes > length_bytes - VNIC_IPV6_HEADER_BYTES)
		return -EBADMSG;
	*ipv6 = found;
	return header_bytes;
}

int vnic_ipv6_build(uint8_t *bytes, size_t capacity_bytes, const struct vnic_ipv6 *ipv6)
{
	if (capacity_bytes < VNIC_IPV6_HEADER_BYTES)
		return -ENOSPC;
	vn_store32(bytes, UINT32_C(6) << 28 | (uint32_t)ipv6->traffic_class << 20 |
				  (ipv6->flow_label & 0xfffff));
	vn_store16(bytes + 4, ipv6->payload_bytes);
	bytes[6] = ipv6->next_header;
	bytes[7] = ipv6->hop_limit;
	memcpy(bytes + 8, ipv6->source, VNIC_IPV6_BYTES);
	memcpy(bytes + 24, ipv6->destination, VNIC_IPV6_BYTES);
	return VNIC_IPV6_HEADER_BYTES;
}

bool vnic_ipv6_is_extension(uint8_t next_header)
{
	switch (next_header) {
	case VNIC_PROTOCOL_HOP_BY_HOP:
	case VNIC_PROTOCOL_ROUTING:
	case VNIC_PROTOCOL_FRAGMENT:
	case VNIC_PROTOCOL_DESTINATION:
		return true;
	default:
		return false;
	}
}

int vnic_ipv6_extension_parse(uint8_t type, const uint8_t *bytes, size_t length_bytes,
			      struct vnic_ipv6_extension *extension)
{
	size_t header_bytes = VNIC_IPV6_FRAGMENT_BYTES;
	uint16_t fragment;

	if (!vnic_ipv6_is_extension(type))
		return -EINVAL;
	if (length_bytes < 8)
		return -EBADMSG;
	if (type != VNIC_PROTOCOL_FRAGMENT)
		header_bytes = ((size_t)bytes[1] + 1) * 8;
	if (header_bytes > length_bytes)
		return -EBADMSG;
	memset(extension, 0, sizeof(*extension));
	extension->type = type;
	extension->next_header = bytes[0];
	extension->length_bytes = (uint16_t)header_bytes;
	switch (type) {
	case VNIC_PROTOCOL_ROUTING:
		extension->routing_type = bytes[2];
		extension->segments_left = bytes[3];
		break;
	case VNIC_PROTOCOL_FRAGMENT:
		fragment = vn_load16(bytes + 2);
		extension->fragment_offset_bytes = fragment & 0xfff8;
		extension->more_fragments = fragment & 1;
		extension->identification = vn_load32(bytes + 4);
		break;
	default:
		extension->options = bytes + 2;
		extension->options_bytes = (uint16_t)(header_bytes - 2);
	}
	return (int)header_bytes;
}

int vnic_ipv6_fragment_build(uint8_t *bytes, size_t capacity_bytes,
			     const struct vnic_ipv6_extension *fragment)
{
	if (fragment->fragment_offset_bytes % 8)
		return -EINVAL;
	if (capacity_bytes < VNIC_IPV6_FRAGMENT_BYTES)
		return -ENOSPC;
	bytes[0] = fragment->next_header;
	bytes[1] = 0;
	vn_store16(bytes + 2, (uint16_t)(fragment->fragment_offset_bytes |
					 (fragment->more_fragments ? 1 : 0)));
	vn_store32(bytes + 4, fragment->identification);
	return VNIC_IPV6_FRAGMENT_BYTES;
}

int vnic_ipv6_next_option(const struct vnic_ipv6_extension *extension, size_t *offset,
			  const uint8_t **option, size_t *option_bytes)
{
	size_t end = extension->options ? extension->options_bytes : 0;

	while (*offset < end) {
		const uint8_t *at = extension->options + *offset;
		size_t length;

		if (at[0] == VNIC_IPV6_OPTION_PAD1) {
			*offset += 1;
			continue;
		}
		if (end - *offset < 2 || (size_t)at[1] + 2 > end - *offset)
			return -EBADMSG;
		length = (size_t)at[1] + 2;
		*offset += length;
		if (at[0] == VNIC_IPV6_OPTION_PADN)
			continue;
		*option = at;
		*option_bytes = length;
		return 1;
	}
	return 0;
}
