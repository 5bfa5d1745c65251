/* SPDX-License-Identifier: MIT */
/*
 * ICMP and ICMPv6 messages. The first byte chooses the protocol and the last one of the
 * destination. Any message that is built parses, and what parses is built again.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <vnic/icmp.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int parse(bool v6, const uint8_t *bytes, size_t length, const struct vnic_address *a,
		 const struct vnic_address *b, struct vnic_icmp *icmp)
{
	return v6 ? vnic_icmpv6_parse(bytes, length, a, b, icmp)
		  : vnic_icmp_parse(bytes, length, icmp);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vnic_address a = {VNIC_IPV6, {0xfd, [15] = 1}}, b = {VNIC_IPV6, {0xfd, [15] = 2}};
	struct vnic_icmp icmp, again;
	uint8_t *copy;
	bool v6;
	int used;

	if (size < 1)
		return 0;
	v6 = data[0] & 1;
	b.bytes[15] = data[0];
	data++;
	size--;
	used = parse(v6, data, size, &a, &b, &icmp);
	if (size < VNIC_ICMP_HEADER_BYTES) {
		assert(used < 0);
		return 0;
	}
	if (used < 0) /* nearly always: so build what would have been right */
		icmp = (struct vnic_icmp){.type = data[0], .code = data[1], .rest = data[4]};
	copy = malloc(size);
	assert(copy);
	memcpy(copy, data, size);
	used = v6 ? vnic_icmpv6_build(copy, size, &a, &b, &icmp, size - 8)
		  : vnic_icmp_build(copy, size, &icmp, size - 8);
	assert(used == VNIC_ICMP_HEADER_BYTES);
	assert(parse(v6, copy, size, &a, &b, &again) == VNIC_ICMP_HEADER_BYTES);
	assert(again.type == icmp.type && again.code == icmp.code && again.rest == icmp.rest);
	(void)vnic_icmp_is_error(icmp.type);
	(void)vnic_icmpv6_is_error(icmp.type);
	free(copy);
	return 0;
}
