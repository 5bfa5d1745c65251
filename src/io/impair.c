/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. A packet that comes is given a time at which it leaves. Until then it is
 * held: its bytes in blocks of 2 KiB, chained, out of a fixed number of them; its time in a heap.
 * Both are reserved once, so nothing is allocated on the way, and both have a bound: a packet that
 * finds no room is dropped and counted.
 *
 * The time is made of two parts. First the packet waits for its turn on a link of the given rate:
 * the link is free when the last packet's last bit has left, and a packet that would wait for
 * longer than queue_ns is dropped, as in the queue of a router. Then it travels, for delay +-
 * jitter. A packet never arrives before the one that left before it, as on a path of wires and
 * queues; only one that is chosen for reordering is not delayed at all. So what jitter and reorder
 * do can be told apart, and a test of one is no test of the other.
 *
 * Chance is xoshiro256** (Blackman and Vigna), seeded by splitmix64. Each packet draws the same
 * number of numbers whatever its fate and whatever the options: the first packet that is lost with
 * loss=1% is also the first that is lost with loss=1%,delay=20ms, and changing one probability does
 * not shuffle the others.
 *
 * A probability p is a threshold of 53 bits; 1 is always, 0 is never.
 */
#include "io/impair.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"

#define QUEUE_NS 100000000u /* where none is given */
#define NO_BLOCK UINT32_MAX
#define NS_PER_SECOND 1000000000u

/* A packet that is held. */
struct held {
	uint64_t due_ns;
	uint64_t number; /* of those with one time the first that came leaves first */
	struct vnic_packet description; /* without memory */
	uint32_t block;
};

struct vn_impair {
	struct vnic_impairment impairment;
	uint64_t state[4];     /* of chance */
	uint64_t link_free_ns; /* when the last bit of the last packet has left */
	uint64_t last_due_ns;  /* of a packet that was delayed */
	uint64_t number;
	struct held *held; /* a heap: the first is the next to leave */
	unsigned count;
	uint8_t *blocks;
	uint32_t *next;  /* of each block, the next of its chain */
	uint32_t free;   /* the first free block */
	uint32_t unused; /* from here on blocks never were used, nor were they chained */
	_Atomic uint64_t counters[VNIC_WIRE_COUNTERS];
};

static void add(struct vn_impair *impair, enum vnic_wire_counter counter, uint64_t more)
{
	_Atomic uint64_t *number = &impair->counters[counter];

	atomic_store_explicit(number, atomic_load_explicit(number, memory_order_relaxed) + more,
			      memory_order_relaxed);
}

uint64_t vn_impair_counter(const struct vn_impair *impair, enum vnic_wire_counter counter)
{
	return atomic_load_explicit(&impair->counters[counter], memory_order_relaxed);
}

/* Chance. */

