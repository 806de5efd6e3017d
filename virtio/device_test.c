/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "lib/log.h"
#include "virtio/null_dev_test.h"

struct fixture {
	struct null_dev *nd;
	struct fake_driver *drv;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->nd = null_dev_new(8);
	*state = f;
	return fake_driver_new(&f->nd->dev, NULL, &f->drv, NULL);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	fake_driver_free(f->drv);
	virtio_dev_free(&f->nd->dev);
	free(f);
	return 0;
}

static void test_features_are_masked(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(fake_driver_start(f->drv, UINT64_MAX, NULL), 0);
	assert_true(virtio_dev_has(&f->nd->dev, 5));
	assert_true(virtio_dev_has(&f->nd->dev, VIRTIO_F_VERSION_1));
	assert_false(virtio_dev_has(&f->nd->dev, 6));
	fake_driver_stop(f->drv);
	assert_false(virtio_dev_has(&f->nd->dev, 5));
}

static void test_kicks_need_an_active_device(void **state)
{
	struct fixture *f = *state;

	fake_kick(f->drv, 0);
	assert_int_equal(f->nd->kicks, 0);
	f->drv->q[1].size = 0;
	assert_int_equal(fake_driver_start(f->drv, 0, NULL), 0);
	fake_kick(f->drv, 0);
	assert_int_equal(f->nd->kicks, 1);
	fake_kick(f->drv, 1); /* disabled */
	fake_kick(f->drv, 2); /* does not exist */
	fake_kick(f->drv, UINT32_MAX);
	assert_int_equal(f->nd->kicks, 1);
}

static void note_failure(void *ctx, const char *why)
{
	++*(int *)ctx;
}

static void test_failed_activation_waits_for_reset(void **state)
{
	struct fixture *f = *state;
	int told = 0;

	f->nd->dev.start_failed = note_failure;
	f->nd->dev.start_failed_ctx = &told;

	f->nd->activate_ret = -EIO;
	assert_int_equal(fake_driver_start(f->drv, 0, NULL), -EIO);
	assert_true(fake_is_broken(f->drv));
	assert_int_equal(told, 1);
	fake_kick(f->drv, 0);
	assert_int_equal(f->nd->kicks, 0);
	fake_driver_stop(f->drv);
	assert_int_equal(f->nd->resets, 1);
	fake_driver_stop(f->drv);
	assert_int_equal(f->nd->resets, 1);
	f->nd->activate_ret = 0;
	assert_int_equal(fake_driver_start(f->drv, 0, NULL), 0);
}

static void test_rekicks_are_delivered(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(fake_driver_start(f->drv, 0, NULL), 0);
	virtio_dev_rekick(&f->nd->dev, 1);
	virtio_dev_rekick(&f->nd->dev, 1);
	assert_int_equal(fake_settle(f->drv), 1);
	assert_int_equal(f->nd->kicks, 1);
}

static void count_line(void *ctx, enum log_level level, const char *line)
{
	(*(unsigned *)ctx)++;
}

static void test_guest_cannot_fill_the_log(void **state)
{
	struct fixture *f = *state;
	unsigned lines = 0;

	log_set_sink(count_line, &lines, LOG_INFO);
	for (unsigned i = 0; i < 100; i++) {
		assert_int_equal(fake_driver_start(f->drv, 0, NULL), 0);
		virtio_dev_fail(&f->nd->dev, "test");
		virtio_dev_fail(&f->nd->dev, "test");
		fake_driver_stop(f->drv);
	}
	log_set_sink(NULL, NULL, LOG_WARN);
	assert_int_equal(lines, 1);
	assert_int_equal(f->drv->needs_resets, 100);
}

static void test_config_bounds(void **state)
{
	struct fixture *f = *state;
	uint8_t b[32];

	memset(f->nd->config, 9, sizeof(f->nd->config));
	fake_config_read(f->drv, 15, b, 1);
	assert_int_equal(b[0], 9);
	fake_config_read(f->drv, 15, b, 2);
	assert_int_equal(b[0], 0);
	fake_config_write(f->drv, UINT32_MAX, b, 2);
	virtio_dev_config_changed(&f->nd->dev);
	assert_int_equal(f->drv->config_signals, 1);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_features_are_masked),
		T(test_kicks_need_an_active_device),
		T(test_failed_activation_waits_for_reset),
		T(test_rekicks_are_delivered),
		T(test_guest_cannot_fill_the_log),
		T(test_config_bounds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
