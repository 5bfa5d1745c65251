/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A stack with listeners, connections of its own, sockets and UDP endpoints, and the network around it. Six bytes
 * choose the bounds and options, then come operations, of one byte and what each of them needs.
 *
 * Random segments would never be near the window, so what stands in them is told relative to what the connection
 * really has: sequence numbers from the next one on or from the window's edge, acknowledgments from the oldest one, blocks that
 * are SACKed from there. An honest step does what the other end would do next, so that every state is reached in
 * few bytes. What was sent last may be changed byte by byte, too.
 *
 * Payload is a function of the sequence number that stands in the header, whoever made that up. So a user can tell whether
 * what it received is what the other end's stream has there, without a model of what was lost.
 *
 * What must hold after each operation: the counters add up; each packet sent is right (tests/sim/check.c) and
 * its payload is what the user wrote there; positions of a connection never go back, and fit each other and what is in flight;
 * memory is accounted for; nothing that was sent is without a timer; and a stack asks to be called later, not at once.
 */
#include "fuzz_connection.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../sim/check.h"
#include "base/bytes.h"
#include "repair.h"
#include "stack/tcp.h"

#define OPERATIONS_MOST 400
#define CALLS_MOST 60
#define CALLS_AT_ONCE 16
#define STREAM_TABLE 65536u
#define LONGEST 131072u
#define PAYLOAD_MOST 65000u
#define MTU_IPV6 VNIC_IPV6_MTU_BYTES

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t own_mac[VNIC_MAC_BYTES] = {2, 0, 0, 0, 0, 2};
static const uint8_t their_mac[VNIC_MAC_BYTES] = {2, 0, 0, 0, 0, 1};

/* A segment to be built. */
struct parts {
	struct vnic_tcp tcp;
	size_t payload_bytes;
	uint8_t mark; /* ECN */
	bool is_super, is_fragmented, is_held, is_vouched;
};

void die(const char *text, uint64_t a, uint64_t b)
{
	fprintf(stderr, "%s (%" PRIu64 ", %" PRIu64 ")\n", text, a, b);
	abort();
}

uint8_t take8(struct reader *reader)
{
	if (reader->left == 0)
		return 0;
	reader->left--;
	return *reader->bytes++;
}

size_t size_of(uint8_t code)
{
	static const uint32_t sizes[16] = {0,    1,    2,    100,  536,   1000,  1448,  1460,
					   1461, 2920, 4096, 8192, 16384, 40000, 65000, 100000};

	/* The upper bits make others of them. */
	return sizes[code & 15] + ((size_t)(code >> 4) * 7);
}

/* Distances between positions. */
static uint32_t distance_of(uint8_t code)
{
	static const int32_t distances[32] = {
		0,     0,     0,      0,       1,          -1,      2,         -2,
		10,    100,   -100,   536,     1000,       -1000,   1448,      1460,
		-1460, 2920,  -2920,  4000,    8192,       -8192,   16384,     40000,
		65535, 65536, -65536, 1 << 20, -(1 << 20), 1 << 30, INT32_MAX, INT32_MIN};

	return (uint32_t)distances[code & 31] + (uint32_t)(code >> 5) * 3;
}

uint32_t seed_of(uint16_t local_port, uint16_t remote_port)
{
	return (uint32_t)local_port * 31 + remote_port;
}

#if defined(__clang__)
__attribute__((no_sanitize("address", "undefined", "coverage")))
#endif
const uint8_t *
stream_bytes(uint32_t seed, bool of_stack, uint64_t position, size_t length)
{
	static uint8_t table[STREAM_TABLE + 8], bytes[LONGEST + 8];
	uint32_t state = 1;

	if (table[0] == 0)
		for (size_t i = 0; i < STREAM_TABLE; i++) {
			state = state * 1664525 + 1013904223;
			table[i] = (uint8_t)(state >> 24 | 1);
		}
	for (size_t i = 0; i < length;) {
		size_t at = (size_t)((position + i) % STREAM_TABLE), run = STREAM_TABLE - at;
		uint32_t block = (uint32_t)((position + i) / STREAM_TABLE);
		uint8_t mask;

		/* Sequence numbers wrap, offsets do not. */
		if (!of_stack)
			block %= STREAM_TABLE;
		mask = (uint8_t)(((block + seed) * 2 + of_stack) * 2654435761u >> 24);
		if (run > length - i)
			run = length - i;
		for (size_t k = 0; k < run; k += 8) {
			uint64_t word;

			/* Both have room for what is too much. */
			memcpy(&word, table + at + k, 8);
			word ^= mask * UINT64_C(0x0101010101010101);
			memcpy(bytes + i + k, &word, 8);
		}
		i += run;
	}
	return bytes;
}

static void on_random(void *user, void *bytes, size_t length_bytes)
{
	struct run *run = user;

	for (size_t i = 0; i < length_bytes; i++) {
		run->random = run->random * UINT64_C(6364136223846793005) + 1442695040888963407;
		((uint8_t *)bytes)[i] = (uint8_t)(run->random >> 56);
	}
}

