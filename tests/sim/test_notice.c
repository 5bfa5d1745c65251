/* SPDX-License-Identifier: MIT */
/* Theory of operation: ICMP errors about what endpoints sent, true and forged, and path MTUs. */
#include <errno.h>
#include <stdio.h>

#include "inbox.h"

#define ROUTER4 "192.0.2.254"
#define ROUTER6 "2001:db8::254"
#define FAR4 "192.0.2.1"
#define FAR6 "2001:db8::1"
#define MINUTE_NS (60 * SECOND_NS)

static uint8_t packet[PACKET_BYTES_MAX];
static uint8_t quoted[PACKET_BYTES_MAX];

/* Give the stack an error about quoted. */
static const char *send_error(struct peer *peer, bool ipv4, uint8_t type, uint8_t code,
			      uint32_t rest, size_t quoted_bytes)
{
	struct vnic_address from = peer_address(ROUTER6), to = peer_address(STACK6);
	struct vnic_icmp icmp = {.type = type, .code = code, .rest = rest};
	uint8_t *message = packet + (ipv4 ? 20 : 40);
	size_t length = VNIC_ICMP_HEADER_BYTES + quoted_bytes;

	memcpy(message + VNIC_ICMP_HEADER_BYTES, quoted, quoted_bytes);
	if (ipv4)
		vnic_icmp_build(message, length, &icmp, quoted_bytes);
	else
		vnic_icmpv6_build(message, length, &from, &to, &icmp, quoted_bytes);
	return peer_send_ip(peer, packet,
			    peer_ip(packet, ipv4 ? ROUTER4 : ROUTER6, ipv4 ? STACK4 : STACK6,
				    ipv4 ? VNIC_PROTOCOL_ICMP : VNIC_PROTOCOL_ICMPV6, NULL,
				    length));
}

/* Send a datagram to be quoted. @return its length */
static size_t quote(struct peer *peer, struct inbox *inbox, const char *remote, size_t length)
{
	const struct peer_answer *answer;

	peer_clear(peer);
	assert_int_equal(inbox_send(inbox, remote, 7, length, 0), 1);
	answer = peer_answer(peer, 0);
	memcpy(quoted, answer->ip, answer->ip_length);
	return answer->ip_length;
}

static void plain(struct vnic_stack_options *options)
{
	options->plain = true;
}

static void tells_the_endpoint(void **state)
{
	static const struct {
		bool ipv4;
		uint8_t type, code;
		int error; /* 0: not told */
	} rows[] = {
		{true, 3, 0, -ENETUNREACH},
		{true, 3, 1, -EHOSTUNREACH},
		{true, 3, 2, -EPROTO},
		{true, 3, 3, -ECONNREFUSED},
		{true, 3, 5, -EHOSTUNREACH},
		{true, 3, 6, -ENETUNREACH},
		{true, 3, 7, -EHOSTUNREACH},
		{true, 3, 8, -EHOSTUNREACH},
		{true, 3, 9, -EACCES},
		{true, 3, 10, -EACCES},
		{true, 3, 11, -ENETUNREACH},
		{true, 3, 12, -EHOSTUNREACH},
		{true, 3, 13, -EACCES},
		{true, 3, 14, -EHOSTUNREACH},
		{true, 3, 15, -EHOSTUNREACH},
		{true, 3, 16, 0},
		{true, 3, 255, 0},
		{true, 12, 0, -EPROTO},
		{true, 11, 0, 0},
		{true, 11, 1, 0},
		{true, 4, 0, 0},
		{true, 5, 1, 0},
		{false, 1, 0, -ENETUNREACH},
		{false, 1, 1, -EACCES},
		{false, 1, 2, -EHOSTUNREACH},
		{false, 1, 3, -EHOSTUNREACH},
		{false, 1, 4, -ECONNREFUSED},
		{false, 1, 5, -EACCES},
		{false, 1, 6, -EACCES},
		{false, 1, 7, -EPROTO},
		{false, 1, 8, 0},
		{false, 3, 0, 0},
		{false, 4, 0, -EPROTO},
		{false, 4, 1, -EPROTO},
		{false, 5, 0, 0},
		{false, 127, 0, 0},
	};
	struct inbox open, connected[2];
	struct peer peer;

	(void)state;
	peer_begin(&peer, VNIC_LAYER_IP, plain);
	inbox_open(&open, &peer, NULL, 5000, NULL, 0);
	inbox_open(&connected[0], &peer, NULL, 5001, FAR4, 7);
	inbox_open(&connected[1], &peer, NULL, 5001, FAR6, 7);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct inbox *inboxes[] = {&open, &connected[rows[i].ipv4 ? 0 : 1]};
		const char *remote = rows[i].ipv4 ? FAR4 : FAR6;

		for (unsigned k = 0; k < 2; k++) {
			size_t length = quote(&peer, inboxes[k], remote, 100);
			const char *counter = send_error(&peer, rows[i].ipv4, rows[i].type,
							 rows[i].code, 0, length);
			const struct vnic_datagram_error *error = &inboxes[k]->error;
			struct vnic_address far = peer_address(remote);

			if (strcmp(counter, rows[i].error ? "notices" : "drop_unwanted") != 0 ||
			    inboxes[k]->errors != (rows[i].error ? 1 : 0))
				fail_msg("%u/%u: %s, %u errors", rows[i].type, rows[i].code,
					 counter, inboxes[k]->errors);
			if (rows[i].error) {
				assert_int_equal(error->code, rows[i].error);
				assert_int_equal(error->flow.local_port, 5000 + k);
				assert_int_equal(error->flow.remote_port, 7);
				assert_true(vnic_address_equal(&error->flow.remote_address, &far));
				assert_int_equal(error->mtu_bytes, 0);
			}
			inbox_clear(inboxes[k]);
		}
	}
	inbox_close(&open);
	inbox_close(&connected[0]);
	inbox_close(&connected[1]);
	peer_end(&peer);
}

