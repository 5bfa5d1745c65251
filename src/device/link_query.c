/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Everything about an interface comes in one RTM_NEWLINK message: IFLA_LINKINFO holds the kind
 * ("tun") and, one level below, what is special to it (IFLA_TUN_*); IFLA_AF_SPEC holds what IPv6
 * thinks of it. An attribute that is missing leaves its field zero: older kernels send fewer.
 *
 * Lists are dumps. A dump during which something changed may miss an interface; the kernel marks
 * it, and it is asked for again, a few times at most.
 */
#include "base/error.h"
#include "device/array.h"
#include "device/link.h"
#include "device/netns.h"
#include "device/system.h"
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>

#define DUMP_TRIES 8

#define LINK_LOWER_UP 0x10000 /* IFF_LOWER_UP: <linux/if.h> and <net/if.h> do not go together */

static void copy_text(char *to, size_t size, const struct nlattr *attribute)
{
	size_t length =
		strnlen(mnl_attr_get_payload(attribute), mnl_attr_get_payload_len(attribute));

	if (length >= size)
		length = size - 1;
	memcpy(to, mnl_attr_get_payload(attribute), length);
	to[length] = '\0';
}

/* Attributes come from the kernel, but a wrong length must not make us read beyond one. */
static uint32_t read_u32(const struct nlattr *attribute)
{
	return mnl_attr_validate(attribute, MNL_TYPE_U32) < 0 ? 0 : mnl_attr_get_u32(attribute);
}

static uint8_t read_u8(const struct nlattr *attribute)
{
	return mnl_attr_validate(attribute, MNL_TYPE_U8) < 0 ? 0 : mnl_attr_get_u8(attribute);
}

static void read_statistics(const struct nlattr *attribute, struct vnic_link_statistics *statistics)
{
	struct rtnl_link_stats64 kernel = {0};
	size_t length = mnl_attr_get_payload_len(attribute);

	/* Newer kernels append fields. */
	memcpy(&kernel, mnl_attr_get_payload(attribute),
	       length < sizeof(kernel) ? length : sizeof(kernel));
	statistics->rx_packets = kernel.rx_packets;
	statistics->rx_bytes = kernel.rx_bytes;
	statistics->rx_errors = kernel.rx_errors;
	statistics->rx_dropped = kernel.rx_dropped;
	statistics->tx_packets = kernel.tx_packets;
	statistics->tx_bytes = kernel.tx_bytes;
	statistics->tx_errors = kernel.tx_errors;
	statistics->tx_dropped = kernel.tx_dropped;
}

static void read_tun(const struct nlattr *data, struct vn_link *link)
{
	struct vnic_link_info *info = &link->info;
	const struct nlattr *attribute;

	mnl_attr_for_each_nested(attribute, data)
	{
		switch (mnl_attr_get_type(attribute)) {
		case IFLA_TUN_OWNER:
			info->has_owner = true;
			info->owner = read_u32(attribute);
			break;
		case IFLA_TUN_GROUP:
			info->has_group = true;
			info->group = read_u32(attribute);
			break;
		case IFLA_TUN_TYPE:
			link->type_known = true;
			info->type = read_u8(attribute) == IFF_TAP ? VNIC_TAP : VNIC_TUN;
			break;
		case IFLA_TUN_PI:
			info->packet_information = read_u8(attribute);
			break;
		case IFLA_TUN_VNET_HDR:
			info->vnet_header = read_u8(attribute);
			break;
		case IFLA_TUN_PERSIST:
			info->persistent = read_u8(attribute);
			break;
		case IFLA_TUN_MULTI_QUEUE:
			info->multi_queue = read_u8(attribute);
			break;
		case IFLA_TUN_NUM_QUEUES:
			info->queues = read_u32(attribute);
			break;
		case IFLA_TUN_NUM_DISABLED_QUEUES:
			info->queues_detached = read_u32(attribute);
			break;
		default:
			break;
		}
	}
}

