/* SPDX-License-Identifier: MIT */
/* Theory of operation: whom the stack sends to first, and what it learns of Ethernet addresses. */
#include <errno.h>
#include <stdio.h>

#include "inbox.h"

#define NEIGHBOR4 "10.0.0.9"
#define NEIGHBOR6 "fd00::9"

static const uint8_t macs[][6] = {
	{2, 0, 0, 0, 9, 0}, {2, 0, 0, 0, 9, 1}, {2, 0, 0, 0, 9, 2}, {2, 0, 0, 0, 9, 3}};
static const uint8_t everybody[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
static uint8_t packet[PACKET_BYTES_MAX];

/* @return the counter that it ended in */
static const char *arp_says(struct peer *peer, uint16_t operation, const char *sender,
			    const uint8_t *mac, const char *target)
{
	struct vnic_arp arp = {.operation = operation};
	struct vnic_ethernet ethernet = {
		.ethertype = VNIC_ETHERTYPE_ARP,
		.vlan_count = peer->vlan_count,
	};
	uint8_t frame[64];
	int header;

	memcpy(arp.sender_mac, mac, 6);
	memcpy(arp.sender_ip, peer_address(sender).bytes, 4);
	memcpy(arp.target_ip, peer_address(target).bytes, 4);
	memcpy(ethernet.destination, operation == VNIC_ARP_REQUEST ? everybody : stack_mac, 6);
	memcpy(ethernet.source, mac, 6);
	memcpy(ethernet.vlan, peer->vlan, sizeof(ethernet.vlan));
	header = vnic_ethernet_build(frame, sizeof(frame), &ethernet);
	vnic_arp_build(frame + header, 28, &arp);
	return peer_send_raw(peer, frame, (size_t)header + 28);
}

static const char *advertise(struct peer *peer, const char *address, const uint8_t *mac,
			     uint32_t flags)
{
	bool solicited = flags & VNIC_NDP_SOLICITED;
	struct vnic_ndp ndp = {.has_mac = mac};
	size_t length;

	memcpy(ndp.target, peer_address(address).bytes, 16);
	if (mac)
		memcpy(ndp.mac, mac, 6);
	memcpy(peer->to_mac, solicited ? stack_mac : (const uint8_t *)"\x33\x33\0\0\0\1", 6);
	length = peer_ndp(packet, address, solicited ? STACK6 : "ff02::1", 136, flags, &ndp);
	memcpy(peer->from_mac, peer_mac, 6);
	return peer_send_ip(peer, packet, length);
}

static const char *solicit(struct peer *peer, const char *address, const uint8_t *mac)
{
	struct vnic_ndp ndp = {.has_mac = mac};

	memcpy(ndp.target, peer_address(STACK6).bytes, 16);
	if (mac)
		memcpy(ndp.mac, mac, 6);
	memcpy(peer->to_mac, "\x33\x33\xff\0\0\2", 6);
	return peer_send_ip(peer, packet,
			    peer_ndp(packet, address, "ff02::1:ff00:2", 135, 0, &ndp));
}

/* The n-th answer asks for an address, at mac: whichever of the two ways. */
static void assert_asks(const struct peer *peer, size_t n, const char *text, const uint8_t *mac)
{
	const struct peer_answer *answer = peer_answer(peer, n);
	struct vnic_address address = peer_address(text);
	struct vnic_ndp ndp;
	struct vnic_arp arp;

	if (mac)
		assert_memory_equal(answer->bytes, mac, 6);
	if (address.family == VNIC_IPV4) {
		assert_int_equal(vnic_arp_parse(answer->ip, answer->ip_length, &arp), 28);
		assert_int_equal(arp.operation, VNIC_ARP_REQUEST);
		assert_memory_equal(arp.sender_mac, stack_mac, 6);
		assert_memory_equal(arp.sender_ip, peer_address(STACK4).bytes, 4);
		assert_memory_equal(arp.target_ip, address.bytes, 4);
		if (!mac)
			assert_memory_equal(answer->bytes, everybody, 6);
		return;
	}
	assert_int_equal(answer->ip[40], VNIC_ICMPV6_NEIGHBOR_SOLICITATION);
	assert_memory_equal(answer->ip + 8, peer_address(STACK6).bytes, 16);
	assert_true(vnic_ndp_parse(135, answer->ip + 48, answer->ip_length - 48, &ndp) > 0);
	assert_memory_equal(ndp.target, address.bytes, 16);
	assert_true(ndp.has_mac);
	assert_memory_equal(ndp.mac, stack_mac, 6);
	if (mac) {
		assert_memory_equal(answer->ip + 24, address.bytes, 16);
	} else {
		struct vnic_address group = vnic_address_solicited_node(&address);

		assert_memory_equal(answer->ip + 24, group.bytes, 16);
		assert_memory_equal(answer->bytes, "\x33\x33\xff", 3);
		assert_memory_equal(answer->bytes + 3, address.bytes + 13, 3);
	}
}

/* Send a datagram, and see whom it goes to at once; NULL: its address is asked for instead. */
static void assert_way(struct peer *peer, struct inbox *inbox, const char *address,
		       const uint8_t *mac)
{
	bool ipv4 = peer_address(address).family == VNIC_IPV4;

	peer_clear(peer);
	assert_int_equal(inbox_send(inbox, address, 7, 10, 0), 1);
	if (peer->count != 1)
		fail_msg("to %s go %zu packets", address, peer->count);
	if (!mac) {
		assert_asks(peer, 0, address, NULL);
		return;
	}
	inbox_assert_sent(peer, 0, ipv4 ? STACK4 : STACK6, 5000, address, 7, 10);
	assert_memory_equal(peer_answer(peer, 0)->bytes, mac, 6);
}

static void begin(struct peer *peer, struct inbox *inbox,
		  void (*change)(struct vnic_stack_options *options))
{
	peer_begin(peer, VNIC_LAYER_ETHERNET, change);
	vnic_stack_advance(peer->stack, peer->now_ns);
	inbox_open(inbox, peer, NULL, 5000, NULL, 0);
}

static void end(struct peer *peer, struct inbox *inbox)
{
	inbox_close(inbox);
	peer_end(peer);
}

static void asks_and_sends(void **state)
{
	struct inbox inbox;
	struct peer peer;

	(void)state;
	begin(&peer, &inbox, NULL);
	assert_way(&peer, &inbox, NEIGHBOR4, NULL);
	assert_way(&peer, &inbox, NEIGHBOR6, NULL);
	peer_clear(&peer);
	assert_string_equal(arp_says(&peer, 2, NEIGHBOR4, macs[0], STACK4), "neighbors");
	assert_int_equal(peer.count, 1);
	inbox_assert_sent(&peer, 0, STACK4, 5000, NEIGHBOR4, 7, 10);
	assert_memory_equal(peer_answer(&peer, 0)->bytes, macs[0], 6);
	peer_clear(&peer);
	assert_string_equal(advertise(&peer, NEIGHBOR6, macs[1], VNIC_NDP_SOLICITED), "neighbors");
	assert_int_equal(peer.count, 1);
	inbox_assert_sent(&peer, 0, STACK6, 5000, NEIGHBOR6, 7, 10);
	assert_memory_equal(peer_answer(&peer, 0)->bytes, macs[1], 6);
	assert_way(&peer, &inbox, NEIGHBOR4, macs[0]);
	assert_way(&peer, &inbox, NEIGHBOR6, macs[1]);
	/* Nobody has asked for these. */
	assert_string_equal(arp_says(&peer, 2, "10.0.0.8", macs[0], STACK4), "drop_unwanted");
	assert_string_equal(advertise(&peer, "fd00::8", macs[1], VNIC_NDP_SOLICITED),
			    "drop_unwanted");
	assert_int_equal(peer_counter(&peer, VNIC_STACK_SOLICITATIONS), 2);
	assert_int_equal(peer_counter(&peer, VNIC_STACK_NEIGHBORS), 2);
	assert_int_equal(peer_counter(&peer, VNIC_STACK_LOST_UNRESOLVED), 0);
	end(&peer, &inbox);
}

/* Three times, and never more often than once in a second; and then the same again. */
static void gives_up(void **state)
{
	static const char *const addresses[] = {NEIGHBOR4, NEIGHBOR6};
	struct inbox inbox;
	struct peer peer;

	(void)state;
	begin(&peer, &inbox, NULL);
	for (unsigned i = 0; i < 4; i++) {
		const char *address = addresses[i % 2];
		uint64_t begin_ns;

		/* The stack has not been told the time for long. */
		peer.now_ns += 1000 * SECOND_NS;
		begin_ns = peer.now_ns;
		assert_way(&peer, &inbox, address, NULL);
		assert_int_equal(inbox_send(&inbox, address, 7, 20, 0), 1);
		peer_wait(&peer, 2 * SECOND_NS + SECOND_NS / 2);
		assert_int_equal(peer.count, 3);
		for (unsigned n = 0; n < 3; n++) {
			uint64_t at_ns = peer_answer(&peer, n)->at_ns - begin_ns;

			assert_asks(&peer, n, address, NULL);
			assert_in_range(at_ns, n * SECOND_NS, n * SECOND_NS + SECOND_NS / 10);
		}
		assert_int_equal(peer_counter(&peer, VNIC_STACK_LOST_UNRESOLVED), 2 * i);
		peer_wait(&peer, 10 * SECOND_NS);
		assert_int_equal(peer.count, 3);
		assert_int_equal(peer_counter(&peer, VNIC_STACK_LOST_UNRESOLVED), 2 * i + 2);
		assert_int_equal(peer_counter(&peer, VNIC_STACK_SOLICITATIONS), 3 * i + 3);
		/* Too late. */
		if (i % 2 == 0)
			assert_string_equal(arp_says(&peer, 2, address, macs[0], STACK4),
					    "drop_unwanted");
	}
	end(&peer, &inbox);
}

static void send_elsewhere(struct inbox *inbox)
{
	assert_int_equal(inbox_send(inbox, "10.0.0.77", 7, 10, 0), 1);
	assert_int_equal(inbox_send(inbox, NEIGHBOR4, 7, 10, 0), 1);
	vnic_endpoint_close(inbox->endpoint);
	inbox->endpoint = NULL;
}

/* Who sent to a neighbor that does not answer is told, once for each packet that waited. */
static void tells_who_sent(void **state)
{
	static const char *const addresses[] = {NEIGHBOR4, NEIGHBOR6};
	struct inbox inbox;
	struct peer peer;

	(void)state;
	begin(&peer, &inbox, NULL);
	for (unsigned i = 0; i < 2; i++) {
		struct vnic_address address = peer_address(addresses[i]);

		inbox_clear(&inbox);
		assert_way(&peer, &inbox, addresses[i], NULL);
		assert_int_equal(inbox_send(&inbox, addresses[i], 8, 60000, 0), 1);
		assert_int_equal(inbox_send(&inbox, addresses[i], 9, 10000, 1000), 1);
		peer_wait(&peer, 2 * SECOND_NS + SECOND_NS / 2);
		assert_int_equal(inbox.errors, 0);
		peer_wait(&peer, SECOND_NS);
		assert_int_equal(inbox.errors, 3);
		assert_int_equal(inbox.error.code, -EHOSTUNREACH);
		assert_int_equal(inbox.error.flow.local_port, 5000);
		assert_int_equal(inbox.error.flow.remote_port, 9);
		assert_true(vnic_address_equal(&inbox.error.flow.remote_address, &address));
		assert_int_equal(peer_counter(&peer, VNIC_STACK_NOTICES), 0);
	}
	/* It sends again, and is gone: others wait for what is asked for then. */
	inbox.errors = 0;
	inbox.on_error = send_elsewhere;
	assert_way(&peer, &inbox, NEIGHBOR4, NULL);
	assert_int_equal(inbox_send(&inbox, NEIGHBOR4, 8, 10, 0), 1);
	peer_clear(&peer);
	peer_wait(&peer, 4 * SECOND_NS);
	assert_int_equal(inbox.errors, 1);
	assert_asks(&peer, 2, "10.0.0.77", NULL);
	assert_asks(&peer, 3, NEIGHBOR4, NULL);
	peer_wait(&peer, 10 * SECOND_NS);
	assert_int_equal(peer_counter(&peer, VNIC_STACK_LOST_UNRESOLVED), 3 + 3 + 2 + 2);
	end(&peer, &inbox);
}

/* The latest three wait, whatever they are, and go out in order. */
static void what_waits(void **state)
{
	struct inbox inbox;
	struct peer peer;

	(void)state;
	begin(&peer, &inbox, NULL);
	for (size_t length = 1; length <= 4; length++)
		assert_int_equal(inbox_send(&inbox, NEIGHBOR4, 7, length, 0), 1);
	assert_int_equal(peer.count, 1);
	assert_int_equal(peer_counter(&peer, VNIC_STACK_LOST_UNRESOLVED), 1);
	peer_clear(&peer);
	arp_says(&peer, 2, NEIGHBOR4, macs[0], STACK4);
	assert_int_equal(peer.count, 3);
	for (size_t i = 0; i < 3; i++)
		inbox_assert_sent(&peer, i, STACK4, 5000, NEIGHBOR4, 7, i + 2);
	/* A fragmented one, the longest there is, and one with an offload description. */
	peer_clear(&peer);
	assert_int_equal(inbox_send(&inbox, NEIGHBOR6, 7, 65527, 0), 1);
	assert_int_equal(inbox_send(&inbox, NEIGHBOR6, 7, 10, 0), 1);
	assert_int_equal(inbox_send(&inbox, NEIGHBOR6, 7, 10000, 1000), 1);
	peer_clear(&peer);
	advertise(&peer, NEIGHBOR6, macs[0], VNIC_NDP_SOLICITED);
	assert_int_equal(peer.count, (65535 + 1447) / 1448 + 2);
	assert_int_equal(peer_answer(&peer, peer.count - 1)->gso_type, VNIC_GSO_UDP);
	assert_int_equal(peer_answer(&peer, peer.count - 1)->gso_size_bytes, 1000);
	inbox_assert_sent(&peer, peer.count - 1, STACK6, 5000, NEIGHBOR6, 7, 10000);
	for (size_t i = 0; i < peer.count; i++)
		assert_memory_equal(peer_answer(&peer, i)->bytes, macs[0], 6);
	end(&peer, &inbox);
}

/* One MiB waits in all, whoever it is for. */
static void waiting_is_bounded(void **state)
{
	char address[32];
	struct inbox inbox;
	struct peer peer;

	(void)state;
	begin(&peer, &inbox, NULL);
	for (unsigned i = 0; i < 60; i++) {
		snprintf(address, sizeof(address), "10.0.0.%u", 10 + i / 3);
		assert_int_equal(inbox_send(&inbox, address, 7, 60000, 0), 1);
	}
	/* (1 << 20) / 60028 */
	assert_int_equal(peer_counter(&peer, VNIC_STACK_LOST_UNRESOLVED), 60 - 17);
	peer_wait(&peer, 5 * SECOND_NS);
	assert_int_equal(peer_counter(&peer, VNIC_STACK_LOST_UNRESOLVED), 60);
	/* All of it is free again. */
	for (unsigned i = 0; i < 17; i++) {
		snprintf(address, sizeof(address), "10.0.0.%u", 10 + i);
		assert_int_equal(inbox_send(&inbox, address, 7, 60000, 0), 1);
	}
	assert_int_equal(peer_counter(&peer, VNIC_STACK_LOST_UNRESOLVED), 60);
	end(&peer, &inbox);
}

static void probes_what_is_old(void **state)
{
	static const char *const addresses[] = {NEIGHBOR4, NEIGHBOR6};
	struct inbox inbox;
	struct peer peer;

	(void)state;
	begin(&peer, &inbox, NULL);
	for (unsigned i = 0; i < 2; i++) {
		const char *address = addresses[i];

		assert_way(&peer, &inbox, address, NULL);
		if (i == 0)
			arp_says(&peer, 2, address, macs[0], STACK4);
		else
			advertise(&peer, address, macs[0], VNIC_NDP_SOLICITED);
		peer_wait(&peer, 29 * SECOND_NS);
		assert_way(&peer, &inbox, address, macs[0]);
		peer_clear(&peer);
		peer_wait(&peer, 100 * SECOND_NS);
		assert_int_equal(peer.count, 0); /* nobody sends to it: nobody asks */
		assert_way(&peer, &inbox, address, macs[0]);
		peer_clear(&peer);
		peer_wait(&peer, 5 * SECOND_NS);
		assert_int_equal(peer.count, 1);
		assert_asks(&peer, 0, address, macs[0]);
		/* It moved, and answers. */
		assert_string_equal(i == 0 ? arp_says(&peer, 2, address, macs[1], STACK4)
					   : advertise(&peer, address, macs[1],
						       VNIC_NDP_SOLICITED | VNIC_NDP_OVERRIDE),
				    "neighbors");
		peer_clear(&peer);
		peer_wait(&peer, 10 * SECOND_NS);
		assert_int_equal(peer.count, 0);
		assert_way(&peer, &inbox, address, macs[1]);
		/* Next time nobody answers. It is sent to all the while, and then is unknown. */
		peer_wait(&peer, 60 * SECOND_NS);
		assert_way(&peer, &inbox, address, macs[1]);
		peer_clear(&peer);
		peer_wait(&peer, 7 * SECOND_NS);
		assert_int_equal(peer.count, 3);
		for (unsigned n = 0; n < 3; n++)
			assert_asks(&peer, n, address, macs[1]);
		assert_way(&peer, &inbox, address, macs[1]);
		peer_wait(&peer, 2 * SECOND_NS);
		assert_way(&peer, &inbox, address, NULL);
		peer_wait(&peer, 10 * SECOND_NS);
	}
	end(&peer, &inbox);
}

static void learns_from_questions(void **state)
{
	struct inbox inbox;
	struct peer peer;

	(void)state;
	begin(&peer, &inbox, NULL);
	assert_string_equal(arp_says(&peer, 1, NEIGHBOR4, macs[0], STACK4), "arp_replies");
	assert_way(&peer, &inbox, NEIGHBOR4, macs[0]);
	assert_string_equal(solicit(&peer, NEIGHBOR6, macs[1]), "neighbor_advertisements");
	assert_way(&peer, &inbox, NEIGHBOR6, macs[1]);
	/* It is not certain that they can hear us, so they are probed when used. */
	peer_clear(&peer);
	peer_wait(&peer, 5 * SECOND_NS);
	assert_int_equal(peer.count, 2);
	assert_asks(&peer, 0, NEIGHBOR4, macs[0]);
	/* A question of somebody that we ask for is an answer. */
	assert_way(&peer, &inbox, "10.0.0.8", NULL);
	peer_clear(&peer);
	assert_string_equal(arp_says(&peer, 1, "10.0.0.8", macs[2], STACK4), "arp_replies");
	assert_int_equal(peer.count, 2);
	/* Probes for an address, questions to others and without the option tell nothing. */
	arp_says(&peer, 1, "0.0.0.0", macs[3], STACK4);
	arp_says(&peer, 1, "10.0.0.7", macs[3], "10.0.0.6");
	solicit(&peer, "fd00::7", NULL);
	assert_way(&peer, &inbox, "10.0.0.7", NULL);
	assert_way(&peer, &inbox, "fd00::7", NULL);
	/* Nobody can have these. */
	solicit(&peer, "fd00::6", (const uint8_t *)"\3\0\0\0\0\1");
	assert_way(&peer, &inbox, "fd00::6", NULL);
	solicit(&peer, "fd00::5", stack_mac);
	assert_way(&peer, &inbox, "fd00::5", NULL);
	solicit(&peer, "fd00::4", (const uint8_t *)"\0\0\0\0\0\0");
	assert_way(&peer, &inbox, "fd00::4", NULL);
	end(&peer, &inbox);
}

static void believes_announcements(void **state)
{
	struct inbox inbox;
	struct peer peer;

	(void)state;
	begin(&peer, &inbox, NULL);
	/* Of strangers: not. */
	assert_string_equal(arp_says(&peer, 1, NEIGHBOR4, macs[0], NEIGHBOR4), "drop_not_ours");
	assert_string_equal(arp_says(&peer, 2, NEIGHBOR4, macs[0], NEIGHBOR4), "drop_not_ours");
	assert_string_equal(advertise(&peer, NEIGHBOR6, macs[0], VNIC_NDP_OVERRIDE),
			    "drop_unwanted");
	assert_way(&peer, &inbox, NEIGHBOR4, NULL);
	assert_way(&peer, &inbox, NEIGHBOR6, NULL);
	/* Of whom we ask for: as good as an answer. */
	assert_string_equal(arp_says(&peer, 1, NEIGHBOR4, macs[0], NEIGHBOR4), "neighbors");
	assert_string_equal(advertise(&peer, NEIGHBOR6, macs[0], VNIC_NDP_OVERRIDE), "neighbors");
	assert_way(&peer, &inbox, NEIGHBOR4, macs[0]);
	assert_way(&peer, &inbox, NEIGHBOR6, macs[0]);
	/* Nothing new. */
	assert_string_equal(arp_says(&peer, 1, NEIGHBOR4, macs[0], NEIGHBOR4), "drop_not_ours");
	/* It moves. */
	assert_string_equal(arp_says(&peer, 1, NEIGHBOR4, macs[1], NEIGHBOR4), "neighbors");
	assert_way(&peer, &inbox, NEIGHBOR4, macs[1]);
	assert_string_equal(arp_says(&peer, 2, NEIGHBOR4, macs[2], NEIGHBOR4), "neighbors");
	assert_way(&peer, &inbox, NEIGHBOR4, macs[2]);
	/* RFC 826: also what it asks of others. */
	assert_string_equal(arp_says(&peer, 1, NEIGHBOR4, macs[3], "10.0.0.77"), "neighbors");
	assert_way(&peer, &inbox, NEIGHBOR4, macs[3]);
	end(&peer, &inbox);
}

/* RFC 4861 section 7.2.5. */
static void advertisement_flags(void **state)
{
	enum {
		S = 1,
		O = 2
	};
	static const struct {
		int flags;
		int mac;        /* that is told; -1: none */
		bool asked;     /* it is being asked for, and not known */
		int after;      /* the mac that is sent to; -1: it is asked for */
		bool reachable; /* and it is certain */
	} rows[] = {
		{S | O, 1, true, 1, true},  {S, 1, true, 1, true},        {O, 1, true, 1, false},
		{0, 1, true, 1, false},     {S | O, -1, true, -1, false}, {0, -1, true, -1, false},
		{S | O, 0, false, 0, true}, {S, 0, false, 0, true},       {S, -1, false, 0, true},
		{S | O, 1, false, 1, true}, {S, 1, false, 0, false},      {O, 1, false, 1, false},
		{0, 1, false, 0, false},    {O, 0, false, 0, true},       {0, -1, false, 0, true},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint32_t flags = (rows[i].flags & S ? VNIC_NDP_SOLICITED : 0) |
				 (rows[i].flags & O ? VNIC_NDP_OVERRIDE : 0);
		struct inbox inbox;
		struct peer peer;

		begin(&peer, &inbox, NULL);
		assert_way(&peer, &inbox, NEIGHBOR6, NULL);
		if (!rows[i].asked)
			advertise(&peer, NEIGHBOR6, macs[0], VNIC_NDP_SOLICITED);
		peer_clear(&peer);
		advertise(&peer, NEIGHBOR6, rows[i].mac < 0 ? NULL : macs[rows[i].mac], flags);
		if (rows[i].after < 0) {
			assert_int_equal(peer.count, 0);
		} else {
			size_t probes = rows[i].reachable ? 0 : 1;

			assert_way(&peer, &inbox, NEIGHBOR6, macs[rows[i].after]);
			peer_clear(&peer);
			peer_wait(&peer, 5 * SECOND_NS);
			if (peer.count != probes)
				fail_msg("row %zu: %zu probes", i, peer.count);
		}
		end(&peer, &inbox);
	}
}

static void few_neighbors(struct vnic_stack_options *options)
{
	options->neighbors = 4;
}

/* Strangers push out strangers; the stack pushes out strangers, and then whom it used longest ago. */
static void table_is_bounded(void **state)
{
	char address[32];
	struct inbox inbox;
	struct peer peer;

	(void)state;
	begin(&peer, &inbox, few_neighbors);
	for (unsigned i = 0; i < 2; i++) {
		snprintf(address, sizeof(address), "10.0.0.%u", 10 + i);
		arp_says(&peer, 1, address, macs[i], STACK4);
		assert_way(&peer, &inbox, address, macs[i]);
	}
	for (unsigned i = 0; i < 150; i++) {
		snprintf(address, sizeof(address), "10.0.0.%u", 100 + i);
		arp_says(&peer, 1, address, macs[2], STACK4);
	}
	assert_way(&peer, &inbox, "10.0.0.10", macs[0]);
	assert_way(&peer, &inbox, "10.0.0.11", macs[1]);
	assert_way(&peer, &inbox, "10.0.0.249", macs[2]); /* the last stranger, used now */
	assert_way(&peer, &inbox, "10.0.0.248", macs[2]);
	/* All are in use: strangers find no place, we ourselves do. */
	arp_says(&peer, 1, "10.0.0.12", macs[3], STACK4);
	assert_way(&peer, &inbox, "10.0.0.10", macs[0]);
	assert_way(&peer, &inbox, "10.0.0.12", NULL); /* in the place of 10.0.0.11 */
	assert_way(&peer, &inbox, "10.0.0.11", NULL); /* in that of 10.0.0.249 */
	assert_way(&peer, &inbox, "10.0.0.10", macs[0]);
	assert_int_equal(peer_counter(&peer, VNIC_STACK_LOST_UNRESOLVED), 0);
	/* Whoever has to go takes what waits along. */
	assert_way(&peer, &inbox, "10.0.0.13", NULL);
	assert_way(&peer, &inbox, "10.0.0.14", NULL);
	assert_int_equal(peer_counter(&peer, VNIC_STACK_LOST_UNRESOLVED), 1);
	peer_wait(&peer, 10 * SECOND_NS);
	assert_int_equal(peer_counter(&peer, VNIC_STACK_LOST_UNRESOLVED), 4);
	end(&peer, &inbox);
}

static void router(void **state)
{
	static const char *const wrong[] = {STACK4,      "10.0.0.255", "10.0.1.1", "224.0.0.1",
					    "127.0.0.1", "0.0.0.0",    STACK6,     "fd01::1",
					    "ff02::1",   "::"};
	struct vnic_address none = {VNIC_NO_FAMILY, {0}}, address;
	struct vnic_error error;
	struct inbox inbox;
	struct peer peer;

	(void)state;
	begin(&peer, &inbox, NULL);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		address = peer_address(wrong[i]);
		if (vnic_stack_set_router(peer.stack, &address, &error) != -EINVAL ||
		    error.cause != VNIC_CAUSE_ADDRESS_INVALID)
			fail_msg("%s is taken for a router", wrong[i]);
	}
	assert_int_equal(vnic_stack_set_router(peer.stack, &none, &error), -EINVAL);
	/* Without a router everything is on the link. */
	assert_way(&peer, &inbox, "192.0.2.1", NULL);
	address = peer_address("10.0.0.254");
	assert_int_equal(vnic_stack_set_router(peer.stack, &address, NULL), 0);
	address = peer_address("fe80::254");
	assert_int_equal(vnic_stack_set_router(peer.stack, &address, NULL), 0);
	arp_says(&peer, 1, "10.0.0.254", macs[0], STACK4);
	solicit(&peer, "fe80::254", macs[1]);
	assert_way(&peer, &inbox, "192.0.2.1", macs[0]);
	assert_way(&peer, &inbox, "198.51.100.1", macs[0]);
	assert_way(&peer, &inbox, "2001:db8::1", macs[1]);
	/* On the link. */
	assert_way(&peer, &inbox, NEIGHBOR4, NULL);
	assert_way(&peer, &inbox, NEIGHBOR6, NULL);
	assert_way(&peer, &inbox, "169.254.1.1", NULL);
	peer_clear(&peer);
	inbox_send(&inbox, "fe80::9", 7, 1, 0);
	assert_int_equal(peer_answer(&peer, 0)->ip[40], VNIC_ICMPV6_NEIGHBOR_SOLICITATION);
	/* A network that is added counts, and another router takes over. */
	peer_add(&peer, "192.0.2.2/24");
	peer_clear(&peer);
	inbox_send(&inbox, "192.0.2.3", 7, 1, 0);
	assert_memory_equal(peer_answer(&peer, 0)->bytes, everybody, 6);
	address = peer_address("10.0.0.253");
	assert_int_equal(vnic_stack_set_router(peer.stack, &address, NULL), 0);
	arp_says(&peer, 1, "10.0.0.253", macs[2], STACK4);
	assert_way(&peer, &inbox, "198.51.100.1", macs[2]);
	end(&peer, &inbox);
}

