/* SPDX-License-Identifier: MIT */
/* ARP: what parses is built again byte for byte. */
#include <assert.h>
#include <string.h>
#include <vnic/arp.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t built[VNIC_ARP_BYTES];
	struct vnic_arp arp;

	if (vnic_arp_parse(data, size, &arp) < 0)
		return 0;
	assert(size >= VNIC_ARP_BYTES);
	assert(vnic_arp_build(built, sizeof(built), &arp) == VNIC_ARP_BYTES);
	assert(memcmp(built, data, sizeof(built)) == 0);
	return 0;
}
