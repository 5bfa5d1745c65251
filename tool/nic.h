/* SPDX-License-Identifier: MIT */
#ifndef TOOL_NIC_H
#define TOOL_NIC_H

#include "tool.h"

/* What `vnic host` and `vnic exec` say about their interface on the command line. */
struct nic_options {
	bool tap;
	const char *name;
	unsigned mtu;    /* 0: the kernel's */
	unsigned queues; /* 0: 1 */
	const char *mac_text;
	const char *netns;
	bool is_private;
	const char *user;
	const char *offload; /* `vnic host` only */
};

/* The rows of an option table that fill it. */
#define NIC_OPTIONS(nic)                                                                    \
	{"tap", OPTION_FLAG, &(nic)->tap, 0, 0}, {"name", OPTION_TEXT, &(nic)->name, 0, 0}, \
		{"mtu", OPTION_NUMBER, &(nic)->mtu, 68, 65535},                             \
		{"queues", OPTION_NUMBER, &(nic)->queues, 1, VNIC_QUEUES},                  \
		{"mac", OPTION_TEXT, &(nic)->mac_text, 0, 0},                               \
		{"netns", OPTION_TEXT, &(nic)->netns, 0, 0},                                \
		{"private", OPTION_FLAG, &(nic)->is_private, 0, 0},                         \
	{                                                                                   \
		"user", OPTION_TEXT, &(nic)->user, 0, 0                                     \
	}

struct nic {
	struct nic_options options;
	struct hint_context context;
	uint8_t mac[VNIC_MAC_BYTES]; /* of the interface, where options.mac_text is given */
	/* The kernel's; taken from the interface where none is given. */
	struct vnic_link_address *addresses;
	size_t address_count;
	bool addresses_are_given;
	bool existed;      /* the interface was there before us */
	unsigned offloads; /* to ask for; 0: none */
	struct vnic_device *device;
	struct vnic_link_info info; /* as it was when it was ready */
};

/*
 * Check what can be checked without the kernel. Returns -1, or the exit status (it has been said).
 */
int nic_parse(struct nic *nic, const struct tool_command *command,
	      const struct text_list *prefixes);
/* Find the addresses of an existing interface where none were given. As above. */
int nic_find_addresses(struct nic *nic);
/* Open and configure it: in the namespace in which the process is by now. As above. */
int nic_open(struct nic *nic);
void nic_free(struct nic *nic);
/* True if the kernel has this address on the interface. */
bool nic_has_address(const struct nic *nic, const struct vnic_address *address);

#endif
