/* SPDX-License-Identifier: MIT */
/**
 * @file
 * A wire joins two ports at full speed, and can be as bad as a real one.
 */
#ifndef VNIC_WIRE_H
#define VNIC_WIRE_H

#include <stdbool.h>
#include <stdint.h>
#include <vnic/error.h>
#include <vnic/port.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * How bad one direction of a wire is. All zero: not at all. Probabilities are from 0 to 1.
 *
 * Each packet on its own: super-packets are cut before. In this order it is lost, corrupted, waits
 * for its turn (rate) and is delayed; a duplicate goes right behind it. Packets do not overtake one
 * another by jitter, as on a real path; for that there is reorder.
 */
struct vnic_impairment {
	double loss;
	double duplicate;
	double reorder;     /**< it is not delayed, and overtakes what is; wants delay_ns */
	double corrupt;     /**< one bit is flipped */
	uint64_t delay_ns;  /**< at most 60 s */
	uint64_t jitter_ns; /**< the delay is delay_ns +- jitter_ns, evenly; at most delay_ns */
	uint64_t rate_bits_per_second; /**< 0: no limit */
	/**
	 * A packet that would have to wait longer than this for its turn is dropped. 0: 100 ms.
	 * Wants rate_bits_per_second
	 */
	uint64_t queue_ns;
	/**
	 * The same seed gives the same fate to the same packets. 0: one of the wire's choice, which
	 * vnic_wire_impairment() tells
	 */
	uint64_t seed;
};
/** True if it does anything. */
VNIC_API bool vnic_impairment_is_any(const struct vnic_impairment *impairment);
/**
 * Parse "loss=1%,delay=20ms,jitter=5ms,reorder=1%,duplicate=0.1%,corrupt=0.01%,rate=100mbit,
 * queue=50ms,seed=7". Probabilities are in percent or from 0 to 1 ("1%", "0.01"); times in s, ms,
 * us or ns; rates in bit, kbit, mbit or gbit.
 * @return 0, -EINVAL (ARGUMENT): a name or value that makes no sense
 */
VNIC_API int vnic_impairment_parse(const char *text, struct vnic_impairment *impairment,
				   struct vnic_error *error);

enum vnic_wire_direction {
	VNIC_FORWARD = 0, /**< from the first port to the second */
	VNIC_BACKWARD
};

struct vnic_wire_options {
	struct vnic_impairment impairments[2]; /**< by enum vnic_wire_direction */
	bool pin; /**< pin worker N to the Nth processor that the process may use */
};

struct vnic_wire;
/**
 * Join two ports, which stay the caller's and must outlive the wire. The MTU of an interface that
 * its port created, and for which none was asked, is made to fit the other end.
 * @param options  NULL: all zero. Not kept
 * @return 0; -EINVAL (ARGUMENT): an IP port and an Ethernet port, numbers of queues that differ, a
 *         port with itself, an impairment that makes no sense; -EMFILE (LIMIT); -ENOMEM (MEMORY);
 *         what vnic_device_configure() returns
 */
VNIC_API int vnic_wire_new(struct vnic_port *first, struct vnic_port *second,
			   const struct vnic_wire_options *options, struct vnic_wire **wire,
			   struct vnic_error *error);
/** Not while it runs. NULL is allowed. */
VNIC_API void vnic_wire_free(struct vnic_wire *wire);
/**
 * Carry packets until vnic_wire_stop(), the end of a source, or an error. Starts a thread for each
 * queue but the first, which is the caller's thread; all have ended when it returns. What an
 * impairment still delays of a source's packets when that ends or fails is carried first; all else
 * that is delayed at the end, as when the wire is stopped, is dropped (VNIC_WIRE_DROP_STOPPED).
 * @return 0: stopped, or at its end; -ENODEV (DEVICE_GONE): an interface was deleted; what else
 *         ended a port; -EAGAIN (LIMIT): no thread to be had; -ENOMEM (MEMORY)
 */
VNIC_API int vnic_wire_run(struct vnic_wire *wire, struct vnic_error *error);
/**
 * End the run: from any thread and from a signal handler. Where none is running the next one ends
 * at once. The wire must not be freed meanwhile.
 */
VNIC_API void vnic_wire_stop(struct vnic_wire *wire);

/** The impairment of a direction as it is in force, with its seed. Lives as long as the wire. */
VNIC_API const struct vnic_impairment *vnic_wire_impairment(const struct vnic_wire *wire,
							    enum vnic_wire_direction direction);

/** What an impairment did, in packets. */
enum vnic_wire_counter {
	VNIC_WIRE_DUPLICATED = 0,
	VNIC_WIRE_REORDERED,
	VNIC_WIRE_CORRUPTED,
	/* From here on: packets that were dropped, by reason. */
	VNIC_WIRE_DROP_LOSS,    /**< lost on purpose */
	VNIC_WIRE_DROP_RATE,    /**< it would have waited for its turn for longer than queue_ns */
	VNIC_WIRE_DROP_MEMORY,  /**< more is being delayed than there is room for */
	VNIC_WIRE_DROP_STOPPED, /**< still delayed when the wire ended */
	VNIC_WIRE_COUNTERS
};
/** "duplicated", "drop_loss", ...; NULL for none. */
VNIC_API const char *vnic_wire_counter_name(enum vnic_wire_counter counter);
/** The sum over all queues. May be called from any thread at any time. */
VNIC_API uint64_t vnic_wire_counter(const struct vnic_wire *wire,
				    enum vnic_wire_direction direction,
				    enum vnic_wire_counter counter);

#ifdef __cplusplus
}
#endif
#endif
