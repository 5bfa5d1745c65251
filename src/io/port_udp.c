/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. `udp:` carries each packet in a datagram of its own, to one peer and from
 * it.
 *
 * There are two sockets on the local port. One is connected to the peer: the kernel keeps its
 * route, tells that nobody listens there (ECONNREFUSED) and what fits the path (IP_MTU), and hands
 * it the peer's datagrams only. The other is not connected, so it gets those of everybody else,
 * which are counted and thrown away. Whatever strangers send, they cannot fill the queue of the
 * first. What arrived before that was connected may still be a stranger's, so each source is looked
 * at. To have two sockets on one port, each must say SO_REUSEPORT while the second is bound;
 * afterwards they take it back, so that nobody else can join them.
 *
 * Nothing is fragmented (IP_PMTUDISC_DO): the longest packet is the path's MTU without the headers.
 * When the path has a smaller one, the kernel learns that from ICMP and refuses what is longer, by
 * EMSGSIZE, and the port asks again what fits. What is forgotten after some minutes is asked for
 * from time to time.
 *
 * Speed is in udp_batch.c: runs of datagrams of one size are one message, in both directions. A
 * kernel or a network device may refuse that; then everything goes on one by one, which is told
 * once.
 *
 * Nobody listening is no reason to end: the peer may come back. But what is sent meanwhile is lost
 * for certain, and shall not look as if it had been sent. So once a packet was refused, one is
 * tried every TRY_NS, and the others are dropped as NO_PEER, until the peer sends something, or
 * until nothing was refused for SILENCE_NS: the peer's kernel may tell no more often than once per
 * second.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <linux/sock_diag.h>
#include <linux/sockios.h>

#include "base/error.h"
#include "base/memory.h"
#include "io/endpoint.h"
#include "io/port.h"
#include "io/udp_batch.h"
#include "io/wait.h"

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

#define IPV4_HEADERS_BYTES (20 + 8)
#define IPV6_HEADERS_BYTES (40 + 8)
#define IP_MOST_BYTES 65535
#define SOCKET_BUFFER_BYTES (8 << 20)
#define TRY_NS UINT64_C(100000000)
#define SILENCE_NS UINT64_C(3000000000)
#define MTU_AGAIN_NS UINT64_C(10000000000)
/* Of received messages. The odd bytes keep them from falling on the same lines of the cache. */
#define RECEIVE_BYTES 65536
#define RECEIVE_STRIDE (RECEIVE_BYTES + 4096 + 320)
#define RECEIVE_MEMORY_BYTES ((size_t)VN_UDP_MESSAGES * RECEIVE_STRIDE)
/* Where messages are long, fewer of them at a time stay in the cache. */
#define LONG_MESSAGE_BYTES 16384
#define LONG_MESSAGES 4
#define RECEIVE_TRIES 4
#define STRANGERS_ROUNDS 4

/* What is known of the peer. */
enum presence {
	PRESENCE_UNKNOWN,
	PRESENCE_THERE,  /* it sent something */
	PRESENCE_MISSING /* it refused something since */
};

/* Room for what recvmmsg(2) tells of one message. */
struct ancillary {
	_Alignas(struct cmsghdr)
		uint8_t bytes[CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(uint32_t))];
};
struct segment_size {
	_Alignas(struct cmsghdr) uint8_t bytes[CMSG_SPACE(sizeof(uint16_t))];
};

struct receiver {
	uint8_t *memory;
	struct mmsghdr messages[VN_UDP_MESSAGES];
	struct iovec parts[VN_UDP_MESSAGES];
	struct sockaddr_storage sources[VN_UDP_MESSAGES];
	struct ancillary ancillaries[VN_UDP_MESSAGES];
	unsigned wanted; /* messages at a time */
	unsigned count;  /* messages that there are */
	unsigned next;
	struct vn_udp_split split; /* of messages[next], if there are bytes left */
	uint32_t overflows;        /* that the kernel told, and we counted */
};