static struct talk *find_talk(struct run *run, enum vnic_family family, uint16_t local_port,
			      uint16_t remote_port)
{
	for (unsigned i = 0; i < FLOWS; i++) {
		struct talk *talk = &run->talks[i];

		if (talk->flow.local_port == local_port && talk->flow.remote_port == remote_port &&
		    talk->flow.remote_address.family == family)
			return talk;
	}
	return NULL;
}

/* The payload must be what the user wrote there, counted from one of the last SYNs. */
static void check_payload(const struct talk *talk, const struct vnic_tcp *tcp,
			  const uint8_t *payload, size_t length)
{
	uint32_t seed = seed_of(tcp->source_port, tcp->destination_port);
	unsigned count = talk->stack_iss_count < 4 ? talk->stack_iss_count : 4;

	for (unsigned i = 0; i < count; i++) {
		uint32_t offset = tcp->sequence - talk->stack_iss[i] - 1;

		if (memcmp(payload, stream_bytes(seed, true, offset, length), length) == 0)
			return;
	}
	die("sent what its user did not write", tcp->sequence, length);
}

static void add_iss(struct talk *talk, uint32_t iss)
{
	unsigned last = (talk->stack_iss_count + 3) % 4;

	if (talk->stack_iss_count == 0 || talk->stack_iss[last] != iss)
		talk->stack_iss[talk->stack_iss_count++ % 4] = iss;
}

/* A SYN cookie's connection is not known by its SYN alone: there may have been later cookies. */
void note_iss(struct run *run)
{
	for (unsigned i = 0; i < FLOWS; i++) {
		const struct vnic_connection *connection =
			vn_tcp_find(run->stack, &run->talks[i].flow);

		if (connection)
			add_iss(&run->talks[i], connection->iss);
	}
}

static void see_tcp(struct run *run, const uint8_t *ip, size_t length, enum vnic_family family,
		    size_t header)
{
	struct vnic_tcp_ends {
		const uint8_t *bytes;
		size_t length;
	} ends = {ip + header, length - header};
	const uint8_t *option;
	size_t at = 0, option_bytes;
	struct vnic_tcp tcp;
	struct talk *talk;
	int tcp_header = vnic_tcp_parse(ends.bytes, ends.length, &tcp);

	if (tcp_header < 0)
		die("sent malformed TCP", length, header);
	talk = find_talk(run, family, tcp.source_port, tcp.destination_port);
	if (!talk)
		return;
	talk->seen_flags = tcp.flags;
	talk->seen_sequence = tcp.sequence;
	talk->seen_ack = tcp.acknowledgment;
	while (vnic_tcp_next_option(&tcp, &at, &option, &option_bytes) > 0)
		if (option[0] == VNIC_TCP_OPTION_TIMESTAMPS)
			talk->seen_timestamp = vn_load32(option + 2);
	if (tcp.flags & VNIC_TCP_SYN)
		add_iss(talk, tcp.sequence);
	talk->last_bytes = length < sizeof(talk->last) ? length : sizeof(talk->last);
	memcpy(talk->last, ip, talk->last_bytes);
	if (ends.length > (size_t)tcp_header)
		check_payload(talk, &tcp, ends.bytes + tcp_header,
			      ends.length - (size_t)tcp_header);
}

static void on_send(void *user, const struct vnic_packet *packets, unsigned count)
{
	struct run *run = user;
	bool is_ethernet = run->options.layer == VNIC_LAYER_ETHERNET;

	if (count == 0 || count > VNIC_BURST_PACKETS)
		die("sends no burst", count, 0);
	for (unsigned i = 0; i < count; i++) {
		const struct vnic_packet *packet = &packets[i];
		const char *wrong =
			check_packet(packet, run->options.layer, own_mac, run->options.mtu_bytes);
		const uint8_t *ip = packet->data + (is_ethernet ? 14 : 0);
		size_t length = packet->length_bytes - (is_ethernet ? 14 : 0);

		if (wrong)
			die(wrong, i, packet->length_bytes);
		run->out_packets++;
		if (is_ethernet && packet->data[12] == 8 && packet->data[13] == 6) {
			run->is_asked[0] |= ip[7] == VNIC_ARP_REQUEST && ip[27] == 1;
			continue;
		}
		if (ip[0] >> 4 == 4 && ip[9] == VNIC_PROTOCOL_TCP)
			see_tcp(run, ip, length, VNIC_IPV4, 20);
		else if (ip[0] >> 4 == 6 && ip[6] == VNIC_PROTOCOL_TCP)
			see_tcp(run, ip, length, VNIC_IPV6, 40);
		else if (ip[0] >> 4 == 6 && ip[6] == VNIC_PROTOCOL_ICMPV6 &&
			 ip[40] == VNIC_ICMPV6_NEIGHBOR_SOLICITATION)
			run->is_asked[1] |= ip[63] == 1;
	}
}

