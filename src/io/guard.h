/* SPDX-License-Identifier: MIT */
/*
 * A process between us and one that we start, so that nothing of that is left when we end, however
 * we end. One thread at a time.
 */
#ifndef VN_IO_GUARD_H
#define VN_IO_GUARD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct vn_guard {
	int control; /* readable when all has ended; -1: there is none */
	pid_t guard;
	pid_t command; /* the process that was started; only to be told */
};

/** How it ended. */
struct vn_guard_end {
	bool is_known;
	bool is_signal; /* number is a signal's; otherwise a status */
	int32_t number;
};

#define VN_GUARD_NONE ((struct vn_guard){.control = -1})

/**
 * Start a process of its own session, which dies with its guard.
 * @param become  called in it; it must not return, and do nothing but what signal-safety(7) allows.
 *                All signals are blocked and have handlers of ours, descriptors are still ours
 * @return 0; -EMFILE, -ENFILE, -EAGAIN, -ENOMEM: as socketpair(2) and fork(2)
 */
int vn_guard_start(struct vn_guard *guard, void (*become)(void *argument), void *argument);
/**
 * Send a signal to its process group. SIGKILL ends everything that it started, too. NULL or ended:
 * nothing happens
 */
void vn_guard_signal(const struct vn_guard *guard, int number);
/** Wait until it has ended, which ends everything that it started, and give the guard back. */
void vn_guard_reap(struct vn_guard *guard, struct vn_guard_end *end);

#endif
