/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. The tool is a table of commands: main() finds the one that is named, lets it
 * run, and makes sure that what it printed has really been written. Everything that a command
 * needs to know of its own options and help stands in its own file.
 */
#include "tool.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static const struct tool_command *const commands[] = {
	&host_command, &wire_command,   &exec_command,     &show_command,
	&add_command,  &delete_command, &features_command,
};

#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

static void print_help(FILE *stream)
{
	size_t i;

	fprintf(stream, "vnic makes virtual network interfaces and is the program behind them.\n\n"
			"usage: vnic COMMAND [ARGUMENTS]\n\n");
	for (i = 0; i < COMMANDS; i++)
		fprintf(stream, "  %s%-9s%s %s\n", colour(stream, COLOUR_BOLD), commands[i]->name,
			colour(stream, COLOUR_NONE), commands[i]->summary);
	fprintf(stream, "\n'vnic COMMAND --help' tells more; 'vnic --version' the version. To see "
			"it work:\n\n"
			"  vnic host 10.0.0.1/24 --private -- ping -c 3 10.0.0.2\n");
}

static const struct tool_command *find_command(const char *name)
{
	size_t i;

	for (i = 0; i < COMMANDS; i++)
		if (strcmp(commands[i]->name, name) == 0)
			return commands[i];
	return NULL;
}

static int unknown_command(const char *name)
{
	size_t i;

	for (i = 0; i < COMMANDS; i++)
		if (strncmp(commands[i]->name, name, 2) == 0)
			return usage_error(NULL, "there is no command '%s': do you mean '%s'?",
					   name, commands[i]->name);
	return usage_error(NULL, "there is no command '%s'", name);
}

/* A full disk behind a redirection shows only when the last of the output is flushed. */
static int finish_output(int status)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return status;
	if (errno != EPIPE)
		warning_say("cannot write to the standard output: %s", strerror(errno));
	return status ? status : STATUS_FAILED;
}

/* Or the first file that is opened would become the standard output and be printed into. */
static void fill_standard_descriptors(void)
{
	int descriptor;

	do
		descriptor = open("/dev/null", O_RDWR);
	while (descriptor >= 0 && descriptor <= STDERR_FILENO);
	if (descriptor >= 0)
		close(descriptor);
}

int main(int argc, char **argv)
{
	const struct tool_command *command;

	fill_standard_descriptors();
	if (argc < 2) {
		print_help(stderr);
		return STATUS_USAGE;
	}
	if (strcmp(argv[1], "--version") == 0) {
		printf("vnic %s\n", vnic_version());
		return finish_output(STATUS_DONE);
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
	    (strcmp(argv[1], "help") == 0 && argc == 2)) {
		print_help(stdout);
		return finish_output(STATUS_DONE);
	}
	if (strcmp(argv[1], "help") == 0) {
		command = find_command(argv[2]);
		if (!command)
			return unknown_command(argv[2]);
		fputs(command->help, stdout);
		return finish_output(STATUS_DONE);
	}
	command = find_command(argv[1]);
	if (!command)
		return argv[1][0] == '-' ? usage_error(NULL, "unknown option '%s'", argv[1])
					 : unknown_command(argv[1]);
	return finish_output(command->run(command, argc - 1, argv + 1));
}
