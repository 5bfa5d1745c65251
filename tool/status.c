/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. A picture of the host at one time: the counters of all its queues, stacks and
 * meters added up, by whichever thread is asked for it, while all of them go on. From it the same
 * facts are told to people (here), to a page (status_json.c), and to Prometheus (status_metrics.c).
 *
 * The kernel is asked about the interface five times a second at most, however many ask us: it is a
 * system call in the way of packets.
 */
#include "status.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define LINK_AGE_NS UINT64_C(200000000)

/* The name and what the kernel says, under the lock of both. */
static void take_link(struct host *host, struct status *status)
{
	const struct vnic_link_statistics *before = &host->nic.info.statistics;
	struct vnic_link_statistics *now = &status->link.statistics;

	pthread_mutex_lock(&host->lock);
	memcpy(status->name, host->nic.info.name, sizeof(status->name));
	if (host->link_ns == 0 || status->now_ns - host->link_ns > LINK_AGE_NS) {
		host->has_link = vnic_device_query(host->nic.device, &host->link, NULL) == 0;
		host->link_ns = status->now_ns;
	}
	status->has_link = host->has_link;
	status->link = host->link;
	pthread_mutex_unlock(&host->lock);
	/* A persistent interface has counted before us. */
	now->tx_dropped -= before->tx_dropped;
	now->rx_dropped -= before->rx_dropped;
	now->rx_errors -= before->rx_errors;
}

static void take_shards(struct host *host, struct status *status)
{
	unsigned i;
	int j;

	status->queue_count = host->shard_count;
	for (i = 0; i < host->shard_count; i++) {
		const struct shard *shard = &host->shards[i];

		vnic_device_statistics(host->nic.device, i, &status->queues[i]);
		for (j = 0; j < VNIC_STACK_COUNTERS; j++)
			status->stack[j] +=
				vnic_stack_counter(shard->stack, (enum vnic_stack_counter)j);
		status->connections[i] = vnic_stack_counter(shard->stack, VNIC_STACK_CONNECTIONS);
		meter_add(shard->meter, &status->totals);
		status->flow_count = meter_add_flows(shard->meter, status->flows,
						     status->flow_count, STATUS_FLOWS);
	}
}

void status_note(struct host *host, uint64_t now_ns)
{
	struct history_second total = {0};
	struct meter_traffic traffic;
	unsigned i;
	int j;

	if (!history_is_due(host->history, now_ns))
		return;
	for (i = 0; i < host->shard_count; i++) {
		traffic = meter_traffic(host->shards[i].meter, DIRECTION_IN);
		total.in_packets += traffic.packets;
		total.in_bytes += traffic.bytes;
		traffic = meter_traffic(host->shards[i].meter, DIRECTION_OUT);
		total.out_packets += traffic.packets;
		total.out_bytes += traffic.bytes;
		for (j = VNIC_STACK_DROP_MALFORMED; j < VNIC_STACK_COUNTERS; j++)
			total.drops += vnic_stack_counter(host->shards[i].stack,
							  (enum vnic_stack_counter)j);
	}
	history_note(host->history, &total, now_ns);
}

struct status *status_take(struct host *host, uint64_t now_ns)
{
	struct history_second seconds[HISTORY_SECONDS];
	struct status *status = calloc(1, sizeof(*status));
	uint64_t first;
	unsigned count;

	if (!status)
		return NULL;
	status_note(host, now_ns);
	status->now_ns = now_ns;
	status->start_ns = host->start_ns;
	status->is_tap = host->nic.options.tap;
	status->all = host->answers.all;
	status->mtu_bytes = host->nic.info.mtu_bytes;
	status->host_mac = host->report.host_mac;
	status->nic = &host->nic;
	status->answers = &host->answers;
	status->services = &host->services;
	take_link(host, status);
	take_shards(host, status);
	count = history_read(host->history, 0, seconds, &first);
	if (count)
		status->rate = seconds[count - 1];
	return status;
}

struct meter_traffic status_traffic(const struct status *status, enum direction direction)
{
	struct meter_traffic traffic = {0};
	unsigned i;

	for (i = 0; i < METER_PROTOCOLS; i++) {
		traffic.packets += status->totals.protocols[direction][i].packets;
		traffic.bytes += status->totals.protocols[direction][i].bytes;
	}
	return traffic;
}

uint64_t status_drops(const struct status *status)
{
	uint64_t drops = 0;
	int i;

	for (i = VNIC_STACK_DROP_MALFORMED; i < VNIC_STACK_COUNTERS; i++)
		drops += status->stack[i];
	return drops;
}

bool status_is_gauge(enum vnic_stack_counter counter)
{
	return counter == VNIC_STACK_FRAGMENTS_WAITING || counter == VNIC_STACK_ENDPOINTS ||
	       counter == VNIC_STACK_CONNECTIONS || counter == VNIC_STACK_HALF_OPEN ||
	       counter == VNIC_STACK_OUT_OF_ORDER_BYTES;
}

