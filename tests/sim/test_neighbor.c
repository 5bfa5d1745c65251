/* SPDX-License-Identifier: MIT */
/* Theory of operation: ARP, neighbour discovery and group reports, when asked and without. */
#include <stdio.h>

#include "peer.h"

#define SCAPY_ARP                                                                             \
	"ffffffffffff 020000000001 0806 0001080006040001 020000000001 0a000001 000000000000 " \
	"0a000002"
#define SCAPY_SOLICITATION                                                                    \
	"3333ff000002 020000000001 86dd 6000000000203aff fd000000000000000000000000000001 "   \
	"ff0200000000000000000001ff000002 87007d9700000000 fd000000000000000000000000000002 " \
	"0101020000000001"
#define SCAPY_QUERY                                                                         \
	"333300000001 020000000001 86dd 6000000000240001 fe800000000000000000000000000001 " \
	"ff020000000000000000000000000001 3a00050200000100 82007c3b03e80000 "               \
	"00000000000000000000000000000000 00000000"

static uint8_t packet[PACKET_BYTES_MAX];

static struct vnic_arp arp_of(uint16_t operation, const char *sender, const char *target)
{
	struct vnic_arp arp = {.operation = operation};
	struct vnic_address sender_ip = peer_address(sender), target_ip = peer_address(target);

	memcpy(arp.sender_mac, peer_mac, 6);
	memcpy(arp.sender_ip, sender_ip.bytes, 4);
	memcpy(arp.target_ip, target_ip.bytes, 4);
	return arp;
}

static const char *send_arp(struct peer *peer, const struct vnic_arp *arp)
{
	uint8_t frame[64];
	struct vnic_ethernet ethernet = {.ethertype = VNIC_ETHERTYPE_ARP};

	memset(ethernet.destination, 0xff, 6);
	memcpy(ethernet.source, peer_mac, 6);
	vnic_ethernet_build(frame, 14, &ethernet);
	vnic_arp_build(frame + 14, 28, arp);
	return peer_send_raw(peer, frame, 42);
}

static void answers_arp(void **state)
{
	static const struct {
		uint16_t operation;
		const char *sender, *target, *counter;
	} rows[] = {
		{VNIC_ARP_REQUEST, PEER4, STACK4, "arp_replies"},
		{VNIC_ARP_REQUEST, "0.0.0.0", STACK4, "arp_replies"},   /* a probe */
		{VNIC_ARP_REQUEST, "192.0.2.1", STACK4, "arp_replies"}, /* whatever its network */
		{VNIC_ARP_REQUEST, PEER4, "10.0.0.3", "drop_not_ours"},
		{VNIC_ARP_REQUEST, PEER4, "10.0.0.255", "drop_not_ours"},
		{VNIC_ARP_REQUEST, PEER4, PEER4, "drop_not_ours"}, /* an announcement */
		{VNIC_ARP_REPLY, PEER4, STACK4, "drop_unwanted"},
		{3, PEER4, STACK4, "drop_unwanted"},
		{VNIC_ARP_REQUEST, "224.0.0.1", STACK4, "drop_source"},
		{VNIC_ARP_REQUEST, "10.0.0.255", STACK4, "drop_source"},
		{VNIC_ARP_REQUEST, "127.0.0.1", STACK4, "drop_source"},
	};
	struct peer peer;

	(void)state;
	peer_begin(&peer, VNIC_LAYER_ETHERNET, NULL);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct vnic_arp arp = arp_of(rows[i].operation, rows[i].sender, rows[i].target);
		const char *counter = send_arp(&peer, &arp);
		bool expected = strcmp(rows[i].counter, "arp_replies") == 0;

		if (strcmp(counter, rows[i].counter) != 0 || peer.count != expected)
			fail_msg("%u %s %s: %s and %zu answers, not %s", rows[i].operation,
				 rows[i].sender, rows[i].target, counter, peer.count,
				 rows[i].counter);
		if (expected) {
			struct vnic_arp reply;
			struct vnic_address sender = peer_address(rows[i].sender);

			vnic_arp_parse(peer_answer(&peer, 0)->ip, 28, &reply);
			assert_int_equal(reply.operation, VNIC_ARP_REPLY);
			assert_memory_equal(reply.sender_mac, stack_mac, 6);
			assert_memory_equal(reply.sender_ip, peer_address(STACK4).bytes, 4);
			assert_memory_equal(reply.target_mac, peer_mac, 6);
			assert_memory_equal(reply.target_ip, sender.bytes, 4);
			assert_memory_equal(peer_answer(&peer, 0)->bytes, peer_mac, 6);
		}
		peer_clear(&peer);
	}
	assert_string_equal(peer_send_hex(&peer, SCAPY_ARP), "arp_replies");
	assert_string_equal(peer_send_hex(&peer, "ffffffffffff 020000000001 0806 0001080006040001"),
			    "drop_malformed");
	peer_end(&peer);
}

