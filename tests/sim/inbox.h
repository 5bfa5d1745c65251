/* SPDX-License-Identifier: MIT */
/* An endpoint that remembers what it was given: see inbox.c. */
#ifndef SIM_INBOX_H
#define SIM_INBOX_H

#include <vnic/endpoint.h>

#include "peer.h"

#define INBOX_LETTERS 256

struct inbox_letter {
	struct vnic_datagram datagram; /* its payload is the inbox's */
	unsigned call;                 /* which call it came in, from 0 on */
};

struct inbox {
	struct vnic_endpoint *endpoint;
	struct inbox_letter letters[INBOX_LETTERS];
	size_t count;
	unsigned calls;
	unsigned errors;
	struct vnic_datagram_error error; /* the last one */
	/* What else to do when something comes; NULL: nothing. */
	void (*then)(struct inbox *inbox, const struct vnic_datagram *datagrams, unsigned count);
	void (*on_error)(struct inbox *inbox);
};

/* The options that say so; address and remote may be NULL. */
struct vnic_endpoint_options inbox_options(struct inbox *inbox, const char *address, uint16_t port,
					   const char *remote, uint16_t remote_port);
/* Open an endpoint, which must succeed. */
void inbox_open(struct inbox *inbox, struct peer *peer, const char *address, uint16_t port,
		const char *remote, uint16_t remote_port);
/* Forget what came. */
void inbox_clear(struct inbox *inbox);
/* Close, unless it is NULL, and forget. */
void inbox_close(struct inbox *inbox);
const struct vnic_datagram *inbox_letter(const struct inbox *inbox, size_t n);

/* Send length bytes of peer_data(), in segments if segment_bytes is not 0. @return as the API */
int inbox_send(const struct inbox *inbox, const char *remote, uint16_t port, size_t length,
	       uint16_t segment_bytes);

/* A whole packet with a datagram from the peer. @return its length */
size_t inbox_packet(uint8_t *packet, const char *source, uint16_t source_port,
		    const char *destination, uint16_t port, size_t data_bytes);
/* That the n-th answer is a datagram from the stack of length bytes of peer_data(). */
void inbox_assert_sent(const struct peer *peer, size_t n, const char *source, uint16_t source_port,
		       const char *destination, uint16_t port, size_t length);

#endif
