/* SPDX-License-Identifier: MIT */
/*
 * The kernel as the judge. A super-packet goes into an interface with offloads; the kernel forwards
 * it (or bridges it, for Ethernet) to one without, and has to cut it on the way:
 *
 *     super-packet --> [A: offloads] --> kernel --> [B: none] --> the kernel's segments
 *           |                                                            ||
 *           +-------------> vnic_segmenter_next() ----------------> ours, byte by byte
 *
 * The other way round, TCP and UDP sockets of two namespaces talk through a relay that merges what
 * one kernel cut and cuts what the other did not:
 *
 *     sockets [P: plain] --> vnic_packets_merge() --> [O: offloads] sockets
 *     sockets [P: plain] <-- vnic_segmenter_next() <-- [O: offloads] sockets
 */
#include "nic.h"

#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <time.h>

#include <vnic/merge.h>
#include <vnic/segment.h>

#include "samples.h"

#define RANDOM_PACKETS 3000
#define QUEUE_PACKETS 20000
#define MTU_BYTES 65521 /* the most that a TAP can have */
#define STREAM_BYTES (6 * 1024 * 1024)
#define DATAGRAMS 4000
#define DATAGRAM_BYTES 1200
#define SERVER_PORT 5201

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif

struct pair {
	struct vnic_device *a, *b;
	struct vnic_burst *built, *ours, *theirs;
	bool bridged; /* no TTL counts down there */
	unsigned supers, segments;
};

static void set_sysctl(const char *name, const char *value)
{
	char path[256];
	int descriptor;

	snprintf(path, sizeof(path), "/proc/sys/net/%s", name);
	descriptor = open(path, O_WRONLY | O_CLOEXEC);
	if (descriptor < 0 || write(descriptor, value, strlen(value)) < 0)
		fail_msg("%s: %s", path, strerror(errno));
	close(descriptor);
}

static void forward_everything(void)
{
	set_sysctl("ipv4/conf/all/rp_filter", "0");
	set_sysctl("ipv4/conf/default/rp_filter", "0");
	set_sysctl("ipv4/ip_forward", "1");
	set_sysctl("ipv6/conf/all/forwarding", "1");
}

static void set_up(struct vnic_device *device, const char *const *addresses,
		   const char *const *routes)
{
	struct vnic_link_address address_list[2];
	struct vnic_route route_list[2];
	struct vnic_link_config config = {
		.addresses = address_list,
		.routes = route_list,
		.queue_packets = QUEUE_PACKETS,
		.state = VNIC_LINK_UP,
	};
	struct vnic_error error = {0};

	memset(address_list, 0, sizeof(address_list));
	memset(route_list, 0, sizeof(route_list));
	for (; addresses && addresses[config.address_count]; config.address_count++)
		address_list[config.address_count].prefix =
			nic_prefix(addresses[config.address_count]);
	for (; routes && routes[config.route_count]; config.route_count++)
		route_list[config.route_count].destination = nic_prefix(routes[config.route_count]);
	config.mtu_bytes = routes && addresses ? 1500 : MTU_BYTES;
	assert_ok(vnic_device_configure(device, &config, &error), &error);
}

/* Runs ip(8) with these words. */
static int run_ip(const char *words)
{
	char line[200], *arguments[24] = {NULL}, *rest = NULL;
	int status, count = 0;
	pid_t child;

	snprintf(line, sizeof(line), "ip %s", words);
	for (char *word = strtok_r(line, " ", &rest); word && count < 23;
	     word = strtok_r(NULL, " ", &rest))
		arguments[count++] = word;
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		execvp("ip", arguments);
		_exit(127);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	return status;
}

/* Makes the bridge that open_pair() is to use. */
static bool make_bridge(void)
{
	set_sysctl("ipv6/conf/default/disable_ipv6", "1"); /* it would speak of its own */
	if (run_ip("link add name br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0") ==
	    0)
		return true;
	print_message("this kernel has no bridge\n");
	return false;
}

