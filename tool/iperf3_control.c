/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. The control connection takes a test through its steps. States are single
 * bytes, and JSON stands behind its length:
 *
 *     client                              server
 *     cookie                         ->
 *                                    <-   PARAM_EXCHANGE
 *     JSON: what it wants            ->
 *                                    <-   CREATE_STREAMS
 *     (streams, each with the cookie)
 *                                    <-   TEST_START, TEST_RUNNING
 *     TEST_END                       ->
 *                                    <-   EXCHANGE_RESULTS
 *     JSON: its results              ->
 *                                    <-   JSON: ours, DISPLAY_RESULTS
 *     IPERF_DONE                     ->
 *
 * All that is ever sent is small and is kept until the end, so what must be sent again is there.
 * Callbacks only take notes; what follows from them is done on the shard's advance, which comes
 * right after.
 *
 * When the client says that the test has ended, what it has sent may still be on its way, on other
 * connections. Its results say how much that is, so ours wait until all has come, or nothing more
 * comes for a while: then the bytes of both ends agree. The time that is told with them is that
 * of the last byte.
 *
 * Each step has its time, so no client keeps the service from the others: one that is silent is
 * given up. Without a duration the test goes on while bytes move.
 */
#include "iperf3.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define STEP_NS (10 * IPERF3_SECOND_NS)
#define IDLE_NS (60 * IPERF3_SECOND_NS)
#define GRACE_NS (10 * IPERF3_SECOND_NS) /* how much longer than it said a test may take */
#define CLOSING_NS (2 * IPERF3_SECOND_NS)
#define DRAIN_NS (2 * IPERF3_SECOND_NS)
#define DRAIN_IDLE_NS (250 * IPERF3_MILLISECOND_NS)
#define DRAIN_IDLE_UDP_NS (50 * IPERF3_MILLISECOND_NS)
#define CONTROLS_MOST 64 /* on each shard, with those that close */
#define LENGTH_BYTES 4
#define ERROR_BYTES 9 /* the state, and two numbers */

enum state {
	STATE_SERVER_ERROR = -2,
	STATE_TEST_START = 1,
	STATE_TEST_RUNNING = 2,
	STATE_TEST_END = 4,
	STATE_PARAM_EXCHANGE = 9,
	STATE_CREATE_STREAMS = 10,
	STATE_SERVER_TERMINATE = 11,
	STATE_CLIENT_TERMINATE = 12,
	STATE_EXCHANGE_RESULTS = 13,
	STATE_DISPLAY_RESULTS = 14,
	STATE_IPERF_DONE = 16
};

enum step {
	STEP_PARAMETERS,
	STEP_JOINING,
	STEP_RUNNING,
	STEP_RESULTS,  /* of the client */
	STEP_DRAINING, /* they are here, and all that was sent shall be, too */
	STEP_SETTLING, /* the streams close our side */
	STEP_DONE,     /* ours are sent */
	STEP_CLOSING
};

struct cpu {
	uint64_t at_ns;
	double user_s, system_s;
};

struct iperf3_control {
	struct iperf3_control *next;
	struct iperf3_shard *shard;
	struct iperf3_test *test;
	struct vnic_connection *connection; /* NULL: it has ended */
	enum step step;
	uint64_t deadline_ns;
	bool is_finished; /* the client sends no more */
	bool is_left;     /* another test may begin */

	/* Receiving. */
	uint8_t length[LENGTH_BYTES];
	unsigned length_count;
	char *text; /* NULL: the length is not there yet */
	size_t text_length, text_count;

	/* Sending. */
	uint8_t *out;
	size_t out_length;

	struct cpu cpu;
	uint64_t end_ns;          /* when the client said that it had ended */
	uint64_t moved, moved_ns; /* bytes and packets, and when they last became more */
	struct iperf3_results theirs, ours;
};

static struct cpu measure_cpu(uint64_t now_ns)
{
	struct cpu cpu = {.at_ns = now_ns};
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	cpu.user_s = (double)usage.ru_utime.tv_sec + (double)usage.ru_utime.tv_usec / 1e6;
	cpu.system_s = (double)usage.ru_stime.tv_sec + (double)usage.ru_stime.tv_usec / 1e6;
	return cpu;
}

