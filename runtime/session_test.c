/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions against a real agent over a socket pair. */
#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/num.h"
#include "runtime/session_rig_test.h"

static void test_streams_and_code(void **state)
{
	cleanup_fd int out = temp_file(), err_out = temp_file();
	struct fixture f;

	setup(&f, "echo out; echo err >&2; exit 7");
	f.cfg.stdout_fd = out;
	f.cfg.stderr_fd = err_out;
	run(&f, 7, NULL);
	assert_int_equal(f.ready_calls, 1);
	check_file(out, "out\n");
	check_file(err_out, "err\n");
	teardown(&f);
}

static void test_signal_death(void **state)
{
	struct fixture f;

	setup(&f, "kill -SEGV $$");
	run(&f, 128 + SIGSEGV, NULL);
	teardown(&f);
}

/* Without output descriptors output goes nowhere, and nothing fails. */
static void test_no_descriptors(void **state)
{
	struct fixture f;

	setup(&f, "cat; echo lost; exit 3");
	run(&f, 3, NULL);
	teardown(&f);
}

static void check_start_failure(const char *cmd, const char *cwd, int code, const char *reason)
{
	struct fixture f;

	setup(&f, "");
	f.cfg.exec = (struct exec_request){ .cmd = text_of(cmd), .cwd = text_of(cwd) };
	run(&f, code, reason);
	assert_null(strchr(f.err.msg, '\n'));
	teardown(&f);
}

static void test_start_failures(void **state)
{
	check_start_failure("no-such-command", NULL, 127, "cannot run 'no-such-command'");
	check_start_failure("/etc/passwd", NULL, 126, "Permission denied");
	check_start_failure("/etc", NULL, 126, "cannot run '/etc'");
	check_start_failure("true", "/no/such", 1, "/no/such");
	check_start_failure("no\nsuch\x1b[31m", NULL, 127, "cannot run 'no?such?[31m'");
}

static void test_start_user(void **state)
{
	struct fixture f;

	setup(&f, "true");
	f.cfg.exec.user = text_of("nobody-here");
	run(&f, 1, "guest user not found: nobody-here");
	teardown(&f);
}

static void test_invalid(void **state)
{
	struct err err = ERR_INIT;
	char *huge = calloc(1, 5 << 20);
	struct fixture f;

	assert_non_null(huge);
	setup_fake(&f);
	f.cfg.exec.cmd = text_of("");
	assert_int_equal(session_new(f.loop, &f.cfg, on_done, &f, &f.session, &err), -EINVAL);
	memset(huge, 'x', (5 << 20) - 1);
	f.cfg.exec.cmd = text_of(huge);
	assert_int_equal(session_new(f.loop, &f.cfg, on_done, &f, &f.session, &err), -E2BIG);
	assert_null(f.session);
	teardown(&f);
	free(huge);
}

static void test_stdin_pipe(void **state)
{
	cleanup_fd int out = temp_file();
	struct fixture f;
	int fds[2];

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	assert_int_equal(write(fds[1], "through\n", 8), 8);
	(void)close(fds[1]);
	setup(&f, "cat; exit 5");
	f.cfg.stdin_fd = fds[0];
	f.cfg.stdout_fd = out;
	run(&f, 5, NULL);
	check_file(out, "through\n");
	/* Ours to close, and as blocking as it was. */
	assert_int_equal(fcntl(fds[0], F_GETFL) & O_NONBLOCK, 0);
	(void)close(fds[0]);
	teardown(&f);
}

static void test_stdin_null(void **state)
{
	cleanup_fd int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	struct fixture f;

	setup(&f, "cat; exit 5");
	f.cfg.stdin_fd = f.cfg.stdout_fd = f.cfg.stderr_fd = null;
	run(&f, 5, NULL);
	teardown(&f);
}

static void test_stdin_directory(void **state)
{
	cleanup_fd int dir = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct fixture f;

	setup(&f, "cat; exit 5");
	f.cfg.stdin_fd = dir;
	run(&f, 5, NULL);
	teardown(&f);
}

/* An endless stdin that the command never reads, or stops reading, holds nothing up. */
static void check_endless(const char *script, int code)
{
	cleanup_fd int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	struct fixture f;

	setup(&f, script);
	f.cfg.stdin_fd = zero;
	run(&f, code, NULL);
	teardown(&f);
}

static void test_stdin_unread(void **state)
{
	check_endless("exit 9", 9);
	check_endless("head -c 1000000 >/dev/null; exit 8", 8);
	check_endless("exec <&-; sleep 0.2; exit 6", 6);
}

#define BIG MIB(64)

static int big_file(void)
{
	int fd = temp_file();
	uint32_t *block = malloc(MIB(1));

	assert_non_null(block);
	for (uint32_t i = 0; i < BIG / MIB(1); i++) {
		for (uint32_t k = 0; k < MIB(1) / 4; k++)
			block[k] = (i << 20 | k) * 2654435761u;
		assert_int_equal(write(fd, block, MIB(1)), MIB(1));
	}
	free(block);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	return fd;
}

