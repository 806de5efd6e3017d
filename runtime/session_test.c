/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions against a real agent over a socket pair, and against guests that are not to be trusted.
 */
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

#include "guest/peer.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/num.h"
#include "runtime/session.h"

/* A test that hangs fails by this, with its name. */
#define TEST_TIMEOUT_NS (60 * NS_PER_S)

/*
 * struct fixture - one session
 * @guest_fd: the guest's end, for guests played by the test; else -1
 */
struct fixture {
	struct loop *loop;
	struct loop_timer *watchdog;
	struct session *session;
	struct session_cfg cfg;
	struct text args[2];
	pid_t agent;
	int guest_fd;
	int calls, exit_code, ready_calls;
	struct err err;
};

static void on_done(void *ctx, int exit_code, const struct err *err)
{
	struct fixture *f = ctx;

	f->calls++;
	f->exit_code = exit_code;
	if (err)
		f->err = *err;
	/* Allowed, and the likely thing to do. */
	session_free(take_ptr(&f->session));
	loop_stop(f->loop, 0);
}

static void on_ready(void *ctx)
{
	struct fixture *f = ctx;

	f->ready_calls++;
}

static void on_watchdog(void *ctx)
{
	fail_msg("the session did not end");
}

static void base(struct fixture *f, const char *script)
{
	struct err err = ERR_INIT;

	*f = (struct fixture){ .guest_fd = -1, .args = { text_of("-c"), text_of(script) } };
	f->cfg = (struct session_cfg){
		.stdin_fd = -1,
		.stdout_fd = -1,
		.stderr_fd = -1,
		.exec = { .cmd = text_of("sh"), .args = { f->args, 2 } },
		.ready = on_ready,
	};
	assert_int_equal(loop_new(&f->loop, &err), 0);
	assert_int_equal(loop_timer_new(f->loop, on_watchdog, f, &f->watchdog, &err), 0);
	loop_timer_arm(f->watchdog, clock_mono_ns() + TEST_TIMEOUT_NS);
}

/* A session that will run `sh -c SCRIPT` in a real agent; change f->cfg before run(). */
static void setup(struct fixture *f, const char *script)
{
	base(f, script);
	f->cfg.agent_fd = peer_spawn(&f->agent);
	assert_true(f->cfg.agent_fd >= 0);
}

/* A session whose guest is the test itself. */
static void setup_fake(struct fixture *f)
{
	int fds[2];

	base(f, "true");
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	f->cfg.agent_fd = fds[0];
	f->guest_fd = fds[1];
}

static void start(struct fixture *f)
{
	struct err err = ERR_INIT;

	if (session_new(f->loop, &f->cfg, on_done, f, &f->session, &err) < 0)
		fail_msg("%s", err.msg);
}

static void teardown(struct fixture *f)
{
	int status;

	session_free(f->session);
	close_fd(&f->cfg.agent_fd);
	close_fd(&f->guest_fd);
	loop_free(f->loop);
	if (f->agent > 0)
		assert_int_equal(waitpid(f->agent, &status, 0), f->agent);
}

static void finish(struct fixture *f, int code)
{
	struct err err = ERR_INIT;

	assert_int_equal(loop_run(f->loop, &err), 0);
	assert_int_equal(f->calls, 1);
	if (f->exit_code != code)
		fail_msg("exit code %d, want %d (%s)", f->exit_code, code, f->err.msg);
}

/* Start, run to the end, check code and the reason (NULL: none). */
static void run(struct fixture *f, int code, const char *reason)
{
	start(f);
	finish(f, code);
	if (!reason && f->err.code)
		fail_msg("unexpected reason: %s", f->err.msg);
	if (reason && !strstr(f->err.msg, reason))
		fail_msg("reason '%s', want '%s'", f->err.msg, reason);
}

