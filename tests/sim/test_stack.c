/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation: making stacks, their addresses and prefixes, counters, and time without
 * packets.
 */
#include <errno.h>
#include <stdio.h>

#include "peer.h"

static uint8_t packet[PACKET_BYTES_MAX];

static void send_nothing(void *user, const struct vnic_packet *packets, unsigned count)
{
	(void)user, (void)packets, (void)count;
}

static void random_nothing(void *user, void *bytes, size_t length_bytes)
{
	(void)user;
	memset(bytes, 7, length_bytes);
}

static void refuses_wrong_options(void **state)
{
	static const struct vnic_stack_options good = {.send = send_nothing,
						       .random = random_nothing};
	struct vnic_stack_options options;
	struct vnic_stack *stack = (struct vnic_stack *)&options;
	struct vnic_error error = {0};

	(void)state;
	for (unsigned i = 0; i < 9; i++) {
		options = good;
		switch (i) {
		case 0:
			options.send = NULL;
			break;
		case 1:
			options.random = NULL;
			break;
		case 2:
			options.mtu_bytes = 67;
			break;
		case 3:
			options.mtu_bytes = 65536;
			break;
		case 4:
			options.layer = VNIC_LAYER_ETHERNET;
			break; /* no MAC */
		case 5:
			options.layer = VNIC_LAYER_ETHERNET;
			options.mac[0] = 1;
			break;
		case 6:
			options.layer = 2;
			break;
		case 7:
			options.reassembly_datagrams = 4097;
			break;
		default:
			options.reassembly_bytes = (64 << 20) + 1;
			break;
		}
		memset(&error, 0, sizeof(error));
		assert_int_equal(vnic_stack_new(&options, &stack, &error), -EINVAL);
		assert_int_equal(error.cause, VNIC_CAUSE_ARGUMENT);
		assert_int_equal(error.code, -EINVAL);
		assert_true(error.text[0] != '\0');
		assert_int_equal(vnic_stack_new(&options, &stack, NULL), -EINVAL);
	}
	assert_ptr_equal(stack, &options); /* untouched */
	vnic_stack_free(NULL);
	assert_int_equal(vnic_stack_new(&good, &stack, &error), 0);
	vnic_stack_free(stack);
}

static struct vnic_prefix prefix_of(const char *text)
{
	struct vnic_prefix prefix;

	assert_int_equal(vnic_prefix_parse(text, &prefix, NULL), 0);
	return prefix;
}

static void refuses_wrong_addresses(void **state)
{
	static const struct {
		const char *prefix;
		int address, network; /* what adding it as either returns */
	} rows[] = {
		{"10.0.0.2/24", 0, 0},
		{"10.0.0.255/24", -EINVAL, 0},
		{"10.0.0.255/31", 0, 0},
		{"10.0.0.7/32", 0, 0},
		{"224.0.0.1/32", -EINVAL, -EINVAL},
		{"255.255.255.255/32", -EINVAL, -EINVAL},
		{"0.0.0.0/0", -EINVAL, 0},
		{"0.0.0.1/8", -EINVAL, -EINVAL},
		{"127.0.0.1/8", -EINVAL, -EINVAL},
		{"fd00::1/64", 0, 0},
		{"::/0", -EINVAL, 0},
		{"::1/128", -EINVAL, -EINVAL},
		{"ff02::1/128", -EINVAL, -EINVAL},
		{"::/128", -EINVAL, -EINVAL},
		{"fe80::1/64", 0, 0},
	};
	struct vnic_prefix bad = {{VNIC_IPV4, {10, 0, 0, 1}}, 33};
	struct vnic_error error;
	struct peer peer;

	(void)state;
	peer_begin(&peer, VNIC_LAYER_IP, NULL);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct vnic_prefix prefix = prefix_of(rows[i].prefix);
		int rc = vnic_stack_add_address(peer.stack, &prefix, &error);

		if (rc != rows[i].address)
			fail_msg("address %s: %d, not %d", rows[i].prefix, rc, rows[i].address);
		if (rc < 0)
			assert_int_equal(error.cause, VNIC_CAUSE_ADDRESS_INVALID);
		rc = vnic_stack_add_prefix(peer.stack, &prefix, &error);
		if (rc != rows[i].network)
			fail_msg("prefix %s: %d, not %d", rows[i].prefix, rc, rows[i].network);
	}
	assert_int_equal(vnic_stack_add_address(peer.stack, &bad, &error), -EINVAL);
	bad.address.family = 5;
	assert_int_equal(vnic_stack_add_prefix(peer.stack, &bad, &error), -EINVAL);
	assert_int_equal(vnic_stack_except(peer.stack, &bad.address, &error), -EINVAL);
	peer_end(&peer);
}

