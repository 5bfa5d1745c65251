/* SPDX-License-Identifier: MIT */
/* The timer wheel: what is due and when, next to an array that is searched from end to end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/timer.h"
#include "random.h"

#define TIMERS 60u
#define STEPS 20000u
#define SECOND_NS UINT64_C(1000000000)

struct model {
	struct vn_timers timers;
	uint64_t now_ns, seed;
	struct vn_timer timer[TIMERS];
	bool is_set[TIMERS];
	uint64_t due_ns[TIMERS];
};

static uint64_t earliest_ns(const struct model *model)
{
	uint64_t earliest = UINT64_MAX;

	for (unsigned i = 0; i < TIMERS; i++)
		if (model->is_set[i] && model->due_ns[i] < earliest)
			earliest = model->due_ns[i];
	return earliest;
}

static void assert_alike(const struct model *model)
{
	uint64_t earliest = earliest_ns(model), next = vn_timers_next(&model->timers);

	for (unsigned i = 0; i < TIMERS; i++)
		assert_int_equal(vn_timer_is_set(&model->timer[i]), model->is_set[i]);
	if (next > earliest)
		fail_msg("next is %ju, the earliest is %ju", (uintmax_t)next, (uintmax_t)earliest);
}

/* After all that is due was taken out: calling again at once would be for nothing. */
static void assert_drained(const struct model *model)
{
	uint64_t earliest = earliest_ns(model), next = vn_timers_next(&model->timers);

	if (earliest <= model->now_ns)
		fail_msg("due at %ju, left at %ju", (uintmax_t)earliest, (uintmax_t)model->now_ns);
	if (next <= model->now_ns)
		fail_msg("next is %ju at %ju", (uintmax_t)next, (uintmax_t)model->now_ns);
}

/* Any magnitude is as likely as any other: each level is used. */
static uint64_t random_span_ns(uint64_t *seed, unsigned bits)
{
	unsigned magnitude = random_below(seed, bits + 1);

	return magnitude ? random_next(seed) >> (64 - magnitude) : 0;
}

static void set(struct model *model, unsigned which, uint64_t due_ns)
{
	vn_timer_set(&model->timers, &model->timer[which], due_ns);
	model->is_set[which] = true;
	model->due_ns[which] = due_ns;
	assert_true(model->timer[which].due_ns == due_ns);
}

static void clear(struct model *model, unsigned which)
{
	vn_timer_clear(&model->timers, &model->timer[which]);
	model->is_set[which] = false;
}

static void set_or_clear_any(struct model *model, unsigned bits)
{
	unsigned which = random_below(&model->seed, TIMERS);
	uint64_t span_ns = random_span_ns(&model->seed, bits), due_ns = model->now_ns + span_ns;

	switch (random_below(&model->seed, 8)) {
	case 0:
	case 1:
		clear(model, which);
		break;
	case 2: /* in the past */
		set(model, which, model->now_ns > span_ns ? model->now_ns - span_ns : 0);
		break;
	case 3: /* with others, or close to them */
		due_ns = model->due_ns[random_below(&model->seed, TIMERS)] +
			 random_below(&model->seed, 3);
		set(model, which, due_ns);
		break;
	default:
		set(model, which, due_ns < model->now_ns ? UINT64_MAX : due_ns);
	}
}

/* Take out all that is due at model->now_ns. @return how many there were */
static unsigned expire(struct model *model, unsigned bits)
{
	struct vn_timer *timer;
	unsigned count = 0;

	while ((timer = vn_timers_expired(&model->timers, model->now_ns))) {
		unsigned which = (unsigned)(timer - model->timer);

		assert_in_range(which, 0, TIMERS - 1);
		assert_true(model->is_set[which]);
		assert_true(timer->due_ns == model->due_ns[which]);
		if (timer->due_ns > model->now_ns)
			fail_msg("due at %ju, early at %ju", (uintmax_t)timer->due_ns,
				 (uintmax_t)model->now_ns);
		assert_false(vn_timer_is_set(timer));
		model->is_set[which] = false;
		count++;
		if (bits && random_below(&model->seed, 3) == 0)
			set_or_clear_any(model, bits);
		assert_alike(model);
	}
	assert_drained(model);
	assert_alike(model);
	return count;
}

static void open_model(struct model *model, uint64_t now_ns, uint64_t seed)
{
	memset(model, 0, sizeof(*model));
	model->now_ns = now_ns;
	model->seed = seed;
	vn_timers_init(&model->timers, now_ns);
}

static void test_random_use(void **state)
{
	static const unsigned bits[] = {4, 8, 20, 33, 50, 62};
	static struct model model;

	(void)state;
	for (size_t i = 0; i < sizeof(bits) / sizeof(bits[0]); i++) {
		unsigned expired = 0;

		open_model(&model, i % 2 ? SECOND_NS * 1700000000 : 0, 0x9e3779b97f4a7c15 + i);
		for (unsigned step = 0; step < STEPS; step++) {
			/* The longest clocks end within the test, and then have no later time. */
			if (model.now_ns > UINT64_MAX - (UINT64_C(1) << 62))
				open_model(&model, 0, model.seed);
			set_or_clear_any(&model, bits[i]);
			assert_alike(&model);
			if (random_below(&model.seed, 4))
				continue;
			model.now_ns += random_span_ns(&model.seed, bits[i]);
			expired += expire(&model, bits[i]);
		}
		if (expired < STEPS / 10)
			fail_msg("%u bits: only %u expired", bits[i], expired);
	}
}

