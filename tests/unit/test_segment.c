/* SPDX-License-Identifier: MIT */
/*
 * Super-packets cut into segments, each of which is compared with a packet built from scratch; and
 * what must be refused. That the kernel cuts them alike is shown by test_kernel_gso.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <vnic/segment.h>

#include "packets.h"
#include "samples.h"

#define ROOM (VNIC_PACKET_BYTES + 64)

struct cut {
	const char *name;
	struct sample sample;
	uint16_t gso_size;
};

static const struct cut cuts[] = {
	{"two segments", {.payload = 2000}, 1000},
	{"a short last one", {.payload = 2500}, 1000},
	{"a last byte", {.payload = 2001}, 1000},
	{"odd sizes", {.payload = 10 * 1447 + 3}, 1447},
	{"one byte each", {.payload = 70}, 1},
	{"a size over the payload", {.payload = 500, .flags = 0x98}, 1000},
	{"a size that is the payload", {.payload = 1000, .flags = 0x18}, 1000},
	{"the largest size", {.payload = 5000}, 0xffff},
	{"no payload", {.payload = 0, .flags = 0x11}, 1000},
	{"64 KiB", {.payload = 65535 - 40}, 1448},
	{"64 KiB over IPv6", {.payload = 65535 - 20, .ipv6 = true}, 1428},
	{"PSH and FIN", {.payload = 4000, .flags = 0x19}, 1448},
	{"CWR and ECE", {.payload = 4000, .flags = 0xd0, .tos = 2}, 1448},
	{"SYN, RST and URG", {.payload = 4000, .flags = 0x36}, 1448},
	{"TCP options", {.payload = 4000, .tcp_options = 3, .option = 0x0808abcd}, 1436},
	{"most TCP options", {.payload = 4001, .tcp_options = 10}, 1001},
	{"identifications that wrap", {.payload = 9000, .identification = 65533}, 1000},
	{"sequence numbers that wrap", {.payload = 9000, .sequence = 0xfffff000}, 1000},
	{"DF and TOS", {.payload = 3000, .dont_fragment = true, .tos = 0xb9, .ttl = 1}, 1000},
	{"IPv4 options", {.payload = 3000, .ip_options = 3}, 1000},
	{"most IPv4 options", {.payload = 3000, .ip_options = 10}, 999},
	{"IPv6", {.payload = 3000, .ipv6 = true, .tos = 0xb9, .flow_label = 0xabcde}, 1000},
	{"an extension header", {.payload = 3000, .ipv6 = true, .extensions = 1}, 1000},
	{"four extension headers",
	 {.payload = 3000, .ipv6 = true, .extensions = 4, .extension = 24},
	 1000},
	{"the longest headers",
	 {.payload = 3000, .ipv6 = true, .extensions = 1, .extension = 448, .tcp_options = 1},
	 1000},
	{"Ethernet", {.payload = 3000, .tap = true}, 1000},
	{"a VLAN tag", {.payload = 3000, .tap = true, .tags = 1}, 1000},
	{"two VLAN tags", {.payload = 65535 - 40, .tap = true, .tags = 2}, 1448},
	{"VLAN and IPv6", {.payload = 3000, .tap = true, .tags = 1, .ipv6 = true}, 999},
	{"UDP", {.payload = 5000, .udp = true}, 1200},
	{"UDP in odd sizes", {.payload = 5000, .udp = true}, 777},
	{"UDP with a last byte", {.payload = 2401, .udp = true}, 1200},
	{"UDP with identifications that wrap",
	 {.payload = 9000, .udp = true, .identification = 65530},
	 1000},
	{"UDP, 64 KiB", {.payload = 65535 - 28, .udp = true}, 1472},
	{"UDP without payload", {.udp = true}, 1472},
	{"UDP of one segment", {.udp = true, .payload = 100}, 100},
	{"UDP over IPv6", {.payload = 5000, .udp = true, .ipv6 = true}, 1200},
	{"UDP behind extension headers",
	 {.payload = 5000, .udp = true, .ipv6 = true, .extensions = 2, .extension = 16},
	 1199},
	{"UDP behind IPv4 options", {.payload = 5000, .udp = true, .ip_options = 1}, 1200},
	{"UDP in a VLAN", {.payload = 5000, .udp = true, .tap = true, .tags = 1}, 1200},
};

static struct vnic_packet new_packet(uint32_t capacity_bytes)
{
	struct vnic_packet packet = {
		.data = malloc(capacity_bytes ? capacity_bytes : 1),
		.capacity_bytes = capacity_bytes,
	};

	assert_non_null(packet.data);
	return packet;
}

static unsigned count_segments(const struct cut *cut)
{
	unsigned count = (cut->sample.payload + cut->gso_size - 1u) / cut->gso_size;

	return count ? count : 1;
}

static void compare(const struct cut *cut, unsigned index, const struct vnic_packet *found)
{
	struct sample sample = sample_segment(&cut->sample, cut->gso_size, index);
	struct vnic_packet expected = new_packet(ROOM);
	const char *complaint = plain_complaint(found, sample_layer(&sample));

	sample_build(&sample, &expected);
	if (complaint)
		fail_msg("%s: segment %u has %s", cut->name, index, complaint);
	if (found->length_bytes != expected.length_bytes)
		fail_msg("%s: segment %u has %u bytes, not %u", cut->name, index,
			 found->length_bytes, expected.length_bytes);
	for (uint32_t i = 0; i < expected.length_bytes; i++) {
		if (found->data[i] != expected.data[i])
			fail_msg("%s: segment %u has %02x at %u, not %02x", cut->name, index,
				 found->data[i], i, expected.data[i]);
	}
	assert_int_equal(found->flags, 0);
	assert_int_equal(found->gso_type, VNIC_GSO_NONE);
	assert_int_equal(found->gso_size_bytes, 0);
	assert_false(found->gso_ecn);
	assert_int_equal(found->csum_start, 0);
	assert_int_equal(found->csum_offset, 0);
	free(expected.data);
}

/* Cuts into memory of the exact size, at_once segments by a call. */
static void cut_and_compare(const struct cut *cut, const struct vnic_packet *super,
			    unsigned at_once)
{
	struct vnic_packet parts[VNIC_BURST_PACKETS];
	unsigned expected = count_segments(cut), index = 0;
	struct vnic_segmenter segmenter;
	int found = vnic_segmenter_begin(&segmenter, super, sample_layer(&cut->sample));

	if (found != (int)expected)
		fail_msg("%s: %d segments, not %u", cut->name, found, expected);
	do {
		for (unsigned i = 0; i < at_once; i++) {
			struct sample part = sample_segment(&cut->sample, cut->gso_size,
							    index + i < expected ? index + i : 0);

			parts[i] = new_packet(sample_header_bytes(&part) + part.payload);
			parts[i].gso_ecn = true; /* what was there before does not matter */
			parts[i].csum_start = 7;
		}
		found = vnic_segmenter_next(&segmenter, parts, at_once);
		if (found != (int)(expected - index < at_once ? expected - index : at_once))
			fail_msg("%s: %d segments behind %u of %u", cut->name, found, index,
				 expected);
		for (int i = 0; i < found; i++)
			compare(cut, index + (unsigned)i, &parts[i]);
		index += (unsigned)found;
		for (unsigned i = 0; i < at_once; i++)
			free(parts[i].data);
	} while (found > 0);
	assert_int_equal(index, expected);
}

