/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. What works here is found by trying it. The library asks the kernel for its
 * features; whether --private works is found by a child process that goes into new namespaces and
 * opens a device there, since a system that allows user namespaces may still take their privileges
 * away (AppArmor does), and none of its switches tells the whole story. They are only looked at to
 * say why it failed.
 */
#include "tool.h"

#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#define NODE "/dev/net/tun"

struct feature {
	const char *key;
	bool value, known;
	const char *name;
	const char *use; /* what it is good for */
};

struct findings {
	struct vnic_features features;
	bool asked;              /* features holds */
	struct vnic_error error; /* where it does not */
	struct stat node;
	bool node_exists, node_opens;
	int node_error;
	bool net_admin; /* CAP_NET_ADMIN in this namespace */
	bool private_works;
	struct vnic_error private_error;
};

/* The child's part: in the namespaces that --private makes, open a device. */
static int try_private(struct vnic_error *error)
{
	struct vnic_device *device = NULL;
	int flags = geteuid() == 0 ? CLONE_NEWNET : CLONE_NEWUSER | CLONE_NEWNET;
	int status;

	if (unshare(flags) < 0) {
		error->code = -errno;
		error->cause = VNIC_CAUSE_SYSTEM;
		snprintf(error->text, sizeof(error->text), "cannot make a %s namespace: %s",
			 geteuid() == 0 ? "network" : "user", strerror(errno));
		return error->code;
	}
	status = vnic_device_open(NULL, &device, error);
	vnic_device_close(device);
	return status;
}

static void probe_private(struct findings *findings)
{
	struct vnic_error *error = &findings->private_error;
	int ends[2];
	pid_t child;

	error->code = -ENOSYS;
	error->cause = VNIC_CAUSE_SYSTEM;
	snprintf(error->text, sizeof(error->text), "it could not be tried");
	if (pipe2(ends, O_CLOEXEC) < 0)
		return;
	fflush(NULL); /* or the child would have it in its buffers too */
	child = fork();
	if (child == 0) {
		struct vnic_error found = {0};

		try_private(&found);
		_exit(write(ends[1], &found, sizeof(found)) != (ssize_t)sizeof(found));
	}
	close(ends[1]);
	if (child > 0) {
		struct vnic_error found;

		if (read(ends[0], &found, sizeof(found)) == (ssize_t)sizeof(found)) {
			findings->private_works = found.code == 0;
			*error = found;
		}
		waitpid(child, NULL, 0);
	}
	close(ends[0]);
}

/* A switch of the kernel's; -1: it has no such switch. */
static long read_number(const char *path)
{
	FILE *file = fopen(path, "re");
	char line[32] = "", *end;
	long number;

	if (!file)
		return -1;
	if (!fgets(line, sizeof(line), file))
		line[0] = 0;
	fclose(file);
	number = strtol(line, &end, 10);
	return end == line ? -1 : number;
}

/* Why the kernel lets us have no user namespace, as far as its switches tell; NULL: they do not. */
static const char *private_reason(const struct findings *findings)
{
	if (findings->private_error.cause == VNIC_CAUSE_NODE_PERMISSION)
		return "a user namespace does not help where " NODE
		       " is closed: root does, by chmod "
		       "0666 " NODE;
	if (geteuid() == 0)
		return findings->private_error.cause == VNIC_CAUSE_SYSTEM
			       ? "root lacks CAP_SYS_ADMIN here: a container needs --cap-add "
				 "SYS_ADMIN"
			       : NULL;
	if (read_number("/proc/sys/kernel/unprivileged_userns_clone") == 0)
		return "switched off: sysctl kernel.unprivileged_userns_clone=1";
	if (read_number("/proc/sys/user/max_user_namespaces") == 0)
		return "switched off: sysctl user.max_user_namespaces=10000";
	if (read_number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == 1)
		return "AppArmor takes their privileges away: sysctl "
		       "kernel.apparmor_restrict_unprivileged_userns=0";
	return NULL;
}

static void find(struct findings *findings)
{
	int descriptor;

	memset(findings, 0, sizeof(*findings));
	findings->node_exists = stat(NODE, &findings->node) == 0;
	descriptor = open(NODE, O_RDWR | O_CLOEXEC);
	findings->node_error = descriptor < 0 ? errno : 0;
	findings->node_opens = descriptor >= 0;
	if (descriptor >= 0)
		close(descriptor);
	findings->net_admin = capng_get_caps_process() == 0 &&
			      capng_have_capability(CAPNG_EFFECTIVE, CAP_NET_ADMIN);
	findings->asked = vnic_features_query(&findings->features, &findings->error) == 0;
	if (!findings->asked) {
		struct utsname names;

		memset(&findings->features, 0, sizeof(findings->features));
		if (uname(&names) == 0)
			snprintf(findings->features.kernel, sizeof(findings->features.kernel),
				 "%.64s", names.release);
		/* What needs no device can be said all the same. */
		findings->features.ipv6 = access("/proc/sys/net/ipv6", F_OK) == 0;
	}
	probe_private(findings);
}

#define FEATURES 13

