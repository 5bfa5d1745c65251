/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Answers go back to where the question came from. This is for what the stack says first: which
 * Ethernet address belongs to the IP address that a packet goes to, or to the router before it, by
 * ARP (RFC 826, RFC 1122 section 2.3.2) and neighbour discovery (RFC 4861 section 7). A neighbor is
 * in one of these states:
 *
 *   INCOMPLETE  is asked for, three times with a second between, while up to three packets wait.
 *               Then they are lost, who sent them is told (RFC 4861 section 7.2.2), and the
 *               neighbor is forgotten: the next packet asks again
 *   REACHABLE   has answered within the last 30 s
 *   STALE       has a known address that is not certain any more: nobody sends to it, or it has
 *               told us its address by asking for ours
 *   DELAY       was STALE and is sent to. After 5 s ...
 *   PROBE       ... it is asked itself, at the address that is known, three times. It goes on being
 *               sent to meanwhile; if it does not answer, it is forgotten
 *
 * Where the frame that told of the address had VLAN tags, what is sent to it has them too.
 *
 * Strangers may fill the table up to its bound but never harm whom we speak to: there are two lists
 * by age, of those that we have sent to and of those that only have spoken to us. Only the second
 * makes room for strangers; for ourselves the second does first, then the least recently used. What
 * is unasked for (gratuitous ARP, an advertisement) changes entries but makes none (RFC 4861
 * section 7.2.5). That whoever shares an Ethernet can lie about addresses in it is how ARP is.
 *
 * The clock stands still between the user's calls. What is asked for from outside of
 * vnic_stack_receive() and vnic_stack_advance() begins its seconds with the next one that tells
 * the time.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/pool.h"
#include "base/siphash.h"
#include "base/timer.h"
#include "stack/stack.h"

#define WAITING_PACKETS 3
#define WAITING_BYTES (1u << 20) /* of all neighbors */
#define TRIES 3                  /* RFC 4861 section 10, MAX_MULTICAST_SOLICIT and _UNICAST_ */
#define TRY_NS VN_SECOND_NS      /* RETRANS_TIMER; RFC 1122 section 2.3.2.1 allows no more often */
#define REACHABLE_NS (30 * VN_SECOND_NS)
#define DELAY_NS (5 * VN_SECOND_NS)

enum state {
	INCOMPLETE,
	REACHABLE,
	STALE,
	DELAY,
	PROBE
};

struct waiting {
	struct vnic_packet packet; /* its data are the bytes */
	uint8_t bytes[];
};

struct neighbor {
	struct vn_timer timer;            /* first, so that a timer is its neighbor */
	struct neighbor *next;            /* in its slot */
	struct neighbor *older, *younger; /* in its list */
	struct vnic_address address;
	struct vnic_address source; /* of the packets to it: who asks */
	struct vn_link link;
	uint8_t state;
	uint8_t tries;
	uint8_t waiting_count;
	bool used;    /* it is in the list of those */
	bool untimed; /* the timer is to be set when the time is known */
	uint64_t reachable_until_ns;
	struct waiting *waiting[WAITING_PACKETS]; /* the oldest first */
};

struct list {
	struct neighbor *oldest, *youngest;
};

struct vn_neighbors {
	uint8_t key[16];
	struct vn_pool pool;
	struct vn_timers timers;
	struct list used, strangers;
	size_t waiting_bytes;
	struct vnic_address routers[2]; /* of IPv4 and IPv6; no family: none */
	struct vn_link group;           /* where the last packet to a group went */
	uint32_t slot_mask;
	struct neighbor *slots[];
};

int vn_neighbors_new(struct vnic_stack *stack)
{
	unsigned most = stack->options.layer == VNIC_LAYER_ETHERNET ? stack->options.neighbors : 1;
	struct vn_neighbors *neighbors;
	uint32_t slots = 1;

	while (slots < most)
		slots *= 2;
	neighbors = calloc(1, sizeof(*neighbors) + slots * sizeof(struct neighbor *));
	if (!neighbors)
		return -ENOMEM;
	stack->neighbors = neighbors;
	neighbors->slot_mask = slots - 1;
	vn_stack_random(stack, neighbors->key, sizeof(neighbors->key));
	vn_pool_init(&neighbors->pool, sizeof(struct neighbor), most);
	vn_timers_init(&neighbors->timers, stack->now_ns);
	return 0;
}

