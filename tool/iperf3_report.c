/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. A client with --get-server-output shows what the server would have printed:
 * who came, and what became of each stream and of all of them.
 */
#include "iperf3.h"

#include <stdio.h>
#include <stdlib.h>

struct line {
	char id[12];
	const char *role;
	struct iperf3_stream_result result;
};

/* "1.23 G": three digits, and what they count in. */
static void scale(double value, double base, char *text, size_t size)
{
	static const char *const prefixes[] = {"", "K", "M", "G", "T"};
	unsigned at = 0;

	while (value >= base && at + 1 < sizeof(prefixes) / sizeof(prefixes[0])) {
		value /= base;
		at++;
	}
	snprintf(text, size, "%.*f %s",
		 value < 9.995   ? 2
		 : value < 99.95 ? 1
				 : 0,
		 value, prefixes[at]);
}

static void print_line(FILE *file, const struct iperf3_parameters *parameters,
		       const struct line *line)
{
	const struct iperf3_stream_result *result = &line->result;
	double bits = result->duration_s > 0 ? (double)result->bytes * 8 / result->duration_s : 0;
	char amount[24], rate[24];

	scale((double)result->bytes, 1024, amount, sizeof(amount));
	scale(bits, 1000, rate, sizeof(rate));
	fprintf(file, "[%s]   0.00-%.2f sec  %6sBytes  %6sbits/sec", line->id, result->duration_s,
		amount, rate);
	if (parameters->is_udp)
		fprintf(file, "  %.3f ms  %llu/%llu (%.2g%%)", result->jitter_s * 1000,
			(unsigned long long)result->errors, (unsigned long long)result->packets,
			result->packets ? 100 * (double)result->errors / (double)result->packets
					: 0);
	else if (result->retransmits >= 0)
		fprintf(file, "  %lld", (long long)result->retransmits);
	fprintf(file, "  %s\n", line->role);
}

static void add(struct iperf3_stream_result *sum, const struct iperf3_stream_result *one,
		unsigned count)
{
	sum->bytes += one->bytes;
	sum->errors += one->errors;
	sum->packets += one->packets;
	sum->jitter_s += one->jitter_s / count;
	if (one->retransmits >= 0)
		sum->retransmits += one->retransmits;
	if (one->duration_s > sum->duration_s)
		sum->duration_s = one->duration_s;
}

static void print_direction(FILE *file, const struct iperf3_test *test,
			    const struct iperf3_results *results, bool sends)
{
	struct line line = {.role = sends ? "sender" : "receiver"};
	struct line sum = {.id = "SUM", .role = line.role};
	unsigned i, count = test->parameters.streams;

	sum.result.retransmits = sends && !test->parameters.is_udp ? 0 : -1;
	for (i = 0; i < results->count; i++) {
		if (test->counts[test->order[i]].is_sender != sends)
			continue;
		line.result = results->streams[i];
		snprintf(line.id, sizeof(line.id), "%3u", line.result.id);
		print_line(file, &test->parameters, &line);
		add(&sum.result, &line.result, count);
	}
	if (count > 1 && sum.result.duration_s > 0)
		print_line(file, &test->parameters, &sum);
}

static void print_flow(FILE *file, unsigned id, const struct vnic_flow *flow)
{
	char local[VNIC_ADDRESS_TEXT_BYTES], remote[VNIC_ADDRESS_TEXT_BYTES];

	fprintf(file, "[%3u] local %s port %u connected to %s port %u\n", id,
		vnic_address_format(&flow->local_address, local), flow->local_port,
		vnic_address_format(&flow->remote_address, remote), flow->remote_port);
}

char *iperf3_report_format(const struct iperf3_test *test, const struct iperf3_results *results)
{
	const struct iperf3_parameters *parameters = &test->parameters;
	char remote[VNIC_ADDRESS_TEXT_BYTES], *text = NULL;
	size_t length;
	FILE *file = open_memstream(&text, &length);
	unsigned i;

	if (!file)
		return NULL;
	fprintf(file, "Accepted connection from %s, port %u\n",
		vnic_address_format(&test->flow.remote_address, remote), test->flow.remote_port);
	for (i = 0; i < results->count; i++)
		print_flow(file, results->streams[i].id, &test->counts[test->order[i]].flow);
	fprintf(file, "[ ID] Interval         Transfer     Bitrate%s\n",
		parameters->is_udp ? "         Jitter  Lost/Total Datagrams" : "");
	if (!parameters->is_reverse)
		print_direction(file, test, results, false);
	if (parameters->is_reverse || parameters->is_bidirectional)
		print_direction(file, test, results, true);
	if (fclose(file) != 0) {
		free(text);
		return NULL;
	}
	return text;
}
