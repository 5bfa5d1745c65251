/* SPDX-License-Identifier: MIT */
/* Theory of operation: UDP endpoints, what they are given and what they send. */
#include <errno.h>
#include <stdio.h>

#include "check.h"
#include "inbox.h"

#define FAR4 "192.0.2.1"
#define FAR6 "2001:db8::1"

static uint8_t packet[PACKET_BYTES_MAX];

static void plain(struct vnic_stack_options *options)
{
	options->plain = true;
}

/* A datagram from the peer's address. @return the counter that it ended in */
static const char *give(struct peer *peer, const char *source, uint16_t source_port,
			const char *destination, uint16_t port, size_t length)
{
	return peer_send_ip(peer, packet,
			    inbox_packet(packet, source, source_port, destination, port, length));
}

static void most_exact_gets_it(void **state)
{
	static const struct {
		const char *address;
		uint16_t port;
		bool any_port;
		const char *remote;
	} bound[] = {
		{STACK4, 53, false, PEER4}, {STACK4, 53, false, NULL}, {NULL, 53, false, NULL},
		{STACK4, 0, true, NULL},    {NULL, 0, true, NULL},
	};
	static const struct {
		const char *source;
		uint16_t source_port;
		const char *destination;
		uint16_t port;
		int who;
	} rows[] = {
		{PEER4, 7, STACK4, 53, 0},      {PEER4, 8, STACK4, 53, 1},
		{"10.0.0.9", 7, STACK4, 53, 1}, {PEER4, 7, "10.0.0.3", 53, 2},
		{PEER6, 7, STACK6, 53, 2},      {PEER4, 7, STACK4, 54, 3},
		{PEER4, 7, "10.0.0.3", 54, 4},  {PEER6, 7, STACK6, 54, 4},
		{PEER4, 7, "10.0.0.3", 0, -1},  {PEER4, 0, STACK4, 53, 1},
	};
	struct inbox inboxes[5];
	struct peer peer;

	(void)state;
	peer_begin(&peer, VNIC_LAYER_IP, NULL);
	peer_add(&peer, "10.0.0.3/24");
	for (unsigned i = 0; i < 5; i++) {
		struct vnic_endpoint_options options =
			inbox_options(&inboxes[i], bound[i].address, bound[i].port, bound[i].remote,
				      bound[i].remote ? 7 : 0);

		memset(&inboxes[i], 0, sizeof(inboxes[i]));
		options.any_port = bound[i].any_port;
		assert_int_equal(
			vnic_endpoint_open(peer.stack, &options, &inboxes[i].endpoint, NULL), 0);
		assert_int_equal(peer_counter(&peer, VNIC_STACK_ENDPOINTS), i + 1);
	}
	for (unsigned gone = 0; gone <= 5; gone++) {
		for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
			const char *counter = give(&peer, rows[i].source, rows[i].source_port,
						   rows[i].destination, rows[i].port, 30);
			/* Without it the next that fits: they stand in that order. */
			int who = rows[i].who;

			if (who >= 0 && who < (int)gone) {
				bool first = strcmp(rows[i].destination, STACK4) == 0;

				for (who = (int)gone; who < 5; who++)
					if ((who == 1 && first && rows[i].port == 53) ||
					    (who == 2 && rows[i].port == 53) ||
					    (who == 3 && first) || who == 4)
						break;
			}
			if (who < 0 || who == 5) {
				assert_string_equal(counter, "unreachables");
				continue;
			}
			if (strcmp(counter, "datagrams") != 0 || inboxes[who].count != 1)
				fail_msg("row %zu, from %u on: %s, and not %d has it", i, gone,
					 counter, who);
			inbox_clear(&inboxes[who]);
		}
		if (gone < 5)
			inbox_close(&inboxes[gone]);
		peer_wait(&peer, SECOND_NS);
	}
	assert_int_equal(peer_counter(&peer, VNIC_STACK_ENDPOINTS), 0);
	peer_end(&peer);
}

static void two_endpoints(struct vnic_stack_options *options)
{
	options->udp_endpoints = 2;
}

