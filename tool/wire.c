/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. `vnic wire` opens two ports, joins them and waits. Both ports are opened
 * with all privileges, then the wire is made (which may still configure an interface), then every
 * privilege is dropped, and only then packets are read: what a port needs later, as the right to
 * connect again, must not take one.
 *
 * The wire ends by vnic_wire_stop(): from signal handlers, and from the clock when --for is over.
 * SIGUSR1 lets the clock print the counters.
 * Descriptors keep a network namespace alive of which nobody else knows any more. So where one
 * that was named is removed the wire ends: the handler of SIGIO looks whether it is that one.
 */
#include "wire.h"
#include "process.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

struct texts {
	struct text_list operands;
	const char *both, *forward, *backward; /* --impair... */
	const char *offload, *speed, *user;
	unsigned queues, mtu;
	bool pin;
};

/* What the signal handlers know. */
static struct {
	struct vnic_wire *volatile wire;
	struct wire_clock *volatile clock;
	volatile sig_atomic_t stopped; /* by which signal; 0: none */
	struct netns_watch watches[2]; /* of the ports' namespaces */
	volatile sig_atomic_t is_removed[2];
} run_state = {.watches = {{.descriptor = -1}, {.descriptor = -1}}};

static void handle_signal(int number)
{
	struct vnic_wire *wire = run_state.wire;
	struct wire_clock *clock = run_state.clock;
	int saved = errno;
	bool ends = number != SIGIO && number != SIGUSR1;

	/* read(2), write(2) and stat(2) only, which a signal handler may call. */
	if (number == SIGUSR1 && clock)
		wire_clock_ask(clock);
	for (unsigned i = 0; i < 2 && number == SIGIO; i++)
		if (netns_watch_is_gone(&run_state.watches[i])) {
			run_state.is_removed[i] = 1;
			ends = true;
		}
	if (ends)
		run_state.stopped = number;
	if (ends && wire)
		vnic_wire_stop(wire);
	errno = saved;
}

/* A second Ctrl-C kills at once, should the output be stuck. */
static void catch_signals(void)
{
	static const int ends[] = {SIGINT, SIGTERM, SIGHUP};
	struct sigaction action = {.sa_handler = handle_signal, .sa_flags = (int)SA_RESETHAND};
	struct sigaction before;

	sigemptyset(&action.sa_mask);
	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		if (ends[i] == SIGHUP && sigaction(SIGHUP, NULL, &before) == 0 &&
		    before.sa_handler == SIG_IGN)
			continue; /* nohup */
		sigaction(ends[i], &action, NULL);
	}
	action.sa_flags = SA_RESTART;
	sigaction(SIGIO, &action, NULL);
	sigaction(SIGUSR1, &action, NULL);
	signal(SIGPIPE, SIG_IGN); /* whoever writes looks at what write() returns */
}

/* The command line. Each returns -1, or the exit status (it has been said). */

static int parse_impairment(const struct tool_command *command, const char *name, const char *text,
			    struct vnic_impairment *impairment)
{
	struct vnic_error error;

	if (text && vnic_impairment_parse(text, impairment, &error) < 0)
		return usage_error(command, "--%s: %s", name, error.text);
	return -1;
}

static int parse_impairments(const struct tool_command *command, const struct texts *texts,
			     struct vnic_impairment *impairments)
{
	int status;

	if (texts->both && (texts->forward || texts->backward))
		return usage_error(command, "--impair is for both directions: leave it out with "
					    "--impair-forward or --impair-backward");
	status = parse_impairment(command, "impair", texts->both, &impairments[VNIC_FORWARD]);
	impairments[VNIC_BACKWARD] = impairments[VNIC_FORWARD];
	if (status < 0)
		status = parse_impairment(command, "impair-forward", texts->forward,
					  &impairments[VNIC_FORWARD]);
	if (status < 0)
		status = parse_impairment(command, "impair-backward", texts->backward,
					  &impairments[VNIC_BACKWARD]);
	return status;
}

