/* SPDX-License-Identifier: MIT */
/* Heads of HTTP requests: what is understood, what is refused and how, and that pieces do not matter. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "http_parse.h"

static int parse(const char *text, struct http_request *request)
{
	return http_parse((const uint8_t *)text, strlen(text), request);
}

/* A whole request parses to its end, and to nothing before it is whole. */
static void assert_whole(const char *text, struct http_request *request)
{
	size_t length = strlen(text), part;

	for (part = 0; part < length; part++) {
		struct http_request unused;
		int got = http_parse((const uint8_t *)text, part, &unused);

		if (got != 0)
			fail_msg("%d after %zu of %zu bytes of '%s'", got, part, length, text);
	}
	assert_int_equal(parse(text, request), (int)length);
}

static void assert_span(const char *text, size_t length, const char *expected)
{
	if (length != strlen(expected) || memcmp(text, expected, length) != 0)
		fail_msg("'%.*s', not '%s'", (int)length, text, expected);
}

static void test_get(void **state)
{
	struct http_request request;

	(void)state;
	assert_whole("GET /status.json?since=7 HTTP/1.1\r\nHost: 10.0.0.2\r\n\r\n", &request);
	assert_int_equal(request.method, HTTP_GET);
	assert_int_equal(request.minor, 1);
	assert_true(request.keeps_alive);
	assert_false(request.expects);
	assert_int_equal(request.body_bytes, 0);
	assert_span(request.path, request.path_length, "/status.json");
	assert_span(request.query, request.query_length, "since=7");

	assert_whole("HEAD / HTTP/1.0\n\n", &request);
	assert_int_equal(request.method, HTTP_HEAD);
	assert_int_equal(request.minor, 0);
	assert_false(request.keeps_alive);
	assert_null(request.query);

	assert_whole(
		"POST / HTTP/1.1\r\nhost:x\r\ncontent-length: 5\r\nExpect: 100-Continue\r\n\r\n",
		&request);
	assert_int_equal(request.method, HTTP_OTHER);
	assert_int_equal(request.body_bytes, 5);
	assert_true(request.expects);
}

static void test_targets(void **state)
{
	static const struct {
		const char *target, *path, *query;
	} cases[] = {
		{"/", "/", NULL},
		{"/a/b", "/a/b", NULL},
		{"/?", "/", ""},
		{"/x?a=1?b", "/x", "a=1?b"},
		{"http://10.0.0.2/metrics", "/metrics", NULL},
		{"HTTP://[fd00::2]:80", "/", NULL},
		{"http://host?q", "/", "q"},
		{"//", "//", NULL},
	};
	char text[256];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct http_request request;

		snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", cases[i].target);
		assert_whole(text, &request);
		assert_span(request.path, request.path_length, cases[i].path);
		if (!cases[i].query)
			assert_null(request.query);
		else
			assert_span(request.query, request.query_length, cases[i].query);
	}
}

static void test_only_its_own(void **state)
{
	static const char text[] = "\r\n\nGET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\n";
	struct http_request request;

	(void)state;
	assert_int_equal(parse(text, &request), (int)(strstr(text, "GET /2") - text));
	assert_span(request.path, request.path_length, "/1");
}