static void check_same(int a, int b)
{
	void *x = mmap(NULL, BIG, PROT_READ, MAP_SHARED, a, 0);
	void *y = mmap(NULL, BIG, PROT_READ, MAP_SHARED, b, 0);

	assert_int_equal(lseek(b, 0, SEEK_END), BIG);
	assert_true(x != MAP_FAILED && y != MAP_FAILED);
	assert_int_equal(memcmp(x, y, BIG), 0);
	(void)munmap(x, BIG);
	(void)munmap(y, BIG);
}

static void test_big_file(void **state)
{
	cleanup_fd int in = big_file(), out = temp_file();
	struct fixture f;

	setup(&f, "cat; exit 7");
	f.cfg.stdin_fd = in;
	f.cfg.stdout_fd = out;
	run(&f, 7, NULL);
	check_same(in, out);
	teardown(&f);
}

/* struct slow - takes the session's output from a pipe, a little at a time, from within the loop */
struct slow {
	struct fixture *f;
	int from, to;
	struct loop_timer *timer;
	uint64_t got;
};

static void on_slow(void *ctx)
{
	struct slow *s = ctx;
	uint8_t data[65536];
	ssize_t n = read(s->from, data, sizeof(data));

	if (n > 0) {
		assert_int_equal(write(s->to, data, n), n);
		s->got += n;
	}
	loop_timer_arm(s->timer, clock_mono_ns() + (s->got < MIB(1) ? NS_PER_MS : 0));
}

/* The same through a pipe whose reader dawdles: nothing lost, and the end waits for it. */
static void test_slow_reader(void **state)
{
	cleanup_fd int in = big_file(), out = temp_file();
	struct slow slow = { .to = out };
	struct fixture f;
	int fds[2];

	assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
	setup(&f, "cat; exit 7");
	slow.f = &f;
	slow.from = fds[0];
	f.cfg.stdin_fd = in;
	f.cfg.stdout_fd = fds[1];
	assert_int_equal(loop_timer_new(f.loop, on_slow, &slow, &slow.timer, NULL), 0);
	loop_timer_arm(slow.timer, 0);
	run(&f, 7, NULL);
	while (slow.got < BIG)
		on_slow(&slow);
	check_same(in, out);
	(void)close(fds[0]);
	(void)close(fds[1]);
	teardown(&f);
}

static void check_broken_stdout(int fd, int code, const char *reason)
{
	struct fixture f;

	setup(&f, "echo one; sleep 1000");
	f.cfg.stdout_fd = fd;
	run(&f, code, reason);
	teardown(&f);
}

static void test_broken_stdout(void **state)
{
	cleanup_fd int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
	int fds[2];

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	(void)close(fds[0]);
	check_broken_stdout(fds[1], 0, NULL);
	(void)close(fds[1]);
	check_broken_stdout(full, 1, "write standard output: No space left on device");
}

/* A stderr that nobody reads any more is no reason to stop. */
static void test_broken_stderr(void **state)
{
	struct fixture f;
	int fds[2];

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	(void)close(fds[0]);
	setup(&f, "echo lost >&2; exit 4");
	f.cfg.stderr_fd = fds[1];
	run(&f, 4, NULL);
	(void)close(fds[1]);
	teardown(&f);
}

/* struct watcher - calls back once the wanted output has come through a pipe */
struct watcher {
	struct fixture *f;
	const char *want;
	void (*then)(struct fixture *f);
	char got[256];
	size_t len;
};

static void on_watched(void *ctx, int fd, uint32_t events)
{
	struct watcher *w = ctx;
	ssize_t n = read(fd, w->got + w->len, sizeof(w->got) - 1 - w->len);

	if (n <= 0)
		return;
	w->len += n;
	if (w->then && strstr(w->got, w->want)) {
		void (*then)(struct fixture * f) = w->then;

		w->then = NULL;
		then(w->f);
	}
}

/* Run with stdout to a pipe; call @then when @want was seen. The pipe's reading end stays open. */
static void run_watched(struct fixture *f, struct watcher *w, int code)
{
	struct loop_watch *watch = NULL;
	int fds[2];

	assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
	f->cfg.stdout_fd = fds[1];
	w->f = f;
	assert_int_equal(loop_add(f->loop, fds[0], EPOLLIN, on_watched, w, &watch, NULL), 0);
	run(f, code, NULL);
	on_watched(w, fds[0], 0);
	loop_remove(&watch);
	(void)close(fds[0]);
	(void)close(fds[1]);
}

static void send_term(struct fixture *f)
{
	session_signal(f->session, SIGTERM);
	session_signal(f->session, 0);
	session_signal(f->session, 64);
}

