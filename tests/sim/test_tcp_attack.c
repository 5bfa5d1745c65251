/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * What strangers send, who know or guess the addresses and ports of a connection but not where it is: resets,
 * SYNs and data (RFC 5961), old segments (RFC 7323 section 5), ICMP errors (RFC 5927), and SYNs in floods (RFC
 * 4987). Nothing of it may end or change a connection, or make anything grow without a bound.
 */
#include <errno.h>

#include "base/bytes.h"
#include "stack/tcp.h"
#include "talk.h"

#define SYN VNIC_TCP_SYN
#define ACK VNIC_TCP_ACK
#define FIN VNIC_TCP_FIN
#define RST VNIC_TCP_RST

static void assert_sent(struct talk *talk, const char *counter, const char *expected)
{
	(void)talk;
	if (strcmp(counter, expected) != 0)
		fail_msg("the segment ended in %s, not in %s", counter, expected);
}

static void establish(struct talk *talk)
{
	talk_init(talk);
	talk_begin(talk);
	talk_handshake(talk);
	talk_wait(talk, SECOND_NS);
	talk_expect_nothing(talk);
}

static void resets_must_be_exact(void **state)
{
	static const int64_t offsets[] = {-100000, -1, 1, 1000, 65534, 65535, 65536, 100000};
	struct talk talk;

	(void)state;
	establish(&talk);
	for (size_t i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
		bool is_inside = offsets[i] > 0 && offsets[i] <= 65535;

		assert_sent(&talk, talk_send(&talk, RST, offsets[i], 0, 0), "drop_sequence");
		assert_string_equal(talk_state(&talk), "ESTABLISHED");
		/* Who really sent it answers the challenge with a reset that is exact. */
		if (is_inside)
			talk_expect(&talk, ACK, 0, 0, 0);
		talk_expect_nothing(&talk);
		talk_wait(&talk, SECOND_NS);
	}
	assert_sent(&talk, talk_send(&talk, RST, 0, 0, 0), "segments");
	assert_true(talk.is_closed);
	assert_int_equal(talk.code, -ECONNRESET);
	talk_expect_nothing(&talk);
	assert_int_equal(peer_counter(&talk.peer, VNIC_STACK_CONNECTIONS), 0);
	talk_end(&talk);
}

static void resets_of_what_is_not_open_yet(void **state)
{
	struct talk talk;

	(void)state;
	/* SYN-SENT: only one that acknowledges the SYN counts (RFC 9293 section 3.10.7.3). */
	talk_init(&talk);
	talk_connect(&talk);
	talk_segment(&talk, 0);
	peer_clear(&talk.peer);
	assert_sent(&talk, talk_send(&talk, RST, 0, 0, 0), "drop_sequence");
	talk_send(&talk, RST | ACK, 0, 1, 0);
	talk_send(&talk, RST | ACK, 0, -1, 0);
	assert_string_equal(talk_state(&talk), "SYN-SENT");
	talk_expect_nothing(&talk);
	assert_sent(&talk, talk_send(&talk, RST | ACK, 0, 0, 0), "segments");
	assert_int_equal(talk.code, -ECONNREFUSED);
	talk_end(&talk);
	/* SYN-RECEIVED */
	talk_init(&talk);
	talk_begin(&talk);
	talk_send(&talk, SYN, -1, 0, 0);
	talk_expect(&talk, SYN | ACK, -1, 0, 0);
	assert_sent(&talk, talk_send(&talk, RST, 5, 0, 0), "drop_sequence");
	assert_int_equal(peer_counter(&talk.peer, VNIC_STACK_HALF_OPEN), 1);
	peer_clear(&talk.peer);
	talk_send(&talk, RST, 0, 0, 0);
	assert_int_equal(peer_counter(&talk.peer, VNIC_STACK_HALF_OPEN), 0);
	assert_int_equal(peer_counter(&talk.peer, VNIC_STACK_CONNECTIONS), 0);
	assert_int_equal(talk.accepted, 0);
	talk_expect_nothing(&talk);
	talk_end(&talk);
}

