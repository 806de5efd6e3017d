/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>

#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/loop.h"

#define ROUND_MS 10000 /* a deadline for what must come, never a pause */

struct counter {
	struct loop *loop;
	struct loop_watch *watch, *victim;
	struct loop_timer *timer, *victim_timer;
	unsigned n;
	int fd;
};

static struct loop *make_loop(void)
{
	struct loop *loop = NULL;

	assert_int_equal(loop_new(&loop, NULL), 0);
	return loop;
}

static void make_pipe(int fds[2])
{
	assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
}

static void on_byte(void *ctx, int fd, uint32_t events)
{
	struct counter *c = ctx;
	char byte;

	if (events & EPOLLIN)
		assert_int_equal(read(fd, &byte, 1), 1);
	c->n++;
}

static void test_watch(void **state)
{
	struct loop *loop = make_loop();
	struct counter c = { 0 };
	int fds[2];

	make_pipe(fds);
	assert_int_equal(loop_add(loop, fds[0], EPOLLIN, on_byte, &c, &c.watch, NULL), 0);
	assert_int_equal(loop_run_once(loop, 0, NULL), 0);
	assert_int_equal(c.n, 0);
	assert_int_equal(write(fds[1], "ab", 2), 2);
	assert_int_equal(loop_run_once(loop, ROUND_MS, NULL), 0);
	assert_int_equal(c.n, 1);
	loop_modify(c.watch, 0);
	assert_int_equal(loop_run_once(loop, 0, NULL), 0);
	assert_int_equal(c.n, 1);
	loop_modify(c.watch, EPOLLIN);
	assert_int_equal(loop_run_once(loop, ROUND_MS, NULL), 0);
	assert_int_equal(c.n, 2);
	loop_remove(&c.watch);
	assert_null(c.watch);
	loop_remove(&c.watch);
	assert_int_equal(write(fds[1], "a", 1), 1);
	assert_int_equal(loop_run_once(loop, 0, NULL), 0);
	assert_int_equal(c.n, 2);
	loop_free(loop);
	close(fds[0]);
	close(fds[1]);
}

static void test_watch_failures(void **state)
{
	struct loop *loop = make_loop();
	struct loop_watch *w = NULL;
	struct err err = ERR_INIT;
	FILE *file = tmpfile();

	assert_non_null(file);
	assert_int_equal(loop_add(loop, fileno(file), EPOLLIN, on_byte, NULL, &w, &err), -EPERM);
	assert_int_equal(err.code, EPERM);
	assert_int_equal(loop_add(loop, -1, EPOLLIN, on_byte, NULL, &w, NULL), -EBADF);
	assert_null(w);
	fclose(file);
	loop_free(loop);
	loop_free(NULL);
}

static void test_pause_silences_hangup(void **state)
{
	struct loop *loop = make_loop();
	struct counter c = { 0 };
	int fds[2];

	make_pipe(fds);
	assert_int_equal(loop_add(loop, fds[0], EPOLLIN, on_byte, &c, &c.watch, NULL), 0);
	close(fds[1]);
	loop_pause(c.watch);
	for (int i = 0; i < 5; i++)
		assert_int_equal(loop_run_once(loop, 0, NULL), 0);
	assert_int_equal(c.n, 0);
	loop_modify(c.watch, EPOLLIN);
	assert_int_equal(loop_run_once(loop, ROUND_MS, NULL), 0);
	assert_int_equal(c.n, 1);
	loop_free(loop);
	close(fds[0]);
}

static void remove_both(void *ctx, int fd, uint32_t events)
{
	struct counter *c = ctx;

	c->n++;
	loop_remove(&c->watch);
	loop_remove(&c->victim);
}

static void test_remove_inside_callback(void **state)
{
	struct loop *loop = make_loop();
	struct counter c = { 0 };
	int a[2], b[2];

	make_pipe(a);
	make_pipe(b);
	/* both ready in one round; whichever runs first removes itself and the other */
	assert_int_equal(loop_add(loop, a[0], EPOLLIN, remove_both, &c, &c.watch, NULL), 0);
	assert_int_equal(loop_add(loop, b[0], EPOLLIN, remove_both, &c, &c.victim, NULL), 0);
	assert_int_equal(write(a[1], "x", 1) + write(b[1], "x", 1), 2);
	assert_int_equal(loop_run_once(loop, ROUND_MS, NULL), 0);
	assert_int_equal(loop_run_once(loop, 0, NULL), 0);
	assert_int_equal(c.n, 1);
	loop_free(loop);
	for (int i = 0; i < 2; i++) {
		close(a[i]);
		close(b[i]);
	}
}

static void replace_self(void *ctx, int fd, uint32_t events)
{
	struct counter *c = ctx;

	/* the allocator may well hand out the memory of the watch just removed */
	loop_remove(&c->watch);
	assert_int_equal(loop_add(c->loop, fd, EPOLLIN, on_byte, c, &c->watch, NULL), 0);
}

