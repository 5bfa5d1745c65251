/* SPDX-License-Identifier: MIT */
/*
 * udp: between two ports, and against sockets of the test's own, on the loopback of a namespace.
 * The linker sends sendmmsg(2) through __wrap_sendmmsg() here, which can play a kernel or a network
 * device that cannot segment UDP.
 */
#include "nic.h"
#include "plug.h"

#include "io/endpoint.h"
#include "io/udp_batch.h"

static int refusal;       /* what a message of several segments gets; 0: it is sent */
static unsigned messages; /* that were sent by sendmmsg(2) */

int __real_sendmmsg(int descriptor, struct mmsghdr *vector, unsigned count, int flags);
int __wrap_sendmmsg(int descriptor, struct mmsghdr *vector, unsigned count, int flags);
int __wrap_sendmmsg(int descriptor, struct mmsghdr *vector, unsigned count, int flags)
{
	unsigned most = 0;
	int sent;

	while (refusal && most < count && vector[most].msg_hdr.msg_controllen == 0)
		most++;
	if (refusal && most == 0) {
		errno = refusal;
		return -1;
	}
	sent = __real_sendmmsg(descriptor, vector, refusal ? most : count, flags);
	if (sent > 0)
		messages += (unsigned)sent;
	return sent;
}

static struct vnic_burst *burst;

static int make_burst(void **state)
{
	(void)state;
	refusal = 0;
	messages = 0;
	return vnic_burst_new(VNIC_BURST_PACKETS, 0, 0, &burst, NULL);
}

/* A port whose peer is the other one. */
static void open_two(struct plug *one, struct plug *other, bool ipv6)
{
	static const char *const names[2][2] = {
		{"udp:127.0.0.1:7001-127.0.0.2:7002", "udp:127.0.0.2:7002-127.0.0.1:7001"},
		{"udp:[::1]:7001-[::1]:7002", "udp:[::1]:7002-[::1]:7001"},
	};

	plug_open(one, names[ipv6][0]);
	plug_open(other, names[ipv6][1]);
}

static void test_specifications(void **state)
{
	static const struct {
		const char *specification, *part;
	} wrong[] = {
		{"udp:", "'-'"},
		{"udp:127.0.0.1", "'-'"},
		{"udp:127.0.0.1-127.0.0.1", "PORT"},
		{"udp:127.0.0.1-127.0.0.1:0", "PORT"},
		{"udp:127.0.0.1-127.0.0.1:65536", "PORT"},
		{"udp:127.0.0.1-127.0.0.1:5x", "PORT"},
		{"udp:127.0.0.1-127.0.0.1:-1", "PORT"},
		{"udp:127.0.0.1-:5000", "PORT"},
		{"udp:127.0.0.1:70000-127.0.0.1:5000", "PORT"},
		{"udp:127.0.0.1-localhost:5000", "no address"},
		{"udp:127.0.0.1-::1:5000", "PORT"},
		{"udp:127.0.0.1-[::1:5000", "brackets"},
		{"udp:127.0.0.1-[::1]5000", "brackets"},
		{"udp:127.0.0.1-[127.0.0.1]:5000", "no IPv6 address"},
		{"udp:127.0.0.1-[::1]:5000", "no IPv6 address"},
		{"udp:[::1]-127.0.0.1:5000", "address"},
	};
	struct vnic_port_options queues = {.queues = 2};
	struct vnic_error error = {0};
	struct vnic_port *port;
	struct plug plug;

	NIC_BEGIN(state);
	plug_loopback(65536);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_refused(vnic_port_open(wrong[i].specification, NULL, &port, &error), &error,
			       -EINVAL, VNIC_CAUSE_ARGUMENT, wrong[i].part);
	assert_refused(vnic_port_open("udp:-127.0.0.1:5000", &queues, &port, &error), &error,
		       -EINVAL, VNIC_CAUSE_ARGUMENT, "2 queues");
	assert_refused(vnic_port_open("udp:192.0.2.1-127.0.0.1:5000", NULL, &port, &error), &error,
		       -EADDRNOTAVAIL, VNIC_CAUSE_SYSTEM, "bind");
	assert_refused(vnic_port_open("udp:-192.0.2.1:5000", NULL, &port, &error), &error,
		       -ENETUNREACH, VNIC_CAUSE_SYSTEM, "reach");

	plug_open(&plug, "udp:127.0.0.1:7001-127.0.0.1:7002");
	assert_string_equal(vnic_port_kind(plug.port), "udp");
	assert_string_equal(vnic_port_name(plug.port), "udp:127.0.0.1:7001-127.0.0.1:7002");
	/* Not even another of ours may have the port. */
	assert_refused(vnic_port_open("udp:127.0.0.1:7001-127.0.0.1:7003", NULL, &port, &error),
		       &error, -EADDRINUSE, VNIC_CAUSE_SYSTEM, "bind");
	assert_refused(vnic_port_open("udp::7001-127.0.0.1:7003", NULL, &port, &error), &error,
		       -EADDRINUSE, VNIC_CAUSE_SYSTEM, "bind");
	plug_close(&plug);
	plug_open(&plug, "udp::7001-127.0.0.1:7002");
	assert_string_equal(vnic_port_name(plug.port), "udp:0.0.0.0:7001-127.0.0.1:7002");
	plug_close(&plug);
	plug_open(&plug, "udp:[::1]-[::1]:7002");
	assert_non_null(strstr(vnic_port_name(plug.port), "udp:[::1]:"));
	assert_null(strstr(vnic_port_name(plug.port), "udp:[::1]:0-"));
	plug_close(&plug);
}

