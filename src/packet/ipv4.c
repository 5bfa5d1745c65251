/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Two parsers share one reader of fields. The lenient one stops at what makes fields unreadable
 * (too few bytes, another version, a header length that cannot be); the strict one then asks the
 * three questions that RFC 1122 section 3.2.1 has a host ask: is the checksum right, does the
 * total hold the header, and is all of it there. The checksum is verified for super-packets too:
 * only checksums of the transport layer are ever left to be done.
 *
 * Options are copied, not pointed to: a header is at most 60 bytes, and a struct that owns its
 * bytes can be kept, changed and built again after the packet's memory is gone.
 */
#include <vnic/ipv4.h>

#include <errno.h>
#include <string.h>
#include <vnic/checksum.h>

#include "base/bytes.h"

#define FLAG_DONT_FRAGMENT 0x4000
#define FLAG_MORE_FRAGMENTS 0x2000
#define OFFSET_MASK 0x1fff
#define OPTIONS_MOST_BYTES 40

int vnic_ipv4_parse_lenient(const uint8_t *bytes, size_t length_bytes, struct vnic_ipv4 *ipv4)
{
	size_t header_bytes;
	uint16_t fragment;

	if (length_bytes < VNIC_IPV4_HEADER_BYTES || bytes[0] >> 4 != 4)
		return -EBADMSG;
	header_bytes = (size_t)(bytes[0] & 0x0f) * 4;
	if (header_bytes < VNIC_IPV4_HEADER_BYTES || header_bytes > length_bytes)
		return -EBADMSG;
	memset(ipv4, 0, sizeof(*ipv4));
	ipv4->tos = bytes[1];
	ipv4->total_bytes = vn_load16(bytes + 2);
	ipv4->identification = vn_load16(bytes + 4);
	fragment = vn_load16(bytes + 6);
	ipv4->dont_fragment = fragment & FLAG_DONT_FRAGMENT;
	ipv4->more_fragments = fragment & FLAG_MORE_FRAGMENTS;
	ipv4->fragment_offset_bytes = (uint16_t)((fragment & OFFSET_MASK) * 8);
	ipv4->ttl = bytes[8];
	ipv4->protocol = bytes[9];
	memcpy(ipv4->source, bytes + 12, VNIC_IPV4_BYTES);
	memcpy(ipv4->destination, bytes + 16, VNIC_IPV4_BYTES);
	ipv4->options_bytes = (uint8_t)(header_bytes - VNIC_IPV4_HEADER_BYTES);
	memcpy(ipv4->options, bytes + VNIC_IPV4_HEADER_BYTES, ipv4->options_bytes);
	return (int)header_bytes;
}

int vnic_ipv4_parse(const uint8_t *bytes, size_t length_bytes, struct vnic_ipv4 *ipv4)
{
	struct vnic_ipv4 found;
	int header_bytes = vnic_ipv4_parse_lenient(bytes, length_bytes, &found);

	if (header_bytes < 0)
		return header_bytes;
	if (found.total_bytes < header_bytes || found.total_bytes > length_bytes ||
	    vnic_checksum(bytes, (size_t)header_bytes) != 0)
		return -EBADMSG;
	*ipv4 = found;
	return header_bytes;
}

int vnic_ipv4_build(uint8_t *bytes, size_t capacity_bytes, const struct vnic_ipv4 *ipv4)
{
	size_t header_bytes = VNIC_IPV4_HEADER_BYTES + (size_t)ipv4->options_bytes;
	unsigned fragment = ipv4->fragment_offset_bytes / 8;

	if (ipv4->options_bytes % 4 || ipv4->options_bytes > OPTIONS_MOST_BYTES ||
	    ipv4->fragment_offset_bytes % 8)
		return -EINVAL;
	if (capacity_bytes < header_bytes)
		return -ENOSPC;
	if (ipv4->dont_fragment)
		fragment |= FLAG_DONT_FRAGMENT;
	if (ipv4->more_fragments)
		fragment |= FLAG_MORE_FRAGMENTS;
	bytes[0] = (uint8_t)(4 << 4 | header_bytes / 4);
	bytes[1] = ipv4->tos;
	vn_store16(bytes + 2, ipv4->total_bytes);
	vn_store16(bytes + 4, ipv4->identification);
	vn_store16(bytes + 6, (uint16_t)fragment);
	bytes[8] = ipv4->ttl;
	bytes[9] = ipv4->protocol;
	vn_store16(bytes + 10, 0);
	memcpy(bytes + 12, ipv4->source, VNIC_IPV4_BYTES);
	memcpy(bytes + 16, ipv4->destination, VNIC_IPV4_BYTES);
	memcpy(bytes + VNIC_IPV4_HEADER_BYTES, ipv4->options, ipv4->options_bytes);
	vn_store16(bytes + 10, vnic_checksum(bytes, header_bytes));
	return (int)header_bytes;
}

int vnic_ipv4_next_option(const struct vnic_ipv4 *ipv4, size_t *offset, const uint8_t **option,
			  size_t *option_bytes)
{
	size_t end = ipv4->options_bytes <= OPTIONS_MOST_BYTES ? ipv4->options_bytes : 0;
	const uint8_t *at;
	size_t length = 1;

	if (*offset >= end)
		return 0;
	at = ipv4->options + *offset;
	if (at[0] == VNIC_IPV4_OPTION_END)
		return 0;
	if (at[0] != VNIC_IPV4_OPTION_NOP) {
		if (end - *offset < 2 || at[1] < 2 || at[1] > end - *offset)
			return -EBADMSG;
		length = at[1];
	}
	*option = at;
	*option_bytes = length;
	*offset += length;
	return 1;
}
