/* SPDX-License-Identifier: MIT */
/* Two stacks and a link between them that does whatever links do: see link.c. */
#ifndef SIM_LINK_H
#define SIM_LINK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <vnic/packet.h>
#include <vnic/stack.h>

#define SECOND_NS UINT64_C(1000000000)
#define MILLISECOND_NS UINT64_C(1000000)

/* What happens to the packets that leave one end. Zero: nothing. */
struct link_impairment {
	unsigned loss_permille, duplicate_permille, corrupt_permille, reorder_permille;
	uint64_t delay_ns;
	uint64_t jitter_ns;   /* at most so much more; the order is kept */
	uint64_t reorder_ns;  /* at most so much later are those that lose their place */
	uint64_t rate_bits;   /* in a second; 0: no bound */
	uint32_t queue_bytes; /* that wait for it; more are lost. 0: no bound */
	uint32_t mark_bytes;  /* from so many on they are marked, where they may be; 0: never */
	unsigned mtu_bytes;   /* of a router on the way, which says so; 0: none */
	bool mtu_is_secret;   /* it does not: a black hole */
	bool whole;           /* super-packets are not cut */
	bool merge;           /* what arrives at once is merged into super-packets again */
};

/* A TCP segment on its way. */
struct link_segment {
	unsigned from; /* end that sent it */
	uint64_t at_ns;
	uint8_t *ip;
	size_t ip_bytes;
	struct vnic_address source, destination;
	uint8_t ecn; /* the two bits */
	struct vnic_tcp tcp;
	const uint8_t *payload;
	size_t payload_bytes;
};

struct link;

struct link_end {
	struct link *link;
	unsigned index;
	struct vnic_stack_options options;
	struct vnic_stack *stack; /* NULL: it was freed by the test */
	struct link_impairment out;
	uint64_t random;  /* of the stack */
	uint64_t due_ns;  /* when the stack wants to be called */
	uint64_t last_ns; /* when the last packet that keeps its place arrives */
	uint64_t busy_ns; /* until then it sends at its rate */
	uint64_t wakeups; /* for time alone */
	uint64_t sent, lost, overflowed, too_long, corrupted, marked, delivered;
	uint64_t supers;
};

struct link_event;

struct link {
	struct link_end ends[2];
	enum vnic_layer layer;
	uint64_t now_ns, begin_ns;
	bool is_traced;
	uint64_t random; /* of the link */
	uint64_t dark_begin_ns, dark_end_ns;
	struct link_event *events; /* a heap */
	size_t event_count, event_room;
	uint64_t event_number;
	/*
	 * Sees every TCP segment that a stack sends, before anything happens to it, and may change its bytes.
	 * @return false: it is lost
	 */
	bool (*watch)(void *user, const struct link_segment *segment);
	void *watch_user;
};

/*
 * The ends are 10.0.0.1 and 10.0.0.2, fd00::1 and fd00::2, with a link that does nothing between. change may
 * set more options of each stack before it is made; NULL: none.
 */
void link_begin(struct link *link, enum vnic_layer layer, uint64_t seed,
		void (*change)(struct vnic_stack_options *options, unsigned end, void *user),
		void *user);
void link_end(struct link *link);
/* Of an end. */
struct vnic_address link_address(enum vnic_family family, unsigned end);
/* Random numbers of the link: below bound. */
uint64_t link_random(struct link *link, uint64_t bound);
/* Each end learns where the other one is, which on a bad Ethernet may not succeed later. */
void link_introduce(struct link *link, enum vnic_family family);
/* The same impairments both ways. */
void link_impair(struct link *link, const struct link_impairment *impairment);

/* Call a function when the time has come. */
void link_at(struct link *link, uint64_t when_ns, void (*call)(struct link *link, void *user),
	     void *user);
/* Nothing gets through meanwhile. */
void link_darken(struct link *link, uint64_t begin_ns, uint64_t duration_ns);
/* Give an IP packet to an end now, as if it had come over the link. Is changed by nothing. */
void link_inject(struct link *link, unsigned to, const uint8_t *ip, size_t length);
/* Let so much time pass. */
void link_wait(struct link *link, uint64_t duration_ns);
/*
 * Until it is so, or nothing can happen any more, but no longer. @return whether it is so. done is asked
 * after every step.
 */
bool link_wait_until(struct link *link, bool (*done)(void *user), void *user, uint64_t longest_ns);
/* True if nothing is on its way, and no stack wants to be called. */
bool link_is_idle(const struct link *link);
uint64_t link_counter(const struct link *link, unsigned end, enum vnic_stack_counter counter);

#endif