static void test_replace_inside_callback(void **state)
{
	struct loop *loop = make_loop();
	struct counter c = { .loop = loop };
	int fds[2];

	make_pipe(fds);
	assert_int_equal(loop_add(loop, fds[0], EPOLLIN, replace_self, &c, &c.watch, NULL), 0);
	assert_int_equal(write(fds[1], "x", 1), 1);
	assert_int_equal(loop_run_once(loop, ROUND_MS, NULL), 0);
	assert_int_equal(c.n, 0);
	assert_int_equal(loop_run_once(loop, ROUND_MS, NULL), 0);
	assert_int_equal(c.n, 1);
	loop_free(loop);
	close(fds[0]);
	close(fds[1]);
}

static void on_timer(void *ctx)
{
	struct counter *c = ctx;

	c->n++;
}

static void run_until(struct loop *loop, const unsigned *n, unsigned want)
{
	uint64_t deadline = clock_mono_ns() + 10 * NS_PER_S;

	while (*n < want && clock_mono_ns() < deadline)
		assert_int_equal(loop_run_once(loop, 100, NULL), 0);
	assert_int_equal(*n, want);
}

static void test_timer(void **state)
{
	struct loop *loop = make_loop();
	struct counter c = { 0 };
	uint64_t at = clock_mono_ns() + 2 * NS_PER_MS;

	assert_int_equal(loop_timer_new(loop, on_timer, &c, &c.timer, NULL), 0);
	assert_int_equal(loop_run_once(loop, 0, NULL), 0);
	assert_int_equal(c.n, 0);
	loop_timer_arm(c.timer, at);
	run_until(loop, &c.n, 1);
	assert_true(clock_mono_ns() >= at);
	assert_int_equal(loop_run_once(loop, 0, NULL), 0);
	assert_int_equal(c.n, 1);
	loop_timer_arm(c.timer, 0);
	loop_timer_disarm(c.timer);
	loop_timer_disarm(c.timer);
	assert_int_equal(loop_run_once(loop, 0, NULL), 0);
	assert_int_equal(c.n, 1);
	loop_timer_arm(c.timer, 1);
	loop_timer_arm(c.timer, 0);
	assert_int_equal(loop_run_once(loop, -1, NULL), 0);
	assert_int_equal(c.n, 2);
	loop_timer_remove(&c.timer);
	loop_timer_remove(&c.timer);
	loop_free(loop);
}

struct ordered {
	struct loop_timer *timer;
	uint64_t at;
	uint64_t *last;
	unsigned *fired;
};

static void on_ordered(void *ctx)
{
	struct ordered *o = ctx;

	assert_true(o->at >= *o->last);
	*o->last = o->at;
	(*o->fired)++;
}

static void test_timers_fire_in_order(void **state)
{
	enum { N = 200 };
	struct loop *loop = make_loop();
	struct ordered o[N];
	uint64_t last = 0;
	unsigned fired = 0, seed = 12345, armed = 0;

	for (unsigned i = 0; i < N; i++) {
		seed = seed * 1103515245 + 12345;
		o[i] = (struct ordered){ NULL, 1 + seed % 1000, &last, &fired };
		assert_int_equal(loop_timer_new(loop, on_ordered, &o[i], &o[i].timer, NULL), 0);
		loop_timer_arm(o[i].timer, o[i].at);
	}
	for (unsigned i = 0; i < N; i++) { /* holes anywhere in the heap, some moved */
		if (i % 3 == 0)
			loop_timer_remove(&o[i].timer);
		else if (i % 3 == 1)
			loop_timer_arm(o[i].timer, o[i].at = 1 + o[i].at * 7 % 1000);
		armed += i % 3 != 0;
	}
	assert_int_equal(loop_run_once(loop, -1, NULL), 0);
	assert_int_equal(fired, armed);
	loop_free(loop);
}

static void remove_both_timers(void *ctx)
{
	struct counter *c = ctx;

	c->n++;
	loop_timer_remove(&c->timer);
	loop_timer_remove(&c->victim_timer);
}

static void rearm(void *ctx)
{
	struct counter *c = ctx;

	c->n++;
	loop_timer_arm(c->timer, 0);
}

static void test_timer_changes_inside_callback(void **state)
{
	struct loop *loop = make_loop();
	struct counter c = { 0 };

	assert_int_equal(loop_timer_new(loop, remove_both_timers, &c, &c.timer, NULL), 0);
	assert_int_equal(loop_timer_new(loop, remove_both_timers, &c, &c.victim_timer, NULL), 0);
	loop_timer_arm(c.timer, 1);
	loop_timer_arm(c.victim_timer, 1);
	assert_int_equal(loop_run_once(loop, -1, NULL), 0);
	assert_int_equal(c.n, 1);

	/* always in the past, yet once per round */
	assert_int_equal(loop_timer_new(loop, rearm, &c, &c.timer, NULL), 0);
	loop_timer_arm(c.timer, 0);
	for (unsigned i = 2; i < 5; i++) {
		assert_int_equal(loop_run_once(loop, -1, NULL), 0);
		assert_int_equal(c.n, i);
	}
	loop_free(loop);
}

