/* SPDX-License-Identifier: MIT */
/* HOST:PORT as text, and as an address of a socket. */
#ifndef VN_IO_ENDPOINT_H
#define VN_IO_ENDPOINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <vnic/error.h>

/** Room for "[fe80::...%interface]:65535" and its terminating zero. */
#define VN_ENDPOINT_TEXT_BYTES 96
/** The most addresses of one name that are kept. */
#define VN_ENDPOINTS 8

struct vn_endpoint {
	struct sockaddr_storage address;
	socklen_t length_bytes;
};

enum vn_endpoint_flag {
	VN_ENDPOINT_NUMERIC = 1,  /* an address, no name: nobody is asked */
	VN_ENDPOINT_PASSIVE = 2,  /* to be bound: an empty host is every address of this machine */
	VN_ENDPOINT_ANY_PORT = 4, /* 0, or none at all, is a port of the kernel's choice */
	VN_ENDPOINT_STREAM = 8,   /* TCP, otherwise UDP */
};

/**
 * Parse HOST:PORT. An IPv6 address stands in brackets.
 * @param text          its first length_bytes are meant
 * @param specification of the port, for the error
 * @param family        AF_INET, AF_INET6, or AF_UNSPEC
 * @param flags         enum vn_endpoint_flag, or-ed
 * @param endpoints     room for capacity of them
 * @return how many there are, at least 1; -EINVAL (ARGUMENT): it makes no sense;
 *         -ENOENT (ARGUMENT): no such host; -EAGAIN (SYSTEM): it cannot be told now; -ENOMEM
 */
int vn_endpoint_parse(const char *text, size_t length_bytes, const char *specification, int family,
		      unsigned flags, struct vn_endpoint *endpoints, unsigned capacity,
		      struct vnic_error *error);

/** "10.0.0.1:5000", "[fd00::1]:5000". @return text, of VN_ENDPOINT_TEXT_BYTES */
const char *vn_endpoint_format(const struct vn_endpoint *endpoint, char *text);

/** Same address and port (and, of link-local addresses, the same interface)? */
bool vn_endpoint_equal(const struct vn_endpoint *endpoint, const struct sockaddr_storage *other,
		       socklen_t other_length_bytes);

/** 0: none yet. */
uint16_t vn_endpoint_port(const struct vn_endpoint *endpoint);

#endif
