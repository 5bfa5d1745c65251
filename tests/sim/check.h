/* SPDX-License-Identifier: MIT */
/* Whether what a stack sends may be sent: see check.c. */
#ifndef SIM_CHECK_H
#define SIM_CHECK_H

#include <vnic/packet.h>
#include <vnic/stack.h>

/* NULL if the packet is right in every header, else what is wrong with it. */
const char *check_packet(const struct vnic_packet *packet, enum vnic_layer layer,
			 const uint8_t *own_mac, unsigned mtu_bytes);
/*
 * NULL if the counters add up as vnic/stack.h says, else the text, which is good until the next
 * call.
 */
const char *check_counters(const struct vnic_stack *stack);

#endif
