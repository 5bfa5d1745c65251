/* SPDX-License-Identifier: MIT */
/*
 * pure SECONDS
 *
 * The parts without a system call: the checksum, beside memcpy of the same 64 KiB block; cutting a
 * TCP super-packet of 45 segments of 1448 bytes; and merging them again. Each is run in short
 * batches, one after the other and again, so that all see the same machine, and the median batch of
 * each counts. What comes out is compared with what went in before anything is measured. Cutting
 * and merging work in one set of buffers again and again, as a worker does: they are in the cache.
 */
#include "measure.h"

#include <vnic/vnic.h>

#define BLOCK_BYTES 65536
#define SEGMENT_BYTES 1448
#define SEGMENTS 45
#define PAYLOAD_BYTES ((size_t)SEGMENT_BYTES * SEGMENTS)
#define HEADER_BYTES 40
#define BATCHES_MAX 20000
#define KEEP(pointer) __asm__ volatile("" ::"r"(pointer) : "memory")

enum part {
	PART_MEMCPY,
	PART_CHECKSUM,
	PART_SEGMENT,
	PART_MERGE,
	PARTS
};

static double times[PARTS][BATCHES_MAX];          /* seconds of one batch */
static const int rounds[PARTS] = {64, 64, 32, 8}; /* of each part in a batch */

static uint8_t block[BLOCK_BYTES] __attribute__((aligned(64)));
static uint8_t copy[BLOCK_BYTES] __attribute__((aligned(64)));

static void build_super_packet(struct vnic_packet *packet)
{
	struct vnic_tcp tcp = {
		.source_port = 1, .destination_port = 2, .sequence = 5, .window = 100};
	struct vnic_ipv4 ip = {
		.source = {10, 0, 0, 1}, .destination = {10, 0, 0, 2}, .ttl = 64, .protocol = 6};
	struct vnic_address source, destination;
	uint16_t sum;

	vnic_address_parse("10.0.0.1", &source, NULL);
	vnic_address_parse("10.0.0.2", &destination, NULL);
	tcp.flags = VNIC_TCP_ACK | VNIC_TCP_PSH;
	ip.total_bytes = HEADER_BYTES + PAYLOAD_BYTES;
	ip.dont_fragment = true;
	for (unsigned i = 0; i < PAYLOAD_BYTES; i++)
		packet->data[HEADER_BYTES + i] = (uint8_t)(i * 7 + i / 251);
	packet->length_bytes = HEADER_BYTES + PAYLOAD_BYTES;
	vnic_tcp_build(packet->data + 20, 20 + PAYLOAD_BYTES, &source, &destination, &tcp,
		       PAYLOAD_BYTES);
	vnic_ipv4_build(packet->data, 20, &ip);
	sum = vnic_checksum_fold(
		vnic_checksum_add_pseudo(0, &source, &destination, 6, 20 + PAYLOAD_BYTES));
	packet->data[36] = (uint8_t)(sum >> 8);
	packet->data[37] = (uint8_t)sum;
	packet->flags = VNIC_PACKET_NEEDS_CSUM;
	packet->gso_type = VNIC_GSO_TCP4;
	packet->gso_size_bytes = SEGMENT_BYTES;
	packet->csum_start = 20;
	packet->csum_offset = 16;
}

static int segment(const struct vnic_packet *packet, struct vnic_packet *segments)
{
	struct vnic_segmenter segmenter;
	int count = vnic_segmenter_begin(&segmenter, packet, VNIC_LAYER_IP);

	return count < 0 ? count : vnic_segmenter_next(&segmenter, segments, VNIC_BURST_PACKETS);
}