/* Side by side with the other states: a reset there ends it, whatever it was waiting for. */
static void resets_in_every_state(void **state)
{
	struct talk talk;

	(void)state;
	for (unsigned i = 0; i < 5; i++) {
		static const char *const names[] = {"FIN-WAIT-1", "FIN-WAIT-2", "CLOSE-WAIT",
						    "LAST-ACK", "CLOSING"};
		int64_t next = i == 2 || i == 3 || i == 4;

		establish(&talk);
		if (i == 2 || i == 3)
			talk_send(&talk, FIN | ACK, 0, 0, 0);
		if (i != 2) {
			vnic_connection_finish(talk.connection);
			talk_wait(&talk, 0);
		}
		if (i == 4)
			talk_send(&talk, FIN | ACK, 0, 0, 0);
		if (i == 1)
			talk_send(&talk, ACK, 0, 1, 0);
		assert_string_equal(talk_state(&talk), names[i]);
		assert_int_equal(talk.is_finished, i >= 2);
		talk_wait(&talk, 50 * MILLISECOND_NS);
		peer_clear(&talk.peer);
		assert_sent(&talk, talk_send(&talk, RST, next + 1, 0, 0), "drop_sequence");
		assert_string_equal(talk_state(&talk), names[i]);
		peer_clear(&talk.peer);
		assert_sent(&talk, talk_send(&talk, RST, next, 0, 0), "segments");
		assert_true(talk.is_closed);
		assert_int_equal(talk.code, -ECONNRESET);
		talk_expect_nothing(&talk);
		talk_end(&talk);
	}
}

/* RFC 1337: TIME-WAIT is not cut short by a reset, and answers a FIN that comes again. */
static void time_wait_is_not_assassinated(void **state)
{
	struct talk talk;

	(void)state;
	establish(&talk);
	vnic_connection_finish(talk.connection);
	talk_wait(&talk, 0);
	talk_expect(&talk, FIN | ACK, 0, 0, 0);
	talk_send(&talk, FIN | ACK, 0, 1, 0);
	talk_expect(&talk, ACK, 1, 1, 0);
	assert_true(talk.is_closed);
	assert_int_equal(talk.code, 0);
	talk_send(&talk, RST, 1, 1, 0);
	talk_wait(&talk, SECOND_NS);
	assert_int_equal(peer_counter(&talk.peer, VNIC_STACK_CONNECTIONS), 1);
	talk_send(&talk, FIN | ACK, 0, 1, 0);
	talk_expect(&talk, ACK, 1, 1, 0);
	/* From there it waits anew. */
	talk_wait(&talk, 1900 * MILLISECOND_NS);
	assert_int_equal(peer_counter(&talk.peer, VNIC_STACK_CONNECTIONS), 1);
	talk_wait(&talk, 200 * MILLISECOND_NS);
	assert_int_equal(peer_counter(&talk.peer, VNIC_STACK_CONNECTIONS), 0);
	talk_end(&talk);
}

static void syns_are_challenged(void **state)
{
	static const int64_t offsets[] = {-100000, -1, 0, 1, 1000, 100000};
	struct talk talk;

	(void)state;
	establish(&talk);
	for (size_t i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
		for (unsigned with_ack = 0; with_ack < 2; with_ack++) {
			assert_sent(&talk,
				    talk_send(&talk, with_ack ? SYN | ACK : SYN, offsets[i], 0, 0),
				    "drop_sequence");
			talk_expect(&talk, ACK, 0, 0, 0);
			assert_string_equal(talk_state(&talk), "ESTABLISHED");
			talk_wait(&talk, SECOND_NS);
		}
	}
	assert_int_equal(peer_counter(&talk.peer, VNIC_STACK_CHALLENGES), 12);
	talk_end(&talk);
}

/* RFC 5961 section 7: a flood is not answered by one. */
static void challenges_are_bounded(void **state)
{
	struct talk talk;

	(void)state;
	establish(&talk);
	for (unsigned i = 0; i < 10000; i++) {
		talk_send(&talk,
			  i % 3 == 0   ? SYN
			  : i % 3 == 1 ? RST
				       : ACK,
			  5 + i, i % 3 == 2 ? 100000 : 0, 0);
		talk.peer.now_ns += 10000;
	}
	/* In 100 ms */
	assert_in_range(peer_counter(&talk.peer, VNIC_STACK_CHALLENGES), 1, 100);
	assert_int_equal(talk_count(&talk), peer_counter(&talk.peer, VNIC_STACK_CHALLENGES));
	assert_string_equal(talk_state(&talk), "ESTABLISHED");
	assert_int_equal(talk.received_bytes, 0);
	talk_end(&talk);
}

