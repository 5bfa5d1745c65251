/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Two stacks on one clock, which goes from event to event: a packet arrives, a stack wants to be
 * called, the test wants to be. Events of the same time happen in the order in which they were planned, and all
 * randomness comes from the seed, so a run is the same each time.
 *
 * What a stack sends is checked in every header (check.c). A super-packet is cut for that, whatever
 * then travels: its segments, one by one through the impairments, as behind a NIC with
 * segmentation; or itself, as between two interfaces of one machine. A checksum that was left open is completed
 * before anything is cut or corrupted. What is corrupted is one bit behind the
 * Ethernet header (a frame's check sequence would have caught it anywhere); every checksum there
 * is catches one bit.
 *
 * Each packet arrives in memory of just its length, unless it may grow by merging, so that a sanitizer sees one
 * byte read too far. After every call the counters of a stack must add up, and no stack may ask
 * to be called at once forever.
 *
 * A router in the middle of the link, with an MTU of its own, answers what is too long (RFC 1191, RFC
 * 8201) from 10.0.0.254 and fd00::fe; its answers take the way back with its impairments.
 */
#include "link.h"

#include <stdio.h>
#include <vnic/endpoint.h>
#include <vnic/merge.h>
#include <vnic/segment.h>

#include "check.h"
#include "peer.h"

#define CALLS_AT_ONCE 16u
#define FRAME_BYTES_MOST (VNIC_PACKET_BYTES + 64)

struct link_event {
	uint64_t when_ns, number;
	/* A packet, if it has data, else a call. */
	struct vnic_packet packet;
	unsigned to;
	void (*call)(struct link *link, void *user);
	void *user;
};

static const uint8_t macs[2][VNIC_MAC_BYTES] = {{0x02, 0, 0, 0, 0, 0x01}, {0x02, 0, 0, 0, 0, 0x02}};

struct vnic_address link_address(enum vnic_family family, unsigned end)
{
	struct vnic_address address = {family, {10, 0, 0, (uint8_t)(end + 1)}};

	if (family == VNIC_IPV6)
		address = (struct vnic_address){VNIC_IPV6, {0xfd, [15] = (uint8_t)(end + 1)}};
	return address;
}

uint64_t link_random(struct link *link, uint64_t bound)
{
	return bound > 0 ? peer_random(&link->random) % bound : 0;
}

static bool happens(struct link *link, unsigned permille)
{
	return permille > 0 && link_random(link, 1000) < permille;
}

static bool is_before(const struct link_event *a, const struct link_event *b)
{
	return a->when_ns != b->when_ns ? a->when_ns < b->when_ns : a->number < b->number;
}

static void plan(struct link *link, struct link_event event)
{
	size_t at = link->event_count++;

	if (at == link->event_room) {
		link->event_room = link->event_room * 2 + 64;
		link->events = realloc(link->events, link->event_room * sizeof(*link->events));
		assert_non_null(link->events);
	}
	event.number = link->event_number++;
	while (at > 0 && is_before(&event, &link->events[(at - 1) / 2])) {
		link->events[at] = link->events[(at - 1) / 2];
		at = (at - 1) / 2;
	}
	link->events[at] = event;
}

static struct link_event take_event(struct link *link)
{
	struct link_event first = link->events[0], last = link->events[--link->event_count];
	size_t at = 0, child;

	while ((child = at * 2 + 1) < link->event_count) {
		if (child + 1 < link->event_count &&
		    is_before(&link->events[child + 1], &link->events[child]))
			child++;
		if (!is_before(&link->events[child], &last))
			break;
		link->events[at] = link->events[child];
		at = child;
	}
	link->events[at] = last;
	return first;
}

static uint64_t next_event_ns(const struct link *link)
{
	return link->event_count > 0 ? link->events[0].when_ns : UINT64_MAX;
}

void link_at(struct link *link, uint64_t when_ns, void (*call)(struct link *link, void *user),
	     void *user)
{
	plan(link, (struct link_event){.when_ns = when_ns > link->now_ns ? when_ns : link->now_ns,
				       .call = call,
				       .user = user});
}

void link_darken(struct link *link, uint64_t begin_ns, uint64_t duration_ns)
{
	link->dark_begin_ns = begin_ns;
	link->dark_end_ns = begin_ns + duration_ns;
}

static size_t ethernet_bytes(const struct link *link)
{
	return link->layer == VNIC_LAYER_ETHERNET ? VNIC_ETHERNET_HEADER_BYTES : 0;
}

static void arrive(struct link_end *from, const struct vnic_packet *packet, uint64_t when_ns)
{
	struct link_event event = {.when_ns = when_ns, .packet = *packet, .to = !from->index};
	size_t room = from->out.merge ? FRAME_BYTES_MOST : packet->length_bytes;

	event.packet.data = malloc(room);
	assert_non_null(event.packet.data);
	memcpy(event.packet.data, packet->data, packet->length_bytes);
	event.packet.capacity_bytes = (uint32_t)room;
	event.packet.headroom_bytes = 0;
	plan(from->link, event);
}

/* Behind all that the rate has not let through yet. @return false: the queue is full */
static bool queue(struct link_end *end, struct vnic_packet *packet, uint64_t *when_ns)
{
	const struct link_impairment *out = &end->out;
	uint64_t now_ns = end->link->now_ns, waiting;
	uint8_t *ip = packet->data + ethernet_bytes(end->link);

	*when_ns = now_ns;
	if (out->rate_bits == 0)
		return true;
	if (end->busy_ns < now_ns)
		end->busy_ns = now_ns;
	waiting = (uint64_t)((double)(end->busy_ns - now_ns) * (double)out->rate_bits / 8e9);
	if (out->queue_bytes > 0 && waiting + packet->length_bytes > out->queue_bytes) {
		end->overflowed++;
		return false;
	}
	if (out->mark_bytes > 0 && waiting >= out->mark_bytes) {
		if (ip[0] >> 4 == 4 && (ip[1] & 3) != 0 && (ip[1] & 3) != 3) {
			uint16_t before = (uint16_t)(ip[0] << 8 | ip[1]), sum;

			ip[1] |= 3;
			sum = vnic_checksum_update16((uint16_t)(ip[10] << 8 | ip[11]), before,
						     (uint16_t)(ip[0] << 8 | ip[1]));
			ip[10] = (uint8_t)(sum >> 8);
			ip[11] = (uint8_t)sum;
			end->marked++;
		} else if (ip[0] >> 4 == 6 && (ip[1] & 0x30) != 0 && (ip[1] & 0x30) != 0x30) {
			ip[1] |= 0x30;
			end->marked++;
		}
	}
	end->busy_ns += (uint64_t)((double)packet->length_bytes * 8e9 / (double)out->rate_bits);
	*when_ns = end->busy_ns;
	return true;
}

/* Copies of what is sent here may be changed: its memory is ours. */
static void travel(struct link_end *end, struct vnic_packet *packet)
{
	struct link *link = end->link;
	const struct link_impairment *out = &end->out;
	size_t before = ethernet_bytes(link);
	uint64_t when_ns;

	if (link->now_ns >= link->dark_begin_ns && link->now_ns < link->dark_end_ns) {
		end->lost++;
		return;
	}
	if (happens(link, out->loss_permille)) {
		end->lost++;
		return;
	}
	if (!queue(end, packet, &when_ns))
		return;
	when_ns += out->delay_ns + link_random(link, out->jitter_ns + 1);
	if (happens(link, out->reorder_permille)) {
		when_ns += link_random(link, out->reorder_ns + 1);
	} else {
		if (when_ns < end->last_ns)
			when_ns = end->last_ns;
		end->last_ns = when_ns;
	}
	if (happens(link, out->duplicate_permille))
		arrive(end, packet, when_ns + link_random(link, out->reorder_ns + 1));
	if (packet->gso_type == VNIC_GSO_NONE && happens(link, out->corrupt_permille)) {
		size_t bit = link_random(link, (packet->length_bytes - before) * 8);

		packet->data[before + bit / 8] ^= (uint8_t)(1u << bit % 8);
		end->corrupted++;
	}
	arrive(end, packet, when_ns);
}

/* What is too long for the router is sent back to where it came from. */
static void send_too_big(struct link_end *end, const struct vnic_packet *packet)
{
	static uint8_t frame[VNIC_ETHERNET_HEADER_BYTES + 1280];
	struct link_end *other = &end->link->ends[!end->index];
	size_t before = ethernet_bytes(end->link), quote = packet->length_bytes - before, length;
	const uint8_t *ip = packet->data + before;
	bool is_ipv6 = ip[0] >> 4 == 6;
	struct vnic_icmp icmp = {.type = VNIC_ICMP_UNREACHABLE,
				 .code = VNIC_ICMP_UNREACHABLE_FRAGMENTATION_NEEDED,
				 .rest = end->out.mtu_bytes};
	const char *to = end->index == 0 ? PEER4 : STACK4;
	uint8_t *message = frame + before + (is_ipv6 ? 40 : 20);
	struct vnic_packet answer = {.data = frame};

	if (quote > 528)
		quote = 528;
	memcpy(message + VNIC_ICMP_HEADER_BYTES, ip, quote);
	length = VNIC_ICMP_HEADER_BYTES + quote;
	if (is_ipv6) {
		struct vnic_address router = peer_address("fd00::fe");
		struct vnic_address source = vnic_address_from_bytes(VNIC_IPV6, ip + 8);

		to = end->index == 0 ? PEER6 : STACK6;
		icmp.type = VNIC_ICMPV6_PACKET_TOO_BIG;
		icmp.code = 0;
		vnic_icmpv6_build(message, length, &router, &source, &icmp, quote);
		length =
			peer_ip(frame + before, "fd00::fe", to, VNIC_PROTOCOL_ICMPV6, NULL, length);
	} else {
		vnic_icmp_build(message, length, &icmp, quote);
		length =
			peer_ip(frame + before, "10.0.0.254", to, VNIC_PROTOCOL_ICMP, NULL, length);
	}
	if (before > 0) {
		memcpy(frame, packet->data + VNIC_MAC_BYTES, VNIC_MAC_BYTES);
		memcpy(frame + VNIC_MAC_BYTES, macs[!end->index], VNIC_MAC_BYTES);
		memcpy(frame + 12, packet->data + 12, 2);
	}
	answer.length_bytes = (uint32_t)(before + length);
	travel(other, &answer);
}

/* What a router does with an IPv4 packet that is too long and may be fragmented. */
static void pass_fragments(struct link_end *end, const struct vnic_packet *packet)
{
	static uint8_t memory[FRAME_BYTES_MOST];
	size_t before = ethernet_bytes(end->link), length = packet->length_bytes - before;
	const uint8_t *ip = packet->data + before;
	struct vnic_ipv4 whole, ipv4;
	int header = vnic_ipv4_parse(ip, length, &whole);
	size_t step;

	assert_true(header > 0);
	step = (end->out.mtu_bytes - (size_t)header) / 8 * 8;
	for (size_t at = (size_t)header; at < length; at += step) {
		size_t piece = length - at < step ? length - at : step;
		struct vnic_packet fragment = {.data = memory,
					       .length_bytes =
						       (uint32_t)(before + (size_t)header + piece)};

		ipv4 = whole;
		ipv4.total_bytes = (uint16_t)((size_t)header + piece);
		ipv4.fragment_offset_bytes =
			(uint16_t)(whole.fragment_offset_bytes + at - (size_t)header);
		ipv4.more_fragments = whole.more_fragments || at + piece < length;
		memcpy(memory, packet->data, before);
		vnic_ipv4_build(memory + before, (size_t)header, &ipv4);
		memcpy(memory + before + (size_t)header, ip + at, piece);
		travel(end, &fragment);
	}
}

/* A plain packet, or a whole super-packet. */
static void pass(struct link_end *end, struct vnic_packet *packet)
{
	size_t before = ethernet_bytes(end->link);
	const uint8_t *ip = packet->data + before;
	uint8_t version = packet->length_bytes > before ? ip[0] >> 4 : 0;

	if (end->out.mtu_bytes > 0 && packet->gso_type == VNIC_GSO_NONE &&
	    packet->length_bytes - before > end->out.mtu_bytes && (version == 4 || version == 6)) {
		end->too_long++;
		if (version == 4 && !(ip[6] & 0x40))
			pass_fragments(end, packet);
		else if (!end->out.mtu_is_secret)
			send_too_big(end, packet);
		return;
	}
	travel(end, packet);
}

static bool find_segment(struct link_end *end, struct vnic_packet *packet,
			 struct link_segment *segment)
{
	size_t before = ethernet_bytes(end->link);
	struct vnic_ipv4 ipv4;
	struct vnic_ipv6 ipv6;
	int header, tcp;

	if (packet->length_bytes <= before)
		return false;
	*segment = (struct link_segment){.from = end->index,
					 .at_ns = end->link->now_ns,
					 .ip = packet->data + before,
					 .ip_bytes = packet->length_bytes - before};
	if (segment->ip[0] >> 4 == 4) {
		header = vnic_ipv4_parse(segment->ip, segment->ip_bytes, &ipv4);
		if (header < 0 || ipv4.protocol != VNIC_PROTOCOL_TCP)
			return false;
		segment->source = vnic_address_from_bytes(VNIC_IPV4, ipv4.source);
		segment->destination = vnic_address_from_bytes(VNIC_IPV4, ipv4.destination);
		segment->ecn = ipv4.tos & 3;
	} else {
		header = vnic_ipv6_parse(segment->ip, segment->ip_bytes, &ipv6);
		if (header < 0 || ipv6.next_header != VNIC_PROTOCOL_TCP)
			return false;
		segment->source = vnic_address_from_bytes(VNIC_IPV6, ipv6.source);
		segment->destination = vnic_address_from_bytes(VNIC_IPV6, ipv6.destination);
		segment->ecn = segment->ip[1] >> 4 & 3;
	}
	tcp = vnic_tcp_parse(segment->ip + header, segment->ip_bytes - (size_t)header,
			     &segment->tcp);
	if (tcp < 0)
		return false;
	segment->payload = segment->ip + header + tcp;
	segment->payload_bytes = segment->ip_bytes - (size_t)header - (size_t)tcp;
	return true;
}

/* VNIC_SIM_TRACE=1 shows what the stacks send. */
static void trace(const struct link_end *end, const struct vnic_packet *packet)
{
	const struct link *link = end->link;
	char line[VNIC_PACKET_LINE_BYTES];

	vnic_packet_print(packet, link->layer, line, sizeof(line));
	print_message("# %.6f end %u: %s\n",
		      (double)(link->now_ns - link->begin_ns) / (double)SECOND_NS, end->index,
		      line);
}

static void check(struct link_end *end, const struct vnic_packet *packet)
{
	const char *wrong =
		check_packet(packet, end->link->layer, macs[end->index], end->options.mtu_bytes);

	if (wrong) {
		char line[VNIC_PACKET_LINE_BYTES];

		vnic_packet_print(packet, end->link->layer, line, sizeof(line));
		fail_msg("end %u sent %s: %s", end->index, wrong, line);
	}
}

static void send_one(struct link_end *end, const struct vnic_packet *packet)
{
	static uint8_t memory[FRAME_BYTES_MOST];
	struct link *link = end->link;
	struct vnic_segmenter segmenter;
	struct link_segment segment;
	int count = vnic_segmenter_begin(&segmenter, packet, link->layer);
	bool is_super = packet->gso_type != VNIC_GSO_NONE;

	if (link->is_traced)
		trace(end, packet);
	end->sent++;
	end->supers += is_super;
	if (count < 1)
		fail_msg("end %u sent a packet whose offload description makes no sense",
			 end->index);
	if (is_super && (end->options.plain || packet->gso_size_bytes == 0))
		fail_msg("end %u sent a super-packet with segments of %u bytes", end->index,
			 packet->gso_size_bytes);
	if (!is_super && (packet->flags & ~VNIC_PACKET_NEEDS_CSUM) != 0)
		fail_msg("end %u sent a packet with flags %x", end->index, packet->flags);
	for (int i = 0; i < count; i++) {
		struct vnic_packet one = {.data = memory, .capacity_bytes = sizeof(memory)};

		assert_int_equal(vnic_segmenter_next(&segmenter, &one, 1), 1);
		check(end, &one);
		if (is_super && end->out.whole)
			continue;
		if (link->watch && find_segment(end, &one, &segment) &&
		    !link->watch(link->watch_user, &segment))
			end->lost++;
		else
			pass(end, &one);
	}
	if (is_super && end->out.whole) {
		struct vnic_packet whole = *packet;

		memcpy(memory, packet->data, packet->length_bytes);
		whole.data = memory;
		if (link->watch && find_segment(end, &whole, &segment) &&
		    !link->watch(link->watch_user, &segment))
			end->lost++;
		else
			pass(end, &whole);
	}
}

static void on_send(void *user, const struct vnic_packet *packets, unsigned count)
{
	assert_in_range(count, 1, VNIC_BURST_PACKETS);
	for (unsigned i = 0; i < count; i++)
		send_one(user, &packets[i]);
}

static void on_random(void *user, void *bytes, size_t length_bytes)
{
	struct link_end *end = user;

	for (size_t i = 0; i < length_bytes; i++)
		((uint8_t *)bytes)[i] = (uint8_t)peer_random(&end->random);
}

static void assert_counters(const struct link_end *end)
{
	const char *wrong = check_counters(end->stack);

	if (wrong)
		fail_msg("end %u: %s", end->index, wrong);
}

static void add(struct link_end *end, enum vnic_family family)
{
	struct vnic_prefix prefix = {link_address(family, end->index),
				     family == VNIC_IPV4 ? 24 : 64};

	assert_int_equal(vnic_stack_add_address(end->stack, &prefix, NULL), 0);
}

void link_begin(struct link *link, enum vnic_layer layer, uint64_t seed,
		void (*change)(struct vnic_stack_options *options, unsigned end, void *user),
		void *user)
{
	memset(link, 0, sizeof(*link));
	link->layer = layer;
	link->now_ns = link->begin_ns = 1000 * SECOND_NS;
	link->is_traced = getenv("VNIC_SIM_TRACE") != NULL;
	link->random = seed;
	for (unsigned i = 0; i < 2; i++) {
		struct link_end *end = &link->ends[i];

		end->link = link;
		end->index = i;
		end->random = seed ^ (i + 1) * UINT64_C(0x123456789abcdef);
		end->options = (struct vnic_stack_options){.layer = layer,
							   .mtu_bytes = 1500,
							   .send = on_send,
							   .random = on_random,
							   .user = end};
		if (layer == VNIC_LAYER_ETHERNET)
			memcpy(end->options.mac, macs[i], VNIC_MAC_BYTES);
		if (change)
			change(&end->options, i, user);
		assert_int_equal(vnic_stack_new(&end->options, &end->stack, NULL), 0);
		add(end, VNIC_IPV4);
		if (end->options.mtu_bytes >= VNIC_IPV6_MTU_BYTES)
			add(end, VNIC_IPV6);
	}
	for (unsigned i = 0; i < 2; i++)
		vnic_stack_link_up(link->ends[i].stack, link->now_ns);
}

void link_end(struct link *link)
{
	for (unsigned i = 0; i < 2; i++)
		vnic_stack_free(link->ends[i].stack);
	for (size_t i = 0; i < link->event_count; i++)
		free(link->events[i].packet.data);
	free(link->events);
	memset(link, 0, sizeof(*link));
}

void link_impair(struct link *link, const struct link_impairment *impairment)
{
	link->ends[0].out = *impairment;
	link->ends[1].out = *impairment;
}

static void deliver(struct link_end *end, struct vnic_packet *packets, unsigned count, bool merge)
{
	end->delivered += count;
	if (!end->stack)
		return;
	if (merge)
		count = vnic_packets_merge(packets, count, end->link->layer, VNIC_MERGE_TCP);
	vnic_stack_receive(end->stack, packets, count, end->link->now_ns);
	assert_counters(end);
}

void link_inject(struct link *link, unsigned to, const uint8_t *ip, size_t length)
{
	size_t before = ethernet_bytes(link);
	uint8_t *memory = malloc(before + length);
	struct vnic_packet packet = {.data = memory,
				     .length_bytes = (uint32_t)(before + length),
				     .capacity_bytes = (uint32_t)(before + length)};

	assert_non_null(memory);
	if (before > 0) {
		memcpy(memory, macs[to], VNIC_MAC_BYTES);
		memcpy(memory + VNIC_MAC_BYTES, macs[!to], VNIC_MAC_BYTES);
		memory[12] = ip[0] >> 4 == 4 ? 0x08 : 0x86;
		memory[13] = ip[0] >> 4 == 4 ? 0x00 : 0xdd;
	}
	memcpy(memory + before, ip, length);
	deliver(&link->ends[to], &packet, 1, false);
	free(memory);
}

/* All that happens now. */
static void happen(struct link *link)
{
	struct vnic_packet packets[VNIC_BURST_PACKETS];
	uint8_t *memory[VNIC_BURST_PACKETS]; /* merging changes their order */

	while (next_event_ns(link) <= link->now_ns) {
		struct link_event event = take_event(link);
		unsigned count = 0;

		if (event.call) {
			event.call(link, event.user);
			continue;
		}
		packets[count++] = event.packet;
		while (count < VNIC_BURST_PACKETS && next_event_ns(link) <= link->now_ns &&
		       !link->events[0].call && link->events[0].to == event.to)
			packets[count++] = take_event(link).packet;
		for (unsigned i = 0; i < count; i++)
			memory[i] = packets[i].data;
		deliver(&link->ends[event.to], packets, count, link->ends[!event.to].out.merge);
		for (unsigned i = 0; i < count; i++)
			free(memory[i]);
	}
}

static void advance(struct link *link, struct link_end *end)
{
	uint64_t due_ns = UINT64_MAX;

	/* It may plan something for now, but not forever. */
	for (unsigned idle = 0; end->stack;) {
		uint64_t sent = end->sent;

		due_ns = vnic_stack_advance(end->stack, link->now_ns);
		assert_counters(end);
		if (due_ns > link->now_ns)
			break;
		/* Who has much to send asks for it, and then does send. */
		if (end->sent == sent && ++idle > CALLS_AT_ONCE)
			fail_msg("end %u: advance(%llu) asks to be called at %llu", end->index,
				 (unsigned long long)link->now_ns, (unsigned long long)due_ns);
	}
	end->due_ns = due_ns;
}

/* One step. @return false: nothing is going to happen until then */
static bool step(struct link *link, uint64_t until_ns)
{
	uint64_t next_ns;

	happen(link);
	for (unsigned i = 0; i < 2; i++)
		advance(link, &link->ends[i]);
	next_ns = next_event_ns(link);
	for (unsigned i = 0; i < 2; i++)
		if (link->ends[i].due_ns < next_ns)
			next_ns = link->ends[i].due_ns;
	if (next_ns > until_ns)
		return false;
	for (unsigned i = 0; i < 2; i++)
		link->ends[i].wakeups += link->ends[i].due_ns == next_ns;
	if (next_ns > link->now_ns)
		link->now_ns = next_ns;
	return true;
}

void link_wait(struct link *link, uint64_t duration_ns)
{
	uint64_t until_ns = link->now_ns + duration_ns;

	while (step(link, until_ns))
		;
	link->now_ns = until_ns;
	/* What is planned for just then, and for nothing but being called at last. */
	step(link, until_ns);
}

bool link_wait_until(struct link *link, bool (*done)(void *user), void *user, uint64_t longest_ns)
{
	uint64_t until_ns = link->now_ns + longest_ns;

	while (!done(user))
		if (!step(link, until_ns))
			return done(user);
	return true;
}

static void ignore(struct vnic_endpoint *endpoint, void *user,
		   const struct vnic_datagram *datagrams, unsigned count)
{
	(void)endpoint;
	(void)user;
	(void)datagrams;
	(void)count;
}

void link_introduce(struct link *link, enum vnic_family family)
{
	for (unsigned i = 0; i < 2; i++) {
		struct vnic_endpoint_options options = {.port = 1, .receive = ignore};
		struct vnic_datagram datagram = {
			.flow = {.remote_address = link_address(family, !i), .remote_port = 1}};
		struct vnic_endpoint *endpoint;
		struct vnic_error error = {0};

		if (vnic_endpoint_open(link->ends[i].stack, &options, &endpoint, &error) < 0)
			fail_msg("introducing end %u: %s", i, error.text);
		assert_int_equal(vnic_endpoint_send(endpoint, &datagram, 1), 1);
		link_wait(link, SECOND_NS);
		vnic_endpoint_close(endpoint);
	}
}

bool link_is_idle(const struct link *link)
{
	return link->event_count == 0 && link->ends[0].due_ns == UINT64_MAX &&
	       link->ends[1].due_ns == UINT64_MAX;
}

uint64_t link_counter(const struct link *link, unsigned end, enum vnic_stack_counter counter)
{
	return vnic_stack_counter(link->ends[end].stack, counter);
}
