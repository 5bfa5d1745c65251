/* SPDX-License-Identifier: MIT */
/*
 * exec:, with a shell's one-liners as COMMAND and the test as the peer at the other end of the wire.
 * A printf or cat whose output is descriptor 3 sends one message for each write.
 */
#include "wired.h"

#include <sys/resource.h>
#include <sys/wait.h>

static char directory[] = "/tmp/vnic-exec.XXXXXX";
static char path[sizeof(directory) + 16], port[sizeof(path) + 16];
static unsigned wires;
static uint8_t out[VNIC_PACKET_BYTES], in[VNIC_PACKET_BYTES + 1];
static const struct vnic_port_options restart = {.restart = true};

static int set_up(void **state)
{
	(void)state;
	if (!mkdtemp(directory))
		return -1;
	for (size_t i = 0; i < sizeof(out); i++)
		out[i] = (uint8_t)(i * 7 + (i >> 8));
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	return rmdir(directory);
}

/* Run COMMAND. Returns the peer. Each wire has a path of its own, or one failure led to others. */
static int begin(struct wired *wired, const char *specification,
		 const struct vnic_port_options *options)
{
	int peer;

	snprintf(path, sizeof(path), "%s/wire%u", directory, wires++);
	snprintf(port, sizeof(port), "unix-listen:%s", path);
	wired_open(wired, specification, port, options);
	peer = wired_socket(path, false);
	wired_start(wired);
	return peer;
}

/* It shall end by itself, or be stopped. */
static void end(struct wired *wired, int peer, bool stop, int code, const char *text)
{
	int got = stop ? wired_stop(wired) : wired_join(wired);

	if (got != code)
		fail_msg("the wire ended with %d (%s), not with %d", got,
			 got < 0 ? wired->error.text : "", code);
	if (code < 0) {
		assert_int_equal(wired->error.cause, VNIC_CAUSE_HANDLER);
		if (!strstr(wired->error.text, text))
			fail_msg("'%s' does not say '%s'", wired->error.text, text);
	}
	wired_check(wired);
	wired_close(wired);
	close(peer);
}

/* The next message, as text. */
static const char *receive_text(int peer)
{
	ssize_t length = wired_receive(peer, in, sizeof(in) - 1);

	assert_true(length >= 0);
	in[length] = 0;
	return (const char *)in;
}

static bool is_alive(pid_t pid)
{
	char name[64], text[512] = "";
	FILE *file;

	snprintf(name, sizeof(name), "/proc/%d/stat", (int)pid);
	file = fopen(name, "r");
	if (!file)
		return false;
	if (!fgets(text, sizeof(text), file))
		text[0] = 0;
	fclose(file);
	return strstr(text, ") ") && !strstr(text, ") Z ") && !strstr(text, ") X ");
}

static void wait_until_dead(pid_t pid)
{
	for (unsigned i = 0; is_alive(pid); i++) {
		if (i > PATIENCE_MS)
			fail_msg("process %d lives on", (int)pid);
		poll(NULL, 0, 1);
	}
}

/* Wait until nobody is left in its process group (init reaps when it likes to). */
static void wait_until_alone(pid_t group)
{
	for (unsigned i = 0; kill(-group, 0) == 0; i++) {
		if (i > PATIENCE_MS)
			fail_msg("somebody of process group %d lives on", (int)group);
		poll(NULL, 0, 1);
	}
}

static void echo(void **state)
{
	static const size_t lengths[] = {1, 20, 1500, 9000, 65535, VNIC_PACKET_BYTES};
	struct wired wired;
	int peer = begin(&wired, "exec:cat <&3 >&3", NULL);

	(void)state;
	wired_wait(&wired, VNIC_PORT_COMMAND_STARTED, 1, "'cat <&3 >&3' runs as process ");
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		wired_send(peer, out, lengths[i]);
		assert_int_equal(wired_receive(peer, in, sizeof(in)), lengths[i]);
		assert_memory_equal(in, out, lengths[i]);
	}
	end(&wired, peer, true, 0, NULL);
}

static void environment(void **state)
{
	struct wired wired;
	int peer;

	(void)state;
	setenv("VNIC_FD", "77", 1);
	setenv("VNIC_TYPE", "nonsense", 1);
	setenv("VNIC_TEST_OTHER", "kept", 1);
	peer = begin(&wired, "exec:printf '%s ' $VNIC_FD $VNIC_TYPE $VNIC_TEST_OTHER >&3", NULL);
	assert_string_equal(receive_text(peer), "3 tun kept ");
	end(&wired, peer, false, 0, NULL);
	unsetenv("VNIC_FD");
	unsetenv("VNIC_TYPE");
	unsetenv("VNIC_TEST_OTHER");
}