static void data_needs_a_credible_acknowledgment(void **state)
{
	/* What was never sent, and what is older than any window. */
	static const int64_t acks[] = {1, 1000, 1000000, -32770, -1000000};
	struct talk talk;

	(void)state;
	establish(&talk);
	for (size_t i = 0; i < sizeof(acks) / sizeof(acks[0]); i++) {
		assert_sent(&talk, talk_send(&talk, ACK, 0, acks[i], 100), "drop_sequence");
		assert_int_equal(talk.received_bytes, 0);
		talk_expect(&talk, ACK, 0, 0, 0);
		talk_wait(&talk, SECOND_NS);
	}
	/* Without ACK nothing is taken. */
	assert_sent(&talk, talk_send(&talk, 0, 0, 0, 100), "drop_unwanted");
	assert_sent(&talk, talk_send(&talk, FIN, 0, 0, 100), "drop_unwanted");
	assert_int_equal(talk.received_bytes, 0);
	assert_sent(&talk, talk_send(&talk, ACK, 0, 0, 100), "segments");
	assert_int_equal(talk.received_bytes, 100);
	talk_end(&talk);
}

static void data_outside_of_the_window_is_not_taken(void **state)
{
	struct talk talk;

	(void)state;
	establish(&talk);
	assert_sent(&talk, talk_send(&talk, ACK, 65535, 0, 100), "drop_sequence");
	talk_expect(&talk, ACK, 0, 0, 0);
	talk_wait(&talk, SECOND_NS);
	assert_sent(&talk, talk_send(&talk, ACK, -100, 0, 100), "drop_sequence");
	talk_expect(&talk, ACK, 0, 0, 0);
	/* Half of it old. */
	assert_sent(&talk, talk_send(&talk, ACK, -50, 0, 100), "segments");
	assert_int_equal(talk.received_bytes, 50);
	talk_expect(&talk, ACK, 0, 50, 0);
	/* What was taken does not change, whatever comes in its place. */
	talk_send(&talk, ACK, 0, 0, 60);
	assert_int_equal(talk.received_bytes, 60);
	assert_int_equal(talk.received[0], peer_data(50));
	assert_int_equal(talk.received[50], peer_data(50));
	talk_end(&talk);
}

static void establish_with_timestamps(struct talk *talk)
{
	talk_init(talk);
	talk->timestamps = true;
	talk_begin(talk);
	talk_handshake(talk);
}

static void old_timestamps_are_refused(void **state)
{
	struct talk_segment segment;
	struct talk talk;

	(void)state;
	establish_with_timestamps(&talk);
	talk.timestamp = 2000;
	assert_sent(&talk, talk_send(&talk, ACK, 0, 0, 10), "segments");
	segment = talk_expect(&talk, ACK, 0, 10, 0);
	assert_true(segment.has_timestamps);
	assert_int_equal(segment.timestamp_echo, 2000);
	talk_wait(&talk, SECOND_NS);
	talk.timestamp = 1999;
	assert_sent(&talk, talk_send(&talk, ACK, 10, 0, 10), "drop_timestamp");
	segment = talk_expect(&talk, ACK, 0, 10, 0);
	assert_int_equal(segment.timestamp_echo, 2000);
	assert_int_equal(talk.received_bytes, 10);
	talk_wait(&talk, SECOND_NS);
	/* Without one it is refused as well (RFC 7323 section 3.2), but a reset needs none. */
	talk.timestamps = false;
	assert_sent(&talk, talk_send(&talk, ACK, 10, 0, 10), "drop_timestamp");
	assert_int_equal(talk.received_bytes, 10);
	talk_wait(&talk, SECOND_NS);
	peer_clear(&talk.peer);
	/* Half of the numbers are newer. */
	talk.timestamps = true;
	talk.timestamp = 2000 + UINT32_C(0x7fffffff);
	assert_sent(&talk, talk_send(&talk, ACK, 10, 0, 10), "segments");
	assert_int_equal(talk.received_bytes, 20);
	talk.timestamp = 1;
	talk_send(&talk, RST, 20, 0, 0);
	assert_true(talk.is_closed);
	talk_end(&talk);
}

/* RFC 7323 section 5.5: after 24 days its clock may have gone round. */
static void a_timestamp_ages(void **state)
{
	struct talk talk;

	(void)state;
	establish_with_timestamps(&talk);
	talk_wait(&talk, 23 * 86400 * SECOND_NS);
	talk.timestamp = 500;
	assert_sent(&talk, talk_send(&talk, ACK, 0, 0, 10), "drop_timestamp");
	talk_wait(&talk, 2 * 86400 * SECOND_NS);
	assert_sent(&talk, talk_send(&talk, ACK, 0, 0, 10), "segments");
	assert_int_equal(talk.received_bytes, 10);
	talk_end(&talk);
}

