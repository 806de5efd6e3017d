/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image/file.h"
#include "lib/cleanup.h"

#define LONG_MS 60000

static void refuses_what_is_no_file(void **state)
{
	static const char *const bad[] = { "/dev/null", "/dev/zero", "/" };
	cleanup_buf struct buf text = { 0 };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct err err = ERR_INIT;

		assert_int_equal(small_file_read(bad[i], 9, &text, &err), -EINVAL);
		assert_int_equal(file_or_pipe_read(bad[i], 9, LONG_MS, &text, &err), -EINVAL);
		assert_non_null(strstr(err.msg, "is no regular file"));
	}
	assert_int_equal(file_or_pipe_read("/no/such", 9, LONG_MS, &text, NULL), -ENOENT);
	assert_int_equal(file_or_pipe_read("/proc/self/stat", 9, LONG_MS, &text, NULL), -EFBIG);
}

/* Of a pipe with @text in it: what file_or_pipe_read() says, and what it took */
static int read_pipe(const char *text, size_t max, bool closed, unsigned timeout_ms,
	struct buf *ret, struct err *err)
{
	cleanup_fd int from = -1, to = -1;
	char path[32];
	int fds[2];

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	from = fds[0];
	to = fds[1];
	assert_int_equal(write(to, text, strlen(text)), strlen(text));
	if (closed)
		close_fd(&to);
	(void)snprintf(path, sizeof(path), "/dev/fd/%d", from);
	return file_or_pipe_read(path, max, timeout_ms, ret, err);
}

static void takes_a_pipe(void **state)
{
	cleanup_buf struct buf text = { 0 }, more = { 0 };
	struct err err = ERR_INIT;

	assert_int_equal(read_pipe("12345", 5, true, LONG_MS, &text, &err), 0);
	assert_int_equal(text.len, 5);
	assert_memory_equal(buf_head(&text), "12345", 5);
	assert_int_equal(read_pipe("123456", 5, true, LONG_MS, &more, &err), -EFBIG);
	assert_non_null(strstr(err.msg, "more than 5 bytes"));
	buf_release(&more);
	assert_int_equal(read_pipe("12", 5, false, 1, &more, &err), -ETIMEDOUT);
}

/* That nobody has opened for writing is not its end. */
static void waits_for_a_writer(void **state)
{
	char top[] = "/tmp/file-test-XXXXXX", path[64];
	cleanup_buf struct buf text = { 0 };
	struct err err = ERR_INIT;

	assert_non_null(mkdtemp(top));
	(void)snprintf(path, sizeof(path), "%s/fifo", top);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(file_or_pipe_read(path, 5, 1, &text, &err), -ETIMEDOUT);
	assert_non_null(strstr(err.msg, path));
	assert_int_equal(small_file_read(path, 5, &text, NULL), -EINVAL);
	assert_int_equal(unlink(path) | rmdir(top), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(refuses_what_is_no_file),
		cmocka_unit_test(takes_a_pipe),
		cmocka_unit_test(waits_for_a_writer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
