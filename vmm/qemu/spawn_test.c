/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vmm/qemu/spawn.h"

#define DEADLINE_MS 20000

static struct qemu_child spawn_with(const char *script, const int *fds, unsigned n, int net_fd)
{
	char *argv[] = { (char *)"sh", (char *)"-c", (char *)script, NULL };
	int program = open("/bin/sh", O_PATH | O_CLOEXEC);
	struct qemu_child child;
	struct err err = ERR_INIT;

	assert_true(program >= 0);
	if (qemu_spawn(program, argv, fds, n, net_fd, &child, &err) < 0)
		fail_msg("%s", err.msg);
	(void)close(program);
	return child;
}

static struct qemu_child spawn(const char *script, const int *fds, unsigned n)
{
	return spawn_with(script, fds, n, -1);
}

static bool wait_readable(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, DEADLINE_MS) == 1;
}

/* Everything the child prints until it ends. */
static void read_output(struct qemu_child *c, char *out, size_t size)
{
	size_t len = 0;

	while (wait_readable(c->output_fd)) {
		ssize_t n = read(c->output_fd, out + len, size - 1 - len);

		if (n <= 0)
			break;
		len += n;
	}
	out[len] = '\0';
}

static void inherits_only_what_it_should(void **state)
{
	int keep = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	int leak = open("/dev/zero", O_RDONLY); /* without O_CLOEXEC: must still not reach it */
	char script[256], out[512];
	struct qemu_child c;

	(void)snprintf(script, sizeof(script),
		"[ -e /proc/self/fd/%d ] && echo keep; [ -e /proc/self/fd/%d ] && echo leak; "
		"[ -z \"$HOME$PATH_\" ] && echo noenv; pwd; grep NoNewPrivs /proc/self/status",
		keep, leak);
	assert_true(leak > keep);
	c = spawn(script, &keep, 1);
	read_output(&c, out, sizeof(out));
	assert_true(wait_readable(c.pidfd));
	assert_int_equal(qemu_child_reap(&c), 0);
	assert_string_equal(out, "keep\nnoenv\n/\nNoNewPrivs:\t1\n");
	qemu_child_end(&c);
	(void)close(c.pidfd);
	(void)close(c.output_fd);
	(void)close(keep);
	(void)close(leak);
}

static void reports_a_failing_exec(void **state)
{
	char *argv[] = { (char *)"x", NULL };
	int program = open("/etc/passwd", O_PATH | O_CLOEXEC);
	struct qemu_child c;
	struct err err = ERR_INIT;

	assert_int_equal(qemu_spawn(program, argv, NULL, 0, -1, &c, &err), -EACCES);
	assert_string_equal(err.msg, "start QEMU: exec: Permission denied");
	(void)close(program);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* reaped */
	assert_int_equal(errno, ECHILD);
}

static void is_confined(void **state)
{
	char path[] = "/tmp/spawn-test-XXXXXX", script[512], out[256];
	int fd = mkstemp(path);
	struct qemu_child c;

	assert_true(fd >= 0);
	assert_int_equal(fchmod(fd, 0666), 0);
	(void)snprintf(script, sizeof(script),
		"(read x <%s) 2>/dev/null && echo reads; (echo x >%s) 2>/dev/null && echo writes; "
		"(read x </proc/%d/environ) 2>/dev/null && echo looks at others; "
		"kill -0 $PPID 2>/dev/null && echo signals; read x </etc/passwd && echo works",
		path, path, (int)getpid());
	assert_int_equal(write(fd, "secret\n", 7), 7);
	c = spawn(script, NULL, 0);
	read_output(&c, out, sizeof(out));
	qemu_child_end(&c);
	(void)close(fd);
	(void)unlink(path);
	if (strncmp(out, "reads\nwrites\n", 13) == 0) {
		print_message("files are not confined here: no Landlock\n");
		return;
	}
	assert_string_equal(out, "works\n");
}

/* What it gets for a connection of its own is what we put there, and nothing else can be had. */
static void connects_to_us_only(void **state)
{
	static const char script[] = "exec perl -MSocket -e '"
				     "socket($s, AF_UNIX, SOCK_STREAM, 0) and connect($s, "
				     "pack_sockaddr_un(\"any\")) and "
				     "syswrite($s, \"hello\");"
				     "socket($i, AF_INET, SOCK_STREAM, 0) and print \"inet\";"
				     "socket($d, AF_UNIX, SOCK_DGRAM, 0) and print \"datagram\";"
				     "print \"done\";'";
	char out[256], got[16] = "";
	struct qemu_child c;
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	c = spawn_with(script, NULL, 0, pair[1]);
	(void)close(pair[1]);
	read_output(&c, out, sizeof(out));
	qemu_child_end(&c);
	assert_string_equal(out, "done");
	assert_int_equal(read(pair[0], got, sizeof(got) - 1), 5);
	assert_string_equal(got, "hello");
	(void)close(pair[0]);

	c = spawn(script, NULL, 0);
	read_output(&c, out, sizeof(out));
	qemu_child_end(&c);
	assert_string_equal(out, "done");
}

static void end_kills(void **state)
{
	struct qemu_child c = spawn("exec sleep 1000", NULL, 0);
	pid_t pid = c.pid;

	qemu_child_end(&c);
	assert_int_equal(kill(pid, 0), -1);
	assert_int_equal(errno, ESRCH);
	qemu_child_end(&c); /* again is fine */
}

/* A middle process spawns and is killed: its child must go too. We adopt it, to see it end. */
static void dies_with_its_parent(void **state)
{
	int report[2], status;
	pid_t middle, pid = 0, got;

	assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
	assert_int_equal(pipe2(report, O_CLOEXEC), 0);
	middle = fork();
	if (middle == 0) {
		struct qemu_child c = spawn("exec sleep 1000", NULL, 0);

		(void)!write(report[1], &c.pid, sizeof(c.pid));
		pause();
		_exit(0);
	}
	assert_int_equal(read(report[0], &pid, sizeof(pid)), sizeof(pid));
	assert_int_equal(kill(middle, SIGKILL), 0);
	assert_int_equal(waitpid(middle, &status, 0), middle);
	/* Blocks for ever if it does not die; the test runner's limit tells. */
	got = waitpid(pid, &status, 0);
	assert_int_equal(got, pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	(void)close(report[0]);
	(void)close(report[1]);
}

static void finds_the_program(void **state)
{
	char path[PATH_MAX];
	struct err err = ERR_INIT;
	int fd = -1;

	assert_int_equal(setenv("MSB_QEMU", "/bin/sh", 1), 0);
	assert_int_equal(qemu_find(path, &fd, &err), 0);
	assert_string_equal(path, "/bin/sh");
	(void)close(fd);
	assert_int_equal(setenv("MSB_QEMU", "/nonexistent/qemu", 1), 0);
	assert_int_equal(qemu_find(path, &fd, &err), -ENOENT);
	assert_non_null(strstr(err.msg, "MSB_QEMU"));
	assert_int_equal(unsetenv("MSB_QEMU"), 0);
	assert_int_equal(setenv("PATH", "/nonexistent", 1), 0);
	assert_int_equal(qemu_find(path, &fd, &err), -ENOENT);
	assert_non_null(strstr(err.msg, "install the package qemu-system-x86"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(inherits_only_what_it_should),
		cmocka_unit_test(reports_a_failing_exec), cmocka_unit_test(is_confined),
		cmocka_unit_test(connects_to_us_only), cmocka_unit_test(end_kills),
		cmocka_unit_test(dies_with_its_parent),
		cmocka_unit_test(finds_the_program), /* last: it changes PATH */
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
