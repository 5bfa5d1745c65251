/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Strangers fill this table, so everything about it is bounded and allocated at once: a number of
 * datagrams, and a pool of 1 KiB chunks that hold their bytes. Neither is touched before it is
 * used.
 *
 * A datagram knows for each 8 bytes whether they have come, in a bitmap of 1 KiB, and in a second
 * one whether a fragment began there. So it does not matter how many holes there are or in which
 * order fragments come, and inserting costs the same always. A chunk is taken when the first byte
 * for its place comes. When the last hole closes, the datagram is copied together into
 * stack->whole.
 *
 * Overlaps: no honest sender makes any, and which bytes win is what attacks on filters are made of.
 * So for IPv6 the whole datagram is given up (RFC 5722, RFC 8200 section 4.5), and for IPv4 too,
 * where RFC 791 would let the newer bytes win. Its place stays taken, without chunks, until its
 * time is over, so that what comes of it later is dropped as well. An exact duplicate (the same
 * begin and end) is no overlap: networks duplicate packets. Two different ends count as overlap.
 *
 * When a bound is reached, a datagram is given up for the new one: the oldest from that source
 * which has the most of what is short. So one source that floods pushes out its own, and a flood
 * from random sources needs as many packets as there are places between two fragments of one honest
 * datagram. Sources are counted in 4096 buckets by a keyed hash; two that share one are treated as
 * one.
 *
 * Time: all wait equally long from their first fragment on, so the list is sorted by time as it is.
 * When time is up and the first fragment was there, its sender is told (time exceeded, RFC 1122
 * section 3.3.2, RFC 8200 section 4.5).
 */
#include "stack/reassembly.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "stack/stack.h"

#define CHUNK_BYTES 1024u
#define CHUNKS_PER_DATAGRAM 64u
#define UNIT_BYTES 8u /* fragments begin at multiples of it */
#define WORDS (65536u / UNIT_BYTES / 64u)
#define BUCKETS 4096u
#define NONE UINT16_MAX

_Static_assert(CHUNK_BYTES == VN_REASSEMBLY_HEADER_BYTES, "a header chain is kept in one chunk");
_Static_assert(CHUNK_BYTES *CHUNKS_PER_DATAGRAM == 65536, "chunks hold the longest datagram");

struct datagram {
	uint16_t older,
		newer; /* neighbours in the list by age, or in the list of free ones (newer) */
	uint16_t bucket;
	bool refused; /* overlaps: only here to drop the rest of it */
	bool have_total;
	uint8_t protocol;
	uint32_t hash;
	uint32_t identification;
	struct vnic_address source, destination;
	uint64_t expires_ns;
	uint32_t fragments; /* that wait here, as counted by VNIC_STACK_FRAGMENTS_WAITING */
	uint32_t received_bytes;
	uint32_t total_bytes; /* of data */
	uint32_t end_bytes;   /* the farthest that came */
	struct vn_link link;  /* this and what follows: of the first fragment */
	bool link_group, group;
	uint16_t header_chunk;
	uint16_t header_bytes, per_fragment_bytes, next_header_at;
	uint16_t first_bytes;
	uint8_t next_header;
	uint16_t chunk_count; /* with the header's */
	uint16_t chunks[CHUNKS_PER_DATAGRAM];
	uint64_t received[WORDS];
	uint64_t begins[WORDS];
};

struct vn_reassembly {
	uint64_t timeout_ns;
	uint64_t key[2];
	unsigned datagram_count, chunk_count;
	struct datagram *datagrams;
	uint8_t *chunks;
	uint16_t *free_chunks; /* those that were in use once: a stack */
	unsigned free_chunk_count;
	unsigned fresh_chunk;   /* from here on: never used */
	uint16_t free_datagram; /* those that were in use once: a list */
	unsigned fresh_datagram;
	uint16_t oldest, newest;
	uint32_t bucket_datagrams[BUCKETS];
	uint32_t bucket_chunks[BUCKETS];
};