static void icmp_errors_end_no_connection(void **state)
{
	static const uint8_t codes[] = {0, 1, 2, 3, 5, 9, 10, 13};
	struct talk talk;

	(void)state;
	establish(&talk);
	vnic_connection_offer(talk.connection, 500);
	talk_wait(&talk, 0);
	talk_expect(&talk, ACK | VNIC_TCP_PSH, 0, 0, 500);
	for (size_t i = 0; i < sizeof(codes); i++) {
		/* About something in flight: believed, but no reason to give up. */
		assert_sent(&talk, talk_send_error(&talk, VNIC_ICMP_UNREACHABLE, codes[i], 0, 0),
			    "notices");
		/* About something that is not. */
		assert_sent(&talk, talk_send_error(&talk, VNIC_ICMP_UNREACHABLE, codes[i], 0, 500),
			    "drop_notice");
		assert_sent(&talk, talk_send_error(&talk, VNIC_ICMP_UNREACHABLE, codes[i], 0, -1),
			    "drop_notice");
		assert_string_equal(talk_state(&talk), "ESTABLISHED");
	}
	/* A source quench slows nobody down (RFC 6633). */
	talk_send_error(&talk, 4, 0, 0, 0);
	assert_string_equal(talk_state(&talk), "ESTABLISHED");
	talk_send(&talk, ACK, 0, 500, 0);
	assert_int_equal(talk.acked, 500);
	talk_end(&talk);
}

static void icmp_errors_end_a_handshake(void **state)
{
	static const struct {
		uint8_t code;
		int errno_code;
	} rows[] = {{0, -ENETUNREACH},
		    {1, -EHOSTUNREACH},
		    {2, -EPROTO},
		    {3, -ECONNREFUSED},
		    {13, -EACCES}};
	struct talk talk;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		talk_init(&talk);
		talk_connect(&talk);
		talk_segment(&talk, 0);
		assert_sent(&talk,
			    talk_send_error(&talk, VNIC_ICMP_UNREACHABLE, rows[i].code, 0, 77),
			    "drop_notice");
		assert_sent(&talk,
			    talk_send_error(&talk, VNIC_ICMP_UNREACHABLE, rows[i].code, 0, -1),
			    "notices");
		assert_true(talk.is_closed);
		assert_int_equal(talk.code, rows[i].errno_code);
		talk_end(&talk);
	}
}

/* And what ICMP said last is why it failed, when it fails for want of an answer. */
static void an_icmp_error_is_the_reason_in_the_end(void **state)
{
	struct talk talk;

	(void)state;
	establish(&talk);
	vnic_connection_offer(talk.connection, 500);
	talk_wait(&talk, 0);
	talk_send_error(&talk, VNIC_ICMP_UNREACHABLE, 1, 0, 0);
	talk_wait(&talk, 300 * SECOND_NS);
	assert_true(talk.is_closed);
	assert_int_equal(talk.code, -EHOSTUNREACH);
	talk_end(&talk);
}

static void a_smaller_mtu_must_be_about_something_sent(void **state)
{
	struct vnic_connection_info info;
	struct talk talk;

	(void)state;
	establish(&talk);
	vnic_connection_offer(talk.connection, 3000);
	talk_wait(&talk, 0);
	assert_int_equal(talk_count(&talk), 3);
	peer_clear(&talk.peer);
	assert_sent(&talk, talk_send_error(&talk, VNIC_ICMP_UNREACHABLE, 4, 600, 3000),
		    "drop_notice");
	talk_expect_nothing(&talk);
	vnic_connection_query(talk.connection, &info);
	assert_int_equal(info.segment_bytes, 1000);
	/* A larger one than what we send is none. */
	talk_send_error(&talk, VNIC_ICMP_UNREACHABLE, 4, 1400, 0);
	vnic_connection_query(talk.connection, &info);
	assert_int_equal(info.segment_bytes, 1000);
	talk_expect_nothing(&talk);
	assert_sent(&talk, talk_send_error(&talk, VNIC_ICMP_UNREACHABLE, 4, 600, 0), "notices");
	vnic_connection_query(talk.connection, &info);
	assert_int_equal(info.segment_bytes, 560);
	assert_true(talk_count(&talk) >= 1); /* sent again in smaller pieces, at once */
	assert_int_equal(talk_segment(&talk, 0).sequence, 0);
	assert_int_equal(talk_segment(&talk, 0).payload_bytes, 560);
	peer_clear(&talk.peer);
	/* Nobody has us send packets with next to nothing in them. */
	talk_send_error(&talk, VNIC_ICMP_UNREACHABLE, 4, 1, 0);
	vnic_connection_query(talk.connection, &info);
	assert_true(info.segment_bytes >= 88);
	talk_end(&talk);
}