static void refuses_arp_from_no_station(void **state)
{
	static const uint8_t macs[][6] = {{0}, {3, 0, 0, 0, 0, 1}, {2, 0, 0, 0, 0, 2}};
	struct peer peer;

	(void)state;
	peer_begin(&peer, VNIC_LAYER_ETHERNET, NULL);
	for (size_t i = 0; i < 3; i++) {
		struct vnic_arp arp = arp_of(VNIC_ARP_REQUEST, PEER4, STACK4);

		memcpy(arp.sender_mac, macs[i], 6);
		assert_string_equal(send_arp(&peer, &arp), "drop_source");
	}
	assert_int_equal(peer.count, 0);
	peer_end(&peer);
}

/* RFC 5227 section 2.4: one defence in ten seconds. */
static void defends_its_address(void **state)
{
	struct vnic_arp arp = arp_of(VNIC_ARP_REQUEST, STACK4, STACK4), answer;
	struct peer peer;

	(void)state;
	peer_begin(&peer, VNIC_LAYER_ETHERNET, NULL);
	for (unsigned second = 0; second < 25; second++) {
		assert_string_equal(send_arp(&peer, &arp), "conflicts");
		peer_wait(&peer, SECOND_NS);
	}
	assert_int_equal(peer.count, 3); /* at 0, 10 and 20 s */
	assert_int_equal(peer.conflicts, 3);
	assert_true(vnic_address_equal(&peer.conflict, &(struct vnic_address){4, {10, 0, 0, 2}}));
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(peer_answer(&peer, i)->at_ns, (1000 + 10 * i) * SECOND_NS);
		vnic_arp_parse(peer_answer(&peer, i)->ip, 28, &answer);
		assert_int_equal(answer.operation, VNIC_ARP_REQUEST);
		assert_memory_equal(answer.sender_ip, answer.target_ip, 4);
	}
	assert_int_equal(peer_counter(&peer, VNIC_STACK_CONFLICTS), 25);
	assert_true(vnic_stack_has(peer.stack, &peer.conflict));
	peer_end(&peer);
}

static struct vnic_ndp ndp_of(const char *target, bool has_mac)
{
	struct vnic_address address = peer_address(target);
	struct vnic_ndp ndp = {.has_mac = has_mac};

	memcpy(ndp.target, address.bytes, 16);
	memcpy(ndp.mac, peer_mac, 6);
	return ndp;
}

static const char *solicit(struct peer *peer, const char *from, const char *to,
			   const struct vnic_ndp *ndp)
{
	size_t length = peer_ndp(packet, from, to, VNIC_ICMPV6_NEIGHBOR_SOLICITATION, 0, ndp);

	return peer_send_ip(peer, packet, length);
}

static const char *claim(struct peer *peer, const char *from, const char *to, uint32_t flags,
			 const struct vnic_ndp *ndp)
{
	size_t length = peer_ndp(packet, from, to, VNIC_ICMPV6_NEIGHBOR_ADVERTISEMENT, flags, ndp);

	return peer_send_ip(peer, packet, length);
}

static uint32_t advertised_flags(const struct peer_answer *answer)
{
	assert_int_equal(answer->ip[40], VNIC_ICMPV6_NEIGHBOR_ADVERTISEMENT);
	return (uint32_t)answer->ip[44] << 24;
}

