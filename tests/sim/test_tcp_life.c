/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Connections from their beginning to their end, in every way there is: opened and closed from both sides
 * at once, closed by halves, refused, reset in each state, with any of the packets lost, given up for want of an
 * answer, and left alone for days.
 */
#include <errno.h>

#include "stream.h"

static const struct link_impairment far = {.delay_ns = 10 * MILLISECOND_NS};

/* A link whose packets take 10 ms, and a stream over it that is not begun. */
static void begin(struct link *link, struct stream *stream)
{
	*stream = (struct stream){0};
	link_begin(link, VNIC_LAYER_IP, 1, NULL, NULL);
	link_impair(link, &far);
}

static void end(struct link *link, struct stream *stream)
{
	stream_end(stream);
	link_end(link);
}

static void assert_states(const struct stream *stream, const char *first, const char *second)
{
	const char *states[2] = {stream_state(&stream->sides[0]), stream_state(&stream->sides[1])};

	if (strcmp(states[0], first) != 0 || strcmp(states[1], second) != 0)
		fail_msg("the states are %s and %s, not %s and %s", states[0], states[1], first,
			 second);
}

static void begins_and_ends(void **state)
{
	struct stream stream;
	struct link link;

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		const struct vnic_flow *flow;

		stream = (struct stream){0};
		link_begin(&link, i & 1 ? VNIC_LAYER_ETHERNET : VNIC_LAYER_IP, i, NULL, NULL);
		link_impair(&link, &far);
		stream.sides[0].options =
			(struct stream_options){.total_bytes = 1000, .finishes_late = true};
		stream.sides[1].options.total_bytes = 10;
		stream_begin(&stream, &link, i & 2 ? VNIC_IPV4 : VNIC_IPV6, 1);
		assert_string_equal(stream_state(&stream.sides[0]), "SYN-SENT");
		assert_int_equal(link_counter(&link, 0, VNIC_STACK_CONNECTIONS), 1);
		stream_establish(&stream);
		assert_int_equal(stream.accepted, 1);
		flow = vnic_connection_flow(stream.sides[0].connection);
		assert_int_equal(flow->remote_port, STREAM_PORT);
		assert_true(flow->local_port >= 1024);
		assert_true(vnic_address_equal(&flow->remote_address, &stream.flow.remote_address));
		assert_int_equal(vnic_connection_flow(stream.sides[1].connection)->remote_port,
				 flow->local_port);
		stream_complete(&stream, 60 * SECOND_NS);
		assert_int_equal(link_counter(&link, 0, VNIC_STACK_OPENED), 1);
		assert_int_equal(link_counter(&link, 1, VNIC_STACK_ACCEPTED), 1);
		assert_int_equal(link_counter(&link, 0, VNIC_STACK_RETRANSMITTED), 0);
		assert_int_equal(link_counter(&link, 1, VNIC_STACK_RETRANSMITTED), 0);
		assert_int_equal(link_counter(&link, 0, VNIC_STACK_RESETS), 0);
		end(&link, &stream);
	}
}

static void opens_at_once(void **state)
{
	struct stream stream;
	struct link link;

	(void)state;
	begin(&link, &stream);
	stream.opens_at_once = true;
	stream.sides[0].options.total_bytes = stream.sides[1].options.total_bytes = 5000;
	stream_begin(&stream, &link, VNIC_IPV4, 1);
	assert_states(&stream, "SYN-SENT", "SYN-SENT");
	link_wait(&link, 15 * MILLISECOND_NS);
	assert_states(&stream, "SYN-RECEIVED", "SYN-RECEIVED");
	assert_int_equal(link_counter(&link, 0, VNIC_STACK_HALF_OPEN), 1);
	stream_complete(&stream, 60 * SECOND_NS);
	assert_int_equal(stream.accepted, 0);
	assert_int_equal(link_counter(&link, 1, VNIC_STACK_OPENED), 1);
	assert_int_equal(link_counter(&link, 1, VNIC_STACK_TIMEOUTS), 0);
	end(&link, &stream);
}

