/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A configuration is checked as a whole before its first step, so that a mistake changes nothing.
 * Then each step asks for what is not so yet: calling twice is no error, and nothing that others
 * set up is taken away.
 *
 * Addresses are compared with those that are there, on all interfaces, before they are added. The
 * kernel would let two interfaces have the same IPv4 address, and replies would leave by either of
 * them.
 *
 * IPv6 on an interface whose other end is a program: duplicate address detection is left out
 * (IFA_F_NODAD), because an address could not be used for a second or more while it waits for an
 * answer that the program, its only neighbour, is seldom going to give; addrgenmode none, set
 * before the interface comes up, keeps the kernel from making up a link-local address and
 * soliciting routers.
 *
 * Left to the kernel, as `ip address add` does: the route to an address's network, and the
 * broadcast address (without an explicit one the kernel still treats the network's last address as
 * broadcast).
 *
 * Kernels explain most refusals in words (see netlink.c); those words stand in our sentence behind
 * a colon.
 */
#include "base/error.h"
#include "device/array.h"
#include "device/device.h"
#include "device/link.h"
#include "device/netns.h"
#include "device/node.h"
#include "device/system.h"
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define IPV6_LEAST_MTU 1280 /* RFC 8200 section 5 */

/* One configuration under way. */
struct setup {
	struct vn_netlink *netlink;
	const struct vn_link *link;
	const struct vnic_link_config *config;
	const char *name; /* for messages: the new one after renaming */
	struct vn_link_owned_address *present;
	size_t present_count;
};

union message {
	struct nlmsghdr header;
	char bytes[VN_NETLINK_REQUEST_BYTES];
};

/* What happened to a request, for errnos that mean the same in every step. */
static int step_failed(const struct setup *setup, int code, const char *what, const char *why,
		       struct vnic_error *error)
{
	if (code == -ENODEV)
		return vn_error(error, code, VNIC_CAUSE_INTERFACE_MISSING,
				"there is no interface '%s' any more", setup->name);
	return vn_error_system(error, code, vn_system_cause(code), "cannot set the %s of '%s'%s",
			       what, setup->name, why);
}

static struct nlmsghdr *begin_link(union message *message, const struct setup *setup)
{
	struct nlmsghdr *request = mnl_nlmsg_put_header(message);
	struct ifinfomsg *header;

	request->nlmsg_type = RTM_NEWLINK;
	header = mnl_nlmsg_put_extra_header(request, sizeof(*header));
	header->ifi_index = setup->link->info.index;
	return request;
}

static size_t address_bytes(const struct vnic_address *address)
{
	return address->family == VNIC_IPV4 ? VNIC_IPV4_BYTES : VNIC_IPV6_BYTES;
}

static unsigned char kernel_family(const struct vnic_address *address)
{
	return address->family == VNIC_IPV4 ? AF_INET : AF_INET6;
}

static void put_address(struct nlmsghdr *request, uint16_t type, const struct vnic_address *address)
{
	mnl_attr_put(request, type, address_bytes(address), address->bytes);
}

static bool is_family(const struct vnic_address *address)
{
	return address->family == VNIC_IPV4 || address->family == VNIC_IPV6;
}

/* Checks, before anything is changed. */

static bool same_address(const struct vnic_link_address *a, const struct vnic_link_address *b)
{
	/* A peer that is the address itself is none to the kernel. */
	const struct vnic_address *peer_a = is_family(&a->peer) ? &a->peer : &a->prefix.address;
	const struct vnic_address *peer_b = is_family(&b->peer) ? &b->peer : &b->prefix.address;

	return vnic_address_equal(&a->prefix.address, &b->prefix.address) &&
	       a->prefix.length_bits == b->prefix.length_bits && vnic_address_equal(peer_a, peer_b);
}

static bool is_all_ones(const struct vnic_address *address)
{
	static const uint8_t ones[VNIC_IPV4_BYTES] = {255, 255, 255, 255};

	return address->family == VNIC_IPV4 && memcmp(address->bytes, ones, sizeof(ones)) == 0;
}

