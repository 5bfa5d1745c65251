/* SPDX-License-Identifier: MIT */
/*
 * How one direction of one queue is made worse. Pure: time is an argument, chance comes from a
 * seed, and no system call is made.
 */
#ifndef VN_IO_IMPAIR_H
#define VN_IO_IMPAIR_H

#include <stdatomic.h>
#include <stdbool.h>
#include <vnic/packet.h>
#include <vnic/wire.h>

/** The most packets, and the most bytes of them, that are held at a time. */
#define VN_IMPAIR_PACKETS 32768
#define VN_IMPAIR_BLOCK_BYTES 2048
#define VN_IMPAIR_BLOCKS 32768
/** From vn_impair_deadline(): nothing is held. */
#define VN_IMPAIR_NEVER UINT64_MAX

struct vn_impair;

/** @return 0, -EINVAL (ARGUMENT): values that make no sense */
int vn_impairment_check(const struct vnic_impairment *impairment, struct vnic_error *error);

/**
 * @param impairment  checked; its seed is used as it is, also 0
 * @return 0, -ENOMEM (MEMORY)
 */
int vn_impair_new(const struct vnic_impairment *impairment, struct vn_impair **impair,
		  struct vnic_error *error);
/** NULL is allowed. */
void vn_impair_free(struct vn_impair *impair);

/** True if it corrupts packets: then they must come with their checksums complete, as on a wire. */
bool vn_impair_corrupts(const struct vn_impair *impair);

/**
 * Decide on a plain packet's fate: it is dropped, or held until its time comes. It is copied.
 * @param now_ns  of any clock that does not go back
 */
void vn_impair_put(struct vn_impair *impair, const struct vnic_packet *packet, uint64_t now_ns);
/**
 * Take those whose time has come, in the order of their times.
 * @param packets  with memory of the caller's for VNIC_PACKET_BYTES each; described as they were
 * @return their number
 */
unsigned vn_impair_take(struct vn_impair *impair, uint64_t now_ns, struct vnic_packet *packets,
			unsigned count);
/** When the next one's time comes. */
uint64_t vn_impair_deadline(const struct vn_impair *impair);
/** How many are held. */
unsigned vn_impair_held(const struct vn_impair *impair);
/** Drop what is held, as VNIC_WIRE_DROP_STOPPED. */
void vn_impair_stop(struct vn_impair *impair);
/** From any thread. */
uint64_t vn_impair_counter(const struct vn_impair *impair, enum vnic_wire_counter counter);

#endif
