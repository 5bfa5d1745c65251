/* SPDX-License-Identifier: MIT */
#include "tool.h"

static int run(const struct tool_command *command, int argc, char **argv)
{
	const struct option options[] = {{0}};
	struct arguments arguments;
	int status = options_parse(command, options, argc, argv, &arguments);

	if (status >= 0)
		return status;
	options_free(options, &arguments);
	return error_say(NULL, "not made yet");
}

const struct tool_command host_command = {
	.name = "host",
	.summary = "make a virtual NIC with a user-space host behind it",
	.help = "usage: vnic host ADDR/LEN...\n",
	.run = run,
};
