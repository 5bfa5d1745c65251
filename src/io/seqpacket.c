/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. A SOCK_SEQPACKET socket keeps messages apart, in order, and tells when the
 * other end is gone (unix(7)), so a message is a packet and nothing has to be framed.
 *
 * What the kernel lets be under way is a number of bytes in which it counts its own overhead too: a
 * message of 64 bytes counts as 700 or more. It takes a message while less than that is under way,
 * however long the message is; and it says so by POLLOUT only when three quarters of it are free.
 * So room counts by the longest packets, and is asked for by POLLOUT only after there was none.
 *
 * A message of no bytes looks like the end of the connection. The end stays, so what poll(2) does
 * not call hung up is a message; it is no packet, and dropped. (Messages of no bytes just before the
 * end are not told apart from it, which loses nobody anything.)
 *
 * Where the other end is closed while it still had something to read, the kernel tells ECONNRESET
 * first, once, and gives what the other end had sent after that.
 */
#include "io/seqpacket.h"

#include <errno.h>
#include <linux/sockios.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* A burst of the longest packets; without privileges the kernel grants less. */
#define QUEUE_BYTES (4 * 1024 * 1024)
/* As the kernel counts the longest packet: its pages and its own structures. */
#define PACKET_COST_BYTES (128 * 1024)

unsigned vn_seqpacket_widen(int descriptor)
{
	int bytes = QUEUE_BYTES, granted = 0;
	socklen_t length = sizeof(granted);

	/* Without privileges up to the machine's bound; where neither works the default will do. */
	if (setsockopt(descriptor, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes)) < 0)
		(void)setsockopt(descriptor, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	if (getsockopt(descriptor, SOL_SOCKET, SO_SNDBUF, &granted, &length) < 0 || granted < 0)
		return 0;
	return (unsigned)granted;
}

void vn_seqpacket_begin(struct vn_seqpacket *link, int descriptor)
{
	*link = (struct vn_seqpacket){
		.descriptor = descriptor,
		.queue_bytes = vn_seqpacket_widen(descriptor),
	};
}

void vn_seqpacket_end(struct vn_seqpacket *link)
{
	if (link->descriptor >= 0)
		close(link->descriptor);
	link->descriptor = -1;
	link->is_full = false;
}

/* Receiving. */

static int receive_messages(int descriptor, struct mmsghdr *messages, unsigned count)
{
	int got;

	/* MSG_TRUNC: tell the whole length also of a message that did not fit. */
	got = recvmmsg(descriptor, messages, count, MSG_DONTWAIT | MSG_TRUNC, NULL);
	if (got < 0 && (errno == ECONNRESET || errno == EINTR))
		got = recvmmsg(descriptor, messages, count, MSG_DONTWAIT | MSG_TRUNC, NULL);
	return got < 0 ? -errno : got;
}

static bool is_hung_up(int descriptor)
{
	struct pollfd end = {.fd = descriptor, .events = POLLRDHUP};

	return poll(&end, 1, 0) > 0 && end.revents & (POLLRDHUP | POLLHUP);
}

/* Keep what is a packet. Returns how many there are, in front. */
static unsigned sort_out(struct vnic_port *port, struct vnic_packet *packets,
			 const struct mmsghdr *messages, unsigned count)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < count; i++) {
		uint32_t length = messages[i].msg_len;

		if (length == 0) {
			vn_port_drop_in(port, 0, VNIC_PORT_DROP_MALFORMED, 1, 0);
			continue;
		}
		if (messages[i].msg_hdr.msg_flags & MSG_TRUNC || length > VNIC_PACKET_BYTES) {
			vn_port_drop_in(port, 0, VNIC_PORT_DROP_TRUNCATED, 1, length);
			continue;
		}
		packets[kept] = packets[i];
		vn_port_describe_plain(&packets[kept++], length);
	}
	return kept;
}

int vn_seqpacket_receive(struct vnic_port *port, struct vn_seqpacket *link,
			 struct vnic_packet *packets, unsigned count)
{
	struct mmsghdr messages[VNIC_BURST_PACKETS];
	struct iovec vectors[VNIC_BURST_PACKETS];
	bool ended = false;
	int got;

