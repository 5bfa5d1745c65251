/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. For each prefix the kernel has one address and the host answers as others:
 * as those of --host that lie in it, else as the next address, or, with --host all, as every
 * address of it that is not the kernel's.
 */
#include "host.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int add(struct answers *answers, const struct vnic_prefix *prefix)
{
	struct vnic_prefix *prefixes =
		realloc(answers->prefixes, (answers->count + 1) * sizeof(*prefixes));

	if (!prefixes)
		return -ENOMEM;
	answers->prefixes = prefixes;
	answers->prefixes[answers->count++] = *prefix;
	return 0;
}

static const struct vnic_prefix *find_network(const struct nic *nic,
					      const struct vnic_address *address)
{
	size_t i;

	for (i = 0; i < nic->address_count; i++) {
		const struct vnic_link_address *link = &nic->addresses[i];

		if (vnic_prefix_contains(&link->prefix, address) ||
		    vnic_address_equal(&link->peer, address))
			return &link->prefix;
	}
	return NULL;
}

static int add_given(struct answers *answers, const struct nic *nic, const char *text)
{
	const struct tool_command *command = nic->context.command;
	const struct vnic_prefix *network;
	struct vnic_prefix host, base;
	struct vnic_error error;
	size_t i;

	if (vnic_address_parse(text, &host.address, &error) < 0)
		return usage_error(command, "--host: %s", error.text);
	network = find_network(nic, &host.address);
	if (!network)
		return usage_error(command, "--host %s: it lies in none of the networks given",
				   text);
	host.length_bits = network->length_bits;
	base = vnic_prefix_network(network);
	if (nic_has_address(nic, &host.address))
		return usage_error(command, "--host %s: that is this machine's own address", text);
	if (vnic_prefix_is_broadcast(network, &host.address))
		return usage_error(command, "--host %s: that is the broadcast address", text);
	if (vnic_address_is_multicast(&host.address) ||
	    (network->length_bits + 1 < (host.address.family == VNIC_IPV4 ? 32u : 128u) &&
	     vnic_address_equal(&host.address, &base.address)))
		return usage_error(command, "--host %s: that is the network's own address", text);
	for (i = 0; i < answers->count; i++)
		if (vnic_address_equal(&answers->prefixes[i].address, &host.address))
			return usage_error(command, "--host %s: it is given twice", text);
	return add(answers, &host) < 0 ? error_say(&nic->context, "out of memory") : -1;
}

static bool is_answered(const struct answers *answers, const struct vnic_prefix *network)
{
	size_t i;

	for (i = 0; i < answers->count; i++)
		if (vnic_prefix_contains(network, &answers->prefixes[i].address))
			return true;
	return false;
}

static int add_next(struct answers *answers, const struct nic *nic,
		    const struct vnic_link_address *link)
{
	struct vnic_prefix host = link->prefix;
	char text[VNIC_ADDRESS_TEXT_BYTES];

	if (link->peer.family && !vnic_address_equal(&link->peer, &link->prefix.address)) {
		host.address = link->peer;
	} else {
		/* The next address may be another of the kernel's; there are fewer of those than
		 * that it could go round for ever, except where they fill the network. */
		do {
			if (vnic_prefix_next_host(&host, &host.address) < 0 ||
			    vnic_address_equal(&host.address, &link->prefix.address))
				return usage_error(nic->context.command,
						   "'%s': the network has no second address, so "
						   "nobody can answer",
						   vnic_prefix_format(&link->prefix, text));
		} while (nic_has_address(nic, &host.address));
	}
	return add(answers, &host) < 0 ? error_say(&nic->context, "out of memory") : -1;
}

int answers_find(struct answers *answers, const struct nic *nic, const struct text_list *hosts)
{
	size_t i;
	int status;

	for (i = 0; i < hosts->count; i++)
		answers->all |= strcmp(hosts->items[i], "all") == 0;
	if (answers->all) {
		for (i = 0; i < nic->address_count; i++)
			if (add(answers, &nic->addresses[i].prefix) < 0)
				return error_say(&nic->context, "out of memory");
		return -1;
	}
	for (i = 0; i < hosts->count; i++) {
		status = add_given(answers, nic, hosts->items[i]);
		if (status >= 0)
			return status;
	}
	for (i = 0; i < nic->address_count; i++) {
		if (is_answered(answers, &nic->addresses[i].prefix))
			continue;
		status = add_next(answers, nic, &nic->addresses[i]);
		if (status >= 0)
			return status;
	}
	return -1;
}

int answers_give(const struct answers *answers, const struct nic *nic, struct vnic_stack *stack,
		 struct vnic_error *error)
{
	size_t i;
	int code;

	for (i = 0; i < answers->count; i++) {
		code = answers->all ? vnic_stack_add_prefix(stack, &answers->prefixes[i], error)
				    : vnic_stack_add_address(stack, &answers->prefixes[i], error);
		if (code < 0)
			return code;
	}
	for (i = 0; answers->all && i < nic->address_count; i++) {
		code = vnic_stack_except(stack, &nic->addresses[i].prefix.address, error);
		if (code < 0)
			return code;
	}
	return 0;
}

void answers_free(struct answers *answers)
{
	free(answers->prefixes);
	answers->prefixes = NULL;
}