static void open_pair(struct pair *pair, bool bridged)
{
	static const char *const routes[] = {"10.8.0.0/16", "fd08::/64", NULL};
	struct vnic_device_options options = {
		.type = bridged ? VNIC_TAP : VNIC_TUN,
		.name = "a",
		.offloads = VNIC_OFFLOAD_ALL,
	};

	memset(pair, 0, sizeof(*pair));
	pair->bridged = bridged;
	forward_everything();
	pair->a = nic_open(&options);
	options.name = "b";
	options.offloads = 0;
	options.no_offloads = true;
	pair->b = nic_open(&options);
	assert_int_equal(vnic_device_vnet_header_bytes(pair->b), 0);
	set_up(pair->a, NULL, NULL);
	set_up(pair->b, NULL, bridged ? NULL : routes);
	if (bridged) {
		assert_int_equal(run_ip("link set dev a master br0"), 0);
		assert_int_equal(run_ip("link set dev b master br0"), 0);
		assert_int_equal(run_ip("link set dev br0 mtu 65521 up"), 0);
	}
	assert_int_equal(vnic_burst_new(2, 0, 0, &pair->built, NULL), 0);
	assert_int_equal(vnic_burst_new(VNIC_BURST_PACKETS, 0, 0, &pair->ours, NULL), 0);
	assert_int_equal(vnic_burst_new(1, 0, 0, &pair->theirs, NULL), 0);
}

static void close_pair(struct pair *pair)
{
	vnic_burst_free(pair->built);
	vnic_burst_free(pair->ours);
	vnic_burst_free(pair->theirs);
	vnic_device_close(pair->a);
	vnic_device_close(pair->b);
}

/* The kernel has something to say itself: which IPv6 groups it listens to (MLD). */
static bool is_noise(const struct pair *pair, const struct vnic_packet *packet)
{
	return !pair->bridged && packet->data[0] >> 4 == 6 &&
	       packet->data[6] == VNIC_PROTOCOL_HOP_BY_HOP;
}

/* Nothing is left over. */
static void assert_silence(struct pair *pair)
{
	struct vnic_packet *packet = vnic_burst_packets(pair->theirs);
	int code;

	do
		code = vnic_device_receive(pair->b, 0, packet, 1);
	while (code == 1 && is_noise(pair, packet));
	assert_int_equal(code, -EAGAIN);
}

static bool can_uso(const struct pair *pair)
{
	return vnic_device_offloads(pair->a) & VNIC_OFFLOAD_USO;
}

static void describe(const struct sample *sample, uint16_t size, char *text, size_t room)
{
	snprintf(text, room,
		 "%s%s IPv%d, %u tags, %u bytes by %u, %u+%u+%u more header, flags %02x, id %u",
		 sample->tap ? "Ethernet, " : "", sample->udp ? "UDP" : "TCP", sample->ipv6 ? 6 : 4,
		 sample->tags, sample->payload, size, sample->ip_options, sample->extensions,
		 sample->tcp_options, sample->flags, sample->identification);
}

/* One packet that is not the kernel's own. */
static struct vnic_packet *their_next(struct pair *pair, const char *what, unsigned index)
{
	struct vnic_packet *packet = vnic_burst_packets(pair->theirs);
	struct pollfd descriptor = {vnic_device_descriptor(pair->b, 0), POLLIN, 0};
	struct vnic_queue_statistics statistics;

	for (;;) {
		int code = vnic_device_receive(pair->b, 0, packet, 1);

		if (code == 1 && is_noise(pair, packet))
			continue;
		if (code == 1)
			return packet;
		if (code == -EAGAIN && poll(&descriptor, 1, DEADLINE_MS) == 1)
			continue;
		vnic_device_statistics(pair->a, 0, &statistics);
		fail_msg("%s: the kernel made no segment %u (%d; it refused %u)", what, index, code,
			 (unsigned)statistics.send_refused_packets);
	}
}

/*
 * What is one segment only the kernel does not cut, but completes (skb_checksum_help()), and there
 * it writes the one zero of one's complement for the other with TCP, too.
 */
static void allow_other_zero(const struct vnic_packet *ahead, uint8_t *ours, const uint8_t *theirs)
{
	uint32_t field = (uint32_t)ahead->csum_start + ahead->csum_offset;

	if (ours[field] == 0 && ours[field + 1] == 0 && theirs[field] == 0xff)
		ours[field] = ours[field + 1] = 0xff;
}

/* Sends one to the kernel; ahead is the same as it looks when it was forwarded. */
static void compare_with_kernel(struct pair *pair, const struct vnic_packet *super,
				const struct vnic_packet *ahead, const char *what)
{
	struct vnic_packet *ours = vnic_burst_packets(pair->ours);
	struct vnic_segmenter segmenter;
	unsigned index = 0;
	int found = vnic_segmenter_begin(&segmenter, ahead, vnic_device_layer(pair->a));
	bool single = found == 1;

	if (found < 1)
		fail_msg("%s: refused: %d", what, found);
	assert_int_equal(vnic_device_send(pair->a, 0, super, 1), 1);
	while ((found = vnic_segmenter_next(&segmenter, ours, VNIC_BURST_PACKETS)) > 0) {
		for (int i = 0; i < found; i++, index++) {
			const struct vnic_packet *theirs = their_next(pair, what, index);

			if (theirs->length_bytes != ours[i].length_bytes)
				fail_msg("%s: segment %u: %u bytes, the kernel's has %u", what,
					 index, ours[i].length_bytes, theirs->length_bytes);
			if (single)
				allow_other_zero(ahead, ours[i].data, theirs->data);
			for (uint32_t k = 0; k < theirs->length_bytes; k++) {
				if (ours[i].data[k] != theirs->data[k])
					fail_msg("%s: segment %u: %02x at %u, the kernel's has "
						 "%02x",
						 what, index, ours[i].data[k], k, theirs->data[k]);
			}
		}
	}
	assert_int_equal(found, 0);
	pair->supers++;
	pair->segments += index;
}

