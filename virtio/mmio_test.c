/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>

#include "lib/num.h"
#include "virtio/mmio.h"
#include "virtio/null_dev_test.h"
#include "virtio/rng.h"

#define QSIZE 8
#define RAM   0x100000
#define DESC  0x1000
#define AVAIL 0x2000
#define USED  0x3000
#define BUF   0x10000

/* Registers and status bits, as a driver's author would copy them from the specification. */
#define R_FEATURES     0x10
#define R_FEATURES_SEL 0x14
#define R_DRV_FEATURES 0x20
#define R_DRV_FEAT_SEL 0x24
#define R_SEL	       0x30
#define R_NUM_MAX      0x34
#define R_NUM	       0x38
#define R_READY	       0x44
#define R_NOTIFY       0x50
#define R_ISR	       0x60
#define R_ACK	       0x64
#define R_STATUS       0x70
#define R_DESC	       0x80
#define R_AVAIL	       0x90
#define R_USED	       0xa0
#define R_GENERATION   0xfc
#define R_CONFIG       0x100
#define S_ACKNOWLEDGE  1
#define S_DRIVER       3
#define S_FEATURES_OK  11
#define S_DRIVER_OK    15
#define S_NEEDS_RESET  64
#define S_FAILED       128

struct fixture {
	struct virtio_dev *dev;
	struct null_dev *nd; /* the same, or NULL when it is the rng device */
	struct guest_mem *mem;
	struct loop *loop;
	struct virtio_mmio *mmio;
	int irq_fd;
	uint16_t avail_idx;
};

static int setup_with(void **state, struct virtio_dev *dev, struct null_dev *nd)
{
	struct fixture *f = calloc(1, sizeof(*f));

	*state = f;
	f->dev = dev;
	f->nd = nd;
	f->mem = guest_mem_new();
	f->irq_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct virtio_mmio_irq irq = { .fd = f->irq_fd };

	return guest_mem_add_anon(f->mem, 0, RAM, NULL) || loop_new(&f->loop, NULL) ||
	       virtio_mmio_new(dev, f->mem, f->loop, &irq, &f->mmio, NULL);
}

static int setup(void **state)
{
	struct null_dev *nd = null_dev_new(QSIZE);

	return setup_with(state, &nd->dev, nd);
}

static int setup_rng(void **state)
{
	struct virtio_dev *dev;

	return virtio_rng_new(&dev, NULL) || setup_with(state, dev, NULL);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	virtio_mmio_free(f->mmio);
	virtio_dev_free(f->dev);
	loop_free(f->loop);
	guest_mem_unref(f->mem);
	close(f->irq_fd);
	free(f);
	return 0;
}

static uint32_t rd(struct fixture *f, uint64_t off)
{
	uint32_t v = 0x55555555;

	virtio_mmio_read(f->mmio, off, &v, 4);
	return v;
}

static void wr(struct fixture *f, uint64_t off, uint32_t v)
{
	virtio_mmio_write(f->mmio, off, &v, 4);
}

static void handshake(struct fixture *f)
{
	wr(f, R_STATUS, 0);
	wr(f, R_STATUS, S_ACKNOWLEDGE);
	wr(f, R_STATUS, S_DRIVER);
	for (uint32_t i = 0; i < 2; i++) {
		wr(f, R_FEATURES_SEL, i);
		wr(f, R_DRV_FEAT_SEL, i);
		wr(f, R_DRV_FEATURES, rd(f, R_FEATURES));
	}
	wr(f, R_STATUS, S_FEATURES_OK);
	assert_int_equal(rd(f, R_STATUS), S_FEATURES_OK);
}

static void set_queue(struct fixture *f, uint32_t qi, uint32_t size, uint64_t desc)
{
	wr(f, R_SEL, qi);
	wr(f, R_NUM, size);
	wr(f, R_DESC, (uint32_t)desc);
	wr(f, R_DESC + 4, (uint32_t)(desc >> 32));
	wr(f, R_AVAIL, AVAIL);
	wr(f, R_AVAIL + 4, 0);
	wr(f, R_USED, USED);
	wr(f, R_USED + 4, 0);
	wr(f, R_READY, 1);
}

static void bring_up(struct fixture *f)
{
	handshake(f);
	memset(guest_mem_ptr(f->mem, 0, RAM), 0, RAM);
	f->avail_idx = 0;
	set_queue(f, 0, QSIZE, DESC);
	assert_int_equal(rd(f, R_READY), 1);
	wr(f, R_STATUS, S_DRIVER_OK);
	assert_int_equal(rd(f, R_STATUS), S_DRIVER_OK);
}