static void answers_solicitations(void **state)
{
	static const struct {
		const char *from, *to, *target;
		bool has_mac;
		const char *counter;
	} rows[] = {
		{PEER6, "ff02::1:ff00:2", STACK6, true, "neighbor_advertisements"},
		{PEER6, "ff02::1:ff00:2", STACK6, false, "neighbor_advertisements"},
		{PEER6, STACK6, STACK6, false, "neighbor_advertisements"}, /* is it still there? */
		{"fe80::1", "ff02::1:ff00:2", STACK6_LINK, true, "neighbor_advertisements"},
		{"::", "ff02::1:ff00:2", STACK6, false, "neighbor_advertisements"}, /* a probe */
		{"::", "ff02::1:ff00:2", STACK6, true, "drop_malformed"},
		{"::", STACK6, STACK6, false, "drop_malformed"},
		{"::", "ff02::1", STACK6, false, "drop_malformed"},
		{PEER6, "ff02::1:ff00:2", "fd00::1:2", true, "drop_not_ours"},
		{PEER6, "ff02::1:ff00:2", "ff02::1", true, "drop_malformed"},
		{PEER6, "ff02::1:ff00:9", "fd00::9", true, "drop_not_ours"},
		{STACK6, "ff02::1:ff00:2", STACK6, true, "drop_source"},
	};
	struct peer peer;

	(void)state;
	peer_begin(&peer, VNIC_LAYER_ETHERNET, NULL);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct vnic_ndp ndp = ndp_of(rows[i].target, rows[i].has_mac), answer;
		const char *counter = solicit(&peer, rows[i].from, rows[i].to, &ndp);
		bool expected = strcmp(rows[i].counter, "neighbor_advertisements") == 0;
		bool probe = strcmp(rows[i].from, "::") == 0;

		if (strcmp(counter, rows[i].counter) != 0 || peer.count != expected)
			fail_msg("row %zu: %s and %zu answers, not %s", i, counter, peer.count,
				 rows[i].counter);
		if (expected) {
			const struct peer_answer *sent = peer_answer(&peer, 0);
			struct vnic_address to = peer_address(probe ? "ff02::1" : rows[i].from);

			assert_int_equal(advertised_flags(sent),
					 probe ? VNIC_NDP_OVERRIDE
					       : VNIC_NDP_OVERRIDE | VNIC_NDP_SOLICITED);
			assert_memory_equal(sent->ip + 24, to.bytes, 16);
			assert_memory_equal(sent->bytes,
					    probe ? (const uint8_t *)"\x33\x33\0\0\0\1" : peer_mac,
					    6);
			assert_true(vnic_ndp_parse(136, sent->ip + 48, sent->ip_length - 48,
						   &answer) > 0);
			assert_memory_equal(answer.target, ndp.target, 16);
			assert_memory_equal(answer.mac, stack_mac, 6);
		}
		peer_clear(&peer);
	}
	assert_string_equal(peer_send_hex(&peer, SCAPY_SOLICITATION), "neighbor_advertisements");
	peer_end(&peer);
}

/* Rewrites the checksum after a change inside of the message. */
static void sum_again(size_t length)
{
	struct vnic_address from = vnic_address_from_bytes(VNIC_IPV6, packet + 8);
	struct vnic_address to = vnic_address_from_bytes(VNIC_IPV6, packet + 24);
	uint32_t sum = vnic_checksum_add_pseudo(0, &from, &to, VNIC_PROTOCOL_ICMPV6,
						(uint32_t)length - 40);
	uint16_t checksum;

	packet[42] = packet[43] = 0;
	checksum = vnic_checksum_finish(vnic_checksum_add(sum, packet + 40, length - 40));
	packet[42] = (uint8_t)(checksum >> 8);
	packet[43] = (uint8_t)checksum;
}