/* A TTL less, unless it is only bridged. */
static uint8_t forwarded_ttl(const struct pair *pair, uint8_t ttl)
{
	return (uint8_t)((ttl ? ttl : 64) - (pair->bridged ? 0 : 1));
}

static void compare_sample(struct pair *pair, const struct sample *sample, uint16_t size, bool ecn)
{
	struct vnic_packet *packets = vnic_burst_packets(pair->built);
	struct sample forwarded = *sample;
	char what[200];

	describe(sample, size, what, sizeof(what));
	sample_build_super(sample, size, &packets[0]);
	packets[0].gso_ecn = ecn;
	forwarded.ttl = forwarded_ttl(pair, sample->ttl);
	sample_build_super(&forwarded, size, &packets[1]);
	compare_with_kernel(pair, &packets[0], &packets[1], what);
}

static void compare_tunnel(struct pair *pair, const struct tunnel *tunnel,
			   const struct sample *sample, uint16_t size)
{
	struct vnic_packet *packets = vnic_burst_packets(pair->built);
	struct tunnel forwarded = *tunnel;
	char what[300];

	describe(sample, size, what, sizeof(what));
	snprintf(what + strlen(what), sizeof(what) - strlen(what), ", in IPv%d with %u more%s",
		 tunnel->ipv6 ? 6 : 4, tunnel->shim, tunnel->checksum ? " and a checksum" : "");
	sample_build_super(sample, size, &packets[0]);
	tunnel_build(tunnel, &packets[0]);
	forwarded.ttl = forwarded_ttl(pair, tunnel->ttl);
	sample_build_super(sample, size, &packets[1]);
	tunnel_build(&forwarded, &packets[1]);
	compare_with_kernel(pair, &packets[0], &packets[1], what);
}

struct cut {
	struct sample sample;
	uint16_t size;
};

static void compare_all(struct pair *pair, const struct cut *cuts, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct sample sample = cuts[i].sample;

		sample.host = (uint16_t)(i + 1);
		if (sample.udp && !can_uso(pair))
			continue;
		compare_sample(pair, &sample, cuts[i].size, sample.flags & VNIC_TCP_CWR);
	}
}

static void test_the_kernel_cuts_alike(void **state)
{
	static const struct cut cuts[] = {
		{{.payload = 5000}, 1000},
		{{.payload = 5001, .dont_fragment = true}, 1000},
		{{.payload = 5001, .identification = 65533, .tos = 0xb8}, 999},
		{{.payload = 65535 - 40, .sequence = 0xffffff00}, 1448},
		{{.payload = 65535 - 52, .tcp_options = 3, .option = 0x01010101}, 1448},
		{{.payload = 4000, .flags = 0x18, .acknowledgment = 77, .window = 9}, 1400},
		{{.payload = 4000, .flags = 0x19}, 1400},
		{{.payload = 4000, .flags = 0x99, .tos = 2}, 1400},
		{{.payload = 4000, .flags = 0xd0, .tos = 3}, 1400},
		{{.payload = 4000, .flags = 0x3a}, 1400},
		{{.payload = 1400, .flags = 0x99}, 1400},
		{{.payload = 13, .flags = 0x99}, 1400},
		{{.payload = 300}, 8},
		{{.payload = 4000, .ip_options = 1}, 1400},
		{{.payload = 4000, .ip_options = 10, .tcp_options = 10}, 1401},
		{{.payload = 4000, .ipv6 = true, .flow_label = 0x12345, .tos = 0x22}, 1400},
		{{.payload = 4000, .ipv6 = true, .flags = 0x99, .tcp_options = 3}, 1400},
		{{.payload = 65535 - 60, .ipv6 = true}, 1428},
		{{.payload = 4001, .ipv6 = true, .extensions = 1}, 1400},
		{{.payload = 4001, .ipv6 = true, .extensions = 3, .extension = 32}, 1399},
		{{.payload = 5000, .udp = true}, 1000},
		{{.payload = 5001, .udp = true, .dont_fragment = true}, 1000},
		{{.payload = 5003, .udp = true, .identification = 65533}, 999},
		{{.payload = 1472, .udp = true}, 1472},
		{{.payload = 10, .udp = true}, 1472},
		{{.payload = 64, .udp = true}, 1},
		{{.payload = 65535 - 28, .udp = true}, 1472},
		{{.payload = 4000, .udp = true, .ip_options = 2}, 1400},
		{{.payload = 5000, .udp = true, .ipv6 = true}, 1000},
		{{.payload = 65535 - 48, .udp = true, .ipv6 = true}, 1452},
		{{.payload = 5000, .udp = true, .ipv6 = true, .extensions = 1}, 1001},
	};
	struct pair pair;

	NIC_BEGIN(state);
	open_pair(&pair, false);
	compare_all(&pair, cuts, sizeof(cuts) / sizeof(cuts[0]));
	assert_silence(&pair);
	if (!can_uso(&pair))
		print_message("# this kernel has no USO\n");
	close_pair(&pair);
}

