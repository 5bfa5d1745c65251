/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. Everything is read first, into one struct entry for each interface, and then
 * printed in one of three forms: a table of all, all about one, or JSON. Interfaces come and go
 * meanwhile, so one that has gone between the list and the question for its addresses is left out
 * of the table; only where it was asked for by name is that an error.
 *
 * Names of interfaces and of processes are chosen by strangers and may hold anything but a zero byte:
 * escape sequences for the terminal, or bytes that are no text. They are cleaned before they are
 * printed, in JSON as well, which must be UTF-8.
 */
#include "tool.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct entry {
	struct vnic_link_info info;
	struct vnic_link_address *addresses;
	size_t address_count;
	struct vnic_link_holder *holders;
	size_t holder_count;
};

enum column {
	COLUMN_NAME,
	COLUMN_TYPE,
	COLUMN_STATE,
	COLUMN_MTU,
	COLUMN_ADDRESSES,
	COLUMN_OWNER,
	COLUMN_QUEUES,
	COLUMN_PROCESS,
	COLUMNS
};

struct row {
	char *cells[COLUMNS];
};

/* How many bytes the character at text takes, or 0: it is not UTF-8, or not to be printed. */
static size_t character_bytes(const unsigned char *text)
{
	size_t length = text[0] < 0x80 ? 1 : text[0] < 0xe0 ? 2 : text[0] < 0xf0 ? 3 : 4;
	size_t i;

	if (length == 1)
		return text[0] >= 0x20 && text[0] != 0x7f;
	if (text[0] < 0xc2 || text[0] > 0xf4)
		return 0;
	for (i = 1; i < length; i++)
		if ((text[i] & 0xc0) != 0x80)
			return 0;
	if ((text[0] == 0xc2 && text[1] < 0xa0) || /* the control characters of ISO 8859 */
	    (text[0] == 0xe0 && text[1] < 0xa0) || (text[0] == 0xf0 && text[1] < 0x90) ||
	    (text[0] == 0xed && text[1] > 0x9f) || (text[0] == 0xf4 && text[1] > 0x8f))
		return 0;
	return length;
}

/* Replaces in place what cannot be printed. */
static char *clean(char *text)
{
	unsigned char *next = (unsigned char *)text;

	while (*next) {
		size_t length = character_bytes(next);

		if (length == 0)
			*next = '?';
		next += length ? length : 1;
	}
	return text;
}

static size_t width(const char *text)
{
	size_t count = 0;

	for (; *text; text++)
		count += (*text & 0xc0) != 0x80;
	return count;
}

static const char *user_name(uid_t uid)
{
	struct passwd *user = getpwuid(uid);

	return user ? user->pw_name : NULL;
}

static const char *group_name(gid_t gid)
{
	struct group *group = getgrgid(gid);

	return group ? group->gr_name : NULL;
}

/* The command line of a process in one line, or "" where it cannot be read. */
static void read_command_line(pid_t process, char *text, size_t size)
{
	char path[64];
	FILE *file;
	size_t length, i;

	text[0] = 0;
	snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)process);
	file = fopen(path, "re");
	if (!file)
		return;
	length = fread(text, 1, size - 1, file);
	fclose(file);
	while (length > 0 && text[length - 1] == 0)
		length--;
	for (i = 0; i < length; i++)
		if (text[i] == 0)
			text[i] = ' ';
	text[length] = 0;
	clean(text);
}

static void entry_done(struct entry *entry)
{
	free(entry->addresses);
	free(entry->holders);
}

/* entry->info is there already. */
static int entry_complete(const char *netns, struct entry *entry, struct vnic_error *error)
{
	size_t i;
	int status = vnic_link_addresses(netns, entry->info.name, &entry->addresses,
					 &entry->address_count, error);

	if (status < 0)
		return status;
	status = vnic_link_holders(netns, entry->info.name, &entry->holders, &entry->holder_count,
				   error);
	if (status < 0)
		return status;
	for (i = 0; i < entry->holder_count; i++)
		clean(entry->holders[i].command);
	clean(entry->info.name);
	return 0;
}

