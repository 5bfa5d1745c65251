/* SPDX-License-Identifier: MIT */
/* A test of the iperf3 service: what its control connection and its streams know of each other. */
#ifndef TOOL_IPERF3_TEST_H
#define TOOL_IPERF3_TEST_H

#include "iperf3_json.h"

#include <stdalign.h>
#include <stdatomic.h>
#include <vnic/vnic.h>

#define IPERF3_COOKIE_BYTES 37 /* with the zero at its end */
#define IPERF3_CACHE_LINE_BYTES 64
#define IPERF3_PATTERN_BYTES 65536u

enum iperf3_phase {
	IPERF3_PREPARING, /* what the client wants is not known yet */
	IPERF3_JOINING,   /* its streams come */
	IPERF3_RUNNING,
	IPERF3_ENDING,  /* senders stop, and receivers take what is still on its way */
	IPERF3_CLOSING, /* all sides are finished */
	IPERF3_OVER,
	IPERF3_ABORTED
};

/*
 * A stream as the control connection sees it. The stream's own thread writes; what it writes is
 * without what came before the time to be omitted was over.
 */
struct iperf3_counts {
	alignas(IPERF3_CACHE_LINE_BYTES) _Atomic uint64_t bytes;
	_Atomic uint64_t packets; /* the highest number, or how many were sent */
	_Atomic uint64_t errors;
	_Atomic uint64_t retransmits;
	_Atomic uint64_t jitter_ns;
	_Atomic uint64_t last_ns; /* when the last bytes came */
	_Atomic bool is_settled;  /* nothing will be added */
	struct vnic_flow flow;    /* these two from joining on; the others from the start on */
	uint64_t opened_ns;
	unsigned id;
	bool is_sender;
};

struct iperf3_test {
	struct iperf3_shared *shared;
	char cookie[IPERF3_COOKIE_BYTES];
	struct vnic_flow flow;               /* of the control connection */
	struct iperf3_parameters parameters; /* once it is JOINING */
	_Atomic int phase;                   /* the control connection's thread sets it */
	_Atomic unsigned references;
	_Atomic unsigned joined;
	uint64_t start_ns; /* once it is RUNNING */
	struct iperf3_counts counts[2 * IPERF3_STREAMS_MOST];
	uint16_t
		order[2 * IPERF3_STREAMS_MOST]; /* the same, once RUNNING, as the client has them */
};

struct iperf3_shared;

/* NULL: no memory. */
struct iperf3_shared *iperf3_shared_new(void);
void iperf3_shared_free(struct iperf3_shared *shared);
/* IPERF3_PATTERN_BYTES twice, so that as many can be copied from anywhere in the first. */
const uint8_t *iperf3_shared_pattern(const struct iperf3_shared *shared);

enum iperf3_role {
	IPERF3_ROLE_CONTROL, /* of a test that was made for it */
	IPERF3_ROLE_STREAM,
	IPERF3_ROLE_NONE /* another test is running */
};
/* True if those bytes may be a cookie. */
bool iperf3_cookie_is_possible(const char cookie[IPERF3_COOKIE_BYTES]);
/*
 * Find out what a connection with that cookie is for. With a role *test is set, with a reference; for a stream *index
 * is its place in counts. Thread-safe.
 */
enum iperf3_role iperf3_test_call(struct iperf3_shared *shared,
				  const char cookie[IPERF3_COOKIE_BYTES],
				  const struct vnic_flow *flow, uint64_t opened_ns,
				  struct iperf3_test **test, unsigned *index);
/* The same for a stream over UDP, which has no cookie: it is known by where it comes from. */
enum iperf3_role iperf3_test_call_udp(struct iperf3_shared *shared, const struct vnic_flow *flow,
				      uint64_t opened_ns, struct iperf3_test **test,
				      unsigned *index);

static inline enum iperf3_phase iperf3_test_phase(const struct iperf3_test *test)
{
	return (enum iperf3_phase)atomic_load_explicit(&test->phase, memory_order_acquire);
}
static inline void iperf3_test_set_phase(struct iperf3_test *test, enum iperf3_phase phase)
{
	atomic_store_explicit(&test->phase, (int)phase, memory_order_release);
}
/* How many streams there are in all. */
unsigned iperf3_test_streams(const struct iperf3_test *test);
/* True when all of them have joined. */
bool iperf3_test_is_complete(const struct iperf3_test *test);
/* All have joined: say which stream is which, and begin. */
void iperf3_test_start(struct iperf3_test *test, uint64_t now_ns);
/* Let another test begin. Only its control connection does that. */
void iperf3_test_leave(struct iperf3_test *test);
/* Give a reference back. */
void iperf3_test_release(struct iperf3_test *test);

#endif