static void test_the_kernel_cuts_frames_alike(void **state)
{
	static const struct cut cuts[] = {
		{{.tap = true, .payload = 5000}, 1000},
		{{.tap = true, .payload = 5000, .ipv6 = true, .flags = 0x99}, 1000},
		{{.tap = true, .tags = 1, .payload = 5001}, 1000},
		{{.tap = true, .tags = 1, .payload = 5001, .ipv6 = true, .extensions = 2}, 1000},
		{{.tap = true, .tags = 1, .payload = 5001, .udp = true}, 1000},
		{{.tap = true, .tags = 2, .payload = 5002, .tcp_options = 3}, 1000},
		{{.tap = true, .tags = 2, .payload = 5002, .udp = true, .ipv6 = true}, 1000},
		{{.tap = true, .tags = 2, .payload = 65535 - 40}, 1448},
	};
	struct pair pair;

	NIC_BEGIN(state);
	if (!make_bridge())
		skip();
	open_pair(&pair, true);
	compare_all(&pair, cuts, sizeof(cuts) / sizeof(cuts[0]));
	assert_silence(&pair);
	close_pair(&pair);
}

/* xorshift64* */
static uint64_t random_state;

static uint32_t below(uint32_t bound)
{
	random_state ^= random_state >> 12;
	random_state ^= random_state << 25;
	random_state ^= random_state >> 27;
	return (uint32_t)((random_state * UINT64_C(2685821657736338717)) >> 32) % bound;
}

static void seed(void)
{
	const char *given = getenv("VNIC_TEST_SEED");
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	random_state = given ? strtoull(given, NULL, 0) : (uint64_t)now.tv_nsec * 2 + 1;
	print_message("# VNIC_TEST_SEED=%llu\n", (unsigned long long)random_state);
}

static void make_random(struct sample *sample, uint16_t *size, bool tap, bool uso)
{
	uint32_t most, header;

	*sample = (struct sample){
		.tap = tap,
		.tags = tap ? below(3) : 0,
		.ipv6 = below(2),
		.udp = uso && below(2),
		.tos = (uint8_t)below(256),
		.ttl = (uint8_t)(2 + below(254)),
		.dont_fragment = below(2),
		.identification = (uint16_t)below(65536),
		.flow_label = below(1 << 20),
		.host = (uint16_t)(1 + below(60000)),
		.port = (uint16_t)(1 + below(65535)),
		.sequence = below(UINT32_MAX),
		.acknowledgment = below(UINT32_MAX),
		.flags = (uint8_t)(1 + below(255)),
		.window = (uint16_t)below(65536),
		.option = below(UINT32_MAX),
	};
	if (below(4) == 0)
		sample->ip_options = below(11);
	if (below(4) == 0)
		sample->extensions = 1 + below(3);
	sample->extension = 8 * (1 + below(12));
	sample->tcp_options = below(2) ? 3 : below(11);
	header = sample_header_bytes(sample) - (tap ? 14 + sample->tags * 4 : 0);
	most = 65535 - header;
	*size = (uint16_t)(below(4) ? 500 + below(1000) : 8 + below(2 * 1448));
	sample->payload = below(4) ? 1 + below(most) : 1 + below(4 * *size);
	if (sample->payload > (uint32_t)*size * (sample->udp ? 64 : 1000))
		sample->payload = (uint32_t)*size * (sample->udp ? 64 : 1000);
	/*
	 * The kernel takes IP options, extension headers and TCP options for payload when it looks
	 * whether there is anything to cut (virtio_net_hdr_to_skb), and later drops what has not.
	 */
	if (sample->payload <= *size && sample->payload + header > *size)
		sample->payload = *size + 1u;
	if (sample->payload > most)
		sample->payload = most;
}