static void test_most_bytes(void **state)
{
	struct plug four, six;

	NIC_BEGIN(state);
	plug_loopback(65536);
	open_two(&four, &six, false);
	assert_int_equal(vnic_port_most_bytes(four.port), 65507);
	plug_close(&four);
	plug_close(&six);
	plug_loopback(1500);
	plug_open(&four, "udp:-127.0.0.1:7001");
	plug_open(&six, "udp:-[::1]:7001");
	assert_int_equal(vnic_port_most_bytes(four.port), 1472);
	assert_int_equal(vnic_port_most_bytes(six.port), 1452);
	plug_close(&four);
	plug_close(&six);
}

static struct vnic_packet *fill(const uint32_t *lengths, unsigned count, uint32_t number)
{
	struct vnic_packet *packets;

	vnic_burst_reset(burst);
	packets = vnic_burst_packets(burst);
	for (unsigned i = 0; i < count; i++)
		plug_fill(&packets[i], lengths[i], number + i);
	return packets;
}

/* What was sent arrives, in its order; taken in bites of at most so many. */
static void expect(struct plug *plug, const struct vnic_packet *sent, unsigned count, unsigned bite)
{
	struct vnic_packet *packets;
	unsigned done = 0;

	while (done < count) {
		unsigned got = plug_receive(plug, &packets, bite);

		assert_true(done + got <= count);
		for (unsigned i = 0; i < got; i++)
			assert_same_packet(&packets[i], &sent[done + i]);
		done += got;
	}
}

static void round_trip(bool ipv6, unsigned mtu_bytes)
{
	const unsigned headers = ipv6 ? 48 : 28;
	uint32_t lengths[VNIC_BURST_PACKETS], seed = 7;
	struct plug one, other;
	unsigned sum = 0;

	plug_loopback(mtu_bytes);
	open_two(&one, &other, ipv6);
	for (unsigned round = 0; round < 200; round++) {
		unsigned count = 1 + (seed >> 8) % VNIC_BURST_PACKETS;
		uint32_t usual = 1 + (seed >> 16) % (1500 - headers);
		struct vnic_packet *packets;

		for (unsigned i = 0; i < count; i++) {
			seed = seed * 1664525 + 1013904223;
			lengths[i] = seed >> 28 == 0  ? 1 + (seed >> 8) % (1500 - headers)
				     : round % 3 == 0 ? 1500 - headers
						      : usual;
		}
		packets = fill(lengths, count, seed);
		plug_send(&one, packets, count);
		expect(&other, packets, count, round % 5 ? VNIC_BURST_PACKETS : 1 + round % 7);
		sum += count;
	}
	assert_counter(&one, VNIC_PORT_OUT_PACKETS, sum);
	assert_counter(&other, VNIC_PORT_IN_PACKETS, sum);
	assert_int_equal(plug_counter(&one, VNIC_PORT_OUT_BYTES),
			 plug_counter(&other, VNIC_PORT_IN_BYTES));
	assert_true(plug_counter(&one, VNIC_PORT_OUT_SUPERPACKETS) > 100);
	assert_int_equal(plug_counter(&one, VNIC_PORT_OUT_SUPERPACKETS),
			 plug_counter(&other, VNIC_PORT_IN_SUPERPACKETS));
	assert_true(messages < sum / 2);
	assert_event(&other, VNIC_PORT_CONNECTED, 1);
	assert_event(&one, VNIC_PORT_CONNECTED, 0);
	plug_close(&one);
	plug_close(&other);
}

