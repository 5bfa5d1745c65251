/* SPDX-License-Identifier: MIT */
/*
 * The checksum. The first byte moves the rest to another alignment, the second says where it is cut in
 * two. Every implementation, and the sum of the two parts, must agree with the definition.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <vnic/packet.h>

#include "packet/checksum.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint16_t define(const uint8_t *bytes, size_t length)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < length; i++)
		sum += (uint64_t)bytes[i] << (i % 2 ? 0 : 8);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

static void finish(uint8_t *bytes, size_t length, uint16_t start, uint16_t offset)
{
	struct vnic_packet packet = {
		.data = bytes,
		.length_bytes = (uint32_t)length,
		.flags = VNIC_PACKET_NEEDS_CSUM,
		.csum_start = start,
		.csum_offset = offset,
	};

	if (vnic_packet_finish_checksum(&packet) == 0)
		assert((size_t)start + offset + 2 <= length && packet.flags == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t count, alignment, cut;
	const struct vn_checksum_implementation *implementations;
	uint8_t *memory, *bytes;
	uint16_t expected;

	if (size < 2)
		return 0;
	alignment = data[0] % 64;
	cut = data[1] & ~(size_t)1;
	size -= 2;
	cut = cut < size ? cut : 0;
	/* The end is exact, so that a sanitizer sees a read behind it. */
	memory = malloc(alignment + size);
	assert(memory || alignment + size == 0);
	bytes = memory + alignment;
	if (size)
		memcpy(bytes, data + 2, size);
	expected = define(bytes, size);
	implementations = vn_checksum_implementations(&count);
	for (size_t i = 0; i < count; i++) {
		uint32_t sum;

		if (!implementations[i].supported())
			continue;
		sum = implementations[i].add(0, bytes, size);
		assert(vnic_checksum_fold(sum) == expected);
		sum = implementations[i].add(0, bytes + cut, size - cut);
		sum = implementations[i].add(sum, bytes, cut);
		assert(vnic_checksum_fold(sum) == expected);
	}
	assert(vnic_checksum(bytes, size) + expected == 0xffff);
	if (size >= 4)
		finish(bytes, size, (uint16_t)(bytes[0] << 8 | bytes[1]), bytes[2]);
	if (size >= 4)
		finish(bytes, size, bytes[3], bytes[2]);
	free(memory);
	return 0;
}
