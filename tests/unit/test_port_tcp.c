/* SPDX-License-Identifier: MIT */
/* tcp: and tcp-listen:, against each other and against sockets of the test's own. */
#include "nic.h"
#include "plug.h"

#include "base/bytes.h"
#include "io/frame.h"

#include <netinet/tcp.h>

static struct vnic_burst *burst;

static struct vnic_packet *packet_at(unsigned index)
{
	return &vnic_burst_packets(burst)[index];
}

/* A frame with a packet of this length and number in it. Returns where the next one goes. */
static uint8_t *put_frame(uint8_t *to, uint32_t length, uint32_t number)
{
	struct vnic_packet packet = {.data = to + 2, .capacity_bytes = length};

	vn_store16(to, (uint16_t)length);
	plug_fill(&packet, length, number);
	return to + 2 + length;
}

/* A listening port, whose own port is the kernel's choice. */
static uint16_t listen_at(struct plug *plug, enum vnic_layer layer)
{
	plug_open_layer(plug, "tcp-listen:127.0.0.1:0", layer);
	plug_turn(plug, false, 0);
	return (uint16_t)strtoul(strrchr(vnic_port_name(plug->port), ':') + 1, NULL, 10);
}

static int connect_to(uint16_t port)
{
	struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons(port)};
	int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	assert_true(descriptor >= 0);
	name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (connect(descriptor, (struct sockaddr *)&name, sizeof(name)) < 0)
		fail_msg("connect: %s", strerror(errno));
	setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return descriptor;
}

static int connect_peer(struct plug *plug, uint16_t port)
{
	unsigned before = plug->events[VNIC_PORT_CONNECTED];
	int descriptor = connect_to(port);

	plug_until(plug, plug->events[VNIC_PORT_CONNECTED] == before + 1);
	return descriptor;
}

static void write_all(int descriptor, const uint8_t *bytes, size_t length)
{
	ssize_t put = length ? send(descriptor, bytes, length, MSG_NOSIGNAL) : 0;

	if (put != (ssize_t)length)
		fail_msg("send: %zd of %zu: %s", put, length, strerror(errno));
}

static void read_all(int descriptor, uint8_t *bytes, size_t length)
{
	while (length > 0) {
		ssize_t got;

		nic_wait(descriptor, POLLIN);
		got = recv(descriptor, bytes, length, 0);
		if (got <= 0)
			fail_msg("recv: %zd, %s", got, strerror(errno));
		bytes += got;
		length -= (size_t)got;
	}
}

static void assert_closed(int descriptor)
{
	uint8_t byte;
	ssize_t got;

	do {
		nic_wait(descriptor, POLLIN);
		got = recv(descriptor, &byte, 1, 0);
	} while (got > 0);
	if (got < 0 && errno != ECONNRESET)
		fail_msg("recv: %s", strerror(errno));
}

static void test_specifications(void **state)
{
	static const struct {
		const char *specification;
		int code;
		const char *part;
	} wrong[] = {
		{"tcp:", -EINVAL, "HOST:PORT"},
		{"tcp:localhost", -EINVAL, "HOST:PORT"},
		{"tcp:localhost:", -EINVAL, "HOST:PORT"},
		{"tcp:localhost:0", -EINVAL, "HOST:PORT"},
		{"tcp::5000", -EINVAL, "HOST:PORT"},
		{"tcp:::1:5000", -EINVAL, "HOST:PORT"},
		{"tcp:[fd00::1:5000", -EINVAL, "brackets"},
		{"tcp:[localhost]:5000", -EINVAL, "no IPv6 address"},
		{"tcp-listen:127.0.0.1:x", -EINVAL, "HOST:PORT"},
		{"tcp-listen:192.0.2.1:0", -EADDRNOTAVAIL, "bind"},
	};
	struct vnic_error error = {0};
	struct vnic_port *port;
	struct plug plug;

	NIC_BEGIN(state);
	plug_loopback(65536);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_refused(vnic_port_open(wrong[i].specification, NULL, &port, &error), &error,
			       wrong[i].code,
			       wrong[i].code == -EINVAL ? VNIC_CAUSE_ARGUMENT : VNIC_CAUSE_SYSTEM,
			       wrong[i].part);
	plug_open(&plug, "tcp-listen:127.0.0.1:7001");
	assert_string_equal(vnic_port_name(plug.port), "tcp-listen:127.0.0.1:7001");
	assert_string_equal(vnic_port_kind(plug.port), "tcp-listen");
	assert_int_equal(vnic_port_most_bytes(plug.port), 0);
	assert_refused(vnic_port_open("tcp-listen:127.0.0.1:7001", NULL, &port, &error), &error,
		       -EADDRINUSE, VNIC_CAUSE_SYSTEM, "bind");
	plug_close(&plug);
	plug_open(&plug, "tcp-listen:[::1]:0");
	assert_non_null(strstr(vnic_port_name(plug.port), "tcp-listen:[::1]:"));
	assert_null(strstr(vnic_port_name(plug.port), ":0"));
	plug_close(&plug);
	plug_open(&plug, "tcp-listen::7001");
	plug_close(&plug);
	plug_open(&plug, "tcp:localhost:7001");
	plug_close(&plug);
}

