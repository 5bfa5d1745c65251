/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. The guard stands between the tool and the COMMAND so that nothing of the
 * COMMAND is left behind when the tool is killed by SIGKILL, which it cannot notice itself.
 *
 * With --private the guard is process 1 of a PID namespace, and the kernel kills all that is in
 * it. Without, the guard is a subreaper (prctl(2)): whatever the COMMAND started becomes a child
 * of the guard at the latest when its own parent dies, so killing children until there are none
 * leaves nobody. It keeps no descriptor of the tool's but two pipes: the interface goes with the
 * tool.
 *
 * Where the COMMAND ends by itself, the guard ends with its status; what the COMMAND left in the
 * background is then nobody's business, as in a shell.
 *
 * Signals from a terminal reach the COMMAND without our help, since it is in the same process
 * group: only those that somebody sent to us are passed on.
 */
#include "process.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

static const int watched[] = {SIGCHLD, SIGINT, SIGTERM, SIGHUP, SIGQUIT};

/*
 * The child of a fork has every descriptor of its parent's. Those of the tool are all
 * close-on-exec; the others came from whoever started the tool, and are the COMMAND's.
 */
static void close_ours(int control, int failure, int signals)
{
	DIR *directory = opendir("/proc/self/fd");
	const struct dirent *entry;
	int descriptor;

	if (!directory)
		return; /* no /proc: then the interface outlives a SIGKILL by an instant */
	while ((entry = readdir(directory))) {
		descriptor = (int)strtol(entry->d_name, NULL, 10);
		if (descriptor > STDERR_FILENO && descriptor != control && descriptor != failure &&
		    descriptor != signals && descriptor != dirfd(directory) &&
		    fcntl(descriptor, F_GETFD) & FD_CLOEXEC)
			close(descriptor);
	}
	closedir(directory);
}

/* Let go of what is the COMMAND's: a reader at the other end may wait for its end. Linux 5.9. */
static void close_others(int control, int signals)
{
	unsigned low = (unsigned)(control < signals ? control : signals);
	unsigned high = (unsigned)(control < signals ? signals : control);

	if (low > STDERR_FILENO + 1)
		close_range(STDERR_FILENO + 1, low - 1, 0);
	if (high > low + 1)
		close_range(low + 1, high - 1, 0);
	close_range(high + 1, ~0U, 0);
}

/*
 * Let /proc show the processes, and /sys the interfaces, of the new namespaces. Where a container
 * forbids it the old ones stay, and the COMMAND works all the same.
 */
static void mount_views(void)
{
	const unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;

	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return;
	mount("proc", "/proc", "proc", flags, NULL);
	mount("sysfs", "/sys", "sysfs", flags, NULL);
}

static void mount_sys(void)
{
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
		return;
	mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
}

static void tell_failure(int failure, int code)
{
	ssize_t ignored = write(failure, &code, sizeof(code));

	(void)ignored;
}

/*
 * An interactive shell remembers which process group had the terminal, and gives it back when it
 * ends. In a PID namespace the tool's group has no number, and dash fails at that: so let it be the
 * shell's own. SIGTTOU is what a background process gets for asking.
 */
static void take_terminal(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTTOU);
	sigprocmask(SIG_BLOCK, &set, NULL);
	setpgid(0, 0);
	tcsetpgrp(STDIN_FILENO, getpid());
}

static _Noreturn void run_command(const struct guard *guard, pid_t parent, const sigset_t *mask)
{
	struct sigaction action;
	const struct command_options *options = guard->options;
	size_t i;
	int code;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(STATUS_FAILED);
	/* The tool's handlers are ours too until execve(): what comes now must not end in them. */
	for (i = 0; i < sizeof(watched) / sizeof(watched[0]); i++)
		if (sigaction(watched[i], NULL, &action) == 0 && action.sa_handler != SIG_IGN)
			signal(watched[i], SIG_DFL);
	if (guard->has_terminal && options->is_shell)
		take_terminal();
	sigprocmask(SIG_SETMASK, mask, NULL);
	if (options->stdout_is_taken)
		dup2(STDERR_FILENO, STDOUT_FILENO);
	execvp(options->arguments[0], options->arguments);
	code = errno;
	tell_failure(guard->failure, code);
	_exit(code == ENOENT ? STATUS_NOT_FOUND : STATUS_CANNOT_EXECUTE);
}

