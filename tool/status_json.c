/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. The status as one JSON object: for the page, and for whoever polls it. The
 * counters are those of the summary that ends a run, under the same names; the page finds rates by
 * the history, whose seconds it asks for from the first one on that it does not have.
 */
#include "status.h"

#include <inttypes.h>
#include <string.h>

static const char *const directions[] = {[DIRECTION_IN] = "in", [DIRECTION_OUT] = "out"};

static void add_texts(const struct status *status, cJSON *object)
{
	cJSON *addresses = cJSON_AddArrayToObject(object, "addresses");
	cJSON *hosts = cJSON_AddArrayToObject(object, "hosts");
	cJSON *services = cJSON_AddArrayToObject(object, "services"), *service;
	char text[VNIC_ADDRESS_TEXT_BYTES];
	size_t i;

	for (i = 0; i < status->nic->address_count; i++)
		cJSON_AddItemToArray(addresses, cJSON_CreateString(vnic_prefix_format(
							&status->nic->addresses[i].prefix, text)));
	for (i = 0; status_host(status, i, text); i++)
		cJSON_AddItemToArray(hosts, cJSON_CreateString(text));
	for (i = 0; i < status->services->count; i++) {
		service = cJSON_CreateObject();
		cJSON_AddStringToObject(service, "name", status->services->items[i]->name);
		cJSON_AddStringToObject(service, "summary", status->services->items[i]->summary);
		cJSON_AddItemToArray(services, service);
	}
}

static void add_queues(const struct status *status, cJSON *object)
{
	cJSON *queues = cJSON_AddArrayToObject(object, "queues"), *queue;
	unsigned i;

	for (i = 0; i < status->queue_count; i++) {
		const struct vnic_queue_statistics *counts = &status->queues[i];

		queue = cJSON_CreateObject();
		json_add_count(queue, "received_packets", counts->received_packets);
		json_add_count(queue, "received_bytes", counts->received_bytes);
		json_add_count(queue, "received_truncated_packets",
			       counts->received_truncated_packets);
		json_add_count(queue, "received_malformed_packets",
			       counts->received_malformed_packets);
		json_add_count(queue, "sent_packets", counts->sent_packets);
		json_add_count(queue, "sent_bytes", counts->sent_bytes);
		json_add_count(queue, "send_refused_packets", counts->send_refused_packets);
		json_add_count(queue, "send_link_down", counts->send_link_down);
		json_add_count(queue, "send_full", counts->send_full);
		json_add_count(queue, "connections", status->connections[i]);
		cJSON_AddItemToArray(queues, queue);
	}
}

static void add_traffic(const struct status *status, cJSON *object)
{
	const struct meter_totals *totals = &status->totals;
	cJSON *way, *part, *list;
	unsigned i, j;

	for (i = 0; i < METER_DIRECTIONS; i++) {
		struct meter_traffic all = status_traffic(status, (enum direction)i);

		way = cJSON_AddObjectToObject(object, directions[i]);
		json_add_count(way, "packets", all.packets);
		json_add_count(way, "bytes", all.bytes);
		json_add_count(way, "segments", totals->segments[i]);
		part = cJSON_AddObjectToObject(way, "protocols");
		for (j = 0; j < METER_PROTOCOLS; j++) {
			cJSON *protocol = cJSON_AddObjectToObject(
				part, meter_protocol_name((enum meter_protocol)j));

			json_add_count(protocol, "packets", totals->protocols[i][j].packets);
			json_add_count(protocol, "bytes", totals->protocols[i][j].bytes);
		}
		list = cJSON_AddArrayToObject(way, "sizes");
		for (j = 0; j < METER_SIZES; j++)
			cJSON_AddItemToArray(list, cJSON_CreateNumber((double)totals->sizes[i][j]));
	}
	list = cJSON_AddArrayToObject(object, "size_bounds");
	for (j = 0; j + 1 < METER_SIZES; j++)
		cJSON_AddItemToArray(list, cJSON_CreateNumber(meter_size_bound(j)));
}

/* Another thread may have seen a packet since we looked at the clock. */
static double seconds_since(const struct status *status, uint64_t ns)
{
	return ns < status->now_ns ? (double)(status->now_ns - ns) / 1e9 : 0;
}