static void test_frames(void **state)
{
	uint8_t stream[64] = {0, 30, 0x45, 0, 0, 30};

	(void)state;
	assert_int_equal(vn_frame_parse(stream, 0, VNIC_LAYER_IP), 0);
	assert_int_equal(vn_frame_parse(stream, 1, VNIC_LAYER_IP), 0);
	for (size_t i = 2; i < 32; i++)
		assert_int_equal(vn_frame_parse(stream, i, VNIC_LAYER_IP), 0);
	for (size_t i = 32; i < 40; i++)
		assert_int_equal(vn_frame_parse(stream, i, VNIC_LAYER_IP), 32);
	stream[5] = 31; /* the header disagrees: known as soon as it is there */
	assert_int_equal(vn_frame_parse(stream, 5, VNIC_LAYER_IP), 0);
	assert_int_equal(vn_frame_parse(stream, 6, VNIC_LAYER_IP), -EBADMSG);
	assert_int_equal(vn_frame_parse(stream, 6, VNIC_LAYER_ETHERNET), 0);
	stream[2] = 0x55;
	assert_int_equal(vn_frame_parse(stream, 3, VNIC_LAYER_IP), -EBADMSG);
	stream[2] = 0x60; /* IPv6 */
	stream[1] = 43;
	stream[7] = 3;
	assert_int_equal(vn_frame_parse(stream, 45, VNIC_LAYER_IP), 45);
	stream[7] = 4;
	assert_int_equal(vn_frame_parse(stream, 7, VNIC_LAYER_IP), 0);
	assert_int_equal(vn_frame_parse(stream, 8, VNIC_LAYER_IP), -EBADMSG);
	stream[1] = 0;
	assert_int_equal(vn_frame_parse(stream, 2, VNIC_LAYER_IP), -EBADMSG);
	assert_int_equal(vn_frame_parse(stream, 2, VNIC_LAYER_ETHERNET), -EBADMSG);
	stream[1] = 19;
	assert_int_equal(vn_frame_parse(stream, 2, VNIC_LAYER_IP), -EBADMSG);
	assert_int_equal(vn_frame_parse(stream, 2, VNIC_LAYER_ETHERNET), 0);
	stream[1] = 13;
	assert_int_equal(vn_frame_parse(stream, 2, VNIC_LAYER_ETHERNET), -EBADMSG);
}