/* However little is quoted, whatever stands in it. */
static void needs_ports(void **state)
{
	struct inbox inbox;
	struct peer peer;

	(void)state;
	peer_begin(&peer, VNIC_LAYER_ETHERNET, plain);
	inbox_open(&inbox, &peer, NULL, 5000, NULL, 0);
	/* Sent by way of the Ethernet, so what is quoted is made here. */
	for (unsigned i = 0; i < 2; i++) {
		bool ipv4 = i == 0;
		size_t length = inbox_packet(quoted, ipv4 ? STACK4 : STACK6, 5000,
					     ipv4 ? FAR4 : FAR6, 7, 20);
		size_t least = ipv4 ? 28 : 48;

		for (size_t cut = 0; cut <= length; cut++) {
			const char *counter =
				send_error(&peer, ipv4, ipv4 ? 3 : 1, ipv4 ? 3 : 4, 0, cut);

			if (strcmp(counter, cut < least ? "drop_notice" : "notices") != 0)
				fail_msg("%zu bytes quoted: %s", cut, counter);
		}
		assert_int_equal(inbox.errors, length - least + 1);
		inbox_clear(&inbox);
	}
	/* To everybody's Ethernet address, and to all hosts. */
	memset(peer.to_mac, 0xff, 6);
	assert_string_equal(send_error(&peer, false, 1, 4, 0, 68), "drop_notice");
	assert_string_equal(send_error(&peer, true, 3, 3, 0, 48), "drop_not_answerable");
	assert_int_equal(inbox.errors, 0);
	inbox_close(&inbox);
	peer_end(&peer);
}

