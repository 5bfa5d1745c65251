/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A path's MTU is that of our link, unless a router said that something we sent was too long. What
 * it said holds for ten minutes (RFC 1191 section 6.3, RFC 8201 section 5.3); then the path is tried
 * with the link's MTU again. Nothing has to be done at that moment: an entry that is too old counts
 * as none whenever it is looked at.
 *
 * There is a least that we believe. IPv6 says 1280: every link carries that. For IPv4 it is 552
 * bytes, as in Linux (min_pmtu), whose reason is ours: the standard's 68 would let whoever forges
 * one error have us send a header with each 48 bytes. Links with less have gone with the modems,
 * and if there is one still, routers fragment what goes out without DF.
 *
 * Strangers fill this table, as far as they can guess what we send to whom, so it is bounded, its
 * hash is keyed, and when it is full an entry chosen by chance makes room: whoever floods it cannot
 * say which. What is lost is learned again by one error.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <vnic/endpoint.h>

#include "base/siphash.h"
#include "stack/stack.h"

#define LIFETIME_NS (600 * VN_SECOND_NS)
#define IPV4_LEAST_BYTES 552

struct path {
	struct vnic_address remote;
	uint64_t expires_ns;
	uint32_t next; /* in its slot: index + 1, 0: none */
	uint16_t mtu_bytes;
};

struct vn_paths {
	uint8_t key[16];
	unsigned count, most;
	uint32_t slot_mask;
	uint32_t *slots; /* index + 1, 0: none */
	struct path entries[];
};

int vn_paths_new(struct vnic_stack *stack)
{
	unsigned most = stack->options.paths;
	struct vn_paths *paths;
	uint32_t slots = 1;

	while (slots < most)
		slots *= 2;
	paths = calloc(1, sizeof(*paths) + most * sizeof(paths->entries[0]));
	if (!paths)
		return -ENOMEM;
	stack->paths = paths;
	paths->slot_mask = slots - 1;
	paths->most = most;
	vn_stack_random(stack, paths->key, sizeof(paths->key));
	paths->slots = calloc(slots, sizeof(*paths->slots));
	return paths->slots ? 0 : -ENOMEM;
}

void vn_paths_free(struct vnic_stack *stack)
{
	if (stack->paths)
		free(stack->paths->slots);
	free(stack->paths);
}

static uint32_t *slot_of(struct vn_paths *paths, const struct vnic_address *remote)
{
	uint64_t hash = vn_siphash(paths->key, remote->bytes, sizeof(remote->bytes));

	return &paths->slots[(hash ^ (uint64_t)remote->family) & paths->slot_mask];
}

static struct path *find(struct vn_paths *paths, const struct vnic_address *remote)
{
	for (uint32_t i = *slot_of(paths, remote); i > 0; i = paths->entries[i - 1].next)
		if (vnic_address_equal(&paths->entries[i - 1].remote, remote))
			return &paths->entries[i - 1];
	return NULL;
}

unsigned vn_path_mtu(const struct vnic_stack *stack, const struct vnic_address *remote)
{
	const struct path *path;

	if (stack->paths->count == 0)
		return stack->options.mtu_bytes;
	path = find(stack->paths, remote);
	return path && path->expires_ns > stack->now_ns ? path->mtu_bytes
							: stack->options.mtu_bytes;
}

unsigned vnic_stack_path_mtu(const struct vnic_stack *stack, const struct vnic_address *remote)
{
	/* The caller may have left anything behind the 4 bytes of IPv4. */
	struct vnic_address plain = vnic_address_from_bytes(remote->family, remote->bytes);

	return vn_path_mtu(stack, &plain);
}

/* Take a victim out of its slot's list. */
static struct path *evict(struct vnic_stack *stack)
{
	struct vn_paths *paths = stack->paths;
	uint32_t victim = (uint32_t)((uint64_t)vn_stack_random32(stack) * paths->most >> 32) + 1;
	uint32_t *link = slot_of(paths, &paths->entries[victim - 1].remote);

	while (*link != victim)
		link = &paths->entries[*link - 1].next;
	*link = paths->entries[victim - 1].next;
	return &paths->entries[victim - 1];
}

static struct path *insert(struct vnic_stack *stack, const struct vnic_address *remote)
{
	struct vn_paths *paths = stack->paths;
	struct path *path =
		paths->count < paths->most ? &paths->entries[paths->count++] : evict(stack);
	uint32_t *slot = slot_of(paths, remote);

	path->remote = *remote;
	path->next = *slot;
	*slot = (uint32_t)(path - paths->entries) + 1;
	return path;
}

bool vn_path_learn(struct vnic_stack *stack, const struct vnic_address *remote, unsigned mtu_bytes)
{
	unsigned least = remote->family == VNIC_IPV6 ? VNIC_IPV6_MTU_BYTES : IPV4_LEAST_BYTES;
	struct path *path;

	if (mtu_bytes < least)
		mtu_bytes = least;
	if (mtu_bytes >= vn_path_mtu(stack, remote))
		return false;
	path = find(stack->paths, remote);
	if (!path)
		path = insert(stack, remote);
	path->mtu_bytes = (uint16_t)mtu_bytes;
	path->expires_ns = stack->now_ns + LIFETIME_NS;
	return true;
}