/* Three frames that come in two pieces, cut at each place. */
static void test_every_split(void **state)
{
	static const uint32_t lengths[] = {40, 20, 77};
	uint8_t stream[256] = {0}, *end = stream;
	struct plug plug;
	uint16_t port;
	int peer;

	NIC_BEGIN(state);
	plug_loopback(65536);
	port = listen_at(&plug, VNIC_LAYER_IP);
	peer = connect_peer(&plug, port);
	for (unsigned i = 0; i < 3; i++)
		end = put_frame(end, lengths[i], i);
	for (size_t at = 0; at <= (size_t)(end - stream); at++) {
		struct vnic_packet *packets = NULL;
		unsigned whole = 0, done = 0;
		size_t sum = 0;

		while (whole < 3 && (sum += 2 + lengths[whole]) <= at)
			whole++;
		for (unsigned piece = 0; piece < 2; piece++) {
			unsigned until = piece ? 3 : whole;

			if (piece)
				write_all(peer, stream + at, (size_t)(end - stream) - at);
			else
				write_all(peer, stream, at);
			while (done < until) {
				unsigned got = plug_receive(&plug, &packets, 2);

				assert_true(done + got <= 3);
				for (unsigned i = 0; i < got; i++, done++) {
					struct vnic_packet *expected = packet_at(0);

					plug_fill(expected, lengths[done % 3], done);
					assert_same_packet(&packets[i], expected);
				}
			}
			assert_int_equal(done, until);
			assert_int_equal(plug_look(&plug, &packets, 64), 0);
		}
	}
	assert_counter(&plug, VNIC_PORT_IN_PACKETS, 3 * (end - stream + 1));
	assert_event(&plug, VNIC_PORT_DISCONNECTED, 0);
	plug_close(&plug);
	close(peer);
}

/* Whatever does not make sense ends the connection, and the next one is as good as new. */
static void test_nonsense(void **state)
{
	static const struct {
		uint8_t bytes[8];
		size_t length;
		enum vnic_layer layer;
	} nonsense[] = {
		{{0, 0}, 2, VNIC_LAYER_IP},
		{{0, 19}, 2, VNIC_LAYER_IP},
		{{0, 40, 0x45, 0, 0, 41}, 6, VNIC_LAYER_IP},
		{{0, 40, 0x15}, 3, VNIC_LAYER_IP},
		{"SSH-2.0-", 8, VNIC_LAYER_IP},
		{"GET / HT", 8, VNIC_LAYER_IP},
		{{0x16, 3, 1, 2, 0, 1, 0, 1}, 8, VNIC_LAYER_IP}, /* TLS */
		{{0, 0}, 2, VNIC_LAYER_ETHERNET},
		{{0, 13}, 2, VNIC_LAYER_ETHERNET},
	};
	uint8_t stream[256], *end = put_frame(stream, 50, 1);
	struct vnic_packet *packets, *expected = packet_at(0);

	NIC_BEGIN(state);
	plug_loopback(65536);
	plug_fill(expected, 50, 1);
	for (size_t i = 0; i < sizeof(nonsense) / sizeof(nonsense[0]); i++) {
		struct plug plug;
		uint16_t port = listen_at(&plug, nonsense[i].layer);
		int peer = connect_peer(&plug, port);

		memcpy(end, nonsense[i].bytes, nonsense[i].length);
		write_all(peer, stream, (size_t)(end - stream) + nonsense[i].length);
		assert_int_equal(plug_receive(&plug, &packets, 64), 1);
		assert_same_packet(packets, expected);
		plug_until(&plug, plug_look(&plug, &packets, 64) == 0 &&
					  plug.events[VNIC_PORT_PROTOCOL_ERROR] == 1);
		assert_event(&plug, VNIC_PORT_DISCONNECTED, 1);
		assert_closed(peer);
		close(peer);
		assert_counter(&plug, VNIC_PORT_DROP_MALFORMED, 1);
		assert_counter(&plug, VNIC_PORT_DROP_TRUNCATED, 0);
		assert_counter(&plug, VNIC_PORT_IN_PACKETS, 2);
		peer = connect_peer(&plug, port);
		write_all(peer, stream, (size_t)(end - stream));
		assert_int_equal(plug_receive(&plug, &packets, 64), 1);
		assert_same_packet(packets, expected);
		plug_close(&plug);
		close(peer);
	}
}

