/* SPDX-License-Identifier: Apache-2.0 */
/* Queues with an honest driver. What a hostile one does is in queue_hostile_test.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "virtio/inflight.h"
#include "virtio/null_dev_test.h"

#define QSIZE	 8
#define INDIRECT VIRTIO_BIT(VIRTIO_F_INDIRECT_DESC)
#define EVENT	 VIRTIO_BIT(VIRTIO_F_EVENT_IDX)

struct fixture {
	struct null_dev *nd;
	struct virtio_dev *dev;
	struct fake_driver *drv;
	struct iovec iov[2 * QSIZE];
	struct virtq_chain chain;
	uint64_t buf; /* gpa of 4 KiB */
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->nd = null_dev_new(QSIZE);
	f->dev = &f->nd->dev;
	f->chain = (struct virtq_chain){ .iov = f->iov, .iov_max = 2 * QSIZE };
	*state = f;
	if (fake_driver_new(f->dev, NULL, &f->drv, NULL) < 0)
		return -1;
	f->buf = fake_alloc(f->drv, 4096);
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	fake_driver_free(f->drv);
	virtio_dev_free(f->dev);
	free(f);
	return 0;
}

static void start(struct fixture *f, uint64_t features)
{
	assert_int_equal(fake_driver_start(f->drv, features, NULL), 0);
}

static struct fake_seg seg(struct fixture *f, uint32_t len, bool writable)
{
	return (struct fake_seg){ fake_alloc(f->drv, len), len, writable };
}

static int pop(struct fixture *f)
{
	return virtqueue_pop(&f->dev->queue[0], &f->chain);
}

static void check_three_part_chain(struct fixture *f, const struct fake_seg *s, int head)
{
	const struct virtq_chain *c = &f->chain;

	assert_int_equal(pop(f), 1);
	assert_int_equal(c->head, head);
	assert_int_equal(c->n_readable, 2);
	assert_int_equal(c->n_writable, 1);
	assert_int_equal(c->readable_len, 30);
	assert_int_equal(c->writable_len, 40);
	assert_ptr_equal(chain_readable(c)[1].iov_base, fake_ptr(f->drv, s[1].gpa, 20));
	assert_ptr_equal(chain_writable(c)[0].iov_base, fake_ptr(f->drv, s[2].gpa, 40));
	assert_int_equal(pop(f), 0);
}

static void test_direct_chain(void **state)
{
	struct fixture *f = *state;
	uint32_t head, written;

	start(f, 0);
	struct fake_seg s[] = { seg(f, 10, false), seg(f, 20, false), seg(f, 40, true) };
	int posted = fake_post(f->drv, 0, s, 3);
	assert_true(virtqueue_has_avail(&f->dev->queue[0]));
	check_three_part_chain(f, s, posted);
	assert_false(virtqueue_has_avail(&f->dev->queue[0]));
	virtio_dev_complete(f->dev, 0, f->chain.head, 33);
	virtio_dev_flush(f->dev, 0);
	assert_int_equal(fake_signals(f->drv, 0), 1);
	assert_true(fake_used(f->drv, 0, &head, &written));
	assert_int_equal(head, posted);
	assert_int_equal(written, 33);
	assert_false(fake_used(f->drv, 0, NULL, NULL));
}

/* With event-idx a driver kicks only for the index asked for: a device busy with one chain must ask
 * before it can hear of the next. */
static void test_arm_asks_for_kicks(void **state)
{
	struct fixture *f = *state;

	start(f, EVENT);
	struct fake_seg s = seg(f, 10, false);
	assert_true(fake_post(f->drv, 0, &s, 1) >= 0);
	assert_true(virtqueue_arm(&f->dev->queue[0]));
	assert_int_equal(pop(f), 1);
	assert_int_equal(fake_avail_event(f->drv, 0), 0);
	assert_false(virtqueue_arm(&f->dev->queue[0]));
	assert_int_equal(fake_avail_event(f->drv, 0), 1);
	assert_true(fake_post(f->drv, 0, &s, 1) >= 0);
	assert_true(fake_wants_kick(f->drv, 0, 1));
}

