/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. The host tells of itself over HTTP, port 80:
 *
 *     /             for people: a page in a browser, plain text in a terminal, JSON where asked for
 *     /status.json  for the page and for programs; with ?since=N the history from second N on
 *     /metrics      for Prometheus
 *     /favicon.svg
 *
 * It only tells, and changes nothing. The page is page.html, which embed.py cuts in two: between
 * the halves stand the numbers of the moment, for browsers that run no script. Its Content-Security-
 * Policy names the script and the styles by their hashes and forbids everything else, so that
 * nothing that a stranger sends, and that stands in the page, is ever run.
 */
#include "http.h"
#include "page.h"
#include "status.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define HTTP_PORT 80

struct site {
	struct host *host;
	struct http_server *server;
};

static const char icon[] =
	"<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 32 32\">"
	"<rect width=\"32\" height=\"32\" rx=\"7\" fill=\"#0f766e\"/>"
	"<path d=\"M5 19h5l4-10 5 15 3-5h5\" fill=\"none\" stroke=\"#fff\" stroke-width=\"2.6\" "
	"stroke-linecap=\"round\" stroke-linejoin=\"round\"/></svg>";

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void write_page(const struct status *status, FILE *out)
{
	fwrite(page_head, 1, page_head_bytes, out);
	status_html(status, out);
	fwrite(page_tail, 1, page_tail_bytes, out);
}

/* An answer that is written to a stream of memory. */
static void answer_text(struct http_answer *answer, const struct status *status, const char *type,
			void (*write)(const struct status *status, FILE *out))
{
	char *text = NULL;
	size_t length = 0;
	FILE *out = open_memstream(&text, &length);
	bool failed;

	if (!out) {
		answer->status = 500;
		return;
	}
	write(status, out);
	failed = ferror(out);
	if (fclose(out) != 0 || failed) {
		free(text);
		answer->status = 500;
		return;
	}
	answer->status = 200;
	answer->type = type;
	answer->body = text;
	answer->length = length;
	answer->release = free;
}

static void answer_json(struct http_answer *answer, const struct status *status,
			struct history *history, const struct http_request *request)
{
	uint64_t since = 0;
	bool with_history = http_query_number(request, "since", &since);

	answer->body = status_json(status, history, with_history, since);
	if (!answer->body) {
		answer->status = 500;
		return;
	}
	answer->status = 200;
	answer->type = "application/json";
	answer->length = strlen(answer->body);
	answer->release = cJSON_free;
}

static bool is_path(const struct http_request *request, const char *path)
{
	return request->path_length == strlen(path) &&
	       memcmp(request->path, path, request->path_length) == 0;
}

static void answer_root(struct http_answer *answer, const struct status *status,
			struct history *history, const struct http_request *request)
{
	switch (http_choose_kind(request)) {
	case HTTP_HTML:
		answer_text(answer, status, "text/html; charset=utf-8", write_page);
		answer->fields = page_fields;
		return;
	case HTTP_JSON:
		answer_json(answer, status, history, request);
		break;
	default:
		answer_text(answer, status, "text/plain; charset=utf-8", status_text);
		break;
	}
	answer->fields = "Vary: Accept\r\n";
}

static void answer_request(void *user, const struct http_request *request,
			   struct http_answer *answer)
{
	struct site *site = user;
	struct history *history = site->host->history;
	struct status *status;

	if (is_path(request, "/favicon.svg")) {
		answer->status = 200;
		answer->type = "image/svg+xml";
		answer->body = (char *)icon; /* not changed, and not freed */
		answer->length = sizeof(icon) - 1;
		return;
	}
	if (!is_path(request, "/") && !is_path(request, "/status.json") &&
	    !is_path(request, "/metrics")) {
		answer->status = 404;
		return;
	}
	status = status_take(site->host, now_ns());
	if (!status) {
		answer->status = 500;
		return;
	}
	if (is_path(request, "/"))
		answer_root(answer, status, history, request);
	else if (is_path(request, "/metrics"))
		answer_text(answer, status, "text/plain; version=0.0.4; charset=utf-8",
			    status_metrics);
	else
		answer_json(answer, status, history, request);
	free(status);
}

static int open_site(const struct service_place *place, void **state, struct vnic_error *error)
{
	struct site *site = calloc(1, sizeof(*site));
	struct http_options options = {
		.stack = place->stack,
		.port = HTTP_PORT,
		.answer = answer_request,
		.user = site,
	};
	int code;

	if (!site)
		return service_no_memory(error);
	site->host = place->host;
	code = http_open(&options, &site->server, error);
	if (code < 0)
		free(site);
	else
		*state = site;
	return code;
}

static uint64_t advance_site(void *state, uint64_t now)
{
	struct site *site = state;

	return http_advance(site->server, now);
}

static void close_site(void *state)
{
	struct site *site = state;

	http_close(site->server);
	free(site);
}

const struct service http_service = {
	.name = "http",
	.summary = "TCP 80: this page, /status.json, /metrics",
	.open = open_site,
	.advance = advance_site,
	.close = close_site,
};