static void send_syn_from(struct talk *talk, uint16_t port)
{
	talk->remote_port = port;
	talk_send(talk, SYN, -1, 0, 0);
}

static void a_flood_of_syns_is_answered_with_cookies(void **state)
{
	struct talk_segment answer;
	struct talk talk;
	uint64_t cookies;

	(void)state;
	for (unsigned timestamps = 0; timestamps < 2; timestamps++) {
		struct vnic_connection_info info;

		talk_init(&talk);
		talk.timestamps = talk.sack = timestamps;
		talk.scale = timestamps ? 5 : 0xff;
		talk.mss = 1460;
		talk_begin(&talk);
		for (unsigned i = 0; i < 20000; i++) {
			send_syn_from(&talk, (uint16_t)(1024 + i));
			assert_int_equal(talk_count(&talk), 1);
			peer_clear(&talk.peer);
			assert_in_range(peer_counter(&talk.peer, VNIC_STACK_CONNECTIONS), 0, 4);
		}
		assert_int_equal(peer_counter(&talk.peer, VNIC_STACK_HALF_OPEN), 4);
		cookies = peer_counter(&talk.peer, VNIC_STACK_COOKIES_SENT);
		assert_int_equal(cookies, 20000 - 4);
		/* Somebody who means it, in the middle of it. */
		send_syn_from(&talk, 60000);
		answer = talk_expect(&talk, SYN | ACK, -1, 0, 0);
		assert_int_equal(answer.has_timestamps, timestamps);
		assert_int_equal(peer_counter(&talk.peer, VNIC_STACK_CONNECTIONS), 4);
		talk_wait(&talk, SECOND_NS);
		peer_clear(&talk.peer); /* SYN-ACKs of the 4 */
		talk_send(&talk, ACK, 0, 0, 0);
		assert_int_equal(talk.accepted, 1);
		assert_int_equal(peer_counter(&talk.peer, VNIC_STACK_COOKIES_ACCEPTED), 1);
		vnic_connection_query(talk.connection, &info);
		assert_int_equal(info.has_sack, timestamps);
		assert_int_equal(info.has_timestamps, timestamps);
		assert_int_equal(info.has_window_scale, timestamps);
		assert_int_equal(info.segment_bytes, 1460 - (timestamps ? 12 : 0));
		assert_int_equal(info.send_window_bytes, timestamps ? 32768u << 5 : 32768u);
		talk_send(&talk, ACK, 0, 0, 10);
		assert_int_equal(talk.received_bytes, 10);
		/* Nothing is left of the others after their time. */
		talk_wait(&talk, 300 * SECOND_NS);
		assert_int_equal(peer_counter(&talk.peer, VNIC_STACK_HALF_OPEN), 0);
		assert_int_equal(peer_counter(&talk.peer, VNIC_STACK_CONNECTIONS), 1);
		talk_end(&talk);
	}
}

static void cookies_cannot_be_guessed(void **state)
{
	struct talk talk;
	uint64_t random = 1;

	(void)state;
	talk_init(&talk);
	talk_begin(&talk);
	/* Where none were sent none are accepted. */
	for (unsigned i = 0; i < 1000; i++) {
		talk.irs = (uint32_t)peer_random(&random);
		talk_send(&talk, ACK, 0, 0, 10);
	}
	for (unsigned i = 0; i < 100; i++)
		send_syn_from(&talk, (uint16_t)(1024 + i));
	assert_true(peer_counter(&talk.peer, VNIC_STACK_COOKIES_SENT) > 0);
	peer_clear(&talk.peer);
	for (unsigned i = 0; i < 10000; i++) {
		talk.irs = (uint32_t)peer_random(&random);
		talk_send(&talk, ACK, 0, 0, 10);
	}
	assert_int_equal(talk.accepted, 0);
	assert_int_equal(peer_counter(&talk.peer, VNIC_STACK_COOKIES_ACCEPTED), 0);
	/* Resets are limited in their rate, as all errors. */
	assert_in_range(peer_counter(&talk.peer, VNIC_STACK_RESETS), 1, 200);
	talk_end(&talk);
}

