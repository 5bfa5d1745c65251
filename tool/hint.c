/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. The library says what failed and gives a stable cause; what to type next is
 * found here, by the cause and by what can be seen of the machine at that moment (who runs us, how
 * /dev/net/tun is set up). Advice that does not fit is worse than none, so a cause without a sure
 * remedy has no hint.
 *
 * Every error of every command is printed here, in one form.
 */
#include "tool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool can_be_private(const struct hint_context *context)
{
	return context && !context->is_private && !context->netns &&
	       (context->command == &host_command || context->command == &exec_command);
}

static bool node_is_open_to_all(void)
{
	struct stat status;

	return stat("/dev/net/tun", &status) == 0 && (status.st_mode & 0006) == 0006;
}

/* Its owner may attach to a persistent interface, and no more: root has to configure it once. */
static const char *hint_configure(const struct hint_context *context, char *buffer, size_t size)
{
	char address[96] = "", mtu[16] = "";

	if (context->address)
		snprintf(address, sizeof(address), "ip address add %s dev %s; ", context->address,
			 context->name);
	if (context->mtu)
		snprintf(mtu, sizeof(mtu), " mtu %u", context->mtu);
	snprintf(buffer, size,
		 "its owner may use it as it is; root has to do this: %sip link set %s up%s",
		 address, context->name, mtu);
	return buffer;
}

static const char *hint_capability(const struct hint_context *context, char *buffer, size_t size)
{
	if (context && context->is_configuring && context->name)
		return hint_configure(context, buffer, size);
	if (geteuid() == 0 && !(context && context->is_private))
		return "root lacks CAP_NET_ADMIN here: a container needs --cap-add NET_ADMIN";
	if (!can_be_private(context))
		return "needs CAP_NET_ADMIN: run as root";
	if (!node_is_open_to_all())
		return "needs CAP_NET_ADMIN: run as root; --private will do too, once /dev/net/tun "
		       "is open to all: chmod 0666 /dev/net/tun";
	return "needs CAP_NET_ADMIN: run as root, or try --private";
}

static const char *hint_node(void)
{
	/*
	 * Devices behind it are made with CAP_NET_ADMIN still: opening the node gives nothing
	 * away.
	 */
	if (geteuid() == 0)
		return "the container or service manager must allow the device c 10:200";
	return "run as root; or let root do what udev does: chmod 0666 /dev/net/tun; a user "
	       "namespace alone does not help";
}

static const char *hint_name_taken(const struct vnic_error *error,
				   const struct hint_context *context, char *buffer, size_t size)
{
	if (error->code == -EEXIST && context && context->name) {
		snprintf(buffer, size, "delete it first: vnic delete %s", context->name);
		return buffer;
	}
	if (context && context->name) {
		snprintf(buffer, size, "'vnic show %s' tells who has it; or choose another --name",
			 context->name);
		return buffer;
	}
	return "choose another --name";
}

/* 'show' and 'delete' name what is there: another name is no advice. */
static bool is_about_existing(const struct hint_context *context)
{
	return context &&
	       (context->command == &show_command || context->command == &delete_command);
}

