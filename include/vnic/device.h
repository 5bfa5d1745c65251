/* SPDX-License-Identifier: MIT */
/**
 * @file
 * TUN and TAP devices: the program's end of a virtual network interface.
 *
 * A device is an interface together with one descriptor of /dev/net/tun for each queue (Linux
 * Documentation/networking/tuntap.rst). Opening one creates the interface, or attaches to a
 * persistent one; closing it removes the interface unless it is persistent.
 *
 * Threads: different queues of one device may be used by different threads at the same time, one
 * queue by one thread only. The calls that configure or ask may be made from any thread, but not
 * two at the same time on one device.
 */
#ifndef VNIC_DEVICE_H
#define VNIC_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <vnic/error.h>
#include <vnic/packet.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Room for an interface's name with its terminating zero, in bytes (IFNAMSIZ). */
#define VNIC_NAME_BYTES 16
/** The most queues that the kernel allows. */
#define VNIC_QUEUES 256

enum vnic_device_type {
	VNIC_TUN = 0, /**< carries IP packets */
	VNIC_TAP      /**< carries Ethernet frames */
};

/** What to do about an interface that exists already. */
enum vnic_open_mode {
	VNIC_OPEN_ANY = 0, /**< attach to it; create it where there is none */
	VNIC_OPEN_CREATE,  /**< fail (cause NAME_TAKEN) */
	VNIC_OPEN_ATTACH   /**< attach to it; fail where there is none (cause INTERFACE_MISSING) */
};

/** What the kernel may leave to the program (TUN_F_*), as bits. */
enum vnic_offload {
	VNIC_OFFLOAD_CSUM = 0x01, /**< checksums not computed */
	VNIC_OFFLOAD_TSO4 = 0x02, /**< TCP over IPv4 not segmented; wants CSUM */
	VNIC_OFFLOAD_TSO6 = 0x04, /**< TCP over IPv6 not segmented; wants CSUM */
	VNIC_OFFLOAD_ECN = 0x08,  /**< TCP with ECN not segmented; wants a TSO */
	/** UDP not segmented, both versions (Linux 6.2); wants CSUM */
	VNIC_OFFLOAD_USO = 0x10,
	/** UDP tunnels not segmented (Linux 6.17); wants one of the above */
	VNIC_OFFLOAD_UDP_TUNNEL = 0x20,
	VNIC_OFFLOAD_UDP_TUNNEL_CSUM = 0x40, /**< nor their outer checksums computed */
	VNIC_OFFLOAD_ALL = 0x7f
};

/** Byte order of the numbers in the virtio-net header that stands before each packet. */
enum vnic_byte_order {
	VNIC_LITTLE_ENDIAN = 0,
	VNIC_BIG_ENDIAN
};

/**
 * How to open a device. All zero: a new TUN with one queue, a name of the kernel's choice and every
 * offload that the kernel grants.
 */
struct vnic_device_options {
	enum vnic_device_type type;
	/**
	 * At most 15 bytes; may contain one "%d" for a number of the kernel's choice. NULL: "tun%d"
	 * or "tap%d".
	 */
	const char *name;
	/** Where the interface shall be: see vnic/netns.h. NULL: the calling thread's namespace. */
	const char *netns;
	enum vnic_open_mode mode;
	unsigned queues; /**< 1 to VNIC_QUEUES; 0: 1 */
	/** 4 bytes of flags and protocol before each packet (struct tun_pi) */
	bool packet_information;
	/**
	 * 0: what the offloads need, which is 10, 24 for UDP tunnels, or none with no_offloads.
	 * Otherwise 10, 12 or 24.
	 */
	unsigned vnet_header_bytes;
	enum vnic_byte_order vnet_header_order;
	/** Enum vnic_offload, or-ed; what is not granted is left out. 0: all */
	unsigned offloads;
	/**
	 * None at all: each packet is a plain one with its checksum complete, and without
	 * vnet_header_bytes nothing stands before it. What a program wants that reads and writes
	 * the descriptor itself
	 */
	bool no_offloads;
	/** Receive through NAPI: GRO for what the program sends */
	bool napi;
	/** And through napi_gro_frags(); TAP only; wants napi and CAP_NET_ADMIN */
	bool napi_fragments;
	/** The link is without carrier until vnic_device_set_carrier() */
	bool no_carrier;
	int send_buffer_bytes; /**< of each queue; 0: the kernel's, which never fills */
};

struct vnic_device;

