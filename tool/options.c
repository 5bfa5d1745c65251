/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. A command describes its options in a table and the parser fills the values
 * that the table points to. This is not getopt_long(): that one prints its own messages, takes
 * abbreviations (so that a new option breaks old scripts), and forgets whether there was a "--",
 * which here separates the COMMAND from the rest.
 */
#include "tool.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int add_text(struct text_list *list, char *text)
{
	char **items = realloc(list->items, (list->count + 1) * sizeof(*items));

	if (!items)
		return -ENOMEM;
	list->items = items;
	list->items[list->count++] = text;
	return 0;
}

int duration_parse(const char *text, uint64_t *ns)
{
	static const struct {
		const char *name;
		double ns;
	} units[] = {{"", 1e9},   {"s", 1e9},    {"ms", 1e6},   {"us", 1e3},
		     {"m", 60e9}, {"min", 60e9}, {"h", 3600e9}, {"d", 86400e9}};
	double number;
	char *end;
	size_t i;

	/* strtod() would also take "inf", "nan", "0x1p3" and a sign. */
	if (!isdigit((unsigned char)text[0]) || text[1] == 'x' || text[1] == 'X')
		return -EINVAL;
	number = strtod(text, &end);
	for (i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (strcmp(end, units[i].name) != 0)
			continue;
		number *= units[i].ns;
		if (number < 1 || number > 1e18) /* 30 years: keeps sums of times far from 2^64 */
			return -EINVAL;
		*ns = (uint64_t)number;
		return 0;
	}
	return -EINVAL;
}

static int set_number(const struct tool_command *command, const struct option *option,
		      const char *text)
{
	unsigned long number;
	char *end;

	errno = 0;
	number = strtoul(text, &end, 10);
	if (!isdigit((unsigned char)text[0]) || *end)
		return usage_error(command, "--%s: '%s' is not a number", option->name, text);
	if (errno || number < option->least || number > option->most)
		return usage_error(command, "--%s: %s is not between %u and %u", option->name, text,
				   option->least, option->most);
	*(unsigned *)option->value = (unsigned)number;
	return -1;
}

static int set_value(const struct tool_command *command, const struct option *option, char *text)
{
	if (!text[0])
		return usage_error(command, "--%s: its value is empty", option->name);
	switch (option->kind) {
	case OPTION_FLAG:
		break;
	case OPTION_TEXT:
		*(const char **)option->value = text;
		break;
	case OPTION_NUMBER:
		return set_number(command, option, text);
	case OPTION_DURATION:
		if (duration_parse(text, option->value) < 0)
			return usage_error(command,
					   "--%s: '%s' is not a duration like 500ms, 10s, "
					   "2m or 1h",
					   option->name, text);
		break;
	case OPTION_LIST:
		if (add_text(option->value, text) < 0)
			return error_say(NULL, "out of memory");
		break;
	}
	return -1;
}

static int unknown_option(const struct tool_command *command, const struct option *options,
			  const char *text, size_t length)
{
	const struct option *option;

	/* Two letters in common are enough to be worth a guess: the tables are short. */
	for (option = options; option->name; option++)
		if (length >= 4 && strncmp(option->name, text + 2, 2) == 0)
			return usage_error(command, "unknown option '%.*s': do you mean '--%s'?",
					   (int)length, text, option->name);
	return usage_error(command, "unknown option '%.*s'", (int)length, text);
}

/* One word that begins with a dash; *i is moved on over its value. */
static int parse_option(const struct tool_command *command, const struct option *options, int argc,
			char **argv, int *i)
{
	char *text = argv[*i];
	size_t length = strcspn(text, "=");
	const struct option *option;

	if (strcmp(text, "--help") == 0 || strcmp(text, "-h") == 0) {
		fputs(command->help, stdout);
		return STATUS_DONE;
	}
	for (option = options; option->name; option++)
		if (strncmp(text, "--", 2) == 0 && strlen(option->name) == length - 2 &&
		    memcmp(option->name, text + 2, length - 2) == 0)
			break;
	if (!option->name)
		return unknown_option(command, options, text, length);
	if (option->kind == OPTION_FLAG) {
		if (text[length])
			return usage_error(command, "--%s takes no value", option->name);
		*(bool *)option->value = true;
		return -1;
	}
	if (text[length])
		return set_value(command, option, text + length + 1);
	if (*i + 1 >= argc || strcmp(argv[*i + 1], "--") == 0)
		return usage_error(command, "--%s needs a value", option->name);
	*i += 1;
	return set_value(command, option, argv[*i]);
}

int options_parse(const struct tool_command *command, const struct option *options, int argc,
		  char **argv, struct arguments *arguments)
{
	int i, status;

	memset(arguments, 0, sizeof(*arguments));
	for (i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--") == 0) {
			arguments->command = argv + i + 1;
			break;
		}
		if (argv[i][0] == '-' && argv[i][1]) {
			status = parse_option(command, options, argc, argv, &i);
			if (status < 0)
				continue;
			options_free(options, arguments);
			return status;
		}
		if (add_text(&arguments->operands, argv[i]) < 0) {
			options_free(options, arguments);
			return error_say(NULL, "out of memory");
		}
	}
	return -1;
}

void options_free(const struct option *options, struct arguments *arguments)
{
	const struct option *option;

	for (option = options; option->name; option++) {
		struct text_list *list = option->value;

		if (option->kind != OPTION_LIST)
			continue;
		free(list->items);
		memset(list, 0, sizeof(*list));
	}
	free(arguments->operands.items);
	memset(arguments, 0, sizeof(*arguments));
}