static void test_peer_ends_within_a_packet(void **state)
{
	uint8_t stream[256], *end = put_frame(put_frame(stream, 50, 1), 60, 2);
	struct vnic_packet *packets;
	struct plug plug;
	uint16_t port;
	int peer;

	NIC_BEGIN(state);
	plug_loopback(65536);
	port = listen_at(&plug, VNIC_LAYER_IP);
	for (unsigned i = 1; i <= 3; i++) {
		peer = connect_peer(&plug, port);
		write_all(peer, stream, (size_t)(end - stream) - (size_t)10 * i);
		close(peer);
		assert_int_equal(plug_receive(&plug, &packets, 64), 1);
		plug_until(&plug, plug_look(&plug, &packets, 64) == 0 &&
					  plug.events[VNIC_PORT_DISCONNECTED] == i);
		assert_counter(&plug, VNIC_PORT_DROP_TRUNCATED, i);
		assert_counter(&plug, VNIC_PORT_IN_PACKETS, 2 * i);
	}
	plug_close(&plug);
}

static void test_one_peer_at_a_time(void **state)
{
	uint8_t stream[256], *end = put_frame(stream, 50, 1);
	struct vnic_packet *packets;
	struct plug plug;
	uint16_t port;
	int peer, other;

	NIC_BEGIN(state);
	plug_loopback(65536);
	port = listen_at(&plug, VNIC_LAYER_IP);
	peer = connect_peer(&plug, port);
	for (unsigned i = 0; i < 20; i++) {
		struct pollfd descriptor = {.events = POLLIN};

		other = connect_to(port);
		descriptor.fd = other;
		plug_until(&plug, poll(&descriptor, 1, 0) == 1);
		assert_closed(other);
		close(other);
	}
	write_all(peer, stream, (size_t)(end - stream));
	assert_int_equal(plug_receive(&plug, &packets, 64), 1);
	assert_event(&plug, VNIC_PORT_CONNECTED, 1);
	close(peer);
	plug_until(&plug,
		   plug_look(&plug, &packets, 64) == 0 && plug.events[VNIC_PORT_DISCONNECTED] == 1);
	peer = connect_peer(&plug, port);
	plug_close(&plug);
	close(peer);
}

/* Two ports joined. */
static void test_round_trip(void **state)
{
	struct vnic_packet *packets;
	struct plug server, client;
	char name[64];
	uint32_t seed = 5;
	unsigned sum = 0;

	NIC_BEGIN(state);
	plug_loopback(65536);
	snprintf(name, sizeof(name), "tcp:127.0.0.1:%u", listen_at(&server, VNIC_LAYER_IP));
	plug_open(&client, name);
	plug_until(&client, client.events[VNIC_PORT_CONNECTED] == 1);
	plug_until(&server, server.events[VNIC_PORT_CONNECTED] == 1);
	for (unsigned round = 0; round < 300; round++) {
		struct plug *from = round % 2 ? &server : &client;
		struct plug *to = round % 2 ? &client : &server;
		unsigned count = 1 + (seed >> 8) % VNIC_BURST_PACKETS, done = 0;

		vnic_burst_reset(burst);
		for (unsigned i = 0; i < count; i++) {
			seed = seed * 1664525 + 1013904223;
			plug_fill(packet_at(i),
				  seed >> 30 ? 20 + (seed >> 8) % 1481 : 20 + (seed >> 8) % 6000,
				  seed);
		}
		plug_send(from, vnic_burst_packets(burst), count);
		while (done < count) {
			unsigned got = plug_receive(to, &packets, 1 + (seed >> 20) % 64);

			for (unsigned i = 0; i < got; i++)
				assert_same_packet(&packets[i], packet_at(done++));
			plug_turn(from, false, 0); /* it may have been too much for the kernel */
		}
		assert_int_equal(done, count);
		sum += count;
	}
	assert_int_equal(plug_counter(&client, VNIC_PORT_OUT_PACKETS) +
				 plug_counter(&server, VNIC_PORT_OUT_PACKETS),
			 sum);
	assert_int_equal(plug_counter(&client, VNIC_PORT_OUT_BYTES),
			 plug_counter(&server, VNIC_PORT_IN_BYTES));
	plug_close(&server);
	plug_close(&client);
}