static int parse_speed(const struct tool_command *command, const char *text,
		       struct vnic_port_options *options)
{
	char *end;

	if (!text)
		return -1;
	if (strcmp(text, "max") == 0) {
		options->replay_fast = true;
		return -1;
	}
	options->replay_speed = strtod(text, &end);
	if (text[0] < '0' || text[0] > '9' || *end || !(options->replay_speed >= 1e-6) ||
	    options->replay_speed > 1e6)
		return usage_error(
			command, "--speed: '%s' is neither 'max' nor a number: 2 is twice as fast",
			text);
	return -1;
}

static int check_usage(struct wire *wire, const struct texts *texts,
		       const struct tool_command *command, const struct arguments *arguments,
		       struct user **user)
{
	int status;

	if (arguments->command)
		return usage_error(command, "nothing follows '--' here");
	if (arguments->operands.count != 2)
		return usage_error(command, "which two ports? 'vnic wire tun:a tun:b', say");
	status = parse_impairments(command, texts, wire->wire_options.impairments);
	if (status < 0)
		status = offloads_parse(command, texts->offload, &wire->port_options.offloads);
	wire->port_options.no_offloads = wire->port_options.offloads == 0;
	if (status < 0)
		status = parse_speed(command, texts->speed, &wire->port_options);
	if (status < 0)
		status = user_find(texts->user, command, user);
	wire->port_options.queues = texts->queues;
	wire->port_options.mtu_bytes = texts->mtu;
	wire->wire_options.pin = texts->pin;
	return status;
}

/* Setting up. As above. */

/* The parts of KIND:NAME[@NETNS][,...] of an interface. */
struct interface_parts {
	char name[64];
	char netns[4096]; /* empty: none */
};

static bool find_parts(const char *specification, struct interface_parts *parts)
{
	const char *name, *netns;

	if (strncmp(specification, "tun:", 4) != 0 && strncmp(specification, "tap:", 4) != 0)
		return false;
	name = specification + 4;
	netns = name + strcspn(name, "@,");
	snprintf(parts->name, sizeof(parts->name), "%.*s", (int)(netns - name), name);
	parts->netns[0] = 0;
	if (*netns == '@')
		snprintf(parts->netns, sizeof(parts->netns), "%.*s", (int)strcspn(netns + 1, ","),
			 netns + 1);
	return true;
}

static int open_port(struct wire *wire, unsigned number, const char *specification)
{
	struct vnic_port_options options = wire->port_options;
	struct interface_parts parts = {.name = ""};
	struct vnic_error error;

	options.event = wire_report_event;
	options.user = wire;
	options.record = number == 1; /* pcap: the first is the source, the second the sink */
	if (find_parts(specification, &parts)) {
		wire->context.name = parts.name[0] ? parts.name : NULL;
		wire->context.netns = parts.netns[0] ? parts.netns : NULL;
	}
	if (vnic_port_open(specification, &options, &wire->ports[number], &error) == 0) {
		/* Without a watch the wire still works; only the namespace's end goes unnoticed. */
		if (parts.netns[0])
			netns_watch_open(&run_state.watches[number], parts.netns);
		wire->context.name = NULL;
		wire->context.netns = NULL;
		return -1;
	}
	if (error.cause == VNIC_CAUSE_ARGUMENT)
		return usage_error(wire->context.command, "%s", error.text);
	return error_report(&error, &wire->context);
}

/* Two interfaces whose MTUs differ lose what is too long for the smaller one. */
static void compare_mtus(struct wire *wire)
{
	struct vnic_device *devices[2] = {vnic_port_device(wire->ports[0]),
					  vnic_port_device(wire->ports[1])};
	struct vnic_link_info infos[2];

	for (unsigned i = 0; i < 2; i++) {
		if (!devices[i] || vnic_device_query(devices[i], &infos[i], NULL) < 0)
			return;
		wire->before[i] = infos[i].statistics;
	}
	if (infos[0].mtu_bytes != infos[1].mtu_bytes)
		warning_say(
			"'%s' has an MTU of %u bytes and '%s' of %u: longer packets are dropped",
			infos[0].name, infos[0].mtu_bytes, infos[1].name, infos[1].mtu_bytes);
}

