/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. Requests of HTTP/1.0 and HTTP/1.1 (RFC 9112), of which this server needs the
 * method, the path, what the client likes to get, and above all where the request ends: every
 * disagreement about that would let one client's bytes be taken for another request. So what is
 * ambiguous is refused and ends the connection: two lengths that differ, a length together with a
 * transfer coding, white space before a colon, folded lines, a bare CR.
 *
 * A bare LF ends a line too (RFC 9112 section 2.2 allows it), so that a person can type a request.
 *
 * The parser is given all that came of the head, again with each piece: 8 KiB at most, and nothing is
 * kept in between. It looks for the empty line first and reads fields only when that is there.
 */
#include "http_parse.h"

#include <string.h>
#include <strings.h>

/* Characters of a token: RFC 9110 section 5.6.2. */
static bool is_token(uint8_t c)
{
	return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
	       (c && strchr("!#$%&'*+-.^_`|~", c));
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t';
}

struct span {
	const char *text;
	size_t length;
};

static bool is_word(struct span span, const char *word)
{
	return span.length == strlen(word) && strncasecmp(span.text, word, span.length) == 0;
}

static struct span trim(struct span span)
{
	while (span.length && is_space(span.text[0])) {
		span.text++;
		span.length--;
	}
	while (span.length && is_space(span.text[span.length - 1]))
		span.length--;
	return span;
}

/* Cut off what stands before the next separator. Returns false at the end. */
static bool next_part(struct span *rest, char separator, struct span *part)
{
	const char *end;

	if (!rest->text)
		return false;
	end = memchr(rest->text, separator, rest->length);
	if (!end) {
		*part = trim(*rest);
		rest->text = NULL;
		return true;
	}
	*part = trim((struct span){rest->text, (size_t)(end - rest->text)});
	rest->length -= (size_t)(end - rest->text) + 1;
	rest->text = end + 1;
	return true;
}

/* Where the head ends: behind its empty line. 0: not there. */
static size_t find_end(const char *text, size_t length)
{
	const char *at = text, *end = text + length;

	while ((at = memchr(at, '\n', (size_t)(end - at)))) {
		at++;
		if (at < end && *at == '\n')
			return (size_t)(at + 1 - text);
		if (end - at >= 2 && at[0] == '\r' && at[1] == '\n')
			return (size_t)(at + 2 - text);
	}
	return 0;
}

/* The next line without its end, which is there: find_end() has seen one behind it. */
static struct span next_line(const char **at, const char *end)
{
	struct span line = {*at, 0};
	const char *stop = memchr(*at, '\n', (size_t)(end - *at));

	*at = stop ? stop + 1 : end;
	line.length = (size_t)((stop ? stop : end) - line.text);
	if (line.length && line.text[line.length - 1] == '\r')
		line.length--;
	return line;
}

/* absolute-form (RFC 9112 section 3.2.2): only what stands behind the authority is of interest. */
static struct span strip_authority(struct span target)
{
	size_t i;

	if (target.length < 7 || strncasecmp(target.text, "http://", 7) != 0)
		return target;
	for (i = 7; i < target.length && target.text[i] != '/' && target.text[i] != '?'; i++)
		;
	if (i == target.length)
		return (struct span){"/", 1};
	return (struct span){target.text + i, target.length - i};
}

static int parse_target(struct span target, struct http_request *request)
{
	const char *question;
	size_t i;

	if (target.length > HTTP_TARGET_BYTES)
		return -414;
	for (i = 0; i < target.length; i++)
		if ((uint8_t)target.text[i] <= ' ' || (uint8_t)target.text[i] >= 0x7f)
			return -400;
	target = strip_authority(target);
	if (target.length == 0 || (target.text[0] != '/' && target.text[0] != '?'))
		return -400;
	question = memchr(target.text, '?', target.length);
	request->path = target.text;
	request->path_length = question ? (size_t)(question - target.text) : target.length;
	if (question) {
		request->query = question + 1;
		request->query_length = target.length - request->path_length - 1;
	}
	if (request->path_length == 0) { /* "http://host?query" */
		request->path = "/";
		request->path_length = 1;
	}
	return 0;
}

static int parse_version(struct span version, struct http_request *request)
{
	const char *text = version.text;

	if (version.length != 8 || memcmp(text, "HTTP/", 5) != 0 || text[5] < '0' ||
	    text[5] > '9' || text[6] != '.' || text[7] < '0' || text[7] > '9')
		return -400;
	if (text[5] != '1')
		return -505;
	request->minor = text[7] == '0' ? 0 : 1;
	request->keeps_alive = request->minor > 0;
	return 0;
}