/* It has 0 to 3 and no other, whatever the application left open. */
static void descriptors(void **state)
{
	struct wired wired;
	int left_open[2], peer;

	(void)state;
	assert_int_equal(pipe(left_open), 0);
	peer = begin(&wired,
		     "exec:m=; for f in /proc/$$/fd/*; do [ -e $f ] && m=\"$m${f##*/} \"; done; "
		     "m=\"$m$(readlink /proc/$$/fd/0)\"; printf %s \"$m\" >&3",
		     NULL);
	assert_string_equal(receive_text(peer), "0 1 2 3 /dev/null");
	end(&wired, peer, false, 0, NULL);
	close(left_open[0]);
	close(left_open[1]);
}

/*
 * Signals 32 and 33 are the C library's own: it lets nobody change them, so a COMMAND inherits
 * whatever the test was started with.
 */
static unsigned long long ignored_for_good(void)
{
	const unsigned long long internal = 3ULL << 31;
	unsigned long long ignored = 0;
	char line[256];
	FILE *file = fopen("/proc/self/status", "re");

	assert_non_null(file);
	while (fgets(line, sizeof(line), file))
		if (strncmp(line, "SigIgn:", 7) == 0)
			ignored = strtoull(line + 7, NULL, 16);
	fclose(file);
	return ignored & internal;
}

static void signals_and_privileges(void **state)
{
	char expected[128];
	struct wired wired;
	sigset_t blocked, before;
	int peer;

	(void)state;
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGUSR2);
	pthread_sigmask(SIG_BLOCK, &blocked, &before);
	signal(SIGUSR1, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	peer = begin(&wired,
		     "exec:m=$(grep -E '^(SigBlk|SigIgn|NoNewPrivs)' /proc/self/status | "
		     "tr -d '\\t\\n'); printf %s \"$m\" >&3",
		     NULL);
	snprintf(expected, sizeof(expected), "SigBlk:0000000000000000SigIgn:%016llxNoNewPrivs:1",
		 ignored_for_good());
	assert_string_equal(receive_text(peer), expected);
	end(&wired, peer, false, 0, NULL);
	signal(SIGPIPE, SIG_DFL);
	signal(SIGUSR1, SIG_DFL);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* What it sent just before it ended comes through. */
static void ends_well(void **state)
{
	struct wired wired;
	int peer = begin(&wired, "exec:for i in 1 2 3; do printf last >&3; done", NULL);

	(void)state;
	for (unsigned i = 0; i < 3; i++)
		assert_string_equal(receive_text(peer), "last");
	wired_wait(&wired, VNIC_PORT_COMMAND_ENDED, 1, "ended with status 0");
	end(&wired, peer, false, 0, NULL);
}

static void ends_badly(void **state)
{
	static const char *const commands[][2] = {
		{"exec:printf last >&3; exit 3", "ended with status 3"},
		{"exec:printf last >&3; kill -9 $$", "was killed by signal 9"},
		{"exec:printf last >&3; /nowhere/at/all", "status 127 (command not found)"},
	};
	struct wired wired;

	(void)state;
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		int peer = begin(&wired, commands[i][0], NULL);

		assert_string_equal(receive_text(peer), "last");
		wired_wait(&wired, VNIC_PORT_COMMAND_ENDED, 1, commands[i][1]);
		end(&wired, peer, false, -ECANCELED, commands[i][1]);
	}
}

static void no_command(void **state)
{
	struct vnic_port *none = NULL;
	struct vnic_error error;

	(void)state;
	assert_int_equal(vnic_port_open("exec:", NULL, &none, &error), -EINVAL);
	assert_int_equal(vnic_port_open("exec: \t", NULL, &none, &error), -EINVAL);
	assert_int_equal(error.cause, VNIC_CAUSE_ARGUMENT);
	assert_null(none);
}

static void restarted(void **state)
{
	struct wired wired;
	int peer = begin(&wired, "exec:printf %s $$ >&3; exit 1", &restart);
	long last = 0;

	(void)state;
	for (unsigned i = 1; i <= 3; i++) {
		long pid = strtol(receive_text(peer), NULL, 10);

		assert_int_not_equal(pid, last);
		last = pid;
		wired_wait(&wired, VNIC_PORT_COMMAND_STARTED, i, "runs as process");
		wired_wait(&wired, VNIC_PORT_COMMAND_ENDED, i,
			   i == 1   ? "started again in 0.1 s"
			   : i == 2 ? "started again in 0.2 s"
				    : "started again in 0.4 s");
	}
	end(&wired, peer, true, 0, NULL);
}

