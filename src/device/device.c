/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A device is one descriptor for each queue, and a netlink socket that was opened in the
 * interface's namespace when the device was. The socket is there because a program drops its
 * privileges after opening: going to the namespace a second time may be forbidden then, asking
 * through a socket is not.
 *
 * What the interface is called, and where it is, is never remembered: it may be renamed or moved by
 * others at any time. TUNGETIFF tells the name and TUNGETDEVNETNS the namespace.
 *
 * Much of what a device is like belongs to the interface, not to the descriptor, and stays with a
 * persistent one when its program ends: header size, byte order, offloads, send buffer, filters. So
 * on opening, each is set explicitly, to nothing too. Whether packet information or a virtio-net
 * header comes before each packet is set by TUNSETIFF itself, and read back (node.c).
 *
 * Offloads are the default, and a program that opens a persistent interface after us may have heard
 * of none: without a virtio-net header it would be given super-packets that it cannot tell from
 * plain ones. So they are turned off when the device is closed. Where other programs have queues of
 * an interface, the length of its header is not ours to change any more: they would read every
 * packet from a wrong place on.
 */
#include "device/device.h"
#include "base/error.h"
#include "device/kernel.h"
#include "device/netns.h"
#include "device/node.h"
#include "device/offload.h"
#include "device/system.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define VNET_HEADER_PLAIN 10  /* struct virtio_net_hdr */
#define VNET_HEADER_MERGED 12 /* and num_buffers */
#define VNET_HEADER_TUNNEL 24 /* and a hash, and the offsets of a tunnel's inner headers */
#define LINK_TRIES 8

static const struct vnic_device_options no_options;

int vn_device_gone(struct vnic_error *error)
{
	return vn_error(error, -ENODEV, VNIC_CAUSE_DEVICE_GONE, "the interface was deleted");
}

int vn_device_control(const struct vnic_device *device)
{
	return device->queues[0].descriptor;
}

/* Everything but the queues' descriptors, which may be somebody else's. */
static void free_device(struct vnic_device *device)
{
	if (device->stop >= 0)
		close(device->stop);
	vn_netlink_close(&device->netlink);
	vn_netlink_close(&device->reserve);
	free(device->queues);
	free(device);
}

static struct vnic_device *new_device(unsigned queue_count, struct vnic_error *error)
{
	struct vnic_device *device = calloc(1, sizeof(*device));
	size_t size = queue_count * sizeof(struct vn_queue);
	unsigned i;

	if (device) {
		device->netlink = VN_NETLINK_NONE;
		device->reserve = VN_NETLINK_NONE;
		device->stop = -1;
		atomic_flag_clear(&device->is_segmentation_told);
		device->queue_count = queue_count;
		device->queues = aligned_alloc(_Alignof(struct vn_queue), size);
	}
	if (!device || !device->queues) {
		free(device);
		vn_error(error, -ENOMEM, VNIC_CAUSE_MEMORY, "out of memory");
		return NULL;
	}
	memset(device->queues, 0, size);
	for (i = 0; i < queue_count; i++)
		device->queues[i].descriptor = -1;
	return device;
}

static int make_stop(struct vnic_device *device, struct vnic_error *error)
{
	int code;

	device->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (device->stop >= 0)
		return 0;
	code = -errno;
	return vn_error_system(error, code, vn_system_cause(code),
			       "cannot make an event descriptor");
}

static int check_header_options(const struct vnic_device_options *options, struct vnic_error *error)
{
	unsigned bytes = options->vnet_header_bytes;
	int code = vn_offload_check(options->offloads, error);

	if (code < 0)
		return code;
	if (options->offloads && options->no_offloads)
		return vn_error(error, -EINVAL, VNIC_CAUSE_ARGUMENT,
				"offloads are asked for, and none at all");
	if (bytes != 0 && bytes != VNET_HEADER_PLAIN && bytes != VNET_HEADER_MERGED &&
	    bytes != VNET_HEADER_TUNNEL)
		return vn_error(error, -EINVAL, VNIC_CAUSE_ARGUMENT,
				"a virtio-net header of %u bytes: there are those of 10, 12 and 24",
				bytes);
	if (bytes != 0 && bytes < VNET_HEADER_TUNNEL && (options->offloads & VN_OFFLOAD_TUNNEL))
		return vn_error(
			error, -EINVAL, VNIC_CAUSE_ARGUMENT,
			"offloads of UDP tunnels need a virtio-net header of 24 bytes, not %u",
			bytes);
	if (options->vnet_header_order != VNIC_LITTLE_ENDIAN &&
	    options->vnet_header_order != VNIC_BIG_ENDIAN)
		return vn_error(error, -EINVAL, VNIC_CAUSE_ARGUMENT, "no byte order");
	if (options->vnet_header_order != VNIC_LITTLE_ENDIAN && bytes == 0 && options->no_offloads)
		return vn_error(error, -EINVAL, VNIC_CAUSE_ARGUMENT,
				"a byte order for the virtio-net header, and no such header");
	return 0;
}

