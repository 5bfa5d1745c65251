/* SPDX-License-Identifier: MIT */
/*
 * The queue of what came out of order, beside a naive model that has a flag for each byte. The
 * payload is what the stream has at its position, so that a byte in the wrong place is noticed.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "random.h"
#include "stack/tcp_queue.h"

#define STEPS 60000
#define SPAN 3000               /* positions that the model knows */
#define FAR (UINT64_C(1) << 40) /* where the stream is by then */
#define PLENTY (UINT64_C(1) << 30)

static uint64_t random_state;

static uint8_t stream_byte(uint64_t position)
{
	return (uint8_t)(position * 167 + (position >> 8));
}

static int insert(struct vn_tcp_queue *queue, uint64_t begin, uint32_t length, uint64_t *total,
		  uint64_t most)
{
	uint8_t *bytes = malloc(length + 1u); /* of this size exactly, for the sanitizer */
	int rc;

	assert_non_null(bytes);
	for (uint32_t i = 0; i < length; i++)
		bytes[i] = stream_byte(begin + i);
	rc = vn_tcp_queue_insert(queue, begin, bytes, length, total, most);
	free(bytes);
	return rc;
}

/* Take everything that is at a position. Returns the position behind it. */
static uint64_t take(struct vn_tcp_queue *queue, uint64_t position, uint64_t *total)
{
	const uint8_t *bytes;
	uint32_t length;

	while ((length = vn_tcp_queue_at(queue, position, &bytes, total)) > 0)
		for (uint32_t i = 0; i < length; i++, position++)
			assert_int_equal(bytes[i], stream_byte(position));
	return position;
}

static void assert_runs(const struct vn_tcp_queue *queue, const struct vn_tcp_range *expected,
			unsigned count)
{
	struct vn_tcp_range runs[4];

	assert_int_equal(vn_tcp_queue_runs(queue, runs, 4), count);
	for (unsigned i = 0; i < count; i++) {
		assert_int_equal(runs[i].begin, expected[i].begin);
		assert_int_equal(runs[i].end, expected[i].end);
	}
}

static void test_in_order(void **state)
{
	struct vn_tcp_queue queue = {0};
	uint64_t total = 7; /* of others */

	(void)state;
	for (unsigned i = 0; i < 1000; i++)
		assert_int_equal(
			insert(&queue, FAR + 100 + i * UINT64_C(1448), 1448, &total, PLENTY), 0);
	assert_int_equal(queue.bytes, 1448000);
	assert_int_equal(queue.gaps, 1);
	assert_runs(&queue, &(struct vn_tcp_range){FAR + 100, FAR + 100 + 1448000}, 1);
	assert_int_equal(take(&queue, FAR, &total), FAR);
	assert_int_equal(queue.bytes, 1448000);
	assert_int_equal(take(&queue, FAR + 100, &total), FAR + 100 + 1448000);
	assert_int_equal(queue.bytes, 0);
	assert_int_equal(queue.gaps, 0);
	assert_int_equal(total, 7);
	assert_runs(&queue, NULL, 0);
}

/* RFC 2018 section 5, case 2: the first of eight segments of 500 bytes is lost. */
static void test_rfc2018_case2(void **state)
{
	struct vn_tcp_queue queue = {0};
	uint64_t total = 0;

	(void)state;
	for (unsigned i = 1; i < 8; i++) {
		assert_int_equal(insert(&queue, 5000 + 500 * i, 500, &total, PLENTY), 0);
		assert_runs(&queue, &(struct vn_tcp_range){5500, 5500 + 500 * i}, 1);
	}
	vn_tcp_queue_done(&queue, &total);
	assert_int_equal(total, 0);
}

/*
 * RFC 2018 section 5, case 3: the second, fourth, sixth and eighth are lost; then the fourth
 * arrives, and the second.
 */