/* Sending. */

static size_t read_out(struct vnic_connection *connection, void *user, uint64_t offset,
		       uint8_t *bytes, size_t length_bytes)
{
	const struct iperf3_control *control = user;

	(void)connection;
	if (offset >= control->out_length)
		return 0;
	if (length_bytes > control->out_length - offset)
		length_bytes = control->out_length - (size_t)offset;
	memcpy(bytes, control->out + offset, length_bytes);
	return length_bytes;
}

/* Returns false if there is no memory. */
static bool say(struct iperf3_control *control, const void *bytes, size_t length)
{
	uint8_t *out = realloc(control->out, control->out_length + length);

	if (!out)
		return false;
	memcpy(out + control->out_length, bytes, length);
	control->out = out;
	control->out_length += length;
	if (control->connection)
		vnic_connection_offer(control->connection, control->out_length);
	return true;
}

static void say_state(struct iperf3_control *control, enum state state)
{
	int8_t byte = (int8_t)state;

	(void)say(control, &byte, 1); /* or the step's time runs out */
}

static void put_be32(uint8_t *bytes, uint32_t value)
{
	bytes[0] = (uint8_t)(value >> 24);
	bytes[1] = (uint8_t)(value >> 16);
	bytes[2] = (uint8_t)(value >> 8);
	bytes[3] = (uint8_t)value;
}

static bool say_text(struct iperf3_control *control, const char *text)
{
	uint8_t length[LENGTH_BYTES];

	put_be32(length, (uint32_t)strlen(text));
	return say(control, length, sizeof(length)) && say(control, text, strlen(text));
}

/* Ending. */

static void leave(struct iperf3_control *control)
{
	if (!control->is_left)
		iperf3_test_leave(control->test);
	control->is_left = true;
}

static void enter(struct iperf3_control *control, enum step step, uint64_t time_ns)
{
	control->step = step;
	control->deadline_ns = iperf3_now_ns() + time_ns;
}

/* The test is over; what was said is still sent. */
static void finish(struct iperf3_control *control, enum iperf3_phase phase)
{
	iperf3_test_set_phase(control->test, phase);
	leave(control);
	enter(control, STEP_CLOSING, CLOSING_NS);
	if (control->connection)
		vnic_connection_finish(control->connection);
}

static void fail(struct iperf3_control *control, enum iperf3_problem problem)
{
	uint8_t error[ERROR_BYTES] = {(uint8_t)STATE_SERVER_ERROR};

	put_be32(error + 1, problem);
	(void)say(control, error, sizeof(error));
	finish(control, IPERF3_ABORTED);
}

/* Receiving. */

static void take_parameters(struct iperf3_control *control)
{
	enum iperf3_problem problem = iperf3_parameters_parse(control->text, control->text_length,
							      &control->test->parameters);

	if (problem != IPERF3_PROBLEM_NONE) {
		fail(control, problem);
		return;
	}
	iperf3_test_set_phase(control->test, IPERF3_JOINING);
	say_state(control, STATE_CREATE_STREAMS);
	enter(control, STEP_JOINING, STEP_NS);
}

static void take_results(struct iperf3_control *control)
{
	if (iperf3_results_parse(control->text, control->text_length, &control->theirs) < 0) {
		fail(control, IPERF3_PROBLEM_RESULTS);
		return;
	}
	enter(control, STEP_DRAINING, DRAIN_NS);
	control->moved_ns = iperf3_now_ns();
}

static void take_text(struct iperf3_control *control)
{
	if (control->step == STEP_PARAMETERS)
		take_parameters(control);
	else
		take_results(control);
	free(control->text);
	control->text = NULL;
	control->text_count = 0;
	control->length_count = 0;
}

