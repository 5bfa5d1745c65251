/* SPDX-License-Identifier: MIT */
/*
 * What is merged and what must not be. Whatever the outcome, it is cut again and must be the
 * packets that went in, byte by byte, in the order that they had within their flow.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <vnic/merge.h>
#include <vnic/segment.h>

#include "packets.h"
#include "samples.h"

#define BOTH (VNIC_MERGE_TCP | VNIC_MERGE_UDP)
#define SIZE 1000 /* of a usual payload */
#define NO_FLOW (-1)

/* Packets as they were before merging, with their flows. */
struct burst {
	struct vnic_burst *memory;
	struct vnic_packet *packets;
	struct vnic_packet before[VNIC_BURST_PACKETS]; /* with copies of the bytes */
	int flows[VNIC_BURST_PACKETS];                 /* NO_FLOW: order does not matter */
	bool taken[VNIC_BURST_PACKETS];
	unsigned count;
};

static void open_burst(struct burst *burst)
{
	memset(burst, 0, sizeof(*burst));
	assert_int_equal(vnic_burst_new(VNIC_BURST_PACKETS, 0, 0, &burst->memory, NULL), 0);
	burst->packets = vnic_burst_packets(burst->memory);
}

static void close_burst(struct burst *burst)
{
	vnic_burst_free(burst->memory);
}

static struct vnic_packet *add(struct burst *burst, const struct sample *sample, int flow)
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
		if (memory[i] != packet->data)
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

/* Merges, and takes everything apart again. Returns the number of packets in the result. */
static unsigned merge(struct burst *burst, enum vnic_layer layer, unsigned what, const char *name)
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

static struct sample next_of(const struct sample *sample)
{
	struct sample next = *sample;

	next.sequence += sample->payload;
	next.identification++;
	return next;
}

static const struct sample bases[] = {
	{.payload = SIZE, .port = 7, .tos = 4, .window = 500, .identification = 9},
	{.payload = SIZE, .port = 7, .tap = true, .dont_fragment = true, .tcp_options = 3},
	{.payload = SIZE, .port = 7, .tap = true, .tags = 2, .ipv6 = true, .flow_label = 5},
	{.payload = SIZE, .port = 7, .ipv6 = true, .extensions = 2},
	{.payload = SIZE, .port = 7, .udp = true, .tos = 4, .identification = 0xfffe},
	{.payload = SIZE - 1, .port = 7, .udp = true, .ipv6 = true, .extensions = 1},
	{.payload = SIZE + 1, .port = 7, .udp = true, .tap = true, .tags = 1},
};

#define BASES (sizeof(bases) / sizeof(bases[0]))

static void test_what_continues_is_merged(void **state)
{
	(void)state;
	for (size_t i = 0; i < BASES; i++) {
		for (unsigned count = 1; count <= 60; count += 7) {
			struct sample sample = bases[i];
			struct burst burst;

			open_burst(&burst);
			for (unsigned k = 0; k < count; k++, sample = next_of(&sample)) {
				if (k + 1 == count && count > 1)
					sample.payload = 1 + (unsigned)i;
				add(&burst, &sample, 0);
			}
			assert_int_equal(merge(&burst, sample_layer(&sample), BOTH, "continued"),
					 1);
			assert_int_equal(burst.packets[0].gso_type != VNIC_GSO_NONE, count > 1);
			if (count > 1)
				assert_int_equal(burst.packets[0].gso_size_bytes, bases[i].payload);
			close_burst(&burst);
		}
	}
}

/* The description of what came out, field by field. */
static void test_description_of_the_result(void **state)
{
	(void)state;
	for (size_t i = 0; i < BASES; i++) {
		struct sample sample = bases[i], whole = bases[i];
		struct vnic_packet expected = {.data = malloc(VNIC_PACKET_BYTES)};
		struct burst burst;

		expected.capacity_bytes = VNIC_PACKET_BYTES;
		open_burst(&burst);
		for (unsigned k = 0; k < 3; k++, sample = next_of(&sample)) {
			if (k == 2 && !sample.udp)
				sample.flags = VNIC_TCP_ACK | VNIC_TCP_PSH;
			add(&burst, &sample, 0);
		}
		assert_int_equal(merge(&burst, sample_layer(&sample), BOTH, "description"), 1);
		whole.payload *= 3;
		if (!whole.udp)
			whole.flags = VNIC_TCP_ACK | VNIC_TCP_PSH;
		sample_build_super(&whole, (uint16_t)bases[i].payload, &expected);
		assert_int_equal(burst.packets[0].length_bytes, expected.length_bytes);
		assert_memory_equal(burst.packets[0].data, expected.data, expected.length_bytes);
		assert_int_equal(burst.packets[0].gso_type, expected.gso_type);
		assert_int_equal(burst.packets[0].gso_size_bytes, expected.gso_size_bytes);
		assert_int_equal(burst.packets[0].csum_start, expected.csum_start);
		assert_int_equal(burst.packets[0].csum_offset, expected.csum_offset);
		assert_int_equal(burst.packets[0].flags, VNIC_PACKET_NEEDS_CSUM);
		assert_false(burst.packets[0].gso_ecn);
		close_burst(&burst);
		free(expected.data);
	}
}

