/* SPDX-License-Identifier: Apache-2.0 */
/* The console with an honest driver. What a hostile one does is in console_hostile_test.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "virtio/console_rig_test.h"

/* --- what an honest driver sees --- */

static void test_handshake(void **state)
{
	set_up_ports(*state);
}

static void test_handshake_with_late_buffers(void **state)
{
	struct rig *r = *state;

	control(r, VIRTIO_CONSOLE_BAD_ID, VIRTIO_CONSOLE_DEVICE_READY, 1);
	control(r, 1, VIRTIO_CONSOLE_PORT_READY, 1);
	expect_none(r, CTL_IN);
	offer(r, CTL_IN, 1, BUF_LEN);
	expect_control(r, 0, VIRTIO_CONSOLE_PORT_ADD, 1, NULL, 0);
	expect_none(r, CTL_IN);
	offer(r, CTL_IN, 2, BUF_LEN);
	expect_control(r, 1, VIRTIO_CONSOLE_PORT_ADD, 1, NULL, 0);
	expect_control(r, 1, VIRTIO_CONSOLE_PORT_NAME, 1, "agent", 5);
	offer(r, CTL_IN, 2, BUF_LEN);
	expect_control(r, 1, VIRTIO_CONSOLE_PORT_OPEN, 1, NULL, 0);
	expect_none(r, CTL_IN);
}

static void test_config_space(void **state)
{
	struct rig *r = *state;
	uint8_t config[12];

	fake_config_read(r->drv, 0, config, sizeof(config));
	assert_int_equal(load_le16(config), 80);
	assert_int_equal(load_le16(config + 2), 24);
	assert_int_equal(load_le32(config + 4), 2);
	assert_int_equal(load_le32(config + 8), 0);
	fake_config_read(r->drv, 2, config, 2);
	assert_int_equal(load_le16(config), 24);
	assert_true(r->dev->features & VIRTIO_BIT(VIRTIO_CONSOLE_F_SIZE));
	assert_false(r->dev->features & VIRTIO_BIT(VIRTIO_CONSOLE_F_EMERG_WRITE));
}

static void test_output(void **state)
{
	struct rig *r = *state;
	uint64_t a = fake_alloc(r->drv, 16), b = fake_alloc(r->drv, 16);
	struct fake_seg seg[2] = { { a, 3, false }, { b, 4, false } };

	set_up_ports(r);
	assert_int_equal(fake_request(r->drv, OUT0, "hello", 5, NULL, 0), 0);
	expect_output(r, 0, "hello");
	memcpy(fake_ptr(r->drv, a, 3), "one", 3);
	memcpy(fake_ptr(r->drv, b, 4), "more", 4);
	assert_true(fake_post(r->drv, OUT1, seg, 2) >= 0);
	assert_true(fake_post_indirect(r->drv, OUT1, seg, 2) >= 0);
	fake_kick(r->drv, OUT1);
	expect_output(r, 1, "onemoreonemore");
	assert_true(fake_used(r->drv, OUT1, NULL, NULL) && fake_used(r->drv, OUT1, NULL, NULL));
}

