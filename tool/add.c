/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. Persistent interfaces: `add` makes one and `delete` removes it.
 *
 * Adding is undone for free. The interface is opened, configured, and becomes persistent only as the
 * very last step; until then the kernel removes it when its descriptor is closed, whether a step
 * failed or we were killed.
 *
 * To the kernel an interface with neither owner nor group is everybody's. That is no default for
 * something that carries traffic, so here it becomes the caller's.
 *
 * Deleting is done in the same way backwards: attach to the interface and take its persistence away.
 * So the kernel makes sure that it is a TUN or a TAP, that nobody uses it, and that we may; its owner
 * needs no privilege. Only --force, which takes the interface from the program behind it, deletes by
 * name.
 */
#include "nic.h"

#include <ctype.h>
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct add {
	struct nic nic; /* what was asked for: it is not opened by nic_open() */
	const char *owner_text, *group_text;
	bool up, json;
	bool has_owner, has_group;
	uid_t owner;
	gid_t group;
};

/* Digits are a number, as in chown(1). (uid_t)-1 means "nobody" to the kernel, so it is none. */
static int parse_number(const char *text, unsigned *number)
{
	unsigned long long value;
	char *end;

	if (!isdigit((unsigned char)text[0]))
		return -EINVAL;
	errno = 0;
	value = strtoull(text, &end, 10);
	if (errno || *end || value >= UINT32_MAX)
		return -EINVAL;
	*number = (unsigned)value;
	return 0;
}

static int find_owner(struct add *add)
{
	struct passwd *user = getpwnam(add->owner_text);
	unsigned number = 0;

	if (!user && parse_number(add->owner_text, &number) < 0)
		return usage_error(add->nic.context.command, "--owner: there is no user '%s'",
				   add->owner_text);
	add->owner = user ? user->pw_uid : number;
	add->has_owner = true;
	return -1;
}

static int find_group(struct add *add)
{
	struct group *group = getgrnam(add->group_text);
	unsigned number = 0;

	if (!group && parse_number(add->group_text, &number) < 0)
		return usage_error(add->nic.context.command, "--group: there is no group '%s'",
				   add->group_text);
	add->group = group ? group->gr_gid : number;
	add->has_group = true;
	return -1;
}

/* Everything that can be found wrong before anything is touched. Returns -1: go on. */
static int check(struct add *add, const struct tool_command *command,
		 const struct arguments *arguments)
{
	const struct text_list *operands = &arguments->operands;
	struct text_list prefixes;
	int status;

	if (arguments->command)
		return usage_error(command, "add runs no COMMAND: 'vnic exec' does");
	if (operands->count == 0)
		return usage_error(command, "which NAME shall it have?");
	if (strchr(operands->items[0], '/'))
		return usage_error(command, "the NAME stands before the addresses: '%s' is none",
				   operands->items[0]);
	add->nic.options.name = operands->items[0];
	prefixes.items = operands->items + 1;
	prefixes.count = operands->count - 1;
	status = nic_parse(&add->nic, command, &prefixes);
	add->nic.context.json = add->json;
	if (status < 0 && add->owner_text)
		status = find_owner(add);
	if (status < 0 && add->group_text)
		status = find_group(add);
	if (!add->has_owner && !add->has_group) {
		add->owner = geteuid();
		add->has_owner = true;
	}
	return status;
}

static int configure(struct add *add, struct vnic_error *error)
{
	struct vnic_device *device = add->nic.device;
	const struct vnic_link_config config = {
		.addresses = add->nic.addresses,
		.address_count = add->nic.address_count,
		.mac = add->nic.options.mac_text ? add->nic.mac : NULL,
		.mtu_bytes = add->nic.options.mtu,
		.state = add->up || add->nic.address_count > 0 ? VNIC_LINK_UP : VNIC_LINK_KEEP,
	};
	int status = vnic_device_configure(device, &config, error);

	if (status == 0 && add->has_owner)
		status = vnic_device_set_owner(device, add->owner, error);
	if (status == 0 && add->has_group)
		status = vnic_device_set_group(device, add->group, error);
	if (status == 0)
		status = vnic_device_query(device, &add->nic.info, error);
	if (status == 0)
		status = vnic_device_set_persistent(device, true, error);
	return status;
}

