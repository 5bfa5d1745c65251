/* SPDX-License-Identifier: MIT */
/* Make lengths and checksums of a packet right that was made at random: see repair.c. */
#ifndef FUZZ_REPAIR_H
#define FUZZ_REPAIR_H

#include <stddef.h>
#include <stdint.h>
#include <vnic/packet.h>

void store16(uint8_t *bytes, size_t value);
/* As far as its headers can be read. Later fragments have no checksum of their own. */
void repair(enum vnic_layer layer, uint8_t *bytes, size_t length);

#endif
