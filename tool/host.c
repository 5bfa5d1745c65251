/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. `vnic host` joins a device and a stack by a handler: what the device
 * receives goes into the stack, what the stack sends goes out on the same worker. Each worker (one
 * for each queue) has a stack of its own, all with the same addresses, so workers share nothing.
 *
 * The order of the set-up is what keeps the rest of the machine safe: input is checked; then
 * namespaces are entered, files opened and the interface made, with privileges; a COMMAND's guard
 * is forked, which keeps them; then all privileges are dropped; then packets are read.
 *
 * The run ends by vnic_stop(), which signal handlers may call: SIGINT and SIGTERM to us (with a
 * COMMAND they are passed on to it instead), SIGCHLD when the COMMAND has ended, SIGIO when the
 * namespace lost its name.
 */
#include "status.h"

#include <errno.h>
#include <pwd.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

/* A COMMAND that does not end when it is asked to is ended by force after this. */
#define GRACE_NS 2000000000u

/* What the signal handlers know. */
static struct {
	struct vnic_device *volatile device;
	struct command *volatile command;
	volatile sig_atomic_t stopped; /* by which signal; 0: none */
} run_state;

static void handle_signal(int number, siginfo_t *info, void *context)
{
	struct command *command = run_state.command;
	struct vnic_device *device = run_state.device;
	int saved = errno;

	(void)context;
	if (number != SIGCHLD && number != SIGIO) {
		/* From the terminal it has come to the COMMAND already. */
		if (command && info->si_code == SI_KERNEL)
			return;
		if (command)
			command_signal(command, number);
		run_state.stopped = number;
	}
	/* With a COMMAND this only makes the loop look whether it has ended. */
	if (device)
		vnic_stop(device);
	errno = saved;
}

