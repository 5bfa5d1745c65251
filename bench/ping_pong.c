/* SPDX-License-Identifier: MIT */
/*
 * ping_pong serve udp|tcp ADDRESS PORT
 * ping_pong ask udp|tcp ADDRESS PORT BYTES WARMUP SECONDS CPUS
 *
 * One request, its reply, the next: what a round trip costs. Blocking sockets, as most programs
 * have them. Every round trip is kept, so the percentiles are exact. With TCP there is one
 * connection, without Nagle's algorithm on either side.
 */
#include "measure.h"

#include <netinet/tcp.h>

#define SAMPLES_MAX (4 << 20)
#define REPLY_SECONDS 0.2 /* a reply that is not here by then was lost */

static _Noreturn void serve(int fd)
{
	struct sockaddr_in from;
	char bytes[65536];

	bench_ready();
	for (;;) {
		socklen_t length = sizeof(from);
		ssize_t n =
			recvfrom(fd, bytes, sizeof(bytes), 0, (struct sockaddr *)&from, &length);

		if (n >= 0)
			sendto(fd, bytes, (size_t)n, 0, (struct sockaddr *)&from, length);
	}
}

static int no_delay(int fd)
{
	int one = 1;

	return setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

static _Noreturn void serve_stream(int listener)
{
	char bytes[65536];

	if (listen(listener, 1))
		bench_die("listen");
	bench_ready();
	for (;;) {
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		ssize_t n;

		if (fd < 0 || no_delay(fd))
			bench_die("accept");
		while ((n = recv(fd, bytes, sizeof(bytes), 0)) > 0)
			if (send(fd, bytes, (size_t)n, MSG_NOSIGNAL) != n)
				break;
		close(fd);
	}
}

static int compare(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;

	return (x > y) - (x < y);
}

static int ask(int fd, bool is_stream, size_t size, struct bench_window *window)
{
	struct timeval patience = {.tv_usec = (suseconds_t)(REPLY_SECONDS * 1e6)};
	float *samples = malloc(SAMPLES_MAX * sizeof(*samples));
	uint8_t request[65536] = {0}, reply[65536];
	double begin = bench_now(), alive = begin;
	size_t count = 0, lost = 0;
	int step = 0;

	if (!samples || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)))
		bench_die("ask");
	for (uint32_t number = 1;; number++) {
		double now = bench_now();
		ssize_t n;

		step = alive > begin ? bench_window_step(window, now) : 0;
		if (step < 0)
			break;
		memcpy(request, &number, sizeof(number));
		if (send(fd, request, size, MSG_NOSIGNAL) < 0 && !is_stream)
			continue;
		do /* a late reply to a request that was given up is no reply to this one */
			n = recv(fd, reply, is_stream ? size : sizeof(reply),
				 is_stream ? MSG_WAITALL : 0);
		while (n >= 4 && memcmp(reply, request, 4) != 0);
		if (is_stream && n != (ssize_t)size)
			bench_die(
				"the connection"); /* half a reply, or none: the rest is not in step */
		if (n != (ssize_t)size) {
			lost += step > 0;
			if (bench_now() - alive > BENCH_PATIENCE) {
				fprintf(stderr, "ping_pong: no reply for %.0f seconds\n",
					BENCH_PATIENCE);
				exit(1);
			}
			continue;
		}
		alive = bench_now();
		if (step > 0 && count < SAMPLES_MAX)
			samples[count++] = (float)((alive - now) * 1e6);
	}
	if (!count) {
		fprintf(stderr, "ping_pong: no reply in time\n");
		exit(1);
	}
	qsort(samples, count, sizeof(*samples), compare);
	printf("{\"round_trips\": %zu, \"lost\": %zu, \"p50_us\": %.2f, \"p99_us\": %.2f, "
	       "\"max_us\": %.2f, "
	       "\"seconds\": %.6f, \"cpu_seconds\": %.3f}\n",
	       count, lost, (double)samples[count / 2], (double)samples[count * 99 / 100],
	       (double)samples[count - 1], window->closes - window->opens, window->busy);
	free(samples);
	return 0;
}

int main(int argc, char **argv)
{
	bool serves = argc == 5 && !strcmp(argv[1], "serve");
	bool is_stream = argc > 2 && !strcmp(argv[2], "tcp");
	size_t size = argc == 9 ? (size_t)bench_number(argv[5]) : 0;
	int fd = socket(AF_INET, (is_stream ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC, 0);
	struct sockaddr_in in;

	if (!serves && (size < 4 || size > 65507 || strcmp(argv[1], "ask") != 0)) {
		fprintf(stderr,
			"usage: ping_pong serve udp|tcp ADDRESS PORT\n"
			"       ping_pong ask udp|tcp ADDRESS PORT BYTES WARMUP SECONDS CPUS\n");
		return 2;
	}
	in = bench_address(argv[3], argv[4]);
	if (fd < 0 || (serves ? bind : connect)(fd, (struct sockaddr *)&in, sizeof(in)))
		bench_die(argv[3]);
	if (serves && is_stream)
		serve_stream(fd);
	if (serves)
		serve(fd);
	if (is_stream && no_delay(fd))
		bench_die("TCP_NODELAY");
	return ask(fd, is_stream, size,
		   &(struct bench_window){.warmup = bench_number(argv[6]),
					  .seconds = bench_number(argv[7]),
					  .cpus = argv[8]});
}