static void groups_need_no_question(void **state)
{
	static const struct {
		const char *address, *mac;
		uint8_t hops;
	} rows[] = {
		{"255.255.255.255", "\xff\xff\xff\xff\xff\xff", 64},
		{"10.0.0.255", "\xff\xff\xff\xff\xff\xff", 64},
		{"224.0.0.251", "\x01\x00\x5e\x00\x00\xfb", 1},
		{"ff02::fb", "\x33\x33\x00\x00\x00\xfb", 1},
	};
	struct inbox inbox;
	struct peer peer;

	(void)state;
	begin(&peer, &inbox, NULL);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		peer_clear(&peer);
		assert_int_equal(inbox_send(&inbox, rows[i].address, 5353, 10, 0), 1);
		assert_int_equal(peer.count, 1);
		assert_memory_equal(peer_answer(&peer, 0)->bytes, rows[i].mac, 6);
		assert_int_equal(peer_answer(&peer, 0)->ip[i < 3 ? 8 : 7], rows[i].hops);
	}
	assert_int_equal(peer_counter(&peer, VNIC_STACK_SOLICITATIONS), 0);
	end(&peer, &inbox);
	/* Without Ethernet nobody is asked for. */
	peer_begin(&peer, VNIC_LAYER_IP, NULL);
	inbox_open(&inbox, &peer, NULL, 5000, NULL, 0);
	assert_int_equal(inbox_send(&inbox, NEIGHBOR4, 7, 10, 0), 1);
	inbox_assert_sent(&peer, 0, STACK4, 5000, NEIGHBOR4, 7, 10);
	assert_int_equal(inbox_send(&inbox, "192.0.2.1", 7, 10, 0), 1);
	inbox_assert_sent(&peer, 1, STACK4, 5000, "192.0.2.1", 7, 10);
	assert_int_equal(vnic_stack_advance(peer.stack, peer.now_ns), UINT64_MAX);
	end(&peer, &inbox);
}

