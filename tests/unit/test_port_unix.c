/* SPDX-License-Identifier: MIT */
/* unix: and unix-listen:, with the test as the peer. No privileges, and nothing but a directory. */
#include "wired.h"

#include <sys/resource.h>

static char directory[] = "/tmp/vnic-unix.XXXXXX";
static char first[sizeof(directory) + 16], second[sizeof(directory) + 16];
static uint8_t out[VNIC_PACKET_BYTES + 10], in[VNIC_PACKET_BYTES + 10];

static int set_up(void **state)
{
	(void)state;
	if (!mkdtemp(directory))
		return -1;
	snprintf(first, sizeof(first), "%s/first", directory);
	snprintf(second, sizeof(second), "%s/second", directory);
	for (size_t i = 0; i < sizeof(out); i++)
		out[i] = (uint8_t)(i * 7 + (i >> 8));
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	return rmdir(directory); /* fails where a socket was left behind */
}

static const char *listen_at(const char *path)
{
	static char text[2][64];
	static unsigned next;
	char *made = text[next++ % 2];

	snprintf(made, sizeof(text[0]), "unix-listen:%s", path);
	return made;
}

static const char *connect_to(const char *path)
{
	static char text[64];

	snprintf(text, sizeof(text), "unix:%s", path);
	return text;
}

/* Two listeners that are joined, and a peer at each. */
static void open_pair(struct wired *wired, int peers[2])
{
	wired_open(wired, listen_at(first), listen_at(second), NULL);
	wired_start(wired);
	peers[0] = wired_socket(first, false);
	peers[1] = wired_socket(second, false);
	wired_wait(wired, VNIC_PORT_CONNECTED, 2, "process");
}

static void close_pair(struct wired *wired, int peers[2])
{
	assert_int_equal(wired_stop(wired), 0);
	wired_check(wired);
	wired_close(wired);
	close(peers[0]);
	close(peers[1]);
}

static void every_length(void **state)
{
	static const size_t lengths[] = {1,    2,     19,    20,    1499,  1500,
					 4096, 16384, 65534, 65535, 65549, VNIC_PACKET_BYTES};
	struct wired wired;
	int peers[2];

	(void)state;
	open_pair(&wired, peers);
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++)
		for (unsigned from = 0; from < 2; from++) {
			wired_send(peers[from], out, lengths[i]);
			assert_int_equal(wired_receive(peers[1 - from], in, sizeof(in)),
					 lengths[i]);
			assert_memory_equal(in, out, lengths[i]);
		}
	assert_int_equal(wired_counter(&wired, 0, VNIC_PORT_IN_PACKETS), 12);
	close_pair(&wired, peers);
}

static void too_long_and_empty(void **state)
{
	struct wired wired;
	int peers[2];

	(void)state;
	open_pair(&wired, peers);
	wired_send(peers[0], out, VNIC_PACKET_BYTES + 1);
	wired_send(peers[0], out, VNIC_PACKET_BYTES + 10);
	wired_send(peers[0], out, 0);
	wired_send(peers[0], out, 0);
	wired_send(peers[0], out, 33);
	wired_send(peers[0], out, 0);
	assert_int_equal(wired_receive(peers[1], in, sizeof(in)), 33);
	wired_wait_counter(&wired, 0, VNIC_PORT_DROP_MALFORMED, 3);
	assert_int_equal(wired_counter(&wired, 0, VNIC_PORT_DROP_TRUNCATED), 2);
	assert_int_equal(wired_counter(&wired, 0, VNIC_PORT_IN_PACKETS), 6);
	assert_int_equal(wired_counter(&wired, 0, VNIC_PORT_IN_BYTES),
			 2 * VNIC_PACKET_BYTES + 11 + 33);
	close_pair(&wired, peers);
}

/* Whoever goes may come back, and packets meanwhile are counted. */
static void peer_comes_back(void **state)
{
	struct wired wired;
	int peers[2];

	(void)state;
	open_pair(&wired, peers);
	for (unsigned i = 1; i <= 3; i++) {
		wired_send(peers[1], "last", 4); /* what it sent before it went is not lost */
		close(peers[1]);
		assert_int_equal(wired_receive(peers[0], in, sizeof(in)), 4);
		wired_wait(&wired, VNIC_PORT_DISCONNECTED, i, "is gone");
		wired_send(peers[0], out, 100);
		wired_wait_counter(&wired, 1, VNIC_PORT_DROP_NO_PEER, i);
		peers[1] = wired_socket(second, false);
		wired_wait(&wired, VNIC_PORT_CONNECTED, 2 + i, second);
		wired_send(peers[0], out, 100 + i);
		assert_int_equal(wired_receive(peers[1], in, sizeof(in)), 100 + i);
	}
	close_pair(&wired, peers);
}

