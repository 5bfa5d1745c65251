/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A whole stack, driven by the input: its first two bytes choose the layer, the MTU and what the stack has, and
 * then come packets, each as
 *
 *     1 byte   time that passes before it: 0 none, else 2 to the power of (value mod 40), in ns
 *     1 byte   flags: REPAIR, the packet's flags, and whether it is a super-packet
 *     2 bytes  length
 *     n bytes  the packet
 *
 * With ENDPOINTS in the second byte there are UDP endpoints, which answer what they are given, and records with
 * COMMAND among the flags are no packets but tell what is to be done with one of them: to send, to close and open it
 * again, or to name a router.
 *
 * REPAIR makes lengths and checksums right before the packet is given in: random changes would else never get past the
 * first checksum.
 *
 * What must hold, whatever comes: each packet sent is right in every header (tests/sim/check.c) and goes to
 * no broadcast address unless an endpoint sends it there; the counters add up; no more comes out than a few times what went in; what
 * is announced keeps its pace; what waits is bounded; and a stack asks to be called later, not at once.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vnic/endpoint.h>
#include <vnic/packet.h>
#include <vnic/stack.h>

#include "../sim/check.h"
#include "repair.h"

#define REPAIR 0x80
#define SUPER 0x40
#define COMMAND 0x20
#define COMMAND_BYTES 8
#define COMMANDED_BYTES_MOST (1u << 18)
#define SEGMENTS_MOST 200
/* Of the second byte. */
#define ENDPOINTS 4
#define ROUTER 8
#define SMALL_TABLES 0x10
#define PLAIN 0x20
#define OPENED 4
#define CLOSE_BYTE 0xc1 /* begins a datagram that has its endpoint closed */
#define START_NS UINT64_C(1000000000)
/* Room for more than the longest. The tables are small: each input begins with new ones. */
#define REASSEMBLY_BYTES (96u << 10)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t own_mac[VNIC_MAC_BYTES] = {2, 0, 0, 0, 0, 2};

struct run {
	struct vnic_stack_options options;
	struct vnic_stack *stack;
	uint64_t now_ns, random;
	uint64_t in_bytes, out_bytes, out_packets;
	uint64_t commanded_bytes;
	uint64_t asked; /* datagrams that endpoints were asked to send */
	struct vnic_endpoint *endpoints[OPENED];
	uint8_t sum; /* of what was received: every byte is looked at */
};

/* The user of an endpoint. */
static struct place {
	struct run *run;
	unsigned index;
} places[OPENED];

static void die(const char *text, uint64_t a, uint64_t b)
{
	fprintf(stderr, "%s (%" PRIu64 ", %" PRIu64 ")\n", text, a, b);
	abort();
}

static void on_random(void *user, void *bytes, size_t length_bytes)
{
	struct run *run = user;

	for (size_t i = 0; i < length_bytes; i++) {
		run->random = run->random * UINT64_C(6364136223846793005) + 1442695040888963407;
		((uint8_t *)bytes)[i] = (uint8_t)(run->random >> 56);
	}
}

static void on_send(void *user, const struct vnic_packet *packets, unsigned count)
{
	struct run *run = user;

	for (unsigned i = 0; i < count; i++) {
		const struct vnic_packet *packet = &packets[i];
		const char *wrong =
			check_packet(packet, run->options.layer, own_mac, run->options.mtu_bytes);
		/* The destination of IPv4 stands at the same place but for the Ethernet header. */
		size_t ip = 0;

		if (wrong)
			die(wrong, i, packet->length_bytes);
		if (run->options.layer == VNIC_LAYER_ETHERNET) {
			struct vnic_ethernet ethernet;
			int header =
				vnic_ethernet_parse(packet->data, packet->length_bytes, &ethernet);

			ip = ethernet.ethertype == VNIC_ETHERTYPE_ARP ? packet->length_bytes
								      : (size_t)header;
		}
		if (ip < packet->length_bytes && packet->data[ip] >> 4 == 4 &&
		    packet->data[ip + 9] != VNIC_PROTOCOL_UDP &&
		    memcmp(packet->data + ip + 16, "\x0a\0\0\xff", 4) == 0)
			die("an answer to the broadcast address", i, packet->length_bytes);
		run->out_bytes += packet->length_bytes;
		run->out_packets++;
	}
}