static void drops_wrong_solicitations(void **state)
{
	struct vnic_ndp ndp = ndp_of(STACK6, true);
	struct peer peer;
	size_t length;

	(void)state;
	peer_begin(&peer, VNIC_LAYER_ETHERNET, NULL);
	length = peer_ndp(packet, PEER6, "ff02::1:ff00:2", 135, 0, &ndp);
	packet[7] = 254; /* came through a router */
	assert_verdict(&peer, packet, length, "drop_malformed");
	packet[7] = 255;
	packet[41] = 1; /* code */
	sum_again(length);
	assert_verdict(&peer, packet, length, "drop_malformed");
	packet[41] = 0;
	packet[65] = 0; /* option of length 0 */
	sum_again(length);
	assert_verdict(&peer, packet, length, "drop_malformed");
	packet[65] = 2; /* over the end */
	sum_again(length);
	assert_verdict(&peer, packet, length, "drop_malformed");
	packet[65] = 1;
	sum_again(length);
	assert_verdict(&peer, packet, length, "neighbor_advertisements");
	packet[43] ^= 1;
	assert_verdict(&peer, packet, length, "drop_checksum");
	/* With a fragment header that fragments nothing: RFC 6980. */
	packet[43] ^= 1;
	memmove(packet + 48, packet + 40, length - 40);
	memcpy(packet + 40, "\x3a\0\0\0\0\0\0\1", 8);
	packet[6] = VNIC_PROTOCOL_FRAGMENT;
	packet[5] = (uint8_t)(packet[5] + 8);
	assert_verdict(&peer, packet, length + 8, "drop_unwanted");
	assert_int_equal(peer.count, 1);
	peer_end(&peer);
	/* Where there is no Ethernet there are no neighbours. */
	peer_begin(&peer, VNIC_LAYER_IP, NULL);
	assert_string_equal(solicit(&peer, PEER6, STACK6, &ndp), "drop_unwanted");
	vnic_stack_link_up(peer.stack, peer.now_ns);
	assert_true(vnic_stack_advance(peer.stack, peer.now_ns) == UINT64_MAX);
	assert_int_equal(peer.count, 0);
	peer_end(&peer);
}

static unsigned count_type(const struct peer *peer, uint8_t type)
{
	unsigned count = 0;

	for (size_t i = 0; i < peer->count; i++) {
		const uint8_t *ip = peer->answers[i].ip;

		if (type == 0)
			count += ip[0] == 0; /* ARP */
		else if (ip[0] >> 4 == 6)
			count += ip[ip[6] == 0 ? 48 : 40] == type;
	}
	return count;
}

static void announces_itself(void **state)
{
	struct peer peer;

	(void)state;
	peer_begin(&peer, VNIC_LAYER_ETHERNET, NULL);
	vnic_stack_link_up(peer.stack, peer.now_ns);
	assert_int_equal(peer.count, 0); /* nothing before advance */
	peer_wait(&peer, 0);
	assert_int_equal(count_type(&peer, 0), 1);
	peer_wait(&peer, 10 * SECOND_NS);
	assert_int_equal(count_type(&peer, 0), 2);   /* ARP */
	assert_int_equal(count_type(&peer, 135), 2); /* probes for two addresses */
	assert_int_equal(count_type(&peer, 136), 4);
	assert_int_equal(count_type(&peer, 143), 2);
	assert_int_equal(peer.count, 10);
	assert_int_equal(peer_counter(&peer, VNIC_STACK_ANNOUNCEMENTS), 10);
	assert_int_equal(peer_answer(&peer, 0)->at_ns, 1000 * SECOND_NS);
	peer_clear(&peer);
	/* Then nothing more, however long, and no wish to be called. */
	peer_wait(&peer, 100000 * SECOND_NS);
	assert_int_equal(peer.count, 0);
	assert_true(vnic_stack_advance(peer.stack, peer.now_ns) == UINT64_MAX);
	/* A new address is announced by itself, though the report names all groups. */
	peer_add(&peer, "fd00::abcd/64");
	peer_wait(&peer, 10 * SECOND_NS);
	assert_int_equal(count_type(&peer, 135), 1);
	assert_int_equal(count_type(&peer, 136), 2);
	assert_int_equal(count_type(&peer, 143), 2);
	assert_int_equal(peer.count, 5);
	peer_end(&peer);
}

