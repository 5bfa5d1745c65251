/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation: datagrams in fragments, in every order and of every kind of damage, their
 * bounds and their time, and replies that leave in fragments.
 */
#include <stdio.h>

#include "peer.h"

#define FRAGMENTS_MAX 4200

struct part {
	size_t offset, length;
};

static uint8_t whole[2 * PACKET_BYTES_MAX], joined[PACKET_BYTES_MAX], fragment[PACKET_BYTES_MAX];

/* Cut whole's payload into parts that fit the MTU. */
static size_t cut(size_t length, size_t mtu, struct part *parts)
{
	size_t header = whole[0] >> 4 == 4 ? 20 : 40;
	size_t slice = (mtu - header - (header == 40 ? 8 : 0)) & ~(size_t)7, count = 0;

	for (size_t at = 0; at < length - header; at += slice, count++) {
		assert_in_range(count, 0, FRAGMENTS_MAX - 1);
		parts[count].offset = at;
		parts[count].length = length - header - at < slice ? length - header - at : slice;
	}
	return count;
}

/*
 * Write a fragment of whole, of length bytes, that has this part of its payload. @return its length
 */
static size_t make_fragment(size_t length, const struct part *part, uint32_t identification)
{
	struct vnic_ipv6_extension extension = {.type = VNIC_PROTOCOL_FRAGMENT};
	struct vnic_ipv4 ipv4;
	size_t header;
	bool more;

	if (whole[0] >> 4 == 4) {
		header = (size_t)vnic_ipv4_parse(whole, length, &ipv4);
		more = part->offset + part->length < length - header;
		ipv4.identification = (uint16_t)identification;
		ipv4.fragment_offset_bytes = (uint16_t)part->offset;
		ipv4.more_fragments = more;
		ipv4.total_bytes = (uint16_t)(header + part->length);
		assert_int_equal(vnic_ipv4_build(fragment, header, &ipv4), header);
		memcpy(fragment + header, whole + header + part->offset, part->length);
		return header + part->length;
	}
	more = part->offset + part->length < length - 40;
	memcpy(fragment, whole, 40);
	fragment[4] = (uint8_t)((part->length + 8) >> 8);
	fragment[5] = (uint8_t)(part->length + 8);
	fragment[6] = VNIC_PROTOCOL_FRAGMENT;
	extension.next_header = whole[6];
	extension.identification = identification;
	extension.fragment_offset_bytes = (uint16_t)part->offset;
	extension.more_fragments = more;
	assert_int_equal(vnic_ipv6_fragment_build(fragment + 40, 8, &extension), 8);
	memcpy(fragment + 48, whole + 40 + part->offset, part->length);
	return 48 + part->length;
}

static const char *send_part(struct peer *peer, size_t length, const struct part *part,
			     uint32_t identification)
{
	size_t bytes = make_fragment(length, part, identification);

	return peer_send_ip(peer, fragment, bytes);
}

static const char *send_range(struct peer *peer, size_t length, size_t offset, size_t bytes,
			      uint32_t identification)
{
	struct part part = {offset, bytes};

	return send_part(peer, length, &part, identification);
}

static void assert_joined_reply(const struct peer *peer, size_t length)
{
	size_t header = whole[0] >> 4 == 4 ? 20 : 40, got;

	if (peer->count == 1 && peer->answers[0].ip_length == length)
		memcpy(joined, peer->answers[0].ip, got = length);
	else
		got = peer_join(peer, joined);
	assert_int_equal(got, length);
	assert_int_equal(joined[header], header == 20 ? 0 : 129);
	assert_memory_equal(joined + header + 8, whole + header + 8, length - header - 8);
	assert_memory_equal(joined + header + 4, whole + header + 4, 4);
}

static void shuffle(struct part *parts, size_t count, uint64_t *seed)
{
	for (size_t i = count; i > 1; i--) {
		size_t k = peer_random(seed) % i;
		struct part swap = parts[i - 1];

		parts[i - 1] = parts[k];
		parts[k] = swap;
	}
}