static void on_conflict(void *user, const struct vnic_address *address,
			const uint8_t mac[VNIC_MAC_BYTES])
{
	(void)user, (void)mac;
	if (address->family != VNIC_IPV4 && address->family != VNIC_IPV6)
		die("a conflict about no address", (uint64_t)address->family, 0);
}

static void add(struct run *run, const char *text, bool whole)
{
	struct vnic_prefix prefix;
	int rc = vnic_prefix_parse(text, &prefix, NULL);

	if (rc == 0)
		rc = whole ? vnic_stack_add_prefix(run->stack, &prefix, NULL)
			   : vnic_stack_add_address(run->stack, &prefix, NULL);
	if (rc < 0)
		die(text, (uint64_t)-rc, 0);
}

/* What goes out for it counts as gone in, with the headers of all its segments. */
static void send_datagrams(struct run *run, struct vnic_endpoint *endpoint,
			   const struct vnic_datagram *datagrams, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		size_t segments = 1;

		if (datagrams[i].segment_bytes)
			segments += datagrams[i].length_bytes / datagrams[i].segment_bytes;
		run->in_bytes += datagrams[i].length_bytes + segments * 70;
	}
	run->asked += count;
	if (vnic_endpoint_send(endpoint, datagrams, count) > (int)count)
		die("sent more than there was", count, 0);
}

static void on_datagrams(struct vnic_endpoint *endpoint, void *user,
			 const struct vnic_datagram *datagrams, unsigned count)
{
	struct place *place = user;

	if (count < 1 || count > VNIC_BURST_PACKETS)
		die("a burst of no size", count, 0);
	for (unsigned i = 0; i < count; i++)
		for (size_t k = 0; k < datagrams[i].length_bytes; k++)
			place->run->sum ^= datagrams[i].payload[k];
	send_datagrams(place->run, endpoint, datagrams, count);
	if (datagrams[0].length_bytes > 0 && datagrams[0].payload[0] == CLOSE_BYTE) {
		vnic_endpoint_close(endpoint);
		place->run->endpoints[place->index] = NULL;
	}
}

static void on_error(struct vnic_endpoint *endpoint, void *user,
		     const struct vnic_datagram_error *error)
{
	struct place *place = user;

	if (error->code >= 0 || vnic_endpoint_stack(endpoint) != place->run->stack)
		die("an error that is none", (uint64_t)error->code, 0);
	if (error->mtu_bytes > place->run->options.mtu_bytes)
		die("a path's MTU over the link's", error->mtu_bytes, 0);
}

static void open_endpoint(struct run *run, unsigned index)
{
	struct vnic_endpoint_options options = {
		.receive = on_datagrams,
		.error = on_error,
		.user = &places[index],
		.any_port = index == 0,
		.port = index == 1   ? 33434
			: index == 2 ? 53
				     : 0,
		.dont_fragment = index == 2,
	};

	places[index] = (struct place){run, index};
	if (index == 1) {
		options.remote_address = (struct vnic_address){VNIC_IPV4, {10, 0, 0, 1}};
		options.remote_port = 40000;
	}
	if (run->endpoints[index])
		return;
	if (vnic_endpoint_open(run->stack, &options, &run->endpoints[index], NULL) < 0)
		die("no endpoint", index, 0);
}

static struct vnic_address address_of(uint8_t code)
{
	static const struct vnic_address addresses[] = {
		{VNIC_IPV4, {10, 0, 0, 1}},          {VNIC_IPV4, {192, 0, 2, 1}},
		{VNIC_IPV6, {0xfd, [15] = 1}},       {VNIC_IPV6, {0x20, 1, 0x0d, 0xb8, [15] = 1}},
		{VNIC_IPV4, {10, 0, 0, 255}},        {VNIC_IPV6, {0xff, 2, [15] = 0xfb}},
		{VNIC_IPV6, {0xfe, 0x80, [15] = 1}},
	};
	struct vnic_address address = addresses[code % 7];

