/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The child is made with vfork semantics (it borrows our memory until exec), so that starting does
 * not copy page tables, and so that a failing exec is reported through a plain variable. Between
 * clone and exec only system calls are made.
 */
#include "vmm/qemu/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "vmm/qemu/sandbox.h"

#define NOBODY	    65534
#define CHILD_STACK (64 * 1024)

/* ---- finding ---- */

static int open_program(const char *path, int *ret_fd)
{
	cleanup_fd int fd = open(path, O_PATH | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) < 0)
		return -EACCES;
	*ret_fd = take_fd(&fd);
	return 0;
}

/* The search of execvp(3), but with the descriptor as the result. */
static int search_path(char *path, int *ret_fd)
{
	const char *dirs = getenv("PATH");
	int rc = -ENOENT;

	if (!dirs || !*dirs)
		dirs = "/usr/local/bin:/usr/bin:/bin";
	while (*dirs) {
		size_t len = strcspn(dirs, ":");
		int n = snprintf(path, PATH_MAX, "%.*s/%s", (int)len, dirs, QEMU_PROGRAM);

		dirs += len + (dirs[len] == ':');
		if (len == 0 || n >= PATH_MAX)
			continue;
		rc = open_program(path, ret_fd);
		if (rc == 0)
			return 0;
	}
	return rc;
}

int qemu_find(char *ret_path, int *ret_fd, struct err *err)
{
	const char *named = getenv(QEMU_ENV);
	int rc;

	if (named && *named) {
		rc = open_program(named, ret_fd);
		if (rc < 0)
			return err_set(err, rc, "QEMU named by %s: '%s'", QEMU_ENV, named);
		(void)snprintf(ret_path, PATH_MAX, "%s", named);
		return 0;
	}
	rc = search_path(ret_path, ret_fd);
	if (rc < 0)
		return err_msg(err, ENOENT,
			"the qemu engine needs %s, which is not in PATH: install the package %s, "
			"or set %s",
			QEMU_PROGRAM, QEMU_PACKAGE, QEMU_ENV);
	return 0;
}

/* ---- starting ---- */

struct start {
	int program_fd;
	char *const *argv;
	const int *inherit;
	unsigned n_inherit;
	int stdin_fd, output_fd;
	struct qemu_sandbox *sandbox;
	pid_t parent;
	int failed_errno; /* written by the child, which shares our memory */
	const char *failed_step;
};

static int fail(struct start *s, const char *step)
{
	s->failed_errno = errno;
	s->failed_step = step;
	return -1;
}

/* Root has nothing to give to a program that runs the guest: be nobody. */
static int drop_root(struct start *s)
{
	if (geteuid() != 0)
		return 0;
	/*
	 * Raw calls: glibc's wrappers would tell its list of threads, and that list is the
	 * parent's.
	 */
	if (syscall(SYS_setgroups, 0, NULL) < 0 && errno != EPERM)
		return fail(s, "drop groups");
	if (syscall(SYS_setresgid, NOBODY, NOBODY, NOBODY) < 0 ||
		syscall(SYS_setresuid, NOBODY, NOBODY, NOBODY) < 0) {
		if (errno != EINVAL && errno != EPERM) /* no such id in our user namespace */
			return fail(s, "become nobody");
	}
	return 0;
}

static int reset_signals(void)
{
	struct sigaction dfl = { .sa_handler = SIG_DFL };
	sigset_t none;

	for (int sig = 1; sig < NSIG; sig++)
		(void)sigaction(sig, &dfl, NULL);
	(void)sigemptyset(&none);
	return sigprocmask(SIG_SETMASK, &none, NULL);
}

static int wire_fds(struct start *s)
{
	if (dup2(s->stdin_fd, STDIN_FILENO) < 0 || dup2(s->output_fd, STDOUT_FILENO) < 0 ||
		dup2(s->output_fd, STDERR_FILENO) < 0)
		return fail(s, "set up standard streams");
	/* Everything above closes at exec, except what is to be inherited. */
	if (syscall(SYS_close_range, 3U, ~0U, CLOSE_RANGE_CLOEXEC) < 0 && errno != ENOSYS &&
		errno != EINVAL)
		return fail(s, "close descriptors");
	for (unsigned i = 0; i < s->n_inherit; i++) {
		if (fcntl(s->inherit[i], F_SETFD, 0) < 0)
			return fail(s, "inherit descriptor");
	}
	return 0;
}