/* Killed with its children, it is told and started again; packets meanwhile are counted. */
static void killed_and_restarted(void **state)
{
	struct wired wired;
	int peer = begin(&wired, "exec:sleep 1000 & printf '%s %s' $$ $! >&3; exec cat <&3 >&3",
			 &restart);
	long pid, child;
	char *rest;

	(void)state;
	for (unsigned i = 1; i <= 2; i++) {
		pid = strtol(receive_text(peer), &rest, 10);
		child = strtol(rest, NULL, 10);
		assert_true(pid > 1 && child > 1);
		wired_send(peer, out, 100);
		assert_int_equal(wired_receive(peer, in, sizeof(in)), 100);
		assert_true(is_alive((pid_t)child));
		assert_int_equal(kill((pid_t)pid, SIGKILL), 0);
		wired_wait(&wired, VNIC_PORT_COMMAND_ENDED, i, "was killed by signal 9; started");
		wait_until_dead((pid_t)child);
		wired_send(peer, out, 50);
		wired_wait_counter(&wired, 0, VNIC_PORT_DROP_NO_PEER, i);
	}
	end(&wired, peer, true, 0, NULL);
}

/* It closed its end of the socket: that is no way to go on. */
static void closes_the_socket(void **state)
{
	struct wired wired;
	int peer = begin(&wired, "exec:exec 3>&-; sleep 1000", NULL);

	(void)state;
	end(&wired, peer, false, -ECANCELED, "was killed by signal 9");
}

/* Nothing is left behind, whatever COMMAND does about the end of the wire. */
static void ended_at_close(void **state)
{
	static const char *const commands[] = {
		"exec:printf %s $$ >&3; cat <&3",       /* sees the end of the socket */
		"exec:printf %s $$ >&3; sleep 1000; :", /* SIGTERM */
		"exec:trap '' TERM; printf %s $$ >&3; while :; do sleep 1000; done", /* SIGKILL */
		"exec:printf %s $$ >&3; kill -STOP $$",
	};
	struct wired wired;

	(void)state;
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		int peer = begin(&wired, commands[i], NULL);
		pid_t pid = (pid_t)strtol(receive_text(peer), NULL, 10);

		assert_true(pid > 1);
		end(&wired, peer, true, 0, NULL);
		assert_false(is_alive(pid));
		wait_until_alone(pid);
	}
}

/* It reads what is left in its socket before it sees the end. */
static void reads_to_the_end(void **state)
{
	char command[128], result[sizeof(directory) + 16], text[32] = "";
	struct wired wired;
	FILE *file;
	int peer;

	(void)state;
	snprintf(result, sizeof(result), "%s/result", directory);
	snprintf(command, sizeof(command), "exec:printf go >&3; sleep 0.2; cat <&3 | wc -c > %s",
		 result);
	peer = begin(&wired, command, NULL);
	assert_string_equal(receive_text(peer), "go");
	for (unsigned i = 0; i < 50; i++)
		wired_send(peer, out, 1000);
	wired_wait_counter(&wired, 0, VNIC_PORT_OUT_PACKETS, 50);
	end(&wired, peer, true, 0, NULL);
	file = fopen(result, "r");
	assert_non_null(file);
	assert_non_null(fgets(text, sizeof(text), file));
	fclose(file);
	unlink(result);
	assert_int_equal(strtol(text, NULL, 10), 50000);
}

/*
 * COMMAND, and what it started: that is nobody's child any more, has a session of its own, ignores
 * what can be ignored, and does not look at the socket. Both send their numbers.
 */
#define FAMILY                                                                                     \
	"exec:trap '' TERM HUP INT; (setsid sh -c 'printf \"%s \" $$ >&3; exec 3>&-; sleep 1000; " \
	":' "                                                                                      \
	"&); printf \"%s \" $$ >&3; "

#define WAIT_FOR_WORD "dd bs=100 count=1 <&3 >/dev/null 2>&1; "

static void receive_family(int peer, pid_t family[2])
{
	for (unsigned i = 0; i < 2; i++) {
		family[i] = (pid_t)strtol(receive_text(peer), NULL, 10);
		assert_true(family[i] > 1);
	}
}

