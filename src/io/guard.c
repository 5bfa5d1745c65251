/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. We cannot notice a SIGKILL, and PR_SET_PDEATHSIG reaches a child but not
 * what that has started. So a process stands between us and the one that we start, the command. It
 * is a subreaper (prctl(2)): whatever the command started becomes a child of the guard at the latest
 * when its own parent dies, whichever session it has and whatever signals it ignores. So killing
 * children until there are none leaves nobody.
 *
 *     we <--- control: a socket ---> guard ---> command ---> whatever it starts
 *
 * It keeps none of our descriptors but its end of the control socket, on which it reads signals to
 * pass on. The end of that socket is our own end, and then it kills everything. It does the same when
 * the command has ended, tells how that was, and ends.
 *
 * It does no more than signal-safety(7) allows, for it is the child of a program with threads.
 * (tool/guard.c does the same for the tool's COMMAND, from a program that has none yet.)
 */
#include "io/guard.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define DESCRIPTORS_MOST 1024 /* where there is no close_range(2) */
#define FAILED 127

/* What the guard tells: first that the command was started, or why not; then how it ended. */
struct message {
	int32_t code; /* 0, or a negative errno */
	int32_t pid;
	struct vn_guard_end end;
};

/* In the guard. */

static void close_range_of(unsigned first, unsigned last)
{
	if (first > last || syscall(SYS_close_range, first, last, 0) == 0) /* Linux 5.9 */
		return;
	for (unsigned i = first; i <= last && i < DESCRIPTORS_MOST; i++)
		close((int)i);
}

static void close_others(int one, int other)
{
	unsigned low = (unsigned)(one < other ? one : other);
	unsigned high = (unsigned)(one < other ? other : one);

	if (low > 0)
		close_range_of(0, low - 1);
	close_range_of(low + 1, high - 1);
	close_range_of(high + 1, ~0U);
}

static void tell(int control, const struct message *message)
{
	ssize_t ignored = send(control, message, sizeof(*message), MSG_NOSIGNAL);

	(void)ignored; /* whom it does not reach has ended */
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

static _Noreturn void end_all(int control, pid_t command)
{
	struct message message = {.code = 0};
	siginfo_t status;

	kill(-command, SIGKILL);
	kill(command, SIGKILL);
	for (;;) {
		bool can_know = kill_children();

		memset(&status, 0, sizeof(status));
		if (waitid(P_ALL, 0, &status, WEXITED) < 0 && errno != EINTR)
			break;
		if (status.si_pid != command)
			continue;
		message.end.is_known = true;
		message.end.is_signal = status.si_code != CLD_EXITED;
		message.end.number = status.si_status;
		if (!can_know) /* others may never end */
			break;
	}
	tell(control, &message);
	_exit(0);
}

/* Has the command ended? It keeps its number until it is reaped, so it can be killed by that. */
static bool has_ended(int signals, pid_t command)
{
	struct signalfd_siginfo ignored;
	siginfo_t status = {.si_pid = 0};

	while (read(signals, &ignored, sizeof(ignored)) > 0)
		;
	if (waitid(P_PID, (id_t)command, &status, WEXITED | WNOHANG | WNOWAIT) < 0)
		return true;
	if (status.si_pid == command)
		return true;
	/* Others that were left to us are reaped when they end. */
	for (;;) {
		memset(&status, 0, sizeof(status));
		if (waitid(P_ALL, 0, &status, WEXITED | WNOHANG | WNOWAIT) < 0 ||
		    status.si_pid == 0)
			return false;
		if (status.si_pid == command)
			return true;
		waitid(P_PID, (id_t)status.si_pid, &status, WEXITED | WNOHANG);
	}
}

static _Noreturn void watch(int control, int signals, pid_t command)
{
	struct pollfd polled[2] = {{.fd = control, .events = POLLIN},
				   {.fd = signals, .events = POLLIN}};

	for (;;) {
		uint8_t number;
		ssize_t length;

		if (poll(polled, 2, -1) < 0)
			continue;
		if (polled[1].revents && has_ended(signals, command))
			end_all(control, command);
		if (!polled[0].revents)
			continue;
		length = recv(control, &number, sizeof(number), MSG_DONTWAIT);
		if (length < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (length != 1 || number == SIGKILL)
			end_all(control, command);
		if (kill(-command, number) < 0) /* it has not called setsid() yet */
			kill(command, number);
	}
}

static _Noreturn void be_guard(int control, void (*become)(void *argument), void *argument)
{
	struct message message = {.code = 0};
	pid_t self = getpid();
	sigset_t set;
	int signals;

	setsid(); /* Ctrl-C is none of its business */
	prctl(PR_SET_NAME, "vnic-guard", 0, 0, 0);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	signal(SIGCHLD, SIG_DFL); /* who ignores it has no children to wait for */
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (signals < 0 || prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0) {
		message.code = -errno;
		tell(control, &message);
		_exit(FAILED);
	}
	message.pid = _Fork();
	if (message.pid == 0) {
		setsid();
		prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
		if (getppid() == self) /* it did not die before that */
			become(argument);
		_exit(FAILED);
	}
	if (message.pid < 0)
		message.code = -errno;
	tell(control, &message);
	if (message.pid < 0)
		_exit(FAILED);
	close_others(control, signals);
	watch(control, signals, message.pid);
}

/* Before it and behind it. */

/* The next message. Returns whether there was one. */
static bool hear(int control, struct message *message)
{
	ssize_t length;

	do
		length = recv(control, message, sizeof(*message), 0);
	while (length < 0 && errno == EINTR);
	return length == (ssize_t)sizeof(*message);
}

/* Wait for the guard itself. Where the application reaps every child there is nothing to wait for. */
static void wait_for(pid_t guard)
{
	siginfo_t status;

	while (waitid(P_PID, (id_t)guard, &status, WEXITED) < 0 && errno == EINTR)
		;
}

int vn_guard_start(struct vn_guard *guard, void (*become)(void *argument), void *argument)
{
	struct message message = {.code = -ECHILD};
	sigset_t all, before;
	int sockets[2], code;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0)
		return -errno;
	/* One that came now would end in a handler of ours in the child. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pid = fork();
	code = -errno;
	if (pid == 0) {
		close(sockets[0]);
		be_guard(sockets[1], become, argument);
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	close(sockets[1]);
	if (pid > 0) {
		code = hear(sockets[0], &message) ? message.code : -ECHILD;
		if (code < 0)
			wait_for(pid);
	}
	if (code < 0 || pid < 0) {
		close(sockets[0]);
		return code;
	}
	*guard = (struct vn_guard){
		.control = sockets[0], .guard = pid, .command = (pid_t)message.pid};
	return 0;
}

void vn_guard_signal(const struct vn_guard *guard, int number)
{
	uint8_t byte = (uint8_t)number;
	ssize_t ignored;

	if (guard->control < 0)
		return;
	ignored = send(guard->control, &byte, sizeof(byte), MSG_NOSIGNAL);
	(void)ignored; /* where it has ended there is nobody to send it to */
}

void vn_guard_reap(struct vn_guard *guard, struct vn_guard_end *end)
{
	struct message message = {.code = 0};

	if (!hear(guard->control, &message))
		message.end.is_known = false;
	*end = message.end;
	wait_for(guard->guard);
	close(guard->control);
	*guard = VN_GUARD_NONE;
}