static void add_flows(const struct status *status, cJSON *object)
{
	cJSON *flows = cJSON_AddArrayToObject(object, "flows"), *entry;
	char text[VNIC_ADDRESS_TEXT_BYTES];
	unsigned i, j;

	for (i = 0; i < status->flow_count; i++) {
		const struct meter_flow *flow = &status->flows[i];

		entry = cJSON_CreateObject();
		cJSON_AddNumberToObject(entry, "protocol", flow->protocol);
		cJSON_AddStringToObject(entry, "local",
					vnic_address_format(&flow->flow.local_address, text));
		cJSON_AddNumberToObject(entry, "local_port", flow->flow.local_port);
		cJSON_AddStringToObject(entry, "remote",
					vnic_address_format(&flow->flow.remote_address, text));
		cJSON_AddNumberToObject(entry, "remote_port", flow->flow.remote_port);
		for (j = 0; j < METER_DIRECTIONS; j++) {
			cJSON *way = cJSON_AddObjectToObject(entry, directions[j]);

			json_add_count(way, "packets", flow->traffic[j].packets);
			json_add_count(way, "bytes", flow->traffic[j].bytes);
		}
		cJSON_AddNumberToObject(entry, "age_s", seconds_since(status, flow->first_ns));
		cJSON_AddNumberToObject(entry, "idle_s", seconds_since(status, flow->last_ns));
		cJSON_AddItemToArray(flows, entry);
	}
	cJSON_AddNumberToObject(object, "flows_known", status->totals.flows);
	json_add_count(object, "flows_forgotten", status->totals.flows_forgotten);
}

static void add_seconds(cJSON *object, struct history *history, uint64_t since)
{
	static const char *const names[] = {"in_packets", "in_bytes", "out_packets", "out_bytes",
					    "drops"};
	struct history_second seconds[HISTORY_SECONDS];
	cJSON *part = cJSON_AddObjectToObject(object, "history");
	uint64_t first, values[5];
	cJSON *lists[5];
	unsigned count = history_read(history, since, seconds, &first), i, j;

	json_add_count(part, "first_s", first);
	for (j = 0; j < 5; j++)
		lists[j] = cJSON_AddArrayToObject(part, names[j]);
	for (i = 0; i < count; i++) {
		values[0] = seconds[i].in_packets;
		values[1] = seconds[i].in_bytes;
		values[2] = seconds[i].out_packets;
		values[3] = seconds[i].out_bytes;
		values[4] = seconds[i].drops;
		for (j = 0; j < 5; j++)
			cJSON_AddItemToArray(lists[j], cJSON_CreateNumber((double)values[j]));
	}
}

static void add_interface(const struct status *status, cJSON *object)
{
	cJSON *part = cJSON_AddObjectToObject(object, "interface");

	if (!status->has_link)
		return;
	cJSON_AddBoolToObject(part, "up", status->link.up);
	json_add_count(part, "tx_dropped", status->link.statistics.tx_dropped);
	json_add_count(part, "rx_dropped", status->link.statistics.rx_dropped);
	json_add_count(part, "rx_errors", status->link.statistics.rx_errors);
}

char *status_json(const struct status *status, struct history *history, bool with_history,
		  uint64_t since)
{
	cJSON *object = cJSON_CreateObject(), *part;
	char *text, mac[VNIC_ADDRESS_TEXT_BYTES];
	int i;

	cJSON_AddStringToObject(object, "version", vnic_version());
	cJSON_AddStringToObject(object, "name", status->name);
	cJSON_AddStringToObject(object, "type", status->is_tap ? "tap" : "tun");
	cJSON_AddNumberToObject(object, "mtu", status->mtu_bytes);
	if (status->host_mac)
		cJSON_AddStringToObject(object, "host_mac", vnic_mac_format(status->host_mac, mac));
	cJSON_AddNumberToObject(object, "uptime_s",
				(double)(status->now_ns - status->start_ns) / 1e9);
	add_texts(status, object);
	add_interface(status, object);
	add_traffic(status, object);
	add_queues(status, object);
	part = cJSON_AddObjectToObject(object, "stack");
	for (i = 0; i < VNIC_STACK_COUNTERS; i++)
		json_add_count(part, vnic_stack_counter_name((enum vnic_stack_counter)i),
			       status->stack[i]);
	add_flows(status, object);
	if (with_history)
		add_seconds(object, history, since);
	text = cJSON_PrintUnformatted(object);
	cJSON_Delete(object);
	return text;
}