static void read_link_info(const struct nlattr *nest, struct vn_link *link)
{
	const struct nlattr *attribute;
	const struct nlattr *data = NULL;

	mnl_attr_for_each_nested(attribute, nest)
	{
		if (mnl_attr_get_type(attribute) == IFLA_INFO_KIND)
			copy_text(link->info.kind, sizeof(link->info.kind), attribute);
		else if (mnl_attr_get_type(attribute) == IFLA_INFO_DATA)
			data = attribute;
	}
	link->info.is_virtual_nic = strcmp(link->info.kind, "tun") == 0;
	if (link->info.is_virtual_nic && data)
		read_tun(data, link);
}

static void read_ipv6(const struct nlattr *families, struct vn_link *link)
{
	const struct nlattr *family;
	const struct nlattr *attribute;

	mnl_attr_for_each_nested(family, families)
	{
		if (mnl_attr_get_type(family) != AF_INET6)
			continue;
		link->has_ipv6 = true;
		mnl_attr_for_each_nested(attribute, family)
		{
			if (mnl_attr_get_type(attribute) == IFLA_INET6_ADDR_GEN_MODE)
				link->info.ipv6_autoconfiguration =
					read_u8(attribute) != IN6_ADDR_GEN_MODE_NONE;
		}
	}
}

static void read_attribute(const struct nlattr *attribute, struct vn_link *link)
{
	struct vnic_link_info *info = &link->info;

	switch (mnl_attr_get_type(attribute)) {
	case IFLA_IFNAME:
		copy_text(info->name, sizeof(info->name), attribute);
		break;
	case IFLA_MTU:
		info->mtu_bytes = read_u32(attribute);
		break;
	case IFLA_MIN_MTU:
		info->mtu_least_bytes = read_u32(attribute);
		break;
	case IFLA_MAX_MTU:
		info->mtu_most_bytes = read_u32(attribute);
		break;
	case IFLA_TXQLEN:
		info->queue_packets = read_u32(attribute);
		break;
	case IFLA_CARRIER:
		link->carrier_on = read_u8(attribute);
		break;
	case IFLA_ADDRESS:
		if (mnl_attr_get_payload_len(attribute) == VNIC_MAC_BYTES) {
			info->has_mac = true;
			memcpy(info->mac, mnl_attr_get_payload(attribute), VNIC_MAC_BYTES);
		}
		break;
	case IFLA_STATS64:
		read_statistics(attribute, &info->statistics);
		break;
	case IFLA_LINKINFO:
		read_link_info(attribute, link);
		break;
	case IFLA_AF_SPEC:
		read_ipv6(attribute, link);
		break;
	default:
		break;
	}
}

int vn_link_read(const struct nlmsghdr *message, struct vn_link *link)
{
	const struct ifinfomsg *header = mnl_nlmsg_get_payload(message);
	const struct nlattr *attribute;

	*link = (struct vn_link){0};
	if (mnl_nlmsg_get_payload_len(message) < sizeof(*header))
		return -EBADMSG;
	link->info.index = header->ifi_index;
	link->info.up = header->ifi_flags & IFF_UP;
	link->info.carrier = header->ifi_flags & LINK_LOWER_UP;
	mnl_attr_for_each(attribute, message, sizeof(*header)) read_attribute(attribute, link);
	/* The kernel counts queues of multi-queue interfaces only. The one queue of the others is
	 * open if the interface is not persistent, or else it would be gone; or if it has a
	 * carrier. */
	if (link->info.is_virtual_nic && !link->info.multi_queue)
		link->info.queues = !link->info.persistent || link->carrier_on;
	return 0;
}

static int take_link(const struct nlmsghdr *message, void *user)
{
	return message->nlmsg_type == RTM_NEWLINK ? vn_link_read(message, user) : 0;
}

int vn_link_get(struct vn_netlink *netlink, int index, const char *name, struct vn_link *link,
		struct vnic_error *error)
{
	_Alignas(struct nlmsghdr) char buffer[VN_NETLINK_REQUEST_BYTES];
	struct nlmsghdr *request = mnl_nlmsg_put_header(buffer);
	struct vn_link found = {0};
	struct ifinfomsg *header;
	char why[VN_NETLINK_WHY_BYTES];
	int code;