static void test_refused(void **state)
{
	static const struct {
		int status;
		const char *text;
	} cases[] = {
		{-400, "GET / HTTP/1.1\r\n\r\n"}, /* no Host */
		{-400, "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"},
		{-400, "GET /\r\n\r\n"},
		{-400, "GET  HTTP/1.1\r\nHost: a\r\n\r\n"},
		{-400, " / HTTP/1.1\r\nHost: a\r\n\r\n"},
		{-400, "GET / HTTP/1.1 \r\nHost: a\r\n\r\n"},
		{-400, "GET / a HTTP/1.1\r\nHost: a\r\n\r\n"},
		{-400, "G(T / HTTP/1.1\r\nHost: a\r\n\r\n"},
		{-400, "GET x HTTP/1.1\r\nHost: a\r\n\r\n"},
		{-400, "GET * HTTP/1.1\r\nHost: a\r\n\r\n"},
		{-400, "GET /\x80 HTTP/1.1\r\nHost: a\r\n\r\n"},
		{-400, "GET / http/1.1\r\nHost: a\r\n\r\n"},
		{-400, "GET / HTTP/1.x\r\nHost: a\r\n\r\n"},
		{-505, "GET / HTTP/2.0\r\nHost: a\r\n\r\n"},
		{-505, "GET / HTTP/0.9\r\n\r\n"},
		{-400, "GET / HTTP/1.1\r\nHost : a\r\n\r\n"},
		{-400, "GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n"},
		{-400, "GET / HTTP/1.1\r\nHost: a\r\nnothing\r\n\r\n"},
		{-400, "GET / HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n"},
		{-400, "GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n"},
		{-400, "GET / HTTP/1.1\r\nHost: a\x01\r\n\r\n"},
		{-400, "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n"},
		{-400, "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n"},
		{-400, "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n"},
		{-400, "GET / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n"},
		{-400,
		 "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"},
		{-400, "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n"
		       "Transfer-Encoding: chunked\r\n\r\n"},
		{-400, "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"},
		{-501, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"},
		{-413, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 65537\r\n\r\n"},
		{-413, "POST / HTTP/1.1\r\nHost: a\r\n"
		       "Content-Length: 99999999999999999999999999999999\r\n\r\n"},
		{-400, "\x16\x03\x01"}, /* TLS, which never sends an empty line */
	};
	struct http_request request;
	size_t i;
	int got;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		got = parse(cases[i].text, &request);
		if (got != cases[i].status)
			fail_msg("%d, not %d: '%s'", got, cases[i].status, cases[i].text);
	}
}

/* Bounds: the most that is allowed, one more, and what never ends. */
static void test_bounds(void **state)
{
	static const char host[] = " HTTP/1.1\r\nHost: a\r\n\r\n";
	struct http_request request;
	char *text = malloc(HTTP_HEAD_BYTES + 100);
	size_t i, length;

	(void)state;
	assert_non_null(text);
	for (i = HTTP_TARGET_BYTES; i <= HTTP_TARGET_BYTES + 1; i++) {
		memcpy(text, "GET /", 5);
		memset(text + 5, 'a', i - 1);
		snprintf(text + 4 + i, 64, "%s", host);
		assert_int_equal(parse(text, &request),
				 i == HTTP_TARGET_BYTES ? (int)strlen(text) : -414);
	}
	memset(text, 'a', HTTP_HEAD_BYTES);
	assert_int_equal(http_parse((uint8_t *)text, HTTP_TARGET_BYTES + 64, &request), 0);
	assert_int_equal(http_parse((uint8_t *)text, HTTP_TARGET_BYTES + 65, &request), -414);

	length = strlen(strcpy(text, "GET / HTTP/1.1\r\nHost: a\r\n"));
	for (i = 0; i < HTTP_FIELDS - 1; i++)
		length += (size_t)sprintf(text + length, "A: %zu\r\n", i);
	snprintf(text + length, 64, "\r\n");
	assert_int_equal(parse(text, &request), (int)length + 2);
	snprintf(text + length, 64, "B: 1\r\n\r\n");
	assert_int_equal(parse(text, &request), -431);

	length = strlen(strcpy(text, "GET / HTTP/1.1\r\nHost: a\r\nA: "));
	memset(text + length, 'b', HTTP_HEAD_BYTES - length);
	assert_int_equal(http_parse((uint8_t *)text, HTTP_HEAD_BYTES - 1, &request), 0);
	assert_int_equal(http_parse((uint8_t *)text, HTTP_HEAD_BYTES, &request), -431);
	memset(text, '\n', HTTP_HEAD_BYTES);
	assert_int_equal(http_parse((uint8_t *)text, HTTP_HEAD_BYTES, &request), -431);
	free(text);
}

static void test_connection(void **state)
{
	static const struct {
		const char *version, *connection;
		bool keeps_alive;
	} cases[] = {
		{"1.1", "close", false},
		{"1.1", "Keep-Alive", true},
		{"1.1", "x, CLOSE ,y", false},
		{"1.0", "keep-alive", true},
		{"1.0", "close", false},
		{"1.1", "closed", true},
		{"1.1", "close, keep-alive", false},
		{"1.0", "x", false},
		{"1.9", "x", true},
	};
	struct http_request request;
	char text[128];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		snprintf(text, sizeof(text), "GET / HTTP/%s\r\nHost: a\r\nConnection: %s\r\n\r\n",
			 cases[i].version, cases[i].connection);
		assert_int_equal(parse(text, &request), (int)strlen(text));
		if (request.keeps_alive != cases[i].keeps_alive)
			fail_msg("%s %s: %d", cases[i].version, cases[i].connection,
				 request.keeps_alive);
	}
}