static int set_up(struct wire *wire, char **specifications, const struct user *user)
{
	struct vnic_error error;

	for (unsigned i = 0; i < 2; i++) {
		int status = open_port(wire, i, specifications[i]);

		if (status >= 0)
			return status;
	}
	if (vnic_wire_new(wire->ports[0], wire->ports[1], &wire->wire_options, &wire->wire,
			  &error) < 0)
		return error.cause == VNIC_CAUSE_ARGUMENT
			       ? usage_error(wire->context.command, "%s", error.text)
			       : error_report(&error, &wire->context);
	compare_mtus(wire);
	return privilege_drop(user, &wire->context);
}

static int serve(struct wire *wire)
{
	struct wire_clock clock;
	struct vnic_error error;
	int code;

	wire->start_ns = wire_now_ns();
	run_state.wire = wire->wire;
	if (run_state.stopped && run_state.stopped != SIGIO) /* before it began */
		return STATUS_DONE;
	wire->is_running = true;
	wire_report_ready(wire);
	code = wire_clock_start(&clock, wire);
	if (code < 0)
		return error_say(&wire->context, "cannot start a thread: %s", strerror(-code));
	run_state.clock = &clock;
	code = vnic_wire_run(wire->wire, &error);
	run_state.clock = NULL;
	wire_clock_stop(&clock); /* and with it ends a signal handler that its thread is in */
	wire->is_running = false;
	run_state.wire = NULL;
	if (code < 0)
		error_report(&error, &wire->context);
	for (unsigned i = 0; i < 2; i++)
		if (run_state.is_removed[i])
			code = -error_say(&wire->context,
					  "the network namespace of '%s' was removed",
					  vnic_port_name(wire->ports[i]));
	wire_report_summary(wire);
	return code < 0 ? STATUS_FAILED : STATUS_DONE;
}

static int run(const struct tool_command *command, int argc, char **argv)
{
	struct wire wire = {.out = stdout, .context.command = command};
	struct texts texts = {0};
	const struct option options[] = {
		{"queues", OPTION_NUMBER, &texts.queues, 1, VNIC_QUEUES},
		{"mtu", OPTION_NUMBER, &texts.mtu, 68, 65535},
		{"offload", OPTION_TEXT, &texts.offload, 0, 0},
		{"impair", OPTION_TEXT, &texts.both, 0, 0},
		{"impair-forward", OPTION_TEXT, &texts.forward, 0, 0},
		{"impair-backward", OPTION_TEXT, &texts.backward, 0, 0},
		{"pin", OPTION_FLAG, &texts.pin, 0, 0},
		{"speed", OPTION_TEXT, &texts.speed, 0, 0},
		{"restart", OPTION_FLAG, &wire.port_options.restart, 0, 0},
		{"for", OPTION_DURATION, &wire.for_ns, 0, 0},
		{"json", OPTION_FLAG, &wire.json, 0, 0},
		{"user", OPTION_TEXT, &texts.user, 0, 0},
		{0},
	};
	struct arguments arguments;
	struct user *user = NULL;
	int status = options_parse(command, options, argc, argv, &arguments);

	if (status >= 0)
		return status;
	wire.context.json = wire.json;
	status = check_usage(&wire, &texts, command, &arguments, &user);
	if (status < 0) {
		catch_signals();
		/* A capture that goes to the standard output shall be nothing but a capture. */
		for (unsigned i = 0; i < 2; i++)
			if (strcmp(arguments.operands.items[i], "pcap:-") == 0)
				wire.out = stderr;
		status = set_up(&wire, arguments.operands.items, user);
	}
	if (status < 0)
		status = serve(&wire);
	vnic_wire_free(wire.wire);
	vnic_port_close(wire.ports[0]);
	vnic_port_close(wire.ports[1]);
	netns_watch_close(&run_state.watches[0]);
	netns_watch_close(&run_state.watches[1]);
	user_free(user);
	options_free(options, &arguments);
	return status;
}

