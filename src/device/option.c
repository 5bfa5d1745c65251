/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Each call is one ioctl(2) through the first queue; one that is detached serves as well. None of
 * them needs a privilege: who could attach may set. Five take their argument by value and not
 * through a pointer (persistence, owner, group, link type, offloads); given a pointer the kernel
 * would take its bits for a user's number, without an error. So there are two helpers, and each
 * call says which it is.
 *
 * An ioctl that the kernel does not know is EINVAL from this driver. Where a call has no other
 * reason for EINVAL left, it is told as "unsupported".
 */
#include "base/error.h"
#include "device/device.h"
#include "device/kernel.h"
#include "device/node.h"
#include "device/offload.h"
#include "device/system.h"
#include <errno.h>
#include <linux/filter.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(sizeof(struct vnic_bpf_instruction) == sizeof(struct sock_filter),
	       "an instruction of classic BPF has 8 bytes");

/*
 * What to return for the result of an ioctl. invalid: what EINVAL says; NULL: unknown to this
 * kernel.
 */
static int result(int code, const char *what, const char *invalid, struct vnic_error *error)
{
	switch (-code) {
	case 0:
		return 0;
	case EBADFD:
		return vn_device_gone(error);
	case EINVAL:
		if (invalid)
			return vn_error(error, code, VNIC_CAUSE_ARGUMENT, "cannot set %s: %s", what,
					invalid);
		/* fall through */
	case ENOTTY:
	case EOPNOTSUPP:
		return vn_error(error, -EOPNOTSUPP, VNIC_CAUSE_UNSUPPORTED,
				"this kernel cannot set %s", what);
	default:
		return vn_error_system(error, code, vn_system_cause(code), "cannot set %s", what);
	}
}

static int set_value(struct vnic_device *device, unsigned long request, unsigned long value,
		     const char *what, const char *invalid, struct vnic_error *error)
{
	return result(vn_node_control_value(vn_device_control(device), request, value), what,
		      invalid, error);
}

static int set_pointer(struct vnic_device *device, unsigned long request, const void *argument,
		       const char *what, const char *invalid, struct vnic_error *error)
{
	int control = vn_device_control(device);
	int code;

	code = vn_node_control(control, request, argument);
	return result(code > 0 ? 0 : code, what, invalid, error);
}

int vnic_device_set_persistent(struct vnic_device *device, bool persistent,
			       struct vnic_error *error)
{
	return set_value(device, TUNSETPERSIST, persistent, "persistence", NULL, error);
}

int vnic_device_set_owner(struct vnic_device *device, uid_t owner, struct vnic_error *error)
{
	return set_value(device, TUNSETOWNER, owner, "the owner",
			 "not a user of this user namespace", error);
}

int vnic_device_set_group(struct vnic_device *device, gid_t group, struct vnic_error *error)
{
	return set_value(device, TUNSETGROUP, group, "the group",
			 "not a group of this user namespace", error);
}

int vnic_device_set_carrier(struct vnic_device *device, bool carrier, struct vnic_error *error)
{
	int value = carrier;

	return set_pointer(device, TUNSETCARRIER, &value, "the carrier", NULL, error);
}

int vnic_device_set_send_buffer(struct vnic_device *device, int bytes, struct vnic_error *error)
{
	int code;

	if (bytes <= 0)
		return vn_error(error, -EINVAL, VNIC_CAUSE_ARGUMENT, "a send buffer of %d bytes",
				bytes);
	code = set_pointer(device, TUNSETSNDBUF, &bytes, "the send buffer", NULL, error);
	if (code == 0)
		device->send_buffer_bytes = bytes;
	return code;
}

int vnic_device_set_offloads(struct vnic_device *device, unsigned offloads,
			     struct vnic_error *error)
{
	int granted;
	int code = vn_offload_check(offloads, error);

	if (code < 0)
		return code;
	if (offloads && !device->vnet_header_bytes)
		return vn_error(error, -EINVAL, VNIC_CAUSE_ARGUMENT,
				"offloads need a virtio-net header, and the device has none");
	if (device->vnet_header_bytes < 24)
		offloads &= ~(unsigned)VN_OFFLOAD_TUNNEL;
	granted = vn_offload_set(vn_device_control(device), offloads);
	if (granted < 0)
		return result(granted, "the offloads", NULL, error);
	device->offloads = (unsigned)granted;
	return 0;
}

int vnic_device_set_link_type(struct vnic_device *device, int type, struct vnic_error *error)
{
	int control = vn_device_control(device);
	int code;

	code = vn_node_control_value(control, TUNSETLINK, (unsigned long)type);
	if (code == -EBUSY)
		return vn_error(error, code, VNIC_CAUSE_ARGUMENT,
				"cannot set the link type while the interface is up");
	return result(code, "the link type", NULL, error);
}

