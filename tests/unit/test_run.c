/* SPDX-License-Identifier: MIT */
/*
 * vnic_run() on real interfaces, in a network namespace of this process's own. What a handler sees
 * is noted in a struct probe; the test's other thread, the director, waits for what it wants to see
 * in it and acts on it.
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <vnic/run.h>

#define DEADLINE_S 20
#define QUEUES 4
#define FLOWS 16
#define FLOW_PORT 20000
#define EVENTS 16

struct probe {
	pthread_mutex_t lock; /* guards the rest */
	pthread_cond_t changed;
	struct vnic_device *device;
	int index; /* of the interface */
	unsigned queues;
	unsigned started; /* workers whose timer was called */
	unsigned packets;
	unsigned timers;
	unsigned bad; /* what must not be */
	enum vnic_link_event events[EVENTS];
	char names[EVENTS][VNIC_NAME_BYTES];
	unsigned event_count;
	pthread_t threads[QUEUES];
	bool interruptible[QUEUES]; /* SIGINT is not blocked */
	unsigned flow_next[FLOWS];  /* number that the next packet should have */
	int flow_worker[FLOWS];
	int sent_while_down; /* what vnic_worker_send() returned */
	int answer;          /* what receive() returns */
	uint64_t due_ns[EVENTS];
	void (*direct)(struct probe *probe);
};

static uint64_t clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* Waits until *number, which the lock guards, is at least this. */
static bool wait_for(struct probe *probe, const unsigned *number, unsigned least)
{
	struct timespec deadline;
	int code = 0;
	bool reached;

	clock_gettime(CLOCK_REALTIME, &deadline);
	deadline.tv_sec += DEADLINE_S;
	pthread_mutex_lock(&probe->lock);
	while (*number < least && code == 0)
		code = pthread_cond_timedwait(&probe->changed, &probe->lock, &deadline);
	reached = *number >= least;
	if (!reached) {
		print_error("still %u after %d s, expected %u\n", *number, DEADLINE_S, least);
		probe->bad++;
	}
	pthread_mutex_unlock(&probe->lock);
	return reached;
}

static void open_probe(struct probe *probe, unsigned queues)
{
	struct vnic_device_options options = {.queues = queues};
	struct vnic_link_address address = {.prefix.length_bits = 24};
	struct vnic_link_config config = {
		.addresses = &address,
		.address_count = 1,
		.state = VNIC_LINK_UP,
	};
	struct vnic_error error = {.text = ""};

	memset(probe, 0, sizeof(*probe));
	pthread_mutex_init(&probe->lock, NULL);
	pthread_cond_init(&probe->changed, NULL);
	probe->queues = queues;
	for (int i = 0; i < FLOWS; i++)
		probe->flow_worker[i] = -1;
	assert_int_equal(vnic_prefix_parse("10.77.0.1/24", &address.prefix, NULL), 0);
	if (vnic_device_open(&options, &probe->device, &error) != 0 ||
	    vnic_device_configure(probe->device, &config, &error) != 0)
		fail_msg("%s", error.text);
	probe->index = vnic_device_index(probe->device, &error);
	assert_true(probe->index > 0);
}

/*
 * Whoever looks into /proc/PID/fdinfo of this process in this moment keeps the interface alive a
 * little longer, and the next test wants its address.
 */
static void close_probe(struct probe *probe)
{
	uint64_t end_ns = clock_ns() + DEADLINE_S * UINT64_C(1000000000);
	char name[IF_NAMESIZE];

	vnic_device_close(probe->device);
	while (if_indextoname((unsigned)probe->index, name))
		if (clock_ns() > end_ns)
			fail_msg("'%s' is still there", name);
	pthread_cond_destroy(&probe->changed);
	pthread_mutex_destroy(&probe->lock);
}

/* The handler that the tests have in common. */

static int note_packets(struct vnic_worker *worker, struct vnic_packet *packets, unsigned count,
			void *user)
{
	struct probe *probe = user;
	int answer;

	(void)packets;
	pthread_mutex_lock(&probe->lock);
	probe->packets += count;
	if (count < 1 || count > VNIC_BURST_PACKETS || vnic_worker_device(worker) != probe->device)
		probe->bad++;
	answer = probe->answer;
	pthread_cond_broadcast(&probe->changed);
	pthread_mutex_unlock(&probe->lock);
	return answer;
}