static void test_rfc2018_case3(void **state)
{
	struct vn_tcp_queue queue = {0};
	const uint8_t *bytes;
	uint64_t total = 0;

	(void)state;
	assert_int_equal(insert(&queue, 6000, 500, &total, PLENTY), 0);
	assert_runs(&queue, (struct vn_tcp_range[]){{6000, 6500}}, 1);
	assert_int_equal(insert(&queue, 7000, 500, &total, PLENTY), 0);
	assert_runs(&queue, (struct vn_tcp_range[]){{7000, 7500}, {6000, 6500}}, 2);
	assert_int_equal(insert(&queue, 8000, 500, &total, PLENTY), 0);
	assert_runs(&queue, (struct vn_tcp_range[]){{8000, 8500}, {7000, 7500}, {6000, 6500}}, 3);
	assert_int_equal(insert(&queue, 6500, 500, &total, PLENTY), 0);
	assert_runs(&queue, (struct vn_tcp_range[]){{6000, 7500}, {8000, 8500}}, 2);
	/* The second is handed over directly. */
	assert_int_equal(vn_tcp_queue_at(&queue, 6000, &bytes, &total), 500);
	assert_int_equal(take(&queue, 6000, &total), 7500);
	assert_runs(&queue, (struct vn_tcp_range[]){{8000, 8500}}, 1);
	vn_tcp_queue_done(&queue, &total);
	assert_int_equal(total, 0);
}

static void test_duplicates(void **state)
{
	struct vn_tcp_queue queue = {0};
	uint64_t total = 0, before;

	(void)state;
	assert_int_equal(insert(&queue, 100, 50, &total, PLENTY), 0);
	assert_int_equal(insert(&queue, 200, 50, &total, PLENTY), 0);
	before = total;
	assert_int_equal(insert(&queue, 100, 50, &total, PLENTY), -EEXIST);
	/* The run of what came last is told first, though nothing of it was new. */
	assert_runs(&queue, (struct vn_tcp_range[]){{100, 150}, {200, 250}}, 2);
	assert_int_equal(insert(&queue, 220, 10, &total, PLENTY), -EEXIST);
	assert_runs(&queue, (struct vn_tcp_range[]){{200, 250}, {100, 150}}, 2);
	assert_int_equal(insert(&queue, 120, 0, &total, PLENTY), -EEXIST);
	assert_int_equal(total, before);
	/* What overlaps both joins them. */
	assert_int_equal(insert(&queue, 149, 52, &total, PLENTY), 0);
	assert_int_equal(queue.bytes, 150);
	assert_int_equal(queue.gaps, 1);
	assert_runs(&queue, (struct vn_tcp_range[]){{100, 250}}, 1);
	assert_int_equal(take(&queue, 100, &total), 250);
	assert_int_equal(total, 0);
}

/* More runs than are remembered: those that were forgotten are told when there is room. */
static void test_forgotten_runs(void **state)
{
	struct vn_tcp_queue queue = {0};
	uint64_t total = 0;

	(void)state;
	for (unsigned i = 1; i <= 6; i++)
		assert_int_equal(insert(&queue, UINT64_C(100) * i, 50, &total, PLENTY), 0);
	assert_runs(&queue, (struct vn_tcp_range[]){{600, 650}, {500, 550}, {400, 450}, {300, 350}},
		    4);
	assert_int_equal(insert(&queue, 350, 250, &total, PLENTY), 0);
	assert_runs(&queue, (struct vn_tcp_range[]){{300, 650}, {200, 250}, {100, 150}}, 3);
	vn_tcp_queue_done(&queue, &total);
	assert_int_equal(total, 0);
}