static void run_loop(struct fixture *f)
{
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(loop_run_once(f->loop, 0, NULL), 0);
}

static bool irq_raised(struct fixture *f)
{
	eventfd_t n;

	return eventfd_read(f->irq_fd, &n) == 0;
}

static void post_buffer(struct fixture *f, uint32_t len)
{
	struct virtq_desc d = { BUF, len, VIRTQ_DESC_F_WRITE, 0 };
	uint16_t slot = f->avail_idx % QSIZE;

	memcpy(guest_mem_ptr(f->mem, DESC + 16 * slot, 16), &d, 16);
	store_le16(guest_mem_ptr(f->mem, AVAIL + 4 + 2 * slot, 2), slot);
	__atomic_store_n(
		(uint16_t *)guest_mem_ptr(f->mem, AVAIL + 2, 2), ++f->avail_idx, __ATOMIC_RELEASE);
}

static uint16_t used_idx(struct fixture *f)
{
	return load_le16(guest_mem_ptr(f->mem, USED + 2, 2));
}

static void test_identity(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(rd(f, 0x00), 0x74726976);
	assert_int_equal(rd(f, 0x04), 2);
	assert_int_equal(rd(f, 0x08), f->dev->ops->id);
	assert_int_equal(rd(f, 0x0c), 0);
	wr(f, R_FEATURES_SEL, 1);
	assert_int_equal(rd(f, R_FEATURES), 1);
	wr(f, R_FEATURES_SEL, 2);
	assert_int_equal(rd(f, R_FEATURES), 0);
	wr(f, 0xac, 0);
	for (uint64_t off = 0xb0; off <= 0xbc; off += 4)
		assert_int_equal(rd(f, off), UINT32_MAX);
}

static void test_request_by_notify_register(void **state)
{
	struct fixture *f = *state;

	bring_up(f);
	run_loop(f);
	(void)irq_raised(f);
	post_buffer(f, 32);
	wr(f, R_NOTIFY, 0);
	run_loop(f);
	assert_int_equal(used_idx(f), 1);
	assert_true(irq_raised(f));
	assert_int_equal(rd(f, R_ISR), 1);
	wr(f, R_ACK, 1);
	assert_int_equal(rd(f, R_ISR), 0);
}

static void test_request_by_ioeventfd(void **state)
{
	struct fixture *f = *state;

	bring_up(f);
	run_loop(f);
	post_buffer(f, 32);
	assert_int_equal(eventfd_write(virtio_mmio_kick_fd(f->mmio, 0), 1), 0);
	run_loop(f);
	assert_int_equal(used_idx(f), 1);
}

static void test_requests_posted_before_driver_ok(void **state)
{
	struct fixture *f = *state;

	handshake(f);
	set_queue(f, 0, QSIZE, DESC);
	post_buffer(f, 32);
	wr(f, R_STATUS, S_DRIVER_OK);
	run_loop(f);
	assert_int_equal(used_idx(f), 1);
}

static void test_notify_needs_driver_ok(void **state)
{
	struct fixture *f = *state;

	handshake(f);
	set_queue(f, 0, QSIZE, DESC);
	post_buffer(f, 32);
	wr(f, R_NOTIFY, 0);
	wr(f, R_NOTIFY, 1);
	wr(f, R_NOTIFY, 70);
	wr(f, R_NOTIFY, UINT32_MAX);
	run_loop(f);
	assert_int_equal(used_idx(f), 0);
}

static void test_status_is_strict(void **state)
{
	struct fixture *f = *state;
	static const uint32_t jumps[] = { 2, S_DRIVER, 4, 8, S_FEATURES_OK, S_DRIVER_OK, 16, 0x100,
		UINT32_MAX };

	for (unsigned i = 0; i < ARRAY_LEN(jumps); i++) {
		wr(f, R_STATUS, jumps[i]);
		assert_int_equal(rd(f, R_STATUS), 0);
	}
	handshake(f);
	wr(f, R_STATUS, S_DRIVER); /* clearing a bit */
	wr(f, R_STATUS, S_ACKNOWLEDGE);
	wr(f, R_STATUS, 4);
	assert_int_equal(rd(f, R_STATUS), S_FEATURES_OK);
	wr(f, R_STATUS, S_DRIVER_OK);
	wr(f, R_STATUS, S_DRIVER_OK);
	assert_int_equal(f->nd->activations, 1);
	wr(f, R_STATUS, S_FEATURES_OK);
	assert_int_equal(rd(f, R_STATUS), S_DRIVER_OK);
	wr(f, R_STATUS, 0);
	assert_int_equal(rd(f, R_STATUS), 0);
	assert_int_equal(f->nd->resets, 1);
}