static void test_segments_are_what_they_should_be(void **state)
{
	static const unsigned at_once[] = {1, 3, VNIC_BURST_PACKETS};

	(void)state;
	for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
		struct vnic_packet super = new_packet(ROOM), exact;
		uint8_t *before;

		sample_build_super(&cuts[i].sample, cuts[i].gso_size, &super);
		before = exact_copy(super.data, super.length_bytes);
		exact = super;
		exact.data = exact_copy(super.data, super.length_bytes);
		for (size_t k = 0; k < sizeof(at_once) / sizeof(at_once[0]); k++)
			cut_and_compare(&cuts[i], &exact, at_once[k]);
		assert_memory_equal(exact.data, before, super.length_bytes);
		free(before);
		free(exact.data);
		free(super.data);
	}
}

static void test_every_size_of_segment(void **state)
{
	struct vnic_packet super = new_packet(ROOM);

	(void)state;
	for (uint16_t size = 1; size < 300; size++) {
		struct cut cut = {"any size", {.payload = 611, .identification = size}, size};

		cut.sample.udp = size % 2;
		cut.sample.ipv6 = size % 3 == 0;
		sample_build_super(&cut.sample, size, &super);
		cut_and_compare(&cut, &super, VNIC_BURST_PACKETS);
	}
	free(super.data);
}

