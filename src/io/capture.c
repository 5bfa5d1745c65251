/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. libpcap knows the format; it writes into a stream (fopencookie(3)) that ends
 * in a buffer of ours, and the buffer is written to the file when a call ends, or when it is full.
 * So a burst costs one write(2), nothing stays behind in memory between calls, and we know where
 * each record ends.
 *
 * That knowledge is what the detour is for. A disk that fills up takes part of a write: then the
 * file is cut back (ftruncate) to the end of its last whole record, what did not fit is counted as
 * lost, and the next call tries again. The file can be read at any moment, before and after.
 *
 * What cannot be cut back (a pipe, a terminal) may have got half a record. Its rest, the tail,
 * stays at the beginning of the buffer and goes out before anything else does.
 *
 * A network must not stand still because somebody stopped reading: a pipe is given STALL_MS to take
 * something, and a pipe that did not is not waited for again until it has taken something. No write
 * to it blocks, whether its descriptor does or not (that is a property it shares with other
 * programs, so it is not ours to change): poll(2) says that there is room, and for up to PIPE_BUF
 * bytes that means that write(2) returns at once. A signal ends the wait, too, so a program can be
 * stopped meanwhile.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pcap/pcap.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <vnic/capture.h>

#include "base/error.h"

#define SNAP_BYTES 262144
#define RECORD_HEADER_BYTES 16
#define FULL_BYTES 262144
/* What is longer than FULL_BYTES is written before the next record, so this is always enough. */
#define BUFFER_BYTES (FULL_BYTES + RECORD_HEADER_BYTES + SNAP_BYTES)
#define RECORDS_MOST 1024
#define STALL_MS 1000

struct vnic_capture {
	pthread_mutex_t lock; /* guards all that follows */
	int descriptor;
	bool is_file; /* can be cut back */
	bool is_ours; /* to be closed */
	bool stalled; /* nobody read for STALL_MS */
	int first_error;
	pcap_t *handle;
	pcap_dumper_t *dumper;
	uint8_t *buffer;
	size_t length;     /* bytes in the buffer */
	bool has_tail;     /* what the buffer begins with is the rest of a record */
	uint32_t *records; /* length of each record in the buffer, in bytes */
	size_t record_count;
	uint64_t written, lost; /* packets */
};

/* Where libpcap's stream ends. There is always room: flush() was called in time. */
static ssize_t append(void *cookie, const char *bytes, size_t length)
{
	struct vnic_capture *capture = cookie;

	if (length > BUFFER_BYTES - capture->length)
		return 0;
	memcpy(capture->buffer + capture->length, bytes, length);
	capture->length += length;
	return (ssize_t)length;
}

/* Wait until a pipe takes something. */
static int wait_for_room(struct vnic_capture *capture)
{
	struct pollfd room = {.fd = capture->descriptor, .events = POLLOUT};
	int count = poll(&room, 1, capture->stalled ? 0 : STALL_MS);

	if (count < 0)
		return -errno;
	capture->stalled = count == 0;
	return count > 0 ? 0 : -EAGAIN;
}

/*
 * Write the buffer's bytes. *done tells how many of them are out, also where an error is returned.
 */
static int write_bytes(struct vnic_capture *capture, size_t *done)
{
	*done = 0;
	while (*done < capture->length) {
		size_t length = capture->length - *done;
		ssize_t count;
		int code = capture->is_file ? 0 : wait_for_room(capture);

		if (code < 0)
			return code;
		if (!capture->is_file && length > PIPE_BUF)
			length = PIPE_BUF;
		count = write(capture->descriptor, capture->buffer + *done, length);
		if (count >= 0)
			*done += (size_t)count;
		else if (errno != EINTR || !capture->is_file)
			return -errno;
	}
	return 0;
}

/* Of a record, so many bytes are in the file: take them back. */
static int cut_back(struct vnic_capture *capture, size_t bytes)
{
	off_t end;

	if (!capture->is_file)
		return -ESPIPE;
	end = lseek(capture->descriptor, 0, SEEK_CUR) - (off_t)bytes;
	if (end < 0 || ftruncate(capture->descriptor, end) < 0 ||
	    lseek(capture->descriptor, end, SEEK_SET) < 0)
		return -errno;
	return 0;
}

/* Write all whole records, or count those that cannot be written as lost. */
static int flush(struct vnic_capture *capture)
{
	size_t done, at = 0, whole = 0;
	int code = write_bytes(capture, &done);

	while (whole < capture->record_count && at + capture->records[whole] <= done)
		at += capture->records[whole++];
	capture->written += whole;
	capture->lost += capture->record_count - whole;
	if (code < 0 && !capture->first_error)
		capture->first_error = code;
	if ((done > at && cut_back(capture, done - at) < 0) ||
	    (done == at && whole == 0 && capture->has_tail)) {
		/* The record that began cannot be undone, only ended: it is not lost yet. */
		capture->length = at + capture->records[whole] - done;
		memmove(capture->buffer, capture->buffer + done, capture->length);
		capture->records[0] = (uint32_t)capture->length;
		capture->record_count = 1;
		capture->has_tail = true;
		capture->lost--;
		return code;
	}
	capture->length = 0;
	capture->record_count = 0;
	capture->has_tail = false;
	return code;
}