static void test_round_trip(void **state)
{
	NIC_BEGIN(state);
	round_trip(false, 1500);
	round_trip(true, 1500);
	round_trip(false, 65536);
}

static void test_longest(void **state)
{
	const uint32_t lengths[] = {65507, 1, 65507, 65506};
	struct vnic_packet *packets;
	struct plug one, other;

	NIC_BEGIN(state);
	plug_loopback(65536);
	open_two(&one, &other, false);
	packets = fill(lengths, 4, 1);
	plug_send(&one, packets, 4);
	expect(&other, packets, 4, 64);
	plug_close(&one);
	plug_close(&other);
}

static void test_super_packets(void **state)
{
	const struct sample samples[] = {
		{.payload = 60000, .identification = 9},
		{.payload = 1, .sequence = 60000, .identification = 51},
		{.payload = 64000, .sequence = 60001, .flags = 0x18},
		{.ipv6 = true, .payload = 50000},
		{.udp = true, .payload = 30000},
	};
	enum {
		COUNT = sizeof(samples) / sizeof(samples[0])
	};
	const uint16_t size = 1400;
	struct vnic_packet *packets, *got = NULL, expected = {0};
	struct plug one, other;
	unsigned left = 0, sum = 0;

	NIC_BEGIN(state);
	plug_loopback(1500);
	open_two(&one, &other, false);
	assert_int_equal(one.port->queues[0].offloads, VNIC_OFFLOAD_ALL);
	vnic_burst_reset(burst);
	packets = vnic_burst_packets(burst);
	for (unsigned i = 0; i < COUNT; i++) {
		if (samples[i].payload > size)
			sample_build_super(&samples[i], size, &packets[i]);
		else
			sample_build_partial(&samples[i], &packets[i]);
	}
	plug_send(&one, packets, COUNT);
	expected.data = packets[COUNT].data;
	expected.capacity_bytes = packets[COUNT].capacity_bytes;
	for (unsigned i = 0; i < COUNT; i++) {
		unsigned segments = (samples[i].payload + size - 1) / size;

		for (unsigned j = 0; j < segments; j++) {
			struct sample segment = samples[i];

			if (segments > 1)
				segment = sample_segment(&samples[i], size, j);

			if (left == 0)
				left = plug_receive(&other, &got, VNIC_BURST_PACKETS);
			sample_build(&segment, &expected);
			expected.flags = 0;
			assert_same_packet(got++, &expected);
			left--;
			sum++;
		}
	}
	assert_int_equal(left, 0);
	assert_counter(&one, VNIC_PORT_OUT_PACKETS, sum);
	assert_counter(&other, VNIC_PORT_IN_PACKETS, sum);
	/* One that makes no sense is dropped alone. */
	sample_build_super(&samples[0], size, &packets[0]);
	packets[0].csum_start += 2;
	sample_build(&samples[1], &packets[1]);
	plug_send(&one, packets, 2);
	expect(&other, packets + 1, 1, 64);
	assert_counter(&one, VNIC_PORT_DROP_REFUSED, (60000 + size - 1) / size);
	plug_close(&one);
	plug_close(&other);
}