/* Established, with nothing to send; both keep it open until stream_finish(). */
static void establish(struct link *link, struct stream *stream)
{
	begin(link, stream);
	stream->sides[0].options.finishes_late = stream->sides[1].options.finishes_late = true;
	stream_begin(stream, link, VNIC_IPV4, 1);
	stream_establish(stream);
	link_wait(link, SECOND_NS);
	assert_states(stream, "ESTABLISHED", "ESTABLISHED");
}

static void closes_at_once(void **state)
{
	struct stream stream;
	struct link link;

	(void)state;
	establish(&link, &stream);
	stream_finish(&stream.sides[0]);
	stream_finish(&stream.sides[1]);
	link_wait(&link, 5 * MILLISECOND_NS);
	assert_states(&stream, "FIN-WAIT-1", "FIN-WAIT-1");
	link_wait(&link, 10 * MILLISECOND_NS);
	assert_states(&stream, "CLOSING", "CLOSING");
	stream_complete(&stream, SECOND_NS);
	assert_int_equal(link_counter(&link, 0, VNIC_STACK_TIMEOUTS), 0);
	end(&link, &stream);
}

static void closes_by_halves(void **state)
{
	struct stream stream;
	struct link link;

	(void)state;
	establish(&link, &stream);
	stream.sides[1].options.total_bytes = 200001; /* so that it does not finish yet */
	stream_finish(&stream.sides[0]);
	link_wait(&link, SECOND_NS);
	assert_states(&stream, "FIN-WAIT-2", "CLOSE-WAIT");
	stream_offer(&stream.sides[1], 0);
	assert_true(link_wait_until(&link, stream_is_received, &stream, 60 * SECOND_NS));
	link_wait(&link, SECOND_NS);
	assert_states(&stream, "FIN-WAIT-2", "CLOSE-WAIT");
	stream_finish(&stream.sides[1]);
	link_wait(&link, 5 * MILLISECOND_NS);
	assert_states(&stream, "FIN-WAIT-2", "LAST-ACK");
	stream_complete(&stream, SECOND_NS);
	end(&link, &stream);
}

/* Drops the packets with these numbers, counted from 0 on. */
struct dropper {
	unsigned seen;
	unsigned drop[2];
};

static bool drop(void *user, const struct link_segment *segment)
{
	struct dropper *dropper = user;
	unsigned number = dropper->seen++;

	(void)segment;
	return number != dropper->drop[0] && number != dropper->drop[1];
}

/* @return how many packets there were */
static unsigned exchange(unsigned first, unsigned second, bool no_sack)
{
	struct dropper dropper = {.drop = {first, second}};
	struct stream stream;
	struct link link;

	begin(&link, &stream);
	for (unsigned i = 0; i < 2; i++)
		stream.sides[i].options = (struct stream_options){
			.total_bytes = 3000,
			.connection = {.no_sack = no_sack, .no_timestamps = no_sack}};
	link.watch = drop;
	link.watch_user = &dropper;
	stream_begin(&stream, &link, VNIC_IPV4, 1);
	stream_complete(&stream, 60 * SECOND_NS);
	end(&link, &stream);
	return dropper.seen;
}

static void loses_each_packet(void **state)
{
	(void)state;
	for (unsigned no_sack = 0; no_sack < 2; no_sack++) {
		unsigned count = exchange(UINT32_MAX, UINT32_MAX, no_sack);

		assert_in_range(count, 8, 30);
		for (unsigned first = 0; first < count; first++)
			for (unsigned second = first; second < count + 3; second++)
				exchange(first, second, no_sack);
	}
}

static void is_refused(void **state)
{
	struct stream stream;
	struct link link;

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		begin(&link, &stream);
		stream.no_listener = true;
		stream_begin(&stream, &link, i ? VNIC_IPV6 : VNIC_IPV4, 1);
		link_wait(&link, SECOND_NS);
		assert_true(stream.sides[0].is_closed);
		assert_false(stream.sides[0].is_established);
		assert_int_equal(stream.sides[0].code, -ECONNREFUSED);
		assert_int_equal(link_counter(&link, 0, VNIC_STACK_REFUSED), 1);
		assert_int_equal(link_counter(&link, 1, VNIC_STACK_RESETS), 1);
		assert_int_equal(link_counter(&link, 0, VNIC_STACK_CONNECTIONS), 0);
		end(&link, &stream);
	}
	/* Whoever accepts may refuse, too: the handshake is complete then. */
	begin(&link, &stream);
	stream.refuse = true;
	stream_begin(&stream, &link, VNIC_IPV4, 1);
	link_wait(&link, SECOND_NS);
	assert_int_equal(stream.accepted, 1);
	assert_int_equal(stream.sides[0].code, -ECONNRESET);
	assert_int_equal(link_counter(&link, 1, VNIC_STACK_CONNECTIONS), 0);
	end(&link, &stream);
}