static struct list *list_of(struct vn_neighbors *neighbors, const struct neighbor *neighbor)
{
	return neighbor->used ? &neighbors->used : &neighbors->strangers;
}

static void take_out(struct list *list, struct neighbor *neighbor)
{
	*(neighbor->older ? &neighbor->older->younger : &list->oldest) = neighbor->younger;
	*(neighbor->younger ? &neighbor->younger->older : &list->youngest) = neighbor->older;
}

static void append(struct list *list, struct neighbor *neighbor)
{
	neighbor->older = list->youngest;
	neighbor->younger = NULL;
	*(list->youngest ? &list->youngest->younger : &list->oldest) = neighbor;
	list->youngest = neighbor;
}

static struct neighbor **slot_of(struct vn_neighbors *neighbors, const struct vnic_address *address)
{
	uint64_t hash = vn_siphash(neighbors->key, address->bytes, sizeof(address->bytes));

	return &neighbors->slots[(hash ^ (uint64_t)address->family) & neighbors->slot_mask];
}

static struct neighbor *look_up(struct vn_neighbors *neighbors, const struct vnic_address *address)
{
	struct neighbor *neighbor = *slot_of(neighbors, address);

	while (neighbor && !vnic_address_equal(&neighbor->address, address))
		neighbor = neighbor->next;
	return neighbor;
}

static void free_waiting(struct vn_neighbors *neighbors, struct waiting *waiting)
{
	neighbors->waiting_bytes -= waiting->packet.length_bytes;
	free(waiting);
}

static void forget(struct vnic_stack *stack, struct neighbor *neighbor)
{
	struct vn_neighbors *neighbors = stack->neighbors;
	struct neighbor **link = slot_of(neighbors, &neighbor->address);

	vn_stack_count(stack, VNIC_STACK_LOST_UNRESOLVED, neighbor->waiting_count);
	for (unsigned i = 0; i < neighbor->waiting_count; i++)
		free_waiting(neighbors, neighbor->waiting[i]);
	while (*link != neighbor)
		link = &(*link)->next;
	*link = neighbor->next;
	take_out(list_of(neighbors, neighbor), neighbor);
	vn_timer_clear(&neighbors->timers, &neighbor->timer);
	vn_pool_give(&neighbors->pool, neighbor);
}

void vn_neighbors_free(struct vnic_stack *stack)
{
	struct vn_neighbors *neighbors = stack->neighbors;

	if (!neighbors)
		return;
	while (neighbors->used.oldest)
		forget(stack, neighbors->used.oldest);
	vn_pool_done(&neighbors->pool);
	free(neighbors);
}

/* A new entry, if need be in the place of another. NULL: there is none for it. */
static struct neighbor *make(struct vnic_stack *stack, const struct vnic_address *address,
			     bool used)
{
	struct vn_neighbors *neighbors = stack->neighbors;
	struct neighbor *neighbor, **slot = slot_of(neighbors, address);

	if (neighbors->pool.in_use == neighbors->pool.most) {
		if (neighbors->strangers.oldest)
			forget(stack, neighbors->strangers.oldest);
		else if (used)
			forget(stack, neighbors->used.oldest);
		else
			return NULL;
	}
	neighbor = vn_pool_take(&neighbors->pool);
	if (!neighbor)
		return NULL;
	neighbor->address = *address;
	neighbor->used = used;
	neighbor->next = *slot;
	*slot = neighbor;
	append(list_of(neighbors, neighbor), neighbor);
	return neighbor;
}

static void set_timer(struct vnic_stack *stack, struct neighbor *neighbor, uint64_t due_ns)
{
	vn_timer_set(&stack->neighbors->timers, &neighbor->timer, due_ns);
	vn_stack_wake(stack, due_ns);
}

/* link: where it is believed to be; NULL: everybody is asked. */
static void ask(struct vnic_stack *stack, struct neighbor *neighbor, const struct vn_link *link)
{
	neighbor->tries++;
	/* Another host may turn out to have our address meanwhile. */
	if (!vn_addresses_has(&stack->addresses, &neighbor->source))
		return;
	if (neighbor->address.family == VNIC_IPV4)
		vn_arp_ask(stack, link, &neighbor->source, &neighbor->address);
	else
		vn_ndp_ask(stack, link, &neighbor->source, &neighbor->address);
	vn_stack_count(stack, VNIC_STACK_SOLICITATIONS, 1);
}

