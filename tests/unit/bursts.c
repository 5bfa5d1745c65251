/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A burst keeps two copies of each packet: as it went in, with which a packet that came out
 * unmerged is compared, and with its checksum done, among which the segments of what was merged are
 * looked for. A segment may be taken only if all earlier packets of its flow were taken before. The
 * memory of a packet tells which one it was, and none may get lost.
 */
#include "bursts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <vnic/segment.h>

#include "packets.h"

const struct sample bases[BASES] = {
	{.payload = SIZE, .port = 7, .tos = 4, .window = 500, .identification = 9},
	{.payload = SIZE, .port = 7, .tap = true, .dont_fragment = true, .tcp_options = 3},
	{.payload = SIZE, .port = 7, .tap = true, .tags = 2, .ipv6 = true, .flow_label = 5},
	{.payload = SIZE, .port = 7, .ipv6 = true, .extensions = 2},
	{.payload = SIZE, .port = 7, .udp = true, .tos = 4, .identification = 0xfffe},
	{.payload = SIZE - 1, .port = 7, .udp = true, .ipv6 = true, .extensions = 1},
	{.payload = SIZE + 1, .port = 7, .udp = true, .tap = true, .tags = 1},
};

void open_burst(struct burst *burst)
{
	memset(burst, 0, sizeof(*burst));
	assert_int_equal(vnic_burst_new(VNIC_BURST_PACKETS, 0, 0, &burst->memory, NULL), 0);
	burst->packets = vnic_burst_packets(burst->memory);
}

void close_burst(struct burst *burst)
{
	vnic_burst_free(burst->memory);
}

struct vnic_packet *add(struct burst *burst, const struct sample *sample, int flow)
{
	struct vnic_packet *packet = &burst->packets[burst->count];

	assert_true(burst->count < VNIC_BURST_PACKETS);
	sample_build(sample, packet);
	burst->flows[burst->count++] = flow;
	return packet;
}

/* The earliest packet that had these bytes and was not found yet. */
static unsigned find(struct burst *burst, const struct vnic_packet *packet, const char *name)
{
	for (unsigned i = 0; i < burst->count; i++) {
		if (!burst->taken[i] && burst->before[i].length_bytes == packet->length_bytes &&
		    memcmp(burst->before[i].data, packet->data, packet->length_bytes) == 0)
			return i;
	}
	fail_msg("%s: %u bytes came out that did not go in", name, packet->length_bytes);
	return 0;
}

static void take(struct burst *burst, const struct vnic_packet *packet, const char *name)
{
	unsigned index = find(burst, packet, name);

	for (unsigned i = 0; i < index; i++) {
		if (!burst->taken[i] && burst->flows[i] == burst->flows[index] &&
		    burst->flows[i] != NO_FLOW)
			fail_msg("%s: packet %u overtook packet %u of its flow", name, index, i);
	}
	burst->taken[index] = true;
}

/* What was not merged must be as it was; its memory tells which packet it is. */
static void compare_untouched(const struct burst *burst, const struct vnic_packet *packet,
			      const uint8_t *const *memory, const struct vnic_packet *originals,
			      const char *name)
{
	for (unsigned i = 0; i < burst->count; i++) {
		if (!memory[i] || memory[i] != packet->data)
			continue;
		if (packet->length_bytes != originals[i].length_bytes ||
		    packet->flags != originals[i].flags ||
		    packet->gso_type != originals[i].gso_type ||
		    packet->gso_size_bytes != originals[i].gso_size_bytes ||
		    packet->csum_start != originals[i].csum_start ||
		    packet->csum_offset != originals[i].csum_offset ||
		    memcmp(packet->data, originals[i].data, packet->length_bytes) != 0)
			fail_msg("%s: packet %u was changed", name, i);
		return;
	}
	fail_msg("%s: memory from nowhere", name);
}

static void cut_and_take(struct burst *burst, const struct vnic_packet *packet,
			 enum vnic_layer layer, const char *name)
{
	struct vnic_packet part = {.data = malloc(VNIC_PACKET_BYTES)};
	struct vnic_segmenter segmenter;
	int count = vnic_segmenter_begin(&segmenter, packet, layer);

	part.capacity_bytes = VNIC_PACKET_BYTES;
	assert_non_null(part.data);
	if (count < 1)
		fail_msg("%s: what came out is refused: %d", name, count);
	while (vnic_segmenter_next(&segmenter, &part, 1) == 1)
		take(burst, &part, name);
	free(part.data);
}

unsigned merge(struct burst *burst, enum vnic_layer layer, unsigned what, const char *name)
{
	struct vnic_packet originals[VNIC_BURST_PACKETS] = {{.data = NULL}};
	const uint8_t *memory[VNIC_BURST_PACKETS] = {NULL};
	unsigned found;

	memset(burst->taken, 0, sizeof(burst->taken));
	for (unsigned i = 0; i < burst->count; i++) {
		memory[i] = burst->packets[i].data;
		originals[i] = burst->packets[i];
		originals[i].data =
			exact_copy(burst->packets[i].data, burst->packets[i].length_bytes);
		burst->before[i] = originals[i];
		burst->before[i].data = exact_copy(originals[i].data, originals[i].length_bytes);
		if (originals[i].gso_type == VNIC_GSO_NONE)
			assert_int_equal(vnic_packet_finish_checksum(&burst->before[i]), 0);
	}
	found = vnic_packets_merge(burst->packets, burst->count, layer, what);
	if (found < 1 || found > burst->count)
		fail_msg("%s: %u packets of %u", name, found, burst->count);
	for (unsigned i = 0; i < found; i++) {
		const struct vnic_packet *packet = &burst->packets[i];

		if (packet->gso_type == VNIC_GSO_NONE)
			compare_untouched(burst, packet, memory, originals, name);
		if (packet->gso_type != VNIC_GSO_NONE &&
		    packet->length_bytes == originals[i].length_bytes)
			take(burst, packet, name); /* it was a super-packet before */
		else
			cut_and_take(burst, packet, layer, name);
	}
	for (unsigned i = 0; i < burst->count; i++) {
		bool there = false;

		if (!burst->taken[i])
			fail_msg("%s: packet %u is lost", name, i);
		for (unsigned k = 0; k < burst->count; k++)
			there |= burst->packets[k].data == memory[i];
		if (!there)
			fail_msg("%s: the memory of packet %u is lost", name, i);
		free(burst->before[i].data);
		free(originals[i].data);
	}
	return found;
}

struct sample next_of(const struct sample *sample)
{
	struct sample next = *sample;

	next.sequence += sample->payload;
	next.identification++;
	return next;
}