static void reads_headers_between(void **state)
{
	static const uint8_t options[8] = {VNIC_PROTOCOL_UDP, 0, 1, 4, 0, 0, 0, 0};
	static const uint8_t first[8] = {VNIC_PROTOCOL_UDP, 0, 0, 1, 0, 0, 0, 1};
	static const uint8_t later[8] = {VNIC_PROTOCOL_UDP, 0, 0, 8, 0, 0, 0, 1};
	struct inbox inbox;
	struct peer peer;
	size_t length;

	(void)state;
	peer_begin(&peer, VNIC_LAYER_IP, plain);
	inbox_open(&inbox, &peer, NULL, 5000, NULL, 0);
	/* IPv4 options. */
	length = quote(&peer, &inbox, FAR4, 30);
	memmove(quoted + 24, quoted + 20, length - 20);
	memcpy(quoted + 20, "\x94\4\0\0", 4);
	quoted[0] = 0x46;
	assert_string_equal(send_error(&peer, true, 3, 3, 0, length + 4), "notices");
	/* A first and a later fragment. */
	quoted[6] = 0x20;
	assert_string_equal(send_error(&peer, true, 3, 3, 0, length + 4), "notices");
	quoted[7] = 1;
	assert_string_equal(send_error(&peer, true, 3, 3, 0, length + 4), "drop_notice");
	/* The same in IPv6. */
	length = quote(&peer, &inbox, FAR6, 30);
	memmove(quoted + 48, quoted + 40, length - 40);
	quoted[6] = VNIC_PROTOCOL_DESTINATION;
	memcpy(quoted + 40, options, 8);
	assert_string_equal(send_error(&peer, false, 1, 4, 0, length + 8), "notices");
	quoted[6] = VNIC_PROTOCOL_FRAGMENT;
	memcpy(quoted + 40, first, 8);
	assert_string_equal(send_error(&peer, false, 1, 4, 0, length + 8), "notices");
	memcpy(quoted + 40, later, 8);
	assert_string_equal(send_error(&peer, false, 1, 4, 0, length + 8), "drop_notice");
	/* Longer than anybody's chain. */
	length = quote(&peer, &inbox, FAR6, 30);
	memmove(quoted + 40 + 72, quoted + 40, length - 40);
	quoted[6] = VNIC_PROTOCOL_DESTINATION;
	for (unsigned i = 0; i < 9; i++) {
		memcpy(quoted + 40 + (size_t)i * 8, options, 8);
		quoted[40 + i * 8] = i < 8 ? VNIC_PROTOCOL_DESTINATION : VNIC_PROTOCOL_UDP;
	}
	assert_string_equal(send_error(&peer, false, 1, 4, 0, length + 72), "drop_notice");
	assert_int_equal(inbox.errors, 4);
	inbox_close(&inbox);
	peer_end(&peer);
}

static void refuses_forgeries(void **state)
{
	static const struct {
		const char *what;
		size_t at4, at6; /* where the byte is in what is quoted */
	} rows[] = {
		{"version", 0, 0},       {"protocol", 9, 6},   {"source", 15, 23},
		{"destination", 19, 39}, {"our port", 21, 41}, {"the other port", 23, 43},
	};
	struct inbox inbox[2];
	struct peer peer;

	(void)state;
	peer_begin(&peer, VNIC_LAYER_IP, plain);
	peer_add(&peer, "10.0.0.3/24"); /* also ours, but not the one that sent */
	inbox_open(&inbox[0], &peer, NULL, 5000, FAR4, 7);
	inbox_open(&inbox[1], &peer, NULL, 5000, FAR6, 7);
	for (unsigned family = 0; family < 2; family++) {
		bool ipv4 = family == 0;
		size_t length = quote(&peer, &inbox[family], NULL, 30);

		for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
			size_t at = ipv4 ? rows[i].at4 : rows[i].at6;
			const char *counter;

			quoted[at] ^= 0x10;
			counter = send_error(&peer, ipv4, ipv4 ? 3 : 1, ipv4 ? 3 : 4, 0, length);
			quoted[at] ^= 0x10;
			if (strcmp(counter, "drop_notice") != 0)
				fail_msg("another %s: %s", rows[i].what, counter);
		}
		assert_int_equal(inbox[family].errors, 0);
		/* In TCP there is no such conversation. */
		quoted[ipv4 ? 9 : 6] = VNIC_PROTOCOL_TCP;
		assert_string_equal(send_error(&peer, ipv4, ipv4 ? 3 : 1, ipv4 ? 3 : 4, 0, length),
				    "drop_notice");
		/* Nobody is there any more. */
		length = quote(&peer, &inbox[family], NULL, 30);
		inbox_close(&inbox[family]);
		assert_string_equal(send_error(&peer, ipv4, ipv4 ? 3 : 1, ipv4 ? 3 : 4, 0, length),
				    "drop_notice");
	}
	peer_end(&peer);
}

static unsigned path_mtu(const struct peer *peer, const char *remote)
{
	struct vnic_address address = peer_address(remote);

	/* What a caller left behind the address does not matter. */
	if (address.family == VNIC_IPV4)
		memset(address.bytes + 4, 0xaa, 12);
	return vnic_stack_path_mtu(peer->stack, &address);
}