/*
 * It does not answer. Who is told so may send at once, to anybody, so it is forgotten before, and
 * what waited for it does not wait any more.
 */
static void give_up(struct vnic_stack *stack, struct neighbor *neighbor)
{
	struct waiting *waiting[WAITING_PACKETS];
	unsigned count = neighbor->waiting_count;

	memcpy(waiting, neighbor->waiting, sizeof(waiting));
	neighbor->waiting_count = 0;
	forget(stack, neighbor);
	vn_stack_count(stack, VNIC_STACK_LOST_UNRESOLVED, count);
	for (unsigned i = 0; i < count; i++) {
		vn_notice_unreachable(stack, waiting[i]->bytes, waiting[i]->packet.length_bytes);
		free_waiting(stack->neighbors, waiting[i]);
	}
}

/* Its time is over. */
static void expire(struct vnic_stack *stack, struct neighbor *neighbor)
{
	if (neighbor->untimed) {
		neighbor->untimed = false;
		set_timer(stack, neighbor, stack->now_ns + TRY_NS);
		return;
	}
	if (neighbor->state == DELAY) {
		neighbor->state = PROBE;
		neighbor->tries = 0;
	}
	if (neighbor->tries == TRIES) {
		give_up(stack, neighbor);
		return;
	}
	ask(stack, neighbor, neighbor->state == PROBE ? &neighbor->link : NULL);
	set_timer(stack, neighbor, stack->now_ns + TRY_NS);
}

void vn_neighbors_advance(struct vnic_stack *stack)
{
	struct vn_timers *timers = &stack->neighbors->timers;
	struct vn_timer *timer;

	while ((timer = vn_timers_expired(timers, stack->now_ns)))
		expire(stack, (struct neighbor *)timer);
}

uint64_t vn_neighbors_next(const struct vnic_stack *stack)
{
	return vn_timers_next(&stack->neighbors->timers);
}

static void touch(struct vn_neighbors *neighbors, struct neighbor *neighbor)
{
	if (neighbors->used.youngest == neighbor)
		return;
	take_out(list_of(neighbors, neighbor), neighbor);
	neighbor->used = true;
	append(&neighbors->used, neighbor);
}

/* Something is sent to it: if what is known is old, see to it that it is confirmed. */
static void use(struct vnic_stack *stack, struct neighbor *neighbor,
		const struct vnic_address *source)
{
	touch(stack->neighbors, neighbor);
	if (neighbor->state == REACHABLE && stack->now_ns >= neighbor->reachable_until_ns)
		neighbor->state = STALE;
	if (neighbor->state != STALE)
		return;
	neighbor->state = DELAY;
	neighbor->source = *source;
	set_timer(stack, neighbor, stack->now_ns + DELAY_NS);
}

static const struct vnic_address *next_hop(const struct vnic_stack *stack,
					   const struct vnic_address *destination)
{
	const struct vnic_address *router =
		&stack->neighbors->routers[destination->family == VNIC_IPV4 ? 0 : 1];

	if (router->family == VNIC_NO_FAMILY || vnic_address_is_link_local(destination) ||
	    vn_addresses_on_link(&stack->addresses, destination))
		return destination;
	return router;
}

const struct vn_link *vn_neighbor_find(struct vnic_stack *stack, const struct vnic_address *source,
				       const struct vnic_address *destination)
{
	static const struct vn_link none;
	struct vn_neighbors *neighbors = stack->neighbors;
	struct neighbor *neighbor;

	if (stack->options.layer != VNIC_LAYER_ETHERNET)
		return &none;
	neighbors->group = none;
	if (vnic_address_is_multicast(destination)) {
		vnic_address_multicast_mac(destination, neighbors->group.mac);
		return &neighbors->group;
	}
	if (vn_addresses_is_broadcast(&stack->addresses, destination)) {
		memset(neighbors->group.mac, 0xff, VNIC_MAC_BYTES);
		return &neighbors->group;
	}
	neighbor = look_up(neighbors, next_hop(stack, destination));
	if (!neighbor || neighbor->state == INCOMPLETE)
		return NULL;
	use(stack, neighbor, source);
	return &neighbor->link;
}

