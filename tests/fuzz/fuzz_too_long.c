/* SPDX-License-Identifier: MIT */
/*
 * Packets that do not fit, and what their sender is told. The first bytes choose the layer, whether lengths and checksums
 * are made right, and what would have fitted. An answer is never longer than its room and is a packet without a fault, from
 * the destination to the source, that quotes what it is about; nothing is said about errors and groups.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "packet/too_long.h"
#include "repair.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_ipv4(const uint8_t *answer, size_t length, const uint8_t *asked,
		       size_t asked_bytes)
{
	struct vnic_ipv4 ipv4;
	struct vnic_icmp icmp;

	assert(length <= VN_ICMP_ERROR_BYTES);
	assert(vnic_ipv4_parse(answer, length, &ipv4) == VNIC_IPV4_HEADER_BYTES);
	assert(ipv4.total_bytes == length && ipv4.protocol == VNIC_PROTOCOL_ICMP);
	assert(memcmp(ipv4.source, asked + 16, VNIC_IPV4_BYTES) == 0);
	assert(memcmp(ipv4.destination, asked + 12, VNIC_IPV4_BYTES) == 0);
	assert(!(ipv4.destination[0] >= 224) && !(ipv4.source[0] >= 224));
	assert(vnic_icmp_parse(answer + 20, length - 20, &icmp) >= 0);
	assert(icmp.type == VNIC_ICMP_UNREACHABLE &&
	       icmp.code == VNIC_ICMP_UNREACHABLE_FRAGMENTATION_NEEDED);
	assert(length - 28 <= asked_bytes && memcmp(answer + 28, asked, length - 28) == 0);
	assert(!vn_is_about_error_ipv4(asked, asked_bytes));
	/* Its own answer is an error, and gets none. */
	assert(vn_is_about_error_ipv4(answer, length));
}

static void check_ipv6(const uint8_t *answer, size_t length, const uint8_t *asked,
		       size_t asked_bytes, uint32_t most_bytes)
{
	struct vnic_address source, destination;
	struct vnic_ipv6 ipv6;
	struct vnic_icmp icmp;

	assert(length <= VNIC_IPV6_MTU_BYTES && most_bytes >= VNIC_IPV6_MTU_BYTES);
	assert(vnic_ipv6_parse(answer, length, &ipv6) == VNIC_IPV6_HEADER_BYTES);
	assert(ipv6.payload_bytes + (size_t)40 == length);
	assert(ipv6.next_header == VNIC_PROTOCOL_ICMPV6);
	assert(memcmp(ipv6.source, asked + 24, VNIC_IPV6_BYTES) == 0);
	assert(memcmp(ipv6.destination, asked + 8, VNIC_IPV6_BYTES) == 0);
	source = vnic_address_from_bytes(VNIC_IPV6, ipv6.source);
	destination = vnic_address_from_bytes(VNIC_IPV6, ipv6.destination);
	assert(!vnic_address_is_multicast(&source) && !vnic_address_is_multicast(&destination));
	assert(vnic_icmpv6_parse(answer + 40, length - 40, &source, &destination, &icmp) >= 0);
	assert(icmp.type == VNIC_ICMPV6_PACKET_TOO_BIG && icmp.rest <= most_bytes);
	assert(length - 48 <= asked_bytes && memcmp(answer + 48, asked, length - 48) == 0);
	assert(!vn_is_about_error_ipv6(asked, asked_bytes));
	assert(vn_is_about_error_ipv6(answer, length));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vnic_ethernet asked, answered;
	struct vnic_packet packet = {.headroom_bytes = 0};
	enum vnic_layer layer;
	uint32_t most, tags, length;
	uint8_t *memory, *answer;
	size_t header = 0;

	if (size < 4)
		return 0;
	layer = data[0] & 1 ? VNIC_LAYER_ETHERNET : VNIC_LAYER_IP;
	tags = data[0] >> 2 & 15;
	most = (uint32_t)data[1] << 8 | data[2];
	size -= 3;
	/* Both just as long as they may be used. */
	memory = malloc(size);
	answer = malloc(VN_TOO_LONG_BYTES);
	assert(memory && answer);
	memcpy(memory, data + 3, size);
	if (data[0] & 2)
		repair(layer, memory, size);
	packet.data = memory;
	packet.length_bytes = packet.capacity_bytes = (uint32_t)size;
	length = vn_too_long_build(&packet, layer, most, tags, answer);
	assert(length <= VN_TOO_LONG_BYTES);
	if (length > 0 && layer == VNIC_LAYER_ETHERNET) {
		header = (size_t)vnic_ethernet_parse(memory, size, &asked);
		assert(vnic_ethernet_parse(answer, length, &answered) == (int)header);
		assert(memcmp(asked.source, answered.destination, VNIC_MAC_BYTES) == 0);
		assert(memcmp(asked.destination, answered.source, VNIC_MAC_BYTES) == 0);
		assert(asked.ethertype == answered.ethertype && !(asked.source[0] & 1));
	}
	if (length > 0 && answer[header] >> 4 == 4)
		check_ipv4(answer + header, length - header, memory + header, size - header);
	else if (length > 0)
		check_ipv6(answer + header, length - header, memory + header, size - header, most);
	free(answer);
	free(memory);
	return 0;
}