/* One rule each: how the second packet differs, and whether it still goes into the first. */

static void change_nothing(struct sample *sample)
{
	(void)sample;
}

static void make_short(struct sample *sample)
{
	sample->payload = 1;
}

static void make_long(struct sample *sample)
{
	sample->payload++;
}

static void make_empty(struct sample *sample)
{
	sample->payload = 0;
}

static void set_psh(struct sample *sample)
{
	sample->flags = VNIC_TCP_ACK | VNIC_TCP_PSH;
}

static void set_fin(struct sample *sample)
{
	sample->flags = VNIC_TCP_ACK | VNIC_TCP_FIN;
}

static void set_syn(struct sample *sample)
{
	sample->flags = VNIC_TCP_ACK | VNIC_TCP_SYN;
}

static void set_rst(struct sample *sample)
{
	sample->flags = VNIC_TCP_ACK | VNIC_TCP_RST;
}

static void set_urg(struct sample *sample)
{
	sample->flags = VNIC_TCP_ACK | VNIC_TCP_URG;
}

static void set_ece(struct sample *sample)
{
	sample->flags = VNIC_TCP_ACK | VNIC_TCP_ECE;
}

static void set_cwr(struct sample *sample)
{
	sample->flags = VNIC_TCP_ACK | VNIC_TCP_CWR;
}

static void clear_ack(struct sample *sample)
{
	sample->flags = VNIC_TCP_PSH;
}

static void leave_gap(struct sample *sample)
{
	sample->sequence++;
}

static void overlap(struct sample *sample)
{
	sample->sequence--;
}

static void repeat(struct sample *sample)
{
	sample->sequence -= SIZE;
	sample->identification--;
}

static void acknowledge(struct sample *sample)
{
	sample->acknowledgment++;
}

static void change_window(struct sample *sample)
{
	sample->window++;
}

static void add_option(struct sample *sample)
{
	sample->tcp_options++;
}

static void change_option(struct sample *sample)
{
	sample->option = 0x0101fd02; /* no operation twice, an experiment of no bytes */
}

static void change_tos(struct sample *sample)
{
	sample->tos ^= 0x20;
}

static void change_ecn(struct sample *sample)
{
	sample->tos ^= 3;
}

static void change_ttl(struct sample *sample)
{
	sample->ttl = 63;
}

static void change_fragmenting(struct sample *sample)
{
	sample->dont_fragment = !sample->dont_fragment;
}

static void repeat_identification(struct sample *sample)
{
	sample->identification--;
}

static void skip_identification(struct sample *sample)
{
	sample->identification++;
}

static void change_label(struct sample *sample)
{
	sample->flow_label ^= 1;
}

static void add_ip_option(struct sample *sample)
{
	sample->ip_options = 1;
}

static void add_extension(struct sample *sample)
{
	sample->extensions++;
}

static void change_extension(struct sample *sample)
{
	sample->extensions = 1;
	sample->extension = 16;
}

static void change_port(struct sample *sample)
{
	sample->port++;
}

static void change_host(struct sample *sample)
{
	sample->host++;
}

static void change_tags(struct sample *sample)
{
	sample->tags ^= 1;
}

enum which {
	ALL,
	TCP = 1,
	UDP = 2,
	IP4 = 4,
	IP6 = 8,
	TAP = 16,
	EXTENDED = 32,
};

