/* SPDX-License-Identifier: Apache-2.0 */
#include "image/file.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <stdbool.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/io.h"

extern char **environ;

/* Return: 0, the file and its type; -errno */
static int open_any(const char *path, int *ret_fd, mode_t *ret_type, struct err *err)
{
	/* O_NONBLOCK: opening a fifo must not wait for a writer. */
	cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_set(err, errno, "open '%s'", path);
	*ret_type = st.st_mode & S_IFMT;
	*ret_fd = take_fd(&fd);
	return 0;
}

static int read_regular(
	int fd, mode_t type, const char *path, size_t max, struct buf *ret, struct err *err)
{
	int rc;

	if (type != S_IFREG)
		return err_msg(err, EINVAL, "'%s' is no regular file", path);
	rc = io_read_to_end(fd, max, ret);
	if (rc == -EFBIG)
		return err_msg(err, EFBIG, "'%s' is larger than %zu bytes", path, max);
	return rc < 0 ? err_set(err, rc, "read '%s'", path) : 0;
}

int small_file_read(const char *path, size_t max, struct buf *ret, struct err *err)
{
	cleanup_fd int fd = -1;
	mode_t type = 0;
	int rc = open_any(path, &fd, &type, err);

	return rc < 0 ? rc : read_regular(fd, type, path, max, ret, err);
}

/* Read until the end of output, the deadline or the limit. */
static int collect(
	int fd, size_t max, uint64_t deadline, struct buf *ret, const char *name, struct err *err)
{
	for (;;) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		uint64_t now = clock_mono_ns();
		uint8_t *to;
		ssize_t n;

		if (now >= deadline)
			return err_msg(err, ETIMEDOUT, "%s did not end in time", name);
		if (poll(&p, 1, (int)((deadline - now) / NS_PER_MS) + 1) < 0 && errno != EINTR)
			return err_set(err, errno, "wait for %s", name);
		if (!p.revents)
			continue;
		if (buf_reserve(ret, 4096, &to) < 0)
			return err_set(err, ENOMEM, "run %s", name);
		n = read(fd, to, 4096);
		/* The latter: it ended without having read all that it was told. */
		if (n == 0 || (n < 0 && errno == ECONNRESET))
			return 0;
		/* EAGAIN: another reader of the pipe was quicker. */
		if (n < 0 && errno != EINTR && errno != EAGAIN)
			return err_set(err, errno, "read from %s", name);
		if (n > 0)
			buf_commit(ret, (size_t)n);
		if (ret->len > max)
			return err_msg(err, EFBIG, "%s wrote more than %zu bytes", name, max);
	}
}

int file_or_pipe_read(
	const char *path, size_t max, unsigned timeout_ms, struct buf *ret, struct err *err)
{
	uint64_t deadline = clock_mono_ns() + timeout_ms * NS_PER_MS;
	cleanup_fd int fd = -1;
	mode_t type = 0;
	int rc = open_any(path, &fd, &type, err);

	if (rc == 0 && type == S_IFIFO)
		return collect(fd, max, deadline, ret, path, err);
	return rc < 0 ? rc : read_regular(fd, type, path, max, ret, err);
}

/* It closed its output; it may still run. Wait for it until the deadline, then kill it. */
static int reap(pid_t pid, uint64_t deadline, bool kill_now)
{
	int status = 0;

	while (!kill_now && waitpid(pid, &status, WNOHANG) == 0) {
		if (clock_mono_ns() >= deadline)
			kill_now = true;
		else
			(void)poll(NULL, 0, 5);
	}
	if (kill_now) {
		(void)kill(pid, SIGKILL);
		(void)waitpid(pid, &status, 0);
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int spawn(char *const *argv, int fd, pid_t *ret)
{
	posix_spawn_file_actions_t act;
	int rc;

	(void)posix_spawn_file_actions_init(&act);
	(void)posix_spawn_file_actions_adddup2(&act, fd, 0);
	(void)posix_spawn_file_actions_adddup2(&act, fd, 1);
	rc = posix_spawnp(ret, argv[0], &act, NULL, argv, environ);
	(void)posix_spawn_file_actions_destroy(&act);
	return -rc;
}

int program_run(char *const *argv, const char *input, size_t max, unsigned timeout_ms,
	struct buf *ret, int *ret_status, struct err *err)
{
	uint64_t deadline = clock_mono_ns() + timeout_ms * NS_PER_MS;
	cleanup_fd int ours = -1, theirs = -1;
	int sv[2], rc;
	pid_t pid;

	/* A socket rather than pipes: writing to it can be told not to raise SIGPIPE. */
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0)
		return err_set(err, errno, "run %s", argv[0]);
	ours = sv[0];
	theirs = sv[1];
	rc = spawn(argv, theirs, &pid);
	if (rc < 0)
		return err_set(err, -rc, "run %s", argv[0]);
	close_fd(&theirs);
	/* Smaller than a socket's buffer, so this never waits. */
	(void)send(ours, input, strlen(input), MSG_NOSIGNAL | MSG_DONTWAIT);
	(void)shutdown(ours, SHUT_WR);
	rc = collect(ours, max, deadline, ret, argv[0], err);
	*ret_status = reap(pid, deadline, rc < 0);
	return rc;
}
