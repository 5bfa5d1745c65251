/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Errors: what failed and why.
 *
 * Every call of the library returns 0 or a positive number on success, or a negative errno. errno
 * itself is neither read nor promised. Control calls (open, configure, ask) also take, as their
 * last parameter, a pointer to a struct vnic_error that may be NULL; it is written only when the
 * call fails. Data calls (receive, send) return the errno alone.
 *
 * The library says what failed; what to do about it is for the program to say. The cause is made
 * for that: its values never change, so a program can switch on it.
 */
#ifndef VNIC_ERROR_H
#define VNIC_ERROR_H

#ifdef __cplusplus
extern "C" {
#endif

/** Marks what the shared library exports. */
#define VNIC_API __attribute__((visibility("default")))

/** Why a call failed. Values are stable: new ones are added at the end. */
enum vnic_cause {
	VNIC_CAUSE_NONE = 0,
	/** The caller's options contradict each other or make no sense */
	VNIC_CAUSE_ARGUMENT,
	/** A system call failed for a reason that has no name here */
	VNIC_CAUSE_SYSTEM,
	VNIC_CAUSE_MEMORY, /**< out of memory */
	VNIC_CAUSE_LIMIT,  /**< out of descriptors or another limit of this process */
	/** /dev/net/tun does not exist or has no driver behind it */
	VNIC_CAUSE_NODE_MISSING,
	/** /dev/net/tun may not be opened for reading and writing */
	VNIC_CAUSE_NODE_PERMISSION,
	/** CAP_NET_ADMIN (or CAP_SYS_ADMIN for a namespace) is missing */
	VNIC_CAUSE_CAPABILITY,
	/** The persistent interface belongs to another user or group */
	VNIC_CAUSE_NOT_OWNER,
	VNIC_CAUSE_NAME_INVALID,  /**< not a name an interface can have */
	VNIC_CAUSE_NAME_TOO_LONG, /**< longer than 15 bytes */
	VNIC_CAUSE_NAME_TAKEN,    /**< an interface or another program has it */
	/** The name belongs to an interface that is no tun or tap */
	VNIC_CAUSE_KIND_MISMATCH,
	/** The name belongs to a TAP and a TUN was asked for, or the reverse */
	VNIC_CAUSE_TYPE_MISMATCH,
	/** Many queues were asked of a single-queue interface, or too many */
	VNIC_CAUSE_QUEUES_MISMATCH,
	VNIC_CAUSE_INTERFACE_MISSING, /**< no interface has that name */
	/** An address or prefix does not parse or cannot be assigned */
	VNIC_CAUSE_ADDRESS_INVALID,
	VNIC_CAUSE_ADDRESS_TAKEN,  /**< another interface of the namespace has that address */
	VNIC_CAUSE_MTU_RANGE,      /**< the MTU is out of the interface's range */
	VNIC_CAUSE_MAC_INVALID,    /**< not a unicast Ethernet address */
	VNIC_CAUSE_ROUTE,          /**< the kernel refused a route */
	VNIC_CAUSE_NETNS_MISSING,  /**< the network namespace does not exist */
	VNIC_CAUSE_UNSUPPORTED,    /**< this kernel cannot do it */
	VNIC_CAUSE_DEVICE_GONE,    /**< the interface was deleted while it was open */
	VNIC_CAUSE_LINK_DOWN,      /**< the interface is set down */
	VNIC_CAUSE_FILTER_INVALID, /**< the filter expression does not compile */
	VNIC_CAUSE_FILE,           /**< a file could not be opened or written */
	VNIC_CAUSE_HANDLER         /**< the program's own handler ended the run with an error */
};

/** Room for a message with its terminating zero, in bytes. */
#define VNIC_ERROR_TEXT_BYTES 256

/** What a failed control call tells. Plain data: copy it as you like. */
struct vnic_error {
	/** A negative errno: the same that the call returned */
	int code;
	enum vnic_cause cause;
	char text[VNIC_ERROR_TEXT_BYTES]; /**< "cannot create 'tun0': Operation not permitted" */
};

/**
 * The stable, machine-readable name of a cause: "name-taken" for VNIC_CAUSE_NAME_TAKEN.
 * @return  a static string, never NULL ("unknown" for a value that is none). Thread-safe.
 */
VNIC_API const char *vnic_cause_name(enum vnic_cause cause);

#ifdef __cplusplus
}
#endif
#endif