static const struct {
	const char *name;
	void (*change)(struct sample *sample);
	unsigned which; /* must all hold for the rule to be tried */
	bool merged;
} rules[] = {
	{"nothing differs", change_nothing, ALL, true},
	{"shorter", make_short, ALL, true},
	{"longer", make_long, ALL, false},
	{"no payload", make_empty, ALL, false},
	{"PSH", set_psh, TCP, true},
	{"FIN", set_fin, TCP, true},
	{"SYN", set_syn, TCP, false},
	{"RST", set_rst, TCP, false},
	{"URG", set_urg, TCP, false},
	{"ECE", set_ece, TCP, false},
	{"CWR", set_cwr, TCP, false},
	{"no ACK", clear_ack, TCP, false},
	{"a gap", leave_gap, TCP, false},
	{"an overlap", overlap, TCP, false},
	{"a duplicate", repeat, TCP, false},
	{"another acknowledgment", acknowledge, TCP, false},
	{"another window", change_window, TCP, false},
	{"one more option", add_option, TCP, false},
	{"another option", change_option, TCP, false},
	{"another TOS", change_tos, ALL, false},
	{"other ECN bits", change_ecn, ALL, false},
	{"another TTL", change_ttl, ALL, false},
	{"another DF", change_fragmenting, IP4, false},
	{"the same identification", repeat_identification, IP4, false},
	{"an identification left out", skip_identification, IP4, false},
	{"identifications do not matter", skip_identification, IP6, true},
	{"another flow label", change_label, IP6, false},
	{"an IPv4 option", add_ip_option, IP4, false},
	{"one more extension header", add_extension, IP6, false},
	{"a longer extension header", change_extension, EXTENDED, false},
	{"another port", change_port, ALL, false},
	{"another host", change_host, ALL, false},
	{"another VLAN", change_tags, TAP, false},
	{"sequence numbers do not matter", leave_gap, UDP, true},
};

static unsigned properties(const struct sample *sample)
{
	return (sample->udp ? UDP : TCP) | (sample->ipv6 ? IP6 : IP4) | (sample->tap ? TAP : 0u) |
	       (sample->extensions ? EXTENDED : 0u);
}

static void test_rules(void **state)
{
	(void)state;
	for (size_t r = 0; r < sizeof(rules) / sizeof(rules[0]); r++) {
		for (size_t i = 0; i < BASES; i++) {
			struct sample sample = bases[i];
			struct burst burst;
			unsigned found;

			if (rules[r].which & ~properties(&sample))
				continue;
			if (rules[r].change == change_option && !sample.tcp_options)
				continue;
			open_burst(&burst);
			add(&burst, &sample, 0);
			sample = next_of(&sample);
			rules[r].change(&sample);
			if (rules[r].change == change_extension && bases[i].extensions == 2)
				assert_true(sample.extensions == 1); /* as long in all */
			add(&burst, &sample, 0);
			found = merge(&burst, sample_layer(&sample), BOTH, rules[r].name);
			if (found != (rules[r].merged ? 1 : 2))
				fail_msg("%s: base %zu: %u packets", rules[r].name, i, found);
			close_burst(&burst);
		}
	}
}

/* What both packets have alike: may it be in a super-packet at all? */
static void test_rules_for_both(void **state)
{
	static const struct {
		const char *name;
		void (*change)(struct sample *sample);
		unsigned which;
		bool merged;
	} both[] = {
		{"both SYN", set_syn, TCP, false},
		{"both RST", set_rst, TCP, false},
		{"both URG", set_urg, TCP, false},
		{"both CWR", set_cwr, TCP, false},
		{"both without ACK", clear_ack, TCP, false},
		{"both PSH", set_psh, TCP, false},
		{"both FIN", set_fin, TCP, false},
		{"both ECE", set_ece, TCP, true},
		{"both empty", make_empty, ALL, false},
		{"both with an IPv4 option", add_ip_option, IP4, false},
		{"both with one more option", add_option, TCP, true},
		{"both with an extension header", add_extension, IP6, true},
		{"both with another TOS", change_tos, ALL, true},
		{"both with congestion experienced", change_ecn, ALL, true},
		{"both with another TTL", change_ttl, ALL, true},
		{"both with another DF", change_fragmenting, IP4, true},
	};

	(void)state;
	for (size_t r = 0; r < sizeof(both) / sizeof(both[0]); r++) {
		for (size_t i = 0; i < BASES; i++) {
			struct sample sample = bases[i];
			struct burst burst;
			unsigned found;

			if (both[r].which & ~properties(&sample))
				continue;
			both[r].change(&sample);
			if (sample.flags == VNIC_TCP_PSH)
				sample.flags = VNIC_TCP_ECE;
			open_burst(&burst);
			add(&burst, &sample, 0);
			sample = next_of(&sample);
			add(&burst, &sample, 0);
			found = merge(&burst, sample_layer(&sample), BOTH, both[r].name);
			if (found != (both[r].merged ? 1 : 2))
				fail_msg("%s: base %zu: %u packets", both[r].name, i, found);
			close_burst(&burst);
		}
	}
}