static int want_tap(const struct vnic_device *device, const char *what, struct vnic_error *error)
{
	if (device->type == VNIC_TAP)
		return 0;
	return vn_error(error, -EINVAL, VNIC_CAUSE_ARGUMENT, "a TUN has no %s: only a TAP has one",
			what);
}

int vnic_device_set_mac_filter(struct vnic_device *device, const uint8_t (*macs)[VNIC_MAC_BYTES],
			       unsigned count, bool all_multicast, struct vnic_error *error)
{
	struct tun_filter *filter;
	int code = want_tap(device, "filter of addresses", error);

	if (code < 0)
		return code;
	if (count > UINT16_MAX)
		return vn_error(error, -EINVAL, VNIC_CAUSE_ARGUMENT,
				"%u addresses are more than a filter holds", count);
	filter = malloc(sizeof(*filter) + count * sizeof(*macs));
	if (!filter)
		return vn_error(error, -ENOMEM, VNIC_CAUSE_MEMORY, "out of memory");
	filter->flags = all_multicast ? TUN_FLT_ALLMULTI : 0;
	filter->count = (uint16_t)count;
	if (count)
		memcpy(filter->addr, macs, count * sizeof(*macs));
	code = set_pointer(device, TUNSETTXFILTER, filter, "the filter of addresses", NULL, error);
	free(filter);
	return code;
}

int vnic_device_set_socket_filter(struct vnic_device *device,
				  const struct vnic_bpf_instruction *instructions, unsigned count,
				  struct vnic_error *error)
{
	struct sock_fprog program = {.len = (unsigned short)count};
	struct sock_filter *copy;
	unsigned i;
	int code = want_tap(device, "socket filter", error);

	if (code < 0)
		return code;
	if (count == 0)
		return set_pointer(device, TUNDETACHFILTER, &program, "the socket filter", NULL,
				   error);
	if (count > BPF_MAXINSNS)
		return vn_error(error, -EINVAL, VNIC_CAUSE_ARGUMENT,
				"%u instructions: a filter has at most %d", count, BPF_MAXINSNS);
	copy = malloc(count * sizeof(*copy));
	if (!copy)
		return vn_error(error, -ENOMEM, VNIC_CAUSE_MEMORY, "out of memory");
	for (i = 0; i < count; i++)
		copy[i] = (struct sock_filter){instructions[i].code, instructions[i].jump_true,
					       instructions[i].jump_false, instructions[i].k};
	program.filter = copy;
	code = set_pointer(device, TUNATTACHFILTER, &program, "the socket filter",
			   "the instructions are not a program", error);
	free(copy);
	return code;
}

static int set_program(struct vnic_device *device, unsigned long request, int program,
		       const char *what, struct vnic_error *error)
{
	int control = vn_device_control(device);
	int code;

	code = vn_node_control(control, request, &program);
	/* EINVAL may be the program or an old kernel, and no harmless question tells which. */
	return result(code == -EBADF ? -EINVAL : code, what,
		      program == -1 ? NULL : "not an eBPF program of type SOCKET_FILTER", error);
}

int vnic_device_set_steering(struct vnic_device *device, int program, struct vnic_error *error)
{
	return set_program(device, TUNSETSTEERINGEBPF, program, "a steering program", error);
}

int vnic_device_set_filter(struct vnic_device *device, int program, struct vnic_error *error)
{
	return set_program(device, TUNSETFILTEREBPF, program, "a filter program", error);
}

int vnic_device_set_queue(struct vnic_device *device, unsigned queue_number, bool attached,
			  struct vnic_error *error)
{
	struct ifreq request = {0};
	struct vn_queue *queue;
	int code;

	if (queue_number >= device->queue_count)
		return vn_error(error, -EINVAL, VNIC_CAUSE_ARGUMENT,
				"there is no queue %u: the device has %u", queue_number,
				device->queue_count);
	queue = &device->queues[queue_number];
	/* The kernel takes a second time for an error. */
	if (queue->detached == !attached)
		return 0;
	request.ifr_flags = attached ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE;
	code = vn_node_control(queue->descriptor, TUNSETQUEUE, &request);
	if (code == -EINVAL) {
		/* A queue forgets what it was detached from when the interface is deleted. */
		if (attached || vn_node_interface(queue->descriptor, NULL, NULL) < 0)
			return vn_device_gone(error);
		return vn_error(error, code, VNIC_CAUSE_ARGUMENT,
				"the only queue of a single-queue interface cannot be detached");
	}
	if (code < 0)
		return result(code, "the queue", NULL, error);
	queue->detached = !attached;
	/* It was not there when the others' send buffer was set. */
	if (attached && device->send_buffer_bytes)
		vn_node_control(queue->descriptor, TUNSETSNDBUF, &device->send_buffer_bytes);
	return 0;
}
