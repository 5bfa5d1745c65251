/* SPDX-License-Identifier: MIT */
/*
 * Wires between ports of the test's own, which hand out a script of packets and keep what they are
 * given, and between such a port and a real interface. The linker sends writev(2) through
 * __wrap_writev() here, which can play a kernel that refuses super-packets.
 */
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/uio.h>

#include "base/error.h"
#include "io/port.h"
#include "nic.h"
#include "samples.h"

#include <vnic/segment.h>
#include <vnic/wire.h>

#define PAYLOAD 1448
#define KEPT_MOST 40000

/* What the kernel is made to say to super-packets; 0: what it says. */
static _Atomic int refusal;
static _Atomic unsigned refusals_left;

ssize_t __real_writev(int descriptor, const struct iovec *parts, int count);
ssize_t __wrap_writev(int descriptor, const struct iovec *parts, int count);
ssize_t __wrap_writev(int descriptor, const struct iovec *parts, int count)
{
	const uint8_t *header = parts[0].iov_base;

	if (refusal && refusals_left && parts[0].iov_len >= 10 && header[1] != 0) {
		refusals_left--;
		errno = refusal;
		return -1;
	}
	return __real_writev(descriptor, parts, count);
}

/* A port of the test's own. */
struct fake {
	struct vn_port_queue queue;
	struct vnic_port port;
	/* As a source. */
	struct vnic_packet *script;
	unsigned script_count, script_next;
	int failure; /* what receive gives at the end of the script, instead of -ENODATA */
	int wake;    /* eventfd that is polled; -1: none */
	bool lends;  /* packets point into the script */
	bool is_endless;
	/* As a sink. */
	bool has_room;
	unsigned refuse; /* so many super-packets are refused */
	struct vnic_packet *kept;
	unsigned kept_count;
	unsigned room, sent; /* room: what it takes for each poll */
	unsigned advanced;
	uint64_t chance; /* it drops packets by this; 0: none */
	uint64_t period_ns;
	uint64_t advanced_ns[8];
};

static struct fake *fake_of(struct vnic_port *port)
{
	return port->state;
}

static void no_close(struct vnic_port *port)
{
	(void)port;
}

static int fake_receive(struct vnic_port *port, unsigned queue, struct vnic_packet *packets,
			unsigned count)
{
	struct fake *fake = fake_of(port);
	unsigned got = 0;

	for (; got < count && fake->script_next < fake->script_count; got++) {
		const struct vnic_packet *next = &fake->script[fake->script_next++];
		struct vnic_packet own = packets[got];

		packets[got] = *next;
		if (fake->lends) {
			packets[got].capacity_bytes = next->length_bytes;
			packets[got].headroom_bytes = 0;
			continue;
		}
		assert_true(own.capacity_bytes > VNIC_PACKET_BYTES);
		packets[got].data = own.data;
		packets[got].capacity_bytes = own.capacity_bytes;
		packets[got].headroom_bytes = own.headroom_bytes;
		memcpy(own.data, next->data, next->length_bytes);
	}
	if (got > 0)
		return (int)got;
	if (fake->failure)
		return vn_error(&port->queues[queue].failure, fake->failure, VNIC_CAUSE_SYSTEM,
				"the test's port failed");
	return fake->is_endless ? -EAGAIN : -ENODATA;
}

static void keep(struct fake *fake, const struct vnic_packet *packet)
{
	struct vnic_packet *kept = &fake->kept[fake->kept_count++];

	assert_true(fake->kept_count <= KEPT_MOST);
	*kept = *packet;
	kept->data = malloc(packet->length_bytes);
	assert_non_null(kept->data);
	memcpy(kept->data, packet->data, packet->length_bytes);
}

static int fake_send(struct vnic_port *port, unsigned queue, const struct vnic_packet *packets,
		     unsigned count)
{
	static const enum vnic_port_counter reasons[] = {
		VNIC_PORT_DROP_NO_PEER, VNIC_PORT_DROP_FULL, VNIC_PORT_DROP_REFUSED};
	struct fake *fake = fake_of(port);

	assert_true(count > 0 && count <= VNIC_BURST_PACKETS);
	for (unsigned i = 0; i < count; i++) {
		if (packets[i].gso_type != VNIC_GSO_NONE && fake->refuse > 0) {
			fake->refuse--;
			return (int)i;
		}
		if (fake->has_room && fake->sent++ >= fake->room)
			fail_msg("packet %u of a port that has room for %u", fake->sent,
				 fake->room);
		if (fake->chance) {
			fake->chance = fake->chance * 6364136223846793005u + 1442695040888963407u;
			if (fake->chance >> 60 < 3) {
				vn_port_drop_out(port, queue, reasons[fake->chance >> 60],
						 &packets[i], 1);
				continue;
			}
		}
		vn_port_count_out(port, queue, &packets[i], 1);
		keep(fake, &packets[i]);
	}
	return (int)count;
}

static unsigned fake_room(struct vnic_port *port, unsigned queue)
{
	struct fake *fake = fake_of(port);

	(void)queue;
	return fake->room - fake->sent;
}

/* Each wait for room makes some. */
static unsigned fake_poll(struct vnic_port *port, unsigned queue, bool want_room,
			  struct pollfd *descriptors)
{
	struct fake *fake = fake_of(port);

