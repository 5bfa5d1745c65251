/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Solicitations and advertisements have the same shape: a target, then options, each with a type,
 * a length in units of 8 bytes, and a value. Which of the two link-layer address options counts
 * depends on the message, so the other one is passed over as unknown. Every option is walked even
 * when all of interest was found, since one broken option makes the whole message invalid (RFC
 * 4861 section 7.1). Address and nonce options that are not exactly 8 bytes are not ours (no
 * Ethernet address, no nonce that this library made) and are passed over too. Of two options of
 * one type the first one counts.
 */
#include <vnic/ndp.h>

#include <errno.h>
#include <string.h>
#include <vnic/icmp.h>

#define OPTION_SOURCE_MAC 1
#define OPTION_TARGET_MAC 2
#define OPTION_NONCE 14
#define OPTION_UNIT_BYTES 8

static uint8_t mac_option(uint8_t type)
{
	return type == VNIC_ICMPV6_NEIGHBOR_SOLICITATION ? OPTION_SOURCE_MAC : OPTION_TARGET_MAC;
}

int vnic_ndp_parse(uint8_t type, const uint8_t *bytes, size_t length_bytes, struct vnic_ndp *ndp)
{
	size_t offset = VNIC_IPV6_BYTES;
	struct vnic_ndp found;

	if (length_bytes < VNIC_IPV6_BYTES || (type != VNIC_ICMPV6_NEIGHBOR_SOLICITATION &&
					       type != VNIC_ICMPV6_NEIGHBOR_ADVERTISEMENT))
		return -EBADMSG;
	memset(&found, 0, sizeof(found));
	memcpy(found.target, bytes, VNIC_IPV6_BYTES);
	while (offset < length_bytes) {
		const uint8_t *option = bytes + offset;
		size_t left = length_bytes - offset;

		if (left < OPTION_UNIT_BYTES || option[1] == 0 ||
		    (size_t)option[1] * OPTION_UNIT_BYTES > left)
			return -EBADMSG;
		if (option[1] == 1 && option[0] == mac_option(type) && !found.has_mac) {
			found.has_mac = true;
			memcpy(found.mac, option + 2, sizeof(found.mac));
		}
		if (option[1] == 1 && option[0] == OPTION_NONCE && !found.has_nonce) {
			found.has_nonce = true;
			memcpy(found.nonce, option + 2, sizeof(found.nonce));
		}
		offset += (size_t)option[1] * OPTION_UNIT_BYTES;
	}
	*ndp = found;
	return (int)offset;
}

int vnic_ndp_build(uint8_t type, uint8_t *bytes, size_t capacity_bytes, const struct vnic_ndp *ndp)
{
	size_t needed = VNIC_IPV6_BYTES + (ndp->has_mac ? OPTION_UNIT_BYTES : 0) +
			(ndp->has_nonce ? OPTION_UNIT_BYTES : 0);
	uint8_t *at = bytes + VNIC_IPV6_BYTES;

	if (capacity_bytes < needed)
		return -ENOSPC;
	memcpy(bytes, ndp->target, VNIC_IPV6_BYTES);
	if (ndp->has_mac) {
		at[0] = mac_option(type);
		at[1] = 1;
		memcpy(at + 2, ndp->mac, sizeof(ndp->mac));
		at += OPTION_UNIT_BYTES;
	}
	if (ndp->has_nonce) {
		at[0] = OPTION_NONCE;
		at[1] = 1;
		memcpy(at + 2, ndp->nonce, sizeof(ndp->nonce));
	}
	return (int)needed;
}
