/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. Each packet that goes through the host is counted by protocol, by size and by
 * flow, in tables of a fixed size. This is in the way of every packet, so it must cost next to
 * nothing: one look at the headers, one line or two of the cache, no lock and no system call. A
 * super-packet is one packet with all its bytes.
 *
 * A meter has one writer, the thread of its shard. Readers are others: all that is written is atomic,
 * though never by an instruction that locks, since nobody else writes.
 *
 * Flows stand in sets of eight; a hash with a secret seed tells which set. A new flow takes the place
 * of one that was silent for long, or else of the smallest in its set. So thousands of flows of one
 * packet each, a scan of ports say, push out each other and not those that carry the bytes.
 *
 * A reader could meet a flow while it is replaced. A version, odd while that goes on, tells: the
 * reader looks again a few times, and leaves the flow out if it is still busy.
 */
#include "meter.h"

#include <stdlib.h>
#include <string.h>

#define SETS 128
#define WAYS 8
#define KEY_WORDS 5
#define SILENT_NS UINT64_C(30000000000)
#define TRIES 4

/* Where in the words of a key the small things are. */
#define KEY_PORTS 4

struct slot {
	_Atomic uint64_t key[KEY_WORDS];
	_Atomic uint64_t packets[METER_DIRECTIONS], bytes[METER_DIRECTIONS];
	_Atomic uint64_t first_ns, last_ns; /* 0: the slot is free */
	_Atomic uint64_t version;           /* odd: its key is being written */
};

struct meter {
	enum vnic_layer layer;
	uint64_t seed;
	_Atomic uint64_t packets[METER_DIRECTIONS][METER_PROTOCOLS];
	_Atomic uint64_t bytes[METER_DIRECTIONS][METER_PROTOCOLS];
	_Atomic uint64_t sizes[METER_DIRECTIONS][METER_SIZES];
	_Atomic uint64_t segments[METER_DIRECTIONS];
	_Atomic uint64_t forgotten;
	struct slot slots[SETS][WAYS];
};

/* What a packet's headers say, local and remote as seen from the host. */
struct headers {
	enum meter_protocol protocol;
	bool is_flow;
	uint64_t key[KEY_WORDS];
};

static const unsigned size_bounds[METER_SIZES] = {64, 128, 256, 512, 1024, 1518, 4096, 9216, 0};

const char *meter_protocol_name(enum meter_protocol protocol)
{
	static const char *const names[] = {"tcp", "udp", "icmp", "arp", "other"};

	return names[protocol];
}

unsigned meter_size_bound(unsigned class)
{
	return size_bounds[class];
}