/* "up", "down", or "no carrier": up, but no program is at the other end. */
static const char *state_name(const struct vnic_link_info *info)
{
	return !info->up ? "down" : info->carrier ? "up" : "no carrier";
}

/*
 * To the kernel an interface with neither owner nor group is everybody's. That matters where there is
 * a queue to be had: what is not persistent and has one queue is in use always.
 */
static bool is_open_to_all(const struct vnic_link_info *info)
{
	return !info->has_owner && !info->has_group && (info->persistent || info->multi_queue);
}

static const char *type_name(const struct vnic_link_info *info)
{
	return info->type == VNIC_TAP ? "TAP" : "TUN";
}

/* JSON */

static cJSON *json_who(bool has, unsigned id, const char *name, const char *key)
{
	cJSON *object;

	if (!has)
		return cJSON_CreateNull();
	object = cJSON_CreateObject();
	cJSON_AddNumberToObject(object, key, id);
	if (name)
		cJSON_AddStringToObject(object, "name", name);
	else
		cJSON_AddNullToObject(object, "name");
	return object;
}

static void json_statistics(cJSON *object, const struct vnic_link_statistics *s)
{
	cJSON *sent = cJSON_AddObjectToObject(object, "program_sent");
	cJSON *received = cJSON_AddObjectToObject(object, "program_received");

	json_add_count(sent, "packets", s->rx_packets);
	json_add_count(sent, "bytes", s->rx_bytes);
	json_add_count(sent, "errors", s->rx_errors);
	json_add_count(sent, "dropped", s->rx_dropped);
	json_add_count(received, "packets", s->tx_packets);
	json_add_count(received, "bytes", s->tx_bytes);
	json_add_count(received, "errors", s->tx_errors);
	json_add_count(received, "dropped", s->tx_dropped);
}

static void json_addresses(cJSON *object, const struct entry *entry)
{
	cJSON *array = cJSON_AddArrayToObject(object, "addresses");
	char text[VNIC_ADDRESS_TEXT_BYTES];
	size_t i;

	for (i = 0; i < entry->address_count; i++) {
		const struct vnic_link_address *address = &entry->addresses[i];
		cJSON *item = cJSON_CreateObject();

		cJSON_AddStringToObject(item, "address",
					vnic_address_format(&address->prefix.address, text));
		cJSON_AddNumberToObject(item, "length_bits", address->prefix.length_bits);
		if (address->peer.family != VNIC_NO_FAMILY)
			cJSON_AddStringToObject(item, "peer",
						vnic_address_format(&address->peer, text));
		else
			cJSON_AddNullToObject(item, "peer");
		cJSON_AddItemToArray(array, item);
	}
}

static void json_processes(cJSON *object, const struct entry *entry)
{
	cJSON *array = cJSON_AddArrayToObject(object, "processes");
	char line[512];
	size_t i;

	for (i = 0; i < entry->holder_count; i++) {
		const struct vnic_link_holder *holder = &entry->holders[i];
		cJSON *item = cJSON_CreateObject();

		cJSON_AddNumberToObject(item, "process", holder->process);
		cJSON_AddNumberToObject(item, "descriptor", holder->descriptor);
		cJSON_AddStringToObject(item, "command", holder->command);
		read_command_line(holder->process, line, sizeof(line));
		cJSON_AddStringToObject(item, "command_line", line);
		cJSON_AddItemToArray(array, item);
	}
}