static void test_failed_sticks(void **state)
{
	struct fixture *f = *state;

	wr(f, R_STATUS, S_ACKNOWLEDGE);
	wr(f, R_STATUS, S_ACKNOWLEDGE | S_FAILED);
	assert_int_equal(rd(f, R_STATUS), S_ACKNOWLEDGE | S_FAILED);
	wr(f, R_STATUS, S_DRIVER);
	wr(f, R_STATUS, S_DRIVER | S_FAILED);
	assert_int_equal(rd(f, R_STATUS), S_ACKNOWLEDGE | S_FAILED);
	wr(f, R_STATUS, 0);
	bring_up(f);
}

static void test_features(void **state)
{
	struct fixture *f = *state;

	wr(f, R_DRV_FEATURES, UINT32_MAX); /* before DRIVER */
	wr(f, R_STATUS, S_ACKNOWLEDGE);
	wr(f, R_STATUS, S_DRIVER);
	assert_int_equal(f->dev->acked, 0);
	wr(f, R_DRV_FEATURES, UINT32_MAX);
	wr(f, R_STATUS, S_FEATURES_OK); /* refused: VERSION_1 is missing */
	assert_int_equal(rd(f, R_STATUS), S_DRIVER);
	wr(f, R_DRV_FEAT_SEL, 7);
	wr(f, R_DRV_FEATURES, UINT32_MAX);
	wr(f, R_DRV_FEAT_SEL, 1);
	wr(f, R_DRV_FEATURES, UINT32_MAX);
	assert_true(f->dev->acked == f->dev->features);
	wr(f, R_STATUS, S_FEATURES_OK);
	assert_int_equal(rd(f, R_STATUS), S_FEATURES_OK);
	wr(f, R_DRV_FEATURES, 0); /* too late */
	assert_true(f->dev->acked == f->dev->features);
}

static void write_everything(struct fixture *f, uint32_t value)
{
	for (uint64_t off = 0; off < R_CONFIG; off += 4) {
		if (off != R_STATUS && off != R_SEL)
			wr(f, off, value);
	}
}

static void test_writes_after_driver_ok(void **state)
{
	struct fixture *f = *state;
	const struct virtqueue *q = &f->dev->queue[0];

	bring_up(f);
	uint64_t acked = f->dev->acked;
	write_everything(f, 0);
	write_everything(f, 1);
	write_everything(f, UINT32_MAX);
	assert_true(f->dev->acked == acked);
	assert_true(q->enabled);
	assert_int_equal(q->size, QSIZE);
	assert_int_equal(q->addr.desc, DESC);
	assert_int_equal(q->addr.avail, AVAIL);
	assert_int_equal(q->addr.used, USED);
	wr(f, R_SEL, 1); /* nor can a queue come to life late */
	set_queue(f, 1, QSIZE, DESC);
	assert_false(f->dev->queue[1].enabled);
	run_loop(f);
	assert_int_equal(rd(f, R_STATUS), S_DRIVER_OK);
}

static void test_ready_queue_is_frozen(void **state)
{
	struct fixture *f = *state;

	handshake(f);
	set_queue(f, 0, QSIZE, DESC);
	wr(f, R_NUM, 4);
	wr(f, R_DESC, 0x8000);
	assert_int_equal(f->dev->queue[0].size, QSIZE);
	assert_int_equal(f->dev->queue[0].addr.desc, DESC);
	wr(f, R_READY, 0);
	assert_int_equal(rd(f, R_READY), 0);
	wr(f, R_NUM, 4);
	wr(f, R_READY, 1);
	assert_int_equal(f->dev->queue[0].size, 4);
	assert_int_equal(rd(f, R_READY), 1);
}

