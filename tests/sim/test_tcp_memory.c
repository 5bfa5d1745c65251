/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Connections for which there is little room to remember what they sent, or none for a while: everything is
 * late then, but nothing is lost, and nothing waits for ever.
 */
#include "stack/tcp.h"
#include "stream.h"

static const struct link_impairment far = {.delay_ns = 10 * MILLISECOND_NS};

static struct vn_pool *pool_of(struct link *link, unsigned end)
{
	return &link->ends[end].stack->tcp->sent;
}

static void begin(struct link *link, struct stream *stream, uint64_t seed)
{
	*stream = (struct stream){0};
	link_begin(link, VNIC_LAYER_IP, seed, NULL, NULL);
	link_impair(link, &far);
}

static void end(struct link *link, struct stream *stream)
{
	stream_end(stream);
	link_end(link);
}

/* For so long an end has no memory for anything more. */
static void starve(struct link *link, unsigned end, uint64_t duration_ns)
{
	struct vn_pool *pool = pool_of(link, end);
	unsigned most = pool->most;

	pool->most = pool->in_use;
	link_wait(link, duration_ns);
	pool->most = most;
}

static void opens_late(void **state)
{
	(void)state;
	for (unsigned starved = 0; starved < 2; starved++) {
		struct stream stream;
		struct link link;

		begin(&link, &stream, 1);
		stream.sides[0].options.total_bytes = stream.sides[1].options.total_bytes = 1000;
		stream_begin(&stream, &link, VNIC_IPV4, 1);
		/* The first SYN went out, or did not; what it is answered by is not remembered. */
		starve(&link, starved, 2500 * MILLISECOND_NS);
		stream_complete(&stream, 60 * SECOND_NS);
		end(&link, &stream);
	}
}

static void opens_without_memory(void **state)
{
	struct stream stream;
	struct link link;
	unsigned most;

	(void)state;
	begin(&link, &stream, 1);
	most = pool_of(&link, 0)->most;
	pool_of(&link, 0)->most = 0;
	stream_begin(&stream, &link, VNIC_IPV4, 1);
	link_wait(&link, 2500 * MILLISECOND_NS);
	assert_string_equal(stream_state(&stream.sides[0]), "SYN-SENT");
	assert_int_equal(link_counter(&link, 0, VNIC_STACK_SEGMENTS_SENT), 0);
	pool_of(&link, 0)->most = most;
	stream_complete(&stream, 60 * SECOND_NS);
	end(&link, &stream);
	/* And where it stays so, that has an end. */
	begin(&link, &stream, 1);
	pool_of(&link, 0)->most = 0;
	stream_begin(&stream, &link, VNIC_IPV4, 1);
	link_wait(&link, 600 * SECOND_NS);
	assert_true(stream.sides[0].is_closed);
	assert_true(link_is_idle(&link));
	end(&link, &stream);
}

static void sends_and_finishes_late(void **state)
{
	struct stream stream;
	struct link link;

	(void)state;
	begin(&link, &stream, 1);
	stream.sides[0].options.finishes_late = stream.sides[1].options.finishes_late = true;
	stream.sides[0].options.total_bytes = 1000;
	stream.sides[0].options.write_bytes = 500;
	stream.sides[0].options.write_ns = 5 * SECOND_NS;
	stream_begin(&stream, &link, VNIC_IPV4, 1);
	stream_establish(&stream);
	link_wait(&link, SECOND_NS);
	starve(&link, 0, 9 * SECOND_NS);
	assert_in_range(stream.sides[1].received, 0, 500);
	assert_true(link_wait_until(&link, stream_is_received, &stream, 60 * SECOND_NS));
	link_wait(&link, SECOND_NS);
	/* A FIN by itself. */
	pool_of(&link, 1)->most = 0;
	stream_finish(&stream.sides[1]);
	link_wait(&link, 3 * SECOND_NS);
	assert_string_equal(stream_state(&stream.sides[1]), "ESTABLISHED");
	pool_of(&link, 1)->most = 4096;
	stream_complete(&stream, 60 * SECOND_NS);
	end(&link, &stream);
}

/* A few ranges for all that is on its way, while the network loses, doubles and reorders. */
static void completes_with_few_ranges(void **state)
{
	const struct link_impairment bad = {.loss_permille = 50,
					    .duplicate_permille = 20,
					    .reorder_permille = 50,
					    .reorder_ns = 20 * MILLISECOND_NS,
					    .delay_ns = 10 * MILLISECOND_NS};

	(void)state;
	for (unsigned seed = 1; seed <= 200; seed++) {
		struct stream stream;
		struct link link;

		begin(&link, &stream, seed);
		link_impair(&link, &bad);
		for (unsigned i = 0; i < 2; i++) {
			pool_of(&link, i)->most = 1 + seed % 12;
			stream.sides[i].options.total_bytes = 100000;
			stream.sides[i].options.connection.no_sack = seed % 5 == 0;
		}
		stream_begin(&stream, &link, VNIC_IPV4, seed);
		stream_complete(&stream, 3600 * SECOND_NS);
		end(&link, &stream);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(opens_late),
		cmocka_unit_test(opens_without_memory),
		cmocka_unit_test(sends_and_finishes_late),
		cmocka_unit_test(completes_with_few_ranges),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