	/* Others beside them: more than the tables hold. */
	address.bytes[address.family == VNIC_IPV4 ? 3 : 15] ^= (uint8_t)(code / 7);
	return address;
}

static void command(struct run *run, const uint8_t *bytes)
{
	static const uint8_t payload[65536 * 2];
	unsigned index = bytes[0] % OPENED;
	size_t segments;
	struct vnic_address address = address_of(bytes[5]);
	struct vnic_datagram datagram = {
		.payload = payload,
		.length_bytes = (size_t)(bytes[1] << 8 | bytes[2]) << (bytes[0] >> 7),
		.segment_bytes = (uint16_t)(bytes[3] << 8 | bytes[4]),
		.traffic_class = bytes[7],
	};

	/* Each packet is checked: without a bound one input would take seconds. */
	segments = datagram.segment_bytes ? datagram.length_bytes / datagram.segment_bytes : 0;
	if (segments > SEGMENTS_MOST)
		datagram.length_bytes = (size_t)SEGMENTS_MOST * datagram.segment_bytes;
	run->commanded_bytes += datagram.length_bytes;
	if (run->commanded_bytes > COMMANDED_BYTES_MOST)
		return;
	switch (bytes[0] >> 2 & 3) {
	case 0:
		vnic_endpoint_close(run->endpoints[index]);
		run->endpoints[index] = NULL;
		open_endpoint(run, index);
		break;
	case 1:
		vnic_stack_set_router(run->stack, &address, NULL);
		break;
	default:
		open_endpoint(run, index);
		if (bytes[5] > 0)
			datagram.flow.remote_address = address;
		datagram.flow.remote_port = bytes[6];
		datagram.flow.local_port = bytes[0] & 0x40 ? 7 : 0;
		send_datagrams(run, run->endpoints[index], &datagram, 1);
	}
}

static void begin(struct run *run, uint8_t first, uint8_t second)
{
	static const unsigned mtus[] = {1500, 1280, 576, 68, 9000, 65535, 1281, 100};

	run->now_ns = START_NS;
	run->options = (struct vnic_stack_options){
		.layer = first & 1 ? VNIC_LAYER_ETHERNET : VNIC_LAYER_IP,
		.mtu_bytes = mtus[first >> 1 & 7],
		.reassembly_datagrams = first & 0x10 ? 2 : 0,
		.reassembly_bytes = first & 0x20 ? 4096 : REASSEMBLY_BYTES,
		.errors_per_second = second & 1 ? 10 : 1000000,
		.errors_burst = second & 1 ? 3 : 1000000,
		.neighbors = second & SMALL_TABLES ? 2 : 64,
		.paths = second & SMALL_TABLES ? 2 : 64,
		.udp_endpoints = OPENED,
		.tcp_listeners = 1,
		.tcp_connections = 1,
		.plain = second & PLAIN,
		.send = on_send,
		.random = on_random,
		.conflict = second & 2 ? on_conflict : NULL,
		.user = run,
	};
	memcpy(run->options.mac, own_mac, VNIC_MAC_BYTES);
	if (vnic_stack_new(&run->options, &run->stack, NULL) < 0)
		die("no stack", 0, 0);
	add(run, "10.0.0.2/24", false);
	if (first & 0x40)
		add(run, "10.0.0.0/24", true);
	if (run->options.mtu_bytes >= VNIC_IPV6_MTU_BYTES) {
		add(run, "fd00::2/64", false);
		add(run, "fe80::2/64", false);
		if (first & 0x40)
			add(run, "fd00::/64", true);
	}
	if (first & 0x80)
		vnic_stack_link_up(run->stack, run->now_ns);
	if (second & ENDPOINTS)
		for (unsigned i = 0; i < OPENED; i++)
			open_endpoint(run, i);
	if (second & ROUTER) {
		struct vnic_address router = {VNIC_IPV4, {10, 0, 0, 254}};

		vnic_stack_set_router(run->stack, &router, NULL);
	}
}

