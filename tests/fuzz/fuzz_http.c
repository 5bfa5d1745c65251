/* SPDX-License-Identifier: MIT */
/*
 * Heads of HTTP requests. However a stream is cut into pieces the same requests are found in it, what
 * was refused once is refused with more bytes too, and what a request points to lies in its head.
 */
#include <assert.h>
#include <string.h>

#include "http_parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_request(const uint8_t *data, int head, const struct http_request *request)
{
	const char *begin = (const char *)data, *end = begin + head;
	uint64_t number = UINT64_MAX;
	unsigned i;

	assert(request->path_length >= 1);
	if (request->query)
		assert(request->query >= begin && request->query + request->query_length <= end);
	if (request->method != HTTP_OTHER)
		assert(request->path[0] == '/');
	assert(request->body_bytes <= HTTP_BODY_BYTES);
	assert(request->minor <= 1);
	for (i = 0; i < HTTP_KINDS; i++)
		assert(request->likes[i] <= 1000 && request->exactness[i] <= 2);
	assert(http_choose_kind(request) < HTTP_KINDS);
	if (http_query_number(request, "since", &number))
		assert(request->query && number < UINT64_C(1000000000000000000));
}

/* What is found where the bytes come one by one, or a few at a time. */
static int parse_in_pieces(const uint8_t *data, size_t size)
{
	size_t piece = size > 512 ? size / 64 : 1, there;
	struct http_request request;
	int got;

	for (there = 0; there < size; there += piece) {
		got = http_parse(data, there, &request);
		if (got)
			return got;
	}
	return http_parse(data, size, &request);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t at = 0, length;

	while (at < size) {
		struct http_request request;
		int head, pieces;

		/* No more is ever given: that is the room of a connection. */
		length = size - at < HTTP_HEAD_BYTES ? size - at : HTTP_HEAD_BYTES;
		head = http_parse(data + at, length, &request);
		pieces = parse_in_pieces(data + at, length);
		assert(head == 0 ? pieces == 0 : (pieces > 0) == (head > 0));
		assert(head <= 0 || pieces == head);
		assert(head == -400 || head == -413 || head == -414 || head == -431 ||
		       head == -501 || head == -505 || head >= 0);
		assert(head != 0 || length < HTTP_HEAD_BYTES);
		if (head <= 0)
			break;
		assert((size_t)head <= length);
		check_request(data + at, head, &request);
		at += (size_t)head;
	}
	return 0;
}