static int check_options(const struct vnic_device_options *options, struct vnic_error *error)
{
	if (options->type != VNIC_TUN && options->type != VNIC_TAP)
		return vn_error(error, -EINVAL, VNIC_CAUSE_ARGUMENT, "neither TUN nor TAP");
	if (options->mode != VNIC_OPEN_ANY && options->mode != VNIC_OPEN_CREATE &&
	    options->mode != VNIC_OPEN_ATTACH)
		return vn_error(error, -EINVAL, VNIC_CAUSE_ARGUMENT, "no such mode of opening");
	if (options->queues > VNIC_QUEUES)
		return vn_error(error, -EINVAL, VNIC_CAUSE_ARGUMENT,
				"%u queues: there can be 1 to %d", options->queues, VNIC_QUEUES);
	if (options->napi_fragments && (!options->napi || options->type != VNIC_TAP))
		return vn_error(error, -EINVAL, VNIC_CAUSE_ARGUMENT,
				"NAPI fragments want NAPI and a TAP");
	if (options->send_buffer_bytes < 0)
		return vn_error(error, -EINVAL, VNIC_CAUSE_ARGUMENT, "a send buffer of %d bytes",
				options->send_buffer_bytes);
	if (options->mode == VNIC_OPEN_ATTACH && !options->name)
		return vn_error(error, -EINVAL, VNIC_CAUSE_ARGUMENT,
				"attaching needs the name of an interface");
	if (options->name) {
		int code =
			vn_node_check_name(options->name, options->mode != VNIC_OPEN_ATTACH, error);

		if (code < 0)
			return code;
	}
	return check_header_options(options, error);
}

/* The options with their defaults in place, and what opening makes: for the thread that does it. */
struct opening {
	struct vnic_device_options options;
	bool vnet_header;
	struct vn_node node;
	struct vn_netlink reserve;
	struct vnic_device *device;
};

static void set_defaults(struct vnic_device_options *options)
{
	if (!options->name)
		options->name = options->type == VNIC_TAP ? "tap%d" : "tun%d";
	if (options->queues == 0)
		options->queues = 1;
	if (options->offloads == 0 && !options->no_offloads)
		options->offloads = VNIC_OFFLOAD_ALL;
	if (options->vnet_header_bytes != 0 && options->vnet_header_bytes < VNET_HEADER_TUNNEL)
		options->offloads &= ~(unsigned)VN_OFFLOAD_TUNNEL;
}

static int open_inside(void *user, struct vnic_error *error)
{
	struct opening *opening = user;
	int code = vn_node_attach(&opening->options, opening->vnet_header, &opening->node, error);

	if (code < 0 || !opening->options.netns)
		return code;
	code = vn_netlink_open(&opening->reserve, error);
	if (code < 0) {
		while (opening->node.count > 0)
			close(opening->node.descriptors[--opening->node.count]);
		vn_netlink_close(&opening->node.netlink);
	}
	return code;
}

/* An option that may be unknown to the kernel, and then is off anyway. */
static int switch_off(int descriptor, unsigned long request, const void *argument)
{
	int code = vn_node_control(descriptor, request, argument);

	return code == -EINVAL || code == -ENOTTY ? 0 : code;
}

