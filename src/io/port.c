/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. A port is a struct vnic_port, which is the same for all kinds, and a table
 * of operations with a state of their own behind it (port.h says what each must do). What stands
 * before the first colon of a specification chooses the kind; the rest is the kind's to parse, for
 * a COMMAND, a path and an address have no syntax in common.
 *
 * Counters are in plain packets, so that the two ends of a wire can be compared whatever offloads
 * they have: a super-packet counts as the segments that it would be cut into.
 */
#include "io/port.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

#define UDP_HEADER_BYTES 8
#define TCP_HEADER_BYTES 20
#define TCP_DATA_OFFSET 12
#define TEXT_BYTES 256

static const struct vn_port_kind *const kinds[] = {
	&vn_port_tun,  &vn_port_tap,  &vn_port_udp,         &vn_port_tcp,  &vn_port_tcp_listen,
	&vn_port_exec, &vn_port_unix, &vn_port_unix_listen, &vn_port_pcap, &vn_port_discard,
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static const struct vn_port_kind *find_kind(const char *specification)
{
	size_t length = strcspn(specification, ":");

	for (size_t i = 0; i < KINDS && specification[length] == ':'; i++)
		if (strlen(kinds[i]->name) == length &&
		    memcmp(kinds[i]->name, specification, length) == 0)
			return kinds[i];
	return NULL;
}

static int refuse_kind(const char *specification, struct vnic_error *error)
{
	char names[TEXT_BYTES] = "";
	size_t used = 0;

	for (size_t i = 0; i < KINDS && used < sizeof(names); i++)
		used += (size_t)snprintf(names + used, sizeof(names) - used,
					 "%s%s:", i == 0 ? "" : " ", kinds[i]->name);
	return vn_error(error, -EINVAL, VNIC_CAUSE_ARGUMENT,
			"'%s' is no port: it begins with none of %s", specification, names);
}

/* A queue has cache lines of its own, so malloc() will not do. */
static int allocate(struct vnic_port *port)
{
	size_t size = port->queue_count * sizeof(*port->queues);

	port->queues = aligned_alloc(_Alignof(struct vn_port_queue), size);
	if (!port->queues)
		return -ENOMEM;
	for (unsigned i = 0; i < port->queue_count; i++) {
		port->queues[i].offloads = 0;
		port->queues[i].failure = (struct vnic_error){0};
		for (unsigned j = 0; j < VNIC_PORT_COUNTERS; j++)
			atomic_init(&port->queues[i].counters[j], 0);
	}
	port->name = strdup(port->specification);
	return port->name ? 0 : -ENOMEM;
}

int vnic_port_open(const char *specification, const struct vnic_port_options *options,
		   struct vnic_port **port, struct vnic_error *error)
{
	const struct vn_port_kind *kind = find_kind(specification);
	struct vnic_port *made;
	int code;

	if (!kind)
		return refuse_kind(specification, error);
	made = calloc(1, sizeof(*made));
	if (!made)
		return vn_error(error, -ENOMEM, VNIC_CAUSE_MEMORY, "no memory for a port");
	made->kind = kind;
	if (options)
		made->options = *options;
	if (made->options.queues == 0)
		made->options.queues = 1;
	if (made->options.no_offloads)
		made->options.offloads = 0;
	else if (made->options.offloads == 0)
		made->options.offloads = VNIC_OFFLOAD_ALL;
	made->queue_count = made->options.queues;
	made->layer = VN_PORT_EITHER;
	made->specification = strdup(specification);
	if (made->queue_count > (kind->has_many_queues ? VNIC_QUEUES : 1))
		code = vn_error(error, -EINVAL, VNIC_CAUSE_ARGUMENT, "'%s' cannot have %u queues",
				specification, made->queue_count);
	else if (!made->specification || allocate(made) < 0)
		code = vn_error(error, -ENOMEM, VNIC_CAUSE_MEMORY, "no memory for a port");
	else
		code = kind->open(made, strchr(made->specification, ':') + 1, error);
	if (code < 0)
		vnic_port_close(made);
	else
		*port = made;
	return code < 0 ? code : 0;
}

void vnic_port_close(struct vnic_port *port)
{
	if (!port)
		return;
	if (port->name) /* otherwise it was never opened */
		port->kind->close(port);
	free(port->queues);
	free(port->name);
	free(port->specification);
	free(port);
}

int vn_port_rename(struct vnic_port *port, const char *format, ...)
{
	char *name;
	va_list arguments;
	int length;

	va_start(arguments, format);
	length = vasprintf(&name, format, arguments);
	va_end(arguments);
	if (length < 0)
		return -ENOMEM;
	free(port->name);
	port->name = name;
	return 0;
}

void vn_port_tell(struct vnic_port *port, enum vnic_port_event event, const char *format, ...)
{
	char text[TEXT_BYTES];
	va_list arguments;

	if (!port->options.event)
		return;
	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	port->options.event(port->options.user, port, event, text);
}

const char *vnic_port_name(const struct vnic_port *port)
{
	return port->name;
}

const char *vnic_port_kind(const struct vnic_port *port)
{
	return port->kind->name;
}

struct vnic_device *vnic_port_device(const struct vnic_port *port)
{
	return port->device;
}

bool vnic_port_is_new_device(const struct vnic_port *port)
{
	return port->is_new_device;
}

unsigned vnic_port_most_bytes(const struct vnic_port *port)
{
	return port->most_bytes;
}

unsigned vnic_port_queues(const struct vnic_port *port)
{
	return port->queue_count;
}

const char *vnic_port_event_name(enum vnic_port_event event)
{
	static const char *const names[] = {
		[VNIC_PORT_CONNECTED] = "connected",
		[VNIC_PORT_DISCONNECTED] = "disconnected",
		[VNIC_PORT_PROTOCOL_ERROR] = "protocol-error",
		[VNIC_PORT_COMMAND_STARTED] = "command-started",
		[VNIC_PORT_COMMAND_ENDED] = "command-ended",
		[VNIC_PORT_LINK_UP] = "link-up",
		[VNIC_PORT_LINK_DOWN] = "link-down",
		[VNIC_PORT_RENAMED] = "renamed",
		[VNIC_PORT_SOFTWARE_GSO] = "software-gso",
		[VNIC_PORT_END] = "end",
		[VNIC_PORT_FULL] = "full",
	};

	if ((unsigned)event >= sizeof(names) / sizeof(names[0]) || !names[event])
		return "unknown";
	return names[event];
}

const char *vnic_port_counter_name(enum vnic_port_counter counter)
{
	static const char *const names[VNIC_PORT_COUNTERS] = {
		[VNIC_PORT_IN_PACKETS] = "in_packets",
		[VNIC_PORT_IN_BYTES] = "in_bytes",
		[VNIC_PORT_IN_SUPERPACKETS] = "in_superpackets",
		[VNIC_PORT_OUT_PACKETS] = "out_packets",
		[VNIC_PORT_OUT_BYTES] = "out_bytes",
		[VNIC_PORT_OUT_SUPERPACKETS] = "out_superpackets",
		[VNIC_PORT_ANSWERED] = "answered",
		[VNIC_PORT_DROP_DOWN] = "drop_down",
		[VNIC_PORT_DROP_NO_PEER] = "drop_no_peer",
		[VNIC_PORT_DROP_FULL] = "drop_full",
		[VNIC_PORT_DROP_TOO_LONG] = "drop_too_long",
		[VNIC_PORT_DROP_REFUSED] = "drop_refused",
		[VNIC_PORT_DROP_MALFORMED] = "drop_malformed",
		[VNIC_PORT_DROP_TRUNCATED] = "drop_truncated",
		[VNIC_PORT_DROP_STRANGER] = "drop_stranger",
		[VNIC_PORT_DROP_OVERFLOW] = "drop_overflow",
	};

	return (unsigned)counter < VNIC_PORT_COUNTERS ? names[counter] : NULL;
}

uint64_t vnic_port_counter(const struct vnic_port *port, unsigned queue,
			   enum vnic_port_counter counter)
{
	if (queue >= port->queue_count || (unsigned)counter >= VNIC_PORT_COUNTERS)
		return 0;
	return atomic_load_explicit(&port->queues[queue].counters[counter], memory_order_relaxed);
}

uint32_t vn_port_header_bytes(const struct vnic_packet *packet)
{
	uint32_t headers = packet->csum_start;

	if (packet->gso_type == VNIC_GSO_UDP)
		headers += UDP_HEADER_BYTES;
	else if (headers + TCP_HEADER_BYTES <= packet->length_bytes)
		headers += (packet->data[headers + TCP_DATA_OFFSET] >> 4) * 4U;
	return headers < packet->length_bytes ? headers : 0;
}

unsigned vn_port_segments(const struct vnic_packet *packet)
{
	uint32_t headers;

	if (packet->gso_type == VNIC_GSO_NONE || packet->gso_size_bytes == 0)
		return 1;
	headers = vn_port_header_bytes(packet);
	if (headers == 0)
		return 1;
	return (packet->length_bytes - headers + packet->gso_size_bytes - 1) /
	       packet->gso_size_bytes;
}

struct sum {
	uint64_t packets, bytes, superpackets;
};

static struct sum add_up(const struct vnic_packet *packets, unsigned count)
{
	struct sum sum = {0};

	for (unsigned i = 0; i < count; i++) {
		sum.packets += vn_port_segments(&packets[i]);
		sum.bytes += packets[i].length_bytes;
		sum.superpackets += packets[i].gso_type != VNIC_GSO_NONE;
	}
	return sum;
}

void vn_port_count_in(struct vnic_port *port, unsigned queue, const struct vnic_packet *packets,
		      unsigned count)
{
	struct sum sum = add_up(packets, count);

	vn_port_count(port, queue, VNIC_PORT_IN_PACKETS, sum.packets);
	vn_port_count(port, queue, VNIC_PORT_IN_BYTES, sum.bytes);
	vn_port_count(port, queue, VNIC_PORT_IN_SUPERPACKETS, sum.superpackets);
}

void vn_port_count_out(struct vnic_port *port, unsigned queue, const struct vnic_packet *packets,
		       unsigned count)
{
	struct sum sum = add_up(packets, count);

	vn_port_count(port, queue, VNIC_PORT_OUT_PACKETS, sum.packets);
	vn_port_count(port, queue, VNIC_PORT_OUT_BYTES, sum.bytes);
	vn_port_count(port, queue, VNIC_PORT_OUT_SUPERPACKETS, sum.superpackets);
}

void vn_port_drop_out(struct vnic_port *port, unsigned queue, enum vnic_port_counter reason,
		      const struct vnic_packet *packets, unsigned count)
{
	vn_port_count(port, queue, reason, add_up(packets, count).packets);
}

unsigned vn_port_begin_cut(struct vnic_port *port, unsigned queue, const struct vnic_packet *packet,
			   struct vnic_segmenter *segmenter)
{
	unsigned expected = vn_port_segments(packet);
	int made = vnic_segmenter_begin(segmenter, packet, (enum vnic_layer)port->layer);

	if (made < 0)
		made = 0;
	/* Bytes behind the IP packet made it look longer than it was. */
	if ((unsigned)made < expected)
		vn_port_count(port, queue, VNIC_PORT_DROP_REFUSED, expected - (unsigned)made);
	return (unsigned)made;
}

void vn_port_drop_in(struct vnic_port *port, unsigned queue, enum vnic_port_counter reason,
		     uint64_t packets, uint64_t bytes)
{
	vn_port_count(port, queue, VNIC_PORT_IN_PACKETS, packets);
	vn_port_count(port, queue, VNIC_PORT_IN_BYTES, bytes);
	vn_port_count(port, queue, reason, packets);
}