static void a_cookie_is_for_its_flow_and_time(void **state)
{
	struct talk_segment answer;
	struct talk talk;

	(void)state;
	talk_init(&talk);
	talk_begin(&talk);
	for (unsigned i = 0; i < 100; i++)
		send_syn_from(&talk, (uint16_t)(1024 + i));
	peer_clear(&talk.peer);
	send_syn_from(&talk, 50000);
	answer = talk_expect(&talk, SYN | ACK, -1, 0, 0);
	talk.remote_port = 50001;
	talk_send(&talk, ACK, 0, 0, 0); /* another flow */
	talk.remote_port = 50000;
	talk.iss++;
	talk_send(&talk, ACK, 0, 0, 0); /* another sequence number */
	talk.iss--;
	talk.irs = answer.tcp.sequence + (1u << 27);
	talk_send(&talk, ACK, 0, 0, 0); /* another time */
	talk.irs = answer.tcp.sequence;
	assert_int_equal(talk.accepted, 0);
	talk_wait(&talk, 600 * SECOND_NS);
	talk_send(&talk, ACK, 0, 0, 0); /* too late */
	assert_int_equal(talk.accepted, 0);
	talk_end(&talk);
}

static void few_connections(struct vnic_stack_options *options)
{
	options->plain = true;
	options->tcp_connections = 8;
}

static void connections_are_bounded(void **state)
{
	struct vnic_connection_options none = {0};
	struct talk talk;

	(void)state;
	talk_init(&talk);
	peer_end(&talk.peer);
	peer_begin(&talk.peer, VNIC_LAYER_IP, few_connections);
	talk.options = none;
	talk_begin(&talk);
	for (unsigned i = 0; i < 1000; i++) {
		send_syn_from(&talk, (uint16_t)(1024 + i));
		if (talk_count(&talk) > 0) {
			talk_segment(&talk, 0);
			peer_clear(&talk.peer);
			talk_send(&talk, ACK, 0, 0, 0);
		}
		assert_in_range(peer_counter(&talk.peer, VNIC_STACK_CONNECTIONS), 0, 8);
		peer_clear(&talk.peer);
	}
	assert_int_equal(talk.accepted, 8);
	assert_int_equal(peer_counter(&talk.peer, VNIC_STACK_CONNECTIONS), 8);
	talk_end(&talk);
}

static void syn_received_answers_again(void **state)
{
	struct talk_segment segment;
	struct talk talk;

	(void)state;
	talk_init(&talk);
	talk_begin(&talk);
	talk_send(&talk, SYN, -1, 0, 0);
	talk_expect(&talk, SYN | ACK, -1, 0, 0);
	talk_wait(&talk, 100 * MILLISECOND_NS);
	talk_send(&talk, SYN, -1, 0, 0); /* the same once more: our answer was lost */
	talk_expect(&talk, SYN | ACK, -1, 0, 0);
	/* An acknowledgment of something else is reset (RFC 9293 section 3.10.7.4). */
	talk_send(&talk, ACK, 0, 7, 0);
	segment = talk_expect(&talk, RST, 7, 0, 0);
	assert_int_equal(segment.tcp.window, 0);
	assert_int_equal(peer_counter(&talk.peer, VNIC_STACK_HALF_OPEN), 1);
	talk_send(&talk, ACK, 0, 0, 0);
	assert_int_equal(talk.accepted, 1);
	assert_int_equal(peer_counter(&talk.peer, VNIC_STACK_HALF_OPEN), 0);
	talk_end(&talk);
}

