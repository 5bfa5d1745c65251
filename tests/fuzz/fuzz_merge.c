/* SPDX-License-Identifier: MIT */
/*
 * Merging what may and what may not be merged, and cutting the result again: out come the very same
 * packets, each flow's in their order, and what was not merged was not touched.
 *
 * A fuzzer would hardly guess one right checksum, let alone two packets that continue each other.
 * So the input is orders: five bytes about all of the packets and four flows, then eight bytes for
 * each packet, which say of which flow it is, how it differs from what that flow should bring next,
 * and which of its bytes to spoil in the end.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <vnic/merge.h>
#include <vnic/segment.h>

#include "../unit/samples.h"

#define FLOWS 4
#define HEAD_BYTES (1 + FLOWS)
#define ORDER_BYTES 8
#define KEY_BYTES 40

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct original {
	struct vnic_packet packet; /* as it went in, with a copy of its bytes */
	struct vnic_packet whole;  /* the same with its checksum done */
	const uint8_t *memory;     /* where it was */
	uint8_t key[KEY_BYTES];    /* of its flow */
	bool has_flow;
	bool taken;
};

struct burst {
	struct vnic_packet packets[VNIC_BURST_PACKETS];
	struct original originals[VNIC_BURST_PACKETS];
	unsigned count;
	enum vnic_layer layer;
};

static uint8_t *copy_of(const uint8_t *bytes, size_t length)
{
	uint8_t *copy = malloc(length ? length : 1);

	assert(copy);
	return memcpy(copy, bytes, length);
}

/* Addresses, protocol and ports. False: which flow this is of cannot be told. */
static bool find_key(const struct vnic_packet *packet, enum vnic_layer layer, uint8_t *key)
{
	const uint8_t *bytes = packet->data;
	size_t length = packet->length_bytes, at;
	struct vnic_ethernet ethernet = {.ethertype = 0};
	struct vnic_ipv6_extension extension;
	struct vnic_ipv4 ipv4;
	struct vnic_ipv6 ipv6;
	int used = 0;
	uint8_t next;

	if (layer == VNIC_LAYER_ETHERNET) {
		used = vnic_ethernet_parse(bytes, length, &ethernet);
		if (used < 0)
			return false;
	}
	bytes += used;
	length -= (size_t)used;
	memset(key, 0, KEY_BYTES);
	if (ethernet.ethertype != VNIC_ETHERTYPE_IPV6 &&
	    (used = vnic_ipv4_parse(bytes, length, &ipv4)) > 0) {
		if (ethernet.ethertype && ethernet.ethertype != VNIC_ETHERTYPE_IPV4)
			return false;
		memcpy(key, bytes + 12, 8);
		next = ipv4.protocol;
		at = (size_t)used;
		length = ipv4.total_bytes;
		if (ipv4.fragment_offset_bytes)
			return false;
	} else if (ethernet.ethertype != VNIC_ETHERTYPE_IPV4 &&
		   vnic_ipv6_parse(bytes, length, &ipv6) > 0) {
		if (ethernet.ethertype && ethernet.ethertype != VNIC_ETHERTYPE_IPV6)
			return false;
		memcpy(key, bytes + 8, 32);
		next = ipv6.next_header;
		at = VNIC_IPV6_HEADER_BYTES;
		length = at + ipv6.payload_bytes;
		while (vnic_ipv6_is_extension(next)) {
			if (next == VNIC_PROTOCOL_FRAGMENT)
				return false;
			used = vnic_ipv6_extension_parse(next, bytes + at, length - at, &extension);
			if (used < 0)
				return false;
			at += (size_t)used;
			next = extension.next_header;
		}
	} else {
		return false;
	}
	if ((next != VNIC_PROTOCOL_TCP && next != VNIC_PROTOCOL_UDP) || length < at + 4)
		return false;
	key[32] = next;
	memcpy(key + 33, bytes + at, 4);
	return true;
}

static void begin_flow(struct sample *flow, uint8_t kind, unsigned index, bool tap, unsigned tags)
{
	*flow = (struct sample){
		.tap = tap,
		.tags = tags,
		.ipv6 = kind & 1,
		.udp = kind & 2,
		.extensions = kind >> 2 & 1,
		.tcp_options = kind & 8 ? 3 : 0,
		.dont_fragment = kind & 16,
		.payload = 1 + (kind >> 5) * 37u,
		.port = (uint16_t)(index + 1),
		.identification = (uint16_t)(0xfffc + index),
		.sequence = 0xffffff00 + index,
	};
}

static void change(struct sample *sample, const uint8_t *order)
{
	if (order[1])
		sample->payload = order[1] - 1u;
	sample->flags = order[2];
	sample->sequence += (uint32_t)(int8_t)order[3];
	sample->identification = (uint16_t)(sample->identification + (int8_t)order[4]);
	sample->tos ^= order[5] & 1;
	sample->ttl = order[5] & 2 ? 63 : 64;
	sample->dont_fragment ^= order[5] >> 2 & 1;
	sample->window ^= order[5] >> 3 & 1;
	sample->acknowledgment ^= order[5] >> 4 & 1;
	sample->ip_options = order[5] >> 5 & 1;
	sample->flow_label ^= order[5] >> 6 & 1;
	sample->option = order[5] >> 7 ? 0x0101fd02 : 0;
}

