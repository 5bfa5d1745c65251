/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. A stream that lost its step by one byte never finds it again: every length
 * from then on is made of something else. So a length that cannot be one ends the connection. Zero
 * is one of those. But most wrong lengths look like any other, and would have us wait for 60,000
 * bytes and then deliver nonsense, so the packet's own header is asked, as soon as it is there: an
 * IP header says how long its packet is, and what a TUN sends is exactly that long. Somebody who
 * speaks another protocol is found out by its first bytes.
 */
#include "io/frame.h"

#include <errno.h>

#include "base/bytes.h"

#define IPV4_TOTAL_OFFSET 2
#define IPV6_PAYLOAD_OFFSET 4

bool vn_frame_is_possible(const uint8_t *packet, size_t there_bytes, size_t length_bytes,
			  enum vnic_layer layer)
{
	if (layer == VNIC_LAYER_ETHERNET)
		return length_bytes >= VNIC_ETHERNET_HEADER_BYTES;
	if (length_bytes < VNIC_IPV4_HEADER_BYTES)
		return false;
	if (there_bytes < 1)
		return true;
	switch (packet[0] >> 4) {
	case 4:
		return there_bytes < IPV4_TOTAL_OFFSET + 2 ||
		       vn_load16(packet + IPV4_TOTAL_OFFSET) == length_bytes;
	case 6:
		return there_bytes < IPV6_PAYLOAD_OFFSET + 2 ||
		       (size_t)vn_load16(packet + IPV6_PAYLOAD_OFFSET) + VNIC_IPV6_HEADER_BYTES ==
			       length_bytes;
	default:
		return false;
	}
}

int vn_frame_parse(const uint8_t *stream, size_t length_bytes, enum vnic_layer layer)
{
	size_t packet_bytes, there_bytes;

	if (length_bytes < VN_FRAME_LENGTH_BYTES)
		return 0;
	packet_bytes = vn_load16(stream);
	there_bytes = length_bytes - VN_FRAME_LENGTH_BYTES;
	if (there_bytes > packet_bytes)
		there_bytes = packet_bytes;
	if (!vn_frame_is_possible(stream + VN_FRAME_LENGTH_BYTES, there_bytes, packet_bytes, layer))
		return -EBADMSG;
	return there_bytes < packet_bytes ? 0 : (int)(VN_FRAME_LENGTH_BYTES + packet_bytes);
}