	request->nlmsg_type = RTM_GETLINK;
	header = mnl_nlmsg_put_extra_header(request, sizeof(*header));
	header->ifi_index = index > 0 ? index : 0;
	if (index <= 0) {
		/* The kernel would cut it, and tell of another interface. */
		if (strlen(name) >= VNIC_NAME_BYTES)
			return vn_error(error, -ENODEV, VNIC_CAUSE_INTERFACE_MISSING,
					"there is no interface '%s'", name);
		mnl_attr_put_strz(request, IFLA_IFNAME, name);
	}
	code = vn_netlink_request(netlink, request, take_link, &found, why);
	/* Names that no interface can have are refused otherwise: it is missing all the same. */
	if (code == -ENODEV || (index <= 0 && (code == -EINVAL || code == -ERANGE))) {
		if (index > 0)
			return vn_error(error, -ENODEV, VNIC_CAUSE_INTERFACE_MISSING,
					"there is no interface with number %d", index);
		return vn_error(error, -ENODEV, VNIC_CAUSE_INTERFACE_MISSING,
				"there is no interface '%s'", name);
	}
	if (code < 0)
		return vn_error_system(error, code, vn_system_cause(code),
				       "cannot ask about the interface%s", why);
	if (found.info.index <= 0)
		return vn_error(error, -EBADMSG, VNIC_CAUSE_SYSTEM,
				"the kernel's answer about the interface makes no sense");
	*link = found;
	return 0;
}

int vnic_link_query(const char *netns, const char *name, struct vnic_link_info *info,
		    struct vnic_error *error)
{
	struct vn_netlink netlink = VN_NETLINK_NONE;
	struct vn_link link;
	int code;

	if (!name)
		return vn_error(error, -EINVAL, VNIC_CAUSE_ARGUMENT, "no interface is named");
	code = vn_netns_netlink(netns, &netlink, NULL, error);
	if (code == 0)
		code = vn_link_get(&netlink, 0, name, &link, error);
	if (code == 0)
		*info = link.info;
	vn_netlink_close(&netlink);
	return code;
}

static int take_virtual_nic(const struct nlmsghdr *message, void *user)
{
	struct vnic_link_info *info;
	struct vn_link link;
	int code;

	if (message->nlmsg_type != RTM_NEWLINK)
		return 0;
	code = vn_link_read(message, &link);
	if (code < 0 || !link.info.is_virtual_nic)
		return code;
	info = vn_array_add(user, sizeof(*info));
	if (!info)
		return -ENOMEM;
	*info = link.info;
	return 0;
}

/* Ask for a whole list, again if it changed under way. The array is empty after an error. */
static int dump(struct vn_netlink *netlink, int type, int family, vn_netlink_part *part,
		struct vn_array *array, const char *what, struct vnic_error *error)
{
	_Alignas(struct nlmsghdr) char buffer[VN_NETLINK_REQUEST_BYTES];
	char why[VN_NETLINK_WHY_BYTES];
	int code = -EINTR;
	int tries;

	for (tries = 0; tries < DUMP_TRIES && code == -EINTR; tries++) {
		struct nlmsghdr *request = mnl_nlmsg_put_header(buffer);

		vn_array_clear(array);
		request->nlmsg_type = (uint16_t)type;
		request->nlmsg_flags = NLM_F_DUMP;
		if (type == RTM_GETLINK) {
			struct ifinfomsg *header =
				mnl_nlmsg_put_extra_header(request, sizeof(*header));

			header->ifi_family = (unsigned char)family;
		} else {
			struct ifaddrmsg *header =
				mnl_nlmsg_put_extra_header(request, sizeof(*header));

			header->ifa_family = (unsigned char)family;
		}
		code = vn_netlink_request(netlink, request, part, array, why);
	}
	if (code < 0) {
		vn_array_clear(array);
		return vn_error_system(error, code, vn_system_cause(code), "cannot list the %s%s",
				       what, why);
	}
	return 0;
}

int vnic_link_list(const char *netns, struct vnic_link_info **links, size_t *count,
		   struct vnic_error *error)
{
	struct vn_netlink netlink = VN_NETLINK_NONE;
	struct vn_array array = {0};
	int code = vn_netns_netlink(netns, &netlink, NULL, error);

	if (code == 0)
		code = dump(&netlink, RTM_GETLINK, AF_UNSPEC, take_virtual_nic, &array,
			    "interfaces", error);
	vn_netlink_close(&netlink);
	if (code < 0)
		return code;
	*links = array.elements;
	*count = array.count;
	return 0;
}

