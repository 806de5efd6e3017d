/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vmm/qemu/pump.h"

#define ROUNDS 2000 /* far more than any test here needs; each waits for an event */

struct fixture {
	struct loop *loop;
	int from[2], to[2];
};

static int setup(void **state)
{
	static struct fixture f;

	assert_int_equal(loop_new(&f.loop, NULL), 0);
	assert_int_equal(pipe2(f.from, O_CLOEXEC), 0);
	assert_int_equal(pipe2(f.to, O_CLOEXEC), 0);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	loop_free(f->loop);
	for (int i = 0; i < 2; i++) {
		(void)close(f->from[i]);
		(void)close(f->to[i]);
	}
	return 0;
}

static void copies_until_the_end(void **state)
{
	struct fixture *f = *state;
	struct pump *p;
	char out[64];
	ssize_t n = 0;

	assert_int_equal(pump_new(f->loop, f->from[0], f->to[1], &p, NULL), 0);
	assert_int_equal(write(f->from[1], "hello", 5), 5);
	(void)close(f->from[1]);
	f->from[1] = -1;
	assert_int_equal(fcntl(f->to[0], F_SETFL, O_NONBLOCK), 0);
	for (int i = 0; i < ROUNDS && n <= 0; i++) {
		assert_int_equal(loop_run_once(f->loop, 1000, NULL), 0);
		n = read(f->to[0], out, sizeof(out));
	}
	assert_int_equal(n, 5);
	assert_memory_equal(out, "hello", 5);
	pump_free(p);
}

/* A pipe that nobody reads fills up: the pump waits and loses nothing; freeing does not block. */
static void waits_for_a_slow_reader(void **state)
{
	struct fixture *f = *state;
	char block[4096];
	size_t in = 0, out = 0;
	struct pump *p;
	ssize_t n;

	memset(block, 'x', sizeof(block));
	assert_int_equal(fcntl(f->from[1], F_SETFL, O_NONBLOCK), 0);
	assert_int_equal(fcntl(f->to[0], F_SETFL, O_NONBLOCK), 0);
	assert_int_equal(pump_new(f->loop, f->from[0], f->to[1], &p, NULL), 0);
	for (int i = 0; i < 200; i++) {
		n = write(f->from[1], block, sizeof(block));
		in += n > 0 ? n : 0;
		assert_int_equal(loop_run_once(f->loop, 0, NULL), 0);
	}
	assert_true(in > 65536);
	for (int i = 0; i < ROUNDS && out < in; i++) {
		n = read(f->to[0], block, sizeof(block));
		out += n > 0 ? n : 0;
		assert_int_equal(loop_run_once(f->loop, n > 0 ? 0 : 1000, NULL), 0);
	}
	assert_int_equal(out, in);
	pump_free(p);
}

static void takes_regular_files(void **state)
{
	struct fixture *f = *state;
	int fd = memfd_create("out", MFD_CLOEXEC);
	struct pump *p;
	char out[16];

	assert_int_equal(pump_new(f->loop, f->from[0], fd, &p, NULL), 0);
	assert_int_equal(write(f->from[1], "log", 3), 3);
	assert_int_equal(loop_run_once(f->loop, 1000, NULL), 0);
	pump_free(p);
	assert_int_equal(pread(fd, out, sizeof(out), 0), 3);

	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	assert_int_equal(pump_new(f->loop, fd, f->to[1], &p, NULL), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(loop_run_once(f->loop, 0, NULL), 0);
	pump_free(p);
	assert_int_equal(read(f->to[0], out, sizeof(out)), 3);
	assert_int_equal(pump_new(f->loop, fd, fd, &p, NULL), -EINVAL);
	(void)close(fd);
}

static void freeing_flushes(void **state)
{
	struct fixture *f = *state;
	struct pump *p;
	char out[16];

	assert_int_equal(pump_new(f->loop, f->from[0], f->to[1], &p, NULL), 0);
	assert_int_equal(write(f->from[1], "last words", 10), 10);
	pump_free(p);
	assert_int_equal(read(f->to[0], out, sizeof(out)), 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(copies_until_the_end, setup, teardown),
		cmocka_unit_test_setup_teardown(waits_for_a_slow_reader, setup, teardown),
		cmocka_unit_test_setup_teardown(takes_regular_files, setup, teardown),
		cmocka_unit_test_setup_teardown(freeing_flushes, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