/*
 * ping -s 65507, which is the longest datagram, at several MTUs, in order, backwards and shuffled.
 */
static void joins_the_longest_in_every_order(void **state)
{
	static const size_t mtus[] = {68, 576, 1280, 1500, 9000, 65535};
	struct part parts[FRAGMENTS_MAX];
	struct peer peer;

	(void)state;
	peer_begin(&peer, VNIC_LAYER_ETHERNET, NULL);
	for (int family = 4; family <= 6; family += 2) {
		size_t length = family == 4 ? peer_echo(whole, PEER4, STACK4, 65507)
					    : peer_echo(whole, PEER6, STACK6, 65527);

		for (size_t m = 0; m < sizeof(mtus) / sizeof(mtus[0]); m++) {
			for (uint64_t order = 0; order < 12; order++) {
				size_t count = cut(length, mtus[m], parts);
				uint64_t seed = order;

				if (count < 2)
					continue;
				for (size_t i = 0; order == 1 && i < count / 2; i++) {
					struct part swap = parts[i];

					parts[i] = parts[count - 1 - i];
					parts[count - 1 - i] = swap;
				}
				if (order > 1)
					shuffle(parts, count, &seed);
				for (size_t i = 0; i < count; i++) {
					const char *counter = send_part(&peer, length, &parts[i],
									(uint32_t)order);

					if (strcmp(counter, i + 1 < count ? "fragments_waiting"
									  : "echo_replies") != 0)
						fail_msg(
							"IPv%d, MTU %zu, order %u: fragment %zu of "
							"%zu ends in %s",
							family, mtus[m], (unsigned)order, i, count,
							counter);
				}
				assert_joined_reply(&peer, length);
				peer_clear(&peer);
			}
		}
	}
	assert_int_equal(peer_counter(&peer, VNIC_STACK_FRAGMENTS_WAITING), 0);
	assert_int_equal(peer_counter(&peer, VNIC_STACK_REASSEMBLED),
			 peer_counter(&peer, VNIC_STACK_ECHO_REPLIES));
	peer_end(&peer);
}

/* Every size around the MTU and around multiples of 8, so that each fragment's end is seen. */
static void replies_in_fragments(void **state)
{
	struct peer peer;

	(void)state;
	for (int layer = VNIC_LAYER_IP; layer <= VNIC_LAYER_ETHERNET; layer++) {
		peer_begin(&peer, layer, NULL);
		for (size_t size = 1440; size < 4500; size += size % 1480 < 30 ? 1 : 61) {
			for (int family = 4; family <= 6; family += 2) {
				size_t length = family == 4 ? peer_echo(whole, PEER4, STACK4, size)
							    : peer_echo(whole, PEER6, STACK6, size);

				/* Larger than our MTU, but in one piece: the reply is not. */
				assert_verdict(&peer, whole, length, "echo_replies");
				assert_int_equal(peer.count > 1, length > 1500);
				assert_joined_reply(&peer, length);
				peer_clear(&peer);
			}
		}
		peer_end(&peer);
	}
}

static void tiny_mtu(struct vnic_stack_options *options)
{
	options->mtu_bytes = 68;
}

/*
 * Only options that are marked so are copied to later fragments: the source route, not the recorded
 * one.
 */