struct udp_port {
	int socket, strangers;
	struct vn_endpoint local, peer;
	unsigned header_bytes; /* IP and UDP */
	unsigned first_most_bytes;
	enum presence presence;
	bool is_refused; /* send is held back */
	bool was_tried;  /* since the last refusal */
	uint64_t refused_ns;
	uint64_t tried_ns;
	struct vn_udp_batch batch;
	struct mmsghdr messages[VN_UDP_MESSAGES];
	struct segment_size sizes[VN_UDP_MESSAGES];
	struct receiver receiver;
};

/* The path. */

static void refresh_most_bytes(struct vnic_port *port)
{
	struct udp_port *state = port->state;
	bool is_ipv6 = state->peer.address.ss_family == AF_INET6;
	unsigned before = atomic_load_explicit(&port->most_bytes, memory_order_relaxed), most;
	socklen_t length = sizeof(int);
	int mtu;

	if (getsockopt(state->socket, is_ipv6 ? IPPROTO_IPV6 : IPPROTO_IP,
		       is_ipv6 ? IPV6_MTU : IP_MTU, &mtu, &length) < 0 ||
	    mtu <= (int)state->header_bytes)
		return;
	/* Loopback has 65536, which no IP packet can have. */
	most = (mtu < IP_MOST_BYTES ? (unsigned)mtu : IP_MOST_BYTES) - state->header_bytes;
	if (most == before)
		return;
	atomic_store_explicit(&port->most_bytes, most, memory_order_relaxed);
	if (before && most < before)
		port->deadline_changed = true;
}

static uint64_t advance(struct vnic_port *port, uint64_t now_ns)
{
	const struct udp_port *state = port->state;

	refresh_most_bytes(port);
	return port->most_bytes < state->first_most_bytes ? now_ns + MTU_AGAIN_NS : VN_PORT_NEVER;
}

/* The peer. */

static void find_peer(struct vnic_port *port)
{
	struct udp_port *state = port->state;
	char text[VN_ENDPOINT_TEXT_BYTES];

	state->is_refused = false;
	if (state->presence == PRESENCE_THERE)
		return;
	state->presence = PRESENCE_THERE;
	vn_port_tell(port, VNIC_PORT_CONNECTED, "'%s' is there",
		     vn_endpoint_format(&state->peer, text));
}

static void miss_peer(struct vnic_port *port)
{
	struct udp_port *state = port->state;
	char text[VN_ENDPOINT_TEXT_BYTES];

	state->is_refused = true;
	state->was_tried = false;
	state->refused_ns = vn_now_ns();
	state->tried_ns = state->refused_ns;
	if (state->presence == PRESENCE_MISSING)
		return;
	state->presence = PRESENCE_MISSING;
	vn_port_tell(port, VNIC_PORT_DISCONNECTED, "nobody is there at '%s': it is tried again",
		     vn_endpoint_format(&state->peer, text));
}

/* Nobody was there a moment ago: shall this packet be tried? */
static bool is_worth_trying(struct udp_port *state)
{
	uint64_t now_ns = vn_now_ns();

	if (state->was_tried && now_ns - state->refused_ns >= SILENCE_NS) {
		state->is_refused = false;
		return true;
	}
	if (now_ns - state->tried_ns < TRY_NS)
		return false;
	state->was_tried = true;
	state->tried_ns = now_ns;
	return true;
}

/* Sending. */

static void count_sent(struct vnic_port *port, const struct vn_udp_message *message)
{
	vn_port_count(port, 0, VNIC_PORT_OUT_PACKETS, message->packets);
	vn_port_count(port, 0, VNIC_PORT_OUT_BYTES, message->bytes);
	vn_port_count(port, 0, VNIC_PORT_OUT_SUPERPACKETS, message->packets > 1);
}