/* The kernel tells ECONNRESET before it gives what was sent. */
static void peer_goes_without_reading(void **state)
{
	struct wired wired;
	int peers[2];

	(void)state;
	open_pair(&wired, peers);
	wired_send(peers[0], out, 77);
	wired_wait_counter(&wired, 1, VNIC_PORT_OUT_PACKETS, 1);
	wired_send(peers[1], "last", 4);
	close(peers[1]);
	assert_int_equal(wired_receive(peers[0], in, sizeof(in)), 4);
	wired_wait(&wired, VNIC_PORT_DISCONNECTED, 1, second);
	peers[1] = wired_socket(second, false);
	wired_wait(&wired, VNIC_PORT_CONNECTED, 3, second);
	close_pair(&wired, peers);
}

/* The second waits for its turn. */
static void one_peer_at_a_time(void **state)
{
	struct wired wired;
	int peers[2], next;

	(void)state;
	open_pair(&wired, peers);
	next = wired_socket(second, false);
	wired_send(next, "early", 5);
	wired_send(peers[1], "own", 3);
	assert_int_equal(wired_receive(peers[0], in, sizeof(in)), 3);
	wired_send(peers[0], out, 50);
	assert_int_equal(wired_receive(peers[1], in, sizeof(in)), 50);
	assert_int_equal(recv(next, in, sizeof(in), MSG_DONTWAIT), -1);
	close(peers[1]);
	peers[1] = next;
	assert_int_equal(wired_receive(peers[0], in, sizeof(in)), 5);
	wired_send(peers[0], out, 60);
	assert_int_equal(wired_receive(next, in, sizeof(in)), 60);
	close_pair(&wired, peers);
}

/* Nobody reads: what does not fit is dropped as full, and every packet is somewhere. */
static void peer_does_not_read(void **state)
{
	struct wired wired;
	uint64_t sent = 0;
	unsigned got = 0;
	int peers[2];

	(void)state;
	open_pair(&wired, peers);
	while (wired_counter(&wired, 1, VNIC_PORT_DROP_FULL) < 10) {
		wired_send(peers[0], out, 1500);
		sent++;
		assert_true(sent < 1000000);
	}
	wired_wait_counter(&wired, 0, VNIC_PORT_IN_PACKETS, sent);
	assert_int_equal(wired_stop(&wired), 0);
	wired_check(&wired);
	while (recv(peers[1], in, sizeof(in), MSG_DONTWAIT) == 1500)
		got++;
	assert_int_equal(got, wired_counter(&wired, 1, VNIC_PORT_OUT_PACKETS));
	wired_close(&wired);
	close(peers[0]);
	close(peers[1]);
}

static void connects_again(void **state)
{
	struct wired wired;
	int peers[2], listener;

	(void)state;
	wired_open(&wired, listen_at(first), connect_to(second), NULL);
	wired_start(&wired);
	peers[0] = wired_socket(first, false);
	wired_wait(&wired, VNIC_PORT_DISCONNECTED, 1, "No such file or directory");
	wired_send(peers[0], out, 10);
	wired_wait_counter(&wired, 1, VNIC_PORT_DROP_NO_PEER, 1);
	for (unsigned i = 1; i <= 2; i++) {
		listener = wired_socket(second, true);
		peers[1] = accept(listener, NULL, NULL);
		assert_true(peers[1] >= 0);
		wired_wait(&wired, VNIC_PORT_CONNECTED, 1 + i, second);
		wired_send(peers[0], out, 20);
		assert_int_equal(wired_receive(peers[1], in, sizeof(in)), 20);
		wired_send(peers[1], out, 30);
		assert_int_equal(wired_receive(peers[0], in, sizeof(in)), 30);
		close(listener);
		close(peers[1]);
		/* It is gone; and then, once only, that it refuses. */
		wired_wait(&wired, VNIC_PORT_DISCONNECTED, 2 * i, "is gone");
		wired_wait(&wired, VNIC_PORT_DISCONNECTED, 2 * i + 1, "Connection refused");
		assert_int_equal(unlink(second), 0);
	}
	assert_int_equal(wired_stop(&wired), 0);
	wired_check(&wired);
	wired_close(&wired);
	close(peers[0]);
}

/* The files. */

static int try_to_listen(const char *path, struct vnic_error *error)
{
	struct vnic_port *port = NULL;
	int code = vnic_port_open(listen_at(path), NULL, &port, error);

	assert_true((code == 0) == (port != NULL));
	vnic_port_close(port);
	return code;
}

static void assert_refused(const char *path, int code, enum vnic_cause cause, const char *text)
{
	struct vnic_error error = {.text = ""};

	assert_int_equal(try_to_listen(path, &error), code);
	assert_int_equal(error.code, code);
	assert_int_equal(error.cause, cause);
	if (!strstr(error.text, text))
		fail_msg("'%s' does not say '%s'", error.text, text);
}

static void stale_socket_is_removed(void **state)
{
	struct vnic_error error = {.text = ""};
	int listener = wired_socket(first, true);

	(void)state;
	close(listener); /* the file stays */
	if (try_to_listen(first, &error) != 0)
		fail_msg("%s", error.text);
	assert_int_equal(access(first, F_OK), -1);
}

