/* SPDX-License-Identifier: MIT */
/* Numbers for tests that try many: the same ones in every run. */
#ifndef TEST_RANDOM_H
#define TEST_RANDOM_H

#include <stdint.h>

/* xorshift64; *state is the seed at first, and not 0 */
static inline uint64_t random_next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* Below bound, from the high bits: the low ones of an xorshift are its worse ones. */
static inline unsigned random_below(uint64_t *state, unsigned bound)
{
	return (unsigned)((random_next(state) >> 32) % bound);
}

#endif
