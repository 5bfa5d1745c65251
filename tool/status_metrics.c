/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. The status as Prometheus scrapes it: text format 0.0.4. Each metric has its
 * HELP and TYPE once, and then its samples. What the stack counts becomes two families, by the name
 * of the counter: of packets dropped by reason, and of everything else; what goes down again is a
 * gauge of its own.
 */
#include "status.h"

#include <inttypes.h>
#include <string.h>

static void family(FILE *out, const char *name, const char *type, const char *help)
{
	fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* A value of a label: backslash, quote and newline are escaped. */
static void label(FILE *out, const char *name, const char *value)
{
	fprintf(out, "%s=\"", name);
	for (; *value; value++) {
		if (*value == '\\' || *value == '"')
			fputc('\\', out);
		if (*value == '\n')
			fputs("\\n", out);
		else
			fputc(*value, out);
	}
	fputc('"', out);
}

static void sample(FILE *out, const char *name, const char *key, const char *value, uint64_t number)
{
	fprintf(out, "%s{", name);
	label(out, key, value);
	fprintf(out, "} %" PRIu64 "\n", number);
}

static void queue_family(const struct status *status, FILE *out, const char *name, const char *help,
			 size_t offset)
{
	char number[16];
	uint64_t value;
	unsigned i;

	family(out, name, "counter", help);
	for (i = 0; i < status->queue_count; i++) {
		snprintf(number, sizeof(number), "%u", i);
		memcpy(&value, (const char *)&status->queues[i] + offset, sizeof(value));
		sample(out, name, "queue", number, value);
	}
}

#define QUEUE(member) offsetof(struct vnic_queue_statistics, member)

static void write_queues(const struct status *status, FILE *out)
{
	char number[16];
	unsigned i;

	queue_family(status, out, "vnic_received_packets_total",
		     "Packets taken in from the kernel.", QUEUE(received_packets));
	queue_family(status, out, "vnic_received_bytes_total", "Bytes of these.",
		     QUEUE(received_bytes));
	queue_family(status, out, "vnic_received_truncated_packets_total",
		     "Packets taken in whose end is lost.", QUEUE(received_truncated_packets));
	queue_family(status, out, "vnic_received_malformed_packets_total",
		     "Packets whose virtio-net header made no sense.",
		     QUEUE(received_malformed_packets));
	queue_family(status, out, "vnic_sent_packets_total", "Packets given to the kernel.",
		     QUEUE(sent_packets));
	queue_family(status, out, "vnic_sent_bytes_total", "Bytes of these.", QUEUE(sent_bytes));
	queue_family(status, out, "vnic_send_refused_packets_total",
		     "Packets that the kernel would not take.", QUEUE(send_refused_packets));
	family(out, "vnic_connections", "gauge", "TCP connections now.");
	for (i = 0; i < status->queue_count; i++) {
		snprintf(number, sizeof(number), "%u", i);
		sample(out, "vnic_connections", "queue", number, status->connections[i]);
	}
}

static void write_stack(const struct status *status, FILE *out)
{
	char name[64];
	int i;

	family(out, "vnic_stack_events_total", "counter", "What the stack did.");
	for (i = 0; i < VNIC_STACK_DROP_MALFORMED; i++)
		if (!status_is_gauge((enum vnic_stack_counter)i))
			sample(out, "vnic_stack_events_total", "event",
			       vnic_stack_counter_name((enum vnic_stack_counter)i),
			       status->stack[i]);
	family(out, "vnic_dropped_packets_total", "counter", "Packets dropped by the stack.");
	for (i = VNIC_STACK_DROP_MALFORMED; i < VNIC_STACK_COUNTERS; i++)
		sample(out, "vnic_dropped_packets_total", "reason",
		       vnic_stack_counter_name((enum vnic_stack_counter)i) + strlen("drop_"),
		       status->stack[i]);
	for (i = 0; i < VNIC_STACK_DROP_MALFORMED; i++) {
		if (!status_is_gauge((enum vnic_stack_counter)i) || i == VNIC_STACK_CONNECTIONS)
			continue;
		snprintf(name, sizeof(name), "vnic_stack_%s",
			 vnic_stack_counter_name((enum vnic_stack_counter)i));
		family(out, name, "gauge", "What the stack holds now.");
		fprintf(out, "%s %" PRIu64 "\n", name, status->stack[i]);
	}
}

static const char *const directions[] = {[DIRECTION_IN] = "in", [DIRECTION_OUT] = "out"};

static void traffic_sample(FILE *out, const char *name, unsigned direction, unsigned protocol,
			   uint64_t value)
{
	fprintf(out, "%s{direction=\"%s\",protocol=\"%s\"} %" PRIu64 "\n", name,
		directions[direction], meter_protocol_name((enum meter_protocol)protocol), value);
}

static void write_meter(const struct status *status, FILE *out)
{
	const struct meter_totals *totals = &status->totals;
	unsigned i, j;

	family(out, "vnic_protocol_packets_total", "counter", "Packets by protocol.");
	for (i = 0; i < METER_DIRECTIONS; i++)
		for (j = 0; j < METER_PROTOCOLS; j++)
			traffic_sample(out, "vnic_protocol_packets_total", i, j,
				       totals->protocols[i][j].packets);
	family(out, "vnic_protocol_bytes_total", "counter", "Bytes by protocol.");
	for (i = 0; i < METER_DIRECTIONS; i++)
		for (j = 0; j < METER_PROTOCOLS; j++)
			traffic_sample(out, "vnic_protocol_bytes_total", i, j,
				       totals->protocols[i][j].bytes);
	family(out, "vnic_packet_size_bytes", "histogram", "Sizes of packets.");
	for (i = 0; i < METER_DIRECTIONS; i++) {
		struct meter_traffic traffic = status_traffic(status, (enum direction)i);
		uint64_t below = 0, all = 0;

		for (j = 0; j < METER_SIZES; j++)
			all += totals->sizes[i][j];
		for (j = 0; j + 1 < METER_SIZES; j++) {
			below += totals->sizes[i][j];
			fprintf(out,
				"vnic_packet_size_bytes_bucket{direction=\"%s\",le=\"%u\"} %" PRIu64
				"\n",
				directions[i], meter_size_bound(j), below);
		}
		fprintf(out,
			"vnic_packet_size_bytes_bucket{direction=\"%s\",le=\"+Inf\"} %" PRIu64 "\n",
			directions[i], all);
		fprintf(out, "vnic_packet_size_bytes_sum{direction=\"%s\"} %" PRIu64 "\n",
			directions[i], traffic.bytes);
		fprintf(out, "vnic_packet_size_bytes_count{direction=\"%s\"} %" PRIu64 "\n",
			directions[i], all);
	}
	family(out, "vnic_segments_total", "counter",
	       "Packets, where a super-packet counts as what it stands for.");
	for (i = 0; i < METER_DIRECTIONS; i++)
		sample(out, "vnic_segments_total", "direction", directions[i], totals->segments[i]);
	family(out, "vnic_flows", "gauge", "Flows that are remembered now.");
	fprintf(out, "vnic_flows %u\n", totals->flows);
	family(out, "vnic_flows_forgotten_total", "counter",
	       "Flows forgotten to make room for others.");
	fprintf(out, "vnic_flows_forgotten_total %" PRIu64 "\n", totals->flows_forgotten);
}

static void write_interface(const struct status *status, FILE *out)
{
	const struct vnic_link_statistics *link = &status->link.statistics;

	family(out, "vnic_info", "gauge", "The version of vnic, and the interface that it serves.");
	fputs("vnic_info{", out);
	label(out, "version", vnic_version());
	fputc(',', out);
	label(out, "interface", status->name);
	fprintf(out, ",type=\"%s\"} 1\n", status->is_tap ? "tap" : "tun");
	family(out, "vnic_uptime_seconds", "gauge", "How long the host has been answering.");
	fprintf(out, "vnic_uptime_seconds %.3f\n",
		(double)(status->now_ns - status->start_ns) / 1e9);
	if (!status->has_link)
		return;
	family(out, "vnic_interface_up", "gauge", "Whether the interface is set up.");
	fprintf(out, "vnic_interface_up %d\n", status->link.up);
	family(out, "vnic_interface_tx_dropped_packets_total", "counter",
	       "Packets that the kernel dropped since its queue to us was full.");
	fprintf(out, "vnic_interface_tx_dropped_packets_total %" PRIu64 "\n", link->tx_dropped);
	family(out, "vnic_interface_rx_dropped_packets_total", "counter",
	       "Packets of ours that the kernel dropped.");
	fprintf(out, "vnic_interface_rx_dropped_packets_total %" PRIu64 "\n", link->rx_dropped);
}

void status_metrics(const struct status *status, FILE *out)
{
	write_interface(status, out);
	write_queues(status, out);
	write_stack(status, out);
	write_meter(status, out);
}
