/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * TUNSETIFF makes the interface, or attaches to it, and has one errno for many mistakes: EINVAL may
 * be a TUN for a TAP, the name of another kind of interface, a name no interface can have, one
 * queue where there are many, or many where there is one. So the cause is found out around it.
 * First: the name is checked as the kernel would do, and looked up by netlink. Afterwards, if the
 * kernel refuses all the same (something changed in between, or it is a matter of permission), it
 * is looked up once more.
 *
 * The same flags must be given for each queue, and IFF_MULTI_QUEUE exactly where the interface has
 * it.
 *
 * The kernel has no "attach only": an interface that vanishes between the look and TUNSETIFF would
 * be made anew. Its number tells: numbers are not used again, so another one means that it is not
 * the interface that was found, and closing the descriptor takes the new one away.
 *
 * What was granted is read back, since flags may be ignored: the header's by TUNGETIFF, but not
 * whether there is packet information, for IFF_NO_PI has the same value as IFF_NOFILTER, which says
 * there that no socket filter is attached. Netlink knows.
 *
 * Which namespace the interface is made in is decided when /dev/net/tun is opened, not at
 * TUNSETIFF; both happen in here, on whichever thread is in the right namespace.
 */
#include "device/node.h"
#include "base/error.h"
#include "device/kernel.h"
#include "device/link.h"
#include "device/system.h"
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define NODE "/dev/net/tun"

int vn_node_control(int descriptor, unsigned long request, const void *argument)
{
	return ioctl(descriptor, request, argument) < 0 ? -errno : 0;
}

int vn_node_control_value(int descriptor, unsigned long request, unsigned long value)
{
	return ioctl(descriptor, request, value) < 0 ? -errno : 0;
}

/* The kernel's isspace(), which knows Latin-1's no-break space too. */
static bool is_space(unsigned char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r') || c == 0xa0;
}

/* A "%d" at most: the kernel puts a number there. */
static int check_pattern(const char *name, bool allowed, struct vnic_error *error)
{
	const char *percent = strchr(name, '%');

	if (!percent)
		return 0;
	if (!allowed)
		return vn_error(error, -EINVAL, VNIC_CAUSE_NAME_INVALID,
				"'%s' is a pattern, and a name is needed here", name);
	if (percent[1] != 'd' || strchr(percent + 1, '%'))
		return vn_error(error, -EINVAL, VNIC_CAUSE_NAME_INVALID,
				"bad interface name '%s': only one '%%d' may be in it", name);
	return 0;
}

int vn_node_check_name(const char *name, bool pattern_allowed, struct vnic_error *error)
{
	const char *c;

	if (!name[0])
		return vn_error(error, -EINVAL, VNIC_CAUSE_NAME_INVALID,
				"an interface name cannot be empty");
	if (strlen(name) >= VNIC_NAME_BYTES)
		return vn_error(error, -ENAMETOOLONG, VNIC_CAUSE_NAME_TOO_LONG,
				"interface name '%s' is longer than %d bytes", name,
				VNIC_NAME_BYTES - 1);
	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return vn_error(error, -EINVAL, VNIC_CAUSE_NAME_INVALID,
				"'%s' cannot be an interface name", name);
	for (c = name; *c; c++) {
		if (*c == '/' || *c == ':' || is_space((unsigned char)*c))
			return vn_error(error, -EINVAL, VNIC_CAUSE_NAME_INVALID,
					"bad interface name '%s': '/', ':' and spaces may not be "
					"in it",
					name);
	}
	return check_pattern(name, pattern_allowed, error);
}

