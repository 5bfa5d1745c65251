/* SPDX-License-Identifier: MIT */
/*
 * Neighbour discovery. The first byte is the ICMPv6 type. What parses uses every byte, and what is
 * built from it parses to the same.
 */
#include <assert.h>
#include <string.h>
#include <vnic/ndp.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vnic_ndp ndp, again;
	uint8_t built[32];
	int used;

	if (size < 1 || vnic_ndp_parse(data[0], data + 1, size - 1, &ndp) < 0)
		return 0;
	assert(vnic_ndp_parse(data[0], data + 1, size - 1, &ndp) == (int)size - 1);
	used = vnic_ndp_build(data[0], built, sizeof(built), &ndp);
	assert(used == 16 + 8 * ndp.has_mac + 8 * ndp.has_nonce);
	assert(vnic_ndp_parse(data[0], built, (size_t)used, &again) == used);
	assert(memcmp(&again, &ndp, sizeof(again)) == 0);
	return 0;
}