static void paces_a_thousand_addresses(void **state)
{
	char text[64];
	struct peer peer;

	(void)state;
	peer_begin(&peer, VNIC_LAYER_ETHERNET, NULL);
	for (unsigned i = 0; i < 1021; i++) {
		snprintf(text, sizeof(text), i % 2 ? "fd00::%x:%x/64" : "10.0.%u.%u/16",
			 1 + i / 200, 1 + i % 200);
		peer_add(&peer, text);
	}
	vnic_stack_link_up(peer.stack, peer.now_ns);
	peer_wait(&peer, 60 * SECOND_NS);
	assert_int_equal(count_type(&peer, 0), 2 * 512);
	assert_int_equal(count_type(&peer, 135), 512);
	assert_int_equal(count_type(&peer, 136), 2 * 512);
	/* All groups twice, 61 in a packet. */
	assert_in_range(count_type(&peer, 143), 2, 2 * 9);
	for (size_t i = 4; i < peer.count; i++)
		assert_true(peer.answers[i].at_ns - peer.answers[i - 4].at_ns >= SECOND_NS / 100);
	peer_end(&peer);
}

/* Probes until another one answers or probes: RFC 4862 section 5.4, RFC 4429, RFC 7527. */
static void gives_up_a_duplicate(void **state)
{
	static const struct {
		bool advertisement, own_nonce, gives_up;
	} rows[] = {{true, false, true}, {false, false, true}, {false, true, false}};
	struct vnic_address address = peer_address(STACK6);

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct vnic_ndp ndp = ndp_of(STACK6, rows[i].advertisement), probe;
		const char *counter;
		struct peer peer;
		size_t sent;

		peer_begin(&peer, VNIC_LAYER_ETHERNET, NULL);
		vnic_stack_link_up(peer.stack, peer.now_ns);
		for (sent = 0; sent == 0; peer_wait(&peer, SECOND_NS / 100))
			for (size_t k = 0; k < peer.count; k++)
				if (peer.answers[k].ip[6] == 58 && peer.answers[k].ip[40] == 135 &&
				    peer.answers[k].ip[48] == 0xfd)
					sent = k + 1;
		/* From nobody, without a source's address, with a nonce. */
		assert_true(vnic_ndp_parse(135, peer_answer(&peer, sent - 1)->ip + 48,
					   peer_answer(&peer, sent - 1)->ip_length - 48,
					   &probe) > 0);
		assert_false(probe.has_mac);
		assert_true(probe.has_nonce);
		peer_clear(&peer);

		/* Meanwhile it answers, but overrides nothing. */
		counter = solicit(&peer, PEER6, "ff02::1:ff00:2", &ndp);
		assert_string_equal(counter, "neighbor_advertisements");
		assert_int_equal(advertised_flags(peer_answer(&peer, 0)), VNIC_NDP_SOLICITED);

		if (rows[i].advertisement) {
			counter = claim(&peer, STACK6, "ff02::1", VNIC_NDP_OVERRIDE, &ndp);
		} else {
			ndp.has_nonce = true;
			memcpy(ndp.nonce, probe.nonce, 6);
			ndp.nonce[5] ^= !rows[i].own_nonce;
			counter = solicit(&peer, "::", "ff02::1:ff00:2", &ndp);
		}
		assert_string_equal(counter, rows[i].gives_up ? "conflicts" : "drop_unwanted");
		assert_int_equal(peer.conflicts, rows[i].gives_up);
		assert_int_equal(vnic_stack_has(peer.stack, &address), !rows[i].gives_up);
		peer_wait(&peer, 10 * SECOND_NS);
		peer_clear(&peer);
		ndp = ndp_of(STACK6, true);
		counter = solicit(&peer, PEER6, "ff02::1:ff00:2", &ndp);
		assert_string_equal(counter,
				    rows[i].gives_up ? "drop_not_ours" : "neighbor_advertisements");
		/* The next link is another chance. */
		vnic_stack_link_up(peer.stack, peer.now_ns);
		assert_true(vnic_stack_has(peer.stack, &address));
		peer_end(&peer);
	}
}