static void test_ethernet_headers_must_be_equal(void **state)
{
	static const unsigned differs[] = {0, 6, 15}; /* both addresses, the VLAN's number */

	(void)state;
	for (size_t i = 0; i < sizeof(differs) / sizeof(differs[0]); i++) {
		struct sample sample = {.payload = SIZE, .tap = true, .tags = 1};
		struct burst burst;

		open_burst(&burst);
		add(&burst, &sample, 0);
		sample = next_of(&sample);
		add(&burst, &sample, 0)->data[differs[i]] ^= 4;
		assert_int_equal(merge(&burst, VNIC_LAYER_ETHERNET, BOTH, "Ethernet"), 2);
		close_burst(&burst);
	}
}

/* The same differences in the first packet: does it still take the second, which is a usual one? */
static void test_nothing_follows(void **state)
{
	static const struct {
		const char *name;
		void (*change)(struct sample *sample);
		unsigned which;
	} first[] = {
		{"behind PSH", set_psh, TCP},
		{"behind FIN", set_fin, TCP},
		{"behind SYN", set_syn, TCP},
		{"behind RST", set_rst, TCP},
		{"behind URG", set_urg, TCP},
		{"behind CWR", set_cwr, TCP},
		{"behind no ACK", clear_ack, TCP},
		{"behind no payload", make_empty, ALL},
		{"behind a short one", make_short, ALL},
	};

	(void)state;
	for (size_t r = 0; r < sizeof(first) / sizeof(first[0]); r++) {
		for (size_t i = 0; i < BASES; i++) {
			struct sample sample = bases[i];
			struct burst burst;
			unsigned found;

			if (first[r].which & ~properties(&sample))
				continue;
			/* As the second of three: a short first one would only be the size. */
			open_burst(&burst);
			add(&burst, &sample, 0);
			sample = next_of(&sample);
			first[r].change(&sample);
			add(&burst, &sample, 0);
			sample = next_of(&sample);
			sample.flags = 0;
			sample.payload = bases[i].payload;
			add(&burst, &sample, 0);
			found = merge(&burst, sample_layer(&sample), BOTH, first[r].name);
			if (found < 2)
				fail_msg("%s: base %zu: %u packets", first[r].name, i, found);
			close_burst(&burst);
			if (first[r].change == make_short)
				continue;
			open_burst(&burst);
			sample = bases[i];
			first[r].change(&sample);
			add(&burst, &sample, 0);
			sample = next_of(&sample);
			sample.flags = 0;
			sample.payload = bases[i].payload;
			add(&burst, &sample, 0);
			found = merge(&burst, sample_layer(&sample), BOTH, first[r].name);
			if (found != 2)
				fail_msg("%s, first: base %zu: %u packets", first[r].name, i,
					 found);
			close_burst(&burst);
		}
	}
}

/* Changes to the bytes of the second packet of three, each of which is no part then. */

static void spoil_payload(struct vnic_packet *packet)
{
	packet->data[packet->length_bytes - 1] ^= 1;
}

static void add_trailer(struct vnic_packet *packet)
{
	memset(packet->data + packet->length_bytes, 0, 6);
	packet->length_bytes += 6;
}

static void truncate(struct vnic_packet *packet)
{
	packet->flags |= VNIC_PACKET_TRUNCATED;
}

static void be_super(struct vnic_packet *packet)
{
	packet->gso_type = VNIC_GSO_UDP;
	packet->gso_size_bytes = 400;
}

/* Where the transport header is in the three packets that these are for. */
static uint32_t transport_of(const struct vnic_packet *packet)
{
	return packet->data[0] >> 4 == 4 ? 20 : 40;
}

static void spoil_checksum(struct vnic_packet *packet)
{
	uint32_t at =
		transport_of(packet) + (packet->data[9] == 17 || packet->data[6] == 17 ? 6 : 16);

	packet->data[at] ^= 0x80;
}

static void other_checksum_to_do(struct vnic_packet *packet)
{
	packet->flags = VNIC_PACKET_NEEDS_CSUM;
	packet->csum_start = (uint16_t)(transport_of(packet) + 100);
	packet->csum_offset = 16;
}

/* As an inner header's, with the right sum where the outer one has its checksum. */
static void checksum_of_inner_header(struct vnic_packet *packet)
{
	uint32_t transport = transport_of(packet), network = transport == 20 ? 12 : 8;
	uint8_t protocol = packet->data[transport == 20 ? 9 : 6];
	uint32_t field = transport + (protocol == 17 ? 6 : 16);
	uint8_t pseudo[4] = {0, protocol};
	uint16_t sum;

	pseudo[2] = (uint8_t)((packet->length_bytes - transport) >> 8);
	pseudo[3] = (uint8_t)(packet->length_bytes - transport);
	sum = vnic_checksum_fold(vnic_checksum_add(vnic_checksum_add(0, pseudo, 4),
						   packet->data + network, transport - network));
	packet->data[field] = (uint8_t)(sum >> 8);
	packet->data[field + 1] = (uint8_t)sum;
	packet->flags = VNIC_PACKET_NEEDS_CSUM;
	packet->csum_start = (uint16_t)(transport + 100);
	packet->csum_offset = (uint16_t)(field - transport);
}