static int check_address(const struct vnic_link_address *wanted, struct vnic_error *error)
{
	const struct vnic_address *address = &wanted->prefix.address;
	const struct vnic_address *peer = &wanted->peer;
	char text[VNIC_ADDRESS_TEXT_BYTES];

	if (!is_family(address))
		return vn_error(error, -EINVAL, VNIC_CAUSE_ADDRESS_INVALID,
				"an address without a family");
	if (wanted->prefix.length_bits > address_bytes(address) * 8)
		return vn_error(error, -EINVAL, VNIC_CAUSE_ADDRESS_INVALID, "%s has no %u bits",
				vnic_address_format(address, text), wanted->prefix.length_bits);
	if (vnic_address_is_unspecified(address) || vnic_address_is_multicast(address) ||
	    is_all_ones(address))
		return vn_error(error, -EINVAL, VNIC_CAUSE_ADDRESS_INVALID,
				"%s is not an address that an interface can have",
				vnic_address_format(address, text));
	if (!is_family(peer))
		return 0;
	if (peer->family != address->family || vnic_address_is_unspecified(peer) ||
	    vnic_address_is_multicast(peer) || is_all_ones(peer))
		return vn_error(error, -EINVAL, VNIC_CAUSE_ADDRESS_INVALID,
				"%s cannot be a peer's address", vnic_address_format(peer, text));
	return 0;
}

static int check_addresses(const struct setup *setup, struct vnic_error *error)
{
	const struct vnic_link_config *config = setup->config;
	char text[VNIC_ADDRESS_TEXT_BYTES];
	size_t i;
	size_t j;

	for (i = 0; i < config->address_count; i++) {
		const struct vnic_link_address *wanted = &config->addresses[i];
		int code = check_address(wanted, error);

		if (code < 0)
			return code;
		for (j = 0; j < i; j++) {
			if (vnic_address_equal(&wanted->prefix.address,
					       &config->addresses[j].prefix.address) &&
			    !same_address(wanted, &config->addresses[j]))
				return vn_error(error, -EINVAL, VNIC_CAUSE_ADDRESS_INVALID,
						"%s is given twice, with different lengths or "
						"peers",
						vnic_address_format(&wanted->prefix.address, text));
		}
		if (wanted->prefix.address.family == VNIC_IPV6 && !setup->link->has_ipv6)
			return vn_error(error, -EAFNOSUPPORT, VNIC_CAUSE_UNSUPPORTED,
					"cannot add %s: IPv6 is disabled on this machine",
					vnic_address_format(&wanted->prefix.address, text));
	}
	return 0;
}

static bool wants_ipv6(const struct vnic_link_config *config)
{
	size_t i;

	for (i = 0; i < config->address_count; i++) {
		if (config->addresses[i].prefix.address.family == VNIC_IPV6)
			return true;
	}
	return false;
}

static int mtu_out_of_range(const struct setup *setup, struct vnic_error *error)
{
	const struct vnic_link_info *info = &setup->link->info;

	return vn_error(error, -ERANGE, VNIC_CAUSE_MTU_RANGE,
			"MTU %u is out of range for '%s': it can be %u to %u",
			setup->config->mtu_bytes, setup->name, info->mtu_least_bytes,
			info->mtu_most_bytes);
}

static int check_mtu(const struct setup *setup, struct vnic_error *error)
{
	const struct vnic_link_info *info = &setup->link->info;
	uint32_t wanted = setup->config->mtu_bytes;
	unsigned mtu = wanted ? wanted : info->mtu_bytes;

	/* A largest MTU of 0 means that there is none. */
	if (wanted && (wanted < info->mtu_least_bytes || wanted > INT32_MAX ||
		       (info->mtu_most_bytes && wanted > info->mtu_most_bytes)))
		return mtu_out_of_range(setup, error);
	if (wants_ipv6(setup->config) && mtu < IPV6_LEAST_MTU)
		return vn_error(error, -ERANGE, VNIC_CAUSE_MTU_RANGE,
				"MTU %u of '%s' is too small for IPv6, which needs %d", mtu,
				setup->name, IPV6_LEAST_MTU);
	return 0;
}

