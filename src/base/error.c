/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. An error is a value in the caller's memory: there is no error state in the
 * library, so threads cannot mix theirs up. Whoever finds the failure formats the sentence, since
 * only there are the names known; callers above pass the same pointer on and never rewrite it.
 */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *const cause_names[] = {
	[VNIC_CAUSE_NONE] = "none",
	[VNIC_CAUSE_ARGUMENT] = "argument",
	[VNIC_CAUSE_SYSTEM] = "system",
	[VNIC_CAUSE_MEMORY] = "memory",
	[VNIC_CAUSE_LIMIT] = "limit",
	[VNIC_CAUSE_NODE_MISSING] = "node-missing",
	[VNIC_CAUSE_NODE_PERMISSION] = "node-permission",
	[VNIC_CAUSE_CAPABILITY] = "capability",
	[VNIC_CAUSE_NOT_OWNER] = "not-owner",
	[VNIC_CAUSE_NAME_INVALID] = "name-invalid",
	[VNIC_CAUSE_NAME_TOO_LONG] = "name-too-long",
	[VNIC_CAUSE_NAME_TAKEN] = "name-taken",
	[VNIC_CAUSE_KIND_MISMATCH] = "kind-mismatch",
	[VNIC_CAUSE_TYPE_MISMATCH] = "type-mismatch",
	[VNIC_CAUSE_QUEUES_MISMATCH] = "queues-mismatch",
	[VNIC_CAUSE_INTERFACE_MISSING] = "interface-missing",
	[VNIC_CAUSE_ADDRESS_INVALID] = "address-invalid",
	[VNIC_CAUSE_ADDRESS_TAKEN] = "address-taken",
	[VNIC_CAUSE_MTU_RANGE] = "mtu-range",
	[VNIC_CAUSE_MAC_INVALID] = "mac-invalid",
	[VNIC_CAUSE_ROUTE] = "route",
	[VNIC_CAUSE_NETNS_MISSING] = "netns-missing",
	[VNIC_CAUSE_UNSUPPORTED] = "unsupported",
	[VNIC_CAUSE_DEVICE_GONE] = "device-gone",
	[VNIC_CAUSE_LINK_DOWN] = "link-down",
	[VNIC_CAUSE_FILTER_INVALID] = "filter-invalid",
	[VNIC_CAUSE_FILE] = "file",
	[VNIC_CAUSE_HANDLER] = "handler",
};

const char *vnic_cause_name(enum vnic_cause cause)
{
	size_t index = (size_t)cause;

	if (index >= sizeof(cause_names) / sizeof(cause_names[0]) || !cause_names[index])
		return "unknown";
	return cause_names[index];
}

__attribute__((format(printf, 4, 0))) static void fill(struct vnic_error *error, int code,
						       enum vnic_cause cause, const char *format,
						       va_list arguments)
{
	error->code = code;
	error->cause = cause;
	vsnprintf(error->text, sizeof(error->text), format, arguments);
}

int vn_error(struct vnic_error *error, int code, enum vnic_cause cause, const char *format, ...)
{
	va_list arguments;

	if (!error)
		return code;
	va_start(arguments, format);
	fill(error, code, cause, format, arguments);
	va_end(arguments);
	return code;
}

int vn_error_system(struct vnic_error *error, int code, enum vnic_cause cause, const char *format,
		    ...)
{
	va_list arguments;
	char reason[96];
	size_t used;

	if (!error)
		return code;
	va_start(arguments, format);
	fill(error, code, cause, format, arguments);
	va_end(arguments);
	used = strlen(error->text);
	/* The GNU strerror_r: unlike strerror it shares no buffer between threads. */
	snprintf(error->text + used, sizeof(error->text) - used, ": %s",
		 strerror_r(-code, reason, sizeof(reason)));
	return code;
}
