/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The worker with a machine that the tests play: vm_new() and its kin are defined here, so no guest
 * is needed to see how a worker lives, fails and dies.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/log.h"
#include "runtime/worker.h"

/* What the played machine does is its kernel's command line. */
#define KEY "WORKER_TEST_KEY"

struct vm {
	const char *script, *key;
	int root_fd;
	char inside[64];
};

int vm_new(const struct vm_config *cfg, struct vm **ret_vm, struct err *err)
{
	struct vm *vm = calloc(1, sizeof(*vm));

	if (strcmp(cfg->cmdline, "refuse") == 0) {
		free(vm);
		return err_msg(err, ENOENT, "no such machine");
	}
	vm->script = cfg->cmdline;
	vm->key = getenv(KEY);
	vm->root_fd = cfg->n_fs ? cfg->fs[0].cfg.root_fd : -1;
	log_info("preparing %s", cfg->cmdline);
	*ret_vm = vm;
	return 0;
}

void vm_free(struct vm *vm)
{
	free(vm);
}

const char *vm_engine_name(const struct vm *vm)
{
	return "played";
}

const char *vm_engine_reason(const struct vm *vm)
{
	return "for the test";
}

static bool can_fork(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	return pid > 0;
}

static void *nothing(void *arg)
{
	return arg;
}

static bool can_thread(void)
{
	pthread_t thread;

	return pthread_create(&thread, NULL, nothing, NULL) == 0 && pthread_join(thread, NULL) == 0;
}

/* Is a variable of the user's still there, or its bytes? */
static bool knows_key(const struct vm *vm)
{
	return getenv(KEY) || strcmp(vm->key, "secret") == 0;
}

/* Each letter says what is possible inside the confinement. */
static void probe(struct vm *vm, char *out)
{
	int fd, sv[2];
	char *const argv[] = { (char *)"/bin/true", NULL };

	fd = openat(vm->root_fd, "probe", O_CREAT | O_RDWR, 0600);
	*out++ = fd >= 0 ? 'w' : '-';
	fd = open("/etc/passwd", O_RDONLY);
	*out++ = fd >= 0 ? 'p' : '-';
	(void)execv(argv[0], argv);
	*out++ = errno == EPERM ? '-' : 'x';
	*out++ = socket(AF_INET, SOCK_STREAM, 0) >= 0 ? 's' : '-';
	*out++ = fcntl(100, F_GETFD) >= 0 ? 'l' : '-'; /* leaked descriptor */
	*out++ = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ? 'n' : '-';
	*out++ = getsid(0) == getpid() ? 'S' : '-';
	*out++ = socketpair(AF_UNIX, SOCK_STREAM, 0, sv) == 0 ? 'u' : '-';
	*out++ = unshare(CLONE_FS) == 0 ? 'f' : '-';
	*out++ = unshare(CLONE_NEWNS) == 0 ? 'm' : '-';
	*out++ = kill(getppid(), 0) == 0 ? 'k' : '-';
	*out++ = mknodat(vm->root_fd, "device", S_IFCHR | 0600, makedev(1, 3)) == 0 ? 'd' : '-';
	*out++ = can_fork() ? 'F' : '-';
	*out++ = can_thread() ? 't' : '-';
	(void)capng_get_caps_process();
	*out++ = capng_have_capability(CAPNG_EFFECTIVE, CAP_SYS_ADMIN) ? 'a' : '-';
	*out++ = knows_key(vm) ? 'K' : '-';
	*out = '\0';
}

static bool can_socket(int family, int type, int proto)
{
	int fd = socket(family, type | SOCK_CLOEXEC, proto);

	if (fd < 0)
		return errno != EPERM; /* the kernel's own no (no IPv6, ping group) is not ours */
	(void)close(fd);
	return true;
}

static bool can_use(int (*call)(int, const struct sockaddr *, socklen_t))
{
	struct sockaddr_in to = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int rc = call(fd, (struct sockaddr *)&to, sizeof(to));
	bool may = rc == 0 || errno != EPERM;

	(void)close(fd);
	return may;
}