static uint64_t splitmix(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

static uint64_t rotate(uint64_t number, unsigned bits)
{
	return number << bits | number >> (64 - bits);
}

static uint64_t draw(struct vn_impair *impair)
{
	uint64_t *state = impair->state;
	uint64_t result = rotate(state[1] * 5, 7) * 9;
	uint64_t shifted = state[1] << 17;

	state[2] ^= state[0];
	state[3] ^= state[1];
	state[1] ^= state[2];
	state[0] ^= state[3];
	state[2] ^= shifted;
	state[3] = rotate(state[3], 45);
	return result;
}

static bool is_hit(double probability, uint64_t number)
{
	return (double)(number >> 11) * 0x1p-53 < probability;
}

/* Evenly from 0 to most. The error of multiplying instead of dividing is below 2^-32 here. */
static uint64_t scale(uint64_t number, uint64_t most)
{
	return (uint64_t)((unsigned __int128)number * (most + 1) >> 64);
}

/* What becomes of one packet. */
struct fate {
	bool lost, corrupted, duplicated, reordered;
	uint64_t bit, delay_ns;
};

static struct fate choose(struct vn_impair *impair)
{
	const struct vnic_impairment *impairment = &impair->impairment;
	struct fate fate;

	fate.lost = is_hit(impairment->loss, draw(impair));
	fate.corrupted = is_hit(impairment->corrupt, draw(impair));
	fate.duplicated = is_hit(impairment->duplicate, draw(impair));
	fate.reordered = is_hit(impairment->reorder, draw(impair));
	fate.bit = draw(impair);
	fate.delay_ns = impairment->delay_ns - impairment->jitter_ns +
			scale(draw(impair), 2 * impairment->jitter_ns);
	return fate;
}

/* Blocks. */

static uint32_t take_block(struct vn_impair *impair)
{
	uint32_t block = impair->free;

	if (block != NO_BLOCK)
		impair->free = impair->next[block];
	else if (impair->unused < VN_IMPAIR_BLOCKS)
		block = impair->unused++;
	return block;
}

static void free_blocks(struct vn_impair *impair, uint32_t block)
{
	while (block != NO_BLOCK) {
		uint32_t next = impair->next[block];

		impair->next[block] = impair->free;
		impair->free = block;
		block = next;
	}
}

/* Copy a packet's bytes into a chain of blocks. Returns the first, or NO_BLOCK: no room. */
static uint32_t store(struct vn_impair *impair, const struct vnic_packet *packet)
{
	uint32_t first = NO_BLOCK, last = NO_BLOCK, done = 0;

	while (done < packet->length_bytes || first == NO_BLOCK) {
		uint32_t part = packet->length_bytes - done;
		uint32_t block = take_block(impair);

		if (block == NO_BLOCK) {
			free_blocks(impair, first);
			return NO_BLOCK;
		}
		if (part > VN_IMPAIR_BLOCK_BYTES)
			part = VN_IMPAIR_BLOCK_BYTES;
		memcpy(impair->blocks + (size_t)block * VN_IMPAIR_BLOCK_BYTES, packet->data + done,
		       part);
		done += part;
		impair->next[block] = NO_BLOCK;
		if (first == NO_BLOCK)
			first = block;
		else
			impair->next[last] = block;
		last = block;
	}
	return first;
}

static void load(struct vn_impair *impair, const struct held *held, struct vnic_packet *packet)
{
	uint32_t block = held->block, done = 0;
	struct vnic_packet result = held->description;

	result.data = packet->data;
	result.capacity_bytes = packet->capacity_bytes;
	result.headroom_bytes = packet->headroom_bytes;
	while (done < result.length_bytes) {
		uint32_t part = result.length_bytes - done;

		if (part > VN_IMPAIR_BLOCK_BYTES)
			part = VN_IMPAIR_BLOCK_BYTES;
		memcpy(result.data + done, impair->blocks + (size_t)block * VN_IMPAIR_BLOCK_BYTES,
		       part);
		done += part;
		block = impair->next[block];
	}
	*packet = result;
}

/* The heap. */

static bool is_before(const struct held *one, const struct held *other)
{
	return one->due_ns != other->due_ns ? one->due_ns < other->due_ns
					    : one->number < other->number;
}

static void push(struct vn_impair *impair, struct held held)
{
	unsigned i = impair->count++;

	while (i > 0 && is_before(&held, &impair->held[(i - 1) / 2])) {
		impair->held[i] = impair->held[(i - 1) / 2];
		i = (i - 1) / 2;
	}
	impair->held[i] = held;
}

static void pop(struct vn_impair *impair)
{
	struct held last = impair->held[--impair->count];
	unsigned i = 0, child;

	while ((child = 2 * i + 1) < impair->count) {
		if (child + 1 < impair->count &&
		    is_before(&impair->held[child + 1], &impair->held[child]))
			child++;
		if (!is_before(&impair->held[child], &last))
			break;
		impair->held[i] = impair->held[child];
		i = child;
	}
	if (impair->count > 0)
		impair->held[i] = last;
}

bool vn_impair_corrupts(const struct vn_impair *impair)
{
	return impair->impairment.corrupt > 0;
}

/* Putting and taking. */

static void flip(struct vn_impair *impair, struct held *held, uint64_t chance)
{
	uint64_t bits = (uint64_t)held->description.length_bytes * 8;
	uint64_t bit = scale(chance, bits ? bits - 1 : 0);
	uint32_t block = held->block;

	if (bits == 0)
		return;
	while (bit >= VN_IMPAIR_BLOCK_BYTES * UINT64_C(8)) {
		bit -= VN_IMPAIR_BLOCK_BYTES * UINT64_C(8);
		block = impair->next[block];
	}
	impair->blocks[(size_t)block * VN_IMPAIR_BLOCK_BYTES + bit / 8] ^= (uint8_t)(1 << bit % 8);
	held->description.flags &= (uint8_t)~VNIC_PACKET_DATA_VALID;
	add(impair, VNIC_WIRE_CORRUPTED, 1);
}

/* How long the packet keeps the link busy. Rates from 1 kbit/s on, so it is below 10 minutes. */
static uint64_t busy_ns(const struct vn_impair *impair, uint32_t length_bytes)
{
	uint64_t rate = impair->impairment.rate_bits_per_second;

	return rate ? (uint64_t)length_bytes * 8 * NS_PER_SECOND / rate : 0;
}

static void hold(struct vn_impair *impair, const struct vnic_packet *packet,
		 const struct fate *fate, uint64_t now_ns)
{
	const struct vnic_impairment *impairment = &impair->impairment;
	uint64_t start_ns = impair->link_free_ns > now_ns ? impair->link_free_ns : now_ns;
	uint64_t limit_ns = impairment->queue_ns ? impairment->queue_ns : QUEUE_NS;
	struct held held = {.description = *packet, .number = impair->number};

	if (impairment->rate_bits_per_second && start_ns - now_ns > limit_ns) {
		add(impair, VNIC_WIRE_DROP_RATE, 1);
		return;
	}
	held.block = impair->count < VN_IMPAIR_PACKETS ? store(impair, packet) : NO_BLOCK;
	if (held.block == NO_BLOCK) {
		add(impair, VNIC_WIRE_DROP_MEMORY, 1);
		return;
	}
	impair->number++;
	impair->link_free_ns = start_ns + busy_ns(impair, packet->length_bytes);
	held.due_ns = impair->link_free_ns;
	if (fate->reordered && impairment->delay_ns) {
		add(impair, VNIC_WIRE_REORDERED, 1);
	} else {
		held.due_ns += fate->delay_ns;
		if (held.due_ns < impair->last_due_ns)
			held.due_ns = impair->last_due_ns;
		impair->last_due_ns = held.due_ns;
	}
	if (fate->corrupted)
		flip(impair, &held, fate->bit);
	push(impair, held);
}

void vn_impair_put(struct vn_impair *impair, const struct vnic_packet *packet, uint64_t now_ns)
{
	struct fate fate = choose(impair);

	if (fate.lost) {
		add(impair, VNIC_WIRE_DROP_LOSS, 1);
		return;
	}
	hold(impair, packet, &fate, now_ns);
	if (fate.duplicated) {
		add(impair, VNIC_WIRE_DUPLICATED, 1);
		fate.corrupted = false;
		fate.reordered = false;
		hold(impair, packet, &fate, now_ns);
	}
}

unsigned vn_impair_take(struct vn_impair *impair, uint64_t now_ns, struct vnic_packet *packets,
			unsigned count)
{
	unsigned taken = 0;

	while (taken < count && impair->count > 0 && impair->held[0].due_ns <= now_ns) {
		load(impair, &impair->held[0], &packets[taken++]);
		free_blocks(impair, impair->held[0].block);
		pop(impair);
	}
	return taken;
}

uint64_t vn_impair_deadline(const struct vn_impair *impair)
{
	return impair->count > 0 ? impair->held[0].due_ns : VN_IMPAIR_NEVER;
}

unsigned vn_impair_held(const struct vn_impair *impair)
{
	return impair->count;
}

void vn_impair_stop(struct vn_impair *impair)
{
	add(impair, VNIC_WIRE_DROP_STOPPED, impair->count);
	while (impair->count > 0)
		free_blocks(impair, impair->held[--impair->count].block);
}

int vn_impair_new(const struct vnic_impairment *impairment, struct vn_impair **impair,
		  struct vnic_error *error)
{
	struct vn_impair *made = calloc(1, sizeof(*made));
	uint64_t seed = impairment->seed;

	if (made) {
		made->impairment = *impairment;
		made->held = vn_memory_reserve(VN_IMPAIR_PACKETS * sizeof(*made->held));
		made->next = vn_memory_reserve(VN_IMPAIR_BLOCKS * sizeof(*made->next));
		made->blocks = vn_memory_reserve((size_t)VN_IMPAIR_BLOCKS * VN_IMPAIR_BLOCK_BYTES);
		made->free = NO_BLOCK;
		for (unsigned i = 0; i < 4; i++)
			made->state[i] = splitmix(&seed);
	}
	if (!made || !made->held || !made->next || !made->blocks) {
		vn_impair_free(made);
		return vn_error(error, -ENOMEM, VNIC_CAUSE_MEMORY, "no memory to delay packets in");
	}
	*impair = made;
	return 0;
}

void vn_impair_free(struct vn_impair *impair)
{
	if (!impair)
		return;
	vn_memory_release(impair->held, VN_IMPAIR_PACKETS * sizeof(*impair->held));
	vn_memory_release(impair->next, VN_IMPAIR_BLOCKS * sizeof(*impair->next));
	vn_memory_release(impair->blocks, (size_t)VN_IMPAIR_BLOCKS * VN_IMPAIR_BLOCK_BYTES);
	free(impair);
}
