/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * When a connection sends what: windows that are small, closed or opened again, small writes (Nagle), ACKs that
 * are delayed, duplicates, SACKs, losses and marks, segment by segment.
 */
#include <errno.h>

#include "talk.h"

#define SYN VNIC_TCP_SYN
#define ACK VNIC_TCP_ACK
#define FIN VNIC_TCP_FIN
#define PSH VNIC_TCP_PSH
#define ECE VNIC_TCP_ECE
#define CWR VNIC_TCP_CWR

static void begin(struct talk *talk)
{
	talk_begin(talk);
	talk_handshake(talk);
	talk_wait(talk, SECOND_NS);
	talk_expect_nothing(talk);
}

static void establish(struct talk *talk)
{
	talk_init(talk);
	begin(talk);
}

static void offer(struct talk *talk, uint64_t end_offset)
{
	vnic_connection_offer(talk->connection, end_offset);
	talk_wait(talk, 0);
}

static struct vnic_connection_info info_of(const struct talk *talk)
{
	struct vnic_connection_info info;

	vnic_connection_query(talk->connection, &info);
	return info;
}

/* The first ACKs of a connection are not delayed, so that the other end's slow start is not. */
static void receive_quickly(struct talk *talk, unsigned segments)
{
	for (unsigned i = 0; i < segments; i++) {
		talk_send(talk, ACK, (int64_t)talk->received_bytes, 0, 100);
		talk_wait(talk, SECOND_NS);
		talk_expect(talk, ACK, 0, (int64_t)talk->received_bytes, 0);
	}
}

static void acks_are_delayed(void **state)
{
	uint64_t begun_ns;
	struct talk talk;
	int64_t next;

	(void)state;
	establish(&talk);
	receive_quickly(&talk, 20);
	next = (int64_t)talk.received_bytes;
	/* One small segment: not at once, but within 0.5 s (RFC 9293 section 3.8.6.3). */
	begun_ns = talk.peer.now_ns;
	talk_send(&talk, ACK, next, 0, 100);
	talk_expect_nothing(&talk);
	talk_wait(&talk, 499 * MILLISECOND_NS);
	assert_in_range(talk_segment(&talk, 0).at_ns - begun_ns, 1, 499 * MILLISECOND_NS);
	talk_expect(&talk, ACK, 0, next + 100, 0);
	/* Two full ones: at once, for both. */
	talk_send(&talk, ACK, next + 100, 0, 1000);
	talk_send(&talk, ACK, next + 1100, 0, 1000);
	talk_expect(&talk, ACK, 0, next + 2100, 0);
	/* With something to send it goes with that. */
	talk_send(&talk, ACK, next + 2100, 0, 100);
	talk_expect_nothing(&talk);
	offer(&talk, 10);
	talk_expect(&talk, ACK | PSH, 0, next + 2200, 10);
	talk_wait(&talk, 40 * MILLISECOND_NS);
	talk_expect_nothing(&talk);
	talk_end(&talk);
}

static void acks_are_not_delayed_where_not_wanted(void **state)
{
	struct talk talk;

	(void)state;
	talk_init(&talk);
	talk.options.no_delayed_ack = true;
	begin(&talk);
	for (int64_t i = 0; i < 50; i++) {
		talk_send(&talk, ACK, i, 0, 1);
		talk_expect(&talk, ACK, 0, i + 1, 0);
	}
	talk_end(&talk);
}