	(void)queue;
	if (want_room)
		fake->sent = 0;
	if (fake->wake < 0)
		return 0;
	descriptors[0].fd = fake->wake;
	descriptors[0].events = want_room ? POLLOUT : POLLIN;
	return 1;
}

static uint64_t fake_advance(struct vnic_port *port, uint64_t now_ns)
{
	struct fake *fake = fake_of(port);

	if (!fake->period_ns)
		return VN_PORT_NEVER;
	if (fake->advanced < 8)
		fake->advanced_ns[fake->advanced++] = now_ns;
	if (fake->advanced == 8)
		fake->is_endless = false;
	return now_ns + fake->period_ns;
}

static const struct vn_port_kind fake_kind = {
	.name = "fake",
	.close = no_close,
	.receive = fake_receive,
	.send = fake_send,
	.poll = fake_poll,
	.advance = fake_advance,
};

static const struct vn_port_kind narrow_kind = {
	.name = "narrow",
	.close = no_close,
	.receive = fake_receive,
	.send = fake_send,
	.room = fake_room,
	.poll = fake_poll,
	.advance = fake_advance,
};

static void fake_init(struct fake *fake, const char *name, unsigned script_count)
{
	memset(fake, 0, sizeof(*fake));
	fake->port.kind = &fake_kind;
	fake->port.name = (char *)name;
	fake->port.state = fake;
	fake->port.queues = &fake->queue;
	fake->port.queue_count = 1;
	fake->port.layer = VNIC_LAYER_IP;
	fake->is_endless = script_count == 0;
	fake->script = calloc(script_count + 1, sizeof(*fake->script));
	fake->kept = calloc(KEPT_MOST, sizeof(*fake->kept));
	fake->wake = eventfd(0, EFD_CLOEXEC);
	assert_true(fake->script && fake->kept && fake->wake >= 0);
}

static void fake_done(struct fake *fake)
{
	for (unsigned i = 0; i < fake->script_count; i++)
		free(fake->script[i].data);
	for (unsigned i = 0; i < fake->kept_count; i++)
		free(fake->kept[i].data);
	free(fake->script);
	free(fake->kept);
	close(fake->wake);
}

/* Add a packet to the script; size 0: a plain one. */
static void say(struct fake *fake, const struct sample *sample, uint16_t gso_size)
{
	struct vnic_packet *packet = &fake->script[fake->script_count++];
	uint8_t *exact;

	*packet = (struct vnic_packet){.capacity_bytes = VNIC_PACKET_BYTES};
	packet->data = malloc(VNIC_PACKET_BYTES);
	assert_non_null(packet->data);
	if (gso_size)
		sample_build_super(sample, gso_size, packet);
	else
		sample_build(sample, packet);
	exact = realloc(packet->data, packet->length_bytes); /* so that a sanitizer sees more */
	packet->data = exact ? exact : packet->data;
	packet->capacity_bytes = packet->length_bytes;
}

static int run_wire(struct vnic_port *first, struct vnic_port *second,
		    const struct vnic_wire_options *options, struct vnic_wire **kept)
{
	struct vnic_wire *wire;
	struct vnic_error error = {0};
	int code;

	assert_ok(vnic_wire_new(first, second, options, &wire, &error), &error);
	code = vnic_wire_run(wire, &error);
	if (code < 0)
		fail_msg("the wire ended with %d: %s", code, error.text);
	if (kept)
		*kept = wire;
	else
		vnic_wire_free(wire);
	return code;
}

/* packets in = packets out + named drops; what was duplicated came twice. */
static void assert_conserved(const struct vnic_port *from, const struct vnic_port *to,
			     const struct vnic_wire *wire, enum vnic_wire_direction direction)
{
	uint64_t in = vnic_port_counter(from, 0, VNIC_PORT_IN_PACKETS), out;
	uint64_t drops = 0;

	out = vnic_port_counter(to, 0, VNIC_PORT_OUT_PACKETS);
	for (int i = VNIC_PORT_DROP_DOWN; i < VNIC_PORT_DROP_MALFORMED; i++)
		drops += vnic_port_counter(to, 0, (enum vnic_port_counter)i);
	for (int i = VNIC_PORT_DROP_MALFORMED; i < VNIC_PORT_COUNTERS; i++)
		drops += vnic_port_counter(from, 0, (enum vnic_port_counter)i);
	for (int i = VNIC_WIRE_DROP_LOSS; wire && i < VNIC_WIRE_COUNTERS; i++)
		drops += vnic_wire_counter(wire, direction, (enum vnic_wire_counter)i);
	if (wire)
		in += vnic_wire_counter(wire, direction, VNIC_WIRE_DUPLICATED);
	if (in != out + drops)
		fail_msg("%llu came in (or were duplicated), %llu went out, %llu were dropped",
			 (unsigned long long)in, (unsigned long long)out,
			 (unsigned long long)drops);
}

#define assert_counter(port, counter, expected) \
	assert_int_equal(vnic_port_counter(port, 0, counter), expected)

static void assert_same_packet(const struct vnic_packet *one, const struct vnic_packet *other)
{
	assert_int_equal(one->length_bytes, other->length_bytes);
	assert_memory_equal(one->data, other->data, one->length_bytes);
	assert_int_equal(one->gso_type, other->gso_type);
	assert_int_equal(one->gso_size_bytes, other->gso_size_bytes);
	assert_int_equal(one->flags, other->flags);
	assert_int_equal(one->csum_start, other->csum_start);
	assert_int_equal(one->csum_offset, other->csum_offset);
}