static void test_most_gaps(void **state)
{
	struct vn_tcp_queue queue = {0};
	uint64_t total = 0, before;

	(void)state;
	for (unsigned i = 0; i < VN_TCP_QUEUE_GAPS; i++)
		assert_int_equal(insert(&queue, 10 + 4 * i, 1, &total, PLENTY), 0);
	assert_int_equal(queue.gaps, VN_TCP_QUEUE_GAPS);
	before = total;
	assert_int_equal(insert(&queue, 10 + 4 * VN_TCP_QUEUE_GAPS, 1, &total, PLENTY), -ENOSPC);
	assert_int_equal(insert(&queue, 8, 1, &total, PLENTY), -ENOSPC);
	assert_int_equal(insert(&queue, 12, 1, &total, PLENTY), -ENOSPC);
	assert_int_equal(total, before);
	/* What makes no gap is kept, and what closes one makes room for another. */
	assert_int_equal(insert(&queue, 11, 1, &total, PLENTY), 0);
	assert_int_equal(insert(&queue, 12, 2, &total, PLENTY), 0);
	assert_int_equal(queue.gaps, VN_TCP_QUEUE_GAPS - 1);
	assert_int_equal(insert(&queue, 8, 1, &total, PLENTY), 0);
	/* All at once. */
	assert_int_equal(insert(&queue, 0, 5000, &total, PLENTY), 0);
	assert_int_equal(queue.gaps, 1);
	assert_int_equal(queue.bytes, 5000);
	assert_int_equal(take(&queue, 0, &total), 5000);
	assert_int_equal(total, 0);
}

static void test_most_bytes(void **state)
{
	struct vn_tcp_queue queue = {0};
	uint64_t total = 0, overhead, most;

	(void)state;
	assert_int_equal(insert(&queue, 10, 100, &total, PLENTY), 0);
	overhead = total - 100;
	assert_true(overhead > 0);
	most = 2 * total; /* two of these, to the byte */
	assert_int_equal(insert(&queue, 200, 101, &total, most), -ENOSPC);
	assert_int_equal(insert(&queue, 200, 100, &total, most), 0);
	assert_int_equal(total, most);
	assert_int_equal(insert(&queue, 300, 1, &total, most), -ENOSPC);
	assert_int_equal(insert(&queue, 10, 100, &total, most), -EEXIST);
	/* The bound may be lowered under what is kept. */
	assert_int_equal(insert(&queue, 300, 1, &total, 0), -ENOSPC);
	/* Small ones are not for free: byte by byte the bound holds too. */
	vn_tcp_queue_done(&queue, &total);
	assert_int_equal(total, 0);
	for (unsigned i = 0; i < 100000; i++)
		insert(&queue, 200000 - i, 1, &total, 100000);
	assert_true(total <= 100000);
	assert_int_equal(queue.bytes, 100000 / (overhead + 1));
	assert_int_equal(queue.gaps, 1);
	vn_tcp_queue_done(&queue, &total);
	assert_int_equal(total, 0);
}

/* What its user did not take at once stays, less what was taken. */
static void test_taken_in_part(void **state)
{
	struct vn_tcp_queue queue = {0};
	const uint8_t *bytes;
	uint64_t total = 0, whole;

	(void)state;
	assert_int_equal(insert(&queue, 50, 100, &total, PLENTY), 0);
	whole = total;
	assert_int_equal(vn_tcp_queue_at(&queue, 49, &bytes, &total), 0);
	assert_int_equal(vn_tcp_queue_at(&queue, 80, &bytes, &total), 70);
	assert_int_equal(bytes[0], stream_byte(80));
	assert_int_equal(queue.bytes, 70);
	assert_int_equal(total, whole);
	assert_runs(&queue, &(struct vn_tcp_range){80, 150}, 1);
	/* What is gone may come again, and is kept again: whoever asks knows what is wanted. */
	assert_int_equal(insert(&queue, 70, 20, &total, PLENTY), 0);
	assert_runs(&queue, &(struct vn_tcp_range){70, 150}, 1);
	assert_int_equal(queue.bytes, 80);
	assert_int_equal(vn_tcp_queue_at(&queue, 150, &bytes, &total), 0);
	assert_int_equal(total, 0);
	assert_null(queue.first);
	assert_null(queue.last);
}

struct model {
	bool has[SPAN];
	uint64_t position; /* all before it was taken */
	uint64_t latest;   /* some byte that came in last */
};

static unsigned model_runs(const struct model *model, uint32_t *bytes)
{
	unsigned runs = 0;

	*bytes = 0;
	for (unsigned i = 0; i < SPAN; i++) {
		*bytes += model->has[i];
		runs += model->has[i] && (i == 0 || !model->has[i - 1]);
	}
	return runs;
}