/* The same for a machine with a network. */
static void probe_network(char *out)
{
	*out++ = can_socket(AF_INET, SOCK_STREAM, 0) ? 't' : '-';
	*out++ = can_socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK, 0) ? 'T' : '-';
	*out++ = can_socket(AF_INET, SOCK_DGRAM, 0) ? 'u' : '-';
	*out++ = can_socket(AF_INET6, SOCK_DGRAM, 0) ? 'U' : '-';
	*out++ = can_socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP) ? 'p' : '-';
	*out++ = can_socket(AF_INET6, SOCK_DGRAM, IPPROTO_ICMPV6) ? 'P' : '-';
	*out++ = can_use(connect) ? 'c' : '-';
	*out++ = can_use(bind) ? 'b' : '-';
	*out++ = can_socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMPV6) ? 'x' : '-';
	*out++ = can_socket(AF_INET, SOCK_STREAM, 262) ? 'm' : '-'; /* MPTCP */
	*out++ = can_socket(AF_INET, SOCK_RAW, IPPROTO_ICMP) ? 'r' : '-';
	*out++ = can_socket(AF_UNIX, SOCK_STREAM, 0) ? 's' : '-';
	*out++ = can_socket(AF_UNIX, SOCK_DGRAM, 0) ? 'd' : '-';
	*out++ = can_socket(AF_NETLINK, SOCK_RAW, 0) ? 'n' : '-';
	*out++ = can_socket(AF_PACKET, SOCK_RAW, 0) ? 'k' : '-';
	*out++ = can_socket(AF_VSOCK, SOCK_STREAM, 0) ? 'v' : '-';
	*out = '\0';
}

int vm_run(struct vm *vm, struct vm_exit *ret_exit, struct err *err)
{
	ret_exit->end = VM_END_GUEST;
	if (strcmp(vm->script, "fail") == 0)
		return err_msg(err, EIO, "cannot run");
	if (strcmp(vm->script, "crash") == 0)
		ret_exit->end = VM_END_CRASH;
	if (strcmp(vm->script, "probe") == 0)
		probe(vm, ret_exit->detail);
	else if (strcmp(vm->script, "probe network") == 0)
		probe_network(ret_exit->detail);
	else
		(void)snprintf(ret_exit->detail, sizeof(ret_exit->detail), "said %s", vm->script);
	if (strcmp(vm->script, "abort") == 0)
		(void)raise(SIGKILL);
	if (strcmp(vm->script, "exit") == 0)
		_exit(3);
	while (strcmp(vm->script, "hang") == 0)
		(void)pause();
	return 0;
}

struct seen {
	struct loop *loop;
	struct worker_end end;
	unsigned n_ended;
	char engine[32], log[128];
};

static void on_prepared(void *ctx, const char *engine, const char *reason)
{
	struct seen *s = ctx;

	(void)snprintf(s->engine, sizeof(s->engine), "%s: %s", engine, reason);
}

static void on_ended(void *ctx, const struct worker_end *end)
{
	struct seen *s = ctx;

	s->end = *end;
	s->n_ended++;
	loop_stop(s->loop, 0);
}

static void log_line(void *ctx, enum log_level level, const char *line)
{
	struct seen *s = ctx;

	(void)snprintf(s->log, sizeof(s->log), "%s", line);
}

static const struct worker_ops ops = { on_prepared, on_ended };

static struct seen play(struct vm_config *cfg)
{
	struct seen seen = { 0 };
	struct worker *w = NULL;

	assert_int_equal(loop_new(&seen.loop, NULL), 0);
	log_set_sink(log_line, &seen, LOG_INFO);
	assert_int_equal(worker_start(seen.loop, cfg, -1, &ops, &seen, &w, NULL), 0);
	assert_int_equal(loop_run(seen.loop, NULL), 0);
	assert_int_equal(seen.n_ended, 1);
	assert_int_equal(worker_pid(w), 0);
	worker_free(w);
	log_set_sink(NULL, NULL, LOG_WARN);
	loop_free(seen.loop);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* nobody is left */
	return seen;
}

static struct seen play_script(const char *script)
{
	struct vm_config cfg = { .cmdline = script };

	return play(&cfg);
}

static void reports_an_ordinary_life(void **state)
{
	struct seen s = play_script("hello");

	assert_int_equal(s.end.cause, WORKER_VM_ENDED);
	assert_int_equal(s.end.exit.end, VM_END_GUEST);
	assert_string_equal(s.end.exit.detail, "said hello");
	assert_string_equal(s.engine, "played: for the test");
	assert_string_equal(s.log, "preparing hello");
}

