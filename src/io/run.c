/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. A worker is a thread with one queue of the device and memory for one burst.
 * Worker 0 is the caller's own thread, so a device with one queue starts none; the threads of the
 * others have all signals blocked, so that signals reach the program's own threads. Workers share
 * nothing that changes but two things: the stop descriptor, and the reason why the run ends, which
 * the first to have one writes.
 *
 * The stop descriptor is an eventfd(2) that belongs to the device. vnic_stop() writes to it, which
 * a signal handler may, and so does a worker that ends the run. Nobody reads it before all workers
 * have ended: while it is readable every poll(2) of every worker returns at once. So no worker can
 * miss it, and one written before a run ends that run when it begins.
 *
 * A worker reads its queue until it is empty, burst by burst; then it waits in ppoll(2), for as
 * long as the handler's timer allows, for its queue, the stop descriptor and (worker 0) the watch.
 * A queue that never becomes empty must not keep it from looking at the others, so after
 * VN_BURSTS_MOST bursts it looks without waiting. A timer that is due at once is called in turn with
 * reading the queue: a handler that has much to send sends it piece by piece that way, and takes in
 * what comes meanwhile. An idle worker sleeps without a timeout and costs nothing.
 *
 * Before it sleeps it may go on reading for a short while (wait.c).
 *
 * What comes from the device may be super-packets. They are given to the handler as they are, unless
 * it asks for plain packets: then everything passes through an outlet (outlet.c), where super-packets
 * are cut and checksums completed, and the handler is called each time that it is full. So one burst
 * may be several calls, in memory that is the same each time. What the handler sends takes the way
 * of sender.c.
 *
 * An interface that is deleted shows in three ways, in any order: POLLERR, -ENODEV from a call, and
 * an event of the watch. Each of them ends the run; the handler is told once, at the end, when its
 * other workers have stopped. Without the watch (a sandbox without netlink, a descriptor whose
 * namespace we may not look into) a run has no link events but still notices that.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vnic/run.h>

#include "base/error.h"
#include "device/device.h"
#include "io/outlet.h"
#include "io/sender.h"
#include "io/wait.h"

/* For handlers that put a header of their own before a packet. */
#define HEADROOM_BYTES 128

struct run {
	struct vnic_device *device;
	const struct vnic_handler *handler;
	void *user;
	int stop;                   /* the device's eventfd */
	struct vnic_watch *watch;   /* worker 0 only, as is the name */
	char name[VNIC_NAME_BYTES]; /* the last that we heard of */
	atomic_flag
		is_over; /* who sets it writes the next two, which are read when all have ended */
	int code;
	enum vnic_cause cause;
};

struct vnic_worker {
	struct run *run;
	unsigned index;
	int descriptor;
	struct vnic_burst *burst;
	unsigned wanted;        /* how many packets to receive at once */
	struct vn_outlet plain; /* only where the handler asks for such */
	struct vn_sender sender;
	pthread_t thread; /* not of worker 0 */
	bool is_gone;     /* a call said that there is no interface any more */
	uint64_t now_ns;
	uint64_t timer_ns; /* when the handler wants to be called */
	struct vn_spin spin;
};

enum {
	QUEUE,
	STOP,
	WATCH,
	DESCRIPTORS
};

void vnic_stop(struct vnic_device *device)
{
	vn_wake(device->stop);
}

/* End the run for all workers. The first reason counts. */
static void end_run(struct run *run, int code, enum vnic_cause cause)
{
	if (!atomic_flag_test_and_set(&run->is_over)) {
		run->code = code;
		run->cause = cause;
	}
	vn_wake(run->stop);
}

/* Not from within vnic_worker_send(), where the handler is in the middle of something. */
static void tell_fallback(struct vnic_worker *worker)
{
	const char *failed = worker->sender.failed;
	struct run *run = worker->run;
	char name[VNIC_NAME_BYTES] = "", text[128];

	worker->sender.failed = NULL;
	if (!failed || !run->handler->fallback)
		return;
	(void)vnic_device_name(run->device, name, NULL);
	snprintf(text, sizeof(text),
		 "the kernel granted '%s' to segment %s and refuses to: it is done in software now",
		 name, failed);
	run->handler->fallback(worker, text, run->user);
}