static int check_mac(const struct setup *setup, struct vnic_error *error)
{
	static const uint8_t zero[VNIC_MAC_BYTES];
	const uint8_t *mac = setup->config->mac;
	char text[VNIC_ADDRESS_TEXT_BYTES];

	if (!mac)
		return 0;
	if ((mac[0] & 1) || memcmp(mac, zero, sizeof(zero)) == 0)
		return vn_error(error, -EADDRNOTAVAIL, VNIC_CAUSE_MAC_INVALID,
				"%s is not the Ethernet address of one interface",
				vnic_mac_format(mac, text));
	if (!setup->link->info.has_mac)
		return vn_error(error, -EADDRNOTAVAIL, VNIC_CAUSE_MAC_INVALID,
				"'%s' has no Ethernet address: only a TAP has one", setup->name);
	return 0;
}

static int check_routes(const struct vnic_link_config *config, struct vnic_error *error)
{
	size_t i;

	for (i = 0; i < config->route_count; i++) {
		const struct vnic_route *route = &config->routes[i];
		const struct vnic_address *destination = &route->destination.address;

		if (!is_family(destination) ||
		    route->destination.length_bits > address_bytes(destination) * 8)
			return vn_error(error, -EINVAL, VNIC_CAUSE_ROUTE,
					"the destination of a route is not a network");
		if (is_family(&route->gateway) && route->gateway.family != destination->family)
			return vn_error(error, -EINVAL, VNIC_CAUSE_ROUTE,
					"a route and its gateway are of two IP versions");
	}
	return 0;
}

static int check(const struct setup *setup, struct vnic_error *error)
{
	const struct vnic_link_config *config = setup->config;
	int code = 0;

	if (config->state != VNIC_LINK_KEEP && config->state != VNIC_LINK_UP &&
	    config->state != VNIC_LINK_DOWN)
		return vn_error(error, -EINVAL, VNIC_CAUSE_ARGUMENT, "no such state of a link");
	if (config->new_name)
		code = vn_node_check_name(config->new_name, false, error);
	if (code == 0)
		code = check_mac(setup, error);
	if (code == 0)
		code = check_mtu(setup, error);
	if (code == 0)
		code = check_addresses(setup, error);
	if (code == 0)
		code = check_routes(config, error);
	return code;
}

/* The steps. */

static int set_name(struct setup *setup, struct vnic_error *error)
{
	const char *wanted = setup->config->new_name;
	char why[VN_NETLINK_WHY_BYTES];
	struct nlmsghdr *request;
	union message message;
	int code;

	if (!wanted || strcmp(wanted, setup->name) == 0)
		return 0;
	request = begin_link(&message, setup);
	mnl_attr_put_strz(request, IFLA_IFNAME, wanted);
	code = vn_netlink_request(setup->netlink, request, NULL, NULL, why);
	if (code == -EEXIST)
		return vn_error(error, code, VNIC_CAUSE_NAME_TAKEN,
				"cannot rename '%s': there is an interface '%s' already",
				setup->name, wanted);
	if (code < 0)
		return step_failed(setup, code, "name", why, error);
	setup->name = wanted;
	return 0;
}

/* Change one attribute. As vn_netlink_request(). */
static int change(const struct setup *setup, uint16_t attribute, const void *value, size_t bytes,
		  char *why)
{
	union message message;
	struct nlmsghdr *request = begin_link(&message, setup);

	mnl_attr_put(request, attribute, bytes, value);
	return vn_netlink_request(setup->netlink, request, NULL, NULL, why);
}

static int set_mac(const struct setup *setup, struct vnic_error *error)
{
	const uint8_t *wanted = setup->config->mac;
	char why[VN_NETLINK_WHY_BYTES];
	int code;

	if (!wanted || memcmp(wanted, setup->link->info.mac, VNIC_MAC_BYTES) == 0)
		return 0;
	code = change(setup, IFLA_ADDRESS, wanted, VNIC_MAC_BYTES, why);
	return code < 0 ? step_failed(setup, code, "Ethernet address", why, error) : 0;
}