/* Returns how many bytes were used: at least one. */
static size_t receive_text(struct iperf3_control *control, const uint8_t *bytes, size_t length)
{
	size_t used;

	if (!control->text) {
		control->length[control->length_count++] = bytes[0];
		if (control->length_count < LENGTH_BYTES)
			return 1;
		control->text_length = (size_t)control->length[0] << 24 |
				       (size_t)control->length[1] << 16 |
				       (size_t)control->length[2] << 8 | control->length[3];
		if (control->text_length >= 1 && control->text_length <= IPERF3_TEXT_BYTES_MOST)
			control->text = malloc(control->text_length);
		if (!control->text)
			fail(control, control->step == STEP_PARAMETERS ? IPERF3_PROBLEM_PARAMETERS
								       : IPERF3_PROBLEM_RESULTS);
		return 1;
	}
	used = control->text_length - control->text_count;
	if (used > length)
		used = length;
	memcpy(control->text + control->text_count, bytes, used);
	control->text_count += used;
	if (control->text_count == control->text_length)
		take_text(control);
	return used;
}

static void receive_state(struct iperf3_control *control, int8_t state)
{
	if (state == STATE_CLIENT_TERMINATE) {
		finish(control, IPERF3_ABORTED);
	} else if (state == STATE_TEST_END && control->step == STEP_RUNNING) {
		control->end_ns = iperf3_now_ns();
		iperf3_test_set_phase(control->test, IPERF3_ENDING);
		say_state(control, STATE_EXCHANGE_RESULTS);
		enter(control, STEP_RESULTS, STEP_NS);
	} else if (state == STATE_IPERF_DONE && control->step == STEP_DONE) {
		finish(control, IPERF3_OVER);
	} else {
		fail(control, IPERF3_PROBLEM_MESSAGE);
	}
}

static size_t receive_bytes(struct vnic_connection *connection, void *user, const uint8_t *bytes,
			    size_t length_bytes)
{
	struct iperf3_control *control = user;
	size_t at = 0;

	(void)connection;
	while (at < length_bytes && control->step != STEP_CLOSING) {
		if (control->step == STEP_PARAMETERS || control->step == STEP_RESULTS)
			at += receive_text(control, bytes + at, length_bytes - at);
		else
			receive_state(control, (int8_t)bytes[at++]);
	}
	control->shard->is_stirred = true;
	return length_bytes;
}

static void note_event(struct vnic_connection *connection, void *user,
		       enum vnic_connection_event event, int code)
{
	struct iperf3_control *control = user;

	(void)connection;
	(void)code;
	control->shard->is_stirred = true;
	if (event == VNIC_CONNECTION_FINISHED)
		control->is_finished = true;
	else if (event == VNIC_CONNECTION_CLOSED)
		control->connection = NULL;
}

int iperf3_control_new(struct iperf3_shard *shard, struct iperf3_test *test,
		       struct vnic_connection *connection)
{
	static const struct vnic_connection_operations operations = {
		.read = read_out,
		.receive = receive_bytes,
		.event = note_event,
	};
	struct iperf3_control *control = NULL;

	if (shard->control_count < CONTROLS_MOST)
		control = calloc(1, sizeof(*control));
	if (!control)
		return -ENOMEM;
	control->shard = shard;
	control->test = test;
	control->connection = connection;
	control->next = shard->controls;
	shard->controls = control;
	shard->control_count++;
	shard->is_stirred = true;
	vnic_connection_set_user(connection, &operations, control);
	enter(control, STEP_PARAMETERS, STEP_NS);
	say_state(control, STATE_PARAM_EXCHANGE);
	return 0;
}

/* What was agreed upon goes on. */

static void start(struct iperf3_control *control, uint64_t now_ns)
{
	const struct iperf3_parameters *parameters = &control->test->parameters;
	uint64_t duration_s = (uint64_t)parameters->omit_s + parameters->duration_s;

	say_state(control, STATE_TEST_START);
	say_state(control, STATE_TEST_RUNNING);
	control->cpu = measure_cpu(now_ns);
	control->moved_ns = now_ns;
	iperf3_test_start(control->test, now_ns);
	enter(control, STEP_RUNNING, duration_s * IPERF3_SECOND_NS + GRACE_NS);
	if (parameters->duration_s == 0)
		control->deadline_ns = VNIC_NEVER;
}