static int set_byte_order(int descriptor, bool big_endian)
{
	int off = 0;
	int on = 1;
	int code;

	if (!big_endian) {
		code = switch_off(descriptor, TUNSETVNETBE, &off);
		return code < 0 ? code : vn_node_control(descriptor, TUNSETVNETLE, &on);
	}
	code = vn_node_control(descriptor, TUNSETVNETLE, &off);
	if (code == 0)
		code = vn_node_control(descriptor, TUNSETVNETBE, &on);
	/* Without the option TUN_VNET_CROSS_LE the kernel speaks its machine's own byte order. */
	if (code == -EINVAL)
		return __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? 0 : -EOPNOTSUPP;
	return code;
}

static int remove_filters(int descriptor, enum vnic_device_type type)
{
	const struct tun_filter none = {0};
	int no_program = -1;
	int code = switch_off(descriptor, TUNSETSTEERINGEBPF, &no_program);

	if (code == 0)
		code = switch_off(descriptor, TUNSETFILTEREBPF, &no_program);
	if (code == 0 && type == VNIC_TAP)
		code = switch_off(descriptor, TUNDETACHFILTER, NULL);
	if (code == 0 && type == VNIC_TAP)
		code = switch_off(descriptor, TUNSETTXFILTER, &none);
	return code;
}

static int prepare_failed(const char *what, int code, struct vnic_error *error)
{
	if (code == -EBADFD)
		return vn_device_gone(error);
	if (code == -EOPNOTSUPP)
		return vn_error(error, code, VNIC_CAUSE_UNSUPPORTED, "this kernel cannot set %s",
				what);
	return vn_error_system(error, code, vn_system_cause(code), "cannot set %s", what);
}

static int set_header_bytes(int descriptor, int bytes, struct vnic_error *error)
{
	int code = vn_node_control(descriptor, TUNSETVNETHDRSZ, &bytes);

	return code < 0 ? prepare_failed("the length of the virtio-net header", code, error) : 0;
}

/* The length that other programs have chosen, which must be one that the options allow. */
static int share_header_bytes(int descriptor, unsigned wanted, int *bytes, struct vnic_error *error)
{
	int code = vn_node_control(descriptor, TUNGETVNETHDRSZ, bytes);

	if (code < 0)
		return prepare_failed("up the virtio-net header", code, error);
	if (wanted == 0 ? *bytes == VNET_HEADER_PLAIN || *bytes == VNET_HEADER_MERGED ||
				  *bytes == VNET_HEADER_TUNNEL
			: *bytes == (int)wanted)
		return 0;
	return vn_error(error, -EBUSY, VNIC_CAUSE_NAME_TAKEN,
			"the interface is in use by another program, with a virtio-net header of "
			"%d bytes before its packets",
			*bytes);
}

/* Negotiate the offloads, and with them the header's length where it is ours to choose. */
static int prepare_headers(struct vnic_device *device, const struct vnic_device_options *options,
			   bool vnet_header, bool is_shared, struct vnic_error *error)
{
	int descriptor = device->queues[0].descriptor;
	int bytes = (int)options->vnet_header_bytes;
	unsigned offloads = options->offloads;
	int granted;
	int code;

	is_shared = is_shared && vnet_header;
	if (bytes == 0)
		bytes = offloads & VN_OFFLOAD_TUNNEL ? VNET_HEADER_TUNNEL : VNET_HEADER_PLAIN;
	/* The kernel grants tunnel offloads only where the header has room for them already. */
	code = is_shared ? share_header_bytes(descriptor, options->vnet_header_bytes, &bytes, error)
			 : set_header_bytes(descriptor, bytes, error);
	if (code < 0)
		return code;
	if (bytes < VNET_HEADER_TUNNEL)
		offloads &= ~(unsigned)VN_OFFLOAD_TUNNEL;
	granted = vn_offload_set(descriptor, offloads);
	if (granted < 0)
		return prepare_failed("the offloads", granted, error);
	if (options->vnet_header_bytes == 0 && !is_shared && bytes == VNET_HEADER_TUNNEL &&
	    !(granted & VN_OFFLOAD_TUNNEL)) {
		bytes = VNET_HEADER_PLAIN;
		code = set_header_bytes(descriptor, bytes, error);
		if (code < 0)
			return code;
	}
	code = set_byte_order(descriptor, options->vnet_header_order == VNIC_BIG_ENDIAN);
	if (code < 0)
		return prepare_failed("the byte order of the virtio-net header", code, error);
	device->offloads = (unsigned)granted;
	device->vnet_header_bytes = vnet_header ? (unsigned)bytes : 0;
	return 0;
}