static void test_indirect_chain(void **state)
{
	struct fixture *f = *state;

	start(f, INDIRECT);
	struct fake_seg s[] = { seg(f, 10, false), seg(f, 20, false), seg(f, 40, true) };
	check_three_part_chain(f, s, fake_post_indirect(f->drv, 0, s, 3));
}

static void test_direct_then_indirect(void **state)
{
	struct fixture *f = *state;

	start(f, INDIRECT);
	struct fake_seg s[] = { seg(f, 10, false), seg(f, 20, false), seg(f, 40, true) };
	uint64_t table = fake_alloc(f->drv, 32 + 8) + 8; /* tables need no alignment */
	fake_write_desc_at(f->drv, table, (struct virtq_desc){ s[1].gpa, 20, 1, 1 });
	fake_write_desc_at(f->drv, table + 16, (struct virtq_desc){ s[2].gpa, 40, 2, 0 });
	fake_write_desc(f->drv, 0, 3, (struct virtq_desc){ s[0].gpa, 10, 1, 6 });
	/* the WRITE flag of the descriptor that refers to a table is to be ignored */
	fake_write_desc(f->drv, 0, 6, (struct virtq_desc){ table, 32, 2 | 4, 0 });
	fake_post_head(f->drv, 0, 3);
	check_three_part_chain(f, s, 3);
}

static void test_indirect_chain_as_long_as_the_queue(void **state)
{
	struct fixture *f = *state;
	struct fake_seg s[QSIZE];

	start(f, INDIRECT);
	for (unsigned i = 0; i < QSIZE; i++)
		s[i] = seg(f, 16, true);
	assert_true(fake_post_indirect(f->drv, 0, s, QSIZE) >= 0);
	assert_int_equal(pop(f), 1);
	assert_int_equal(f->chain.n_writable, QSIZE);
}

static void test_buffer_across_two_regions(void **state)
{
	struct fixture *f = *state;

	start(f, 0);
	struct fake_seg s = { FAKE_TOP_GPA - 4, 8, true };
	fake_post(f->drv, 0, &s, 1);
	assert_int_equal(pop(f), 1);
	assert_int_equal(f->chain.n_writable, 2);
	assert_int_equal(f->chain.writable_len, 8);
}

static void test_indices_wrap(void **state)
{
	struct fixture *f = *state;
	uint32_t written;

	start(f, EVENT);
	for (uint32_t i = 0; i < 70000; i++) {
		struct fake_seg s = { f->buf, 16, true };

		assert_true(fake_post(f->drv, 0, &s, 1) >= 0);
		assert_int_equal(pop(f), 1);
		virtio_dev_complete(f->dev, 0, f->chain.head, i);
		virtio_dev_flush(f->dev, 0);
		assert_true(fake_used(f->drv, 0, NULL, &written));
		assert_int_equal(written, i);
	}
	assert_int_equal(fake_signals(f->drv, 0), 70000);
}

static void test_completion_out_of_order(void **state)
{
	struct fixture *f = *state;
	struct fake_seg s = { f->buf, 16, true };
	uint32_t head;
	int heads[QSIZE];

	start(f, 0);
	for (unsigned i = 0; i < QSIZE; i++)
		heads[i] = fake_post(f->drv, 0, &s, 1);
	assert_int_equal(fake_post(f->drv, 0, &s, 1), -ENOSPC);
	for (unsigned i = 0; i < QSIZE; i++)
		assert_int_equal(pop(f), 1);
	assert_int_equal(pop(f), 0);
	for (unsigned i = QSIZE; i-- > 0;)
		virtio_dev_complete(f->dev, 0, (uint16_t)heads[i], 1);
	for (unsigned i = QSIZE; i-- > 0;) {
		assert_true(fake_used(f->drv, 0, &head, NULL));
		assert_int_equal(head, heads[i]);
	}
}

