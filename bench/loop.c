/* SPDX-License-Identifier: MIT */
/*
 * loop NAME@NETNS NAME@NETNS          between two TUN interfaces
 * loop NAME udp LOCAL REMOTE PORT     one packet per datagram
 * loop NAME listen|connect ADDRESS PORT     each behind its length, 16 bits, big-endian
 * loop NAME echo                      answers every ping
 *
 * What everyone writes first, because the tutorials show it: select(), then read one packet from
 * the side that has one and write it to the other. No offloads, no bursts; also no handicap: the
 * buffer takes any packet, nothing is printed or copied, and the compiler optimises it as it does
 * the rest. Interfaces are only opened here; addresses and "up" are the caller's.
 */
#include "measure.h"

#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/select.h>

static uint8_t packet[65536];

/* "NAME" or "NAME@NETNS": what ip netns calls NETNS. */
static int open_tun(const char *specification)
{
	const char *at = strchr(specification, '@');
	int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), there, fd;
	struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
	char path[256];

	if (at) {
		snprintf(path, sizeof(path), "/run/netns/%s", at + 1);
		there = open(path, O_RDONLY | O_CLOEXEC);
		if (there < 0 || setns(there, CLONE_NEWNET))
			bench_die(path);
		close(there);
	}
	snprintf(request.ifr_name, sizeof(request.ifr_name), "%.*s",
		 at ? (int)(at - specification) : (int)strlen(specification), specification);
	fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	if (fd < 0 || ioctl(fd, TUNSETIFF, &request))
		bench_die("/dev/net/tun");
	if (at && setns(home, CLONE_NEWNET))
		bench_die("setns");
	close(home);
	return fd;
}

static void copy_one(int from, int to)
{
	ssize_t n = read(from, packet, sizeof(packet));

	/* Refused: a tun that is down, a peer that is not there. Lost, as on any wire. */
	if (n > 0 && write(to, packet, (size_t)n) < 0 && errno == EBADFD)
		exit(1);
	if (n < 0 && errno != EAGAIN && errno != ECONNREFUSED)
		exit(1);
}

static void read_whole(int fd, void *to, size_t bytes)
{
	for (size_t done = 0; done < bytes;) {
		ssize_t n = read(fd, (char *)to + done, bytes - done);

		if (n <= 0)
			exit(1);
		done += (size_t)n;
	}
}

static void copy_from_stream(int stream, int tun)
{
	uint16_t length;

	read_whole(stream, &length, sizeof(length));
	read_whole(stream, packet, ntohs(length));
	if (write(tun, packet, ntohs(length)) < 0 && errno == EBADFD)
		exit(1);
}

/* The length and then the packet, as there; TCP_NODELAY, or each would wait for the last. */
static void copy_to_stream(int tun, int stream)
{
	ssize_t n = read(tun, packet, sizeof(packet));
	uint16_t length = htons((uint16_t)n);

	if (n < 0 || write(stream, &length, sizeof(length)) != sizeof(length) ||
	    write(stream, packet, (size_t)n) != n)
		exit(1);
}

/* Swapping the addresses leaves the IP checksum right; the ICMP one grows by what the type lost. */
static void echo_one(int tun, int unused)
{
	ssize_t n = read(tun, packet, sizeof(packet));
	unsigned header = (packet[0] & 15u) * 4, sum;
	uint8_t address[4];

	(void)unused;
	if (n < 28 || packet[0] >> 4 != 4 || header < 20 || n < (ssize_t)header + 8 ||
	    packet[9] != 1 || packet[header] != 8)
		return;
	memcpy(address, packet + 12, 4);
	memcpy(packet + 12, packet + 16, 4);
	memcpy(packet + 16, address, 4);
	packet[header] = 0;
	sum = (packet[header + 2] << 8 | packet[header + 3]) + 0x800u;
	sum += sum >> 16;
	packet[header + 2] = (uint8_t)(sum >> 8);
	packet[header + 3] = (uint8_t)sum;
	if (write(tun, packet, (size_t)n) < 0 && errno == EBADFD)
		exit(1);
}

static int open_udp(const char *local, const char *remote, const char *port)
{
	struct sockaddr_in here = bench_address(local, port), there = bench_address(remote, port);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (bind(fd, (struct sockaddr *)&here, sizeof(here)) ||
	    connect(fd, (struct sockaddr *)&there, sizeof(there)))
		bench_die("udp");
	return fd;
}

static int open_stream(bool listens, const char *address, const char *port)
{
	struct sockaddr_in in = bench_address(address, port);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (listens) {
		int listener = fd;

		if (bind(listener, (struct sockaddr *)&in, sizeof(in)) || listen(listener, 1))
			bench_die("listen");
		bench_ready();
		fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	} else if (connect(fd, (struct sockaddr *)&in, sizeof(in))) {
		bench_die("connect");
	}
	if (fd < 0 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)))
		bench_die("stream");
	return fd;
}

int main(int argc, char **argv)
{
	const char *mode = argc > 2 ? argv[2] : "";
	void (*forward)(int, int) = copy_one, (*backward)(int, int) = copy_one;
	int a, b;

	if (argc < 3 || (!strcmp(mode, "udp") && argc != 6) ||
	    ((!strcmp(mode, "listen") || !strcmp(mode, "connect")) && argc != 5)) {
		fprintf(stderr, "usage: loop TUN[@NETNS] TUN[@NETNS]|udp LOCAL REMOTE PORT|listen "
				"ADDRESS PORT|"
				"connect ADDRESS PORT|echo\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	a = open_tun(argv[1]);
	if (!strcmp(mode, "echo")) {
		for (;;)
			echo_one(a, a);
	} else if (!strcmp(mode, "udp")) {
		b = open_udp(argv[3], argv[4], argv[5]);
	} else if (!strcmp(mode, "listen") || !strcmp(mode, "connect")) {
		b = open_stream(!strcmp(mode, "listen"), argv[3], argv[4]);
		forward = copy_to_stream;
		backward = copy_from_stream;
	} else {
		b = open_tun(argv[2]);
	}
	for (;;) {
		fd_set readable;

		FD_ZERO(&readable);
		FD_SET(a, &readable);
		FD_SET(b, &readable);
		if (select((a > b ? a : b) + 1, &readable, NULL, NULL, NULL) < 0)
			bench_die("select");
		if (FD_ISSET(a, &readable))
			forward(a, b);
		if (FD_ISSET(b, &readable))
			backward(b, a);
	}
}
