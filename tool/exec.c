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

const struct tool_command exec_command = {
	.name = "exec",
	.summary = "hand a ready virtual NIC to a program without privileges",
	.help = "usage: vnic exec ADDR/LEN...\n",
	.run = run,
};
