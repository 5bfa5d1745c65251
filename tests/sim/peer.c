/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A link with a stack at one end and a test at the other, on a clock that stands still unless the
 * test moves it. Every packet is given to the stack in memory of just its length, so that a
 * sanitizer sees one byte read too far. Everything that the stack sends is checked (check.c) before
 * it is kept for the test, and the counters must add up after every call. Randomness is a generator
 * with a fixed seed: each run is the same.
 */
#include "peer.h"

#include <ctype.h>
#include <stdio.h>

#include "check.h"

const uint8_t peer_mac[VNIC_MAC_BYTES] = {0x02, 0, 0, 0, 0, 0x01};
const uint8_t stack_mac[VNIC_MAC_BYTES] = {0x02, 0, 0, 0, 0, 0x02};

uint64_t peer_random(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static void on_random(void *user, void *bytes, size_t length_bytes)
{
	struct peer *peer = user;

	for (size_t i = 0; i < length_bytes; i++)
		((uint8_t *)bytes)[i] = (uint8_t)peer_random(&peer->random);
}

static void keep(struct peer *peer, const struct vnic_packet *packet)
{
	struct peer_answer *answer;

	if (peer->count == peer->room) {
		peer->room = peer->room * 2 + 64;
		peer->answers = realloc(peer->answers, peer->room * sizeof(*peer->answers));
		assert_non_null(peer->answers);
	}
	answer = &peer->answers[peer->count++];
	answer->bytes = malloc(packet->length_bytes);
	assert_non_null(answer->bytes);
	memcpy(answer->bytes, packet->data, packet->length_bytes);
	answer->length = packet->length_bytes;
	answer->ip = answer->bytes;
	answer->at_ns = peer->now_ns;
	answer->flags = packet->flags;
	answer->gso_type = packet->gso_type;
	answer->gso_size_bytes = packet->gso_size_bytes;
	if (peer->options.layer == VNIC_LAYER_ETHERNET) {
		struct vnic_ethernet ethernet;
		int header = vnic_ethernet_parse(answer->bytes, answer->length, &ethernet);

		assert_true(header > 0);
		answer->ip += header;
	}
	answer->ip_length = answer->length - (size_t)(answer->ip - answer->bytes);
}

static void on_send(void *user, const struct vnic_packet *packets, unsigned count)
{
	struct peer *peer = user;

	assert_in_range(count, 1, VNIC_BURST_PACKETS);
	for (unsigned i = 0; i < count; i++) {
		const char *wrong = check_packet(&packets[i], peer->options.layer, stack_mac,
						 peer->options.mtu_bytes);

		if (!wrong && peer->options.plain && packets[i].flags != 0)
			wrong = "an open checksum, though only plain packets are wanted";
		if (wrong) {
			char line[VNIC_PACKET_LINE_BYTES];

			vnic_packet_print(&packets[i], peer->options.layer, line, sizeof(line));
			fail_msg("the stack sent %s: %s", wrong, line);
		}
		keep(peer, &packets[i]);
	}
}

static void on_conflict(void *user, const struct vnic_address *address,
			const uint8_t mac[VNIC_MAC_BYTES])
{
	struct peer *peer = user;

	(void)mac;
	peer->conflicts++;
	peer->conflict = *address;
}

struct vnic_address peer_address(const char *text)
{
	struct vnic_address address;

	assert_int_equal(vnic_address_parse(text, &address, NULL), 0);
	return address;
}

void peer_add(struct peer *peer, const char *text)
{
	struct vnic_prefix prefix;
	struct vnic_error error = {0};

	assert_int_equal(vnic_prefix_parse(text, &prefix, &error), 0);
	if (vnic_stack_add_address(peer->stack, &prefix, &error) < 0)
		fail_msg("%s: %s", text, error.text);
}

void peer_begin(struct peer *peer, enum vnic_layer layer,
		void (*change)(struct vnic_stack_options *options))
{
	memset(peer, 0, sizeof(*peer));
	peer->now_ns = 1000 * SECOND_NS;
	peer->options = (struct vnic_stack_options){
		.layer = layer,
		.mtu_bytes = 1500,
		.send = on_send,
		.random = on_random,
		.conflict = on_conflict,
		.user = peer,
	};
	memcpy(peer->options.mac, stack_mac, VNIC_MAC_BYTES);
	memcpy(peer->from_mac, peer_mac, VNIC_MAC_BYTES);
	memcpy(peer->to_mac, stack_mac, VNIC_MAC_BYTES);
	if (change)
		change(&peer->options);
	assert_int_equal(vnic_stack_new(&peer->options, &peer->stack, NULL), 0);
	peer_add(peer, STACK4 "/24");
	if (peer->options.mtu_bytes >= VNIC_IPV6_MTU_BYTES) {
		peer_add(peer, STACK6 "/64");
		peer_add(peer, STACK6_LINK "/64");
	}
}

void peer_end(struct peer *peer)
{
	peer_clear(peer);
	free(peer->answers);
	vnic_stack_free(peer->stack);
	memset(peer, 0, sizeof(*peer));
}

void peer_clear(struct peer *peer)
{
	for (size_t i = 0; i < peer->count; i++)
		free(peer->answers[i].bytes);
	peer->count = 0;
}

const struct peer_answer *peer_answer(const struct peer *peer, size_t n)
{
	if (n >= peer->count)
		fail_msg("answer %zu is asked for, but there are %zu", n, peer->count);
	return &peer->answers[n];
}

uint64_t peer_counter(const struct peer *peer, enum vnic_stack_counter counter)
{
	return vnic_stack_counter(peer->stack, counter);
}

static void assert_counters(const struct peer *peer)
{
	const char *wrong = check_counters(peer->stack);

	if (wrong)
		fail_msg("%s", wrong);
}

/*
 * The counter of the sum that grew. Of a fragment that completes a datagram it is the datagram's.
 */
static const char *grown(const uint64_t *before, const struct vnic_stack *stack)
{
	const char *name = NULL;

	for (unsigned i = VNIC_STACK_ARP_REPLIES; i < VNIC_STACK_COUNTERS; i++) {
		if (i == VNIC_STACK_TIME_EXCEEDED || i == VNIC_STACK_ANNOUNCEMENTS ||
		    i == VNIC_STACK_REASSEMBLED || i == VNIC_STACK_FRAGMENTS_JOINED ||
		    (i >= VNIC_STACK_SOLICITATIONS && i <= VNIC_STACK_OUT_OF_ORDER_BYTES))
			continue;
		if ((int64_t)(vnic_stack_counter(stack, i) - before[i]) > 0)
			name = vnic_stack_counter_name(i);
	}
	return name ? name : "(no counter)";
}

const char *peer_send_raw(struct peer *peer, const uint8_t *bytes, size_t length)
{
	uint8_t *memory = malloc(length > 0 ? length : 1);
	uint64_t before[VNIC_STACK_COUNTERS];
	uint16_t header = peer->options.layer == VNIC_LAYER_ETHERNET
				  ? (uint16_t)(VNIC_ETHERNET_HEADER_BYTES +
					       peer->vlan_count * VNIC_VLAN_TAG_BYTES)
				  : 0;
	struct vnic_packet packet = {
		.data = memory,
		.length_bytes = (uint32_t)length,
		.capacity_bytes = (uint32_t)length,
		.flags = peer->flags,
		.gso_type = peer->gso_type,
		.gso_size_bytes = peer->gso_type ? 1000 : 0,
		.csum_start = (uint16_t)(peer->csum_start + header),
		.csum_offset = peer->csum_offset,
	};

	assert_non_null(memory);
	if (length > 0)
		memcpy(memory, bytes, length);
	for (unsigned i = 0; i < VNIC_STACK_COUNTERS; i++)
		before[i] = vnic_stack_counter(peer->stack, i);
	vnic_stack_receive(peer->stack, &packet, 1, peer->now_ns);
	free(memory);
	assert_counters(peer);
	return grown(before, peer->stack);
}

static const char *send_frame(struct peer *peer, uint16_t ethertype, const uint8_t *bytes,
			      size_t length)
{
	struct vnic_ethernet ethernet = {.ethertype = ethertype, .vlan_count = peer->vlan_count};
	uint8_t *frame;
	const char *name;
	int header;

	if (peer->options.layer != VNIC_LAYER_ETHERNET)
		return peer_send_raw(peer, bytes, length);
	memcpy(ethernet.destination, peer->to_mac, VNIC_MAC_BYTES);
	memcpy(ethernet.source, peer->from_mac, VNIC_MAC_BYTES);
	memcpy(ethernet.vlan, peer->vlan, sizeof(ethernet.vlan));
	frame = malloc(64 + length);
	assert_non_null(frame);
	header = vnic_ethernet_build(frame, 64, &ethernet);
	assert_true(header > 0);
	if (length > 0)
		memcpy(frame + header, bytes, length);
	name = peer_send_raw(peer, frame, (size_t)header + length);
	free(frame);
	return name;
}

void peer_send(struct peer *peer, uint16_t ethertype, const uint8_t *bytes, size_t length)
{
	send_frame(peer, ethertype, bytes, length);
}

const char *peer_send_ip(struct peer *peer, const uint8_t *ip, size_t length)
{
	bool ipv6 = length > 0 && ip[0] >> 4 == 6;

	return send_frame(peer, ipv6 ? VNIC_ETHERTYPE_IPV6 : VNIC_ETHERTYPE_IPV4, ip, length);
}

size_t peer_hex(const char *hex, uint8_t *bytes, size_t room)
{
	size_t length = 0;
	unsigned value;

	while (*hex) {
		if (isspace((unsigned char)*hex)) {
			hex++;
			continue;
		}
		assert_int_equal(sscanf(hex, "%2x", &value), 1);
		assert_in_range(length, 0, room - 1);
		bytes[length++] = (uint8_t)value;
		hex += 2;
	}
	return length;
}

const char *peer_send_hex(struct peer *peer, const char *hex)
{
	uint8_t bytes[2048];
	size_t length = peer_hex(hex, bytes, sizeof(bytes));

	return peer_send_raw(peer, bytes, length);
}

void peer_wait(struct peer *peer, uint64_t duration_ns)
{
	uint64_t end_ns = peer->now_ns + duration_ns, next_ns;

	for (unsigned calls = 0;; calls++) {
		next_ns = vnic_stack_advance(peer->stack, peer->now_ns);
		assert_counters(peer);
		if (next_ns > end_ns)
			break;
		/* It must not ask to be called at once again and again. */
		if (next_ns <= peer->now_ns)
			fail_msg("advance(%llu) asks to be called at %llu",
				 (unsigned long long)peer->now_ns, (unsigned long long)next_ns);
		assert_in_range(calls, 0, 1000000);
		peer->now_ns = next_ns;
	}
	peer->now_ns = end_ns;
	vnic_stack_advance(peer->stack, peer->now_ns);
}

size_t peer_ip(uint8_t *packet, const char *source, const char *destination, uint8_t protocol,
	       const uint8_t *payload, size_t length)
{
	struct vnic_address from = peer_address(source), to = peer_address(destination);
	int header;

	if (from.family == VNIC_IPV4) {
		struct vnic_ipv4 ipv4 = {
			.ttl = 63,
			.protocol = protocol,
			.identification = 0x1234,
			.total_bytes = (uint16_t)(VNIC_IPV4_HEADER_BYTES + length),
		};

		memcpy(ipv4.source, from.bytes, VNIC_IPV4_BYTES);
		memcpy(ipv4.destination, to.bytes, VNIC_IPV4_BYTES);
		header = vnic_ipv4_build(packet, VNIC_IPV4_HEADER_BYTES, &ipv4);
	} else {
		struct vnic_ipv6 ipv6 = {
			.next_header = protocol,
			.hop_limit = 63,
			.payload_bytes = (uint16_t)length,
		};

		memcpy(ipv6.source, from.bytes, VNIC_IPV6_BYTES);
		memcpy(ipv6.destination, to.bytes, VNIC_IPV6_BYTES);
		header = vnic_ipv6_build(packet, VNIC_IPV6_HEADER_BYTES, &ipv6);
	}
	assert_true(header > 0);
	if (payload)
		memmove(packet + header, payload, length);
	return (size_t)header + length;
}

static size_t header_bytes(const char *source)
{
	return peer_address(source).family == VNIC_IPV4 ? VNIC_IPV4_HEADER_BYTES
							: VNIC_IPV6_HEADER_BYTES;
}

uint8_t peer_data(size_t i)
{
	return (uint8_t)(i * 7 + i / 256);
}

static void write_data(uint8_t *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++)
		bytes[i] = peer_data(i);
}