/* Whoever SACKs every other byte has us remember so many pieces, and no more. */
static void sacks_cut_into_so_many_pieces(void **state)
{
	struct vn_pool *sent;
	struct talk talk;

	(void)state;
	talk_init(&talk);
	talk.sack = true;
	talk_begin(&talk);
	talk_handshake(&talk);
	sent = &talk.peer.stack->tcp->sent;
	vnic_connection_offer(talk.connection, 12000);
	talk_wait(&talk, 0);
	for (uint32_t at = 1; at < 12000; at += 2) {
		struct vnic_tcp tcp = {
			.source_port = talk.remote_port,
			.destination_port = talk.local_port,
			.sequence = talk.iss + 1,
			.acknowledgment = talk.irs + 1,
			.flags = ACK,
			.window = talk.window,
			.options = {VNIC_TCP_OPTION_NOP, VNIC_TCP_OPTION_NOP, VNIC_TCP_OPTION_SACK,
				    10},
			.options_bytes = 12,
		};

		vn_store32(tcp.options + 4, talk.irs + 1 + at);
		vn_store32(tcp.options + 8, talk.irs + 1 + at + 1);
		talk_send_raw(&talk, &tcp, 0);
		peer_clear(&talk.peer);
		assert_in_range(sent->in_use, 1, VN_TCP_FLIGHT_RANGES + 20);
	}
	assert_in_range(sent->in_use, VN_TCP_FLIGHT_RANGES, VN_TCP_FLIGHT_RANGES + 20);
	assert_in_range(peer_counter(&talk.peer, VNIC_STACK_SACKS_REFUSED), 1000, 6000);
	assert_string_equal(talk_state(&talk), "ESTABLISHED");
	/* It goes on where the rest is acknowledged. */
	talk_send(&talk, ACK, 0, 12000, 0);
	assert_int_equal(talk.acked, 12000);
	assert_int_equal(sent->in_use, 0);
	talk_end(&talk);
}

/* Nobody can write into memory, or make us send, with fields that make no sense. */
static void random_segments_do_no_harm(void **state)
{
	uint64_t random = 42;
	struct talk talk;

	(void)state;
	for (unsigned round = 0; round < 200; round++) {
		talk_init(&talk);
		talk.timestamps = round & 1;
		talk.sack = round & 2;
		talk_begin(&talk);
		talk_handshake(&talk);
		vnic_connection_offer(talk.connection, 20000);
		talk_wait(&talk, 0);
		for (unsigned i = 0; i < 100; i++) {
			struct vnic_tcp tcp = {
				.source_port = talk.remote_port,
				.destination_port = talk.local_port,
				.sequence = talk.iss + 1 + (uint32_t)(peer_random(&random) % 5000),
				.acknowledgment =
					talk.irs + 1 + (uint32_t)(peer_random(&random) % 25000),
				.flags = (uint8_t)(peer_random(&random) & peer_random(&random)) |
					 (peer_random(&random) % 8 ? ACK : 0),
				.window = (uint16_t)peer_random(&random),
				.urgent = (uint16_t)peer_random(&random),
				.options_bytes = (uint8_t)(peer_random(&random) % 11 * 4),
			};

			if (peer_random(&random) % 16)
				tcp.flags &= (uint8_t) ~(RST | SYN);
			for (unsigned at = 0; at < tcp.options_bytes; at++)
				tcp.options[at] = (uint8_t)(peer_random(&random) % 12);
			talk_send_raw(&talk, &tcp, peer_random(&random) % 3 * 700);
			talk_wait(&talk, peer_random(&random) % 100 * MILLISECOND_NS);
			peer_clear(&talk.peer);
		}
		talk_end(&talk);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(resets_must_be_exact),
		cmocka_unit_test(resets_of_what_is_not_open_yet),
		cmocka_unit_test(resets_in_every_state),
		cmocka_unit_test(time_wait_is_not_assassinated),
		cmocka_unit_test(syns_are_challenged),
		cmocka_unit_test(challenges_are_bounded),
		cmocka_unit_test(data_needs_a_credible_acknowledgment),
		cmocka_unit_test(data_outside_of_the_window_is_not_taken),
		cmocka_unit_test(old_timestamps_are_refused),
		cmocka_unit_test(a_timestamp_ages),
		cmocka_unit_test(icmp_errors_end_no_connection),
		cmocka_unit_test(icmp_errors_end_a_handshake),
		cmocka_unit_test(an_icmp_error_is_the_reason_in_the_end),
		cmocka_unit_test(a_smaller_mtu_must_be_about_something_sent),
		cmocka_unit_test(a_flood_of_syns_is_answered_with_cookies),
		cmocka_unit_test(cookies_cannot_be_guessed),
		cmocka_unit_test(a_cookie_is_for_its_flow_and_time),
		cmocka_unit_test(connections_are_bounded),
		cmocka_unit_test(syn_received_answers_again),
		cmocka_unit_test(sacks_cut_into_so_many_pieces),
		cmocka_unit_test(random_segments_do_no_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
