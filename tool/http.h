/* SPDX-License-Identifier: MIT */
/* A small HTTP/1.1 server on the sockets of a stack: see http.c. */
#ifndef TOOL_HTTP_H
#define TOOL_HTTP_H

#include "http_parse.h"
#include "tool.h"

/* What answers a request. All zero but the status: an answer of a line that tells it. */
struct http_answer {
	unsigned status;
	const char *type;   /* of the body: "text/plain; charset=utf-8" */
	const char *fields; /* further ones, each with CRLF; NULL: none */
	char *body;         /* length bytes; not changed */
	size_t length;
	void (*release)(void *body); /* called when it is sent; NULL: it lives for ever */
};

struct http_options {
	struct vnic_stack *stack;
	uint16_t port;
	/* Answer a GET or HEAD; of HEAD only the length of the body is told. */
	void (*answer)(void *user, const struct http_request *request, struct http_answer *answer);
	void *user;
};

struct http_server;
/* Returns 0, or what vnic_socket_listen() returns. */
int http_open(const struct http_options *options, struct http_server **server,
	      struct vnic_error *error);
/* Returns when to call again at the latest. */
uint64_t http_advance(struct http_server *server, uint64_t now_ns);
void http_close(struct http_server *server);

#endif