static bool read_address(const struct nlattr *attribute, unsigned char family,
			 struct vnic_address *address)
{
	size_t length = family == AF_INET ? VNIC_IPV4_BYTES : VNIC_IPV6_BYTES;

	if (mnl_attr_get_payload_len(attribute) != length)
		return false;
	*address = (struct vnic_address){.family = family == AF_INET ? VNIC_IPV4 : VNIC_IPV6};
	memcpy(address->bytes, mnl_attr_get_payload(attribute), length);
	return true;
}

static int take_address(const struct nlmsghdr *message, void *user)
{
	const struct ifaddrmsg *header = mnl_nlmsg_get_payload(message);
	struct vn_link_owned_address *owned;
	const struct nlattr *attribute;
	struct vnic_address local = {0};
	struct vnic_address other = {0};

	if (message->nlmsg_type != RTM_NEWADDR)
		return 0;
	if (mnl_nlmsg_get_payload_len(message) < sizeof(*header))
		return -EBADMSG;
	if (header->ifa_family != AF_INET && header->ifa_family != AF_INET6)
		return 0;
	mnl_attr_for_each(attribute, message, sizeof(*header))
	{
		if (mnl_attr_get_type(attribute) == IFA_LOCAL)
			read_address(attribute, header->ifa_family, &local);
		else if (mnl_attr_get_type(attribute) == IFA_ADDRESS)
			read_address(attribute, header->ifa_family, &other);
	}
	/*
	 * IFA_ADDRESS is the peer where there is one, and the address itself where there is none.
	 */
	if (local.family == VNIC_NO_FAMILY)
		local = other;
	if (vnic_address_equal(&local, &other))
		other = (struct vnic_address){0};
	if (local.family == VNIC_NO_FAMILY)
		return 0;
	owned = vn_array_add(user, sizeof(*owned));
	if (!owned)
		return -ENOMEM;
	*owned = (struct vn_link_owned_address){
		.index = (int)header->ifa_index,
		.address = {.prefix = {local, header->ifa_prefixlen}, .peer = other},
	};
	return 0;
}

int vn_link_list_addresses(struct vn_netlink *netlink, struct vn_link_owned_address **addresses,
			   size_t *count, struct vnic_error *error)
{
	struct vn_array array = {0};
	int code = dump(netlink, RTM_GETADDR, AF_UNSPEC, take_address, &array, "addresses", error);

	if (code < 0)
		return code;
	*addresses = array.elements;
	*count = array.count;
	return 0;
}

static int list_addresses_of(struct vn_netlink *netlink, const char *name,
			     struct vnic_link_address **addresses, size_t *count,
			     struct vnic_error *error)
{
	struct vn_link_owned_address *all = NULL;
	struct vn_array array = {0};
	struct vn_link link = {0};
	size_t all_count = 0;
	size_t i;
	int code = vn_link_get(netlink, 0, name, &link, error);

	if (code == 0)
		code = vn_link_list_addresses(netlink, &all, &all_count, error);
	if (code < 0)
		return code;
	for (i = 0; i < all_count; i++) {
		struct vnic_link_address *address;

		if (all[i].index != link.info.index)
			continue;
		address = vn_array_add(&array, sizeof(*address));
		if (!address) {
			free(all);
			vn_array_clear(&array);
			return vn_error(error, -ENOMEM, VNIC_CAUSE_MEMORY, "out of memory");
		}
		*address = all[i].address;
	}
	free(all);
	*addresses = array.elements;
	*count = array.count;
	return 0;
}

int vnic_link_addresses(const char *netns, const char *name, struct vnic_link_address **addresses,
			size_t *count, struct vnic_error *error)
{
	struct vn_netlink netlink = VN_NETLINK_NONE;
	int code;

	if (!name)
		return vn_error(error, -EINVAL, VNIC_CAUSE_ARGUMENT, "no interface is named");
	code = vn_netns_netlink(netns, &netlink, NULL, error);
	if (code == 0)
		code = list_addresses_of(&netlink, name, addresses, count, error);
	vn_netlink_close(&netlink);
	return code;
}