static void test_bytes_behind_the_packet_are_left_out(void **state)
{
	struct vnic_packet super = new_packet(ROOM);

	(void)state;
	for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
		sample_build_super(&cuts[i].sample, cuts[i].gso_size, &super);
		memset(super.data + super.length_bytes, 0x77, 9);
		super.length_bytes += 9;
		cut_and_compare(&cuts[i], &super, VNIC_BURST_PACKETS);
	}
	free(super.data);
}

/* Numbers that a checksum of 0 results from: UDP writes 0xffff then, TCP does not. */
static void test_both_zeros_of_the_checksum(void **state)
{
	struct vnic_packet super = new_packet(ROOM), parts[2];

	(void)state;
	parts[0] = new_packet(ROOM);
	parts[1] = new_packet(ROOM);
	for (int version = 0; version < 4; version++) {
		struct sample sample = {.payload = 300, .ipv6 = version & 1, .udp = version & 2};
		struct vnic_segmenter segmenter;
		uint32_t header = sample_header_bytes(&sample);
		uint16_t checksum;
		uint8_t *field;

		/* The last two bytes of the first segment take up what is missing. */
		sample_build_super(&sample, 200, &super);
		memset(super.data + header + 198, 0, 2);
		assert_int_equal(vnic_segmenter_begin(&segmenter, &super, VNIC_LAYER_IP), 2);
		assert_int_equal(vnic_segmenter_next(&segmenter, parts, 2), 2);
		field = parts[0].data + header - (sample.udp ? 2 : 4);
		checksum = (uint16_t)(field[0] << 8 | field[1]);
		super.data[header + 198] = (uint8_t)(checksum >> 8);
		super.data[header + 199] = (uint8_t)checksum;
		assert_int_equal(vnic_segmenter_begin(&segmenter, &super, VNIC_LAYER_IP), 2);
		assert_int_equal(vnic_segmenter_next(&segmenter, parts, 2), 2);
		assert_int_equal(field[0] << 8 | field[1], sample.udp ? 0xffff : 0);
		assert_null(plain_complaint(&parts[0], VNIC_LAYER_IP));
		assert_null(plain_complaint(&parts[1], VNIC_LAYER_IP));
	}
	free(parts[0].data);
	free(parts[1].data);
	free(super.data);
}

/* The sender's: with a routing header, the destination in the IP header is another. */
static void test_the_sum_of_the_pseudo_header_is_kept(void **state)
{
	const struct sample sample = {
		.payload = 3000, .ipv6 = true, .extensions = 1, .extension = 24};
	struct vnic_packet super = new_packet(ROOM), part = new_packet(ROOM);
	struct vnic_segmenter segmenter;
	uint8_t final[VNIC_IPV6_BYTES];

	(void)state;
	sample_build_super(&sample, 1000, &super);
	memcpy(final, super.data + 24, sizeof(final));
	super.data[6] = VNIC_PROTOCOL_ROUTING;
	super.data[40 + 2] = 2; /* a routing header of type 2 with one segment left */
	super.data[40 + 3] = 1;
	memset(super.data + 40 + 4, 0, 4);
	memcpy(super.data + 40 + 8, final, sizeof(final));
	memset(super.data + 24, 0xfd, sizeof(final));
	assert_int_equal(vnic_segmenter_begin(&segmenter, &super, VNIC_LAYER_IP), 3);
	for (unsigned i = 0; i < 3; i++) {
		struct vnic_address source = vnic_address_from_bytes(VNIC_IPV6, super.data + 8);
		struct vnic_address destination = vnic_address_from_bytes(VNIC_IPV6, final);

		assert_int_equal(vnic_segmenter_next(&segmenter, &part, 1), 1);
		assert_null(plain_complaint(&part, VNIC_LAYER_IP));
		assert_int_equal(vnic_tcp_verify(part.data + 64, part.length_bytes - 64, &source,
						 &destination),
				 0);
	}
	free(super.data);
	free(part.data);
}

