/* SPDX-License-Identifier: MIT */
/**
 * @file
 * The kernel's side of an interface: addresses, routes, MTU, up and down, by rtnetlink
 * (rtnetlink(7)).
 *
 * All calls take the namespace (see vnic/netns.h; NULL: the calling thread's) and the interface's
 * name, or a device. They keep no state and may be made from any thread. Errors carry the kernel's
 * own explanation where it gives one.
 */
#ifndef VNIC_LINK_H
#define VNIC_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <vnic/address.h>
#include <vnic/device.h>
#include <vnic/error.h>

#ifdef __cplusplus
extern "C" {
#endif

/** An address of the kernel's on the interface. */
struct vnic_link_address {
	struct vnic_prefix prefix;
	/** The other end of a point-to-point link; family VNIC_NO_FAMILY: none */
	struct vnic_address peer;
};

struct vnic_route {
	struct vnic_prefix destination; /**< host bits are ignored; length 0: the default route */
	struct vnic_address gateway;    /**< family VNIC_NO_FAMILY: on the link itself */
	uint32_t metric;                /**< 0: the kernel's default */
};

enum vnic_link_state {
	VNIC_LINK_KEEP = 0,
	VNIC_LINK_UP,
	VNIC_LINK_DOWN
};

/** What to set. All zero: nothing. */
struct vnic_link_config {
	const struct vnic_link_address *addresses;
	size_t address_count;
	const struct vnic_route *routes; /**< want the interface to be up, or VNIC_LINK_UP */
	size_t route_count;
	const uint8_t *mac;     /**< 6 bytes; NULL: keep */
	const char *new_name;   /**< NULL: keep */
	unsigned mtu_bytes;     /**< 0: keep */
	unsigned queue_packets; /**< the transmit queue's length; 0: keep */
	enum vnic_link_state state;
	/**
	 * Let the kernel give itself a link-local address, send router solicitations and so on when
	 * the interface comes up. False: addrgenmode none, and not a packet is sent that nobody
	 * asked for (an IPv6 address on a TAP asks for one: a report of its multicast group). An
	 * interface that is up already keeps its mode.
	 *
	 * On a TUN or TAP, IPv6 addresses come without duplicate address detection, so that they
	 * can be used at once.
	 */
	bool ipv6_autoconfiguration;
	bool shared_addresses; /**< other interfaces may have the same addresses */
};

/**
 * Configure an interface in one go: name, MAC, MTU, queue length, IPv6 mode, addresses, up or down,
 * routes, in this order. What is already so is no error; what is there beyond it is not touched.
 * Where a step fails the steps before it stay done.
 * @return 0, or with the cause in brackets:
 *         -ENODEV (INTERFACE_MISSING); -EPERM (CAPABILITY); -ERANGE (MTU_RANGE), the text names the
 *         range;
 *         -EINVAL (ADDRESS_INVALID) not one an interface can have (multicast, unspecified, or given
 *         twice with different lengths or peers);
 *         -EADDRINUSE (ADDRESS_TAKEN), the text names the other interface; -EADDRNOTAVAIL
 *         (MAC_INVALID), and for a TUN, which has none;
 *         -EEXIST (NAME_TAKEN); -EINVAL (NAME_INVALID), -ENAMETOOLONG (NAME_TOO_LONG); -ENETUNREACH
 *         and others (ROUTE);
 *         -EAFNOSUPPORT (UNSUPPORTED) an IPv6 address where IPv6 is disabled;
 *         -ENOENT (NETNS_MISSING); -EMFILE (LIMIT)
 */
VNIC_API int vnic_link_configure(const char *netns, const char *name,
				 const struct vnic_link_config *config, struct vnic_error *error);
/**
 * The same for a device, wherever its interface is now and whatever its name: -ENODEV is
 * (DEVICE_GONE) here. -EPERM (CAPABILITY) too where it was moved to a namespace that the caller may
 * not enter.
 */
VNIC_API int vnic_device_configure(struct vnic_device *device,
				   const struct vnic_link_config *config, struct vnic_error *error);

/**
 * Delete an interface. @return 0, -ENODEV (INTERFACE_MISSING), -EPERM (CAPABILITY), -EOPNOTSUPP
 * (UNSUPPORTED)
 */
VNIC_API int vnic_link_delete(const char *netns, const char *name, struct vnic_error *error);

/**
 * What the kernel counts; rx is what the program sent, tx is what it receives (struct
 * rtnl_link_stats64).
 */
struct vnic_link_statistics {
	uint64_t rx_packets, rx_bytes, rx_errors, rx_dropped;
	/** Tx_dropped: the program did not read in time */
	uint64_t tx_packets, tx_bytes, tx_errors, tx_dropped;
};

struct vnic_link_info {
	char name[VNIC_NAME_BYTES];
	int index;
	/** "tun" for both types, "veth", ...; empty for a physical one */
	char kind[16];
	bool is_virtual_nic; /**< a TUN or a TAP: the fields below the line hold */
	bool up;             /**< IFF_UP: set up */
	bool carrier;        /**< IFF_LOWER_UP: someone is at the other end */
	bool has_mac;
	uint8_t mac[VNIC_MAC_BYTES];
	unsigned mtu_bytes, mtu_least_bytes, mtu_most_bytes;
	unsigned queue_packets;
	bool ipv6_autoconfiguration;
	struct vnic_link_statistics statistics;
	/* ---- */
	enum vnic_device_type type;
	bool persistent, packet_information, vnet_header, multi_queue;
	unsigned queues, queues_detached;
	bool has_owner, has_group;
	uid_t owner;
	gid_t group;
};

/**
 * Ask about one interface. @return 0, -ENODEV (INTERFACE_MISSING), -ENOENT (NETNS_MISSING), -EMFILE
 * (LIMIT)
 */
VNIC_API int vnic_link_query(const char *netns, const char *name, struct vnic_link_info *info,
			     struct vnic_error *error);
/** The same for a device. @return 0, -ENODEV (DEVICE_GONE) */
VNIC_API int vnic_device_query(struct vnic_device *device, struct vnic_link_info *info,
			       struct vnic_error *error);

/**
 * Ask about all TUN and TAP interfaces of a namespace.
 * @param links  set to an array of *count, to be freed with free(); NULL where there are none
 */
VNIC_API int vnic_link_list(const char *netns, struct vnic_link_info **links, size_t *count,
			    struct vnic_error *error);
/**
 * Ask for the addresses of an interface.
 * @param addresses  set to an array of *count, to be freed with free(); NULL where there are none
 */
VNIC_API int vnic_link_addresses(const char *netns, const char *name,
				 struct vnic_link_address **addresses, size_t *count,
				 struct vnic_error *error);

/** A process that holds a descriptor of the interface. */
struct vnic_link_holder {
	pid_t process;
	int descriptor;
	char command[16]; /**< /proc/PID/comm */
};
/**
 * Find the processes behind an interface: by /proc/PID/fdinfo, so only those that the caller may
 * look into. That tells a name and no namespace: without CAP_SYS_PTRACE and CAP_NET_ADMIN, a process
 * is taken to have its interfaces in the namespace that it is in.
 * @param holders  set to an array of *count, to be freed with free(); NULL where there are none
 */
VNIC_API int vnic_link_holders(const char *netns, const char *name,
			       struct vnic_link_holder **holders, size_t *count,
			       struct vnic_error *error);

/** What happens to an interface. */
enum vnic_link_event {
	VNIC_LINK_EVENT_NONE = 0,
	VNIC_LINK_EVENT_UP,
	VNIC_LINK_EVENT_DOWN,
	VNIC_LINK_EVENT_RENAMED,
	VNIC_LINK_EVENT_GONE /**< deleted, or moved into another namespace: the last event */
};
/** "up", "down", "renamed", "gone". */
VNIC_API const char *vnic_link_event_name(enum vnic_link_event event);

/** Watches one interface. */
struct vnic_watch;
/**
 * Begin to watch a device's interface. Not thread-safe: one watch, one thread.
 * @param watch  to be closed before the device
 * @return 0, -ENODEV (DEVICE_GONE), -EMFILE (LIMIT), -ENOMEM (MEMORY), -EPERM (CAPABILITY): in a
 *         namespace that the caller may not enter any more there can be one watch at a time
 */
VNIC_API int vnic_watch_open(struct vnic_device *device, struct vnic_watch **watch,
			     struct vnic_error *error);
VNIC_API void vnic_watch_close(struct vnic_watch *watch);
/** Readable when there are events. Still the watch's. */
VNIC_API int vnic_watch_descriptor(const struct vnic_watch *watch);
/**
 * The next event, without waiting. A flood of events that the kernel could not queue is made up for
 * by asking.
 * @param name  VNIC_NAME_BYTES: the interface's name at that event; NULL: not wanted
 * @return an event; VNIC_LINK_EVENT_NONE: no more for now; or a negative errno
 */
VNIC_API int vnic_watch_next(struct vnic_watch *watch, char *name);

#ifdef __cplusplus
}
#endif
#endif
