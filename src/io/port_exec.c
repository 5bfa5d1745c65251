/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. `exec:COMMAND` gives packets to a program and takes packets from it: one
 * message each, over the socket that it finds as descriptor 3. It is run by /bin/sh -c.
 *
 *      idle --start--> running --its end--> ended --all it had sent is received--> idle
 *        ^                |                                                       or waiting
 *        +--- deadline ---+-- it closed the socket: CLOSED_NS to end, or it is ended by force
 *
 * COMMAND starts when the wire runs, not when the port is opened: by then a careful program has
 * given up its privileges (the tool has), so COMMAND gets no more than the wire itself keeps. And it
 * never gains any: no_new_privs.
 *
 * It has a session of its own, so Ctrl-C at a terminal reaches the wire, which ends it. Its standard
 * input is /dev/null, and its standard output our standard error: ours may be a capture or JSON that
 * somebody reads.
 *
 * A process stands between us and it (guard.c). So all that it started ends with it, and all of it
 * with us, also where we are killed. That process tells of its end, so it takes no SIGCHLD, which is
 * the application's. The thread that runs the wire forks it, so it has the privileges of that.
 *
 * An end with status 0 ends the wire well, as the end of a source does. Any other is an error,
 * which ends the wire: who waits for packets shall not wait for ever. With the restart option it is
 * started again instead, after a while that doubles each time, and is short again once it ran for
 * longer than that.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/error.h"
#include "io/backoff.h"
#include "io/guard.h"
#include "io/port.h"
#include "io/seqpacket.h"
#include "io/wait.h"

#define COMMAND_DESCRIPTOR 3
/* Above all that are given to COMMAND. */
#define HIGH_DESCRIPTOR 16
#define SECOND_NS UINT64_C(1000000000)
#define CLOSED_NS SECOND_NS
/* At close: to notice the end of the socket, and then SIGTERM. */
#define NOTICE_NS SECOND_NS
#define TERMINATE_NS (SECOND_NS / 2)
#define NOT_FOUND 127 /* as a shell tells it */
#define SIGNALLED 128
#define ENVIRONMENT_EXTRA 2 /* variables of ours */

enum phase {
	PHASE_IDLE,
	PHASE_RUNNING,
	PHASE_ENDED,   /* what it sent before is still to be received */
	PHASE_WAITING, /* to be started again at deadline_ns */
	PHASE_FAILED   /* it could not be started: why says it */
};

/* What COMMAND is made of. */
struct birth {
	char *command, **environment;
	int link;
};

struct exec_port {
	char *command;
	enum phase phase;
	struct vn_seqpacket link;
	struct vn_guard guard; /* while it runs */
	struct vn_guard_end end;
	uint64_t started_ns;
	uint64_t deadline_ns; /* waiting: start it; running: end it; VN_PORT_NEVER: none */
	struct vn_backoff backoff;
	struct vnic_error why;
};

static int open_exec(struct vnic_port *port, const char *rest, struct vnic_error *error)
{
	struct exec_port *state;

	if (!rest[strspn(rest, " \t\n")])
		return vn_error(error, -EINVAL, VNIC_CAUSE_ARGUMENT,
				"'%s': which COMMAND shall be run?", port->specification);
	state = calloc(1, sizeof(*state));
	if (!state)
		return vn_error(error, -ENOMEM, VNIC_CAUSE_MEMORY, "no memory for a port");
	*state = (struct exec_port){
		.command = port->specification + (rest - port->specification),
		.link = VN_SEQPACKET_INITIAL,
		.guard = VN_GUARD_NONE,
		.deadline_ns = VN_PORT_NEVER,
	};
	port->state = state;
	return 0;
}

/* Starting. */

/* Is it a variable that COMMAND gets from us? */
static bool is_ours(const char *variable)
{
	return strncmp(variable, "VNIC_FD=", 8) == 0 || strncmp(variable, "VNIC_TYPE=", 10) == 0;
}

/* Between fork() and execve() nothing may be allocated, so all is made before. */
static char **make_environment(const struct vnic_port *port)
{
	static char descriptor[] = "VNIC_FD=3", tun[] = "VNIC_TYPE=tun", tap[] = "VNIC_TYPE=tap";
	size_t count = 0, kept = 0;
	char **variables;

	while (environ && environ[count])
		count++;
	variables = calloc(count + ENVIRONMENT_EXTRA + 1, sizeof(*variables));
	if (!variables)
		return NULL;
	for (size_t i = 0; i < count; i++)
		if (!is_ours(environ[i]))
			variables[kept++] = environ[i];
	variables[kept++] = descriptor;
	variables[kept] = port->layer == VNIC_LAYER_ETHERNET ? tap : tun;
	return variables;
}

