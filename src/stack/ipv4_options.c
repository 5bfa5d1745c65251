/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * What a host does with the options of IPv4 (RFC 791 section 3.1, RFC 1122 sections 3.2.1.8 and
 * 3.2.2.6).
 *
 * A source route that is not used up asks us to forward, and we are no router: unreachable, source
 * route failed. Malformed options are a parameter problem that points at them. Unknown ones are
 * passed over.
 *
 * An echo request's options return in the reply: record route and timestamp with our entry added,
 * so that they tell the way there and back, and a used-up source route the other way round.
 * Everything else becomes no-operation; so the header keeps its length, and the request is turned
 * into the reply in place. Timestamps are milliseconds of a clock that has no relation to midnight,
 * which their highest bit says (RFC 791). Errors and resets carry no options: RFC 1122 would have
 * them return along a source route too, but no network lets source routes pass any more (RFC 7126
 * section 4.3).
 */
#include <string.h>

#include "base/bytes.h"
#include "stack/stack.h"

#define TIMESTAMP_ONLY 0
#define TIMESTAMP_AND_ADDRESS 1
#define TIMESTAMP_PRESPECIFIED 3

static bool is_source_route(uint8_t type)
{
	return type == VNIC_IPV4_OPTION_LOOSE_SOURCE_ROUTE ||
	       type == VNIC_IPV4_OPTION_STRICT_SOURCE_ROUTE;
}

/* Of a route: type, length, pointer (from 1, so 4 at least), addresses. */
static bool is_route_valid(const uint8_t *option, size_t option_bytes)
{
	return option_bytes >= 3 && (option_bytes - 3) % 4 == 0 && option[2] >= 4 &&
	       option[2] % 4 == 0;
}

static bool is_timestamp_valid(const uint8_t *option, size_t option_bytes)
{
	size_t entry_bytes;

	if (option_bytes < 4 || option[2] < 5)
		return false;
	switch (option[3] & 15) {
	case TIMESTAMP_ONLY:
		entry_bytes = 4;
		break;
	case TIMESTAMP_AND_ADDRESS:
	case TIMESTAMP_PRESPECIFIED:
		entry_bytes = 8;
		break;
	default:
		return false;
	}
	/* An entry that is begun within the option must end within it. */
	if (option[2] <= option_bytes && option[2] - 1u + entry_bytes > option_bytes)
		return false;
	return true;
}

unsigned vn_ipv4_options_check(const struct vnic_ipv4 *ipv4, bool *source_route_left)
{
	size_t offset = 0, option_bytes;
	const uint8_t *option;
	bool source_route = false;
	int rc;

	while ((rc = vnic_ipv4_next_option(ipv4, &offset, &option, &option_bytes)) == 1) {
		unsigned at = VNIC_IPV4_HEADER_BYTES + (unsigned)(option - ipv4->options);

		if (is_source_route(option[0])) {
			if (source_route) /* RFC 1122 section 3.2.1.8 (c): there is only one */
				return at;
			source_route = true;
		}
		if (is_source_route(option[0]) || option[0] == VNIC_IPV4_OPTION_RECORD_ROUTE) {
			if (!is_route_valid(option, option_bytes))
				return at;
			if (is_source_route(option[0]) && option[2] <= option_bytes)
				*source_route_left = true;
		} else if (option[0] == VNIC_IPV4_OPTION_TIMESTAMP &&
			   !is_timestamp_valid(option, option_bytes)) {
			return at;
		}
	}
	return rc < 0 ? VNIC_IPV4_HEADER_BYTES + (unsigned)offset : 0;
}

/* Add ourselves to a route that is recorded, if there is room. */
static void record_route(uint8_t *option, size_t option_bytes, const uint8_t *own)
{
	if (option[2] + 3u > option_bytes)
		return;
	memcpy(option + option[2] - 1, own, VNIC_IPV4_BYTES);
	option[2] = (uint8_t)(option[2] + VNIC_IPV4_BYTES);
}

