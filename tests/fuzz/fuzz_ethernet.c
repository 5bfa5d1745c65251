/* SPDX-License-Identifier: MIT */
/* Ethernet headers: what parses is built again byte for byte. */
#include <assert.h>
#include <string.h>
#include <vnic/ethernet.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t built[VNIC_ETHERNET_HEADER_BYTES + VNIC_VLAN_TAGS * VNIC_VLAN_TAG_BYTES];
	struct vnic_ethernet ethernet;
	int used = vnic_ethernet_parse(data, size, &ethernet);

	if (used < 0)
		return 0;
	assert((size_t)used <= size && (size_t)used <= sizeof(built));
	assert(vnic_ethernet_build(built, (size_t)used - 1, &ethernet) < 0);
	assert(vnic_ethernet_build(built, sizeof(built), &ethernet) == used);
	assert(memcmp(built, data, (size_t)used) == 0);
	return 0;
}