/* On Ethernet, where nobody is at the address: that is known in seconds, and asked for anew then. */
static void nobody_is_there(void **state)
{
	struct stream stream;
	struct link link;

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		stream = (struct stream){.no_listener = true};
		link_begin(&link, VNIC_LAYER_ETHERNET, i, NULL, NULL);
		link_darken(&link, link.now_ns, 86400 * SECOND_NS);
		stream_begin(&stream, &link, i ? VNIC_IPV4 : VNIC_IPV6, 1);
		link_wait(&link, 2900 * MILLISECOND_NS);
		assert_string_equal(stream_state(&stream.sides[0]), "SYN-SENT");
		link_wait(&link, 200 * MILLISECOND_NS);
		assert_true(stream.sides[0].is_closed);
		assert_int_equal(stream.sides[0].code, -EHOSTUNREACH);
		assert_int_equal(link_counter(&link, 0, VNIC_STACK_REFUSED), 1);
		assert_int_equal(link_counter(&link, 0, VNIC_STACK_CONNECTIONS), 0);
		link_wait(&link, 60 * SECOND_NS);
		assert_true(link_is_idle(&link));
		end(&link, &stream);
	}
}

struct times {
	uint64_t at_ns[64];
	unsigned count;
};

static bool note_time(void *user, const struct link_segment *segment)
{
	struct times *times = user;

	if (times->count < 64)
		times->at_ns[times->count++] = segment->at_ns;
	return true;
}

static void gives_up_without_an_answer(void **state)
{
	struct times times = {.count = 0};
	struct stream stream;
	struct link link;

	(void)state;
	begin(&link, &stream);
	link_darken(&link, link.now_ns, 86400 * SECOND_NS);
	link.watch = note_time;
	link.watch_user = &times;
	stream_begin(&stream, &link, VNIC_IPV4, 1);
	link_wait(&link, 600 * SECOND_NS);
	assert_true(stream.sides[0].is_closed);
	assert_int_equal(stream.sides[0].code, -ETIMEDOUT);
	assert_int_equal(link_counter(&link, 0, VNIC_STACK_CONNECTIONS), 0);
	/* Each wait is twice the one before (RFC 6298 section 5.5), the first one 1 s. */
	assert_in_range(times.count, 5, 10);
	for (unsigned i = 1; i < times.count; i++)
		assert_int_equal(times.at_ns[i] - times.at_ns[i - 1], SECOND_NS << (i - 1));
	assert_true(link_is_idle(&link));
	end(&link, &stream);
}

/* In which state side 0 is to be: what side 0 and 1 do before. */
static void bring_to(struct link *link, struct stream *stream, const char *name)
{
	begin(link, stream);
	stream->sides[0].options.finishes_late = stream->sides[1].options.finishes_late = true;
	stream->sides[1].options.total_bytes = 1; /* which is never offered: it does not finish */
	stream->sides[1].options.write_bytes = 1;
	stream->sides[1].options.write_ns = 86400 * SECOND_NS;
	stream_begin(stream, link, VNIC_IPV4, 1);
	if (strcmp(name, "SYN-SENT") == 0)
		return;
	stream_establish(stream);
	link_wait(link, SECOND_NS);
	stream->sides[0].options.total_bytes = 1;
	if (strcmp(name, "ESTABLISHED") == 0)
		return;
	if (strcmp(name, "CLOSE-WAIT") == 0 || strcmp(name, "LAST-ACK") == 0) {
		stream->sides[1].options.total_bytes = 0;
		stream_finish(&stream->sides[1]);
		link_wait(link, SECOND_NS);
		if (strcmp(name, "CLOSE-WAIT") == 0)
			return;
	}
	stream->sides[0].options.total_bytes = 0;
	stream_finish(&stream->sides[0]);
	if (strcmp(name, "CLOSING") == 0) {
		stream->sides[1].options.total_bytes = 0;
		stream_finish(&stream->sides[1]);
		link_wait(link, 15 * MILLISECOND_NS);
	} else if (strcmp(name, "FIN-WAIT-2") == 0) {
		link_wait(link, SECOND_NS);
	} else {
		link_wait(link, 5 * MILLISECOND_NS);
	}
}

