/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * An address is 16 bytes in wire order with its family beside them, so most questions about it are
 * byte comparisons, and whatever has to count (the next host of a network) counts in the byte
 * array from its end, for both families by the same code. inet_pton() and inet_ntop() are glibc's:
 * they refuse zones and leading zeros and write IPv6 by RFC 5952, so there is nothing to improve
 * here.
 *
 * A prefix keeps its host bits, since "10.0.0.1/24" says two things to a user: the address of the
 * interface and the network behind it.
 */
#include <vnic/address.h>

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"

static size_t address_bytes(enum vnic_family family)
{
	switch (family) {
	case VNIC_IPV4:
		return VNIC_IPV4_BYTES;
	case VNIC_IPV6:
		return VNIC_IPV6_BYTES;
	default:
		return 0;
	}
}

static bool parse_address(const char *text, struct vnic_address *address)
{
	struct vnic_address found;

	memset(&found, 0, sizeof(found));
	if (inet_pton(AF_INET, text, found.bytes) == 1)
		found.family = VNIC_IPV4;
	else if (inet_pton(AF_INET6, text, found.bytes) == 1)
		found.family = VNIC_IPV6;
	else
		return false;
	*address = found;
	return true;
}

int vnic_address_parse(const char *text, struct vnic_address *address, struct vnic_error *error)
{
	if (!text || !parse_address(text, address))
		return vn_error(error, -EINVAL, VNIC_CAUSE_ADDRESS_INVALID,
				"'%s' is no IPv4 or IPv6 address", text ? text : "");
	return 0;
}

/* One to three digits and nothing else: strtoul() would take signs, blanks and leading zeros. */
static bool parse_length(const char *text, unsigned most, unsigned *length_bits)
{
	unsigned value = 0;
	size_t digits = strlen(text);

	if (digits < 1 || digits > 3 || (digits > 1 && text[0] == '0'))
		return false;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return false;
		value = value * 10 + (unsigned)(*text - '0');
	}
	if (value > most)
		return false;
	*length_bits = value;
	return true;
}

int vnic_prefix_parse(const char *text, struct vnic_prefix *prefix, struct vnic_error *error)
{
	char address_text[VNIC_ADDRESS_TEXT_BYTES];
	struct vnic_prefix found;
	const char *slash;
	size_t address_length;
	unsigned most;

	text = text ? text : "";
	slash = strchr(text, '/');
	address_length = slash ? (size_t)(slash - text) : strlen(text);
	if (address_length >= sizeof(address_text))
		return vn_error(error, -EINVAL, VNIC_CAUSE_ADDRESS_INVALID,
				"'%s' is no IPv4 or IPv6 address", text);
	memcpy(address_text, text, address_length);
	address_text[address_length] = '\0';
	if (!parse_address(address_text, &found.address))
		return vn_error(error, -EINVAL, VNIC_CAUSE_ADDRESS_INVALID,
				"'%s' is no IPv4 or IPv6 address", address_text);
	most = (unsigned)address_bytes(found.address.family) * 8;
	found.length_bits = most;
	if (slash && !parse_length(slash + 1, most, &found.length_bits))
		return vn_error(error, -EINVAL, VNIC_CAUSE_ADDRESS_INVALID,
				"'%s' is no prefix: its length must be a number from 0 to %u", text,
				most);
	*prefix = found;
	return 0;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int vnic_mac_parse(const char *text, uint8_t mac[VNIC_MAC_BYTES], struct vnic_error *error)
{
	uint8_t found[VNIC_MAC_BYTES];
	const char *at = text ? text : "";

	for (size_t i = 0; i < VNIC_MAC_BYTES; i++, at += 3) {
		int high = hex_digit(at[0]);
		int low = high < 0 ? -1 : hex_digit(at[1]);

		if (low < 0 || at[2] != (i < VNIC_MAC_BYTES - 1 ? ':' : '\0'))
			return vn_error(error, -EINVAL, VNIC_CAUSE_MAC_INVALID,
					"'%s' is no Ethernet address", text ? text : "");
		found[i] = (uint8_t)(high << 4 | low);
	}
	memcpy(mac, found, sizeof(found));
	return 0;
}

const char *vnic_address_format(const struct vnic_address *address, char *text)
{
	int family = address->family == VNIC_IPV4 ? AF_INET : AF_INET6;

	if (!address_bytes(address->family) ||
	    !inet_ntop(family, address->bytes, text, VNIC_ADDRESS_TEXT_BYTES))
		snprintf(text, VNIC_ADDRESS_TEXT_BYTES, "none");
	return text;
}

const char *vnic_prefix_format(const struct vnic_prefix *prefix, char *text)
{
	size_t used;

	vnic_address_format(&prefix->address, text);
	used = strlen(text);
	snprintf(text + used, VNIC_ADDRESS_TEXT_BYTES - used, "/%u", prefix->length_bits);
	return text;
}

const char *vnic_mac_format(const uint8_t mac[VNIC_MAC_BYTES], char *text)
{
	snprintf(text, VNIC_ADDRESS_TEXT_BYTES, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1],
		 mac[2], mac[3], mac[4], mac[5]);
	return text;
}

struct vnic_address vnic_address_from_bytes(enum vnic_family family, const uint8_t *bytes)
{
	struct vnic_address address;
	size_t count = address_bytes(family);