/* Give COMMAND its descriptors, and none of ours. Returns whether it could be done. */
static bool place_descriptors(int link)
{
	int null;

	/* Our numbers 0 to 3 may be anything, if we were started without. */
	link = fcntl(link, F_DUPFD_CLOEXEC, HIGH_DESCRIPTOR);
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null >= 0 && null < HIGH_DESCRIPTOR)
		null = fcntl(null, F_DUPFD_CLOEXEC, HIGH_DESCRIPTOR);
	if (link < 0 || null < 0)
		return false;
	if (fcntl(STDERR_FILENO, F_GETFD) < 0)
		dup2(null, STDERR_FILENO);
	dup2(null, STDIN_FILENO);
	dup2(STDERR_FILENO, STDOUT_FILENO);
	if (dup2(link, COMMAND_DESCRIPTOR) < 0)
		return false;
	/* Ours are close-on-exec, but those of the application may not be. Linux 5.9. */
	(void)syscall(SYS_close_range, COMMAND_DESCRIPTOR + 1, ~0U, 0);
	return true;
}

/* In the child. Only what signal-safety(7) allows: other threads may have held any lock. */
static void become(void *argument)
{
	const struct birth *birth = argument;
	char shell[] = "sh", option[] = "-c";
	char *arguments[] = {shell, option, birth->command, NULL};
	sigset_t none;

	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	for (int number = 1; number < NSIG; number++)
		signal(number, SIG_DFL);
	if (!place_descriptors(birth->link))
		_exit(NOT_FOUND);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execve("/bin/sh", arguments, birth->environment);
	_exit(NOT_FOUND);
}

/* Wait for it at most until then. True: it has ended. */
static bool wait_for_end(const struct exec_port *state, uint64_t until_ns)
{
	struct pollfd watch = {.fd = state->guard.control, .events = POLLIN};
	uint64_t now_ns = vn_now_ns();

	for (;;) {
		int count = vn_wait(&watch, 1, now_ns, until_ns);

		if (count != 0)
			return count > 0;
		now_ns = vn_now_ns();
		if (now_ns >= until_ns)
			return false;
	}
}

/* It has ended, or is about to. */
static void reap(struct exec_port *state)
{
	vn_guard_reap(&state->guard, &state->end);
	state->phase = PHASE_ENDED;
	state->deadline_ns = VN_PORT_NEVER;
}

/* Returns 0, or a negative errno: state->why is filled. */
static int start(struct vnic_port *port, uint64_t now_ns)
{
	struct exec_port *state = port->state;
	char **environment = make_environment(port);
	int sockets[2];
	int code = 0;

	if (!environment)
		return vn_error(&state->why, -ENOMEM, VNIC_CAUSE_MEMORY, "no memory to run '%s'",
				state->command);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0) {
		code = -errno;
		free(environment);
		return vn_error_system(&state->why, code, VNIC_CAUSE_LIMIT,
				       "cannot make a socket for '%s'", state->command);
	}
	vn_seqpacket_widen(sockets[1]);
	code = vn_guard_start(&state->guard, become,
			      &(struct birth){state->command, environment, sockets[1]});
	close(sockets[1]);
	free(environment);
	if (code < 0) {
		close(sockets[0]);
		return vn_error_system(&state->why, code, VNIC_CAUSE_LIMIT, "cannot run '%s'",
				       state->command);
	}
	vn_seqpacket_begin(&state->link, sockets[0]);
	state->phase = PHASE_RUNNING;
	state->started_ns = now_ns;
	state->deadline_ns = VN_PORT_NEVER;
	vn_port_tell(port, VNIC_PORT_COMMAND_STARTED, "'%s' runs as process %d", state->command,
		     (int)state->guard.command);
	return 0;
}

static void try_to_start(struct vnic_port *port, uint64_t now_ns)
{
	struct exec_port *state = port->state;
	uint64_t wait_ns;

	if (start(port, now_ns) == 0)
		return;
	if (!port->options.restart) {
		state->phase = PHASE_FAILED;
		state->deadline_ns = VN_PORT_NEVER;
		return;
	}
	wait_ns = vn_backoff_next(&state->backoff);
	state->phase = PHASE_WAITING;
	state->deadline_ns = now_ns + wait_ns;
	vn_port_tell(port, VNIC_PORT_COMMAND_ENDED, "%s; tried again in %g s", state->why.text,
		     (double)wait_ns / 1e9);
}

static uint64_t advance(struct vnic_port *port, uint64_t now_ns)
{
	struct exec_port *state = port->state;

	if (state->phase == PHASE_IDLE ||
	    (state->phase == PHASE_WAITING && now_ns >= state->deadline_ns))
		try_to_start(port, now_ns);
	else if (state->phase == PHASE_RUNNING && now_ns >= state->deadline_ns) {
		vn_guard_signal(&state->guard, SIGKILL); /* the watch tells the rest */
		state->deadline_ns = VN_PORT_NEVER;
	}
	return state->deadline_ns;
}

