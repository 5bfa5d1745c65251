/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. `tun:` and `tap:` are a device with its interface set up: what the kernel
 * sends out of the interface comes in here.
 *
 * Some kernels grant offloads and then refuse what they stand for. So send hands a super-packet that
 * was refused back to the wire, which cuts it and sends the segments; what that proves, and what is
 * done about it, is for src/device/superpacket.c.
 *
 * The longest packet that an interface takes is its MTU and the Ethernet and VLAN headers, as with
 * the kernel's own veth: /dev/net/tun itself would take anything. Any change of the interface wakes
 * the watch; then its MTU is asked for again.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <vnic/link.h>

#include "base/error.h"
#include "device/superpacket.h"
#include "io/port.h"

/* The kernel's 500 overflow in bursts of a few milliseconds; what does not fit is lost silently. */
#define QUEUE_PACKETS 1000
#define VLAN_HEADER_BYTES 4
#define SUPERPACKET_OFFLOADS (VNIC_OFFLOAD_TSO4 | VNIC_OFFLOAD_TSO6 | VNIC_OFFLOAD_USO)

struct device_queue {
	_Alignas(64) uint64_t malformed; /* of the device's statistics, that we have counted */
};

struct device_port {
	struct vnic_watch *watch; /* queue 0 only, as is the name */
	char name[VNIC_NAME_BYTES];
	struct device_queue *queues;
};

/* NAME[@NETNS][,ADDR/LEN...]: what the specification says, in memory of its own. */
struct parts {
	char *text;
	const char *name, *netns;
	struct vnic_link_address *addresses;
	size_t address_count;
};

static void free_parts(struct parts *parts)
{
	free(parts->text);
	free(parts->addresses);
}

static int parse_addresses(char *text, struct parts *parts, struct vnic_error *error)
{
	size_t most = 1;
	char *next, *rest = text;
	int code = 0;

	for (next = text; *next; next++)
		most += *next == ',';
	parts->addresses = calloc(most, sizeof(*parts->addresses));
	if (!parts->addresses)
		return vn_error(error, -ENOMEM, VNIC_CAUSE_MEMORY, "no memory for a port");
	while (code == 0 && (next = strsep(&rest, ",")))
		if (!strchr(next, '/'))
			code = vn_error(error, -EINVAL, VNIC_CAUSE_ADDRESS_INVALID,
					"'%s': the length of its network is missing", next);
		else
			code = vnic_prefix_parse(
				next, &parts->addresses[parts->address_count++].prefix, error);
	return code;
}

static int parse(const char *rest, struct parts *parts, struct vnic_error *error)
{
	char *comma, *at;

	parts->text = strdup(rest);
	if (!parts->text)
		return vn_error(error, -ENOMEM, VNIC_CAUSE_MEMORY, "no memory for a port");
	comma = strchr(parts->text, ',');
	if (comma)
		*comma = 0;
	at = strchr(parts->text, '@');
	if (at) {
		*at = 0;
		parts->netns = at + 1;
		if (!*parts->netns)
			return vn_error(error, -EINVAL, VNIC_CAUSE_ARGUMENT,
					"'%s': the network namespace behind '@' is missing", rest);
	}
	parts->name = parts->text[0] ? parts->text : NULL;
	return comma ? parse_addresses(comma + 1, parts, error) : 0;
}

static void note_most_bytes(struct vnic_port *port, const struct vnic_link_info *info)
{
	unsigned headers = port->layer == VNIC_LAYER_ETHERNET
				   ? VNIC_ETHERNET_HEADER_BYTES + VLAN_HEADER_BYTES
				   : 0;

	atomic_store_explicit(&port->most_bytes, info->mtu_bytes + headers, memory_order_relaxed);
}

static int configure(struct vnic_port *port, const struct parts *parts,
		     const struct vnic_link_info *before, struct vnic_error *error)
{
	const struct vnic_link_config config = {
		.addresses = parts->addresses,
		.address_count = parts->address_count,
		.mtu_bytes = port->options.mtu_bytes,
		.queue_packets = port->is_new_device ? QUEUE_PACKETS : 0,
		.state = VNIC_LINK_UP,
		.ipv6_autoconfiguration = !port->is_new_device && before->ipv6_autoconfiguration,
		.shared_addresses = true,
	};
	int code = 0;

	/* Without an owner every user could attach to it and take part of the traffic. */
	if (port->is_new_device)
		code = vnic_device_set_owner(port->device, geteuid(), error);
	if (code == 0)
		code = vnic_device_configure(port->device, &config, error);
	return code;
}

/* Without a watch there are no events of the link, which is no reason not to run. */
static int watch(struct vnic_port *port, struct vnic_error *error)
{
	struct device_port *state = port->state;
	struct vnic_error why;
	int code = vnic_watch_open(port->device, &state->watch, &why);

	if (code == -ENODEV || code == -EMFILE || code == -ENFILE || code == -ENOMEM) {
		if (error)
			*error = why;
		return code;
	}
	return 0;
}