static const struct tunnel tunnels[] = {
	{.shim = 22, .checksum = true, .identification = 0xfffe},
	{.shim = 22},
	{.shim = 8, .ipv6 = true, .checksum = true},
	{.shim = 0, .ipv6 = true},
	{.shim = 9, .checksum = true},
	{.shim = 8, .checksum = true, .tap = true, .tags = 2},
	{.shim = 8, .ipv6 = true, .tap = true},
};

static void cut_tunnel(const struct tunnel *tunnel, const struct sample *sample, uint16_t size)
{
	struct vnic_packet super = new_packet(ROOM), part = new_packet(ROOM), expected;
	struct vnic_segmenter segmenter;
	unsigned index = 0;
	int count;

	expected = new_packet(ROOM);
	sample_build_super(sample, size, &super);
	tunnel_build(tunnel, &super);
	count = vnic_segmenter_begin(&segmenter, &super,
				     tunnel->tap ? VNIC_LAYER_ETHERNET : VNIC_LAYER_IP);
	assert_int_equal(count, (sample->payload + size - 1u) / size);
	for (; vnic_segmenter_next(&segmenter, &part, 1) == 1; index++) {
		struct sample segment = sample_segment(sample, size, index);
		struct tunnel own = *tunnel;

		own.identification = (uint16_t)(own.identification + index);
		sample_build(&segment, &expected);
		tunnel_build(&own, &expected);
		assert_int_equal(part.length_bytes, expected.length_bytes);
		assert_memory_equal(part.data, expected.data, expected.length_bytes);
		assert_int_equal(part.gso_tunnel, 0);
		assert_int_equal(part.tunnel_start, 0);
		assert_int_equal(part.inner_start, 0);
	}
	assert_int_equal(index, count);
	free(super.data);
	free(part.data);
	free(expected.data);
}

static void test_tunnels(void **state)
{
	(void)state;
	for (size_t t = 0; t < sizeof(tunnels) / sizeof(tunnels[0]); t++) {
		for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
			if (!cuts[i].sample.tap && cuts[i].sample.payload > 0 &&
			    cuts[i].sample.payload < 60000 &&
			    sample_header_bytes(&cuts[i].sample) < 400)
				cut_tunnel(&tunnels[t], &cuts[i].sample, cuts[i].gso_size);
		}
	}
}

static void test_memory_that_is_too_small(void **state)
{
	struct sample sample = {.payload = 2500};
	const struct cut cut = {"small memory", sample, 1000};
	struct vnic_packet super = new_packet(ROOM), parts[3];
	struct vnic_segmenter segmenter;

	(void)state;
	for (unsigned i = 0; i < 3; i++)
		parts[i] = new_packet(1040);
	sample_build_super(&sample, 1000, &super);
	assert_int_equal(vnic_segmenter_begin(&segmenter, &super, VNIC_LAYER_IP), 3);
	parts[0].capacity_bytes = 1039;
	assert_int_equal(vnic_segmenter_next(&segmenter, parts, 3), -EMSGSIZE);
	parts[0].capacity_bytes = 0;
	assert_int_equal(vnic_segmenter_next(&segmenter, parts, 3), -EMSGSIZE);
	assert_int_equal(vnic_segmenter_next(&segmenter, parts, 0), 0);
	parts[0].capacity_bytes = 1040;
	parts[1].capacity_bytes = 1039;
	assert_int_equal(vnic_segmenter_next(&segmenter, parts, 3), 1);
	compare(&cut, 0, &parts[0]);
	assert_int_equal(vnic_segmenter_next(&segmenter, parts + 1, 2), -EMSGSIZE);
	parts[1].capacity_bytes = 1040;
	parts[2].capacity_bytes = 540;
	assert_int_equal(vnic_segmenter_next(&segmenter, parts + 1, 2), 2);
	compare(&cut, 1, &parts[1]);
	compare(&cut, 2, &parts[2]);
	assert_int_equal(vnic_segmenter_next(&segmenter, parts, 3), 0);
	for (unsigned i = 0; i < 3; i++)
		free(parts[i].data);
	free(super.data);
}