static void call_timer(struct vnic_worker *worker)
{
	struct run *run = worker->run;

	if (run->handler->timer)
		worker->timer_ns = run->handler->timer(worker, worker->now_ns, run->user);
	tell_fallback(worker);
}

static void count_malformed(struct vnic_worker *worker)
{
	_Atomic uint64_t *malformed =
		&worker->run->device->queues[worker->index].counters.received_malformed_packets;

	atomic_store_explicit(malformed, atomic_load_explicit(malformed, memory_order_relaxed) + 1,
			      memory_order_relaxed);
}

static int hand_over_plain(struct vnic_worker *worker)
{
	struct vn_outlet *plain = &worker->plain;
	struct run *run = worker->run;
	unsigned count = plain->count;

	plain->count = 0;
	plain->used_bytes = 0;
	if (count == 0 || worker->is_gone)
		return 0;
	return run->handler->receive(worker, plain->packets, count, run->user);
}

/* Super-packets that are cut need no more memory than 64 of their segments. */
static int deliver_plain(struct vnic_worker *worker, struct vnic_packet *packets, unsigned count)
{
	enum vnic_layer layer = vnic_device_layer(worker->run->device);
	struct vn_outlet *plain = &worker->plain;
	struct vnic_segmenter segmenter;
	int code = 0;

	for (unsigned i = 0; i < count; i++) {
		if (packets[i].gso_type == VNIC_GSO_NONE) {
			if (vnic_packet_finish_checksum(&packets[i]) < 0)
				count_malformed(worker);
			else
				plain->packets[plain->count++] = packets[i];
			if (plain->count == VNIC_BURST_PACKETS)
				code = hand_over_plain(worker);
		} else if (vnic_segmenter_begin(&segmenter, &packets[i], layer) < 0) {
			count_malformed(worker);
		} else {
			while (code == 0 && vn_outlet_cut(plain, &segmenter) > 0)
				if (plain->count == VNIC_BURST_PACKETS)
					code = hand_over_plain(worker);
		}
		if (code != 0)
			return code;
	}
	return hand_over_plain(worker);
}

/* Returns how many packets there were, or -1 where the run is over. */
static int serve_burst(struct vnic_worker *worker)
{
	struct run *run = worker->run;
	struct vnic_packet *packets = vnic_burst_packets(worker->burst);
	int count, code;

	vnic_burst_reset(worker->burst);
	count = vnic_device_receive(run->device, worker->index, packets, worker->wanted);
	if (count == -EAGAIN)
		return 0;
	if (count < 0) {
		end_run(run, count, count == -ENODEV ? VNIC_CAUSE_DEVICE_GONE : VNIC_CAUSE_SYSTEM);
		return -1;
	}
	worker->now_ns = vn_now_ns();
	vn_spin_traffic(&worker->spin, worker->now_ns);
	worker->wanted = vn_burst_wanted(packets, (unsigned)count);
	code = run->handler->plain
		       ? deliver_plain(worker, packets, (unsigned)count)
		       : run->handler->receive(worker, packets, (unsigned)count, run->user);
	if (worker->is_gone) {
		end_run(run, -ENODEV, VNIC_CAUSE_DEVICE_GONE);
		return -1;
	}
	if (code != 0) {
		end_run(run, code < 0 ? code : 0, code < 0 ? VNIC_CAUSE_HANDLER : VNIC_CAUSE_NONE);
		return -1;
	}
	call_timer(worker);
	return count;
}

/* Tell the handler what the watch saw. Returns false where it saw the interface go. */
static bool serve_watch(struct vnic_worker *worker)
{
	struct run *run = worker->run;
	char name[VNIC_NAME_BYTES];
	int event;

	while ((event = vnic_watch_next(run->watch, name)) > 0) {
		memcpy(run->name, name, sizeof(run->name));
		if (event == VNIC_LINK_EVENT_GONE)
			return false;
		if (run->handler->link)
			run->handler->link(worker, (enum vnic_link_event)event, name, run->user);
	}
	if (event < 0) { /* it will not recover */
		vnic_watch_close(run->watch);
		run->watch = NULL;
	}
	return true;
}

