/* SPDX-License-Identifier: MIT */
/*
 * For tests of one kind of port that call its operations as a wire would, without a wire: one
 * thread, and nothing happens but what the test asks for. After nic.h.
 */
#ifndef PLUG_H
#define PLUG_H

#include <net/if.h>
#include <sys/ioctl.h>

#include "io/port.h"
#include "io/wait.h"
#include "samples.h"

#define PLUG_EVENTS 16

struct plug {
	struct vnic_port *port;
	struct vnic_burst *burst;
	uint64_t deadline_ns; /* of advance */
	unsigned events[PLUG_EVENTS];
	char text[256]; /* of the last event */
};

static inline void plug_event(void *user, struct vnic_port *port, enum vnic_port_event event,
			      const char *text)
{
	struct plug *plug = user;

	(void)port;
	assert_true((unsigned)event < PLUG_EVENTS);
	plug->events[event]++;
	snprintf(plug->text, sizeof(plug->text), "%s", text);
}

static inline void plug_open_layer(struct plug *plug, const char *specification,
				   enum vnic_layer layer)
{
	struct vnic_port_options options = {.event = plug_event, .user = plug};
	struct vnic_error error = {0};

	memset(plug, 0, sizeof(*plug));
	assert_ok(vnic_port_open(specification, &options, &plug->port, &error), &error);
	plug->port->layer = layer;
	assert_ok(vnic_burst_new(VNIC_BURST_PACKETS, 0, 0, &plug->burst, &error), &error);
}

static inline void plug_open(struct plug *plug, const char *specification)
{
	plug_open_layer(plug, specification, VNIC_LAYER_IP);
}

static inline void plug_close(struct plug *plug)
{
	vnic_port_close(plug->port);
	vnic_burst_free(plug->burst);
}

static inline uint64_t plug_counter(const struct plug *plug, enum vnic_port_counter counter)
{
	return vnic_port_counter(plug->port, 0, counter);
}

#define assert_counter(plug, counter, expected)                                                    \
	do {                                                                                       \
		uint64_t found_count = plug_counter(plug, counter);                                \
		if (found_count != (uint64_t)(expected))                                           \
			fail_msg("%s is %llu, expected %llu", vnic_port_counter_name(counter),     \
				 (unsigned long long)found_count, (unsigned long long)(expected)); \
	} while (0)

#define assert_event(plug, event, expected)                                          \
	do {                                                                         \
		if ((plug)->events[event] != (expected))                             \
			fail_msg("%s %u times, expected %u; the last event: %s",     \
				 vnic_port_event_name(event), (plug)->events[event], \
				 (unsigned)(expected), (plug)->text);                \
	} while (0)

/* Once around the loop, as the wire has it; waits for at most so long. */
static inline void plug_turn(struct plug *plug, bool want_room, uint64_t most_ns)
{
	const struct vn_port_kind *kind = plug->port->kind;
	struct pollfd descriptors[VN_PORT_DESCRIPTORS];
	uint64_t now_ns = vn_now_ns(), until_ns = now_ns + most_ns;
	unsigned count = kind->poll(plug->port, 0, want_room, descriptors);
	bool is_ready = false;

	if (plug->deadline_ns < until_ns)
		until_ns = plug->deadline_ns;
	for (unsigned i = 0; i < count; i++)
		descriptors[i].revents = 0;
	assert_true(vn_wait(descriptors, count, now_ns,
			    plug->port->deadline_changed ? 0 : until_ns) >= 0);
	for (unsigned i = 0; i < count; i++)
		is_ready |= descriptors[i].revents != 0;
	if (is_ready && kind->ready)
		assert_int_equal(kind->ready(plug->port, 0, descriptors, count), 0);
	now_ns = vn_now_ns();
	if (is_ready || plug->port->deadline_changed || now_ns >= plug->deadline_ns) {
		plug->port->deadline_changed = false;
		plug->deadline_ns = kind->advance(plug->port, now_ns);
	}
}