static int set_mtu(const struct setup *setup, struct vnic_error *error)
{
	uint32_t wanted = setup->config->mtu_bytes;
	char why[VN_NETLINK_WHY_BYTES];
	int code;

	if (!wanted || wanted == setup->link->info.mtu_bytes)
		return 0;
	code = change(setup, IFLA_MTU, &wanted, sizeof(wanted), why);
	if (code == -EINVAL)
		return mtu_out_of_range(setup, error);
	return code < 0 ? step_failed(setup, code, "MTU", why, error) : 0;
}

static int set_queue_length(const struct setup *setup, struct vnic_error *error)
{
	uint32_t wanted = setup->config->queue_packets;
	char why[VN_NETLINK_WHY_BYTES];
	int code;

	if (!wanted || wanted == setup->link->info.queue_packets)
		return 0;
	code = change(setup, IFLA_TXQLEN, &wanted, sizeof(wanted), why);
	return code < 0 ? step_failed(setup, code, "queue length", why, error) : 0;
}

/* Only when the interface is about to come up: what runs already is somebody's decision. */
static int set_ipv6_mode(const struct setup *setup, struct vnic_error *error)
{
	const struct vnic_link_config *config = setup->config;
	char why[VN_NETLINK_WHY_BYTES];
	struct nlmsghdr *request;
	struct nlattr *families;
	struct nlattr *ipv6;
	union message message;
	int code;

	if (config->state != VNIC_LINK_UP || setup->link->info.up || !setup->link->has_ipv6 ||
	    setup->link->info.ipv6_autoconfiguration == config->ipv6_autoconfiguration)
		return 0;
	request = begin_link(&message, setup);
	families = mnl_attr_nest_start(request, IFLA_AF_SPEC);
	ipv6 = mnl_attr_nest_start(request, AF_INET6);
	mnl_attr_put_u8(request, IFLA_INET6_ADDR_GEN_MODE,
			config->ipv6_autoconfiguration ? IN6_ADDR_GEN_MODE_EUI64
						       : IN6_ADDR_GEN_MODE_NONE);
	mnl_attr_nest_end(request, ipv6);
	mnl_attr_nest_end(request, families);
	code = vn_netlink_request(setup->netlink, request, NULL, NULL, why);
	/* An interface with a small MTU, or a kernel without IPv6, has nothing to set. */
	if (code == -EAFNOSUPPORT || code == -EOPNOTSUPP || code == -EINVAL)
		return 0;
	return code < 0 ? step_failed(setup, code, "IPv6 mode", why, error) : 0;
}

static int taken_elsewhere(const struct setup *setup, const struct vn_link_owned_address *owned,
			   struct vnic_error *error)
{
	char text[VNIC_ADDRESS_TEXT_BYTES];
	struct vn_link other;

	vnic_address_format(&owned->address.prefix.address, text);
	if (vn_link_get(setup->netlink, owned->index, "", &other, NULL) < 0)
		return vn_error(error, -EADDRINUSE, VNIC_CAUSE_ADDRESS_TAKEN,
				"another interface has the address %s", text);
	return vn_error(error, -EADDRINUSE, VNIC_CAUSE_ADDRESS_TAKEN,
			"the interface '%s' has the address %s", other.info.name, text);
}

/* Returns 1 if the address is there already, 0 if it can be added. */
static int look_for_address(const struct setup *setup, const struct vnic_link_address *wanted,
			    struct vnic_error *error)
{
	char text[VNIC_ADDRESS_TEXT_BYTES];
	size_t i;

	for (i = 0; i < setup->present_count; i++) {
		const struct vn_link_owned_address *owned = &setup->present[i];

		if (!vnic_address_equal(&owned->address.prefix.address, &wanted->prefix.address))
			continue;
		if (owned->index != setup->link->info.index) {
			/* Link-local addresses need to be unique on their link only. */
			if (setup->config->shared_addresses ||
			    vnic_address_is_link_local(&wanted->prefix.address))
				continue;
			return taken_elsewhere(setup, owned, error);
		}
		if (same_address(&owned->address, wanted))
			return 1;
		return vn_error(error, -EADDRINUSE, VNIC_CAUSE_ADDRESS_TAKEN,
				"'%s' has the address already, as %s%s", setup->name,
				vnic_prefix_format(&owned->address.prefix, text),
				is_family(&owned->address.peer) || is_family(&wanted->peer)
					? " with another peer or none"
					: "");
	}
	return 0;
}

