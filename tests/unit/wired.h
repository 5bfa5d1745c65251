/* SPDX-License-Identifier: MIT */
/* A wire that runs in a thread of its own, what its ports told, and where its packets went. */
#ifndef WIRED_H
#define WIRED_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <vnic/wire.h>

#define EVENTS_MOST 256
#define PATIENCE_MS 20000

struct wired_event {
	enum vnic_port_event event;
	char text[256];
};

struct wired {
	struct vnic_port *ports[2];
	struct vnic_wire *wire;
	pthread_t thread;
	int code;
	struct vnic_error error;
	bool ended; /* guarded by lock, as all that follows */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct wired_event events[EVENTS_MOST];
	unsigned event_count;
};

static inline void wired_deadline(struct timespec *until)
{
	clock_gettime(CLOCK_REALTIME, until);
	until->tv_sec += PATIENCE_MS / 1000;
}

static inline void wired_event(void *user, struct vnic_port *port, enum vnic_port_event event,
			       const char *text)
{
	struct wired *wired = user;

	(void)port;
	pthread_mutex_lock(&wired->lock);
	if (wired->event_count < EVENTS_MOST) {
		struct wired_event *next = &wired->events[wired->event_count++];

		next->event = event;
		snprintf(next->text, sizeof(next->text), "%s", text);
	}
	pthread_cond_broadcast(&wired->changed);
	pthread_mutex_unlock(&wired->lock);
}

/* Open two ports and join them. options: of the first; the second records. NULL: defaults. */
static inline void wired_open(struct wired *wired, const char *first, const char *second,
			      const struct vnic_port_options *options)
{
	struct vnic_port_options own = {0};
	struct vnic_error error = {.text = ""};

	memset(wired, 0, sizeof(*wired));
	pthread_mutex_init(&wired->lock, NULL);
	pthread_cond_init(&wired->changed, NULL);
	if (options)
		own = *options;
	own.event = wired_event;
	own.user = wired;
	if (vnic_port_open(first, &own, &wired->ports[0], &error) < 0)
		fail_msg("%s", error.text);
	own.record = true;
	if (vnic_port_open(second, &own, &wired->ports[1], &error) < 0)
		fail_msg("%s", error.text);
	if (vnic_wire_new(wired->ports[0], wired->ports[1], NULL, &wired->wire, &error) < 0)
		fail_msg("%s", error.text);
}

static inline void *wired_run(void *argument)
{
	struct wired *wired = argument;

	wired->code = vnic_wire_run(wired->wire, &wired->error);
	pthread_mutex_lock(&wired->lock);
	wired->ended = true;
	pthread_cond_broadcast(&wired->changed);
	pthread_mutex_unlock(&wired->lock);
	return NULL;
}

static inline void wired_start(struct wired *wired)
{
	wired->ended = false;
	assert_int_equal(pthread_create(&wired->thread, NULL, wired_run, wired), 0);
}

/* Wait for it to end by itself. Returns what vnic_wire_run() did. */
static inline int wired_join(struct wired *wired)
{
	struct timespec until;
	int code = 0;

	wired_deadline(&until);
	pthread_mutex_lock(&wired->lock);
	while (!wired->ended && code == 0)
		code = pthread_cond_timedwait(&wired->changed, &wired->lock, &until);
	pthread_mutex_unlock(&wired->lock);
	if (code != 0) {
		vnic_wire_stop(wired->wire);
		pthread_join(wired->thread, NULL);
		fail_msg("the wire did not end by itself");
	}
	pthread_join(wired->thread, NULL);
	return wired->code;
}

static inline int wired_stop(struct wired *wired)
{
	vnic_wire_stop(wired->wire);
	return wired_join(wired);
}

static inline void wired_close(struct wired *wired)
{
	vnic_wire_free(wired->wire);
	vnic_port_close(wired->ports[0]);
	vnic_port_close(wired->ports[1]);
	pthread_cond_destroy(&wired->changed);
	pthread_mutex_destroy(&wired->lock);
}

static inline unsigned wired_count_events(struct wired *wired, enum vnic_port_event event)
{
	unsigned count = 0;

	for (unsigned i = 0; i < wired->event_count; i++)
		count += wired->events[i].event == event;
	return count;
}

