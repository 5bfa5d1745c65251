/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. What `vnic host` and `vnic exec` have in common: an interface that is opened
 * and configured as the command line says. All input is checked before anything is made, so that a
 * typing error changes nothing. An interface that was there before (a persistent one) keeps what it
 * has, and where it has all that is asked for no privilege is needed.
 */
#include "nic.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* More packets than the kernel's 500: it drops silently what does not fit while we are busy. */
#define QUEUE_PACKETS 1000

static int check_prefix(const struct nic *nic, const struct vnic_prefix *prefix, const char *text)
{
	const struct tool_command *command = nic->context.command;
	const struct vnic_address *address = &prefix->address;
	struct vnic_prefix network = vnic_prefix_network(prefix);
	char wide[VNIC_ADDRESS_TEXT_BYTES];
	unsigned most = address->family == VNIC_IPV4 ? 32 : 128;
	struct vnic_address next;
	size_t i;

	if (!strchr(text, '/'))
		return usage_error(command,
				   "'%s': the length of its network is missing: '%s/%u', say", text,
				   text, address->family == VNIC_IPV4 ? 24 : 64);
	if (vnic_address_is_multicast(address))
		return usage_error(command, "'%s': a multicast address belongs to no host", text);
	if (vnic_address_is_loopback(address))
		return usage_error(command, "'%s': loopback addresses stay on 'lo'", text);
	if (vnic_address_is_unspecified(address))
		return usage_error(command, "'%s': that is no host's address", text);
	if (prefix->length_bits == 0)
		return usage_error(command, "'%s': too wide: that is the whole Internet", text);
	if (prefix->length_bits + 1 < most && vnic_address_equal(address, &network.address) &&
	    vnic_prefix_next_host(prefix, &next) == 0) {
		struct vnic_prefix instead = {next, prefix->length_bits};

		return usage_error(command,
				   "'%s': that is the network itself; a host in it is '%s'", text,
				   vnic_prefix_format(&instead, wide));
	}
	if (vnic_prefix_is_broadcast(prefix, address))
		return usage_error(command, "'%s': that is the broadcast address of its network",
				   text);
	for (i = 0; i < nic->address_count; i++)
		if (vnic_address_equal(&nic->addresses[i].prefix.address, address))
			return usage_error(command, "'%s': the address is given twice", text);
	if (address->family == VNIC_IPV6 && nic->options.mtu && nic->options.mtu < 1280)
		return usage_error(command, "--mtu: IPv6 needs 1280 at least");
	return -1;
}

static int parse_prefixes(struct nic *nic, const struct text_list *prefixes)
{
	struct vnic_error error;
	unsigned i;
	int status;

	if (prefixes->count == 0)
		return -1;
	nic->addresses = calloc(prefixes->count, sizeof(*nic->addresses));
	if (!nic->addresses)
		return error_say(&nic->context, "out of memory");
	nic->addresses_are_given = true;
	nic->context.address = prefixes->items[0];
	for (i = 0; i < prefixes->count; i++) {
		struct vnic_prefix *prefix = &nic->addresses[i].prefix;
		const char *text = prefixes->items[i];

		if (!strpbrk(text, ".:"))
			return usage_error(nic->context.command,
					   "'%s' is no IPv4 or IPv6 address; a COMMAND comes after "
					   "'--'",
					   text);
		if (vnic_prefix_parse(text, prefix, &error) < 0)
			return strstr(error.text, text)
				       ? usage_error(nic->context.command, "%s", error.text)
				       : usage_error(nic->context.command, "'%s': %s", text,
						     error.text);
		status = check_prefix(nic, prefix, text);
		if (status >= 0)
			return status;
		nic->address_count++;
	}
	return -1;
}