static void checksum_in_another_place(struct vnic_packet *packet)
{
	checksum_of_inner_header(packet);
	packet->csum_start = (uint16_t)transport_of(packet);
	packet->csum_offset += 2;
}

static void wrong_pseudo_sum(struct vnic_packet *packet)
{
	packet->flags = VNIC_PACKET_NEEDS_CSUM;
	packet->csum_start = (uint16_t)transport_of(packet);
	packet->csum_offset = packet->data[9] == 17 || packet->data[6] == 17 ? 6 : 16;
}

static void no_udp_checksum(struct vnic_packet *packet)
{
	packet->data[transport_of(packet) + 6] = packet->data[transport_of(packet) + 7] = 0;
	packet->flags = VNIC_PACKET_DATA_VALID;
}

static void shorter_udp(struct vnic_packet *packet)
{
	packet->data[transport_of(packet) + 5]--;
	packet->flags = VNIC_PACKET_DATA_VALID;
}

static void spoil_ipv4(struct vnic_packet *packet)
{
	packet->data[10] ^= 1;
}

static void longer_ipv6(struct vnic_packet *packet)
{
	packet->data[5]++;
}

static void shorter_tcp_header(struct vnic_packet *packet)
{
	packet->data[transport_of(packet) + 12] = 0x40;
}

static void make_fragment(struct vnic_packet *packet)
{
	uint16_t sum;

	packet->data[6] |= 0x20;
	packet->data[10] = packet->data[11] = 0;
	sum = vnic_checksum(packet->data, 20);
	packet->data[10] = (uint8_t)(sum >> 8);
	packet->data[11] = (uint8_t)sum;
}

static void test_broken_packets_are_passed_on(void **state)
{
	static const struct {
		const char *name;
		void (*change)(struct vnic_packet *packet);
		unsigned which;
	} broken[] = {
		{"a wrong payload", spoil_payload, ALL},
		{"a wrong checksum", spoil_checksum, ALL},
		{"a trailer", add_trailer, ALL},
		{"truncated", truncate, ALL},
		{"a super-packet", be_super, ALL},
		{"another checksum to do", other_checksum_to_do, ALL},
		{"an inner checksum to do", checksum_of_inner_header, ALL},
		{"a checksum in another place", checksum_in_another_place, ALL},
		{"a wrong sum of the pseudo header", wrong_pseudo_sum, ALL},
		{"no UDP checksum", no_udp_checksum, UDP},
		{"a shorter UDP length", shorter_udp, UDP},
		{"a wrong IPv4 checksum", spoil_ipv4, IP4},
		{"a longer IPv6 payload", longer_ipv6, IP6},
		{"a short TCP header", shorter_tcp_header, TCP},
		{"a fragment", make_fragment, IP4},
	};
	static const struct sample plain[] = {
		{.payload = SIZE},
		{.payload = SIZE, .ipv6 = true},
		{.payload = SIZE, .udp = true},
		{.payload = SIZE, .udp = true, .ipv6 = true},
	};

	(void)state;
	for (size_t r = 0; r < sizeof(broken) / sizeof(broken[0]); r++) {
		for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++) {
			/* In front, in the middle, and at the end of four; 4: all of them */
			for (unsigned at = 0; at <= 4; at++) {
				struct sample sample = plain[i];
				struct burst burst;
				unsigned found;

				if (broken[r].which & ~properties(&sample))
					continue;
				open_burst(&burst);
				for (unsigned k = 0; k < 4; k++, sample = next_of(&sample)) {
					struct vnic_packet *packet = add(&burst, &sample, 0);

					if (k == at || at == 4)
						broken[r].change(packet);
				}
				found = merge(&burst, VNIC_LAYER_IP, BOTH, broken[r].name);
				if (found != (at == 4 ? 4u : at == 0 || at == 3 ? 2u : 3u))
					fail_msg("%s: %u packets with the broken one at %u",
						 broken[r].name, found, at);
				close_burst(&burst);
			}
		}
	}
}

