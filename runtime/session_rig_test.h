/* SPDX-License-Identifier: Apache-2.0 */
/* For tests of sessions: one session with a watchdog, on a real agent or on a guest that the test
 * plays. The includes that cmocka wants come first, in the test. */
#ifndef RUNTIME_SESSION_RIG_TEST_H
#define RUNTIME_SESSION_RIG_TEST_H

#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest/peer.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
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

static inline void on_done(void *ctx, int exit_code, const struct err *err)
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

static inline void on_ready(void *ctx)
{
	struct fixture *f = ctx;

	f->ready_calls++;
}

static inline void on_watchdog(void *ctx)
{
	fail_msg("the session did not end");
}

static inline void base(struct fixture *f, const char *script)
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
static inline void setup(struct fixture *f, const char *script)
{
	base(f, script);
	f->cfg.agent_fd = peer_spawn(&f->agent);
	assert_true(f->cfg.agent_fd >= 0);
}

/* A session whose guest is the test itself. */
static inline void setup_fake(struct fixture *f)
{
	int fds[2];

	base(f, "true");
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	f->cfg.agent_fd = fds[0];
	f->guest_fd = fds[1];
}

static inline void start(struct fixture *f)
{
	struct err err = ERR_INIT;

	if (session_new(f->loop, &f->cfg, on_done, f, &f->session, &err) < 0)
		fail_msg("%s", err.msg);
}

static inline void teardown(struct fixture *f)
{
	int status;

	session_free(f->session);
	close_fd(&f->cfg.agent_fd);
	close_fd(&f->guest_fd);
	loop_free(f->loop);
	if (f->agent > 0)
		assert_int_equal(waitpid(f->agent, &status, 0), f->agent);
}

static inline void finish(struct fixture *f, int code)
{
	struct err err = ERR_INIT;

	assert_int_equal(loop_run(f->loop, &err), 0);
	assert_int_equal(f->calls, 1);
	if (f->exit_code != code)
		fail_msg("exit code %d, want %d (%s)", f->exit_code, code, f->err.msg);
}

/* Start, run to the end, check code and the reason (NULL: none). */
static inline void run(struct fixture *f, int code, const char *reason)
{
	start(f);
	finish(f, code);
	if (!reason && f->err.code)
		fail_msg("unexpected reason: %s", f->err.msg);
	if (reason && !strstr(f->err.msg, reason))
		fail_msg("reason '%s', want '%s'", f->err.msg, reason);
}

static inline int temp_file(void)
{
	int fd = memfd_create("session-test", MFD_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static inline void check_file(int fd, const char *want)
{
	char got[4096];
	ssize_t n = pread(fd, got, sizeof(got) - 1, 0);

	assert_true(n >= 0);
	got[n] = '\0';
	assert_string_equal(got, want);
}
#endif