static int parse_request_line(struct span line, struct http_request *request)
{
	const char *first = memchr(line.text, ' ', line.length), *last;
	struct span method, target, version;
	size_t i;
	int code;

	if (!first)
		return -400;
	last = memrchr(line.text, ' ', line.length);
	if (last == first)
		return -400;
	method = (struct span){line.text, (size_t)(first - line.text)};
	target = (struct span){first + 1, (size_t)(last - first) - 1};
	version = (struct span){last + 1, (size_t)(line.text + line.length - last) - 1};
	if (method.length == 0)
		return -400;
	for (i = 0; i < method.length; i++)
		if (!is_token((uint8_t)method.text[i]))
			return -400;
	/* Methods are case-sensitive. */
	if (method.length == 3 && memcmp(method.text, "GET", 3) == 0)
		request->method = HTTP_GET;
	else if (method.length == 4 && memcmp(method.text, "HEAD", 4) == 0)
		request->method = HTTP_HEAD;
	code = parse_version(version, request);
	if (code < 0)
		return code;
	/* "OPTIONS *" and "CONNECT host:port" are well-formed, and nothing that is done here. */
	code = parse_target(target, request);
	if (code == -400 && request->method == HTTP_OTHER && target.length) {
		request->path = "*";
		request->path_length = 1;
		return 0;
	}
	return code;
}

/* "0.8" to 800. What is no such number counts as 1, as if it were not there. */
static unsigned parse_quality(struct span value)
{
	unsigned quality = 0, digit = 1000;
	size_t i;

	if (value.length == 0 || value.length > 5 || (value.text[0] != '0' && value.text[0] != '1'))
		return 1000;
	quality = (unsigned)(value.text[0] - '0') * 1000;
	for (i = 2; i < value.length; i++) {
		if (value.text[i] < '0' || value.text[i] > '9')
			return 1000;
		digit /= 10;
		quality += (unsigned)(value.text[i] - '0') * digit;
	}
	return quality > 1000 ? 1000 : quality;
}

static void like(struct http_request *request, enum http_kind kind, unsigned exactness,
		 unsigned quality)
{
	if (exactness < request->exactness[kind])
		return;
	request->exactness[kind] = exactness;
	request->likes[kind] = quality;
}

static void parse_accept(struct span value, struct http_request *request)
{
	struct span range, part, parameters;
	unsigned quality;

	while (next_part(&value, ',', &range)) {
		parameters = range;
		if (!next_part(&parameters, ';', &range))
			continue;
		quality = 1000;
		while (next_part(&parameters, ';', &part))
			if (part.length > 2 && (part.text[0] | 0x20) == 'q' && part.text[1] == '=')
				quality = parse_quality(
					(struct span){part.text + 2, part.length - 2});
		if (is_word(range, "text/html")) {
			like(request, HTTP_HTML, 2, quality);
		} else if (is_word(range, "application/json")) {
			like(request, HTTP_JSON, 2, quality);
		} else if (is_word(range, "text/plain")) {
			like(request, HTTP_TEXT, 2, quality);
		} else if (is_word(range, "text/*")) {
			like(request, HTTP_HTML, 1, quality);
			like(request, HTTP_TEXT, 1, quality);
		} else if (is_word(range, "application/*")) {
			like(request, HTTP_JSON, 1, quality);
		} else if (is_word(range, "*/*")) {
			like(request, HTTP_TEXT, 0, quality);
			like(request, HTTP_HTML, 0, quality);
			like(request, HTTP_JSON, 0, quality);
		}
	}
}

static int parse_length(struct span value, bool has_length, struct http_request *request)
{
	size_t length = 0, i;

	if (value.length == 0)
		return -400;
	for (i = 0; i < value.length; i++) {
		if (value.text[i] < '0' || value.text[i] > '9')
			return -400;
		if (length <= HTTP_BODY_BYTES) /* beyond that more digits change nothing */
			length = length * 10 + (size_t)(value.text[i] - '0');
	}
	if (length > HTTP_BODY_BYTES)
		length = HTTP_BODY_BYTES + 1;
	if (has_length && length != request->body_bytes)
		return -400;
	request->body_bytes = length;
	return 0;
}

/* What is known after all fields were seen. */
struct fields {
	unsigned count, hosts;
	bool has_length, has_coding, closes, stays;
};