static void refuses_to_open(void **state)
{
	static const struct {
		const char *address;
		uint16_t port;
		const char *remote;
		uint16_t remote_port;
		bool any_port;
		int code;
		enum vnic_cause cause;
	} rows[] = {
		{NULL, 53, NULL, 0, true, -EINVAL, VNIC_CAUSE_ARGUMENT},
		{NULL, 0, PEER4, 7, true, -EINVAL, VNIC_CAUSE_ARGUMENT},
		{NULL, 0, PEER4, 0, false, -EINVAL, VNIC_CAUSE_ARGUMENT},
		{NULL, 0, NULL, 7, false, -EINVAL, VNIC_CAUSE_ARGUMENT},
		{STACK6, 0, PEER4, 7, false, -EINVAL, VNIC_CAUSE_ARGUMENT},
		{NULL, 0, STACK4, 7, false, -EINVAL, VNIC_CAUSE_ARGUMENT},
		{NULL, 0, "0.0.0.0", 7, false, -EINVAL, VNIC_CAUSE_ARGUMENT},
		{NULL, 0, "0.1.2.3", 7, false, -EINVAL, VNIC_CAUSE_ARGUMENT},
		{NULL, 0, "127.0.0.1", 7, false, -EINVAL, VNIC_CAUSE_ARGUMENT},
		{NULL, 0, "::1", 7, false, -EINVAL, VNIC_CAUSE_ARGUMENT},
		{"10.0.0.9", 53, NULL, 0, false, -EADDRNOTAVAIL, VNIC_CAUSE_ADDRESS_INVALID},
		{"10.0.0.255", 53, NULL, 0, false, -EADDRNOTAVAIL, VNIC_CAUSE_ADDRESS_INVALID},
		{"ff02::1", 53, NULL, 0, false, -EADDRNOTAVAIL, VNIC_CAUSE_ADDRESS_INVALID},
		{STACK4, 53, NULL, 0, false, -EADDRINUSE, VNIC_CAUSE_ADDRESS_TAKEN},
	};
	struct vnic_endpoint_options options;
	struct vnic_endpoint *endpoint = NULL;
	struct vnic_error error;
	struct inbox inbox[3];
	struct peer peer;

	(void)state;
	peer_begin(&peer, VNIC_LAYER_IP, two_endpoints);
	inbox_open(&inbox[0], &peer, STACK4, 53, NULL, 0);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int rc;

		options = inbox_options(&inbox[1], rows[i].address, rows[i].port, rows[i].remote,
					rows[i].remote_port);
		options.any_port = rows[i].any_port;
		rc = vnic_endpoint_open(peer.stack, &options, &endpoint, &error);
		if (rc != rows[i].code || error.cause != rows[i].cause || endpoint)
			fail_msg("row %zu: %d, %s", i, rc, rc < 0 ? error.text : "");
	}
	options = inbox_options(&inbox[1], NULL, 54, NULL, 0);
	options.receive = NULL;
	assert_int_equal(vnic_endpoint_open(peer.stack, &options, &endpoint, &error), -EINVAL);
	/* None of these took a place. */
	inbox_open(&inbox[1], &peer, NULL, 53, NULL, 0);
	options.receive = inbox_options(&inbox[2], NULL, 0, NULL, 0).receive;
	assert_int_equal(vnic_endpoint_open(peer.stack, &options, &endpoint, &error), -ENOSPC);
	assert_int_equal(error.cause, VNIC_CAUSE_LIMIT);
	inbox_close(&inbox[0]);
	inbox_open(&inbox[2], &peer, STACK4, 53, NULL, 0);
	inbox_close(&inbox[1]);
	inbox_close(&inbox[2]);
	vnic_endpoint_close(NULL);
	peer_end(&peer);
}

static void many_endpoints(struct vnic_stack_options *options)
{
	options->udp_endpoints = 40000;
}

/* RFC 6056: from the dynamic range, none twice, and not one after the other from the same on. */
static void chooses_ports(void **state)
{
	static bool used[65536];
	struct vnic_endpoint_options options;
	struct vnic_endpoint *endpoint;
	const struct vnic_flow *flow;
	struct vnic_error error;
	uint16_t last = 0;
	struct inbox inbox;
	struct peer peer;
	unsigned far = 0;

	(void)state;
	memset(used, 0, sizeof(used));
	peer_begin(&peer, VNIC_LAYER_IP, many_endpoints);
	inbox_open(&inbox, &peer, STACK4, 40000, NULL, 0);
	used[40000] = true;
	options = inbox_options(&inbox, NULL, 0, NULL, 0);
	for (unsigned i = 0; i < 61000 - 32768 - 1; i++) {
		assert_int_equal(vnic_endpoint_open(peer.stack, &options, &endpoint, NULL), 0);
		flow = vnic_endpoint_flow(endpoint);
		assert_ptr_equal(vnic_endpoint_stack(endpoint), peer.stack);
		assert_in_range(flow->local_port, 32768, 60999);
		assert_false(used[flow->local_port]);
		used[flow->local_port] = true;
		if (i < 100)
			far += abs(flow->local_port - last) > 1000;
		last = flow->local_port;
	}
	assert_in_range(far, 50, 100);
	assert_int_equal(vnic_endpoint_open(peer.stack, &options, &endpoint, &error),
			 -EADDRNOTAVAIL);
	assert_int_equal(error.cause, VNIC_CAUSE_ADDRESS_INVALID);
	/* Connected ones may share a port. */
	for (uint16_t i = 1; i <= 100; i++) {
		options = inbox_options(&inbox, NULL, 0, PEER4, i);
		assert_int_equal(vnic_endpoint_open(peer.stack, &options, &endpoint, NULL), 0);
		flow = vnic_endpoint_flow(endpoint);
		assert_in_range(flow->local_port, 32768, 60999);
		assert_true(vnic_address_equal(&flow->local_address,
					       &(struct vnic_address){VNIC_IPV4, {10, 0, 0, 2}}));
		assert_int_equal(flow->remote_port, i);
	}
	inbox_close(&inbox);
	peer_end(&peer);
}

/* After its header was changed. */
static void sum_ipv4(uint8_t *ip)
{
	uint16_t sum;

	memset(ip + 10, 0, 2);
	sum = vnic_checksum(ip, VNIC_IPV4_HEADER_BYTES);
	ip[10] = (uint8_t)(sum >> 8);
	ip[11] = (uint8_t)sum;
}

