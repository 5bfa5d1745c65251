/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. One test runs at a time. Its control connection and its streams are flows of
 * their own, so each may be on another shard, which is another thread; what they must know of each
 * other is here. The control connection's thread moves the test from phase to phase; the streams
 * look at the phase, and leave their counts in a place of their own each. The lock is for finding
 * the test and joining it, never for data. Whoever points to a test has a reference; memory that is in
 * use for a stream that still closes does not keep the next test from beginning.
 *
 * Streams are told apart by their order: the client numbers them as it connects, one after another,
 * and of a bidirectional test the first half is what it sends. Their cookies may be seen in another
 * order where they come to different threads, one of which has to wait for a processor. But the
 * handshake of each was answered before the client began the next one, so the times of their first
 * packets, of a clock that all threads share, tell the order.
 */
#include "iperf3_test.h"

#include <ctype.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define COOKIE_LENGTH_LEAST 8

struct iperf3_shared {
	pthread_mutex_t lock;
	struct iperf3_test *test; /* under the lock; it holds a reference of the control's */
	uint8_t pattern[2 * IPERF3_PATTERN_BYTES];
};

struct iperf3_shared *iperf3_shared_new(void)
{
	struct iperf3_shared *shared = calloc(1, sizeof(*shared));
	uint64_t state = UINT64_C(0x9e3779b97f4a7c15);
	size_t i;

	if (!shared)
		return NULL;
	pthread_mutex_init(&shared->lock, NULL);
	/* Nothing on the way shall find it easy to compress. */
	for (i = 0; i < IPERF3_PATTERN_BYTES; i++) {
		state ^= state << 13;
		state ^= state >> 7;
		state ^= state << 17;
		shared->pattern[i] = (uint8_t)(state >> 32);
	}
	memcpy(shared->pattern + IPERF3_PATTERN_BYTES, shared->pattern, IPERF3_PATTERN_BYTES);
	return shared;
}

void iperf3_shared_free(struct iperf3_shared *shared)
{
	if (!shared)
		return;
	pthread_mutex_destroy(&shared->lock);
	free(shared);
}

const uint8_t *iperf3_shared_pattern(const struct iperf3_shared *shared)
{
	return shared->pattern;
}

bool iperf3_cookie_is_possible(const char cookie[IPERF3_COOKIE_BYTES])
{
	size_t length = strnlen(cookie, IPERF3_COOKIE_BYTES), i;

	if (length < COOKIE_LENGTH_LEAST || length == IPERF3_COOKIE_BYTES)
		return false;
	for (i = 0; i < length; i++)
		if (!isgraph((unsigned char)cookie[i]))
			return false;
	for (; i < IPERF3_COOKIE_BYTES; i++)
		if (cookie[i])
			return false;
	return true;
}

unsigned iperf3_test_streams(const struct iperf3_test *test)
{
	return test->parameters.streams * (test->parameters.is_bidirectional ? 2 : 1);
}

bool iperf3_test_is_complete(const struct iperf3_test *test)
{
	return atomic_load(&test->joined) == iperf3_test_streams(test);
}

/* Under the lock. */
static enum iperf3_role join(struct iperf3_test *test, bool is_udp, const struct vnic_flow *flow,
			     uint64_t opened_ns, unsigned *index)
{
	unsigned joined = atomic_load(&test->joined);

	/* The phase first: the parameters are there since then. */
	if (iperf3_test_phase(test) != IPERF3_JOINING || test->parameters.is_udp != is_udp ||
	    joined == iperf3_test_streams(test))
		return IPERF3_ROLE_NONE;
	test->counts[joined].flow = *flow;
	test->counts[joined].opened_ns = opened_ns;
	*index = joined;
	atomic_fetch_add(&test->references, 1);
	atomic_store(&test->joined, joined + 1);
	return IPERF3_ROLE_STREAM;
}

static struct iperf3_test *make_test(struct iperf3_shared *shared, const char *cookie,
				     const struct vnic_flow *flow)
{
	struct iperf3_test *test = aligned_alloc(alignof(struct iperf3_test), sizeof(*test));

	if (!test)
		return NULL;
	memset(test, 0, sizeof(*test));
	test->shared = shared;
	memcpy(test->cookie, cookie, IPERF3_COOKIE_BYTES);
	test->flow = *flow;
	atomic_init(&test->references, 1);
	return test;
}

enum iperf3_role iperf3_test_call(struct iperf3_shared *shared,
				  const char cookie[IPERF3_COOKIE_BYTES],
				  const struct vnic_flow *flow, uint64_t opened_ns,
				  struct iperf3_test **test, unsigned *index)
{
	enum iperf3_role role = IPERF3_ROLE_NONE;

	pthread_mutex_lock(&shared->lock);
	if (!shared->test) {
		shared->test = make_test(shared, cookie, flow);
		if (shared->test)
			role = IPERF3_ROLE_CONTROL;
	} else if (memcmp(shared->test->cookie, cookie, IPERF3_COOKIE_BYTES) == 0) {
		role = join(shared->test, false, flow, opened_ns, index);
	}
	if (role != IPERF3_ROLE_NONE)
		*test = shared->test;
	pthread_mutex_unlock(&shared->lock);
	return role;
}

enum iperf3_role iperf3_test_call_udp(struct iperf3_shared *shared, const struct vnic_flow *flow,
				      uint64_t opened_ns, struct iperf3_test **test,
				      unsigned *index)
{
	enum iperf3_role role = IPERF3_ROLE_NONE;

	pthread_mutex_lock(&shared->lock);
	if (shared->test &&
	    vnic_address_equal(&shared->test->flow.remote_address, &flow->remote_address)) {
		role = join(shared->test, true, flow, opened_ns, index);
		*test = shared->test;
	}
	pthread_mutex_unlock(&shared->lock);
	return role;
}

void iperf3_test_start(struct iperf3_test *test, uint64_t now_ns)
{
	unsigned count = iperf3_test_streams(test), i, at;

	/* Most often they are in order already. */
	for (i = 0; i < count; i++) {
		for (at = i; at > 0 && test->counts[test->order[at - 1]].opened_ns >
					       test->counts[i].opened_ns;
		     at--)
			test->order[at] = test->order[at - 1];
		test->order[at] = (uint16_t)i;
	}
	for (i = 0; i < count; i++) {
		struct iperf3_counts *counts = &test->counts[test->order[i]];

		/* The client passes over 2. */
		counts->id = i == 0 ? 1 : i + 2;
		counts->is_sender =
			test->parameters.is_reverse ||
			(test->parameters.is_bidirectional && i >= test->parameters.streams);
	}
	test->start_ns = now_ns;
	iperf3_test_set_phase(test, IPERF3_RUNNING);
}

void iperf3_test_leave(struct iperf3_test *test)
{
	struct iperf3_shared *shared = test->shared;

	pthread_mutex_lock(&shared->lock);
	if (shared->test == test)
		shared->test = NULL;
	pthread_mutex_unlock(&shared->lock);
}

void iperf3_test_release(struct iperf3_test *test)
{
	if (atomic_fetch_sub(&test->references, 1) == 1)
		free(test);
}