static void list_features(const struct findings *findings, struct feature list[FEATURES])
{
	const struct vnic_features *f = &findings->features;
	const bool probed = f->offloads_known;
	const struct feature all[FEATURES] = {
		{"tun", f->tun, true, "TUN", "IP packets"},
		{"tap", f->tap, true, "TAP", "Ethernet frames: --tap"},
		{"multi_queue", f->multi_queue, true, "multi-queue",
		 "a thread for each queue: --queues"},
		{"vnet_header", f->vnet_header, true, "virtio-net header",
		 "offloads: packets of 64 KiB in one piece, the lever for speed"},
		{"packet_information", f->packet_information, true, "no packet information",
		 "bare packets, without 4 bytes before each"},
		{"exclusive", f->exclusive, true, "exclusive creation",
		 "'vnic add' cannot take over another's interface by accident"},
		{"no_carrier", f->no_carrier, true, "created without carrier",
		 "a cable that is plugged in later"},
		{"napi", f->napi, true, "NAPI", "the kernel merges what the program sends"},
		{"napi_fragments", f->napi_fragments, true, "NAPI fragments",
		 "the same for frames in pieces"},
		{"carrier", f->carrier, probed, "carrier control", "plug the cable in and out"},
		{"steering", f->steering, probed, "steering by eBPF",
		 "a program chooses the queue of each packet"},
		{"filter", f->filter, probed, "filtering by eBPF",
		 "a program drops packets before they are read"},
		{"netns", f->netns, probed, "namespace of a device",
		 "find an interface that was moved into another namespace"},
	};

	memcpy(list, all, sizeof(all));
}

static const char *offload_use(unsigned offload)
{
	switch (offload) {
	case VNIC_OFFLOAD_CSUM:
		return "checksums are left to the program";
	case VNIC_OFFLOAD_TSO4:
		return "TCP over IPv4 comes in packets of up to 64 KiB";
	case VNIC_OFFLOAD_TSO6:
		return "TCP over IPv6 comes in packets of up to 64 KiB";
	case VNIC_OFFLOAD_ECN:
		return "so does TCP with congestion notification";
	case VNIC_OFFLOAD_USO:
		return "so does UDP, QUIC for one (Linux 6.2)";
	case VNIC_OFFLOAD_UDP_TUNNEL:
		return "so do tunnels over UDP (Linux 6.17)";
	case VNIC_OFFLOAD_UDP_TUNNEL_CSUM:
		return "and their outer checksums are left to the program";
	default:
		return "";
	}
}

/* JSON */

static void json_node(cJSON *object, const struct findings *findings)
{
	cJSON *node = cJSON_AddObjectToObject(object, "node");
	char mode[8];

	cJSON_AddStringToObject(node, "path", NODE);
	cJSON_AddBoolToObject(node, "exists", findings->node_exists);
	snprintf(mode, sizeof(mode), "%04o", (unsigned)findings->node.st_mode & 07777);
	if (findings->node_exists)
		cJSON_AddStringToObject(node, "mode", mode);
	else
		cJSON_AddNullToObject(node, "mode");
	cJSON_AddBoolToObject(node, "opens", findings->node_opens);
}

static void json_features(cJSON *object, const struct findings *findings)
{
	cJSON *features = cJSON_AddObjectToObject(object, "features");
	cJSON *offloads = cJSON_AddObjectToObject(object, "offloads");
	struct feature list[FEATURES];
	unsigned bit;
	size_t i;

	list_features(findings, list);
	for (i = 0; i < FEATURES; i++)
		if (findings->asked && list[i].known)
			cJSON_AddBoolToObject(features, list[i].key, list[i].value);
		else
			cJSON_AddNullToObject(features, list[i].key);
	for (bit = 1; bit & VNIC_OFFLOAD_ALL; bit <<= 1)
		if (findings->asked && findings->features.offloads_known)
			cJSON_AddBoolToObject(offloads, vnic_offload_name(bit),
					      findings->features.offloads & bit);
		else
			cJSON_AddNullToObject(offloads, vnic_offload_name(bit));
}

static void print_json(const struct findings *findings)
{
	cJSON *object = cJSON_CreateObject();
	cJSON *private;
	const char *reason = private_reason(findings);

	cJSON_AddStringToObject(object, "version", vnic_version());
	cJSON_AddStringToObject(object, "kernel", findings->features.kernel);
	cJSON_AddNumberToObject(object, "uid", geteuid());
	json_node(object, findings);
	cJSON_AddBoolToObject(object, "net_admin", findings->net_admin);
	private = cJSON_AddObjectToObject(object, "private");
	cJSON_AddBoolToObject(private, "works", findings->private_works);
	if (findings->private_works) {
		cJSON_AddNullToObject(private, "message");
		cJSON_AddNullToObject(private, "hint");
	} else {
		cJSON_AddStringToObject(private, "message", findings->private_error.text);
		cJSON_AddItemToObject(private, "hint",
				      reason ? cJSON_CreateString(reason) : cJSON_CreateNull());
	}
	cJSON_AddBoolToObject(object, "ipv6", findings->features.ipv6);
	json_features(object, findings);
	if (findings->asked && findings->features.offloads_known)
		cJSON_AddNumberToObject(object, "vnet_header_most_bytes",
					findings->features.vnet_header_most_bytes);
	else
		cJSON_AddNullToObject(object, "vnet_header_most_bytes");
	cJSON_AddStringToObject(object, "checksum", vnic_checksum_implementation());
	json_print(stdout, object);
}