/* Wait for something to do, or only look, and do all but the packets. False: the run is over. */
static bool wait_or_look(struct vnic_worker *worker, bool wait)
{
	struct run *run = worker->run;
	bool has_watch = worker->index == 0 && run->watch;
	struct pollfd descriptors[DESCRIPTORS] = {
		[QUEUE] = {.fd = worker->descriptor, .events = POLLIN},
		[STOP] = {.fd = run->stop, .events = POLLIN},
		[WATCH] = {.fd = has_watch ? vnic_watch_descriptor(run->watch) : -1,
			   .events = POLLIN},
	};
	int count = vn_wait(descriptors, DESCRIPTORS, worker->now_ns, wait ? worker->timer_ns : 0);

	if (count < 0) {
		end_run(run, count, count == -ENOMEM ? VNIC_CAUSE_MEMORY : VNIC_CAUSE_SYSTEM);
		return false;
	}
	worker->now_ns = vn_now_ns();
	if (wait)
		vn_spin_learn(&worker->spin, worker->now_ns);
	if (count > 0 && descriptors[STOP].revents)
		return false;
	if ((count > 0 && descriptors[QUEUE].revents & (POLLERR | POLLNVAL)) ||
	    (count > 0 && descriptors[WATCH].revents && !serve_watch(worker)) || worker->is_gone) {
		end_run(run, -ENODEV, VNIC_CAUSE_DEVICE_GONE);
		return false;
	}
	/* After a link event as well: what the handler did about it may want a timer. */
	if (worker->now_ns >= worker->timer_ns || (count > 0 && descriptors[WATCH].revents))
		call_timer(worker);
	return true;
}

static void serve(struct vnic_worker *worker)
{
	unsigned bursts = 0;
	int count;

	/* A stop that was there before us comes before packets. */
	if (!wait_or_look(worker, false))
		return;
	while ((count = serve_burst(worker)) >= 0) {
		bool wait = false;

		if (count > 0 && ++bursts < VN_BURSTS_MOST)
			continue;
		if (count == 0) {
			worker->now_ns = vn_now_ns();
			wait = worker->now_ns < worker->timer_ns;
			if (wait && vn_spin_goes_on(&worker->spin, worker->now_ns))
				continue;
			if (!wait && ++bursts < VN_BURSTS_MOST) {
				call_timer(worker);
				continue;
			}
		}
		bursts = 0;
		if (!wait_or_look(worker, wait))
			break;
	}
}

static void *work(void *argument)
{
	struct vnic_worker *worker = argument;

	worker->now_ns = vn_now_ns();
	vn_spin_traffic(&worker->spin, worker->now_ns);
	call_timer(worker);
	serve(worker);
	tell_fallback(worker); /* where the last call ended the run */
	return NULL;
}

static int start_threads(struct vnic_worker *workers, unsigned count, unsigned *started,
			 struct vnic_error *error)
{
	for (*started = 1; *started < count; ++*started) {
		struct vnic_worker *worker = &workers[*started];
		int code = vn_thread_start(&worker->thread, work, worker);

		if (code < 0)
			return vn_error_system(error, code, VNIC_CAUSE_LIMIT,
					       "cannot start a thread for queue %u", *started);
	}
	return 0;
}

/* Without a watch there are no link events, which is no reason not to run. */
static int open_watch(struct run *run, struct vnic_error *error)
{
	struct vnic_error why;
	int code = vnic_watch_open(run->device, &run->watch, &why);

	if (code == -ENODEV || code == -EMFILE || code == -ENFILE || code == -ENOMEM) {
		if (error)
			*error = why;
		return code;
	}
	return 0;
}