/* As long as it wants to be called now it is, but not for ever. @return when next */
static uint64_t advance(struct run *run)
{
	uint64_t next_ns = 0;

	for (unsigned calls = 0; next_ns <= run->now_ns; calls++) {
		if (calls == CALLS_AT_ONCE)
			die("asks to be called at once", run->now_ns, next_ns);
		next_ns = vnic_stack_advance(run->stack, run->now_ns);
		check_invariants(run);
	}
	return next_ns;
}

static void deliver(struct run *run)
{
	if (run->held_count == 0)
		return;
	note_iss(run);
	vnic_stack_receive(run->stack, run->held, run->held_count, run->now_ns);
	for (unsigned i = 0; i < run->held_count; i++)
		free(run->held[i].data - run->held[i].headroom_bytes);
	run->held_count = 0;
	check_invariants(run);
}

static void pass_time(struct run *run, uint8_t code)
{
	uint64_t end_ns = run->now_ns + (code > 0 ? UINT64_C(1) << code % 42 : 0), next_ns;

	deliver(run);
	for (unsigned calls = 0; calls < CALLS_MOST; calls++) {
		next_ns = advance(run);
		if (next_ns > end_ns)
			break;
		run->now_ns = next_ns;
	}
	run->now_ns = end_ns;
	advance(run);
}

/* The memory is just as long as the packet, so that one byte too far is seen. */
static void give(struct run *run, struct vnic_packet *like, const uint8_t *bytes, size_t length,
		 bool is_held)
{
	struct vnic_packet *packet = &run->held[run->held_count];
	uint8_t *memory = malloc(length > 0 ? length : 1);

	if (!memory)
		return;
	memcpy(memory, bytes, length);
	*packet = *like;
	packet->data = memory;
	packet->length_bytes = packet->capacity_bytes = (uint32_t)length;
	run->held_count++;
	if (!is_held || run->held_count == HELD)
		deliver(run);
}

/* A frame or packet around what is at bytes + 14; with its lengths and checksums. */
static void give_ip(struct run *run, struct vnic_packet *like, uint8_t *bytes, size_t length,
		    bool is_held)
{
	bool is_ethernet = run->options.layer == VNIC_LAYER_ETHERNET;
	uint8_t *begin = is_ethernet ? bytes : bytes + 14;
	struct vnic_ethernet ethernet = {
		.ethertype = bytes[14] >> 4 == 6 ? VNIC_ETHERTYPE_IPV6 : VNIC_ETHERTYPE_IPV4,
	};

	memcpy(ethernet.destination, own_mac, VNIC_MAC_BYTES);
	memcpy(ethernet.source, their_mac, VNIC_MAC_BYTES);
	vnic_ethernet_build(bytes, 14, &ethernet);
	if (is_ethernet) {
		length += 14;
		like->csum_start = (uint16_t)(like->csum_start + 14);
	}
	repair(run->options.layer, begin, length);
	if (length <= sizeof(run->last_in)) {
		memcpy(run->last_in, begin, length);
		run->last_in_bytes = length;
	}
	give(run, like, begin, length, is_held);
}

static size_t build_ip(struct run *run, uint8_t *ip, const struct vnic_flow *flow, uint8_t protocol,
		       uint8_t class, size_t length)
{
	if (flow->local_address.family == VNIC_IPV4) {
		struct vnic_ipv4 ipv4 = {
			.tos = class,
			.ttl = 64,
			.protocol = protocol,
			.identification = ++run->identification,
			.total_bytes = (uint16_t)(20 + length),
		};

		memcpy(ipv4.source, flow->remote_address.bytes, 4);
		memcpy(ipv4.destination, flow->local_address.bytes, 4);
		vnic_ipv4_build(ip, 20, &ipv4);
		return 20;
	}
	struct vnic_ipv6 ipv6 = {
		.traffic_class = class,
		.next_header = protocol,
		.hop_limit = 255,
		.payload_bytes = (uint16_t)length,
	};

	memcpy(ipv6.source, flow->remote_address.bytes, 16);
	memcpy(ipv6.destination, flow->local_address.bytes, 16);
	vnic_ipv6_build(ip, 40, &ipv6);
	return 40;
}

/* The payload of a segment, by what its header says. */
static void fill_payload(uint8_t *bytes, size_t length)
{
	struct vnic_tcp tcp;
	int header = vnic_tcp_parse(bytes, length, &tcp);

	if (header < 0)
		return;
	length -= (size_t)header;
	memcpy(bytes + header,
	       stream_bytes(seed_of(tcp.destination_port, tcp.source_port), false,
			    tcp.sequence + !!(tcp.flags & VNIC_TCP_SYN), length),
	       length);
}