static int allocate(struct vnic_port *port, struct vnic_error *error)
{
	struct device_port *state = calloc(1, sizeof(*state));
	size_t size = port->queue_count * sizeof(*state->queues);

	if (state) {
		port->state = state;
		state->queues = aligned_alloc(_Alignof(struct device_queue), size);
	}
	if (!state || !state->queues)
		return vn_error(error, -ENOMEM, VNIC_CAUSE_MEMORY, "no memory for a port");
	memset(state->queues, 0, size);
	return 0;
}

static int open_parts(struct vnic_port *port, const struct parts *parts, enum vnic_device_type type,
		      struct vnic_error *error)
{
	const struct vnic_device_options options = {
		.type = type,
		.name = parts->name,
		.netns = parts->netns,
		.queues = port->queue_count,
		.offloads = port->options.offloads,
		.no_offloads = port->options.no_offloads,
	};
	struct vnic_link_info info = {0};
	struct device_port *state;
	int code = allocate(port, error);

	if (code < 0)
		return code;
	state = port->state;
	port->is_new_device = !parts->name || strchr(parts->name, '%') ||
			      vnic_link_query(parts->netns, parts->name, &info, NULL) < 0;
	code = vnic_device_open(&options, &port->device, error);
	if (code == 0)
		code = configure(port, parts, &info, error);
	if (code == 0)
		code = vnic_device_query(port->device, &info, error);
	if (code == 0)
		code = watch(port, error);
	if (code < 0)
		return code;
	memcpy(state->name, info.name, sizeof(state->name));
	note_most_bytes(port, &info);
	if (port->layer == VNIC_LAYER_ETHERNET)
		port->most_tag_bytes = VLAN_HEADER_BYTES;
	for (unsigned i = 0; i < port->queue_count; i++)
		port->queues[i].offloads = vnic_device_offloads(port->device);
	port->gives_superpackets = port->queues[0].offloads & SUPERPACKET_OFFLOADS;
	if (vn_port_rename(port, "%s:%s%s%s", port->kind->name, info.name, parts->netns ? "@" : "",
			   parts->netns ? parts->netns : "") < 0)
		return vn_error(error, -ENOMEM, VNIC_CAUSE_MEMORY, "no memory for a port");
	return 0;
}

static int open_type(struct vnic_port *port, const char *rest, enum vnic_device_type type,
		     struct vnic_error *error)
{
	struct parts parts = {0};
	int code;

	port->layer = type == VNIC_TAP ? VNIC_LAYER_ETHERNET : VNIC_LAYER_IP;
	code = parse(rest, &parts, error);
	if (code == 0)
		code = open_parts(port, &parts, type, error);
	free_parts(&parts);
	return code;
}

static int open_tun(struct vnic_port *port, const char *rest, struct vnic_error *error)
{
	return open_type(port, rest, VNIC_TUN, error);
}

static int open_tap(struct vnic_port *port, const char *rest, struct vnic_error *error)
{
	return open_type(port, rest, VNIC_TAP, error);
}

static void close_device(struct vnic_port *port)
{
	struct device_port *state = port->state;

	if (!state)
		return;
	vnic_watch_close(state->watch);
	vnic_device_close(port->device);
	free(state->queues);
	free(state);
}

static int gone(struct vnic_port *port, unsigned queue)
{
	return vn_error(&port->queues[queue].failure, -ENODEV, VNIC_CAUSE_DEVICE_GONE,
			"interface '%s' is gone", vnic_port_name(port));
}

/* Take out what was cut off. Returns the number that is left. */
static unsigned drop_truncated(struct vnic_port *port, unsigned queue, struct vnic_packet *packets,
			       unsigned count)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < count; i++) {
		if (packets[i].flags & VNIC_PACKET_TRUNCATED)
			vn_port_drop_in(port, queue, VNIC_PORT_DROP_TRUNCATED, 1,
					packets[i].length_bytes);
		else
			packets[kept++] = packets[i];
	}
	return kept;
}

static int receive(struct vnic_port *port, unsigned queue, struct vnic_packet *packets,
		   unsigned count)
{
	struct device_queue *state = &((struct device_port *)port->state)->queues[queue];
	const struct vn_queue_counters *counters = &port->device->queues[queue].counters;
	int got = vnic_device_receive(port->device, queue, packets, count);
	uint64_t malformed =
		atomic_load_explicit(&counters->received_malformed_packets, memory_order_relaxed);
	unsigned kept;

	if (malformed != state->malformed) {
		vn_port_drop_in(port, queue, VNIC_PORT_DROP_MALFORMED, malformed - state->malformed,
				0);
		state->malformed = malformed;
	}
	if (got == -ENODEV)
		return gone(port, queue);
	if (got < 0 && got != -EAGAIN)
		return vn_error_system(&port->queues[queue].failure, got, VNIC_CAUSE_SYSTEM,
				       "cannot receive from '%s'", vnic_port_name(port));
	if (got < 0)
		return got;
	kept = drop_truncated(port, queue, packets, (unsigned)got);
	return kept ? (int)kept : -EAGAIN;
}

