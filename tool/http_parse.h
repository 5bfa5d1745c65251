/* SPDX-License-Identifier: MIT */
/* Heads of HTTP requests: see http_parse.c. Pure. */
#ifndef TOOL_HTTP_PARSE_H
#define TOOL_HTTP_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bounds of what a stranger sends. */
#define HTTP_HEAD_BYTES 8192
#define HTTP_TARGET_BYTES 2048
#define HTTP_FIELDS 64
#define HTTP_BODY_BYTES 65536

enum http_method {
	HTTP_OTHER = 0, /* a method that nobody here knows, or that is not for reading */
	HTTP_GET,
	HTTP_HEAD
};

/* What can be sent as an answer to GET /, best first where a client does not care. */
enum http_kind {
	HTTP_TEXT = 0,
	HTTP_HTML,
	HTTP_JSON,
	HTTP_KINDS
};

struct http_request {
	enum http_method method;
	unsigned minor;    /* of HTTP/1.minor: 0 or 1 */
	bool keeps_alive;  /* another request may follow */
	bool expects;      /* the client waits for "100 Continue" before it sends the body */
	size_t body_bytes; /* behind the head, at most HTTP_BODY_BYTES */
	/* Into the bytes that were parsed, without terminating zeros. */
	const char *path; /* begins with '/' */
	size_t path_length;
	const char *query; /* behind the '?'; NULL: none */
	size_t query_length;
	/* How much the client likes each kind (RFC 9110 section 12.5.1): 0 (not at all) to 1000. */
	unsigned likes[HTTP_KINDS];
	/* How exactly it named the kind: 0 by any type at all, 1 "text/" and any, 2 by name. */
	unsigned exactness[HTTP_KINDS];
};

/*
 * Parse the head of a request. Returns its length, 0 where the end is missing still, or the
 * status that answers what is wrong with it, negative: -400, -413, -414, -431, -501, -505. After
 * that nobody knows where the next request begins.
 */
int http_parse(const uint8_t *bytes, size_t length_bytes, struct http_request *request);
/* The kind that the client likes best; HTTP_TEXT where it likes none of them. */
enum http_kind http_choose_kind(const struct http_request *request);
/* The number behind "NAME=" in the query. Returns false where it is not there, or no number. */
bool http_query_number(const struct http_request *request, const char *name, uint64_t *number);

#endif