/* In two pieces; whole is a packet with right checksums, behind 14 bytes. */
static void give_fragments(struct run *run, uint8_t *whole, size_t header, size_t length,
			   bool is_held)
{
	static uint8_t piece[LONGEST];
	size_t cut = length / 2 / 8 * 8, at = 14 + header;

	repair(VNIC_LAYER_IP, whole + 14, header + length);
	for (unsigned i = 0; i < 2; i++) {
		size_t begin = i ? cut : 0, bytes = i ? length - cut : cut;
		struct vnic_packet like = {.flags = 0};
		size_t more = 0;

		memcpy(piece, whole, at);
		if (header == 20) {
			piece[14 + 6] = (uint8_t)((i ? 0 : 0x20) | begin / 8 >> 8);
			piece[14 + 7] = (uint8_t)(begin / 8);
		} else {
			struct vnic_ipv6_extension fragment = {
				.next_header = whole[14 + 6],
				.more_fragments = i == 0,
				.fragment_offset_bytes = (uint16_t)begin,
				.identification = run->identification,
			};

			piece[14 + 6] = VNIC_PROTOCOL_FRAGMENT;
			more = (size_t)vnic_ipv6_fragment_build(piece + at, 8, &fragment);
		}
		memcpy(piece + at + more, whole + at + begin, bytes);
		give_ip(run, &like, piece, header + more + bytes, is_held);
	}
	/* Changed, they would make payload that no stream has. */
	run->last_in_bytes = 0;
}

static void give_segment(struct run *run, struct talk *talk, struct parts *parts)
{
	static uint8_t bytes[LONGEST];
	bool is_ipv4 = talk->flow.local_address.family == VNIC_IPV4;
	size_t header = is_ipv4 ? 20 : 40, length = 20 + (size_t)parts->tcp.options_bytes;
	struct vnic_packet like = {.flags = parts->is_vouched ? VNIC_PACKET_DATA_VALID : 0};

	parts->tcp.source_port = talk->flow.remote_port;
	parts->tcp.destination_port = talk->flow.local_port;
	if (parts->payload_bytes > PAYLOAD_MOST)
		parts->payload_bytes = PAYLOAD_MOST;
	if (vnic_tcp_build(bytes + 14 + header, 60, &talk->flow.remote_address,
			   &talk->flow.local_address, &parts->tcp, 0) < 0)
		die("cannot build a segment", parts->tcp.options_bytes, 0);
	length += parts->payload_bytes;
	fill_payload(bytes + 14 + header, length);
	build_ip(run, bytes + 14, &talk->flow, VNIC_PROTOCOL_TCP, parts->mark, length);
	if (parts->is_fragmented && length >= 40) {
		if (!is_ipv4)
			run->identification++;
		give_fragments(run, bytes, header, length, parts->is_held);
		return;
	}
	if (parts->is_super && parts->payload_bytes > 500) {
		like.flags = VNIC_PACKET_NEEDS_CSUM;
		like.gso_type = is_ipv4 ? VNIC_GSO_TCP4 : VNIC_GSO_TCP6;
		like.gso_size_bytes = 500;
		like.csum_start = (uint16_t)header;
		like.csum_offset = 16;
	}
	give_ip(run, &like, bytes, header + length, parts->is_held);
}

static void add_option(struct vnic_tcp *tcp, const uint8_t *bytes, size_t length)
{
	if (tcp->options_bytes + length > sizeof(tcp->options))
		return;
	memcpy(tcp->options + tcp->options_bytes, bytes, length);
	tcp->options_bytes = (uint8_t)(tcp->options_bytes + length);
}

static void add_timestamps(const struct run *run, const struct talk *talk, struct vnic_tcp *tcp,
			   uint32_t later, uint32_t echo_later)
{
	uint8_t option[12] = {1, 1, 8, 10};

	vn_store32(option + 4, (uint32_t)(run->now_ns / 1000000) + later);
	vn_store32(option + 8, talk->seen_timestamp + echo_later);
	add_option(tcp, option, sizeof(option));
}

/* Options of a SYN. choice: which of them. */
static void add_syn_options(const struct run *run, const struct talk *talk, struct vnic_tcp *tcp,
			    uint8_t choice)
{
	static const uint16_t sizes[4] = {1460, 100, 536, 8960};
	uint8_t option[4] = {2, 4, (uint8_t)(sizes[choice & 3] >> 8), (uint8_t)sizes[choice & 3]};

	if (!(choice & 4))
		add_option(tcp, option, 4);
	if (!(choice & 8))
		add_option(tcp, (const uint8_t[]){1, 3, 3, choice & 16 ? 14 : 2}, 4);
	if (!(choice & 32))
		add_option(tcp, (const uint8_t[]){1, 1, 4, 2}, 4);
	if (!(choice & 64))
		add_timestamps(run, talk, tcp, 0, 0);
}

