/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A segment of an established connection carries NOP NOP TIMESTAMPS (RFC 7323 appendix A), so that
 * is recognised by its first four bytes, and what follows, if anything does, is stepped through.
 *
 * An option counts where its length is the right one and it has any business in such a segment: MSS
 * (RFC 9293 section 3.7.1), window scale (RFC 7323 section 2.2) and SACK permitted (RFC 2018
 * section 2) with SYN only, SACK without. Of a SACK only whole blocks count. Everything else is
 * passed over; a length that leads nowhere ends the reading, and what stood before it counts.
 *
 * Others recognise the order and the padding of Linux by their own fast paths, and every kind of
 * middlebox has seen it. So a SYN has MSS, SACK permitted, timestamps, NOP, window scale, and all
 * others NOP NOP timestamps, NOP NOP SACK: every value of 32 bits is aligned.
 */
#include "stack/tcp_options.h"

#include "base/bytes.h"

#define MSS_BYTES 4
#define SCALE_BYTES 3
#define SACK_PERMITTED_BYTES 2
#define TIMESTAMPS_BYTES 10
#define SACK_HEADER_BYTES 2
#define SACK_BLOCK_BYTES 8

#define PADDED_TIMESTAMPS_BYTES 12
#define NOP2 ((uint32_t)VNIC_TCP_OPTION_NOP << 24 | (uint32_t)VNIC_TCP_OPTION_NOP << 16)
#define PADDED_TIMESTAMPS (NOP2 | (uint32_t)VNIC_TCP_OPTION_TIMESTAMPS << 8 | TIMESTAMPS_BYTES)

static void parse_timestamps(const uint8_t *values, struct vn_tcp_options *options)
{
	options->has_timestamps = true;
	options->timestamp = vn_load32(values);
	options->timestamp_echo = vn_load32(values + 4);
}

static void parse_sack(const uint8_t *option, size_t option_bytes, struct vn_tcp_options *options)
{
	for (size_t at = SACK_HEADER_BYTES; at + SACK_BLOCK_BYTES <= option_bytes;
	     at += SACK_BLOCK_BYTES) {
		if (options->sack_count == VN_TCP_SACKS)
			return;
		options->sacks[options->sack_count++] = (struct vn_tcp_sack){
			.begin = vn_load32(option + at),
			.end = vn_load32(option + at + 4),
		};
	}
}

static void parse_one(const uint8_t *option, size_t option_bytes, bool is_syn,
		      struct vn_tcp_options *options)
{
	switch (option[0]) {
	case VNIC_TCP_OPTION_MSS:
		/* None can be of 0 bytes. */
		if (!is_syn || option_bytes != MSS_BYTES || vn_load16(option + 2) == 0)
			return;
		options->has_mss = true;
		options->mss_bytes = vn_load16(option + 2);
		return;
	case VNIC_TCP_OPTION_WINDOW_SCALE:
		if (!is_syn || option_bytes != SCALE_BYTES)
			return;
		options->has_scale = true;
		options->scale = option[2];
		return;
	case VNIC_TCP_OPTION_SACK_PERMITTED:
		if (is_syn && option_bytes == SACK_PERMITTED_BYTES)
			options->sack_permitted = true;
		return;
	case VNIC_TCP_OPTION_SACK:
		if (!is_syn)
			parse_sack(option, option_bytes, options);
		return;
	case VNIC_TCP_OPTION_TIMESTAMPS:
		if (option_bytes == TIMESTAMPS_BYTES)
			parse_timestamps(option + 2, options);
		return;
	default:
		return;
	}
}

void vn_tcp_options_parse(const struct vnic_tcp *tcp, struct vn_tcp_options *options)
{
	const uint8_t *option;
	size_t offset = 0, option_bytes;

	*options = (struct vn_tcp_options){0};
	if (tcp->options_bytes >= PADDED_TIMESTAMPS_BYTES &&
	    tcp->options_bytes <= VN_TCP_OPTIONS_BYTES &&
	    vn_load32(tcp->options) == PADDED_TIMESTAMPS) {
		parse_timestamps(tcp->options + 4, options);
		offset = PADDED_TIMESTAMPS_BYTES;
	}
	while (vnic_tcp_next_option(tcp, &offset, &option, &option_bytes) > 0)
		parse_one(option, option_bytes, tcp->flags & VNIC_TCP_SYN, options);
}

static uint8_t *put(uint8_t *at, uint32_t value)
{
	vn_store32(at, value);
	return at + 4;
}

uint8_t vn_tcp_options_build(const struct vn_tcp_options *options,
			     uint8_t bytes[VN_TCP_OPTIONS_BYTES])
{
	const uint32_t permitted =
		(uint32_t)VNIC_TCP_OPTION_SACK_PERMITTED << 8 | SACK_PERMITTED_BYTES;
	uint8_t *at = bytes;

	if (options->has_mss)
		at = put(at, (uint32_t)VNIC_TCP_OPTION_MSS << 24 | MSS_BYTES << 16 |
				     options->mss_bytes);
	if (options->has_timestamps) {
		/* What is permitted takes the place of the padding. */
		at = put(at, options->sack_permitted
				     ? permitted << 16 | (PADDED_TIMESTAMPS & 0xffff)
				     : PADDED_TIMESTAMPS);
		at = put(at, options->timestamp);
		at = put(at, options->timestamp_echo);
	} else if (options->sack_permitted) {
		at = put(at, NOP2 | permitted);
	}
	if (options->has_scale)
		at = put(at, (uint32_t)VNIC_TCP_OPTION_NOP << 24 |
				     (uint32_t)VNIC_TCP_OPTION_WINDOW_SCALE << 16 |
				     SCALE_BYTES << 8 | options->scale);
	if (options->sack_count) {
		/* At least one fits behind all of the others. */
		unsigned room =
			(unsigned)(bytes + VN_TCP_OPTIONS_BYTES - at - 4) / SACK_BLOCK_BYTES;
		unsigned count = options->sack_count < room ? options->sack_count : room;

		at = put(at, NOP2 | (uint32_t)VNIC_TCP_OPTION_SACK << 8 |
				     (SACK_HEADER_BYTES + count * SACK_BLOCK_BYTES));
		for (unsigned i = 0; i < count; i++) {
			at = put(at, options->sacks[i].begin);
			at = put(at, options->sacks[i].end);
		}
	}
	return (uint8_t)(at - bytes);
}
