/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation: a ring against a plain array that does the same, through many random calls, and the
 * memory that it takes.
 */
#include "stack/ring.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MOST 65536u

static uint64_t random_state = 7;

static uint32_t random32(void)
{
	random_state = random_state * UINT64_C(6364136223846793005) + 1442695040888963407u;
	return (uint32_t)(random_state >> 33);
}

static void takes_no_memory_before_it_must(void **state)
{
	static const uint8_t bytes[VN_RING_LEAST_BYTES + 1];
	struct vn_ring ring;

	(void)state;
	vn_ring_init(&ring, MOST);
	assert_null(ring.bytes);
	assert_int_equal(vn_ring_free_bytes(&ring), MOST);
	assert_int_equal(vn_ring_put(&ring, bytes, 0), 0);
	assert_null(ring.bytes);
	assert_int_equal(vn_ring_put(&ring, bytes, 1), 1);
	assert_int_equal(ring.size_bytes, VN_RING_LEAST_BYTES);
	assert_int_equal(vn_ring_put(&ring, bytes, VN_RING_LEAST_BYTES), VN_RING_LEAST_BYTES);
	assert_int_equal(ring.size_bytes, 2 * VN_RING_LEAST_BYTES);
	vn_ring_drop(&ring, VN_RING_LEAST_BYTES + 1);
	assert_int_equal(ring.first, 0); /* empty: from the beginning again */
	vn_ring_done(&ring);
	assert_null(ring.bytes);
	assert_int_equal(vn_ring_free_bytes(&ring), MOST);
}

static void is_full_at_its_bound(void **state)
{
	static uint8_t bytes[MOST + 1];
	const uint8_t *peeked = NULL;
	struct vn_ring ring;

	(void)state;
	vn_ring_init(&ring, MOST);
	assert_int_equal(vn_ring_peek(&ring, &peeked), 0);
	assert_null(peeked);
	assert_int_equal(vn_ring_put(&ring, bytes, MOST + 1), MOST);
	assert_int_equal(vn_ring_put(&ring, bytes, 1), 0);
	assert_int_equal(vn_ring_free_bytes(&ring), 0);
	assert_int_equal(vn_ring_peek(&ring, &peeked), MOST);
	assert_int_equal(vn_ring_copy(&ring, MOST, bytes, 1), 0);
	assert_int_equal(vn_ring_copy(&ring, MOST - 1, bytes, 2), 1);
	assert_int_equal(vn_ring_copy(&ring, MOST + 5, bytes, 2), 0);
	vn_ring_done(&ring);
}

static void compare(const struct vn_ring *ring, const uint8_t *stream, size_t begin, size_t end)
{
	static uint8_t copy[MOST];
	size_t used = end - begin, skip = random32() % (used + 1);
	const uint8_t *peeked = NULL;
	size_t length;

	assert_int_equal(ring->used_bytes, used);
	length = vn_ring_copy(ring, skip, copy, sizeof(copy));
	assert_int_equal(length, used - skip);
	assert_memory_equal(copy, stream + begin + skip, length);
	length = vn_ring_peek(ring, &peeked);
	assert_true(length <= used && (length > 0) == (used > 0));
	if (length > 0)
		assert_memory_equal(peeked, stream + begin, length);
}

/* What was put and not dropped is stream[begin..end). */
static void behaves_as_an_array(void **state)
{
	size_t stream_bytes = 8u << 20, begin, end;
	uint8_t *stream = malloc(stream_bytes);

	(void)state;
	assert_non_null(stream);
	for (size_t i = 0; i < stream_bytes; i++)
		stream[i] = (uint8_t)random32();
	for (uint32_t most = VN_RING_LEAST_BYTES; most <= MOST; most *= 2) {
		struct vn_ring ring;

		vn_ring_init(&ring, most);
		for (begin = end = 0; end < stream_bytes - 2 * (size_t)most;) {
			size_t wanted = random32() % (random32() % 4 ? most / 2 : 2 * most);
			size_t put = vn_ring_put(&ring, stream + end, wanted);
			size_t room = most - (end - begin);

			assert_int_equal(put, wanted < room ? wanted : room);
			end += put;
			if (random32() % 4 == 0)
				compare(&ring, stream, begin, end);
			wanted = random32() % (end - begin + 1);
			vn_ring_drop(&ring, wanted);
			begin += wanted;
		}
		compare(&ring, stream, begin, end);
		assert_int_equal(ring.size_bytes, most);
		vn_ring_done(&ring);
	}
	free(stream);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes_no_memory_before_it_must),
		cmocka_unit_test(is_full_at_its_bound),
		cmocka_unit_test(behaves_as_an_array),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