static void add_sacks(const struct vnic_connection *connection, struct vnic_tcp *tcp,
		      unsigned count, struct reader *reader)
{
	uint8_t option[28] = {1, 1, 5, (uint8_t)(2 + 8 * count)};

	for (unsigned i = 0; i < count; i++) {
		uint8_t where = take8(reader), length = take8(reader);
		uint32_t begin = connection ? connection->iss + (uint32_t)connection->una : 0;

		if (connection && where & 0x80)
			begin = connection->iss + (uint32_t)connection->nxt;
		begin += distance_of(where & 0x7f);
		vn_store32(option + 4 + (size_t)8 * i, begin);
		vn_store32(option + 8 + (size_t)8 * i, begin + (uint32_t)size_of(length));
	}
	add_option(tcp, option, 4 + (size_t)8 * count);
}

/* Whatever segment the input tells. */
static void send_segment(struct run *run, struct reader *reader)
{
	static const uint16_t windows[8] = {65535, 0, 1, 1000, 30000, 10, 3000, 64};
	struct talk *talk = &run->talks[take8(reader) % FLOWS];
	const struct vnic_connection *connection = vn_tcp_find(run->stack, &talk->flow);
	uint8_t flags = take8(reader), sequence = take8(reader), ack = take8(reader);
	uint8_t options = take8(reader), length = take8(reader), how = take8(reader);
	struct parts parts = {
		.tcp = {.flags = flags, .window = windows[how & 7]},
		.payload_bytes = size_of(length),
		.mark = how >> 3 & 3,
		.is_held = how & 0x20,
		.is_super = (how & 0xc0) == 0x40,
		.is_fragmented = (how & 0xc0) == 0x80,
		.is_vouched = (how & 0xc0) == 0xc0,
	};

	parts.tcp.sequence = talk->iss;
	parts.tcp.acknowledgment = talk->seen_sequence + 1;
	if (connection && connection->state != VN_TCP_SYN_SENT) {
		parts.tcp.sequence =
			connection->irs +
			(uint32_t)(sequence & 0x80 ? connection->rcv_edge : connection->rcv_nxt);
		parts.tcp.acknowledgment =
			connection->iss +
			(uint32_t)(ack & 0x80 ? connection->una : connection->nxt);
	}
	parts.tcp.sequence += distance_of(sequence & 0x7f);
	parts.tcp.acknowledgment += distance_of(ack & 0x7f);
	if (flags & VNIC_TCP_SYN)
		add_syn_options(run, talk, &parts.tcp, options);
	else if (!(options & 1))
		add_timestamps(run, talk, &parts.tcp, options & 2 ? distance_of(options >> 2) : 0,
			       options & 4 ? distance_of(options >> 3) : 0);
	if (options >> 6 && !(flags & VNIC_TCP_SYN))
		add_sacks(connection, &parts.tcp, options & 1 ? options >> 6 : 2, reader);
	give_segment(run, talk, &parts);
}

/* What the other end does first: a SYN, or the ACK for a SYN cookie. */
static void begin_honestly(struct run *run, struct talk *talk, struct parts *parts, uint8_t what)
{
	bool has_cookie = (talk->seen_flags & (VNIC_TCP_SYN | VNIC_TCP_ACK | VNIC_TCP_RST)) ==
				  (VNIC_TCP_SYN | VNIC_TCP_ACK) &&
			  talk->seen_ack == talk->iss + 1;

	if (has_cookie) {
		parts->tcp.flags = VNIC_TCP_ACK;
		parts->tcp.sequence = talk->iss + 1;
		parts->tcp.acknowledgment = talk->seen_sequence + 1;
		add_timestamps(run, talk, &parts->tcp, 0, 0);
		return;
	}
	talk->iss = run->wraps ? (uint32_t)-5 : talk->iss + 100000;
	parts->tcp.flags = VNIC_TCP_SYN | (what & 0x40 ? VNIC_TCP_ECE | VNIC_TCP_CWR : 0);
	parts->tcp.sequence = talk->iss;
	add_syn_options(run, talk, &parts->tcp, what & 0x80 ? what : 0);
	parts->payload_bytes = 0;
}

