/* SPDX-License-Identifier: MIT */
/**
 * @file
 * "Process packets here": the loop around a device.
 *
 * vnic_run() receives bursts, gives them to a handler and sends what it answers, until it is
 * stopped. A device with several queues is served by one thread for each, which share nothing.
 *
 * A device has every offload unless it was opened otherwise, so packets come as super-packets of up
 * to 64 KiB, and with checksums that are to be completed: that is where the speed is. A handler
 * that wants nothing of that sets plain. What it sends may be anything in either case.
 */
#ifndef VNIC_RUN_H
#define VNIC_RUN_H

#include <stdbool.h>
#include <stdint.h>
#include <vnic/device.h>
#include <vnic/error.h>
#include <vnic/link.h>
#include <vnic/packet.h>

#ifdef __cplusplus
extern "C" {
#endif

/** One thread with one queue. The handler's calls for one worker never overlap. */
struct vnic_worker;

/** No timer: what vnic_handler.timer returns when there is nothing to wait for. */
#define VNIC_NEVER UINT64_MAX

/** What a program does with packets. Every member but receive may be NULL. */
struct vnic_handler {
	/**
	 * Packets came. They and their memory, with at least 128 bytes of headroom, may be changed
	 * and sent back; they are the handler's until it returns. Their description (vnic_packet)
	 * says what the kernel left to be done.
	 * @return 0: go on; positive: end the run, which returns 0; negative errno: end it with
	 *         this error (HANDLER)
	 */
	int (*receive)(struct vnic_worker *worker, struct vnic_packet *packets, unsigned count,
		       void *user);
	/**
	 * Called when the worker starts, after each burst, by worker 0 after link events, and when
	 * the time has come that it returned last.
	 * @param now_ns  as vnic_worker_now_ns()
	 * @return when to call again at the latest, in ns; VNIC_NEVER: after the next burst
	 */
	uint64_t (*timer)(struct vnic_worker *worker, uint64_t now_ns, void *user);
	/**
	 * Something happened to the interface; called by worker 0 only. Where it is gone, or in
	 * another namespace, the run ends after this call. Where the kernel does not let us watch
	 * the interface nothing but its end is told.
	 * @param name  as it is at that event
	 */
	void (*link)(struct vnic_worker *worker, enum vnic_link_event event, const char *name,
		     void *user);
	/**
	 * The kernel granted to segment packets and then refuses to: that is done in software from
	 * now on. Told once for a device, by the worker that found it out, between other calls.
	 * @param text  what happened: a sentence without a full stop
	 */
	void (*fallback)(struct vnic_worker *worker, const char *text, void *user);
	/**
	 * Receive plain packets only: super-packets are cut before (vnic_segmenter_next()), and
	 * checksums are complete. receive is then called once for every VNIC_BURST_PACKETS of them;
	 * a super-packet that makes no sense is counted as malformed.
	 */
	bool plain;
};

/**
 * Serve a device until vnic_stop(), the handler or an error ends it.
 * @param handler  not changed, lives as long as the run
 * @param user     given to every call of the handler
 * @return 0: stopped; -ENODEV (DEVICE_GONE); what the handler returned (HANDLER); -EMFILE (LIMIT),
 *         -ENOMEM (MEMORY),
 *         -EAGAIN (LIMIT: no thread to be had). All threads have ended when it returns. One run at
 *         a time on a device.
 */
VNIC_API int vnic_run(struct vnic_device *device, const struct vnic_handler *handler, void *user,
		      struct vnic_error *error);

/**
 * End the run of a device: from any thread, from its handler, and from a signal handler. Where none
 * is running the next one ends at once. The device must not be closed meanwhile.
 */
VNIC_API void vnic_stop(struct vnic_device *device);

/**
 * Send packets on the worker's queue. They may be those that came in, or others. Not from other
 * threads.
 *
 * Super-packets and checksums that are to be completed may always be sent: what the device does not
 * take (no virtio-net header, an offload that was not granted, a kernel that refuses what it
 * granted) is cut and completed before.
 * @param packets  not changed
 * @return the number sent; the rest are counted as dropped in the queue's statistics, except that
 *         -ENODEV is returned where the interface is gone. A packet that finds the interface down
 *         is lost, as on a wire
 */
VNIC_API int vnic_worker_send(struct vnic_worker *worker, const struct vnic_packet *packets,
			      unsigned count);
/** Which queue the worker serves: 0 to vnic_device_queues() - 1. */
VNIC_API unsigned vnic_worker_index(const struct vnic_worker *worker);
VNIC_API struct vnic_device *vnic_worker_device(const struct vnic_worker *worker);
/** The time when the worker last woke up or began a burst, of CLOCK_MONOTONIC in ns. */
VNIC_API uint64_t vnic_worker_now_ns(const struct vnic_worker *worker);

#ifdef __cplusplus
}
#endif
#endif