static int add_failed(const struct setup *setup, const struct vnic_link_address *wanted, int code,
		      const char *why, struct vnic_error *error)
{
	char text[VNIC_ADDRESS_TEXT_BYTES];

	vnic_prefix_format(&wanted->prefix, text);
	switch (-code) {
	case EACCES: /* net.ipv6.conf.NAME.disable_ipv6 */
	case EOPNOTSUPP:
	case EAFNOSUPPORT:
		if (wanted->prefix.address.family == VNIC_IPV6)
			return vn_error(error, -EAFNOSUPPORT, VNIC_CAUSE_UNSUPPORTED,
					"cannot add %s: IPv6 is disabled on '%s'", text,
					setup->name);
		break;
	case EINVAL:
	case EADDRNOTAVAIL:
		return vn_error(error, -EINVAL, VNIC_CAUSE_ADDRESS_INVALID,
				"'%s' cannot have the address %s%s", setup->name, text, why);
	case EEXIST:
		return vn_error(error, -EADDRINUSE, VNIC_CAUSE_ADDRESS_TAKEN,
				"'%s' has the address %s already", setup->name, text);
	case ENODEV:
		return step_failed(setup, code, "addresses", why, error);
	default:
		break;
	}
	return vn_error_system(error, code, vn_system_cause(code), "cannot add %s to '%s'%s", text,
			       setup->name, why);
}

static int add_address(const struct setup *setup, const struct vnic_link_address *wanted, char *why)
{
	const struct vnic_address *address = &wanted->prefix.address;
	struct nlmsghdr *request;
	struct ifaddrmsg *header;
	union message message;

	request = mnl_nlmsg_put_header(&message);
	request->nlmsg_type = RTM_NEWADDR;
	request->nlmsg_flags = NLM_F_CREATE | NLM_F_EXCL;
	header = mnl_nlmsg_put_extra_header(request, sizeof(*header));
	header->ifa_family = kernel_family(address);
	header->ifa_prefixlen = (unsigned char)wanted->prefix.length_bits;
	header->ifa_index = (unsigned)setup->link->info.index;
	put_address(request, IFA_LOCAL, address);
	put_address(request, IFA_ADDRESS, is_family(&wanted->peer) ? &wanted->peer : address);
	if (address->family == VNIC_IPV6 && setup->link->info.is_virtual_nic)
		mnl_attr_put_u32(request, IFA_FLAGS, IFA_F_NODAD);
	return vn_netlink_request(setup->netlink, request, NULL, NULL, why);
}

static int refresh_present(struct setup *setup, struct vnic_error *error)
{
	free(setup->present);
	setup->present = NULL;
	setup->present_count = 0;
	return vn_link_list_addresses(setup->netlink, &setup->present, &setup->present_count,
				      error);
}

static int set_addresses(struct setup *setup, struct vnic_error *error)
{
	const struct vnic_link_config *config = setup->config;
	char why[VN_NETLINK_WHY_BYTES];
	size_t i;
	int code = config->address_count ? refresh_present(setup, error) : 0;

	for (i = 0; i < config->address_count && code >= 0; i++) {
		const struct vnic_link_address *wanted = &config->addresses[i];

		code = look_for_address(setup, wanted, error);
		if (code != 0)
			continue;
		code = add_address(setup, wanted, why);
		if (code == -EEXIST) {
			/* Given twice, or somebody was faster. */
			code = refresh_present(setup, error);
			if (code == 0)
				code = look_for_address(setup, wanted, error);
			if (code == 0)
				code = add_failed(setup, wanted, -EEXIST, why, error);
		} else if (code < 0) {
			code = add_failed(setup, wanted, code, why, error);
		}
	}
	return code < 0 ? code : 0;
}