/* The other zero of one's complement verifies, but the segmenter would not write it. */
static void test_other_zeros_are_passed_on(void **state)
{
	struct sample sample = {.payload = SIZE};
	struct burst burst;
	uint8_t *field, *filler;

	(void)state;
	/* TCP: ffff where 0000 is usual. */
	for (int other = 0; other < 2; other++) {
		sample = (struct sample){.payload = SIZE};
		open_burst(&burst);
		add(&burst, &sample, 0);
		sample = next_of(&sample);
		field = add(&burst, &sample, 0)->data + 36;
		filler = burst.packets[1].data + 40;
		/* The first word of the payload takes the checksum in. */
		uint32_t sum = (uint32_t)(filler[0] << 8 | filler[1]) +
			       (uint32_t)(field[0] << 8 | field[1]);

		sum = (sum & 0xffff) + (sum >> 16);
		filler[0] = (uint8_t)(sum >> 8);
		filler[1] = (uint8_t)sum;
		field[0] = field[1] = other ? 0xff : 0;
		assert_null(plain_complaint(&burst.packets[1], VNIC_LAYER_IP));
		assert_int_equal(merge(&burst, VNIC_LAYER_IP, BOTH, "TCP's zeros"), 1 + other);
		close_burst(&burst);
	}
	/* The same in the IPv4 header, where the identification takes it in. */
	for (int other = 0; other < 2; other++) {
		sample = (struct sample){.payload = SIZE};
		for (sample.identification = 0;; sample.identification++) {
			open_burst(&burst);
			add(&burst, &sample, 0);
			field = burst.packets[0].data + 10;
			if (field[0] == 0 && field[1] == 0)
				break;
			close_burst(&burst);
			assert_true(sample.identification < 65535);
		}
		field[0] = field[1] = other ? 0xff : 0;
		sample = next_of(&sample);
		add(&burst, &sample, 0);
		assert_null(plain_complaint(&burst.packets[0], VNIC_LAYER_IP));
		assert_int_equal(merge(&burst, VNIC_LAYER_IP, BOTH, "IPv4's zeros"), 1 + other);
		close_burst(&burst);
	}
}

static void test_who_vouches_for_a_checksum(void **state)
{
	(void)state;
	for (size_t i = 0; i < BASES; i++) {
		for (int first = 0; first < 3; first++) {
			for (int second = 0; second < 3; second++) {
				struct sample samples[2] = {bases[i], next_of(&bases[i])};
				struct burst burst;

				open_burst(&burst);
				for (int k = 0; k < 2; k++) {
					int how = k ? second : first;
					struct vnic_packet *packet = add(&burst, &samples[k], 0);

					if (how == 1)
						packet->flags = VNIC_PACKET_DATA_VALID;
					if (how == 2)
						sample_build_partial(&samples[k], packet);
				}
				assert_int_equal(
					merge(&burst, sample_layer(&bases[i]), BOTH, "vouched for"),
					1);
				close_burst(&burst);
			}
		}
	}
}

static void test_what_is_asked_for(void **state)
{
	static const struct {
		unsigned what, packets;
	} asked[] = {{0, 8}, {VNIC_MERGE_TCP, 6}, {VNIC_MERGE_UDP, 6}, {BOTH, 4}};

	(void)state;
	for (size_t i = 0; i < sizeof(asked) / sizeof(asked[0]); i++) {
		struct burst burst;

		open_burst(&burst);
		for (int flow = 0; flow < 4; flow++) {
			struct sample sample = {.payload = SIZE, .udp = flow & 1, .ipv6 = flow & 2};

			add(&burst, &sample, flow);
			sample = next_of(&sample);
			add(&burst, &sample, flow);
		}
		assert_int_equal(merge(&burst, VNIC_LAYER_IP, asked[i].what, "asked for"),
				 asked[i].packets);
		close_burst(&burst);
	}
}

static void test_interleaved_flows(void **state)
{
	struct sample flows[8];
	struct burst burst;

	(void)state;
	open_burst(&burst);
	for (int i = 0; i < 8; i++)
		flows[i] = (struct sample){
			.payload = SIZE + (uint32_t)i, .udp = i & 1, .ipv6 = i & 2, .host = i & 4};
	for (int round = 0; round < 8; round++) {
		for (int i = 0; i < 8; i++) {
			add(&burst, &flows[i], i);
			flows[i] = next_of(&flows[i]);
		}
	}
	assert_int_equal(merge(&burst, VNIC_LAYER_IP, BOTH, "interleaved"), 8);
	for (int i = 0; i < 8; i++)
		assert_int_equal(burst.packets[i].gso_size_bytes, SIZE + i);
	close_burst(&burst);
}