const struct tool_command wire_command = {
	.name = "wire",
	.summary = "join two interfaces, sockets, programs or captures",
	.help = "Join two ports: what comes in at one goes out at the other, at full speed.\n"
		"\n"
		"usage: vnic wire PORT PORT [OPTIONS]\n"
		"\n"
		"A PORT is one of\n"
		"  tun:NAME[@NETNS][,ADDR/LEN...]  an interface for IP packets, made where there "
		"is "
		"none;\n"
		"                                  in a network namespace; with addresses\n"
		"  tap:NAME[@NETNS][,ADDR/LEN...]  the same for Ethernet frames\n"
		"  udp:LOCAL[:PORT]-REMOTE:PORT    each packet in a datagram; [IPv6] in brackets\n"
		"  tcp:HOST:PORT                   each packet behind its length (16 bits, "
		"big-endian)\n"
		"  tcp-listen:ADDR:PORT            the same, waiting for one peer\n"
		"  exec:COMMAND                    each packet a message of COMMAND's descriptor "
		"3, a\n"
		"                                  SOCK_SEQPACKET socket\n"
		"  unix:PATH, unix-listen:PATH     the same over a socket in the file system\n"
		"  pcap:FILE                       first: the capture is replayed; second: it is "
		"written\n"
		"  discard:                        takes everything, sends nothing\n"
		"\n"
		"  --queues N             serve two interfaces by N threads, each with a queue of "
		"both\n"
		"  --mtu BYTES            the largest IP packet on the interfaces (default: what "
		"fits "
		"the\n"
		"                         other end, or 1500)\n"
		"  --offload on|off|LIST  what the kernel leaves to us: all it can (default), "
		"nothing, "
		"or\n"
		"                         some of "
		"csum,tso4,tso6,ecn,uso,udp-tunnel,udp-tunnel-csum\n"
		"  --impair SPEC          be as bad as a real wire, in both directions: a list of\n"
		"                         "
		"loss=1%,delay=20ms,jitter=5ms,reorder=1%,duplicate=0.1%,\n"
		"                         corrupt=0.01%,rate=100mbit,queue=50ms,seed=7; the same "
		"seed\n"
		"                         gives the same fate\n"
		"  --impair-forward SPEC  ... from the first port to the second\n"
		"  --impair-backward SPEC ... from the second to the first\n"
		"  --pin                  let each thread stay on one processor\n"
		"  --speed N|max          replay a capture N times as fast, or as fast as it is "
		"taken\n"
		"  --restart              start COMMAND again when it ended\n"
		"  --for DURATION         end after 500ms, 10s, 2m or 1h\n"
		"  --json                 print objects, one a line: ready, port, counters, "
		"summary, "
		"error\n"
		"  --user USER            become USER when it is set up (root only)\n"
		"\n"
		"On a terminal it shows its rates. Ctrl-C ends it with a summary: what came in "
		"went out\n"
		"or was dropped, by reason; SIGUSR1 shows the same meanwhile. It is no VPN: "
		"nothing is encrypted or authenticated.\n"
		"Exit status: 0 done, 1 failed (also where an interface is deleted), 2 wrong "
		"usage.\n"
		"\n"
		"  vnic wire tun:a@red,10.0.0.1/24 tun:b@blue,10.0.0.2/24\n"
		"  vnic wire tap:a@red tap:b@blue --impair loss=1%,delay=20ms,seed=7\n"
		"  vnic wire tun:vpn0,10.0.0.1/24 udp:192.0.2.1:4000-192.0.2.2:4000\n"
		"  vnic wire pcap:trace.pcap tun:play0 --speed 10\n",
	.run = run,
};