size_t peer_echo(uint8_t *packet, const char *source, const char *destination, size_t data_bytes)
{
	struct vnic_address from = peer_address(source), to = peer_address(destination);
	uint8_t *message = packet + header_bytes(source);
	size_t length = VNIC_ICMP_HEADER_BYTES + data_bytes;
	struct vnic_icmp icmp = {.rest = 0x00070001};

	write_data(message + VNIC_ICMP_HEADER_BYTES, data_bytes);
	if (from.family == VNIC_IPV4) {
		icmp.type = VNIC_ICMP_ECHO_REQUEST;
		vnic_icmp_build(message, length, &icmp, data_bytes);
		return peer_ip(packet, source, destination, VNIC_PROTOCOL_ICMP, NULL, length);
	}
	icmp.type = VNIC_ICMPV6_ECHO_REQUEST;
	vnic_icmpv6_build(message, length, &from, &to, &icmp, data_bytes);
	return peer_ip(packet, source, destination, VNIC_PROTOCOL_ICMPV6, NULL, length);
}

size_t peer_udp(uint8_t *packet, const char *source, const char *destination, size_t data_bytes)
{
	struct vnic_address from = peer_address(source), to = peer_address(destination);
	uint8_t *message = packet + header_bytes(source);
	struct vnic_udp udp = {.source_port = 40000, .destination_port = 33434};

	write_data(message + VNIC_UDP_HEADER_BYTES, data_bytes);
	vnic_udp_build(message, VNIC_UDP_HEADER_BYTES + data_bytes, &from, &to, &udp, data_bytes);
	return peer_ip(packet, source, destination, VNIC_PROTOCOL_UDP, NULL,
		       VNIC_UDP_HEADER_BYTES + data_bytes);
}