static void small_mtu(struct vnic_stack_options *options)
{
	options->mtu_bytes = 1279;
}

static void needs_an_mtu_for_ipv6(void **state)
{
	struct vnic_prefix prefix = prefix_of("fd00::2/64");
	struct vnic_error error;
	struct peer peer;

	(void)state;
	peer_begin(&peer, VNIC_LAYER_IP, small_mtu);
	assert_int_equal(vnic_stack_add_address(peer.stack, &prefix, &error), -EINVAL);
	assert_int_equal(error.cause, VNIC_CAUSE_ARGUMENT);
	assert_int_equal(vnic_stack_add_prefix(peer.stack, &prefix, &error), -EINVAL);
	peer_end(&peer);
}

static void answers_for_prefixes(void **state)
{
	static const struct {
		const char *address;
		bool has;
	} rows[] = {
		{"10.9.0.1", false}, /* excepted */
		{"10.9.0.2", true},
		{"10.9.255.254", true},
		{"10.9.0.0", false},
		{"10.9.255.255", false},
		{"10.10.0.0", false},
		{"10.8.255.255", false},
		{"192.0.2.4", true},
		{"192.0.2.5", true},
		{"192.0.2.6", false},
		{"198.51.100.9", true},
		{"198.51.100.8", false},
		{"fd09::1", false},
		{"fd09::2", true},
		{"fd09::", false},
		{"fd09::ffff:ffff:ffff:ffff", true},
		{"fd09:0:0:1::", false},
		{"224.0.0.1", false},
		{"ff02::1", false},
		{"fd0a::", true},
		{"fd0a::1", true},
		{"fd0a::2", false},
	};
	static const char *const prefixes[] = {"10.9.8.7/16", "192.0.2.4/31", "198.51.100.9/32",
					       "fd09::/64", "fd0a::/127"};
	struct vnic_address excepted = peer_address("10.9.0.1"),
			    excepted6 = peer_address("fd09::1");
	struct peer peer;
	size_t length;

	(void)state;
	peer_begin(&peer, VNIC_LAYER_ETHERNET, NULL);
	for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
		struct vnic_prefix prefix = prefix_of(prefixes[i]);

		assert_int_equal(vnic_stack_add_prefix(peer.stack, &prefix, NULL), 0);
		assert_int_equal(vnic_stack_add_prefix(peer.stack, &prefix, NULL), 0); /* again */
	}
	assert_int_equal(vnic_stack_except(peer.stack, &excepted, NULL), 0);
	assert_int_equal(vnic_stack_except(peer.stack, &excepted6, NULL), 0);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct vnic_address address = peer_address(rows[i].address);

		if (vnic_stack_has(peer.stack, &address) != rows[i].has)
			fail_msg("has(%s) is not %d", rows[i].address, rows[i].has);
	}
	/* The excepted one asks, and another one that we answer for too. */
	length = peer_echo(packet, "10.9.0.1", "10.9.77.88", 10);
	assert_verdict(&peer, packet, length, "echo_replies");
	length = peer_echo(packet, "10.9.0.50", "10.9.77.88", 10);
	assert_verdict(&peer, packet, length, "echo_replies");
	length = peer_echo(packet, "10.9.77.88", "10.9.77.88", 10);
	assert_verdict(&peer, packet, length, "drop_source");
	length = peer_echo(packet, "10.9.0.1", "10.9.255.255", 10);
	assert_verdict(&peer, packet, length, "drop_not_answerable");
	length = peer_echo(packet, "10.9.255.255", "10.9.0.2", 10);
	assert_verdict(&peer, packet, length, "drop_source");
	length = peer_echo(packet, "fd09::1", "fd09::1234", 10);
	assert_verdict(&peer, packet, length, "echo_replies");
	peer_end(&peer);
}

/*
 * Neighbours in a prefix: answered for, but without taking anything from a host that has the
 * address.
 */