/* One packet in memory of its own with a little room behind it. */
static void carry_out(struct burst *burst, struct sample *flows, const uint8_t *order,
		      uint32_t room)
{
	struct vnic_packet *packet = &burst->packets[burst->count];
	struct original *original = &burst->originals[burst->count];
	struct sample *flow = &flows[order[0] & 3], sample = *flow;
	unsigned how = order[0] >> 2 & 3;

	change(&sample, order);
	packet->capacity_bytes = sample_header_bytes(&sample) + sample.payload + room;
	packet->data = malloc(packet->capacity_bytes);
	assert(packet->data);
	sample_build(&sample, packet);
	if (how == 1)
		sample_build_partial(&sample, packet);
	else if (how == 2 && !order[7])
		packet->flags = VNIC_PACKET_DATA_VALID;
	else if (how == 3 && sample.payload > 1)
		sample_build_super(&sample, (uint16_t)(sample.payload / 2), packet);
	if (order[0] & 16 && packet->length_bytes < packet->capacity_bytes)
		packet->data[packet->length_bytes++] = order[6]; /* a trailer */
	packet->data[order[6] % packet->length_bytes] ^= order[7];
	if (order[0] & 32)
		packet->flags |= VNIC_PACKET_TRUNCATED;
	if (order[0] & 64)
		packet->csum_start++;
	if (!(order[0] & 128)) {
		*flow = sample;
		flow->flags = 0;
		flow->sequence += sample.payload;
		flow->identification++;
	}

	original->packet = *packet;
	original->memory = packet->data;
	original->packet.data = copy_of(packet->data, packet->length_bytes);
	original->whole = original->packet;
	original->whole.data = copy_of(packet->data, packet->length_bytes);
	if (packet->gso_type == VNIC_GSO_NONE)
		(void)vnic_packet_finish_checksum(&original->whole);
	original->has_flow = find_key(packet, burst->layer, original->key);
	original->taken = false;
	burst->count++;
}

/* A packet that came out must be one that went in, and none of its flow may still be missing. */
static void take(struct burst *burst, const struct vnic_packet *packet)
{
	for (unsigned i = 0; i < burst->count; i++) {
		struct original *found = &burst->originals[i];

		if (found->taken || found->whole.length_bytes != packet->length_bytes ||
		    memcmp(found->whole.data, packet->data, packet->length_bytes) != 0)
			continue;
		for (unsigned k = 0; k < i; k++) {
			const struct original *earlier = &burst->originals[k];

			assert(earlier->taken || !earlier->has_flow || !found->has_flow ||
			       memcmp(earlier->key, found->key, KEY_BYTES) != 0);
		}
		found->taken = true;
		return;
	}
	assert(!"a packet that did not go in");
}

static struct original *original_of(struct burst *burst, const uint8_t *memory)
{
	for (unsigned i = 0; i < burst->count; i++) {
		if (burst->originals[i].memory == memory)
			return &burst->originals[i];
	}
	assert(!"memory from nowhere");
	return NULL;
}

static void take_apart(struct burst *burst, const struct vnic_packet *packet)
{
	const struct original *original = original_of(burst, packet->data);
	struct vnic_packet part = {.capacity_bytes = VNIC_PACKET_BYTES};
	struct vnic_segmenter segmenter;

	if (packet->gso_type == original->packet.gso_type) {
		assert(packet->length_bytes == original->packet.length_bytes);
		assert(packet->flags == original->packet.flags);
		assert(packet->gso_size_bytes == original->packet.gso_size_bytes);
		assert(packet->csum_start == original->packet.csum_start);
		assert(packet->csum_offset == original->packet.csum_offset);
		assert(memcmp(packet->data, original->packet.data, packet->length_bytes) == 0);
		take(burst, &original->whole);
		return;
	}
	part.data = malloc(part.capacity_bytes);
	assert(part.data);
	assert(vnic_segmenter_begin(&segmenter, packet, burst->layer) > 1);
	while (vnic_segmenter_next(&segmenter, &part, 1) == 1) {
		assert(!plain_complaint(&part, burst->layer));
		take(burst, &part);
	}
	free(part.data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct burst burst;
	struct sample flows[FLOWS];
	unsigned what, merged;
	uint32_t room;

	if (size < HEAD_BYTES)
		return 0;
	burst.count = 0;
	burst.layer = data[0] & 1 ? VNIC_LAYER_ETHERNET : VNIC_LAYER_IP;
	what = data[0] >> 3 & 3;
	room = (data[0] >> 5) * 300u + 1;
	for (unsigned i = 0; i < FLOWS; i++)
		begin_flow(&flows[i], data[1 + i], i, data[0] & 1,
			   data[0] & 1 ? (data[0] >> 1 & 3) % 3 : 0);
	data += HEAD_BYTES;
	size -= HEAD_BYTES;
	for (; size >= ORDER_BYTES && burst.count < VNIC_BURST_PACKETS; size -= ORDER_BYTES) {
		carry_out(&burst, flows, data, room);
		data += ORDER_BYTES;
	}
	merged = vnic_packets_merge(burst.packets, burst.count, burst.layer, what);
	assert(merged <= burst.count && (merged > 0 || burst.count == 0));
	for (unsigned i = 0; i < merged; i++)
		take_apart(&burst, &burst.packets[i]);
	for (unsigned i = 0; i < burst.count; i++)
		assert(burst.originals[i].taken);
	for (unsigned i = 0; i < burst.count; i++) {
		struct original *original = original_of(&burst, burst.packets[i].data);

		original->memory = NULL; /* nobody's twice */
		free(burst.packets[i].data);
		free(original->packet.data);
		free(original->whole.data);
	}
	return 0;
}