static void small_writes_wait_for_each_other(void **state)
{
	struct talk talk;

	(void)state;
	establish(&talk);
	offer(&talk, 10);
	talk_expect(&talk, ACK | PSH, 0, 0, 10);
	for (unsigned i = 1; i < 50; i++)
		offer(&talk, 10 + i * 10);
	talk_expect_nothing(&talk);
	talk_send(&talk, ACK, 0, 10, 0);
	talk_expect(&talk, ACK | PSH, 10, 0, 490);
	/* A full segment never waits; what is left over does. */
	offer(&talk, 1700);
	talk_expect(&talk, ACK, 500, 0, 1000);
	talk_send(&talk, ACK, 0, 1500, 0);
	talk_expect(&talk, ACK | PSH, 1500, 0, 200);
	/* Nor does the end. */
	vnic_connection_offer(talk.connection, 1750);
	vnic_connection_finish(talk.connection);
	talk_wait(&talk, 0);
	talk_expect(&talk, ACK | PSH | FIN, 1700, 0, 50);
	talk_end(&talk);
	/* Without Nagle's algorithm. */
	talk_init(&talk);
	talk.options.no_nagle = true;
	begin(&talk);
	for (unsigned i = 0; i < 10; i++) {
		offer(&talk, 10 + i * 10);
		talk_expect(&talk, ACK | PSH, i * 10, 0, 10);
	}
	talk_end(&talk);
}

/* RFC 9293 section 3.8.6.1 */
static void a_closed_window_is_probed(void **state)
{
	uint64_t last_ns, wait_ns = 0;
	struct talk talk;

	(void)state;
	establish(&talk);
	talk.window = 0;
	talk_send(&talk, ACK, 0, 0, 0);
	last_ns = talk.peer.now_ns;
	offer(&talk, 5000);
	talk_expect_nothing(&talk);
	for (unsigned i = 0; i < 8; i++) {
		struct talk_segment probe;

		for (unsigned waits = 0; talk_count(&talk) == 0 && waits < 100000; waits++)
			talk_wait(&talk, 10 * MILLISECOND_NS);
		probe = talk_segment(&talk, 0);
		assert_int_equal(talk_count(&talk), 1);
		/* Each after twice the time, up to a minute. */
		if (i > 0 && wait_ns < 30 * SECOND_NS)
			assert_in_range(probe.at_ns - last_ns, wait_ns * 3 / 2, wait_ns * 5 / 2);
		wait_ns = probe.at_ns - last_ns;
		assert_true(wait_ns <= 61 * SECOND_NS);
		last_ns = probe.at_ns;
		assert_true(probe.sequence <= 0);
		peer_clear(&talk.peer);
		talk_send(&talk, ACK, 0, 0, 0);
	}
	assert_int_equal(peer_counter(&talk.peer, VNIC_STACK_WINDOW_PROBES), 8);
	/* As long as it answers it may stay closed, for hours (RFC 9293 section 3.8.6.1). */
	for (unsigned i = 0; i < 300; i++) {
		talk_wait(&talk, 30 * SECOND_NS);
		talk_send(&talk, ACK, 0, 0, 0);
	}
	assert_false(talk.is_closed);
	peer_clear(&talk.peer);
	talk.window = 2000;
	talk_send(&talk, ACK, 0, 0, 0);
	assert_int_equal(talk_count(&talk), 2);
	assert_int_equal(talk_segment(&talk, 0).sequence, 0);
	assert_int_equal(talk_segment(&talk, 1).payload_bytes, 1000);
	talk_end(&talk);
}

static void a_closed_window_without_an_answer_fails(void **state)
{
	struct talk talk;

	(void)state;
	establish(&talk);
	talk.window = 0;
	talk_send(&talk, ACK, 0, 0, 0);
	offer(&talk, 5000);
	talk_wait(&talk, 100 * SECOND_NS);
	assert_false(talk.is_closed);
	talk_wait(&talk, 200 * SECOND_NS);
	assert_true(talk.is_closed);
	assert_int_equal(talk.code, -ETIMEDOUT);
	talk_end(&talk);
}

/* RFC 9293 section 3.8.6.2.1: no segment for each few bytes of window. */
static void a_small_window_is_not_filled_with_small_segments(void **state)
{
	struct talk talk;

	(void)state;
	establish(&talk);
	talk.window = 100;
	talk_send(&talk, ACK, 0, 0, 0);
	offer(&talk, 50000);
	talk_expect_nothing(&talk);
	/* Unless nothing better comes for some time. */
	for (unsigned waits = 0; talk_count(&talk) == 0 && waits < 100; waits++)
		talk_wait(&talk, 10 * MILLISECOND_NS);
	assert_in_range(talk_segment(&talk, 0).payload_bytes, 1, 100);
	peer_clear(&talk.peer);
	/* A full segment goes. */
	talk.window = 1000;
	talk_send(&talk, ACK, 0, 100, 0);
	talk_expect(&talk, ACK, 100, 0, 1000);
	talk_end(&talk);
}