static uint64_t note_start(struct vnic_worker *worker, uint64_t now_ns, void *user)
{
	struct probe *probe = user;
	unsigned index = vnic_worker_index(worker);
	sigset_t blocked;

	pthread_sigmask(SIG_SETMASK, NULL, &blocked);
	pthread_mutex_lock(&probe->lock);
	if (index >= QUEUES || now_ns != vnic_worker_now_ns(worker) || now_ns > clock_ns() ||
	    (probe->threads[index] && !pthread_equal(probe->threads[index], pthread_self()))) {
		probe->bad++;
	} else if (!probe->threads[index]) {
		probe->threads[index] = pthread_self();
		probe->interruptible[index] = !sigismember(&blocked, SIGINT);
		probe->started++;
	}
	probe->timers++;
	pthread_cond_broadcast(&probe->changed);
	pthread_mutex_unlock(&probe->lock);
	return VNIC_NEVER;
}

static void note_event(struct vnic_worker *worker, enum vnic_link_event event, const char *name,
		       void *user)
{
	struct probe *probe = user;

	pthread_mutex_lock(&probe->lock);
	if (vnic_worker_index(worker) != 0 || probe->event_count == EVENTS) {
		probe->bad++;
	} else {
		probe->events[probe->event_count] = event;
		snprintf(probe->names[probe->event_count], VNIC_NAME_BYTES, "%s", name);
		probe->event_count++;
	}
	pthread_cond_broadcast(&probe->changed);
	pthread_mutex_unlock(&probe->lock);
}

static const struct vnic_handler notes = {
	.receive = note_packets,
	.timer = note_start,
	.link = note_event,
};

static void *direct(void *argument)
{
	struct probe *probe = argument;

	if (wait_for(probe, &probe->started, probe->queues))
		probe->direct(probe);
	vnic_stop(probe->device); /* where it is over, or went wrong */
	return NULL;
}

static int run_directed(struct probe *probe, const struct vnic_handler *handler,
			void (*director)(struct probe *probe), struct vnic_error *error)
{
	pthread_t thread;
	int code;

	probe->direct = director;
	assert_int_equal(pthread_create(&thread, NULL, direct, probe), 0);
	code = vnic_run(probe->device, handler, probe, error);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(probe->bad, 0);
	return code;
}

/* Sends UDP packets from the kernel's side. */
static int open_socket(uint16_t port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
	struct timeval limit = {.tv_sec = DEADLINE_S};
	int descriptor = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	inet_pton(AF_INET, "10.77.0.1", &address.sin_addr);
	setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	if (descriptor < 0 || bind(descriptor, (struct sockaddr *)&address, sizeof(address)) < 0)
		print_error("no socket: %s\n", strerror(errno));
	return descriptor;
}

static bool send_number(int descriptor, uint32_t number)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(7)};

	inet_pton(AF_INET, "10.77.0.2", &address.sin_addr);
	return sendto(descriptor, &number, sizeof(number), 0, (struct sockaddr *)&address,
		      sizeof(address)) == sizeof(number);
}

static void send_packets(unsigned count)
{
	int descriptor = open_socket(0);

	for (unsigned i = 0; i < count; i++)
		if (!send_number(descriptor, i))
			print_error("cannot send: %s\n", strerror(errno));
	close(descriptor);
}

/* The ways to stop. */

static void test_stop_before_run(void **state)
{
	struct probe probe;
	struct vnic_error error = {.code = 1};

	(void)state;
	open_probe(&probe, 1);
	send_packets(3);
	vnic_stop(probe.device);
	vnic_stop(probe.device);
	assert_int_equal(vnic_run(probe.device, &notes, &probe, &error), 0);
	assert_int_equal(probe.packets, 0);
	assert_int_equal(error.code, 1); /* untouched */
	/* It ended that run only: this one takes the packets. */
	probe.answer = 1;
	assert_int_equal(vnic_run(probe.device, &notes, &probe, &error), 0);
	assert_int_equal(probe.packets, 3);
	close_probe(&probe);
}

static void only_stop(struct probe *probe)
{
	(void)probe;
}