	if (link->descriptor < 0)
		return -EAGAIN;
	memset(messages, 0, count * sizeof(messages[0]));
	for (unsigned i = 0; i < count; i++) {
		vectors[i].iov_base = packets[i].data;
		vectors[i].iov_len = packets[i].capacity_bytes;
		messages[i].msg_hdr.msg_iov = &vectors[i];
		messages[i].msg_hdr.msg_iovlen = 1;
	}
	got = receive_messages(link->descriptor, messages, count);
	if (got < 0)
		return got == -EAGAIN || got == -EINTR || got == -ENOMEM || got == -ENOBUFS
			       ? -EAGAIN
			       : -EPIPE;
	if (got > 0 && messages[got - 1].msg_len == 0 && is_hung_up(link->descriptor)) {
		ended = true;
		while (got > 0 && messages[got - 1].msg_len == 0)
			got--;
	}
	got = (int)sort_out(port, packets, messages, (unsigned)got);
	if (got > 0)
		return got;
	return ended ? -EPIPE : -EAGAIN;
}

/* Sending. */

/* Why a message was not taken. */
static enum vnic_port_counter reason_of(int code)
{
	switch (code) {
	case EAGAIN:
	case ENOBUFS:
	case ENOMEM:
		return VNIC_PORT_DROP_FULL;
	case EMSGSIZE:
		return VNIC_PORT_DROP_TOO_LONG;
	case EPIPE:
	case ECONNRESET:
	case ENOTCONN:
		return VNIC_PORT_DROP_NO_PEER;
	default:
		return VNIC_PORT_DROP_REFUSED;
	}
}

int vn_seqpacket_send(struct vnic_port *port, struct vn_seqpacket *link,
		      const struct vnic_packet *packets, unsigned count)
{
	struct mmsghdr messages[VNIC_BURST_PACKETS];
	struct iovec vectors[VNIC_BURST_PACKETS];
	unsigned done = 0;

	if (link->descriptor < 0) {
		vn_port_drop_out(port, 0, VNIC_PORT_DROP_NO_PEER, packets, count);
		return (int)count;
	}
	memset(messages, 0, count * sizeof(messages[0]));
	for (unsigned i = 0; i < count; i++) {
		vectors[i].iov_base = packets[i].data;
		vectors[i].iov_len = packets[i].length_bytes;
		messages[i].msg_hdr.msg_iov = &vectors[i];
		messages[i].msg_hdr.msg_iovlen = 1;
	}
	while (done < count) {
		enum vnic_port_counter reason;
		unsigned dropped = 1;
		int sent = sendmmsg(link->descriptor, messages + done, count - done,
				    MSG_DONTWAIT | MSG_NOSIGNAL);

		if (sent > 0) {
			vn_port_count_out(port, 0, packets + done, (unsigned)sent);
			done += (unsigned)sent;
			continue;
		}
		if (sent < 0 && errno == EINTR)
			continue;
		reason = reason_of(errno);
		/* The next one would not find it otherwise. */
		if (reason == VNIC_PORT_DROP_FULL || reason == VNIC_PORT_DROP_NO_PEER)
			dropped = count - done;
		vn_port_drop_out(port, 0, reason, packets + done, dropped);
		done += dropped;
	}
	return (int)count;
}

unsigned vn_seqpacket_room(struct vn_seqpacket *link)
{
	int used = 0;

	link->is_full = true;
	if (link->descriptor < 0)
		return 0;
	if (ioctl(link->descriptor, SIOCOUTQ, &used) < 0 || used < 0)
		used = 0;
	if ((unsigned)used >= link->queue_bytes)
		return 0;
	link->is_full = false;
	return 1 + (link->queue_bytes - (unsigned)used - 1) / PACKET_COST_BYTES;
}

unsigned vn_seqpacket_poll(const struct vn_seqpacket *link, bool want_room,
			   struct pollfd *descriptors)
{
	if (link->descriptor < 0)
		return 0;
	descriptors->fd = link->descriptor;
	descriptors->events = POLLIN;
	if (want_room && link->is_full)
		descriptors->events |= POLLOUT;
	return 1;
}