/* What the other end would do next, more or less. */
static void send_honestly(struct run *run, struct reader *reader)
{
	struct talk *talk = &run->talks[take8(reader) % FLOWS];
	const struct vnic_connection *connection = vn_tcp_find(run->stack, &talk->flow);
	uint8_t what = take8(reader);
	struct parts parts = {
		.tcp = {.flags = VNIC_TCP_ACK, .window = what & 0x40 ? 1000 : 65535},
		.payload_bytes = size_of(what & 15),
	};

	if (!connection) {
		begin_honestly(run, talk, &parts, what);
	} else if (connection->state == VN_TCP_SYN_SENT) {
		parts.tcp.flags |= VNIC_TCP_SYN | (what & 0x20 ? VNIC_TCP_ECE : 0);
		if (what & 0x40)
			parts.tcp.flags &= (uint8_t)~VNIC_TCP_ACK; /* both at once */
		parts.tcp.sequence = talk->iss = run->wraps ? (uint32_t)-5 : talk->iss + 100000;
		parts.tcp.acknowledgment = connection->iss + 1;
		add_syn_options(run, talk, &parts.tcp, what & 0x80 ? what : 0);
		parts.payload_bytes = 0;
	} else {
		uint64_t room = connection->rcv_edge - connection->rcv_nxt;

		parts.tcp.sequence = connection->irs + (uint32_t)connection->rcv_nxt;
		parts.tcp.acknowledgment =
			connection->iss +
			(uint32_t)(what & 0x80 ? (connection->una + connection->nxt) / 2
					       : connection->nxt);
		if (parts.payload_bytes > room)
			parts.payload_bytes = (size_t)room;
		if (what & 0x10)
			parts.tcp.flags |= VNIC_TCP_FIN;
		if (what & 0x20)
			parts.mark = 3;
		if (connection->has_timestamps)
			add_timestamps(run, talk, &parts.tcp, 0, 0);
	}
	give_segment(run, talk, &parts);
}

/* Where the segment in a packet is; NULL: what is in it is not only a whole segment. */
static uint8_t *find_segment(const struct run *run, uint8_t *bytes, size_t length, size_t *rest)
{
	struct vnic_ethernet ethernet;
	size_t at = 0;
	int header;

	if (run->options.layer == VNIC_LAYER_ETHERNET) {
		header = vnic_ethernet_parse(bytes, length, &ethernet);
		if (header < 0)
			return NULL;
		at = (size_t)header;
	}
	if (length >= at + 20 && bytes[at] >> 4 == 4) {
		if (bytes[at + 9] != VNIC_PROTOCOL_TCP || (bytes[at + 6] & 0x3f) || bytes[at + 7])
			return NULL;
		at += (size_t)(bytes[at] & 15) * 4;
	} else if (length >= at + 40 && bytes[at] >> 4 == 6) {
		if (bytes[at + 6] != VNIC_PROTOCOL_TCP)
			return NULL;
		at += 40;
	} else {
		return NULL;
	}
	if (at > length)
		return NULL;
	*rest = length - at;
	return bytes + at;
}

/* The last packet again, with some bytes changed. */
static void send_changed(struct run *run, struct reader *reader)
{
	uint8_t bytes[sizeof(run->last_in)], *segment;
	uint8_t how = take8(reader);
	size_t length = run->last_in_bytes, rest;
	struct vnic_packet like = {.flags = how >> 4 & 3};

	if (length == 0)
		return;
	memcpy(bytes, run->last_in, length);
	for (unsigned i = 0; i < (how & 7u); i++) {
		uint8_t at = take8(reader);

		bytes[at % length] = take8(reader);
	}
	like.csum_start = how & 0x40 ? take8(reader) : 20;
	like.csum_offset = 16;
	segment = find_segment(run, bytes, length, &rest);
	if (segment)
		fill_payload(segment, rest);
	/* Else it may be payload that no stream has, in a packet that is believed. */
	if (how & 0x80 || !segment)
		like.flags = 0;
	if (how & 8 && segment)
		repair(run->options.layer, bytes, length);
	give(run, &like, bytes, length, how & 0x80);
}

/* An ICMP error about the last packet that the stack sent on a flow. */
static void send_notice(struct run *run, struct reader *reader)
{
	static const uint16_t mtus[8] = {0, 68, 552, 576, 1000, 1280, 1400, 9000};
	const struct talk *talk = &run->talks[take8(reader) % FLOWS];
	uint8_t what = take8(reader), bytes[14 + 40 + 8 + sizeof(talk->last)];
	bool is_ipv4 = talk->flow.local_address.family == VNIC_IPV4;
	size_t header = is_ipv4 ? 20 : 40, length = VNIC_ICMP_HEADER_BYTES + talk->last_bytes;
	struct vnic_icmp icmp = {.rest = mtus[what & 7]};
	struct vnic_packet like = {.flags = 0};

	if (talk->last_bytes == 0)
		return;
	if (is_ipv4) {
		icmp.type = what & 8 ? VNIC_ICMP_UNREACHABLE : VNIC_ICMP_PARAMETER_PROBLEM;
		icmp.code = what & 0x80 ? 4 : what >> 4 & 7;
	} else {
		icmp.type = what & 0x80 ? VNIC_ICMPV6_PACKET_TOO_BIG
			    : what & 8  ? VNIC_ICMPV6_UNREACHABLE
					: VNIC_ICMPV6_PARAMETER_PROBLEM;
		icmp.code = what & 0x80 ? 0 : what >> 4 & 7;
	}
	memcpy(bytes + 14 + header + VNIC_ICMP_HEADER_BYTES, talk->last, talk->last_bytes);
	build_ip(run, bytes + 14, &talk->flow, is_ipv4 ? VNIC_PROTOCOL_ICMP : VNIC_PROTOCOL_ICMPV6,
		 0, length);
	vnic_icmp_build(bytes + 14 + header, length, &icmp, 0); /* repaired with the rest */
	give_ip(run, &like, bytes, header + length, false);
}