static void compare_random(bool tap)
{
	struct pair pair;

	seed();
	open_pair(&pair, tap);
	for (unsigned i = 0; i < RANDOM_PACKETS; i++) {
		struct sample sample;
		uint16_t size;

		make_random(&sample, &size, tap, can_uso(&pair));
		compare_sample(&pair, &sample, size, !sample.udp && below(2));
	}
	assert_silence(&pair);
	print_message("# %u super-packets, %u segments\n", pair.supers, pair.segments);
	close_pair(&pair);
}

static void test_random_packets(void **state)
{
	NIC_BEGIN(state);
	compare_random(false);
}

static void test_random_frames(void **state)
{
	NIC_BEGIN(state);
	if (!make_bridge())
		skip();
	compare_random(true);
}

/* In frames: from a TUN the kernel takes none, as it expects an Ethernet header to be there. */
static void test_random_tunnels(void **state)
{
	struct pair pair;

	NIC_BEGIN(state);
	if (!make_bridge())
		skip();
	seed();
	open_pair(&pair, true);
	if (!(vnic_device_offloads(pair.a) & VNIC_OFFLOAD_UDP_TUNNEL_CSUM)) {
		print_message("this kernel has no offload for UDP tunnels\n");
		close_pair(&pair);
		skip();
	}
	for (unsigned i = 0; i < RANDOM_PACKETS; i++) {
		struct tunnel tunnel = {
			.tap = true,
			.tags = below(3),
			.ipv6 = below(2),
			.checksum = below(2),
			.identification = (uint16_t)below(65536),
			.ttl = (uint8_t)(2 + below(254)),
			.shim = below(4) ? 8 + 14 * below(2) : 2 * below(20),
		};
		struct sample sample;
		uint16_t size;

		make_random(&sample, &size, false, true);
		if (sample.payload > 60000)
			sample.payload = 60000;
		if (sample.payload <= size)
			sample.payload = size + 1u + below(size);
		compare_tunnel(&pair, &tunnel, &sample, size);
	}
	assert_silence(&pair);
	print_message("# %u super-packets, %u segments\n", pair.supers, pair.segments);
	close_pair(&pair);
}

/* Two namespaces and the relay between them. */

struct relay {
	struct vnic_device *plain, *offloaded;
	struct vnic_burst *in, *out;
	int other;                                     /* namespace of the offloaded one */
	unsigned merged_in, merged_out, merged_supers; /* packets, from plain to offloaded */
	unsigned cut_in, cut_out, cut_supers;
};

static void enter(int netns)
{
	assert_int_equal(setns(netns, CLONE_NEWNET), 0);
}

static void open_relay(struct relay *relay, unsigned plain_offloads)
{
	static const char *const addresses[2][3] = {{"10.9.0.1/32", "fd09::1/128", NULL},
						    {"10.8.0.2/32", "fd08::2/128", NULL}};
	static const char *const routes[2][3] = {{"10.8.0.0/16", "fd08::/64", NULL},
						 {"10.9.0.0/16", "fd09::/64", NULL}};
	struct vnic_device_options options = {
		.name = "p", .offloads = plain_offloads, .no_offloads = plain_offloads == 0};
	int own;

	memset(relay, 0, sizeof(*relay));
	relay->plain = nic_open(&options);
	set_up(relay->plain, addresses[0], routes[0]);
	own = vnic_netns_open(NULL, NULL);
	assert_true(own >= 0);
	assert_int_equal(unshare(CLONE_NEWNET), 0);
	relay->other = vnic_netns_open(NULL, NULL);
	assert_true(relay->other >= 0);
	options.name = "o";
	options.no_offloads = false;
	options.offloads = VNIC_OFFLOAD_CSUM | VNIC_OFFLOAD_TSO4 | VNIC_OFFLOAD_TSO6 |
			   VNIC_OFFLOAD_ECN | VNIC_OFFLOAD_USO;
	relay->offloaded = nic_open(&options);
	set_up(relay->offloaded, addresses[1], routes[1]);
	enter(own);
	close(own);
	assert_int_equal(vnic_burst_new(VNIC_BURST_PACKETS, 0, 0, &relay->in, NULL), 0);
	assert_int_equal(vnic_burst_new(VNIC_BURST_PACKETS, 0, 0, &relay->out, NULL), 0);
}

