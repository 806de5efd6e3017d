/* SPDX-License-Identifier: Apache-2.0 */
#include "image/turn.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/num.h"

#define ROUNDS 500

/* struct shared - @inside is not atomic on purpose: the turn alone protects it */
struct shared {
	struct turn turn;
	unsigned inside, rounds, overlaps;
	atomic_bool stop;
	atomic_uint asked;
	int rc;
};

static bool never(void *ctx)
{
	return false;
}

static void *take_often(void *arg)
{
	struct shared *s = arg;

	for (unsigned i = 0; i < ROUNDS; i++) {
		if (turn_take(&s->turn, never, NULL) < 0)
			break;
		s->overlaps += s->inside++ > 0;
		s->rounds++;
		s->inside--;
		turn_give(&s->turn);
	}
	return NULL;
}

static void test_one_at_a_time(void **state)
{
	struct shared s = { .rounds = 0 };
	pthread_t thread[4];

	turn_init(&s.turn);
	for (size_t i = 0; i < ARRAY_LEN(thread); i++)
		assert_int_equal(pthread_create(&thread[i], NULL, take_often, &s), 0);
	for (size_t i = 0; i < ARRAY_LEN(thread); i++)
		assert_int_equal(pthread_join(thread[i], NULL), 0);
	assert_int_equal(s.rounds, ROUNDS * ARRAY_LEN(thread));
	assert_int_equal(s.overlaps, 0);
	turn_release(&s.turn);
}

static bool told_to_stop(void *ctx)
{
	struct shared *s = ctx;

	s->asked++;
	return s->stop;
}

static void *take_until_told(void *arg)
{
	struct shared *s = arg;

	s->rc = turn_take(&s->turn, told_to_stop, s);
	return NULL;
}

static void test_give_up(void **state)
{
	struct shared s = { .rounds = 0 };
	pthread_t thread;

	turn_init(&s.turn);
	assert_int_equal(turn_take(&s.turn, never, NULL), 0);
	assert_int_equal(pthread_create(&thread, NULL, take_until_told, &s), 0);
	/* It has looked, so it waits: or is about to, which turn_wake() waits for. */
	while (!s.asked)
		(void)sched_yield();
	s.stop = true;
	turn_wake(&s.turn);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(s.rc, -ECANCELED);
	/* The one who has it has it still, and can pass it on. */
	turn_give(&s.turn);
	assert_int_equal(turn_take(&s.turn, never, NULL), 0);
	turn_give(&s.turn);
	turn_release(&s.turn);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_at_a_time),
		cmocka_unit_test(test_give_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