/* Kill every child there is at this moment. Returns false if there is no knowing. */
static bool kill_children(void)
{
	char text[4096];
	char *next = text, *end;
	ssize_t length;
	int descriptor = open("/proc/thread-self/children", O_RDONLY | O_CLOEXEC);

	if (descriptor < 0)
		return false;
	length = read(descriptor, text, sizeof(text) - 1);
	close(descriptor);
	if (length < 0)
		return false;
	text[length] = 0;
	for (;;) {
		long pid = strtol(next, &end, 10);

		if (pid <= 0 || *end != ' ') /* the last may be cut off */
			return true;
		kill((pid_t)pid, SIGKILL);
		next = end;
	}
}

static _Noreturn void end_all(pid_t command)
{
	if (getpid() == 1) /* the kernel does it */
		_exit(STATUS_SIGNAL + SIGKILL);
	do {
		if (!kill_children())
			kill(command, SIGKILL);
	} while (wait(NULL) > 0);
	_exit(STATUS_SIGNAL + SIGKILL);
}

/* Reap whatever ended; leave when it is the COMMAND. */
static void reap(pid_t command)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid != command)
			continue;
		_exit(WIFEXITED(status) ? WEXITSTATUS(status) : STATUS_SIGNAL + WTERMSIG(status));
	}
}

static void handle_signal(int descriptor, pid_t command)
{
	struct signalfd_siginfo info;

	if (read(descriptor, &info, sizeof(info)) != (ssize_t)sizeof(info))
		return;
	if (info.ssi_signo == SIGCHLD)
		reap(command);
	else if (info.ssi_code != SI_KERNEL)
		kill(command, (int)info.ssi_signo);
}

static void handle_control(int descriptor, pid_t command)
{
	uint8_t number;
	ssize_t length = read(descriptor, &number, 1);

	if (length == 0)
		end_all(command);
	if (length == 1 && number)
		kill(command, number);
}

/* Returns when it shall begin. */
static void wait_for_go(int control)
{
	uint8_t number;
	ssize_t length;

	do
		length = read(control, &number, 1);
	while (length < 0 && errno == EINTR);
	if (length != 1 || number)
		_exit(STATUS_FAILED);
}

static int open_signals(sigset_t *before)
{
	sigset_t set;
	size_t i;

	sigemptyset(&set);
	for (i = 0; i < sizeof(watched) / sizeof(watched[0]); i++)
		sigaddset(&set, watched[i]);
	sigprocmask(SIG_BLOCK, &set, before);
	return signalfd(-1, &set, SFD_CLOEXEC);
}

void guard_run(const struct guard *guard)
{
	sigset_t mask;
	struct pollfd polled[2] = {{.fd = guard->control, .events = POLLIN},
				   {.fd = open_signals(&mask), .events = POLLIN}};
	pid_t command, self = getpid();

	prctl(PR_SET_NAME, "vnic-guard");
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	if (polled[1].fd < 0)
		_exit(STATUS_FAILED);
	close_ours(polled[0].fd, guard->failure, polled[1].fd);
	if (guard->options->is_private)
		mount_views();
	else if (guard->options->in_netns)
		mount_sys();
	wait_for_go(guard->control);
	command = fork();
	if (command == 0)
		run_command(guard, self, &mask);
	if (command < 0) {
		tell_failure(guard->failure, errno);
		_exit(STATUS_CANNOT_EXECUTE);
	}
	close_others(polled[0].fd, polled[1].fd);
	for (;;) {
		if (poll(polled, 2, -1) < 0)
			continue;
		if (polled[1].revents)
			handle_signal(polled[1].fd, command);
		if (polled[0].revents)
			handle_control(polled[0].fd, command);
	}
}