static void living_socket_is_not_removed(void **state)
{
	static const int types[] = {SOCK_SEQPACKET, SOCK_STREAM, SOCK_DGRAM};
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	(void)state;
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", first);
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		int listener = socket(AF_UNIX, types[i] | SOCK_CLOEXEC, 0);

		assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
		if (types[i] != SOCK_DGRAM)
			assert_int_equal(listen(listener, 1), 0);
		assert_refused(first, -EADDRINUSE, VNIC_CAUSE_FILE, "somebody listens");
		assert_int_equal(access(first, F_OK), 0);
		close(listener);
		assert_int_equal(unlink(first), 0);
	}
}

static void other_files_are_not_removed(void **state)
{
	FILE *file = fopen(first, "w");

	(void)state;
	assert_non_null(file);
	fclose(file);
	assert_refused(first, -EEXIST, VNIC_CAUSE_FILE, "is no socket");
	assert_int_equal(access(first, F_OK), 0);
	assert_int_equal(symlink(first, second), 0);
	assert_refused(second, -EEXIST, VNIC_CAUSE_FILE, "is no socket");
	assert_int_equal(unlink(second), 0);
	assert_int_equal(unlink(first), 0);
	assert_int_equal(mkdir(first, 0700), 0);
	assert_refused(first, -EEXIST, VNIC_CAUSE_FILE, "is no socket");
	assert_int_equal(rmdir(first), 0);
	assert_refused("/nowhere/at/all", -ENOENT, VNIC_CAUSE_FILE, "No such file");
}

/* Somebody else has put his own there meanwhile: that stays. */
static void file_of_another_stays(void **state)
{
	struct vnic_port *port = NULL;
	int listener;

	(void)state;
	assert_int_equal(vnic_port_open(listen_at(first), NULL, &port, NULL), 0);
	assert_int_equal(unlink(first), 0);
	listener = wired_socket(first, true);
	vnic_port_close(port);
	assert_int_equal(unlink(first), 0);
	close(listener);
}

static void umask_is_obeyed(void **state)
{
	static const mode_t masks[] = {0, 022, 077};
	struct stat status;

	(void)state;
	for (size_t i = 0; i < sizeof(masks) / sizeof(masks[0]); i++) {
		mode_t before = umask(masks[i]);
		struct vnic_port *port = NULL;
		int code = vnic_port_open(listen_at(first), NULL, &port, NULL);

		umask(before);
		assert_int_equal(code, 0);
		assert_int_equal(stat(first, &status), 0);
		vnic_port_close(port);
		assert_int_equal(status.st_mode & 0777, 0777 & ~masks[i]);
	}
}

static void bad_paths(void **state)
{
	char path[200];
	struct vnic_port *port = NULL;

	(void)state;
	memset(path, 'x', sizeof(path));
	path[108] = 0;
	assert_refused("", -EINVAL, VNIC_CAUSE_ARGUMENT, "path");
	assert_int_equal(vnic_port_open("unix:", NULL, &port, NULL), -EINVAL);
	memcpy(path, "unix:", 5);
	path[5 + 108] = 0;
	path[108] = 'x';
	assert_int_equal(vnic_port_open(path, NULL, &port, NULL), -EINVAL);
	path[5 + 107] = 0;
	assert_int_equal(vnic_port_open(path, NULL, &port, NULL), 0);
	vnic_port_close(port);
}

/* accept() that cannot succeed must not keep the worker busy, and the peer gets its turn later. */
static void out_of_descriptors(void **state)
{
	struct rlimit limit, none;
	struct timespec begin, end;
	struct wired wired;
	int peer;

	(void)state;
	wired_open(&wired, listen_at(first), "discard:", NULL);
	peer = wired_socket(first, false);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = limit;
	none.rlim_cur = 3;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	wired_start(&wired);
	wired_send(peer, out, 10);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &begin);
	assert_int_equal(poll(NULL, 0, 300), 0);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	wired_wait_counter(&wired, 0, VNIC_PORT_IN_PACKETS, 1);
	if ((end.tv_sec - begin.tv_sec) * 1000 + (end.tv_nsec - begin.tv_nsec) / 1000000 > 100)
		fail_msg("it was busy for more than 100 ms of 300");
	assert_int_equal(wired_stop(&wired), 0);
	wired_check(&wired);
	wired_close(&wired);
	close(peer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_length),
		cmocka_unit_test(too_long_and_empty),
		cmocka_unit_test(peer_comes_back),
		cmocka_unit_test(peer_goes_without_reading),
		cmocka_unit_test(one_peer_at_a_time),
		cmocka_unit_test(peer_does_not_read),
		cmocka_unit_test(connects_again),
		cmocka_unit_test(stale_socket_is_removed),
		cmocka_unit_test(living_socket_is_not_removed),
		cmocka_unit_test(other_files_are_not_removed),
		cmocka_unit_test(file_of_another_stays),
		cmocka_unit_test(umask_is_obeyed),
		cmocka_unit_test(bad_paths),
		cmocka_unit_test(out_of_descriptors),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
