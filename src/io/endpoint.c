/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. getaddrinfo(3) parses addresses with all that may belong to them, such as
 * the interface of a link-local one, and looks up names. Looking up may take seconds, so it is done
 * once, when a port is opened, and never while a wire runs. What it found is copied into memory of
 * the port's.
 */
#include "io/endpoint.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

#define HOST_BYTES 256
#define PORT_BYTES 6
#define PORT_MOST 65535

/* HOST and PORT of a text, each with its terminating zero. */
struct halves {
	char host[HOST_BYTES];
	char port[PORT_BYTES];
	unsigned long number; /* the port; 0 where there is none */
	bool has_brackets;
};

/* False: there are not two halves. */
static bool split(const char *text, size_t length, bool port_is_optional, struct halves *halves)
{
	const char *host = text, *end = text + length, *host_end, *port;

	halves->has_brackets = length > 0 && text[0] == '[';
	if (halves->has_brackets) {
		host++;
		host_end = memchr(host, ']', length - 1);
		if (!host_end)
			return false;
		port = host_end + 1;
	} else {
		host_end = memchr(host, ':', length);
		if (!host_end)
			host_end = end;
		port = host_end;
	}
	halves->port[0] = 0;
	halves->number = 0;
	if (port == end) {
		if (!port_is_optional)
			return false;
	} else {
		port++;
		if (port[-1] != ':' || port == end || end - port >= PORT_BYTES)
			return false;
		memcpy(halves->port, port, (size_t)(end - port));
		halves->port[end - port] = 0;
		halves->number = strtoul(halves->port, NULL, 10);
		if (strspn(halves->port, "0123456789") != (size_t)(end - port) ||
		    halves->number > PORT_MOST)
			return false;
	}
	if (host_end - host >= HOST_BYTES || memchr(host, 0, (size_t)(host_end - host)))
		return false;
	memcpy(halves->host, host, (size_t)(host_end - host));
	halves->host[host_end - host] = 0;
	return true;
}

static int refuse(int code, const char *text, size_t length, const char *specification,
		  struct vnic_error *error)
{
	int shown = length < HOST_BYTES ? (int)length : HOST_BYTES;

	switch (code) {
	case EAI_MEMORY:
		return vn_error(error, -ENOMEM, VNIC_CAUSE_MEMORY, "no memory for a port");
	case EAI_AGAIN:
		return vn_error(error, -EAGAIN, VNIC_CAUSE_SYSTEM,
				"'%s': cannot look up '%.*s' now", specification, shown, text);
	default:
		return vn_error(error, -ENOENT, VNIC_CAUSE_ARGUMENT,
				"'%s': there is no host '%.*s'", specification, shown, text);
	}
}

int vn_endpoint_parse(const char *text, size_t length_bytes, const char *specification, int family,
		      unsigned flags, struct vn_endpoint *endpoints, unsigned capacity,
		      struct vnic_error *error)
{
	struct addrinfo hints = {
		.ai_family = family,
		.ai_socktype = flags & VN_ENDPOINT_STREAM ? SOCK_STREAM : SOCK_DGRAM,
		.ai_flags = AI_NUMERICSERV,
	};
	struct addrinfo *found, *next;
	struct halves halves;
	unsigned count = 0;
	bool any_port = flags & VN_ENDPOINT_ANY_PORT;
	int code;

	if (!split(text, length_bytes, any_port, &halves) || (!any_port && halves.number == 0) ||
	    (!halves.host[0] && !(flags & VN_ENDPOINT_PASSIVE)))
		return vn_error(error, -EINVAL, VNIC_CAUSE_ARGUMENT,
				"'%s': '%.*s' is no %s:PORT (IPv6 addresses stand in brackets)",
				specification, (int)length_bytes, text,
				flags & VN_ENDPOINT_NUMERIC ? "ADDRESS" : "HOST");
	if (halves.has_brackets && family == AF_INET)
		return vn_error(error, -EINVAL, VNIC_CAUSE_ARGUMENT,
				"'%s': '%s' is no IPv4 address", specification, halves.host);
	if (halves.has_brackets)
		hints.ai_family = AF_INET6;
	if (flags & VN_ENDPOINT_NUMERIC || halves.has_brackets)
		hints.ai_flags |= AI_NUMERICHOST;
	if (flags & VN_ENDPOINT_PASSIVE)
		hints.ai_flags |= AI_PASSIVE;
	code = getaddrinfo(halves.host[0] ? halves.host : NULL, halves.port[0] ? halves.port : "0",
			   &hints, &found);
	if ((code == EAI_NONAME || code == EAI_ADDRFAMILY) && hints.ai_flags & AI_NUMERICHOST)
		return vn_error(error, -EINVAL, VNIC_CAUSE_ARGUMENT, "'%s': '%s' is no %saddress",
				specification, halves.host,
				hints.ai_family == AF_INET    ? "IPv4 "
				: hints.ai_family == AF_INET6 ? "IPv6 "
							      : "");
	if (code != 0)
		return refuse(code, text, length_bytes, specification, error);
	for (next = found; next && count < capacity; next = next->ai_next) {
		if (next->ai_addrlen > sizeof(endpoints->address))
			continue;
		memset(&endpoints[count], 0, sizeof(endpoints[count]));
		memcpy(&endpoints[count].address, next->ai_addr, next->ai_addrlen);
		endpoints[count++].length_bytes = next->ai_addrlen;
	}
	freeaddrinfo(found);
	return count ? (int)count : refuse(EAI_NONAME, text, length_bytes, specification, error);
}

const char *vn_endpoint_format(const struct vn_endpoint *endpoint, char *text)
{
	char host[VN_ENDPOINT_TEXT_BYTES - 16] = "?";
	bool is_ipv6 = endpoint->address.ss_family == AF_INET6;

	(void)getnameinfo((const struct sockaddr *)&endpoint->address, endpoint->length_bytes, host,
			  sizeof(host), NULL, 0, NI_NUMERICHOST);
	snprintf(text, VN_ENDPOINT_TEXT_BYTES, "%s%s%s:%u", is_ipv6 ? "[" : "", host,
		 is_ipv6 ? "]" : "", vn_endpoint_port(endpoint));
	return text;
}

bool vn_endpoint_equal(const struct vn_endpoint *endpoint, const struct sockaddr_storage *other,
		       socklen_t other_length_bytes)
{
	const struct sockaddr_in *four = (const struct sockaddr_in *)&endpoint->address;
	const struct sockaddr_in *other_four = (const struct sockaddr_in *)other;
	const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)&endpoint->address;
	const struct sockaddr_in6 *other_six = (const struct sockaddr_in6 *)other;

	if (other_length_bytes < endpoint->length_bytes ||
	    other->ss_family != endpoint->address.ss_family)
		return false;
	if (other->ss_family == AF_INET)
		return four->sin_port == other_four->sin_port &&
		       four->sin_addr.s_addr == other_four->sin_addr.s_addr;
	return six->sin6_port == other_six->sin6_port &&
	       memcmp(&six->sin6_addr, &other_six->sin6_addr, sizeof(six->sin6_addr)) == 0 &&
	       (!IN6_IS_ADDR_LINKLOCAL(&six->sin6_addr) ||
		six->sin6_scope_id == other_six->sin6_scope_id);
}

uint16_t vn_endpoint_port(const struct vn_endpoint *endpoint)
{
	if (endpoint->address.ss_family == AF_INET)
		return ntohs(((const struct sockaddr_in *)&endpoint->address)->sin_port);
	return ntohs(((const struct sockaddr_in6 *)&endpoint->address)->sin6_port);
}