static void is_aborted_in_every_state(void **state)
{
	static const char *const names[] = {"SYN-SENT",   "ESTABLISHED", "FIN-WAIT-1", "FIN-WAIT-2",
					    "CLOSE-WAIT", "CLOSING",     "LAST-ACK"};
	struct stream stream;
	struct link link;

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		uint64_t other_closed;

		bring_to(&link, &stream, names[i]);
		assert_string_equal(stream_state(&stream.sides[0]), names[i]);
		other_closed = stream.sides[1].is_closed;
		vnic_connection_abort(stream.sides[0].connection);
		assert_true(stream.sides[0].is_closed);
		assert_int_equal(stream.sides[0].code, -ECONNABORTED);
		assert_int_equal(link_counter(&link, 0, VNIC_STACK_CONNECTIONS), 0);
		link_wait(&link, 3 * SECOND_NS);
		assert_false(other_closed);
		if (strcmp(names[i], "SYN-SENT") == 0) {
			/* Its SYN-ACK found nobody. */
			assert_int_equal(stream.accepted, 0);
		} else if (strcmp(names[i], "CLOSING") == 0 || strcmp(names[i], "LAST-ACK") == 0) {
			/* It had our FIN already, and may have had the last ACK. */
			assert_true(stream.sides[1].is_closed);
		} else {
			assert_true(stream.sides[1].is_closed);
			assert_int_equal(stream.sides[1].code, -ECONNRESET);
		}
		link_wait(&link, 3 * SECOND_NS);
		assert_int_equal(link_counter(&link, 1, VNIC_STACK_CONNECTIONS), 0);
		end(&link, &stream);
	}
}

static void resets_handshakes_of_a_listener_that_goes(void **state)
{
	struct stream stream;
	struct link link;

	(void)state;
	begin(&link, &stream);
	stream_begin(&stream, &link, VNIC_IPV4, 1);
	link_wait(&link, 15 * MILLISECOND_NS);
	assert_int_equal(link_counter(&link, 1, VNIC_STACK_HALF_OPEN), 1);
	vnic_listener_close(stream.listener);
	stream.listener = NULL;
	assert_int_equal(link_counter(&link, 1, VNIC_STACK_HALF_OPEN), 0);
	link_wait(&link, SECOND_NS);
	assert_true(stream.sides[0].is_closed);
	assert_int_equal(stream.sides[0].code, -ECONNRESET);
	assert_int_equal(stream.accepted, 0);
	end(&link, &stream);
}

static void fails_after_the_user_timeout(void **state)
{
	struct stream stream;
	struct link link;
	uint64_t begun_ns;

	(void)state;
	begin(&link, &stream);
	stream.sides[0].options.connection.user_timeout_ns = 30 * SECOND_NS;
	stream.sides[0].options.finishes_late = stream.sides[1].options.finishes_late = true;
	stream_begin(&stream, &link, VNIC_IPV4, 1);
	stream_establish(&stream);
	link_wait(&link, 3600 * SECOND_NS);
	assert_states(&stream, "ESTABLISHED", "ESTABLISHED");
	begun_ns = link.now_ns;
	link_darken(&link, begun_ns, 86400 * SECOND_NS);
	stream_offer(&stream.sides[0], 100);
	link_wait(&link, 29 * SECOND_NS);
	assert_false(stream.sides[0].is_closed);
	link_wait(&link, 61 * SECOND_NS);
	assert_true(stream.sides[0].is_closed);
	assert_int_equal(stream.sides[0].code, -ETIMEDOUT);
	assert_true(stream.sides[0].closed_ns - begun_ns >= 30 * SECOND_NS);
	/* The next retransmission after it is the latest. */
	assert_true(stream.sides[0].closed_ns - begun_ns <= 61 * SECOND_NS);
	assert_int_equal(link_counter(&link, 0, VNIC_STACK_TIMED_OUT), 1);
	end(&link, &stream);
}