int vn_reassembly_new(const struct vnic_stack_options *options, struct vn_reassembly **reassembly)
{
	struct vn_reassembly *new = calloc(1, sizeof(*new));

	if (!new)
		return -ENOMEM;
	new->timeout_ns = options->reassembly_timeout_ns;
	new->datagram_count = options->reassembly_datagrams;
	/*
	 * Fewer could not hold a header and a byte of data. Chunk numbers have 16 bits, and one is
	 * NONE.
	 */
	new->chunk_count = options->reassembly_bytes / CHUNK_BYTES;
	if (new->chunk_count < 2)
		new->chunk_count = 2;
	if (new->chunk_count >= NONE)
		new->chunk_count = NONE - 1;
	new->oldest = new->newest = new->free_datagram = NONE;
	options->random(options->user, new->key, sizeof(new->key));
	new->datagrams = calloc(new->datagram_count, sizeof(*new->datagrams));
	new->chunks = malloc((size_t) new->chunk_count *CHUNK_BYTES);
	new->free_chunks = malloc(new->chunk_count * sizeof(*new->free_chunks));
	if (!new->datagrams || !new->chunks || !new->free_chunks) {
		vn_reassembly_free(new);
		return -ENOMEM;
	}
	*reassembly = new;
	return 0;
}

void vn_reassembly_free(struct vn_reassembly *reassembly)
{
	if (!reassembly)
		return;
	free(reassembly->datagrams);
	free(reassembly->chunks);
	free(reassembly->free_chunks);
	free(reassembly);
}

/* Mixed with a secret, so that nobody can choose addresses that share a bucket with a victim's. */
static uint32_t mix(const struct vn_reassembly *reassembly, uint64_t h, const uint8_t *bytes,
		    size_t length_bytes)
{
	h ^= reassembly->key[0];
	for (size_t i = 0; i < length_bytes; i += 4) {
		h = (h ^ vn_load32(bytes + i)) * (reassembly->key[1] | 1);
		h ^= h >> 29;
	}
	h *= UINT64_C(0x9e3779b97f4a7c15);
	return (uint32_t)(h >> 32);
}

static bool bit(const uint64_t *words, uint32_t index)
{
	return words[index / 64] >> (index % 64) & 1;
}

/* True if one of the units from first to before end is set. */
static bool any(const uint64_t *words, uint32_t first, uint32_t end)
{
	while (first < end) {
		uint32_t shift = first % 64, count = 64 - shift;
		uint64_t mask;

		if (count > end - first)
			count = end - first;
		mask = (count == 64 ? UINT64_MAX : (UINT64_C(1) << count) - 1) << shift;
		if (words[first / 64] & mask)
			return true;
		first += count;
	}
	return false;
}

static void set(uint64_t *words, uint32_t first, uint32_t end)
{
	while (first < end) {
		uint32_t shift = first % 64, count = 64 - shift;

		if (count > end - first)
			count = end - first;
		words[first / 64] |= (count == 64 ? UINT64_MAX : (UINT64_C(1) << count) - 1)
				     << shift;
		first += count;
	}
}

/* True if a fragment with just this begin and end has come before. */
static bool is_duplicate(const struct datagram *datagram, const struct vn_fragment *fragment)
{
	uint32_t first = fragment->offset_bytes / UNIT_BYTES;
	uint32_t end_bytes = (uint32_t)fragment->offset_bytes + fragment->data_bytes;
	uint32_t end = (end_bytes + UNIT_BYTES - 1) / UNIT_BYTES;

	if (!bit(datagram->begins, first) || any(datagram->begins, first + 1, end))
		return false;
	for (uint32_t unit = first; unit < end; unit++)
		if (!bit(datagram->received, unit))
			return false;
	if (!fragment->more)
		return datagram->have_total && datagram->total_bytes == end_bytes;
	/* Nothing may go on behind it, or else a new fragment must begin there. */
	return end == WORDS * 64 || !bit(datagram->received, end) || bit(datagram->begins, end);
}