static cJSON *json_entry(const struct entry *entry)
{
	const struct vnic_link_info *info = &entry->info;
	cJSON *object = cJSON_CreateObject();
	char text[VNIC_ADDRESS_TEXT_BYTES];

	cJSON_AddStringToObject(object, "name", info->name);
	cJSON_AddNumberToObject(object, "index", info->index);
	cJSON_AddStringToObject(object, "type", info->type == VNIC_TAP ? "tap" : "tun");
	cJSON_AddBoolToObject(object, "up", info->up);
	cJSON_AddBoolToObject(object, "carrier", info->carrier);
	if (info->has_mac)
		cJSON_AddStringToObject(object, "mac", vnic_mac_format(info->mac, text));
	else
		cJSON_AddNullToObject(object, "mac");
	cJSON_AddNumberToObject(object, "mtu_bytes", info->mtu_bytes);
	cJSON_AddNumberToObject(object, "mtu_least_bytes", info->mtu_least_bytes);
	cJSON_AddNumberToObject(object, "mtu_most_bytes", info->mtu_most_bytes);
	cJSON_AddNumberToObject(object, "queue_packets", info->queue_packets);
	cJSON_AddBoolToObject(object, "ipv6_autoconfiguration", info->ipv6_autoconfiguration);
	cJSON_AddBoolToObject(object, "persistent", info->persistent);
	cJSON_AddItemToObject(
		object, "owner",
		json_who(info->has_owner, info->owner, user_name(info->owner), "uid"));
	cJSON_AddItemToObject(
		object, "group",
		json_who(info->has_group, info->group, group_name(info->group), "gid"));
	cJSON_AddBoolToObject(object, "packet_information", info->packet_information);
	cJSON_AddBoolToObject(object, "vnet_header", info->vnet_header);
	cJSON_AddBoolToObject(object, "multi_queue", info->multi_queue);
	cJSON_AddNumberToObject(object, "queues", info->queues);
	cJSON_AddNumberToObject(object, "queues_detached", info->queues_detached);
	json_addresses(object, entry);
	json_processes(object, entry);
	json_statistics(object, &info->statistics);
	return object;
}

/* The table */

/* Appends to a text that was allocated, or NULL at first. Out of memory: it stays as it was. */
__attribute__((format(printf, 2, 3))) static void append(char **text, const char *format, ...)
{
	char *added = NULL, *joined = NULL;
	va_list arguments;

	va_start(arguments, format);
	if (vasprintf(&added, format, arguments) < 0)
		added = NULL;
	va_end(arguments);
	if (!*text) {
		*text = added;
		return;
	}
	if (added && asprintf(&joined, "%s%s", *text, added) >= 0) {
		free(*text);
		*text = joined;
	}
	free(added);
}

static void append_who(char **text, const char *before, unsigned id, const char *name)
{
	if (name)
		append(text, "%s%s", before, name);
	else
		append(text, "%s%u", before, id);
}

static void row_fill(struct row *row, const struct entry *entry)
{
	const struct vnic_link_info *info = &entry->info;
	char **cells = row->cells;
	char text[VNIC_ADDRESS_TEXT_BYTES];
	size_t i;

	append(&cells[COLUMN_NAME], "%s", info->name);
	append(&cells[COLUMN_TYPE], "%s", type_name(info));
	append(&cells[COLUMN_STATE], "%s", state_name(info));
	append(&cells[COLUMN_MTU], "%u", info->mtu_bytes);
	for (i = 0; i < entry->address_count; i++)
		append(&cells[COLUMN_ADDRESSES], "%s%s", i ? "," : "",
		       vnic_prefix_format(&entry->addresses[i].prefix, text));
	if (info->has_owner)
		append_who(&cells[COLUMN_OWNER], "", info->owner, user_name(info->owner));
	if (info->has_group)
		append_who(&cells[COLUMN_OWNER], ":", info->group, group_name(info->group));
	if (is_open_to_all(info))
		append(&cells[COLUMN_OWNER], "(anyone)");
	append(&cells[COLUMN_QUEUES], "%u", info->queues);
	for (i = 0; i < entry->holder_count; i++)
		/* A process with a descriptor for each queue is still one process. */
		if (i == 0 || entry->holders[i].process != entry->holders[i - 1].process)
			append(&cells[COLUMN_PROCESS], "%s%s(%d)", i ? "," : "",
			       entry->holders[i].command, (int)entry->holders[i].process);
	for (i = 0; i < COLUMNS; i++)
		if (!cells[i])
			append(&cells[i], "-");
}