static void test_super_packets(void **state)
{
	const struct sample samples[] = {
		{.payload = 64000, .identification = 9},
		{.payload = 10, .sequence = 64000, .identification = 55},
		{.ipv6 = true, .payload = 50001},
		{.udp = true, .payload = 30000},
	};
	enum {
		COUNT = sizeof(samples) / sizeof(samples[0])
	};
	const uint16_t size = 1448;
	struct vnic_packet *packets, *got = NULL, expected;
	struct plug plug;
	uint16_t port;
	int peer;

	NIC_BEGIN(state);
	plug_loopback(65536);
	port = listen_at(&plug, VNIC_LAYER_IP);
	peer = connect_peer(&plug, port);
	vnic_burst_reset(burst);
	packets = vnic_burst_packets(burst);
	expected = packets[COUNT];
	for (unsigned i = 0; i < COUNT; i++) {
		if (samples[i].payload > size)
			sample_build_super(&samples[i], size, &packets[i]);
		else
			sample_build_partial(&samples[i], &packets[i]);
	}
	plug_send(&plug, packets, COUNT);
	got = &packets[COUNT + 1];
	for (unsigned i = 0; i < COUNT; i++) {
		unsigned segments = (samples[i].payload + size - 1) / size;

		for (unsigned j = 0; j < segments; j++) {
			struct sample segment = samples[i];
			uint8_t length[2];

			if (segments > 1)
				segment = sample_segment(&samples[i], size, j);
			sample_build(&segment, &expected);
			read_all(peer, length, 2);
			assert_int_equal(vn_load16(length), expected.length_bytes);
			read_all(peer, got->data, expected.length_bytes);
			assert_memory_equal(got->data, expected.data, expected.length_bytes);
		}
	}
	plug_close(&plug);
	close(peer);
}

/* What the protocol cannot carry is dropped here, so that the peer need not end the connection. */
static void test_refused(void **state)
{
	struct vnic_packet *packets;
	struct plug plug;
	uint8_t frame[100];
	uint16_t port;
	int peer;

	NIC_BEGIN(state);
	plug_loopback(65536);
	port = listen_at(&plug, VNIC_LAYER_IP);
	peer = connect_peer(&plug, port);
	vnic_burst_reset(burst);
	packets = vnic_burst_packets(burst);
	for (unsigned i = 0; i < 5; i++)
		plug_fill(&packets[i], 60, i);
	packets[0].data[3] = 61;
	packets[1].data[0] = 0x55;
	packets[2].length_bytes = 19;
	packets[3].length_bytes = VNIC_PACKET_BYTES;
	plug_send(&plug, packets, 5);
	assert_counter(&plug, VNIC_PORT_DROP_REFUSED, 3);
	assert_counter(&plug, VNIC_PORT_DROP_TOO_LONG, 1);
	assert_counter(&plug, VNIC_PORT_OUT_PACKETS, 1);
	read_all(peer, frame, 62);
	assert_memory_equal(frame + 2, packets[4].data, 60);
	plug_close(&plug);
	close(peer);
}

/* Reads a stream to its end: whole frames in their order, and perhaps one that is cut off. */
static unsigned read_frames(int peer, bool *cut_off)
{
	static uint8_t bytes[2 + VN_FRAME_MOST_BYTES + (1 << 16)];
	size_t have = 0;
	unsigned count = 0;
	ssize_t got;

	for (;;) {
		size_t at = 0;

		nic_wait(peer, POLLIN);
		got = recv(peer, bytes + have, sizeof(bytes) - have, 0);
		if (got <= 0)
			break;
		have += (size_t)got;
		for (;;) {
			int used = vn_frame_parse(bytes + at, have - at, VNIC_LAYER_IP);

			assert_true(used >= 0);
			if (used == 0)
				break;
			at += (size_t)used;
			count++;
		}
		have -= at;
		memmove(bytes, bytes + at, have);
	}
	*cut_off = have > 0;
	return count;
}

static unsigned send_until_full(struct plug *plug)
{
	unsigned sent = 0;

	vnic_burst_reset(burst);
	for (unsigned i = 0; i < VNIC_BURST_PACKETS; i++)
		plug_fill(packet_at(i), 1400 + i, i);
	while (plug_counter(plug, VNIC_PORT_DROP_FULL) < 500) {
		plug_send(plug, vnic_burst_packets(burst), VNIC_BURST_PACKETS);
		sent += VNIC_BURST_PACKETS;
	}
	return sent;
}