static int temp_file(void)
{
	int fd = memfd_create("session-test", MFD_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static void check_file(int fd, const char *want)
{
	char got[4096];
	ssize_t n = pread(fd, got, sizeof(got) - 1, 0);

	assert_true(n >= 0);
	got[n] = '\0';
	assert_string_equal(got, want);
}

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

/* ---- guests played by the test ---- */

static void guest_say(struct fixture *f, uint32_t id, enum message_type type, const void *payload)
{
	cleanup_buf struct buf out = { 0 };

	assert_int_equal(message_append(&out, id, type, payload), 0);
	assert_int_equal(write(f->guest_fd, buf_head(&out), out.len), out.len);
}

static void guest_ready(struct fixture *f)
{
	struct ready ready = { 1, 2, 3, text_of("x"), 0 };
	struct init_resolved resolved = { { 0, 0 } };

	guest_say(f, 0, MSG_INIT_RESOLVED, &resolved);
	guest_say(f, 0, MSG_READY, &ready);
}

static void guest_exit(struct fixture *f, int32_t code, uint32_t signal)
{
	struct exec_exited exited = { code, signal };

	guest_say(f, 1, MSG_EXEC_EXITED, &exited);
}

/* Nothing but silence: the deadline, with what is known. */
static void test_silent_guest(void **state)
{
	struct init_resolved resolved = { { 0, 0 } };
	struct fixture f;

	setup_fake(&f);
	f.cfg.ready_timeout_ms = 20;
	run(&f, 1, "not ready within 20 ms: nothing was heard");
	teardown(&f);
	setup_fake(&f);
	f.cfg.ready_timeout_ms = 20;
	guest_say(&f, 0, MSG_INIT_RESOLVED, &resolved);
	run(&f, 1, "did not finish starting");
	assert_int_equal(f.ready_calls, 0);
	teardown(&f);
}

static void test_guest_hangs_up(void **state)
{
	struct fixture f;

	setup_fake(&f);
	close_fd(&f.guest_fd);
	run(&f, 1, "ended before it was ready");
	teardown(&f);
	setup_fake(&f);
	guest_ready(&f);
	(void)shutdown(f.guest_fd, SHUT_RDWR);
	run(&f, 1, "ended before the command did");
	teardown(&f);
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

/* What failed in the guest's start-up is passed on, made printable. */
static void test_guest_init_error(void **state)
{
	struct core_error error = { text_of("init_failed"),
		text_of("mount\x1b]0;x\x07 \xc2\x9b"
			"2J failed\n"),
		{ 0 } };
	struct fixture f;

	setup_fake(&f);
	guest_say(&f, 0, MSG_ERROR, &error);
	run(&f, 1, "the guest could not start: mount?]0;x? ??2J failed?");
	teardown(&f);
}

/* struct patches - @left frames to give, then @result */
struct patches {
	unsigned left;
	int result;
	char data[1000];
};

static int next_patch(void *ctx, struct patch *ret, struct err *err)
{
	struct patches *p = ctx;

	if (p->left == 0)
		return p->result < 0 ? err_set(err, p->result, "copy '/x'") : 0;
	p->left--;
	*ret = (struct patch){
		.op = text_of("append"),
		.path = text_of("/x"),
		.data = { (const uint8_t *)p->data, sizeof(p->data) },
	};
	return 1;
}

/* The types of all frames that wait for the guest, in order. */
static unsigned heard(struct fixture *f, enum message_type *types, unsigned max)
{
	struct frame_reader in = { 0 };
	struct frame frame;
	unsigned n = 0;
	uint8_t *room;
	size_t len;
	ssize_t got;

	while (frame_reader_space(&in, &room, &len) == 0 &&
		(got = recv(f->guest_fd, room, len, MSG_DONTWAIT)) > 0) {
		frame_reader_commit(&in, (size_t)got);
		while (frame_reader_next(&in, &frame) == 1 && n < max) {
			cleanup_cbor_pool struct cbor_pool pool = { 0 };
			struct message msg;

			assert_int_equal(message_open(&frame, &pool, &msg, NULL), 0);
			types[n++] = msg.type;
		}
	}
	frame_reader_release(&in);
	return n;
}

/* Between bootstrap and acknowledgement, the last one saying so. */
static void test_patches(void **state)
{
	struct patches patches = { .left = 20 };
	enum message_type types[32];
	struct fixture f;
	unsigned n;

	setup_fake(&f);
	f.cfg.next_patch = next_patch;
	f.cfg.patch_ctx = &patches;
	guest_say(&f, 0, MSG_ERROR, &(struct core_error){ text_of("x"), text_of("enough"), { 0 } });
	run(&f, 1, "enough");
	n = heard(&f, types, 32);
	assert_int_equal(types[0], MSG_BOOTSTRAP);
	assert_true(n >= 2);
	assert_int_equal(types[n - 1], MSG_SHUTDOWN);
	teardown(&f);

	setup_fake(&f);
	patches = (struct patches){ .left = 20 };
	f.cfg.next_patch = next_patch;
	f.cfg.patch_ctx = &patches;
	start(&f);
	session_signal(f.session, SIGTERM);
	guest_ready(&f);
	guest_say(&f, 1, MSG_EXEC_EXITED, &(struct exec_exited){ 3, 0 });
	finish(&f, 3);
	teardown(&f);
}

static void test_patches_that_fail(void **state)
{
	struct patches patches = { .left = 2, .result = -EACCES };
	struct fixture f;

	setup_fake(&f);
	f.cfg.next_patch = next_patch;
	f.cfg.patch_ctx = &patches;
	run(&f, 1, "copy '/x': Permission denied");
	assert_int_equal(patches.left, 0);
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

static void check_garbage(const void *data, size_t len, bool ready, const char *reason)
{
	struct fixture f;

	setup_fake(&f);
	if (ready)
		guest_ready(&f);
	assert_int_equal(write(f.guest_fd, data, len), len);
	run(&f, 1, reason);
	teardown(&f);
}

static void test_garbage(void **state)
{
	for (int ready = 0; ready < 2; ready++) {
		check_garbage("\0\0\0\0", 4, ready, "impossible length");
		check_garbage("\xff\xff\xff\xff", 4, ready, "impossible length");
		check_garbage("\0\0\0\x06\0\0\0\x01\0\xff", 10, ready, "agent protocol");
		check_garbage("\0\0\0\x05\0\0\0\x01\0", 9, ready, "agent protocol");
	}
}

/* Frames on foreign ids, of unknown types, or out of place are ignored; the exit counts once. */
static void test_odd_frames(void **state)
{
	static const char unknown[] =
		"\0\0\0\x15\0\0\0\x01\0\xa3\x61v\x09\x61t\x65other\x61p\x41\xf6";
	cleanup_fd int out = temp_file();
	struct exec_data data = { { (const uint8_t *)"no", 2 } },
			 yes = { { (const uint8_t *)"yes", 3 } };
	struct exec_stdin_ack ack = { UINT32_MAX };
	struct exec_exited other = { 99, 0 };
	struct fixture f;

	setup_fake(&f);
	f.cfg.stdout_fd = out;
	guest_say(&f, 1, MSG_EXEC_STDOUT, &data);
	guest_say(&f, 1, MSG_EXEC_EXITED, &other);
	guest_ready(&f);
	guest_ready(&f);
	assert_int_equal(write(f.guest_fd, unknown, sizeof(unknown) - 1), sizeof(unknown) - 1);
	guest_say(&f, 2, MSG_EXEC_STDOUT, &data);
	guest_say(&f, 2, MSG_EXEC_EXITED, &other);
	guest_say(&f, 1, MSG_EXEC_STDIN_ACK, &ack);
	guest_say(&f, 1, MSG_EXEC_STDOUT, &yes);
	guest_exit(&f, 6, 0);
	guest_exit(&f, 7, 0);
	guest_say(&f, 1, MSG_EXEC_STDOUT, &data);
	run(&f, 6, NULL);
	check_file(out, "yes");
	assert_int_equal(f.ready_calls, 1);
	teardown(&f);
}

static void test_odd_codes(void **state)
{
	static const struct {
		int32_t code;
		uint32_t signal;
		int want;
	} rows[] = { { 256, 0, 255 }, { -1, 0, 255 }, { -1, 9, 137 }, { -1, 65, 255 },
		{ INT32_MIN, UINT32_MAX, 255 }, { 0, 9, 0 } };

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct fixture f;

		setup_fake(&f);
		guest_ready(&f);
		guest_exit(&f, rows[i].code, rows[i].signal);
		run(&f, rows[i].want, NULL);
		teardown(&f);
	}
}

/* A guest that never reads: what we keep for it stays small, and the end comes anyway. */
static void test_deaf_guest(void **state)
{
	cleanup_fd int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	struct fixture f;

	setup_fake(&f);
	f.cfg.stdin_fd = zero;
	guest_ready(&f);
	start(&f);
	for (int i = 0; i < 200; i++)
		assert_int_equal(loop_run_once(f.loop, 0, NULL), 0);
	guest_exit(&f, 3, 0);
	finish(&f, 3);
	teardown(&f);
}

/* Freed in every state without a callback. */
static void test_free_early(void **state)
{
	struct fixture f;

	session_free(NULL);
	setup_fake(&f);
	start(&f);
	teardown(&f);
	setup_fake(&f);
	guest_ready(&f);
	start(&f);
	while (!session_ready(f.session))
		assert_int_equal(loop_run_once(f.loop, 1000, NULL), 0);
	session_signal(f.session, SIGINT);
	session_resize(f.session, 1, 1);
	assert_int_equal(f.calls, 0);
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
		cmocka_unit_test(test_silent_guest),
		cmocka_unit_test(test_guest_hangs_up),
		cmocka_unit_test(test_agent_dies),
		cmocka_unit_test(test_guest_init_error),
		cmocka_unit_test(test_patches),
		cmocka_unit_test(test_patches_that_fail),
		cmocka_unit_test(test_refused_bootstrap),
		cmocka_unit_test(test_garbage),
		cmocka_unit_test(test_odd_frames),
		cmocka_unit_test(test_odd_codes),
		cmocka_unit_test(test_deaf_guest),
		cmocka_unit_test(test_free_early),
	};

	(void)signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