/* Look whether anything moves. */
static void note_movement(struct iperf3_control *control, uint64_t now_ns)
{
	unsigned count = iperf3_test_streams(control->test), i;
	uint64_t moved = 0;

	for (i = 0; i < count; i++)
		moved += atomic_load(&control->test->counts[i].bytes) +
			 atomic_load(&control->test->counts[i].packets);
	/* What was omitted is taken off, so it may become less. */
	if (moved != control->moved)
		control->moved_ns = now_ns;
	control->moved = moved;
}

/* All that the client has sent is here, or the stream is closed. */
static bool has_arrived(const struct iperf3_control *control, const struct iperf3_counts *counts)
{
	const struct iperf3_stream_result *theirs = control->theirs.streams;
	unsigned i;

	if (atomic_load(&counts->is_settled))
		return true;
	for (i = 0; i < control->theirs.count; i++)
		if (theirs[i].id == counts->id)
			break;
	if (i == control->theirs.count)
		return true;
	return control->test->parameters.is_udp ? atomic_load(&counts->packets) >= theirs[i].packets
						: atomic_load(&counts->bytes) >= theirs[i].bytes;
}

static bool is_drained(struct iperf3_control *control, uint64_t now_ns)
{
	const struct iperf3_test *test = control->test;
	uint64_t idle_ns = test->parameters.is_udp ? DRAIN_IDLE_UDP_NS : DRAIN_IDLE_NS;
	unsigned count = iperf3_test_streams(test), i;
	bool has_all = true;

	for (i = 0; i < count; i++) {
		const struct iperf3_counts *counts = &test->counts[i];

		if (!(counts->is_sender ? atomic_load(&counts->is_settled)
					: has_arrived(control, counts)))
			has_all = false;
	}
	note_movement(control, now_ns);
	return has_all || now_ns >= control->moved_ns + idle_ns || now_ns >= control->deadline_ns;
}

static void fill_stream(const struct iperf3_control *control, const struct iperf3_counts *counts,
			struct iperf3_stream_result *result)
{
	const struct iperf3_parameters *parameters = &control->test->parameters;
	uint64_t end_ns = control->end_ns, last_ns = atomic_load(&counts->last_ns), time_ns;

	if (!counts->is_sender && last_ns > end_ns)
		end_ns = last_ns;
	time_ns = end_ns - control->test->start_ns;
	if (time_ns > parameters->omit_s * IPERF3_SECOND_NS)
		time_ns -= parameters->omit_s * IPERF3_SECOND_NS;
	*result = (struct iperf3_stream_result){
		.id = counts->id,
		.bytes = atomic_load(&counts->bytes),
		.retransmits = -1,
		.jitter_s = (double)atomic_load(&counts->jitter_ns) / (double)IPERF3_SECOND_NS,
		.errors = atomic_load(&counts->errors),
		.packets = atomic_load(&counts->packets),
		.duration_s = (double)time_ns / (double)IPERF3_SECOND_NS,
	};
	if (counts->is_sender && !parameters->is_udp)
		result->retransmits = (int64_t)atomic_load(&counts->retransmits);
}

static void fill_results(struct iperf3_control *control, struct iperf3_results *results)
{
	const struct iperf3_parameters *parameters = &control->test->parameters;
	struct cpu cpu = measure_cpu(control->end_ns);
	double elapsed_s = (double)(cpu.at_ns - control->cpu.at_ns) / (double)IPERF3_SECOND_NS;
	unsigned i;

	if (elapsed_s > 0) {
		results->cpu_user = (cpu.user_s - control->cpu.user_s) / elapsed_s * 100;
		results->cpu_system = (cpu.system_s - control->cpu.system_s) / elapsed_s * 100;
		results->cpu_total = results->cpu_user + results->cpu_system;
	}
	results->has_retransmits = -1;
	if (parameters->is_reverse || parameters->is_bidirectional)
		results->has_retransmits = !parameters->is_udp;
	results->congestion = parameters->is_udp ? NULL : "cubic";
	results->count = iperf3_test_streams(control->test);
	for (i = 0; i < results->count; i++)
		fill_stream(control, &control->test->counts[control->test->order[i]],
			    &results->streams[i]);
}