static void test_strangers(void **state)
{
	const uint32_t lengths[] = {100, 200};
	struct vnic_packet *packets;
	struct plug one, other;
	int stranger, port_only;

	NIC_BEGIN(state);
	plug_loopback(1500);
	open_two(&one, &other, false);
	stranger = nic_udp("127.0.0.1", 6000);  /* the peer's address, another port */
	port_only = nic_udp("127.0.0.3", 7002); /* the peer's port, another address */
	packets = fill(lengths, 2, 3);
	plug_send(&other, packets, 1);
	for (unsigned i = 0; i < 100; i++) {
		nic_udp_send(stranger, "127.0.0.1", 7001, "xxxx", 4);
		nic_udp_send(port_only, "127.0.0.1", 7001, "xxx", 3);
	}
	plug_send(&other, packets + 1, 1);
	expect(&one, packets, 2, 64);
	plug_until(&one, plug_counter(&one, VNIC_PORT_DROP_STRANGER) == 200);
	assert_counter(&one, VNIC_PORT_IN_PACKETS, 202);
	assert_counter(&one, VNIC_PORT_IN_BYTES, 300 + 700);
	assert_int_equal(plug_look(&one, &packets, 64), 0);
	plug_close(&one);
	plug_close(&other);
	close(stranger);
	close(port_only);
}

static void test_endpoints(void **state)
{
	struct vn_endpoint a, b;
	struct vnic_error error = {0};

	(void)state;
#define PARSE(text, endpoint)                                                                 \
	assert_ok(vn_endpoint_parse(text, strlen(text), text, AF_UNSPEC, VN_ENDPOINT_NUMERIC, \
				    endpoint, 1, &error),                                     \
		  &error)
	PARSE("10.0.0.1:5", &a);
	PARSE("10.0.0.1:5", &b);
	assert_true(vn_endpoint_equal(&a, &b.address, b.length_bytes));
	assert_false(vn_endpoint_equal(&a, &b.address, 0));
	PARSE("10.0.0.1:6", &b);
	assert_false(vn_endpoint_equal(&a, &b.address, b.length_bytes));
	PARSE("10.0.0.2:5", &b);
	assert_false(vn_endpoint_equal(&a, &b.address, b.length_bytes));
	PARSE("[fd00::1]:5", &a);
	assert_false(vn_endpoint_equal(&a, &b.address, b.length_bytes));
	PARSE("[fd00::1]:5", &b);
	assert_true(vn_endpoint_equal(&a, &b.address, b.length_bytes));
	PARSE("[fd00::2]:5", &b);
	assert_false(vn_endpoint_equal(&a, &b.address, b.length_bytes));
	PARSE("[fe80::1%1]:5", &a);
	PARSE("[fe80::1%2]:5", &b);
	assert_false(vn_endpoint_equal(&a, &b.address, b.length_bytes));
#undef PARSE
}

static void test_datagrams_that_are_no_packets(void **state)
{
	const uint32_t length = 50;
	struct vnic_packet *packets;
	struct plug plug;
	int peer;

	NIC_BEGIN(state);
	plug_loopback(1500);
	plug_open(&plug, "udp:127.0.0.1:7001-127.0.0.2:7002");
	peer = nic_udp("127.0.0.2", 7002);
	packets = fill(&length, 1, 1);
	nic_udp_send(peer, "127.0.0.1", 7001, "", 0);
	nic_udp_send(peer, "127.0.0.1", 7001, packets->data, length);
	nic_udp_send(peer, "127.0.0.1", 7001, "", 0);
	expect(&plug, packets, 1, 64);
	assert_int_equal(plug_look(&plug, &packets, 64), 0);
	assert_counter(&plug, VNIC_PORT_DROP_MALFORMED, 2);
	assert_counter(&plug, VNIC_PORT_IN_PACKETS, 3);
	plug_close(&plug);
	close(peer);
}

/* How many datagrams there are now. */
static unsigned take_all(int descriptor)
{
	unsigned count = 0;
	uint8_t byte;

	while (recv(descriptor, &byte, 1, MSG_DONTWAIT) >= 0)
		count++;
	return count;
}

