/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. A server for a handful of readers, written to survive anybody: each
 * connection has a fixed amount of memory and, in every state, a time at which it ends.
 *
 *     READ     the head of a request is collected: 8 KiB in 15 s at most, counted from its first
 *              byte; before that a connection may be idle for a minute
 *     WRITE    the answer goes out, within a minute
 *     SKIP     the body of the request, which nobody wants, is thrown away
 *     LINGER   the last answer was sent and FIN behind it; what still comes is thrown away for a
 *              moment, since closing with bytes unread would reset the connection and could take
 *              the answer with it
 *
 * One function runs a connection through these as far as it gets; the socket's callback calls it
 * again when something became possible. Requests that a client sends without waiting are answered
 * one after the other, in order.
 *
 * The time is known to http_advance() alone, which is called after every burst of packets. So a new
 * time limit is noted as a span, and http_advance() makes a point in time of it.
 */
#include "http.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CONNECTIONS_MOST 64
#define SECOND_NS UINT64_C(1000000000)
#define HEAD_NS (15 * SECOND_NS)
#define IDLE_NS (60 * SECOND_NS)
#define WRITE_NS (60 * SECOND_NS)
#define LINGER_NS (2 * SECOND_NS)
#define LINGER_BYTES (1u << 20)
#define RECEIVE_BYTES (16u << 10)
#define SEND_BYTES (64u << 10)
#define REPLY_BYTES 1024

enum state {
	STATE_READ,
	STATE_WRITE,
	STATE_SKIP,
	STATE_LINGER,
	STATE_OVER /* to be freed */
};

struct connection {
	struct http_server *server;
	struct vnic_socket *socket;
	enum state state;
	bool closes;       /* after this answer */
	bool without_body; /* the answer to HEAD */
	bool is_running;   /* it is on the stack of calls */
	uint64_t span_ns;  /* of a time limit without a point in time yet; 0: it has that */
	uint64_t limit_ns; /* when it is over */
	size_t skip_bytes; /* of the body; of everything while it lingers */
	size_t head_length;
	uint8_t head[HTTP_HEAD_BYTES];
	size_t reply_length, sent; /* of the reply, then of the body */
	char reply[REPLY_BYTES];
	struct http_answer answer;
};

struct http_server {
	struct http_options options;
	struct vnic_socket *listening;
	struct connection *connections[CONNECTIONS_MOST];
	bool has_spans;
	uint64_t next_ns;
};

static void set_limit(struct connection *connection, uint64_t span_ns)
{
	connection->span_ns = span_ns;
	connection->server->has_spans = true;
}

static void release_answer(struct connection *connection)
{
	if (connection->answer.release)
		connection->answer.release(connection->answer.body);
	memset(&connection->answer, 0, sizeof(connection->answer));
}

static void free_connection(struct connection *connection)
{
	struct http_server *server = connection->server;
	unsigned i;

	for (i = 0; i < CONNECTIONS_MOST; i++)
		if (server->connections[i] == connection)
			server->connections[i] = NULL;
	release_answer(connection);
	vnic_socket_close(connection->socket);
	free(connection);
}

/* Answers. */