/* Every packet a flow of its own: nothing is merged, nothing is lost. */
static void test_many_flows(void **state)
{
	struct burst burst;

	(void)state;
	open_burst(&burst);
	for (int i = 0; i < VNIC_BURST_PACKETS; i++) {
		struct sample sample = {.payload = 10, .port = (uint16_t)i};

		add(&burst, &sample, i);
	}
	assert_int_equal(merge(&burst, VNIC_LAYER_IP, BOTH, "many flows"), VNIC_BURST_PACKETS);
	close_burst(&burst);
}

static void test_order_within_a_flow(void **state)
{
	struct sample first = {.payload = SIZE}, second = next_of(&first), third = next_of(&second);
	struct sample fourth = next_of(&third), ack = second;
	struct burst burst;

	(void)state;
	/* Out of order: 1 3 2 4 */
	open_burst(&burst);
	add(&burst, &first, 0);
	add(&burst, &third, 0);
	add(&burst, &second, 0);
	add(&burst, &fourth, 0);
	assert_int_equal(merge(&burst, VNIC_LAYER_IP, BOTH, "out of order"), 4);
	close_burst(&burst);
	/* 1 3 4 2: what continues the third may join it, but not overtake the second. */
	open_burst(&burst);
	add(&burst, &first, 0);
	add(&burst, &third, 0);
	add(&burst, &fourth, 0);
	add(&burst, &second, 0);
	assert_int_equal(merge(&burst, VNIC_LAYER_IP, BOTH, "out of order"), 3);
	close_burst(&burst);
	/* Twice */
	open_burst(&burst);
	add(&burst, &first, 0);
	add(&burst, &first, 0);
	add(&burst, &second, 0);
	assert_int_equal(merge(&burst, VNIC_LAYER_IP, BOTH, "duplicate"), 2);
	close_burst(&burst);
	/* A bare ACK between them */
	ack.payload = 0;
	ack.identification = 99;
	open_burst(&burst);
	add(&burst, &first, 0);
	add(&burst, &ack, 0);
	add(&burst, &second, 0);
	assert_int_equal(merge(&burst, VNIC_LAYER_IP, BOTH, "bare ACK"), 3);
	close_burst(&burst);
	/* One of another protocol with the same numbers is another flow. */
	ack = second;
	ack.udp = true;
	open_burst(&burst);
	add(&burst, &first, 0);
	add(&burst, &ack, 1);
	add(&burst, &second, 0);
	assert_int_equal(merge(&burst, VNIC_LAYER_IP, BOTH, "other protocol"), 2);
	close_burst(&burst);
}

static void add_bytes(struct burst *burst, const char *hex)
{
	struct vnic_packet *packet = &burst->packets[burst->count];
	size_t length;
	uint8_t *bytes = from_hex(hex, &length);

	memcpy(packet->data, bytes, length);
	packet->length_bytes = (uint32_t)length;
	burst->flows[burst->count++] = NO_FLOW;
	free(bytes);
}

static void test_packets_of_other_kinds(void **state)
{
	static const struct {
		const char *name, *packet;
		enum vnic_layer layer;
		unsigned packets; /* of three */
	} others[] = {
		/* No part of any flow: those in front and behind may meet. */
		{"ping", PACKET_PING, VNIC_LAYER_IP, 2},
		{"ping over IPv6", PACKET_PING6, VNIC_LAYER_IP, 2},
		{"GRE", PACKET_GRE, VNIC_LAYER_IP, 2},
		{"an ICMP error", PACKET_PORT_UNREACHABLE, VNIC_LAYER_IP, 2},
		{"hop-by-hop", PACKET_HOP_BY_HOP, VNIC_LAYER_IP, 2},
		{"IGMP with router alert", PACKET_ROUTER_ALERT, VNIC_LAYER_IP, 2},
		{"another UDP flow", PACKET_UDP, VNIC_LAYER_IP, 2},
		{"ARP", PACKET_ARP_REQUEST, VNIC_LAYER_ETHERNET, 2},
		{"LLDP", PACKET_LLDP, VNIC_LAYER_ETHERNET, 2},
		{"ping in a VLAN", PACKET_VLAN_PING, VNIC_LAYER_ETHERNET, 2},
		{"a runt", "02005e1000", VNIC_LAYER_ETHERNET, 2},
		{"one byte", "45", VNIC_LAYER_IP, 3},
		{"neither version", "55005e1000", VNIC_LAYER_IP, 2},
		/* Of which flow these are cannot be told. */
		{"UDP with IPv4 options", PACKET_OPTIONS, VNIC_LAYER_IP, 3},
		{"a routing header", PACKET_ROUTING, VNIC_LAYER_IP, 3},
		{"an IPv6 fragment", PACKET_FRAGMENT6, VNIC_LAYER_IP, 3},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		struct sample sample = {.payload = SIZE,
					.tap = others[i].layer == VNIC_LAYER_ETHERNET};
		struct burst burst;
		unsigned found;

		open_burst(&burst);
		add(&burst, &sample, 0);
		add_bytes(&burst, others[i].packet);
		sample = next_of(&sample);
		add(&burst, &sample, 0);
		found = merge(&burst, others[i].layer, BOTH, others[i].name);
		if (found != others[i].packets)
			fail_msg("%s: %u packets, not %u", others[i].name, found,
				 others[i].packets);
		close_burst(&burst);
	}
}