static void print_rows(const struct row *rows, size_t count)
{
	size_t widths[COLUMNS] = {0};
	size_t i, column;

	for (i = 0; i < count; i++)
		for (column = 0; column < COLUMNS; column++)
			if (rows[i].cells[column] && width(rows[i].cells[column]) > widths[column])
				widths[column] = width(rows[i].cells[column]);
	for (i = 0; i < count; i++) {
		if (i == 0)
			fputs(colour(stdout, COLOUR_BOLD), stdout);
		for (column = 0; column < COLUMNS; column++) {
			const char *cell = rows[i].cells[column] ? rows[i].cells[column] : "";
			size_t spaces = widths[column] - width(cell) + 2;

			printf("%s%*s", cell, column + 1 < COLUMNS ? (int)spaces : 0, "");
		}
		printf("%s\n", i == 0 ? colour(stdout, COLOUR_NONE) : "");
	}
}

static int print_table(const struct entry *entries, size_t count)
{
	static const char *const titles[COLUMNS] = {
		[COLUMN_NAME] = "NAME",           [COLUMN_TYPE] = "TYPE",
		[COLUMN_STATE] = "STATE",         [COLUMN_MTU] = "MTU",
		[COLUMN_ADDRESSES] = "ADDRESSES", [COLUMN_OWNER] = "OWNER",
		[COLUMN_QUEUES] = "QUEUES",       [COLUMN_PROCESS] = "PROCESS",
	};
	struct row *rows = calloc(count + 1, sizeof(*rows));
	size_t i, column;

	if (!rows)
		return error_say(NULL, "out of memory");
	for (column = 0; column < COLUMNS; column++)
		append(&rows[0].cells[column], "%s", titles[column]);
	for (i = 0; i < count; i++)
		row_fill(&rows[i + 1], &entries[i]);
	print_rows(rows, count + 1);
	for (i = 0; i <= count; i++)
		for (column = 0; column < COLUMNS; column++)
			free(rows[i].cells[column]);
	free(rows);
	return STATUS_DONE;
}

/* All about one */

__attribute__((format(printf, 2, 3))) static void print_field(const char *name, const char *format,
							      ...)
{
	va_list arguments;

	printf("  %s%-24s%s", colour(stdout, COLOUR_DIM), name, colour(stdout, COLOUR_NONE));
	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	putchar('\n');
}

static const char *yes_no(bool value)
{
	return value ? "yes" : "no";
}

static void print_who(const char *field, bool has, unsigned id, const char *name)
{
	if (!has)
		print_field(field, "none");
	else if (name)
		print_field(field, "%s (%u)", name, id);
	else
		print_field(field, "%u", id);
}

static void print_traffic(const char *field, uint64_t packets, uint64_t bytes, uint64_t errors,
			  uint64_t dropped)
{
	char text[TEXT_BYTES];

	print_field(field, "%llu packet%s, %s, %llu error%s, %llu dropped",
		    (unsigned long long)packets, packets == 1 ? "" : "s", bytes_format(bytes, text),
		    (unsigned long long)errors, errors == 1 ? "" : "s",
		    (unsigned long long)dropped);
}

static void print_addresses(const struct entry *entry)
{
	char text[VNIC_ADDRESS_TEXT_BYTES], peer[VNIC_ADDRESS_TEXT_BYTES];
	size_t i;

	for (i = 0; i < entry->address_count; i++) {
		const struct vnic_link_address *address = &entry->addresses[i];
		bool has_peer = address->peer.family != VNIC_NO_FAMILY;

		print_field("address", "%s%s%s", vnic_prefix_format(&address->prefix, text),
			    has_peer ? " peer " : "",
			    has_peer ? vnic_address_format(&address->peer, peer) : "");
	}
	if (entry->address_count == 0)
		print_field("address", "none");
}