static int prepare(struct vnic_device *device, const struct vnic_device_options *options,
		   bool vnet_header, bool is_shared, struct vnic_error *error)
{
	int descriptor = device->queues[0].descriptor;
	int send_buffer = options->send_buffer_bytes ? options->send_buffer_bytes : INT_MAX;
	int code = prepare_headers(device, options, vnet_header, is_shared, error);

	if (code < 0)
		return code;
	code = vn_node_control(descriptor, TUNSETSNDBUF, &send_buffer);
	if (code < 0)
		return prepare_failed("the send buffer", code, error);
	device->send_buffer_bytes = options->send_buffer_bytes;
	code = remove_filters(descriptor, device->type);
	return code < 0 ? prepare_failed("the filters", code, error) : 0;
}

static void describe_queues(struct vnic_device *device, bool information, bool big_endian)
{
	unsigned i;

	for (i = 0; i < device->queue_count; i++) {
		struct vn_queue *queue = &device->queues[i];

		queue->is_tap = device->type == VNIC_TAP;
		queue->big_endian = big_endian;
		queue->information_bytes = information ? sizeof(struct tun_pi) : 0;
		queue->vnet_header_bytes = (uint8_t)device->vnet_header_bytes;
	}
}

/* Open the descriptors and put them into the device. */
static int open_queues(struct opening *opening, struct vnic_error *error)
{
	struct vnic_device *device = opening->device;
	int descriptors[VNIC_QUEUES];
	bool foreign = false;
	unsigned i;
	int code;

	opening->node.descriptors = descriptors;
	opening->reserve = VN_NETLINK_NONE;
	code = vn_netns_run(opening->options.netns, open_inside, opening, &foreign, error);
	if (code < 0)
		return code;
	for (i = 0; i < device->queue_count; i++)
		device->queues[i].descriptor = descriptors[i];
	device->netlink = opening->node.netlink;
	device->reserve = opening->reserve;
	if (!foreign)
		vn_netlink_close(&device->reserve);
	return 0;
}

int vnic_device_open(const struct vnic_device_options *options, struct vnic_device **device,
		     struct vnic_error *error)
{
	struct opening opening = {.options = options ? *options : no_options};
	struct vnic_device *made;
	int code = check_options(&opening.options, error);

	if (code < 0)
		return code;
	set_defaults(&opening.options);
	opening.vnet_header = opening.options.vnet_header_bytes || opening.options.offloads;
	made = new_device(opening.options.queues, error);
	if (!made)
		return -ENOMEM;
	made->type = opening.options.type;
	opening.device = made;
	code = make_stop(made, error);
	if (code == 0)
		code = open_queues(&opening, error);
	if (code == 0)
		code = prepare(made, &opening.options, opening.vnet_header, opening.node.is_shared,
			       error);
	if (code < 0) {
		vnic_device_close(made);
		return code;
	}
	describe_queues(made, opening.options.packet_information,
			opening.options.vnet_header_order == VNIC_BIG_ENDIAN);
	*device = made;
	return 0;
}

/* Offloads that stay with a persistent interface are for nobody any more. */
static void turn_off_offloads(struct vnic_device *device)
{
	struct vnic_link_info info;
	short flags;

	if (!device->offloads || device->queues[0].descriptor < 0 ||
	    vn_node_interface(vn_device_control(device), NULL, &flags) < 0 ||
	    !(flags & IFF_PERSIST))
		return;
	if ((flags & IFF_MULTI_QUEUE) && vnic_device_query(device, &info, NULL) == 0 &&
	    info.queues + info.queues_detached > device->queue_count)
		return;
	vn_offload_set(vn_device_control(device), 0);
}

void vnic_device_close(struct vnic_device *device)
{
	unsigned i;

	if (!device)
		return;
	turn_off_offloads(device);
	for (i = 0; i < device->queue_count; i++) {
		if (device->queues[i].descriptor >= 0)
			close(device->queues[i].descriptor);
	}
	free_device(device);
}

