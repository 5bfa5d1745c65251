/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A hierarchical timing wheel (Varghese and Lauck, 1987): a time of 64 bits is 11 digits of 6 bits.
 * A timer is kept at the level of the highest digit in which its time differs from now, in the slot
 * of its own digit there. So setting and clearing cost the same whatever else is set, and most
 * timers of a network stack are cleared or moved before they are due.
 *
 * All timers are ahead of now, so at each level the slots in use are those above now's digit; a
 * level's timers are all due before those of the level above, and a slot's before those of the slot
 * above. The earliest are found by two bitmaps, of levels and of slots. That is why time may jump
 * by hours: what is empty is never looked at.
 *
 * When now reaches the first moment of the earliest slot, its timers are due or spread over lower
 * levels, each at most once per level. All timers of one slot are moved in one call: a slot of
 * level 4 is 17 ms wide, one of level 5 is 1.07 s.
 *
 * Digits go down to single nanoseconds, below any tick that would be worth its while by itself, so
 * that no timer is early and none is late: there is no rounding, and no second structure that sorts
 * what is due within a tick. It costs little: who looks at the time every 100 us finds most timers
 * due when their slot of level 2 (4 us) or 3 (262 us) is reached, and they do not go down further.
 *
 * Slot 0 of level 0 cannot hold a timer that is ahead: no digit is below 0. There are those that
 * are due.
 */
#include "base/timer.h"

#include <stddef.h>
#include <string.h>

#define DIGIT_BITS 6
#define DUE_SLOT 0u

_Static_assert(sizeof(struct vn_timer) <= 32, "two in a cache line");
_Static_assert(VN_TIMER_SLOTS == 1 << DIGIT_BITS, "a slot for each digit");
_Static_assert(VN_TIMER_LEVELS *DIGIT_BITS >= 64, "a level for each digit");

void vn_timers_init(struct vn_timers *timers, uint64_t now_ns)
{
	memset(timers, 0, sizeof(*timers));
	timers->now_ns = now_ns;
}

/* Put a timer that is in no slot into one: the due one if its time is not after due_until_ns. */
static void insert(struct vn_timers *timers, struct vn_timer *timer, uint64_t due_until_ns)
{
	unsigned level = 0, digit = DUE_SLOT;
	struct vn_timer **first;

	if (timer->due_ns > due_until_ns) {
		level = (63 - (unsigned)__builtin_clzll(timer->due_ns ^ timers->now_ns)) /
			DIGIT_BITS;
		digit = timer->due_ns >> (level * DIGIT_BITS) & (VN_TIMER_SLOTS - 1);
	}
	timer->slot = level * VN_TIMER_SLOTS + digit;
	first = &timers->slots[timer->slot];
	timer->next = *first;
	if (timer->next)
		timer->next->link = &timer->next;
	timer->link = first;
	*first = timer;
	timers->occupied[level] |= UINT64_C(1) << digit;
	timers->levels |= 1u << level;
}

static void mark_empty(struct vn_timers *timers, unsigned slot)
{
	unsigned level = slot / VN_TIMER_SLOTS;

	timers->occupied[level] &= ~(UINT64_C(1) << slot % VN_TIMER_SLOTS);
	if (!timers->occupied[level])
		timers->levels &= ~(1u << level);
}

void vn_timer_clear(struct vn_timers *timers, struct vn_timer *timer)
{
	if (!timer->link)
		return;
	*timer->link = timer->next;
	if (timer->next)
		timer->next->link = timer->link;
	else if (!timers->slots[timer->slot])
		mark_empty(timers, timer->slot);
	timer->next = NULL;
	timer->link = NULL;
}

void vn_timer_set(struct vn_timers *timers, struct vn_timer *timer, uint64_t due_ns)
{
	vn_timer_clear(timers, timer);
	timer->due_ns = due_ns;
	insert(timers, timer, timers->now_ns);
}

/* The slot with the earliest timers; there is one. */
static unsigned earliest(const struct vn_timers *timers)
{
	unsigned level = (unsigned)__builtin_ctz(timers->levels);

	return level * VN_TIMER_SLOTS + (unsigned)__builtin_ctzll(timers->occupied[level]);
}

/* now_ns with the slot's digit at the slot's level and zeros below. */
static uint64_t first_moment_ns(uint64_t now_ns, unsigned slot)
{
	unsigned shift = slot / VN_TIMER_SLOTS * DIGIT_BITS;
	uint64_t above = now_ns >> shift & ~(uint64_t)(VN_TIMER_SLOTS - 1);

	return (above | slot % VN_TIMER_SLOTS) << shift;
}

struct vn_timer *vn_timers_expired(struct vn_timers *timers, uint64_t now_ns)
{
	while (timers->levels) {
		unsigned slot = earliest(timers);
		struct vn_timer *timer = timers->slots[slot], *next;
		uint64_t moment_ns;

		if (slot == DUE_SLOT) {
			vn_timer_clear(timers, timer);
			return timer;
		}
		moment_ns = first_moment_ns(timers->now_ns, slot);
		if (moment_ns > now_ns)
			break;
		/* Only this far, not to now_ns: slots in between are still where this puts them. */
		timers->now_ns = moment_ns;
		timers->slots[slot] = NULL;
		mark_empty(timers, slot);
		for (; timer; timer = next) {
			next = timer->next;
			insert(timers, timer, now_ns);
		}
	}
	if (timers->now_ns < now_ns)
		timers->now_ns = now_ns;
	return NULL;
}

uint64_t vn_timers_next(const struct vn_timers *timers)
{
	const struct vn_timer *timer;
	unsigned slot;

	if (!timers->levels)
		return UINT64_MAX;
	slot = earliest(timers);
	if (slot == DUE_SLOT)
		return 0;
	timer = timers->slots[slot];
	return timer->next ? first_moment_ns(timers->now_ns, slot) : timer->due_ns;
}