/**
 * Open a device. State that an earlier opener left behind in a persistent interface (header size,
 * byte order, offloads, filters) is set as the options say; of an interface with several queues
 * that others use, too, the length of the virtio-net header stays as it is.
 * @param options  NULL: all zero. Not kept.
 * @param device   the new device, to be closed with vnic_device_close()
 * @return 0, or with the cause in brackets:
 *         -EINVAL (ARGUMENT) options that contradict each other; (NAME_INVALID) a name that no
 *         interface can have; (KIND_MISMATCH) the name of another kind of interface;
 *         (TYPE_MISMATCH) a TUN for a TAP; (QUEUES_MISMATCH) several queues of an interface that
 *         has one;
 *         -ENAMETOOLONG (NAME_TOO_LONG) over 15 bytes;
 *         -EBUSY (NAME_TAKEN) the name or the only queue is in use, or another program wants other
 *         headers before the packets of this interface;
 *         -E2BIG (QUEUES_MISMATCH) the interface has no queue left;
 *         -ENODEV (INTERFACE_MISSING) with VNIC_OPEN_ATTACH; -EEXIST (NAME_TAKEN) with
 *         VNIC_OPEN_CREATE;
 *         -EPERM (CAPABILITY) no CAP_NET_ADMIN; (NOT_OWNER) another user's interface;
 *         -EACCES (NODE_PERMISSION) of /dev/net/tun; -ENOENT, -ENXIO (NODE_MISSING) there is none;
 *         -ENOENT (NETNS_MISSING); -EMFILE, -ENFILE (LIMIT); -ENOMEM (MEMORY);
 *         -EOPNOTSUPP (UNSUPPORTED) this kernel lacks an option that was asked for
 */
VNIC_API int vnic_device_open(const struct vnic_device_options *options,
			      struct vnic_device **device, struct vnic_error *error);

/**
 * Make a device of descriptors from elsewhere, one for each queue, all attached to one interface.
 * @param descriptors  belong to the device on success, and still to the caller on failure. They are
 *                     made non-blocking
 * @param offloads     enum vnic_offload, or-ed: set where the interface has a virtio-net header,
 *                     since the kernel cannot tell what is set; otherwise must be 0
 *
 * Whether there is packet information is asked by netlink. An interface in a namespace that the
 * caller may not enter is taken to have none.
 * @return 0; -EBADF (ARGUMENT) no descriptor of /dev/net/tun; -EBADFD (DEVICE_GONE) attached to no
 *         interface; -EINVAL (ARGUMENT) not of one interface; -ENOMEM (MEMORY)
 */
VNIC_API int vnic_device_adopt(const int *descriptors, unsigned count, unsigned offloads,
			       struct vnic_device **device, struct vnic_error *error);

/**
 * Close all descriptors. The interface goes, unless it is persistent: then its offloads are turned
 * off, for whoever opens it next may know of none. NULL is allowed.
 */
VNIC_API void vnic_device_close(struct vnic_device *device);

/**
 * Give up a device without closing its descriptors.
 * @param descriptors  room for vnic_device_queues() of them, which are the caller's from now on
 */
VNIC_API void vnic_device_release(struct vnic_device *device, int *descriptors);

/**
 * Hand descriptors over a Unix socket (SCM_RIGHTS, unix(7)) with a few bytes of the caller's.
 * @param socket       connected; of any type. The call waits where it would block
 * @param descriptors  1 to VNIC_QUEUES - 3, still open here afterwards
 * @param data         1 to 4096 bytes for the receiver: the name, say; NULL: one zero byte is sent
 * @return 0, or a negative errno (SYSTEM)
 */
VNIC_API int vnic_descriptors_send(int socket, const int *descriptors, unsigned count,
				   const void *data, size_t length_bytes, struct vnic_error *error);
/**
 * Receive what vnic_descriptors_send() sent; the descriptors are close-on-exec.
 * @param descriptors   room for capacity; what does not fit is closed
 * @param data          room for *length_bytes, which is set to what came; NULL: not wanted
 * @return the number of descriptors, 0 at the end of the stream, or a negative errno (SYSTEM)
 */
VNIC_API int vnic_descriptors_receive(int socket, int *descriptors, unsigned capacity, void *data,
				      size_t *length_bytes, struct vnic_error *error);

/* What it is. */

/**
 * The interface's name as it is now: it may have been renamed.
 * @param name  VNIC_NAME_BYTES of the caller's
 * @return 0, or -ENODEV (DEVICE_GONE)
 */
VNIC_API int vnic_device_name(struct vnic_device *device, char *name, struct vnic_error *error);
/** The interface's number in its namespace. @return a positive number, or -ENODEV (DEVICE_GONE) */
VNIC_API int vnic_device_index(struct vnic_device *device, struct vnic_error *error);
/**
 * A new descriptor of the network namespace that the interface is in (TUNGETDEVNETNS), to be closed
 * by the caller.
 * @return a descriptor, -ENODEV (DEVICE_GONE), -EPERM (CAPABILITY), -EOPNOTSUPP (UNSUPPORTED)
 */
