/* SPDX-License-Identifier: MIT */
/* What the loops of vnic_run() and vnic_wire_run() have in common: time, waiting, and threads. */
#ifndef VN_IO_WAIT_H
#define VN_IO_WAIT_H

#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/** Bursts that a worker moves before it looks at its other descriptors: a few milliseconds. */
#define VN_BURSTS_MOST 16
/** For vn_wait(): without a limit. */
#define VN_NEVER UINT64_MAX

/** CLOCK_MONOTONIC in ns. */
uint64_t vn_now_ns(void);

/** How long a worker goes on reading before it sleeps. Belongs to one thread. */
struct vn_spin {
	bool allowed;        /* false: never */
	uint64_t traffic_ns; /* when the last packets came */
	uint64_t spin_ns;    /* how long to go on after that */
};
/** To spin pays only where somebody else can run meanwhile: ask before threads are pinned. */
bool vn_may_spin(void);
static inline void vn_spin_traffic(struct vn_spin *spin, uint64_t now_ns)
{
	spin->traffic_ns = now_ns;
}
/**
 * Nothing came: true where the worker shall try again before it sleeps. Lets others run meanwhile.
 */
bool vn_spin_goes_on(const struct vn_spin *spin, uint64_t now_ns);
/** It slept and was woken. */
void vn_spin_learn(struct vn_spin *spin, uint64_t now_ns);

/**
 * poll(2) until a deadline (VN_NEVER: without one; in the past: only look).
 * @return how many descriptors have something to tell, 0, or a negative errno; -EINTR is 0
 */
int vn_wait(struct pollfd *descriptors, unsigned count, uint64_t now_ns, uint64_t deadline_ns);

/** Make an eventfd(2) readable. From any thread, and from a signal handler. */
void vn_wake(int descriptor);
/** Take that back. */
void vn_wake_clear(int descriptor);

/**
 * Start a thread with all signals blocked, so that they reach the program's own threads.
 * @return 0 or a negative errno
 */
int vn_thread_start(pthread_t *thread, void *(*function)(void *), void *argument);

#endif
