/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * TUNGETFEATURES tells which flags the driver knows, without any privilege. What it does not tell
 * (offloads, header lengths, the calls) is found out by trying, on an interface of our own in a
 * namespace that nobody else sees and that goes with the descriptor. That takes CAP_SYS_ADMIN to
 * make the namespace; without it the answer is "not known".
 *
 * IFF_TUN_EXCL is not in TUNGETFEATURES; it came (Linux 3.6) before IFF_MULTI_QUEUE (3.8), which
 * is.
 */
#include "base/error.h"
#include "device/kernel.h"
#include "device/node.h"
#include "device/offload.h"
#include "device/system.h"
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <unistd.h>
#include <vnic/device.h>
#include <vnic/netns.h>

static bool knows(int descriptor, unsigned long request, const void *argument)
{
	int code = vn_node_control(descriptor, request, argument);

	return code != -EINVAL && code != -ENOTTY;
}

/* Try everything on an interface that nobody uses. */
static void try_calls(int descriptor, struct vnic_features *features)
{
	int long_header = 24;
	int no_program = -1;
	int carrier = 1;
	int netns;
	int granted;

	if (vn_node_control(descriptor, TUNSETVNETHDRSZ, &long_header) < 0)
		return;
	granted = vn_offload_set(descriptor, VNIC_OFFLOAD_ALL);
	if (granted < 0)
		return;
	features->offloads_known = true;
	features->offloads = (unsigned)granted;
	/* Any length is taken, and means nothing to a kernel without tunnels. */
	features->vnet_header_most_bytes = granted & VN_OFFLOAD_TUNNEL ? 24 : 12;
	features->carrier = knows(descriptor, TUNSETCARRIER, &carrier);
	features->steering = knows(descriptor, TUNSETSTEERINGEBPF, &no_program);
	features->filter = knows(descriptor, TUNSETFILTEREBPF, &no_program);
	netns = ioctl(descriptor, TUNGETDEVNETNS, 0);
	features->netns = netns >= 0 || (errno != EINVAL && errno != ENOTTY);
	if (netns >= 0)
		close(netns);
}

static int probe(void *user, struct vnic_error *error)
{
	struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR};
	int descriptor = vn_node_open(error);

	if (descriptor < 0)
		return descriptor;
	if (vn_node_control(descriptor, TUNSETIFF, &request) == 0)
		try_calls(descriptor, user);
	close(descriptor);
	return 0;
}

/* What a new interface of this namespace would get. */
static bool has_ipv6(void)
{
	int descriptor = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	char disabled = '0';

	if (descriptor < 0)
		return errno != EAFNOSUPPORT;
	close(descriptor);
	descriptor = open("/proc/sys/net/ipv6/conf/default/disable_ipv6", O_RDONLY | O_CLOEXEC);
	if (descriptor < 0)
		return errno != ENOENT;
	if (read(descriptor, &disabled, 1) != 1)
		disabled = '0';
	close(descriptor);
	return disabled == '0';
}

int vnic_features_query(struct vnic_features *features, struct vnic_error *error)
{
	struct vnic_features found = {0};
	struct utsname system;
	unsigned flags = 0;
	int descriptor = vn_node_open(error);
	int code;

	if (descriptor < 0)
		return descriptor;
	code = vn_node_control(descriptor, TUNGETFEATURES, &flags);
	close(descriptor);
	if (code < 0)
		return vn_error_system(error, code, vn_system_cause(code),
				       "cannot ask for the features of /dev/net/tun");
	if (uname(&system) == 0)
		snprintf(found.kernel, sizeof(found.kernel), "%.64s", system.release);
	found.tun = flags & IFF_TUN;
	found.tap = flags & IFF_TAP;
	found.packet_information = flags & IFF_NO_PI;
	found.multi_queue = flags & IFF_MULTI_QUEUE;
	found.exclusive = found.multi_queue;
	found.vnet_header = flags & IFF_VNET_HDR;
	found.napi = flags & IFF_NAPI;
	found.napi_fragments = flags & IFF_NAPI_FRAGS;
	found.no_carrier = flags & IFF_NO_CARRIER;
	found.ipv6 = has_ipv6();
	(void)vnic_netns_call(-1, probe, &found, NULL);
	*features = found;
	return 0;
}