/* Turn until a condition holds; its text is told where it does not become so. */
#define plug_until(plug, condition)                                                      \
	do {                                                                             \
		uint64_t until_ns_ = vn_now_ns() + DEADLINE_MS * UINT64_C(1000000);      \
		while (!(condition)) {                                                   \
			if (vn_now_ns() > until_ns_)                                     \
				fail_msg("never so: %s; the last event: %s", #condition, \
					 (plug)->text);                                  \
			plug_turn(plug, false, 20000000);                                \
		}                                                                        \
	} while (0)

/* Receive up to count packets, if there are any now. Counted as the wire would. */
static inline unsigned plug_look(struct plug *plug, struct vnic_packet **packets, unsigned count)
{
	int got;

	vnic_burst_reset(plug->burst);
	*packets = vnic_burst_packets(plug->burst);
	got = plug->port->kind->receive(plug->port, 0, *packets, count);
	if (got == -EAGAIN)
		return 0;
	assert_true(got > 0 && (unsigned)got <= count);
	vn_port_count_in(plug->port, 0, *packets, (unsigned)got);
	return (unsigned)got;
}

/* Receive up to count packets, at least one. */
static inline unsigned plug_receive(struct plug *plug, struct vnic_packet **packets, unsigned count)
{
	unsigned got = 0;

	plug_until(plug, (got = plug_look(plug, packets, count)) > 0);
	return got;
}

static inline void plug_send(struct plug *plug, const struct vnic_packet *packets, unsigned count)
{
	assert_int_equal(plug->port->kind->send(plug->port, 0, packets, count), count);
}

/* Everything that was given to send is sent or dropped. */
static inline uint64_t plug_done_with(const struct plug *plug)
{
	return plug_counter(plug, VNIC_PORT_OUT_PACKETS) +
	       plug_counter(plug, VNIC_PORT_DROP_NO_PEER) +
	       plug_counter(plug, VNIC_PORT_DROP_FULL) +
	       plug_counter(plug, VNIC_PORT_DROP_TOO_LONG) +
	       plug_counter(plug, VNIC_PORT_DROP_REFUSED) + plug_counter(plug, VNIC_PORT_DROP_DOWN);
}

/* Set the loopback interface up, with an MTU. */
static inline void plug_loopback(unsigned mtu_bytes)
{
	struct ifreq request = {.ifr_name = "lo"};
	int descriptor = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	assert_true(descriptor >= 0);
	request.ifr_mtu = (int)mtu_bytes;
	assert_int_equal(ioctl(descriptor, SIOCSIFMTU, &request), 0);
	assert_int_equal(ioctl(descriptor, SIOCGIFFLAGS, &request), 0);
	request.ifr_flags |= IFF_UP;
	assert_int_equal(ioctl(descriptor, SIOCSIFFLAGS, &request), 0);
	close(descriptor);
}

/* Bytes of a packet that tell which one it is: an IPv4 header and what follows from a number. */
static inline void plug_fill(struct vnic_packet *packet, uint32_t length_bytes, uint32_t number)
{
	*packet = (struct vnic_packet){
		.data = packet->data,
		.capacity_bytes = packet->capacity_bytes,
		.length_bytes = length_bytes,
	};
	for (uint32_t i = 0; i < length_bytes; i++)
		packet->data[i] = (uint8_t)((number + i) * 31 + (i >> 8));
	if (length_bytes >= 20) {
		packet->data[0] = 0x45;
		packet->data[2] = (uint8_t)(length_bytes >> 8);
		packet->data[3] = (uint8_t)length_bytes;
	}
}

static inline void assert_same_packet(const struct vnic_packet *found,
				      const struct vnic_packet *expected)
{
	if (found->length_bytes != expected->length_bytes)
		fail_msg("%u bytes, expected %u", found->length_bytes, expected->length_bytes);
	assert_memory_equal(found->data, expected->data, expected->length_bytes);
	assert_int_equal(found->flags, 0);
	assert_int_equal(found->gso_type, VNIC_GSO_NONE);
}

#endif