/* The description may be reused as soon as begin has returned. */
static void test_description_is_copied(void **state)
{
	struct sample sample = {.payload = 2500};
	const struct cut cut = {"description changed", sample, 1000};
	struct vnic_packet super = new_packet(ROOM), part = new_packet(1040);
	uint8_t *bytes = super.data;
	struct vnic_segmenter segmenter;

	(void)state;
	sample_build_super(&sample, 1000, &super);
	assert_int_equal(vnic_segmenter_begin(&segmenter, &super, VNIC_LAYER_IP), 3);
	super = (struct vnic_packet){.data = NULL};
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(vnic_segmenter_next(&segmenter, &part, 1), 1);
		compare(&cut, i, &part);
	}
	assert_int_equal(vnic_segmenter_next(&segmenter, &part, 1), 0);
	free(bytes);
	free(part.data);
}

/* What no super-packet may be like: each change makes a good one bad. */

static struct vnic_packet bad; /* with room behind */

static void no_size(void)
{
	bad.gso_size_bytes = 0;
}

static void no_checksum_to_do(void)
{
	bad.flags = VNIC_PACKET_DATA_VALID;
}

static void unknown_type(void)
{
	bad.gso_type = 3;
}

static void tunnel_type(void)
{
	bad.gso_type |= 0x40;
}

static void other_version(void)
{
	bad.gso_type = bad.gso_type == VNIC_GSO_TCP4 ? VNIC_GSO_TCP6 : VNIC_GSO_TCP4;
}

static void other_protocol(void)
{
	bad.gso_type = bad.gso_type == VNIC_GSO_UDP ? VNIC_GSO_TCP4 : VNIC_GSO_UDP;
	bad.csum_offset = bad.gso_type == VNIC_GSO_UDP ? 6 : 16;
}

static void start_too_early(void)
{
	bad.csum_start--;
}

static void start_too_late(void)
{
	bad.csum_start += 4;
}

static void start_behind_the_end(void)
{
	bad.csum_start = 0xffff;
}

static void other_field(void)
{
	bad.csum_offset ^= 2;
}

static void cut_off(void)
{
	bad.length_bytes--;
}

static void nothing(void)
{
	bad.length_bytes = 0;
}

static void version_5(void)
{
	bad.data[0] = (uint8_t)(0x50 | (bad.data[0] & 15));
}

/* The sums of what changes are put right, so that it is the change that is refused. */
static void set_ipv4_at(uint32_t start, unsigned at, uint8_t value)
{
	uint8_t *header = bad.data + start;
	uint16_t sum;

	header[at] = value;
	header[10] = header[11] = 0;
	sum = vnic_checksum(header, (size_t)(header[0] & 15) * 4);
	header[10] = (uint8_t)(sum >> 8);
	header[11] = (uint8_t)sum;
}

static void set_ipv4(unsigned at, uint8_t value)
{
	set_ipv4_at(0, at, value);
}

static void ipv4_checksum(void)
{
	bad.data[11] ^= 1;
}

static void ipv4_more_fragments(void)
{
	set_ipv4(6, 0x20);
}

static void ipv4_fragment_offset(void)
{
	set_ipv4(7, 1);
}

static void ipv4_protocol(void)
{
	set_ipv4(9, 1);
}

static void ipv4_header_too_short(void)
{
	set_ipv4(0, 0x44);
}

static void ipv4_header_too_long(void)
{
	set_ipv4(0, 0x46);
}

static void ipv4_total_too_long(void)
{
	set_ipv4(2, (uint8_t)(bad.data[2] + 1));
}

static void ipv4_total_too_short(void)
{
	set_ipv4(2, 0);
	set_ipv4(3, 39);
}

static void tcp_header_too_short(void)
{
	bad.data[bad.csum_start + 12] = 0x40;
}

static void tcp_header_behind_the_end(void)
{
	set_ipv4(2, 0);
	set_ipv4(3, 20 + 24);
	bad.data[bad.csum_start + 12] = 0xf0;
}

static void udp_length(void)
{
	bad.data[bad.csum_start + 5]++;
}

static void ipv6_payload_too_long(void)
{
	bad.data[4]++;
}