static void keeps_what_it_has(void **state)
{
	struct vnic_ndp ndp = ndp_of(STACK6, true);
	struct peer peer;

	(void)state;
	peer_begin(&peer, VNIC_LAYER_ETHERNET, NULL);
	vnic_stack_link_up(peer.stack, peer.now_ns);
	peer_wait(&peer, 10 * SECOND_NS);
	peer_clear(&peer);
	for (unsigned i = 0; i < 5; i++)
		assert_string_equal(claim(&peer, PEER6, "ff02::1", VNIC_NDP_OVERRIDE, &ndp),
				    "conflicts");
	assert_int_equal(peer.conflicts, 1); /* told once in ten seconds */
	assert_int_equal(peer_counter(&peer, VNIC_STACK_CONFLICTS), 5);
	assert_true(vnic_stack_has(peer.stack, &peer.conflict));
	/* Our own advertisement, looped back. */
	memcpy(ndp.mac, stack_mac, 6);
	assert_string_equal(claim(&peer, STACK6, "ff02::1", VNIC_NDP_OVERRIDE, &ndp),
			    "drop_unwanted");
	/* About somebody else; solicited, but to all. */
	ndp = ndp_of("fd00::99", true);
	assert_string_equal(claim(&peer, PEER6, "ff02::1", 0, &ndp), "drop_unwanted");
	assert_string_equal(claim(&peer, PEER6, "ff02::1", VNIC_NDP_SOLICITED, &ndp),
			    "drop_malformed");
	assert_int_equal(peer.count, 0);
	peer_end(&peer);
}

static void reports_groups(void **state)
{
	struct peer peer;
	size_t length;

	(void)state;
	peer_begin(&peer, VNIC_LAYER_ETHERNET, NULL);
	vnic_stack_link_up(peer.stack, peer.now_ns);
	peer_wait(&peer, 10 * SECOND_NS);
	peer_clear(&peer);
	/* A thousand queries for an answer within a second: one answer. */
	for (unsigned i = 0; i < 1000; i++)
		assert_string_equal(peer_send_hex(&peer, SCAPY_QUERY), "group_queries");
	peer_wait(&peer, SECOND_NS);
	assert_int_equal(peer.count, 1);
	assert_int_equal(peer_answer(&peer, 0)->ip[48], 143);
	/* One group for both addresses, ff02::1:ff00:2, from the link-local one. */
	assert_int_equal(peer_answer(&peer, 0)->ip[55], 1);
	assert_int_equal(peer_answer(&peer, 0)->ip[56], 2);
	assert_memory_equal(peer_answer(&peer, 0)->ip + 60, peer_address("ff02::1:ff00:2").bytes,
			    16);
	assert_memory_equal(peer_answer(&peer, 0)->ip + 8, peer_address(STACK6_LINK).bytes, 16);
	peer_wait(&peer, 100 * SECOND_NS);
	assert_int_equal(peer.count, 1);
	/* Not from a router of this link, or without its mark. */
	length = peer_hex(SCAPY_QUERY, packet, sizeof(packet));
	packet[21] = 2;
	assert_string_equal(peer_send_raw(&peer, packet, length), "drop_malformed");
	packet[21] = 1;
	packet[22] = 0xfd; /* from fd80::1: no link-local address */
	assert_string_equal(peer_send_raw(&peer, packet, length), "drop_checksum");
	packet[64] = (uint8_t)(packet[64] + 1); /* the checksum for it */
	assert_string_equal(peer_send_raw(&peer, packet, length), "drop_malformed");
	packet[64] = (uint8_t)(packet[64] - 1);
	packet[22] = 0xfe;
	packet[56] = 0x1e; /* another option instead of router alert */
	assert_string_equal(peer_send_raw(&peer, packet, length), "drop_malformed");
	peer_end(&peer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers_arp),
		cmocka_unit_test(refuses_arp_from_no_station),
		cmocka_unit_test(defends_its_address),
		cmocka_unit_test(answers_solicitations),
		cmocka_unit_test(drops_wrong_solicitations),
		cmocka_unit_test(announces_itself),
		cmocka_unit_test(paces_a_thousand_addresses),
		cmocka_unit_test(gives_up_a_duplicate),
		cmocka_unit_test(keeps_what_it_has),
		cmocka_unit_test(reports_groups),
	};

	return cmocka_run_group_tests_name("neighbor", tests, NULL, NULL);
}
