/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. `vnic exec` does what takes privileges (making and configuring the
 * interface), gives all of them up and becomes the COMMAND, which finds the interface's descriptor
 * as number 3: one process, no relay in between. The descriptor blocks, and each read and write is
 * one plain packet without offloads, since that is what a program expects that does not know this
 * library.
 */
#include "nic.h"
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	FIRST_DESCRIPTOR = 3
};

static int set_number(const char *name, unsigned number)
{
	char text[16];

	snprintf(text, sizeof(text), "%u", number);
	return setenv(name, text, 1);
}

/* Number 3 may be in use by anything of ours, even by another queue: so move twice. */
static int place(int *descriptors, unsigned count)
{
	unsigned i;
	int flags;

	for (i = 0; i < count; i++) {
		descriptors[i] =
			fcntl(descriptors[i], F_DUPFD_CLOEXEC, FIRST_DESCRIPTOR + (int)count);
		if (descriptors[i] < 0)
			return -errno;
	}
	for (i = 0; i < count; i++) {
		flags = fcntl(descriptors[i], F_GETFL);
		if (flags < 0 || fcntl(descriptors[i], F_SETFL, flags & ~O_NONBLOCK) < 0 ||
		    dup2(descriptors[i], FIRST_DESCRIPTOR + (int)i) < 0)
			return -errno;
	}
	return 0;
}

/* Hand the interface on. Returns -1, or the exit status (it has been said). */
static int hand_over(struct nic *nic, const struct user *user)
{
	unsigned queues = vnic_device_queues(nic->device);
	int descriptors[VNIC_QUEUES];
	int code;

	vnic_device_release(nic->device, descriptors);
	nic->device = NULL;
	code = place(descriptors, queues);
	if (code < 0)
		return error_say(&nic->context, "cannot hand the descriptor on: %s",
				 strerror(-code));
	if (set_number("VNIC_FD", FIRST_DESCRIPTOR) < 0 || set_number("VNIC_QUEUES", queues) < 0 ||
	    set_number("VNIC_MTU", nic->info.mtu_bytes) < 0 ||
	    setenv("VNIC_NAME", nic->info.name, 1) < 0 ||
	    setenv("VNIC_TYPE", nic->options.tap ? "tap" : "tun", 1) < 0 ||
	    user_set_environment(user) < 0)
		return error_say(&nic->context, "out of memory");
	return -1;
}

static int become_command(char **arguments, const struct hint_context *context)
{
	int code;

	execvp(arguments[0], arguments);
	code = errno;
	error_say(context, "cannot run '%s': %s", arguments[0],
		  code == ENOENT && !strchr(arguments[0], '/') ? "command not found"
							       : strerror(code));
	return code == ENOENT ? STATUS_NOT_FOUND : STATUS_CANNOT_EXECUTE;
}

static int check_usage(struct nic *nic, const struct tool_command *command,
		       const struct arguments *arguments, struct user **user)
{
	int status = nic_parse(nic, command, &arguments->operands);

	if (status >= 0)
		return status;
	if (!arguments->command || !arguments->command[0])
		return usage_error(command, "which COMMAND shall get it? Give it after '--'");
	return user_find(nic->options.user, command, user);
}

static int run(const struct tool_command *command, int argc, char **argv)
{
	struct nic nic = {0};
	struct user *user = NULL;
	const struct option options[] = {NIC_OPTIONS(&nic.options), {0}};
	struct arguments arguments;
	int status = options_parse(command, options, argc, argv, &arguments);

	if (status >= 0)
		return status;
	status = check_usage(&nic, command, &arguments, &user);
	if (status < 0 && nic.options.is_private)
		status = private_enter(PRIVATE_SELF, &nic.context);
	if (status < 0 && nic.options.netns)
		status = netns_enter(nic.options.netns, &nic.context);
	if (status < 0)
		status = nic_find_addresses(&nic);
	if (status < 0)
		status = nic_open(&nic);
	if (status < 0)
		status = hand_over(&nic, user);
	if (status < 0)
		status = privilege_drop(user, &nic.context);
	if (status < 0)
		status = become_command(arguments.command, &nic.context);
	nic_free(&nic);
	user_free(user);
	options_free(options, &arguments);
	return status;
}

const struct tool_command exec_command = {
	.name = "exec",
	.summary = "hand a ready virtual NIC to a program without privileges",
	.help = "Make and configure a virtual network interface, give up every privilege, and\n"
		"become COMMAND, which finds the interface's descriptor as number 3.\n"
		"\n"
		"usage: vnic exec ADDR/LEN... [OPTIONS] -- COMMAND...\n"
		"\n"
		"Each read from the descriptor is one packet that this machine sends, each write\n"
		"one that it receives: IP packets, or Ethernet frames with --tap. COMMAND finds\n"
		"VNIC_FD (3), VNIC_NAME, VNIC_TYPE (tun or tap), VNIC_MTU and VNIC_QUEUES in its\n"
		"environment (N queues: descriptors 3 to 3+N-1). It goes when COMMAND ends.\n"
		"\n"
		"  --tap           an Ethernet interface (TAP) instead of an IP one (TUN)\n"
		"  --name NAME     its name, or a pattern like vpn%d (default tun%d, tap%d); one\n"
		"                  that exists is used, and then ADDR/LEN may be left out\n"
		"  --mtu BYTES     the largest IP packet on it (default 1500)\n"
		"  --queues N      as many descriptors\n"
		"  --mac MAC       this machine's Ethernet address on it (--tap)\n"
		"  --private       in a new network namespace: nothing on this machine changes,\n"
		"                  and no privilege is needed\n"
		"  --netns NETNS   in an existing one: a name, a path or a process's number\n"
		"  --user USER     run COMMAND as USER (root only). Without it root stays user 0,\n"
		"                  but keeps no capability\n"
		"\n"
		"COMMAND cannot gain privileges by set-user-ID programs such as sudo.\n"
		"Exit status: COMMAND's own; 127 not found, 126 not executable; before it is\n"
		"started 1 failed, 2 wrong usage.\n"
		"\n"
		"  vnic exec 10.0.0.1/24 --user nobody -- ./handler.py\n"
		"  vnic exec 10.0.0.1/24 -- sh -c 'hexdump -C <&3'\n",
	.run = run,
};