int vn_node_open(struct vnic_error *error)
{
	int descriptor = open(NODE, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	int code = -errno;

	if (descriptor >= 0)
		return descriptor;
	switch (-code) {
	case ENODEV: /* the node is there, the driver is not */
		code = -ENXIO;
		/* fall through */
	case ENXIO:
		return vn_error(error, code, VNIC_CAUSE_NODE_MISSING,
				"there is no driver behind " NODE);
	case ENOTDIR:
		code = -ENOENT;
		/* fall through */
	case ENOENT:
		return vn_error(error, code, VNIC_CAUSE_NODE_MISSING, "there is no " NODE);
	case EPERM: /* what a container's device rules say */
	case EROFS:
		code = -EACCES;
		/* fall through */
	case EACCES:
		return vn_error_system(error, code, VNIC_CAUSE_NODE_PERMISSION,
				       "cannot open " NODE);
	default:
		return vn_error_system(error, code, vn_system_cause(code), "cannot open " NODE);
	}
}

int vn_node_interface(int descriptor, char *name, short *flags)
{
	struct ifreq request = {0};
	int code = vn_node_control(descriptor, TUNGETIFF, &request);

	if (code < 0)
		return code;
	if (name) {
		memcpy(name, request.ifr_name, VNIC_NAME_BYTES);
		name[VNIC_NAME_BYTES - 1] = '\0';
	}
	if (flags)
		*flags = request.ifr_flags;
	return 0;
}

/* Whether an interface that exists is what the options want. */
static int check_existing(const struct vnic_device_options *options, const struct vn_link *link,
			  struct vnic_error *error)
{
	const struct vnic_link_info *info = &link->info;

	if (options->mode == VNIC_OPEN_CREATE)
		return vn_error(error, -EEXIST, VNIC_CAUSE_NAME_TAKEN,
				"there is an interface '%s' already", info->name);
	if (!info->is_virtual_nic)
		return vn_error(error, -EINVAL, VNIC_CAUSE_KIND_MISMATCH,
				"'%s' is an interface that is neither TUN nor TAP", info->name);
	if (!link->type_known)
		return 0;
	if (info->type != options->type)
		return vn_error(error, -EINVAL, VNIC_CAUSE_TYPE_MISMATCH, "'%s' is a %s, not a %s",
				info->name, info->type == VNIC_TAP ? "TAP" : "TUN",
				info->type == VNIC_TAP ? "TUN" : "TAP");
	if (options->queues > 1 && !info->multi_queue)
		return vn_error(error, -EINVAL, VNIC_CAUSE_QUEUES_MISMATCH,
				"'%s' has a single queue, and %u are wanted", info->name,
				options->queues);
	return 0;
}

/* Look an exact name up before it is used. *index: the interface's, 0 where there is none. */
static int look_up(const struct vnic_device_options *options, struct vn_node *node, int *index,
		   bool *multi_queue, struct vnic_error *error)
{
	struct vn_link link;
	struct vnic_error missing;
	int code = vn_link_get(&node->netlink, 0, options->name, &link, &missing);

	*index = 0;
	if (code == -ENODEV && options->mode != VNIC_OPEN_ATTACH)
		return 0;
	if (code < 0) {
		if (error)
			*error = missing;
		return code;
	}
	code = check_existing(options, &link, error);
	if (code < 0)
		return code;
	*index = link.info.index;
	*multi_queue |= link.info.multi_queue;
	return 0;
}

/* A pattern is no name that a person would look for. */
static int refuse(const struct vnic_device_options *options, const char *name, bool exists,
		  int failure, enum vnic_cause cause, struct vnic_error *error)
{
	if (strchr(name, '%'))
		return vn_error_system(error, failure, cause, "cannot create a %s interface",
				       options->type == VNIC_TAP ? "TAP" : "TUN");
	return vn_error_system(error, failure, cause, "cannot %s '%s'",
			       exists ? "attach to" : "create", name);
}

/* Why TUNSETIFF failed. The interface may have come or changed since it was looked up. */
static int diagnose(const struct vnic_device_options *options, struct vn_node *node,
		    const char *name, int failure, struct vnic_error *error)
{
	struct vn_link link = {0};
	bool exists = !strchr(name, '%') && vn_link_get(&node->netlink, 0, name, &link, NULL) == 0;
	int code = exists ? check_existing(options, &link, error) : 0;

	if (code < 0)
		return code;
	switch (-failure) {
	case EPERM:
		if (exists && !options->napi_fragments)
			return vn_error_system(
				error, failure, VNIC_CAUSE_NOT_OWNER,
				"cannot attach to '%s', which belongs to another user", name);
		return refuse(options, name, exists, failure, VNIC_CAUSE_CAPABILITY, error);
	case EBUSY:
		return vn_error(error, failure, VNIC_CAUSE_NAME_TAKEN,
				"'%s' is in use by another program", name);
	case E2BIG:
		return vn_error(error, failure, VNIC_CAUSE_QUEUES_MISMATCH,
				"'%s' has no queue left: there are %d at most", name, VNIC_QUEUES);
	default:
		return refuse(options, name, exists, failure, vn_system_cause(failure), error);
	}
}

static short choose_flags(const struct vnic_device_options *options, bool vnet_header,
			  bool multi_queue)
{
	unsigned flags = options->type == VNIC_TAP ? IFF_TAP : IFF_TUN;

	if (!options->packet_information)
		flags |= IFF_NO_PI;
	if (vnet_header)
		flags |= IFF_VNET_HDR;
	if (multi_queue)
		flags |= IFF_MULTI_QUEUE;
	if (options->napi)
		flags |= IFF_NAPI;
	if (options->napi_fragments)
		flags |= IFF_NAPI_FRAGS;
	if (options->no_carrier)
		flags |= IFF_NO_CARRIER;
	return (short)flags;
}

/* The kernel masks flags that it does not know, without a word. */
static int check_features(int descriptor, short flags, struct vnic_error *error)
{
	unsigned known = 0;
	unsigned wanted = (unsigned short)flags & ~(unsigned)IFF_TUN_EXCL;
	int code = vn_node_control(descriptor, TUNGETFEATURES, &known);

	if (code < 0)
		return vn_error_system(error, code, vn_system_cause(code),
				       "cannot ask for the features of " NODE);
	if (wanted & ~known)
		return vn_error(error, -EOPNOTSUPP, VNIC_CAUSE_UNSUPPORTED,
				"this kernel's " NODE " lacks %s",
				wanted & ~known & (IFF_NAPI | IFF_NAPI_FRAGS) ? "NAPI"
				: wanted & ~known & IFF_NO_CARRIER  ? "starting without a carrier"
				: wanted & ~known & IFF_MULTI_QUEUE ? "multiple queues"
				: wanted & ~known & IFF_VNET_HDR    ? "the virtio-net header"
								 : "a feature that was asked for");
	return 0;
}

/* Open one more queue. *name is the interface's on return. */
static int add_queue(const struct vnic_device_options *options, short flags, struct vn_node *node,
		     char *name, struct vnic_error *error)
{
	struct ifreq request = {0};
	int descriptor = vn_node_open(error);
	int code;

	if (descriptor < 0)
		return descriptor;
	node->descriptors[node->count++] = descriptor;
	if (node->count == 1) {
		code = check_features(descriptor, flags, error);
		if (code < 0)
			return code;
	}
	if (options->mode == VNIC_OPEN_CREATE && node->count == 1)
		flags = (short)((unsigned short)flags | IFF_TUN_EXCL);
	request.ifr_flags = flags;
	memcpy(request.ifr_name, name, VNIC_NAME_BYTES);
	code = vn_node_control(descriptor, TUNSETIFF, &request);
	if (code < 0)
		return diagnose(options, node, name, code, error);
	code = vn_node_interface(descriptor, name, &node->flags);
	if (code < 0)
		return vn_error(error, -ENODEV, VNIC_CAUSE_DEVICE_GONE,
				"'%s' was deleted while it was opened", name);
	return 0;
}

/*
 * Several programs may share a multi-queue interface: then the first one's header flags hold for
 * all, and those that a second one asks for are ignored.
 */
static int check_granted(const struct vnic_device_options *options, bool vnet_header,
			 const struct vn_node *node, const struct vn_link *link,
			 struct vnic_error *error)
{
	if (!(node->flags & IFF_VNET_HDR) == !vnet_header &&
	    (!link->type_known || link->info.packet_information == options->packet_information))
		return 0;
	return vn_error(error, -EBUSY, VNIC_CAUSE_NAME_TAKEN,
			"'%s' is in use by another program, which wants other headers before its "
			"packets",
			link->info.name);
}

static int attach_all(const struct vnic_device_options *options, bool vnet_header,
		      struct vn_node *node, struct vnic_error *error)
{
	char name[VNIC_NAME_BYTES] = {0};
	bool multi_queue = options->queues > 1;
	struct vn_link link;
	int expected = 0;
	short flags;
	unsigned i;
	int code = vn_netlink_open(&node->netlink, error);

	if (code == 0 && !strchr(options->name, '%'))
		code = look_up(options, node, &expected, &multi_queue, error);
	if (code < 0)
		return code;
	memcpy(name, options->name, strlen(options->name));
	flags = choose_flags(options, vnet_header, multi_queue);
	for (i = 0; i < options->queues; i++) {
		code = add_queue(options, flags, node, name, error);
		if (code < 0)
			return code;
	}
	code = vn_link_get(&node->netlink, 0, name, &link, error);
	if (code < 0)
		return code;
	if (options->mode == VNIC_OPEN_ATTACH && link.info.index != expected)
		return vn_error(error, -ENODEV, VNIC_CAUSE_INTERFACE_MISSING,
				"there is no interface '%s' any more", options->name);
	node->is_shared = link.info.multi_queue &&
			  link.info.queues + link.info.queues_detached > options->queues;
	return check_granted(options, vnet_header, node, &link, error);
}

int vn_node_attach(const struct vnic_device_options *options, bool vnet_header,
		   struct vn_node *node, struct vnic_error *error)
{
	int code;

	node->count = 0;
	node->netlink = VN_NETLINK_NONE;
	code = attach_all(options, vnet_header, node, error);
	if (code < 0) {
		while (node->count > 0)
			close(node->descriptors[--node->count]);
		vn_netlink_close(&node->netlink);
	}
	return code;
}