static void close_relay(struct relay *relay)
{
	struct vnic_queue_statistics statistics;

	vnic_device_statistics(relay->offloaded, 0, &statistics);
	assert_int_equal(statistics.send_refused_packets, 0);
	assert_int_equal(statistics.received_malformed_packets, 0);
	vnic_device_statistics(relay->plain, 0, &statistics);
	assert_int_equal(statistics.send_refused_packets, 0);
	vnic_burst_free(relay->in);
	vnic_burst_free(relay->out);
	vnic_device_close(relay->plain);
	vnic_device_close(relay->offloaded);
	close(relay->other);
}

static void relay_merging(struct relay *relay)
{
	struct vnic_packet *packets = vnic_burst_packets(relay->in);
	int got = vnic_device_receive(relay->plain, 0, packets, VNIC_BURST_PACKETS);
	unsigned count;

	if (got == -EAGAIN)
		return;
	assert_true(got > 0);
	count = vnic_packets_merge(packets, (unsigned)got, VNIC_LAYER_IP,
				   VNIC_MERGE_TCP | VNIC_MERGE_UDP);
	relay->merged_in += (unsigned)got;
	relay->merged_out += count;
	for (unsigned i = 0; i < count; i++)
		relay->merged_supers += packets[i].gso_type != VNIC_GSO_NONE;
	assert_int_equal(vnic_device_send(relay->offloaded, 0, packets, count), count);
}

static void relay_cutting(struct relay *relay)
{
	struct vnic_packet *packets = vnic_burst_packets(relay->in);
	struct vnic_packet *parts = vnic_burst_packets(relay->out);
	int got = vnic_device_receive(relay->offloaded, 0, packets, VNIC_BURST_PACKETS);
	struct vnic_segmenter segmenter;

	if (got == -EAGAIN)
		return;
	assert_true(got > 0);
	for (int i = 0; i < got; i++) {
		int count = vnic_segmenter_begin(&segmenter, &packets[i], VNIC_LAYER_IP);

		assert_true(count > 0);
		relay->cut_in++;
		relay->cut_out += (unsigned)count;
		relay->cut_supers += packets[i].gso_type != VNIC_GSO_NONE;
		while ((count = vnic_segmenter_next(&segmenter, parts, VNIC_BURST_PACKETS)) > 0) {
			for (int k = 0; k < count; k++)
				assert_true(parts[k].length_bytes <= 1500);
			assert_int_equal(vnic_device_send(relay->plain, 0, parts, (unsigned)count),
					 count);
		}
		assert_int_equal(count, 0);
	}
}

static socklen_t make_name(struct sockaddr_storage *name, bool ipv6, bool server, uint16_t port)
{
	struct sockaddr_in6 *six = (struct sockaddr_in6 *)name;
	struct sockaddr_in *four = (struct sockaddr_in *)name;

	memset(name, 0, sizeof(*name));
	if (ipv6) {
		six->sin6_family = AF_INET6;
		six->sin6_port = htons(port);
		inet_pton(AF_INET6, server ? "fd08::2" : "fd09::1", &six->sin6_addr);
		return sizeof(*six);
	}
	four->sin_family = AF_INET;
	four->sin_port = htons(port);
	inet_pton(AF_INET, server ? "10.8.0.2" : "10.9.0.1", &four->sin_addr);
	return sizeof(*four);
}

