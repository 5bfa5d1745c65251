/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Random changes would never get past the first length or checksum. So those are made right again, layer by
 * layer, down to where the packet cannot be read any further; everything else stays as wrong as it is.
 */
#include "repair.h"

void store16(uint8_t *bytes, size_t value)
{
	bytes[0] = (uint8_t)(value >> 8);
	bytes[1] = (uint8_t)value;
}

static void repair_transport(uint8_t protocol, uint8_t *bytes, size_t length,
			     const struct vnic_address *source,
			     const struct vnic_address *destination)
{
	uint32_t sum = 0;
	size_t at;

	switch (protocol) {
	case VNIC_PROTOCOL_ICMP:
	case VNIC_PROTOCOL_ICMPV6:
		at = 2;
		break;
	case VNIC_PROTOCOL_UDP:
		at = 6;
		if (length >= 8)
			store16(bytes + 4, length);
		break;
	case VNIC_PROTOCOL_TCP:
		at = 16;
		break;
	default:
		return;
	}
	if (length < at + 2)
		return;
	store16(bytes + at, 0);
	if (protocol != VNIC_PROTOCOL_ICMP)
		sum = vnic_checksum_add_pseudo(0, source, destination, protocol, (uint32_t)length);
	store16(bytes + at, vnic_checksum_finish(vnic_checksum_add(sum, bytes, length)));
}

void repair(enum vnic_layer layer, uint8_t *bytes, size_t length)
{
	struct vnic_ipv6_extension extension;
	struct vnic_address source, destination;
	struct vnic_ethernet ethernet;
	size_t at, header;
	uint8_t next;
	int rc;

	if (layer == VNIC_LAYER_ETHERNET) {
		rc = vnic_ethernet_parse(bytes, length, &ethernet);
		if (rc < 0)
			return;
		bytes += rc;
		length -= (size_t)rc;
	}
	if (length >= 20 && bytes[0] >> 4 == 4) {
		header = (size_t)(bytes[0] & 15) * 4;
		if (header < 20 || header > length)
			return;
		store16(bytes + 2, length);
		store16(bytes + 10, 0);
		store16(bytes + 10, vnic_checksum(bytes, header));
		if ((bytes[6] & 0x3f) != 0 || bytes[7] != 0)
			return;
		source = vnic_address_from_bytes(VNIC_IPV4, bytes + 12);
		destination = vnic_address_from_bytes(VNIC_IPV4, bytes + 16);
		repair_transport(bytes[9], bytes + header, length - header, &source, &destination);
	} else if (length >= 40 && bytes[0] >> 4 == 6) {
		store16(bytes + 4, length - 40);
		source = vnic_address_from_bytes(VNIC_IPV6, bytes + 8);
		destination = vnic_address_from_bytes(VNIC_IPV6, bytes + 24);
		for (at = 40, next = bytes[6]; vnic_ipv6_is_extension(next);
		     next = extension.next_header, at += (size_t)rc) {
			rc = vnic_ipv6_extension_parse(next, bytes + at, length - at, &extension);
			if (rc < 0 ||
			    (next == VNIC_PROTOCOL_FRAGMENT &&
			     (extension.more_fragments || extension.fragment_offset_bytes)))
				return;
		}
		repair_transport(next, bytes + at, length - at, &source, &destination);
	}
}
