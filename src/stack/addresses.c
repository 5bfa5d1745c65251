/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Everything that decides whether a packet is for us stands in one array of entries, and one hash
 * table of fixed size finds an entry by what kind it is, the length of its prefix and its bytes. So
 * one address costs as much to find as a thousand. For prefixes there is one look-up for each
 * different length in use, which is one or two in practice.
 *
 * What follows from an address is entered when the address is: its network, the broadcast address
 * of that in IPv4, and its IPv6 solicited-node group. The checks that each packet goes through are then
 * look-ups too.
 *
 * Nothing is ever removed: an address that another host turns out to have is only marked. The hash
 * needs no secret, for only our user enters anything, and a table that is three quarters empty has
 * no long runs.
 */
#include "stack/addresses.h"

#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "base/error.h"

static uint32_t hash(enum vn_address_kind kind, unsigned length_bits,
		     const struct vnic_address *address)
{
	uint32_t h = (uint32_t)kind << 16 | (uint32_t)address->family << 8 | length_bits;

	for (unsigned i = 0; i < VNIC_IPV6_BYTES; i += 4) {
		h = (h ^ vn_load32(address->bytes + i)) * UINT32_C(0x9e3779b1);
		h ^= h >> 15;
	}
	return h % VN_ADDRESS_SLOTS;
}

/* Only for prefixes and networks does the length belong to the key. */
static bool has_length(enum vn_address_kind kind)
{
	return kind == VN_ADDRESS_PREFIX || kind == VN_ADDRESS_NETWORK;
}

static const struct vn_address_entry *find(const struct vn_addresses *addresses,
					   enum vn_address_kind kind, unsigned length_bits,
					   const struct vnic_address *address)
{
	if (!has_length(kind))
		length_bits = 0;
	for (uint32_t slot = hash(kind, length_bits, address); addresses->slots[slot] != 0;
	     slot = (slot + 1) % VN_ADDRESS_SLOTS) {
		const struct vn_address_entry *entry =
			&addresses->entries[addresses->slots[slot] - 1];

		if (entry->kind == kind &&
		    (!has_length(kind) || entry->length_bits == length_bits) &&
		    vnic_address_equal(&entry->address, address))
			return entry;
	}
	return NULL;
}

static struct vn_address_entry *insert(struct vn_addresses *addresses, enum vn_address_kind kind,
				       unsigned length_bits, const struct vnic_address *address)
{
	uint32_t slot = hash(kind, has_length(kind) ? length_bits : 0, address);
	struct vn_address_entry *entry = &addresses->entries[addresses->count++];

	while (addresses->slots[slot] != 0)
		slot = (slot + 1) % VN_ADDRESS_SLOTS;
	addresses->slots[slot] = (uint16_t)addresses->count;
	memset(entry, 0, sizeof(*entry));
	entry->address = *address;
	entry->kind = (uint8_t)kind;
	entry->length_bits = (uint8_t)length_bits;
	entry->due_ns = UINT64_MAX;
	return entry;
}

static struct vnic_address last_of(const struct vnic_prefix *prefix)
{
	struct vnic_address last = prefix->address;

	for (unsigned bit = prefix->length_bits; bit < 32; bit++)
		last.bytes[bit / 8] |= (uint8_t)(0x80 >> bit % 8);
	return last;
}

static void insert_broadcast(struct vn_addresses *addresses, const struct vnic_prefix *prefix)
{
	struct vnic_address broadcast;

	if (prefix->address.family != VNIC_IPV4 || prefix->length_bits > 30)
		return;
	broadcast = last_of(prefix);
	if (!find(addresses, VN_ADDRESS_BROADCAST, 0, &broadcast))
		insert(addresses, VN_ADDRESS_BROADCAST, prefix->length_bits, &broadcast);
}

static unsigned family_index(const struct vnic_address *address)
{
	return address->family == VNIC_IPV4 ? 0 : 1;
}

static void add_length(struct vn_address_lengths *lengths, unsigned bits)
{
	if (lengths->count == 0 || !memchr(lengths->bits, (int)bits, lengths->count))
		lengths->bits[lengths->count++] = (uint8_t)bits;
}

static void insert_network(struct vn_addresses *addresses, const struct vnic_prefix *prefix)
{
	struct vnic_prefix network = vnic_prefix_network(prefix);

	if (find(addresses, VN_ADDRESS_NETWORK, network.length_bits, &network.address))
		return;
	insert(addresses, VN_ADDRESS_NETWORK, network.length_bits, &network.address);
	add_length(&addresses->networks[family_index(&network.address)], network.length_bits);
}