static void post_again(void *ctx)
{
	struct counter *c = ctx;

	c->n++;
	assert_true(loop_is_current(c->loop));
	assert_int_equal(loop_post(c->loop, post_again, c), 0);
}

static void test_post_once_per_round(void **state)
{
	struct loop *loop = make_loop();
	struct counter c = { .loop = loop };

	assert_false(loop_is_current(loop));
	assert_int_equal(loop_post(loop, post_again, &c), 0);
	for (unsigned i = 1; i < 4; i++) {
		assert_int_equal(loop_run_once(loop, -1, NULL), 0);
		assert_int_equal(c.n, i);
	}
	assert_false(loop_is_current(loop));
	loop_free(loop); /* with a post left */
}

static void unpost_other(void *ctx)
{
	struct counter *c = ctx;

	loop_unpost(c->loop, on_timer, c);
}

static void test_unpost(void **state)
{
	struct loop *loop = make_loop();
	struct counter c = { .loop = loop }, other = { 0 };

	assert_int_equal(loop_post(loop, on_timer, &c), 0);
	assert_int_equal(loop_post(loop, on_timer, &other), 0);
	assert_int_equal(loop_post(loop, on_timer, &c), 0);
	loop_unpost(loop, on_timer, &c);
	assert_int_equal(loop_post(loop, on_timer, &other), 0);
	assert_int_equal(loop_run_once(loop, -1, NULL), 0);
	assert_int_equal(c.n, 0);
	assert_int_equal(other.n, 2);

	/* also out of the batch that is being run */
	assert_int_equal(loop_post(loop, unpost_other, &c), 0);
	assert_int_equal(loop_post(loop, on_timer, &c), 0);
	assert_int_equal(loop_run_once(loop, -1, NULL), 0);
	assert_int_equal(loop_post(loop, on_timer, &other), 0);
	assert_int_equal(loop_run_once(loop, -1, NULL), 0);
	assert_int_equal(c.n, 0);
	assert_int_equal(other.n, 3);
	loop_free(loop);
}

enum { POSTS = 2000, POSTERS = 3 };

struct poster {
	struct loop *loop;
	unsigned sent, seen;
	unsigned *total;
};

static void on_post(void *ctx)
{
	struct poster *p = ctx;

	p->seen++;
	if (++*p->total == POSTS * POSTERS)
		loop_stop(p->loop, 42);
}

static void *post_many(void *arg)
{
	struct poster *p = arg;

	assert_false(loop_is_current(p->loop));
	for (p->sent = 0; p->sent < POSTS; p->sent++) {
		if (loop_post(p->loop, on_post, p) < 0)
			break;
	}
	return NULL;
}

static void test_posts_from_threads(void **state)
{
	struct loop *loop = make_loop();
	pthread_t thread[POSTERS];
	struct poster p[POSTERS];
	unsigned total = 0;

	for (int i = 0; i < POSTERS; i++) {
		p[i] = (struct poster){ .loop = loop, .total = &total };
		assert_int_equal(pthread_create(&thread[i], NULL, post_many, &p[i]), 0);
	}
	assert_int_equal(loop_run(loop, NULL), 42);
	for (int i = 0; i < POSTERS; i++) {
		assert_int_equal(pthread_join(thread[i], NULL), 0);
		assert_int_equal(p[i].seen, POSTS);
	}
	loop_free(loop);
}

static void *stop_from_outside(void *arg)
{
	loop_stop(arg, 7);
	return NULL;
}

static void stop_now(void *ctx)
{
	struct counter *c = ctx;

	c->n++;
	loop_stop(c->loop, 3);
}

static void test_stop(void **state)
{
	struct loop *loop = make_loop();
	struct counter c = { .loop = loop };
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, stop_from_outside, loop), 0);
	assert_int_equal(loop_run(loop, NULL), 7);
	assert_int_equal(pthread_join(thread, NULL), 0);

	loop_stop(loop, 5); /* before the run */
	assert_int_equal(loop_run(loop, NULL), 5);

	/* the stop takes effect after the current callback; the rest waits for the next run */
	assert_int_equal(loop_post(loop, stop_now, &c), 0);
	assert_int_equal(loop_post(loop, stop_now, &c), 0);
	assert_int_equal(loop_run(loop, NULL), 3);
	assert_int_equal(c.n, 1);
	assert_int_equal(loop_run(loop, NULL), 3);
	assert_int_equal(c.n, 2);
	loop_free(loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_watch),
		cmocka_unit_test(test_watch_failures),
		cmocka_unit_test(test_pause_silences_hangup),
		cmocka_unit_test(test_remove_inside_callback),
		cmocka_unit_test(test_replace_inside_callback),
		cmocka_unit_test(test_timer),
		cmocka_unit_test(test_timers_fire_in_order),
		cmocka_unit_test(test_timer_changes_inside_callback),
		cmocka_unit_test(test_post_once_per_round),
		cmocka_unit_test(test_unpost),
		cmocka_unit_test(test_posts_from_threads),
		cmocka_unit_test(test_stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