const char *hint_find(const struct vnic_error *error, const struct hint_context *context,
		      char *buffer, size_t size_bytes)
{
	if (is_about_existing(context) && error->cause == VNIC_CAUSE_KIND_MISMATCH)
		return "'vnic show' lists the TUN and TAP interfaces, 'ip link' all";
	if (is_about_existing(context) && error->cause == VNIC_CAUSE_NAME_TAKEN)
		return "end that first, or take it away with --force";
	switch (error->cause) {
	case VNIC_CAUSE_CAPABILITY:
		return hint_capability(context, buffer, size_bytes);
	case VNIC_CAUSE_NODE_PERMISSION:
		return hint_node();
	case VNIC_CAUSE_NODE_MISSING:
		return "load the driver as root: modprobe tun; in a container: --device "
		       "/dev/net/tun";
	case VNIC_CAUSE_NOT_OWNER:
		return "its owner is set by 'vnic add NAME --owner USER'; root may use it too";
	case VNIC_CAUSE_NAME_TAKEN:
		return hint_name_taken(error, context, buffer, size_bytes);
	case VNIC_CAUSE_NAME_TOO_LONG:
	case VNIC_CAUSE_NAME_INVALID:
		return "a name has 1 to 15 bytes, no space, '/' or ':', and at most one %d";
	case VNIC_CAUSE_KIND_MISMATCH:
		return "choose another --name: 'ip link' lists those that are taken";
	case VNIC_CAUSE_TYPE_MISMATCH:
		return "a TAP wants --tap, a TUN wants it left out";
	case VNIC_CAUSE_QUEUES_MISMATCH:
		return "leave out --queues, or make it anew with 'vnic add NAME --queues N'";
	case VNIC_CAUSE_INTERFACE_MISSING:
		return "'vnic show' lists what there is";
	case VNIC_CAUSE_ADDRESS_TAKEN:
		return can_be_private(context) ? "choose another network, or try --private"
					       : "choose another network";
	case VNIC_CAUSE_NETNS_MISSING:
		if (context && context->netns &&
		    (strchr(context->netns, '/') ||
		     strspn(context->netns, "0123456789") == strlen(context->netns)))
			return NULL; /* a path or a process: that is said already */
		return "'ip netns' lists the named ones; 'ip netns add NAME' makes one";
	case VNIC_CAUSE_LIMIT:
		return "'ulimit -n' shows the limit of open files, 'ulimit -u' that of threads";
	case VNIC_CAUSE_FILTER_INVALID:
		return "the language is that of tcpdump: man pcap-filter";
	default:
		return NULL;
	}
}

static bool is_bad_input(enum vnic_cause cause)
{
	return cause == VNIC_CAUSE_NAME_INVALID || cause == VNIC_CAUSE_NAME_TOO_LONG ||
	       cause == VNIC_CAUSE_ADDRESS_INVALID || cause == VNIC_CAUSE_MAC_INVALID ||
	       cause == VNIC_CAUSE_FILTER_INVALID;
}

/* One write, so that the line is not torn by what a COMMAND writes at the same time. */
static void print_line(const char *text, const char *hint)
{
	char line[1024];

	snprintf(line, sizeof(line), "%svnic:%s %s%s%s%s\n", colour(stderr, COLOUR_RED),
		 colour(stderr, COLOUR_NONE), text, hint ? " (" : "", hint ? hint : "",
		 hint ? ")" : "");
	fflush(stdout);
	fputs(line, stderr);
}

static void print_json(const struct hint_context *context, const char *text, const char *cause,
		       const char *hint)
{
	cJSON *object = cJSON_CreateObject();

	cJSON_AddStringToObject(object, "event", "error");
	cJSON_AddStringToObject(object, "cause", cause);
	cJSON_AddStringToObject(object, "message", text);
	if (hint)
		cJSON_AddStringToObject(object, "hint", hint);
	json_print(context->output ? context->output : stdout, object);
}

int error_report(const struct vnic_error *error, const struct hint_context *context)
{
	char buffer[256];
	const char *hint = hint_find(error, context, buffer, sizeof(buffer));

	print_line(error->text, hint);
	if (context && context->json)
		print_json(context, error->text, vnic_cause_name(error->cause), hint);
	return is_bad_input(error->cause) ? STATUS_USAGE : STATUS_FAILED;
}

int error_say(const struct hint_context *context, const char *format, ...)
{
	char text[512];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	print_line(text, NULL);
	if (context && context->json)
		print_json(context, text, "none", NULL);
	return STATUS_FAILED;
}

int usage_error(const struct tool_command *command, const char *format, ...)
{
	char text[512], hint[64];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	snprintf(hint, sizeof(hint), "try 'vnic %s%s--help'", command ? command->name : "",
		 command ? " " : "");
	print_line(text, hint);
	return STATUS_USAGE;
}

void warning_say(const char *format, ...)
{
	char text[512];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	print_line(text, NULL);
}