static void test_peer_missing_and_back(void **state)
{
	const uint32_t lengths[] = {100, 100, 100, 100, 100};
	struct vnic_packet *packets;
	struct plug plug;
	uint8_t byte[200];
	int peer;

	NIC_BEGIN(state);
	plug_loopback(1500);
	plug_open(&plug, "udp:127.0.0.1:7001-127.0.0.2:7002");
	packets = fill(lengths, 5, 1);
	plug_send(&plug, packets, 1);
	assert_counter(&plug, VNIC_PORT_OUT_PACKETS, 1); /* nobody knows yet */
	plug_until(&plug,
		   plug_look(&plug, &packets, 64) == 0 && plug.events[VNIC_PORT_DISCONNECTED] == 1);
	packets = fill(lengths, 5, 1);
	for (unsigned i = 0; i < 10; i++)
		plug_send(&plug, packets, 5);
	assert_true(plug_counter(&plug, VNIC_PORT_DROP_NO_PEER) >= 40);
	assert_int_equal(plug_done_with(&plug), 51);
	assert_event(&plug, VNIC_PORT_DISCONNECTED, 1);

	/* It is back, and tells by sending. */
	peer = nic_udp("127.0.0.2", 7002);
	nic_udp_send(peer, "127.0.0.1", 7001, packets->data, 100);
	expect(&plug, packets, 1, 64);
	assert_event(&plug, VNIC_PORT_CONNECTED, 1);
	plug_send(&plug, packets, 5);
	for (unsigned i = 0; i < 5; i++) {
		nic_wait(peer, POLLIN);
		assert_int_equal(recv(peer, byte, sizeof(byte), MSG_TRUNC), 100);
	}
	/* And it is gone, and back, and only listens: a packet is tried now and then. */
	close(peer);
	plug_send(&plug, packets, 5);
	plug_until(&plug,
		   plug_look(&plug, &packets, 64) == 0 && plug.events[VNIC_PORT_DISCONNECTED] == 2);
	peer = nic_udp("127.0.0.2", 7002);
	packets = fill(lengths, 5, 1);
	plug_until(&plug, (plug_send(&plug, packets, 1), take_all(peer) == 1));
	plug_until(&plug, (plug_send(&plug, packets, 5), take_all(peer) == 5));
	assert_event(&plug, VNIC_PORT_CONNECTED, 1);
	plug_close(&plug);
	close(peer);
}

/* The path's MTU shrinks: what is longer is counted, and the port knows the new one. */
static void test_mtu_shrinks(void **state)
{
	const uint32_t lengths[] = {1472, 1472, 1472, 1000, 1172, 1173, 20};
	struct vnic_packet *packets;
	struct plug one, other;

	NIC_BEGIN(state);
	plug_loopback(1500);
	open_two(&one, &other, false);
	plug_loopback(1200);
	packets = fill(lengths, 7, 1);
	plug_send(&one, packets, 7);
	assert_int_equal(vnic_port_most_bytes(one.port), 1172);
	assert_counter(&one, VNIC_PORT_DROP_TOO_LONG, 4);
	assert_counter(&one, VNIC_PORT_OUT_PACKETS, 3);
	assert_event(&one, VNIC_PORT_SOFTWARE_GSO, 0);
	expect(&other, packets + 3, 2, 2);
	expect(&other, packets + 6, 1, 1);
	/* It grows again: known after a while. */
	plug_loopback(1500);
	assert_true(one.port->kind->advance(one.port, vn_now_ns()) == VN_PORT_NEVER);
	assert_int_equal(vnic_port_most_bytes(one.port), 1472);
	plug_close(&one);
	plug_close(&other);
}

static void refused_segments(int code)
{
	const uint32_t lengths[] = {700, 700, 700, 300, 700, 90, 90, 90};
	struct sample sample = {.payload = 30000};
	struct vnic_packet *packets;
	struct plug one, other;

	plug_loopback(1500);
	open_two(&one, &other, false);
	refusal = code;
	for (unsigned i = 0; i < 3; i++) {
		packets = fill(lengths, 8, i);
		plug_send(&one, packets, 8);
		expect(&other, packets, 8, 64);
	}
	assert_event(&one, VNIC_PORT_SOFTWARE_GSO, 1);
	sample_build_super(&sample, 1000, &packets[0]);
	plug_send(&one, packets, 1);
	plug_until(&other, plug_look(&other, &packets, 64) == 0 &&
				   plug_counter(&other, VNIC_PORT_IN_PACKETS) == 24 + 30);
	assert_counter(&one, VNIC_PORT_OUT_PACKETS, 24 + 30);
	assert_counter(&one, VNIC_PORT_OUT_SUPERPACKETS, 0);
	assert_event(&one, VNIC_PORT_SOFTWARE_GSO, 1);
	refusal = 0;
	plug_close(&one);
	plug_close(&other);
}

