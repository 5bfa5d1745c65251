/* SPDX-License-Identifier: MIT */
/*
 * TCP options as the stack takes them: the first byte says whether there is a SYN, the rest are options. What is found makes
 * sense, and written as the stack writes options it is found again.
 */
#include <assert.h>
#include <string.h>

#include "stack/tcp_options.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_again(const struct vn_tcp_options *options, uint8_t flags)
{
	/* Of SACKs as many as there is room for: with timestamps three. */
	unsigned most = options->has_timestamps ? 3 : 4;
	struct vnic_tcp tcp = {.flags = flags};
	struct vn_tcp_options again;

	tcp.options_bytes = vn_tcp_options_build(options, tcp.options);
	assert(tcp.options_bytes % 4 == 0 && tcp.options_bytes <= VN_TCP_OPTIONS_BYTES);
	vn_tcp_options_parse(&tcp, &again);
	assert(again.has_mss == options->has_mss && again.mss_bytes == options->mss_bytes);
	assert(again.has_scale == options->has_scale && again.scale == options->scale);
	assert(again.sack_permitted == options->sack_permitted);
	assert(again.has_timestamps == options->has_timestamps);
	assert(again.timestamp == options->timestamp);
	assert(again.timestamp_echo == options->timestamp_echo);
	assert(again.sack_count == (options->sack_count < most ? options->sack_count : most));
	assert(memcmp(again.sacks, options->sacks, again.sack_count * sizeof(again.sacks[0])) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vn_tcp_options options;
	struct vnic_tcp tcp = {.flags = VNIC_TCP_ACK};

	if (size < 1)
		return 0;
	if (data[0] & 1)
		tcp.flags = VNIC_TCP_SYN;
	tcp.options_bytes = (uint8_t)((size - 1 < 40 ? size - 1 : 40) / 4 * 4);
	memcpy(tcp.options, data + 1, tcp.options_bytes);
	vn_tcp_options_parse(&tcp, &options);
	assert(options.sack_count <= VN_TCP_SACKS);
	assert(!options.has_mss || options.mss_bytes > 0);
	if (tcp.flags & VNIC_TCP_SYN)
		assert(options.sack_count == 0);
	else
		assert(!options.has_mss && !options.has_scale && !options.sack_permitted);
	check_again(&options, tcp.flags);
	return 0;
}