void vnic_device_release(struct vnic_device *device, int *descriptors)
{
	unsigned i;

	for (i = 0; i < device->queue_count; i++)
		descriptors[i] = device->queues[i].descriptor;
	free_device(device);
}

/* What an adopted descriptor is. */
static int check_adopted(const int *descriptors, unsigned count, char *name, short *flags,
			 struct vnic_error *error)
{
	unsigned i;

	for (i = 0; i < count; i++) {
		char other[VNIC_NAME_BYTES];
		int code = vn_node_interface(descriptors[i], i == 0 ? name : other, flags);

		if (code == -EBADFD)
			return vn_error(error, code, VNIC_CAUSE_DEVICE_GONE,
					"descriptor %d is attached to no interface",
					descriptors[i]);
		if (code < 0)
			return vn_error(error, -EBADF, VNIC_CAUSE_ARGUMENT,
					"descriptor %d is none of /dev/net/tun", descriptors[i]);
		if (i > 0 && strcmp(name, other) != 0)
			return vn_error(error, -EINVAL, VNIC_CAUSE_ARGUMENT,
					"descriptors of two interfaces, '%s' and '%s'", name,
					other);
	}
	if (count > 1 && !(*flags & IFF_MULTI_QUEUE))
		return vn_error(error, -EINVAL, VNIC_CAUSE_ARGUMENT,
				"%u descriptors of '%s', which has a single queue", count, name);
	return 0;
}

/* Find out what comes before each packet. */
static int adopt_headers(struct vnic_device *device, short flags, bool information,
			 unsigned offloads, struct vnic_error *error)
{
	int descriptor = device->queues[0].descriptor;
	int bytes = 0;
	int little = 0;
	int big = 0;
	int granted;
	int code;

	if (!(flags & IFF_VNET_HDR)) {
		if (offloads)
			return vn_error(error, -EINVAL, VNIC_CAUSE_ARGUMENT,
					"offloads, and the interface has no virtio-net header");
		describe_queues(device, information, false);
		return 0;
	}
	code = vn_node_control(descriptor, TUNGETVNETHDRSZ, &bytes);
	if (code == 0)
		code = vn_node_control(descriptor, TUNGETVNETLE, &little);
	if (code == 0)
		code = switch_off(descriptor, TUNGETVNETBE, &big);
	if (code < 0)
		return prepare_failed("up what was handed over", code, error);
	if (bytes < VNET_HEADER_PLAIN || bytes > VNET_HEADER_TUNNEL)
		return vn_error(error, -EINVAL, VNIC_CAUSE_ARGUMENT,
				"a virtio-net header of %d bytes is unknown here", bytes);
	if (bytes < VNET_HEADER_TUNNEL)
		offloads &= ~(unsigned)VN_OFFLOAD_TUNNEL;
	granted = vn_offload_set(descriptor, offloads);
	if (granted < 0)
		return prepare_failed("the offloads", granted, error);
	device->offloads = (unsigned)granted;
	device->vnet_header_bytes = (unsigned)bytes;
	describe_queues(device, information,
			!little && (big || __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__));
	return 0;
}

/*
 * Whether the interface that we found by its name is the one behind the descriptor: in another
 * namespace there may be one of the same name. A TAP's Ethernet address tells; a TUN's flags may at
 * least tell that it is not.
 */
static bool is_plausible(int descriptor, short flags, const struct vn_link *link)
{
	const struct vnic_link_info *info = &link->info;
	struct ifreq request = {0};

	if (!info->is_virtual_nic)
		return false;
	if (!link->type_known)
		return true;
	if ((info->type == VNIC_TAP) != !!(flags & IFF_TAP) ||
	    info->multi_queue != !!(flags & IFF_MULTI_QUEUE) ||
	    info->vnet_header != !!(flags & IFF_VNET_HDR) ||
	    info->persistent != !!(flags & IFF_PERSIST))
		return false;
	return info->type != VNIC_TAP || vn_node_control(descriptor, SIOCGIFHWADDR, &request) < 0 ||
	       memcmp(request.ifr_hwaddr.sa_data, info->mac, VNIC_MAC_BYTES) == 0;
}