size_t peer_tcp(uint8_t *packet, const char *source, const char *destination,
		const struct vnic_tcp *tcp, size_t data_bytes)
{
	struct vnic_address from = peer_address(source), to = peer_address(destination);
	uint8_t *message = packet + header_bytes(source);
	size_t header = VNIC_TCP_HEADER_BYTES + (size_t)tcp->options_bytes;

	write_data(message + header, data_bytes);
	vnic_tcp_build(message, header + data_bytes, &from, &to, tcp, data_bytes);
	return peer_ip(packet, source, destination, VNIC_PROTOCOL_TCP, NULL, header + data_bytes);
}

size_t peer_ndp(uint8_t *packet, const char *source, const char *destination, uint8_t type,
		uint32_t flags, const struct vnic_ndp *ndp)
{
	struct vnic_address from = peer_address(source), to = peer_address(destination);
	uint8_t *message = packet + VNIC_IPV6_HEADER_BYTES;
	struct vnic_icmp icmp = {.type = type, .rest = flags};
	int body = vnic_ndp_build(type, message + VNIC_ICMP_HEADER_BYTES, 128, ndp);
	size_t length;

	assert_true(body > 0);
	length = VNIC_ICMP_HEADER_BYTES + (size_t)body;
	vnic_icmpv6_build(message, length, &from, &to, &icmp, (size_t)body);
	length = peer_ip(packet, source, destination, VNIC_PROTOCOL_ICMPV6, NULL, length);
	packet[7] = 255;
	return length;
}