static void test_stop_from_thread(void **state)
{
	struct probe probe;

	(void)state;
	for (unsigned queues = 1; queues <= QUEUES; queues++) {
		open_probe(&probe, queues);
		assert_int_equal(run_directed(&probe, &notes, only_stop, NULL), 0);
		assert_int_equal(probe.started, queues);
		close_probe(&probe);
	}
}

static struct vnic_device *interrupted;
static volatile sig_atomic_t errno_changed;

static void stop_by_signal(int number)
{
	int before = errno;

	(void)number;
	vnic_stop(interrupted);
	errno_changed = errno != before;
}

static void test_stop_from_signal_handler(void **state)
{
	struct sigaction action = {.sa_handler = stop_by_signal}, before;
	struct itimerval soon = {.it_value.tv_usec = 20000};
	struct probe probe;

	(void)state;
	for (int flags = 0; flags <= 1; flags++) {
		open_probe(&probe, QUEUES);
		interrupted = probe.device;
		action.sa_flags = flags ? SA_RESTART : 0;
		sigaction(SIGALRM, &action, &before);
		setitimer(ITIMER_REAL, &soon, NULL);
		assert_int_equal(vnic_run(probe.device, &notes, &probe, NULL), 0);
		sigaction(SIGALRM, &before, NULL);
		assert_int_equal(errno_changed, 0);
		close_probe(&probe);
	}
}

static uint64_t raise_in_timer(struct vnic_worker *worker, uint64_t now_ns, void *user)
{
	(void)worker;
	(void)now_ns;
	(void)user;
	raise(SIGALRM);
	return VNIC_NEVER;
}

static void test_stop_from_signal_during_handler(void **state)
{
	struct vnic_handler handler = {.receive = note_packets, .timer = raise_in_timer};
	struct sigaction action = {.sa_handler = stop_by_signal}, before;
	struct probe probe;

	(void)state;
	open_probe(&probe, 1);
	interrupted = probe.device;
	sigaction(SIGALRM, &action, &before);
	assert_int_equal(vnic_run(probe.device, &handler, &probe, NULL), 0);
	sigaction(SIGALRM, &before, NULL);
	close_probe(&probe);
}

static int stop_when_called(struct vnic_worker *worker, struct vnic_packet *packets, unsigned count,
			    void *user)
{
	vnic_stop(vnic_worker_device(worker));
	return note_packets(worker, packets, count, user);
}

static void test_stop_from_handler(void **state)
{
	struct vnic_handler handler = {.receive = stop_when_called};
	struct probe probe;

	(void)state;
	open_probe(&probe, 1);
	send_packets(2);
	assert_int_equal(vnic_run(probe.device, &handler, &probe, NULL), 0);
	assert_int_equal(probe.packets, 2);
	close_probe(&probe);
}

static void test_handler_ends_the_run(void **state)
{
	static const int answers[] = {1, 77, -EPROTO};
	struct vnic_error error;
	struct probe probe;
	char name[VNIC_NAME_BYTES];

	(void)state;
	for (int i = 0; i < 3; i++) {
		int expected = answers[i] < 0 ? answers[i] : 0, code;

		memset(&error, 0, sizeof(error));
		open_probe(&probe, i + 1);
		probe.answer = answers[i];
		assert_int_equal(vnic_device_name(probe.device, name, NULL), 0);
		send_packets(1);
		code = vnic_run(probe.device, &notes, &probe, &error);
		assert_int_equal(code, expected);
		assert_int_equal(error.code, expected);
		assert_int_equal(error.cause, expected ? VNIC_CAUSE_HANDLER : VNIC_CAUSE_NONE);
		if (expected &&
		    (!strstr(error.text, name) || !strstr(error.text, strerror(EPROTO))))
			fail_msg("the text is '%s'", error.text);
		close_probe(&probe);
	}
}

/* Many queues. */