const char *status_host(const struct status *status, size_t i, char *text)
{
	const struct vnic_prefix *prefix;
	struct vnic_prefix network;

	if (i >= status->answers->count)
		return NULL;
	prefix = &status->answers->prefixes[i];
	if (!status->all)
		return vnic_address_format(&prefix->address, text);
	network = vnic_prefix_network(prefix);
	return vnic_prefix_format(&network, text);
}

/* For people. */

/* "950 bit/s", "1.2 Mbit/s" */
static const char *rate_format(uint64_t bytes, char *text)
{
	static const char *const units[] = {"bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"};
	double bits = (double)bytes * 8;
	size_t unit;

	for (unit = 0; bits >= 1000 && unit + 1 < sizeof(units) / sizeof(units[0]); unit++)
		bits /= 1000;
	snprintf(text, TEXT_BYTES, unit ? "%.1f %s" : "%.0f %s", bits, units[unit]);
	return text;
}

static const char *duration_format(uint64_t ns, char *text)
{
	uint64_t s = ns / 1000000000u;

	if (s < 60)
		snprintf(text, TEXT_BYTES, "%" PRIu64 " s", s);
	else if (s < 3600)
		snprintf(text, TEXT_BYTES, "%" PRIu64 " min %" PRIu64 " s", s / 60, s % 60);
	else if (s < 86400)
		snprintf(text, TEXT_BYTES, "%" PRIu64 " h %" PRIu64 " min", s / 3600, s / 60 % 60);
	else
		snprintf(text, TEXT_BYTES, "%" PRIu64 " d %" PRIu64 " h", s / 86400, s / 3600 % 24);
	return text;
}

/* A name of a counter as words: "drop_error_rate" to "error rate". */
static const char *words(const char *name, char *text, size_t size)
{
	size_t i;

	snprintf(text, size, "%s", strncmp(name, "drop_", 5) == 0 ? name + 5 : name);
	for (i = 0; text[i]; i++)
		if (text[i] == '_')
			text[i] = ' ';
	return text;
}

static const char *end_format(const struct vnic_address *address, uint16_t port, char *text,
			      size_t size)
{
	char plain[VNIC_ADDRESS_TEXT_BYTES];

	vnic_address_format(address, plain);
	if (port == 0)
		snprintf(text, size, "%s", plain);
	else if (address->family == VNIC_IPV6)
		snprintf(text, size, "[%s]:%u", plain, port);
	else
		snprintf(text, size, "%s:%u", plain, port);
	return text;
}

static const char *protocol_format(uint8_t protocol, char *text)
{
	switch (protocol) {
	case VNIC_PROTOCOL_TCP:
		return "TCP";
	case VNIC_PROTOCOL_UDP:
		return "UDP";
	case VNIC_PROTOCOL_ICMP:
		return "ICMP";
	case VNIC_PROTOCOL_ICMPV6:
		return "ICMPv6";
	default:
		snprintf(text, TEXT_BYTES, "IP %u", protocol);
		return text;
	}
}

static void text_head(const struct status *status, FILE *out)
{
	char text[VNIC_ADDRESS_TEXT_BYTES], time[TEXT_BYTES];
	size_t i;

	fprintf(out, "%s, %s, MTU %u, up %s\n", status->name, status->is_tap ? "TAP" : "TUN",
		status->mtu_bytes, duration_format(status->now_ns - status->start_ns, time));
	fprintf(out, "  %-12s", "here");
	for (i = 0; i < status->nic->address_count; i++)
		fprintf(out, " %s", vnic_prefix_format(&status->nic->addresses[i].prefix, text));
	fprintf(out, "\n  %-12s", "host");
	for (i = 0; status_host(status, i, text); i++)
		fprintf(out, " %s", text);
	fprintf(out, "\n  %-12s", "services");
	for (i = 0; i < status->services->count; i++)
		fprintf(out, " %s", status->services->items[i]->name);
	fputs("\n\n", out);
}

static void text_flows(const struct status *status, FILE *out)
{
	char local[80], remote[80], bytes[TEXT_BYTES], protocol[TEXT_BYTES];
	unsigned i;

	if (status->flow_count == 0)
		return;
	fprintf(out, "\n  %-8s %-30s %-30s %s\n", "flows", "from", "to", "bytes");
	for (i = 0; i < status->flow_count && i < 10; i++) {
		const struct meter_flow *flow = &status->flows[i];

		fprintf(out, "  %-8s %-30s %-30s %s\n", protocol_format(flow->protocol, protocol),
			end_format(&flow->flow.remote_address, flow->flow.remote_port, remote,
				   sizeof(remote)),
			end_format(&flow->flow.local_address, flow->flow.local_port, local,
				   sizeof(local)),
			bytes_format(flow->traffic[DIRECTION_IN].bytes +
					     flow->traffic[DIRECTION_OUT].bytes,
				     bytes));
	}
}