VNIC_API int vnic_device_netns(struct vnic_device *device, struct vnic_error *error);
VNIC_API enum vnic_device_type vnic_device_type(const struct vnic_device *device);
/** What packets of this device begin with. */
VNIC_API enum vnic_layer vnic_device_layer(const struct vnic_device *device);
VNIC_API unsigned vnic_device_queues(const struct vnic_device *device);
/** The offloads that the kernel granted: enum vnic_offload, or-ed. */
VNIC_API unsigned vnic_device_offloads(const struct vnic_device *device);
/** 0 without a virtio-net header. */
VNIC_API unsigned vnic_device_vnet_header_bytes(const struct vnic_device *device);
/**
 * The queue's descriptor: readable when there are packets (poll(2), POLLERR: the device is gone).
 * Still the device's.
 */
VNIC_API int vnic_device_descriptor(const struct vnic_device *device, unsigned queue);

/*
 * What it shall be. All return 0; -ENODEV (DEVICE_GONE); -EPERM (CAPABILITY); -EOPNOTSUPP
 * (UNSUPPORTED); and what each names.
 */

/** Let the interface stay when the device is closed (TUNSETPERSIST). */
VNIC_API int vnic_device_set_persistent(struct vnic_device *device, bool persistent,
					struct vnic_error *error);
/**
 * Who may attach to it without CAP_NET_ADMIN (TUNSETOWNER). Without an owner and without a group
 * everybody may; with both, it takes to be the owner and in the group. What was set once can be
 * changed, but not taken away.
 * @return also -EINVAL (ARGUMENT): (uid_t)-1, or not a user of the caller's user namespace
 */
VNIC_API int vnic_device_set_owner(struct vnic_device *device, uid_t owner,
				   struct vnic_error *error);
/** The same for the members of a group (TUNSETGROUP). */
VNIC_API int vnic_device_set_group(struct vnic_device *device, gid_t group,
				   struct vnic_error *error);
/** Say whether the cable is plugged in (TUNSETCARRIER, Linux 5.0). */
VNIC_API int vnic_device_set_carrier(struct vnic_device *device, bool carrier,
				     struct vnic_error *error);
/**
 * Bytes that a queue may have in flight into the kernel before sending gives -EAGAIN
 * (TUNSETSNDBUF). @return also -EINVAL (ARGUMENT): not positive
 */
VNIC_API int vnic_device_set_send_buffer(struct vnic_device *device, int bytes,
					 struct vnic_error *error);
/**
 * Negotiate offloads again (TUNSETOFFLOAD), downward where the kernel does not know one.
 * @return also -EINVAL (ARGUMENT): offloads without a virtio-net header, or an offload without the
 *         one that it wants
 */
VNIC_API int vnic_device_set_offloads(struct vnic_device *device, unsigned offloads,
				      struct vnic_error *error);
/**
 * The link-layer type that others see (TUNSETLINK, ARPHRD_*). @return also -EBUSY (ARGUMENT): the
 * interface is up
 */
VNIC_API int vnic_device_set_link_type(struct vnic_device *device, int type,
				       struct vnic_error *error);
/**
 * Receive only frames to these addresses (TUNSETTXFILTER): TAP only.
 * @param macs   count times 6 bytes; count 0 removes the filter
 * @param all_multicast  every group address passes too
 * @return also -EINVAL (ARGUMENT): not a TAP; -ENOMEM (MEMORY)
 */
VNIC_API int vnic_device_set_mac_filter(struct vnic_device *device,
					const uint8_t (*macs)[VNIC_MAC_BYTES], unsigned count,
					bool all_multicast, struct vnic_error *error);
/** One instruction of classic BPF: the same as struct sock_filter and struct bpf_insn. */
struct vnic_bpf_instruction {
	uint16_t code;
	uint8_t jump_true;
	uint8_t jump_false;
	uint32_t k;
};
/**
 * Receive only what a classic BPF program lets pass (TUNATTACHFILTER, TUNDETACHFILTER): TAP only.
 * @param instructions  count of them; count 0 removes the filter
 * @return also -EINVAL (ARGUMENT): not a TAP, or not a program
 */
VNIC_API int vnic_device_set_socket_filter(struct vnic_device *device,
					   const struct vnic_bpf_instruction *instructions,
					   unsigned count, struct vnic_error *error);
/**
 * Choose the queue of each packet by an eBPF program of type SOCKET_FILTER (TUNSETSTEERINGEBPF).
 * @param program  its descriptor; -1 removes it. Still the caller's
 * @return also -EINVAL (ARGUMENT): no such program
 */