static void release_chunk(struct vn_reassembly *reassembly, uint16_t chunk)
{
	reassembly->free_chunks[reassembly->free_chunk_count++] = chunk;
}

/* Give its memory back, and count its fragments as what became of them. */
static void release_contents(struct vnic_stack *stack, struct datagram *datagram,
			     enum vnic_stack_counter reason)
{
	struct vn_reassembly *reassembly = stack->reassembly;

	if (datagram->fragments > 0) {
		vn_stack_count(stack, VNIC_STACK_FRAGMENTS_WAITING, -(int64_t)datagram->fragments);
		vn_stack_count(stack, reason, datagram->fragments);
		datagram->fragments = 0;
	}
	if (datagram->header_chunk != NONE)
		release_chunk(reassembly, datagram->header_chunk);
	datagram->header_chunk = NONE;
	for (unsigned i = 0; i < CHUNKS_PER_DATAGRAM; i++) {
		if (datagram->chunks[i] != NONE)
			release_chunk(reassembly, datagram->chunks[i]);
		datagram->chunks[i] = NONE;
	}
	reassembly->bucket_chunks[datagram->bucket] -= datagram->chunk_count;
	datagram->chunk_count = 0;
}

static void release(struct vnic_stack *stack, struct datagram *datagram,
		    enum vnic_stack_counter reason)
{
	struct vn_reassembly *reassembly = stack->reassembly;
	uint16_t index = (uint16_t)(datagram - reassembly->datagrams);

	release_contents(stack, datagram, reason);
	reassembly->bucket_datagrams[datagram->bucket]--;
	if (datagram->older != NONE)
		reassembly->datagrams[datagram->older].newer = datagram->newer;
	else
		reassembly->oldest = datagram->newer;
	if (datagram->newer != NONE)
		reassembly->datagrams[datagram->newer].older = datagram->older;
	else
		reassembly->newest = datagram->older;
	datagram->newer = reassembly->free_datagram;
	reassembly->free_datagram = index;
}

/* Give up the oldest datagram of whichever bucket has the most. False if there is none but keep. */
static bool evict(struct vnic_stack *stack, const uint32_t *measure, uint16_t keep)
{
	struct vn_reassembly *reassembly = stack->reassembly;
	struct datagram *victim = NULL;

	for (uint16_t i = reassembly->oldest; i != NONE; i = reassembly->datagrams[i].newer) {
		struct datagram *datagram = &reassembly->datagrams[i];

		if (i == keep)
			continue;
		/* One without chunks would not help where chunks are short. */
		if (measure == reassembly->bucket_chunks && datagram->chunk_count == 0)
			continue;
		if (!victim || measure[datagram->bucket] > measure[victim->bucket])
			victim = datagram;
	}
	if (!victim)
		return false;
	release(stack, victim, VNIC_STACK_DROP_REASSEMBLY_FULL);
	return true;
}

static uint16_t take_chunk(struct vnic_stack *stack, struct datagram *datagram)
{
	struct vn_reassembly *reassembly = stack->reassembly;
	uint16_t own = (uint16_t)(datagram - reassembly->datagrams), chunk;

	if (reassembly->free_chunk_count == 0 &&
	    reassembly->fresh_chunk == reassembly->chunk_count &&
	    !evict(stack, reassembly->bucket_chunks, own))
		return NONE;
	if (reassembly->free_chunk_count > 0)
		chunk = reassembly->free_chunks[--reassembly->free_chunk_count];
	else
		chunk = (uint16_t)reassembly->fresh_chunk++;
	datagram->chunk_count++;
	reassembly->bucket_chunks[datagram->bucket]++;
	return chunk;
}

static uint8_t *chunk_bytes(const struct vn_reassembly *reassembly, uint16_t chunk)
{
	return reassembly->chunks + (size_t)chunk * CHUNK_BYTES;
}

