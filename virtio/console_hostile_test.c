/* SPDX-License-Identifier: Apache-2.0 */
/* The console with drivers that lie, and host descriptors of every kind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>

#include "lib/log.h"
#include "virtio/console_rig_test.h"

/* --- hostile drivers --- */

static void test_junk_control_messages(void **state)
{
	struct rig *r = *state;

	set_up_ports(r);
	assert_int_equal(fake_request(r->drv, CTL_OUT, "1234567", 7, NULL, 0), 0);
	assert_int_equal(fake_request(r->drv, CTL_OUT, "x", 1, NULL, 0), 0);
	for (uint32_t event = 0; event < 12; event++) {
		control(r, 2, (uint16_t)event, 0);
		control(r, 0xffffffff, (uint16_t)event, 0xffff & (event ? 1 : 0));
		control(r, 0x80000000, (uint16_t)event, 0);
	}
	control(r, 2, VIRTIO_CONSOLE_PORT_OPEN, 1);
	control(r, 0xffff, VIRTIO_CONSOLE_PORT_READY, 1);
	control(r, 0, VIRTIO_CONSOLE_PORT_READY, 0); /* the driver failed to set it up */
	control(r, 0, 0xffff, 0xffff);
	control(r, 1, VIRTIO_CONSOLE_RESIZE, 1);
	expect_none(r, CTL_IN);
	assert_false(fake_is_broken(r->drv));
}

