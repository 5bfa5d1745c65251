/* SPDX-License-Identifier: MIT */
/*
 * IPv6 headers: what parses is built again byte for byte; walking extension headers and their options
 * stays inside and comes to an end.
 */
#include <assert.h>
#include <string.h>
#include <vnic/ipv6.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void walk_options(const struct vnic_ipv6_extension *extension)
{
	size_t offset = 0, before = 0, option_bytes;
	const uint8_t *option;

	while (vnic_ipv6_next_option(extension, &offset, &option, &option_bytes) > 0) {
		assert(option_bytes >= 2 && offset >= before + option_bytes);
		assert(option + option_bytes == extension->options + offset);
		assert(offset <= extension->options_bytes);
		before = offset;
	}
	assert(offset <= extension->options_bytes);
}

static void walk(uint8_t type, const uint8_t *bytes, size_t left)
{
	while (vnic_ipv6_is_extension(type)) {
		struct vnic_ipv6_extension extension, again;
		uint8_t built[VNIC_IPV6_FRAGMENT_BYTES];
		int used = vnic_ipv6_extension_parse(type, bytes, left, &extension);

		if (used < 0)
			return;
		assert(used >= 8 && used % 8 == 0 && (size_t)used <= left);
		assert(used == extension.length_bytes && extension.type == type);
		walk_options(&extension);
		if (type == VNIC_PROTOCOL_FRAGMENT) {
			assert(vnic_ipv6_fragment_build(built, sizeof(built), &extension) == 8);
			assert(vnic_ipv6_extension_parse(type, built, sizeof(built), &again) == 8);
			assert(memcmp(&again, &extension, sizeof(again)) == 0);
		}
		type = extension.next_header;
		bytes += used;
		left -= (size_t)used;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t built[VNIC_IPV6_HEADER_BYTES];
	struct vnic_ipv6 strict, lenient;

	if (vnic_ipv6_parse_lenient(data, size, &lenient) < 0) {
		assert(vnic_ipv6_parse(data, size, &strict) < 0);
		return 0;
	}
	if (vnic_ipv6_parse(data, size, &strict) > 0)
		assert(strict.payload_bytes <= size - VNIC_IPV6_HEADER_BYTES);
	assert(vnic_ipv6_build(built, sizeof(built), &lenient) == VNIC_IPV6_HEADER_BYTES);
	assert(memcmp(built, data, sizeof(built)) == 0);
	walk(lenient.next_header, data + VNIC_IPV6_HEADER_BYTES, size - VNIC_IPV6_HEADER_BYTES);
	return 0;
}