/* A host that never had more than a small window is served by half of it. */
static void a_host_with_a_small_buffer_is_served(void **state)
{
	struct talk talk;
	int64_t sent = 0;

	(void)state;
	talk_init(&talk);
	talk.window = 500;
	begin(&talk);
	offer(&talk, 100000);
	for (unsigned i = 0; i < 100; i++) {
		talk_expect(&talk, ACK, sent, 0, 500);
		sent += 500;
		talk_send(&talk, ACK, 0, sent, 0);
	}
	assert_int_equal(peer_counter(&talk.peer, VNIC_STACK_TIMEOUTS), 0);
	talk_end(&talk);
}

/* RFC 9293 section 3.8.6.2.2, and the edge never goes back. */
static void our_window_moves_in_large_steps(void **state)
{
	struct talk_segment segment;
	struct talk talk;

	(void)state;
	talk_init(&talk);
	talk.room = 10000;
	talk.options.window_bytes = 10000;
	begin(&talk);
	for (int64_t i = 0; i < 10; i++)
		talk_send(&talk, ACK, i * 1000, 0, 1000);
	talk_wait(&talk, SECOND_NS);
	segment = talk_segment(&talk, talk_count(&talk) - 1);
	assert_int_equal(segment.acknowledgment, 10000);
	assert_int_equal(segment.tcp.window, 0);
	peer_clear(&talk.peer);
	/* It is full: a probe is answered, and not taken. */
	assert_string_equal(talk_send(&talk, ACK, 10000, 0, 1), "drop_no_room");
	segment = talk_expect(&talk, ACK, 0, 10000, 0);
	assert_int_equal(segment.tcp.window, 0);
	/* Little room is not told of. */
	talk.room = 500;
	vnic_connection_update_room(talk.connection);
	talk_wait(&talk, SECOND_NS);
	talk_expect_nothing(&talk);
	talk_send(&talk, ACK, 9999, 0, 1);
	segment = talk_expect(&talk, ACK, 0, 10000, 0);
	assert_int_equal(segment.tcp.window, 0);
	/* More is, at once. */
	talk.room = 6000;
	vnic_connection_update_room(talk.connection);
	talk_wait(&talk, 0);
	segment = talk_expect(&talk, ACK, 0, 10000, 0);
	assert_int_equal(segment.tcp.window, 6000);
	/* What is over the window is cut off. */
	for (int64_t i = 0; i < 5; i++)
		talk_send(&talk, ACK, 10000 + i * 1000, 0, 1000);
	peer_clear(&talk.peer);
	talk_send(&talk, ACK, 15000, 0, 2000);
	segment = talk_expect(&talk, ACK, 0, 16000, 0);
	assert_int_equal(segment.tcp.window, 0);
	assert_int_equal(talk.received_bytes, 16000);
	talk_end(&talk);
}

/* A user may take less than it has room for: the rest must come again. */
static void what_is_not_taken_comes_again(void **state)
{
	struct talk talk;

	(void)state;
	establish(&talk);
	talk.taken_most = 300;
	talk_send(&talk, ACK, 0, 0, 1000);
	talk_expect(&talk, ACK, 0, 300, 0);
	talk.taken_most = 0;
	assert_string_equal(talk_send(&talk, ACK, 300, 0, 700), "drop_no_room");
	talk_expect(&talk, ACK, 0, 300, 0);
	talk.taken_most = SIZE_MAX;
	talk_send(&talk, ACK, 300, 0, 700);
	assert_int_equal(talk.received_bytes, 1000);
	talk_end(&talk);
}