static void keep(struct vnic_stack *stack, struct neighbor *neighbor,
		 const struct vnic_packet *packet)
{
	struct vn_neighbors *neighbors = stack->neighbors;
	struct waiting *waiting = NULL;

	/* The latest are what is still wanted (RFC 1122 section 2.3.2.2). */
	if (neighbor->waiting_count == WAITING_PACKETS) {
		free_waiting(neighbors, neighbor->waiting[0]);
		for (unsigned i = 1; i < WAITING_PACKETS; i++)
			neighbor->waiting[i - 1] = neighbor->waiting[i];
		neighbor->waiting_count--;
		vn_stack_count(stack, VNIC_STACK_LOST_UNRESOLVED, 1);
	}
	if (packet->length_bytes <= WAITING_BYTES - neighbors->waiting_bytes)
		waiting = malloc(sizeof(*waiting) + packet->length_bytes);
	if (!waiting) {
		vn_stack_count(stack, VNIC_STACK_LOST_UNRESOLVED, 1);
		return;
	}
	neighbors->waiting_bytes += packet->length_bytes;
	waiting->packet = *packet;
	memcpy(waiting->bytes, packet->data, packet->length_bytes);
	neighbor->waiting[neighbor->waiting_count++] = waiting;
}

static void output(struct vnic_stack *stack, const struct vn_link *link, struct vnic_packet *packet)
{
	if (packet->flags == 0 && packet->gso_type == VNIC_GSO_NONE)
		vn_output_ip(stack, link, packet->data, packet->length_bytes);
	else
		vn_output_packet(stack, link, packet);
}

void vn_neighbor_wait(struct vnic_stack *stack, const struct vnic_packet *packet)
{
	const uint8_t *ip = packet->data;
	bool ipv4 = ip[0] >> 4 == VNIC_IPV4;
	enum vnic_family family = ipv4 ? VNIC_IPV4 : VNIC_IPV6;
	struct vnic_address source = vnic_address_from_bytes(family, ip + (ipv4 ? 12 : 8));
	struct vnic_address destination = vnic_address_from_bytes(family, ip + (ipv4 ? 16 : 24));
	const struct vnic_address *hop = next_hop(stack, &destination);
	struct neighbor *neighbor = look_up(stack->neighbors, hop);
	bool made = !neighbor;

	if (!neighbor)
		neighbor = make(stack, hop, true);
	if (!neighbor) {
		vn_stack_count(stack, VNIC_STACK_LOST_UNRESOLVED, 1);
		return;
	}
	touch(stack->neighbors, neighbor);
	neighbor->source = source;
	keep(stack, neighbor, packet);
	if (!made)
		return;
	ask(stack, neighbor, NULL);
	neighbor->untimed = !stack->inside;
	set_timer(stack, neighbor, stack->now_ns + (stack->inside ? TRY_NS : 0));
}

void vn_neighbor_send(struct vnic_stack *stack, uint8_t *ip, size_t length_bytes)
{
	bool ipv4 = ip[0] >> 4 == VNIC_IPV4;
	enum vnic_family family = ipv4 ? VNIC_IPV4 : VNIC_IPV6;
	struct vnic_address source = vnic_address_from_bytes(family, ip + (ipv4 ? 12 : 8));
	struct vnic_address destination = vnic_address_from_bytes(family, ip + (ipv4 ? 16 : 24));
	const struct vn_link *link = vn_neighbor_find(stack, &source, &destination);
	struct vnic_packet packet = {.data = ip, .length_bytes = (uint32_t)length_bytes};

	if (link)
		vn_output_ip(stack, link, ip, length_bytes);
	else
		vn_neighbor_wait(stack, &packet);
}

static void send_waiting(struct vnic_stack *stack, struct neighbor *neighbor)
{
	for (unsigned i = 0; i < neighbor->waiting_count; i++) {
		struct waiting *waiting = neighbor->waiting[i];
		struct vnic_packet packet = waiting->packet;

		packet.data = packet.length_bytes <= VN_OUTPUT_SMALL_BYTES ? vn_output_buffer(stack)
									   : vn_output_large(stack);
		memcpy(packet.data, waiting->bytes, packet.length_bytes);
		output(stack, &neighbor->link, &packet);
		free_waiting(stack->neighbors, waiting);
	}
	neighbor->waiting_count = 0;
}