static int set_state(const struct setup *setup, struct vnic_error *error)
{
	bool up = setup->config->state == VNIC_LINK_UP;
	char why[VN_NETLINK_WHY_BYTES];
	struct ifinfomsg *header;
	struct nlmsghdr *request;
	union message message;
	int code;

	if (setup->config->state == VNIC_LINK_KEEP || setup->link->info.up == up)
		return 0;
	request = begin_link(&message, setup);
	header = mnl_nlmsg_get_payload(request);
	header->ifi_flags = up ? IFF_UP : 0;
	header->ifi_change = IFF_UP;
	code = vn_netlink_request(setup->netlink, request, NULL, NULL, why);
	return code < 0 ? step_failed(setup, code, "state", why, error) : 0;
}

static int take_route_type(const struct nlmsghdr *message, void *user)
{
	const struct rtmsg *header = mnl_nlmsg_get_payload(message);

	if (mnl_nlmsg_get_payload_len(message) >= sizeof(*header))
		*(unsigned char *)user = header->rtm_type;
	return 0;
}

/* Whether the kernel would take packets to an address of its own for its own. */
static bool is_local(const struct setup *setup, const struct vnic_address *address)
{
	unsigned char type = RTN_UNSPEC;
	char why[VN_NETLINK_WHY_BYTES];
	struct nlmsghdr *request;
	struct rtmsg *header;
	union message message;

	request = mnl_nlmsg_put_header(&message);
	request->nlmsg_type = RTM_GETROUTE;
	header = mnl_nlmsg_put_extra_header(request, sizeof(*header));
	header->rtm_family = kernel_family(address);
	header->rtm_dst_len = 128;
	put_address(request, RTA_DST, address);
	/* Link-local addresses are looked up per interface. */
	if (vnic_address_is_link_local(address))
		mnl_attr_put_u32(request, RTA_OIF, (uint32_t)setup->link->info.index);
	return vn_netlink_request(setup->netlink, request, take_route_type, &type, why) == 0 &&
	       type == RTN_LOCAL;
}

/*
 * The kernel makes an IPv6 address its own from a work queue (addrconf_dad_work), some time after
 * it has said that the address is added: until then an answer to what is sent from it is thrown
 * away.
 */
static void await_addresses(const struct setup *setup)
{
	const struct timespec pause = {.tv_nsec = 100000};
	unsigned rounds_left = 5000; /* of 0.1 ms and more: then go on all the same */
	size_t i;

	if (setup->config->state == VNIC_LINK_DOWN || !setup->link->info.is_virtual_nic ||
	    (setup->config->state == VNIC_LINK_KEEP && !setup->link->info.up))
		return;
	for (i = 0; i < setup->config->address_count; i++) {
		const struct vnic_address *address = &setup->config->addresses[i].prefix.address;

		while (address->family == VNIC_IPV6 && !is_local(setup, address) && rounds_left) {
			rounds_left--;
			nanosleep(&pause, NULL);
		}
	}
}

/* Looking for a route that is there already. */
struct route_search {
	const struct vnic_route *route;
	struct vnic_prefix network;
	int index;
	bool found;
};

static bool equals(const struct nlattr *attribute, const struct vnic_address *address)
{
	return mnl_attr_get_payload_len(attribute) == address_bytes(address) &&
	       memcmp(mnl_attr_get_payload(attribute), address->bytes, address_bytes(address)) == 0;
}