static uint64_t get(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

static void put(_Atomic uint64_t *counter, uint64_t value)
{
	atomic_store_explicit(counter, value, memory_order_relaxed);
}

/*
 * What a slot holds, between two changes of its version. Whoever sees one of these values sees the first
 * change as well, and looks at the version only behind them.
 */
static void put_behind(_Atomic uint64_t *value, uint64_t now)
{
	atomic_store_explicit(value, now, memory_order_release);
}

static uint64_t get_before(const _Atomic uint64_t *value)
{
	return atomic_load_explicit(value, memory_order_acquire);
}

static void add(_Atomic uint64_t *counter, uint64_t more)
{
	put(counter, get(counter) + more);
}

struct meter *meter_new(enum vnic_layer layer, uint64_t seed)
{
	struct meter *meter = calloc(1, sizeof(*meter));

	if (!meter)
		return NULL;
	meter->layer = layer;
	meter->seed = seed | 1;
	return meter;
}

void meter_free(struct meter *meter)
{
	free(meter);
}

/* Headers. */

static unsigned read_16(const uint8_t *bytes)
{
	return (unsigned)bytes[0] << 8 | bytes[1];
}

/* The protocol behind the header, and the ports where it has some. */
static void read_transport(struct headers *headers, enum direction direction, unsigned family,
			   uint8_t protocol, const uint8_t *bytes, size_t length)
{
	uint64_t source = 0, destination = 0;

	headers->protocol = protocol == VNIC_PROTOCOL_TCP      ? METER_TCP
			    : protocol == VNIC_PROTOCOL_UDP    ? METER_UDP
			    : protocol == VNIC_PROTOCOL_ICMP   ? METER_ICMP
			    : protocol == VNIC_PROTOCOL_ICMPV6 ? METER_ICMP
							       : METER_OTHER;
	headers->is_flow = true;
	if (length >= 4 && headers->protocol <= METER_UDP) {
		source = read_16(bytes);
		destination = read_16(bytes + 2);
	}
	headers->key[KEY_PORTS] = (uint64_t)family << 40 | (uint64_t)protocol << 32;
	headers->key[KEY_PORTS] |=
		direction == DIRECTION_IN ? destination << 16 | source : source << 16 | destination;
}

static void read_addresses(struct headers *headers, enum direction direction, const uint8_t *source,
			   const uint8_t *destination, size_t length)
{
	const uint8_t *local = direction == DIRECTION_IN ? destination : source;
	const uint8_t *remote = direction == DIRECTION_IN ? source : destination;

	memset(headers->key, 0, sizeof(headers->key));
	memcpy(&headers->key[0], local, length);
	memcpy(&headers->key[2], remote, length);
}

static void read_ipv4(struct headers *headers, enum direction direction, const uint8_t *bytes,
		      size_t length)
{
	size_t header;

	if (length < VNIC_IPV4_HEADER_BYTES)
		return;
	header = (size_t)(bytes[0] & 0xf) * 4;
	if (header < VNIC_IPV4_HEADER_BYTES || header > length)
		return;
	if (read_16(bytes + 6) & 0x1fff) /* a later fragment has no ports */
		length = header;
	read_addresses(headers, direction, bytes + 12, bytes + 16, VNIC_IPV4_BYTES);
	read_transport(headers, direction, VNIC_IPV4, bytes[9], bytes + header, length - header);
}

static void read_ipv6(struct headers *headers, enum direction direction, const uint8_t *bytes,
		      size_t length)
{
	struct vnic_ipv6_extension extension;
	size_t at = VNIC_IPV6_HEADER_BYTES;
	unsigned extensions = 0;
	uint8_t protocol;
	int got;

	if (length < VNIC_IPV6_HEADER_BYTES)
		return;
	protocol = bytes[6];
	while (vnic_ipv6_is_extension(protocol) && extensions++ < 8) {
		got = vnic_ipv6_extension_parse(protocol, bytes + at, length - at, &extension);
		if (got < 0)
			break;
		at += (size_t)got;
		if (protocol == VNIC_PROTOCOL_FRAGMENT && extension.fragment_offset_bytes)
			length = at;
		protocol = extension.next_header;
	}
	read_addresses(headers, direction, bytes + 8, bytes + 24, VNIC_IPV6_BYTES);
	read_transport(headers, direction, VNIC_IPV6, protocol, bytes + at, length - at);
}

static void read_headers(const struct meter *meter, struct headers *headers,
			 enum direction direction, const struct vnic_packet *packet)
{
	const uint8_t *bytes = packet->data;
	size_t length = packet->length_bytes;
	unsigned ethertype, tags = 0;

	headers->protocol = METER_OTHER;
	headers->is_flow = false;
	if (meter->layer == VNIC_LAYER_ETHERNET) {
		if (length < VNIC_ETHERNET_HEADER_BYTES)
			return;
		ethertype = read_16(bytes + 12);
		bytes += VNIC_ETHERNET_HEADER_BYTES;
		length -= VNIC_ETHERNET_HEADER_BYTES;
		while ((ethertype == VNIC_ETHERTYPE_VLAN || ethertype == VNIC_ETHERTYPE_QINQ) &&
		       length >= VNIC_VLAN_TAG_BYTES && tags++ < VNIC_VLAN_TAGS) {
			ethertype = read_16(bytes + 2);
			bytes += VNIC_VLAN_TAG_BYTES;
			length -= VNIC_VLAN_TAG_BYTES;
		}
		if (ethertype == VNIC_ETHERTYPE_ARP)
			headers->protocol = METER_ARP;
		if (ethertype != VNIC_ETHERTYPE_IPV4 && ethertype != VNIC_ETHERTYPE_IPV6)
			return;
	}
	if (length && bytes[0] >> 4 == 4)
		read_ipv4(headers, direction, bytes, length);
	else if (length && bytes[0] >> 4 == 6)
		read_ipv6(headers, direction, bytes, length);
}

/* Flows. */

static uint64_t hash_key(const struct meter *meter, const uint64_t *key)
{
	uint64_t hash = meter->seed;
	unsigned i;

	for (i = 0; i < KEY_WORDS; i++) {
		hash = (hash ^ key[i]) * UINT64_C(0x9e3779b97f4a7c15);
		hash ^= hash >> 29;
	}
	return hash >> 32;
}

static bool has_key(const struct slot *slot, const uint64_t *key)
{
	uint64_t difference = 0;
	unsigned i;

	for (i = 0; i < KEY_WORDS; i++)
		difference |= get(&slot->key[i]) ^ key[i];
	return difference == 0;
}

static uint64_t all_bytes(const struct slot *slot)
{
	return get(&slot->bytes[DIRECTION_IN]) + get(&slot->bytes[DIRECTION_OUT]);
}

static bool is_better_to_lose(const struct slot *slot, const struct slot *than, uint64_t now_ns)
{
	uint64_t last = get(&slot->last_ns), than_last = get(&than->last_ns);
	bool is_silent = last + SILENT_NS < now_ns, than_is_silent = than_last + SILENT_NS < now_ns;

	if (is_silent || than_is_silent) /* a free one was last heard of at 0 */
		return is_silent && (!than_is_silent || last < than_last);
	return all_bytes(slot) < all_bytes(than);
}

static void take_slot(struct meter *meter, struct slot *slot, const uint64_t *key, uint64_t now_ns)
{
	uint64_t version = get(&slot->version);
	unsigned i;

	if (get(&slot->last_ns))
		add(&meter->forgotten, 1);
	put(&slot->version, version + 1);
	for (i = 0; i < KEY_WORDS; i++)
		put_behind(&slot->key[i], key[i]);
	for (i = 0; i < METER_DIRECTIONS; i++) {
		put_behind(&slot->packets[i], 0);
		put_behind(&slot->bytes[i], 0);
	}
	put_behind(&slot->first_ns, now_ns);
	put_behind(&slot->last_ns, now_ns);
	atomic_store_explicit(&slot->version, version + 2, memory_order_release);
}

static void count_flow(struct meter *meter, enum direction direction, const uint64_t *key,
		       uint64_t bytes, uint64_t now_ns)
{
	struct slot *set = meter->slots[hash_key(meter, key) % SETS], *slot = NULL, *lost = set;
	unsigned i;

	for (i = 0; i < WAYS && !slot; i++)
		if (has_key(&set[i], key) && get(&set[i].last_ns))
			slot = &set[i];
	if (!slot) {
		for (i = 1; i < WAYS; i++)
			if (is_better_to_lose(&set[i], lost, now_ns))
				lost = &set[i];
		slot = lost;
		take_slot(meter, slot, key, now_ns);
	}
	add(&slot->packets[direction], 1);
	add(&slot->bytes[direction], bytes);
	put(&slot->last_ns, now_ns);
}

void meter_count(struct meter *meter, enum direction direction, const struct vnic_packet *packets,
		 unsigned count, uint64_t now_ns)
{
	unsigned i, class;

	for (i = 0; i < count; i++) {
		const struct vnic_packet *packet = &packets[i];
		uint64_t bytes = packet->length_bytes, segments = 1;
		struct headers headers;

		read_headers(meter, &headers, direction, packet);
		if (packet->gso_type && packet->gso_size_bytes)
			segments = (bytes + packet->gso_size_bytes - 1) / packet->gso_size_bytes;
		for (class = 0; class < METER_SIZES - 1 && bytes > size_bounds[class]; class ++)
			;
		add(&meter->packets[direction][headers.protocol], 1);
		add(&meter->bytes[direction][headers.protocol], bytes);
		add(&meter->sizes[direction][class], 1);
		add(&meter->segments[direction], segments);
		if (headers.is_flow)
			count_flow(meter, direction, headers.key, bytes, now_ns);
	}
}

/* Reading. */

/* Returns false where there is none, or it is being replaced. */
static bool read_slot(const struct slot *slot, struct meter_flow *flow)
{
	uint64_t key[KEY_WORDS], version;
	unsigned tries, i;

	for (tries = 0; tries < TRIES; tries++) {
		version = atomic_load_explicit(&slot->version, memory_order_acquire);
		if (version & 1)
			continue;
		for (i = 0; i < KEY_WORDS; i++)
			key[i] = get_before(&slot->key[i]);
		for (i = 0; i < METER_DIRECTIONS; i++) {
			flow->traffic[i].packets = get_before(&slot->packets[i]);
			flow->traffic[i].bytes = get_before(&slot->bytes[i]);
		}
		flow->first_ns = get_before(&slot->first_ns);
		flow->last_ns = get_before(&slot->last_ns);
		if (get(&slot->version) != version)
			continue;
		if (flow->last_ns == 0)
			return false;
		i = (unsigned)(key[KEY_PORTS] >> 40);
		flow->protocol = (uint8_t)(key[KEY_PORTS] >> 32);
		flow->flow.local_port = (uint16_t)(key[KEY_PORTS] >> 16);
		flow->flow.remote_port = (uint16_t)key[KEY_PORTS];
		flow->flow.local_address = vnic_address_from_bytes(
			i == VNIC_IPV4 ? VNIC_IPV4 : VNIC_IPV6, (const uint8_t *)&key[0]);
		flow->flow.remote_address = vnic_address_from_bytes(
			i == VNIC_IPV4 ? VNIC_IPV4 : VNIC_IPV6, (const uint8_t *)&key[2]);
		return true;
	}
	return false;
}

void meter_add(const struct meter *meter, struct meter_totals *totals)
{
	unsigned i, j;

	for (i = 0; i < METER_DIRECTIONS; i++) {
		for (j = 0; j < METER_PROTOCOLS; j++) {
			totals->protocols[i][j].packets += get(&meter->packets[i][j]);
			totals->protocols[i][j].bytes += get(&meter->bytes[i][j]);
		}
		for (j = 0; j < METER_SIZES; j++)
			totals->sizes[i][j] += get(&meter->sizes[i][j]);
		totals->segments[i] += get(&meter->segments[i]);
	}
	totals->flows_forgotten += get(&meter->forgotten);
	for (i = 0; i < SETS; i++)
		for (j = 0; j < WAYS; j++)
			totals->flows += get(&meter->slots[i][j].last_ns) != 0;
}

struct meter_traffic meter_traffic(const struct meter *meter, enum direction direction)
{
	struct meter_traffic traffic = {0};
	unsigned i;

	for (i = 0; i < METER_PROTOCOLS; i++) {
		traffic.packets += get(&meter->packets[direction][i]);
		traffic.bytes += get(&meter->bytes[direction][i]);
	}
	return traffic;
}

static uint64_t flow_bytes(const struct meter_flow *flow)
{
	return flow->traffic[DIRECTION_IN].bytes + flow->traffic[DIRECTION_OUT].bytes;
}

static bool is_same_flow(const struct meter_flow *a, const struct meter_flow *b)
{
	return a->protocol == b->protocol && a->flow.local_port == b->flow.local_port &&
	       a->flow.remote_port == b->flow.remote_port &&
	       vnic_address_equal(&a->flow.local_address, &b->flow.local_address) &&
	       vnic_address_equal(&a->flow.remote_address, &b->flow.remote_address);
}

static void merge_flow(struct meter_flow *into, const struct meter_flow *flow)
{
	unsigned i;

	for (i = 0; i < METER_DIRECTIONS; i++) {
		into->traffic[i].packets += flow->traffic[i].packets;
		into->traffic[i].bytes += flow->traffic[i].bytes;
	}
	if (flow->first_ns < into->first_ns)
		into->first_ns = flow->first_ns;
	if (flow->last_ns > into->last_ns)
		into->last_ns = flow->last_ns;
}

unsigned meter_add_flows(const struct meter *meter, struct meter_flow *flows, unsigned count,
			 unsigned room)
{
	struct meter_flow flow;
	unsigned i, j, at;

	for (i = 0; i < SETS; i++) {
		for (j = 0; j < WAYS; j++) {
			if (!read_slot(&meter->slots[i][j], &flow))
				continue;
			for (at = 0; at < count && !is_same_flow(&flows[at], &flow); at++)
				;
			if (at < count) { /* take it out, to be put where it belongs now */
				merge_flow(&flow, &flows[at]);
				memmove(&flows[at], &flows[at + 1], (--count - at) * sizeof(flow));
			}
			for (at = count; at > 0 && flow_bytes(&flows[at - 1]) < flow_bytes(&flow);
			     at--)
				;
			if (at == room)
				continue;
			if (count < room)
				count++;
			memmove(&flows[at + 1], &flows[at], (count - at - 1) * sizeof(flow));
			flows[at] = flow;
		}
	}
	return count;
}