static void compare(const struct vn_tcp_queue *queue, const struct model *model)
{
	struct vn_tcp_range runs[4];
	uint32_t bytes;
	unsigned expected = model_runs(model, &bytes), count;

	if (queue->gaps != expected || queue->bytes != bytes)
		fail_msg("%u runs of %u bytes, not %u of %u", queue->gaps, queue->bytes, expected,
			 bytes);
	count = vn_tcp_queue_runs(queue, runs, 4);
	assert_int_equal(count, expected < 4 ? expected : 4);
	for (unsigned i = 0; i < count; i++) {
		uint64_t begin = runs[i].begin - FAR, end = runs[i].end - FAR;

		assert_true(begin < end && end <= SPAN);
		assert_true(begin == 0 || !model->has[begin - 1]);
		assert_true(end == SPAN || !model->has[end]);
		for (uint64_t at = begin; at < end; at++)
			assert_true(model->has[at]);
		for (unsigned other = 0; other < i; other++)
			assert_true(runs[other].begin != runs[i].begin);
	}
	/* RFC 2018 section 4: the one that made us answer is the first. */
	if (count && model->latest >= model->position && model->has[model->latest])
		assert_true(runs[0].begin - FAR <= model->latest &&
			    model->latest < runs[0].end - FAR);
}

static void random_insert(struct vn_tcp_queue *queue, struct model *model, uint64_t *total)
{
	uint64_t begin, end;
	bool is_new = false;

	begin = model->position + 1 +
		random_below(&random_state, (uint32_t)(SPAN - model->position - 1));
	end = begin + 1 + random_below(&random_state, random_below(&random_state, 8) ? 40 : 700);
	if (end > SPAN)
		end = SPAN;
	for (uint64_t at = begin; at < end; at++) {
		is_new |= !model->has[at];
		model->has[at] = true;
	}
	model->latest = begin;
	assert_int_equal(insert(queue, FAR + begin, (uint32_t)(end - begin), total, PLENTY),
			 is_new ? 0 : -EEXIST);
}

static void random_take(struct vn_tcp_queue *queue, struct model *model, uint64_t *total)
{
	const uint8_t *bytes;
	uint32_t length;

	/* Some of the gap comes in order, and is handed over directly. */
	model->position += random_below(&random_state, 60);
	if (model->position > SPAN - 2)
		model->position = SPAN - 2;
	for (uint64_t at = 0; at < model->position; at++)
		model->has[at] = false;
	length = vn_tcp_queue_at(queue, FAR + model->position, &bytes, total);
	assert_int_equal(length > 0, model->has[model->position]);
	for (uint32_t i = 0; i < length; i++) {
		assert_true(model->has[model->position + i]);
		assert_int_equal(bytes[i], stream_byte(FAR + model->position + i));
	}
}

static void test_random_steps(void **state)
{
	struct vn_tcp_queue queue = {0};
	static struct model model;
	uint64_t total = 0;

	(void)state;
	random_state = 42;
	memset(&model, 0, sizeof(model));
	for (unsigned step = 0; step < STEPS; step++) {
		if (random_below(&random_state, 40))
			random_insert(&queue, &model, &total);
		else
			random_take(&queue, &model, &total);
		compare(&queue, &model);
		if (model.position > SPAN - 200) {
			vn_tcp_queue_done(&queue, &total);
			assert_int_equal(total, 0);
			memset(&model, 0, sizeof(model));
		}
	}
	vn_tcp_queue_done(&queue, &total);
	assert_int_equal(total, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_in_order),       cmocka_unit_test(test_rfc2018_case2),
		cmocka_unit_test(test_rfc2018_case3),  cmocka_unit_test(test_duplicates),
		cmocka_unit_test(test_forgotten_runs), cmocka_unit_test(test_most_gaps),
		cmocka_unit_test(test_most_bytes),     cmocka_unit_test(test_taken_in_part),
		cmocka_unit_test(test_random_steps),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