void status_text(const struct status *status, FILE *out)
{
	struct meter_traffic in = status_traffic(status, DIRECTION_IN);
	struct meter_traffic sent = status_traffic(status, DIRECTION_OUT);
	char bytes[TEXT_BYTES], rate[TEXT_BYTES], text[64];
	int i;

	text_head(status, out);
	fprintf(out, "  %-12s %12s %14s %14s\n", "", "packets", "bytes", "last second");
	fprintf(out, "  %-12s %12" PRIu64 " %14s %14s\n", "in", in.packets,
		bytes_format(in.bytes, bytes), rate_format(status->rate.in_bytes, rate));
	fprintf(out, "  %-12s %12" PRIu64 " %14s %14s\n", "out", sent.packets,
		bytes_format(sent.bytes, bytes), rate_format(status->rate.out_bytes, rate));
	fprintf(out, "  %-12s %12" PRIu64 "\n", "dropped", status_drops(status));
	for (i = VNIC_STACK_DROP_MALFORMED; i < VNIC_STACK_COUNTERS; i++)
		if (status->stack[i])
			fprintf(out, "    %-22s %" PRIu64 "\n",
				words(vnic_stack_counter_name((enum vnic_stack_counter)i), text,
				      sizeof(text)),
				status->stack[i]);
	if (status->has_link && status->link.statistics.tx_dropped)
		fprintf(out, "  %-24s %" PRIu64 "\n", "kernel's queue was full",
			status->link.statistics.tx_dropped);
	text_flows(status, out);
	fputs("\nAs a page: open this address in a browser. For programs: /status.json, /metrics\n",
	      out);
}

/* HTML: the same for a browser without scripts. */

/* Names of interfaces may contain anything but white space and '/'. */
static void escape(FILE *out, const char *text)
{
	for (; *text; text++) {
		if (*text == '<')
			fputs("&lt;", out);
		else if (*text == '>')
			fputs("&gt;", out);
		else if (*text == '&')
			fputs("&amp;", out);
		else if (*text == '"')
			fputs("&quot;", out);
		else
			fputc(*text, out);
	}
}

static void row(FILE *out, const char *name, uint64_t packets, const char *bytes, const char *rate)
{
	fprintf(out, "<tr><th scope=\"row\">%s<td>%" PRIu64 "<td>%s<td>%s\n", name, packets, bytes,
		rate);
}

void status_html(const struct status *status, FILE *out)
{
	struct meter_traffic in = status_traffic(status, DIRECTION_IN);
	struct meter_traffic sent = status_traffic(status, DIRECTION_OUT);
	char bytes[TEXT_BYTES], rate[TEXT_BYTES], text[VNIC_ADDRESS_TEXT_BYTES], local[80];
	unsigned i;

	fputs("<h2>", out);
	escape(out, status->name);
	fprintf(out, "</h2>\n<p>Up %s. The host answers as",
		duration_format(status->now_ns - status->start_ns, text));
	for (i = 0; status_host(status, i, text); i++)
		fprintf(out, "%s <code>%s</code>", i ? "," : "", text);
	fputs(".</p>\n<table>\n<thead><tr><th scope=\"col\">Traffic<th scope=\"col\">Packets"
	      "<th scope=\"col\">Bytes<th scope=\"col\">Last second\n<tbody>\n",
	      out);
	row(out, "In", in.packets, bytes_format(in.bytes, bytes),
	    rate_format(status->rate.in_bytes, rate));
	row(out, "Out", sent.packets, bytes_format(sent.bytes, bytes),
	    rate_format(status->rate.out_bytes, rate));
	row(out, "Dropped", status_drops(status), "", "");
	fputs("</table>\n<table>\n<thead><tr><th scope=\"col\">Flow<th scope=\"col\">From"
	      "<th scope=\"col\">To<th scope=\"col\">Bytes\n<tbody>\n",
	      out);
	for (i = 0; i < status->flow_count; i++) {
		const struct meter_flow *flow = &status->flows[i];

		fprintf(out, "<tr><th scope=\"row\">%s", protocol_format(flow->protocol, text));
		fprintf(out, "<td>%s",
			end_format(&flow->flow.remote_address, flow->flow.remote_port, local,
				   sizeof(local)));
		fprintf(out, "<td>%s<td>%s\n",
			end_format(&flow->flow.local_address, flow->flow.local_port, local,
				   sizeof(local)),
			bytes_format(flow->traffic[DIRECTION_IN].bytes +
					     flow->traffic[DIRECTION_OUT].bytes,
				     bytes));
	}
	fputs("</table>\n", out);
}
