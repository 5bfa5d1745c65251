/* SPDX-License-Identifier: MIT */
/*
 * Ports of a test's own, which hand out a script of packets and keep what they are given; and what
 * every test of wires says about their counters.
 */
#ifndef FAKE_PORT_H
#define FAKE_PORT_H

#include <sys/eventfd.h>

#include "base/error.h"
#include "io/port.h"
#include "nic.h"
#include "samples.h"

#include <vnic/wire.h>

#define KEPT_MOST 40000

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
	unsigned breaks; /* at so many packets it breaks; 0: never */
	bool is_broken;
	unsigned room, sent; /* room: what it takes for each poll */
	unsigned advanced;
	uint64_t chance; /* it drops packets by this; 0: none */
	uint64_t period_ns;
	uint64_t advanced_ns[8];
};

static inline struct fake *fake_of(struct vnic_port *port)
{
	return port->state;
}

static inline void no_close(struct vnic_port *port)
{
	(void)port;
}

static inline int fake_receive(struct vnic_port *port, unsigned queue, struct vnic_packet *packets,
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

static inline void keep(struct fake *fake, const struct vnic_packet *packet)
{
	struct vnic_packet *kept = &fake->kept[fake->kept_count++];

	assert_true(fake->kept_count <= KEPT_MOST);
	*kept = *packet;
	kept->data = malloc(packet->length_bytes);
	assert_non_null(kept->data);
	memcpy(kept->data, packet->data, packet->length_bytes);
}

static inline int fake_send(struct vnic_port *port, unsigned queue,
			    const struct vnic_packet *packets, unsigned count)
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
		if (fake->is_broken || (fake->breaks && fake->kept_count >= fake->breaks)) {
			fake->is_broken = true;
			vn_port_drop_out(port, queue, VNIC_PORT_DROP_DOWN, &packets[i], count - i);
			return vn_error(&port->queues[queue].failure, -EIO, VNIC_CAUSE_SYSTEM,
					"the test's port broke");
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

static inline unsigned fake_room(struct vnic_port *port, unsigned queue)
{
	struct fake *fake = fake_of(port);

	(void)queue;
	return fake->room - fake->sent;
}

/* Each wait for room makes some. */
static inline unsigned fake_poll(struct vnic_port *port, unsigned queue, bool want_room,
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

static inline uint64_t fake_advance(struct vnic_port *port, uint64_t now_ns)
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

static inline void fake_init(struct fake *fake, const char *name, unsigned script_count)
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

static inline void fake_done(struct fake *fake)
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
static inline void say(struct fake *fake, const struct sample *sample, uint16_t gso_size)
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

static inline int run_wire(struct vnic_port *first, struct vnic_port *second,
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
static inline void assert_conserved(const struct vnic_port *from, const struct vnic_port *to,
				    const struct vnic_wire *wire,
				    enum vnic_wire_direction direction)
{
	uint64_t in = vnic_port_counter(from, 0, VNIC_PORT_IN_PACKETS), out;
	uint64_t drops = 0;

	in += vnic_port_counter(to, 0, VNIC_PORT_ANSWERED);
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

static inline void assert_same_packet(const struct vnic_packet *one,
				      const struct vnic_packet *other)
{
	assert_int_equal(one->length_bytes, other->length_bytes);
	assert_memory_equal(one->data, other->data, one->length_bytes);
	assert_int_equal(one->gso_type, other->gso_type);
	assert_int_equal(one->gso_size_bytes, other->gso_size_bytes);
	assert_int_equal(one->flags, other->flags);
	assert_int_equal(one->csum_start, other->csum_start);
	assert_int_equal(one->csum_offset, other->csum_offset);
}

#endif