static void what_is_early_is_told(void **state)
{
	struct talk_segment segment;
	uint64_t waiting;
	struct talk talk;

	(void)state;
	talk_init(&talk);
	talk.sack = true;
	begin(&talk);
	talk_send(&talk, ACK, 1000, 0, 1000);
	segment = talk_expect(&talk, ACK, 0, 0, 0);
	assert_int_equal(segment.sack_count, 1);
	assert_true(segment.sacks[0][0] == 1000 && segment.sacks[0][1] == 2000);
	talk_send(&talk, ACK, 5000, 0, 1000);
	talk_send(&talk, ACK, 3000, 0, 1000);
	segment = talk_segment(&talk, 1);
	assert_int_equal(segment.sack_count, 3); /* the latest one first */
	assert_true(segment.sacks[0][0] == 3000 && segment.sacks[0][1] == 4000);
	assert_true(segment.sacks[1][0] == 5000 || segment.sacks[2][0] == 5000);
	waiting = peer_counter(&talk.peer, VNIC_STACK_OUT_OF_ORDER_BYTES);
	assert_in_range(waiting, 3000, 3500); /* with what it takes to keep them */
	peer_clear(&talk.peer);
	/* A duplicate of what waits already (RFC 2883). */
	talk_send(&talk, ACK, 5000, 0, 1000);
	segment = talk_expect(&talk, ACK, 0, 0, 0);
	assert_true(segment.sacks[0][0] == 5000 && segment.sacks[0][1] == 6000);
	assert_int_equal(peer_counter(&talk.peer, VNIC_STACK_OUT_OF_ORDER_BYTES), waiting);
	/* The first gap is filled. */
	talk_send(&talk, ACK, 0, 0, 1000);
	segment = talk_expect(&talk, ACK, 0, 2000, 0);
	assert_int_equal(segment.sack_count, 2);
	assert_int_equal(talk.received_bytes, 2000);
	/* A duplicate of what was acknowledged. */
	talk_send(&talk, ACK, 500, 0, 1000);
	segment = talk_expect(&talk, ACK, 0, 2000, 0);
	assert_true(segment.sacks[0][0] == 500 && segment.sacks[0][1] == 1500);
	talk_send(&talk, ACK, 2000, 0, 1000);
	talk_send(&talk, ACK | FIN, 4000, 0, 1000);
	assert_int_equal(talk.received_bytes, 6000);
	assert_int_equal(peer_counter(&talk.peer, VNIC_STACK_OUT_OF_ORDER_BYTES), 0);
	talk_end(&talk);
}

static void an_early_fin_waits(void **state)
{
	struct talk talk;

	(void)state;
	establish(&talk);
	talk_send(&talk, ACK | FIN, 1000, 0, 500);
	assert_false(talk.is_finished);
	talk_expect(&talk, ACK, 0, 0, 0);
	talk_send(&talk, ACK, 0, 0, 1000);
	assert_int_equal(talk.received_bytes, 1500);
	assert_true(talk.is_finished);
	talk_expect(&talk, ACK, 0, 1501, 0);
	talk_end(&talk);
	/* The FIN alone. */
	establish(&talk);
	talk_send(&talk, ACK | FIN, 1000, 0, 0);
	assert_false(talk.is_finished);
	peer_clear(&talk.peer);
	talk_send(&talk, ACK, 0, 0, 1000);
	assert_true(talk.is_finished);
	talk_expect(&talk, ACK, 0, 1001, 0);
	talk_end(&talk);
}

