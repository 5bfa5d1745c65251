/* SPDX-License-Identifier: MIT */
/*
 * What the programs of the benchmark share: a clock, the processors' time, and the window.
 *
 * The one who receives measures (stream.c can do otherwise). At the first byte it begins to warm up, then it opens a window;
 * what arrives inside of it, and what the processors did meanwhile, is the result. So neither the
 * start of the processes nor TCP's slow start nor the end counts, and what was sent but lost does
 * not count either.
 *
 * The processors' time is that of the whole machine's given processors, out of /proc/stat, so it
 * has the kernel's work in it (softirq, ksoftirqd) that belongs to no process. The price: it has
 * everything else that runs there in it too.
 */
#ifndef BENCH_MEASURE_H
#define BENCH_MEASURE_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BENCH_PATIENCE \
	5.0 /* seconds without anything happening, after which it will not happen any more */

/* What the runner gives, so that a mistake is its author's: it need not be a friendly message. */
static inline double bench_number(const char *text)
{
	char *end;
	double number = strtod(text, &end);

	if (end == text || *end || !(number >= 0 && number < 1e9)) {
		fprintf(stderr, "'%s' is no number\n", text);
		exit(2);
	}
	return number;
}

static inline double bench_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static inline _Noreturn void bench_die(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

/* cpus: "0,1" or "" for all. Without what was idle, waiting, or stolen from this machine. */
static inline double bench_busy_seconds(const char *cpus)
{
	FILE *file = fopen("/proc/stat", "re");
	unsigned long long t[7], ticks = 0;
	char line[512];
	unsigned cpu;

	if (!file)
		bench_die("/proc/stat");
	while (fgets(line, sizeof(line), file)) {
		char name[16];
		bool wanted = !*cpus;

		if (sscanf(line, "cpu%u %llu %llu %llu %llu %llu %llu %llu", &cpu, &t[0], &t[1],
			   &t[2], &t[3], &t[4], &t[5], &t[6]) != 8)
			continue;
		snprintf(name, sizeof(name), "%u", cpu);
		for (const char *p = cpus; *p && !wanted; p += strcspn(p, ","), p += *p == ',')
			wanted = strcspn(p, ",") == strlen(name) && !strncmp(p, name, strlen(name));
		if (wanted)
			ticks += t[0] + t[1] + t[2] + t[5] + t[6];
	}
	fclose(file);
	return (double)ticks / (double)sysconf(_SC_CLK_TCK);
}

struct bench_window {
	double warmup; /* seconds */
	double seconds;
	const char *cpus;
	double opens; /* 0: nothing arrived yet */
	double closes;
	double busy;
	bool open;
};

/*
 * Call it when something arrived, before counting it.
 * Returns 0 not yet, 1 count it, -1 it is over: then opens, closes and busy are what really was.
 */
static inline int bench_window_step(struct bench_window *window, double now)
{
	if (window->opens == 0)
		window->opens = now + window->warmup;
	if (!window->open) {
		if (now < window->opens)
			return 0;
		window->open = true;
		window->busy = bench_busy_seconds(window->cpus);
		window->opens = bench_now();
		window->closes = window->opens + window->seconds;
		return 1;
	}
	if (now < window->closes)
		return 1;
	window->closes = now;
	window->busy = bench_busy_seconds(window->cpus) - window->busy;
	return -1;
}

static inline struct sockaddr_in bench_address(const char *address, const char *port)
{
	struct sockaddr_in in = {.sin_family = AF_INET,
				 .sin_port = htons((uint16_t)bench_number(port))};

	if (inet_pton(AF_INET, address, &in.sin_addr) != 1) {
		fprintf(stderr, "%s is no IPv4 address\n", address);
		exit(2);
	}
	return in;
}

static inline void bench_ready(void)
{
	puts("ready");
	fflush(stdout);
}

#endif