/* All workers have ended: say why. */
static int finish(struct vnic_worker *worker, struct vnic_error *error)
{
	struct run *run = worker->run;

	vn_wake_clear(run->stop);
	switch (run->cause) {
	case VNIC_CAUSE_NONE:
		return 0;
	case VNIC_CAUSE_DEVICE_GONE:
		if (run->watch)
			serve_watch(worker); /* what happened before */
		if (run->handler->link)
			run->handler->link(worker, VNIC_LINK_EVENT_GONE, run->name, run->user);
		return vn_error(error, run->code, run->cause, "interface '%s' is gone", run->name);
	case VNIC_CAUSE_HANDLER:
		return vn_error_system(error, run->code, run->cause, "the handler of '%s' failed",
				       run->name);
	default:
		return vn_error_system(error, run->code, run->cause, "cannot receive from '%s'",
				       run->name);
	}
}

static void free_workers(struct vnic_worker *workers, unsigned count)
{
	for (unsigned i = 0; workers && i < count; i++) {
		vnic_burst_free(workers[i].burst);
		vn_outlet_free(&workers[i].plain);
		vn_sender_free(&workers[i].sender);
	}
	free(workers);
}

static int make_worker(struct run *run, struct vnic_worker *worker, unsigned index,
		       struct vnic_error *error)
{
	worker->run = run;
	worker->index = index;
	worker->descriptor = vnic_device_descriptor(run->device, index);
	worker->timer_ns = VNIC_NEVER;
	worker->wanted = VNIC_BURST_PACKETS;
	worker->spin.allowed = vn_may_spin();
	if (vn_sender_init(&worker->sender, run->device, index) < 0 ||
	    (run->handler->plain && vn_outlet_init(&worker->plain, HEADROOM_BYTES) < 0))
		return vn_error(error, -ENOMEM, VNIC_CAUSE_MEMORY, "no memory for a worker");
	return vnic_burst_new(VNIC_BURST_PACKETS, 0, HEADROOM_BYTES, &worker->burst, error);
}

static int new_workers(struct run *run, unsigned count, struct vnic_worker **workers,
		       struct vnic_error *error)
{
	struct vnic_worker *made = calloc(count, sizeof(*made));
	int code = 0;

	if (!made) {
		vn_error(error, -ENOMEM, VNIC_CAUSE_MEMORY, "no memory for %u workers", count);
		return -ENOMEM;
	}
	for (unsigned i = 0; i < count && code == 0; i++)
		code = make_worker(run, &made[i], i, error);
	if (code < 0)
		free_workers(made, count);
	else
		*workers = made;
	return code;
}

int vnic_run(struct vnic_device *device, const struct vnic_handler *handler, void *user,
	     struct vnic_error *error)
{
	struct run run = {
		.device = device,
		.handler = handler,
		.user = user,
		.stop = device->stop,
		.is_over = ATOMIC_FLAG_INIT,
	};
	unsigned count = vnic_device_queues(device), started = 1;
	struct vnic_worker *workers = NULL;
	int code = vnic_device_name(device, run.name, error);

	if (code == 0)
		code = open_watch(&run, error);
	if (code == 0)
		code = new_workers(&run, count, &workers, error);
	if (code == 0) {
		int start = start_threads(workers, count, &started, error);

		if (start == 0)
			work(&workers[0]);
		else
			vn_wake(run.stop);
		while (started > 1)
			pthread_join(workers[--started].thread, NULL);
		code = finish(&workers[0], start == 0 ? error : NULL);
		if (start < 0)
			code = start;
	}
	free_workers(workers, count);
	vnic_watch_close(run.watch);
	return code;
}

int vnic_worker_send(struct vnic_worker *worker, const struct vnic_packet *packets, unsigned count)
{
	int sent = vn_sender_send(&worker->sender, packets, count);

	worker->is_gone |= sent == -ENODEV;
	return sent;
}

unsigned vnic_worker_index(const struct vnic_worker *worker)
{
	return worker->index;
}

struct vnic_device *vnic_worker_device(const struct vnic_worker *worker)
{
	return worker->run->device;
}

uint64_t vnic_worker_now_ns(const struct vnic_worker *worker)
{
	return worker->now_ns;
}
