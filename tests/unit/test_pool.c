/* SPDX-License-Identifier: MIT */
/* Pools: bounds, zeroed and aligned items, and random use next to a list of what is in use. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/pool.h"
#include "random.h"

#define STEPS 20000
#define MOST 700u

static const size_t sizes_bytes[] = {1, 8, 15, 16, 17, 40, 200, 4096, 65500, 70000};

#define SIZES (sizeof(sizes_bytes) / sizeof(sizes_bytes[0]))

static void assert_fresh(const uint8_t *item, size_t item_bytes)
{
	assert_non_null(item);
	assert_int_equal((uintptr_t)item % _Alignof(max_align_t), 0);
	for (size_t i = 0; i < item_bytes; i++)
		if (item[i])
			fail_msg("byte %zu of %zu is %#x", i, item_bytes, item[i]);
}

static void test_nothing_is_allocated_before_it_is_needed(void **state)
{
	struct vn_pool pool;
	void *item;

	(void)state;
	vn_pool_init(&pool, 100, 1000000);
	assert_int_equal(pool.item_bytes, 100);
	assert_int_equal(pool.most, 1000000);
	assert_int_equal(pool.made, 0);
	item = vn_pool_take(&pool);
	assert_fresh(item, 100);
	assert_in_range(pool.made, 500, 65536 / 100);
	vn_pool_give(&pool, NULL);
	assert_int_equal(pool.in_use, 1);
	vn_pool_give(&pool, item);
	assert_int_equal(pool.in_use, 0);
	vn_pool_done(&pool);
}

static void test_bound_of_each_size(void **state)
{
	static const unsigned bounds[] = {0, 1, 2, 5000};

	(void)state;
	for (size_t i = 0; i < SIZES * 4; i++) {
		unsigned most = bounds[i % 4];
		struct vn_pool pool;
		void *last = NULL;

		if (sizes_bytes[i / 4] > 4096 && most > 100)
			most = 100;
		vn_pool_init(&pool, sizes_bytes[i / 4], most);
		for (int round = 0; round < 2; round++) {
			for (unsigned taken = 0; taken < most; taken++) {
				last = vn_pool_take(&pool);
				assert_fresh(last, pool.item_bytes);
				memset(last, 0xff, pool.item_bytes);
			}
			assert_null(vn_pool_take(&pool));
			assert_int_equal(pool.in_use, most);
			assert_int_equal(pool.made, most);
			if (most) {
				vn_pool_give(&pool, last);
				assert_ptr_equal(vn_pool_take(&pool), last);
				assert_fresh(last, pool.item_bytes);
				assert_null(vn_pool_take(&pool));
			}
			vn_pool_done(&pool);
			assert_int_equal(pool.in_use, 0);
		}
	}
}

/* Each item holds bytes of its own while it is in use: two that overlapped would show. */
static void take_and_give(size_t item_bytes, uint64_t seed)
{
	static uint8_t *items[MOST], stamps[MOST];
	struct vn_pool pool;
	unsigned in_use = 0;

	vn_pool_init(&pool, item_bytes, MOST);
	for (unsigned step = 0; step < STEPS; step++) {
		/* It fills for a while, then it drains. */
		unsigned chance = step / 2000 % 2 ? 30 : 70;

		if (random_below(&seed, 100) < chance) {
			uint8_t *item = vn_pool_take(&pool);

			if (in_use == MOST) {
				assert_null(item);
				continue;
			}
			assert_fresh(item, item_bytes);
			items[in_use] = item;
			stamps[in_use] = (uint8_t)(random_next(&seed) >> 56);
			memset(item, stamps[in_use++], item_bytes);
		} else if (in_use) {
			unsigned which = random_below(&seed, in_use);

			for (size_t i = 0; i < item_bytes; i++)
				if (items[which][i] != stamps[which])
					fail_msg("step %u: byte %zu is %#x, not %#x", step, i,
						 items[which][i], stamps[which]);
			vn_pool_give(&pool, items[which]);
			items[which] = items[--in_use];
			stamps[which] = stamps[in_use];
		}
		assert_int_equal(pool.in_use, in_use);
	}
	vn_pool_done(&pool);
}

static void test_random_use(void **state)
{
	(void)state;
	for (size_t i = 0; i < SIZES && sizes_bytes[i] <= 4096; i++)
		for (uint64_t seed = 1; seed <= 3; seed++)
			take_and_give(sizes_bytes[i], seed * 0x9e3779b97f4a7c15);
}

static void test_giving_twice_is_found(void **state)
{
	int status;
	pid_t child = fork();

	(void)state;
	assert_true(child >= 0);
	if (child == 0) {
		struct vn_pool pool;
		void *first, *second;

		/* What assert() says and the core are not for the one who reads the test's output. */
		setrlimit(RLIMIT_CORE, &(struct rlimit){0});
		close(STDERR_FILENO);
		signal(SIGABRT, SIG_DFL);
		vn_pool_init(&pool, 64, 10);
		first = vn_pool_take(&pool);
		second = vn_pool_take(&pool);
		vn_pool_give(&pool, first);
		vn_pool_give(&pool, second);
		vn_pool_give(&pool, first);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGABRT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_is_allocated_before_it_is_needed),
		cmocka_unit_test(test_bound_of_each_size),
		cmocka_unit_test(test_random_use),
		cmocka_unit_test(test_giving_twice_is_found),
	};

	return cmocka_run_group_tests_name("pool", tests, NULL, NULL);
}
