/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. What `vnic wire` says: what it joined, what happens to it, how fast it is,
 * and at the end where every packet went. For each direction the packets that came in are those
 * that went out and those that were dropped, by reason; what the kernel dropped before we could
 * read it (its queue was full) stands beside that, for it is in none of our counters.
 *
 * Rates are for a terminal only: one line, which is written again each second by a thread of its
 * own and taken away before anything else is printed. The same thread ends the wire when its time
 * (--for) is over, and prints the counters where SIGUSR1 asks for them. Where none of that is wanted
 * it sleeps, and an idle wire never wakes up.
 */
#include "wire.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define SECOND_NS 1000000000u
#define ERASE_LINE "\r\033[K"
/* What the clock's thread is told. An eventfd(2) adds up, so many questions are one. */
#define TOLD_REPORT UINT64_C(1)
#define TOLD_STOP (UINT64_C(1) << 32)

uint64_t wire_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * SECOND_NS + (uint64_t)now.tv_nsec;
}

static uint64_t count_port(const struct wire *wire, unsigned port, enum vnic_port_counter counter)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < vnic_port_queues(wire->ports[port]); i++)
		sum += vnic_port_counter(wire->ports[port], i, counter);
	return sum;
}

/* True for a drop of packets that came from the other end of the wire. */
static bool is_towards(enum vnic_port_counter counter)
{
	return counter < VNIC_PORT_DROP_MALFORMED;
}

static uint64_t count_drops(const struct wire *wire, enum vnic_wire_direction direction)
{
	unsigned from = direction == VNIC_FORWARD ? 0 : 1;
	uint64_t sum = 0;

	for (int i = VNIC_PORT_DROP_DOWN; i < VNIC_PORT_COUNTERS; i++)
		sum += count_port(wire, is_towards((enum vnic_port_counter)i) ? 1 - from : from,
				  (enum vnic_port_counter)i);
	for (int i = VNIC_WIRE_DROP_LOSS; i < VNIC_WIRE_COUNTERS; i++)
		sum += vnic_wire_counter(wire->wire, direction, (enum vnic_wire_counter)i);
	return sum;
}

/* Ready. */

static void add_impairment(cJSON *object, const char *name,
			   const struct vnic_impairment *impairment)
{
	cJSON *part;

	if (!vnic_impairment_is_any(impairment))
		return;
	part = cJSON_AddObjectToObject(object, name);
	cJSON_AddNumberToObject(part, "loss", impairment->loss);
	cJSON_AddNumberToObject(part, "duplicate", impairment->duplicate);
	cJSON_AddNumberToObject(part, "reorder", impairment->reorder);
	cJSON_AddNumberToObject(part, "corrupt", impairment->corrupt);
	json_add_count(part, "delay_ns", impairment->delay_ns);
	json_add_count(part, "jitter_ns", impairment->jitter_ns);
	json_add_count(part, "rate_bits_per_second", impairment->rate_bits_per_second);
	json_add_count(part, "seed", impairment->seed);
}

static void add_interface(cJSON *object, struct vnic_device *device)
{
	struct vnic_link_info info;

	if (!device || vnic_device_query(device, &info, NULL) < 0)
		return;
	cJSON_AddStringToObject(object, "interface", info.name);
	cJSON_AddNumberToObject(object, "index", info.index);
	cJSON_AddNumberToObject(object, "mtu", info.mtu_bytes);
	offloads_add(object, vnic_device_offloads(device));
}

static void ready_json(const struct wire *wire)
{
	cJSON *object = cJSON_CreateObject();
	cJSON *ports, *port;

	cJSON_AddStringToObject(object, "event", "ready");
	ports = cJSON_AddArrayToObject(object, "ports");
	for (unsigned i = 0; i < 2; i++) {
		port = cJSON_CreateObject();
		cJSON_AddStringToObject(port, "name", vnic_port_name(wire->ports[i]));
		cJSON_AddStringToObject(port, "kind", vnic_port_kind(wire->ports[i]));
		cJSON_AddNumberToObject(port, "most_bytes", vnic_port_most_bytes(wire->ports[i]));
		add_interface(port, vnic_port_device(wire->ports[i]));
		cJSON_AddItemToArray(ports, port);
	}
	cJSON_AddNumberToObject(object, "queues", vnic_port_queues(wire->ports[0]));
	add_impairment(object, "impair_forward", vnic_wire_impairment(wire->wire, VNIC_FORWARD));
	add_impairment(object, "impair_backward", vnic_wire_impairment(wire->wire, VNIC_BACKWARD));
	cJSON_AddNumberToObject(object, "pid", getpid());
	json_print(wire->out, object);
}