static void test_segments_refused(void **state)
{
	NIC_BEGIN(state);
	refused_segments(EIO);
	refused_segments(EINVAL);
	refused_segments(EOPNOTSUPP);
}

static void test_overflow(void **state)
{
	uint32_t lengths[VNIC_BURST_PACKETS];
	struct vnic_packet *packets;
	struct plug one, other;
	uint64_t sent, dropped;

	NIC_BEGIN(state);
	plug_loopback(1500);
	open_two(&one, &other, false);
	for (unsigned i = 0; i < VNIC_BURST_PACKETS; i++)
		lengths[i] = 1472;
	packets = fill(lengths, VNIC_BURST_PACKETS, 1);
	for (unsigned i = 0; i < 400; i++)
		plug_send(&one, packets, VNIC_BURST_PACKETS);
	sent = plug_counter(&one, VNIC_PORT_OUT_PACKETS);
	assert_int_equal(plug_done_with(&one), 400 * VNIC_BURST_PACKETS);
	while (plug_look(&other, &packets, 64) > 0)
		;
	/* How many were lost the kernel tells with the next that comes. */
	packets = fill(lengths, 1, 1);
	plug_send(&one, packets, 1);
	plug_receive(&other, &packets, 64);
	dropped = plug_counter(&other, VNIC_PORT_DROP_OVERFLOW);
	assert_true(dropped > 0);
	/* A message counts as one there, for the kernel does not tell how long they were. */
	assert_true(plug_counter(&other, VNIC_PORT_IN_PACKETS) <= sent + 1);
	plug_close(&one);
	plug_close(&other);
}

static void test_room(void **state)
{
	struct plug one, other;

	NIC_BEGIN(state);
	plug_loopback(1500);
	open_two(&one, &other, false);
	assert_true(one.port->kind->room(one.port, 0) > 0);
	plug_close(&one);
	plug_close(&other);
}

/* The batch alone: which packets become one message. */
static void batch_messages(bool segments, const uint32_t *lengths, unsigned count,
			   const unsigned *expected, unsigned expected_count)
{
	static uint8_t memory[VN_UDP_BUFFER_BYTES];
	struct vn_udp_batch batch = {
		.segments = segments, .most_bytes = VN_UDP_DATAGRAM_BYTES, .buffer = memory};
	uint32_t used = 0;

	for (unsigned i = 0; i < count; i++) {
		/* Some behind one another in memory, some not. */
		assert_true(vn_udp_batch_add(&batch, memory + used + (i % 3 == 0), lengths[i]));
		used += lengths[i] + (i % 3 == 2);
	}
	assert_int_equal(batch.message_count, expected_count);
	for (unsigned i = 0, first = 0; i < expected_count; i++) {
		const struct vn_udp_message *message = &batch.messages[i];
		uint32_t bytes = 0, parts = 0;

		assert_int_equal(message->packets, expected[i]);
		assert_int_equal(message->size_bytes, lengths[first]);
		for (unsigned j = 0; j < expected[i]; j++)
			bytes += lengths[first + j];
		assert_int_equal(message->bytes, bytes);
		for (unsigned j = 0; j < message->part_count; j++)
			parts += (uint32_t)batch.parts[message->first_part + j].iov_len;
		assert_int_equal(parts, bytes);
		first += expected[i];
	}
}

static void test_batch(void **state)
{
	uint32_t lengths[VN_UDP_MESSAGES + 6];

	(void)state;
	batch_messages(true, (uint32_t[]){5}, 1, (unsigned[]){1}, 1);
	batch_messages(true, (uint32_t[]){5, 5, 5}, 3, (unsigned[]){3}, 1);
	batch_messages(true, (uint32_t[]){5, 5, 4, 5}, 4, (unsigned[]){3, 1}, 2);
	batch_messages(true, (uint32_t[]){5, 4, 4, 4}, 4, (unsigned[]){2, 2}, 2);
	batch_messages(true, (uint32_t[]){4, 5, 4}, 3, (unsigned[]){1, 2}, 2);
	batch_messages(true, (uint32_t[]){1, 2, 3}, 3, (unsigned[]){1, 1, 1}, 3);
	batch_messages(false, (uint32_t[]){5, 5, 5}, 3, (unsigned[]){1, 1, 1}, 3);
	for (unsigned i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++)
		lengths[i] = 100;
	batch_messages(true, lengths, VN_UDP_SEGMENTS + 6, (unsigned[]){VN_UDP_SEGMENTS, 6}, 2);
	for (unsigned i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++)
		lengths[i] = 1472; /* 44 are 64768 bytes */
	batch_messages(true, lengths, 60, (unsigned[]){44, 16}, 2);
}

