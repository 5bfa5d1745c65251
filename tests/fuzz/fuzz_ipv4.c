/* SPDX-License-Identifier: MIT */
/*
 * IPv4 headers: what parses is built again to a header that means the same and whose checksum is
 * right, and walking the options comes to an end.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <vnic/checksum.h>
#include <vnic/ipv4.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void walk(const struct vnic_ipv4 *ipv4)
{
	size_t offset = 0, before = 0, option_bytes;
	const uint8_t *option;
	int more;

	while ((more = vnic_ipv4_next_option(ipv4, &offset, &option, &option_bytes)) > 0) {
		assert(option_bytes >= 1 && offset == before + option_bytes);
		assert(option == ipv4->options + before && offset <= ipv4->options_bytes);
		before = offset;
	}
	assert(offset == before && (more == 0 || offset < ipv4->options_bytes));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t built[VNIC_IPV4_HEADER_MOST_BYTES];
	struct vnic_ipv4 strict, lenient, again;
	int used = vnic_ipv4_parse_lenient(data, size, &lenient);

	if (used < 0) {
		assert(vnic_ipv4_parse(data, size, &strict) < 0);
		return 0;
	}
	assert((size_t)used <= size && used == VNIC_IPV4_HEADER_BYTES + lenient.options_bytes);
	walk(&lenient);
	if (vnic_ipv4_parse(data, size, &strict) > 0) {
		assert(memcmp(&strict, &lenient, sizeof(strict)) == 0);
		assert(strict.total_bytes >= used && strict.total_bytes <= size);
	}
	assert(vnic_ipv4_build(built, (size_t)used - 1, &lenient) < 0);
	assert(vnic_ipv4_build(built, sizeof(built), &lenient) == used);
	assert(vnic_checksum(built, (size_t)used) == 0);
	assert(vnic_ipv4_parse_lenient(built, (size_t)used, &again) == used);
	assert(memcmp(&again, &lenient, sizeof(again)) == 0);
	return 0;
}
