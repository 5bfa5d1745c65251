/* SPDX-License-Identifier: MIT */
#ifndef VN_DEVICE_NETLINK_H
#define VN_DEVICE_NETLINK_H

#include <linux/netlink.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <vnic/error.h>

/** Room for a request: the largest that we make is far below. */
#define VN_NETLINK_REQUEST_BYTES 512
/** Room for one datagram from the kernel. */
#define VN_NETLINK_REPLY_BYTES 32768
/** Room for the kernel's explanation of an error. */
#define VN_NETLINK_WHY_BYTES 112

/** An rtnetlink socket. It stays in the namespace in which it was opened. */
struct vn_netlink {
	int descriptor;    /* -1: none */
	uint32_t port;     /* its address */
	uint32_t sequence; /* of the last request */
};

#define VN_NETLINK_NONE ((struct vn_netlink){.descriptor = -1})

/** Open one in the calling thread's namespace. */
int vn_netlink_open(struct vn_netlink *netlink, struct vnic_error *error);
void vn_netlink_close(struct vn_netlink *netlink);

/** True if both are known to be in one namespace, or the kernel cannot tell. */
bool vn_netlink_same_namespace(const struct vn_netlink *a, const struct vn_netlink *b);

/** A part of the answer. @return 0, or a negative errno that becomes the request's result */
typedef int vn_netlink_part(const struct nlmsghdr *message, void *user);

/**
 * Send a request and wait for its end. NLM_F_REQUEST and NLM_F_ACK are added.
 * @param request  with type and flags set; NLM_F_DUMP among them for a dump
 * @param part     called for each part of the answer; may be NULL
 * @param why      VN_NETLINK_WHY_BYTES: ": " and the kernel's explanation, or empty. Always set
 * @return 0 or a negative errno; -EINTR: a dump that changed under way and should be repeated
 */
int vn_netlink_request(struct vn_netlink *netlink, struct nlmsghdr *request, vn_netlink_part *part,
		       void *user, char *why);

#endif
