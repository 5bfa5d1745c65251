/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A stack with a connection, and a test that says what it likes as the other end. Segments are told by
 * sequence numbers that begin with 0 at the first byte of payload, both ways, so a test reads like the
 * examples of RFC 9293. What the stack sends is kept, checked (check.c), and asked for one by one. Its user
 * takes what comes, as far as there is room, and offers what the test tells it to; the byte that it
 * sends at an offset is the one that peer_data() has for it.
 */
#include "talk.h"

#include <stdio.h>

static size_t on_read(struct vnic_connection *connection, void *user, uint64_t offset,
		      uint8_t *bytes, size_t length)
{
	(void)connection, (void)user;
	for (size_t i = 0; i < length; i++)
		bytes[i] = peer_data((size_t)offset + i);
	return length;
}

static void on_acked(struct vnic_connection *connection, void *user, uint64_t offset)
{
	struct talk *talk = user;

	(void)connection;
	assert_true(offset > talk->acked);
	talk->acked = offset;
}

static size_t on_receive(struct vnic_connection *connection, void *user, const uint8_t *bytes,
			 size_t length)
{
	struct talk *talk = user;

	(void)connection;
	if (length > talk->room)
		length = talk->room;
	if (length > talk->taken_most)
		length = talk->taken_most;
	assert_true(talk->received_bytes + length <= sizeof(talk->received));
	memcpy(talk->received + talk->received_bytes, bytes, length);
	talk->received_bytes += length;
	talk->room -= length;
	return length;
}

static size_t on_room(struct vnic_connection *connection, void *user)
{
	(void)connection;
	return ((struct talk *)user)->room;
}

static void on_event(struct vnic_connection *connection, void *user,
		     enum vnic_connection_event event, int code)
{
	struct talk *talk = user;

	if (connection != talk->connection)
		return; /* there are several */
	assert_false(talk->is_closed);
	if (event == VNIC_CONNECTION_ESTABLISHED)
		talk->is_established = true;
	else if (event == VNIC_CONNECTION_FINISHED)
		talk->is_finished = true;
	if (event != VNIC_CONNECTION_CLOSED)
		return;
	talk->is_closed = true;
	talk->code = code;
	talk->connection = NULL;
}

static const struct vnic_connection_operations operations = {
	.read = on_read,
	.acked = on_acked,
	.receive = on_receive,
	.room = on_room,
	.event = on_event,
};

static int on_accept(void *user, struct vnic_connection *connection)
{
	struct talk *talk = user;

	talk->accepted++;
	talk->connection = connection;
	vnic_connection_set_user(connection, &operations, talk);
	return 0;
}

static void change(struct vnic_stack_options *options)
{
	options->plain = true;
}

void talk_init(struct talk *talk)
{
	memset(talk, 0, sizeof(*talk));
	talk->remote = PEER4;
	talk->local = STACK4;
	talk->remote_port = TALK_PEER_PORT;
	talk->local_port = TALK_PORT;
	talk->iss = 0xfffffff0; /* it wraps soon */
	talk->window = 32768;
	talk->scale = 0xff;
	talk->mss = 1000;
	talk->room = 65535;
	talk->taken_most = SIZE_MAX;
	talk->options.window_bytes = 65535;
	talk->timestamp = 1000;
	peer_begin(&talk->peer, VNIC_LAYER_IP, change);
}

void talk_begin(struct talk *talk)
{
	struct vnic_listener_options where = {.port = TALK_PORT,
					      .backlog = 4,
					      .accept = on_accept,
					      .connection = talk->options,
					      .user = talk};

	assert_int_equal(vnic_listener_open(talk->peer.stack, &where, &talk->listener, NULL), 0);
}

void talk_connect(struct talk *talk)
{
	struct vnic_flow flow = {.remote_address = peer_address(talk->remote),
				 .remote_port = talk->remote_port,
				 .local_port = talk->local_port};

	assert_int_equal(vnic_connection_open(talk->peer.stack, &flow, &talk->options, &operations,
					      talk, &talk->connection, NULL),
			 0);
	talk_wait(talk, 0);
}

void talk_end(struct talk *talk)
{
	vnic_listener_close(talk->listener);
	talk->listener = NULL;
	peer_end(&talk->peer);
}