static void copies_options(void **state)
{
	static const uint8_t options[] = {7, 7, 8, 10, 0, 0, 1, 0x83, 7, 8, 10, 0, 0, 5, 1, 0};
	struct vnic_ipv4 ipv4;
	struct peer peer;
	size_t length;

	(void)state;
	peer_begin(&peer, VNIC_LAYER_IP, tiny_mtu);
	length = peer_echo(whole, PEER4, STACK4, 100);
	vnic_ipv4_parse(whole, length, &ipv4);
	memmove(whole + 36, whole + 20, length - 20);
	ipv4.options_bytes = 16;
	memcpy(ipv4.options, options, 16);
	ipv4.total_bytes = (uint16_t)(length += 16);
	vnic_ipv4_build(whole, 36, &ipv4);
	assert_verdict(&peer, whole, length, "echo_replies");
	assert_in_range(peer.count, 3, 6);
	assert_int_equal(peer_answer(&peer, 0)->ip[0], 0x49);
	assert_memory_equal(peer_answer(&peer, 0)->ip + 20, "\x07\x07\x08", 3); /* it is full */
	for (size_t i = 1; i < peer.count; i++) {
		assert_int_equal(peer_answer(&peer, i)->ip[0], 0x47);
		assert_memory_equal(peer_answer(&peer, i)->ip + 20, "\x83\x07\x04\x0a\0\0\x01\0",
				    8);
	}
	assert_int_equal(peer_join(&peer, joined), length);
	assert_memory_equal(joined + 36 + 8, whole + 36 + 8, 100);
	peer_end(&peer);
}

static void no_identification_twice(void **state)
{
	uint32_t before = 0;
	unsigned steps = 0;
	struct peer peer;
	size_t length;

	(void)state;
	peer_begin(&peer, VNIC_LAYER_IP, NULL);
	for (unsigned i = 0; i < 100; i++) {
		struct vnic_ipv6_extension extension;

		length = peer_echo(whole, PEER6, STACK6, 2000);
		assert_verdict(&peer, whole, length, "echo_replies");
		vnic_ipv6_extension_parse(44, peer_answer(&peer, 0)->ip + 40, 8, &extension);
		/* Neither the same nor the next. */
		steps += extension.identification - before <= 1;
		before = extension.identification;
		peer_clear(&peer);
	}
	assert_int_equal(steps, 0);
	peer_end(&peer);
}

static void overlaps_and_duplicates(void **state)
{
	static const struct {
		const char *name;
		size_t offset, length;
		const char *counter;
	} rows[] = {
		/* After 0 to 800 and 1600 to 2400 of 3008 bytes came. */
		{"the same", 0, 800, "drop_unwanted"},
		{"the same, later one", 1600, 800, "drop_unwanted"},
		{"shorter", 0, 792, "drop_reassembly_overlap"},
		{"longer", 0, 808, "drop_reassembly_overlap"},
		{"into the hole", 792, 16, "drop_reassembly_overlap"},
		{"inside", 8, 16, "drop_reassembly_overlap"},
		{"across", 792, 816, "drop_reassembly_overlap"},
		{"out of the hole", 1592, 16, "drop_reassembly_overlap"},
		{"the hole", 800, 800, "fragments_waiting"},
		{"a part of the hole", 1200, 8, "fragments_waiting"},
	};
	struct peer peer;

	(void)state;
	for (int family = 4; family <= 6; family += 2) {
		for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
			size_t length = family == 4 ? peer_echo(whole, PEER4, STACK4, 3000)
						    : peer_echo(whole, PEER6, STACK6, 3000);
			bool overlap = strcmp(rows[i].counter, "drop_reassembly_overlap") == 0;
			const char *counter;

			peer_begin(&peer, VNIC_LAYER_IP, NULL);
			assert_string_equal(send_range(&peer, length, 0, 800, 9),
					    "fragments_waiting");
			assert_string_equal(send_range(&peer, length, 1600, 800, 9),
					    "fragments_waiting");
			counter = send_range(&peer, length, rows[i].offset, rows[i].length, 9);
			if (strcmp(counter, rows[i].counter) != 0)
				fail_msg("IPv%d, %s: %s, not %s", family, rows[i].name, counter,
					 rows[i].counter);
			if (overlap) {
				/* All of it is gone, what comes still goes, and nothing is said. */
				assert_int_equal(
					peer_counter(&peer, VNIC_STACK_DROP_REASSEMBLY_OVERLAP), 3);
				assert_string_equal(send_range(&peer, length, 2400, 608, 9),
						    "drop_reassembly_overlap");
				peer_wait(&peer, 61 * SECOND_NS);
				assert_int_equal(peer.count, 0);
				assert_int_equal(
					peer_counter(&peer, VNIC_STACK_DROP_REASSEMBLY_TIMEOUT), 0);
				/* Then the name may be used again. */
				assert_string_equal(send_range(&peer, length, 0, 800, 9),
						    "fragments_waiting");
			}
			peer_end(&peer);
		}
	}
}