/* Answers a UDP packet, whose checksum stays right when both ends are exchanged. */
static int answer_flows(struct vnic_worker *worker, struct vnic_packet *packets, unsigned count,
			void *user)
{
	struct probe *probe = user;
	int sent;

	pthread_mutex_lock(&probe->lock);
	for (unsigned i = 0; i < count; i++) {
		uint8_t *data = packets[i].data, swap[4];
		unsigned flow = (unsigned)(data[20] << 8 | data[21]) - FLOW_PORT;
		uint32_t number;

		if (packets[i].length_bytes != 32 || flow >= FLOWS) {
			probe->bad++;
			continue;
		}
		memcpy(&number, data + 28, sizeof(number));
		if (probe->flow_worker[flow] < 0)
			probe->flow_worker[flow] = (int)vnic_worker_index(worker);
		if (number != probe->flow_next[flow] ||
		    probe->flow_worker[flow] != (int)vnic_worker_index(worker))
			probe->bad++;
		probe->flow_next[flow]++;
		memcpy(swap, data + 12, 4);
		memcpy(data + 12, data + 16, 4);
		memcpy(data + 16, swap, 4);
		memcpy(swap, data + 20, 2);
		memcpy(data + 20, data + 22, 2);
		memcpy(data + 22, swap, 2);
	}
	probe->packets += count;
	pthread_cond_broadcast(&probe->changed);
	pthread_mutex_unlock(&probe->lock);
	sent = vnic_worker_send(worker, packets, count);
	return sent == (int)count ? 0 : -EIO;
}

static void direct_flows(struct probe *probe)
{
	enum {
		ROUNDS = 20,
		PACKETS = 10
	};
	int sockets[FLOWS];

	for (unsigned i = 0; i < FLOWS; i++)
		sockets[i] = open_socket((uint16_t)(FLOW_PORT + i));
	for (uint32_t round = 0; round < ROUNDS; round++) {
		for (uint32_t i = 0; i < PACKETS; i++)
			for (unsigned flow = 0; flow < FLOWS; flow++)
				send_number(sockets[flow], round * PACKETS + i);
		for (uint32_t i = 0; i < PACKETS; i++) {
			for (unsigned flow = 0; flow < FLOWS; flow++) {
				uint32_t got = UINT32_MAX, expected = round * PACKETS + i;

				if (recv(sockets[flow], &got, sizeof(got), 0) == sizeof(got) &&
				    got == expected)
					continue;
				print_error("flow %u: answer %u, expected %u\n", flow, got,
					    expected);
				probe->bad++;
				goto out;
			}
		}
	}
out:
	for (unsigned i = 0; i < FLOWS; i++)
		close(sockets[i]);
}

static void test_each_flow_is_in_order(void **state)
{
	struct vnic_handler handler = {.receive = answer_flows, .timer = note_start};
	struct probe probe;
	unsigned used = 0;

	(void)state;
	open_probe(&probe, QUEUES);
	assert_int_equal(run_directed(&probe, &handler, direct_flows, NULL), 0);
	assert_int_equal(probe.packets, FLOWS * 200);
	for (unsigned i = 0; i < QUEUES; i++) {
		unsigned flows = 0;

		for (unsigned flow = 0; flow < FLOWS; flow++)
			flows += probe.flow_worker[flow] == (int)i;
		used += flows > 0;
		for (unsigned other = 0; other < i; other++)
			assert_false(pthread_equal(probe.threads[i], probe.threads[other]));
	}
	if (used < 2)
		fail_msg("all flows came to one queue");
	close_probe(&probe);
}

static void test_signals_reach_the_caller_only(void **state)
{
	struct probe probe;

	(void)state;
	open_probe(&probe, QUEUES);
	assert_int_equal(run_directed(&probe, &notes, only_stop, NULL), 0);
	assert_true(pthread_equal(probe.threads[0], pthread_self()));
	for (int i = 0; i < QUEUES; i++)
		assert_int_equal(probe.interruptible[i], i == 0);
	close_probe(&probe);
}

/* Time. */

static uint64_t note_timer(struct vnic_worker *worker, uint64_t now_ns, void *user)
{
	static const uint64_t steps_ns[] = {0, 1, 1000, 3000000, 20000000, 100000};
	struct probe *probe = user;
	unsigned call = probe->timers++;

	if (call > 0 && now_ns < probe->due_ns[call - 1]) {
		print_error("call %u came %lu ns early\n", call,
			    (unsigned long)(probe->due_ns[call - 1] - now_ns));
		probe->bad++;
	}
	if (call == sizeof(steps_ns) / sizeof(steps_ns[0])) {
		vnic_stop(vnic_worker_device(worker));
		return VNIC_NEVER;
	}
	probe->due_ns[call] = now_ns + steps_ns[call];
	return probe->due_ns[call];
}

