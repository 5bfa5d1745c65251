/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * As for UDP, parsing and verifying are two calls. TCP does not state its length: it is what IP
 * has left, so the whole segment is given to both. Options are copied into the struct; what they
 * say is for the walker at the end, which passes over NOPs because they only align what follows
 * them.
 */
#include <vnic/tcp.h>

#include <errno.h>
#include <string.h>
#include <vnic/checksum.h>
#include <vnic/ipv4.h>

#include "base/bytes.h"

#define OPTIONS_MOST_BYTES 40

int vnic_tcp_parse(const uint8_t *bytes, size_t length_bytes, struct vnic_tcp *tcp)
{
	size_t header_bytes;

	if (length_bytes < VNIC_TCP_HEADER_BYTES)
		return -EBADMSG;
	header_bytes = (size_t)(bytes[12] >> 4) * 4;
	if (header_bytes < VNIC_TCP_HEADER_BYTES || header_bytes > length_bytes)
		return -EBADMSG;
	memset(tcp, 0, sizeof(*tcp));
	tcp->source_port = vn_load16(bytes);
	tcp->destination_port = vn_load16(bytes + 2);
	tcp->sequence = vn_load32(bytes + 4);
	tcp->acknowledgment = vn_load32(bytes + 8);
	tcp->flags = bytes[13];
	tcp->window = vn_load16(bytes + 14);
	tcp->checksum = vn_load16(bytes + 16);
	tcp->urgent = vn_load16(bytes + 18);
	tcp->options_bytes = (uint8_t)(header_bytes - VNIC_TCP_HEADER_BYTES);
	memcpy(tcp->options, bytes + VNIC_TCP_HEADER_BYTES, tcp->options_bytes);
	return (int)header_bytes;
}

static uint16_t segment_checksum(const uint8_t *bytes, size_t length_bytes,
				 const struct vnic_address *source,
				 const struct vnic_address *destination)
{
	uint32_t sum = vnic_checksum_add_pseudo(0, source, destination, VNIC_PROTOCOL_TCP,
						(uint32_t)length_bytes);

	return vnic_checksum_finish(vnic_checksum_add(sum, bytes, length_bytes));
}

int vnic_tcp_verify(const uint8_t *bytes, size_t length_bytes, const struct vnic_address *source,
		    const struct vnic_address *destination)
{
	return segment_checksum(bytes, length_bytes, source, destination) == 0 ? 0 : -EBADMSG;
}

int vnic_tcp_build(uint8_t *bytes, size_t capacity_bytes, const struct vnic_address *source,
		   const struct vnic_address *destination, const struct vnic_tcp *tcp,
		   size_t payload_bytes)
{
	size_t header_bytes = VNIC_TCP_HEADER_BYTES + (size_t)tcp->options_bytes;

	if (tcp->options_bytes % 4 || tcp->options_bytes > OPTIONS_MOST_BYTES)
		return -EINVAL;
	if (capacity_bytes < header_bytes || payload_bytes > capacity_bytes - header_bytes)
		return -ENOSPC;
	vn_store16(bytes, tcp->source_port);
	vn_store16(bytes + 2, tcp->destination_port);
	vn_store32(bytes + 4, tcp->sequence);
	vn_store32(bytes + 8, tcp->acknowledgment);
	bytes[12] = (uint8_t)(header_bytes / 4 << 4);
	bytes[13] = tcp->flags;
	vn_store16(bytes + 14, tcp->window);
	vn_store16(bytes + 16, 0);
	vn_store16(bytes + 18, tcp->urgent);
	memcpy(bytes + VNIC_TCP_HEADER_BYTES, tcp->options, tcp->options_bytes);
	vn_store16(bytes + 16,
		   segment_checksum(bytes, header_bytes + payload_bytes, source, destination));
	return (int)header_bytes;
}

int vnic_tcp_next_option(const struct vnic_tcp *tcp, size_t *offset, const uint8_t **option,
			 size_t *option_bytes)
{
	size_t end = tcp->options_bytes <= OPTIONS_MOST_BYTES ? tcp->options_bytes : 0;

	while (*offset < end && tcp->options[*offset] != VNIC_TCP_OPTION_END) {
		const uint8_t *at = tcp->options + *offset;

		if (at[0] == VNIC_TCP_OPTION_NOP) {
			*offset += 1;
			continue;
		}
		if (end - *offset < 2 || at[1] < 2 || at[1] > end - *offset)
			return -EBADMSG;
		*option = at;
		*option_bytes = at[1];
		*offset += at[1];
		return 1;
	}
	return 0;
}