static void receives(void **state)
{
	static const char *const ends[2][2] = {{PEER4, STACK4}, {PEER6, STACK6}};
	struct inbox inbox;
	struct peer peer;
	size_t length;

	(void)state;
	for (unsigned layer = 0; layer < 2; layer++) {
		peer_begin(&peer, layer ? VNIC_LAYER_ETHERNET : VNIC_LAYER_IP, NULL);
		inbox_open(&inbox, &peer, NULL, 5000, NULL, 0);
		for (unsigned i = 0; i < 2; i++) {
			struct vnic_address from = peer_address(ends[i][0]),
					    to = peer_address(ends[i][1]);
			size_t header = i == 0 ? 20 : 40;

			for (size_t bytes = 0; bytes < 1400; bytes += 77) {
				const struct vnic_datagram *got;

				inbox_clear(&inbox);
				length = inbox_packet(packet, ends[i][0], 7, ends[i][1], 5000,
						      bytes);
				/* TOS or traffic class 0xb9: EF, ECT(1) */
				if (i == 0) {
					packet[1] = 0xb9;
					sum_ipv4(packet);
				} else {
					packet[0] = 0x6b;
					packet[1] = 0x90;
				}
				assert_verdict(&peer, packet, length, "datagrams");
				got = inbox_letter(&inbox, 0);
				assert_int_equal(inbox.count, 1);
				assert_true(vnic_address_equal(&got->flow.local_address, &to));
				assert_true(vnic_address_equal(&got->flow.remote_address, &from));
				assert_int_equal(got->flow.local_port, 5000);
				assert_int_equal(got->flow.remote_port, 7);
				assert_int_equal(got->traffic_class, 0xb9);
				assert_int_equal(got->segment_bytes, 0);
				assert_int_equal(got->length_bytes, bytes);
				for (size_t k = 0; k < bytes; k++)
					assert_int_equal(got->payload[k], peer_data(k));
			}
			inbox_clear(&inbox);
			/* A wrong checksum, none, and one that somebody vouches for. */
			length = inbox_packet(packet, ends[i][0], 7, ends[i][1], 5000, 10);
			packet[header + 6] ^= 1;
			assert_verdict(&peer, packet, length, "drop_checksum");
			peer.flags = VNIC_PACKET_DATA_VALID;
			assert_verdict(&peer, packet, length, "datagrams");
			peer.flags = 0;
			memset(packet + header + 6, 0, 2);
			assert_verdict(&peer, packet, length,
				       i == 0 ? "datagrams" : "drop_checksum");
			/* A length that is less than is there, and one that is more. */
			packet[header + 5] = 8;
			peer.flags = VNIC_PACKET_DATA_VALID;
			inbox_clear(&inbox);
			assert_verdict(&peer, packet, length, "datagrams");
			assert_int_equal(inbox_letter(&inbox, 0)->length_bytes, 0);
			packet[header + 5] = 19;
			assert_verdict(&peer, packet, length, "drop_malformed");
			peer.flags = 0;
		}
		assert_int_equal(peer.count, 0);
		inbox_close(&inbox);
		peer_end(&peer);
	}
}

/* Give several packets in one call; each has memory of its own. */
static void give_burst(struct peer *peer, uint8_t (*bytes)[1600], const size_t *lengths,
		       unsigned count)
{
	struct vnic_packet packets[200];

	for (unsigned i = 0; i < count; i++) {
		packets[i] = (struct vnic_packet){
			.data = malloc(lengths[i]),
			.length_bytes = (uint32_t)lengths[i],
			.capacity_bytes = (uint32_t)lengths[i],
		};
		assert_non_null(packets[i].data);
		memcpy(packets[i].data, bytes[i], lengths[i]);
	}
	vnic_stack_receive(peer->stack, packets, count, peer->now_ns);
	for (unsigned i = 0; i < count; i++)
		free(packets[i].data);
	assert_null(check_counters(peer->stack));
}