static void verify(const struct vnic_packet *packet, struct vnic_packet *segments)
{
	int count = segment(packet, segments);
	uint32_t sum = 0;
	unsigned merged;

	for (unsigned i = 0; i < BLOCK_BYTES; i += 2)
		sum += (uint32_t)block[i] << 8 | block[i + 1];
	sum = ~((sum & 0xffff) + (sum >> 16)) & 0xffff;
	if (sum != vnic_checksum(block, BLOCK_BYTES)) {
		fprintf(stderr, "pure: checksum 0x%04x, not 0x%04x\n",
			vnic_checksum(block, BLOCK_BYTES), sum);
		exit(1);
	}

	if (count != SEGMENTS || segments[0].length_bytes != HEADER_BYTES + SEGMENT_BYTES) {
		fprintf(stderr, "pure: %d segments, not %d\n", count, SEGMENTS);
		exit(1);
	}
	merged = vnic_packets_merge(segments, (unsigned)count, VNIC_LAYER_IP, VNIC_MERGE_TCP);
	if (merged != 1 || segments[0].length_bytes != packet->length_bytes ||
	    memcmp(segments[0].data + HEADER_BYTES, packet->data + HEADER_BYTES, PAYLOAD_BYTES) !=
		    0) {
		fprintf(stderr,
			"pure: merged into %u packets, the first of %u bytes, not 1 of %u\n",
			merged, (unsigned)segments[0].length_bytes, (unsigned)packet->length_bytes);
		exit(1);
	}
}

static double run_batch(enum part part, const struct vnic_packet *packet,
			struct vnic_packet *segments)
{
	double start = bench_now(), merging = 0;

	for (int i = 0; i < rounds[part]; i++) {
		if (part == PART_MEMCPY) {
			memcpy(copy, block, BLOCK_BYTES);
			KEEP(copy);
		} else if (part == PART_CHECKSUM) {
			uint16_t sum = vnic_checksum(block, BLOCK_BYTES);

			KEEP((uintptr_t)sum);
		} else {
			int count = segment(packet, segments);
			double before;

			if (part == PART_SEGMENT)
				continue;
			/* It uses its input up: new segments each time, which do not count. */
			before = bench_now();
			vnic_packets_merge(segments, (unsigned)count, VNIC_LAYER_IP,
					   VNIC_MERGE_TCP);
			merging += bench_now() - before;
		}
	}
	return part == PART_MERGE ? merging : bench_now() - start;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median_round(enum part part, unsigned batches)
{
	qsort(times[part], batches, sizeof(double), compare);
	return times[part][batches / 2] / rounds[part];
}

int main(int argc, char **argv)
{
	double end = bench_now() + (argc > 1 ? bench_number(argv[1]) : 1), round[PARTS];
	struct vnic_burst *whole, *pieces;
	struct vnic_packet *packet, *segments;
	unsigned batches = 0;

	if (vnic_burst_new(1, 0, 128, &whole, NULL) ||
	    vnic_burst_new(VNIC_BURST_PACKETS, 0, 128, &pieces, NULL))
		bench_die("vnic_burst_new");
	packet = vnic_burst_packets(whole);
	segments = vnic_burst_packets(pieces);
	for (unsigned i = 0; i < BLOCK_BYTES; i++)
		block[i] = (uint8_t)(i * 13 + i / 97);
	build_super_packet(packet);
	verify(packet, segments);
	for (; batches < BATCHES_MAX && (batches < 3 || bench_now() < end); batches++)
		for (enum part part = 0; part < PARTS; part++)
			times[part][batches] = run_batch(part, packet, segments);
	for (enum part part = 0; part < PARTS; part++)
		round[part] = median_round(part, batches);
	printf("{\"memcpy_gbytes\": %.3f, \"checksum_gbytes\": %.3f, \"checksum_ratio\": %.4f, "
	       "\"segment_gbytes\": %.3f, \"segment_ns\": %.2f, \"merge_gbytes\": %.3f, "
	       "\"merge_ns\": %.2f}\n",
	       BLOCK_BYTES / round[PART_MEMCPY] * 1e-9, BLOCK_BYTES / round[PART_CHECKSUM] * 1e-9,
	       round[PART_MEMCPY] / round[PART_CHECKSUM],
	       PAYLOAD_BYTES / round[PART_SEGMENT] * 1e-9, round[PART_SEGMENT] / SEGMENTS * 1e9,
	       PAYLOAD_BYTES / round[PART_MERGE] * 1e-9, round[PART_MERGE] / SEGMENTS * 1e9);
	vnic_burst_free(whole);
	vnic_burst_free(pieces);
	return 0;
}
