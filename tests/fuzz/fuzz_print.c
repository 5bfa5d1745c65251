/* SPDX-License-Identifier: MIT */
/*
 * The printed line. The first byte says what the packet begins with and what is known of it. Every line
 * is printable, ends with its zero byte, fits the room that the header promises, and is cut
 * where there is less.
 */
#include <assert.h>
#include <string.h>
#include <vnic/packet.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t gso_types[] = {VNIC_GSO_NONE, VNIC_GSO_NONE, VNIC_GSO_TCP4,
					    VNIC_GSO_UDP};
	char line[VNIC_PACKET_LINE_BYTES], longer[4 * VNIC_PACKET_LINE_BYTES], shorter[40];
	struct vnic_packet packet;
	enum vnic_layer layer;
	size_t length;

	if (size < 1)
		return 0;
	layer = data[0] & 1 ? VNIC_LAYER_ETHERNET : VNIC_LAYER_IP;
	packet = (struct vnic_packet){
		.data = (uint8_t *)(uintptr_t)data + 1, /* only read */
		.length_bytes = (uint32_t)size - 1,
		.flags = data[0] >> 1 & 7,
		.gso_type = gso_types[data[0] >> 4 & 3],
		.gso_size_bytes = 65535,
	};
	length = vnic_packet_print(&packet, layer, line, sizeof(line));
	assert(length == strlen(line));
	for (size_t i = 0; i < length; i++)
		assert(line[i] >= ' ' && line[i] <= '~');
	assert(vnic_packet_print(&packet, layer, longer, sizeof(longer)) == length);
	assert(strcmp(line, longer) == 0);
	length = vnic_packet_print(&packet, layer, shorter, sizeof(shorter));
	assert(length == strlen(shorter) && memcmp(line, shorter, length) == 0);
	return 0;
}