/* Without a COMMAND a second Ctrl-C kills at once, should the output be stuck. */
static void catch_signals(const struct host *host)
{
	static const int ends[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
	struct sigaction action = {.sa_sigaction = handle_signal, .sa_flags = SA_SIGINFO};
	struct sigaction before;
	size_t i;

	sigemptyset(&action.sa_mask);
	if (!host->report.has_command)
		action.sa_flags |= (int)SA_RESETHAND;
	for (i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		if (ends[i] == SIGQUIT && !host->report.has_command)
			continue;
		/* nohup; or a COMMAND in the background of a shell without job control */
		if ((ends[i] == SIGHUP || host->report.has_command) &&
		    sigaction(ends[i], NULL, &before) == 0 && before.sa_handler == SIG_IGN)
			continue;
		sigaction(ends[i], &action, NULL);
	}
	action.sa_flags = SA_SIGINFO | SA_RESTART | SA_NOCLDSTOP;
	sigaction(SIGCHLD, &action, NULL);
	sigaction(SIGIO, &action, NULL);
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* The stack's callbacks. */

static void fill_random(void *user, void *bytes, size_t length_bytes)
{
	uint8_t *next = bytes;
	ssize_t got;

	(void)user;
	while (length_bytes) {
		got = getrandom(next, length_bytes, 0);
		if (got < 0 && errno != EINTR)
			abort(); /* a system without randomness: nothing here would be safe */
		if (got > 0) {
			next += got;
			length_bytes -= (size_t)got;
		}
	}
}

static void end_for_reader(struct host *host)
{
	if (host->command)
		return; /* the COMMAND goes on: the capture was not all of it */
	atomic_store(&host->is_over, true);
	vnic_stop(host->nic.device);
}

static void send_packets(void *user, const struct vnic_packet *packets, unsigned count)
{
	struct shard *shard = user;

	if (!trace_packets(&shard->host->trace, DIRECTION_OUT, packets, count, now_ns()))
		end_for_reader(shard->host);
	meter_count(shard->meter, DIRECTION_OUT, packets, count, vnic_worker_now_ns(shard->worker));
	shard->has_traffic = true;
	vnic_worker_send(shard->worker, packets, count);
}

/* Anyone on a bridge can make conflicts: two are told, all are counted. */
static void note_conflict(void *user, const struct vnic_address *address,
			  const uint8_t mac[VNIC_MAC_BYTES])
{
	struct shard *shard = user;
	char text[VNIC_ADDRESS_TEXT_BYTES], mac_text[VNIC_ADDRESS_TEXT_BYTES];

	if (atomic_fetch_add(&shard->host->conflicts, 1) < 2)
		warning_say("%s is also used by %s", vnic_address_format(address, text),
			    vnic_mac_format(mac, mac_text));
}

/* The run's callbacks. */

/* Close the second in the history that is over, before anything is counted in the next. */
static void note_history(struct shard *shard, uint64_t now)
{
	if (!history_is_due(shard->host->history, now))
		return;
	status_note(shard->host, now);
	shard->has_traffic = false;
}

static int receive(struct vnic_worker *worker, struct vnic_packet *packets, unsigned count,
		   void *user)
{
	struct host *host = user;
	struct shard *shard = &host->shards[vnic_worker_index(worker)];

	shard->worker = worker;
	if (!trace_packets(&host->trace, DIRECTION_IN, packets, count, vnic_worker_now_ns(worker)))
		end_for_reader(host);
	note_history(shard, vnic_worker_now_ns(worker));
	meter_count(shard->meter, DIRECTION_IN, packets, count, vnic_worker_now_ns(worker));
	shard->has_traffic = true;
	vnic_stack_receive(shard->stack, packets, count, vnic_worker_now_ns(worker));
	return 0;
}

/* Returns when to look again. */
static uint64_t check_deadline(struct host *host, uint64_t now)
{
	if (now < host->deadline_ns)
		return host->deadline_ns;
	if (host->command && !host->is_ending) {
		host->is_ending = true;
		host->deadline_ns = now + GRACE_NS;
		command_signal(host->command, SIGTERM);
		return host->deadline_ns;
	}
	host->deadline_ns = VNIC_NEVER;
	atomic_store(&host->is_over, true);
	vnic_stop(host->nic.device);
	return VNIC_NEVER;
}

static uint64_t sooner(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t advance(struct vnic_worker *worker, uint64_t now, void *user)
{
	struct host *host = user;
	unsigned index = vnic_worker_index(worker);
	struct shard *shard = &host->shards[index];
	uint64_t next, service_next;

	shard->worker = worker;
	if (index == 0 && !host->is_announced) {
		host->is_announced = true;
		vnic_stack_link_up(shard->stack, now);
	}
	/* What expires tells the services, and what they then say goes out. */
	vnic_stack_advance(shard->stack, now);
	service_next = services_advance(&shard->services, now);
	next = sooner(vnic_stack_advance(shard->stack, now), service_next);
	note_history(shard, now);
	next = sooner(next, history_next_ns(host->history, shard->has_traffic));
	return index == 0 ? sooner(next, check_deadline(host, now)) : next;
}

static void note_link(struct vnic_worker *worker, enum vnic_link_event event, const char *name,
		      void *user)
{
	struct host *host = user;
	struct shard *shard = &host->shards[0];

	shard->worker = worker;
	if (event == VNIC_LINK_EVENT_RENAMED) {
		pthread_mutex_lock(&host->lock);
		snprintf(host->nic.info.name, sizeof(host->nic.info.name), "%s", name);
		pthread_mutex_unlock(&host->lock);
	}
	if (!host->trace.is_quiet)
		report_link(&host->report, event, name);
	trace_check_output(&host->trace);
	if (event == VNIC_LINK_EVENT_UP)
		vnic_stack_link_up(shard->stack, vnic_worker_now_ns(worker));
}

static void note_fallback(struct vnic_worker *worker, const char *text, void *user)
{
	struct host *host = user;

	(void)worker;
	if (!host->trace.is_quiet)
		report_fallback(&host->report, text);
	trace_check_output(&host->trace);
}

/* Set-up. Each returns -1, or the exit status (it has been said). */

/* Returns 0 or a negative errno with the error filled. */
static int make_shard(struct host *host, struct vnic_stack_options *options, struct shard *shard,
		      struct vnic_error *error)
{
	uint64_t seed;
	int code;

	shard->host = host;
	options->user = shard;
	fill_random(NULL, &seed, sizeof(seed));
	shard->meter = meter_new(options->layer, seed);
	if (!shard->meter)
		return service_no_memory(error);
	code = vnic_stack_new(options, &shard->stack, error);
	if (code == 0)
		code = answers_give(&host->answers, &host->nic, shard->stack, error);
	return code;
}

static int open_services(struct host *host)
{
	struct service_place place = {
		.shards = host->shard_count,
		.device = host->nic.device,
		.host = host,
	};
	struct vnic_error error;

	if (services_share(&host->services, host) < 0)
		return error_say(&host->nic.context, "out of memory");
	for (; place.shard < place.shards; place.shard++) {
		struct shard *shard = &host->shards[place.shard];

		place.stack = shard->stack;
		if (services_open(&shard->services, &host->services, &place, &error) < 0)
			return error_report(&error, &host->nic.context);
	}
	return -1;
}

static int make_shards(struct host *host)
{
	struct vnic_stack_options options = {
		.layer = vnic_device_layer(host->nic.device),
		.mtu_bytes = host->nic.info.mtu_bytes,
		/* Without a virtio-net header nobody could tell the kernel how to cut. */
		.plain = vnic_device_vnet_header_bytes(host->nic.device) == 0,
		.send = send_packets,
		.random = fill_random,
		.conflict = note_conflict,
	};
	unsigned count = vnic_device_queues(host->nic.device);
	struct vnic_error error;

	if (options.layer == VNIC_LAYER_ETHERNET) {
		fill_random(NULL, host->mac, sizeof(host->mac));
		host->mac[0] = (uint8_t)((host->mac[0] & ~1u) | 2u); /* unicast, made up locally */
		memcpy(options.mac, host->mac, sizeof(options.mac));
	}
	host->shards = calloc(count, sizeof(*host->shards));
	if (!host->shards)
		return error_say(&host->nic.context, "out of memory");
	while (host->shard_count < count) {
		host->shard_count++; /* however far it comes, tear_down() frees it */
		if (make_shard(host, &options, &host->shards[host->shard_count - 1], &error) < 0)
			return error_report(&error, &host->nic.context);
	}
	return open_services(host);
}

static void choose_shell(struct host *host)
{
	const struct passwd *entry;
	const char *shell = getenv("SHELL");

	if (!shell || access(shell, X_OK) < 0) {
		entry = getpwuid(getuid());
		shell = entry && access(entry->pw_shell, X_OK) == 0 ? entry->pw_shell : "/bin/sh";
	}
	host->shell[0] = strdup(shell);
	host->command_options.arguments = host->shell[0] ? host->shell : NULL;
	host->command_options.is_shell = true;
}

static int check_usage(struct host *host, const struct tool_command *command,
		       const struct arguments *arguments)
{
	int status = nic_parse(&host->nic, command, &arguments->operands);

	if (status >= 0)
		return status;
	if (arguments->command && !arguments->command[0])
		return usage_error(command, "which COMMAND shall run? None follows '--'");
	if (host->expression && !host->capture_path && !host->trace.verbose)
		return usage_error(command, "--filter wants --verbose or --capture");
	if (host->capture_path && strcmp(host->capture_path, "-") == 0 && isatty(STDOUT_FILENO))
		return usage_error(command, "--capture -: the standard output is a terminal; add "
					    "'| wireshark -k -i -', say");
	status = services_choose(&host->services, host->service_list, command);
	if (status < 0)
		status = offloads_parse(command, host->nic.options.offload, &host->nic.offloads);
	if (status < 0)
		status = user_find(host->nic.options.user, command, &host->user);
	if (status >= 0)
		return status;
	host->command_options.arguments = arguments->command;
	if (!arguments->command && host->nic.options.is_private)
		choose_shell(host);
	host->command_options.is_private = host->nic.options.is_private;
	host->command_options.in_netns = host->nic.options.netns != NULL;
	/* Whose standard output it is: the capture's, the COMMAND's, ours. */
	host->command_options.stdout_is_taken =
		host->capture_path && strcmp(host->capture_path, "-") == 0;
	host->report.has_command = host->command_options.arguments != NULL;
	host->report.is_shell = host->command_options.is_shell;
	host->report.out =
		host->report.has_command || host->command_options.stdout_is_taken ? stderr : stdout;
	host->nic.context.output = host->report.out;
	host->trace.out = host->report.out;
	host->trace.json = host->report.json = host->nic.context.json;
	return -1;
}

static int enter_namespace(struct host *host)
{
	const struct nic_options *options = &host->nic.options;
	int status;

	if (options->is_private)
		return private_enter(PRIVATE_ROOT, &host->nic.context);
	if (!options->netns)
		return -1;
	status = netns_enter(options->netns, &host->nic.context);
	/* Without a watch the host still works; only the namespace's end goes unnoticed. */
	if (status < 0)
		netns_watch_open(&host->netns_watch, options->netns);
	return status;
}

static int set_up(struct host *host)
{
	const struct hint_context *context = &host->nic.context;
	int status = enter_namespace(host);

	if (status < 0)
		status = nic_find_addresses(&host->nic);
	if (status < 0)
		status = answers_find(&host->answers, &host->nic, &host->host_texts);
	host->trace.layer = host->nic.options.tap ? VNIC_LAYER_ETHERNET : VNIC_LAYER_IP;
	if (status < 0)
		status = trace_open(&host->trace, host->capture_path, host->expression, context);
	if (status < 0)
		status = nic_open(&host->nic);
	if (status < 0)
		status = make_shards(host);
	if (status < 0 && host->command_options.arguments)
		status = command_prepare(&host->command_options, context, &host->command);
	if (status < 0)
		status = privilege_drop(host->user, context);
	return status;
}

/* Serving. */

/* A persistent interface has counted before us; so does a new one until it is up. */
static void subtract(struct vnic_link_statistics *result, const struct vnic_link_statistics *now,
		     const struct vnic_link_statistics *before)
{
	*result = *now;
	result->tx_packets -= before->tx_packets;
	result->tx_dropped -= before->tx_dropped;
	result->rx_packets -= before->rx_packets;
	result->rx_dropped -= before->rx_dropped;
	result->rx_errors -= before->rx_errors;
}

static void sum_up(struct host *host, struct summary *summary)
{
	struct vnic_device *device = host->nic.device;
	struct vnic_queue_statistics queue;
	struct vnic_link_info info;
	unsigned i, j;

	summary->duration_ns = now_ns() - host->start_ns;
	for (i = 0; i < host->shard_count; i++) {
		vnic_device_statistics(device, i, &queue);
		summary->queues.received_packets += queue.received_packets;
		summary->queues.received_bytes += queue.received_bytes;
		summary->queues.received_truncated_packets += queue.received_truncated_packets;
		summary->queues.received_malformed_packets += queue.received_malformed_packets;
		summary->queues.sent_packets += queue.sent_packets;
		summary->queues.sent_bytes += queue.sent_bytes;
		summary->queues.send_refused_packets += queue.send_refused_packets;
		summary->queues.send_link_down += queue.send_link_down;
		summary->queues.send_full += queue.send_full;
		for (j = 0; j < VNIC_STACK_COUNTERS; j++)
			summary->stack[j] += vnic_stack_counter(host->shards[i].stack,
								(enum vnic_stack_counter)j);
	}
	summary->has_link = vnic_device_query(device, &info, NULL) == 0;
	if (summary->has_link)
		subtract(&summary->link, &info.statistics, &host->nic.info.statistics);
	if (host->trace.capture) {
		summary->capture_path = host->capture_path;
		vnic_capture_count(host->trace.capture, &summary->capture_written,
				   &summary->capture_lost);
	}
}

static bool is_finished(struct host *host)
{
	if (host->command)
		return command_has_ended(host->command) || atomic_load(&host->is_over);
	return run_state.stopped || atomic_load(&host->is_over);
}

/* Returns STATUS_DONE, or STATUS_FAILED where something else than the user ended it. */
static int serve(struct host *host)
{
	static const struct vnic_handler handler = {
		.receive = receive,
		.timer = advance,
		.link = note_link,
		.fallback = note_fallback,
	};
	struct vnic_error error;

	for (;;) {
		if (vnic_run(host->nic.device, &handler, host, &error) < 0)
			return error_report(&error, &host->nic.context);
		if (is_finished(host))
			return STATUS_DONE;
		if (netns_watch_is_gone(&host->netns_watch))
			return error_say(&host->nic.context,
					 "the network namespace '%s' was removed",
					 host->nic.options.netns);
	}
}

static int run_host(struct host *host)
{
	struct summary summary = {.command_status = -1};
	int status;

	host->start_ns = host->trace.start_ns = now_ns();
	host->history = history_new(host->start_ns);
	if (!host->history)
		return error_say(&host->nic.context, "out of memory");
	host->deadline_ns = host->report.for_ns ? host->start_ns + host->report.for_ns : VNIC_NEVER;
	run_state.device = host->nic.device;
	run_state.command = host->command;
	signal(SIGPIPE, SIG_IGN); /* whoever writes looks at what write() returns */
	if (run_state.stopped)    /* before it began */
		return host->report.has_command ? STATUS_SIGNAL + run_state.stopped : STATUS_DONE;
	report_ready(&host->report);
	trace_check_output(&host->trace);
	if (host->command) {
		status = command_start(host->command, &host->nic.context);
		if (status >= 0)
			return status;
	}
	status = serve(host);
	if (host->command) {
		command_end(host->command, host->is_ending ? 0 : GRACE_NS / 1000000);
		summary.command_status = command_wait(host->command);
	}
	sum_up(host, &summary);
	if (!host->trace.is_quiet)
		report_summary(&host->report, &summary);
	trace_check_output(&host->trace);
	/*
	 * A shell that nobody asked for by name has no status of interest when we were told to
	 * end.
	 */
	if (status == STATUS_DONE && host->command && !(host->report.is_shell && run_state.stopped))
		status = summary.command_status;
	if (status == STATUS_DONE && !host->command && atomic_load(&host->trace.output_failed))
		status = STATUS_FAILED;
	return status;
}

static void tear_down(struct host *host)
{
	unsigned i;

	run_state.command = NULL;
	run_state.device = NULL;
	command_free(host->command);
	for (i = 0; i < host->shard_count; i++) {
		services_close(&host->shards[i].services);
		vnic_stack_free(host->shards[i].stack);
		meter_free(host->shards[i].meter);
	}
	services_unshare(&host->services);
	free(host->shards);
	history_free(host->history);
	pthread_mutex_destroy(&host->lock);
	trace_close(&host->trace);
	answers_free(&host->answers);
	nic_free(&host->nic);
	netns_watch_close(&host->netns_watch);
	user_free(host->user);
	free(host->shell[0]);
}

static int run(const struct tool_command *command, int argc, char **argv)
{
	struct host host = {.netns_watch.descriptor = -1, .lock = PTHREAD_MUTEX_INITIALIZER};
	const struct option options[] = {
		NIC_OPTIONS(&host.nic.options),
		{"host", OPTION_LIST, &host.host_texts, 0, 0},
		{"service", OPTION_TEXT, &host.service_list, 0, 0},
		{"offload", OPTION_TEXT, &host.nic.options.offload, 0, 0},
		{"capture", OPTION_TEXT, &host.capture_path, 0, 0},
		{"filter", OPTION_TEXT, &host.expression, 0, 0},
		{"verbose", OPTION_FLAG, &host.trace.verbose, 0, 0},
		{"json", OPTION_FLAG, &host.nic.context.json, 0, 0},
		{"for", OPTION_DURATION, &host.report.for_ns, 0, 0},
		{0},
	};
	struct arguments arguments;
	int status = options_parse(command, options, argc, argv, &arguments);

	if (status >= 0)
		return status;
	host.report.nic = &host.nic;
	host.report.answers = &host.answers;
	host.report.services = &host.services;
	status = check_usage(&host, command, &arguments);
	if (status < 0) {
		catch_signals(&host);
		status = set_up(&host);
	}
	if (host.nic.options.tap)
		host.report.host_mac = host.mac;
	if (status < 0)
		status = run_host(&host);
	tear_down(&host);
	options_free(options, &arguments);
	return status;
}

const struct tool_command host_command = {
	.name = "host",
	.summary = "make a virtual NIC with a user-space host behind it",
	.help = "Make a virtual network interface, and answer behind it as a host: to ping, ARP,\n"
		"neighbour discovery and traceroute, and with a few services: a web page that\n"
		"shows what goes through the interface is at http://10.0.0.2/ then.\n"
		"\n"
		"usage: vnic host ADDR/LEN... [OPTIONS] [-- COMMAND...]\n"
		"\n"
		"This machine gets each ADDR; the host answers as the next address (10.0.0.2 for\n"
		"10.0.0.1/24). ADDR/LEN may be left out with --name of an interface that has one.\n"
		"With COMMAND it runs that while the interface is up, and ends with its status.\n"
		"\n"
		"  --host ADDR     answer as ADDR instead, in the network that it lies in; may be\n"
		"                  given often\n"
		"  --host all      answer as every address of the networks but this machine's\n"
		"  --service LIST  offer these services only, with commas between them:\n"
		"                  echo, discard, chargen, http, iperf3; or all (the\n"
		"                  default), none\n"
		"  --tap           an Ethernet interface (TAP) instead of an IP one (TUN)\n"
		"  --name NAME     its name, or a pattern like vpn%d (default tun%d, tap%d); one\n"
		"                  that exists is used, and stays\n"
		"  --mtu BYTES     the largest IP packet on it (default 1500)\n"
		"  --queues N      serve it by N threads, each with a queue of its own\n"
		"  --mac MAC       this machine's Ethernet address on it (--tap)\n"
		"  --offload on|off|LIST\n"
		"                  what the kernel leaves to us: all it can (default), nothing, "
		"or\n"
		"                  some of csum,tso4,tso6,ecn,uso,udp-tunnel,udp-tunnel-csum\n"
		"  --private       in a new network namespace: nothing on this machine changes,\n"
		"                  and no privilege is needed; without COMMAND starts a shell\n"
		"  --netns NETNS   in an existing one: a name, a path or a process's number\n"
		"  --capture FILE  write all packets to FILE, for wireshark; '-': to the standard\n"
		"                  output\n"
		"  --verbose       print a line for each packet: 'in' from this machine to the\n"
		"                  host, 'out' from the host\n"
		"  --filter EXPR   capture and print only packets that match EXPR, as tcpdump\n"
		"  --json          print an object a line: ready, link, packet, error, summary\n"
		"  --for DURATION  end after 500ms, 10s, 2m or 1h\n"
		"  --user USER     become USER when it is set up (root only). In any case it\n"
		"                  keeps no capability; COMMAND has the privileges of the caller\n"
		"\n"
		"Messages go to the standard output, but to the standard error where COMMAND or\n"
		"a capture has that. Ctrl-C ends it with a summary.\n"
		"Exit status: 0 done, 1 failed, 2 wrong usage; with COMMAND its own, 127 not\n"
		"found, 126 not executable, 128+N ended by signal N.\n"
		"\n"
		"  vnic host 10.0.0.1/24              and in another window: ping 10.0.0.2\n"
		"  vnic host 10.0.0.1/24 fd00::1/64 --tap --verbose\n"
		"  vnic host 10.0.0.1/24 --private -- ping -c 3 10.0.0.2\n"
		"  vnic host 10.0.0.1/8 --host all --private\n"
		"  vnic host 10.0.0.1/24 --capture - | wireshark -k -i -\n",
	.run = run,
};