static void test_super_packets_pass_whole(void **state)
{
	struct fake from, to;

	(void)state;
	fake_init(&from, "from", 200);
	fake_init(&to, "to", 0);
	from.port.gives_superpackets = true;
	to.queue.offloads = VNIC_OFFLOAD_ALL;
	for (unsigned i = 0; i < 200; i++)
		say(&from,
		    &(struct sample){.payload = 40 * PAYLOAD,
				     .ipv6 = i % 2,
				     .udp = i % 3 == 0,
				     .sequence = i},
		    PAYLOAD);
	run_wire(&from.port, &to.port, NULL, NULL);
	assert_int_equal(to.kept_count, 200);
	for (unsigned i = 0; i < 200; i++)
		assert_same_packet(&to.kept[i], &from.script[i]);
	assert_counter(&from.port, VNIC_PORT_IN_PACKETS, 200 * 40);
	assert_counter(&from.port, VNIC_PORT_IN_SUPERPACKETS, 200);
	assert_counter(&to.port, VNIC_PORT_OUT_PACKETS, 200 * 40);
	assert_counter(&to.port, VNIC_PORT_OUT_SUPERPACKETS, 200);
	assert_conserved(&from.port, &to.port, NULL, VNIC_FORWARD);
	fake_done(&from);
	fake_done(&to);
}

/* What the sink kept is what the segmenter makes of the script, in order. */
static void assert_segments(const struct fake *from, const struct fake *to)
{
	static uint8_t bytes[VNIC_PACKET_BYTES];
	unsigned next = 0;

	for (unsigned i = 0; i < from->script_count; i++) {
		struct vnic_segmenter segmenter;
		struct vnic_packet segment = {.data = bytes, .capacity_bytes = sizeof(bytes)};

		assert_true(vnic_segmenter_begin(&segmenter, &from->script[i],
						 (enum vnic_layer)from->port.layer) > 0);
		while (vnic_segmenter_next(&segmenter, &segment, 1) == 1) {
			assert_true(next < to->kept_count);
			assert_same_packet(&to->kept[next++], &segment);
		}
	}
	assert_int_equal(next, to->kept_count);
}

static void test_super_packets_are_cut(void **state)
{
	struct fake from, to;

	(void)state;
	fake_init(&from, "from", 60);
	fake_init(&to, "to", 0);
	from.port.gives_superpackets = true;
	for (unsigned i = 0; i < 60; i++) /* plain ones between them, and many small segments */
		say(&from,
		    &(struct sample){.payload = 100 + 937 * i,
				     .ipv6 = i % 2,
				     .udp = i % 5 == 0,
				     .sequence = 1000 * i},
		    i % 3 == 0 && i < 2 ? 0
		    : i % 7 == 0        ? 500
					: PAYLOAD);
	run_wire(&from.port, &to.port, NULL, NULL);
	assert_segments(&from, &to);
	assert_counter(&to.port, VNIC_PORT_OUT_PACKETS, to.kept_count);
	assert_counter(&to.port, VNIC_PORT_OUT_SUPERPACKETS, 0);
	assert_conserved(&from.port, &to.port, NULL, VNIC_FORWARD);
	fake_done(&from);
	fake_done(&to);
}

/* A port that takes TCP whole and nothing else, and refuses some of it. Order stays. */
static void test_refused_super_packets_are_cut(void **state)
{
	struct fake from, to;
	unsigned supers = 0;

	(void)state;
	fake_init(&from, "from", 150);
	fake_init(&to, "to", 0);
	from.port.gives_superpackets = true;
	to.queue.offloads = VNIC_OFFLOAD_CSUM | VNIC_OFFLOAD_TSO4 | VNIC_OFFLOAD_TSO6;
	to.refuse = 10;
	for (unsigned i = 0; i < 150; i++)
		say(&from, &(struct sample){.payload = 10 * PAYLOAD, .udp = i % 2, .sequence = i},
		    PAYLOAD);
	run_wire(&from.port, &to.port, NULL, NULL);
	for (unsigned i = 0; i < to.kept_count; i++)
		supers += to.kept[i].gso_type != VNIC_GSO_NONE;
	assert_int_equal(supers, 75 - 10);
	assert_int_equal(to.kept_count, 75 - 10 + 850);
	assert_counter(&to.port, VNIC_PORT_OUT_PACKETS, 1500);
	assert_counter(&to.port, VNIC_PORT_OUT_SUPERPACKETS, 65);
	assert_conserved(&from.port, &to.port, NULL, VNIC_FORWARD);
	fake_done(&from);
	fake_done(&to);
}

