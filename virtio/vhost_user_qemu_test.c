/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vhost-user with QEMU as the front end. No guest is needed: QEMU's qtest protocol lets this test
 * write the registers of its virtio-mmio transport and guest memory, so the test is the driver.
 * (The vCPU runs only firmware, which finds nothing to boot and stays below 1 MiB.)
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/clock.h"
#include "virtio/rng.h"
#include "virtio/vhost_user.h"

#define QEMU	   "qemu-system-x86_64"
#define DEADLINE_S 20
#define QSIZE	   4 /* what QEMU gives its rng device */
#define DESC	   0x1010000
#define AVAIL	   0x1011000
#define USED	   0x1012000
#define BUF	   0x1020000
#define BUF_LEN	   64
#define MMIO_FIRST 0xfeb00000
#define MMIO_STEP  0x200
#define MMIO_SLOTS 24

struct qemu {
	struct loop *loop;
	struct virtio_dev *dev;
	struct vhost_user *vu;
	int qtest;
	struct loop_watch *watch;
	pid_t pid;
	uint64_t mmio; /* base of the device's registers */
	char line[256];
	size_t line_len;
	bool have_line, hung_up;
	struct err why;
};

static void on_hangup(void *ctx, const struct err *why)
{
	struct qemu *q = ctx;

	q->hung_up = true;
	q->why = *why;
}

static void on_qtest(void *ctx, int fd, uint32_t events)
{
	struct qemu *q = ctx;
	char c;

	while (!q->have_line && recv(fd, &c, 1, MSG_DONTWAIT) == 1) {
		q->have_line = c == '\n';
		if (!q->have_line && q->line_len + 1 < sizeof(q->line))
			q->line[q->line_len++] = c;
	}
	q->line[q->line_len] = '\0';
	if (events & (EPOLLHUP | EPOLLERR))
		loop_remove(&q->watch);
}

/* run_until() - serve QEMU until *flag. */
static void run_until(struct qemu *q, const bool *flag)
{
	uint64_t deadline = clock_mono_ns() + DEADLINE_S * NS_PER_S;

	while (!*flag) {
		assert_int_equal(loop_run_once(q->loop, 100, NULL), 0);
		assert_true(*flag || !q->hung_up); /* QEMU's own words are on stderr */
		assert_true(clock_mono_ns() < deadline);
	}
}

/* qtest() - one command. Return: the number in its answer, or 0 */
static uint64_t qtest(struct qemu *q, const char *cmd, uint64_t addr, const uint64_t *value)
{
	char buf[96];
	int len = value ? snprintf(buf, sizeof(buf), "%s 0x%" PRIx64 " 0x%" PRIx64 "\n", cmd, addr,
				  *value)
			: snprintf(buf, sizeof(buf), "%s 0x%" PRIx64 "\n", cmd, addr);

	q->line_len = 0;
	q->have_line = false;
	assert_int_equal(send(q->qtest, buf, (size_t)len, MSG_NOSIGNAL), len);
	run_until(q, &q->have_line);
	assert_memory_equal(q->line, "OK", 2);
	return q->line[2] == ' ' ? strtoull(q->line + 3, NULL, 16) : 0;
}

static uint32_t rd(struct qemu *q, uint64_t addr)
{
	return (uint32_t)qtest(q, "readl", addr, NULL);
}

static void wr(struct qemu *q, const char *cmd, uint64_t addr, uint64_t value)
{
	(void)qtest(q, cmd, addr, &value);
}

static void reg(struct qemu *q, uint64_t off, uint32_t value)
{
	wr(q, "writel", q->mmio + off, value);
}

/* ---- QEMU ---- */

static void exec_qemu(int vhost_fd, int qtest_fd)
{
	char chardev[64];

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)dup2(qtest_fd, 0);
	(void)dup2(qtest_fd, 1);
	vhost_fd = dup(vhost_fd); /* without O_CLOEXEC */
	(void)snprintf(chardev, sizeof(chardev), "socket,id=c,fd=%d", vhost_fd);
	execlp(QEMU, QEMU, "-accel", "tcg", "-qtest", "stdio", "-qtest-log", "none", "-nodefaults",
		"-no-user-config", "-display", "none", "-m", "64M", "-machine",
		"microvm,acpi=off,memory-backend=mem", "-object",
		"memory-backend-memfd,id=mem,size=64M,share=on", "-global",
		"virtio-mmio.force-legacy=false", "-chardev", chardev, "-device",
		"vhost-user-rng,chardev=c", (char *)NULL);
	_exit(127);
}

static void find_device(struct qemu *q)
{
	for (unsigned i = 0; i < MMIO_SLOTS && !q->mmio; i++) {
		uint64_t base = MMIO_FIRST + i * MMIO_STEP;

		if (rd(q, base) == 0x74726976 && rd(q, base + 8) == VIRTIO_ID_RNG)
			q->mmio = base;
	}
	assert_true(q->mmio != 0);
}