static void learns_path_mtu(void **state)
{
	static const struct {
		bool ipv4;
		size_t length; /* of the packet */
		uint32_t told;
		unsigned mtu; /* 0: it is not believed */
	} rows[] = {
		{true, 1500, 1400, 1400},
		{true, 1500, 1499, 1499},
		{true, 1500, 1500, 0},
		{true, 1400, 1400, 0},
		{true, 1500, 9000, 0},
		{true, 1500, 553, 553},
		{true, 1500, 68, 552},
		{true, 1500, 1, 552},
		{true, 1500, 0x12340578, 1400},
		{true, 1500, 0, 1492},
		{true, 1492, 0, 1006},
		{true, 1006, 0, 552},
		{true, 100, 0, 552},
		{false, 1500, 1400, 1400},
		{false, 1500, 1280, 1280},
		{false, 1500, 1279, 0},
		{false, 1500, 0, 0},
		{false, 1500, 1500, 0},
		{false, 1281, 1280, 1280},
		{false, 1280, 1280, 0},
		{false, 1500, 0x80000578, 0},
	};
	struct inbox inbox;
	struct peer peer;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		bool ipv4 = rows[i].ipv4;
		const char *remote = ipv4 ? FAR4 : FAR6, *counter;
		unsigned expected = rows[i].mtu ? rows[i].mtu : 1500;
		size_t length;

		peer_begin(&peer, VNIC_LAYER_IP, plain);
		inbox_open(&inbox, &peer, NULL, 5000, NULL, 0);
		length = quote(&peer, &inbox, remote, rows[i].length - (ipv4 ? 28 : 48));
		assert_int_equal(length, rows[i].length);
		assert_int_equal(path_mtu(&peer, remote), 1500);
		counter = send_error(&peer, ipv4, ipv4 ? 3 : 2, ipv4 ? 4 : 0, rows[i].told, 100);
		if (strcmp(counter, rows[i].mtu ? "notices" : "drop_notice") != 0 ||
		    path_mtu(&peer, remote) != expected)
			fail_msg("row %zu: %s, %u", i, counter, path_mtu(&peer, remote));
		if (rows[i].mtu) {
			assert_int_equal(inbox.error.code, -EMSGSIZE);
			assert_int_equal(inbox.error.mtu_bytes, expected);
		}
		assert_int_equal(path_mtu(&peer, "198.51.100.1"), 1500);
		/* For ten minutes. */
		peer_wait(&peer, 10 * MINUTE_NS - 1);
		assert_int_equal(path_mtu(&peer, remote), expected);
		peer_wait(&peer, 1);
		assert_int_equal(path_mtu(&peer, remote), 1500);
		inbox_close(&inbox);
		peer_end(&peer);
	}
}

static void small_link(struct vnic_stack_options *options)
{
	options->mtu_bytes = 400;
	options->plain = true;
}

/* It only becomes smaller, is used for whatever goes there, and never exceeds the link's. */
static void uses_path_mtu(void **state)
{
	struct inbox inbox, whole;
	struct peer peer;
	struct vnic_endpoint_options options;
	uint8_t *joined = malloc(PACKET_BYTES_MAX);

	(void)state;
	assert_non_null(joined);
	peer_begin(&peer, VNIC_LAYER_IP, plain);
	inbox_open(&inbox, &peer, NULL, 5000, NULL, 0);
	memset(&whole, 0, sizeof(whole));
	options = inbox_options(&whole, NULL, 5001, FAR4, 7);
	options.dont_fragment = true;
	assert_int_equal(vnic_endpoint_open(peer.stack, &options, &whole.endpoint, NULL), 0);
	for (unsigned i = 0; i < 2; i++) {
		const char *remote = i == 0 ? FAR4 : FAR6;
		size_t headers = i == 0 ? 28 : 48;
		size_t length = quote(&peer, &inbox, remote, 1500 - headers);

		send_error(&peer, i == 0, i == 0 ? 3 : 2, i == 0 ? 4 : 0, 1300, length);
		send_error(&peer, i == 0, i == 0 ? 3 : 2, i == 0 ? 4 : 0, 1400, length);
		assert_int_equal(path_mtu(&peer, remote), 1300);
		quote(&peer, &inbox, remote, 1300 - headers);
		assert_int_equal(peer.count, 1);
		quote(&peer, &inbox, remote, 1301 - headers);
		assert_int_equal(peer.count, 2);
		for (size_t n = 0; n < peer.count; n++)
			assert_in_range(peer_answer(&peer, n)->ip_length, 1, 1300);
		assert_int_equal(peer_join(&peer, joined), 1301);
		/* Replies to pings too. */
		peer_clear(&peer);
		length = peer_echo(packet, remote, i == 0 ? STACK4 : STACK6, 1400 - headers);
		assert_verdict(&peer, packet, length, "echo_replies");
		assert_int_equal(peer.count, 2);
		assert_int_equal(peer_join(&peer, joined), 1400);
		/* Super-datagrams are not fragmented. */
		assert_int_equal(inbox_send(&inbox, remote, 7, 5000, (uint16_t)(1301 - headers)),
				 -EMSGSIZE);
		assert_int_equal(inbox_send(&inbox, remote, 7, 5000, (uint16_t)(1300 - headers)),
				 1);
	}
	assert_int_equal(inbox_send(&whole, NULL, 0, 1273, 0), -EMSGSIZE);
	peer_clear(&peer);
	assert_int_equal(inbox_send(&whole, NULL, 0, 1272, 0), 1);
	assert_int_equal(peer_answer(&peer, 0)->ip[6], 0x40);
	inbox_close(&whole);
	inbox_close(&inbox);
	peer_end(&peer);

	peer_begin(&peer, VNIC_LAYER_IP, small_link);
	inbox_open(&inbox, &peer, NULL, 5000, NULL, 0);
	send_error(&peer, true, 3, 4, 100, quote(&peer, &inbox, FAR4, 300));
	assert_int_equal(inbox.errors, 1);
	assert_int_equal(path_mtu(&peer, FAR4), 400);
	inbox_close(&inbox);
	peer_end(&peer);
	free(joined);
}