/* The wrong direction: buffers that the device cannot write, or that hold nothing to read. */
static void test_wrong_directions(void **state)
{
	struct rig *r = *state;
	uint8_t msg[8];
	struct fake_seg readable = { fake_alloc(r->drv, BUF_LEN), BUF_LEN, false };

	assert_true(fake_post(r->drv, CTL_IN, &readable, 1) >= 0);
	control(r, 0, VIRTIO_CONSOLE_DEVICE_READY, 1);
	assert_int_equal(used_now(r, CTL_IN), 1); /* given back, with nothing in it */
	assert_int_equal(fake_request(r->drv, CTL_OUT, NULL, 0, msg, sizeof(msg)), 0);
	assert_int_equal(fake_request(r->drv, OUT0, NULL, 0, msg, sizeof(msg)), 0);
	assert_true(fake_post(r->drv, IN1, &readable, 1) >= 0);
	control(r, 1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	say(r, 1, "data");
	turn(r);
	assert_int_equal(used_now(r, IN1), 1);
	offer(r, IN1, 1, BUF_LEN);
	expect_input(r, IN1, "data");
	assert_false(fake_is_broken(r->drv));
}

static void test_small_control_buffers(void **state)
{
	struct rig *r = *state;
	char msg[BUF_LEN];

	/* ADD of port 0 does not fit and is lost; ADD of port 1 does */
	offer(r, CTL_IN, 1, 7);
	offer(r, CTL_IN, 1, 8);
	control(r, 0, VIRTIO_CONSOLE_DEVICE_READY, 1);
	assert_int_equal(used_now(r, CTL_IN), 2);
	/* the name does not fit, the rest goes on */
	offer(r, CTL_IN, 2, 12);
	control(r, 1, VIRTIO_CONSOLE_PORT_READY, 1);
	assert_int_equal(taken(r, CTL_IN, msg, sizeof(msg)), 0);
	expect_control(r, 1, VIRTIO_CONSOLE_PORT_OPEN, 1, NULL, 0);
}

static void test_repeated_requests_do_not_pile_up(void **state)
{
	struct rig *r = *state;

	for (int i = 0; i < 200; i++) {
		control(r, 0, VIRTIO_CONSOLE_DEVICE_READY, 1);
		control(r, 0, VIRTIO_CONSOLE_PORT_READY, 1);
		control(r, 0, VIRTIO_CONSOLE_PORT_OPEN, (uint16_t)i);
	}
	offer(r, CTL_IN, 32, BUF_LEN);
	assert_int_equal(used_now(r, CTL_IN), 5); /* two ADDs, CONSOLE, OPEN, RESIZE */
}

static void test_broken_rings_stop_the_device(void **state)
{
	static const unsigned queues[] = { IN0, OUT0, CTL_IN, CTL_OUT, IN1, OUT1 };

	for (size_t i = 0; i < ARRAY_LEN(queues); i++) {
		struct rig *r = rig_new(VIRTIO_CONSOLE_COLS_ROWS);
		struct virtq_desc loop = { FAKE_LOW_GPA, 4, VIRTQ_DESC_F_NEXT, 0 };

		assert_int_equal(fake_driver_start(r->drv, ALL, NULL), 0);
		set_up_ports(r);
		control(r, 0, VIRTIO_CONSOLE_PORT_OPEN, 1);
		control(r, 1, VIRTIO_CONSOLE_PORT_OPEN, 1);
		while (fake_used(r->drv, queues[i], NULL, NULL))
			;
		if (queues[i] == CTL_IN) { /* use up the honest ones first */
			for (int k = 0; k < 12; k++) {
				control(r, 1, VIRTIO_CONSOLE_PORT_READY, 1);
				(void)used_now(r, CTL_IN);
			}
		}
		fake_write_desc(r->drv, queues[i], 31,
			(struct virtq_desc){ loop.addr, loop.len, loop.flags, 31 });
		fake_post_head(r->drv, queues[i], 31);
		fake_kick(r->drv, queues[i]);
		turn(r);
		assert_true(fake_is_broken(r->drv));
		/* silence until the reset, whatever comes */
		say(r, 1, "x");
		turn(r);
		fake_kick(r->drv, queues[i]);
		fake_driver_stop(r->drv);
		assert_int_equal(fake_driver_start(r->drv, ALL, NULL), 0);
		set_up_ports(r);
		rig_free(r);
	}
}

/* --- other kinds of host descriptors --- */

static void one_port_rig(struct rig *r, int in_fd, int out_fd, uint64_t limit)
{
	struct virtio_console_port port = {
		.name = "io", .in_fd = in_fd, .out_fd = out_fd, .out_limit = limit
	};

	rig_make(r, &port, 1, VIRTIO_CONSOLE_COLS_ROWS);
	r->host[0] = r->host[1] = -1;
	assert_int_equal(fake_driver_start(r->drv, ALL, NULL), 0);
}

static void one_port_done(struct rig *r)
{
	fake_driver_free(r->drv);
	virtio_dev_free(r->dev);
	loop_free(r->loop);
}

static void test_regular_files(void **state)
{
	struct rig r = { 0 };
	FILE *in = tmpfile(), *out = tmpfile();
	char text[16] = { 0 };

	assert_true(in && out);
	fputs("from a file", in);
	rewind(in);
	one_port_rig(&r, fileno(in), fileno(out), 0);
	offer(&r, CTL_IN, 8, BUF_LEN);
	control(&r, 0, VIRTIO_CONSOLE_PORT_OPEN, 1);
	offer(&r, IN0, 4, 6);
	expect_input(&r, IN0, "from a");
	expect_input(&r, IN0, " file");
	expect_none(&r, IN0);
	expect_control(&r, 0, VIRTIO_CONSOLE_PORT_OPEN, 0, NULL, 0);
	assert_int_equal(fake_request(r.drv, OUT0, "to a file", 9, NULL, 0), 0);
	assert_int_equal(pread(fileno(out), text, sizeof(text), 0), 9);
	assert_string_equal(text, "to a file");
	one_port_done(&r);
	fclose(in);
	fclose(out);
}

static void test_no_host_side(void **state)
{
	struct rig r = { 0 };
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	one_port_rig(&r, -1, -1, 0);
	offer(&r, CTL_IN, 4, BUF_LEN);
	control(&r, 0, VIRTIO_CONSOLE_PORT_READY, 1);
	expect_control(&r, 0, VIRTIO_CONSOLE_PORT_NAME, 1, "io", 2);
	expect_control(&r, 0, VIRTIO_CONSOLE_PORT_OPEN, 1, NULL, 0);
	control(&r, 0, VIRTIO_CONSOLE_PORT_OPEN, 1);
	offer(&r, IN0, 1, BUF_LEN);
	expect_none(&r, IN0);
	assert_int_equal(fake_request(r.drv, OUT0, "gone", 4, NULL, 0), 0);
	one_port_done(&r);

	one_port_rig(&r, null, null, 0);
	offer(&r, CTL_IN, 4, BUF_LEN);
	control(&r, 0, VIRTIO_CONSOLE_PORT_OPEN, 1);
	offer(&r, IN0, 1, BUF_LEN);
	expect_control(&r, 0, VIRTIO_CONSOLE_PORT_OPEN, 0, NULL, 0);
	assert_int_equal(fake_request(r.drv, OUT0, "gone", 4, NULL, 0), 0);
	one_port_done(&r);
	close(null);
}

static void test_output_limit(void **state)
{
	struct rig r = { 0 };
	FILE *out = tmpfile();
	char text[16] = { 0 };

	assert_non_null(out);
	one_port_rig(&r, -1, fileno(out), 7);
	for (int i = 0; i < 40; i++)
		assert_int_equal(fake_request(r.drv, OUT0, "abcd", 4, NULL, 0), 0);
	assert_int_equal(pread(fileno(out), text, sizeof(text), 0), 7);
	assert_string_equal(text, "abcdabc");
	one_port_done(&r);
	fclose(out);
}

static void test_host_side_goes_away(void **state)
{
	struct rig r = { 0 };
	int fds[2], full = open("/dev/full", O_WRONLY | O_CLOEXEC);

	assert_int_equal(pipe(fds), 0);
	one_port_rig(&r, -1, fds[1], 0);
	close(fds[0]);
	for (int i = 0; i < 3; i++)
		assert_int_equal(fake_request(r.drv, OUT0, "abcd", 4, NULL, 0), 0);
	one_port_done(&r);
	close(fds[1]);
	one_port_rig(&r, -1, full, 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(fake_request(r.drv, OUT0, "abcd", 4, NULL, 0), 0);
	one_port_done(&r);
	close(full);
}

static void test_constructor(void **state)
{
	struct virtio_console_port port = { .in_fd = -1, .out_fd = -1 };
	struct virtio_dev *dev = NULL;
	struct err err = ERR_INIT;
	char name[VIRTIO_CONSOLE_NAME_MAX + 2];

	assert_int_equal(virtio_console_new(&port, 0, 0, &dev, NULL), -EINVAL);
	assert_int_equal(
		virtio_console_new(&port, VIRTIO_CONSOLE_MAX_PORTS + 1, 0, &dev, &err), -EINVAL);
	assert_string_equal(err.msg, "a console has 1 to 30 ports, not 31");
	memset(name, 'n', sizeof(name));
	name[sizeof(name) - 1] = '\0';
	port.name = name;
	assert_int_equal(virtio_console_new(&port, 1, 0, &dev, &err), -EINVAL);
	port.name = NULL;
	port.out_fd = 99999;
	assert_int_equal(virtio_console_new(&port, 1, 0, &dev, &err), -EBADF);
	assert_string_equal(
		err.msg, "console port 0: look at descriptor 99999: Bad file descriptor");
	assert_null(dev);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		rig_test(test_junk_control_messages),
		rig_test(test_wrong_directions),
		rig_test(test_small_control_buffers),
		rig_test(test_repeated_requests_do_not_pile_up),
		cmocka_unit_test(test_broken_rings_stop_the_device),
		cmocka_unit_test(test_regular_files),
		cmocka_unit_test(test_no_host_side),
		cmocka_unit_test(test_output_limit),
		cmocka_unit_test(test_host_side_goes_away),
		cmocka_unit_test(test_constructor),
	};

	(void)signal(SIGPIPE, SIG_IGN);
	log_set_sink(NULL, NULL, LOG_OFF);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