static int take_route(const struct nlmsghdr *message, void *user)
{
	struct route_search *search = user;
	const struct rtmsg *header = mnl_nlmsg_get_payload(message);
	const struct nlattr *attribute;
	bool destination_same;
	bool gateway_same = search->route->gateway.family == VNIC_NO_FAMILY;
	bool link_same = false;
	uint32_t table;
	uint32_t metric = 0;

	if (message->nlmsg_type != RTM_NEWROUTE)
		return 0;
	if (mnl_nlmsg_get_payload_len(message) < sizeof(*header))
		return -EBADMSG;
	table = header->rtm_table;
	destination_same = header->rtm_dst_len == 0;
	mnl_attr_for_each(attribute, message, sizeof(*header))
	{
		switch (mnl_attr_get_type(attribute)) {
		case RTA_DST:
			destination_same = equals(attribute, &search->network.address);
			break;
		case RTA_GATEWAY:
			gateway_same = search->route->gateway.family != VNIC_NO_FAMILY &&
				       equals(attribute, &search->route->gateway);
			break;
		case RTA_OIF:
			link_same = mnl_attr_get_payload_len(attribute) == sizeof(uint32_t) &&
				    mnl_attr_get_u32(attribute) == (uint32_t)search->index;
			break;
		case RTA_TABLE:
			table = mnl_attr_get_u32(attribute);
			break;
		case RTA_PRIORITY:
			metric = mnl_attr_get_u32(attribute);
			break;
		default:
			break;
		}
	}
	if (header->rtm_family == kernel_family(&search->network.address) &&
	    header->rtm_dst_len == search->network.length_bits && header->rtm_tos == 0 &&
	    table == RT_TABLE_MAIN && header->rtm_type == RTN_UNICAST && destination_same &&
	    gateway_same && link_same &&
	    (search->route->metric == 0 || search->route->metric == metric))
		search->found = true;
	return 0;
}

/* Returns 1 if the same route is there, 0 if not, or a negative errno. */
static int look_for_route(const struct setup *setup, const struct vnic_route *route)
{
	struct route_search search = {
		.route = route,
		.network = vnic_prefix_network(&route->destination),
		.index = setup->link->info.index,
	};
	char why[VN_NETLINK_WHY_BYTES];
	struct nlmsghdr *request;
	struct rtmsg *header;
	union message message;
	int code;

	request = mnl_nlmsg_put_header(&message);
	request->nlmsg_type = RTM_GETROUTE;
	request->nlmsg_flags = NLM_F_DUMP;
	header = mnl_nlmsg_put_extra_header(request, sizeof(*header));
	header->rtm_family = kernel_family(&route->destination.address);
	/* A routing table can be huge: let the kernel leave out other interfaces' routes. */
	mnl_attr_put_u32(request, RTA_OIF, (uint32_t)search.index);
	code = vn_netlink_request(setup->netlink, request, take_route, &search, why);
	if (code < 0 && code != -EINTR)
		return code;
	return search.found;
}

static int add_route(const struct setup *setup, const struct vnic_route *route, char *why)
{
	struct vnic_prefix network = vnic_prefix_network(&route->destination);
	bool has_gateway = is_family(&route->gateway);
	struct nlmsghdr *request;
	struct rtmsg *header;
	union message message;

	request = mnl_nlmsg_put_header(&message);
	request->nlmsg_type = RTM_NEWROUTE;
	request->nlmsg_flags = NLM_F_CREATE | NLM_F_EXCL;
	header = mnl_nlmsg_put_extra_header(request, sizeof(*header));
	header->rtm_family = kernel_family(&network.address);
	header->rtm_dst_len = (unsigned char)network.length_bits;
	header->rtm_table = RT_TABLE_MAIN;
	header->rtm_protocol = RTPROT_STATIC;
	header->rtm_scope = has_gateway || network.address.family == VNIC_IPV6 ? RT_SCOPE_UNIVERSE
									       : RT_SCOPE_LINK;
	header->rtm_type = RTN_UNICAST;
	if (network.length_bits)
		put_address(request, RTA_DST, &network.address);
	if (has_gateway)
		put_address(request, RTA_GATEWAY, &route->gateway);
	mnl_attr_put_u32(request, RTA_OIF, (uint32_t)setup->link->info.index);
	if (route->metric)
		mnl_attr_put_u32(request, RTA_PRIORITY, route->metric);
	return vn_netlink_request(setup->netlink, request, NULL, NULL, why);
}

