/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. What `vnic host` says beside its packets: what it made and what to type
 * next, what happens to the interface, and at the end the counters that tell what went well and
 * what was lost. For programs the same as objects: "ready", "link", "summary".
 */
#include "host.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

/* How many addresses of the host are listed before they become "and N more". */
#define LISTED 4

static void add_addresses(const struct report *report, cJSON *object)
{
	cJSON *addresses = cJSON_AddArrayToObject(object, "addresses");
	cJSON *hosts = cJSON_AddArrayToObject(object, "hosts");
	char text[VNIC_ADDRESS_TEXT_BYTES];
	struct vnic_prefix network;
	size_t i;

	for (i = 0; i < report->nic->address_count; i++)
		cJSON_AddItemToArray(addresses, cJSON_CreateString(vnic_prefix_format(
							&report->nic->addresses[i].prefix, text)));
	for (i = 0; i < report->answers->count; i++) {
		const struct vnic_prefix *host = &report->answers->prefixes[i];

		network = vnic_prefix_network(host);
		if (report->answers->all)
			vnic_prefix_format(&network, text);
		else
			vnic_address_format(&host->address, text);
		cJSON_AddItemToArray(hosts, cJSON_CreateString(text));
	}
}

static void ready_json(const struct report *report)
{
	const struct nic *nic = report->nic;
	cJSON *object = cJSON_CreateObject(), *services;
	char text[VNIC_ADDRESS_TEXT_BYTES];
	unsigned i;

	cJSON_AddStringToObject(object, "event", "ready");
	cJSON_AddStringToObject(object, "name", nic->info.name);
	cJSON_AddNumberToObject(object, "index", nic->info.index);
	cJSON_AddStringToObject(object, "type", nic->options.tap ? "tap" : "tun");
	cJSON_AddNumberToObject(object, "mtu", nic->info.mtu_bytes);
	cJSON_AddNumberToObject(object, "queues", vnic_device_queues(nic->device));
	offloads_add(object, vnic_device_offloads(nic->device));
	add_addresses(report, object);
	if (report->host_mac) {
		cJSON_AddStringToObject(object, "mac", vnic_mac_format(nic->info.mac, text));
		cJSON_AddStringToObject(object, "host_mac",
					vnic_mac_format(report->host_mac, text));
	}
	services = cJSON_AddArrayToObject(object, "services");
	for (i = 0; i < report->services->count; i++)
		cJSON_AddItemToArray(services,
				     cJSON_CreateString(report->services->items[i]->name));
	if (nic->options.netns)
		cJSON_AddStringToObject(object, "netns", nic->options.netns);
	cJSON_AddBoolToObject(object, "private", nic->options.is_private);
	cJSON_AddNumberToObject(object, "pid", getpid());
	json_print(report->out, object);
}

/* "10.0.0.2 answers", "10.0.0.2, 10.0.0.7 answer" for one of the kernel's addresses. */
static void print_hosts(const struct report *report, const struct vnic_link_address *link)
{
	FILE *out = report->out;
	char text[VNIC_ADDRESS_TEXT_BYTES];
	unsigned listed = 0, more = 0;
	size_t i;

	if (report->answers->all) {
		fputs("every other address answers\n", out);
		return;
	}
	for (i = 0; i < report->answers->count; i++) {
		const struct vnic_prefix *host = &report->answers->prefixes[i];

		if (!vnic_prefix_contains(&link->prefix, &host->address) &&
		    !vnic_address_equal(&link->peer, &host->address))
			continue;
		if (listed == LISTED) {
			more++;
			continue;
		}
		fprintf(out, "%s%s%s%s", listed++ ? ", " : "", colour(out, COLOUR_GREEN),
			vnic_address_format(&host->address, text), colour(out, COLOUR_NONE));
	}
	if (more)
		fprintf(out, " and %u more", more);
	fprintf(out, " answer%s\n", listed == 1 ? "s" : "");
}

/* An address to be pinged: with --host all any will do. */
static struct vnic_address first_host(const struct report *report)
{
	struct vnic_address address = report->answers->prefixes[0].address;

	if (report->answers->all)
		vnic_prefix_next_host(&report->answers->prefixes[0], &address);
	return address;
}

/* What to put before a command so that it runs where the interface is: "", or with a space behind. */
static void enter_command(const struct report *report, char *text, size_t size)
{
	const char *netns = report->nic->options.netns;

	text[0] = 0;
	if (netns && strchr(netns, '/'))
		snprintf(text, size, "nsenter --net=%s ", netns);
	else if (netns && strspn(netns, "0123456789") == strlen(netns))
		snprintf(text, size, "nsenter --net=/proc/%s/ns/net ", netns);
	else if (netns)
		snprintf(text, size, "ip netns exec %s ", netns);
}