/* Tell the stack the other end's Ethernet address, if it has asked. */
static void answer_questions(struct run *run, bool anyway)
{
	uint8_t bytes[14 + 40 + 8 + 24];
	struct vnic_packet like = {.flags = 0};

	if (run->options.layer != VNIC_LAYER_ETHERNET)
		return;
	if (run->is_asked[0] || anyway) {
		struct vnic_arp arp = {.operation = VNIC_ARP_REPLY,
				       .sender_ip = {10, 0, 0, 1},
				       .target_ip = {10, 0, 0, 2}};
		struct vnic_ethernet ethernet = {.ethertype = VNIC_ETHERTYPE_ARP};

		memcpy(arp.sender_mac, their_mac, VNIC_MAC_BYTES);
		memcpy(arp.target_mac, own_mac, VNIC_MAC_BYTES);
		memcpy(ethernet.source, their_mac, VNIC_MAC_BYTES);
		memcpy(ethernet.destination, own_mac, VNIC_MAC_BYTES);
		vnic_ethernet_build(bytes, 14, &ethernet);
		vnic_arp_build(bytes + 14, VNIC_ARP_BYTES, &arp);
		run->is_asked[0] = false;
		give(run, &like, bytes, 14 + VNIC_ARP_BYTES, false);
	}
	if (run->is_asked[1]) {
		const struct vnic_flow *flow = &run->talks[1].flow;
		struct vnic_ndp ndp = {.has_mac = true};
		struct vnic_icmp icmp = {.type = VNIC_ICMPV6_NEIGHBOR_ADVERTISEMENT,
					 .rest = VNIC_NDP_SOLICITED | VNIC_NDP_OVERRIDE};
		int length;

		memcpy(ndp.target, flow->remote_address.bytes, VNIC_IPV6_BYTES);
		memcpy(ndp.mac, their_mac, VNIC_MAC_BYTES);
		length = vnic_ndp_build(icmp.type, bytes + 14 + 40 + 8, 24, &ndp);
		build_ip(run, bytes + 14, flow, VNIC_PROTOCOL_ICMPV6, 0, 8 + (size_t)length);
		vnic_icmp_build(bytes + 14 + 40, 8, &icmp, 0);
		run->is_asked[1] = false;
		give_ip(run, &like, bytes, 40 + 8 + (size_t)length, false);
	}
}

static void send_datagram(struct run *run, struct reader *reader)
{
	static uint8_t bytes[LONGEST];
	const struct talk *talk = &run->talks[take8(reader) % FLOWS];
	size_t length = size_of(take8(reader)), header;
	struct vnic_packet like = {.flags = 0};

	if (length > 60000)
		length = 60000;
	header = build_ip(run, bytes + 14, &talk->flow, VNIC_PROTOCOL_UDP, 0, 8 + length);
	store16(bytes + 14 + header, talk->flow.remote_port);
	store16(bytes + 14 + header + 2, talk->flow.local_port);
	memcpy(bytes + 14 + header + 8, stream_bytes(0, false, 0, length), length);
	give_ip(run, &like, bytes, header + 8 + length, take8(reader) & 1);
}

static void plan(struct run *run, struct reader *reader)
{
	uint8_t where = take8(reader);

	run->planned[where % PLACES] = (struct action){
		.times = (uint8_t)(1 + (where >> 3 & 7)),
		.code = take8(reader),
		.index = take8(reader),
		.amount = take8(reader),
	};
}

static void act(struct run *run, struct reader *reader)
{
	struct action action = {.code = take8(reader)};

	action.index = take8(reader);
	action.amount = take8(reader);
	user_act(run, &action, UINT32_MAX);
}

static void operate(struct run *run, struct reader *reader)
{
	uint8_t operation = take8(reader);

	switch (operation % 16) {
	case 0:
	case 1:
	case 2:
		send_segment(run, reader);
		break;
	case 3:
	case 4:
	case 5:
		send_honestly(run, reader);
		break;
	case 6:
	case 7:
	case 8:
		act(run, reader);
		break;
	case 9:
	case 10:
		pass_time(run, take8(reader));
		break;
	case 11:
		plan(run, reader);
		break;
	case 12:
		send_changed(run, reader);
		break;
	case 13:
		send_notice(run, reader);
		break;
	case 14:
		send_datagram(run, reader);
		break;
	default:
		if (operation & 0x80)
			vnic_stack_link_up(run->stack, run->now_ns);
		else
			answer_questions(run, operation & 0x40);
	}
	check_invariants(run);
	/* Calls outside are sent with the next call that tells the time, which is due at once. */
	if (operation & 0x10 && run->held_count == 0)
		advance(run);
	if (!run->is_silent)
		answer_questions(run, false);
}