static void print_processes(const struct entry *entry)
{
	char line[256];
	size_t i;

	for (i = 0; i < entry->holder_count; i++) {
		const struct vnic_link_holder *holder = &entry->holders[i];

		read_command_line(holder->process, line, sizeof(line));
		print_field("process", "%s (%d), descriptor %d%s%s", holder->command,
			    (int)holder->process, holder->descriptor, line[0] ? ": " : "", line);
	}
	if (entry->holder_count > 0)
		return;
	if (entry->info.carrier)
		print_field("process", "there is one, and it is %s",
			    geteuid() == 0 ? "out of sight (in another container?)"
					   : "another user's: root sees which");
	else
		print_field("process", geteuid() == 0 ? "none" : "none of yours");
}

static void print_queues(const struct vnic_link_info *info)
{
	if (info->multi_queue)
		print_field("queues", "%u (multi-queue, %u detached)", info->queues,
			    info->queues_detached);
	else
		print_field("queues", "%u (single-queue)", info->queues);
}

static void print_details(const struct entry *entry)
{
	const struct vnic_link_info *info = &entry->info;
	const struct vnic_link_statistics *s = &info->statistics;
	char text[VNIC_ADDRESS_TEXT_BYTES];
	const char *state = state_name(info);

	printf("%s%s%s\n", colour(stdout, COLOUR_BOLD), info->name, colour(stdout, COLOUR_NONE));
	print_field("type", "%s (%s)", type_name(info),
		    info->type == VNIC_TAP ? "Ethernet frames" : "IP packets");
	print_field("state", "%s%s%s",
		    info->up && info->carrier ? colour(stdout, COLOUR_GREEN) : "",
		    strcmp(state, "no carrier") == 0 ? "up, no carrier (no program is behind it)"
						     : state,
		    info->up && info->carrier ? colour(stdout, COLOUR_NONE) : "");
	print_field("index", "%d", info->index);
	if (info->has_mac)
		print_field("MAC", "%s", vnic_mac_format(info->mac, text));
	if (info->mtu_most_bytes)
		print_field("MTU", "%u bytes (%u to %u)", info->mtu_bytes, info->mtu_least_bytes,
			    info->mtu_most_bytes);
	else
		print_field("MTU", "%u bytes", info->mtu_bytes);
	print_field("transmit queue", "%u packets", info->queue_packets);
	print_addresses(entry);
	print_field("IPv6 configures itself", "%s", yes_no(info->ipv6_autoconfiguration));
	print_field("persistent", "%s", yes_no(info->persistent));
	if (is_open_to_all(info))
		print_field("owner", "none: every user may attach to it");
	else
		print_who("owner", info->has_owner, info->owner, user_name(info->owner));
	print_who("group", info->has_group, info->group, group_name(info->group));
	print_queues(info);
	print_field("packet information", "%s", yes_no(info->packet_information));
	print_field("virtio-net header", "%s", yes_no(info->vnet_header));
	print_processes(entry);
	print_traffic("the program sent", s->rx_packets, s->rx_bytes, s->rx_errors, s->rx_dropped);
	print_traffic("the program received", s->tx_packets, s->tx_bytes, s->tx_errors,
		      s->tx_dropped);
}

/* The command */

static int show_one(const struct hint_context *context)
{
	struct entry entry = {0};
	struct vnic_error error;
	int status = STATUS_DONE;

	if (vnic_link_query(context->netns, context->name, &entry.info, &error) < 0)
		return error_report(&error, context);
	if (!entry.info.is_virtual_nic) {
		const char *kind = entry.info.kind;

		error.code = -EINVAL;
		error.cause = VNIC_CAUSE_KIND_MISMATCH;
		snprintf(error.text, sizeof(error.text), "'%s' is neither a TUN nor a TAP%s%s%s",
			 clean(entry.info.name), kind[0] ? " but of kind '" : "", kind,
			 kind[0] ? "'" : "");
		return error_report(&error, context);
	}
	if (entry_complete(context->netns, &entry, &error) < 0)
		status = error_report(&error, context);
	else if (context->json)
		json_print(stdout, json_entry(&entry));
	else
		print_details(&entry);
	entry_done(&entry);
	return status;
}

