/* SPDX-License-Identifier: MIT */
/* What is merged and what must not be, rule by rule. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "bursts.h"
#include "packets.h"

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
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