static void ipv6_payload_zero(void)
{
	bad.data[4] = bad.data[5] = 0;
}

static void ipv6_unknown_header(void)
{
	bad.data[6] = 51; /* authentication */
}

static void ipv6_fragment(void)
{
	bad.data[6] = VNIC_PROTOCOL_FRAGMENT;
}

static void ipv6_extension_behind_the_end(void)
{
	bad.data[41] = 255;
	bad.data[4] = 0;
	bad.data[5] = 100;
}

static void ipv6_headers_too_long(void)
{
	bad.data[41] = 58; /* 472 bytes, and TCP's */
	bad.csum_start = 512;
	memmove(bad.data + 512, bad.data + 48, 200);
}

static void ethernet_type(void)
{
	bad.data[13] ^= 1;
}

static void ethernet_type_of_other_version(void)
{
	bad.data[20] = 0x86;
	bad.data[21] = 0xdd;
}

static void ethernet_third_tag(void)
{
	memmove(bad.data + 16, bad.data + 12, bad.length_bytes - 12);
	bad.length_bytes += 4;
	bad.csum_start += 4;
}

static const struct sample tcp4 = {.payload = 3000};
static const struct sample udp4 = {.payload = 3000, .udp = true};
static const struct sample tcp6 = {.payload = 3000, .ipv6 = true};
static const struct sample extended = {.payload = 3000, .ipv6 = true, .extensions = 1};
static const struct sample tagged = {.payload = 3000, .tap = true, .tags = 2};

static const struct {
	const char *name;
	void (*make_bad)(void);
	const struct sample *sample; /* NULL: each of them */
} refusals[] = {
	{"no size", no_size, NULL},
	{"no checksum to do", no_checksum_to_do, NULL},
	{"unknown type", unknown_type, NULL},
	{"tunnel type", tunnel_type, NULL},
	{"other version, IPv4", other_version, &tcp4},
	{"other version, IPv6", other_version, &tcp6},
	{"other protocol", other_protocol, NULL},
	{"csum_start too early", start_too_early, NULL},
	{"csum_start too late", start_too_late, NULL},
	{"csum_start behind the end", start_behind_the_end, NULL},
	{"csum_offset", other_field, NULL},
	{"cut off", cut_off, NULL},
	{"nothing", nothing, NULL},
	{"version 5", version_5, &tcp4},
	{"IPv4 checksum", ipv4_checksum, &tcp4},
	{"more fragments", ipv4_more_fragments, &tcp4},
	{"fragment offset", ipv4_fragment_offset, &udp4},
	{"IPv4 protocol", ipv4_protocol, &tcp4},
	{"IPv4 header too short", ipv4_header_too_short, &tcp4},
	{"IPv4 header too long", ipv4_header_too_long, &tcp4},
	{"IPv4 total too long", ipv4_total_too_long, &tcp4},
	{"IPv4 total too short", ipv4_total_too_short, &tcp4},
	{"TCP header too short", tcp_header_too_short, NULL},
	{"TCP header behind the end", tcp_header_behind_the_end, &tcp4},
	{"UDP length", udp_length, &udp4},
	{"IPv6 payload too long", ipv6_payload_too_long, &tcp6},
	{"IPv6 payload of none", ipv6_payload_zero, &tcp6},
	{"IPv6 header unknown", ipv6_unknown_header, &tcp6},
	{"IPv6 fragment", ipv6_fragment, &extended},
	{"IPv6 extension header behind the end", ipv6_extension_behind_the_end, &extended},
	{"IPv6 extension header too long", ipv6_headers_too_long, &extended},
	{"EtherType", ethernet_type, &tagged},
	{"EtherType of the other version", ethernet_type_of_other_version, &tagged},
	{"a third tag", ethernet_third_tag, &tagged},
};

static void tunnel_other_version(void)
{
	bad.gso_tunnel = bad.gso_tunnel == VNIC_IPV4 ? VNIC_IPV6 : VNIC_IPV4;
}

static void tunnel_start_too_late(void)
{
	bad.tunnel_start++;
}

static void tunnel_start_behind_the_end(void)
{
	bad.tunnel_start = 0xffff;
}

static void tunnel_length(void)
{
	bad.data[bad.tunnel_start + 5]--;
}

