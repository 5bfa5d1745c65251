/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Parsing and verifying are two calls, because a packet whose checksum is unfinished or vouched
 * for must be parsed and must not be verified. The checksum covers the length that UDP itself
 * states, which may leave bytes of the IP payload out. As a checksum of 0 means that there is
 * none, one that is computed as 0 is sent as 0xFFFF, the other zero of one's complement.
 */
#include <vnic/udp.h>

#include <errno.h>
#include <vnic/checksum.h>
#include <vnic/ipv4.h>

#include "base/bytes.h"

#define DATAGRAM_MOST_BYTES 65535

int vnic_udp_parse(const uint8_t *bytes, size_t length_bytes, struct vnic_udp *udp)
{
	uint16_t length;

	if (length_bytes < VNIC_UDP_HEADER_BYTES)
		return -EBADMSG;
	length = vn_load16(bytes + 4);
	if (length < VNIC_UDP_HEADER_BYTES || length > length_bytes)
		return -EBADMSG;
	udp->source_port = vn_load16(bytes);
	udp->destination_port = vn_load16(bytes + 2);
	udp->length_bytes = length;
	udp->checksum = vn_load16(bytes + 6);
	return VNIC_UDP_HEADER_BYTES;
}

int vnic_udp_verify(const uint8_t *bytes, const struct vnic_udp *udp,
		    const struct vnic_address *source, const struct vnic_address *destination)
{
	uint32_t sum;

	if (udp->checksum == 0)
		return source->family == VNIC_IPV6 ? -EBADMSG : 0;
	sum = vnic_checksum_add_pseudo(0, source, destination, VNIC_PROTOCOL_UDP,
				       udp->length_bytes);
	sum = vnic_checksum_add(sum, bytes, udp->length_bytes);
	return vnic_checksum_finish(sum) == 0 ? 0 : -EBADMSG;
}

int vnic_udp_build(uint8_t *bytes, size_t capacity_bytes, const struct vnic_address *source,
		   const struct vnic_address *destination, const struct vnic_udp *udp,
		   size_t payload_bytes)
{
	uint16_t checksum;
	uint32_t sum;
	size_t length;

	if (payload_bytes > DATAGRAM_MOST_BYTES - VNIC_UDP_HEADER_BYTES)
		return -EMSGSIZE;
	length = VNIC_UDP_HEADER_BYTES + payload_bytes;
	if (capacity_bytes < length)
		return -ENOSPC;
	vn_store16(bytes, udp->source_port);
	vn_store16(bytes + 2, udp->destination_port);
	vn_store16(bytes + 4, (uint16_t)length);
	vn_store16(bytes + 6, 0);
	sum = vnic_checksum_add_pseudo(0, source, destination, VNIC_PROTOCOL_UDP, (uint32_t)length);
	checksum = vnic_checksum_finish(vnic_checksum_add(sum, bytes, length));
	vn_store16(bytes + 6, checksum ? checksum : 0xffff);
	return VNIC_UDP_HEADER_BYTES;
}