static void reports_failures(void **state)
{
	struct seen s = play_script("refuse");

	assert_int_equal(s.end.cause, WORKER_NOT_PREPARED);
	assert_int_equal(s.end.err.code, ENOENT);
	assert_string_equal(s.end.err.msg, "no such machine");
	assert_string_equal(s.engine, "");
	s = play_script("fail");
	assert_int_equal(s.end.cause, WORKER_NOT_RUN);
	assert_string_equal(s.end.err.msg, "cannot run");
	s = play_script("crash");
	assert_int_equal(s.end.cause, WORKER_VM_ENDED);
	assert_int_equal(s.end.exit.end, VM_END_CRASH);
}

static void reports_its_death(void **state)
{
	struct seen s = play_script("abort");

	assert_int_equal(s.end.cause, WORKER_DIED);
	assert_string_equal(s.end.err.msg, "the worker process was killed by signal 9 (Killed)");
	s = play_script("exit");
	assert_int_equal(s.end.cause, WORKER_DIED);
	assert_non_null(strstr(s.end.err.msg, "status 3"));
}

static void is_confined(void **state)
{
	struct vm_config cfg = { .cmdline = "probe", .n_fs = 1 };
	char dir[] = "/tmp/worker-test-XXXXXX", path[64];
	struct seen s;

	assert_int_equal(setenv(KEY, "secret", 1), 0);
	assert_non_null(mkdtemp(dir));
	cfg.fs[0].cfg.root_fd = open(dir, O_PATH | O_DIRECTORY);
	assert_true(cfg.fs[0].cfg.root_fd >= 0);
	assert_int_equal(dup2(STDOUT_FILENO, 100), 100);
	s = play(&cfg);
	(void)close(100);
	(void)close(cfg.fs[0].cfg.root_fd);
	(void)snprintf(path, sizeof(path), "%s/probe", dir);
	(void)unlink(path);
	(void)rmdir(dir);
	assert_int_equal(s.end.cause, WORKER_VM_ENDED);
	if (s.end.exit.detail[1] == 'p') { /* a kernel without Landlock */
		print_message("paths are not confined here: no Landlock\n");
		s.end.exit.detail[1] = '-';
	}
	assert_string_equal(s.end.exit.detail, "w----nS-f----t--");
}

static void has_sockets_for_a_network_only(void **state)
{
	static const struct vm_net net;
	struct vm_config cfg = { .cmdline = "probe network", .net = &net };
	struct seen s = play(&cfg);

	assert_string_equal(s.end.exit.detail, "tTuUpPc---------");
	cfg.net = NULL;
	s = play(&cfg);
	assert_string_equal(s.end.exit.detail, "----------------");
}

static void free_kills(void **state)
{
	struct vm_config cfg = { .cmdline = "hang" };
	struct seen seen = { 0 };
	struct worker *w = NULL;
	pid_t pid;

	assert_int_equal(loop_new(&seen.loop, NULL), 0);
	assert_int_equal(worker_start(seen.loop, &cfg, -1, &ops, &seen, &w, NULL), 0);
	pid = worker_pid(w);
	worker_free(w);
	loop_free(seen.loop);
	assert_int_equal(seen.n_ended, 0);
	assert_int_equal(kill(pid, 0), -1);
	assert_int_equal(errno, ESRCH);
}

/* A middle process is the launcher and is killed; its worker must go too. We adopt it. */
static void dies_with_the_launcher(void **state)
{
	struct vm_config cfg = { .cmdline = "hang" };
	int report[2], status;
	pid_t middle, pid = 0;

	assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
	assert_int_equal(pipe2(report, O_CLOEXEC), 0);
	middle = fork();
	if (middle == 0) {
		struct seen seen = { 0 };
		struct worker *w = NULL;

		if (loop_new(&seen.loop, NULL) < 0 ||
			worker_start(seen.loop, &cfg, -1, &ops, &seen, &w, NULL) < 0)
			_exit(1);
		pid = worker_pid(w);
		(void)!write(report[1], &pid, sizeof(pid));
		(void)pause();
		_exit(0);
	}
	assert_int_equal(read(report[0], &pid, sizeof(pid)), sizeof(pid));
	assert_int_equal(kill(middle, SIGKILL), 0);
	assert_int_equal(waitpid(middle, &status, 0), middle);
	assert_int_equal(waitpid(pid, &status, 0), pid); /* ends only if it dies */
	(void)close(report[0]);
	(void)close(report[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reports_an_ordinary_life),
		cmocka_unit_test(reports_failures),
		cmocka_unit_test(reports_its_death),
		cmocka_unit_test(is_confined),
		cmocka_unit_test(has_sockets_for_a_network_only),
		cmocka_unit_test(free_kills),
		cmocka_unit_test(dies_with_the_launcher),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