/* A bound socket in the namespace where this address is. */
static int new_socket(struct relay *relay, bool ipv6, int type, bool server)
{
	int own = vnic_netns_open(NULL, NULL), descriptor, size = 1 << 22;
	struct sockaddr_storage name;
	socklen_t length = make_name(&name, ipv6, server, SERVER_PORT);

	assert_true(own >= 0);
	if (server)
		enter(relay->other);
	descriptor = socket(ipv6 ? AF_INET6 : AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	enter(own);
	close(own);
	assert_true(descriptor >= 0);
	(void)setsockopt(descriptor, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	(void)setsockopt(descriptor, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
	if (bind(descriptor, (struct sockaddr *)&name, length) < 0)
		fail_msg("bind: %s", strerror(errno));
	return descriptor;
}

/* One end of a stream that sends and checks STREAM_BYTES at once. */
struct end {
	int descriptor;
	uint32_t sent, received;
	uint32_t send_from, receive_from; /* where its streams begin */
};

static bool push(struct end *end)
{
	uint8_t bytes[65536];
	size_t length = STREAM_BYTES - end->sent;
	ssize_t done;

	if (length == 0)
		return false;
	if (length > sizeof(bytes))
		length = sizeof(bytes);
	for (size_t i = 0; i < length; i++)
		bytes[i] = sample_byte(end->send_from + end->sent + (uint32_t)i);
	done = send(end->descriptor, bytes, length, MSG_NOSIGNAL);
	if (done < 0 && errno != EAGAIN)
		fail_msg("send: %s", strerror(errno));
	if (done > 0)
		end->sent += (uint32_t)done;
	return done > 0;
}

static bool pull(struct end *end)
{
	uint8_t bytes[65536];
	ssize_t done = recv(end->descriptor, bytes, sizeof(bytes), 0);

	if (done < 0 && errno != EAGAIN)
		fail_msg("recv: %s", strerror(errno));
	for (ssize_t i = 0; i < done; i++) {
		uint8_t expected = sample_byte(end->receive_from + end->received + (uint32_t)i);

		if (bytes[i] != expected)
			fail_msg("byte %u of the stream is %02x, not %02x",
				 end->received + (unsigned)i, bytes[i], expected);
	}
	if (done > 0)
		end->received += (uint32_t)done;
	return done > 0;
}

static void wait_for_any(struct relay *relay, const int *sockets, unsigned count)
{
	struct pollfd descriptors[4] = {
		{vnic_device_descriptor(relay->plain, 0), POLLIN, 0},
		{vnic_device_descriptor(relay->offloaded, 0), POLLIN, 0},
	};

	for (unsigned i = 0; i < count; i++)
		descriptors[2 + i] = (struct pollfd){sockets[i], POLLIN, 0};
	if (poll(descriptors, 2 + count, DEADLINE_MS) < 1)
		fail_msg("nothing came for %d ms", DEADLINE_MS);
}

static void connect_ends(struct relay *relay, bool ipv6, struct end *client, struct end *server)
{
	struct sockaddr_storage name;
	socklen_t length = make_name(&name, ipv6, true, SERVER_PORT);
	int listener = new_socket(relay, ipv6, SOCK_STREAM, true);

	client->descriptor = new_socket(relay, ipv6, SOCK_STREAM, false);
	assert_int_equal(listen(listener, 1), 0);
	if (connect(client->descriptor, (struct sockaddr *)&name, length) < 0)
		assert_int_equal(errno, EINPROGRESS);
	for (;;) {
		server->descriptor = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (server->descriptor >= 0)
			break;
		assert_int_equal(errno, EAGAIN);
		wait_for_any(relay, &listener, 1);
		relay_merging(relay);
		relay_cutting(relay);
	}
	close(listener);
}

static void stream(bool ipv6, unsigned plain_offloads)
{
	struct end client = {.send_from = 1, .receive_from = 1000000007};
	struct end server = {.send_from = 1000000007, .receive_from = 1};
	struct relay relay;

	open_relay(&relay, plain_offloads);
	connect_ends(&relay, ipv6, &client, &server);
	while (client.received < STREAM_BYTES || server.received < STREAM_BYTES) {
		bool moved = push(&client);
		int sockets[2] = {client.descriptor, server.descriptor};

		moved |= push(&server);
		if (!moved)
			wait_for_any(&relay, sockets, 2);
		relay_merging(&relay);
		relay_cutting(&relay);
		pull(&client);
		pull(&server);
	}
	print_message("# IPv%d: %u packets merged into %u, %u of them super-packets; %u cut into "
		      "%u, %u of them super-packets\n",
		      ipv6 ? 6 : 4, relay.merged_in, relay.merged_out, relay.merged_supers,
		      relay.cut_in, relay.cut_out, relay.cut_supers);
	assert_true(relay.merged_supers >= 20);
	assert_true(relay.merged_in >= 2 * relay.merged_out);
	assert_true(relay.cut_supers >= 20);
	assert_true(relay.cut_out >= 2 * relay.cut_in);
	close(client.descriptor);
	close(server.descriptor);
	close_relay(&relay);
}

static void test_a_stream_of_tcp(void **state)
{
	NIC_BEGIN(state);
	stream(false, 0);
}

static void test_a_stream_of_tcp_over_ipv6(void **state)
{
	NIC_BEGIN(state);
	stream(true, 0);
}

static void test_a_stream_whose_checksums_are_to_be_done(void **state)
{
	NIC_BEGIN(state);
	stream(false, VNIC_OFFLOAD_CSUM);
}

/* Each 50th datagram is shorter, so that lengths tell whether boundaries are kept. */
static uint32_t datagram_bytes(unsigned index)
{
	return index % 50 == 49 ? 1 + index % DATAGRAM_BYTES : DATAGRAM_BYTES;
}

static void fill_datagram(uint8_t *bytes, unsigned index)
{
	for (uint32_t i = 0; i < datagram_bytes(index); i++)
		bytes[i] = sample_byte(index * DATAGRAM_BYTES + i);
}

static unsigned check_datagrams(int descriptor, unsigned received)
{
	uint8_t bytes[65536], expected[DATAGRAM_BYTES];
	ssize_t length;

	while ((length = recv(descriptor, bytes, sizeof(bytes), 0)) >= 0) {
		if (length != (ssize_t)datagram_bytes(received))
			fail_msg("datagram %u has %zd bytes, not %u", received, length,
				 datagram_bytes(received));
		fill_datagram(expected, received);
		assert_memory_equal(bytes, expected, datagram_bytes(received));
		received++;
	}
	assert_int_equal(errno, EAGAIN);
	return received;
}

/* Sends datagrams [from, to), of one length but for the last, as one super-packet. */
static void send_group(int descriptor, unsigned from, unsigned to)
{
	uint8_t bytes[50 * DATAGRAM_BYTES];
	size_t length = 0;

	for (unsigned i = from; i < to; i++) {
		fill_datagram(bytes + length, i);
		length += datagram_bytes(i);
	}
	if (send(descriptor, bytes, length, 0) != (ssize_t)length)
		fail_msg("send: %s", strerror(errno));
}

static void exchange_datagrams(bool ipv6)
{
	struct sockaddr_storage name;
	int client, server, size = DATAGRAM_BYTES;
	unsigned sent, received = 0;
	struct relay relay;

	open_relay(&relay, 0);
	if (!(vnic_device_offloads(relay.offloaded) & VNIC_OFFLOAD_USO)) {
		print_message("this kernel has no USO\n");
		close_relay(&relay);
		skip();
	}
	client = new_socket(&relay, ipv6, SOCK_DGRAM, false);
	server = new_socket(&relay, ipv6, SOCK_DGRAM, true);
	assert_int_equal(connect(client, (struct sockaddr *)&name,
				 make_name(&name, ipv6, true, SERVER_PORT)),
			 0);
	assert_int_equal(connect(server, (struct sockaddr *)&name,
				 make_name(&name, ipv6, false, SERVER_PORT)),
			 0);
	for (sent = 0; sent < DATAGRAMS;) {
		/* 40 at a time, so that groups do not end where bursts do. */
		for (unsigned end = sent + 40; sent < end && sent < DATAGRAMS; sent++) {
			uint8_t bytes[DATAGRAM_BYTES];

			fill_datagram(bytes, sent);
			assert_int_equal(send(client, bytes, datagram_bytes(sent), 0),
					 datagram_bytes(sent));
		}
		while (received < sent) {
			wait_for_any(&relay, &server, 1);
			relay_merging(&relay);
			received = check_datagrams(server, received);
		}
	}
	assert_int_equal(received, DATAGRAMS);
	print_message("# IPv%d: %u datagrams merged into %u\n", ipv6 ? 6 : 4, relay.merged_in,
		      relay.merged_out);
	assert_true(relay.merged_supers >= DATAGRAMS / 50);
	assert_true(relay.merged_out <= relay.merged_in / 10);

	/* And back, as super-packets from the kernel. */
	assert_int_equal(setsockopt(server, SOL_UDP, UDP_SEGMENT, &size, sizeof(size)), 0);
	for (sent = received = 0; sent < DATAGRAMS; sent += 50) {
		send_group(server, sent, sent + 50);
		while (received < sent + 50) {
			wait_for_any(&relay, &client, 1);
			relay_cutting(&relay);
			received = check_datagrams(client, received);
		}
	}
	assert_int_equal(relay.cut_supers, DATAGRAMS / 50);
	assert_int_equal(relay.cut_out, DATAGRAMS);
	close(client);
	close(server);
	close_relay(&relay);
}

static void test_datagrams(void **state)
{
	NIC_BEGIN(state);
	exchange_datagrams(false);
}

static void test_datagrams_over_ipv6(void **state)
{
	NIC_BEGIN(state);
	exchange_datagrams(true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		NIC_TEST(test_the_kernel_cuts_alike),
		NIC_TEST(test_the_kernel_cuts_frames_alike),
		NIC_TEST(test_random_packets),
		NIC_TEST(test_random_frames),
		NIC_TEST(test_random_tunnels),
		NIC_TEST(test_a_stream_of_tcp),
		NIC_TEST(test_a_stream_of_tcp_over_ipv6),
		NIC_TEST(test_a_stream_whose_checksums_are_to_be_done),
		NIC_TEST(test_datagrams),
		NIC_TEST(test_datagrams_over_ipv6),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