static void two_that_came_as_one(void **state)
{
	struct peer peer;
	size_t length = peer_echo(whole, PEER4, STACK4, 3000);

	(void)state;
	peer_begin(&peer, VNIC_LAYER_IP, NULL);
	assert_string_equal(send_range(&peer, length, 0, 800, 1), "fragments_waiting");
	assert_string_equal(send_range(&peer, length, 800, 800, 1), "fragments_waiting");
	assert_string_equal(send_range(&peer, length, 800, 800, 1), "drop_unwanted");
	assert_string_equal(send_range(&peer, length, 0, 1600, 1), "drop_reassembly_overlap");
	peer_end(&peer);
}

/* Each fragment is within 65,535 bytes, but the first one's options push the whole over it. */
static void too_long_only_together(void **state)
{
	const struct part first = {0, 800};
	struct vnic_ipv4 ipv4;
	struct peer peer;
	size_t length = peer_echo(whole, PEER4, STACK4, 65507);

	(void)state;
	peer_begin(&peer, VNIC_LAYER_IP, NULL);
	assert_string_equal(send_range(&peer, length, 800, 65515 - 800, 1), "fragments_waiting");
	make_fragment(length, &first, 1);
	vnic_ipv4_parse(fragment, 820, &ipv4);
	memmove(fragment + 24, fragment + 20, 800);
	ipv4.options_bytes = 4;
	memset(ipv4.options, 1, 4);
	ipv4.total_bytes = 824;
	vnic_ipv4_build(fragment, 24, &ipv4);
	assert_verdict(&peer, fragment, 824, "drop_malformed");
	assert_int_equal(peer_counter(&peer, VNIC_STACK_REASSEMBLED), 0);
	assert_int_equal(peer_counter(&peer, VNIC_STACK_FRAGMENTS_WAITING), 0);
	assert_int_equal(peer.count, 0);
	peer_end(&peer);
}

/* What stands before a fragment's data is bounded too. */
static void long_header_chains(void **state)
{
	const struct part first = {0, 512};
	struct peer peer;

	(void)state;
	peer_begin(&peer, VNIC_LAYER_IP, NULL);
	/* 40 bytes, options of some length, 8 bytes: 1,024 is the most. */
	for (size_t options = 968; options <= 984; options += 8) {
		size_t length = peer_echo(whole, PEER6, STACK6, 1000);
		size_t bytes = make_fragment(length, &first, (uint32_t)options);

		memmove(fragment + 40 + options, fragment + 40, bytes - 40);
		memset(fragment + 40, 0, options); /* Pad1 */
		fragment[40] = VNIC_PROTOCOL_FRAGMENT;
		fragment[41] = (uint8_t)(options / 8 - 1);
		fragment[6] = VNIC_PROTOCOL_DESTINATION;
		bytes += options;
		fragment[4] = (uint8_t)((bytes - 40) >> 8);
		fragment[5] = (uint8_t)(bytes - 40);
		assert_verdict(&peer, fragment, bytes,
			       options <= 976 ? "fragments_waiting" : "drop_malformed");
	}
	/* The headers are there when time is up, too. */
	peer_wait(&peer, 60 * SECOND_NS);
	assert_int_equal(peer.count, 2);
	assert_int_equal(peer_answer(&peer, 0)->ip_length, 1280);
	peer_end(&peer);
}