static void test_bad_queues(void **state)
{
	static const struct {
		uint32_t size;
		uint64_t desc;
	} bad[] = {
		{ 0, DESC },
		{ 3, DESC },
		{ 2 * QSIZE, DESC },
		{ 0x10000 + QSIZE, DESC },
		{ UINT32_MAX, DESC },
		{ QSIZE, RAM },
		{ QSIZE, RAM - 16 },
		{ QSIZE, DESC + 1 },
		{ QSIZE, 0xfffffffffffffff0 },
		{ QSIZE, 0x100000000 + DESC },
	};
	struct fixture *f = *state;

	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		handshake(f);
		set_queue(f, 0, bad[i].size, bad[i].desc);
		assert_int_equal(rd(f, R_READY), 0);
		assert_int_equal(rd(f, R_STATUS), S_FEATURES_OK | S_NEEDS_RESET);
	}
	bring_up(f);
}

static void test_queue_select_out_of_range(void **state)
{
	static const uint32_t sel[] = { NULL_DEV_QUEUES, 70, 0x10000, UINT32_MAX };
	struct fixture *f = *state;

	handshake(f);
	for (unsigned i = 0; i < ARRAY_LEN(sel); i++) {
		set_queue(f, sel[i], QSIZE, DESC);
		assert_int_equal(rd(f, R_NUM_MAX), 0);
		assert_int_equal(rd(f, R_READY), 0);
	}
	assert_int_equal(rd(f, R_STATUS), S_FEATURES_OK);
	wr(f, R_SEL, 1);
	assert_int_equal(rd(f, R_NUM_MAX), QSIZE);
}

static void test_odd_accesses(void **state)
{
	struct fixture *f = *state;
	uint8_t b[64];

	for (uint32_t len = 0; len <= 16; len++) {
		for (uint64_t off = 0; off < R_CONFIG; off++) {
			if (len == 4 && off % 4 == 0)
				continue;
			memset(b, 0xff, sizeof(b));
			virtio_mmio_write(f->mmio, off, b, len);
			virtio_mmio_read(f->mmio, off, b, len);
			for (uint32_t i = 0; i < len; i++)
				assert_int_equal(b[i], 0);
			assert_int_equal(b[len], 0xff);
		}
	}
	assert_int_equal(rd(f, R_STATUS), 0);
	virtio_mmio_write(f->mmio, UINT64_MAX, b, 8);
	virtio_mmio_read(f->mmio, UINT64_MAX - 3, b, 4);
}

static void test_config_space(void **state)
{
	struct fixture *f = *state;
	uint8_t b[16];

	for (unsigned i = 0; i < sizeof(f->nd->config); i++)
		f->nd->config[i] = (uint8_t)(i + 1);
	virtio_mmio_read(f->mmio, R_CONFIG + 1, b, 1);
	assert_int_equal(b[0], 2);
	virtio_mmio_read(f->mmio, R_CONFIG + 8, b, 8);
	assert_int_equal(b[7], 16);
	virtio_mmio_read(f->mmio, R_CONFIG + 12, b, 8); /* partly beyond the end */
	assert_int_equal(b[0], 0);
	virtio_mmio_write(f->mmio, R_CONFIG, "x", 1); /* not before DRIVER */
	assert_int_equal(f->nd->config[0], 1);
	handshake(f);
	virtio_mmio_write(f->mmio, R_CONFIG + 15, "xy", 1);
	assert_int_equal(f->nd->config[15], 'x');
	virtio_mmio_write(f->mmio, R_CONFIG + 15, "xy", 2);
	virtio_mmio_write(f->mmio, R_CONFIG + 0x10000000ULL, "xy", 2);
	assert_int_equal(f->nd->config[15], 'x');
}

/* Found by the fuzz target: an empty access fits into an empty config space. */
static void test_device_without_config(void **state)
{
	struct fixture *f = *state;
	uint8_t b[8] = { 1, 2, 3, 4, 5, 6, 7, 8 };

	handshake(f);
	for (uint32_t len = 0; len <= 8; len++) {
		virtio_mmio_write(f->mmio, R_CONFIG, b, len);
		virtio_mmio_read(f->mmio, R_CONFIG, b, len);
	}
	assert_int_equal(b[7], 0);
}

static void test_config_change(void **state)
{
	struct fixture *f = *state;
	uint32_t generation = rd(f, R_GENERATION);

	virtio_dev_config_changed(f->dev);
	assert_true(rd(f, R_GENERATION) != generation);
	assert_false(irq_raised(f)); /* nobody listens yet */
	bring_up(f);
	virtio_dev_config_changed(f->dev);
	assert_true(irq_raised(f));
	assert_int_equal(rd(f, R_ISR), 2);
	wr(f, R_ACK, ~2U);
	assert_int_equal(rd(f, R_ISR), 2);
	wr(f, R_ACK, 2);
	assert_int_equal(rd(f, R_ISR), 0);
}

