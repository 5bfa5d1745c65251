/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. A COMMAND runs with the privileges that the tool was started with, but is
 * to start when the tool has given up its own. So a guard (guard.c) is forked before that, with
 * all privileges, and waits for word at a pipe:
 *
 *     vnic ---control pipe---> guard ---fork---> COMMAND
 *       ^                                           |
 *       +------failure pipe: an errno, or its end---+   (closed by a successful execve)
 *
 * The control pipe also carries the signals that are passed on (the tool may have become another
 * user by then, who may not signal the guard), and its end tells the guard that the tool was
 * killed. The guard ends as the COMMAND did; SIGCHLD tells.
 */
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

struct command {
	char *name;
	bool is_shell;
	pid_t guard;
	pid_t foreground; /* our process group, where it had the terminal; otherwise 0 */
	int control;
	int failure;
	bool ended;
	int status;
};

/* In a PID namespace the guard is process 1, and all in it ends with it: even by SIGKILL. */
static pid_t fork_guard(bool is_private)
{
	if (!is_private)
		return fork();
	return (pid_t)syscall(SYS_clone, CLONE_NEWPID | CLONE_NEWNS | SIGCHLD, 0, 0, 0, 0);
}

static void close_both(const int descriptors[2])
{
	close(descriptors[0]);
	close(descriptors[1]);
}

int command_prepare(const struct command_options *options, const struct hint_context *context,
		    struct command **command)
{
	struct guard guard = {
		.options = options,
	};
	struct command *new = calloc(1, sizeof(*new));
	int control[2], failure[2];

	if (!new)
		return error_say(context, "out of memory");
	if (pipe2(control, O_CLOEXEC) < 0) {
		free(new);
		return error_say(context, "cannot make a pipe: %s", strerror(errno));
	}
	if (pipe2(failure, O_CLOEXEC) < 0) {
		close_both(control);
		free(new);
		return error_say(context, "cannot make a pipe: %s", strerror(errno));
	}
	new->name = options->arguments[0];
	new->is_shell = options->is_shell;
	if (tcgetpgrp(STDIN_FILENO) == getpgrp())
		new->foreground = getpgrp();
	guard.has_terminal = new->foreground != 0;
	guard.control = control[0];
	guard.failure = failure[1];
	fflush(NULL); /* or the child has what is buffered too */
	new->guard = fork_guard(options->is_private);
	if (new->guard == 0) {
		close(control[1]);
		close(failure[0]);
		guard_run(&guard);
	}
	close(control[0]);
	close(failure[1]);
	new->control = control[1];
	new->failure = failure[0];
	if (new->guard < 0) {
		int status = error_say(context, "cannot start a process: %s", strerror(errno));

		new->ended = true;
		command_free(new);
		return status;
	}
	*command = new;
	return -1;
}

int command_start(struct command *command, const struct hint_context *context)
{
	const uint8_t go = 0;
	int code = 0;
	ssize_t length;

	if (write(command->control, &go, 1) != 1)
		return error_say(context, "cannot start '%s': %s", command->name, strerror(errno));
	do
		length = read(command->failure, &code, sizeof(code));
	while (length < 0 && errno == EINTR);
	if (length != (ssize_t)sizeof(code))
		return -1;
	command_wait(command);
	if (code == ENOENT) {
		error_say(context, "cannot run '%s': %s", command->name,
			  strchr(command->name, '/') ? strerror(code) : "command not found");
		return STATUS_NOT_FOUND;
	}
	error_say(context, "cannot run '%s': %s", command->name, strerror(code));
	return STATUS_CANNOT_EXECUTE;
}

void command_signal(struct command *command, int signal)
{
	const uint8_t number = command->is_shell && signal == SIGTERM ? SIGHUP : (uint8_t)signal;
	int saved = errno;
	/* It fails only where the guard is gone, and then there is nobody to tell. */
	ssize_t ignored = write(command->control, &number, 1);

	(void)ignored;
	errno = saved;
}

/* An interactive shell takes the terminal; one that was killed, or was in a PID namespace where our
 * process group has no number, did not give it back. */
static void take_terminal_back(const struct command *command)
{
	sigset_t set, before;

	if (!command->foreground || tcgetpgrp(STDIN_FILENO) == command->foreground)
		return;
	sigemptyset(&set);
	sigaddset(&set, SIGTTOU);
	sigprocmask(SIG_BLOCK, &set, &before);
	tcsetpgrp(STDIN_FILENO, command->foreground);
	sigprocmask(SIG_SETMASK, &before, NULL);
}

static bool reap(struct command *command, int options)
{
	int status;
	pid_t pid;

	if (command->ended)
		return true;
	do
		pid = waitpid(command->guard, &status, options);
	while (pid < 0 && errno == EINTR);
	if (pid == 0)
		return false;
	command->ended = true;
	take_terminal_back(command); /* before the summary is printed to it */
	command->status = pid < 0             ? STATUS_FAILED
			  : WIFEXITED(status) ? WEXITSTATUS(status)
					      : STATUS_SIGNAL + WTERMSIG(status);
	return true;
}

bool command_has_ended(struct command *command)
{
	return reap(command, WNOHANG);
}

int command_wait(struct command *command)
{
	reap(command, 0);
	return command->status;
}

void command_end(struct command *command, unsigned grace_ms)
{
	struct pollfd guard = {.events = POLLIN};
	struct timespec now;
	long left, end;

	if (command_has_ended(command))
		return;
	command_signal(command, SIGTERM);
	guard.fd = (int)syscall(SYS_pidfd_open, command->guard, 0); /* Linux 5.3 */
	clock_gettime(CLOCK_MONOTONIC, &now);
	end = now.tv_sec * 1000 + now.tv_nsec / 1000000 + (long)grace_ms;
	do {
		clock_gettime(CLOCK_MONOTONIC, &now);
		left = end - (now.tv_sec * 1000 + now.tv_nsec / 1000000);
	} while (left > 0 && poll(&guard, 1, (int)left) < 0 && errno == EINTR);
	if (guard.fd >= 0)
		close(guard.fd);
	if (!command_has_ended(command)) {
		close(command->control);
		command->control = -1;
		command_wait(command);
	}
}

void command_free(struct command *command)
{
	if (!command)
		return;
	if (command->control >= 0)
		close(command->control); /* the guard kills what is left, and ends */
	close(command->failure);
	if (!command->ended)
		command_wait(command);
	free(command);
}