static void inner_start_too_early(void)
{
	bad.inner_start = (uint16_t)(bad.tunnel_start + 7);
}

static void inner_start_too_late(void)
{
	bad.inner_start++;
}

static void inner_start_behind_the_end(void)
{
	bad.inner_start = 0xffff;
}

static void inner_total(void)
{
	set_ipv4_at(bad.inner_start, 3, (uint8_t)(bad.data[bad.inner_start + 3] - 1));
}

static void outer_total(void)
{
	set_ipv4(3, (uint8_t)(bad.data[3] - 1));
}

static void no_tunnel(void)
{
	bad.gso_tunnel = 0;
}

static void test_refused_tunnels(void **state)
{
	static void (*const changes[])(void) = {
		tunnel_other_version,
		tunnel_start_too_late,
		tunnel_start_behind_the_end,
		tunnel_length,
		inner_start_too_early,
		inner_start_too_late,
		inner_start_behind_the_end,
		inner_total,
		outer_total,
		no_tunnel,
		start_too_late,
		cut_off,
		nothing,
	};

	(void)state;
	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		struct vnic_segmenter segmenter;
		int found;

		bad = new_packet(ROOM);
		sample_build_super(&tcp4, 1000, &bad);
		tunnel_build(&tunnels[0], &bad);
		assert_int_equal(vnic_segmenter_begin(&segmenter, &bad, VNIC_LAYER_IP), 3);
		changes[i]();
		found = vnic_segmenter_begin(&segmenter, &bad, VNIC_LAYER_IP);
		if (found != -EBADMSG)
			fail_msg("tunnel, change %zu: %d, not %d", i, found, -EBADMSG);
		free(bad.data);
	}
}

/* So short that not even the outer UDP header is there, and nothing behind it to be read. */
static void test_tunnels_that_end_early(void **state)
{
	struct vnic_segmenter segmenter;

	(void)state;
	for (uint32_t length = 20; length < 28 + 22 + 40; length++) {
		struct vnic_packet exact;

		bad = new_packet(ROOM);
		sample_build_super(&tcp4, 1000, &bad);
		tunnel_build(&tunnels[0], &bad);
		set_ipv4(2, 0);
		set_ipv4(3, (uint8_t)length);
		bad.data[24] = 0;
		bad.data[25] = (uint8_t)(length - 20);
		exact = bad;
		exact.data = exact_copy(bad.data, length);
		exact.length_bytes = length;
		assert_int_equal(vnic_segmenter_begin(&segmenter, &exact, VNIC_LAYER_IP), -EBADMSG);
		assert_int_equal(vnic_segmenter_begin(&segmenter, &bad, VNIC_LAYER_IP), -EBADMSG);
		free(exact.data);
		free(bad.data);
	}
}

static void refuse(const char *name, void (*make_bad)(void), const struct sample *sample)
{
	struct vnic_segmenter segmenter;
	int found;

	bad = new_packet(ROOM);
	sample_build_super(sample, 1000, &bad);
	assert_int_equal(vnic_segmenter_begin(&segmenter, &bad, sample_layer(sample)), 3);
	make_bad();
	found = vnic_segmenter_begin(&segmenter, &bad, sample_layer(sample));
	if (found != -EBADMSG)
		fail_msg("%s: %d, not %d", name, found, -EBADMSG);
	free(bad.data);
}

static void test_refused(void **state)
{
	static const struct sample *all[] = {&tcp4, &udp4, &tcp6, &extended, &tagged};

	(void)state;
	for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
		if (refusals[i].sample) {
			refuse(refusals[i].name, refusals[i].make_bad, refusals[i].sample);
			continue;
		}
		for (size_t k = 0; k < sizeof(all) / sizeof(all[0]); k++) {
			if (refusals[i].make_bad == tcp_header_too_short && all[k]->udp)
				continue;
			refuse(refusals[i].name, refusals[i].make_bad, all[k]);
		}
	}
}

