/* SPDX-License-Identifier: MIT */
/* The options of a TCP segment that mean something here: see tcp_options.c. */
#ifndef VN_STACK_TCP_OPTIONS_H
#define VN_STACK_TCP_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <vnic/tcp.h>

#define VN_TCP_OPTIONS_BYTES 40
#define VN_TCP_SACKS 4
#define VN_TCP_SCALE_MOST 14 /* RFC 7323 section 2.3 */

struct vn_tcp_sack {
	uint32_t begin, end;
};

struct vn_tcp_options {
	bool has_mss, has_scale, has_timestamps, sack_permitted;
	uint8_t scale; /* as it stands there: the user of it cuts it down to VN_TCP_SCALE_MOST */
	uint8_t sack_count;
	uint16_t mss_bytes;
	uint32_t timestamp, timestamp_echo;
	struct vn_tcp_sack sacks[VN_TCP_SACKS];
};

/*
 * Read them; what is malformed or unknown is passed over (RFC 9293 section 3.1, MUST-7), and so are
 * MSS, window scale and SACK permitted without SYN, and SACK with it.
 */
void vn_tcp_options_parse(const struct vnic_tcp *tcp, struct vn_tcp_options *options);
/*
 * Write those that are set, padded and aligned as others do it: SACKs as many as fit. @return the
 * length in bytes, a multiple of 4
 */
uint8_t vn_tcp_options_build(const struct vn_tcp_options *options,
			     uint8_t bytes[VN_TCP_OPTIONS_BYTES]);

#endif