static struct datagram *find(struct vn_reassembly *reassembly, const struct vn_input *input,
			     const struct vn_fragment *fragment, uint32_t hash)
{
	for (uint16_t i = reassembly->newest; i != NONE; i = reassembly->datagrams[i].older) {
		struct datagram *datagram = &reassembly->datagrams[i];

		if (datagram->hash == hash &&
		    datagram->identification == fragment->identification &&
		    datagram->protocol == fragment->protocol &&
		    vnic_address_equal(&datagram->source, &input->source) &&
		    vnic_address_equal(&datagram->destination, &input->destination))
			return datagram;
	}
	return NULL;
}

static struct datagram *begin(struct vnic_stack *stack, const struct vn_input *input,
			      const struct vn_fragment *fragment, uint32_t hash)
{
	struct vn_reassembly *reassembly = stack->reassembly;
	struct datagram *datagram;

	if (reassembly->free_datagram == NONE &&
	    reassembly->fresh_datagram == reassembly->datagram_count)
		evict(stack, reassembly->bucket_datagrams, NONE);
	if (reassembly->free_datagram != NONE) {
		datagram = &reassembly->datagrams[reassembly->free_datagram];
		reassembly->free_datagram = datagram->newer;
	} else {
		datagram = &reassembly->datagrams[reassembly->fresh_datagram++];
	}
	memset(datagram, 0, sizeof(*datagram));
	memset(datagram->chunks, 0xff, sizeof(datagram->chunks));
	datagram->header_chunk = NONE;
	datagram->hash = hash;
	datagram->identification = fragment->identification;
	datagram->protocol = fragment->protocol;
	datagram->source = input->source;
	datagram->destination = input->destination;
	datagram->bucket =
		(uint16_t)(mix(reassembly, 0, input->source.bytes, VNIC_IPV6_BYTES) % BUCKETS);
	datagram->expires_ns = stack->now_ns + reassembly->timeout_ns;
	datagram->newer = NONE;
	datagram->older = reassembly->newest;
	if (reassembly->newest != NONE)
		reassembly->datagrams[reassembly->newest].newer =
			(uint16_t)(datagram - reassembly->datagrams);
	else
		reassembly->oldest = (uint16_t)(datagram - reassembly->datagrams);
	reassembly->newest = (uint16_t)(datagram - reassembly->datagrams);
	reassembly->bucket_datagrams[datagram->bucket]++;
	vn_stack_wake(stack, datagram->expires_ns);
	return datagram;
}

/* Copy the fragment's bytes to their chunks. False: there are not enough. */
static bool store(struct vnic_stack *stack, struct datagram *datagram, const struct vn_input *input,
		  const struct vn_fragment *fragment)
{
	struct vn_reassembly *reassembly = stack->reassembly;
	uint32_t at = fragment->offset_bytes;
	uint32_t end = at + fragment->data_bytes;

	if (fragment->offset_bytes == 0) {
		datagram->header_chunk = take_chunk(stack, datagram);
		if (datagram->header_chunk == NONE)
			return false;
		memcpy(chunk_bytes(reassembly, datagram->header_chunk), input->ip,
		       fragment->header_bytes);
		datagram->header_bytes = fragment->header_bytes;
		datagram->per_fragment_bytes = fragment->per_fragment_bytes;
		datagram->next_header = fragment->next_header;
		datagram->next_header_at = fragment->next_header_at;
		datagram->first_bytes = fragment->data_bytes;
		datagram->link = input->link;
		datagram->link_group = input->link_group;
		datagram->group = input->group;
	}
	while (at < end) {
		uint16_t *chunk = &datagram->chunks[at / CHUNK_BYTES];
		uint32_t within = at % CHUNK_BYTES, count = CHUNK_BYTES - within;

		if (count > end - at)
			count = end - at;
		if (*chunk == NONE)
			*chunk = take_chunk(stack, datagram);
		if (*chunk == NONE)
			return false;
		memcpy(chunk_bytes(reassembly, *chunk) + within,
		       fragment->data + (at - fragment->offset_bytes), count);
		at += count;
	}
	return true;
}