int nic_parse(struct nic *nic, const struct tool_command *command, const struct text_list *prefixes)
{
	const struct nic_options *options = &nic->options;
	struct vnic_error error;

	nic->context.command = command;
	nic->context.name = options->name;
	nic->context.netns = options->netns;
	nic->context.is_private = options->is_private;
	nic->context.mtu = options->mtu;
	if (options->netns && options->is_private)
		return usage_error(command, "--netns and --private are two namespaces: choose one");
	if (options->mac_text) {
		if (!options->tap)
			return usage_error(command, "--mac: only a TAP has one: add --tap");
		if (vnic_mac_parse(options->mac_text, nic->mac, &error) < 0)
			return usage_error(command, "--mac: %s", error.text);
		if (nic->mac[0] & 1)
			return usage_error(command, "--mac: '%s' is a group address",
					   options->mac_text);
		if (!memcmp(nic->mac, "\0\0\0\0\0", VNIC_MAC_BYTES))
			return usage_error(command, "--mac: '%s' is no address", options->mac_text);
	}
	return parse_prefixes(nic, prefixes);
}

int nic_find_addresses(struct nic *nic)
{
	const struct tool_command *command = nic->context.command;
	struct vnic_link_address *found;
	struct vnic_error error;
	size_t i, count, used = 0;

	if (nic->addresses_are_given)
		return -1;
	if (!nic->options.name || nic->options.is_private)
		return usage_error(command, "which address? 'vnic %s 10.0.0.1/24', say",
				   command->name);
	if (vnic_link_addresses(NULL, nic->options.name, &found, &count, &error) < 0)
		return error_report(&error, &nic->context);
	/* A link-local address that the kernel made by itself is not what anybody means. */
	for (i = 0; i < count; i++)
		if (!vnic_address_is_link_local(&found[i].prefix.address))
			found[used++] = found[i];
	if (used == 0) {
		free(found);
		return usage_error(command, "'%s' has no address: which shall it have?",
				   nic->options.name);
	}
	nic->addresses = found;
	nic->address_count = used;
	return -1;
}

static int configure(struct nic *nic)
{
	struct vnic_link_config config = {
		.mac = nic->options.mac_text ? nic->mac : NULL,
		.mtu_bytes = nic->options.mtu,
		.queue_packets = nic->existed ? 0 : QUEUE_PACKETS,
		.state = VNIC_LINK_UP,
		.ipv6_autoconfiguration = nic->existed && nic->info.ipv6_autoconfiguration,
	};
	struct vnic_error error;

	if (nic->addresses_are_given) {
		config.addresses = nic->addresses;
		config.address_count = nic->address_count;
	}
	nic->context.is_configuring = nic->existed;
	if (vnic_device_configure(nic->device, &config, &error) < 0)
		return error_report(&error, &nic->context);
	nic->context.is_configuring = false;
	if (vnic_device_query(nic->device, &nic->info, &error) < 0)
		return error_report(&error, &nic->context);
	return -1;
}

int nic_open(struct nic *nic)
{
	const struct vnic_device_options options = {
		.type = nic->options.tap ? VNIC_TAP : VNIC_TUN,
		.name = nic->options.name,
		.queues = nic->options.queues,
		.offloads = nic->offloads,
		.no_offloads = nic->offloads == 0,
	};
	struct vnic_error error;

	nic->existed = options.name && !strchr(options.name, '%') &&
		       vnic_link_query(NULL, options.name, &nic->info, NULL) == 0;
	if (vnic_device_open(&options, &nic->device, &error) < 0)
		return error_report(&error, &nic->context);
	/* Without an owner every user could attach a queue to it and take part of the traffic. */
	if (!nic->existed && vnic_device_set_owner(nic->device, geteuid(), &error) < 0)
		return error_report(&error, &nic->context);
	return configure(nic);
}

void nic_free(struct nic *nic)
{
	vnic_device_close(nic->device);
	nic->device = NULL;
	free(nic->addresses);
	nic->addresses = NULL;
}

bool nic_has_address(const struct nic *nic, const struct vnic_address *address)
{
	size_t i;

	for (i = 0; i < nic->address_count; i++)
		if (vnic_address_equal(&nic->addresses[i].prefix.address, address))
			return true;
	return false;
}