static void contradicting_ends(void **state)
{
	struct peer peer;
	size_t length = peer_echo(whole, PEER4, STACK4, 1992), shorter; /* 2000 of payload */

	(void)state;
	peer_begin(&peer, VNIC_LAYER_IP, NULL);
	assert_string_equal(send_range(&peer, length, 1600, 400, 1), "fragments_waiting");
	assert_string_equal(send_range(&peer, length, 1600, 400, 1), "drop_unwanted");
	length = peer_echo(whole, PEER4, STACK4, 2992);
	/* Behind the end. */
	assert_string_equal(send_range(&peer, length, 2000, 800, 1), "drop_reassembly_overlap");
	/* An end before what has come. */
	assert_string_equal(send_range(&peer, length, 2000, 800, 2), "fragments_waiting");
	shorter = peer_echo(whole, PEER4, STACK4, 1592);
	assert_string_equal(send_range(&peer, shorter, 800, 800, 2), "drop_reassembly_overlap");
	/* A second end. */
	assert_string_equal(send_range(&peer, shorter, 1592, 8, 3), "fragments_waiting");
	length = peer_echo(whole, PEER4, STACK4, 1584);
	assert_string_equal(send_range(&peer, length, 1584, 8, 3), "drop_reassembly_overlap");
	assert_int_equal(peer.count, 0);
	peer_end(&peer);
}

static void malformed_fragments(void **state)
{
	struct part part;
	struct peer peer;
	size_t length, bytes;

	(void)state;
	peer_begin(&peer, VNIC_LAYER_IP, NULL);
	/* More to come, but no multiple of 8: RFC 8200 section 4.5 wants to be told. */
	length = peer_echo(whole, PEER4, STACK4, 3000);
	assert_string_equal(send_range(&peer, length, 0, 801, 1), "drop_malformed");
	assert_int_equal(peer.count, 0);
	length = peer_echo(whole, PEER6, STACK6, 3000);
	assert_string_equal(send_range(&peer, length, 0, 801, 1), "parameter_problems");
	assert_memory_equal(peer_answer(&peer, 0)->ip + 40, "\4\0", 2);
	assert_memory_equal(peer_answer(&peer, 0)->ip + 44, "\0\0\0\4", 4);
	peer_clear(&peer);
	/* Nothing in it. */
	assert_string_equal(send_range(&peer, length, 0, 0, 1), "drop_malformed");
	/* Past 65,535: "ping of death". */
	part = (struct part){65528, 100};
	length = peer_echo(whole, PEER4, STACK4, 1000);
	memset(whole + length, 0, sizeof(whole) - length);
	bytes = make_fragment(length, &part, 1);
	assert_verdict(&peer, fragment, bytes, "drop_malformed");
	part.length = 8;
	bytes = make_fragment(length, &part, 1);
	assert_verdict(&peer, fragment, bytes, "drop_malformed");
	part.length = 100;
	length = peer_echo(whole, PEER6, STACK6, 992);
	/* An upper protocol other than ICMPv6: of that nobody knows whether it is an error. */
	whole[6] = VNIC_PROTOCOL_UDP;
	bytes = make_fragment(length, &part, 1);
	assert_verdict(&peer, fragment, bytes, "parameter_problems");
	assert_memory_equal(peer_answer(&peer, 0)->ip + 40, "\4\0", 2);
	assert_memory_equal(peer_answer(&peer, 0)->ip + 44, "\0\0\0\x2a", 4);
	peer_clear(&peer);
	/* A first fragment without the whole chain: RFC 7112. */
	length = peer_udp(whole, PEER6, STACK6, 1000);
	whole[6] = VNIC_PROTOCOL_TCP;
	assert_string_equal(send_range(&peer, length, 0, 16, 5), "parameter_problems");
	assert_memory_equal(peer_answer(&peer, 0)->ip + 40, "\4\3", 2);
	assert_string_equal(send_range(&peer, length, 0, 24, 5), "fragments_waiting");
	peer_clear(&peer);
	peer_wait(&peer, 60 * SECOND_NS);
	peer_clear(&peer);
	/* A fragment of a datagram that was in fragments itself. */
	length = peer_echo(whole, PEER6, STACK6, 1000);
	memmove(whole + 48, whole + 40, length - 40);
	memcpy(whole + 40, "\x3a\0\0\1\0\0\0\1", 8);
	whole[6] = VNIC_PROTOCOL_FRAGMENT;
	length += 8;
	whole[4] = (uint8_t)((length - 40) >> 8);
	whole[5] = (uint8_t)(length - 40);
	assert_string_equal(send_range(&peer, length, 0, 512, 6), "fragments_waiting");
	assert_string_equal(send_range(&peer, length, 512, length - 552, 6), "drop_malformed");
	assert_int_equal(peer.count, 0);
	peer_end(&peer);
}

