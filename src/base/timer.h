/* SPDX-License-Identifier: MIT */
#ifndef VN_BASE_TIMER_H
#define VN_BASE_TIMER_H

#include <stdbool.h>
#include <stdint.h>

#define VN_TIMER_SLOTS 64  /* per level, one bit of a word each */
#define VN_TIMER_LEVELS 11 /* of 6 bits: 64 bits of nanoseconds */

/**
 * Stands in what it is for; it must not move while it is set. Zeroed, it is not set. due_ns may be
 * read, the rest is timer.c's.
 */
struct vn_timer {
	struct vn_timer *next, **link; /* link points to what points to it; NULL: not set */
	uint64_t due_ns;
	uint32_t slot;
};

/** Any number of timers on one clock that never goes back. Must not move. Not thread-safe. */
struct vn_timers {
	uint64_t now_ns;
	uint32_t levels;                    /* bit: a level with a timer in it */
	uint64_t occupied[VN_TIMER_LEVELS]; /* bit: a slot with a timer in it */
	struct vn_timer *slots[VN_TIMER_LEVELS * VN_TIMER_SLOTS];
};

void vn_timers_init(struct vn_timers *timers, uint64_t now_ns);
/** Set a timer, or move it if it is set. One in the past is due at once. */
void vn_timer_set(struct vn_timers *timers, struct vn_timer *timer, uint64_t due_ns);
/** Allowed as well if it is not set. */
void vn_timer_clear(struct vn_timers *timers, struct vn_timer *timer);

static inline bool vn_timer_is_set(const struct vn_timer *timer)
{
	return timer->link;
}

/**
 * Take out a timer whose time has come, in no promised order. Any timer may be set or cleared
 * before the next call; one that is set to a time not after now_ns comes in the same loop again.
 * @return  no longer set, with due_ns <= now_ns; NULL: none is due
 */
struct vn_timer *vn_timers_expired(struct vn_timers *timers, uint64_t now_ns);
/**
 * When to call vn_timers_expired() next: the earliest due_ns or sooner, and exact for a timer that
 * is alone in its slot. That call yields a timer or moves this time on. Costs the same whatever is
 * set.
 * @return  0: at once; UINT64_MAX: no timer is set, or is due only then
 */
uint64_t vn_timers_next(const struct vn_timers *timers);

#endif