/* Which counter a datagram goes to that was refused with this errno. */
static enum vnic_port_counter judge(int code)
{
	switch (code) {
	case EAGAIN:
	case ENOBUFS:
	case ENOMEM:
		return VNIC_PORT_DROP_FULL;
	case ECONNREFUSED:
	case EHOSTUNREACH:
	case ENETUNREACH:
	case EADDRNOTAVAIL:
		return VNIC_PORT_DROP_NO_PEER;
	case ENETDOWN:
		return VNIC_PORT_DROP_DOWN;
	case EMSGSIZE:
		return VNIC_PORT_DROP_TOO_LONG;
	default:
		return VNIC_PORT_DROP_REFUSED;
	}
}

/* What an errno tells, beside the packet's fate. */
static void learn(struct vnic_port *port, int code)
{
	if (code == ECONNREFUSED)
		miss_peer(port);
	if (code == EMSGSIZE)
		refresh_most_bytes(port);
}

static void send_one(struct vnic_port *port, const uint8_t *data, uint32_t length)
{
	const struct udp_port *state = port->state;
	const struct vn_udp_message message = {.packets = 1, .bytes = length};
	ssize_t put;

	do
		put = send(state->socket, data, length, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (put < 0 && errno == EINTR);
	if (put >= 0) {
		count_sent(port, &message);
		return;
	}
	vn_port_count(port, 0, judge(errno), 1);
	learn(port, errno);
}

/* Without UDP_SEGMENT. Parts consist of whole packets, and only the last of all is shorter. */
static void send_singly(struct vnic_port *port, const struct vn_udp_message *message)
{
	const struct udp_port *state = port->state;
	const struct iovec *part = &state->batch.parts[message->first_part];

	for (unsigned i = 0; i < message->part_count; i++, part++)
		for (size_t at = 0; at < part->iov_len; at += message->size_bytes) {
			size_t left = part->iov_len - at;

			send_one(port, (const uint8_t *)part->iov_base + at,
				 left < message->size_bytes ? (uint32_t)left : message->size_bytes);
		}
}

static void give_up_segments(struct vnic_port *port)
{
	struct udp_port *state = port->state;

	if (!state->batch.segments)
		return;
	state->batch.segments = false;
	vn_port_tell(port, VNIC_PORT_SOFTWARE_GSO,
		     "the kernel refuses to send several packets of '%s' at once: each is sent by "
		     "itself now",
		     vnic_port_name(port));
}

/* A message was refused with this errno: settle it by other means. */
static void settle(struct vnic_port *port, const struct vn_udp_message *message, int code)
{
	learn(port, code);
	if (message->packets > 1 &&
	    (code == EIO || code == EINVAL || code == EMSGSIZE || code == EOPNOTSUPP)) {
		/* Where each is too long by now it was not the kernel's fault. */
		if (code != EMSGSIZE)
			refresh_most_bytes(port);
		if (message->size_bytes <= port->most_bytes && code != EMSGSIZE)
			give_up_segments(port);
		send_singly(port, message);
		return;
	}
	vn_port_count(port, 0, judge(code), message->packets);
}

static void describe(struct udp_port *state, unsigned index)
{
	const struct vn_udp_message *message = &state->batch.messages[index];
	struct msghdr *header = &state->messages[index].msg_hdr;

	header->msg_iov = &state->batch.parts[message->first_part];
	header->msg_iovlen = message->part_count;
	header->msg_control = NULL;
	header->msg_controllen = 0;
	if (message->packets > 1) {
		struct cmsghdr *control = (struct cmsghdr *)state->sizes[index].bytes;
		uint16_t size = (uint16_t)message->size_bytes;

		header->msg_control = control;
		header->msg_controllen = sizeof(state->sizes[index].bytes);
		control->cmsg_level = IPPROTO_UDP;
		control->cmsg_type = UDP_SEGMENT;
		control->cmsg_len = CMSG_LEN(sizeof(size));
		memcpy(CMSG_DATA(control), &size, sizeof(size));
	}
}

static void flush(struct vnic_port *port)
{
	struct udp_port *state = port->state;
	struct vn_udp_batch *batch = &state->batch;
	unsigned done = 0;

	for (unsigned i = 0; i < batch->message_count; i++)
		describe(state, i);
	while (done < batch->message_count) {
		const struct vn_udp_message *message = &batch->messages[done];
		int sent;

		if (message->packets > 1 && !batch->segments) { /* refused a moment ago */
			send_singly(port, message);
			done++;
			continue;
		}
		sent = sendmmsg(state->socket, state->messages + done, batch->message_count - done,
				MSG_DONTWAIT | MSG_NOSIGNAL);
		for (int i = 0; i < sent; i++)
			count_sent(port, message + i);
		if (sent > 0) {
			done += (unsigned)sent;
		} else if (errno != EINTR) {
			settle(port, message, errno);
			done++;
		}
	}
	vn_udp_batch_clear(batch);
}

static void send_cut(struct vnic_port *port, const struct vnic_packet *packet)
{
	struct udp_port *state = port->state;
	struct vnic_segmenter segmenter;
	int made;

	if (vn_port_begin_cut(port, 0, packet, &segmenter) == 0)
		return;
	do {
		made = vn_udp_batch_cut(&state->batch, &segmenter);
		if (made == -ENOBUFS)
			flush(port);
	} while (made > 0 || made == -ENOBUFS);
}

static int send_packets(struct vnic_port *port, unsigned queue, const struct vnic_packet *packets,
			unsigned count)
{
	struct udp_port *state = port->state;

	for (unsigned i = 0; i < count; i++) {
		const struct vnic_packet *packet = &packets[i];

		if (packet->length_bytes == 0) {
			vn_port_drop_out(port, queue, VNIC_PORT_DROP_REFUSED, packet, 1);
		} else if (state->is_refused && !is_worth_trying(state)) {
			vn_port_drop_out(port, queue, VNIC_PORT_DROP_NO_PEER, packet, 1);
		} else if (packet->gso_type != VNIC_GSO_NONE ||
			   packet->flags & VNIC_PACKET_NEEDS_CSUM) {
			send_cut(port, packet);
		} else if (!vn_udp_batch_add(&state->batch, packet->data, packet->length_bytes)) {
			flush(port);
			(void)vn_udp_batch_add(&state->batch, packet->data, packet->length_bytes);
		}
	}
	flush(port);
	return (int)count;
}

static unsigned room(struct vnic_port *port, unsigned queue)
{
	const struct udp_port *state = port->state;
	socklen_t length = sizeof(int);
	int queued, buffer;

	(void)queue;
	if (ioctl(state->socket, SIOCOUTQ, &queued) < 0 ||
	    getsockopt(state->socket, SOL_SOCKET, SO_SNDBUF, &buffer, &length) < 0)
		return VNIC_BURST_PACKETS;
	/* poll(2) tells of room when half of it is free. */
	return queued < buffer / 2 ? (unsigned)(buffer - queued) / (2 * VNIC_PACKET_BYTES) : 0;
}

/* Receiving. */

static void count_overflows(struct vnic_port *port, uint32_t overflows)
{
	struct udp_port *state = port->state;

	vn_port_drop_in(port, 0, VNIC_PORT_DROP_OVERFLOW, overflows - state->receiver.overflows, 0);
	state->receiver.overflows = overflows;
}

/* The kernel tells of what overflowed with the next message, and there is none any more. */
static void stop_udp(struct vnic_port *port)
{
	const struct udp_port *state = port->state;
	uint32_t info[SK_MEMINFO_VARS] = {0};
	socklen_t length = sizeof(info);

	if (getsockopt(state->socket, SOL_SOCKET, SO_MEMINFO, info, &length) == 0 &&
	    length > SK_MEMINFO_DROPS * sizeof(info[0]))
		count_overflows(port, info[SK_MEMINFO_DROPS]);
}

/* Returns the size of each packet in a message. */
static uint32_t read_ancillary(struct vnic_port *port, struct msghdr *header, uint32_t length)
{
	uint32_t size = length, overflows;
	int segment;

	for (struct cmsghdr *control = CMSG_FIRSTHDR(header); control;
	     control = CMSG_NXTHDR(header, control)) {
		if (control->cmsg_level == SOL_UDP && control->cmsg_type == UDP_GRO &&
		    control->cmsg_len >= CMSG_LEN(sizeof(segment))) {
			memcpy(&segment, CMSG_DATA(control), sizeof(segment));
			if (segment > 0 && (uint32_t)segment < length)
				size = (uint32_t)segment;
		} else if (control->cmsg_level == SOL_SOCKET && control->cmsg_type == SO_RXQ_OVFL &&
			   control->cmsg_len >= CMSG_LEN(sizeof(overflows))) {
			memcpy(&overflows, CMSG_DATA(control), sizeof(overflows));
			count_overflows(port, overflows);
		}
	}
	return size;
}

static void reset_message(struct receiver *receiver, unsigned index)
{
	struct msghdr *header = &receiver->messages[index].msg_hdr;

	header->msg_name = &receiver->sources[index];
	header->msg_namelen = sizeof(receiver->sources[index]);
	header->msg_iov = &receiver->parts[index];
	header->msg_iovlen = 1;
	header->msg_control = receiver->ancillaries[index].bytes;
	header->msg_controllen = sizeof(receiver->ancillaries[index].bytes);
	header->msg_flags = 0;
}

/* Returns 0, or -EAGAIN: there is nothing. */
static int fill(struct vnic_port *port)
{
	struct udp_port *state = port->state;
	struct receiver *receiver = &state->receiver;
	uint64_t bytes = 0;
	int got;

	for (unsigned i = 0; i < receiver->count; i++)
		reset_message(receiver, i);
	receiver->count = 0;
	receiver->next = 0;
	for (unsigned try = 0;; try++) {
		got = recvmmsg(state->socket, receiver->messages, receiver->wanted, MSG_DONTWAIT,
			       NULL);
		if (got > 0)
			break;
		/* Errors are of packets that were sent, and each is told once. */
		if (errno == EAGAIN || try == RECEIVE_TRIES)
			return -EAGAIN;
		learn(port, errno);
	}
	receiver->count = (unsigned)got;
	for (int i = 0; i < got; i++)
		bytes += receiver->messages[i].msg_len;
	receiver->wanted =
		bytes / (unsigned)got >= LONG_MESSAGE_BYTES ? LONG_MESSAGES : VN_UDP_MESSAGES;
	return 0;
}

/* Begin to split the next message. False: there is nothing in it for us. */
static bool open_message(struct vnic_port *port)
{
	struct udp_port *state = port->state;
	struct receiver *receiver = &state->receiver;
	struct mmsghdr *message = &receiver->messages[receiver->next];
	uint32_t length = message->msg_len;
	uint32_t size = read_ancillary(port, &message->msg_hdr, length);
	uint64_t packets = length > 0 ? (length + size - 1) / size : 1;

	receiver->split = (struct vn_udp_split){
		.data = receiver->parts[receiver->next].iov_base,
		.length_bytes = length,
		.size_bytes = size,
	};
	if (!vn_endpoint_equal(&state->peer, &receiver->sources[receiver->next],
			       message->msg_hdr.msg_namelen)) {
		vn_port_drop_in(port, 0, VNIC_PORT_DROP_STRANGER, packets, length);
		return false;
	}
	find_peer(port);
	if (length == 0 || message->msg_hdr.msg_flags & MSG_TRUNC) {
		vn_port_drop_in(port, 0,
				length ? VNIC_PORT_DROP_TRUNCATED : VNIC_PORT_DROP_MALFORMED,
				packets, length);
		return false;
	}
	vn_port_count(port, 0, VNIC_PORT_IN_SUPERPACKETS, packets > 1);
	return true;
}

/* Messages are not torn apart where that can be avoided: their packets want to be merged. */
static unsigned hand_out(struct vnic_port *port, struct vnic_packet *packets, unsigned count)
{
	struct receiver *receiver = &((struct udp_port *)port->state)->receiver;
	struct vn_udp_split *split = &receiver->split;
	unsigned made = 0;

	while (receiver->next < receiver->count && made < count) {
		if (split->offset_bytes == split->length_bytes && !open_message(port)) {
			*split = (struct vn_udp_split){0};
			receiver->next++;
			continue;
		}
		if (split->offset_bytes == 0 && made > 0 &&
		    vn_udp_split_packets(split) > count - made)
			break;
		made += vn_udp_split_next(split, packets + made, count - made);
		if (split->offset_bytes == split->length_bytes) {
			*split = (struct vn_udp_split){0};
			receiver->next++;
		}
	}
	return made;
}

static int receive(struct vnic_port *port, unsigned queue, struct vnic_packet *packets,
		   unsigned count)
{
	struct receiver *receiver = &((struct udp_port *)port->state)->receiver;

	(void)queue;
	for (unsigned try = 0; try < RECEIVE_TRIES; try++) {
		unsigned made;

		if (receiver->next == receiver->count && fill(port) < 0)
			return -EAGAIN;
		made = hand_out(port, packets, count);
		if (made > 0)
			return (int)made;
	}
	return -EAGAIN;
}

/* Of what strangers send only the length is wanted. */
static void drop_strangers(struct vnic_port *port)
{
	struct udp_port *state = port->state;
	struct mmsghdr messages[VN_UDP_MESSAGES] = {0};
	int got = VN_UDP_MESSAGES;

	for (unsigned i = 0; i < STRANGERS_ROUNDS && got == VN_UDP_MESSAGES; i++) {
		got = recvmmsg(state->strangers, messages, VN_UDP_MESSAGES,
			       MSG_DONTWAIT | MSG_TRUNC, NULL);
		for (int j = 0; j < got; j++)
			vn_port_drop_in(port, 0, VNIC_PORT_DROP_STRANGER, 1, messages[j].msg_len);
	}
}

static unsigned poll_sockets(struct vnic_port *port, unsigned queue, bool want_room,
			     struct pollfd *descriptors)
{
	const struct udp_port *state = port->state;

	(void)queue;
	descriptors[0].fd = state->socket;
	descriptors[0].events = (short)(want_room ? POLLIN | POLLOUT : POLLIN);
	descriptors[1].fd = state->strangers;
	descriptors[1].events = POLLIN;
	return 2;
}

static int ready(struct vnic_port *port, unsigned queue, const struct pollfd *descriptors,
		 unsigned count)
{
	(void)queue;
	(void)count;
	if (descriptors[1].revents)
		drop_strangers(port);
	return 0;
}

/* Opening. */

static void set(int socket, int level, int option, int value)
{
	/* What is set so makes it faster or tells more; without it we go on. */
	(void)setsockopt(socket, level, option, &value, sizeof(value));
}

static void raise_buffer(int socket, int forced, int option)
{
	int bytes = SOCKET_BUFFER_BYTES;

	if (setsockopt(socket, SOL_SOCKET, forced, &bytes, sizeof(bytes)) < 0)
		set(socket, SOL_SOCKET, option, bytes);
}

static int fail(const struct vnic_port *port, const char *what, struct vnic_error *error)
{
	int code = -errno;

	return vn_error_system(error, code,
			       code == -EMFILE || code == -ENFILE ? VNIC_CAUSE_LIMIT
								  : VNIC_CAUSE_SYSTEM,
			       "'%s': cannot %s", port->specification, what);
}

static int open_socket(const struct vnic_port *port, int *descriptor, struct vnic_error *error)
{
	const struct udp_port *state = port->state;
	int family = state->peer.address.ss_family;

	*descriptor = socket(family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (*descriptor < 0)
		return fail(port, "make a socket", error);
	if (family == AF_INET6)
		set(*descriptor, IPPROTO_IPV6, IPV6_V6ONLY, 1);
	return 0;
}

static int open_connected(struct vnic_port *port, struct vnic_error *error)
{
	struct udp_port *state = port->state;
	bool is_ipv6 = state->peer.address.ss_family == AF_INET6;
	int discover = IP_PMTUDISC_DO; /* which is IPV6_PMTUDISC_DO, too */
	int code = open_socket(port, &state->socket, error);

	if (code < 0)
		return code;
	raise_buffer(state->socket, SO_SNDBUFFORCE, SO_SNDBUF);
	raise_buffer(state->socket, SO_RCVBUFFORCE, SO_RCVBUF);
	set(state->socket, SOL_SOCKET, SO_RXQ_OVFL, 1);
	set(state->socket, IPPROTO_UDP, UDP_GRO, 1);
	if (setsockopt(state->socket, is_ipv6 ? IPPROTO_IPV6 : IPPROTO_IP,
		       is_ipv6 ? IPV6_MTU_DISCOVER : IP_MTU_DISCOVER, &discover,
		       sizeof(discover)) < 0)
		return fail(port, "forbid fragments", error);
	if (bind(state->socket, (struct sockaddr *)&state->local.address,
		 state->local.length_bytes) < 0)
		return fail(port, "bind", error);
	if (connect(state->socket, (struct sockaddr *)&state->peer.address,
		    state->peer.length_bytes) < 0)
		return fail(port, "reach the peer", error);
	return 0;
}

static int open_strangers(struct vnic_port *port, struct vnic_error *error)
{
	struct udp_port *state = port->state;
	struct vn_endpoint bound = {.length_bytes = sizeof(bound.address)};
	int code = open_socket(port, &state->strangers, error);

	if (code < 0)
		return code;
	if (getsockname(state->socket, (struct sockaddr *)&bound.address, &bound.length_bytes) < 0)
		return fail(port, "ask for its address", error);
	/* Where every address was asked for, strangers may use every one. */
	if (state->local.address.ss_family == AF_INET)
		((struct sockaddr_in *)&state->local.address)->sin_port =
			((struct sockaddr_in *)&bound.address)->sin_port;
	else
		((struct sockaddr_in6 *)&state->local.address)->sin6_port =
			((struct sockaddr_in6 *)&bound.address)->sin6_port;
	set(state->socket, SOL_SOCKET, SO_REUSEPORT, 1);
	set(state->strangers, SOL_SOCKET, SO_REUSEPORT, 1);
	if (bind(state->strangers, (struct sockaddr *)&state->local.address,
		 state->local.length_bytes) < 0)
		code = fail(port, "bind", error);
	set(state->socket, SOL_SOCKET, SO_REUSEPORT, 0);
	set(state->strangers, SOL_SOCKET, SO_REUSEPORT, 0);
	return code;
}

/* The '-' between the two ends; the name of an interface, in brackets, may have one too. */
static const char *find_dash(const char *rest)
{
	bool in_brackets = false;

	for (; *rest; rest++) {
		if (*rest == '[' || *rest == ']')
			in_brackets = *rest == '[';
		else if (*rest == '-' && !in_brackets)
			return rest;
	}
	return NULL;
}

static int parse(struct vnic_port *port, const char *rest, struct vnic_error *error)
{
	struct udp_port *state = port->state;
	const char *dash = find_dash(rest);
	int code;

	if (!dash)
		return vn_error(error, -EINVAL, VNIC_CAUSE_ARGUMENT,
				"'%s' has no '-' between the local and the remote address",
				port->specification);
	code = vn_endpoint_parse(dash + 1, strlen(dash + 1), port->specification, AF_UNSPEC,
				 VN_ENDPOINT_NUMERIC, &state->peer, 1, error);
	if (code < 0)
		return code;
	code = vn_endpoint_parse(rest, (size_t)(dash - rest), port->specification,
				 state->peer.address.ss_family,
				 VN_ENDPOINT_NUMERIC | VN_ENDPOINT_PASSIVE | VN_ENDPOINT_ANY_PORT,
				 &state->local, 1, error);
	return code < 0 ? code : 0;
}

static int prepare(struct vnic_port *port, struct vnic_error *error)
{
	struct udp_port *state = port->state;
	struct receiver *receiver = &state->receiver;

	state->batch.buffer = vn_memory_reserve(VN_UDP_BUFFER_BYTES);
	receiver->memory = vn_memory_reserve(RECEIVE_MEMORY_BYTES);
	if (!state->batch.buffer || !receiver->memory)
		return vn_error(error, -ENOMEM, VNIC_CAUSE_MEMORY, "no memory for a port");
	receiver->wanted = VN_UDP_MESSAGES;
	for (unsigned i = 0; i < VN_UDP_MESSAGES; i++) {
		receiver->parts[i].iov_base = receiver->memory + (size_t)i * RECEIVE_STRIDE;
		receiver->parts[i].iov_len = RECEIVE_BYTES;
		reset_message(receiver, i);
	}
	state->header_bytes =
		state->peer.address.ss_family == AF_INET6 ? IPV6_HEADERS_BYTES : IPV4_HEADERS_BYTES;
	state->batch.segments = true;
	state->batch.most_bytes = state->peer.address.ss_family == AF_INET6
					  ? IP_MOST_BYTES - 8
					  : IP_MOST_BYTES - IPV4_HEADERS_BYTES;
	return 0;
}

static int open_udp(struct vnic_port *port, const char *rest, struct vnic_error *error)
{
	struct udp_port *state = calloc(1, sizeof(*state));
	char local[VN_ENDPOINT_TEXT_BYTES], peer[VN_ENDPOINT_TEXT_BYTES];
	int code;

	if (!state)
		return vn_error(error, -ENOMEM, VNIC_CAUSE_MEMORY, "no memory for a port");
	port->state = state;
	state->socket = -1;
	state->strangers = -1;
	code = parse(port, rest, error);
	if (code == 0)
		code = prepare(port, error);
	if (code == 0)
		code = open_connected(port, error);
	if (code == 0)
		code = open_strangers(port, error);
	if (code < 0)
		return code;
	refresh_most_bytes(port);
	state->first_most_bytes = port->most_bytes;
	port->queues[0].offloads = VNIC_OFFLOAD_ALL;
	port->cuts_superpackets = true;
	if (vn_port_rename(port, "udp:%s-%s", vn_endpoint_format(&state->local, local),
			   vn_endpoint_format(&state->peer, peer)) < 0)
		return vn_error(error, -ENOMEM, VNIC_CAUSE_MEMORY, "no memory for a port");
	return 0;
}

static void close_udp(struct vnic_port *port)
{
	struct udp_port *state = port->state;

	if (!state)
		return;
	if (state->socket >= 0)
		close(state->socket);
	if (state->strangers >= 0)
		close(state->strangers);
	vn_memory_release(state->batch.buffer, VN_UDP_BUFFER_BYTES);
	vn_memory_release(state->receiver.memory, RECEIVE_MEMORY_BYTES);
	free(state);
}

const struct vn_port_kind vn_port_udp = {
	.name = "udp",
	.open = open_udp,
	.close = close_udp,
	.stop = stop_udp,
	.receive = receive,
	.send = send_packets,
	.room = room,
	.poll = poll_sockets,
	.ready = ready,
	.advance = advance,
};
