/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Describes ICMP and ICMPv6 messages. The first 8 bytes are read here without verifying, since
 * also a message with a bad checksum is to be shown; the checksum then only adds a note. An error
 * quotes the packet that it is about: that one is printed in brackets by the printers of IP with
 * "quoted" set, which keeps them short and from quoting again.
 */
#include <stddef.h>
#include <vnic/packet.h>

#include "base/bytes.h"
#include "packet/print.h"

static const char *const icmp_unreachable[] = {
	"net unreachable",
	"host unreachable",
	"protocol unreachable",
	"port unreachable",
	"fragmentation needed",
	"source route failed",
	"net unknown",
	"host unknown",
	"source host isolated",
	"net prohibited",
	"host prohibited",
	"net unreachable for TOS",
	"host unreachable for TOS",
	"administratively prohibited",
	"precedence violation",
	"precedence cut off",
};
static const char *const icmp_exceeded[] = {"time exceeded", "reassembly time exceeded"};
static const char *const icmp_redirect[] = {
	"redirect net",
	"redirect host",
	"redirect net for TOS",
	"redirect host for TOS",
};
static const char *const icmpv6_unreachable[] = {
	"no route",         "administratively prohibited",  "beyond scope",   "address unreachable",
	"port unreachable", "source address failed policy", "rejected route",
};
static const char *const icmpv6_parameter[] = {
	"bad header field",
	"unknown next header",
	"unknown option",
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void print_code(struct vn_print *print, const char *const *names, size_t count,
		       const char *what, uint8_t code)
{
	if (code < count)
		vn_text_add(print->line, " %s", names[code]);
	else
		vn_text_add(print->line, " %s code %u", what, code);
}

static void print_address(struct vn_print *print, const char *before, enum vnic_family family,
			  const uint8_t *bytes)
{
	char text[VNIC_ADDRESS_TEXT_BYTES];
	struct vnic_address address = vnic_address_from_bytes(family, bytes);

	vn_text_add(print->line, "%s%s", before, vnic_address_format(&address, text));
}

static void print_quote(struct vn_print *print, const struct vn_payload *payload)
{
	struct vn_print quote = *print;

	if (print->quoted || payload->length_bytes <= VNIC_ICMP_HEADER_BYTES)
		return;
	quote.quoted = true;
	vn_text_add(print->line, " (");
	vn_print_ip(&quote, payload->bytes + VNIC_ICMP_HEADER_BYTES,
		    payload->length_bytes - VNIC_ICMP_HEADER_BYTES);
	vn_text_add(print->line, ")");
}

static void print_echo(struct vn_print *print, const char *name, uint32_t rest)
{
	vn_text_add(print->line, " %s id %u seq %u", name, rest >> 16, rest & 0xffff);
}

/* Read the fixed part. False if that is all: it is cut off, or is in a quoted packet. */
static bool read_header(struct vn_print *print, const char *name, uint8_t echo_request,
			uint8_t echo_reply, const struct vn_payload *payload,
			struct vnic_icmp *icmp)
{
	vn_text_add(print->line, "%s", name);
	if (payload->length_bytes < VNIC_ICMP_HEADER_BYTES) {
		if (!print->truncated)
			vn_print_note(print, "bad length (ICMP)");
		return false;
	}
	icmp->type = payload->bytes[0];
	icmp->code = payload->bytes[1];
	icmp->rest = vn_load32(payload->bytes + 4);
	if (!print->quoted || icmp->type == echo_request || icmp->type == echo_reply)
		return true;
	vn_text_add(print->line, " type %u code %u", icmp->type, icmp->code);
	return false;
}

void vn_print_icmp(struct vn_print *print, const struct vn_payload *payload)
{
	struct vnic_icmp icmp, verified;

	if (!read_header(print, "ICMP", VNIC_ICMP_ECHO_REQUEST, VNIC_ICMP_ECHO_REPLY, payload,
			 &icmp))
		return;
	if (payload->verify &&
	    vnic_icmp_parse(payload->bytes, payload->length_bytes, &verified) < 0)
		vn_print_note(print, "bad checksum (ICMP)");
	switch (icmp.type) {
	case VNIC_ICMP_ECHO_REQUEST:
		print_echo(print, "echo request", icmp.rest);
		break;
	case VNIC_ICMP_ECHO_REPLY:
		print_echo(print, "echo reply", icmp.rest);
		break;
	case VNIC_ICMP_TIMESTAMP:
		print_echo(print, "timestamp request", icmp.rest);
		break;
	case VNIC_ICMP_TIMESTAMP_REPLY:
		print_echo(print, "timestamp reply", icmp.rest);
		break;
	case VNIC_ICMP_UNREACHABLE:
		print_code(print, icmp_unreachable, COUNT(icmp_unreachable), "unreachable",
			   icmp.code);
		if (icmp.code == VNIC_ICMP_UNREACHABLE_FRAGMENTATION_NEEDED)
			vn_text_add(print->line, " mtu %u", icmp.rest & 0xffff);
		print_quote(print, payload);
		break;
	case VNIC_ICMP_REDIRECT:
		print_code(print, icmp_redirect, COUNT(icmp_redirect), "redirect", icmp.code);
		print_address(print, " to ", VNIC_IPV4, payload->bytes + 4);
		print_quote(print, payload);
		break;
	case VNIC_ICMP_TIME_EXCEEDED:
		print_code(print, icmp_exceeded, COUNT(icmp_exceeded), "time exceeded", icmp.code);
		print_quote(print, payload);
		break;
	case VNIC_ICMP_PARAMETER_PROBLEM:
		vn_text_add(print->line, " parameter problem at byte %u", icmp.rest >> 24);
		print_quote(print, payload);
		break;
	default:
		vn_text_add(print->line, " type %u code %u", icmp.type, icmp.code);
	}
}

static void print_neighbor(struct vn_print *print, const struct vnic_icmp *icmp,
			   const struct vn_payload *payload)
{
	bool solicitation = icmp->type == VNIC_ICMPV6_NEIGHBOR_SOLICITATION;
	const uint8_t *body = payload->bytes + VNIC_ICMP_HEADER_BYTES;
	size_t length = payload->length_bytes - VNIC_ICMP_HEADER_BYTES;
	char mac[VNIC_ADDRESS_TEXT_BYTES];
	struct vnic_ndp ndp;
	bool good = vnic_ndp_parse(icmp->type, body, length, &ndp) > 0;

	vn_text_add(print->line,
		    solicitation ? " neighbor solicitation" : " neighbor advertisement");
	if (!good && !print->truncated)
		vn_print_note(print, "bad NDP options");
	if (length < VNIC_IPV6_BYTES)
		return;
	print_address(print, solicitation ? " who has " : " ", VNIC_IPV6, body);
	if (solicitation)
		vn_text_add(print->line, "?");
	if (good && ndp.has_mac)
		vn_text_add(print->line, "%s%s", solicitation ? " tell " : " is at ",
			    vnic_mac_format(ndp.mac, mac));
	if (good && ndp.has_nonce && solicitation)
		vn_text_add(print->line, " nonce");
	if (solicitation)
		return;
	if (icmp->rest & VNIC_NDP_ROUTER)
		vn_text_add(print->line, " router");
	if (icmp->rest & VNIC_NDP_SOLICITED)
		vn_text_add(print->line, " solicited");
	if (icmp->rest & VNIC_NDP_OVERRIDE)
		vn_text_add(print->line, " override");
}

/* The address that follows the header, if it is there: a group, or where a redirect leads to. */
static void print_body_address(struct vn_print *print, const char *before, size_t offset,
			       const struct vn_payload *payload)
{
	if (payload->length_bytes >= VNIC_ICMP_HEADER_BYTES + offset + VNIC_IPV6_BYTES)
		print_address(print, before, VNIC_IPV6,
			      payload->bytes + VNIC_ICMP_HEADER_BYTES + offset);
	else if (!print->truncated)
		vn_print_note(print, "bad length (ICMPv6)");
}

static void print_icmpv6_error(struct vn_print *print, const struct vnic_icmp *icmp,
			       const struct vn_payload *payload)
{
	switch (icmp->type) {
	case VNIC_ICMPV6_UNREACHABLE:
		print_code(print, icmpv6_unreachable, COUNT(icmpv6_unreachable), "unreachable",
			   icmp->code);
		break;
	case VNIC_ICMPV6_PACKET_TOO_BIG:
		vn_text_add(print->line, " packet too big mtu %u", icmp->rest);
		break;
	case VNIC_ICMPV6_TIME_EXCEEDED:
		print_code(print, icmp_exceeded, COUNT(icmp_exceeded), "time exceeded", icmp->code);
		break;
	case VNIC_ICMPV6_PARAMETER_PROBLEM:
		print_code(print, icmpv6_parameter, COUNT(icmpv6_parameter), "parameter problem",
			   icmp->code);
		vn_text_add(print->line, " at byte %u", icmp->rest);
		break;
	default:
		vn_text_add(print->line, " error type %u code %u", icmp->type, icmp->code);
	}
	print_quote(print, payload);
}

void vn_print_icmpv6(struct vn_print *print, const struct vn_payload *payload)
{
	struct vnic_icmp icmp, verified;

	if (!read_header(print, "ICMPv6", VNIC_ICMPV6_ECHO_REQUEST, VNIC_ICMPV6_ECHO_REPLY, payload,
			 &icmp))
		return;
	if (payload->verify &&
	    vnic_icmpv6_parse(payload->bytes, payload->length_bytes, &payload->source,
			      &payload->destination, &verified) < 0)
		vn_print_note(print, "bad checksum (ICMPv6)");
	switch (icmp.type) {
	case VNIC_ICMPV6_ECHO_REQUEST:
		print_echo(print, "echo request", icmp.rest);
		break;
	case VNIC_ICMPV6_ECHO_REPLY:
		print_echo(print, "echo reply", icmp.rest);
		break;
	case VNIC_ICMPV6_MLD_QUERY:
		vn_text_add(print->line, " MLD query");
		print_body_address(print, " for ", 0, payload);
		break;
	case VNIC_ICMPV6_MLD_REPORT:
		vn_text_add(print->line, " MLD report");
		print_body_address(print, " of ", 0, payload);
		break;
	case VNIC_ICMPV6_MLD_DONE:
		vn_text_add(print->line, " MLD done");
		print_body_address(print, " with ", 0, payload);
		break;
	case VNIC_ICMPV6_MLD2_REPORT:
		vn_text_add(print->line, " MLDv2 report records %u", icmp.rest & 0xffff);
		break;
	case VNIC_ICMPV6_ROUTER_SOLICITATION:
		vn_text_add(print->line, " router solicitation");
		break;
	case VNIC_ICMPV6_ROUTER_ADVERTISEMENT:
		vn_text_add(print->line, " router advertisement hops %u lifetime %u s",
			    icmp.rest >> 24, icmp.rest & 0xffff);
		break;
	case VNIC_ICMPV6_NEIGHBOR_SOLICITATION:
	case VNIC_ICMPV6_NEIGHBOR_ADVERTISEMENT:
		print_neighbor(print, &icmp, payload);
		break;
	case VNIC_ICMPV6_REDIRECT:
		vn_text_add(print->line, " redirect");
		print_body_address(print, " to ", 0, payload);
		print_body_address(print, " for ", VNIC_IPV6_BYTES, payload);
		break;
	default:
		if (vnic_icmpv6_is_error(icmp.type))
			print_icmpv6_error(print, &icmp, payload);
		else
			vn_text_add(print->line, " type %u code %u", icmp.type, icmp.code);
	}
}