VNIC_API int vnic_device_set_steering(struct vnic_device *device, int program,
				      struct vnic_error *error);
/**
 * Cut or drop each packet by an eBPF program, as above (TUNSETFILTEREBPF): it returns the bytes to
 * keep.
 */
VNIC_API int vnic_device_set_filter(struct vnic_device *device, int program,
				    struct vnic_error *error);
/**
 * Detach a queue from the interface, so that the kernel steers nothing to it, or attach it again
 * (TUNSETQUEUE). Attaching or detaching twice is no error. Nothing is received from a detached
 * queue; sending and all other calls work as before.
 * @return also -EINVAL (ARGUMENT): no such queue, or not a multi-queue interface
 */
VNIC_API int vnic_device_set_queue(struct vnic_device *device, unsigned queue, bool attached,
				   struct vnic_error *error);

/* Moving packets. */

/**
 * Receive up to count packets from the kernel without waiting.
 * @param packets  with memory of the caller's: data and capacity_bytes say where to. What does not
 *                 fit is cut off, counted and marked VNIC_PACKET_TRUNCATED. One byte of each buffer
 *                 is kept to notice that, so at least 2 are needed, and a packet that was cut has
 *                 capacity_bytes - 1. Set on return: length_bytes, flags and the offload
 *                 description; csum_start + csum_offset + 2 is within the packet
 * @param count    1 to VNIC_BURST_PACKETS
 * @return the number of packets, at least 1; -EAGAIN: there are none (also while the interface is
 *         down);
 *         -ENODEV: the interface was deleted
 */
VNIC_API int vnic_device_receive(struct vnic_device *device, unsigned queue,
				 struct vnic_packet *packets, unsigned count);
/**
 * Send up to count packets into the kernel, as if they came in over a wire.
 * @param packets  not changed
 * @return the number of packets taken, at least 1: a packet that the kernel refuses (malformed) or
 *         that the device cannot carry (offloads without a virtio-net header) is counted as dropped
 *         and taken too. A checksum that is to be completed is completed on the way where the
 *         device has no virtio-net header;
 *         -EAGAIN: the send buffer is full; -ENETDOWN: the interface is down; -ENODEV: the
 *         interface was deleted. With an error nothing was taken and nothing is counted as sent
 */
VNIC_API int vnic_device_send(struct vnic_device *device, unsigned queue,
			      const struct vnic_packet *packets, unsigned count);

/** What went through a queue since it was opened. */
struct vnic_queue_statistics {
	uint64_t received_packets;
	uint64_t received_bytes;
	uint64_t received_truncated_packets; /**< among the received: their end is lost */
	/** Dropped: a virtio-net header that makes no sense */
	uint64_t received_malformed_packets;
	uint64_t sent_packets;
	uint64_t sent_bytes;
	/** Dropped: the kernel or the device would not take them */
	uint64_t send_refused_packets;
	uint64_t send_link_down; /**< calls that returned -ENETDOWN */
	uint64_t send_full;      /**< calls that returned -EAGAIN */
};
/** May be called from any thread at any time; the numbers are not of one instant. */
VNIC_API void vnic_device_statistics(const struct vnic_device *device, unsigned queue,
				     struct vnic_queue_statistics *statistics);

/* What this kernel can do. */

struct vnic_features {
	char kernel[65]; /**< its release: "6.1.0-18-amd64" */
	bool tun, tap;
	bool packet_information; /**< that it can be left out (IFF_NO_PI) */
	bool multi_queue;
	bool vnet_header;
	bool napi, napi_fragments;
	bool exclusive; /**< VNIC_OPEN_CREATE without a race */
	bool no_carrier;
	/** False: they cannot be probed without CAP_NET_ADMIN or CAP_SYS_ADMIN */
	bool offloads_known;
	unsigned offloads;                     /**< enum vnic_offload, or-ed */
	unsigned vnet_header_most_bytes;       /**< 12 or 24, where offloads_known */
	bool carrier, steering, filter, netns; /**< the calls above, where offloads_known */
	bool ipv6;                             /**< this namespace has IPv6 */
};
/**
 * Ask the kernel. Offloads are probed on an interface in a namespace of its own, which nobody sees.
 * @return 0; -EACCES (NODE_PERMISSION), -ENOENT, -ENXIO (NODE_MISSING), -EMFILE (LIMIT)
 */
VNIC_API int vnic_features_query(struct vnic_features *features, struct vnic_error *error);
/** "csum", "tso4", ...: the name of one bit of enum vnic_offload, NULL for none. */
VNIC_API const char *vnic_offload_name(enum vnic_offload offload);

#ifdef __cplusplus
}
#endif
#endif