static int set_routes(const struct setup *setup, struct vnic_error *error)
{
	char text[VNIC_ADDRESS_TEXT_BYTES];
	char why[VN_NETLINK_WHY_BYTES];
	size_t i;

	for (i = 0; i < setup->config->route_count; i++) {
		const struct vnic_route *route = &setup->config->routes[i];
		struct vnic_prefix network = vnic_prefix_network(&route->destination);
		int code = add_route(setup, route, why);

		if (code == 0 || (code == -EEXIST && look_for_route(setup, route) == 1))
			continue;
		vnic_prefix_format(&network, text);
		if (code == -EEXIST)
			return vn_error(error, code, VNIC_CAUSE_ROUTE,
					"there is another route to %s already", text);
		if (code == -EPERM)
			return vn_error_system(error, code, VNIC_CAUSE_CAPABILITY,
					       "cannot add a route to %s", text);
		return vn_error_system(error, code, VNIC_CAUSE_ROUTE,
				       "cannot add a route to %s through '%s'%s", text, setup->name,
				       why);
	}
	return 0;
}

int vn_link_apply(struct vn_netlink *netlink, const struct vn_link *link,
		  const struct vnic_link_config *config, struct vnic_error *error)
{
	struct setup setup = {
		.netlink = netlink,
		.link = link,
		.config = config,
		.name = link->info.name,
	};
	int code = check(&setup, error);

	if (code == 0)
		code = set_name(&setup, error);
	if (code == 0)
		code = set_mac(&setup, error);
	if (code == 0)
		code = set_mtu(&setup, error);
	if (code == 0)
		code = set_queue_length(&setup, error);
	if (code == 0)
		code = set_ipv6_mode(&setup, error);
	if (code == 0)
		code = set_addresses(&setup, error);
	if (code == 0)
		code = set_state(&setup, error);
	if (code == 0)
		await_addresses(&setup);
	if (code == 0)
		code = set_routes(&setup, error);
	free(setup.present);
	return code;
}

int vnic_link_configure(const char *netns, const char *name, const struct vnic_link_config *config,
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
		code = vn_link_apply(&netlink, &link, config, error);
	vn_netlink_close(&netlink);
	return code;
}

int vnic_device_configure(struct vnic_device *device, const struct vnic_link_config *config,
			  struct vnic_error *error)
{
	struct vn_netlink elsewhere;
	struct vn_netlink *netlink;
	struct vn_link link;
	int code = vn_device_link(device, &elsewhere, &netlink, &link, error);

	if (code < 0)
		return code;
	code = vn_link_apply(netlink, &link, config, error);
	vn_netlink_close(&elsewhere);
	return code == -ENODEV ? vn_device_gone(error) : code;
}

int vnic_link_delete(const char *netns, const char *name, struct vnic_error *error)
{
	struct vn_netlink netlink = VN_NETLINK_NONE;
	char why[VN_NETLINK_WHY_BYTES];
	struct nlmsghdr *request;
	struct ifinfomsg *header;
	union message message;
	struct vn_link link = {0};
	int code;

	if (!name)
		return vn_error(error, -EINVAL, VNIC_CAUSE_ARGUMENT, "no interface is named");
	code = vn_netns_netlink(netns, &netlink, NULL, error);
	if (code == 0)
		code = vn_link_get(&netlink, 0, name, &link, error);
	if (code < 0) {
		vn_netlink_close(&netlink);
		return code;
	}
	request = mnl_nlmsg_put_header(&message);
	request->nlmsg_type = RTM_DELLINK;
	header = mnl_nlmsg_put_extra_header(request, sizeof(*header));
	header->ifi_index = link.info.index;
	code = vn_netlink_request(&netlink, request, NULL, NULL, why);
	vn_netlink_close(&netlink);
	switch (-code) {
	case 0:
		return 0;
	case ENODEV:
		return vn_error(error, code, VNIC_CAUSE_INTERFACE_MISSING,
				"there is no interface '%s'", name);
	case EOPNOTSUPP:
		return vn_error(error, code, VNIC_CAUSE_UNSUPPORTED,
				"'%s' is an interface that cannot be deleted", name);
	default:
		return vn_error_system(error, code, vn_system_cause(code), "cannot delete '%s'%s",
				       name, why);
	}
}