size_t peer_join(const struct peer *peer, uint8_t *packet)
{
	size_t total = 0, got = 0, header = 0;

	for (size_t i = 0; i < peer->count; i++) {
		const struct peer_answer *answer = &peer->answers[i];
		struct vnic_ipv6_extension fragment = {0};
		struct vnic_ipv4 ipv4;
		size_t before, offset, length;
		bool more;

		if (answer->ip[0] >> 4 == 4) {
			before = (size_t)vnic_ipv4_parse(answer->ip, answer->ip_length, &ipv4);
			offset = ipv4.fragment_offset_bytes;
			more = ipv4.more_fragments;
			if (offset == 0)
				header = before;
		} else {
			before = VNIC_IPV6_HEADER_BYTES + VNIC_IPV6_FRAGMENT_BYTES;
			assert_int_equal(answer->ip[6], VNIC_PROTOCOL_FRAGMENT);
			assert_int_equal(
				vnic_ipv6_extension_parse(VNIC_PROTOCOL_FRAGMENT, answer->ip + 40,
							  answer->ip_length - 40, &fragment),
				8);
			offset = fragment.fragment_offset_bytes;
			more = fragment.more_fragments;
			header = VNIC_IPV6_HEADER_BYTES;
		}
		if (offset == 0)
			memcpy(packet, answer->ip, header);
		length = answer->ip_length - before;
		memcpy(packet + header + offset, answer->ip + before, length);
		got += length;
		if (!more)
			total = offset + length;
	}
	return total > 0 && got == total && header > 0 ? header + total : 0;
}