static void three_duplicates_show_a_loss(void **state)
{
	struct talk talk;

	(void)state;
	establish(&talk);
	offer(&talk, 10000);
	assert_int_equal(talk_count(&talk), 10);
	peer_clear(&talk.peer);
	talk_wait(&talk, 5 * MILLISECOND_NS);
	talk_send(&talk, ACK, 0, 1000, 0);
	talk_expect_nothing(&talk);
	talk_send(&talk, ACK, 0, 1000, 0);
	talk_send(&talk, ACK, 0, 1000, 0);
	talk_expect_nothing(&talk);
	talk_send(&talk, ACK, 0, 1000, 0);
	assert_true(talk_count(&talk) >= 1);
	assert_int_equal(talk_segment(&talk, 0).sequence, 1000);
	assert_int_equal(talk_segment(&talk, 0).payload_bytes, 1000);
	peer_clear(&talk.peer);
	/* A partial ACK shows the next (RFC 6582 section 3.2). */
	talk_send(&talk, ACK, 0, 5000, 0);
	assert_true(talk_count(&talk) >= 1);
	assert_int_equal(talk_segment(&talk, 0).sequence, 5000);
	peer_clear(&talk.peer);
	talk_send(&talk, ACK, 0, 10000, 0);
	assert_int_equal(talk.acked, 10000);
	assert_int_equal(peer_counter(&talk.peer, VNIC_STACK_TIMEOUTS), 0);
	assert_int_equal(peer_counter(&talk.peer, VNIC_STACK_RETRANSMITTED), 2);
	talk_end(&talk);
}

/* RFC 6298 section 5: twice the time after each, and once more from the measured one after that. */
static void timeouts_back_off(void **state)
{
	uint64_t last_ns, wait_ns = 0;
	struct talk talk;

	(void)state;
	talk_init(&talk);
	talk.options.user_timeout_ns = 3600 * SECOND_NS;
	begin(&talk);
	offer(&talk, 1000);
	last_ns = talk_segment(&talk, 0).at_ns;
	peer_clear(&talk.peer);
	for (unsigned i = 0; i < 12; i++) {
		for (unsigned waits = 0; talk_count(&talk) == 0 && waits < 100000; waits++)
			talk_wait(&talk, MILLISECOND_NS);
		if (i > 0)
			assert_in_range(talk_segment(&talk, 0).at_ns - last_ns,
					wait_ns * 2 < 60 * SECOND_NS ? wait_ns * 2 : 60 * SECOND_NS,
					60 * SECOND_NS);
		wait_ns = talk_segment(&talk, 0).at_ns - last_ns;
		last_ns = talk_segment(&talk, 0).at_ns;
		talk_expect(&talk, ACK, 0, 0, 1000);
	}
	/* What was sent again measures nothing (Karn), but the time is that of before again. */
	talk_send(&talk, ACK, 0, 1000, 0);
	assert_true(info_of(&talk).rto_ns <= SECOND_NS);
	offer(&talk, 2000);
	peer_clear(&talk.peer);
	talk_wait(&talk, SECOND_NS + 100 * MILLISECOND_NS);
	assert_true(talk_count(&talk) >= 1);
	talk_end(&talk);
}

static void segments_are_as_long_as_both_ends_allow(void **state)
{
	static const struct {
		uint16_t told, expected;
	} rows[] = {{0, 536},     {1, 88},      {88, 88},     {536, 536},
		    {1460, 1460}, {9000, 1460}, {65535, 1460}};
	struct vnic_tcp bare = {.source_port = TALK_PEER_PORT,
				.destination_port = TALK_PORT,
				.flags = SYN,
				.window = 65535};
	struct talk talk;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		talk_init(&talk);
		talk.mss = rows[i].told;
		begin(&talk);
		assert_int_equal(info_of(&talk).segment_bytes, rows[i].expected);
		offer(&talk, 5000);
		assert_int_equal(talk_segment(&talk, 0).payload_bytes, rows[i].expected);
		talk_end(&talk);
	}
	/* Without the option (RFC 9293 section 3.7.1). */
	talk_init(&talk);
	talk_begin(&talk);
	bare.sequence = talk.iss;
	talk_send_raw(&talk, &bare, 0);
	talk_expect(&talk, SYN | ACK, -1, 0, 0);
	talk_send(&talk, ACK, 0, 0, 0);
	assert_int_equal(info_of(&talk).segment_bytes, 536);
	talk_end(&talk);
}

static void windows_are_scaled(void **state)
{
	static const struct {
		uint8_t told;
		uint32_t expected;
	} rows[] = {{0, 32768}, {1, 65536}, {14, 1u << 29}, {15, 1u << 29}, {200, 1u << 29}};
	struct talk talk;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		talk_init(&talk);
		talk.scale = rows[i].told;
		talk.options.window_bytes = 1u << 20;
		begin(&talk);
		assert_true(info_of(&talk).has_window_scale);
		assert_int_equal(info_of(&talk).send_window_bytes, rows[i].expected);
		talk_end(&talk);
	}
}

