/* SPDX-License-Identifier: MIT */
/*
 * What the files print*.c share: the line being written, and what they know of the packet so far.
 */
#ifndef VN_PACKET_PRINT_H
#define VN_PACKET_PRINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <vnic/packet.h>

/** A piece of text under construction; what does not fit any more is dropped. */
struct vn_text {
	char *start;
	size_t size_bytes;
	size_t used_bytes; /**< without the terminating zero */
};

void vn_text_add(struct vn_text *text, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

struct vn_print {
	const struct vnic_packet *packet;
	struct vn_text *line;
	struct vn_text *notes; /**< what is wrong: goes behind the length, at the end of the line */
	bool truncated;        /**< the end is missing: no checksum over all of it can be right */
	bool quoted;           /**< this is the packet in an ICMP error: short, nothing judged */
};

/** Bytes of one IP payload, with what is needed to judge their checksum. */
struct vn_payload {
	const uint8_t *bytes;
	size_t length_bytes; /**< as much as is there */
	struct vnic_address source;
	struct vnic_address destination;
	bool verify; /**< the checksum is finished, and all that it covers is there */
};

/** Add ", WHAT" to the notes; when the packet is only quoted, nothing. */
void vn_print_note(struct vn_print *print, const char *what);

/** An IPv4 or IPv6 packet, whichever it says it is. */
void vn_print_ip(struct vn_print *print, const uint8_t *bytes, size_t length_bytes);
/** What stands behind the last IP header. */
void vn_print_payload(struct vn_print *print, uint8_t protocol, const struct vn_payload *payload);
void vn_print_icmp(struct vn_print *print, const struct vn_payload *payload);
void vn_print_icmpv6(struct vn_print *print, const struct vn_payload *payload);
void vn_print_udp(struct vn_print *print, const struct vn_payload *payload);
void vn_print_tcp(struct vn_print *print, const struct vn_payload *payload);
/** The name of an IP protocol, or "protocol N". */
void vn_print_protocol(struct vn_print *print, uint8_t protocol);

#endif
