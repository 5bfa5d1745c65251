/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. `pcap:FILE` is two things. As a sink it is a capture (capture.c) of what
 * comes from the other end. As a source it is a capture that is replayed; libpcap reads it, pcap
 * and pcapng alike.
 *
 * The source reads one packet ahead: it has to know when that one is due. Due is, as long after the
 * first packet as the file says, divided by the speed. Stamps are not to be trusted:
 *
 * - A packet that is a little older than the one before it (captures of several processors are
 *   like that) is due at once. Where time goes back by more than BACK_NS somebody set the clock;
 *   then the packet is due at once too, and what follows is counted from it.
 * - Where the other end has no room, or the machine is too slow, by more than LATE_NS, all that
 *   follows is later by as much: the distances are what a replay is about.
 *
 * What a file says is not to be trusted either. libpcap bounds the length of a record; a record
 * without its end, or longer than a packet can be, is dropped and counted. Where a file cannot be
 * read on, what came before is sent, and the run ends with an error that names the packet.
 *
 * A replayed packet shall come out as it was recorded, so it must not be merged with others
 * (is_exact).
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <pcap/pcap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <vnic/capture.h>

#include "base/error.h"
#include "io/port.h"
#include "io/wait.h"

#define SECOND_NS UINT64_C(1000000000)
#define BACK_NS SECOND_NS
#define LATE_NS (SECOND_NS / 10)
/* Later than that is never: some 290 years, so that a sum of two does not run over. */
#define FAR_NS ((uint64_t)INT64_MAX)

struct pcap_port {
	const char *path;
	/* Source. */
	pcap_t *file;
	const u_char *data; /* of the packet that was read ahead; NULL: none */
	uint32_t length_bytes, recorded_bytes;
	uint64_t due_ns;
	uint64_t packets; /* records that were read */
	bool has_origin;
	uint64_t origin_ns, stamp_ns; /* this time of the clock is that time of the file */
	uint64_t latest_ns;           /* of the stamps since then */
	int end;                      /* -ENODATA, or why it cannot be read on; 0: not yet */
	struct vnic_error why;
	bool end_told;
	/* Sink. */
	struct vnic_capture *capture;
	bool is_full;      /* told */
	bool nobody_reads; /* the other end of a pipe is gone */
};

/* Opening. */

static int refuse_link_type(const struct pcap_port *state, int type, struct vnic_error *error)
{
	const char *name = pcap_datalink_val_to_name(type);
	char number[16];

	snprintf(number, sizeof(number), "%d", type);
	return vn_error(error, -EPROTONOSUPPORT, VNIC_CAUSE_FILE,
			"'%s' cannot be replayed: its link type is %s, and not EN10MB, RAW, IPV4 "
			"or IPV6",
			state->path, name ? name : number);
}

