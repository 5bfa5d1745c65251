/* SPDX-License-Identifier: MIT */
/*
 * ping_pong serve ADDRESS PORT
 * ping_pong ask ADDRESS PORT BYTES WARMUP SECONDS CPUS
 *
 * One UDP request, its reply, the next: what a round trip costs. Blocking sockets, as most programs
 * have them. Every round trip is kept, so the percentiles are exact.
 */
#include "measure.h"

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

static int compare(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;

	return (x > y) - (x < y);
}

static int ask(int fd, size_t size, struct bench_window *window)
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
		if (send(fd, request, size, 0) < 0)
			continue;
		do /* a late reply to a request that was given up is no reply to this one */
			n = recv(fd, reply, sizeof(reply), 0);
		while (n >= 4 && memcmp(reply, request, 4) != 0);
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
	bool serves = argc == 4 && !strcmp(argv[1], "serve");
	size_t size = argc == 8 ? (size_t)bench_number(argv[4]) : 0;
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in in;

	if (!serves && (size < 4 || size > 65507 || strcmp(argv[1], "ask") != 0)) {
		fprintf(stderr, "usage: ping_pong serve ADDRESS PORT\n"
				"       ping_pong ask ADDRESS PORT BYTES WARMUP SECONDS CPUS\n");
		return 2;
	}
	in = bench_address(argv[2], argv[3]);
	if ((serves ? bind : connect)(fd, (struct sockaddr *)&in, sizeof(in)))
		bench_die(argv[2]);
	if (serves)
		serve(fd);
	return ask(fd, size,
		   &(struct bench_window){.warmup = bench_number(argv[5]),
					  .seconds = bench_number(argv[6]),
					  .cpus = argv[7]});
}
