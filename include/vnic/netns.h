/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Network namespaces by name.
 *
 * Wherever the library takes a namespace it takes a text: a path where it contains '/'
 * ("/proc/7/ns/net", "/run/netns/blue", "/proc/self/fd/5"), a process where it is all digits,
 * otherwise a name as `ip netns` gives it (/run/netns/NAME). No call ever leaves the calling thread
 * in another namespace: what has to be done inside of one is done by a short-lived thread.
 */
#ifndef VNIC_NETNS_H
#define VNIC_NETNS_H

#include <vnic/error.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Open a namespace.
 * @param netns  as above; NULL: the calling thread's own
 * @return a descriptor to be closed by the caller; -ENOENT, -EINVAL (NETNS_MISSING): there is none,
 *         or it is not a network namespace; -EACCES, -EPERM (CAPABILITY); -EMFILE, -ENFILE (LIMIT)
 */
VNIC_API int vnic_netns_open(const char *netns, struct vnic_error *error);

/**
 * Run a function inside of a namespace, on a thread of its own, and wait for it.
 * @param netns_descriptor  from vnic_netns_open(), still the caller's; -1: a new namespace, which
 *                          goes when nothing refers to it any more
 * @param function  must not end its thread. What it returns is returned
 * @return what function returned; -EPERM (CAPABILITY): needs CAP_SYS_ADMIN; -EAGAIN (LIMIT): no
 *         thread to be had
 */
VNIC_API int vnic_netns_call(int netns_descriptor,
			     int (*function)(void *user, struct vnic_error *error), void *user,
			     struct vnic_error *error);

#ifdef __cplusplus
}
#endif
#endif