static void test_every_truncation_is_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
		struct vnic_packet super = new_packet(ROOM);
		struct vnic_segmenter segmenter;
		uint32_t length;

		sample_build_super(&cuts[i].sample, cuts[i].gso_size, &super);
		length = super.length_bytes;
		for (uint32_t cut = 1; cut < length && cut < 600; cut++) {
			struct vnic_packet exact = super;

			exact.data = exact_copy(super.data, cut);
			exact.length_bytes = cut;
			assert_int_equal(vnic_segmenter_begin(&segmenter, &exact,
							      sample_layer(&cuts[i].sample)),
					 -EBADMSG);
			free(exact.data);
		}
		free(super.data);
	}
}

static void test_plain_packets_are_copied(void **state)
{
	struct vnic_packet from = new_packet(ROOM), to = new_packet(ROOM), expected;
	struct vnic_segmenter segmenter;

	(void)state;
	expected = new_packet(ROOM);
	for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
		sample_build(&cuts[i].sample, &expected);
		sample_build_partial(&cuts[i].sample, &from);
		from.flags |= VNIC_PACKET_DATA_VALID;
		assert_int_equal(vnic_segmenter_begin(&segmenter, &from, VNIC_LAYER_IP), 1);
		to.capacity_bytes = from.length_bytes - 1;
		assert_int_equal(vnic_segmenter_next(&segmenter, &to, 1), -EMSGSIZE);
		assert_int_equal(vnic_segmenter_next(&segmenter, &to, 0), 0);
		to.capacity_bytes = from.length_bytes;
		to.gso_type = VNIC_GSO_UDP;
		assert_int_equal(vnic_segmenter_next(&segmenter, &to, 1), 1);
		assert_int_equal(vnic_segmenter_next(&segmenter, &to, 1), 0);
		assert_int_equal(to.length_bytes, expected.length_bytes);
		assert_memory_equal(to.data, expected.data, expected.length_bytes);
		assert_int_equal(to.flags, VNIC_PACKET_DATA_VALID);
		assert_int_equal(to.gso_type, VNIC_GSO_NONE);
		assert_int_equal(to.csum_start, 0);
	}
	/* Any bytes at all, and none. */
	from.flags = VNIC_PACKET_TRUNCATED;
	memset(from.data, 0xee, 33);
	from.length_bytes = 33;
	assert_int_equal(vnic_segmenter_begin(&segmenter, &from, VNIC_LAYER_ETHERNET), 1);
	assert_int_equal(vnic_segmenter_next(&segmenter, &to, 1), 1);
	assert_int_equal(to.length_bytes, 33);
	assert_memory_equal(to.data, from.data, 33);
	assert_int_equal(to.flags, VNIC_PACKET_TRUNCATED);
	from.length_bytes = 0;
	assert_int_equal(vnic_segmenter_begin(&segmenter, &from, VNIC_LAYER_ETHERNET), 1);
	assert_int_equal(vnic_segmenter_next(&segmenter, &to, 1), 1);
	assert_int_equal(to.length_bytes, 0);
	/* A checksum field that is not there. */
	from.flags = VNIC_PACKET_NEEDS_CSUM;
	from.length_bytes = 33;
	from.csum_start = 20;
	from.csum_offset = 11;
	assert_int_equal(vnic_segmenter_begin(&segmenter, &from, VNIC_LAYER_IP), 1);
	from.csum_offset = 12;
	assert_int_equal(vnic_segmenter_begin(&segmenter, &from, VNIC_LAYER_IP), -EBADMSG);
	from.csum_start = 0xffff;
	assert_int_equal(vnic_segmenter_begin(&segmenter, &from, VNIC_LAYER_IP), -EBADMSG);
	free(from.data);
	free(to.data);
	free(expected.data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_segments_are_what_they_should_be),
		cmocka_unit_test(test_every_size_of_segment),
		cmocka_unit_test(test_bytes_behind_the_packet_are_left_out),
		cmocka_unit_test(test_both_zeros_of_the_checksum),
		cmocka_unit_test(test_the_sum_of_the_pseudo_header_is_kept),
		cmocka_unit_test(test_tunnels),
		cmocka_unit_test(test_refused_tunnels),
		cmocka_unit_test(test_tunnels_that_end_early),
		cmocka_unit_test(test_memory_that_is_too_small),
		cmocka_unit_test(test_description_is_copied),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_every_truncation_is_refused),
		cmocka_unit_test(test_plain_packets_are_copied),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