static void merge_wire(bool lends, bool udp)
{
	static const struct vnic_packet empty;
	struct fake from, to;
	unsigned plain = 0;

	fake_init(&from, "from", 64 * 4);
	fake_init(&to, "to", 0);
	from.lends = lends;
	to.queue.offloads = VNIC_OFFLOAD_ALL;
	for (unsigned i = 0; i < 64 * 4; i++)
		say(&from,
		    &(struct sample){.payload = 1000,
				     .udp = udp,
				     .identification = (uint16_t)i,
				     .sequence = 1000 * i},
		    0);
	run_wire(&from.port, &to.port, NULL, NULL);
	assert_counter(&from.port, VNIC_PORT_IN_PACKETS, 64 * 4);
	assert_counter(&from.port, VNIC_PORT_IN_SUPERPACKETS, 0);
	assert_counter(&to.port, VNIC_PORT_OUT_PACKETS, 64 * 4);
	if (to.kept_count > 20)
		fail_msg("%u packets came, hardly merged", to.kept_count);
	/* Cut again they are what went in. */
	for (unsigned i = 0; i < to.kept_count; i++) {
		static uint8_t bytes[2000];
		struct vnic_packet segment = empty;
		struct vnic_segmenter segmenter;

		segment.data = bytes;
		segment.capacity_bytes = sizeof(bytes);
		assert_true(vnic_segmenter_begin(&segmenter, &to.kept[i], VNIC_LAYER_IP) > 0);
		while (vnic_segmenter_next(&segmenter, &segment, 1) == 1)
			assert_same_packet(&segment, &from.script[plain++]);
	}
	assert_int_equal(plain, 64 * 4);
	fake_done(&from);
	fake_done(&to);
}

static void test_plain_packets_are_merged(void **state)
{
	(void)state;
	merge_wire(false, false);
	merge_wire(false, true);
}

static void test_lent_packets_are_merged(void **state)
{
	(void)state;
	merge_wire(true, false);
	merge_wire(true, true);
}

static void test_checksums_are_completed(void **state)
{
	struct fake from, to;

	(void)state;
	fake_init(&from, "from", 2);
	fake_init(&to, "to", 0);
	say(&from, &(struct sample){.payload = 333, .udp = true}, 0);
	say(&from, &(struct sample){.payload = 333, .udp = true}, 0);
	free(from.script[1].data);
	from.script[1].data = malloc(VNIC_PACKET_BYTES);
	from.script[1].capacity_bytes = VNIC_PACKET_BYTES;
	sample_build_partial(&(struct sample){.payload = 333, .udp = true}, &from.script[1]);
	run_wire(&from.port, &to.port, NULL, NULL);
	assert_int_equal(to.kept_count, 2);
	assert_memory_equal(to.kept[0].data, to.kept[1].data, to.kept[0].length_bytes);
	assert_int_equal(to.kept[1].flags & VNIC_PACKET_NEEDS_CSUM, 0);
	fake_done(&from);
	fake_done(&to);
}

static void test_malformed_super_packets_are_counted(void **state)
{
	struct fake from, to;

	(void)state;
	fake_init(&from, "from", 3);
	fake_init(&to, "to", 0);
	from.port.gives_superpackets = true;
	for (unsigned i = 0; i < 3; i++)
		say(&from, &(struct sample){.payload = 10 * PAYLOAD, .sequence = i}, PAYLOAD);
	from.script[1].data[0] = 0x65; /* IPv6? */
	run_wire(&from.port, &to.port, NULL, NULL);
	assert_int_equal(to.kept_count, 20);
	assert_counter(&from.port, VNIC_PORT_DROP_MALFORMED, 10);
	assert_conserved(&from.port, &to.port, NULL, VNIC_FORWARD);
	fake_done(&from);
	fake_done(&to);
}

static void test_too_long_packets_are_counted(void **state)
{
	struct fake from, to;

	(void)state;
	fake_init(&from, "from", 5);
	fake_init(&to, "to", 0);
	from.port.gives_superpackets = true;
	to.queue.offloads = VNIC_OFFLOAD_ALL;
	to.port.most_bytes = 1000;
	say(&from, &(struct sample){.payload = 960}, 0);
	say(&from, &(struct sample){.payload = 961}, 0);
	say(&from, &(struct sample){.payload = 9600}, 960);
	say(&from, &(struct sample){.payload = 9610}, 961);
	say(&from, &(struct sample){.payload = 500}, 1400); /* its only segment is short */
	run_wire(&from.port, &to.port, NULL, NULL);
	assert_int_equal(to.kept_count, 3);
	assert_counter(&to.port, VNIC_PORT_DROP_TOO_LONG, 1 + 10);
	assert_conserved(&from.port, &to.port, NULL, VNIC_FORWARD);
	fake_done(&from);
	fake_done(&to);
}

