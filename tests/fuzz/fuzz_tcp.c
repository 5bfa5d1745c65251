/* SPDX-License-Identifier: MIT */
/*
 * TCP headers. The first byte chooses the IP version. Walking the options comes to an end, and what
 * is built over the same payload verifies and parses to the same.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <vnic/tcp.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void walk(const struct vnic_tcp *tcp)
{
	size_t offset = 0, before = 0, option_bytes;
	const uint8_t *option;

	while (vnic_tcp_next_option(tcp, &offset, &option, &option_bytes) > 0) {
		assert(option_bytes >= 2 && offset >= before + option_bytes);
		assert(option + option_bytes == tcp->options + offset);
		assert(offset <= tcp->options_bytes);
		before = offset;
	}
	assert(offset <= tcp->options_bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vnic_address a = {VNIC_IPV4, {10, 0, 0, 1}}, b = {VNIC_IPV4, {10, 0, 0, 2}};
	struct vnic_tcp tcp, again;
	uint8_t *copy;
	int used;

	if (size < 1)
		return 0;
	if (data[0] & 1)
		a.family = b.family = VNIC_IPV6;
	data++;
	size--;
	used = vnic_tcp_parse(data, size, &tcp);
	if (used < 0)
		return 0;
	assert((size_t)used <= size && used == VNIC_TCP_HEADER_BYTES + tcp.options_bytes);
	(void)vnic_tcp_verify(data, size, &a, &b);
	walk(&tcp);
	copy = malloc(size);
	assert(copy);
	memcpy(copy, data, size);
	assert(vnic_tcp_build(copy, size, &a, &b, &tcp, size - (size_t)used) == used);
	assert(vnic_tcp_verify(copy, size, &a, &b) == 0);
	assert(vnic_tcp_parse(copy, size, &again) == used);
	again.checksum = tcp.checksum;
	assert(memcmp(&again, &tcp, sizeof(again)) == 0);
	free(copy);
	return 0;
}