static void print_advice(const struct report *report)
{
	struct vnic_address address = first_host(report);
	char host[VNIC_ADDRESS_TEXT_BYTES], zone[VNIC_NAME_BYTES + 1] = "", enter[4200];
	bool is_six = address.family == VNIC_IPV6;
	FILE *out = report->out;

	vnic_address_format(&address, host);
	if (is_six && vnic_address_is_link_local(&address))
		snprintf(zone, sizeof(zone), "%%%s", report->nic->info.name);
	enter_command(report, enter, sizeof(enter));
	if (report->is_shell)
		fprintf(out, "This is a shell in a private network namespace; 'exit' leaves it.\n");
	fprintf(out, "Try:  %sping %s%s", enter, host, zone);
	if (services_have(report->services, "http")) {
		fprintf(out, "%s%scurl ", enter[0] ? "\n      " : "   ", enter);
		fprintf(out, is_six ? "'http://[%s%s]/'" : "http://%s%s/", host, zone);
	}
	fputc('\n', out);
	if (report->is_shell)
		return;
	if (report->for_ns)
		fprintf(out, "Stop: Ctrl-C, or wait %g s\n", (double)report->for_ns / 1e9);
	else
		fprintf(out, "Stop: Ctrl-C\n");
}

void report_ready(const struct report *report)
{
	const struct nic *nic = report->nic;
	char text[VNIC_ADDRESS_TEXT_BYTES];
	FILE *out = report->out;
	size_t i;

	if (report->json) {
		ready_json(report);
		return;
	}
	for (i = 0; i < nic->address_count; i++) {
		fprintf(out, "%s%s%s: %s here, ", colour(out, COLOUR_BOLD), nic->info.name,
			colour(out, COLOUR_NONE),
			vnic_prefix_format(&nic->addresses[i].prefix, text));
		print_hosts(report, &nic->addresses[i]);
	}
	if (!report->has_command || report->is_shell)
		print_advice(report);
	fflush(out);
}

void report_link(const struct report *report, enum vnic_link_event event, const char *name)
{
	static const char *const sentences[] = {
		[VNIC_LINK_EVENT_UP] = "is up again",
		[VNIC_LINK_EVENT_DOWN] = "is set down: nothing goes through until it is up again",
		[VNIC_LINK_EVENT_RENAMED] = "is the interface's new name",
	};
	cJSON *object;

	if (report->json) {
		object = cJSON_CreateObject();
		cJSON_AddStringToObject(object, "event", "link");
		cJSON_AddStringToObject(object, "change", vnic_link_event_name(event));
		cJSON_AddStringToObject(object, "name", name);
		json_print(report->out, object);
		return;
	}
	if ((size_t)event >= sizeof(sentences) / sizeof(sentences[0]) || !sentences[event])
		return; /* that it is gone is told as the error that ends the run */
	fprintf(report->out, "%s%s%s %s\n", colour(report->out, COLOUR_YELLOW), name,
		colour(report->out, COLOUR_NONE), sentences[event]);
	fflush(report->out);
}

void report_fallback(const struct report *report, const char *text)
{
	cJSON *object;

	flockfile(report->out);
	if (report->json) {
		object = cJSON_CreateObject();
		cJSON_AddStringToObject(object, "event", "software-gso");
		cJSON_AddStringToObject(object, "message", text);
		json_print(report->out, object);
	} else {
		fprintf(report->out, "%s%s%s\n", colour(report->out, COLOUR_YELLOW), text,
			colour(report->out, COLOUR_NONE));
		fflush(report->out);
	}
	funlockfile(report->out);
}

