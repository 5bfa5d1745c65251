/* SPDX-License-Identifier: MIT */
/* Namespaces, privileges and other processes. Nothing here may be called once there are threads. */
#ifndef TOOL_PROCESS_H
#define TOOL_PROCESS_H

#include "tool.h"

#include <sys/types.h>

/* private.c: functions return -1, or the exit status (the error has been said). */

enum private_user {
	PRIVATE_ROOT, /* who is no root is root in the new user namespace */
	PRIVATE_SELF  /* ... keeps the own user ID there */
};
/* Move this process into a new network namespace, and a new user namespace where it must. */
int private_enter(enum private_user user, const struct hint_context *context);

/* netns.c */

/* Move this process into an existing network namespace. As above. */
int netns_enter(const char *netns, const struct hint_context *context);

struct netns_watch {
	int descriptor; /* -1: nothing to watch */
	char path[4096];
	dev_t device;
	ino_t inode;
};
/*
 * Ask for SIGIO when the name of a namespace may have been removed. Returns 0 or a negative errno.
 */
int netns_watch_open(struct netns_watch *watch, const char *netns);
/* True if the name is gone, or is another namespace's by now. */
bool netns_watch_is_gone(struct netns_watch *watch);
void netns_watch_close(struct netns_watch *watch);

/* privilege.c: as above. */

struct user;
/* Look a user up, while that is still possible. *user is NULL where name is. */
int user_find(const char *name, const struct tool_command *command, struct user **user);
void user_free(struct user *user);
/* Tell programs who they are: HOME, USER, LOGNAME. */
int user_set_environment(const struct user *user);
/*
 * Give up every capability for good, become the user (NULL: stay who we are) and never gain a
 * privilege by execve() again.
 */
int privilege_drop(const struct user *user, const struct hint_context *context);

/* command.c */

struct command;
struct command_options {
	char **arguments;
	bool is_private;      /* in a PID namespace of its own, which ends with it */
	bool in_netns;        /* /sys shall show the network namespace */
	bool stdout_is_taken; /* its standard output goes to our standard error */
	bool is_shell;        /* an interactive shell: it ignores SIGTERM, and obeys SIGHUP */
};
/*
 * Prepare a process that has all our privileges and runs the command later, when we have none.
 * Returns -1, or the exit status (the error has been said).
 */
int command_prepare(const struct command_options *options, const struct hint_context *context,
		    struct command **command);
/* Start it. Returns -1, or the exit status: 127, 126 (the error has been said). */
int command_start(struct command *command, const struct hint_context *context);
/* Send it a signal. May be called from a signal handler. */
void command_signal(struct command *command, int signal);
/* True if it has ended. */
bool command_has_ended(struct command *command);
/* Ask it to end, wait for as long as that, and end it by force. */
void command_end(struct command *command, unsigned grace_ms);
/* Wait for its end. Returns its exit status as a shell tells it. */
int command_wait(struct command *command);
/* Free; ends it by force where it still runs. NULL is allowed. */
void command_free(struct command *command);

/* guard.c */

struct guard {
	const struct command_options *options;
	int control; /* one byte: 0: go, otherwise a signal for the command; end: we are alone */
	int failure; /* where an errno goes if the command cannot be run */
	bool has_terminal; /* the tool was in the foreground */
};
/* Be the process between us and the command. */
_Noreturn void guard_run(const struct guard *guard);

#endif