static int parse_field(struct span line, struct fields *fields, struct http_request *request)
{
	const char *colon = memchr(line.text, ':', line.length);
	struct span name, value, part;
	int code = 0;
	size_t i;

	if (++fields->count > HTTP_FIELDS)
		return -431;
	if (!colon || colon == line.text)
		return -400;
	name = (struct span){line.text, (size_t)(colon - line.text)};
	for (i = 0; i < name.length; i++) /* no white space either: that is how requests hide */
		if (!is_token((uint8_t)name.text[i]))
			return -400;
	value = (struct span){colon + 1, line.length - name.length - 1};
	for (i = 0; i < value.length; i++)
		if (((uint8_t)value.text[i] < ' ' && value.text[i] != '\t') ||
		    value.text[i] == 0x7f)
			return -400;
	value = trim(value);
	if (is_word(name, "host")) {
		fields->hosts++;
	} else if (is_word(name, "content-length")) {
		code = parse_length(value, fields->has_length, request);
		fields->has_length = true;
	} else if (is_word(name, "transfer-encoding")) {
		fields->has_coding = true;
	} else if (is_word(name, "connection")) {
		while (next_part(&value, ',', &part)) {
			fields->closes |= is_word(part, "close");
			fields->stays |= is_word(part, "keep-alive");
		}
	} else if (is_word(name, "expect")) {
		request->expects = is_word(value, "100-continue");
	} else if (is_word(name, "accept")) {
		parse_accept(value, request);
	}
	return code;
}

static int check_fields(const struct fields *fields, struct http_request *request)
{
	if (fields->hosts > 1 || (fields->hosts == 0 && request->minor > 0))
		return -400; /* RFC 9112 section 3.2 */
	if (fields->has_coding)
		return fields->has_length || request->minor == 0 ? -400 : -501;
	if (request->body_bytes > HTTP_BODY_BYTES)
		return -413;
	if (fields->closes)
		request->keeps_alive = false;
	else if (fields->stays)
		request->keeps_alive = true;
	return 0;
}

/* What is known to be wrong before the end is there. */
static int check_unfinished(const char *at, const char *end)
{
	const char *line_end = memchr(at, '\n', (size_t)(end - at));
	size_t length = (size_t)((line_end ? line_end : end) - at);

	if (length > HTTP_TARGET_BYTES + 64)
		return -414;
	/* A connection of another protocol (TLS, say) shall not be waited for. */
	if (length && !is_token((uint8_t)at[0]) && at[0] != '\r')
		return -400;
	return (size_t)(end - at) >= HTTP_HEAD_BYTES ? -431 : 0;
}

int http_parse(const uint8_t *bytes, size_t length_bytes, struct http_request *request)
{
	const char *text = (const char *)bytes, *at = text, *end = text + length_bytes;
	struct fields fields = {0};
	struct http_request parsed = {0};
	struct span line;
	size_t head;
	int code;

	/* Empty lines before a request (RFC 9112 section 2.2). */
	while (end - at >= 1 &&
	       (at[0] == '\n' || (end - at >= 2 && at[0] == '\r' && at[1] == '\n')))
		at += at[0] == '\n' ? 1 : 2;
	head = at == end ? 0 : find_end(at, (size_t)(end - at));
	if (head == 0 || head > HTTP_HEAD_BYTES) {
		code = check_unfinished(at, end);
		return code ? code : length_bytes >= HTTP_HEAD_BYTES ? -431 : 0;
	}
	end = at + head;
	line = next_line(&at, end);
	if (line.length > HTTP_TARGET_BYTES + 64)
		return -414;
	code = parse_request_line(line, &parsed);
	while (code == 0 && at < end) {
		line = next_line(&at, end);
		if (line.length == 0)
			break;
		code = parse_field(line, &fields, &parsed);
	}
	if (code == 0)
		code = check_fields(&fields, &parsed);
	if (code < 0)
		return code;
	*request = parsed;
	return (int)(end - text);
}

enum http_kind http_choose_kind(const struct http_request *request)
{
	enum http_kind best = HTTP_TEXT, kind;

	for (kind = HTTP_HTML; kind < HTTP_KINDS; kind++)
		if (request->likes[kind] > request->likes[best] ||
		    (request->likes[kind] && request->likes[kind] == request->likes[best] &&
		     request->exactness[kind] > request->exactness[best]))
			best = kind;
	return best;
}

bool http_query_number(const struct http_request *request, const char *name, uint64_t *number)
{
	struct span rest = {request->query, request->query_length}, part;
	size_t length = strlen(name), i;
	uint64_t found;

	while (next_part(&rest, '&', &part)) {
		if (part.length <= length + 1 || part.length > length + 1 + 18 ||
		    memcmp(part.text, name, length) != 0 || part.text[length] != '=')
			continue;
		found = 0;
		for (i = length + 1; i < part.length; i++) {
			if (part.text[i] < '0' || part.text[i] > '9')
				break;
			found = found * 10 + (uint64_t)(part.text[i] - '0');
		}
		if (i < part.length)
			continue;
		*number = found;
		return true;
	}
	return false;
}
