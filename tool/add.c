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
#include "tool.h"

#include <ctype.h>
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct add {
	const struct tool_command *command;
	struct hint_context context;
	struct vnic_device_options device;
	struct vnic_link_config link;
	struct vnic_link_address *addresses;
	uint8_t mac[VNIC_MAC_BYTES];
	const char *owner_text, *group_text, *mac_text;
	bool tap, up;
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
		return usage_error(add->command, "--owner: there is no user '%s'", add->owner_text);
	add->owner = user ? user->pw_uid : number;
	add->has_owner = true;
	return -1;
}

static int find_group(struct add *add)
{
	struct group *group = getgrnam(add->group_text);
	unsigned number = 0;

	if (!group && parse_number(add->group_text, &number) < 0)
		return usage_error(add->command, "--group: there is no group '%s'", add->group_text);
	add->group = group ? group->gr_gid : number;
	add->has_group = true;
	return -1;
}

static int parse_addresses(struct add *add, char **texts, unsigned count)
{
	struct vnic_error error;
	unsigned i;

	add->addresses = calloc(count ? count : 1, sizeof(*add->addresses));
	if (!add->addresses)
		return error_say(&add->context, "out of memory");
	for (i = 0; i < count; i++) {
		if (vnic_prefix_parse(texts[i], &add->addresses[i].prefix, &error) < 0)
			return error_report(&error, &add->context);
		if (!strchr(texts[i], '/'))
			return usage_error(add->command,
					   "'%s' has no length: how wide is its network? (%s/%d)",
					   texts[i], texts[i],
					   add->addresses[i].prefix.address.family == VNIC_IPV4 ? 24
											     : 64);
	}
	add->link.addresses = add->addresses;
	add->link.address_count = count;
	return -1;
}

/* Everything that can be found wrong before anything is touched. Returns -1: go on. */
static int check(struct add *add, const struct arguments *arguments)
{
	struct vnic_error error;
	int status;

	if (arguments->command)
		return usage_error(add->command, "add runs no COMMAND: 'vnic exec' does");
	if (arguments->operands.count == 0)
		return usage_error(add->command, "what is its NAME to be?");
	add->context.name = arguments->operands.items[0];
	if (strchr(add->context.name, '/'))
		return usage_error(add->command, "the NAME stands before the addresses: '%s' is none",
				   add->context.name);
	status = parse_addresses(add, arguments->operands.items + 1, arguments->operands.count - 1);
	if (status < 0 && add->owner_text)
		status = find_owner(add);
	if (status < 0 && add->group_text)
		status = find_group(add);
	if (status >= 0)
		return status;
	if (!add->has_owner && !add->has_group) {
		add->owner = geteuid();
		add->has_owner = true;
	}
	if (add->mac_text) {
		if (!add->tap)
			return usage_error(add->command, "a TUN has no MAC: --mac wants --tap");
		if (vnic_mac_parse(add->mac_text, add->mac, &error) < 0)
			return error_report(&error, &add->context);
		add->link.mac = add->mac;
	}
	if (add->up || add->link.address_count > 0)
		add->link.state = VNIC_LINK_UP;
	add->device.type = add->tap ? VNIC_TAP : VNIC_TUN;
	add->device.name = add->context.name;
	add->device.netns = add->context.netns;
	add->device.mode = VNIC_OPEN_CREATE;
	return -1;
}

static int configure(struct add *add, struct vnic_device *device, struct vnic_error *error)
{
	int status = vnic_device_configure(device, &add->link, error);

	if (status == 0 && add->has_owner)
		status = vnic_device_set_owner(device, add->owner, error);
	if (status == 0 && add->has_group)
		status = vnic_device_set_group(device, add->group, error);
	if (status == 0)
		status = vnic_device_set_persistent(device, true, error);
	return status;
}

static void tell_added(const struct add *add, const char *name)
{
	const char *type = add->tap ? "TAP" : "TUN";
	const char *user = add->owner_text   ? add->owner_text
			   : add->group_text ? "a member of the group"
					     : "yourself";
	char text[VNIC_ADDRESS_TEXT_BYTES];
	cJSON *object;
	size_t i;

	if (add->context.json) {
		object = cJSON_CreateObject();
		cJSON_AddStringToObject(object, "event", "added");
		cJSON_AddStringToObject(object, "name", name);
		cJSON_AddStringToObject(object, "type", add->tap ? "tap" : "tun");
		json_print(stdout, object);
		return;
	}
	printf("added %s%s%s, a persistent %s", colour(stdout, COLOUR_BOLD), name,
	       colour(stdout, COLOUR_NONE), type);
	for (i = 0; i < add->link.address_count; i++)
		printf("%s%s", i ? ", " : " with ",
		       vnic_prefix_format(&add->addresses[i].prefix, text));
	printf(add->link.state == VNIC_LINK_UP ? ", up\n" : "\n");
	if (add->link.address_count > 0)
		printf("next, as %s: vnic host --name %s%s%s%s\n", user, name,
		       add->tap ? " --tap" : "", add->context.netns ? " --netns " : "",
		       add->context.netns ? add->context.netns : "");
}

