/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "virtio/fake_driver.h"
#include "virtio/rng.h"

#define FEATURES (VIRTIO_BIT(VIRTIO_F_INDIRECT_DESC) | VIRTIO_BIT(VIRTIO_F_EVENT_IDX))

struct fixture {
	struct virtio_dev *dev;
	struct fake_driver *drv;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	*state = f;
	if (virtio_rng_new(&f->dev, NULL) < 0 || fake_driver_new(f->dev, NULL, &f->drv, NULL) < 0)
		return -1;
	return fake_driver_start(f->drv, FEATURES, NULL);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	fake_driver_free(f->drv);
	virtio_dev_free(f->dev);
	free(f);
	return 0;
}

static bool all_zero(const uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (p[i])
			return false;
	}
	return true;
}

static void test_fills_the_buffer(void **state)
{
	struct fixture *f = *state;
	uint8_t a[64], b[64];

	assert_int_equal(fake_request(f->drv, 0, NULL, 0, a, sizeof(a)), sizeof(a));
	assert_int_equal(fake_request(f->drv, 0, NULL, 0, b, sizeof(b)), sizeof(b));
	assert_false(all_zero(a, sizeof(a)));
	assert_memory_not_equal(a, b, sizeof(a));
	assert_true(fake_signals(f->drv, 0) >= 1);
}

static void test_fills_several_segments(void **state)
{
	struct fixture *f = *state;
	uint64_t gpa = fake_alloc(f->drv, 300);
	struct fake_seg s[] = { { gpa, 100, true }, { gpa + 100, 100, true },
		{ gpa + 200, 100, true } };
	uint32_t written;

	fake_post_indirect(f->drv, 0, s, 3);
	fake_kick(f->drv, 0);
	assert_true(fake_used(f->drv, 0, NULL, &written));
	assert_int_equal(written, 300);
	for (unsigned i = 0; i < 3; i++)
		assert_false(all_zero(fake_ptr(f->drv, gpa + 100 * i, 100), 100));
}

static void test_request_is_capped(void **state)
{
	struct fixture *f = *state;
	struct fake_seg s = { FAKE_HIGH_GPA, FAKE_HIGH_SIZE, true };
	uint32_t written;

	fake_post(f->drv, 0, &s, 1);
	fake_kick(f->drv, 0);
	assert_true(fake_used(f->drv, 0, NULL, &written));
	assert_int_equal(written, VIRTIO_RNG_REQUEST_MAX);
	assert_true(all_zero(fake_ptr(f->drv, FAKE_HIGH_GPA + 65536, 4096), 4096));
}

static void test_work_per_kick_is_bounded(void **state)
{
	struct fixture *f = *state;
	struct fake_seg s = { FAKE_HIGH_GPA, FAKE_HIGH_SIZE, true };
	unsigned done = 0;

	for (unsigned i = 0; i < 20; i++)
		assert_true(fake_post(f->drv, 0, &s, 1) >= 0);
	fake_kick(f->drv, 0);
	assert_int_equal(fake_used_idx(f->drv, 0), 4);
	assert_true(fake_settle(f->drv) >= 4);
	while (fake_used(f->drv, 0, NULL, NULL))
		done++;
	assert_int_equal(done, 20);
	assert_int_equal(fake_settle(f->drv), 0);
}

static void test_nothing_to_write(void **state)
{
	struct fixture *f = *state;
	struct fake_seg readable = { fake_alloc(f->drv, 16), 16, false };
	uint32_t written = 1;

	memset(fake_ptr(f->drv, readable.gpa, 16), 7, 16);
	fake_post(f->drv, 0, &readable, 1);
	fake_kick(f->drv, 0);
	assert_true(fake_used(f->drv, 0, NULL, &written));
	assert_int_equal(written, 0);
	assert_int_equal(*(uint8_t *)fake_ptr(f->drv, readable.gpa, 1), 7);
}

static void test_too_many_segments(void **state)
{
	struct fixture *f = *state;
	struct fake_seg s[65];
	uint32_t written = 1;

	for (unsigned i = 0; i < 65; i++)
		s[i] = (struct fake_seg){ FAKE_HIGH_GPA, 1, true };
	fake_post(f->drv, 0, s, 65);
	fake_kick(f->drv, 0);
	assert_true(fake_used(f->drv, 0, NULL, &written));
	assert_int_equal(written, 0);
	assert_false(fake_is_broken(f->drv));
}

static void test_broken_ring(void **state)
{
	struct fixture *f = *state;

	fake_write_desc(f->drv, 0, 0, (struct virtq_desc){ UINT64_MAX, 4096, 2, 0 });
	fake_post_head(f->drv, 0, 0);
	fake_kick(f->drv, 0);
	assert_true(fake_is_broken(f->drv));
	assert_int_equal(fake_settle(f->drv), 0);
	assert_int_equal(fake_used_idx(f->drv, 0), 0);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_fills_the_buffer),
		T(test_fills_several_segments),
		T(test_request_is_capped),
		T(test_work_per_kick_is_bounded),
		T(test_nothing_to_write),
		T(test_too_many_segments),
		T(test_broken_ring),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
