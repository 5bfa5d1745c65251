/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Descriptors travel as ancillary data (SCM_RIGHTS, unix(7)) of at least one byte. The kernel
 * carries 253 of them with one message, and installs them in the receiver whether or not it wants
 * so many: those beyond the caller's room are closed, or they would leak.
 *
 * On a stream the bytes may be taken in pieces; the descriptors go with the first piece.
 */
#include "base/error.h"
#include "device/system.h"
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <vnic/device.h>

#define DESCRIPTORS_MOST 253 /* SCM_MAX_FD */
#define DATA_MOST_BYTES 4096

union control {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(DESCRIPTORS_MOST * sizeof(int))];
};

/* The socket may be non-blocking; the call is not. */
static int wait_for(int socket, short events)
{
	struct pollfd poll_descriptor = {.fd = socket, .events = events};

	return poll(&poll_descriptor, 1, -1) < 0 && errno != EINTR ? -errno : 0;
}

static ssize_t send_part(int socket, const struct msghdr *message)
{
	for (;;) {
		ssize_t sent = sendmsg(socket, message, MSG_NOSIGNAL);
		int code;

		if (sent >= 0)
			return sent;
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return -errno;
		code = wait_for(socket, POLLOUT);
		if (code < 0)
			return code;
	}
}

int vnic_descriptors_send(int socket, const int *descriptors, unsigned count, const void *data,
			  size_t length_bytes, struct vnic_error *error)
{
	static const char nothing[1];
	union control control = {0};
	struct iovec part = {(void *)(uintptr_t)(data ? data : nothing), data ? length_bytes : 1};
	struct msghdr message = {
		.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = CMSG_SPACE(count * sizeof(int)),
	};
	struct cmsghdr *header;

	if (count < 1 || count > DESCRIPTORS_MOST)
		return vn_error(error, -EINVAL, VNIC_CAUSE_ARGUMENT,
				"%u descriptors: 1 to %d can be sent at once", count,
				DESCRIPTORS_MOST);
	if (part.iov_len < 1 || part.iov_len > DATA_MOST_BYTES)
		return vn_error(error, -EINVAL, VNIC_CAUSE_ARGUMENT,
				"%zu bytes: 1 to %d go with descriptors", part.iov_len,
				DATA_MOST_BYTES);
	header = CMSG_FIRSTHDR(&message);
	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(count * sizeof(int));
	memcpy(CMSG_DATA(header), descriptors, count * sizeof(int));
	while (part.iov_len > 0) {
		ssize_t sent = send_part(socket, &message);

		if (sent < 0)
			return vn_error_system(error, (int)sent, VNIC_CAUSE_SYSTEM,
					       "cannot send descriptors");
		part.iov_base = (char *)part.iov_base + sent;
		part.iov_len -= (size_t)sent;
		message.msg_control = NULL;
		message.msg_controllen = 0;
	}
	return 0;
}

/* Keep what fits of one control message, and close the rest. */
static unsigned keep(const struct cmsghdr *header, int *descriptors, unsigned capacity,
		     unsigned kept)
{
	size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
	size_t i;

	for (i = 0; i < count; i++) {
		int descriptor;

		memcpy(&descriptor, CMSG_DATA(header) + i * sizeof(int), sizeof(int));
		if (kept < capacity)
			descriptors[kept++] = descriptor;
		else
			close(descriptor);
	}
	return kept;
}

static ssize_t receive_part(int socket, struct msghdr *message)
{
	for (;;) {
		ssize_t got = recvmsg(socket, message, MSG_CMSG_CLOEXEC);
		int code;

		if (got >= 0)
			return got;
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return -errno;
		code = wait_for(socket, POLLIN);
		if (code < 0)
			return code;
	}
}

int vnic_descriptors_receive(int socket, int *descriptors, unsigned capacity, void *data,
			     size_t *length_bytes, struct vnic_error *error)
{
	char unwanted[DATA_MOST_BYTES];
	union control control;
	struct iovec part = {data ? data : unwanted, data ? *length_bytes : sizeof(unwanted)};
	struct msghdr message = {
		.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	struct cmsghdr *header;
	unsigned kept = 0;
	ssize_t got;

	if (part.iov_len == 0)
		return vn_error(error, -EINVAL, VNIC_CAUSE_ARGUMENT, "no room for the data");
	got = receive_part(socket, &message);
	if (got < 0)
		return vn_error_system(error, (int)got, VNIC_CAUSE_SYSTEM,
				       "cannot receive descriptors");
	for (header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
		if (header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS)
			kept = keep(header, descriptors, capacity, kept);
	}
	/* Out of descriptors: the kernel installed what it could and dropped the rest. */
	if (message.msg_flags & MSG_CTRUNC) {
		while (kept > 0)
			close(descriptors[--kept]);
		return vn_error(error, -EMFILE, VNIC_CAUSE_LIMIT,
				"not all descriptors could be received");
	}
	if (got > 0 && kept == 0)
		return vn_error(error, -EBADMSG, VNIC_CAUSE_SYSTEM,
				"a message without descriptors came");
	if (data)
		*length_bytes = (size_t)got;
	return (int)kept;
}