/* Wait for the nth (from 1) event of a kind, which must have the text in it. */
static inline void wired_wait(struct wired *wired, enum vnic_port_event event, unsigned nth,
			      const char *text)
{
	struct timespec until;
	bool found = false;
	int code = 0;

	wired_deadline(&until);
	pthread_mutex_lock(&wired->lock);
	while (wired_count_events(wired, event) < nth && code == 0)
		code = pthread_cond_timedwait(&wired->changed, &wired->lock, &until);
	for (unsigned i = 0, seen = 0; i < wired->event_count; i++)
		if (wired->events[i].event == event && ++seen == nth)
			found = strstr(wired->events[i].text, text);
	if (!found)
		for (unsigned i = 0; i < wired->event_count; i++)
			print_message("%s: %s\n", vnic_port_event_name(wired->events[i].event),
				      wired->events[i].text);
	pthread_mutex_unlock(&wired->lock);
	if (!found)
		fail_msg("no %s number %u with '%s'", vnic_port_event_name(event), nth, text);
}

static inline uint64_t wired_counter(const struct wired *wired, unsigned port,
				     enum vnic_port_counter counter)
{
	return vnic_port_counter(wired->ports[port], 0, counter);
}

/* Wait until a counter has at least that value. */
static inline void wired_wait_counter(const struct wired *wired, unsigned port,
				      enum vnic_port_counter counter, uint64_t value)
{
	const struct timespec pause = {.tv_nsec = 1000000};

	for (unsigned i = 0; wired_counter(wired, port, counter) < value; i++) {
		if (i > PATIENCE_MS)
			fail_msg("%s of '%s' is %llu, not %llu", vnic_port_counter_name(counter),
				 vnic_port_name(wired->ports[port]),
				 (unsigned long long)wired_counter(wired, port, counter),
				 (unsigned long long)value);
		nanosleep(&pause, NULL);
	}
}

/* What came in at each port went out at the other, or was dropped by name. */
static inline void wired_check(const struct wired *wired)
{
	for (unsigned from = 0; from < 2; from++) {
		uint64_t in = wired_counter(wired, from, VNIC_PORT_IN_PACKETS) +
			      wired_counter(wired, 1 - from, VNIC_PORT_ANSWERED);
		uint64_t sum = wired_counter(wired, 1 - from, VNIC_PORT_OUT_PACKETS);

		for (int i = VNIC_PORT_DROP_DOWN; i < VNIC_PORT_COUNTERS; i++)
			sum += wired_counter(wired, i < VNIC_PORT_DROP_MALFORMED ? 1 - from : from,
					     (enum vnic_port_counter)i);
		if (in != sum)
			fail_msg("'%s' got %llu packets, of which %llu are accounted for",
				 vnic_port_name(wired->ports[from]), (unsigned long long)in,
				 (unsigned long long)sum);
	}
}

/* A socket of the test's own that is connected to PATH, or listens there. */
static inline int wired_socket(const char *path, bool listens)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int descriptor = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	assert_true(descriptor >= 0);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	if (listens) {
		assert_int_equal(bind(descriptor, (struct sockaddr *)&address, sizeof(address)), 0);
		assert_int_equal(listen(descriptor, 4), 0);
		return descriptor;
	}
	if (connect(descriptor, (struct sockaddr *)&address, sizeof(address)) < 0)
		fail_msg("cannot connect to '%s': %s", path, strerror(errno));
	return descriptor;
}

/* The next message: its length, 0 at the end; fails where none comes. */
static inline ssize_t wired_receive(int descriptor, void *bytes, size_t size)
{
	struct pollfd polled = {.fd = descriptor, .events = POLLIN};

	if (poll(&polled, 1, PATIENCE_MS) != 1)
		fail_msg("no message came");
	return recv(descriptor, bytes, size, 0);
}

static inline void wired_send(int descriptor, const void *bytes, size_t size)
{
	ssize_t sent = send(descriptor, bytes, size, MSG_NOSIGNAL);

	if (sent != (ssize_t)size)
		fail_msg("sent %zd bytes of %zu: %s", sent, size, strerror(errno));
}

#endif
