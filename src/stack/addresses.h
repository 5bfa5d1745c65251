/* SPDX-License-Identifier: MIT */
/* What a stack answers for: see addresses.c. */
#ifndef VN_STACK_ADDRESSES_H
#define VN_STACK_ADDRESSES_H

#include <stdbool.h>
#include <stdint.h>
#include <vnic/address.h>
#include <vnic/stack.h>

enum vn_address_kind {
	VN_ADDRESS_OWN = 1,
	VN_ADDRESS_PREFIX, /* the network's first address */
	VN_ADDRESS_EXCEPTION,
	VN_ADDRESS_BROADCAST, /* derived: of an IPv4 address or prefix */
	VN_ADDRESS_GROUP,     /* derived: the solicited-node group of an IPv6 address */
	VN_ADDRESS_NETWORK    /* derived: what an address or prefix is in, its first address */
};

struct vn_address_entry {
	struct vnic_address address;
	uint8_t kind;
	uint8_t length_bits;
	/* Of VN_ADDRESS_OWN on Ethernet only: */
	uint8_t step;     /* how far announcing it is: see announce.c */
	bool tentative;   /* answered for, but another host may still turn out to have it */
	bool conflicted;  /* another host has it: not answered for */
	bool defended;    /* defended_ns says when */
	uint8_t nonce[6]; /* of the probe for duplicates that is under way */
	uint64_t due_ns;  /* when the next step is; UINT64_MAX: no more steps */
	uint64_t defended_ns;
};

/* Each address and each prefix may bring two derived entries. */
#define VN_ADDRESS_ENTRIES (3 * VNIC_STACK_ADDRESSES)
#define VN_ADDRESS_SLOTS 16384 /* a power of 2, and few of them in use */

/* The different lengths that are in use: one look-up each. */
struct vn_address_lengths {
	uint8_t bits[129];
	uint8_t count;
};

struct vn_addresses {
	struct vn_address_entry entries[VN_ADDRESS_ENTRIES];
	unsigned count;                   /* of entries, with the derived ones */
	unsigned given;                   /* of those that the user gave */
	unsigned groups;                  /* of VN_ADDRESS_GROUP */
	uint16_t slots[VN_ADDRESS_SLOTS]; /* index of the entry + 1, 0: none */
	/* IPv4's and IPv6's: */
	struct vn_address_lengths prefixes[2], networks[2];
};

int vn_addresses_add(struct vn_addresses *addresses, const struct vnic_prefix *address,
		     struct vn_address_entry **added, struct vnic_error *error);
int vn_addresses_add_prefix(struct vn_addresses *addresses, const struct vnic_prefix *prefix,
			    struct vnic_error *error);
int vn_addresses_except(struct vn_addresses *addresses, const struct vnic_address *address,
			struct vnic_error *error);

/* True if packets to the address are to be answered. */
bool vn_addresses_has(const struct vn_addresses *addresses, const struct vnic_address *address);
/* The entry if it was given as an address of its own, whatever became of it; else NULL. */
struct vn_address_entry *vn_addresses_own(struct vn_addresses *addresses,
					  const struct vnic_address *address);
/* True for the limited broadcast address and those of our networks. */
bool vn_addresses_is_broadcast(const struct vn_addresses *addresses,
			       const struct vnic_address *address);
/* True if the address is in one of the networks that our addresses and prefixes are in. */
bool vn_addresses_on_link(const struct vn_addresses *addresses, const struct vnic_address *address);
/* True for what can be the address of one host: not multicast, loopback or unspecified. */
bool vn_address_is_host(const struct vnic_address *address);
/* True if we listen to this multicast group. */
bool vn_addresses_in_group(const struct vn_addresses *addresses, const struct vnic_address *group);
/*
 * Choose one of our addresses to answer destination from, when what it sent went to group.
 * False if there is none.
 */
bool vn_addresses_choose(const struct vn_addresses *addresses, const struct vnic_address *group,
			 const struct vnic_address *destination, struct vnic_address *source);

#endif