static void test_slow_reader(void **state)
{
	unsigned sent, read_count;
	struct plug plug;
	bool cut_off;
	uint16_t port;
	pid_t child;
	int peer, status;

	NIC_BEGIN(state);
	plug_loopback(65536);
	port = listen_at(&plug, VNIC_LAYER_IP);
	peer = connect_peer(&plug, port);
	sent = send_until_full(&plug);
	assert_int_equal(plug.port->kind->room(plug.port, 0), 0);
	assert_false(plug.port->kind->is_drained(plug.port, 0));
	/* Another process reads, and the rest goes out. */
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		plug.port->kind->close(plug.port);
		read_count = read_frames(peer, &cut_off);
		_exit(cut_off || read_count < 100 ? 1 : (int)(read_count % 100) + 2);
	}
	close(peer);
	plug_until(&plug, plug.port->kind->is_drained(plug.port, 0));
	assert_true(plug.port->kind->room(plug.port, 0) > 0);
	assert_int_equal(plug_counter(&plug, VNIC_PORT_OUT_PACKETS) +
				 plug_counter(&plug, VNIC_PORT_DROP_FULL),
			 sent);
	assert_counter(&plug, VNIC_PORT_DROP_NO_PEER, 0);
	/* Every packet that counts as sent was read, and whole. */
	sent = (unsigned)plug_counter(&plug, VNIC_PORT_OUT_PACKETS);
	plug_close(&plug);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), sent % 100 + 2);
}

/* The peer goes away while packets wait for it: they are counted. */
static void test_peer_dies_while_full(void **state)
{
	struct vnic_packet *packets;
	struct plug plug;
	unsigned sent;
	uint16_t port;
	int peer;

	NIC_BEGIN(state);
	plug_loopback(65536);
	port = listen_at(&plug, VNIC_LAYER_IP);
	peer = connect_peer(&plug, port);
	sent = send_until_full(&plug);
	close(peer); /* with bytes unread: a reset */
	plug_until(&plug,
		   plug_look(&plug, &packets, 64) == 0 && plug.events[VNIC_PORT_DISCONNECTED] == 1);
	assert_true(plug_counter(&plug, VNIC_PORT_DROP_NO_PEER) > 0);
	assert_int_equal(plug_done_with(&plug), sent);
	plug_send(&plug, vnic_burst_packets(burst), 10);
	assert_int_equal(plug_done_with(&plug), sent + 10);
	/* The next peer gets whole frames from the first byte on. */
	peer = connect_peer(&plug, port);
	plug_send(&plug, vnic_burst_packets(burst), 1);
	read_all(peer, packet_at(2)->data, 2 + 1400);
	assert_int_equal(vn_load16(packet_at(2)->data), 1400);
	assert_memory_equal(packet_at(2)->data + 2, packet_at(0)->data, 1400);
	plug_close(&plug);
	close(peer);
}

/* Send finds the connection broken before receive handed out what came: nothing of it is lost. */
static void test_broken_while_packets_wait(void **state)
{
	uint8_t stream[2048], *end = stream;
	struct vnic_packet *packets;
	struct plug plug;
	unsigned got = 0;
	uint16_t port;
	int peer;

	NIC_BEGIN(state);
	plug_loopback(65536);
	port = listen_at(&plug, VNIC_LAYER_IP);
	peer = connect_peer(&plug, port);
	for (unsigned i = 0; i < 20; i++)
		end = put_frame(end, 50, i);
	write_all(peer, stream, (size_t)(end - stream));
	assert_int_equal(plug_receive(&plug, &packets, 1), 1);
	close(peer);
	vnic_burst_reset(burst);
	plug_fill(packet_at(0), 100, 1);
	for (unsigned i = 0; plug_counter(&plug, VNIC_PORT_DROP_NO_PEER) == 0; i++) {
		assert_true(i < 1000);
		plug_send(&plug, packet_at(0), 1);
	}
	plug_until(&plug, (got += plug_look(&plug, &packets, 4),
			   plug.events[VNIC_PORT_DISCONNECTED] == 1));
	assert_int_equal(got, 19);
	plug_close(&plug);
}