/*
 * The header too is written at once: a reader at the other end of a pipe shows nothing without it.
 */
static int write_header(struct vnic_capture *capture, FILE *stream, const char *path,
			struct vnic_error *error)
{
	size_t done;
	int code;

	/*
	 * The cookie is the buffer, so a buffer of the stream's own would only be copied once more.
	 */
	setvbuf(stream, NULL, _IONBF, 0);
	capture->dumper = pcap_dump_fopen(capture->handle, stream);
	/*
	 * It can fail for an unknown link type or where append() does, so not here; libpcap has
	 * closed the stream.
	 */
	if (!capture->dumper)
		return vn_error(error, -EINVAL, VNIC_CAUSE_FILE, "cannot capture to '%s': %s", path,
				pcap_geterr(capture->handle));
	code = write_bytes(capture, &done);
	capture->length = 0;
	if (code < 0)
		return vn_error_system(error, code, VNIC_CAUSE_FILE, "cannot write to '%s'", path);
	return 0;
}

static int open_path(struct vnic_capture *capture, const char *path, struct vnic_error *error)
{
	struct stat status;

	if (strcmp(path, "-") == 0) {
		capture->descriptor = STDOUT_FILENO;
	} else {
		capture->descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
		capture->is_ours = true;
	}
	if (capture->descriptor < 0 || fstat(capture->descriptor, &status) < 0)
		return vn_error_system(error, -errno, VNIC_CAUSE_FILE, "cannot write to '%s'",
				       path);
	capture->is_file = S_ISREG(status.st_mode);
	return 0;
}

int vnic_capture_open(const char *path, enum vnic_layer layer, struct vnic_capture **capture,
		      struct vnic_error *error)
{
	const cookie_io_functions_t functions = {.write = append};
	int link_type = layer == VNIC_LAYER_ETHERNET ? DLT_EN10MB : DLT_RAW;
	struct vnic_capture *made = calloc(1, sizeof(*made));
	FILE *stream = NULL;
	int code;

	if (!made)
		return vn_error(error, -ENOMEM, VNIC_CAUSE_MEMORY, "no memory for a capture");
	pthread_mutex_init(&made->lock, NULL);
	made->descriptor = -1;
	made->buffer = malloc(BUFFER_BYTES);
	made->records = calloc(RECORDS_MOST, sizeof(*made->records));
	made->handle = pcap_open_dead_with_tstamp_precision(link_type, SNAP_BYTES,
							    PCAP_TSTAMP_PRECISION_NANO);
	if (made->buffer && made->records && made->handle)
		stream = fopencookie(made, "w", functions);
	if (!stream) {
		code = vn_error(error, -ENOMEM, VNIC_CAUSE_MEMORY, "no memory for a capture");
	} else {
		code = open_path(made, path, error);
		if (code < 0)
			fclose(stream);
		else
			code = write_header(made, stream, path, error);
	}
	if (code < 0) {
		vnic_capture_close(made);
		return code;
	}
	*capture = made;
	return 0;
}

int vnic_capture_write(struct vnic_capture *capture, const struct vnic_packet *packets,
		       unsigned count, uint64_t now_ns)
{
	struct pcap_pkthdr header = {
		.ts.tv_sec = (time_t)(now_ns / 1000000000),
		.ts.tv_usec =
			(suseconds_t)(now_ns % 1000000000), /* by PCAP_TSTAMP_PRECISION_NANO */
	};
	int first = 0, code;

	pthread_mutex_lock(&capture->lock);
	for (unsigned i = 0; i < count; i++) {
		size_t before = capture->length;

		header.len = packets[i].length_bytes;
		header.caplen = header.len < SNAP_BYTES ? header.len : SNAP_BYTES;
		pcap_dump((u_char *)capture->dumper, &header, packets[i].data);
		capture->records[capture->record_count++] = (uint32_t)(capture->length - before);
		if (capture->length < FULL_BYTES && capture->record_count < RECORDS_MOST &&
		    i + 1 < count)
			continue;
		code = flush(capture);
		if (code < 0 && !first)
			first = code;
	}
	pthread_mutex_unlock(&capture->lock);
	return first;
}

void vnic_capture_count(struct vnic_capture *capture, uint64_t *written, uint64_t *lost)
{
	pthread_mutex_lock(&capture->lock);
	*written = capture->written;
	*lost = capture->lost;
	pthread_mutex_unlock(&capture->lock);
}

int vnic_capture_close(struct vnic_capture *capture)
{
	int code;

	if (!capture)
		return 0;
	if (capture->length > 0) {
		capture->stalled = false;
		flush(capture);
	}
	if (capture->dumper)
		pcap_dump_close(capture->dumper); /* closes the stream, which is not the file */
	/* Some file systems report only here that there was no room. */
	if (capture->is_ours && capture->descriptor >= 0 && close(capture->descriptor) < 0 &&
	    !capture->first_error)
		capture->first_error = -errno;
	code = capture->first_error;
	if (capture->handle)
		pcap_close(capture->handle);
	pthread_mutex_destroy(&capture->lock);
	free(capture->records);
	free(capture->buffer);
	free(capture);
	return code;
}