static void test_timers_come_when_due(void **state)
{
	struct vnic_handler handler = {.receive = note_packets, .timer = note_timer};
	struct probe probe;

	(void)state;
	open_probe(&probe, 1);
	assert_int_equal(vnic_run(probe.device, &handler, &probe, NULL), 0);
	assert_int_equal(probe.timers, 7);
	assert_int_equal(probe.bad, 0);
	close_probe(&probe);
}

static void stay_idle(struct probe *probe)
{
	struct timespec while_idle = {.tv_nsec = 300000000};

	for (unsigned i = 1; i <= 20; i++) {
		send_packets(1);
		if (!wait_for(probe, &probe->packets, i))
			return;
	}
	nanosleep(&while_idle, NULL); /* this is the time that is measured */
}

static void test_idle_uses_no_cpu(void **state)
{
	struct rusage before, after;
	struct probe probe;
	long used_us, switches;

	(void)state;
	open_probe(&probe, 1);
	getrusage(RUSAGE_THREAD, &before);
	assert_int_equal(run_directed(&probe, &notes, stay_idle, NULL), 0);
	getrusage(RUSAGE_THREAD, &after);
	used_us = (after.ru_utime.tv_sec - before.ru_utime.tv_sec + after.ru_stime.tv_sec -
		   before.ru_stime.tv_sec) *
			  1000000 +
		  after.ru_utime.tv_usec - before.ru_utime.tv_usec + after.ru_stime.tv_usec -
		  before.ru_stime.tv_usec;
	switches = after.ru_nvcsw - before.ru_nvcsw;
	if (used_us > 150000)
		fail_msg("the worker used %ld us of CPU, 300 ms of them idle", used_us);
	/* 20 packets, the start, the stop, and locks; a wakeup per millisecond would show. */
	if (switches > 200)
		fail_msg("the worker slept and woke up %ld times", switches);
	close_probe(&probe);
}

/* What happens to the interface. */

static void assert_event(const struct probe *probe, unsigned index, enum vnic_link_event event,
			 const char *name)
{
	assert_true(index < probe->event_count);
	assert_string_equal(vnic_link_event_name(probe->events[index]),
			    vnic_link_event_name(event));
	assert_string_equal(probe->names[index], name);
}

static void delete_it(struct probe *probe)
{
	char name[VNIC_NAME_BYTES];

	if (vnic_device_name(probe->device, name, NULL) != 0 ||
	    vnic_link_delete(NULL, name, NULL) != 0)
		probe->bad++;
	/* The run must end by itself. */
	wait_for(probe, &probe->event_count, 1);
	while (probe->bad == 0) {
		enum vnic_link_event last;

		pthread_mutex_lock(&probe->lock);
		last = probe->events[probe->event_count - 1];
		pthread_mutex_unlock(&probe->lock);
		if (last == VNIC_LINK_EVENT_GONE)
			break;
		sched_yield();
	}
}

static void test_interface_deleted(void **state)
{
	(void)state;
	for (unsigned queues = 1; queues <= QUEUES; queues++) {
		char name[VNIC_NAME_BYTES], text[64];
		struct vnic_error error = {.text = ""};
		struct probe probe;
		unsigned gone = 0;

		open_probe(&probe, queues);
		assert_int_equal(vnic_device_name(probe.device, name, NULL), 0);
		assert_int_equal(run_directed(&probe, &notes, delete_it, &error), -ENODEV);
		assert_int_equal(error.code, -ENODEV);
		assert_int_equal(error.cause, VNIC_CAUSE_DEVICE_GONE);
		snprintf(text, sizeof(text), "interface '%s' is gone", name);
		assert_string_equal(error.text, text);
		for (unsigned i = 0; i < probe.event_count; i++)
			gone += probe.events[i] == VNIC_LINK_EVENT_GONE;
		assert_int_equal(gone, 1);
		assert_event(&probe, probe.event_count - 1, VNIC_LINK_EVENT_GONE, name);
		/* And again, at once. */
		vnic_stop(probe.device);
		assert_int_equal(vnic_run(probe.device, &notes, &probe, &error), -ENODEV);
		assert_int_equal(error.cause, VNIC_CAUSE_DEVICE_GONE);
		close_probe(&probe);
	}
}

