/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>

#include <fcntl.h>
#include <linux/virtio_console.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "lib/loop.h"
#include "lib/num.h"
#include "virtio/console.h"
#include "virtio/fake_driver.h"

#define IN0	0
#define OUT0	1
#define CTL_IN	2
#define CTL_OUT 3
#define IN1	4
#define OUT1	5
#define BUF_LEN 256
#define ALL	UINT64_MAX

/*
 * struct rig - a console with two ports, each on a socket pair of which the test holds host[i]
 * @gpa: buffer behind each head, per queue
 */
struct rig {
	struct loop *loop;
	struct virtio_dev *dev;
	struct fake_driver *drv;
	int host[2];
	uint64_t gpa[6][32];
};

static void rig_make(struct rig *r, const struct virtio_console_port *ports, unsigned n,
	enum virtio_console_resize_order order)
{
	assert_int_equal(loop_new(&r->loop, NULL), 0);
	assert_int_equal(virtio_console_new(ports, n, order, &r->dev, NULL), 0);
	assert_int_equal(fake_driver_new(r->dev, r->loop, &r->drv, NULL), 0);
}

static struct rig *rig_new(enum virtio_console_resize_order order)
{
	struct rig *r = calloc(1, sizeof(*r));
	struct virtio_console_port ports[2] = {
		{ .console = true, .rows = 24, .cols = 80 },
		{ .name = "agent" },
	};

	assert_non_null(r);
	for (int i = 0; i < 2; i++) {
		int pair[2];

		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
		r->host[i] = pair[0];
		assert_int_equal(fcntl(pair[0], F_SETFL, O_NONBLOCK), 0);
		ports[i].in_fd = ports[i].out_fd = pair[1];
	}
	rig_make(r, ports, 2, order);
	for (int i = 0; i < 2; i++)
		close(ports[i].in_fd);
	return r;
}

static void rig_free(struct rig *r)
{
	fake_driver_free(r->drv);
	virtio_dev_free(r->dev);
	loop_free(r->loop);
	for (int i = 0; i < 2; i++)
		close(r->host[i]);
	free(r);
}

static int setup(void **state)
{
	struct rig *r = rig_new(VIRTIO_CONSOLE_COLS_ROWS);

	assert_int_equal(fake_driver_start(r->drv, ALL, NULL), 0);
	*state = r;
	return 0;
}

static int teardown(void **state)
{
	rig_free(*state);
	return 0;
}

static void turn(struct rig *r)
{
	for (int i = 0; i < 4; i++) {
		assert_int_equal(loop_run_once(r->loop, 0, NULL), 0);
		(void)fake_settle(r->drv);
	}
}

/* Offer @n buffers of @len bytes for the device to write into. */
static void offer(struct rig *r, unsigned qi, unsigned n, uint32_t len)
{
	while (n--) {
		struct fake_seg seg = { fake_alloc(r->drv, len), len, true };
		int head = fake_post(r->drv, qi, &seg, 1);

		assert_true(head >= 0);
		r->gpa[qi][head] = seg.gpa;
	}
	fake_kick(r->drv, qi);
	(void)fake_settle(r->drv);
}

static int taken(struct rig *r, unsigned qi, char *dst, size_t max)
{
	uint32_t head, written;

	if (!fake_used(r->drv, qi, &head, &written))
		return -1;
	assert_true(written <= max);
	if (written)
		memcpy(dst, fake_ptr(r->drv, r->gpa[qi][head], written), written);
	return (int)written;
}

static void control(struct rig *r, uint32_t id, uint16_t event, uint16_t value)
{
	uint8_t msg[8];

	store_le32(msg, id);
	store_le16(msg + 4, event);
	store_le16(msg + 6, value);
	assert_int_equal(fake_request(r->drv, CTL_OUT, msg, sizeof(msg), NULL, 0), 0);
}

static void expect_none(struct rig *r, unsigned qi)
{
	char byte[BUF_LEN];

	assert_int_equal(taken(r, qi, byte, sizeof(byte)), -1);
}

static void expect_control(
	struct rig *r, uint32_t id, uint16_t event, uint16_t value, const void *extra, int len)
{
	char msg[BUF_LEN];
	int n = taken(r, CTL_IN, msg, sizeof(msg));

	assert_int_equal(n, 8 + len);
	assert_int_equal(load_le32(msg), id);
	assert_int_equal(load_le16(msg + 4), event);
	assert_int_equal(load_le16(msg + 6), value);
	if (len)
		assert_memory_equal(msg + 8, extra, len);
}

static void set_up_ports(struct rig *r)
{
	static const uint16_t size[2] = { 80, 24 };

	offer(r, CTL_IN, 16, BUF_LEN);
	control(r, VIRTIO_CONSOLE_BAD_ID, VIRTIO_CONSOLE_DEVICE_READY, 1);
	expect_control(r, 0, VIRTIO_CONSOLE_PORT_ADD, 1, NULL, 0);
	expect_control(r, 1, VIRTIO_CONSOLE_PORT_ADD, 1, NULL, 0);
	control(r, 0, VIRTIO_CONSOLE_PORT_READY, 1);
	expect_control(r, 0, VIRTIO_CONSOLE_CONSOLE_PORT, 1, NULL, 0);
	expect_control(r, 0, VIRTIO_CONSOLE_PORT_OPEN, 1, NULL, 0);
	expect_control(r, 0, VIRTIO_CONSOLE_RESIZE, 0, size, sizeof(size));
	control(r, 1, VIRTIO_CONSOLE_PORT_READY, 1);
	expect_control(r, 1, VIRTIO_CONSOLE_PORT_NAME, 1, "agent", 5);
	expect_control(r, 1, VIRTIO_CONSOLE_PORT_OPEN, 1, NULL, 0);
	expect_none(r, CTL_IN);
}

static void say(struct rig *r, int port, const char *text)
{
	assert_int_equal(write(r->host[port], text, strlen(text)), strlen(text));
}

static void expect_input(struct rig *r, unsigned qi, const char *want)
{
	char text[BUF_LEN];

	assert_int_equal(taken(r, qi, text, sizeof(text)), strlen(want));
	assert_memory_equal(text, want, strlen(want));
}

static void expect_output(struct rig *r, int port, const char *want)
{
	char text[BUF_LEN] = { 0 };

	assert_int_equal(read(r->host[port], text, sizeof(text) - 1), strlen(want));
	assert_string_equal(text, want);
}

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
	fake_kick(r->drv, OUT1);
	turn(r);
	assert_false(fake_used(r->drv, OUT1, NULL, NULL));
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
	fake_driver_stop(r->drv);
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

static unsigned used_now(struct rig *r, unsigned qi)
{
	unsigned n = 0;

	while (fake_used(r->drv, qi, NULL, NULL))
		n++;
	return n;
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

	/* ADD of port 0 does not fit and is lost; ADD of port 1 does */
	offer(r, CTL_IN, 1, 7);
	offer(r, CTL_IN, 1, 8);
	control(r, 0, VIRTIO_CONSOLE_DEVICE_READY, 1);
	assert_int_equal(used_now(r, CTL_IN), 2);
	/* the name does not fit, the rest goes on */
	offer(r, CTL_IN, 2, 12);
	control(r, 1, VIRTIO_CONSOLE_PORT_READY, 1);
	assert_int_equal(taken(r, CTL_IN, NULL, 0), 0);
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

#define rig_test(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

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