static void test_64_kib_in_all(void **state)
{
	(void)state;
	for (size_t i = 0; i < BASES; i++) {
		struct sample sample = bases[i];
		uint32_t header, most;
		struct burst burst;

		sample.payload = 2000;
		header = sample_header_bytes(&sample) -
			 (sample.tap ? 14 + 4 * sample.tags : 0); /* from IP on */
		most = (65535 - header) / 2000;
		open_burst(&burst);
		for (unsigned k = 0; k < 40; k++, sample = next_of(&sample))
			add(&burst, &sample, 0);
		assert_int_equal(merge(&burst, sample_layer(&sample), BOTH, "64 KiB"), 2);
		assert_int_equal(burst.packets[0].length_bytes,
				 sample_header_bytes(&sample) + most * 2000);
		close_burst(&burst);
		/* To the last byte */
		for (unsigned more = 0; more < 2; more++) {
			sample = bases[i];
			sample.payload = 2000;
			open_burst(&burst);
			for (unsigned k = 0; k < most; k++, sample = next_of(&sample))
				add(&burst, &sample, 0);
			sample.payload = 65535 - header - most * 2000 + more;
			add(&burst, &sample, 0);
			assert_int_equal(merge(&burst, sample_layer(&sample), BOTH, "65535"),
					 1 + more);
			close_burst(&burst);
		}
	}
}

static void test_memory_that_is_too_small(void **state)
{
	struct sample sample;
	struct burst burst;

	(void)state;
	for (uint32_t room = 0; room < 3 * SIZE; room += SIZE / 2) {
		sample = bases[0];
		open_burst(&burst);
		for (unsigned k = 0; k < 4; k++, sample = next_of(&sample)) {
			struct vnic_packet *packet = add(&burst, &sample, 0);

			/* Its own memory, so that a sanitizer sees the first byte behind. */
			packet->capacity_bytes = packet->length_bytes + room;
			packet->data = memcpy(malloc(packet->capacity_bytes), packet->data,
					      packet->length_bytes);
		}
		assert_int_equal(merge(&burst, VNIC_LAYER_IP, BOTH, "small memory"),
				 room < SIZE       ? 4
				 : room < 3 * SIZE ? 2
						   : 1);
		for (unsigned k = 0; k < 4; k++)
			free(burst.packets[k].data);
		close_burst(&burst);
	}
}

static void test_too_many_packets(void **state)
{
	struct vnic_packet packets[VNIC_BURST_PACKETS + 1] = {{.data = NULL}};

	(void)state;
	assert_int_equal(vnic_packets_merge(packets, 0, VNIC_LAYER_IP, BOTH), 0);
	assert_int_equal(vnic_packets_merge(packets, VNIC_BURST_PACKETS + 1, VNIC_LAYER_IP, BOTH),
			 VNIC_BURST_PACKETS + 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_continues_is_merged),
		cmocka_unit_test(test_description_of_the_result),
		cmocka_unit_test(test_rules),
		cmocka_unit_test(test_rules_for_both),
		cmocka_unit_test(test_ethernet_headers_must_be_equal),
		cmocka_unit_test(test_nothing_follows),
		cmocka_unit_test(test_broken_packets_are_passed_on),
		cmocka_unit_test(test_other_zeros_are_passed_on),
		cmocka_unit_test(test_who_vouches_for_a_checksum),
		cmocka_unit_test(test_what_is_asked_for),
		cmocka_unit_test(test_interleaved_flows),
		cmocka_unit_test(test_many_flows),
		cmocka_unit_test(test_order_within_a_flow),
		cmocka_unit_test(test_packets_of_other_kinds),
		cmocka_unit_test(test_64_kib_in_all),
		cmocka_unit_test(test_memory_that_is_too_small),
		cmocka_unit_test(test_too_many_packets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