static void test_input(void **state)
{
	struct rig *r = *state;

	set_up_ports(r);
	control(r, 1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	say(r, 1, "early");
	turn(r);
	offer(r, IN1, 1, 4);
	expect_input(r, IN1, "earl");
	expect_none(r, IN1);
	offer(r, IN1, 2, BUF_LEN);
	expect_input(r, IN1, "y");
	expect_none(r, IN1);
	say(r, 1, "later");
	turn(r);
	expect_input(r, IN1, "later");
	say(r, 1, "no buffer for this");
	turn(r);
	expect_none(r, IN1);
	offer(r, IN1, 1, BUF_LEN);
	expect_input(r, IN1, "no buffer for this");
}

static void test_input_waits_for_an_open_port(void **state)
{
	struct rig *r = *state;

	set_up_ports(r);
	offer(r, IN1, 2, BUF_LEN);
	say(r, 1, "first");
	turn(r);
	expect_none(r, IN1);
	control(r, 1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	turn(r);
	expect_input(r, IN1, "first");
	control(r, 1, VIRTIO_CONSOLE_PORT_OPEN, 0);
	say(r, 1, "second");
	turn(r);
	expect_none(r, IN1);
	control(r, 1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	turn(r);
	expect_input(r, IN1, "second");
}

static void test_end_of_input_closes_the_port(void **state)
{
	struct rig *r = *state;

	set_up_ports(r);
	control(r, 1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	offer(r, IN1, 2, BUF_LEN);
	say(r, 1, "last");
	assert_int_equal(shutdown(r->host[1], SHUT_WR), 0);
	turn(r);
	expect_input(r, IN1, "last");
	expect_none(r, IN1);
	expect_control(r, 1, VIRTIO_CONSOLE_PORT_OPEN, 0, NULL, 0);
	turn(r);
	expect_none(r, CTL_IN);
	/* the other direction goes on, and a reader that comes later is told at once */
	assert_int_equal(fake_request(r->drv, OUT1, "x", 1, NULL, 0), 0);
	expect_output(r, 1, "x");
	control(r, 1, VIRTIO_CONSOLE_PORT_READY, 1);
	expect_control(r, 1, VIRTIO_CONSOLE_PORT_NAME, 1, "agent", 5);
	expect_control(r, 1, VIRTIO_CONSOLE_PORT_OPEN, 0, NULL, 0);
}

static void test_end_of_input_on_a_console(void **state)
{
	struct rig *r = *state;

	set_up_ports(r);
	control(r, 0, VIRTIO_CONSOLE_PORT_OPEN, 1);
	offer(r, IN0, 1, BUF_LEN);
	assert_int_equal(shutdown(r->host[0], SHUT_WR), 0);
	turn(r);
	expect_none(r, CTL_IN);
	assert_int_equal(fake_request(r->drv, OUT0, "x", 1, NULL, 0), 0);
	expect_output(r, 0, "x");
}

static void test_driver_without_multiport(void **state)
{
	struct rig *r = *state;

	fake_driver_stop(r->drv);
	assert_int_equal(
		fake_driver_start(r->drv, ALL & ~VIRTIO_BIT(VIRTIO_CONSOLE_F_MULTIPORT), NULL), 0);
	offer(r, IN0, 1, BUF_LEN);
	say(r, 0, "hi");
	turn(r);
	expect_input(r, IN0, "hi");
	assert_int_equal(fake_request(r->drv, OUT0, "ho", 2, NULL, 0), 0);
	expect_output(r, 0, "ho");
}

/* --- flow control --- */

static size_t drain(int fd, size_t max)
{
	static char sink[65536];
	size_t sum = 0;
	ssize_t n;

	while (sum < max && (n = read(fd, sink, MIN_OF(sizeof(sink), max - sum))) > 0)
		sum += (size_t)n;
	return sum;
}

static void test_full_host_blocks_only_its_queue(void **state)
{
	enum { BIG = 4 << 20 };
	struct rig *r = *state;
	struct fake_seg big = { fake_alloc(r->drv, BIG), BIG, false };
	struct fake_seg small = { fake_alloc(r->drv, 4), 4, false };
	size_t got;

	set_up_ports(r);
	assert_true(fake_post(r->drv, OUT1, &big, 1) >= 0);
	assert_true(fake_post(r->drv, OUT1, &small, 1) >= 0);
	assert_true(virtio_console_has_output(r->dev));
	fake_kick(r->drv, OUT1);
	turn(r);
	assert_false(fake_used(r->drv, OUT1, NULL, NULL));
	assert_true(virtio_console_has_output(r->dev));
	fake_kick(r->drv, OUT1); /* kicking again changes nothing */
	turn(r);
	assert_int_equal(fake_request(r->drv, OUT0, "still", 5, NULL, 0), 0);
	expect_output(r, 0, "still");

	got = 0;
	while (got < BIG + 4) {
		size_t n = drain(r->host[1], BIG);

		turn(r);
		assert_true(n > 0);
		got += n;
	}
	assert_int_equal(got, BIG + 4);
	assert_false(virtio_console_has_output(r->dev));
	assert_true(fake_used(r->drv, OUT1, NULL, NULL));
	assert_true(fake_used(r->drv, OUT1, NULL, NULL));
}

static void test_reset_in_the_middle_of_output(void **state)
{
	enum { BIG = 4 << 20 };
	struct rig *r = *state;
	struct fake_seg big = { fake_alloc(r->drv, BIG), BIG, false };

	set_up_ports(r);
	assert_true(fake_post(r->drv, OUT1, &big, 1) >= 0);
	fake_kick(r->drv, OUT1);
	turn(r);
	assert_false(fake_used(r->drv, OUT1, NULL, NULL));
	assert_true(virtio_console_has_output(r->dev)); /* the chain is popped, and half written */
	fake_driver_stop(r->drv);
	assert_false(virtio_console_has_output(r->dev));
	assert_true(drain(r->host[1], SIZE_MAX) > 0);
	turn(r); /* the watch is still armed and finds the device inactive */
	assert_int_equal(drain(r->host[1], SIZE_MAX), 0);
	assert_int_equal(fake_driver_start(r->drv, ALL, NULL), 0);
	set_up_ports(r);
	assert_int_equal(fake_request(r->drv, OUT1, "again", 5, NULL, 0), 0);
	expect_output(r, 1, "again");
}

static void test_reset_with_input_waiting(void **state)
{
	struct rig *r = *state;

	set_up_ports(r);
	control(r, 1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	offer(r, IN1, 1, BUF_LEN);
	fake_driver_stop(r->drv);
	say(r, 1, "kept");
	turn(r);
	assert_int_equal(fake_driver_start(r->drv, ALL, NULL), 0);
	set_up_ports(r);
	offer(r, IN1, 1, BUF_LEN);
	turn(r);
	expect_none(r, IN1); /* the new driver has not opened it */
	control(r, 1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	turn(r);
	expect_input(r, IN1, "kept");
}

static void test_work_per_kick_is_bounded(void **state)
{
	struct rig *r = *state;
	struct fake_seg seg = { fake_alloc(r->drv, 4), 4, false };

	set_up_ports(r);
	for (int i = 0; i < 32; i++)
		assert_true(fake_post(r->drv, OUT1, &seg, 1) >= 0);
	fake_kick(r->drv, OUT1);
	assert_int_equal(used_now(r, OUT1), 16);
	assert_true(fake_settle(r->drv) >= 1);
	assert_int_equal(used_now(r, OUT1), 16);
	/* malformed ones cost as much as any other */
	for (int i = 0; i < 32; i++)
		assert_true(fake_post(r->drv, CTL_OUT, &seg, 1) >= 0);
	fake_kick(r->drv, CTL_OUT);
	assert_int_equal(used_now(r, CTL_OUT), 16);
}

static void set_flag(void *ctx)
{
	*(bool *)ctx = true;
}

/*
 * The loop must sleep now: of the rounds until a timer fires, none may be spent on a watch that
 * nobody can serve (one is granted, for a hang-up seen in the moment the watch is paused).
 */
static void assert_quiet(struct rig *r)
{
	struct loop_timer *timer = NULL;
	bool fired = false;
	int rounds = 0;

	turn(r);
	assert_int_equal(loop_timer_new(r->loop, set_flag, &fired, &timer, NULL), 0);
	loop_timer_arm(timer, clock_mono_ns() + 20 * NS_PER_MS);
	while (!fired && rounds++ < 10)
		assert_int_equal(loop_run_once(r->loop, -1, NULL), 0);
	loop_timer_remove(&timer);
	assert_true(rounds <= 2);
}

static void test_no_busy_loop(void **state)
{
	enum { BIG = 4 << 20 };
	struct rig *r = *state;
	struct fake_seg big = { fake_alloc(r->drv, BIG), BIG, false };

	set_up_ports(r);
	offer(r, IN1, 1, BUF_LEN);
	control(r, 1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	assert_quiet(r); /* open, nothing to read */
	say(r, 1, "one for the buffer");
	say(r, 1, "");
	turn(r);
	say(r, 1, "more, and the guest withholds buffers");
	assert_quiet(r);
	assert_true(fake_post(r->drv, OUT1, &big, 1) >= 0);
	fake_kick(r->drv, OUT1);
	assert_quiet(r); /* the host does not read what the guest writes */
	control(r, 1, VIRTIO_CONSOLE_PORT_OPEN, 0);
	assert_quiet(r); /* data for a port that is closed */
	close(r->host[1]);
	r->host[1] = -1;
	assert_quiet(r); /* and its other end gone */
	fake_driver_stop(r->drv);
	assert_quiet(r);
	assert_int_equal(fake_driver_start(r->drv, ALL, NULL), 0);
	set_up_ports(r);
	control(r, 1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	assert_quiet(r); /* no buffers either */
	offer(r, IN1, 4, BUF_LEN);
	assert_quiet(r); /* end of file was told */
}

/* --- resize --- */

static void test_resize(void **state)
{
	static const uint16_t size[2] = { 100, 40 };
	struct rig *r = *state;
	unsigned before;
	uint8_t config[4];

	set_up_ports(r);
	before = __atomic_load_n(&r->drv->config_signals, __ATOMIC_ACQUIRE);
	assert_int_equal(virtio_console_resize(r->dev, 0, 40, 100), 0);
	assert_int_equal(__atomic_load_n(&r->drv->config_signals, __ATOMIC_ACQUIRE), before + 1);
	expect_control(r, 0, VIRTIO_CONSOLE_RESIZE, 0, size, sizeof(size));
	fake_config_read(r->drv, 0, config, 4);
	assert_memory_equal(config, size, 4);
	assert_int_equal(virtio_console_resize(r->dev, 1, 40, 100), -EINVAL);
	assert_int_equal(virtio_console_resize(r->dev, 2, 40, 100), -EINVAL);
	assert_int_equal(virtio_console_resize(r->dev, UINT32_MAX, 40, 100), -EINVAL);
}

static void test_resize_rows_first(void **state)
{
	static const uint16_t size[2] = { 24, 80 };
	struct rig *r = rig_new(VIRTIO_CONSOLE_ROWS_COLS);

	assert_int_equal(fake_driver_start(r->drv, ALL, NULL), 0);
	offer(r, CTL_IN, 4, BUF_LEN);
	control(r, 0, VIRTIO_CONSOLE_PORT_READY, 1);
	expect_control(r, 0, VIRTIO_CONSOLE_CONSOLE_PORT, 1, NULL, 0);
	expect_control(r, 0, VIRTIO_CONSOLE_PORT_OPEN, 1, NULL, 0);
	expect_control(r, 0, VIRTIO_CONSOLE_RESIZE, 0, size, sizeof(size));
	rig_free(r);
}

static void test_resize_before_the_port_is_ready(void **state)
{
	static const uint16_t size[2] = { 132, 50 };
	struct rig *r = *state;

	offer(r, CTL_IN, 8, BUF_LEN);
	for (uint16_t rows = 1; rows <= 50; rows++)
		assert_int_equal(virtio_console_resize(r->dev, 0, rows, 132), 0);
	expect_none(r, CTL_IN);
	control(r, 0, VIRTIO_CONSOLE_PORT_READY, 1);
	expect_control(r, 0, VIRTIO_CONSOLE_CONSOLE_PORT, 1, NULL, 0);
	expect_control(r, 0, VIRTIO_CONSOLE_PORT_OPEN, 1, NULL, 0);
	expect_control(r, 0, VIRTIO_CONSOLE_RESIZE, 0, size, sizeof(size));
	expect_none(r, CTL_IN);
	fake_driver_stop(r->drv);
	assert_int_equal(virtio_console_resize(r->dev, 0, 10, 20), 0); /* no driver at all */
}

static void *resize_many(void *arg)
{
	struct rig *r = arg;

	for (uint16_t i = 1; i < 500; i++)
		(void)virtio_console_resize(r->dev, 0, i, i);
	return NULL;
}

static void test_resize_from_another_thread(void **state)
{
	struct rig *r = *state;
	char msg[BUF_LEN];
	uint16_t last = 24;
	pthread_t thread;

	set_up_ports(r);
	assert_int_equal(pthread_create(&thread, NULL, resize_many, r), 0);
	for (int i = 0; i < 500; i++) {
		if (taken(r, CTL_IN, msg, sizeof(msg)) > 0) {
			assert_true(load_le16(msg + 8) >= last || last == 24);
			last = load_le16(msg + 8);
			offer(r, CTL_IN, 1, BUF_LEN);
		}
		turn(r);
	}
	assert_int_equal(pthread_join(thread, NULL), 0);
	offer(r, CTL_IN, 1, BUF_LEN);
	while (taken(r, CTL_IN, msg, sizeof(msg)) > 0)
		last = load_le16(msg + 8);
	assert_int_equal(last, 499);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		rig_test(test_handshake),
		rig_test(test_handshake_with_late_buffers),
		rig_test(test_config_space),
		rig_test(test_output),
		rig_test(test_input),
		rig_test(test_input_waits_for_an_open_port),
		rig_test(test_end_of_input_closes_the_port),
		rig_test(test_end_of_input_on_a_console),
		rig_test(test_driver_without_multiport),
		rig_test(test_full_host_blocks_only_its_queue),
		rig_test(test_reset_in_the_middle_of_output),
		rig_test(test_reset_with_input_waiting),
		rig_test(test_work_per_kick_is_bounded),
		rig_test(test_no_busy_loop),
		rig_test(test_resize),
		cmocka_unit_test(test_resize_rows_first),
		rig_test(test_resize_before_the_port_is_ready),
		rig_test(test_resize_from_another_thread),
	};

	(void)signal(SIGPIPE, SIG_IGN);
	log_set_sink(NULL, NULL, LOG_OFF);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
