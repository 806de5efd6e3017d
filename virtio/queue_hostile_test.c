/* SPDX-License-Identifier: Apache-2.0 */
/* Queues with a driver that lies: each case must break the ring, or be harmless, and nothing else.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "lib/num.h"
#include "virtio/null_dev_test.h"

#define QSIZE	 8
#define INDIRECT VIRTIO_BIT(VIRTIO_F_INDIRECT_DESC)
#define NEXT	 VIRTQ_DESC_F_NEXT
#define WRITE	 VIRTQ_DESC_F_WRITE
#define IND	 VIRTQ_DESC_F_INDIRECT
#define BUF	 0x2000 /* some gpa in LOW, never looked into */

struct fixture {
	struct null_dev *nd;
	struct virtio_dev *dev;
	struct fake_driver *drv;
	struct iovec iov[2 * QSIZE];
	struct virtq_chain chain;
	uint64_t table; /* room for an indirect table of 2 * QSIZE */
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
	f->table = fake_alloc(f->drv, 16 * 2 * QSIZE);
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

static void start(struct fixture *f)
{
	assert_int_equal(fake_driver_start(f->drv, INDIRECT, NULL), 0);
}

static void desc(struct fixture *f, unsigned slot, uint64_t addr, uint32_t len, uint16_t flags,
	uint16_t next)
{
	fake_write_desc(f->drv, 0, slot, (struct virtq_desc){ addr, len, flags, next });
}

static void table_desc(struct fixture *f, unsigned slot, uint64_t addr, uint32_t len,
	uint16_t flags, uint16_t next)
{
	fake_write_desc_at(
		f->drv, f->table + 16 * slot, (struct virtq_desc){ addr, len, flags, next });
}

static int pop(struct fixture *f)
{
	return virtqueue_pop(&f->dev->queue[0], &f->chain);
}

/* The device is told, once; it is left alone until it is reset; then it works. */
static void assert_breaks(struct fixture *f, const char *why)
{
	assert_int_equal(virtio_dev_pop(f->dev, 0, &f->chain), 0);
	assert_non_null(f->dev->queue[0].broken);
	assert_string_equal(f->dev->queue[0].broken, why);
	assert_int_equal(pop(f), -EBADMSG);
	assert_int_equal(f->drv->needs_resets, 1);
	assert_int_equal(virtio_dev_pop(f->dev, 1, &f->chain), 0);
	fake_kick(f->drv, 0);
	assert_int_equal(f->nd->kicks, 0);
	fake_driver_stop(f->drv);
	start(f);
	desc(f, 0, BUF, 16, WRITE, 0);
	fake_post_head(f->drv, 0, 0);
	assert_int_equal(pop(f), 1);
	assert_int_equal(f->drv->needs_resets, 1);
}

static void break_with_desc(
	void **state, uint64_t addr, uint32_t len, uint16_t flags, uint16_t next, const char *why)
{
	struct fixture *f = *state;

	start(f);
	desc(f, 0, addr, len, flags, next);
	desc(f, 1, BUF, 16, 0, 0);
	fake_post_head(f->drv, 0, 0);
	assert_breaks(f, why);
}

static void test_loop_to_itself(void **state)
{
	break_with_desc(state, BUF, 16, NEXT, 0, "chain longer than the queue");
}

static void test_loop_of_empty_buffers(void **state)
{
	break_with_desc(state, BUF, 0, NEXT, 0, "chain longer than the queue");
}

static void test_next_out_of_range(void **state)
{
	break_with_desc(state, BUF, 16, NEXT, QSIZE, "next descriptor out of range");
}

static void test_next_ffff(void **state)
{
	break_with_desc(state, BUF, 16, NEXT, 0xffff, "next descriptor out of range");
}

static void test_buffer_in_the_hole(void **state)
{
	break_with_desc(state, FAKE_LOW_SIZE, 16, 0, 0, "buffer outside guest memory");
}

static void test_buffer_reaches_into_the_hole(void **state)
{
	break_with_desc(state, FAKE_LOW_SIZE - 8, 16, 0, 0, "buffer outside guest memory");
}

static void test_buffer_wraps(void **state)
{
	break_with_desc(state, UINT64_MAX - 8, UINT32_MAX, 0, 0, "buffer outside guest memory");
}

static void test_readable_after_writable(void **state)
{
	break_with_desc(state, BUF, 16, NEXT | WRITE, 1, "readable buffer after a writable one");
}

static void test_table_size_not_multiple_of_16(void **state)
{
	break_with_desc(state, BUF, 24, IND, 0, "size of an indirect table");
}

static void test_table_empty(void **state)
{
	break_with_desc(state, BUF, 0, IND, 0, "size of an indirect table");
}

static void test_table_outside_memory(void **state)
{
	break_with_desc(
		state, FAKE_LOW_SIZE - 16, 32, IND, 0, "indirect table outside guest memory");
}

static void test_table_huge(void **state)
{
	break_with_desc(state, BUF, 0xfffffff0, IND, 0, "indirect table outside guest memory");
}

static void test_table_with_next(void **state)
{
	break_with_desc(state, BUF, 16, IND | NEXT, 1, "indirect descriptor with a next one");
}

static void break_with_table(struct fixture *f, unsigned entries, const char *why)
{
	desc(f, 0, f->table, 16 * entries, IND, 0);
	fake_post_head(f->drv, 0, 0);
	assert_breaks(f, why);
}

static void test_indirect_in_indirect(void **state)
{
	struct fixture *f = *state;

	start(f);
	table_desc(f, 0, f->table, 32, IND, 0);
	break_with_table(f, 2, "indirect descriptor in an indirect table");
}

static void test_loop_in_table(void **state)
{
	struct fixture *f = *state;

	start(f);
	table_desc(f, 0, BUF, 16, NEXT, 1);
	table_desc(f, 1, BUF, 16, NEXT, 0);
	break_with_table(f, 2, "chain longer than the queue");
}

static void test_next_beyond_table(void **state)
{
	struct fixture *f = *state;

	start(f);
	table_desc(f, 0, BUF, 16, NEXT, 2);
	break_with_table(f, 2, "next descriptor out of range");
}

static void test_table_chain_longer_than_queue(void **state)
{
	struct fixture *f = *state;

	start(f);
	for (unsigned i = 0; i < 2 * QSIZE; i++)
		table_desc(f, i, BUF, 16, NEXT, (uint16_t)(i + 1));
	break_with_table(f, 2 * QSIZE, "chain longer than the queue");
}

static void test_indirect_not_negotiated(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(fake_driver_start(f->drv, 0, NULL), 0);
	table_desc(f, 0, BUF, 16, 0, 0);
	break_with_table(f, 1, "indirect descriptor without the feature");
}

static void test_length_sum_overflows(void **state)
{
	struct fixture *f = *state;
	cleanup_guest_mem struct guest_mem *big = guest_mem_new();

	/* 3 GiB that nobody touches, so that two descriptors claim more than 4 GiB */
	assert_int_equal(guest_mem_add_anon(big, 0, GIB(3), NULL), 0);
	guest_mem_unref(f->drv->mem);
	f->drv->mem = guest_mem_ref(big);
	start(f);
	desc(f, 0, 0, 0xc0000000, NEXT, 1);
	desc(f, 1, 0, 0x40000000, 0, 0);
	fake_post_head(f->drv, 0, 0);
	assert_breaks(f, "chain of 4 GiB or more");
}

static void test_head_out_of_range(void **state)
{
	struct fixture *f = *state;

	start(f);
	fake_post_head(f->drv, 0, QSIZE);
	assert_breaks(f, "head out of range");
}

static void test_head_ffff(void **state)
{
	struct fixture *f = *state;

	start(f);
	fake_post_head(f->drv, 0, 0xffff);
	assert_breaks(f, "head out of range");
}

static void test_avail_idx_jumps(void **state)
{
	struct fixture *f = *state;

	start(f);
	fake_write_avail_idx(f->drv, 0, QSIZE + 1);
	assert_breaks(f, "avail index jumped by more than the queue size");
}

static void test_avail_idx_goes_back(void **state)
{
	struct fixture *f = *state;

	start(f);
	fake_write_avail_idx(f->drv, 0, 0xffff);
	assert_breaks(f, "avail index jumped by more than the queue size");
}

static void test_head_twice_in_flight(void **state)
{
	struct fixture *f = *state;

	start(f);
	desc(f, 0, BUF, 16, WRITE, 0);
	fake_post_head(f->drv, 0, 0);
	fake_post_head(f->drv, 0, 0);
	assert_int_equal(pop(f), 1);
	assert_breaks(f, "head posted while in flight");
}

static void test_head_again_after_push(void **state)
{
	struct fixture *f = *state;

	start(f);
	desc(f, 0, BUF, 16, WRITE, 0);
	for (unsigned i = 0; i < 3; i++) {
		fake_post_head(f->drv, 0, 0);
		assert_int_equal(pop(f), 1);
		virtqueue_push(&f->dev->queue[0], 0, 0);
	}
	virtqueue_push(&f->dev->queue[0], 0, 0); /* not in flight: no second entry */
	assert_int_equal(fake_used_idx(f->drv, 0), 3);
}

static void test_descriptor_rewritten_in_flight(void **state)
{
	struct fixture *f = *state;

	start(f);
	desc(f, 0, BUF, 16, WRITE, 0);
	fake_post_head(f->drv, 0, 0);
	assert_int_equal(pop(f), 1);
	desc(f, 0, UINT64_MAX, UINT32_MAX, NEXT, 0xffff);
	assert_ptr_equal(f->chain.iov[0].iov_base, fake_ptr(f->drv, BUF, 16));
	assert_int_equal(f->chain.iov[0].iov_len, 16);
	virtqueue_push(&f->dev->queue[0], f->chain.head, 16);
	assert_int_equal(fake_used_idx(f->drv, 0), 1);
}

static void test_zero_length_is_left_out(void **state)
{
	struct fixture *f = *state;

	start(f);
	desc(f, 0, UINT64_MAX, 0, NEXT, 1);
	desc(f, 1, BUF, 16, NEXT | WRITE, 2);
	desc(f, 2, 0, 0, WRITE, 0);
	fake_post_head(f->drv, 0, 0);
	assert_int_equal(pop(f), 1);
	assert_int_equal(f->chain.n_readable, 0);
	assert_int_equal(f->chain.n_writable, 1);
	assert_int_equal(f->chain.writable_len, 16);
}

static void test_more_segments_than_room(void **state)
{
	struct fixture *f = *state;

	start(f);
	f->chain.iov_max = 2;
	desc(f, 0, BUF, 16, NEXT, 1);
	desc(f, 1, BUF, 16, NEXT, 2);
	desc(f, 2, BUF, 16, WRITE, 0);
	desc(f, 4, BUF, 16, WRITE, 0);
	fake_post_head(f->drv, 0, 0);
	fake_post_head(f->drv, 0, 4);
	assert_int_equal(pop(f), -E2BIG);
	assert_int_equal(f->chain.head, 0);
	assert_int_equal(f->chain.n_readable + f->chain.n_writable, 0);
	virtqueue_push(&f->dev->queue[0], 0, 0);
	assert_int_equal(pop(f), 1); /* the ring goes on */
	assert_int_equal(f->chain.head, 4);
}

/* What was in flight when the ring broke comes back to nobody, and does no harm. */
static void test_completion_after_the_ring_broke(void **state)
{
	struct fixture *f = *state;

	start(f);
	desc(f, 0, BUF, 16, WRITE, 0);
	fake_post_head(f->drv, 0, 0);
	assert_int_equal(pop(f), 1);
	fake_post_head(f->drv, 0, QSIZE);
	assert_int_equal(pop(f), -EBADMSG);
	virtqueue_push(&f->dev->queue[0], 0, 16);
	virtqueue_pop_undo(&f->dev->queue[0], &f->chain);
	virtio_dev_flush(f->dev, 0);
	assert_int_equal(fake_used_idx(f->drv, 0), 0);
	assert_int_equal(fake_signals(f->drv, 0), 0);
	assert_breaks(f, "head out of range");
}

/* Buffers on top of the rings: the guest may overwrite its own rings with the device's answers. */
static void test_buffers_on_top_of_the_rings(void **state)
{
	struct fixture *f = *state;
	const struct virtqueue_addr at = f->drv->q[0].addr;
	const uint64_t places[] = { at.desc, at.avail, at.used };

	for (unsigned i = 0; i < ARRAY_LEN(places); i++) {
		start(f);
		desc(f, 0, places[i], 16, WRITE, 0);
		fake_post_head(f->drv, 0, 0);
		assert_int_equal(pop(f), 1);
		memset(f->chain.iov[0].iov_base, 0xff, 16);
		virtqueue_push(&f->dev->queue[0], f->chain.head, 16);
		virtio_dev_flush(f->dev, 0);
		(void)virtio_dev_pop(f->dev, 0, &f->chain);
		fake_driver_stop(f->drv);
	}
}

/* With event-idx the driver's wish is any 16 bits; whatever it is, nothing but an interrupt more
 * or less may come of it. */
static void test_any_used_event(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(
		fake_driver_start(f->drv, INDIRECT | VIRTIO_BIT(VIRTIO_F_EVENT_IDX), NULL), 0);
	desc(f, 0, BUF, 16, WRITE, 0);
	for (unsigned i = 0; i < 2000; i++) {
		fake_write_used_event(f->drv, 0, (uint16_t)(i * 40503));
		fake_post_head(f->drv, 0, 0);
		assert_int_equal(pop(f), 1);
		virtio_dev_complete(f->dev, 0, f->chain.head, 0);
		virtio_dev_flush(f->dev, 0);
		virtio_dev_flush(f->dev, 0);
	}
	assert_int_equal(fake_used_idx(f->drv, 0), 2000);
	assert_true(fake_signals(f->drv, 0) <= 2000);
}

/* ---- places of rings ---- */

static int try_rings(struct fixture *f, uint16_t size, uint64_t d, uint64_t a, uint64_t u)
{
	f->drv->q[0].size = size;
	f->drv->q[0].addr = (struct virtqueue_addr){ d, a, u };
	int ret = fake_driver_start(f->drv, 0, NULL);

	assert_true(ret < 0);
	assert_int_equal(f->nd->activations, 0);
	assert_int_equal(pop(f), 0);
	fake_driver_stop(f->drv);
	return ret;
}

static void test_queue_sizes(void **state)
{
	struct fixture *f = *state;
	const uint16_t bad[] = { 3, QSIZE - 1, QSIZE + 1, 2 * QSIZE, 0x8000, 0xffff };
	struct virtqueue *q = &f->dev->queue[0];

	for (unsigned i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(try_rings(f, bad[i], 0x1000, 0x2000, 0x3000), -EINVAL);
	q->size = 0;
	q->addr = (struct virtqueue_addr){ 0x1000, 0x2000, 0x3000 };
	assert_int_equal(virtqueue_enable(q, f->drv->mem, 0, 0, NULL), -EINVAL);
	q->size = 1;
	assert_int_equal(virtqueue_enable(q, f->drv->mem, 0, 0, NULL), 0);
	assert_int_equal(virtqueue_enable(q, f->drv->mem, 0, 0, NULL), -EINVAL);
}

static void test_ring_places(void **state)
{
	struct fixture *f = *state;
	const uint64_t hole = FAKE_LOW_SIZE, top = FAKE_TOP_GPA + FAKE_TOP_SIZE;
	const struct {
		uint64_t d, a, u;
		int ret;
	} bad[] = {
		{ 0x1008, 0x2000, 0x3000, -EINVAL }, /* alignment */
		{ 0x1000, 0x2001, 0x3000, -EINVAL },
		{ 0x1000, 0x2000, 0x3002, -EINVAL },
		{ hole, 0x2000, 0x3000, -EFAULT }, /* outside */
		{ 0x1000, hole + 64, 0x3000, -EFAULT },
		{ 0x1000, 0x2000, top, -EFAULT },
		{ hole - 16, 0x2000, 0x3000, -EFAULT }, /* into the hole */
		{ 0x1000, hole - 20, 0x3000, -EFAULT },
		{ 0x1000, 0x2000, hole - 68, -EFAULT },
		{ UINT64_MAX - 15, 0x2000, 0x3000, -EFAULT }, /* around 2^64 */
		{ 0x1000, UINT64_MAX - 1, 0x3000, -EFAULT },
		{ 0x1000, 0x2000, UINT64_MAX - 3, -EFAULT },
		{ FAKE_TOP_GPA - 16, 0x2000, 0x3000, -EFAULT }, /* over two regions */
		{ 0x1000, 0x1000, 0x3000, -EINVAL },		/* over each other */
		{ 0x1000, 0x2000, 0x1070, -EINVAL },
		{ 0x1000, 0x2000, 0x2014, -EINVAL },
	};

	for (unsigned i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(try_rings(f, QSIZE, bad[i].d, bad[i].a, bad[i].u), bad[i].ret);
}

/* ---- a second vCPU rewrites everything all the time ---- */

struct scribbler {
	struct fixture *f;
	unsigned stop; /* atomic */
};

static void *scribble(void *arg)
{
	struct scribbler *s = arg;
	uint64_t x = 88172645463325252ULL;

	while (!__atomic_load_n(&s->stop, __ATOMIC_ACQUIRE)) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		desc(s->f, x % QSIZE, x & 1 ? BUF : x, (uint32_t)(x >> 32) & 0xfff, (x >> 8) & 7,
			(x >> 16) % (QSIZE + 1));
		table_desc(s->f, (x >> 20) % 4, x & 2 ? BUF : x, (uint32_t)(x >> 24) & 0xff,
			(x >> 11) & 7, (x >> 40) % 5);
	}
	return NULL;
}

static void assert_chain_is_guest_memory(struct fixture *f)
{
	uint8_t *low = fake_ptr(f->drv, FAKE_LOW_GPA, FAKE_LOW_SIZE);
	uint8_t *high = fake_ptr(f->drv, FAKE_HIGH_GPA, FAKE_HIGH_SIZE);
	uint8_t *top = fake_ptr(f->drv, FAKE_TOP_GPA, FAKE_TOP_SIZE);

	for (unsigned i = 0; i < f->chain.n_readable + f->chain.n_writable; i++) {
		uint8_t *p = f->chain.iov[i].iov_base;
		size_t len = f->chain.iov[i].iov_len;

		assert_true((p >= low && range_ok(p - low, len, FAKE_LOW_SIZE)) ||
			    (p >= high && range_ok(p - high, len, FAKE_HIGH_SIZE)) ||
			    (p >= top && range_ok(p - top, len, FAKE_TOP_SIZE)));
	}
}

static void test_concurrent_rewriting(void **state)
{
	struct fixture *f = *state;
	struct scribbler s = { .f = f };
	unsigned popped = 0;
	pthread_t tid;

	start(f);
	assert_int_equal(pthread_create(&tid, NULL, scribble, &s), 0);
	for (unsigned i = 0; i < 20000; i++) {
		fake_post_head(f->drv, 0, (uint16_t)(i % QSIZE));
		int ret = pop(f);

		if (ret == 1) {
			assert_chain_is_guest_memory(f);
			virtqueue_push(&f->dev->queue[0], f->chain.head, 0);
			popped++;
		} else {
			assert_int_equal(ret, -EBADMSG);
			fake_driver_stop(f->drv);
			start(f);
		}
	}
	__atomic_store_n(&s.stop, 1, __ATOMIC_RELEASE);
	pthread_join(tid, NULL);
	assert_true(popped > 0);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_loop_to_itself),
		T(test_loop_of_empty_buffers),
		T(test_next_out_of_range),
		T(test_next_ffff),
		T(test_buffer_in_the_hole),
		T(test_buffer_reaches_into_the_hole),
		T(test_buffer_wraps),
		T(test_readable_after_writable),
		T(test_table_size_not_multiple_of_16),
		T(test_table_empty),
		T(test_table_outside_memory),
		T(test_table_huge),
		T(test_table_with_next),
		T(test_indirect_in_indirect),
		T(test_loop_in_table),
		T(test_next_beyond_table),
		T(test_table_chain_longer_than_queue),
		T(test_indirect_not_negotiated),
		T(test_length_sum_overflows),
		T(test_head_out_of_range),
		T(test_head_ffff),
		T(test_avail_idx_jumps),
		T(test_avail_idx_goes_back),
		T(test_head_twice_in_flight),
		T(test_head_again_after_push),
		T(test_descriptor_rewritten_in_flight),
		T(test_zero_length_is_left_out),
		T(test_more_segments_than_room),
		T(test_completion_after_the_ring_broke),
		T(test_buffers_on_top_of_the_rings),
		T(test_any_used_event),
		T(test_queue_sizes),
		T(test_ring_places),
		T(test_concurrent_rewriting),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
