/* SPDX-License-Identifier: MIT */
/*
 * UDP headers. The first byte chooses the IP version. What parses is verified inside of its length,
 * and what is built over the same payload verifies.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <vnic/udp.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vnic_address a = {VNIC_IPV4, {10, 0, 0, 1}}, b = {VNIC_IPV4, {10, 0, 0, 2}};
	struct vnic_udp udp, again;
	uint8_t *copy;

	if (size < 1)
		return 0;
	if (data[0] & 1)
		a.family = b.family = VNIC_IPV6;
	data++;
	size--;
	if (vnic_udp_parse(data, size, &udp) < 0)
		return 0;
	assert(udp.length_bytes >= VNIC_UDP_HEADER_BYTES && udp.length_bytes <= size);
	(void)vnic_udp_verify(data, &udp, &a, &b);
	copy = malloc(udp.length_bytes);
	assert(copy);
	memcpy(copy, data, udp.length_bytes);
	assert(vnic_udp_build(copy, udp.length_bytes, &a, &b, &udp,
			      udp.length_bytes - VNIC_UDP_HEADER_BYTES) == VNIC_UDP_HEADER_BYTES);
	assert(vnic_udp_parse(copy, udp.length_bytes, &again) == VNIC_UDP_HEADER_BYTES);
	assert(again.checksum != 0 && vnic_udp_verify(copy, &again, &a, &b) == 0);
	assert(again.source_port == udp.source_port && again.length_bytes == udp.length_bytes &&
	       again.destination_port == udp.destination_port);
	free(copy);
	return 0;
}