static void test_stop(void **state)
{
	struct plug plug;
	unsigned sent;
	uint16_t port;
	int peer;

	NIC_BEGIN(state);
	plug_loopback(65536);
	port = listen_at(&plug, VNIC_LAYER_IP);
	peer = connect_peer(&plug, port);
	plug.port->kind->stop(plug.port); /* nothing waits: nothing happens */
	sent = send_until_full(&plug);
	plug.port->kind->stop(plug.port);
	assert_int_equal(plug_done_with(&plug), sent);
	plug_close(&plug);
	close(peer);
}

static void test_connecting_again(void **state)
{
	struct vnic_packet *packets;
	struct plug client, server;
	uint64_t begin_ns;

	NIC_BEGIN(state);
	plug_loopback(65536);
	plug_open(&client, "tcp:127.0.0.1:7001");
	vnic_burst_reset(burst);
	plug_fill(packet_at(0), 100, 1);
	plug_send(&client, packet_at(0), 1); /* before it ever tried */
	begin_ns = vn_now_ns();
	for (unsigned i = 0; vn_now_ns() - begin_ns < 700000000; i++) {
		plug_turn(&client, false, UINT64_C(1000000000));
		assert_true(i < 30); /* it does not spin: three or four tries */
	}
	assert_event(&client, VNIC_PORT_DISCONNECTED, 1);
	assert_event(&client, VNIC_PORT_CONNECTED, 0);
	assert_counter(&client, VNIC_PORT_DROP_NO_PEER, 1);
	assert_int_equal(client.port->kind->room(client.port, 0), 0);

	plug_open(&server, "tcp-listen:127.0.0.1:7001");
	plug_until(&client, client.events[VNIC_PORT_CONNECTED] == 1);
	assert_true(client.port->kind->room(client.port, 0) > 0);
	plug_until(&server, server.events[VNIC_PORT_CONNECTED] == 1);
	plug_send(&client, packet_at(0), 1);
	assert_int_equal(plug_receive(&server, &packets, 64), 1);
	/* The server dies and comes back. */
	plug_close(&server);
	plug_until(&client, plug_look(&client, &packets, 64) == 0 &&
				    client.events[VNIC_PORT_DISCONNECTED] == 2);
	plug_open(&server, "tcp-listen:127.0.0.1:7001");
	plug_until(&client, client.events[VNIC_PORT_CONNECTED] == 2);
	plug_close(&server);
	plug_close(&client);
}

static void test_name_with_several_addresses(void **state)
{
	struct plug client, server;

	NIC_BEGIN(state);
	plug_loopback(65536);
	/* localhost may be ::1 first, where nobody listens. */
	plug_open(&server, "tcp-listen:127.0.0.1:7001");
	plug_open(&client, "tcp:localhost:7001");
	plug_until(&client, client.events[VNIC_PORT_CONNECTED] == 1);
	plug_close(&client);
	plug_close(&server);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		NIC_TEST(test_specifications),
		cmocka_unit_test(test_frames),
		NIC_TEST(test_every_split),
		NIC_TEST(test_nonsense),
		NIC_TEST(test_peer_ends_within_a_packet),
		NIC_TEST(test_one_peer_at_a_time),
		NIC_TEST(test_round_trip),
		NIC_TEST(test_super_packets),
		NIC_TEST(test_refused),
		NIC_TEST(test_slow_reader),
		NIC_TEST(test_peer_dies_while_full),
		NIC_TEST(test_broken_while_packets_wait),
		NIC_TEST(test_stop),
		NIC_TEST(test_connecting_again),
		NIC_TEST(test_name_with_several_addresses),
	};
	int failed;

	if (vnic_burst_new(VNIC_BURST_PACKETS, 0, 0, &burst, NULL) < 0)
		return 1;
	failed = cmocka_run_group_tests_name("port_tcp", tests, NULL, NULL);
	vnic_burst_free(burst);
	return failed;
}