static void tell_added(const struct add *add)
{
	const struct nic_options *options = &add->nic.options;
	const char *name = add->nic.info.name;
	const char *user = add->owner_text   ? add->owner_text
			   : add->group_text ? "a member of the group"
					     : "yourself";
	char text[VNIC_ADDRESS_TEXT_BYTES];
	cJSON *object;
	size_t i;

	if (add->json) {
		object = cJSON_CreateObject();
		cJSON_AddStringToObject(object, "event", "added");
		cJSON_AddStringToObject(object, "name", name);
		cJSON_AddStringToObject(object, "type", options->tap ? "tap" : "tun");
		json_print(stdout, object);
		return;
	}
	printf("added %s%s%s, a persistent %s", colour(stdout, COLOUR_BOLD), name,
	       colour(stdout, COLOUR_NONE), options->tap ? "TAP" : "TUN");
	for (i = 0; i < add->nic.address_count; i++)
		printf("%s%s", i ? ", " : " with ",
		       vnic_prefix_format(&add->nic.addresses[i].prefix, text));
	printf("%s\n", add->nic.info.up ? ", up" : "");
	if (add->nic.address_count > 0)
		printf("next, as %s: vnic host --name %s%s%s%s\n", user, name,
		       options->tap ? " --tap" : "", options->netns ? " --netns " : "",
		       options->netns ? options->netns : "");
}

static int add_device(struct add *add)
{
	const struct vnic_device_options options = {
		.type = add->nic.options.tap ? VNIC_TAP : VNIC_TUN,
		.name = add->nic.options.name,
		.netns = add->nic.options.netns,
		.mode = VNIC_OPEN_CREATE,
		.queues = add->nic.options.queues,
		.no_offloads = true, /* for whoever opens it next */
	};
	struct vnic_error error;

	if (vnic_device_open(&options, &add->nic.device, &error) < 0 || configure(add, &error) < 0)
		return error_report(&error, &add->nic.context);
	tell_added(add);
	return STATUS_DONE;
}

static int run_add(const struct tool_command *command, int argc, char **argv)
{
	struct add add = {0};
	struct nic_options *nic = &add.nic.options;
	const struct option options[] = {
		{"tap", OPTION_FLAG, &nic->tap, 0, 0},
		{"owner", OPTION_TEXT, &add.owner_text, 0, 0},
		{"group", OPTION_TEXT, &add.group_text, 0, 0},
		{"queues", OPTION_NUMBER, &nic->queues, 1, VNIC_QUEUES},
		{"mtu", OPTION_NUMBER, &nic->mtu, 68, 65535},
		{"mac", OPTION_TEXT, &nic->mac_text, 0, 0},
		{"up", OPTION_FLAG, &add.up, 0, 0},
		{"netns", OPTION_TEXT, &nic->netns, 0, 0},
		{"json", OPTION_FLAG, &add.json, 0, 0},
		{0},
	};
	struct arguments arguments;
	int status = options_parse(command, options, argc, argv, &arguments);

	if (status >= 0)
		return status;
	status = check(&add, command, &arguments);
	if (status < 0)
		status = add_device(&add);
	nic_free(&add.nic);
	options_free(options, &arguments);
	return status;
}

static int say_in_use(const struct hint_context *context)
{
	struct vnic_error error = {.code = -EBUSY, .cause = VNIC_CAUSE_NAME_TAKEN};
	struct vnic_link_holder *holders = NULL;
	size_t count = 0;
	char who[64] = "another program";
	size_t i;

	/* Who it is is good to know, and no reason to fail. */
	if (vnic_link_holders(context->netns, context->name, &holders, &count, NULL) == 0 &&
	    count > 0) {
		for (i = 0; holders[0].command[i]; i++)
			if (!isprint((unsigned char)holders[0].command[i]))
				holders[0].command[i] = '?';
		snprintf(who, sizeof(who), "%s (process %d)", holders[0].command,
			 (int)holders[0].process);
	}
	free(holders);
	snprintf(error.text, sizeof(error.text), "'%.15s' is in use by %s", context->name, who);
	return error_report(&error, context);
}

static int delete_unused(const struct hint_context *context, const struct vnic_link_info *info)
{
	const struct vnic_device_options options = {
		.type = info->type,
		.name = context->name,
		.netns = context->netns,
		.mode = VNIC_OPEN_ATTACH,
		.no_offloads = true,
	};
	struct vnic_device *device = NULL;
	struct vnic_error error;
	int status;

	/* Of a multi-queue interface we would simply get one more queue. */
	if (info->multi_queue && info->queues + info->queues_detached > 0)
		return say_in_use(context);
	status = vnic_device_open(&options, &device, &error);
	if (status == -EBUSY)
		return say_in_use(context);
	if (status == 0)
		status = vnic_device_set_persistent(device, false, &error);
	vnic_device_close(device);
	return status < 0 ? error_report(&error, context) : STATUS_DONE;
}