static void hands_out_bursts(void **state)
{
	static uint8_t bytes[200][1600];
	static size_t lengths[200];
	struct inbox a, b;
	struct peer peer;

	(void)state;
	peer_begin(&peer, VNIC_LAYER_IP, NULL);
	inbox_open(&a, &peer, NULL, 5000, NULL, 0);
	inbox_open(&b, &peer, NULL, 5001, NULL, 0);
	for (unsigned i = 0; i < 150; i++)
		lengths[i] =
			inbox_packet(bytes[i], PEER4, (uint16_t)(100 + i % 3), STACK4, 5000, i * 5);
	give_burst(&peer, bytes, lengths, 150);
	assert_int_equal(a.count, 150);
	for (unsigned i = 0; i < 150; i++) {
		const struct vnic_datagram *got = inbox_letter(&a, i);

		assert_int_equal(a.letters[i].call, i / 64);
		assert_int_equal(got->length_bytes, i * 5);
		assert_int_equal(got->flow.remote_port, 100 + i % 3);
		for (unsigned k = 0; k < i * 5; k++)
			assert_int_equal(got->payload[k], peer_data(k));
	}
	/* Another endpoint's, with a ping between that ends nothing. */
	inbox_clear(&a);
	for (unsigned i = 0; i < 8; i++)
		lengths[i] =
			inbox_packet(bytes[i], PEER4, 7, STACK4, i < 3 || i == 7 ? 5000 : 5001, i);
	lengths[5] = peer_echo(bytes[5], PEER4, STACK4, 10);
	give_burst(&peer, bytes, lengths, 8);
	assert_int_equal(a.count, 4);
	assert_int_equal(a.letters[2].call, 0);
	assert_int_equal(a.letters[3].call, 1);
	assert_int_equal(b.count, 3);
	assert_int_equal(b.calls, 1);
	assert_int_equal(inbox_letter(&b, 2)->length_bytes, 6);
	/* A reassembled one is handed out before its memory is used again, in order. */
	inbox_clear(&a);
	for (unsigned i = 0; i < 6; i += 3) {
		lengths[i] = inbox_packet(bytes[i], PEER4, 7, STACK4, 5000, i);
		lengths[i + 1] = inbox_packet(bytes[i + 1], PEER4, 7, STACK4, 5000, 1000 + i);
		memcpy(bytes[i + 2], bytes[i + 1], 20);
		memcpy(bytes[i + 2] + 20, bytes[i + 1] + 20 + 800, lengths[i + 1] - 820);
		lengths[i + 2] = lengths[i + 1] - 800;
		lengths[i + 1] = 820;
		for (unsigned k = 1; k < 3; k++) {
			uint8_t *ip = bytes[i + k];

			ip[2] = (uint8_t)(lengths[i + k] >> 8);
			ip[3] = (uint8_t)lengths[i + k];
			ip[5] = (uint8_t)i;
			ip[6] = k == 1 ? 0x20 : 0;
			ip[7] = k == 1 ? 0 : 100;
			sum_ipv4(ip);
		}
	}
	give_burst(&peer, bytes, lengths, 6);
	assert_int_equal(a.count, 4);
	assert_int_equal(a.calls, 2);
	for (unsigned i = 0; i < 4; i++) {
		const struct vnic_datagram *got = inbox_letter(&a, i);

		assert_int_equal(got->length_bytes, i % 2 * 1000 + i / 2 * 3);
		for (size_t k = 0; k < got->length_bytes; k++)
			assert_int_equal(got->payload[k], peer_data(k));
	}
	inbox_close(&a);
	inbox_close(&b);
	peer_end(&peer);
}

static struct inbox opened;

static void open_for_asker(struct inbox *inbox, const struct vnic_datagram *datagrams,
			   unsigned count)
{
	struct vnic_endpoint_options options = inbox_options(&opened, STACK4, 5000, PEER4, 7);

	assert_int_equal(count, 1);
	assert_int_equal(datagrams[0].flow.remote_port, 7);
	assert_int_equal(vnic_endpoint_open(vnic_endpoint_stack(inbox->endpoint), &options,
					    &opened.endpoint, NULL),
			 0);
}

/* One that is opened for who asks knows the way there, and need not ask for it. */
static void opened_for_who_asks(void **state)
{
	struct inbox inbox;
	struct peer peer;
	size_t length;

	(void)state;
	peer_begin(&peer, VNIC_LAYER_ETHERNET, plain);
	inbox_open(&inbox, &peer, STACK4, 5000, NULL, 0);
	inbox.then = open_for_asker;
	length = inbox_packet(packet, PEER4, 7, STACK4, 5000, 10);
	assert_string_equal(peer_send_ip(&peer, packet, length), "datagrams");
	peer_clear(&peer);
	assert_int_equal(inbox_send(&opened, PEER4, 7, 20, 0), 1);
	peer_wait(&peer, 1);
	inbox_assert_sent(&peer, 0, STACK4, 5000, PEER4, 7, 20);
	assert_memory_equal(peer_answer(&peer, 0)->bytes, peer_mac, VNIC_MAC_BYTES);
	assert_int_equal(peer_counter(&peer, VNIC_STACK_SOLICITATIONS), 0);
	inbox_close(&opened);
	inbox_close(&inbox);
	peer_end(&peer);
}

static void takes_super_datagrams(void **state)
{
	struct inbox inbox;
	struct peer peer;
	size_t length;

	(void)state;
	peer_begin(&peer, VNIC_LAYER_IP, NULL);
	inbox_open(&inbox, &peer, NULL, 5000, NULL, 0);
	peer.gso_type = VNIC_GSO_UDP;
	peer.flags = VNIC_PACKET_NEEDS_CSUM;
	peer.csum_start = 20;
	peer.csum_offset = 6;
	assert_string_equal(give(&peer, PEER4, 7, STACK4, 5000, 20500), "datagrams");
	assert_int_equal(inbox.count, 1);
	assert_int_equal(inbox_letter(&inbox, 0)->length_bytes, 20500);
	assert_int_equal(inbox_letter(&inbox, 0)->segment_bytes, 1000);
	/* Of one segment it is none. */
	assert_string_equal(give(&peer, PEER4, 7, STACK4, 5000, 1000), "datagrams");
	assert_int_equal(inbox_letter(&inbox, 1)->segment_bytes, 0);
	/* Inside of a tunnel. */
	length = inbox_packet(packet, PEER4, 7, STACK4, 5000, 3000);
	{
		struct vnic_packet tunnel = {
			.data = packet,
			.length_bytes = (uint32_t)length,
			.capacity_bytes = (uint32_t)length,
			.flags = VNIC_PACKET_DATA_VALID,
			.gso_type = VNIC_GSO_TCP4,
			.gso_size_bytes = 1000,
			.gso_tunnel = VNIC_IPV4,
			.tunnel_start = 20,
			.inner_start = 28,
		};

		vnic_stack_receive(peer.stack, &tunnel, 1, peer.now_ns);
	}
	assert_int_equal(inbox.count, 2);
	assert_int_equal(peer_counter(&peer, VNIC_STACK_DROP_PROTOCOL), 1);
	inbox_close(&inbox);
	peer_end(&peer);
}