static void test_signal(void **state)
{
	struct watcher w = { .want = "up\n", .then = send_term };
	struct fixture f;

	setup(&f, "trap 'echo caught; exit 12' TERM; echo up; while :; do sleep 0.1; done");
	f.cfg.stderr_fd = -1;
	run_watched(&f, &w, 12);
	assert_non_null(strstr(w.got, "caught\n"));
	teardown(&f);
}

/* Sent before the guest was ready: kept for the command. */
static void test_early_signal(void **state)
{
	struct fixture f;

	setup(&f, "sleep 1000");
	start(&f);
	session_signal(f.session, SIGKILL);
	assert_false(session_ready(f.session));
	finish(&f, 128 + SIGKILL);
	teardown(&f);
}

static void resize(struct fixture *f)
{
	session_resize(f->session, 40, 132);
}

static void test_tty_resize(void **state)
{
	struct watcher w = { .want = "up\r\n", .then = resize };
	struct fixture f;
	int master, slave;

	setup(&f,
		"stty size; trap 'stty size; exit 2' WINCH; echo up; while :; do sleep 0.1; done");
	f.cfg.exec.tty = true;
	f.cfg.exec.rows = 20;
	f.cfg.exec.cols = 70;
	assert_int_equal(openpty(&master, &slave, NULL, NULL, NULL), 0);
	f.cfg.stdin_fd = slave;
	run_watched(&f, &w, 2);
	(void)close(master);
	(void)close(slave);
	assert_non_null(strstr(w.got, "20 70\r\n"));
	assert_non_null(strstr(w.got, "40 132\r\n"));
	teardown(&f);
}

/* On a terminal fed from a file the end arrives, after a whole line and in the middle of one. */
static void check_tty_eof(const char *input, const char *want)
{
	cleanup_fd int in = temp_file(), out = temp_file();
	struct fixture f;
	char got[256];
	ssize_t n;

	assert_int_equal(write(in, input, strlen(input)), strlen(input));
	assert_int_equal(lseek(in, 0, SEEK_SET), 0);
	setup(&f, "stty -echo; cat; echo end");
	f.cfg.exec.tty = true;
	f.cfg.stdin_fd = in;
	f.cfg.stdout_fd = out;
	run(&f, 0, NULL);
	n = pread(out, got, sizeof(got) - 1, 0);
	assert_true(n > 0);
	got[n] = '\0';
	/* What came before echo was off may be in front. */
	if (n < strlen(want) || strcmp(got + n - strlen(want), want) != 0)
		fail_msg("got '%s', want '%s'", got, want);
	teardown(&f);
}

static void test_tty_eof(void **state)
{
	check_tty_eof("line\n", "line\r\nend\r\n");
	check_tty_eof("part", "partend\r\n");
	check_tty_eof("", "end\r\n");
}

/* The agent's process dies under a running command. */
static void kill_agent(struct fixture *f)
{
	(void)kill(f->agent, SIGKILL);
}

static void test_agent_dies(void **state)
{
	struct watcher w = { .want = "up\n", .then = kill_agent };
	struct loop_watch *watch = NULL;
	struct fixture f;
	int fds[2];

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	setup(&f, "echo up; sleep 5");
	w.f = &f;
	f.cfg.stdout_fd = fds[1];
	assert_int_equal(loop_add(f.loop, fds[0], EPOLLIN, on_watched, &w, &watch, NULL), 0);
	run(&f, 1, "ended before the command did");
	loop_remove(&watch);
	(void)close(fds[0]);
	(void)close(fds[1]);
	teardown(&f);
}

static void test_refused_bootstrap(void **state)
{
	struct fixture f;

	setup(&f, "true");
	f.cfg.boot.security_profile = text_of("restricted");
	run(&f, 1, "security profile");
	teardown(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_streams_and_code),
		cmocka_unit_test(test_signal_death),
		cmocka_unit_test(test_no_descriptors),
		cmocka_unit_test(test_start_failures),
		cmocka_unit_test(test_start_user),
		cmocka_unit_test(test_invalid),
		cmocka_unit_test(test_stdin_pipe),
		cmocka_unit_test(test_stdin_null),
		cmocka_unit_test(test_stdin_directory),
		cmocka_unit_test(test_stdin_unread),
		cmocka_unit_test(test_big_file),
		cmocka_unit_test(test_slow_reader),
		cmocka_unit_test(test_broken_stdout),
		cmocka_unit_test(test_broken_stderr),
		cmocka_unit_test(test_signal),
		cmocka_unit_test(test_early_signal),
		cmocka_unit_test(test_tty_resize),
		cmocka_unit_test(test_tty_eof),
		cmocka_unit_test(test_agent_dies),
		cmocka_unit_test(test_refused_bootstrap),
	};

	(void)signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