static void yields_within_prefixes(void **state)
{
	struct vnic_prefix prefix = prefix_of("10.9.0.0/16"), prefix6 = prefix_of("fd09::/64");
	struct vnic_arp arp = {.operation = VNIC_ARP_REQUEST,
			       .sender_ip = {10, 9, 0, 1},
			       .target_ip = {10, 9, 1, 2}};
	struct vnic_ndp ndp = {.target = {0xfd, 9, [15] = 0x77}};
	struct peer peer;
	uint8_t bytes[28];
	size_t length;

	(void)state;
	peer_begin(&peer, VNIC_LAYER_ETHERNET, NULL);
	vnic_stack_add_prefix(peer.stack, &prefix, NULL);
	vnic_stack_add_prefix(peer.stack, &prefix6, NULL);
	memcpy(arp.sender_mac, peer_mac, 6);
	vnic_arp_build(bytes, 28, &arp);
	peer_send(&peer, VNIC_ETHERTYPE_ARP, bytes, 28);
	assert_int_equal(peer_counter(&peer, VNIC_STACK_ARP_REPLIES), 1);
	/* It announces 10.9.1.2 as its own: no answer, no conflict. */
	memcpy(arp.sender_ip, arp.target_ip, 4);
	vnic_arp_build(bytes, 28, &arp);
	peer_send(&peer, VNIC_ETHERTYPE_ARP, bytes, 28);
	assert_int_equal(peer_counter(&peer, VNIC_STACK_DROP_UNWANTED), 1);
	peer_clear(&peer);
	/* Any solicited-node group is listened to. */
	vnic_mac_parse("33:33:ff:00:00:77", peer.to_mac, NULL);
	length = peer_ndp(packet, "fd09::1", "ff02::1:ff00:77", 135, 0, &ndp);
	assert_verdict(&peer, packet, length, "neighbor_advertisements");
	assert_int_equal(peer_answer(&peer, 0)->ip[44], 0x40); /* solicited, not override */
	length = peer_ndp(packet, "fd09::77", "ff02::1", 136, VNIC_NDP_OVERRIDE, &ndp);
	assert_verdict(&peer, packet, length, "drop_unwanted");
	assert_int_equal(peer.conflicts, 0);
	/* Prefixes are not announced. */
	peer_clear(&peer);
	vnic_stack_link_up(peer.stack, peer.now_ns);
	peer_wait(&peer, 100 * SECOND_NS);
	assert_int_equal(peer.count, 10); /* of the three addresses, as without prefixes */
	peer_end(&peer);
}

static void answers_for_the_world(void **state)
{
	static const char *const texts[] = {"0.0.0.0/0", "::/0"};
	struct peer peer;
	size_t length;

	(void)state;
	peer_begin(&peer, VNIC_LAYER_IP, NULL);
	for (size_t i = 0; i < 2; i++) {
		struct vnic_prefix prefix = prefix_of(texts[i]);

		assert_int_equal(vnic_stack_add_prefix(peer.stack, &prefix, NULL), 0);
	}
	length = peer_echo(packet, PEER4, "192.0.2.200", 1);
	assert_verdict(&peer, packet, length, "echo_replies");
	length = peer_echo(packet, PEER6, "2001:db8::1", 1);
	assert_verdict(&peer, packet, length, "echo_replies");
	length = peer_echo(packet, PEER4, "127.0.0.1", 1);
	assert_verdict(&peer, packet, length, "drop_not_ours");
	length = peer_echo(packet, PEER4, "255.255.255.255", 1);
	assert_verdict(&peer, packet, length, "drop_not_answerable");
	length = peer_echo(packet, PEER4, "239.1.2.3", 1);
	assert_verdict(&peer, packet, length, "drop_not_ours");
	peer_end(&peer);
}

static void holds_1024_addresses(void **state)
{
	struct vnic_prefix prefix = prefix_of("10.0.0.1/8");
	struct vnic_error error;
	struct peer peer;
	char text[64];

	(void)state;
	peer_begin(&peer, VNIC_LAYER_IP, NULL); /* has 3 */
	for (unsigned i = 0; i < VNIC_STACK_ADDRESSES - 3; i++) {
		snprintf(text, sizeof(text), i % 2 ? "fd00::%x:1/64" : "10.1.%u.7/24",
			 i % 2 ? i : i / 2);
		if (i / 2 > 255 && i % 2 == 0)
			snprintf(text, sizeof(text), "10.2.%u.7/24", i / 2 - 256);
		peer_add(&peer, text);
	}
	assert_int_equal(vnic_stack_add_address(peer.stack, &prefix, &error), -ENOSPC);
	assert_int_equal(error.cause, VNIC_CAUSE_LIMIT);
	assert_int_equal(vnic_stack_add_prefix(peer.stack, &prefix, &error), -ENOSPC);
	assert_int_equal(vnic_stack_except(peer.stack, &prefix.address, &error), -ENOSPC);
	peer_add(&peer, text); /* one that it has is no error, even then */
	for (unsigned i = 0; i < VNIC_STACK_ADDRESSES - 3; i++) {
		struct vnic_address address;

		snprintf(text, sizeof(text), i % 2 ? "fd00::%x:1" : "10.1.%u.7", i % 2 ? i : i / 2);
		if (i / 2 > 255 && i % 2 == 0)
			snprintf(text, sizeof(text), "10.2.%u.7", i / 2 - 256);
		address = peer_address(text);
		assert_true(vnic_stack_has(peer.stack, &address));
		address.bytes[address.family == VNIC_IPV4 ? 3 : 15] ^= 0x80;
		assert_false(vnic_stack_has(peer.stack, &address));
	}
	peer_end(&peer);
}

