/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. Every packet that the host takes in or sends out passes here, on the thread
 * of its worker: --filter chooses, --verbose prints a line, --capture writes it to a file.
 * Watching must not hurt what is watched: where the disk is full or nobody reads the output, that
 * is said once and the host goes on. Only the reader of a capture on the standard output takes the
 * run with it when he leaves, since the capture was what the run was for.
 */
#include "host.h"

#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int trace_open(struct trace *trace, const char *capture_path, const char *expression,
	       const struct hint_context *context)
{
	struct vnic_error error;

	trace->capture_path = capture_path;
	trace->captures_to_stdout = capture_path && strcmp(capture_path, "-") == 0;
	if (expression && vnic_filter_new(expression, trace->layer, &trace->filter, &error) < 0)
		return error_report(&error, context);
	if (capture_path &&
	    vnic_capture_open(capture_path, trace->layer, &trace->capture, &error) < 0)
		return error_report(&error, context);
	return -1;
}

void trace_check_output(struct trace *trace)
{
	int code = errno;

	if (!ferror(trace->out))
		return;
	clearerr(trace->out);
	/* EINTR: the signal that ends us came while the output was stuck. */
	if (code == EINTR || atomic_exchange(&trace->is_quiet, true))
		return;
	if (code != EPIPE)
		atomic_store(&trace->output_failed, true);
	if (trace->out == stdout)
		warning_say("cannot write to the standard output: %s: going on without it",
			    strerror(code));
}

static void print_packet(struct trace *trace, enum direction direction,
			 const struct vnic_packet *packet, uint64_t now_ns)
{
	char line[VNIC_PACKET_LINE_BYTES];
	uint64_t us = (now_ns - trace->start_ns) / 1000;
	const char *way = direction == DIRECTION_IN ? "in" : "out";
	cJSON *object;

	vnic_packet_print(packet, trace->layer, line, sizeof(line));
	if (!trace->json) {
		fprintf(trace->out, "%s%4u.%06u%s %-3s %s\n", colour(trace->out, COLOUR_DIM),
			(unsigned)(us / 1000000), (unsigned)(us % 1000000),
			colour(trace->out, COLOUR_NONE), way, line);
		return;
	}
	object = cJSON_CreateObject();
	cJSON_AddStringToObject(object, "event", "packet");
	cJSON_AddNumberToObject(object, "time_s", (double)us / 1e6);
	cJSON_AddStringToObject(object, "direction", way);
	cJSON_AddNumberToObject(object, "length_bytes", packet->length_bytes);
	cJSON_AddStringToObject(object, "text", line);
	json_print(trace->out, object);
}

static uint64_t real_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static bool capture_packets(struct trace *trace, const struct vnic_packet *packets, unsigned count)
{
	int code = vnic_capture_write(trace->capture, packets, count, real_now_ns());

	if (code == 0)
		return true;
	if (trace->captures_to_stdout && code == -EPIPE)
		return atomic_exchange(&trace->reader_left, true);
	if (!atomic_exchange(&trace->has_lost, true))
		warning_say("cannot write to '%s': %s: packets are missing in the capture",
			    trace->capture_path, strerror(-code));
	return true;
}

bool trace_packets(struct trace *trace, enum direction direction, const struct vnic_packet *packets,
		   unsigned count, uint64_t now_ns)
{
	struct vnic_packet chosen[VNIC_BURST_PACKETS];
	bool prints = trace->verbose && !trace->is_quiet;
	unsigned i, done, found;

	if (!prints && !trace->capture)
		return true;
	for (done = 0; done < count;) {
		for (found = 0; done < count && found < VNIC_BURST_PACKETS; done++)
			if (vnic_filter_match(trace->filter, &packets[done]))
				chosen[found++] = packets[done];
		for (i = 0; prints && i < found; i++)
			print_packet(trace, direction, &chosen[i], now_ns);
		if (prints && found) {
			fflush(trace->out);
			trace_check_output(trace);
		}
		if (trace->capture && found && !trace->reader_left &&
		    !capture_packets(trace, chosen, found))
			return false;
	}
	return true;
}

void trace_close(struct trace *trace)
{
	vnic_capture_close(trace->capture);
	vnic_filter_free(trace->filter);
	trace->capture = NULL;
	trace->filter = NULL;
}