static void test_needs_reset(void **state)
{
	struct fixture *f = *state;

	bring_up(f);
	virtio_dev_fail(f->dev, "test");
	assert_int_equal(rd(f, R_STATUS), S_DRIVER_OK | S_NEEDS_RESET);
	assert_true(irq_raised(f));
	wr(f, R_STATUS, S_DRIVER_OK | S_NEEDS_RESET);
	assert_int_equal(f->nd->activations, 1);
	bring_up(f);
	assert_int_equal(f->nd->activations, 2);
	assert_int_equal(rd(f, R_ISR), 0);
}

static void test_activation_failure(void **state)
{
	struct fixture *f = *state;

	f->nd->activate_ret = -EIO;
	handshake(f);
	wr(f, R_STATUS, S_DRIVER_OK);
	assert_int_equal(rd(f, R_STATUS), S_DRIVER_OK | S_NEEDS_RESET);
	wr(f, R_STATUS, 0);
	assert_int_equal(rd(f, R_STATUS), 0);
}

/* ---- vCPUs that reset and abuse registers while the loop serves requests ---- */

struct abuser {
	struct fixture *f;
	uint64_t seed;
	unsigned *stop; /* atomic */
};

static void *reset_loop(void *arg)
{
	struct abuser *a = arg;

	for (unsigned i = 0; i < 300; i++) {
		bring_up(a->f);
		for (unsigned j = 0; j < QSIZE; j++)
			post_buffer(a->f, 4096);
		wr(a->f, R_NOTIFY, 0);
		sched_yield();
	}
	__atomic_sub_fetch(a->stop, 1, __ATOMIC_RELEASE);
	return NULL;
}

static void test_reset_during_io(void **state)
{
	struct fixture *f = *state;
	unsigned running = 1;
	struct abuser a = { f, 1, &running };
	pthread_t tid;

	assert_int_equal(pthread_create(&tid, NULL, reset_loop, &a), 0);
	while (__atomic_load_n(&running, __ATOMIC_ACQUIRE) > 0)
		assert_int_equal(loop_run_once(f->loop, 1, NULL), 0);
	pthread_join(tid, NULL);
	run_loop(f);
	assert_int_equal(rd(f, R_STATUS), S_DRIVER_OK);
}

static void *poke(void *arg)
{
	struct abuser *a = arg;
	uint64_t x = a->seed;

	for (unsigned i = 0; i < 20000; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		if (x & 1)
			wr(a->f, (x >> 32) % 64 * 4,
				(uint32_t)(x >> 16) & (x & 2 ? 15 : UINT32_MAX));
		else
			(void)rd(a->f, (x >> 32) % 80 * 4);
	}
	__atomic_sub_fetch(a->stop, 1, __ATOMIC_RELEASE);
	return NULL;
}

static void test_random_registers_from_two_vcpus(void **state)
{
	struct fixture *f = *state;
	unsigned running = 2;
	struct abuser a[2] = { { f, 88172645463325252ULL, &running }, { f, 12345, &running } };
	pthread_t tid[2];

	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&tid[i], NULL, poke, &a[i]), 0);
	while (__atomic_load_n(&running, __ATOMIC_ACQUIRE) > 0)
		assert_int_equal(loop_run_once(f->loop, 1, NULL), 0);
	for (unsigned i = 0; i < 2; i++)
		pthread_join(tid[i], NULL);
	bring_up(f);
}

#define T(fn)	  cmocka_unit_test_setup_teardown(fn, setup, teardown)
#define T_RNG(fn) cmocka_unit_test_setup_teardown(fn, setup_rng, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_identity),
		T_RNG(test_request_by_notify_register),
		T_RNG(test_request_by_ioeventfd),
		T_RNG(test_requests_posted_before_driver_ok),
		T_RNG(test_notify_needs_driver_ok),
		T(test_status_is_strict),
		T(test_failed_sticks),
		T(test_features),
		T(test_writes_after_driver_ok),
		T(test_ready_queue_is_frozen),
		T(test_bad_queues),
		T(test_queue_select_out_of_range),
		T(test_odd_accesses),
		T(test_config_space),
		T_RNG(test_device_without_config),
		T(test_config_change),
		T(test_needs_reset),
		T(test_activation_failure),
		T_RNG(test_reset_during_io),
		T_RNG(test_random_registers_from_two_vcpus),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