static void test_batch_is_full(void **state)
{
	static uint8_t memory[VN_UDP_BUFFER_BYTES], data[VNIC_PACKET_BYTES];
	struct vn_udp_batch batch = {
		.segments = true, .most_bytes = VN_UDP_DATAGRAM_BYTES, .buffer = memory};
	struct vnic_packet packet = {.data = data, .capacity_bytes = sizeof(data)};
	const struct sample sample = {.payload = 64000};
	struct vnic_segmenter segmenter;
	unsigned added = 0, sum = 0;
	int made;

	(void)state;
	/* Each longer than the last: no two in one message. */
	while (vn_udp_batch_add(&batch, memory + added, added + 1))
		added++;
	assert_int_equal(added, VN_UDP_MESSAGES);
	vn_udp_batch_clear(&batch);
	/* Parts run out where nothing is adjacent. */
	for (added = 0; vn_udp_batch_add(&batch, memory + (size_t)added * 30, 20); added++)
		;
	assert_int_equal(added, VN_UDP_PARTS);
	vn_udp_batch_clear(&batch);
	/* Super-packets until the buffer is full; what is left over goes into the next batch. */
	sample_build_super(&sample, 1400, &packet);
	for (added = 0;; added++) {
		assert_int_equal(vnic_segmenter_begin(&segmenter, &packet, VNIC_LAYER_IP), 46);
		while ((made = vn_udp_batch_cut(&batch, &segmenter)) > 0)
			sum += (unsigned)made;
		if (made < 0)
			break;
		assert_int_equal(made, 0);
	}
	assert_int_equal(made, -ENOBUFS);
	assert_true(added >= 3 && added <= 4);
	assert_true(batch.used_bytes <= VN_UDP_BUFFER_BYTES);
	vn_udp_batch_clear(&batch);
	while ((made = vn_udp_batch_cut(&batch, &segmenter)) > 0)
		sum += (unsigned)made;
	assert_int_equal(made, 0);
	assert_int_equal(sum, (added + 1) * 46);
}

static void test_split(void **state)
{
	uint8_t data[1000];
	struct vn_udp_split split = {.data = data, .length_bytes = 950, .size_bytes = 100};
	struct vnic_packet packets[20];

	(void)state;
	assert_int_equal(vn_udp_split_packets(&split), 10);
	assert_int_equal(vn_udp_split_next(&split, packets, 3), 3);
	assert_ptr_equal(packets[2].data, data + 200);
	assert_int_equal(packets[2].length_bytes, 100);
	assert_int_equal(packets[2].capacity_bytes, 100);
	assert_int_equal(vn_udp_split_packets(&split), 7);
	assert_int_equal(vn_udp_split_next(&split, packets, 20), 7);
	assert_int_equal(packets[6].length_bytes, 50);
	assert_int_equal(vn_udp_split_packets(&split), 0);
	assert_int_equal(vn_udp_split_next(&split, packets, 20), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		NIC_TEST(test_specifications),
		NIC_TEST(test_most_bytes),
		NIC_TEST(test_round_trip),
		NIC_TEST(test_longest),
		NIC_TEST(test_super_packets),
		NIC_TEST(test_strangers),
		NIC_TEST(test_datagrams_that_are_no_packets),
		NIC_TEST(test_peer_missing_and_back),
		NIC_TEST(test_mtu_shrinks),
		NIC_TEST(test_segments_refused),
		NIC_TEST(test_overflow),
		NIC_TEST(test_room),
		cmocka_unit_test(test_endpoints),
		cmocka_unit_test(test_batch),
		cmocka_unit_test(test_batch_is_full),
		cmocka_unit_test(test_split),
	};
	int failed;

	make_burst(NULL);
	failed = cmocka_run_group_tests_name("port_udp", tests, NULL, NULL);
	vnic_burst_free(burst);
	return failed;
}