/* Who speaks in a VLAN is spoken to in it. */
static void keeps_to_the_vlan(void **state)
{
	struct vnic_ethernet ethernet;
	struct inbox inbox;
	struct peer peer;

	(void)state;
	begin(&peer, &inbox, NULL);
	peer.vlan_count = 1;
	peer.vlan[0] = (struct vnic_vlan_tag){.protocol = VNIC_ETHERTYPE_VLAN, .tci = 5};
	arp_says(&peer, 1, NEIGHBOR4, macs[0], STACK4);
	peer.vlan_count = 0;
	peer_clear(&peer);
	assert_int_equal(inbox_send(&inbox, NEIGHBOR4, 7, 10, 0), 1);
	vnic_ethernet_parse(peer_answer(&peer, 0)->bytes, 18, &ethernet);
	assert_int_equal(ethernet.vlan_count, 1);
	assert_int_equal(ethernet.vlan[0].tci, 5);
	inbox_assert_sent(&peer, 0, STACK4, 5000, NEIGHBOR4, 7, 10);
	peer_clear(&peer);
	peer_wait(&peer, 5 * SECOND_NS);
	vnic_ethernet_parse(peer_answer(&peer, 0)->bytes, 18, &ethernet);
	assert_int_equal(ethernet.vlan_count, 1);
	assert_asks(&peer, 0, NEIGHBOR4, macs[0]);
	end(&peer, &inbox);
}