/* 0.0.0.0/8 is "this network": nobody can be reached there (RFC 1122 section 3.2.1.3). */
bool vn_address_is_host(const struct vnic_address *address)
{
	static const uint8_t limited_broadcast[VNIC_IPV4_BYTES] = {255, 255, 255, 255};

	if (vnic_address_is_unspecified(address) || vnic_address_is_multicast(address) ||
	    vnic_address_is_loopback(address))
		return false;
	return address->family != VNIC_IPV4 ||
	       (address->bytes[0] != 0 &&
		memcmp(address->bytes, limited_broadcast, VNIC_IPV4_BYTES) != 0);
}

static int check(const struct vn_addresses *addresses, const struct vnic_prefix *prefix,
		 struct vnic_error *error)
{
	char text[VNIC_ADDRESS_TEXT_BYTES];
	enum vnic_family family = prefix->address.family;

	if (family != VNIC_IPV4 && family != VNIC_IPV6)
		return vn_error(error, -EINVAL, VNIC_CAUSE_ADDRESS_INVALID, "no IP address");
	if (prefix->length_bits > (family == VNIC_IPV4 ? 32 : 128))
		return vn_error(error, -EINVAL, VNIC_CAUSE_ADDRESS_INVALID,
				"a network of %u bits is too long for %s", prefix->length_bits,
				vnic_address_format(&prefix->address, text));
	if (addresses->given >= VNIC_STACK_ADDRESSES)
		return vn_error(error, -ENOSPC, VNIC_CAUSE_LIMIT,
				"a host cannot have more than %u addresses", VNIC_STACK_ADDRESSES);
	return 0;
}

int vn_addresses_add(struct vn_addresses *addresses, const struct vnic_prefix *address,
		     struct vn_address_entry **added, struct vnic_error *error)
{
	struct vnic_prefix prefix = *address;
	char text[VNIC_ADDRESS_TEXT_BYTES];
	int rc;

	*added = NULL;
	if (find(addresses, VN_ADDRESS_OWN, 0, &prefix.address))
		return 0;
	rc = check(addresses, &prefix, error);
	if (rc < 0)
		return rc;
	if (!vn_address_is_host(&prefix.address) ||
	    vnic_prefix_is_broadcast(&prefix, &prefix.address))
		return vn_error(error, -EINVAL, VNIC_CAUSE_ADDRESS_INVALID,
				"%s cannot be the address of a host",
				vnic_prefix_format(&prefix, text));
	addresses->given++;
	*added = insert(addresses, VN_ADDRESS_OWN, prefix.length_bits, &prefix.address);
	insert_broadcast(addresses, &prefix);
	insert_network(addresses, &prefix);
	if (prefix.address.family == VNIC_IPV6) {
		struct vnic_address group = vnic_address_solicited_node(&prefix.address);

		if (!find(addresses, VN_ADDRESS_GROUP, 0, &group)) {
			insert(addresses, VN_ADDRESS_GROUP, 128, &group);
			addresses->groups++;
		}
	}
	return 0;
}

int vn_addresses_add_prefix(struct vn_addresses *addresses, const struct vnic_prefix *prefix,
			    struct vnic_error *error)
{
	char text[VNIC_ADDRESS_TEXT_BYTES];
	struct vnic_prefix network;
	int rc = check(addresses, prefix, error);

	if (rc < 0 && rc != -ENOSPC)
		return rc;
	network = vnic_prefix_network(prefix);
	if (find(addresses, VN_ADDRESS_PREFIX, network.length_bits, &network.address))
		return 0;
	if (rc < 0)
		return rc;
	/*
	 * A network that begins at 0 holds hosts if it is large enough; others begin as they go on.
	 */
	if (!vn_address_is_host(&network.address) &&
	    (!vnic_address_is_unspecified(&network.address) ||
	     network.length_bits >= (network.address.family == VNIC_IPV4 ? 8 : 128)))
		return vn_error(error, -EINVAL, VNIC_CAUSE_ADDRESS_INVALID,
				"%s is no network that hosts can be in",
				vnic_prefix_format(&network, text));
	addresses->given++;
	insert(addresses, VN_ADDRESS_PREFIX, network.length_bits, &network.address);
	insert_broadcast(addresses, &network);
	insert_network(addresses, &network);
	add_length(&addresses->prefixes[family_index(&network.address)], network.length_bits);
	return 0;
}

int vn_addresses_except(struct vn_addresses *addresses, const struct vnic_address *address,
			struct vnic_error *error)
{
	struct vnic_prefix prefix = {*address, 0};
	int rc;

	if (find(addresses, VN_ADDRESS_EXCEPTION, 0, address))
		return 0;
	rc = check(addresses, &prefix, error);
	if (rc < 0)
		return rc;
	addresses->given++;
	insert(addresses, VN_ADDRESS_EXCEPTION, 0, address);
	return 0;
}

/*
 * The first address of a network is nobody's: the old form of broadcast in IPv4 (RFC 1122 section
 * 3.2.1.3), the routers' anycast address in IPv6 (RFC 4291 section 2.6.1), but not where two hosts
 * share a link of two addresses (RFC 3021, RFC 6164).
 */