/* Anything, both ways, through ports that drop at random and an impairment: nothing is lost silently. */
static void conserve(unsigned seed)
{
	struct vnic_wire_options options = {.pin = seed % 2};
	struct vnic_error error = {0};
	struct vnic_wire *wire;
	struct fake ends[2];
	uint64_t chance = seed;

	if (seed % 3)
		assert_ok(vnic_impairment_parse("loss=5%,duplicate=5%,delay=1ms,jitter=1ms,"
						"reorder=5%,corrupt=1%,rate=1gbit,queue=1ms,seed=1",
						&options.impairments[seed % 2], &error),
			  &error);
	for (unsigned i = 0; i < 2; i++) {
		struct fake *end = &ends[i];

		fake_init(end, i ? "second" : "first", 400);
		end->queue.offloads = (seed + i) % 4 == 0   ? 0
				      : (seed + i) % 4 == 1 ? VNIC_OFFLOAD_ALL
							    : VNIC_OFFLOAD_CSUM | VNIC_OFFLOAD_TSO6;
		end->port.gives_superpackets = (seed >> i & 1) == 0;
		end->lends = (seed + i) % 5 == 0;
		end->chance = seed + i;
		end->refuse = seed % 7;
		end->port.most_bytes = seed % 2 ? 1400 : 0;
		for (unsigned j = 0; j < 400; j++) {
			struct sample sample = {.sequence = (uint32_t)j * 1000};
			bool super;

			chance = chance * 6364136223846793005u + 1442695040888963407u;
			sample.payload = (uint32_t)(chance >> 33) % 12000 + 1;
			sample.udp = chance >> 60 & 1;
			sample.ipv6 = chance >> 61 & 1;
			super = end->port.gives_superpackets && chance >> 62;
			say(end, &sample, super ? (uint16_t)(chance >> 40) % 1400 + 100 : 0);
			if (chance >> 20 % 64 == 0)
				end->script[j].data[0] ^= 0xff;
		}
	}
	run_wire(&ends[0].port, &ends[1].port, &options, &wire);
	assert_conserved(&ends[0].port, &ends[1].port, wire, VNIC_FORWARD);
	assert_conserved(&ends[1].port, &ends[0].port, wire, VNIC_BACKWARD);
	vnic_wire_free(wire);
	fake_done(&ends[0]);
	fake_done(&ends[1]);
}

static void test_nothing_is_lost_silently(void **state)
{
	(void)state;
	for (unsigned seed = 1; seed <= 40; seed++)
		conserve(seed);
}

/* The same seed gives the same fate: twice the same bytes in the same order. */
static void test_impaired_by_a_seed(void **state)
{
	struct vnic_wire_options options = {.pin = false};
	struct vnic_error error = {0};
	struct fake from, to[2];

	(void)state;
	assert_ok(vnic_impairment_parse("loss=10%,duplicate=10%,corrupt=10%,seed=42",
					&options.impairments[VNIC_FORWARD], &error),
		  &error);
	for (unsigned run = 0; run < 2; run++) {
		struct vnic_wire *wire;

		fake_init(&from, "from", 100);
		fake_init(&to[run], "to", 0);
		from.port.gives_superpackets = true;
		for (unsigned i = 0; i < 100; i++)
			say(&from, &(struct sample){.payload = 10 * PAYLOAD, .sequence = i},
			    PAYLOAD);
		run_wire(&from.port, &to[run].port, &options, &wire);
		assert_int_equal(vnic_wire_impairment(wire, VNIC_FORWARD)->seed, 42);
		assert_conserved(&from.port, &to[run].port, wire, VNIC_FORWARD);
		/* Of a thousand segments, each by itself. */
		assert_in_range(vnic_wire_counter(wire, VNIC_FORWARD, VNIC_WIRE_DROP_LOSS), 43,
				157);
		vnic_wire_free(wire);
		fake_done(&from);
	}
	assert_int_equal(to[0].kept_count, to[1].kept_count);
	for (unsigned i = 0; i < to[0].kept_count; i++)
		assert_same_packet(&to[0].kept[i], &to[1].kept[i]);
	fake_done(&to[0]);
	fake_done(&to[1]);
}

static void test_a_seed_is_chosen(void **state)
{
	struct vnic_wire_options options = {.impairments = {{.loss = 0.5}, {.loss = 0}}};
	struct vnic_error error = {0};
	struct vnic_wire *wire;
	struct fake one, other;

	(void)state;
	fake_init(&one, "one", 0);
	fake_init(&other, "other", 0);
	assert_ok(vnic_wire_new(&one.port, &other.port, &options, &wire, &error), &error);
	assert_true(vnic_wire_impairment(wire, VNIC_FORWARD)->seed != 0);
	assert_true(vnic_wire_impairment(wire, VNIC_BACKWARD)->seed == 0);
	vnic_wire_free(wire);
	fake_done(&one);
	fake_done(&other);
}

/* A patient source waits for a port that has little room. */
static void test_patience(void **state)
{
	struct fake from, to;

	(void)state;
	fake_init(&from, "from", 1000);
	fake_init(&to, "to", 0);
	from.port.is_patient = true;
	to.port.kind = &narrow_kind;
	to.has_room = true;
	to.room = 7;
	for (unsigned i = 0; i < 1000; i++)
		say(&from, &(struct sample){.payload = 10, .sequence = i}, 0);
	run_wire(&from.port, &to.port, NULL, NULL);
	assert_int_equal(to.kept_count, 1000);
	fake_done(&from);
	fake_done(&to);
}

static void test_time(void **state)
{
	struct fake from, to;

	(void)state;
	fake_init(&from, "from", 0);
	fake_init(&to, "to", 0);
	from.period_ns = 3000000;
	run_wire(&from.port, &to.port, NULL, NULL); /* it ends after the eighth call */
	assert_int_equal(from.advanced, 8);
	for (unsigned i = 1; i < 8; i++)
		if (from.advanced_ns[i] - from.advanced_ns[i - 1] < 3000000)
			fail_msg("call %u came after %llu ns", i,
				 (unsigned long long)(from.advanced_ns[i] -
						      from.advanced_ns[i - 1]));
	fake_done(&from);
	fake_done(&to);
}