static void few_paths(struct vnic_stack_options *options)
{
	options->paths = 4;
	options->plain = true;
}

static void paths_are_bounded(void **state)
{
	char address[32];
	struct inbox inbox;
	struct peer peer;
	unsigned known;

	(void)state;
	peer_begin(&peer, VNIC_LAYER_IP, few_paths);
	inbox_open(&inbox, &peer, NULL, 5000, NULL, 0);
	for (unsigned i = 0; i < 200; i++) {
		snprintf(address, sizeof(address), "192.0.2.%u", i + 1);
		send_error(&peer, true, 3, 4, 1000 + i, quote(&peer, &inbox, address, 1472));
		assert_int_equal(path_mtu(&peer, address), 1000 + i);
		known = 0;
		for (unsigned k = 0; k <= i; k++) {
			unsigned mtu;

			snprintf(address, sizeof(address), "192.0.2.%u", k + 1);
			mtu = path_mtu(&peer, address);
			if (mtu != 1500)
				assert_int_equal(mtu, 1000 + k);
			known += mtu != 1500;
		}
		assert_int_equal(known, i < 4 ? i + 1 : 4);
	}
	inbox_close(&inbox);
	peer_end(&peer);
}

static void close_it(struct inbox *inbox)
{
	vnic_endpoint_close(inbox->endpoint);
}

static void closes_in_its_callback(void **state)
{
	struct vnic_endpoint_options options;
	struct inbox inbox;
	struct peer peer;
	size_t length;

	(void)state;
	peer_begin(&peer, VNIC_LAYER_IP, plain);
	inbox_open(&inbox, &peer, NULL, 5000, NULL, 0);
	inbox.on_error = close_it;
	length = quote(&peer, &inbox, FAR4, 30);
	assert_string_equal(send_error(&peer, true, 3, 3, 0, length), "notices");
	assert_string_equal(send_error(&peer, true, 3, 3, 0, length), "drop_notice");
	assert_int_equal(inbox.errors, 1);
	assert_int_equal(peer_counter(&peer, VNIC_STACK_ENDPOINTS), 0);
	/* Nobody has to listen to errors. */
	options = inbox_options(&inbox, NULL, 5000, NULL, 0);
	options.error = NULL;
	assert_int_equal(vnic_endpoint_open(peer.stack, &options, &inbox.endpoint, NULL), 0);
	assert_string_equal(send_error(&peer, true, 3, 3, 0, length), "notices");
	inbox_close(&inbox);
	peer_end(&peer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tells_the_endpoint),    cmocka_unit_test(needs_ports),
		cmocka_unit_test(reads_headers_between), cmocka_unit_test(refuses_forgeries),
		cmocka_unit_test(learns_path_mtu),       cmocka_unit_test(uses_path_mtu),
		cmocka_unit_test(paths_are_bounded),     cmocka_unit_test(closes_in_its_callback),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