static void marks_are_told_and_heeded(void **state)
{
	struct talk_segment segment;
	uint32_t before;
	struct talk talk;

	(void)state;
	talk_init(&talk);
	talk.ecn = true;
	begin(&talk);
	assert_true(info_of(&talk).has_ecn);
	/* We say ECE from a mark on, until CWR comes (RFC 3168 section 6.1.3). */
	talk.tos = 3;
	talk_send(&talk, ACK, 0, 0, 1000);
	talk_expect(&talk, ACK | ECE, 0, 1000, 0);
	talk.tos = 2;
	talk_send(&talk, ACK, 1000, 0, 1000);
	talk_expect(&talk, ACK | ECE, 0, 2000, 0);
	talk_send(&talk, ACK | CWR, 2000, 0, 1000);
	talk_wait(&talk, SECOND_NS);
	talk_expect(&talk, ACK, 0, 3000, 0);
	assert_int_equal(peer_counter(&talk.peer, VNIC_STACK_CONGESTION_MARKS), 1);
	/* Pure ACKs are not ECN-capable, new data is. */
	talk.tos = 0;
	offer(&talk, 20000);
	segment = talk_segment(&talk, 0);
	assert_int_equal(segment.ecn, 2);
	assert_false(segment.tcp.flags & CWR);
	peer_clear(&talk.peer);
	talk_wait(&talk, 5 * MILLISECOND_NS);
	before = info_of(&talk).congestion_window_bytes;
	talk_send(&talk, ACK | ECE, 3000, 5000, 0);
	talk_send(&talk, ACK | ECE, 3000, 10000, 0);
	/* Reduced once for a window of data. */
	assert_in_range(info_of(&talk).congestion_window_bytes, before * 4 / 10, before * 8 / 10);
	assert_true(talk_count(&talk) >= 1);
	assert_true(talk_segment(&talk, 0).tcp.flags & CWR);
	for (size_t i = 1; i < talk_count(&talk); i++)
		assert_false(talk_segment(&talk, i).tcp.flags & CWR);
	assert_int_equal(peer_counter(&talk.peer, VNIC_STACK_RETRANSMITTED), 0);
	talk_end(&talk);
}

/* RFC 3168 section 6.1.5: what is sent again is not ECN-capable, for a mark on it would not be told. */
static void what_is_sent_again_is_not_markable(void **state)
{
	struct talk talk;

	(void)state;
	talk_init(&talk);
	talk.ecn = true;
	begin(&talk);
	offer(&talk, 1000);
	peer_clear(&talk.peer);
	talk_wait(&talk, 2 * SECOND_NS);
	assert_true(talk_count(&talk) >= 1);
	for (size_t i = 0; i < talk_count(&talk); i++)
		assert_int_equal(talk_segment(&talk, i).ecn, 0);
	talk_end(&talk);
}

/* RFC 7323 section 4.3: of delayed ACKs the timestamp is that of the first segment. */
static void timestamps_are_echoed(void **state)
{
	struct talk_segment segment;
	struct talk talk;

	(void)state;
	talk_init(&talk);
	talk.timestamps = true;
	begin(&talk);
	receive_quickly(&talk, 20);
	talk.timestamp = 5000;
	talk_send(&talk, ACK, 2000, 0, 100);
	talk.timestamp = 5001;
	talk_send(&talk, ACK, 2100, 0, 100);
	talk_wait(&talk, SECOND_NS);
	segment = talk_expect(&talk, ACK, 0, 2200, 0);
	assert_int_equal(segment.timestamp_echo, 5000);
	/* That of the second one, and of what is early, is not taken: the one that fills the gap counts. */
	talk.timestamp = 6000;
	talk_send(&talk, ACK, 3000, 0, 100);
	segment = talk_expect(&talk, ACK, 0, 2200, 0);
	assert_int_equal(segment.timestamp_echo, 5000);
	talk_end(&talk);
}