static void looks_whether_the_other_end_is_alive(void **state)
{
	struct stream stream;
	struct link link;
	uint64_t begun_ns;

	(void)state;
	begin(&link, &stream);
	stream.sides[0].options.connection.keepalive_ns = 60 * SECOND_NS;
	stream.sides[0].options.connection.keepalive_interval_ns = 5 * SECOND_NS;
	stream.sides[0].options.connection.keepalive_probes = 3;
	stream.sides[0].options.finishes_late = stream.sides[1].options.finishes_late = true;
	stream_begin(&stream, &link, VNIC_IPV4, 1);
	stream_establish(&stream);
	link_wait(&link, 59 * SECOND_NS);
	assert_int_equal(link_counter(&link, 0, VNIC_STACK_KEEPALIVES), 0);
	link_wait(&link, 2 * SECOND_NS);
	assert_int_equal(link_counter(&link, 0, VNIC_STACK_KEEPALIVES), 1);
	link_wait(&link, 600 * SECOND_NS);
	assert_in_range(link_counter(&link, 0, VNIC_STACK_KEEPALIVES), 10, 11);
	assert_states(&stream, "ESTABLISHED", "ESTABLISHED");
	/* Now it is gone. */
	begun_ns = link.now_ns;
	link_darken(&link, begun_ns, 86400 * SECOND_NS);
	link_wait(&link, 600 * SECOND_NS);
	assert_true(stream.sides[0].is_closed);
	assert_int_equal(stream.sides[0].code, -ETIMEDOUT);
	assert_true(stream.sides[0].closed_ns <= begun_ns + 60 * SECOND_NS + 3 * 5 * SECOND_NS);
	assert_true(stream.sides[0].closed_ns >= begun_ns + 3 * 5 * SECOND_NS);
	end(&link, &stream);
}

static void sleeps_while_nothing_happens(void **state)
{
	struct stream stream;
	struct link link;
	uint64_t wakeups, sent;

	(void)state;
	establish(&link, &stream);
	stream_offer(&stream.sides[0], 100000);
	stream_offer(&stream.sides[1], 1);
	link_wait(&link, 60 * SECOND_NS);
	assert_true(stream_is_received(&stream));
	assert_true(link_is_idle(&link));
	wakeups = link.ends[0].wakeups + link.ends[1].wakeups;
	sent = link.ends[0].sent + link.ends[1].sent;
	link_wait(&link, 30 * 86400 * SECOND_NS);
	assert_int_equal(link.ends[0].wakeups + link.ends[1].wakeups, wakeups);
	assert_int_equal(link.ends[0].sent + link.ends[1].sent, sent);
	/* And is awake at once afterwards. */
	stream_offer(&stream.sides[1], 100000);
	assert_true(link_wait_until(&link, stream_is_received, &stream, 10 * SECOND_NS));
	stream_finish(&stream.sides[0]);
	stream_finish(&stream.sides[1]);
	stream_complete(&stream, SECOND_NS);
	end(&link, &stream);
}

static void set_time_wait(struct vnic_stack_options *options, unsigned number, void *user)
{
	(void)number, (void)user;
	options->tcp_time_wait_ns = 60 * SECOND_NS;
}

