/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. A wire has one worker for each pair of queues: a thread that serves both
 * directions. It drains up to 64 packets from the one side and sends them, then the other side, and
 * sleeps when both are empty (wait.c). One thread for both was measured to be faster than one for
 * each on two processors: what comes back, the acknowledgements, finds the caches warm, and half as
 * many threads have to be woken. Workers share nothing but the stop descriptor and the reason why
 * the run ends, which the first to have one writes (as in run.c).
 *
 * A direction is a lane. Packets go through it in bursts, in order, and each in the form that the
 * receiving port can take:
 *
 *     receive -> [cut -> impair -> wait] -> [merge] -> too long? cut, complete checksums -> send
 *
 * A super-packet that the port takes passes whole, which is where all the speed is: 45 packets cost
 * two system calls. One that it does not take is cut into memory of the worker's. Where plain
 * packets come from a port that has no offloads and the other does, they are merged on the way. An
 * impairment wants each packet on its own, so there super-packets are always cut before, and merged
 * after it.
 *
 * The packets that are ready to be sent are collected in an array (outlet.c) until it is full or the
 * burst is at its end. So segments of several super-packets and plain packets between them are sent
 * by one call.
 *
 * Who sent what is too long for the other end is told so by ICMP, at a limited rate, as a router
 * does: the path behind a wire may become narrower, and nobody else would tell.
 *
 * A port that fails ends the run, but not at once: what an impairment still delays of its packets is
 * delivered first, as at the end of a source. Meanwhile nothing more is read from it, and what goes
 * towards it is dropped by its send. So no packet is forgotten on any way out of here.
 *
 * A port may refuse a super-packet though it said that it takes such (device/superpacket.c says
 * why). That one is cut then, into an outlet of its own, since the first still holds what follows.
 *
 * A packet that a port lends (its memory is the port's) cannot grow there, as merging would have
 * it. One that something is merged to is copied first.
 */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <unistd.h>
#include <vnic/link.h>
#include <vnic/segment.h>
#include <vnic/wire.h>

#include "base/error.h"
#include "io/impair.h"
#include "io/outlet.h"
#include "io/port.h"
#include "io/wait.h"
#include "packet/merge.h"
#include "packet/too_long.h"

#define HEADROOM_BYTES 128
/* Of ICMP errors: so many at once, and one in so long a time on average. */
#define ANSWERS_AT_ONCE 32
#define ANSWER_INTERVAL_NS UINT64_C(5000000)
#define TCP_OFFLOADS (VNIC_OFFLOAD_TSO4 | VNIC_OFFLOAD_TSO6)

/* One direction of one worker. */
struct lane {
	struct vnic_port *from, *to;
	struct vn_impair *impair; /* NULL: none */
	bool ended;               /* the source has no more */
	bool is_full;             /* the source waits for room at the other end */
	unsigned wanted;          /* how many packets to receive at once */
};

struct worker {
	struct vnic_wire *wire;
	unsigned index; /* and the number of both queues */
	struct lane lanes[2];
	struct vnic_burst *burst;                     /* what is received */
	struct vnic_packet homes[VNIC_BURST_PACKETS]; /* the same, when it was empty */
	struct vnic_burst *delayed;                   /* what comes out of an impairment */
	struct vn_outlet outlet, again;
	uint8_t answer[VN_TOO_LONG_BYTES];
	uint64_t next_answer_ns; /* when it would be due if they were sent evenly */
	uint64_t now_ns;
	uint64_t deadlines_ns[2]; /* of the ports; worker 0 only */
	struct vn_spin spin;
	pthread_t thread; /* not of worker 0 */
};

struct vnic_wire {
	struct vnic_port *ports[2];
	struct vnic_impairment impairments[2];
	enum vnic_layer layer;
	bool pin;
	cpu_set_t processors; /* that the workers may be pinned to */
	int stop;             /* eventfd(2): nobody reads it before all workers have ended */
	struct worker *workers;
	unsigned worker_count;
	atomic_flag is_over; /* who sets it writes the next three */
	int code;
	struct vnic_port *culprit; /* whose failure it is; NULL: the wire's own */
	unsigned culprit_queue;
};

/* Ending. */

/* Say why the run ends, or will: the first reason counts. */
static void note_reason(struct worker *worker, struct vnic_port *culprit, int code)
{
	struct vnic_wire *wire = worker->wire;

	if (!atomic_flag_test_and_set(&wire->is_over)) {
		wire->code = code;
		wire->culprit = culprit;
		wire->culprit_queue = worker->index;
	}
}

static int end_run(struct worker *worker, struct vnic_port *culprit, int code)
{
	note_reason(worker, culprit, code);
	vn_wake(worker->wire->stop);
	return -1;
}

/* A port has failed: the run ends when all that came from it is delivered. */
static void fail_port(struct worker *worker, struct vnic_port *port, int code)
{
	note_reason(worker, port, code);
	worker->lanes[port == worker->wire->ports[0] ? VNIC_FORWARD : VNIC_BACKWARD].ended = true;
}

void vnic_wire_stop(struct vnic_wire *wire)
{
	vn_wake(wire->stop);
}

/* Which form a packet may have. */

/* It, or the first of its segments. */
static uint32_t plain_length(const struct vnic_packet *packet)
{
	uint32_t length;

	if (packet->gso_type == VNIC_GSO_NONE)
		return packet->length_bytes;
	length = vn_port_header_bytes(packet) + packet->gso_size_bytes;
	return length < packet->length_bytes ? length : packet->length_bytes;
}

/* Sending. */

/* Where an outlet empties into. */
enum sink {
	SINK_PORT,
	SINK_IMPAIR
};

static void cut_refused(struct worker *worker, struct lane *lane, const struct vnic_packet *packet);

static void send_outlet(struct worker *worker, struct lane *lane, struct vn_outlet *outlet)
{
	struct vnic_port *to = lane->to;
	unsigned done = 0;

	while (done < outlet->count) {
		int code = to->kind->send(to, worker->index, outlet->packets + done,
					  outlet->count - done);

		if (code < 0) { /* it has dropped the rest */
			fail_port(worker, to, code);
			return;
		}
		done += (unsigned)code;
		if (done < outlet->count)
			cut_refused(worker, lane, &outlet->packets[done++]);
	}
}

static void empty(struct worker *worker, struct lane *lane, enum sink sink,
		  struct vn_outlet *outlet)
{
	if (outlet->count == 0)
		return;
	if (sink == SINK_PORT)
		send_outlet(worker, lane, outlet);
	else
		for (unsigned i = 0; i < outlet->count; i++)
			vn_impair_put(lane->impair, &outlet->packets[i], worker->now_ns);
	outlet->count = 0;
	outlet->used_bytes = 0;
}

/* Cut a super-packet into an outlet, which is emptied as often as it is full. */
static void cut(struct worker *worker, struct lane *lane, enum sink sink, struct vn_outlet *outlet,
		const struct vnic_packet *packet)
{
	struct vnic_segmenter segmenter;
	unsigned expected = vn_port_segments(packet);
	int made = vnic_segmenter_begin(&segmenter, packet, worker->wire->layer);

	if (made < 0) {
		vn_port_count(lane->from, worker->index, VNIC_PORT_DROP_MALFORMED, expected);
		return;
	}
	/* Bytes behind the IP packet made it look longer than it was. */
	vn_port_count(lane->from, worker->index, VNIC_PORT_IN_PACKETS, (uint64_t)made - expected);
	while (vn_outlet_cut(outlet, &segmenter) > 0)
		if (outlet->count == VNIC_BURST_PACKETS)
			empty(worker, lane, sink, outlet);
}

static void cut_refused(struct worker *worker, struct lane *lane, const struct vnic_packet *packet)
{
	cut(worker, lane, SINK_PORT, &worker->again, packet);
	empty(worker, lane, SINK_PORT, &worker->again);
}

/* Tell the sender of a packet that is dropped what would have passed. */
static void answer(struct worker *worker, struct lane *lane, struct vnic_packet *packet,
		   unsigned most)
{
	struct vnic_packet error = {.data = worker->answer,
				    .capacity_bytes = sizeof(worker->answer)};
	struct vnic_port *from = lane->from;
	unsigned most_back = atomic_load_explicit(&from->most_bytes, memory_order_relaxed);
	uint64_t next_ns = worker->next_answer_ns;
	int code;

	if (next_ns < worker->now_ns)
		next_ns = worker->now_ns;
	if (from->is_exact || next_ns - worker->now_ns >= ANSWERS_AT_ONCE * ANSWER_INTERVAL_NS)
		return;
	/* What is quoted shall be what was on a wire; a super-packet never was on one. */
	if (packet->gso_type == VNIC_GSO_NONE && vnic_packet_finish_checksum(packet) < 0)
		return;
	error.length_bytes = vn_too_long_build(packet, worker->wire->layer, most,
					       lane->to->most_tag_bytes, worker->answer);
	if (error.length_bytes == 0 || (most_back && error.length_bytes > most_back))
		return;
	worker->next_answer_ns = next_ns + ANSWER_INTERVAL_NS;
	vn_port_count(from, worker->index, VNIC_PORT_ANSWERED, 1);
	code = from->kind->send(from, worker->index, &error, 1);
	if (code < 0)
		fail_port(worker, from, code);
}

/* Bring packets into a form that the sink takes, and put them there. */
static void convey(struct worker *worker, struct lane *lane, enum sink sink,
		   struct vnic_packet *packets, unsigned count)
{
	struct vn_outlet *outlet = &worker->outlet;
	struct vnic_port *to = lane->to;
	unsigned most = UINT32_MAX;
	unsigned offloads = VNIC_OFFLOAD_CSUM;

	if (sink == SINK_PORT) {
		most = atomic_load_explicit(&to->most_bytes, memory_order_relaxed);
		most = most ? most : VNIC_PACKET_BYTES;
	} else if (vn_impair_corrupts(lane->impair)) {
		/* A checksum that is completed afterwards would vouch for the wrong bytes. */
		offloads = 0;
	}
	for (unsigned i = 0; i < count; i++) {
		struct vnic_packet *packet = &packets[i];

		if (sink == SINK_PORT) /* it may become less on the way */
			offloads = to->queues[worker->index].offloads;
		if (plain_length(packet) > most) {
			vn_port_drop_out(to, worker->index, VNIC_PORT_DROP_TOO_LONG, packet, 1);
			answer(worker, lane, packet, most);
			continue;
		}
		if (!vn_offloads_take(offloads, packet) && packet->gso_type != VNIC_GSO_NONE) {
			cut(worker, lane, sink, outlet, packet);
			continue;
		}
		if (!vn_offloads_take(offloads, packet) &&
		    vnic_packet_finish_checksum(packet) < 0) {
			vn_port_count(lane->from, worker->index, VNIC_PORT_DROP_MALFORMED, 1);
			continue;
		}
		outlet->packets[outlet->count++] = *packet;
		if (outlet->count == VNIC_BURST_PACKETS)
			empty(worker, lane, sink, outlet);
	}
	empty(worker, lane, sink, outlet);
}

/* Merging. */

static unsigned merge(struct worker *worker, struct lane *lane, struct vnic_packet *packets,
		      unsigned count)
{
	unsigned offloads = lane->to->queues[worker->index].offloads;
	unsigned what = 0;

	if ((offloads & TCP_OFFLOADS) == TCP_OFFLOADS)
		what |= VNIC_MERGE_TCP;
	if (offloads & VNIC_OFFLOAD_USO)
		what |= VNIC_MERGE_UDP;
	if (what == 0 || !(offloads & VNIC_OFFLOAD_CSUM) || count < 2 ||
	    lane->to->cuts_superpackets || lane->from->is_exact)
		return count;
	/* What was delayed has memory to grow in. */
	return vn_packets_merge(packets,
				packets == vnic_burst_packets(worker->burst) ? worker->homes : NULL,
				count, worker->wire->layer, what);
}

/* Receiving. Returns how many packets there were. */
static unsigned serve(struct worker *worker, struct lane *lane)
{
	struct vnic_packet *packets = vnic_burst_packets(worker->burst);
	struct vnic_port *from = lane->from, *to = lane->to;
	unsigned wanted = lane->wanted, left;
	int count;

	if (lane->ended)
		return 0;
	if (from->is_patient && to->kind->room) {
		unsigned room = to->kind->room(to, worker->index);

		wanted = room < wanted ? room : wanted;
		lane->is_full = wanted == 0;
		if (lane->is_full)
			return 0;
	}
	vnic_burst_reset(worker->burst);
	count = from->kind->receive(from, worker->index, packets, wanted);
	if (count == -ENODATA)
		lane->ended = true;
	else if (count < 0 && count != -EAGAIN)
		fail_port(worker, from, count);
	if (count < 0)
		return 0;
	worker->now_ns = vn_now_ns();
	vn_spin_traffic(&worker->spin, worker->now_ns);
	vn_port_count_in(from, worker->index, packets, (unsigned)count);
	lane->wanted = vn_burst_wanted(packets, (unsigned)count);
	left = (unsigned)count;
	if (!lane->impair && !from->gives_superpackets)
		left = merge(worker, lane, packets, left);
	convey(worker, lane, lane->impair ? SINK_IMPAIR : SINK_PORT, packets, left);
	return (unsigned)count;
}

/* Let go what was delayed for long enough. As above. */
static unsigned serve_delayed(struct worker *worker, struct lane *lane)
{
	struct vnic_packet *packets;
	unsigned count;

	if (!lane->impair || vn_impair_deadline(lane->impair) > worker->now_ns)
		return 0;
	packets = vnic_burst_packets(worker->delayed);
	vnic_burst_reset(worker->delayed);
	count = vn_impair_take(lane->impair, worker->now_ns, packets, VNIC_BURST_PACKETS);
	convey(worker, lane, SINK_PORT, packets, merge(worker, lane, packets, count));
	return count;
}

/* True where a source is at its end and all that came from it is delivered. */
static bool is_done(struct worker *worker, struct lane *lane)
{
	struct vnic_port *to = lane->to;

	return lane->ended && (!lane->impair || vn_impair_held(lane->impair) == 0) &&
	       (!to->kind->is_drained || to->kind->is_drained(to, worker->index));
}

/* Waiting. */

/* What one port wants to be polled. */
struct interest {
	struct pollfd *first;
	unsigned count;
};

static struct interest ask(struct worker *worker, unsigned number, struct pollfd *descriptors)
{
	struct vnic_port *port = worker->wire->ports[number];
	const struct lane *in = &worker->lanes[number], *out = &worker->lanes[1 - number];
	struct interest interest = {descriptors, 0};

	if (port->kind->poll && !in->ended)
		interest.count = port->kind->poll(port, worker->index, out->is_full || out->ended,
						  descriptors);
	for (unsigned i = 0; i < interest.count; i++)
		descriptors[i].revents = 0;
	return interest;
}

/* What the descriptors told, and what the time is. */
static void serve_port(struct worker *worker, unsigned number, struct interest interest)
{
	struct vnic_port *port = worker->wire->ports[number];
	bool is_ready = false;
	int code;

	for (unsigned i = 0; i < interest.count; i++)
		is_ready |= interest.first[i].revents != 0;
	if (is_ready && port->kind->ready) {
		code = port->kind->ready(port, worker->index, interest.first, interest.count);
		if (code == -ENODATA)
			worker->lanes[number].ended = true;
		else if (code < 0)
			fail_port(worker, port, code);
	}
	if (worker->index == 0 && port->kind->advance &&
	    (is_ready || port->deadline_changed ||
	     worker->now_ns >= worker->deadlines_ns[number])) {
		port->deadline_changed = false;
		worker->deadlines_ns[number] = port->kind->advance(port, worker->now_ns);
	}
}

static uint64_t find_deadline(const struct worker *worker)
{
	uint64_t deadline_ns = VN_NEVER;

	for (unsigned i = 0; i < 2; i++) {
		const struct vn_impair *impair = worker->lanes[i].impair;
		uint64_t delayed_ns = impair ? vn_impair_deadline(impair) : VN_NEVER;

		if (worker->wire->ports[i]->deadline_changed && worker->index == 0)
			return 0;
		if (worker->deadlines_ns[i] < deadline_ns)
			deadline_ns = worker->deadlines_ns[i];
		if (delayed_ns < deadline_ns)
			deadline_ns = delayed_ns;
	}
	return deadline_ns;
}

/* Wait for something to do, or only look. Returns 0, or -1: the run is over. */
static int wait_or_look(struct worker *worker, bool wait)
{
	struct pollfd descriptors[1 + 2 * VN_PORT_DESCRIPTORS];
	struct interest interests[2];
	int count;

	descriptors[0] = (struct pollfd){.fd = worker->wire->stop, .events = POLLIN};
	interests[0] = ask(worker, 0, descriptors + 1);
	interests[1] = ask(worker, 1, descriptors + 1 + interests[0].count);
	count = vn_wait(descriptors, 1 + interests[0].count + interests[1].count, worker->now_ns,
			wait ? find_deadline(worker) : 0);
	if (count < 0)
		return end_run(worker, NULL, count);
	worker->now_ns = vn_now_ns();
	if (wait)
		vn_spin_learn(&worker->spin, worker->now_ns);
	if (count > 0 && descriptors[0].revents)
		return -1;
	for (unsigned i = 0; i < 2; i++)
		serve_port(worker, i, interests[i]);
	return 0;
}

/* Running. */

static void pin(const struct worker *worker)
{
	const cpu_set_t *processors = &worker->wire->processors;
	unsigned left = worker->index % (unsigned)CPU_COUNT(processors);
	cpu_set_t one;

	for (int i = 0; i < CPU_SETSIZE; i++) {
		if (!CPU_ISSET(i, processors) || left-- > 0)
			continue;
		CPU_ZERO(&one);
		CPU_SET(i, &one);
		/* It may have been taken offline: then it runs where it may. */
		(void)sched_setaffinity(0, sizeof(one), &one);
		return;
	}
}

/* Returns how many packets there were, or -1: the run is over. */
static int serve_all(struct worker *worker)
{
	unsigned sum = 0;

	for (unsigned i = 0; i < 2; i++) {
		struct lane *lane = &worker->lanes[i];

		sum += serve(worker, lane);
		sum += serve_delayed(worker, lane);
		if (is_done(worker, lane))
			return end_run(worker, NULL, 0);
	}
	return (int)sum;
}

static void *work(void *argument)
{
	struct worker *worker = argument;
	unsigned rounds = 0;
	int count;

	if (worker->wire->pin)
		pin(worker);
	worker->now_ns = vn_now_ns();
	vn_spin_traffic(&worker->spin, worker->now_ns);
	/* A stop that was there before us comes before packets. */
	if (wait_or_look(worker, false) < 0)
		return NULL;
	while ((count = serve_all(worker)) >= 0) {
		bool wait = false;

		if (count > 0 && ++rounds < VN_BURSTS_MOST)
			continue;
		if (count == 0) {
			worker->now_ns = vn_now_ns();
			if (vn_spin_goes_on(&worker->spin, worker->now_ns) &&
			    worker->now_ns < find_deadline(worker))
				continue;
			wait = true;
		}
		rounds = 0;
		if (wait_or_look(worker, wait) < 0)
			break;
	}
	return NULL;
}

static void begin_run(struct vnic_wire *wire)
{
	bool may_spin = vn_may_spin();

	atomic_flag_clear(&wire->is_over);
	wire->code = 0;
	wire->culprit = NULL;
	if (sched_getaffinity(0, sizeof(wire->processors), &wire->processors) < 0 ||
	    CPU_COUNT(&wire->processors) == 0)
		wire->pin = false;
	for (unsigned i = 0; i < wire->worker_count; i++) {
		struct worker *worker = &wire->workers[i];

		worker->spin = (struct vn_spin){.allowed = may_spin};
		for (unsigned j = 0; j < 2; j++) {
			worker->lanes[j].ended = false;
			worker->lanes[j].is_full = false;
			worker->lanes[j].wanted = VNIC_BURST_PACKETS;
			worker->deadlines_ns[j] =
				i == 0 && wire->ports[j]->kind->advance ? 0 : VN_NEVER;
		}
	}
}

/* All workers have ended: say why. */
static int finish(struct vnic_wire *wire, struct vnic_error *error)
{
	vn_wake_clear(wire->stop);
	for (unsigned i = 0; i < 2; i++)
		if (wire->ports[i]->kind->stop)
			wire->ports[i]->kind->stop(wire->ports[i]);
	for (unsigned i = 0; i < wire->worker_count; i++)
		for (unsigned j = 0; j < 2; j++)
			if (wire->workers[i].lanes[j].impair)
				vn_impair_stop(wire->workers[i].lanes[j].impair);
	if (wire->code < 0 && wire->culprit && error)
		*error = wire->culprit->queues[wire->culprit_queue].failure;
	else if (wire->code < 0 && error)
		return vn_error_system(error, wire->code, VNIC_CAUSE_SYSTEM,
				       "cannot wait for packets");
	return wire->code;
}

int vnic_wire_run(struct vnic_wire *wire, struct vnic_error *error)
{
	unsigned started = 1;
	int code = 0, result;

	begin_run(wire);
	for (; started < wire->worker_count && code == 0; started++) {
		struct worker *worker = &wire->workers[started];

		code = vn_thread_start(&worker->thread, work, worker);
		if (code < 0)
			break;
	}
	if (code == 0)
		work(&wire->workers[0]);
	else
		vn_wake(wire->stop);
	while (started > 1)
		pthread_join(wire->workers[--started].thread, NULL);
	if (wire->pin) /* the caller's own thread was worker 0 */
		(void)sched_setaffinity(0, sizeof(wire->processors), &wire->processors);
	result = finish(wire, code == 0 ? error : NULL);
	if (code < 0)
		return vn_error_system(error, code, VNIC_CAUSE_LIMIT,
				       "cannot start a thread for each queue");
	return result;
}

/* Making. */

static int check(struct vnic_port *first, struct vnic_port *second,
		 const struct vnic_wire_options *options, struct vnic_error *error)
{
	int code = 0;

	if (first == second)
		return vn_error(error, -EINVAL, VNIC_CAUSE_ARGUMENT,
				"a wire has two ends: '%s' is one", vnic_port_name(first));
	if (first->queue_count != second->queue_count)
		return vn_error(error, -EINVAL, VNIC_CAUSE_ARGUMENT,
				"'%s' has %u queues and '%s' %u", vnic_port_name(first),
				first->queue_count, vnic_port_name(second), second->queue_count);
	if (first->layer != VN_PORT_EITHER && second->layer != VN_PORT_EITHER &&
	    first->layer != second->layer)
		return vn_error(error, -EINVAL, VNIC_CAUSE_ARGUMENT, "'%s' carries %s and '%s' %s",
				vnic_port_name(first),
				first->layer == VNIC_LAYER_IP ? "IP packets" : "Ethernet frames",
				vnic_port_name(second),
				second->layer == VNIC_LAYER_IP ? "IP packets" : "Ethernet frames");
	for (unsigned i = 0; i < 2 && code == 0; i++)
		code = vn_impairment_check(&options->impairments[i], error);
	return code;
}

static void choose_layer(struct vnic_wire *wire)
{
	struct vnic_port *first = wire->ports[0], *second = wire->ports[1];

	if (first->layer == VN_PORT_EITHER)
		first->layer = second->layer;
	if (first->layer == VN_PORT_EITHER) /* then nobody looks at it */
		first->layer = VNIC_LAYER_IP;
	second->layer = first->layer;
	wire->layer = (enum vnic_layer)first->layer;
}

/* Make the MTU of an interface for which nobody asked for one fit the other end. */
static int fit_mtu(struct vnic_wire *wire, unsigned number, struct vnic_error *error)
{
	struct vnic_port *port = wire->ports[number], *other = wire->ports[1 - number];
	struct vnic_link_config config = {0};
	struct vnic_link_info info;
	unsigned headers = 0;
	int code;

	if (!port->device || !port->is_new_device || port->options.mtu_bytes ||
	    other->most_bytes == 0)
		return 0;
	if (wire->layer == VNIC_LAYER_ETHERNET)
		headers = VNIC_ETHERNET_HEADER_BYTES;
	config.mtu_bytes = other->most_bytes - headers;
	if (other->device) {
		code = vnic_device_query(other->device, &info, error);
		if (code < 0)
			return code;
		config.mtu_bytes = info.mtu_bytes;
	}
	code = vnic_device_configure(port->device, &config, error);
	if (code == 0)
		port->most_bytes =
			config.mtu_bytes +
			(headers ? headers + 4 : 0); /* and a VLAN tag: as port_device.c has it */
	return code;
}

static uint64_t choose_seed(void)
{
	uint64_t seed = 0;

	/* Short, so that it can be typed again. It is no secret. */
	if (getrandom(&seed, sizeof(uint32_t), GRND_NONBLOCK) != sizeof(uint32_t) || seed == 0)
		seed = vn_now_ns() & UINT32_MAX;
	return seed ? seed : 1;
}

static int make_lane(struct vnic_wire *wire, struct worker *worker, unsigned number,
		     struct vnic_error *error)
{
	struct vnic_impairment impairment = wire->impairments[number];
	struct lane *lane = &worker->lanes[number];

	lane->from = wire->ports[number];
	lane->to = wire->ports[1 - number];
	if (!vnic_impairment_is_any(&impairment))
		return 0;
	/* The two directions and the queues shall not have one fate. */
	impairment.seed += (uint64_t)(worker->index * 2 + number) << 32;
	return vn_impair_new(&impairment, &lane->impair, error);
}

static int make_worker(struct vnic_wire *wire, struct worker *worker, struct vnic_error *error)
{
	int code = vnic_burst_new(VNIC_BURST_PACKETS, 0, HEADROOM_BYTES, &worker->burst, error);

	if (code == 0)
		code = vnic_burst_new(VNIC_BURST_PACKETS, 0, 0, &worker->delayed, error);
	for (unsigned i = 0; i < 2 && code == 0; i++)
		code = make_lane(wire, worker, i, error);
	if (code < 0)
		return code;
	memcpy(worker->homes, vnic_burst_packets(worker->burst), sizeof(worker->homes));
	if (vn_outlet_init(&worker->outlet, 0) < 0 || vn_outlet_init(&worker->again, 0) < 0)
		return vn_error(error, -ENOMEM, VNIC_CAUSE_MEMORY, "no memory for a wire");
	return 0;
}

static void free_worker(struct worker *worker)
{
	vnic_burst_free(worker->burst);
	vnic_burst_free(worker->delayed);
	vn_outlet_free(&worker->outlet);
	vn_outlet_free(&worker->again);
	for (unsigned i = 0; i < 2; i++)
		vn_impair_free(worker->lanes[i].impair);
}

static int make_workers(struct vnic_wire *wire, struct vnic_error *error)
{
	unsigned count = wire->ports[0]->queue_count;
	int code = 0;

	wire->workers = calloc(count, sizeof(*wire->workers));
	if (!wire->workers)
		return vn_error(error, -ENOMEM, VNIC_CAUSE_MEMORY, "no memory for %u workers",
				count);
	for (; wire->worker_count < count && code == 0; wire->worker_count++) {
		struct worker *worker = &wire->workers[wire->worker_count];

		worker->wire = wire;
		worker->index = wire->worker_count;
		code = make_worker(wire, worker, error);
	}
	return code;
}

static int join(struct vnic_wire *wire, struct vnic_error *error)
{
	int code = 0;

	choose_layer(wire);
	for (unsigned i = 0; i < 2 && code == 0; i++)
		code = fit_mtu(wire, i, error);
	for (unsigned i = 0; i < 2 && code == 0; i++)
		if (wire->ports[i]->kind->attach)
			code = wire->ports[i]->kind->attach(wire->ports[i], error);
	return code;
}

int vnic_wire_new(struct vnic_port *first, struct vnic_port *second,
		  const struct vnic_wire_options *options, struct vnic_wire **wire,
		  struct vnic_error *error)
{
	static const struct vnic_wire_options defaults;
	struct vnic_wire *made;
	int code;

	if (!options)
		options = &defaults;
	code = check(first, second, options, error);
	if (code < 0)
		return code;
	made = calloc(1, sizeof(*made));
	if (!made)
		return vn_error(error, -ENOMEM, VNIC_CAUSE_MEMORY, "no memory for a wire");
	made->ports[0] = first;
	made->ports[1] = second;
	made->pin = options->pin;
	for (unsigned i = 0; i < 2; i++) {
		made->impairments[i] = options->impairments[i];
		if (vnic_impairment_is_any(&made->impairments[i]) && !made->impairments[i].seed)
			made->impairments[i].seed = choose_seed();
	}
	made->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (made->stop < 0)
		code = vn_error_system(error, -errno, VNIC_CAUSE_LIMIT, "cannot make a wire");
	if (code == 0)
		code = join(made, error);
	if (code == 0)
		code = make_workers(made, error);
	if (code < 0)
		vnic_wire_free(made);
	else
		*wire = made;
	return code;
}

void vnic_wire_free(struct vnic_wire *wire)
{
	if (!wire)
		return;
	for (unsigned i = 0; i < wire->worker_count; i++)
		free_worker(&wire->workers[i]);
	free(wire->workers);
	if (wire->stop >= 0)
		close(wire->stop);
	free(wire);
}

/* Asking. */

const struct vnic_impairment *vnic_wire_impairment(const struct vnic_wire *wire,
						   enum vnic_wire_direction direction)
{
	return &wire->impairments[direction];
}

const char *vnic_wire_counter_name(enum vnic_wire_counter counter)
{
	static const char *const names[VNIC_WIRE_COUNTERS] = {
		[VNIC_WIRE_DUPLICATED] = "duplicated",     [VNIC_WIRE_REORDERED] = "reordered",
		[VNIC_WIRE_CORRUPTED] = "corrupted",       [VNIC_WIRE_DROP_LOSS] = "drop_loss",
		[VNIC_WIRE_DROP_RATE] = "drop_rate",       [VNIC_WIRE_DROP_MEMORY] = "drop_memory",
		[VNIC_WIRE_DROP_STOPPED] = "drop_stopped",
	};

	return (unsigned)counter < VNIC_WIRE_COUNTERS ? names[counter] : NULL;
}

uint64_t vnic_wire_counter(const struct vnic_wire *wire, enum vnic_wire_direction direction,
			   enum vnic_wire_counter counter)
{
	uint64_t sum = 0;

	if ((unsigned)direction > VNIC_BACKWARD || (unsigned)counter >= VNIC_WIRE_COUNTERS)
		return 0;
	for (unsigned i = 0; i < wire->worker_count; i++)
		if (wire->workers[i].lanes[direction].impair)
			sum += vn_impair_counter(wire->workers[i].lanes[direction].impair, counter);
	return sum;
}