/* Answer everything by its own flow. */
static void echo(struct inbox *inbox, const struct vnic_datagram *datagrams, unsigned count)
{
	assert_int_equal(vnic_endpoint_send(inbox->endpoint, datagrams, count), count);
}

static void groups(void **state)
{
	static const struct {
		const char *source, *destination, *mac, *answer_from;
	} rows[] = {
		{PEER4, "10.0.0.255", "\xff\xff\xff\xff\xff\xff", STACK4},
		{PEER4, "255.255.255.255", "\xff\xff\xff\xff\xff\xff", STACK4},
		{PEER4, "224.0.0.1", "\x01\x00\x5e\x00\x00\x01", STACK4},
		{PEER6, "ff02::1", "\x33\x33\x00\x00\x00\x01", STACK6},
	};
	struct inbox port, exact;
	struct peer peer;

	(void)state;
	peer_begin(&peer, VNIC_LAYER_ETHERNET, plain);
	inbox_open(&port, &peer, NULL, 5000, NULL, 0);
	inbox_open(&exact, &peer, STACK4, 5000, NULL, 0);
	port.then = echo;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct vnic_address to = peer_address(rows[i].destination);

		peer_clear(&peer);
		inbox_clear(&port);
		memcpy(peer.to_mac, rows[i].mac, 6);
		assert_string_equal(give(&peer, rows[i].source, 7, rows[i].destination, 5000, 10),
				    "datagrams");
		assert_true(vnic_address_equal(&inbox_letter(&port, 0)->flow.local_address, &to));
		assert_int_equal(peer.count, 1);
		inbox_assert_sent(&peer, 0, rows[i].answer_from, 5000, rows[i].source, 7, 10);
		assert_memory_equal(peer_answer(&peer, 0)->bytes, peer_mac, 6);
		assert_string_equal(give(&peer, rows[i].source, 7, rows[i].destination, 5001, 10),
				    "drop_not_answerable");
	}
	assert_int_equal(exact.count, 0);
	inbox_close(&port);
	inbox_close(&exact);
	peer_end(&peer);
}

static void sends(void **state)
{
	static const char *const remotes[] = {FAR4, FAR6};
	uint8_t *joined = malloc(PACKET_BYTES_MAX);
	struct inbox inbox;
	struct peer peer;

	(void)state;
	assert_non_null(joined);
	for (unsigned k = 0; k < 4; k++) {
		bool ipv4 = k % 2 == 0;
		size_t headers = ipv4 ? 28 : 48, most = ipv4 ? 65507 : 65527;
		const char *source = ipv4 ? STACK4 : STACK6, *remote = remotes[k % 2];
		struct vnic_datagram empty = {
			.flow = {.remote_address = peer_address(remote), .remote_port = 7}};
		uint64_t sent = 1;

		peer_begin(&peer, VNIC_LAYER_IP, k < 2 ? NULL : plain);
		inbox_open(&inbox, &peer, NULL, 5000, NULL, 0);
		assert_int_equal(vnic_endpoint_send(inbox.endpoint, &empty, 1), 1);
		inbox_assert_sent(&peer, 0, source, 5000, remote, 7, 0);
		for (size_t length = 0; length <= 1500 - headers;
		     length += length < 50 || length > 1400 ? 1 : 50) {
			peer_clear(&peer);
			assert_int_equal(inbox_send(&inbox, remote, 7, length, 0), 1);
			assert_int_equal(peer.count, 1);
			assert_int_equal(peer_answer(&peer, 0)->gso_type, VNIC_GSO_NONE);
			assert_int_equal(peer_answer(&peer, 0)->flags,
					 k < 2 ? VNIC_PACKET_NEEDS_CSUM : 0);
			inbox_assert_sent(&peer, 0, source, 5000, remote, 7, length);
			sent++;
		}
		for (size_t length = 1501 - headers; length <= most; length += 1601) {
			struct vnic_address from = peer_address(source), to = peer_address(remote);
			struct vnic_udp udp;
			size_t total;

			if (length + 1601 > most)
				length = most;
			peer_clear(&peer);
			assert_int_equal(inbox_send(&inbox, remote, 7, length, 0), 1);
			assert_true(peer.count > 1);
			total = peer_join(&peer, joined);
			assert_int_equal(total, headers + length);
			vnic_udp_parse(joined + headers - 8, total - headers + 8, &udp);
			assert_int_equal(vnic_udp_verify(joined + headers - 8, &udp, &from, &to),
					 0);
			for (size_t i = 0; i < length; i++)
				if (joined[headers + i] != peer_data(i))
					fail_msg("byte %zu of %zu", i, length);
			sent++;
		}
		assert_int_equal(inbox_send(&inbox, remote, 7, most + 1, 0), -EMSGSIZE);
		assert_int_equal(peer_counter(&peer, VNIC_STACK_DATAGRAMS_SENT), sent);
		inbox_close(&inbox);
		peer_end(&peer);
	}
	free(joined);
}