static void times_out(void **state)
{
	static const struct {
		int family;
		bool first;
		const char *to;
	} rows[] = {
		{4, true, STACK4},  {4, false, STACK4},   {6, true, STACK6},
		{6, false, STACK6}, {6, true, "ff02::1"},
	};
	struct peer peer;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		bool ipv4 = rows[i].family == 4;
		bool told = rows[i].first && strcmp(rows[i].to, "ff02::1") != 0;
		size_t length = peer_echo(whole, ipv4 ? PEER4 : PEER6, rows[i].to, 3000);
		size_t header = ipv4 ? 20 : 40, bytes;
		struct part part = {0, 1000};

		peer_begin(&peer, VNIC_LAYER_ETHERNET, NULL);
		assert_string_equal(send_range(&peer, length, 2000, 800, 1), "fragments_waiting");
		peer_wait(&peer, 59 * SECOND_NS);
		/* One that comes late does not make the others wait longer. */
		part.offset = rows[i].first ? 0 : 1000;
		assert_string_equal(send_part(&peer, length, &part, 1), "fragments_waiting");
		bytes = make_fragment(length, &part, 1);
		peer_wait(&peer, SECOND_NS - 1);
		assert_int_equal(peer_counter(&peer, VNIC_STACK_FRAGMENTS_WAITING), 2);
		peer_wait(&peer, 1);
		assert_int_equal(peer_counter(&peer, VNIC_STACK_FRAGMENTS_WAITING), 0);
		assert_int_equal(peer_counter(&peer, VNIC_STACK_DROP_REASSEMBLY_TIMEOUT), 2);
		assert_int_equal(peer_counter(&peer, VNIC_STACK_TIME_EXCEEDED), told);
		assert_int_equal(peer.count, told);
		if (told) {
			const struct peer_answer *answer = peer_answer(&peer, 0);
			size_t quoted = ipv4 ? 548 : bytes;

			assert_int_equal(answer->ip[header], ipv4 ? 11 : 3);
			assert_int_equal(answer->ip[header + 1], 1);
			assert_int_equal(answer->ip_length, header + 8 + quoted);
			assert_memory_equal(answer->ip + header + 8, fragment, quoted);
			assert_memory_equal(answer->bytes, peer_mac, 6);
		}
		/* Too late: it is a new datagram, and waits. */
		assert_string_equal(send_range(&peer, length, 1000, 1000, 1), "fragments_waiting");
		peer_end(&peer);
	}
}

/* Even if nobody lets time pass, what is too old is not completed. */
static void never_joins_too_late(void **state)
{
	struct peer peer;
	size_t length = peer_echo(whole, PEER4, STACK4, 1000);

	(void)state;
	peer_begin(&peer, VNIC_LAYER_IP, NULL);
	assert_string_equal(send_range(&peer, length, 0, 504, 1), "fragments_waiting");
	peer.now_ns += 60 * SECOND_NS;
	send_range(&peer, length, 504, 504, 1);
	assert_int_equal(peer_counter(&peer, VNIC_STACK_DROP_REASSEMBLY_TIMEOUT), 1);
	assert_int_equal(peer_counter(&peer, VNIC_STACK_FRAGMENTS_WAITING), 1);
	assert_int_equal(peer.count, 0);
	peer_end(&peer);
}

