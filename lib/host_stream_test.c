/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>

#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/host_stream.h"

static ssize_t put(const struct host_stream *s, const char *text)
{
	struct iovec iov = { (void *)text, strlen(text) };

	return host_stream_writev(s, &iov, 1);
}

static ssize_t get(const struct host_stream *s, char *dst, size_t len)
{
	struct iovec iov = { dst, len };

	return host_stream_readv(s, &iov, 1);
}

static void open_both(int in_fd, int out_fd, struct host_stream *in, struct host_stream *out)
{
	assert_int_equal(host_stream_open(in, in_fd, false, NULL), 0);
	assert_int_equal(host_stream_open(out, out_fd, true, NULL), 0);
}

static bool is_blocking(int fd)
{
	return !(fcntl(fd, F_GETFL) & O_NONBLOCK);
}

/* Write until full; returns how much went in. Ends, which is the point. */
static size_t fill(const struct host_stream *s)
{
	static char junk[4096];
	struct iovec iov = { junk, sizeof(junk) };
	size_t sum = 0;
	ssize_t n;

	while ((n = host_stream_writev(s, &iov, 1)) > 0)
		sum += (size_t)n;
	assert_int_equal(n, -EAGAIN);
	assert_true(sum > 0);
	return sum;
}

static void check_pair(int read_fd, int write_fd, enum host_stream_kind kind)
{
	struct host_stream in, out;
	char text[8] = { 0 };

	assert_true(is_blocking(read_fd) && is_blocking(write_fd));
	open_both(read_fd, write_fd, &in, &out);
	assert_int_equal(in.kind, kind);
	assert_int_equal(out.kind, kind);
	assert_int_equal(get(&in, text, sizeof(text)), -EAGAIN);
	assert_int_equal(put(&out, "abc"), 3);
	assert_int_equal(get(&in, text, sizeof(text)), 3);
	assert_string_equal(text, "abc");
	(void)fill(&out);
	assert_true(is_blocking(read_fd) && is_blocking(write_fd));
	close(write_fd);
	host_stream_release(&out);
	while (get(&in, text, sizeof(text)) > 0)
		;
	assert_int_equal(get(&in, text, sizeof(text)), 0);
	host_stream_release(&in);
	assert_int_equal(in.fd, -1);
	close(read_fd);
}

static void test_pipe(void **state)
{
	int fds[2];

	assert_int_equal(pipe(fds), 0);
	check_pair(fds[0], fds[1], HOST_STREAM_OWN);
}

static void test_socket(void **state)
{
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	check_pair(fds[0], fds[1], HOST_STREAM_SOCKET);
}

/* A pipe that may not be reopened (no /proc, another owner): same results by polling. */
static void test_polled_pipe(void **state)
{
	struct host_stream in = HOST_STREAM_INIT, out = HOST_STREAM_INIT;
	char text[8] = { 0 };
	int fds[2];

	assert_int_equal(pipe(fds), 0);
	in = (struct host_stream){ fds[0], HOST_STREAM_POLL };
	out = (struct host_stream){ fds[1], HOST_STREAM_POLL };
	assert_int_equal(get(&in, text, sizeof(text)), -EAGAIN);
	assert_int_equal(put(&out, "abc"), 3);
	assert_int_equal(get(&in, text, sizeof(text)), 3);
	(void)fill(&out);
	host_stream_release(&out);
	while (get(&in, text, sizeof(text)) > 0)
		;
	assert_int_equal(get(&in, text, sizeof(text)), 0);
	host_stream_release(&in);
}

static void test_terminal(void **state)
{
	struct host_stream slave_in, slave_out, master;
	char text[8] = { 0 };
	int m, s;

	assert_int_equal(openpty(&m, &s, NULL, NULL, NULL), 0);
	open_both(s, s, &slave_in, &slave_out);
	assert_int_equal(slave_in.kind, HOST_STREAM_OWN);
	/* opening a master's path would make another pair: it must be the same one */
	assert_int_equal(host_stream_open(&master, m, false, NULL), 0);
	assert_int_equal(master.kind, HOST_STREAM_POLL);
	assert_int_equal(get(&slave_in, text, sizeof(text)), -EAGAIN);
	assert_int_equal(get(&master, text, sizeof(text)), -EAGAIN);
	assert_int_equal(put(&slave_out, "out"), 3);
	assert_int_equal(get(&master, text, sizeof(text)), 3);
	assert_string_equal(text, "out");
	assert_true(is_blocking(s) && is_blocking(m));
	host_stream_release(&master);
	close(m);
	assert_int_equal(get(&slave_in, text, sizeof(text)), 0); /* hung up */
	host_stream_release(&slave_in);
	host_stream_release(&slave_out);
	close(s);
}

static void test_files(void **state)
{
	struct host_stream in, out;
	FILE *file = tmpfile();
	char text[8] = { 0 };
	int null = open("/dev/null", O_RDWR | O_CLOEXEC), full = open("/dev/full", O_WRONLY);

	assert_non_null(file);
	open_both(fileno(file), fileno(file), &in, &out);
	assert_int_equal(in.kind, HOST_STREAM_FILE);
	assert_int_equal(put(&out, "abc"), 3);
	assert_int_equal(lseek(fileno(file), 1, SEEK_SET), 1); /* the offset is shared */
	assert_int_equal(get(&in, text, sizeof(text)), 2);
	assert_string_equal(text, "bc");
	assert_int_equal(get(&in, text, sizeof(text)), 0);
	host_stream_release(&in);
	host_stream_release(&out);
	fclose(file);

	open_both(null, null, &in, &out);
	assert_int_equal(put(&out, "abc"), 3);
	assert_int_equal(get(&in, text, sizeof(text)), 0);
	host_stream_release(&in);
	host_stream_release(&out);
	assert_int_equal(host_stream_open(&out, full, true, NULL), 0);
	assert_int_equal(put(&out, "abc"), -ENOSPC);
	host_stream_release(&out);
	close(null);
	close(full);
}

static void test_broken_pipe(void **state)
{
	struct host_stream out;
	int fds[2];

	assert_int_equal(pipe(fds), 0);
	assert_int_equal(host_stream_open(&out, fds[1], true, NULL), 0);
	close(fds[0]);
	assert_int_equal(put(&out, "abc"), -EPIPE);
	host_stream_release(&out);
	/* no reader left: it cannot be reopened, only duplicated */
	assert_int_equal(host_stream_open(&out, fds[1], true, NULL), 0);
	assert_int_equal(put(&out, "abc"), -EPIPE);
	host_stream_release(&out);
	close(fds[1]);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	assert_int_equal(host_stream_open(&out, fds[1], true, NULL), 0);
	close(fds[0]);
	assert_int_equal(put(&out, "abc"), -EPIPE);
	host_stream_release(&out);
	close(fds[1]);
}

static void test_open_failures(void **state)
{
	struct host_stream s = { .fd = 5 };
	struct err err = ERR_INIT;

	assert_int_equal(host_stream_open(&s, -1, true, NULL), 0);
	assert_int_equal(s.fd, -1);
	assert_int_equal(host_stream_open(&s, 99999, true, &err), -EBADF);
	assert_int_equal(s.fd, -1);
	assert_string_equal(err.msg, "look at descriptor 99999: Bad file descriptor");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pipe),
		cmocka_unit_test(test_socket),
		cmocka_unit_test(test_polled_pipe),
		cmocka_unit_test(test_terminal),
		cmocka_unit_test(test_files),
		cmocka_unit_test(test_broken_pipe),
		cmocka_unit_test(test_open_failures),
	};

	(void)signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