static int add_device(struct add *add)
{
	struct vnic_device *device = NULL;
	struct vnic_error error;
	char name[VNIC_NAME_BYTES];
	int status;

	if (vnic_device_open(&add->device, &device, &error) < 0)
		return error_report(&error, &add->context);
	status = vnic_device_name(device, name, &error);
	if (status == 0)
		status = configure(add, device, &error);
	vnic_device_close(device);
	if (status < 0)
		return error_report(&error, &add->context);
	tell_added(add, name);
	return STATUS_DONE;
}

static int run_add(const struct tool_command *command, int argc, char **argv)
{
	struct add add = {.command = command, .context.command = command};
	const struct option options[] = {
		{"tap", OPTION_FLAG, &add.tap, 0, 0},
		{"owner", OPTION_TEXT, &add.owner_text, 0, 0},
		{"group", OPTION_TEXT, &add.group_text, 0, 0},
		{"queues", OPTION_NUMBER, &add.device.queues, 1, VNIC_QUEUES},
		{"mtu", OPTION_NUMBER, &add.link.mtu_bytes, 1, UINT32_MAX},
		{"mac", OPTION_TEXT, &add.mac_text, 0, 0},
		{"up", OPTION_FLAG, &add.up, 0, 0},
		{"netns", OPTION_TEXT, &add.context.netns, 0, 0},
		{"json", OPTION_FLAG, &add.context.json, 0, 0},
		{0},
	};
	struct arguments arguments;
	int status = options_parse(command, options, argc, argv, &arguments);

	if (status >= 0)
		return status;
	status = check(&add, &arguments);
	if (status < 0)
		status = add_device(&add);
	free(add.addresses);
	options_free(options, &arguments);
	return status;
}

static int say_in_use(const struct hint_context *context)
{
	struct vnic_link_holder *holders = NULL;
	size_t count = 0;
	char who[64] = "another program";
	size_t i;

	/* Who it is is good to know, and no reason to fail. */
	if (vnic_link_holders(context->netns, context->name, &holders, &count, NULL) == 0 && count > 0) {
		for (i = 0; holders[0].command[i]; i++)
			if (!isprint((unsigned char)holders[0].command[i]))
				holders[0].command[i] = '?';
		snprintf(who, sizeof(who), "%s (process %d)", holders[0].command,
			 (int)holders[0].process);
	}
	free(holders);
	return error_say(context, "'%s' is in use by %s: end that first, or give --force", context->name,
			 who);
}

static int delete_unused(const struct hint_context *context, const struct vnic_link_info *info)
{
	const struct vnic_device_options options = {
		.type = info->type,
		.name = context->name,
		.netns = context->netns,
		.mode = VNIC_OPEN_ATTACH,
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
	if (!info.is_virtual_nic)
		return error_say(context, "'%s' is neither a TUN nor a TAP%s%s%s, so it stays",
				 context->name, info.kind[0] ? " but of kind '" : "", info.kind,
				 info.kind[0] ? "'" : "");
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

#define NETNS_HELP                                                                                 \
	"  --netns NAME|PATH  in that network namespace (a name of 'ip netns', a path, or the\n"   \
	"                     number of a process)\n"

const struct tool_command add_command = {
	.name = "add",
	.summary = "make a persistent interface, which an ordinary user may then use",
	.help = "usage: vnic add NAME [ADDR/LEN...] [OPTIONS]\n"
		"\n"
		"Makes a TUN or TAP interface that stays when no program uses it. Its owner then runs\n"
		"'vnic host --name NAME', or any other program, on it without privileges. With\n"
		"addresses it is configured and set up. Where a step fails nothing is left behind.\n"
		"A NAME with %d in it gets a number.\n"
		"\n"
		"  --tap              a TAP (Ethernet frames) instead of a TUN (IP packets)\n"
		"  --owner USER       who may use it, a name or a number; without --owner and --group\n"
		"                     it is you. Root may in any case\n"
		"  --group GROUP      whose members may use it; with --owner only that one of them\n"
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
		"Deletes a TUN or TAP interface, and never one of another kind. An interface that a\n"
		"program uses is left alone. The owner of an interface may delete it too.\n"
		"\n" NETNS_HELP
		"  --force            take it away from the program that uses it\n"
		"  --json             one object\n"
		"  --help             this text\n"
		"\n"
		"  vnic delete tun0\n",
	.run = run_delete,
};