static int open_stream(const struct pcap_port *state, FILE **stream, struct vnic_error *error)
{
	struct stat status;
	/* Not blocking, for it may turn out to be a pipe. */
	int descriptor = open(state->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	int code = -errno;

	if (descriptor < 0)
		return vn_error_system(error, code,
				       code == -EMFILE || code == -ENFILE ? VNIC_CAUSE_LIMIT
									  : VNIC_CAUSE_FILE,
				       "cannot open '%s'", state->path);
	if (fstat(descriptor, &status) < 0 || !S_ISREG(status.st_mode)) {
		close(descriptor);
		return vn_error(error, -EINVAL, VNIC_CAUSE_FILE,
				"'%s' cannot be replayed: it is no regular file", state->path);
	}
	*stream = fdopen(descriptor, "r");
	if (*stream)
		return 0;
	close(descriptor);
	return vn_error(error, -ENOMEM, VNIC_CAUSE_MEMORY, "no memory to read '%s'", state->path);
}

static int open_source(struct vnic_port *port, struct vnic_error *error)
{
	struct pcap_port *state = port->state;
	double speed = port->options.replay_speed;
	char reason[PCAP_ERRBUF_SIZE] = "";
	FILE *stream = NULL;
	int code;

	if (!isfinite(speed) || speed < 0)
		return vn_error(error, -EINVAL, VNIC_CAUSE_ARGUMENT,
				"a capture cannot be replayed %g times as fast", speed);
	code = open_stream(state, &stream, error);
	if (code < 0)
		return code;
	state->file = pcap_fopen_offline_with_tstamp_precision(stream, PCAP_TSTAMP_PRECISION_NANO,
							       reason);
	if (!state->file) {
		fclose(stream);
		return vn_error(error, -EBADMSG, VNIC_CAUSE_FILE, "'%s' is no capture: %s",
				state->path, reason);
	}
	switch (pcap_datalink(state->file)) {
	case DLT_EN10MB:
		port->layer = VNIC_LAYER_ETHERNET;
		break;
	case DLT_RAW:
	case DLT_IPV4:
	case DLT_IPV6:
		port->layer = VNIC_LAYER_IP;
		break;
	default:
		return refuse_link_type(state, pcap_datalink(state->file), error);
	}
	port->is_patient = true;
	port->is_exact = true;
	port->queues[0].offloads = VNIC_OFFLOAD_ALL; /* nothing is spent on what is thrown away */
	return 0;
}

static int open_pcap(struct vnic_port *port, const char *rest, struct vnic_error *error)
{
	struct pcap_port *state;

	if (!*rest)
		return vn_error(error, -EINVAL, VNIC_CAUSE_ARGUMENT,
				"'%s': a FILE follows the colon", port->specification);
	state = calloc(1, sizeof(*state));
	if (!state)
		return vn_error(error, -ENOMEM, VNIC_CAUSE_MEMORY, "no memory for a port");
	port->state = state;
	state->path = rest;
	return port->options.record ? 0 : open_source(port, error);
}

/* Only now it is known what is recorded. */
static int attach(struct vnic_port *port, struct vnic_error *error)
{
	struct pcap_port *state = port->state;

	if (!port->options.record || state->capture)
		return 0;
	return vnic_capture_open(state->path, (enum vnic_layer)port->layer, &state->capture, error);
}

static void close_pcap(struct vnic_port *port)
{
	struct pcap_port *state = port->state;

	if (!state)
		return;
	if (state->file)
		pcap_close(state->file);
	vnic_capture_close(state->capture);
	free(state);
}

/* Source. */

static uint64_t stamp_of(const struct pcap_pkthdr *header)
{
	uint64_t seconds = (uint64_t)header->ts.tv_sec;
	uint64_t nanoseconds = (uint64_t)header->ts.tv_usec; /* PCAP_TSTAMP_PRECISION_NANO */

	if (seconds >= FAR_NS / SECOND_NS)
		return FAR_NS;
	return seconds * SECOND_NS + (nanoseconds < SECOND_NS ? nanoseconds : SECOND_NS - 1);
}

/* So much time of the file, at the speed that is wanted. */
static uint64_t scale(const struct vnic_port *port, uint64_t distance_ns)
{
	double scaled;

	if (port->options.replay_speed == 0 || port->options.replay_speed == 1)
		return distance_ns;
	scaled = (double)distance_ns / port->options.replay_speed;
	return scaled < (double)FAR_NS ? (uint64_t)scaled : FAR_NS;
}

static void find_due(struct vnic_port *port, uint64_t stamp_ns, uint64_t now_ns)
{
	struct pcap_port *state = port->state;
	bool is_back = state->has_origin && stamp_ns < state->latest_ns;

	if (!state->has_origin || (is_back && state->latest_ns - stamp_ns > BACK_NS)) {
		/* Behind what was due last, which may be still to come. */
		state->origin_ns = state->has_origin ? state->due_ns : now_ns;
		state->stamp_ns = stamp_ns;
		state->latest_ns = stamp_ns;
		state->has_origin = true;
	} else if (!is_back) {
		state->latest_ns = stamp_ns;
	}
	state->due_ns = state->origin_ns + scale(port, state->latest_ns - state->stamp_ns);
	if (state->due_ns < state->origin_ns)
		state->due_ns = VN_PORT_NEVER;
}

/* Read the next packet ahead, if that is not done. Returns 0, or state->end. */
static int read_ahead(struct vnic_port *port, uint64_t now_ns)
{
	struct pcap_port *state = port->state;
	struct pcap_pkthdr *header;
	const u_char *data;
	int code;

	if (state->data || state->end < 0)
		return state->data ? 0 : state->end;
	code = pcap_next_ex(state->file, &header, &data);
	if (code == PCAP_ERROR_BREAK) {
		state->end = -ENODATA;
		return state->end;
	}
	if (code != 1) {
		state->end = vn_error(&state->why, -EBADMSG, VNIC_CAUSE_FILE,
				      "cannot read packet %" PRIu64 " of '%s': %s",
				      state->packets + 1, state->path, pcap_geterr(state->file));
		return state->end;
	}
	state->packets++;
	state->data = data;
	state->recorded_bytes = header->caplen;
	state->length_bytes = header->len;
	find_due(port, stamp_of(header), now_ns);
	return 0;
}

/* Hand out the packet that was read ahead, or drop it. Returns how many: 1 or 0. */
static unsigned take(struct vnic_port *port, struct vnic_packet *packet)
{
	struct pcap_port *state = port->state;
	const u_char *data = state->data;

	state->data = NULL;
	if (state->recorded_bytes < state->length_bytes) {
		vn_port_drop_in(port, 0, VNIC_PORT_DROP_TRUNCATED, 1, state->length_bytes);
		return 0;
	}
	if (state->recorded_bytes == 0 || state->recorded_bytes > VNIC_PACKET_BYTES ||
	    state->recorded_bytes > packet->capacity_bytes) {
		vn_port_drop_in(port, 0, VNIC_PORT_DROP_MALFORMED, 1, state->recorded_bytes);
		return 0;
	}
	memcpy(packet->data, data, state->recorded_bytes);
	vn_port_describe_plain(packet, state->recorded_bytes);
	return 1;
}

static bool is_due(struct vnic_port *port, uint64_t now_ns)
{
	struct pcap_port *state = port->state;

	if (port->options.replay_fast)
		return true;
	if (state->due_ns > now_ns)
		return false;
	if (now_ns - state->due_ns > LATE_NS) {
		state->origin_ns += now_ns - state->due_ns;
		state->due_ns = now_ns;
	}
	return true;
}

/* There is nothing (more) to hand out. */
static int end_source(struct vnic_port *port)
{
	struct pcap_port *state = port->state;

	if (state->end != -ENODATA)
		port->queues[0].failure = state->why;
	else if (!state->end_told)
		vn_port_tell(port, VNIC_PORT_END, "'%s' is at its end: %" PRIu64 " packets",
			     state->path, state->packets);
	state->end_told = true;
	return state->end;
}

static int receive_source(struct vnic_port *port, struct vnic_packet *packets, unsigned count)
{
	uint64_t now_ns = vn_now_ns();
	unsigned taken = 0, looked = 0;
	int end = 0;

	/* Those that are dropped count too, or a file of nothing else would keep us here. */
	while (taken < count && looked++ < VNIC_BURST_PACKETS) {
		end = read_ahead(port, now_ns);
		if (end < 0 || !is_due(port, now_ns))
			break;
		taken += take(port, &packets[taken]);
	}
	if (taken > 0)
		return (int)taken;
	if (end < 0)
		return end_source(port);
	port->deadline_changed = true;
	return -EAGAIN;
}

/* Sink. */

static void tell_failure(struct vnic_port *port, int code)
{
	struct pcap_port *state = port->state;
	struct vnic_error why;

	if (code == -EPIPE)
		state->nobody_reads = true;
	if (state->is_full)
		return;
	state->is_full = true;
	vn_error_system(&why, code, VNIC_CAUSE_FILE, "cannot write to '%s'", state->path);
	vn_port_tell(port, VNIC_PORT_FULL, "%s; what cannot be written is dropped", why.text);
}

static int send_sink(struct vnic_port *port, const struct vnic_packet *packets, unsigned count)
{
	struct pcap_port *state = port->state;
	struct timespec now;
	uint64_t written, before, after, lost;
	int code;

	clock_gettime(CLOCK_REALTIME, &now);
	vnic_capture_count(state->capture, &written, &before);
	code = vnic_capture_write(state->capture, packets, count,
				  (uint64_t)now.tv_sec * SECOND_NS + (uint64_t)now.tv_nsec);
	vnic_capture_count(state->capture, &written, &after);
	lost = after - before;
	if (lost > count)
		lost = count;
	vn_port_count_out(port, 0, packets, count - (unsigned)lost);
	vn_port_drop_out(port, 0, VNIC_PORT_DROP_FULL, packets + (count - lost), (unsigned)lost);
	if (code < 0)
		tell_failure(port, code);
	return (int)count;
}

static int receive_sink(struct vnic_port *port)
{
	struct pcap_port *state = port->state;

	if (!state->nobody_reads)
		return -EAGAIN;
	if (!state->end_told)
		vn_port_tell(port, VNIC_PORT_END, "nobody reads '%s' any more", state->path);
	state->end_told = true;
	return -ENODATA;
}

/* Both. */

static int receive(struct vnic_port *port, unsigned queue, struct vnic_packet *packets,
		   unsigned count)
{
	(void)queue;
	return port->options.record ? receive_sink(port) : receive_source(port, packets, count);
}

static int send_packets(struct vnic_port *port, unsigned queue, const struct vnic_packet *packets,
			unsigned count)
{
	if (port->options.record)
		return send_sink(port, packets, count);
	vn_port_drop_out(port, queue, VNIC_PORT_DROP_NO_PEER, packets, count);
	return (int)count;
}

static uint64_t advance(struct vnic_port *port, uint64_t now_ns)
{
	struct pcap_port *state = port->state;

	/* What is due already waits for room, and not for time. */
	if (port->options.record || port->options.replay_fast || !state->data ||
	    state->due_ns <= now_ns)
		return VN_PORT_NEVER;
	return state->due_ns;
}

const struct vn_port_kind vn_port_pcap = {
	.name = "pcap",
	.open = open_pcap,
	.close = close_pcap,
	.attach = attach,
	.receive = receive,
	.send = send_packets,
	.advance = advance,
};