	memset(&address, 0, sizeof(address));
	if (count) {
		address.family = family;
		memcpy(address.bytes, bytes, count);
	}
	return address;
}

bool vnic_address_equal(const struct vnic_address *a, const struct vnic_address *b)
{
	return a->family == b->family && memcmp(a->bytes, b->bytes, address_bytes(a->family)) == 0;
}

bool vnic_address_is_multicast(const struct vnic_address *address)
{
	switch (address->family) {
	case VNIC_IPV4:
		return (address->bytes[0] & 0xf0) == 0xe0;
	case VNIC_IPV6:
		return address->bytes[0] == 0xff;
	default:
		return false;
	}
}

bool vnic_address_is_unspecified(const struct vnic_address *address)
{
	static const uint8_t zero[VNIC_IPV6_BYTES];

	return memcmp(address->bytes, zero, address_bytes(address->family)) == 0;
}

bool vnic_address_is_loopback(const struct vnic_address *address)
{
	static const uint8_t one[VNIC_IPV6_BYTES] = {[15] = 1};

	switch (address->family) {
	case VNIC_IPV4:
		return address->bytes[0] == 127;
	case VNIC_IPV6:
		return memcmp(address->bytes, one, sizeof(one)) == 0;
	default:
		return false;
	}
}

bool vnic_address_is_link_local(const struct vnic_address *address)
{
	switch (address->family) {
	case VNIC_IPV4:
		return address->bytes[0] == 169 && address->bytes[1] == 254;
	case VNIC_IPV6:
		return address->bytes[0] == 0xfe && (address->bytes[1] & 0xc0) == 0x80;
	default:
		return false;
	}
}

/* Which bits of byte index belong to the network, in a prefix of length_bits. */
static uint8_t network_mask(unsigned length_bits, size_t index)
{
	unsigned before = (unsigned)index * 8;

	if (length_bits >= before + 8)
		return 0xff;
	if (length_bits <= before)
		return 0;
	return (uint8_t)(0xff00u >> (length_bits - before));
}

bool vnic_prefix_contains(const struct vnic_prefix *prefix, const struct vnic_address *address)
{
	size_t count = address_bytes(prefix->address.family);

	if (!count || address->family != prefix->address.family || prefix->length_bits > count * 8)
		return false;
	for (size_t i = 0; i < count; i++)
		if ((prefix->address.bytes[i] ^ address->bytes[i]) &
		    network_mask(prefix->length_bits, i))
			return false;
	return true;
}

struct vnic_prefix vnic_prefix_network(const struct vnic_prefix *prefix)
{
	struct vnic_prefix network = *prefix;

	for (size_t i = 0; i < sizeof(network.address.bytes); i++)
		network.address.bytes[i] &= network_mask(prefix->length_bits, i);
	return network;
}

bool vnic_prefix_is_broadcast(const struct vnic_prefix *prefix, const struct vnic_address *address)
{
	if (prefix->address.family != VNIC_IPV4 || prefix->length_bits > 30 ||
	    !vnic_prefix_contains(prefix, address))
		return false;
	for (size_t i = 0; i < VNIC_IPV4_BYTES; i++)
		if ((uint8_t)(address->bytes[i] | network_mask(prefix->length_bits, i)) != 0xff)
			return false;
	return true;
}

static void count_up(struct vnic_address *address)
{
	for (size_t i = address_bytes(address->family); i-- > 0;)
		if (++address->bytes[i] != 0)
			return;
}

int vnic_prefix_next_host(const struct vnic_prefix *prefix, struct vnic_address *next)
{
	unsigned width = (unsigned)address_bytes(prefix->address.family) * 8;
	struct vnic_address candidate = prefix->address;

	if (prefix->length_bits >= width)
		return -ERANGE;
	/* Of two addresses both are hosts (RFC 3021, RFC 6164): the last bit tells them apart. */
	if (prefix->length_bits == width - 1) {
		candidate.bytes[width / 8 - 1] ^= 1;
		*next = candidate;
		return 0;
	}
	count_up(&candidate);
	if (!vnic_prefix_contains(prefix, &candidate) ||
	    vnic_prefix_is_broadcast(prefix, &candidate) ||
	    vnic_address_is_unspecified(&candidate)) {
		candidate = vnic_prefix_network(prefix).address;
		count_up(&candidate);
	}
	*next = candidate;
	return 0;
}

struct vnic_address vnic_address_solicited_node(const struct vnic_address *address)
{
	static const uint8_t group[VNIC_IPV6_BYTES] = {0xff, 0x02, [11] = 0x01, [12] = 0xff};
	struct vnic_address solicited = vnic_address_from_bytes(VNIC_IPV6, group);

	memcpy(solicited.bytes + 13, address->bytes + 13, 3);
	return solicited;
}

void vnic_address_multicast_mac(const struct vnic_address *address, uint8_t mac[VNIC_MAC_BYTES])
{
	if (address->family == VNIC_IPV4) {
		mac[0] = 0x01;
		mac[1] = 0x00;
		mac[2] = 0x5e;
		mac[3] = address->bytes[1] & 0x7f;
		mac[4] = address->bytes[2];
		mac[5] = address->bytes[3];
		return;
	}
	mac[0] = 0x33;
	mac[1] = 0x33;
	memcpy(mac + 2, address->bytes + 12, 4);
}