const char *talk_send_raw(struct talk *talk, const struct vnic_tcp *tcp, size_t payload_bytes)
{
	uint8_t packet[4096];
	size_t length = peer_tcp(packet, talk->remote, talk->local, tcp, payload_bytes);

	if (talk->tos) {
		struct vnic_ipv4 ipv4;

		vnic_ipv4_parse(packet, length, &ipv4);
		ipv4.tos = talk->tos;
		vnic_ipv4_build(packet, length, &ipv4);
	}
	return peer_send_ip(&talk->peer, packet, length);
}

static void add_option(struct vnic_tcp *tcp, const uint8_t *bytes, size_t length)
{
	memcpy(tcp->options + tcp->options_bytes, bytes, length);
	tcp->options_bytes = (uint8_t)(tcp->options_bytes + length);
}

static void add_options(const struct talk *talk, struct vnic_tcp *tcp)
{
	uint8_t mss[4] = {2, 4, (uint8_t)(talk->mss >> 8), (uint8_t)talk->mss};
	uint8_t scale[4] = {1, 3, 3, talk->scale};
	uint8_t timestamps[12] = {1, 1, 8, 10};

	if (tcp->flags & VNIC_TCP_SYN) {
		add_option(tcp, mss, 4);
		if (talk->scale != 0xff)
			add_option(tcp, scale, 4);
		if (talk->sack)
			add_option(tcp, (const uint8_t[]){1, 1, 4, 2}, 4);
	}
	if (talk->timestamps) {
		for (unsigned i = 0; i < 4; i++) {
			timestamps[4 + i] = (uint8_t)(talk->timestamp >> (24 - 8 * i));
			timestamps[8 + i] = (uint8_t)(talk->timestamp_echo >> (24 - 8 * i));
		}
		add_option(tcp, timestamps, 12);
	}
}

const char *talk_send(struct talk *talk, uint8_t flags, int64_t sequence, int64_t acknowledgment,
		      size_t payload_bytes)
{
	struct vnic_tcp tcp = {
		.source_port = talk->remote_port,
		.destination_port = talk->local_port,
		.sequence = talk->iss + 1 + (uint32_t)sequence,
		.flags = flags,
		.window = talk->window,
	};

	if (flags & VNIC_TCP_ACK)
		tcp.acknowledgment = talk->irs + 1 + (uint32_t)acknowledgment;
	add_options(talk, &tcp);
	return talk_send_raw(talk, &tcp, payload_bytes);
}

const char *talk_send_error(struct talk *talk, uint8_t type, uint8_t code, uint16_t mtu_bytes,
			    int64_t sequence)
{
	uint8_t packet[2048], *message = packet + VNIC_IPV4_HEADER_BYTES;
	struct vnic_icmp icmp = {.type = type, .code = code, .rest = mtu_bytes};
	struct vnic_tcp tcp = {.source_port = talk->local_port,
			       .destination_port = talk->remote_port,
			       .sequence = talk->irs + 1 + (uint32_t)sequence,
			       .flags = VNIC_TCP_ACK};
	size_t quote = VNIC_IPV4_HEADER_BYTES + 8;

	/* Of a full segment a router quotes 8 bytes behind the IP header at least. */
	peer_tcp(message + VNIC_ICMP_HEADER_BYTES, talk->local, talk->remote, &tcp, talk->mss);
	vnic_icmp_build(message, VNIC_ICMP_HEADER_BYTES + quote, &icmp, quote);
	return peer_send_ip(&talk->peer, packet,
			    peer_ip(packet, "10.0.0.254", talk->local, VNIC_PROTOCOL_ICMP, NULL,
				    VNIC_ICMP_HEADER_BYTES + quote));
}

size_t talk_count(const struct talk *talk)
{
	return talk->peer.count;
}

static uint32_t load32(const uint8_t *bytes)
{
	return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 |
	       bytes[3];
}

static void read_options(const struct talk *talk, struct talk_segment *segment)
{
	const uint8_t *option;
	size_t at = 0, length;

	while (vnic_tcp_next_option(&segment->tcp, &at, &option, &length) > 0) {
		if (option[0] == VNIC_TCP_OPTION_TIMESTAMPS) {
			segment->has_timestamps = true;
			segment->timestamp = load32(option + 2);
			segment->timestamp_echo = load32(option + 6);
		}
		if (option[0] != VNIC_TCP_OPTION_SACK)
			continue;
		for (size_t i = 2; i + 8 <= length; i += 8) {
			int64_t *sack = segment->sacks[segment->sack_count++];

			sack[0] = (int32_t)(load32(option + i) - talk->iss - 1);
			sack[1] = (int32_t)(load32(option + i + 4) - talk->iss - 1);
		}
	}
}