static void check(const struct run *run)
{
	uint64_t announced = vnic_stack_counter(run->stack, VNIC_STACK_ANNOUNCEMENTS);
	uint64_t waiting = vnic_stack_counter(run->stack, VNIC_STACK_FRAGMENTS_WAITING);
	uint64_t conflicts = vnic_stack_counter(run->stack, VNIC_STACK_CONFLICTS);
	/* Where the MTU has no room beside the options, a fragment is mostly header. */
	uint64_t times = run->options.mtu_bytes < 576 ? 12 : 4;
	uint64_t bytes = run->options.reassembly_bytes;
	uint64_t solicited = vnic_stack_counter(run->stack, VNIC_STACK_SOLICITATIONS);
	const char *wrong = check_counters(run->stack);

	if (wrong)
		die(wrong, 0, 0);
	if (vnic_stack_counter(run->stack, VNIC_STACK_SENT) != run->out_packets)
		die("sent is not what was sent", run->out_packets, 0);
	if (solicited > 3 * run->asked)
		die("more questions than reasons", solicited, run->asked);
	if (vnic_stack_counter(run->stack, VNIC_STACK_ENDPOINTS) > OPENED)
		die("more endpoints than allowed", OPENED, 0);
	if (run->out_bytes >
	    times * run->in_bytes + announced * (VNIC_IPV6_MTU_BYTES + 14) + solicited * 100)
		die("more out than in", run->in_bytes, run->out_bytes);
	if (announced > 4 * ((run->now_ns - START_NS) / 10000000 + 1) + conflicts)
		die("announcements too fast", run->now_ns - START_NS, announced);
	if (waiting > bytes / 8)
		die("more fragments than memory", waiting, bytes);
}

static void pass_time(struct run *run, uint8_t code)
{
	uint64_t end_ns = run->now_ns + (code > 0 ? UINT64_C(1) << code % 40 : 0), next_ns;

	for (unsigned calls = 0; calls < 100; calls++) {
		next_ns = vnic_stack_advance(run->stack, run->now_ns);
		if (next_ns <= run->now_ns)
			die("asks to be called at once", run->now_ns, next_ns);
		check(run);
		if (next_ns > end_ns)
			break;
		run->now_ns = next_ns;
	}
	run->now_ns = end_ns;
	vnic_stack_advance(run->stack, run->now_ns);
	check(run);
}

/* The memory is just as long as the packet, so that one byte too far is seen. */
static void give(struct run *run, uint8_t flags, const uint8_t *bytes, size_t length)
{
	uint8_t *memory = malloc(length > 0 ? length : 1);
	struct vnic_packet packet = {
		.data = memory,
		.length_bytes = (uint32_t)length,
		.capacity_bytes = (uint32_t)length,
		.flags = flags & 7,
	};

	if (!memory)
		return;
	if (length > 0)
		memcpy(memory, bytes, length);
	if (flags & REPAIR)
		repair(run->options.layer, memory, length);
	if (flags & SUPER) {
		packet.gso_type = VNIC_GSO_UDP;
		packet.gso_size_bytes = 100;
	}
	packet.csum_start = (uint16_t)((run->options.layer == VNIC_LAYER_ETHERNET ? 14 : 0) +
				       (flags & 8 ? 40 : 20));
	packet.csum_offset = flags & 16 ? 16 : 6;
	run->in_bytes += length;
	vnic_stack_receive(run->stack, &packet, 1, run->now_ns);
	free(memory);
	check(run);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct run run = {.random = 1};
	bool commands;

	if (size < 2)
		return 0;
	begin(&run, data[0], data[1]);
	commands = data[1] & ENDPOINTS;
	data += 2;
	size -= 2;
	while (size >= 4) {
		size_t length = (size_t)data[2] << 8 | data[3];
		uint8_t time = data[0], flags = data[1];

		data += 4;
		size -= 4;
		if (length > size)
			length = size;
		if (time > 0)
			pass_time(&run, time);
		if (commands && flags & COMMAND && length >= COMMAND_BYTES) {
			command(&run, data);
			check(&run);
		} else {
			give(&run, flags, data, length);
		}
		data += length;
		size -= length;
	}
	pass_time(&run, 37);
	vnic_stack_free(run.stack);
	return 0;
}