static void test_undo(void **state)
{
	struct fixture *f = *state;
	struct fake_seg s = { f->buf, 16, true };

	start(f, EVENT);
	fake_post(f->drv, 0, &s, 1);
	assert_int_equal(pop(f), 1);
	virtqueue_pop_undo(&f->dev->queue[0], &f->chain);
	virtqueue_pop_undo(&f->dev->queue[0], &f->chain); /* not in flight any more: no effect */
	assert_int_equal(pop(f), 1);
	assert_int_equal(pop(f), 0);
}

/* Heads an earlier process left in flight come first, however often they are put back. */
static void test_undo_several_across_a_recovery(void **state)
{
	struct fixture *f = *state;
	struct virtqueue *q = &f->dev->queue[0];
	struct fake_seg s = { f->buf, 16, true };
	struct inflight_log *log = calloc(1, inflight_log_size(QSIZE));
	struct virtq_chain c[3];

	q->inflight = log;
	start(f, EVENT);
	for (unsigned i = 0; i < 2; i++) {
		assert_true(fake_post(f->drv, 0, &s, 1) >= 0);
		assert_int_equal(pop(f), 1);
	}
	fake_driver_stop(f->drv); /* the end of that process */
	q->inflight = log;
	start(f, EVENT);
	for (unsigned i = 0; i < 3; i++)
		assert_true(fake_post(f->drv, 0, &s, 1) >= 0);
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < 3; i++) {
			assert_int_equal(pop(f), 1);
			c[i] = f->chain;
			assert_int_equal(c[i].head, i);
		}
		assert_int_equal(pop(f), 0);
		for (unsigned i = 3; i-- > 0;)
			virtqueue_pop_undo(q, &c[i]);
		assert_int_equal(q->n_inflight, 0);
	}
	fake_driver_stop(f->drv);
	q->inflight = NULL;
	free(log);
}

static void test_event_idx_kicks(void **state)
{
	struct fixture *f = *state;
	struct fake_seg s = { f->buf, 16, true };

	start(f, EVENT);
	assert_int_equal(pop(f), 0);
	fake_post(f->drv, 0, &s, 1);
	assert_true(fake_wants_kick(f->drv, 0, 0));
	fake_post(f->drv, 0, &s, 1); /* the device has not looked yet: no second kick */
	assert_false(fake_wants_kick(f->drv, 0, 1));
	assert_int_equal(pop(f), 1);
	assert_int_equal(pop(f), 1);
	fake_post(f->drv, 0, &s, 1); /* nor while it is at work */
	assert_false(fake_wants_kick(f->drv, 0, 2));
	assert_int_equal(pop(f), 1);
	assert_int_equal(pop(f), 0); /* found nothing: kicks are armed */
	fake_post(f->drv, 0, &s, 1);
	assert_true(fake_wants_kick(f->drv, 0, 3));
}

static void complete_one(struct fixture *f)
{
	struct fake_seg s = { f->buf, 16, true };

	assert_true(fake_post(f->drv, 0, &s, 1) >= 0);
	assert_int_equal(pop(f), 1);
	virtio_dev_complete(f->dev, 0, f->chain.head, 0);
	virtio_dev_flush(f->dev, 0);
}

static void test_event_idx_interrupts(void **state)
{
	struct fixture *f = *state;

	start(f, EVENT);
	fake_write_used_event(f->drv, 0, 2);
	complete_one(f); /* the first one always interrupts: there is no earlier index */
	assert_int_equal(fake_signals(f->drv, 0), 1);
	complete_one(f);
	assert_int_equal(fake_signals(f->drv, 0), 1);
	complete_one(f); /* used index passes 2 */
	assert_int_equal(fake_signals(f->drv, 0), 2);
	complete_one(f);
	virtio_dev_flush(f->dev, 0);
	assert_int_equal(fake_signals(f->drv, 0), 2);
}