struct talk_segment talk_segment(struct talk *talk, size_t n)
{
	const struct peer_answer *answer = peer_answer(&talk->peer, n);
	struct talk_segment segment = {.at_ns = answer->at_ns};
	struct vnic_ipv4 ipv4;
	int ip = vnic_ipv4_parse(answer->ip, answer->ip_length, &ipv4), header;

	assert_int_equal(ip, VNIC_IPV4_HEADER_BYTES);
	assert_int_equal(ipv4.protocol, VNIC_PROTOCOL_TCP);
	header = vnic_tcp_parse(answer->ip + ip, answer->ip_length - (size_t)ip, &segment.tcp);
	assert_true(header > 0);
	if (segment.tcp.flags & VNIC_TCP_SYN)
		talk->irs = segment.tcp.sequence;
	segment.sequence = (int32_t)(segment.tcp.sequence - talk->irs - 1);
	segment.acknowledgment = (int32_t)(segment.tcp.acknowledgment - talk->iss - 1);
	segment.payload = answer->ip + ip + header;
	segment.payload_bytes = answer->ip_length - (size_t)ip - (size_t)header;
	segment.ecn = ipv4.tos & 3;
	read_options(talk, &segment);
	return segment;
}

void talk_expect_nothing(struct talk *talk)
{
	char line[VNIC_PACKET_LINE_BYTES];

	if (talk->peer.count == 0)
		return;
	vnic_packet_print(
		&(struct vnic_packet){.data = talk->peer.answers[0].bytes,
				      .length_bytes = (uint32_t)talk->peer.answers[0].length},
		VNIC_LAYER_IP, line, sizeof(line));
	fail_msg("the stack sent %zu packets: %s", talk->peer.count, line);
}

struct talk_segment talk_expect(struct talk *talk, uint8_t flags, int64_t sequence,
				int64_t acknowledgment, size_t payload_bytes)
{
	static uint8_t payload[65536];
	struct talk_segment segment;

	if (talk->peer.count > 1) {
		peer_answer(&talk->peer, 1);
		for (size_t i = 0; i < talk->peer.count && i < 8; i++) {
			segment = talk_segment(talk, i);
			print_message("# flags %02x seq %lld ack %lld length %zu\n",
				      segment.tcp.flags, (long long)segment.sequence,
				      (long long)segment.acknowledgment, segment.payload_bytes);
		}
		fail_msg("the stack sent %zu segments, not 1", talk->peer.count);
	}
	segment = talk_segment(talk, 0);
	if (segment.tcp.flags != flags || segment.sequence != sequence ||
	    (flags & VNIC_TCP_ACK && segment.acknowledgment != acknowledgment) ||
	    segment.payload_bytes != payload_bytes)
		fail_msg("the stack sent flags %02x seq %lld ack %lld length %zu, not %02x %lld "
			 "%lld %zu",
			 segment.tcp.flags, (long long)segment.sequence,
			 (long long)segment.acknowledgment, segment.payload_bytes, flags,
			 (long long)sequence, (long long)acknowledgment, payload_bytes);
	for (size_t i = 0; i < payload_bytes; i++)
		assert_int_equal(segment.payload[i], peer_data((size_t)sequence + i));
	memcpy(payload, segment.payload, payload_bytes);
	segment.payload = payload;
	talk->timestamp_echo = segment.timestamp;
	peer_clear(&talk->peer);
	return segment;
}

void talk_handshake(struct talk *talk)
{
	uint8_t ecn = talk->ecn ? VNIC_TCP_ECE : 0;

	talk_send(talk, (uint8_t)(VNIC_TCP_SYN | (talk->ecn ? VNIC_TCP_ECE | VNIC_TCP_CWR : 0)), -1,
		  0, 0);
	talk_expect(talk, (uint8_t)(VNIC_TCP_SYN | VNIC_TCP_ACK | ecn), -1, 0, 0);
	talk_send(talk, VNIC_TCP_ACK, 0, 0, 0);
	talk_expect_nothing(talk);
	assert_int_equal(talk->accepted, 1);
	assert_true(talk->is_established);
	assert_string_equal(talk_state(talk), "ESTABLISHED");
}

void talk_wait(struct talk *talk, uint64_t duration_ns)
{
	peer_wait(&talk->peer, duration_ns);
}

const char *talk_state(const struct talk *talk)
{
	struct vnic_connection_info info;

	if (!talk->connection)
		return "none";
	vnic_connection_query(talk->connection, &info);
	return info.state;
}
