/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * One read(2) is one packet, one write(2) is one packet: /dev/net/tun knows no other way, and
 * io_uring was measured to be no faster. So a burst is a loop of system calls that ends when the
 * kernel has no more, and what is saved is everything around it.
 *
 * Before a packet there may be a struct tun_pi (4 bytes: flags, protocol) and then a virtio-net
 * header:
 *
 *     0 flags   1 gso_type   2 hdr_len   4 gso_size   6 csum_start   8 csum_offset
 *     (10 num_buffers)
 *     (12 hash, 8 bytes   20 outer transport header   22 inner network header)
 *
 * They are read into and written from a small array of their own, by an iovec before that of the
 * packet, so that the packet never moves. The header becomes fields of struct vnic_packet, and only
 * what we checked gets there: a program may rely on csum_start + csum_offset being inside. hdr_len
 * is not believed (it can be any length up to the packet's), and the one that we write is computed.
 *
 * A device without a virtio-net header cannot say "the checksum is to be completed". It is
 * completed on the way out, then, in an iovec between two halves of the packet, which itself is not
 * changed. A super-packet it cannot carry.
 *
 * The counters are written by one thread and read by any: a relaxed load and store each, without a
 * locked instruction, added up once per burst.
 */
#include "base/bytes.h"
#include "device/device.h"
#include "device/kernel.h"
#include <errno.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#define HEADER_FLAGS 0
#define HEADER_GSO_TYPE 1
#define HEADER_LENGTH 2
#define HEADER_GSO_SIZE 4
#define HEADER_CSUM_START 6
#define HEADER_CSUM_OFFSET 8
#define HEADER_TUNNEL_START 20
#define HEADER_INNER_START 22
#define TUNNEL_HEADER_BYTES 24 /* where those two are there */
#define GSO_TUNNEL (VIRTIO_NET_HDR_GSO_UDP_TUNNEL_IPV4 | VIRTIO_NET_HDR_GSO_UDP_TUNNEL_IPV6)

#define UDP_HEADER_BYTES 8
#define UDP_CSUM_OFFSET 6
#define TCP_HEADER_BYTES 20
#define TCP_DATA_OFFSET 12

static void count(_Atomic uint64_t *counter, uint64_t more)
{
	if (more)
		atomic_store_explicit(counter,
				      atomic_load_explicit(counter, memory_order_relaxed) + more,
				      memory_order_relaxed);
}

static uint16_t load(const struct vn_queue *queue, const uint8_t *bytes)
{
	return queue->big_endian ? vn_load16(bytes) : (uint16_t)(bytes[1] << 8 | bytes[0]);
}

static void store(const struct vn_queue *queue, uint8_t *bytes, uint16_t value)
{
	if (queue->big_endian) {
		vn_store16(bytes, value);
	} else {
		bytes[0] = (uint8_t)value;
		bytes[1] = (uint8_t)(value >> 8);
	}
}

/* These two fields are little-endian whatever byte order the others have. */
static bool decode_tunnel(const struct vn_queue *queue, const uint8_t *header,
			  struct vnic_packet *packet)
{
	unsigned version = header[HEADER_GSO_TYPE] & GSO_TUNNEL;

	if (!version)
		return true;
	if (version == GSO_TUNNEL || queue->vnet_header_bytes < TUNNEL_HEADER_BYTES)
		return false;
	packet->gso_tunnel = version == VIRTIO_NET_HDR_GSO_UDP_TUNNEL_IPV4 ? VNIC_IPV4 : VNIC_IPV6;
	packet->gso_tunnel_csum = header[HEADER_FLAGS] & VIRTIO_NET_HDR_F_UDP_TUNNEL_CSUM;
	packet->tunnel_start =
		(uint16_t)(header[HEADER_TUNNEL_START + 1] << 8 | header[HEADER_TUNNEL_START]);
	packet->inner_start =
		(uint16_t)(header[HEADER_INNER_START + 1] << 8 | header[HEADER_INNER_START]);
	return packet->tunnel_start + UDP_HEADER_BYTES <= packet->inner_start &&
	       packet->inner_start < packet->length_bytes;
}

/* What the virtio-net header says becomes the packet's description. False: it makes no sense. */
static bool decode(const struct vn_queue *queue, const uint8_t *header, struct vnic_packet *packet)
{
	uint8_t gso_type = header[HEADER_GSO_TYPE];

	packet->gso_ecn = gso_type & VIRTIO_NET_HDR_GSO_ECN;
	packet->gso_type = gso_type & (uint8_t) ~(VIRTIO_NET_HDR_GSO_ECN | GSO_TUNNEL);
	if (!decode_tunnel(queue, header, packet))
		return false;
	switch (packet->gso_type) {
	case VNIC_GSO_NONE:
		if (packet->gso_tunnel)
			return false;
		packet->gso_ecn = false;
		break;
	case VNIC_GSO_TCP4:
	case VNIC_GSO_TCP6:
	case VNIC_GSO_UDP:
		packet->gso_size_bytes = load(queue, header + HEADER_GSO_SIZE);
		if (packet->gso_size_bytes == 0)
			return false;
		break;
	default:
		return false;
	}
	if (header[HEADER_FLAGS] & VIRTIO_NET_HDR_F_DATA_VALID)
		packet->flags |= VNIC_PACKET_DATA_VALID;
	if (!(header[HEADER_FLAGS] & VIRTIO_NET_HDR_F_NEEDS_CSUM))
		return true;
	packet->csum_start = load(queue, header + HEADER_CSUM_START);
	packet->csum_offset = load(queue, header + HEADER_CSUM_OFFSET);
	if ((uint32_t)packet->csum_start + packet->csum_offset + 2 <= packet->length_bytes) {
		packet->flags |= VNIC_PACKET_NEEDS_CSUM;
		return true;
	}
	packet->csum_start = 0;
	packet->csum_offset = 0;
	/* The field may just have been cut off. */
	return packet->flags & VNIC_PACKET_TRUNCATED;
}

/* Read one packet. Returns 1, 0 if it was dropped as malformed, or a negative errno. */
static int receive_one(const struct vn_queue *queue, struct vnic_packet *packet)
{
	uint8_t header[VN_HEADER_BYTES];
	size_t header_bytes = (size_t)queue->information_bytes + queue->vnet_header_bytes;
	struct iovec parts[2] = {{header, header_bytes}, {packet->data, packet->capacity_bytes}};
	ssize_t got;

	if (packet->capacity_bytes < 2)
		return -EINVAL;
	do
		got = header_bytes ? readv(queue->descriptor, parts, 2)
				   : read(queue->descriptor, packet->data, packet->capacity_bytes);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return errno == EBADFD || errno == EFAULT ? -ENODEV : -errno;
	if ((size_t)got <= header_bytes)
		return 0;
	packet->length_bytes = (uint32_t)((size_t)got - header_bytes);
	packet->flags = 0;
	packet->gso_type = VNIC_GSO_NONE;
	packet->gso_ecn = false;
	packet->gso_size_bytes = 0;
	packet->csum_start = 0;
	packet->csum_offset = 0;
	packet->gso_tunnel = 0;
	packet->gso_tunnel_csum = false;
	packet->tunnel_start = 0;
	packet->inner_start = 0;
	if (packet->length_bytes == packet->capacity_bytes) {
		packet->length_bytes--;
		packet->flags |= VNIC_PACKET_TRUNCATED;
	}
	if (!queue->vnet_header_bytes)
		return 1;
	return decode(queue, header + queue->information_bytes, packet);
}

int vnic_device_receive(struct vnic_device *device, unsigned queue_number,
			struct vnic_packet *packets, unsigned wanted)
{
	struct vn_queue *queue;
	uint64_t bytes = 0;
	uint64_t truncated = 0;
	uint64_t malformed = 0;
	unsigned got = 0;
	int code = 0;

	if (queue_number >= device->queue_count || wanted < 1 || wanted > VNIC_BURST_PACKETS)
		return -EINVAL;
	queue = &device->queues[queue_number];
	while (got < wanted) {
		struct vnic_packet *packet = &packets[got];

		code = receive_one(queue, packet);
		if (code < 0)
			break;
		if (code == 0) {
			malformed++;
			continue;
		}
		bytes += packet->length_bytes;
		truncated += (packet->flags & VNIC_PACKET_TRUNCATED) != 0;
		got++;
	}
	count(&queue->counters.received_packets, got);
	count(&queue->counters.received_bytes, bytes);
	count(&queue->counters.received_truncated_packets, truncated);
	count(&queue->counters.received_malformed_packets, malformed);
	if (got)
		return (int)got;
	return code;
}

/*
 * How long the headers are that each segment of a super-packet begins with: a hint for the kernel.
 */
static uint16_t header_length(const struct vnic_packet *packet)
{
	uint32_t transport = packet->csum_start;
	uint32_t length;

	if (packet->gso_type == VNIC_GSO_UDP) {
		length = transport + UDP_HEADER_BYTES;
	} else {
		if (transport + TCP_HEADER_BYTES > packet->length_bytes)
			return 0;
		length = transport + (packet->data[transport + TCP_DATA_OFFSET] >> 4) * 4U;
	}
	return length <= packet->length_bytes && length <= UINT16_MAX ? (uint16_t)length : 0;
}

static bool encode_tunnel(const struct vn_queue *queue, const struct vnic_packet *packet,
			  uint8_t *header)
{
	if (!packet->gso_tunnel)
		return true;
	if (queue->vnet_header_bytes < TUNNEL_HEADER_BYTES)
		return false;
	header[HEADER_GSO_TYPE] |= packet->gso_tunnel == VNIC_IPV4
					   ? VIRTIO_NET_HDR_GSO_UDP_TUNNEL_IPV4
					   : VIRTIO_NET_HDR_GSO_UDP_TUNNEL_IPV6;
	if (packet->gso_tunnel_csum)
		header[HEADER_FLAGS] |= VIRTIO_NET_HDR_F_UDP_TUNNEL_CSUM;
	header[HEADER_TUNNEL_START] = (uint8_t)packet->tunnel_start;
	header[HEADER_TUNNEL_START + 1] = (uint8_t)(packet->tunnel_start >> 8);
	header[HEADER_INNER_START] = (uint8_t)packet->inner_start;
	header[HEADER_INNER_START + 1] = (uint8_t)(packet->inner_start >> 8);
	return true;
}

/* Write the virtio-net header. False: what the packet says of itself makes no sense. */
static bool encode(const struct vn_queue *queue, const struct vnic_packet *packet, uint8_t *header)
{
	memset(header, 0, queue->vnet_header_bytes);
	if (packet->flags & VNIC_PACKET_NEEDS_CSUM) {
		if ((uint32_t)packet->csum_start + packet->csum_offset + 2 > packet->length_bytes)
			return false;
		header[HEADER_FLAGS] = VIRTIO_NET_HDR_F_NEEDS_CSUM;
		store(queue, header + HEADER_CSUM_START, packet->csum_start);
		store(queue, header + HEADER_CSUM_OFFSET, packet->csum_offset);
	} else if (packet->flags & VNIC_PACKET_DATA_VALID) {
		header[HEADER_FLAGS] = VIRTIO_NET_HDR_F_DATA_VALID;
	}
	if (packet->gso_type == VNIC_GSO_NONE)
		return true;
	header[HEADER_GSO_TYPE] = packet->gso_type;
	if (packet->gso_ecn && packet->gso_type != VNIC_GSO_UDP)
		header[HEADER_GSO_TYPE] |= VIRTIO_NET_HDR_GSO_ECN;
	store(queue, header + HEADER_GSO_SIZE, packet->gso_size_bytes);
	if (packet->flags & VNIC_PACKET_NEEDS_CSUM)
		store(queue, header + HEADER_LENGTH, header_length(packet));
	return encode_tunnel(queue, packet, header);
}

/* Write struct tun_pi. False: not an IP packet, and a TUN carries nothing else. */
static bool encode_information(const struct vn_queue *queue, const struct vnic_packet *packet,
			       uint8_t *information)
{
	uint8_t version = packet->data[0] >> 4;

	memset(information, 0, sizeof(struct tun_pi));
	if (queue->is_tap) {
		/* The kernel reads the frame's own type; this is for completeness. */
		if (packet->length_bytes >= VNIC_ETHERNET_HEADER_BYTES)
			memcpy(information + 2, packet->data + 12, 2);
		return true;
	}
	if (version != 4 && version != 6)
		return false;
	vn_store16(information + 2, version == 4 ? 0x0800 : 0x86dd);
	return true;
}

/* The packet with its checksum complete, in three parts around sum, which holds the field. */
static int split_around_checksum(const struct vnic_packet *packet, struct iovec *parts,
				 uint8_t *sum)
{
	uint32_t field = (uint32_t)packet->csum_start + packet->csum_offset;
	uint16_t value;

	if (field + 2 > packet->length_bytes)
		return -EINVAL;
	/* The field holds the sum over the pseudo header, so it takes part. */
	value = vnic_checksum(packet->data + packet->csum_start,
			      packet->length_bytes - packet->csum_start);
	if (value == 0 && packet->csum_offset == UDP_CSUM_OFFSET)
		value = 0xffff; /* RFC 768: zero would mean that there is none */
	vn_store16(sum, value);
	parts[0] = (struct iovec){packet->data, field};
	parts[1] = (struct iovec){sum, 2};
	parts[2] = (struct iovec){packet->data + field + 2, packet->length_bytes - field - 2};
	return 3;
}

/* Write one packet. Returns 0 or a negative errno. */
static int send_one(const struct vn_queue *queue, const struct vnic_packet *packet)
{
	uint8_t header[VN_HEADER_BYTES];
	uint8_t sum[2];
	size_t header_bytes = (size_t)queue->information_bytes + queue->vnet_header_bytes;
	struct iovec parts[4] = {{header, header_bytes}, {packet->data, packet->length_bytes}};
	int part_count = 2;
	ssize_t put;

	if (packet->length_bytes == 0)
		return -EINVAL;
	if (queue->information_bytes && !encode_information(queue, packet, header))
		return -EINVAL;
	if (queue->vnet_header_bytes) {
		if (!encode(queue, packet, header + queue->information_bytes))
			return -EINVAL;
	} else if (packet->gso_type != VNIC_GSO_NONE) {
		return -EINVAL;
	} else if (packet->flags & VNIC_PACKET_NEEDS_CSUM) {
		part_count = split_around_checksum(packet, parts + 1, sum);
		if (part_count < 0)
			return part_count;
		part_count++;
	}
	do
		put = header_bytes || part_count > 2
			      ? writev(queue->descriptor, parts, part_count)
			      : write(queue->descriptor, packet->data, packet->length_bytes);
	while (put < 0 && errno == EINTR);
	return put < 0 ? -errno : 0;
}

/* What an errno of write(2) means for the burst: 0: only this packet is refused. */
static int judge(int code)
{
	switch (-code) {
	case EAGAIN:
		return -EAGAIN;
	case EIO:
		return -ENETDOWN;
	case EBADFD:
		return -ENODEV;
	case EBADF:
		return code;
	default:
		return 0;
	}
}

/* How far a burst got, and why no further. */
struct progress {
	uint64_t sent;
	uint64_t bytes;
	uint64_t refused;
	unsigned done;
	int code; /* of write(2), for the packet at which it stopped; 0: it did not */
};

/* exact: stop at every packet that is not sent, and not only where the rest will fare no better. */
static struct progress send_burst(struct vn_queue *queue, const struct vnic_packet *packets,
				  unsigned wanted, bool exact)
{
	struct progress progress = {0};

	for (; progress.done < wanted; progress.done++) {
		int result = send_one(queue, &packets[progress.done]);

		if (result == 0) {
			progress.sent++;
			progress.bytes += packets[progress.done].length_bytes;
			continue;
		}
		if (exact || judge(result) < 0) {
			progress.code = result;
			break;
		}
		progress.refused++;
	}
	count(&queue->counters.sent_packets, progress.sent);
	count(&queue->counters.sent_bytes, progress.bytes);
	count(&queue->counters.send_refused_packets, progress.refused);
	return progress;
}

int vnic_device_send(struct vnic_device *device, unsigned queue_number,
		     const struct vnic_packet *packets, unsigned wanted)
{
	struct vn_queue *queue;
	struct progress progress;
	int code;

	if (queue_number >= device->queue_count || wanted < 1 || wanted > VNIC_BURST_PACKETS)
		return -EINVAL;
	queue = &device->queues[queue_number];
	progress = send_burst(queue, packets, wanted, false);
	if (progress.done > 0)
		return (int)progress.done;
	code = judge(progress.code);
	count(&queue->counters.send_link_down, code == -ENETDOWN);
	count(&queue->counters.send_full, code == -EAGAIN);
	return code;
}

int vn_device_offer(struct vnic_device *device, unsigned queue_number,
		    const struct vnic_packet *packets, unsigned wanted)
{
	struct vn_queue *queue = &device->queues[queue_number];
	struct progress progress = send_burst(queue, packets, wanted, true);
	int code;

	if (progress.done > 0)
		return (int)progress.done;
	code = judge(progress.code);
	if (code == 0)
		return -EINVAL;
	if (code == -EBADF)
		return -ENODEV;
	count(&queue->counters.send_link_down, code == -ENETDOWN);
	count(&queue->counters.send_full, code == -EAGAIN);
	return code;
}

static uint64_t look(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

void vnic_device_statistics(const struct vnic_device *device, unsigned queue,
			    struct vnic_queue_statistics *statistics)
{
	const struct vn_queue_counters *counters;

	*statistics = (struct vnic_queue_statistics){0};
	if (queue >= device->queue_count)
		return;
	counters = &device->queues[queue].counters;
	statistics->received_packets = look(&counters->received_packets);
	statistics->received_bytes = look(&counters->received_bytes);
	statistics->received_truncated_packets = look(&counters->received_truncated_packets);
	statistics->received_malformed_packets = look(&counters->received_malformed_packets);
	statistics->sent_packets = look(&counters->sent_packets);
	statistics->sent_bytes = look(&counters->sent_bytes);
	statistics->send_refused_packets = look(&counters->send_refused_packets);
	statistics->send_link_down = look(&counters->send_link_down);
	statistics->send_full = look(&counters->send_full);
}