static void tell_results(struct iperf3_control *control)
{
	struct iperf3_results *results = &control->ours;
	char *text;
	bool is_said;

	fill_results(control, results);
	if (control->test->parameters.wants_output)
		results->output = iperf3_report_format(control->test, results);
	text = iperf3_results_format(results);
	is_said = text && say_text(control, text);
	free(text);
	free(results->output);
	results->output = NULL;
	if (!is_said) {
		fail(control, IPERF3_PROBLEM_RESULTS);
		return;
	}
	/* The next test need not wait until our client has shown what came of this one. */
	leave(control);
	if (control->test->parameters.is_udp)
		iperf3_test_set_phase(control->test, IPERF3_OVER);
	say_state(control, STATE_DISPLAY_RESULTS);
	enter(control, STEP_DONE, STEP_NS);
}

static bool has_settled(const struct iperf3_test *test)
{
	unsigned count = iperf3_test_streams(test), i;

	for (i = 0; i < count; i++)
		if (!atomic_load(&test->counts[i].is_settled))
			return false;
	return true;
}

static void go_on(struct iperf3_control *control, uint64_t now_ns)
{
	switch (control->step) {
	case STEP_JOINING:
		if (iperf3_test_is_complete(control->test))
			start(control, now_ns);
		break;
	case STEP_RUNNING:
		note_movement(control, now_ns);
		if (now_ns >= control->moved_ns + IDLE_NS)
			control->deadline_ns = now_ns;
		break;
	case STEP_DRAINING:
		if (is_drained(control, now_ns)) {
			iperf3_test_set_phase(control->test, IPERF3_CLOSING);
			enter(control, STEP_SETTLING, STEP_NS);
			control->shard->is_stirred = true;
		}
		break;
	case STEP_SETTLING:
		if (has_settled(control->test))
			tell_results(control);
		break;
	case STEP_PARAMETERS:
	case STEP_RESULTS:
	case STEP_DONE:
	case STEP_CLOSING:
		break;
	}
}

/* Returns when to look again; 0: it can go. */
static uint64_t advance(struct iperf3_control *control, uint64_t now_ns)
{
	bool is_gone = !control->connection || control->is_finished;

	if (is_gone && control->step != STEP_CLOSING)
		finish(control, control->step == STEP_DONE ? IPERF3_OVER : IPERF3_ABORTED);
	go_on(control, now_ns);
	if (now_ns >= control->deadline_ns) {
		if (control->step != STEP_CLOSING) {
			say_state(control, STATE_SERVER_TERMINATE);
			finish(control, IPERF3_ABORTED);
		} else if (control->connection) {
			vnic_connection_abort(control->connection);
		}
	}
	if (!control->connection)
		return 0;
	if (control->step == STEP_JOINING || control->step == STEP_DRAINING ||
	    control->step == STEP_SETTLING)
		return now_ns + IPERF3_TICK_NS;
	if (control->step == STEP_RUNNING && control->deadline_ns > now_ns + IPERF3_SECOND_NS)
		return now_ns + IPERF3_SECOND_NS;
	return control->deadline_ns;
}

static void free_control(struct iperf3_control *control)
{
	if (control->connection)
		vnic_connection_abort(control->connection); /* which forgets it */
	if (control->step != STEP_CLOSING)
		iperf3_test_set_phase(control->test, IPERF3_ABORTED);
	leave(control);
	iperf3_test_release(control->test);
	control->shard->control_count--;
	free(control->text);
	free(control->out);
	free(control);
}

void iperf3_controls_advance(struct iperf3_shard *shard, uint64_t now_ns, uint64_t *next_ns)
{
	struct iperf3_control **link = &shard->controls, *control;
	uint64_t next;

	while ((control = *link) != NULL) {
		next = advance(control, now_ns);
		if (next == 0) {
			*link = control->next;
			free_control(control);
			continue;
		}
		if (next < *next_ns)
			*next_ns = next;
		link = &control->next;
	}
}

void iperf3_controls_free(struct iperf3_shard *shard)
{
	struct iperf3_control *control;

	while ((control = shard->controls) != NULL) {
		shard->controls = control->next;
		free_control(control);
	}
}