static int delete_link(const struct hint_context *context, bool force)
{
	struct vnic_link_info info;
	struct vnic_error error;
	cJSON *object;
	int status = STATUS_DONE;

	if (vnic_link_query(context->netns, context->name, &info, &error) < 0)
		return error_report(&error, context);
	if (!info.is_virtual_nic) {
		error.code = -EINVAL;
		error.cause = VNIC_CAUSE_KIND_MISMATCH;
		snprintf(error.text, sizeof(error.text),
			 "'%s' is neither a TUN nor a TAP%s%s%s, so it stays", info.name,
			 info.kind[0] ? " but of kind '" : "", info.kind, info.kind[0] ? "'" : "");
		return error_report(&error, context);
	}
	if (!force)
		status = delete_unused(context, &info);
	else if (vnic_link_delete(context->netns, context->name, &error) < 0)
		status = error_report(&error, context);
	if (status != STATUS_DONE)
		return status;
	if (context->json) {
		object = cJSON_CreateObject();
		cJSON_AddStringToObject(object, "event", "deleted");
		cJSON_AddStringToObject(object, "name", context->name);
		json_print(stdout, object);
	} else
		printf("deleted %s\n", context->name);
	return STATUS_DONE;
}

static int run_delete(const struct tool_command *command, int argc, char **argv)
{
	struct hint_context context = {.command = command};
	bool force = false;
	const struct option options[] = {
		{"netns", OPTION_TEXT, &context.netns, 0, 0},
		{"force", OPTION_FLAG, &force, 0, 0},
		{"json", OPTION_FLAG, &context.json, 0, 0},
		{0},
	};
	struct arguments arguments;
	int status = options_parse(command, options, argc, argv, &arguments);

	if (status >= 0)
		return status;
	if (arguments.command)
		status = usage_error(command, "delete runs no COMMAND");
	else if (arguments.operands.count == 0)
		status = usage_error(command, "the NAME of which interface?");
	else if (arguments.operands.count > 1)
		status = usage_error(command, "one NAME at a time: '%s' is too many",
				     arguments.operands.items[1]);
	else {
		context.name = arguments.operands.items[0];
		status = delete_link(&context, force);
	}
	options_free(options, &arguments);
	return status;
}

#define NETNS_HELP                                                                               \
	"  --netns NAME|PATH  in that network namespace (a name of 'ip netns', a path, or the\n" \
	"                     number of a process)\n"

const struct tool_command add_command = {
	.name = "add",
	.summary = "make a persistent interface, which an ordinary user may then use",
	.help = "usage: vnic add NAME [ADDR/LEN...] [OPTIONS]\n"
		"\n"
		"Makes a TUN or TAP interface that stays when no program uses it. Its owner then "
		"runs\n"
		"'vnic host --name NAME', or any other program, on it without privileges. With\n"
		"addresses it is configured and set up. Where a step fails nothing is left "
		"behind.\n"
		"A NAME with %d in it gets a number.\n"
		"\n"
		"  --tap              a TAP (Ethernet frames) instead of a TUN (IP packets)\n"
		"  --owner USER       who may use it, a name or a number; without --owner and "
		"--group\n"
		"                     it is you. Root may in any case\n"
		"  --group GROUP      whose members may use it; with --owner only that one of "
		"them\n"
		"  --queues N         more than 1: several threads may hold a queue each\n"
		"  --mtu BYTES        its MTU\n"
		"  --mac MAC          its Ethernet address (with --tap)\n"
		"  --up               set it up, also without an address\n" NETNS_HELP
		"  --json             one object\n"
		"  --help             this text\n"
		"\n"
		"  vnic add tun0 10.0.0.1/24 fd00::1/64 --owner alice\n",
	.run = run_add,
};

const struct tool_command delete_command = {
	.name = "delete",
	.summary = "delete a persistent interface",
	.help = "usage: vnic delete NAME [OPTIONS]\n"
		"\n"
		"Deletes a TUN or TAP interface, and never one of another kind. An interface that "
		"a\n"
		"program uses is left alone. The owner of an interface may delete it too.\n"
		"\n" NETNS_HELP "  --force            take it away from the program that uses it\n"
		"  --json             one object\n"
		"  --help             this text\n"
		"\n"
		"  vnic delete tun0\n",
	.run = run_delete,
};