static void summary_json(const struct report *report, const struct summary *summary)
{
	const struct vnic_queue_statistics *queues = &summary->queues;
	cJSON *object = cJSON_CreateObject();
	cJSON *part;
	int i;

	cJSON_AddStringToObject(object, "event", "summary");
	cJSON_AddStringToObject(object, "name", report->nic->info.name);
	cJSON_AddNumberToObject(object, "duration_s", (double)summary->duration_ns / 1e9);
	part = cJSON_AddObjectToObject(object, "queues");
	json_add_count(part, "received_packets", queues->received_packets);
	json_add_count(part, "received_bytes", queues->received_bytes);
	json_add_count(part, "received_truncated_packets", queues->received_truncated_packets);
	json_add_count(part, "received_malformed_packets", queues->received_malformed_packets);
	json_add_count(part, "sent_packets", queues->sent_packets);
	json_add_count(part, "sent_bytes", queues->sent_bytes);
	json_add_count(part, "send_refused_packets", queues->send_refused_packets);
	json_add_count(part, "send_link_down", queues->send_link_down);
	json_add_count(part, "send_full", queues->send_full);
	part = cJSON_AddObjectToObject(object, "stack");
	for (i = 0; i < VNIC_STACK_COUNTERS; i++)
		json_add_count(part, vnic_stack_counter_name((enum vnic_stack_counter)i),
			       summary->stack[i]);
	if (summary->has_link) {
		part = cJSON_AddObjectToObject(object, "interface");
		json_add_count(part, "tx_packets", summary->link.tx_packets);
		json_add_count(part, "tx_dropped", summary->link.tx_dropped);
		json_add_count(part, "rx_packets", summary->link.rx_packets);
		json_add_count(part, "rx_dropped", summary->link.rx_dropped);
		json_add_count(part, "rx_errors", summary->link.rx_errors);
	}
	if (summary->capture_path) {
		part = cJSON_AddObjectToObject(object, "capture");
		cJSON_AddStringToObject(part, "file", summary->capture_path);
		json_add_count(part, "written", summary->capture_written);
		json_add_count(part, "lost", summary->capture_lost);
	}
	if (summary->command_status >= 0)
		cJSON_AddNumberToObject(object, "command_status", summary->command_status);
	json_print(report->out, object);
}

/* One counter, if it counted: "  echo replies           3". */
static void print_count(FILE *out, const char *name, uint64_t count)
{
	char text[40];
	size_t i;

	if (count == 0)
		return;
	if (strncmp(name, "drop_", 5) == 0)
		snprintf(text, sizeof(text), "dropped: %s", name + 5);
	else
		snprintf(text, sizeof(text), "%s", name);
	for (i = 0; text[i]; i++)
		if (text[i] == '_')
			text[i] = ' ';
	fprintf(out, "  %-28s %" PRIu64 "\n", text, count);
}

static void print_stack(FILE *out, const uint64_t *counters)
{
	bool is_drop;
	int i;

	for (i = 0; i < VNIC_STACK_COUNTERS; i++) {
		/* The lines above say how many packets came and went. */
		if (i == VNIC_STACK_RECEIVED || i == VNIC_STACK_SENT)
			continue;
		is_drop = i >= VNIC_STACK_DROP_MALFORMED && counters[i];
		fputs(is_drop ? colour(out, COLOUR_YELLOW) : "", out);
		print_count(out, vnic_stack_counter_name((enum vnic_stack_counter)i), counters[i]);
		fputs(is_drop ? colour(out, COLOUR_NONE) : "", out);
	}
}

void report_summary(const struct report *report, const struct summary *summary)
{
	const struct vnic_queue_statistics *queues = &summary->queues;
	FILE *out = report->out;
	char text[TEXT_BYTES];

	if (report->json) {
		summary_json(report, summary);
		return;
	}
	fprintf(out, "%s--- %s, %.1f s ---%s\n", colour(out, COLOUR_BOLD), report->nic->info.name,
		(double)summary->duration_ns / 1e9, colour(out, COLOUR_NONE));
	fprintf(out, "  %-28s %" PRIu64 " (%s)\n", "packets in", queues->received_packets,
		bytes_format(queues->received_bytes, text));
	fprintf(out, "  %-28s %" PRIu64 " (%s)\n", "packets out", queues->sent_packets,
		bytes_format(queues->sent_bytes, text));
	print_stack(out, summary->stack);
	print_count(out, "in: cut off", queues->received_truncated_packets);
	print_count(out, "in: malformed header", queues->received_malformed_packets);
	print_count(out, "out: refused by the kernel", queues->send_refused_packets);
	print_count(out, "out: interface was down", queues->send_link_down);
	print_count(out, "out: kernel was busy", queues->send_full);
	if (summary->has_link) {
		print_count(out, "kernel dropped, queue full", summary->link.tx_dropped);
		print_count(out, "kernel dropped, unwanted", summary->link.rx_dropped);
	}
	if (summary->capture_path) {
		fprintf(out, "  %-28s %" PRIu64, "captured", summary->capture_written);
		if (summary->capture_lost)
			fprintf(out, ", %s%" PRIu64 " lost%s", colour(out, COLOUR_RED),
				summary->capture_lost, colour(out, COLOUR_NONE));
		if (strcmp(summary->capture_path, "-") != 0)
			fprintf(out, " (%s)", summary->capture_path);
		fputc('\n', out);
	}
	fflush(out);
}