static int child_setup(struct start *s)
{
	const struct rlimit no_core = { 0, 0 };

	if (reset_signals() < 0)
		return fail(s, "reset signals");
	if (wire_fds(s) < 0 || drop_root(s) < 0)
		return -1;
	if (chdir("/") < 0)
		return fail(s, "chdir /");
	(void)setrlimit(RLIMIT_CORE, &no_core); /* guest memory does not belong on disk */
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return fail(s, "no_new_privs");
	if (qemu_sandbox_enter(s->sandbox) < 0)
		return fail(s, "confine it");
	/* Last, because a change of user clears it. The parent may be gone already: look. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
		return fail(s, "set parent death signal");
	if (getppid() != s->parent)
		return fail(s, "parent died");
	return 0;
}

/* Runs on a stack ASan does not know, and never returns from it. */
__attribute__((no_sanitize("address"))) static int child_main(void *arg)
{
	static char *const no_env[] = { NULL };
	struct start *s = arg;

	if (child_setup(s) == 0) {
		(void)syscall(SYS_execveat, s->program_fd, "", s->argv, no_env, AT_EMPTY_PATH);
		(void)fail(s, "exec");
	}
	_exit(127);
}

/* Return: pid, or -errno; *pidfd on success */
static pid_t vfork_child(struct start *s, int *pidfd)
{
	sigset_t all, old;
	void *stack;
	pid_t pid;
	int saved;

	stack = mmap(NULL, CHILD_STACK, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	if (stack == MAP_FAILED)
		return -errno;
	/* A signal handler of ours must not run in the child, on our memory. */
	(void)sigfillset(&all);
	(void)sigprocmask(SIG_SETMASK, &all, &old);
	pid = clone(child_main, (char *)stack + CHILD_STACK,
		CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD, s, pidfd);
	saved = errno;
	(void)sigprocmask(SIG_SETMASK, &old, NULL);
	(void)munmap(stack, CHILD_STACK);
	return pid < 0 ? -saved : pid;
}

int qemu_spawn(int program_fd, char *const argv[], const int *inherit, unsigned n_inherit,
	int net_fd, struct qemu_child *ret_child, struct err *err)
{
	cleanup_fd int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	cleanup_fd int read_fd = -1, write_fd = -1;
	cleanup_(qemu_sandbox_release) struct qemu_sandbox sandbox = { .ruleset = -1 };
	struct qemu_child child = { .pidfd = -1, .output_fd = -1 };
	int pipe_fd[2], rc;

	if (null_fd < 0)
		return err_set(err, errno, "open /dev/null");
	if (pipe2(pipe_fd, O_CLOEXEC | O_NONBLOCK) < 0)
		return err_set(err, errno, "create pipe for QEMU's messages");
	read_fd = pipe_fd[0];
	write_fd = pipe_fd[1];
	rc = qemu_sandbox_init(&sandbox, program_fd, net_fd >= 0, err);
	if (rc < 0)
		return err_wrap(err, "confine QEMU");
	struct start s = {
		.program_fd = program_fd,
		.argv = argv,
		.inherit = inherit,
		.n_inherit = n_inherit,
		.stdin_fd = net_fd >= 0 ? net_fd : null_fd,
		.output_fd = write_fd,
		.sandbox = &sandbox,
		.parent = getpid(),
	};

	child.pid = vfork_child(&s, &child.pidfd);
	if (child.pid < 0)
		return err_set(err, child.pid, "start QEMU");
	if (s.failed_errno) {
		(void)qemu_child_reap(&child);
		close_fd(&child.pidfd);
		return err_set(err, s.failed_errno, "start QEMU: %s", s.failed_step);
	}
	child.output_fd = take_fd(&read_fd);
	*ret_child = child;
	return 0;
}

int qemu_child_reap(struct qemu_child *child)
{
	int status = 0;

	while (waitpid(child->pid, &status, 0) < 0 && errno == EINTR)
		;
	child->pid = 0;
	return status;
}

/* By pidfd: the confined process may signal nobody by number. */
void qemu_child_kill(const struct qemu_child *child)
{
	(void)syscall(SYS_pidfd_send_signal, child->pidfd, SIGKILL, NULL, 0);
}

void qemu_child_end(struct qemu_child *child)
{
	if (child->pid <= 0)
		return;
	qemu_child_kill(child);
	(void)qemu_child_reap(child);
	close_fd(&child->pidfd);
	close_fd(&child->output_fd);
}