/* Slow start doubles what is in flight in each round trip; RFC 6928: 10 segments at first. */
/* A round trip later each segment that was sent, of 1000 bytes, is acknowledged. */
static void acknowledge_each(struct talk *talk, int64_t *acked)
{
	size_t count = talk_count(talk);

	peer_clear(&talk->peer);
	talk_wait(talk, 5 * MILLISECOND_NS);
	for (size_t i = 0; i < count; i++) {
		*acked += 1000;
		talk_send(talk, ACK, 0, *acked, 0);
	}
}

static void it_starts_slowly(void **state)
{
	struct talk talk;
	int64_t acked = 0;

	(void)state;
	talk_init(&talk);
	talk.window = 65535;
	talk.scale = 4;
	talk_begin(&talk);
	talk_send(&talk, SYN, -1, 0, 0);
	talk_expect(&talk, SYN | ACK, -1, 0, 0);
	/* The same round trip as later: one that grows would end slow start (RFC 9406). */
	talk_wait(&talk, 5 * MILLISECOND_NS);
	talk_send(&talk, ACK, 0, 0, 0);
	offer(&talk, 1000000);
	for (unsigned round = 0; round < 4; round++) {
		assert_in_range(talk_count(&talk), 10u << round, (10u << round) + 2);
		acknowledge_each(&talk, &acked);
	}
	talk_end(&talk);
}

/* However much it may send, it gives way to what comes in, and is called again at once. */
static void it_gives_way(void **state)
{
	const size_t most = 256 * 1024 / 1000 + 1;
	struct talk talk;
	int64_t acked = 0;
	size_t total = 0;

	(void)state;
	talk_init(&talk);
	talk.window = 65535;
	talk.scale = 8;
	talk_begin(&talk);
	talk_handshake(&talk);
	offer(&talk, 100000000);
	while (talk_count(&talk) < 2000) {
		assert_in_range(talk_count(&talk), 10, 8000);
		acknowledge_each(&talk, &acked);
		talk_wait(&talk, 0);
	}
	/* All of that is acknowledged at once. */
	acked += (int64_t)talk_count(&talk) * 1000;
	talk_wait(&talk, 5 * MILLISECOND_NS);
	peer_clear(&talk.peer);
	talk_send(&talk, ACK, 0, acked, 0);
	for (uint64_t due_ns = 0; due_ns <= talk.peer.now_ns;) {
		assert_in_range(talk_count(&talk), 1, most);
		total += talk_count(&talk);
		peer_clear(&talk.peer);
		due_ns = vnic_stack_advance(talk.peer.stack, talk.peer.now_ns);
	}
	assert_in_range(total + talk_count(&talk), 2000, 16000);
	talk_end(&talk);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(acks_are_delayed),
		cmocka_unit_test(acks_are_not_delayed_where_not_wanted),
		cmocka_unit_test(small_writes_wait_for_each_other),
		cmocka_unit_test(a_closed_window_is_probed),
		cmocka_unit_test(a_closed_window_without_an_answer_fails),
		cmocka_unit_test(a_small_window_is_not_filled_with_small_segments),
		cmocka_unit_test(a_host_with_a_small_buffer_is_served),
		cmocka_unit_test(our_window_moves_in_large_steps),
		cmocka_unit_test(what_is_not_taken_comes_again),
		cmocka_unit_test(what_is_early_is_told),
		cmocka_unit_test(an_early_fin_waits),
		cmocka_unit_test(three_duplicates_show_a_loss),
		cmocka_unit_test(timeouts_back_off),
		cmocka_unit_test(segments_are_as_long_as_both_ends_allow),
		cmocka_unit_test(windows_are_scaled),
		cmocka_unit_test(marks_are_told_and_heeded),
		cmocka_unit_test(what_is_sent_again_is_not_markable),
		cmocka_unit_test(timestamps_are_echoed),
		cmocka_unit_test(it_starts_slowly),
		cmocka_unit_test(it_gives_way),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
