/* SPDX-License-Identifier: MIT */
/*
 * stream listen|connect send|receive ADDRESS PORT STREAMS CONGESTION [WARMUP SECONDS CPUS]
 *
 * TCP streams as fast as they go, from one process to another, each of one thread with 128 KiB per
 * system call, as iperf3 does it. Unlike there, who connects may receive: a translating gateway lets
 * connections through in one direction only. One side measures a window (measure.h): the one that
 * is given WARMUP, SECONDS and CPUS. It prints one line of JSON and goes; the other goes when it
 * did. The receiver counts what it read. So that the other side can be any service, the sender can
 * measure too: it counts what it wrote and the other side acknowledged.
 *
 * CONGESTION names TCP's congestion control: what a machine has by default differs, and much
 * depends on it.
 */
#include "measure.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>

#define STREAMS_MAX 64
#define BLOCK_BYTES (128 * 1024)

static char block[BLOCK_BYTES];

/* What a listener was told, the sockets that it accepts inherit. */
static int open_socket(const char *congestion)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		bench_die("socket");
	if (setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, congestion, (socklen_t)strlen(congestion)))
		bench_die(congestion);
	return fd;
}

static int set_nonblocking(int fd)
{
	return fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

static void open_streams(bool listens, const char *address, const char *port,
			 const char *congestion, int *fds, int count)
{
	struct sockaddr_in in = bench_address(address, port);
	int one = 1, listener = -1;

	if (listens) {
		listener = open_socket(congestion);
		setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
		if (bind(listener, (struct sockaddr *)&in, sizeof(in)) ||
		    listen(listener, STREAMS_MAX))
			bench_die("listen");
		bench_ready();
	}
	for (int i = 0; i < count; i++) {
		fds[i] = listens ? accept4(listener, NULL, NULL, SOCK_CLOEXEC)
				 : open_socket(congestion);
		if (fds[i] < 0 || (!listens && connect(fds[i], (struct sockaddr *)&in, sizeof(in))))
			bench_die(listens ? "accept" : "connect");
		if (set_nonblocking(fds[i]))
			bench_die("fcntl");
	}
}

static int wait_for_streams(int epoll, struct epoll_event *events)
{
	int count;

	do
		count = epoll_wait(epoll, events, STREAMS_MAX, (int)(BENCH_PATIENCE * 1000));
	while (count < 0 && errno == EINTR);
	if (count <= 0) {
		fprintf(stderr, "stream: nothing moved for %.0f seconds\n", BENCH_PATIENCE);
		exit(1);
	}
	return count;
}

static int print_result(const struct bench_window *window, uint64_t bytes)
{
	printf("{\"bytes\": %llu, \"seconds\": %.6f, \"cpu_seconds\": %.3f}\n",
	       (unsigned long long)bytes, window->closes - window->opens, window->busy);
	return 0;
}

/* Of what was written. */
static uint64_t acknowledged(uint64_t written, const int *fds, int count)
{
	for (int i = 0; i < count; i++) {
		int waiting;

		if (ioctl(fds[i], SIOCOUTQ, &waiting))
			bench_die("SIOCOUTQ");
		written -= (uint64_t)waiting;
	}
	return written;
}

/* window: NULL, the other side measures. */
static int send_all(int epoll, const int *fds, int streams, struct bench_window *window)
{
	struct epoll_event events[STREAMS_MAX];
	uint64_t written = 0, before = 0;
	bool is_open = false;

	for (;;) {
		int count = wait_for_streams(epoll, events);

		for (int i = 0; i < count; i++) {
			ssize_t n = write(events[i].data.fd, block, sizeof(block));
			int step;

			if (n < 0 && (errno == EAGAIN || errno == EINTR))
				continue;
			if (n < 0 && window)
				bench_die("write");
			if (n < 0)
				return 0; /* the receiver has seen enough */
			written += (uint64_t)n;
			step = window ? bench_window_step(window, bench_now()) : 0;
			if (step < 0)
				return print_result(window,
						    acknowledged(written, fds, streams) - before);
			if (step > 0 && !is_open)
				before = acknowledged(written, fds, streams);
			is_open = step > 0;
		}
	}
}

/* Likewise. */
static int receive_all(int epoll, struct bench_window *window)
{
	struct epoll_event events[STREAMS_MAX];
	uint64_t bytes = 0;
	int step = 0;

	while (step >= 0) {
		int count = wait_for_streams(epoll, events);

		for (int i = 0; i < count && step >= 0; i++) {
			ssize_t n = read(events[i].data.fd, block, sizeof(block));

			if (n < 0 && (errno == EAGAIN || errno == EINTR))
				continue;
			if (n <= 0 && !window)
				return 0; /* the sender has seen enough */
			if (n <= 0) {
				fprintf(stderr, "stream: the sender ended first: %s\n",
					n ? strerror(errno) : "closed");
				return 1;
			}
			step = window ? bench_window_step(window, bench_now()) : 0;
			if (step > 0)
				bytes += (uint64_t)n;
		}
	}
	return print_result(window, bytes);
}

int main(int argc, char **argv)
{
	int fds[STREAMS_MAX], epoll = epoll_create1(EPOLL_CLOEXEC);
	int streams = argc > 5 ? (int)bench_number(argv[5]) : 0;
	bool sends = argc > 2 && !strcmp(argv[2], "send"), measures = argc == 10;
	struct bench_window window = {0};

	if ((argc != 7 && !measures) || (!sends && strcmp(argv[2], "receive") != 0) ||
	    streams < 1 || streams > STREAMS_MAX) {
		fprintf(stderr,
			"usage: stream listen|connect send|receive ADDRESS PORT STREAMS CONGESTION "
			"[WARMUP SECONDS CPUS]\n");
		return 2;
	}
	if (measures)
		window = (struct bench_window){.warmup = bench_number(argv[7]),
					       .seconds = bench_number(argv[8]),
					       .cpus = argv[9]};
	signal(SIGPIPE, SIG_IGN);
	open_streams(!strcmp(argv[1], "listen"), argv[3], argv[4], argv[6], fds, streams);
	for (int i = 0; i < streams; i++) {
		struct epoll_event event = {.events = sends ? EPOLLOUT : EPOLLIN,
					    .data.fd = fds[i]};

		if (epoll_ctl(epoll, EPOLL_CTL_ADD, fds[i], &event))
			bench_die("epoll_ctl");
	}
	if (sends)
		return send_all(epoll, fds, streams, measures ? &window : NULL);
	return receive_all(epoll, measures ? &window : NULL);
}