static void test_a_port_that_fails(void **state)
{
	struct vnic_error error = {0};
	struct vnic_wire *wire;
	struct fake from, to;

	(void)state;
	fake_init(&from, "from", 1);
	fake_init(&to, "to", 0);
	say(&from, &(struct sample){.payload = 10}, 0);
	from.failure = -ECONNRESET;
	assert_ok(vnic_wire_new(&from.port, &to.port, NULL, &wire, &error), &error);
	assert_refused(vnic_wire_run(wire, &error), &error, -ECONNRESET, VNIC_CAUSE_SYSTEM,
		       "the test's port failed");
	assert_int_equal(to.kept_count, 1);
	assert_int_equal(vnic_wire_run(wire, NULL), -ECONNRESET); /* and again */
	vnic_wire_free(wire);
	fake_done(&from);
	fake_done(&to);
}

static void *stop_when_all_came(void *user)
{
	struct vnic_wire *wire = user;

	vnic_wire_stop(wire);
	return NULL;
}

static void test_stop(void **state)
{
	struct vnic_error error = {0};
	struct vnic_wire *wire;
	struct fake one, other;
	pthread_t thread;

	(void)state;
	fake_init(&one, "one", 0);
	fake_init(&other, "other", 0);
	assert_ok(vnic_wire_new(&one.port, &other.port, NULL, &wire, &error), &error);
	vnic_wire_stop(wire); /* before it begins */
	assert_ok(vnic_wire_run(wire, &error), &error);
	for (unsigned i = 0; i < 100; i++) {
		assert_int_equal(pthread_create(&thread, NULL, stop_when_all_came, wire), 0);
		assert_ok(vnic_wire_run(wire, &error), &error);
		pthread_join(thread, NULL);
	}
	vnic_wire_free(wire);
	fake_done(&one);
	fake_done(&other);
}

/* What is still delayed when the wire is stopped is counted; at the end of a source it is delivered. */
static void test_what_is_delayed_at_the_end(void **state)
{
	struct vnic_wire_options options = {.impairments = {{.delay_ns = 60000000000, .seed = 1}}};
	struct vnic_error error = {0};
	struct vnic_wire *wire;
	struct fake from, to;

	(void)state;
	fake_init(&from, "from", 0);
	fake_init(&to, "to", 0);
	from.script = realloc(from.script, 11 * sizeof(*from.script));
	for (unsigned i = 0; i < 10; i++)
		say(&from, &(struct sample){.payload = 10}, 0);
	from.period_ns = 1000;
	from.failure = -EPIPE; /* ends it as an error would, with packets on their way */
	assert_ok(vnic_wire_new(&from.port, &to.port, &options, &wire, &error), &error);
	assert_int_equal(vnic_wire_run(wire, &error), -EPIPE);
	assert_int_equal(vnic_wire_counter(wire, VNIC_FORWARD, VNIC_WIRE_DROP_STOPPED), 10);
	assert_conserved(&from.port, &to.port, wire, VNIC_FORWARD);
	vnic_wire_free(wire);
	fake_done(&from);
	fake_done(&to);

	fake_init(&from, "from", 10);
	fake_init(&to, "to", 0);
	options.impairments[0].delay_ns = 2000000;
	for (unsigned i = 0; i < 10; i++)
		say(&from, &(struct sample){.payload = 10}, 0);
	run_wire(&from.port, &to.port, &options, NULL);
	assert_int_equal(to.kept_count, 10);
	fake_done(&from);
	fake_done(&to);
}

static void test_what_cannot_be_joined(void **state)
{
	struct vnic_wire_options options = {.impairments = {{.loss = 2}}};
	struct vnic_error error = {0};
	struct vnic_wire *wire = NULL;
	struct fake one, other;

	(void)state;
	fake_init(&one, "one", 0);
	fake_init(&other, "other", 0);
	assert_refused(vnic_wire_new(&one.port, &one.port, NULL, &wire, &error), &error, -EINVAL,
		       VNIC_CAUSE_ARGUMENT, "'one'");
	other.port.layer = VNIC_LAYER_ETHERNET;
	assert_refused(vnic_wire_new(&one.port, &other.port, NULL, &wire, &error), &error, -EINVAL,
		       VNIC_CAUSE_ARGUMENT, "Ethernet");
	other.port.layer = VN_PORT_EITHER;
	other.port.queue_count = 2;
	assert_refused(vnic_wire_new(&one.port, &other.port, NULL, &wire, &error), &error, -EINVAL,
		       VNIC_CAUSE_ARGUMENT, "queues");
	other.port.queue_count = 1;
	assert_refused(vnic_wire_new(&one.port, &other.port, &options, &wire, &error), &error,
		       -EINVAL, VNIC_CAUSE_ARGUMENT, "probability");
	assert_null(wire);
	fake_done(&one);
	fake_done(&other);
}