/* "every packet is impaired, seed 17": only the seed is not known to who typed the rest. */
static void print_seed(const struct wire *wire, enum vnic_wire_direction direction)
{
	const struct vnic_impairment *impairment = vnic_wire_impairment(wire->wire, direction);

	if (vnic_impairment_is_any(impairment))
		fprintf(wire->out, "%s: impaired, seed=%" PRIu64 "\n",
			direction == VNIC_FORWARD ? "->" : "<-", impairment->seed);
}

void wire_report_ready(const struct wire *wire)
{
	FILE *out = wire->out;

	if (wire->json) {
		ready_json(wire);
		return;
	}
	fprintf(out, "%s%s%s <-> %s%s%s\n", colour(out, COLOUR_BOLD),
		vnic_port_name(wire->ports[0]), colour(out, COLOUR_NONE), colour(out, COLOUR_BOLD),
		vnic_port_name(wire->ports[1]), colour(out, COLOUR_NONE));
	print_seed(wire, VNIC_FORWARD);
	print_seed(wire, VNIC_BACKWARD);
	if (wire->for_ns)
		fprintf(out, "Stop: Ctrl-C, or wait %g s\n", (double)wire->for_ns / 1e9);
	else
		fprintf(out, "Stop: Ctrl-C\n");
	fflush(out);
}

/* Events. */

void wire_report_event(void *user, struct vnic_port *port, enum vnic_port_event event,
		       const char *text)
{
	struct wire *wire = user;
	FILE *out = wire->out;
	cJSON *object;

	flockfile(out);
	if (wire->json) {
		object = cJSON_CreateObject();
		cJSON_AddStringToObject(object, "event", "port");
		cJSON_AddStringToObject(object, "port", vnic_port_name(port));
		cJSON_AddStringToObject(object, "change", vnic_port_event_name(event));
		cJSON_AddStringToObject(object, "message", text);
		json_print(out, object);
	} else {
		fprintf(out, "%s%s%s%s: %s\n", isatty(fileno(out)) ? ERASE_LINE : "",
			colour(out, COLOUR_YELLOW), vnic_port_name(port), colour(out, COLOUR_NONE),
			text);
		fflush(out);
	}
	funlockfile(out);
}

/* Counters: at the end, and while it runs. */

/*
 * What the kernel did not get rid of since we began. False: it cannot be asked, as while the wire
 * runs: its thread may be asking the device about something else.
 */
static bool ask_interface(const struct wire *wire, unsigned port,
			  struct vnic_link_statistics *statistics)
{
	struct vnic_device *device = vnic_port_device(wire->ports[port]);
	const struct vnic_link_statistics *before = &wire->before[port];
	struct vnic_link_info info;

	if (wire->is_running || !device || vnic_device_query(device, &info, NULL) < 0)
		return false;
	*statistics = info.statistics;
	statistics->tx_packets -= before->tx_packets;
	statistics->tx_dropped -= before->tx_dropped;
	statistics->rx_packets -= before->rx_packets;
	statistics->rx_dropped -= before->rx_dropped;
	statistics->rx_errors -= before->rx_errors;
	return true;
}

static void add_queue(cJSON *array, const struct vnic_port *port, unsigned queue)
{
	cJSON *object = cJSON_CreateObject();

	for (int i = 0; i < VNIC_PORT_COUNTERS; i++)
		json_add_count(object, vnic_port_counter_name((enum vnic_port_counter)i),
			       vnic_port_counter(port, queue, (enum vnic_port_counter)i));
	cJSON_AddItemToArray(array, object);
}

static void add_port(cJSON *array, const struct wire *wire, unsigned number)
{
	const struct vnic_port *port = wire->ports[number];
	cJSON *object = cJSON_CreateObject(), *part;
	struct vnic_link_statistics statistics;

	cJSON_AddStringToObject(object, "name", vnic_port_name(port));
	for (int i = 0; i < VNIC_PORT_COUNTERS; i++)
		json_add_count(object, vnic_port_counter_name((enum vnic_port_counter)i),
			       count_port(wire, number, (enum vnic_port_counter)i));
	part = cJSON_AddArrayToObject(object, "queues");
	for (unsigned i = 0; i < vnic_port_queues(port); i++)
		add_queue(part, port, i);
	if (ask_interface(wire, number, &statistics)) {
		part = cJSON_AddObjectToObject(object, "interface");
		json_add_count(part, "tx_packets", statistics.tx_packets);
		json_add_count(part, "tx_dropped", statistics.tx_dropped);
		json_add_count(part, "rx_packets", statistics.rx_packets);
		json_add_count(part, "rx_dropped", statistics.rx_dropped);
		json_add_count(part, "rx_errors", statistics.rx_errors);
	}
	cJSON_AddItemToArray(array, object);
}