static void names_its_counters(void **state)
{
	struct peer peer;

	(void)state;
	for (unsigned i = 0; i < VNIC_STACK_COUNTERS; i++) {
		const char *name = vnic_stack_counter_name(i);

		assert_non_null(name);
		assert_int_equal(strspn(name, "abcdefghijklmnopqrstuvwxyz_"), strlen(name));
		/* A drop is named so, and nothing else is. */
		assert_int_equal(strncmp(name, "drop_", 5) == 0, i >= VNIC_STACK_DROP_MALFORMED);
		for (unsigned k = 0; k < i; k++)
			assert_string_not_equal(name, vnic_stack_counter_name(k));
	}
	assert_null(vnic_stack_counter_name(VNIC_STACK_COUNTERS));
	assert_null(vnic_stack_counter_name(-1));
	peer_begin(&peer, VNIC_LAYER_IP, NULL);
	assert_int_equal(vnic_stack_counter(peer.stack, VNIC_STACK_COUNTERS), 0);
	peer_end(&peer);
}

/* Hours without a packet cost nothing and change nothing; a clock that goes back does no harm. */
static void idles(void **state)
{
	struct peer peer;
	size_t length;

	(void)state;
	peer_begin(&peer, VNIC_LAYER_ETHERNET, NULL);
	assert_true(vnic_stack_advance(peer.stack, peer.now_ns) == UINT64_MAX);
	for (unsigned hour = 0; hour < 1000; hour++) {
		peer.now_ns += 3600 * SECOND_NS;
		assert_true(vnic_stack_advance(peer.stack, peer.now_ns) == UINT64_MAX);
	}
	assert_int_equal(peer.count, 0);
	length = peer_udp(packet, PEER4, STACK4, 10);
	assert_verdict(&peer, packet, length, "unreachables");
	peer.now_ns = 5;
	length = peer_echo(packet, PEER4, STACK4, 10);
	assert_verdict(&peer, packet, length, "echo_replies");
	length = peer_udp(packet, PEER4, STACK4, 10);
	assert_verdict(&peer, packet, length, "unreachables");
	peer.now_ns = UINT64_MAX - 1;
	assert_verdict(&peer, packet, length, "unreachables");
	peer_end(&peer);
}

/* A million packets of noise, each in its one counter; the peer checks what comes out. */
static void survives_noise(void **state)
{
	static const char *const from[] = {PEER4, PEER6, "fe80::1"};
	static const char *const to[] = {STACK4, STACK6, STACK6_LINK};
	struct vnic_tcp tcp = {.source_port = 1, .destination_port = 2, .flags = VNIC_TCP_SYN};

	(void)state;
	for (uint64_t seed = 1; seed <= 4; seed++) {
		uint64_t random = seed;
		struct peer peer;

		print_message("noise with seed %u\n", (unsigned)seed);
		peer_begin(&peer, seed % 2 ? VNIC_LAYER_IP : VNIC_LAYER_ETHERNET, NULL);
		vnic_stack_link_up(peer.stack, peer.now_ns);
		for (unsigned i = 0; i < 20000; i++) {
			uint64_t r = peer_random(&random);
			size_t pair = r % 3, length, changes = r >> 8 & 3;

			r >>= 16;
			switch (r % 3) {
			case 0:
				length = peer_echo(packet, from[pair], to[pair], r >> 4 & 255);
				break;
			case 1:
				length = peer_udp(packet, from[pair], to[pair], r >> 4 & 255);
				break;
			default:
				length = peer_tcp(packet, from[pair], to[pair], &tcp, r >> 4 & 255);
			}
			while (changes-- > 0) {
				r = peer_random(&random);
				packet[r % length] = (uint8_t)(r >> 32);
			}
			if ((r >> 40) % 8 == 0)
				length = (r >> 44) % (length + 1);
			peer_send_ip(&peer, packet, length);
			if (i % 64 == 0) {
				peer_wait(&peer, SECOND_NS);
				peer_clear(&peer);
			}
		}
		assert_true(peer_counter(&peer, VNIC_STACK_ECHO_REPLIES) > 1000);
		peer_end(&peer);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(refuses_wrong_options),
		cmocka_unit_test(refuses_wrong_addresses),
		cmocka_unit_test(needs_an_mtu_for_ipv6),
		cmocka_unit_test(answers_for_prefixes),
		cmocka_unit_test(yields_within_prefixes),
		cmocka_unit_test(answers_for_the_world),
		cmocka_unit_test(holds_1024_addresses),
		cmocka_unit_test(names_its_counters),
		cmocka_unit_test(idles),
		cmocka_unit_test(survives_noise),
	};

	return cmocka_run_group_tests_name("stack", tests, NULL, NULL);
}