static void set_state(struct probe *probe, enum vnic_link_state link_state, const char *new_name)
{
	struct vnic_link_config config = {.state = link_state, .new_name = new_name};
	struct vnic_error error;

	if (vnic_device_configure(probe->device, &config, &error) == 0)
		return;
	print_error("%s\n", error.text);
	probe->bad++;
}

static void down_and_up(struct probe *probe)
{
	send_packets(1);
	wait_for(probe, &probe->packets, 1);
	set_state(probe, VNIC_LINK_DOWN, NULL);
	wait_for(probe, &probe->event_count, 1);
	set_state(probe, VNIC_LINK_UP, NULL);
	wait_for(probe, &probe->event_count, 2);
	send_packets(1);
	wait_for(probe, &probe->packets, 2);
}

static void send_while_down(struct vnic_worker *worker, enum vnic_link_event event,
			    const char *name, void *user)
{
	uint8_t bytes[20] = {0x45, 0, 0, 20, 0, 0, 0, 0, 64, 253};
	struct vnic_packet packets[3];
	struct probe *probe = user;

	for (int i = 0; i < 3; i++)
		packets[i] = (struct vnic_packet){.data = bytes, .length_bytes = sizeof(bytes)};
	if (event == VNIC_LINK_EVENT_DOWN)
		probe->sent_while_down = vnic_worker_send(worker, packets, 3);
	note_event(worker, event, name, user);
}

static void test_interface_down_and_up(void **state)
{
	struct vnic_handler handler = {
		.receive = note_packets,
		.timer = note_start,
		.link = send_while_down,
	};
	struct vnic_queue_statistics statistics;
	char name[VNIC_NAME_BYTES];
	struct probe probe;

	(void)state;
	open_probe(&probe, 1);
	probe.sent_while_down = -1;
	assert_int_equal(vnic_device_name(probe.device, name, NULL), 0);
	assert_int_equal(run_directed(&probe, &handler, down_and_up, NULL), 0);
	assert_int_equal(probe.event_count, 2);
	assert_event(&probe, 0, VNIC_LINK_EVENT_DOWN, name);
	assert_event(&probe, 1, VNIC_LINK_EVENT_UP, name);
	assert_int_equal(probe.sent_while_down, 0);
	vnic_device_statistics(probe.device, 0, &statistics);
	assert_int_equal(statistics.sent_packets, 0);
	assert_int_equal(statistics.send_refused_packets, 3);
	assert_int_equal(statistics.send_link_down, 1);
	close_probe(&probe);
}

static void rename_and_delete(struct probe *probe)
{
	set_state(probe, VNIC_LINK_DOWN, NULL); /* older kernels rename no interface that is up */
	wait_for(probe, &probe->event_count, 1);
	set_state(probe, VNIC_LINK_KEEP, "other");
	wait_for(probe, &probe->event_count, 2);
	if (vnic_link_delete(NULL, "other", NULL) != 0)
		probe->bad++;
	wait_for(probe, &probe->event_count, 3);
}

static void test_interface_renamed(void **state)
{
	struct vnic_error error = {.text = ""};
	char name[VNIC_NAME_BYTES];
	struct probe probe;

	(void)state;
	open_probe(&probe, 2);
	assert_int_equal(vnic_device_name(probe.device, name, NULL), 0);
	assert_int_equal(run_directed(&probe, &notes, rename_and_delete, &error), -ENODEV);
	assert_string_equal(error.text, "interface 'other' is gone");
	assert_int_equal(probe.event_count, 3);
	assert_event(&probe, 0, VNIC_LINK_EVENT_DOWN, name);
	assert_event(&probe, 1, VNIC_LINK_EVENT_RENAMED, "other");
	assert_event(&probe, 2, VNIC_LINK_EVENT_GONE, "other");
	close_probe(&probe);
}