static void add(struct run *run, const char *text)
{
	struct vnic_prefix prefix;

	if (vnic_prefix_parse(text, &prefix, NULL) < 0 ||
	    vnic_stack_add_address(run->stack, &prefix, NULL) < 0)
		die(text, 0, 0);
}

static struct vnic_address address_of(const char *text)
{
	struct vnic_prefix prefix;

	if (vnic_prefix_parse(text, &prefix, NULL) < 0)
		die(text, 0, 0);
	return prefix.address;
}

static void begin_talks(struct run *run)
{
	for (unsigned i = 0; i < FLOWS; i++) {
		unsigned talker = i % TALKERS, way = i / TALKERS;
		bool is_ipv6 = talker % 2 && run->options.mtu_bytes >= MTU_IPV6;
		struct talk *talk = &run->talks[i];

		talk->iss = i * 10000000u + 77;
		talk->flow.local_address = address_of(is_ipv6 ? "fd00::2/64" : "10.0.0.2/24");
		talk->flow.remote_address = address_of(is_ipv6 ? "fd00::1/64" : "10.0.0.1/24");
		talk->flow.remote_port = (uint16_t)(THEIR_PORT + talker);
		talk->flow.local_port = way == 0   ? LISTENER_PORT
					: way == 1 ? SOCKET_PORT
						   : (uint16_t)(OWN_PORT + talker);
	}
}

static void choose_options(struct run *run, struct reader *reader)
{
	/* A segment with a little payload needs 128. */
	static const unsigned mtus[8] = {1500, 1280, 576, 9000, 65535, 128, 1281, 1400};
	static const unsigned connections[4] = {64, 2, 4, 1};
	static const uint32_t memory[4] = {1 << 20, 4096, 20000, 1};
	static const unsigned backlogs[4] = {8, 1, 2, 256};
	static const uint32_t windows[8] = {0, 65535, 4096, 100, 1, 1 << 20, 1 << 30, 8192};
	uint8_t a = take8(reader), b = take8(reader), c = take8(reader), d = take8(reader);

	run->options = (struct vnic_stack_options){
		.layer = a & 1 ? VNIC_LAYER_ETHERNET : VNIC_LAYER_IP,
		.mtu_bytes = mtus[a >> 1 & 7],
		.plain = a & 0x10,
		.reassembly_bytes = a & 0x20 ? 4096 : 96 << 10,
		.reassembly_datagrams = 4,
		.neighbors = 4,
		.paths = 2,
		.udp_endpoints = ENDPOINTS,
		.tcp_listeners = 2,
		.tcp_connections = connections[b & 3],
		.tcp_out_of_order_bytes = memory[b >> 2 & 3],
		.errors_per_second = b & 0x40 ? 10 : 0,
		.send = on_send,
		.random = on_random,
		.user = run,
	};
	memcpy(run->options.mac, own_mac, VNIC_MAC_BYTES);
	run->is_silent = a & 0x40;
	run->wraps = a & 0x80;
	run->backlog = backlogs[b >> 4 & 3];
	run->is_blind = b & 0x80;
	run->connection_options = (struct vnic_connection_options){
		.window_bytes = windows[c & 7],
		.congestion = c & 8 ? VNIC_CONGESTION_NEWRENO : VNIC_CONGESTION_CUBIC,
		.no_nagle = c & 0x10,
		.no_delayed_ack = c & 0x20,
		.no_timestamps = c & 0x40,
		.no_sack = c & 0x80,
		.no_ecn = d & 1,
		.keepalive_ns = d & 2 ? 1000000000 : 0,
		.keepalive_interval_ns = d & 2 ? 100000000 : 0,
		.keepalive_probes = d & 2 ? 3 : 0,
		.user_timeout_ns = d & 4 ? 3000000000 : 0,
	};
	run->socket_bytes = d & 8 ? 4096 : 65536;
	run->room = d & 0x10 ? size_of(take8(reader)) : 1 << 20;
}

static void begin(struct run *run, struct reader *reader)
{
	choose_options(run, reader);
	run->now_ns = START_NS;
	if (vnic_stack_new(&run->options, &run->stack, NULL) < 0)
		die("no stack", 0, 0);
	add(run, "10.0.0.2/24");
	if (run->options.mtu_bytes >= MTU_IPV6)
		add(run, "fd00::2/64");
	begin_talks(run);
	user_begin(run);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct run run;
	struct reader reader = {data, size};

	memset(&run, 0, sizeof(run));
	run.random = 1;
	begin(&run, &reader);
	for (unsigned i = 0; reader.left > 0 && i < OPERATIONS_MOST; i++)
		operate(&run, &reader);
	pass_time(&run, size % 2 ? 36 : 20);
	user_before_free(&run);
	vnic_stack_free(run.stack);
	user_after_free(&run);
	return 0;
}