static void waits_before_it_is_forgotten(void **state)
{
	struct stream stream = {0}, again = {0};
	struct link link;

	(void)state;
	link_begin(&link, VNIC_LAYER_IP, 1, set_time_wait, NULL);
	link_impair(&link, &far);
	stream.flow.local_port = again.flow.local_port = 5555;
	stream.sides[1].options.finishes_late = true;
	stream_begin(&stream, &link, VNIC_IPV4, 1);
	assert_true(link_wait_until(&link, stream_is_closed, &stream, SECOND_NS));
	assert_int_equal(stream.sides[0].code, 0);
	link_wait(&link, 58 * SECOND_NS);
	assert_int_equal(link_counter(&link, 0, VNIC_STACK_CONNECTIONS), 1);
	assert_int_equal(link_counter(&link, 1, VNIC_STACK_CONNECTIONS), 0);
	stream_end(&stream);
	link_wait(&link, 3 * SECOND_NS);
	assert_int_equal(link_counter(&link, 0, VNIC_STACK_CONNECTIONS), 0);
	assert_true(link_is_idle(&link));
	/* The same flow once more. */
	again.sides[0].options.total_bytes = 100;
	stream_begin(&again, &link, VNIC_IPV4, 1);
	stream_complete(&again, SECOND_NS);
	end(&link, &again);
}

/* The end that waits gets the next SYN of the same flow (RFC 9293 section 3.10.7.4, RFC 6191). */
static void begins_anew_out_of_time_wait(void **state)
{
	struct stream stream = {0}, again = {0};
	struct link link;

	(void)state;
	for (unsigned no_timestamps = 0; no_timestamps < 2; no_timestamps++) {
		stream = again = (struct stream){0};
		link_begin(&link, VNIC_LAYER_IP, 1, set_time_wait, NULL);
		link_impair(&link, &far);
		stream.flow.local_port = again.flow.local_port = 5555;
		for (unsigned i = 0; i < 2; i++) {
			stream.sides[i].options.connection.no_timestamps = no_timestamps;
			again.sides[i].options.connection.no_timestamps = no_timestamps;
		}
		/* Side 1 closes first. */
		stream.sides[0].options.finishes_late = true;
		stream.sides[0].options.total_bytes = 1000;
		stream_begin(&stream, &link, VNIC_IPV4, 1);
		assert_true(link_wait_until(&link, stream_is_closed, &stream, SECOND_NS));
		link_wait(&link, SECOND_NS);
		assert_int_equal(link_counter(&link, 0, VNIC_STACK_CONNECTIONS), 0);
		assert_int_equal(link_counter(&link, 1, VNIC_STACK_CONNECTIONS), 1);
		stream_end(&stream);
		again.sides[0].options.total_bytes = 1000;
		stream_begin(&again, &link, VNIC_IPV4, 2);
		stream_complete(&again, 10 * SECOND_NS);
		assert_int_equal(link_counter(&link, 0, VNIC_STACK_TIMEOUTS), 0);
		end(&link, &again);
	}
}

static void close_resets_what_still_comes(void **state)
{
	struct stream stream;
	struct link link;

	(void)state;
	/* Nothing comes but the FIN: all in order. */
	establish(&link, &stream);
	stream.sides[0].has_finished = true;
	vnic_connection_close(stream.sides[0].connection);
	stream_complete(&stream, SECOND_NS);
	end(&link, &stream);
	/* Bytes come. */
	establish(&link, &stream);
	stream.sides[1].options.total_bytes = 10;
	stream.sides[0].has_finished = true;
	vnic_connection_close(stream.sides[0].connection);
	link_wait(&link, SECOND_NS);
	assert_states(&stream, "FIN-WAIT-2", "CLOSE-WAIT");
	stream_offer(&stream.sides[1], 0);
	link_wait(&link, SECOND_NS);
	assert_int_equal(stream.sides[1].code, -ECONNRESET);
	assert_true(stream.sides[0].is_closed);
	assert_int_equal(stream.sides[0].received, 0);
	end(&link, &stream);
	/* Nothing comes at all. */
	establish(&link, &stream);
	stream.sides[1].options.total_bytes = 10;
	stream.sides[0].has_finished = true;
	vnic_connection_close(stream.sides[0].connection);
	link_wait(&link, 50 * SECOND_NS);
	assert_states(&stream, "FIN-WAIT-2", "CLOSE-WAIT");
	link_wait(&link, 15 * SECOND_NS);
	assert_true(stream.sides[0].is_closed);
	assert_int_equal(link_counter(&link, 0, VNIC_STACK_CONNECTIONS), 0);
	end(&link, &stream);
}