static void test_specifications(void **state)
{
	static const char *const texts[] = {"",        "tun",
					    "tune:x",  "TUN:x",
					    "discard", "discard:x",
					    "tun:a@",  "tun:a,10.0.0.1/33",
					    "tun:a,",  "tap:a,10.0.0.1/24,"};
	struct vnic_port_options options = {.queues = 2};
	struct vnic_error error = {0};
	struct vnic_port *port = NULL;

	NIC_BEGIN(state);
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		if (vnic_port_open(texts[i], NULL, &port, &error) != -EINVAL || !error.text[0])
			fail_msg("'%s' was not refused: %s", texts[i], error.text);
	assert_refused(vnic_port_open("discard:", &options, &port, &error), &error, -EINVAL,
		       VNIC_CAUSE_ARGUMENT, "2 queues");
	assert_null(port);
	assert_ok(vnic_port_open("discard:", NULL, &port, &error), &error);
	assert_string_equal(vnic_port_name(port), "discard:");
	assert_string_equal(vnic_port_kind(port), "discard");
	assert_null(vnic_port_device(port));
	vnic_port_close(port);
	vnic_port_close(NULL);
}

/* Real interfaces. */

struct told {
	unsigned events[VNIC_PORT_END + 1];
	char text[256];
};

static void note_event(void *user, struct vnic_port *port, enum vnic_port_event event,
		       const char *text)
{
	struct told *told = user;

	(void)port;
	assert_string_not_equal(vnic_port_event_name(event), "unknown");
	told->events[event]++;
	snprintf(told->text, sizeof(told->text), "%s", text);
}

static struct vnic_port *open_tun(struct told *told)
{
	const struct vnic_port_options options = {
		.offloads = VNIC_OFFLOAD_ALL, .event = note_event, .user = told};
	struct vnic_error error = {0};
	struct vnic_port *port = NULL;

	assert_ok(vnic_port_open("tun:wire%d,10.0.0.1/24", &options, &port, &error), &error);
	assert_true(vnic_port_is_new_device(port));
	assert_int_equal(vnic_port_most_bytes(port), 1500);
	return port;
}

static uint64_t kernel_received(struct vnic_port *port)
{
	struct vnic_link_info info;
	struct vnic_error error = {0};

	assert_ok(vnic_device_query(vnic_port_device(port), &info, &error), &error);
	return info.statistics.rx_packets;
}

/* Send super-packets to a kernel that refuses so many of them. */
static void fall_back(int code, unsigned refused, unsigned supers, bool udp)
{
	struct told told = {.text = ""};
	struct vnic_port *tun = open_tun(&told);
	uint64_t before = kernel_received(tun), whole = refused < 4 ? supers - refused : 0;
	struct fake from;

	if (udp && !(vnic_device_offloads(vnic_port_device(tun)) & VNIC_OFFLOAD_USO)) {
		vnic_port_close(tun);
		return;
	}
	fake_init(&from, "from", supers);
	from.port.gives_superpackets = true;
	for (unsigned i = 0; i < supers; i++)
		say(&from,
		    &(struct sample){.payload = 10 * 1000, .udp = udp, .sequence = 10000 * i},
		    1000);
	refusal = code;
	refusals_left = refused;
	run_wire(&from.port, tun, NULL, NULL);
	refusal = 0;
	/* Four in a row are enough; what the kernel took later as a whole counts as one there. */
	assert_int_equal(told.events[VNIC_PORT_SOFTWARE_GSO], refused >= 4);
	assert_int_equal(refusals_left, refused >= 4 ? refused - 4 : 0);
	assert_counter(tun, VNIC_PORT_OUT_PACKETS, supers * 10);
	assert_counter(tun, VNIC_PORT_OUT_SUPERPACKETS, whole);
	assert_int_equal(kernel_received(tun) - before, (supers - whole) * 10 + whole);
	assert_conserved(&from.port, tun, NULL, VNIC_FORWARD);
	fake_done(&from);
	vnic_port_close(tun);
}

static void test_kernel_refuses_super_packets(void **state)
{
	NIC_BEGIN(state);
	fall_back(EINVAL, 1000, 100, false);
	fall_back(EIO, 1000, 100, false);
	fall_back(EINVAL, 1000, 100, true);
}

/* A few that are refused are cut, and the others pass whole. */
static void test_kernel_refuses_some_super_packets(void **state)
{
	NIC_BEGIN(state);
	fall_back(EINVAL, 3, 100, false);
	fall_back(EIO, 1, 1, true);
}

/* EIO of an interface that is down proves nothing about super-packets. */
static void test_interface_is_down(void **state)
{
	const struct vnic_link_config down = {.state = VNIC_LINK_DOWN};
	struct vnic_error error = {0};
	struct told told = {.text = ""};
	struct vnic_port *tun;
	struct fake from;

	NIC_BEGIN(state);
	tun = open_tun(&told);
	assert_ok(vnic_device_configure(vnic_port_device(tun), &down, &error), &error);
	fake_init(&from, "from", 40);
	from.port.gives_superpackets = true;
	for (unsigned i = 0; i < 40; i++)
		say(&from, &(struct sample){.payload = 10000, .sequence = i}, i % 2 ? 1000 : 0);
	for (unsigned i = 0; i < 40; i += 2)
		from.script[i].data[0] = 0x45; /* plain ones of 10000 bytes are too long */
	run_wire(&from.port, tun, NULL, NULL);
	assert_counter(tun, VNIC_PORT_DROP_TOO_LONG, 20);
	assert_counter(tun, VNIC_PORT_DROP_DOWN, 200);
	assert_counter(tun, VNIC_PORT_OUT_PACKETS, 0);
	assert_int_equal(told.events[VNIC_PORT_SOFTWARE_GSO], 0);
	assert_conserved(&from.port, tun, NULL, VNIC_FORWARD);
	fake_done(&from);
	vnic_port_close(tun);
}

