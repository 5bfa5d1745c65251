/* SPDX-License-Identifier: MIT */
/*
 * What the files of the tool share. The tool uses the library through <vnic/vnic.h> alone.
 *
 * A command is one file with one struct tool_command, which stands in the table of main.c. Its
 * run() parses its options with options_parse(), does its work and returns the exit status.
 *
 * Messages. What a person asked for goes to stdout; errors go to stderr as one line, "vnic:
 * SENTENCE (HINT)". With --json stdout carries one object per line and nothing else; an error is
 * an object {"event":"error",...} there, and a line on stderr as well. Wrong usage is only told
 * there.
 */
#ifndef TOOL_H
#define TOOL_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <vnic/vnic.h>

enum tool_status {
	STATUS_DONE = 0,
	STATUS_FAILED = 1,
	STATUS_USAGE = 2,
	STATUS_CANNOT_EXECUTE = 126, /* as the shell has it, where there is a COMMAND */
	STATUS_NOT_FOUND = 127,
	STATUS_SIGNAL = 128 /* and the signal's number */
};

struct tool_command {
	const char *name;
	const char *summary; /* for `vnic --help`: half a line, no full stop */
	const char *help;    /* for `vnic NAME --help`: the whole text, ends with a newline */
	/* argv[0] is the command's name. Returns the exit status. */
	int (*run)(const struct tool_command *command, int argc, char **argv);
};

extern const struct tool_command host_command;
extern const struct tool_command exec_command;
extern const struct tool_command wire_command;
extern const struct tool_command show_command;
extern const struct tool_command add_command;
extern const struct tool_command delete_command;
extern const struct tool_command features_command;

/* options.c */

/* Texts given with an option that may be given often, or the operands; they live in argv. */
struct text_list {
	char **items;
	unsigned count;
};

enum option_kind {
	OPTION_FLAG,     /* value: bool */
	OPTION_TEXT,     /* value: const char *; empty is an error */
	OPTION_NUMBER,   /* value: unsigned, between least and most */
	OPTION_DURATION, /* value: uint64_t, in ns: 500ms, 10s, 2m, 1h; a bare number: seconds */
	OPTION_LIST      /* value: struct text_list; each use adds one */
};

/* A table of them ends with a NULL name. Only long options exist; "--name X" and "--name=X". */
struct option {
	const char *name; /* without the dashes */
	enum option_kind kind;
	void *value;
	unsigned least, most; /* OPTION_NUMBER only */
};

struct arguments {
	struct text_list operands;
	char **command; /* what follows "--", NULL-terminated; NULL: there is no "--" */
};

/*
 * Parse. Options and operands may be mixed; "--" ends both. --help is known to every command.
 * Returns -1: go on; otherwise the exit status (--help was shown, or the usage is wrong and that
 * has been said). Lists are allocated: options_free() takes the operands and the lists of the
 * table.
 */
int options_parse(const struct tool_command *command, const struct option *options, int argc,
		  char **argv, struct arguments *arguments);
void options_free(const struct option *options, struct arguments *arguments);

/* "1h", "90s", "500ms" to ns. Returns 0, or -EINVAL. */
int duration_parse(const char *text, uint64_t *ns);

/* hint.c */

/* What an error's advice depends on. All zero: nothing is known. */
struct hint_context {
	const struct tool_command *command;
	const char *name;    /* the interface as the user called it; NULL: none */
	const char *netns;   /* --netns; NULL: none */
	bool is_private;     /* --private was given already */
	bool is_configuring; /* an interface that was there before */
	const char *address; /* that it shall have; NULL: unknown */
	unsigned mtu;        /* the same; 0: unknown */
	bool json;           /* say it as an object too: on output */
	FILE *output;        /* NULL: stdout */
};

/* Say "vnic: TEXT (HINT)" on stderr; returns STATUS_FAILED, or STATUS_USAGE for bad input. */
int error_report(const struct vnic_error *error, const struct hint_context *context);
/* The same for a failure of the tool's own, which has no cause: STATUS_FAILED. */
int error_say(const struct hint_context *context, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* Say "vnic: SENTENCE (try 'vnic NAME --help')"; returns STATUS_USAGE. */
int usage_error(const struct tool_command *command, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* Say "vnic: SENTENCE" on stderr, where it is no reason to end. */
void warning_say(const char *format, ...) __attribute__((format(printf, 1, 2)));
/*
 * What to do about an error, without brackets; NULL: nothing comes to mind. Text lives in buffer.
 */
const char *hint_find(const struct vnic_error *error, const struct hint_context *context,
		      char *buffer, size_t size_bytes);

/* offload.c */

/*
 * "on", "off" or names with commas between them, to enum vnic_offload bits; NULL: on. Returns -1, or
 * the exit status (it has been said).
 */
int offloads_parse(const struct tool_command *command, const char *text, unsigned *offloads);
/* Add them to an object as "offloads", an array of names. */
void offloads_add(cJSON *object, unsigned offloads);

/* text.c */

/* Write an object as one line, flush, and delete it. */
void json_print(FILE *stream, cJSON *object);
/* Add a count: cJSON's own numbers are doubles and lose digits. */
void json_add_count(cJSON *object, const char *key, uint64_t count);

enum colour {
	COLOUR_NONE,
	COLOUR_BOLD,
	COLOUR_DIM,
	COLOUR_GREEN,
	COLOUR_YELLOW,
	COLOUR_RED
};
/*
 * The escape sequence that begins a colour (COLOUR_NONE ends it), or "": colours are for terminals,
 * and not where NO_COLOR is set or TERM is "dumb".
 */
const char *colour(FILE *stream, enum colour colour);
/* "1.5 KiB", "84 bytes": for people. Returns text, of TEXT_BYTES at least. */
#define TEXT_BYTES 32
const char *bytes_format(uint64_t bytes, char *text);

#endif