/* To the run an interface that moves to another namespace is gone: nobody here can reach it. */
static void move_away(struct probe *probe)
{
	char name[VNIC_NAME_BYTES], target[16], byte;
	int ready[2], status = -1;
	pid_t other, command;

	if (pipe(ready) < 0 || (other = fork()) < 0) {
		probe->bad++;
		return;
	}
	if (other == 0) {
		if (unshare(CLONE_NEWNET) < 0 || write(ready[1], "", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(ready[1]);
	if (read(ready[0], &byte, 1) != 1 || vnic_device_name(probe->device, name, NULL) != 0)
		probe->bad++;
	close(ready[0]);
	snprintf(target, sizeof(target), "%d", (int)other);
	command = fork();
	if (command == 0) {
		execlp("ip", "ip", "link", "set", name, "netns", target, (char *)NULL);
		_exit(127);
	}
	if (waitpid(command, &status, 0) != command || status != 0)
		probe->bad++;
	wait_for(probe, &probe->event_count, 2);
	kill(other, SIGKILL);
	waitpid(other, NULL, 0);
}

static void test_interface_moved(void **state)
{
	struct vnic_error error = {.text = ""};
	char name[VNIC_NAME_BYTES];
	struct probe probe;

	(void)state;
	open_probe(&probe, 2);
	assert_int_equal(vnic_device_name(probe.device, name, NULL), 0);
	assert_int_equal(run_directed(&probe, &notes, move_away, &error), -ENODEV);
	assert_int_equal(error.cause, VNIC_CAUSE_DEVICE_GONE);
	assert_event(&probe, probe.event_count - 1, VNIC_LINK_EVENT_GONE, name);
	close_probe(&probe);
}

/* Traffic. */

/* An echo request of the host's to the kernel, which answers while it is being written. */
static int ask_again(struct vnic_worker *worker, struct vnic_packet *packets, unsigned count,
		     void *user)
{
	static const uint8_t request[28] = {
		0x45, 0, 0,  28, 0, 0, 0, 0, 64,   1,    0x66, 0x45, 10, 77,
		0,    2, 10, 77, 0, 1, 8, 0, 0xf7, 0xff, 0,    0,    0,  0,
	};

	for (unsigned i = 0; i < count; i++) {
		memcpy(packets[i].data, request, sizeof(request));
		packets[i].length_bytes = sizeof(request);
	}
	if (vnic_worker_send(worker, packets, count) != (int)count)
		return -EIO;
	return note_packets(worker, packets, count, user);
}

static void flood(struct probe *probe)
{
	send_packets(200);
	wait_for(probe, &probe->packets, 20000);
}

static void flood_and_rename(struct probe *probe)
{
	flood(probe);
	set_state(probe, VNIC_LINK_KEEP, "flooded");
	wait_for(probe, &probe->event_count, 1);
}

static void test_flood_does_not_starve_stop(void **state)
{
	struct vnic_handler handler = {
		.receive = ask_again,
		.timer = note_start,
		.link = note_event,
	};
	struct probe probe;

	(void)state;
	open_probe(&probe, 1);
	assert_int_equal(run_directed(&probe, &handler, flood, NULL), 0);
	assert_true(probe.packets >= 20000);
	assert_true(probe.timers > 20000 / VNIC_BURST_PACKETS); /* after each burst */
	close_probe(&probe);
}

static void test_flood_does_not_starve_link_events(void **state)
{
	struct vnic_handler handler = {
		.receive = ask_again,
		.timer = note_start,
		.link = note_event,
	};
	struct vnic_link_config config = {.new_name = "before"};
	struct probe probe;

	(void)state;
	open_probe(&probe, 1);
	config.state = VNIC_LINK_KEEP;
	if (vnic_device_configure(probe.device, &config, NULL) != 0) {
		close_probe(&probe);
		print_message("this kernel renames no interface that is up\n");
		skip();
	}
	assert_int_equal(run_directed(&probe, &handler, flood_and_rename, NULL), 0);
	assert_event(&probe, 0, VNIC_LINK_EVENT_RENAMED, "flooded");
	close_probe(&probe);
}

static uint64_t always_due(struct vnic_worker *worker, uint64_t now_ns, void *user)
{
	note_start(worker, now_ns, user);
	return now_ns;
}

/* Who always has more to do gets its packets and its end all the same. */
static void test_timer_does_not_starve_others(void **state)
{
	struct vnic_handler handler = {.receive = ask_again, .timer = always_due};
	struct probe probe;

	(void)state;
	open_probe(&probe, 1);
	assert_int_equal(run_directed(&probe, &handler, flood, NULL), 0);
	assert_true(probe.packets >= 20000);
	close_probe(&probe);
}

static uint64_t send_many(struct vnic_worker *worker, uint64_t now_ns, void *user)
{
	uint8_t bytes[32] = {
		0x45, 0,  0, 32, 0,  0,  0, 0, 64, 17, 0x66,           0x31,
		10,   77, 0, 2,  10, 77, 0, 1, 0,  7,  FLOW_PORT >> 8, FLOW_PORT & 0xff,
		0,    12, 0, 0,
	};
	struct vnic_packet packets[150];
	struct probe *probe = user;

	if (probe->started)
		return VNIC_NEVER;
	for (int i = 0; i < 150; i++)
		packets[i] = (struct vnic_packet){.data = bytes, .length_bytes = sizeof(bytes)};
	if (vnic_worker_send(worker, packets, 150) != 150)
		probe->bad++;
	if (vnic_worker_send(worker, packets, 0) != 0)
		probe->bad++;
	return note_start(worker, now_ns, user);
}

static void test_send_takes_any_number(void **state)
{
	struct vnic_handler handler = {.receive = note_packets, .timer = send_many};
	struct probe probe;
	int descriptor;

	(void)state;
	open_probe(&probe, 1);
	descriptor = open_socket(FLOW_PORT);
	assert_int_equal(run_directed(&probe, &handler, only_stop, NULL), 0);
	for (int i = 0; i < 150; i++) {
		uint32_t number;

		assert_int_equal(recv(descriptor, &number, sizeof(number), MSG_DONTWAIT), 4);
	}
	close(descriptor);
	close_probe(&probe);
}

/* What a run needs. */

static unsigned count_entries(const char *path)
{
	DIR *listing = opendir(path);
	unsigned count = 0;

	assert_non_null(listing);
	while (readdir(listing))
		count++;
	closedir(listing);
	return count;
}

static void test_out_of_descriptors(void **state)
{
	struct vnic_error error = {.text = ""};
	struct rlimit before, limit;
	struct probe probe;
	int code;

	(void)state;
	open_probe(&probe, 1);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	limit = before;
	limit.rlim_cur = 3;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	code = vnic_run(probe.device, &notes, &probe, &error);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_int_equal(code, -EMFILE);
	assert_int_equal(error.cause, VNIC_CAUSE_LIMIT);
	assert_int_equal(probe.started, 0);
	close_probe(&probe);
}

static unsigned descriptors_before;

static int set_up(void **state)
{
	(void)state;
	alarm(300); /* what hangs is a failure */
	if (unshare(CLONE_NEWNET) < 0) {
		print_error("unshare: %s\n", strerror(errno));
		return -1;
	}
	descriptors_before = count_entries("/proc/self/fd");
	return 0;
}

static int tear_down(void **state)
{
	unsigned descriptors = count_entries("/proc/self/fd");
	unsigned threads = count_entries("/proc/self/task") - 2;

	(void)state;
	/* ThreadSanitizer has one of its own. */
	if (descriptors == descriptors_before && threads <= 2)
		return 0;
	print_error("%u descriptors before, %u after; %u threads after\n", descriptors_before,
		    descriptors, threads);
	return -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stop_before_run),
		cmocka_unit_test(test_stop_from_thread),
		cmocka_unit_test(test_stop_from_signal_handler),
		cmocka_unit_test(test_stop_from_signal_during_handler),
		cmocka_unit_test(test_stop_from_handler),
		cmocka_unit_test(test_handler_ends_the_run),
		cmocka_unit_test(test_each_flow_is_in_order),
		cmocka_unit_test(test_signals_reach_the_caller_only),
		cmocka_unit_test(test_timers_come_when_due),
		cmocka_unit_test(test_idle_uses_no_cpu),
		cmocka_unit_test(test_interface_deleted),
		cmocka_unit_test(test_interface_down_and_up),
		cmocka_unit_test(test_interface_renamed),
		cmocka_unit_test(test_interface_moved),
		cmocka_unit_test(test_flood_does_not_starve_stop),
		cmocka_unit_test(test_flood_does_not_starve_link_events),
		cmocka_unit_test(test_timer_does_not_starve_others),
		cmocka_unit_test(test_send_takes_any_number),
		cmocka_unit_test(test_out_of_descriptors),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