static void test_interface_is_deleted(void **state)
{
	struct vnic_error error = {0};
	struct told told = {.text = ""};
	char name[VNIC_NAME_BYTES];
	struct vnic_wire *wire;
	struct vnic_port *tun;
	struct fake other;

	NIC_BEGIN(state);
	tun = open_tun(&told);
	fake_init(&other, "other", 0);
	assert_ok(vnic_wire_new(tun, &other.port, NULL, &wire, &error), &error);
	assert_ok(vnic_device_name(vnic_port_device(tun), name, &error), &error);
	assert_ok(vnic_link_delete(NULL, name, &error), &error);
	assert_refused(vnic_wire_run(wire, &error), &error, -ENODEV, VNIC_CAUSE_DEVICE_GONE,
		       "is gone");
	vnic_wire_free(wire);
	fake_done(&other);
	vnic_port_close(tun);
}

/* The MTU of an interface that is made fits the other end, unless one is asked for. */
static void test_mtu_fits(void **state)
{
	struct vnic_port_options options = {.mtu_bytes = 1400};
	struct vnic_error error = {0};
	struct vnic_link_info info;
	struct vnic_wire *wire;
	struct vnic_port *tun;
	struct fake other;

	NIC_BEGIN(state);
	for (unsigned i = 0; i < 4; i++) {
		bool is_tap = i % 2, is_asked = i / 2;
		unsigned expected = is_asked ? 1400 : is_tap ? 1300 - 14 : 1300;

		assert_ok(vnic_port_open(is_tap ? "tap:" : "tun:", is_asked ? &options : NULL, &tun,
					 &error),
			  &error);
		fake_init(&other, "other", 0);
		other.port.layer = VN_PORT_EITHER;
		other.port.most_bytes = 1300;
		assert_ok(vnic_wire_new(&other.port, tun, NULL, &wire, &error), &error);
		assert_int_equal(other.port.layer, is_tap ? VNIC_LAYER_ETHERNET : VNIC_LAYER_IP);
		assert_ok(vnic_device_query(vnic_port_device(tun), &info, &error), &error);
		assert_int_equal(info.mtu_bytes, expected);
		assert_int_equal(vnic_port_most_bytes(tun), expected + (is_tap ? 18 : 0));
		vnic_wire_free(wire);
		fake_done(&other);
		vnic_port_close(tun);
	}
}

/* An interface that exists keeps its addresses and its MTU. */
static void test_interface_that_exists(void **state)
{
	struct vnic_device_options options = {.name = "wire7", .mode = VNIC_OPEN_CREATE};
	const struct vnic_link_config config = {.mtu_bytes = 1280};
	struct vnic_link_address *addresses;
	struct vnic_error error = {0};
	struct vnic_link_info info;
	struct vnic_device *device;
	struct vnic_port *tun;
	size_t count;

	NIC_BEGIN(state);
	device = nic_open(&options);
	nic_up(device, "10.0.0.7/24");
	assert_ok(vnic_device_configure(device, &config, &error), &error);
	assert_ok(vnic_device_set_persistent(device, true, &error), &error);
	vnic_device_close(device);
	assert_ok(vnic_port_open("tun:wire7", NULL, &tun, &error), &error);
	assert_false(vnic_port_is_new_device(tun));
	assert_string_equal(vnic_port_name(tun), "tun:wire7");
	assert_int_equal(vnic_port_most_bytes(tun), 1280);
	vnic_port_close(tun);
	assert_ok(vnic_link_query(NULL, "wire7", &info, &error), &error);
	assert_ok(vnic_link_addresses(NULL, "wire7", &addresses, &count, &error), &error);
	assert_int_equal(count, 1);
	free(addresses);
	assert_ok(vnic_link_delete(NULL, "wire7", &error), &error);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_super_packets_pass_whole),
		cmocka_unit_test(test_super_packets_are_cut),
		cmocka_unit_test(test_refused_super_packets_are_cut),
		cmocka_unit_test(test_plain_packets_are_merged),
		cmocka_unit_test(test_lent_packets_are_merged),
		cmocka_unit_test(test_checksums_are_completed),
		cmocka_unit_test(test_malformed_super_packets_are_counted),
		cmocka_unit_test(test_too_long_packets_are_counted),
		cmocka_unit_test(test_nothing_is_lost_silently),
		cmocka_unit_test(test_impaired_by_a_seed),
		cmocka_unit_test(test_a_seed_is_chosen),
		cmocka_unit_test(test_patience),
		cmocka_unit_test(test_time),
		cmocka_unit_test(test_a_port_that_fails),
		cmocka_unit_test(test_stop),
		cmocka_unit_test(test_what_is_delayed_at_the_end),
		cmocka_unit_test(test_what_cannot_be_joined),
		NIC_TEST(test_specifications),
		NIC_TEST(test_kernel_refuses_super_packets),
		NIC_TEST(test_kernel_refuses_some_super_packets),
		NIC_TEST(test_interface_is_down),
		NIC_TEST(test_interface_is_deleted),
		NIC_TEST(test_mtu_fits),
		NIC_TEST(test_interface_that_exists),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