/* @return false if there is neither room nor a way to say so (RFC 791: that is an error) */
static bool record_timestamp(uint8_t *option, size_t option_bytes, const uint8_t *own,
			     uint32_t time)
{
	bool with_address = (option[3] & 15) != TIMESTAMP_ONLY;
	uint8_t *entry = option + option[2] - 1;

	if (option[2] > option_bytes) {
		if ((option[3] & 15) == TIMESTAMP_PRESPECIFIED)
			return true;
		if (option[3] >> 4 == 15)
			return false;
		option[3] = (uint8_t)(option[3] + 16);
		return true;
	}
	if ((option[3] & 15) == TIMESTAMP_PRESPECIFIED && memcmp(entry, own, VNIC_IPV4_BYTES) != 0)
		return true;
	if (with_address) {
		memcpy(entry, own, VNIC_IPV4_BYTES);
		entry += VNIC_IPV4_BYTES;
	}
	vn_store32(entry, time);
	option[2] = (uint8_t)(option[2] + (with_address ? 8 : 4));
	return true;
}

/*
 * The hops r1 to rn that a packet from S came through lead back as: to rn first, then r(n-1) to r1
 * and S, which takes as much room. @return false if one of them is no host
 */
static bool reverse_route(const struct vnic_stack *stack, uint8_t *option, size_t option_bytes,
			  struct vnic_address *destination)
{
	size_t count = (option_bytes - 3) / VNIC_IPV4_BYTES;
	uint8_t hops[40], *route = option + 3;

	if (count == 0)
		return true;
	/* Else anyone could have us send to groups. */
	for (size_t i = 0; i < count; i++) {
		struct vnic_address hop =
			vnic_address_from_bytes(VNIC_IPV4, route + i * VNIC_IPV4_BYTES);

		if (hop.bytes[0] == 0 || vnic_address_is_loopback(&hop) ||
		    vnic_address_is_multicast(&hop) ||
		    vn_addresses_is_broadcast(&stack->addresses, &hop))
			return false;
	}
	memcpy(hops, route, count * VNIC_IPV4_BYTES);
	for (size_t i = 0; i + 1 < count; i++)
		memcpy(route + i * VNIC_IPV4_BYTES, hops + (count - 2 - i) * VNIC_IPV4_BYTES,
		       VNIC_IPV4_BYTES);
	memcpy(route + (count - 1) * VNIC_IPV4_BYTES, destination->bytes, VNIC_IPV4_BYTES);
	*destination = vnic_address_from_bytes(VNIC_IPV4, hops + (count - 1) * VNIC_IPV4_BYTES);
	option[2] = 4;
	return true;
}

unsigned vn_ipv4_options_reply(const struct vnic_stack *stack, const struct vn_input *input,
			       uint8_t *ip, struct vnic_address *destination)
{
	const struct vnic_ipv4 *ipv4 = &input->ipv4;
	uint32_t time = (uint32_t)(stack->now_ns / 1000000) | UINT32_C(0x80000000);
	size_t offset = 0, option_bytes;
	const uint8_t *found;

	while (vnic_ipv4_next_option(ipv4, &offset, &found, &option_bytes) == 1) {
		unsigned at = VNIC_IPV4_HEADER_BYTES + (unsigned)(found - ipv4->options);
		uint8_t *option = ip + at;

		switch (option[0]) {
		case VNIC_IPV4_OPTION_RECORD_ROUTE:
			record_route(option, option_bytes, input->destination.bytes);
			break;
		case VNIC_IPV4_OPTION_TIMESTAMP:
			if (!record_timestamp(option, option_bytes, input->destination.bytes, time))
				return at;
			break;
		case VNIC_IPV4_OPTION_LOOSE_SOURCE_ROUTE:
		case VNIC_IPV4_OPTION_STRICT_SOURCE_ROUTE:
			if (!reverse_route(stack, option, option_bytes, destination))
				return at;
			break;
		default:
			memset(option, VNIC_IPV4_OPTION_NOP, option_bytes);
		}
	}
	return 0;
}
