/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Describes UDP and TCP. Of a packet that is only quoted in an ICMP error no more than the first 8
 * bytes of the transport header need be there (RFC 792), so only the ports are read, and only if
 * they are there. TCP options are written in the order in which they stand, as long as they have
 * not taken too much of the line; an acknowledgment, window and urgent pointer only where the
 * flags make them say something.
 */
#include <vnic/packet.h>

#include "base/bytes.h"
#include "packet/print.h"

/* No further option is begun behind this much text of options. */
#define OPTIONS_TEXT_BYTES 48
#define SACK_BLOCKS_SHOWN 2

/* True if the line is done: the header is cut off, or the packet only quoted. */
static bool print_ports(struct vn_print *print, const char *name, const struct vn_payload *payload)
{
	vn_text_add(print->line, "%s", name);
	if (payload->length_bytes < 4)
		return true;
	vn_text_add(print->line, " %u > %u", vn_load16(payload->bytes),
		    vn_load16(payload->bytes + 2));
	return print->quoted;
}

void vn_print_udp(struct vn_print *print, const struct vn_payload *payload)
{
	struct vn_payload whole = *payload;
	struct vnic_udp udp;
	bool done = print_ports(print, "UDP", payload);
	size_t stated;

	if (print->quoted)
		return;
	if (done || payload->length_bytes < VNIC_UDP_HEADER_BYTES) {
		if (!print->truncated)
			vn_print_note(print, "bad length (UDP)");
		return;
	}
	stated = vn_load16(payload->bytes + 4);
	if (stated == 0 && print->packet->gso_type != VNIC_GSO_NONE)
		stated = payload->length_bytes;
	if (stated >= VNIC_UDP_HEADER_BYTES)
		vn_text_add(print->line, " length %zu", stated - VNIC_UDP_HEADER_BYTES);
	/* A first fragment and a truncated packet hold less than it says: nothing is wrong. */
	if (vnic_udp_parse(whole.bytes, whole.length_bytes, &udp) < 0) {
		if (payload->verify || stated < VNIC_UDP_HEADER_BYTES)
			vn_print_note(print, "bad length (UDP)");
		return;
	}
	if (payload->verify &&
	    vnic_udp_verify(payload->bytes, &udp, &payload->source, &payload->destination) < 0)
		vn_print_note(print, udp.checksum ? "bad checksum (UDP)" : "no checksum (UDP)");
}

static void print_flags(struct vn_print *print, uint8_t flags)
{
	static const char *const names[] = {"FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"};
	char separator = ' ';

	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (!(flags & 1u << i))
			continue;
		vn_text_add(print->line, "%c%s", separator, names[i]);
		separator = ',';
	}
	if (!flags)
		vn_text_add(print->line, " no flags");
}

static void print_sack(struct vn_print *print, const uint8_t *option, size_t option_bytes)
{
	size_t blocks = (option_bytes - 2) / 8;

	vn_text_add(print->line, "sack");
	for (size_t i = 0; i < blocks && i < SACK_BLOCKS_SHOWN; i++)
		vn_text_add(print->line, " %u-%u", vn_load32(option + 2 + 8 * i),
			    vn_load32(option + 6 + 8 * i));
	if (blocks > SACK_BLOCKS_SHOWN)
		vn_text_add(print->line, " ...");
}

static void print_option(struct vn_print *print, const uint8_t *option, size_t option_bytes)
{
	if (option[0] == VNIC_TCP_OPTION_MSS && option_bytes == 4)
		vn_text_add(print->line, "mss %u", vn_load16(option + 2));
	else if (option[0] == VNIC_TCP_OPTION_WINDOW_SCALE && option_bytes == 3)
		vn_text_add(print->line, "wscale %u", option[2]);
	else if (option[0] == VNIC_TCP_OPTION_SACK_PERMITTED && option_bytes == 2)
		vn_text_add(print->line, "sackOK");
	else if (option[0] == VNIC_TCP_OPTION_SACK && option_bytes % 8 == 2)
		print_sack(print, option, option_bytes);
	else if (option[0] == VNIC_TCP_OPTION_TIMESTAMPS && option_bytes == 10)
		vn_text_add(print->line, "ts %u/%u", vn_load32(option + 2), vn_load32(option + 6));
	else
		vn_text_add(print->line, "option %u", option[0]);
}

static void print_options(struct vn_print *print, const struct vnic_tcp *tcp)
{
	size_t begin = print->line->used_bytes, offset = 0, option_bytes;
	const char *separator = " [";
	const uint8_t *option;
	int more;

	while ((more = vnic_tcp_next_option(tcp, &offset, &option, &option_bytes)) > 0) {
		vn_text_add(print->line, "%s", separator);
		separator = ", ";
		if (print->line->used_bytes - begin > OPTIONS_TEXT_BYTES) {
			vn_text_add(print->line, "...");
			break;
		}
		print_option(print, option, option_bytes);
	}
	if (print->line->used_bytes != begin)
		vn_text_add(print->line, "]");
	if (more < 0)
		vn_print_note(print, "bad TCP options");
}

void vn_print_tcp(struct vn_print *print, const struct vn_payload *payload)
{
	bool done = print_ports(print, "TCP", payload);
	struct vnic_tcp tcp;
	int header_bytes;

	if (print->quoted)
		return;
	header_bytes = done ? -1 : vnic_tcp_parse(payload->bytes, payload->length_bytes, &tcp);
	if (header_bytes < 0) {
		if (!print->truncated)
			vn_print_note(print, "bad length (TCP)");
		return;
	}
	print_flags(print, tcp.flags);
	vn_text_add(print->line, " seq %u", tcp.sequence);
	if (tcp.flags & VNIC_TCP_ACK)
		vn_text_add(print->line, " ack %u", tcp.acknowledgment);
	vn_text_add(print->line, " win %u", tcp.window);
	if (tcp.flags & VNIC_TCP_URG)
		vn_text_add(print->line, " urg %u", tcp.urgent);
	print_options(print, &tcp);
	vn_text_add(print->line, " length %zu", payload->length_bytes - (size_t)header_bytes);
	if (payload->verify && vnic_tcp_verify(payload->bytes, payload->length_bytes,
					       &payload->source, &payload->destination) < 0)
		vn_print_note(print, "bad checksum (TCP)");
}