static void print_json(const struct wire *wire, const char *event, uint64_t duration_ns)
{
	static const char *const names[] = {"impair_forward", "impair_backward"};
	cJSON *object = cJSON_CreateObject(), *part;

	cJSON_AddStringToObject(object, "event", event);
	cJSON_AddNumberToObject(object, "duration_s", (double)duration_ns / 1e9);
	part = cJSON_AddArrayToObject(object, "ports");
	add_port(part, wire, 0);
	add_port(part, wire, 1);
	for (unsigned i = 0; i < 2; i++) {
		enum vnic_wire_direction direction = (enum vnic_wire_direction)i;

		if (!vnic_impairment_is_any(vnic_wire_impairment(wire->wire, direction)))
			continue;
		part = cJSON_AddObjectToObject(object, names[i]);
		for (int j = 0; j < VNIC_WIRE_COUNTERS; j++)
			json_add_count(part, vnic_wire_counter_name((enum vnic_wire_counter)j),
				       vnic_wire_counter(wire->wire, direction,
							 (enum vnic_wire_counter)j));
	}
	json_print(wire->out, object);
}

/* One counter, if it counted: "  dropped: too long            5". */
static void print_count(FILE *out, const char *name, uint64_t count)
{
	bool is_drop = strncmp(name, "drop_", 5) == 0;
	char text[64];

	if (count == 0)
		return;
	snprintf(text, sizeof(text), "%s%s", is_drop ? "dropped: " : "", name + (is_drop ? 5 : 0));
	for (size_t i = 0; text[i]; i++)
		if (text[i] == '_')
			text[i] = ' ';
	fprintf(out, "  %s%-28s %" PRIu64 "%s\n", is_drop ? colour(out, COLOUR_YELLOW) : "", text,
		count, is_drop ? colour(out, COLOUR_NONE) : "");
}

static void print_direction(const struct wire *wire, enum vnic_wire_direction direction)
{
	unsigned from = direction == VNIC_FORWARD ? 0 : 1, to = 1 - from;
	struct vnic_link_statistics statistics;
	char text[TEXT_BYTES];
	FILE *out = wire->out;

	fprintf(out, "%s -> %s\n", vnic_port_name(wire->ports[from]),
		vnic_port_name(wire->ports[to]));
	fprintf(out, "  %-28s %" PRIu64 " (%s)\n", "packets in",
		count_port(wire, from, VNIC_PORT_IN_PACKETS),
		bytes_format(count_port(wire, from, VNIC_PORT_IN_BYTES), text));
	fprintf(out, "  %-28s %" PRIu64 " (%s)\n", "packets out",
		count_port(wire, to, VNIC_PORT_OUT_PACKETS),
		bytes_format(count_port(wire, to, VNIC_PORT_OUT_BYTES), text));
	print_count(out, "answered: too long", count_port(wire, to, VNIC_PORT_ANSWERED));
	for (int i = VNIC_PORT_DROP_DOWN; i < VNIC_PORT_COUNTERS; i++) {
		enum vnic_port_counter counter = (enum vnic_port_counter)i;

		print_count(out, vnic_port_counter_name(counter),
			    count_port(wire, is_towards(counter) ? to : from, counter));
	}
	for (int i = 0; i < VNIC_WIRE_COUNTERS; i++)
		print_count(out, vnic_wire_counter_name((enum vnic_wire_counter)i),
			    vnic_wire_counter(wire->wire, direction, (enum vnic_wire_counter)i));
	if (ask_interface(wire, from, &statistics))
		print_count(out, "kernel dropped, queue full", statistics.tx_dropped);
	if (ask_interface(wire, to, &statistics))
		print_count(out, "kernel dropped, unwanted", statistics.rx_dropped);
}

static void report(const struct wire *wire, const char *event)
{
	uint64_t duration_ns = wire_now_ns() - wire->start_ns;
	FILE *out = wire->out;

	if (wire->json) {
		print_json(wire, event, duration_ns);
		return;
	}
	fprintf(out, "%s--- %.1f s ---%s\n", colour(out, COLOUR_BOLD), (double)duration_ns / 1e9,
		colour(out, COLOUR_NONE));
	print_direction(wire, VNIC_FORWARD);
	print_direction(wire, VNIC_BACKWARD);
	fflush(out);
}

void wire_report_summary(const struct wire *wire)
{
	report(wire, "summary");
}

static void report_counters(const struct wire *wire)
{
	FILE *out = wire->out;

	flockfile(out);
	if (!wire->json && isatty(fileno(out)))
		fputs(ERASE_LINE, out);
	report(wire, "counters");
	funlockfile(out);
}

/* Rates. */

struct sample {
	uint64_t packets[2], bytes[2], drops;
};

static struct sample take_sample(const struct wire *wire)
{
	struct sample sample = {.drops = 0};