/* Whether COMMAND ends by itself, is killed, or is ended with the wire. */
static void family_ends(void **state)
{
	static const char *const commands[] = {
		FAMILY WAIT_FOR_WORD "exit 0",
		FAMILY WAIT_FOR_WORD "kill -9 $$",
		FAMILY WAIT_FOR_WORD "sleep 1000",
	};
	struct wired wired;
	pid_t family[2];

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		int peer = begin(&wired, commands[i], NULL);

		receive_family(peer, family);
		wired_send(peer, out, 20);
		end(&wired, peer, i == 2, i == 1 ? -ECANCELED : 0, "was killed by signal 9");
		assert_false(is_alive(family[0]));
		assert_false(is_alive(family[1]));
	}
}

/* The program that has the wire is killed: none of them outlives it. */
static void dies_with_us(void **state)
{
	struct wired wired;
	int peer, pipes[2], status;
	pid_t child, family[2] = {0};

	(void)state;
	assert_int_equal(pipe(pipes), 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		peer = begin(&wired, FAMILY "exec sleep 1000", NULL);
		receive_family(peer, family);
		if (write(pipes[1], family, sizeof(family)) != (ssize_t)sizeof(family))
			_exit(1);
		for (;;)
			pause();
	}
	assert_int_equal(read(pipes[0], family, sizeof(family)), sizeof(family));
	assert_true(is_alive(family[0]) && is_alive(family[1]));
	assert_int_equal(kill(child, SIGKILL), 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	wait_until_dead(family[0]);
	wait_until_dead(family[1]);
	close(pipes[0]);
	close(pipes[1]);
	snprintf(path, sizeof(path), "%s/wire%u", directory, wires++);
	assert_int_equal(unlink(path), 0);
}

/* An application that reaps all children takes the status from us, and nothing else. */
static void sigchld_is_ignored(void **state)
{
	struct wired wired;
	int peer;

	(void)state;
	signal(SIGCHLD, SIG_IGN);
	peer = begin(&wired, "exec:printf hello >&3; exit 3", &restart);
	assert_string_equal(receive_text(peer), "hello");
	assert_string_equal(receive_text(peer), "hello");
	wired_wait(&wired, VNIC_PORT_COMMAND_ENDED, 1, "started again");
	end(&wired, peer, true, 0, NULL);
	signal(SIGCHLD, SIG_DFL);
}

static void cannot_be_started(void **state)
{
	struct rlimit limit, none;
	struct wired wired;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = limit;
	none.rlim_cur = 3;
	for (unsigned i = 0; i < 2; i++) {
		wired_open(&wired, "exec:cat <&3 >&3", "discard:", i == 0 ? NULL : &restart);
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
		wired_start(&wired);
		if (i == 0) {
			assert_int_equal(wired_join(&wired), -EMFILE);
			assert_int_equal(wired.error.cause, VNIC_CAUSE_LIMIT);
		} else {
			wired_wait(&wired, VNIC_PORT_COMMAND_ENDED, 2, "tried again in 0.2 s");
		}
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
		if (i == 1) {
			wired_wait(&wired, VNIC_PORT_COMMAND_STARTED, 1, "runs");
			assert_int_equal(wired_stop(&wired), 0);
		}
		wired_close(&wired);
	}
}

/* A wire may run more than once. */
static void runs_again(void **state)
{
	struct wired wired;
	int peer = begin(&wired, "exec:printf hello >&3", NULL);

	(void)state;
	assert_string_equal(receive_text(peer), "hello");
	assert_int_equal(wired_join(&wired), 0);
	wired_start(&wired);
	assert_string_equal(receive_text(peer), "hello");
	end(&wired, peer, false, 0, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(echo),
		cmocka_unit_test(environment),
		cmocka_unit_test(descriptors),
		cmocka_unit_test(signals_and_privileges),
		cmocka_unit_test(ends_well),
		cmocka_unit_test(ends_badly),
		cmocka_unit_test(no_command),
		cmocka_unit_test(restarted),
		cmocka_unit_test(killed_and_restarted),
		cmocka_unit_test(closes_the_socket),
		cmocka_unit_test(ended_at_close),
		cmocka_unit_test(reads_to_the_end),
		cmocka_unit_test(family_ends),
		cmocka_unit_test(dies_with_us),
		cmocka_unit_test(sigchld_is_ignored),
		cmocka_unit_test(cannot_be_started),
		cmocka_unit_test(runs_again),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