static void keeps_datagrams_apart(void **state)
{
	struct peer peer;
	size_t length;

	(void)state;
	peer_begin(&peer, VNIC_LAYER_IP, NULL);
	/* By identification, source, destination, and in IPv4 protocol. */
	length = peer_echo(whole, PEER4, STACK4, 1000);
	assert_string_equal(send_range(&peer, length, 0, 504, 1), "fragments_waiting");
	assert_string_equal(send_range(&peer, length, 504, 504, 2), "fragments_waiting");
	peer_echo(whole, "10.0.0.7", STACK4, 1000);
	assert_string_equal(send_range(&peer, length, 504, 504, 1), "fragments_waiting");
	peer_echo(whole, PEER4, STACK4, 1000);
	whole[9] = VNIC_PROTOCOL_UDP;
	whole[10] = whole[11] = 0;
	whole[10] = (uint8_t)(vnic_checksum(whole, 20) >> 8);
	whole[11] = (uint8_t)vnic_checksum("", 0);
	length = peer_udp(whole, PEER4, STACK4, 1000);
	assert_string_equal(send_range(&peer, length, 504, 504, 1), "fragments_waiting");
	assert_int_equal(peer_counter(&peer, VNIC_STACK_FRAGMENTS_WAITING), 4);
	peer_echo(whole, PEER4, STACK4, 1000);
	assert_string_equal(send_range(&peer, length, 504, 504, 1), "echo_replies");
	/* UDP in fragments is refused as UDP is, by one error. */
	peer_clear(&peer);
	peer_udp(whole, PEER4, STACK4, 1000);
	assert_string_equal(send_range(&peer, length, 0, 504, 1), "unreachables");
	assert_int_equal(peer.count, 1);
	assert_int_equal(peer_counter(&peer, VNIC_STACK_FRAGMENTS_JOINED), 2);
	peer_end(&peer);
}

static void send_attack(struct peer *peer, uint64_t *seed, bool last)
{
	struct part part = {last ? 60000 : 0, 8};
	uint64_t random = peer_random(seed), waiting;
	char source[32];
	size_t length;

	snprintf(source, sizeof(source), "10.%u.%u.%u", (unsigned)(random & 127) + 1,
		 (unsigned)(random >> 8 & 255), (unsigned)(random >> 16 & 127) + 1);
	length = peer_echo(whole, source, STACK4, 1000);
	length = make_fragment(length, &part, (uint32_t)(random >> 24));
	/* It waits, even where another had to go for it. */
	waiting = peer_counter(peer, VNIC_STACK_FRAGMENTS_WAITING) +
		  peer_counter(peer, VNIC_STACK_DROP_REASSEMBLY_FULL);
	peer_send_ip(peer, fragment, length);
	assert_int_equal(peer_counter(peer, VNIC_STACK_FRAGMENTS_WAITING) +
				 peer_counter(peer, VNIC_STACK_DROP_REASSEMBLY_FULL),
			 waiting + 1);
}

/*
 * 10,000 fragments from as many hosts whose others never come: what is held stays bounded, and
 * honest work goes on.
 */
static void survives_a_flood(void **state)
{
	struct part parts[FRAGMENTS_MAX];
	uint64_t seed = 42;
	struct peer peer;

	(void)state;
	peer_begin(&peer, VNIC_LAYER_IP, NULL);
	for (unsigned i = 0; i < 10000; i++) {
		send_attack(&peer, &seed, i % 3 == 0);
		assert_in_range(peer_counter(&peer, VNIC_STACK_FRAGMENTS_WAITING), 0, 64);
		if (i % 100 == 0) {
			/* With one fragment of the flood between each two of its own. */
			size_t length = peer_echo(whole, PEER4, STACK4, 8000);
			size_t count = cut(length, 1500, parts);

			for (size_t k = 0; k < count; k++) {
				const char *counter;

				peer_echo(whole, PEER4, STACK4, 8000);
				counter = send_part(&peer, length, &parts[k], i);
				if (k + 1 == count && strcmp(counter, "echo_replies") != 0)
					fail_msg("datagram %u ends in %s", i, counter);
				send_attack(&peer, &seed, false);
			}
			peer_echo(whole, PEER4, STACK4, 8000);
			assert_joined_reply(&peer, length);
			peer_clear(&peer);
		}
	}
	/* All but those that wait were given up and counted. */
	assert_true(peer_counter(&peer, VNIC_STACK_DROP_REASSEMBLY_FULL) > 10000);
	peer_wait(&peer, 100 * SECOND_NS);
	assert_int_equal(peer_counter(&peer, VNIC_STACK_FRAGMENTS_WAITING), 0);
	peer_end(&peer);
}

