/* SPDX-License-Identifier: MIT */
/**
 * @file
 * IPv4 and IPv6 addresses, prefixes and Ethernet addresses as values.
 *
 * Addresses are byte arrays in the order in which they stand on the wire. Everything here is pure
 * and thread-safe.
 */
#ifndef VNIC_ADDRESS_H
#define VNIC_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <vnic/error.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VNIC_MAC_BYTES 6
#define VNIC_IPV4_BYTES 4
#define VNIC_IPV6_BYTES 16

/** Room for any text that the functions below write, with its terminating zero, in bytes. */
#define VNIC_ADDRESS_TEXT_BYTES 56

/** The IP version doubles as the address family; 0 means "no address". */
enum vnic_family {
	VNIC_NO_FAMILY = 0,
	VNIC_IPV4 = 4,
	VNIC_IPV6 = 6
};

/** An IP address. An IPv4 address stands in the first 4 bytes, the rest is zero. */
struct vnic_address {
	enum vnic_family family;
	uint8_t bytes[VNIC_IPV6_BYTES];
};

/** An address and the length of the network it is in. The host bits are kept. */
struct vnic_prefix {
	struct vnic_address address;
	unsigned length_bits; /**< 0..32 or 0..128 */
};

/**
 * Parse "192.0.2.1" or "2001:db8::1" (RFC 4291 section 2.2; no zone, no leading zeros in IPv4).
 * @param address  written on success only
 * @return 0, or -EINVAL (cause ADDRESS_INVALID): not an address
 */
VNIC_API int vnic_address_parse(const char *text, struct vnic_address *address,
				struct vnic_error *error);

/**
 * Parse "10.0.0.1/24" or "fd00::1/64". Without a length it is the whole address (/32, /128).
 * @param prefix  written on success only
 * @return 0, or -EINVAL (cause ADDRESS_INVALID): the address or the length does not parse, or the
 *         length is larger than the family's addresses are wide
 */
VNIC_API int vnic_prefix_parse(const char *text, struct vnic_prefix *prefix,
			       struct vnic_error *error);

/**
 * Parse "02:00:5e:10:00:01".
 * @param mac  6 bytes, written on success only
 * @return 0, or -EINVAL (cause MAC_INVALID): not six hexadecimal bytes with colons between them.
 *         A group address parses: whether it fits is for the caller to say.
 */
VNIC_API int vnic_mac_parse(const char *text, uint8_t mac[VNIC_MAC_BYTES],
			    struct vnic_error *error);

/**
 * Write an address as text: IPv6 by RFC 5952.
 * @param text  VNIC_ADDRESS_TEXT_BYTES of the caller's
 * @return text, so that the call can stand in an argument list
 */
VNIC_API const char *vnic_address_format(const struct vnic_address *address, char *text);
/** The same for "ADDRESS/LENGTH". */
VNIC_API const char *vnic_prefix_format(const struct vnic_prefix *prefix, char *text);
/** The same for an Ethernet address. */
VNIC_API const char *vnic_mac_format(const uint8_t mac[VNIC_MAC_BYTES], char *text);

/** An address from wire bytes: 4 of them for VNIC_IPV4, 16 for VNIC_IPV6. */
VNIC_API struct vnic_address vnic_address_from_bytes(enum vnic_family family, const uint8_t *bytes);

VNIC_API bool vnic_address_equal(const struct vnic_address *a, const struct vnic_address *b);
/** True for 224.0.0.0/4 (RFC 5771) and ff00::/8 (RFC 4291 section 2.7). */
VNIC_API bool vnic_address_is_multicast(const struct vnic_address *address);
/** True for 0.0.0.0 and ::, and for no address at all. */
VNIC_API bool vnic_address_is_unspecified(const struct vnic_address *address);
/** True for 127.0.0.0/8 and ::1. */
VNIC_API bool vnic_address_is_loopback(const struct vnic_address *address);
/** True for 169.254.0.0/16 (RFC 3927) and fe80::/10. */
VNIC_API bool vnic_address_is_link_local(const struct vnic_address *address);

/** True if the prefix contains the address; false across families. */
VNIC_API bool vnic_prefix_contains(const struct vnic_prefix *prefix,
				   const struct vnic_address *address);
/** The first address of the network (host bits zero), with the prefix's length. */
VNIC_API struct vnic_prefix vnic_prefix_network(const struct vnic_prefix *prefix);
/**
 * True if the address is this IPv4 prefix's broadcast address (the last one of it). Prefixes of 31
 * and 32 bits have none (RFC 3021), nor has IPv6.
 */
VNIC_API bool vnic_prefix_is_broadcast(const struct vnic_prefix *prefix,
				       const struct vnic_address *address);
/**
 * The address after prefix->address that a host can have in the same network: 10.0.0.2 for
 * 10.0.0.1/24. After the last usable one it begins again with the first; the network's own and the
 * broadcast address are passed over, and so is the Subnet-Router anycast address of IPv6.
 * @param next  written on success only
 * @return 0, or -ERANGE: the network holds no second address
 */
VNIC_API int vnic_prefix_next_host(const struct vnic_prefix *prefix, struct vnic_address *next);

/** The solicited-node multicast group of an IPv6 address (RFC 4291 section 2.7.1). */
VNIC_API struct vnic_address vnic_address_solicited_node(const struct vnic_address *address);
/**
 * The Ethernet address a multicast IP address is sent to (RFC 1112 section 6.4, RFC 2464 section
 * 7).
 */
VNIC_API void vnic_address_multicast_mac(const struct vnic_address *address,
					 uint8_t mac[VNIC_MAC_BYTES]);

#ifdef __cplusplus
}
#endif
#endif