static void ends_with_its_stack(void **state)
{
	static const char *const names[] = {"SYN-SENT",   "ESTABLISHED", "FIN-WAIT-1", "FIN-WAIT-2",
					    "CLOSE-WAIT", "CLOSING",     "LAST-ACK"};
	struct stream stream;
	struct link link;

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		bring_to(&link, &stream, names[i]);
		stream_end(&stream);
		for (unsigned number = 0; number < 2; number++) {
			struct stream_side *side = &stream.sides[number];
			bool was_open = side->connection != NULL;

			vnic_stack_free(link.ends[number].stack);
			link.ends[number].stack = NULL;
			if (was_open) {
				assert_true(side->is_closed);
				assert_int_equal(side->code, -ECONNABORTED);
			}
		}
		link_end(&link);
	}
}

/* Each call of the user's, and which one aborts. */
static struct {
	struct vnic_connection_operations operations;
	unsigned calls, fatal;
	bool is_closed;
} killer;

static bool kills(struct vnic_connection *connection)
{
	if (killer.calls++ != killer.fatal)
		return false;
	vnic_connection_abort(connection);
	assert_true(killer.is_closed);
	return true;
}

static size_t kill_receive(struct vnic_connection *connection, void *user, const uint8_t *bytes,
			   size_t length)
{
	(void)user, (void)bytes;
	kills(connection);
	return length;
}

static void kill_acked(struct vnic_connection *connection, void *user, uint64_t offset)
{
	(void)user, (void)offset;
	kills(connection);
}

static void kill_event(struct vnic_connection *connection, void *user,
		       enum vnic_connection_event event, int code)
{
	(void)user, (void)code;
	if (event == VNIC_CONNECTION_CLOSED) {
		assert_false(killer.is_closed);
		killer.is_closed = true;
		return;
	}
	if (!kills(connection) && event == VNIC_CONNECTION_FINISHED)
		vnic_connection_finish(connection);
}

static size_t kill_read(struct vnic_connection *connection, void *user, uint64_t offset,
			uint8_t *bytes, size_t length)
{
	(void)connection, (void)user, (void)offset;
	memset(bytes, 7, length);
	return length;
}

static int kill_accept(void *user, struct vnic_connection *connection)
{
	(void)user;
	vnic_connection_set_user(connection, &killer.operations, NULL);
	vnic_connection_offer(connection, 20000);
	kills(connection);
	return 0;
}

/* The server aborts in its n-th callback, whichever that is. */
static void is_aborted_in_every_callback(void **state)
{
	struct vnic_listener_options where = {.port = STREAM_PORT, .accept = kill_accept};
	unsigned calls = UINT32_MAX;

	(void)state;
	killer.operations = (struct vnic_connection_operations){.read = kill_read,
								.acked = kill_acked,
								.receive = kill_receive,
								.event = kill_event};
	for (unsigned fatal = 0; fatal <= calls; fatal++) {
		struct vnic_listener *listener;
		struct vnic_connection *connection;
		struct stream stream;
		struct link link;

		begin(&link, &stream);
		killer.calls = 0;
		killer.fatal = calls == UINT32_MAX ? UINT32_MAX : fatal;
		killer.is_closed = false;
		assert_int_equal(vnic_listener_open(link.ends[1].stack, &where, &listener, NULL),
				 0);
		stream.no_listener = true;
		stream.sides[0].options.total_bytes = 20000;
		stream.sides[0].options.write_bytes = 5000;
		stream.sides[0].options.write_ns = 20 * MILLISECOND_NS;
		stream.sides[1].offered = 0;
		stream_begin(&stream, &link, VNIC_IPV4, 1);
		/* What it receives is no stream's. */
		connection = stream.sides[0].connection;
		{
			static const struct vnic_connection_operations silent = {.read = kill_read};

			vnic_connection_set_user(connection, &silent, NULL);
			vnic_connection_offer(connection, 20000);
			vnic_connection_finish(connection);
			stream.sides[0].connection = NULL;
		}
		link_wait(&link, 10 * SECOND_NS);
		assert_true(killer.is_closed);
		assert_int_equal(link_counter(&link, 1, VNIC_STACK_CONNECTIONS), 0);
		if (calls == UINT32_MAX) {
			calls = killer.calls;
			assert_in_range(calls, 6, 200);
			fatal = UINT32_MAX; /* from 0 on */
		}
		vnic_listener_close(listener);
		end(&link, &stream);
	}
}