/* Each byte once and in order, in as few packets as there may be. */
static void sends_super_datagrams(void **state)
{
	static const struct {
		size_t length;
		uint16_t segment;
		unsigned packets; /* with offloads */
	} rows[] = {
		{2000, 1000, 1},  {2001, 1000, 1},  {999, 1000, 1},     {1000, 1000, 1},
		{64, 1, 1},       {65, 1, 2},       {64 * 100, 100, 1}, {64 * 100 + 1, 100, 2},
		{65000, 1300, 1}, {65507, 1300, 2}, {200000, 1452, 4},  {500000, 1400, 8},
	};
	struct inbox inbox;
	struct peer peer;

	(void)state;
	for (unsigned k = 0; k < 4; k++) {
		bool ipv4 = k % 2 == 0;
		const char *remote = ipv4 ? FAR4 : FAR6;
		size_t headers = ipv4 ? 28 : 48;

		peer_begin(&peer, VNIC_LAYER_IP, k < 2 ? NULL : plain);
		inbox_open(&inbox, &peer, NULL, 5000, NULL, 0);
		for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
			size_t length = rows[i].length, segment = rows[i].segment, at = 0;
			size_t expected =
				k < 2 ? rows[i].packets : (length + segment - 1) / segment;

			peer_clear(&peer);
			assert_int_equal(inbox_send(&inbox, remote, 7, length, (uint16_t)segment),
					 1);
			if (peer.count != expected)
				fail_msg("row %zu: %zu packets", i, peer.count);
			for (size_t n = 0; n < peer.count; n++) {
				const struct peer_answer *answer = peer_answer(&peer, n);
				size_t payload = answer->ip_length - headers;
				bool is_super = k < 2 && payload > segment;

				assert_int_equal(answer->gso_type,
						 is_super ? VNIC_GSO_UDP : VNIC_GSO_NONE);
				assert_int_equal(answer->gso_size_bytes, is_super ? segment : 0);
				assert_int_equal(answer->flags, k < 2 ? VNIC_PACKET_NEEDS_CSUM : 0);
				if (n + 1 < peer.count)
					assert_int_equal(payload % segment, 0);
				for (size_t b = 0; b < payload; b++)
					if (answer->ip[headers + b] != peer_data(at + b))
						fail_msg("byte %zu of row %zu", at + b, i);
				at += payload;
			}
			assert_int_equal(at, length);
		}
		assert_int_equal(peer_counter(&peer, VNIC_STACK_DATAGRAMS_SENT),
				 sizeof(rows) / sizeof(rows[0]));
		assert_int_equal(inbox_send(&inbox, remote, 7, 3000, (uint16_t)(1501 - headers)),
				 -EMSGSIZE);
		inbox_close(&inbox);
		peer_end(&peer);
	}
}

static void refuses_to_send(void **state)
{
	static const uint8_t byte;
	static const struct {
		unsigned who;
		const char *local;
		uint16_t local_port;
		const char *remote;
		uint16_t remote_port;
		int code; /* or 1 */
	} rows[] = {
		{0, NULL, 0, FAR4, 7, 1},
		{0, NULL, 0, NULL, 7, -EDESTADDRREQ},
		{0, NULL, 0, FAR4, 0, -EINVAL},
		{0, NULL, 5001, FAR4, 7, -EINVAL},
		{0, STACK6, 0, FAR4, 7, -EINVAL},
		{0, "10.0.0.3", 0, FAR4, 7, 1},
		{0, "10.0.0.9", 0, FAR4, 7, -EADDRNOTAVAIL},
		{0, NULL, 0, STACK4, 7, -EINVAL},
		{0, NULL, 0, "0.0.0.1", 7, -EINVAL},
		{0, NULL, 0, "127.0.0.1", 7, -EINVAL},
		{0, NULL, 0, "::", 7, -EINVAL},
		{1, NULL, 0, FAR4, 7, 1}, /* bound to 10.0.0.2 */
		{1, "10.0.0.3", 0, FAR4, 7, -EINVAL},
		{1, NULL, 0, FAR6, 7, -EINVAL},
		{2, NULL, 0, NULL, 0, 1}, /* connected */
		{2, NULL, 0, PEER4, 7, 1},
		{2, NULL, 0, PEER4, 0, 1},
		{2, NULL, 0, NULL, 8, -EINVAL},
		{2, NULL, 0, FAR4, 7, -EINVAL},
		{3, NULL, 0, FAR4, 7, -EINVAL}, /* any port: which? */
		{3, NULL, 99, FAR4, 7, 1},
	};
	struct vnic_datagram two[2] = {
		{.payload = &byte, .length_bytes = 1},
		{.payload = &byte, .length_bytes = 70000},
	};
	struct vnic_endpoint_options options;
	struct inbox inboxes[4];
	struct peer peer;

	(void)state;
	peer_begin(&peer, VNIC_LAYER_IP, NULL);
	peer_add(&peer, "10.0.0.3/24");
	inbox_open(&inboxes[0], &peer, NULL, 5000, NULL, 0);
	inbox_open(&inboxes[1], &peer, STACK4, 5001, NULL, 0);
	inbox_open(&inboxes[2], &peer, NULL, 5002, PEER4, 7);
	memset(&inboxes[3], 0, sizeof(inboxes[3]));
	options = inbox_options(&inboxes[3], NULL, 0, NULL, 0);
	options.any_port = true;
	assert_int_equal(vnic_endpoint_open(peer.stack, &options, &inboxes[3].endpoint, NULL), 0);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct vnic_datagram datagram = {.payload = &byte, .length_bytes = 1};
		int rc;

		peer_clear(&peer);
		if (rows[i].local)
			datagram.flow.local_address = peer_address(rows[i].local);
		if (rows[i].remote)
			datagram.flow.remote_address = peer_address(rows[i].remote);
		datagram.flow.local_port = rows[i].local_port;
		datagram.flow.remote_port = rows[i].remote_port;
		rc = vnic_endpoint_send(inboxes[rows[i].who].endpoint, &datagram, 1);
		if (rc != rows[i].code || peer.count != (rc == 1))
			fail_msg("row %zu: %d, %zu packets", i, rc, peer.count);
	}
	two[0].flow.remote_address = two[1].flow.remote_address = peer_address(FAR4);
	two[0].flow.remote_port = two[1].flow.remote_port = 7;
	assert_int_equal(vnic_endpoint_send(inboxes[0].endpoint, two, 2), 1);
	assert_int_equal(vnic_endpoint_send(inboxes[0].endpoint, two + 1, 1), -EMSGSIZE);
	assert_int_equal(vnic_endpoint_send(inboxes[0].endpoint, two, 0), 0);
	two[0].payload = NULL;
	assert_int_equal(vnic_endpoint_send(inboxes[0].endpoint, two, 1), -EINVAL);
	for (unsigned i = 0; i < 4; i++)
		inbox_close(&inboxes[i]);
	peer_end(&peer);
}