static int setup(void **state)
{
	struct qemu *q = calloc(1, sizeof(*q));
	int vhost[2], qt[2];

	*state = q;
	assert_int_equal(loop_new(&q->loop, NULL), 0);
	assert_int_equal(virtio_rng_new(&q->dev, NULL), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, vhost), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, qt), 0);
	q->pid = fork();
	if (q->pid == 0)
		exec_qemu(vhost[1], qt[1]);
	close(vhost[1]);
	close(qt[1]);
	q->qtest = qt[0];
	assert_int_equal(loop_add(q->loop, q->qtest, EPOLLIN, on_qtest, q, &q->watch, NULL), 0);
	assert_int_equal(
		vhost_user_attach(q->dev, vhost[0], q->loop, on_hangup, q, &q->vu, NULL), 0);
	find_device(q);
	return 0;
}

static int teardown(void **state)
{
	struct qemu *q = *state;

	if (q->pid > 0) {
		kill(q->pid, SIGKILL);
		(void)waitpid(q->pid, NULL, 0);
	}
	vhost_user_free(q->vu);
	virtio_dev_free(q->dev);
	loop_remove(&q->watch);
	close(q->qtest);
	loop_free(q->loop);
	free(q);
	return 0;
}

/* ---- the driver ---- */

static void bring_up(struct qemu *q)
{
	reg(q, 0x70, 0);
	reg(q, 0x70, 1);
	reg(q, 0x70, 3);
	for (uint32_t i = 0; i < 2; i++) {
		reg(q, 0x14, i);
		reg(q, 0x24, i);
		reg(q, 0x20, rd(q, q->mmio + 0x10));
	}
	reg(q, 0x70, 11);
	assert_int_equal(rd(q, q->mmio + 0x70), 11);
	reg(q, 0x30, 0);
	assert_true(rd(q, q->mmio + 0x34) >= QSIZE);
	for (uint64_t a = 0; a < 64; a += 8) {
		wr(q, "writeq", DESC + a, 0);
		wr(q, "writeq", AVAIL + a, 0);
		wr(q, "writeq", USED + a, 0);
	}
	reg(q, 0x38, QSIZE);
	reg(q, 0x80, DESC);
	reg(q, 0x90, AVAIL);
	reg(q, 0xa0, USED);
	reg(q, 0x44, 1);
	reg(q, 0x70, 15);
	assert_int_equal(rd(q, q->mmio + 0x70), 15);
}

static uint16_t used_idx(struct qemu *q)
{
	return (uint16_t)qtest(q, "readw", USED + 2, NULL);
}

static void ask_for_entropy(struct qemu *q, uint16_t n)
{
	uint64_t deadline = clock_mono_ns() + DEADLINE_S * NS_PER_S;

	wr(q, "writeq", DESC, BUF);
	wr(q, "writel", DESC + 8, BUF_LEN);
	wr(q, "writel", DESC + 12, VIRTQ_DESC_F_WRITE);
	wr(q, "writew", AVAIL + 4 + 2 * (n % QSIZE), 0);
	wr(q, "writew", AVAIL + 4 + 2 * QSIZE, n); /* used_event: interrupt for this one */
	wr(q, "writew", AVAIL + 2, n + 1);
	reg(q, 0x50, 0);
	while (used_idx(q) != n + 1 || !(rd(q, q->mmio + 0x60) & 1))
		assert_true(clock_mono_ns() < deadline);
	reg(q, 0x64, 1);
	assert_int_equal(rd(q, USED + 8 + 8 * (n % QSIZE)), BUF_LEN);
}

static bool buffer_is_zero(struct qemu *q)
{
	uint64_t sum = 0;

	for (uint64_t a = 0; a < BUF_LEN; a += 8)
		sum |= qtest(q, "readq", BUF + a, NULL);
	return sum == 0;
}

static void test_entropy_through_qemu(void **state)
{
	struct qemu *q = *state;

	bring_up(q);
	assert_true(buffer_is_zero(q));
	ask_for_entropy(q, 0);
	assert_false(buffer_is_zero(q));
	for (uint16_t n = 1; n < 3 * QSIZE; n++)
		ask_for_entropy(q, n);
	assert_true(q->dev->active);
	assert_true(virtio_dev_has(q->dev, VIRTIO_F_VERSION_1));
}

static void test_guest_resets_and_comes_back(void **state)
{
	struct qemu *q = *state;

	for (unsigned i = 0; i < 3; i++) {
		bring_up(q);
		ask_for_entropy(q, 0);
		reg(q, 0x70, 0);
		assert_false(q->dev->active);
	}
	assert_false(q->hung_up);
}

static void test_death_of_qemu_is_noticed(void **state)
{
	struct qemu *q = *state;

	bring_up(q);
	kill(q->pid, SIGKILL);
	run_until(q, &q->hung_up);
	assert_false(q->dev->active);
	assert_null(q->dev->mem);
	(void)waitpid(q->pid, NULL, 0);
	q->pid = 0;
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_entropy_through_qemu),
		T(test_guest_resets_and_comes_back),
		T(test_death_of_qemu_is_noticed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
