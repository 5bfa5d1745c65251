/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * ICMP errors that come in: what they are about is quoted in them, as far as its sender cared to.
 * Anybody can send one, so what is quoted is taken for a claim. It must have been sent by the very
 * address that the error comes to, in UDP or TCP, and show 8 bytes of the transport header at
 * least, for the ports; a later fragment does not. UDP and TCP then see whether they have such a
 * conversation (RFC 5927 section 4).
 *
 * What an error means (RFC 1122 section 3.2.2.1, RFC 4443 section 3) is said as an errno, as
 * sockets do it. Time exceeded changes nothing: what was lost is sent again or not, and a loop in the
 * network passes. Source quench is not listened to (RFC 6633), and redirects are not either.
 *
 * Too long: a router that tells an MTU not below the length of what it quotes lies, and so does one
 * of IPv6 that tells less than 1280 (RFC 8201 section 4). Old routers of IPv4 tell 0; the next
 * smaller one of the MTUs that links had in their days is tried then (RFC 1191 section 7.1).
 *
 * A neighbor that does not say where it is makes an error too, of which nobody sends a packet.
 */
#include <errno.h>

#include "base/bytes.h"
#include "stack/stack.h"

#define QUOTED_TRANSPORT_BYTES 8
#define CHAIN_LINKS 8

/* Codes of destination unreachable that have no name in vnic/icmp.h (RFC 1122, RFC 1812, RFC 4443). */
#define UNREACHABLE_CODES 16
#define UNREACHABLE6_CODES 8

static const int unreachable4[UNREACHABLE_CODES] = {
	[VNIC_ICMP_UNREACHABLE_NET] = -ENETUNREACH,
	[VNIC_ICMP_UNREACHABLE_HOST] = -EHOSTUNREACH,
	[VNIC_ICMP_UNREACHABLE_PROTOCOL] = -EPROTO,
	[VNIC_ICMP_UNREACHABLE_PORT] = -ECONNREFUSED,
	[VNIC_ICMP_UNREACHABLE_FRAGMENTATION_NEEDED] = -EMSGSIZE,
	[VNIC_ICMP_UNREACHABLE_SOURCE_ROUTE] = -EHOSTUNREACH,
	[6] = -ENETUNREACH,   /* network unknown */
	[7] = -EHOSTUNREACH,  /* host unknown */
	[8] = -EHOSTUNREACH,  /* source host isolated */
	[9] = -EACCES,        /* network prohibited */
	[10] = -EACCES,       /* host prohibited */
	[11] = -ENETUNREACH,  /* not with this TOS */
	[12] = -EHOSTUNREACH, /* likewise */
	[13] = -EACCES,       /* communication prohibited */
	[14] = -EHOSTUNREACH, /* precedence violation */
	[15] = -EHOSTUNREACH, /* precedence cutoff */
};

static const int unreachable6[UNREACHABLE6_CODES] = {
	[VNIC_ICMPV6_UNREACHABLE_ROUTE] = -ENETUNREACH,
	[VNIC_ICMPV6_UNREACHABLE_PROHIBITED] = -EACCES,
	[2] = -EHOSTUNREACH, /* beyond the scope of the source address */
	[VNIC_ICMPV6_UNREACHABLE_ADDRESS] = -EHOSTUNREACH,
	[VNIC_ICMPV6_UNREACHABLE_PORT] = -ECONNREFUSED,
	[5] = -EACCES, /* source address refused by a policy */
	[6] = -EACCES, /* route to reject */
	[7] = -EPROTO, /* error in a source route */
};

/* What an error means as an errno. 0: nothing that changes anything. */
static int code_of(enum vnic_family family, const struct vnic_icmp *icmp)
{
	if (family == VNIC_IPV4) {
		switch (icmp->type) {
		case VNIC_ICMP_UNREACHABLE:
			return icmp->code < UNREACHABLE_CODES ? unreachable4[icmp->code] : 0;
		case VNIC_ICMP_PARAMETER_PROBLEM:
			return -EPROTO;
		default:
			return 0;
		}
	}
	switch (icmp->type) {
	case VNIC_ICMPV6_UNREACHABLE:
		return icmp->code < UNREACHABLE6_CODES ? unreachable6[icmp->code] : 0;
	case VNIC_ICMPV6_PACKET_TOO_BIG:
		return -EMSGSIZE;
	case VNIC_ICMPV6_PARAMETER_PROBLEM:
		return -EPROTO;
	default:
		return 0;
	}
}

/* What the quoted packet was, before its ports are looked at. */
struct quote {
	struct vnic_address source, destination;
	uint8_t protocol;
	uint32_t total_bytes; /* of the packet that was sent */
	size_t transport;     /* where it begins */
};

static bool read_ipv4(const uint8_t *bytes, size_t length_bytes, struct quote *quote)
{
	struct vnic_ipv4 ipv4;
	int header_bytes = vnic_ipv4_parse_lenient(bytes, length_bytes, &ipv4);

	if (header_bytes < 0 || ipv4.fragment_offset_bytes > 0)
		return false;
	quote->source = vnic_address_from_bytes(VNIC_IPV4, ipv4.source);
	quote->destination = vnic_address_from_bytes(VNIC_IPV4, ipv4.destination);
	quote->protocol = ipv4.protocol;
	quote->total_bytes = ipv4.total_bytes;
	quote->transport = (size_t)header_bytes;
	return true;
}