static void passes_traffic_class(void **state)
{
	static const uint8_t byte;
	struct vnic_endpoint_options options;
	struct inbox inbox;
	struct peer peer;

	(void)state;
	peer_begin(&peer, VNIC_LAYER_IP, NULL);
	memset(&inbox, 0, sizeof(inbox));
	options = inbox_options(&inbox, NULL, 5000, NULL, 0);
	options.dont_fragment = true;
	assert_int_equal(vnic_endpoint_open(peer.stack, &options, &inbox.endpoint, NULL), 0);
	for (unsigned i = 0; i < 512; i++) {
		struct vnic_datagram datagram = {
			.payload = &byte,
			.length_bytes = 1,
			.traffic_class = (uint8_t)i,
			.flow = {.remote_address = peer_address(i < 256 ? FAR4 : FAR6),
				 .remote_port = 7},
		};
		const uint8_t *ip;

		peer_clear(&peer);
		assert_int_equal(vnic_endpoint_send(inbox.endpoint, &datagram, 1), 1);
		ip = peer_answer(&peer, 0)->ip;
		assert_int_equal(i < 256 ? ip[1] : (ip[0] << 4 | ip[1] >> 4) & 0xff, i & 0xff);
		if (i < 256)
			assert_int_equal(ip[6], 0x40); /* don't fragment */
	}
	assert_int_equal(inbox_send(&inbox, FAR4, 7, 1472, 0), 1);
	assert_int_equal(inbox_send(&inbox, FAR4, 7, 1473, 0), -EMSGSIZE);
	inbox_close(&inbox);
	peer_end(&peer);
}

/* To the station and in the VLAN that asked, and as long as that is fresh. */
static void answers_go_back(void **state)
{
	static const uint8_t router[6] = {2, 0, 0, 0, 7, 7};
	struct vnic_ethernet ethernet;
	struct inbox inbox, connected;
	struct peer peer;

	(void)state;
	peer_begin(&peer, VNIC_LAYER_ETHERNET, NULL);
	inbox_open(&inbox, &peer, NULL, 5000, NULL, 0);
	inbox_open(&connected, &peer, NULL, 5001, FAR4, 7);
	inbox.then = echo;
	memcpy(peer.from_mac, router, 6);
	peer.vlan_count = 1;
	peer.vlan[0] = (struct vnic_vlan_tag){.protocol = VNIC_ETHERTYPE_VLAN, .tci = 9};
	for (unsigned i = 0; i < 2; i++) {
		peer_clear(&peer);
		assert_string_equal(give(&peer, i ? FAR6 : FAR4, 7, i ? STACK6 : STACK4, 5000, 30),
				    "datagrams");
		assert_int_equal(peer.count, 1);
		inbox_assert_sent(&peer, 0, i ? STACK6 : STACK4, 5000, i ? FAR6 : FAR4, 7, 30);
		assert_memory_equal(peer_answer(&peer, 0)->bytes, router, 6);
		vnic_ethernet_parse(peer_answer(&peer, 0)->bytes, 18, &ethernet);
		assert_int_equal(ethernet.vlan[0].tci, 9);
	}
	assert_int_equal(peer_counter(&peer, VNIC_STACK_SOLICITATIONS), 0);
	/* Outside of the callback nobody knows. */
	peer_clear(&peer);
	inbox_send(&inbox, FAR4, 7, 30, 0);
	assert_int_equal(peer_counter(&peer, VNIC_STACK_SOLICITATIONS), 1);
	/* Connected: nothing came yet, something came, that was long ago. */
	inbox_send(&connected, NULL, 0, 30, 0);
	peer_clear(&peer);
	give(&peer, FAR4, 7, STACK4, 5001, 10);
	assert_int_equal(inbox_send(&connected, NULL, 0, 31, 0), 1);
	assert_int_equal(peer.count, 1);
	inbox_assert_sent(&peer, 0, STACK4, 5001, FAR4, 7, 31);
	assert_memory_equal(peer_answer(&peer, 0)->bytes, router, 6);
	peer_wait(&peer, 31 * SECOND_NS);
	peer_clear(&peer);
	assert_int_equal(inbox_send(&connected, NULL, 0, 31, 0), 1);
	assert_int_equal(peer.count, 1);
	assert_int_equal(peer_answer(&peer, 0)->ip_length, VNIC_ARP_BYTES);
	inbox_close(&inbox);
	inbox_close(&connected);
	peer_end(&peer);
}

