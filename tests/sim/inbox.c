/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * An endpoint of the stack under test with a memory: datagrams are copied, for they are good during
 * the call only, and errors are counted. The payload of everything sent here is peer_data(), so that
 * a byte at a wrong place is seen.
 */
#include "inbox.h"

static uint8_t data[1 << 20];

static void write_data(void)
{
	if (data[1] == peer_data(1))
		return;
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = peer_data(i);
}

static void on_receive(struct vnic_endpoint *endpoint, void *user,
		       const struct vnic_datagram *datagrams, unsigned count)
{
	struct inbox *inbox = user;

	assert_in_range(count, 1, VNIC_BURST_PACKETS);
	if (inbox->endpoint)
		assert_ptr_equal(endpoint, inbox->endpoint);
	for (unsigned i = 0; i < count; i++) {
		struct inbox_letter *letter = &inbox->letters[inbox->count];
		uint8_t *copy = malloc(datagrams[i].length_bytes + 1);

		assert_in_range(inbox->count++, 0, INBOX_LETTERS - 1);
		assert_non_null(copy);
		if (datagrams[i].length_bytes > 0)
			memcpy(copy, datagrams[i].payload, datagrams[i].length_bytes);
		letter->datagram = datagrams[i];
		letter->datagram.payload = copy;
		letter->call = inbox->calls;
	}
	inbox->calls++;
	if (inbox->then)
		inbox->then(inbox, datagrams, count);
}

static void on_error(struct vnic_endpoint *endpoint, void *user,
		     const struct vnic_datagram_error *error)
{
	struct inbox *inbox = user;

	assert_ptr_equal(endpoint, inbox->endpoint);
	inbox->errors++;
	inbox->error = *error;
	if (inbox->on_error)
		inbox->on_error(inbox);
}

struct vnic_endpoint_options inbox_options(struct inbox *inbox, const char *address, uint16_t port,
					   const char *remote, uint16_t remote_port)
{
	struct vnic_endpoint_options options = {
		.port = port,
		.remote_port = remote_port,
		.receive = on_receive,
		.error = on_error,
		.user = inbox,
	};

	if (address)
		options.address = peer_address(address);
	if (remote)
		options.remote_address = peer_address(remote);
	return options;
}

void inbox_open(struct inbox *inbox, struct peer *peer, const char *address, uint16_t port,
		const char *remote, uint16_t remote_port)
{
	struct vnic_endpoint_options options =
		inbox_options(inbox, address, port, remote, remote_port);
	struct vnic_error error = {0};

	write_data();
	memset(inbox, 0, sizeof(*inbox));
	if (vnic_endpoint_open(peer->stack, &options, &inbox->endpoint, &error) < 0)
		fail_msg("%s port %u: %s", address ? address : "*", port, error.text);
}

void inbox_clear(struct inbox *inbox)
{
	for (size_t i = 0; i < inbox->count; i++)
		free((uint8_t *)inbox->letters[i].datagram.payload);
	inbox->count = 0;
	inbox->calls = 0;
	inbox->errors = 0;
}

void inbox_close(struct inbox *inbox)
{
	inbox_clear(inbox);
	vnic_endpoint_close(inbox->endpoint);
	inbox->endpoint = NULL;
}

const struct vnic_datagram *inbox_letter(const struct inbox *inbox, size_t n)
{
	if (n >= inbox->count)
		fail_msg("datagram %zu is asked for, but there are %zu", n, inbox->count);
	return &inbox->letters[n].datagram;
}

int inbox_send(const struct inbox *inbox, const char *remote, uint16_t port, size_t length,
	       uint16_t segment_bytes)
{
	struct vnic_datagram datagram = {
		.payload = data,
		.length_bytes = length,
		.segment_bytes = segment_bytes,
	};

	write_data();
	assert_in_range(length, 0, sizeof(data));
	if (remote)
		datagram.flow.remote_address = peer_address(remote);
	datagram.flow.remote_port = port;
	return vnic_endpoint_send(inbox->endpoint, &datagram, 1);
}

size_t inbox_packet(uint8_t *packet, const char *source, uint16_t source_port,
		    const char *destination, uint16_t port, size_t data_bytes)
{
	struct vnic_address from = peer_address(source), to = peer_address(destination);
	struct vnic_udp udp = {.source_port = source_port, .destination_port = port};
	uint8_t *message = packet + (from.family == VNIC_IPV4 ? 20 : 40);

	write_data();
	memcpy(message + VNIC_UDP_HEADER_BYTES, data, data_bytes);
	vnic_udp_build(message, VNIC_UDP_HEADER_BYTES + data_bytes, &from, &to, &udp, data_bytes);
	return peer_ip(packet, source, destination, VNIC_PROTOCOL_UDP, NULL,
		       VNIC_UDP_HEADER_BYTES + data_bytes);
}

void inbox_assert_sent(const struct peer *peer, size_t n, const char *source, uint16_t source_port,
		       const char *destination, uint16_t port, size_t length)
{
	const struct peer_answer *answer = peer_answer(peer, n);
	struct vnic_address from = peer_address(source), to = peer_address(destination);
	size_t bytes = from.family == VNIC_IPV4 ? 4 : 16,
	       header = from.family == VNIC_IPV4 ? 20 : 40;
	struct vnic_udp udp;

	assert_int_equal(answer->ip[0] >> 4, from.family);
	assert_int_equal(answer->ip_length, header + VNIC_UDP_HEADER_BYTES + length);
	assert_memory_equal(answer->ip + header - 2 * bytes, from.bytes, bytes);
	assert_memory_equal(answer->ip + header - bytes, to.bytes, bytes);
	assert_int_equal(vnic_udp_parse(answer->ip + header, answer->ip_length - header, &udp), 8);
	assert_int_equal(udp.source_port, source_port);
	assert_int_equal(udp.destination_port, port);
	if (length > 0)
		assert_memory_equal(answer->ip + header + 8, data, length);
}