static bool read_ipv6(const uint8_t *bytes, size_t length_bytes, struct quote *quote)
{
	struct vnic_ipv6_extension extension;
	struct vnic_ipv6 ipv6;
	size_t at = VNIC_IPV6_HEADER_BYTES;
	uint8_t next;

	if (vnic_ipv6_parse_lenient(bytes, length_bytes, &ipv6) < 0)
		return false;
	next = ipv6.next_header;
	for (unsigned links = 0; vnic_ipv6_is_extension(next); links++) {
		int rc = vnic_ipv6_extension_parse(next, bytes + at, length_bytes - at, &extension);

		if (rc < 0 || links == CHAIN_LINKS ||
		    (next == VNIC_PROTOCOL_FRAGMENT && extension.fragment_offset_bytes > 0))
			return false;
		next = extension.next_header;
		at += (size_t)rc;
	}
	quote->source = vnic_address_from_bytes(VNIC_IPV6, ipv6.source);
	quote->destination = vnic_address_from_bytes(VNIC_IPV6, ipv6.destination);
	quote->protocol = next;
	quote->total_bytes = VNIC_IPV6_HEADER_BYTES + (uint32_t)ipv6.payload_bytes;
	quote->transport = at;
	return true;
}

/* RFC 1191 section 7.1: the MTU of links then, below that of what was sent. */
static unsigned plateau_below(unsigned bytes)
{
	static const uint16_t plateaus[] = {32000, 17914, 8166, 4352, 2002,
					    1492,  1006,  508,  296,  68};
	size_t i = 0;

	while (i < sizeof(plateaus) / sizeof(plateaus[0]) - 1 && plateaus[i] >= bytes)
		i++;
	return plateaus[i];
}

/* What a router says of its MTU. 0: it is not to be believed. */
static unsigned told_mtu(const struct vnic_stack *stack, const struct quote *quote, uint32_t rest)
{
	if (quote->source.family == VNIC_IPV6)
		return rest >= VNIC_IPV6_MTU_BYTES && rest < quote->total_bytes ? rest : 0;
	rest &= 0xffff;
	if (rest == 0) {
		unsigned bytes = vn_path_mtu(stack, &quote->destination);

		/* Some quote a length that they have reckoned with themselves. */
		return plateau_below(quote->total_bytes < bytes ? quote->total_bytes : bytes);
	}
	return rest < quote->total_bytes ? rest : 0;
}

static bool read_quote(enum vnic_family family, const uint8_t *bytes, size_t length_bytes,
		       struct quote *quote)
{
	return (family == VNIC_IPV4 ? read_ipv4(bytes, length_bytes, quote)
				    : read_ipv6(bytes, length_bytes, quote)) &&
	       length_bytes - quote->transport >= QUOTED_TRANSPORT_BYTES;
}

/* Whoever sent what is quoted. notice has its code and MTU. */
static vn_verdict tell_sender(struct vnic_stack *stack, const struct quote *quote,
			      const uint8_t *bytes, size_t length_bytes, struct vn_notice *notice)
{
	notice->protocol = quote->protocol;
	notice->transport = bytes + quote->transport;
	notice->transport_bytes = (uint32_t)(length_bytes - quote->transport);
	notice->flow.local_address = quote->source;
	notice->flow.remote_address = quote->destination;
	notice->flow.local_port = vn_load16(notice->transport);
	notice->flow.remote_port = vn_load16(notice->transport + 2);
	switch (quote->protocol) {
	case VNIC_PROTOCOL_UDP:
		return vn_udp_notice(stack, notice);
	case VNIC_PROTOCOL_TCP:
		return vn_tcp_notice(stack, notice);
	default:
		return VNIC_STACK_DROP_NOTICE;
	}
}

vn_verdict vn_notice_input(struct vnic_stack *stack, const struct vn_input *input,
			   const struct vnic_icmp *icmp)
{
	uint32_t at = input->transport + VNIC_ICMP_HEADER_BYTES;
	const uint8_t *quoted = input->ip + at;
	size_t quoted_bytes = input->ip_bytes - at;
	struct vn_notice notice = {.code = code_of(input->source.family, icmp)};
	struct quote quote;

	if (notice.code == 0)
		return VNIC_STACK_DROP_UNWANTED;
	if (input->group || input->link_group ||
	    !read_quote(input->source.family, quoted, quoted_bytes, &quote) ||
	    !vnic_address_equal(&quote.source, &input->destination))
		return VNIC_STACK_DROP_NOTICE;
	if (notice.code == -EMSGSIZE) {
		notice.mtu_bytes = told_mtu(stack, &quote, icmp->rest);
		if (notice.mtu_bytes == 0)
			return VNIC_STACK_DROP_NOTICE;
	}
	return tell_sender(stack, &quote, quoted, quoted_bytes, &notice);
}

void vn_notice_unreachable(struct vnic_stack *stack, const uint8_t *ip, size_t length_bytes)
{
	struct vn_notice notice = {.code = -EHOSTUNREACH};
	enum vnic_family family = ip[0] >> 4 == VNIC_IPV4 ? VNIC_IPV4 : VNIC_IPV6;
	struct quote quote;

	if (read_quote(family, ip, length_bytes, &quote))
		tell_sender(stack, &quote, ip, length_bytes, &notice);
}