static struct inbox *other;

static void close_both(struct inbox *inbox, const struct vnic_datagram *datagrams, unsigned count)
{
	(void)datagrams, (void)count;
	vnic_endpoint_close(inbox->endpoint);
	vnic_endpoint_close(other->endpoint);
}

/* Close, bind the same again, and answer from there. */
static void open_again(struct inbox *inbox, const struct vnic_datagram *datagrams, unsigned count)
{
	struct vnic_endpoint_options options = inbox_options(other, NULL, 5000, NULL, 0);

	vnic_endpoint_close(inbox->endpoint);
	assert_int_equal(vnic_endpoint_open(vnic_endpoint_stack(inbox->endpoint), &options,
					    &other->endpoint, NULL),
			 0);
	assert_int_equal(vnic_endpoint_send(other->endpoint, datagrams, count), count);
}

static void callbacks_may_do_anything(void **state)
{
	static uint8_t bytes[4][1600];
	size_t lengths[4];
	struct inbox a, b;
	struct peer peer;

	(void)state;
	peer_begin(&peer, VNIC_LAYER_IP, NULL);
	inbox_open(&a, &peer, NULL, 5000, NULL, 0);
	inbox_open(&b, &peer, NULL, 5001, NULL, 0);
	other = &b;
	a.then = close_both;
	for (unsigned i = 0; i < 4; i++)
		lengths[i] = inbox_packet(bytes[i], PEER4, 7, STACK4, (uint16_t)(5000 + i / 2), 10);
	give_burst(&peer, bytes, lengths, 4);
	/* The first two were handed out when the third came, which nobody was there for then. */
	assert_int_equal(a.count, 2);
	assert_int_equal(b.count, 0);
	assert_int_equal(peer_counter(&peer, VNIC_STACK_ENDPOINTS), 0);
	inbox_clear(&a);

	peer_clear(&peer);
	inbox_open(&a, &peer, NULL, 5000, NULL, 0);
	memset(&b, 0, sizeof(b));
	a.then = open_again;
	assert_string_equal(give(&peer, PEER4, 7, STACK4, 5000, 10), "datagrams");
	assert_int_equal(a.count, 1);
	assert_int_equal(peer.count, 1);
	inbox_assert_sent(&peer, 0, STACK4, 5000, PEER4, 7, 10);
	assert_string_equal(give(&peer, PEER4, 7, STACK4, 5000, 10), "datagrams");
	assert_int_equal(b.count, 1);
	assert_int_equal(peer_counter(&peer, VNIC_STACK_ENDPOINTS), 1);
	inbox_clear(&a);
	inbox_close(&b);
	assert_string_equal(give(&peer, PEER4, 7, STACK4, 5000, 10), "unreachables");
	peer_end(&peer);
}

static void bounds_are_checked(void **state)
{
	struct peer peer;
	struct vnic_stack *stack = NULL;
	struct vnic_error error;

	(void)state;
	peer_begin(&peer, VNIC_LAYER_IP, NULL);
	for (unsigned i = 0; i < 3; i++) {
		struct vnic_stack_options options = peer.options;

		*(i == 0   ? &options.neighbors
		  : i == 1 ? &options.paths
			   : &options.udp_endpoints) = (1u << 20) + 1;
		assert_int_equal(vnic_stack_new(&options, &stack, &error), -EINVAL);
		assert_int_equal(error.cause, VNIC_CAUSE_ARGUMENT);
	}
	peer_end(&peer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(most_exact_gets_it),
		cmocka_unit_test(refuses_to_open),
		cmocka_unit_test(chooses_ports),
		cmocka_unit_test(receives),
		cmocka_unit_test(hands_out_bursts),
		cmocka_unit_test(opened_for_who_asks),
		cmocka_unit_test(takes_super_datagrams),
		cmocka_unit_test(groups),
		cmocka_unit_test(sends),
		cmocka_unit_test(sends_super_datagrams),
		cmocka_unit_test(refuses_to_send),
		cmocka_unit_test(passes_traffic_class),
		cmocka_unit_test(answers_go_back),
		cmocka_unit_test(callbacks_may_do_anything),
		cmocka_unit_test(bounds_are_checked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
