/* SPDX-License-Identifier: MIT */
/**
 * @file
 * TCP headers with options (RFC 9293 section 3.1). Conventions as in vnic/ethernet.h.
 */
#ifndef VNIC_TCP_H
#define VNIC_TCP_H

#include <stddef.h>
#include <stdint.h>
#include <vnic/address.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VNIC_TCP_HEADER_BYTES 20
#define VNIC_TCP_HEADER_MOST_BYTES 60

/** Bits of vnic_tcp.flags. */
enum vnic_tcp_flag {
	VNIC_TCP_FIN = 0x01,
	VNIC_TCP_SYN = 0x02,
	VNIC_TCP_RST = 0x04,
	VNIC_TCP_PSH = 0x08,
	VNIC_TCP_ACK = 0x10,
	VNIC_TCP_URG = 0x20,
	VNIC_TCP_ECE = 0x40,
	VNIC_TCP_CWR = 0x80
};

struct vnic_tcp {
	uint16_t source_port;
	uint16_t destination_port;
	uint32_t sequence;
	uint32_t acknowledgment;
	uint8_t flags;
	uint16_t window;   /**< as it stands in the header, not scaled */
	uint16_t checksum; /**< as found; build computes it */
	uint16_t urgent;
	uint8_t options_bytes; /**< 0 to 40, a multiple of 4 */
	uint8_t options[40];
};

/** Values of an option's kind (IANA, "TCP Option Kind Numbers"). */
enum vnic_tcp_option {
	VNIC_TCP_OPTION_END = 0,
	VNIC_TCP_OPTION_NOP = 1,
	VNIC_TCP_OPTION_MSS = 2,
	VNIC_TCP_OPTION_WINDOW_SCALE = 3,
	VNIC_TCP_OPTION_SACK_PERMITTED = 4,
	VNIC_TCP_OPTION_SACK = 5,
	VNIC_TCP_OPTION_TIMESTAMPS = 8
};

/**
 * Parse; the checksum is for vnic_tcp_verify().
 * @return bytes of header with its options, or -EBADMSG: cut off, or a data offset under 20 or over
 *         length_bytes
 */
VNIC_API int vnic_tcp_parse(const uint8_t *bytes, size_t length_bytes, struct vnic_tcp *tcp);
/** Verify the checksum over a whole segment of length_bytes. @return 0, or -EBADMSG */
VNIC_API int vnic_tcp_verify(const uint8_t *bytes, size_t length_bytes,
			     const struct vnic_address *source,
			     const struct vnic_address *destination);
/**
 * Write the header, with the checksum over it, the addresses and the payload_bytes that already
 * follow it.
 * @return bytes written, -ENOSPC, or -EINVAL: options no multiple of 4, or too long
 */
VNIC_API int vnic_tcp_build(uint8_t *bytes, size_t capacity_bytes,
			    const struct vnic_address *source,
			    const struct vnic_address *destination, const struct vnic_tcp *tcp,
			    size_t payload_bytes);

/**
 * Step through the options, as vnic_ipv4_next_option() does; NOPs are passed over.
 * @return 1: there is one; 0: no more; -EBADMSG: a length that is too small or reaches over the end
 */
VNIC_API int vnic_tcp_next_option(const struct vnic_tcp *tcp, size_t *offset,
				  const uint8_t **option, size_t *option_bytes);

#ifdef __cplusplus
}
#endif
#endif
