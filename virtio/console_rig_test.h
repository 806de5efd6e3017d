/* SPDX-License-Identifier: Apache-2.0 */
/* For tests of the console: a device on socket pairs and a driver that speaks its protocol. The
 * includes that cmocka wants come first, in the test. */
#ifndef VIRTIO_CONSOLE_RIG_TEST_H
#define VIRTIO_CONSOLE_RIG_TEST_H

#include <fcntl.h>
#include <linux/virtio_console.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

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

static inline void rig_make(struct rig *r, const struct virtio_console_port *ports, unsigned n,
	enum virtio_console_resize_order order)
{
	assert_int_equal(loop_new(&r->loop, NULL), 0);
	assert_int_equal(virtio_console_new(ports, n, order, &r->dev, NULL), 0);
	assert_int_equal(fake_driver_new(r->dev, r->loop, &r->drv, NULL), 0);
}

static inline struct rig *rig_new(enum virtio_console_resize_order order)
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

static inline void rig_free(struct rig *r)
{
	fake_driver_free(r->drv);
	virtio_dev_free(r->dev);
	loop_free(r->loop);
	for (int i = 0; i < 2; i++)
		close(r->host[i]);
	free(r);
}

static inline int setup(void **state)
{
	struct rig *r = rig_new(VIRTIO_CONSOLE_COLS_ROWS);

	assert_int_equal(fake_driver_start(r->drv, ALL, NULL), 0);
	*state = r;
	return 0;
}

static inline int teardown(void **state)
{
	rig_free(*state);
	return 0;
}

static inline void turn(struct rig *r)
{
	for (int i = 0; i < 4; i++) {
		assert_int_equal(loop_run_once(r->loop, 0, NULL), 0);
		(void)fake_settle(r->drv);
	}
}

/* Offer @n buffers of @len bytes for the device to write into. */
static inline void offer(struct rig *r, unsigned qi, unsigned n, uint32_t len)
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

static inline int taken(struct rig *r, unsigned qi, char *dst, size_t max)
{
	uint32_t head, written;

	if (!fake_used(r->drv, qi, &head, &written))
		return -1;
	assert_true(written <= max);
	if (written)
		memcpy(dst, fake_ptr(r->drv, r->gpa[qi][head], written), written);
	return (int)written;
}

static inline void control(struct rig *r, uint32_t id, uint16_t event, uint16_t value)
{
	uint8_t msg[8];

	store_le32(msg, id);
	store_le16(msg + 4, event);
	store_le16(msg + 6, value);
	assert_int_equal(fake_request(r->drv, CTL_OUT, msg, sizeof(msg), NULL, 0), 0);
}

static inline void expect_none(struct rig *r, unsigned qi)
{
	char byte[BUF_LEN];

	assert_int_equal(taken(r, qi, byte, sizeof(byte)), -1);
}

static inline void expect_control(
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

static inline void set_up_ports(struct rig *r)
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

static inline void say(struct rig *r, int port, const char *text)
{
	assert_int_equal(write(r->host[port], text, strlen(text)), strlen(text));
}

static inline void expect_input(struct rig *r, unsigned qi, const char *want)
{
	char text[BUF_LEN];

	assert_int_equal(taken(r, qi, text, sizeof(text)), strlen(want));
	assert_memory_equal(text, want, strlen(want));
}

static inline void expect_output(struct rig *r, int port, const char *want)
{
	char text[BUF_LEN] = { 0 };

	assert_int_equal(read(r->host[port], text, sizeof(text) - 1), strlen(want));
	assert_string_equal(text, want);
}

static inline unsigned used_now(struct rig *r, unsigned qi)
{
	unsigned n = 0;

	while (fake_used(r->drv, qi, NULL, NULL))
		n++;
	return n;
}

#define rig_test(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

#endif