/* For people */

static void print_title(const char *title)
{
	printf("%s%s%s\n", colour(stdout, COLOUR_BOLD), title, colour(stdout, COLOUR_NONE));
}

static void print_line(const char *name, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
static void print_line(const char *name, const char *format, ...)
{
	va_list arguments;

	printf("  %-24s", name);
	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	putchar('\n');
}

static void print_answer(const char *name, bool known, bool value, const char *use)
{
	printf("  %-24s%s%-4s%s %s\n", name,
	       colour(stdout, !known  ? COLOUR_YELLOW
			      : value ? COLOUR_GREEN
				      : COLOUR_RED),
	       !known  ? "?"
	       : value ? "yes"
		       : "no",
	       colour(stdout, COLOUR_NONE), use);
}

static void print_node(const struct findings *findings)
{
	const unsigned mode = findings->node.st_mode & 07777;

	if (!findings->node_exists)
		print_line(NODE,
			   "is missing: no interface can be made. modprobe tun; in a container: "
			   "--device " NODE);
	else if (!findings->node_opens)
		print_line(NODE,
			   "%04o: you may not open it (%s), so nothing works until root does: "
			   "chmod 0666 " NODE,
			   mode, strerror(findings->node_error));
	else if ((mode & 0006) != 0006)
		print_line(NODE,
			   "%04o: you may open it; other users may not, so owners of "
			   "interfaces and --private need root to do: chmod 0666 " NODE,
			   mode);
	else
		print_line(NODE, "%04o: every user may open it, as it should be", mode);
}

static void print_rights(const struct findings *findings)
{
	const char *reason = private_reason(findings);

	print_node(findings);
	print_line(
		"CAP_NET_ADMIN", "%s",
		findings->net_admin
			? "yes: you may make and configure interfaces here"
			: "no: you may use interfaces that are yours ('vnic add NAME --owner USER' "
			  "by root), and make others with --private only");
	if (findings->private_works)
		print_line("--private",
			   "works: a network of your own, nothing on the machine changes");
	else
		print_line("--private", "does not work: %s%s%s%s", findings->private_error.text,
			   reason ? " (" : "", reason ? reason : "", reason ? ")" : "");
	print_line("IPv6", findings->features.ipv6
				   ? "yes"
				   : "disabled here: IPv6 addresses will be refused, IPv4 works");
}

static void print_text(const struct findings *findings)
{
	const struct vnic_features *f = &findings->features;
	struct feature list[FEATURES];
	unsigned bit;
	size_t i;

	print_title("this system");
	print_line("vnic", "%s, checksums by %s", vnic_version(), vnic_checksum_implementation());
	print_line("kernel", "%s", f->kernel);
	print_title("what you may do");
	print_rights(findings);
	if (!findings->asked)
		return;
	print_title("features of this kernel");
	list_features(findings, list);
	for (i = 0; i < FEATURES; i++)
		print_answer(list[i].name, list[i].known, list[i].value, list[i].use);
	print_title("offloads");
	for (bit = 1; bit & VNIC_OFFLOAD_ALL; bit <<= 1)
		print_answer(vnic_offload_name(bit), f->offloads_known, f->offloads & bit,
			     offload_use(bit));
	if (!f->offloads_known)
		printf("\n'?': it takes root to try that\n");
}

static int run(const struct tool_command *command, int argc, char **argv)
{
	struct hint_context context = {.command = command};
	const struct option options[] = {
		{"json", OPTION_FLAG, &context.json, 0, 0},
		{0},
	};
	struct arguments arguments;
	struct findings findings;
	int status = options_parse(command, options, argc, argv, &arguments);

	if (status >= 0)
		return status;
	if (arguments.command || arguments.operands.count > 0) {
		status = usage_error(command, "features takes options only");
		options_free(options, &arguments);
		return status;
	}
	options_free(options, &arguments);
	find(&findings);
	if (context.json)
		print_json(&findings);
	else
		print_text(&findings);
	/* Without the node nothing of this works, and scripts should see that. */
	return findings.asked ? STATUS_DONE : error_report(&findings.error, &context);
}

const struct tool_command features_command = {
	.name = "features",
	.summary = "say what this kernel and this user can do",
	.help = "usage: vnic features [--json]\n"
		"\n"
		"Tries out what this kernel offers and what you may do: the permissions of\n" NODE
		", CAP_NET_ADMIN, whether --private works, IPv6, and the features and\n"
		"offloads of TUN and TAP, with what each is good for. Status 0: interfaces can be\n"
		"opened here; 1: they cannot, and the message says why.\n"
		"\n"
		"  --json             one object\n"
		"  --help             this text\n",
	.run = run,
};