static uint8_t *copy_data(const struct vn_reassembly *reassembly, const struct datagram *datagram,
			  uint8_t *to, uint32_t length_bytes)
{
	for (uint32_t at = 0; at < length_bytes; at += CHUNK_BYTES) {
		uint32_t count = length_bytes - at < CHUNK_BYTES ? length_bytes - at : CHUNK_BYTES;

		memcpy(to + at, chunk_bytes(reassembly, datagram->chunks[at / CHUNK_BYTES]), count);
	}
	return to + length_bytes;
}

/* Put the datagram together, as if it had never been in fragments, and forget it. */
static uint32_t complete(struct vnic_stack *stack, struct datagram *datagram)
{
	const struct vn_reassembly *reassembly = stack->reassembly;
	uint8_t *ip = stack->whole + VN_OUTPUT_HEADROOM_BYTES;
	uint32_t header_bytes = (uint32_t)datagram->header_bytes - datagram->per_fragment_bytes;

	vn_output_flush(stack); /* an answer to the datagram before may still stand there */
	memcpy(ip, chunk_bytes(reassembly, datagram->header_chunk), header_bytes);
	if (datagram->per_fragment_bytes > 0)
		ip[datagram->next_header_at] = datagram->next_header;
	copy_data(reassembly, datagram, ip + header_bytes, datagram->total_bytes);
	vn_stack_count(stack, VNIC_STACK_REASSEMBLED, 1);
	header_bytes += datagram->total_bytes;
	release(stack, datagram, VNIC_STACK_FRAGMENTS_JOINED);
	return header_bytes;
}

/* Fits what has come so far: no overlap, and one end only. */
static bool fits(const struct datagram *datagram, const struct vn_fragment *fragment)
{
	uint32_t end = (uint32_t)fragment->offset_bytes + fragment->data_bytes;

	if (datagram->have_total && (end > datagram->total_bytes || !fragment->more))
		return false;
	if (!fragment->more && datagram->end_bytes > end)
		return false;
	return !any(datagram->received, fragment->offset_bytes / UNIT_BYTES,
		    (end + UNIT_BYTES - 1) / UNIT_BYTES);
}