static void test_interrupt_flag(void **state)
{
	struct fixture *f = *state;

	start(f, 0);
	virtio_dev_flush(f->dev, 0); /* nothing completed: no interrupt */
	assert_int_equal(fake_signals(f->drv, 0), 0);
	fake_write_avail_flags(f->drv, 0, VIRTQ_AVAIL_F_NO_INTERRUPT);
	complete_one(f);
	assert_int_equal(fake_signals(f->drv, 0), 0);
	fake_write_avail_flags(f->drv, 0, 0);
	complete_one(f);
	assert_int_equal(fake_signals(f->drv, 0), 1);
}

static void test_reset_and_restart(void **state)
{
	struct fixture *f = *state;
	struct fake_seg s = { f->buf, 16, true };

	start(f, EVENT);
	fake_post(f->drv, 0, &s, 1);
	assert_int_equal(pop(f), 1);
	fake_driver_stop(f->drv);
	assert_int_equal(pop(f), 0);
	virtio_dev_complete(f->dev, 0, f->chain.head, 1); /* late: must be ignored */
	start(f, 0);
	assert_int_equal(fake_used_idx(f->drv, 0), 0);
	complete_one(f);
	assert_int_equal(fake_used_idx(f->drv, 0), 1);
}

/* ---- several threads complete what one thread posts ---- */

#define WORKERS	 3
#define REQUESTS 20000

struct worker {
	struct fixture *f;
	unsigned *stop; /* atomic */
};

static void *work(void *arg)
{
	struct worker *w = arg;
	struct iovec iov[QSIZE];
	struct virtq_chain c = { .iov = iov, .iov_max = QSIZE };

	while (!__atomic_load_n(w->stop, __ATOMIC_ACQUIRE)) {
		if (virtio_dev_pop(w->f->dev, 0, &c) != 1) {
			sched_yield();
			continue;
		}
		memset(chain_writable(&c)->iov_base, 0x5a, c.writable_len);
		virtio_dev_complete(w->f->dev, 0, c.head, (uint32_t)c.writable_len);
		virtio_dev_flush(w->f->dev, 0);
	}
	return NULL;
}

static void drive(struct fixture *f)
{
	unsigned posted = 0, done = 0;
	uint32_t written;

	while (done < REQUESTS) {
		while (posted < REQUESTS && f->drv->q[0].n_free > 0) {
			/* a buffer per descriptor: completions come in any order */
			struct fake_seg s = { f->buf + 64 * f->drv->q[0].free_head, 64, true };

			assert_true(fake_post(f->drv, 0, &s, 1) >= 0);
			posted++;
		}
		assert_true(fake_wait_used(f->drv, 0, NULL, &written, 20000));
		assert_int_equal(written, 64);
		done++;
	}
}

static void test_worker_threads(void **state)
{
	struct fixture *f = *state;
	unsigned stop = 0;
	struct worker w = { f, &stop };
	pthread_t tid[WORKERS];

	start(f, EVENT | INDIRECT);
	for (unsigned i = 0; i < WORKERS; i++)
		assert_int_equal(pthread_create(&tid[i], NULL, work, &w), 0);
	drive(f);
	__atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
	for (unsigned i = 0; i < WORKERS; i++)
		pthread_join(tid[i], NULL);
	assert_false(fake_is_broken(f->drv));
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_direct_chain),
		T(test_arm_asks_for_kicks),
		T(test_indirect_chain),
		T(test_direct_then_indirect),
		T(test_indirect_chain_as_long_as_the_queue),
		T(test_buffer_across_two_regions),
		T(test_indices_wrap),
		T(test_completion_out_of_order),
		T(test_undo),
		T(test_undo_several_across_a_recovery),
		T(test_event_idx_kicks),
		T(test_event_idx_interrupts),
		T(test_interrupt_flag),
		T(test_reset_and_restart),
		T(test_worker_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