/* Its end. */

/* "ended with status 3", "was killed by signal 9" */
static void describe_end(const struct exec_port *state, char *text, size_t size)
{
	int number = state->end.number;

	if (!state->end.is_known)
		snprintf(text, size, "ended");
	else if (state->end.is_signal)
		snprintf(text, size, "was killed by signal %d", number);
	else if (number == NOT_FOUND)
		snprintf(text, size, "ended with status %d (command not found)", number);
	else if (number > SIGNALLED) /* what a shell says of the program that it ran */
		snprintf(text, size, "ended with status %d (signal %d)", number,
			 number - SIGNALLED);
	else
		snprintf(text, size, "ended with status %d", number);
}

/* All it had sent is received. As receive. */
static int finish(struct vnic_port *port)
{
	struct exec_port *state = port->state;
	bool is_good = state->end.is_known && !state->end.is_signal && state->end.number == 0;
	char end[96];
	uint64_t now_ns, wait_ns;

	vn_seqpacket_end(&state->link);
	describe_end(state, end, sizeof(end));
	state->phase = PHASE_IDLE;
	if (port->options.restart) {
		now_ns = vn_now_ns();
		if (now_ns - state->started_ns > VN_BACKOFF_MOST_NS)
			vn_backoff_reset(&state->backoff);
		wait_ns = vn_backoff_next(&state->backoff);
		state->phase = PHASE_WAITING;
		state->deadline_ns = now_ns + wait_ns;
		port->deadline_changed = true;
		vn_port_tell(port, VNIC_PORT_COMMAND_ENDED, "'%s' %s; started again in %g s",
			     state->command, end, (double)wait_ns / 1e9);
		return -EAGAIN;
	}
	vn_port_tell(port, VNIC_PORT_COMMAND_ENDED, "'%s' %s", state->command, end);
	if (is_good)
		return -ENODATA;
	return vn_error(&port->queues[0].failure, -ECANCELED, VNIC_CAUSE_HANDLER, "'%s' %s",
			state->command, end);
}

static int receive(struct vnic_port *port, unsigned queue, struct vnic_packet *packets,
		   unsigned count)
{
	struct exec_port *state = port->state;
	int got;

	if (state->phase == PHASE_FAILED) {
		state->phase = PHASE_IDLE;
		port->queues[queue].failure = state->why;
		return state->why.code;
	}
	got = vn_seqpacket_receive(port, &state->link, packets, count);
	if (got > 0)
		return got;
	if (state->phase == PHASE_ENDED)
		return finish(port);
	if (got == -EPIPE) {
		vn_seqpacket_end(&state->link);
		state->deadline_ns = vn_now_ns() + CLOSED_NS;
		port->deadline_changed = true;
	}
	return -EAGAIN;
}

static int send_packets(struct vnic_port *port, unsigned queue, const struct vnic_packet *packets,
			unsigned count)
{
	struct exec_port *state = port->state;

	(void)queue;
	return vn_seqpacket_send(port, &state->link, packets, count);
}

static unsigned room(struct vnic_port *port, unsigned queue)
{
	struct exec_port *state = port->state;

	(void)queue;
	return vn_seqpacket_room(&state->link);
}

static unsigned poll_exec(struct vnic_port *port, unsigned queue, bool want_room,
			  struct pollfd *descriptors)
{
	struct exec_port *state = port->state;
	unsigned count = 0;

	(void)queue;
	if (state->guard.control >= 0) {
		descriptors[count].fd = state->guard.control;
		descriptors[count++].events = POLLIN;
	}
	return count + vn_seqpacket_poll(&state->link, want_room, descriptors + count);
}

static int ready(struct vnic_port *port, unsigned queue, const struct pollfd *descriptors,
		 unsigned count)
{
	struct exec_port *state = port->state;

	(void)queue;
	for (unsigned i = 0; i < count; i++)
		if (descriptors[i].revents && descriptors[i].fd == state->guard.control)
			reap(state);
	return 0;
}

static void close_exec(struct vnic_port *port)
{
	struct exec_port *state = port->state;

	if (!state)
		return;
	vn_seqpacket_end(&state->link); /* it reads what is left, and then sees the end */
	if (state->phase == PHASE_RUNNING) {
		if (!wait_for_end(state, vn_now_ns() + NOTICE_NS)) {
			vn_guard_signal(&state->guard, SIGTERM);
			if (!wait_for_end(state, vn_now_ns() + TERMINATE_NS))
				vn_guard_signal(&state->guard, SIGKILL);
		}
		reap(state);
	}
	free(state);
}

const struct vn_port_kind vn_port_exec = {
	.name = "exec",
	.open = open_exec,
	.close = close_exec,
	.receive = receive,
	.send = send_packets,
	.room = room,
	.poll = poll_exec,
	.ready = ready,
	.advance = advance,
};