enum vnic_stack_counter vn_reassembly_insert(struct vnic_stack *stack, const struct vn_input *input,
					     const struct vn_fragment *fragment,
					     uint32_t *length_bytes)
{
	struct vn_reassembly *reassembly = stack->reassembly;
	uint32_t end = (uint32_t)fragment->offset_bytes + fragment->data_bytes, hash, rest, header;
	struct datagram *datagram;

	hash = mix(reassembly, fragment->identification, input->source.bytes, VNIC_IPV6_BYTES);
	hash = mix(reassembly, hash, input->destination.bytes, VNIC_IPV6_BYTES);
	datagram = find(reassembly, input, fragment, hash);
	/*
	 * It may be late for its time to be noticed: nobody need have called vnic_stack_advance().
	 */
	if (datagram && datagram->expires_ns <= stack->now_ns) {
		release(stack, datagram, VNIC_STACK_DROP_REASSEMBLY_TIMEOUT);
		datagram = NULL;
	}
	if (!datagram)
		datagram = begin(stack, input, fragment, hash);
	if (datagram->refused)
		return VNIC_STACK_DROP_REASSEMBLY_OVERLAP;
	if (!fits(datagram, fragment)) {
		if (is_duplicate(datagram, fragment))
			return VNIC_STACK_DROP_UNWANTED;
		datagram->refused = true;
		release_contents(stack, datagram, VNIC_STACK_DROP_REASSEMBLY_OVERLAP);
		return VNIC_STACK_DROP_REASSEMBLY_OVERLAP;
	}
	if (!store(stack, datagram, input, fragment)) {
		release(stack, datagram, VNIC_STACK_DROP_REASSEMBLY_FULL);
		return VNIC_STACK_DROP_REASSEMBLY_FULL;
	}
	set(datagram->received, fragment->offset_bytes / UNIT_BYTES,
	    (end + UNIT_BYTES - 1) / UNIT_BYTES);
	set(datagram->begins, fragment->offset_bytes / UNIT_BYTES,
	    fragment->offset_bytes / UNIT_BYTES + 1);
	datagram->received_bytes += fragment->data_bytes;
	if (end > datagram->end_bytes)
		datagram->end_bytes = end;
	if (!fragment->more) {
		datagram->have_total = true;
		datagram->total_bytes = end;
	}
	if (!datagram->have_total || datagram->received_bytes < datagram->total_bytes) {
		datagram->fragments++;
		return VNIC_STACK_FRAGMENTS_WAITING;
	}
	/*
	 * The first fragment's header may be longer than this one's, and only now are both known.
	 */
	header = (uint32_t)datagram->header_bytes - datagram->per_fragment_bytes;
	rest = input->source.family == VNIC_IPV6 ? 65535 + VNIC_IPV6_HEADER_BYTES : 65535;
	if (header + datagram->total_bytes > rest) {
		release(stack, datagram, VNIC_STACK_DROP_MALFORMED);
		return VNIC_STACK_DROP_MALFORMED;
	}
	*length_bytes = complete(stack, datagram);
	return VNIC_STACK_REASSEMBLED;
}

/* Tell the sender, quoting the first fragment as it came, if that one came. */
static void tell_timeout(struct vnic_stack *stack, const struct datagram *datagram)
{
	const struct vn_reassembly *reassembly = stack->reassembly;
	bool ipv4 = datagram->source.family == VNIC_IPV4;
	uint8_t *ip = stack->whole + VN_OUTPUT_HEADROOM_BYTES;
	uint32_t quoted = datagram->first_bytes;
	struct vnic_packet packet = {.data = ip};
	struct vn_input input = {
		.packet = &packet,
		.link = datagram->link,
		.link_group = datagram->link_group,
		.ip = ip,
		.source = datagram->source,
		.destination = datagram->destination,
		.group = datagram->group,
		.fragmented = true,
	};
	enum vnic_stack_counter verdict;

	if (datagram->header_chunk == NONE)
		return;
	vn_output_flush(stack);
	if (quoted > VN_OUTPUT_BUILT_BYTES)
		quoted = VN_OUTPUT_BUILT_BYTES; /* no error quotes more */
	memcpy(ip, chunk_bytes(reassembly, datagram->header_chunk), datagram->header_bytes);
	copy_data(reassembly, datagram, ip + datagram->header_bytes, quoted);
	input.ip_bytes = packet.length_bytes = packet.capacity_bytes =
		datagram->header_bytes + quoted;
	input.transport = datagram->header_bytes;
	input.protocol = ipv4 ? datagram->protocol : datagram->next_header;
	verdict = vn_error_send(stack, &input,
				ipv4 ? VNIC_ICMP_TIME_EXCEEDED : VNIC_ICMPV6_TIME_EXCEEDED, 1, 0);
	if (verdict == VNIC_STACK_TIME_EXCEEDED)
		vn_stack_count(stack, verdict, 1);
}

uint64_t vn_reassembly_advance(struct vnic_stack *stack)
{
	struct vn_reassembly *reassembly = stack->reassembly;

	while (reassembly->oldest != NONE) {
		struct datagram *datagram = &reassembly->datagrams[reassembly->oldest];

		if (datagram->expires_ns > stack->now_ns)
			return datagram->expires_ns;
		tell_timeout(stack, datagram);
		release(stack, datagram, VNIC_STACK_DROP_REASSEMBLY_TIMEOUT);
	}
	return UINT64_MAX;
}