static void a_reset_goes_through_at_once(void **state)
{
	struct stream stream;
	struct link link;

	(void)state;
	establish(&link, &stream);
	vnic_connection_abort(stream.sides[0].connection);
	link_wait(&link, 11 * MILLISECOND_NS);
	assert_true(stream.sides[1].is_closed);
	assert_int_equal(stream.sides[1].code, -ECONNRESET);
	assert_int_equal(link_counter(&link, 1, VNIC_STACK_ABORTED), 1);
	assert_int_equal(link_counter(&link, 0, VNIC_STACK_ABORTED), 1);
	end(&link, &stream);
}

struct sizes {
	unsigned from, longest;
	uint64_t after_ns;
};

static bool note_size(void *user, const struct link_segment *segment)
{
	struct sizes *sizes = user;

	if (segment->from == sizes->from && segment->at_ns >= sizes->after_ns &&
	    segment->ip_bytes > sizes->longest)
		sizes->longest = (unsigned)segment->ip_bytes;
	return true;
}

/* A router on the way begins to take less (RFC 1191, RFC 8201). */
static void the_path_gets_narrower(void **state)
{
	static const unsigned mtus[] = {1492, 1400, 1280, 576, 296};
	struct stream stream;
	struct link link;

	(void)state;
	for (unsigned i = 0; i < 2 * sizeof(mtus) / sizeof(mtus[0]); i++) {
		enum vnic_family family = i & 1 ? VNIC_IPV6 : VNIC_IPV4;
		unsigned mtu = mtus[i / 2];
		struct sizes sizes = {.from = 0};

		if (family == VNIC_IPV6 && mtu < 1280)
			continue;
		begin(&link, &stream);
		link.ends[0].out.rate_bits = 10000000;
		stream.sides[0].options.total_bytes = 2000000;
		stream.sides[1].options.connection.window_bytes = 65535;
		stream_begin(&stream, &link, family, 1);
		link_wait(&link, 300 * MILLISECOND_NS);
		assert_in_range(stream.sides[1].received, 1, 500000);
		link.ends[0].out.mtu_bytes = mtu;
		link.watch = note_size;
		link.watch_user = &sizes;
		/* All that is on its way to the router gets there first. */
		sizes.after_ns = link.now_ns + 500 * MILLISECOND_NS;
		stream_complete(&stream, 60 * SECOND_NS);
		/* Below 552 bytes routers have to fragment. */
		assert_in_range(sizes.longest, mtu - 8, mtu < 552 ? 552 : mtu);
		assert_true(link_counter(&link, 0, VNIC_STACK_NOTICES) >= 1);
		/* The errors say it all: nothing had to be waited for. */
		assert_int_equal(link_counter(&link, 0, VNIC_STACK_TIMEOUTS), 0);
		end(&link, &stream);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(begins_and_ends),
		cmocka_unit_test(opens_at_once),
		cmocka_unit_test(closes_at_once),
		cmocka_unit_test(closes_by_halves),
		cmocka_unit_test(loses_each_packet),
		cmocka_unit_test(is_refused),
		cmocka_unit_test(nobody_is_there),
		cmocka_unit_test(gives_up_without_an_answer),
		cmocka_unit_test(is_aborted_in_every_state),
		cmocka_unit_test(resets_handshakes_of_a_listener_that_goes),
		cmocka_unit_test(fails_after_the_user_timeout),
		cmocka_unit_test(looks_whether_the_other_end_is_alive),
		cmocka_unit_test(sleeps_while_nothing_happens),
		cmocka_unit_test(waits_before_it_is_forgotten),
		cmocka_unit_test(begins_anew_out_of_time_wait),
		cmocka_unit_test(close_resets_what_still_comes),
		cmocka_unit_test(ends_with_its_stack),
		cmocka_unit_test(is_aborted_in_every_callback),
		cmocka_unit_test(a_reset_goes_through_at_once),
		cmocka_unit_test(the_path_gets_narrower),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