/* As an idle program does: sleep until next, look, and sleep again. */
static void test_sleeping_until_next(void **state)
{
	static struct model model;

	(void)state;
	for (unsigned round = 0; round < 300; round++) {
		unsigned expired = 0, calls = 0;

		open_model(&model, round * SECOND_NS * 1000000, round + 1);
		for (unsigned i = 0; i < TIMERS; i++)
			set(&model, i,
			    model.now_ns + 1 + random_span_ns(&model.seed, 20 + round % 40));
		while (expired < TIMERS) {
			uint64_t next = vn_timers_next(&model.timers);
			unsigned count;

			assert_true(next > model.now_ns);
			model.now_ns = next;
			count = expire(&model, 0);
			expired += count;
			calls++;
			assert_true(count || vn_timers_next(&model.timers) > next);
		}
		assert_true(vn_timers_next(&model.timers) == UINT64_MAX);
		if (calls > TIMERS * VN_TIMER_LEVELS)
			fail_msg("%u calls for %u timers", calls, TIMERS);
	}
}

static void test_one_alone_is_exact(void **state)
{
	static const uint64_t due_ns[] = {
		1,          63, 64, 65, 4095, 4096, SECOND_NS, 3600 * SECOND_NS + 1, UINT64_MAX / 2,
		UINT64_MAX,
	};
	struct vn_timers timers;
	struct vn_timer timer = {0};

	(void)state;
	for (size_t i = 0; i < sizeof(due_ns) / sizeof(due_ns[0]); i++) {
		vn_timers_init(&timers, 0);
		assert_false(vn_timer_is_set(&timer));
		vn_timer_clear(&timers, &timer);
		vn_timer_set(&timers, &timer, due_ns[i]);
		assert_true(vn_timer_is_set(&timer));
		assert_true(vn_timers_next(&timers) == due_ns[i]);
		assert_null(vn_timers_expired(&timers, due_ns[i] - 1));
		assert_true(vn_timers_next(&timers) == due_ns[i]);
		assert_ptr_equal(vn_timers_expired(&timers, due_ns[i]), &timer);
		assert_null(vn_timers_expired(&timers, due_ns[i]));
		assert_true(vn_timers_next(&timers) == UINT64_MAX);
	}
}

static void test_in_the_past(void **state)
{
	struct vn_timers timers;
	struct vn_timer past = {0}, present = {0}, cleared = {0};

	(void)state;
	vn_timers_init(&timers, 1000);
	vn_timer_set(&timers, &past, 0);
	vn_timer_set(&timers, &cleared, 999);
	vn_timer_set(&timers, &present, 1000);
	vn_timer_clear(&timers, &cleared);
	assert_true(vn_timers_next(&timers) == 0);
	assert_non_null(vn_timers_expired(&timers, 1000));
	assert_non_null(vn_timers_expired(&timers, 1000));
	assert_null(vn_timers_expired(&timers, 1000));
	assert_false(vn_timer_is_set(&past) || vn_timer_is_set(&present));
}

/* All are in the same slot until one of them clears those after it. */
static void test_one_clears_the_others(void **state)
{
	struct vn_timers timers;
	struct vn_timer timer[8] = {0};

	(void)state;
	vn_timers_init(&timers, 0);
	for (int i = 0; i < 8; i++)
		vn_timer_set(&timers, &timer[i], SECOND_NS);
	assert_non_null(vn_timers_expired(&timers, SECOND_NS * 7200));
	for (int i = 0; i < 8; i++)
		vn_timer_clear(&timers, &timer[i]);
	assert_null(vn_timers_expired(&timers, SECOND_NS * 7200));
	assert_true(vn_timers_next(&timers) == UINT64_MAX);
}

/* Retransmission timers of many connections: moved again and again, and a few of them expire. */
static void test_many(void **state)
{
	const unsigned count = 200000;
	struct vn_timer *timer = calloc(count, sizeof(*timer));
	static struct vn_timers timers;
	uint64_t now_ns = 5 * SECOND_NS, seed = 7;
	unsigned expired = 0, is_set = 0;

	(void)state;
	assert_non_null(timer);
	vn_timers_init(&timers, now_ns);
	for (unsigned step = 0; step < 5 * count; step++) {
		struct vn_timer *moved = &timer[random_below(&seed, count)], *due;

		is_set += !vn_timer_is_set(moved);
		vn_timer_set(&timers, moved, now_ns + random_next(&seed) % (SECOND_NS / 5));
		now_ns += random_below(&seed, 1000);
		while ((due = vn_timers_expired(&timers, now_ns))) {
			assert_true(due->due_ns <= now_ns);
			expired++;
			is_set--;
		}
	}
	for (unsigned i = 0; i < count; i++)
		if (vn_timer_is_set(&timer[i]) && timer[i].due_ns <= now_ns)
			fail_msg("timer %u, due at %ju, is left at %ju", i,
				 (uintmax_t)timer[i].due_ns, (uintmax_t)now_ns);
	assert_true(expired > 0);
	now_ns += 3600 * SECOND_NS;
	for (; vn_timers_expired(&timers, now_ns); is_set--)
		;
	assert_int_equal(is_set, 0);
	free(timer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_use),
		cmocka_unit_test(test_sleeping_until_next),
		cmocka_unit_test(test_one_alone_is_exact),
		cmocka_unit_test(test_in_the_past),
		cmocka_unit_test(test_one_clears_the_others),
		cmocka_unit_test(test_many),
	};

	return cmocka_run_group_tests_name("timer", tests, NULL, NULL);
}