static int print_all(const struct hint_context *context, const struct entry *entries, size_t count)
{
	cJSON *array;
	size_t i;

	if (!context->json && count > 0)
		return print_table(entries, count);
	if (!context->json) {
		printf("no TUN or TAP interface%s%s%s; 'vnic add NAME' or 'vnic host ADDR/LEN' "
		       "makes "
		       "one\n",
		       context->netns ? " in '" : "", context->netns ? context->netns : "",
		       context->netns ? "'" : "");
		return STATUS_DONE;
	}
	array = cJSON_CreateArray();
	for (i = 0; i < count; i++)
		cJSON_AddItemToArray(array, json_entry(&entries[i]));
	json_print(stdout, array);
	return STATUS_DONE;
}

static int show_all(const struct hint_context *context)
{
	struct vnic_link_info *links = NULL;
	struct vnic_error error;
	struct entry *entries;
	size_t count = 0, used = 0, i;
	int status = STATUS_DONE;

	if (vnic_link_list(context->netns, &links, &count, &error) < 0)
		return error_report(&error, context);
	entries = calloc(count ? count : 1, sizeof(*entries));
	if (!entries) {
		free(links);
		return error_say(context, "out of memory");
	}
	for (i = 0; i < count && status == STATUS_DONE; i++) {
		int result;

		entries[used].info = links[i];
		result = entry_complete(context->netns, &entries[used], &error);
		if (result == 0) {
			used++;
			continue;
		}
		entry_done(&entries[used]);
		memset(&entries[used], 0, sizeof(entries[used]));
		if (result != -ENODEV)
			status = error_report(&error, context);
	}
	free(links);
	if (status == STATUS_DONE)
		status = print_all(context, entries, used);
	for (i = 0; i < used; i++)
		entry_done(&entries[i]);
	free(entries);
	return status;
}

static int run(const struct tool_command *command, int argc, char **argv)
{
	struct hint_context context = {.command = command};
	const struct option options[] = {
		{"netns", OPTION_TEXT, &context.netns, 0, 0},
		{"json", OPTION_FLAG, &context.json, 0, 0},
		{0},
	};
	struct arguments arguments;
	int status = options_parse(command, options, argc, argv, &arguments);

	if (status >= 0)
		return status;
	if (arguments.command)
		status = usage_error(command, "show runs no COMMAND");
	else if (arguments.operands.count > 1)
		status = usage_error(command, "one NAME at a time: '%s' is too many",
				     arguments.operands.items[1]);
	else if (arguments.operands.count == 1) {
		context.name = arguments.operands.items[0];
		status = show_one(&context);
	} else
		status = show_all(&context);
	options_free(options, &arguments);
	return status;
}

const struct tool_command show_command = {
	.name = "show",
	.summary = "show the TUN and TAP interfaces, and the processes behind them",
	.help = "usage: vnic show [NAME] [--netns NAME|PATH] [--json]\n"
		"\n"
		"Without NAME: one line for each TUN and TAP interface. With NAME: all about that "
		"one,\n"
		"and which process holds it. \"The program\" is the one behind the interface: what "
		"it\n"
		"sent is what the kernel received. Processes of other users are visible to root "
		"only.\n"
		"\n"
		"  --netns NAME|PATH  look into that network namespace (a name of 'ip netns', a "
		"path,\n"
		"                     or the number of a process)\n"
		"  --json             an array of objects, or with NAME one object\n"
		"  --help             this text\n"
		"\n"
		"  vnic show\n"
		"  vnic show tun0 --json\n",
	.run = run,
};