static const char *reason(unsigned status)
{
	static const struct {
		unsigned status;
		const char *reason;
	} reasons[] = {
		{200, "OK"},
		{400, "Bad Request"},
		{404, "Not Found"},
		{405, "Method Not Allowed"},
		{408, "Request Timeout"},
		{413, "Content Too Large"},
		{414, "URI Too Long"},
		{431, "Request Header Fields Too Large"},
		{500, "Internal Server Error"},
		{501, "Not Implemented"},
		{503, "Service Unavailable"},
		{505, "HTTP Version Not Supported"},
	};
	size_t i;

	for (i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
		if (reasons[i].status == status)
			return reasons[i].reason;
	return "Unknown";
}

/* An error tells itself in a line of text, which lives in the answer's own reply. */
static void write_reply(struct connection *connection)
{
	struct http_answer *answer = &connection->answer;
	char date[64] = "", line[64] = "";
	time_t now = time(NULL);
	struct tm tm;
	size_t length = answer->length;
	int written;

	if (gmtime_r(&now, &tm)) /* the tool sets no locale: names are English */
		strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", &tm);
	if (!answer->body) {
		answer->type = "text/plain; charset=utf-8";
		snprintf(line, sizeof(line), "%u %s\n", answer->status, reason(answer->status));
		length = strlen(line);
	}
	written = snprintf(connection->reply, sizeof(connection->reply),
			   "HTTP/1.1 %u %s\r\n"
			   "Date: %s\r\n"
			   "Content-Type: %s\r\n"
			   "Content-Length: %zu\r\n"
			   "Cache-Control: no-store\r\n"
			   "X-Content-Type-Options: nosniff\r\n"
			   "Connection: %s\r\n"
			   "%s"
			   "\r\n"
			   "%s",
			   answer->status, reason(answer->status), date, answer->type, length,
			   connection->closes ? "close" : "keep-alive",
			   answer->fields ? answer->fields : "",
			   connection->without_body ? "" : line);
	if (written < 0 || (size_t)written >= sizeof(connection->reply))
		connection->state =
			STATE_OVER; /* fields of ours that are too long: a mistake here */
	connection->reply_length = (size_t)written;
	connection->sent = 0;
	if (connection->without_body)
		answer->length = 0;
}

static void begin_answer(struct connection *connection)
{
	connection->state = STATE_WRITE;
	set_limit(connection, WRITE_NS);
	write_reply(connection);
}

/* What is wrong leaves it open where the next request begins, so there will be none. */
static void refuse(struct connection *connection, unsigned status)
{
	release_answer(connection);
	connection->answer.status = status;
	connection->closes = true;
	connection->without_body = false;
	begin_answer(connection);
}

static void take_head(struct connection *connection, size_t length)
{
	connection->head_length -= length;
	memmove(connection->head, connection->head + length, connection->head_length);
}

static void answer_request(struct connection *connection, const struct http_request *request)
{
	struct http_server *server = connection->server;

	connection->without_body = request->method == HTTP_HEAD;
	connection->skip_bytes = request->body_bytes;
	/* A client that waits for leave to send its body may send it or not. */
	connection->closes = !request->keeps_alive || (request->expects && request->body_bytes);
	if (request->method == HTTP_OTHER) {
		connection->answer.status = 405;
		connection->answer.fields = "Allow: GET, HEAD\r\n";
	} else {
		server->options.answer(server->options.user, request, &connection->answer);
	}
	begin_answer(connection);
}

/* States: each returns true while there is something to go on with. */

static bool read_more(struct connection *connection)
{
	size_t room = sizeof(connection->head) - connection->head_length;
	ssize_t got = vnic_socket_read(connection->socket,
				       connection->head + connection->head_length, room);

	if (got == -EAGAIN)
		return false;
	if (got <= 0) { /* nobody waits for an answer to half a request */
		connection->state = STATE_OVER;
		return true;
	}
	if (connection->head_length == 0)
		set_limit(connection, HEAD_NS);
	connection->head_length += (size_t)got;
	return true;
}

static bool step_read(struct connection *connection)
{
	struct http_request request;
	int head = http_parse(connection->head, connection->head_length, &request);

	if (head == 0)
		return read_more(connection);
	if (head < 0) {
		refuse(connection, (unsigned)-head);
		return true;
	}
	answer_request(connection, &request);
	take_head(connection, (size_t)head);
	return true;
}

/* Returns how many bytes went out; 0: no more now, or it is over. */
static size_t write_part(struct connection *connection, const char *bytes, size_t length)
{
	ssize_t written = vnic_socket_write(connection->socket, bytes, length);

	if (written > 0)
		return (size_t)written;
	if (written != -EAGAIN && written != 0)
		connection->state = STATE_OVER;
	return 0;
}

static bool step_write(struct connection *connection)
{
	size_t all = connection->reply_length + connection->answer.length, done;

	while (connection->sent < all) {
		size_t at = connection->sent;

		if (at < connection->reply_length)
			done = write_part(connection, connection->reply + at,
					  connection->reply_length - at);
		else
			done = write_part(connection,
					  connection->answer.body + (at - connection->reply_length),
					  all - at);
		if (done == 0)
			return connection->state == STATE_OVER;
		connection->sent += done;
	}
	release_answer(connection);
	if (connection->closes) {
		vnic_socket_shutdown(connection->socket);
		connection->state = STATE_LINGER;
		connection->skip_bytes = LINGER_BYTES;
		connection->head_length = 0;
		set_limit(connection, LINGER_NS);
	} else {
		connection->state = STATE_SKIP;
		set_limit(connection, HEAD_NS);
	}
	return true;
}

/* Throw bytes away. Returns false where they did not come yet; STATE_OVER where they never will. */
static bool skip(struct connection *connection)
{
	size_t part = connection->skip_bytes < connection->head_length ? connection->skip_bytes
								       : connection->head_length;
	const uint8_t *bytes;
	ssize_t got;

	take_head(connection, part);
	connection->skip_bytes -= part;
	while (connection->skip_bytes) {
		got = vnic_socket_peek(connection->socket, &bytes);
		if (got == -EAGAIN)
			return false;
		if (got <= 0) {
			connection->state = STATE_OVER;
			return true;
		}
		part = (size_t)got < connection->skip_bytes ? (size_t)got : connection->skip_bytes;
		vnic_socket_consume(connection->socket, part);
		connection->skip_bytes -= part;
	}
	return true;
}

static bool step_skip(struct connection *connection)
{
	if (!skip(connection))
		return false;
	if (connection->state == STATE_OVER)
		return true;
	connection->state = STATE_READ;
	set_limit(connection, connection->head_length ? HEAD_NS : IDLE_NS);
	return true;
}

static bool step_linger(struct connection *connection)
{
	if (!skip(connection))
		return false;
	connection->state = STATE_OVER;
	return true;
}

static void run_connection(struct connection *connection)
{
	static bool (*const steps[])(struct connection *) = {
		[STATE_READ] = step_read,
		[STATE_WRITE] = step_write,
		[STATE_SKIP] = step_skip,
		[STATE_LINGER] = step_linger,
	};

	if (connection->is_running)
		return;
	connection->is_running = true;
	while (connection->state != STATE_OVER && steps[connection->state](connection))
		;
	connection->is_running = false;
	if (connection->state == STATE_OVER)
		free_connection(connection);
}

static void connection_ready(struct vnic_socket *socket, void *user, unsigned ready)
{
	struct connection *connection = user;

	(void)socket;
	if (ready & VNIC_SOCKET_FAILED && connection->state != STATE_READ)
		connection->state = STATE_OVER; /* while it reads it finds that out by itself */
	run_connection(connection);
}

/* Listening. */

/* A place for one more. The one that has been idle for the longest time has to go. */
static struct connection **find_place(struct http_server *server)
{
	struct connection **oldest = NULL;
	unsigned i;

	for (i = 0; i < CONNECTIONS_MOST; i++) {
		struct connection **place = &server->connections[i];

		if (!*place)
			return place;
		if ((*place)->state == STATE_READ && (*place)->head_length == 0 &&
		    (*place)->span_ns == 0 && (!oldest || (*place)->limit_ns < (*oldest)->limit_ns))
			oldest = place;
	}
	if (oldest)
		free_connection(*oldest);
	return oldest;
}

static void listening_ready(struct vnic_socket *socket, void *user, unsigned ready)
{
	struct http_server *server = user;
	struct connection *connection, **place;
	struct vnic_socket *accepted;

	(void)ready;
	while (vnic_socket_accept(socket, &accepted) == 0) {
		place = find_place(server);
		connection = place ? calloc(1, sizeof(*connection)) : NULL;
		if (!connection) {
			vnic_socket_abort(accepted);
			continue;
		}
		*place = connection;
		connection->server = server;
		connection->socket = accepted;
		set_limit(connection, HEAD_NS);
		vnic_socket_set_ready(accepted, connection_ready, connection);
		run_connection(connection);
	}
}

int http_open(const struct http_options *options, struct http_server **server,
	      struct vnic_error *error)
{
	struct http_server *made = calloc(1, sizeof(*made));
	struct vnic_socket_options socket = {
		.receive_bytes = RECEIVE_BYTES,
		.send_bytes = SEND_BYTES,
		.backlog = CONNECTIONS_MOST,
		.connection = {.no_nagle = true},
		.ready = listening_ready,
		.user = made,
	};
	int code;

	if (!made) {
		*error = (struct vnic_error){-ENOMEM, VNIC_CAUSE_MEMORY, "out of memory"};
		return -ENOMEM;
	}
	made->options = *options;
	made->next_ns = VNIC_NEVER;
	code = vnic_socket_listen(options->stack, NULL, options->port, &socket, &made->listening,
				  error);
	if (code < 0) {
		free(made);
		return code;
	}
	*server = made;
	return 0;
}

/* A time limit is over. */
static void expire(struct connection *connection)
{
	if (connection->state == STATE_READ && connection->head_length) {
		refuse(connection, 408);
		run_connection(connection);
		return;
	}
	if (connection->state == STATE_WRITE) { /* it does not read: it shall not hold our memory */
		vnic_socket_abort(connection->socket);
		connection->socket = NULL;
	}
	free_connection(connection);
}

uint64_t http_advance(struct http_server *server, uint64_t now_ns)
{
	unsigned i;

	if (!server->has_spans && now_ns < server->next_ns)
		return server->next_ns;
	for (i = 0; i < CONNECTIONS_MOST; i++) {
		struct connection *connection = server->connections[i];

		if (connection && connection->span_ns == 0 && connection->limit_ns <= now_ns)
			expire(connection);
	}
	server->has_spans = false;
	server->next_ns = VNIC_NEVER;
	for (i = 0; i < CONNECTIONS_MOST; i++) {
		struct connection *connection = server->connections[i];

		if (!connection)
			continue;
		if (connection->span_ns) {
			connection->limit_ns = now_ns + connection->span_ns;
			connection->span_ns = 0;
		}
		if (connection->limit_ns < server->next_ns)
			server->next_ns = connection->limit_ns;
	}
	return server->next_ns;
}

void http_close(struct http_server *server)
{
	unsigned i;

	for (i = 0; i < CONNECTIONS_MOST; i++)
		if (server->connections[i])
			free_connection(server->connections[i]);
	vnic_socket_close(server->listening);
	free(server);
}