static bool in_prefix(const struct vn_addresses *addresses, const struct vnic_address *address)
{
	bool ipv4 = address->family == VNIC_IPV4;
	const struct vn_address_lengths *lengths = &addresses->prefixes[family_index(address)];

	if (lengths->count == 0 || find(addresses, VN_ADDRESS_EXCEPTION, 0, address) ||
	    find(addresses, VN_ADDRESS_BROADCAST, 0, address))
		return false;
	for (unsigned i = 0; i < lengths->count; i++) {
		struct vnic_prefix prefix = {*address, lengths->bits[i]};
		struct vnic_prefix network = vnic_prefix_network(&prefix);

		if (!find(addresses, VN_ADDRESS_PREFIX, lengths->bits[i], &network.address))
			continue;
		if (lengths->bits[i] >= (ipv4 ? 31 : 127) ||
		    !vnic_address_equal(&network.address, address))
			return true;
	}
	return false;
}

bool vn_addresses_has(const struct vn_addresses *addresses, const struct vnic_address *address)
{
	const struct vn_address_entry *own;

	if (!vn_address_is_host(address))
		return false;
	own = find(addresses, VN_ADDRESS_OWN, 0, address);
	if (own)
		return !own->conflicted;
	return in_prefix(addresses, address);
}

struct vn_address_entry *vn_addresses_own(struct vn_addresses *addresses,
					  const struct vnic_address *address)
{
	return (struct vn_address_entry *)find(addresses, VN_ADDRESS_OWN, 0, address);
}

bool vn_addresses_is_broadcast(const struct vn_addresses *addresses,
			       const struct vnic_address *address)
{
	static const uint8_t limited[VNIC_IPV4_BYTES] = {255, 255, 255, 255};

	if (address->family != VNIC_IPV4)
		return false;
	return memcmp(address->bytes, limited, VNIC_IPV4_BYTES) == 0 ||
	       find(addresses, VN_ADDRESS_BROADCAST, 0, address);
}

bool vn_addresses_on_link(const struct vn_addresses *addresses, const struct vnic_address *address)
{
	const struct vn_address_lengths *lengths = &addresses->networks[family_index(address)];

	for (unsigned i = 0; i < lengths->count; i++) {
		struct vnic_prefix prefix = {*address, lengths->bits[i]};
		struct vnic_prefix network = vnic_prefix_network(&prefix);

		if (find(addresses, VN_ADDRESS_NETWORK, lengths->bits[i], &network.address))
			return true;
	}
	return false;
}

/*
 * With a prefix any solicited-node group may stand for one of its addresses: all are listened to,
 * and the target inside a solicitation decides.
 */
bool vn_addresses_in_group(const struct vn_addresses *addresses, const struct vnic_address *group)
{
	static const uint8_t all_hosts[VNIC_IPV4_BYTES] = {224, 0, 0, 1};
	static const uint8_t all_nodes[VNIC_IPV6_BYTES] = {0xff, 0x02, [15] = 1};
	static const uint8_t solicited[13] = {0xff, 0x02, [11] = 1, 0xff};

	if (group->family == VNIC_IPV4)
		return memcmp(group->bytes, all_hosts, sizeof(all_hosts)) == 0;
	if (memcmp(group->bytes, all_nodes, sizeof(all_nodes)) == 0)
		return true;
	if (addresses->prefixes[1].count > 0 &&
	    memcmp(group->bytes, solicited, sizeof(solicited)) == 0)
		return true;
	return find(addresses, VN_ADDRESS_GROUP, 0, group) != NULL;
}

/* A small part of RFC 6724: in the asker's network, or else of the asker's scope, or else any. */
bool vn_addresses_choose(const struct vn_addresses *addresses, const struct vnic_address *group,
			 const struct vnic_address *destination, struct vnic_address *source)
{
	const struct vn_address_entry *best = NULL;
	int best_points = -1;
	bool of_group = group->bytes[11] == 1 && group->bytes[12] == 0xff;

	for (unsigned i = 0; i < addresses->count; i++) {
		const struct vn_address_entry *entry = &addresses->entries[i];
		struct vnic_prefix prefix = {entry->address, entry->length_bits};
		struct vnic_address solicited;
		int points = 0;

		if (entry->kind != VN_ADDRESS_OWN || entry->conflicted ||
		    entry->address.family != destination->family)
			continue;
		if (of_group) {
			solicited = vnic_address_solicited_node(&entry->address);
			if (!vnic_address_equal(&solicited, group))
				continue;
		}
		if (vnic_address_is_link_local(&entry->address) ==
		    vnic_address_is_link_local(destination))
			points = vnic_prefix_contains(&prefix, destination) ? 2 : 1;
		if (points > best_points) {
			best = entry;
			best_points = points;
		}
	}
	if (!best)
		return false;
	*source = best->address;
	return true;
}