/* One host floods with datagrams of all sizes: it pushes out its own and not another's. */
static void floods_push_out_their_own(void **state)
{
	size_t flood = peer_echo(whole, "10.0.0.66", STACK4, 60000);
	size_t length;
	struct peer peer;
	uint8_t last[2048];
	size_t last_bytes;
	struct part part = {2000, 1008};

	(void)state;
	peer_begin(&peer, VNIC_LAYER_IP, NULL);
	length = peer_echo(whole, PEER4, STACK4, 3000);
	assert_string_equal(send_range(&peer, length, 0, 2000, 1), "fragments_waiting");
	last_bytes = make_fragment(length, &part, 1);
	memcpy(last, fragment, last_bytes);
	flood = peer_echo(whole, "10.0.0.66", STACK4, 60000);
	for (uint32_t i = 0; i < 10000; i++)
		send_range(&peer, flood, 0, i % 2 ? 8 : 48000, i);
	assert_verdict(&peer, last, last_bytes, "echo_replies");
	peer_end(&peer);
}

static void little_memory(struct vnic_stack_options *options)
{
	options->reassembly_bytes = 16384;
	options->reassembly_datagrams = 4;
}

static void stays_within_bytes(void **state)
{
	struct peer peer;
	size_t length = peer_echo(whole, PEER4, STACK4, 20000);

	(void)state;
	peer_begin(&peer, VNIC_LAYER_IP, little_memory);
	/* It never fits: 15 KiB and the header, but not 16. */
	assert_string_equal(send_range(&peer, length, 0, 15360, 1), "fragments_waiting");
	assert_string_equal(send_range(&peer, length, 15360, length - 20 - 15360, 1),
			    "drop_reassembly_full");
	assert_int_equal(peer_counter(&peer, VNIC_STACK_DROP_REASSEMBLY_FULL), 2);
	assert_int_equal(peer_counter(&peer, VNIC_STACK_FRAGMENTS_WAITING), 0);
	/* And everything is free again. */
	length = peer_echo(whole, PEER4, STACK4, 15000);
	for (uint32_t i = 2; i < 100; i++) {
		assert_string_equal(send_range(&peer, length, 0, 8000, i), "fragments_waiting");
		assert_string_equal(send_range(&peer, length, 8000, length - 20 - 8000, i),
				    "echo_replies");
	}
	peer_end(&peer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(joins_the_longest_in_every_order),
		cmocka_unit_test(replies_in_fragments),
		cmocka_unit_test(copies_options),
		cmocka_unit_test(no_identification_twice),
		cmocka_unit_test(overlaps_and_duplicates),
		cmocka_unit_test(two_that_came_as_one),
		cmocka_unit_test(too_long_only_together),
		cmocka_unit_test(long_header_chains),
		cmocka_unit_test(contradicting_ends),
		cmocka_unit_test(malformed_fragments),
		cmocka_unit_test(times_out),
		cmocka_unit_test(never_joins_too_late),
		cmocka_unit_test(keeps_datagrams_apart),
		cmocka_unit_test(survives_a_flood),
		cmocka_unit_test(floods_push_out_their_own),
		cmocka_unit_test(stays_within_bytes),
	};

	return cmocka_run_group_tests_name("fragment", tests, NULL, NULL);
}
