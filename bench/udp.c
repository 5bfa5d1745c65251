/* SPDX-License-Identifier: MIT */
/*
 * udp send ADDRESS PORT BYTES plain|gso SECONDS
 * udp receive ADDRESS PORT BYTES WARMUP SECONDS CPUS
 *
 * Datagrams of one size as fast as they go: one per system call, or with UDP_SEGMENT as many as one
 * call takes. What counts is what arrives (measure.h). The receiver is the same for both: UDP_GRO,
 * and as many buffers per call as there are. Each datagram begins with its number, so that the
 * receiver can tell which came out of order or twice.
 */
#include "measure.h"

#include <netinet/udp.h>
#include <poll.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif
#define SUPER_BYTES 65507 /* the most that one IPv4 datagram carries */
#define SEGMENTS_MAX 64   /* what older kernels take in one call */
#define BATCH 32
#define RECEIVE_BUFFER (8 << 20)

static uint8_t buffers[BATCH][65536];

static void put64(uint8_t *to, uint64_t number)
{
	memcpy(to, &number, sizeof(number));
}

static uint64_t get64(const uint8_t *from)
{
	uint64_t number;

	memcpy(&number, from, sizeof(number));
	return number;
}

static int send_all(int fd, size_t size, bool gso, double seconds)
{
	size_t count = gso ? SUPER_BYTES / size : 1;
	uint64_t number = 1, calls = 0;
	double start = bench_now(), now = start;
	int segment = (int)size;

	if (count > SEGMENTS_MAX)
		count = SEGMENTS_MAX;
	if (gso && setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &segment, sizeof(segment)))
		bench_die("UDP_SEGMENT");
	while (now < start + seconds) {
		for (size_t i = 0; i < count; i++)
			put64(buffers[0] + i * size, number + i);
		/* A refused one is not sent again: the receiver counts it as lost. */
		if (send(fd, buffers[0], count * size, 0) < 0 && errno != ENOBUFS &&
		    errno != EAGAIN)
			bench_die("send");
		number += count;
		if (gso || ++calls % 16 == 0)
			now = bench_now();
	}
	printf("{\"sent\": %llu, \"seconds\": %.6f}\n", (unsigned long long)(number - 1),
	       now - start);
	return 0;
}

static unsigned receive_burst(int fd, struct mmsghdr *messages)
{
	struct pollfd poller = {.fd = fd, .events = POLLIN};
	int count;

	for (;;) {
		count = recvmmsg(fd, messages, BATCH, MSG_DONTWAIT, NULL);
		if (count > 0)
			return (unsigned)count;
		if (errno != EAGAIN && errno != EINTR)
			bench_die("recvmmsg");
		if (poll(&poller, 1, (int)(BENCH_PATIENCE * 1000)) == 0) {
			fprintf(stderr, "udp: nothing came for %.0f seconds\n", BENCH_PATIENCE);
			exit(1);
		}
	}
}

static int receive_all(int fd, size_t size, struct bench_window *window)
{
	struct mmsghdr messages[BATCH] = {0};
	struct iovec vectors[BATCH];
	uint64_t arrived = 0, late = 0, first = 0, last = 0;
	int step = 0, one = 1, bytes = RECEIVE_BUFFER;

	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)))
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
	if (setsockopt(fd, IPPROTO_UDP, UDP_GRO, &one, sizeof(one)))
		bench_die("UDP_GRO");
	for (int i = 0; i < BATCH; i++) {
		vectors[i] = (struct iovec){.iov_base = buffers[i], .iov_len = sizeof(buffers[i])};
		messages[i].msg_hdr.msg_iov = &vectors[i];
		messages[i].msg_hdr.msg_iovlen = 1;
	}
	bench_ready();
	for (;;) {
		unsigned count = receive_burst(fd, messages);

		step = bench_window_step(window, bench_now());
		if (step < 0)
			break;
		for (unsigned i = 0; i < count; i++) {
			for (size_t at = 0; at + size <= messages[i].msg_len; at += size) {
				uint64_t number = get64(buffers[i] + at);

				late += step > 0 && number <= last;
				last = number > last ? number : last;
				first = step > 0 && !first ? number : first;
				arrived += step > 0;
			}
		}
	}
	printf("{\"datagrams\": %llu, \"bytes\": %llu, \"late\": %llu, \"numbers\": %llu, "
	       "\"seconds\": %.6f, "
	       "\"cpu_seconds\": %.3f}\n",
	       (unsigned long long)arrived, (unsigned long long)(arrived * size),
	       (unsigned long long)late, (unsigned long long)(last - first + 1),
	       window->closes - window->opens, window->busy);
	return 0;
}

int main(int argc, char **argv)
{
	bool sends = argc == 7 && !strcmp(argv[1], "send");
	size_t size = argc > 4 ? (size_t)bench_number(argv[4]) : 0;
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in in;

	if ((!sends && (argc != 8 || strcmp(argv[1], "receive") != 0)) || size < 8 ||
	    size > SUPER_BYTES) {
		fprintf(stderr, "usage: udp send ADDRESS PORT BYTES plain|gso SECONDS\n"
				"       udp receive ADDRESS PORT BYTES WARMUP SECONDS CPUS\n");
		return 2;
	}
	in = bench_address(argv[2], argv[3]);
	if (sends) {
		if (connect(fd, (struct sockaddr *)&in, sizeof(in)))
			bench_die("connect");
		return send_all(fd, size, !strcmp(argv[5], "gso"), bench_number(argv[6]));
	}
	if (bind(fd, (struct sockaddr *)&in, sizeof(in)))
		bench_die("bind");
	return receive_all(fd, size,
			   &(struct bench_window){.warmup = bench_number(argv[5]),
						  .seconds = bench_number(argv[6]),
						  .cpus = argv[7]});
}
