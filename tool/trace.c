/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. Every packet that the host takes in or sends out passes here, on the thread
 * of its worker: --filter chooses, --verbose prints a line, --capture writes it to a file.
 *
 * What is shown is what a wire would have seen, so that it does not depend on the offloads: a
 * super-packet is cut into its segments, and an open checksum completed, in memory that all workers
 * share. One that cannot be cut is shown as it is.
 *
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

	pthread_mutex_init(&trace->lock, NULL);
	trace->capture_path = capture_path;
	trace->captures_to_stdout = capture_path && strcmp(capture_path, "-") == 0;
	if (expression && vnic_filter_new(expression, trace->layer, &trace->filter, &error) < 0)
		return error_report(&error, context);
	if ((trace->verbose || capture_path) &&
	    vnic_burst_new(VNIC_BURST_PACKETS, 0, 0, &trace->plain, &error) < 0)
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

/* Show what was chosen of a burst. Returns as trace_packets(). */
static bool show(struct trace *trace, enum direction direction, const struct vnic_packet *packets,
		 unsigned count, uint64_t now_ns)
{
	struct vnic_packet chosen[VNIC_BURST_PACKETS];
	bool prints = trace->verbose && !trace->is_quiet;
	unsigned i, found = 0;

	for (i = 0; i < count; i++)
		if (vnic_filter_match(trace->filter, &packets[i]))
			chosen[found++] = packets[i];
	if (found == 0)
		return true;
	for (i = 0; prints && i < found; i++)
		print_packet(trace, direction, &chosen[i], now_ns);
	if (prints) {
		fflush(trace->out);
		trace_check_output(trace);
	}
	return !trace->capture || trace->reader_left || capture_packets(trace, chosen, found);
}

/* Show the packets of a wire that one with an offload description stands for. As above. */
static bool show_open(struct trace *trace, enum direction direction,
		      const struct vnic_packet *packet, uint64_t now_ns)
{
	struct vnic_segmenter segmenter;
	struct vnic_packet *plain;
	bool goes_on = true;
	int count;

	if (vnic_segmenter_begin(&segmenter, packet, trace->layer) < 0)
		return show(trace, direction, packet, 1, now_ns);
	pthread_mutex_lock(&trace->lock);
	do {
		vnic_burst_reset(trace->plain);
		plain = vnic_burst_packets(trace->plain);
		count = vnic_segmenter_next(&segmenter, plain, VNIC_BURST_PACKETS);
		if (count > 0)
			goes_on &= show(trace, direction, plain, (unsigned)count, now_ns);
	} while (count > 0);
	pthread_mutex_unlock(&trace->lock);
	return goes_on;
}

static bool is_open(const struct vnic_packet *packet)
{
	return packet->gso_type != VNIC_GSO_NONE || packet->flags & VNIC_PACKET_NEEDS_CSUM;
}

bool trace_packets(struct trace *trace, enum direction direction, const struct vnic_packet *packets,
		   unsigned count, uint64_t now_ns)
{
	bool goes_on = true;
	unsigned done, more;

	if ((!trace->verbose || trace->is_quiet) && !trace->capture)
		return true;
	for (done = 0; done < count; done += more) {
		more = 0;
		while (done + more < count && more < VNIC_BURST_PACKETS &&
		       !is_open(&packets[done + more]))
			more++;
		if (more > 0) {
			goes_on &= show(trace, direction, packets + done, more, now_ns);
			continue;
		}
		goes_on &= show_open(trace, direction, &packets[done], now_ns);
		more = 1;
	}
	return goes_on;
}

void trace_close(struct trace *trace)
{
	vnic_capture_close(trace->capture);
	vnic_filter_free(trace->filter);
	vnic_burst_free(trace->plain);
	trace->capture = NULL;
	trace->filter = NULL;
	trace->plain = NULL;
}
