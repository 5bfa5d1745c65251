/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. --offload on|off|LIST, and offloads as an array of names: the same for every
 * command that has them. All of them want checksum offload, so a list need not name it.
 */
#include "tool.h"

#include <string.h>

static unsigned find_offload(const char *name, size_t length)
{
	for (unsigned bit = 1; bit & VNIC_OFFLOAD_ALL; bit <<= 1) {
		const char *known = vnic_offload_name((enum vnic_offload)bit);

		if (strlen(known) == length && memcmp(known, name, length) == 0)
			return bit;
	}
	return 0;
}

int offloads_parse(const struct tool_command *command, const char *text, unsigned *offloads)
{
	*offloads = VNIC_OFFLOAD_ALL;
	if (!text || strcmp(text, "on") == 0)
		return -1;
	*offloads = 0;
	if (strcmp(text, "off") == 0)
		return -1;
	for (;;) {
		size_t length = strcspn(text, ",");
		unsigned bit = find_offload(text, length);

		if (!bit)
			return usage_error(command,
					   "--offload: '%.*s' is not on, off, or a list of csum, "
					   "tso4, tso6, ecn, uso, udp-tunnel, udp-tunnel-csum",
					   (int)length, text);
		*offloads |= bit | VNIC_OFFLOAD_CSUM; /* without which there is none */
		if (!text[length])
			return -1;
		text += length + 1;
	}
}

void offloads_add(cJSON *object, unsigned offloads)
{
	cJSON *array = cJSON_AddArrayToObject(object, "offloads");

	for (unsigned bit = 1; bit & VNIC_OFFLOAD_ALL; bit <<= 1)
		if (offloads & bit)
			cJSON_AddItemToArray(array, cJSON_CreateString(vnic_offload_name(
							    (enum vnic_offload)bit)));
}
