/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Capture files and filter expressions, by libpcap (pcap-savefile(5), pcap-filter(7)).
 */
#ifndef VNIC_CAPTURE_H
#define VNIC_CAPTURE_H

#include <stdbool.h>
#include <stdint.h>
#include <vnic/error.h>
#include <vnic/packet.h>

#ifdef __cplusplus
extern "C" {
#endif

/** A compiled filter expression. Immutable, so threads may share it. */
struct vnic_filter;
/** @return 0, -EINVAL (FILTER_INVALID; the text is libpcap's), -ENOMEM (MEMORY) */
VNIC_API int vnic_filter_new(const char *expression, enum vnic_layer layer,
			     struct vnic_filter **filter, struct vnic_error *error);
VNIC_API void vnic_filter_free(struct vnic_filter *filter);
/** True if the packet passes. A NULL filter lets everything pass. */
VNIC_API bool vnic_filter_match(const struct vnic_filter *filter, const struct vnic_packet *packet);

/** A capture file that is being written. Thread-safe: it takes a lock for each call. */
struct vnic_capture;

/**
 * Begin a capture file with nanosecond stamps. A file that exists is written over.
 * @param path   "-": the standard output, which is not closed afterwards
 * @param layer  what the packets begin with: link type RAW or EN10MB
 * @return 0, or a negative errno (FILE), -ENOMEM (MEMORY)
 */
VNIC_API int vnic_capture_open(const char *path, enum vnic_layer layer,
			       struct vnic_capture **capture, struct vnic_error *error);
/**
 * Write packets. Each call writes whole records or, where the disk is full, none of a record: what
 * could not be written is counted as lost, the file stays readable, and later packets are tried
 * again. A pipe that nobody reads for a second is treated like a full disk, and not waited for
 * again until it takes something. Checksums that an offload left open are written as they are.
 * @param now_ns  since 1970, of CLOCK_REALTIME
 * @return 0, or the negative errno with which writing failed: -ENOSPC, -EPIPE where nobody reads
 *         (the caller ignores SIGPIPE), -EAGAIN where nobody reads just now, -EINTR where a signal
 *         ended the wait for a reader, -EIO ...
 */
VNIC_API int vnic_capture_write(struct vnic_capture *capture, const struct vnic_packet *packets,
				unsigned count, uint64_t now_ns);
/** @param written, lost  packets since the beginning */
VNIC_API void vnic_capture_count(struct vnic_capture *capture, uint64_t *written, uint64_t *lost);
/**
 * End the file. NULL is allowed. @return 0, or the first negative errno with which writing failed
 */
VNIC_API int vnic_capture_close(struct vnic_capture *capture);

#ifdef __cplusplus
}
#endif
#endif