/*
 * A netlink socket for an interface that others opened, wherever. Without the right to go to its
 * namespace it may still be in our own; where it is not, the device lives without a socket, and is
 * taken to be without packet information, which no ioctl(2) tells (see node.c).
 */
static int adopt_netlink(struct vnic_device *device, const char *name, short flags,
			 bool *information, struct vnic_error *error)
{
	struct vn_netlink own = VN_NETLINK_NONE;
	struct vn_link link;
	int netns = ioctl(device->queues[0].descriptor, TUNGETDEVNETNS, 0);
	int code = vn_netlink_open(&own, error);

	if (code == 0 && netns >= 0)
		code = vn_netns_netlink_at(netns, &device->netlink, NULL);
	if (code == 0 && netns >= 0 && !vn_netlink_same_namespace(&device->netlink, &own))
		code = vn_netns_netlink_at(netns, &device->reserve, NULL);
	if (netns >= 0)
		close(netns);
	if (own.descriptor < 0)
		return code;
	if (device->netlink.descriptor < 0) {
		device->netlink = own;
		own = VN_NETLINK_NONE;
	}
	vn_netlink_close(&own);
	if (vn_link_get(&device->netlink, 0, name, &link, NULL) < 0 ||
	    !is_plausible(device->queues[0].descriptor, flags, &link)) {
		vn_netlink_close(&device->netlink);
		return 0;
	}
	*information = link.info.packet_information;
	return 0;
}

static int make_nonblocking(const int *descriptors, unsigned count, struct vnic_error *error)
{
	unsigned i;

	for (i = 0; i < count; i++) {
		int flags = fcntl(descriptors[i], F_GETFL);

		if (flags < 0 || fcntl(descriptors[i], F_SETFL, flags | O_NONBLOCK) < 0) {
			int code = -errno;

			return vn_error_system(error, code, vn_system_cause(code),
					       "cannot make a descriptor non-blocking");
		}
	}
	return 0;
}

int vnic_device_adopt(const int *descriptors, unsigned count, unsigned offloads,
		      struct vnic_device **device, struct vnic_error *error)
{
	struct vnic_device *made;
	char name[VNIC_NAME_BYTES];
	bool information = false;
	short flags = 0;
	unsigned i;
	int code;

	if (count < 1 || count > VNIC_QUEUES)
		return vn_error(error, -EINVAL, VNIC_CAUSE_ARGUMENT,
				"%u descriptors: there can be 1 to %d", count, VNIC_QUEUES);
	code = vn_offload_check(offloads, error);
	if (code == 0)
		code = check_adopted(descriptors, count, name, &flags, error);
	if (code < 0)
		return code;
	made = new_device(count, error);
	if (!made)
		return -ENOMEM;
	made->type = flags & IFF_TAP ? VNIC_TAP : VNIC_TUN;
	for (i = 0; i < count; i++)
		made->queues[i].descriptor = descriptors[i];
	code = make_stop(made, error);
	if (code == 0)
		code = adopt_netlink(made, name, flags, &information, error);
	if (code == 0)
		code = adopt_headers(made, flags, information, offloads, error);
	if (code == 0)
		code = make_nonblocking(descriptors, count, error);
	if (code < 0) {
		free_device(made);
		return code;
	}
	*device = made;
	return 0;
}

/* The socket to ask with: the device's, or one in the namespace that the interface has moved to. */
static int find_netlink(struct vnic_device *device, int control, struct vn_netlink *elsewhere,
			struct vnic_error *error)
{
	int here = ioctl(control, TUNGETDEVNETNS, 0);
	int home = -1;
	struct stat here_stat;
	struct stat home_stat;
	int code = 0;

	if (here < 0)
		return 0; /* not ours to know: it will be where it was, or not be found there */
	if (device->netlink.descriptor >= 0)
		home = ioctl(device->netlink.descriptor, SIOCGSKNS, 0);
	if (device->netlink.descriptor < 0 ||
	    (home >= 0 && fstat(here, &here_stat) == 0 && fstat(home, &home_stat) == 0 &&
	     (here_stat.st_ino != home_stat.st_ino || here_stat.st_dev != home_stat.st_dev)))
		code = vn_netns_netlink_at(here, elsewhere, error);
	if (home >= 0)
		close(home);
	close(here);
	return code;
}