/* Some packets were sent. failed: what they proved that the kernel does not segment, or NULL. */
static void note_sent(struct vnic_port *port, unsigned queue, const struct vnic_packet *packets,
		      unsigned count, const char *failed)
{
	const struct device_port *state = port->state;

	vn_port_count_out(port, queue, packets, count);
	port->queues[queue].offloads = vn_superpacket_offloads(port->device, queue);
	if (failed)
		vn_port_tell(port, VNIC_PORT_SOFTWARE_GSO,
			     "the kernel granted '%s' to segment %s and refuses to: it is done "
			     "in software now",
			     state->name, failed);
}

static int send(struct vnic_port *port, unsigned queue, const struct vnic_packet *packets,
		unsigned count)
{
	unsigned done = 0;

	while (done < count) {
		const struct vnic_packet *packet = &packets[done];
		const char *failed;
		int code = vn_superpacket_send(port->device, queue, packet, count - done, &failed);

		if (code == -ENODEV) {
			vn_port_drop_out(port, queue, VNIC_PORT_DROP_DOWN, packet, count - done);
			return gone(port, queue);
		}
		if (code > 0) {
			note_sent(port, queue, packet, (unsigned)code, failed);
			done += (unsigned)code;
			continue;
		}
		if (code == 0)
			break; /* the wire cuts it */
		if (code == -EINVAL) {
			vn_port_drop_out(port, queue, VNIC_PORT_DROP_REFUSED, packet, 1);
			done++;
			continue;
		}
		vn_port_drop_out(port, queue,
				 code == -EAGAIN ? VNIC_PORT_DROP_FULL : VNIC_PORT_DROP_DOWN,
				 packet, count - done);
		done = count;
	}
	return (int)done;
}

static unsigned poll_device(struct vnic_port *port, unsigned queue, bool want_room,
			    struct pollfd *descriptors)
{
	struct device_port *state = port->state;

	(void)want_room;
	descriptors[0].fd = vnic_device_descriptor(port->device, queue);
	descriptors[0].events = POLLIN;
	if (queue != 0 || !state->watch)
		return 1;
	descriptors[1].fd = vnic_watch_descriptor(state->watch);
	descriptors[1].events = POLLIN;
	return 2;
}

static void tell_link(struct vnic_port *port, int event, const char *name)
{
	struct device_port *state = port->state;

	switch (event) {
	case VNIC_LINK_EVENT_UP:
		vn_port_tell(port, VNIC_PORT_LINK_UP, "'%s' is up again", name);
		break;
	case VNIC_LINK_EVENT_DOWN:
		vn_port_tell(port, VNIC_PORT_LINK_DOWN,
			     "'%s' is set down: nothing goes through until it is up again", name);
		break;
	case VNIC_LINK_EVENT_RENAMED:
		vn_port_tell(port, VNIC_PORT_RENAMED, "'%s' is called '%s' now", state->name, name);
		break;
	default:
		break;
	}
	memcpy(state->name, name, sizeof(state->name));
}

/* The interface may have become another in any respect. False: it is gone. */
static bool serve_watch(struct vnic_port *port)
{
	struct device_port *state = port->state;
	char name[VNIC_NAME_BYTES];
	struct vnic_link_info info;
	int event;

	while ((event = vnic_watch_next(state->watch, name)) > 0) {
		if (event == VNIC_LINK_EVENT_GONE)
			return false;
		tell_link(port, event, name);
	}
	if (event < 0) { /* it will not recover */
		vnic_watch_close(state->watch);
		state->watch = NULL;
	}
	if (vnic_device_query(port->device, &info, NULL) == 0)
		note_most_bytes(port, &info);
	return true;
}

static int ready(struct vnic_port *port, unsigned queue, const struct pollfd *descriptors,
		 unsigned count)
{
	if (descriptors[0].revents & (POLLERR | POLLNVAL))
		return gone(port, queue);
	if (count > 1 && descriptors[1].revents && !serve_watch(port))
		return gone(port, queue);
	return 0;
}

const struct vn_port_kind vn_port_tun = {
	.name = "tun",
	.has_many_queues = true,
	.open = open_tun,
	.close = close_device,
	.receive = receive,
	.send = send,
	.poll = poll_device,
	.ready = ready,
};

const struct vn_port_kind vn_port_tap = {
	.name = "tap",
	.has_many_queues = true,
	.open = open_tap,
	.close = close_device,
	.receive = receive,
	.send = send,
	.poll = poll_device,
	.ready = ready,
};