/* RFC 4429 section 3.2: while another may have our address, nobody is told that it is ours. */
static void tentative_source(void **state)
{
	struct vnic_ndp ndp;
	struct inbox inbox;
	struct peer peer;

	(void)state;
	begin(&peer, &inbox, NULL);
	vnic_stack_link_up(peer.stack, peer.now_ns);
	inbox_send(&inbox, NEIGHBOR6, 7, 10, 0);
	assert_true(vnic_ndp_parse(135, peer_answer(&peer, 0)->ip + 48,
				   peer_answer(&peer, 0)->ip_length - 48, &ndp) > 0);
	assert_false(ndp.has_mac);
	peer_wait(&peer, 10 * SECOND_NS);
	assert_way(&peer, &inbox, NEIGHBOR6, NULL);
	/* Another host turns out to have it: nobody asks with it any more. */
	vnic_stack_link_up(peer.stack, peer.now_ns);
	assert_string_equal(advertise(&peer, STACK6, macs[0], VNIC_NDP_OVERRIDE), "conflicts");
	peer_clear(&peer);
	assert_int_equal(inbox_send(&inbox, NEIGHBOR6, 7, 10, 0), 1); /* from fe80::2 */
	peer_wait(&peer, 10 * SECOND_NS);
	for (size_t i = 0; i < peer.count; i++)
		if (peer_answer(&peer, i)->ip[0] >> 4 == 6)
			assert_memory_not_equal(peer_answer(&peer, i)->ip + 8,
						peer_address(STACK6).bytes, 16);
	end(&peer, &inbox);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(asks_and_sends),
		cmocka_unit_test(gives_up),
		cmocka_unit_test(tells_who_sent),
		cmocka_unit_test(what_waits),
		cmocka_unit_test(waiting_is_bounded),
		cmocka_unit_test(probes_what_is_old),
		cmocka_unit_test(learns_from_questions),
		cmocka_unit_test(believes_announcements),
		cmocka_unit_test(advertisement_flags),
		cmocka_unit_test(table_is_bounded),
		cmocka_unit_test(router),
		cmocka_unit_test(groups_need_no_question),
		cmocka_unit_test(keeps_to_the_vlan),
		cmocka_unit_test(tentative_source),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