static void test_kinds(void **state)
{
	static const struct {
		const char *accept;
		enum http_kind kind;
	} cases[] = {
		{"*/*", HTTP_TEXT}, /* curl */
		{"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", HTTP_HTML},
		{"application/json", HTTP_JSON},
		{"application/json;q=0.5, text/html;q=0.4", HTTP_JSON},
		{"text/html;q=0, */*", HTTP_TEXT},
		{"text/*", HTTP_TEXT},
		{"application/*, text/*;q=0.1", HTTP_JSON},
		{"TEXT/HTML; charset=utf-8; Q=1.0", HTTP_HTML},
		{"text/plain;q=0.3, text/html;q=0.30001", HTTP_HTML}, /* no quality: as if 1 */
		{"*/*;q=0.1, application/json", HTTP_JSON},
		{"image/png", HTTP_TEXT},
		{"", HTTP_TEXT},
		{",,;q=,", HTTP_TEXT},
	};
	struct http_request request;
	char text[256];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		snprintf(text, sizeof(text), "GET / HTTP/1.1\r\nHost: a\r\nAccept: %s\r\n\r\n",
			 cases[i].accept);
		assert_int_equal(parse(text, &request), (int)strlen(text));
		if (http_choose_kind(&request) != cases[i].kind)
			fail_msg("%d, not %d: '%s'", http_choose_kind(&request), cases[i].kind,
				 cases[i].accept);
	}
}

static void test_query(void **state)
{
	static const struct {
		const char *query;
		bool found;
		uint64_t number;
	} cases[] = {
		{"since=0", true, 0},
		{"a=1&since=42", true, 42},
		{"since=x&since=8", true, 8},
		{"since=999999999999999999", true, UINT64_C(999999999999999999)},
		{"since=1000000000000000000", false, 0},
		{"since=", false, 0},
		{"since", false, 0},
		{"xsince=1", false, 0},
		{"since=-1", false, 0},
		{"", false, 0},
	};
	struct http_request request;
	char text[128];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t number = 0;
		bool found;

		snprintf(text, sizeof(text), "GET /?%s HTTP/1.0\r\n\r\n", cases[i].query);
		assert_int_equal(parse(text, &request), (int)strlen(text));
		found = http_query_number(&request, "since", &number);
		if (found != cases[i].found || number != cases[i].number)
			fail_msg("'%s': %d %llu", cases[i].query, found,
				 (unsigned long long)number);
	}
	assert_int_equal(parse("GET / HTTP/1.0\r\n\r\n", &request), 18);
	assert_false(http_query_number(&request, "since", &(uint64_t){0}));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_get),          cmocka_unit_test(test_targets),
		cmocka_unit_test(test_only_its_own), cmocka_unit_test(test_refused),
		cmocka_unit_test(test_bounds),       cmocka_unit_test(test_connection),
		cmocka_unit_test(test_kinds),        cmocka_unit_test(test_query),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