	for (unsigned i = 0; i < 2; i++) {
		sample.packets[i] = count_port(wire, 1 - i, VNIC_PORT_OUT_PACKETS);
		sample.bytes[i] = count_port(wire, 1 - i, VNIC_PORT_OUT_BYTES);
		sample.drops += count_drops(wire, (enum vnic_wire_direction)i);
	}
	return sample;
}

/* "12.3 G", "456 k", "7 " */
static void format_scaled(double number, char *text, size_t size)
{
	static const char *const units[] = {"", "k", "M", "G", "T"};
	size_t unit = 0;

	while (number >= 1000 && unit + 1 < sizeof(units) / sizeof(units[0])) {
		number /= 1000;
		unit++;
	}
	snprintf(text, size, number < 10 && unit > 0 ? "%.2f %s" : "%.0f %s", number, units[unit]);
}

static void show_rates(const struct wire *wire, const struct sample *now,
		       const struct sample *before, double seconds)
{
	FILE *out = wire->out;
	char bits[2][TEXT_BYTES], packets[2][TEXT_BYTES];

	for (unsigned i = 0; i < 2; i++) {
		format_scaled((double)(now->bytes[i] - before->bytes[i]) * 8 / seconds, bits[i],
			      sizeof(bits[i]));
		format_scaled((double)(now->packets[i] - before->packets[i]) / seconds, packets[i],
			      sizeof(packets[i]));
	}
	flockfile(out);
	fprintf(out, ERASE_LINE "-> %sbit/s %spackets/s   <- %sbit/s %spackets/s", bits[0],
		packets[0], bits[1], packets[1]);
	if (now->drops)
		fprintf(out, "   %s%" PRIu64 " dropped%s", colour(out, COLOUR_YELLOW), now->drops,
			colour(out, COLOUR_NONE));
	fflush(out);
	funlockfile(out);
}

/* Sleep until then at most. Returns what we were told meanwhile; 0: nothing. */
static uint64_t sleep_until(const struct wire_clock *clock, uint64_t now_ns, uint64_t until_ns)
{
	struct pollfd told = {.fd = clock->told, .events = POLLIN};
	uint64_t left_ns = until_ns > now_ns ? until_ns - now_ns : 0, what = 0;
	struct timespec timeout = {(time_t)(left_ns / SECOND_NS), (long)(left_ns % SECOND_NS)};

	if (ppoll(&told, 1, until_ns == UINT64_MAX ? NULL : &timeout, NULL) <= 0 ||
	    read(clock->told, &what, sizeof(what)) != sizeof(what))
		return 0;
	return what;
}

static void *keep_time(void *argument)
{
	struct wire_clock *clock = argument;
	struct wire *wire = clock->wire;
	struct sample before = take_sample(wire), now;
	uint64_t end_ns = wire->for_ns ? wire->start_ns + wire->for_ns : UINT64_MAX;
	uint64_t then_ns = wire_now_ns(), now_ns = then_ns, next_ns, told;

	for (;;) {
		next_ns = clock->shows_rates ? then_ns + SECOND_NS : UINT64_MAX;
		told = sleep_until(clock, now_ns, end_ns < next_ns ? end_ns : next_ns);
		now_ns = wire_now_ns();
		if (told >= TOLD_STOP)
			break;
		if (told)
			report_counters(wire);
		if (now_ns >= end_ns) {
			vnic_wire_stop(wire->wire);
			end_ns = UINT64_MAX;
		}
		if (!clock->shows_rates || now_ns < then_ns + SECOND_NS)
			continue;
		now = take_sample(wire);
		show_rates(wire, &now, &before, (double)(now_ns - then_ns) / 1e9);
		before = now;
		then_ns = now_ns;
	}
	if (clock->shows_rates)
		fputs(ERASE_LINE, wire->out);
	return NULL;
}

int wire_clock_start(struct wire_clock *clock, struct wire *wire)
{
	int code;

	clock->wire = wire;
	clock->shows_rates = !wire->json && isatty(fileno(wire->out));
	clock->told = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (clock->told < 0)
		return -errno;
	code = pthread_create(&clock->thread, NULL, keep_time, clock);
	if (code != 0)
		close(clock->told);
	return -code;
}

static void tell(const struct wire_clock *clock, uint64_t what)
{
	ssize_t ignored = write(clock->told, &what, sizeof(what));

	(void)ignored; /* it does not run over: each is taken away at once */
}

void wire_clock_ask(const struct wire_clock *clock)
{
	tell(clock, TOLD_REPORT);
}

void wire_clock_stop(struct wire_clock *clock)
{
	tell(clock, TOLD_STOP);
	pthread_join(clock->thread, NULL);
	close(clock->told);
}