/* By name, since TUNGETIFF tells no number. A name can change between two questions. */
static int find_link(int control, struct vn_netlink *netlink, struct vn_link *link,
		     struct vnic_error *error)
{
	char name[VNIC_NAME_BYTES];
	char again[VNIC_NAME_BYTES];
	int code = -ENODEV;
	int tries;

	for (tries = 0; tries < LINK_TRIES; tries++) {
		if (vn_node_interface(control, name, NULL) < 0)
			return vn_device_gone(error);
		code = vn_link_get(netlink, 0, name, link, error);
		if (code < 0 && code != -ENODEV)
			return code;
		if (vn_node_interface(control, again, NULL) < 0)
			return vn_device_gone(error);
		if (strcmp(name, again) == 0)
			break;
		code = -ENODEV;
	}
	if (code == 0 && link->info.is_virtual_nic)
		return 0;
	return vn_error(error, -EPERM, VNIC_CAUSE_CAPABILITY,
			"'%s' is in another network namespace, which may not be entered", name);
}

int vn_device_link(struct vnic_device *device, struct vn_netlink *elsewhere,
		   struct vn_netlink **netlink, struct vn_link *link, struct vnic_error *error)
{
	int control = vn_device_control(device);
	int code;

	*elsewhere = VN_NETLINK_NONE;
	*netlink = &device->netlink;
	code = find_netlink(device, control, elsewhere, error);
	if (code < 0)
		return code;
	if (elsewhere->descriptor >= 0)
		*netlink = elsewhere;
	if ((*netlink)->descriptor < 0)
		return vn_error(error, -EPERM, VNIC_CAUSE_CAPABILITY,
				"the interface is in a network namespace that may not be entered");
	code = find_link(control, *netlink, link, error);
	if (code < 0)
		vn_netlink_close(elsewhere);
	return code;
}

int vnic_device_name(struct vnic_device *device, char *name, struct vnic_error *error)
{
	char now[VNIC_NAME_BYTES];

	if (vn_node_interface(vn_device_control(device), now, NULL) < 0)
		return vn_device_gone(error);
	memcpy(name, now, VNIC_NAME_BYTES);
	return 0;
}

int vnic_device_query(struct vnic_device *device, struct vnic_link_info *info,
		      struct vnic_error *error)
{
	struct vn_netlink elsewhere;
	struct vn_netlink *netlink;
	struct vn_link link;
	int code = vn_device_link(device, &elsewhere, &netlink, &link, error);

	vn_netlink_close(&elsewhere);
	if (code == 0)
		*info = link.info;
	return code;
}

int vnic_device_index(struct vnic_device *device, struct vnic_error *error)
{
	struct vnic_link_info info = {0};
	int code = vnic_device_query(device, &info, error);

	return code < 0 ? code : info.index;
}

int vnic_device_netns(struct vnic_device *device, struct vnic_error *error)
{
	int descriptor = ioctl(vn_device_control(device), TUNGETDEVNETNS, 0);
	int code = -errno;

	if (descriptor >= 0)
		return descriptor;
	switch (-code) {
	case EBADFD:
		return vn_device_gone(error);
	case EINVAL:
	case ENOTTY:
		return vn_error(error, -EOPNOTSUPP, VNIC_CAUSE_UNSUPPORTED,
				"this kernel does not tell an interface's namespace");
	default:
		return vn_error_system(error, code, vn_system_cause(code),
				       "cannot open the interface's namespace");
	}
}

enum vnic_device_type vnic_device_type(const struct vnic_device *device)
{
	return device->type;
}

enum vnic_layer vnic_device_layer(const struct vnic_device *device)
{
	return device->type == VNIC_TAP ? VNIC_LAYER_ETHERNET : VNIC_LAYER_IP;
}

unsigned vnic_device_queues(const struct vnic_device *device)
{
	return device->queue_count;
}

unsigned vnic_device_offloads(const struct vnic_device *device)
{
	return device->offloads;
}

unsigned vnic_device_vnet_header_bytes(const struct vnic_device *device)
{
	return device->vnet_header_bytes;
}

int vnic_device_descriptor(const struct vnic_device *device, unsigned queue)
{
	return queue < device->queue_count ? device->queues[queue].descriptor : -1;
}
