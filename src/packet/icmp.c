/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * All messages of both protocols begin with the same 8 bytes, of which the last four belong to the
 * type; they are handed on as one number. The protocols differ in what the checksum covers: ICMPv6
 * adds the pseudo header. A message whose checksum is right sums to 0 with its checksum in it; the
 * builders sum the header with a checksum of 0, and the payload that the caller has already put
 * behind.
 */
#include <vnic/icmp.h>

#include <errno.h>
#include <vnic/checksum.h>
#include <vnic/ipv4.h>

#include "base/bytes.h"

static int parse(const uint8_t *bytes, size_t length_bytes, uint32_t pseudo, struct vnic_icmp *icmp)
{
	if (vnic_checksum_finish(vnic_checksum_add(pseudo, bytes, length_bytes)) != 0)
		return -EBADMSG;
	icmp->type = bytes[0];
	icmp->code = bytes[1];
	icmp->checksum = vn_load16(bytes + 2);
	icmp->rest = vn_load32(bytes + 4);
	return VNIC_ICMP_HEADER_BYTES;
}

static int build(uint8_t *bytes, const struct vnic_icmp *icmp, size_t payload_bytes,
		 uint32_t pseudo)
{
	bytes[0] = icmp->type;
	bytes[1] = icmp->code;
	vn_store16(bytes + 2, 0);
	vn_store32(bytes + 4, icmp->rest);
	vn_store16(bytes + 2, vnic_checksum_finish(vnic_checksum_add(
				      pseudo, bytes, VNIC_ICMP_HEADER_BYTES + payload_bytes)));
	return VNIC_ICMP_HEADER_BYTES;
}

static bool fits(size_t capacity_bytes, size_t payload_bytes)
{
	return capacity_bytes >= VNIC_ICMP_HEADER_BYTES &&
	       payload_bytes <= capacity_bytes - VNIC_ICMP_HEADER_BYTES;
}

int vnic_icmp_parse(const uint8_t *bytes, size_t length_bytes, struct vnic_icmp *icmp)
{
	if (length_bytes < VNIC_ICMP_HEADER_BYTES)
		return -EBADMSG;
	return parse(bytes, length_bytes, 0, icmp);
}

int vnic_icmp_build(uint8_t *bytes, size_t capacity_bytes, const struct vnic_icmp *icmp,
		    size_t payload_bytes)
{
	if (!fits(capacity_bytes, payload_bytes))
		return -ENOSPC;
	return build(bytes, icmp, payload_bytes, 0);
}

int vnic_icmpv6_parse(const uint8_t *bytes, size_t length_bytes, const struct vnic_address *source,
		      const struct vnic_address *destination, struct vnic_icmp *icmp)
{
	if (length_bytes < VNIC_ICMP_HEADER_BYTES)
		return -EBADMSG;
	return parse(bytes, length_bytes,
		     vnic_checksum_add_pseudo(0, source, destination, VNIC_PROTOCOL_ICMPV6,
					      (uint32_t)length_bytes),
		     icmp);
}

int vnic_icmpv6_build(uint8_t *bytes, size_t capacity_bytes, const struct vnic_address *source,
		      const struct vnic_address *destination, const struct vnic_icmp *icmp,
		      size_t payload_bytes)
{
	if (!fits(capacity_bytes, payload_bytes))
		return -ENOSPC;
	return build(bytes, icmp, payload_bytes,
		     vnic_checksum_add_pseudo(0, source, destination, VNIC_PROTOCOL_ICMPV6,
					      (uint32_t)(VNIC_ICMP_HEADER_BYTES + payload_bytes)));
}

bool vnic_icmp_is_error(uint8_t type)
{
	switch (type) {
	case VNIC_ICMP_UNREACHABLE:
	case 4: /* source quench, deprecated by RFC 6633 but an error all the same */
	case VNIC_ICMP_REDIRECT:
	case VNIC_ICMP_TIME_EXCEEDED:
	case VNIC_ICMP_PARAMETER_PROBLEM:
		return true;
	default:
		return false;
	}
}

bool vnic_icmpv6_is_error(uint8_t type)
{
	return type < 128;
}
