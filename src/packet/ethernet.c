/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * The EtherType says what follows, and where it is a VLAN's, four bytes of tag follow that end in
 * the next EtherType. So the header is the 12 bytes of addresses, then tags while there are any
 * and the struct has room for them, then one EtherType more. A third tag is not an error: to us it
 * is a payload of unknown kind.
 */
#include <vnic/ethernet.h>

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/bytes.h"

static bool is_tag(uint16_t ethertype)
{
	return ethertype == VNIC_ETHERTYPE_VLAN || ethertype == VNIC_ETHERTYPE_QINQ;
}

int vnic_ethernet_parse(const uint8_t *bytes, size_t length_bytes, struct vnic_ethernet *ethernet)
{
	struct vnic_ethernet found;
	size_t used = VNIC_ETHERNET_HEADER_BYTES;

	if (length_bytes < used)
		return -EBADMSG;
	memset(&found, 0, sizeof(found));
	memcpy(found.destination, bytes, VNIC_MAC_BYTES);
	memcpy(found.source, bytes + VNIC_MAC_BYTES, VNIC_MAC_BYTES);
	found.ethertype = vn_load16(bytes + 12);
	while (is_tag(found.ethertype) && found.vlan_count < VNIC_VLAN_TAGS) {
		struct vnic_vlan_tag *tag = &found.vlan[found.vlan_count++];

		if (length_bytes < used + VNIC_VLAN_TAG_BYTES)
			return -EBADMSG;
		tag->protocol = found.ethertype;
		tag->tci = vn_load16(bytes + used);
		found.ethertype = vn_load16(bytes + used + 2);
		used += VNIC_VLAN_TAG_BYTES;
	}
	*ethernet = found;
	return (int)used;
}

int vnic_ethernet_build(uint8_t *bytes, size_t capacity_bytes, const struct vnic_ethernet *ethernet)
{
	unsigned tags =
		ethernet->vlan_count < VNIC_VLAN_TAGS ? ethernet->vlan_count : VNIC_VLAN_TAGS;
	size_t needed = VNIC_ETHERNET_HEADER_BYTES + (size_t)tags * VNIC_VLAN_TAG_BYTES;
	uint8_t *at = bytes + 12;

	if (capacity_bytes < needed)
		return -ENOSPC;
	memcpy(bytes, ethernet->destination, VNIC_MAC_BYTES);
	memcpy(bytes + VNIC_MAC_BYTES, ethernet->source, VNIC_MAC_BYTES);
	for (unsigned i = 0; i < tags; i++, at += VNIC_VLAN_TAG_BYTES) {
		vn_store16(at, ethernet->vlan[i].protocol);
		vn_store16(at + 2, ethernet->vlan[i].tci);
	}
	vn_store16(at, ethernet->ethertype);
	return (int)needed;
}