/* Believe what was said of its link. */
static void take_link(struct vnic_stack *stack, struct neighbor *neighbor,
		      const struct vn_link *link, bool confirmed)
{
	bool waited = neighbor->state == INCOMPLETE;

	neighbor->link = *link;
	neighbor->state = confirmed ? REACHABLE : STALE;
	neighbor->untimed = false;
	if (confirmed)
		neighbor->reachable_until_ns = stack->now_ns + REACHABLE_NS;
	vn_timer_clear(&stack->neighbors->timers, &neighbor->timer);
	if (!waited)
		return;
	use(stack, neighbor, &neighbor->source);
	send_waiting(stack, neighbor);
}

static bool is_station(const struct vnic_stack *stack, const uint8_t *mac)
{
	static const uint8_t no_mac[VNIC_MAC_BYTES];

	return !(mac[0] & 1) && memcmp(mac, no_mac, VNIC_MAC_BYTES) != 0 &&
	       memcmp(mac, stack->options.mac, VNIC_MAC_BYTES) != 0;
}

bool vn_neighbor_learn(struct vnic_stack *stack, const struct vnic_address *address,
		       const struct vn_link *link, enum vn_neighbor_news news)
{
	struct neighbor *neighbor = look_up(stack->neighbors, address);
	bool changed, confirmed;

	if (!vn_address_is_host(address) || !is_station(stack, link->mac))
		return false;
	if (!neighbor) {
		if (news == VN_NEIGHBOR_ASKED && (neighbor = make(stack, address, false))) {
			neighbor->link = *link;
			neighbor->state = STALE;
		}
		return false;
	}
	confirmed = news == VN_NEIGHBOR_ANSWERED &&
		    (neighbor->state == INCOMPLETE || neighbor->state == PROBE);
	changed = neighbor->state == INCOMPLETE ||
		  memcmp(neighbor->link.mac, link->mac, VNIC_MAC_BYTES) != 0;
	if (confirmed || changed)
		take_link(stack, neighbor, link, confirmed);
	return confirmed || changed;
}

/* RFC 4861 section 7.2.5. */
bool vn_neighbor_advertised(struct vnic_stack *stack, const struct vnic_address *address,
			    const struct vn_link *link, uint32_t flags)
{
	struct neighbor *neighbor = look_up(stack->neighbors, address);
	bool confirmed = flags & VNIC_NDP_SOLICITED, changed;

	if (!neighbor || (link && !is_station(stack, link->mac)))
		return false;
	if (neighbor->state == INCOMPLETE) {
		if (link)
			take_link(stack, neighbor, link, confirmed);
		return link;
	}
	changed = link && memcmp(neighbor->link.mac, link->mac, VNIC_MAC_BYTES) != 0;
	if (changed && !(flags & VNIC_NDP_OVERRIDE)) {
		/* Which of the two is right will be found out when it is used. */
		if (neighbor->state == REACHABLE)
			neighbor->state = STALE;
		return false;
	}
	if (confirmed || changed)
		take_link(stack, neighbor, link ? link : &neighbor->link, confirmed);
	return confirmed || changed;
}

int vnic_stack_set_router(struct vnic_stack *stack, const struct vnic_address *router,
			  struct vnic_error *error)
{
	struct vnic_address address = vnic_address_from_bytes(router->family, router->bytes);
	char text[VNIC_ADDRESS_TEXT_BYTES];

	if (!vn_address_is_host(&address) || vn_addresses_own(&stack->addresses, &address) ||
	    vn_addresses_is_broadcast(&stack->addresses, &address) ||
	    (!vn_addresses_on_link(&stack->addresses, &address) &&
	     !vnic_address_is_link_local(&address)))
		return vn_error(error, -EINVAL, VNIC_CAUSE_ADDRESS_INVALID,
				"%s cannot be the router: it is no other host on a network of ours",
				vnic_address_format(&address, text));
	stack->neighbors->routers[address.family == VNIC_IPV4 ? 0 : 1] = address;
	return 0;
}
