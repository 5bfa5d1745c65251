/* SPDX-License-Identifier: MIT */
/* Datagrams from fragments, for both versions of IP: see reassembly.c. */
#ifndef VN_STACK_REASSEMBLY_H
#define VN_STACK_REASSEMBLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <vnic/stack.h>

struct vnic_stack;
struct vn_input;
struct vn_reassembly;

/*
 * The longest header chain before a fragment's data, in bytes: it is kept in one piece of memory.
 */
#define VN_REASSEMBLY_HEADER_BYTES 1024

/* A fragment. Its addresses stand in the input that goes with it. */
struct vn_fragment {
	uint32_t identification;
	uint8_t protocol; /* part of what identifies an IPv4 datagram; 0 for IPv6 */
	bool more;
	uint16_t offset_bytes;
	uint16_t data_bytes; /* a multiple of 8 if there are more */
	const uint8_t *data;
	uint16_t header_bytes; /* from input->ip on to data, with the fragment header */
	uint16_t
		per_fragment_bytes; /* at its end: the fragment header, not in the whole datagram */
	uint8_t next_header;        /* IPv6: what follows the fragment header, ... */
	uint16_t next_header_at;    /* ... to be written there in the whole datagram's header */
};

int vn_reassembly_new(const struct vnic_stack_options *options, struct vn_reassembly **reassembly);
void vn_reassembly_free(struct vn_reassembly *reassembly);

/*
 * Keep a fragment, whose header and data are valid and end at 65,535 bytes at most.
 * @return its verdict; or VNIC_STACK_REASSEMBLED, which is none: it completed its datagram, whose
 *         bytes are at
 *         stack->whole + VN_OUTPUT_HEADROOM_BYTES now, with *length_bytes. The lengths in its IP
 *         header are to be
 *         written still.
 */
enum vnic_stack_counter vn_reassembly_insert(struct vnic_stack *stack, const struct vn_input *input,
					     const struct vn_fragment *fragment,
					     uint32_t *length_bytes);
/* Give up on those that are too old. @return when the next will be; UINT64_MAX: there is none */
uint64_t vn_reassembly_advance(struct vnic_stack *stack);

#endif
